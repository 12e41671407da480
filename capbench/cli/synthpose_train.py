"""How ``capbench synthpose`` trains and evaluates: phases of a recipe, validation by joint angles."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capbench.cli.common import echo_json, facts
from capbench.cli.progress import Progress
from capbench.cli.synthpose_card import TEACHER, model_of, note_start, run_folder, training_card
from capbench.cli.synthpose_data import gathered, sources_of
from cohorts.errors import CapbenchError, unknown_name
from cohorts.store import sha256

if TYPE_CHECKING:
    from capbench.cli.evaluation import Choices
    from capbench.cli.synthpose_data import Gathered
    from capbench.models.nets.pose import PoseNet
    from cohorts.store import Imported
    from synthpose.distill import Distillation, Teacher
    from synthpose.train import Trained
    from synthpose.train_recipe import TrainRecipe


def recipe_titles() -> tuple[str, ...]:
    """The recipes that come with capbench, for completion."""
    from synthpose.train_recipe import recipe_names

    return recipe_names()


def chosen_phases(recipe: str, wanted: Sequence[str], **changes: Any) -> dict[str, TrainRecipe]:
    """Phase -> its whole recipe, those that are wanted (default: all), in the order of the file."""
    from synthpose.train_recipe import phases, read_recipe

    known = phases(recipe)
    for name in wanted:
        if name not in known:
            raise unknown_name("phase", name, known)
    return {name: read_recipe(recipe, name, **changes) for name in known if name in wanted or not wanted}


def chosen_phase(recipe: str, wanted: Sequence[str], **changes: Any) -> dict[str, TrainRecipe]:
    """The only phase that is wanted."""
    import click

    chosen = chosen_phases(recipe, wanted, **changes)
    if len(chosen) != 1:
        raise click.UsageError(f"Give one --phase of {', '.join(chosen)}.")
    return chosen


def changes_of(
    *,
    seed: int | None = None,
    samples: int | None = None,
    pictures: int | None = None,
    cohort: str | None = None,
    trials: int | None = None,
) -> dict[str, Any]:
    """What the command line changes in a recipe, and so in its hash."""
    made: dict[str, Any] = {}
    if seed is not None:
        made["seed"] = seed
    if samples is not None:
        made |= {"samples": samples, "epochs": None}
    if pictures is not None:
        made["pictures"] = pictures
    checks = {"cohort": cohort, "trials": trials}
    if checks := {key: value for key, value in checks.items() if value is not None}:
        made["checks"] = checks
    return made


def first_process() -> bool:
    """Whether this is the only process of a training, or the first of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


# --- validation by joint angles -----------------------------------------------------------------


def joint_angle_validation(
    recipe: TrainRecipe, cohort: Imported, folder: Path, *, trials: int, workers: int = 1
) -> Callable[[PoseNet, int], Mapping[str, float]]:
    """What :func:`synthpose.train.train` calls to choose the best weights: the benchmark, on few trials.

    The weights as they are go through :func:`capbench.run.evaluate.evaluate` with the pipeline's own scaling;
    the score is the error that ranks, in degrees. Only people of the cohort's development split are looked
    at: what chooses weights can't test them. ``folder`` holds the last result.
    """
    from capbench.run.evaluate import Means, Options, evaluate, prepare
    from capbench.run.sources import source_of
    from synthpose.export import write_torch

    def look(net: PoseNet, step: int) -> Mapping[str, float]:
        began = time.perf_counter()
        model = folder / f"step-{step:07d}"  # a path of its own: workers keep models open by their path
        shutil.rmtree(folder / "result", ignore_errors=True)
        try:
            write_torch(model, net, training_card(recipe))
            options = Options(split="development", limit=trials, causes=False)
            evaluation = prepare(
                lambda on: source_of(str(model), on), cohort, options, store=folder / "store"
            )
            found = evaluate(evaluation, folder / "result", means=Means(workers=workers))
        finally:
            shutil.rmtree(model, ignore_errors=True)
        if found.overall.value is None:
            raise CapbenchError(
                f"Expected a joint-angle error on {cohort.card.name}, got none.", place=f"step {step}"
            )
        return {
            "score": found.overall.value - 1e-9 * step,  # of two that both answer nothing the later one
            "joint_angles": found.overall.value,
            "coverage": found.overall.coverage or 0.0,
            "validation_seconds": round(time.perf_counter() - began, 1),
        }

    return look


def validation_of(
    recipe: TrainRecipe, out: Path, *, quiet: bool
) -> Callable[[PoseNet, int], Mapping[str, float]] | None:
    """The validation that the recipe asks for; None: only by held-out pictures."""
    from capbench.cli.evaluation import chosen_cohort

    name, trials = recipe.checks.cohort, recipe.checks.trials
    if name is None or not first_process():
        return None
    found = chosen_cohort(name, None, quiet=quiet)
    return joint_angle_validation(recipe, found, out / "validation", trials=trials)


# --- training -----------------------------------------------------------------------------------


#: of a recipe: weights to start from, and whose points they give where they don't say
Started = Callable[["TrainRecipe"], tuple[Path, str | None] | None]


def start_in(output: Path) -> Started:
    """A phase starts from the one that it names, in the same folder."""
    return lambda one: None if one.start is None else (run_folder(output / one.start), None)


@dataclass(frozen=True)
class Teaching:
    """A training that teaches, and how it does."""

    folder: Path
    teacher: Teacher
    how: Distillation

    def check(self, recipe: TrainRecipe) -> None:
        """Refuse a recipe that it can't teach."""
        from synthpose.distill import check

        check(recipe, self.teacher.recipe)

    def first(self, out: Path) -> Path:
        """Where the first stage lies of a distillation into ``out``."""
        from synthpose.distill import first_folder

        return first_folder(out, self.how)

    def note(self, first: Path, last: Path) -> None:
        """Keep beside both stages what their teachers had learnt from, for their cards."""
        from synthpose.train import MODEL

        note_start(first, self.folder, self.teacher.sha256, name=TEACHER)
        if last != first:
            note_start(last, self.folder, self.teacher.sha256, name=TEACHER)
            note_start(last, first, sha256(first / MODEL))


def teaching_by(folder: Path, settings: Path | None) -> Teaching:
    """The training in ``folder`` as a teacher; ``settings`` is a file of ``Distillation``, None DWPose's."""
    from capbench.models.adapters.torch_run import need_torch

    need_torch()
    from cohorts.strict import read_strict
    from synthpose.distill import Distillation, teacher_from

    how = Distillation() if settings is None else read_strict(settings, Distillation, what="distillation")
    return Teaching(folder, teacher_from(folder), how)


def train_phases(
    chosen: Mapping[str, TrainRecipe],
    output: Path,
    start: Started,
    *,
    teaching: Teaching | None = None,
    data: Path | None,
    sources: tuple[str, ...],
    seconds: float | None,
    device: str,
    workers: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train phases one after the other, each into its folder, and say what came of it.

    Parameters
    ----------
    start : of a recipe: the weights it starts from, and whose points they give if they don't say
    teaching : by whom, and how; None: nobody
    """
    from capbench.models.adapters.torch_run import need_torch

    need_torch()
    import click

    from synthpose.train import start_from

    rows = []
    for name, recipe in chosen.items():
        weights = start(recipe)  # refused before pictures are made
        begin = None if weights is None else start_from(*weights)
        if teaching is not None:
            teaching.check(recipe)
        found = gathered(recipe, data, sources_of(sources), workers=workers, quiet=quiet)
        folder = output / name
        first = folder if teaching is None else teaching.first(folder)
        if begin is not None and weights is not None and first_process():
            note_start(first, weights[0], begin.sha256)
        done = run_training(
            recipe,
            folder,
            found,
            quiet=quiet,
            teaching=teaching,
            start=begin,
            validate=validation_of(recipe, folder, quiet=quiet),
            device=device,
            seconds=seconds,
        )
        if teaching is not None and first_process():
            teaching.note(first, done.folder)
        rows.append(_trained_row(name, done))
        if not as_json and first_process():
            click.echo(f"{recipe.name}\n{trained_facts(done)}")
        if not done.done:
            break
    if as_json and first_process():
        echo_json(rows)


def _trained_row(name: str, done: Trained) -> dict[str, Any]:
    return {
        "phase": name, "folder": done.folder, "done": done.done, "step": done.step, "best": done.best,
        "best_step": done.best_step, "validation": done.validation,
        "samples_per_second": done.samples_per_second, "waiting": done.waiting,
    }  # fmt: skip


def run_training(
    recipe: TrainRecipe,
    out: Path,
    data: Gathered,
    *,
    quiet: bool,
    teaching: Teaching | None = None,
    **how: Any,
) -> Trained:
    """Train with a line of progress; ``how`` goes to :func:`synthpose.train.train`."""
    from synthpose.train import train

    learn: Callable[..., Trained] = train
    quiet = quiet or not first_process()
    own = len(data.source) - (recipe.checks.shots if data.held_out is None else 0)
    steps = recipe.steps(max(1, own))
    if teaching is not None:
        from synthpose.distill import distill, second_steps

        steps += second_steps(teaching.how, steps)
        learn = partial(distill, teacher=teaching.teacher, how=teaching.how)
    with Progress(total=steps, label=f"{recipe.name}: steps", quiet=quiet) as progress:

        def told(entry: Mapping[str, Any]) -> None:
            progress.advance(max(0, int(entry["step"]) - progress.done))
            if "validation" in entry and not quiet:
                _validated(entry)

        done = learn(
            recipe, out, data=data.source, data_hash=data.sha256, held_out=data.held_out, told=told, **how
        )
        progress.advance(max(0, done.step - progress.done))
        return done


def _validated(entry: Mapping[str, Any]) -> None:
    import click

    looked = entry["validation"]
    words = [f"{looked['px']:.2f} px"] if "px" in looked else []
    words += [f"{looked['joint_angles']:.2f}° joint angles"] if "joint_angles" in looked else []
    click.echo(f"\rstep {entry['step']:,}: {', '.join(words)}", err=True)


def trained_facts(done: Trained) -> str:
    """What a training came to, in words."""
    pairs = [
        ("in", str(done.folder)),
        ("steps", f"{done.step:,}" + ("" if done.done else ", not yet all: give the same command again")),
        (
            "speed",
            f"{done.samples_per_second:.0f} pictures/s, {done.waiting:.1%} of the time waiting for them",
        ),
    ]
    if done.best is not None:
        unit = "°" if "joint_angles" in done.validation else " px"
        pairs.append(("best", f"{done.best:.3g}{unit} at step {done.best_step:,}"))
    return facts(pairs)


# --- evaluation ---------------------------------------------------------------------------------


def evaluate_training(training: Path, cohort: Imported, out: Path, choices: Choices, *, device: str) -> bool:
    """Evaluate the best weights of a training as they are; whether anything has no answer."""
    import click

    from capbench.cli.evaluate import has_boxes
    from capbench.cli.evaluation import run_and_report
    from capbench.run.evaluate import prepare
    from capbench.run.plan import describe
    from capbench.run.sources import source_of

    model = model_of(training)
    boxes = "cohort" if has_boxes(cohort) else "track"
    evaluation = prepare(
        lambda on: source_of(str(model), on, boxes=boxes, device=device, seed=choices.options.seed),
        cohort,
        choices.options,
        store=choices.store,
    )
    if choices.only_plan:
        click.echo(describe(evaluation.plan(), workers=max(1, choices.means.workers)))
        return False
    return run_and_report(evaluation, out, choices)
