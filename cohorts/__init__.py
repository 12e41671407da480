"""Recordings: the nouns, the skeletons, the file formats and the cohorts made of them."""

from cohorts.camera import Camera
from cohorts.errors import CapbenchError, EnvironmentFault, RefusedError
from cohorts.recording import (
    BodyParameters,
    Cohort,
    Keypoints,
    Markers,
    Motion,
    Signals,
    Subject,
    Trial,
)
from cohorts.skeleton import Skeleton, SkeletonMap, skeleton, skeleton_names

__all__ = [
    "BodyParameters",
    "Camera",
    "CapbenchError",
    "Cohort",
    "EnvironmentFault",
    "Keypoints",
    "Markers",
    "Motion",
    "RefusedError",
    "Signals",
    "Skeleton",
    "SkeletonMap",
    "Subject",
    "Trial",
    "skeleton",
    "skeleton_names",
]
