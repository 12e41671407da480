from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from strategies import all_markers

from cohorts import CapbenchError, Markers
from cohorts.formats import trc

HEADER = (
    "PathFileType\t4\t(X/Y/Z)\tC:\\Users\\A Person\\My Trials\\walk 1.trc\n"
    "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames\n"
    "100.00\t100.00\t{frames}\t2\t{units}\t100.00\t1\t2\n"
    "Frame#\tTime\tR.ASIS\t\t\tL Knee\t\t\n"
    "\t\tX1\tY1\tZ1\tX2\tY2\tZ2\n"
)
ROWS = "1\t0.000\t100.0\t1000.0\t50.0\t-100.0\t500.0\t25.0\n2\t0.010\t101\t1001\t51\t-101\t501\t26\n"


def write(tmp_path: Path, rows: str = ROWS, units: str = "mm", blank: str = "\n", frames: int = 2) -> Path:
    path = tmp_path / "a.trc"
    path.write_text(HEADER.format(units=units, frames=frames) + blank + rows)
    return path


@pytest.mark.parametrize("blank", ["", "\n"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_millimetres_windows_paths_and_line_ends(tmp_path, blank, end) -> None:
    path = write(tmp_path, blank=blank)
    path.write_bytes(path.read_bytes().replace(b"\n", end.encode()))
    notes: list[str] = []
    markers = trc.read(path, notes=notes)
    assert markers.names == ("R.ASIS", "L Knee")
    assert markers.time.tolist() == [0, 0.01]
    np.testing.assert_allclose(markers.xyz[0], [[0.1, 1.0, 0.05], [-0.1, 0.5, 0.025]], rtol=1e-15)
    assert notes == []


def test_spaces_for_tabs(tmp_path) -> None:
    path = tmp_path / "a.trc"
    text = HEADER.format(units="mm", frames=2).replace("L Knee", "LKnee") + ROWS
    path.write_text(text.replace("\t", "   "))
    assert trc.read(path).xyz[1, 1].tolist() == pytest.approx([-0.101, 0.501, 0.026])


@pytest.mark.parametrize("gap", ["\t\t", "nan\tNaN\tNAN", "0\t0.000\t-0"])
def test_missing_points_are_nan_never_zero(tmp_path, gap) -> None:
    notes: list[str] = []
    markers = trc.read(write(tmp_path, ROWS + f"3\t0.02\t1\t2\t3\t{gap}\n", frames=3), notes=notes)
    assert np.isnan(markers.xyz[2, 1]).all()
    assert markers.confidence.tolist() == [[1, 1], [1, 1], [1, 0]]
    assert ("L Knee" in " ".join(notes)) == (gap.startswith("0"))


def test_a_last_missing_marker_may_lose_its_tabs(tmp_path) -> None:
    markers = trc.read(write(tmp_path, ROWS + "3\t0.02\t1\t2\t3\n"))
    assert np.isnan(markers.xyz[2, 1]).all()


def test_one_missing_axis_takes_the_point_along(tmp_path) -> None:
    notes: list[str] = []
    markers = trc.read(write(tmp_path, ROWS + "3\t0.02\t1\t2\t3\t4\t\t6\n"), notes=notes)
    assert np.isnan(markers.xyz[2, 1]).all()
    assert "1 points with a coordinate missing read as missing: L Knee" in notes


def test_metres_that_are_millimetres_are_refused(tmp_path) -> None:
    big = "1\t0\t100\t1700\t50\t-100\t500\t25\n"
    text = HEADER.replace("\t2\t{units}", "\t3\t{units}").replace("L Knee\t\t", "L Knee\t\t\tToe\t\t")
    path = tmp_path / "a.trc"
    path.write_text(text.format(units="m", frames=1) + big.rstrip("\n") + "\t0.5\t0.5\t0.5\n")
    with pytest.raises(CapbenchError, match=r"line 3.*surely millimetres.*--units mm"):
        trc.read(path)
    assert trc.read(path, units="mm").xyz[0, 0].tolist() == [0.1, 1.7, 0.05]
    path.write_text(text.format(units="mm", frames=1) + "1\t0\t1\t1.7\t1\t0\t0.1\t0\t1\t1\t1\n")
    with pytest.raises(CapbenchError, match="surely metres"):
        trc.read(path)


@pytest.mark.parametrize(
    ("rows", "line", "message"),
    [
        ("1\t0\t1\t2\t3\t4\t5\tx\n", 7, "Expected a number, got 'x'"),
        ("1\t0\t1\t2\t3\t4\t5\n", 7, "Expected 8 numbers .*, got 7"),
        ("1\t0\t1\t2\t3\t4\t5\t6\t7\n", 7, "Expected 8 numbers .*, got 9"),
        ("1\t\t1\t2\t3\t4\t5\t6\n", 7, "first 2 columns"),
        ("1\t0\t1\t2\t3\t4\t5\t1e999\n", 7, "infinity"),
        ("1\t0\t1\t2\t3\t4\t5\t1_0\n", 7, "got '1_0'"),
        ("1\t0.5\t1\t2\t3\t4\t5\t6\n2\t0.4\t1\t2\t3\t4\t5\t6\n", None, "time to increase"),
    ],
)
def test_bad_rows_name_their_line(tmp_path, rows, line, message) -> None:
    with pytest.raises(CapbenchError, match=message) as caught:
        trc.read(write(tmp_path, rows))
    assert caught.value.line == line
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("PathFileType", "Path", "starts with 'PathFileType'"),
        ("\tmm\t", "\tinch\t", "units m, cm or mm"),
        ("L Knee", "R.ASIS", "got R.ASIS more than once"),
        ("Frame#", "Time", "Frame#"),
        ("\t2\tmm", "\tmm", "a value for each of the header's 8 keys"),
    ],
)
def test_bad_headers_are_refused(tmp_path, old, new, message) -> None:
    path = write(tmp_path)
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(CapbenchError, match=message):
        trc.read(path)


def test_a_wrong_count_or_rate_is_noted(tmp_path) -> None:
    path = write(tmp_path, frames=300)
    path.write_text(path.read_text().replace("100.00\t100.00", "60.00\t60.00"))
    notes: list[str] = []
    trc.read(path, notes=notes)
    assert notes == [
        "the header says 300 frames, the file has 2",
        "the header says 60 Hz, the time column 100 Hz",
    ]


@settings(max_examples=100, deadline=None)
@given(all_markers())
def test_round_trip_is_exact(tmp_path_factory, markers: Markers) -> None:
    path = tmp_path_factory.mktemp("trc") / "a.trc"
    trc.write(path, markers)
    assert trc.read(path, units="m") == markers


def test_names_that_would_break_the_table_are_refused(tmp_path) -> None:
    markers = Markers([0.0], ("a\tb",), np.ones((1, 1, 3)))
    with pytest.raises(CapbenchError, match="without tabs"):
        trc.write(tmp_path / "a.trc", markers)
    assert list(tmp_path.iterdir()) == []


def test_real_files_reread_exactly_and_open_in_opensim(shared_data, tmp_path) -> None:
    import opensim

    opensim.Logger.setLevelString("error")
    opensim.Logger.removeFileSink()
    files = sorted(shared_data.rglob("*.trc"))
    assert len(files) == 7
    for file in files:
        markers = trc.read(file)
        copy = tmp_path / f"{file.parent.name}-{file.name}"
        trc.write(copy, markers)
        assert trc.read(copy) == markers
        table = opensim.TimeSeriesTableVec3(str(copy))
        flat = table.flatten()
        matrix = flat.getMatrix()
        np.testing.assert_array_equal(np.array(matrix.to_numpy()).reshape(markers.xyz.shape), markers.xyz)
        assert tuple(table.getColumnLabels()) == markers.names
        assert opensim.MarkerData(str(copy)).getNumFrames() == len(markers)
