"""``capbench verify-ik``: is this motion the best fit to these markers?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from capbench.cli.common import count, echo_json, facts, json_option, quiet_option, table
from cohorts.errors import CapbenchError

if TYPE_CHECKING:
    from capbench.biomech.verify import Verdict


@click.command("verify-ik")
@click.argument("motion", type=click.Path(path_type=Path))
@click.argument("markers", type=click.Path(path_type=Path))
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--tasks",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="OpenSim set-up (.xml) with the marker weights. Default: all markers weigh the same.",
)
@click.option("--frames", type=click.IntRange(1), default=20, show_default=True, help="How many to sample.")
@quiet_option
@json_option
def command(
    motion: Path, markers: Path, model: Path, tasks: Path | None, frames: int, quiet: bool, as_json: bool
) -> None:
    """Check a fitted motion against both engines' best fit.

    A sample of frames is solved anew in OpenSim (accuracy 1e-9) and in capbench. Says whose cost is lower, by
    how much, and how many degrees the angles are apart.
    """
    from capbench.biomech.verify import verify
    from cohorts import Markers, Motion, formats

    _, angles = formats.read(motion)
    _, tracks = formats.read(markers)
    for noun, kind, file in ((angles, Motion, motion), (tracks, Markers, markers)):
        if not isinstance(noun, kind):
            raise CapbenchError(f"Expected {kind.__name__.lower()}, got {formats.holds_of(noun)}.", file=file)
    if not (quiet or as_json):
        click.echo("Solving the sample in both engines …", err=True)
    told = account(verify(angles, tracks, model, tasks=tasks, frames=frames))
    if as_json:
        echo_json(told)
    else:
        click.echo(text(told))


def account(verdict: Verdict) -> dict[str, Any]:
    """The verdict in JSON's terms; angles in degrees, translations in mm."""
    import numpy as np

    from cohorts.recording import kind_by_name

    def told(differences: dict[str, float]) -> dict[str, dict[str, Any]]:
        found = {}
        for name, value in differences.items():
            turns = kind_by_name(name) == "rotation"
            found[name] = {
                "value": float(np.degrees(value)) if turns else 1000 * value, "unit": "deg" if turns else "mm"
            }  # fmt: skip
        return found

    best = np.minimum(verdict.ours, verdict.opensim)
    return {
        "frames": len(verdict.time),
        "time": verdict.time,
        "cost": {"motion": verdict.given, "capbench": verdict.ours, "opensim": verdict.opensim},
        "excess_of_motion": float(np.max(verdict.given / best - 1)),
        "frames_where_opensim_is_lower": int(np.sum(verdict.opensim < verdict.ours * (1 - 1e-9))),
        "largest_difference_from_best": told(verdict.apart),
        "largest_difference_between_engines": told(verdict.opensim_apart),
    }


def text(told: dict[str, Any]) -> str:
    """The account in lines for people, the coordinates that differ most first."""
    lower = told["frames_where_opensim_is_lower"]
    pairs = [
        ("sampled", count(told["frames"], "frame")),
        ("motion", f"its cost is up to {100 * told['excess_of_motion']:.2g} % above the best found"),
        (
            "engines",
            "capbench's cost is nowhere above OpenSim's"
            if lower == 0
            else f"OpenSim's cost is lower in {count(lower, 'frame')}",
        ),
    ]
    rows = []
    between = told["largest_difference_between_engines"]
    for name, apart in sorted(
        told["largest_difference_from_best"].items(), key=lambda item: -item[1]["value"]
    )[:12]:
        rows.append((name, f"{apart['value']:.2g}", f"{between[name]['value']:.2g}", apart["unit"]))
    head = ("coordinate", "motion", "between engines", "unit")
    return facts(pairs) + "\n  largest differences from the best fit\n" + table(head, rows, indent="  ")
