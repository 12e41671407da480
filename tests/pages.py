"""Reads a page the way a strict reader does: as XML, with every element and text at hand."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

START = "<!doctype html>\n"


def parse(content: str) -> ET.Element:
    """The root; fails where the page is not well-formed."""
    assert content.startswith(START)
    return ET.fromstring(content.removeprefix(START))


def words(element: ET.Element) -> str:
    """All text within, spaces made single."""
    return re.sub(r"\s+", " ", " ".join(element.itertext())).strip()


def part(root: ET.Element, name: str) -> ET.Element:
    """The section of that id."""
    (found,) = [e for e in root.iter("section") if e.get("id") == name]
    return found


def rows(table: ET.Element) -> list[list[str]]:
    """The cells of a table's body; pictures say nothing."""
    body = table.find("tbody")
    assert body is not None
    return [["" if cell.get("class") == "pic" else words(cell) for cell in row] for row in body.findall("tr")]
