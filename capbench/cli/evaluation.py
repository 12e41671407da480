"""What ``evaluate`` and ``score`` share: their options, the cohort at hand, the run, and what is printed."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from capbench.cli.cohort import cached_cohort, find
from capbench.cli.common import F, echo_json
from cohorts.errors import CapbenchError

if TYPE_CHECKING:
    from capbench.run.evaluate import Evaluation, Means, Options
    from capbench.run.sources import Source
    from cohorts.card import Card
    from cohorts.store import Imported

ONLY = ("subject", "activity", "trial")
GB = 1 << 30


def model_names() -> tuple[str, ...]:
    """What can be named without a file, for completion."""
    from capbench.models.registry import model_names as known

    return known()


def common_options(command: F) -> F:
    """The options of every evaluation."""
    options = [
        click.option("--out", "-o", metavar="FOLDER", type=click.Path(path_type=Path),
                     help="Where the run lies. Default: runs/MODEL-COHORT."),
        click.option("--plan", "only_plan", is_flag=True, help="Say what would be done, and stop."),
        click.option("--only", metavar="WHAT=NAME,...", multiple=True,
                     help="Only these: subject=, activity= or trial=, several by commas; may come again. The "
                     "result is marked partial."),
        click.option("--limit", metavar="N", type=click.IntRange(min=1),
                     help="Only so many trials, of all people in turn. The result is marked partial."),
        click.option("--split", type=click.Choice(["development", "test", "hidden"]),
                     help="Only this split's people."),
        click.option("--cameras", metavar="NAME,...", help="Default: those that the cohort's card says."),
        click.option("--scaling", type=click.Choice(["own", "reference"]), default="own", show_default=True,
                     help="Scale people by what the model saw of them, or by the reference (marked)."),
        click.option("--protocol", type=click.Choice(["capbench-1", "opencapbench"]), default="capbench-1",
                     show_default=True, help="By which rules."),
        click.option("--no-causes", is_flag=True,
                     help="Don't find out which stage brings how much of the error."),
        click.option("--seed", metavar="NUMBER", type=click.IntRange(min=0), default=0, show_default=True,
                     help="Of resampling, and of the noise of a self-test."),
        click.option("--workers", metavar="N", type=click.IntRange(min=0), default=None,
                     help="Processes; their number changes nothing but the time (0: this one, to debug). "
                     "Default: one a processor."),
        click.option("--executor", type=click.Choice(["local", "dask"]), default="local", show_default=True,
                     help="Where units are computed."),
        click.option("--scheduler", metavar="ADDRESS", help="Of the Dask cluster, such as tcp://host:8786."),
        click.option("--unit-time", metavar="SECONDS", type=click.FloatRange(min=0, min_open=True),
                     default=3600, show_default=True, help="What one unit may take; then it is ended."),
        click.option("--unit-memory", metavar="GB", type=click.FloatRange(min=0, min_open=True), default=16,
                     show_default=True, help="Main memory that one unit may take."),
        click.option("--store", metavar="FOLDER", type=click.Path(path_type=Path),
                     help="Where the outputs of units are kept. Default: capbench's cache."),
        click.option("--fresh", is_flag=True, help="Compute again what is kept from earlier runs."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@dataclass(frozen=True)
class Choices:
    """What was asked for on the command line."""

    options: Options
    means: Means
    out: Path | None
    store: Path | None
    only_plan: bool
    force: bool
    as_json: bool
    quiet: bool

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Choices:
        """From the parsed options."""
        from capbench.run.evaluate import Means, Options, workers_here
        from capbench.run.executors import Limits

        only = _only(given["only"])
        options = Options(
            cameras=_names(given["cameras"]),
            subjects=only.get("subject"),
            activities=only.get("activity"),
            trials=only.get("trial"),
            split=given["split"],
            limit=given["limit"],
            scaling=given["scaling"],
            protocol=given["protocol"],
            causes=not given["no_causes"],
            seed=given["seed"],
        )
        if (given["executor"] == "dask") != (given["scheduler"] is not None):
            raise click.UsageError("--executor dask and --scheduler ADDRESS belong together.")
        means = Means(
            workers=workers_here() if given["workers"] is None else given["workers"],
            executor=given["executor"],
            scheduler=given["scheduler"],
            limits=Limits(given["unit_time"], int(given["unit_memory"] * GB)),
            fresh=given["fresh"],
        )
        return cls(
            options,
            means,
            given["out"],
            given["store"],
            given["only_plan"],
            given["force"],
            given["as_json"],
            given["quiet"],
        )


def _only(words: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """``subject=a,b`` and the like; a part without = belongs to the word before it."""
    found: dict[str, list[str]] = {}
    for word in words:
        what = ""
        for part in word.split(","):
            name, equals, value = part.partition("=")
            if equals:
                what, part = name, value
            if what not in ONLY or not part:
                raise click.BadParameter(
                    f"expected subject=, activity= or trial= and names, got {word!r}", param_hint="--only"
                )
            found.setdefault(what, []).append(part)
    return {what: tuple(dict.fromkeys(names)) for what, names in found.items()}


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(dict.fromkeys(part for part in text.split(",") if part))


# --- the cohort ---------------------------------------------------------------------------------


def chosen_cohort(name: str, data: Path | None, *, quiet: bool) -> Imported:
    """The cohort that is asked for: at hand, made on first use, or imported from where its data lie."""
    card, found = find(name)
    if data is not None:
        return _imported(card, data)
    if found is not None:
        return found
    if card.recipe is not None and card.recipe.get("seed") is not None:
        return _made(card, quiet=quiet)
    raise CapbenchError(
        f"Expected a cohort whose files are at hand, got the card of {card.name} alone.",
        fix=f"give --data FOLDER with its recordings ({card.licence.obtain})",
    )


def _made(card: Card, *, quiet: bool) -> Imported:
    from capbench.cli.progress import Progress
    from capbench.run.evaluate import workers_here
    from synthpose.clinic import make
    from synthpose.recipe import plan, recipe_of

    people = plan(recipe_of(card))
    folder = cached_cohort(card)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with Progress(total=len(people), label=f"people of {card.name}, made once", quiet=quiet) as progress:
        return make(card, folder, workers=min(workers_here(), len(people)), told=lambda _: progress.advance())


def _imported(card: Card, data: Path) -> Imported:
    """The recordings in ``data`` as a cohort in the cache, imported when first used."""
    import hashlib

    from capbench.run.reference import cache_folder
    from cohorts.sources import read_folder
    from cohorts.store import is_cohort, open_cohort, save

    if is_cohort(data):
        return open_cohort(data)
    place = hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:12]
    folder = cache_folder() / "cohorts" / f"{card.name}-{card.version}-imported-{place}"
    found = read_folder(data)
    if found.card.name != card.name:
        raise CapbenchError(
            f"Expected the recordings of {card.name}, got those of {found.card.name}.",
            file=data,
            fix=f"capbench cohort import {data} -o COHORT, then --cohort COHORT",
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    return save(found, folder, overwrite=is_cohort(folder))


# --- the run ------------------------------------------------------------------------------------


def perform(source: Callable[[Imported], Source], cohort: Imported, choices: Choices) -> None:
    """Prepare, run, report, print; exit code 1 where something has no answer."""
    from capbench.run.evaluate import default_out, prepare
    from capbench.run.plan import describe

    evaluation = prepare(source, cohort, choices.options, store=choices.store)
    if choices.only_plan:
        click.echo(
            describe(evaluation.plan(fresh=choices.means.fresh), workers=max(1, choices.means.workers))
        )
        return
    out = choices.out or default_out(evaluation.source, cohort)
    failed = run_and_report(evaluation, out, choices)
    if failed:
        sys.exit(1)


def run_and_report(evaluation: Evaluation, out: Path, choices: Choices) -> bool:
    """Run it, write the report and print the table; whether anything has no answer."""
    from dataclasses import replace

    from capbench.cli.progress import Progress
    from capbench.cli.result_text import result_table
    from capbench.report.bench import write_report
    from capbench.run.evaluate import evaluate
    from capbench.run.result import REPORT_NAME, TIMING_NAME
    from cohorts.bounded import load_json

    with Progress(total=len(evaluation.units), label="units", quiet=choices.quiet) as progress:
        means = replace(choices.means, told=lambda now: progress.advance(max(0, now.done - progress.done)))
        result = evaluate(evaluation, out, means=means, command=_command(), force=choices.force)
    timing = load_json(out / TIMING_NAME)
    write_report(result, timing, out / REPORT_NAME, command=shlex.join(_command()))
    if choices.as_json:
        echo_json(result.model_dump(mode="json"))
    else:
        click.echo(result_table(result, timing, folder=out))
    return bool(result.failures)


def _command() -> list[str]:
    """The command line as typed, for ``run.json``."""
    return ["capbench", *sys.argv[1:]]
