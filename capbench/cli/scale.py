"""``capbench scale``: a model made to fit a subject, from a static trial."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from capbench.cli.common import (
    count,
    echo_json,
    facts,
    force_option,
    json_option,
    quiet_option,
    readable,
    table,
)
from cohorts.bounded import check_new
from cohorts.errors import CapbenchError

if TYPE_CHECKING:
    from capbench.biomech.model import Model
    from capbench.biomech.place import Placed
    from capbench.biomech.scale import Scaled
    from capbench.biomech.scale_joint import JointScaling
    from capbench.biomech.scale_setup import ScaleSetup
    from cohorts import Markers

LIGHTEST, HEAVIEST = 8.0, 80.0  # kg/m²: bodies beyond have a mass or height in wrong units
DROPPED = "muscles, wrap objects and pictures of the model are left out; --engine opensim keeps them"
WORST = 5  # marker errors told


@click.command("scale")
@click.argument("static", metavar="STATIC", type=click.Path(path_type=Path))
@click.option(
    "--model", "-m", metavar="FILE", required=True, type=click.Path(path_type=Path), help="Model (.osim)."
)
@click.option(
    "--setup",
    metavar="FILE",
    required=True,
    type=click.Path(path_type=Path),
    help="OpenSim scale set-up (.xml): measurements, marker weights, time ranges.",
)
@click.option(
    "--markers",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Marker set (.xml) to put on the model first.",
)
@click.option("--mass", metavar="KG", type=float, help="Mass of the subject. Default: the set-up's.")
@click.option("--height", metavar="M", type=float, help="Height of the subject; checked against the mass.")
@click.option("--still", metavar="S", type=float, help="Use the stillest S seconds, not the set-up's times.")
@click.option(
    "--from-motion",
    is_flag=True,
    help="STATIC is a moving trial: fit factors, marker places and poses to it together.",
)
@click.option(
    "--output",
    "-o",
    metavar="FILE",
    required=True,
    type=click.Path(path_type=Path),
    help="Where to write the scaled model (.osim).",
)
@click.option(
    "--engine",
    type=click.Choice(["fast", "opensim"]),
    default="fast",
    show_default=True,
    help="fast: exact static pose, kinematic model. opensim: OpenSim's own tool, muscles scaled too.",
)
@click.option("--units", metavar="UNIT", help="Units of the markers (m, cm, mm), where their file is wrong.")
@force_option
@quiet_option
@json_option
def command(
    static: Path,
    model: Path,
    setup: Path,
    markers: Path | None,
    mass: float | None,
    height: float | None,
    still: float | None,
    from_motion: bool,
    output: Path,
    engine: str,
    units: str | None,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Scale a musculoskeletal model to a subject and place its markers.

    STATIC is a file of named 3D points (.trc, .c3d, .csv …): the subject standing still, or with
    --from-motion moving as much as possible.

    \b
    capbench scale static.trc --model generic.osim --setup scale.xml --mass 72.6 -o subject.osim
    """
    from capbench.biomech.osim_write import write_model
    from cohorts.bounded import write_text

    check_output(output, force=force)
    if from_motion and (still is not None or engine == "opensim"):
        raise CapbenchError(
            f"Expected --from-motion by itself, got it with {'--still' if still is not None else '--engine'}."
        )
    notes: list[str] = []
    recorded = read_static(static, units, notes)
    plan, generic = read_plan(setup, mass, height), read_generic(model, markers)
    if mass is None:
        notes.append(
            "the set-up's mass is used" if plan.mass else "no mass is given: the model's masses are kept"
        )
    scaled: Scaled | JointScaling
    if from_motion:
        scaled = solve_motion(generic, recorded, plan)
        told = motion_summary(scaled, plan)
    else:
        scaled = solve(generic, recorded, plan, still)
        told = summary(scaled, plan)
    notes += scaled.notes
    if engine == "opensim":
        from capbench.biomech import opensim_scale

        if not quiet and not as_json:
            click.echo("Scaling with OpenSim …", err=True)
        told |= with_opensim(
            opensim_scale.scale(model, *still_part(recorded, plan, still), marker_set=markers)
        )
        write_text(output, told.pop("document"), overwrite=force)
        notes += told.pop("tool_notes")
    else:
        write_model(scaled.model, output, overwrite=force)
        notes.append(DROPPED)
    told |= {"notes": notes, "output": str(output)}
    if as_json:
        echo_json(told)
    else:
        click.echo(text(told, output, quiet=quiet))


# --- reading ------------------------------------------------------------------------------------


def check_output(output: Path, *, force: bool) -> None:
    """Refuse an output that could not be written, before the work instead of after it."""
    if output.suffix.lower() != ".osim":
        raise CapbenchError("Expected an output that ends in .osim.", file=output)
    check_new(output, overwrite=force)


def read_static(source: Path, units: str | None, notes: list[str]) -> Markers:
    """The markers of the static trial."""
    from cohorts import formats
    from cohorts.recording import Markers

    found, value = formats.read(source, notes=notes, **({} if units is None else {"units": units}))
    if not isinstance(value, Markers):
        raise CapbenchError(
            f"Expected markers (3D points), got {found.title}, which holds {formats.holds_of(value)}.",
            file=source,
        )
    return value


def read_plan(path: Path, mass: float | None, height: float | None) -> ScaleSetup:
    """The set-up, with what is known of the subject put into it."""
    from dataclasses import replace

    from capbench.biomech.scale_setup import read_setup

    setup = read_setup(path)
    for name, value, low, high, unit in (("mass", mass, 1, 500, "kg"), ("height", height, 0.3, 2.8, "m")):
        if value is not None and not low <= value <= high:
            raise CapbenchError(f"Expected a {name} from {low:g} to {high:g} {unit}, got {value:g}.")
    if mass is not None and height is not None and not LIGHTEST <= mass / height**2 <= HEAVIEST:
        raise CapbenchError(
            f"Expected a person, got {mass:g} kg at {height:g} m.", fix="give kilograms and metres"
        )
    return replace(
        setup,
        mass=setup.mass if mass is None else mass,
        height=setup.height if height is None else height,
    )


def read_generic(model: Path, markers: Path | None) -> Model:
    """The model to scale, with its marker set."""
    from capbench.biomech.opensim_scale import with_marker_set
    from capbench.biomech.osim import read_markers, read_model
    from cohorts.bounded import about

    generic = read_model(model)
    if markers is None:
        return generic
    new = read_markers(markers)
    with about(markers):
        return with_marker_set(generic, new)


# --- scaling ------------------------------------------------------------------------------------


def solve(model: Model, markers: Markers, setup: ScaleSetup, still: float | None) -> Scaled:
    """The scaled model, by our own engine."""
    from capbench.biomech.scale import scale

    return scale(model, markers, setup, still=still)


def solve_motion(model: Model, markers: Markers, setup: ScaleSetup) -> JointScaling:
    """The model scaled from a moving trial."""
    from capbench.biomech.scale_joint import scale_from_motion

    return scale_from_motion(model, markers, setup)


def still_part(markers: Markers, setup: ScaleSetup, still: float | None) -> tuple[Markers, ScaleSetup]:
    """Recording and set-up for a tool that knows no stillest part."""
    from dataclasses import replace

    from capbench.biomech.place import quietest_frames

    if still is None:
        return markers, setup
    return markers[quietest_frames(markers, still)], replace(setup, time_range=None, placing_time_range=None)


def with_opensim(reference: Any) -> dict[str, Any]:
    """What to tell of OpenSim's own scaling, and the document it wrote."""
    return {
        "engine": reference.engine,
        "mass_kg": (reference.placed or reference.scaled).mass,
        "opensim_factors": reference.factors,
        "document": reference.text,
        "tool_notes": [f"OpenSim: {note}" for note in reference.notes],
    }


# --- telling ------------------------------------------------------------------------------------


def summary(scaled: Scaled, setup: ScaleSetup) -> dict[str, Any]:
    """What to tell of a scaling, in JSON's terms."""
    return {
        "engine": "fast",
        "mass_kg": scaled.model.mass,
        "height_m": setup.height,
        "factors": [
            {
                "measurement": factor.measurement,
                "factor": factor.value,
                "standard_error": factor.standard_error,
                "pair_spread": factor.pair_spread,
                "pairs": [
                    {"markers": p.markers, "model_m": p.model, "subject_m": p.subject, "ratio": p.ratio}
                    for p in factor.pairs
                ],
                "left_out": factor.left_out,
                "bodies": factor.bodies,
            }
            for factor in scaled.factors
        ],
        "scales": scaled.scales,
        "placement": None if scaled.placed is None else placement(scaled.placed),
    }


def motion_summary(scaled: JointScaling, setup: ScaleSetup) -> dict[str, Any]:
    """What to tell of a scaling from a moving trial, in the same terms."""
    bodies = {m.name: [body for body, _ in m.bodies] for m in setup.measurements}
    return {
        "engine": "fast",
        "mass_kg": scaled.model.mass,
        "height_m": setup.height,
        "factors": [
            {
                "measurement": name,
                "factor": value,
                "standard_error": scaled.sigma[name],
                "pair_spread": float("nan"),
                "pairs": [],
                "left_out": [],
                "bodies": bodies.get(name, []),
            }
            for name, value in scaled.factors.items()
        ],
        "scales": scaled.scales,
        "placement": None,
        "motion": {
            "frames": len(scaled.motion),
            "rounds": scaled.rounds,
            "converged": scaled.converged,
            "rms_before_mm": 1000 * scaled.rms_before,
            "rms_mm": 1000 * scaled.rms,
            "noise_mm": 1000 * scaled.noise,
            "moved_mm": {name: 1000 * float((o @ o) ** 0.5) for name, o in scaled.offsets.items()},
        },
    }


def placement(placed: Placed) -> dict[str, Any]:
    """What to tell of the markers."""
    return {
        "markers": len(placed.errors),
        "weighted_rms_mm": 1000 * placed.rms,
        "errors_mm": {name: 1000 * error for name, error in placed.errors.items()},
        "moved_mm": {name: 1000 * moved for name, moved in placed.moved.items()},
    }


def text(told: dict[str, Any], output: Path, *, quiet: bool) -> str:
    """The summary for people: the factors, then the facts."""
    rows = [
        (
            factor["measurement"],
            f"{factor['factor']:.4f}",
            f"{factor['standard_error']:.1g}",
            "-" if factor["pair_spread"] != factor["pair_spread"] else f"{factor['pair_spread']:.1g}",
            ", ".join(factor["bodies"]),
        )
        for factor in told["factors"]
    ]
    lines = (
        [table(("measurement", "factor", "± frames", "± pairs", "scales"), rows, indent="  ")] if rows else []
    )
    pairs = [("engine", told["engine"]), ("mass", f"{told['mass_kg']:.1f} kg")]
    if told["placement"] is not None:
        pairs.append(("markers", marker_text(told["placement"], told["engine"])))
    if "motion" in told:
        pairs.append(("markers", motion_text(told["motion"])))
    pairs.append(("written", readable(output)))
    pairs += [] if quiet else [("note", note) for note in told["notes"]]
    return "\n".join([*lines, facts(pairs)])


def motion_text(motion: dict[str, Any]) -> str:
    """How far the markers are from the model's over the trial, before and after."""
    frames = count(motion["frames"], "frame")
    return (
        f"{motion['rms_mm']:.1f} mm from the model's (root mean square over {frames}), "
        f"{motion['rms_before_mm']:.1f} mm before"
    )


def marker_text(placement: dict[str, Any], engine: str) -> str:
    """How far the markers were from their places, the worst by name."""
    worst = sorted(placement["errors_mm"].items(), key=lambda item: -item[1])[:WORST]
    shown = ", ".join(f"{name} {error:.0f}" for name, error in worst)
    whose = "" if engine == "fast" else " (in our own static pose)"
    return (
        f"{count(placement['markers'], 'marker')}, {placement['weighted_rms_mm']:.1f} mm from the model's "
        f"(weighted root mean square) before they were moved{whose}; furthest: {shown}"
    )
