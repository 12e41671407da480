"""``capbench score``: predictions made elsewhere, scored by joint angles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from capbench.cli.cohort import card_titles
from capbench.cli.common import completes, force_option, json_option, quiet_option
from capbench.cli.evaluation import Choices, chosen_cohort, common_options, perform

if TYPE_CHECKING:
    from capbench.run.sources import Source
    from cohorts.store import Imported

PathOption = click.Path(path_type=Path)


@click.command("score")
@click.argument("predictions", type=PathOption)
@click.option(
    "--cohort",
    metavar="COHORT",
    required=True,
    shell_complete=completes(card_titles),
    help="A cohort's folder or a built-in name; a synthetic one is made when it is first used.",
)
@click.option(
    "--data", metavar="FOLDER", type=PathOption, help="The recordings of a cohort that can't be made."
)
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), help="Frames per second, for files without times."
)
@click.option(
    "--up",
    type=click.Choice(["+y", "-y", "+z"]),
    default="+y",
    show_default=True,
    help="Which axis points up in the world of body parameters (AMASS: +z; a camera's: -y).",
)
@common_options
@force_option
@json_option
@quiet_option
def command(
    predictions: Path, cohort: str, data: Path | None, rate: float | None, up: str, **given: Any
) -> None:
    """Score predictions made elsewhere; no model runs.

    \b
    capbench score predictions/ --cohort clinic
    capbench score walk1.mot --cohort labvalidation --only trial=subject2/Session1/walking1

    PREDICTIONS is a folder, or a file where there is one trial. Files are named SUBJECT/SESSION/TRIAL.ENDING,
    or SUBJECT/SESSION/TRIAL_CAMERA.ENDING where each camera has its own: 2D keypoints in any format (capbench
    list formats), points in space (.trc, .npz, .c3d), SMPL parameters (.npz) or joint angles (.mot). What is
    missing is charged, not left out.
    """
    from capbench.run.sources import Files

    choices = Choices.of(given)
    found = chosen_cohort(cohort, data, quiet=choices.quiet)

    def source(on: Imported) -> Source:
        return Files(predictions, on.cohort.trials, rate or _rate(on), up=up)

    perform(source, found, choices)


def _rate(cohort: Imported) -> float | None:
    """The cameras' rate by the cohort's card."""
    return None if cohort.card.cameras is None else cohort.card.cameras.rate
