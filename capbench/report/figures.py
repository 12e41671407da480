"""Pictures of a report as strips: SVG as wide as its cell, places across it in per cent.

A strip is one row of a table. Words and numbers stand in the table's other cells, so they keep their size on
any screen, are read aloud in order, and a picture is never the only place where something is said. Colours
come from classes (dark screens have others); shapes differ too, so that no reader needs to see the colours.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from capbench.report.markup import Safe, el, join
from capbench.report.words import drawable

HEIGHT = 26  #: pixels of a strip
TICKS = 5  #: parts of a scale, at most
PLOT = (300, 150)  #: units of a curve's picture


def nice_step(span: float, most: int = 6) -> float:
    """The step of 1, 2 or 5 times a power of ten that cuts ``span`` into at most ``most`` parts.

    >>> nice_step(17), nice_step(0.9, 5)
    (5.0, 0.2)
    """
    if not span > 1e-300:  # nothing, or less than can be divided
        return 1.0
    power = 10.0 ** math.floor(math.log10(span / most))
    return next(float(step * power) for step in (1, 2, 5, 10) if span / (step * power) <= most * 1.0000001)


@dataclass(frozen=True)
class Scale:
    """What a strip spans; a place beyond it is drawn at its edge.

    >>> Scale(0.0, 20.0).at(5.0), Scale(0.0, 20.0).ticks()
    ('25.00%', [0.0, 5.0, 10.0, 15.0, 20.0])
    """

    low: float
    high: float

    def share(self, value: float) -> float:
        """Where ``value`` lies, 0 to 1."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    def at(self, value: float) -> str:
        """Where ``value`` lies, in per cent of the width."""
        return f"{100 * self.share(value):.2f}%"

    def ticks(self, most: int = TICKS) -> list[float]:
        """Round numbers within the scale."""
        step = nice_step(self.high - self.low, most)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [k * step for k in range(first, last + 1)]


def scale_of(values: Iterable[object], *, zero: bool = True, even: bool = False) -> Scale:
    """A scale that holds all values that can be drawn, with a little air.

    ``zero``: it begins at 0; ``even``: it reaches as far below 0 as above.
    """
    known = [v for value in values if (v := drawable(value)) is not None]
    if even:
        reach = 1.08 * max([abs(v) for v in known] or [0.0]) or 1.0
        return Scale(-reach, reach)
    low, high = min(known, default=0.0), max(known, default=1.0)
    low = min(0.0, low) if zero else low
    air = 0.05 * (high - low) or 1.0
    return Scale(low - (air if low < 0 or not zero else 0.0), high + air)


# --- marks --------------------------------------------------------------------------------------


def shape(scale: Scale, value: float, y: float, kind: str, class_: str) -> Safe:
    """A mark at ``value``: "dot", "diamond", "square" or "ring"."""
    at = scale.at(value)
    if kind in ("dot", "ring"):
        return el("circle", cx=at, cy=f"{y:g}", r="5", class_=f"{class_} {kind}")
    paths = {"diamond": "M0-6.5 6.5 0 0 6.5-6.5 0z", "square": "M-5-5H5V5H-5z"}
    drawn = el("path", d=paths[kind], class_=class_)
    return el("svg", drawn, x=at, y=f"{y:g}", overflow="visible")


def tick(scale: Scale, value: object, y: float, class_: str, *, half: float = 6.0) -> Safe | None:
    """A short upright line, or nothing."""
    known = drawable(value)
    if known is None:
        return None
    at = scale.at(known)
    return el("line", x1=at, x2=at, y1=f"{y - half:g}", y2=f"{y + half:g}", class_=class_)


def bar(scale: Scale, low: object, high: object, y: float, class_: str, *, thick: float = 0.0) -> Safe | None:
    """From ``low`` to ``high``: a line, or a box where ``thick``; nothing if an end is missing."""
    begin, end = drawable(low), drawable(high)
    if begin is None or end is None:
        return None
    begin, end = sorted((begin, end))
    if not thick:
        return el("line", x1=scale.at(begin), x2=scale.at(end), y1=f"{y:g}", y2=f"{y:g}", class_=class_)
    width = f"{100 * (scale.share(end) - scale.share(begin)):.2f}%"
    return el(
        "rect", x=scale.at(begin), width=width, y=f"{y - thick / 2:g}", height=f"{thick:g}", class_=class_
    )


@dataclass(frozen=True)
class Mark:
    """A value with its interval, noise floor and null model on a strip."""

    value: object
    low: object = None
    high: object = None
    floor: object = None
    null: object = None
    kind: str = "dot"
    class_: str = "c0"


def strip(scale: Scale, said: str, *marks: Mark, extra: Sequence[Safe | None] = ()) -> Safe:
    """One row's picture: marks below each other; ``said`` is what it shows, in words."""
    height = max(HEIGHT, 20 * len(marks) + 6)
    drawn: list[Safe | None] = list(grid(scale, height))
    drawn += extra
    for k, mark in enumerate(marks):
        y = height * (k + 0.5) / len(marks)
        drawn.append(bar(scale, 0.0, mark.floor, y, "floor", thick=height / len(marks)))
        drawn.append(tick(scale, mark.null, y, "null"))
        drawn.append(bar(scale, mark.low, mark.high, y, f"ci {mark.class_}"))
        value = drawable(mark.value)
        if value is not None:
            drawn.append(shape(scale, value, y, mark.kind, mark.class_))
    return picture(height, said, drawn)


def picture(height: float, said: str, drawn: Iterable[Safe | None]) -> Safe:
    """An SVG as wide as its place."""
    return el(
        "svg",
        el("title", said),
        *drawn,
        class_="strip",
        width="100%",
        height=f"{height:g}",
        role="img",
    )


def grid(scale: Scale, height: float) -> list[Safe]:
    """Faint upright lines at round numbers; the one at 0 is stronger."""
    return [
        el(
            "line",
            x1=scale.at(t),
            x2=scale.at(t),
            y1="0",
            y2=f"{height:g}",
            class_="zero" if t == 0 else "grid",
        )
        for t in scale.ticks()
    ]


def label(value: float, step: float) -> str:
    """A number on an axis, with the decimals that the axis's step needs.

    >>> label(-0.5, 0.5), label(1e6, 2e5)
    ('−0.5', '1000000')
    """
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:.{decimals}f}".replace("-", "−")


def axis(scale: Scale, unit: str) -> Safe:
    """The numbers along a column of strips."""
    step = nice_step(scale.high - scale.low, TICKS)
    texts = []
    for value in scale.ticks():
        share = scale.share(value)
        anchor = "start" if share < 0.03 else "end" if share > 0.97 else "middle"
        said = label(value, step) + ("°" if unit == "°" else "")
        texts.append(el("text", said, x=scale.at(value), y="12", text_anchor=anchor))
    return el("svg", *texts, class_="axis", width="100%", height="16", aria_hidden="true")


def swatch(kind: str, class_: str) -> Safe:
    """A mark for a legend."""
    middle = Scale(0.0, 1.0)
    if kind == "floor":
        drawn = bar(middle, 0.1, 0.9, 8, "floor", thick=14)
    elif kind == "null":
        drawn = tick(middle, 0.5, 8, class_ or "null")
    elif kind in ("line", "dashed", "band"):
        drawn = bar(middle, 0.0, 1.0, 8, class_, thick=10 if kind == "band" else 0.0)
    elif kind == "ci":
        drawn = bar(middle, 0.05, 0.95, 8, f"ci {class_}")
    else:
        drawn = shape(middle, 0.5, 8, kind, class_)
    return el("svg", drawn, width="22", height="16", class_="swatch", aria_hidden="true")


# --- curves -------------------------------------------------------------------------------------


Place = tuple[float, float] | None


@dataclass(frozen=True)
class Frame:
    """Where times and values lie in a curve's picture."""

    xs: Scale
    ys: Scale
    left: float = 34
    right: float = PLOT[0] - 6
    top: float = 8
    bottom: float = PLOT[1] - 20

    def x(self, time: float) -> float:
        """From the left edge."""
        return self.left + self.xs.share(time) * (self.right - self.left)

    def y(self, value: float) -> float:
        """From the top edge: larger is higher."""
        return self.bottom - self.ys.share(value) * (self.bottom - self.top)

    def places(self, time: Sequence[float], values: Sequence[float | None]) -> list[Place]:
        """The points of a line; None where there is none."""
        pairs = ((drawable(t), drawable(v)) for t, v in zip(time, values, strict=False))
        return [None if t is None or v is None else (self.x(t), self.y(v)) for t, v in pairs]

    def axes(self) -> list[Safe]:
        """Lines and numbers at round values, numbers at round times."""
        made = []
        for value in self.ys.ticks(4):
            said, y = label(value, nice_step(self.ys.high - self.ys.low, 4)), self.y(value)
            made.append(el("line", x1=self.left, x2=self.right, y1=f"{y:.1f}", y2=f"{y:.1f}", class_="grid"))
            made.append(el("text", f"{said}°", x=self.left - 4, y=f"{y + 3.5:.1f}", text_anchor="end"))
        for time in self.xs.ticks(4):
            said = label(time, nice_step(self.xs.high - self.xs.low, 4))
            made.append(el("text", f"{said} s", x=f"{self.x(time):.1f}", y=PLOT[1] - 5, text_anchor="middle"))
        return made


def curve(
    time: Sequence[float],
    reference: Sequence[float | None],
    predicted: Sequence[float | None],
    sd: Sequence[float | None],
    *,
    said: str,
) -> Safe:
    """An angle over time: the reference, the prediction with ± 1 SD about it, broken where one is missing."""
    low, high = (
        [None if p is None or s is None else p + side * s for p, s in zip(predicted, sd, strict=False)]
        for side in (-1, 1)
    )
    known = [t for moment in time if (t := drawable(moment)) is not None]
    xs = Scale(min(known, default=0.0), scale_of(known, zero=False).high)
    frame = Frame(xs, scale_of([*reference, *predicted, *low, *high], zero=False))
    bands = _bands(frame.places(time, low), frame.places(time, high))
    return el(
        "svg",
        el("title", said),
        *frame.axes(),
        *[el("path", d=d, class_="band") for d in bands],
        el("path", d=_line(frame.places(time, reference)), class_="truth"),
        el("path", d=_line(frame.places(time, predicted)), class_="answer"),
        class_="plot",
        viewBox=f"0 0 {PLOT[0]} {PLOT[1]}",
        role="img",
    )


def _runs(points: Sequence[Place]) -> list[list[int]]:
    """Indices of neighbours that are all there."""
    runs: list[list[int]] = [[]]
    for k, point in enumerate(points):
        if point is not None:
            runs[-1].append(k)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _line(points: Sequence[Place]) -> str:
    """A path through the points; a lone one is a short dash, so that it can be seen."""
    parts = []
    for run in _runs(points):
        steps = [point for k in run if (point := points[k]) is not None]
        (x, y), *rest = steps
        parts.append(f"M{x:.1f} {y:.1f}" + ("".join(f"L{a:.1f} {b:.1f}" for a, b in rest) or "h1"))
    return "".join(parts)


def _bands(low: Sequence[Place], high: Sequence[Place]) -> list[str]:
    """Closed paths between two lines, one for each unbroken part."""
    both = [a if a is not None and b is not None else None for a, b in zip(low, high, strict=False)]
    bands = []
    for run in _runs(both):
        there = [p for k in run if (p := low[k]) is not None]
        back = [p for k in reversed(run) if (p := high[k]) is not None]
        bands.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in [*there, *back]) + "z")
    return bands


def legend(*entries: tuple[str, str, str]) -> Safe:
    """What the marks mean: (kind, class, words) each."""
    return el(
        "p", join(el("span", swatch(kind, class_), words) for kind, class_, words in entries), class_="legend"
    )
