"""Units of work: what a stage makes of its inputs, under a key that says everything its bytes depend on.

A run is a list of units. Each is one call of one stage on one thing (a camera's video, a trial, a person),
and its output is bytes. The key is the SHA-256 of the stage's name and version, of the inputs by their
content and of the parameters: equal keys mean equal bytes, so an output made once is never made again, by
this run, by a resumed one, or by another.

Outputs are bytes that :func:`pack` makes of arrays; the same content gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from capbench.run.result import Fault
from cohorts.errors import CapbenchError

FAULTS: tuple[Fault, ...] = ("model", "cohort", "environment")
_HASH = re.compile(r"[0-9a-f]{64}")
_STAGE = re.compile(r"[a-z][a-z0-9-]{0,39}")


# --- units --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Unit:
    """One call of one stage.

    Attributes
    ----------
    stage : its name, such as ``"predict"``: small letters, digits, hyphens
    of : what it is of, in words for people: ``"a1/walk/gait1 Cam3"``; no part of the key
    inputs : name -> SHA-256 of the content (:meth:`Store.hash_file`), or the key of the unit it comes from
    params : every choice that changes the output, as JSON without NaN. A time or memory limit that can decide
        what a model answers is such a choice
    version : of the stage's code; counted up by hand when its output changes, so that tidying keeps what
        was computed
    needs : keys of the units that must be done first. Those named in ``inputs`` too are handed to the stage
    may_lack : names of inputs the stage can do without: where the need behind one failed by the model's or
        the cohort's fault, the stage is called without that input. An environment fault is never worked
        around: what came of it would be kept, and differ from an undisturbed run
    blame : whose fault it is when the stage throws, and when it twice hangs, eats memory or crashes
    size : how much work it is beside others of its stage, such as frames; for estimates only
    """

    stage: str
    of: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    version: str = "1"
    needs: tuple[str, ...] = ()
    may_lack: tuple[str, ...] = ()
    blame: Fault = "environment"
    size: float = 1.0

    def __post_init__(self) -> None:
        if not _STAGE.fullmatch(self.stage):
            raise ValueError(f"a stage is small letters, digits and hyphens, not {self.stage!r}")
        for value in (*self.inputs.values(), *self.needs):
            if not _HASH.fullmatch(value):
                raise ValueError(f"{self}: expected a SHA-256 in hexadecimal, got {value!r}")
        if any(self.inputs.get(name) not in self.needs for name in self.may_lack):
            raise ValueError(f"{self}: may_lack names inputs that come from needs, not {self.may_lack}")
        if self.blame not in FAULTS or not (self.size > 0 and math.isfinite(self.size)):
            raise ValueError(f"{self}: blame {self.blame!r}, size {self.size}")

    def __str__(self) -> str:
        return f"{self.stage} {self.of}"

    @cached_property
    def key(self) -> str:
        """SHA-256 of all that the output depends on; not of ``of``, paths or workers."""
        return digest([self.stage, self.version, self.inputs, self.params])

    def from_needs(self) -> dict[str, str]:
        """Name of input -> key, of the inputs that are other units' outputs."""
        return {name: value for name, value in self.inputs.items() if value in self.needs}

    def to_dict(self) -> dict[str, Any]:
        """The unit as JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Unit:
        """What :meth:`to_dict` gave."""
        sequences = {name: tuple(fields[name]) for name in ("needs", "may_lack")}
        return cls(**{**fields, **sequences})


@dataclass(frozen=True)
class Failed:
    """Why a unit has no output: whose fault, a word for the kind, and the reason in words."""

    fault: Fault
    kind: str
    reason: str


class UnitError(CapbenchError):
    """What a stage raises to say itself whose fault it is and of which kind.

    ``raise UnitError("Expected 25 frames/s, got 30.", fault="cohort", kind="frame-rate", file=video)``
    """

    def __init__(self, problem: str, *, fault: Fault, kind: str, **where: Any) -> None:
        super().__init__(problem, **where)
        self.fault: Fault = fault
        self.kind = kind

    def to_dict(self) -> dict[str, Any]:
        """The parts of the message."""
        return {**super().to_dict(), "fault": self.fault, "kind": self.kind}


# --- hashes -------------------------------------------------------------------------------------


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no spaces; NaN, infinities and keys that are no text are refused."""
    _check_keys(value)
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def digest(value: Any) -> str:
    """SHA-256 of a JSON value's canonical form, in hexadecimal."""
    return hashlib.sha256(canonical(value)).hexdigest()


def _plain(value: Any) -> Any:
    """``value`` with every mapping a dict and every sequence a list, as json wants them."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _check_keys(value: Any) -> None:
    """json turns the key 1 into "1": two values would share a hash."""
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise TypeError(f"expected keys of text, got {list(value)[:6]}")
        for item in value.values():
            _check_keys(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_keys(item)


# --- outputs ------------------------------------------------------------------------------------
#
# A length (8 bytes, little-endian), a JSON header of that length, then the arrays one after another. Not an
# .npz: nobody opens an output by hand (it lies in the store's envelope), and this reads without a zip parser,
# without copies, and can't expand.

_KINDS = "biuf"  #: plain numbers; text belongs in ``about``
_HEADER_LIMIT = 1 << 26


def pack(arrays: Mapping[str, NDArray[Any]], about: Any = None) -> bytes:
    """Arrays of numbers by name, with a JSON value ``about`` them, as bytes; no NaN in ``about``."""
    places, parts = {}, []
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        if array.dtype.kind not in _KINDS or array.dtype.itemsize > 8:
            raise TypeError(f"array {name}: expected plain numbers, got {array.dtype}; put text in about")
        plain = np.array(array, array.dtype.newbyteorder("<"), order="C")
        if plain.dtype.kind == "f":
            plain[np.isnan(plain)] = np.nan  # there are many NaNs; which comes out depends on the processor
        places[name] = [plain.dtype.str, list(plain.shape)]
        parts.append(plain.tobytes())
    header = canonical({"about": about, "arrays": places})
    return b"".join([len(header).to_bytes(8, "little"), header, *parts])


def unpack(data: bytes) -> tuple[dict[str, NDArray[Any]], Any]:
    """The arrays (read-only) and the ``about`` that :func:`pack` was given; lists for tuples.

    Raises ``CapbenchError`` for anything that :func:`pack` does not write; allocates no more than ``data``.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        if len(data) < 8 + length or length > _HEADER_LIMIT:
            raise ValueError("it is cut short")
        header = json.loads(data[8 : 8 + length])
        at, arrays = 8 + length, {}
        for name, (kind, shape) in sorted(header["arrays"].items()):
            dtype = _dtype(kind)
            count = math.prod(_whole(n) for n in shape)
            if len(shape) > 32 or at + count * dtype.itemsize > len(data):
                raise ValueError(f"array {name} is cut short")
            arrays[name] = np.frombuffer(data, dtype, count, at).reshape(shape)
            at += count * dtype.itemsize
        if at != len(data):
            raise ValueError("it is longer than its header says")
        return arrays, header["about"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CapbenchError(f"Expected a unit's output, got other bytes: {error}.") from None


def _dtype(kind: str) -> np.dtype[Any]:
    if not re.fullmatch(r"[<|][biuf][1248]", kind):
        raise ValueError(f"arrays of {kind[:20]!r}")
    return np.dtype(kind)


def _whole(number: Any) -> int:
    if type(number) is not int or number < 0:
        raise ValueError("the shape of an array")
    return int(number)
