"""How fast the scores are, beside what people use, in one run on one core.

    python scripts/bench/metrics.py            # the sizes of the README; needs pycocotools (extra "coco")
    python scripts/bench/metrics.py --quick    # a tenth of them

Each pair computes the same numbers and is checked to agree before it is timed. Times are processor time of
the process, the least of several runs; what both sides need first (reading, indexing) is left out. The peers:
pycocotools' COCOeval; the per-frame loop of common evaluation scripts (numpy's SVD for each frame); a loop of
numpy's choice and mean for each resample and model, and scipy.stats.bootstrap.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"  # read by the libraries when they are imported
ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np
from coco_scenes import coco_evaluator, coco_stats, scene
from scipy import stats

from metrics import bootstrap, detection2d, keypoints3d

SIGMAS = [0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107]
SIGMAS += [0.087, 0.087, 0.089, 0.089]
MM = 1000.0


def least(run: Callable[[], Any], times: int = 3) -> float:
    """Seconds of processor time of the fastest of several runs."""
    taken = []
    for _ in range(times):
        began = time.process_time()
        run()
        taken.append(time.process_time() - began)
    return min(taken)


def show(what: str, ours: float, peers: dict[str, float]) -> None:
    """One line a peer."""
    for peer, theirs in peers.items():
        print(f"{what:34} {ours:9.3f} s   {peer:28} {theirs:9.3f} s   {theirs / ours:8.1f} times as fast")


def agree(what: str, ours: Any, theirs: Any, tolerance: float) -> None:
    """Stop unless both sides computed the same."""
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance, err_msg=what)


# --- average precision --------------------------------------------------------------------------


def average_precision(pictures: int) -> None:
    """OKS-AP of people in pictures."""
    made = scene(1, pictures=pictures)
    found = detection2d.coco(made.reference, made.detections, sigmas=SIGMAS)
    theirs = coco_stats(made.ground_truth, made.results, SIGMAS)
    ours = [found.ap, found.ap50, found.ap75, found.ap_medium, found.ap_large]
    ours += [found.ar, found.ar50, found.ar75, found.ar_medium, found.ar_large]
    agree("OKS-AP", ours, theirs, 1e-12)

    def peer() -> float:
        evaluator = coco_evaluator(made.ground_truth, made.results, SIGMAS)  # indexing is not timed

        def run() -> None:
            with contextlib.redirect_stdout(io.StringIO()):
                evaluator.evaluate()
                evaluator.accumulate()

        return least(run, 1)

    seconds = least(lambda: detection2d.coco(made.reference, made.detections, sigmas=SIGMAS))
    what = f"OKS-AP, {pictures:,} images, {len(made.detections):,} found"
    show(what, seconds, {"pycocotools": min(peer() for _ in range(2))})


# --- joint errors -------------------------------------------------------------------------------


def loop_mpjpe(predicted: np.ndarray, reference: np.ndarray) -> float:
    """As evaluation scripts do it: frame by frame, pelvis to the origin."""
    errors = []
    for p, r in zip(predicted, reference, strict=True):
        errors.append(np.mean(np.linalg.norm((p - p[:1]) - (r - r[:1]), axis=-1)))
    return float(np.mean(errors) * MM)


def loop_pa_mpjpe(predicted: np.ndarray, reference: np.ndarray) -> float:
    """As evaluation scripts do it: frame by frame, points as columns, a similarity by SVD, then its error."""
    errors = []
    for p, r in zip(predicted, reference, strict=True):
        p, r = p.T, r.T
        mean_p, mean_r = p.mean(axis=1, keepdims=True), r.mean(axis=1, keepdims=True)
        x, y = p - mean_p, r - mean_r
        covariance = x.dot(y.T)
        u, _, vt = np.linalg.svd(covariance)
        guard = np.eye(3)
        guard[-1, -1] *= np.sign(np.linalg.det(u.dot(vt)))
        rotation = vt.T.dot(guard.dot(u.T))
        scale = np.trace(rotation.dot(covariance)) / np.sum(x**2)
        aligned = scale * rotation.dot(p) + (mean_r - scale * rotation.dot(mean_p))
        errors.append(np.mean(np.sqrt(((aligned - r) ** 2).sum(axis=0))))
    return float(np.mean(errors) * MM)


def joint_errors(frames: int) -> None:
    """MPJPE with and without alignment of every frame."""
    random = np.random.default_rng(2)
    reference = random.normal(size=(frames, 17, 3)) * 0.4
    predicted = reference + random.normal(size=reference.shape) * 0.05
    options: dict[str, Any]
    for name, options, loop in (
        ("MPJPE·root", {"align": "root", "root": 0}, loop_mpjpe),
        ("PA-MPJPE", {"align": "similarity"}, loop_pa_mpjpe),
    ):
        agree(
            name, keypoints3d.mpjpe(predicted, reference, **options).value, loop(predicted, reference), 1e-9
        )
        seconds = least(lambda o=options: keypoints3d.mpjpe(predicted, reference, **o), 5)
        theirs = least(lambda f=loop: f(predicted, reference), 1)
        show(f"{name}, {frames:,} frames", seconds, {"loop over frames": theirs})


# --- bootstrap ----------------------------------------------------------------------------------


def resampling(models: int, subjects: int, resamples: int) -> None:
    """Percentile intervals of every model's mean over the same resamples of subjects."""
    random = np.random.default_rng(3)
    errors = random.normal(6.0, 1.5, (models, subjects))

    def loop() -> np.ndarray:
        generator = np.random.default_rng(0)
        means = np.empty((models, resamples))
        for b in range(resamples):
            drawn = generator.choice(subjects, subjects)
            for m in range(models):
                means[m, b] = errors[m, drawn].mean()
        return np.quantile(means, [0.025, 0.975], axis=1)

    def scipys() -> Any:
        return stats.bootstrap(
            (errors,), np.mean, axis=1, n_resamples=resamples, method="percentile", rng=0, batch=500
        )

    def ours() -> bootstrap.Bootstrap:
        return bootstrap.bootstrap_means(errors, resamples=resamples)

    found, width = ours(), errors.std(axis=1) / np.sqrt(subjects)
    low, high = loop()
    # different random draws: ends agree to a few standard errors of a bootstrap quantile
    slack = 6 * (2.7 / np.sqrt(resamples))
    assert np.all(np.abs(found.low - low) < slack * width) and np.all(
        np.abs(found.high - high) < slack * width
    )
    what = f"bootstrap, {resamples:,} x {models} x {subjects}"
    peers = {"loop over resamples": least(loop, 1), "scipy.stats.bootstrap": least(scipys, 1)}
    show(what, least(ours), peers)


def main() -> None:
    """Run all pairs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the sizes")
    share = 10 if parser.parse_args().quick else 1
    print(f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}, one core")
    average_precision(5_000 // share)
    joint_errors(100_000 // share)
    resampling(40, 100, 10_000 // share)


if __name__ == "__main__":
    main()
