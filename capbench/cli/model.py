"""``capbench model``: build our own model, look into any model, and set two side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from capbench.cli.common import completes, count, echo_json, facts, force_option, json_option, readable, table
from cohorts.errors import CapbenchError, printable

if TYPE_CHECKING:
    from capbench.biomech.compare import Comparison, Gap
    from capbench.biomech.model import Coordinate, Model
    from capbench.biomech.problem import Problem

FULLBODY = "capbench:fullbody"
NO_MARKERS = "none"


def model_names() -> dict[str, str]:
    """Models that have a name, for completion."""
    return {
        FULLBODY: "our model of the whole body",
        f"{FULLBODY}+head": "with a head that moves",
        f"{FULLBODY}+head+wrists": "with a head and hands that move",
    }


def marker_set_names() -> tuple[str, ...]:
    """Marker sets of our model, for completion."""
    from capbench.biomech.body import marker_sets

    return (*marker_sets(), NO_MARKERS)


@click.group("model")
def command() -> None:
    """Build, inspect and compare musculoskeletal models.

    A MODEL is an OpenSim file (.osim) or capbench:fullbody, our own; after a plus come its optional joints
    (head, wrists) and the points it wears as markers: capbench:fullbody+head+coco-17.
    """


# --- build --------------------------------------------------------------------------------------


@command.command("build")
@click.argument("model", default=FULLBODY, shell_complete=completes(model_names))
@click.option(
    "--output",
    "-o",
    metavar="FILE",
    required=True,
    type=click.Path(path_type=Path),
    help="The .osim to write.",
)
@click.option(
    "--markers",
    metavar="SET",
    shell_complete=completes(marker_set_names),
    help="Skeleton whose points it wears, or none. Default synthpose-52.",
)
@click.option(
    "--height", type=float, metavar="METRES", help="Body height; all lengths scale alike. Default 1.70."
)
@click.option(
    "--mass",
    type=float,
    metavar="KG",
    help="Body mass. Default: 75.337 kg, or what keeps its body-mass index.",
)
@force_option
@json_option
def build(
    model: str,
    output: Path,
    markers: str | None,
    height: float | None,
    mass: float | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write capbench:fullbody as an OpenSim model.

    \b
    capbench model build -o body.osim
    capbench model build capbench:fullbody+head --markers coco-17 --height 1.82 --mass 77 -o body.osim
    """
    from capbench.biomech import body
    from capbench.biomech.osim_write import write_model

    if not model.startswith(body.SCHEME):
        raise CapbenchError(
            f"Expected a model of capbench's own, got {model!r}: a file need not be built.", fix=FULLBODY
        )
    chosen, groups = body.parse_name(model)
    if chosen and markers:
        raise CapbenchError(f"Expected one marker set, got {chosen} and {markers}.")
    if output.suffix.lower() != ".osim":
        raise CapbenchError("Expected a file name that ends in .osim.", file=output)
    worn = None if markers == NO_MARKERS else markers or chosen or body.MARKERS
    made = body.fullbody(markers=worn, groups=groups, height=height, mass=mass)
    write_model(made, output, overwrite=force)
    told = {
        "output": str(output),
        "height_m": body.fullbody_card().height if height is None else height,
        "mass_kg": made.mass,
        "coordinates": len(made.coordinates),
        "markers": len(made.markers),
    }
    if as_json:
        echo_json(told)
        return
    size = f"{told['height_m']:.2f} m, {made.mass:.1f} kg"
    holds = f"{count(len(made.coordinates), 'coordinate')}, {count(len(made.markers), 'marker')}"
    click.echo(facts([("size", size), ("holds", holds), ("written", readable(output))]))


# --- info ---------------------------------------------------------------------------------------


@command.command("info")
@click.argument("model", shell_complete=completes(model_names))
@json_option
def info(model: str, as_json: bool) -> None:
    """Say what a model holds, and what its markers leave unobserved.

    Bodies that carry no marker, and carry nothing that does, are left out of the fit: nothing observes how
    they move. Their coordinates are held.
    """
    from capbench.biomech.body import resolve_model
    from capbench.biomech.problem import build_problem

    found = resolve_model(model)
    problem = build_problem(found, {m.name: 1.0 for m in found.markers})
    if as_json:
        echo_json(model_details(found, problem))
    else:
        click.echo(show_model(found, problem))


def model_details(model: Model, problem: Problem) -> dict[str, Any]:
    """A model as ``info --json`` prints it; angles in degrees."""
    return {
        "name": model.name,
        "mass_kg": model.mass,
        "bodies": [{"name": b.name, "mass_kg": b.mass, "mass_centre_m": b.mass_centre} for b in model.bodies],
        "joints": [
            {
                "name": j.name,
                "kind": j.kind,
                "parent": j.parent,
                "child": j.child,
                "coordinates": [c.name for c in j.coordinates],
            }
            for j in model.joints
        ],
        "coordinates": [
            {
                "name": c.name,
                "kind": c.kind,
                "range": [_shown(v, c.kind) for v in c.range],
                "default": _shown(c.default, c.kind),
                "state": state(c, problem),
            }
            for c in model.coordinates
        ],
        "markers": [{"name": m.name, "body": m.body, "location_m": m.location} for m in model.markers],
        "unobserved_bodies": list(problem.pruned),
    }


def state(coordinate: Coordinate, problem: Problem) -> str:
    """What a fit to the model's own markers does with a coordinate: fits, holds, locks or couples it."""
    tree = problem.tree
    if coordinate.name in tree.locked:
        return "locked"
    if coordinate.name in tree.coupled:
        return f"follows {tree.coupled[coordinate.name][0]}"
    return "fitted" if problem.moved[tree.index(coordinate.name)] else "held"


def _shown(value: float, kind: str) -> float:
    return math.degrees(value) if kind == "rotation" else value


def show_model(model: Model, problem: Problem) -> str:
    """A model in words and tables."""
    worn: dict[str, list[str]] = {}
    for marker in model.markers:
        worn.setdefault(marker.body, []).append(marker.name)
    joint_of = {j.child: j for j in model.joints}
    bodies = [
        (b.name, f"{b.mass:.3f}", j.name if (j := joint_of.get(b.name)) else "", j.parent if j else "",
         "left out" if b.name in problem.pruned else "", " ".join(worn.get(b.name, ())))
        for b in model.bodies
    ]  # fmt: skip
    coordinates = []
    for c in model.coordinates:
        low, high = (f"{_shown(v, c.kind):.6g}" for v in c.range)
        unit = "deg" if c.kind == "rotation" else "m"
        coordinates.append((c.name, low, high, unit, "" if c.clamped else "not clamped", state(c, problem)))
    held = [c.name for c in model.coordinates if state(c, problem) == "held"]
    lines = [
        printable(model.name or "(no name)"),
        facts(
            [
                ("mass", f"{model.mass:.3f} kg"),
                (
                    "holds",
                    ", ".join(
                        [
                            count(len(model.bodies), "body", "bodies"),
                            count(len(model.joints), "joint"),
                            count(len(model.coordinates), "coordinate"),
                            count(len(model.markers), "marker"),
                        ]
                    ),
                ),
                *_unobserved(problem, held),
            ]
        ),
        "",
        table(("body", "kg", "joint", "parent", "in a fit", "markers"), bodies, indent="  "),
        "",
        table(("coordinate", "from", "to", "", "", "in a fit"), coordinates, indent="  "),
    ]
    return "\n".join(lines)


def _unobserved(problem: Problem, held: list[str]) -> list[tuple[str, str]]:
    if not problem.markers:
        return [("left out", "everything: it wears no markers")]
    told = []
    if problem.pruned:
        why = "no marker on them or on what they carry"
        told.append(("left out", f"{', '.join(problem.pruned)}: {why}"))
    if held:
        told.append(("held", f"{', '.join(held)}: they move no marker"))
    return told


# --- compare ------------------------------------------------------------------------------------


@command.command("compare")
@click.argument("a", metavar="A", shell_complete=completes(model_names))
@click.argument("b", metavar="B", shell_complete=completes(model_names))
@click.option(
    "--poses", type=click.IntRange(1, 100_000), default=500, show_default=True, help="How many random poses."
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Another seed, other poses."
)
@click.option(
    "--markers-of-b",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="MarkerSet (.xml) that B wears instead of its own markers.",
)
@json_option
def compare_command(a: str, b: str, poses: int, seed: int, markers_of_b: Path | None, as_json: bool) -> None:
    """Compare two models' joints and markers over random poses.

    Poses lie within the ranges of both models; coordinates are matched by name.
    """
    from capbench.biomech.body import resolve_model
    from capbench.biomech.compare import compare
    from capbench.biomech.osim import read_markers

    first, second = resolve_model(a), resolve_model(b)
    if markers_of_b is not None:
        second = second.with_markers(read_markers(markers_of_b))
    found = compare(first, second, poses=poses, seed=seed)
    if as_json:
        echo_json(found)
    else:
        click.echo(show_comparison(found))


def show_comparison(found: Comparison) -> str:
    """A comparison in tables; millimetres and degrees."""

    def block(title: str, unit: str, gaps: Mapping[str, Gap], shown: Callable[[float], float]) -> list[str]:
        if not gaps:
            return []
        rows = [
            (name, f"{shown(gap.largest):.3f}", f"{shown(gap.mean):.3f}")
            for name, gap in sorted(gaps.items(), key=lambda pair: -pair[1].largest)
        ]
        return ["", table((title, f"max {unit}", f"mean {unit}"), rows, indent="  ")]

    def millimetres(value: float) -> float:
        return value * 1e3

    pairs = [("compared", f"{count(found.poses, 'pose')} of {count(len(found.posed), 'shared coordinate')}")]
    for what in ("coordinates", "joints", "markers", "bodies"):
        only = getattr(found, f"{what}_only")
        for side in ("a", "b"):
            names = getattr(only, side)
            if names:
                pairs.append((f"{what} only in {side.upper()}", ", ".join(names)))
    if found.ranges:
        pairs.append(("ranges that differ", ", ".join(found.ranges)))
    lines = [facts(pairs)]
    lines += block("joint centre", "mm", found.joints, millimetres)
    lines += block("marker", "mm", found.markers, millimetres)
    lines += block("body's direction", "deg", found.bodies, math.degrees)
    return "\n".join(lines)
