"""A synthetic person: a mesh with a scaled musculoskeletal model inside, bound in one pose.

The model is scaled and posed to the landmarks of the mesh at rest; what still separates a landmark from its
place on the model becomes that person's marker offset, as with a real subject's static trial. From then on
the model moves and the mesh follows, so every coordinate of every frame is true by construction.

Landmarks are rigid points of their bodies. Skin moves over bone; skinned points drift from rigid ones by 8 to
20 mm (hips and shoulders most), so the mesh is locked to the owning body around every bony landmark.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from scipy.spatial import cKDTree

from capbench.biomech.body import fullbody, fullbody_card
from capbench.biomech.kinematics import body_frames, coordinates_of, forward, marker_tracks
from capbench.biomech.model import Model
from capbench.biomech.scale import scale_model
from capbench.biomech.tree import build_tree
from cohorts.bounded import load_yaml
from cohorts.recording import Markers, Motion, Subject
from cohorts.skeleton import skeleton
from cohorts.values import FloatArray, IntArray
from synthpose.bind import GROUPS, LANDMARKS, bind_model, bones
from synthpose.body import Asset, Phenotype, asset, rest_vertices
from synthpose.hands import relaxed
from synthpose.mesh import BodyFrames, Surface, frames_of, skin

LOCK = 0.025  #: metres around a bony landmark in which the mesh follows its body alone ...
FADE = 0.055  #: ... and beyond which its skin weights are as they come
#: share of both where skin must leave room: for the arm to rise, for the toes to bend
CLOSE: Mapping[str, float] = {"acromion": 0.6, "metatarsal": 0.6, "toe": 0.8}
MARKERS = "synthpose-52"  #: the 52 landmarks
MOCAP = "opencap-mocap-49"
#: metres by which a cluster's markers are apart from the one place that the model has for them
SPREAD = np.array(
    [[0.0, 0.0, 0.0], [0.0, 0.05, 0.015], [0.0, -0.05, 0.01], [0.01, 0.02, -0.02], [0.01, -0.03, 0.02]]
)


@dataclass(frozen=True)
class Person:
    """One synthetic person.

    Attributes
    ----------
    name : a pseudonym
    phenotype : the shape that was asked for
    model : scaled, wearing the 52 points of synthpose-52
    mocap : the same model wearing the 49 markers of opencap-mocap-49
    bind : the one-frame pose in which mesh and model were joined
    surfaces : the skin first, then what is worn
    misfit : root mean square distance (metres) of the bony landmarks from their places on the model before
        the markers were moved
    """

    name: str
    phenotype: Phenotype
    model: Model
    mocap: Model
    bind: Motion
    surfaces: tuple[Surface, ...]
    misfit: float

    @property
    def subject(self) -> Subject:
        """The person as a cohort knows it."""
        decade = int(self.phenotype.age // 10) * 10
        return Subject(
            self.name,
            mass=round(self.phenotype.mass, 1),
            height=round(self.phenotype.stature, 3),
            sex="female" if self.phenotype.sex >= 0.5 else "male",
            age_band=f"{decade}-{decade + 9}",
        )

    def landmarks(self, motion: Motion) -> Markers:
        """The 52 true landmarks during a motion."""
        return marker_tracks(self.model, motion)

    def posed(self, motion: Motion) -> list[FloatArray]:
        """(T, V, 3) metres of each surface during a motion."""
        made = []
        known: dict[tuple[str, ...], tuple[BodyFrames, BodyFrames]] = {}
        for surface in self.surfaces:
            if surface.bodies not in known:
                known[surface.bodies] = (
                    frames_of(self.model, self.bind, surface.bodies),
                    frames_of(self.model, motion, surface.bodies),
                )
            made.append(skin(surface, *known[surface.bodies]))
        return made


def make_person(phenotype: Phenotype, *, name: str = "person") -> Person:
    """A person of that shape, in their skin; ``synthpose.clothing`` dresses them."""
    rest = rest_vertices(phenotype)
    there = mesh_landmarks(rest)
    for side, word in (("r", "right"), ("l", "left")):
        rest = relaxed(rest, there[f"{word}_radial_styloid"], there[f"{word}_ulnar_styloid"], side=side)
    bound = bind_model(there, stature=phenotype.stature, fatness=phenotype.fatness)
    worn = {}
    for skeleton_name in (MARKERS, MOCAP):
        model = scale_model(fullbody(markers=skeleton_name, groups=GROUPS), bound.factors, phenotype.mass)
        worn[skeleton_name] = place(model, skeleton_name, bound.pose, there)
    surface = body_surface(rest, there)
    return Person(name, phenotype, worn[MARKERS], worn[MOCAP], bound.pose, (surface,), bound.misfit)


# --- landmarks on the mesh ----------------------------------------------------------------------


@cache
def landmark_sites() -> dict[str, tuple[IntArray, FloatArray]]:
    """Bony landmark -> (vertices, their shares), of both sides."""
    found: dict[str, tuple[IntArray, FloatArray]] = {}
    for name, row in load_yaml(LANDMARKS)["landmarks"].items():
        on, at = np.array(row["vertices"], np.int64), np.array(row["shares"], float)
        if name.startswith("SIDE_"):
            found[name.replace("SIDE_", "left_")] = (on, at / at.sum())
            found[name.replace("SIDE_", "right_")] = (asset().mirror[on], at / at.sum())
        else:  # the triangle and its mirror image: on the middle, whatever the sides do
            both = np.concatenate([on, asset().mirror[on]])
            found[name] = (both, np.concatenate([at, at]) / (2 * at.sum()))
    return found


def mesh_landmarks(rest_v3: FloatArray) -> dict[str, FloatArray]:
    """Landmark -> (3,) metres on the mesh at rest: the bony ones, and COCO's points as ``name@coco``."""
    found = {name: at @ rest_v3[on] for name, (on, at) in landmark_sites().items()}
    for name, (on, at) in asset().points.items():
        found[f"{name}@coco"] = at @ rest_v3[on]
    return found


def _seen(point: str, landmark: str, there: Mapping[str, FloatArray]) -> FloatArray | None:
    """Where the mesh has a skeleton's landmark: the bony one before COCO's of the same name."""
    base = landmark.partition("@")[0]
    if landmark.endswith("@coco") or base in ("nose", "left_eye", "right_eye"):
        return there.get(f"{base}@coco")
    return there.get(base)


def _targets(skeleton_name: str, there: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Point of a skeleton -> (3,) metres, for those the mesh has."""
    points_ = skeleton(skeleton_name)
    found = {}
    for point, landmark in zip(points_.points, points_.landmarks, strict=True):
        at = _seen(point, landmark, there)
        if at is not None:
            found[point] = at
    return found


# --- the model's markers ------------------------------------------------------------------------


def place(model: Model, skeleton_name: str, bind: Motion, there: Mapping[str, FloatArray]) -> Model:
    """The model with its markers where the mesh has their landmarks in the bind pose.

    Markers without a landmark stay where the scaled model has them; those of a cluster, which the model puts
    in one place, are spread as they would be stuck on.
    """
    tree = build_tree(model)
    frames = forward(tree, coordinates_of(tree, bind))
    targets = _targets(skeleton_name, there)
    landmark = dict(zip(skeleton(skeleton_name).points, skeleton(skeleton_name).landmarks, strict=True))
    markers, count = [], dict[tuple[object, ...], int]()
    for marker in model.markers:
        body = marker.body
        if marker.name in targets:
            bone = bones().get(landmark[marker.name].partition("@")[0])
            body = bone.body if bone is not None and not bone.is_centre else body
            rotation, origin = body_frames(tree, frames, body)
            location = (targets[marker.name] - origin[0]) @ rotation[0]
        else:
            key = (marker.body, *marker.location.tolist())
            k = count.get(key, 0)
            count[key] = k + 1
            location = marker.location + SPREAD[k] * (1, 1, -1 if marker.body.endswith("_l") else 1)
        markers.append(replace(marker, body=body, location=location))
    return model.with_markers(tuple(markers))


# --- the skin -----------------------------------------------------------------------------------


def body_surface(rest_v3: FloatArray, there: Mapping[str, FloatArray]) -> Surface:
    """The body's own mesh, its weights locked to the owning body around each bony landmark."""
    a = asset()
    count = a.body_vertices
    bones, weights = locked(a, rest_v3[:count], there)
    faces = a.faces["body"]
    return Surface(
        name="body",
        rest_v3=rest_v3[:count].copy(),
        canonical_v3=a.mean_v3[:count].copy(),
        faces_f3=faces,
        material_f=np.zeros(len(faces), np.int64),
        materials=("skin",),
        bones_vk=bones,
        weights_vk=weights,
        bodies=a.bodies,
    )


def locked(a: Asset, rest_v3: FloatArray, there: Mapping[str, FloatArray]) -> tuple[IntArray, FloatArray]:
    """Skin weights with each bony landmark's neighbourhood given to the body that owns the landmark.

    Full within ``LOCK`` of it, fading to what the weights were at ``FADE``; distances scale with stature.
    """
    size = np.ptp(rest_v3[:, 1]) / fullbody_card().height
    own = {name: bone.body for name, bone in bones().items() if not bone.is_centre}
    share = np.zeros((len(rest_v3), len(a.bodies)))
    np.put_along_axis(share, a.bones_vk[: len(rest_v3)], a.weights_vk[: len(rest_v3)], axis=1)
    names = [n for n in landmark_sites() if n in own]
    distance, found = cKDTree(np.array([there[n] for n in names])).query(rest_v3)
    nearest = np.array(found, np.int64)
    share_of = [next((c for word, c in CLOSE.items() if word in n), 1.0) for n in names]
    reach = size * np.array(share_of)[nearest]
    pull = np.clip((FADE - distance / reach) / (FADE - LOCK), 0.0, 1.0)
    pull = pull * pull * (3 - 2 * pull)  # smooth at both ends
    for k, name in enumerate(names):  # the landmark's own triangle in any case, however large it is
        on = landmark_sites()[name][0]
        nearest[on], pull[on] = k, 1.0
    owner = np.array([a.bodies.index(own[n]) for n in names])[nearest]
    share *= 1 - pull[:, None]
    share[np.arange(len(share)), owner] += pull
    order = np.argsort(-share, axis=1, kind="stable")[:, :4]
    top = np.take_along_axis(share, order, axis=1)
    return order, top / top.sum(axis=1, keepdims=True)
