"""Each thing that a model can have wrong is told, and a sound one is told to be sound."""

import numpy as np
import pytest

from capbench.models.card import ModelCard, Points
from capbench.models.check import check
from capbench.models.faults import ModelFault
from capbench.models.predictor import Predicted

NAMES = ("l_hand", "r_hand", "l_foot", "r_foot", "nose")
PAIRS = (("l_hand", "r_hand"), ("l_foot", "r_foot"))
#: where a person who faces us has them, shares of the box
TEMPLATE = np.array([[0.9, 0.5], [0.1, 0.5], [0.7, 0.95], [0.3, 0.95], [0.5, 0.1]])
BOXES = np.array([[20.0, 10, 80, 150], [30.0, 20, 110, 180], [10.0, 5, 60, 120]])
PICTURES = [np.full((200, 130, 3), 40 * i, np.uint8) for i in range(3)]
KNOWN = "coco-17"


def card(points=NAMES, pairs=PAIRS):
    return ModelCard(
        name="template", version="1", licence="x", route="python", entry="x",
        skeleton=Points(name="five", points=points, flip_pairs=pairs),
    )  # fmt: skip


class Template:
    """Puts the template into each box; deterministic, and its own mirror image."""

    def __init__(self, template=TEMPLATE, **more):
        self.card = card(**more)
        self.template = template

    def predict(self, frames, boxes):
        corner, extent = boxes[:, None, :2], boxes[:, None, 2:] - boxes[:, None, :2]
        points = corner + extent * self.template
        return Predicted(points, np.where(np.isnan(points[..., 0]), 0.0, 0.9))

    def close(self):
        pass


def truth():
    return Template().predict(PICTURES, BOXES).points


def lines_of(model, **more):
    given = {"truth": truth(), "truth_skeleton": card().points, "seconds": 0.02, **more}
    return {line.name: line for line in check(model, PICTURES, BOXES, **given)}


def test_a_sound_model_is_sound_throughout():
    lines = lines_of(Template())
    assert {line.verdict for line in lines.values()} == {"ok"}
    assert set(lines) == {
        "shapes", "answers", "determinism", "batches", "no person", "flip", "made-up person",
        "left and right", "speed", "memory",
    }  # fmt: skip
    assert lines["flip"].values["pixels"] == pytest.approx(0, abs=1e-9)
    assert lines["made-up person"].values["found"] == 1
    assert lines["left and right"].values["swapped"] == 0
    assert lines["speed"].values["ms_1"] > 0 and lines["memory"].values["most"] > 10


def test_left_and_right_exchanged():
    lines = lines_of(Template(TEMPLATE[[1, 0, 3, 2, 4]]))
    assert lines["left and right"].verdict == "bad" and lines["left and right"].values["swapped"] == 1
    assert lines["flip"].verdict == "ok"  # it can't tell


def test_one_pair_exchanged():
    lines = lines_of(Template(TEMPLATE[[1, 0, 2, 3, 4]]))
    assert lines["left and right"].verdict == "odd"
    assert lines["left and right"].values["swapped"] == pytest.approx(0.5)


@pytest.mark.truth("closed form")
def test_flip_pairs_that_are_missing_from_the_card_show_in_the_mirror():
    """Without its pairs each hand comes back on the other side: 0.8 box widths away."""
    lines = lines_of(Template(pairs=()), truth=None)
    assert lines["flip"].verdict == "odd"
    wide = BOXES[:, 2] - BOXES[:, 0]
    assert lines["flip"].values["pixels"] == pytest.approx(np.median(np.outer(wide, [0.8, 0.8, 0.4, 0.4, 0])))
    assert "left and right" not in lines


def test_without_the_truth_nothing_is_said_of_it():
    assert "made-up person" not in lines_of(Template(), truth=None)


def test_a_model_that_finds_nothing_near():
    lines = lines_of(Template(np.full((5, 2), 0.5)))
    assert lines["made-up person"].verdict == "odd" and "card may be wrong" in lines["made-up person"].words
    assert lines["left and right"].words.startswith("Too few")


class Drifting(Template):
    step = 0.001

    def __init__(self):
        super().__init__()
        self.asked = 0

    def predict(self, frames, boxes):
        self.asked += 1
        found = super().predict(frames, boxes)
        return found._replace(points=found.points + self.step * self.asked)


class DriftingFar(Drifting):
    step = 1.0


class BatchBound(Template):
    def predict(self, frames, boxes):
        found = super().predict(frames, boxes)
        return found._replace(points=found.points + len(frames))


def test_answers_that_change():
    assert lines_of(Drifting())["determinism"].verdict == "odd"
    assert lines_of(DriftingFar())["determinism"].verdict == "bad"
    line = lines_of(BatchBound())
    assert line["determinism"].verdict == "ok" and line["batches"].verdict == "bad"
    assert line["batches"].values["pixels"] == pytest.approx(2)  # three at once against one


class Wrong(Template):
    """Spoils a sound answer."""

    def __init__(self, spoil):
        super().__init__()
        self.spoil = spoil

    def predict(self, frames, boxes):
        return self.spoil(super().predict(frames, boxes))


def with_points(found, change):
    points = found.points.copy()
    change(points)
    return found._replace(points=points)


SHAPES = {
    "points": lambda f: f._replace(points=f.points[:, :4]),
    "axes": lambda f: f._replace(points=np.concatenate([f.points, f.points[..., :1]], axis=2)),
    "confidence": lambda f: f._replace(confidence=f.confidence[..., None]),
    "covariance": lambda f: f._replace(covariance=np.zeros((len(f.points), 5, 2))),
    "infinity": lambda f: with_points(f, lambda p: p.__setitem__((0, 0), np.inf)),
    "half a point": lambda f: with_points(f, lambda p: p.__setitem__((0, 0, 0), np.nan)),
    "sure of nothing": lambda f: with_points(f, lambda p: p.__setitem__((0, 0), np.nan)),
    "negative": lambda f: f._replace(confidence=-f.confidence),
    "nan confidence": lambda f: f._replace(confidence=f.confidence * np.nan),
}


@pytest.mark.parametrize("case", SHAPES)
def test_answers_of_the_wrong_form_are_bad_and_end_it(case):
    lines = lines_of(Wrong(SHAPES[case]))
    assert list(lines) == ["shapes"] and lines["shapes"].verdict == "bad"


def test_missing_and_straying_points():
    def missing(found):
        found = with_points(found, lambda p: p.__setitem__((slice(None), slice(0, 2)), np.nan))
        return found._replace(confidence=np.where(np.isnan(found.points[..., 0]), 0, 0.9))

    line = lines_of(Wrong(missing))["answers"]
    assert line.verdict == "odd" and line.values["missing"] == pytest.approx(0.4)
    line = lines_of(Wrong(lambda f: with_points(f, lambda p: p.__setitem__((slice(None), 0), -900))))[
        "answers"
    ]
    assert line.verdict == "odd" and line.values["away"] == pytest.approx(0.2)
    nothing = lines_of(Wrong(lambda f: Predicted(f.points * np.nan, f.confidence * 0)))
    assert nothing["answers"].verdict == "bad"


class Everywhere(Template):
    """Gives points where there is nobody."""

    def predict(self, frames, boxes):
        return super().predict(frames, np.nan_to_num(boxes))


class Thrower(Template):
    """Throws for what it can't do with ``when``."""

    def __init__(self, when):
        super().__init__()
        self.when = when

    def predict(self, frames, boxes):
        if self.when(frames, boxes):
            raise ModelFault("Can't.", kind="threw")
        return super().predict(frames, boxes)


def test_nobody_and_nothing():
    assert lines_of(Everywhere())["no person"].verdict == "bad"
    assert lines_of(Thrower(lambda f, b: len(f) == 0))["no person"].verdict == "bad"
    assert lines_of(Thrower(lambda f, b: np.isnan(b).any()))["no person"].verdict == "bad"


def test_a_model_that_throws_is_bad_and_the_rest_is_still_looked_at():
    lines = lines_of(Thrower(lambda f, b: True))
    assert list(lines) == ["answers"] and "Can't." in lines["answers"].words
    lines = lines_of(Thrower(lambda f, b: len(f) == 1))
    assert lines["batches"].verdict == "bad" and lines["speed"].verdict == "bad"
    assert lines["flip"].verdict == "ok"
