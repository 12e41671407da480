"""Planted offsets come back; where the motion does not tell them, that is said."""

from dataclasses import replace

import numpy as np
import pytest
from walkers import FIVE, filmed, rig, without

from capbench.vision.swaps import exchanged
from capbench.vision.sync import SURE, synchronise
from cohorts import formats
from cohorts.errors import CapbenchError
from cohorts.recording import Keypoints
from cohorts.skeleton import Skeleton, skeleton

OFFSETS = {"Cam0": 0.211, "Cam1": -0.0333, "Cam2": 0.0, "Cam3": 0.0871, "Cam4": -0.15}


def misses(found, offsets, rate=60.0) -> np.ndarray:
    """Errors in frames, relative to the reference."""
    return np.array(
        [(found.offsets[n] - offsets[n] + offsets[found.reference]) * rate for n in found.offsets]
    )


@pytest.mark.truth("planted")
@pytest.mark.parametrize("what", ["walk", "squat"])
@pytest.mark.parametrize("names", [("Cam1", "Cam3"), FIVE])
def test_offsets_come_back_exactly_without_noise_and_to_a_third_of_a_frame_with(what, names) -> None:
    cameras, offsets = rig(names), {n: OFFSETS[n] for n in names}
    clean = synchronise(filmed(cameras, what, offsets=offsets), cameras)
    assert np.abs(misses(clean, offsets)).max() < 0.1
    assert clean.after < 0.1 < clean.before and clean.offsets[clean.reference] == 0
    assert min(clean.confidence.values()) > 0.95 and not clean.notes
    noisy = synchronise(filmed(cameras, what, offsets=offsets, noise=2.0), cameras)
    assert np.abs(misses(noisy, offsets)).max() < 0.3
    assert min(noisy.confidence.values()) > 0.9


@pytest.mark.truth("planted in a real recording")
@pytest.mark.parametrize("trial", ["walking1", "DJ1"])
def test_offsets_of_a_real_person_come_back(shared_data, trial) -> None:
    path = shared_data / "labvalidation_subject4" / "markers" / f"{trial}.trc"
    markers = formats.read(path)[1]
    known = skeleton("opencap-mocap-49")
    names = [p for p in known.points if p in markers.names]
    some = Skeleton("some", tuple(n for n in names if np.isfinite(markers.select([n]).xyz).all()))
    xyz = markers.select(some.points).xyz
    middle = xyz.mean(axis=(0, 1))
    cameras = rig(FIVE, target=(middle[0], 0.95, middle[2]))
    random = np.random.default_rng(0)
    tracks = {}
    for name, camera in cameras.items():
        xy = camera.project(xyz)
        tracks[name] = Keypoints(
            name, markers.time + OFFSETS[name], xy + random.normal(0, 2.0, xy.shape), some
        )
    found = synchronise(tracks, cameras, max_offset=0.5)
    assert np.abs(misses(found, OFFSETS, 100.0)).max() < 0.3
    assert min(found.confidence.values()) > 0.9


def test_no_offset_stays_near_zero_and_snaps_to_it_where_the_card_says_so() -> None:
    cameras = rig(FIVE)
    tracks = filmed(cameras, noise=2.0)
    free, snapped = synchronise(tracks, cameras), synchronise(tracks, cameras, snap=True)
    assert 0 < max(abs(o) for o in free.offsets.values()) < 0.2 / 60
    assert set(snapped.offsets.values()) == {0.0} and not snapped.notes
    # said to be synchronised, but five frames off, and the motion proves it
    late = filmed(cameras, noise=2.0, offsets={"Cam3": 5 / 60})
    found = synchronise(late, cameras, snap=True)
    assert found.offsets["Cam3"] - found.offsets["Cam1"] == pytest.approx(5 / 60, abs=0.3 / 60)
    assert any("said to be synchronised, but are not" in note for note in found.notes)


@pytest.mark.parametrize("what", ["stand", "squats alike"])
def test_motion_that_does_not_tell_is_unsure_and_gets_zero(what) -> None:
    cameras = rig()
    offsets = {"Cam1": 0.0, "Cam3": 0.3}
    for seed in range(4):
        tracks = filmed(cameras, what, noise=2.0, bias=2.0, seconds=4.0, offsets=offsets, seed=seed)
        found = synchronise(tracks, cameras)
        assert found.confidence["Cam3"] < SURE or found.confidence["Cam1"] < SURE, (seed, found)
        assert set(found.offsets.values()) == {0.0}
        assert "too unsure to be used" in found.notes[0]


def test_confidence_is_how_often_it_is_right() -> None:
    """Over trials from hopeless to easy; predicted by bins against what came true."""
    cameras = rig()
    told, right = [], []
    for seed in range(36):
        noise = (1.0, 3.0, 8.0, 20.0)[seed % 4]
        what = ("walk", "squat", "stand")[seed % 3]
        offset = np.random.default_rng(seed).uniform(-0.3, 0.3)
        options = {"noise": noise, "bias": noise, "seconds": 1.0, "rate": 30.0, "offsets": {"Cam3": offset}}
        found = synchronise(filmed(cameras, what, seed=seed, **options), cameras, max_offset=0.6)
        other = next(n for n in cameras if n != found.reference)
        lag = found.offsets[other] if other == "Cam3" else -found.offsets[other]
        told.append(found.confidence[other])
        right.append(abs(lag - offset) < 0.5 / 30)
    told, right = np.array(told), np.array(right)
    sure = told > 0.8
    assert sure.sum() >= 13 and right[sure].mean() > 0.85
    assert (told < 0.5).sum() >= 10 and right[told < 0.5].mean() < 0.5


def test_different_frame_rates() -> None:
    cameras = rig(("Cam1", "Cam2", "Cam3"))
    offsets = {"Cam1": 0.0, "Cam2": 0.05, "Cam3": -0.12}
    rates = {"Cam1": 60.0, "Cam2": 30.0, "Cam3": 50.0}
    found = synchronise(filmed(cameras, noise=1.0, rates=rates, offsets=offsets), cameras)
    assert np.abs(misses(found, offsets, 30.0)).max() < 0.3


@pytest.mark.parametrize("height", [1.2, 2.4])
def test_sides_swapped_in_one_view_throughout_don_t_matter(height) -> None:
    # from one height, swapped legs lie on each other's epipolar lines; from another it is seen
    cameras, offsets = rig(("Cam1",)) | rig(("Cam3",), height=height), {"Cam1": 0.0, "Cam3": 0.1}
    tracks = filmed(cameras, noise=1.0, offsets=offsets)
    tracks["Cam3"] = exchanged(tracks["Cam3"], np.ones(tracks["Cam3"].confidence.shape, bool))
    found = synchronise(tracks, cameras)
    assert np.abs(misses(found, offsets)).max() < 0.3
    if height > 2:
        assert any("seem swapped throughout" in note for note in found.notes)


def test_outliers_and_gaps_don_t_matter_much() -> None:
    cameras, offsets = rig(), {"Cam1": 0.0, "Cam3": -0.07}
    tracks = filmed(cameras, noise=1.0, offsets=offsets)
    random = np.random.default_rng(0)
    xy = tracks["Cam1"].xy.copy()
    hit = random.random(xy.shape[:2]) < 0.1
    xy[hit] += random.normal(0, 80, (hit.sum(), 2))
    tracks["Cam1"] = without(replace(tracks["Cam1"], xy=xy), slice(40, 50))
    assert np.abs(misses(synchronise(tracks, cameras), offsets)).max() < 0.3


def test_known_offsets_are_taken() -> None:
    cameras = rig(("Cam1", "Cam2", "Cam3"))
    offsets = {"Cam1": 0.05, "Cam2": 0.0, "Cam3": -0.04}
    tracks = filmed(cameras, noise=1.0, offsets=offsets)
    found = synchronise(tracks, cameras, known={"Cam1": 0.05})
    assert found.offsets["Cam1"] == 0.05 and found.confidence["Cam1"] == 1.0
    np.testing.assert_allclose([found.offsets[n] for n in offsets], list(offsets.values()), atol=0.3 / 60)
    every = synchronise(tracks, cameras, known=offsets)
    assert every.offsets == offsets and not every.notes


def test_an_offset_beyond_the_search_is_not_believed() -> None:
    cameras = rig()
    tracks = filmed(cameras, noise=1.0, offsets={"Cam3": 0.5})
    found = synchronise(tracks, cameras, max_offset=0.3)
    assert set(found.offsets.values()) == {0.0} and "unsure" in found.notes[0]


def test_few_frames_and_no_points() -> None:
    cameras = rig()
    tracks = filmed(cameras)
    short = synchronise({n: t[:5] for n, t in tracks.items()}, cameras)
    assert set(short.offsets.values()) == {0.0} and "fewer than 8 frames" in short.notes[0]
    blind = synchronise({**tracks, "Cam3": without(tracks["Cam3"], slice(None))}, cameras)
    assert blind.offsets == {"Cam1": 0.0, "Cam3": 0.0}
    with pytest.raises(CapbenchError, match="largest offset"):
        synchronise(tracks, cameras, max_offset=0.0)
