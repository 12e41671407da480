"""Distillation: what a teacher asks for, point by point, and that a student learns it."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import toy_distilling
import toy_training
from toy_people import TINY, ToyPeople, toy_recipe
from toy_teachers import brute, oracle, random_teacher

from capbench.models.checkpoint import read_checkpoint
from cohorts.errors import CapbenchError
from cohorts.skeleton import skeleton
from cohorts.store import sha256
from synthpose import distill as module
from synthpose.cells import Cells, Resampled
from synthpose.distill import (
    FIRST,
    Distillation,
    SelfTaught,
    Taught,
    distill,
    first_folder,
    second_recipe,
    shared_points,
    teacher_from,
)
from synthpose.losses import Terms, cells_of, loss_of
from synthpose.progress_log import read_log
from synthpose.train import LAST, MODEL, RECIPE, RESULT, load_trained, start_from, train
from synthpose.train_recipe import merged
from synthpose.training_state import NAME as STATE


@pytest.fixture(scope="module")
def data():
    return ToyPeople(40)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("synthpose.train.draw_curves", lambda log, target: None)


def short(steps, **changes):
    """A training of so many steps, looked at in its middle and its end."""
    base = {"samples": 8 * steps, "checks": {"every": max(1, steps // 2), "log": 1}}
    return toy_recipe(**merged(base, changes))


def weights(folder, name=LAST):
    return read_checkpoint(folder / name).tensors


def same(a, b):
    assert set(a) == set(b)
    assert [name for name in a if not np.array_equal(a[name], b[name])] == []


# --- losses -----------------------------------------------------------------------------------------


def maps(*shape, seed=0, scale=2.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


WEIGHT = torch.tensor([[1.0, 0.25, 0.0], [0.0, 2.0, 1.0]])


def softmaxed(values):
    shifted = [math.exp(v - max(values)) for v in values]
    return [v / sum(shifted) for v in shifted]


def brute_divergence(own, theirs):
    """sum q log(q / p) of two lists of logits, and its gradient for the first."""
    p, q = softmaxed(own), softmaxed(theirs)
    return sum(b * math.log(b / a) for a, b in zip(p, q, strict=True)), [
        a - b for a, b in zip(p, q, strict=True)
    ]


@pytest.mark.truth("a loop over cells, and the gradient p - q")
@pytest.mark.parametrize("bins", [False, True])
def test_divergence_from_a_teacher_s_maps(bins) -> None:
    if bins:
        own, theirs = ((maps(2, 3, 7, seed=s), maps(2, 3, 9, seed=s + 1)) for s in (0, 2))
    else:
        own, theirs = ((maps(2, 3, 4, 5, seed=s),) for s in (0, 2))
    for values in own:
        values.requires_grad_(True)
    value, gradients = 0.0, [np.zeros(v.flatten(2).shape) for v in own]
    for n in range(2):
        for k in range(3):
            for part in range(len(own)):
                lists = [side[part][n, k].flatten().tolist() for side in (own, theirs)]
                apart, gradient = brute_divergence(*lists)
                value += float(WEIGHT[n, k]) * apart / float(WEIGHT.sum())
                gradients[part][n, k] = float(WEIGHT[n, k]) * np.array(gradient) / float(WEIGHT.sum())
    given = own if bins else own[0]
    target = module.targets(theirs if bins else theirs[0], None, kind="divergence")
    found = module.maps_apart(given, target, WEIGHT, kind="divergence")
    assert found.item() == pytest.approx(value, rel=1e-5)
    found.backward()
    for values, gradient in zip(own, gradients, strict=True):
        np.testing.assert_allclose(values.grad.flatten(2), gradient, atol=1e-6)
    again = module.targets(given, None, kind="divergence")
    assert module.maps_apart(given, again, WEIGHT, kind="divergence").item() == pytest.approx(0, abs=1e-6)


@pytest.mark.truth("a loop over cells")
def test_squares_from_a_teacher_s_maps_are_weighed_as_the_truth_s() -> None:
    own, theirs = maps(2, 3, 4, 5).requires_grad_(True), maps(2, 3, 4, 5, seed=1)
    total, gradient = 0.0, np.zeros((2, 3, 4, 5))
    for n, k, y, x in np.ndindex(2, 3, 4, 5):
        difference, weight = float(own[n, k, y, x] - theirs[n, k, y, x]), float(WEIGHT[n, k])
        total += weight**2 * difference**2 / 120
        gradient[n, k, y, x] = 2 * weight**2 * difference / 120
    found = module.maps_apart(own, module.targets(theirs, None, kind="mse"), WEIGHT, kind="mse")
    assert found.item() == pytest.approx(total, rel=1e-5)
    found.backward()
    np.testing.assert_allclose(own.grad, gradient, atol=1e-7)
    # a teacher that answers with the truth's own target is the truth
    points = torch.tensor([[[1.0, 2.0], [0.5, 1.5], [3.0, 0.0]]] * 2)
    at = [torch.arange(n).float() for n in (4, 5)]
    squared = (at[0][:, None] - points[..., 1, None, None]) ** 2 + (at[1] - points[..., 0, None, None]) ** 2
    target = module.targets(torch.exp(-squared / 2), None, kind="mse")
    asked = toy_recipe(loss={"kind": "mse", "soft_argmax": 0.0}).loss
    truth = loss_of(own, points, WEIGHT, asked).total
    torch.testing.assert_close(module.maps_apart(own, target, WEIGHT, kind="mse"), truth)


@pytest.mark.truth("sums by hand")
def test_a_teacher_s_shares_are_shares_in_the_student_s_cells_too() -> None:
    sides = ((Cells(8, 0.0, 1 / 8),) * 2, (Cells(6, 0.0, 1 / 6),) * 2)
    answer = maps(2, 3, 8, 8)
    (found,) = module.targets(answer, Resampled(*sides), kind="divergence")
    x = brute(*(side[0] for side in sides))
    for n, k in np.ndindex(2, 3):
        shares = np.array(softmaxed(answer[n, k].flatten().tolist())).reshape(8, 8)
        expected = x @ shares @ x.T
        np.testing.assert_allclose(found[n, k], expected / expected.sum(), atol=1e-6)
    two = module.targets((answer[:, :, 0], answer[:, :, 1]), Resampled(*sides), kind="divergence")
    for row, shares in enumerate(two):
        expected = np.array([[x @ softmaxed(line.tolist()) for line in some] for some in answer[:, :, row]])
        np.testing.assert_allclose(shares, expected / expected.sum(2, keepdims=True), atol=1e-6)


# --- points -----------------------------------------------------------------------------------------


@pytest.mark.truth("a loop over landmarks")
@pytest.mark.parametrize(
    ("own", "teacher", "number"),
    [("coco-17", "openpose-25", 17), ("synthpose-52", "crowdpose-14", 12), ("crowdpose-14", "halpe-26", 12)],
)
def test_points_are_matched_by_landmark(own, teacher, number) -> None:
    own, teacher = skeleton(own), skeleton(teacher)
    pairs = {
        (i, j)
        for i, landmark in enumerate(own.landmarks)
        for j, other in enumerate(teacher.landmarks)
        if landmark == other
    }
    mine, theirs = shared_points(own, teacher)
    assert set(zip(mine, theirs, strict=True)) == pairs
    assert len(mine) == number


# --- the first stage's loss, whole ------------------------------------------------------------------


def in_their_size(pictures):
    """64 x 64 -> 96 x 96 by a loop: pixel j of the larger shows what lies at j · 64 / 96."""
    axis = brute(Cells(64, 0.0, 1 / 64), Cells(96, 0.0, 1 / 96))
    return torch.from_numpy(np.einsum("nchw,Hh,Ww->ncHW", pictures, axis, axis)).float()


@pytest.mark.truth("loops over pictures, points, channels and cells")
@pytest.mark.parametrize("share", [0.0, 0.25, 0.875])
def test_the_whole_loss_of_a_teacher_of_other_size_width_and_points(share) -> None:
    recipe, teacher = toy_recipe(skeleton="crowdpose-14"), random_teacher()
    how = Distillation(features=0.7, maps=0.3, truth=0.5, unlabelled=0.125)
    taught = Taught(recipe, teacher, how)
    net = recipe.made.build(seed=1)
    torch.nn.init.normal_(net.head.final_layer.weight, std=0.5)
    pictures = maps(2, 3, 64, 64, scale=1.0)
    weight = torch.ones(2, 14)
    weight[0, :5], weight[1, 7] = 0, 0.5
    called = taught.around(net)
    called.eval()
    out, features = called(pictures)
    truth = Terms((out**2).mean(), {"maps": (out**2).mean().detach()})
    found = taught.terms(truth, (out, features), pictures, weight, share=share)

    with torch.no_grad():
        seen = in_their_size(pictures)
        untouched = random_teacher().net  # whose norms know no batch
        their_features, own_features = untouched.backbone(seen), net.backbone(pictures)
        their_maps, own_maps = untouched(seen), net(pictures)
        kernel, bias = (value.detach().numpy() for value in (taught.own.weight[:, :, 0, 0], taught.own.bias))
    axis = brute(Cells(24, 0.0, 1 / 24), Cells(16, 0.0, 1 / 16))  # both at the coarser cells
    their_features = np.einsum("nchw,Hh,Ww->ncHW", their_features, axis, axis)
    own_features = np.einsum("nchw,dc->ndhw", own_features, kernel) + bias[None, :, None, None]
    apart = ((own_features - their_features) ** 2).mean()
    divergences = []
    names, theirs = recipe.points.landmarks, teacher.recipe.points.landmarks
    for n in range(2):
        for k, landmark in enumerate(names):
            if landmark not in theirs:
                continue
            logits = their_maps[n, theirs.index(landmark)].flatten().tolist()
            shares = axis @ np.array(softmaxed(logits)).reshape(24, 24) @ axis.T
            shares = (shares / shares.sum()).ravel()
            own = np.array(softmaxed(own_maps[n, k].flatten().tolist()))
            counts = float(weight[n, k]) or 0.125
            divergences.append((counts, counts * (shares * np.log(shares / own)).sum()))
    divergence = sum(value for _, value in divergences) / sum(counts for counts, _ in divergences)
    assert len(divergences) == 2 * 12
    expected = {
        "maps": 0.5 * float(truth.total),
        "teacher_features": (1 - share) * 0.7 * apart,
        "teacher_maps": (1 - share) * 0.3 * divergence,
    }
    assert {name: float(value) for name, value in found.parts.items()} == pytest.approx(expected, rel=1e-4)
    assert float(found.total) == pytest.approx(sum(expected.values()), rel=1e-4)

    found.total.backward()
    lacking = [k for k, landmark in enumerate(names) if landmark not in theirs]
    assert len(lacking) == 2
    net.zero_grad()
    out, _ = called(pictures)
    truth = Terms(0.0 * out.sum(), {})
    taught.terms(truth, (out, None), pictures, weight, share=share).total.backward()
    moved = net.head.final_layer.weight.grad.flatten(1).abs().sum(1) > 0
    assert [k for k in range(14) if not moved[k]] == lacking  # no teacher, no loss
    assert all(parameter.grad is None for parameter in teacher.net.parameters())


def test_where_the_truth_says_nothing_the_teacher_may() -> None:
    teacher, recipe = random_teacher(), toy_recipe()
    pictures, out = maps(2, 3, 64, 64), maps(2, 17, 16, 16)
    nothing, some = torch.zeros(2, 17), torch.zeros(2, 17)
    some[:, 4] = 1
    none = Terms(torch.zeros(()), {})
    for unlabelled, weight, positive in ((0.0, nothing, False), (1.0, nothing, True), (0.0, some, True)):
        taught = Taught(recipe, teacher, Distillation(features=0, unlabelled=unlabelled))
        found = taught.terms(none, (out, None), pictures, weight, share=0.0)
        assert (float(found.total) > 0) == positive


@pytest.mark.truth("the recipe's own loss")
def test_an_oracle_asks_for_what_the_truth_does(data) -> None:
    """Its maps are the Gaussians at the points, so that value and gradient are those of the ordinary loss."""
    recipe = toy_recipe(loss={"soft_argmax": 0.0})
    taught = Taught(recipe, oracle(data), Distillation(features=0, maps=1, truth=0))
    out = maps(8, 17, 16, 16).requires_grad_(True)
    pictures = module_input(data.pictures[3:11])
    weight = torch.rand(8, 17, generator=torch.Generator().manual_seed(2))
    points = cells_of(torch.from_numpy(data.points[3:11, :17]), recipe.made, udp=False)
    truth = loss_of(out, points, weight, recipe.loss)
    found = taught.terms(truth, (out, None), pictures, weight, share=0.0)
    torch.testing.assert_close(found.total, truth.total, rtol=1e-4, atol=0)
    gradients = [torch.autograd.grad(one.total, out, retain_graph=True)[0] for one in (truth, found)]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-8)


def module_input(pictures):
    from synthpose.looks import network_input

    return network_input(pictures, torch.device("cpu"))


# --- training with a teacher ------------------------------------------------------------------------


def test_it_fades_in_a_straight_line(tmp_path, data) -> None:
    """DWPose: 1 - (t - 1) / t_max for t = 1, 2, …; what the losses are multiplied by is tested above."""
    shares = []

    class Spied(Taught):
        def terms(self, truth, answer, pictures, weight, *, share):
            shares.append(share)
            return super().terms(truth, answer, pictures, weight, share=share)

    recipe = short(5)
    spied = Spied(recipe, random_teacher(), Distillation())
    train(recipe, tmp_path / "out", data=data, beside=spied)
    assert [1 - share for share in shares] == pytest.approx([1 - (t - 1) / 5 for t in range(1, 6)])


def test_without_weights_it_is_an_ordinary_training(tmp_path, data) -> None:
    how = Distillation(features=0, maps=0, second=0)
    taught = distill(short(4), tmp_path / "taught", teacher=random_teacher(), how=how, data=data)
    plain = train(short(4), tmp_path / "plain", data=data)
    same(weights(taught.folder), weights(plain.folder))
    found = distill(
        short(4), tmp_path / "more", teacher=random_teacher(), data=data, how=Distillation(second=0)
    )
    assert not np.array_equal(
        weights(found.folder)["backbone.stem.0.weight"], weights(plain.folder)["backbone.stem.0.weight"]
    )


def test_a_perfect_teacher_teaches_without_any_truth(tmp_path, data) -> None:
    """At equal steps, the ordinary loss switched off: from its maps alone, and from nobody nothing."""
    recipe = short(40)
    how = Distillation(features=0, maps=1, truth=0, second=0)
    best = distill(recipe, tmp_path / "oracle", teacher=oracle(data), how=how, data=data)
    other = distill(recipe, tmp_path / "random", teacher=random_teacher(), how=how, data=data)
    assert best.validation["px"] < 0.5 * other.validation["px"]
    assert best.validation["px"] < 8


def test_the_projection_is_trained_and_thrown_away(tmp_path, data) -> None:
    recipe, teacher = short(12), random_teacher()
    how = Distillation(features=1, maps=0, truth=0, second=0)
    done = distill(recipe, tmp_path / "out", teacher=teacher, how=how, data=data)
    state = weights(done.folder, STATE)
    before = module.projection(16, 20, seed=recipe.seed)
    assert state["own.weight"].shape == (20, 16, 1, 1)
    assert np.abs(state["own.weight"] - before.weight.detach().numpy()).max() > 1e-3
    assert not any(name.startswith("own") for name in weights(done.folder, MODEL))
    fresh = recipe.made.build(seed=0).head.final_layer.weight.detach().numpy()
    log = [entry["parts"] for entry in read_log(done.folder / "log.jsonl") if "parts" in entry]
    fading = [entry["teacher_features"] / (1 - step / 12) for step, entry in enumerate(log)]
    assert np.mean(fading[-3:]) < 0.8 * np.mean(fading[:3])  # the features themselves come closer
    assert set(log[0]) == {"maps", "soft_argmax", "teacher_features"}
    assert log[0]["maps"] == log[0]["soft_argmax"] == 0
    # nobody asked the head for anything
    np.testing.assert_allclose(weights(done.folder)["head.final_layer.weight"], fresh, atol=1e-6)


VIT = {"architecture": "vit-tiny", "options": {"width": 24, "depth": 2, "heads": 3, "head": "simple"}}


@pytest.mark.parametrize(
    ("network", "loss", "teacher", "precision"),
    [
        ({"options": {"bins": [128, 128]}}, {"sigma": 3.0}, {"options": {"bins": [192, 192]}}, "fp32"),
        ({}, {"kind": "mse", "soft_argmax": 0.0, "sigma": 1.5}, {}, "fp32"),
        ({}, {}, {}, "bf16"),
        (VIT, {}, {}, "fp32"),
    ],
)
def test_all_kinds_of_heads_learn_from_their_like(tmp_path, data, network, loss, teacher, precision) -> None:
    recipe = short(16, loss=loss, precision=precision, optimiser={"warm_up": 0})
    content = recipe.network.model_dump() | network
    if "architecture" not in network:
        content["options"] = {**TINY, **network.get("options", {})}
    recipe = recipe.model_copy(update={"network": type(recipe.network)(**content)})
    how = Distillation(features=1, maps=1, truth=0, second=0.1)
    teaches = random_teacher(loss=loss, network=teacher)
    done = distill(recipe, tmp_path / "out", teacher=teaches, how=how, data=data)
    assert done.done and done.step == 2
    log = [entry["parts"] for entry in read_log(done.folder / FIRST / "log.jsonl") if "parts" in entry]
    for name in ("teacher_maps", "teacher_features"):
        left = [entry[name] / (1 - step / 16) for step, entry in enumerate(log)]
        assert np.mean(left[-3:]) < 0.95 * np.mean(left[:3]), name


# --- the second stage -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both(data, tmp_path_factory):
    """Both stages: 10 steps and 2."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("synthpose.train.draw_curves", lambda log, target: None)
        folder, heard = tmp_path_factory.mktemp("both"), []
        done = distill(short(10), folder / "out", teacher=random_teacher(), data=data, told=heard.append)
        yield done, heard


def test_the_second_stage_takes_a_fifth_and_changes_nothing_but_the_head(both) -> None:
    done, heard = both
    assert (done.step, done.done, done.folder.name) == (2, True, "out")
    assert [entry["step"] for entry in heard if "loss" in entry] == list(range(1, 13))
    first, second = weights(done.folder / FIRST, MODEL), weights(done.folder, LAST)
    state = weights(done.folder, STATE)
    for name, value in first.items():
        if name.startswith("backbone."):  # norm statistics too
            np.testing.assert_array_equal(second[name], value, err_msg=name)
            np.testing.assert_array_equal(state[f"net.{name}"], value, err_msg=name)
    fresh = short(10).made.build(seed=0).state_dict()
    head = "head.final_layer.weight"
    assert not np.array_equal(second[head], first[head])
    apart = [np.abs(second[head] - other).max() for other in (first[head], fresh[head].numpy())]
    assert apart[1] < apart[0]  # two steps from a new head, not from the first stage's


def test_of_a_head_s_training_the_backbone_takes_no_part(both) -> None:
    """Several processes wait for the gradient of whatever asks for one."""
    net = short(1).made.build()
    called = SelfTaught(both[0].folder / FIRST, random_teacher(), Distillation(), None).around(net)
    called.train()
    assert net.head.training and not any(part.training for part in net.backbone.modules())
    asks = {name.split(".")[0] for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert asks == {"head"}


@pytest.mark.truth("hashes of files")
def test_training_json_says_who_taught(both) -> None:
    done, _ = both
    told = {where: json.loads((where / RESULT).read_text()) for where in (done.folder, done.folder / FIRST)}
    for one in told.values():
        assert one["hashes"]["teacher"] == random_teacher().sha256
        assert one["distillation"] == Distillation().model_dump()
    assert told[done.folder]["hashes"]["start"] == sha256(done.folder / FIRST / MODEL)
    assert (told[done.folder / FIRST]["steps"], told[done.folder]["steps"]) == (10, 2)
    recipe, net = load_trained(done.folder)
    assert recipe.head == "new" and recipe.optimiser.warm_up == 1
    same({name: value.numpy() for name, value in net.state_dict().items()}, weights(done.folder, MODEL))


def test_the_second_stage_asks_the_first_and_not_the_truth(tmp_path, both, data) -> None:
    first = both[0].folder / FIRST
    how = Distillation(second=0.5)
    recipe = second_recipe(short(10), how, 10)
    assert recipe.steps(32) == 5

    class Wrong(ToyPeople):
        def batch(self, numbers, /):
            pictures, points, visible = super().batch(numbers)
            return pictures, 64 - points[::-1], visible

    found = []
    for name, source in (("right", data), ("wrong", Wrong(40))):
        beside = SelfTaught(first, random_teacher(), how, None)
        done = train(recipe, tmp_path / name, data=source, start=start_from(first), beside=beside)
        found.append(weights(done.folder))
        log = [entry for entry in read_log(done.folder / "log.jsonl") if "parts" in entry]
        assert all(set(entry["parts"]) == {"teacher_maps"} for entry in log)
        assert log[-1]["loss"] < log[0]["loss"]
    same(*found)


@pytest.mark.truth("the head as it was")
def test_a_kept_head_has_nothing_left_to_learn(both, tmp_path, data) -> None:
    first, how = both[0].folder / FIRST, Distillation(head="kept")
    recipe = second_recipe(short(10), how, 10)
    beside = SelfTaught(first, random_teacher(), how, None)
    done = train(recipe, tmp_path / "out", data=data, start=start_from(first), beside=beside)
    log = [entry["loss"] for entry in read_log(done.folder / "log.jsonl") if "parts" in entry]
    assert log[0] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("second", "kept"), [(9.0, "first"), (0.5, "second")])
def test_the_second_stage_never_makes_it_worse(tmp_path, data, second, kept) -> None:
    def look(net, step):
        return {"score": 1.0 if not (tmp_path / "out" / RECIPE).exists() else second}

    done = distill(short(4), tmp_path / "out", teacher=random_teacher(), data=data, validate=look)
    best = {"first": tmp_path / "out" / FIRST / MODEL, "second": tmp_path / "out" / LAST}
    same(weights(done.folder, MODEL), read_checkpoint(best[kept]).tensors)
    assert done.best == min(1.0, second)
    assert json.loads((done.folder / RESULT).read_text())["best"] == {
        "value": min(1.0, second),
        "step": 0 if kept == "first" else 1,
    }


# --- the same again ---------------------------------------------------------------------------------


def test_stopped_again_and_again_it_comes_to_the_very_same_weights(tmp_path, data) -> None:
    recipe, how = short(4, augment={}), Distillation(second=0.5)
    whole = distill(recipe, tmp_path / "whole", teacher=random_teacher(), how=how, data=data)
    calls = 0
    while True:
        stopped = distill(
            recipe, tmp_path / "stopped", teacher=random_teacher(), how=how, data=data, seconds=1e-6
        )
        calls += 1
        if stopped.done and stopped.folder.name == "stopped":
            break
        assert calls < 12
    assert calls >= 5
    for where in ("", FIRST):
        for name in (LAST, MODEL, STATE):
            ours, theirs = (weights(done.folder / where, name) for done in (whole, stopped))
            same(ours | {"meta": None}, theirs | {"meta": None})
        kept = ("step", "loss", "parts", "rate", "gradient")
        logs = [
            [{k: e[k] for k in kept} for e in read_log(done.folder / where / "log.jsonl") if "loss" in e]
            for done in (whole, stopped)
        ]
        assert logs[0] == logs[1]
    assert "own.weight" in weights(tmp_path / "stopped" / FIRST, STATE)


def test_two_processes_learn_what_one_would(tmp_path) -> None:
    """Through both stages, and with the projection's gradients summed; see the like of plain training."""
    here, root = Path(toy_distilling.__file__), Path(toy_distilling.__file__).parents[1]
    paths = os.pathsep.join([str(root), str(here.parent)])
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    command = [sys.executable, *launcher, str(here), str(tmp_path / "two"), "32"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    ran = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-2000:]
    toy_distilling.main(tmp_path / "one", 32)
    for where, steps in ((FIRST, 4), ("", 2)):
        result = json.loads((tmp_path / "two" / where / RESULT).read_text())
        assert (result["processes"], result["steps"]) == (2, steps)
        one, two = (weights(tmp_path / name / where, STATE) for name in ("one", "two"))
        start = toy_training.recipe_of("vit", 32).made.build(seed=0).state_dict()
        for name, value in start.items():
            if name == "head.final_layer.bias":
                continue  # a softmax doesn't see it
            moved = np.abs(one[f"net.{name}"] - value.numpy()).max()
            apart = np.abs(one[f"net.{name}"] - two[f"net.{name}"]).max()
            assert apart <= 0.05 * moved + 1e-6, name
        if where == FIRST:
            moved = np.abs(
                one["own.weight"] - module.projection(24, 20, seed=0).weight.detach().numpy()
            ).max()
            assert np.abs(one["own.weight"] - two["own.weight"]).max() <= 0.05 * moved


def test_a_training_with_a_teacher_does_not_go_on_without_or_with_another(tmp_path, data) -> None:
    how, teacher = Distillation(second=0), random_teacher()
    recipe, out = short(4), tmp_path / "out"
    distill(recipe, out, teacher=teacher, how=how, data=data, seconds=1e-6)
    with pytest.raises(CapbenchError, match=r"another.* teacher"):
        train(recipe, out, data=data)
    with pytest.raises(CapbenchError, match=r"another.* teacher"):
        distill(recipe, out, teacher=random_teacher(seed=6), how=how, data=data)
    with pytest.raises(CapbenchError, match="another distillation"):
        distill(recipe, out, teacher=teacher, how=Distillation(second=0, maps=0.2), data=data)
    train(recipe, tmp_path / "plain", data=data, seconds=1e-6)
    with pytest.raises(CapbenchError, match=r"another.* teacher"):
        distill(recipe, tmp_path / "plain", teacher=teacher, how=how, data=data)


def test_a_training_s_folder_is_a_teacher(tmp_path, data) -> None:
    done = train(short(2), tmp_path / "teacher", data=data)
    teacher = teacher_from(done.folder)
    assert teacher.sha256 == sha256(done.folder / MODEL)
    same(
        {name: value.numpy() for name, value in teacher.net.state_dict().items()}, weights(done.folder, MODEL)
    )
    with pytest.raises(CapbenchError, match="readable file"):
        teacher_from(tmp_path / "nothing")


# --- what is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"network": {"input_size": (96, 128)}}, "aspect of 64x64, got one of 96x128"),
        ({"skeleton": "mpii-16"}, "knows points of coco-17, got one of mpii-16"),
        ({"loss": {"kind": "mse", "soft_argmax": 0.0}}, "the loss divergence, got mse"),
        ({"network": {"options": {"bins": [192, 192]}}}, "kind heatmap, got simcc"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused_before_anything_is_written(
    tmp_path, data, changes, says
) -> None:
    with pytest.raises(CapbenchError, match=says):
        distill(short(2), tmp_path / "out", teacher=random_teacher(**changes), data=data)
    assert not (tmp_path / "out").exists()


def test_settings_are_strict() -> None:
    with pytest.raises(ValueError, match="weight above 0"):
        Distillation(features=0, maps=0, truth=0)
    with pytest.raises(ValueError, match="extra"):
        Distillation(alpha=1)
    assert first_folder(Path("x"), Distillation(second=0)) == Path("x")
    assert first_folder(Path("x"), Distillation()) == Path("x") / FIRST
