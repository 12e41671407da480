"""Random pictures with people, found and missed, in our form and in pycocotools', which scores them."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.oks import People2D, people2d

#: the standing person that scenes are made of, in shares of the box: 17 points in COCO's order
FIGURE = np.array(
    [
        *[(0.50, 0.08), (0.53, 0.06), (0.47, 0.06), (0.57, 0.08), (0.43, 0.08), (0.65, 0.22), (0.35, 0.22)],
        *[(0.75, 0.37), (0.25, 0.37), (0.80, 0.50), (0.20, 0.50), (0.60, 0.52), (0.40, 0.52)],
        *[(0.62, 0.74), (0.38, 0.74), (0.63, 0.95), (0.37, 0.95)],
    ]
)


@dataclass(frozen=True)
class Scene:
    """The same people twice: as arrays and as the annotations of pycocotools."""

    reference: People2D
    detections: People2D
    ground_truth: dict[str, Any]
    results: list[dict[str, Any]]


def scene(
    seed: int,
    *,
    pictures: int = 12,
    people: int = 3,
    false: float = 1.0,
    crowds: float = 0.1,
    unlabelled: float = 0.1,
    step: float = 0.05,
    figure: NDArray[np.float64] = FIGURE,
    spread: float = 0.04,
    sides: tuple[float, float] = (15.0, 300.0),
    first_id: int = 1,
) -> Scene:
    """``pictures`` pictures, each with 0 to 2·``people`` references and their detections among false ones.

    ``step``: scores are rounded to it, so that they tie. ``false``: false detections for each reference.
    """
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for picture in range(first_id, first_id + pictures):
        for _ in range(rng.integers(0, 2 * people + 1)):
            rows.append(_person(rng, picture, figure, crowds, unlabelled, sides))
            for _ in range(rng.poisson(0.9)):
                found.append(_detection(rng, rows[-1], spread * rng.exponential(), step))
            for _ in range(rng.poisson(false)):
                stranger = _person(rng, picture, figure, 0.0, 0.0, sides)
                found.append(_detection(rng, stranger, spread, step))
        if rng.random() < 0.1:
            stranger = _person(rng, picture, figure, 0.0, 0.0, sides)
            found.extend(_detection(rng, stranger, spread, step) for _ in range(25))
    for number, row in enumerate(rows):
        row["id"] = number + 1
    order = rng.permutation(len(found))
    found = [found[k] for k in order]
    truth = {
        "images": [{"id": picture} for picture in range(first_id, first_id + pictures)],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": rows,
    }
    return Scene(to_people(rows, len(figure)), to_people(found, len(figure)), truth, found)


def _person(
    rng: np.random.Generator,
    picture: int,
    figure: NDArray[np.float64],
    crowds: float,
    unlabelled: float,
    sides: tuple[float, float],
) -> dict[str, Any]:
    height = np.exp(rng.uniform(*np.log(sides)))
    width = height * rng.uniform(0.3, 0.8)
    corner = rng.uniform(0, 300, 2)
    xy = corner + figure * [width, height] + rng.normal(0, 0.03 * height, figure.shape)
    seen = rng.choice([0, 1, 2], len(figure), p=[0.2, 0.2, 0.6])
    if rng.random() < unlabelled:
        seen[:] = 0
    xy[seen == 0] = 0
    flat = np.concatenate([xy, seen[:, None]], axis=1).ravel()
    return {
        "image_id": picture,
        "category_id": 1,
        "keypoints": flat.tolist(),
        "num_keypoints": int((seen > 0).sum()),
        "area": float(width * height * rng.uniform(0.3, 0.9)),
        "bbox": [*corner.tolist(), float(width), float(height)],
        "iscrowd": int(rng.random() < crowds),
    }


def _detection(
    rng: np.random.Generator, person: dict[str, Any], spread: float, step: float
) -> dict[str, Any]:
    x, y, width, height = person["bbox"]
    xy = np.array(person["keypoints"]).reshape(-1, 3)[:, :2].copy()
    hidden = ~xy.any(axis=1)
    xy[hidden] = [x, y] + rng.uniform(0, 1, (int(hidden.sum()), 2)) * [width, height]
    xy += rng.normal(0, spread * np.sqrt(width * height), xy.shape)
    score = float(np.round(rng.uniform() / step) * step)
    flat = np.concatenate([xy, np.ones((len(xy), 1))], axis=1).ravel()
    return {"image_id": person["image_id"], "category_id": 1, "keypoints": flat.tolist(), "score": score}


def to_people(rows: list[dict[str, Any]], points: int) -> People2D:
    """COCO's annotations or results as arrays."""
    flat = np.array([row["keypoints"] for row in rows], dtype=float).reshape(len(rows), points, 3)
    given: dict[str, Any] = {}
    if rows and "area" in rows[0] and "iscrowd" in rows[0]:
        given = {
            "area": [row["area"] for row in rows],
            "bbox": [row["bbox"] for row in rows],
            "crowd": [row["iscrowd"] for row in rows],
        }
    if rows and "score" in rows[0]:
        given["scores"] = [row["score"] for row in rows]
    images = np.array([row["image_id"] for row in rows], dtype=float)
    return people2d(images, flat[..., :2], visibility=flat[..., 2], **given)


def coco_stats(
    truth: dict[str, Any], results: list[dict[str, Any]], sigmas: Any, areas: list[float] | None = None
) -> NDArray[np.float64]:
    """pycocotools' ten numbers, -1 turned NaN; ``areas``: of the detections, where loadRes would differ."""
    evaluator = coco_evaluator(truth, results, sigmas, areas)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return np.where(evaluator.stats < 0, np.nan, evaluator.stats)


def coco_evaluator(
    truth: dict[str, Any], results: list[dict[str, Any]], sigmas: Any, areas: list[float] | None = None
) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO()
        gt.dataset = truth
        gt.createIndex()
        if results:
            dt = gt.loadRes([dict(result) for result in results])
        else:  # loadRes asks for at least one
            dt = COCO()
            dt.dataset = {**truth, "annotations": []}
            dt.createIndex()
        for row, area in zip(dt.dataset["annotations"], areas or [], strict=False):
            row["area"] = area
        evaluator = COCOeval(gt, dt, "keypoints")
    evaluator.params.kpt_oks_sigmas = np.asarray(sigmas, dtype=float)
    return evaluator
