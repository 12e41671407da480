"""``capbench list``: what has a name."""

from __future__ import annotations

import click

from capbench.cli.common import completes, echo_json, json_option, table
from capbench.cli.registries import REGISTRIES
from cohorts.errors import unknown_name


@click.command("list")
@click.argument(
    "what",
    metavar="|".join(REGISTRIES),
    shell_complete=completes(lambda: tuple(REGISTRIES)),
)
@json_option
def command(what: str, as_json: bool) -> None:
    """List the skeletons, file formats, presets or metrics.

    Every name listed can be looked up with "capbench describe NAME".
    """
    if what not in REGISTRIES:
        raise unknown_name("list", what, REGISTRIES)
    registry = REGISTRIES[what]
    rows = [registry.row(name) for name in registry.names()]
    if as_json:
        echo_json(rows)
    elif rows:
        click.echo(table(list(rows[0]), [list(row.values()) for row in rows]))
