"""``capbench doctor``: this machine, one line per requirement."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from capbench.cli.common import echo_json, facts, json_option, wrapped
from cohorts.errors import EnvironmentFault, printable

if TYPE_CHECKING:
    from capbench.doctor import Check

_MARKS = {"ok": ("✓", "ok", "green"), "broken": ("✗", "XX", "red"), "note": ("!", "! ", "yellow")}
_ABSENT = ("–", "- ", "yellow")


@click.command("doctor")
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Check this machine and say how to mend it.

    One line per requirement, each with the one command that mends it. The exit code is 3 where the core is
    broken, and 0 where only optional parts are.
    """
    from capbench.doctor import core_is_sound, examine
    from capbench.machine import Machine

    checks = examine(Machine())
    sound = core_is_sound(checks)
    if as_json:
        echo_json({"ok": sound, "checks": checks})
    else:
        click.echo(show(checks, unicode=_holds_marks(sys.stdout.encoding)))
        click.echo("\n" + _verdict(checks, sound))
    ctx.exit(0 if sound else EnvironmentFault.exit_code)


def _holds_marks(encoding: str | None) -> bool:
    try:
        "✓✗–".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def show(checks: list[Check], *, unicode: bool) -> str:
    """The checks in lines, with marks, and the mending command beneath those that need one."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        absent = check.status == "missing" and not check.core
        mark, ascii_mark, colour = _ABSENT if absent else _MARKS.get(check.status, _MARKS["broken"])
        head = f"{printable(check.name):{width}}  "
        text = printable(check.found)
        if check.status != "ok" and check.needed_for:
            text += f"; needed for {check.needed_for}"
        body = wrapped(head + text, "", " " * (len(head) + 3))
        lines.append(f"{click.style(mark if unicode else ascii_mark, fg=colour)} {body}")
        if check.fix is not None:
            lines.append(f"{' ' * (width + 4)}fix: {printable(check.fix)}")
    return "\n".join(lines)


def _verdict(checks: list[Check], sound: bool) -> str:
    wrong = [c.name for c in checks if c.status in ("missing", "broken") and (c.core or sound)]
    if not sound:
        return facts([("The core is broken:", f"{', '.join(wrong)}. Run the commands above.")], indent="")
    return "The core is sound." + (f" Optional and absent or broken: {', '.join(wrong)}." if wrong else "")
