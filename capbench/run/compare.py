"""Which of several evaluations is better: paired within people, with intervals, p-values and Holm.

Only results of the same trials of the same cohort by the same protocol are compared. The person is the unit:
each has a number from each model, differences are taken within people, and people are drawn anew. What a
comparison can't show is said as plainly as what it can: too few people, a difference that may be chance, one
that is smaller than the reference itself is known.
"""

from __future__ import annotations

import math
import string
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal, NamedTuple

from capbench.run.result import About, Result, TrialRow
from cohorts.bounded import shorten
from cohorts.errors import CapbenchError
from metrics.aggregate import TrialKey, exact_mean, tree_mean
from metrics.bootstrap import bootstrap_means
from metrics.inference import PAIRS, holm, rank_models, sign_flip_p, subjects_to_separate

ALPHA = 0.05  #: a difference is shown where Holm's p is below
FEW = 5  #: with fewer people nothing is concluded, whatever the numbers
MOST = 12  #: results in one comparison
RESAMPLES = 10_000
LARGEST = 1e6  #: what no error reaches: each is capped
ALIKE = 1e-3  #: share by which the null model's error may differ and the reference still be the same

Verdict = Literal["too few people", "none shown", "below the noise floor", "shown"]
#: letter -> person -> number
Values = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Entrant:
    """One of the results.

    Attributes
    ----------
    letter, label : "A" and what it is
    value, low, high : mean joint-angle error and its interval, degrees
    rank, rank_low, rank_high, first : rank of the mean, its interval, share of resamples in which it is first
    coverage : %
    marks : what a reader must be told
    """

    letter: str
    label: str
    value: float
    low: float
    high: float
    rank: float
    rank_low: float
    rank_high: float
    first: float
    coverage: float | None
    marks: tuple[str, ...]


@dataclass(frozen=True)
class Difference:
    """Two results in one thing, within people: a − b; below 0, a is better.

    Attributes
    ----------
    what, name, unit : "all", "coordinate" or "activity"; which; unit of all numbers
    a, b : letters
    value_a, value_b : means over the people
    difference, low, high : mean of a − b, and its 95 % interval
    p, p_holm : of the sign-flip test, and adjusted over all differences of this kind
    people, a_better, b_better : how many people there are, and for how many each is better
    noise_floor : how well the reference is known there
    verdict : what may be said
    needed : people that would show such a difference in 4 of 5 studies (paired t-test, no adjustment)
    """

    what: str
    name: str
    unit: str
    a: str
    b: str
    value_a: float
    value_b: float
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    people: int
    a_better: int
    b_better: int
    noise_floor: float | None
    verdict: Verdict
    needed: float


@dataclass(frozen=True)
class Compared:
    """A comparison.

    Attributes
    ----------
    cohort, protocol : name and version
    people, trials : their names, and how many trials
    unit : of the overall error
    entrants : the results, in the order given
    pairs, coordinates, activities : every pair: overall, in each coordinate, in each activity
    by_person : letter -> error of each person, in the order of ``people``
    warnings : what weakens the comparison
    least_people : people it takes until the test can show anything, with as many pairs
    """

    cohort: str
    protocol: str
    people: tuple[str, ...]
    trials: int
    unit: str
    entrants: tuple[Entrant, ...]
    pairs: tuple[Difference, ...]
    coordinates: tuple[Difference, ...]
    activities: tuple[Difference, ...]
    by_person: Mapping[str, tuple[float, ...]]
    warnings: tuple[str, ...]
    least_people: int


def compare(results: Sequence[Result], *, names: Sequence[str] = (), seed: int = 0) -> Compared:
    """Compare results with each other; refuses, with the reason, what can't be compared.

    ``names``: where each came from, to tell results of one model apart and for messages.
    """
    if not 2 <= len(results) <= MOST:
        raise CapbenchError(f"Expected 2 to {MOST} results to compare, got {len(results)}.")
    places = list(names) or [f"result {k + 1}" for k in range(len(results))]
    if len(places) != len(results):
        raise CapbenchError(f"Expected a name for each of {len(results)} results, got {len(places)}.")
    for result, place in zip(results[1:], places[1:], strict=True):
        _same(results[0], places[0], result, place)
    letters = string.ascii_uppercase[: len(results)]
    overall = {letter: _by_subject(r, p) for letter, r, p in zip(letters, results, places, strict=True)}
    people = sorted(overall["A"])
    for letter, place in zip(letters, places, strict=True):
        if sorted(overall[letter]) != people:
            raise CapbenchError(
                f"Expected a number for the same people as in {places[0]}, got another list.", file=place
            )
    first = results[0]
    pairs = _differences("all", {("all", first.overall.unit): overall}, _floors(results, "all"), seed)
    return Compared(
        cohort=_title(first.cohort),
        protocol=_title(first.protocol),
        people=tuple(people),
        trials=first.trials,
        unit=first.overall.unit,
        entrants=_entrants(results, places, overall, people, seed),
        pairs=pairs,
        coordinates=_differences(
            "coordinate", _by_coordinate(results, letters), _floors(results, "coordinate"), seed
        ),
        activities=_differences(
            "activity", _by_activity(results, letters), _floors(results, "activity"), seed
        ),
        by_person={letter: tuple(overall[letter][p] for p in people) for letter in letters},
        warnings=tuple(_warnings(results, letters)),
        least_people=least_people(len(pairs)),
    )


def least_people(tests: int, *, alpha: float = ALPHA) -> int:
    """People from which a sign-flip test, Holm over ``tests``, can fall below ``alpha`` at all.

    The smallest p is 2 / 2^n: all signs alike, on either side.

    >>> least_people(1), least_people(3)
    (6, 7)
    """
    return next(n for n in range(FEW, 64) if tests * 2.0 ** (1 - n) < alpha)


# --- may they be compared? ----------------------------------------------------------------------


def _title(about: About) -> str:
    return f"{about.name} {about.version}"


def _same(first: Result, first_place: str, other: Result, place: str) -> None:
    """Refuse ``other`` unless it is of the same trials, cohort and protocol."""
    for what, a, b in (("cohort", first.cohort, other.cohort), ("protocol", first.protocol, other.protocol)):
        if (a.name, a.version) != (b.name, b.version):
            raise CapbenchError(
                f"Expected results of one {what}, got {_title(a)!r} in {first_place} and {_title(b)!r}.",
                file=place,
                fix=f"evaluate both on the same {what}",
            )
        if a.sha256 and b.sha256 and a.sha256 != b.sha256:
            raise CapbenchError(
                f"Expected results of one {what}, got two that are called {_title(a)!r} but differ:"
                f" SHA-256 {a.sha256[:12]}… in {first_place}, {b.sha256[:12]}… here.",
                file=place,
                fix="evaluate both again on the same files",
            )
    ours, theirs = (_roster(r, p) for r, p in ((first, first_place), (other, place)))
    if ours != theirs:
        lacking, more = sorted(ours - theirs), sorted(theirs - ours)
        said = [f"without {shorten([k.trial for k in lacking], 3)}"] if lacking else []
        said += [f"with {shorten([k.trial for k in more], 3)} on top"] if more else []
        partial = " One of them is of a part of the cohort." if first.partial or other.partial else ""
        raise CapbenchError(
            f"Expected the same trials as in {first_place}, got a result {' and '.join(said)}.{partial}",
            file=place,
            fix="evaluate both with the same --only and --limit, or whole",
        )
    _same_reference(first, first_place, other, place)


def _roster(result: Result, place: str) -> set[TrialKey]:
    keys = [TrialKey(row.subject, row.activity, row.key) for row in result.per_trial]
    if len({key.trial for key in keys}) != len(keys):
        raise CapbenchError("Expected each trial once in a result, got one twice.", file=place)
    return set(keys)


def _same_reference(first: Result, first_place: str, other: Result, place: str) -> None:
    """Refuse a result that has numbers where the other has none, or that was scored against another truth."""
    ours, theirs = _numbered(first), _numbered(other)
    if ours != theirs:
        trial, name = min(ours ^ theirs)
        lacks, has = (place, first_place) if (trial, name) in ours else (first_place, place)
        raise CapbenchError(
            f"Expected numbers in the same places, got none for {name!r} in trial {trial!r} of {lacks}, but"
            f" one in {has}. What has no answer is charged, never left out.",
            file=place,
            fix="evaluate both again with this version",
        )
    null, other_null = first.overall.null, other.overall.null
    if null is None or other_null is None:
        return
    if abs(null - other_null) > ALIKE * max(abs(null), abs(other_null)):
        raise CapbenchError(
            f"Expected the same reference, got one that the mean pose misses by {other_null:.2f}°;"
            f" {null:.2f}° in {first_place}.",
            file=place,
            fix="evaluate both again with this version",
        )


def _numbered(result: Result) -> set[tuple[str, str]]:
    """(trial, coordinate) of every number; the coordinate is "all" for that of the whole trial."""
    return {
        (row.key, name)
        for row in result.per_trial
        for name, value in (*row.coordinates.items(), ("all", row.charged))
        if value is not None and math.isfinite(value)
    }


def _warnings(results: Sequence[Result], letters: str) -> Iterable[str]:
    """What weakens the comparison, in words."""
    for letter, result in zip(letters, results, strict=True):
        if result.partial:
            yield f"{letter} is of a part of the cohort: {'; '.join(result.partial)}."
        lost = sum(failure.fault == "environment" for failure in result.failures)
        if lost:
            yield (
                f"{letter} lost {lost} unit{'s' if lost > 1 else ''} to the machine that it ran on, charged"
                " as very bad: run it again before believing a difference."
            )
        if not _fits(result):
            yield f"{letter} gives people numbers that do not follow from its trials: was its file changed?"
    settings: dict[str, list[str]] = defaultdict(list)
    for key in sorted({key for result in results for key in result.settings}):
        values = [repr(result.settings.get(key)) for result in results]
        if len(set(values)) > 1:
            settings[key] = values
    for key, values in settings.items():
        said = ", ".join(f"{letter} {value[:40]}" for letter, value in zip(letters, values, strict=True))
        yield f"The setting {key!r} differs ({said}): the difference is not the model's alone."
    if len({_title(result.capbench) for result in results}) > 1:
        said = ", ".join(f"{letter} {r.capbench.version}" for letter, r in zip(letters, results, strict=True))
        yield f"Computed by different versions of capbench: {said}."
    hashes = [(r.model.sha256, tuple(sorted(r.hashes.items()))) for r in results]
    for (a, x), (b, y) in combinations(zip(letters, hashes, strict=True), 2):
        if x == y and x[0]:
            yield f"{a} and {b} are the same model with the same predictions."


def _fits(result: Result) -> bool:
    """Whether each person's number is the mean of their trials, as it is defined."""
    found = of_people(result.per_trial, lambda row: row.charged)
    stated = {score.name: score.value for score in result.by_subject if score.value is not None}
    return found.keys() == stated.keys() and all(
        math.isclose(found[name], value, rel_tol=1e-6, abs_tol=1e-6) for name, value in stated.items()
    )


# --- people's numbers ---------------------------------------------------------------------------


def _by_subject(result: Result, place: str) -> dict[str, float]:
    rows = ((score.name, score.value) for score in result.by_subject)
    found = {name: value for name, value in rows if value is not None and math.isfinite(value)}
    trials = (value for row in result.per_trial for value in (row.charged, *row.coordinates.values()))
    if any(abs(value) > LARGEST for value in (*found.values(), *trials) if value is not None):
        raise CapbenchError(f"Expected errors of at most {LARGEST:g}, got a larger one.", file=place)
    if not found or len({s.name for s in result.by_subject}) != len(result.by_subject):
        raise CapbenchError("Expected a number for each person, each named once, got other.", file=place)
    return found


def of_people(rows: Iterable[TrialRow], value: Callable[[TrialRow], float | None]) -> dict[str, float]:
    """Each person's number: mean over the trials of an activity, then over activities."""
    people: dict[str, dict[TrialKey, float]] = defaultdict(dict)
    for row in rows:
        known = value(row)
        if known is not None and math.isfinite(known):
            people[row.subject][TrialKey(row.subject, row.activity, row.key)] = known
    return {person: tree_mean(trials) for person, trials in people.items()}


def _of_coordinate(name: str) -> Callable[[TrialRow], float | None]:
    return lambda row: row.coordinates.get(name)


def _by_coordinate(results: Sequence[Result], letters: str) -> dict[tuple[str, str], Values]:
    return {
        (score.name, score.unit): {
            letter: of_people(result.per_trial, _of_coordinate(score.name))
            for letter, result in zip(letters, results, strict=True)
        }
        for score in results[0].coordinates
    }


def _by_activity(results: Sequence[Result], letters: str) -> dict[tuple[str, str], Values]:
    return {
        (score.name, score.unit): {
            letter: of_people(
                (row for row in result.per_trial if row.activity == score.name), lambda row: row.charged
            )
            for letter, result in zip(letters, results, strict=True)
        }
        for score in results[0].activities
    }


def _floors(results: Sequence[Result], what: str) -> dict[str, float]:
    """Name -> the largest noise floor that any of the results states."""
    floors: dict[str, float] = {}
    for result in results:
        scores = {"all": (result.overall,), "coordinate": result.coordinates, "activity": result.activities}[
            what
        ]
        for score in scores:
            if score.noise_floor is not None:
                name = "all" if what == "all" else score.name
                floors[name] = max(score.noise_floor, floors.get(name, 0.0))
    return floors


# --- differences --------------------------------------------------------------------------------


class _Pair(NamedTuple):
    """Two results in one thing, and the people that both have a number for."""

    name: str
    unit: str
    a: str
    b: str
    people: tuple[str, ...]
    values_a: tuple[float, ...]
    values_b: tuple[float, ...]

    def gaps(self) -> list[float]:
        """a − b, person by person."""
        return [x - y for x, y in zip(self.values_a, self.values_b, strict=True)]


def _differences(
    what: str, things: Mapping[tuple[str, str], Values], floors: Mapping[str, float], seed: int
) -> tuple[Difference, ...]:
    """Every pair in every thing, Holm over all of them."""
    rows = []
    for (name, unit), values in things.items():
        for a, b in combinations(sorted(values), 2):
            people = tuple(sorted(values[a].keys() & values[b].keys()))
            if people:
                sides = (tuple(values[side][person] for person in people) for side in (a, b))
                rows.append(_Pair(name, unit, a, b, people, *sides))
    made: dict[int, Difference] = {}
    alike: dict[int, list[int]] = defaultdict(list)
    for k, row in enumerate(rows):
        alike[len(row.people)].append(k)
    permutations = max(RESAMPLES, 200 * len(rows))  # so that Holm's p can fall below 1 %
    for members in alike.values():
        for start in range(0, len(members), PAIRS):
            part = members[start : start + PAIRS]
            found = _paired([rows[k] for k in part], what, floors, permutations, seed)
            made.update(zip(part, found, strict=True))
    ordered = [made[k] for k in range(len(rows))]
    adjusted = holm([d.p for d in ordered]).tolist() if ordered else []
    return tuple(
        replace(d, p_holm=q, verdict=judge(d.difference, q, d.people, d.noise_floor))
        for d, q in zip(ordered, adjusted, strict=True)
    )


def _paired(
    rows: Sequence[_Pair], what: str, floors: Mapping[str, float], permutations: int, seed: int
) -> list[Difference]:
    """Pairs with as many people each, on the same resamples; Holm's p and the verdict come later."""
    gaps = [row.gaps() for row in rows]
    boot = bootstrap_means(gaps, resamples=RESAMPLES, seed=seed)
    p = sign_flip_p(gaps, permutations=permutations, seed=seed)
    return [
        Difference(
            what=what,
            name=row.name,
            unit=row.unit,
            a=row.a,
            b=row.b,
            value_a=exact_mean(row.values_a),
            value_b=exact_mean(row.values_b),
            difference=float(boot.estimate[i]),
            low=float(boot.low[i]),
            high=float(boot.high[i]),
            p=float(p[i]),
            p_holm=math.nan,
            people=len(row.people),
            a_better=sum(gap < 0 for gap in gaps[i]),
            b_better=sum(gap > 0 for gap in gaps[i]),
            noise_floor=floors.get(row.name),
            verdict="none shown",
            needed=subjects_to_separate(gaps[i]),
        )
        for i, row in enumerate(rows)
    ]


def judge(difference: float, p_holm: float, people: int, noise_floor: float | None) -> Verdict:
    """What may be said of a difference.

    >>> judge(-1.0, 0.01, 20, 0.4), judge(-0.3, 0.01, 20, 0.4)
    ('shown', 'below the noise floor')
    >>> judge(-1.0, 0.2, 20, 0.4), judge(-9.0, 0.1, 4, 0.4)
    ('none shown', 'too few people')
    """
    if people < FEW:
        return "too few people"
    if not p_holm < ALPHA:
        return "none shown"
    if noise_floor is not None and abs(difference) < noise_floor:
        return "below the noise floor"
    return "shown"


def _entrants(
    results: Sequence[Result], places: Sequence[str], overall: Values, people: Sequence[str], seed: int
) -> tuple[Entrant, ...]:
    letters = sorted(overall)
    table = [[overall[letter][p] for p in people] for letter in letters]
    ranking = rank_models(table, letters, people, resamples=RESAMPLES, seed=seed)
    boot = bootstrap_means(table, resamples=RESAMPLES, seed=seed)
    titles = [_title(r.model) for r in results]
    return tuple(
        Entrant(
            letter=letter,
            label=titles[k] if titles.count(titles[k]) == 1 else f"{titles[k]} ({places[k]})",
            value=float(ranking.mean[k]),
            low=float(boot.low[k]),
            high=float(boot.high[k]),
            rank=float(ranking.rank[k]),
            rank_low=float(ranking.low[k]),
            rank_high=float(ranking.high[k]),
            first=float(ranking.first[k]),
            coverage=results[k].overall.coverage,
            marks=results[k].marks,
        )
        for k, letter in enumerate(letters)
    )
