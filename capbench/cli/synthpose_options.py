"""Arguments and options that the commands of ``capbench synthpose`` share."""

from __future__ import annotations

import os
from pathlib import Path

import click

from capbench.cli.cohort import card_titles
from capbench.cli.common import F, completes, json_option, quiet_option
from capbench.cli.synthpose_train import recipe_titles

PathOption = click.Path(path_type=Path)
recipe_argument = click.argument("recipe", shell_complete=completes(recipe_titles))
device_option = click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
workers_option = click.option(
    "--workers",
    metavar="N",
    type=click.IntRange(min=1),
    default=lambda: len(os.sched_getaffinity(0)),
    show_default="one a processor",
    help="Processes that make pictures; their number changes nothing but the time.",
)


def recipe_options(command: F) -> F:
    """What may be changed in a recipe."""
    options = [
        click.option("--phase", "phases", metavar="NAME", multiple=True,
                     help="Only this phase of the recipe; may come again."),
        click.option("--seed", metavar="NUMBER", type=click.IntRange(min=0), help="Instead of the recipe's."),
        click.option("--samples", metavar="N", type=click.IntRange(min=1),
                     help="Pictures trained on, with repetition, instead of the recipe's."),
        click.option("--pictures", metavar="N", type=click.IntRange(min=1),
                     help="How many are made, instead of the recipe's."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def training_options(command: F) -> F:
    """What ``train``, ``finetune`` and ``distill`` share."""
    options = [
        click.option("--output", "-o", metavar="FOLDER", type=PathOption, required=True,
                     help="Where trainings lie, one folder a phase."),
        click.option("--data", metavar="FOLDER", type=PathOption,
                     help="Pictures made by capbench synthpose render. Default: capbench's cache, made on "
                     "first use."),
        click.option("--source", "sources", metavar="NAME=JSON,FOLDER", multiple=True,
                     help="Where a source of the recipe lies: COCO-style annotations, and a folder."),
        click.option("--validate", "cohort", metavar="COHORT", shell_complete=completes(card_titles),
                     help="Choose the best weights by joint-angle error on this cohort's development "
                     "split, instead of the recipe's."),
        click.option("--trials", metavar="N", type=click.IntRange(min=1),
                     help="Of that cohort, instead of the recipe's."),
        click.option("--seconds", metavar="N", type=click.FloatRange(min=0, min_open=True),
                     help="Save and stop after so long; the same command goes on."),
        device_option,
        workers_option,
        json_option,
        quiet_option,
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command
