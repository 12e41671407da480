"""The picture sheet of the landmarks: that it shows people and their marks."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "draw_landmarks.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("draw_landmarks", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["draw_landmarks"] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def test_a_view_shows_skin_and_marks(script) -> None:
    image = script.draw(script.PEOPLE[0][1], script.VIEWS["foot_side"], size=200)
    assert image.shape == (200, 200, 3) and image.dtype == np.uint8
    assert (image == 255).all(axis=2).mean() > 0.2  # paper around the foot
    assert (np.abs(image.astype(int) - script.RED).sum(axis=2) < 30).sum() > 40  # filled marks
    ankle = image[100, 100].astype(int)  # centred on the lateral malleolus, which is seen from its side
    assert np.abs(ankle - script.RED).sum() < 30


def test_views_name_landmarks_that_are_there(script) -> None:
    there = script.mesh_landmarks(script.rest_vertices(script.PEOPLE[0][1]))
    for name, look in script.VIEWS.items():
        assert look.about in there, name
        assert all(any(word in landmark for landmark in there) for word in look.words), name
    assert set(script.SHOWN) <= {name for name, _ in script.PEOPLE} and len(script.PEOPLE) >= 12


def test_the_sheet_is_written(script, tmp_path) -> None:
    assert (
        script.main([str(tmp_path / "sheet.png"), "--people", "2", "--views", "heel_back", "--size", "120"])
        == 0
    )
    import cv2

    assert cv2.imread(str(tmp_path / "sheet.png")).shape == (120, 240, 3)
