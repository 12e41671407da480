import struct
import subprocess
import sys

import numpy as np
import pytest
import samples
from hypothesis import given, settings
from strategies import all_markers

from cohorts import CapbenchError, Markers
from cohorts.formats import c3d


def by_hand(frames: list[list[tuple[float, float, float, float]]], units: bytes = b"mm") -> bytes:
    """A C3D file built from the published layout: header, parameter and data blocks of 512 bytes.

    Each point is x, y, z and the residual word (-1 = missing); two markers, 50 Hz, first frame 11.
    """

    def group(number: int, name: bytes) -> bytes:
        return struct.pack("<bb", len(name), -number) + name + struct.pack("<hb", 3, 0)

    def parameter(name: bytes, kind: int, dims: list[int], data: bytes) -> bytes:
        body = struct.pack("<bb", kind, len(dims)) + bytes(dims) + data + b"\0"
        return struct.pack("<bb", len(name), 1) + name + struct.pack("<h", 2 + len(body)) + body

    count = len(frames[0])
    parameters = b"".join(
        [
            group(1, b"POINT"),
            parameter(b"USED", 2, [], struct.pack("<h", count)),
            parameter(b"FRAMES", 2, [], struct.pack("<h", len(frames))),
            parameter(b"SCALE", 4, [], struct.pack("<f", -1)),
            parameter(b"RATE", 4, [], struct.pack("<f", 50)),
            parameter(b"DATA_START", 2, [], struct.pack("<h", 3)),
            parameter(b"LABELS", -1, [6, count], b"R.ASISL.ASIS"),
            parameter(b"UNITS", -1, [len(units)], units),
        ]
    )
    parameters = struct.pack("<BBBB", 1, 80, 1, 84) + parameters
    header = struct.pack("<BB", 2, 80) + struct.pack(
        "<hhhhhfhhf", count, 0, 11, 10 + len(frames), 10, -1.0, 3, 0, 50.0
    )
    data = b"".join(struct.pack("<ffff", *point) for frame in frames for point in frame)
    return b"".join(block + b"\0" * (-len(block) % 512) for block in (header, parameters, data))


def test_a_file_built_by_hand(tmp_path) -> None:
    path = tmp_path / "hand.c3d"
    path.write_bytes(by_hand([[(100, 900, -50, 0), (1, 2, 3, 0)], [(101, 901, -51, 0), (0, 0, 0, -1)]]))
    markers = c3d.read(path)
    assert markers.names == ("R.ASIS", "L.ASIS")
    np.testing.assert_allclose(markers.time, [10 / 50, 11 / 50])  # frame 11, counted from 1
    np.testing.assert_allclose(markers.xyz[0], [[0.1, 0.9, -0.05], [0.001, 0.002, 0.003]], rtol=1e-6)
    assert np.isnan(markers.xyz[1, 1]).all()
    path.write_bytes(by_hand([[(1, 2, 3, 0), (4, 5, 6, 0)]], units=b"m "))
    assert c3d.read(path).xyz[0, 1].tolist() == [4, 5, 6]
    path.write_bytes(by_hand([[(1, 2, 3, 0), (4, 5, 6, 0)]], units=b"ft"))
    with pytest.raises(CapbenchError, match=r"got 'ft'.*--units"):
        c3d.read(path)
    assert c3d.read(path, units="mm").xyz[0, 1].tolist() == [0.004, 0.005, 0.006]


@settings(max_examples=8, deadline=None)  # each reading starts a process
@given(all_markers())
def test_round_trip_to_seven_digits(tmp_path_factory, markers: Markers) -> None:
    time = 3 + np.arange(len(markers) + 1) / 120
    xyz = np.concatenate([markers.xyz[:1], markers.xyz])
    even = Markers(time, markers.names, xyz)
    path = tmp_path_factory.mktemp("c3d") / "a.c3d"
    c3d.write(path, even)
    again = c3d.read(path)
    assert again.names == even.names
    np.testing.assert_allclose(again.time, even.time, atol=1e-9)
    np.testing.assert_allclose(again.xyz, even.xyz, rtol=2e-7)  # 32-bit floats


def test_points_that_are_no_markers_are_left_out_and_said(tmp_path) -> None:
    c3d.write(tmp_path / "a.c3d", samples.markers())
    code = """
import ezc3d
file = ezc3d.c3d("a.c3d")
file.add_parameter("POINT", "ANGLES", ["R knee"])
file.add_parameter("POINT", "Y_SCREEN", ["+Z"])
file.write("b.c3d")
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    notes: list[str] = []
    assert c3d.read(tmp_path / "b.c3d", notes=notes).names == ("R.ASIS", "L.ASIS", "Top")
    assert "1 computed points that are no markers left out: R knee" in notes
    assert any("Z axis is up" in note for note in notes)


def test_writing_beside_opensim(tmp_path) -> None:
    """Both bindings register a vector of ints; in one process the later of the two would get the other's."""
    import opensim

    assert opensim.GetVersion()
    c3d.write(tmp_path / "a.c3d", samples.markers())
    assert c3d.read(tmp_path / "a.c3d").names == samples.markers().names


def test_uneven_times_cannot_be_kept(tmp_path) -> None:
    markers = Markers([0, 0.01, 0.5], ("a",), np.ones((3, 1, 3)))
    with pytest.raises(CapbenchError, match="evenly spaced"):
        c3d.write(tmp_path / "a.c3d", markers)


@pytest.mark.parametrize("content", [b"", b"\x02P" + b"\xff" * 600, b"\0" * 2048, b"no c3d at all" * 100])
def test_damaged_files_are_errors_not_crashes(tmp_path, content) -> None:
    path = tmp_path / "a.c3d"
    path.write_bytes(content)
    with pytest.raises(CapbenchError, match=r"Expected a .*C3D"):
        c3d.read(path)
