"""Whole evaluations: the same bytes however they are made, folders that are kept, parts that say so."""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from evaluations import KEYS, ONE, OTHER, QUICK, STATIC_KEYS, contents, ready, run

from capbench.run.evaluate import (
    FILE_NAME,
    RUN_NAME,
    UNITS_NAME,
    Options,
    default_out,
    evaluate,
    identity,
)
from capbench.run.result import read_result, schema
from capbench.run.stages import SOURCES, version
from cohorts.errors import CapbenchError
from cohorts.store import open_cohort

# --- the same bytes ------------------------------------------------------------------------------


def products(out: Path) -> dict[str, bytes]:
    """What must not depend on how the work was done."""
    return {k: v for k, v in contents(out).items() if k != "timing.json"}


@pytest.fixture(scope="module")
def plain(twins, tmp_path_factory):
    """A quick run in this process: its folder and its store."""
    folder = tmp_path_factory.mktemp("plain")
    run(ready(twins, folder / "store"), folder / "run")
    return folder


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_no_byte(workers, plain, twins, tmp_path) -> None:
    run(ready(twins, tmp_path / "store"), tmp_path / "run", workers=workers)
    assert products(tmp_path / "run") == products(plain / "run")


def test_nor_does_a_store_of_which_half_is_gone(plain, twins, tmp_path) -> None:
    shutil.copytree(plain / "store", tmp_path / "store")
    evaluation = ready(twins, tmp_path / "store")
    for unit in evaluation.units[::2]:
        for path in (tmp_path / "store").rglob(f"{unit.key}*"):
            path.unlink()
    left = evaluation.plan()
    assert 0 < left.cached < left.total
    run(evaluation, tmp_path / "run")
    assert products(tmp_path / "run") == products(plain / "run")


def test_nor_does_a_resumed_run(plain, twins, tmp_path) -> None:
    """Stopped after five units; what was done is not done again, and nothing of a result lies about."""

    class Stop(Exception):
        pass

    def told(progress) -> None:
        if progress.done == 5:
            raise Stop

    evaluation = ready(twins, tmp_path / "store")
    with pytest.raises(Stop):
        run(evaluation, tmp_path / "run", means={"told": told})
    assert not (tmp_path / "run" / FILE_NAME).exists()
    seen = []
    run(ready(twins, tmp_path / "store"), tmp_path / "run", means={"told": seen.append})
    assert seen[-1].cached == 5 and len(seen) == seen[-1].total - 5
    assert products(tmp_path / "run") == products(plain / "run")
    seen.clear()
    run(ready(twins, tmp_path / "store"), tmp_path / "run", means={"told": seen.append})
    assert [s.cached for s in seen] == [seen[0].total]
    run(ready(twins, tmp_path / "store"), tmp_path / "run", means={"told": seen.append, "fresh": True})
    assert seen[-1].cached == 0 and len(seen) == 1 + seen[-1].total
    assert products(tmp_path / "run") == products(plain / "run")


def test_a_cohort_that_was_moved_shares_every_unit(plain, twins, tmp_path) -> None:
    shutil.copytree(twins, tmp_path / "elsewhere")
    moved, here = ready(tmp_path / "elsewhere", plain / "store"), ready(twins, plain / "store")
    assert [u.key for u in moved.units] == [u.key for u in here.units]
    assert identity(moved) == identity(here)
    run(moved, tmp_path / "run")
    assert products(tmp_path / "run") == products(plain / "run")


# --- the folder ----------------------------------------------------------------------------------


def test_what_a_run_leaves(whole) -> None:
    files = contents(whole.out)
    keys = (*KEYS, *STATIC_KEYS)
    expected = {RUN_NAME, UNITS_NAME, FILE_NAME, "timing.json"}
    expected |= {f"predictions/keypoints/{key}.npz" for key in keys}
    expected |= {f"predictions/markers/{key}.trc" for key in keys}
    expected |= {f"predictions/motions/{key}.mot" for key in KEYS}
    expected |= {f"predictions/models/{person}.osim" for person in (ONE, OTHER)}
    assert files.keys() == expected


def test_hashes_are_those_of_the_files(whole) -> None:
    files = contents(whole.out / "predictions")
    assert dict(whole.result.hashes) == {k: hashlib.sha256(v).hexdigest() for k, v in files.items()}


def fits(value, rule, root=None) -> None:
    """What of JSON Schema the result's schema uses, written anew."""
    root = rule if root is None else root
    if "$ref" in rule:
        assert rule["$ref"].startswith("#/$defs/")
        return fits(value, root["$defs"][rule["$ref"].removeprefix("#/$defs/")], root)
    known = {"$schema", "$defs", "title", "description", "default", "type", "properties", "required", "items",
             "additionalProperties", "anyOf", "enum", "const"}  # fmt: skip
    assert rule.keys() <= known, rule.keys() - known
    if "anyOf" in rule:
        assert any(_fits(value, option, root) for option in rule["anyOf"]), (value, rule)
    assert value in rule.get("enum", [value]) and value == rule.get("const", value)
    types = {
        "object": dict,
        "array": list,
        "string": str,
        "integer": int,
        "number": (int, float),
        "null": type(None),
    }
    if "type" in rule:
        assert isinstance(value, types[rule["type"]]), (value, rule)
    if isinstance(value, dict):
        assert set(rule.get("required", ())) <= value.keys()
        for name, part in value.items():
            more = rule.get("additionalProperties", True)
            inner = rule.get("properties", {}).get(name, more)
            assert inner is not False, name
            if inner is not True:
                fits(part, inner, root)
    if isinstance(value, list) and "items" in rule:
        for part in value:
            fits(part, rule["items"], root)
    return None


def _fits(*what) -> bool:
    try:
        fits(*what)
    except AssertionError:
        return False
    return True


def test_the_result_keeps_its_schema(whole) -> None:
    text = (whole.out / FILE_NAME).read_text()
    found = json.loads(text, parse_constant=pytest.fail)  # no NaN
    fits(found, schema())
    assert read_result(whole.out) == whole.result
    for spoil in ({"more": 1}, {"subjects": "two"}, {"overall": {}}, {"schema_version": 2}):
        assert not _fits({**found, **spoil}, schema())
    for machine in (str(whole.cohort), str(whole.store), str(whole.out), os.uname().nodename):
        assert machine not in text


def test_run_json_holds_what_is_needed_to_repeat_it(whole, tmp_path) -> None:
    told = json.loads((whole.out / RUN_NAME).read_text())
    assert told["command"] == ["capbench", "evaluate", "…"] and told["capbench"]
    settings = told["run"]["settings"]
    assert settings["cameras"] == ["Cam1", "Cam3"] and settings["seed"] == 0 and settings["scaling"] == "own"
    assert settings["stages"] == {stage: version(stage) for stage in SOURCES}
    assert told["run"]["model"]["details"]["noise px"] == {"white": 1.0, "bias": 0.5, "seed": 0}
    assert re.fullmatch("[0-9a-f]{64}", told["run"]["cohort"]["sha256"])
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items() if k != "stages"}
    noise = told["run"]["model"]["details"]["noise px"]
    again = ready(whole.cohort, whole.store, Options(**options), noise=(noise["white"], noise["bias"]))
    run(again, tmp_path / "again")
    assert contents(tmp_path / "again" / "predictions") == contents(whole.out / "predictions")
    redone = json.loads((tmp_path / "again" / FILE_NAME).read_text())
    assert redone == json.loads((whole.out / FILE_NAME).read_text())


def test_units_are_listed_with_their_keys(whole) -> None:
    lines = [json.loads(line) for line in (whole.out / UNITS_NAME).read_text().splitlines()]
    assert {line["key"] for line in lines} == {u.key for u in whole.evaluation.units}
    assert not any("failed" in line for line in lines)


def test_another_run_s_folder_is_refused_unless_forced(plain, twins, tmp_path) -> None:
    out = tmp_path / "run"
    shutil.copytree(plain / "run", out)
    (out / "notes.txt").write_text("mine")
    (out / "units" / "mine").write_text("mine")
    before = contents(out)
    other = ready(twins, plain / "store", Options(scaling="reference", causes=False, seed=1))
    with pytest.raises(CapbenchError, match="another run"):
        run(other, out)
    with pytest.raises(CapbenchError, match="another run"):
        run(ready(twins, plain / "store", noise=(2, 0.5)), out)
    assert contents(out) == before
    limited = ready(twins, plain / "store", Options(scaling="reference", causes=False, limit=1))
    run(limited, out, force=True)
    after = contents(out)
    assert after["notes.txt"] == after["units/mine"] == b"mine"
    assert not any(OTHER in name for name in after)  # no prediction of the run before
    assert read_result(out).trials == 1
    assert {n for n in before if not n.startswith("predictions/")} <= after.keys()


def test_a_folder_that_is_no_run_is_refused_even_if_forced(plain, twins, tmp_path) -> None:
    (tmp_path / "home" / "predictions").mkdir(parents=True)
    (tmp_path / "home" / "predictions" / "thesis.txt").write_text("years")
    (tmp_path / "file").write_text("x")
    evaluation = ready(twins, plain / "store")
    for force in (False, True):
        with pytest.raises(CapbenchError, match="without run\\.json"):
            run(evaluation, tmp_path / "home", force=force)
        with pytest.raises(CapbenchError, match="got a file"):
            run(evaluation, tmp_path / "file", force=force)
    assert contents(tmp_path) == {"home/predictions/thesis.txt": b"years", "file": b"x"}
    (tmp_path / "empty").mkdir()
    run(evaluation, tmp_path / "empty")


def test_a_run_json_that_is_none_is_another_run_s(plain, twins, tmp_path) -> None:
    for k, text in enumerate(("[]", '{"run": 3}', "{}")):
        out = tmp_path / str(k)
        out.mkdir()
        (out / RUN_NAME).write_text(text)
        with pytest.raises(CapbenchError, match="another run"):
            run(ready(twins, plain / "store"), out)


def test_the_default_folder_names_model_and_cohort(plain, twins) -> None:
    evaluation = ready(twins, plain / "store")
    assert default_out(evaluation.source, evaluation.cohort) == Path("runs/noisy-truth-tiny")


# --- parts ---------------------------------------------------------------------------------------


def test_a_plan_computes_nothing(twins, tmp_path, monkeypatch) -> None:
    def never(*_: object, **__: object) -> None:
        pytest.fail("work was done")

    monkeypatch.setattr("capbench.run.evaluate.run_units", never)
    evaluation = ready(twins, tmp_path / "store", Options())
    plan = evaluation.plan()
    assert plan.cached == 0 and plan.to_do == plan.total == len(evaluation.units)
    # 6 trials' keypoints, as they are and true; their markers, those and the true ones; 2 people's models,
    # from either and the reference's; 4 trials' angles on each way that differs
    stages = {name: part.total for name, part in plan.stages.items()}
    assert stages == {"noisy-truth": 12, "markers": 12, "true-markers": 6, "scale": 6, "motion": 16}
    assert not any("outputs" in str(p) or p.suffix == ".bin" for p in (tmp_path / "store").rglob("*"))


PARTS = [
    ({"limit": 1}, "only 1 of 4 trials", (KEYS[0],)),
    ({"limit": 2}, "only 2 of 4 trials", (KEYS[0], KEYS[2])),  # of all people in turn
    ({"limit": 3}, "only 3 of 4 trials", (KEYS[0], KEYS[1], KEYS[2])),
    ({"subjects": (OTHER,)}, f"only the subjects {OTHER}", KEYS[2:]),
    ({"activities": ("squats",)}, "only the activities squats", KEYS[1::2]),
    ({"trials": (KEYS[3],)}, f"only the trials {KEYS[3]}", (KEYS[3],)),
    ({"split": "development"}, "only the split development", KEYS),
    ({"subjects": (ONE,), "activities": ("walking",), "split": "development"}, "only", (KEYS[0],)),
]


@pytest.mark.parametrize(("which", "says", "keys"), PARTS, ids=[str(p[0]) for p in PARTS])
def test_a_part_says_that_it_is_one(which, says, keys, plain, twins, tmp_path) -> None:
    evaluation = ready(twins, plain / "store", Options(scaling="reference", causes=False, **which))
    assert tuple(t.key for t in evaluation.scored) == keys
    people = {key.split("/")[0] for key in keys}
    statics = {t.key for t in evaluation.trials} - {*keys}
    assert statics == {f"{person}/room/static1" for person in people}  # those who are scaled by them
    result = run(evaluation, tmp_path / "run")
    assert any(says in why for why in result.partial) and len(result.partial) == len(which)
    assert (result.trials, result.subjects) == (len(keys), len(people))
    assert {row.key for row in result.per_trial} == {*keys}


def test_a_whole_one_says_nothing(whole, twins, plain) -> None:
    assert whole.result.partial == ()
    assert ready(twins, plain / "store", Options(limit=4)).partial == ()
    assert ready(twins, plain / "store", Options(limit=99)).partial == ()


@pytest.mark.parametrize(
    ("which", "kind", "near"),
    [
        ({"subjects": ("adult1",)}, "subject", "adult01"),
        ({"subjects": ("adult1",), "split": "development"}, "subject", "adult01"),
        ({"activities": ("squat",)}, "activity", "squats"),
        ({"trials": ("adult01/walk/gayt1",)}, "trial", "adult01/walk/gait1"),
        ({"cameras": ("cam1",)}, "camera", "Cam1"),
    ],
    ids=str,
)
def test_unknown_names_are_told_with_the_nearest(which, kind, near, twins, tmp_path) -> None:
    with pytest.raises(CapbenchError, match=f"{kind}.*Did you mean '{near}'") as error:
        ready(twins, tmp_path / "store", Options(**which))
    assert near in (error.value.fix or "")


@pytest.mark.parametrize(
    ("which", "kind", "near"),
    [({"protocol": "capbench"}, "protocol", "capbench-1"), ({"split": "tests"}, "split", "test")],
    ids=str,
)
def test_so_are_unknown_words(which, kind, near) -> None:
    with pytest.raises(CapbenchError, match=f"{kind}.*Did you mean '{near}'"):
        Options(**which)


def test_a_split_without_people_and_a_cohort_in_memory_are_refused(twins, tmp_path) -> None:
    with pytest.raises(CapbenchError, match="split hidden"):
        ready(twins, tmp_path / "store", Options(split="hidden"))
    from dataclasses import replace

    from capbench.run.evaluate import prepare
    from capbench.run.noisy_truth import Noise
    from capbench.run.sources import NoisyTruth

    loose = replace(open_cohort(twins), folder=None)
    with pytest.raises(CapbenchError, match="stored cohort"):
        prepare(lambda c: NoisyTruth(c, Noise(), 0), loose, QUICK, store=tmp_path / "store")


# --- failures ------------------------------------------------------------------------------------


def test_what_fails_is_in_the_result_and_costs_the_cap(plain, twins, tmp_path) -> None:
    """A 2D truth that is no file of points: one trial is lost by the cohort's fault, the others stand."""
    cohort = tmp_path / "cohort"
    shutil.copytree(twins, cohort)
    (cohort / "files" / OTHER / "walk" / "Cam1" / "gait1.npz").write_bytes(b"no points")
    good = read_result(plain / "run")
    result = run(ready(cohort, tmp_path / "store"), tmp_path / "run")
    assert {(f.unit, f.fault) for f in result.failures} >= {(f"noisy-truth {KEYS[2]}", "cohort")}
    assert all(KEYS[2] in f.unit and f.reason for f in result.failures)
    rows = {row.key: row for row in result.per_trial}
    whole = {row.key: row for row in good.per_trial}
    assert rows[KEYS[2]].coverage == 0 and rows[KEYS[2]].charged >= 30 and rows[KEYS[2]].uncapped is None
    for key in KEYS[:2]:
        assert rows[key] == whole[key]
    assert rows[KEYS[3]].coverage == 100  # its session's lag is measured on less now
    assert result.overall.value > good.overall.value
    assert result.overall.coverage == pytest.approx(good.overall.coverage - 25, abs=1e-6)
    assert (result.answered, result.trials) == (3, 4) and not result.partial
    lines = [json.loads(x) for x in (tmp_path / "run" / UNITS_NAME).read_text().splitlines()]
    assert [x["failed"]["fault"] for x in lines if x["of"] == KEYS[2] and x["stage"] == "noisy-truth"] == [
        "cohort"
    ]
    assert f"predictions/motions/{KEYS[2]}.mot" not in contents(tmp_path / "run")


def test_nothing_at_all_is_refused_before_the_work(twins, tmp_path) -> None:
    (tmp_path / "predictions").mkdir()
    with pytest.raises(CapbenchError, match="got none"):
        ready(twins, tmp_path / "store", files=tmp_path / "predictions")


def test_evaluate_is_quiet_about_means() -> None:
    """``Means`` hold nothing that changes a number: none of them is in the settings."""
    from dataclasses import fields

    from capbench.run.evaluate import Means

    assert not {f.name for f in fields(Means)} & {f.name for f in fields(Options)}
    assert evaluate.__kwdefaults__["means"] is None
