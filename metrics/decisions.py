"""Would a clinician have decided otherwise? Agreement at a cut-off, and sensitivity to change.

A model may be degrees off and never change a decision, or half a degree off and change many. Here a
prediction (T,) stands beside the true value (T,) of the same trial or subject, in any one unit. A trial
without a true value can't be judged and is left out; one without a prediction can, and counts against the
model wherever an answer was due.

Trials of one subject are no independent evidence: intervals that respect this come from a bootstrap over
subjects in ``metrics.inference``; those here hold for one trial a subject.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from metrics.arrays import BoolArray, FloatArray, MetricError, alike, floats, positive
from metrics.catalogue import metric

Positive = Literal["at or above", "above", "at or below", "below"]
Interval = Literal["wilson", "exact"]


def _percent(part: float, whole: float) -> float:
    return 100 * part / whole if whole else math.nan


def proportion_interval(
    successes: int, trials: int, *, confidence: float = 0.95, method: Interval = "wilson"
) -> tuple[float, float]:
    """Confidence interval of a proportion in %, by Wilson's score (1927) or exact (Clopper & Pearson 1934).

    The exact one covers at least ``confidence`` whatever the truth; Wilson's covers it on average and is
    narrower. NaN without trials.

    >>> low, high = proportion_interval(9, 10)
    >>> round(low, 2), round(high, 2)
    (59.58, 98.21)
    """
    if not 0 <= successes <= trials:
        raise MetricError(f"Expected 0 to {trials} successes in {trials} trials, got {successes}.")
    if not 0 < confidence < 1:
        raise MetricError(f"Expected confidence between 0 and 1, got {confidence!r}.")
    if method not in get_args(Interval):
        raise MetricError(f"Expected method wilson or exact, got {method!r}.")
    if trials == 0:
        return math.nan, math.nan
    tail = (1 - confidence) / 2
    if method == "exact":
        low = special.betaincinv(successes, trials - successes + 1, tail) if successes else 0.0
        high = special.betaincinv(successes + 1, trials - successes, 1 - tail) if successes < trials else 1.0
        return 100 * float(low), 100 * float(high)
    z = float(special.ndtri(1 - tail))
    share = successes / trials
    middle = share + z**2 / (2 * trials)
    reach = z * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    scale = 100 / (1 + z**2 / trials)
    return max(scale * (middle - reach), 0.0), min(scale * (middle + reach), 100.0)


@dataclass(frozen=True)
class Decisions:
    """What a model decides at a cut-off, against what the true values say.

    >>> found = decisions([9, 12, 15, 11], [8, 9, 14, 13], cutoff=10)
    >>> found.changed, found.agreement, found.sensitivity, found.specificity
    (1, 75.0, 100.0, 50.0)

    Attributes
    ----------
    true_positive, false_positive, true_negative, false_negative : counts of trials with a prediction
    unanswered_positive, unanswered_negative : trials without one, by what the true value says
    """

    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int
    unanswered_positive: int
    unanswered_negative: int

    @property
    def _counts(self) -> dict[str, tuple[int, int]]:
        """Of each rate: how many, of how many."""
        hits, clears = self.true_positive, self.true_negative
        ill = hits + self.false_negative + self.unanswered_positive
        well = clears + self.false_positive + self.unanswered_negative
        return {
            "agreement": (hits + clears, ill + well),
            "sensitivity": (hits, ill),
            "specificity": (clears, well),
            "ppv": (hits, hits + self.false_positive),
            "npv": (clears, clears + self.false_negative),
        }

    @property
    def trials(self) -> int:
        """How many trials have a true value."""
        return self._counts["agreement"][1]

    @property
    def changed(self) -> int:
        """How many trials the model does not put on the side where they are, unanswered ones included."""
        same, trials = self._counts["agreement"]
        return trials - same

    @property
    def agreement(self) -> float:
        """Trials on the same side of the cut-off, in % of all."""
        return _percent(*self._counts["agreement"])

    @property
    def sensitivity(self) -> float:
        """Positive trials told to be so, in % of the truly positive."""
        return _percent(*self._counts["sensitivity"])

    @property
    def specificity(self) -> float:
        """Negative trials told to be so, in % of the truly negative."""
        return _percent(*self._counts["specificity"])

    @property
    def ppv(self) -> float:
        """Positive predictive value: truly positive trials, in % of those told to be so."""
        return _percent(*self._counts["ppv"])

    @property
    def npv(self) -> float:
        """Negative predictive value: truly negative trials, in % of those told to be so."""
        return _percent(*self._counts["npv"])

    @property
    def kappa(self) -> float:
        """Cohen's κ, no answer being a third category that the truth never has.

        NaN where chance alone agrees always: all trials on one side, and the model says so.
        """
        n = self.trials
        told_ill = self.true_positive + self.false_positive
        told_well = self.true_negative + self.false_negative
        ill, well = self._counts["sensitivity"][1], self._counts["specificity"][1]
        chance = told_ill * ill + told_well * well  # in 1/n²
        same = self._counts["agreement"][0]
        return (n * same - chance) / (n * n - chance) if n * n > chance else math.nan

    def interval(
        self, rate: str, *, confidence: float = 0.95, method: Interval = "wilson"
    ) -> tuple[float, float]:
        """Confidence interval of one of the rates in %; see ``proportion_interval``.

        >>> low, high = decisions([9, 12, 15, 11], [8, 9, 14, 13], cutoff=10).interval("agreement")
        >>> round(low, 1), round(high, 1)
        (30.1, 95.4)
        """
        if rate not in self._counts:
            raise MetricError(f"Expected one of {', '.join(self._counts)}, got {rate!r}.")
        return proportion_interval(*self._counts[rate], confidence=confidence, method=method)


def _side(values: FloatArray, cutoff: float, rule: Positive) -> BoolArray:
    beyond: BoolArray = values > cutoff if "above" in rule else values < cutoff
    return beyond | (values == cutoff) if "at or" in rule else beyond


@metric(
    "decision agreement",
    unit="%",
    direction="higher",
    definition="Trials that the prediction puts on the same side of the cut-off as the true value.",
    reference="capbench",
    needs=("reference", "cutoff"),
    merge="samples",
    part="agreement",
)
@metric(
    "decisions changed",
    unit="1",
    direction="lower",
    definition="Number of trials in which the model changes the decision or gives no answer.",
    reference="capbench",
    needs=("reference", "cutoff"),
    merge="samples",
    part="changed",
)
@metric(
    "decision κ",
    unit="1",
    direction="higher",
    definition="Agreement at the cut-off beyond what chance would give.",
    reference="Cohen 1960, Educ Psychol Meas",
    needs=("reference", "cutoff"),
    merge="samples",
    part="kappa",
)
@metric(
    "decision sensitivity",
    unit="%",
    direction="higher",
    definition="Truly positive trials that the prediction calls positive.",
    reference="Altman & Bland 1994, BMJ 308:1552",
    needs=("reference", "cutoff"),
    merge="samples",
    part="sensitivity",
)
@metric(
    "decision specificity",
    unit="%",
    direction="higher",
    definition="Truly negative trials that the prediction calls negative.",
    reference="Altman & Bland 1994, BMJ 308:1552",
    needs=("reference", "cutoff"),
    merge="samples",
    part="specificity",
)
@metric(
    "decision PPV",
    unit="%",
    direction="higher",
    definition="Share truly positive of the trials that the prediction calls positive.",
    reference="Altman & Bland 1994, BMJ 309:102",
    needs=("reference", "cutoff"),
    merge="samples",
    part="ppv",
)
@metric(
    "decision NPV",
    unit="%",
    direction="higher",
    definition="Share truly negative of the trials that the prediction calls negative.",
    reference="Altman & Bland 1994, BMJ 309:102",
    needs=("reference", "cutoff"),
    merge="samples",
    part="npv",
)
def decisions(
    predicted: ArrayLike, reference: ArrayLike, cutoff: float, *, positive: Positive = "at or above"
) -> Decisions:
    """The decisions at a ``cutoff`` from ``predicted`` and ``reference`` values (any one shape and unit).

    ``positive`` says which side is the finding, and where a value exactly at the cut-off belongs: "at or
    above", "above", "at or below" or "below".

    >>> decisions([5.0, 4.9], [5.0, 5.0], cutoff=5.0, positive="at or above").kappa
    0.0
    """
    if positive not in get_args(Positive):
        raise MetricError(f"Expected positive as {', '.join(get_args(Positive))}, got {positive!r}.")
    if not math.isfinite(cutoff):
        raise MetricError(f"Expected a finite cutoff, got {cutoff!r}.")
    told, true = alike(predicted=predicted, reference=reference)
    known, answered = ~np.isnan(true), ~np.isnan(told)
    says, ill = _side(told, cutoff, positive), _side(true, cutoff, positive)

    def count(which: BoolArray) -> int:
        return int(np.count_nonzero(known & which))

    return Decisions(
        true_positive=count(answered & says & ill),
        false_positive=count(answered & says & ~ill),
        true_negative=count(answered & ~says & ~ill),
        false_negative=count(answered & ~says & ill),
        unanswered_positive=count(~answered & ill),
        unanswered_negative=count(~answered & ~ill),
    )


# -------------------------------------------------------------------------------------- sensitivity to change
def _change(name: str, visits_sv: ArrayLike) -> FloatArray:
    """After minus before for each subject."""
    visits = floats(name, visits_sv, ndim=2, last=2)
    change: FloatArray = visits[:, 1] - visits[:, 0]
    return change


def _changes(
    predicted_sv: ArrayLike, reference_sv: ArrayLike, *, answered: bool
) -> tuple[FloatArray, FloatArray]:
    """The changes of the subjects who have a true one and, where ``answered``, a predicted one too."""
    alike(predicted=predicted_sv, reference=reference_sv)
    told, true = _change("predicted", predicted_sv), _change("reference", reference_sv)
    known = ~np.isnan(true + told if answered else true)
    return told[known], true[known]


def _mean_over_sd(change: FloatArray, spread: FloatArray) -> float:
    """Mean of ``change`` over the standard deviation of ``spread``; NaN where that is no number above 0."""
    change, spread = change[~np.isnan(change)], spread[~np.isnan(spread)]
    if len(change) == 0 or len(spread) < 2 or np.ptp(spread) == 0:
        return math.nan
    return float(change.mean() / spread.std(ddof=1))


@metric(
    "SRM",
    unit="1",
    direction="neither",
    definition="Standardised response mean: mean change over the standard deviation of the changes.",
    reference="Liang, Fossel & Larson 1990, Med Care",
    needs=("visits",),
    merge="samples",
)
def standardised_response_mean(visits_sv: ArrayLike) -> float:
    """Mean of the subjects' changes over their standard deviation (n − 1).

    ``visits_sv`` (subjects, 2): before and after. Subjects without both are left out. NaN with fewer than
    two, or where all change by the same.

    >>> standardised_response_mean([[0, 1], [0, 2], [0, 3]])
    2.0
    """
    change = _change("visits", visits_sv)
    return _mean_over_sd(change, change)


@metric(
    "SRM error",
    unit="1",
    direction="zero",
    definition="Standardised response mean of the predictions minus that of the true values.",
    reference="capbench",
    needs=("reference", "visits"),
    merge="samples",
)
def srm_error(predicted_sv: ArrayLike, reference_sv: ArrayLike) -> float:
    """How much too sensitive to change the predictions look: SRM predicted minus SRM true.

    Each as in ``standardised_response_mean``, over the subjects who have both changes.

    >>> srm_error([[0, 2], [0, 3], [0, 4]], [[0, 1], [0, 2], [0, 3]])
    1.0
    """
    told, true = _changes(predicted_sv, reference_sv, answered=True)
    return _mean_over_sd(told, told) - _mean_over_sd(true, true)


@metric(
    "effect size·baseline SD",
    unit="1",
    direction="neither",
    definition="Mean change over the standard deviation before it.",
    reference="Kazis, Anderson & Meenan 1989, Med Care",
    needs=("visits",),
    merge="samples",
)
def effect_size(visits_sv: ArrayLike) -> float:
    """Mean of the subjects' changes over the standard deviation (n − 1) of their values before.

    ``visits_sv`` (subjects, 2): before and after. Subjects without both are left out. NaN with fewer than
    two, or where all begin at the same.

    >>> effect_size([[1, 2], [2, 3], [3, 4]])
    1.0
    """
    visits = floats("visits", visits_sv, ndim=2, last=2)
    whole = visits[~np.isnan(visits).any(axis=1)]
    return _mean_over_sd(whole[:, 1] - whole[:, 0], whole[:, 0])


@metric(
    "responsiveness·Guyatt",
    unit="1",
    direction="neither",
    definition="Mean change of treated subjects over the standard deviation of the changes of stable ones.",
    reference="Guyatt, Walter & Norman 1987, J Chronic Dis",
    needs=("visits", "groups"),
    merge="samples",
)
def responsiveness(treated_sv: ArrayLike, stable_sv: ArrayLike) -> float:
    """Mean change of the ``treated`` over the standard deviation (n − 1) of the changes of the ``stable``.

    Both (subjects, 2): before and after. NaN with nobody treated, fewer than two stable, or where all the
    stable change by the same.

    >>> responsiveness([[0, 4], [0, 6]], [[0, -1], [0, 0], [0, 1]])
    5.0
    """
    return _mean_over_sd(_change("treated", treated_sv), _change("stable", stable_sv))


@metric(
    "change r",
    unit="1",
    direction="higher",
    definition="Pearson correlation of predicted and true changes within subjects.",
    reference="Husted et al. 2000, J Clin Epidemiol",
    needs=("reference", "visits"),
    merge="samples",
)
def change_correlation(predicted_sv: ArrayLike, reference_sv: ArrayLike) -> float:
    """Pearson's r of the subjects' changes; both (subjects, 2): before and after.

    Subjects without both changes are left out. NaN with fewer than three, or where all change by the same.

    >>> round(change_correlation([[0, 1], [0, 2], [0, 4]], [[5, 6], [5, 7], [5, 8]]), 4)
    0.982
    """
    told, true = _changes(predicted_sv, reference_sv, answered=True)
    if len(told) < 3 or np.ptp(told) == 0 or np.ptp(true) == 0:
        return math.nan
    told, true = told - told.mean(), true - true.mean()
    r = told @ true / math.sqrt(float(told @ told) * float(true @ true))
    return float(np.clip(r, -1.0, 1.0))


@metric(
    "change direction agreement",
    unit="%",
    direction="higher",
    definition="Subjects whose predicted change goes the way of the true one; no change is a way of its own.",
    reference="capbench",
    needs=("reference", "visits"),
    merge="samples",
    beyond=0.0,
)
@metric(
    "change agreement beyond MDC",
    unit="%",
    direction="higher",
    definition="Subjects put in the same class: fell, rose or did not change by more than the MDC.",
    reference="capbench",
    needs=("reference", "visits", "cutoff"),
    merge="samples",
)
def change_agreement(predicted_sv: ArrayLike, reference_sv: ArrayLike, *, beyond: float) -> float:
    """Subjects (%) in whom prediction and truth say the same: fell, unchanged or rose.

    A change counts where it is larger than ``beyond`` (0, or the minimal detectable change in the unit of
    the values); one exactly as large does not. Both (subjects, 2): before and after. Subjects without a true
    change are left out; those without a predicted one count against the model. NaN without subjects.

    >>> change_agreement([[0, 3], [0, 3], [0, -3]], [[0, 5], [0, 1], [0, 5]], beyond=2.0)
    33.333333333333336
    """
    if not (math.isfinite(beyond) and beyond >= 0):
        raise MetricError(f"Expected beyond as zero or more, got {beyond!r}.")
    told, true = _changes(predicted_sv, reference_sv, answered=False)
    same = np.sign(told) * (abs(told) > beyond) == np.sign(true) * (abs(true) > beyond)
    return _percent(int(same.sum()), len(true))


@metric(
    "changes beyond MDC",
    unit="%",
    direction="neither",
    definition="Subjects whose change is larger than the minimal detectable change, either way.",
    reference="capbench",
    needs=("visits", "cutoff"),
    merge="samples",
)
def changes_beyond(visits_sv: ArrayLike, *, mdc: float) -> float:
    """Subjects (%) whose change is larger than ``mdc`` (in the unit of the values), either way.

    ``visits_sv`` (subjects, 2): before and after. Subjects without both are left out. NaN without subjects.

    >>> changes_beyond([[0, 3], [0, -3], [0, 2], [0, 1]], mdc=2.0)
    50.0
    """
    positive("mdc", mdc)
    change = _change("visits", visits_sv)
    change = change[~np.isnan(change)]
    return _percent(int((abs(change) > mdc).sum()), len(change))
