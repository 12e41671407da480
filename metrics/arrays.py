"""What every score does with its arrays: its error, its checks, and means that skip what is missing.

Missing is NaN, everywhere. Numbers go in as SI units (metres, seconds, radians) or pixels; a score
comes out in the unit its card names, which is the unit the field reports it in (degrees, mm, %).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

MM = 1000.0  #: millimetres in a metre


class MetricError(ValueError):
    """What was given can't be scored; the message says what was expected and what was found."""


def floats(name: str, values: ArrayLike, *, ndim: int | None = None, last: int | None = None) -> FloatArray:
    """``values`` as float64, with ``ndim`` axes and ``last`` entries on the last axis where asked.

    >>> floats("points", [[1, 2, 3]], ndim=2, last=3)
    array([[1., 2., 3.]])
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise MetricError(f"Expected {name} as numbers, got {type(values).__name__}: {error}.") from None
    if ndim is not None and array.ndim != ndim:
        raise MetricError(f"Expected {name} with {ndim} axes, got shape {array.shape}.")
    if last is not None and (array.ndim == 0 or array.shape[-1] != last):
        raise MetricError(f"Expected {last} entries on the last axis of {name}, got shape {array.shape}.")
    return array


def alike(**arrays: ArrayLike) -> list[FloatArray]:
    """All of ``arrays`` as float64 of one shape; the error names the two that differ.

    >>> a, b = alike(predicted=[1, 2], reference=[3, 4])
    >>> b - a
    array([2., 2.])
    """
    found = {name: floats(name, values) for name, values in arrays.items()}
    (first, shape), *rest = [(name, array.shape) for name, array in found.items()]
    for name, other in rest:
        if other != shape:
            raise MetricError(f"Expected {first} and {name} of one shape, got {shape} and {other}.")
    return list(found.values())


def positive(name: str, value: float) -> float:
    """``value`` as a finite float above zero.

    >>> positive("rate", 60)
    60.0
    """
    number = float(value)
    if not (np.isfinite(number) and number > 0):
        raise MetricError(f"Expected {name} above zero, got {value!r}.")
    return number


def share(name: str, value: float) -> float:
    """``value`` if it lies between 0 and 1, ends excluded.

    >>> share("confidence", 0.95)
    0.95
    """
    if not 0 < value < 1:
        raise MetricError(f"Expected {name} between 0 and 1, got {value!r}.")
    return float(value)


def whole(name: str, value: int, least: int) -> int:
    """``value`` if it is a whole number of at least ``least``.

    >>> whole("resamples", 100, 1)
    100
    """
    if int(value) != value or value < least:
        raise MetricError(f"Expected {name} as a whole number of at least {least}, got {value!r}.")
    return int(value)


def mean_present(values: FloatArray, axis: int | tuple[int, ...] | None = None) -> Any:
    """The mean of what is not NaN along ``axis``; NaN where nothing is, without a warning.

    >>> mean_present(np.array([1.0, np.nan, 3.0]))
    2.0
    >>> mean_present(np.array([[1.0, np.nan], [3.0, np.nan]]), axis=0)
    array([ 2., nan])
    """
    there = ~np.isnan(values)
    count = there.sum(axis=axis)
    total = np.where(there, values, 0.0).sum(axis=axis)
    mean = np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)
    return float(mean) if mean.ndim == 0 else mean


def names_of(name: str, names: Sequence[str], length: int) -> tuple[str, ...]:
    """``names`` as a tuple of ``length`` different names.

    >>> names_of("coordinates", ["knee", "hip"], 2)
    ('knee', 'hip')
    """
    found = tuple(str(n) for n in names)
    if len(found) != length or len(set(found)) != length:
        raise MetricError(f"Expected {length} different names of {name}, got {', '.join(found) or 'none'}.")
    return found
