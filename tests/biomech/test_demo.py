"""The bundled walk: reproducible, and its markers lie where OpenSim puts them at its angles."""

import json
import subprocess
import sys

import numpy as np
import pytest

from capbench.cli.fit import DEMO
from cohorts.formats import storage, trc

#: OpenSim's own forward kinematics, in a process of its own, as it may crash while clearing up
FORWARD = """
import json, math, os, sys
import opensim
opensim.Logger.removeFileSink()
model_file, angles_file, out = sys.argv[1:]
model = opensim.Model(model_file)
state = model.initSystem()
coordinates, markers = model.getCoordinateSet(), model.getMarkerSet()
frames = []
for frame in json.load(open(angles_file)):
    for name, value in frame.items():
        coordinates.get(name).setValue(state, value, False)
    model.realizePosition(state)
    places = {}
    for i in range(markers.getSize()):
        place = markers.get(i).getLocationInGround(state)
        places[markers.get(i).getName()] = [place.get(k) for k in range(3)]
    frames.append(places)
json.dump({"mass": model.getTotalMass(state), "frames": frames}, open(out, "w"))
os._exit(0)
"""


def test_the_script_makes_the_committed_bytes(make_demo, tmp_path) -> None:
    make_demo.make(tmp_path)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_bytes() for path in DEMO.glob("walker.*")}
    assert made == kept
    assert len(kept) == 3 and sum(map(len, kept.values())) < 300_000


def test_markers_are_where_opensim_puts_them(tmp_path) -> None:
    truth, markers = storage.read(DEMO / "walker.mot"), trc.read(DEMO / "walker.trc")
    frames = range(0, len(truth), 25)
    (tmp_path / "angles.json").write_text(
        json.dumps([dict(zip(truth.names, truth.values[i].tolist(), strict=True)) for i in frames])
    )
    subprocess.run(
        [sys.executable, "-c", FORWARD, DEMO / "walker.osim", "angles.json", "places.json"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    found = json.loads((tmp_path / "places.json").read_text())
    for i, places in zip(frames, found["frames"], strict=True):
        expected = np.array([places[name] for name in markers.names])
        assert np.abs(markers.xyz[i] - expected).max() < 1e-9  # the file has nine decimals
    assert set(found["frames"][0]) == set(markers.names)
    assert found["mass"] == pytest.approx(70.0)  # the fractions of the segments add up to one


def test_the_walk_is_one_a_person_could_walk() -> None:
    motion, markers = storage.read(DEMO / "walker.mot"), trc.read(DEMO / "walker.trc")

    def degrees(name: str) -> tuple[float, float]:
        column = np.degrees(motion.column(name))
        return column.min(), column.max()

    for side in "rl":
        low, high = degrees(f"knee_angle_{side}")
        assert 0 < low < 10 and 55 < high < 70
        low, high = degrees(f"hip_flexion_{side}")
        assert -15 < low < -5 and 25 < high < 35
    feet = markers.select([n for n in markers.names if n[2:] in ("calc", "toe", "5meta")])
    lowest = feet.xyz[..., 1].min(axis=1)
    assert lowest.min() > 0 and lowest.max() < 0.04  # one foot is always on the floor, none below it
    # forward at 1.25 m/s, with the right side to the right: z of r_ASIS above that of l_ASIS
    assert motion.column("pelvis_tx")[-1] == pytest.approx(2 * 1.25, abs=0.03)
    hips = markers.select(["r_ASIS", "l_ASIS"]).xyz
    assert (hips[:, 0, 2] > hips[:, 1, 2]).all()
    assert np.linalg.norm(hips[:, 0] - hips[:, 1], axis=1) == pytest.approx(0.24)
