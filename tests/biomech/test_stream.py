"""Live streaming: the same answers as the batch engine, whatever the frames do."""

from dataclasses import replace

import numpy as np
import pytest

from capbench.biomech.kinematics import marker_tracks
from capbench.biomech.model import Model
from capbench.biomech.opensim_setup import read_tasks
from capbench.biomech.osim import read_model
from capbench.biomech.problem import build_problem
from capbench.biomech.solve import run_chain, solve
from capbench.biomech.starts import neutral, rigid_starts
from capbench.biomech.stream import Frame, People, Stream, rigid_root
from capbench.cli.fit import DEMO
from cohorts.errors import CapbenchError
from cohorts.formats import storage, trc
from cohorts.recording import Markers, Motion


@pytest.fixture(scope="module")
def walker() -> Model:
    return read_model(DEMO / "walker.osim")


@pytest.fixture(scope="module")
def walk() -> Motion:
    return storage.read(DEMO / "walker.mot")


@pytest.fixture(scope="module")
def markers(walker, walk) -> Markers:
    return marker_tracks(walker, walk)


def follow(stream: Stream | tuple[People, object], time, xyz) -> list[Frame]:
    if isinstance(stream, Stream):
        return [stream.push(t, y) for t, y in zip(time, xyz, strict=True)]
    people, person = stream
    return [people.push(person, t, y) for t, y in zip(time, xyz, strict=True)]


def table(frames: list[Frame]) -> np.ndarray:
    return np.array([frame.values for frame in frames])


def turned(xyz: np.ndarray, angle: float) -> np.ndarray:
    """Turned about the vertical, radians."""
    c, s = np.cos(angle), np.sin(angle)
    return xyz @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T


def bound_turning(model: Model) -> Model:
    """The model, its turning about the vertical bound to half a turn either way: many models are."""
    joints = tuple(
        replace(
            joint,
            coordinates=tuple(
                replace(c, range=(-np.pi, np.pi), clamped=True) if c.name == "pelvis_rotation" else c
                for c in joint.coordinates
            ),
        )
        for joint in model.joints
    )
    return replace(model, joints=joints)


def misses(model: Model, frames: list[Frame], xyz: np.ndarray) -> np.ndarray:
    """(T, M) metres between the model's markers at the frames' poses and ``xyz``, by forward kinematics."""
    motion = Motion(np.arange(len(frames)), frames[0].names, table(frames))
    return np.linalg.norm(marker_tracks(model, motion).xyz - xyz, axis=-1)


def test_exact_markers_give_the_truth(walker, walk, markers) -> None:
    stream = Stream(walker, markers.names)
    frames = follow(stream, markers.time, markers.xyz)
    truth = walk.select(walker.coordinate_names).values
    assert np.abs(table(frames) - truth).max() < 1e-9
    assert all(f.converged and f.gradient <= 1e-12 and f.cost < 1e-20 for f in frames)
    assert {f.status for f in frames} == {"solved"}
    assert frames[3].value("knee_angle_r") == frames[3].values[frames[3].names.index("knee_angle_r")]
    with pytest.raises(CapbenchError, match="knee_angle_r"):
        frames[3].value("knee_angle_rr")


def test_a_noisy_walk_is_the_batch_forward_pass(walker, markers) -> None:
    rng = np.random.default_rng(3)
    xyz = markers.xyz + rng.normal(0, 0.005, markers.xyz.shape)
    xyz[rng.random(xyz.shape[:2]) < 0.05] = np.nan
    weights = {name: 1.0 + (i % 3) for i, name in enumerate(markers.names)}
    batch = solve(walker, Markers(markers.time, markers.names, xyz), weights=weights, passes=1)
    frames = follow(Stream(walker, markers.names, weights), markers.time, xyz)
    proof = batch.certificate
    assert np.abs(table(frames) - batch.motion.values).max() < 1e-9
    assert [f.cost for f in frames] == pytest.approx(proof.cost, rel=1e-9)
    assert [f.markers for f in frames] == proof.markers.tolist()
    assert np.array([f.observed for f in frames])[:, 0].all()
    # the misfit and the noise that explains it, from scratch
    away = misses(walker, frames, xyz)
    rms = np.sqrt(np.nanmean(away**2, axis=1))
    assert [f.rms for f in frames] == pytest.approx(rms, rel=1e-9)


def test_a_given_noise_gives_the_batch_spread(walker, markers) -> None:
    some = markers[:5]
    names = tuple(reversed(some.names))  # in another order than the model's
    batch = solve(walker, some, passes=1, covariance=0.01**2)
    frames = follow(Stream(walker, names, covariance=0.01**2), some.time, some.select(names).xyz)
    order = [frames[0].names.index(name) for name in batch.certificate.coordinates]
    assert np.array([f.sigma[order] for f in frames]) == pytest.approx(batch.certificate.sigma, rel=1e-6)


@pytest.mark.parametrize("trial", ["walking1", "DJ1"])
def test_a_real_trial_is_the_batch_forward_pass(shared_data, trial) -> None:
    model = read_model(shared_data / "labvalidation_subject4/model/manually_scaled.osim")
    weights = read_tasks(shared_data / "opencap_setup/Setup_IK_Mocap.xml").markers
    markers = trc.read(shared_data / f"labvalidation_subject4/markers/{trial}.trc")[:150]
    batch = solve(model, markers, weights=weights, passes=1)
    stream = Stream(model, markers.names, weights)
    frames = follow(stream, markers.time, markers.xyz)
    # coupled (patella) coordinates too
    assert frames[0].names == batch.motion.names
    assert model.couplers
    assert np.abs(table(frames) - batch.motion.values).max() < 1e-9
    knee, patella = (batch.motion.names.index(n) for n in ("knee_angle_r", "knee_angle_r_beta"))
    assert frames[9].sigma[patella] == pytest.approx(frames[9].sigma[knee], rel=1e-9)  # beta = knee angle
    assert {s.text.split(":")[0] for s in stream.notes if s.severity == "flag"} == {
        "6 recorded markers are not in the model",
        "2 recorded markers have no task",
    }


def test_after_a_gap_it_starts_afresh(walker, walk, markers) -> None:
    bound = bound_turning(walker)
    before, after = turned(markers.xyz[:50], 3.0), turned(markers.xyz[120:], 3.6)
    # going on from before the gap, the pelvis runs into its bound and stays there
    stream = Stream(bound, markers.names)
    last = follow(stream, markers.time[:50], before)[-1]
    problem = build_problem(bound, dict.fromkeys(markers.names, 1.0))
    order = [last.names.index(n) for n in problem.tree.coordinates]
    stuck = run_chain(problem, after[:1].copy(), last.values[None, order], warm=False, backwards=False)
    assert stuck.cost[0] > 1e-4
    frames = follow(stream, markers.time[120:], after)
    assert frames[0].status == "after a gap of 0.71 s; started afresh: fits better"
    assert {f.status for f in frames[1:]} == {"solved"}
    assert misses(walker, frames, after).max() < 1e-8
    legs = ["hip_flexion_r", "knee_angle_l", "lumbar_bending"]
    order = [frames[0].names.index(n) for n in legs]
    assert np.abs(table(frames)[:, order] - walk.select(legs).values[120:]).max() < 1e-8


def test_a_short_gap_goes_on_at_the_real_time(walker, walk, markers) -> None:
    pick = np.r_[0:40, 52:60, 61:90:3, 90, 105]  # gaps of up to 0.15 s, steps of 1 and of 3
    frames = follow(Stream(walker, markers.names), markers.time[pick], markers.xyz[pick])
    truth = walk.select(walker.coordinate_names).values[pick]
    assert np.abs(table(frames) - truth).max() < 1e-8
    assert {f.status for f in frames} == {"solved"}


def test_a_pose_is_carried_on_at_its_speed(walker, walk, markers, monkeypatch) -> None:
    """At constant speeds the place carried on to, over uneven steps, is the answer itself."""
    time = np.array([0.0, 0.01, 0.02, 0.05, 0.06, 0.09])
    names = walker.coordinate_names
    first = walk.select(names).values[0]
    values = first + time[:, None] * np.linspace(-1.0, 1.0, len(names))
    tracks = marker_tracks(walker, Motion(time, names, values))
    starts = []
    run = Stream._run

    def noted(self: Stream, start: np.ndarray) -> object:
        starts.append(start[0].copy())
        return run(self, start)

    monkeypatch.setattr(Stream, "_run", noted)
    follow(Stream(walker, tracks.names), time, tracks.xyz)
    assert len(starts) == len(time)  # nothing gave reason to start afresh
    assert np.abs(np.array(starts)[2:] - values[2:]).max() < 1e-8


def test_a_sudden_other_pose_is_found(walker, markers) -> None:
    bound = bound_turning(walker)
    xyz = np.concatenate(
        [turned(markers.xyz[:40], 3.0), turned(markers.xyz[40:80], 3.6) + np.array([2.0, 0.0, -1.0])]
    )
    frames = follow(Stream(bound, markers.names), markers.time[:80], xyz)
    assert misses(walker, frames, xyz).max() < 1e-8
    assert [i for i, f in enumerate(frames) if f.status != "solved"] == [40]


def test_a_wrong_minimum_is_left_within_a_quarter_second(walker, markers, monkeypatch) -> None:
    bound = bound_turning(walker)
    xyz = np.concatenate([turned(markers.xyz[:40], 3.0), turned(markers.xyz[40:100], 3.6)])
    # deaf to the jump and to the bound, it must still find out by itself
    monkeypatch.setattr(Stream, "_jumped", lambda self, cost: False)
    monkeypatch.setattr(Stream, "_root_at_bound", lambda self, q: False)
    frames = follow(Stream(bound, markers.names), markers.time[:100], xyz)
    wrong = np.flatnonzero(misses(walker, frames, xyz).max(axis=1) > 1e-8)
    assert wrong[0] == 40 and wrong[-1] < 66


def test_someone_who_turns_round_and_round_stays_found(walker, markers) -> None:
    bound = bound_turning(walker)
    xyz = np.stack([turned(y, 0.1 * i) for i, y in enumerate(markers.xyz)])  # three turns
    frames = follow(Stream(bound, markers.names), markers.time, xyz)
    assert misses(bound, frames, xyz).max() < 1e-9
    assert np.abs([f.value("pelvis_rotation") for f in frames]).max() <= np.pi
    assert sum("afresh" in f.status for f in frames) >= 3
    # where nothing binds the turning, the angle goes on without a jump
    free = follow(Stream(walker, markers.names), markers.time, xyz)
    assert np.abs(np.diff([f.value("pelvis_rotation") for f in free])).max() < 0.15


def test_a_frame_without_markers_is_nan_and_the_next_goes_on(walker, walk, markers) -> None:
    stream = Stream(walker, markers.names)
    follow(stream, markers.time[:30], markers.xyz[:30])
    empty = stream.push(markers.time[30], np.full((len(markers.names), 3), np.nan))
    assert np.isnan(empty.values).all() and np.isnan([empty.cost, empty.rms, empty.gradient]).all()
    assert not empty.converged and empty.markers == 0 and not empty.observed.any()
    assert empty.status == "no markers seen" and np.isnan(empty.sigma).all()
    frame = stream.push(markers.time[31], markers.xyz[31])
    assert frame.values == pytest.approx(walk.select(walker.coordinate_names).values[31], abs=1e-9)
    # and a recording may begin with one
    fresh = Stream(walker, markers.names)
    assert fresh.push(0, np.zeros((len(markers.names), 3))).status.startswith("no markers seen; taken as")
    assert fresh.push(1, markers.xyz[31]).values == pytest.approx(frame.values, abs=1e-9)


def test_what_no_marker_moves_is_held_and_named(walker, markers) -> None:
    bound = bound_turning(walker)
    stream = Stream(bound, markers.names)
    before = follow(stream, markers.time[:20], turned(markers.xyz[:20], 3.0))[-1]
    xyz = np.concatenate([turned(markers.xyz[20:50], 3.0), turned(markers.xyz[50:90], 3.6)])
    bodies = {m.name: m.body for m in walker.markers}
    gone = [i for i, n in enumerate(markers.names) if bodies[n] in ("tibia_r", "foot_r")]
    xyz[:, gone] = np.nan
    # a cold start after the gap, the pelvis beyond its bound, must not let go of them either
    frames = follow(stream, np.r_[markers.time[20:50], markers.time[50:90] + 1], xyz)
    assert "afresh" in frames[30].status
    for name in ("knee_angle_r", "ankle_angle_r"):
        assert {f.value(name) for f in frames} == {before.value(name)}
        assert not any(f.observed[f.names.index(name)] for f in frames)
        assert np.isnan(frames[0].sigma[frames[0].names.index(name)])
    assert "held, no marker that moves them is seen: knee_angle_r, ankle_angle_r" in frames[0].status
    assert all(f.observed[f.names.index("knee_angle_l")] for f in frames)


def test_locked_coordinates_stay_at_their_value(walker, walk, markers) -> None:
    joints = tuple(
        replace(j, coordinates=tuple(replace(c, locked=True, default=0.3) for c in j.coordinates))
        if [c.name for c in j.coordinates] == ["ankle_angle_l"]
        else j
        for j in walker.joints
    )
    frame = Stream(replace(walker, joints=joints), markers.names).push(0.0, markers.xyz[0])
    i = frame.names.index("ankle_angle_l")
    assert frame.values[i] == 0.3 and not frame.observed[i] and np.isnan(frame.sigma[i])
    assert frame.observed.sum() == len(frame.names) - 1


def test_points_at_the_origin_are_missing(walker, markers) -> None:
    zero, gone = markers.xyz[5].copy(), markers.xyz[5].copy()
    zero[[2, 7]], gone[[2, 7]] = 0.0, np.nan
    a = Stream(walker, markers.names).push(0.0, zero)
    b = Stream(walker, markers.names).push(0.0, gone)
    assert np.array_equal(a.values, b.values) and a.markers == len(markers.names) - 2
    assert a.status == f"taken as missing, at exactly (0, 0, 0): {markers.names[2]}, {markers.names[7]}"


def test_few_markers_and_bad_fits_are_said(walker, markers) -> None:
    two = np.full((len(markers.names), 3), np.nan)
    two[:2] = markers.xyz[0, :2]
    frame = Stream(walker, markers.names).push(0.0, two)
    assert "2 of 27 markers seen: too few to place a body" in frame.status
    wrong = Stream(walker, markers.names).push(0.0, markers.xyz[0] * 1000)
    assert wrong.rms > 1 and "fits badly" in wrong.status


def test_two_people_are_each_as_if_alone(walker, markers) -> None:
    here, there = markers.xyz[:60], turned(markers.xyz[100:160], 2.0) + np.array([1.0, 0.0, 0.5])
    alone = [follow(Stream(walker, markers.names), markers.time[:60], xyz) for xyz in (here, there)]
    people = People(walker, markers.names)
    together: list[list[Frame]] = [[], []]
    for t, *both in zip(markers.time[:60], here, there, strict=True):
        for person, y in enumerate(both):
            together[person].append(people.push(f"person {person}", t, y))
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(table(one), table(other))
    assert people.ids == ("person 0", "person 1")
    people.forget("person 0")
    assert people.ids == ("person 1",)
    with pytest.raises(CapbenchError, match="person 0"):
        people.forget("person 0")
    # who was forgotten may come back at any time; who was not may not go back in it
    assert people.push("person 0", 0.0, here[0]).values == pytest.approx(alone[0][0].values, abs=1e-12)
    with pytest.raises(CapbenchError, match="time to increase"):
        people.push("person 1", 0.0, here[0])


def test_a_refused_frame_changes_nothing(walker, markers) -> None:
    plain = follow(Stream(walker, markers.names), markers.time[:6], markers.xyz[:6])
    stream, people = Stream(walker, markers.names), People(walker, markers.names)
    good = markers.xyz[0]
    half, far = good.copy(), good.copy()
    half[4, 1], far[4, 1] = np.nan, np.inf
    for words, time, xyz in (
        ("shape", 9.0, good[:-1]),
        ("shape", 9.0, good[:, :2]),
        ("shape", 9.0, good[None]),
        ("shape", 9.0, []),
        ("numbers", 9.0, [["a", "b", "c"]] * len(good)),
        ("numbers", 9.0, [[1.0], [1.0, 2.0]]),
        ("numbers", "soon", good),
        ("numbers", None, good),
        ("finite time", np.nan, good),
        ("finite time", np.inf, good),
        ("all finite", 9.0, half),
        ("all finite", 9.0, far),
        ("within 100 km", 9.0, good * 1e6),
    ):
        for push in (stream.push, lambda t, y: people.push("someone", t, y)):
            with pytest.raises(CapbenchError, match=words):
                push(time, xyz)
    assert people.ids == ()
    frames = []
    for t, y in zip(markers.time[:6], markers.xyz[:6], strict=True):
        frames.append(stream.push(t, y))
        for late in (t, t - 0.5):
            with pytest.raises(CapbenchError, match="time to increase"):
                stream.push(late, y)
    assert np.array_equal(table(frames), table(plain))
    assert markers.names[4] in str(_refusal(stream, 9.0, half))
    stream.reset()
    assert np.array_equal(stream.push(-7.0, markers.xyz[0]).values, plain[0].values)


def _refusal(stream: Stream, time: float, xyz: np.ndarray) -> CapbenchError:
    with pytest.raises(CapbenchError) as caught:
        stream.push(time, xyz)
    return caught.value


def test_streams_that_could_not_work_are_refused(walker, markers) -> None:
    for words, names, weights in (
        ("at least 3 markers", markers.names[:2], None),
        ("at least 3 markers", ("a", "b", "c", "d"), None),
        ("at least 3 markers", markers.names, dict.fromkeys(markers.names, 0.0)),
        ("twice", (*markers.names, markers.names[0]), None),
        ("not negative", markers.names, {markers.names[0]: -1.0}),
        ("not negative", markers.names, {markers.names[0]: np.nan}),
    ):
        with pytest.raises(CapbenchError, match=words):
            Stream(walker, names, weights)
    for wrong in (-1.0, np.nan):
        with pytest.raises(CapbenchError, match="variance"):
            Stream(walker, markers.names, covariance=wrong)


def test_unknown_markers_are_left_out_and_noted(walker, markers) -> None:
    names = ("stick", *markers.names)
    xyz = np.concatenate([np.full((1, 3), 5.0), markers.xyz[0]])
    stream = Stream(walker, names)
    assert stream.push(0.0, xyz).rms < 1e-10
    assert [str(s) for s in stream.notes] == ["1 recorded markers are not in the model: stick."]
    assert People(walker, names).notes == stream.notes


def test_warming_up_leaves_no_trace(walker, markers) -> None:
    warmed, plain = Stream(walker, markers.names), Stream(walker, markers.names)
    warmed.warm_up()
    a, b = (follow(s, markers.time[:4] - 5, markers.xyz[:4]) for s in (warmed, plain))
    assert np.array_equal(table(a), table(b))
    people = People(walker, markers.names)
    people.warm_up()
    assert people.ids == ()


def test_the_quick_rigid_start_is_the_general_one(walker, markers) -> None:
    weights = {name: 1.0 + (i % 4) for i, name in enumerate(markers.names)}
    problem = build_problem(walker, weights)
    rest = neutral(problem.tree)[None]
    root = rigid_root(problem, rest)
    assert root is not None
    rng = np.random.default_rng(8)
    for i in range(40):
        axis = rng.normal(size=(3, 3))
        turn = np.linalg.qr(axis)[0]
        turn *= np.sign(np.linalg.det(turn))
        y = markers.xyz[i : i + 1] @ turn.T + rng.normal(size=3)
        y[0, rng.random(y.shape[1]) < (0.3 if i % 2 else 0.8)] = np.nan
        expected = rigid_starts(problem, y, rest)
        found = root.placed(rest, y[0], ~np.isnan(y[0, :, 0]))
        assert np.abs(found - expected).max() < 1e-9
