"""A made-up copy of OpenCap's LabValidation archive: its layout, its file forms and every trap, no real data.

Built after the descriptions of the archive's users and the headers of its published files. The people are
capbench's own full-body model moved by closed-form curves, so every angle, marker and picture is known.
What is wrong on purpose, and where, is listed in :data:`TRAPS`.
"""

from __future__ import annotations

import functools
import pickle
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from capbench.biomech.body import resolve_model
from capbench.biomech.kinematics import marker_tracks
from capbench.biomech.model import Model
from capbench.biomech.osim_write import write_model
from cohorts import Camera, Markers, Motion

Floats = NDArray[np.float64]

RATE, FILM = 100, 60  # Hz of the markers and of the phones
SIZE = (90, 160)  # width, height: an eighth of the phones' pictures
CAMERAS = {"Cam0": -70.0, "Cam1": -45.0, "Cam2": 0.0, "Cam3": 45.0, "Cam4": 70.0}
#: frames by which each phone is late: its frame k shows the moment (k - late) / 60 s of the mocap trial
LATE = {"Cam0": 0, "Cam1": 2, "Cam2": 0, "Cam3": -4, "Cam4": 1}
PHANTOM = 4  # frames that the headers of synced videos count and no decoder finds
LEAD = 12  # frames that a raw video runs before the synced one
MODEL = "LaiArnoldModified2017_poly_withArms_weldHand"
#: degrees by which the published angles are off everywhere, as a solver that stopped early leaves them
PUBLISHED_OFF = {"hip_flexion_r": 0.3, "subtalar_angle_l": -0.6}
#: degrees by which OpenCap's own results are off
SHIPPED_OFF = {
    "HRNet": {"knee_angle_r": 4.0, "pelvis_tilt": -7.0},
    "OpenPose_highAccuracy": {"knee_angle_r": 3.0},
}
DJ_WINDOW = (0.5, 1.1)  # seconds that the published angles of a drop jump cover
TRIALS = {
    "subject2": ("static1", "squats1", "DJ1", "walking1", "walkingTS4"),
    "subject4": ("static1", "STS1", "DJAsym2", "walking1", "walking4"),
    "subject6": ("static1", "squats1", "walkingTI1"),
}
FILMED = {"subject2": ("squats1", "DJ1", "walking1"), "subject4": ("walking1",)}
PEOPLE = {"subject2": ("m", 78.2, 1.96), "subject4": ("f", 62.6, 1.7), "subject6": ("f", 59.0, 1.65)}
SHIPPED = {
    ("HRNet", "2-cameras"): {"subject2": ("squats1", "walking1")},
    ("OpenPose_highAccuracy", "5-cameras"): {"subject2": ("walking1",), "subject4": ("walking1", "STS1")},
}
#: what is wrong with the tree, in the words of the archive's users
TRAPS: Mapping[str, str] = {
    "junk": "desktop.ini in every subject's folder",
    "pilot": "subject1, a pilot, with ground_jumps and ground_gaits",
    "unknown-trials": "subject4 has a ground_gaits1 that no condition fits",
    "trial-numbers": "walkingTS4, walking4 and DJAsym2: numbers differ from subject to subject",
    "published-trials": "not all of the 16 published trials are there",
    "extra-trials": "walkingTI1 and static1 are no part of the published results",
    "no-videos": "subject6 has none",
    "unfilmed-trials": "subject2's walkingTS4 and static1 and four trials of subject4 have mocap only",
    "no-synced-video": "subject2's DJ1 was never cut to the mocap trial in Cam4; the raw film is there",
    "missing-camera": "subject4's Session1 has no Cam0",
    "missing-calibration": "subject4's Cam4 is not calibrated",
    "phantom-frames": "headers of synced videos count 4 frames more than can be decoded",
    "frame-counts": "subject2's squats1 is shorter in Cam2 than in the others",
    "camera-offsets": "phones are up to 6 frames apart, the same in every trial",
    "degenerate-transform": "mocapToVideoTransform.yaml of every Session1 has determinant 0",
    "static-session": "static1 was recorded in Session0 only",
    "late-reference": "published angles of DJ start in the middle of the trial",
    "old-force-header": "force files have SIMM's old header",
}


@dataclass(frozen=True)
class Tree:
    """What was made: the folder, and the truth behind it.

    motions : (subject, trial) -> true angles, all frames
    markers : (subject, trial) -> true markers in metres, all 55
    keypoints : (subject, trial, camera) -> (T, M, 2) pixels of those markers in the synced video
    """

    root: Path
    motions: dict[tuple[str, str], Motion] = field(default_factory=dict)
    markers: dict[tuple[str, str], Markers] = field(default_factory=dict)
    keypoints: dict[tuple[str, str, str], Floats] = field(default_factory=dict)


def make_tree(folder: Path, *, videos: bool = True, name: str = "LabValidation_withVideos") -> Tree:
    """Write the archive below ``folder``; without ``videos`` no subject has a VideoData folder."""
    tree = Tree(folder / name)
    for subject, trials in TRIALS.items():
        place = tree.root / subject
        _write(
            place / "desktop.ini",
            "[.ShellClassInfo]\r\nIconResource=C:\\WINDOWS\\System32\\SHELL32.dll,4\r\n",
        )
        _write(place / "sessionMetadata.yaml", metadata(subject))
        models = place / "OpenSimData" / "Mocap" / "Model"
        models.mkdir(parents=True)
        for kind in ("generic", "scaled", "scaled_adjusted"):
            write_model(body(), models / f"{MODEL}_{kind}.osim")
        for trial in trials:
            _write_trial(tree, place, subject, trial)
        if videos and subject in FILMED:
            _write_videos(tree, place, subject)
    _write(tree.root / "subject4" / "MarkerData" / "Mocap" / "ground_gaits1.trc", "left over\n")
    pilot = tree.root / "subject1"
    _write(pilot / "MarkerData" / "Mocap" / "ground_jumps1.trc", "left over\n")
    _write(pilot / "OpenSimData" / "Mocap" / "IK" / "ground_gaits1.mot", "left over\n")
    _write(tree.root / "desktop.ini", "[.ShellClassInfo]\r\n")
    for (detector, cameras), people in SHIPPED.items():
        for subject, trials in people.items():
            for trial in trials:
                ik = tree.root / subject / "OpenSimData" / "Video" / detector / cameras
                _write(ik / "IK" / f"{trial}.mot", shipped_mot(tree.motions[subject, trial], detector))
                # holds pickled objects; nobody may ever open it
                _write(ik / "Dynamics" / trial / "optimaltrajectories.npy", "\x80never opened")
    return tree


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")


# --- people -------------------------------------------------------------------------------------


@functools.cache
def body() -> Model:
    return resolve_model("capbench:fullbody+opencap-mocap-49")


def true_motion(subject: str, trial: str) -> Motion:
    """A closed-form motion of the trial's kind, 100 Hz; no two trials are alike."""
    kind = trial.rstrip("0123456789")
    frames = {"static": 20, "DJ": 140, "DJAsym": 140}.get(kind, 100)
    t = np.arange(frames) / RATE
    own = (zlib.crc32(f"{subject}/{trial}".encode()) % 1000) / 1000  # 0 to 1
    curves = {
        "pelvis_ty": np.full(frames, 0.95),
        "pelvis_tilt": np.radians(-5.0 - 5 * own) + 0 * t,
        "elbow_flex_r": 0.4 + 0 * t,
        "elbow_flex_l": 0.4 + 0 * t,
        "pro_sup_r": 0.7 + 0 * t,
        "pro_sup_l": 0.7 + 0 * t,
    }
    if kind != "static":
        bend = bends(kind, t, own)
        if kind.startswith("walking"):
            curves["pelvis_tx"] = (1.1 + 0.2 * own) * t - 0.5
        else:
            curves["pelvis_ty"] = 0.95 - 0.2 * (bend["r"] - 0.1)
        for side, angle in bend.items():
            curves[f"knee_angle_{side}"] = angle
            curves[f"hip_flexion_{side}"] = 0.8 * angle - 0.2
            curves[f"ankle_angle_{side}"] = 0.3 * angle - 0.1
            curves[f"arm_flex_{side}"] = 0.4 * angle
        curves["lumbar_extension"] = -0.2 * bend["r"]
    model = body()
    values = np.zeros((frames, len(model.coordinate_names)))
    for name, curve in curves.items():
        values[:, model.coordinate_names.index(name)] = curve
    return Motion(t, model.coordinate_names, values, tuple(c.kind for c in model.coordinates))


def bends(kind: str, t: Floats, own: float) -> dict[str, Floats]:
    """Radians that each knee bends by."""
    if kind.startswith("walking"):
        phase = 2 * np.pi * (0.9 + 0.2 * own) * t
        return {"r": 0.6 - 0.5 * np.cos(phase), "l": 0.6 + 0.5 * np.cos(phase)}
    if kind.startswith("DJ"):  # a soft fall, a hard landing, a jump, another landing
        bumps = ((0.35 + 0.1 * own, 0.04, 0.9), (0.55, 0.09, 0.5), (1.05 + 0.1 * own, 0.05, 1.1))
        both = 0.1 + sum(high * np.exp(-0.5 * ((t - at) / wide) ** 2) for at, wide, high in bumps)
        return {"r": both, "l": 0.8 * both if kind == "DJAsym" else both}
    down = 0.1 + 1.1 / (1 + np.exp(-(t - 0.3 - 0.1 * own) / 0.04)) - 0.9 / (1 + np.exp(-(t - 0.75) / 0.05))
    return {"r": down, "l": 0.95 * down}


def metadata(subject: str) -> str:
    sex, mass, height = PEOPLE[subject]
    phones = "\n".join(f"  {camera}: iPhone13,3" for camera in CAMERAS)
    return (
        "calibrationSettings:\n  overwriteDeployedIntrinsics: false\n  saveSessionIntrinsics: false\n"
        "checkerBoard:\n  black2BlackCornersHeight_n: 8\n  black2BlackCornersWidth_n: 11\n"
        "  placement: backWall\n  squareSideLength_mm: 60\n"
        f"gender_mf: {sex}\nheight_m: {height}\niphoneModel:\n{phones}\n"
        "markerAugmentationSettings:\n  markerAugmenterModel: LSTM\n"
        f"mass_kg: {mass}\nopenSimModel: {MODEL}\nsubjectID: {subject}\n"
    )


# --- one trial's files --------------------------------------------------------------------------


def _write_trial(tree: Tree, place: Path, subject: str, trial: str) -> None:
    motion = true_motion(subject, trial)
    markers = with_helpers(marker_tracks(body(), motion))
    tree.motions[subject, trial], tree.markers[subject, trial] = motion, markers
    static = trial.startswith("static")
    _write(place / "MarkerData" / "Mocap" / f"{trial}.trc", mocap_trc(markers, trial, medial=static))
    _write(place / "ForceData" / f"{trial}_forces.mot", forces_mot(motion))
    _write(place / "EMGData" / f"{trial}_EMG.sto", emg_sto(motion))
    if not static:
        window = DJ_WINDOW if trial.startswith("DJ") else (0.0, 99.0)
        published = off(motion, PUBLISHED_OFF).between(*window)
        _write(place / "OpenSimData" / "Mocap" / "IK" / f"{trial}.mot", mocap_mot(published))


def with_helpers(markers: Markers) -> Markers:
    """The six further points that the archive's files have and its model has not: 55 in all."""
    extra = ("R_HJC_reg", "L_HJC_reg", "R_forearm", "L_forearm", "R_humerus", "L_humerus")
    near = ("R_HJC", "L_HJC", "R_wrist_ulna", "L_wrist_ulna", "R_elbow_lat", "L_elbow_lat")
    moved = markers.select(near).xyz + np.array([0.0, 0.02, 0.0])
    return Markers(markers.time, (*markers.names, *extra), np.concatenate([markers.xyz, moved], axis=1))


def off(motion: Motion, degrees: Mapping[str, float]) -> Motion:
    values = motion.values.copy()
    for name, amount in degrees.items():
        values[:, motion.names.index(name)] += np.radians(amount)
    return Motion(motion.time, motion.names, values, motion.kinds)


def mocap_trc(markers: Markers, trial: str, *, medial: bool) -> str:
    """As Motion Analysis' Cortex writes it, mm; medial knee and ankle markers in the static trial only."""
    names = sorted(n for n in markers.names if medial or not n.endswith(("_mknee", "_mankle")))
    xyz, count = 1000 * markers.select(names).xyz, len(markers)
    lines = [
        f"PathFileType  4\t(X/Y/Z) C:\\Users\\Lab User\\My Data\\{trial}.trc",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"100.0\t100.0\t{count}\t{len(names)}\tmm\t100.0\t1\t{count}",
        "Frame#\tTime\t" + "\t\t\t".join(names) + "\t\t\t",
        "\t\t" + "\t".join(f"X{i}\tY{i}\tZ{i}" for i in range(1, len(names) + 1)),
        "",
    ]
    for i, (time, row) in enumerate(zip(markers.time, xyz.reshape(count, -1), strict=True)):
        lines.append(f"{i + 1}\t{time:.5f}\t" + "\t".join(f"{v:.5f}" for v in row))
    return "\r\n".join(lines) + "\r\n"


def mocap_mot(motion: Motion) -> str:
    """36 columns as OpenSim writes them, the two patellae in radians although inDegrees=yes."""
    names: list[str] = []
    for name in motion.names:
        names += [name, f"{name}_beta"] if name.startswith("knee_angle") else [name]
    return _mot(motion, names)


def shipped_mot(motion: Motion, detector: str) -> str:
    """34 columns at 60 Hz, as OpenCap's own results are."""
    time = np.arange(0, motion.time[-1], 1 / FILM)
    moved = off(motion, SHIPPED_OFF[detector])
    values = np.stack([np.interp(time, motion.time, column) for column in moved.values.T], axis=1)
    return _mot(Motion(time, motion.names, values, motion.kinds), list(motion.names))


def _mot(motion: Motion, names: list[str]) -> str:
    columns = [motion.time]
    for name in names:
        radians = motion.column(name.removesuffix("_beta"))
        turns = not name.endswith("_beta") and motion.kinds[motion.names.index(name)] == "rotation"
        columns.append(np.degrees(radians) if turns else radians)
    head = [
        "Coordinates", "version=1", f"nRows={len(motion)}", f"nColumns={len(columns)}", "inDegrees=yes", "",
        "Units are S.I. units (second, meters, Newtons, ...)",
        "If the header above contains a line with 'inDegrees', this indicates whether rotational values are "
        "in degrees (yes) or radians (no).",
        "", "endheader", "\t".join(["time", *names]),
    ]  # fmt: skip
    rows = ["\t".join(f"{v:16.8f}" for v in row) for row in np.stack(columns, axis=1)]
    return "\n".join([*head, *rows]) + "\n"


def forces_mot(motion: Motion) -> str:
    """SIMM's old header; three plates of nine channels (2000 Hz in the archive, a tenth of it here)."""
    names = [
        f"{plate}_ground_{what}_{kind}{axis}"
        for plate in ("R", "L", "3")
        for what, kind in (("force", "v"), ("force", "p"), ("torque", ""))
        for axis in "xyz"
    ]
    t = np.arange(0, motion.time[-1], 0.005)
    push = 600 + 200 * np.interp(t, motion.time, motion.column("pelvis_tilt") + motion.column("knee_angle_r"))
    head = [
        "name forces.mot", f"datacolumns {1 + len(names)}", f"datarows {len(t)}", f"range 0 {t[-1]:.3f}",
        "endheader", "\t".join(["time", *names]),
    ]  # fmt: skip
    rows = [
        f"{s:.4f}\t" + "\t".join(f"{p:.1f}" if name == "R_ground_force_vy" else "0.0" for name in names)
        for s, p in zip(t, push, strict=True)
    ]
    return "\n".join([*head, *rows]) + "\n"


def emg_sto(motion: Motion) -> str:
    activity = 0.2 * motion.column("knee_angle_r") - motion.column("pelvis_tilt")
    rows = "\n".join(f"{t:.3f}\t{a:.5f}" for t, a in zip(motion.time, activity, strict=True))
    return (
        f"EMG\nversion=1\nnRows={len(motion)}\nnColumns=2\ninDegrees=no\nendheader\ntime\tsoleus_r\n{rows}\n"
    )


# --- cameras and videos -------------------------------------------------------------------------


def to_checkerboard() -> tuple[Floats, Floats]:
    """Mocap (x forward, y up, z right) -> the checkerboard's world (y down, metres); a proper rotation."""
    return np.array([[0.0, 0, 1], [0, -1, 0], [1, 0, 0]]), np.array([0.3, 1.1, 2.0])


def phone(name: str, rig: str) -> Camera:
    """An iPhone 12 Pro, 3 m from where the subject passes, in the checkerboard's world."""
    share = SIZE[0] / 720
    matrix = np.array([[913.22 * share, 0, 366.49 * share], [0, 913.52 * share, 638.50 * share], [0, 0, 1]])
    azimuth = np.radians(CAMERAS[name])
    nudge = (zlib.crc32(rig.encode()) % 100) / 1000  # tripods are put up anew in each session
    place = np.array([(3.0 + nudge) * np.cos(azimuth), 1.2, -(3.0 + nudge) * np.sin(azimuth)])
    ahead = np.array([0.0, 0.9, 0.0]) - place
    ahead /= np.linalg.norm(ahead)
    right = np.cross(ahead, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(ahead, right), ahead])
    turn, shift = to_checkerboard()
    there = rotation @ turn.T
    distortion = np.array([0.1278, -0.2842, -0.0003, 0.0001, 0.2134])
    return Camera(name, matrix, there, -rotation @ place - there @ shift, SIZE, distortion)


def calibration(camera: Camera) -> bytes:
    """The pickle that opencap-core of 2022 wrote: protocol 3, numpy 1 names, [height; width], millimetres."""
    import cv2

    content: dict[str, Any] = {
        "intrinsicMat": camera.matrix.copy(),
        "distortion": camera.distortion[None].copy(),
        "imageSize": np.array([[float(camera.size[1])], [float(camera.size[0])]]),
        "rotation": camera.rotation.copy(),
        "translation": 1000 * camera.translation[:, None],
        "rotation_EulerAngles": cv2.Rodrigues(camera.rotation)[0],
    }
    return pickle.dumps(content, protocol=3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def _write_videos(tree: Tree, place: Path, subject: str) -> None:
    for session in ("Session0", "Session1"):
        folder = place / "VideoData" / session
        for name in CAMERAS:
            if (subject, session, name) == ("subject4", "Session1", "Cam0"):
                continue
            camera = phone(name, subject + session)
            _write(folder / name / "desktop.ini", "[.ShellClassInfo]\r\n")
            if (subject, name) != ("subject4", "Cam4"):
                (folder / name / "cameraIntrinsicsExtrinsics.pickle").write_bytes(calibration(camera))
            film(folder / name / "extrinsics" / "extrinsics.avi", np.full((3, 1, 2), 20.0))
            for trial in FILMED[subject]:
                if trial.startswith("walking") == (session == "Session1"):
                    _film_trial(tree, folder, subject, trial, camera)
        turn = (
            to_checkerboard()[0]
            if session == "Session0"
            else np.array([[0, 0, -1], [0, -1, 0], [0, 0, -1.0]])
        )
        _write(folder / "mocapToVideoTransform.yaml", transform(turn))


def transform(turn: Floats) -> str:
    rows = "".join(f"- - {a}\n  - {b}\n  - {c}\n" for a, b, c in turn.tolist())
    shift = "".join(f"- {v}\n" for v in (1000 * to_checkerboard()[1]).tolist())
    return f"R_fromMocap_toVideo:\n{rows}position_fromMocapOrigin_toVideoOrigin:\n{shift}"


def _film_trial(tree: Tree, folder: Path, subject: str, trial: str, camera: Camera) -> None:
    markers = tree.markers[subject, trial]
    turn, shift = to_checkerboard()
    frames = round(markers.duration * FILM)
    if (subject, trial, camera.name) == ("subject2", "squats1", "Cam2"):
        frames -= 3
    moments = (np.arange(-LEAD, frames) - LATE[camera.name]) / FILM
    xyz = markers.xyz.reshape(len(markers), -1)
    held = np.stack([np.interp(moments, markers.time, column) for column in xyz.T], axis=1)
    pixels = camera.project(held.reshape(len(moments), -1, 3) @ turn.T + shift)
    place = folder / camera.name / trial
    film(place / f"{trial}.avi", pixels)
    if (subject, trial, camera.name) != ("subject2", "DJ1", "Cam4"):
        film(place / f"{trial}_syncdWithMocap.avi", pixels[LEAD:], phantom=PHANTOM)
        tree.keypoints[subject, trial, camera.name] = pixels[LEAD:]


def film(path: Path, pixels: Floats, *, phantom: int = 0) -> None:
    """A video of white dots at ``pixels`` (T, M, 2); its header counts ``phantom`` frames too many."""
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FILM, SIZE)
    for points in pixels:
        picture = np.full((SIZE[1], SIZE[0], 3), 40, dtype=np.uint8)
        for x, y in np.nan_to_num(points, nan=-99.0).round().astype(int).tolist():
            cv2.circle(picture, (x, y), 2, (230, 230, 230), -1)
        writer.write(picture)
    writer.release()
    if phantom:
        data = bytearray(path.read_bytes())
        # AVI main header: dwTotalFrames is its fifth number; stream header: dwLength its ninth
        for mark, number in ((b"avih", 4), (b"strh", 8)):
            at = data.index(mark) + 8 + 4 * number
            count = int.from_bytes(data[at : at + 4], "little") + phantom
            data[at : at + 4] = count.to_bytes(4, "little")
        path.write_bytes(data)
