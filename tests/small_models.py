"""Small networks of our own in folders, with cards; pictures; scripts/model_routes.py as a module."""

import importlib.util
import sys
from pathlib import Path

import numpy as np

from capbench.models.card import Codec, Input, ModelCard, Net, write_card
from capbench.models.nets.architecture import from_options
from cohorts.store import sha256

SIZE = (64, 96)
HRNET = ("hrnet-w32", {"width": 8, "stem_width": 4, "stem_blocks": 1, "blocks": 1, "modules": [1, 1, 1]})
VIT = ("vit-tiny", {"width": 24, "depth": 1, "heads": 3, "deconv": [8, 8]})


def script():
    """scripts/model_routes.py; the same module each time."""
    path = Path(__file__).parents[1] / "scripts" / "model_routes.py"
    name = "scripts_model_routes"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look for their module
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def network(base=HRNET, *, points=17, size=SIZE, seed=0, **changes):
    return from_options(base[0], base[1] | changes, points=points, input_size=size).build(seed=seed).eval()


def card_for(base=HRNET, *, points="coco-17", size=SIZE, route="torch", codec=None, **changes):
    return ModelCard(
        name="small",
        version="1",
        licence="CC0-1.0",
        route=route,
        skeleton=points,
        net=Net(architecture=base[0], options=base[1] | changes),
        input=Input(size=size),
        codec=codec or Codec(kind="heatmap", decoding="argmax"),
    )


def in_folder(folder, card, weights):
    """``folder`` with the card of the weights that lie in it."""
    write_card(folder / "model.yaml", card.model_copy(update={"files": {weights: sha256(folder / weights)}}))
    return folder


def pictures(count=2, *, seed=0):
    """Frames of noise and boxes in them."""
    random = np.random.default_rng(seed)
    frames = list(random.integers(0, 256, (count, 120, 160, 3), dtype=np.uint8))
    corner = random.uniform(0, 40, (count, 2))
    return frames, np.concatenate([corner, corner + random.uniform(40, 80, (count, 2))], axis=1)
