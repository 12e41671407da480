"""Formats that share a container are told apart: every sample against every format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from keypoint_samples import put_all, put_json, put_pickle

from cohorts.errors import CapbenchError
from cohorts.formats import FORMATS, identify, load_container, read

KINDS = ["coco", "alphapose", "openpose", "mmpose-json", "mmpose-dump", "opencap-keypoints", "npz", "smpl"]


def test_each_sample_is_recognised_by_its_own_format_and_no_other(tmp_path: Path) -> None:
    for path, name in put_all(tmp_path).items():
        assert identify(path).name == name, path.name
        container = FORMATS[name].container
        content = load_container(path, container)
        fits = [
            k for k in KINDS if FORMATS[k].container == container and FORMATS[k].load().recognise(content)
        ]
        assert fits == [name], path.name


def test_each_sample_reads_through_the_front_door(tmp_path: Path) -> None:
    for path, name in put_all(tmp_path).items():
        found, value = read(path)
        assert found.name == name
        if FORMATS[name].holds == ("keypoints",):
            assert isinstance(value, tuple) and len(value) == 1 and len(value[0]) > 0


ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)


@pytest.mark.parametrize(
    "content",
    [
        None,
        1,
        "x",
        [],
        {},
        [[]],
        [{}],
        [None],
        [[None]],
        [[{}]],
        {"people": 1},
        {"a": {}},
        [1, 2],
        ["a.json"],
    ],
    ids=str,
)
def test_strange_content_is_recognised_by_nobody(tmp_path: Path, content: Any) -> None:
    for kind in KINDS:
        assert FORMATS[kind].load().recognise(content) is False
    with pytest.raises(CapbenchError, match="Got something else"):
        identify(put_json(tmp_path / "a.json", content))
    with pytest.raises(CapbenchError, match="Got something else"):
        identify(put_pickle(tmp_path / "a.pkl", content))


def test_endless_content_is_recognised_by_nobody(tmp_path: Path) -> None:
    with pytest.raises(CapbenchError, match="Got something else"):
        identify(put_pickle(tmp_path / "a.pkl", ENDLESS))
