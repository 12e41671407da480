"""PCK, EPE and MPJPE of evaluations against numpy by hand; subsets of points; cameras that were lost."""

import math
from dataclasses import replace

import numpy as np
import pytest
from evaluations import KEYS, ONE
from spoiling import landmarks_of

from capbench.run import beside
from capbench.run.fitting import as_worn
from cohorts import formats
from cohorts.recording import Keypoints, Markers
from cohorts.remap import remap_keypoints
from cohorts.skeleton import Skeleton, skeleton
from cohorts.store import open_cohort

CAMERAS = ("Cam1", "Cam3")
TRUE = skeleton("synthpose-52")
#: trials -> activities -> people: each of the four counts a quarter here
QUARTER = 0.25


@pytest.fixture(scope="module")
def cohort(twins):
    return open_cohort(twins)


@pytest.fixture(scope="module")
def trials(cohort):
    return tuple(t for t in cohort.cohort.trials if t.activity != "static")


@pytest.fixture(scope="module")
def truth(cohort, trials) -> dict[str, dict[str, Keypoints]]:
    return {t.key: {c: formats.read(cohort.path(t.extras[f"keypoints:{c}"]))[1][0] for c in CAMERAS}
            for t in trials}  # fmt: skip


@pytest.fixture(scope="module")
def places(twins, cohort, trials) -> dict[str, Markers]:
    return {t.key: formats.read(cohort.path(t.markers))[1] for t in trials}


def moved(track: Keypoints, off) -> Keypoints:
    """As a model would give it: from 0 on, ``off`` by some pixels."""
    return replace(track, time=track.time - track.time[0], xy=track.xy + off, frames=None)


def random_off(track: Keypoints, seed: int, size: float):
    return size * np.random.default_rng(seed).normal(size=track.xy.shape)


def pixels(cohort, trials, tracks, cameras=CAMERAS):
    notes: dict[str, str] = {}
    found = beside.of_pixels(cohort, trials, tracks, cameras, seed=0, notes=notes)
    assert not notes
    return {row.name: row for row in found}


def space(cohort, trials, markers, lags=None):
    notes: dict[str, str] = {}
    found = beside.of_space(cohort, trials, markers, lags or {}, seed=0, notes=notes)
    assert not notes
    return {row.name: row for row in found}


# --- pictures ------------------------------------------------------------------------------------


def by_hand(truth, tracks, columns=slice(None)) -> tuple[float, float]:
    """PCK (of the true points' box, per point, then over points) and EPE in one trial."""
    right, far = [], []
    for camera in truth:
        for t in range(len(truth[camera])):
            true = truth[camera].xy[t]
            box = max(true[:, 0].max() - true[:, 0].min(), true[:, 1].max() - true[:, 1].min())
            distance = np.hypot(*(tracks[camera].xy[t] - true[columns]).T)
            right.append(distance < 0.05 * box)
            far.append(distance)
    return 100 * float(np.mean(np.mean(right, axis=0))), float(np.mean(far))


@pytest.mark.truth("numpy by hand")
def test_pck_and_epe_are_those_of_loops(cohort, trials, truth) -> None:
    tracks = {key: {c: moved(t, random_off(t, n + 10 * k, 1 + n)) for k, (c, t) in enumerate(own.items())}
              for n, (key, own) in enumerate(truth.items())}  # fmt: skip
    found = pixels(cohort, trials, tracks)
    hand = [by_hand(truth[k], tracks[k]) for k in KEYS]
    pck, epe = found["PCK@0.05·bbox"], found["EPE·2D"]
    assert pck.value == pytest.approx(np.mean([h[0] for h in hand])) and 20 < pck.value < 90
    assert epe.value == pytest.approx(np.mean([h[1] for h in hand]))
    assert pck.coverage == epe.coverage == 100 and pck.n == 2
    assert (pck.unit, pck.direction, epe.unit, epe.direction) == ("%", "higher", "px", "lower")
    assert epe.low < epe.value < epe.high


@pytest.mark.truth("numpy by hand")
def test_a_skeleton_of_fewer_points_is_held_against_those_it_has(cohort, trials, truth) -> None:
    coco = skeleton("coco-17")
    back = TRUE.map_to(coco)
    tracks = {key: {c: remap_keypoints(moved(t, random_off(t, 7, 2.0)), back) for c, t in own.items()}
              for key, own in truth.items()}  # fmt: skip
    found = pixels(cohort, trials, tracks)
    columns = [TRUE.index(p) for p in coco.points]  # of the same names
    assert [TRUE.points[c] for c in columns] == list(coco.points)
    hand = [by_hand(truth[k], tracks[k], columns) for k in KEYS]
    assert found["PCK@0.05·bbox"].value == pytest.approx(np.mean([h[0] for h in hand]))
    assert found["EPE·2D"].value == pytest.approx(np.mean([h[1] for h in hand]))
    assert found["EPE·2D"].coverage == 100  # of what it could answer


def test_points_that_mark_nothing_true_have_no_score(cohort, trials, truth) -> None:
    points = skeleton("mano-21")
    tracks = {key: {c: Keypoints(c, t.time, np.zeros((len(t), 21, 2)), points) for c, t in own.items()}
              for key, own in truth.items()}  # fmt: skip
    for row in pixels(cohort, trials, tracks).values():
        assert row.value is None and row.coverage == 0


def test_cameras_may_speak_of_different_points(cohort, trials, truth) -> None:
    """What both have is compared."""
    back = TRUE.map_to(skeleton("coco-17"))
    tracks = {key: {"Cam1": moved(own["Cam1"], 3.0), "Cam3": remap_keypoints(moved(own["Cam3"], 3.0), back)}
              for key, own in truth.items()}  # fmt: skip
    found = pixels(cohort, trials, tracks)["EPE·2D"]
    assert found.value == pytest.approx(3 * math.sqrt(2)) and found.coverage == 100


@pytest.mark.truth("closed form")
def test_a_lost_camera_is_unanswered(cohort, trials, truth) -> None:
    """In one trial, in all of them, or a trial with none: what is there is 2 pixels off."""
    good = {key: {c: moved(t, [2.0, 0]) for c, t in own.items()} for key, own in truth.items()}
    frames = {key: {c: len(t) for c, t in own.items()} for key, own in truth.items()}

    def share(key: str) -> float:
        return frames[key]["Cam1"] / sum(frames[key].values())

    lost = good | {KEYS[0]: {"Cam1": good[KEYS[0]]["Cam1"]}}
    found = pixels(cohort, trials, lost)
    assert found["EPE·2D"].value == pytest.approx(2)
    assert found["EPE·2D"].coverage == pytest.approx(100 * QUARTER * (3 + share(KEYS[0])))
    assert found["PCK@0.05·bbox"].value < pixels(cohort, trials, good)["PCK@0.05·bbox"].value
    everywhere = {key: {"Cam1": own["Cam1"]} for key, own in good.items()}
    found = pixels(cohort, trials, everywhere)
    assert found["EPE·2D"].coverage == pytest.approx(100 * np.mean([share(k) for k in KEYS]))
    assert pixels(cohort, trials, everywhere, ("Cam1",))["EPE·2D"].coverage == 100  # asked for one only
    nothing = {key: own for key, own in good.items() if key != KEYS[2]}
    found = pixels(cohort, trials, nothing)
    assert found["EPE·2D"].value == pytest.approx(2) and found["EPE·2D"].coverage == pytest.approx(75)
    assert pixels(cohort, trials, {}) == {}


@pytest.mark.truth("closed form")
def test_missing_frames_and_points_are_unanswered(cohort, trials, truth) -> None:
    tracks = {key: {c: moved(t, [0, 3.0]) for c, t in own.items()} for key, own in truth.items()}
    one = tracks[KEYS[1]]["Cam3"]
    xy = one.xy.copy()
    xy[:, 5] = np.nan
    tracks[KEYS[1]] |= {"Cam3": replace(one, xy=xy, confidence=np.where(np.isnan(xy[..., 0]), 0, 1.0))}
    short = tracks[KEYS[3]]["Cam1"]
    tracks[KEYS[3]] |= {"Cam1": short[:-2]}
    found = pixels(cohort, trials, tracks)["EPE·2D"]
    assert found.value == pytest.approx(3)
    points, frames = len(TRUE), len(one)
    gone = frames / (2 * frames * points), 2 / (2 * frames)
    assert found.coverage == pytest.approx(100 - 100 * QUARTER * sum(gone))


def test_frames_meet_by_number_where_both_count_them(cohort, trials, truth) -> None:
    """A model that was given the frames from the second on."""
    tracks = {}
    for key, own in truth.items():
        tracks[key] = {c: replace(moved(t, [1.0, 0]), frames=t.frames)[1:] for c, t in own.items()}
    found = pixels(cohort, trials, tracks)["EPE·2D"]
    lost = [len(own) / sum(map(len, truth[key].values())) for key, own in truth.items()]
    assert found.value == pytest.approx(1) and found.coverage == pytest.approx(100 * (1 - np.mean(lost)))


# --- space ---------------------------------------------------------------------------------------


@pytest.mark.truth("numpy by hand")
def test_mpjpe_is_the_mean_distance_with_and_without_the_best_rigid_move(cohort, trials, places) -> None:
    random = np.random.default_rng(0)
    markers, plain, rigid = {}, [], []
    for key, true in places.items():
        turn = np.linalg.qr(random.normal(size=(3, 3)))[0]
        turn *= np.sign(np.linalg.det(turn))
        own = true.xyz @ turn.T + [0.1, -0.2, 0.3] + 0.02 * random.normal(size=true.xyz.shape)
        markers[key] = replace(true, xyz=own), TRUE
        plain.append(np.linalg.norm(own - true.xyz, axis=-1).mean())
        far = []
        for p, r in zip(own, true.xyz, strict=True):
            a, b = p - p.mean(0), r - r.mean(0)
            u, _, vt = np.linalg.svd(a.T @ b)
            flip = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
            far.append(np.linalg.norm(a @ u @ flip @ vt - b, axis=-1).mean())
        rigid.append(np.mean(far))
    found = space(cohort, trials, markers)
    assert found["MPJPE·world"].value == pytest.approx(1000 * np.mean(plain))
    assert found["PA-MPJPE·rigid"].value == pytest.approx(1000 * np.mean(rigid))
    assert found["MPJPE·world"].coverage == 100 and found["MPJPE·world"].unit == "mm"


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("name", ["coco-17", "crowdpose-14", "opencap-augmenter-43"])
def test_points_of_another_skeleton_are_held_against_the_same_landmarks(name, cohort, trials, places) -> None:
    """Also where the model wears them under other names."""
    points = skeleton(name)
    exact = TRUE.map_to(points).exact
    markers = {}
    for key, true in places.items():
        xyz = np.full((len(true), len(points), 3), np.nan)
        for target, source in exact.items():
            xyz[:, points.index(target)] = true.xyz[:, true.names.index(source)] + [0, 0.03, 0.04]
        markers[key] = as_worn(Markers(true.time, points.points, xyz), points), points
    found = space(cohort, trials, markers)["MPJPE·world"]
    assert found.value == pytest.approx(50) and found.coverage == 100


def test_a_point_that_was_never_found_is_unanswered(cohort, trials, places) -> None:
    markers = {}
    for key, true in places.items():
        xyz = true.xyz + np.array([0.01, 0, 0])
        if key == KEYS[0]:
            xyz[:, :13] = np.nan
        markers[key] = as_worn(Markers(true.time, true.names, xyz), TRUE), TRUE
    assert len(markers[KEYS[0]][0].names) == len(markers[KEYS[1]][0].names) - 13
    found = space(cohort, trials, markers)["MPJPE·world"]
    assert found.value == pytest.approx(10)
    assert found.coverage == pytest.approx(100 * (1 - QUARTER * 13 / 52))
    del markers[KEYS[1]]
    found = space(cohort, trials, markers)["MPJPE·world"]
    assert found.coverage == pytest.approx(100 * (1 - QUARTER * 13 / 52 - QUARTER))
    assert space(cohort, trials, {}) == {}


def test_the_lag_is_taken_out(cohort, trials, places) -> None:
    late = {k: (Markers(m.time + 0.04, m.names, m.xyz), TRUE) for k, m in places.items()}
    with_lag = space(cohort, trials, late, dict.fromkeys(KEYS, 0.04))["MPJPE·world"]
    without = space(cohort, trials, late, dict.fromkeys(KEYS, math.nan))["MPJPE·world"]
    assert with_lag.value == pytest.approx(0, abs=1e-6) and with_lag.coverage == 100
    assert without.value > 10 and without.coverage < 100


def test_an_own_skeleton_by_its_landmarks(cohort, trials, places) -> None:
    """Names are the model's own, landmarks tell what they mark."""
    coco = skeleton("coco-17")
    mine = Skeleton("mine", tuple(f"k{i}" for i in range(17)), coco.landmarks)
    markers = {k: (as_worn(Markers(m.time, mine.points, m.select(coco.points).xyz), mine), mine)
               for k, m in places.items()}  # fmt: skip
    found = space(cohort, trials, markers)["MPJPE·world"]
    assert found.value == pytest.approx(0, abs=1e-9) and found.coverage == 100


def test_measured_cohorts_have_no_true_landmarks(cohort, trials, places) -> None:
    card = cohort.card.model_copy(
        update={"reference": cohort.card.reference.model_copy(update={"exact": False})}
    )
    markers = {k: (m, TRUE) for k, m in places.items()}
    assert space(replace(cohort, card=card), trials, markers) == {}


def test_truth_that_can_t_be_read_stands_beside_nothing(twins, cohort, trials, places, tmp_path) -> None:
    import shutil

    shutil.copytree(twins, tmp_path / "cohort")
    landmarks_of(tmp_path / "cohort").write_text("nothing")
    notes: dict[str, str] = {}
    markers = {k: (m, TRUE) for k, m in places.items()}
    found = beside.of_space(open_cohort(tmp_path / "cohort"), trials, markers, {}, seed=0, notes=notes)
    assert set(notes) == {f"{ONE}/walk/gait1"} and found[0].value == pytest.approx(0, abs=1e-9)
