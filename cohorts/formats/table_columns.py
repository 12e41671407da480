"""Column headings that carry units, shared by the CSV and Parquet tables.

``time [s]`` first; then ``knee_angle_r [deg]`` and ``pelvis_tx [m]`` for a motion (coupled coordinates say
``[deg, coupled]``), ``C7.x [m]`` ``C7.y [m]`` ``C7.z [m]`` ``C7.confidence`` for markers, and bare names
for signals, whose units are the source's own.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import numpy as np

from cohorts.bounded import about, shorten
from cohorts.errors import CapbenchError
from cohorts.recording import Kind, Markers, Motion, Signals, kind_by_name
from cohorts.values import FloatArray

_SCALE = {"deg": np.pi / 180, "rad": 1.0, "m": 1.0, "cm": 0.01, "mm": 0.001}
_KIND: dict[str, Kind] = {"deg": "rotation", "rad": "rotation", "m": "translation", "mm": "translation"}
_HEADING = re.compile(r"(?P<name>.*\S)\s*\[(?P<unit>\w+)(?P<coupled>\s*,\s*coupled)?\]\s*\Z")


def to_columns(
    value: Motion | Signals | Markers, path: Path, units: Literal["deg", "rad"]
) -> tuple[list[str], FloatArray]:
    """Headings and the (T, columns) table that stand for a noun."""
    for name in value.names:
        if "[" in name or "]" in name:
            raise CapbenchError(f"Expected names without brackets, got {name!r}.", file=path)
    if isinstance(value, Signals):
        return ["time [s]", *value.names], np.column_stack([value.time, value.values])
    if isinstance(value, Markers):
        heads = [f"{n}.{axis}" for n in value.names for axis in ("x [m]", "y [m]", "z [m]", "confidence")]
        cells = np.concatenate([value.xyz, value.confidence[..., None]], axis=-1)
        return ["time [s]", *heads], np.column_stack([value.time, cells.reshape(len(value), -1)])
    turns = np.array([kind == "rotation" for kind in value.kinds], dtype=bool)
    values = value.values.copy()
    if units == "deg":
        values[:, turns] = np.degrees(values[:, turns])
    heads = [
        f"{name} [{units if turn else 'm'}{', coupled' if name in value.coupled else ''}]"
        for name, turn in zip(value.names, turns, strict=True)
    ]
    return ["time [s]", *heads], np.column_stack([value.time, values])


def from_columns(
    heads: list[str],
    table: FloatArray,
    path: Path,
    notes: list[str],
    units: Literal["deg", "rad"] | None = None,
) -> Motion | Signals | Markers:
    """The noun that headings and a (T, columns) table stand for.

    Columns without units are signals; ``units`` says that they are a motion, its angles so measured.
    """
    heads = [head.strip() for head in heads]
    if not heads or heads[0].lower() not in ("time", "time [s]"):
        raise CapbenchError(
            f"Expected the first column to be 'time [s]', got {heads[0][:40] if heads else ''!r}.", file=path
        )
    parsed = [_HEADING.match(head) for head in heads[1:]]
    with about(path):
        if not any(parsed):
            names = tuple(heads[1:])
            if units is None:
                return Signals(table[:, 0], names, table[:, 1:])
            kinds = [kind_by_name(name) for name in names]
            notes.append(f"no units in the header: angles taken in {units}, *_tx, *_ty, *_tz in metres")
            return _motion(table, names, [units if k == "rotation" else "m" for k in kinds], ())
        if any(head.endswith(".confidence") or ".x [" in head for head in heads):
            return _markers(heads[1:], table, path)
        bare = [head for head, match in zip(heads[1:], parsed, strict=True) if not match]
        if bare:
            raise CapbenchError(
                f"Expected a unit in brackets behind every name or none, got none behind {shorten(bare)}."
            )
        found = [m for m in parsed if m]
        coupled = tuple(m["name"] for m in found if m["coupled"])
        return _motion(table, tuple(m["name"] for m in found), [m["unit"] for m in found], coupled)


def _motion(table: FloatArray, names: tuple[str, ...], units: list[str], coupled: tuple[str, ...]) -> Motion:
    for name, unit in zip(names, units, strict=True):
        if unit not in _KIND:
            raise CapbenchError(f"Expected {name} in {', '.join(_KIND)}, got [{unit}].")
    values = table[:, 1:] * [_SCALE[unit] for unit in units]
    # degrees go through np.radians so that a file of degrees means what OpenSim's does, to the bit
    for i, unit in enumerate(units):
        if unit == "deg":
            values[:, i] = np.radians(table[:, 1 + i])
    return Motion(table[:, 0], names, values, tuple(_KIND[unit] for unit in units), coupled)


def _markers(heads: list[str], table: FloatArray, path: Path) -> Markers:
    place = {head: i + 1 for i, head in enumerate(heads)}
    unit = next((head for head in heads if ".x [" in head), heads[0]).rpartition("[")[2].rstrip("]")
    names = tuple(head.removesuffix(f".x [{unit}]") for head in heads if head.endswith(f".x [{unit}]"))
    if unit not in _SCALE or unit in ("deg", "rad"):
        raise CapbenchError(f"Expected markers in m, cm or mm, got [{unit}].", file=path)
    wanted = [f"{n}.{axis} [{unit}]" for n in names for axis in "xyz"]
    known = {*wanted, *(f"{n}.confidence" for n in names)}
    for head in heads:
        if head not in known:
            raise CapbenchError(f"Expected columns of markers (name.x [{unit}] …), got {head!r}.", file=path)
    for head in wanted:
        if head not in place:
            raise CapbenchError(f"Expected a column {head!r}, got none.", file=path)
    xyz = table[:, [place[head] for head in wanted]].reshape(len(table), len(names), 3) * _SCALE[unit]
    if not any(f"{n}.confidence" in place for n in names):
        return Markers(table[:, 0], names, xyz)
    confidence = np.ones(xyz.shape[:2])
    for i, name in enumerate(names):
        if f"{name}.confidence" in place:
            confidence[:, i] = table[:, place[f"{name}.confidence"]]
    return Markers(table[:, 0], names, xyz, np.where(np.isnan(xyz).all(axis=-1), 0, confidence))
