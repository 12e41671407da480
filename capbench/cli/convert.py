"""``capbench convert``: a recording in another format, and what that cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from capbench.cli.common import (
    completes,
    count,
    echo_json,
    facts,
    force_option,
    format_titles,
    json_option,
    quiet_option,
    readable,
    skeleton_titles,
)
from cohorts.errors import CapbenchError, unknown_name

if TYPE_CHECKING:
    from cohorts.formats import Format
    from cohorts.skeleton import SkeletonMap


@dataclass(frozen=True)
class Cut:
    """Which part of the recording to keep; None keeps all."""

    person: str | None = None
    camera: str | None = None
    start: float | None = None
    stop: float | None = None


@click.command("convert")
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@click.option(
    "--from",
    "from_format",
    metavar="FORMAT",
    shell_complete=completes(format_titles),
    help="Read IN as this format instead of telling it by ending and content.",
)
@click.option(
    "--to",
    "to_format",
    metavar="FORMAT",
    shell_complete=completes(format_titles),
    help="Write this format instead of the one that OUT's ending names.",
)
@click.option("--rate", type=float, metavar="HZ", help="Frames per second, where IN only counts frames.")
@click.option("--units", metavar="UNIT", help="The units of IN's numbers, where the file is wrong or silent.")
@click.option("--to-units", metavar="UNIT", help="The units to write, where OUT allows a choice.")
@click.option(
    "--skeleton",
    metavar="NAME",
    shell_complete=completes(skeleton_titles),
    help="Which named points IN's 2D keypoints are, where the file does not say.",
)
@click.option(
    "--map-to",
    metavar="SKELETON",
    shell_complete=completes(skeleton_titles),
    help="Turn 2D keypoints into this skeleton, by name.",
)
@click.option("--person", metavar="NAME", help="Keep only this person.")
@click.option(
    "--camera",
    metavar="NAME",
    help="Keep only this camera; where IN does not name its camera, name it so.",
)
@click.option("--start", type=float, metavar="SECONDS", help="Drop what comes before.")
@click.option("--stop", type=float, metavar="SECONDS", help="Drop what comes after.")
@force_option
@quiet_option
@json_option
def command(
    source: Path,
    target: Path,
    from_format: str | None,
    to_format: str | None,
    rate: float | None,
    units: str | None,
    to_units: str | None,
    skeleton: str | None,
    map_to: str | None,
    person: str | None,
    camera: str | None,
    start: float | None,
    stop: float | None,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Rewrite a recording in another format.

    The output is read back and compared, so what the format could not hold is said. The formats and what they
    hold: "capbench list formats".
    """
    options = {"rate": rate, "units": units, "skeleton": skeleton}
    given = {name: option for name, option in options.items() if option is not None}
    cut = Cut(person, camera, start, stop)
    told = convert(
        source, target, cut, given, from_format, to_format, to_units=to_units, map_to=map_to, force=force
    )
    if as_json:
        echo_json(told)
    elif not quiet:
        click.echo(in_words(told))


def convert(
    source: Path,
    target: Path,
    cut: Cut,
    options: dict[str, Any],
    from_format: str | None,
    to_format: str | None,
    *,
    to_units: str | None,
    map_to: str | None,
    force: bool,
) -> dict[str, Any]:
    """Read, cut, map, write, read back; the JSON-able account of it."""
    from capbench.cli.info import recognised
    from cohorts import formats
    from cohorts.remap import remap_keypoints

    found = recognised(source, from_format)
    out, value, notes = _read(source, target, found, to_format, options, cut)
    value = _cut(value, cut, source)
    mapping = _mapping(value, map_to)
    if mapping is not None:
        value = tuple(remap_keypoints(track, mapping) for track in value)
    choice = {} if to_units is None else {"units": to_units}
    formats.write(target, value, format=out.name, overwrite=force, **choice)
    return {
        "read": {"file": str(source), "format": found.name, "notes": notes},
        "written": {"file": str(target), "format": out.name, "holds": formats.holds_of(value)},
        "amount": _amount(value),
        "mapping": None if mapping is None else _mapping_data(mapping),
        "lost": _lost(value, target, out, timed=found.has_time or "rate" in options),
    }


def _read(
    source: Path,
    target: Path,
    found: Format,
    to_format: str | None,
    options: dict[str, Any],
    cut: Cut,
) -> tuple[Format, Any, list[str]]:
    """The output's format, and what IN holds; refused before the work where the two can't go together."""
    from capbench.cli.registries import takes
    from cohorts import formats

    notes: list[str] = []
    if cut.camera is not None and "camera" in takes(found, "read"):
        options = {**options, "camera": cut.camera}
    if not any(kind in row.writes for row in formats.FORMATS.values() for kind in found.holds):
        raise CapbenchError(
            f"Expected something that another format can hold, got {found.title}.",
            file=source,
            fix="capbench list formats",
        )
    _, value = formats.read(source, format=found.name, notes=notes, **options)
    holds = formats.holds_of(value)
    out = _output(target, to_format, holds)
    if out.has_time and not found.has_time and "rate" not in options:
        raise CapbenchError(
            f"Expected a frame rate: {found.title} only counts frames, and {out.title} holds seconds.",
            file=source,
            fix="--rate 60, or whatever the video's rate is (capbench info VIDEO)",
        )
    return out, value, notes


#: (what IN holds, what OUT holds) -> why the one can't become the other by rewriting
_WHY = {
    ("keypoints", "markers"): "2D keypoints of one camera have no depth; 3D markers need two or more "
    "calibrated cameras and triangulation",
    ("keypoints", "motion"): "2D keypoints are pixels; joint angles need 3D markers and a fit (capbench fit)",
    ("markers", "motion"): "markers become joint angles by fitting a model (capbench fit)",
    ("markers", "keypoints"): "3D markers become 2D keypoints only through calibrated cameras",
    ("motion", "markers"): "joint angles become markers only through a musculoskeletal model",
    ("body", "markers"): "body-model parameters become markers only through the body model itself",
    ("body", "motion"): "body-model parameters are not the joint angles of a musculoskeletal model",
}


def _output(target: Path, to_format: str | None, holds: Any) -> Format:
    """The format to write, or an error that says why there is none."""
    from cohorts import formats

    try:
        out = formats.find_format(to_format) if to_format else formats.writable(target, holds)
    except CapbenchError as error:
        fits = [
            f for f in formats.FORMATS.values() if any(target.name.lower().endswith(s) for s in f.suffixes)
        ]
        why = next((_WHY[holds, kind] for f in fits for kind in f.holds if (holds, kind) in _WHY), None)
        if why is None:
            raise
        raise CapbenchError(
            f"Expected an output that can hold {holds}, got {target.name!r}: {why}.", fix=error.fix
        ) from None
    if holds not in out.writes:
        why = next((_WHY[holds, kind] for kind in out.holds if (holds, kind) in _WHY), None)
        said = f": {why}" if why else ""
        fits = [f for f in formats.FORMATS.values() if holds in f.writes]
        raise CapbenchError(
            f"Expected a format that can hold {holds}, got {out.name}{said}.",
            fix=f"--to with one of: {', '.join(f.name for f in fits) or 'none'}",
        )
    return out


def _cut(value: Any, cut: Cut, source: Path) -> Any:
    """Only the wanted person, camera and seconds."""
    from cohorts import Camera, Keypoints
    from cohorts.recording import Timed

    many = isinstance(value, tuple)
    parts = value if many else (value,)
    if cut.person is not None:
        parts = _keep(parts, Keypoints, "person", lambda part: part.person, cut.person, source)
    if cut.camera is not None and parts and isinstance(parts[0], Camera):
        parts = _keep(parts, Camera, "camera", lambda part: part.name, cut.camera, source)
    elif cut.camera is not None:
        parts = _keep(parts, Keypoints, "camera", lambda part: part.camera, cut.camera, source)
    if cut.start is not None or cut.stop is not None:
        if not all(isinstance(part, Timed) for part in parts):
            raise CapbenchError("Expected a recording with times for --start and --stop.", file=source)
        start = float("-inf") if cut.start is None else cut.start
        stop = float("inf") if cut.stop is None else cut.stop
        kept = tuple(part.between(start, stop) for part in parts)
        if not any(map(len, kept)):
            first, last = min(p.time[0] for p in parts if len(p)), max(p.time[-1] for p in parts if len(p))
            raise CapbenchError(
                f"Expected --start and --stop to keep a frame of {first:g} to {last:g} s, they keep none.",
                file=source,
            )
        parts = tuple(part for part in kept if len(part))
    return parts if many else parts[0]


def _keep(
    parts: tuple[Any, ...], kind: type, what: str, name_of: Callable[[Any], str], wanted: str, source: Path
) -> tuple[Any, ...]:
    if not parts or not isinstance(parts[0], kind):
        raise CapbenchError(f"Expected a recording that tells one {what} from another.", file=source)
    kept = tuple(part for part in parts if name_of(part) == wanted)
    if not kept:
        error = unknown_name(what, wanted, {name_of(part) for part in parts})
        error.file = str(source)
        raise error
    return kept


def _mapping(value: Any, map_to: str | None) -> SkeletonMap | None:
    from cohorts import Keypoints, skeleton

    if map_to is None:
        return None
    if not isinstance(value, tuple) or not value or not isinstance(value[0], Keypoints):
        raise CapbenchError("Expected 2D keypoints for --map-to.")
    return value[0].skeleton.map_to(skeleton(map_to))


def _mapping_data(mapping: SkeletonMap) -> dict[str, Any]:
    from capbench.cli.describe import mapping_details

    return mapping_details(mapping)


def _amount(value: Any) -> str:
    """How much was converted, in words."""
    from cohorts import Camera, Keypoints, Markers
    from cohorts.recording import Timed

    first = value[0] if isinstance(value, tuple) else value
    if isinstance(first, Camera):
        return count(len(value), "camera")
    if isinstance(first, Keypoints):
        frames = max(map(len, value))
        return f"{count(len(value), 'person', 'people')}, {count(frames, 'frame')} of {first.skeleton.name}"
    names = getattr(first, "names", ())
    columns = count(len(names), "marker" if isinstance(first, Markers) else "column") if names else ""
    frames = len(first) if isinstance(first, Timed) else 0
    return ", ".join(filter(None, [columns, count(frames, "frame")]))


def _lost(value: Any, target: Path, out: Format, *, timed: bool) -> list[str]:
    """What the output could not hold, found by reading it back; ``timed``: its times are seconds."""
    from capbench.cli.losses import losses
    from capbench.cli.registries import takes
    from cohorts import Keypoints, formats

    first = value[0] if isinstance(value, tuple) else value
    options: dict[str, Any] = {}
    lost = []
    if isinstance(first, Keypoints):
        known: dict[str, Any] = {"skeleton": first.skeleton.name, "camera": first.camera}
        if timed and len(first) > 1:
            frames, last = first.frames, float(first.time[-1])
            known["rate"] = first.rate if frames is None or not last > 0 else float(frames[-1]) / last
        options = {name: known[name] for name in known.keys() & takes(out, "read")}
        if not out.has_time and "rate" in options:
            lost.append(f"the rate: the file only counts frames; read it with --rate {options['rate']:.6g}")
    _, back = formats.read(target, format=out.name, **options)
    return lost + losses(value, back)


def in_words(told: dict[str, Any]) -> str:
    """The account for people."""
    read, written, mapping = told["read"], told["written"], told["mapping"]
    pairs = [
        ("read", f"{readable(Path(read['file']))} ({read['format']})"),
        *(("note", note) for note in read["notes"]),
        ("written", f"{readable(Path(written['file']))} ({written['format']}): {told['amount']}"),
    ]
    if mapping is not None:
        head = f"{mapping['source']} to {mapping['target']}"
        pairs.append(("mapped", f"{head}: {len(mapping['exact'])} points exactly"))
        pairs += [
            ("nearly", f"{point} from {' + '.join(near.points)}: {near.why}")
            for point, near in mapping["approximate"].items()
        ]
        if mapping["missing"]:
            pairs.append(("missing", ", ".join(mapping["missing"])))
    pairs += [("lost", loss) for loss in told["lost"]]
    return facts(pairs)
