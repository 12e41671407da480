"""Virtual phones round the subject: OpenCap's five-camera arrangement, or any other."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from cohorts.camera import Camera
from cohorts.errors import CapbenchError, unknown_name
from cohorts.values import FloatArray

#: degrees about the vertical from the direction the subject faces, positive to the subject's left, as the
#: five phones of OpenCap's LabValidation stand (Uhlrich et al. 2023)
AZIMUTHS: Mapping[str, float] = {"Cam0": -70.0, "Cam1": -45.0, "Cam2": 0.0, "Cam3": 45.0, "Cam4": 70.0}
DEFAULT = ("Cam1", "Cam3")  #: the pair that OpenCapBench uses
PHONE_SIZE = (720, 1280)  #: pixels, portrait
#: of an iPhone 12 Pro (iPhone13,3) as OpenCap calibrated it: fx, fy, cx, cy and k1 k2 p1 p2 k3
PHONE_MATRIX = (913.22, 913.52, 366.49, 638.50)
PHONE_DISTORTION = (0.1278, -0.2842, -0.0003, 0.0001, 0.2134)


def phone_rig(
    names: Sequence[str] = DEFAULT,
    *,
    azimuths: Mapping[str, float] = AZIMUTHS,
    distance: float = 3.5,
    height: float = 1.2,
    target: Sequence[float] = (0.0, 0.95, 0.0),
    size: tuple[int, int] = PHONE_SIZE,
    jitter: float = 0.0,
    seed: int = 0,
) -> list[Camera]:
    """Phones on tripods round a subject who faces +x.

    Parameters
    ----------
    names : of ``azimuths``
    azimuths : name -> degrees, as ``AZIMUTHS``; another mapping makes another rig
    distance, height : metres from the target's vertical, and of the lens above the floor
    target : where they look, metres
    size : pixels of the pictures; see ``phone_matrix``
    jitter : metres, standard deviation of how far hands put each phone, and aim it, from where they should
    seed : of the jitter; a phone's does not depend on which others there are
    """
    matrix = phone_matrix(size)
    cameras = []
    for name in names:
        if name not in azimuths:
            raise unknown_name("phone", name, azimuths)
        random = np.random.default_rng(
            np.random.SeedSequence([seed, zlib.crc32(b"rig"), zlib.crc32(name.encode())])
        )
        azimuth = np.radians(azimuths[name])
        aim = np.array(target, float)
        place = np.array([aim[0] + distance * np.cos(azimuth), height, aim[2] - distance * np.sin(azimuth)])
        place += jitter * random.normal(size=3) * [1, 0.5, 1]
        aim += jitter * random.normal(size=3)
        rotation = facing(place, aim)
        cameras.append(
            Camera(name, matrix, rotation, -rotation @ place, size, np.array(PHONE_DISTORTION), "pinhole")
        )
    return cameras


def phone_matrix(size: tuple[int, int] = PHONE_SIZE) -> FloatArray:
    """(3, 3) the phone's intrinsics for pictures of another size (pixel centres are whole numbers).

    The phone's picture is scaled to cover that size; what then sticks out is cut off evenly.
    """
    if min(size) < 1:
        raise CapbenchError(f"Expected a size (width, height) in pixels, got {tuple(size)}.", fix="360 x 640")
    share = max(size[0] / PHONE_SIZE[0], size[1] / PHONE_SIZE[1])
    fx, fy, cx, cy = PHONE_MATRIX
    over = [(side * share - wanted) / 2 for side, wanted in zip(PHONE_SIZE, size, strict=True)]
    return np.array(
        [
            [fx * share, 0.0, (cx + 0.5) * share - 0.5 - over[0]],
            [0.0, fy * share, (cy + 0.5) * share - 0.5 - over[1]],
            [0.0, 0.0, 1.0],
        ]
    )


def cut(camera: Camera, box: Sequence[float], size: tuple[int, int]) -> Camera:
    """The camera of a cut-out of its picture, scaled: what a network sees of one person.

    ``box`` (left, top, right, bottom): edges in pixels of the camera, where pixel 0 reaches from -0.5 to 0.5;
    it may stick out of the picture. ``size`` (width, height): pixels of the cut-out.
    """
    left, top, right, bottom = (float(edge) for edge in box)
    if not (right > left and bottom > top):
        raise CapbenchError(f"Expected a box (left, top, right, bottom), got {tuple(box)}.")
    scale = np.array([size[0] / (right - left), size[1] / (bottom - top)])
    matrix = camera.matrix.copy()
    matrix[:2, 2] -= [left, top]
    matrix[:2] *= scale[:, None]
    matrix[:2, 2] -= 0.5
    return replace(camera, matrix=matrix, size=size)


def facing(place: FloatArray, aim: FloatArray) -> FloatArray:
    """(3, 3) world -> camera rotation of an upright camera at ``place`` that looks at ``aim``."""
    forward = aim - place
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward])
