"""Training pictures: points are where OpenCV projects them, flags are what rays say, people are new."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from capbench.models.crop import cut as cut_out
from capbench.models.crop import plan as plan_crops
from cohorts.card import read_card
from cohorts.errors import CapbenchError
from synthpose import shots
from synthpose.data_recipe import DataRecipe
from synthpose.motion import CONDITIONS
from synthpose.people import draw_phenotype
from synthpose.postures import OWN_SEEDS, STANDING, Library, own_seed, varied
from synthpose.recipe import chance, plan, recipe_of
from synthpose.render import rasterise
from synthpose.shots import HIDDEN, OUTSIDE, POINTS, SEEN, Studio, draw_shot
from synthpose.viewpoints import Viewpoint, draw_viewpoint, straight

ROOT = Path(__file__).parents[2]
ALL_BUT = tuple(c for c in CONDITIONS if c not in ("gait", "sts"))
DATA = DataRecipe(
    seed=11, size=(96, 128), held_out_conditions=ALL_BUT, shots_per_person=24, motions_per_person=2,
    variants=1, people={"adult": 1.0}, others=0.3, things=0.4,
)  # fmt: skip


@pytest.fixture(scope="module")
def studio() -> Studio:
    return shots.studio(DATA)


# --- where points are -------------------------------------------------------------------------------


@pytest.mark.truth("OpenCV's projection, and the crop that inference plans")
def test_points_are_where_opencv_and_the_crop_put_them(studio) -> None:
    for number in range(12):
        taken = studio.take(number)
        camera, crops = taken.view.camera, taken.view.crops
        turn, _ = cv2.Rodrigues(camera.rotation)
        bend = camera.distortion if len(camera.distortion) else None
        xy, _ = cv2.projectPoints(taken.marks.copy(), turn.copy(), camera.translation, camera.matrix, bend)
        np.testing.assert_allclose(crops.to_crop(xy[:, 0][None])[0], taken.points, atol=1e-6)
        shot = studio.shot(number)
        np.testing.assert_array_equal(shot.points, taken.points.astype(np.float32))
        assert shot.picture.shape == (128, 96, 3) and shot.points.shape == (52, 2)


@pytest.mark.truth("the whole picture, cut as inference cuts it")
def test_a_shot_is_the_crop_of_the_whole_picture(studio) -> None:
    """At scale 1/2 cutting takes every second pixel: the same rays, so the same triangles."""
    taken = studio.take(next(n for n in range(24) if not len(studio.take(n).view.camera.distortion)))
    scene, camera = taken.picture.scene, taken.view.camera
    boxes = plan_crops(np.array([[0.0, 0.0, 96 * 2 / 1.25, 128 * 2 / 1.25]]), (96, 128), padding=1.25)
    middle = np.round(camera.project(taken.marks).mean(axis=0))
    crops = replace(boxes, shift=np.array([[48.0, 64.0]]) - middle / 2)
    np.testing.assert_allclose(crops.scale, 0.5)
    crop = Viewpoint(camera, crops).crop()

    def seen(through):
        pixels = through.project(scene.vertices)
        depth = (scene.vertices @ through.rotation.T + through.translation)[:, 2]
        return rasterise(pixels, depth, scene.stage.faces, size=through.size)

    mine, whole = seen(crop), seen(camera)
    depth = np.where(np.isfinite(whole.depth_hw), whole.depth_hw * 20, 255)  # as a picture: 5 cm a step
    frame = np.repeat(np.clip(depth, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    theirs = cut_out([frame], crops)[0, ..., 0].astype(int)
    ours = np.where(np.isfinite(mine.depth_hw), np.clip(mine.depth_hw * 20, 0, 255), 255).astype(int)
    x, y = (np.arange(n) for n in (96, 128))
    at_x, at_y = (x - crops.shift[0, 0]) * 2, (y - crops.shift[0, 1]) * 2
    inside = np.outer((at_y >= 0) & (at_y <= camera.size[1] - 1), (at_x >= 0) & (at_x <= camera.size[0] - 1))
    assert (ours[inside] < 255).mean() > 0.03
    assert (np.abs(theirs - ours)[inside] <= 1).mean() > 0.999


def test_finer_pixels_lie_evenly_in_their_own() -> None:
    view = draw_viewpoint(DATA, np.random.default_rng(0).uniform(0, 1.7, (52, 3)), np.random.default_rng(1))
    point = np.array([[0.8, 0.9, 0.8]])
    one, two, three = (view.crop(k).project(point)[0] for k in (1, 2, 3))
    np.testing.assert_allclose(two, 2 * one + 0.5, atol=1e-9)  # middles of pixels: 0 is between 0 and 1
    np.testing.assert_allclose(three, 3 * one + 1, atol=1e-9)
    assert view.crop(2).size == (192, 256)


@pytest.mark.truth("brute force: every ray against every triangle")
def test_hidden_points_have_something_before_them(studio) -> None:
    agree = total = 0
    for number in range(8):
        taken = studio.take(number)
        scene, eye = taken.picture.scene, taken.view.camera.centre
        a, b, c = (scene.vertices[scene.stage.faces[:, k]] for k in range(3))
        tolerance = studio.session(0).tolerance
        for k in np.flatnonzero(taken.visible != OUTSIDE).tolist():
            way = taken.marks[k] - eye
            first = first_hit(eye, way, a, b, c)  # 1 is the landmark itself
            depth = float((taken.marks[k] - eye) @ taken.view.camera.rotation[2])
            gap = (1 - first) * depth
            if abs(gap - tolerance[k]) < 0.02:  # too near to call
                continue
            total += 1
            own = np.isinf(first) or scene.stage.person[hit_face(eye, way, a, b, c)] == 1
            agree += (gap < tolerance[k] and own) == (taken.visible[k] == SEEN)
    assert total > 150
    assert agree / total > 0.94  # a pixel's middle is not the landmark: thin things and outlines differ


def hits(origin, way, a, b, c):
    """Möller and Trumbore: how far along the ray each triangle is met, infinite where it is not."""
    u, v = b - a, c - a
    p = np.cross(way, v)
    det = np.einsum("fi,fi->f", u, p)
    with np.errstate(all="ignore"):
        s = origin - a
        x = np.einsum("fi,fi->f", s, p) / det
        q = np.cross(s, u)
        y = q @ way / det
        t = np.einsum("fi,fi->f", v, q) / det
        good = (x >= 0) & (y >= 0) & (x + y <= 1) & (t > 0)
    return np.where(good, t, np.inf)


def first_hit(*ray) -> float:
    return float(hits(*ray).min())


def hit_face(*ray) -> int:
    return int(hits(*ray).argmin())


def test_outside_is_outside_of_crop_or_picture(studio) -> None:
    found = 0
    for number in range(24):
        taken, shot = studio.take(number), studio.shot(number)
        at = taken.view.crops.to_picture(taken.points[None])[0]
        width, height = taken.view.camera.size
        for k in range(52):
            x, y = taken.points[k]
            u, v = at[k]
            there = -0.5 <= x <= 95.5 and -0.5 <= y <= 127.5 and -0.5 <= u <= width - 0.5
            there = there and -0.5 <= v <= height - 0.5
            assert (shot.visible[k] != OUTSIDE) == there
            found += not there
        black = np.ones((128, 96), bool)
        for row in range(128):
            for column in (0, 95):
                x, y = taken.view.crops.to_picture(np.array([[[column, row]]], float))[0, 0]
                black[row, column] = not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5)
        for column in (0, 95):  # compression rings a little
            assert shot.picture[black[:, column], column].max(initial=0) < 60
    assert found > 20
    assert {SEEN, HIDDEN, OUTSIDE} == {2, 1, 0}


def test_a_straight_camera_sees_nearly_what_the_bent_one_does() -> None:
    """Within the picture, in pixels of the crop; what is behind people needs no more."""
    off = []
    for seed in range(60):
        random = np.random.default_rng(seed)
        view = draw_viewpoint(DATA, random.uniform([-0.2, 0, -0.25], [0.2, 1.7, 0.25], (52, 3)), random)
        crop = view.crop()
        plain = straight(crop)
        assert not len(plain.distortion)
        pixels = np.stack(np.meshgrid(np.linspace(0, 95, 5), np.linspace(0, 127, 5)), -1).reshape(-1, 2)
        centre, way = crop.ray(pixels)
        gap = np.linalg.norm(plain.project(centre + 4 * way) - pixels, axis=1)[view.inside(pixels)]
        off.append(np.nanmax(gap, initial=0.0))
    assert np.median(off) < 0.4 and np.percentile(off, 90) < 1.5


# --- who and what -----------------------------------------------------------------------------------


def test_a_shot_follows_from_its_number_alone(studio) -> None:
    fresh = Studio(DATA)
    fresh.shot(2)
    for number in (23, 3):
        one, other = fresh.shot(number), studio.shot(number)
        assert one.jpeg == other.jpeg and one.condition == other.condition
        assert one.person == other.person == 0
        np.testing.assert_array_equal(one.points, other.points)
        np.testing.assert_array_equal(one.visible, other.visible)
    assert fresh.shot(2).jpeg != fresh.shot(3).jpeg
    assert DATA.model_copy(update={"seed": 12}).digest != DATA.digest
    with pytest.raises(CapbenchError, match="from 0 on"):
        draw_shot(DATA, -1)


def test_held_out_conditions_are_never_performed(monkeypatch) -> None:
    asked: list[str] = []
    library = Library(DATA)
    monkeypatch.setattr(library, "motion", lambda condition, variant: asked.append(condition))
    for number in range(200):
        library.drawn(np.random.default_rng(number))
    assert set(asked) == {"gait", "sts", STANDING}
    assert {c for c, _ in library.names} == {"gait", "sts", STANDING}
    with pytest.raises(ValueError, match="at least one condition"):
        DataRecipe(seed=1, held_out_conditions=tuple(CONDITIONS))
    with pytest.raises(ValueError, match="conditions among"):
        DataRecipe(seed=1, held_out_conditions=("hopping",))


def test_nobody_is_from_a_cohort() -> None:
    """Seeds of training are 2^32 and more, of cohorts' people below 2^31, so no numbers are shared."""
    theirs = set()
    for name in (
        "clinic",
        "clinic-mini",
        "clinic-train",
        "clinic-unseen",
        "clinic-restyled",
        "clinic-hidden",
    ):
        card = read_card(ROOT / "cohorts" / f"{name}.yaml")
        for seed in (None, 0, 5) if name != "clinic-hidden" else (0, 123456789):
            for person in plan(recipe_of(card, seed=seed)):
                assert person.seed < 2**31 and all(t.seed < 2**31 for t in person.trials)
                theirs.add(str(draw_phenotype(person.seed, group=person.group)))
    seeds = [own_seed(chance(s, "person", k)) for s in (0, 71, 1000003) for k in range(100)]
    assert min(seeds) >= OWN_SEEDS == 2**32
    assert not theirs & {str(draw_phenotype(s, group=g)) for s in seeds for g in ("child", "adult")}
    # the same 32 bits with nothing above them are another stream
    low = [np.random.default_rng(np.random.SeedSequence([s % 2**32, 7])).random() for s in seeds]
    high = [np.random.default_rng(np.random.SeedSequence([s, 7])).random() for s in seeds]
    assert not set(low) & set(high)


def test_varied_postures_stay_within_every_joints_range(studio) -> None:
    session = studio.session(0)
    model, moments = session.subject.person.model, session.moments[0]
    random = np.random.default_rng(3)
    wild = DATA.model_copy(update={"perturbed": 1.0, "free_arms": 1.0})
    made = np.array([varied(moments.values[0], moments.names, model, wild, random) for _ in range(200)])
    for k, coordinate in enumerate(model.coordinates):
        assert moments.names[k] == coordinate.name
        low, high = coordinate.range
        assert low - 1e-12 <= made[:, k].min() and made[:, k].max() <= high + 1e-12
    still = DATA.model_copy(update={"perturbed": 0.0, "free_arms": 0.0})
    body = [k for k, n in enumerate(moments.names) if not n.startswith("neck")]
    same = varied(moments.values[0], moments.names, model, still, random)
    np.testing.assert_allclose(same[body], moments.values[0][body], atol=1e-12)
    knee, arm = moments.names.index("knee_angle_r"), moments.names.index("arm_flex_r")
    assert made[:, knee].std() > 0.1 and np.ptp(made[:, arm]) > 2.5


def test_everybody_stands_on_the_floor(studio) -> None:
    low = studio.session(0).vertices[..., 1].min(axis=1)
    np.testing.assert_allclose(low, 0.0, atol=1e-9)  # nobody jumps in gait and sit-to-stand


def test_cameras_stand_all_round_and_boxes_are_a_little_off() -> None:
    """Azimuths fill the circle, heights their range, the person is mostly but not always whole."""
    marks = np.random.default_rng(0).uniform([-0.2, 0.0, -0.25], [0.2, 1.7, 0.25], (52, 3))
    random = np.random.default_rng(8)
    views = [draw_viewpoint(DATA, marks, random) for _ in range(400)]
    off = np.array([v.camera.centre - marks.mean(axis=0) for v in views])
    turns = np.arctan2(off[:, 2], off[:, 0])
    share, _ = np.histogram(turns, bins=8, range=(-np.pi, np.pi))
    assert share.min() > 20
    height = np.array([v.camera.centre[1] for v in views])
    assert height.min() > 0.3 - 1e-9 and height.max() < 2.2 + 1e-9 and np.ptp(height) > 1.5
    inside = np.array([v.inside(v.crop().project(marks)).mean() for v in views])
    assert 0.6 < (inside == 1).mean() < 0.95 and inside.min() >= 8 / 52
    tall = np.array([np.ptp(v.crop().project(marks)[:, 1]) / 128 for v in views])
    assert 0.4 < np.median(tall) < 0.8 and tall.min() < 0.35
    assert 0.2 < np.mean([len(v.camera.distortion) == 0 for v in views]) < 0.4


def test_points_are_named_as_the_skeleton_and_pictures_have_light(studio) -> None:
    made = [studio.shot(k) for k in range(24)]
    assert POINTS[:2] == ("nose", "left_eye") and len(POINTS) == 52
    bright = [s.picture[s.picture.sum(axis=2) > 0].mean() for s in made]
    assert 20 < np.median(bright) < 200
    shares = np.bincount(np.concatenate([s.visible for s in made]), minlength=3) / (24 * 52)
    assert shares[SEEN] > 0.35 and shares[HIDDEN] > 0.15 and shares[OUTSIDE] < 0.3
    assert {s.condition for s in made} <= {"gait", "sts", STANDING}


def test_same_bytes_with_one_thread_or_several() -> None:
    code = f"""
import hashlib
from synthpose.data_recipe import DataRecipe
from synthpose.shots import draw_shot
data = DataRecipe.model_validate_json({DATA.model_dump_json()!r})
data = data.model_copy(update=dict(shots_per_person=4, motions_per_person=1, others=0.0))
for k in (0, 3):
    shot = draw_shot(data, k)
    print(hashlib.sha256(shot.jpeg + shot.points.tobytes() + shot.visible.tobytes()).hexdigest())
"""

    def ran(threads: str) -> str:
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=os.environ | dict.fromkeys(names, threads),
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout

    one = ran("1")
    assert len(set(one.split())) == 2 and ran("2") == one
