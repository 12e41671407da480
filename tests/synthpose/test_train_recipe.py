"""Recipes of training: those that come with capbench, phases, hashes, and what is refused."""

import pytest

from capbench.models.nets.architecture import BACKBONES, HeadSize
from cohorts.errors import CapbenchError
from cohorts.skeleton import skeleton
from cohorts.strict import to_yaml
from synthpose.train_recipe import (
    TrainRecipe,
    merged,
    phases,
    read_recipe,
    recipe_names,
)

SMALL = """
name: own
recipe:
  skeleton: coco-17
  network: {architecture: fpn-mini, input_size: [64, 96]}
  batch: 8
  samples: 80
  optimiser: {rate: 0.001, warm_up: 3}
phases:
  first: {}
  second: {skeleton: synthpose-52, start: first, optimiser: {rate: 0.0005}}
"""


def written(folder, text):
    path = folder / "own.yaml"
    path.write_text(text)
    return path


def test_every_recipe_that_comes_along_is_whole() -> None:
    assert set(recipe_names()) == {"tiny-cpu", "mini-cpu", "mini-gpu", "small-gpu", "paper-vitb"}
    for name in recipe_names():
        for phase in phases(name):
            made = read_recipe(name, phase)
            assert made.name == f"{name}-{phase}"
            assert made.made.head.points == len(made.points)
            assert made.steps(10_000) > 100
            if made.data is not None:
                assert made.data.geometry == made.loss.geometry
                assert made.pictures > made.checks.shots
                apart = (made.pictures - made.checks.shots) % made.data.shots_per_person
                # nobody is on both sides, but for one person of 281 in the recipe the shipped models are of
                assert apart == 0 or name == "mini-cpu"


@pytest.mark.truth("the published configuration of SynthPose's ViTPose-B, as listed in its repositories")
def test_the_published_recipe() -> None:
    made = read_recipe("paper-vitb")
    assert made.made.backbone == BACKBONES["vit-base"]
    assert made.made.head == HeadSize(points=52, deconv=(256, 256), deconv_kernel=4)
    assert made.made.heatmap_size == (48, 64)
    assert (made.network.input_size, made.network.drop_path) == ((192, 256), 0.3)
    assert (made.batch, made.epochs, made.precision, made.head) == (32, 30, "fp16", "new")
    asked = made.optimiser
    assert (asked.kind, asked.rate, asked.weight_decay) == ("adamw", 5e-4, 0.1)
    assert (asked.layer_decay, asked.clip, asked.schedule, asked.warm_up) == (0.75, 1.0, "step", 500)
    assert [round(30 * share, 6) for share in asked.drops] == [15, 20]
    assert (made.loss.kind, made.loss.sigma, made.loss.geometry) == ("mse", 2.0, "udp")
    heavy = {name: w for name, w in made.loss.points.items() if w != 1}
    for side in ("left", "right"):
        assert heavy.pop(f"{side}_elbow") == heavy.pop(f"{side}_knee") == 1.2
        assert heavy.pop(f"{side}_wrist") == heavy.pop(f"{side}_ankle") == 1.5
    assert heavy == {}
    assert {s.ratio for s in made.sources.values()} == {1.0}
    assert len(made.sources) == 4
    assert set(made.sources["bedlam"].without) == set(skeleton("coco-17").points)
    assert (made.codec.decoding, made.codec.kernel) == ("udp", 11)


@pytest.mark.parametrize("name", ["mini-cpu", "mini-gpu"])
def test_dense_and_control_of_the_mini_models_differ_in_their_points_only(name) -> None:
    """What makes the comparison fair: the same start, steps, pictures and rates."""
    dense, control = read_recipe(name, "dense"), read_recipe(name, "control")
    assert dense.start == control.start == "sparse"
    a, b = (r.model_dump(exclude={"name", "skeleton"}) for r in (dense, control))
    assert a == b
    assert (dense.skeleton, control.skeleton) == ("synthpose-52", "coco-17")
    sparse, scratch = read_recipe(name, "sparse"), read_recipe(name, "scratch")
    fine = read_recipe(name, "scratch-fine")
    assert (scratch.start, fine.start) == (None, "scratch")
    apart = {"name", "skeleton", "start"}
    assert scratch.model_dump(exclude=apart) == sparse.model_dump(exclude=apart)
    assert fine.model_dump(exclude=apart) == dense.model_dump(exclude=apart)


def test_a_phase_changes_keys_within_keys(tmp_path) -> None:
    path = written(tmp_path, SMALL)
    first, second = read_recipe(path, "first"), read_recipe(path, "second")
    assert (first.optimiser.rate, first.optimiser.warm_up) == (0.001, 3)
    assert (second.optimiser.rate, second.optimiser.warm_up) == (0.0005, 3)
    assert second.points.name == "synthpose-52"
    assert read_recipe(path, "second", seed=4, optimiser={"rate": 1.0}).optimiser.rate == 1.0
    assert merged({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}, "d": 4}) == {"a": {"b": 3, "c": 2}, "d": 4}


def test_the_hash_follows_all_but_the_machine() -> None:
    base = read_recipe("mini-cpu", "sparse")
    same = read_recipe("mini-cpu", "sparse", machine={"threads": 7}, title="another")
    assert base.digest == same.digest
    changed = [
        {"seed": 1},
        {"loss": {"sigma": 1.25}},
        {"optimiser": {"ema": 0.99}},
        {"data": {"seed": 5}},
        {"augment": {"turn": 3.0}},
        {"checks": {"shots": 0}},
        {"network": {"options": {"width": 32}}},
    ]
    digests = {read_recipe("mini-cpu", "sparse", **one).digest for one in changed}
    assert len(digests | {base.digest}) == len(changed) + 1


def test_steps_by_samples_and_by_epochs() -> None:
    base = read_recipe("mini-cpu", "sparse")
    assert base.steps(100) == base.steps(10**6) == base.samples // base.batch
    epochs = read_recipe("mini-cpu", "sparse", samples=None, epochs=2.5)
    assert epochs.steps(1000) == 2500 // base.batch


def test_the_codec_undoes_the_loss() -> None:
    base = read_recipe("mini-cpu", "dense")
    assert (base.codec.kind, base.codec.activation, base.codec.decoding) == ("heatmap", "softmax", "dark")
    assert base.codec.udp is False
    udp = read_recipe("mini-cpu", "dense", loss={"geometry": "udp"})
    assert udp.codec.udp is True
    bins = read_recipe("mini-cpu", "dense", network={"options": {"bins": [192, 256]}})
    assert (bins.codec.kind, bins.codec.activation) == ("simcc", "softmax")
    square = {"kind": "mse", "sigma": 3.0, "soft_argmax": 0.0}
    mse = read_recipe("mini-cpu", "dense", loss=square)
    assert (mse.codec.activation, mse.codec.kernel) == ("none", 17)


def test_a_recipe_written_down_is_the_same_again() -> None:
    base = read_recipe("small-gpu", "vit-dense")
    again = TrainRecipe.model_validate_json(base.model_dump_json())
    assert again == base
    assert again.digest == base.digest
    assert "layer_decay: 0.85" in to_yaml(base)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("batch: 8", "batch: 0", "greater than or equal to 1, got 0"),
        ("batch: 8", "batchsize: 8", "batchsize"),
        ("samples: 80", "samples: 80\n  epochs: 2", "samples or epochs"),
        ("samples: 80", "", "samples or epochs"),
        ("skeleton: coco-17", "skeleton: coco-71", "coco-71"),
        ("start: first", "start: frist", "Did you mean 'first'"),
        ("architecture: fpn-mini", "architecture: fpn-mimi", "Did you mean 'fpn-mini'"),
        ("rate: 0.001", "rate: fast", "fast"),
        ("samples: 80", "samples: 80\n  loss: {kind: mse, soft_argmax: 1.0}", "divergence only"),
        ("samples: 80", "samples: 80\n  loss: {points: {left_kneee: 2.0}}", "left_kneee"),
        ("samples: 80", "samples: 80\n  data: {seed: 1, size: [96, 128]}", "network's size"),
        ("samples: 80", "samples: 80\n  data: {seed: 1, size: [128, 96]}", "network's size"),
        ("samples: 80", "samples: 80\n  data: {seed: 1, size: [32, 48]}", "network's size"),
    ],
)
def test_what_can_t_be_meant_is_refused(tmp_path, old, new, problem) -> None:
    path = written(tmp_path, SMALL.replace(old, new, 1))
    with pytest.raises(CapbenchError) as caught:
        for phase in ("first", "second"):
            assert read_recipe(path, phase).made
    assert problem in str(caught.value)


def test_a_phase_may_look_at_fewer_pixels_of_the_same_pictures() -> None:
    coarse, fine = (read_recipe("mini-cpu", phase) for phase in ("sparse", "dense"))
    assert (coarse.network.input_size, fine.network.input_size) == ((96, 128), (192, 256))
    assert coarse.data == fine.data


def test_phases_are_asked_for_by_name(tmp_path) -> None:
    path = written(tmp_path, SMALL)
    assert phases(path) == ("first", "second")
    with pytest.raises(CapbenchError, match="one of the phases first, second"):
        read_recipe(path)
    with pytest.raises(CapbenchError, match="Did you mean 'second'"):
        read_recipe(path, "secund")
    with pytest.raises(CapbenchError, match="Did you mean 'mini-cpu'"):
        read_recipe("mini-cup")
    with pytest.raises(CapbenchError, match="keys of a training recipe"):
        read_recipe(written(tmp_path, SMALL + "more: 1\n"), "first")
