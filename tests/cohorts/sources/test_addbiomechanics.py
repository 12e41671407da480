"""Exports of AddBiomechanics, made up after the layout of published ones."""

import json
from pathlib import Path

import made_up_lab
import pytest

from cohorts import CapbenchError
from cohorts.check import check
from cohorts.formats import write
from cohorts.sources import read_folder, recognise


def export(folder: Path, *, nested: bool = True) -> Path:
    place = folder / "osim_results" if nested else folder
    for part in ("IK", "ID", "MarkerData", "Models"):
        (place / part).mkdir(parents=True)
    for trial in ("walking1", "run_segment_0", "run_segment_1"):
        write(place / "IK" / f"{trial}_ik.mot", made_up_lab.motion())
        write(place / "MarkerData" / f"{trial}.trc", made_up_lab.markers())
    (place / "IK" / "walking1_ik_summary.txt").write_text("")
    (place / "ID" / "walking1_grf.mot").write_text("")
    for name in ("optimized_scale_and_markers.osim", "final.osim"):
        (place / "Models" / name).write_text("<OpenSimDocument/>")
    (folder / "_subject.json").write_text(json.dumps({"massKg": 72.8, "heightM": 1.8, "sex": "unknown"}))
    return folder


def test_an_export(tmp_path) -> None:
    folder = tmp_path / "study"
    export(folder / "subject01")
    export(folder / "subject02", nested=False)
    assert recognise(folder)[0] == "addbiomechanics"
    imported = read_folder(folder)
    assert [(s.pseudonym, s.mass, s.sex) for s in imported.cohort.subjects] == [
        ("subject01", 72.8, None), ("subject02", 72.8, None),
    ]  # fmt: skip
    trials = {trial.key: trial for trial in imported.cohort.trials}
    assert len(trials) == 6
    walking = trials["subject01/walking1"]
    assert walking.motion == "subject01/osim_results/IK/walking1_ik.mot"
    assert walking.markers == "subject01/osim_results/MarkerData/walking1.trc"
    assert dict(walking.extras) == {
        "model": "subject01/osim_results/Models/final.osim",
        "forces": "subject01/osim_results/ID/walking1_grf.mot",
    }
    assert {trial.activity for trial in trials.values()} == {"walking", "run"}
    assert imported.card.cameras is None and imported.card.reference.kind == "motion"


def test_one_subject_without_metadata(tmp_path) -> None:
    folder = export(tmp_path / "subject01")
    (folder / "_subject.json").unlink()
    imported = read_folder(folder)
    assert imported.cohort.subjects[0].pseudonym == "subject01"
    assert imported.notes == ("subject01: no _subject.json, so mass and height are unknown",)
    assert ("error", "no-mass") in {(f.severity, f.code) for f in check(imported, decode=False)}


def test_binary_exports_are_named(tmp_path) -> None:
    (tmp_path / "subject01.b3d").write_bytes(b"x")
    with pytest.raises(CapbenchError, match=r"only \.b3d files, which are not read"):
        read_folder(tmp_path, source="addbiomechanics")
