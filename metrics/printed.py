"""Numbers and columns as papers and READMEs print them: what a column is of, what a number can have been.

A number printed with d decimals was somewhere within ±½·10⁻ᵈ of itself before it was rounded. All arithmetic
here is exact (fractions), so that what contradicts such intervals is certain.

>>> read_number("**63.4**").span
Span(low=Fraction(1267, 20), high=Fraction(1269, 20))
>>> read_column("AGORA B-NMVE (mm) ↓")
Column(name='AGORA B-NMVE (mm) ↓', quantity='NMVE', part='B', group='agora', unit='mm', mean=False)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import NamedTuple

MISSING = frozenset({"", "-", "–", "—", "n/a", "na", "nan", "x", "?"})

# lengths are bounded, so that no cell takes long
_LINK = re.compile(r"!?\[([^\[\]]{0,300})\]\([^()]{0,1000}\)")
_TAG = re.compile(r"<[^<>]{0,1000}>")
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_MARKS = re.compile(r"[*`~$†‡§↓↑]")
_SCRIPT = re.compile(r"[\^_]?\{([^{}]*)\}|[\^_](?=\d)")
#: what stands above or below a number is a note, not more digits
_NOTE = re.compile(r"<su[bp]>[^<>]{0,20}</su[bp]>|[\^_]\{[^{}]{0,20}\}|\^\w")
_UNIT = r"mm|cm|m|%|°|deg"
_NUMBER = re.compile(
    rf"([+-]?(?:\d{{1,15}}(?:\.(\d{{0,15}}))?|\.(\d{{1,15}})))\s*({_UNIT})?(?:\s*±.*)?", re.ASCII
)


class Span(NamedTuple):
    """All values from ``low`` to ``high``; the operations bound every possible result.

    >>> Span(Fraction(1), Fraction(2)).plus(Span(Fraction(1), Fraction(3))).text(1)
    '2.0 to 5.0'
    """

    low: Fraction
    high: Fraction

    def plus(self, other: Span) -> Span:
        """The sum of a value of each."""
        return Span(self.low + other.low, self.high + other.high)

    def times(self, factor: Fraction) -> Span:
        """Each value times a ``factor`` above zero."""
        return Span(self.low * factor, self.high * factor)

    def over(self, other: Span) -> Span:
        """The quotient of a value of each, both above zero."""
        return Span(self.low / other.high, self.high / other.low)

    def common(self, other: Span) -> Span | None:
        """The values that are in both, or None."""
        low, high = max(self.low, other.low), min(self.high, other.high)
        return Span(low, high) if low <= high else None

    def text(self, decimals: int) -> str:
        """The span for people, such as ``"63.33 to 63.55"``."""
        return f"{float(self.low):.{decimals}f} to {float(self.high):.{decimals}f}"


@dataclass(frozen=True)
class Printed:
    """A number as it stands in a table.

    >>> read_number("0.96").decimals
    2

    Attributes
    ----------
    text : without markup
    value : exactly as printed
    decimals : how many are printed
    unit : printed behind it, or ""
    """

    text: str
    value: Fraction
    decimals: int
    unit: str

    @property
    def span(self) -> Span:
        """Where the number was before it was rounded."""
        half = Fraction(1, 2 * 10**self.decimals)
        return Span(self.value - half, self.value + half)


@dataclass(frozen=True)
class Column:
    """What the name of a column says.

    >>> read_column("3DPW PA-MPJPE").quantity
    'PA-MPJPE'

    Attributes
    ----------
    name : as printed
    quantity : such as "MPJPE", "PVE", "AP50"; "share" or "error" for others that are one; "" if unknown
    part : of the body, as AGORA names them: "FB", "B", "F", "LH", "RH" or ""
    group : whatever else the name says (a data set, a subset), in small letters
    unit : printed in brackets, or ""
    mean : whether it is called a mean or average
    """

    name: str
    quantity: str
    part: str
    group: str
    unit: str
    mean: bool


def plain(text: str) -> str:
    """``text`` without Markdown, HTML and LaTeX markup, spaces run together.

    >>> plain("[**HMR**](a.py)  AP<sup>50</sup> AP$_{75}$")
    'HMR AP50 AP75'
    """
    text = _TAG.sub("", _LINK.sub(r"\1", text))
    text = _MARKS.sub("", _COMMAND.sub("", text))
    return " ".join(_SCRIPT.sub(r"\1", text).split())


def read_number(text: str) -> Printed | None:
    """The number that a cell holds and nothing else, or None; what follows ± is left aside.

    >>> read_number("63.4 ± 0.5").text, read_number("ResNet-50")
    ('63.4', None)
    """
    bare = _NOTE.sub("", text)
    found = _NUMBER.fullmatch(plain(bare).strip("_").replace("−", "-"))
    if found is None or re.search(r"\d_\d", bare):
        return None
    digits = found[2] or found[3] or ""
    return Printed(found[1], Fraction(found[1]), len(digits), found[4] or "")


_BODY = {
    "FB": r"fb|full ?body",
    "LH": r"lh|l ?hand|left hand",
    "RH": r"rh|r ?hand|right hand",
    "F": r"f|face",
    "B": r"b|body",
}
#: the parts of the body that a column may be of; "" where it does not say
PARTS = ("", *_BODY)
_VERTEX = r"(?:pve|mve|mpvpe|mpve|v2v)"
#: what a quantity is called, the first that is found counts
_QUANTITIES = {
    "PA-PVE": rf"pa ?{_VERTEX}|{_VERTEX} pa",
    "PA-MPJPE": r"pa ?mpjpe|p mpjpe|mpjpe pa|reconstruction error|pa$",
    "N-MPJPE": r"n ?mpjpe",
    "NMVE": r"nmve",
    "NMJE": r"nmje",
    "MPJPE": r"mpjpe",
    "PVE": _VERTEX,
    "F1": r"f1(?: score)?",
    "AP": r"m?ap(?: ?@? ?\[? ?[\d.]+:[\d.:]+ ?\]?)?",  # with or without a range of thresholds behind it
    "AR": r"m?ar(?: ?@? ?\[? ?[\d.]+:[\d.:]+ ?\]?)?",
    "share": r"(?:3d)?pckh?|auc|accuracy|precision|recall|top 1|top 5",
    "error": r"rmse|rmsd|mae|mpjae|mpjve|accel",
}
_AT = re.compile(r"(?<![\w.])m?(ap|ar) ?@? ?(0?\.\d{1,4}|\d{1,4})(?![\w.:])")
_MEAN = re.compile(r"\b(?:mean|average|avg|ave)\b")
#: a column with one of these words is not of the quantity itself
_NOT_ITSELF = re.compile(
    r"\b(?:delta|diff\w*|gain|change|improve\w*|reduction|gap|drop|std|sd|var|rank)\b|[δ∆±]"
)
LENGTHS = frozenset({"MPJPE", "PA-MPJPE", "N-MPJPE", "PVE", "PA-PVE", "NMVE", "NMJE"})


def is_share(quantity: str) -> bool:
    """Whether values of it lie between none and all.

    >>> is_share("AP50"), is_share("MPJPE")
    (True, False)
    """
    return quantity in ("share", "F1") or quantity[:2] in ("AP", "AR")


def is_error(quantity: str) -> bool:
    """Whether values of it can't be negative.

    >>> is_error("MPJPE"), is_error("")
    (True, False)
    """
    return quantity == "error" or quantity in LENGTHS


def _take(pattern: str, words: str) -> tuple[bool, str]:
    """Whether ``pattern`` stands in ``words`` as whole words, and what is left without it."""
    found = re.search(rf"(?<![\w.])(?:{pattern})(?![\w.])", words)
    if found is None:
        return False, words
    return True, f"{words[: found.start()]} {words[found.end() :]}"


def _quantity(words: str) -> tuple[str, str]:
    """The quantity that ``words`` name, and the words left."""
    threshold = _AT.search(words)
    if threshold:
        level = Fraction(threshold[2])
        percent = int(level * 100 if level < 1 else level)  # "AP@0.5" is AP50
        return f"{threshold[1].upper()}{percent}", f"{words[: threshold.start()]} {words[threshold.end() :]}"
    for quantity, pattern in _QUANTITIES.items():
        there, left = _take(pattern, words)
        if there:
            return quantity, left
    return "", words


@cache
def read_column(name: str) -> Column:
    """What the column called ``name`` holds; case, markup, units and separators don't matter.

    >>> read_column("val AP@0.5").quantity, read_column("Δ MPJPE").quantity
    ('AP50', '')
    """
    words = plain(name).lower()
    unit = re.search(rf"[(\[]\s*({_UNIT})\s*[)\]]", words)
    if unit:
        words = words.replace(unit[0], " ")
    words = " ".join(re.sub(r"(?<!\d)\.(?!\d)|[\s_\-–/|,;()]", " ", words).split())
    quantity, left = ("", words) if _NOT_ITSELF.search(words) else _quantity(words)
    part = ""
    if quantity in LENGTHS:
        for body, pattern in _BODY.items():
            there, left = _take(pattern, left)
            if there:
                part = body
                break
    group = " ".join(_MEAN.sub(" ", left).split())
    if unit and is_share(quantity) and unit[1] != "%":
        group = f"{group} {unit[1]}".strip()  # AP (M) is of medium people, not in metres
    return Column(name, quantity, part, group, unit[1] if unit else "", bool(_MEAN.search(left)))


def split_name(name: str, count: int) -> Sequence[str]:
    """The names of the ``count`` values that a cell under ``name`` holds, parted by strokes.

    >>> split_name("MVE LH/RH", 2), split_name("3DPW", 2)
    (['MVE LH', 'MVE RH'], ['3DPW', '3DPW'])
    """
    words = re.sub(r"\s*/\s*", "/", name).split(" ")
    for place, word in enumerate(words):
        pieces = word.split("/")
        if len(pieces) == count:
            return [" ".join([*words[:place], piece, *words[place + 1 :]]) for piece in pieces]
    return [name] * count


def read_cell(name: str, text: str) -> list[tuple[Column, Printed]]:
    """The numbers in a cell and what each is of: one, several parted by strokes, none if it holds other text.

    >>> [(column.quantity, number.text) for column, number in read_cell("MPJPE/PA-MPJPE", "112.46 / 64.55")]
    [('MPJPE', '112.46'), ('PA-MPJPE', '64.55')]
    """
    numbers = [read_number(piece) for piece in plain(text).split("/")]
    found = [number for number in numbers if number is not None]
    if len(found) < len(numbers):
        return []
    names = split_name(name, len(found))
    return [(read_column(n), number) for n, number in zip(names, found, strict=True)]
