"""Any value in any place of a keypoint or body file ends in success or a CapbenchError."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import keypoint_samples as samples
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keypoint_samples import put_json, put_pickle, smpl

from cohorts.errors import CapbenchError
from cohorts.formats import FORMATS, native_npz
from cohorts.recording import Keypoints
from cohorts.skeleton import skeleton

JSON_SAMPLES = {
    "coco": samples.COCO,
    "alphapose": samples.ALPHAPOSE,
    "openpose": samples.OPENPOSE,
    "mmpose-json": samples.MMPOSE_VIDEO,
}
PICKLE_SAMPLES = {"mmpose-dump": samples.MMPOSE_DUMP, "opencap-keypoints": samples.OPENCAP}

_json_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**31, 2**48, 2**53, 2**63, -(2**63), 10**30, 1e308, -1e308, 5e-324, 0.5, -0.0]),
    st.text(max_size=5),
    st.sampled_from(["²", "٣", "1e5", "-1", "0x10", "\0", "\x1b[2J", "9" * 20, "x" * 3000]),
    st.lists(st.one_of(st.none(), st.integers(), st.text(max_size=2)), max_size=4),
    st.just([[1, 2, 3]]),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
_arrays = st.sampled_from(
    [
        np.zeros(0),
        np.zeros((0, 17, 2)),
        np.zeros((1, 17, 2), np.int8),
        np.full((1, 17), np.nan),
        np.array(["a"]),
        np.array(b"a"),
        np.array(True),
        np.array(1e308),
        np.array([[np.inf]]),
        np.full((3, 156), -1e308),
        np.full((3, 3), 2.0**1000),
    ]
)
ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)
_odd_objects = st.sampled_from([b"x", bytearray(b"y"), {1}, (), ENDLESS, 10**400, float("nan"), float("inf")])


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value inside ``value``; of long flat lists only to the first three."""
    found = [at]
    if isinstance(value, dict):
        for key, inner in value.items():
            found += places(inner, (*at, key))
    elif isinstance(value, (list, tuple)):
        for i, inner in enumerate(value[:3]):
            found += places(inner, (*at, i))
    return found


def changed(value: Any, at: tuple[Any, ...], odd: Any, drop: bool) -> Any:
    if not at:
        return odd
    value = list(value) if isinstance(value, tuple) else copy.copy(value)
    if drop and len(at) == 1:
        del value[at[0]]
    else:
        value[at[0]] = changed(value[at[0]], at[1:], odd, drop)
    return value


def read(name: str, path: Path) -> None:
    notes: list[str] = []
    try:
        tracks = FORMATS[name].load().read(path, notes=notes)
        if isinstance(tracks, tuple):
            assert all(np.isfinite(t.xy[t.confidence > 0]).all() for t in tracks)
    except CapbenchError as error:
        assert error.file is not None
        assert len(str(error)) < 1500
        assert str(error).isprintable()
    FORMATS[name].load().recognise([])


@settings(max_examples=200, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("name", JSON_SAMPLES)
def test_json(tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject) -> None:
    content: Any = JSON_SAMPLES[name]
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.sampled_from(places(content)))
        content = changed(content, at, data.draw(_json_values), data.draw(st.booleans()))
    path = put_json(tmp_path_factory.mktemp("j") / "a_1_keypoints.json", content)
    read(name, path)
    FORMATS[name].load().recognise(json.loads(path.read_text()))


@settings(max_examples=200, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("name", PICKLE_SAMPLES)
def test_pickles(tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject) -> None:
    content: Any = PICKLE_SAMPLES[name]
    at = data.draw(st.sampled_from(places(content)))
    odd = data.draw(st.one_of(_json_values, _arrays, _odd_objects))
    content = changed(content, at, odd, data.draw(st.booleans()))
    path = put_pickle(tmp_path_factory.mktemp("p") / "a.pkl", content)
    read(name, path)
    FORMATS[name].load().recognise(pickle.loads(path.read_bytes()))  # noqa: S301  # our own


def _own() -> dict[str, Any]:
    track = Keypoints(
        "a", [0.0], np.ones((1, 17, 2)), skeleton("coco-17"), frames=[3], score=[0.5], person="1"
    )
    holds, arrays = native_npz._arrays(track)
    return {"capbench": np.array(["1", holds]), **arrays}


@settings(max_examples=200, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("name", ["npz", "smpl"])
def test_npz(tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject) -> None:
    arrays = _own() if name == "npz" else smpl()
    key = data.draw(st.sampled_from(sorted(arrays)))
    arrays[key] = data.draw(_arrays)
    if data.draw(st.booleans()):
        del arrays[key]
    path = tmp_path_factory.mktemp("n") / "a.npz"
    np.savez(path, **arrays)
    read(name, path)
    FORMATS[name].load().recognise(arrays)
