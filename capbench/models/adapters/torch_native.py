"""Our own HRNet and ViT with the weights of an MMPose, ViTPose or capbench checkpoint, which is only read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from capbench.models.adapters.torch_run import Network, need_torch
from capbench.models.card import Codec, Decoding, Input, ModelCard, Net, Points, file_below, input_of
from capbench.models.checkpoint import read_checkpoint
from capbench.models.mmpose_text import Said, points_of, said
from capbench.models.nets import names
from capbench.models.nets.architecture import (
    Architecture,
    ViTSize,
    architecture_of,
    from_options,
    to_options,
)
from capbench.models.topdown import TopDown
from cohorts.bounded import about
from cohorts.errors import CapbenchError
from cohorts.skeleton import skeleton
from cohorts.store import sha256

#: how many points -> which skeleton bare weights are taken to have
SKELETONS = {17: "coco-17", 26: "halpe-26", 52: "synthpose-52", 133: "coco-wholebody-133"}


def open(card: ModelCard, folder: Path, *, device: str = "cpu", threads: int | None = None) -> TopDown:
    """The network that ``card.net`` names with the weights of its first file.

    ``threads`` is torch's, within one operator; one gives the same bytes on every machine of a kind.
    """
    need_torch()
    if card.weights is None:
        raise CapbenchError(f"Expected a checkpoint among the files of {card.name}, got none.", file=folder)
    made = architecture_of_card(card)
    path = file_below(folder, card.weights)
    from capbench.models.nets.pose import load

    with about(path):
        net = load(made, names.to_ours(read_checkpoint(path).tensors))
    convolves = not isinstance(made.backbone, ViTSize)
    network = Network(net, device=device, threads=threads, channels_last=convolves)

    def run(batch: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        found = network(batch)
        roles = ("heatmaps",) if made.head.bins is None else ("simcc_x", "simcc_y")
        return dict(zip(roles, found.values(), strict=True))

    return TopDown(card, run, close=network.close)


def architecture_of_card(card: ModelCard) -> Architecture:
    """What ``card.net`` describes."""
    if card.net is None:
        raise CapbenchError(f"Expected 'net' in the card of {card.name}, got none.", fix="add net:")
    return from_options(
        card.net.architecture, card.net.options, points=len(card.points), input_size=input_of(card).size
    )


# --- weights without a card -------------------------------------------------------------------------


def card_of(path: Path) -> ModelCard:
    """A card for bare weights: read off their names and shapes, and the configuration kept beside them."""
    found = read_checkpoint(path)
    with about(path):
        card = card_from_state_dict(found.tensors, name=path.stem, meta=found.meta)
    notes = [*card.notes]
    if found.place:
        notes.append(f"Weights taken from {found.place!r} in the file.")
    if found.neutralised:
        listed = ", ".join(found.neutralised[:6]) + (" …" if len(found.neutralised) > 6 else "")
        notes.append(f"The file asked for code that was not run: {listed}.")
    return card.model_copy(update={"files": {path.name: sha256(path)}, "notes": tuple(notes)})


def card_from_state_dict(
    state: Mapping[str, NDArray[Any]], *, name: str = "model", meta: Mapping[str, Any] | None = None
) -> ModelCard:
    """What weights tell of themselves: network, number of points, input size; ``notes`` say what was guessed.

    ``meta`` is what MMPose keeps beside weights: its configuration as text and the points' names.
    """
    told = said(meta)
    notes: list[str] = []
    if told.heads is not None and "heads" in told.guessed:
        notes.append("attention heads taken from the configuration's name of the network")
    shapes = {key: array.shape for key, array in names.to_ours(state).items()}
    made = architecture_of(shapes, input_size=told.input_size, heads=told.heads, notes=notes)
    net, options = to_options(made)
    return ModelCard(
        name="".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in name).lstrip("._-")[
            :80
        ]
        or "model",
        version="1",
        title=f"{net}{', changed' if options else ''}, {made.head.points} points",
        licence="unknown",
        route="torch",
        skeleton=_skeleton(made.head.points, meta, notes),
        net=Net(architecture=net, options=options),
        input=Input(size=made.input_size, padding=told.padding or 1.25),
        codec=_codec(made, told, notes),
        flip_test=_or(told.flip_test, False, "no flip test", notes),
        shift_heatmap=told.shift_heatmap,
        notes=tuple(f"Guessed: {note}." for note in notes),
    )


def _or(value: Any, default: Any, words: str, notes: list[str]) -> Any:
    if value is None:
        notes.append(words)
        return default
    return value


def _skeleton(count: int, meta: Mapping[str, Any] | None, notes: list[str]) -> str | Points:
    """The built-in skeleton of so many points, unless the names beside the weights say otherwise."""
    given = points_of(meta)
    if given is not None and len(given.points) == count:
        if count in SKELETONS and _alike(SKELETONS[count], given.points):
            return SKELETONS[count]
        return given
    if count in SKELETONS:
        notes.append(f"{SKELETONS[count]}, as there are {count} points")
        return SKELETONS[count]
    notes.append(f"{count} points of unknown names: give them, or a skeleton")
    return Points(name=f"points-{count}", points=tuple(f"point_{i}" for i in range(count)))


def _alike(name: str, points: tuple[str, ...]) -> bool:
    """Whether ``points`` are those of a built-in skeleton, in its order, up to spelling."""
    known = skeleton(name)

    def place(point: str) -> int:
        try:
            return known.index(point)
        except CapbenchError:
            return -1

    found = [place(point) for point in points]
    # SynthPose's own list names two neighbours the other way round than it trained them: order by channel
    return found == list(range(len(known))) or (name == "synthpose-52" and sorted(found) == list(range(52)))


def _codec(made: Architecture, told: Said, notes: list[str]) -> Codec:
    if made.head.bins is not None:
        return Codec(kind="simcc", split_ratio=told.split_ratio, sigma=told.sigma)
    if told.decoding is not None:
        kernel = told.kernel or Codec.model_fields["kernel"].default
        return Codec(kind="heatmap", decoding=told.decoding, sigma=told.sigma, kernel=kernel)
    decoding: Decoding = "udp" if isinstance(made.backbone, ViTSize) else "dark"
    notes.append(f"decoding {decoding}, as published for such networks")
    return Codec(kind="heatmap", decoding=decoding)
