"""The solver against closed forms, finite differences, the truth that markers were made from, and OpenSim."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from capbench.biomech import kernel_numba, kernel_proof, kinematics, opensim_tools
from capbench.biomech.fit import fit
from capbench.biomech.osim import read_model
from capbench.biomech.problem import CoordinateTask, build_problem
from capbench.biomech.solve import run_chain, solve
from capbench.biomech.starts import neutral, rigid_starts
from capbench.biomech.verify import cost_of
from cohorts import CapbenchError, Markers, Motion
from cohorts.formats import storage, trc

DEMO = Path(kinematics.__file__).parents[1] / "demo"


@pytest.fixture(scope="module")
def walker():
    return read_model(DEMO / "walker.osim")


@pytest.fixture(scope="module")
def truth() -> Motion:
    return storage.read(DEMO / "walker.mot")


def largest(a: Motion, b: Motion) -> float:
    """Largest difference over all coordinates of b, degrees or millimetres."""
    gap = np.abs(a.select(b.names).values - b.values)
    return max(
        float(np.degrees(g) if kind == "rotation" else 1000 * g)
        for g, kind in zip(gap.max(axis=0), b.kinds, strict=True)
    )


def evaluated(problem, q, y):
    w, size = np.empty(len(problem.weights)), len(q)
    kernel_numba.weigh(y, problem.weights, w)
    gradient, half = np.zeros(size), np.zeros((size, size))
    cost = kernel_proof.evaluate(problem.arrays, q, y, w, gradient, half)
    return cost, gradient, half + half.T - np.diag(np.diag(half))


def test_derivatives_are_those_of_the_cost(walker, truth) -> None:
    weights = {m.name: 1.0 + i for i, m in enumerate(walker.markers)}
    problem = build_problem(walker, weights, (CoordinateTask("knee_angle_r", 0.3, 0.2),))
    y = kinematics.marker_tracks(walker, truth[:1]).select(problem.markers).xyz[0]
    rng = np.random.default_rng(0)
    q = rng.normal(0, 0.4, len(problem.tree.coordinates))
    cost, gradient, hessian = evaluated(problem, q, y)
    # the cost by its definition, from the independent numpy kinematics
    own = {m.name: m for m in walker.markers}
    frames = kinematics.forward(problem.tree, q[None])
    x = kinematics.points(
        problem.tree,
        frames,
        [own[n].body for n in problem.markers],
        np.array([own[n].location for n in problem.markers]),
    )[0]
    w = np.array([weights[n] for n in problem.markers])
    knee = q[problem.tree.index("knee_angle_r")]
    expected = 0.5 * (w * ((x - y) ** 2).sum(axis=1)).sum() / w.sum() + 0.5 * 0.3 * (knee - 0.2) ** 2
    assert cost == pytest.approx(expected, rel=1e-12)
    steps = np.eye(len(q)) * 1e-6
    slopes = [(evaluated(problem, q + h, y)[0] - evaluated(problem, q - h, y)[0]) / 2e-6 for h in steps]
    np.testing.assert_allclose(gradient, slopes, atol=1e-9)
    curves = [(evaluated(problem, q + h, y)[1] - evaluated(problem, q - h, y)[1]) / 2e-6 for h in steps]
    np.testing.assert_allclose(hessian, curves, atol=1e-9)


def test_exact_markers_give_back_the_truth(walker, truth) -> None:
    found = solve(walker, kinematics.marker_tracks(walker, truth))
    assert largest(found.motion, truth) < 1e-4
    assert found.certificate.converged.all()
    assert found.certificate.gradient.max() <= 1e-10
    assert found.certificate.rms.max() < 1e-8


@pytest.mark.parametrize("yaw", range(0, 360, 45))
def test_every_frame_by_itself_in_every_direction(walker, truth, yaw) -> None:
    markers = kinematics.marker_tracks(walker, truth[::20])
    c, s = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    turned = replace(markers, xyz=markers.xyz @ turn.T)
    weights = dict.fromkeys(markers.names, 1.0)
    problem = build_problem(walker, weights)
    y = np.ascontiguousarray(turned.select(problem.markers).xyz)
    start = rigid_starts(problem, y, np.repeat(neutral(problem.tree)[None], len(y), axis=0))
    alone = run_chain(problem, y, start, warm=False, backwards=False)
    assert alone.cost.max() < 1e-15
    found, _ = kinematics.body_frames(problem.tree, kinematics.forward(problem.tree, alone.q), "pelvis")
    true = kinematics.forward(problem.tree, kinematics.coordinates_of(problem.tree, truth[::20]))
    expected = turn @ kinematics.body_frames(problem.tree, true, "pelvis")[0]
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_a_frame_s_answer_does_not_depend_on_its_neighbours(walker, truth) -> None:
    rng = np.random.default_rng(1)
    clean = kinematics.marker_tracks(walker, truth[::10])
    markers = replace(clean, xyz=clean.xyz + rng.normal(0, 0.01, clean.xyz.shape))
    whole = solve(walker, markers)
    for k in (0, 7, 20):
        one = solve(walker, markers[k : k + 1])
        np.testing.assert_allclose(one.motion.values[0], whole.motion.values[k], atol=1e-9)


def test_missing_markers_hold_what_they_hid_and_say_so(walker, truth) -> None:
    markers = kinematics.marker_tracks(walker, truth[:60])
    xyz = markers.xyz.copy()
    left = [
        i for i, n in enumerate(markers.names) if walker_body(walker, n) in ("tibia_l", "calcn_l", "foot_l")
    ]
    xyz[20:30, left] = np.nan
    xyz[40] = np.nan
    found = solve(walker, Markers(markers.time, markers.names, xyz))
    names = found.certificate.coordinates
    ankle, hip = names.index("ankle_angle_l"), names.index("hip_flexion_l")
    seen = found.certificate.observed
    assert not seen[20:30, ankle].any()
    assert seen[20:30, hip].all()
    assert seen[:20, ankle].all()
    held = found.motion.column("ankle_angle_l")[20:30]
    assert np.ptp(held) < 1e-12  # held where it was, not carried on
    assert np.isnan(found.certificate.sigma[20:30, ankle]).all()
    assert np.isnan(found.motion.values[40]).all()  # an empty frame is a row of NaN, not the end of the trial
    assert found.certificate.markers[40] == 0
    rest = [*range(20), *range(30, 40), *range(41, 60)]
    np.testing.assert_allclose(
        found.motion.select(truth.names).values[rest], truth.values[:60][rest], atol=1e-6
    )


def walker_body(walker, marker: str) -> str:
    return next(m.body for m in walker.markers if m.name == marker)


def test_bounds_are_kept_and_certified(walker, truth) -> None:
    from capbench.biomech.model import Model

    def clamp(coordinate):
        if coordinate.name != "knee_angle_r":
            return coordinate
        low, high = sorted((0.0, np.sign(truth.column("knee_angle_r").mean()) * 0.3))
        return replace(coordinate, range=(low, high), clamped=True)

    joints = tuple(replace(j, coordinates=tuple(map(clamp, j.coordinates))) for j in walker.joints)
    tight = Model(walker.name, walker.bodies, joints, walker.couplers, walker.markers)
    markers = kinematics.marker_tracks(walker, truth[::5])
    found = solve(tight, markers)
    knee = found.motion.column("knee_angle_r")
    i = found.certificate.coordinates.index("knee_angle_r")
    beyond = np.abs(truth[::5].column("knee_angle_r")) > 0.31
    assert beyond.any()
    assert np.abs(knee).max() <= 0.3
    assert found.certificate.bounded[beyond, i].all()
    assert (found.certificate.sigma[beyond, i] == 0).all()
    assert found.certificate.gradient.max() <= 1e-10
    # a step inwards from the bound costs more: the bound really is the best
    problem = build_problem(tight, dict.fromkeys(markers.names, 1.0))
    q = found.motion.select(problem.tree.coordinates).values[beyond]
    inwards = q.copy()
    inwards[:, i] *= 0.999
    some = Markers(markers.time[beyond], markers.names, markers.xyz[beyond])
    assert (cost_of(problem, inwards, some) > cost_of(problem, q, some)).all()


def test_weights_are_relative_and_zero_leaves_a_marker_out(walker, truth) -> None:
    rng = np.random.default_rng(2)
    clean = kinematics.marker_tracks(walker, truth[:5])
    markers = replace(clean, xyz=clean.xyz + rng.normal(0, 0.01, clean.xyz.shape))
    once = solve(walker, markers, weights=dict.fromkeys(markers.names, 1.0))
    ten = solve(walker, markers, weights=dict.fromkeys(markers.names, 10.0))
    np.testing.assert_allclose(once.motion.values, ten.motion.values, atol=1e-9)
    out = markers.names[3]
    spoiled = markers.xyz.copy()
    spoiled[:, 3] += 5.0
    wild = solve(walker, replace(markers, xyz=spoiled), weights={n: float(n != out) for n in markers.names})
    without = solve(walker, markers.select([n for n in markers.names if n != out]))
    np.testing.assert_allclose(wild.motion.values, without.motion.values, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"passes": 4}, "1, 2 or 3 passes"),
        ({"weights": {"Sternum9": 1.0}}, "share"),
        ({"weights": {}}, "share"),
        ({"weights": {"RASI": float("nan")}}, "finite"),
    ],
)
def test_what_cannot_be_solved_is_refused(walker, truth, options, message) -> None:
    markers = kinematics.marker_tracks(walker, truth[:2])
    if "RASI" in options.get("weights", {}):
        options = {"weights": {markers.names[0]: float("nan")}}
    with pytest.raises(CapbenchError, match=message):
        solve(walker, markers, **options)


def test_standard_deviations_are_those_of_repeated_measurement(walker, truth) -> None:
    """4,000 noisy copies of one frame: the spread of each angle is what the certificate foretold."""
    rng, noise = np.random.default_rng(3), 0.004
    one = kinematics.marker_tracks(walker, truth[30:31])
    copies = one.xyz + rng.normal(0, noise, (4000, *one.xyz.shape[1:]))
    markers = Markers(np.arange(4000) / 100, one.names, copies)
    foretold = solve(walker, one, covariance=noise**2).certificate.sigma[0]
    spread = (
        solve(walker, markers, passes=1)
        .motion.select(solve(walker, one).certificate.coordinates)
        .values.std(axis=0)
    )
    np.testing.assert_allclose(foretold, spread, rtol=0.05)
    # without a covariance the misfit itself tells the noise
    np.testing.assert_allclose(
        solve(walker, markers[:500]).certificate.sigma.mean(axis=0), foretold, rtol=0.05
    )
    # one covariance per marker and frame: twice the deviation along x only for all is between once and twice
    wide = np.broadcast_to(np.diag([4.0, 1.0, 1.0]) * noise**2, (1, len(one.names), 3, 3)).copy()
    along = solve(walker, one, covariance=wide).certificate.sigma[0]
    assert (along >= foretold * (1 - 1e-9)).all()
    assert (along <= 2 * foretold * (1 + 1e-9)).all()


def test_what_markers_leave_undetermined_has_no_finite_deviation() -> None:
    """A body that turns about x and then about x again: only the sum shows."""
    from capbench.biomech.model import (
        Body,
        Coordinate,
        Joint,
        Marker,
        Model,
        Placement,
        fixed_axis,
        free_axis,
    )

    x, y, z = ((1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0))
    still = tuple(fixed_axis(d) for d in (x, y, z))
    joints = tuple(
        Joint(name, "PinJoint", parent, child, Placement(), Placement(), (free_axis(x, name), *still[1:]),
              still, (Coordinate(name),))
        for name, parent, child in (("a", "ground", "one"), ("b", "one", "two"))
    )  # fmt: skip
    markers = tuple(
        Marker(f"m{i}", "two", np.array(at)) for i, at in enumerate(((0, 1, 0), (0, 0, 1.0), (1, 1, 0)))
    )
    model = Model("twice", (Body("one"), Body("two")), joints, (), markers)
    motion = Motion([0.0], ("a", "b"), [[0.2, 0.3]])
    found = solve(model, kinematics.marker_tracks(model, motion), covariance=1e-6)
    assert found.motion.values.sum() == pytest.approx(0.5, abs=1e-9)
    assert np.isinf(found.certificate.sigma).all()
    one = Model("once", (Body("one"),), joints[:1], (), tuple(replace(m, body="one") for m in markers))
    alone = solve(one, kinematics.marker_tracks(one, motion.select(["a"])), covariance=1e-6).certificate
    # one angle, three points 1 m from the axis: sigma = noise / sqrt(3 · 1²)
    assert alone.sigma[0, 0] == pytest.approx(1e-3 / np.sqrt(3), rel=1e-6)


@pytest.mark.parametrize("noise", [0.0, 0.005, 0.02])
def test_no_frame_costs_more_than_opensim_s(walker, truth, noise, tmp_path) -> None:
    """350 frames at each noise, some markers missing, the subject turning round once."""
    rng = np.random.default_rng(int(1000 * noise))
    rows = rng.integers(0, len(truth), 350)
    values = truth.values[np.sort(rows)].copy()
    values[:, truth.names.index("pelvis_rotation")] += np.linspace(-np.pi, np.pi, 350)
    motion = Motion(np.arange(350) / 100, truth.names, values)
    clean = kinematics.marker_tracks(walker, motion)
    xyz = clean.xyz + rng.normal(0, noise, clean.xyz.shape)
    xyz[rng.random(xyz.shape[:2]) < 0.05] = np.nan
    markers = Markers(clean.time, clean.names, xyz)
    ours = fit(markers, DEMO / "walker.osim")
    theirs = opensim_tools.fit(markers, DEMO / "walker.osim", accuracy=1e-9)
    problem = build_problem(walker, dict.fromkeys(markers.names, 1.0))
    names = problem.tree.coordinates
    q, reference = ours.motion.select(names).values, theirs.motion.select(names).values
    cost, opensim = cost_of(problem, q, markers), cost_of(problem, reference, markers)
    assert (cost <= opensim * (1 + 1e-9) + 1e-16).all()
    assert ours.certificate.gradient.max() <= 1e-10
    same = opensim <= cost * (1 + 1e-6) + 1e-12  # frames where OpenSim found the same minimum
    assert same.mean() > 0.95
    apart = np.abs(q - reference)[same]
    turning = [i for i, n in enumerate(names) if not n.endswith(("_tx", "_ty", "_tz"))]
    assert np.degrees(apart[:, turning]).max() < 0.03


def test_real_trials_against_opensim(shared_data) -> None:
    """LabValidation subject 4 with the published weights; couplers, bounds and missing markers included."""
    folder = shared_data / "labvalidation_subject4"
    tasks = shared_data / "opencap_setup/Setup_IK_Mocap.xml"
    model_file = folder / "model/manually_scaled.osim"
    markers = trc.read(folder / "markers/walking1.trc")[::3]
    ours = fit(markers, model_file, tasks=tasks)
    theirs = opensim_tools.fit(markers, model_file, tasks=tasks, accuracy=1e-9)
    from capbench.biomech.matching import plan

    model = read_model(model_file)
    problem = build_problem(model, plan(markers, model_file, tasks).weights)
    names = problem.tree.coordinates
    q, reference = ours.motion.select(names).values, theirs.motion.select(names).values
    assert (cost_of(problem, q, markers) <= cost_of(problem, reference, markers) * (1 + 1e-9)).all()
    assert ours.certificate.gradient.max() <= 1e-10
    for i, name in enumerate(names):
        if name.startswith("mtp"):
            assert not ours.certificate.observed[:, i].any()  # no marker shows the toes: held and said
            continue
        gap = np.abs(q[:, i] - reference[:, i]).max()
        if name.endswith(("_tx", "_ty", "_tz")):
            assert gap < 2e-5, name
        else:
            assert np.degrees(gap) < (0.15 if name.startswith(("arm", "elbow", "pro")) else 0.03), name
    coupled = ours.motion.column("knee_angle_r_beta")
    np.testing.assert_array_equal(coupled, ours.motion.column("knee_angle_r"))


def test_gait2354_against_its_published_answer(shared_data) -> None:
    folder = shared_data / "opensim_gait2354"
    markers = trc.read(folder / "subject01_walk1.trc")
    published = storage.read(folder / "subject01_walk1_ik.mot")
    found = fit(markers, folder / "subject01_simbody.osim", tasks=folder / "subject01_Setup_IK.xml")
    rows = np.abs(found.motion.time[:, None] - published.time).argmin(axis=0)
    gap = found.motion.select(published.names).values[rows] - published.values
    rms = np.sqrt((gap**2).mean(axis=0))
    for name, kind, value in zip(published.names, published.kinds, rms, strict=True):
        assert (np.degrees(value) if kind == "rotation" else 1000 * value) < 0.05, name


def test_no_compiled_function_may_reorder_sums() -> None:
    """Else who compiles it and who finds it in the cache get other last digits, and runs other bytes."""
    compiled = [
        f
        for module in (kernel_numba, kernel_proof)
        for f in vars(module).values()
        if hasattr(f, "targetoptions")
    ]
    assert len(compiled) > 10
    assert [f.__name__ for f in compiled if f.targetoptions.get("fastmath")] == []
