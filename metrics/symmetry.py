"""Left against right: the indices of asymmetry that clinics and papers print.

Each takes the values of the two sides (arrays of one shape, or two numbers) in any one unit and gives a value
for each pair. An index is a function of the prediction alone: score a model by the difference between the
index of its values and the index of the true ones.

All but the normalised index divide by the values themselves. They are undefined (NaN) where they divide by
nothing, and the ratios also where the sides have opposite signs. Near such places they are inflated: an index
of 300 % says that the sides straddle zero, not that one is three times the other. For such quantities (an
ankle angle at contact) take ``normalised_symmetry_index``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from metrics.arrays import FloatArray, MetricError, alike, floats, mean_present
from metrics.catalogue import metric

CANCELS = 1e-9  #: a sum this small beside its terms is rounding, not a value


def _quotient(above: FloatArray, below: FloatArray, defined: Any) -> Any:
    """``above / below`` where ``defined``, NaN elsewhere; NaN in gives NaN out."""
    out = np.full(np.shape(above), np.nan)
    return np.divide(above, below, out=out, where=defined)[()]


@metric(
    "SI·Robinson",
    unit="%",
    direction="neither",
    definition="Right minus left over the mean of the sides; positive where the right is larger.",
    reference="Robinson, Herzog & Nigg 1987, J Manipulative Physiol Ther",
    needs=(),
)
@metric(
    "SI·absolute",
    unit="%",
    direction="neither",
    definition="Size of the difference between right and left over the mean of the sides.",
    reference="Herzog et al. 1989, Med Sci Sports Exerc",
    needs=(),
    signed=False,
)
def symmetry_index(right: ArrayLike, left: ArrayLike, *, signed: bool = True) -> Any:
    """Symmetry index ``200 (R - L) / (R + L)`` in %, or its size with ``signed=False``.

    0 is symmetric; values of one sign stay within ±200. NaN where ``R + L`` is zero or cancels to rounding.

    >>> float(symmetry_index(0.66, 0.60))
    9.523809523809533
    >>> symmetry_index([1.0, 1.0], [3.0, -1.0], signed=False)
    array([100.,  nan])
    """
    one, other = alike(right=right, left=left)
    total = one + other
    index = _quotient(200 * (one - other), total, abs(total) > CANCELS * (abs(one) + abs(other)))
    return index if signed else abs(index)


@metric(
    "symmetry ratio",
    unit="1",
    direction="neither",
    definition="Right over left.",
    reference="Patterson et al. 2010, Gait & Posture",
    needs=(),
)
def symmetry_ratio(right: ArrayLike, left: ArrayLike) -> Any:
    """Symmetry ratio ``R / L``; 1 is symmetric. NaN where the left is zero or the signs differ.

    >>> symmetry_ratio([0.6, 0.6], [0.5, 0.0])
    array([1.2, nan])
    """
    one, other = alike(right=right, left=left)
    return _quotient(one, other, (other != 0) & (one * other >= 0))


@metric(
    "LSI",
    unit="%",
    direction="neither",
    definition="Involved over uninvolved side, such as hop distances after a ligament repair.",
    reference="Noyes, Barber & Mangine 1991, Am J Sports Med",
    needs=(),
)
def limb_symmetry_index(involved: ArrayLike, uninvolved: ArrayLike) -> Any:
    """Limb symmetry index ``100 · involved / uninvolved`` in %; 100 is symmetric, 90 a usual goal.

    NaN where the uninvolved side is zero or the signs differ.

    >>> float(limb_symmetry_index(1.35, 1.5))
    90.0
    """
    hurt, sound = alike(involved=involved, uninvolved=uninvolved)
    return 100 * symmetry_ratio(hurt, sound)


@metric(
    "gait asymmetry·ln",
    unit="%",
    direction="neither",
    definition="Size of the logarithm of the ratio of the sides, times 100.",
    reference="Plotnik, Giladi & Hausdorff 2005, Ann Neurol (swing times)",
    needs=(),
)
def gait_asymmetry(right: ArrayLike, left: ArrayLike) -> Any:
    """Gait asymmetry ``100 · |ln(R / L)|`` in %; the same for swapped sides.

    NaN where a side is zero or the signs differ.

    >>> gait_asymmetry([0.4, 0.4, 0.0], [0.4, 0.5, 0.4])
    array([ 0.        , 22.31435513,         nan])
    """
    ratio = np.asarray(symmetry_ratio(right, left))
    out = np.full(ratio.shape, np.nan)
    return 100 * abs(np.log(ratio, out=out, where=ratio > 0))[()]


@metric(
    "NSI·Queen",
    unit="%",
    direction="neither",
    definition="Mean over trials of right minus left, over the range of all trials of both sides and zero.",
    reference="Queen et al. 2020, J Biomech 99:109531",
    needs=(),
)
def normalised_symmetry_index(right: ArrayLike, left: ArrayLike) -> Any:
    """Normalised symmetry index in %, over the trials on the last axis.

    ``mean_t 100 (R_t - L_t) / (max(0, R, L) - min(0, R, L))``, the extremes being those of all trials of both
    sides: within ±100 %, also where the sides have opposite signs. Trials that lack a side are left out of
    the mean and of the range. NaN where all values are zero or none is there.

    >>> float(normalised_symmetry_index([10.0, 8.0], [5.0, 6.0]))
    35.0
    """
    one, other = alike(right=floats("right", right), left=floats("left", left))
    if one.ndim == 0:
        raise MetricError("Expected the trials of each side on the last axis, got single numbers.")
    apart = one - other
    both = np.where(np.isnan(apart)[..., None], 0.0, np.stack([one, other], axis=-1))
    reach = both.max(axis=(-2, -1), initial=0.0) - both.min(axis=(-2, -1), initial=0.0)
    return _quotient(100 * np.asarray(mean_present(apart, axis=-1)), reach, reach > 0)
