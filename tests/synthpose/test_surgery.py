"""Head surgery: old points answer as before, new ones start as their kin, and training goes on faster."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from toy_people import TINY, ToyPeople, toy_recipe

from capbench.biomech.body import fullbody
from capbench.biomech.kinematics import marker_tracks
from capbench.biomech.tree import build_tree
from capbench.models.nets.architecture import from_options
from capbench.models.nets.pose import fill
from cohorts.errors import CapbenchError
from cohorts.recording import Motion
from cohorts.skeleton import Skeleton, skeleton
from synthpose.surgery import grow, kin_of, standing
from synthpose.train import start_from, train

COCO, DENSE = skeleton("coco-17"), skeleton("synthpose-52")
HRNET = {"width": 8, "stem_width": 4, "stem_blocks": 1, "blocks": 1, "modules": [1, 1, 1]}
VIT = {"width": 24, "depth": 1, "heads": 3, "deconv": [8]}
KINDS = {
    "fpn": ("fpn-mini", TINY),
    "hrnet": ("hrnet-w32", HRNET),
    "vit": ("vit-tiny", VIT),
    "simcc": ("hrnet-w32", HRNET | {"bins": [128, 192]}),
    "simcc with deconvolutions": ("vit-tiny", VIT | {"bins": [128, 192]}),
}


def net(kind, points, seed):
    name, options = KINDS[kind]
    made = from_options(name, options, points=len(points), input_size=(64, 96)).build(seed=seed).eval()
    torch.manual_seed(seed)
    with torch.no_grad():  # heads start near zero: rows that differ
        for key, parameter in made.named_parameters():
            if key.startswith("head."):
                parameter.normal_()
    return made


def arrays(made):
    return {name: value.numpy().copy() for name, value in made.state_dict().items()}


def grown(kind, old, new, *, noise=0.02, **how):
    start, made = net(kind, old, 1), net(kind, new, 2)
    fill(made, grow(arrays(start), old, new, into=arrays(made), noise=noise, **how))
    return start, made


def answers(made, seed=0):
    picture = torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        out = made(picture)
    return out if isinstance(out, tuple) else (out,)


@pytest.mark.parametrize("kind", KINDS)
def test_points_that_both_have_answer_as_before(kind) -> None:
    start, made = grown(kind, COCO, DENSE)
    for before, after in zip(answers(start), answers(made), strict=True):
        assert after.shape[1] == 52
        torch.testing.assert_close(after[:, :17], before, rtol=1e-5, atol=1e-5 * before.abs().max().item())


@pytest.mark.parametrize("kind", KINDS)
def test_the_way_back_is_exact(kind) -> None:
    start, made = grown(kind, DENSE, COCO)
    for before, after in zip(answers(start), answers(made), strict=True):
        torch.testing.assert_close(after, before[:, :17], rtol=1e-5, atol=1e-5 * before.abs().max().item())


def test_points_are_found_by_landmark_and_not_by_place() -> None:
    turned = Skeleton(name="turned", points=COCO.points[::-1], landmarks=COCO.landmarks[::-1])
    start, made = grown("fpn", COCO, turned)
    torch.testing.assert_close(answers(made)[0], answers(start)[0].flip(1))


@pytest.mark.parametrize("kind", KINDS)
def test_new_points_start_as_their_kin_but_can_part(kind) -> None:
    start, made = grown(kind, COCO, DENSE)
    kin = {"r_knee": "right_knee", "r_mknee": "right_knee", "l_calc": "left_ankle", "r_ASIS": "right_hip"}
    for before, after in zip(answers(start), answers(made), strict=True):
        for new, old in kin.items():
            a, b = after[:, DENSE.index(new)], before[:, COCO.index(old)]
            likeness = torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]
            assert likeness > 0.98
            assert not torch.equal(a, b)
        lateral, medial = after[:, DENSE.index("r_knee")], after[:, DENSE.index("r_mknee")]
        assert not torch.equal(lateral, medial)


def test_without_noise_they_are_their_kin() -> None:
    start, made = grown("fpn", COCO, DENSE, noise=0.0)
    before, after = answers(start)[0], answers(made)[0]
    torch.testing.assert_close(after[:, DENSE.index("r_mankle")], before[:, COCO.index("right_ankle")])
    pair = before[:, [COCO.index("left_shoulder"), COCO.index("right_shoulder")]].mean(1)
    torch.testing.assert_close(after[:, DENSE.index("C7")], pair, rtol=1e-4, atol=1e-4)


@pytest.mark.truth("distances between markers of the OpenSim model, all of them tried")
def test_kin_are_nearest_on_the_standing_body() -> None:
    model = fullbody(markers="synthpose-52")
    names = build_tree(model).coordinates
    still = marker_tracks(model, Motion(np.zeros(1), names, np.zeros((1, len(names)))))
    at = dict(zip(still.names, still.xyz[0], strict=True))
    for point, side, kin in zip(DENSE.points, DENSE.sides, kin_of(COCO, DENSE), strict=True):
        if point in COCO.points:
            assert kin.exact
            assert [COCO.points[k] for k in kin.rows] == [point]
        elif side != "middle":
            nearest = min(COCO.points, key=lambda old: np.linalg.norm(at[old] - at[point]))
            assert [COCO.points[k] for k in kin.rows] == [nearest], point
            assert COCO.sides[kin.rows[0]] == side
        else:
            mean = np.mean([at[COCO.points[k]] for k in kin.rows], axis=0)
            others = [(at[a] + at[b]) / 2 for a, b in COCO.flip_pairs] + [at["nose"]]
            nearest = min(np.linalg.norm(other - at[point]) for other in others)
            assert np.linalg.norm(mean - at[point]) == pytest.approx(nearest)


def test_the_standing_body_knows_every_landmark_of_both() -> None:
    assert {*COCO.landmarks, *DENSE.landmarks} <= set(standing())


def test_a_skeleton_of_no_known_body_starts_from_nothing() -> None:
    strange = Skeleton(name="strange", points=("a", "b"))
    start, made = grown("fpn", COCO, strange)
    assert all(kin.rows == () for kin in kin_of(COCO, strange))
    fresh = net("fpn", strange, 2)
    assert torch.equal(made.head.final_layer.weight, fresh.head.final_layer.weight)
    assert torch.equal(made.backbone.stem[0].weight, start.backbone.stem[0].weight)


def test_a_new_head_keeps_only_the_backbone() -> None:
    start, made = grown("fpn", COCO, DENSE, head=False)
    fresh = net("fpn", DENSE, 2)
    assert torch.equal(made.head.final_layer.weight, fresh.head.final_layer.weight)
    assert torch.equal(made.backbone.smooth[0].weight, start.backbone.smooth[0].weight)


def test_the_seed_decides_the_noise() -> None:
    tensors, into = arrays(net("fpn", COCO, 1)), arrays(net("fpn", DENSE, 2))
    a, b, c = (grow(tensors, COCO, DENSE, into=into, seed=s) for s in (0, 0, 1))
    name = "head.final_layer.weight"
    assert np.array_equal(a[name], b[name])
    assert not np.array_equal(a[name], c[name])


def test_weights_of_another_network_are_refused() -> None:
    into = arrays(net("fpn", DENSE, 2))
    with pytest.raises(CapbenchError, match=r"Expected the parameter .* got none"):
        grow(arrays(net("hrnet", COCO, 1)), COCO, DENSE, into=into)
    other = arrays(net("fpn", COCO, 1))
    other["backbone.stem.0.weight"] = np.zeros((9, 3, 3, 3), np.float32)
    with pytest.raises(CapbenchError, match=r"backbone.stem.0.weight of shape"):
        grow(other, COCO, DENSE, into=into)
    with pytest.raises(CapbenchError, match=r"head.final_layer.weight of shape"):
        grow(arrays(net("fpn", DENSE, 1)), COCO, DENSE, into=into)


def test_surgery_beats_a_new_head_and_a_new_network_after_few_steps(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("synthpose.train.draw_curves", lambda log, target: None)
    data = ToyPeople(136)
    sparse = toy_recipe(samples=8 * 100, checks={"every": 100})
    train(sparse, tmp_path / "sparse", data=data)
    start = start_from(tmp_path / "sparse")
    few = {"skeleton": "synthpose-52", "samples": 8 * 16, "checks": {"every": 16}, "optimiser": {"ema": 0.5}}
    found = {
        name: train(toy_recipe(**few, **changes), tmp_path / name, data=data, start=given).validation["px"]
        for name, changes, given in (
            ("grown", {}, start),
            ("new head", {"head": "new"}, start),
            ("scratch", {}, None),
        )
    }
    assert found["grown"] < 0.8 * found["new head"]
    assert found["grown"] < 0.5 * found["scratch"]
