"""Published protocols, against their definitions spelled out in pandas and scikit-learn."""

import math
import warnings

import bench_samples as bench
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from metrics.arrays import MetricError
from metrics.protocols import PROTOCOLS, Curves
from metrics.published import NOT_SCORED, opencap, opencapbench

NAN = np.nan


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def noisy(table, seed=0, degrees=3.0):
    rng = np.random.default_rng(seed)
    return (
        table + np.where(np.isin(table.columns, bench.PLACE), 0.01, degrees) * rng.normal(size=table.shape)
    ).round(8)


def both(predicted, reference):
    """Ours and the definition's, of tables by trial."""
    ours = opencapbench(*({k: bench.curves(t) for k, t in side.items()} for side in (predicted, reference)))
    return ours, bench.literal(predicted, reference)


def assert_equal(ours, truth):
    for found, expected in ((ours.rmse, truth["shifted"]), (ours.rmse_unshifted, truth["unshifted"])):
        assert list(found) == list(expected.index)
        assert np.allclose(list(found.values()), expected, rtol=0, atol=1e-9, equal_nan=True)
    assert {k: (t.lag, t.frames, t.frames_unshifted) for k, t in ours.trials.items()} == truth["lags"]


# --- opencapbench ---


@pytest.mark.truth("pandas")
@pytest.mark.parametrize("late", [-45, -40, -39, 0, 2, 39, 40, 41])
def test_bench_lags(late):
    reference = bench.trial(late % 7)
    predicted = noisy(bench.trial(late % 7, late=late / 100), seed=late + 50)
    ours, truth = both({"s/walking1": predicted}, {"s/walking1": reference})
    assert_equal(ours, truth)
    if -39 <= late <= 40:
        assert ours.trials["s/walking1"].lag == -late


@pytest.mark.truth("pandas")
@pytest.mark.parametrize("seed", range(3))
def test_bench_over_trials(seed):
    reference = {f"s{k}/t{k}": bench.trial(10 * seed + k, rows=90 + 20 * k, start=11 * k) for k in range(4)}
    predicted = {
        f"s{k}/t{k}": noisy(bench.trial(10 * seed + k, rows=80 + 25 * k, start=7 * k, late=0.03 * k), seed=k)
        for k in (0, 3, 7)
        if f"s{k}/t{k}" in reference or k == 7
    }
    assert_equal(*both(predicted, reference))


@pytest.mark.truth("pandas")
@pytest.mark.parametrize(("right", "left"), [(0, 1), (-3, -4), (-7, 4), (5, -8)])
def test_bench_lag_is_cut_towards_zero(right, left):
    reference = bench.trial(3)
    predicted = noisy(reference)
    for side, late in (("r", right), ("l", left)):
        predicted[f"knee_angle_{side}"] = bench.trial(3, late=-late / 100)[f"knee_angle_{side}"]
    ours, truth = both({"t": predicted}, {"t": reference})
    assert_equal(ours, truth)
    assert ours.trials["t"].lag == math.trunc((right + left) / 2)


@pytest.mark.truth("pandas")
@pytest.mark.parametrize("offset", [0.1, -7.3])
def test_bench_ties_go_to_the_first_shift(offset):
    still = bench.trial(4)
    still[["knee_angle_r", "knee_angle_l"]] = 12.3  # every shift is as good
    predicted = (still + offset).round(8)
    ours, truth = both({"t": predicted}, {"t": still})
    assert_equal(ours, truth)


@pytest.mark.truth("pandas")
@pytest.mark.parametrize(("degrees", "lag"), [(99999.0, -40), (100000.0, 0), (200000.0, 0)])
def test_bench_gives_up_on_differences_that_are_too_large(degrees, lag):
    still = bench.trial(4)
    still[["knee_angle_r", "knee_angle_l"]] = 0.0
    ours, truth = both({"t": still + degrees}, {"t": still})
    assert_equal(ours, truth)
    assert ours.trials["t"].lag == lag


@pytest.mark.truth("pandas")
@pytest.mark.parametrize("rows", [1, 40])
def test_bench_short_trials(rows):
    reference = bench.trial(6, rows=rows)
    assert_equal(*both({"t": noisy(reference)}, {"t": reference}))


@pytest.mark.truth("pandas")
@pytest.mark.parametrize("step", [3])
def test_bench_joins_by_label_and_shifts_by_row(step):
    reference = bench.trial(7)
    ours, truth = both({"t": noisy(reference).iloc[::step]}, {"t": reference})
    assert_equal(ours, truth)
    assert ours.trials["t"].frames_unshifted == -(-200 // step)


@pytest.mark.truth("pandas")
def test_bench_scores_whatever_comes_before_lumbar_rotation():
    order = ["elbow_flex_r", "elbow_flex_l", *(c for c in bench.COLUMNS if not c.startswith("elbow"))]
    reference = bench.trial(8)[order]
    ours, truth = both({"t": noisy(reference)}, {"t": reference})
    assert_equal(ours, truth)
    assert len(ours.rmse) == 13 and "elbow_flex" in ours.rmse
    moved = [c for c in bench.COLUMNS if c not in ("knee_angle_r", "knee_angle_l")] + [
        "knee_angle_r",
        "knee_angle_l",
    ]
    ours, truth = both({"t": noisy(reference)[moved]}, {"t": reference[moved]})
    assert_equal(ours, truth)
    assert len(ours.rmse) == 11


@pytest.mark.truth("pandas")
def test_bench_trials_may_have_columns_of_their_own():
    first, second = bench.trial(9), bench.trial(10).drop(columns=["hip_flexion_r", "hip_flexion_l"])
    reference = {"a": first, "b": second}
    assert_equal(*both({k: noisy(t, seed=len(k)) for k, t in reference.items()}, reference))


def test_bench_twelve_numbers_in_published_order():
    ours, _ = both({"t": noisy(bench.trial())}, {"t": bench.trial()})
    assert tuple(ours.rmse) == tuple(ours.rmse_unshifted) == bench.TWELVE
    assert tuple(sorted(ours.trials["t"].rmse)) == tuple(sorted(PROTOCOLS["opencapbench"].coordinates))
    assert (ours.protocol, ours.version) == ("opencapbench", 1)
    assert all(value == round(value, 3) for value in ours.rmse.values())
    assert any(value != round(value, 3) for value in ours.trials["t"].rmse.values())
    assert ours.trials["t"].rmse_unshifted.keys() == ours.trials["t"].rmse.keys()


@pytest.mark.truth("pandas")
@pytest.mark.parametrize(
    "names",
    [
        sorted(bench.COLUMNS),
        bench.COLUMNS[::-1],
        (*bench.COLUMNS[1:], bench.COLUMNS[0]),
        bench.COLUMNS[:-1],
        (*bench.COLUMNS, "neck"),
        tuple(c for c in bench.COLUMNS if not c.endswith("beta")),
    ],
)
def test_bench_stops_at_other_columns(names):
    reference = {"t": bench.trial()}
    predicted = {"t": reference["t"].reindex(columns=list(names), fill_value=0.0)}
    with pytest.raises(KeyError):
        bench.literal(predicted, reference)
    with pytest.raises(
        MetricError, match=r"columns of t as in the reference and in their order.*\(KeyError\)"
    ):
        both(predicted, reference)


@pytest.mark.truth("pandas")
@pytest.mark.parametrize("name", ["lumbar_rotation", "knee_angle_r", "knee_angle_l", *NOT_SCORED])
def test_bench_stops_without_a_column(name):
    reference = {"t": bench.trial().drop(columns=name)}
    with pytest.raises(KeyError):
        bench.literal(reference, reference, shifts=[0])
    with pytest.raises(MetricError, match=rf"Expected {name} (before lumbar_rotation )?in t; .*\(KeyError\)"):
        both(reference, reference)
    if name in NOT_SCORED:
        late = {"t": bench.trial()[[*(c for c in bench.COLUMNS if c != name), name]]}
        with pytest.raises(KeyError):
            bench.literal(late, late, shifts=[0])
        with pytest.raises(MetricError, match=f"Expected {name} before lumbar_rotation in t"):
            both(late, late)


@pytest.mark.truth("pandas")
def test_bench_stops_at_one_side():
    reference = {"t": bench.trial().drop(columns="hip_flexion_l")}
    with pytest.raises(KeyError):
        bench.literal(reference, reference, shifts=[0])
    with pytest.raises(MetricError, match=r"hip_flexion_l beside hip_flexion_r.*\(KeyError\)"):
        both(reference, reference)
    left = {"t": bench.trial().drop(columns="hip_flexion_r")}
    ours, truth = both({"t": noisy(left["t"])}, left)
    assert_equal(ours, truth)
    assert "hip_flexion_l" in ours.rmse


@pytest.mark.truth("pandas")
@pytest.mark.parametrize("where", ["predicted", "reference"])
@pytest.mark.parametrize("name", ["knee_angle_r", "pelvis_tx", "arm_flex_r", "mtp_angle_l"])
def test_bench_stops_at_a_missing_cell(where, name):
    sides = {"predicted": bench.trial(), "reference": bench.trial()}
    sides[where].iloc[20, bench.COLUMNS.index(name)] = NAN
    ours = {side: {"t": bench.curves(table)} for side, table in sides.items()}
    with pytest.raises(MetricError, match=r"Expected no NaN in t; .*\(TypeError\)"):
        opencapbench(**ours)
    # their reader leaves a column with "nan" in it as texts
    sides[where][name] = sides[where][name].astype(str).astype(object)
    with pytest.raises(TypeError):
        bench.literal(*({"t": table} for table in sides.values()), shifts=[0])


def test_bench_stops_without_a_trial():
    reference = {"t": bench.curves(bench.trial())}
    for predicted in ({}, {"other": reference["t"]}):
        with pytest.raises(MetricError, match=r"a trial that is predicted; .*\(ValueError\)"):
            opencapbench(predicted, reference)
    with pytest.raises(ValueError, match="No objects"):
        bench.literal({}, {"t": bench.trial()})


@pytest.mark.truth("closed form")
def test_a_missing_cell_in_a_trial_that_is_not_predicted_is_not_read():
    holed = bench.trial(1)
    holed.iloc[0, 0] = NAN
    reference = {"a": bench.curves(bench.trial()), "b": bench.curves(holed)}
    assert set(opencapbench({"a": reference["a"]}, reference).rmse.values()) == {0.0}


# --- opencap ---

NAMES = PROTOCOLS["opencap"].coordinates


def slow_opencap(predicted, reference):
    """Tables by trial -> tables of RMSE, MAE, ME (trial, coordinate), ° or mm."""
    found = {"rmse": [], "mae": [], "me": []}
    for name, guess in predicted.items():
        truth = reference[name]
        labels = truth.index.intersection(guess.index)
        p, r = guess.loc[labels, list(NAMES)].copy(), truth.loc[labels, list(NAMES)].copy()
        for place in bench.PLACE:
            p[place], r[place] = 1000 * p[place], 1000 * r[place]
            p[place] -= (p[place] - r[place]).mean()
        found["rmse"].append(root_mean_squared_error(r, p, multioutput="raw_values"))
        found["mae"].append(mean_absolute_error(r, p, multioutput="raw_values"))
        found["me"].append((r - p).mean().to_numpy())
    return {
        key: pd.DataFrame(rows, columns=list(NAMES), index=list(predicted)) for key, rows in found.items()
    }


@pytest.fixture(scope="module")
def cohort():
    names = ["s2/walking1", "s2/walkingTS1", "s2/DJ1", "s3/DJAsym1", "s3/squats1", "s3/walking2"]
    reference = {name: bench.trial(k, rows=100 + 9 * k, start=5 * k) for k, name in enumerate(names)}
    predicted = {
        name: noisy(bench.trial(k, rows=103 + 9 * k, start=5 * k - (k % 3)), seed=k) + 1.0
        for k, name in enumerate(names)
    }
    predicted["s2/DJ1"] = predicted["s2/DJ1"].iloc[20:70]
    ours = opencap(*({k: bench.curves(t) for k, t in side.items()} for side in (predicted, reference)))
    return ours, slow_opencap(predicted, reference)


@pytest.mark.truth("scikit-learn")
@pytest.mark.parametrize("kind", ["rmse", "mae", "me"])
def test_opencap_by_trial(cohort, kind):
    ours, truth = cohort
    assert ours.trials == tuple(truth[kind].index) and ours.coordinates == NAMES
    assert np.allclose(getattr(ours, f"{kind}_kc"), truth[kind], rtol=1e-9, atol=1e-9)
    assert (ours.protocol, ours.version) == ("opencap", 1)


@pytest.mark.truth("pandas")
@pytest.mark.parametrize("kind", ["rmse", "mae", "me"])
@pytest.mark.parametrize("motion", ["all", "walking", "DJ", "squats"])
def test_opencap_over_trials(cohort, kind, motion):
    ours, truth = cohort
    table = truth[kind] if motion == "all" else truth[kind][truth[kind].index.str.contains(motion)]
    assert len(table) == {"all": 6, "walking": 3, "DJ": 2, "squats": 1}[motion]
    found = getattr(ours, kind)[motion]
    long = table.rename(columns=lambda c: c[:-2] if c[-2:] in ("_r", "_l") else c).T.stack()
    grouped = long.groupby(level=0)
    for ours_by, theirs in (
        (found.mean, grouped.mean()),
        (found.median, grouped.median()),
        (found.sd, grouped.std(ddof=0)),
    ):
        assert len(ours_by) == 15
        assert pd.Series(dict(ours_by)).sort_index().to_numpy() == pytest.approx(
            theirs.sort_index().to_numpy(), rel=1e-9, abs=1e-9
        )
    means = grouped.mean()
    twice = [means[c[:-2] if c[-2:] in ("_r", "_l") else c] for c in NAMES if c not in bench.PLACE]
    assert len(twice) == 18
    assert found.rotations == pytest.approx((np.mean(twice), np.min(twice), np.max(twice), np.std(twice)))
    place = means[list(bench.PLACE)]
    assert found.translations == pytest.approx(
        (place.mean(), place.min(), place.max(), place.std(ddof=0)), abs=1e-9
    )


def test_opencap_motions_without_trials_have_no_table(cohort):
    assert list(cohort[0].rmse) == ["all", "walking", "DJ", "squats"]
    assert list(cohort[0].me) == list(cohort[0].mae) == list(cohort[0].rmse)


@pytest.mark.truth("closed form")
def test_opencap_does_not_wrap_and_its_mean_error_is_reference_minus_prediction():
    truth = bench.trial()
    off = truth + 1.0
    off["pelvis_rotation"] += 360
    ours = opencap({"STS1": bench.curves(off)}, {"STS1": bench.curves(truth), "STS2": bench.curves(truth)})
    error = dict(zip(NAMES, ours.me_kc[0], strict=True))
    assert error["knee_angle_r"] == pytest.approx(-1) and error["pelvis_rotation"] == pytest.approx(-361)
    assert error["pelvis_tx"] == pytest.approx(0, abs=1e-9)
    assert ours.rmse["STS"].rotations.max == pytest.approx(361)
    assert ours.rmse["STS"].translations.max == pytest.approx(0, abs=1e-9)
    assert ours.trials == ("STS1",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.set_axis(t.index + 0.003), r"equal time labels at 0\.003 s and 1\.99 s in DJ1"),
        (lambda t: t.set_axis(np.append(t.index[:-1], 1.995)), r"equal time labels at 0\.0 s and 1\.99 s"),
        (lambda t: t.iloc[::199], "as many predicted rows as true ones in DJ1, got 2 and 200"),
        (lambda t: t.iloc[:0], "samples in DJ1, got none"),
        (lambda t: t.drop(columns="knee_angle_r"), "all of pelvis_tilt, .* in DJ1, without NaN"),
        (lambda t: t.where(t.index.to_numpy()[:, None] != [[0.5] * 35]), "without NaN"),
    ],
)
def test_opencap_stops(change, message):
    truth = bench.trial()
    for sides in ((change(truth), truth), (truth, change(truth))):
        if "got 2 and 200" in message and len(sides[1]) == 2:
            message = "got 200 and 2"
        if r"0\.003" in message and sides[1].index[0] > 0:
            message = "equal time labels"
        with pytest.raises(MetricError, match=message):
            opencap(*({"DJ1": bench.curves(table)} for table in sides))


def test_opencap_needs_a_trial():
    with pytest.raises(MetricError, match="a trial that is predicted, got none"):
        opencap({}, {"t": bench.curves(bench.trial())})


@pytest.mark.truth("closed form")
def test_opencap_ignores_what_it_does_not_score():
    truth = bench.trial()
    holed = truth.copy()
    holed["arm_flex_r"] = NAN
    ours = opencap({"t": bench.curves(holed)}, {"t": bench.curves(truth[::-1].sort_index())})
    assert ours.rmse_kc == pytest.approx(np.zeros((1, 21)), abs=1e-9)
    one = Curves(np.array([0.5]), np.zeros((1, 21)), NAMES)
    assert opencap({"t": one}, {"t": one}).mae_kc.tolist() == [[0.0] * 21]


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(("degrees", "read"), [(1.0000000004, 1.0000000004), (1.00000000004, 1.0)])
def test_bench_reads_degrees_to_ten_decimals(degrees, read):
    truth = bench.trial(5)
    ours = opencapbench({"t": bench.curves(truth + degrees)}, {"t": bench.curves(truth)})
    assert list(ours.trials["t"].rmse_unshifted.values()) == pytest.approx([read] * 18, abs=1e-11)
