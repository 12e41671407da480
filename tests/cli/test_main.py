"""The root command: help, names, errors, exit codes, colour."""

import json
import os
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

import capbench
from capbench.cli import main as main_module
from capbench.cli.main import COMMANDS, HEADINGS, Entry, cli
from cohorts.errors import CapbenchError, EnvironmentFault, RefusedError

HEAVY = {"torch", "opensim", "cv2", "matplotlib", "pandas", "transformers", "scipy", "pyarrow", "ezc3d"}
WATCH = (
    "import sys, atexit; "
    "atexit.register(lambda: sys.stderr.write('LOADED ' + ' '.join(m for m in sys.modules if '.' not in m)))"
)


def run(*words: str, **variables: str):
    return CliRunner(env=variables).invoke(cli, list(words))


def python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **variables}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)


def loaded(code: str) -> set[str]:
    ended = python(f"{WATCH}; {code}")
    assert ended.returncode == 0, ended.stderr
    return set(ended.stderr.rpartition("LOADED ")[2].split())


@pytest.mark.parametrize(
    "code",
    [
        "import capbench",
        "from capbench.cli.main import cli; cli.main(['--help'])",
        "from capbench.cli.main import cli; cli.main(['list', 'formats'])",
        "from capbench.cli.main import cli; cli.main(['list', 'skeletons'])",
        "from capbench.cli.main import cli; cli.main(['fit', '--help'])",
        "from capbench.cli.main import cli; cli.main(['doctor', '--help'])",
        "from capbench.cli.main import cli; cli.main(['info', '--help'])",
    ],
)
def test_nothing_heavy_is_imported(code) -> None:
    assert not loaded(code) & HEAVY


def test_the_watch_would_see_a_heavy_import() -> None:
    assert "scipy" in loaded("import scipy")


def test_help_imports_no_command() -> None:
    code = (
        "import sys; from capbench.cli.main import COMMANDS, cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([e.module for e in COMMANDS.values() if e.module in sys.modules])"
    )
    assert python(code).stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_help_shows_every_command_under_its_heading(words) -> None:
    result = run(*words)
    assert result.exit_code == 0
    section = None
    seen = {}
    for line in result.stdout.splitlines():
        if line.rstrip(":") in HEADINGS:
            section = line.rstrip(":")
        elif section and line.strip():
            seen.setdefault(line.split()[0], section)
    for name, entry in COMMANDS.items():
        assert seen[name] == entry.heading
        assert entry.help in " ".join(result.stdout.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_that_begins_as_the_table_says(name) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    command = cli.get_command(click.Context(cli), name)
    assert command is not None and command.name == name
    assert command.help is not None
    assert command.help.strip().partition("\n")[0] == COMMANDS[name].help


def test_version() -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"capbench {capbench.__version__}\n")


def test_unknown_commands_and_options_are_told_the_nearest() -> None:
    result = run("descrbe", "coco-17")
    assert result.exit_code == 2
    assert "No such command 'descrbe'. Did you mean 'describe'?" in result.stderr
    result = run("zzz")
    assert result.exit_code == 2
    assert f"Known: {', '.join(COMMANDS)}" in result.stderr.replace("\n", " ")
    result = run("list", "formats", "--jsn")
    assert result.exit_code == 2
    assert "--json" in result.stderr


@pytest.fixture
def failing(monkeypatch):
    """A command that raises what it is told to."""

    def install(error: BaseException) -> None:
        @click.command("fail")
        @click.option("--json", "as_json", is_flag=True)
        def command(as_json: bool) -> None:
            raise error

        module = type(sys)("capbench_test_fail")
        module.command = command
        monkeypatch.setitem(sys.modules, "capbench_test_fail", module)
        monkeypatch.setitem(COMMANDS, "fail", Entry("capbench_test_fail", "Fail.", "Set-up"))

    return install


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CapbenchError("Expected this, got that.", file="a.trc", line=3, fix="do it"), 2),
        (EnvironmentFault("Needs more."), 3),
        (RefusedError("Holds code."), 4),
        (PermissionError(13, "Permission denied", "x.trc"), 3),
        (OSError(28, "No space left on device"), 3),
        (MemoryError(), 3),
        (ZeroDivisionError("division by zero"), 70),
        (RecursionError("maximum recursion depth exceeded"), 70),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
        (BrokenPipeError(), 141),
    ],
)
def test_exit_codes(failing, error, code, monkeypatch) -> None:
    monkeypatch.setattr(main_module, "_point_at_nothing", lambda: None)
    failing(error)
    result = run("fail")
    assert result.exit_code == code
    assert "Traceback" not in result.output
    assert result.stdout == ""
    assert bool(result.stderr.strip()) == (code != 141)


def test_an_error_says_where_what_and_what_to_try(failing) -> None:
    failing(CapbenchError("Expected m, got \x1b[31mfurlongs.", file="a.trc", line=3, fix="--units m"))
    result = run("fail")
    assert result.stderr == "Error: a.trc, line 3: Expected m, got \\x1b[31mfurlongs.\n  Try: --units m\n"


def test_an_error_is_json_too_where_asked(failing) -> None:
    failing(RefusedError("Holds code.", file="a.pkl", place="byte 7", fix="don't"))
    result = run("fail", "--json")
    assert result.exit_code == 4
    assert json.loads(result.stdout) == {
        "error": {
            "problem": "Holds code.",
            "file": "a.pkl",
            "line": None,
            "place": "byte 7",
            "fix": "don't",
            "exit_code": 4,
        }
    }
    assert "Holds code." in result.stderr


def test_usage_errors_and_bugs_are_json_too(failing) -> None:
    told = json.loads(run("list", "--json").stdout)["error"]
    assert told["exit_code"] == 2 and "Missing argument" in told["problem"]
    failing(ZeroDivisionError("division by zero"))
    told = json.loads(run("fail", "--json").stdout)["error"]
    assert told["exit_code"] == 70 and "ZeroDivisionError" in told["problem"]


def test_a_bug_says_it_is_one_and_how_to_see_where(failing) -> None:
    failing(ZeroDivisionError("division by zero"))
    result = run("fail")
    assert "bug in capbench" in result.stderr and "CAPBENCH_DEBUG=1" in result.stderr
    debugged = run("fail", CAPBENCH_DEBUG="1")
    assert "Traceback" in debugged.stderr and debugged.exit_code == 70


RED = "\x1b[31m"


@pytest.mark.parametrize(
    ("words", "variables", "coloured"),
    [
        ((), {}, True),
        ((), {"NO_COLOR": "1"}, False),
        ((), {"NO_COLOR": ""}, True),  # no-color.org: only where it is not empty
        ((), {"TERM": "dumb"}, False),
        (("--no-color",), {}, False),
    ],
)
def test_colour(words, variables, coloured) -> None:
    clean = {"NO_COLOR": None, "TERM": "xterm", **variables}
    # color=True makes the runner's streams pass for terminals
    result = CliRunner(env=clean).invoke(cli, [*words, "describe", "nothing-like-it"], color=True)
    assert result.exit_code == 2
    assert (RED in result.stderr) == coloured


def test_no_colour_where_nobody_watches() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "capbench", "describe", "nothing"], capture_output=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stdout == b"" and b"\x1b" not in ended.stderr
    assert ended.stderr.startswith(b"Error: Expected the name of a skeleton or a format")


def test_a_reader_that_leaves_is_no_error() -> None:
    code = (
        "import subprocess, sys\n"
        "p = subprocess.Popen([sys.executable, '-m', 'capbench', 'list', 'formats'],"
        " stdout=subprocess.PIPE, stderr=subprocess.PIPE)\n"
        "p.stdout.close()\n"
        "print(p.stderr.read().decode(), p.wait())"
    )
    assert python(code).stdout.strip() == "141"


def test_an_interrupt_is_one_plain_line() -> None:
    code = (
        "import capbench.cli.list_ as module, signal, os\n"
        "from capbench.cli.main import cli\n"
        "module.echo_json = lambda rows: os.kill(os.getpid(), signal.SIGINT)\n"
        "cli.main(['list', 'formats', '--json'])"
    )
    ended = python(code)
    assert ended.returncode == 130
    assert ended.stderr.strip() == "Interrupted."


def test_output_survives_a_terminal_without_unicode() -> None:
    code = "from capbench.cli.main import cli; cli.main(['describe', 'coco-17'])"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        check=False,
    )
    assert ended.returncode == 0 and b"left_hip" in ended.stdout
