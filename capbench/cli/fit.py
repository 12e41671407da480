"""``capbench fit``: from marker tracks to joint angles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from capbench.cli.common import (
    completes,
    count,
    echo_json,
    facts,
    force_option,
    json_option,
    preset_titles,
    quiet_option,
    readable,
)
from cohorts.bounded import check_new, shorten
from cohorts.errors import CapbenchError

if TYPE_CHECKING:
    from capbench.biomech.fit import Engine
    from capbench.biomech.matching import Fit
    from cohorts import Markers, Motion
    from cohorts.formats import Holds

DEMO = Path(__file__).parent.parent / "demo"
DEMO_OUTPUT = "walker_fit.mot"
CACHE = Path(__file__).parent.parent / "biomech" / "__pycache__"  # where numba keeps what it compiled


@click.command("fit")
@click.argument("markers", metavar="[MARKERS]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--model", "-m", metavar="FILE|NAME", help="OpenSim model (.osim), or capbench:fullbody and its like."
)
@click.option(
    "--tasks",
    metavar="FILE|PRESET",
    help="Marker weights: an OpenSim set-up (.xml), or a preset (capbench list presets). "
    "Default: all markers weigh the same.",
    shell_complete=completes(preset_titles),
)
@click.option(
    "--output",
    "-o",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Where to write the joint angles (.mot, .csv, .parquet …); with --demo, a folder.",
)
@click.option(
    "--engine",
    type=click.Choice(["fast", "opensim", "published"]),
    default="fast",
    show_default=True,
    help="fast: capbench's own, solved to the end. opensim: OpenSim's tool, in a process of its own. "
    "published: that tool at the accuracy of 1e-5 that published results were made with.",
)
@click.option(
    "--accuracy",
    type=float,
    metavar="NUMBER",
    help="OpenSim's accuracy. Default 1e-7; the customary 1e-5 stops up to degrees early, "
    "1e-9 takes about half as long again.",
)
@click.option(
    "--passes",
    type=click.IntRange(1, 3),
    default=3,
    show_default=True,
    help="Chains of starts of the fast engine: forward, backward, each frame anew; the best is kept.",
)
@click.option(
    "--prior",
    type=float,
    metavar="HZ",
    help="Weigh misfit against acceleration: halves wobbles of this frequency, removes faster ones. "
    "Off by default; 8 suits walking from noisy keypoints.",
)
@click.option(
    "--certificate",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Where to write each frame's proof (.csv, .sto): cost, gradient, markers, standard deviations.",
)
@click.option("--units", metavar="UNIT", help="Units of the markers (m, cm, mm), where their file is wrong.")
@click.option(
    "--anyway", is_flag=True, help="Fit a recording that looks mirrored, upside down or in other units."
)
@click.option("--demo", is_flag=True, help="Fit a bundled motion and compare with its true angles.")
@force_option
@quiet_option
@json_option
def command(
    markers: Path | None,
    model: str | None,
    tasks: str | None,
    output: Path | None,
    engine: Engine,
    accuracy: float | None,
    passes: int,
    prior: float | None,
    certificate: Path | None,
    units: str | None,
    anyway: bool,
    demo: bool,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Fit a musculoskeletal model to marker tracks (inverse kinematics).

    MARKERS is a file of named 3D points (.trc, .c3d, .csv, .npz …). Every frame is
    solved to the nearest pose within the model's bounds, and says how sure it is.

    \b
    capbench fit walk.trc --model subject.osim --output walk.mot
    capbench fit --demo
    """
    if accuracy is not None and engine != "opensim":
        raise click.UsageError("--accuracy is OpenSim's: it goes with --engine opensim.")
    if certificate is not None and engine != "fast":
        raise click.UsageError("--certificate is the fast engine's: OpenSim gives none.")
    if prior is not None and engine != "fast":
        raise click.UsageError("--prior is the fast engine's.")
    how = How(engine, accuracy, passes, prior, certificate, anyway, force, quiet or as_json)
    if demo:
        if markers or model or tasks or units:
            raise click.UsageError("--demo brings its own markers and model.")
        told = fit_demo(output, how)
    else:
        if markers is None or model is None or output is None:
            raise click.UsageError("Expected MARKERS, --model and --output (or --demo for a bundled motion).")
        told = fit_file(markers, model, tasks, output, units, how)
    if as_json:
        echo_json({key: value for key, value in told.items() if key != "text"})
    else:
        click.echo(told["text"])


@dataclass(frozen=True)
class How:
    """The choices that are the same for every fit."""

    engine: Engine
    accuracy: float | None
    passes: int
    prior: float | None
    certificate: Path | None
    anyway: bool
    force: bool
    quiet: bool


def fit_file(
    source: Path, model: str, tasks: str | None, output: Path, units: str | None, how: How
) -> dict[str, Any]:
    """Fit a file of markers, write the motion, and say how it went."""
    from cohorts import formats

    check_output(output, "motion", force=how.force)
    notes: list[str] = []
    found, markers = formats.read(source, notes=notes, **({} if units is None else {"units": units}))
    if formats.holds_of(markers) != "markers":
        raise CapbenchError(
            f"Expected markers (3D points), got {found.title}, which holds {formats.holds_of(markers)}.",
            file=source,
        )
    fit = solve(markers, model, tasks, how)
    formats.write(output, fit.motion, overwrite=how.force)
    told = summary(fit, notes)
    told["output"] = str(output)
    told["text"] = text(told, [("written", readable(output))])
    return told


def fit_demo(folder: Path | None, how: How) -> dict[str, Any]:
    """Fit the bundled motion; says how far the angles are from those that its markers were made from."""
    from cohorts.formats import storage, trc

    output = None if folder is None else folder / DEMO_OUTPUT
    if folder is not None and output is not None:
        make_folder(folder)
        check_output(output, "motion", force=how.force)
    markers, truth = trc.read(DEMO / "walker.trc"), cast("Motion", storage.read(DEMO / "walker.mot"))
    fit = solve(markers, str(DEMO / "walker.osim"), None, how)
    told = {**summary(fit, []), "difference": difference(fit.motion, truth)}
    gap = told["difference"]
    lines = [
        (
            "true angles",
            f"largest difference {gap['rotation_deg']:.2g}° ({gap['rotation_name']}), "
            f"{gap['translation_mm']:.2g} mm ({gap['translation_name']})",
        )
    ]
    if output is not None:
        storage.write(output, fit.motion, overwrite=how.force)
        told["output"] = str(output)
        lines.append(("written", readable(output)))
    told["text"] = text(told, lines)
    return told


def solve(markers: Markers, model: str, tasks: str | None, how: How) -> Fit:
    """The fit, after a word of what is under way; writes the certificate where asked."""
    from capbench.biomech.fit import fit
    from capbench.biomech.model_file import model_file

    if how.certificate is not None:
        check_output(how.certificate, "signals", force=how.force)
    if not how.quiet:
        name = "the fast engine" if how.engine == "fast" else "OpenSim"
        click.echo(f"Fitting {count(len(markers), 'frame')} with {name} …", err=True)
        if how.engine == "fast" and not any(CACHE.glob("kernel_numba.newton*.nbi")):
            click.echo("The solver is compiled first (about 15 s, only this time).", err=True)
    with model_file(model) as path:
        found = fit(
            markers,
            path,
            tasks=tasks,
            engine=how.engine,
            accuracy=how.accuracy,
            passes=how.passes,
            prior=how.prior,
            anyway=how.anyway,
        )
    if how.certificate is not None and found.certificate is not None:
        from cohorts import formats

        formats.write(how.certificate, found.certificate.table(found.motion.time), overwrite=how.force)
    return found


def summary(fit: Fit, notes: list[str]) -> dict[str, Any]:
    """What to tell of a fit, in JSON's terms."""
    return {
        "engine": fit.engine,
        "frames": len(fit.motion),
        "fitted_frames": fit.fitted_frames,
        "markers": len(fit.markers),
        "coordinates": len(fit.motion.names),
        "seconds": fit.seconds,
        "frames_per_second": fit.fitted_frames / fit.seconds if fit.seconds > 0 else None,
        "marker_rms_mm": 1000 * fit.rms,
        "marker_worst_mm": 1000 * float(max(w for w in fit.marker_worst.tolist() if w == w)),
        **proof(fit),
        "notes": [*notes, *fit.notes],
    }


def proof(fit: Fit) -> dict[str, Any]:
    """What the certificate says of the whole trial; nothing where the engine gives none."""
    import numpy as np

    if fit.certificate is None:
        return {}
    c = fit.certificate
    held = [
        name for name, seen in zip(c.coordinates, np.asarray(c.observed.any(axis=0)), strict=True) if not seen
    ]
    return {
        "converged_frames": int(c.converged.sum()),
        "largest_gradient": float(np.nanmax(c.gradient, initial=0)),
        "held_coordinates": held,
    }


def text(told: dict[str, Any], more: list[tuple[str, str]]) -> str:
    """The summary in lines for people."""
    frames = count(told["fitted_frames"], "frame")
    rate = told["frames_per_second"]
    speed = f" ({rate:.0f} frames/s)" if rate else ""
    pairs = [
        (
            "fitted",
            f"{frames}, {count(told['markers'], 'marker')}, {count(told['coordinates'], 'coordinate')}",
        ),
        ("engine", f"{told['engine']}, {told['seconds']:.2g} s{speed}"),
        (
            "markers",
            f"{told['marker_rms_mm']:.2g} mm from the model's (root mean square), "
            f"at most {told['marker_worst_mm']:.2g} mm",
        ),
        *([("proof", proven(told))] if "converged_frames" in told else []),
        *more,
        *(("note", note) for note in told["notes"]),
    ]
    return facts(pairs)


def proven(told: dict[str, Any]) -> str:
    """The certificate in a line."""
    line = f"{told['converged_frames']} of {told['fitted_frames']} frames solved to the end"
    line += f" (gradient at most {told['largest_gradient']:.1g} m² per radian)"
    if told["held_coordinates"]:
        line += f"; held, as no marker shows them: {shorten(told['held_coordinates'])}"
    return line


def difference(motion: Motion, truth: Motion) -> dict[str, Any]:
    """The largest difference of a rotation (degrees) and of a translation (mm), and whose it is."""
    import numpy as np

    worst = np.abs(motion.select(truth.names).values - truth.values).max(axis=0)
    found: dict[str, Any] = {}
    for kind, unit, scale in (("rotation", "deg", 180 / np.pi), ("translation", "mm", 1000.0)):
        columns = [i for i, k in enumerate(truth.kinds) if k == kind]
        most = max(columns, key=lambda i: float(worst[i]))
        found[f"{kind}_{unit}"] = float(worst[most]) * scale
        found[f"{kind}_name"] = truth.names[most]
    return found


def check_output(output: Path, holds: Holds, *, force: bool) -> None:
    """Refuse an output that could not be written, before the work instead of after it."""
    from cohorts.formats import writable

    writable(output, holds)
    check_new(output, overwrite=force)


def make_folder(folder: Path) -> None:
    """Make ``folder`` and those above it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise CapbenchError("Expected a folder, got a file.", file=folder) from None
