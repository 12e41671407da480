"""Profile scores by closed form; the GDI-like index against its definition and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest

from metrics.arrays import MetricError
from metrics.catalogue import _cards
from metrics.profiles import MAP, PELVIS, GDIBasis, gait_profile, gdi_basis, gdi_like, gdi_vector, gvs

NORM = {name: np.radians(10 * np.sin(np.linspace(0, 2 * np.pi, 101) + k)) for k, name in enumerate(MAP)}


def off_by(degrees, norm=NORM):
    """Curves of a person whose score for each variable is the absolute value of ``degrees``."""
    by_name = dict(zip(MAP, np.broadcast_to(degrees, 9), strict=True))
    return {name: norm[name] + np.radians(by_name[name]) for name in MAP}


# ---- GVS and GPS


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("degrees", [0.0, 1.0, -4.5, 30.0])
@pytest.mark.parametrize("points", [1, 51, 101])
def test_gvs_of_an_offset_is_its_size(degrees, points):
    norm = np.linspace(0, 1, points)
    assert gvs(norm + np.radians(degrees), norm) == pytest.approx(abs(degrees), abs=1e-12)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("harmonic", [1, 2, 7])
@pytest.mark.parametrize("amplitude", [0.5, 12.0])
def test_gvs_of_a_sine_is_its_amplitude_by_root_two(harmonic, amplitude):
    phase = (
        np.arange(100) / 100 * 2 * np.pi * harmonic
    )  # the cycle without its last point, which is the first
    norm = np.cos(phase)
    assert gvs(norm + np.radians(amplitude) * np.sin(phase), norm) == pytest.approx(amplitude / math.sqrt(2))


@pytest.mark.truth("literal definition")
def test_gvs_of_many_strides_at_once():
    rng = np.random.default_rng(0)
    curves, norm = rng.normal(size=(3, 4, 51)), rng.normal(size=51)
    found = gvs(curves, norm)
    assert found.shape == (3, 4)
    for i in range(3):
        for j in range(4):
            total = sum((a - b) ** 2 for a, b in zip(curves[i, j], norm, strict=True))
            assert found[i, j] == pytest.approx(180 / math.pi * math.sqrt(total / 51), rel=1e-12)


def test_gvs_with_a_gap_is_unknown_and_shapes_must_fit():
    with np.errstate(all="raise"):
        found = gvs([[1.0, np.nan], [1.0, 1.0]], [0.0, 1.0])
    assert np.isnan(found[0]) and not np.isnan(found[1])
    with pytest.raises(MetricError, match="Expected 3 entries on the last axis of curve"):
        gvs([1.0, 2.0], [0.0, 0.0, 0.0])
    with pytest.raises(MetricError, match="Expected norm with 1 axes"):
        gvs([1.0, 2.0], [[0.0, 0.0]])
    with pytest.raises(MetricError, match="norm curve with points, got none"):
        gvs([], [])


def test_the_profile_has_nine_names_in_its_published_order():
    assert MAP == (
        "pelvic tilt",
        "hip flexion",
        "knee flexion",
        "ankle dorsiflexion",
        "pelvic obliquity",
        "hip adduction",
        "pelvic rotation",
        "hip rotation",
        "foot progression",
    )
    assert {name for name in MAP if name.startswith("pelvic")} == set(PELVIS)
    profile = gait_profile(off_by(range(9)), off_by(range(1, 10)), NORM)
    assert tuple(profile.left) == tuple(profile.right) == MAP
    np.testing.assert_allclose([*profile.left.values()], range(9), atol=1e-12)
    np.testing.assert_allclose([*profile.right.values()], range(1, 10))


PELVIC = np.array([name in PELVIS for name in MAP])


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("seed", range(8))
def test_gps_is_the_root_mean_square_and_the_pelvis_counts_once(seed):
    rng = np.random.default_rng(seed)
    left, right = rng.uniform(-20, 20, 9), rng.uniform(-20, 20, 9)
    profile = gait_profile(off_by(left), off_by(right), NORM)
    assert profile.gps_left == pytest.approx(math.sqrt((left**2).sum() / 9), rel=1e-12)
    assert profile.gps_right == pytest.approx(math.sqrt((right**2).sum() / 9), rel=1e-12)
    total = (left**2).sum() + (right[~PELVIC] ** 2).sum()
    assert profile.gps == pytest.approx(math.sqrt(total / 15), rel=1e-12)


@pytest.mark.truth("closed form")
def test_the_arithmetic_mean_would_be_another_number():
    # eight scores of 2° and one of 20°: RMS √((8·4 + 400)/9) = √48, while the arithmetic mean is 4
    scores = np.full(9, 2.0)
    scores[2] = 20.0
    profile = gait_profile(off_by(scores), off_by(scores), NORM)
    assert np.mean([*profile.left.values()]) == pytest.approx(4.0)
    assert profile.gps_left == pytest.approx(math.sqrt(48.0), rel=1e-12)
    assert profile.gps == pytest.approx(math.sqrt((13 * 4 + 2 * 400) / 15), rel=1e-12)
    # only where all scores are the same do they agree
    assert gait_profile(off_by(3.0), off_by(3.0), NORM).gps == pytest.approx(3.0)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("seed", range(4))
def test_gps_is_the_gvs_of_all_curves_in_a_row(seed):
    rng = np.random.default_rng(seed)
    left, right, norm = ({name: rng.normal(size=101) for name in MAP} for _ in range(3))
    profile = gait_profile(left, right, norm)
    row = np.concatenate
    whole = row([left[n] for n in MAP] + [right[n] for n in MAP if n not in PELVIS])
    usual = row([norm[n] for n in MAP] + [norm[n] for n in MAP if n not in PELVIS])
    assert profile.gps == pytest.approx(float(gvs(whole, usual)), rel=1e-12)
    # twice as far from the norm is twice the score
    far = gait_profile(*({n: 2 * c[n] - norm[n] for n in MAP} for c in (left, right)), norm)
    assert far.gps == pytest.approx(2 * profile.gps, rel=1e-12)
    # sides swapped: side scores swap, and the overall one takes the other pelvis
    swapped = gait_profile(right, left, norm)
    assert (swapped.gps_left, swapped.gps_right) == (profile.gps_right, profile.gps_left)
    pelvis = sum(profile.right[n] ** 2 - profile.left[n] ** 2 for n in PELVIS)
    assert swapped.gps**2 - profile.gps**2 == pytest.approx(pelvis / 15, rel=1e-9)


def test_a_gap_makes_the_scores_it_touches_unknown():
    right = off_by(1.0)
    right["pelvic tilt"] = right["pelvic tilt"].copy()
    right["pelvic tilt"][3] = np.nan
    profile = gait_profile(off_by(2.0), right, NORM)
    assert np.isnan(profile.gps_right) and profile.gps_left == pytest.approx(2.0)
    assert profile.gps == pytest.approx(math.sqrt((9 * 4 + 6) / 15))  # the right pelvis is not in it
    right["hip flexion"] = np.full(101, np.nan)
    assert np.isnan(gait_profile(off_by(2.0), right, NORM).gps)


@pytest.mark.parametrize("whose", ["left", "right", "norm"])
def test_a_name_that_lacks_is_told(whose):
    curves = {"left": off_by(1.0), "right": off_by(1.0), "norm": dict(NORM)}
    del curves[whose]["hip flexion"], curves[whose]["foot progression"]
    with pytest.raises(MetricError, match=f"a curve for hip flexion, foot progression in {whose}"):
        gait_profile(**curves)


def test_profiles_take_one_curve_a_name_and_no_notice_of_others():
    more = off_by(1.0) | {"elbow": "not looked at"}
    assert gait_profile(more, more, NORM).gps == pytest.approx(1.0)
    strides = off_by(1.0) | {"hip flexion": np.zeros((2, 101))}
    with pytest.raises(MetricError, match="hip flexion with 1 axes"):
        gait_profile(strides, off_by(1.0), NORM)


@pytest.mark.parametrize(
    ("name", "part", "unit"),
    [
        ("GVS", "", "°"),
        ("GPS·overall", "gps", "°"),
        ("GPS·left", "gps_left", "°"),
        ("GPS·right", "gps_right", "°"),
        ("GDI-like", "", "1"),
    ],
)
def test_cards(name, part, unit):
    card = _cards[name]
    assert (card.part, card.unit, card.direction, card.merge) == (part, unit, "neither", "trials")
    assert card.needs == ("norm", "angles") and not card.fixed
    if part:
        profile = gait_profile(off_by(range(9)), off_by(3.0), NORM)
        assert card(off_by(range(9)), off_by(3.0), NORM) == getattr(profile, part)


# ---- GDI-like


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("points", [51, 101])
def test_gdi_vector_takes_every_second_percent(points):
    rng = np.random.default_rng(2)
    curves = {name: rng.normal(size=points) for name in reversed(MAP)}
    expected = [
        np.interp(percent, np.linspace(0, 100, points), curves[name])
        for name in MAP
        for percent in range(0, 101, 2)
    ]
    found = gdi_vector(curves)
    assert found.shape == (459,)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_gdi_vector_refuses_other_lengths_and_lacking_names():
    curves = {name: np.zeros(51) for name in MAP}
    for points in (50, 100, 201, 0):
        with pytest.raises(MetricError, match=f"51 or 101 points of hip flexion, got {points}"):
            gdi_vector(curves | {"hip flexion": np.zeros(points)})
    with pytest.raises(MetricError, match="pelvic tilt with 1 axes"):
        gdi_vector(curves | {"pelvic tilt": np.zeros((51, 1))})
    del curves["hip rotation"]
    with pytest.raises(MetricError, match="a curve for hip rotation in the stride"):
        gdi_vector(curves)


def people(seed, n=40, d=60, rank=8):
    """Strides around a mean with a few strong patterns and a little noise."""
    rng = np.random.default_rng(seed)
    mean = 20 * np.sin(np.arange(d) / 5)
    return (
        mean
        + rng.normal(size=(n, rank)) * (10.0 / (1 + np.arange(rank))) @ rng.normal(size=(rank, d))
        + 0.5 * rng.normal(size=(n, d))
    )


def slow_gdi(stride, control, patterns, count):
    """The published steps, one after the other, by the eigenvectors of the 2nd moments and plain sums."""
    moments = sum(np.outer(row, row) for row in patterns)
    values, vectors = np.linalg.eigh(moments)
    features = vectors[:, np.argsort(values)[::-1][:count]]
    scores = [[float(row @ f) for f in features.T] for row in control]
    mean = [sum(s[k] for s in scores) / len(scores) for k in range(count)]

    def log(row_scores):
        return math.log(math.sqrt(sum((a - b) ** 2 for a, b in zip(row_scores, mean, strict=True))))

    logs = [log(s) for s in scores]
    middle = sum(logs) / len(logs)
    sd = math.sqrt(sum((v - middle) ** 2 for v in logs) / (len(logs) - 1))
    return 100 - 10 * (log([float(stride @ f) for f in features.T]) - middle) / sd


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("count", [1, 5, 15])
@pytest.mark.parametrize("wider", [False, True])
def test_gdi_as_defined(count, wider):
    control = people(1)
    patterns = np.vstack([control, 1.5 * people(2)]) if wider else control
    strides = people(3, n=5) + 4.0
    basis = gdi_basis(control, patterns=patterns if wider else None, features=count)
    expected = [slow_gdi(stride, control, patterns, count) for stride in strides]
    np.testing.assert_allclose(gdi_like(strides, basis), expected, rtol=1e-7)
    one = gdi_like(strides[0], basis)
    assert one.shape == () and one == pytest.approx(expected[0], rel=1e-7)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "options", [{}, {"features": 3}, {"features": None}, {"features": None, "explained": 0.5}]
)
def test_the_control_group_has_mean_100_and_sd_10(seed, options):
    control = people(seed, n=25)
    index = gdi_like(control, gdi_basis(control, **options))
    assert index.mean() == pytest.approx(100.0, rel=1e-10)
    assert index.std(ddof=1) == pytest.approx(10.0, rel=1e-9)


@pytest.mark.truth("sklearn")
@pytest.mark.parametrize("count", [2, 6, 15])
def test_features_are_those_of_truncated_svd(count):
    from sklearn.decomposition import TruncatedSVD

    control = people(4)
    svd = TruncatedSVD(count, algorithm="arpack", random_state=0).fit(control)
    basis = gdi_basis(control, features=count)
    assert basis.features.shape == (count, 60)
    np.testing.assert_allclose(np.abs(np.sum(basis.features * svd.components_, axis=1)), 1.0, rtol=1e-9)
    assert basis.explained == pytest.approx((svd.singular_values_**2).sum() / (control**2).sum(), rel=1e-9)
    np.testing.assert_allclose(basis.centre, control.mean(axis=0) @ basis.features.T, rtol=1e-9)


@pytest.mark.truth("sklearn")
@pytest.mark.parametrize("count", [2, 6])
def test_features_of_centred_patterns_are_principal_components(count):
    from sklearn.decomposition import PCA

    control = people(5)
    pca = PCA(count, svd_solver="full").fit(control)
    basis = gdi_basis(control, patterns=control - control.mean(axis=0), features=count)
    np.testing.assert_allclose(np.abs(np.sum(basis.features * pca.components_, axis=1)), 1.0, rtol=1e-9)
    assert basis.explained == pytest.approx(pca.explained_variance_ratio_.sum(), rel=1e-9)
    # then the distance is that of the component scores, in which the control mean is 0
    logs = np.log(np.linalg.norm(pca.transform(control), axis=1))
    assert basis.log_mean == pytest.approx(logs.mean(), rel=1e-9)
    assert basis.log_sd == pytest.approx(logs.std(ddof=1), rel=1e-9)
    # while those of strides as they are are others: the first is nearly the mean itself
    first = gdi_basis(control, features=1).features[0]
    mean = control.mean(axis=0)
    assert (
        abs(first @ mean) / np.linalg.norm(mean) > 0.9 > abs(basis.features[0] @ mean) / np.linalg.norm(mean)
    )


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("change", ["degrees", "order of values", "order of people", "rotation"])
def test_gdi_does_not_mind_units_and_orders(change):
    rng = np.random.default_rng(6)
    control, strides = people(6), people(7, n=6) + 3.0
    plain = gdi_like(strides, gdi_basis(control))
    if change == "degrees":
        control, strides = np.degrees(control), np.degrees(strides)
    elif change == "order of values":
        order = rng.permutation(60)
        control, strides = control[:, order], strides[:, order]
    elif change == "order of people":
        control = rng.permutation(control)
    else:
        turn = np.linalg.qr(rng.normal(size=(60, 60)))[0]
        control, strides = control @ turn, strides @ turn
    np.testing.assert_allclose(gdi_like(strides, gdi_basis(control)), plain, rtol=1e-8)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("times", [2.0, math.e, 10.0])
def test_each_fold_of_distance_costs_the_same(times):
    control = people(8)
    basis = gdi_basis(control)
    mean = control.mean(axis=0)
    off = people(9, n=1)[0] - mean + 5.0
    near, far = gdi_like(mean + off, basis), gdi_like(mean + times * off, basis)
    assert near - far == pytest.approx(10 * math.log(times) / basis.log_sd, rel=1e-9)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("explained", "count"),
    [(0.5, 1), (0.64, 1), (0.640001, 2), (0.9, 2), (0.98, 2), (0.99, 3), (0.999, 3), (1.0, 4)],
)
def test_the_fewest_features_that_keep_enough(explained, count):
    # orthogonal patterns of strength 8, 5.85…, … : shares 0.64, 0.34, 0.0199, 0.0001
    shares = np.array([0.64, 0.3425, 0.0174, 0.0001])
    patterns = np.diag(np.sqrt(shares)) * 4.0
    rng = np.random.default_rng(0)
    basis = gdi_basis(rng.normal(size=(9, 4)), patterns=patterns, features=None, explained=explained - 1e-9)
    assert len(basis.features) == count
    assert basis.explained == pytest.approx(shares[:count].sum(), rel=1e-12)
    np.testing.assert_allclose(np.abs(basis.features), np.eye(4)[:count], atol=1e-9)


def test_explained_reached_exactly_is_enough():
    control = np.random.default_rng(0).normal(size=(9, 2))
    half = gdi_basis(control, patterns=np.eye(2), features=None, explained=0.5)
    assert len(half.features) == 1 and half.explained == 0.5
    assert len(gdi_basis(control, patterns=np.eye(2), features=None, explained=0.5000001).features) == 2
    assert len(gdi_basis(control, patterns=np.eye(2), features=None, explained=1.0).features) == 2


def test_defaults_are_15_features_and_98_percent():
    control = people(10, n=30)
    assert len(gdi_basis(control).features) == 15
    shares = np.cumsum(np.linalg.eigvalsh(control.T @ control)[::-1])
    enough = int(np.sum(shares / shares[-1] < 0.98)) + 1
    tight = gdi_basis(control, features=None)
    assert len(tight.features) == enough > 1
    assert tight.explained >= 0.98


def test_gdi_undefined():
    control = people(11, n=20)
    basis = gdi_basis(control)
    strides = np.stack([control[0], control[0]])
    strides[0, 7] = np.nan
    with np.errstate(all="raise"):
        found = gdi_like(strides, basis)
        assert np.isnan(found[0]) and not np.isnan(found[1])
        plain = GDIBasis(np.eye(2), 1.0, np.array([1.0, 2.0]), 0.0, 1.0)
        np.testing.assert_allclose(gdi_like([[1.0, 2.0], [2.0, 2.0]], plain), [np.nan, 100.0])
        # three controls at one distance from their mean have no spread
        corners = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
        assert np.isnan(gdi_like([5.0, 1.0, 0.0], gdi_basis(corners, features=3)))
        small = GDIBasis(np.eye(2), 1.0, np.array([1.0, 2.0]), 0.0, 1e-8)
        assert gdi_like([2.0 + 1e-7, 2.0], small) == pytest.approx(0.0, abs=1e-3)
        for spread, known in ((1e-9, False), (1.1e-9, True)):
            index = gdi_like([2.0, 2.0], GDIBasis(np.eye(2), 1.0, np.array([1.0, 2.0]), 0.0, spread))
            assert np.isnan(index) != known
        # a control exactly at the mean has no logarithm, so the group has no mean of them
        centred = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])
        assert np.isnan(gdi_basis(centred, features=2).log_mean)
        assert np.isnan(gdi_like([5.0, 1.0], gdi_basis(centred, features=2)))


@pytest.mark.parametrize(
    ("control", "options", "message"),
    [
        (np.eye(4)[:2], {"features": 1}, "at least 3 control strides, and no gaps in any, got 2"),
        (np.full((4, 4), np.nan), {"features": 1}, "no gaps"),
        (np.eye(4), {"features": 1, "patterns": np.full((3, 4), np.inf)}, "no gaps"),
        (np.eye(4), {"features": 0}, "1 to 4 features of these strides, got 0"),
        (np.eye(4), {"features": 5}, "1 to 4 features of these strides, got 5"),
        (np.eye(4), {}, "1 to 4 features of these strides, got 15"),
        (np.eye(4), {"features": 3, "patterns": np.eye(4)[:2]}, "1 to 2 features of these strides, got 3"),
        (
            np.eye(4),
            {"features": None, "explained": 0.0},
            "explained as a share above 0 and up to 1, got 0.0",
        ),
        (
            np.eye(4),
            {"features": None, "explained": 1.01},
            "explained as a share above 0 and up to 1, got 1.01",
        ),
        (np.eye(4), {"patterns": np.eye(3)}, "Expected 4 entries on the last axis of patterns"),
        (np.eye(4)[0], {}, "Expected control with 2 axes"),
    ],
)
def test_gdi_basis_says_what_it_wants(control, options, message):
    with pytest.raises(MetricError, match=message):
        gdi_basis(control, **options)


def test_gdi_sizes_that_just_do():
    rng = np.random.default_rng(1)
    assert gdi_basis(rng.normal(size=(3, 5)), features=3).features.shape == (3, 5)
    assert gdi_basis(rng.normal(size=(5, 3)), features=3).features.shape == (3, 3)
    with pytest.raises(MetricError, match="3 entries on the last axis of stride"):
        gdi_like([1.0, 2.0], gdi_basis(rng.normal(size=(5, 3)), features=1))
