"""One small valid file of every format, made from nothing; used by tests and by the fuzz script."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cohorts import BodyParameters, Camera, Keypoints, Markers, Motion, Signals, skeleton
from cohorts.formats import write

TIME = np.arange(6) / 50


def markers() -> Markers:
    """Four markers of a swaying person over 0.1 s, one of them missing for two frames."""
    rng = np.random.default_rng(1)
    base = np.array([[0.1, 1.0, 0.1], [0.1, 1.0, -0.1], [0.0, 0.5, 0.1], [0.0, 1.7, 0.0]])
    xyz = base + rng.normal(0, 0.01, (6, 4, 3))
    xyz[2:4, 1] = np.nan
    return Markers(TIME, ("R.ASIS", "L.ASIS", "R knee", "Top"), xyz)


def motion() -> Motion:
    """Pelvis, knee and a coupled patella over 0.1 s."""
    names = ("pelvis_tilt", "pelvis_tx", "pelvis_ty", "knee_angle_r", "knee_angle_r_beta")
    knee = 0.3 + 0.4 * np.sin(TIME * 20)
    values = np.stack([0.1 * TIME, 1.2 * TIME, 0.95 + 0 * TIME, knee, knee], axis=1)
    return Motion(TIME, names, values)


def signals() -> Signals:
    """One force plate."""
    names = ("ground_force_1_vx", "ground_force_1_vy", "ground_force_1_px")
    return Signals(TIME, names, np.random.default_rng(2).normal(300, 50, (6, 3)))


def keypoints(person: str = "0", name: str = "coco-17", offset: float = 0.0) -> Keypoints:
    """One person of the named skeleton, with one missing point."""
    points = len(skeleton(name))
    rng = np.random.default_rng(3)
    xy = np.round(rng.uniform(50, 600, (6, points, 2)) + offset, 3)
    confidence = np.round(rng.uniform(0.3, 0.95, (6, points)), 3)
    xy[1, 2], confidence[1, 2] = np.nan, 0
    return Keypoints("cam01", np.arange(6.0), xy, skeleton(name), confidence, person, frames=np.arange(6))


def camera(name: str = "cam01") -> Camera:
    """A phone 4 m in front of the person, a little to the side."""
    c, s = np.cos(0.3), np.sin(0.3)
    return Camera(
        name,
        matrix=np.array([[913.2, 0, 366.5], [0, 913.5, 638.5], [0, 0, 1]]),
        rotation=np.array([[c, 0, s], [0, -1, 0], [s, 0, -c]]),
        translation=np.array([0.1, 1.0, 4.0]),
        size=(720, 1280),
        distortion=np.array([0.12, -0.28, -0.0003, 0.0001]),
    )


def body() -> BodyParameters:
    """SMPL+H parameters."""
    rng = np.random.default_rng(4)
    return BodyParameters(
        "smplh", TIME, rng.normal(0, 0.2, (6, 52, 3)), rng.normal(0, 1, (6, 3)), rng.normal(0, 1, 16)
    )


def flat_points(frames: int, points: int) -> list[list[float]]:
    """``frames`` lists of x, y, confidence per point, as OpenPose and OpenCap write them."""
    rng = np.random.default_rng(5)
    xyc = np.concatenate(
        [rng.uniform(50, 600, (frames, points, 2)), rng.uniform(0.3, 0.9, (frames, points, 1))], -1
    )
    return [np.round(frame, 3).ravel().tolist() for frame in xyc]


def _opencap_keypoints(path: Path) -> None:
    people = [[{"person_id": [0], "pose_keypoints_2d": flat}] for flat in flat_points(6, 25)]
    people[3] = []
    path.write_bytes(pickle.dumps(people, protocol=4))


def _opencap_camera(path: Path) -> None:
    c = camera()
    content = {
        "intrinsicMat": c.matrix,
        "distortion": np.append(c.distortion, 0.2)[None],
        "imageSize": np.array([[1280.0], [720.0]]),
        "rotation": c.rotation,
        "translation": c.translation[:, None] * 1000,
    }
    path.write_bytes(pickle.dumps({k: np.array(v) for k, v in content.items()}, protocol=3))


def _mmpose_dump(path: Path) -> None:
    k = keypoints()
    content = [
        {
            "img_id": i,
            "id": i,
            "img_path": f"{i:06d}.jpg",
            "pred_instances": {
                "keypoints": np.nan_to_num(k.xy[i : i + 1]).astype(np.float32),
                "keypoint_scores": k.confidence[i : i + 1].astype(np.float32),
                "bboxes": np.array([[0, 0, 700, 700]], np.float32),
                "bbox_scores": np.array([0.9], np.float32),
            },
        }
        for i in range(6)
    ]
    path.write_bytes(pickle.dumps(content, protocol=4))


QUALISYS = """<?xml version='1.0' encoding='ASCII'?>
<calibration created="a day" source="made up" type="regular">
  <cameras>
    <camera active="1" avg-residual="0.4" model="none" serial="cam01" viewrotation="0">
      <fov_video bottom="1919" left="0" right="1087" top="0"/>
      <transform r11="0" r12="1" r13="0" r21="0" r22="0" r23="1" r31="1" r32="0" r33="0"
                 x="-4000" y="100" z="1200"/>
      <intrinsic centerPointU="34110.3" centerPointV="60680.8" focalLengthU="107599.7"
                 focalLengthV="107588.8" radialDistortion1="-0.046" radialDistortion2="0.14"
                 radialDistortion3="0" sensorMinU="0" sensorMinV="0" sensorMaxU="69568"
                 sensorMaxV="122816" skew="0" tangentalDistortion1="0.0006" tangentalDistortion2="0.0007"/>
    </camera>
  </cameras>
</calibration>
"""
OPENSIM = """<?xml version="1.0" encoding="UTF-8"?>
<OpenSimDocument Version="40000">
  <MarkerSet name="few"><objects>
    <Marker name="R.ASIS"><socket_parent_frame>/bodyset/pelvis</socket_parent_frame>
      <location>0.02 0.01 0.12</location><fixed>true</fixed></Marker>
    <Marker name="L.ASIS"><socket_parent_frame>/bodyset/pelvis</socket_parent_frame>
      <location>0.02 0.01 -0.12</location></Marker>
  </objects></MarkerSet>
</OpenSimDocument>
"""


def video(path: Path, frames: int = 8, size: tuple[int, int] = (64, 48), rate: float = 25) -> None:
    """A short clip whose frame k is of one grey, 20 k + 10."""
    import cv2

    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
    assert writer.isOpened()
    for k in range(frames):
        writer.write(np.full((size[1], size[0], 3), 20 * k % 236 + 10, np.uint8))
    writer.release()


def _alphapose(path: Path) -> None:
    items = [
        {"image_id": f"{i}.jpg", "category_id": 1, "keypoints": flat, "score": 2.5, "idx": 1}
        for i, flat in enumerate(flat_points(6, 17))
    ]
    path.write_text(json.dumps(items))


def _mmpose_json(path: Path) -> None:
    frames = [
        {
            "frame_id": i,
            "instances": [
                {
                    "keypoints": [flat[3 * k : 3 * k + 2] for k in range(17)],
                    "keypoint_scores": flat[2::3],
                    "bbox": [[1, 2, 3, 4]],
                    "bbox_score": 0.9,
                }
            ],
        }
        for i, flat in enumerate(flat_points(6, 17))
    ]
    path.write_text(json.dumps(frames))


def _coco(path: Path) -> None:
    items = [
        {"image_id": 10 + i, "category_id": 1, "keypoints": flat, "score": 0.8}
        for i, flat in enumerate(flat_points(6, 17))
    ]
    path.write_text(json.dumps(items))


def _writes(noun: Callable[[], Any]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        write(path, noun())

    return make


def _text(text: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.write_text(text)

    return make


#: (format, file name, maker): every format at least once
MAKERS: tuple[tuple[str, str, Callable[[Path], None]], ...] = (
    ("trc", "walk.trc", _writes(markers)),
    ("storage", "walk.mot", _writes(motion)),
    ("storage", "forces.sto", _writes(signals)),
    ("c3d", "walk.c3d", _writes(markers)),
    ("csv", "walk.csv", _writes(motion)),
    ("csv", "markers.csv", _writes(markers)),
    ("parquet", "walk.parquet", _writes(motion)),
    ("npz", "people.npz", _writes(lambda: (keypoints("0"), keypoints("1", offset=40)))),
    ("smpl", "body.npz", _writes(body)),
    ("coco", "results.json", _coco),
    ("openpose", "openpose", _writes(lambda: (keypoints(name="openpose-25"),))),
    ("alphapose", "alphapose.json", _alphapose),
    ("mmpose-json", "mmpose.json", _mmpose_json),
    ("mmpose-dump", "dump.pkl", _mmpose_dump),
    ("opencap-keypoints", "opencap.pkl", _opencap_keypoints),
    ("opencap-camera", "cameraIntrinsicsExtrinsics.pickle", _opencap_camera),
    ("toml-cameras", "calib.toml", _writes(lambda: (camera("cam01"), camera("cam02")))),
    ("qualisys-cameras", "calib.qca.txt", _text(QUALISYS)),
    ("opencv-cameras", "cam01.yml", _writes(lambda: (camera(),))),
    ("opensim", "few_markers.xml", _text(OPENSIM)),
    ("video", "clip.mp4", video),
)


def make_all(folder: Path, only: str | None = None) -> dict[str, list[Path]]:
    """Every sample (of one format) below ``folder``: format name -> its files."""
    made: dict[str, list[Path]] = {}
    for name, file, maker in MAKERS:
        if only not in (None, name):
            continue
        path = folder / file
        maker(path)
        made.setdefault(name, []).append(path)
    return made
