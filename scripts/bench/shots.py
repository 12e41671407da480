#!/usr/bin/env python
"""How fast training pictures are made, changed and read on one core: pictures per second, bytes.

    python scripts/bench/shots.py                      # a minute
    python scripts/bench/shots.py --sheet sheet.png    # and a contact sheet with the points drawn in

Everything is timed in processor time of one core. A person costs once for all pictures that show them, a
motion once for a whole run; "in all" counts both over a run of --pictures.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"  # read by the libraries when they are imported
sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from cohorts.skeleton import skeleton
from synthpose.augment import Augmentation, Augmenter
from synthpose.data_recipe import DataRecipe
from synthpose.feeding import Batch
from synthpose.shots import HIDDEN, SEEN, Shot, Studio, decoded

SIZES = ((96, 128), (192, 256))
COLOURS = {SEEN: (0, 255, 0), HIDDEN: (0, 0, 255)}  #: BGR


def measure(data: DataRecipe, pictures: int, people: int) -> tuple[dict[str, Any], list[Shot]]:
    """All numbers of one size, and some shots."""
    studio = Studio(data)
    began = time.process_time()
    for name in studio.library.names:
        studio.library.motion(*name)
    motions = time.process_time() - began
    studio.shot(0)  # bystanders, things, compiled code
    began = time.process_time()
    for number in range(1, 1 + people):
        studio.session(number)
    person = (time.process_time() - began) / people
    first = people * data.shots_per_person
    began = time.process_time()
    shots = [studio.shot(first + k) for k in range(data.shots_per_person)]
    each = (time.process_time() - began) / len(shots)
    total = motions + pictures * (each + person / data.shots_per_person)
    return {
        "size": f"{data.size[0]}x{data.size[1]}",
        "motions_s": motions,
        "person_s": person,
        "picture_ms": 1000 * each,
        "pictures_per_s": pictures / total,
        "bytes": float(np.mean([len(s.jpeg) for s in shots])),
        "seen": float(np.mean([s.visible == SEEN for s in shots])),
        "hidden": float(np.mean([s.visible == HIDDEN for s in shots])),
        "decode_ms": decode_ms(shots),
        "augment_ms": augment_ms(shots),
    }, shots


def decode_ms(shots: list[Shot]) -> float:
    """What reading a picture from memory takes."""
    began = time.process_time()
    for shot in shots:
        decoded(shot.jpeg)
    return 1000 * (time.process_time() - began) / len(shots)


def augment_ms(shots: list[Shot]) -> float:
    """What changing a picture takes, in batches of 64."""
    some = shots[:64]
    batch = Batch(
        np.stack([s.picture for s in some]),
        np.stack([s.points for s in some]),
        np.stack([s.visible > 0 for s in some]).astype(np.float32),
    )
    change = Augmenter(Augmentation(), skeleton("synthpose-52"))
    change(batch, np.random.default_rng(0))
    began = time.process_time()
    for k in range(5):
        change(batch, np.random.default_rng(k))
    return 1000 * (time.process_time() - began) / (5 * len(some))


def sheet(shots: list[Shot], path: Path) -> None:
    """Pictures with their points: green seen, red hidden."""
    import cv2

    tiles = []
    for shot in shots[:48]:
        tile = cv2.resize(shot.picture[..., ::-1], None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
        plain = tile.copy()
        for (x, y), seen in zip(shot.points, shot.visible.tolist(), strict=True):
            if seen:
                cv2.circle(tile, (round(2 * x + 0.5), round(2 * y + 0.5)), 1, COLOURS[seen], -1)
        tiles.append(np.hstack([plain, tile]))
    rows = [np.hstack(tiles[k : k + 8]) for k in range(0, len(tiles) - len(tiles) % 8, 8)]
    cv2.imwrite(str(path), np.vstack(rows))


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", type=int, default=40_000, help="of the run that is reckoned with")
    parser.add_argument("--people", type=int, default=3, help="to take the mean over")
    parser.add_argument("--variants", type=int, default=1, help="motions of each condition")
    parser.add_argument("--sheet", type=Path, help="PNG to draw the smaller pictures into")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    given = parser.parse_args()
    if not given.json:
        print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")
    for size in SIZES:
        data = DataRecipe(seed=1, size=size, variants=given.variants)
        found, shots = measure(data, given.pictures, given.people)
        if given.json:
            print(json.dumps(found))
        else:
            person = 1000 * found["person_s"]
            print(
                f"{found['size']}: {found['picture_ms']:.1f} ms a picture, {person:.0f} ms "
                f"a person ({data.shots_per_person} pictures each), {found['motions_s']:.0f} s for motions\n"
                f"  in all {found['pictures_per_s']:.0f} pictures/s on one core, {found['bytes']:.0f} bytes\n"
                f"  points: {100 * found['seen']:.0f} % seen, {100 * found['hidden']:.0f} % hidden; decoding "
                f"{found['decode_ms']:.2f} ms, augmentation {found['augment_ms']:.2f} ms a picture"
            )
        if given.sheet and size == SIZES[0]:
            sheet(shots, given.sheet)
    return 0


if __name__ == "__main__":
    sys.exit(main())
