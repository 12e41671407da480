"""What a run leaves can be read, is what was found, and scores the same again."""

import json
import shutil

import numpy as np
import pytest
from evaluations import KEYS, ONE, STATIC_KEYS, ready, run

from capbench.biomech.osim import read_model
from capbench.run import nouns
from capbench.run.evaluate import Options
from capbench.run.export import hardware
from capbench.run.units import unpack
from cohorts import formats


@pytest.fixture(scope="module")
def folder(whole):
    return whole.out / "predictions"


def output(whole, unit):
    return unpack(whole.evaluation.store.get(unit.key))


@pytest.mark.parametrize("key", [KEYS[0], STATIC_KEYS[1]])
def test_files_hold_what_was_found(key, whole, folder) -> None:
    way = whole.evaluation.ways[0]
    arrays, about = output(whole, way.keypoints[key])
    tracks = nouns.get_tracks(arrays, about["tracks"])
    read = {t.camera: t for t in formats.read(folder / f"keypoints/{key}.npz")[1]}
    assert read.keys() == tracks.keys() == {"Cam1", "Cam3"}
    for camera, track in tracks.items():
        np.testing.assert_array_equal(read[camera].xy, track.xy)
        np.testing.assert_allclose(read[camera].time, track.time)
        assert read[camera].skeleton == track.skeleton
    arrays, about = output(whole, way.markers[key])
    markers = nouns.get_markers(arrays, about["names"])
    seen = formats.read(folder / f"markers/{key}.trc")[1]
    assert seen.names == markers.names
    np.testing.assert_allclose(seen.xyz, markers.xyz, atol=1e-6)
    if key in way.motions:
        arrays, about = output(whole, way.motions[key])
        motion = nouns.get_motion(arrays, about["motion"])
        found = formats.read(folder / f"motions/{key}.mot")[1].select(motion.names)
        np.testing.assert_allclose(found.values, motion.values, atol=1e-8)
        np.testing.assert_allclose(found.time, motion.time, atol=1e-7)


def test_the_model_is_the_person_s(whole, folder) -> None:
    arrays, _ = output(whole, whole.evaluation.ways[0].models[ONE])
    assert (folder / f"models/{ONE}.osim").read_bytes() == arrays["osim"].tobytes()
    assert read_model(folder / f"models/{ONE}.osim").mass == pytest.approx(64.1)


@pytest.mark.parametrize("kind", ["keypoints", "motions"])
def test_predictions_scored_again_score_the_same(kind, whole, folder, tmp_path) -> None:
    """From the keypoints on as the run did; from the angles on with nothing left to do."""
    options = Options(causes=False, scaling="own" if kind == "motions" else "reference")
    wanted = whole.result if kind == "motions" else run(ready(whole.cohort, whole.store), tmp_path / "plain")
    again = run(ready(whole.cohort, whole.store, options, files=folder / kind), tmp_path / "again")
    assert not again.failures
    assert again.overall.value == pytest.approx(wanted.overall.value, abs=1e-6)
    assert [s.value for s in again.coordinates] == pytest.approx(
        [s.value for s in wanted.coordinates], abs=1e-5
    )
    assert again.overall.coverage == wanted.overall.coverage


def test_the_folder_of_a_run_is_no_folder_of_predictions(whole, tmp_path) -> None:
    from cohorts.errors import CapbenchError

    with pytest.raises(CapbenchError, match="that of a run"):
        ready(whole.cohort, whole.store, files=whole.out)
    shutil.copytree(whole.out / "predictions" / "motions", tmp_path / "motions")
    ready(whole.cohort, whole.store, files=tmp_path / "motions")


def test_timing_tells_seconds_frames_and_the_machine(whole) -> None:
    timing = json.loads((whole.out / "timing.json").read_text())
    assert set(timing["stages"]) == {"noisy-truth", "markers", "true-markers", "scale", "motion"}
    assert all(seconds >= 0 for seconds in timing["stages"].values()) and timing["stages"]["scale"] > 0.1
    frames = sum(
        len(t) for key in (*KEYS, *STATIC_KEYS)
        for t in formats.read(whole.out / "predictions/keypoints" / f"{key}.npz")[1]
    )  # fmt: skip
    assert timing["frames"] == frames > 50
    assert timing["frames_per_second"] is None  # no model looked at them
    assert timing["hardware"] == json.loads(json.dumps(hardware()))
    assert {"processor", "cores", "system", "python"} <= timing["hardware"].keys()
