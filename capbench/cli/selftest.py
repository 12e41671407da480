"""``capbench selftest``: answers whose score is known beforehand, through the whole way."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click

from capbench.cli.cohort import card_titles
from capbench.cli.common import completes, echo_json, json_option, quiet_option, table


@click.command("selftest")
@click.option(
    "--cohort",
    metavar="COHORT",
    default="clinic-mini",
    show_default=True,
    shell_complete=completes(card_titles),
    help="An exact (synthetic) cohort.",
)
@click.option("--workers", metavar="N", type=click.IntRange(min=0), help="Default: one a processor.")
@json_option
@quiet_option
def command(cohort: str, workers: int | None, as_json: bool, quiet: bool) -> None:
    """Check that this machine scores right, by known answers.

    The truth scores 0, the mean pose as the null model, an offset itself. Exit code 1 where anything comes
    out otherwise.
    """
    from capbench.cli.evaluation import chosen_cohort
    from capbench.run.evaluate import Means, workers_here
    from capbench.run.selftest import selftest

    found = chosen_cohort(cohort, None, quiet=quiet)
    means = Means(workers=workers_here() if workers is None else workers)

    def told(name: str) -> None:
        if not quiet:
            click.echo(f"{name} …", err=True)

    with tempfile.TemporaryDirectory(prefix="capbench-selftest-") as folder:
        checks = selftest(found, Path(folder), means=means, told=told)
    if as_json:
        echo_json(checks)
    else:
        rows = [[c.name, c.expected, f"{c.found:.4f}°", "ok" if c.good else "WRONG"] for c in checks]
        click.echo(table(["answer", "expected", "found", ""], rows, indent="  "))
    if not all(c.good for c in checks):
        sys.exit(1)
