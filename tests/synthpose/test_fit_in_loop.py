"""Fits as pseudo-labels: nearer to the truth than what they are made from, and taken only where better."""

import numpy as np
import pytest

from capbench.biomech.body import fullbody
from capbench.biomech.kinematics import forward, points
from capbench.biomech.scale import scale_model
from capbench.biomech.tree import build_tree
from capbench.models.crop import plan
from cohorts.camera import Camera
from cohorts.errors import CapbenchError
from cohorts.skeleton import skeleton
from synthpose.adaptation import Labels
from synthpose.fit_in_loop import Film, Fit, FitInLoop, Fitting

POINTS = skeleton("synthpose-52")
SIZE = (96, 128)
FRAMES = 10


def camera(name, azimuth, *, away=3.5, height=1.2):
    """Looks at a point one metre above the origin; x right, y down, z ahead."""
    eye = np.array([away * np.cos(azimuth), height, away * np.sin(azimuth)])
    ahead = np.array([0.0, 1.0, 0.0]) - eye
    ahead /= np.linalg.norm(ahead)
    right = np.cross(ahead, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    turn = np.stack([right, np.cross(ahead, right), ahead])
    return Camera(name, [[600, 0, 180], [0, 600, 320], [0, 0, 1]], turn, -turn @ eye, (360, 640))


CAMERAS = tuple(camera(f"Cam{k}", angle) for k, angle in enumerate((0.2, 1.3, 2.6), 1))


@pytest.fixture(scope="module")
def truth():
    """(T, K, 3) landmarks of somebody 8 % smaller than the model, with longer legs, who steps and bows."""
    generic = fullbody(markers=POINTS.name)
    factor = {body.name: 0.92 for body in generic.bodies} | {"femur_r": 0.97, "femur_l": 0.97}
    model = scale_model(generic, {name: np.full(3, value) for name, value in factor.items()}, None)
    tree = build_tree(model)
    q = np.tile(tree.defaults, (FRAMES, 1))
    phase = np.linspace(0, 2 * np.pi, FRAMES)
    for name, (middle, reach, late) in {
        "hip_flexion_r": (15, 25, 0), "hip_flexion_l": (15, 25, np.pi), "knee_angle_r": (35, 30, 1),
        "knee_angle_l": (35, 30, 4), "lumbar_extension": (-10, 10, 0), "elbow_flex_r": (40, 20, 2),
        "elbow_flex_l": (40, 20, 5),
    }.items():  # fmt: skip
        q[:, tree.coordinates.index(name)] = np.radians(middle + reach * np.sin(phase + late))
    frames = forward(tree, q)
    own = {m.name: m for m in model.markers}
    places = np.array([own[name].location for name in POINTS.points])
    return points(tree, frames, [own[name].body for name in POINTS.points], places)


@pytest.fixture(scope="module")
def filmed(truth):
    """Labeller, and the true points (n, K, 2) of its crops, camera after camera."""
    seen = np.concatenate([camera.project(truth) for camera in CAMERAS])
    boxes = np.concatenate([seen.min(1) - 10, seen.max(1) + 10], axis=1)
    placed = plan(boxes, SIZE)
    rows = np.arange(len(CAMERAS) * FRAMES).reshape(len(CAMERAS), FRAMES).T
    film = Film("somebody", np.arange(FRAMES) / 10, CAMERAS, rows)
    return FitInLoop((film,), placed, POINTS), placed.to_crop(seen)


@pytest.fixture(scope="module")
def said(filmed):
    """What a network says: 1 px of noise, and in the second camera each tenth point 12 to 25 px off."""
    _, true = filmed
    random = np.random.default_rng(0)
    points = true + random.normal(0, 1.0, true.shape)
    second = slice(FRAMES, 2 * FRAMES)
    wrong = np.zeros(true.shape[:2], bool)
    wrong[second] = random.random((FRAMES, len(POINTS))) < 0.1
    angle = random.uniform(0, 2 * np.pi, wrong.sum())
    off = random.uniform(12, 25, wrong.sum())[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    points[wrong] += off
    return points, wrong


@pytest.fixture(scope="module")
def fit(filmed, said):
    return filmed[0].fitted(said[0], np.full(said[0].shape[:2], 0.9))


def error(points, true, where=...):
    return np.linalg.norm(points - true, axis=-1)[where]


@pytest.mark.truth("the truth that the points were made from")
def test_fits_are_nearer_to_the_truth_than_predictions(filmed, said, fit) -> None:
    _, true = filmed
    points, wrong = said
    assert fit.notes == ()
    assert np.isfinite(fit.points).all()
    assert error(points, true, ~wrong).mean() > 1.2  # sqrt(pi / 2) px, of noise alone
    assert error(points, true, wrong).mean() > 15
    # whichever way it is counted; the noise of 52 points in 3 views tells some 40 coordinates
    assert error(fit.points, true, ~wrong).mean() < 0.6 * error(points, true, ~wrong).mean()
    assert error(fit.points, true, wrong).mean() < 0.1 * error(points, true, wrong).mean()


def test_what_is_taken_are_the_fits_and_inside_the_crops_only(filmed, said, fit) -> None:
    loop, _ = filmed
    sure = np.full(said[0].shape[:2], 0.9)
    made = loop.taken(fit, said[0], sure, None)
    assert made.facts["taken"] == made.facts["kept"] == made.facts["person-frames"] == FRAMES
    assert np.array_equal(made.points, fit.points)
    x, y = fit.points[..., 0], fit.points[..., 1]
    inside = (x >= -0.5) & (x <= SIZE[0] - 0.5) & (y >= -0.5) & (y <= SIZE[1] - 0.5)
    assert np.array_equal(made.weight, inside.astype(float))


@pytest.mark.truth("by hand")
def test_the_distance_is_the_capped_mean_over_sure_points(filmed) -> None:
    loop, true = filmed
    points, sure = true.copy(), np.zeros(true.shape[:2])
    frame = 3
    rows = loop.films[0].rows[frame]
    sure[rows[0], :5] = 1.0  # five points 1 px off, one in another view 100 px off: capped
    points[rows[0], :5, 0] += 1.0
    sure[rows[1], 7] = 0.5
    points[rows[1], 7, 1] += 100.0
    points[rows[2], 9] += 50.0  # not sure: doesn't count
    far = loop.distances(true, points, sure)[0]
    expected = (5 * 1.0 / SIZE[1] + loop.asked.cap) / 6
    assert far[frame] == pytest.approx(expected, rel=1e-9)
    assert np.isinf(np.delete(far, frame)).all()  # nothing sure, nothing known
    sure[rows[1], 7] = 0.0  # five are too few
    assert np.isinf(loop.distances(true, points, sure)[0]).all()
    lost = true.copy()
    lost[rows[1]] = np.nan
    sure[rows[1], 7] = 0.5
    assert np.isinf(loop.distances(lost, points, sure)[0][frame])


def test_fits_that_get_worse_are_not_taken(filmed, said) -> None:
    loop, true = filmed
    sure = np.full(true.shape[:2], 0.9)
    rows = loop.films[0].rows
    kept, new = true + 0.8, true + 0.8
    worse, better, far = 2, 5, 7
    new[rows[worse]] = true[rows[worse]] + 1.2
    new[rows[better]] = true[rows[better]] + 0.3
    kept[rows[far]], new[rows[far]] = np.nan, true[rows[far]] + 4.0  # 5.7 px of 128: above the bar of 0.02
    before = Labels(kept, np.ones(true.shape[:2]), {})
    made = loop.taken(Fit(new, {}, ()), true, sure, before)
    assert np.array_equal(made.points[rows[worse]], kept[rows[worse]])
    assert np.array_equal(made.points[rows[better]], new[rows[better]])
    assert np.isnan(made.points[rows[far]]).all()
    assert (made.weight[rows[far]] == 0).all()
    equal = [k for k in range(FRAMES) if k not in (worse, better, far)]
    assert np.array_equal(made.points[rows[equal]], kept[rows[equal]])  # no better is not better
    assert (made.facts["taken"], made.facts["kept"]) == (1, FRAMES - 1)
    # held against what the network says now: where it now agrees with the other fit, that one is taken
    moved = loop.taken(Fit(new, {}, ()), new, sure, before)
    assert np.array_equal(moved.points[rows[worse]], new[rows[worse]])
    strict = FitInLoop(loop.films, loop.placed, POINTS, Fitting(bar=0.003))
    assert np.array_equal(
        strict.taken(Fit(new, {}, ()), true, sure, before).points[rows[better]], kept[rows[better]]
    )


@pytest.mark.truth("a point moved in one view of three")
def test_rays_that_meet_are_marked_better(filmed) -> None:
    from synthpose.teacher import Views

    loop, true = filmed
    numbers = np.arange(len(true))

    def marks(points, rows=numbers):
        maps = np.broadcast_to(np.eye(2, 3), (2, len(points), 2, 3))
        views = Views(np.stack([points, points]), np.ones((2, *points.shape[:2])), maps, SIZE[1])
        return loop.marks(views, rows)["rays"]

    assert marks(true).max() < 1e-6
    moved = true.copy()
    frame = loop.films[0].rows[4]
    moved[frame[0], :, 0] += 3.0
    far = marks(moved)
    # two views agree, the third is 3 px of 128 off
    assert far[frame] == pytest.approx([3 / SIZE[1], 0, 0], abs=1e-6)
    assert np.delete(far, frame).max() < 1e-6
    # crops whose trial's other views are not among those judged by are marked as if they met nowhere
    alone = marks(true[frame[:1]], frame[:1])
    assert alone == pytest.approx(0.25)


def test_a_person_who_cannot_be_fitted_is_told(filmed, said) -> None:
    loop, true = filmed
    lost = loop.fitted(said[0], np.zeros(true.shape[:2]))
    assert np.isnan(lost.points).all()
    assert len(lost.notes) == 1
    assert "somebody" in lost.notes[0]
    made = loop.taken(lost, said[0], np.zeros(true.shape[:2]), None)
    assert not made.weight.any()
    assert made.facts["people not fitted"] == 1


def test_what_cannot_work_is_refused(filmed) -> None:
    loop, _ = filmed
    film = loop.films[0]
    with pytest.raises(CapbenchError, match="wears"):
        FitInLoop(loop.films, loop.placed, skeleton("coco-wholebody-133"))
    with pytest.raises(CapbenchError, match="two cameras"):
        Film("x", film.time, film.cameras[:1], film.rows[:, :1])
    with pytest.raises(CapbenchError, match="crop's number"):
        Film("x", film.time, film.cameras, film.rows[:, :2])
    with pytest.raises(CapbenchError, match="once"):
        FitInLoop((film, film), loop.placed, POINTS)
    with pytest.raises(CapbenchError, match="films"):
        FitInLoop((), loop.placed, POINTS)


def test_its_hash_knows_cameras_and_rows(filmed) -> None:
    loop, _ = filmed
    film = loop.films[0]
    other = Film("somebody", film.time, (*CAMERAS[:2], camera("Cam3", 2.7)), film.rows)
    turned = Film("somebody", film.time, film.cameras, film.rows, up="+z")
    hashes = {
        FitInLoop((one,), loop.placed, POINTS, how).sha256
        for one in (film, other, turned)
        for how in (Fitting(), Fitting(bar=0.03))
    }
    assert len(hashes) == 6
    assert FitInLoop((film,), loop.placed, POINTS).sha256 == loop.sha256
