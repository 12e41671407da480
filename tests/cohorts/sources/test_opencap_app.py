"""Session downloads of the OpenCap app, made up after the layout of real ones."""

import pickle
from pathlib import Path

import made_up_lab
import numpy as np
import pytest

from cohorts import CapbenchError
from cohorts.check import check
from cohorts.formats import write
from cohorts.sources import read_folder, recognise

METADATA = """\
calibrationSettings: {overwriteDeployedIntrinsics: false, saveSessionIntrinsics: false}
checkerBoard: {black2BlackCornersHeight_n: 4, placement: backWall, squareSideLength_mm: 35.0}
gender_mf: m
height_m: 1.86
mass_kg: 83.0
openSimModel: LaiUhlrich2022
subjectID: participant 3
"""


def session(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "sessionMetadata.yaml").write_text(METADATA)
    for camera in ("Cam0", "Cam1"):
        place = folder / "Videos" / camera
        for trial in ("walk1", "neutral"):
            (place / "InputMedia" / trial).mkdir(parents=True)
            for name in (f"{trial}.mov", f"{trial}_sync.mp4"):
                (place / "InputMedia" / trial / name).write_text(f"{camera} {name}")
        content = {
            "intrinsicMat": np.array([[900.0, 0, 360], [0, 900, 640], [0, 0, 1]]),
            "distortion": np.zeros((1, 5)),
            "imageSize": np.array([[1280.0], [720.0]]),
            "rotation": np.eye(3),
            "translation": np.array([[0.0 if camera == "Cam0" else 900.0], [0.0], [3000.0]]),
        }
        (place / "cameraIntrinsicsExtrinsics.pickle").write_bytes(pickle.dumps(content, protocol=3))
    for part in ("MarkerData", "OpenSimData/Kinematics", "OpenSimData/Model", "CalibrationImages"):
        (folder / part).mkdir(parents=True)
    write(folder / "MarkerData" / "walk1.trc", made_up_lab.markers())
    write(folder / "OpenSimData" / "Kinematics" / "walk1.mot", made_up_lab.motion())
    (folder / "OpenSimData" / "Model" / "LaiUhlrich2022_scaled.osim").write_text("<OpenSimDocument/>")
    (folder / "Videos" / "mappingCamDevice.pickle").write_bytes(b"never opened")
    return folder


def test_a_session(tmp_path) -> None:
    folder = session(tmp_path / "OpenCapData_1")
    assert recognise(folder)[0] == "opencap-app"
    imported = read_folder(folder)
    (trial,) = imported.cohort.trials  # the neutral pose is no activity
    assert (trial.key, trial.activity) == ("participant 3/walk1", "walk")
    assert dict(trial.videos) == {c: f"Videos/{c}/InputMedia/walk1/walk1_sync.mp4" for c in ("Cam0", "Cam1")}
    assert dict(trial.extras) == {
        "markers:opencap": "MarkerData/walk1.trc",
        "motion:opencap": "OpenSimData/Kinematics/walk1.mot",
        "model": "OpenSimData/Model/LaiUhlrich2022_scaled.osim",
    }
    (person,) = imported.cohort.subjects
    assert (person.mass, person.height, person.sex) == (83.0, 1.86, "male")
    assert imported.card.reference.kind == "none" and trial.motion is None  # a result is no truth
    cameras = imported.cameras(trial)
    assert set(cameras) == {"Cam0", "Cam1"} and cameras["Cam1"].translation[0] == pytest.approx(0.9)
    assert {f.severity for f in check(imported, decode=False)} == {"note"}


def test_several_sessions_and_a_laboratory_s_reference(tmp_path) -> None:
    for name in ("OpenCapData_1", "OpenCapData_2"):
        session(tmp_path / "all" / name)
    mocap = tmp_path / "all" / "OpenCapData_2" / "Mocap"
    mocap.mkdir()
    write(mocap / "walk1.mot", made_up_lab.motion())
    imported = read_folder(tmp_path / "all")
    first, second = imported.cohort.trials
    assert (first.session, second.session) == ("OpenCapData_1", "OpenCapData_2")
    assert (first.motion, second.motion) == (None, "OpenCapData_2/Mocap/walk1.mot")
    assert imported.card.reference.kind == "motion" and len(imported.cohort.subjects) == 1


def test_videos_that_were_not_synchronised(tmp_path) -> None:
    folder = session(tmp_path / "s")
    for path in folder.rglob("*_sync.mp4"):
        path.unlink()
    imported = read_folder(folder)
    assert imported.cohort.trials[0].videos["Cam0"].endswith("walk1.mov")
    assert any("not synchronised" in note for note in imported.notes)


def test_a_mass_in_grams_names_the_file(tmp_path) -> None:
    folder = session(tmp_path / "s")
    (folder / "sessionMetadata.yaml").write_text(METADATA.replace("83.0", "83000"))
    with pytest.raises(CapbenchError, match="grams") as caught:
        read_folder(folder)
    assert caught.value.file == str(folder / "sessionMetadata.yaml")


def test_no_session(tmp_path) -> None:
    with pytest.raises(CapbenchError, match=r"sessionMetadata\.yaml beside"):
        read_folder(tmp_path, source="opencap-app")
