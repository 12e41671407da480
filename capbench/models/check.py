"""What can be said of a model without a cohort: that it answers as it must, twice the same, and how fast.

Takes pictures and boxes from outside. With the true points of the picture it also tells a model that calls
left what is right: a mistake that no confidence shows and that costs everything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from capbench.models.predictor import Picture, Predicted, Predictor
from cohorts.errors import CapbenchError
from cohorts.skeleton import Skeleton
from cohorts.values import FloatArray

Verdict = Literal["ok", "odd", "bad"]
SAME = 0.05  #: pixels that answers may differ by from one batch size to another
NEAR = 0.10  #: of the box's height: nearer than this a point was found
MIRROR = 0.02  #: of the box's height that a mirrored answer may differ by


@dataclass(frozen=True)
class Line:
    """One thing that was looked at.

    Attributes
    ----------
    name : of the check
    verdict : ok; odd (look at it); bad (it can't be scored fairly as it is)
    words : what was found, in a sentence
    values : the numbers behind it
    """

    name: str
    verdict: Verdict
    words: str
    values: Mapping[str, float] = field(default_factory=dict)


def check(
    model: Predictor,
    pictures: Sequence[Picture],
    boxes: FloatArray,
    *,
    truth: FloatArray | None = None,
    truth_skeleton: Skeleton | None = None,
    seconds: float = 6.0,
) -> tuple[Line, ...]:
    """Look a model over.

    Parameters
    ----------
    pictures, boxes : n people, one a picture, with their boxes (n, 4) in pixels
    truth : (n, J, 2) true places in pixels of the points of ``truth_skeleton``, NaN where unknown
    seconds : that the timing may take, roughly
    """
    before = _memory()
    try:
        first = model.predict(pictures, boxes)
    except CapbenchError as error:
        return (Line("answers", "bad", str(error)),)
    lines = [_shapes(model, first, len(pictures))]
    if lines[0].verdict == "bad":
        return tuple(lines)
    heights = boxes[:, 3] - boxes[:, 1]
    checks: list[tuple[str, Callable[[], Line | list[Line]]]] = [
        ("answers", lambda: _answers(first, boxes, heights)),
        ("determinism", lambda: _twice(model, pictures, boxes, first)),
        ("batches", lambda: _alone(model, pictures, boxes, first)),
        ("no person", lambda: _nobody(model, pictures, boxes)),
    ]
    if first.points.shape[2] == 2:
        checks.append(("flip", lambda: _flip(model, pictures, boxes, first, heights)))
        if truth is not None and truth_skeleton is not None:
            own = model.card.points
            checks.append(("made-up person", lambda: _against(own, first, truth, truth_skeleton, heights)))
    checks += [
        ("speed", lambda: _speed(model, pictures, boxes, seconds)),
        ("memory", lambda: _used(before)),
    ]
    for name, look in checks:
        try:
            found = look()
        except CapbenchError as error:
            found = Line(name, "bad", str(error))
        lines += found if isinstance(found, list) else [found]
    return tuple(lines)


# --- does it answer as it must ------------------------------------------------------------------


def _shapes(model: Predictor, found: Predicted, n: int) -> Line:
    k = len(model.card.points)
    axes = 3 if model.card.kind == "keypoints3d" else 2
    wrong = []
    for name, values, wanted in (
        ("points", found.points, (n, k, axes)),
        ("confidence", found.confidence, (n, k)),
        ("covariance", found.covariance, (n, k, 2, 2)),
    ):
        if values is not None and np.shape(values) != wanted:
            wrong.append(f"{name} {np.shape(values)} where {wanted} are expected")
    if not wrong:
        wrong = _contradictions(found)
    if wrong:
        return Line("shapes", "bad", "; ".join(wrong) + ".")
    return Line("shapes", "ok", f"{k} points of {model.card.points.name} with confidences, as the card says.")


def _contradictions(found: Predicted) -> list[str]:
    missing = np.isnan(found.points)
    wrong = []
    if np.isinf(found.points).any():
        wrong.append("points at infinity")
    if (missing.any(axis=2) != missing.all(axis=2)).any():
        wrong.append("points with one coordinate missing")
    if not (np.isfinite(found.confidence).all() and (found.confidence >= 0).all()):
        wrong.append("confidences that are negative or not finite")
    elif (found.confidence[missing.any(axis=2)] > 0).any():
        wrong.append("confidences above 0 for missing points")
    return wrong


def _answers(found: Predicted, boxes: FloatArray, heights: FloatArray) -> Line:
    """How many points there are, and how many lie where the person is."""
    missing = float(np.isnan(found.points).any(axis=2).mean())
    if missing == 1:
        return Line("answers", "bad", "No point was found.", {"missing": 1.0})
    values = {"missing": missing}
    if found.points.shape[2] == 2:
        low, high = (
            boxes[:, None, :2] - heights[:, None, None] / 4,
            boxes[:, None, 2:] + heights[:, None, None] / 4,
        )
        with np.errstate(invalid="ignore"):
            inside = ((found.points >= low) & (found.points <= high)).all(axis=2)
        values["away"] = float((~inside).mean() - missing)
    odd = missing > 0.2 or values.get("away", 0) > 0.1
    words = f"{100 * missing:.0f} % of the points are missing" if missing else "No point is missing"
    if "away" in values:
        away = values["away"]
        words += (
            f", {100 * away:.0f} % lie away from the person" if away else ", none lies away from the person"
        )
    return Line("answers", "odd" if odd else "ok", words + ".", values)


def _nobody(model: Predictor, pictures: Sequence[Picture], boxes: FloatArray) -> Line:
    """A box that holds nobody, and no picture at all."""
    none = np.full((1, 4), np.nan)
    try:
        found = model.predict([pictures[0], pictures[0]], np.concatenate([none, boxes[:1]]))
        empty = model.predict([], np.zeros((0, 4)))
    except CapbenchError as error:
        return Line("no person", "bad", f"Throws for a box that holds nobody: {error}")
    if not np.isnan(found.points[0]).all() or len(empty.points) != 0:
        return Line("no person", "bad", "Gives points where the box holds nobody.")
    return Line("no person", "ok", "A box that holds nobody gives missing points, no pictures give none.")


# --- is it the same twice -----------------------------------------------------------------------


def _apart(one: Predicted, other: Predicted) -> float:
    """The largest distance between two answers, pixels; infinite where one misses what the other has."""
    if one.points.shape != other.points.shape:
        return np.inf
    missing = np.isnan(one.points)
    if (missing != np.isnan(other.points)).any():
        return np.inf
    return float(np.max(np.abs(one.points - other.points), where=~missing, initial=0.0))


def _twice(model: Predictor, pictures: Sequence[Picture], boxes: FloatArray, first: Predicted) -> Line:
    again = model.predict(pictures, boxes)
    pairs = zip(first, again, strict=True)
    if all(a is b or (a is not None and b is not None and a.tobytes() == b.tobytes()) for a, b in pairs):
        return Line("determinism", "ok", "Twice the same pictures give the same bytes.", {"pixels": 0.0})
    apart = _apart(first, again)
    return Line(
        "determinism",
        "odd" if apart < SAME else "bad",
        f"Twice the same pictures give answers up to {apart:.2g} px apart.",
        {"pixels": apart},
    )


def _alone(model: Predictor, pictures: Sequence[Picture], boxes: FloatArray, first: Predicted) -> Line:
    parts = [model.predict([pictures[i]], boxes[i : i + 1]) for i in range(len(pictures))]
    one_by_one = Predicted(
        np.concatenate([p.points for p in parts]), np.concatenate([p.confidence for p in parts])
    )
    apart = _apart(first, one_by_one)
    return Line(
        "batches",
        "ok" if apart < SAME else "bad",
        f"One by one and {len(pictures)} at once differ by {apart:.2g} px at most.",
        {"pixels": apart},
    )


# --- left and right -----------------------------------------------------------------------------


def _flip(
    model: Predictor, pictures: Sequence[Picture], boxes: FloatArray, first: Predicted, heights: FloatArray
) -> Line:
    """The mirrored picture's answer, mirrored back with left and right exchanged, against the picture's."""
    widths = np.array([picture.shape[1] - 1 for picture in pictures], dtype=np.float64)
    flipped = [np.ascontiguousarray(picture[:, ::-1]) for picture in pictures]
    there = boxes.copy()
    there[:, 0], there[:, 2] = widths - boxes[:, 2], widths - boxes[:, 0]
    found = model.predict(flipped, there).points[:, list(model.card.points.flip_indices)]
    found[..., 0] = widths[:, None] - found[..., 0]
    apart = np.linalg.norm(found - first.points, axis=2)
    if np.isnan(apart).all():
        return Line("flip", "odd", "Nothing is found both in a picture and in its mirror image.")
    middle = float(np.nanmedian(apart))
    share = float(np.nanmedian(apart / heights[:, None]))
    return Line(
        "flip",
        "ok" if share < MIRROR else "odd",
        f"Half of the points move by more than {middle:.1f} px ({100 * share:.1f} % of the person's height) "
        "when the picture is mirrored.",
        {"pixels": middle, "share": share},
    )


def _against(
    own: Skeleton, first: Predicted, truth: FloatArray, truth_skeleton: Skeleton, heights: FloatArray
) -> list[Line]:
    """How near the truth, and whether left is left."""
    target = _in_skeleton(own, truth, truth_skeleton)
    off = np.linalg.norm(first.points - target, axis=2) / heights[:, None]
    if np.isnan(off).all():
        return [Line("made-up person", "odd", "None of the model's points is known of the made-up person.")]
    share = float((off[~np.isnan(target[..., 0])] < NEAR).mean())
    words = (
        f"{100 * share:.0f} % of the points lie within {100 * NEAR:.0f} % of the person's height of the truth"
    )
    if share <= 0.5:
        words += ": it may not know such pictures, or the card may be wrong"
    lines = [Line("made-up person", "ok" if share > 0.5 else "odd", words + ".", {"found": share})]
    swapped = _swapped(own, first.points, target)
    if swapped is not None:
        lines.append(swapped)
    return lines


def _in_skeleton(own: Skeleton, truth: FloatArray, truth_skeleton: Skeleton) -> FloatArray:
    """(n, K, 2) the truth in the model's own points, NaN where nothing stands for them."""
    mapping = truth_skeleton.map_to(own)
    made = np.full((len(truth), len(own), 2), np.nan)
    for k, point in enumerate(own.points):
        sources: Sequence[str] = ()
        if point in mapping.exact:
            sources = (mapping.exact[point],)
        elif point in mapping.approximate:
            sources = mapping.approximate[point].points
        if sources:
            made[:, k] = truth[:, [truth_skeleton.index(s) for s in sources]].mean(axis=1)
    return made


def _swapped(own: Skeleton, points: FloatArray, target: FloatArray) -> Line | None:
    """Of the pairs whose two sides lie clearly apart: how many are nearer to the other side's truth."""
    pairs = [(own.index(a), own.index(b)) for a, b in own.flip_pairs]
    if not pairs:
        return None
    left, right = (list(side) for side in zip(*pairs, strict=True))
    straight = np.linalg.norm(points[:, left] - target[:, left], axis=2)
    straight += np.linalg.norm(points[:, right] - target[:, right], axis=2)
    crossed = np.linalg.norm(points[:, left] - target[:, right], axis=2)
    crossed += np.linalg.norm(points[:, right] - target[:, left], axis=2)
    between = np.linalg.norm(target[:, left] - target[:, right], axis=2)
    with np.errstate(invalid="ignore"):
        clear = np.minimum(straight, crossed) < between  # both found, whichever way round
    if clear.sum() < 4:
        return Line("left and right", "odd", "Too few points were found to tell left from right.")
    share = float((crossed < straight)[clear].mean())
    verdict: Verdict = "ok" if share < 0.1 else "bad" if share > 0.9 else "odd"
    words = {
        "ok": "Left is left and right is right, from the front and from behind.",
        "odd": f"{100 * share:.0f} % of the pairs have left and right exchanged.",
        "bad": "Left and right are exchanged: see the order of the card's points.",
    }
    return Line("left and right", verdict, words[verdict], {"swapped": share})


# --- what it takes ------------------------------------------------------------------------------


def _speed(model: Predictor, pictures: Sequence[Picture], boxes: FloatArray, seconds: float) -> Line:
    """Milliseconds a person, one and eight at once: the fastest of a few."""
    values = {}
    for batch in (1, 8):
        some = [pictures[i % len(pictures)] for i in range(batch)]
        where = boxes[[i % len(pictures) for i in range(batch)]]
        took: list[float] = []
        end = time.perf_counter() + seconds / 2
        while len(took) < 5 and (not took or time.perf_counter() + min(took) < end):
            start = time.perf_counter()
            model.predict(some, where)
            took.append(time.perf_counter() - start)
        values[f"ms_{batch}"] = 1000 * min(took) / batch
    return Line(
        "speed",
        "ok",
        f"{values['ms_1']:.1f} ms a person alone, {values['ms_8']:.1f} ms with eight at once.",
        values,
    )


def _memory() -> float:
    """The most that this process ever used, MB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _used(before: float) -> Line:
    most = _memory()
    return Line(
        "memory",
        "ok",
        f"At most {most:.0f} MB in this process, {most - before:.0f} MB of them since the first answer.",
        {"most": most, "grown": most - before},
    )
