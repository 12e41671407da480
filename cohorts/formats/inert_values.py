"""What a pickle may build, and how: each maker checks everything it is given and imports nothing.

Part of :mod:`cohorts.formats.inert_pickle`. Arrays lie over the very bytes of the file, so no length or
shape in it makes anything be allocated.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from cohorts.errors import CapbenchError, RefusedError

AXES_LIMIT = 32


@dataclass(frozen=True, eq=False, slots=True)
class InertObject:
    """Stands for anything a pickle named that is not known here; it holds and does nothing.

    Attributes
    ----------
    module, name : what the pickle asked for, such as "torch._utils" and "_rebuild_tensor_v2"
    """

    module: str
    name: str


class UnfilledArray:
    """An array between its two steps: named first (REDUCE), filled later (BUILD)."""

    __slots__ = ("filled",)

    def __init__(self) -> None:
        self.filled: NDArray[Any] | None = None


class UnfinishedDtype:
    """A dtype whose byte order comes in a second step."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype


_PLAIN_DTYPE = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248]|[US][1-9]\d{0,5})")


def refuse(what: str) -> NoReturn:
    """Refuse the pickle: it does what no honest one does."""
    raise RefusedError(what)


def _make_dtype(spec: Any, align: Any = False, copy: Any = True) -> UnfinishedDtype:
    del align, copy
    if not isinstance(spec, str) or not _PLAIN_DTYPE.fullmatch(spec):
        refuse(f"Expected arrays of plain numbers or text, got dtype {short(spec)}.")
    return UnfinishedDtype(np.dtype(spec))


def build_dtype(made: UnfinishedDtype, state: Any) -> None:
    """Second step: ``(version, byte order, subarray, names, fields, size, alignment, flags)``."""
    if not isinstance(state, tuple) or len(state) != 8 or any(part is not None for part in state[2:5]):
        refuse("Expected a dtype of plain numbers or text, got one with parts.")
    order, size = state[1], state[5]
    if order not in ("<", ">", "|", "=") or size not in (-1, made.dtype.itemsize):
        refuse(f"Expected a dtype of {made.dtype.itemsize} bytes, got {short(size)} ({short(order)}).")
    if order in ("<", ">"):
        made.dtype = made.dtype.newbyteorder(order)


def _raw(data: Any) -> bytes | bytearray:
    if isinstance(data, str):  # as Python 2 wrote bytes
        data = data.encode("latin-1")
    if not isinstance(data, (bytes, bytearray)):
        refuse(f"Expected the bytes of an array, got {short(data)} (an array of objects?).")
    return data


def _filled(data: Any, dtype: Any, shape: Any, order: Literal["C", "F"]) -> NDArray[Any]:
    """An array over the very bytes of the file: nothing is allocated on the word of ``shape``."""
    raw = _raw(data)
    if not isinstance(dtype, UnfinishedDtype):
        refuse(f"Expected a dtype, got {short(dtype)}.")
    sizes = (shape,) if type(shape) is int else shape
    if not isinstance(sizes, tuple) or len(sizes) > AXES_LIMIT or not all(map(_is_size, sizes)):
        refuse(f"Expected the shape of an array, got {short(shape)}.")
    if math.prod(sizes) * dtype.dtype.itemsize != len(raw):
        refuse(f"Expected {len(raw)} bytes to fill the array, got shape {sizes} of {dtype.dtype}.")
    if not raw:
        return np.empty(sizes, dtype.dtype)
    if dtype.dtype.kind == "U":
        codes = np.frombuffer(raw, dtype.dtype.str[0] + "u4")
        if (codes > 0x10FFFF).any():
            refuse("Expected text, got an array of numbers that are no characters.")
    return np.frombuffer(raw, dtype.dtype).reshape(sizes, order=order)


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**31


def _reconstruct(kind: Any, shape: Any, typecode: Any) -> UnfilledArray:
    del shape, typecode  # numpy writes (0,) and b"b"; the true ones come with BUILD
    if kind is not _NDARRAY:
        refuse("Expected a plain numpy array, got a subclass.")
    return UnfilledArray()


def build_array(made: UnfilledArray, state: Any) -> NDArray[Any]:
    """Second step: ``(version, shape, dtype, is it Fortran-ordered, bytes)``."""
    if not isinstance(state, tuple) or len(state) != 5 or made.filled is not None:
        refuse("Expected the five parts of an array once.")
    made.filled = _filled(state[4], state[2], state[1], "F" if state[3] is True or state[3] == 1 else "C")
    return made.filled


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> NDArray[Any]:
    """Protocol 5; ``order`` "K" (numpy 2.4) stores C order and then permutes the axes."""
    array = _filled(data, dtype, shape, "F" if order == "F" else "C")
    if axes is None:
        return array
    if not isinstance(axes, tuple) or not all(map(_is_size, axes)) or sorted(axes) != list(range(array.ndim)):
        refuse(f"Expected an order of {array.ndim} axes, got {short(axes)}.")
    return array.transpose(axes)


def _scalar(dtype: Any, data: Any) -> Any:
    """One numpy number or text, as a plain Python one."""
    if isinstance(data, bytes) and isinstance(dtype, UnfinishedDtype) and dtype.dtype.kind in "biuf":
        return np.frombuffer(data, dtype.dtype).item()  # lists of these are common; ValueError unless one
    return _filled(data, dtype, (), "C").item()


def _encode(text: Any, encoding: Any = "utf-8") -> bytes:
    """How protocols 0 to 2 write bytes: text and "latin1"."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        refuse(f"Expected bytes written as latin1 text, got {short(encoding)}.")
    return text.encode("latin-1")


def _bytes(data: Any = b"", encoding: Any = "latin-1") -> bytes:
    return _encode(data, encoding) if isinstance(data, str) else bytes(_raw(data))


def _bytearray(data: Any = b"", encoding: Any = "latin-1") -> bytearray:
    return bytearray(_bytes(data, encoding))


def _ordered(pairs: Any = ()) -> OrderedDict[Any, Any]:
    if not isinstance(pairs, (list, tuple)) or not all(
        isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs
    ):
        refuse("Expected an ordered dict of pairs.")
    return OrderedDict((hashable(key), value) for key, value in pairs)


def make_set(items: Any = ()) -> set[Any]:
    """A set of items that can safely be hashed."""
    if not isinstance(items, (list, tuple)):
        refuse("Expected a set made from a list.")
    return {hashable(item) for item in items}


def make_frozenset(items: Any = ()) -> frozenset[Any]:
    """A frozenset of items that can safely be hashed."""
    return frozenset(make_set(items))


def hashable(value: Any) -> Any:
    """``value`` if it can be hashed in no time: a tuple of tuples of tuples… can't, a huge number can't.

    Whole numbers beyond 64 bits can also be chosen so that all of them share one hash.
    """
    if value is None or type(value) in (str, bytes, float, bool, InertObject):
        return value
    if type(value) is int and -(2**63) <= value < 2**64:
        return value
    raise CapbenchError(f"Expected keys that are text or plain numbers, got {short(value)}.")


@dataclass(frozen=True, eq=False, slots=True)
class Maker:
    """A name that a pickle may use, and what we do when it calls it."""

    name: str
    make: Callable[..., Any] | None = None


_NDARRAY = Maker("numpy.ndarray")
KNOWN: dict[tuple[str, str], Maker] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): Maker("numpy.dtype", _make_dtype),
    ("_codecs", "encode"): Maker("_codecs.encode", _encode),
    ("collections", "OrderedDict"): Maker("collections.OrderedDict", _ordered),
}
for _core in ("numpy.core", "numpy._core"):  # numpy 1, numpy 2
    KNOWN[f"{_core}.multiarray", "_reconstruct"] = Maker("numpy._reconstruct", _reconstruct)
    KNOWN[f"{_core}.multiarray", "scalar"] = Maker("numpy.scalar", _scalar)
    KNOWN[f"{_core}.numeric", "_frombuffer"] = Maker("numpy._frombuffer", _from_buffer)
for _builtins in ("builtins", "__builtin__"):  # Python 3; Python 2 and protocols 0 to 2
    KNOWN[_builtins, "set"] = Maker("set", make_set)
    KNOWN[_builtins, "frozenset"] = Maker("frozenset", make_frozenset)
    KNOWN[_builtins, "bytes"] = Maker("bytes", _bytes)
    KNOWN[_builtins, "bytearray"] = Maker("bytearray", _bytearray)


def short(value: Any) -> str:
    """A few words about any value; never its full text, which may be endless."""
    if isinstance(value, (str, bytes)):
        return repr(value[:60])
    if type(value) in (bool, float, type(None)) or (type(value) is int and abs(value) < 2**64):
        return repr(value)
    return f"a value of type {type(value).__name__}"
