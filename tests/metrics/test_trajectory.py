"""Walks whose drift is planted, and slow alignments by scipy to hold the fast one to."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from metrics import catalogue, trajectory
from metrics.arrays import MetricError
from metrics.trajectory import drift, root_translation_error, world_mpjpe

pytestmark = pytest.mark.filterwarnings("error")
NAN = float("nan")
BODY = np.array([[0, 1, 0], [0.1, 0.5, 0], [-0.1, 0.5, 0.1], [0, 1.6, -0.05]])


def close(expected: float, rel: float = 1e-9, abs: float = 0.0):
    return pytest.approx(expected, rel=rel, abs=abs)


def turned(seed: int) -> np.ndarray:
    return Rotation.random(rng=np.random.default_rng(seed)).as_matrix()


def walk(frames: int, seed: int = 0) -> np.ndarray:
    """Joints (frames, 4, 3) of a body that walks along a curve and wobbles."""
    rng = np.random.default_rng(seed)
    path = np.stack([0.04 * np.arange(frames), np.zeros(frames), np.sin(np.arange(frames) / 9)], axis=-1)
    return BODY + path[:, None] + rng.normal(scale=0.02, size=(frames, 4, 3))


def literal(p: np.ndarray, g: np.ndarray, *, first_two: bool, scale: bool, chunk: int) -> float:
    """Frame by frame, with scipy's solution of Wahba's problem for the rotation."""
    errors = []
    valid = [t for t in range(len(p)) if np.isfinite(p[t] + g[t]).all(axis=-1).any()]
    while valid:
        frames, valid = valid[:chunk], valid[chunk:]
        pairs = [
            (p[t, j], g[t, j])
            for t in frames
            for j in range(p.shape[1])
            if np.isfinite(p[t, j] + g[t, j]).all()
        ]
        used = [
            (p[t, j], g[t, j])
            for t in (frames[:2] if first_two else frames)
            for j in range(p.shape[1])
            if np.isfinite(p[t, j] + g[t, j]).all()
        ]
        x, y = (np.array(side) for side in zip(*used, strict=True))
        rotation = Rotation.align_vectors(y - y.mean(0), x - x.mean(0))[0]
        rotated = rotation.apply(x - x.mean(0))
        # the best scale for a given rotation is that of a straight line through zero
        factor = float((rotated * (y - y.mean(0))).sum() / (rotated**2).sum()) if scale else 1.0
        errors += [math.dist(factor * rotation.apply(a - x.mean(0)) + y.mean(0), b) for a, b in pairs]
    return 1000 * sum(errors) / len(errors)


# ------------------------------------------------------------------ W-MPJPE and WA-MPJPE


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("first_two", [True, False])
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize(
    ("frames", "chunk"), [(20, 100), (20, 10), (23, 10), (21, 10), (7, 3), (5, 1), (6, 2)]
)
def test_chunks_are_aligned_as_defined(frames, chunk, scale, first_two):
    g = walk(frames, 1)
    p = (
        0.8 * walk(frames, 2) @ turned(3).T
        + [3.0, -1.0, 0.4]
        + 0.002 * np.arange(frames)[:, None, None] ** 1.5
    )
    found = world_mpjpe(p, g, align="first two" if first_two else "all", scale=scale, chunk=chunk)
    assert found == close(literal(p, g, first_two=first_two, scale=scale, chunk=chunk))


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("align", ["first two", "all"])
@pytest.mark.parametrize("seed", range(5))
def test_missing_points_and_frames(seed, align):
    rng = np.random.default_rng(seed)
    g, p = walk(25, seed), 1.1 * walk(25, seed + 9) @ turned(seed).T
    p[[0, 4, 9 + seed]] = NAN  # whole frames, which are taken out before cutting into chunks
    g[[5, 24 - seed]] = NAN
    p[rng.integers(0, 25, 6), rng.integers(1, 4, 6), rng.integers(0, 3, 6)] = NAN
    g[7, 2, 1] = g[6, 0, 0] = NAN
    found = world_mpjpe(p, g, align=align, chunk=10)
    assert found == close(literal(p, g, first_two=align == "first two", scale=True, chunk=10))


@pytest.mark.truth("scipy")
@pytest.mark.parametrize("seed", range(3))
def test_the_fit_is_the_least_squares_one(seed):
    """A general optimiser finds no better move; it says what sum of squares the best one leaves."""
    g = walk(4, seed)
    p = 0.7 * walk(4, seed + 5) @ turned(seed).T + [0.2, 1.0, -2.0]

    def residual(x: np.ndarray) -> np.ndarray:
        return (
            x[6] * Rotation.from_rotvec(x[:3]).apply(p.reshape(-1, 3)) + x[3:6] - g.reshape(-1, 3)
        ).ravel()

    starts = [[*Rotation.random(rng=np.random.default_rng(k)).as_rotvec(), 0, 0, 0, 1.0] for k in range(4)]
    best = min(
        (least_squares(residual, x, jac="3-point", xtol=1e-15, ftol=1e-15, gtol=1e-15) for x in starts),
        key=lambda r: r.cost,
    )
    expected = 1000 * np.linalg.norm(best.fun.reshape(-1, 3), axis=1).mean()
    assert world_mpjpe(p, g, align="all") == close(expected)
    assert best.x[6] > 0


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("frames", [10, 100, 101, 150, 200])
@pytest.mark.parametrize("step", [0.001, 0.02])
def test_a_planted_drift_restarts_with_every_chunk(frames, step):
    """A body stands while the prediction slides ``step`` a frame: the first two frames fit to half a step."""
    g = np.repeat(BODY[None], frames, axis=0)
    p = g + step * np.arange(frames)[:, None, None] * np.array([0, 0.6, 0.8])
    # rotation: the slide within the first two frames is the same for all joints, so it turns nothing
    expected = np.abs(np.arange(frames) % 100 - 0.5)
    if frames % 100 == 1:
        expected[-1] = 0.0  # a last chunk of one frame is fitted to itself
    found = world_mpjpe(p, g, align="first two", scale=False)
    assert found == close(1000 * step * expected.mean())


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("align", ["first two", "all"])
@pytest.mark.parametrize("seed", range(4))
def test_a_world_of_ones_own_costs_nothing(seed, align):
    g = walk(30, seed)
    rigid = g @ turned(seed).T + [10.0, 2.0, -5.0]
    assert world_mpjpe(rigid, g, align=align, scale=False, chunk=10) == close(0, abs=1e-9)
    assert world_mpjpe(3 * rigid, g, align=align, scale=True, chunk=10) == close(0, abs=1e-9)
    assert world_mpjpe(3 * rigid, g, align=align, scale=False, chunk=10) > 100
    mirrored = g * [1, 1, -1]
    assert world_mpjpe(mirrored, g, align=align, chunk=10) > 10


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("align", ["first two", "all"])
def test_where_prediction_and_truth_live_does_not_matter(align, scale):
    p, g = walk(26, 3), walk(26, 4)
    base = world_mpjpe(p, g, align=align, scale=scale, chunk=8)
    options = {"align": align, "scale": scale, "chunk": 8}
    assert world_mpjpe(p @ turned(1).T + [1, 2, 3], g, **options) == close(base)
    assert world_mpjpe(p, g @ turned(2).T - [4, 0, 9], **options) == close(base)
    order = [2, 0, 3, 1]
    assert world_mpjpe(p[:, order], g[:, order], **options) == close(base)
    assert world_mpjpe(2.5 * p, 2.5 * g, **options) == close(2.5 * base)
    if scale:
        assert world_mpjpe(0.3 * p, g, **options) == close(base)
    if align == "all":
        assert world_mpjpe(p[:24][::-1], g[:24][::-1], **options) == close(
            world_mpjpe(p[:24], g[:24], **options)
        )


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("chunk", [3, 10])
def test_chunks_are_scored_apart_and_averaged_by_their_frames(chunk):
    p, g = walk(23, 6), walk(23, 7)
    for align in ("first two", "all"):
        whole = world_mpjpe(p, g, align=align, chunk=chunk)
        parts = [slice(k, k + chunk) for k in range(0, 23, chunk)]
        sums = [world_mpjpe(p[s], g[s], align=align, chunk=chunk) * len(g[s]) for s in parts]
        assert whole == close(sum(sums) / 23)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("seed", range(3))
def test_frames_without_a_common_point_might_as_well_not_be_there(seed):
    p, g = walk(24, seed), walk(24, seed + 30)
    lost = np.random.default_rng(seed).choice(24, 7, replace=False)
    q, h = p.copy(), g.copy()
    q[lost[:4]] = NAN
    h[lost[4:]] = NAN
    kept = np.setdiff1d(np.arange(24), lost)
    for align in ("first two", "all"):
        assert world_mpjpe(q, h, align=align, chunk=5) == world_mpjpe(p[kept], g[kept], align=align, chunk=5)


def test_published_defaults():
    p, g = walk(230, 1) * 0.9, walk(230, 2)
    assert trajectory.CHUNK == 100
    for align in ("first two", "all"):
        default = world_mpjpe(p, g, align=align)
        assert default == world_mpjpe(p, g, align=align, scale=True, chunk=100)
        assert default != world_mpjpe(p, g, align=align, chunk=101)
        assert default != world_mpjpe(p, g, align=align, chunk=99)
        assert default != world_mpjpe(p, g, align=align, scale=False)
    assert world_mpjpe(p, g, align="first two") > world_mpjpe(p, g, align="all")


@pytest.mark.parametrize("scale", [True, False])
def test_a_line_of_points_fixes_no_rotation(scale):
    g = np.zeros((5, 4, 3))
    g[..., 0] = np.arange(4)
    assert math.isnan(world_mpjpe(g, g, align="first two", scale=scale))
    assert world_mpjpe(g, g, align="all", scale=scale) == close(0, abs=1e-9)
    path = walk(30)[:, :1]  # one joint: two points in the first two frames
    assert math.isnan(world_mpjpe(path, path, align="first two", scale=scale))
    assert world_mpjpe(path, path, align="all", scale=scale) == close(0, abs=1e-9)


@pytest.mark.parametrize(("ratio", "fixed"), [(0.98e-10, False), (1.02e-10, True), (1e-4, True)])
@pytest.mark.parametrize("far", [0.0, 3.0])
def test_nearly_a_line(ratio, fixed, far):
    cross = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]]) * [1, math.sqrt(ratio), 1]
    g = np.repeat(cross[None], 3, axis=0)
    assert math.isnan(world_mpjpe(g + far, g, align="first two")) is not fixed
    assert math.isnan(world_mpjpe(g, g + far, align="first two")) is not fixed


@pytest.mark.parametrize("align", ["first two", "all"])
def test_one_chunk_that_cannot_be_fitted_leaves_no_number(align):
    g = walk(20)
    p = g.copy()
    assert world_mpjpe(p, g, align=align, chunk=10) == close(0, abs=1e-9)
    p[10:12, 1:] = NAN  # one point in each of the first two frames of the second chunk
    assert math.isnan(world_mpjpe(p, g, align="first two", chunk=10))
    p[12:, 1:] = NAN
    p[12:] = NAN
    assert math.isnan(world_mpjpe(p, g, align=align, chunk=10))


@pytest.mark.parametrize("align", ["first two", "all"])
@pytest.mark.parametrize("shape", [(0, 4, 3), (5, 0, 3), (5, 4, 3)])
def test_nothing_to_score(shape, align):
    g = np.zeros(shape)
    assert math.isnan(world_mpjpe(np.full(shape, NAN), g, align=align))
    if 0 in shape:
        assert math.isnan(world_mpjpe(g, g, align=align))


def test_a_collapsed_prediction_has_no_heading():
    g = walk(6)
    assert math.isnan(world_mpjpe(0 * g, g, align="first two"))
    centre = g.reshape(-1, 3).mean(axis=0)
    expected = 1000 * np.linalg.norm(g - centre, axis=-1).mean()
    assert world_mpjpe(0 * g, g, align="all") == close(expected)


# ------------------------------------------------------------------ root translation


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(6))
def test_rte_as_published(seed):
    g = walk(40, seed)[:, 0]
    p = 1.2 * walk(40, seed + 3)[:, 0] @ turned(seed).T + [1.0, 0, 2.0]
    centred = p - p.mean(0)
    rotation = Rotation.align_vectors(g - g.mean(0), centred)[0]
    errors = [math.dist(rotation.apply(a) + g.mean(0), b) for a, b in zip(centred, g, strict=True)]
    path = sum(math.dist(a, b) for a, b in pairwise(g))
    assert root_translation_error(p, g) == close(100 * sum(errors) / 40 / path)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 1.5])
@pytest.mark.parametrize("frames", [3, 4, 11, 50])
def test_a_straight_walk_of_the_wrong_length(factor, frames):
    # both about their middle: |factor - 1| times the mean distance from the middle, over (frames - 1) steps
    g = np.arange(frames)[:, None] * np.array([0.3, 0.4, 0.0])
    p = factor * np.arange(frames)[:, None] * np.array([0.0, -0.3, 0.4]) + [9.0, 9.0, 9.0]
    middle = np.abs(np.arange(frames) - (frames - 1) / 2).mean()
    assert root_translation_error(p, g) == close(100 * abs(factor - 1) * middle / (frames - 1), abs=1e-9)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("radius", [1.0, 5.0])
@pytest.mark.parametrize("factor", [0.9, 1.25])
def test_a_round_walk_of_the_wrong_size(radius, factor):
    angle = np.linspace(0, 2 * np.pi, 361)[:-1]
    g = radius * np.stack([np.cos(angle), 0 * angle, np.sin(angle)], axis=-1)
    p = factor * g @ turned(4).T + 7
    path = 359 * 2 * radius * math.sin(math.pi / 360)  # chords; the circle isn't closed
    assert root_translation_error(p, g) == close(100 * radius * abs(factor - 1) / path)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("gain", [0.8, 1.1])
@pytest.mark.parametrize("heading", [0.0, 0.2, math.pi])
def test_drift_of_a_walk_of_the_wrong_length_and_heading(gain, heading):
    g = np.arange(6)[:, None] * np.array([0.5, 0, 0])
    p = gain * g @ Rotation.from_rotvec([0, heading, 0]).as_matrix().T + [4.0, 1.0, 2.0]
    # law of cosines on two sides, gain and 1, of a triangle
    expected = 1000 * math.sqrt(gain**2 + 1 - 2 * gain * math.cos(heading))
    assert drift(p, g) == close(expected)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("seed", range(4))
def test_roots_in_other_worlds_units_and_order(seed):
    p, g = walk(30, seed)[:, 0], walk(30, seed + 7)[:, 0]
    r = turned(seed)
    for score in (root_translation_error, drift):
        base = score(p, g)
        assert score(p @ r.T, g @ r.T) == close(base)
        assert score(p[::-1], g[::-1]) == close(base)
        assert score(p + 5, g - 3) == close(base)
        assert score(3 * p, 3 * g) == close(base)
    assert root_translation_error(p @ r.T, g) == close(root_translation_error(p, g))


def test_a_turn_of_the_whole_world_is_drift_but_no_rte():
    g = walk(30)[:, 0]
    p = g @ Rotation.from_rotvec([0, 0.3, 0]).as_matrix().T
    assert root_translation_error(p, g) == close(0, abs=1e-9)
    assert drift(p, g) > 100


def test_only_frames_that_both_have_count():
    p, g = walk(12, 1)[:, 0], walk(12, 2)[:, 0]
    q, h = p.copy(), g.copy()
    q[[0, 6]] = NAN
    h[[5, 11], 1] = NAN
    kept = [1, 2, 3, 4, 7, 8, 9, 10]
    for score in (root_translation_error, drift):
        assert score(q, h) == score(p[kept], g[kept]) != score(p, g)


@pytest.mark.parametrize("score", [root_translation_error, drift])
def test_someone_who_stays_has_no_share_of_a_path(score):
    p = walk(9)[:, 0]
    assert math.isnan(score(p, np.ones((9, 3))))
    assert math.isnan(score(p[:1], p[:1]))
    assert math.isnan(score(p[:0], p[:0]))
    assert math.isnan(score(np.full((9, 3), NAN), p))


def test_two_frames_have_a_drift_but_fix_no_path():
    g = np.array([[0.0, 0, 0], [2, 0, 0]])
    assert drift(0 * g, g) == close(1000)
    assert math.isnan(root_translation_error(0 * g, g))


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize("shape", [(5, 3), (5, 4, 2), (2, 5, 4, 3)])
def test_joints_have_three_axes(shape):
    with pytest.raises(MetricError, match=r"joints \(frames, joints, 3\), got shape"):
        world_mpjpe(np.zeros(shape), np.zeros(shape), align="all")


def test_shapes_have_to_agree():
    with pytest.raises(MetricError, match="predicted and reference of one shape"):
        world_mpjpe(np.zeros((5, 4, 3)), np.zeros((4, 4, 3)), align="all")
    for score in (root_translation_error, drift):
        with pytest.raises(MetricError, match="predicted and reference of one shape"):
            score(np.zeros((5, 3)), np.zeros((4, 3)))
        with pytest.raises(MetricError, match="predicted with 2 axes"):
            score(np.zeros((5, 1, 3)), np.zeros((5, 1, 3)))
        with pytest.raises(MetricError, match="3 entries on the last axis of predicted"):
            score(np.zeros((5, 2)), np.zeros((5, 2)))


@pytest.mark.parametrize("align", ["first", "none", ""])
def test_what_a_chunk_is_aligned_to_is_named(align):
    with pytest.raises(MetricError, match="align 'first two' or 'all'"):
        world_mpjpe(np.zeros((5, 4, 3)), np.zeros((5, 4, 3)), align=align)


@pytest.mark.parametrize("chunk", [0, -1, 10.0, True, None])
def test_a_chunk_is_a_number_of_frames(chunk):
    with pytest.raises(MetricError, match="chunk as a whole number of frames from 1"):
        world_mpjpe(np.zeros((5, 4, 3)), np.zeros((5, 4, 3)), align="all", chunk=chunk)


# ------------------------------------------------------------------ cards


@pytest.mark.parametrize("kind", ["similarity", "rigid"])
@pytest.mark.parametrize(("short", "align"), [("W", "first two"), ("WA", "all")])
def test_cards_of_joints(short, align, kind):
    card = catalogue._cards[f"{short}-MPJPE@100·{kind}"]
    assert dict(card.fixed) == {"align": align, "scale": kind == "similarity", "chunk": 100}
    assert (card.unit, card.direction, card.needs, card.merge) == ("mm", "lower", ("reference",), "trials")
    p, g = walk(120, 1), walk(120, 2)
    assert card(p, g) == world_mpjpe(p, g, align=align, scale=kind == "similarity", chunk=100)


@pytest.mark.parametrize(
    ("name", "unit", "score"), [("RTE·rigid", "%", root_translation_error), ("drift·mm/m", "mm/m", drift)]
)
def test_cards_of_roots(name, unit, score):
    card = catalogue._cards[name]
    assert (card.unit, card.direction, card.needs, card.merge) == (unit, "lower", ("reference",), "trials")
    assert card.function is score
    assert not card.fixed


def test_joints_missing_from_the_head_of_one_chunk_are_not_missing_from_another() -> None:
    random = np.random.default_rng(4)
    g = random.normal(size=(200, 4, 3))
    p = g.copy()
    p[:2, :2] = NAN
    p[100:102, 2:] = NAN
    assert world_mpjpe(p, g, align="first two") == pytest.approx(0.0, abs=1e-9)
