"""Hypotheses placed by hand, hypotheses drawn as the truth was, and the definitions written out in loops."""

from __future__ import annotations

import math
import statistics
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.transform import Rotation

from metrics import catalogue
from metrics.arrays import MetricError
from metrics.hypotheses import (
    any_hypothesis,
    best_clip,
    best_joint,
    best_pose,
    calibration,
    mean_pose,
    reprojected_joint,
)

pytestmark = pytest.mark.filterwarnings("error")
NAN = float("nan")
SCORES = [best_pose, best_clip, best_joint, mean_pose, any_hypothesis]


def close(expected: float, rel: float = 1e-9, abs: float = 0.0):
    return pytest.approx(expected, rel=rel, abs=abs)


def planted(seed: int, count: int = 5, frames: int = 6, joints: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Hypotheses that scatter about the truth by 0.1 m on each axis."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(frames, joints, 3))
    return truth + rng.normal(scale=0.1, size=(count, frames, joints, 3)), truth


def chosen_by_picture(guesses: np.ndarray, truth: np.ndarray, **pixels: np.ndarray) -> float:
    return reprojected_joint(guesses, truth, **pixels).error


# ------------------------------------------------------------------ the modes, written out


def literal(mode: str, x: np.ndarray, g: np.ndarray) -> float:
    """Every mode from a list of distances; without missing points."""
    hypotheses, frames, joints = range(len(x)), range(len(g)), range(g.shape[1])
    d = {(h, t, j): math.dist(x[h, t, j], g[t, j]) for h in hypotheses for t in frames for j in joints}

    def pose(h: int, t: int) -> float:
        return statistics.fmean(d[h, t, j] for j in joints)

    if mode == "pose":
        return 1000 * statistics.fmean(min(pose(h, t) for h in hypotheses) for t in frames)
    if mode == "clip":
        return 1000 * min(statistics.fmean(pose(h, t) for t in frames) for h in hypotheses)
    if mode == "joint":
        return 1000 * statistics.fmean(min(d[h, t, j] for h in hypotheses) for t in frames for j in joints)
    if mode == "any":
        return 1000 * statistics.fmean(d.values())
    middle = [[[statistics.fmean(x[:, t, j, k]) for k in range(3)] for j in joints] for t in frames]
    return 1000 * statistics.fmean(math.dist(middle[t][j], g[t, j]) for t in frames for j in joints)


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("score", "mode"),
    [
        (best_pose, "pose"),
        (best_clip, "clip"),
        (best_joint, "joint"),
        (mean_pose, "mean"),
        (any_hypothesis, "any"),
    ],
)
def test_each_mode_is_what_it_says(score, mode, seed):
    guesses, truth = planted(seed, count=2 + seed)
    found = score(guesses, truth)
    assert found.error == close(literal(mode, guesses, truth))
    assert found.hypotheses == 2 + seed


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(5))
def test_the_picture_picks_the_nearest_projection(seed):
    guesses, truth = planted(seed)
    rng = np.random.default_rng(seed + 100)
    projected = rng.normal(scale=50, size=(5, 6, 4, 2))
    observed = rng.normal(scale=50, size=(6, 4, 2))
    errors = []
    for t in range(6):
        for j in range(4):
            misses = [math.dist(projected[h, t, j], observed[t, j]) for h in range(5)]
            errors.append(math.dist(guesses[misses.index(min(misses)), t, j], truth[t, j]))
    found = reprojected_joint(guesses, truth, projected=projected, observed=observed)
    assert found == pytest.approx((1000 * statistics.fmean(errors), 5), rel=1e-9)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("count", [1, 2, 5, 40])
@pytest.mark.parametrize("error", [0.0, 0.02, 0.5])
def test_hypotheses_that_agree_give_one_number(count, error):
    _, truth = planted(1)
    guesses = np.repeat((truth + np.array([error, 0, 0]))[None], count, axis=0)
    for score in SCORES:
        assert score(guesses, truth) == pytest.approx((1000 * error, count), abs=1e-9)
    pixels = {"projected": np.zeros((count, 6, 4, 2)), "observed": np.ones((6, 4, 2))}
    assert chosen_by_picture(guesses, truth, **pixels) == close(1000 * error, abs=1e-9)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("offset", [0.01, 0.3])
def test_opposite_errors_cancel_in_the_mean_pose_only(offset):
    _, truth = planted(2)
    guesses = truth + np.array([1.0, -1.0])[:, None, None, None] * np.array([0, offset, 0])
    assert mean_pose(guesses, truth).error == close(0, abs=1e-9)
    for score in (best_pose, best_clip, best_joint, any_hypothesis):
        assert score(guesses, truth).error == close(1000 * offset)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(("count", "frames", "joints"), [(2, 4, 2), (3, 6, 3), (4, 8, 4)])
def test_the_finer_the_choice_the_better_the_oracle(count, frames, joints):
    """Hypothesis h is right where (t + j) mod H = h, one joint of each frame as H = J, else 0.1 m off."""
    truth = np.zeros((frames, joints, 3))
    right = (np.arange(frames)[:, None] + np.arange(joints)) % count == np.arange(count)[:, None, None]
    guesses = np.where(right, 0.0, 0.1)[..., None] * np.array([1.0, 0, 0])
    assert best_joint(guesses, truth).error == close(0, abs=1e-12)
    assert best_pose(guesses, truth).error == close(100 * (1 - 1 / joints))
    assert best_clip(guesses, truth).error == close(100 * (1 - 1 / count))


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("seed", range(4))
def test_order_of_the_modes(seed):
    guesses, truth = planted(seed)
    joint, pose, clip, drawn, middle = (
        s(guesses, truth).error for s in (best_joint, best_pose, best_clip, any_hypothesis, mean_pose)
    )
    assert joint < pose < clip < drawn
    assert middle < drawn


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("seed", range(4))
def test_best_of_more_hypotheses_is_never_worse_though_the_model_is_the_same(seed):
    guesses, truth = planted(seed, count=64, frames=10)
    for score in (best_joint, best_pose, best_clip):
        errors = [score(guesses[:count], truth).error for count in (1, 2, 4, 16, 64)]
        assert errors == sorted(errors, reverse=True)
        assert errors[0] > 1.05 * errors[-1]
    drawn = [any_hypothesis(guesses[:count], truth).error for count in (16, 64)]
    assert drawn[0] == close(drawn[1], rel=0.05)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("count", [1, 3, 10])
def test_best_joint_of_gaussian_hypotheses_falls_as_order_statistics_say(count):
    """Expected minimum of H distances that are Maxwell distributed: ∫ (1 - F)^H."""
    rng = np.random.default_rng(count)
    guesses = rng.normal(scale=0.1, size=(count, 4000, 3, 3))
    grid = np.linspace(0, 8, 20001)
    expected = np.trapezoid(stats.maxwell.sf(grid) ** count, grid)
    assert best_joint(guesses, np.zeros((4000, 3, 3))).error == close(100 * expected, rel=0.01)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("score", SCORES)
def test_moves_units_and_orders(score, seed):
    guesses, truth = planted(seed)
    base = score(guesses, truth).error
    rng = np.random.default_rng(seed)
    rotation = Rotation.random(rng=rng).as_matrix()
    assert score(guesses @ rotation.T + 3, truth @ rotation.T + 3).error == close(base)
    assert score(2 * guesses, 2 * truth).error == close(2 * base)
    h, t, j = rng.permutation(5), rng.permutation(6), rng.permutation(4)
    assert score(guesses[h], truth).error == close(base)
    assert score(guesses[:, t], truth[t]).error == close(base)
    assert score(guesses[:, :, j], truth[:, j]).error == close(base)
    assert score(np.concatenate([guesses, guesses]), truth) == pytest.approx((base, 10), rel=1e-9)


# ------------------------------------------------------------------ missing points


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_true_point_that_is_missing_counts_for_nobody(axis):
    guesses, truth = planted(3)
    gap = truth.copy()
    gap[:, 2, axis] = NAN
    pixels = {"projected": guesses[..., :2], "observed": truth[..., :2]}
    without = {name: np.delete(array, 2, axis=-2) for name, array in pixels.items()}
    for score in SCORES:
        assert score(guesses, gap).error == close(
            score(np.delete(guesses, 2, axis=2), np.delete(truth, 2, axis=1)).error
        )
    assert chosen_by_picture(guesses, gap, **pixels) == close(
        chosen_by_picture(np.delete(guesses, 2, axis=2), np.delete(truth, 2, axis=1), **without)
    )


def test_a_hypothesis_without_the_point_is_not_chosen():
    truth = np.zeros((2, 2, 3))
    guesses = np.zeros((2, 2, 2, 3))
    guesses[1] += [0.1, 0, 0]  # hypothesis 0 is right wherever it is there
    guesses[0, 0, 1, 2] = NAN
    assert best_pose(guesses, truth) == pytest.approx((50.0, 2))  # frame 0 from hypothesis 1
    assert best_clip(guesses, truth) == pytest.approx((100.0, 2))
    assert best_joint(guesses, truth) == pytest.approx((25.0, 2))
    assert mean_pose(guesses, truth) == pytest.approx(((3 * 50 + 100) / 4, 2))
    assert any_hypothesis(guesses, truth) == pytest.approx((400 / 7, 2))
    # hypothesis 0 has the nearer projection everywhere
    projected = np.zeros((2, 2, 2, 2))
    projected[1] = 5
    found = reprojected_joint(guesses, truth, projected=projected, observed=np.zeros((2, 2, 2)))
    assert found == pytest.approx((25.0, 2))


def test_frames_weigh_by_their_points():
    truth = np.zeros((2, 3, 3))
    truth[1, 1:] = NAN
    guesses = np.zeros((2, 2, 3, 3))
    guesses[:, 0] += [0.1, 0, 0]
    guesses[:, 1] += [0.5, 0, 0]
    for score in SCORES:
        assert score(guesses, truth).error == close((3 * 100 + 500) / 4)


@pytest.mark.parametrize("score", SCORES)
def test_a_point_that_every_hypothesis_lacks_counts_for_nobody(score):
    guesses, truth = planted(4)
    guesses[:, 3] = NAN
    guesses[:, 1, 2, 0] = NAN
    short = truth.copy()
    short[3] = NAN
    short[1, 2] = NAN
    assert score(guesses, truth).error == close(score(planted(4)[0], short).error)


def test_clips_of_which_every_hypothesis_lacks_a_different_point():
    guesses, truth = planted(5, count=2)
    guesses[0, 0, 0] = NAN
    guesses[1, 1, 1] = NAN
    assert math.isnan(best_clip(guesses, truth).error)
    assert best_pose(guesses, truth).error > 0
    guesses[1, 0, 1] = NAN  # now frame 0 has no whole pose either, and the other frames stay
    lone = truth.copy()
    lone[0] = NAN
    assert best_pose(guesses, truth).error == close(best_pose(guesses, lone).error)


def test_nothing_is_chosen_where_nothing_is_seen():
    guesses, truth = planted(6)
    projected, observed = guesses[..., :2].copy(), truth[..., :2].copy()
    observed[0, :, 1] = NAN
    blind = truth.copy()
    blind[0] = NAN
    assert chosen_by_picture(guesses, truth, projected=projected, observed=observed) == close(
        chosen_by_picture(guesses, blind, projected=projected, observed=truth[..., :2])
    )
    projected[2, :, :, 0] = NAN  # a hypothesis without projections is out
    rest = [0, 1, 3, 4]
    assert chosen_by_picture(guesses, truth, projected=projected, observed=truth[..., :2]) == close(
        chosen_by_picture(guesses[rest], truth, projected=projected[rest], observed=truth[..., :2])
    )


def test_ties_go_to_the_first_hypothesis():
    truth = np.zeros((1, 1, 3))
    guesses = np.array([0.03, 0.01, 0.02]).reshape(3, 1, 1, 1) * np.array([0, 0, 1.0])
    projected = np.array([[3.0, 4], [0, 5], [5, 0]]).reshape(3, 1, 1, 2)
    assert chosen_by_picture(guesses, truth, projected=projected, observed=np.zeros((1, 1, 2))) == close(30)


@pytest.mark.parametrize("shape", [(0, 4, 3), (5, 0, 3)])
def test_nothing_to_score(shape):
    for score in SCORES:
        found = score(np.zeros((2, *shape)), np.zeros(shape))
        assert math.isnan(found.error)
        assert found.hypotheses == 2
    pixels = {"projected": np.zeros((2, *shape[:2], 2)), "observed": np.zeros((*shape[:2], 2))}
    assert math.isnan(chosen_by_picture(np.zeros((2, *shape)), np.zeros(shape), **pixels))
    assert math.isnan(calibration(np.zeros((2, *shape)), np.zeros(shape)).score)


def test_everything_missing():
    guesses, truth = planted(7)
    for score in SCORES:
        assert math.isnan(score(np.full_like(guesses, NAN), truth).error)
        assert math.isnan(score(guesses, np.full_like(truth, NAN)).error)
    found = calibration(guesses, np.full_like(truth, NAN))
    assert math.isnan(found.score)
    assert math.isnan(found.overconfidence)
    assert np.isnan(found.frequencies).tolist() == [True] * 21


# ------------------------------------------------------------------ calibration


def literal_calibration(x: np.ndarray, g: np.ndarray) -> tuple[float, float, list[float]]:
    """As the published code does it, one joint, frame and quantile at a time."""
    frequencies = []
    for step in range(21):
        shares = []
        for j in range(g.shape[1]):
            hits = []
            for t in range(len(g)):
                if np.isnan(x[:, t, j]).any() or np.isnan(g[t, j]).any():
                    continue
                middle = [statistics.median(x[:, t, j, k]) for k in range(3)]
                spread = sorted(math.dist(guess, middle) for guess in x[:, t, j])
                place = (len(spread) - 1) * step / 20
                low = int(place)
                high = min(low + 1, len(spread) - 1)
                quantile = spread[low] + (place - low) * (spread[high] - spread[low])
                hits.append(quantile > math.dist(g[t, j], middle))
            if hits:
                shares.append(statistics.fmean(hits))
        frequencies.append(statistics.median(shares))
    gaps = [step / 20 - f for step, f in enumerate(frequencies)]
    return statistics.fmean(abs(gap) for gap in gaps), statistics.fmean(gaps), frequencies


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize(("count", "joints"), [(1, 2), (2, 3), (7, 4), (10, 5), (21, 1)])
def test_calibration_is_what_it_says(count, joints, missing):
    rng = np.random.default_rng(count)
    truth = rng.normal(scale=0.15, size=(13, joints, 3))
    guesses = rng.normal(scale=0.1, size=(count, 13, joints, 3)) * np.linspace(0.5, 3, joints)[:, None]
    if missing:
        truth[2, 0, 1] = NAN
        guesses[0, 5, -1] = NAN
        guesses[-1, :, 1 % joints, 2] = NAN if joints > 1 else guesses[-1, :, 0, 2]
    found = calibration(guesses, truth)
    score, signed, frequencies = literal_calibration(guesses, truth)
    assert found.score == close(score)
    assert found.overconfidence == close(signed, abs=1e-12)
    assert found.frequencies == pytest.approx(frequencies, rel=1e-12)
    assert found.quantiles == pytest.approx([step / 20 for step in range(21)], rel=1e-12)
    assert found.hypotheses == count


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("count", [1, 2, 5, 50])
def test_collapsed_hypotheses_are_half_off(count):
    truth = np.random.default_rng(0).normal(size=(30, 3, 3))
    found = calibration(np.zeros((count, 30, 3, 3)), truth)
    assert found.score == close(0.5)
    assert found.overconfidence == close(0.5)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("count", [8, 9])
def test_hypotheses_far_around_a_truth_they_all_miss_are_half_off_too(count):
    """On a ring about the truth: every quantile, even 0, is further than the truth."""
    angle = 2 * np.pi * np.arange(8) / 8
    ring = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=-1)
    if count == 9:
        ring = np.concatenate([ring, [[0, 0, 1.0]]])
    found = calibration(np.tile(ring[:, None, None], (1, 4, 2, 1)), np.zeros((4, 2, 3)))
    assert found.score == close(0.5)
    assert found.overconfidence == close(-0.5)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("scale", [0.001, 1.0])
def test_truth_drawn_as_the_hypotheses_were_is_calibrated(scale):
    rng = np.random.default_rng(5)
    draws = scale * rng.normal(size=(101, 1500, 3, 3))
    found = calibration(draws[1:], draws[0])
    assert found.score < 0.02
    assert abs(found.overconfidence) < 0.02


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("ratio", [0.25, 0.5, 2.0])
def test_spread_of_the_wrong_size(ratio):
    """With many hypotheses the share at q is F(ratio · F⁻¹(q)), F being the Maxwell distribution."""
    rng = np.random.default_rng(6)
    found = calibration(rng.normal(scale=ratio, size=(200, 1500, 3, 3)), rng.normal(size=(1500, 3, 3)))
    quantiles = np.arange(20) / 20
    expected = [*stats.maxwell.cdf(ratio * stats.maxwell.ppf(quantiles))]
    assert found.frequencies[:20] == pytest.approx(expected, abs=0.05)
    assert math.copysign(1, found.overconfidence) == (1 if ratio < 1 else -1)
    assert found.score == close(abs(found.overconfidence), abs=0.01)
    assert found.score > 0.15


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("seed", range(3))
def test_calibration_knows_no_unit_place_or_order(seed):
    guesses, truth = planted(seed, count=9, frames=20)
    base = calibration(guesses, truth).score
    rng = np.random.default_rng(seed)
    h, t, j = rng.permutation(9), rng.permutation(20), rng.permutation(4)
    assert calibration(4 * guesses + 1, 4 * truth + 1).score == close(base)
    assert calibration(guesses[..., [2, 0, 1]], truth[..., [2, 0, 1]]).score == close(base)
    assert calibration(guesses[h][:, t][:, :, j], truth[t][:, j]).score == close(base)


def test_as_near_as_the_quantile_is_not_nearer():
    # three hypotheses at 0, 1 and -1 about the median 0: distances 0, 1, 1; the truth is at 1
    guesses = np.array([0.0, 1.0, -1.0]).reshape(3, 1, 1, 1) * np.array([1.0, 0, 0])
    found = calibration(guesses, np.array([[[1.0, 0, 0]]]))
    assert found.frequencies.tolist() == [0.0] * 21
    nearer = calibration(guesses, np.array([[[0.999, 0, 0]]])).frequencies
    assert nearer.tolist() == [0.0] * 10 + [1.0] * 11


def test_each_result_has_quantiles_of_its_own():
    first = calibration(*planted(0))
    with pytest.raises(FrozenInstanceError):
        first.score = 0.0
    first.quantiles[:] = 7
    assert calibration(*planted(0)).quantiles[-1] == 1


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize("score", [*SCORES, calibration])
def test_shapes_that_do_not_fit(score):
    with pytest.raises(MetricError, match="hypotheses with 4 axes"):
        score(np.zeros((5, 4, 3)), np.zeros((5, 4, 3)))
    with pytest.raises(MetricError, match="3 entries on the last axis of hypotheses"):
        score(np.zeros((2, 5, 4, 2)), np.zeros((5, 4, 3)))
    with pytest.raises(MetricError, match="reference with 3 axes"):
        score(np.zeros((2, 5, 4, 3)), np.zeros((1, 5, 4, 3)))
    with pytest.raises(MetricError, match="3 entries on the last axis of reference"):
        score(np.zeros((2, 5, 4, 3)), np.zeros((5, 4, 2)))
    with pytest.raises(MetricError, match=r"as the reference \(5, 4, 3\), got \(2, 5, 1, 3\)"):
        score(np.zeros((2, 5, 1, 3)), np.zeros((5, 4, 3)))
    with pytest.raises(MetricError, match="at least one hypothesis"):
        score(np.zeros((0, 5, 4, 3)), np.zeros((5, 4, 3)))


@pytest.mark.parametrize(
    ("projected", "observed"),
    [((2, 5, 4, 3), (5, 4, 3)), ((1, 5, 4, 2), (5, 4, 2)), ((2, 5, 4, 2), (5, 1, 2))],
)
def test_pixels_that_do_not_fit(projected, observed):
    with pytest.raises(MetricError, match=r"projected \(2, 5, 4, 2\) and observed \(5, 4, 2\), got"):
        reprojected_joint(
            np.zeros((2, 5, 4, 3)),
            np.zeros((5, 4, 3)),
            projected=np.zeros(projected),
            observed=np.zeros(observed),
        )


# ------------------------------------------------------------------ cards


@pytest.mark.parametrize(
    ("name", "unit", "direction", "merge", "part", "function"),
    [
        ("P-Best·frame", "mm", "lower", "trials", "error", best_pose),
        ("P-Best·clip", "mm", "lower", "trials", "error", best_clip),
        ("J-Best", "mm", "lower", "trials", "error", best_joint),
        ("P-Agg", "mm", "lower", "trials", "error", mean_pose),
        ("J-Agg", "mm", "lower", "trials", "error", reprojected_joint),
        ("MPJPE·any hypothesis", "mm", "lower", "trials", "error", any_hypothesis),
        ("calibration·cGNF", "1", "lower", "samples", "score", calibration),
        ("overconfidence·cGNF", "1", "zero", "samples", "overconfidence", calibration),
    ],
)
def test_cards(name, unit, direction, merge, part, function):
    card = catalogue._cards[name]
    assert (card.unit, card.direction, card.merge, card.part) == (unit, direction, merge, part)
    assert card.needs == ("reference", "hypotheses")
    assert card.function is function
    assert not card.fixed
    warns = "oracle: uses the truth to choose" in card.definition
    assert warns == ("Best" in name)
    guesses, truth = planted(0)
    options = {"projected": guesses[..., :2], "observed": truth[..., :2]} if name == "J-Agg" else {}
    assert card(guesses, truth, **options) == getattr(function(guesses, truth, **options), part)
