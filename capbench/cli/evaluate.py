"""``capbench evaluate``: a model on a cohort, scored by joint angles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from capbench.cli.cohort import card_titles
from capbench.cli.common import completes, force_option, json_option, quiet_option
from capbench.cli.evaluation import (
    Choices,
    chosen_cohort,
    common_options,
    model_names,
    perform,
)

if TYPE_CHECKING:
    from capbench.run.sources import Source
    from cohorts.store import Imported


def default_model() -> str:
    """The built-in model where this installation holds one, else the self-test; asked only when needed."""
    from capbench.models.registry import default_model as known

    return known()


@click.command("evaluate")
@click.argument("model", default=default_model, shell_complete=completes(model_names))
@click.option(
    "--cohort",
    metavar="COHORT",
    default="clinic-mini",
    show_default=True,
    shell_complete=completes(card_titles),
    help="A cohort's folder or a built-in name; a synthetic one is made when it is first used.",
)
@click.option(
    "--data",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="The recordings of a built-in cohort that can't be made, such as opencap-labvalidation.",
)
@click.option(
    "--boxes",
    type=click.Choice(["cohort", "track"]),
    help="Where a model looks: in the cohort's boxes, or where it saw the person last. Default: the "
    "cohort's, where it has any.",
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--trust", is_flag=True, help="Run code that the model brings. Read it first.")
@click.option("--python", metavar="PATH", help="The interpreter for models that run in their own process.")
@common_options
@force_option
@json_option
@quiet_option
def command(
    model: str,
    cohort: str,
    data: Path | None,
    boxes: str | None,
    device: str,
    trust: bool,
    python: str | None,
    **given: Any,
) -> None:
    """Evaluate a pose model on a cohort by its joint angles.

    \b
    capbench evaluate                                  # the built-in model on the built-in cohort
    capbench evaluate my_model.onnx --cohort clinic
    capbench evaluate path/to/hf_dir --cohort opencap-labvalidation --data LabValidation_withVideos
    capbench evaluate submission/ --workers 8 --out runs/mine --trust

    MODEL is an .onnx file, a folder with model.yaml or Hugging Face's config.json, hf:ORG/NAME, mediapipe,
    mmpose:CONFIG:CHECKPOINT, or a built-in name (capbench models list). The same command goes on where a run
    was interrupted.
    """
    from capbench.run.sources import source_of

    choices = Choices.of(given)
    found = chosen_cohort(cohort, data, quiet=choices.quiet)

    def source(on: Imported) -> Source:
        return source_of(
            model,
            on,
            boxes=boxes or ("cohort" if has_boxes(on) else "track"),
            device=device,
            trust=trust,
            python=python,
            seed=choices.options.seed,
        )

    perform(source, found, choices)


def has_boxes(cohort: Imported) -> bool:
    """Whether every camera of every trial has boxes, or true points to put them around."""
    return all(
        any(role in trial.extras for role in (f"boxes:{name}", f"keypoints:{name}"))
        for trial in cohort.cohort.trials
        for name in trial.videos
    )
