"""A compiled network is used only where its gradient is the network's own."""

import pytest

torch = pytest.importorskip("torch")

from toy_people import toy_recipe

from cohorts.errors import CapbenchError
from synthpose.compiled import compiled

HOW = {"size": (64, 64), "precision": "fp32", "device": torch.device("cpu")}


class Wrong(torch.nn.Module):
    """Answers as the network does, and passes its head's gradient alone: what torch 2.13 did in bf16."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, pictures):
        return self.net.head(self.net.backbone(pictures).detach())


def state(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def test_a_right_one_is_taken_and_the_network_stays_as_it_was(monkeypatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda net: torch.nn.Sequential(net))
    net = toy_recipe().made.build(seed=0)
    before = state(net)
    assert isinstance(compiled(net, **HOW), torch.nn.Sequential)
    after = state(net)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.truth("a gradient that was cut off")
def test_one_whose_gradient_is_wrong_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(torch, "compile", Wrong)
    with pytest.raises(CapbenchError, match="gradient"):
        compiled(toy_recipe().made.build(seed=0), **HOW)


def test_networks_with_several_answers_are_looked_at_whole(monkeypatch) -> None:
    class Two(torch.nn.Module):
        def __init__(self, net, cut):
            super().__init__()
            self.net, self.cut = net, cut

        def forward(self, pictures):
            features = self.net.backbone(pictures)
            return self.net.head(features.detach()), features.detach() * 1 if self.cut else features, None

    net = toy_recipe().made.build(seed=0)
    monkeypatch.setattr(torch, "compile", lambda given: Two(given.net, cut=True))
    with pytest.raises(CapbenchError, match="gradient"):
        compiled(Two(net, cut=False), **HOW)
