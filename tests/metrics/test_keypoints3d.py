"""Joint errors against loops that follow the definitions, and against figures worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.spatial.transform import Rotation

from metrics import catalogue, keypoints3d
from metrics.arrays import MetricError
from metrics.keypoints3d import auc3d, auc3d_trapezoid, joint_errors, mpjpe, mpjve, pck3d, root_of

pytestmark = pytest.mark.filterwarnings("error")
NAN = float("nan")
NAMES = ("pelvis", "r_hip", "l_hip", "r_knee", "l_knee", "head")
ALIGNS = ("none", "root", "scale", "rigid", "similarity")


def close(expected, rel: float = 1e-9, abs: float = 0.0):
    return pytest.approx(expected, rel=rel, abs=abs)


def poses(seed: int, frames: int = 12, noise: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = rng.normal(scale=0.4, size=(frames, len(NAMES), 3))
    turn = Rotation.random(rng=rng).as_matrix()
    return 1.1 * (true + rng.normal(scale=noise, size=true.shape)) @ turn.T + [0.3, 0, -0.2], true


def with_root(align: str) -> dict[str, object]:
    return {"align": align} | ({"root": "pelvis"} if align in ("root", "scale") else {})


def moved(x: np.ndarray, shift) -> np.ndarray:
    return x + np.asarray(shift)


def slow(p: np.ndarray, g: np.ndarray, align: str, root=(0,)) -> list[list[float]]:
    """Joint by joint, in mm."""
    frames = []
    for x, y in zip(p, g, strict=True):
        if align in ("root", "scale"):
            x = x - sum(x[k] for k in root) / len(root)
            y = y - sum(y[k] for k in root) / len(root)
        if align == "scale":
            both = [k for k in range(len(x)) if np.isfinite(x[k] + y[k]).all()]
            x = x * sum(x[k] @ y[k] for k in both) / sum(x[k] @ x[k] for k in both)
        if align in ("rigid", "similarity"):
            a, b = x - x.mean(axis=0), y - y.mean(axis=0)
            a = Rotation.align_vectors(b, a)[0].apply(a)
            if align == "similarity":
                a = a * (a * b).sum() / (a * a).sum()
            x, y = a, b
        frames.append([1000 * math.dist(u, v) for u, v in zip(x, y, strict=True)])
    return frames


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("align", ALIGNS)
def test_errors_joint_by_joint(align, seed):
    p, g = poses(seed)
    wanted = np.array(slow(p, g, align))
    errors = joint_errors(p, g, joints=NAMES, **with_root(align))
    np.testing.assert_allclose(errors, wanted, rtol=1e-9, atol=1e-9)
    score = mpjpe(p, g, joints=NAMES, **with_root(align))
    assert score.value == close(float(np.mean(wanted)))
    assert score.per_joint == close(wanted.mean(axis=0), abs=1e-9)
    assert (score.count, score.missing) == (72, 0)
    assert (score.align, score.joints) == (align, NAMES)
    assert score.root == (("pelvis",) if align in ("root", "scale") else ())


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("align", "wanted"),
    [("none", 1300.0), ("root", 0.0), ("scale", 0.0), ("rigid", 0.0), ("similarity", 0.0)],
)
def test_a_shift_is_seen_by_world_errors_only(align, wanted):
    _, g = poses(1)
    p = moved(g, [0.3, -0.4, 1.2])
    assert mpjpe(p, g, joints=NAMES, **with_root(align)).value == close(wanted, abs=1e-9)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("factor", [0.5, 1.25, 2.0])
def test_a_factor_is_undone_by_scale_and_similarity(factor):
    _, g = poses(1)
    size = np.linalg.norm(g - g[:, :1], axis=-1).mean() * 1000
    for align, wanted in (("root", abs(factor - 1) * size), ("scale", 0.0), ("similarity", 0.0)):
        assert mpjpe(factor * g, g, joints=NAMES, **with_root(align)).value == close(wanted, abs=1e-9)
    spread = np.linalg.norm(g - g.mean(axis=1, keepdims=True), axis=-1).mean() * 1000
    assert mpjpe(factor * g, g, align="rigid").value == close(abs(factor - 1) * spread)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("angle", [0.1, 1.0, np.pi / 2, 3.0])
def test_a_turn_is_undone_by_rigid_and_similarity(angle):
    """A joint at distance r from the axis is off by 2·r·sin(angle/2)."""
    _, g = poses(1)
    g = g - g[:, :1]
    turn = Rotation.from_rotvec([0, 0, angle]).as_matrix()
    off = 2000 * np.sin(angle / 2) * np.hypot(g[..., 0], g[..., 1])
    np.testing.assert_allclose(joint_errors(g @ turn.T, g, align="root", root=0), off, rtol=1e-9, atol=1e-9)
    for align in ("rigid", "similarity"):
        assert mpjpe(g @ turn.T, g, align=align).value == close(0, abs=1e-9)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("seed", range(4))
def test_each_freedom_can_only_lower_the_squares(seed):
    p, g = poses(seed, noise=0.2)
    squares = {a: (joint_errors(p, g, joints=NAMES, **with_root(a)) ** 2).sum() for a in ALIGNS}
    assert squares["scale"] < squares["root"]
    assert squares["similarity"] < squares["rigid"] < min(squares["none"], squares["root"])
    assert squares["similarity"] < squares["scale"]


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("align", ALIGNS)
def test_moving_both_sides_changes_nothing(align):
    p, g = poses(3)
    turn = Rotation.random(rng=np.random.default_rng(8)).as_matrix()
    wanted = joint_errors(p, g, joints=NAMES, **with_root(align))
    both = [side @ turn.T + [5, -3, 2] for side in (p, g)]
    np.testing.assert_allclose(
        joint_errors(*both, joints=NAMES, **with_root(align)), wanted, rtol=1e-9, atol=1e-9
    )
    mirrored = [side * [1, -1, 1] for side in (p, g)]
    np.testing.assert_allclose(
        joint_errors(*mirrored, joints=NAMES, **with_root(align)), wanted, rtol=1e-9, atol=1e-9
    )
    order = [3, 1, 0, 5, 4, 2]
    shuffled = joint_errors(p[:, order], g[:, order], joints=[NAMES[k] for k in order], **with_root(align))
    np.testing.assert_allclose(shuffled, wanted[:, order], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        joint_errors(p[::-1], g[::-1], joints=NAMES, **with_root(align)), wanted[::-1], rtol=1e-9, atol=1e-9
    )


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize(
    ("root", "places"),
    [("pelvis", [0]), (("r_hip", "l_hip"), [1, 2]), ("head", [5]), (("pelvis", "r_hip", "l_hip"), [0, 1, 2])],
)
def test_the_root_is_the_mean_of_the_joints_named(root, places):
    p, g = poses(4)
    score = mpjpe(p, g, align="root", root=root, joints=NAMES)
    assert score.value == close(float(np.mean(slow(p, g, "root", places))))
    assert score.root == ((root,) if isinstance(root, str) else root)
    assert root_of(g, root, joints=NAMES) == close(g[:, places].mean(axis=1))


@pytest.mark.parametrize("root", [2, "2", [2], np.int64(2), np.array([2])])
def test_joints_without_names_are_called_by_their_numbers(root):
    p, g = poses(4)
    score = mpjpe(p, g, align="root", root=root)
    assert score.value == close(float(np.mean(slow(p, g, "root", [2]))))
    assert score.root == ("2",)
    assert score.joints == ("0", "1", "2", "3", "4", "5")
    assert score.per_joint[2] == 0


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("align", ALIGNS)
def test_only_the_joints_scored_count(align):
    """The root may lie outside them; alignments see nothing but them."""
    p, g = poses(5)
    keep = [5, 1, 3, 4]
    score = mpjpe(p, g, joints=NAMES, scored=[NAMES[k] for k in keep], **with_root(align))
    if align in ("root", "scale"):
        p, g = p - p[:, :1], g - g[:, :1]
    p, g = p[:, keep], g[:, keep]
    wanted = slow(p, g, "none" if align == "root" else align, ()) if align != "scale" else []
    if align == "scale":
        wanted = [
            [1000 * math.dist(u, v) for u, v in zip(x * (x * y).sum() / (x * x).sum(), y, strict=True)]
            for x, y in zip(p, g, strict=True)
        ]
    assert score.value == close(float(np.mean(wanted)))
    assert score.joints == ("head", "r_hip", "r_knee", "l_knee")
    assert score.count == 48


@pytest.mark.parametrize("scored", ["head", ["head"]])
def test_one_joint_may_be_scored(scored):
    p, g = poses(5)
    score = mpjpe(p, g, align="none", joints=NAMES, scored=scored)
    assert score.joints == ("head",)
    assert score.value == close(float(joint_errors(p, g, align="none")[:, 5].mean()))


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("align", ["none", "root", "scale"])
def test_missing_joints_are_left_out_and_counted(align):
    p, g = poses(6, frames=4)
    p[0, 3] = NAN
    p[1, 4, 2] = NAN
    g[2, 5, 0] = NAN
    p[2, 5] = NAN
    wanted = slow(p, g, align)
    score = mpjpe(p, g, joints=NAMES, **with_root(align))
    there = [e for frame in wanted for e in frame if not math.isnan(e)]
    assert len(there) == 21
    assert score.value == close(math.fsum(there) / 21)
    assert (score.count, score.missing) == (21, 2)
    assert score.per_joint == close(np.nanmean(wanted, axis=0), abs=1e-9)


def test_a_missing_root_takes_the_frame_with_it():
    p, g = poses(6, frames=4)
    p[1, 0] = NAN
    g[3, 0] = NAN
    errors = joint_errors(p, g, align="root", root="pelvis", joints=NAMES)
    assert np.isnan(errors).all(axis=1).tolist() == [False, True, False, True]
    score = mpjpe(p, g, align="root", root=("pelvis", "head"), joints=NAMES)
    assert (score.count, score.missing) == (12, 6)
    assert score.value == close(np.mean(slow(p[[0, 2]], g[[0, 2]], "root", [0, 5])))


@pytest.mark.parametrize("align", ["rigid", "similarity"])
def test_missing_counts_only_frames_that_could_be_aligned(align):
    p, g = poses(6, frames=4)
    p[0, :4] = NAN  # two left: NaN, 6 missing
    p[1, :3] = NAN  # three left, 3 missing
    g[2, :4] = NAN  # the reference has two: nothing could be scored
    score = mpjpe(p, g, align=align)
    assert (score.count, score.missing) == (3 + 6, 6 + 3)
    alone = [mpjpe(p[1, 3:], g[1, 3:], align=align), mpjpe(p[3], g[3], align=align)]
    assert score.value == close((3 * alone[0].value + 6 * alone[1].value) / 9)


@pytest.mark.parametrize("align", ALIGNS)
def test_nothing_to_score_is_nan(align):
    p, g = poses(6, frames=2)
    for gone in ((NAN * p, g), (p[:0], g[:0])):
        score = mpjpe(*gone, joints=NAMES, **with_root(align))
        assert math.isnan(score.value)
        assert score.count == 0
        assert score.missing == 6 * len(gone[0])
        assert np.isnan(score.per_joint).all()
        assert score.per_joint.shape == (6,)


@pytest.mark.truth("closed form")
def test_collapsed_and_opposite_predictions_under_scale():
    """All joints on the root: factor 0. A prediction that points the other way: a negative factor."""
    g = np.array([[0.0, 0, 0], [0, 0, 1], [0, 2, 0]])
    assert joint_errors(np.ones((3, 3)), g, align="scale", root=0) == close([0, 1000, 2000])
    assert joint_errors(-3 * g, g, align="scale", root=0) == close([0, 0, 0], abs=1e-9)


@pytest.mark.truth("closed form")
def test_scale_is_fitted_frame_by_frame():
    g = np.array([[[0.0, 0, 0], [0, 0, 1]]] * 2)
    p = g * np.array([2.0, 5.0])[:, None, None]
    assert joint_errors(p, g, align="scale", root=0) == close(np.zeros((2, 2)), abs=1e-9)


@pytest.mark.parametrize("align", ALIGNS)
def test_leading_axes_are_free(align):
    p, g = poses(7, frames=12)
    wanted = joint_errors(p, g, joints=NAMES, **with_root(align))
    errors = joint_errors(p.reshape(3, 4, 6, 3), g.reshape(3, 4, 6, 3), joints=NAMES, **with_root(align))
    assert errors == close(wanted.reshape(3, 4, 6), abs=1e-9)
    assert joint_errors(p[0], g[0], joints=NAMES, **with_root(align)) == close(wanted[0], abs=1e-9)
    one = mpjpe(p[0], g[0], joints=NAMES, **with_root(align))
    assert one.per_joint == close(wanted[0], abs=1e-9)
    many = mpjpe(p.reshape(3, 4, 6, 3), g.reshape(3, 4, 6, 3), joints=NAMES, **with_root(align))
    assert many.value == close(wanted.mean())


# velocities


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("rate", [1.0, 30.0, 119.88])
@pytest.mark.parametrize("align", ["none", "root"])
def test_velocity_error_step_by_step(align, rate):
    p, g = poses(8)
    x, y = (p, g) if align == "none" else (p - p[:, :1], g - g[:, :1])
    wanted = [
        [1000 * rate * math.dist(x[t + 1, k] - x[t, k], y[t + 1, k] - y[t, k]) for k in range(6)]
        for t in range(11)
    ]
    score = mpjve(p, g, rate=rate, joints=NAMES, **with_root(align))
    assert score.value == close(float(np.mean(wanted)))
    assert score.per_joint == close(np.mean(wanted, axis=0), abs=1e-9)
    assert (score.count, score.missing, score.align) == (66, 0, align)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(("speed", "rate"), [(0.5, 50), (2.0, 120), (0.01, 25)])
def test_a_drift_is_its_own_velocity_error(speed, rate):
    _, g = poses(8)
    drift = speed * np.arange(12)[:, None, None] / rate * np.array([0, 0.6, 0.8])
    assert mpjve(g + drift, g, rate=rate, align="none").value == close(1000 * speed)
    assert mpjve(g + drift, g, rate=rate, align="root", root=0).value == close(0, abs=1e-8)
    assert mpjve((g + drift)[::-1], g[::-1], rate=rate, align="none").value == close(1000 * speed)


@pytest.mark.truth("metamorphic")
def test_velocity_error_of_trials_side_by_side_never_crosses_from_one_to_the_next():
    p, g = poses(8)
    wanted = [mpjve(p[:6], g[:6], rate=10, align="none"), mpjve(p[6:], g[6:], rate=10, align="none")]
    both = mpjve(p.reshape(2, 6, 6, 3), g.reshape(2, 6, 6, 3), rate=10, align="none")
    assert both.value == close((wanted[0].value + wanted[1].value) / 2)
    assert both.count == 60


def test_a_missing_joint_costs_two_steps():
    p, g = poses(8, frames=5)
    p[2, 3] = NAN
    score = mpjve(p, g, rate=10, align="none")
    assert (score.count, score.missing) == (22, 2)
    g[2, 3] = NAN
    assert mpjve(p, g, rate=10, align="none").missing == 0


def test_one_frame_has_no_velocity():
    p, g = poses(8, frames=1)
    score = mpjve(p, g, rate=10, align="none")
    assert math.isnan(score.value)
    assert (score.count, score.missing) == (0, 0)


def test_velocities_need_time_and_rate():
    p, g = poses(8)
    with pytest.raises(MetricError, match=r"\(…, time, joint, 3\), got shape \(6, 3\)"):
        mpjve(p[0], g[0], rate=10, align="none")
    for rate in (0, -1, NAN, np.inf):
        with pytest.raises(MetricError, match="rate above zero"):
            mpjve(p, g, rate=rate, align="none")
    for align in ("scale", "rigid", "similarity", "other"):
        with pytest.raises(MetricError, match=f"'none' or 'root' for velocities, got '{align}'"):
            mpjve(p, g, rate=10, align=align)


# shares of joints within a distance


def spread(*millimetres: float) -> tuple[np.ndarray, np.ndarray]:
    """One frame whose root is right and whose other joints are off by so much."""
    g = np.zeros((len(millimetres) + 1, 3))
    p = g.copy()
    p[1:, 2] = np.array(millimetres) / 1000
    return p, g


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("off", "strict", "loose"),
    [
        (149.0, 100.0, 100.0),
        (150.0, 0.0, 100.0),
        (np.nextafter(150, 151) + 1e-9, 0.0, 0.0),
        (151.0, 0.0, 0.0),
    ],
)
def test_pck_at_its_threshold(off, strict, loose):
    p, g = spread(off)
    p, g = p[1:], g[1:]
    assert pck3d(p, g, threshold=0.15, strict=True, align="none").value == strict
    assert pck3d(p, g, threshold=0.15, strict=False, align="none").value == loose


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("card", "offs", "wanted"),
    [
        ("PCK3D@150", (0, 149.9, 150, 150.1), 3 / 5),
        ("PCK3D@50·3DPW", (0, 49.9, 50, 50.1), 4 / 5),
        ("AUC3D·31", (2, 5, 7.5, 149, 150), (30 + 30 + 29 + 29 + 1 + 0) / 31 / 6),
        (
            "AUC3D·3DPW",
            (0.5, 1, 100, 198.5, 199, 199.1),
            (199 + 198.5 + 198.5 + 99.5 + 0.5 + 0.5 + 0) / 199 / 7,
        ),
    ],
)
def test_cards_at_their_thresholds(card, offs, wanted):
    p, g = spread(*offs)
    percent = 1 if card == "AUC3D·3DPW" else 100
    assert catalogue._cards[card](p, g, root=0) == close(percent * wanted)
    # root-relative: a shift of all changes nothing
    assert catalogue._cards[card](moved(p, [1, 2, 3]), g, root=0, scored=["0"]) == close(
        100 * 30 / 31 if card == "AUC3D·31" else percent
    )


def curve(errors: np.ndarray, t: float, strict: bool) -> float:
    return sum(1 for e in errors.ravel() if (e < t if strict else e <= t)) / errors.size


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("align", ALIGNS)
def test_pck_and_auc_threshold_by_threshold(align):
    p, g = poses(9, noise=0.12)
    options = {"joints": NAMES} | with_root(align)
    errors = joint_errors(p, g, **options)
    assert 0 < curve(errors, 150, True) < 1 or align in ("none", "root", "scale")
    for limit in (0.05, 0.15, 0.4):
        score = pck3d(p, g, threshold=limit, strict=True, **options)
        assert score.value == close(100 * curve(errors, 1000 * limit, True))
        assert score.per_joint == close([100 * curve(errors[:, k], 1000 * limit, True) for k in range(6)])
    score = auc3d(p, g, **options)
    assert score.value == close(100 * np.mean([curve(errors, 5.0 * k, True) for k in range(31)]))
    last = errors[:, 5]
    assert score.per_joint[5] == close(100 * np.mean([curve(last, 5.0 * k, True) for k in range(31)]))
    score = auc3d_trapezoid(p, g, **options)
    points = [curve(errors, float(t), False) for t in range(200)]
    assert score.value == close(np.trapezoid(points) / 199)
    assert (score.count, score.missing, score.align, score.joints) == (72, 0, align, NAMES)


@pytest.mark.truth("scipy.integrate.quad")
@pytest.mark.parametrize("seed", range(3))
def test_3dpw_area_as_its_integral(seed):
    p, g = poses(seed, frames=2, noise=0.08)
    errors = joint_errors(p, g, align="similarity")
    shares = [curve(errors, float(t), False) for t in range(200)]
    area = quad(np.interp, 0, 199, args=(np.arange(200), shares), limit=2000, points=range(1, 199))[0] / 199
    assert auc3d_trapezoid(p, g, align="similarity").value == close(area, rel=1e-7)


@pytest.mark.truth("metamorphic")
def test_mean_and_trapezoid_are_different_numbers():
    p, g = poses(9, noise=0.05)
    options = {"align": "similarity"}
    mean, trapezoid = auc3d(p, g, **options).value, 100 * auc3d_trapezoid(p, g, **options).value
    assert mean < trapezoid
    assert auc3d(g, g, **options).value == close(100 * 30 / 31)
    assert auc3d_trapezoid(g, g, align="none").value == 1


@pytest.mark.parametrize("score", ["pck", "mean", "trapezoid"])
def test_what_only_the_prediction_lacks_is_a_miss(score):
    call = {
        "pck": lambda *a, **k: pck3d(*a, threshold=0.15, strict=True, **k),
        "mean": auc3d,
        "trapezoid": auc3d_trapezoid,
    }[score]
    g = np.random.default_rng(0).normal(size=(4, 6, 3))
    full = {"pck": 100.0, "mean": 100 * 30 / 31, "trapezoid": 1.0}[score]
    p = g.copy()
    p[0, 2] = NAN
    g[1, 3] = NAN
    for align in ("none", "rigid", "similarity"):
        result = call(p, g, align=align)
        # once aligned, an error is never quite the 0 that the trapezoid's first threshold asks for
        loose = score == "trapezoid" and align != "none"
        assert result.value == close(full * 22 / 23, abs=0.5 / 199 if loose else 0)
        assert (result.count, result.missing) == (23, 0)
        assert result.per_joint[2] == close(full * 3 / 4, abs=0.5 / 199 if loose else 0)
    # a root that the prediction lacks misses all its frame; one the reference lacks takes it out
    p[2, 0] = NAN
    g[3, 0] = NAN
    result = call(p, g, align="root", root=0)
    assert result.count == 17
    assert result.value == close(full * (5 + 5) / 17)
    # two points can't be aligned: a miss of all the reference has there, unless the reference has but two
    p, g = np.random.default_rng(0).normal(size=(2, 3, 6, 3))[[0, 0]]
    p[0, 2:] = NAN
    g[1, 2:] = NAN
    result = call(p, g, align="similarity")
    assert result.count == 12
    assert result.value == close(full / 2, abs=0.5 / 199 if score == "trapezoid" else 0)


def test_no_reference_no_share():
    p, g = poses(1, frames=2)
    for score in (
        pck3d(p, g * NAN, threshold=0.1, strict=True, align="none"),
        auc3d(p, g * NAN, align="none"),
        auc3d_trapezoid(p, g * NAN, align="none"),
    ):
        assert math.isnan(score.value)
        assert (score.count, score.missing) == (0, 0)


# arguments


def test_wrong_arguments_are_refused():
    p, g = poses(1)
    for call in (joint_errors, mpjpe, auc3d, auc3d_trapezoid):
        with pytest.raises(
            MetricError, match="align as one of none, root, scale, rigid, similarity, got 'pa'"
        ):
            call(p, g, align="pa")
        for align in ("root", "scale"):
            with pytest.raises(MetricError, match="root among the joints 0, 1, 2, 3, 4, 5, got none"):
                call(p, g, align=align)
        for align in ("none", "rigid", "similarity"):
            with pytest.raises(MetricError, match=f"no root with align='{align}', got pelvis"):
                call(p, g, align=align, root="pelvis", joints=NAMES)
        with pytest.raises(MetricError, match=r"root among the joints pelvis, .*, got hip, toe"):
            call(p, g, align="root", root=("hip", "pelvis", "toe"), joints=NAMES)
        with pytest.raises(MetricError, match=r"scored joints among the joints pelvis, .*, got nose"):
            call(p, g, align="none", joints=NAMES, scored=("nose",))
        with pytest.raises(MetricError, match=r"scored joints among the joints pelvis, .*, got none"):
            call(p, g, align="none", joints=NAMES, scored=())
        with pytest.raises(MetricError, match="6 different names of joints"):
            call(p, g, align="none", joints=NAMES[:5])
        with pytest.raises(MetricError, match="of one shape"):
            call(p, g[:3], align="none")
        with pytest.raises(MetricError, match="predicted finite"):
            call(p + np.inf, g, align="none")
    with pytest.raises(MetricError, match="threshold above zero"):
        pck3d(p, g, threshold=0, strict=True, align="none")


CARDS = {
    "MPJPE·world": ("mm", "lower", "none"),
    "MPJPE·root": ("mm", "lower", "root"),
    "N-MPJPE": ("mm", "lower", "scale"),
    "PA-MPJPE·rigid": ("mm", "lower", "rigid"),
    "PA-MPJPE": ("mm", "lower", "similarity"),
    "PCK3D@150": ("%", "higher", "root"),
    "PA-PCK3D@150": ("%", "higher", "similarity"),
    "PCK3D@50·3DPW": ("%", "higher", "root"),
    "AUC3D·31": ("%", "higher", "root"),
    "PA-AUC3D·31": ("%", "higher", "similarity"),
    "AUC3D·3DPW": ("1", "higher", "root"),
    "MPJVE·world": ("mm/s", "lower", "none"),
    "MPJVE·root": ("mm/s", "lower", "root"),
}


@pytest.mark.parametrize("name", CARDS)
def test_cards_fix_what_their_names_say(name):
    unit, direction, align = CARDS[name]
    card = catalogue._cards[name]
    assert (card.unit, card.direction, card.fixed["align"], card.merge) == (unit, direction, align, "sums")
    assert card.module == "keypoints3d"
    assert card.needs == ("reference", "markers", "time")[: 3 if "MPJVE" in name else 2]
    p, g = poses(2)
    more = {"rate": 50.0} if "MPJVE" in name else {}
    root = {"root": "pelvis"} if align in ("root", "scale") else {}
    value = card(p, g, joints=NAMES, **root, **more)
    assert isinstance(value, float)
    function = getattr(keypoints3d, card.function.__name__)
    assert value == function(p, g, joints=NAMES, **root, **more, **card.fixed).value


def test_every_score_of_the_module_is_in_the_list():
    assert {c.name for c in catalogue._cards.values() if c.module == "keypoints3d"} == CARDS.keys()


@pytest.mark.truth("metamorphic")
def test_trials_stacked_in_front_are_scored_as_one_after_the_other() -> None:
    """Also where some frames have too few joints to be aligned: joints are counted, not frames."""
    random = np.random.default_rng(8)
    r = random.normal(size=(2, 2, 6, 3))
    p = r + 0.1 * random.normal(size=r.shape)
    p[0, 0, :4] = NAN  # two joints left: no alignment
    p[0, 1, :3] = NAN  # three left: one
    stacked = pck3d(p, r, threshold=0.15, strict=True, align="similarity")
    flat = pck3d(p.reshape(4, 6, 3), r.reshape(4, 6, 3), threshold=0.15, strict=True, align="similarity")
    assert stacked.value == flat.value
    assert stacked.count == flat.count
    assert (
        mpjpe(p, r, align="similarity").value
        == mpjpe(p.reshape(4, 6, 3), r.reshape(4, 6, 3), align="similarity").value
    )


def test_three_points_are_enough_to_count_and_two_are_not() -> None:
    random = np.random.default_rng(9)
    g = random.normal(size=(2, 5, 3))
    g[0, 3:] = NAN
    g[1, 2:] = NAN
    score = pck3d(g, g, threshold=0.15, strict=True, align="similarity")
    assert (score.count, score.value) == (3, 100.0)


@pytest.mark.parametrize("align", ["none", "rigid", "similarity"])
def test_one_infinite_coordinate_is_refused_however_it_is_aligned(align) -> None:
    p, g = poses(6, frames=4)
    p[2, 1, 0] = -np.inf
    with pytest.raises(MetricError, match="Expected predicted finite"):
        mpjpe(p, g, align=align)
    with pytest.raises(MetricError, match="Expected reference finite"):
        mpjpe(g, p, align=align)
