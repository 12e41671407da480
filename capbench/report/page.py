"""A page that stands alone: no script, nothing fetched, one style sheet that the page itself vouches for.

Even if a text from outside got past the escaping, the browser would run nothing: the policy allows this style
sheet, by its hash, and forbids all else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from capbench.report.markup import Safe, el, join, text
from cohorts.bounded import write_text
from cohorts.errors import CapbenchError

LARGEST = 1_000_000  #: bytes of a page
UNITS = 4  #: groups by unit that a page shows


@dataclass(frozen=True)
class Limits:
    """How much a page shows at most; what is left out is said there, and is in the result's file.

    Attributes
    ----------
    people, specks : people of a figure, and trials drawn for each
    rows, columns : of tables of coordinates and activities
    curves, trials, failures, lines : curves, rows of those tables, rows of small ones
    """

    people: int = 60
    specks: int = 100
    rows: int = 80
    columns: int = 12
    curves: int = 18
    trials: int = 300
    failures: int = 100
    lines: int = 60

    def cut(self, share: float) -> Limits:
        """A share of it all, at least one of each."""
        return Limits(*(max(1, int(share * most)) for most in astuple(self)))


def fitting(build: Callable[[Limits], str]) -> str:
    """The page with as much as fits ``LARGEST``; names made to be long can't keep it from being written."""
    content = ""
    for share in (1.0, 0.3, 0.1, 0.02):
        content = build(Limits().cut(share))
        if len(content.encode()) < LARGEST:
            break
    return content


@cache
def style() -> str:
    """The style sheet."""
    return files("capbench.report").joinpath("style.css").read_text(encoding="utf-8").strip()


def policy() -> str:
    """The content security policy: this style sheet and nothing else."""
    digest = base64.b64encode(hashlib.sha256(style().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def page(heading: str, *body: Safe | None) -> str:
    """A whole page."""
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=policy()),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="referrer", content="no-referrer"),
        el("title", text(heading, 200)),
        el("style", Safe(style())),
    )
    whole = el("html", head, el("body", el("main", *body)), lang="en")
    return f"<!doctype html>\n{whole}\n"


def write_page(path: Path, content: str) -> None:
    """Write a page, whole or not at all; an older one is replaced."""
    if (size := len(content.encode())) >= LARGEST:
        raise CapbenchError(f"Expected a page below {LARGEST:,} bytes, got {size:,}.", file=path)
    write_text(path, content, overwrite=True)


# --- parts --------------------------------------------------------------------------------------


def section(name: str, heading: str, lead: str, *body: object) -> Safe:
    """A part of the page under its heading, with a line that says how to read it."""
    return el("section", el("h2", heading), el("p", lead, class_="note") if lead else None, *body, id=name)


def banner(heading: str, reasons: Sequence[str]) -> Safe | None:
    """What a reader must be told before anything else."""
    if not reasons:
        return None
    told = [el("p", text(reason)) for reason in reasons[:20]]
    return el("div", el("p", el("strong", heading)), *told, class_="banner", role="note")


def row(head: object, *cells: object) -> Safe:
    """A row of a table: its heading and its cells; cells that aren't elements become ones."""
    made = [cell if _is_cell(cell) else el("td", cell) for cell in cells]
    return el("tr", el("th", head, scope="row"), *made)


def _is_cell(cell: object) -> bool:
    return isinstance(cell, Safe) and cell.startswith(("<td", "<th"))


def left_out(total: int, shown: int, what: str) -> str:
    """A remark on what a page leaves out, or ""."""
    return f" {total - shown:,} more {what} are left out here." if total > shown else ""


def table(heads: Sequence[object], rows: Iterable[Safe], *, class_: str = "", caption: str = "") -> Safe:
    """A table that scrolls sideways within itself on a narrow screen. Heads that are elements stay."""
    top = [head if _is_cell(head) else el("th", head, scope="col") for head in heads]
    made = el(
        "table",
        el("caption", caption) if caption else None,
        el("thead", el("tr", *top)),
        el("tbody", join(rows, "\n")),
        class_=class_ or None,
    )
    return el("div", made, class_="scroll")


def n(value: object, small: str = "", *, class_: str = "n") -> Safe:
    """A cell with a number, and its interval or the like beneath it."""
    return el("td", value, el("small", small) if small else None, class_=class_)


def nh(head: str, *, class_: str = "n") -> Safe:
    """The heading of a column of numbers."""
    return el("th", head, scope="col", class_=class_)


def pic(drawn: Safe) -> Safe:
    """A cell with a strip."""
    return el("td", drawn, class_="pic")


def folded(summary: str, *body: object) -> Safe:
    """What is there for those who ask."""
    return el("details", el("summary", summary), *body)


def tiles(pairs: Iterable[tuple[str, object, str]]) -> Safe:
    """Numbers beside the headline: (what, number, remark) each."""
    made = [
        el("div", el("dt", what), el("dd", value, el("small", remark) if remark else None))
        for what, value, remark in pairs
    ]
    return el("dl", *made, class_="tiles")
