"""How to spoil a made cohort: its files by name, and ways to change what is in them."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tiny_clinic import tiny_card

from cohorts import formats
from cohorts.camera import Camera

PERSON, HOME, TRIAL, OTHER = "adult01", "files/adult01/walk", "gait1", "gait2"
CAMERAS = ("Cam1", "Cam3")
Folder = Path


def make_tiny(target: Path, **recipe: Any) -> Path:
    """One person who stands and twice takes a step, before two small cameras at 10 frames/s; 3 s of work."""
    from synthpose.clinic import make

    trials = [{"condition": "gait", "seconds": 0.6, "repeats": 2}]
    card = tiny_card(**{"trials": trials, "cameras": list(CAMERAS), **recipe})
    make(card, target)
    return target


def video_of(folder: Folder, camera: str = "Cam1", trial: str = TRIAL) -> Path:
    """A video's file."""
    return folder / HOME / camera / f"{trial}.mp4"


def calibration_of(folder: Folder) -> Path:
    """The file that holds both cameras of the walks."""
    return folder / HOME / "calibration.toml"


def motion_of(folder: Folder, trial: str = TRIAL) -> Path:
    """A trial's true joint angles."""
    return folder / HOME / "motion" / f"{trial}.mot"


def landmarks_of(folder: Folder, trial: str = TRIAL) -> Path:
    """A trial's true landmarks."""
    return folder / HOME / "landmarks" / f"{trial}.trc"


def static_of(folder: Folder) -> Path:
    """The landmarks of the standing trial."""
    return folder / "files" / PERSON / "room" / "landmarks" / "static1.trc"


def frames_of(path: Path) -> tuple[list[np.ndarray], float]:
    """A video's pictures (BGR) and frames per second."""
    import cv2

    film = cv2.VideoCapture(str(path))
    rate, pictures = film.get(cv2.CAP_PROP_FPS), []
    while (got := film.read())[0]:
        pictures.append(got[1])
    film.release()
    return pictures, rate


def refilm(path: Path, change: Callable[[np.ndarray], np.ndarray] | None = None, **options: Any) -> None:
    """Write a video anew with each picture changed.

    ``frames`` keeps the first few, ``rate`` replaces, ``to`` and ``code`` (four letters) name another file
    and codec.
    """
    import cv2

    pictures, rate = frames_of(path)
    pictures = [p if change is None else np.ascontiguousarray(change(p)) for p in pictures]
    height, width = pictures[0].shape[:2]
    code = cv2.VideoWriter.fourcc(*options.get("code", "mp4v"))
    film = cv2.VideoWriter(str(options.get("to", path)), code, options.get("rate", rate), (width, height))
    assert film.isOpened()
    for picture in pictures[: options.get("frames", len(pictures))]:
        film.write(picture)
    film.release()


def edit(folder: Folder, change: Callable[[dict[str, Any]], None], file: str = "trials.yaml") -> None:
    """Change a YAML file of the cohort as a dictionary."""
    path = folder / file
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def row(content: dict[str, Any], trial: str = TRIAL) -> dict[str, Any]:
    """A trial's row."""
    return next(r for r in content["trials"] if r["name"] == trial)


def rewrite(path: Path, change: Callable[[Any], Any]) -> None:
    """Read a file in its own format, change what it holds, write it back."""
    _, value = formats.read(path)
    formats.write(path, change(value), overwrite=True)


def recalibrate(folder: Folder, change: Callable[[Camera], Camera], only: str | None = None) -> None:
    """Change the walks' cameras."""
    rewrite(calibration_of(folder), lambda cs: tuple(change(c) if only in (None, c.name) else c for c in cs))


def substitute(path: Path, pattern: str, text: str) -> None:
    """Replace in a text file; the pattern must be there."""
    changed, count = re.subn(pattern, text, path.read_text(), flags=re.M)
    assert count, (path, pattern)
    path.write_text(changed)
