"""``capbench synthpose``: synthetic people, and networks that learn dense anatomical points from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from capbench.cli import synthpose_adapt as adapting
from capbench.cli import synthpose_card as cards
from capbench.cli import synthpose_data as data_of
from capbench.cli import synthpose_train as work
from capbench.cli.cohort import card_titles
from capbench.cli.common import (
    completes,
    count,
    echo_json,
    force_option,
    json_option,
    quiet_option,
    readable,
    table,
)
from capbench.cli.evaluation import Choices, chosen_cohort, common_options
from capbench.cli.progress import clock_time
from capbench.cli.synthpose_options import (
    PathOption,
    device_option,
    recipe_argument,
    recipe_options,
    training_options,
    workers_option,
)

if TYPE_CHECKING:
    from synthpose.export import Parity
    from synthpose.train_recipe import TrainRecipe


@click.group("synthpose")
def command() -> None:
    """Make synthetic people, and train networks on them.

    \b
    capbench synthpose plan mini-cpu                          # pictures, GB, hours
    capbench synthpose train mini-cpu -o runs/mini            # everything; goes on where it was interrupted
    capbench synthpose export runs/mini/dense -o models/mini
    capbench synthpose eval runs/mini/control runs/mini/dense --cohort clinic

    A RECIPE is a built-in name or a YAML file. Several GPUs: torchrun --nproc-per-node N -m capbench
    synthpose train … after capbench synthpose render.
    """


# --- plan and render ----------------------------------------------------------------------------


@command.command("plan")
@recipe_argument
@recipe_options
@device_option
@workers_option
@json_option
def plan_command(
    recipe: str,
    phases: tuple[str, ...],
    seed: int | None,
    samples: int | None,
    pictures: int | None,
    device: str,
    workers: int,
    as_json: bool,
) -> None:
    """Say what a recipe would make: pictures, GB, steps and hours on this machine.

    Some pictures are made and each network is trained for a few seconds to tell.
    """
    changes = work.changes_of(seed=seed, samples=samples, pictures=pictures)
    rows: list[dict[str, Any]] = []
    drawn: set[str] = set()
    for name, one in work.chosen_phases(recipe, phases, **changes).items():
        if one.data is not None and one.pictures and one.data.digest not in drawn:
            drawn.add(one.data.digest)
            rows.append(_pictures_row(one, workers))
        rate, seen = data_of.training_speed(one, device=device), data_of.samples_of(one)
        seconds = None if seen is None else round(seen / rate, 1)
        rows.append(_plan_row(f"train {name}", one.network.architecture, seen, None, rate, seconds))
    if as_json:
        echo_json({"recipe": recipe, "device": device, "workers": workers, "rows": rows})
        return
    click.echo(_plan_table(rows))
    total = sum(row["seconds"] or 0.0 for row in rows)
    machine = f"on {device} with {count(workers, 'process', 'processes')} for pictures"
    click.echo(f"In all {clock_time(total)} {machine}.")
    if any(row["seconds"] is None for row in rows):
        click.echo("Not counted: epochs of pictures of yours, whose number the recipe doesn't say.")


def _pictures_row(recipe: TrainRecipe, workers: int) -> dict[str, Any]:
    from synthpose.shards import plan

    assert recipe.data is not None
    told = plan(recipe.data, count=recipe.pictures, workers=workers)
    seconds = 3600 * told.hours
    size = told.gigabytes + data_of.unpacked_bytes(recipe) / 1e9
    return _plan_row("pictures", "", told.pictures, size, told.pictures / seconds, round(seconds, 1))


def _plan_row(
    what: str, network: str, number: int | None, size: float | None, rate: float, seconds: float | None
) -> dict[str, Any]:
    return {
        "what": what, "network": network, "count": number, "GB": size, "per second": round(rate, 1),
        "seconds": seconds,
    }  # fmt: skip


def _plan_table(rows: list[dict[str, Any]]) -> str:
    shown = [
        (
            row["what"], row["network"], "" if row["count"] is None else f"{row['count']:,}",
            "" if row["GB"] is None else f"{row['GB']:.2f}", f"{row['per second']:.0f}",
            "" if row["seconds"] is None else clock_time(row["seconds"]),
        )
        for row in rows
    ]  # fmt: skip
    return table(("what", "network", "pictures", "GB", "per second", "time"), shown)


@command.command("render")
@recipe_argument
@click.option("--phase", metavar="NAME", help="Whose pictures, where phases differ in them.")
@click.option(
    "--output",
    "-o",
    metavar="FOLDER",
    type=PathOption,
    help="Default: capbench's cache, where train looks.",
)
@click.option("--pictures", metavar="N", type=click.IntRange(min=1), help="Instead of the recipe's.")
@workers_option
@json_option
@quiet_option
def render(
    recipe: str,
    phase: str | None,
    output: Path | None,
    pictures: int | None,
    workers: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Make a recipe's training pictures, in shards.

    The same recipe gives the same bytes on any number of processes; shards that are there already stay.
    """
    chosen = work.chosen_phases(recipe, (phase,) if phase else (), **work.changes_of(pictures=pictures))
    if len({one.data.digest for one in chosen.values() if one.data is not None}) > 1:
        raise click.UsageError(f"Its phases differ in their data: give --phase, one of {', '.join(chosen)}.")
    one = next(iter(chosen.values()))
    made = data_of.pictures(one, output, workers=workers, quiet=quiet)
    size = sum(path.stat().st_size for path in made.folder.iterdir() if path.is_file())
    if as_json:
        echo_json({"folder": made.folder, "pictures": len(made), "bytes": size, "sha256": made.sha256})
    else:
        click.echo(f"{count(len(made), 'picture')}, {size / 1e6:.1f} MB in {readable(made.folder)}")


# --- train, finetune and distill -------------------------------------------------------------------------


@command.command("train")
@recipe_argument
@recipe_options
@training_options
def train_command(
    recipe: str,
    phases: tuple[str, ...],
    seed: int | None,
    samples: int | None,
    pictures: int | None,
    cohort: str | None,
    trials: int | None,
    output: Path,
    as_json: bool,
    quiet: bool,
    **how: Any,
) -> None:
    """Train by a recipe, one phase after the other, each from the weights that it says.

    A phase that is done is left as it is; one that was interrupted goes on, to the same weights. A phase of
    the same output folder serves as the start of another.
    """
    changes = work.changes_of(seed=seed, samples=samples, pictures=pictures, cohort=cohort, trials=trials)
    chosen = work.chosen_phases(recipe, phases, **changes)

    work.train_phases(chosen, output, work.start_in(output), as_json=as_json, quiet=quiet, **how)


@command.command("finetune")
@recipe_argument
@click.option(
    "--start",
    metavar="WEIGHTS",
    type=PathOption,
    required=True,
    help="A training's folder, or a checkpoint of MMPose, ViTPose or ours (.pth, .safetensors).",
)
@click.option("--points", metavar="SKELETON", help="Whose points a checkpoint's head gives, such as coco-17.")
@recipe_options
@training_options
def finetune(
    recipe: str,
    start: Path,
    points: str | None,
    phases: tuple[str, ...],
    seed: int | None,
    samples: int | None,
    pictures: int | None,
    cohort: str | None,
    trials: int | None,
    output: Path,
    as_json: bool,
    quiet: bool,
    **how: Any,
) -> None:
    """Train one phase of a recipe from given weights; the head grows to the points it wants.

    Points that both know keep their weights, new ones start from their nearest kin.
    """
    changes = work.changes_of(seed=seed, samples=samples, pictures=pictures, cohort=cohort, trials=trials)
    chosen = work.chosen_phase(recipe, phases, **changes)
    work.train_phases(chosen, output, lambda _: (start, points), as_json=as_json, quiet=quiet, **how)


@command.command("distill")
@recipe_argument
@click.option(
    "--teacher",
    metavar="TRAINING",
    type=PathOption,
    required=True,
    help="Folder of the training that teaches: crops of the same aspect, the same kind of maps, and points "
    "in common.",
)
@click.option(
    "--settings",
    metavar="FILE",
    type=PathOption,
    help="YAML with features, maps, truth, unlabelled, second and head, where they are not DWPose's.",
)
@click.option("--start", metavar="WEIGHTS", type=PathOption, help="As of finetune, instead of the recipe's.")
@click.option("--points", metavar="SKELETON", help="Whose points a checkpoint's head gives, such as coco-17.")
@recipe_options
@training_options
def distill_command(
    recipe: str,
    teacher: Path,
    settings: Path | None,
    start: Path | None,
    points: str | None,
    phases: tuple[str, ...],
    seed: int | None,
    samples: int | None,
    pictures: int | None,
    cohort: str | None,
    trials: int | None,
    output: Path,
    as_json: bool,
    quiet: bool,
    **how: Any,
) -> None:
    """Train one phase of a recipe with a teacher, then its head by itself.

    In the first stage the teacher's features and maps are learnt beside the truth, less and less; in the
    second, a fifth as long, a new head learns the first's maps on the first's backbone. The better one stays.
    """
    changes = work.changes_of(seed=seed, samples=samples, pictures=pictures, cohort=cohort, trials=trials)
    chosen = work.chosen_phase(recipe, phases, **changes)
    begin = work.start_in(output) if start is None else lambda _: (start, points)
    teaching = work.teaching_by(cards.run_folder(teacher), settings)
    work.train_phases(chosen, output, begin, teaching=teaching, as_json=as_json, quiet=quiet, **how)


command.add_command(adapting.command)


# --- export and eval ----------------------------------------------------------------------------


@command.command("export")
@click.argument("training", type=PathOption)
@click.option("--output", "-o", metavar="FOLDER", type=PathOption, required=True, help="One folder a format.")
@click.option(
    "--format",
    "formats",
    type=click.Choice(["safetensors", "onnx", "hf"]),
    multiple=True,
    default=("safetensors", "onnx"),
    show_default=True,
    help="May come again; hf is Hugging Face's VitPose, for ViTs.",
)
@click.option("--half", is_flag=True, help="Store ONNX weights in 16 bits; they are computed with in 32.")
@click.option("--int8", is_flag=True, help="Weights and activations of eight bits too, and what it costs.")
@click.option("--name", metavar="NAME", help="The model's name. Default: the recipe's and phase's.")
@click.option("--version", metavar="TEXT", default="1", show_default=True, help="The model's version.")
@click.option("--flip-test", is_flag=True, help="Average with the mirrored picture's answer: twice the time.")
@force_option
@json_option
@quiet_option
def export_command(
    training: Path,
    output: Path,
    formats: tuple[str, ...],
    half: bool,
    int8: bool,
    name: str | None,
    version: str,
    flip_test: bool,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write a trained network as models that anybody can run, each held against the network.

    TRAINING is the folder of one phase. Each format becomes a folder with its model card, which capbench
    evaluate takes; the model's name is fixed there, as are what it learnt from and what it is not for.
    """
    from synthpose.export import export
    from synthpose.train import load_trained

    folder = cards.run_folder(training)
    recipe, net = load_trained(folder)
    card = cards.trained_card(folder, recipe).model_copy(
        update={"name": name or recipe.name, "version": version, "flip_test": flip_test}
    )
    found = export(
        net,
        card,
        output,
        crops=cards.export_crops(recipe),
        formats=formats,
        half=half,
        int8=int8,
        overwrite=force,
    )
    if as_json:
        echo_json(found)
    else:
        click.echo(_parity_table(found))
        if not quiet:
            click.echo(f"Next: capbench evaluate {readable(found[-1].folder)}")


def _parity_table(found: tuple[Parity, ...]) -> str:
    rows = [
        (
            one.format, str(one.folder), f"{one.size / 1e6:.2f}", f"{one.maps:.1e}", f"{one.typical:.1e}",
            f"{one.pixels:.1e}",
        )
        for one in found
    ]  # fmt: skip
    return table(("format", "folder", "MB", "maps apart", "points apart, px", "farthest"), rows)


@command.command("eval")
@click.argument("trainings", metavar="TRAINING...", nargs=-1, required=True, type=PathOption)
@click.option(
    "--cohort",
    metavar="COHORT",
    default="clinic-mini",
    show_default=True,
    shell_complete=completes(card_titles),
    help="A cohort's folder or a built-in name.",
)
@device_option
@common_options
@force_option
@json_option
@quiet_option
def eval_command(trainings: tuple[Path, ...], cohort: str, device: str, **given: Any) -> None:
    """Evaluate trained networks on a cohort by joint angles, with the pipeline's own scaling.

    The same as capbench evaluate on what capbench synthpose export writes. A run lies in TRAINING/eval-COHORT
    unless --out says otherwise; with several, the command that compares them is printed.
    """
    choices = Choices.of(given)
    if choices.out is not None and len(trainings) > 1:
        raise click.UsageError("--out is for one TRAINING; several are told apart by their own folders.")
    folders = [cards.run_folder(path) for path in trainings]
    found = chosen_cohort(cohort, None, quiet=choices.quiet)
    outs = [choices.out or folder / f"eval-{found.card.name}" for folder in folders]
    failed = [
        work.evaluate_training(folder, found, out, choices, device=device)
        for folder, out in zip(folders, outs, strict=True)
    ]
    if len(outs) > 1 and not choices.quiet and not choices.as_json:
        click.echo(f"Next: capbench compare {' '.join(readable(out) for out in outs)}")
    if any(failed):
        raise click.exceptions.Exit(1)
