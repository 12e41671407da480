"""Markers that jump or change places from one frame to the next."""

from __future__ import annotations

import numpy as np

from capbench.biomech.suspicion import BoolArray, Found, Suspicion, where
from cohorts.bounded import shorten
from cohorts.recording import Markers
from cohorts.values import FloatArray

FASTEST = 20.0  #: m/s: faster than any sprinter's foot or pitcher's hand at a marker
JUMP_NOISE = 8.0  #: times the noise: a shorter step is noise, however fast
SWAP_GAP = 0.02  #: m: nearer markers than this can't be told apart
SWAP_MATCH = 0.3  #: share of their distance by which swapped markers may miss each other's places
SWAP_SPEED = 2.0  #: m/s relative to each other: slower, they may really have changed places
SWAP_NOISE = 6.0  #: times the noise: nearer markers change places by noise alone


def jumps(markers: Markers, swaps: Found = ()) -> Found:
    """Markers that move faster than anything on a body does; what changed places is known already."""
    if len(markers) < 2:
        return ()
    step = np.diff(markers.xyz, axis=0)
    length, taken = np.linalg.norm(step, axis=-1), np.diff(markers.time)[:, None]
    limit = np.maximum(FASTEST * taken, JUMP_NOISE * _noise(_bend(step)))
    at = np.vstack([np.zeros((1, len(markers.names)), dtype=bool), length > limit])
    for swap in swaps:
        columns = [markers.names.index(n) for n in swap.markers]
        at[np.ix_(swap.frames, columns)] = False
    if not at.any():
        return ()
    names, frames = where(markers, at)
    worst = np.nanmax((length / taken)[at[1:]])
    text = (
        f"{len(names)} markers move faster than {FASTEST:g} m/s (up to {worst:.3g} m/s): "
        f"{shorten(names)}, at {len(frames)} frames: {shorten(frames)}."
    )
    return (Suspicion("flag", "jumps", text, "look for mislabelled stretches there", names, frames),)


def swapped_markers(markers: Markers) -> Found:
    """Pairs of markers that change places from one frame to the next, and the frames where they do."""
    if len(markers) < 2:
        return ()
    step = np.diff(markers.xyz, axis=0)
    bend = _bend(step)
    # each of the two turns off its way by their distance, at least; after a gap there is no way to turn off
    odd = ~np.isnan(step[..., 0]) & ~(bend < 0.5 * SWAP_GAP)
    noise = _noise(bend)
    found: dict[tuple[int, int], list[int]] = {}
    for t in np.flatnonzero(odd.sum(axis=1) >= 2):
        for pair in _exchanges(markers.xyz[t], markers.xyz[t + 1], markers.time[t : t + 2], odd[t], noise):
            found.setdefault(pair, []).append(int(t) + 1)
    made = []
    for (a, b), frames in found.items():
        names = (markers.names[a], markers.names[b])
        text = f"{names[0]} and {names[1]} change places at frames {shorten(frames)}."
        made.append(
            Suspicion("flag", "swapped", text, "swap their names in these stretches", names, tuple(frames))
        )
    return tuple(made)


def _bend(step: FloatArray) -> FloatArray:
    """(T - 1, M) metres by which each step differs from the one before; NaN where either is unknown."""
    bend = np.full(step.shape[:2], np.nan)
    bend[1:] = np.linalg.norm(np.diff(step, axis=0), axis=-1)
    return bend


def _noise(bend: FloatArray) -> FloatArray:
    """(M,) metres: each marker's noise from its second differences (the noise times sqrt 6, in each axis)."""
    seen = ~np.isnan(bend).all(axis=0)
    noise = np.zeros(bend.shape[1])
    if seen.any():
        noise[seen] = np.nanmedian(bend[:, seen], axis=0) / np.sqrt(6 * 3)
    return noise


def _exchanges(
    before: FloatArray, after: FloatArray, time: FloatArray, odd: BoolArray, noise: FloatArray
) -> list[tuple[int, int]]:
    """Pairs among the ``odd`` markers whose distance vector turns round between two frames.

    A marker has one partner at most: the pair that matches best comes first.
    """
    c = np.flatnonzero(odd)
    first, second = (c[i] for i in np.triu_indices(len(c), 1))
    was, now = before[first] - before[second], after[first] - after[second]
    gap = np.linalg.norm(was, axis=1)
    miss = np.linalg.norm(now + was, axis=1)
    good = miss < SWAP_MATCH * gap
    good &= gap > np.maximum(SWAP_GAP, SWAP_NOISE * np.hypot(noise[first], noise[second]))
    good &= np.linalg.norm(now - was, axis=1) > SWAP_SPEED * (time[1] - time[0])
    # and each lands where the other was, but for what both move on together
    shift = np.linalg.norm((after[first] + after[second] - before[first] - before[second]) / 2, axis=1)
    good &= shift < gap
    pairs: list[tuple[int, int]] = []
    for i in np.flatnonzero(good)[np.argsort(miss[good])]:
        pair = (int(first[i]), int(second[i]))
        if not any(n in known for known in pairs for n in pair):
            pairs.append(pair)
    return pairs
