#!/usr/bin/env python
"""What a model sees: its points on frames it never saw, with the true ones beside, or on real video.

    python scripts/draw_mini52.py docs/mini52.jpg --cohort clinic-unseen     # made on first use
    python scripts/draw_mini52.py sheet.png --model runs/mine/onnx --cohort clinic --only gait,sts
    python scripts/draw_mini52.py real.jpg --real ../shared/data/pose2sim_single

A .jpg is compressed until it is no larger than --limit; a .png is as large as it is.

On a cohort: prediction on the left, truth on the right, in the cohort's boxes; the caption gives the mean
distance of all points from the truth. On real video (``videos/*.mp4`` of cameras that stand still) nothing
is known: the box is what moves before the median of the frames, and there is nothing to compare with.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import draw_cohort

from capbench.cli.evaluation import chosen_cohort
from capbench.models.predictor import Predictor
from capbench.models.registry import default_model, find_model
from capbench.vision.boxes import of_trial
from cohorts import formats
from cohorts.bounded import replacing
from cohorts.errors import CapbenchError
from cohorts.recording import Keypoints
from cohorts.store import Imported
from cohorts.values import FloatArray
from synthpose import overlay

LOOKED_AT = 15  #: frames that a background is the median of
KEPT = 60  #: frames of a video that are held in memory
QUALITIES = (92, 88, 84, 80, 75, 70, 65, 60, 55, 50)  #: of a JPEG, until it is small enough
SMALLEST = 0.002  #: share of the picture that a person covers at least
PIECE = 0.0003  #: share of the picture from which on a piece may belong to a person
NEAR = 0.05  #: of a person's height: pieces no farther apart belong together
MOVED = 28  #: grey levels that a person differs from what is behind them


def on_cohort(
    model: Predictor,
    cohort: Imported,
    count: int,
    only: tuple[str, ...],
    size: tuple[int, int] = overlay.TILE,
) -> list[Any]:
    """Pairs of tiles: what the model says, and what is true."""
    shots = draw_cohort.chosen([t for t in cohort.cohort.trials if t.name.startswith(only)], count)
    if not shots:
        names = ", ".join(sorted({t.name for t in cohort.cohort.trials}))
        raise CapbenchError(f"Expected starts of trials' names ({names}), got {', '.join(only)}.")
    tiles = []
    for trial, camera, share in shots:
        truth: Keypoints = formats.read(cohort.path(trial.extras[f"keypoints:{camera}"]))[1][0]
        number = round(share * (len(truth) - 1))
        picture = draw_cohort.frame_of(cohort.path(trial.videos[camera]), number)[..., ::-1]
        box = of_trial(cohort, trial)[camera].at(truth.time[number])
        found = model.predict([picture], box[None])
        points = model.card.points
        shared = [name for name in points.points if name in truth.skeleton.points]
        apart = np.linalg.norm(
            found.points[0][[points.index(name) for name in shared], :2]
            - truth.xy[number][[truth.skeleton.index(name) for name in shared]],
            axis=1,
        )
        person = cohort.cohort.subject(trial.subject)
        words = (
            f"{trial.subject} {person.height:.2f} m, {trial.name}, {camera}, frame {number}: "
            f"{np.nanmean(apart):.1f} px on average"
        )
        tiles.append(
            overlay.pair(
                overlay.tile(picture, box, points, found.points[0], found.confidence[0], sure=0.0, size=size),
                overlay.tile(
                    picture,
                    box,
                    truth.skeleton,
                    truth.xy[number],
                    truth.confidence[number],
                    sure=0.75,
                    size=size,
                ),
                words,
            )
        )
    return tiles


def on_video(model: Predictor, folder: Path, count: int, size: tuple[int, int] = overlay.TILE) -> list[Any]:
    """Tiles of real frames, ``count`` in all, the cameras in turn."""
    videos = sorted((folder / "videos").glob("*.mp4"))
    if not videos:
        raise CapbenchError("Expected videos/*.mp4 below the folder, got none.", file=folder)
    tiles = []
    for k, video in enumerate(videos):
        kept = frames(video)
        back = np.median([picture for _, picture in kept[:: max(1, len(kept) // LOOKED_AT)]], axis=0)
        here = count // len(videos) + (k < count % len(videos))
        for share in np.linspace(0.1, 0.9, here):
            number, picture = kept[round(share * (len(kept) - 1))]
            box = moving(picture, back.astype(np.uint8))
            found = model.predict([picture], box[None])
            drawn = overlay.tile(
                picture, box, model.card.points, found.points[0], found.confidence[0], sure=0.0, size=size
            )
            tiles.append(overlay.captioned(drawn, f"{video.stem}, frame {number}: real, no truth"))
    return tiles


def frames(video: Path) -> list[tuple[int, Any]]:
    """At most ``KEPT`` frames, RGB, evenly over the video, each with its number."""
    from cohorts.formats import video as videos

    kept: list[tuple[int, Any]] = []
    step = 1
    for number, (_, picture) in enumerate(videos.frames(video)):
        if number % step == 0:
            kept.append((number, picture))
        if len(kept) > KEPT:
            kept, step = kept[::2], 2 * step
    return kept


def moving(picture: Any, back: Any) -> FloatArray:
    """(4,) the box of what differs most from the background, with the pieces near it; NaN where nothing does.

    Who hardly leaves their place is part of the median too, and falls into pieces.
    """
    import cv2

    apart = cv2.absdiff(np.ascontiguousarray(picture), back).max(axis=2)
    mask = (cv2.GaussianBlur(apart, (0, 0), 3) > MOVED).astype(np.uint8)
    side = max(3, picture.shape[0] // 40) | 1
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((2 * side + 1, side), np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
    people = stats[1:]
    if not len(people) or people[:, cv2.CC_STAT_AREA].max() < SMALLEST * mask.size:
        return np.full(4, np.nan)
    boxes = np.hstack([people[:, :2], people[:, :2] + people[:, 2:4]]).astype(float)
    there = people[:, cv2.CC_STAT_AREA] >= PIECE * mask.size
    box = boxes[people[:, cv2.CC_STAT_AREA].argmax()]
    while True:
        reach = NEAR * (box[3] - box[1])
        near = there & (boxes[:, :2] <= box[2:] + reach).all(1) & (boxes[:, 2:] >= box[:2] - reach).all(1)
        found = np.concatenate([boxes[near, :2].min(0), boxes[near, 2:].max(0)])
        if (found == box).all():
            return np.asarray(box)
        box = found


def write(path: Path, picture: Any, *, limit: int, overwrite: bool) -> None:
    """Write an RGB picture: a .png, or a .jpg of the best quality that fits into ``limit`` bytes."""
    import cv2

    kind = path.suffix.lower()
    if kind == ".png":
        return overlay.write_png(path, picture, overwrite=overwrite)
    if kind != ".jpg":
        raise CapbenchError(f"Expected a .jpg or .png, got {path.suffix or 'no ending'}.", file=path)
    for quality in QUALITIES:
        found = cv2.imencode(kind, picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        if len(found) <= limit:
            with replacing(path, overwrite=overwrite) as temporary:
                temporary.write_bytes(found.tobytes())
            return None
    raise CapbenchError(
        f"Expected a picture of at most {limit // 1000} kB, got {len(found) // 1000} kB.",
        file=path,
        fix="fewer --frames, a smaller --size or a larger --limit",
    )


def main(words: Sequence[str] | None = None) -> int:
    """Choose, ask, draw, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=Path)
    parser.add_argument("--model", default=default_model(), help="as capbench evaluate takes it")
    parser.add_argument("--cohort", default="clinic-mini", help="a built-in name or a folder")
    parser.add_argument("--only", default="", help="starts of trials' names, separated by commas")
    parser.add_argument("--real", type=Path, help="a folder with videos/*.mp4, instead of a cohort")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--across", type=int, default=4, help="pictures or pairs in a row")
    parser.add_argument("--size", default="{}x{}".format(*overlay.TILE), help="WIDTHxHEIGHT of a picture")
    parser.add_argument("--limit", type=int, default=400, help="kB that a .jpg may have")
    parser.add_argument("--force", action="store_true", help="overwrite the output")
    given = parser.parse_args(words)
    size = tuple(int(side) for side in given.size.split("x"))
    if len(size) != 2 or min(size) < 16 or given.frames < 1 or given.across < 1:
        parser.error("expected a size such as 240x320, and one frame or more")
    found = find_model(given.model)
    model = found.open()
    try:
        if given.real is not None:
            tiles, where = (
                on_video(model, given.real, given.frames, size),
                f"real frames of {given.real.name}",
            )
        else:
            cohort = chosen_cohort(given.cohort, None, quiet=False)
            tiles = on_cohort(model, cohort, given.frames, tuple(given.only.split(",")), size)
            where = f"{cohort.card.name}: left its answer, right the truth (rings are hidden points)"
    finally:
        model.close()
    title = f"{found.card.name} {found.card.version} on {where}. Left side red, right side blue."
    sheet = overlay.sheet(tiles, across=given.across, title=title)
    write(given.output, sheet, limit=1000 * given.limit, overwrite=given.force)
    return 0


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except CapbenchError as error:
        raise SystemExit(str(error)) from None
