"""Constant offsets told apart from what comes and goes: scripts/offsets.py on planted errors."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

import offsets

from capbench.run import scoring
from cohorts import formats
from cohorts.recording import Motion

NAMES = tuple(n for n in scoring.PROTOCOL.coordinates if "_t" not in n)


@pytest.mark.truth("errors as they were planted")
def test_planted_errors_are_found(tmp_path, monkeypatch) -> None:
    random = np.random.default_rng(0)
    time = np.arange(200) / 50
    wave = np.sin(2 * np.pi * time)  # standard deviation √½
    keys, planted = ["a/walk/one", "b/walk/one"], {"a/walk/one": 3.0, "b/walk/one": -1.0}
    truths = {}
    for key in keys:
        values = np.radians(random.uniform(-5, 5, (len(time), len(NAMES))))
        truths[key] = Motion(time, NAMES, values)
        wrong = values + np.radians(planted[key] + 2 * wave)[:, None]
        path = tmp_path / "predictions/motions" / f"{key}.mot"
        path.parent.mkdir(parents=True)
        # half as many frames: answers need not be at the truth's own times
        formats.write(path, Motion(time[::2], NAMES, wrong[::2]))

    class Trial:
        def __init__(self, key):
            self.key = key

    trials = tuple(map(Trial, [*keys, "c/walk/none"]))
    opened = SimpleNamespace(cohort=SimpleNamespace(trials=trials))
    monkeypatch.setattr(offsets, "open_cohort", lambda folder: opened)
    monkeypatch.setattr(offsets, "read_truths", lambda cohort, trials: {t.key: truths[t.key] for t in trials})
    found = offsets.errors_of(tmp_path, tmp_path)
    assert set(found) == set(NAMES)
    part = offsets.split(found[NAMES[0]])
    assert part == pytest.approx((1.0, 2.0, 2 * np.sqrt(0.5)), abs=0.02)
    page = offsets.table([("run", found)])
    assert f"| {NAMES[0]} | +1.0° | 2.0° | 1.4° |" in page
