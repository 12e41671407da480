"""Hand-written samples of every keypoint and body file, and random tracks for round trips."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from cohorts.recording import Keypoints
from cohorts.skeleton import skeleton


def flat(k: int, x: float = 100.0, confidence: float = 0.5) -> list[float]:
    """K points at (x, 2x), (x + 1, 2x + 2), …"""
    return [v for i in range(k) for v in (x + i, 2 * (x + i), confidence)]


def xy_of(k: int, x: float = 100.0) -> np.ndarray:
    return np.array([[x + i, 2 * (x + i)] for i in range(k)])


COCO = [
    {"image_id": 7, "category_id": 1, "keypoints": flat(17), "score": 0.9, "bbox": [1, 2, 3, 4]},
    {"image_id": 9, "category_id": 1, "keypoints": flat(17, 200), "score": 0.8},
]
ALPHAPOSE = [
    {
        "image_id": "0.jpg",
        "category_id": 1,
        "keypoints": flat(26),
        "score": 2.9,
        "idx": 3,
        "box": [0, 0, 1, 1],
    },
    {"image_id": "2.jpg", "category_id": 1, "keypoints": flat(26, 50), "score": 2.5, "idx": 3},
]
OPENPOSE = {
    "version": 1.3,
    "people": [{"person_id": [-1], "pose_keypoints_2d": flat(25), "face_keypoints_2d": []}],
}
MMPOSE_VIDEO = [
    {
        "frame_id": 0,
        "instances": [
            {
                "keypoints": xy_of(17).tolist(),
                "keypoint_scores": [0.5] * 17,
                "bbox": [[1.0, 2.0, 3.0, 4.0]],
                "bbox_score": 0.75,
            }
        ],
    },
    {"frame_id": 1, "instances": []},
]
MMPOSE_IMAGE = MMPOSE_VIDEO[0]["instances"]
MMPOSE_DEMO = {"meta_info": {"dataset_name": "coco"}, "instance_info": MMPOSE_VIDEO}
OPENCAP = [[{"person_id": [0], "pose_keypoints_2d": flat(25)}], []]
MMPOSE_DUMP = [
    {
        "img_id": 785,
        "img_path": "val2017/000000000785.jpg",
        "ori_shape": (425, 640),
        "pred_instances": {
            "keypoints": xy_of(17)[None].astype(np.float32),
            "keypoint_scores": np.full((1, 17), 0.5, np.float32),
            "bboxes": np.array([[1.0, 2, 3, 4]]),
            "bbox_scores": np.array([0.75], np.float32),
        },
    }
]


def smpl(width: int = 156, **changes: Any) -> dict[str, Any]:
    """Arrays as AMASS has them; None drops one."""
    arrays: dict[str, Any] = {
        "poses": np.linspace(-1, 1, 3 * width).reshape(3, width),
        "trans": np.array([[0.0, 0, 0.9], [0.1, 0, 0.9], [0.2, 0, 0.9]]),
        "betas": np.arange(16.0),
        "gender": np.array("female"),
        "mocap_framerate": np.array(120.0),
        "dmpls": np.zeros((3, 8)),
    }
    return {k: v for k, v in (arrays | changes).items() if v is not None}


def put_json(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value))
    return path


def put_pickle(path: Path, value: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(value, protocol))
    return path


def put_all(folder: Path) -> dict[Path, str]:
    """One file (or folder) of each kind, and the format it is in."""
    from cohorts.formats import native_npz

    openpose = folder / "recording"
    openpose.mkdir()
    put_json(openpose / "video_000000000004_keypoints.json", OPENPOSE)
    body = folder / "body.npz"
    np.savez(body, **smpl())
    own = folder / "own.npz"
    native_npz.write(own, Keypoints("cam", [0.0], np.ones((1, 17, 2)), skeleton("coco-17")))
    return {
        put_json(folder / "coco.json", COCO): "coco",
        put_json(folder / "alpha.json", ALPHAPOSE): "alphapose",
        put_json(folder / "video.json", MMPOSE_VIDEO): "mmpose-json",
        put_json(folder / "image.json", MMPOSE_IMAGE): "mmpose-json",
        put_json(folder / "demo.json", MMPOSE_DEMO): "mmpose-json",
        put_json(folder / "one_keypoints.json", OPENPOSE): "openpose",
        openpose: "openpose",
        put_pickle(folder / "dump.pkl", MMPOSE_DUMP): "mmpose-dump",
        put_pickle(folder / "opencap.pkl", OPENCAP): "opencap-keypoints",
        body: "smpl",
        own: "npz",
    }


# --- random tracks ------------------------------------------------------------------------------

_pixels = st.floats(-1e5, 1e5, allow_subnormal=False)


@st.composite
def tracks(
    draw: st.DrawFn,
    *,
    names: tuple[str, ...] = ("coco-17", "openpose-25"),
    scores: bool = True,
    persons: st.SearchStrategy[str] | None = None,
    most: int = 3,
) -> tuple[Keypoints, ...]:
    """1 to ``most`` people of one skeleton in one camera, with frame numbers, gaps and missing points.

    Times count frames, as these files do.
    """
    named = skeleton(draw(st.sampled_from(names)))
    who = draw(
        st.lists(
            st.integers(0, 10**6).map(str) if persons is None else persons,
            min_size=1,
            max_size=most,
            unique=True,
        )
    )
    scored = draw(st.booleans()) and scores
    made = []
    for person in sorted(who, key=lambda p: (not re.fullmatch("[0-9]+", p), len(p), p)):
        frames = sorted(draw(st.sets(st.integers(0, 40), min_size=1, max_size=4)))
        seed = draw(st.integers(0, 2**32 - 1))
        random = np.random.default_rng(seed)
        xy = random.normal(500, 300, (len(frames), len(named), 2))
        xy[0, 0] = draw(_pixels), draw(_pixels)
        confidence = random.uniform(1e-6, 1.5, xy.shape[:2])
        missing = random.random(xy.shape[:2]) < draw(st.sampled_from([0, 0.3, 1]))
        xy[missing], confidence[missing] = np.nan, 0
        made.append(
            Keypoints(
                camera="cam01",
                time=np.array(frames, dtype=float),
                xy=xy,
                skeleton=named,
                confidence=confidence,
                person=person,
                frames=np.array(frames),
                score=random.normal(0, 2, len(frames)) if scored else None,
            )
        )
    return tuple(made)
