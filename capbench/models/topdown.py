"""A network that looks at one person's crop, as a :class:`~capbench.models.predictor.Predictor`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from capbench.models import crop, decode, flip
from capbench.models.card import Codec, Input, ModelCard, codec_of, input_of
from capbench.models.faults import ModelFault
from capbench.models.predictor import Picture, Predicted
from cohorts.errors import CapbenchError
from cohorts.values import FloatArray

#: float32 (n, 3, h, w) -> "heatmaps" (n, K, h', w'); or "simcc_x" (n, K, bins) and "simcc_y"; or "points"
#: (n, K, 2) and perhaps "confidence" (n, K)
Run = Callable[[NDArray[np.float32]], Mapping[str, NDArray[Any]]]
Outputs = dict[str, NDArray[Any]]

#: what each codec is decoded from -> how many axes it has
_NEEDED: Mapping[str, Mapping[str, int]] = {
    "heatmap": {"heatmaps": 4},
    "simcc": {"simcc_x": 3, "simcc_y": 3},
    "regression": {"points": 3},
    "direct": {"points": 3},
}
_LARGEST = 1 << 28  #: values in one output; a network that gives more is not one for keypoints


class TopDown:
    """Crop, normalise, run, decode, and back to pixels of the picture; the flip test inside.

    Parameters
    ----------
    card : with ``input``, ``codec`` and ``skeleton``
    run : the network; the same for one picture and for many
    close : gives back what the network holds
    """

    def __init__(self, card: ModelCard, run: Run, *, close: Callable[[], None] | None = None) -> None:
        self._card = card
        self._run = run
        self._close = close
        self._input: Input = input_of(card)
        self._codec: Codec = codec_of(card)
        self._flip_indices = card.points.flip_indices
        self._count = len(card.points)

    @property
    def card(self) -> ModelCard:
        """What it is."""
        return self._card

    def predict(self, frames: Sequence[Picture], boxes: FloatArray) -> Predicted:
        """See :class:`~capbench.models.predictor.Predictor`.

        A box that is not finite or has no area gives no points. The covariance is the spread of the map or
        vector about its peak: how widely the network spreads its bets, not yet how far it errs.
        """
        crops = crop.plan(
            boxes,
            self._input.size,
            padding=self._input.padding,
            geometry="udp" if self._codec.udp else "msra",
        )
        if len(frames) != len(crops.good):
            raise CapbenchError(f"Expected a box a picture, got {len(crops.good)} for {len(frames)}.")
        for frame in frames:
            if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
                raise CapbenchError(
                    f"Expected pictures (height, width, 3) of uint8, got {frame.shape} of {frame.dtype}."
                )
        n, k = len(frames), self._count
        points, confidence = np.full((n, k, 2), np.nan), np.zeros((n, k))
        spread = np.full((n, k, 2, 2), np.nan) if self._has_covariance else None
        rows = np.flatnonzero(crops.good)
        for start in range(0, len(rows), self._card.limits.batch):
            part = rows[start : start + self._card.limits.batch]
            some = crop.Crops(crops.size, crops.scale[part], crops.shift[part], crops.good[part])
            cells = self._decoded(self._answer(crop.cut([frames[i] for i in part], some)))
            points[part] = some.to_picture(cells.cells)
            confidence[part] = cells.confidence
            if spread is not None and cells.covariance is not None:
                spread[part] = some.covariance_to_picture(cells.covariance)
        return Predicted(points, confidence, spread)

    def close(self) -> None:
        """Give back what the network holds."""
        if self._close is not None:
            self._close()

    @property
    def _has_covariance(self) -> bool:
        return self._codec.covariance and self._codec.kind in ("heatmap", "simcc")

    # --- the network ----------------------------------------------------------------------------

    def _answer(self, crops: Picture) -> Outputs:
        """What the network says of crops (n, h, w, 3), averaged with what it says of their mirror images."""
        batch = normalised(crops, self._input)
        found = self._asked(batch)
        if not self._card.flip_test:
            return found
        return flip.averaged(found, self._back(self._asked(flip.mirrored(batch))))

    def _asked(self, batch: NDArray[np.float32]) -> Outputs:
        try:
            found = self._run(batch)
        except CapbenchError:
            raise
        except MemoryError as error:
            raise ModelFault(f"The model ran out of memory: {error}.", kind="memory") from error
        except Exception as error:  # whatever a network's code throws is the model's fault
            raise ModelFault(f"The model threw {type(error).__name__}: {error}", kind="threw") from error
        outputs = {
            name: _checked(found, name, axes, len(batch), self._count)
            for name, axes in _NEEDED[self._codec.kind].items()
        }
        if "points" in outputs and outputs["points"].shape[2] != 2:
            raise _shape("points (n, K, 2)", outputs["points"].shape)
        if "points" in outputs and "confidence" in found:
            outputs["confidence"] = _checked(found, "confidence", 2, len(batch), self._count)
        return self._activated(outputs)

    def _activated(self, outputs: Outputs) -> Outputs:
        activation = self._codec.activation
        if activation == "none" or "points" in outputs:
            return outputs
        return {
            name: decode.activate(values, activation, axes=tuple(range(2, values.ndim)))
            for name, values in outputs.items()
        }

    def _back(self, outputs: Outputs) -> Outputs:
        """The answer to mirrored crops, mirrored back."""
        indices, shift = self._flip_indices, self._card.shift_heatmap
        if "heatmaps" in outputs:
            moved = not self._codec.udp if shift is None else shift
            return {"heatmaps": flip.heatmaps_back(outputs["heatmaps"], indices, shift=moved)}
        if "simcc_x" in outputs:
            bins = round(self._ratio(outputs)[0] - 1) if shift else 0
            x, y = flip.simcc_back(outputs["simcc_x"], outputs["simcc_y"], indices, shift=bins)
            return {"simcc_x": x, "simcc_y": y}
        pixels = self._input.size[0]
        width = 1 - 1 / pixels if self._codec.kind == "regression" else pixels - 1
        back = {"points": flip.points_back(outputs["points"], indices, width=width)}
        if "confidence" in outputs:
            back["confidence"] = outputs["confidence"][:, list(indices)]
        return back

    # --- its answer -----------------------------------------------------------------------------

    def _decoded(self, outputs: Outputs) -> decode.Peaks:
        """Points in pixels of the crops."""
        codec, size = self._codec, self._input.size
        if codec.kind == "heatmap":
            maps = outputs["heatmaps"]
            found = decode.heatmaps(
                maps, decoding=codec.decoding or "dark", kernel=codec.kernel, covariance=codec.covariance
            )
            per = np.array(decode.cell_size(size, (maps.shape[3], maps.shape[2]), codec=codec))
        elif codec.kind == "simcc":
            found = decode.simcc(
                outputs["simcc_x"], outputs["simcc_y"], refine=codec.refine, covariance=codec.covariance
            )
            per = 1 / np.array(self._ratio(outputs))
        else:
            found = _points(outputs)
            per = np.array(size if codec.kind == "regression" else (1, 1), dtype=np.float64)
        spread = None if found.covariance is None else found.covariance * (per[:, None] * per)
        confidence = found.confidence
        if codec.activation == "softmax":
            confidence = np.minimum(confidence / decode.highest(codec), 1.0)
        return decode.Peaks(found.cells * per, confidence, spread)

    def _ratio(self, outputs: Outputs) -> tuple[float, float]:
        """Bins a pixel along x and y."""
        if self._codec.split_ratio is not None:
            return self._codec.split_ratio, self._codec.split_ratio
        (width, height), (x, y) = self._input.size, (outputs["simcc_x"], outputs["simcc_y"])
        return x.shape[2] / width, y.shape[2] / height


def normalised(crops: Picture, wanted: Input) -> NDArray[np.float32]:
    """Crops (n, h, w, 3) of RGB as the network wants them: float32 (n, 3, h, w)."""
    mean, std = np.array(wanted.mean), np.array(wanted.std)
    factor, offset = wanted.scale / (255 * std), -mean / std
    channels = crops[..., ::-1] if wanted.colour == "bgr" else crops
    batch = np.ascontiguousarray(channels.transpose(0, 3, 1, 2), dtype=np.float32)
    batch *= factor.astype(np.float32)[:, None, None]
    batch += offset.astype(np.float32)[:, None, None]
    return batch


def _points(outputs: Outputs) -> decode.Peaks:
    """Points that the network gives itself; one without a finite confidence is missing."""
    points = outputs["points"].astype(np.float64)
    given = outputs.get("confidence")
    confidence = np.ones(points.shape[:2]) if given is None else given.astype(np.float64)
    usable = np.isfinite(points).all(axis=2) & np.isfinite(confidence)
    points[~usable] = np.nan
    return decode.Peaks(points, np.where(usable, np.maximum(confidence, 0), 0.0))


def _checked(found: object, name: str, axes: int, n: int, k: int) -> NDArray[Any]:
    """The output called ``name``, or the model's fault."""
    if not isinstance(found, Mapping) or name not in found:
        given = ", ".join(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
        raise ModelFault(f"Expected the model to give {name}, got {given or 'nothing'}.", kind="shape")
    values = np.asarray(found[name])
    if values.dtype.kind not in "fiu":
        raise ModelFault(f"Expected numbers for {name}, got {values.dtype}.", kind="shape")
    shape = values.shape
    if len(shape) != axes or shape[:2] != (n, k) or 0 in shape[2:] or values.size > _LARGEST:
        raise _shape(f"{name} ({', '.join([str(n), str(k), *'hw'[: axes - 2]])})", shape)
    return values


def _shape(wanted: str, found: tuple[int, ...]) -> ModelFault:
    return ModelFault(
        f"Expected the model to give {wanted}, got shape {found}.",
        kind="shape",
        fix="see whether the card's skeleton, input size and codec are those of this model",
    )
