"""Which points of a person in a picture are where a person's can be: a prior learned from labelled people.

Postures are normalised by their centre and size and described by a mixture of Gaussians over all coordinates
together. What a camera does (shift, size, turn in the picture's plane) is free; what bodies do not do (limbs
of other lengths, sides exchanged, a point off by itself) is far from all of it. Points that are not known are
left out exactly: the marginal of a Gaussian is one.

Distances are Mahalanobis': of a point from where all other known points say that it is, with how sure they
are. Lengths are in radii, a posture's radius being the root mean square distance of its points from their
centre (about 0.27 of a standing person's height).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cohorts.errors import CapbenchError
from cohorts.skeleton import Skeleton
from cohorts.values import FloatArray
from synthpose.feeding import Source, chosen

BoolArray = NDArray[np.bool_]

KINDS = 8  #: Gaussians, at most: ways of standing, walking, squatting, seen from all round
PER_KIND = 60  #: postures that a Gaussian takes
FEWEST = 100  #: postures to learn from
MOST = 8000  #: postures learned from
TOLERANCE = 0.05  #: radii, standard deviation of what networks and labels add to a person's points
SHIFT, SIZE, TURN = 10.0, 0.3, 0.4  #: how free a camera is: radii, share, radians
GATE = 4.0  #: standard deviations at which a point is called wrong: one in 3,000 of honest ones
KNOWN = 0.5  #: share of the points that must be known, and must not be called wrong, for any to be right
_ROUNDS = 60  # of expectation and maximisation, at most
_SETTLED = 1e-3  # nats a posture


@dataclass(frozen=True)
class Plausible:
    """The prior. ``means`` (C, 2K), ``covariances`` (C, 2K, 2K), ``shares`` (C,) of the Gaussians."""

    skeleton: Skeleton
    means: FloatArray
    covariances: FloatArray
    shares: FloatArray
    _kinds: tuple[_Kind, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        kinds = tuple(
            _kind(mean, covariance, float(share))
            for mean, covariance, share in zip(self.means, self.covariances, self.shares, strict=True)
        )
        object.__setattr__(self, "_kinds", kinds)

    @property
    def sha256(self) -> str:
        """Of its numbers."""
        digest = hashlib.sha256()
        for array in (self.means, self.covariances, self.shares):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def apart(self, points: FloatArray, known: BoolArray | None = None) -> FloatArray:
        """(n, K) standard deviations of each point from where the others say it is; NaN where not known.

        ``points`` (n, K, 2) in any pixels. A posture with too few known points is NaN throughout.
        """
        points, known = self._checked(points, known)
        return self._apart(points, known, self._nearest(points, known))

    def strangeness(self, points: FloatArray, known: BoolArray | None = None) -> FloatArray:
        """(n,) how far a posture is from those learned: root mean square over its points of ``apart``."""
        found = self.apart(points, known)
        there = np.isfinite(found)
        total = np.where(there, found, 0.0)
        return np.asarray(
            np.where(there.any(1), np.sqrt((total**2).sum(1) / np.maximum(there.sum(1), 1)), np.nan)
        )

    def plausible(
        self, points: FloatArray, known: BoolArray | None = None, *, gate: float = GATE
    ) -> BoolArray:
        """(n, K) the known points that can be a person's.

        The point farthest off is taken away, then the next by what is left, until all that is left agrees. A
        posture of which less than half is left is none.
        """
        points, known = self._checked(points, known)
        left = known.copy()
        kinds = self._nearest(points, left)
        active = np.flatnonzero(kinds >= 0)
        while len(active):
            found = self._apart(points[active], left[active], kinds[active])
            worst = np.where(np.isfinite(found), found, -1.0)
            at = worst.argmax(1)
            wrong = worst[np.arange(len(active)), at] > gate
            left[active[wrong], at[wrong]] = False
            active = active[wrong]
            kinds[active] = self._nearest(points[active], left[active])
            active = active[kinds[active] >= 0]
        return np.asarray(left & (self._enough(left) & (kinds >= 0))[:, None])

    # --- one posture against each kind ----------------------------------------------------------

    def _checked(self, points: FloatArray, known: BoolArray | None) -> tuple[FloatArray, BoolArray]:
        points = np.asarray(points, float)
        if points.ndim != 3 or points.shape[1:] != (len(self.skeleton), 2):
            raise CapbenchError(
                f"Expected the {len(self.skeleton)} points of {self.skeleton.name}, shape (n, K, 2), "
                f"got {points.shape}."
            )
        there = np.isfinite(points).all(2)
        if known is not None:
            there = np.asarray(there & np.asarray(known, bool))
        return points, np.asarray(there)

    def _enough(self, known: BoolArray) -> BoolArray:
        return np.asarray(known.sum(1) >= max(3, KNOWN * len(self.skeleton)))

    def _nearest(self, points: FloatArray, known: BoolArray) -> NDArray[np.int64]:
        """(n,) the likeliest kind, -1 where too little is known."""
        made = np.full(len(points), -1, np.int64)
        for rows, mask in _by_pattern(known):
            if not self._enough(mask[None])[0]:
                continue
            told = [kind.of(mask).likelihood(points[rows][:, mask]) for kind in self._kinds]
            made[rows] = np.argmax(told, axis=0)
        return made

    def _apart(self, points: FloatArray, known: BoolArray, kinds: NDArray[np.int64]) -> FloatArray:
        made = np.full(known.shape, np.nan)
        for rows, mask in _by_pattern(known):
            for k in np.unique(kinds[rows]).tolist():
                if k < 0:
                    continue
                own = rows[kinds[rows] == k]
                made[np.ix_(own, np.flatnonzero(mask))] = self._kinds[k].of(mask).apart(points[own][:, mask])
        return made


def _by_pattern(known: BoolArray) -> list[tuple[NDArray[np.int64], BoolArray]]:
    """Rows that know the same points, and which."""
    patterns, of = np.unique(known, axis=0, return_inverse=True)
    of = np.ravel(of)
    return [(np.flatnonzero(of == k), pattern) for k, pattern in enumerate(patterns)]


@dataclass(frozen=True)
class _Kind:
    """A Gaussian of some points: mean (M, 2), precision (2M, 2M), log of share / √|covariance|."""

    mean: FloatArray
    precision: FloatArray
    constant: float

    def of(self, mask: BoolArray) -> _Kind:
        """Its marginal over the points of ``mask``: precision A - B D⁻¹ Bᵀ, determinant times |D|."""
        if mask.all():
            return self
        two = np.repeat(mask, 2)
        a, b = self.precision[np.ix_(two, two)], self.precision[np.ix_(two, ~two)]
        d = self.precision[np.ix_(~two, ~two)]
        _, size = np.linalg.slogdet(d)
        return _Kind(self.mean[mask], a - b @ np.linalg.solve(d, b.T), self.constant - 0.5 * float(size))

    def residual(self, points: FloatArray) -> FloatArray:
        """(n, 2M) radii from the mean, brought to the mean's centre and size."""
        mean = self.mean - self.mean.mean(0)
        own = points - points.mean(1, keepdims=True)
        size = np.sqrt((own**2).sum((1, 2)))
        scale = np.sqrt((mean**2).sum()) / np.where(size > 0, size, 1.0)
        return np.asarray((own * scale[:, None, None] - mean).reshape(len(points), -1))

    def likelihood(self, points: FloatArray) -> FloatArray:
        """(n,) log-likelihood, but for what all kinds share."""
        residual = self.residual(points)
        return np.asarray(self.constant - 0.5 * ((residual @ self.precision) * residual).sum(1))

    def apart(self, points: FloatArray) -> FloatArray:
        """(n, M) Mahalanobis distance of each point given the others: with v = P r, √(v_kᵀ P_kk⁻¹ v_k)."""
        count = points.shape[1]
        v = (self.residual(points) @ self.precision).reshape(len(points), count, 2)
        own = self.precision.reshape(count, 2, count, 2)[np.arange(count), :, np.arange(count), :]
        return np.asarray(np.sqrt(np.einsum("nki,kij,nkj->nk", v, np.linalg.inv(own), v)))


def _kind(mean: FloatArray, covariance: FloatArray, share: float) -> _Kind:
    """A kind with the camera's freedoms."""
    flat = mean.reshape(-1, 2)
    ones = np.ones(len(flat))
    turned = np.stack([-flat[:, 1], flat[:, 0]], 1)
    free = np.stack(
        [
            SHIFT * np.stack([ones, 0 * ones], 1).ravel(),
            SHIFT * np.stack([0 * ones, ones], 1).ravel(),
            SIZE * mean,
            TURN * turned.ravel(),
        ]
    )
    whole = covariance + free.T @ free
    _, size = np.linalg.slogdet(whole)
    return _Kind(flat, np.asarray(np.linalg.inv(whole), float), float(np.log(share) - 0.5 * size))


# --- learning ---------------------------------------------------------------------------------------


def learned(
    source: Source,
    points: Skeleton | None = None,
    *,
    seed: int = 0,
    most: int = MOST,
    kinds: int = KINDS,
) -> Plausible:
    """The prior of a source's people; of ``points`` of theirs, all by default."""
    random = np.random.default_rng([seed, 21])
    wanted = source.skeleton if points is None else points
    columns = chosen(source.skeleton, wanted)
    count = len(source)
    numbers = np.arange(count) if count <= most else np.sort(random.choice(count, most, replace=False))
    some = []
    for k in range(0, len(numbers), 256):
        _, at, weight = source.batch(numbers[k : k + 256])
        some.append(np.where((np.asarray(weight) > 0)[..., None], at, np.nan)[:, columns])
    return learned_from(np.concatenate(some), wanted, seed=seed, kinds=kinds)


def learned_from(points: FloatArray, skeleton: Skeleton, *, seed: int = 0, kinds: int = KINDS) -> Plausible:
    """The prior of postures (n, K, 2), NaN where not known; those that are whole are learned from."""
    whole = points[np.isfinite(points).all((1, 2))].astype(float)
    if len(whole) < FEWEST:
        raise CapbenchError(
            f"Expected {FEWEST} people or more with all points of {skeleton.name}, got {len(whole)}.",
            fix="learn what is plausible from more labelled pictures",
        )
    made = _normalised(whole)
    order, sides = np.array(skeleton.flip_indices), np.array([side != "middle" for side in skeleton.sides])
    if not (sides & (order == np.arange(len(order)))).any():  # mirrored people are people
        made = np.concatenate([made, made[:, order] * [-1.0, 1.0]])
    flat = made.reshape(len(made), -1)
    number = int(np.clip(len(flat) // PER_KIND, 1, kinds))
    means, covariances, shares = _mixture(flat, number, np.random.default_rng([seed, 22]))
    return Plausible(skeleton, means, covariances, shares)


def _normalised(points: FloatArray) -> FloatArray:
    centred = points - points.mean(1, keepdims=True)
    radius = np.sqrt((centred**2).sum(2).mean(1))
    if not (radius > 0).all():
        raise CapbenchError("Expected people with an extent, got some whose points all lie in one place.")
    return np.asarray(centred / radius[:, None, None])


def _mixture(
    flat: FloatArray, kinds: int, random: np.random.Generator
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Gaussians by expectation and maximisation, from centres far from each other.

    Each covariance is drawn towards the mean one by as many postures as it has dimensions, and has the
    tolerance added, so that few postures don't make a narrow one.
    """
    belongs = np.eye(kinds)[_clusters(flat, kinds, random)]
    before = -np.inf
    means, covariances, shares = _maximised(flat, belongs)
    for _ in range(_ROUNDS):
        told = np.stack(
            [
                np.log(share) + _log_density(flat - mean, covariance)
                for mean, covariance, share in zip(means, covariances, shares, strict=True)
            ],
            axis=1,
        )
        highest = told.max(1, keepdims=True)
        belongs = np.exp(told - highest)
        now = float((np.log(belongs.sum(1)) + highest[:, 0]).mean())
        belongs /= belongs.sum(1, keepdims=True)
        if now - before < _SETTLED:
            break
        before = now
        means, covariances, shares = _maximised(flat, belongs)
    return means, covariances, shares


def _maximised(flat: FloatArray, belongs: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    count, size = flat.shape
    numbers = belongs.sum(0) + 1e-9
    means = (belongs.T @ flat) / numbers[:, None]
    scatter = np.stack(
        [(flat - mean).T @ ((flat - mean) * own[:, None]) for mean, own in zip(means, belongs.T, strict=True)]
    )
    pooled = scatter.sum(0) / count
    drawn = (scatter + size * pooled) / (numbers + size)[:, None, None]
    return means, drawn + TOLERANCE**2 * np.eye(size), numbers / numbers.sum()


def _log_density(residual: FloatArray, covariance: FloatArray) -> FloatArray:
    _, size = np.linalg.slogdet(covariance)
    return np.asarray(-0.5 * ((residual @ np.linalg.inv(covariance)) * residual).sum(1) - 0.5 * size)


def _clusters(flat: FloatArray, kinds: int, random: np.random.Generator) -> NDArray[np.int64]:
    """(n,) k-means from centres drawn far apart (k-means++)."""
    centres = flat[[int(random.integers(len(flat)))]]
    while len(centres) < kinds:
        far = ((flat[:, None] - centres) ** 2).sum(2).min(1)
        total = far.sum()
        chance = far / total if total > 0 else None  # all postures alike: any will do
        centres = np.concatenate([centres, flat[[int(random.choice(len(flat), p=chance))]]])
    of = np.zeros(len(flat), np.int64)
    for _ in range(20):
        of = ((flat[:, None] - centres) ** 2).sum(2).argmin(1)
        centres = np.stack([flat[of == k].mean(0) if (of == k).any() else centres[k] for k in range(kinds)])
    return of
