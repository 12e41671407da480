"""ONNX networks with heatmap or SimCC heads (RTMPose, RTMW, DWPose, ViTPose, HRNet exports), by onnxruntime.

A file may keep its weights in other files; they must lie in the model's folder (:mod:`onnx_file` looks before
the runtime does). Operators from outside the runtime are never loaded. One thread setting gives one result.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from capbench.models.adapters.onnx_file import FileFacts, look
from capbench.models.card import Codec, Input, ModelCard, file_below
from capbench.models.faults import ModelFault
from capbench.models.topdown import TopDown
from cohorts.errors import CapbenchError, EnvironmentFault
from cohorts.formats.keypoint_lists import GUESSES
from cohorts.store import sha256

#: how many points -> which skeleton a file without a card is taken to have
SKELETONS = {count: GUESSES[count] for count in (17, 26, 52, 133)}
Head = Literal["heatmap", "simcc", "points"]


def open(
    card: ModelCard, folder: Path, *, device: str = "cpu", threads: int | None = None, **_: object
) -> TopDown:
    """The network of ``card``, whose first file is the ONNX one; ``threads`` within one operator."""
    if card.weights is None:
        raise CapbenchError(f"Expected an ONNX file among the files of {card.name}, got none.")
    path = file_below(folder, card.weights)
    look(path)
    network = Network(path, card, device=device, threads=threads)
    return TopDown(card, network.run, close=network.close)


class Network:
    """A session, its input and which of its outputs are which."""

    def __init__(
        self, path: Path, card: ModelCard, *, device: str = "cpu", threads: int | None = None
    ) -> None:
        self._session = session(path, device=device, threads=threads)
        self._card = card
        given = self._session.get_inputs()
        if len(given) != 1:
            raise CapbenchError(
                f"Expected a network with one input (pictures), got {len(given)}.",
                file=path,
                fix="export it without pre- or post-processing",
            )
        self._input = given[0]
        self._names = [output.name for output in self._session.get_outputs()]
        self._half = "float16" in self._input.type
        if "float" not in self._input.type:
            raise CapbenchError(
                f"Expected a network that takes float pictures, got {self._input.type}.", file=path
            )
        first = self._input.shape[0] if self._input.shape else None
        self._batch = first if isinstance(first, int) and first > 0 else None

    def run(self, batch: NDArray[np.float32]) -> Mapping[str, NDArray[Any]]:
        """See :data:`~capbench.models.topdown.Run`; a network of fixed batch size is fed so."""
        if self._batch is None or self._batch == len(batch):
            return self._named(self._raw(batch))
        parts = []
        for start in range(0, len(batch), self._batch):
            part = batch[start : start + self._batch]
            short = self._batch - len(part)
            padded = np.concatenate([part, np.zeros_like(part, shape=(short, *part.shape[1:]))])
            parts.append([values[: len(part)] for values in self._raw(padded)])
        whole = [np.concatenate(values) for values in zip(*parts, strict=True)]
        return self._named(whole)

    def close(self) -> None:
        """Drop the session."""
        del self._session

    def _raw(self, batch: NDArray[np.float32]) -> list[NDArray[Any]]:
        if self._card.input is not None and self._card.input.layout == "nhwc":
            batch = np.ascontiguousarray(batch.transpose(0, 2, 3, 1))
        fed = batch.astype(np.float16) if self._half else batch
        try:
            found = self._session.run(None, {self._input.name: fed})
        except Exception as error:  # onnxruntime has a dozen kinds, none of them public
            raise ModelFault(f"The network can't be run: {_first_line(error)}", kind="threw") from error
        return [np.asarray(values) for values in found]

    def _named(self, values: list[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        size = (192, 256) if self._card.input is None else self._card.input.size
        count = len(self._card.points)
        shapes = {name: v.shape for name, v in zip(self._names, values, strict=True)}
        by_name = dict(zip(self._names, values, strict=True))
        chosen = choose(shapes, count, size, kind=None if self._card.codec is None else self._card.codec.kind)
        picked = {role: by_name[name] for role, name in chosen.items()}
        maps = picked.get("heatmaps")
        if maps is not None and maps.shape[1] != count and maps.shape[-1] == count:
            picked["heatmaps"] = maps.transpose(0, 3, 1, 2)
        return {role: v.astype(np.float32, copy=False) for role, v in picked.items()}


def session(path: Path, *, device: str = "cpu", threads: int | None = None) -> Any:
    """An onnxruntime session that gives the same bytes each time, or why there is none."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1 if threads is None else threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others share the machine
    provider = _provider(device)
    try:
        made = ort.InferenceSession(str(path), options, providers=[provider])
    except Exception as error:
        raise CapbenchError(
            f"Expected an ONNX network that onnxruntime {ort.__version__} can run, got: {_first_line(error)}",
            file=path,
            fix="export it again with the standard operators only",
        ) from None
    if device != "cpu" and "CUDAExecutionProvider" not in made.get_providers():
        raise EnvironmentFault(  # onnxruntime falls back to the CPU and only logs it
            "Expected onnxruntime to run on CUDA, got the CPU: its CUDA libraries don't load.",
            fix="--device cpu, or install the CUDA and cuDNN that this onnxruntime was built for",
        )
    return made


def _provider(device: str) -> Any:
    import onnxruntime as ort

    if device == "cpu":
        return "CPUExecutionProvider"
    kind, _, number = device.partition(":")
    if kind != "cuda" or (number and not number.isdecimal()):
        raise CapbenchError(f"Expected the device cpu, cuda or cuda:N, got {device!r}.")
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        raise EnvironmentFault(
            "Expected an onnxruntime with CUDA, got one without.",
            fix="--device cpu, or: pip install onnxruntime-gpu in its place",
        )
    return ("CUDAExecutionProvider", {"device_id": int(number or 0), "use_tf32": 0})


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0][:300] if text else type(error).__name__


# --- which output is which ----------------------------------------------------------------------


def choose(
    shapes: Mapping[str, tuple[Any, ...]], count: int, size: tuple[int, int], *, kind: str | None
) -> dict[str, str]:
    """Role ("heatmaps", "simcc_x", "simcc_y", "points", "confidence") -> output, by shapes and by names.

    ``shapes`` may hold None or names for axes that are not fixed; ``kind`` is the codec's, if it is known.
    """
    maps = [name for name, s in shapes.items() if len(s) == 4 and count in (s[1], s[-1])]
    vectors = [name for name, s in shapes.items() if len(s) == 3 and s[1] == count and s[2] not in (2, 3)]
    points = [name for name, s in shapes.items() if len(s) == 3 and s[1] == count and s[2] == 2]
    if maps and kind in (None, "heatmap"):
        return {"heatmaps": maps[0]}
    if len(vectors) >= 2 and kind in (None, "simcc"):
        x, y = _axes(vectors, shapes, size)
        return {"simcc_x": x, "simcc_y": y}
    if points and kind in (None, "regression", "direct"):
        weights = [name for name, s in shapes.items() if s and s[1:] in ((count,), (count, 1))]
        return {"points": points[0], **({"confidence": weights[0]} if weights else {})}
    listed = "; ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
    raise ModelFault(
        f"Expected {_wanted(kind)} for {count} points among the network's outputs, got {listed or 'none'}.",
        kind="shape",
        fix="see whether the card's skeleton and codec are those of this network",
    )


def _wanted(kind: str | None) -> str:
    return {
        "heatmap": "heatmaps (n, points, h, w)",
        "simcc": "two SimCC vectors (n, points, bins)",
        "regression": "points (n, points, 2)",
        "direct": "points (n, points, 2)",
    }.get(kind or "", "heatmaps, SimCC vectors or points")


def _axes(
    vectors: list[str], shapes: Mapping[str, tuple[Any, ...]], size: tuple[int, int]
) -> tuple[str, str]:
    """Which of the vectors is x and which y: by name, else by length, else in their order."""
    named = {axis: [v for v in vectors if v.lower().endswith((f"_{axis}", f".{axis}"))] for axis in "xy"}
    if len(named["x"]) == len(named["y"]) == 1:
        return named["x"][0], named["y"][0]
    one, other = vectors[:2]
    a, b = shapes[one][2], shapes[other][2]
    if isinstance(a, int) and isinstance(b, int) and a * size[0] == b * size[1] and a != b:
        return other, one
    return one, other


# --- a file without a card ----------------------------------------------------------------------


def card_of(path: Path) -> ModelCard:
    """A card from what the file itself tells; its ``notes`` say what was guessed."""
    facts = look(path)
    size = _size(path, facts)
    shapes = _outputs(path, size)
    count, head = _head(path, shapes)
    notes = [
        f"Guessed from the file's shapes: {SKELETONS[count]}, as it gives {count} points; colours RGB, "
        "ImageNet's mean and std; boxes padded by 1.25; no flip test; licence and training data unknown.",
    ]
    codec = _codec(facts, head, notes)
    return ModelCard(
        name=_name(path),
        version="unknown",
        licence="unknown",
        route="onnx",
        skeleton=SKELETONS[count],
        input=Input(size=size),
        codec=codec,
        files={path.name: sha256(path), **{name: sha256(path.parent / name) for name in facts.external}},
        notes=tuple(notes),
    )


def _name(path: Path) -> str:
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in path.stem)
    return kept.lstrip("._-")[:80] or "model"


def _size(path: Path, facts: FileFacts) -> tuple[int, int]:
    shape = facts.input_shape
    if len(shape) == 4 and shape[1] == 3 and all(isinstance(s, int) and s >= 8 for s in shape[2:]):
        return int(shape[3] or 0), int(shape[2] or 0)
    raise CapbenchError(
        f"Expected a network that takes pictures (n, 3, height, width) of fixed size, got {list(shape)}.",
        file=path,
        fix=f"write a card beside it: capbench models init {path}",
    )


def _outputs(path: Path, size: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """The outputs' shapes for one black picture."""
    made = session(path)
    given = made.get_inputs()[0]
    first = given.shape[0] if isinstance(given.shape[0], int) and given.shape[0] > 0 else 1
    kind = np.float16 if "float16" in given.type else np.float32
    try:
        values = made.run(None, {given.name: np.zeros((first, 3, size[1], size[0]), dtype=kind)})
    except Exception as error:
        raise ModelFault(f"The network can't be run: {_first_line(error)}", kind="threw", file=path) from None
    return {output.name: np.shape(v) for output, v in zip(made.get_outputs(), values, strict=True)}


def _head(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, Head]:
    for count in SKELETONS:
        if any(len(s) == 4 and s[1] == count for s in shapes.values()):
            return count, "heatmap"
        if sum(len(s) == 3 and s[1] == count and s[2] > 3 for s in shapes.values()) == 2:
            return count, "simcc"
    listed = "; ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
    raise CapbenchError(
        "Expected heatmaps (n, points, h, w) or two SimCC vectors (n, points, bins) of "
        f"{', '.join(map(str, SKELETONS))} points, got {listed}.",
        file=path,
        fix=f"write a card beside it that says what they are: capbench models init {path}",
    )


def _codec(facts: FileFacts, head: Head, notes: list[str]) -> Codec:
    if head == "simcc":
        notes.append("Guessed: bins a pixel from the vectors' lengths.")
        return Codec(kind="simcc")
    attends = bool({"Softmax", "LayerNormalization", "Attention", "MultiHeadAttention"} & facts.operators)
    notes.append(
        "Guessed: decoding udp, since it attends as ViTPose does."
        if attends
        else "Guessed: decoding dark in msra geometry, as for HRNet."
    )
    return Codec(kind="heatmap", decoding="udp" if attends else "dark")
