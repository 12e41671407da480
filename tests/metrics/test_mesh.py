"""Planted meshes and rotations, and what AGORA's published tables say of rounding."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from metrics import catalogue
from metrics.arrays import MetricError
from metrics.mesh import (
    found_score,
    full_body,
    mpjae,
    normalised_error,
    pa_mpjae,
    people_score,
    pve,
    rotation_errors,
    vertex_errors,
)

pytestmark = pytest.mark.filterwarnings("error")
NAN = float("nan")


def close(expected, rel: float = 1e-9, abs: float = 0.0):
    return pytest.approx(expected, rel=rel, abs=abs)


def meshes(seed: int, frames: int = 4, vertices: int = 30):
    rng = np.random.default_rng(seed)
    true = rng.normal(scale=0.4, size=(frames, vertices, 3))
    turn = Rotation.random(rng=rng).as_matrix()
    found = 1.2 * (true + rng.normal(scale=0.05, size=true.shape)) @ turn.T + np.array([0.3, 0, -0.2])
    return found, true, rng.normal(size=(frames, 3)), rng.normal(size=(frames, 3))


def rotations(seed: int, *shape: int) -> np.ndarray:
    count = int(np.prod(shape))
    return Rotation.random(count, rng=np.random.default_rng(seed)).as_matrix().reshape(*shape, 3, 3)


# vertices


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(3))
def test_vertices_one_by_one(seed):
    p, g, p_root, g_root = meshes(seed)
    world = [[1000 * math.dist(u, v) for u, v in zip(x, y, strict=True)] for x, y in zip(p, g, strict=True)]
    assert vertex_errors(p, g, align="none") == close(np.array(world))
    assert pve(p, g, align="none") == close(np.mean(world))
    rooted = [
        [1000 * math.dist(u - a, v - b) for u, v in zip(x, y, strict=True)]
        for x, y, a, b in zip(p, g, p_root, g_root, strict=True)
    ]
    roots = {"predicted_root": p_root, "reference_root": g_root}
    assert vertex_errors(p, g, align="root", **roots) == close(np.array(rooted))
    assert pve(p, g, align="root", **roots) == close(np.mean(rooted))
    aligned = []
    for x, y in zip(p, g, strict=True):
        a, b = x - x.mean(axis=0), y - y.mean(axis=0)
        a = Rotation.align_vectors(b, a)[0].apply(a)
        aligned.append(1000 * np.linalg.norm(a * (a * b).sum() / (a * a).sum() - b, axis=1))
    assert vertex_errors(p, g, align="similarity") == close(np.array(aligned))
    assert pve(p, g, align="similarity") == close(np.mean(aligned))


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("shift", [[0.03, 0, 0.04], [0, 2, 0]])
def test_a_shift_with_and_without_its_root(shift):
    _, g, _, g_root = meshes(1)
    off = 1000 * float(np.linalg.norm(shift))
    assert pve(g + np.array(shift), g, align="none") == close(off)
    for root, wanted in ((g_root + np.array(shift), 0.0), (g_root, off)):
        error = pve(g + np.array(shift), g, align="root", predicted_root=root, reference_root=g_root)
        assert error == close(wanted, abs=1e-9)
    assert pve(g + np.array(shift), g, align="similarity") == close(0, abs=1e-9)


def test_missing_vertices_are_left_out():
    p, g, _, _ = meshes(2)
    wanted = vertex_errors(p, g, align="none")
    p[1, 3, 2] = NAN
    g[2] = NAN
    errors = vertex_errors(p, g, align="none")
    assert np.isnan(errors).sum() == 31
    wanted[np.isnan(errors)] = NAN
    assert pve(p, g, align="none") == close(np.nanmean(wanted))
    assert math.isnan(pve(p * NAN, g, align="none"))
    one = vertex_errors(p[0], g[0], align="root", predicted_root=[0, 0, 0], reference_root=[0, NAN, 0])
    assert np.isnan(one).all()


def test_wrong_roots_are_refused():
    p, g, p_root, g_root = meshes(1)
    for align in ("none", "similarity"):
        for roots in ({"predicted_root": p_root}, {"reference_root": g_root}):
            with pytest.raises(
                MetricError, match=f"both roots with align='root' and none else, got align='{align}'"
            ):
                pve(p, g, align=align, **roots)
            with pytest.raises(MetricError, match="both roots with align='root'"):
                pve(p, g, align="root", **roots)
        with pytest.raises(MetricError, match="none else"):
            pve(p, g, align=align, predicted_root=p_root, reference_root=g_root)
    with pytest.raises(MetricError, match="both roots with align='root'"):
        pve(p, g, align="root")
    for align in ("rigid", "scale", ""):
        with pytest.raises(MetricError, match=f"align as one of none, root, similarity, got '{align}'"):
            pve(p, g, align=align)
    with pytest.raises(MetricError, match=r"predicted_root shaped \(4, 3\), got \(3, 3\)"):
        pve(p, g, align="root", predicted_root=p_root[:3], reference_root=g_root)
    with pytest.raises(MetricError, match=r"reference_root shaped \(4, 3\), got \(3,\)"):
        pve(p, g, align="root", predicted_root=p_root, reference_root=g_root[0])
    with pytest.raises(MetricError, match="on the last axis of reference_root"):
        pve(p, g, align="root", predicted_root=p_root, reference_root=g_root[:, :2])
    with pytest.raises(MetricError, match="on the last axis of predicted"):
        pve(p[..., :2], g, align="root", predicted_root=p_root, reference_root=g_root)
    with pytest.raises(MetricError, match="of one shape"):
        pve(p[:, :5], g, align="root", predicted_root=p_root, reference_root=g_root)
    with pytest.raises(MetricError, match="of one shape"):
        pve(p[:, :5], g, align="none")


# AGORA


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("found", "missed", "false"),
    [(31, 2, 2), (1, 0, 0), (10, 0, 5), (10, 5, 0), (7, 3, 1), (997, 3, 11), (0, 4, 2), (3, 200, 100)],
)
def test_shares_of_the_people_found(found, missed, false):
    exact = found_score(found=found, missed=missed, false=false, mode="exact")
    precision, recall = Fraction(found, found + false), Fraction(found, found + missed)
    f1 = 2 * precision * recall / (precision + recall) if found else Fraction(0)  # the harmonic mean
    assert exact == close((float(precision), float(recall), float(f1)), rel=1e-15)
    agora = found_score(found=found, missed=missed, false=false, mode="agora")
    hundredths = [
        float(Decimal(float(share)).quantize(Decimal("0.01"), ROUND_HALF_EVEN))
        for share in (precision, recall, f1)
    ]
    assert list(agora) == hundredths


@pytest.mark.parametrize("mode", ["agora", "exact"])
def test_shares_of_nobody(mode):
    nothing = found_score(found=0, missed=0, false=0, mode=mode)
    assert all(math.isnan(share) for share in nothing)
    invented = found_score(found=0, missed=0, false=3, mode=mode)
    assert (invented.precision, invented.f1) == (0, 0)
    assert math.isnan(invented.recall)
    unseen = found_score(found=0, missed=3, false=0, mode=mode)
    assert math.isnan(unseen.precision)
    assert (unseen.recall, unseen.f1) == (0, 0)


@pytest.mark.truth("closed form")
def test_f1_is_rounded_before_the_division():
    """31 found, 2 missed, 2 made up: F1 is 0.9394, which AGORA's evaluation makes 0.94."""
    exact = found_score(found=31, missed=2, false=2, mode="exact").f1
    agora = found_score(found=31, missed=2, false=2, mode="agora").f1
    assert (round(exact, 4), agora) == (0.9394, 0.94)
    assert normalised_error(100.0, exact, mode="exact") == close(100 / (31 / 33))
    assert normalised_error(100.0, exact, mode="agora") == 106.4
    assert round(normalised_error(100.0, exact, mode="exact"), 1) == 106.5


@pytest.mark.truth("closed form")
def test_agora_children_share_everybodys_false_alarms():
    """10 children of whom 8 are found; 20 false alarms in all, none of them known to be a child's."""
    assert found_score(found=8, missed=2, false=20, mode="agora") == (0.29, 0.8, 0.42)
    assert found_score(found=8, missed=2, false=0, mode="agora") == (1.0, 0.8, 0.89)


#: AiOS (Sun 2024), README: F1; MVE, MPJPE of full body, body, face, hands; NMVE and NMJE of full body, body
AIOS = {
    "BEDLAM": (
        0.95,
        (83.2, 54.8, 26.2, 28.1, 30.8),
        (81.5, 54.8, 26.2, 25.9, 28.0),
        (87.6, 57.7, 85.8, 57.7),
    ),
    "AGORA-Test": (
        0.96,
        (98.8, 60.9, 27.7, 42.5, 43.4),
        (96.7, 60.0, 29.2, 40.1, 41.0),
        (102.9, 63.4, 100.7, 62.5),
    ),
    "AGORA-Val": (
        0.96,
        (100.9, 60.9, 30.6, 43.9, 45.6),
        (98.1, 58.9, 32.7, 41.5, 43.4),
        (105.1, 60.9, 102.2, 61.4),
    ),
}


@pytest.mark.truth("published table")
@pytest.mark.parametrize("name", AIOS)
@pytest.mark.parametrize("column", range(4))
def test_the_aios_table_divides_by_f1(name, column):
    """One F1 explains all columns but AGORA-Val's body NMVE, where the table repeats the MVE."""
    f1, mve, mpjpe, published = AIOS[name]
    error = (mve[0], mve[1], mpjpe[0], mpjpe[1])[column]
    wanted = 63.4 if (name, column) == ("AGORA-Val", 1) else published[column]
    assert normalised_error(error, f1, mode="agora") == wanted
    assert normalised_error(error, f1, mode="exact") == close(wanted, rel=0, abs=0.05)


@pytest.mark.truth("published table")
@pytest.mark.parametrize("name", AIOS)
@pytest.mark.parametrize("kind", ["MVE", "MPJPE"])
def test_the_aios_table_adds_up(name, kind):
    """All but AGORA-Test's full-body MPJPE, which is 96.77 by its parts and 96.7 in the table."""
    whole, body, face, left, right = AIOS[name][1 if kind == "MVE" else 2]
    wanted = 96.8 if (name, kind) == ("AGORA-Test", "MPJPE") else whole
    assert full_body(body, left, right, face, mode="agora") == wanted


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("error", "f1", "agora"),
    [
        (60.04, 0.9394, 63.8),  # 60.0 / 0.94
        (60.06, 0.9394, 63.9),  # 60.1 / 0.94
        (60.0, 0.934, 64.5),  # 60.0 / 0.93
        (60.0, 0.936, 63.8),
        (55.5, 1.0, 55.5),
        (0.0, 0.5, 0.0),
        (0.25, 1.0, 0.2),  # halves as numpy rounds them
        (0.15, 1.0, 0.2),
        (10.0, 0.006, 1000.0),
    ],
)
def test_what_agora_rounds(error, f1, agora):
    assert normalised_error(error, f1, mode="agora") == agora
    assert normalised_error(error, f1, mode="exact") == close(error / f1)


def test_nothing_found_is_nan():
    for mode in ("agora", "exact"):
        for f1 in (0.0, NAN):
            assert math.isnan(normalised_error(50.0, f1, mode=mode))
        assert math.isnan(normalised_error(NAN, 0.5, mode=mode))
    assert math.isnan(normalised_error(50.0, 0.004, mode="agora"))
    assert normalised_error(50.0, 0.004, mode="exact") == close(12500)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("parts", "exact", "agora"),
    [
        ((60.0, 30.0, 33.0, 36.0), 93.0, 93.0),
        ((60.04, 30.04, 33.04, 36.04), 93.08, 93.0),
        ((60.06, 30.06, 33.06, 36.06), 93.12, 93.2),
        ((50.0, 0.1, 0.0, 0.0), 50.0 + 1 / 30, 50.0),
        ((50.0, 0.0, 0.1, 0.1), 50.0 + 2 / 30, 50.1),
    ],
)
def test_full_body(parts, exact, agora):
    assert full_body(*parts, mode="exact") == close(exact)
    assert full_body(*parts, mode="agora") == agora


def crowd() -> dict[str, np.ndarray]:
    """Five people of 4 points, off by 10, 20, 30 mm; one missed; one unknown to the reference."""
    rng = np.random.default_rng(3)
    true, root = rng.normal(size=(5, 4, 3)), rng.normal(size=(5, 3))
    found = true + np.array([0.010, 0.020, 0.030, 0, 0])[:, None, None] * np.array([0, 0.6, 0.8])
    found[3] = NAN
    true[4] = NAN
    return {"predicted": found, "reference": true, "predicted_root": root, "reference_root": root.copy()}


@pytest.mark.truth("closed form")
def test_people_found_missed_and_made_up():
    score = people_score(**crowd(), false=2, mode="exact")
    assert (score.people, score.missed) == (4, 1)
    assert score[:5] == close((20, 20 / (2 / 3), 3 / 5, 3 / 4, 2 / 3))
    score = people_score(**crowd(), false=2, mode="agora")
    assert score == close((20, 29.9, 0.6, 0.75, 0.67, 4, 1))
    assert people_score(**crowd(), false=0, mode="exact").f1 == close(6 / 7)


@pytest.mark.truth("closed form")
def test_a_person_is_as_wrong_as_the_mean_of_their_points():
    """Off by 10 and 40 mm, of which the second is missing for one person: (25 + 10)/2, not (50 + 10)/3."""
    true = np.zeros((2, 2, 3))
    found = true + np.array([[0.01], [0.04]]) * np.array([0, 0, 1])
    found[1, 1, 0] = NAN
    roots = {"predicted_root": np.zeros((2, 3)), "reference_root": np.zeros((2, 3))}
    score = people_score(found, true, false=0, mode="exact", **roots)
    assert (score.error, score.missed) == (close(17.5), 0)
    assert people_score(found, true, false=0, mode="agora", **roots).error == 17.5
    assert (
        people_score(found + 1e-5 * np.array([0, 0, 4]), true, false=0, mode="agora", **roots).error == 17.5
    )


def test_who_lacks_a_root_is_missed_or_unknown():
    people = crowd()
    people["predicted_root"][0, 1] = NAN
    score = people_score(**people, false=0, mode="exact")
    assert (score.people, score.missed, score.error) == (4, 2, close(25))
    people["reference_root"][1, 1] = NAN
    score = people_score(**people, false=0, mode="exact")
    assert (score.people, score.missed, score.error) == (3, 2, close(30))


def test_nobody_found():
    people = crowd()
    people["predicted"][:] = NAN
    for mode in ("agora", "exact"):
        score = people_score(**people, false=0, mode=mode)
        assert math.isnan(score.error)
        assert math.isnan(score.normalised)
        assert (score.f1, score.recall, score.people, score.missed) == (0, 0, 4, 4)


def test_wrong_counts_and_modes_are_refused():
    for counts in ((-1, 0, 0), (0, -1, 0), (0, 0, -1)):
        with pytest.raises(MetricError, match="counts of at least 0"):
            found_score(**dict(zip(("found", "missed", "false"), counts, strict=True)), mode="exact")
    for call in (
        lambda: found_score(found=1, missed=1, false=1, mode="smplx"),
        lambda: normalised_error(1, 1, mode="smplx"),
        lambda: full_body(1, 1, 1, 1, mode="smplx"),
        lambda: people_score(**crowd(), false=0, mode="smplx"),
    ):
        with pytest.raises(MetricError, match="mode as one of agora, exact, got 'smplx'"):
            call()
    people = crowd()
    with pytest.raises(MetricError, match="reference with 3 axes"):
        people_score(**people | {"reference": people["reference"][0]}, false=0, mode="exact")
    with pytest.raises(MetricError, match="on the last axis of reference"):
        people_score(**people | {"reference": people["reference"][..., :2]}, false=0, mode="exact")
    with pytest.raises(MetricError, match="of one shape"):
        people_score(**people | {"predicted": people["predicted"][:, :2]}, false=0, mode="exact")


# rotations


@pytest.mark.truth("scipy Rotation.magnitude")
@pytest.mark.parametrize("seed", range(4))
def test_angles_as_scipy_has_them(seed):
    a, b = rotations(seed, 6, 5), rotations(seed + 9, 6, 5)
    between = Rotation.from_matrix(a.reshape(-1, 3, 3)) * Rotation.from_matrix(b.reshape(-1, 3, 3)).inv()
    wanted = np.degrees(between.magnitude()).reshape(6, 5)
    np.testing.assert_allclose(rotation_errors(a, b), wanted, rtol=1e-9)
    assert mpjae(a, b) == close(wanted.mean())


@pytest.mark.truth("planted")
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("degrees", [0, 1e-9, 1e-6, 0.1, 45, 90, 120, 179, 179.999999, 180 - 1e-9, 180])
def test_planted_angles_of_any_size(degrees, seed):
    """An arc cosine of the trace would lose all below 1e-6° and within 1e-6° of 180°."""
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    base = rotations(seed, 1)[0]
    turn = Rotation.from_rotvec(np.radians(degrees) * axis).as_matrix()
    for pair in ((turn @ base, base), (base, turn @ base), (base @ turn, base)):
        assert float(rotation_errors(*pair)) == close(degrees, rel=1e-10, abs=1e-13)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("seed", range(3))
def test_angles_do_not_depend_on_the_frame(seed):
    a, b, turn = rotations(seed, 7), rotations(seed + 9, 7), rotations(seed + 20, 1)
    wanted = rotation_errors(a, b)
    for pair in ((turn @ a, turn @ b), (a @ turn, b @ turn), (b, a)):
        np.testing.assert_allclose(rotation_errors(*pair), wanted, rtol=1e-9)
    flip = np.diag([1, 1, -1])
    np.testing.assert_allclose(rotation_errors(flip @ a @ flip, flip @ b @ flip), wanted, rtol=1e-9)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("degrees", [5.0, 60.0, 170.0])
@pytest.mark.parametrize("seed", range(2))
def test_a_turned_world_is_undone_by_procrustes(seed, degrees):
    """The prediction is right but for a turn of the whole world and one joint that is off by so much more."""
    g, spots, turn = (
        rotations(seed, 4, 6),
        np.random.default_rng(seed).normal(size=(4, 9, 3)),
        rotations(seed + 5, 4),
    )
    p = turn[:, None] @ g
    p[:, 2] = p[:, 2] @ Rotation.from_rotvec([0, np.radians(degrees), 0]).as_matrix()
    seen = np.einsum("fab,fpb->fpa", turn, 0.7 * spots) + np.array([1, 2, 3])
    assert pa_mpjae(p, g, predicted_joints=seen, reference_joints=spots) == close(degrees / 6)
    world = Rotation.from_matrix(turn).magnitude()
    assert mpjae(np.delete(p, 2, axis=1), np.delete(g, 2, axis=1)) == close(np.degrees(world).mean())


def test_missing_rotations_are_left_out():
    a, b = rotations(1, 3, 4), rotations(2, 3, 4)
    wanted = rotation_errors(a, b)
    a[0, 1, 2, 2] = NAN
    b[2, 3] = NAN
    errors = rotation_errors(a, b)
    assert np.argwhere(np.isnan(errors)).tolist() == [[0, 1], [2, 3]]
    assert mpjae(a, b) == close(np.nanmean(np.where(np.isnan(errors), NAN, wanted)))
    assert math.isnan(mpjae(a * NAN, b))
    spots = np.random.default_rng(0).normal(size=(3, 5, 3))
    gone = spots.copy()
    gone[1, 2:] = NAN  # no alignment, no angle
    alone = [pa_mpjae(a[k], b[k], predicted_joints=spots[k], reference_joints=spots[k]) for k in (0, 2)]
    assert pa_mpjae(a, b, predicted_joints=gone, reference_joints=spots) == close(np.mean(alone))


def test_what_is_no_rotation_is_refused():
    a = rotations(1, 2)
    for name in ("predicted", "reference"):
        for bad in (2 * a, a * [1, 1, -1], np.zeros((2, 3, 3)), a[[0, 0]] * [[[1]], [[1.1]]]):
            sides = {"predicted": a, "reference": a} | {name: bad}
            with pytest.raises(MetricError, match=f"Expected {name} as rotation matrices"):
                rotation_errors(**sides)
    with pytest.raises(MetricError, match=r"predicted shaped \(…, 3, 3\), got shape \(2, 3\)"):
        rotation_errors(a[:, 0], a[:, 0])
    with pytest.raises(MetricError, match=r"predicted shaped \(…, 3, 3\), got shape \(3,\)"):
        rotation_errors(a[0, 0], a[0, 0])
    with pytest.raises(MetricError, match="of one shape"):
        rotation_errors(a, a[:1])


@pytest.mark.parametrize("side", [0, 1])
def test_how_far_from_a_rotation_a_matrix_may_be(side):
    """Stretched along an axis by e, RᵀR is off by 2e + e²: 1e-3 may pass, more may not."""
    a = rotations(1, 1)
    stretched = a * np.array([1, np.sqrt(1 + 0.999e-3), 1])
    pair = [a, a]
    pair[side] = stretched
    assert rotation_errors(*pair) == close([0], abs=0.1)
    pair[side] = a * np.array([1, np.sqrt(1 + 1.001e-3), 1])
    with pytest.raises(MetricError, match="rotation matrices"):
        rotation_errors(*pair)
    pair[side] = a.astype(np.float32)
    assert rotation_errors(*pair) == close([0], abs=1e-4)


def test_frames_of_rotations_and_positions_must_be_the_same():
    spots = np.random.default_rng(0).normal(size=(3, 5, 3))
    with pytest.raises(MetricError, match=r"the same frames, got \(2,\) and \(3,\)"):
        pa_mpjae(rotations(1, 2, 4), rotations(2, 2, 4), predicted_joints=spots, reference_joints=spots)
    with pytest.raises(MetricError, match=r"the same frames, got \(\) and \(3,\)"):
        pa_mpjae(rotations(1, 2), rotations(2, 2), predicted_joints=spots, reference_joints=spots)


CARDS = {
    "PVE·world": ("mm", "lower", {"align": "none"}, ""),
    "PVE·root": ("mm", "lower", {"align": "root"}, ""),
    "PA-PVE": ("mm", "lower", {"align": "similarity"}, ""),
    "people-F1·AGORA": ("1", "higher", {"mode": "agora"}, "f1"),
    "people-F1·exact": ("1", "higher", {"mode": "exact"}, "f1"),
    "MPJPE·AGORA": ("mm", "lower", {"mode": "agora"}, "error"),
    "NMJE·AGORA": ("mm", "lower", {"mode": "agora"}, "normalised"),
    "NMJE·exact": ("mm", "lower", {"mode": "exact"}, "normalised"),
    "MVE·AGORA": ("mm", "lower", {"mode": "agora"}, "error"),
    "NMVE·AGORA": ("mm", "lower", {"mode": "agora"}, "normalised"),
    "NMVE·exact": ("mm", "lower", {"mode": "exact"}, "normalised"),
    "MPJAE·global": ("°", "lower", {}, ""),
    "MPJAE·local": ("°", "lower", {}, ""),
    "PA-MPJAE": ("°", "lower", {}, ""),
}


@pytest.mark.parametrize("name", CARDS)
def test_cards(name):
    card = catalogue._cards[name]
    assert (card.unit, card.direction, dict(card.fixed), card.part) == CARDS[name]
    assert (card.merge, card.module) == ("sums", "mesh")
    if card.part:
        wanted = people_score(**crowd(), false=2, **card.fixed)
        assert card(**crowd(), false=2) == getattr(wanted, card.part)


def test_every_score_of_the_module_is_in_the_list():
    assert {c.name for c in catalogue._cards.values() if c.module == "mesh"} == CARDS.keys()
