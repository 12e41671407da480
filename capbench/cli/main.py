"""The command ``capbench``: finds the command asked for, imports only that, and says what went wrong.

Exit codes: 0 fine; 1 finished, but units failed; 2 usage; 3 environment; 4 refused for safety;
70 a bug in capbench; 130 interrupted; 141 the reader of our output went away.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

import capbench
from capbench.cli.common import CONTEXT, wrapped
from cohorts.errors import CapbenchError, EnvironmentFault, did_you_mean, printable

EXIT_BUG = 70
EXIT_INTERRUPTED = 130
EXIT_PIPE = 141


@dataclass(frozen=True)
class Entry:
    """One command: where it lives, what it does in a line, and under which heading help shows it.

    The module holds the click command under the name ``command``.
    """

    module: str
    help: str
    heading: str


EVALUATE, TRAIN, FILES, LOOK, SETUP = "Evaluate", "Train", "Fit & files", "Look up", "Set-up"
HEADINGS = (EVALUATE, TRAIN, FILES, LOOK, SETUP)
COMMANDS: Mapping[str, Entry] = {
    "evaluate": Entry(
        "capbench.cli.evaluate", "Evaluate a pose model on a cohort by its joint angles.", EVALUATE
    ),
    "selftest": Entry(
        "capbench.cli.selftest", "Check that this machine scores right, by known answers.", EVALUATE
    ),
    "score": Entry("capbench.cli.score", "Score predictions made elsewhere; no model runs.", EVALUATE),
    "fit": Entry(
        "capbench.cli.fit",
        "Fit a musculoskeletal model to marker tracks (inverse kinematics).",
        FILES,
    ),
    "scale": Entry(
        "capbench.cli.scale", "Scale a musculoskeletal model to a subject and place its markers.", FILES
    ),
    "verify-ik": Entry(
        "capbench.cli.verify_ik", "Check a fitted motion against both engines' best fit.", FILES
    ),
    "model": Entry(
        "capbench.cli.model",
        "Build, inspect and compare musculoskeletal models.",
        FILES,
    ),
    "cohort": Entry("capbench.cli.cohort", "List, import, check and export cohorts.", FILES),
    "info": Entry("capbench.cli.info", "Say what files are, in words, with their oddities.", FILES),
    "convert": Entry("capbench.cli.convert", "Rewrite a recording in another format.", FILES),
    "models": Entry("capbench.cli.models", "List, describe, check and prepare models.", EVALUATE),
    "compare": Entry("capbench.cli.compare", "Compare evaluations: which model is better, if any.", EVALUATE),
    "lint": Entry("capbench.cli.lint", "Check that the numbers of a table fit together.", EVALUATE),
    "synthpose": Entry("capbench.cli.synthpose", "Make synthetic people, and train networks on them.", TRAIN),
    "list": Entry("capbench.cli.list_", "List the skeletons, file formats, presets or metrics.", LOOK),
    "describe": Entry(
        "capbench.cli.describe", "Describe a skeleton, a file format, a preset or a metric.", LOOK
    ),
    "doctor": Entry("capbench.cli.doctor", "Check this machine and say how to mend it.", SETUP),
    "completion": Entry("capbench.cli.completion", "Print the shell's completion script.", SETUP),
}


class Root(click.Group):
    """The group of all commands; imports a command's module only when it runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[cmd_name].module).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but an unknown name is told the nearest known one."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            near = did_you_mean(name, COMMANDS)
            hint = f"Did you mean {near!r}?" if near else f"Known: {', '.join(COMMANDS)}."
            raise click.UsageError(f"No such command {printable(name)!r}. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Command names from the table, then options; nothing is imported."""
        found = [CompletionItem(n, help=e.help) for n, e in COMMANDS.items() if n.startswith(incomplete)]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands under their headings."""
        for heading in HEADINGS:
            with formatter.section(heading):
                formatter.write_dl(
                    [(name, entry.help) for name, entry in COMMANDS.items() if entry.heading == heading]
                )

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a reader that left (``| head``) ends it quietly."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # whatever is still buffered has nowhere to go, and must not complain at exit
            _point_at_nothing()
            raise click.exceptions.Exit(EXIT_PIPE) from None

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run and leave with the exit code; with ``standalone_mode=False`` let every error through."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        words = list(sys.argv[1:] if args is None else args)
        _make_streams_safe()
        extra = {"color": _colour(words), **extra}
        try:
            code = super().main(words, "capbench", complete_var, standalone_mode=False, **extra)
        except (click.exceptions.Abort, KeyboardInterrupt):
            click.echo("Interrupted.", err=True)
            code = EXIT_INTERRUPTED
        except click.ClickException as error:
            code = _report_usage(error, words)
        except Exception as error:
            code = _report(error, words)
        sys.exit(code if isinstance(code, int) else 0)


def _point_at_nothing() -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(nothing, stream.fileno())


def _make_streams_safe() -> None:
    r"""Print what the terminal's encoding can't hold as ``\\xNN`` instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", "") == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _colour(words: Sequence[str]) -> bool | None:
    """False where colour is unwanted, None to let click see whether it writes to a terminal."""
    unwanted = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or "--no-color" in words
    return False if unwanted else None


def _debugging() -> bool:
    return bool(os.environ.get("CAPBENCH_DEBUG"))


def _report_usage(error: click.ClickException, words: Sequence[str]) -> int:
    context = getattr(error, "ctx", None)
    _say("Error: ", [printable(error.format_message())], _colour(words))
    if context is not None and isinstance(error, click.UsageError):
        click.echo(f"  See: {context.command_path} --help", err=True)
    _say_json(CapbenchError(error.format_message()).to_dict(), error.exit_code, words)
    return error.exit_code


def _report(error: Exception, words: Sequence[str]) -> int:
    """Tell an error of any kind on stderr (and as JSON on stdout where asked), and give the exit code."""
    if _debugging():
        traceback.print_exception(error)
    if isinstance(error, OSError):  # permissions, a full disk: what readers and writers did not foresee
        error = EnvironmentFault(f"The system refused: {error.strerror or error}.", file=error.filename)
    elif isinstance(error, MemoryError):
        error = EnvironmentFault("This machine ran out of memory.", fix="a shorter part of the recording")
    if isinstance(error, CapbenchError):
        parts = error.to_dict()
        code = error.exit_code
        where = str(CapbenchError("", file=error.file, line=error.line, place=error.place)).strip()
        lines = [f"{where} {printable(error.problem)}" if where else printable(error.problem)]
        if error.fix is not None:
            lines.append(f"Try: {printable(error.fix)}")
    else:
        code = EXIT_BUG
        problem = f"This is a bug in capbench, not in what you did: {type(error).__name__}: {error}"
        fix = "CAPBENCH_DEBUG=1 in front of the same command shows where; please report that text."
        parts = {"problem": problem, "file": None, "line": None, "place": None, "fix": fix}
        lines = [printable(problem), f"Try: {fix}"]
    _say("Error: ", lines, _colour(words))
    _say_json(parts, code, words)
    return code


def _say(head: str, lines: Sequence[str], colour: bool | None) -> None:
    """Lines on stderr, wrapped where a person is watching."""
    watched = sys.stderr.isatty()
    first, *rest = lines
    if watched:
        first = wrapped(first, " " * len(head), "  ").strip()
    click.echo(click.style(head, fg="red", bold=True) + first, err=True, color=colour)
    for line in rest:  # an order to copy stays on one line
        click.echo(f"  {line}", err=True, color=colour)


def _say_json(parts: Mapping[str, Any], code: int, words: Sequence[str]) -> None:
    if "--json" in words:
        click.echo(json.dumps({"error": {**parts, "exit_code": code}}, indent=2))


def _stop_colour(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        ctx.color = False


@click.group(
    cls=Root,
    name="capbench",
    invoke_without_command=True,
    context_settings=CONTEXT,
    epilog="Exit codes: 0 fine, 1 finished but units failed, 2 usage, 3 environment, 4 refused for safety, "
    "70 a bug in capbench, 130 interrupted. NO_COLOR and CAPBENCH_DEBUG=1 (tracebacks) are respected.",
)
@click.version_option(capbench.__version__, "-V", "--version", message="capbench %(version)s")
@click.option(
    "--no-color", is_flag=True, expose_value=False, callback=_stop_colour, help="Print without colour."
)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """From pose models to the joint angles a clinic needs."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), color=ctx.color)


def main() -> None:
    """The console script."""
    cli.main()
