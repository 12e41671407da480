"""Stages: versions that follow the sources, typed faults, and each stage's output by a path of its own."""

import shutil
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluations import KEYS, ONE, STATIC_KEYS, ready, run

import capbench
import cohorts.formats
from capbench.biomech.body import fullbody
from capbench.models.faults import ModelFault
from capbench.run import nouns, stages
from capbench.run.evaluate import Options
from capbench.run.noisy_truth import Noise, noisy
from capbench.run.stages import SOURCES, faults, of_cohort, version, work
from capbench.run.units import Unit, UnitError, pack, unpack
from capbench.vision.faults import NoCalibration, TooFewViews, WrongUnits
from cohorts import formats
from cohorts.errors import CapbenchError, EnvironmentFault, RefusedError
from cohorts.recording import Keypoints, Markers
from cohorts.skeleton import skeleton

ROOT = Path(capbench.__file__).parent.parent


# --- versions ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    """A copy of the code."""
    folder = tmp_path_factory.mktemp("code")
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc", "*.onnx", "*.png", "*.npz")
    for name in ("capbench", "cohorts"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    return folder


#: what wears a model
FITS = {"read", "true-markers", "markers", "scale", "motion", "reference"}


@pytest.fixture
def versions(sources, monkeypatch):
    """The versions by that copy."""
    monkeypatch.setattr(capbench, "__file__", str(sources / "capbench" / "__init__.py"))
    monkeypatch.setattr(cohorts.formats, "__file__", str(sources / "cohorts" / "formats" / "__init__.py"))
    monkeypatch.setattr(stages, "__file__", str(sources / "capbench" / "run" / "stages.py"))
    return lambda: {stage: version.__wrapped__(stage) for stage in SOURCES}


def test_versions_are_those_of_the_code_and_not_of_its_place(versions) -> None:
    assert versions() == {stage: version(stage) for stage in SOURCES}
    assert all(len(v) == 16 and int(v, 16) >= 0 for v in versions().values())


@pytest.mark.parametrize(
    ("file", "follow"),
    [
        ("capbench/run/stages.py", set(SOURCES)),
        ("capbench/run/nouns.py", set(SOURCES)),
        ("cohorts/formats/trc.py", set(SOURCES)),
        ("cohorts/camera.py", set(SOURCES)),
        ("cohorts/skeletons/coco-17.yaml", set(SOURCES)),
        ("capbench/run/noisy_truth.py", {"noisy-truth"}),
        ("capbench/vision/triangulate.py", {"markers"}),
        ("capbench/vision/tracking.py", {"predict", "markers"}),
        ("capbench/models/decode.py", {"predict"}),
        ("capbench/run/inference.py", {"predict"}),
        ("capbench/models/predictions.py", {"read", "predict"}),
        ("capbench/biomech/scale_search.py", FITS),
        ("capbench/run/fitting.py", FITS),
        ("capbench/run/reference.py", {"reference"}),
        ("capbench/run/scoring.py", set()),
        ("capbench/report/bench.py", set()),
        ("capbench/cli/evaluate.py", set()),
    ],
)
def test_a_version_changes_with_its_sources_alone(file, follow, sources, versions) -> None:
    before, path = versions(), sources / file
    text = path.read_text()
    path.write_text(text + "\n# another line\n")
    after = versions()
    path.write_text(text)
    assert {stage for stage in SOURCES if after[stage] != before[stage]} == follow
    assert versions() == before


def test_a_new_source_changes_it_too(sources, versions) -> None:
    before = versions()
    path = sources / "capbench" / "vision" / "magic.py"
    path.write_text("")
    changed = {stage for stage, v in versions().items() if v != before[stage]}
    path.unlink()
    assert changed == {"markers"}


#: rooms that say what values and errors are; what a stage makes of them is its own
PLAIN = ("cohorts/bounded.py", "cohorts/card.py", "cohorts/errors.py", "cohorts/store.py",
         "cohorts/strict.py", "capbench/models/card.py", "capbench/run/stages.py", "capbench/run/units.py",
         "capbench/run/store.py", "capbench/run/result.py", "capbench/__init__.py",
         "capbench/run/truths.py")  # fmt: skip


@contextmanager
def watched(seen: dict[str, set[str]], stage: str):
    """Notes which of our sources run."""

    def note(frame, event, _) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(str(ROOT)):
            seen.setdefault(stage, set()).add(frame.f_code.co_filename)

    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)


def test_what_runs_in_a_stage_is_among_its_sources(twins, tmp_path, monkeypatch) -> None:
    seen: dict[str, set[str]] = {}
    for stage, function in stages._STAGES.items():

        def wrapped(unit, context, inputs, stage=stage, function=function):
            with watched(seen, stage):
                return function(unit, context, inputs)

        monkeypatch.setitem(stages._STAGES, stage, wrapped)  # type: ignore[arg-type]  # a dict, in truth
    some = Options(subjects=(ONE,), trials=(KEYS[0],))
    result = run(ready(twins, tmp_path / "store", some), tmp_path / "run")
    assert not result.failures
    folder = tmp_path / "predictions" / ONE / "walk"
    folder.mkdir(parents=True)
    shutil.copy(twins / "files" / ONE / "walk/landmarks/gait1.trc", folder)
    quick = Options(trials=(KEYS[0],), causes=False, scaling="reference")
    run(ready(twins, tmp_path / "store", quick, files=tmp_path / "predictions"), tmp_path / "read")
    assert {"noisy-truth", "markers", "true-markers", "scale", "motion", "read"} <= seen.keys()
    for stage, files in seen.items():
        names = [Path(f).relative_to(ROOT).as_posix() for f in files]
        ours = [n for n in names if n.startswith(("capbench/", "cohorts/", "metrics/"))]
        missing = [n for n in ours if not n.startswith((*SOURCES[stage], *PLAIN))]
        assert not missing, (stage, missing)


# --- faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raised", "fault", "kind"),
    [
        (ModelFault("It threw.", kind="threw"), "model", "threw"),
        (TooFewViews("One.", place="Cam1"), "model", "too-few-views"),
        (NoCalibration("None.", file="c.toml"), "cohort", "no-calibration"),
        (WrongUnits("Metres."), "cohort", "wrong-units"),
        (CapbenchError("Expected.", file="a.trc", place="line 3", fix="mend"), "model", "unusable"),
    ],
    ids=lambda v: getattr(v, "kind", str(v)) if isinstance(v, Exception) else v,
)
def test_what_is_raised_becomes_a_typed_fault(raised, fault, kind) -> None:
    with pytest.raises(UnitError) as error, faults():
        raise raised
    assert (error.value.fault, error.value.kind) == (fault, kind)
    assert error.value.problem == raised.problem and error.value.fix == raised.fix
    assert (error.value.file, error.value.place) == (raised.file, raised.place)


@pytest.mark.parametrize(
    "raised",
    [
        UnitError("a", fault="cohort", kind="k"),
        EnvironmentFault("disk"),
        RefusedError("pickle"),
        KeyError("bug"),
    ],
)
@pytest.mark.parametrize("manager", [faults, of_cohort])
def test_what_has_its_words_already_and_bugs_pass(raised, manager) -> None:
    with pytest.raises(type(raised)) as error, manager():
        raise raised
    assert error.value is raised


def test_the_cohort_s_files_are_the_cohort_s_fault() -> None:
    with pytest.raises(UnitError) as error, faults(), of_cohort():
        raise CapbenchError("Expected numbers.")
    assert (error.value.fault, error.value.kind) == ("cohort", "unusable")


# --- stages --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outputs(whole):
    """Key of unit -> output, of the whole evaluation."""
    store = whole.evaluation.store
    return {unit.key: store.get(unit.key) for unit in whole.evaluation.units}


def context(whole) -> dict:
    return whole.evaluation.context


def test_outputs_follow_from_units_alone(whole, outputs) -> None:
    """Done again, in any order, without what else was done: the same bytes."""
    for unit in reversed(whole.evaluation.units):
        if unit.stage == "scale" and unit.params["by"] == "own":
            continue  # seconds each
        inputs = {name: outputs[key] for name, key in unit.from_needs().items()}
        assert work(Unit.from_dict(unit.to_dict()), context(whole), inputs) == outputs[unit.key], unit


def test_noisy_truth_is_the_truth_with_noise(whole, outputs) -> None:
    cohort = whole.evaluation.cohort
    unit = whole.evaluation.ways[0].keypoints[KEYS[1]]
    trial = next(t for t in cohort.cohort.trials if t.key == KEYS[1])
    arrays, about = unpack(outputs[unit.key])
    assert about["kind"] == "keypoints" and about["lost"] == {}
    for camera, track in nouns.get_tracks(arrays, about["tracks"]).items():
        true = formats.read(cohort.path(trial.extras[f"keypoints:{camera}"]))[1][0]
        wanted = noisy(true, Noise(1.0, 0.5), seed=0, trial=KEYS[1])
        np.testing.assert_array_equal(track.xy, wanted.xy)
    exact = replace(unit, params={**unit.params, "white": 0.0, "bias": 0.0, "clock": "truth"})
    arrays, about = unpack(work(exact, context(whole), {}))
    for camera, track in nouns.get_tracks(arrays, about["tracks"]).items():
        true = formats.read(cohort.path(trial.extras[f"keypoints:{camera}"]))[1][0]
        np.testing.assert_array_equal(track.xy, true.xy)
        np.testing.assert_array_equal(track.time, true.time)
    with pytest.raises(UnitError, match="true points of camera Cam9") as error:
        work(replace(unit, params={**unit.params, "cameras": ["Cam9"]}), context(whole), {})
    assert error.value.fault == "cohort"


@pytest.mark.truth("the cohort's own landmarks")
def test_markers_of_true_points_lie_where_the_landmarks_are(whole, outputs) -> None:
    """Triangulated from exact points; what is left is the low-pass filter's, at 10 frames/s."""
    way = next(w for w in whole.evaluation.ways if w.swap == "keypoints")
    arrays, about = unpack(outputs[way.markers[STATIC_KEYS[0]].key])
    seen = nouns.get_markers(arrays, about["names"])
    true = formats.read(whole.cohort / "files" / ONE / "room/landmarks/static1.trc")[1].select(seen.names)
    off = np.linalg.norm(seen.xyz - true.xyz[: len(seen)], axis=-1)
    assert len(seen.names) == 52 and np.nanmax(off) < 0.004 and np.isfinite(off).mean() > 0.9
    assert arrays["covariance"].shape == (*off.shape, 3, 3)
    own = next(w for w in whole.evaluation.ways if w.swap == "solver").markers[STATIC_KEYS[0]]
    arrays, about = unpack(outputs[own.key])
    found = nouns.get_markers(arrays, about["names"])
    np.testing.assert_array_equal(found.xyz, true.select(found.names).xyz)


def packed(markers: Markers, name: str = "synthpose-52") -> bytes:
    arrays, names = nouns.put_markers(markers)
    about = {"kind": "markers", "names": names, "skeleton": name, "notes": ["seen"], "facts": {"a": 1.0}}
    return pack(arrays, about)


def scale_unit(**params) -> Unit:
    return Unit("scale", ONE, {}, {"by": "own", "subject": ONE, "mass": None, "height": None, **params})


def test_scaling_takes_the_standing_trial_apart_and_the_person_s_measures(whole, monkeypatch) -> None:
    calls = []

    def scaled(points, standing, moving, subject):
        calls.append((points.name, standing, moving, subject))
        return stages.fitting.Person(fullbody(markers="coco-17"), {"size": float("nan")}, ("odd",))

    monkeypatch.setattr(stages.fitting, "scale_person", scaled)
    one, two = (Markers(np.arange(2.0), ("nose",), np.full((2, 1, 3), v)) for v in (1.0, 2.0))
    angles = pack({}, {"kind": "motion"})
    inputs = {"standing": packed(one), "moving b": packed(two), "moving a": packed(one), "moving c": angles}
    arrays, about = unpack(work(scale_unit(), context(whole), inputs))
    name, standing, moving, subject = calls[0]
    assert name == "synthpose-52" and standing == one and moving == [one, two]
    assert (subject.pseudonym, subject.mass, subject.height) == (ONE, 64.1, 1.459)
    assert about == {"facts": {"size": None}, "notes": ["odd"]}
    assert len(nouns.get_model(arrays["osim"]).markers) == len(fullbody(markers="coco-17").markers)
    work(scale_unit(), context(whole), {"moving a": packed(one)})
    assert calls[1][1] is None


def test_joint_angles_need_no_model_and_nobody_can_be_scaled_on_nothing(whole) -> None:
    arrays, _ = unpack(work(scale_unit(), context(whole), {"moving a": pack({}, {"kind": "motion"})}))
    assert arrays == {}
    with pytest.raises(UnitError, match="got none") as error:
        work(scale_unit(), context(whole), {})
    assert (error.value.fault, error.value.kind) == ("model", "no-markers")


def test_angles_pass_through_as_they_came(whole) -> None:
    output = pack({"x": np.arange(3.0)}, {"kind": "motion"})
    unit = Unit("motion", KEYS[0], {}, {"trial": KEYS[0]})
    assert work(unit, context(whole), {"markers": output}) == output
    markers = Unit("markers", KEYS[0], {}, {"trial": KEYS[0]})
    assert work(markers, context(whole), {"keypoints": output}) == output


def test_a_trial_the_cohort_lacks_is_told(whole) -> None:
    with pytest.raises(UnitError, match="trial of the cohort"):
        work(Unit("noisy-truth", "x", {}, {"trial": "x"}), context(whole), {})


def test_of_several_people_in_a_file_the_surest_is_taken() -> None:
    points = skeleton("coco-17")

    def person(name: str, sure: float, frames: int = 4) -> Keypoints:
        xy = np.zeros((frames, 17, 2))
        return Keypoints("Cam1", np.arange(float(frames)), xy, points, np.full((frames, 17), sure), name)

    notes: list[str] = []
    faint, long, short = person("a", 0.2), person("b", 0.5), person("c", 0.6, 3)
    assert stages._subject((faint, long, short), notes) is long
    assert notes == ["3 people in the file of camera Cam1: the surest is taken"]
    notes.clear()
    assert stages._subject((faint,), notes) is faint and not notes


def test_what_is_about_an_output_is_json() -> None:
    value = {"a": np.float64(1.5), "b": [float("nan"), np.int64(3)], "c": (float("inf"), "x", None, True)}
    assert stages._plain(value) == {"a": 1.5, "b": [None, 3], "c": [None, "x", None, True]}
