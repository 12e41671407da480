"""What an ONNX file says of itself, read without any ONNX library and before the runtime sees it.

An ONNX file is one protobuf message. This walks the few fields that matter (graph, operators, tensors kept
outside, the input's shape) and skips the rest without reading it, so that a file of gigabytes takes a moment.
Field numbers are those of ``onnx.proto``.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cohorts.bounded import MB, regular_file
from cohorts.card import leads_out
from cohorts.errors import CapbenchError, RefusedError

LIMIT = 8192 * MB
#: how many messages are looked at; the largest pose networks have some tens of thousands
MOST = 2_000_000
DEEPEST = 16  #: graphs within graphs

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# message -> field number -> message within it that matters
_MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse", 11: "value"},
    "function": {7: "node", 11: "attribute"},
    "node": {4: "operator", 5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}


@dataclass
class FileFacts:
    """What was found.

    Attributes
    ----------
    operators : names of the operators used, in all graphs
    external : files beside it that hold tensors
    input_shape : of the first input of the main graph; None for an axis that is not fixed
    """

    operators: set[str] = field(default_factory=set)
    external: set[str] = field(default_factory=set)
    input_shape: tuple[int | None, ...] = ()


def look(path: Path) -> FileFacts:
    """What the file says; refused if it keeps anything outside its folder."""
    regular_file(path, LIMIT)
    if path.stat().st_size == 0:
        raise CapbenchError("Expected an ONNX network, got an empty file.", file=path)
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        view = memoryview(data)
        try:
            facts = _Walk(view).facts()
        except (ValueError, IndexError):
            raise CapbenchError(
                "Expected an ONNX network, got something else or a file that is cut short.", file=path
            ) from None
        finally:
            view.release()
    for relative in sorted(facts.external):
        _check_outside(path, relative)
    return facts


def _check_outside(path: Path, relative: str) -> None:
    beside = path.parent / relative
    base = os.path.realpath(path.parent)
    if leads_out(relative) or not os.path.realpath(beside).startswith(base.rstrip(os.sep) + os.sep):
        raise RefusedError(
            f"Expected weights in the model's own folder, got {relative!r}.",
            file=path,
            fix="save the network with its weights in one file",
        )
    if not beside.is_file():
        raise CapbenchError(f"Expected the weights in {relative!r} beside the network, got none.", file=path)


class _Walk:
    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._facts = FileFacts()
        self._left = MOST

    def facts(self) -> FileFacts:
        self._enter("model", 0, len(self._view), depth=0)
        return self._facts

    def _enter(self, message: str, start: int, end: int, depth: int) -> None:
        if depth > 3 * DEEPEST:
            raise ValueError("too deep")
        inner = _MESSAGES[message]
        for number, place, stop in self._fields(start, end):
            name = inner.get(number)
            if name is None:
                continue
            if name == "operator":
                self._facts.operators.add(self._text(place, stop))
            elif name == "entry":
                self._entry(place, stop)
            elif name == "value":
                if depth == 1 and not self._facts.input_shape:
                    self._facts.input_shape = tuple(self._shape(place, stop))
            else:
                self._enter(name, place, stop, depth + 1)

    def _entry(self, start: int, end: int) -> None:
        """One key and value of what a tensor says of its place outside."""
        pair = {number: self._text(place, stop) for number, place, stop in self._fields(start, end)}
        if pair.get(1) == "location":
            self._facts.external.add(pair.get(2, ""))

    def _shape(self, start: int, end: int) -> Iterator[int | None]:
        """ValueInfo.type (2) . tensor_type (1) . shape (2) . dim (1) . dim_value (1)."""
        for dim, stop in self._down((2, 1, 2, 1), start, end):
            value = None
            for number, place, _ in self._fields(dim, stop):
                value = self._varint(place)[0] if number == 1 else value
            yield value if value is not None and 0 < value < 1 << 31 else None

    def _down(self, numbers: tuple[int, ...], start: int, end: int) -> Iterator[tuple[int, int]]:
        for number, place, stop in self._fields(start, end):
            if number == numbers[0]:
                if len(numbers) == 1:
                    yield place, stop
                else:
                    yield from self._down(numbers[1:], place, stop)

    def _fields(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """(number, where its value starts, where it ends) of each field of a message."""
        while start < end:
            self._left -= 1
            if self._left < 0:
                raise ValueError("too many")
            tag, start = self._varint(start)
            wire = tag & 7
            if wire == _VARINT:
                stop = self._varint(start)[1]
            elif wire == _BYTES:
                size, start = self._varint(start)
                stop = start + size
            elif wire in (_FIXED64, _FIXED32):
                stop = start + (8 if wire == _FIXED64 else 4)
            else:
                raise ValueError("no such wire type")
            if stop > end or tag >> 3 == 0:
                raise ValueError("cut short")
            yield tag >> 3, start, stop
            start = stop

    def _varint(self, place: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            byte = self._view[place]
            value |= (byte & 127) << shift
            place += 1
            if byte < 128:
                return value, place
            shift += 7
            if shift > 63:
                raise ValueError("no number")

    def _text(self, start: int, stop: int) -> str:
        return bytes(self._view[start : min(stop, start + 4096)]).decode("utf-8", "replace")
