"""A submission folder with a Python class: what its card may say, and that leave is needed to run it."""

import json

import numpy as np
import pytest

from capbench.models.faults import ModelFault
from capbench.models.registry import find_model, open_model
from cohorts.errors import CapbenchError, RefusedError
from cohorts.store import sha256

CARD = """
name: mine
version: "1"
licence: CC0-1.0
route: python
skeleton: coco-17
entry: {entry}
"""
MODEL = """
import numpy as np
from helper import HALF

class Model:
    name = "centre of the box"

    def predict(self, frames, boxes):
        centre = (boxes[:, :2] + boxes[:, 2:]) * HALF
        return np.tile(centre[:, None], (1, 17, 1)), np.ones((len(boxes), 17))

class Outer:
    class Inner(Model):
        pass

def make(device):
    assert device == "cpu"
    return Model()
"""
FRAMES = np.zeros((1, 4, 6, 3), np.uint8)
BOXES = np.array([[0.0, 2, 10, 20]])


@pytest.fixture
def submission(tmp_path):
    """Makes a submission folder whose entry is as given."""

    def make(entry: str, more: str = ""):
        (tmp_path / "model.yaml").write_text(CARD.format(entry=entry) + more)
        (tmp_path / "deep" / "package").mkdir(parents=True)
        (tmp_path / "deep" / "__init__.py").touch()
        (tmp_path / "helper.py").write_text("HALF = 0.5\n")
        for name in ("model.py", "deep/model.py", "deep/package/model.py"):
            (tmp_path / name).write_text(MODEL)
        return tmp_path

    return make


@pytest.mark.parametrize(
    "entry",
    [
        "model.py:Model",
        "model:Model",
        "model:Outer.Inner",
        "model:make",
        "deep/model.py:Model",
        "deep.model:Model",
        "deep/package/model.py:Model",
        "deep.package.model:make",
    ],
)
def test_an_entry_names_a_class_or_a_function_that_makes_a_model(submission, entry) -> None:
    model = open_model(submission(entry), trust=True)
    assert model.predict(FRAMES, BOXES).points[0, 16].tolist() == [5, 11]
    model.close()


@pytest.mark.parametrize("entry", ["model.py", "model:", ":Model", "model.py:1", "model.py:__import__('os')"])
def test_an_entry_that_is_none(submission, entry) -> None:
    with pytest.raises(CapbenchError, match="as FILE"):
        open_model(submission(json.dumps(entry)), trust=True)


@pytest.mark.parametrize("entry", ["../other.py:Model", "/etc/model.py:Model", "a/../../b.py:Model"])
def test_an_entry_that_leads_out(submission, entry) -> None:
    with pytest.raises(RefusedError, match="below the model's folder"):
        open_model(submission(entry), trust=True)


def test_a_file_that_is_not_there_is_the_users_error(submission) -> None:
    with pytest.raises(CapbenchError, match="got none"):
        open_model(submission("absent.py:Model"), trust=True)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("model.py:Absent", "AttributeError"),
        ("absent:Model", "No module named 'absent'"),
        ("helper.py:HALF", "'float' object is not callable"),
        ("model.py:np.ndarray", "TypeError"),
        ("model.py:np.array", "TypeError"),
        ("model.py:dict", "AttributeError"),
        ("helper.py:str", "AttributeError"),
    ],
)
def test_what_an_entry_does_not_hold(submission, entry, says) -> None:
    model = open_model(submission(entry), trust=True)
    with pytest.raises(CapbenchError) as caught:
        model.predict(FRAMES, BOXES)
    assert says in caught.value.problem
    model.close()


def test_a_class_without_predict(submission, tmp_path) -> None:
    folder = submission("helper.py:Model")
    (tmp_path / "helper.py").write_text("class Model:\n    pass\n")
    model = open_model(folder, trust=True)
    with pytest.raises(
        ModelFault, match=r"has no method predict\(frames, boxes\) while it got ready"
    ) as caught:
        model.predict(FRAMES, BOXES)
    assert caught.value.kind == "threw"
    model.close()


def test_nothing_runs_without_leave(submission, tmp_path) -> None:
    folder = submission("model.py:Model")
    (tmp_path / "model.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    assert find_model(folder).card.name == "mine"
    with pytest.raises(RefusedError, match="leave to run mine") as caught:
        open_model(folder)
    assert "--trust" in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_files_must_be_those_of_the_card(submission, tmp_path) -> None:
    folder = submission("model.py:Model", f"files: {{helper.py: '{'0' * 64}'}}\n")
    with pytest.raises(RefusedError, match="SHA-256"):
        open_model(folder, trust=True)
    (tmp_path / "model.yaml").write_text(
        CARD.format(entry="model.py:Model") + f"files: {{helper.py: '{sha256(tmp_path / 'helper.py')}'}}\n"
    )
    open_model(folder, trust=True).close()
