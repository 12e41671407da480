"""``capbench models``: what can be evaluated: list, describe, check, init, convert, install."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from capbench.cli.common import (
    completes,
    count,
    echo_json,
    facts,
    force_option,
    json_option,
    quiet_option,
    readable,
    table,
    wrapped,
)
from cohorts.errors import CapbenchError, printable

if TYPE_CHECKING:
    from capbench.models.check import Line
    from capbench.models.registry import Found

PathOption = click.Path(path_type=Path)
#: environments that can be built: the names of ``capbench.models.environments``, told without importing it
INSTALLABLE = ("mmpose", "mediapipe")
_COLOURS = {"ok": "green", "odd": "yellow", "bad": "red"}


def names() -> tuple[str, ...]:
    """What can be named without a file, for completion."""
    from capbench.models.registry import model_names

    return model_names()


@click.group("models")
def command() -> None:
    """List, describe, check and prepare models.

    A MODEL is a name that "capbench models list" shows, a folder with model.yaml (or Hugging Face's
    config.json), a file of weights (.onnx, .pth, .safetensors), hf:ORG/NAME, mediapipe, or
    mmpose:CONFIG:CHECKPOINT.
    """


# --- list and describe --------------------------------------------------------------------------


@command.command("list")
@click.argument("folders", metavar="[FOLDER]...", nargs=-1, type=PathOption)
@json_option
def list_command(folders: tuple[Path, ...], as_json: bool) -> None:
    """List the built-in models and those in folders."""
    from capbench.models.card import FILE_NAME
    from capbench.models.registry import PREFIX, SOURCES, find_model, is_builtin_source, model_names

    rows: list[dict[str, Any]] = []
    for name in model_names():
        if is_builtin_source(name):
            what = SOURCES[name.removeprefix(PREFIX)]
            rows.append({"model": name, "route": "none", "points": "", "licence": "", "what": what})
        elif name.startswith(PREFIX) or name == "mediapipe":
            rows.append(_row(name, find_model(name)))
        else:
            rows.append(
                {"model": name, "route": "", "points": "", "licence": "", "what": "by another package"}
            )
    for folder in folders:
        if not folder.is_dir():
            raise CapbenchError("Expected a folder, got none.", file=folder)
        places = [folder, *sorted(entry for entry in folder.iterdir() if entry.is_dir())]
        rows += [_row(str(p), find_model(p)) for p in places if (p / FILE_NAME).is_file()]
    if as_json:
        echo_json(rows)
    else:
        click.echo(table(list(rows[0]), [list(row.values()) for row in rows]))


def _row(name: str, found: Found) -> dict[str, Any]:
    card = found.card
    points = "" if card.skeleton is None else card.points.name
    return {"model": name, "route": card.route, "points": points, "licence": card.licence, "what": card.title}


@command.command("describe")
@click.argument("model", required=False, shell_complete=completes(names))
@click.option("--schema", is_flag=True, help="Print the JSON Schema of model cards instead.")
@json_option
def describe(model: str | None, schema: bool, as_json: bool) -> None:
    """Say what a model's card says."""
    from capbench.models.card import schema as card_schema
    from capbench.models.registry import find_model

    if schema:
        echo_json(card_schema())
        return
    if model is None:
        raise click.UsageError("Missing argument 'MODEL'.")
    found = find_model(model)
    if as_json:
        echo_json({**found.card.model_dump(mode="json"), "fingerprint": found.fingerprint})
    else:
        click.echo(show(found))


def show(found: Found) -> str:
    """A card in words."""
    card = found.card
    pairs = [
        ("what", card.title),
        ("version", card.version),
        ("licence", card.licence),
        ("by", ", ".join(card.authors)),
        ("learnt from", _training(found)),
        ("gives", _gives(found)),
        ("runs by", card.route + (f" ({card.net.architecture})" if card.net is not None else "")),
        ("input", _input(found)),
        ("decoded", _codec(found)),
        ("devices", ", ".join(card.devices)),
        ("entry", " ".join(card.command)),
        ("files", ", ".join(f"{path} ({digest[:12]}…)" for path, digest in card.files.items())),
        ("fingerprint", found.fingerprint),
        *(("note", note) for note in card.notes),
    ]
    return f"{card.name}: a model\n" + facts([pair for pair in pairs if pair[1]])


def _training(found: Found) -> str:
    told = []
    for data in found.card.training_data:
        people = "made people" if data.synthetic else "recorded people"
        told.append(f"{data.name} ({'; '.join(filter(None, (people, data.note)))})")
    return ", ".join(told) or "not declared"


def _gives(found: Found) -> str:
    card = found.card
    if card.skeleton is None:
        return {"body": "body-model parameters", "motion": "joint angles"}.get(card.kind, card.kind)
    flat = "3D" if card.kind == "keypoints3d" else "2D"
    return f"{count(len(card.points), 'point')} of {card.points.name} in {flat}"


def _input(found: Found) -> str:
    given = found.card.input
    if given is None:
        return ""
    width, height = given.size
    mean, std = (" ".join(f"{v:g}" for v in values) for values in (given.mean, given.std))
    return (
        f"{width} x {height} px, {given.colour}, boxes padded by {given.padding:g}, "
        f"mean {mean}, std {std} of {given.scale}"
    )


def _codec(found: Found) -> str:
    codec = found.card.codec
    if codec is None:
        return ""
    words = codec.kind + (f", {codec.decoding}" if codec.decoding else "")
    words += f", {'udp' if codec.udp else 'msra'} geometry"
    return words + (", flip test" if found.card.flip_test else "")


# --- check --------------------------------------------------------------------------------------


@command.command("check")
@click.argument("model", shell_complete=completes(names))
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--threads", metavar="N", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--trust", is_flag=True, help="Run code that the model brings.")
@click.option(
    "--python", metavar="PATH", help="The interpreter for models that run in a process of their own."
)
@click.option("--picture", metavar="FILE", type=PathOption, help="Draw what it answers into a PNG.")
@force_option
@json_option
def check(
    model: str,
    device: str,
    threads: int,
    trust: bool,
    python: str | None,
    picture: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Run a model on a made-up person, and say what is odd.

    Four pictures of one person, from the front, behind and both sides. "bad" means that it can't be scored
    fairly as it is (exit code 1), "odd" that somebody should look.
    """
    from capbench.cli.model_pictures import draw, posed_person
    from capbench.models.check import check as look
    from capbench.models.registry import open_model
    from cohorts.bounded import check_new

    if picture is not None:
        check_new(picture, overwrite=force)
    running = open_model(model, device=device, trust=trust, python=python, threads=threads)
    try:
        person = posed_person()
        lines = look(
            running, list(person.pictures), person.boxes, truth=person.truth, truth_skeleton=person.skeleton
        )
        if picture is not None and lines[0].verdict != "bad":
            draw(
                picture,
                person,
                running.predict(list(person.pictures), person.boxes),
                running.card,
                force=force,
            )
        card = running.card
    finally:
        running.close()
    if as_json:
        echo_json({"model": card.name, "lines": lines})
    else:
        click.echo(_report(card.name, lines))
        _notes(card.notes)
    if any(line.verdict == "bad" for line in lines):
        raise click.exceptions.Exit(1)


def _report(name: str, lines: tuple[Line, ...]) -> str:
    told = []
    width = max(len(line.name) for line in lines)
    for line in lines:
        head = f"{line.verdict:<3}  {line.name:<{width}}  "
        text = wrapped(printable(line.words), head, " " * len(head))
        told.append(click.style(text[:3], fg=_COLOURS[line.verdict]) + text[3:])
    verdicts = [line.verdict for line in lines]
    worst = next(v for v in ("bad", "odd", "ok") if v in verdicts)
    ending = {
        "bad": f"{name} can't be scored fairly as it is.",
        "odd": f"{name} can be evaluated; look at what is odd.",
        "ok": f"{name} is ready to be evaluated.",
    }[worst]
    return "\n".join([*told, ending])


def _notes(notes: Iterable[str]) -> None:
    for note in notes:
        click.echo(wrapped(f"Note: {printable(note)}", "", "  "))


# --- init, convert and install ------------------------------------------------------------------


@command.command("init")
@click.argument("file", type=PathOption)
@click.option("--output", "-o", metavar="FILE", type=PathOption, help="Default: model.yaml beside it.")
@force_option
@quiet_option
def init(file: Path, output: Path | None, force: bool, quiet: bool) -> None:
    """Write a first card for a file of weights, a Python file or a Hugging Face folder.

    It holds what the file itself tells, notes what was guessed, and says above each key what it means.
    """
    from capbench.models.draft import commented, draft
    from cohorts.bounded import write_text

    card, beside = draft(file)
    target = output or beside
    if target.parent.resolve() != beside.parent.resolve():
        raise CapbenchError(
            "Expected the card in the model's own folder, got another.",
            file=target,
            fix=f"-o {beside.parent / target.name}",
        )
    write_text(target, commented(card), overwrite=force)
    if not quiet:
        click.echo(
            f"Wrote {readable(target)}. See to its notes, then: capbench models check {readable(target)}"
        )
        _notes(card.notes)


@command.command("convert")
@click.argument("source", metavar="CHECKPOINT", type=PathOption)
@click.argument("target", metavar="OUTPUT.safetensors", type=PathOption)
@click.option("--place", metavar="KEYS", help="Where in the file the weights lie, such as ema.module.")
@force_option
@quiet_option
def convert(source: Path, target: Path, place: str | None, force: bool, quiet: bool) -> None:
    """Rewrite a checkpoint (.pth, .pt, .bin) as .safetensors, which holds numbers and nothing that runs.

    Nothing of the checkpoint is run either: classes that it asks for are named, not imported.
    """
    from capbench.models.checkpoint import to_safetensors

    if target.suffix != ".safetensors":
        raise CapbenchError(f"Expected a name ending in .safetensors, got {target.name!r}.", file=target)
    made = to_safetensors(source, target, place=place, overwrite=force)
    if quiet:
        return
    where = f" from {made.place!r}" if made.place else ""
    click.echo(f"Wrote {made.parameters:,} numbers in {count(len(made.tensors), 'tensor')}{where}.")
    if made.neutralised:
        click.echo(f"Not run: {', '.join(map(printable, made.neutralised))}")
    _notes(made.notes)


@command.command("install")
@click.argument("name", type=click.Choice(INSTALLABLE))
@click.option("--fresh", is_flag=True, help="Build it again though it is there.")
@quiet_option
def install(name: str, fresh: bool, quiet: bool) -> None:
    """Build the Python environment that a kind of model runs in.

    MMPose and MediaPipe can't share ours. Once it is there: capbench evaluate mediapipe.
    """
    from capbench.models import environments

    python = environments.install(name, told=None if quiet else click.echo, fresh=fresh)
    if not quiet:
        click.echo(f"Its Python: {readable(python)}")
