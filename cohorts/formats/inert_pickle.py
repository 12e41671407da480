"""Reading pickles without running anything.

A pickle is a program: it may name any function of any module and call it. This reader knows a handful of
names (numpy arrays, dtypes and scalars, ordered dicts, sets, bytes), builds those itself after checking
every length, and imports nothing. Any other name is refused or, on demand, replaced by an object that
does nothing.

What comes back is made of None, bool, int, float, str, bytes, bytearray, list, tuple, dict, OrderedDict,
set, frozenset, numpy arrays of numbers or text and, on demand, :class:`InertObject`. It can refer to
itself, and a small file can hold a value that is endless when walked: readers walk only the structure
they expect.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal, NoReturn

from cohorts.bounded import MB, about, read_bytes
from cohorts.errors import CapbenchError, RefusedError
from cohorts.formats.inert_values import (
    KNOWN,
    InertObject,
    Maker,
    UnfilledArray,
    UnfinishedDtype,
    build_array,
    build_dtype,
    hashable,
    make_frozenset,
    refuse,
    short,
)

PICKLE_LIMIT = 256 * MB
STEP_LIMIT = 20_000_000  #: steps of the pickle's program, dearer ones counted several times (see _step)
INT_LIMIT = 1024  #: bytes of one whole number; hashing and printing huge ones takes for ever

Foreign = Literal["refuse", "placeholder"]


def load_pickle(
    path: Path, limit: int = PICKLE_LIMIT, *, foreign: Foreign = "refuse", found: list[str] | None = None
) -> Any:
    """The content of a pickle of plain values and numpy arrays, read without running any of it.

    Parameters
    ----------
    path : the file
    limit : bytes it may have at most
    foreign : what to do about names that are not known here: refuse the file, or put an
        :class:`InertObject` in their place
    found : takes the foreign names, each once, in the order of the file
    """
    reader = InertUnpickler(io.BytesIO(read_bytes(path, limit)), foreign=foreign)
    try:
        with about(path):
            return reader.load()
    except DAMAGE as error:
        reason = str(error) or type(error).__name__
        raise CapbenchError(f"Expected a pickle, got: {reason[:200]}.", file=path) from None
    finally:
        if found is not None:
            found.extend(name for name in reader.foreign_names if name not in found)


#: what unpickling damaged or hostile bytes can raise; MemoryError because a length may still lie
DAMAGE = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)


# --- the machine --------------------------------------------------------------------------------


class InertUnpickler(pickle._Unpickler):
    """A stack machine that builds plain values and calls nothing outside this module.

    It is the pure Python unpickler underneath, not the one in C. That one allocates what a length in
    the file promises before it looks (10 GB for BINBYTES8, a table of 2**31 slots for LONG_BINPUT), and
    its opcodes can't be replaced. Here every opcode that trusts what it finds on the stack is ours.
    """

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {}  # filled by _step and _take_over
    stack: list[Any]
    memo: dict[int, Any]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]
    readline: Callable[[], bytes]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, stream: io.BytesIO, *, foreign: Foreign = "refuse") -> None:
        super().__init__(stream, encoding="latin-1")
        self.foreign = foreign
        self.foreign_names: dict[str, None] = {}  # used as an ordered set
        self.size = len(stream.getbuffer())
        self.steps = 0

    def find_class(self, module: str, name: str) -> Any:
        """Our own maker of that name, or what ``foreign`` says. Nothing is imported."""
        known = KNOWN.get((module, name))
        if known is not None:
            return known
        asked = f"{module}.{name}"[:200]
        self.foreign_names.setdefault(asked)
        if self.foreign == "placeholder":
            return InertObject(module, name)
        raise RefusedError(
            f"Expected plain values and arrays, got a pickle that would run {asked}.",
            fix="ask for the data as .npz, .json or .csv; open this file with nothing else",
        )

    def persistent_load(self, pid: Any) -> NoReturn:
        """Outside references are refused."""
        refuse(f"Expected no outside references, got {short(pid)}.")

    def spend(self, steps: int) -> None:
        """Count ``steps`` and stop a pickle that would go on and on."""
        self.steps += steps
        if self.steps > STEP_LIMIT:
            refuse(f"Expected a pickle of at most {STEP_LIMIT // 1_000_000} million steps.")

    def call(self, function: Any, args: Any, options: Any = None) -> Any:
        """What calling ``function`` gives, if it is one of ours; a foreign one gives another placeholder."""
        if isinstance(function, InertObject):
            return InertObject(function.module, function.name)
        if not isinstance(function, Maker) or function.make is None or not isinstance(args, tuple) or options:
            refuse("Expected calls of known makers only, got something else in their place.")
        self.spend_on(args)
        return function.make(*args)

    def spend_on(self, values: tuple[Any, ...]) -> None:
        """Count the work of copying ``values``: the memo lets one long value be used again and again."""
        for value in values:
            if isinstance(value, (list, tuple)):
                self.spend(4 * len(value))
            elif isinstance(value, (str, bytes, bytearray)):
                self.spend(len(value) // 16)

    def extend(self, items: list[Any]) -> None:
        """Append ``items`` to the list on top of the stack."""
        target = self.stack[-1]
        if type(target) is list:
            target.extend(items)
        elif not isinstance(target, InertObject):
            refuse(f"Expected a list to append to, got {short(target)}.")

    def update(self, items: list[Any]) -> None:
        """Put keys and values, taking turns in ``items``, into the dict on top of the stack."""
        target = self.stack[-1]
        if isinstance(target, InertObject):
            return
        if type(target) not in (dict, OrderedDict) or len(items) % 2:
            refuse(f"Expected a dict to fill with pairs, got {short(target)}.")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[hashable(key)] = value

    def recall(self, place: int) -> None:
        """Push what was memoised at ``place``."""
        value = self.memo[place]
        if isinstance(value, UnfilledArray) and value.filled is not None:
            value = value.filled
        self.append(value)

    def digits(self) -> bytes:
        """The rest of the line, short enough for a number."""
        text = self.readline()[:-1].removesuffix(b"L")
        if len(text) > INT_LIMIT:
            refuse(f"Expected numbers of at most {INT_LIMIT} digits, got {len(text)}.")
        return text


_Step = Callable[[Any], None]


def _step(opcode: bytes, cost: int = 1) -> Callable[[_Step], _Step]:
    """Make a function the step for ``opcode``; costs grow with memory: a container 4, a name 8, a set 12."""

    def register(step: _Step) -> _Step:
        def counted(machine: InertUnpickler) -> None:
            machine.steps += cost
            if machine.steps > STEP_LIMIT:
                machine.spend(0)
            step(machine)

        InertUnpickler.dispatch[opcode[0]] = counted
        return step

    return register


def _take_over() -> None:
    """The base class's steps that only push, pop or memoise plain values; all others are forbidden."""
    plain = (
        "PROTO FRAME STOP MARK POP POP_MARK DUP NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 "
        "BINFLOAT BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 UNICODE BINUNICODE "
        "SHORT_BINUNICODE BINUNICODE8 EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST EMPTY_DICT "
        "EMPTY_SET BINPUT LONG_BINPUT MEMOIZE GLOBAL STACK_GLOBAL"
    )
    dear = {"EMPTY_SET": 12, "GLOBAL": 8, "STACK_GLOBAL": 8}
    dear |= dict.fromkeys(
        ("MARK", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "LIST", "EMPTY_DICT"), 4
    )
    InertUnpickler.dispatch.update(dict.fromkeys(pickle._Unpickler.dispatch, _forbidden))
    for name in plain.split():
        opcode = getattr(pickle, name)
        _step(opcode, dear.get(name, 1))(pickle._Unpickler.dispatch[opcode[0]])


def _forbidden(machine: InertUnpickler) -> None:
    """Outside references, registered extensions, buffers kept elsewhere, Python 2's quoted text."""
    refuse("Expected plain values and arrays, got a step that reaches outside the pickle.")


_take_over()


@_step(pickle.REDUCE, 4)
def _reduce(machine: InertUnpickler) -> None:
    args = machine.stack.pop()
    machine.stack[-1] = machine.call(machine.stack[-1], args)


@_step(pickle.NEWOBJ, 4)
def _newobj(machine: InertUnpickler) -> None:
    args, function = machine.stack.pop(), machine.stack.pop()
    machine.append(machine.call(function, args))


@_step(pickle.NEWOBJ_EX, 4)
def _newobj_ex(machine: InertUnpickler) -> None:
    options, args, function = (machine.stack.pop() for _ in range(3))
    machine.append(machine.call(function, args, options))


@_step(pickle.OBJ, 8)
def _obj(machine: InertUnpickler) -> None:
    function, *args = machine.pop_mark()
    machine.append(machine.call(function, tuple(args)))


@_step(pickle.INST, 8)
def _inst(machine: InertUnpickler) -> None:
    module, name = (machine.readline()[:-1].decode("utf-8") for _ in range(2))
    args = machine.pop_mark()
    machine.append(machine.call(machine.find_class(module, name), tuple(args)))


@_step(pickle.BUILD, 4)
def _build(machine: InertUnpickler) -> None:
    state, made = machine.stack.pop(), machine.stack[-1]
    machine.spend_on(state if isinstance(state, tuple) else ())
    if isinstance(made, UnfilledArray):
        machine.stack[-1] = build_array(made, state)
    elif isinstance(made, UnfinishedDtype):
        build_dtype(made, state)
    elif not isinstance(made, InertObject):
        refuse(f"Expected an array to fill, got {short(made)}.")


@_step(pickle.APPEND)
def _append(machine: InertUnpickler) -> None:
    value = machine.stack.pop()
    machine.extend([value])


@_step(pickle.APPENDS)
def _appends(machine: InertUnpickler) -> None:
    machine.extend(machine.pop_mark())


@_step(pickle.DICT, 4)
def _dict(machine: InertUnpickler) -> None:
    items = machine.pop_mark()
    machine.append({})
    machine.update(items)


@_step(pickle.SETITEM)
def _setitem(machine: InertUnpickler) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.update([key, value])


@_step(pickle.SETITEMS)
def _setitems(machine: InertUnpickler) -> None:
    machine.update(machine.pop_mark())


@_step(pickle.ADDITEMS)
def _additems(machine: InertUnpickler) -> None:
    items, target = machine.pop_mark(), machine.stack[-1]
    if type(target) is set:
        target.update(map(hashable, items))
    elif not isinstance(target, InertObject):
        refuse(f"Expected a set to add to, got {short(target)}.")


@_step(pickle.FROZENSET, 8)
def _build_frozenset(machine: InertUnpickler) -> None:
    items = machine.pop_mark()  # first: it changes which stack ``append`` means
    machine.append(make_frozenset(items))


@_step(pickle.BYTEARRAY8)
def _bytearray8(machine: InertUnpickler) -> None:
    length = int.from_bytes(machine.read(8), "little")
    if length > machine.size:  # the base class allocates first
        refuse(f"Expected at most the file's {machine.size} bytes, got a length of {length}.")
    machine.append(bytearray(machine.read(length)))


@_step(pickle.INT)
def _int(machine: InertUnpickler) -> None:
    line = machine.digits()
    machine.append(line == b"01" if line in (b"00", b"01") else int(line))


@_step(pickle.FLOAT)
def _float(machine: InertUnpickler) -> None:
    machine.append(float(machine.digits()))


@_step(pickle.LONG)
def _long(machine: InertUnpickler) -> None:
    machine.append(int(machine.digits()))


@_step(pickle.LONG4)
def _long4(machine: InertUnpickler) -> None:
    length = int.from_bytes(machine.read(4), "little", signed=True)
    if not 0 <= length <= INT_LIMIT:
        refuse(f"Expected whole numbers of at most {INT_LIMIT} bytes, got a length of {length}.")
    machine.append(int.from_bytes(machine.read(length), "little", signed=True))


@_step(pickle.PUT)
def _put(machine: InertUnpickler) -> None:
    place = int(machine.digits())
    if not 0 <= place < 2**32:
        refuse("Expected places in the memo below 2**32.")
    machine.memo[place] = machine.stack[-1]


@_step(pickle.GET)
def _get(machine: InertUnpickler) -> None:
    machine.recall(int(machine.digits()))


@_step(pickle.BINGET)
def _binget(machine: InertUnpickler) -> None:
    machine.recall(machine.read(1)[0])


@_step(pickle.LONG_BINGET)
def _long_binget(machine: InertUnpickler) -> None:
    machine.recall(int.from_bytes(machine.read(4), "little"))
