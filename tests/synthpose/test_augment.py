"""Augmentation: points follow the pixels, in closed form; what is covered, and what stays as it was."""

import numpy as np
import pytest

from cohorts.errors import CapbenchError
from cohorts.skeleton import Skeleton, skeleton
from synthpose.augment import NOTHING, Augmentation, Augmenter
from synthpose.feeding import Batch

WIDTH, HEIGHT = 96, 128
COCO, DENSE = skeleton("coco-17"), skeleton("synthpose-52")
MOVING = ("flip", "moved", "half_body")
KINDS = (*MOVING, "colour", "grey", "blur", "coarse", "noise", "compression", "occluders", "part_drop")


def only(**shares) -> Augmentation:
    return NOTHING.model_copy(update=shares)


def people(count: int, points: Skeleton = DENSE, seed: int = 0) -> Batch:
    """Noise, and points well inside."""
    random = np.random.default_rng(seed)
    pictures = random.integers(0, 256, (count, HEIGHT, WIDTH, 3), np.uint8)
    at = random.uniform([20, 20], [WIDTH - 20, HEIGHT - 20], (count, len(points), 2)).astype(np.float32)
    return Batch(pictures, at, np.ones((count, len(points)), np.float32))


def blobs(count: int, seed: int = 0) -> Batch:
    """Coco's points; one of them, picture k's (k mod 17)-th, has a bright blob exactly on it."""
    batch = people(count, COCO, seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    pictures = np.empty((count, HEIGHT, WIDTH, 3), np.uint8)
    for k in range(count):
        u, v = batch.points[k, k % 17]
        blob = 250 * np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * 3.0**2))
        pictures[k] = np.rint(blob)[..., None]
    return batch._replace(pictures=pictures)


def middle(picture: np.ndarray) -> np.ndarray:
    light = picture.astype(float).mean(axis=2)
    y, x = np.mgrid[: light.shape[0], : light.shape[1]]
    return np.array([(light * x).sum(), (light * y).sum()]) / max(light.sum(), 1e-9)


@pytest.mark.truth("closed form: the centre of a planted blob")
@pytest.mark.parametrize("how", [
    only(moved=1.0, turn=40.0, scale=1.5), only(flip=1.0), only(half_body=1.0), only(coarse=1.0),
    only(blur=1.0), Augmentation(colour=0, grey=0, noise=0, compression=0, occluders=0, part_drop=0),
])  # fmt: skip
def test_blobs_move_with_their_points(how) -> None:
    batch = blobs(68)
    made = Augmenter(how, COCO)(batch, np.random.default_rng(5))
    checked = 0
    flip = COCO.flip_indices
    for k in range(68):
        mine = k % 17
        places = [mine, flip[mine]]  # mirrored pictures: the point changes its name
        seen = middle(made.pictures[k])
        gaps = np.linalg.norm(made.points[k, places] - seen, axis=1)
        near = made.points[k, places[int(gaps.argmin())]]
        if not ((near > 13) & (near < [WIDTH - 14, HEIGHT - 14])).all():
            continue  # the blob is cut off
        checked += 1
        assert gaps.min() < 0.1
    assert checked > 30


@pytest.mark.truth("closed form")
def test_mirroring_is_exact_and_swaps_sides() -> None:
    batch = people(3)
    made = Augmenter(only(flip=1.0), DENSE)(batch, np.random.default_rng(0))
    np.testing.assert_array_equal(made.pictures, batch.pictures[:, :, ::-1])
    for name, other in (("l_ASIS", "r_ASIS"), ("r_calc", "l_calc"), ("left_eye", "right_eye"), ("C7", "C7")):
        want = batch.points[:, DENSE.index(other)] * [-1, 1] + [WIDTH - 1, 0]
        np.testing.assert_allclose(made.points[:, DENSE.index(name)], want, atol=1e-4)
    weighted = batch._replace(weight=np.arange(52, dtype=np.float32) * np.ones((3, 1), np.float32))
    twice = Augmenter(only(flip=1.0), DENSE)(weighted, np.random.default_rng(0)).weight
    np.testing.assert_array_equal(twice[0], np.arange(52)[list(DENSE.flip_indices)])


def test_a_lone_point_of_one_side_means_nothing_in_a_mirror() -> None:
    names = ("nose", "left_tag", "left_ear", "right_ear")
    one = Skeleton("lone", names, names, flip_pairs=(("left_ear", "right_ear"),))
    made = Augmenter(only(flip=1.0), one)(people(2, one), np.random.default_rng(0))
    np.testing.assert_array_equal(made.weight, [[1, 0, 1, 1]] * 2)


def test_nothing_changes_nothing_and_the_given_batch_stays() -> None:
    batch = people(4)
    same = Augmenter(NOTHING, DENSE)(batch, np.random.default_rng(0))
    for a, b in zip(batch, same, strict=True):
        np.testing.assert_array_equal(a, b)
    before = [part.copy() for part in batch]
    Augmenter(Augmentation(), DENSE)(batch, np.random.default_rng(0))
    for a, b in zip(before, batch, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_does_something_by_its_share_and_its_seed(kind) -> None:
    batch = people(80)
    batch = batch._replace(pictures=batch.pictures // 2 + 64)
    by = Augmenter(only(**{kind: 0.4}), DENSE)
    made, again = by(batch, np.random.default_rng(3)), by(batch, np.random.default_rng(3))
    for a, b in zip(made, again, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
    assert not np.array_equal(made.pictures, by(batch, np.random.default_rng(4)).pictures)
    changed = (made.pictures != batch.pictures).any(axis=(1, 2, 3))
    assert 0.25 < changed.mean() < 0.55
    assert (not np.array_equal(made.points, batch.points)) == (kind in MOVING)
    assert made.pictures.dtype == np.uint8 and made.points.dtype == made.weight.dtype == np.float32


def test_points_that_leave_the_picture_weigh_nothing() -> None:
    batch = people(60)
    made = Augmenter(only(moved=1.0, shift=0.6), DENSE)(batch, np.random.default_rng(1))
    x, y = made.points[..., 0], made.points[..., 1]
    inside = (x >= -0.5) & (x <= WIDTH - 0.5) & (y >= -0.5) & (y <= HEIGHT - 0.5)
    np.testing.assert_array_equal(made.weight > 0, inside)
    assert 0.2 < inside.mean() < 0.95


def test_half_bodies_show_one_half_larger() -> None:
    by = Augmenter(only(half_body=1.0), DENSE)
    upper, lower = (set(np.array(DENSE.points)[h]) for h in by.halves)
    assert {"nose", "C7", "l_lwrist", "r_ASIS"} <= upper and not upper & {"r_calc", "left_knee", "l_mknee"}
    assert {"r_ASIS", "r_knee", "l_mknee", "left_ankle", "r_5meta", "l_big_toe", "r_calc"} <= lower
    assert not lower & {"sternum", "L2", "left_wrist"} and upper | lower == set(DENSE.points)
    batch = people(40)
    high = dict.fromkeys(upper, 25) | dict.fromkeys(lower, 100) | dict.fromkeys(upper & lower, 62)
    standing = np.array([high[n] for n in DENSE.points], np.float32)
    points = batch.points.copy()
    points[..., 1] = standing + np.random.default_rng(1).uniform(-8, 8, points.shape[:2])
    made = by(batch._replace(points=points), np.random.default_rng(2))
    halves = made.weight > 0
    up, low = (
        halves[:, [n in part for n in DENSE.points]].mean(axis=1) for part in (upper - lower, lower - upper)
    )
    assert ((up > 0.9) | (low > 0.9)).all() and (up < 0.5).any() and (low < 0.5).any()


def test_covered_points_are_where_it_was_drawn() -> None:
    """What weighs less is changed pixels, and only that."""
    batch = people(60)
    made = Augmenter(only(occluders=1.0, part_drop=0.5, covered=0.25), DENSE)(batch, np.random.default_rng(6))
    changed = (made.pictures != batch.pictures).any(axis=3)
    x, y = np.rint(batch.points).astype(int).transpose(2, 0, 1)
    at = changed[np.arange(60)[:, None], y, x]
    low = made.weight < 1
    np.testing.assert_array_equal(made.weight[low], np.float32(0.25))
    assert 0.05 < low.mean() < 0.6
    assert (at == low).mean() > 0.97  # a pixel's rounding at the rim; a stuff of the very same colour
    dropped = Augmenter(only(part_drop=1.0, covered=0.0), DENSE)(batch, np.random.default_rng(6)).weight
    assert ((dropped == 0).sum(axis=1) >= 1).all()


@pytest.mark.truth("closed form: moments of the noise")
def test_noise_is_centred_and_even() -> None:
    grey = people(40)._replace(pictures=np.full((40, HEIGHT, WIDTH, 3), 128, np.uint8))
    made = Augmenter(only(noise=1.0), DENSE)(grey, np.random.default_rng(0)).pictures.astype(float) - 128
    assert np.abs(made.mean(axis=(1, 2, 3))).max() < 0.15
    spread = made.std(axis=(1, 2, 3))
    assert 1.3 < spread.min() < 2.5 and 7 < spread.max() < 10.5
    assert np.abs((made**3).mean(axis=(1, 2, 3)) / spread**3).max() < 0.1


def test_bad_settings_and_other_points_are_refused() -> None:
    for wrong in ({"flip": 1.5}, {"turn": -1.0}, {"scale": 0.5}, {"colours": 1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Augmentation.model_validate(wrong)
    with pytest.raises(CapbenchError, match="52 points of synthpose-52, got 17"):
        Augmenter(NOTHING, DENSE)(people(1, COCO), np.random.default_rng(0))
