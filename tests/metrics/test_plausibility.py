import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from metrics.arrays import MetricError
from metrics.catalogue import card
from metrics.plausibility import (
    answered,
    bone_length_cv,
    flip_consistency_2d,
    flip_consistency_3d,
    ground_penetration,
    length_asymmetry,
    out_of_range,
    twist,
    twist_out_of_range,
)

pytestmark = pytest.mark.filterwarnings("error")
NAN, INF = np.nan, np.inf
JOINTS = ["hip", "l_knee", "r_knee", "l_ankle", "r_ankle"]
BONES = [("hip", "l_knee"), ("hip", "r_knee"), ("l_knee", "l_ankle"), ("r_knee", "r_ankle")]
TWINS = [(BONES[0], BONES[1]), (BONES[2], BONES[3])]


def walker(seed: int, frames: int = 20) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(frames, 5, 3))


# --- ranges


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tolerance", [0.0, 0.2])
def test_ranges_value_by_value(seed: int, tolerance: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(50, 4))
    values[rng.random((50, 4)) < 0.2] = NAN
    ranges = {"d": (-1.0, 0.5), "b": (-0.7, 2.0)}  # neither all of them nor in their order
    found = out_of_range(values, ["a", "b", "c", "d"], ranges, tolerance=tolerance)
    frames, bad = 0, 0
    counts = {"b": [0, 0], "d": [0, 0]}
    for row in values:
        seen = {name: row["abcd".index(name)] for name in ranges}
        seen = {name: value for name, value in seen.items() if value == value}
        out = {n for n, v in seen.items() if v < ranges[n][0] - tolerance or v > ranges[n][1] + tolerance}
        frames, bad = frames + bool(seen), bad + bool(out)
        for name in seen:
            counts[name][0] += 1
            counts[name][1] += name in out
    assert found.frames == pytest.approx(100 * bad / frames, rel=1e-12)
    assert list(found.per_coordinate) == ["d", "b"]
    for name, (seen_n, out_n) in counts.items():
        assert found.per_coordinate[name] == pytest.approx(100 * out_n / seen_n, rel=1e-12)
    assert card("frames out of range")(values, list("abcd"), ranges, tolerance=tolerance) == found.frames


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("amplitude", [0.5, 1.0, 1.25, 2.0])
def test_a_ramp_leaves_its_range(amplitude: float) -> None:
    ramp = amplitude * np.linspace(-1, 1, 401)
    outside = 2 * np.sum(np.arange(201, 402) > 201 + 200 / amplitude + 1e-9)
    found = out_of_range(ramp[:, None], ["knee"], {"knee": (-1.0, 1.0)})
    assert found.frames == pytest.approx(100 * outside / 401, rel=1e-12)


@pytest.mark.parametrize(("value", "percent"), [
    (1.0, 0.0), (1.0 + 0.9e-6, 0.0), (1.0 + 1.1e-6, 100.0),
    (-2.0, 0.0), (-2.0 - 0.9e-6, 0.0), (-2.0 - 1.1e-6, 100.0),
])  # fmt: skip
def test_the_default_tolerance(value: float, percent: float) -> None:
    assert out_of_range([[value]], ["knee"], {"knee": (-2.0, 1.0)}).frames == percent


def test_range_limits() -> None:
    at_ends = out_of_range([[1.0], [-2.0]], ["knee"], {"knee": (-2.0, 1.0)}, tolerance=0.0)
    assert at_ends.frames == 0.0
    assert out_of_range([[1.5], [0.5]], ["knee"], {"knee": (0.0, 1.0)}, tolerance=0.5).frames == 0.0
    assert out_of_range([[3.0], [2.0]], ["knee"], {"knee": (2.0, 2.0)}).frames == 50.0
    assert np.isnan(out_of_range([[NAN]], ["knee"], {"knee": (0.0, 1.0)}).frames)
    assert np.isnan(out_of_range(np.zeros((0, 1)), ["knee"], {"knee": (0.0, 1.0)}).per_coordinate["knee"])
    nothing = out_of_range([[9.0]], ["knee"], {})
    assert np.isnan(nothing.frames)
    assert nothing.per_coordinate == {}
    with pytest.raises(MetricError, match="names among knee, got hip"):
        out_of_range([[1.0]], ["knee"], {"hip": (0.0, 1.0)})
    with pytest.raises(MetricError, match=r"low ≤ high, got \{'knee': \(1.0, 0.0\)\}"):
        out_of_range([[1.0]], ["knee"], {"knee": (1.0, 0.0)})
    with pytest.raises(MetricError, match="2 entries on the last axis of ranges"):
        out_of_range([[1.0]], ["knee"], {"knee": (0.0, 1.0, 2.0)})  # type: ignore[dict-item]
    for tolerance in (-0.1, NAN):
        with pytest.raises(MetricError, match="tolerance of 0 or more"):
            out_of_range([[1.0]], ["knee"], {"knee": (0.0, 1.0)}, tolerance=tolerance)
    with pytest.raises(MetricError, match="values with 2 axes"):
        out_of_range([1.0], ["knee"], {})
    with pytest.raises(MetricError, match="2 different names of coordinates"):
        out_of_range([[1.0, 2.0]], ["knee", "knee"], {})


# --- bones


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(3))
def test_bone_length_variation_by_hand(seed: int) -> None:
    points = walker(seed)
    points[3, 1] = NAN
    parts = []
    for start, end in BONES:
        gap = points[:, JOINTS.index(end)] - points[:, JOINTS.index(start)]
        length = [float(np.sqrt(v @ v)) for v in gap if v[0] == v[0]]
        parts.append(100 * np.std(length, ddof=1) / np.mean(length))
    assert bone_length_cv(points, JOINTS, BONES) == pytest.approx(np.mean(parts), rel=1e-12)
    assert card("bone-length CV")(points, JOINTS, BONES[:1]) == pytest.approx(parts[0], rel=1e-12)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("seed", range(3))
def test_bones_do_not_know_frame_scale_or_order(seed: int) -> None:
    points = walker(seed)
    turn = Rotation.random(random_state=seed).as_matrix()
    moved = 1.7 * points[::-1] @ turn.T + [1.0, -2.0, 3.0]
    order = [3, 0, 4, 2, 1]
    named = [JOINTS[k] for k in order]
    for score, bones in ((bone_length_cv, BONES), (length_asymmetry, TWINS)):
        value = score(points, JOINTS, bones)  # type: ignore[operator]
        assert score(moved[:, order], named, bones) == pytest.approx(value, rel=1e-9)  # type: ignore[operator]
        assert value > 1


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("breath", [0.0, 0.01, 0.2])
def test_a_bone_that_breathes(breath: float) -> None:
    # length 1 ± breath in turn over n frames: SD breath · √(n / (n − 1))
    points = np.zeros((10, 5, 3))
    points[:, 1, 2] = 1 + breath * (-1.0) ** np.arange(10)
    expected = 100 * breath * np.sqrt(10 / 9)
    assert bone_length_cv(points, JOINTS, BONES[:1]) == pytest.approx(expected, abs=1e-12)


def test_bone_limits() -> None:
    points = walker(0)
    one = points.copy()
    one[1:, 1] = NAN  # the left thigh is seen once
    assert bone_length_cv(one, JOINTS, BONES[:2]) == bone_length_cv(points, JOINTS, BONES[1:2])
    assert np.isnan(bone_length_cv(points[:1], JOINTS, BONES))
    assert np.isnan(bone_length_cv(points[:0], JOINTS, BONES))
    assert np.isnan(bone_length_cv(np.zeros((4, 5, 3)), JOINTS, BONES))
    assert np.isnan(bone_length_cv(points, JOINTS, []))
    assert bone_length_cv(points[:2], JOINTS, BONES) > 0
    assert np.isnan(length_asymmetry(points[:0], JOINTS, TWINS))
    assert np.isnan(length_asymmetry(np.zeros((4, 5, 3)), JOINTS, TWINS))
    for score, bones in (
        (bone_length_cv, [("hip", "toe")]),
        (length_asymmetry, [(("hip", "toe"), BONES[0])]),
    ):
        with pytest.raises(MetricError, match=r"names among hip, l_knee, .*, got toe"):
            score(points, JOINTS, bones)  # type: ignore[operator]
    with pytest.raises(MetricError, match="points with 3 axes"):
        bone_length_cv(points[0], JOINTS, BONES)
    with pytest.raises(MetricError, match="3 entries on the last axis"):
        bone_length_cv(points[..., :2], JOINTS, BONES)
    with pytest.raises(MetricError, match="5 different names of joints"):
        bone_length_cv(points, JOINTS[:4], BONES)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(("left", "right"), [(0.4, 0.4), (0.4, 0.5), (0.6, 0.2), (0.0, 0.3)])
def test_asymmetry_of_two_legs(left: float, right: float) -> None:
    points = np.zeros((3, 5, 3))
    points[:, 1, 1], points[:, 2, 1] = -left, -right
    points[:, 3] = points[:, 1] - [0.3, 0, 0]
    points[:, 4] = points[:, 2] - [0, 0, 0.3]
    thighs = 100 * abs(left - right) / ((left + right) / 2)
    assert card("bone-length asymmetry")(points, JOINTS, TWINS) == pytest.approx(thighs / 2, abs=1e-9)
    assert length_asymmetry(points, JOINTS, TWINS[:1]) == pytest.approx(thighs, abs=1e-9)
    assert length_asymmetry(points, JOINTS, [TWINS[0][::-1]]) == pytest.approx(thighs, abs=1e-9)


@pytest.mark.truth("closed form")
def test_asymmetry_is_of_the_mean_lengths() -> None:
    points = np.zeros((2, 5, 3))
    points[:, 1, 0], points[:, 2, 0] = [1.0, 3.0], [3.0, 1.0]  # each frame lopsided, on average not
    assert length_asymmetry(points, JOINTS, TWINS[:1]) == 0.0
    points[0, 1] = NAN  # left only 3, right 2 on average
    assert length_asymmetry(points, JOINTS, TWINS[:1]) == pytest.approx(40.0)


# --- ground


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("ground", [0.0, 0.5, -1.0])
def test_depth_below_the_ground(ground: float) -> None:
    heights = ground + np.array([0.25, 0.0, -0.25, -0.75])
    points = np.stack([np.full(4, -9.0), heights, np.full(4, -9.0)], axis=-1).reshape(2, 2, 3)
    found = ground_penetration(points, ground=ground)
    assert found == (500.0, 750.0, 50.0)
    names = [f"ground penetration·{part}" for part in ("mean", "max", "share")]
    assert [card(name)(points, ground=ground) for name in names] == [500.0, 750.0, 50.0]


def test_ground_limits() -> None:
    assert ground_penetration([[0.0, 0.0, 0.0]]) == (0.0, 0.0, 0.0)  # on the ground
    assert ground_penetration([[0.0, 5.0, 0.0]]) == (0.0, 0.0, 0.0)
    assert ground_penetration([[0.0, -0.5, NAN], [0.0, 1.0, 0.0]]) == (0.0, 0.0, 0.0)
    assert ground_penetration([0.0, -0.5, 0.0]) == (500.0, 500.0, 100.0)
    assert np.isnan(ground_penetration([[NAN, -1.0, 0.0]])).all()
    assert np.isnan(ground_penetration(np.zeros((0, 3)))).all()
    with pytest.raises(MetricError, match="3 entries on the last axis of points"):
        ground_penetration([[0.0, 1.0]])


# --- twist

AXES = [(0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, -2.0), (1.0, 2.0, -0.5)]


def swing_and_twist(axis: tuple[float, ...], degrees: np.ndarray, seed: int = 0) -> np.ndarray:
    """Rotations that twist by ``degrees`` about the axis, then swing by up to 170° across it."""
    rng = np.random.default_rng(seed)
    along = np.asarray(axis) / np.linalg.norm(axis)
    across = np.cross(along, rng.normal(size=(degrees.size, 3)))
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    swing = Rotation.from_rotvec(across * rng.uniform(0, np.deg2rad(170), (degrees.size, 1)))
    return (swing * Rotation.from_rotvec(along * np.deg2rad(degrees)[:, None])).as_matrix()


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("axis", AXES)
def test_planted_twist_comes_back(axis: tuple[float, ...]) -> None:
    planted = np.linspace(-179, 179, 50)
    rotation = swing_and_twist(axis, planted)
    np.testing.assert_allclose(twist(rotation, axis=axis), planted, atol=1e-9)
    np.testing.assert_allclose(
        twist(rotation.reshape(5, 10, 3, 3), axis=axis), planted.reshape(5, 10), atol=1e-9
    )
    # the other order, twist after swing, has the same twist; the inverse has the opposite one
    np.testing.assert_allclose(twist(rotation.swapaxes(-2, -1), axis=axis), -planted, atol=1e-9)
    np.testing.assert_allclose(twist(rotation, axis=tuple(-3 * a for a in axis)), -planted, atol=1e-9)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("extra", [-60.0, 15.0, 100.0])
def test_twisting_further_adds_up(extra: float) -> None:
    rotation = swing_and_twist((0, 1, 0), np.linspace(-70, 70, 9), seed=3)
    more = rotation @ Rotation.from_euler("y", extra, degrees=True).as_matrix()
    np.testing.assert_allclose(
        twist(more, axis=(0, 1, 0)) - twist(rotation, axis=(0, 1, 0)), extra, atol=1e-9
    )


def test_twist_limits() -> None:
    half = Rotation.from_rotvec([[np.pi, 0, 0], [0, np.pi, 0], [0, 0, 0]]).as_matrix()
    found = twist(half, axis=(0, 1, 0))
    assert np.isnan(found[0])  # swung right round: any twist would do
    assert abs(found[1]) == pytest.approx(180.0)
    assert found[2] == 0.0
    near = Rotation.from_rotvec([[np.pi - 1e-5, 0, 0], [np.pi - 1e-6, 0, 0]]).as_matrix()
    assert np.isnan(twist(near, axis=(0, 1, 0))).tolist() == [False, True]
    holed = np.stack([np.eye(3)] * 2)
    holed[0, 2, 1] = NAN
    np.testing.assert_array_equal(twist(holed, axis=(0, 1, 0)), [NAN, 0.0])
    assert twist(np.eye(3), axis=(0, 1, 0)).shape == ()
    assert twist(np.zeros((0, 3, 3)), axis=(0, 1, 0)).shape == (0,)


@pytest.mark.parametrize("wrong", [
    -np.eye(3), np.diag([1.0, 1.0, -1.0]), np.zeros((3, 3)), 1.1 * np.eye(3), np.diag([1.0, 1.0, INF]),
    np.diag([1.0, 1.0, 1 + 0.6e-6]),
])  # fmt: skip
def test_what_is_no_rotation(wrong: np.ndarray) -> None:
    with pytest.raises(MetricError, match="rotation matrices"):
        twist(np.stack([np.eye(3), wrong]), axis=(0, 1, 0))


def test_twist_arguments() -> None:
    assert twist(np.diag([1.0, 1.0, 1 + 0.4e-6]), axis=(0, 1, 0)) == 0.0
    with pytest.raises(MetricError, match=r"rotations \(…, 3, 3\), got shape \(2, 3\)"):
        twist(np.zeros((2, 3)), axis=(0, 1, 0))
    with pytest.raises(MetricError, match=r"rotations \(…, 3, 3\), got shape \(3,\)"):
        twist(np.zeros(3), axis=(0, 1, 0))
    with pytest.raises(MetricError, match="3 entries on the last axis of rotation"):
        twist(np.eye(4), axis=(0, 1, 0))
    with pytest.raises(MetricError, match="length of the axis above zero"):
        twist(np.eye(3), axis=(0, 0, 0))
    with pytest.raises(MetricError, match="3 entries on the last axis of axis"):
        twist(np.eye(3), axis=(0, 1))


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("low", "high", "percent"), [(-90, 90, 50.0), (0, 160, 55.0), (-180, 180, 0.0), (171, 172, 95.0)]
)
def test_forearm_twisted_too_far(low: float, high: float, percent: float) -> None:
    planted = np.linspace(-171, 171, 20)  # steps of 18°: -171, -153, …, -9, 9, …, 171
    rotation = swing_and_twist((0, 1, 0), planted)
    found = card("forearm twist out of range")(rotation, axis=(0, 1, 0), limits=np.deg2rad((low, high)))
    assert found == percent


def test_forearm_limits() -> None:
    rotation = Rotation.from_rotvec([[0, 1.0, 0], [0, -0.5, 0]]).as_matrix()
    assert twist_out_of_range(rotation, axis=(0, 1, 0), limits=(-0.5, 1.0)) == 0.0
    assert twist_out_of_range(rotation, axis=(0, 1, 0), limits=(-0.5, 1.0 - 0.9e-6)) == 0.0
    assert twist_out_of_range(rotation, axis=(0, 1, 0), limits=(-0.5, 1.0 - 1.1e-6)) == 50.0
    assert twist_out_of_range(rotation, axis=(0, 1, 0), limits=(-0.5, 0.5), tolerance=0.6) == 0.0
    rotation[0] = NAN
    assert twist_out_of_range(rotation, axis=(0, 1, 0), limits=(-0.1, 1.0)) == 100.0
    assert np.isnan(twist_out_of_range(rotation[:1], axis=(0, 1, 0), limits=(-0.1, 1.0)))


# --- mirror

FACE = ["nose", "l_eye", "r_eye", "chin"]
EYES = [("l_eye", "r_eye")]


def mirrored(points: np.ndarray, width: float) -> np.ndarray:
    """What a model that does not care finds in the mirror image: the eyes change names."""
    image = points[..., [0, 2, 1, 3], :].copy()
    image[..., 0] = width - 1 - image[..., 0]
    return image


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("width", [1.0, 224.0, 641.0])
def test_an_even_handed_model_is_consistent(width: float) -> None:
    points = np.random.default_rng(0).uniform(0, 200, (5, 4, 2))
    found = flip_consistency_2d(points, mirrored(points, width), names=FACE, pairs=EYES, width=width)
    assert found == pytest.approx(0.0, abs=1e-9)
    space = np.random.default_rng(0).normal(size=(5, 4, 3))
    image = mirrored(space, 1.0)
    assert card("flip consistency·3D")(space, image, names=FACE, pairs=EYES) == pytest.approx(0.0, abs=1e-9)
    assert flip_consistency_3d(space, space, names=FACE, pairs=EYES) > 100


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("offset", [(3.0, 4.0), (-6.0, 8.0), (0.0, 1.0)])
def test_a_biased_model_shows_its_bias(offset: tuple[float, float]) -> None:
    # the found points are off by `offset` in both pictures: twice its x, none of its y
    points = np.random.default_rng(1).uniform(0, 200, (5, 4, 2))
    image = mirrored(points - offset, 300.0) + offset
    found = card("flip consistency·2D")(points, image, names=FACE, pairs=EYES, width=300.0)
    assert found == pytest.approx(2 * abs(offset[0]), abs=1e-9)
    one_sided = mirrored(points, 300.0) + offset
    found = flip_consistency_2d(points, one_sided, names=FACE, pairs=EYES, width=300.0)
    assert found == pytest.approx(np.hypot(*offset), rel=1e-9)


@pytest.mark.truth("closed form")
def test_a_model_that_swaps_the_eyes() -> None:
    points = np.zeros((1, 4, 3))
    points[0, 1], points[0, 2] = (0.03, 0.0, 0.0), (-0.03, 0.0, 0.0)
    # the mirror image looks the same; a model that keeps the sides of the picture finds the same points
    assert flip_consistency_3d(points, points, names=FACE, pairs=EYES) == pytest.approx(0.0, abs=1e-12)
    assert flip_consistency_3d(points, -points, names=FACE, pairs=EYES) == pytest.approx(30.0)
    assert flip_consistency_3d(points, points, names=FACE, pairs=[]) == pytest.approx(30.0)


def test_mirror_does_not_write_into_its_input() -> None:
    points = np.ones((2, 4, 2))
    image = points.copy()
    flip_consistency_2d(points, image, names=FACE, pairs=EYES, width=10)
    assert (image == 1).all()


def test_mirror_limits() -> None:
    points = np.zeros((4, 2))
    holed = points.copy()
    holed[1, 1] = NAN
    holed[3] = [9.0, 5.0]
    found = flip_consistency_2d(points, holed, names=FACE, pairs=EYES, width=10)
    assert found == pytest.approx((9 + 9 + 5) / 3)  # nose, the eye that was found, chin
    assert np.isnan(flip_consistency_2d(points * NAN, points, names=FACE, pairs=EYES, width=10))
    with pytest.raises(MetricError, match=r"points \(…, j, 2\), got shape \(4, 3\)"):
        flip_consistency_2d(np.zeros((4, 3)), np.zeros((4, 3)), names=FACE, pairs=EYES, width=10)
    with pytest.raises(MetricError, match=r"points \(…, j, 3\), got shape \(3,\)"):
        flip_consistency_3d(np.zeros(3), np.zeros(3), names=FACE, pairs=EYES)
    with pytest.raises(MetricError, match="points and mirrored of one shape"):
        flip_consistency_2d(points, points[:3], names=FACE, pairs=EYES, width=10)
    with pytest.raises(MetricError, match="width above zero"):
        flip_consistency_2d(points, points, names=FACE, pairs=EYES, width=0)
    with pytest.raises(MetricError, match="4 different names of points"):
        flip_consistency_2d(points, points, names=FACE[:3], pairs=EYES, width=10)
    with pytest.raises(MetricError, match="names among nose, l_eye, r_eye, chin, got l_ear"):
        flip_consistency_2d(points, points, names=FACE, pairs=[("l_ear", "r_eye")], width=10)
    for pairs in ([("nose", "nose")], [("l_eye", "r_eye"), ("chin", "r_eye")], [("nose", "l_eye", "r_eye")]):
        with pytest.raises(MetricError, match="pairs of different points"):
            flip_consistency_2d(points, points, names=FACE, pairs=pairs, width=10)  # type: ignore[arg-type]


# --- coverage


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(3))
def test_answers_counted_one_by_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    trials = [np.where(rng.random((t, 4)) < 0.7, NAN, 1.0) for t in (1, 5, 9, 2)]
    trials.append(np.full((3, 4), NAN))
    for trial in trials:
        trial[:, 2] = NAN
    rows = [row for trial in trials for row in trial]
    names = [f"coverage·{part}" for part in ("trials", "frames", "coordinates")]
    expected = [
        100 * sum(any(v == v for row in trial for v in row) for trial in trials) / 5,
        100 * sum(any(v == v for v in row) for row in rows) / 20,
        100 * sum(any(row[c] == row[c] for row in rows) for c in range(4)) / 4,
    ]
    assert [card(name)(trials) for name in names] == pytest.approx(expected, rel=1e-12)
    assert list(answered(trials)) == pytest.approx(expected, rel=1e-12)


def test_answer_limits() -> None:
    assert answered([[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]]) == (100.0, 100.0, 100.0)
    assert answered([[[NAN]]]) == (0.0, 0.0, 0.0)
    assert np.isnan(answered([])).all()
    assert answered([np.zeros((0, 1)), [[1.0]]]) == (50.0, 100.0, 100.0)
    with pytest.raises(MetricError, match="same coordinates in all trials"):
        answered([[[1.0]], [[1.0, 2.0]]])
    with pytest.raises(MetricError, match="trial with 2 axes"):
        answered([[1.0]])
