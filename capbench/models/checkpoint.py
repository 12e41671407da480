"""Weights from files of strangers: ``.pth``, ``.pt``, ``.bin``, ``.ckpt`` and ``.safetensors``.

Nothing of a file is run. ``torch.load`` is not used at all, not even with ``weights_only``: any foreign class
beside the weights makes it refuse, as the checkpoints of most training frameworks show, and then the only way
on is to let the file run. Here such classes become placeholders, and the result lists them.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from capbench.models.torch_pickle import Tensor, read_pickled
from cohorts.bounded import MB, about, read_bytes, replacing
from cohorts.errors import CapbenchError, RefusedError
from cohorts.formats.inert_values import InertObject, short

CHECKPOINT_LIMIT = 8192 * MB  #: ViT-H with its optimiser is 7.6 GB
HEADER_LIMIT = 64 * MB  #: of safetensors, whose own limit is 100 MB
TENSOR_LIMIT = 50_000
#: where training code keeps the weights, best first: averaged ones before those of the last step. mmengine's
#: hook has put the averaged ones into "state_dict" already when it writes an "ema_state_dict" beside
PLACES = (
    "state_dict",
    "model_ema",
    "ema",
    "ema_state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "weights",
    "params",
    "module",
)
#: wrappers that put their name before each parameter's
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "ema_model.")


@dataclass(frozen=True)
class Checkpoint:
    """Weights, and what else their file held.

    Attributes
    ----------
    tensors : name -> read-only array; bfloat16 as float32
    place : the keys that lead to them, such as "state_dict"; "" when the file is nothing but weights
    neutralised : classes and functions that the file asked for, none of which was imported or run
    notes : what was skipped or stripped
    meta : text that training code left beside them, such as MMPose's configuration ("cfg")
    """

    tensors: Mapping[str, NDArray[Any]]
    place: str = ""
    neutralised: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    meta: Mapping[str, Any] | None = None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape."""
        return {name: array.shape for name, array in self.tensors.items()}

    @property
    def parameters(self) -> int:
        """How many numbers; the norms' counters are none."""
        return sum(array.size for array in self.tensors.values() if array.dtype.kind == "f")


def read_checkpoint(path: str | os.PathLike[str], *, place: str | None = None) -> Checkpoint:
    """The weights in a file, found by what its bytes are and not by how it is called.

    ``place`` says where in the file they lie ("model", "ema.module"); without it they are looked for. Weights
    that are not finite are refused with their name.
    """
    path = Path(path)
    data = read_bytes(path, CHECKPOINT_LIMIT)
    with about(path):
        if not data:
            raise CapbenchError("Expected a checkpoint, got an empty file.", fix="fetch it again")
        made = Checkpoint(read_safetensors(data)) if is_safetensors(data) else _from_pickled(data, place)
        _check_finite(made.tensors)
    return made


def to_safetensors(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    place: str | None = None,
    overwrite: bool = False,
) -> Checkpoint:
    """Write the weights of ``source`` as ``target``, which no reader can run anything from."""
    made = read_checkpoint(source, place=place)
    write_safetensors(target, made.tensors, overwrite=overwrite)
    return made


def _check_finite(tensors: Mapping[str, NDArray[Any]]) -> None:
    for name, array in tensors.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = int(array.size - np.isfinite(array).sum())
            raise CapbenchError(
                f"Expected finite weights, got {bad} of {array.size} that are not in {short(name)}.",
                fix="take an earlier checkpoint: this training has diverged, or the file is damaged",
            )


# --- finding the weights in what training code wrote ------------------------------------------------


def _from_pickled(data: bytes, place: str | None) -> Checkpoint:
    pickled = read_pickled(data)
    content = pickled.content
    if isinstance(content, InertObject):
        raise CapbenchError(
            f"Expected weights by name, got a whole object of class {content.module}.{content.name}: reading "
            "it means running its maker's code.",
            fix="save model.state_dict() where that code is at hand, or run it as route python",
        )
    notes: list[str] = []
    found, way = _find(content, place)
    arrays = _arrays(found, notes)
    arrays = _stripped(arrays, notes)
    return Checkpoint(arrays, way, tuple(pickled.foreign), tuple(notes), _meta(content))


def _find(content: Any, place: str | None) -> tuple[Mapping[Any, Any], str]:
    """The mapping of names to tensors, and the keys that lead to it."""
    if place is not None:
        for key in place.split("."):
            if not isinstance(content, dict) or key not in content:
                raise CapbenchError(
                    f"Expected the key {key!r} on the way to {place!r}, got {_keys(content)}."
                )
            content = content[key]
        if not _is_weights(content):
            raise CapbenchError(f"Expected weights at {place!r}, got {_keys(content)}.")
        return content, place
    way: list[str] = []
    for _ in range(4):  # no publisher nests deeper
        keys = [k for k in PLACES if isinstance(content, dict) and _holds_weights(content.get(k))]
        if not keys:
            break
        way.append(keys[0])
        content = content[keys[0]]
    if _is_weights(content):
        return content, ".".join(way)
    raise CapbenchError(
        f"Expected weights by name, under {', '.join(PLACES[:4])}, … or at the top, got {_keys(content)}.",
        fix="say where they are, such as --place model.weights",
    )


def _is_weights(value: Any) -> bool:
    """Whether most of a mapping are tensors under texts."""
    if not isinstance(value, dict) or not value:
        return False
    tensors = sum(isinstance(v, (Tensor, np.ndarray)) and isinstance(k, str) for k, v in value.items())
    return 2 * tensors > len(value)


def _holds_weights(value: Any, depth: int = 3) -> bool:
    if not isinstance(value, dict) or depth == 0:
        return False
    return _is_weights(value) or any(_holds_weights(value.get(key), depth - 1) for key in PLACES)


def _keys(value: Any) -> str:
    if not isinstance(value, dict):
        return f"a {value.module}.{value.name}" if isinstance(value, InertObject) else short(value)
    keys = [short(key) for key in list(value)[:8]]
    return f"the keys {', '.join(keys)}" + (" …" if len(value) > 8 else "")


def _arrays(found: Mapping[Any, Any], notes: list[str]) -> dict[str, NDArray[Any]]:
    if len(found) > TENSOR_LIMIT:
        raise RefusedError(f"Expected at most {TENSOR_LIMIT} tensors, got {len(found)}.")
    arrays: dict[str, NDArray[Any]] = {}
    spent = 0
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, (Tensor, np.ndarray)):
            notes.append(f"{short(name)} is no tensor and was left out")
            continue
        array = value.array() if isinstance(value, Tensor) else value
        if array.dtype.kind not in "fiub":
            notes.append(f"{short(name)} holds no numbers and was left out")
            continue
        spent += array.nbytes
        if spent > CHECKPOINT_LIMIT:  # one storage can stand behind many tensors
            raise RefusedError(f"Expected at most {CHECKPOINT_LIMIT // MB} MB of tensors.")
        arrays[name] = array
    return arrays


def _stripped(arrays: dict[str, NDArray[Any]], notes: list[str]) -> dict[str, NDArray[Any]]:
    """Without what a wrapper put before all names; a lone counter of averaging ("steps") goes with it."""
    for _ in range(3):
        named = [name for name in arrays if name not in ("steps", "n_averaged")]
        prefix = next((p for p in PREFIXES if named and all(n.startswith(p) for n in named)), None)
        if prefix is None:
            break
        notes.append(f"{prefix!r} stripped from all names")
        arrays = {name.removeprefix(prefix): arrays[name] for name in named}
    return arrays


def _meta(content: Any) -> dict[str, Any] | None:
    """Plain text and what describes the points, as MMPose leaves them beside the weights."""
    meta = content.get("meta") if isinstance(content, dict) else None
    if not isinstance(meta, dict):
        return None
    kept = {key: meta[key] for key in ("cfg", "config", "dataset_meta") if key in meta}
    return {k: v for k, v in kept.items() if isinstance(v, (str, dict)) and len(v) < MB} or None


# --- safetensors ------------------------------------------------------------------------------------

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "bf16", "I64": "<i8", "I32": "<i4"} | {
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
}
_NAMES = {name: kind for kind, name in _DTYPES.items()}


def is_safetensors(data: bytes) -> bool:
    """Whether ``data`` starts as the format does: the header's length, then its JSON."""
    return len(data) > 8 and data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= len(data) - 8


def read_safetensors(data: bytes) -> dict[str, NDArray[Any]]:
    """The tensors, as views of ``data``: a header that lies about sizes or overlaps is refused."""
    (length,) = struct.unpack("<Q", data[:8])
    if length > HEADER_LIMIT or 8 + length > len(data):
        raise RefusedError(f"Expected a header of at most {HEADER_LIMIT // MB} MB inside the file.")
    header = _header(data[8 : 8 + length])
    body = memoryview(data)[8 + length :]
    found = dict(_placed(header, len(body)))
    end = 0
    arrays: dict[str, NDArray[Any]] = {}
    for name, (kind, shape, start, stop) in sorted(found.items(), key=lambda item: item[1][2:]):
        if start != end:
            raise RefusedError(f"Expected tensors that follow on each other, got a gap at {short(name)}.")
        end = stop
        halves = kind == "bf16"
        flat = np.frombuffer(body[start:stop], "<u2" if halves else kind)
        if halves:
            flat = (flat.astype("<u4") << 16).view("<f4")
        arrays[name] = flat.reshape(shape)
    if end != len(body):
        raise CapbenchError(f"Expected {end} bytes of tensors, got {len(body)}: cut short or padded.")
    return {name: arrays[name] for name in found}


def _header(text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            raise RefusedError("Expected each tensor once in the header, got one twice.")
        return made

    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise CapbenchError(f"Expected a header of JSON, got: {str(error)[:100]}.") from None
    if not isinstance(header, dict) or len(header) > TENSOR_LIMIT:
        raise RefusedError(f"Expected a header of at most {TENSOR_LIMIT} tensors.")
    header.pop("__metadata__", None)
    return header


def _placed(header: dict[str, Any], size: int) -> Iterator[tuple[str, tuple[str, list[int], int, int]]]:
    """Each tensor's dtype, shape and place, checked against one another and the file's size."""
    for name, entry in header.items():
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise CapbenchError(f"Expected dtype, shape and data_offsets of {short(name)}.")
        given = entry["dtype"]
        kind = _DTYPES.get(given) if isinstance(given, str) else None
        if kind is None:
            raise CapbenchError(f"Expected {short(name)} of plain numbers, got the dtype {short(given)}.")
        shape, place = entry["shape"], entry["data_offsets"]
        if not _sizes(shape, 32) or not _sizes(place, 2) or len(place) != 2:
            raise RefusedError(f"Expected sizes and two offsets of {short(name)}, got others.")
        start, stop = place
        width = 2 if kind == "bf16" else np.dtype(kind).itemsize
        if not start <= stop <= size or stop - start != math.prod(shape) * width:
            raise RefusedError(
                f"Expected {math.prod(shape) * width} bytes of {short(name)} inside the file, got offsets "
                f"{start} to {stop} of {size}."
            )
        yield name, (kind, shape, start, stop)


def _sizes(value: Any, most: int) -> bool:
    if not isinstance(value, list) or len(value) > most:
        return False
    return all(type(v) is int and 0 <= v < 2**40 for v in value)


def write_safetensors(
    path: str | os.PathLike[str], tensors: Mapping[str, NDArray[Any]], *, overwrite: bool = False
) -> None:
    """Write ``tensors`` under their names; the same tensors give the same bytes."""
    header: dict[str, Any] = {}
    arrays: list[NDArray[Any]] = []
    place = 0
    for name in sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name)):  # keeps all aligned
        array = np.asarray(tensors[name], order="C")
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        kind = _NAMES.get(array.dtype.str.replace("=", "<"))
        if kind is None:
            raise CapbenchError(f"Expected plain numbers in {short(name)}, got {array.dtype}.")
        header[name] = {
            "dtype": kind,
            "shape": list(array.shape),
            "data_offsets": [place, place + array.nbytes],
        }
        place += array.nbytes
        arrays.append(array)
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path, overwrite=overwrite) as temporary, temporary.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in arrays:
            file.write(array.data if array.size else b"")
