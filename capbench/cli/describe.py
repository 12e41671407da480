"""``capbench describe``: all that is known of one name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from capbench.cli.common import completes, count, echo_json, facts, json_option, skeleton_titles, table
from capbench.cli.registries import find, known_names
from cohorts.errors import CapbenchError

if TYPE_CHECKING:
    from cohorts.skeleton import SkeletonMap


@click.command("describe")
@click.argument("name", shell_complete=completes(known_names))
@click.option(
    "--to",
    "target",
    metavar="SKELETON",
    shell_complete=completes(skeleton_titles),
    help="How SKELETON's points follow from this skeleton's: exactly, nearly, or not at all.",
)
@json_option
def command(name: str, target: str | None, as_json: bool) -> None:
    """Describe a skeleton or a file format."""
    if target is not None:
        mapping = _mapping(name, target)
        if as_json:
            echo_json(mapping_details(mapping))
        else:
            click.echo(show_mapping(mapping))
        return
    found = [(registry.one, registry.details(name)) for registry in find(name)]
    if as_json:
        echo_json([{"kind": one, **details} for one, details in found])
    else:
        show = {"skeleton": show_skeleton, "format": show_format}
        click.echo("\n\n".join(show[one](details) for one, details in found))


def _mapping(name: str, target: str) -> SkeletonMap:
    from cohorts.skeleton import skeleton

    if all(registry.one != "skeleton" for registry in find(name)):
        raise CapbenchError(f"Expected a skeleton to map from, got the {find(name)[0].one} {name!r}.")
    return skeleton(name).map_to(skeleton(target))


def show_skeleton(details: Mapping[str, Any]) -> str:
    """A skeleton in words and a table of its points."""
    pairs = [("what", details["title"]), ("source", details["source"])]
    if details["sigmas_source"]:
        pairs.append(("sigmas", details["sigmas_source"]))
    rows = [
        (
            k,
            point["name"],
            point["side"],
            "" if point["sigma"] is None else f"{point['sigma']:.3f}",
            point["is"],
            ", ".join(point["aliases"]),
        )
        for k, point in enumerate(details["points"])
    ]
    limbs = ", ".join(f"{a}–{b}" for a, b in details["limbs"])
    parts = [
        f"{details['name']}: a skeleton of {count(len(rows), 'point')}",
        facts([pair for pair in pairs if pair[1]]),
        table(("", "point", "side", "sigma", "marks", "also called"), rows, indent="  "),
    ]
    return "\n".join(filter(None, [*parts, facts([("limbs", limbs)]) if limbs else ""]))


def show_format(details: Mapping[str, Any]) -> str:
    """A format in words, with the options its reader and writer take."""
    pairs = [
        ("what", details["title"]),
        ("endings", " ".join("folder" if s == "/" else s for s in details["endings"])),
        ("reads", ", ".join(details["reads"])),
        ("writes", ", ".join(details["writes"]) or "nothing"),
    ]
    if not details["has_time"]:
        pairs.append(("time", "frames are only counted; give --rate for seconds"))
    parts = [f"{details['name']}: a file format", facts(pairs), ""]
    parts += [f"  {line}".rstrip() for line in details["about"].splitlines()]
    for verb in ("read", "write"):
        options = details[f"{verb}_options"]
        if options:
            rows = [(o["name"], o["type"], "" if o["default"] is None else o["default"], o["help"])
                    for o in options]  # fmt: skip
            heading = (f"option to {verb} with", "type", "default", "meaning")
            parts += ["", table(heading, rows, indent="  ")]
    return "\n".join(parts)


def mapping_details(mapping: SkeletonMap) -> dict[str, Any]:
    """A skeleton map as JSON prints it."""
    return {
        "source": mapping.source.name,
        "target": mapping.target.name,
        "exact": mapping.exact,
        "approximate": mapping.approximate,
        "missing": mapping.missing,
    }


def show_mapping(mapping: SkeletonMap) -> str:
    """Which points of the target come from where, and what is wrong with them."""
    head = (
        f"{mapping.target.name} from {mapping.source.name}: {len(mapping.exact)} exact, "
        f"{len(mapping.approximate)} approximate, {len(mapping.missing)} missing"
    )
    rows = []
    for point in mapping.target.points:
        if point in mapping.exact:
            rows.append((point, "exact", mapping.exact[point], ""))
        elif point in mapping.approximate:
            near = mapping.approximate[point]
            rows.append((point, "approximate", " + ".join(near.points), near.why))
        else:
            rows.append((point, "missing", "", ""))
    return head + "\n" + table(("point", "", "from", "why"), rows, indent="  ")
