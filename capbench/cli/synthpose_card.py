"""What ``capbench synthpose`` says of what it trained: model cards, and where trainings lie."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from capbench.cli.common import count
from cohorts.errors import CapbenchError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from capbench.models.card import ModelCard, TrainingData
    from synthpose.train_recipe import TrainRecipe

START = "start.json"  #: of a training: what the weights it started from had learnt from
TEACHER = "teacher.json"  #: of a training: what the network that taught it had learnt from
CROPS = 24  #: synthetic people that an export is held against the network on


def run_folder(path: Path) -> Path:
    """The folder of one training; one that holds several is told apart kindly."""
    from synthpose.train import MODEL, RECIPE

    if (path / RECIPE).is_file() and (path / MODEL).is_file():
        return path
    inside = sorted(p.parent.name for p in path.glob(f"*/{RECIPE}")) if path.is_dir() else []
    raise CapbenchError(
        f"Expected the folder of a training, with {RECIPE} and {MODEL}, got "
        + (f"one that holds those of {', '.join(inside)}." if inside else "another."),
        file=path,
        fix=str(path / inside[-1]) if inside else "capbench synthpose train RECIPE -o FOLDER",
    )


def training_card(
    recipe: TrainRecipe,
    *,
    before: Sequence[TrainingData] = (),
    notes: Sequence[str] = (),
) -> ModelCard:
    """The card of what a recipe trains; ``before`` is what the weights it started from had learnt from."""
    from capbench.models.card import Input, TrainingData
    from synthpose.export import draft_card
    from synthpose.train_recipe import Mixture

    made = recipe.data
    mixed = recipe.sources or {recipe.name: Mixture(kind="made")}
    sources = list(before)
    for name, how in mixed.items():
        if how.kind == "made" and made is not None:
            note = f"{count(recipe.pictures, 'picture')} of people who do not exist; data recipe SHA-256 "
            sources.append(TrainingData(name=f"synthpose {name}", synthetic=True, note=note + made.digest))
        else:  # nothing is known of a user's pictures but what their recipe says
            sources.append(TrainingData(name=name, synthetic=False, note=how.note))
    return draft_card(
        recipe.made,
        training=[one for k, one in enumerate(sources) if one not in sources[:k]],
        recipe=recipe.digest,
        notes=notes,
        name=recipe.name,
        version="1",
        title=recipe.title,
        skeleton=recipe.skeleton,
        input=Input(size=recipe.network.input_size, padding=1.25 if made is None else made.padding),
        codec=recipe.codec,
    )


def trained_card(training: Path, recipe: TrainRecipe) -> ModelCard:
    """The card of a training's best weights: what they followed from, with its hashes."""
    from capbench.models.card import TrainingData
    from cohorts.bounded import load_json
    from cohorts.store import sha256
    from synthpose.train import MODEL, RESULT

    notes = [f"Weights of the training: {MODEL} with SHA-256 {sha256(training / MODEL)}."]
    told: Mapping[str, Any] = {}
    if (training / RESULT).is_file():
        told = load_json(training / RESULT)
        best = told["best"]
        notes.append(
            f"{told['steps']:,} steps, {told['samples']:,} pictures with repetition, "
            f"{told['seconds'] / 3600:.1f} h on {told['device']}, torch {told['torch']}"
            + (f"; best at step {best['step']:,}." if best["value"] is not None else ".")
        )
    else:
        notes.append("Of a training that is not over.")
    hashes = told.get("hashes", {})
    before: list[TrainingData] = []
    for key, file, words in (("start", START, "Started from"), ("teacher", TEACHER, "Taught by")):
        if digest := hashes.get(key):
            notes.append(f"{words} weights with SHA-256 {digest}.")
            kept = load_json(training / file) if (training / file).is_file() else {}
            if kept.get("sha256") == digest:
                before += [TrainingData.model_validate(one) for one in kept["training_data"]]
            else:
                before.append(_undeclared("weights", digest))
    return training_card(recipe, before=before, notes=notes)


def note_start(folder: Path, weights: Path, digest: str, *, name: str = START) -> None:
    """Keep beside a training what the weights that it follows from had learnt from, for its card."""
    import json

    from cohorts.bounded import write_text

    told = [one.model_dump(mode="json") for one in learnt_from(weights, digest)]
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"sha256": digest, "training_data": told}, indent=1)
    write_text(folder / name, text + "\n", overwrite=True)


def learnt_from(weights: Path, digest: str) -> tuple[TrainingData, ...]:
    """What weights learnt from: a training's own account, a model's card, or that nobody said."""
    from capbench.models.card import FILE_NAME, read_card
    from synthpose.train import RECIPE, load_trained

    folder = weights if weights.is_dir() else weights.parent
    if (folder / RECIPE).is_file():
        return trained_card(folder, load_trained(folder)[0]).training_data
    if (folder / FILE_NAME).is_file():
        card = read_card(folder)
        if digest in card.files.values() and card.training_data:
            return card.training_data
    return (_undeclared(weights.name, digest),)


def _undeclared(name: str, digest: str) -> TrainingData:
    from capbench.models.card import TrainingData

    note = f"weights that the training followed from, SHA-256 {digest}; what they learnt from is not declared"
    return TrainingData(name=name, synthetic=False, note=note)


def model_of(training: Path) -> Path:
    """The best weights of a training as a model's folder inside it, written anew when they changed."""
    from capbench.models.card import FILE_NAME, read_card
    from cohorts.store import sha256
    from synthpose.export import write_torch
    from synthpose.train import MODEL, load_trained
    from synthpose.vitpose_export import WEIGHTS

    folder, digest = training / "model", sha256(training / MODEL)
    if (folder / FILE_NAME).is_file():
        card = read_card(folder)
        if any(digest in note for note in card.notes) and (folder / WEIGHTS).is_file():
            return folder
    recipe, net = load_trained(training)
    shutil.rmtree(folder, ignore_errors=True)
    write_torch(folder, net, trained_card(training, recipe))
    return folder


def export_crops(recipe: TrainRecipe, number: int = CROPS) -> NDArray[np.uint8]:
    """Synthetic people that were not trained on, as the network gets them."""
    from synthpose.data_recipe import DataRecipe
    from synthpose.shots import draw_shot

    size = recipe.network.input_size
    base = recipe.data or DataRecipe(seed=0)
    changes = {
        "seed": base.seed + 7919,
        "size": size,
        "shots_per_person": 12,
        "motions_per_person": 2,
        "variants": 1,
    }
    other = base.model_copy(update=changes)
    return np.stack([draw_shot(other, k).picture for k in range(number)])
