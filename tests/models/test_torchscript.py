"""TorchScript: only with leave, and its outputs are told apart by their shapes."""

import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import small_models as small

from capbench.models.adapters import torchscript
from capbench.models.card import Codec
from capbench.models.faults import ModelFault
from capbench.models.registry import open_model
from cohorts.errors import CapbenchError, RefusedError


def traced(folder, net, card):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch is phasing it out
        torch.jit.trace(net, torch.zeros(2, 3, small.SIZE[1], small.SIZE[0])).save(str(folder / "w.pt"))
    return small.in_folder(folder, card, "w.pt")


@pytest.mark.parametrize("bins", [None, [128, 192]])
def test_the_same_keypoints_as_the_network_itself(bins, tmp_path) -> None:
    changes = {} if bins is None else {"bins": bins}
    codec = None if bins is None else Codec(kind="simcc")
    net = small.network(**changes)
    native, script = tmp_path / "native", tmp_path / "script"
    native.mkdir()
    script.mkdir()
    torch.save(net.state_dict(), native / "w.pth")
    small.in_folder(native, small.card_for(codec=codec, **changes), "w.pth")
    traced(script, net, small.card_for(route="torchscript", codec=codec))
    frames, boxes = small.pictures()
    wanted = open_model(native).predict(frames, boxes)
    found = open_model(script, trust=True).predict(frames, boxes)
    assert np.isfinite(wanted.points).any()
    assert np.allclose(found.points, wanted.points, equal_nan=True)


def test_it_needs_leave(tmp_path) -> None:
    folder = traced(tmp_path, small.network(), small.card_for(route="torchscript"))
    with pytest.raises(RefusedError, match="leave"):
        open_model(folder)
    with pytest.raises(RefusedError, match="a TorchScript file is a program"):
        torchscript.open(small.card_for(route="torchscript"), folder)


def test_a_file_that_is_none_says_so(tmp_path) -> None:
    torch.save({"w": torch.zeros(1)}, tmp_path / "w.pt")
    folder = small.in_folder(tmp_path, small.card_for(route="torchscript"), "w.pt")
    with pytest.raises(CapbenchError, match="TorchScript archive"):
        open_model(folder, trust=True)


def test_outputs_of_other_points_are_the_model_s_fault(tmp_path) -> None:
    folder = traced(tmp_path, small.network(points=5), small.card_for(route="torchscript"))
    with pytest.raises(ModelFault, match="17 points") as caught:
        open_model(folder, trust=True).predict(*small.pictures())
    assert caught.value.kind == "shape"
