"""The inert unpickler: honest pickles read back equal, hostile ones run nothing and allocate nothing."""

from __future__ import annotations

import collections
import pickle
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cohorts.errors import CapbenchError, RefusedError
from cohorts.formats import inert_pickle
from cohorts.formats.inert_pickle import InertObject, load_pickle

PROTOCOLS = range(6)


def load(tmp_path: Path, data: bytes, **options: Any) -> Any:
    path = tmp_path / "some.pkl"
    path.write_bytes(data)
    return load_pickle(path, **options)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return (
            isinstance(b, np.ndarray)
            and a.dtype == b.dtype
            and a.shape == b.shape
            and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        )
    return type(a) is type(b) and a == b


# --- honest pickles -----------------------------------------------------------------------------

PLAIN = [
    None,
    True,
    False,
    [0, 1, -5, 255, 65536, 2**31, -(2**40), 2**70, -(2**200)],
    [0.0, -0.0, 1.5, -1e300, float("inf")],
    ["", "a", "é\n\\u0041", "x" * 300, "\ud800"],
    [b"", b"\x00\xff", b"z" * 70000],
    [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
    {"a": 1, 2: "b", None: [], 1.5: {}, b"k": ()},
    [set(), {1, "a"}, frozenset(), frozenset({2, "b"})],
    [bytearray(), bytearray(b"xy\xff")],
    collections.OrderedDict(z=1, a=2),
]
ARRAYS = [
    np.arange(24.0).reshape(2, 3, 4),
    np.arange(24.0).reshape(2, 3, 4)[:, ::2],
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
    np.arange(6, dtype=">i2").reshape(2, 3),
    np.array(3.5),
    np.array([], dtype=np.float32),
    np.zeros((0, 52, 3)),
    np.array([True, False]),
    np.array(["female", "m"]),
    np.array([b"female", b"m"]),
    np.array([1.5, np.nan, -np.inf], dtype=np.float16),
    np.array([2**64 - 1], dtype=np.uint64),
]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("value", PLAIN, ids=range(len(PLAIN)))
def test_plain_values_read_back_equal(tmp_path: Path, value: Any, protocol: int) -> None:
    assert same(load(tmp_path, pickle.dumps(value, protocol)), value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("array", ARRAYS, ids=range(len(ARRAYS)))
def test_arrays_read_back_equal(tmp_path: Path, array: np.ndarray, protocol: int) -> None:
    assert same(load(tmp_path, pickle.dumps(array, protocol)), array)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3])
def test_arrays_named_by_numpy_1_read_back_equal(tmp_path: Path, protocol: int) -> None:
    """Protocols up to 3 spell names out in text; numpy 1 called the module numpy.core."""
    value = {"R": np.eye(3), "one": np.float64(0.5)}
    data = pickle.dumps(value, protocol).replace(b"numpy._core.", b"numpy.core.")
    assert b"numpy._core" not in data
    read = load(tmp_path, data)
    assert same(read["R"], np.eye(3)) and read["one"] == 0.5


def test_hand_written_numpy_1_array_of_protocol_4(tmp_path: Path) -> None:
    def text(word: str) -> bytes:
        return b"\x8c" + bytes([len(word)]) + word.encode()

    dtype = text("numpy") + text("dtype") + b"\x93" + text("f8") + b"\x89\x88\x87R"
    dtype += b"(K\x03" + text("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    raw = struct.pack("<2d", 1.25, -8.0)
    data = b"\x80\x04" + text("numpy.core.multiarray") + text("_reconstruct") + b"\x93"
    data += text("numpy") + text("ndarray") + b"\x93K\x00\x85C\x01b\x87R"
    data += b"(K\x01K\x02\x85" + dtype + b"\x89C" + bytes([len(raw)]) + raw + b"tb."
    assert same(load(tmp_path, data), np.array([1.25, -8.0]))


def test_array_bytes_that_python_2_wrote_as_text(tmp_path: Path) -> None:
    dtype = b"cnumpy\ndtype\n(U\x02f8K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    data = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
    data += b"(K\x01K\x01\x85" + dtype + b"\x89U\x08" + struct.pack("<d", -2.5) + b"tb."
    assert same(load(tmp_path, data), np.array([-2.5]))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "scalar", [np.float32(1.5), np.int64(-7), np.bool_(True), np.str_("ab"), np.uint8(9)]
)
def test_numpy_scalars_come_back_as_plain_ones(tmp_path: Path, scalar: Any, protocol: int) -> None:
    assert same(load(tmp_path, pickle.dumps(scalar, protocol)), scalar.item())


def test_one_array_used_twice_is_one_array(tmp_path: Path) -> None:
    array = np.arange(3.0)
    first, second = load(tmp_path, pickle.dumps([array, array]))
    assert first is second and same(first, array)


@settings(max_examples=50, deadline=None)
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
        max_leaves=20,
    ),
    protocol=st.integers(0, 5),
)
def test_any_plain_value(tmp_path_factory: pytest.TempPathFactory, value: Any, protocol: int) -> None:
    assert same(load(tmp_path_factory.mktemp("p"), pickle.dumps(value, protocol)), value)


@settings(max_examples=50, deadline=None)
@given(
    array=hnp.arrays(
        st.sampled_from([np.float64, np.float32, np.int16, np.uint8, np.bool_, ">f8"]),
        hnp.array_shapes(min_dims=0, min_side=0, max_side=4),
    ),
    protocol=st.integers(0, 5),
    turn=st.booleans(),
)
def test_any_array(
    tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, protocol: int, turn: bool
) -> None:
    array = array.T if turn else array
    assert same(load(tmp_path_factory.mktemp("p"), pickle.dumps(array, protocol)), array)


# --- payloads that want to run something --------------------------------------------------------


class Calls:
    """Pickles as a call of ``function(*args)``."""

    def __init__(self, function: Any, *args: Any, state: Any = None) -> None:
        self.parts = (function, args) if state is None else (function, args, state)

    def __reduce__(self) -> Any:
        return self.parts


def raw_call(module: str, name: str, *args: str) -> bytes:
    arguments = b"".join(b"V" + a.encode() + b"\n" for a in args)
    return b"c" + f"{module}\n{name}\n".encode() + b"(" + arguments + b"tR"


def hostile(canary: Path) -> dict[str, bytes]:
    """Pickles that would create ``canary`` when read by the standard library."""
    import builtins
    import functools
    import operator
    import os
    import subprocess

    touch = f"touch {canary}"
    code = f"open({str(canary)!r}, 'w').close()"
    text = f"V{code}\n".encode()
    shell = f"V{touch}\n".encode()

    def word(w: str) -> bytes:
        return b"\x8c" + bytes([len(w)]) + w.encode()

    object_array = np.empty(1, dtype=object)
    object_array[0] = Calls(os.system, touch)
    ordered = collections.OrderedDict(a=Calls(os.system, touch))
    return {
        "os.system": pickle.dumps(Calls(os.system, touch)),
        "os.system protocol 0": pickle.dumps(Calls(os.system, touch), 0),
        "os.popen": pickle.dumps(Calls(os.popen, touch)),
        "posix by name": raw_call("posix", "system", touch) + b".",
        "nt by name": raw_call("nt", "system", touch) + b".",
        "eval": pickle.dumps(Calls(builtins.eval, code)),
        "exec": pickle.dumps(Calls(builtins.exec, code)),
        "exec by its Python 2 name": raw_call("__builtin__", "eval", code) + b".",
        "subprocess": pickle.dumps(Calls(subprocess.call, ["touch", str(canary)])),
        "getattr chain": pickle.dumps(Calls(getattr, Calls(__import__, "os"), "system")),
        "import": pickle.dumps(Calls(__import__, "antigravity")),
        "INST": b"(" + shell + b"ios\nsystem\n.",
        "OBJ": b"(cos\nsystem\n" + shell + b"o.",
        "NEWOBJ": b"cos\nsystem\n" + shell + b"\x85\x81.",
        "NEWOBJ_EX": b"\x80\x04cos\nsystem\n" + shell + b"\x85}\x92.",
        "STACK_GLOBAL": b"\x80\x04" + word("os") + word("system") + b"\x93" + word(touch) + b"\x85R.",
        "STACK_GLOBAL from the memo": (
            b"\x80\x04"
            + word("system")
            + b"\x94"
            + word("os")
            + b"\x94"
            + b"0" * 2
            + b"h\x01h\x00\x93"
            + word(touch)
            + b"\x85R."
        ),
        "dotted name": b"\x80\x04" + word("os") + word("path.os.system") + b"\x93" + shell + b"\x85R.",
        "dotted name below a known one": (
            b"\x80\x04" + word("numpy") + word("ndarray.__reduce__.__class__") + b"\x93)R."
        ),
        "extension": b"\x80\x02\x82\x01" + shell + b"\x85R.",
        "outside reference": b"\x80\x04" + shell + b"Q.",
        "outside reference in text": b"P" + touch.encode() + b"\n.",
        "object array": pickle.dumps(object_array),
        "object array protocol 2": pickle.dumps(object_array, 2),
        "inside an ordered dict": pickle.dumps(ordered),
        "state of an ordered dict": (
            b"ccollections\nOrderedDict\n)R(dV__setstate__\n" + raw_call("builtins", "eval", code) + b"sb."
        ),
        "state of a name": b"cnumpy\ndtype\nN}Vmake\n" + b"cos\nsystem\ns\x86b.",
        "state of a dtype": (b"cnumpy\ndtype\n(Vf8\nI00\nI01\ntRN}Vdtype\n" + b"cos\nsystem\ns\x86b."),
        "codec that runs": raw_call("_codecs", "decode", code, "unicode_escape") + b".",
        "codec lookup": raw_call("codecs", "lookup", code) + b".",
        "encode with another codec": raw_call("_codecs", "encode", code, "rot13") + b".",
        "partial": pickle.dumps(Calls(functools.partial(os.system, touch))),
        "methodcaller": pickle.dumps(Calls(operator.methodcaller("system", touch), os.environ.__class__)),
        "attrgetter": pickle.dumps(operator.attrgetter("system")),
        "map of a list": b"cbuiltins\nlist\n(cbuiltins\nmap\n(cos\nsystem\n(" + shell + b"ltRtR.",
        "reduce on a string": text + b"(tR.",
        "reduce on a memoised array": pickle.dumps(np.zeros(1), 2)[:-1] + b")R.",
        "append to a call": b"cos\nsystem\n" + shell + b"a.",
        "appends to a call": b"cos\nsystem\n(" + shell + b"e.",
        "dict that is a name": b"cbuiltins\nglobals\n)R" + text + text + b"s.",
        "copyreg": raw_call("copyreg", "_reconstructor", code) + b".",
        "torch storage": raw_call("torch.storage", "_load_from_bytes", code) + b".",
        "joblib": raw_call("joblib.numpy_pickle", "NumpyArrayWrapper", code) + b".",
        "runpy": raw_call("runpy", "_run_code", code) + b".",
        "after an honest value": pickle.dumps([1.0, Calls(os.system, touch)]),
        "as a dict key": b"}" + raw_call("os", "system", touch) + b"Ns.",
        "numpy that runs code": raw_call("numpy.testing._private.utils", "runstring", code) + b".",
        "ctypes": raw_call("ctypes", "CDLL", str(canary)) + b".",
    }


NAMES = sorted(hostile(Path("canary")))


@pytest.mark.parametrize("name", NAMES)
def test_hostile_pickles_are_refused_and_run_nothing(tmp_path: Path, name: str) -> None:
    canary = tmp_path / "canary"
    with pytest.raises(CapbenchError) as caught:
        load(tmp_path, hostile(canary)[name])
    assert not canary.exists()
    assert caught.value.file == str(tmp_path / "some.pkl")


@pytest.mark.parametrize("name", NAMES)
def test_placeholders_run_nothing_either(tmp_path: Path, name: str) -> None:
    canary = tmp_path / "canary"
    try:
        load(tmp_path, hostile(canary)[name], foreign="placeholder")
    except CapbenchError as error:
        assert error.file == str(tmp_path / "some.pkl")
    assert not canary.exists()


def test_the_canary_would_have_sung(tmp_path: Path) -> None:
    """The payloads are real: the standard library runs this one."""
    canary = tmp_path / "canary"
    pickle.loads(hostile(canary)["STACK_GLOBAL from the memo"])  # noqa: S301
    assert canary.exists()


def test_the_refusal_names_what_would_run(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"would run builtins\.eval"):
        load(tmp_path, raw_call("builtins", "eval", "1") + b".")


def test_makers_can_not_be_changed_by_a_pickle(tmp_path: Path) -> None:
    """BUILD on a name would set attributes of our own stand-ins for everyone after."""
    before = dict(inert_pickle.KNOWN)
    with pytest.raises(CapbenchError):
        load(tmp_path, b"cnumpy\ndtype\nN}Vmake\nNs\x86b.")
    assert before == inert_pickle.KNOWN
    assert same(load(tmp_path, pickle.dumps(np.eye(2))), np.eye(2))


# --- placeholders -------------------------------------------------------------------------------


def test_placeholders_stand_for_foreign_names_and_the_names_are_collected(tmp_path: Path) -> None:
    foreign = raw_call("torch._utils", "_rebuild_tensor_v2", "storage")
    foreign += b"(dV_state\nI1\nsb"  # a state, ignored
    state = b"(dVxy\n" + foreign + b"sVnumbers\n(lF1.5\nas."
    found: list[str] = []
    read = load(tmp_path, state, foreign="placeholder", found=found)
    assert read["numbers"] == [1.5]
    assert isinstance(read["xy"], InertObject)
    assert (read["xy"].module, read["xy"].name) == ("torch._utils", "_rebuild_tensor_v2")
    assert found == ["torch._utils._rebuild_tensor_v2"]


def test_placeholders_swallow_everything_a_pickle_does_to_them(tmp_path: Path) -> None:
    thing = raw_call("a.b", "C", "x")
    done = thing + b"I1\na" + b"(I1\nI2\ne" + b"I1\nI2\ns" + b"(I1\nI2\nu" + b"Nb" + b"(I1\nI2\n\x90"
    read = load(tmp_path, b"\x80\x04" + done + b".", foreign="placeholder")
    assert isinstance(read, InertObject)
    as_keys = b"\x80\x04}" + thing + b"Ns\x8f(" + thing + b"\x90\x86."
    mapping, members = load(tmp_path, as_keys, foreign="placeholder")
    assert [type(k) for k in mapping] == [InertObject] and len(members) == 1
    called_again = b"\x80\x04" + done + b")R)\x81)}\x92."
    assert isinstance(load(tmp_path, called_again, foreign="placeholder"), InertObject)


# --- bombs and damage ---------------------------------------------------------------------------


def array_pickle(shape: bytes, raw: bytes = b"C\x08" + bytes(8), spec: bytes = b"Vf8\n") -> bytes:
    dtype = b"cnumpy\ndtype\n(" + spec + b"I00\nI01\ntR"
    return (
        b"\x80\x04cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR(I1\n"
        + shape
        + dtype
        + b"\x89"
        + raw
        + b"tb."
    )


BOMBS = {
    "LONG_BINPUT of 2**31 - 1, then damage": b"\x80\x04Nr\xff\xff\xff\x7f",
    "BINBYTES8 of 10 GB": b"\x80\x04\x8e" + struct.pack("<Q", 10**10) + b"abc.",
    "BINUNICODE8 of 10 GB": b"\x80\x04\x8d" + struct.pack("<Q", 10**10) + b"abc.",
    "BYTEARRAY8 of 10 GB": b"\x80\x05\x96" + struct.pack("<Q", 10**10) + b"abc.",
    "BINBYTES of 4 GB": b"\x80\x04B" + struct.pack("<I", 2**32 - 1) + b"abc.",
    "FRAME of 2**63": b"\x80\x04\x95" + struct.pack("<Q", 2**63) + b"N.",
    "FRAME of 10 GB without an end": b"\x80\x04\x95" + struct.pack("<Q", 10**10) + b"N",
    "shape of 10**10": array_pickle(b"(I10000000000\nt"),
    "shape of 2**30": array_pickle(b"(I1073741824\nt"),
    "shape whose product overflows to 1": array_pickle(b"(L4294967296L\nL4294967296L\nI1\nt"),
    "shape of -1": array_pickle(b"(I-1\nt"),
    "shape of True": array_pickle(b"(I01\nt"),
    "shape that is no tuple": array_pickle(b"Vx\n"),
    "many axes": array_pickle(b"(" + b"I1\n" * 40 + b"t"),
    "first step asks for 10**10": (
        b"\x80\x04cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I10000000000\ntC\x01btRNb."
    ),
    "buffer with a lying shape": (
        b"\x80\x04cnumpy._core.numeric\n_frombuffer\n(C\x08"
        + bytes(8)
        + b"cnumpy\ndtype\n(Vf8\nI00\nI01\ntR(I10000000000\ntVC\ntR."
    ),
    "text of 4 GB each": array_pickle(b"(I1\nt", spec=b"VU999999999\n"),
    "objects": array_pickle(b"(I1\nt", spec=b"VO8\n"),
    "void": array_pickle(b"(I1\nt", spec=b"VV8\n"),
    "dates": array_pickle(b"(I1\nt", spec=b"VM8\n"),
    "no size": array_pickle(b"(I1\nt", spec=b"VU0\n"),
    "a dtype with a comma": array_pickle(b"(I1\nt", spec=b"Vf4,f4\n"),
    "characters beyond Unicode": array_pickle(b"(I2\nt", b"C\x08" + b"\xff" * 8, b"VU1\n"),
    "array filled with itself": b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\nNNtRp0\ng0\nb.",
    "number of 100,000 digits": b"L" + b"9" * 100_000 + b"L\n.",
    "number of 1 MB": b"\x80\x02\x8b" + struct.pack("<i", 10**6) + bytes(10**6) + b".",
    "number of negative length": b"\x80\x02\x8b" + struct.pack("<i", -5) + b".",
    "float of 100,000 digits": b"F" + b"9" * 100_000 + b"\n.",
    "memo place of 4,000 digits": b"Np" + b"9" * 4000 + b"\n.",
    "memo place below zero": b"Np-1\n.",
    "memo place unknown": b"g7\n.",
    "tuple as a key": b"}(I1\nI2\ntNs.",
    "list as a key": b"}]Ns.",
    "huge number as a key": b"}L" + str(2**61 - 1).encode() * 3 + b"L\nNs.",
    "list in a set": b"\x80\x04\x8f(]\x90.",
    "odd dict": b"(I1\nd.",
    "set item on a list": b"]I1\nI2\ns.",
    "append to a dict": b"}I1\na.",
    "append to bytes": b"\x80\x05\x96" + struct.pack("<Q", 1) + b"aI1\na.",
    "add to a list": b"\x80\x04](I1\n\x90.",
    "reduce of nothing": b"R.",
    "empty stack": b".",
    "pop of nothing": b"0.",
    "no mark": b"NNt.",
    "unknown opcode": b"\xff.",
    "opcode NUL": b"\x00.",
    "protocol 77": b"\x80\x4dN.",
    "text that is not UTF-8": b"\x80\x04\x8c\x02\xff\xff.",
    "Python 2's quoted text": b"S'\\q'\n.",
    "a buffer kept elsewhere": b"\x80\x05\x97.",
    "read-only buffer": b"\x80\x05C\x01a\x98.",
    "nothing": b"",
    "text": b"subject,trial\n1,2\n",
    "a zip archive": b"PK\x03\x04" + bytes(30),
}


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_bombs_and_damage_are_refused_without_the_memory_they_ask_for(tmp_path: Path, name: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(CapbenchError) as caught:
            load(tmp_path, BOMBS[name])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 32 << 20
    assert caught.value.file == str(tmp_path / "some.pkl")
    assert len(str(caught.value)) < 1000


def test_a_memo_place_of_2_31_costs_nothing(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        assert load(tmp_path, b"\x80\x04K\x05r\xff\xff\xff\x7f0j\xff\xff\xff\x7f.") == 5
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 32 << 20


@pytest.mark.parametrize(
    ("module", "name", "make"),
    [
        ("builtins", "set", lambda n: b"](" + b"K\x01" * n + b"e"),
        ("builtins", "bytearray", lambda n: b"B" + struct.pack("<I", 8 * n) + bytes(8 * n)),
        ("_codecs", "encode", lambda n: b"X" + struct.pack("<I", 8 * n) + b"a" * 8 * n),
    ],
)
def test_copying_one_long_value_again_and_again_is_stopped(
    tmp_path: Path, module: str, name: str, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inert_pickle, "STEP_LIMIT", 200_000)
    size = 20_000
    extra = b"Vlatin1\n\x86" if name == "encode" else b"\x85"
    again = b"h\x00h\x01" + extra + b"R0"
    data = b"\x80\x04c" + f"{module}\n{name}\n".encode() + b"q\x000" + make(size) + b"q\x010" + again * 100
    with pytest.raises(RefusedError, match="steps"):
        load(tmp_path, data + b"N.")


def test_a_program_that_goes_on_and_on_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inert_pickle, "STEP_LIMIT", 1000)
    with pytest.raises(RefusedError, match="steps"):
        load(tmp_path, b"]" * 1000 + b".")


def test_self_reference_and_shared_doubling_load_and_print_nowhere(tmp_path: Path) -> None:
    endless = load(tmp_path, b"]p0\ng0\na.")
    assert endless[0] is endless
    doubled = load(tmp_path, b"]" + b"p0\n0(g0\ng0\nt" * 200 + b".")  # 2**200 leaves when walked
    assert type(doubled) is tuple and doubled[0] is doubled[1]


def test_deep_nesting_loads_and_goes_away(tmp_path: Path) -> None:
    deep = load(tmp_path, b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".")
    assert type(deep) is list and len(deep) == 1


def test_a_doubled_tuple_as_axes_or_key_is_refused_at_once(tmp_path: Path) -> None:
    """Comparing two such tuples would take 2**60 steps."""
    one = b"(t" + b"p1\n0(g1\ng1\nt" * 60
    two = b"(t" + b"p2\n0(g2\ng2\nt" * 60
    array = b"cnumpy._core.numeric\n_frombuffer\n(C\x10" + bytes(16) + b"cnumpy\ndtype\n(Vf8\nI00\nI01\ntR"
    with pytest.raises(CapbenchError):
        load(tmp_path, array + b"(I1\nI2\ntVK\n(" + one + two + b"ttR.")


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damaged_pickles_end_in_a_value_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    protocol = data.draw(st.integers(0, 5))
    whole = bytearray(
        pickle.dumps({"a": np.arange(4.0), "b": [(1, "x", b"y", {2})], "c": np.str_("z")}, protocol)
    )
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    damaged = bytes(whole) if data.draw(st.booleans()) else bytes(whole[:cut])
    for foreign in ("refuse", "placeholder"):
        try:
            load(tmp_path_factory.mktemp("p"), damaged, foreign=foreign)
        except CapbenchError as error:
            assert error.file is not None


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "no.pkl", tmp_path):
        with pytest.raises(CapbenchError) as caught:
            load_pickle(path)
        assert caught.value.file == str(path)


def test_size_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "some.pkl"
    path.write_bytes(pickle.dumps(b"x" * 1000))
    with pytest.raises(RefusedError):
        load_pickle(path, limit=100)
