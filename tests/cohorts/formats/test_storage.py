from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from strategies import all_motions, all_signals

from cohorts import CapbenchError, Motion, Signals
from cohorts.formats import storage

NEW = """Coordinates
version=1
nRows=2
nColumns=5
inDegrees={degrees}

Units are S.I. units (second, meters, Newtons, ...)
If the header above contains a line with 'inDegrees', this indicates whether rotational values are in degrees.

endheader
time\tpelvis_tx\tknee_angle_r\tknee_angle_r_beta\thip_flexion_r
      1.11000000\t      0.50000000\t{knee}\t{beta}\t-90
      1.12000000\t      0.51000000\t{knee}\t{beta}\t45
"""
OLD = """name subject04 DJ 1.mot
datacolumns 3
datarows 2
range 0 0.0005
endheader
time\tR_ground_force_vx\tR_ground_force_vy
 0.0000  1.5   700.25
 0.0005  -2    701
"""


def write(tmp_path: Path, text: str, name: str = "a.mot") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_degrees_become_radians_but_metres_stay_and_time_may_start_late(tmp_path) -> None:
    motion = storage.read(write(tmp_path, NEW.format(degrees="yes", knee=60, beta=1.0471975512)))
    assert isinstance(motion, Motion)
    assert motion.time.tolist() == [1.11, 1.12]
    np.testing.assert_allclose(motion.values[0], [0.5, np.pi / 3, np.pi / 3, -np.pi / 2], rtol=1e-10)
    assert motion.coupled == ("knee_angle_r_beta",)


@pytest.mark.parametrize(
    ("beta", "radians", "noted"),
    [
        ("1.0472", 1.0472, True),  # as OpenSim writes it: radians in a file of degrees
        ("60.0", np.pi / 3, False),  # as some other programs do
        ("0.3", 0.3, True),  # follows neither: OpenSim's habit holds
    ],
)
def test_the_patella_is_told_from_its_partner(tmp_path, beta, radians, noted) -> None:
    notes: list[str] = []
    motion = storage.read(write(tmp_path, NEW.format(degrees="yes", knee=60, beta=beta)), notes=notes)
    assert motion.column("knee_angle_r_beta")[0] == pytest.approx(radians, rel=1e-12)
    assert any("knee_angle_r_beta taken in radians" in note for note in notes) == noted


def test_in_degrees_no_is_left_as_it_is_and_none_is_asked_for(tmp_path) -> None:
    text = NEW.format(degrees="no", knee=0.5, beta=0.5)
    assert storage.read(write(tmp_path, text)).column("knee_angle_r").tolist() == [0.5, 0.5]
    path = write(tmp_path, text.replace("inDegrees=no\n", ""))
    with pytest.raises(CapbenchError, match=r"got neither.*--units deg"):
        storage.read(path)
    assert storage.read(path, units="deg").column("hip_flexion_r")[0] == pytest.approx(-np.pi / 2)


def test_simm_header_and_forces(tmp_path) -> None:
    forces = storage.read(write(tmp_path, OLD))
    assert isinstance(forces, Signals)
    assert forces.names == ("R_ground_force_vx", "R_ground_force_vy")
    assert forces.values.tolist() == [[1.5, 700.25], [-2, 701]]
    assert forces.rate == pytest.approx(2000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("endheader\n", ""), "Expected a header that ends in 'endheader'"),
        (("nRows=2", "nRows=3"), "3 rows as its header says, got 2: the file is cut short"),
        (("time\t", "t\t"), "first column to be 'time'"),
        (("pelvis_tx", "knee_angle_r"), "'knee_angle_r' again"),
        (("version=1", "version=3\nDataType=Vec3"), "DataType=vec3"),
        (("inDegrees=yes", "inDegrees=maybe"), "inDegrees=yes or inDegrees=no"),
        (("nRows=2", "nRows=2x"), "number of rows"),
        (("-90", "minus90"), "line 12.*'minus90'"),
        (("\t-90", ""), "line 12.*Expected 5 numbers"),
        (("1.12", "1.10"), "time to increase"),
    ],
)
def test_bad_tables_are_refused_in_words(tmp_path, change, message) -> None:
    text = NEW.format(degrees="yes", knee=60, beta=1)
    assert change[0] in text
    with pytest.raises(CapbenchError, match=message) as caught:
        storage.read(write(tmp_path, text.replace(*change, 1)))
    assert caught.value.file is not None


def test_more_rows_or_columns_than_declared_are_noted(tmp_path) -> None:
    text = NEW.format(degrees="yes", knee=60, beta=1).replace("nRows=2", "nRows=1").replace("=5", "=4")
    notes: list[str] = []
    storage.read(write(tmp_path, text), notes=notes)
    assert "the header says 1 rows, the file has 2" in notes
    assert "the header says 4 columns, the file has 5" in notes


def test_what_programs_print_for_no_number_is_nan(tmp_path) -> None:
    text = OLD.replace("1.5", "-1.#IND").replace("-2 ", "nan ")
    notes: list[str] = []
    forces = storage.read(write(tmp_path, text), notes=notes)
    assert np.isnan(forces.column("R_ground_force_vx")).all()
    assert notes == ["2 values are missing (NaN)"]


def test_a_file_of_six_bytes_ends(tmp_path) -> None:
    with pytest.raises(CapbenchError, match="endheader"):
        storage.read(write(tmp_path, "Coordi"))


@settings(max_examples=100, deadline=None)
@given(all_motions())
def test_motion_round_trip(tmp_path_factory, motion: Motion) -> None:
    folder = tmp_path_factory.mktemp("mot")
    storage.write(folder / "rad.mot", motion, units="rad")
    assert storage.read(folder / "rad.mot") == motion
    storage.write(folder / "deg.mot", motion)
    again = storage.read(folder / "deg.mot")
    np.testing.assert_allclose(again.values, motion.values, rtol=1e-15, atol=0)
    assert (again.names, again.kinds, again.coupled) == (motion.names, motion.kinds, motion.coupled)


@settings(max_examples=100, deadline=None)
@given(all_signals())
def test_signals_round_trip_is_exact(tmp_path_factory, signals: Signals) -> None:
    path = tmp_path_factory.mktemp("sto") / "a.sto"
    storage.write(path, signals)
    assert storage.read(path) == signals


def test_written_header_says_what_opensim_expects(tmp_path) -> None:
    motion = Motion([0.0], ("pelvis_tx", "knee_angle_r", "knee_angle_r_beta"), [[1.0, np.pi / 2, np.pi / 2]])
    storage.write(tmp_path / "a.mot", motion)
    lines = (tmp_path / "a.mot").read_text().splitlines()
    assert lines[0] == "Coordinates"
    assert {"nRows=1", "nColumns=4", "inDegrees=yes"} <= set(lines)
    assert [float(c) for c in lines[-1].split("\t")] == pytest.approx([0, 1, 90, np.pi / 2])


def test_real_files_reread_and_open_in_opensim_with_equal_numbers(shared_data, tmp_path) -> None:
    import opensim

    opensim.Logger.setLevelString("error")
    opensim.Logger.removeFileSink()

    def numbers(file: Path) -> np.ndarray:
        table = opensim.TimeSeriesTable(str(file))
        matrix = table.getMatrix()
        return np.column_stack([table.getIndependentColumn(), np.array(matrix.to_numpy())])

    files = sorted([*shared_data.rglob("*.mot"), *shared_data.rglob("*.sto")])
    assert len(files) == 17
    for file in files:
        noun = storage.read(file)
        assert isinstance(noun, Motion) == ("ik" in file.parent.name or file.name.endswith("_ik.mot"))
        copy = tmp_path / f"{file.parent.name}-{file.name}"
        in_degrees = "inDegrees=yes" in file.read_text()
        storage.write(
            copy, noun, **({"units": "deg" if in_degrees else "rad"} if isinstance(noun, Motion) else {})
        )
        theirs, original = numbers(copy), numbers(file)
        np.testing.assert_allclose(theirs, original, rtol=1e-14, atol=1e-300)
