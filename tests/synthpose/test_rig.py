"""The phones stand where LabValidation's do (Uhlrich et al. 2023), and smaller pictures show the same."""

import numpy as np
import pytest
from solids import camera

from cohorts.errors import CapbenchError
from synthpose.rig import AZIMUTHS, DEFAULT, PHONE_SIZE, cut, facing, phone_matrix, phone_rig


@pytest.mark.truth("OpenCap's set-ups: azimuths, image size and intrinsics of iPhone13,3")
def test_the_five_phones() -> None:
    rig = phone_rig(list(AZIMUTHS), distance=3.0, height=1.3, target=(0.5, 0.9, -0.2))
    assert [c.name for c in rig] == ["Cam0", "Cam1", "Cam2", "Cam3", "Cam4"] and DEFAULT == ("Cam1", "Cam3")
    for cam, azimuth in zip(rig, (-70, -45, 0, 45, 70), strict=True):
        off = cam.centre - [0.5, 1.3, -0.2]
        np.testing.assert_allclose([np.linalg.norm(off), off[1]], [3.0, 0.0], atol=1e-12)
        # 0 is where the subject (x forward, y up, z right) looks to, positive to the subject's left
        assert np.degrees(np.arctan2(-off[2], off[0])) == pytest.approx(azimuth)
        assert cam.size == (720, 1280) and cam.lens == "pinhole"
        np.testing.assert_allclose(cam.matrix, [[913.22, 0, 366.49], [0, 913.52, 638.5], [0, 0, 1]])
        np.testing.assert_allclose(cam.distortion, [0.1278, -0.2842, -0.0003, 0.0001, 0.2134])
        np.testing.assert_allclose(cam.project([0.5, 0.9, -0.2]), [366.49, 638.5], atol=1e-6)
        above, right = cam.project(
            [[0.5, 1.4, -0.2], cam.centre + cam.rotation[2] * 3 + cam.rotation[0] * 0.1]
        )
        assert above[1] < 638 and abs(above[0] - 366.49) < 1 and right[0] > 380  # upright, not mirrored


def test_other_rigs_and_unknown_phones() -> None:
    back = phone_rig(["back"], azimuths={"back": 180.0})[0]
    np.testing.assert_allclose(back.centre, [-3.5, 1.2, 0.0], atol=1e-12)
    with pytest.raises(CapbenchError, match=r"name of a phone.*Did you mean 'Cam1'"):
        phone_rig(["cam1"])


def test_hands_put_each_phone_a_little_off_and_always_the_same() -> None:
    exact, one, again, other = (
        phone_rig(list(AZIMUTHS), jitter=j, seed=s) for j, s in ((0.0, 1), (0.05, 1), (0.05, 1), (0.05, 2))
    )
    assert one == again and one != other
    assert phone_rig(["Cam3"], jitter=0.05, seed=1)[0] == one[3]  # whoever else is there
    many = [c for s in range(60) for c in phone_rig(list(AZIMUTHS), jitter=0.05, seed=s)]
    off = np.array([c.centre for c in many]) - np.array([c.centre for c in exact] * 60)
    np.testing.assert_allclose(off.std(axis=0), [0.05, 0.025, 0.05], rtol=0.15)
    np.testing.assert_allclose(off.mean(axis=0), 0, atol=0.01)
    assert 0.005 < np.std([c.rotation[2] for c in many[::5]], axis=0).max() < 0.05


@pytest.mark.truth("a scaled picture shows the same at scaled places")
@pytest.mark.parametrize("size", [(360, 640), (180, 320), (1440, 2560)])
def test_focal_length_and_centre_scale_with_the_picture(size) -> None:
    large, small = phone_rig(["Cam1"])[0], phone_rig(["Cam1"], size=size)[0]
    share = size[0] / 720
    points = np.random.default_rng(0).uniform([-0.5, 0, -0.5], [0.5, 1.8, 0.5], (50, 3))
    # edges scale, and pixel centres lie half a pixel inside
    np.testing.assert_allclose(small.project(points) + 0.5, (large.project(points) + 0.5) * share, atol=1e-9)


@pytest.mark.parametrize("size", [(192, 256), (256, 192), (100, 640)])
def test_another_shape_is_covered_and_cut_evenly(size) -> None:
    matrix = phone_matrix(size)
    share = max(size[0] / PHONE_SIZE[0], size[1] / PHONE_SIZE[1])
    assert matrix[0, 0] == pytest.approx(913.22 * share) and matrix[1, 1] == pytest.approx(913.52 * share)
    middle = [(366.49 - 359.5) * share + (size[0] - 1) / 2, (638.5 - 639.5) * share + (size[1] - 1) / 2]
    np.testing.assert_allclose(matrix[:2, 2], middle)
    with pytest.raises(CapbenchError, match="size"):
        phone_matrix((0, 5))


@pytest.mark.truth("the cut-out's pixels are the picture's, moved and scaled")
def test_a_cut_out_shows_what_the_box_holds() -> None:
    cam = phone_rig(["Cam3"])[0]
    points = np.random.default_rng(0).uniform([-0.5, 0, -0.5], [0.5, 1.8, 0.5], (50, 3))
    crop = cut(cam, (200.0, 300.0, 500.0, 700.0), (192, 256))
    assert crop.size == (192, 256)
    expected = (cam.project(points) - [200, 300]) * [192 / 300, 256 / 400] - 0.5
    np.testing.assert_allclose(crop.project(points), expected, atol=1e-9)
    same = cut(cam, (-0.5, -0.5, 719.5, 1279.5), (720, 1280))
    np.testing.assert_allclose(same.matrix, cam.matrix, atol=1e-9)
    with pytest.raises(CapbenchError, match="box"):
        cut(cam, (5, 5, 5, 9), (10, 10))


def test_facing_is_a_proper_upright_rotation() -> None:
    r = facing(np.array([3.0, 1.5, -2.0]), np.array([0.0, 1.0, 0.3]))
    np.testing.assert_allclose(r @ r.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(r) == pytest.approx(1) and r[1, 1] < 0 and r[0, 1] == pytest.approx(0)
    assert camera().rotation.shape == (3, 3)
