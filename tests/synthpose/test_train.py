"""Training: it learns, it goes on from any kill to the same weights, and it says what it did."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import toy_training
from toy_people import ToyPeople, toy_recipe

from capbench.models.checkpoint import read_checkpoint, write_safetensors
from cohorts.errors import CapbenchError
from cohorts.skeleton import skeleton
from cohorts.store import sha256
from synthpose import feeding
from synthpose.feeding import Feed, Held, Order, ahead, ahead_in_processes, held
from synthpose.progress_log import read_log
from synthpose.train import LAST, MODEL, RESULT, load_trained, start_from, train
from synthpose.training_state import NAME as STATE

SCRIPT = Path(toy_training.__file__)
ROOT = SCRIPT.parents[1]


@pytest.fixture(scope="module")
def data():
    return ToyPeople(56)


@pytest.fixture(autouse=True)
def quick(request, monkeypatch):
    """Curves take half a second: one test looks at them."""
    if "says_so" not in request.node.name:
        monkeypatch.setattr("synthpose.train.draw_curves", lambda log, target: None)


def weights(folder, name=LAST):
    return read_checkpoint(folder / name).tensors


def same(a, b):
    assert set(a) == set(b)
    differ = [name for name in a if not np.array_equal(a[name], b[name])]
    assert differ == []


def start_script(folder, *, samples=192, network="fpn", pause=0.0, launcher=()):
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(SCRIPT.parent)]),
    }
    command = [sys.executable, *launcher, str(SCRIPT), str(folder), str(samples), network, str(pause)]
    return subprocess.Popen(command, env=environment, cwd=folder.parent, stderr=subprocess.PIPE, text=True)


def finish(process):
    try:
        _, said = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, said[-2000:]


# --- it learns --------------------------------------------------------------------------------------


def test_it_learns_and_says_so(tmp_path) -> None:
    heard = []
    recipe = toy_recipe(samples=8 * 120, checks={"every": 40})
    done = train(recipe, tmp_path / "out", data=ToyPeople(136), told=heard.append)
    assert done.done
    assert done.step == 120
    assert done.validation["px"] < 2.5  # points are spread over 64 pixels; untrained: more than 12
    log = read_log(tmp_path / "out" / "log.jsonl")
    assert [dict(e, seconds=0) for e in log] == [
        dict(e, seconds=0) for e in read_log(done.folder / "log.jsonl")
    ]
    assert [e["step"] for e in log if "loss" in e] == list(range(4, 121, 4))
    looks = [e for e in log if "validation" in e]
    assert [e["step"] for e in looks] == [40, 80, 120]
    assert looks[-1]["validation"]["px"] < 0.5 * looks[0]["validation"]["px"]
    assert len(heard) == len(log)
    last = [e for e in log if "loss" in e][-1]
    assert last["loss"] == pytest.approx(sum(last["parts"].values()), rel=1e-4)
    assert 0 <= last["waiting"] <= 1
    assert last["samples_per_second"] > 0
    assert (tmp_path / "out" / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_what_it_leaves_can_be_loaded_and_traced(tmp_path, data) -> None:
    done = train(toy_recipe(), tmp_path / "out", data=data, data_hash="d" * 64)
    recipe, net = load_trained(done.folder)
    assert recipe == toy_recipe()
    same({n: v.numpy() for n, v in net.state_dict().items()}, weights(done.folder, MODEL))
    result = json.loads((done.folder / RESULT).read_text())
    assert result["hashes"]["recipe"] == recipe.digest
    assert result["hashes"]["data"] == "d" * 64
    assert result["hashes"][MODEL] == sha256(done.weights)
    assert result["samples"] == 192
    assert start_from(done.folder).points.name == "coco-17"


@pytest.mark.truth("the recursion by hand")
def test_the_average_forgets_as_it_should(tmp_path, data) -> None:
    kept = []
    recipe = toy_recipe(samples=8 * 3, checks={"every": 1}, optimiser={"ema": 0.5})
    average = None

    def look(net, step):
        nonlocal average
        state = read_checkpoint(tmp_path / "out" / STATE).tensors if step > 1 else None
        kept.append((state, net.head.final_layer.bias.numpy().copy()))
        return {"score": 1.0}

    train(recipe, tmp_path / "out", data=data, validate=look)
    final = read_checkpoint(tmp_path / "out" / STATE).tensors
    own = [s["net.head.final_layer.bias"] for s, _ in kept[1:]] + [final["net.head.final_layer.bias"]]
    average = recipe.made.build(seed=0).head.final_layer.bias.detach().numpy()
    for step, value in enumerate(own):
        decay = min(0.5, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * value
        np.testing.assert_allclose(kept[step][1], average, rtol=1e-5, atol=1e-7)


def test_without_an_average_the_weights_are_the_last_step_s(tmp_path, data) -> None:
    done = train(toy_recipe(optimiser={"ema": None}), tmp_path / "out", data=data)
    state = read_checkpoint(done.folder / STATE).tensors
    same({n: state[f"net.{n}"] for n in weights(done.folder)}, weights(done.folder))


def test_the_best_weights_are_those_of_the_lowest_score(tmp_path, data) -> None:
    scores = {8: 3.0, 16: 1.0, 24: 2.0}
    seen = {}

    def look(net, step):
        seen[step] = {n: v.numpy().copy() for n, v in net.state_dict().items()}
        return {"score": scores[step], "joint_angles": scores[step]}

    done = train(toy_recipe(), tmp_path / "out", data=data, validate=look)
    assert (done.best, done.best_step) == (1.0, 16)
    same(weights(done.folder, MODEL), seen[16])
    same(weights(done.folder, LAST), seen[24])


def test_held_out_pictures_are_never_trained_on(tmp_path, data) -> None:
    asked = []

    class Spy:
        skeleton = data.skeleton

        def __len__(self):
            return len(data)

        def batch(self, numbers):
            asked.append(np.array(numbers))
            return data.batch(numbers)

    train(toy_recipe(samples=8 * 12, checks={"every": 12}), tmp_path / "out", data=Spy())
    steps, look = [n for n in asked if len(n) == 8 and n.max() < 48], [n for n in asked if n.max() >= 48]
    assert len(steps) == 12
    assert [sorted(n) for n in look] == [list(range(48, 56))]
    first_epoch = np.concatenate(steps[:6])
    assert sorted(first_epoch) == list(range(48))


def test_pictures_of_their_own_can_be_held_out(tmp_path, data) -> None:
    done = train(toy_recipe(), tmp_path / "out", data=data, held_out=ToyPeople(16, seed=5))
    assert done.validation["px"] > 0
    with pytest.raises(CapbenchError, match="more pictures than the 8 held out"):
        train(toy_recipe(), tmp_path / "other", data=ToyPeople(8))


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bf16"},
        {"precision": "fp16"},
        {"loss": {"kind": "mse", "soft_argmax": 0.0, "sigma": 1.5}},
        {"loss": {"variance": 0.2}},
        {"optimiser": {"kind": "adam", "schedule": "step", "drops": [0.5]}},
        {"network": {"options": {"bins": [128, 128]}}, "loss": {"sigma": 3.0}},
        {"augment": {}},
    ],
)
def test_other_ways_to_train_run_and_lower_the_loss(tmp_path, data, changes) -> None:
    from synthpose.train_recipe import merged

    train(toy_recipe(**merged({"samples": 8 * 32}, changes)), tmp_path / "out", data=data)
    losses = [e["loss"] for e in read_log(tmp_path / "out" / "log.jsonl") if "loss" in e]
    assert losses[-1] < 0.8 * losses[0]


# --- the same again ---------------------------------------------------------------------------------


def test_same_weights_each_time_whatever_prepares_the_batches(tmp_path, data) -> None:
    found = []
    for workers, prefetch in ((0, 1), (1, 2), (3, 5)):
        machine = {"workers": workers, "prefetch": prefetch, "threads": 1}
        recipe = toy_recipe(samples=8 * 6, machine=machine, augment={})
        found.append(weights(train(recipe, tmp_path / str(workers), data=data).folder))
    same(found[0], found[1])
    same(found[0], found[2])
    other = train(toy_recipe(samples=8 * 6, augment={}, seed=1), tmp_path / "other", data=data)
    assert not np.array_equal(
        weights(other.folder)["head.final_layer.bias"], found[0]["head.final_layer.bias"]
    )


def test_killed_it_goes_on_to_the_very_same_weights(tmp_path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    toy_training.main(whole, 192, "fpn", 0.0)
    process = start_script(killed, pause=0.15)
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        if any(e["step"] > 8 for e in read_log(killed / "log.jsonl") if "loss" in e):
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert (killed / STATE).exists()
    assert not (killed / RESULT).exists()
    with (killed / "log.jsonl").open("a") as file:  # a line torn by the kill
        file.write('{"step": 17, "lo')
    toy_training.main(killed, 192, "fpn", 0.0)
    for name in (LAST, MODEL):
        same(weights(whole, name), weights(killed, name))
    same(weights(whole, STATE) | {"meta": None}, weights(killed, STATE) | {"meta": None})
    kept = ("step", "loss", "parts", "rate", "gradient", "validation")
    logs = [[{k: e.get(k) for k in kept} for e in read_log(p / "log.jsonl")] for p in (whole, killed)]
    assert logs[0] == logs[1]


@pytest.mark.parametrize("network", ["fpn", "vit"])
def test_out_of_time_it_saves_and_goes_on(tmp_path, data, network) -> None:
    """With skipped blocks too: what a step draws follows from its number."""
    recipe = toy_training.recipe_of(network, 192, drop_path=0.5)
    whole = train(recipe, tmp_path / "whole", data=data)
    first = train(recipe, tmp_path / "out", data=toy_training.Slow(data, 0.02), seconds=0.05)
    assert not first.done
    assert 0 < first.step < 24
    assert not (tmp_path / "out" / RESULT).exists()
    second = train(recipe, tmp_path / "out", data=data)
    assert second.done
    same(weights(whole.folder), weights(second.folder))
    again = train(recipe, tmp_path / "out", data=data)
    assert again.done
    assert again.best == second.best
    same(weights(whole.folder), weights(again.folder))


def test_another_training_s_state_is_refused(tmp_path, data) -> None:
    train(toy_recipe(), tmp_path / "out", data=data)
    for changes in ({"seed": 1}, {"loss": {"sigma": 1.1}}):
        with pytest.raises(CapbenchError, match="another recipe"):
            train(toy_recipe(**changes), tmp_path / "out", data=data)
    with pytest.raises(CapbenchError, match="another data"):
        train(toy_recipe(), tmp_path / "out", data=data, data_hash="x")
    start = start_from(tmp_path / "out")
    with pytest.raises(CapbenchError, match="another start"):
        train(toy_recipe(), tmp_path / "out", data=data, start=start)
    assert train(toy_recipe(machine={"workers": 0}), tmp_path / "out", data=data).done


def test_a_damaged_state_is_refused(tmp_path, data) -> None:
    train(toy_recipe(), tmp_path / "out", data=data)
    state = tmp_path / "out" / STATE
    content = state.read_bytes()
    state.write_bytes(content[: len(content) // 2])
    with pytest.raises(CapbenchError):
        train(toy_recipe(), tmp_path / "out", data=data)
    state.unlink()
    write_safetensors(state, {"a": np.zeros(3, np.float32)})
    with pytest.raises(CapbenchError, match="state of a training"):
        train(toy_recipe(), tmp_path / "out", data=data)


def test_a_training_that_diverges_stops_and_says_so(tmp_path, data) -> None:
    diverging = {"rate": 1e30, "clip": None, "warm_up": 0}
    recipe = toy_recipe(optimiser=diverging, checks={"every": 4, "log": 1000})
    with pytest.raises(CapbenchError, match="diverged"):
        train(recipe, tmp_path / "out", data=data)
    for name in (STATE, MODEL, LAST):
        assert not (tmp_path / "out" / name).exists()


def test_two_processes_train_what_one_would(tmp_path) -> None:
    """Without batch norms two halves of a batch teach what the whole does, but for rounding."""
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    finish(start_script(tmp_path / "two", samples=64, network="vit", launcher=launcher))
    toy_training.main(tmp_path / "one", 64, "vit", 0.0)
    result = json.loads((tmp_path / "two" / RESULT).read_text())
    assert result["processes"] == 2
    assert result["samples"] == 64
    logs = [[e for e in read_log(tmp_path / n / "log.jsonl") if "loss" in e] for n in ("one", "two")]
    assert [e["step"] for e in logs[1]] == [4, 8]
    start = toy_training.recipe_of("vit", 64).made.build(seed=0).state_dict()
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, value in one.items():
        if name == "head.final_layer.bias":
            continue  # a softmax doesn't see it: its gradient is rounding, which Adam enlarges
        moved = np.abs(value - start[name].numpy()).max()
        assert np.abs(two[name] - value).max() <= 0.05 * moved + 1e-6, name


# --- batches ----------------------------------------------------------------------------------------


def test_an_epoch_is_every_picture_once_and_processes_share_it() -> None:
    order = Order(10, 4, seed=3)
    seen = np.concatenate([order(step) for step in range(5)])
    assert sorted(seen[:10]) == list(range(10))
    assert sorted(seen[10:]) == list(range(10))
    assert list(seen[:10]) != list(seen[10:])
    parts = [Order(10, 4, seed=3, rank=rank, world=2)(2) for rank in (0, 1)]
    assert sorted(np.concatenate(parts)) == sorted(order(2))
    assert list(Order(10, 4, seed=3)(4)) == list(order(4))  # asked for out of order


def test_a_network_is_told_its_own_points_with_their_weights(data) -> None:
    source = held(data)
    order = Order(56, 8, 0)
    recipe = toy_recipe(skeleton="coco-17", loss={"hidden": 0.25, "points": {"left_knee": 2.0}})
    numbers = order(3)
    source.visible[numbers[0], 5] = 1
    source.visible[numbers[1], 6] = 0
    source.points[numbers[2], 7] = np.nan
    batch = Feed(recipe, source, order)(3)
    assert batch.points.shape == (8, 17, 2)
    assert batch.weight[0, 5] == 0.25
    assert batch.weight[1, 6] == 0
    assert batch.weight[2, 7] == 0
    assert np.isfinite(batch.points).all()
    knee = skeleton("coco-17").index("left_knee")
    assert (batch.weight[:, knee] == 2.0).all()
    np.testing.assert_array_equal(batch.points[0], source.points[numbers[0], :17])


@pytest.mark.truth("means over blocks, and a point at a block's middle")
def test_a_network_of_fewer_pixels_is_given_means_over_blocks() -> None:
    """A bright block becomes one pixel, and the point in the middle of the block that pixel's middle."""
    pictures = np.random.default_rng(0).integers(0, 200, (3, 96, 96, 3), np.uint8)
    pictures[:, 30:33, 60:63] = 255
    points = np.tile(np.float32([61.0, 31.0]), (3, 5, 1))
    found, at = feeding.fewer(pictures, points, (32, 32))
    blocks = pictures.reshape(3, 32, 3, 32, 3, 3).mean((2, 4))
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found, blocks, atol=0.51)
    assert (found[:, 10, 20] == 255).all()
    np.testing.assert_allclose(at, np.tile([20.0, 10.0], (3, 5, 1)))
    for same in feeding.fewer(pictures, points, (96, 96)):
        assert same is pictures or same is points
    with pytest.raises(CapbenchError, match="of 40 x 40 pixels or of a multiple, got 96 x 96"):
        feeding.fewer(pictures, points, (40, 40))


def test_points_that_the_pictures_lack_are_named() -> None:
    class Sparse:
        skeleton = skeleton("coco-17")

        def __len__(self):
            return 64

    with pytest.raises(CapbenchError, match="lack sternum, rshoulder"):
        Feed(toy_recipe(skeleton="synthpose-52"), Sparse(), Order(8, 8, 0))


def test_batches_come_in_order_and_errors_where_they_are_due() -> None:
    def make(step):
        time.sleep(0.01 * (step % 3 == 0))
        if step == 7:
            raise ValueError("seven")
        return step

    for workers in (0, 1, 4):
        assert list(ahead(make, range(7), workers=workers, depth=3)) == list(range(7))
        found = ahead(make, range(5, 12), workers=workers, depth=3)
        assert [next(found), next(found)] == [5, 6]
        with pytest.raises(ValueError, match="seven"):
            next(found)


def test_worker_processes_make_the_same_batches_from_a_shared_file(tmp_path) -> None:
    source = held(ToyPeople(24), tmp_path / "pictures.npy")
    assert isinstance(source, Held)
    feed = Feed(toy_recipe(augment={}), source, Order(16, 8, 0))
    mine = [feed(step) for step in range(3)]
    theirs = list(ahead_in_processes(feed, range(3), workers=1, depth=2))
    for a, b in zip(mine, theirs, strict=True):
        for left, right in zip(a, b, strict=True):
            np.testing.assert_array_equal(left, right)


def test_waiting_is_measured() -> None:
    def slow():
        for k in range(3):
            time.sleep(0.05)
            yield k

    wait, began = feeding.Waiting(), time.perf_counter()
    for _ in wait.over(slow()):
        time.sleep(0.05)
    # what was spent on the items themselves isn't waiting
    assert 0.14 < wait.seconds < time.perf_counter() - began - 0.14
