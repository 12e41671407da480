"""``capbench cohort``: people whose true angles are known: list, describe, check, import, stats, export."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from capbench.cli.cohort_text import account, show_card, show_findings, show_stats, show_stored
from capbench.cli.common import (
    completes,
    echo_json,
    force_option,
    json_option,
    preset_titles,
    quiet_option,
    readable,
    table,
)
from cohorts.errors import CapbenchError, unknown_name

if TYPE_CHECKING:
    from cohorts.card import Card
    from cohorts.check import Finding
    from cohorts.store import Imported

PathOption = click.Path(path_type=Path)
output_option = click.option(
    "--output", "-o", metavar="FOLDER", required=True, type=PathOption, help="The folder to make."
)
hash_option = click.option(
    "--hash",
    "hashes",
    type=click.Choice(["none", "reference", "all"]),
    default="reference",
    show_default=True,
    help="Of which files SHA-256 are kept: reference is all but the videos.",
)


def card_titles() -> dict[str, str]:
    """The built-in cohorts, for completion."""
    from cohorts.card import builtin_card, card_names

    return {name: builtin_card(name).title for name in card_names()}


def source_titles() -> dict[str, str]:
    """The importers, for completion."""
    from cohorts.sources import sources

    return {name: str(module.TITLE) for name, module in sources().items()}


def find(cohort: str) -> tuple[Card, Imported | None]:
    """The card of a built-in name, of a card's file or of a cohort's folder, and the cohort if it is at hand.

    A built-in synthetic cohort is, once it was made.
    """
    from cohorts.card import FILE_NAME, builtin_card, card_names, read_card
    from cohorts.store import is_cohort, open_cohort

    path = Path(cohort)
    if cohort in card_names() and not path.exists():
        card = builtin_card(cohort)
        seeded = card.recipe is not None and card.recipe.get("seed") is not None
        return card, open_cohort(cached_cohort(card)) if seeded and is_cohort(cached_cohort(card)) else None
    if path.is_file() and path.name != FILE_NAME:
        return read_card(path), None
    if not path.exists():
        error = unknown_name("cohort", cohort, card_names())
        error.fix = "the folder of a cohort, the file of a card, or one of " + ", ".join(card_names()) + "."
        raise error
    found = open_cohort(path)
    return found.card, found


def need(cohort: str) -> Imported:
    """The cohort whose files are at hand; a card alone is refused."""
    card, found = find(cohort)
    if found is None:
        made = f"capbench cohort make {card.name}" if card.recipe is not None else card.licence.obtain
        raise CapbenchError(
            f"Expected a cohort whose files are at hand, got the card of {card.name} alone.", fix=made
        )
    return found


@click.group("cohort")
def command() -> None:
    """List, import, check and export cohorts.

    A COHORT is the folder that an import made, or the name of a built-in card.
    """


# --- list and describe --------------------------------------------------------------------------


@command.command("list")
@click.argument("folders", metavar="[FOLDER]...", nargs=-1, type=PathOption)
@click.option(
    "--sources", "show_sources", is_flag=True, help="List the layouts that can be imported instead."
)
@json_option
def list_command(folders: tuple[Path, ...], show_sources: bool, as_json: bool) -> None:
    """List the built-in cohorts and those in folders, or what can be imported."""
    rows = _source_rows() if show_sources else _card_rows(folders)
    if as_json:
        echo_json(rows)
    else:
        click.echo(table(list(rows[0]), [list(row.values()) for row in rows]))


def _source_rows() -> list[dict[str, Any]]:
    from cohorts.sources import options_of, sources

    return [
        {"name": name, "options": " ".join(options_of(module)), "what": module.TITLE}
        for name, module in sources().items()
    ]


def _card_rows(folders: tuple[Path, ...]) -> list[dict[str, Any]]:
    from cohorts.card import FILE_NAME, builtin_card, card_names, read_card
    from cohorts.store import is_cohort

    found = [("built in", builtin_card(name)) for name in card_names()]
    for folder in folders:
        if not folder.is_dir():
            raise CapbenchError("Expected a folder, got none.", file=folder)
        places = [folder, *sorted(entry for entry in folder.iterdir() if entry.is_dir())]
        found += [(str(place), read_card(place / FILE_NAME)) for place in places if is_cohort(place)]
    return [
        {
            "name": card.name,
            "version": card.version,
            "kind": card.kind,
            "subjects": card.subjects.count,
            "where": where,
            "what": card.title,
        }
        for where, card in found
    ]


@command.command("describe")
@click.argument("cohort", required=False, shell_complete=completes(card_titles))
@click.option("--schema", is_flag=True, help="Print the JSON Schema of cohort cards instead.")
@json_option
def describe(cohort: str | None, schema: bool, as_json: bool) -> None:
    """Say what a cohort's card says."""
    from cohorts.card import schema as card_schema

    if schema:
        echo_json(card_schema())
        return
    if cohort is None:
        raise click.UsageError("Missing argument 'COHORT'.")
    card, found = find(cohort)
    if as_json:
        echo_json(card.model_dump(mode="json"))
    else:
        click.echo(show_card(card, None if found is None else found.root))


# --- make ---------------------------------------------------------------------------------------


@command.command("make")
@click.argument("cohort", shell_complete=completes(card_titles))
@click.option(
    "--output",
    "-o",
    metavar="FOLDER",
    type=PathOption,
    help="The folder to make. Default: capbench's cache, where commands look for built-in cohorts.",
)
@click.option("--seed", metavar="NUMBER", type=click.IntRange(min=0), help="Instead of the recipe's own.")
@click.option(
    "--workers",
    metavar="N",
    type=click.IntRange(min=1),
    default=lambda: os.cpu_count() or 1,
    show_default="one a processor",
    help="Processes; their number changes nothing but the time.",
)
@force_option
@json_option
@quiet_option
def make(
    cohort: str,
    output: Path | None,
    seed: int | None,
    workers: int,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Make the synthetic cohort of a card: COHORT is a built-in name or the file of a card.

    \b
    capbench cohort make clinic-mini
    capbench cohort make clinic-hidden --seed 8191 -o hidden

    Every joint angle of these people is true by construction. The same card and seed give the same frames,
    angles and markers on any number of processes.
    """
    from capbench.cli.progress import Progress
    from cohorts.store import is_cohort, open_cohort
    from synthpose.clinic import make as make_cohort
    from synthpose.recipe import plan, recipe_of

    card, _ = find(cohort)
    people = plan(recipe_of(card, seed=seed))
    folder = cached_cohort(card, seed) if output is None else output
    if output is None and is_cohort(folder) and not force:
        stored = open_cohort(folder)
    else:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with Progress(total=len(people), label="people", quiet=quiet) as progress:
            stored = make_cohort(
                card,
                folder,
                seed=seed,
                workers=min(workers, len(people)),
                overwrite=force,
                told=lambda _: progress.advance(),
            )
    if as_json:
        echo_json(account(stored))
    else:
        click.echo(show_stored(stored, folder, notes=not quiet))


def cached_cohort(card: Card, seed: int | None = None) -> Path:
    """Where a cohort that is made on first use lies: by its name, version, seed and what makes it."""
    from capbench.run.reference import cache_folder
    from synthpose.clinic import maker_version

    seeded = "" if seed is None else f"-{seed}"
    return cache_folder() / "cohorts" / f"{card.name}-{card.version}{seeded}-{maker_version(card)}"


# --- import -------------------------------------------------------------------------------------


@command.command("import")
@click.argument("folder", type=PathOption)
@output_option
@click.option(
    "--as",
    "source",
    metavar="SOURCE",
    shell_complete=completes(source_titles),
    help="The layout (capbench cohort list --sources). Default: whichever is recognised.",
)
@click.option(
    "--layout",
    metavar="FILE",
    type=PathOption,
    help="The YAML that describes the folder, where it holds no capbench.yaml.",
)
@click.option(
    "--with", "given", metavar="KEY=VALUE", multiple=True, help="An option of the source; may come again."
)
@click.option("--copy", is_flag=True, help="Copy the files too. Default: refer to them where they are.")
@hash_option
@force_option
@json_option
@quiet_option
def import_command(
    folder: Path,
    output: Path,
    source: str | None,
    layout: Path | None,
    given: tuple[str, ...],
    copy: bool,
    hashes: Any,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Turn a folder of recordings into a cohort that refers to it.

    \b
    capbench cohort import LabValidation_withVideos -o cohorts/labvalidation
    capbench cohort import our_lab --layout our_lab.yaml -o cohorts/our_lab
    capbench cohort import pose2sim_project --with activity=walking --with mass=71 -o cohorts/p2s

    A layout file names the cohort, its subjects and, in patterns, where files are:

    \b
    name: our-lab
    subjects:
      s01: {mass: 70.2, height: 1.75, sex: female, age_band: 20-29}
    layout:
      videos: "{subject}/{session}/{camera}/{trial}.mp4"
      calibrations: "{subject}/{session}/calibration.toml"
      markers: "{subject}/mocap/{trial}.trc"
      motion: "{subject}/ik/{trial}.mot"
      extras: {model: "{subject}/model.osim"}

    Annotated pictures (BEDLAM, 3DPW, RICH, AGORA, COCO) come as COCO JSON with annotations, or as npz with
    imgname (N) and gtkps (N, K, 2 or 3).
    """
    from cohorts.sources import read_folder
    from cohorts.store import save

    options = dict(_pair(word) for word in given)
    if layout is not None:
        options["layout"] = str(layout)
        source = source or "folder"
    found = read_folder(folder, source=source, **options)
    stored = save(found, output, copy=copy, hashes=hashes, overwrite=force)
    if as_json:
        echo_json(account(stored))
        return
    click.echo(show_stored(stored, output, notes=not quiet))
    if not quiet:
        click.echo(f"  Next: capbench cohort check {readable(output)}")


def _pair(word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not equals or not key:
        raise click.BadParameter(f"expected KEY=VALUE, got {word!r}", param_hint="--with")
    return key, value


# --- check --------------------------------------------------------------------------------------


@command.command("check")
@click.argument("cohort", shell_complete=completes(card_titles))
@click.option("--quick", is_flag=True, help="Don't decode videos and don't compare hashes.")
@click.option("--strict", is_flag=True, help="Warnings count as errors for the exit code.")
@click.option("--all", "every", is_flag=True, help="Tell every finding, not the first few of each kind.")
@click.option(
    "--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Trials looked at side by side."
)
@json_option
@quiet_option
@click.pass_context
def check_command(
    ctx: click.Context,
    cohort: str,
    quick: bool,
    strict: bool,
    every: bool,
    jobs: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Find what is wrong with a cohort before anybody evaluates on it.

    Missing cameras, frames that headers claim and nobody can decode, offsets between cameras, broken
    calibrations, references that don't overlap the video, wrong units, swapped sides, missing samples,
    duplicate or changed files. The exit code is 1 if there are errors.
    """
    from capbench.cli.progress import Progress
    from cohorts.check import check, worst

    found = need(cohort)
    with Progress(len(found.cohort.trials), "trials", quiet=quiet or as_json) as progress:
        findings = check(
            found, decode=not quick, hashes=not quick, jobs=jobs, progress=lambda _: progress.advance()
        )
    findings += _protocol_finding(found)
    if as_json:
        echo_json({"cohort": found.card.name, "version": found.card.version, "findings": findings})
    else:
        click.echo(show_findings(found, findings, notes=not quiet, every=every))
    bad = ("error", "warning") if strict else ("error",)
    ctx.exit(1 if worst(findings) in bad else 0)


def _protocol_finding(found: Imported) -> list[Finding]:
    """Whether the card's protocol exists; only the roof knows both rooms."""
    from cohorts.card import FILE_NAME
    from cohorts.checks.findings import Finding
    from metrics.protocols import PROTOCOLS

    card = found.card
    if card.protocol in PROTOCOLS or card.reference.kind == "keypoints":
        return []
    error = unknown_name("protocol", card.protocol, PROTOCOLS)
    file = None if found.folder is None else str(found.folder / FILE_NAME)
    return [Finding("warning", "card", error.problem, "protocol", file, fix=error.fix)]


# --- reference ----------------------------------------------------------------------------------


@command.command("reference")
@click.argument("cohort", shell_complete=completes(card_titles))
@click.option(
    "--weights",
    metavar="PRESET|FILE",
    default="opencap-mocap",
    show_default=True,
    shell_complete=completes(preset_titles),
    help="Marker weights: a preset, an OpenSim set-up (.xml), or 'equal'.",
)
@click.option(
    "--cache",
    metavar="FOLDER",
    type=PathOption,
    help="Where solved trials are kept. Default: capbench's cache.",
)
@click.option("--activity", metavar="NAME", default="", help="Only this one. Default: the mean over all.")
@click.option(
    "--store", is_flag=True, help="Write the noise floor (of all activities) into the cohort's card."
)
@click.option("--force", is_flag=True, help="Replace a noise floor that the card has.")
@json_option
@quiet_option
@click.pass_context
def reference_command(ctx: click.Context, /, cohort: str, as_json: bool, quiet: bool, **how: Any) -> None:
    """Solve the reference again, to the end, and say how well it is known.

    Per coordinate: how far the published joint angles, the same markers solved again, and any other
    pipeline's angles lie apart. A difference between two models that is smaller than that means nothing.
    The exit code is 1 if a trial failed.
    """
    from capbench.cli.cohort_reference import as_plain, show, solve

    told = solve(need(cohort), quiet=quiet or as_json, **how)
    if as_json:
        echo_json(as_plain(told))
    else:
        click.echo(show(told, notes=not quiet))
    ctx.exit(1 if told.floor.failures else 0)


# --- stats --------------------------------------------------------------------------------------


@command.command("stats")
@click.argument("cohort", shell_complete=completes(card_titles))
@click.option("--decode", is_flag=True, help="Count frames by decoding. Default: as the headers claim.")
@json_option
def stats_command(cohort: str, decode: bool, as_json: bool) -> None:
    """Count a cohort's people, trials, minutes, frames and cameras."""
    from cohorts.stats import stats

    found = stats(need(cohort), decode=decode)
    if as_json:
        echo_json(found)
    else:
        click.echo(show_stats(found))


# --- export -------------------------------------------------------------------------------------


@command.command("export")
@click.argument("cohort", shell_complete=completes(card_titles))
@output_option
@click.option("--subject", "subjects", multiple=True, metavar="NAME", help="Only this one; may come again.")
@click.option("--activity", "activities", multiple=True, metavar="NAME", help="Only this; may come again.")
@click.option(
    "--manifest",
    is_flag=True,
    help="Card, paths and hashes only, to be laid over another copy of the files. Default: copy the files.",
)
@hash_option
@force_option
@json_option
@quiet_option
def export(
    cohort: str,
    output: Path,
    subjects: tuple[str, ...],
    activities: tuple[str, ...],
    manifest: bool,
    hashes: Any,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write a cohort, or a part of it, as a folder that stands alone."""
    from cohorts.selection import selected
    from cohorts.store import save

    found = selected(need(cohort), subjects=subjects or None, activities=activities or None)
    stored = save(found, output, copy=not manifest, manifest=manifest, hashes=hashes, overwrite=force)
    if as_json:
        echo_json(account(stored))
    else:
        click.echo(show_stored(stored, output, notes=not quiet))
