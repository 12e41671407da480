"""A model's answers, checked: shapes, finite numbers, confidences that mean something."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from capbench.models.faults import FaultKind, ModelFault
from capbench.models.predictor import Picture, Predicted, Predictor
from cohorts.camera import Camera
from cohorts.errors import CapbenchError
from cohorts.values import FloatArray

FAR = 1.0  #: how many pictures beyond the picture's edge a point is far outside
ABSURD = 1e7  #: pixels or metres that nothing can mean
Look = tuple[str, int, Picture, FloatArray]  #: camera, frame number, picture, box (4,) in pixels


class Asked(NamedTuple):
    """What the model says of one person.

    ``xy`` (K, 2) pixels, ``confidence`` (K,), ``covariance`` (K, 2, 2) pixels² or None, and of a 3D model
    ``xyz`` (K, 3) metres in the camera's frame.
    """

    xy: FloatArray
    confidence: FloatArray
    covariance: FloatArray | None
    xyz: FloatArray | None


class Asker:
    """Asks a model and checks what it says.

    Attributes
    ----------
    skeleton : the points it gives
    in_space : whether they are 3D
    batch : pictures it gets at once at most
    seconds : spent in the model so far
    outside : points so far that lie more than a picture's size outside the picture
    """

    def __init__(self, predictor: Predictor, cameras: Mapping[str, Camera], batch: int) -> None:
        self._predictor = predictor
        # a 3D model speaks of the camera's own frame
        self._cameras = {
            name: replace(camera, rotation=np.eye(3), translation=np.zeros(3))
            for name, camera in cameras.items()
        }
        self.skeleton = predictor.card.points
        self.in_space = predictor.card.kind == "keypoints3d"
        self.batch = max(1, batch)
        self.seconds = 0.0
        self.outside = 0

    def ask(self, looks: Sequence[Look]) -> list[Asked]:
        """The model's answer to each look, in batches."""
        return [
            answer
            for start in range(0, len(looks), self.batch)
            for answer in self._batch(looks[start : start + self.batch])
        ]

    def _batch(self, looks: Sequence[Look]) -> list[Asked]:
        boxes = np.array([box for *_, box in looks])
        began = time.perf_counter()
        try:
            said = self._predictor.predict([picture for _, _, picture, _ in looks], boxes)
        except CapbenchError:
            raise  # a fault that has its words already
        except MemoryError as error:
            raise ModelFault("The model ran out of memory.", kind="memory", place=_place(looks)) from error
        except Exception as error:
            raise ModelFault(
                f"The model threw {type(error).__name__}: {str(error)[:300]}",
                kind="threw",
                place=_place(looks),
            ) from error
        self.seconds += time.perf_counter() - began
        return self._checked(said, looks)

    def _checked(self, said: Predicted, looks: Sequence[Look]) -> list[Asked]:
        n, k = len(looks), len(self.skeleton)
        axes = 3 if self.in_space else 2
        points = _array(said, 0, "points", (n, k, axes), looks)
        confidence = _array(said, 1, "confidences", (n, k), looks)
        missing: NDArray[np.bool_] = np.isnan(points).any(axis=-1)  # type: ignore[assignment]  # an array
        with np.errstate(invalid="ignore"):
            wild = np.abs(points).max(axis=-1, initial=0) > ABSURD
        for wrong, kind, found in (
            (wild, "nan", f"coordinates beyond {ABSURD:g}"),
            (~np.isfinite(confidence), "nan", "a confidence that is no number"),
            (confidence < 0, "protocol", "a confidence below 0"),
            (missing & (confidence > 0), "nan", "a point that is no number with a confidence above 0"),
        ):
            self._refuse(wrong, kind, found, looks)  # type: ignore[arg-type]  # literals, joined to str
        points = np.where(missing[..., None], np.nan, points)
        covariance = self._covariance(said, missing, looks)
        xyz = points if self.in_space else None
        xy = self._projected(points, looks) if self.in_space else points
        self._count_outside(xy, looks)
        return [
            Asked(
                xy[i],
                confidence[i],
                None if covariance is None else covariance[i],
                None if xyz is None else xyz[i],
            )
            for i in range(n)
        ]

    def _refuse(self, wrong: NDArray[np.bool_], kind: FaultKind, found: str, looks: Sequence[Look]) -> None:
        if wrong.any():
            i, j = np.argwhere(wrong)[0]
            camera, frame, *_ = looks[i]
            raise ModelFault(
                "Expected finite points and confidences of 0 or more, and 0 with NaN for a point that isn't "
                f"given; got {found}.",
                kind=kind,
                place=f"camera {camera}, frame {frame}, point {self.skeleton.points[j]}",
            )

    def _covariance(
        self, said: Predicted, missing: NDArray[np.bool_], looks: Sequence[Look]
    ) -> FloatArray | None:
        """Its covariances (n, K, 2, 2), or None; a 3D model's don't speak of pixels."""
        if len(said) < 3 or said[2] is None or self.in_space:
            return None
        c = _array(said, 2, "covariances", (*missing.shape, 2, 2), looks)
        with np.errstate(all="ignore"):
            det = c[..., 0, 0] * c[..., 1, 1] - c[..., 0, 1] * c[..., 1, 0]
            good = np.isfinite(c).all(axis=(-1, -2)) & (c[..., 0, 0] > 0) & (det > 0)
            good &= np.isclose(c[..., 0, 1], c[..., 1, 0])
        self._refuse(~(good | missing), "nan", "a covariance that isn't positive definite", looks)
        return np.where(missing[..., None, None], np.nan, c)

    def _projected(self, xyz: FloatArray, looks: Sequence[Look]) -> FloatArray:
        xy = np.full((*xyz.shape[:-1], 2), np.nan)
        for i, (camera, *_) in enumerate(looks):
            if camera in self._cameras:
                xy[i] = self._cameras[camera].project(xyz[i])
        return xy

    def _count_outside(self, xy: FloatArray, looks: Sequence[Look]) -> None:
        sides = np.array([picture.shape[1::-1] for _, _, picture, _ in looks], float)[:, None]
        with np.errstate(invalid="ignore"):
            far = (xy < -FAR * sides) | (xy > (1 + FAR) * sides)
        self.outside += int(far.any(axis=-1).sum())


def _place(looks: Sequence[Look]) -> str:
    (camera, frame, *_), (last, end, *_) = looks[0], looks[-1]
    return f"camera {camera}, frame {frame}" + (f" to camera {last}, frame {end}" if len(looks) > 1 else "")


def _array(said: Any, index: int, what: str, shape: tuple[int, ...], looks: Sequence[Look]) -> FloatArray:
    """Part ``index`` of the answer as float64 of ``shape``."""
    try:
        raw = np.asarray(said[index])
    except (TypeError, IndexError, KeyError, ValueError) as error:
        _wrong_shape(f"{what} of shape {shape}", f"{type(said).__name__} ({error})", looks)
    if raw.shape != shape or raw.dtype.kind not in "fiu":
        _wrong_shape(f"{what} of shape {shape}", f"shape {raw.shape} of {raw.dtype}", looks)
    return raw.astype(np.float64)


def _wrong_shape(expected: str, found: str, looks: Sequence[Look]) -> NoReturn:
    raise ModelFault(f"Expected {expected}, got {found}.", kind="shape", place=_place(looks))
