"""Child process that decodes one video to its end and reports what it found."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from cohorts.errors import CapbenchError, EnvironmentFault
from cohorts.formats.child import refuse
from cohorts.formats.video import Clock, _open


def main(source: str, target: str) -> None:
    """Decode ``source``; leave its size, rotation and frame times as arrays in ``target``."""
    try:
        cv2, capture = _open(Path(source))
    except EnvironmentFault as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(EnvironmentFault.exit_code)
    except CapbenchError as error:
        refuse(error.problem)
    rate = capture.get(cv2.CAP_PROP_FPS)
    clock = Clock(rate)
    times, size = [], (0, 0)
    while True:
        good, picture = capture.read()
        if not good:
            break
        times.append(clock.tick(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000))
        if size != (0, 0) and size != picture.shape[1::-1]:
            refuse(f"Expected frames of one size, got {size} and then {picture.shape[1::-1]}.")
        size = picture.shape[1::-1]
    if not times:
        refuse("Expected a video, got a file from which no frame can be decoded.")
    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    letters = "".join(chr((code >> shift) & 0xFF) for shift in (0, 8, 16, 24))
    declared = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    np.savez(
        target,
        time=np.array(times),
        size=np.array(size),
        codec=np.array("".join(c for c in letters if c.isalnum()) or "none"),
        rotation=np.int64(capture.get(cv2.CAP_PROP_ORIENTATION_META)),
        declared_frames=np.int64(declared if 0 < declared < 1e12 else 0),
        declared_rate=np.float64(rate if 0 < rate < 1e6 else 0),
        has_times=np.bool_(clock.guessed < len(times) / 2 or len(times) < 2),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
