"""Pictures in another look: held against what a lens, a sensor and a screen would have made of them."""

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")

from synthpose.likeness import EDGES, Change, likened, look_of

SIZE = (64, 96)


def scenes(count, seed):
    """Coloured pictures whose power falls with frequency, as that of photographs does."""
    random = np.random.default_rng(seed)
    height, width = SIZE[::-1]
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)) + 0.01
    white = random.normal(size=(count, 3, height, width))
    made = np.fft.irfft2(np.fft.rfft2(white) / frequency**1.5, s=(height, width))
    made += 0.7 * made[:, :1]  # colours go together
    made = 120 + 30 * (made - made.mean()) / made.std() + np.array([8, 0, -8])[:, None, None]
    return np.clip(made, 0, 255).transpose(0, 2, 3, 1).astype(np.uint8)


class Labelled:
    """A source whose points are its pictures' numbers."""

    skeleton = None

    def __init__(self, pictures):
        self.pictures = pictures

    def __len__(self):
        return len(self.pictures)

    def batch(self, numbers):
        points = np.repeat(numbers[:, None, None], 2, 2).astype(np.float32)
        return self.pictures[numbers], points, np.full((len(numbers), 1), 2, np.uint8)


def in_look_of(pictures, target, group=None, **more):
    group = np.zeros(len(target), int) if group is None else group
    source = likened(Labelled(pictures), np.arange(len(pictures)), target, group, seed=0, **more)
    return source.batch(np.arange(len(pictures)))


def worst(pictures, others):
    """Root mean square difference, away from edges, where a filter must guess."""
    gap = pictures[:, 8:-8, 8:-8].astype(float) - others[:, 8:-8, 8:-8]
    return float(np.sqrt((gap**2).mean()))


@pytest.mark.truth("the variance of what was drawn")
def test_white_noise_has_its_variance_in_every_band() -> None:
    random = np.random.default_rng(0)
    grey = np.clip(random.normal(128, 12, (200, *SIZE[::-1], 1)) + 0.5, 0, 255).astype(np.uint8)
    look = look_of(np.repeat(grey, 3, 3))
    # the lowest band has lost the mean
    assert look.power[1:] == pytest.approx(np.full(len(EDGES) - 2, 144 + 1 / 12), rel=0.06)
    assert look.colour == pytest.approx([128] * 3, abs=0.2)
    assert look.saturation == pytest.approx(0, abs=1e-3)


def test_in_their_own_look_pictures_stay_as_they_are() -> None:
    pictures = scenes(40, 1)
    assert abs(in_look_of(pictures, pictures)[0].astype(int) - pictures).max() <= 1


@pytest.mark.truth("OpenCV's Gaussian blur")
def test_a_lens_out_of_focus_is_found_and_applied() -> None:
    soft = np.stack([cv2.GaussianBlur(p, (0, 0), 1.3) for p in scenes(120, 2)])
    mine = scenes(40, 3)
    wanted = np.stack([cv2.GaussianBlur(p, (0, 0), 1.3) for p in mine])
    assert worst(mine, wanted) > 6
    assert worst(in_look_of(mine, soft)[0], wanted) < 2.5


@pytest.mark.truth("contrast and colour as they were drawn")
def test_contrast_brightness_and_tint_are_found_and_applied() -> None:
    def paler(pictures):
        return np.clip(0.6 * pictures + np.array([70, 60, 40]), 0, 255).astype(np.uint8)

    mine = scenes(40, 3)
    assert worst(in_look_of(mine, paler(scenes(120, 2)))[0], paler(mine)) < 3
    grey = np.repeat((scenes(120, 2) @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)[..., None], 3, 3)
    seen = in_look_of(mine, grey)[0].astype(int)
    assert np.ptp(seen, axis=3).max() <= 1


@pytest.mark.truth("the spectrum of what was drawn")
def test_a_sensors_noise_is_found_and_added() -> None:
    random = np.random.default_rng(5)

    def noisy(pictures):
        return np.clip(pictures + random.normal(0, 9, pictures.shape[:3])[..., None], 0, 255).astype(np.uint8)

    mine = scenes(60, 3)
    seen = in_look_of(mine, noisy(scenes(120, 2)))[0]
    fine = EDGES[1:] > 0.15
    assert look_of(seen).power[fine] == pytest.approx(look_of(noisy(mine)).power[fine], rel=0.12)
    assert look_of(mine).power[-1] < 0.5 * look_of(seen).power[-1]
    gap = seen[:30].astype(float) - mine[:30]
    # each picture has noise of its own
    flat = gap.mean(3).reshape(30, -1)
    others = np.corrcoef(flat)[~np.eye(30, dtype=bool)]
    assert abs(others.mean()) < 0.05


def test_each_group_is_a_look_and_labels_stay() -> None:
    mine = scenes(6, 3)
    target = np.concatenate([np.full((4, *SIZE[::-1], 3), v, np.uint8) for v in (40, 200)])
    group = np.repeat([7, 9], 4)
    pictures, points, given = in_look_of(mine, target, group)
    bright = pictures.mean((1, 2, 3))
    assert bright[::2] == pytest.approx(bright[0], abs=12)
    assert (bright[1::2] - bright[::2]).min() > 100
    assert points[:, 0, 0].tolist() == list(range(6))
    assert (given == 2).all()
    again = likened(Labelled(mine), np.array([1, 4]), target, group, seed=0)
    assert np.array_equal(again.batch(np.array([1]))[1][:, 0, 0], [4])
    # a picture is the same whatever it is asked for together with
    alone = likened(Labelled(mine), np.arange(6), target, group, seed=0)
    assert np.array_equal(alone.batch(np.array([4]))[0][0], pictures[4])


def test_pictures_come_in_the_recordings_size() -> None:
    fine = np.repeat(np.repeat(scenes(8, 3), 2, 1), 2, 2)
    pictures, points, _ = in_look_of(fine, scenes(8, 4))
    assert pictures.shape[1:3] == SIZE[::-1]
    assert points[5, 0] == pytest.approx([(5 + 0.5) / 2 - 0.5] * 2)


def test_a_look_without_light_is_no_trouble() -> None:
    black = np.zeros((3, *SIZE[::-1], 3), np.uint8)
    assert in_look_of(scenes(4, 3), black)[0].max() < 60
    assert isinstance(
        Change(look_of(black), look_of(scenes(4, 3)))(black[0], np.random.default_rng(0)), np.ndarray
    )
