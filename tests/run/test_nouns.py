"""Recordings go through a unit's bytes unchanged."""

from dataclasses import replace

import numpy as np
import pytest

from capbench.biomech.body import fullbody
from capbench.run import nouns
from capbench.run.units import pack, unpack
from cohorts.errors import CapbenchError
from cohorts.recording import Keypoints, Markers, Motion
from cohorts.skeleton import Skeleton, skeleton

OWN = Skeleton(
    "mine",
    ("nose", "hand left", "hand right"),
    ("nose", "left_wrist", "right_wrist"),
    flip_pairs=(("hand left", "hand right"),),
)


def track(camera: str, points: Skeleton, seed: int, **parts: object) -> Keypoints:
    random = np.random.default_rng(seed)
    xy = random.normal(50, 20, (5, len(points), 2))
    xy[2, 1] = np.nan
    confidence = np.where(np.isnan(xy[..., 0]), 0.0, random.uniform(0.1, 1, xy.shape[:2]))
    return Keypoints(camera, np.arange(5) / 25, xy, points, confidence, **parts)


def full(camera: str, points: Skeleton, seed: int) -> Keypoints:
    """A track with every part that one may have."""
    plain = track(camera, points, seed)
    covariance = np.broadcast_to(np.diag([2.0, 3.0]), (5, len(points), 2, 2)).copy()
    covariance[np.isnan(plain.xy[..., 0])] = np.nan
    return replace(
        plain,
        person="second",
        covariance=covariance,
        frames=np.array([0, 1, 2, 5, 9]),
        score=np.linspace(0, 1, 5),
    )


def through(arrays, about):
    return unpack(pack(arrays, about))


@pytest.mark.parametrize("points", [skeleton("synthpose-52"), skeleton("coco-17"), OWN], ids=lambda s: s.name)
def test_keypoints_come_back_equal(points) -> None:
    tracks = {"Cam3": full("Cam3", points, 1), "Cam1": track("Cam1", points, 2)}
    found = nouns.get_tracks(*through(*nouns.put_tracks(tracks)))
    assert list(found) == ["Cam3", "Cam1"] and found == tracks
    assert found["Cam1"].covariance is None and found["Cam1"].frames is None
    assert found["Cam3"].frames.dtype.kind == "i"


def test_no_keypoints_come_back_as_none() -> None:
    assert nouns.get_tracks(*through(*nouns.put_tracks({}))) == {}


def test_a_skeleton_of_a_known_name_but_other_points_is_told_in_full() -> None:
    assert nouns.tell_skeleton(skeleton("coco-17")) == "coco-17"
    mine = replace(OWN, name="coco-17")
    assert nouns.get_skeleton(nouns.tell_skeleton(mine)) == mine != skeleton("coco-17")


def test_markers_come_back_equal() -> None:
    random = np.random.default_rng(3)
    xyz = random.normal(size=(4, 3, 3))
    xyz[1, 2] = np.nan
    confidence = np.where(np.isnan(xyz[..., 0]), 0, 0.5)
    markers = Markers(np.array([0.0, 0.1, 0.25, 0.3]), ("a", "b", "ü c"), xyz, confidence)
    assert nouns.get_markers(*through(*nouns.put_markers(markers))) == markers


def test_motions_come_back_equal() -> None:
    values = np.random.default_rng(4).normal(size=(3, 2))
    values[0, 0] = np.nan
    motion = Motion(np.arange(3.0), ("knee", "knee_b"), values, ("rotation", "translation"), ("knee_b",))
    assert nouns.get_motion(*through(*nouns.put_motion(motion))) == motion


def test_a_model_comes_back_as_it_is_written() -> None:
    model = fullbody(markers="coco-17")
    found = nouns.get_model(nouns.put_model(model))
    assert [m.name for m in found.markers] == [m.name for m in model.markers]
    assert [c.name for c in found.coordinates] == [c.name for c in model.coordinates]
    assert found.mass == pytest.approx(model.mass)
    for a, b in zip(found.markers, model.markers, strict=True):
        np.testing.assert_allclose(a.location, b.location, rtol=0, atol=1e-12)
    again = nouns.put_model(found)  # the first time -0.0 becomes 0.0
    np.testing.assert_array_equal(nouns.put_model(nouns.get_model(again)), again)


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(CapbenchError):
        nouns.get_model(np.frombuffer(b"<OpenSimDocument/>", np.uint8))
