"""MMPose: a config and a checkpoint, run by MMPose itself in a worker with a Python of its own.

``mmpose:CONFIG:CHECKPOINT``; CONFIG is a file, or the name of one of MMPose's own configs. The checkpoint is
read here, without running anything of it (:mod:`capbench.models.checkpoint`), and handed on as safetensors.
A config is a Python program all the same, and building the model runs it: that needs leave (``trust``). To
learn which points it gives, nothing is run: its text is looked at.
"""

from __future__ import annotations

import ast
import os
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

from capbench.models.card import ModelCard, file_below
from capbench.models.checkpoint import to_safetensors
from capbench.models.environments import ENVIRONMENTS, python_of
from capbench.models.worker import child
from capbench.models.worker.host import Launch, Worker
from cohorts.bounded import CARD_LIMIT, read_text
from cohorts.errors import CapbenchError
from cohorts.store import sha256

#: (points, part of the config's data set type, lower case) -> skeleton; what is absent needs a card
SKELETONS = {
    (17, "coco"): "coco-17",
    (17, "humanart"): "coco-17",
    (26, "halpe"): "halpe-26",
    (26, "coco"): "halpe-26",
    (52, "coco"): "synthpose-52",
    (133, "wholebody"): "coco-wholebody-133",
    (14, "crowdpose"): "crowdpose-14",
    (16, "mpii"): "mpii-16",
}


def find(rest: str) -> tuple[ModelCard, Path]:
    """The card and folder of "CONFIG:CHECKPOINT"."""
    config, colon, checkpoint = rest.rpartition(":")
    if not (config and colon and checkpoint):
        raise CapbenchError(
            f"Expected mmpose:CONFIG:CHECKPOINT, got 'mmpose:{rest}'.",
            fix="name the checkpoint (.pth) after the config, with a colon between them",
        )
    weights = Path(checkpoint).absolute()
    if not weights.is_file():
        raise CapbenchError("Expected a checkpoint, got no file of that name.", file=checkpoint)
    file = Path(config).absolute()
    if file.is_file():
        folder = Path(os.path.commonpath([file.parent, weights.parent]))
        entry = file.relative_to(folder).as_posix()
        files = {str(weights.relative_to(folder)): sha256(weights), entry: sha256(file)}
    else:
        file, folder, entry = _own_config(config), weights.parent, Path(config).with_suffix("").name
        files = {weights.name: sha256(weights)}
    return (
        ModelCard(
            name="".join(c if c.isalnum() or c in "._-" else "-" for c in weights.stem)[:80].lstrip("._-")
            or "mmpose",
            version="1",
            title=f"MMPose: {Path(entry).stem}",
            licence="unknown",
            route="mmpose",
            skeleton=skeleton_of(file),
            files=files,
            entry=entry,
            notes=("the card was made of what was typed; licence and training data are not known",),
        ),
        folder,
    )


def open(
    card: ModelCard,
    folder: Path,
    *,
    device: str = "cpu",
    python: str | None = None,
    threads: int | None = None,
) -> Worker:
    """The model behind a worker; it was the caller's part to have leave for the config to run."""
    if not isinstance(card.entry, str) or card.weights is None:
        raise CapbenchError(
            f"Expected the config as 'entry' and the checkpoint in 'files' of {card.name}, got neither.",
            file=folder,
        )
    interpreter = python_of("mmpose", python)
    own = "/" not in card.entry and not (folder / card.entry).is_file()
    config = card.entry if own else str(file_below(folder, card.entry).resolve())
    with tempfile.TemporaryDirectory(prefix="capbench-") as place:
        converted = Path(place) / "weights.safetensors"
        to_safetensors(file_below(folder, card.weights), converted)
        # without a name from here on: however this process ends, no copy of the weights stays behind
        weights = os.open(converted, os.O_RDONLY)
    worker = Worker(
        card,
        Launch(
            (interpreter, child.__file__, "mmpose"),
            model={"config": config, "weights": f"/proc/{os.getpid()}/fd/{weights}"},
            needs=ENVIRONMENTS["mmpose"].command,
        ),
        device=device,
        threads=threads,
    )
    weakref.finalize(worker, os.close, weights)  # not sooner: a fault may start the child anew
    return worker


# --- what a config's text tells -----------------------------------------------------------------


def skeleton_of(config: Path) -> str:
    """The skeleton of a config's points, from its text and that of the configs it is based on."""
    count: int | None = None
    data = ""
    for values in _texts(config):  # the config's own word goes first
        count = count or _points(values)
        data = data or str(values.get("dataset_type", "")).lower()
    for (points, kind), name in SKELETONS.items():
        if points == count and kind in data:
            return name
    raise CapbenchError(
        "Expected a config whose points are one of the built-in skeletons, got "
        f"{count or 'an unknown number of'} points of {data or 'an unknown data set'}.",
        file=config,
        fix="write a card (model.yaml: route mmpose, entry, skeleton, files): capbench models init",
    )


def _texts(config: Path, depth: int = 4) -> Iterator[dict[str, object]]:
    """What the top level of a config assigns, then that of each of its bases that can be found."""
    try:
        tree = ast.parse(read_text(config, CARD_LIMIT))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CapbenchError(f"Expected an MMPose config (Python), got: {error}.", file=config) from None
    values: dict[str, object] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value = node.value
            values[node.targets[0].id] = value.value if isinstance(value, ast.Constant) else value
    yield values
    given = values.get("_base_")
    bases = (
        [word.value for word in given.elts if isinstance(word, ast.Constant)] if _is_list(given) else [given]
    )
    for base in bases if depth else []:
        path = config.parent / base if isinstance(base, str) and "::" not in base else None
        if path is None and isinstance(base, str):
            path = _own_config(base)
        if path is not None and path.is_file():
            yield from _texts(path, depth - 1)


def _is_list(value: object) -> TypeGuard[ast.List | ast.Tuple]:
    return isinstance(value, ast.List | ast.Tuple)


def _points(values: dict[str, object]) -> int | None:
    """The ``out_channels`` of the head in ``model = dict(head=dict(...))``, a number or a name of one."""
    found: object = values.get("model")
    for key in ("head", "out_channels"):
        if not isinstance(found, ast.Call):
            return None
        found = next((word.value for word in found.keywords if word.arg == key), None)
    if isinstance(found, ast.Name):
        found = values.get(found.id)
    found = found.value if isinstance(found, ast.Constant) else found
    return found if isinstance(found, int) else None


def _own_config(name: str) -> Path:
    """One of MMPose's own configs by name, where its environment keeps them."""
    stem = Path(name).with_suffix("").name
    root = Path(python_of("mmpose")).parent.parent
    found = sorted(root.glob(f"lib/python3*/site-packages/mmpose/.mim/configs/**/{stem}.py")) if stem else []
    if not found:
        raise CapbenchError(
            f"Expected a config, got {name!r}: neither a file nor one of MMPose's own.",
            fix="give the path of the .py file",
        )
    return found[0]
