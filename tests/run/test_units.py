"""Keys say everything the bytes depend on, and nothing else; outputs go through bytes unchanged."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capbench.run.units import Failed, Unit, UnitError, canonical, pack, unpack
from cohorts.errors import CapbenchError

A, B = "a" * 64, "b" * 64
BASE = {"stage": "predict", "inputs": {"video": A}, "params": {"rate": 25, "flip": True}, "version": "1"}


def unit(**changes) -> Unit:
    return Unit(**{"of": "a1/walk", **BASE, **changes})


@pytest.mark.truth("sha256 of JSON written by hand")
def test_key_is_the_hash_of_what_can_be_written_by_hand() -> None:
    by_hand = '["predict","1",{"video":"' + A + '"},{"flip":true,"rate":25}]'
    assert unit().key == hashlib.sha256(by_hand.encode()).hexdigest()


@pytest.mark.parametrize(
    "changes",
    [
        {"stage": "solve"},
        {"version": "2"},
        {"inputs": {"video": B}},
        {"inputs": {"film": A}},
        {"params": {"rate": 30, "flip": True}},
        {"params": {}},
    ],
)
def test_what_changes_the_key(changes) -> None:
    assert unit(**changes).key != unit().key


@pytest.mark.parametrize(
    "changes",
    [
        {"of": "somebody else"},
        {"needs": (A,)},
        {"needs": (A,), "may_lack": ("video",)},
        {"blame": "model"},
        {"size": 900.0},
        {"params": {"flip": True, "rate": 25}},
    ],
)
def test_what_does_not_change_the_key(changes) -> None:
    assert unit(**changes).key == unit().key


@pytest.mark.parametrize(
    "changes",
    [
        {"stage": "../x"},
        {"inputs": {"video": "file.mp4"}},
        {"needs": ("x",)},
        {"may_lack": ("video",)},
        {"blame": "nobody"},
        {"size": 0.0},
        {"size": float("nan")},
    ],
)
def test_units_that_make_no_sense_are_refused(changes) -> None:
    with pytest.raises(ValueError):
        unit(**changes)


@pytest.mark.parametrize(
    "params", [{"x": float("nan")}, {"x": float("inf")}, {1: 2}, {"x": {2: 3}}, {"x": {1}}]
)
def test_parameters_without_one_meaning_are_refused(params) -> None:
    with pytest.raises((ValueError, TypeError)):
        _ = unit(params=params).key


def test_a_unit_crosses_json() -> None:
    one = unit(
        needs=(A,), may_lack=("video",), blame="model", size=3.0, params={"list": [1, 2.5], "t": (1, 2)}
    )
    there = Unit.from_dict(json.loads(json.dumps(one.to_dict())))
    assert there.key == one.key and there.to_dict() == json.loads(json.dumps(there.to_dict())) | {
        "needs": (A,),
        "may_lack": ("video",),
    }
    assert (there.blame, there.size, there.needs, there.of) == ("model", 3.0, (A,), "a1/walk")


def test_only_inputs_that_come_from_needs_are_handed_on() -> None:
    one = unit(inputs={"video": A, "points": B}, needs=(B,))
    assert one.from_needs() == {"points": B}


def test_a_failure_of_a_stage_says_whose_it_is() -> None:
    error = UnitError("Expected 25, got 30.", fault="cohort", kind="rate", file="a.mp4", fix="re-encode")
    assert str(error) == "a.mp4: Expected 25, got 30. Try: re-encode"
    again = error.__reduce__()[0](*error.__reduce__()[1])
    assert (again.fault, again.kind, str(again)) == ("cohort", "rate", str(error))
    assert Failed("model", "hung", "x") == Failed("model", "hung", "x")


# --- bytes --------------------------------------------------------------------------------------

numbers = st.one_of(
    st.integers(-5, 5), st.floats(allow_nan=False, allow_infinity=False), st.text(), st.booleans()
)
values = st.recursive(
    numbers, lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)), max_leaves=8
)


@given(values)
def test_canonical_json_reads_back(value) -> None:
    assert json.loads(canonical(value)) == value


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4).T,
        np.array([[1.5, np.nan], [np.inf, -0.0]], np.float32),
        np.zeros((0, 3)),
        np.array(7),
        np.array([True, False]),
        np.arange(5, dtype=np.uint8)[::2],
        np.array([1, -2], ">i4"),
        np.array([1, 2], np.float16),
    ],
)
def test_arrays_come_back(array) -> None:
    (got, about) = unpack(pack({"x": array, "other": np.ones(2)}, {"unit": "m", "n": [1, None]}))
    assert about == {"unit": "m", "n": [1, None]} and set(got) == {"x", "other"}
    assert got["x"].shape == array.shape and got["x"].dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(got["x"], array)
    assert not got["x"].flags.writeable


def test_the_same_content_gives_the_same_bytes() -> None:
    x = np.arange(6.0).reshape(2, 3)
    other_nan = np.array([0x7FF8000000000001, 0xFFF8000000000000], np.uint64).view(np.float64)
    assert pack({"a": x, "b": x}) == pack({"b": np.asfortranarray(x), "a": x.astype(">f8")})
    assert pack({"a": other_nan}) == pack({"a": np.array([np.nan, np.nan])})
    assert pack({"a": x}) != pack({"a": -x}) and pack({"a": x}) != pack({"a": x.astype(np.float32)})


@pytest.mark.parametrize(
    "array", [np.array(["text"]), np.array([{}], object), np.array([1j]), np.longdouble([1])]
)
def test_only_plain_numbers_are_packed(array) -> None:
    with pytest.raises(TypeError, match="about"):
        pack({"x": array})


def packed(header: bytes, body: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"short",
        (1 << 60).to_bytes(8, "little") + b"{}",
        packed(b"not json"),
        packed(b"[]"),
        packed(b"{}"),
        packed(b'{"about":null,"arrays":{"x":["<f8",[1]]}}', b"1234567"),
        packed(b'{"about":null,"arrays":{"x":["<f8",[1]]}}', b"123456789"),
        packed(b'{"about":null,"arrays":{"x":["<f8",[4000000000,4000000000]]}}', b"12345678"),
        packed(b'{"about":null,"arrays":{"x":["<f8",[-1]]}}'),
        packed(b'{"about":null,"arrays":{"x":["<f8",[true]]}}', b"12345678"),
        packed(b'{"about":null,"arrays":{"x":["|O8",[1]]}}', b"12345678"),
        packed(b'{"about":null,"arrays":{"x":["<f8",[' + b"1," * 64 + b"1]]}}", b"12345678"),
        packed(b"[" * 100_000),
    ],
)
def test_other_bytes_are_told(data) -> None:
    with pytest.raises(CapbenchError, match="unit's output"):
        unpack(data)


@given(st.integers(0, 200), st.integers(0, 255))
def test_damaged_bytes_never_do_more_than_fail(place, value) -> None:
    data = bytearray(pack({"x": np.arange(4.0), "y": np.ones(2, np.int32)}, {"a": "b"}))
    data[place % len(data)] = value
    try:
        arrays, _ = unpack(bytes(data))
    except CapbenchError:
        return
    assert sum(array.nbytes for array in arrays.values()) <= len(data)
