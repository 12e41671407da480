"""What a run will take, told before it starts: frames as containers claim them, seconds from a short try."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from capbench.models.predictor import Predictor
from capbench.run.answers import Asker
from capbench.run.decoding import claim
from capbench.vision import boxes as box_tools
from cohorts.errors import CapbenchError, EnvironmentFault


def frame_counts(videos: Mapping[str, str | Path], *, rate: float | None = None) -> dict[str, int]:
    """Camera -> how many frames a model will see, as the containers claim; 0 for one that can't be opened.

    For plans only: a container's claim is often wrong. With ``rate`` (frames/s) fewer are looked at.
    """
    counts = {}
    for name, path in videos.items():
        try:
            found = claim(path)
        except EnvironmentFault:
            raise
        except CapbenchError:
            counts[name] = 0  # the run will say what is wrong with it
            continue
        thinned = rate is not None and 0 < rate < found.rate
        counts[name] = round(found.duration * rate) if thinned and rate else found.frames
    return counts


def seconds_per_frame(
    predictor: Predictor, *, size: tuple[int, int] = (1080, 1920), count: int = 16, batch: int = 8
) -> float:
    """How long the model takes for a picture, by trying it on noise; the first batch is not counted.

    ``size`` is (width, height) in pixels, ``count`` how many pictures are timed.
    """
    picture = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    batch = max(1, min(batch, predictor.card.limits.batch))
    asker = Asker(predictor, {}, batch)
    box = box_tools.enlarge(box_tools.whole(size), 0.6)
    looks = [("made up", i, picture, box) for i in range(batch)]
    asker.ask(looks)
    warm, done = asker.seconds, 0
    while done < count:
        asker.ask(looks)
        done += batch
    return (asker.seconds - warm) / done


def hours(frames: int, each: float, *, workers: int = 1) -> float:
    """Hours for so many frames at ``each`` seconds, shared by workers that don't hold each other up."""
    return frames * each / 3600 / max(workers, 1)
