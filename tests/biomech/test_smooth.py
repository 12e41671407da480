"""The temporal prior: its filter in closed form, its optimum, and its benefit on noisy markers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from capbench.biomech import kinematics, opensim_tools
from capbench.biomech.model import Body, Coordinate, Joint, Marker, Model, Placement, fixed_axis, free_axis
from capbench.biomech.osim import read_model
from capbench.biomech.problem import build_problem
from capbench.biomech.smooth import _apply, _second_differences, smooth
from capbench.biomech.solve import solve
from cohorts import CapbenchError, Markers
from cohorts.formats import storage

DEMO = Path(kinematics.__file__).parents[1] / "demo"


def slider() -> Model:
    """One body that slides along x, one marker on it: every step has a closed form."""
    axes = tuple(fixed_axis(d) for d in ((1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0)))
    slide = (free_axis((1.0, 0, 0), "s_tx"), axes[1], axes[2])
    joint = Joint(
        "j", "CustomJoint", "ground", "cart", Placement(), Placement(), axes, slide,
        (Coordinate("s_tx", kind="translation"),),
    )  # fmt: skip
    return Model("slider", (Body("cart"),), (joint,), (), (Marker("m", "cart", np.zeros(3)),))


def test_the_prior_is_the_sum_of_squared_second_differences() -> None:
    time = np.array([0, 0.1, 0.25, 0.3, 0.5, 0.6])  # uneven on purpose
    x = np.random.default_rng(0).normal(size=(6, 2))
    penalty = 0.0
    for k in range(1, 5):
        a, b = time[k] - time[k - 1], time[k + 1] - time[k]
        second = 2 * ((x[k + 1] - x[k]) / b - (x[k] - x[k - 1]) / a) / (a + b)
        penalty += 0.5 * (a + b) / np.mean(np.diff(time)) * second**2
    found = (x * _apply(_second_differences(time), x)).sum(axis=0)
    np.testing.assert_allclose(found, penalty, rtol=1e-12)


@pytest.mark.parametrize(("hertz", "kept"), [(2.0, 0.5), (1.0, 1 / 17), (4.0, 16 / 17)])
def test_a_wobble_at_the_named_frequency_is_halved(hertz, kept) -> None:
    """Gain 1 / (1 + (2 / f)^4) of a 2 Hz wobble, away from the ends: 1/2 at f = 2, 1/17 at 1, 16/17 at 4."""
    time = np.arange(2000) / 200
    wobble = np.sin(2 * np.pi * 2 * time)
    y = np.zeros((2000, 1, 3))
    y[:, 0, 0] = wobble
    problem = build_problem(slider(), {"m": 1.0})
    found = smooth(problem, y, wobble[:, None].copy(), time, hertz).q[:, 0]
    middle = slice(600, 1400)
    gain = (found[middle] @ wobble[middle]) / (wobble[middle] @ wobble[middle])
    assert gain == pytest.approx(kept, rel=2e-3)  # 200 Hz sampling: ω is right to 1e-3
    assert np.abs(found[middle] - gain * wobble[middle]).max() < 1e-3


def test_the_whole_trial_is_at_its_minimum_by_independent_kinematics() -> None:
    model = read_model(DEMO / "walker.osim")
    truth = storage.read(DEMO / "walker.mot")[:5]
    clean = kinematics.marker_tracks(model, truth)
    rng = np.random.default_rng(1)
    markers = replace(clean, xyz=clean.xyz + rng.normal(0, 0.02, clean.xyz.shape))
    problem = build_problem(model, dict.fromkeys(markers.names, 1.0))
    y = np.ascontiguousarray(markers.select(problem.markers).xyz)
    alone = solve(model, markers).motion.select(problem.tree.coordinates).values
    found = smooth(problem, y, alone, markers.time, 8.0)
    assert found.slope.max() <= 1e-10
    own = {m.name: m for m in model.markers}
    bodies, at = [own[n].body for n in problem.markers], np.array([own[n].location for n in problem.markers])
    from capbench.biomech import smooth as module

    _, _, hessian = module._frames(problem, y, alone)
    strength = np.abs(np.diagonal(hessian, axis1=1, axis2=2)).mean(axis=0) / (2 * np.pi * 8) ** 4
    bands = _second_differences(markers.time)

    def cost(flat):  # from the independent kinematics
        q = flat.reshape(alone.shape)
        x = kinematics.points(problem.tree, kinematics.forward(problem.tree, q), bodies, at)
        data = 0.5 * ((x - y) ** 2).sum() / len(bodies)
        return data + 0.5 * (q * _apply(bands, q) * strength).sum()

    best = found.q.ravel()
    steps = np.eye(best.size) * 1e-5
    slopes = np.array([(cost(best + h) - cost(best - h)) / 2e-5 for h in steps])
    at_start = np.array([(cost(alone.ravel() + h) - cost(alone.ravel() - h)) / 2e-5 for h in steps])
    assert np.abs(slopes).max() < 1e-9 < 1e-6 < np.abs(at_start).max()
    for _ in range(50):
        assert cost(best + rng.normal(0, 0.01, best.size)) > cost(best)


def test_it_beats_stopping_early_on_noisy_markers() -> None:
    """20 mm of noise per axis: the prior halves the error at least, stopping early gains a few per cent."""
    model = read_model(DEMO / "walker.osim")
    truth = storage.read(DEMO / "walker.mot")[:120]
    clean = kinematics.marker_tracks(model, truth)
    rng = np.random.default_rng(2)
    markers = replace(clean, xyz=clean.xyz + rng.normal(0, 0.02, clean.xyz.shape))
    turning = [n for n, kind in zip(truth.names, truth.kinds, strict=True) if kind == "rotation"]

    def error(motion) -> float:
        gap = motion.select(turning).values - truth.select(turning).values
        return float(np.degrees(np.sqrt((gap**2).mean())))

    alone = error(solve(model, markers).motion)
    early = error(opensim_tools.fit(markers, DEMO / "walker.osim", accuracy=1e-5).motion)
    prior = error(solve(model, markers, prior=8.0).motion)
    assert prior < 0.5 * alone
    assert prior < 0.6 * early


def test_gaps_are_bridged_inside_and_left_open_at_the_ends() -> None:
    model = read_model(DEMO / "walker.osim")
    truth = storage.read(DEMO / "walker.mot")[:60]
    clean = kinematics.marker_tracks(model, truth)
    xyz = clean.xyz.copy()
    xyz[:3], xyz[20:24], xyz[58:] = np.nan, np.nan, np.nan
    found = solve(model, Markers(clean.time, clean.names, xyz), prior=10.0)
    missing = np.isnan(found.motion.values).all(axis=1)
    assert np.flatnonzero(missing).tolist() == [0, 1, 2, 58, 59]
    assert (found.certificate.markers[20:24] == 0).all()
    gap = found.motion.select(truth.names).values[20:24] - truth.values[20:24]
    turning = [i for i, kind in enumerate(truth.kinds) if kind == "rotation"]
    assert np.degrees(np.abs(gap[:, turning]).max()) < 2.0


@pytest.mark.parametrize("hertz", [0.0, -1.0, float("nan"), float("inf")])
def test_a_frequency_must_be_one(hertz) -> None:
    problem = build_problem(slider(), {"m": 1.0})
    with pytest.raises(CapbenchError, match="positive frequency"):
        smooth(problem, np.zeros((5, 1, 3)), np.zeros((5, 1)), np.arange(5.0), hertz)
    with pytest.raises(CapbenchError, match="three frames"):
        smooth(problem, np.zeros((2, 1, 3)), np.zeros((2, 1)), np.arange(2.0), 6)
