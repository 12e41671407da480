"""Units of work: which there are on each way, and that their keys follow every file they depend on."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluations import KEYS, ONE, OTHER, QUICK, STATIC_KEYS, contents, ready, run
from hypothesis import given
from hypothesis import strategies as st
from spoiling import edit, rewrite

from capbench.run.evaluate import Options, identity
from capbench.run.noisy_truth import Noise
from capbench.run.sources import Files, NoisyTruth
from capbench.run.store import Store
from capbench.run.way import SWAPS, Way, Ways, limited
from cohorts.errors import CapbenchError
from cohorts.recording import Trial
from cohorts.store import open_cohort


def ways(folder: Path, store: Path, **options) -> Ways:
    cohort = open_cohort(folder)
    source = NoisyTruth(cohort, Noise(1, 1), 0)
    return Ways(cohort, source, Store(store), cohort.cohort.trials, ("Cam1", "Cam3"), **options)


def keys(units) -> set[str]:
    return {unit.key for unit in units.values()}


# --- which units ---------------------------------------------------------------------------------


def test_static_trials_are_seen_and_scaled_on_but_not_solved(twins, tmp_path) -> None:
    way = ways(twins, tmp_path / "store").way()
    everything = {*KEYS, *STATIC_KEYS}
    assert way.keypoints.keys() == way.markers.keys() == everything
    assert way.motions.keys() == {*KEYS} and way.models.keys() == {ONE, OTHER}
    for person, model in way.models.items():
        own = [key for key in everything if key.startswith(person)]
        assert set(model.needs) == {way.markers[key].key for key in own} == set(model.inputs.values())
        assert model.inputs["standing"] == way.markers[f"{person}/room/static1"].key
        assert set(model.inputs) == {"standing", *(f"moving {k}" for k in own if "static" not in k)}
        assert set(model.may_lack) == set(model.inputs)  # one trial that fails is no reason not to scale
        assert model.params["mass"] == 64.1 and model.params["height"] == 1.459
    for key, motion in way.motions.items():
        assert motion.inputs == {"model": way.models[key.split("/")[0]].key, "markers": way.markers[key].key}
    order = [unit.key for unit in way.units()]
    assert len(order) == len(set(order))
    for unit in way.units():
        assert all(order.index(need) < order.index(unit.key) for need in unit.needs)


def test_a_person_without_a_static_trial_is_scaled_on_what_moves(twins, tmp_path) -> None:
    shutil.copytree(twins, tmp_path / "cohort")
    edit(tmp_path / "cohort", lambda c: c.update(trials=[t for t in c["trials"] if t["name"] != "static1"]))
    way = ways(tmp_path / "cohort", tmp_path / "store").way()
    assert set(way.models[ONE].inputs) == {f"moving {key}" for key in KEYS[:2]}
    result = run(ready(tmp_path / "cohort", tmp_path / "store", Options(causes=False)), tmp_path / "run")
    assert not result.failures and result.overall.coverage > 90
    assert all(any("no static trial" in note for note in row.notes) for row in result.per_trial)


def test_each_swap_changes_its_stage_and_what_follows(twins, tmp_path) -> None:
    made = ways(twins, tmp_path / "store")
    plain = made.way()
    assert SWAPS == ("keypoints", "calibration and sync", "scaling", "solver")
    better, same, scaling, solver = (made.way(swap) for swap in SWAPS)
    assert [w.swap for w in (better, same, scaling, solver)] == list(SWAPS)
    for part in ("keypoints", "markers", "models", "motions"):
        assert not keys(getattr(better, part)) & keys(getattr(plain, part))
        assert getattr(same, part) == getattr(plain, part)  # one clock to the frame: nothing to swap
    assert all(u.params["white"] == u.params["bias"] == 0 for u in better.keypoints.values())
    assert (scaling.keypoints, scaling.markers) == (plain.keypoints, plain.markers)
    assert {u.params["by"] for u in scaling.models.values()} == {"reference"}
    assert not keys(scaling.motions) & keys(plain.motions)
    assert not solver.keypoints and {u.stage for u in solver.markers.values()} == {"true-markers"}
    assert solver.models == scaling.models


def test_clocks_that_may_differ_are_swapped(twins, tmp_path) -> None:
    shutil.copytree(twins, tmp_path / "cohort")
    edit(tmp_path / "cohort", lambda c: c["cameras"].update(synchronised=False, max_offset=3), "cohort.yaml")
    made = ways(tmp_path / "cohort", tmp_path / "store")
    plain, swapped = made.way(), made.way("calibration and sync")
    assert plain.keypoints == swapped.keypoints
    assert {u.params["clock"] for u in plain.markers.values()} == {"find"}
    assert {u.params["max_offset"] for u in plain.markers.values()} == {4 / 25}  # and a frame to spare
    assert {u.params["clock"] for u in swapped.markers.values()} == {"truth"}
    assert all({"truth Cam1", "truth Cam3"} <= u.inputs.keys() for u in swapped.markers.values())
    assert ways(twins, tmp_path / "store").way().markers[KEYS[0]].params["clock"] == "shared"


def test_the_reference_s_scaling_is_used_where_it_is_asked_for_and_must_be_there(twins, tmp_path) -> None:
    made = ways(twins, tmp_path / "store", scaling="reference")
    assert made.way().models == made.way("scaling").models
    shutil.copytree(twins, tmp_path / "cohort")
    edit(tmp_path / "cohort", lambda c: [t["extras"].pop("model") for t in c["trials"]] and None)
    with pytest.raises(CapbenchError, match=f"scaled model of {ONE}.*--scaling own"):
        ways(tmp_path / "cohort", tmp_path / "store", scaling="reference").way()


def test_the_published_way_has_markers_of_its_own(twins, tmp_path) -> None:
    plain = ways(twins, tmp_path / "store").way()
    other = ways(twins, tmp_path / "store", published=True).way()
    assert plain.keypoints == other.keypoints and not keys(plain.markers) & keys(other.markers)


def test_trials_without_predictions_have_no_units(twins, tmp_path) -> None:
    folder = tmp_path / "files"
    (folder / ONE / "walk").mkdir(parents=True)
    shutil.copy(twins / "files" / ONE / "walk/landmarks/gait1.trc", folder / ONE / "walk")
    cohort = open_cohort(twins)
    source = Files(folder, cohort.cohort.trials, None)
    way = Ways(cohort, source, Store(tmp_path / "store"), cohort.cohort.trials, ("Cam1", "Cam3")).way()
    assert way.keypoints.keys() == way.motions.keys() == {KEYS[0]} and way.models.keys() == {ONE}


def test_an_empty_way_has_no_units() -> None:
    assert list(Way().units()) == []


# --- keys follow files ---------------------------------------------------------------------------

CHANGES = {
    "2D truth": (f"{ONE}/walk/Cam1/gait1.npz", {("noisy-truth", KEYS[0])}),
    "calibration": (
        f"{ONE}/walk/calibration.toml",
        {("markers", KEYS[0]), ("markers", KEYS[1])},
    ),
    "landmarks": (f"{ONE}/walk/landmarks/gait2.trc", {("true-markers", KEYS[1])}),
    "model": (f"{OTHER}/model.osim", {("scale", OTHER)}),
    "reference": (f"{OTHER}/walk/motion/gait1.mot", set()),
    "video": (f"{ONE}/walk/Cam1/gait1.mp4", set()),  # at which nobody looks here
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_file_s_content_is_in_the_keys_of_what_depends_on_it(what, twins, tmp_path) -> None:
    """Down the way, and nowhere else."""
    place, first = CHANGES[what]
    shutil.copytree(twins, tmp_path / "cohort")
    before = ready(twins, tmp_path / "store", Options())
    with (tmp_path / "cohort" / "files" / place).open("ab") as file:
        file.write(b"\n")
    after = ready(tmp_path / "cohort", tmp_path / "store", Options())
    changed = {u.key: u for u in after.units if u.key not in {b.key for b in before.units}}
    roots = {(u.stage, u.of) for u in changed.values() if not set(u.needs) & changed.keys()}
    follows = {u.key for u in changed.values()} | {
        u.key for u in after.units if set(u.needs) & changed.keys()
    }
    assert follows == changed.keys()
    assert roots == first, roots
    assert (identity(after) != identity(before)) == (what != "video")


def test_a_touched_file_changes_nothing(twins, tmp_path) -> None:
    shutil.copytree(twins, tmp_path / "cohort")
    for path in (tmp_path / "cohort").rglob("*"):
        path.touch()
    before, after = (ready(c, tmp_path / "store", Options()) for c in (twins, tmp_path / "cohort"))
    assert [u.key for u in before.units] == [u.key for u in after.units]


def test_every_choice_that_changes_an_output_is_in_a_key(twins, tmp_path) -> None:
    seen = {}
    for name, options, noise in (
        ("as it is", Options(causes=False), (1, 1)),
        ("white", Options(causes=False), (2, 1)),
        ("bias", Options(causes=False), (1, 2)),
        ("seed", Options(causes=False, seed=1), (1, 1)),
        ("cameras", Options(causes=False, cameras=("Cam3", "Cam1")), (1, 1)),
        ("protocol", Options(causes=False, protocol="opencapbench"), (1, 1)),
        ("scaling", Options(causes=False, scaling="reference"), (1, 1)),
    ):
        units = ready(twins, tmp_path / "store", options, noise=noise).units
        seen[name] = frozenset(u.key for u in units)
    assert len(set(seen.values())) == len(seen)


def test_a_person_s_height_and_mass_are_in_the_key_of_their_model(twins, tmp_path) -> None:
    shutil.copytree(twins, tmp_path / "cohort")
    edit(tmp_path / "cohort", lambda c: c["subjects"][0].update(height=1.5))
    before, after = (ways(c, tmp_path / "store").way() for c in (twins, tmp_path / "cohort"))
    assert before.models[ONE].key != after.models[ONE].key
    assert before.models[OTHER].key == after.models[OTHER].key


# --- references ----------------------------------------------------------------------------------


def test_an_exact_cohort_s_references_are_files_and_a_measured_one_s_are_solved_again(
    twins, tmp_path
) -> None:
    assert ways(twins, tmp_path / "store").references() == {}
    shutil.copytree(twins, tmp_path / "cohort")
    edit(tmp_path / "cohort", lambda c: c["reference"].update(exact=False), "cohort.yaml")
    made = ways(tmp_path / "cohort", tmp_path / "store").references()
    assert made.keys() == {*KEYS} and {u.stage for u in made.values()} == {"reference"}
    rewrite(
        tmp_path / "cohort" / "files" / ONE / "walk/landmarks/gait1.trc",
        lambda m: replace(m, xyz=m.xyz + np.float64(0.001)),
    )
    again = ways(tmp_path / "cohort", tmp_path / "store").references()
    assert {k for k in made if made[k].key != again[k].key} == {KEYS[0]}
    result = run(ready(tmp_path / "cohort", tmp_path / "store", QUICK), tmp_path / "run")
    assert result.cohort.details["exact"] is False and not result.failures


# --- limits --------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=12), st.integers(1, 14), st.integers(0, 3))
def test_a_limit_takes_all_people_in_turn(people, most, statics) -> None:
    trials = [Trial(f"t{k}", person, "walking") for k, person in enumerate(people)]
    trials += [Trial("static1", person, "static") for person in "abc"[:statics]]
    found = limited(trials, most)
    scored = [t for t in found if t.activity != "static"]
    assert len(scored) == min(most, len(people))
    counts = {p: sum(t.subject == p for t in scored) for p in set(people)}
    for p, n in counts.items():  # nobody has two more than another who has some left
        assert all(n - counts[q] <= 1 or counts[q] == people.count(q) for q in counts), (p, counts)
        mine = [t.name for t in trials if t.subject == p and t.activity != "static"]
        assert [t.name for t in scored if t.subject == p] == mine[:n]
    assert {t.subject for t in found if t.activity == "static"} == {
        p for p in "abc"[:statics] if counts.get(p)
    }
    assert list(found) == [t for t in trials if t in found]  # in their own order
    assert limited(trials, None) == tuple(t for t in trials if t.activity != "static" or t.subject in people)


def test_the_tiny_cohort_is_left_alone(twins, whole) -> None:
    """Nothing of an evaluation is written into the cohort."""
    assert not any("run" in name or "store" in name for name in contents(twins))
