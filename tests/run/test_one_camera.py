"""A model that gives points in space is evaluated from a single camera; one that gives pixels is not."""

from dataclasses import replace
from pathlib import Path

import hostile_models
import numpy as np
import pytest
from bad_input import QUICK

from capbench.run.nouns import get_markers, put_markers
from capbench.run.result import Result
from cohorts import formats
from cohorts.formats import video as film
from cohorts.recording import Markers
from cohorts.skeleton import skeleton
from cohorts.store import open_cohort

ONE = replace(QUICK, cameras=("Cam1",))
CODE = """
from pathlib import Path
import numpy as np

class Model:
    def __init__(self, folder):
        truth = np.load(Path(folder) / "truth.npz")
        self.pictures, self.points = truth["pictures"].astype(np.int16), truth["points"]

    def predict(self, frames, boxes):
        found = []
        for frame in frames:
            off = np.abs(self.pictures - np.asarray(frame, np.int16)).sum(axis=(1, 2, 3))
            found.append(self.points[int(off.argmin())])
        points = np.array(found)
        return points, np.ones(points.shape[:2])
"""


def learn(folder: Path, cohort: Path, *, root: bool) -> Path:
    """A submission with the true landmarks of Cam1's frames in its axes, about the pelvis if ``root``."""
    folder.mkdir()
    opened = open_cohort(cohort)
    order = skeleton("synthpose-52").points
    pictures, points = [], []
    for trial in opened.cohort.trials:
        camera = opened.cameras(trial)["Cam1"]
        truth = formats.read(opened.path(trial.markers))[1].select(order)
        for time, picture in film.frames(opened.path(trial.videos["Cam1"])):
            at = np.array([[np.interp(time, truth.time, c) for c in m] for m in truth.xyz.transpose(1, 2, 0)])
            seen = at @ camera.rotation.T + camera.translation
            middle = seen[[order.index("r_ASIS"), order.index("l_PSIS")]].mean(axis=0)
            points.append(seen - middle if root else seen)
            pictures.append(picture)
    np.savez(folder / "truth.npz", pictures=np.array(pictures), points=np.array(points))
    (folder / "model.py").write_text(CODE)
    hostile_models.write_card(folder, kind="keypoints3d")
    return folder


@pytest.mark.parametrize(("root", "most"), [(False, 0.8), (True, 4.0)])
@pytest.mark.truth("the cohort's own landmarks")
def test_points_in_space_of_one_camera(good, tmp_path, root, most) -> None:
    found = good.bench.run(learn(tmp_path / "model", good.cohort, root=root), good.cohort, options=ONE)
    assert isinstance(found, Result) and not found.failures
    assert found.overall.coverage == 100 and found.overall.value < most
    assert all("one camera: depth is what the model says" in trial.notes for trial in found.per_trial)


def test_pixels_of_one_camera_are_no_answer(good) -> None:
    found = good.bench.run(good.model, good.cohort, options=ONE)
    assert {failure.kind for failure in found.failures} >= {"too-few-views"}
    assert found.overall.coverage == 0 and found.overall.value >= 30


def test_markers_come_back_from_their_arrays() -> None:
    markers = Markers(np.arange(2.0), ("a",), np.arange(6.0).reshape(2, 1, 3), np.array([[0.5], [1.0]]))
    arrays, names = put_markers(markers)
    assert get_markers(arrays, names) == markers
