"""``capbench describe``: all that is known of one name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from capbench.cli.common import completes, count, echo_json, facts, json_option, skeleton_titles, table
from capbench.cli.registries import REGISTRIES, find, known_names
from cohorts.errors import CapbenchError

if TYPE_CHECKING:
    from cohorts.skeleton import SkeletonMap


@click.command("describe")
@click.argument("words", metavar="[KIND] NAME", nargs=-1, shell_complete=completes(known_names))
@click.option(
    "--to",
    "target",
    metavar="SKELETON",
    shell_complete=completes(skeleton_titles),
    help="How SKELETON's points follow from this skeleton's: exactly, nearly, or not at all.",
)
@json_option
def command(words: tuple[str, ...], target: str | None, as_json: bool) -> None:
    """Describe a skeleton, a file format, a preset or a metric.

    NAME is any that "capbench list" shows; KIND (skeleton, format, preset, metric) narrows the search.
    """
    kind, name = _kind_and_name(words)
    if target is not None:
        mapping = _mapping(name, target)
        if as_json:
            echo_json(mapping_details(mapping))
        else:
            click.echo(show_mapping(mapping))
        return
    found = [(registry.one, registry.details(name)) for registry in find(name, kind)]
    if as_json:
        echo_json([{"kind": one, **details} for one, details in found])
    else:
        show = {
            "skeleton": show_skeleton,
            "format": show_format,
            "preset": show_preset,
            "metric": show_metric,
        }
        click.echo("\n\n".join(show[one](details) for one, details in found))


def _kind_and_name(words: tuple[str, ...]) -> tuple[str | None, str]:
    """A name may hold blanks: "joint angle RMSE" and "metric joint angle RMSE" need no quotes."""
    if not words:
        raise click.UsageError("Missing argument 'NAME'.")
    kinds = {registry.one for registry in REGISTRIES.values()}
    if len(words) > 1 and words[0] in kinds:
        return words[0], " ".join(words[1:])
    return None, " ".join(words)


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
    parts += [f"  {line}".rstrip() for line in _without_markup(details["about"]).splitlines()]
    for verb in ("read", "write"):
        options = details[f"{verb}_options"]
        if options:
            rows = [(o["name"], " or ".join(o["words"]), o["default"] or "", o["help"]) for o in options]
            heading = (f"option to {verb} with", "one of", "default", "meaning")
            parts += ["", table(heading, rows, indent="  ")]
    return "\n".join(parts)


def show_preset(details: Mapping[str, Any]) -> str:
    """A preset of marker weights, heaviest first."""
    by_weight: dict[float, list[str]] = {}
    for marker, weight in details["weights"].items():
        by_weight.setdefault(weight, []).append(marker)
    pairs = [("what", details["title"]), ("source", details["source"])]
    pairs += [
        (f"weight {weight:g}", ", ".join(by_weight[weight])) for weight in sorted(by_weight, reverse=True)
    ]
    head = f"{details['name']}: a preset of {count(len(details['weights']), 'marker weight')}"
    return head + "\n" + facts(pairs)


def show_metric(details: Mapping[str, Any]) -> str:
    """A metric's card, and how to call it."""
    pairs = [
        ("is", details["definition"]),
        ("unit", details["unit"]),
        ("best", details["direction"]),
        ("reference", details["reference"]),
        ("needs", "; ".join(f"{need} ({what})" for need, what in details["needs"].items()) or "nothing"),
        ("merge", details["merge"]),
        ("version", str(details["version"])),
    ]
    call = details["function"]
    if details["fixed"]:
        call += "(" + ", ".join(["…", *(f"{k}={v!r}" for k, v in details["fixed"].items())]) + ")"
    if details["part"]:
        call += f" → .{details['part']}"
    pairs.append(("python", call))
    about = [f"  {line}".rstrip() for line in _without_markup(details["about"]).splitlines()]
    return "\n".join([f"{details['name']}: a metric", facts(pairs), "", *about])


def _without_markup(text: str) -> str:
    """A docstring without its quoting of code and of references."""
    return re.sub(r"(?::\w+:)?(`+)([^`]*)\1", r"\2", text)


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
    same = [p if p == own else f"{p} ({own})" for p, own in mapping.exact.items()]
    pairs = [("exact", ", ".join(same))] if same else []
    pairs += [("nearly", f"{point}: {near.why}") for point, near in mapping.approximate.items()]
    if mapping.missing:
        pairs.append(("missing", ", ".join(mapping.missing)))
    return head + "\n" + facts(pairs)
