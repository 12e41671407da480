"""Body meshes: vertex errors, AGORA's scores that divide by F1, and errors of joint rotations.

Vertices are (…, vertex, 3) in metres and in correspondence; a vertex with a NaN in it is missing.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike

from metrics.arrays import FloatArray, MetricError, alike, floats, mean_present
from metrics.catalogue import metric
from metrics.keypoints3d import joint_errors
from metrics.procrustes import procrustes

MeshAlign = Literal["none", "root", "similarity"]
Mode = Literal["agora", "exact"]

#: by how much RᵀR may differ from the identity before R is no rotation; float32 stays far below it
ROTATION_TOLERANCE = 1e-3


class Found(NamedTuple):
    """How many of the people were found, as numbers from 0 to 1; NaN where there is nothing to divide by."""

    precision: float
    recall: float
    f1: float


class PeopleScore(NamedTuple):
    """Errors of the people found, and what they are worth when misses and false alarms count.

    Attributes
    ----------
    error : mean over the people found of the mean error of their points, in mm
    normalised : error / F1, in mm
    precision, recall, f1 : see ``Found``
    people : how many people there are
    missed : how many of them were missed
    """

    error: float
    normalised: float
    precision: float
    recall: float
    f1: float
    people: int
    missed: int


def vertex_errors(
    predicted: ArrayLike,
    reference: ArrayLike,
    *,
    align: MeshAlign,
    predicted_root: ArrayLike | None = None,
    reference_root: ArrayLike | None = None,
) -> FloatArray:
    """The distance of each vertex from its true place in mm, (…, vertex).

    ``align="root"`` takes each side relative to its own root (…, 3) in m, which is rarely a vertex: AGORA has
    the middle of both hips for bodies, the wrist for hands and the neck for faces. "similarity" is
    ``procrustes`` over the vertices.

    >>> vertex_errors([[1, 0, 0], [1, 0, 2]], [[0, 0, 0], [0, 0, 1]], align="none").round(3)
    array([1000.   , 1414.214])
    """
    if align not in get_args(MeshAlign):
        raise MetricError(f"Expected align as one of {', '.join(get_args(MeshAlign))}, got {align!r}.")
    given = [root is not None for root in (predicted_root, reference_root)]
    if given != [align == "root"] * 2:
        raise MetricError(f"Expected both roots with align='root' and none else, got align={align!r}.")
    if predicted_root is None or reference_root is None:
        return joint_errors(predicted, reference, align="similarity" if align == "similarity" else "none")
    sides = []
    for name, points, root in (
        ("predicted", predicted, predicted_root),
        ("reference", reference, reference_root),
    ):
        p, r = floats(name, points, last=3), floats(f"{name}_root", root, last=3)
        if r.shape != (*p.shape[:-2], 3):
            raise MetricError(f"Expected {name}_root shaped {(*p.shape[:-2], 3)}, got {r.shape}.")
        sides.append(p - r[..., None, :])
    return joint_errors(*sides, align="none")


@metric(
    "PVE·world",
    unit="mm",
    direction="lower",
    definition="Mean distance of the vertices from their true places, without any alignment.",
    reference="capbench",
    needs=("reference", "vertices"),
    merge="sums",
    align="none",
)
@metric(
    "PVE·root",
    unit="mm",
    direction="lower",
    definition="Mean distance of the vertices when each side is relative to its own root (PVE, MVE, MPVPE).",
    reference="Pavlakos 2018; Kocabas 2020, VIBE",
    needs=("reference", "vertices"),
    merge="sums",
    align="root",
)
@metric(
    "PA-PVE",
    unit="mm",
    direction="lower",
    definition="Mean distance of the vertices after similarity alignment of each mesh (PA-V2V).",
    reference="Choutas 2020, ExPose",
    needs=("reference", "vertices"),
    merge="sums",
    align="similarity",
)
def pve(
    predicted: ArrayLike,
    reference: ArrayLike,
    *,
    align: MeshAlign,
    predicted_root: ArrayLike | None = None,
    reference_root: ArrayLike | None = None,
) -> float:
    """The mean of ``vertex_errors`` in mm, over all vertices of all frames that have one.

    >>> pve([[1, 0, 0], [1, 0, 1]], [[0, 0, 0], [0, 0, 1]], align="none")
    1000.0
    """
    errors = vertex_errors(
        predicted, reference, align=align, predicted_root=predicted_root, reference_root=reference_root
    )
    return float(mean_present(errors))


def found_score(*, found: int, missed: int, false: int, mode: Mode) -> Found:
    """Precision, recall and F1 = found / (found + (missed + false)/2) of people found, missed and made up.

    "agora" rounds each to 2 decimals, as AGORA's evaluation does before it divides by F1. Its columns for
    children are this with the children's counts and *everybody's* false alarms.

    >>> found_score(found=31, missed=2, false=2, mode="agora").f1, round(31 / 33, 4)
    (0.94, 0.9394)
    """
    _check_mode(mode)
    if min(found, missed, false) < 0:
        raise MetricError(f"Expected counts of at least 0, got {found}, {missed} and {false}.")
    pairs = ((found, found + false), (found, found + missed), (2 * found, 2 * found + missed + false))
    shares = [part / whole if whole else float("nan") for part, whole in pairs]
    return Found(*(round(share, 2) if mode == "agora" else share for share in shares))


def normalised_error(error: float, f1: float, *, mode: Mode) -> float:
    """error / F1 (NMVE, NMJE): what misses and false alarms make of an error; NaN at F1 = 0.

    "agora" rounds the error to 1 decimal and F1 to 2 *before* dividing, and the result to 1.

    >>> normalised_error(60.04, 0.9394, mode="agora"), round(normalised_error(60.04, 0.9394, mode="exact"), 3)
    (63.8, 63.913)
    """
    _check_mode(mode)
    if mode == "agora":
        error, f1 = _tenths(error), round(f1, 2)
    if not f1 > 0:
        return float("nan")
    return _tenths(error / f1) if mode == "agora" else error / f1


def full_body(body: float, left_hand: float, right_hand: float, face: float, *, mode: Mode) -> float:
    """AGORA's full-body error, body + (left hand + right hand + face)/3.

    "agora" rounds the parts to 1 decimal and then the sum. To know of AGORA's tables: the means for hands and
    face take missed people at 0 mm (the body's leaves them out), and the full-body columns for children
    divide by everybody's F1 (the body's by the children's).

    >>> full_body(60.0, 30.0, 33.0, 36.0, mode="exact")
    93.0
    """
    _check_mode(mode)
    parts = [body, left_hand, right_hand, face]
    if mode == "agora":
        parts = [_tenths(part) for part in parts]
    total = parts[0] + sum(parts[1:]) / 3
    return _tenths(total) if mode == "agora" else total


@metric(
    "people-F1·AGORA",
    unit="1",
    direction="higher",
    definition="F1 of people found, rounded to 2 decimals as AGORA's evaluation does.",
    reference="Patel 2021, AGORA; agora_evaluation compute_average_error.py",
    needs=("reference", "detections"),
    merge="sums",
    part="f1",
    mode="agora",
)
@metric(
    "people-F1·exact",
    unit="1",
    direction="higher",
    definition="F1 of people found: found / (found + half of missed and false alarms).",
    reference="Patel 2021, AGORA",
    needs=("reference", "detections"),
    merge="sums",
    part="f1",
    mode="exact",
)
@metric(
    "MPJPE·AGORA",
    unit="mm",
    direction="lower",
    definition="Mean root-relative joint error of the people found, rounded to 1 decimal.",
    reference="Patel 2021, AGORA; agora_evaluation compute_average_error.py",
    needs=("reference", "markers", "detections"),
    merge="sums",
    part="error",
    mode="agora",
)
@metric(
    "NMJE·AGORA",
    unit="mm",
    direction="lower",
    definition="MPJPE·AGORA over people-F1·AGORA, both rounded before and the result after.",
    reference="Patel 2021, AGORA; agora_evaluation compute_average_error.py",
    needs=("reference", "markers", "detections"),
    merge="sums",
    part="normalised",
    mode="agora",
)
@metric(
    "NMJE·exact",
    unit="mm",
    direction="lower",
    definition="Mean root-relative joint error of the people found, over F1, nothing rounded.",
    reference="Patel 2021, AGORA",
    needs=("reference", "markers", "detections"),
    merge="sums",
    part="normalised",
    mode="exact",
)
@metric(
    "MVE·AGORA",
    unit="mm",
    direction="lower",
    definition="Mean root-relative vertex error of the people found, rounded to 1 decimal.",
    reference="Patel 2021, AGORA; agora_evaluation compute_average_error.py",
    needs=("reference", "vertices", "detections"),
    merge="sums",
    part="error",
    mode="agora",
)
@metric(
    "NMVE·AGORA",
    unit="mm",
    direction="lower",
    definition="MVE·AGORA over people-F1·AGORA, both rounded before and the result after.",
    reference="Patel 2021, AGORA; agora_evaluation compute_average_error.py",
    needs=("reference", "vertices", "detections"),
    merge="sums",
    part="normalised",
    mode="agora",
)
@metric(
    "NMVE·exact",
    unit="mm",
    direction="lower",
    definition="Mean root-relative vertex error of the people found, over F1, nothing rounded.",
    reference="Patel 2021, AGORA",
    needs=("reference", "vertices", "detections"),
    merge="sums",
    part="normalised",
    mode="exact",
)
def people_score(
    predicted: ArrayLike,
    reference: ArrayLike,
    *,
    predicted_root: ArrayLike,
    reference_root: ArrayLike,
    false: int,
    mode: Mode,
) -> PeopleScore:
    """Root-relative errors of matched people, (person, point, 3) in m, with misses and false alarms.

    ``predicted`` has for each person of the reference what was matched to it, NaN for who was missed; a
    person without an error is missed. ``false`` is how many predictions matched nobody. Points are vertices
    (MVE, NMVE) or joints (MPJPE, NMJE). People whom the reference lacks don't count.

    >>> true = np.zeros((2, 1, 3))
    >>> found = np.array([[[0, 0, 0.06]], [[np.nan] * 3]])
    >>> people_score(
    ...     found, true, predicted_root=true[:, 0], reference_root=true[:, 0], false=1, mode="exact"
    ... )[:5]
    (60.0, 120.0, 0.5, 0.5, 0.5)
    """
    true = floats("reference", reference, ndim=3, last=3)
    errors = vertex_errors(
        predicted, true, align="root", predicted_root=predicted_root, reference_root=reference_root
    )
    per_person = np.asarray(mean_present(errors, axis=-1))
    usable = ~np.isnan(true + floats("reference_root", reference_root)[:, None]).any(axis=-1)
    people = int(usable.any(axis=-1).sum())
    missed = people - int((~np.isnan(per_person)).sum())
    f = found_score(found=people - missed, missed=missed, false=false, mode=mode)
    error = float(mean_present(per_person))
    normalised = normalised_error(error, f.f1, mode=mode)
    return PeopleScore(_tenths(error) if mode == "agora" else error, normalised, *f, people, missed)


def rotation_errors(predicted: ArrayLike, reference: ArrayLike) -> FloatArray:
    """The angle in ° between rotation matrices (…, 3, 3): the length of the rotation from one to the other.

    atan2(‖vee(R − Rᵀ)‖, tr R − 1) for R = predicted · referenceᵀ, as good near 0° and 180° as elsewhere. NaN
    where one has a NaN.

    >>> rotation_errors(np.eye(3), [[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    array(90.)
    """
    p, r = alike(predicted=predicted, reference=reference)
    _check_rotations("predicted", p)
    _check_rotations("reference", r)
    between = p @ np.swapaxes(r, -1, -2)
    skew = between - np.swapaxes(between, -1, -2)
    sine = np.sqrt((skew * skew).sum(axis=(-2, -1)) / 2)  # 2 sin; every entry is there twice
    cosine = np.trace(between, axis1=-2, axis2=-1) - 1  # 2 cos
    return np.asarray(np.degrees(np.arctan2(sine, cosine)))


@metric(
    "MPJAE·global",
    unit="°",
    direction="lower",
    definition="Mean angle between predicted and true rotations of the joints in the world (3DPW: 9 joints).",
    reference="von Marcard 2018; 3dpw-eval evaluate.py",
    needs=("reference", "rotations"),
    merge="sums",
)
@metric(
    "MPJAE·local",
    unit="°",
    direction="lower",
    definition="Mean angle between predicted and true rotations of the joints relative to their parents.",
    reference="Mahmood 2019, AMASS",
    needs=("reference", "rotations"),
    merge="sums",
)
def mpjae(predicted: ArrayLike, reference: ArrayLike) -> float:
    """The mean of ``rotation_errors`` in °, over all rotations (…, joint, 3, 3) that both sides have.

    >>> mpjae([np.eye(3), np.eye(3)], [np.eye(3), np.diag([1.0, -1.0, -1.0])])
    90.0
    """
    return float(mean_present(rotation_errors(predicted, reference)))


@metric(
    "PA-MPJAE",
    unit="°",
    direction="lower",
    definition="MPJAE·global after each frame is turned by the rotation that best aligns its joints.",
    reference="von Marcard 2018; 3dpw-eval evaluate.py",
    needs=("reference", "rotations", "markers"),
    merge="sums",
)
def pa_mpjae(
    predicted: ArrayLike, reference: ArrayLike, *, predicted_joints: ArrayLike, reference_joints: ArrayLike
) -> float:
    """Mean angle in ° between R·predicted and reference, global rotations (…, joint, 3, 3).

    R is the frame's rotation by ``procrustes`` of the positions (…, point, 3) in m, of the same or other
    joints.

    >>> turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    >>> spots = np.array([[0.0, 0, 0], [1, 0, 0], [0, 2, 0]])
    >>> pa_mpjae([turn], [np.eye(3)], predicted_joints=spots @ turn.T, reference_joints=spots)
    0.0
    """
    p = floats("predicted", predicted)
    turn = procrustes(predicted_joints, reference_joints).rotation
    if p.shape[:-3] != turn.shape[:-2]:
        frames = f"{p.shape[:-3]} and {turn.shape[:-2]}"
        raise MetricError(f"Expected rotations and positions of the same frames, got {frames}.")
    return mpjae(turn[..., None, :, :] @ p, reference)


def _tenths(value: float) -> float:
    """To 1 decimal the way numpy rounds, which is what AGORA's evaluation does with its means."""
    return float(np.round(value, 1))


def _check_mode(mode: str) -> None:
    if mode not in get_args(Mode):
        raise MetricError(f"Expected mode as one of {', '.join(get_args(Mode))}, got {mode!r}.")


def _check_rotations(name: str, matrices: FloatArray) -> None:
    if matrices.ndim < 2 or matrices.shape[-2:] != (3, 3):
        raise MetricError(f"Expected {name} shaped (…, 3, 3), got shape {matrices.shape}.")
    there = matrices[~np.isnan(matrices).any(axis=(-2, -1))]
    off = np.abs(np.swapaxes(there, -1, -2) @ there - np.eye(3))
    if (off > ROTATION_TOLERANCE).any() or (np.linalg.det(there) < 0).any():
        raise MetricError(f"Expected {name} as rotation matrices, got one that isn't orthonormal and proper.")
