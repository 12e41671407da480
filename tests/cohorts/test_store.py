"""Cohorts on disk: all or nothing, referring to the user's files, never out of the root."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import made_up_lab
import pytest

from cohorts import CapbenchError, RefusedError
from cohorts.selection import selected
from cohorts.sources import read_folder
from cohorts.store import Imported, new_folder, open_cohort, save, sha256, write_cohort


@pytest.fixture
def lab(tmp_path) -> Path:
    return made_up_lab.make_lab(tmp_path, videos=False)


@pytest.fixture
def imported(lab) -> Imported:
    return read_folder(lab)


def test_a_stored_cohort_is_read_back_equal_and_copies_nothing(tmp_path, lab, imported) -> None:
    before = sorted(lab.rglob("*"))
    stored = save(imported, tmp_path / "c")
    assert open_cohort(tmp_path / "c") == stored == open_cohort(tmp_path / "c" / "cohort.yaml")
    assert sorted(entry.name for entry in (tmp_path / "c").iterdir()) == ["cohort.yaml", "trials.yaml"]
    assert stored.root == lab.resolve() and sorted(lab.rglob("*")) == before
    markers = lab / "s01" / "mocap" / "walk1.trc"
    assert stored.card.hashes["s01/mocap/walk1.trc"] == hashlib.sha256(markers.read_bytes()).hexdigest()
    assert stored.path(stored.cohort.trials[0].markers or "") == lab / "s01/mocap/walk1.trc"


def test_a_copy_stands_alone(tmp_path, lab, imported) -> None:
    save(imported, tmp_path / "c", copy=True)
    shutil.rmtree(lab)
    shutil.move(tmp_path / "c", tmp_path / "elsewhere")
    moved = open_cohort(tmp_path / "elsewhere")
    assert moved.root == (tmp_path / "elsewhere" / "files").resolve()
    for path, digest in moved.card.hashes.items():
        assert sha256(moved.path(path)) == digest


def test_a_manifest_is_laid_over_another_copy_of_the_files(tmp_path, lab, imported) -> None:
    other = tmp_path / "other"
    shutil.copytree(lab, other)
    save(imported, tmp_path / "m", manifest=True, hashes="all")
    shutil.rmtree(lab)
    for name in ("cohort.yaml", "trials.yaml"):
        shutil.copy(tmp_path / "m" / name, other / name)
    found = open_cohort(other)
    assert found.root == other.resolve() and found.card.hashes
    assert all(sha256(found.path(path)) == digest for path, digest in found.card.hashes.items())


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device"), MemoryError])
def test_an_interrupted_import_leaves_nothing(tmp_path, imported, monkeypatch, failure) -> None:
    copied = []

    def copy(source: Path, target: Path) -> None:
        copied.append(target)
        if len(copied) == 2:
            raise failure
        target.write_bytes(Path(source).read_bytes())

    monkeypatch.setattr(shutil, "copyfile", copy)
    before = sorted(tmp_path.iterdir())
    with pytest.raises((KeyboardInterrupt, CapbenchError, MemoryError)):
        save(imported, tmp_path / "c", copy=True)
    assert len(copied) == 2 and sorted(tmp_path.iterdir()) == before


def test_an_interrupted_overwrite_keeps_what_was_there(tmp_path, imported, monkeypatch) -> None:
    save(imported, tmp_path / "c")
    before = {path.name: path.read_bytes() for path in (tmp_path / "c").iterdir()}

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cohorts.store.write_card", stop)
    with pytest.raises(KeyboardInterrupt):
        save(imported, tmp_path / "c", overwrite=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "c").iterdir()} == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["c", "lab"]


def test_existing_folders_are_replaced_only_on_demand_and_only_cohorts(tmp_path, lab, imported) -> None:
    save(imported, tmp_path / "c")
    with pytest.raises(CapbenchError, match="new file"):
        save(imported, tmp_path / "c")
    save(imported, tmp_path / "c", overwrite=True)
    (tmp_path / "c" / "thesis.docx").write_text("years of work")
    with pytest.raises(CapbenchError, match=r"one with thesis\.docx: it is not replaced"):
        save(imported, tmp_path / "c", overwrite=True)
    with pytest.raises(CapbenchError, match="would delete them"):
        save(imported, lab, overwrite=True)
    with pytest.raises(CapbenchError, match="not replaced"):
        save(imported, lab, overwrite=True, copy=True)
    assert (lab / "s01" / "mocap" / "walk1.trc").is_file()


def test_an_export_over_its_own_files_is_refused(tmp_path, imported) -> None:
    alone = save(imported, tmp_path / "c", copy=True)
    with pytest.raises(CapbenchError, match="would delete them"):
        save(alone, tmp_path / "c", overwrite=True)
    again = save(alone, tmp_path / "c", copy=True, overwrite=True)
    assert again.path("s01/mocap/walk1.trc").is_file()


def spoilt(folder: Path, good: str, bad: str) -> Path:
    file = folder / "trials.yaml"
    text = file.read_text()
    assert good in text
    file.write_text(text.replace(good, bad, 1))
    return file


@pytest.mark.parametrize(
    ("good", "bad", "error", "line_holds", "says"),
    [
        ("markers: s01/", "markers: ../../", RefusedError, "markers:", "below the root"),
        ("motion: s01/", "motion: /etc/", RefusedError, "motion:", "below the root"),
        ("  model: s01/", "  model: ..\\", RefusedError, "model:", "below the root"),
        ("mass: 70.5", "mass: 70500", CapbenchError, "pseudonym", "grams"),
        ("mass: 70.5", "mas: 70.5", CapbenchError, "mas:", "Did you mean 'mass'?"),
        ("  subject: s01", "  subject: s02", CapbenchError, "name: walk1", "among those listed, got 's02'"),
        ("  activity: walking\n", "", CapbenchError, "name: walk1", "'activity'"),
        ("root: ", "root: /nowhere", CapbenchError, "root:", "no such folder"),
    ],
)
def test_bad_rows_are_told_with_their_line_and_a_fix(
    tmp_path, imported, good, bad, error, line_holds, says
) -> None:
    save(imported, tmp_path / "c")
    file = spoilt(tmp_path / "c", good, bad)
    with pytest.raises(error) as caught:
        open_cohort(tmp_path / "c")
    lines = file.read_text().splitlines()
    assert caught.value.file == str(file) and caught.value.line is not None
    assert line_holds in lines[caught.value.line - 1]
    assert says in caught.value.problem


def test_links_out_of_the_root_are_refused(tmp_path, lab, imported) -> None:
    outside = tmp_path / "outside.trc"
    target = lab / "s01" / "mocap" / "walk1.trc"
    outside.write_bytes(target.read_bytes())
    target.unlink()
    target.symlink_to(outside)
    with pytest.raises(RefusedError, match="got a link to") as caught:
        imported.path("s01/mocap/walk1.trc")
    assert caught.value.fix is not None and "--copy" in caught.value.fix
    copied = save(imported, tmp_path / "c", copy=True)  # a copy on demand follows them
    assert copied.path("s01/mocap/walk1.trc").read_bytes() == outside.read_bytes()


def test_what_is_no_cohort(tmp_path) -> None:
    with pytest.raises(CapbenchError, match="folder of a cohort, got none"):
        open_cohort(tmp_path / "none")
    with pytest.raises(CapbenchError, match=r"cohort\.yaml and trials\.yaml"):
        open_cohort(tmp_path)


def test_card_and_trials_must_be_of_one_cohort(imported) -> None:
    with pytest.raises(CapbenchError, match="of one cohort"):
        Imported(imported.card, replace(imported.cohort, version="2"))


def test_a_maker_fills_a_new_folder(tmp_path, imported) -> None:
    with new_folder(tmp_path / "made") as folder:
        shutil.copytree(imported.root, folder / "data")
        write_cohort(folder, imported, root="data")
        assert not (tmp_path / "made").exists()
    found = open_cohort(tmp_path / "made")
    assert found.cohort == imported.cohort and found.root == (tmp_path / "made" / "data").resolve()


def test_a_selection_says_so_on_its_card(imported) -> None:
    assert selected(imported) is imported
    part = selected(imported, subjects=["s01"], activities=["walking"])
    assert part.card.subjects.count == 1 and part.card.subjects.note == "1 of 1."
    with pytest.raises(CapbenchError, match="Did you mean 'walking'"):
        selected(imported, activities=["walkin"])


def test_cameras_are_found_by_name(tmp_path) -> None:
    lab = made_up_lab.make_lab(tmp_path)
    found = read_folder(lab)
    cameras = found.cameras(found.cohort.trials[0])
    for camera in made_up_lab.rig():
        assert cameras[camera.name].size == camera.size
        assert abs(cameras[camera.name].centre - camera.centre).max() < 1e-9
