"""Files of predictions with one thing wrong: ways to spoil the good ones of a made cohort's first walk.

``CASES`` holds them by name, which begins with the kind of file; those of joint angles and of body parameters
are in ``hostile_motions``. See ``hostile_cohorts`` for what the parts of a case mean.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from spoiling import PERSON, TRIAL, rewrite, substitute

from cohorts import formats
from cohorts.recording import BodyParameters, Keypoints, Markers
from cohorts.skeleton import skeleton

Kind = Literal["keypoints", "markers", "motion", "body"]
Arrays = dict[str, np.ndarray]
ENDING = {"keypoints": ".npz", "markers": ".trc", "motion": ".mot", "body": ".npz"}
WALK = f"{PERSON}/walk"


@dataclass(frozen=True)
class Case:
    """One thing wrong with predictions of a kind; see ``hostile_cohorts.Case``."""

    kind: Kind
    spoil: Callable[[Path], None]
    says: str
    outcome: str = "either"


CASES: dict[str, Case] = {}


def case(kind: Kind, says: str = "", outcome: str | None = None) -> Callable[[Any], Any]:
    """Register the function; one that says nothing is harmless."""

    def registered(spoil: Callable[[Path], None]) -> Callable[[Path], None]:
        assert spoil.__name__.startswith(kind + "_")
        name = spoil.__name__.replace("_", "-")
        CASES[name] = Case(kind, spoil, says, outcome or ("either" if says else "harmless"))
        return spoil

    return registered


def write_good(folder: Path, run: Path, kind: Kind) -> Path:
    """The predictions of a run as one kind of file for each trial (angles: without the standing one)."""
    source = run / "predictions" / {"motion": "motions", "body": "motions"}.get(kind, kind)
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        target = (folder / path.relative_to(source)).with_suffix(ENDING[kind])
        target.parent.mkdir(parents=True, exist_ok=True)
        if kind == "body":
            formats.write(target, standing(formats.read(path)[1].time))
        else:
            shutil.copy(path, target)
    return folder


def standing(time: np.ndarray) -> BodyParameters:
    """A body in its rest pose, 0.9 m above the floor."""
    frames = len(time)
    trans = np.tile([0.0, 0.9, 0.0], (frames, 1))
    return BodyParameters("smpl", time, np.zeros((frames, 24, 3)), trans, np.zeros(10))


def spoilt(good: Path, target: Path, name: str) -> Path:
    """A copy of the predictions ``good`` with the case's one thing wrong."""
    shutil.copytree(good, target)
    CASES[name].spoil(target)
    return target


def file_of(folder: Path, kind: Kind, trial: str = TRIAL) -> Path:
    """The file of a walk."""
    return folder / WALK / (trial + ENDING[kind])


def arrays(folder: Path, change: Callable[[Arrays], None]) -> None:
    """Change the bare arrays of the first walk's .npz: what no writer of ours would write."""
    path = file_of(folder, "keypoints")
    with np.load(path) as loaded:
        content = dict(loaded)
    change(content)
    np.savez(path, **content)


def each(content: Arrays, what: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change one array of both cameras."""
    for camera in ("0", "1"):
        content[f"{camera}.{what}"] = change(content[f"{camera}.{what}"])


def filled(value: float) -> Callable[[np.ndarray], np.ndarray]:
    """A change into one value throughout."""
    return lambda array: np.full_like(array, value)


def tracks(folder: Path, change: Callable[[Keypoints], Keypoints], only: str = "") -> None:
    """Change the keypoints of the first walk."""
    rewrite(file_of(folder, "keypoints"), lambda ks: tuple(change(k) if only in k.camera else k for k in ks))


_OTHER = {a: b for pair in skeleton("synthpose-52").flip_pairs for a, b in (pair, pair[::-1])}


def mirrored(track: Keypoints) -> Keypoints:
    """Left called right."""
    names = track.skeleton.points
    order = [names.index(_OTHER.get(name, name)) for name in names]
    return replace(track, xy=track.xy[:, order], confidence=track.confidence[:, order])


# --- keypoints -----------------------------------------------------------------------------------


@case("keypoints", "confidence")
def keypoints_with_nan_confidences(folder: Path) -> None:
    arrays(folder, lambda a: each(a, "confidence", filled(np.nan)))


@case("keypoints", "confidence")
def keypoints_with_negative_confidences(folder: Path) -> None:
    arrays(folder, lambda a: each(a, "confidence", filled(-1.0)))


@case("keypoints", "finite|inf")
def keypoints_at_infinity(folder: Path) -> None:
    arrays(folder, lambda a: each(a, "xy", filled(np.inf)))


@case("keypoints", "NaN|finite")
def keypoints_half_missing(folder: Path) -> None:
    def half(xy: np.ndarray) -> np.ndarray:
        xy = xy.copy()
        xy[..., 0] = np.nan
        return xy

    arrays(folder, lambda a: each(a, "xy", half))


@case("keypoints", "shape|52|points")
def keypoints_one_too_few(folder: Path) -> None:
    arrays(folder, lambda a: each(a, "xy", lambda xy: xy[:, :-1]))


@case("keypoints", "skeleton|points|names")
def keypoints_with_other_names(folder: Path) -> None:
    arrays(folder, lambda a: each(a, "points", lambda p: np.array([f"p{i}" for i in range(len(p))])))


@case("keypoints", "shape|dimension|axes|3")
def keypoints_in_space(folder: Path) -> None:
    arrays(folder, lambda a: each(a, "xy", lambda xy: np.concatenate([xy, xy[..., :1]], axis=-1)))


@case("keypoints", "increas|time")
def keypoints_with_times_that_stand_still(folder: Path) -> None:
    arrays(folder, lambda a: each(a, "time", filled(0.0)))


@case("keypoints", "object|pickle|track")
def keypoints_with_a_pickle_inside(folder: Path) -> None:
    path = file_of(folder, "keypoints")
    with np.load(path) as loaded:
        content = dict(loaded)
    content["0.xy"] = np.array([{"xy": 1}], dtype=object)
    np.savez(path, allow_pickle=True, **content)


@case("keypoints", "covariance")
def keypoints_with_covariances_that_are_none(folder: Path) -> None:
    def add(content: Arrays) -> None:
        content["0.covariance"] = np.full((*content["0.xy"].shape, 2), -1.0)

    arrays(folder, add)


@case("keypoints", "empty|read|archive|file|npz")
def keypoints_of_no_bytes(folder: Path) -> None:
    file_of(folder, "keypoints").write_bytes(b"")


@case("keypoints", "zip|archive|npz|read|cut")
def keypoints_cut_short(folder: Path) -> None:
    path = file_of(folder, "keypoints")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@case("keypoints", "zip|archive|npz|read")
def keypoints_that_are_text(folder: Path) -> None:
    file_of(folder, "keypoints").write_text("nose 12 13\n" * 100)


@case("keypoints", "track|keypoints|none")
def keypoints_of_nobody(folder: Path) -> None:
    path = file_of(folder, "keypoints")
    with np.load(path) as loaded:
        np.savez(path, capbench=loaded["capbench"])


@case("keypoints", "frame|nobody|none|person|views|empty")
def keypoints_of_no_frames(folder: Path) -> None:
    tracks(folder, lambda k: k[:0])


@case("keypoints", "nothing|got none|none")
def keypoints_of_a_trial_that_is_not_there(folder: Path) -> None:
    path = file_of(folder, "keypoints")
    path.rename(path.with_stem("gait9"))


@case("keypoints", "one file")
def keypoints_given_twice(folder: Path) -> None:
    path = file_of(folder, "keypoints")
    shutil.copy(path, path.with_stem(f"{TRIAL}_Cam1"))


@case("keypoints", "Cam1")
def keypoints_of_one_camera_only(folder: Path) -> None:
    rewrite(file_of(folder, "keypoints"), lambda ks: tuple(k for k in ks if k.camera == "Cam3"))


@case("keypoints", "camera")
def keypoints_of_cameras_unknown(folder: Path) -> None:
    tracks(folder, lambda k: replace(k, camera=f"phone {k.camera}"))


@case("keypoints", "below|link|folder", "refused")
def keypoints_behind_a_link(folder: Path) -> None:
    path = file_of(folder, "keypoints")
    outside = folder.with_name(folder.name + "-outside.npz")
    path.rename(outside)
    path.symlink_to(outside)


@case("keypoints", r"below|\.\.", "refused")
def keypoints_listed_above_the_folder(folder: Path) -> None:
    text = f"predictions:\n- {{trial: {WALK}/{TRIAL}, file: ../{TRIAL}.npz}}\n"
    (folder / "predictions.yaml").write_text(text)


@case("keypoints", "key", "refused")
def keypoints_listed_with_unknown_keys(folder: Path) -> None:
    (folder / "predictions.yaml").write_text("quality: best\npredictions: []\n")


@case("keypoints", "got none|no such|any of", "refused")
def keypoints_nowhere(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


@case("keypoints")
def keypoints_shorter_than_the_video(folder: Path) -> None:
    tracks(folder, lambda k: k[:4])


@case("keypoints")
def keypoints_longer_than_the_video(folder: Path) -> None:
    def longer(track: Keypoints) -> Keypoints:
        time = np.concatenate([track.time, track.time + 1])
        return Keypoints(
            track.camera,
            time,
            np.tile(track.xy, (2, 1, 1)),
            track.skeleton,
            np.tile(track.confidence, (2, 1)),
        )

    tracks(folder, longer)


@case("keypoints")
def keypoints_of_another_second(folder: Path) -> None:
    tracks(folder, lambda k: replace(k, time=k.time + 0.4))


@case("keypoints")
def keypoints_with_times_in_milliseconds(folder: Path) -> None:
    tracks(folder, lambda k: replace(k, time=k.time * 1000))


@case("keypoints")
def keypoints_far_outside(folder: Path) -> None:
    tracks(folder, lambda k: replace(k, xy=k.xy + 5000))


@case("keypoints")
def keypoints_with_left_and_right_exchanged(folder: Path) -> None:
    tracks(folder, mirrored)


@case("keypoints")
def keypoints_with_left_and_right_exchanged_in_one_camera(folder: Path) -> None:
    tracks(folder, mirrored, only="Cam1")


@case("keypoints")
def keypoints_with_axes_exchanged(folder: Path) -> None:
    tracks(folder, lambda k: replace(k, xy=k.xy[..., ::-1]))


@case("keypoints")
def keypoints_as_shares_of_the_picture(folder: Path) -> None:
    tracks(folder, lambda k: replace(k, xy=k.xy / [90, 160]))


@case("keypoints")
def keypoints_at_zero_for_missing(folder: Path) -> None:
    def zeros(track: Keypoints) -> Keypoints:
        xy = track.xy.copy()
        xy[:, ::2] = 0
        return replace(track, xy=xy)

    tracks(folder, zeros)


@case("keypoints")
def keypoints_in_per_cent(folder: Path) -> None:
    tracks(folder, lambda k: replace(k, xy=k.xy + 3, confidence=k.confidence * 100))


@case("keypoints")
def keypoints_that_never_move(folder: Path) -> None:
    tracks(folder, lambda k: replace(k, xy=np.tile(k.xy[:1], (len(k), 1, 1))))


@case("keypoints")
def keypoints_in_another_order(folder: Path) -> None:
    tracks(folder, lambda k: replace(k, xy=k.xy[::-1], confidence=k.confidence[::-1]))


@case("keypoints", "people|wrong-size")
def keypoints_of_two_people(folder: Path) -> None:
    def crowd(ks: tuple[Keypoints, ...]) -> tuple[Keypoints, ...]:
        others = (replace(k, person="1", xy=k.xy + 25, confidence=k.confidence * 2) for k in ks)
        return (*ks, *others)

    rewrite(file_of(folder, "keypoints"), crowd)


# --- points in space -----------------------------------------------------------------------------


def points(folder: Path, change: Callable[[Markers], Markers]) -> None:
    """Change the markers of the first walk."""
    rewrite(file_of(folder, "markers"), change)


@case("markers", "millimet|metres|units|mm")
def markers_in_millimetres_said_to_be_metres(folder: Path) -> None:
    path = file_of(folder, "markers")
    formats.write(path, formats.read(path)[1], overwrite=True, units="mm")
    substitute(path, r"\bmm\b", "m")


@case("markers", "metres|small|mm|person|units")
def markers_in_metres_said_to_be_millimetres(folder: Path) -> None:
    substitute(file_of(folder, "markers"), r"\tm\t", "\tmm\t")


@case("markers", "marker|none|0")
def markers_none(folder: Path) -> None:
    points(folder, lambda m: m.select(()))


@case("markers", "names|skeleton")
def markers_with_other_names(folder: Path) -> None:
    points(folder, lambda m: replace(m, names=tuple(f"m{i}" for i in range(len(m.names)))))


@case("markers", "header|column|TRC|line")
def markers_that_are_text(folder: Path) -> None:
    file_of(folder, "markers").write_text("x y z\n1 2 3\n")


@case("markers", "row|column|line|number|cut|values")
def markers_cut_short(folder: Path) -> None:
    path = file_of(folder, "markers")
    path.write_text(path.read_text()[: -path.stat().st_size // 3])


@case("markers", "number|line|value")
def markers_with_words_among_numbers(folder: Path) -> None:
    substitute(file_of(folder, "markers"), r"^(3\t[\d.]+\t)[-\d.]+", r"\1left")


@case("markers", "marker|point|missing|shows|none")
def markers_all_missing(folder: Path) -> None:
    points(folder, lambda m: Markers(m.time, m.names, np.full_like(m.xyz, np.nan)))


@case("markers", "answer|time|overlap|during")
def markers_of_another_time(folder: Path) -> None:
    points(folder, lambda m: replace(m, time=m.time + 1000))


@case("markers")
def markers_with_axes_exchanged(folder: Path) -> None:
    points(folder, lambda m: replace(m, xyz=m.xyz[..., [0, 2, 1]]))


@case("markers")
def markers_mirrored(folder: Path) -> None:
    points(folder, lambda m: replace(m, xyz=m.xyz * [1, 1, -1]))


@case("markers")
def markers_at_zero_for_missing(folder: Path) -> None:
    def zeros(markers: Markers) -> Markers:
        xyz = markers.xyz.copy()
        xyz[:, ::2] = 0
        return replace(markers, xyz=xyz)

    points(folder, zeros)


@case("markers")
def markers_in_one_place(folder: Path) -> None:
    points(folder, lambda m: replace(m, xyz=np.ones_like(m.xyz)))
