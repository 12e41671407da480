import importlib

import numpy as np
import pytest
import samples
from hypothesis import given, settings
from strategies import all_markers, all_motions, all_signals

from cohorts import CapbenchError, Markers, Motion, RefusedError, Signals
from cohorts.formats import csv_table, parquet_table

BOTH = pytest.mark.parametrize(("module", "file"), [(csv_table, "a.csv"), (parquet_table, "a.parquet")])


@BOTH
def test_round_trips(tmp_path_factory, module, file) -> None:
    @settings(max_examples=40, deadline=None)
    @given(all_motions(), all_signals(), all_markers())
    def check(motion: Motion, signals: Signals, markers: Markers) -> None:
        path = tmp_path_factory.mktemp("table") / file
        for noun, options in ((motion, {"units": "rad"}), (markers, {})):
            module.write(path, noun, overwrite=True, **options)
            assert module.read(path) == noun
        module.write(path, motion, overwrite=True, units="deg")
        np.testing.assert_allclose(module.read(path).values, motion.values, rtol=1e-15)
        plain = Signals(signals.time, signals.names, signals.values)  # tables know no inDegrees
        if not any(name.endswith(".confidence") for name in plain.names):
            module.write(path, plain, overwrite=True)
            assert module.read(path) == plain

    check()


@BOTH
def test_confidences_survive(tmp_path, module, file) -> None:
    markers = Markers([0.0], ("a", "b"), np.ones((1, 2, 3)) * [[[1], [2]]], [[0.25, 0.75]])
    module.write(tmp_path / file, markers)
    assert module.read(tmp_path / file) == markers


def test_csv_says_its_units(tmp_path) -> None:
    motion = Motion([0.5], ("knee_angle_r", "pelvis_tx", "p_beta"), [[np.pi / 4, 2.5, 0.5]])
    csv_table.write(tmp_path / "a.csv", motion)
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[0] == 'time [s],knee_angle_r [deg],pelvis_tx [m],"p_beta [deg, coupled]"'
    assert [float(cell) for cell in lines[1].split(",")] == pytest.approx([0.5, 45, 2.5, np.degrees(0.5)])


def test_csv_of_others(tmp_path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("Time;knee_angle_r;pelvis_tx\n0;90;1\n0.1;45;\n")
    plain = csv_table.read(path)
    assert isinstance(plain, Signals)
    assert plain.values[0].tolist() == [90, 1]
    notes: list[str] = []
    motion = csv_table.read(path, units="deg", notes=notes)
    assert isinstance(motion, Motion)
    assert motion.values[0].tolist() == [np.pi / 2, 1]
    assert np.isnan(motion.values[1, 1])
    assert "angles taken in deg" in notes[0]
    path.write_text("time [s],C7.x [mm],C7.y [mm],C7.z [mm]\n0,100,1500,-20\n")
    assert csv_table.read(path).xyz.tolist() == [[[0.1, 1.5, -0.02]]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "headings"),
        ("frame,a\n0,1\n", "first column to be 'time"),
        ("time,a [deg],b\n0,1,2\n", "none behind b"),
        ("time,a [furlong]\n0,1\n", r"got \[furlong\]"),
        ("time,a.x [m],a.y [m]\n0,1,2\n", r"a column 'a.z \[m\]'"),
        ("time,a.x [m],a.y [m],a.z [m],b\n0,1,2,3,4\n", "got 'b'"),
        ("time,a\n0,1\n1,x\n", "line 3.*got 'x'"),
        ("time,a,b\n0,1\n", "line 2.*Expected 3 cells, got 2"),
        ("time,a,a\n0,1,2\n", "'a' twice"),
        ("time,a\n0,1\n0,2\n", "time to increase"),
        ('time,"a\n0,1\n', "CSV headings"),
    ],
)
def test_bad_csv_is_refused(tmp_path, text, message) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(CapbenchError, match=message) as caught:
        csv_table.read(path)
    assert caught.value.file == str(path)


def test_parquet_bombs_and_other_types_are_refused(tmp_path) -> None:
    parquet = importlib.import_module("pyarrow.parquet")
    pyarrow = importlib.import_module("pyarrow")
    bomb = pyarrow.table({"time [s]": np.arange(2e7), "a": np.zeros(int(2e7))})
    parquet.write_table(bomb.slice(0, 0), tmp_path / "empty.parquet")
    assert len(parquet_table.read(tmp_path / "empty.parquet")) == 0
    same = pyarrow.table({"time [s]": np.zeros(int(2e7)), "a": np.zeros(int(2e7))})
    parquet.write_table(same, tmp_path / "bomb.parquet")
    assert (tmp_path / "bomb.parquet").stat().st_size < 1_000_000
    with pytest.raises(RefusedError, match="a bomb"):
        parquet_table.read(tmp_path / "bomb.parquet")
    parquet.write_table(pyarrow.table({"time [s]": ["a"], "b": ["c"]}), tmp_path / "text.parquet")
    with pytest.raises(CapbenchError, match="columns of numbers"):
        parquet_table.read(tmp_path / "text.parquet")


def test_brackets_in_names_would_be_read_as_units(tmp_path) -> None:
    with pytest.raises(CapbenchError, match="without brackets"):
        csv_table.write(tmp_path / "a.csv", Signals([0.0], ("a [N]",), [[1.0]]))


def test_a_real_motion_through_every_table(shared_data, tmp_path) -> None:
    from cohorts.formats import storage

    motion = storage.read(shared_data / "labvalidation_subject4/reference_ik/walking1.mot")
    for module, file in ((csv_table, "a.csv"), (parquet_table, "a.parquet")):
        module.write(tmp_path / file, motion, units="rad")
        assert module.read(tmp_path / file) == motion
    assert samples.motion() != motion
