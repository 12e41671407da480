"""What can be wrong on the way from keypoints to markers; told apart by type, so that a result can say which.

Each has a ``kind``, a word for a result's list of failures. All are :class:`cohorts.errors.CapbenchError`.
"""

from __future__ import annotations

from typing import ClassVar

from cohorts.errors import CapbenchError


class ViewFault(CapbenchError):
    """The views of a trial don't make markers."""

    kind: ClassVar[str] = "views"


class TooFewViews(ViewFault):
    """Fewer than two cameras saw the person."""

    kind: ClassVar[str] = "too-few-views"


class NoCalibration(ViewFault):
    """A camera has keypoints but no calibration."""

    kind: ClassVar[str] = "no-calibration"


class WrongCalibration(ViewFault):
    """The views contradict each other: calibrated in another place, or not of the same moment or person."""

    kind: ClassVar[str] = "wrong-calibration"


class WrongUnits(ViewFault):
    """The calibration's lengths are not metres."""

    kind: ClassVar[str] = "wrong-units"


class WrongSize(ViewFault):
    """The pictures are not of the size, or not turned as those, that the camera was calibrated with."""

    kind: ClassVar[str] = "wrong-size"


class SameView(ViewFault):
    """Two cameras gave the very same points."""

    kind: ClassVar[str] = "same-view"


class DifferentPoints(ViewFault):
    """The views are of different skeletons, or not on one clock."""

    kind: ClassVar[str] = "different-points"
