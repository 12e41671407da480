"""What is evaluated says what it is, what its scores must be read with, and where a trial's way begins."""

import json
import re
import shutil
from pathlib import Path

import pytest
from evaluations import KEYS, ONE
from onnx_models import heatmap_net
from spoiling import edit

from capbench.run.noisy_truth import NAME, Noise
from capbench.run.sources import Files, NoisyTruth, PixelModel, source_of
from capbench.run.store import Store
from cohorts.errors import CapbenchError
from cohorts.store import open_cohort

CAMERAS = ("Cam1", "Cam3")


@pytest.fixture(scope="module")
def cohort(twins):
    return open_cohort(twins)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


def trial_of(cohort, key: str = KEYS[0]):
    return next(t for t in cohort.cohort.trials if t.key == key)


def changed(twins: Path, target: Path, place: str):
    """The cohort with another byte at the end of one file."""
    shutil.copytree(twins, target)
    with (target / "files" / place).open("ab") as file:
        file.write(b"\n")
    return open_cohort(target)


# --- the cohort's own points ---------------------------------------------------------------------


def test_the_self_test_says_that_it_is_no_model(cohort, store) -> None:
    source = source_of(NAME + ":2,0.5", cohort, seed=4)
    assert source == NoisyTruth(cohort, Noise(2, 0.5), 4)
    assert source.about.name == NAME and "no model" in source.about.title
    assert source.about.details["noise px"] == {"white": 2, "bias": 0.5, "seed": 4}
    (mark,) = source.marks
    assert "no pose model" in mark and "2 px of white noise" in mark and "0.5 px of bias" in mark
    prints = {source_of(spec, cohort, seed=s).about.sha256 for spec in (NAME, NAME + ":2", NAME + ":2,1")
              for s in (0, 1)}  # fmt: skip
    assert len(prints) == 6
    unit = source.first(trial_of(cohort), CAMERAS, store)
    assert set(unit.inputs) == {"keypoints:Cam1", "keypoints:Cam3"} and unit.stage == "noisy-truth"
    assert unit.params["seed"] == 4 and unit.params["trial"] == KEYS[0] and not unit.needs
    assert source.first(trial_of(cohort), ("Cam3",), store).key != unit.key
    same = (NoisyTruth(cohort, Noise(w, 0.5), 4) for w in (2, 2.0))
    assert {s.first(trial_of(cohort), CAMERAS, store).key for s in same} == {unit.key}


def test_a_name_that_only_begins_like_it_is_refused(cohort) -> None:
    with pytest.raises(CapbenchError, match="PIXELS"):
        source_of(NAME + "s", cohort)


def test_it_needs_true_points(twins, store, tmp_path) -> None:
    shutil.copytree(twins, tmp_path / "cohort")
    edit(tmp_path / "cohort", lambda c: [t["extras"].clear() for t in c["trials"]] and None)
    bare = open_cohort(tmp_path / "cohort")
    with pytest.raises(CapbenchError, match="true 2D points"):
        source_of(NAME, bare).first(trial_of(bare), CAMERAS, store)


# --- models --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def net(tmp_path_factory) -> Path:
    return heatmap_net(tmp_path_factory.mktemp("net") / "net.onnx", points=17)


def test_a_model_tells_workers_how_to_open_it_wherever_they_are(net, cohort, monkeypatch) -> None:
    monkeypatch.chdir(net.parent)
    source = source_of(net.name, cohort, device="cpu", trust=True)
    assert isinstance(source, PixelModel)
    context = json.loads(json.dumps(source.context))
    assert Path(context["spec"]) == net.resolve() and context["trust"] is True
    assert source.about.name == "net" and re.fullmatch("[0-9a-f]{64}", source.about.sha256)
    assert source.marks == ("the person's box was given, from the cohort",)
    assert source_of(net.name, cohort, boxes="track").marks == ()


def test_a_model_s_unit_depends_on_pictures_model_cameras_and_boxes(
    net, twins, cohort, store, tmp_path
) -> None:
    def unit(of=cohort, cameras=CAMERAS, spec=net, **options):
        return source_of(str(spec), of, **options).first(trial_of(of), cameras, store)

    plain = unit()
    assert (plain.stage, plain.blame) == ("predict", "model")
    assert set(plain.inputs) == {
        "model", *(f"{what} {c}" for what in ("video", "calibration") for c in CAMERAS),
        *(f"keypoints:{c}" for c in CAMERAS),
    }  # fmt: skip
    assert unit().key == plain.key
    walk = f"{ONE}/walk"
    for name in ("Cam1/gait1.mp4", "Cam3/gait1.mp4", "calibration.toml", "Cam1/gait1.npz"):
        other = changed(twins, tmp_path / name.replace("/", "-"), f"{walk}/{name}")
        assert unit(other).key != plain.key, name
    elsewhere = changed(twins, tmp_path / "elsewhere", f"{walk}/Cam1/gait2.mp4")
    assert unit(elsewhere).key == plain.key  # another trial's file, another folder
    tracked = unit(boxes="track")
    assert tracked.key != plain.key and not any(name.startswith("keypoints") for name in tracked.inputs)
    points = changed(twins, tmp_path / "points", f"{walk}/Cam1/gait1.npz")
    assert unit(points, boxes="track").key == tracked.key
    assert unit(cameras=("Cam3",)).key != plain.key
    (tmp_path / "copy").mkdir()
    copy = shutil.copy(net, tmp_path / "copy")
    assert unit(spec=copy).key == plain.key  # the same model in another place
    other = heatmap_net(tmp_path / "net.onnx", points=26)
    assert unit(spec=other).key != plain.key


def test_what_is_no_model_is_refused_at_once(cohort, tmp_path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no net")
    for spec in ("nothing-of-that-name", str(tmp_path / "model.onnx"), str(tmp_path)):
        with pytest.raises(CapbenchError):
            source_of(spec, cohort)


# --- files ---------------------------------------------------------------------------------------


@pytest.fixture
def files(twins, tmp_path) -> Path:
    """Joint angles of one trial, points in space of another."""
    folder = tmp_path / "predictions"
    (folder / ONE / "walk").mkdir(parents=True)
    shutil.copy(twins / "files" / ONE / "walk/motion/gait1.mot", folder / ONE / "walk")
    shutil.copy(twins / "files" / ONE / "walk/landmarks/gait2.trc", folder / ONE / "walk")
    return folder


def test_files_begin_the_way_of_the_trials_that_they_are_of(files, cohort, store, tmp_path) -> None:
    source = Files(files, cohort.cohort.trials, 25.0)
    units = [source.first(trial_of(cohort, key), CAMERAS, store) for key in KEYS]
    assert [u is None for u in units] == [False, False, True, True]
    assert {u.stage for u in units[:2]} == {"read"} and {u.blame for u in units[:2]} == {"model"}
    assert source.about.name == "predictions" and source.about.version == "unknown"
    assert set(KEYS[2:]) <= set(source.about.details["missing"])
    assert "no model was run" in source.marks[0]
    assert Path(source.context["folder"]) == files.resolve()
    shutil.copytree(files, tmp_path / "moved")
    moved = Files(tmp_path / "moved", cohort.cohort.trials, 25.0)
    assert moved.first(trial_of(cohort), CAMERAS, store).key == units[0].key
    assert moved.about.sha256 == source.about.sha256
    with (tmp_path / "moved" / ONE / "walk/gait1.mot").open("a") as file:
        file.write("\n")
    again = Files(tmp_path / "moved", cohort.cohort.trials, 25.0)
    assert again.first(trial_of(cohort), CAMERAS, store).key != units[0].key
    assert again.first(trial_of(cohort, KEYS[1]), CAMERAS, store).key == units[1].key
    assert again.about.sha256 != source.about.sha256
    for other in (
        Files(files, cohort.cohort.trials, 30.0),
        Files(files, cohort.cohort.trials, 25.0, up="+z"),
    ):
        assert other.first(trial_of(cohort), CAMERAS, store).key != units[0].key


def test_no_files_are_refused_with_the_names_that_are_expected(cohort, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CapbenchError, match=f"got none.*{cohort.cohort.trials[0].key}.mot"):
        Files(tmp_path / "empty", cohort.cohort.trials, None)
    with pytest.raises(CapbenchError):
        Files(tmp_path / "nowhere", cohort.cohort.trials, None)
    (tmp_path / "empty" / "run.json").write_text("{}")
    with pytest.raises(CapbenchError, match="that of a run"):
        Files(tmp_path / "empty", cohort.cohort.trials, None)
