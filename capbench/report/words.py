"""How results are said: numbers, names, sentences; shared by the terminal's table and the pages."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from capbench.run.compare import Difference
    from capbench.run.result import Beside, Failure, Result, Score

DECIMALS = {"mm": 1, "%": 1, "ms": 0}  #: of a unit; others get two
SIDES = {"_r": "right", "_l": "left"}
LARGEST = 1e6  #: what no angle or distance reaches: a larger number is shown, but not drawn
#: the word -> what it means, for a reader who is neither an engineer nor a statistician
GLOSSARY: Mapping[str, str] = {
    "joint-angle error": "How far the model's joint angles are from the reference's: the root mean square "
    "over time, averaged over a person's trials, then activities, then people. A frame without an answer "
    "costs as much as a very bad one, so silence never helps.",
    "noise floor": "How well the reference itself is known. Two careful ways to get the true angles from the "
    "same markers differ by this much; a difference between models that is smaller means nothing.",
    "null model": "What it costs to know nothing: the same mean pose for every frame of everyone. A model "
    "near this number has learned little about how these people move.",
    "skill": "1 is perfect, 0 is no better than the null model, below 0 is worse.",
    "coverage": "The share of the reference's samples that the model answered at all.",
    "95 % CI": "A range made to hold the number that all people of this kind would give, 95 times in 100. It "
    "comes from drawing the people anew. Few people make it wide, and with fewer than about ten it tends to "
    "be too narrow.",
    "as answered": "The error of the answered samples alone, not capped: it can look better than the score "
    "by leaving hard frames out.",
    "charged": "A trial's error as it counts: samples capped, missing ones at the cap.",
    "lag": "By how much the model's clock was behind the reference's, measured once a session and taken out.",
    "MPJPE": "Mean distance of the points from where they truly are, in space.",
    "PCK": "Share of points that lie close enough to the truth.",
}


def finite(value: object) -> float | None:
    """``value`` if it is a number that can be drawn or compared, else None.

    >>> finite(2), finite(float("nan")), finite("2"), finite(None)
    (2.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def drawable(value: object) -> float | None:
    """As ``finite``, and not so large that it would squeeze all else in a picture into a dot."""
    number = finite(value)
    return number if number is not None and abs(number) <= LARGEST else None


def number(value: object, unit: str = "°", *, sign: bool = False) -> str:
    """A number with the decimals its unit deserves; "–" for none. The minus is a true one.

    >>> number(4.126), number(-0.004), number(12.345, "mm"), number(None), number(0.5, sign=True)
    ('4.13', '0.00', '12.3', '–', '+0.50')
    """
    known = finite(value)
    if known is None:
        return "–"
    if abs(known) >= LARGEST:
        return f"{known:.1e}"
    shown = f"{known:.{DECIMALS.get(unit, 2)}f}"
    if float(shown) == 0.0:
        return shown.lstrip("-")
    return shown.replace("-", "−") if known < 0 else f"+{shown}" if sign else shown


def quantity(value: object, unit: str, *, sign: bool = False) -> str:
    """A number with its unit: "4.13°", "12.3 mm"; "–" for none."""
    shown = number(value, unit, sign=sign)
    if shown == "–" or unit in ("", "1"):
        return shown
    return f"{shown}°" if unit == "°" else f"{shown} {unit}"


def span(low: object, high: object, unit: str, *, sign: bool = False) -> str:
    """An interval as "3.60 to 4.71"; "" where an end is missing."""
    if finite(low) is None or finite(high) is None:
        return ""
    return f"{number(low, unit, sign=sign)} to {number(high, unit, sign=sign)}"


def interval(score: Score | Beside) -> str:
    """The confidence interval of a score, as ``span``."""
    return span(score.low, score.high, score.unit)


def percent(value: object) -> str:
    """A share in per cent that is "100 %" or "0 %" only where it is exactly so.

    >>> percent(100.0), percent(99.99), percent(0.01), percent(0), percent(None)
    ('100 %', '>99.9 %', '<0.1 %', '0 %', '–')
    """
    known = finite(value)
    if known is None:
        return "–"
    if known in (0, 100):
        return f"{known:.0f} %"
    return "<0.1 %" if 0 < known < 0.1 else ">99.9 %" if 99.9 < known < 100 else f"{known:.1f} %"


def seconds(value: float) -> str:
    """A duration as a person says it.

    >>> seconds(0.0123), seconds(4.56), seconds(83), seconds(7300)
    ('0.01 s', '4.6 s', '1 min 23 s', '2 h 1 min')
    """
    if value < 59.95:
        return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def rate(value: object) -> str:
    """Frames per second.

    >>> rate(151.23), rate(3.456), rate(None)
    ('151 frames/s', '3.5 frames/s', '')
    """
    known = finite(value)
    return "" if known is None else f"{known:,.{0 if known >= 10 else 1}f} frames/s"


def side_of(coordinate: str) -> tuple[str, str]:
    """A coordinate without its side, and the side: "right", "left" or "".

    >>> side_of("knee_angle_r"), side_of("pelvis_tilt")
    (('knee_angle', 'right'), ('pelvis_tilt', ''))
    """
    ending = coordinate[-2:].lower()
    return (coordinate[:-2], SIDES[ending]) if ending in SIDES and len(coordinate) > 2 else (coordinate, "")


def spoken(coordinate: str) -> str:
    """A coordinate's name for reading aloud.

    >>> spoken("knee_angle_r"), spoken("pelvis_tx"), spoken("lumbar_bending")
    ('knee angle, right', 'pelvis forward', 'lumbar bending')
    """
    base, side = side_of(coordinate)
    for ending, way in (("_tx", " forward"), ("_ty", " up"), ("_tz", " sideways")):
        base = base.removesuffix(ending) + way if base.endswith(ending) else base
    return base.replace("_", " ").strip() + (f", {side}" if side else "")


def title(result: Result) -> str:
    """Which model on which cohort."""
    return f"{result.model.name} {result.model.version} on {result.cohort.name} {result.cohort.version}"


def worst_first(scores: Iterable[Score]) -> list[Score]:
    """Scores by their value, the largest first; ties by name, those without a value last."""

    def key(score: Score) -> tuple[float, str]:
        value = finite(score.value)
        return (math.inf if value is None else -value, score.name)

    return sorted(scores, key=key)


def by_unit(scores: Iterable[Score]) -> dict[str, list[Score]]:
    """Scores apart by unit, degrees first, the order else as it was."""
    groups: dict[str, list[Score]] = defaultdict(list)
    for score in scores:
        groups[score.unit].append(score)
    return dict(sorted(groups.items(), key=lambda pair: (pair[0] != "°", pair[0])))


def verdict(result: Result) -> str:
    """What the headline number says, in one or two sentences."""
    score = result.overall
    value, null, floor = finite(score.value), finite(score.null), finite(score.noise_floor)
    if value is None:
        return "Nothing could be scored."
    if null is not None and value >= null:
        return "No better than answering every frame with the same mean pose."
    said = []
    if null:
        said.append(f"{100 * (1 - value / null):.0f} % of the null model's error is gone")
    if floor is not None and value <= floor:
        said.append("the error is within what the reference itself is uncertain by")
    elif floor:
        said.append(f"the error is {value / floor:.1f} times the noise floor")
    text = "; ".join(said)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


@dataclass(frozen=True)
class Kind:
    """Failures of one kind.

    Attributes
    ----------
    fault, kind : whose fault, and the word for it
    count : how many
    first : the first one's unit and reason
    """

    fault: str
    kind: str
    count: int
    first: str


def failures_by_kind(failures: Sequence[Failure]) -> list[Kind]:
    """Failures counted by fault and kind, the most frequent first."""
    groups: dict[tuple[str, str], list[Failure]] = defaultdict(list)
    for failure in failures:
        groups[failure.fault, failure.kind].append(failure)
    found = [Kind(*key, len(group), f"{group[0].unit}: {group[0].reason}") for key, group in groups.items()]
    return sorted(found, key=lambda kind: (-kind.count, kind.fault, kind.kind))


@dataclass(frozen=True)
class Speed:
    """What ``timing.json`` tells; whatever in it is not as expected is left out."""

    stages: tuple[tuple[str, float], ...]
    frames: int | None
    rate: float | None
    hardware: tuple[tuple[str, str], ...]


def speed_of(timing: Mapping[str, Any] | None) -> Speed:
    """The parts of ``timing``: stages in seconds as they ran, frames, frames per second, hardware.

    >>> speed_of({"stages": {"predict": 2.0, "x": "?"}, "frames": 10, "frames_per_second": 5.0})
    Speed(stages=(('predict', 2.0),), frames=10, rate=5.0, hardware=())
    """
    timing = timing if isinstance(timing, Mapping) else {}
    stages, hardware = timing.get("stages"), timing.get("hardware")
    known = stages.items() if isinstance(stages, Mapping) else ()
    frames = finite(timing.get("frames"))
    return Speed(
        stages=tuple((str(k), s) for k, v in known if (s := finite(v)) is not None and 0 <= s < 1e10),
        frames=int(frames) if frames is not None and frames >= 0 else None,
        rate=finite(timing.get("frames_per_second")),
        hardware=tuple((str(k), str(v)) for k, v in hardware.items())
        if isinstance(hardware, Mapping)
        else (),
    )


def chance(p: float) -> str:
    """A p-value as it is printed.

    >>> chance(0.0004), chance(0.0312), chance(1.0)
    ('< 0.001', '0.031', '1')
    """
    if p < 0.001:
        return "< 0.001"
    return "1" if p >= 0.9995 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def difference(gap: Difference) -> str:
    """A difference with its interval, as "−0.48°, 95 % CI −0.80 to −0.16"."""
    shown, within = (
        quantity(gap.difference, gap.unit, sign=True),
        span(gap.low, gap.high, gap.unit, sign=True),
    )
    return f"{shown}, 95 % CI {within}" if within else shown


def conclusion(gap: Difference, least: int) -> str:
    """What may be said of a difference; ``least``: people from which the test can show anything at all."""
    a, b = gap.a, gap.b
    better, worse = (a, b) if gap.difference < 0 else (b, a)
    wins = gap.a_better if gap.difference < 0 else gap.b_better
    size = quantity(abs(gap.difference), gap.unit)
    people = "1 person" if gap.people == 1 else f"{gap.people:,} people"
    if gap.verdict == "too few people":
        return f"Nothing can be concluded about {a} and {b} from {people}."
    if gap.verdict == "none shown":
        said = f"No difference shown between {a} and {b}"
        if gap.people < least:
            return f"{said}: {people} can't show one, whatever the numbers; it takes at least {least}."
        needed = finite(gap.needed)
        if needed is not None and needed > gap.people:
            return f"{said}. If there is one of {size}, about {needed:,.0f} people would show it."
        return f"{said}."
    if gap.verdict == "below the noise floor":
        floor = f"the noise floor of {quantity(gap.noise_floor, gap.unit)}"
        return f"{better} is better than {worse} by {size}, less than {floor}: it means nothing."
    return f"{better} is better than {worse} by {size}, for {wins} of {people}."
