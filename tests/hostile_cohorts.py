"""Cohorts with one thing wrong: ways to spoil a copy of a tiny made cohort, and what must be said of each.

``CASES`` holds them by name. A case's ``spoil`` changes the copy in place; ``says`` is searched for, as a
regular expression without regard to case, in the error or in the reasons that the result gives. Whatever is
said, the score must never be better than without the fault.
"""

import os
import shutil
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from spoiling import (
    CAMERAS,
    OTHER,
    PERSON,
    TRIAL,
    Folder,
    calibration_of,
    edit,
    landmarks_of,
    motion_of,
    recalibrate,
    refilm,
    rewrite,
    row,
    static_of,
    substitute,
    video_of,
)

from cohorts import formats
from cohorts.recording import Markers, Motion

Outcome = Literal["refused", "failure", "either", "harmless"]


@dataclass(frozen=True)
class Case:
    """One thing wrong with a cohort.

    ``outcome`` is what must follow: "refused" (an error before the work starts), "failure" (a typed reason in
    the result), "either" of both, or "harmless" (nothing has to be said, as nothing is lost by it).
    """

    spoil: Callable[[Folder], None]
    says: str
    outcome: Outcome = "either"


CASES: dict[str, Case] = {}


def case(says: str, outcome: Outcome = "either", name: str = "") -> Callable[[Any], Any]:
    """Register the function as the case of its own name, or of ``name``."""

    def registered(function: Callable[[Folder], None]) -> Callable[[Folder], None]:
        key = name or function.__name__.replace("_", "-")
        assert key not in CASES, key
        CASES[key] = Case(function, says, outcome)
        return function

    return registered


def spoilt(good: Path, target: Path, name: str) -> Path:
    """A copy of the cohort ``good`` with the case's one thing wrong."""
    shutil.copytree(good, target, symlinks=True)
    CASES[name].spoil(target)
    return target


# --- videos --------------------------------------------------------------------------------------


@case("gait1.mp4: .*No such file")
def video_missing(folder: Folder) -> None:
    video_of(folder).unlink()


@case("two cameras|camera")
def camera_not_listed(folder: Folder) -> None:
    edit(folder, lambda c: [row(c)[k].pop("Cam1") for k in ("videos", "calibrations")] and None)


@case("video|camera")
def no_videos_at_all(folder: Folder) -> None:
    edit(folder, lambda c: row(c).update(videos={}, calibrations={}))


@case("video|frames|Cam1")
def video_truncated(folder: Folder) -> None:
    path = video_of(folder)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])


@case("video|Cam1")
def video_of_random_bytes(folder: Folder) -> None:
    video_of(folder).write_bytes(np.random.default_rng(0).bytes(5000))


@case("video|empty|Cam1")
def video_of_no_bytes(folder: Folder) -> None:
    video_of(folder).write_bytes(b"")


@case("video|Cam1")
def video_that_is_text(folder: Folder) -> None:
    video_of(folder).write_text("time,x,y\n0,1,2\n" * 200)


@case("video|frame|Cam1")
def video_without_frames(folder: Folder) -> None:
    refilm(video_of(folder), frames=0)


@case("gait1.mp4: .*folder")
def video_is_a_folder(folder: Folder) -> None:
    video_of(folder).unlink()
    video_of(folder).mkdir()


@case("file|readable|video|pipe|regular")
def video_is_a_pipe(folder: Folder) -> None:
    video_of(folder).unlink()
    os.mkfifo(video_of(folder))


@case("permission|readable|read")
def video_unreadable(folder: Folder) -> None:
    video_of(folder).chmod(0)


@case("frame|cut|end|long|decoded")
def video_that_ends_in_the_middle_of_a_frame(folder: Folder) -> None:
    """Of a container that needs no index at its end, so that a decoder opens it."""
    path, renamed = video_of(folder), video_of(folder).with_suffix(".avi")
    refilm(path, to=renamed, code="MJPG")
    renamed.write_bytes(renamed.read_bytes()[: renamed.stat().st_size // 2])
    edit(folder, lambda c: row(c)["videos"].update(Cam1=renamed.relative_to(folder / "files").as_posix()))


@case("frame|short|long")
def trial_of_one_frame(folder: Folder) -> None:
    for camera in CAMERAS:
        refilm(video_of(folder, camera), frames=1)


@case("frame|length|long|end")
def video_shorter_than_the_other(folder: Folder) -> None:
    refilm(video_of(folder), frames=3)


@case("frames?/s|frame rate|frames per second|fps|long|end|clock")
def frame_rates_differ(folder: Folder) -> None:
    refilm(video_of(folder), rate=30.0)


@case("size|90|160|pixels")
def video_lies_on_its_side(folder: Folder) -> None:
    refilm(video_of(folder), lambda p: p.swapaxes(0, 1))


@case("size|45|80|pixels")
def video_scaled_down(folder: Folder) -> None:
    refilm(video_of(folder), lambda p: p[::2, ::2])


@case("", "harmless")
def video_black(folder: Folder) -> None:
    for camera in CAMERAS:
        refilm(video_of(folder, camera), np.zeros_like)


@case("same|twice|again|duplicate|Cam1|pose")
def one_camera_s_video_twice(folder: Folder) -> None:
    shutil.copy(video_of(folder, "Cam3"), video_of(folder, "Cam1"))


# --- calibrations --------------------------------------------------------------------------------


@case("calibration")
def calibration_missing(folder: Folder) -> None:
    calibration_of(folder).unlink()


@case("calibration|camera")
def calibration_not_listed(folder: Folder) -> None:
    edit(folder, lambda c: row(c).update(calibrations={}))


@case("calibration|TOML|camera")
def calibration_is_nonsense(folder: Folder) -> None:
    calibration_of(folder).write_text("these = are\nnot = cameras [\n")


@case("millimet|metres|mm")
def calibration_in_millimetres(folder: Folder) -> None:
    recalibrate(folder, lambda c: replace(c, translation=c.translation * 1000))


@case("agree with the other|calibration|meet")
def calibration_of_another_session(folder: Folder) -> None:
    shutil.copy(folder / "files" / PERSON / "room" / "calibration.toml", calibration_of(folder))
    recalibrate(folder, lambda c: replace(c, translation=c.translation * [1, 1, 2.5]), only="Cam1")


@case("camera called|camera")
def calibration_of_other_cameras(folder: Folder) -> None:
    substitute(calibration_of(folder), "Cam([13])", r"Kamera\1")


@case("rays|meet|pose|same")
def cameras_in_one_place(folder: Folder) -> None:
    _, cameras = formats.read(calibration_of(folder))
    one = cameras[0]
    recalibrate(folder, lambda c: replace(c, rotation=one.rotation, translation=one.translation))


@case("left and right exchanged|reprojection|calibration")
def cameras_exchanged(folder: Folder) -> None:
    _, (one, two) = formats.read(calibration_of(folder))
    swapped = {one.name: replace(two, name=one.name), two.name: replace(one, name=two.name)}
    recalibrate(folder, lambda c: swapped[c.name])


@case("rotation|mirror|determinant|proper")
def calibration_mirrored(folder: Folder) -> None:
    lines = []
    for camera in formats.read(calibration_of(folder))[1]:
        mirrored = camera.rotation @ np.diag([1.0, 1.0, -1.0])
        lines += [
            f"[{camera.name}]",
            f'name = "{camera.name}"',
            f"size = {[float(v) for v in camera.size]}",
            f"matrix = {camera.matrix.tolist()}",
            f"rotation = {mirrored.tolist()}",
            f"translation = {camera.translation.tolist()}",
            "distortions = [0.0, 0.0, 0.0, 0.0]",
            "fisheye = false",
        ]
    calibration_of(folder).write_text("\n".join(lines) + "\n")


@case("finite|NaN|number|matrix")
def calibration_with_nan(folder: Folder) -> None:
    substitute(calibration_of(folder), r"114\.1525", "nan")


@case("rays|meet|away|behind")
def camera_looks_away(folder: Folder) -> None:
    turn = np.diag([-1.0, 1.0, -1.0])
    recalibrate(
        folder,
        lambda c: replace(c, rotation=turn @ c.rotation, translation=turn @ c.translation),
        only="Cam1",
    )


# --- reference and statics -----------------------------------------------------------------------


@case("motion|reference|missing")
def reference_missing(folder: Folder) -> None:
    motion_of(folder).unlink()


@case("reference|motion")
def reference_not_listed(folder: Folder) -> None:
    edit(folder, lambda c: row(c).pop("motion") and None)


@case("file|readable|pipe|regular")
def reference_is_a_pipe(folder: Folder) -> None:
    motion_of(folder).unlink()
    os.mkfifo(motion_of(folder))


@case("header|column|motion|number|storage")
def reference_is_nonsense(folder: Folder) -> None:
    motion_of(folder).write_text("once upon a time\n" * 30)


@case("degrees|radian|turn")
def reference_in_degrees_said_to_be_radians(folder: Folder) -> None:
    def degrees(motion: Motion) -> Motion:
        turns = [kind == "rotation" for kind in motion.kinds]
        return replace(motion, values=np.where(turns, np.degrees(motion.values), motion.values))

    rewrite(motion_of(folder), degrees)
    substitute(motion_of(folder), "inDegrees=yes", "inDegrees=no")


@case("NaN|reference|known|sample|finite|number")
def reference_all_nan(folder: Folder) -> None:
    rewrite(motion_of(folder), lambda m: replace(m, values=np.full_like(m.values, np.nan)))


@case("time|overlap|reference|covers|during")
def reference_of_another_time(folder: Folder) -> None:
    rewrite(motion_of(folder), lambda m: replace(m, time=m.time + 1000))


@case("coordinate|knee_angle_r|reference")
def reference_without_coordinates(folder: Folder) -> None:
    def fewer(motion: Motion) -> Motion:
        return motion.select([n for n in motion.names if n.startswith("pelvis")])

    for trial in (TRIAL, OTHER):
        rewrite(motion_of(folder, trial), fewer)


@case("", "harmless")
def static_s_truth_missing(folder: Folder) -> None:
    static_of(folder).unlink()


@case("", "harmless")  # people are scaled by how they move, then
def static_not_there(folder: Folder) -> None:
    def drop(content: dict[str, Any]) -> None:
        content["trials"] = [r for r in content["trials"] if r["name"] != "static1"]
        for r in content["trials"]:
            r["extras"].pop("static")

    edit(folder, drop)


@case("", "harmless")
def static_of_a_larger_person(folder: Folder) -> None:
    rewrite(static_of(folder), lambda m: replace(m, xyz=m.xyz * 1.3))


@case("millimet|metres|units|mm|m from")
def landmarks_in_millimetres_said_to_be_metres(folder: Folder) -> None:
    for trial in (TRIAL, OTHER):
        rewrite(landmarks_of(folder, trial), lambda m: replace(m, xyz=m.xyz * 1000))


@case("", "harmless")  # they only decide what stands beside the score
def landmarks_without_names_we_know(folder: Folder) -> None:
    def renamed(markers: Markers) -> Markers:
        return replace(markers, names=tuple(f"m{i}" for i in range(len(markers.names))))

    for trial in (TRIAL, OTHER):
        rewrite(landmarks_of(folder, trial), renamed)


# --- people, rows and paths ----------------------------------------------------------------------


@case("", "harmless")  # no angle depends on it
def subject_without_mass(folder: Folder) -> None:
    edit(folder, lambda c: c["subjects"][0].update(mass=None))


@case("height|centimet|millimet", "refused")
def subject_in_millimetres(folder: Folder) -> None:
    edit(folder, lambda c: c["subjects"][0].update(height=1459.0))


@case("subject", "refused")
def subject_unknown(folder: Folder) -> None:
    edit(folder, lambda c: row(c).update(subject="nobody"))


@case("subject|trial|once|pseudonym", "refused")
def subject_listed_twice(folder: Folder) -> None:
    edit(folder, lambda c: c["subjects"].append(dict(c["subjects"][0])))


@case("trial|once|again", "refused")
def trial_listed_twice(folder: Folder) -> None:
    edit(folder, lambda c: c["trials"].append(deepcopy(row(c))))


@case("trial|nothing|none", "refused")
def no_trials(folder: Folder) -> None:
    edit(folder, lambda c: c.update(trials=[]))


@case("trial|nothing|none|static|standing", "refused")
def nothing_but_standing(folder: Folder) -> None:
    edit(folder, lambda c: c.update(trials=[row(c, "static1")]))


@case(r"\.\.|below|root", "refused")
def path_that_climbs_out(folder: Folder) -> None:
    edit(folder, lambda c: row(c)["videos"].update(Cam1="../../../etc/passwd"))


@case("below|root|absolute", "refused")
def path_that_is_absolute(folder: Folder) -> None:
    edit(folder, lambda c: row(c).update(motion="/etc/passwd"))


@case("link|below|root|outside")
def link_out_of_the_root(folder: Folder) -> None:
    outside = folder.with_name("outside.mp4")
    video_of(folder).rename(outside)
    video_of(folder).symlink_to(outside)


@case("link|below|root|outside")
def link_round_in_a_circle(folder: Folder) -> None:
    motion_of(folder).unlink()
    motion_of(folder).symlink_to(motion_of(folder).name)


@case("version", "refused")
def card_of_another_version(folder: Folder) -> None:
    edit(folder, lambda c: c.update(version=2), "cohort.yaml")  # a number: this format's versions are text


@case("key|unknown|quality|known", "refused")
def card_with_unknown_keys(folder: Folder) -> None:
    edit(folder, lambda c: c.update(quality="high"), "cohort.yaml")


@case("cohort", "refused")
def card_missing(folder: Folder) -> None:
    (folder / "cohort.yaml").unlink()


@case("YAML|alias|anchor|large|deep|limit|list of trials", "refused")
def rows_that_expand_without_end(folder: Folder) -> None:
    bomb = "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12))
    (folder / "trials.yaml").write_text(f"a0: &a0 [x]\n{bomb}\nsubjects: []\ntrials: *a11\n")


@case("folder|recordings|root", "refused")
def root_not_mounted(folder: Folder) -> None:
    edit(folder, lambda c: c.update(root="/mnt/not/mounted"))
