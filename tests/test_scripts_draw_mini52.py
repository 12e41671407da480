"""scripts/draw_mini52.py: boxes of people in pieces, sheets that fit, names that are not there."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cohorts.errors import CapbenchError

cv2 = pytest.importorskip("cv2")


@pytest.fixture(scope="module")
def script():
    path = Path(__file__).parents[1] / "scripts" / "draw_mini52.py"
    spec = importlib.util.spec_from_file_location("scripts_draw_mini52_again", path)
    module = importlib.util.module_from_spec(spec)
    kept = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = kept
    return module


@pytest.mark.truth("where it was drawn")
def test_pieces_of_a_person_are_boxed_together_and_others_left_out(script) -> None:
    back = np.full((400, 300, 3), 90, np.uint8)
    picture = back.copy()
    picture[60:160, 100:160] = 220  # what a still person shows
    picture[185:260, 110:130] = 220  # a leg, past a thigh that is where it always was
    picture[285:315, 110:135] = 220  # and a foot, near the leg alone
    picture[20:60, 230:280] = 220  # something else that moves
    box = script.moving(picture, back)
    assert np.abs(box - [100, 60, 160, 315]).max() < 10
    picture[285:315] = back[285:315]
    assert np.abs(script.moving(picture, back) - [100, 60, 160, 260]).max() < 10


def test_a_jpeg_is_as_good_as_fits(script, tmp_path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    sizes = {}
    for limit in (45_000, 90_000):
        path = tmp_path / f"{limit}.jpg"
        script.write(path, noise, limit=limit, overwrite=False)
        sizes[limit] = path.stat().st_size
        assert sizes[limit] <= limit and cv2.imread(str(path)).shape == noise.shape
    assert sizes[45_000] < sizes[90_000]
    with pytest.raises(CapbenchError, match="at most 3 kB"):
        script.write(tmp_path / "small.jpg", noise, limit=3000, overwrite=False)
    assert not (tmp_path / "small.jpg").exists()
    with pytest.raises(CapbenchError, match="exists"):
        script.write(tmp_path / "45000.jpg", noise, limit=90_000, overwrite=False)


def test_a_png_is_as_it_is_and_colours_stay(script, tmp_path) -> None:
    red = np.zeros((20, 30, 3), np.uint8)
    red[..., 0] = 200
    for name in ("a.png", "a.jpg"):
        script.write(tmp_path / name, red, limit=10_000, overwrite=False)
        blue, green, found = cv2.imread(str(tmp_path / name))[10, 15].tolist()
        assert abs(found - 200) < 4 and max(blue, green) < 4
    with pytest.raises(CapbenchError, match=r"\.jpg or \.png"):
        script.write(tmp_path / "a.gif", red, limit=10_000, overwrite=False)


def test_trials_that_are_not_there_are_named(script) -> None:
    trials = [SimpleNamespace(name="gait1"), SimpleNamespace(name="squat1")]
    cohort = SimpleNamespace(cohort=SimpleNamespace(trials=trials))
    with pytest.raises(CapbenchError, match=r"\(gait1, squat1\), got jump"):
        script.on_cohort(None, cohort, 4, ("jump",))
