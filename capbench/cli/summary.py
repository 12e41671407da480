"""What a noun holds, in numbers (for ``--json``) and in words (for people)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from capbench.cli.common import count, plain, share, table
from cohorts.bounded import shorten
from cohorts.camera import Camera
from cohorts.recording import BodyParameters, Keypoints, Markers, Motion, Signals, Timed

FEW = 8  #: rows of a table unless all are asked for


@dataclass
class Summary:
    """One noun described.

    Attributes
    ----------
    data : JSON-able numbers
    lines : (label, text) for people
    headings, rows : a table for people, empty where there is none
    """

    data: dict[str, Any]
    lines: list[tuple[str, str]]
    headings: Sequence[str] = ()
    rows: list[Sequence[object]] = field(default_factory=list)

    def table(self, *, everything: bool, indent: str = "  ") -> str:
        """The table, cut to ``FEW`` rows unless ``everything``; empty where there is none."""
        if not self.rows:
            return ""
        shown = self.rows if everything else self.rows[:FEW]
        text = table(self.headings, shown, indent=indent)
        left = len(self.rows) - len(shown)
        return f"{text}\n{indent}… and {left} more (--all shows them)" if left else text


def summarise(value: Any, *, timed: bool = True) -> Summary:
    """The summary of any noun, or tuple of nouns, that a reader returns.

    ``timed`` is False where "time" only counts frames.
    """
    first = value[0] if isinstance(value, tuple) and value else value
    if isinstance(first, Keypoints):
        return _keypoints(value, timed)
    if isinstance(first, Camera):
        return _cameras(value)
    if type(first).__name__ == "VideoInfo":  # importing its module for a class is not worth it
        return _video(first)
    makers: tuple[tuple[type, Callable[[Any], Summary]], ...] = (
        (Markers, _markers),
        (Motion, _motion),
        (Signals, _signals),
        (BodyParameters, _body),
    )
    for kind, make in makers:
        if isinstance(first, kind):
            return make(first)
    return _generic(first)


def time_facts(value: Timed, timed: bool = True) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Frames, seconds and rate of anything with a time vector; only frames where ``timed`` is False."""
    frames = len(value)
    if not timed:
        span = f", numbered {value.time[0]:g} to {value.time[-1]:g}" if frames else ""
        return {"frames": frames}, [("frames", f"{frames:,}{span} (no times in the file)")]
    start, stop = (float(value.time[0]), float(value.time[-1])) if frames else (None, None)
    data = {
        "frames": frames,
        "duration_s": value.duration,
        "rate_hz": value.rate,
        "start_s": start,
        "stop_s": stop,
    }
    if frames < 2:
        return data, [("frames", f"{frames}" + (f" at {start:g} s" if start is not None else ""))]
    words = f"{frames:,} at {value.rate:.6g} Hz, {value.duration:.3f} s ({start:.3f} to {stop:.3f} s)"
    lines = [("frames", words)]
    steps = np.diff(value.time)
    typical = float(np.median(steps))
    gaps = int((steps > 1.5 * typical).sum())
    data["gaps"] = gaps
    if gaps:
        longest = int(steps.argmax())
        where = f"the longest {steps[longest]:.3f} s after {value.time[longest]:.3f} s"
        lines.append(("gaps", f"{count(gaps, 'step')} longer than 1.5 typical ones, {where}"))
    return data, lines


def _missing(gone: NDArray[np.bool_], names: Sequence[str], what: str) -> tuple[dict[str, Any], str]:
    """How much of (T, N) samples is missing, and whose they are, worst first."""
    per_name = {name: int(n) for name, n in zip(names, gone.sum(axis=0), strict=True) if n}
    worst = sorted(per_name, key=lambda name: (-per_name[name], names.index(name)))
    data = {
        "missing_share": gone.mean() if gone.size else 0.0,
        "missing_by_name": {name: per_name[name] for name in worst},
    }
    words = f"{share(int(gone.sum()), gone.size)} of the {what}"
    if worst:
        listed = [f"{name} {share(per_name[name], len(gone))}" for name in worst]
        words += f"; {shorten(listed, 4)}"
    return data, words


def _gone(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of (T, N, 2 or 3) points are missing: (T, N)."""
    return cast(NDArray[np.bool_], np.isnan(points).any(axis=-1))


def _markers(value: Markers) -> Summary:
    data, lines = time_facts(value)
    gone = _gone(value.xyz)
    missing, words = _missing(gone, value.names, "points")
    lines = [("markers", f"{len(value.names)}: {shorten(value.names)}"), *lines, ("missing", words)]
    data = {"markers": value.names, **data, **missing}
    points = value.xyz[~gone]
    if len(points):
        low, high = points.min(axis=0), points.max(axis=0)
        full, y = ~gone.all(axis=1), value.xyz[:, :, 1]
        spans = np.where(gone, -np.inf, y).max(axis=1) - np.where(gone, np.inf, y).min(axis=1)
        height = float(np.median(spans[full]))
        data["extent_m"] = {axis: [low[i], high[i]] for i, axis in enumerate("xyz")}
        data["height_m"] = height
        box = ", ".join(f"{axis} {low[i]:.2f} to {high[i]:.2f} m" for i, axis in enumerate("xyz"))
        lines.append(("extent", box))
        lines.append(("height", f"{height:.2f} m from lowest to highest marker along y (median frame)"))
    trusted = value.confidence[~gone]
    if len(trusted) and (trusted != 1).any():
        data["confidence_median"] = np.median(trusted)
        lines.append(("confidence", f"median {np.median(trusted):.2f}, lowest {trusted.min():.2f}"))
    return Summary(data, lines)


def _ranges(values: NDArray[np.float64]) -> tuple[float, float] | None:
    there = values[~np.isnan(values)]
    return (float(there.min()), float(there.max())) if len(there) else None


def _tenths(number: float) -> str:
    return f"{round(number, 1) + 0.0:.1f}"  # + 0.0 turns -0.0 into 0.0


def _motion(value: Motion) -> Summary:
    """Coordinates in degrees and millimetres: translations (there are few), then rotations, widest first."""
    data, lines = time_facts(value)
    turning = [n for n, kind in zip(value.names, value.kinds, strict=True) if kind == "rotation"]
    missing, words = _missing(np.isnan(value.values), value.names, "values")
    head = f"{len(value.names)} ({len(turning)} rotations, {len(value.names) - len(turning)} translations)"
    lines = [("coordinates", f"{head}: {shorten(value.names)}"), *lines, ("missing", words)]
    if value.coupled:
        lines.append(("coupled", shorten(value.coupled)))
    coordinates, rows = [], []
    for name, kind, column in zip(value.names, value.kinds, value.values.T, strict=True):
        unit, scale = ("deg", 180 / np.pi) if kind == "rotation" else ("mm", 1000.0)
        span = _ranges(column * scale)
        low, high = span if span else (None, None)
        coordinates.append({"name": name, "kind": kind, "unit": unit, "min": low, "max": high})
        if span:
            rows.append((name, *(_tenths(x) for x in (span[0], span[1], span[1] - span[0])), unit))
    rows.sort(key=lambda row: (row[4] == "deg", -float(row[3])))
    data |= {"coordinates": coordinates, "coupled": value.coupled, **missing}
    return Summary(data, lines, ("coordinate", "min", "max", "range", "unit"), list(rows))


def _signals(value: Signals) -> Summary:
    data, lines = time_facts(value)
    missing, words = _missing(np.isnan(value.values), value.names, "values")
    lines = [("channels", f"{len(value.names)}: {shorten(value.names)}"), *lines, ("missing", words)]
    channels, rows = [], []
    for name, column in zip(value.names, value.values.T, strict=True):
        span = _ranges(column)
        low, high = span if span else (None, None)
        channels.append({"name": name, "min": low, "max": high})
        if span:
            rows.append((name, f"{low:.4g}", f"{high:.4g}"))
    data |= {"channels": channels, "in_degrees": value.in_degrees, **missing}
    return Summary(data, lines, ("channel", "min", "max"), list(rows))


def _keypoints(people: tuple[Keypoints, ...], timed: bool) -> Summary:
    first = people[0]
    cameras = sorted({p.camera for p in people})
    names = [p.person for p in people]
    lines = [
        ("people", f"{len(people)}: {shorten(names)}"),
        ("skeleton", f"{first.skeleton.name}, {count(len(first.skeleton), 'point')}"),
        ("camera", shorten(cameras)),
    ]
    persons, rows = [], []
    as_time = ".3f" if timed else "g"
    for person in people:
        gone = _gone(person.xy)
        trusted = person.confidence[~gone]
        confidence = float(np.median(trusted)) if len(trusted) else None
        timing, _ = time_facts(person, timed)
        persons.append(
            {
                "person": person.person,
                "camera": person.camera,
                "skeleton": person.skeleton.name,
                **timing,
                "missing_share": gone.mean() if gone.size else 0.0,
                "confidence_median": confidence,
                "covariance": person.covariance is not None,
            }
        )
        rows.append(
            (
                person.person,
                person.camera if len(cameras) > 1 else "",
                len(person),
                f"{person.time[0]:{as_time}}" if len(person) else "",
                f"{person.time[-1]:{as_time}}" if len(person) else "",
                share(int(gone.sum()), gone.size),
                "" if confidence is None else f"{confidence:.2f}",
            )
        )
    if len(people) == 1:
        lines += time_facts(first, timed)[1]
    if first.covariance is not None:
        lines.append(("covariance", "one per point"))
    limits = ("from s", "to s") if timed else ("first", "last")
    points = {"points": first.skeleton.points, "skeleton": first.skeleton.name}
    headings = ("person", "camera", "frames", *limits, "missing", "median confidence")
    return Summary({**points, "people": persons}, lines, headings, list(rows))


def _cameras(cameras: tuple[Camera, ...]) -> Summary:
    lines = [("cameras", f"{len(cameras)}: {shorten([c.name for c in cameras])}")]
    data, rows = [], []
    for camera in cameras:
        fx, fy = float(camera.matrix[0, 0]), float(camera.matrix[1, 1])
        centre = [float(x) for x in camera.centre]
        bends = [float(x) for x in camera.distortion]
        data.append(
            {
                "name": camera.name,
                "size_px": camera.size,
                "focal_px": [fx, fy],
                "principal_point_px": [camera.matrix[0, 2], camera.matrix[1, 2]],
                "centre_m": centre,
                "rotation": camera.rotation,
                "lens": camera.lens,
                "distortion": bends,
            }
        )
        rows.append(
            (
                camera.name,
                f"{camera.size[0]} x {camera.size[1]}",
                f"{fx:.1f} {fy:.1f}",
                " ".join(f"{x:.3f}" for x in centre),
                camera.lens,
                " ".join(f"{x:.3g}" for x in bends) or "none",
            )
        )
    headings = ("camera", "size px", "focal px", "centre m (x y z)", "lens", "distortion")
    return Summary({"cameras": data}, lines, headings, list(rows))


def _body(value: BodyParameters) -> Summary:
    data, lines = time_facts(value)
    joints = value.poses.shape[1]
    lines = [
        ("body model", f"{value.family}, {value.gender}, {joints} joints, {len(value.betas)} shape numbers"),
        *lines,
    ]
    data = {"family": value.family, "gender": value.gender, "joints": joints, "betas": value.betas, **data}
    if len(value):
        low, high = value.trans.min(axis=0), value.trans.max(axis=0)
        lines.append(("root", ", ".join(f"{a} {low[i]:.2f} to {high[i]:.2f} m" for i, a in enumerate("xyz"))))
        data["root_extent_m"] = {axis: [low[i], high[i]] for i, axis in enumerate("xyz")}
    return Summary(data, lines)


def _video(value: Any) -> Summary:
    """A :class:`cohorts.formats.video.VideoInfo`: what was decoded beside what the header claims."""
    width, height = value.size
    seconds = float(value.time[-1]) if value.frames else 0.0
    data = {
        "codec": value.codec,
        "size_px": value.size,
        "rotation_deg": value.rotation,
        "frames": value.frames,
        "duration_s": seconds,
        "rate_hz": value.rate,
        "variable_rate": value.variable,
        "declared_frames": value.declared_frames,
        "declared_rate_hz": value.declared_rate,
    }
    turned = f", turned by {value.rotation}° to stand upright" if value.rotation else ""
    even = "variable frame rate" if value.variable else "even frame rate"
    frames = f"{value.frames:,} decoded"
    if value.frames > 1:
        frames += f" at {value.rate:.6g} frames/s, {seconds:.3f} s from first to last; {even}"
    header = f"{value.declared_frames:,} frames, {value.declared_rate:.6g} frames/s"
    lines = [
        ("picture", f"{width} x {height} pixels, {value.codec}{turned}"),
        ("frames", frames),
        ("header", f"claims {header}"),
    ]
    return Summary(data, lines)


def _generic(value: Any) -> Summary:
    """Any other dataclass: its fields and properties, arrays in brief."""
    found = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    for name, member in vars(type(value)).items():
        if isinstance(member, property):
            found[name] = getattr(value, name)
    lines: list[tuple[str, str]] = []
    for name, item in found.items():
        if isinstance(item, Mapping):
            lines += [(str(key), str(text)) for key, text in item.items()]
        elif (text := _words(item)) != "":
            lines.append((name.replace("_", " "), text))
    return Summary({name: plain(item) for name, item in found.items()}, lines)


def _words(item: object) -> str:
    if isinstance(item, np.ndarray):
        span = f", {item.min():.3f} to {item.max():.3f}" if item.size and item.dtype.kind == "f" else ""
        return f"{item.size} values{span}"
    if isinstance(item, bool):
        return "yes" if item else "no"
    if isinstance(item, float):
        return f"{item:.6g}"
    return shorten(item) if isinstance(item, list | tuple) else str(item)
