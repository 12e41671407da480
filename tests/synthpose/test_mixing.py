"""Mixtures: ratios are met exactly, every picture is seen, what a source does not label weighs nothing."""

from dataclasses import dataclass

import numpy as np
import pytest

from cohorts.errors import CapbenchError
from cohorts.skeleton import Skeleton, skeleton
from synthpose.mixing import Mixed, Part

DENSE, COCO, OPENPOSE = (skeleton(n) for n in ("synthpose-52", "coco-17", "openpose-25"))


@dataclass
class Counted:
    """Picture n is all n; point k of it is at (n, k); visibility 2, or what is given."""

    skeleton: Skeleton
    count: int
    visible: np.ndarray | None = None
    size: tuple[int, int] = (4, 6)

    def __len__(self) -> int:
        return self.count

    def batch(self, numbers):
        k = len(self.skeleton)
        pictures = np.broadcast_to(numbers[:, None, None, None], (len(numbers), *self.size[::-1], 3))
        points = np.stack(np.broadcast_arrays(numbers[:, None], np.arange(k)[None]), -1).astype(float)
        seen = np.full((len(numbers), k), 2, np.uint8) if self.visible is None else self.visible[numbers]
        return pictures.astype(np.uint8), points, seen


@pytest.mark.truth("closed form")
def test_ratios_and_every_picture() -> None:
    """10 and 90 pictures, 1 : 2 -> 90 of the second need 45 of the first, which comes round 4.5 times."""
    mixed = Mixed(COCO, (Part(Counted(COCO, 10), 1.0), Part(Counted(COCO, 90), 2.0)))
    assert len(mixed) == 135 and mixed.counts == (45, 90)
    part, own = mixed.place(np.arange(135))
    assert np.bincount(part).tolist() == [45, 90]
    assert np.bincount(own[part == 0]).tolist() == [5] * 5 + [4] * 5
    assert sorted(own[part == 1].tolist()) == list(range(90))
    pictures, points, weight = mixed.batch(np.array([134, 0, 12, 45, 134]))
    assert pictures[:, 0, 0, 0].tolist() == [89, 0, 2, 0, 89] and pictures.shape == (5, 6, 4, 3)
    assert points[2, 7].tolist() == [2, 7] and (weight == 1).all()
    assert pictures.dtype == np.uint8 and points.dtype == weight.dtype == np.float32
    assert mixed.batch(np.array([], np.int64))[1].shape == (0, 17, 2)
    equal = Mixed(COCO, tuple(Part(Counted(COCO, n), 1.0) for n in (7, 7, 7)))
    assert len(equal) == 21


def test_unlabelled_points_weigh_nothing() -> None:
    mixed = Mixed(DENSE, (Part(Counted(DENSE, 5)), Part(Counted(COCO, 5))))
    _, points, weight = mixed.batch(np.array([1, 6]))
    assert (weight[0] == 1).all()
    for k, name in enumerate(DENSE.points):
        known = name in COCO.points
        assert weight[1, k] == known
        assert points[1, k].tolist() == ([1, COCO.index(name)] if known else [0, 0])
    assert mixed.labelled[1] == COCO.points and mixed.labelled[0] == DENSE.points
    assert mixed.skeleton is DENSE and Mixed(COCO, (Part(mixed),)).batch(np.array([6]))[2].all()


def test_points_by_name_whatever_their_order() -> None:
    swapped = Skeleton("swapped", ("right_eye", "nose"), ("right_eye", "nose"))
    _, points, weight = Mixed(COCO, (Part(Counted(swapped, 3)),)).batch(np.array([2]))
    assert points[0, COCO.index("nose")].tolist() == [2, 1]
    assert points[0, COCO.index("right_eye")].tolist() == [2, 0] and weight.sum() == 2


def test_near_points_count_on_demand_and_as_much_as_asked() -> None:
    """OpenPose's heel is the skin's, not the bone's; its mid-hip is nobody's."""
    exact = Mixed(DENSE, (Part(Counted(OPENPOSE, 3)),))
    near = Mixed(DENSE, (Part(Counted(OPENPOSE, 3), approximate=0.25, weight=2.0),))
    heel, hip = DENSE.index("l_calc"), DENSE.index("left_hip")
    assert exact.batch(np.array([1]))[2][0, heel] == 0
    _, points, weight = near.batch(np.array([1]))
    assert weight[0, heel] == 0.5 and weight[0, hip] == 2.0
    assert points[0, heel].tolist() == [1, OPENPOSE.index("LHeel")]
    without = Mixed(DENSE, (Part(Counted(OPENPOSE, 3), without=("left_hip",)),))
    assert without.batch(np.array([1]))[2][0, hip] == 0


def test_visibility_and_weights_and_missing_points() -> None:
    visible = np.array([[2] * 17, [1] * 17, [0] * 17], np.uint8)
    weight = Mixed(COCO, (Part(Counted(COCO, 3, visible), hidden=0.5),)).batch(np.arange(3))[2]
    assert weight[:, 0].tolist() == [1, 0.5, 0]
    floats = np.linspace(0, 1, 51).reshape(3, 17).astype(np.float32)
    found = Mixed(COCO, (Part(Counted(COCO, 3, floats), weight=2.0),)).batch(np.arange(3))[2]
    np.testing.assert_allclose(found, 2 * floats, rtol=1e-6)

    class Holes(Counted):
        def batch(self, numbers):
            pictures, points, seen = super().batch(numbers)
            points[:, 3] = np.nan
            return pictures, points, seen

    _, points, weight = Mixed(COCO, (Part(Holes(COCO, 3)),)).batch(np.arange(3))
    assert np.isfinite(points).all() and (weight[:, 3] == 0).all() and (weight[:, 4] == 1).all()


def test_means_need_all_their_points() -> None:
    """A pelvis that is the mean of two hips is known where both are."""
    hips = Skeleton("hips", ("l", "r"), ("left_hip@coco", "right_hip@coco"))
    target = next(
        skeleton(n) for n in ("h36m-17", "openpose-25")
        if any(len(a.points) == 2 for a in hips.map_to(skeleton(n)).approximate.values())
    )  # fmt: skip
    name = next(p for p, a in hips.map_to(target).approximate.items() if len(a.points) == 2)
    visible = np.array([[2, 2], [2, 0], [1, 2]], np.uint8)
    mixed = Mixed(target, (Part(Counted(hips, 3, visible), approximate=0.5, hidden=0.5),))
    _, points, weight = mixed.batch(np.arange(3))
    k = target.index(name)
    np.testing.assert_allclose(weight[:, k], [0.5, 0, 0.25])
    assert points[2, k].tolist() == [2, 0.5] and points[1, k].tolist() == [0, 0]


def test_what_can_not_be_mixed() -> None:
    with pytest.raises(CapbenchError, match="at least one source"):
        Mixed(COCO, ())
    with pytest.raises(CapbenchError, match="make an epoch"):
        Mixed(COCO, (Part(Counted(COCO, 3), 1e-5), Part(Counted(COCO, 2000), 1e5)))
    with pytest.raises(CapbenchError, match="an empty one"):
        Part(Counted(COCO, 0))
    for wrong in (
        {"ratio": 0.0},
        {"ratio": float("nan")},
        {"weight": -1.0},
        {"approximate": 2.0},
        {"hidden": -1.0},
    ):
        with pytest.raises(CapbenchError, match=next(iter(wrong))):
            Part(Counted(COCO, 1), **wrong)
    with pytest.raises(CapbenchError, match="has points of coco-17"):
        Mixed(COCO, (Part(Counted(Skeleton("other", ("tag",)), 3)),))
    with pytest.raises(CapbenchError, match="left_hop"):
        Mixed(COCO, (Part(Counted(COCO, 3), without=("left_hop",)),))
    two = Mixed(COCO, (Part(Counted(COCO, 3)), Part(Counted(COCO, 3, size=(5, 6)))))
    with pytest.raises(CapbenchError, match="of one size, got 4 x 6 and 5 x 6"):
        two.batch(np.array([0, 5]))
    with pytest.raises(CapbenchError, match="from 0 to 5"):
        two.batch(np.array([6]))
