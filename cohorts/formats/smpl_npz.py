"""Body-model parameters as AMASS keeps them in .npz: SMPL, SMPL+H, SMPL-X and MANO.

``poses`` (T, 3 J) axis-angle in radians, ``trans`` (T, 3) metres, ``betas`` (B,), ``gender``, and the
frame rate under ``mocap_framerate`` (SMPL+H files) or ``mocap_frame_rate`` (SMPL-X files). The width of
``poses`` tells the family: 72, 156, 165 or 48. Files of AMASS's own also hold pickled objects, which are
left unread.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from cohorts.bounded import about, load_npz, replacing
from cohorts.errors import CapbenchError, unknown_name
from cohorts.formats.keypoint_lists import check_rate
from cohorts.recording import BodyFamily, BodyParameters
from cohorts.values import FloatArray

Arrays = Mapping[str, NDArray[Any]]
Unit = Literal["m", "cm", "mm"]
Gender = Literal["neutral", "female", "male"]
FAMILIES: dict[int, BodyFamily] = {
    3 * joints: cast(BodyFamily, name) for name, joints in BodyParameters.JOINTS.items()
}
_RATES = ("mocap_framerate", "mocap_frame_rate")
_METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}
_FARTHEST = 100.0  #: metres from the origin: a person in millimetres is farther, a walk in metres is not
_TURNS = 20.0  #: radians; no joint turns three times over, but by 20 degrees all the time


def recognise(content: Any) -> bool:
    """Whether the arrays of an .npz look like body-model parameters."""
    if not isinstance(content, dict) or "capbench" in content:
        return False
    return "poses" in content and "trans" in content


def read(
    path: Path, *, notes: list[str] | None = None, rate: float | None = None, units: Unit = "m"
) -> BodyParameters:
    """Body parameters of an AMASS-like .npz: radians and metres.

    ``rate`` (frames per second) stands in for a missing frame rate or overrules the file's; ``units``
    ("m", "cm", "mm") is the unit of the file's ``trans``.
    """
    notes = [] if notes is None else notes
    objects: list[str] = []
    arrays = load_npz(path, objects)
    if objects:
        notes.append(f"not read (pickled objects): {', '.join(objects)}")
    with about(path):
        poses = _numbers(arrays, "poses")
        if poses.ndim != 2 or poses.shape[1] not in FAMILIES:
            widths = ", ".join(f"{width} ({name})" for width, name in FAMILIES.items())
            raise CapbenchError(f"Expected poses of shape (T, W) with W one of {widths}, got {poses.shape}.")
        family = FAMILIES[poses.shape[1]]
        _check_type(arrays, family)
        trans = _trans(arrays, units, notes)
        _note_angles(poses, notes)
        return BodyParameters(
            family=family,
            time=_time(arrays, len(poses), rate, notes),
            poses=poses.reshape(len(poses), poses.shape[1] // 3, 3),
            trans=trans,
            betas=_betas(arrays),
            gender=_gender(arrays, notes),
        )


def _numbers(arrays: Arrays, key: str) -> FloatArray:
    if key not in arrays:
        raise CapbenchError(f"Expected the array {key!r}, got none.")
    array = arrays[key]
    if array.dtype.kind not in "iuf":
        raise CapbenchError(f"Expected numbers, got {array.dtype}.", place=f"array {key}")
    return array.astype(np.float64)


def _text(arrays: Arrays, key: str) -> str:
    """The one text in an array, be it text or bytes, bare or in a list; "" for an absent array."""
    array = arrays.get(key)
    if array is None:
        return ""
    if array.dtype.kind not in "SU" or array.size != 1:
        raise CapbenchError(
            f"Expected one word, got {array.dtype} of shape {array.shape}.", place=f"array {key}"
        )
    value = array.item()
    return (value.decode("latin-1") if isinstance(value, bytes) else value).strip()


def _check_type(arrays: Arrays, family: BodyFamily) -> None:
    said = _text(arrays, "surface_model_type").lower()
    if said and said != family:
        raise CapbenchError(f"Expected the poses of {said[:20]}, as the file says, got those of {family}.")


def _trans(arrays: Arrays, units: str, notes: list[str]) -> FloatArray:
    if units not in _METRES:
        raise unknown_name("unit", units, _METRES)
    with np.errstate(invalid="ignore"):  # the noun refuses what is not finite
        trans = _numbers(arrays, "trans") * _METRES[units]
    farthest = float(np.max(np.abs(trans), initial=0, where=np.isfinite(trans)))
    if farthest > _FARTHEST:
        raise CapbenchError(
            f"Expected trans within {_FARTHEST:g} m of the origin, got {farthest:.4g} m when read in "
            f"{units}: these are surely millimetres.",
            fix="--units mm",
        )
    return trans


def _note_angles(poses: FloatArray, notes: list[str]) -> None:
    largest = float(np.max(np.abs(poses), initial=0, where=np.isfinite(poses)))
    if largest > _TURNS:
        notes.append(f"rotations of up to {largest:.4g} radians: are they degrees?")


def _time(arrays: Arrays, frames: int, rate: float | None, notes: list[str]) -> FloatArray:
    """Seconds of each frame: the file's own, or counted by the frame rate."""
    check_rate(rate)
    if rate is None and "time" in arrays:
        return _numbers(arrays, "time")
    given = [_rate(arrays, key) for key in _RATES if key in arrays]
    if len(set(given)) > 1:
        raise CapbenchError(f"Expected one frame rate, got {given[0]:g} and {given[1]:g}.", fix="give --rate")
    if rate is None and not given:
        notes.append("no frame rate in the file: time counts frames; give --rate")
    if rate is not None and given and given[0] != rate:
        notes.append(f"the file says {given[0]:g} frames per second; {rate:g} used as asked")
    return np.arange(frames) / (rate or (given[0] if given else 1.0))


def _rate(arrays: Arrays, key: str) -> float:
    value = _numbers(arrays, key)
    if value.size != 1 or not 0 < value.item() <= 1e6:
        raise CapbenchError(
            f"Expected one frame rate above 0 and up to 1e6 per second, got {value.ravel()[:3].tolist()}.",
            place=f"array {key}",
            fix="give --rate",
        )
    return float(value.item())


def _betas(arrays: Arrays) -> FloatArray:
    """(B,) of ``betas`` (B,), (1, B) or, where they never change, (T, B)."""
    betas = _numbers(arrays, "betas")
    if betas.ndim == 2 and len(betas) and (betas == betas[0]).all():
        betas = betas[0]
    elif betas.ndim == 2:
        raise CapbenchError("Expected one shape for the whole sequence, got betas that change over time.")
    return betas


def _gender(arrays: Arrays, notes: list[str]) -> Gender:
    word = _text(arrays, "gender").lower()
    word = word.removeprefix("b'").removesuffix("'")  # as str() of bytes left it in some files
    if not word:
        notes.append("no gender in the file: taken as neutral")
        return "neutral"
    if word not in ("neutral", "female", "male"):
        raise unknown_name("gender", word[:20], ("neutral", "female", "male"))
    return cast(Gender, word)


def write(path: Path, value: BodyParameters, *, overwrite: bool = False) -> None:
    """Write body parameters under AMASS's keys, plus ``time`` (seconds), which AMASS does not have.

    The frame rate is the mean one (the median where frames are uneven); ``time`` keeps the exact instants.
    """
    arrays: dict[str, NDArray[Any]] = {
        "poses": value.poses.reshape(len(value), -1),
        "trans": value.trans,
        "betas": value.betas,
        "gender": np.array(value.gender),
        "time": value.time,
    }
    smplx = value.family == "smplx"
    if smplx:
        arrays["surface_model_type"] = np.array("smplx")
    if len(value) > 1:
        arrays[_RATES[smplx]] = np.array(value.rate)
    with replacing(path, overwrite=overwrite) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
