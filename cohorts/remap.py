"""Recordings told in the points of another skeleton, by the map that ``Skeleton.map_to`` gives.

A point that is the mean of several takes the lowest of their confidences, and their mean covariance / n as if
their errors were independent. What the map calls missing is NaN; what it calls approximate is so on demand.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cohorts.errors import CapbenchError
from cohorts.recording import Keypoints, Markers
from cohorts.skeleton import SkeletonMap
from cohorts.values import FloatArray


def remap_keypoints(keypoints: Keypoints, by: SkeletonMap, *, approximate: bool = True) -> Keypoints:
    """``keypoints`` of the map's source as those of its target; exact points only on demand."""
    if keypoints.skeleton != by.source:
        raise CapbenchError(
            f"Expected keypoints of skeleton {by.source.name}, got {keypoints.skeleton.name}."
        )
    xy, confidence = _gather(by, keypoints.xy, keypoints.confidence, approximate)
    covariance, known = None, keypoints.covariance
    if known is not None:
        covariance = np.full((*xy.shape, 2), np.nan)
        for k, rows in _rows(by, approximate):
            covariance[:, k] = known[:, rows].mean(axis=1) / len(rows)
    return replace(keypoints, xy=xy, skeleton=by.target, confidence=confidence, covariance=covariance)


def remap_markers(markers: Markers, by: SkeletonMap, *, approximate: bool = True) -> Markers:
    """``markers`` named by the map's source skeleton (or its aliases) as those of its target.

    Markers the source skeleton does not know are left out; those that are not there count as missing.
    """
    source = by.source
    places = {source.aliases.get(name, name): i for i, name in enumerate(markers.names)}
    places |= {name: i for i, name in enumerate(markers.names)}  # a point's own name beats an alias
    here = [k for k, point in enumerate(source.points) if point in places]
    if not here:
        raise CapbenchError(
            f"Expected markers of skeleton {source.name}, got {', '.join(markers.names[:10])}."
        )
    shape = len(markers), len(source)
    xyz, confidence = np.full((*shape, 3), np.nan), np.zeros(shape)
    columns = [places[source.points[k]] for k in here]
    xyz[:, here], confidence[:, here] = markers.xyz[:, columns], markers.confidence[:, columns]
    return Markers(markers.time, by.target.points, *_gather(by, xyz, confidence, approximate))


def _rows(by: SkeletonMap, approximate: bool) -> list[tuple[int, list[int]]]:
    """For each target point that is made: where it stands, and where its sources stand."""
    takes: dict[str, tuple[str, ...]] = {target: (source,) for target, source in by.exact.items()}
    if approximate:
        takes |= {target: a.points for target, a in by.approximate.items()}
    return [(by.target.index(t), [by.source.index(s) for s in sources]) for t, sources in takes.items()]


def _gather(
    by: SkeletonMap, points: FloatArray, confidence: FloatArray, approximate: bool
) -> tuple[FloatArray, FloatArray]:
    shape = len(points), len(by.target)
    made, trust = np.full((*shape, points.shape[2]), np.nan), np.zeros(shape)
    for k, rows in _rows(by, approximate):
        made[:, k] = points[:, rows].mean(axis=1)
        trust[:, k] = confidence[:, rows].min(axis=1)  # 0 where a part is missing
    return made, trust
