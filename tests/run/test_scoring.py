"""Scores against loops written from the protocol's words; planted offsets and lags; silence that costs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from capbench.run.scoring import CAP, Scored, beside, curve, interval, rows, score
from cohorts.card import Card, builtin_card
from cohorts.recording import Motion, Trial
from metrics.aggregate import TrialKey

ANGLES = ("pelvis_tilt", "hip_flexion_r", "knee_angle_r", "lumbar_extension")
NAMES = (*ANGLES, "pelvis_ty", "wrist_flex_r")  # the last two are never scored
RATE = 50
GAP = 0.1  # seconds of prediction that are joined by a line
TURN = 2 * math.pi

TRIALS = (
    Trial("walk1", "ann", "walking", "day1"),
    Trial("walk2", "ann", "walking", "day1"),
    Trial("walk3", "ann", "walking", "day1"),
    Trial("rise1", "ann", "sit-to-stand", "day1"),
    Trial("walk1", "bob", "walking", "day2"),
    Trial("rise1", "bob", "sit-to-stand", "day2"),
    Trial("walk1", "cyd", "walking"),
)


def motion(time: np.ndarray, values: np.ndarray, names: Sequence[str] = NAMES) -> Motion:
    kinds = tuple("translation" if n == "pelvis_ty" else "rotation" for n in names)
    return Motion(time, tuple(names), values, kinds)


def moving(key: str, time: np.ndarray) -> np.ndarray:
    """Smooth angles (radians) and a height (metres) that differ from trial to trial, at any time."""
    random = np.random.default_rng(sum(map(ord, key)))
    size = np.array([0.2, 0.5, 0.6, 0.15, 0.05, 0.3])
    crossing = np.array([2.9, 0, 0.5, 0, 0.9, 0])  # the first angle passes half a turn
    middle = random.normal(0, 0.4, 6) + crossing
    speed, phase = random.uniform(4, 7, 6), random.uniform(0, 6, 6)
    return middle + size * np.sin(speed * time[:, None] + phase)


def truths() -> dict[str, Motion]:
    found = {}
    for k, trial in enumerate(TRIALS):
        time = 0.3 + np.arange(60 + 7 * k) / RATE
        values = moving(trial.key, time)
        if trial.name == "walk3":
            values[10:20, 1] = np.nan  # nobody knows these
            values[:, 3] = np.nan
        values[:, 0] = np.mod(values[:, 0] + math.pi, TURN) - math.pi  # as a file has it
        found[trial.key] = motion(time, values)
    return found


def without_height(motions: Mapping[str, Motion]) -> dict[str, Motion]:
    """So that no lag can be measured: one of microseconds would cost the samples beside gaps."""
    return {key: m.select([n for n in m.names if n != "pelvis_ty"]) for key, m in motions.items()}


def guesses(seed: int = 0) -> dict[str, Motion]:
    """Some degrees wrong, at other times, whole turns off, with gaps short and long, one beyond the cap."""
    random = np.random.default_rng(seed)
    found = {}
    for trial in TRIALS:
        true = truths()[trial.key]
        time = np.arange(true.time[0] - 0.011, true.time[-1] - 0.06, 1 / 37)
        values = moving(trial.key, time) + np.radians(
            random.normal(0, 6, (1, 6)) + random.normal(0, 3, (len(time), 6))
        )
        values[:, 1] += TURN * random.integers(-2, 3)
        values[20:22] = np.nan  # short enough to be joined
        values[30:38, 2] = np.nan  # too long
        if trial.name == "walk2":
            values[:, 1] += math.radians(100)
        found[trial.key] = motion(time, values)
    found["cyd/walk1"] = found["cyd/walk1"].select([n for n in NAMES if n != "hip_flexion_r"])
    del found["bob/day2/rise1"]
    return found


# --- brute force ---------------------------------------------------------------------------------


def wrapped(angle: float) -> float:
    """Degrees from radians, in -180 to 180."""
    return math.degrees(math.atan2(math.sin(angle), math.cos(angle)))


def at(time: Sequence[float], values: Sequence[float], moment: float) -> float:
    """On a straight line (the shorter way round) between the two neighbours that are there."""
    there = [(t, v) for t, v in zip(time, values, strict=True) if not math.isnan(v)]
    before = [(t, v) for t, v in there if t <= moment + 1e-9]
    after = [(t, v) for t, v in there if t >= moment - 1e-9]
    if not before or not after:
        return math.nan
    (t0, v0), (t1, v1) = before[-1], after[0]
    if t1 - t0 <= 1e-9:
        return v0
    if t1 - t0 > GAP + 1e-9:
        return math.nan
    return v0 + (moment - t0) / (t1 - t0) * math.radians(wrapped(v1 - v0))


def mean(values: Sequence[float]) -> float:
    there = [v for v in values if not math.isnan(v)]
    return sum(there) / len(there) if there else math.nan


def up(value: Mapping[str, float], trials: Sequence[Trial] = TRIALS) -> float:
    people = []
    for person in {t.subject for t in trials}:
        doing = []
        for activity in {t.activity for t in trials if t.subject == person}:
            doing.append(
                mean([value[t.key] for t in trials if (t.subject, t.activity) == (person, activity)])
            )
        people.append(mean(doing))
    return mean(people)


def null_pose(true: Mapping[str, Motion], name: str) -> float:
    """The mean over the cohort on the circle, radians."""
    sines, cosines = {}, {}
    for key, m in true.items():
        last, total, count = math.nan, 0.0, 0
        for v in m.column(name).tolist():
            if math.isnan(v):
                continue
            last = v if math.isnan(last) else last + math.radians(wrapped(v - last))
            total, count = total + last, count + 1
        sines[key] = math.sin(total / count) if count else math.nan
        cosines[key] = math.cos(total / count) if count else math.nan
    return math.atan2(up(sines), up(cosines))


def by_hand(
    found: Mapping[str, Motion], true: Mapping[str, Motion], lags: Mapping[str, float] | None = None
) -> dict[str, dict[tuple[str, str], float]]:
    """What each trial and coordinate costs; ``lags`` by trial, where one is believed."""
    poses = {name: null_pose(true, name) for name in ANGLES}
    table: dict[str, dict[tuple[str, str], float]] = {
        n: {} for n in ("cost", "plain", "null", "answered", "cap")
    }
    for key, m in true.items():
        for name in ANGLES:
            errors, nulls = [], []
            for t, v in zip(m.time.tolist(), m.column(name).tolist(), strict=True):
                if math.isnan(v):
                    continue
                answer = math.nan
                if key in found and name in found[key].names:
                    own = found[key]
                    answer = at(own.time.tolist(), own.column(name).tolist(), t)
                errors.append(math.nan if math.isnan(answer) else abs(wrapped(answer - v)))
                nulls.append(abs(wrapped(poses[name] - v)))
            if not errors:
                for part in table.values():
                    part[key, name] = math.nan
                continue
            cap = max(CAP, math.sqrt(sum(n * n for n in nulls) / len(nulls)))
            charged = [cap if math.isnan(e) else min(e, cap) for e in errors]
            there = [e for e in errors if not math.isnan(e)]
            table["cost"][key, name] = math.sqrt(sum(c * c for c in charged) / len(charged))
            table["plain"][key, name] = (
                math.sqrt(sum(e * e for e in there) / len(there)) if there else math.nan
            )
            table["null"][key, name] = math.sqrt(sum(min(n, cap) ** 2 for n in nulls) / len(nulls))
            table["answered"][key, name] = len(there) / len(errors)
            table["cap"][key, name] = cap
    return table


def over(part: Mapping[tuple[str, str], float], names: Sequence[str] = ANGLES, trials=TRIALS) -> float:
    """Mean over coordinates, then up the tree."""
    return up({t.key: mean([part[t.key, n] for n in names]) for t in trials}, trials)


@pytest.mark.truth("brute force")
def test_every_number_is_that_of_plain_loops() -> None:
    true, found = without_height(truths()), guesses()
    scored = score(found, true, TRIALS)
    table = by_hand(found, true)
    assert scored.coordinates == ANGLES
    assert all(math.isnan(e.lag.seconds) for e in scored.errors.values())
    close = {"rel": 1e-9, "nan_ok": True}
    for key, cost in scored.scores.items():
        for c, name in enumerate(ANGLES):
            for field, part in (("charged_c", "cost"), ("uncapped_c", "plain"), ("null_c", "null"),
                                ("answered_c", "answered"), ("cap_c", "cap")):  # fmt: skip
                assert getattr(cost, field)[c] == pytest.approx(table[part][key, name], **close), (
                    key,
                    name,
                    part,
                )
    overall, coordinates, activities, people = rows(scored, card(), seed=0)

    def check(row, names=ANGLES, trials=TRIALS):
        assert row.value == pytest.approx(over(table["cost"], names, trials))
        assert row.uncapped == pytest.approx(over(table["plain"], names, trials))
        assert row.null == pytest.approx(over(table["null"], names, trials))
        assert row.coverage == pytest.approx(100 * over(table["answered"], names, trials))
        assert row.skill == pytest.approx(1 - row.value / row.null)

    check(overall)
    assert (overall.n, overall.trials) == (3, 7) and scored.summary.answered == 6
    assert {row.name for row in coordinates} == {*ANGLES}
    for row in coordinates:
        check(row, [row.name])
    assert {row.name for row in activities} == {"walking", "sit-to-stand"}
    for row in activities:
        check(row, trials=[t for t in TRIALS if t.activity == row.name])
        assert row.n == len({t.subject for t in TRIALS if t.activity == row.name})
        assert row.trials == sum(t.activity == row.name for t in TRIALS)
    assert [row.name for row in people] == ["ann", "bob", "cyd"]
    for row in people:
        check(row, trials=[t for t in TRIALS if t.subject == row.name])
    # not a plain mean over trials: the tree matters here
    plain = mean([mean([table["cost"][t.key, n] for n in ANGLES]) for t in TRIALS])
    assert abs(overall.value - plain) > 0.5


@cache
def card(exact: bool = True, floors: tuple[tuple[str, float], ...] = ()) -> Card:
    found = builtin_card("clinic-mini")
    reference = found.reference.model_copy(update={"exact": exact, "noise_floor": dict(floors)})
    return found.model_copy(update={"reference": reference})


def test_the_order_of_trials_changes_no_bit() -> None:
    true, found = truths(), guesses()
    one, other = (score(found, true, order) for order in (TRIALS, TRIALS[::-1]))
    assert one.summary.cohort == other.summary.cohort
    assert dict(one.summary.by_coordinate) == dict(other.summary.by_coordinate)


# --- planted errors ------------------------------------------------------------------------------


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("degrees", [0.0, 1.0, -7.0, 25.0])
def test_an_offset_costs_exactly_itself(degrees) -> None:
    true = without_height(truths())
    found = {k: replace(m, values=m.values + math.radians(degrees) * (np.array(m.kinds) == "rotation"))
             for k, m in true.items()}  # fmt: skip
    overall, coordinates, *_ = rows(score(found, true, TRIALS), card(), seed=0)
    assert overall.value == pytest.approx(abs(degrees), abs=1e-9)
    assert [c.value for c in coordinates] == pytest.approx([abs(degrees)] * 4, abs=1e-9)
    assert overall.coverage == 100 and overall.uncapped == pytest.approx(abs(degrees), abs=1e-9)


@pytest.mark.truth("closed form")
def test_an_offset_beyond_the_cap_costs_the_cap_and_whole_turns_nothing() -> None:
    true = without_height(truths())
    far = {k: replace(m, values=m.values + math.radians(170) * (np.array(m.kinds) == "rotation"))
           for k, m in true.items()}  # fmt: skip
    scored = score(far, true, TRIALS)
    assert scored.summary.cohort.uncapped == pytest.approx(170)
    for cost in scored.scores.values():
        np.testing.assert_allclose(cost.charged_c, cost.cap_c)
        assert (cost.cap_c[np.isfinite(cost.cap_c)] >= CAP).all()
    turned = {k: replace(m, values=m.values - 3 * TURN * (np.array(m.kinds) == "rotation"))
              for k, m in true.items()}  # fmt: skip
    assert score(turned, true, TRIALS).summary.cohort.score == pytest.approx(0, abs=1e-9)


@pytest.mark.truth("closed form")
def test_the_null_model_has_skill_zero() -> None:
    true = without_height(truths())
    pose = [null_pose(true, n) if n in ANGLES else 0.0 for n in NAMES if n != "pelvis_ty"]
    still = {k: replace(m, values=np.broadcast_to(pose, m.values.shape).copy()) for k, m in true.items()}
    line = score(still, true, TRIALS).summary.cohort
    assert line.score == pytest.approx(line.null) and line.skill == pytest.approx(0, abs=1e-12)


@pytest.mark.truth("planted lag")
@pytest.mark.parametrize("lag", [0.04, -0.1])
def test_a_late_prediction_is_charged_what_is_left_without_the_lag(lag) -> None:
    """Ann's clock is off, Bob's is not: one lag for each session, found on the height of the pelvis."""
    true = truths()
    offset = math.radians(3)
    found = {}
    for trial in TRIALS:
        time = true[trial.key].time
        wide = np.arange(time[0] - 0.5, time[-1] + 0.5, 1 / RATE)
        late = lag if trial.subject == "ann" else 0.0
        values = moving(trial.key, wide - late)
        values[:, :4] += offset
        found[trial.key] = motion(wide, values)
    scored = score(found, true, TRIALS)
    for trial in TRIALS:
        expected = lag if trial.subject == "ann" else 0.0
        assert scored.errors[trial.key].lag.seconds == pytest.approx(expected, abs=0.003)
        cost = scored.scores[trial.key].charged_c
        np.testing.assert_allclose(cost[np.isfinite(cost)], 3, atol=0.15)
    blind = score(without_height(found), without_height(true), TRIALS)
    assert blind.summary.cohort.score > scored.summary.cohort.score + 0.3


def test_a_lag_is_believed_only_where_the_pelvis_tells_it() -> None:
    """A flat height, one that is noise, and none at all: no lag, and the errors as they are."""
    true = truths()
    late = {k: motion(m.time + 0.06, m.values) for k, m in true.items()}
    column = NAMES.index("pelvis_ty")

    def with_height(height) -> dict[str, Motion]:
        found = {}
        for key, m in late.items():
            values = m.values.copy()
            values[:, column] = height(len(m))
            found[key] = replace(m, values=values)
        return found

    random = np.random.default_rng(0)
    raw = score(without_height(late), without_height(true), TRIALS)
    for spoilt in (
        with_height(lambda n: np.full(n, 0.9)),
        with_height(lambda n: random.normal(0.9, 0.03, n)),
        with_height(lambda n: np.full(n, np.nan)),
        without_height(late),
    ):
        scored = score(spoilt, true, TRIALS)
        assert all(math.isnan(e.lag.seconds) for e in scored.errors.values())
        assert scored.summary.cohort == raw.summary.cohort


@pytest.mark.truth("closed form")
def test_a_missing_trial_costs_its_cap() -> None:
    true = without_height(truths())
    found = {k: m for k, m in true.items() if k != "bob/day2/walk1"}
    scored = score(found, true, TRIALS)
    gone = scored.scores["bob/day2/walk1"]
    np.testing.assert_array_equal(gone.charged_c, gone.cap_c)
    assert (gone.answered_c == 0).all() and np.isnan(gone.uncapped_c).all()
    # a sixth of the tree: one of Bob's two activities, Bob one of three
    assert scored.summary.cohort.score == pytest.approx(gone.cap_c.mean() / 6)
    assert scored.summary.cohort.coverage == pytest.approx(100 * 5 / 6)
    nothing = score({}, true, TRIALS)
    assert nothing.summary.answered == 0 and nothing.summary.cohort.coverage == 0
    assert nothing.summary.cohort.score >= CAP


# --- silence never pays --------------------------------------------------------------------------

SETTINGS = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
NOISE = np.random.default_rng(8)
BASE = {k: motion(m.time, moving(k, m.time) + 0.02 * NOISE.normal(size=m.values.shape))
        for k, m in truths().items()}  # fmt: skip


def removed(kind: str, what: list[float]) -> dict[str, Motion]:
    """``BASE`` without an answer that ``what`` (numbers from 0 to 1) picks."""
    found = dict(BASE)
    trial = TRIALS[int(what[0] * len(TRIALS))]
    m = found[trial.key]
    if kind == "subject":
        return {k: v for k, v in found.items() if not k.startswith(trial.subject + "/")}
    if kind == "trial":
        del found[trial.key]
    elif kind == "coordinate":
        name = ANGLES[int(what[1] * len(ANGLES))]
        found[trial.key] = m.select([n for n in m.names if n != name])
    elif kind == "end":
        keep = 1 + int(what[1] * (len(m) - 1))
        found[trial.key] = m[:keep] if what[2] < 0.5 else m[len(m) - keep :]
    else:
        values = m.values.copy()
        first = int(what[1] * len(m))
        # what is gone for less than the protocol's gap is joined by a line, which may happen to be better
        values[first : first + 6 + int(what[2] * len(m)), int(what[3] * len(ANGLES))] = np.nan
        found[trial.key] = replace(m, values=values)
    return found


@SETTINGS
@given(
    st.sampled_from(["subject", "trial", "coordinate", "end", "samples"]),
    st.lists(st.floats(0, 0.999), min_size=4, max_size=4),
)
def test_no_answer_that_is_taken_away_lowers_the_score(kind, what) -> None:
    true = without_height(truths())
    whole, less = score(BASE, true, TRIALS), score(removed(kind, what), true, TRIALS)
    assert less.summary.cohort.score >= whole.summary.cohort.score - 1e-12
    assert less.summary.cohort.coverage <= whole.summary.cohort.coverage + 1e-12
    assert less.summary.cohort.null == whole.summary.cohort.null
    for key, cost in less.scores.items():
        before = whole.scores[key].charged_c
        assert (cost.charged_c[np.isfinite(before)] >= before[np.isfinite(before)] - 1e-12).all()


@SETTINGS
@given(st.sampled_from(["coordinate", "samples"]), st.lists(st.floats(0, 0.999), min_size=4, max_size=4))
def test_nor_with_a_lag_that_is_measured_on_what_stays(kind, what) -> None:
    true = truths()
    whole, less = score(BASE, true, TRIALS), score(removed(kind, what), true, TRIALS)
    assert any(not math.isnan(e.lag.seconds) for e in whole.errors.values())
    assert less.summary.cohort.score >= whole.summary.cohort.score - 1e-12


# --- rows ----------------------------------------------------------------------------------------


def test_intervals_bracket_and_need_two_people() -> None:
    scored = score(guesses(), truths(), TRIALS)
    overall, coordinates, _, people = rows(scored, card(), seed=0)
    values = [p.value for p in people]
    for row in (overall, *coordinates):
        assert row.low <= row.value <= row.high
    assert min(values) <= overall.low < overall.high <= max(values)
    assert all(p.low is None and p.high is None for p in people)
    assert rows(scored, card(), seed=0)[0] == overall
    assert interval([1.0], seed=0) == (None, None) == interval([1.0, math.nan], seed=0)


@pytest.mark.truth("brute force")
def test_the_interval_is_that_of_all_resamples_of_three() -> None:
    """Of three people there are 27 equally likely resamples: their 2.5 and 97.5 % points."""
    values = (1.0, 2.0, 7.0)
    every = sorted((a + b + c) / 3 for a in values for b in values for c in values)
    low, high = interval(values, seed=4)
    # a 27th lies at each end, more than 2.5 %
    assert (low, high) == pytest.approx((every[0], every[-1]))
    low, high = interval([1.0] * 20 + [2.0] * 20, seed=1)
    assert (low, high) == pytest.approx((1.5 - 1.96 * 0.5 / 40**0.5, 1.5 + 1.96 * 0.5 / 40**0.5), abs=0.02)


def test_noise_floors_are_the_card_s_and_zero_where_the_truth_is_exact() -> None:
    scored = score(guesses(), truths(), TRIALS)
    overall, coordinates, activities, _ = rows(scored, card(), seed=0)
    assert {r.noise_floor for r in (overall, *coordinates, *activities)} == {0.0}
    floors = tuple((n, 1.0 + k) for k, n in enumerate(ANGLES))
    overall, coordinates, _, people = rows(scored, card(False, floors), seed=0)
    assert [c.noise_floor for c in coordinates] == [1, 2, 3, 4]
    assert overall.noise_floor == people[0].noise_floor == 2.5
    overall, coordinates, *_ = rows(scored, card(False, floors[:3]), seed=0)  # one isn't known
    assert overall.noise_floor is None and coordinates[3].noise_floor is None


def test_what_stands_beside_goes_up_the_same_tree() -> None:
    values = {TrialKey(t.subject, t.activity, t.key): float(k) for k, t in enumerate(TRIALS)}
    values[TrialKey("cyd", "walking", "cyd/walk1")] = math.nan
    share = dict.fromkeys(values, 0.5)
    found = beside("EPE·2D", values, share, seed=0)
    plain = {t.key: float(k) for k, t in enumerate(TRIALS)} | {"cyd/walk1": math.nan}
    assert found.value == pytest.approx(up(plain)) and found.coverage == 50 and found.n == 3
    assert found.low is None and (found.unit, found.direction) == ("px", "lower")
    del values[TrialKey("cyd", "walking", "cyd/walk1")]
    found = beside("EPE·2D", values, share, seed=0)
    assert found.low <= found.value <= found.high and found.n == 2


# --- curves --------------------------------------------------------------------------------------


def test_a_curve_lies_on_its_reference_whatever_the_clock_and_the_turns() -> None:
    time = np.arange(0, 3, 0.02)
    true = motion(time, moving("ann/day1/walk1", time))
    wide = np.arange(-1, 4, 0.02)
    found = motion(wide, moving("ann/day1/walk1", wide - 0.06) + 2 * TURN)
    drawn = curve("ann/day1/walk1", "knee_angle_r", true, found, np.full((len(wide), 6), 0.01), 0.06)
    assert len(drawn.time) == len(drawn.reference) == len(drawn.predicted) == len(drawn.sd) == 101
    assert (drawn.time[0], drawn.time[-1]) == (time[0], time[-1])
    np.testing.assert_allclose(drawn.predicted, drawn.reference, atol=0.05)
    np.testing.assert_allclose(drawn.sd, math.degrees(0.01), atol=1e-4)
    np.testing.assert_allclose(drawn.reference[0], math.degrees(true.column("knee_angle_r")[0]), atol=1e-4)
    short = curve("t", "knee_angle_r", true[:7], None, None, math.nan)
    assert len(short.time) == 7 and set(short.predicted) == {None}


def test_a_curve_has_gaps_where_nothing_was_answered() -> None:
    time = np.arange(0, 3, 0.02)
    true = motion(time, moving("ann/day1/walk1", time))
    values = true.values.copy()
    values[:30] = np.nan
    values[60:62] = np.nan  # joined, as when it is scored
    values[80:110] = np.nan
    drawn = curve("t", "knee_angle_r", true, replace(true, values=values), None, math.nan)
    for t, v in zip(drawn.time, drawn.predicted, strict=True):
        missing = t < 0.59 or 1.59 < t < 2.19  # the last one before is at 1.58, the next at 2.20
        assert (v is None) == missing, t


def test_a_coordinate_without_an_answer_is_drawn_without_one() -> None:
    true = truths()["ann/day1/walk1"]
    found = true.select([n for n in NAMES if n != "knee_angle_r"])
    drawn = curve("t", "knee_angle_r", true, found, None, 0.0)
    assert set(drawn.predicted) == {None} and None not in drawn.reference


def test_scored_is_what_was_asked_for() -> None:
    scored = score(guesses(), truths(), TRIALS[:2])
    assert isinstance(scored, Scored) and scored.scores.keys() == {t.key for t in TRIALS[:2]}
