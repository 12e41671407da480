"""The containers that ``torch.save`` writes, read without torch and without running anything.

Three are in use: a zip archive of ``data.pkl`` and one entry for each storage (since torch 1.6), the legacy
stream of pickles with the storages behind them, and a bare pickle of numpy arrays. The pickle goes through
:class:`~cohorts.formats.inert_pickle.InertUnpickler`, taught the few names that build tensors. Storages are
views of the file's own bytes, so nothing is allocated on the word of a header, and only what is asked for is
looked at.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray

from cohorts.bounded import MB
from cohorts.errors import CapbenchError, RefusedError
from cohorts.formats.inert_pickle import DAMAGE, PICKLE_LIMIT, InertUnpickler
from cohorts.formats.inert_values import InertObject, Maker, refuse, short

ENTRY_LIMIT = 200_000
AXES_LIMIT = 32
REPEAT_LIMIT = 1 << 22  #: numbers in a tensor that repeats those stored, as expanded buffers do
_MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of the legacy stream
_PROTOCOL = 1001

#: torch's name -> numpy's; bfloat16 has none there: it is read as the upper half of a float32
DTYPES = {
    "Double": "f8",
    "Float": "f4",
    "Half": "f2",
    "BFloat16": "bf16",
    "Long": "i8",
    "Int": "i4",
    "Short": "i2",
    "Char": "i1",
    "Byte": "u1",
    "Bool": "b1",
}
#: names of dtypes as ``_rebuild_tensor_v3`` gives them
_NAMED_DTYPES = {"uint16": "u2", "uint32": "u4", "uint64": "u8"} | {
    "float64": "f8",
    "float32": "f4",
    "float16": "f2",
    "bfloat16": "bf16",
}


@dataclass(frozen=True, eq=False)
class StorageKind:
    """The class of a storage, or a dtype: what its bytes are, "" for untyped ones."""

    dtype: str


@dataclass(eq=False)
class Storage:
    """One block of numbers; ``data`` comes late in the legacy stream."""

    dtype: str
    key: str
    count: int
    data: memoryview | None = None
    check: Callable[[], None] | None = None  #: of its checksum, once, on first use

    @property
    def size(self) -> int:
        """Bytes."""
        return self.count * _width(self.dtype)


def _width(dtype: str) -> int:
    """Bytes of one number; of untyped storages, one."""
    return 2 if dtype == "bf16" else np.dtype(dtype or "u1").itemsize


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor as the pickle describes it: elements ``offset + sum(index · stride)`` of a storage."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def __post_init__(self) -> None:
        sizes = (*self.shape, *self.stride, self.offset)
        if len(self.shape) != len(self.stride) or len(self.shape) > AXES_LIMIT or not all(map(_size, sizes)):
            refuse(f"Expected the shape of a tensor, got {short(self.shape)} with {short(self.stride)}.")
        held = self.storage.size // _width(self.dtype)
        if math.prod(self.shape) > max(held, REPEAT_LIMIT):  # a stride of 0 repeats one number without end
            refuse(f"Expected at most the {held} numbers stored, got shape {self.shape}.")
        if self.offset + self._span() > held:
            refuse(f"Expected a tensor inside its storage of {held} numbers.")

    def _span(self) -> int:
        if not math.prod(self.shape):
            return 0
        return 1 + sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))

    def array(self) -> NDArray[Any]:
        """Its numbers, read-only, over the file's bytes where it lies there in order; bfloat16 as float32."""
        storage = self.storage
        if storage.data is None:
            refuse(f"Expected the numbers of storage {short(storage.key)}, got none.")
        if storage.check is not None:
            storage.check()
            storage.check = None
        halves = self.dtype == "bf16"
        dtype = np.dtype("<u2" if halves else "<" + self.dtype)
        held = storage.size // dtype.itemsize
        if not math.prod(self.shape):
            return np.zeros(self.shape, "<f4" if halves else dtype)
        flat = np.frombuffer(storage.data, dtype, count=held)[self.offset :]
        steps = [step * dtype.itemsize for step in self.stride]
        view = np.lib.stride_tricks.as_strided(flat, self.shape, steps, writeable=False)
        if halves:
            return (np.ascontiguousarray(view).astype("<u4") << 16).view("<f4")
        return np.ascontiguousarray(view) if view.ndim else view


def _size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**40


# --- the pickle -------------------------------------------------------------------------------------


def _rebuild(
    storage: Any, offset: Any, shape: Any, stride: Any, grad: Any = None, hooks: Any = None, meta: Any = None
) -> Tensor:
    del grad, hooks, meta
    if not isinstance(storage, Storage) or not storage.dtype:
        refuse(f"Expected a storage of numbers, got {short(storage)}.")
    if not isinstance(shape, tuple) or not isinstance(stride, tuple):
        refuse(f"Expected the shape of a tensor, got {short(shape)}.")
    return Tensor(storage, storage.dtype, offset, shape, stride)


def _rebuild_v3(
    storage: Any,
    offset: Any,
    shape: Any,
    stride: Any,
    grad: Any,
    hooks: Any,
    kind: Any,
    meta: Any = None,
) -> Tensor:
    """The same with a dtype of its own over untyped bytes; its offset counts numbers."""
    del grad, hooks, meta
    if not isinstance(kind, StorageKind) or not kind.dtype or not isinstance(storage, Storage):
        refuse(f"Expected a dtype, got {short(kind)}.")
    if not isinstance(shape, tuple) or not isinstance(stride, tuple):
        refuse(f"Expected the shape of a tensor, got {short(shape)}.")
    return Tensor(storage, kind.dtype, offset, shape, stride)


def _parameter(data: Any, *rest: Any) -> Any:
    del rest  # requires_grad, hooks, state: training's affairs
    return data


def _from_type(function: Any, kind: Any, args: Any, state: Any) -> Any:
    del kind, state
    if not isinstance(function, Maker) or function.make is None or not isinstance(args, tuple):
        refuse("Expected a tensor to be rebuilt by torch, got something else.")
    return function.make(*args)


def _torch_size(sizes: Any = ()) -> tuple[Any, ...]:
    if not isinstance(sizes, (tuple, list)):
        refuse(f"Expected a torch.Size, got {short(sizes)}.")
    return tuple(sizes)


_MAKERS = {
    ("torch._utils", "_rebuild_tensor"): Maker("torch._rebuild_tensor", _rebuild),
    ("torch._utils", "_rebuild_tensor_v2"): Maker("torch._rebuild_tensor_v2", _rebuild),
    ("torch._utils", "_rebuild_tensor_v3"): Maker("torch._rebuild_tensor_v3", _rebuild_v3),
    ("torch._utils", "_rebuild_parameter"): Maker("torch._rebuild_parameter", _parameter),
    ("torch._utils", "_rebuild_parameter_with_state"): Maker("torch._rebuild_parameter", _parameter),
    ("torch._tensor", "_rebuild_from_type_v2"): Maker("torch._rebuild_from_type_v2", _from_type),
    ("torch", "Size"): Maker("torch.Size", _torch_size),
}


def _kind(module: str, name: str) -> StorageKind | None:
    if module in ("torch", "torch.cuda", "torch.storage") and name.endswith("Storage"):
        stem = name.removesuffix("Storage")
        if stem in DTYPES:
            return StorageKind(DTYPES[stem])
        if stem == "Untyped":
            return StorageKind("")
    if module == "torch" and name in _NAMED_DTYPES:
        return StorageKind(_NAMED_DTYPES[name])
    return None


class TorchUnpickler(InertUnpickler):
    """An inert unpickler that also knows tensors; ``find`` gives the storage that a pickle refers to."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(InertUnpickler.dispatch)

    def __init__(self, stream: io.BytesIO, find: Callable[[StorageKind, str, int], Storage]) -> None:
        super().__init__(stream, foreign="placeholder")
        self._find = find

    def find_class(self, module: str, name: str) -> Any:
        """Also what builds tensors."""
        return _MAKERS.get((module, name)) or _kind(module, name) or super().find_class(module, name)

    def refer(self) -> None:
        """Replace the reference on the stack by the storage it means."""
        pid = self.stack.pop()
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
            refuse(f"Expected a reference to a storage, got {short(pid)}.")
        _, kind, key, _, count, *view = pid
        if isinstance(kind, InertObject):
            refuse(f"Expected numbers that numpy knows too, got a {kind.module}.{kind.name}."[:200])
        if not isinstance(kind, StorageKind) or not isinstance(key, str) or not _size(count):
            refuse(
                f"Expected a storage's class, key and size, got {short(kind)}, {short(key)}, {short(count)}."
            )
        if any(part is not None for part in view):
            refuse("Expected whole storages, got a view of one, as torch before 0.4 wrote.")
        self.append(self._find(kind, key, count))


def _refer(machine: TorchUnpickler) -> None:
    machine.steps += 8
    machine.refer()


def _build(machine: TorchUnpickler) -> None:
    """What hangs on a state dict or a tensor beside its items (versions of layers) is dropped."""
    if isinstance(machine.stack[-2], (OrderedDict, Tensor)):
        machine.steps += 4
        machine.stack.pop()
    else:
        InertUnpickler.dispatch[pickle.BUILD[0]](machine)


TorchUnpickler.dispatch[pickle.BINPERSID[0]] = _refer
TorchUnpickler.dispatch[pickle.BUILD[0]] = _build


@dataclass
class Pickled:
    """What a file holds: plain values, with :class:`Tensor` where the tensors are."""

    content: Any
    foreign: list[str] = field(default_factory=list)


def _unpickle(stream: io.BytesIO, find: Callable[[StorageKind, str, int], Storage], into: list[str]) -> Any:
    reader = TorchUnpickler(stream, find)
    try:
        return reader.load()
    except DAMAGE as error:
        reason = str(error) or type(error).__name__
        raise CapbenchError(f"Expected what torch.save writes, got: {reason[:200]}.") from None
    finally:
        into.extend(name for name in reader.foreign_names if name not in into)


# --- the containers ---------------------------------------------------------------------------------


def read_pickled(data: bytes) -> Pickled:
    """What ``torch.save`` or ``pickle.dump`` put into ``data``, whichever of the three containers it is."""
    if data[:2] == b"PK":
        return _read_zip(data)
    made = Pickled(None)
    known: dict[str, Storage] = {}
    stream = io.BytesIO(data)
    first = _unpickle(stream, _finder(known, None), made.foreign)
    if type(first) is not int or first != _MAGIC:
        if known:
            refuse("Expected numbers behind the tensors, got a bare pickle.")
        made.content = first
        return made
    version = _unpickle(stream, _no_storage, made.foreign)
    system = _unpickle(stream, _no_storage, made.foreign)
    if version != _PROTOCOL or (isinstance(system, dict) and system.get("little_endian") is False):
        raise CapbenchError(f"Expected torch's protocol {_PROTOCOL} and little-endian, got {short(version)}.")
    made.content = _unpickle(stream, _finder(known, None), made.foreign)
    _attach_legacy(stream, data, known, _unpickle(stream, _no_storage, made.foreign))
    return made


def _no_storage(kind: StorageKind, key: str, count: int) -> NoReturn:
    refuse("Expected no storages here.")


def _finder(
    known: dict[str, Storage], fill: Callable[[Storage], None] | None
) -> Callable[[StorageKind, str, int], Storage]:
    """Storages by key: made on the first mention, the same ever after."""

    def find(kind: StorageKind, key: str, count: int) -> Storage:
        storage = known.get(key)
        if storage is None:
            storage = known[key] = Storage(kind.dtype, key, count)
            if fill is not None:
                fill(storage)
        if storage.count != count or storage.dtype != kind.dtype:
            refuse(f"Expected one size and type of storage {short(key)}, got two.")
        return storage

    return find


def _attach_legacy(stream: io.BytesIO, data: bytes, known: dict[str, Storage], keys: Any) -> None:
    """Give each storage its bytes, in the order of ``keys``: a count (8 bytes), then so many numbers."""
    whole = memoryview(data)
    if not isinstance(keys, list) or len(keys) != len(known) or set(map(str, keys)) != set(known):
        refuse("Expected the keys of all storages once, got others.")
    place = stream.tell()
    for key in keys:
        storage = known[key]
        counted = int.from_bytes(whole[place : place + 8], "little")
        size = storage.size
        if len(whole) < place + 8 + size:
            raise CapbenchError(f"Expected {size} bytes of storage {short(key)}: the file is cut short.")
        if counted != storage.count:
            refuse(f"Expected {storage.count} numbers in storage {short(key)}, got {counted}.")
        storage.data = whole[place + 8 : place + 8 + size]
        place += 8 + size


def _read_zip(data: bytes) -> Pickled:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            listed = archive.infolist()
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, struct.error) as error:
        raise CapbenchError(f"Expected a whole zip archive, got: {error}. It may be cut short.") from None
    if any(entry.filename.endswith("/constants.pkl") for entry in listed):
        raise RefusedError(
            "Expected weights, got a TorchScript archive, which holds code.",
            fix="run it as a model of route torchscript if you trust its maker",
        )
    entries = _entries(listed)
    names = [name for name in entries if name.rpartition("/")[2] == "data.pkl" and name.count("/") <= 1]
    if len(names) != 1:
        raise CapbenchError(f"Expected one data.pkl, as torch.save writes, got {len(names)}.")
    folder = names[0].removesuffix("data.pkl")
    whole = memoryview(data)
    order = _view(whole, entries, f"{folder}byteorder")
    if order is not None and bytes(order) != b"little":
        raise CapbenchError(
            "Expected numbers in little-endian order.", fix="save it again on another machine"
        )
    program = _view(whole, entries, names[0])
    if program is None or len(program) > PICKLE_LIMIT:
        refuse(f"Expected a data.pkl of at most {PICKLE_LIMIT // MB} MB.")
    made = Pickled(None)

    def fill(storage: Storage) -> None:
        name = f"{folder}data/{storage.key}"
        storage.data = _view(whole, entries, name)
        size = storage.size
        found = -1 if storage.data is None else len(storage.data)
        if found != size:
            refuse(f"Expected {size} bytes in {short(name)}, got {'none' if found < 0 else found}.")
        storage.check = lambda: _check_sum(storage, entries[name].CRC)

    made.content = _unpickle(io.BytesIO(program), _finder({}, fill), made.foreign)
    return made


def _entries(listed: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """The archive's entries by name, all of them stored as they are: nothing can expand."""
    if len(listed) > ENTRY_LIMIT:
        refuse(f"Expected at most {ENTRY_LIMIT} entries, got {len(listed)}.")
    entries = {entry.filename: entry for entry in listed}
    if len(entries) != len(listed):
        refuse("Expected each entry of the archive once, got one twice.")
    for entry in listed:
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            refuse(f"Expected entries stored as torch.save stores them, got {short(entry.filename)} packed.")
    return entries


def _view(whole: memoryview, entries: dict[str, zipfile.ZipInfo], name: str) -> memoryview | None:
    """The bytes of an entry; its own header says where they start."""
    entry = entries.get(name)
    if entry is None:
        return None
    head = bytes(whole[entry.header_offset : entry.header_offset + 30])
    if len(head) < 30 or head[:4] != b"PK\x03\x04":
        refuse(f"Expected the entry {short(name)} where the archive says, got none.")
    start = entry.header_offset + 30 + sum(struct.unpack("<HH", head[26:30]))
    if start + entry.file_size > len(whole):
        raise CapbenchError(f"Expected {entry.file_size} bytes in {short(name)}: the file is cut short.")
    return whole[start : start + entry.file_size]


def _check_sum(storage: Storage, due: int) -> None:
    if storage.data is not None and zlib.crc32(storage.data) != due:
        raise CapbenchError(
            f"Expected the checksum {due:08x} of storage {short(storage.key)}, got another: damaged bytes.",
            fix="fetch the file again",
        )
