"""From outputs to a result: rows that agree with each other, causes that add up, and whose fault what is."""

import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from evaluations import KEYS, ONE, OTHER, QUICK, STATIC_KEYS, ready, run
from spoiling import edit, rewrite

from capbench.run import nouns
from capbench.run.collect import DRAWN, about_cohort
from capbench.run.evaluate import Options
from capbench.run.store import Store
from capbench.run.units import unpack
from cohorts import formats
from cohorts.store import open_cohort

# --- rows ----------------------------------------------------------------------------------------


def test_the_rows_of_trials_make_up_the_others(whole) -> None:
    """By the tree, which is plain here: two activities of one trial each, two people."""
    result = whole.result
    rows = {row.key: row for row in result.per_trial}
    assert list(rows) == list(KEYS) and result.trials == result.answered == 4 and result.subjects == 2
    assert result.overall.value == pytest.approx(np.mean([row.charged for row in rows.values()]))
    assert result.overall.coverage == pytest.approx(np.mean([row.coverage for row in rows.values()]))
    for score in result.coordinates:
        assert score.value == pytest.approx(np.mean([row.coordinates[score.name] for row in rows.values()]))
    for score in result.by_subject:
        own = [row.charged for row in rows.values() if row.subject == score.name]
        assert score.value == pytest.approx(np.mean(own)) and len(own) == score.trials == 2
    for score in result.activities:
        own = [row.charged for row in rows.values() if row.activity == score.name]
        assert score.value == pytest.approx(np.mean(own)) and score.n == 2
    for row in rows.values():
        assert row.charged == pytest.approx(np.mean(list(row.coordinates.values())))
        assert row.facts["cameras used"] == 2 and row.facts["frames solved %"] == 100
    assert not result.failures and result.overall.noise_floor == 0.0


def test_the_median_and_the_worst_trial_are_drawn(whole) -> None:
    order = sorted(whole.result.per_trial, key=lambda row: row.charged)
    assert {c.trial for c in whole.result.curves} == {order[2].key, order[3].key}
    assert [c.coordinate for c in whole.result.curves] == [*DRAWN, *DRAWN]
    for curve in whole.result.curves:
        truth = formats.read(whole.cohort / "files" / f"{ONE}/walk/motion" / f"{curve.trial[-5:]}.mot")[1]
        at = np.interp(curve.time, truth.time, np.degrees(truth.column(curve.coordinate)))
        np.testing.assert_allclose(curve.reference, at, atol=1e-3)
        off = np.array(curve.predicted, float) - curve.reference
        error = next(r for r in whole.result.per_trial if r.key == curve.trial).coordinates[curve.coordinate]
        assert np.sqrt(np.nanmean(off**2)) == pytest.approx(error, rel=0.1)


def test_what_a_reader_must_be_told(whole, twins, tmp_path) -> None:
    marks = whole.result.marks
    assert any("no pose model" in m for m in marks) and any(
        "people of this cohort are made" in m for m in marks
    )
    assert not any("scaled by the reference" in m for m in marks)
    quick = run(ready(twins, whole.store), tmp_path / "run")
    assert any("scaled by the reference" in m for m in quick.marks)
    assert whole.result.model.name == "capbench:noisy-truth" and whole.result.protocol.name == "capbench-1"
    assert (
        whole.result.protocol.details["cap"] == 30
        and whole.result.capbench.details["python packages"]["numpy"]
    )


def test_another_protocol_is_named_in_the_result(whole, twins, tmp_path) -> None:
    pytest.importorskip("opensim")  # as the published code solves
    some = Options(protocol="opencapbench", scaling="reference", trials=(KEYS[0],))
    result = run(ready(twins, whole.store, some), tmp_path / "run")
    assert result.protocol.name == result.settings["protocol"] == "opencapbench"
    assert result.causes == () and result.overall.value != whole.result.per_trial[0].charged


def test_the_cohort_s_hash_follows_its_card_and_references(twins, tmp_path) -> None:
    store = Store(tmp_path / "store")

    def print_of(folder: Path, keys=KEYS) -> str:
        cohort = open_cohort(folder)
        trials = [t for t in cohort.cohort.trials if t.key in keys]
        return about_cohort(cohort, store, trials).sha256

    shutil.copytree(twins, tmp_path / "cohort")
    assert print_of(tmp_path / "cohort") == print_of(twins) != print_of(twins, KEYS[:1])
    edit(tmp_path / "cohort", lambda c: c.update(version="2"), "cohort.yaml")
    one = print_of(tmp_path / "cohort")
    path = tmp_path / "cohort" / "files" / ONE / "walk/motion/gait1.mot"
    path.write_text(path.read_text() + "\n")
    assert len({print_of(twins), one, print_of(tmp_path / "cohort")}) == 3


# --- causes --------------------------------------------------------------------------------------


def causes(result) -> dict:
    return {cause.stage: cause for cause in result.causes}


@pytest.mark.truth("runs of their own")
def test_each_cause_is_what_a_run_without_it_scores(whole, twins, tmp_path) -> None:
    """True keypoints; true scaling: the same as asking for them. True all: nothing is left."""
    found, value = causes(whole.result), whole.result.overall.value
    assert list(found) == ["keypoints", "calibration and sync", "scaling", "solver"]
    still = run(ready(twins, whole.store, Options(causes=False), noise=(0, 0)), tmp_path / "still")
    assert found["keypoints"].value == pytest.approx(still.overall.value)
    by_coordinate = {s.name: s.value for s in still.coordinates}
    assert found["keypoints"].coordinates == pytest.approx(by_coordinate)
    scaled = run(ready(twins, whole.store), tmp_path / "scaled")
    assert found["scaling"].value == pytest.approx(scaled.overall.value)
    for stage, cause in found.items():
        if stage != "solver":
            assert cause.brings == pytest.approx(value - cause.value)
    assert found["calibration and sync"].brings == 0  # the card says that there is one clock
    # 10 times the frame interval of true markers and true bones: the solver's own error
    assert found["solver"].value == found["solver"].brings < 1e-6
    assert found["keypoints"].brings > 0.5 * value  # they are what is wrong


@pytest.mark.truth("closed form")
def test_without_noise_and_with_true_bones_no_stage_brings_anything(twins, tmp_path) -> None:
    """What is left is of the low-pass filter and of lines between frames, at 10 frames/s."""
    result = run(
        ready(twins, tmp_path / "store", Options(scaling="reference"), noise=(0, 0)), tmp_path / "run"
    )
    for cause in result.causes:
        assert cause.brings == pytest.approx(0, abs=1e-6)
    assert result.overall.value < 1.0


@pytest.mark.truth("the cohort's own landmarks")
def test_true_clocks_put_points_where_they_belong(twins, tmp_path) -> None:
    """One camera starts a frame late, which no video says: 12 cm of a walk, but for the truth's clock."""
    cohort = tmp_path / "cohort"
    shutil.copytree(twins, cohort)
    edit(cohort, lambda c: c["cameras"].update(synchronised=True, max_offset=1), "cohort.yaml")
    rewrite(cohort / "files" / ONE / "walk/Cam3/gait1.npz", lambda tracks: tuple(t[1:] for t in tracks))
    options = Options(scaling="reference", trials=(KEYS[0],))
    evaluation = ready(cohort, tmp_path / "store", options, noise=(0, 0))
    run(evaluation, tmp_path / "run")
    way = next(w for w in evaluation.ways if w.swap == "calibration and sync")
    arrays, about = unpack(evaluation.store.get(way.markers[KEYS[0]].key))
    seen = nouns.get_markers(arrays, about["names"])
    assert seen.time[0] == pytest.approx(0.1)
    true = formats.read(cohort / "files" / ONE / "walk/landmarks/gait1.trc")[1].select(seen.names)
    at = np.abs(true.time[None] - seen.time[:, None]).argmin(axis=1)
    off = np.linalg.norm(seen.xyz - true.xyz[at], axis=-1)
    assert np.nanmedian(off) < 0.02 and np.isfinite(off).mean() > 0.9


def test_causes_need_the_truth(twins, tmp_path) -> None:
    store = tmp_path / "store"
    assert len(ready(twins, store, Options()).ways) == 5
    assert len(ready(twins, store, Options(causes=False)).ways) == 1
    shutil.copytree(twins, tmp_path / "cohort")
    edit(tmp_path / "cohort", lambda c: c["trials"][1]["extras"].pop("model") and None)
    assert len(ready(tmp_path / "cohort", store, Options()).ways) == 1


# --- failures ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def points(twins, tmp_path_factory) -> Path:
    """Predictions: all true landmarks but those of the second person's squats."""
    folder = tmp_path_factory.mktemp("points")
    for key in (*KEYS[:3], *STATIC_KEYS):
        person, session, name = key.split("/")
        (folder / person / session).mkdir(parents=True, exist_ok=True)
        shutil.copy(
            twins / "files" / person / session / "landmarks" / f"{name}.trc", folder / person / session
        )
    return folder


def test_a_trial_without_predictions_is_a_failure_of_the_model(points, twins, tmp_path) -> None:
    result = run(ready(twins, tmp_path / "store", QUICK, files=points), tmp_path / "run")
    (failure,) = result.failures
    assert (failure.unit, failure.fault, failure.kind) == (f"read {KEYS[3]}", "model", "nothing")
    rows = {row.key: row for row in result.per_trial}
    assert rows[KEYS[3]].coverage == 0 and rows[KEYS[3]].charged >= 30
    assert all(rows[key].charged < 1 and rows[key].coverage == 100 for key in KEYS[:3])
    assert result.overall.value == pytest.approx(np.mean([row.charged for row in rows.values()]))
    assert (result.answered, result.trials) == (3, 4) and result.overall.coverage == pytest.approx(75)
    space = {b.name: b for b in result.beside}["MPJPE·world"]
    assert space.value == pytest.approx(0, abs=1e-6) and space.coverage == pytest.approx(75)
    assert "predictions from files" in result.marks[0]


def test_every_answer_less_costs(points, twins, tmp_path) -> None:
    """Of the same files fewer and fewer: a camera's worth of frames, a trial, a person."""
    folder = tmp_path / "points"
    shutil.copytree(points, folder)
    store = tmp_path / "store"
    seen = [run(ready(twins, store, QUICK, files=folder), tmp_path / "run0").overall]
    walk = folder / ONE / "walk"

    def half() -> None:
        rewrite(walk / "gait1.trc", lambda m: m[: len(m) // 2])

    def trial() -> None:
        (walk / "gait2.trc").unlink()

    def person() -> None:
        shutil.rmtree(folder / OTHER)

    for k, take in enumerate((half, trial, person), start=1):
        take()
        seen.append(run(ready(twins, store, QUICK, files=folder), tmp_path / f"run{k}").overall)
    assert all(a.value < b.value and a.coverage > b.coverage for a, b in pairwise(seen))
    assert {s.trials for s in seen} == {4} and {s.n for s in seen} == {2}


def test_a_lost_camera_is_named_and_costs(twins, tmp_path) -> None:
    """Keypoints of one camera only can't be triangulated: nothing is answered."""
    folder = tmp_path / "points"
    for key in (*KEYS, *STATIC_KEYS):
        person, session, name = key.split("/")
        for camera in ("Cam1", "Cam3"):
            if (key, camera) != (KEYS[0], "Cam3"):
                (folder / person / session).mkdir(parents=True, exist_ok=True)
                source = twins / "files" / person / session / camera / f"{name}.npz"
                shutil.copy(source, folder / person / session / f"{name}_{camera}.npz")
    result = run(ready(twins, tmp_path / "store", QUICK, files=folder), tmp_path / "run")
    told = {(f.unit, f.kind): f.fault for f in result.failures}
    assert told[f"predict {KEYS[0]} Cam3", "no-file"] == "model"
    assert told[f"markers {KEYS[0]}", "too-few-views"] == "model"
    rows = {row.key: row for row in result.per_trial}
    assert rows[KEYS[0]].coverage == 0 and rows[KEYS[1]].coverage == 100
    pixels = {b.name: b for b in result.beside}["EPE·2D"]
    assert pixels.value == pytest.approx(0, abs=1e-6) and pixels.coverage == pytest.approx(87.5)
