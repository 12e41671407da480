"""The reference solved again, and the file it is kept in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from labvalidation_tree import PUBLISHED_OFF, TRIALS, Tree, make_tree

from capbench.biomech.opensim_setup import read_tasks
from capbench.run import reference
from capbench.run.reference import (
    Recorded,
    cache_folder,
    recordings,
    reference_key,
    reference_of,
    resolve,
    resolve_all,
)
from cohorts import CapbenchError
from cohorts.sources import read_folder


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return make_tree(tmp_path_factory.mktemp("archive"), videos=False)


@pytest.fixture(scope="module")
def recorded(tree: Tree) -> list[Recorded]:
    return recordings(read_folder(tree.root))


def test_every_trial_with_angles_is_solved_again_from_its_own_model(tree, recorded) -> None:
    keys = {(r.subject, r.key.split("/")[-1]) for r in recorded}
    scored = {(s, t) for s, trials in TRIALS.items() for t in trials if t not in ("static1", "walkingTI1")}
    assert keys == scored
    for r in recorded:
        assert r.model.parts[-5] == r.subject and r.model.name.endswith("_scaled.osim")
        assert r.published is not None and r.published.name == r.markers.with_suffix(".mot").name


def test_the_true_angles_come_back_from_the_files(tree, recorded, tmp_path) -> None:
    """Markers are written in mm with 5 decimals, so the angles that made them are known to 1e-4 degrees."""
    (jump,) = [r for r in recorded if r.key.endswith("DJ1")]
    found = reference_of(jump, cache=tmp_path)
    truth = tree.motions["subject2", "DJ1"]
    ours = found.resolved.motion
    assert np.array_equal(ours.time, np.round(truth.time, 5))  # the whole trial, not the published window
    for name in ("pelvis_tilt", "hip_flexion_r", "knee_angle_l", "subtalar_angle_r", "lumbar_bending"):
        assert np.degrees(np.abs(ours.column(name) - truth.column(name)).max()) < 1e-3, name
    assert found.resolved.marker_rms.max() < 1e-6
    assert found.resolved.converged == 1
    assert set(found.resolved.held) == {"mtp_angle_r", "mtp_angle_l"}
    assert found.published is not None and found.published.time[0] == 0.5  # kept beside it, as published
    at = np.searchsorted(ours.time, found.published.time)
    for name, off in PUBLISHED_OFF.items():
        gap = np.degrees(found.published.column(name) - ours.column(name)[at])
        np.testing.assert_allclose(gap, off, atol=2e-3)


def test_what_was_solved_is_read_back_and_not_solved_again(recorded, tmp_path, monkeypatch) -> None:
    trial = recorded[0]
    first = resolve(trial.model, trial.markers, cache=tmp_path)
    monkeypatch.setattr(reference, "fit", lambda *_, **__: pytest.fail("solved again"))
    again = resolve(trial.model, trial.markers, cache=tmp_path)
    assert again.motion == first.motion
    assert np.array_equal(again.marker_rms, first.marker_rms)
    assert (again.held, again.converged, again.notes) == (first.held, first.converged, first.notes)
    (kept,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert kept == tmp_path / "reference" / first.key[:2] / f"{first.key}.npz"


@pytest.mark.parametrize("damage", ["cut", "other", "text"])
def test_a_damaged_file_is_solved_again_and_replaced(recorded, tmp_path, damage) -> None:
    trial, other = recorded[0], recorded[1]
    first = resolve(trial.model, trial.markers, cache=tmp_path)
    path = tmp_path / "reference" / first.key[:2] / f"{first.key}.npz"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:2000])
    elif damage == "other":  # a sound file under the wrong name
        second = resolve(other.model, other.markers, cache=tmp_path)
        path.write_bytes((tmp_path / "reference" / second.key[:2] / f"{second.key}.npz").read_bytes())
    else:
        path.write_text("not an archive")
    again = resolve(trial.model, trial.markers, cache=tmp_path)
    assert again.motion == first.motion
    assert resolve(trial.model, trial.markers, cache=tmp_path).motion == first.motion
    assert not list(path.parent.glob(".*"))  # nothing half made is left


def test_the_key_follows_from_content_not_from_names(recorded, tmp_path, shared_data) -> None:
    trial = recorded[0]
    key = reference_key(trial.model, trial.markers)
    model, markers = tmp_path / "m.osim", tmp_path / "other.trc"
    model.write_bytes(trial.model.read_bytes())
    markers.write_bytes(trial.markers.read_bytes())
    assert reference_key(model, markers) == key
    # the preset is the published file, so both mean the same
    setup = shared_data / "opencap_setup" / "Setup_IK_Mocap.xml"
    assert read_tasks(setup).coordinates == ()
    assert reference_key(model, markers, weights=setup) == key
    changed = {
        reference_key(model, markers, weights=None),
        reference_key(model, markers, passes=1),
        reference_key(model, recorded[1].markers),
    }
    model.write_bytes(trial.model.read_bytes().replace(b"0.95", b"0.951", 1) + b"\n")
    changed.add(reference_key(model, markers))
    assert len(changed) == 4 and key not in changed


def test_another_engine_is_another_key(recorded, monkeypatch) -> None:
    key = reference_key(recorded[0].model, recorded[0].markers)
    monkeypatch.setattr(reference, "engine_version", lambda: "capbench 9.9.9 0")
    assert reference_key(recorded[0].model, recorded[0].markers) != key


def test_where_it_is_kept(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CAPBENCH_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "capbench"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # not to be obeyed, says the specification
    assert cache_folder() == tmp_path / ".cache" / "capbench"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_folder() == Path("/x/capbench")
    monkeypatch.setenv("CAPBENCH_CACHE", "/c")
    assert cache_folder() == Path("/c")
    assert cache_folder(tmp_path / "given") == tmp_path / "given"


def test_a_file_where_the_cache_should_be(recorded, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CapbenchError, match="CAPBENCH_CACHE"):
        resolve(recorded[0].model, recorded[0].markers, cache=tmp_path / "file")


def test_a_trial_that_fails_is_named_and_the_others_go_on(recorded, tmp_path) -> None:
    broken = tmp_path / "broken.trc"
    broken.write_text("PathFileType 4\n")
    bad = Recorded("s/bad", "s", "walking", recorded[0].model, broken)
    failures: dict[str, str] = {}
    found = resolve_all([bad, recorded[0]], cache=tmp_path, failures=failures)
    assert [r.trial.key for r in found] == [recorded[0].key]
    assert list(failures) == ["s/bad"] and "broken.trc" in failures["s/bad"]


def test_trials_without_markers_or_model_are_failures(tree, tmp_path) -> None:
    imported = read_folder(tree.root)
    trial = next(t for t in imported.cohort.trials if t.motion)
    for change in ({"markers": None}, {"extras": {}}):
        cohort = replace(imported.cohort, trials=(replace(trial, **change),))
        failures: dict[str, str] = {}
        assert recordings(replace(imported, cohort=cohort), failures=failures) == []
        assert list(failures) == [trial.key]
        assert ("markers" in failures[trial.key]) == ("markers" in change)
