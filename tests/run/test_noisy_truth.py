"""The built-in self-test's noise: as large as declared, and decided by seed, trial and camera alone."""

import numpy as np
import pytest

from capbench.run.noisy_truth import NAME, Noise, noisy, parse
from cohorts.errors import CapbenchError
from cohorts.recording import Keypoints
from cohorts.skeleton import skeleton

POINTS = skeleton("synthpose-52")


def truth(camera: str = "Cam1", frames: int = 40, start: float = 0.0) -> Keypoints:
    random = np.random.default_rng(1)
    xy = random.uniform(0, 1000, (frames, len(POINTS), 2))
    xy[::7, 3] = np.nan
    confidence = np.where(np.isnan(xy[..., 0]), 0, 0.5)
    return Keypoints(camera, start + np.arange(frames) / 25, xy, POINTS, confidence)


@pytest.mark.truth("closed form")
def test_the_noise_has_the_standard_deviations_that_are_declared() -> None:
    """Bias: the mean over a trial. White: what is left. Both by 400 trials of 52 points and two axes."""
    white, bias, frames = 1.5, 4.0, 20
    true = truth(frames=frames)
    made = np.array([noisy(true, Noise(white, bias), seed=0, trial=f"t{k}").xy - true.xy for k in range(400)])
    made = made[:, :, [p for p in range(len(POINTS)) if p != 3]]
    middle = made.mean(axis=1)
    n = middle.size
    # a standard deviation of n draws is itself known to 1 / sqrt(2 n)
    assert made.std() == pytest.approx(np.hypot(white, bias), rel=5 / np.sqrt(2 * n))
    assert (made - middle[:, None]).std() * np.sqrt(frames / (frames - 1)) == pytest.approx(
        white, rel=4 / np.sqrt(2 * n * frames)
    )
    assert middle.std() == pytest.approx(np.sqrt(bias**2 + white**2 / frames), rel=4 / np.sqrt(2 * n))
    assert abs(made.mean()) < 4 * bias / np.sqrt(n)
    steps = (made - middle[:, None]).reshape(400, frames, -1)
    for lag in (1, 2):  # white: no frame tells of another
        r = (steps[:, lag:] * steps[:, :-lag]).mean() / (steps**2).mean()
        assert r == pytest.approx(-1 / (frames - 1), abs=0.01)
    x, y = made[..., 0].ravel(), made[..., 1].ravel()
    assert abs(np.corrcoef(x, y)[0, 1]) < 0.05


def test_no_noise_is_the_truth_to_the_last_bit() -> None:
    true = truth()
    found = noisy(true, Noise(0, 0), seed=3, trial="a/b")
    np.testing.assert_array_equal(found.xy, true.xy)
    np.testing.assert_array_equal(found.confidence, true.confidence)


def test_only_seed_trial_and_camera_decide_it() -> None:
    noise = Noise(1, 1)
    wanted = {(s, t, c): noisy(truth(c), noise, seed=s, trial=t).xy
              for s in (0, 1) for t in ("a/1", "a/2") for c in ("Cam1", "Cam3")}  # fmt: skip
    np.random.seed(5)  # nor the global chance
    for s, t, c in reversed(list(wanted)):
        np.testing.assert_array_equal(noisy(truth(c), noise, seed=s, trial=t).xy, wanted[s, t, c])
    values = list(wanted.values())
    for i, one in enumerate(values):
        for other in values[i + 1 :]:
            assert not (one == other).any()


def test_names_are_not_run_together() -> None:
    """Trial ``a`` of camera ``b1`` is not trial ``ab`` of camera ``1``."""
    one = noisy(truth("b1"), Noise(1, 0), seed=0, trial="a").xy
    assert not np.array_equal(one, noisy(truth("1"), Noise(1, 0), seed=0, trial="ab").xy, equal_nan=True)


def test_times_start_at_zero_and_nothing_else_moves() -> None:
    true = truth(start=0.32)
    found = noisy(true, Noise(1, 1), seed=0, trial="t")
    assert found.time[0] == 0
    np.testing.assert_allclose(np.diff(found.time), np.diff(true.time))
    assert found.camera == true.camera and found.skeleton == true.skeleton
    np.testing.assert_array_equal(np.isnan(found.xy), np.isnan(true.xy))
    none = noisy(true[:0], Noise(1, 1), seed=0, trial="t")
    assert len(none) == 0


@pytest.mark.parametrize(
    ("spec", "white", "bias"),
    [("", 1, 1), (":2", 2, 2), (":2,0.5", 2, 0.5), (":0", 0, 0), (":0,3", 0, 3), (":1000", 1000, 1000)],
)
def test_the_name_says_how_much(spec, white, bias) -> None:
    assert parse(NAME + spec) == Noise(white, bias)


@pytest.mark.parametrize(
    "spec", [":", ":-1", ":1e3", ":nan", ":1,", ":1,2,3", ":1.2.3", ":.", "x", ":1001", ":1,1001", ": 1"]
)
def test_other_names_are_refused(spec) -> None:
    with pytest.raises(CapbenchError, match="up to 1000 pixels"):
        parse(NAME + spec)
