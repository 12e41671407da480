"""``capbench info``: what files are, in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from capbench.cli.common import (
    completes,
    count,
    echo_json,
    facts,
    format_titles,
    json_option,
    readable,
    skeleton_titles,
)
from cohorts.errors import CapbenchError, EnvironmentFault, printable


@click.command("info")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "format_name",
    metavar="NAME",
    shell_complete=completes(format_titles),
    help="Read as this format instead of telling it by ending and content.",
)
@click.option("--rate", type=float, metavar="HZ", help="Frames per second, for files that only count frames.")
@click.option("--units", metavar="UNIT", help="The units of the file's numbers, such as mm or deg.")
@click.option(
    "--skeleton",
    metavar="NAME",
    shell_complete=completes(skeleton_titles),
    help="Which named points 2D keypoints are.",
)
@click.option("--all", "everything", is_flag=True, help="Show every row of the tables.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    files: tuple[Path, ...],
    format_name: str | None,
    rate: float | None,
    units: str | None,
    skeleton: str | None,
    everything: bool,
    as_json: bool,
) -> None:
    """Say what files are, in words, with their oddities.

    A file that can't be read does not hide the others; the exit code is that of the worst.
    """
    options = {"rate": rate, "units": units, "skeleton": skeleton}
    given = {name: option for name, option in options.items() if option is not None}
    worst = 0
    told = []
    for place, path in enumerate(files):
        try:
            found, text = look(path, format_name, given, everything=everything)
        except (CapbenchError, OSError) as error:
            fault = as_fault(error, path)
            worst = max(worst, fault.exit_code)
            found = {"file": str(path), "error": {**fault.to_dict(), "exit_code": fault.exit_code}}
            text = readable(path) + "\n" + facts([("error", _without_file(fault))])
        told.append(found)
        if not as_json:
            click.echo(("\n" if place else "") + text)
    if as_json:
        echo_json(told)
    ctx.exit(worst)


def look(
    path: Path, format_name: str | None, options: dict[str, Any], *, everything: bool
) -> tuple[dict[str, Any], str]:
    """What a file is, as JSON-able data and as text."""
    from capbench.cli.registries import takes
    from capbench.cli.summary import summarise
    from cohorts.formats import holds_of, read

    notes: list[str] = []
    found = recognised(path, format_name)
    taken = takes(found, "read")
    _, value = read(path, format=found.name, notes=notes, **{k: v for k, v in options.items() if k in taken})
    summary = summarise(value, timed=found.has_time or options.get("rate") is not None)
    holds = holds_of(value) if len(found.holds) > 1 else found.holds[0]
    units = units_in_file(path, found.name) if holds in ("markers", "motion") else ""
    size = None if path.is_dir() else path.stat().st_size
    data = {
        "file": str(path),
        "format": found.name,
        "what": found.title,
        "holds": holds,
        "bytes": size,
        "units_in_file": units,
        **summary.data,
        "notes": notes,
    }
    what = found.title if size is None else f"{found.title}, {in_bytes(size)}"
    if len(found.holds) > 1:
        what += f"; holds {holds}"
    pairs = [("what", what), *summary.lines]
    if units:
        pairs.append(("units", f"{units} in the file"))
    pairs += [("note", note) for note in notes]
    text = readable(path) + "\n" + facts(pairs)
    rows = summary.table(everything=everything)
    return data, f"{text}\n{rows}" if rows else text


def recognised(path: Path, format_name: str | None) -> Any:
    """The format of a file or folder, with words of its own for folders that are none."""
    from cohorts.formats import find_format, identify

    if format_name is not None:
        return find_format(format_name)
    if not path.exists():
        raise CapbenchError("Expected a file or folder, got a name that does not exist.", file=path)
    try:
        return identify(path)
    except CapbenchError:
        if not path.is_dir():
            raise
        entries = sum(1 for _ in path.iterdir())
        raise CapbenchError(
            "Expected a file, or a folder of OpenPose files (…_keypoints.json), "
            f"got a folder with {count(entries, 'other entry', 'other entries')}.",
            file=path,
            fix="name the files in it, one by one or with a wildcard",
        ) from None


def as_fault(error: CapbenchError | OSError, path: Path) -> CapbenchError:
    """Any error of reading ``path`` as one that can be told."""
    if isinstance(error, CapbenchError):
        return error
    return EnvironmentFault(f"Can't be read: {error.strerror or error}.", file=error.filename or path)


def _without_file(fault: CapbenchError) -> str:
    """The message, less the file's name, which stands above it."""
    return str(type(fault)(fault.problem, line=fault.line, place=fault.place, fix=fault.fix))


def units_in_file(path: Path, format_name: str) -> str:
    """The unit that the header of a marker or motion file names; empty for formats with fixed units."""
    if format_name not in ("trc", "storage"):
        return ""
    with path.open("rb") as file:
        lines = file.read(4096).decode("latin-1").splitlines()
    if format_name == "trc" and len(lines) > 2:
        header = dict(zip(lines[1].split(), lines[2].split(), strict=False))
        return printable(header.get("Units", ""))
    said = [line.partition("=")[2].strip().lower() for line in lines if line.startswith("inDegrees")]
    return {"yes": "degrees", "no": "radians"}.get(said[0], "") if said else ""


def in_bytes(size: int) -> str:
    """A file's size for people.

    >>> in_bytes(999), in_bytes(1_234_567)
    ('999 bytes', '1.2 MB')
    """
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} bytes"
