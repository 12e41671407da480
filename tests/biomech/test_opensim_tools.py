"""OpenSim's inverse kinematics held against motions whose truth is known, and against its failures."""

from pathlib import Path

import numpy as np
import pytest

from capbench.biomech import opensim_child, opensim_tools
from capbench.biomech.opensim_tools import fit
from capbench.cli.fit import DEMO
from cohorts import CapbenchError, EnvironmentFault, Markers, Motion, RefusedError
from cohorts.formats import storage, trc

MODEL = DEMO / "walker.osim"


@pytest.fixture(scope="module")
def markers() -> Markers:
    return trc.read(DEMO / "walker.trc")


@pytest.fixture(scope="module")
def truth() -> Motion:
    motion = storage.read(DEMO / "walker.mot")
    assert isinstance(motion, Motion)
    return motion


def worst(motion: Motion, truth: Motion) -> tuple[float, float]:
    """The largest differences: degrees, metres."""
    gap = np.abs(motion.select(truth.names).values - truth.values)
    turns = np.array([kind == "rotation" for kind in truth.kinds])
    return float(np.degrees(np.nanmax(gap[:, turns]))), float(np.nanmax(gap[:, ~turns]))


def changed(markers: Markers, **points: np.ndarray | float) -> Markers:
    """The markers with some moved: name=(T, 3), or a number of metres to the right."""
    xyz = markers.xyz.copy()
    for name, place in points.items():
        column = markers.names.index(name)
        xyz[:, column] = xyz[:, column] + [0, 0, place] if np.isscalar(place) else place
    return Markers(markers.time, markers.names, xyz)


def task_file(path: Path, markers: dict[str, str], more: str = "") -> Path:
    """A set-up whose marker tasks hold the given XML."""
    tasks = "".join(
        f'<IKMarkerTask name="{name}">{inside}</IKMarkerTask>' for name, inside in markers.items()
    )
    path.write_text(
        '<OpenSimDocument Version="40000"><InverseKinematicsTool name="ik"><accuracy>1e-2</accuracy>'
        "<time_range>0 0.05</time_range><marker_file>/nowhere.trc</marker_file>"
        f"<IKTaskSet><objects>{tasks}{more}</objects></IKTaskSet></InverseKinematicsTool></OpenSimDocument>"
    )
    return path


# --- what it finds ------------------------------------------------------------------------------


def test_exact_markers_give_back_the_true_angles(markers, truth, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = fit(markers, MODEL, accuracy=1e-9)
    degrees, metres = worst(found.motion, truth)
    assert degrees < 0.01 and metres < 1e-6
    assert found.motion.time.tolist() == truth.time.tolist()
    assert found.motion.kinds == truth.kinds and found.motion.coupled == ()
    assert found.rms < 1e-6 and found.fitted_frames == len(truth) and found.notes == ()
    assert found.markers == markers.names
    assert found.engine == "OpenSim 4.6, accuracy 1e-09"
    assert list(tmp_path.iterdir()) == []  # no opensim.log, no results left about


def test_the_default_accuracy_is_ten_times_nearer_than_the_customary_one(markers, truth) -> None:
    ours = worst(fit(markers, MODEL).motion, truth)[0]
    customary = worst(fit(markers, MODEL, accuracy=1e-5).motion, truth)[0]
    assert ours < 0.01
    assert customary > 10 * ours


def test_times_beyond_two_seconds_are_fitted(markers, truth) -> None:
    # the tool's own default time range ends at 2.0 s
    later = Markers(markers.time * 3 + 5, markers.names, markers.xyz)
    found = fit(later, MODEL)
    assert found.motion.time.tolist() == later.time.tolist()
    assert np.isfinite(found.motion.values).all()
    assert worst(found.motion, truth)[0] < 0.01


def test_a_single_frame_is_enough(markers, truth) -> None:
    found = fit(markers[17:18], MODEL)
    assert len(found.motion) == 1
    assert worst(found.motion, truth[17:18])[0] < 0.01


def test_gaps_are_bridged_by_the_other_markers_or_left_empty(markers, truth) -> None:
    xyz = markers.xyz.copy()
    xyz[20:40, markers.names.index("r_knee")] = np.nan
    xyz[60:63] = np.nan
    xyz[63, 2:] = np.nan  # two markers are left
    found = fit(Markers(markers.time, markers.names, xyz), MODEL, accuracy=1e-9)
    empty = np.isnan(found.motion.values).all(axis=1)
    assert np.flatnonzero(empty).tolist() == [60, 61, 62, 63]
    assert np.isfinite(found.motion.values[~empty]).all()
    assert np.isnan(found.marker_rms[empty]).all() and found.fitted_frames == len(markers) - 4
    assert worst(found.motion, truth)[0] < 0.01
    assert found.notes == (
        "4 of 201 frames have fewer than 3 markers and are left empty, the first at 0.6 s",
    )


def test_marker_errors_are_metres_over_the_fitted_markers(markers, tmp_path) -> None:
    # a marker of next to no weight, 30 mm off: the others fit exactly, so the errors are known
    weights = dict.fromkeys(markers.names, "<weight>1</weight>") | {"r_toe": "<weight>1e-12</weight>"}
    moved = changed(markers[:5], r_toe=0.030)
    found = fit(moved, MODEL, tasks=task_file(tmp_path / "ik.xml", weights), accuracy=1e-9)
    assert found.marker_worst == pytest.approx(0.030, abs=1e-6)
    assert found.marker_rms == pytest.approx(0.030 / np.sqrt(27), abs=1e-6)
    assert found.rms == pytest.approx(0.030 / np.sqrt(27), abs=1e-6)


def test_weights_decide_whom_to_believe(markers, truth, tmp_path) -> None:
    moved, true = changed(markers[:5], r_knee=0.05), truth[:5]
    equal = dict.fromkeys(markers.names, "<weight>1</weight>")
    for inside in ("<weight>0</weight>", "<apply>false</apply><weight>1</weight>"):
        found = fit(moved, MODEL, tasks=task_file(tmp_path / "a.xml", equal | {"r_knee": inside}))
        assert worst(found.motion, true)[0] < 0.01
        assert found.notes == ("1 recorded markers have no task or weight 0: r_knee",)
        assert "r_knee" not in found.markers
    believed = fit(moved, MODEL, tasks=task_file(tmp_path / "b.xml", equal))
    assert worst(believed.motion, true)[0] > 1
    assert np.allclose(believed.motion.values, fit(moved, MODEL).motion.values)  # without tasks: equal


def test_the_weighted_residuals_balance(markers, tmp_path, make_demo) -> None:
    # where sum(w |r|^2) is least, a model free to shift has sum(w r) = 0; r by the script's own kinematics
    moved = changed(markers[:4], r_ASIS=0.04, C7=-0.02, l_toe=0.03)
    weights = dict.fromkeys(markers.names, 1.0) | {"r_ASIS": 7.0, "l_toe": 0.5, "T10": 3.0}
    tasks = {name: f"<weight>{weight}</weight>" for name, weight in weights.items()}
    found = fit(moved, MODEL, tasks=task_file(tmp_path / "w.xml", tasks), accuracy=1e-9)
    angles = {
        name: np.degrees(column) if kind == "rotation" else column
        for name, kind, column in zip(
            found.motion.names, found.motion.kinds, found.motion.values.T, strict=True
        )
    }
    places = make_demo.marker_places(angles)
    residuals = np.stack([moved.xyz[:, i] - places[n] for i, n in enumerate(moved.names)], axis=1)
    w = np.array([weights[name] for name in moved.names])[:, None]
    mean = (w * residuals).sum(axis=1) / w.sum()
    assert np.abs(mean).max() < 1e-6
    assert np.abs(residuals.mean(axis=1)).max() > 1e-4  # unweighted, or weighted otherwise, they don't
    assert np.abs((w**2 * residuals).sum(axis=1) / (w**2).sum()).max() > 1e-4
    distances = np.linalg.norm(residuals, axis=2)
    assert found.marker_worst == pytest.approx(distances.max(axis=1), abs=1e-6)
    assert found.marker_rms == pytest.approx(np.sqrt((distances**2).mean(axis=1)), abs=1e-6)


def test_coordinate_tasks_hold_what_markers_do_not_show(markers, truth, tmp_path) -> None:
    footless = markers.select([n for n in markers.names if n not in ("r_calc", "r_toe", "r_5meta")])[:3]
    equal = dict.fromkeys(footless.names, "<weight>1</weight>")
    task = (
        '<IKCoordinateTask name="{}"><apply>{}</apply><weight>1</weight>'
        "<value_type>manual_value</value_type><value>0.2</value></IKCoordinateTask>"
    )
    more = task.format("ankle_angle_r", "true") + task.format("no_such", "true") + task.format("x", "false")
    found = fit(footless, MODEL, tasks=task_file(tmp_path / "ik.xml", equal, more))
    assert found.motion.column("ankle_angle_r") == pytest.approx(0.2, abs=1e-6)
    assert found.notes == ("1 tasks name coordinates that the model lacks: no_such",)
    knee = found.motion.column("knee_angle_r") - truth[:3].column("knee_angle_r")
    assert np.degrees(np.abs(knee)).max() < 0.01


def test_what_is_left_out_is_named(markers, tmp_path) -> None:
    names = [*markers.names[:-2], "extra", "l_5meta"]
    xyz = markers.xyz.copy()
    xyz[:, 0] = np.nan
    tasks = dict.fromkeys([*markers.names, "ghost"], "<weight>1</weight>") | {"C7": "<weight>0</weight>"}
    found = fit(
        Markers(markers.time, tuple(names), xyz)[:2], MODEL, tasks=task_file(tmp_path / "ik.xml", tasks)
    )
    assert found.notes == (
        "1 tasks name markers that the model lacks: ghost",
        "1 markers to fit were not recorded: l_toe",
        "1 markers to fit are missing in every frame: r_ASIS",
        "1 recorded markers are not in the model: extra",
        "1 recorded markers have no task or weight 0: C7",
    )
    assert found.markers == tuple(n for n in markers.names if n not in ("r_ASIS", "l_toe", "C7"))


def test_motion_types_come_from_the_model_not_from_names(markers, truth, tmp_path) -> None:
    # a turn called like a shift must still be converted from degrees
    text = MODEL.read_text().replace("knee_angle_r", "knee_tx")
    model = tmp_path / "odd.osim"
    model.write_text(text)
    found = fit(markers[:5], model).motion
    assert found.kinds[found.names.index("knee_tx")] == "rotation"
    assert found.column("knee_tx") == pytest.approx(truth[:5].column("knee_angle_r"), abs=1e-4)


def test_real_walk_agrees_with_opensims_own_reference(shared_data) -> None:
    folder = shared_data / "opensim_gait2354"
    reference = storage.read(folder / "subject01_walk1_ik.mot")
    walk = trc.read(folder / "subject01_walk1.trc").between(reference.time[0] - 0.001, reference.time[-1])
    found = fit(
        walk,
        folder / "subject01_simbody.osim",
        tasks=folder / "subject01_Setup_IK.xml",
        accuracy=1e-5,  # as the reference was made
    )
    motion = found.motion.select(reference.names)
    rows = [int(np.argmin(np.abs(reference.time - t))) for t in motion.time]
    assert np.abs(reference.time[rows] - motion.time).max() < 7e-4  # the TRC has milliseconds
    turns = [i for i, kind in enumerate(motion.kinds) if kind == "rotation"]
    gap = np.degrees(motion.values[:, turns] - reference.values[rows][:, turns])
    assert len(rows) == 73
    assert np.sqrt((gap**2).mean()) < 0.02 and np.abs(gap).max() < 0.15


def test_coupled_coordinates_are_radians_and_follow_their_partner(shared_data) -> None:
    folder = shared_data / "labvalidation_subject4"
    walk = trc.read(folder / "markers" / "walking1.trc")[:3]
    found = fit(walk, folder / "model" / "manually_scaled.osim", tasks=folder / "setup_ik.xml")
    assert found.motion.coupled == ("knee_angle_r_beta", "knee_angle_l_beta")
    for side in "rl":
        beta, knee = (found.motion.column(f"knee_angle_{side}{end}") for end in ("_beta", ""))
        assert beta == pytest.approx(knee, abs=1e-4)
    # the errors that OpenSim wrote for the same set-up, rounded to 1e-8 m
    reference = storage.read(folder / "walking1_ik_marker_errors.sto")
    assert found.marker_rms == pytest.approx(reference.column("marker_error_RMS")[:3], abs=2e-4)


# --- what it refuses, and how it fails ----------------------------------------------------------


def test_too_few_common_markers(markers) -> None:
    some = markers.select(["C7", "r_toe"])
    with pytest.raises(CapbenchError, match=r"at least 3 markers .* got 2\. Recorded: C7, r_toe"):
        fit(some, MODEL)


def test_no_frame_with_enough_markers(markers) -> None:
    xyz = np.full((4, 3, 3), np.nan)
    for frame in range(3):
        xyz[frame, frame] = 1.0
    with pytest.raises(CapbenchError, match="got none in 4 frames"):
        fit(Markers(markers.time[:4], ("C7", "r_toe", "l_toe"), xyz), MODEL)


@pytest.mark.parametrize("accuracy", [0, -1, 1, float("nan"), float("inf")])
def test_accuracy_out_of_range(markers, accuracy) -> None:
    with pytest.raises(CapbenchError, match="accuracy"):
        fit(markers[:1], MODEL, accuracy=accuracy)


def test_opensims_own_no_is_passed_on(markers, tmp_path) -> None:
    model = tmp_path / "broken.osim"
    model.write_text(MODEL.read_text().replace("/bodyset/femur_r", "/bodyset/nowhere"))
    with pytest.raises(CapbenchError, match="could not find '/bodyset/nowhere'") as caught:
        fit(markers[:2], model)
    assert caught.value.exit_code == 2 and caught.value.file == str(model)
    model.write_text(MODEL.read_text().replace("<mass>", "<mass>-"))
    with pytest.raises(CapbenchError, match="Body pelvis has invalid mass properties"):
        fit(markers[:2], model)


def test_a_model_that_pulls_in_another_file_never_reaches_opensim(markers, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(opensim_child, "__file__", "/nowhere")
    model = tmp_path / "includes.osim"
    model.write_text(MODEL.read_text().replace("<MarkerSet name", '<MarkerSet file="other.xml" name'))
    with pytest.raises(RefusedError, match="MarkerSet> that pulls in another") as caught:
        fit(markers[:2], model)
    assert caught.value.line == MODEL.read_text().split("<MarkerSet")[0].count("\n") + 1


def child(monkeypatch, path: Path, code: str) -> None:
    path.write_text(code)
    monkeypatch.setattr(opensim_child, "__file__", str(path))


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", CapbenchError, "crashed .SIGSEGV.* last words: hello"),
        ("os.kill(os.getpid(), signal.SIGXCPU)", CapbenchError, "ran too long"),
        ("os.kill(os.getpid(), signal.SIGKILL)", EnvironmentFault, "want of memory"),
        ("sys.exit(9)", CapbenchError, "failed on this model: hello"),
        ("import time; time.sleep(60)", CapbenchError, "within 1 s; it did not. Its last words: hello"),
    ],
)
def test_crashes_and_hangs_are_told_with_the_last_words(
    markers, tmp_path, monkeypatch, code, kind, words
) -> None:
    head = "import os, signal, sys\nprint('noise')\nprint('hello', flush=True)\n"
    child(monkeypatch, tmp_path / "child.py", head + code)
    with pytest.raises(CapbenchError, match=words) as caught:
        fit(markers[:2], MODEL, timeout=1)
    assert type(caught.value) is kind and caught.value.__cause__ is None


def test_without_opensim_the_environment_is_at_fault(markers, tmp_path, monkeypatch) -> None:
    (tmp_path / "opensim.py").write_text("raise ImportError('libGL is not there')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(EnvironmentFault, match="libGL is not there") as caught:
        fit(markers[:2], MODEL)
    assert caught.value.fix is not None and "pip install" in caught.value.fix


def test_frames_that_opensim_drops_are_noticed(markers, tmp_path, monkeypatch) -> None:
    real = opensim_tools.trc.write
    monkeypatch.setattr(opensim_tools.trc, "write", lambda path, value: real(path, value[:3]))
    with pytest.raises(CapbenchError, match="fit 5 frames, got 3"):
        fit(markers[:5], MODEL)
