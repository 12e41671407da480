"""The measured lag, against planted ones and slow loops over the definition."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest

from metrics.arrays import MetricError
from metrics.catalogue import card
from metrics.lag import Lag, Pair, measure_lag, shift, shift_samples

NAN = np.nan
TIME = np.arange(300) / 100
RANGE = {"max_lag": 0.2, "step": 0.01, "max_gap": 0.1}


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def walk(time):
    """Two signals that do not repeat themselves within the range."""
    return np.column_stack(
        [np.sin(5 * time) + 0.3 * np.sin(13 * time + 1), 20 * np.cos(3 * time) + 4 * np.sin(11 * time)]
    )


def planted(lag, *, time_p=TIME, time_r=TIME, noise=0.0, seed=0):
    predicted = walk(time_p - lag)
    return Pair(
        time_p,
        predicted + np.random.default_rng(seed).normal(0, noise, predicted.shape),
        time_r,
        walk(time_r),
    )


# --- shifts ---


@pytest.mark.truth("pandas")
@pytest.mark.parametrize("samples", [-9, -8, -3, -1, 0, 1, 5, 7, 8, 20])
def test_whole_shifts_are_pandas(samples):
    values = np.random.default_rng(1).normal(size=(8, 2))
    values[3, 0] = NAN
    assert np.array_equal(shift_samples(values, samples), pd.DataFrame(values).shift(samples), equal_nan=True)
    assert np.array_equal(
        shift_samples(values[:, 1], samples), pd.Series(values[:, 1]).shift(samples), equal_nan=True
    )


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("seconds", [-0.333, -0.01, 0.0, 0.004, 0.05, 0.2])
def test_shift_delays_a_line(seconds):
    values = np.column_stack([TIME, -2 * TIME])
    moved = shift(values, TIME, seconds, max_gap=0.1)
    inside = (TIME - seconds >= -1e-9) & (TIME - seconds <= TIME[-1] + 1e-9)
    assert np.allclose(moved[inside, 0], TIME[inside] - seconds, atol=1e-9)
    assert np.allclose(moved[inside, 1], -2 * (TIME[inside] - seconds), atol=1e-9)
    assert np.isnan(moved[~inside]).all()


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("samples", [-4, 3])
def test_shift_by_whole_samples_is_shift_samples(samples):
    values = walk(TIME)
    values[50:80, 0] = NAN
    moved = shift(values, TIME, samples / 100, max_gap=0.1, kind="translation")
    assert np.allclose(moved, shift_samples(values, samples), equal_nan=True)


def test_shift_takes_angles_the_short_way():
    moved = shift(np.radians([[170.0], [-170.0]]), [0.0, 1.0], 0.5, max_gap=1.0)
    assert np.degrees(moved[1]) == pytest.approx([180.0])
    moved = shift(np.radians([[170.0], [-170.0]]), [0.0, 1.0], 0.5, max_gap=1.0, kind="translation")
    assert moved[1] == pytest.approx([0.0], abs=1e-12)


# --- measuring ---


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("method", ["correlation", "difference"])
@pytest.mark.parametrize("lag", [-0.2, -0.19, -0.07, -0.01, 0.0, 0.02, 0.13, 0.2])
def test_a_planted_lag_is_found(method, lag):
    found = card(f"lag·{method}").function([planted(lag)], method=method, **RANGE)
    assert found.seconds == pytest.approx(lag, abs=1e-12)
    assert found.agreement == pytest.approx(1.0 if method == "correlation" else 0.0, abs=1e-9)
    assert found.at_edge == (abs(lag) == 0.2)
    assert found.samples == 2 * (300 - round(100 * abs(lag)))
    assert card(f"lag·{method}")([planted(lag)], **RANGE) == found.seconds


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("rate", [50, 60, 120])
def test_rates_may_differ(rate):
    slow = np.arange(3 * rate) / rate
    found = measure_lag([planted(0.05, time_p=slow, time_r=TIME[30:250])], **RANGE)
    assert found.seconds == pytest.approx(0.05, abs=1e-12)
    assert found.samples == 2 * 220


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("lag", [-0.1234, -0.005, 0.0031, 0.0666])
def test_lags_between_samples(lag):
    coarse = measure_lag([planted(lag)], **RANGE)
    fine = measure_lag([planted(lag)], subsample=True, **RANGE)
    assert coarse.seconds == pytest.approx(round(100 * lag) / 100, abs=1e-12) or lag == -0.005
    assert abs(fine.seconds - lag) < 2e-4 < abs(coarse.seconds - lag)
    assert fine.agreement == coarse.agreement


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("lag", [0.0213, -0.0378])
def test_the_vertex_of_the_parabola(lag):
    def agreement(at):
        return measure_lag(
            [Pair(TIME - at, walk(TIME - lag), TIME, walk(TIME))], max_lag=1e-9, step=1, max_gap=1
        )

    best = measure_lag([planted(lag)], **RANGE).seconds
    at = best + 0.01 * np.array([-1, 0, 1])
    a, b, _ = np.polyfit(at - best, [agreement(x).agreement for x in at], 2)
    found = measure_lag([planted(lag)], subsample=True, **RANGE).seconds
    assert found == pytest.approx(best - b / (2 * a), abs=1e-9)


def test_no_vertex_at_the_edge():
    assert measure_lag([planted(0.25)], subsample=True, **RANGE).seconds == pytest.approx(0.2, abs=1e-12)
    assert measure_lag([planted(-0.25)], subsample=True, **RANGE).seconds == pytest.approx(-0.2, abs=1e-12)
    assert measure_lag([planted(0.25)], **RANGE).at_edge and measure_lag([planted(-0.25)], **RANGE).at_edge


def slow_agreement(pairs, lag, method):
    """On whole samples of equal grids: by lists, a signal of a trial at a time."""
    pp = rr = pr = apart = 0.0
    count = 0
    for pair in pairs:
        for p, r in zip(np.transpose(pair.predicted_ts), np.transpose(pair.reference_ts), strict=True):
            sd = np.nanstd(r)
            both = [
                (p[k + lag] / sd, r[k] / sd)
                for k in range(len(r))
                if 0 <= k + lag < len(p) and not math.isnan(p[k + lag] + r[k])
            ]
            mean_p = sum(x for x, _ in both) / len(both)
            mean_r = sum(y for _, y in both) / len(both)
            pp += sum((x - mean_p) ** 2 for x, _ in both)
            rr += sum((y - mean_r) ** 2 for _, y in both)
            pr += sum((x - mean_p) * (y - mean_r) for x, y in both)
            apart += sum(abs(x - y) for x, y in both)
            count += len(both)
    return pr / math.sqrt(pp * rr) if method == "correlation" else -apart / count


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("method", ["correlation", "difference"])
@pytest.mark.parametrize("seed", range(4))
def test_agreement_is_its_definition(method, seed):
    pairs = [
        planted(0.03, noise=0.5, seed=seed),
        planted(0.03, time_p=TIME[:90], time_r=TIME[:90], noise=2, seed=9),
    ]
    pairs[0].reference_ts[100:140, 1] = NAN
    found = measure_lag(pairs, method=method, **{**RANGE, "max_gap": 0.0})
    scores = {lag: slow_agreement(pairs, lag, method) for lag in range(-20, 21)}
    best = max(scores, key=scores.get)
    assert found.seconds == pytest.approx(best / 100, abs=1e-12)
    assert found.agreement == pytest.approx(scores[best], rel=1e-9)
    good = [lag for lag, score in scores.items() if score >= scores[best] - 0.01]
    assert found.width == pytest.approx((max(good) - min(good)) / 100, abs=1e-12)


@pytest.mark.truth("metamorphic")
def test_scale_offset_and_order_do_not_matter():
    pairs = [planted(0.04, noise=0.2), planted(0.04, time_p=TIME[:150], time_r=TIME[:150], noise=0.2, seed=3)]
    plain = measure_lag(pairs, **RANGE)
    scaled = [
        Pair(p.predicted_time_t, 7 * p.predicted_ts, TIME[: len(p.reference_ts)], 7 * p.reference_ts)
        for p in pairs
    ]
    assert measure_lag(scaled, **RANGE) == pytest.approx(plain)
    offset = [p._replace(predicted_ts=p.predicted_ts + np.array([5.0, -3.0])) for p in pairs]
    assert measure_lag(offset, **RANGE) == pytest.approx(plain)
    assert measure_lag(pairs[::-1], **RANGE) == pytest.approx(plain)
    assert measure_lag(offset, method="difference", **RANGE).agreement < -1


@pytest.mark.truth("closed form")
def test_trials_together_tell_what_none_tells_alone():
    # each repeats itself, every 0.10 and every 0.07 s; only one lag in range fits both
    ten, seven = (np.random.default_rng(k).normal(size=k)[np.arange(300) % k][:, None] for k in (10, 7))
    pairs = [Pair(TIME, np.roll(beat, 8, axis=0), TIME, beat) for beat in (ten[:280], seven[:280])]
    pairs = [p._replace(predicted_time_t=TIME[:280], reference_time_t=TIME[:280]) for p in pairs]
    assert [measure_lag([pair], **RANGE).seconds for pair in pairs] == pytest.approx([-0.02, 0.01])
    both = measure_lag(pairs, **RANGE)
    assert both.seconds == pytest.approx(0.08) and both.agreement == pytest.approx(1.0)
    assert measure_lag(pairs[:1], **RANGE).width == pytest.approx(0.3)
    assert both.width == 0.0


def test_of_equal_lags_the_nearest_to_zero_counts():
    beat = np.where(np.arange(200) % 10 < 5, 1.0, -1.0)[:, None]  # repeats itself every 0.1 s
    time = np.arange(200) / 100
    found = measure_lag([Pair(time, beat, time, beat)], **RANGE)
    assert found.seconds == 0.0 and found.agreement == pytest.approx(1.0)
    assert found.width == pytest.approx(0.4)  # -0.2, -0.1, 0, 0.1 and 0.2 are all as good
    sharp = measure_lag([planted(0.0)], **RANGE)
    assert sharp.width <= 0.04


@pytest.mark.truth("closed form")
def test_of_two_equally_near_the_earlier_counts():
    time = np.arange(200) / 100
    beat = np.where(np.arange(200) % 10 < 5, 1.0, -1.0)[:, None]
    found = measure_lag([Pair(time, -beat, time, beat)], **RANGE)
    assert found.seconds == pytest.approx(-0.05)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(("covered", "found"), [(101, True), (100, True), (99, False), (60, False)])
def test_a_few_samples_at_the_end_do_not_count(covered, found):
    # zero at lag 0 but for a wiggle that only fits at a lag where fewer samples overlap
    time = np.arange(200) / 100
    reference = np.sin(7 * time)[:, None] + np.random.default_rng(0).normal(0, 1, (200, 1))
    predicted = np.random.default_rng(1).normal(0, 1, (200, 1))
    lag = 200 - covered
    predicted[lag:] = reference[:covered]
    pair = Pair(time, predicted, time, reference)
    best = measure_lag([pair], max_lag=1.9, step=0.01, max_gap=0.1)
    assert (best.seconds == pytest.approx(lag / 100)) == found
    assert best.samples == covered or not found
    assert best.at_edge == (covered == 100) or not found


def test_gaps_are_interpolated_up_to_the_limit():
    pair = planted(0.0)
    pair.predicted_ts[100:105] = NAN  # 0.06 s between those present
    assert measure_lag([pair], max_lag=0.1, step=0.01, max_gap=0.06).samples == 600
    assert measure_lag([pair], max_lag=0.1, step=0.01, max_gap=0.05).samples == 590


@pytest.mark.truth("closed form")
def test_signals_that_do_not_vary_are_left_out():
    flat = np.full(300, 0.1)
    pair = planted(0.02)
    with_flat = Pair(
        TIME,
        np.column_stack([pair.predicted_ts, np.sin(TIME), np.sin(TIME)]),
        TIME,
        np.column_stack([pair.reference_ts, flat, np.full(300, NAN)]),
    )
    assert measure_lag([with_flat], **RANGE) == measure_lag([pair], **RANGE)


NOTHING = [
    [],
    [Pair(TIME, np.zeros((300, 1)), TIME, np.full((300, 1), 0.1))],
    [Pair(TIME, np.full((300, 1), NAN), TIME, walk(TIME)[:, :1])],
    [Pair(TIME + 50, walk(TIME), TIME, walk(TIME))],
    [Pair(TIME, np.zeros((300, 1)), TIME, walk(TIME)[:, :1])],
    [Pair([], np.empty((0, 1)), TIME, walk(TIME)[:, :1])],
]


@pytest.mark.parametrize("pairs", NOTHING)
def test_nothing_to_measure(pairs):
    found = measure_lag(pairs, **RANGE)
    assert np.isnan(found[:3]).all() and found[3:] == (False, 0)
    assert isinstance(found, Lag)


def test_a_still_prediction_still_differs():
    found = measure_lag(NOTHING[4], method="difference", **RANGE)
    assert -1 < found.agreement < -0.5 and found.samples > 0
    assert np.isnan(measure_lag(NOTHING[3], method="difference", **RANGE).seconds)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("max_lag", "step", "lag", "edge"),
    [(0.3, 0.1, 0.3, True), (0.3, 0.1, 0.2, False), (0.04, 0.1, 0.0, True), (0.29, 0.1, 0.2, True)],
)
def test_the_range_is_in_whole_steps(max_lag, step, lag, edge):
    found = measure_lag([planted(lag)], max_lag=max_lag, step=step, max_gap=0.1)
    assert found.seconds == pytest.approx(lag, abs=1e-12) and found.at_edge == edge


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_lag": 0.0}, "max_lag above zero"),
        ({"step": -0.01}, "step above zero"),
        ({"method": "phase"}, "method 'correlation' or 'difference', got 'phase'"),
        ({"max_gap": -1.0}, "max_gap in seconds"),
    ],
)
def test_options_are_checked(change, message):
    with pytest.raises(MetricError, match=message):
        measure_lag([planted(0.0)], **{**RANGE, **change})


def test_signals_must_agree():
    with pytest.raises(MetricError, match="2 entries on the last axis of reference signals"):
        measure_lag([Pair(TIME, walk(TIME), TIME, walk(TIME)[:, :1])], **RANGE)
    with pytest.raises(MetricError, match="2 axes"):
        measure_lag([Pair(TIME, TIME, TIME, TIME)], **RANGE)
    with pytest.raises(MetricError, match="each of 300 samples"):
        measure_lag([Pair(TIME, walk(TIME), TIME[1:], walk(TIME))], **RANGE)
