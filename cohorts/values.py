"""Frozen arrays and mappings, and equality by value: shared by every noun."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cohorts.errors import CapbenchError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def frozen(values: ArrayLike, dtype: type[np.generic] = np.float64) -> NDArray[Any]:
    """``values`` as a read-only array; copied unless it is read-only already.

    Read-only arrays are taken as they are, so slicing a noun in time copies nothing.
    """
    array = np.asarray(values, dtype=dtype)
    if array.flags.writeable:
        array = array.copy() if array is values or array.base is not None else array
        array.setflags(write=False)
    return array


def check_shape(what: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    """Refuse ``array`` unless it has ``shape``."""
    if array.shape != shape:
        raise CapbenchError(f"Expected {what} of shape {shape}, got {array.shape}.")


def check_unique(what: str, names: tuple[str, ...]) -> None:
    """Refuse names that are empty or occur twice."""
    seen: set[str] = set()
    for name in names:
        if not isinstance(name, str) or not name:
            raise CapbenchError(f"Expected {what} names to be non-empty text, got {name!r}.")
        if name in seen:
            raise CapbenchError(f"Expected each {what} once, got {name!r} twice.")
        seen.add(name)


def check_time(time: FloatArray) -> None:
    """Refuse a time vector (seconds) that is not one-dimensional, finite and strictly increasing."""
    if time.ndim != 1:
        raise CapbenchError(f"Expected time of shape (T,), got {time.shape}.")
    if not np.isfinite(time).all():
        frame = int(np.flatnonzero(~np.isfinite(time))[0])
        raise CapbenchError("Expected finite times, got NaN or infinity.", place=f"frame {frame}")
    steps = np.diff(time)
    if (steps <= 0).any():
        frame = int(np.flatnonzero(steps <= 0)[0]) + 1
        raise CapbenchError(
            f"Expected time to increase, got {time[frame]:g} s after {time[frame - 1]:g} s.",
            place=f"frame {frame}",
            fix="sort the frames and drop repeated ones",
        )


class FrozenDict(dict[str, str]):
    """A dict of text that can't be changed; it pickles and compares like a dict."""

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("this mapping is part of an immutable noun; build a new noun instead")

    __setitem__ = __delitem__ = clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)


class ByValue:
    """Mixin for frozen dataclasses that hold arrays: equal when every field is (NaN equals NaN)."""

    __hash__ = None  # type: ignore[assignment]  # arrays can't be hashed

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(
            _same(getattr(self, f.name), getattr(other, f.name))
            for f in fields(self)  # type: ignore[arg-type]  # every user is a dataclass
        )


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.shape == b.shape and bool(
            np.array_equal(a, b, equal_nan=np.issubdtype(a.dtype, np.floating))
        )
    return bool(a == b)
