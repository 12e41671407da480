"""HTML and SVG from Python, safe by construction: what is not made here is escaped.

``el`` makes an element. A child that is a ``Safe`` goes in as it is, anything else is text from outside:
control characters and marks that turn the direction of writing are spelled out, long texts are cut, the rest
is escaped. The output is well-formed XML too, so tests can parse it.

>>> el("td", "<script>", class_="name")
'<td class="name">&lt;script&gt;</td>'
"""

from __future__ import annotations

import html
from collections.abc import Iterable

from cohorts.errors import printable

LONGEST = 400  #: characters of one text from outside that a page shows
VOID = {"meta", "br", "hr", "rect", "circle", "line", "path", "col"}  #: elements without an end tag


class Safe(str):
    """Markup that was made here."""

    __slots__ = ()


def text(value: object, most: int = LONGEST) -> Safe:
    """``value`` as text that can do nothing but be read.

    >>> text("a\\u202eb", most=3)
    'a\\\\u…'
    """
    plain = printable(str(value)[: most + 1])
    return Safe(html.escape(plain if len(plain) <= most else plain[:most] + "…"))


def join(parts: Iterable[object], between: str = "") -> Safe:
    """Parts one after the other; those that are not ``Safe`` are escaped."""
    return Safe(between.join(part if isinstance(part, Safe) else text(part) for part in parts))


def el(name: str, /, *children: object, **attributes: object) -> Safe:
    """An element: ``class_`` is the class, ``stroke_width`` becomes stroke-width; None leaves out."""
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value, 10_000)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID and not children:
        return Safe(f"<{name}{said}/>")
    return Safe(f"<{name}{said}>{join(child for child in children if child is not None)}</{name}>")


def named(value: object, most: int = 80) -> Safe:
    """A name from outside, kept from changing the direction of what stands around it."""
    return el("bdi", text(value, most))
