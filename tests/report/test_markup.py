"""Markup that can't be broken out of."""

import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages import parse, words

from capbench.report.markup import LONGEST, Safe, el, join, named, text
from capbench.report.page import LARGEST, Limits, fitting, page, policy, style, write_page
from cohorts.errors import CapbenchError

HOSTILE = [
    "<script>alert(1)</script>",
    "</title></svg><img src=x onerror=alert(1)>",
    "\"' onload='x'",
    "a\x1b[2J\x00\r\n\tb",
    "abc\u202egnp.exe\u2066\u200f",
    "]]>--><!--",
    "&lt;b&gt;",
    "\ud800\uffff\ufeff",
    "x" * 10_000,
]


@pytest.mark.parametrize("bad", HOSTILE)
def test_nothing_from_outside_becomes_markup(bad) -> None:
    made = el("p", bad, title=bad, class_="x")
    root = ET.fromstring(made)
    assert list(root) == []
    assert root.attrib.keys() == {"title", "class"}
    assert (root.text or "").isprintable()
    assert len(root.text or "") <= LONGEST + 1
    made.encode()


@given(st.text())
def test_any_text_is_read_back_as_itself_or_spelled_out(said) -> None:
    read = ET.fromstring(el("p", said)).text or ""
    assert read.isprintable()
    if said.isprintable() and len(said) <= LONGEST:
        assert read == said


@given(st.text(max_size=50))
def test_a_browser_s_parser_sees_only_our_tags(said) -> None:
    seen = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs) -> None:
            seen.append((tag, sorted(dict(attrs))))

    Reader(convert_charrefs=True).feed(el("td", named(said), title=said))
    assert seen == [("td", ["title"]), ("bdi", [])]


def test_what_was_made_here_is_not_escaped_twice() -> None:
    assert el("p", el("b", "a<b"), "&") == "<p><b>a&lt;b</b>&amp;</p>"
    assert join([Safe("<i/>"), "<i/>"]) == "<i/>&lt;i/&gt;"
    assert el("line", x1=1, stroke_width=None, class_="c") == '<line x1="1" class="c"/>'
    assert el("td") == "<td></td>"


def test_text_is_cut_before_it_is_escaped() -> None:
    assert text("&&&&", most=2) == "&amp;&amp;…"
    assert text("&&", most=2) == "&amp;&amp;"


def test_a_page_allows_its_own_style_and_nothing_else() -> None:
    import base64
    import hashlib
    import re

    root = parse(page("<b>", el("p", "hello")))
    (meta,) = [m for m in root.iter("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in meta.get("content", "").split(";"))
    (sheet,) = root.iter("style")
    digest = base64.b64encode(hashlib.sha256((sheet.text or "").encode()).digest()).decode()
    assert rules == {
        "default-src": "'none'",
        "style-src": f"'sha256-{digest}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert meta.get("content") == policy()
    assert words(next(root.iter("title"))) == "<b>"
    assert not re.search(r"url\(|@import|//", style())  # nothing to fetch
    # a style sheet is raw text to a browser: it must hold nothing that XML reads otherwise
    assert not set("<&") & set(style())


def test_too_large_a_page_is_refused_and_the_old_one_stays(tmp_path) -> None:
    file = tmp_path / "a.html"
    write_page(file, "old")
    with pytest.raises(CapbenchError, match="below 1,000,000 bytes"):
        write_page(file, "é" * (LARGEST // 2))
    assert file.read_text() == "old"
    write_page(file, "é" * (LARGEST // 2 - 1))
    assert file.stat().st_size == LARGEST - 2


def test_a_page_takes_as_much_as_fits() -> None:
    assert fitting(lambda most: "x" * most.trials) == "x" * 300
    assert fitting(lambda most: "x" * (most.trials * 10_000)) == "x" * 90 * 10_000
    assert Limits().cut(0.001) == Limits(1, 1, 1, 1, 1, 1, 1, 1)
