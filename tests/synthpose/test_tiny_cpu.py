"""The recipe tiny-cpu from nothing: people made, pictures rendered, a network trained to a fixed quality."""

import numpy as np
import pytest

pytest.importorskip("torch")

from synthpose.feeding import Labelled, held
from synthpose.progress_log import read_log
from synthpose.shards import Shards, write_shards
from synthpose.train import train
from synthpose.train_recipe import read_recipe

#: pixels of the 64 x 96 crops, over all points of two people never trained on: 4.3 when it was written
BAR = 5.0


def test_tiny_cpu_reaches_its_quality(tmp_path) -> None:
    recipe = read_recipe("tiny-cpu")
    assert recipe.data is not None
    write_shards(recipe.data, tmp_path / "pictures", count=recipe.pictures, workers=2, told=lambda _: None)
    data = held(Labelled(Shards(tmp_path / "pictures")))
    done = train(recipe, tmp_path / "trained", data=data, data_hash=recipe.data.digest)
    assert done.done
    assert done.validation["px"] < BAR
    # and far below the mean posture, which knows nothing of the picture
    seen, shots = data.visible > 0, recipe.checks.shots
    trained_on = np.where(seen[:-shots, :, None], data.points[:-shots], np.nan)
    blind = np.linalg.norm(data.points[-shots:] - np.nanmean(trained_on, axis=0), axis=-1)
    assert done.validation["px"] < 0.7 * blind[seen[-shots:]].mean()
    losses = [entry["loss"] for entry in read_log(done.folder / "log.jsonl") if "loss" in entry]
    assert losses[-1] < 0.4 * losses[0]
    assert done.waiting < 0.1
