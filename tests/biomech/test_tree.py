"""The tree of one-dimensional motions: locks, couplers, composed functions, and what pruning leaves out."""

import numpy as np
import pytest
from biomech import models
from biomech.models import C, J, coupler, document, linear, polynomial, table

from capbench.biomech.functions import IDENTITY, Polynomial, Spline, constant, piecewise_linear, simm_spline
from capbench.biomech.osim import read_model
from capbench.biomech.problem import build_problem
from capbench.biomech.tree import Tree, build_tree, compose, is_identity, rotation_about
from cohorts import CapbenchError

X = (1.0, 0.0, 0.0)
BEND = table("SimmSpline", [-2, -1, 0.5, 2], [0.3, -0.1, 0.6, 0.2])


def jointed(*coordinates: C, constraints: str = "") -> str:
    """A free body, and on it one turned by q, r (with an offset) and slid by s."""
    axes = {
        "rotation1": ("q", (0.0, 0.6, 0.8), linear()),
        "rotation2": ("r", X, polynomial(0.3, 1.0, 0.2)),
        "translation1": ("s", X, linear(0.5, 0.1)),
    }
    base = J("root", "ground", "base", "FreeJoint", tuple(C(f"b{i}") for i in range(6)))
    limb = J(
        "j", "base", "limb", "CustomJoint", coordinates, axes, in_parent=((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    )
    return document([base, limb], constraints=constraints)


def check_expansion(text: str, folder, *names: str) -> Tree:
    """Coordinates as OpenSim assembles them, and places as it has them there."""
    model = models.parsed(text, folder)
    tree = build_tree(model)
    oracle = models.OpenSim(folder / "model.osim")
    for pose in models.random_poses(tree, 5, 2, model):
        oracle.pose(tree.coordinates, pose)
        oracle.model.assemble(oracle.state)
        q = np.array([[oracle.value(name) for name in tree.coordinates]])
        expected = [oracle.value(name) for name in names]
        np.testing.assert_allclose(tree.expand(q, names)[0], expected, rtol=0, atol=1e-7)
        every = tree.expand(q, model.coordinate_names)
        free = [name for name in model.coordinate_names if name not in tree.locked]
        oracle_places = oracle.places(model, free, tree.expand(q, free))
        assert models.our_places(model, tree, q).distance(oracle_places) <= 1e-12
        assert every.shape == (1, 9)
    return tree


def test_locked_coordinates_stand_still_at_their_default(tmp_path) -> None:
    text = jointed(C("q", 0.7, locked=True), C("r", -1.2, locked=True), C("s", 0.4, locked=True))
    tree = check_expansion(text, tmp_path, "q", "r", "s")
    assert tree.locked == {"q": 0.7, "r": -1.2, "s": 0.4}
    assert len(tree.elements) == 6  # the joint's three axes are folded into what follows
    assert tree.bodies["limb"].element == tree.bodies["base"].element == 5


@pytest.mark.parametrize("function", [linear(0.5, 0.1), polynomial(0.2, -0.3, 0.1)])
def test_coupled_coordinates_follow(function, tmp_path) -> None:
    text = jointed(C("q"), C("r"), C("s"), constraints=coupler("r", "q", function))
    tree = check_expansion(text, tmp_path, "r", "q")
    assert list(tree.coupled) == ["r"]
    assert tree.coordinates[6:] == ("q", "s")
    assert [tree.coordinates[e.coordinate] for e in tree.elements[6:]] == ["s", "q", "q"]


def test_a_coupler_by_spline_on_a_line(tmp_path) -> None:
    check_expansion(jointed(C("q"), C("r"), C("s"), constraints=coupler("s", "b1", BEND, 1.5)), tmp_path, "s")


def test_what_follows_a_locked_coordinate_stands_still(tmp_path) -> None:
    text = jointed(
        C("q", 0.7, locked=True), C("r"), C("s"), constraints=coupler("r", "q", polynomial(1, 0, 0.2))
    )
    tree = check_expansion(text, tmp_path, "r", "q")
    assert tree.locked == {"q": 0.7, "r": pytest.approx(0.69, abs=1e-15)}  # 0.7² + 0.2
    assert tree.coupled == {}


def test_chains_of_couplers_are_refused(tmp_path) -> None:
    chain = coupler("r", "q", linear()) + coupler("s", "r", linear())
    model = models.parsed(jointed(C("q"), C("r"), C("s"), constraints=chain), tmp_path)
    with pytest.raises(CapbenchError, match="got s, which follows r, which follows q"):
        build_tree(model)
    model = models.parsed(jointed(C("q"), C("r"), C("s"), constraints=coupler("r", "r", linear())), tmp_path)
    with pytest.raises(CapbenchError, match="follow free ones"):
        build_tree(model)


def test_expand_puts_columns_in_the_order_asked(tmp_path) -> None:
    text = jointed(C("q"), C("r"), C("s", 0.25, locked=True), constraints=coupler("r", "q", linear(2.0, 1.0)))
    tree = build_tree(models.parsed(text, tmp_path))
    q = np.arange(14.0).reshape(2, 7)  # b0 … b5, q
    found = tree.expand(q, ["r", "s", "b1", "q"])
    assert found.tolist() == [[13.0, 0.25, 1.0, 6.0], [27.0, 0.25, 8.0, 13.0]]
    assert tree.expand(q, []).shape == (2, 0)
    with pytest.raises(CapbenchError, match=r"free coordinate, got 'b9'"):
        tree.expand(q, ["b9"])


# --- composed functions -------------------------------------------------------------------------

SPLINE = simm_spline([-1.0, 0.0, 0.7, 2.0], [0.2, 0.5, -0.3, 0.1])
LINES = piecewise_linear([-1.0, 0.0, 0.7, 2.0], [0.2, 0.5, -0.3, 0.1])


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        (Polynomial([1.0, -2.0, 0.5]), Polynomial([0.3, 0.0, 1.0, -0.2])),
        (Polynomial([2.0, 1.0]), Polynomial([1.0, 0.0, 0.0])),
        (Polynomial([0.0, 0.0, 2.0, 1.0]), Polynomial([0.0, 0.5, 1.0])),
        (constant(3.0), Polynomial([0.5, 1.0])),
        (constant(3.0), SPLINE),
        (Polynomial([-1.5, 0.25]), SPLINE),
        (Polynomial([0.0, -1.5, 0.25]), LINES),
        (SPLINE, Polynomial([0.6, -0.4])),
        (SPLINE, Polynomial([0.0, 0.0, 2.5, 0.3])),
        (LINES, Polynomial([0.6, -0.4])),
        (SPLINE, IDENTITY),
        (IDENTITY, SPLINE),
        (IDENTITY, Polynomial([3.0, 0.0, 1.0])),
    ],
)
def test_compose_is_one_function_after_the_other(outer, inner) -> None:
    x = np.linspace(-3.03, 3.01, 57)
    whole = compose(outer, inner, "q")
    assert isinstance(whole, Polynomial | Spline)
    f, df, ddf = inner.derivatives(x)
    g, dg, ddg = outer.derivatives(f)
    expected = (g, dg * df, ddg * df**2 + dg * ddf)  # chain rule
    for found, wanted in zip(whole.derivatives(x), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        (Polynomial([1.0, 0.0, 0.0]), SPLINE),
        (SPLINE, SPLINE),
        (SPLINE, Polynomial([1.0, 0.0, 0.0])),
        (SPLINE, Polynomial([-1.0, 0.0])),
    ],
)
def test_what_cannot_be_composed_is_refused(outer, inner) -> None:
    with pytest.raises(
        CapbenchError, match="coordinate knee: Expected a coupler whose function can be joined"
    ):
        compose(outer, inner, "knee")


def test_identity_is_told() -> None:
    assert is_identity(IDENTITY)
    assert is_identity(Polynomial([0.0, 1.0, 0.0]))
    assert not any(is_identity(f) for f in (Polynomial([1.0, 0.1]), constant(1.0), SPLINE))


def test_rotation_about_an_axis() -> None:
    """Rodrigues' formula: a third of a turn about (1, 1, 1) takes x to y, y to z, z to x."""
    found = rotation_about(np.full(3, 3**-0.5), 2 * np.pi / 3)
    np.testing.assert_allclose(found, [[0, 0, 1], [1, 0, 0], [0, 1, 0]], atol=1e-15)
    np.testing.assert_allclose(rotation_about(np.array([0, 0, 1.0]), 0.3)[0], [np.cos(0.3), -np.sin(0.3), 0])


# --- pruning ------------------------------------------------------------------------------------


def unseen(model, seen: set[str]) -> set[str]:
    """Bodies that carry none of the markers' bodies ``seen``, themselves included."""
    parent = {j.child: j.parent for j in model.joints}
    needed = set()
    for body in seen:
        while body != "ground":
            needed.add(body)
            body = parent[body]
    return {b.name for b in model.bodies} - needed


def branched() -> str:
    """ground – a – b – c, and d – e on a, and f on ground; each by a pin."""
    pairs = [("ground", "a"), ("a", "b"), ("b", "c"), ("a", "d"), ("d", "e"), ("ground", "f")]
    return document([J(f"to_{c}", p, c, "PinJoint", (C(f"q_{c}"),)) for p, c in pairs])


@pytest.mark.parametrize(
    ("weights", "pruned"),
    [
        ({"c_0": 1}, {"d", "e", "f"}),
        ({"a_0": 1, "a_1": 2}, {"b", "c", "d", "e", "f"}),
        ({"b_1": 1, "e_0": 0.5}, {"c", "f"}),
        ({"c_0": 1, "e_0": 0, "d_1": 3}, {"e", "f"}),  # a marker of weight 0 holds nothing
        ({"c_0": 1, "e_1": 1, "f_0": 1}, set()),
    ],
)
def test_pruned_bodies_are_those_without_markers_below(weights, pruned, tmp_path) -> None:
    model = models.parsed(branched(), tmp_path)
    problem = build_problem(model, weights)
    assert set(problem.pruned) == pruned == unseen(model, {n[0] for n, w in weights.items() if w > 0})
    moved = {name for name, moves in zip(problem.tree.coordinates, problem.moved, strict=True) if moves}
    assert moved == {f"q_{name}" for name in "abcdef" if name not in pruned}


def test_pruning_of_the_published_models(shared_data) -> None:
    """A body that is welded to a kept one is kept with it: it costs nothing."""
    for file in sorted(shared_data.rglob("*.osim")):
        model = read_model(file)
        expected = unseen(model, {m.body for m in model.markers})
        for joint in model.joints:
            if not joint.coordinates and joint.parent not in expected:
                expected.discard(joint.child)
        problem = build_problem(model, {m.name: 1.0 for m in model.markers})
        assert set(problem.pruned) == expected, file.name


def test_pruning_of_the_laboratory_model_by_name(shared_data) -> None:
    """Markers stand on heels, forearms and above: kneecaps, toes and hands carry none."""
    model = read_model(shared_data / "labvalidation_subject4/model/manually_scaled.osim")
    problem = build_problem(model, {m.name: 1.0 for m in model.markers})
    assert set(problem.pruned) == {"patella_l", "patella_r", "toes_l", "toes_r"}
    still = [n for n, moves in zip(problem.tree.coordinates, problem.moved, strict=True) if not moves]
    assert still == ["mtp_angle_r", "mtp_angle_l"]
