"""Shards: the same bytes by any number of workers, resumed where a run stopped, read as they were drawn."""

import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cohorts.errors import CapbenchError, RefusedError
from synthpose import shards
from synthpose.data_recipe import DataRecipe
from synthpose.motion import CONDITIONS
from synthpose.shards import MANIFEST, Shards, per_shard, plan, write_shards
from synthpose.shots import POINTS, draw_shot

DATA = DataRecipe(
    seed=4, size=(48, 64), held_out_conditions=tuple(c for c in CONDITIONS if c != "gait"), others=0.0,
    shots_per_person=3, motions_per_person=1, variants=1, people={"adult": 1.0},
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards, of 3 and 2 pictures; not to be changed."""
    folder = tmp_path_factory.mktemp("pictures") / "one"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "ABOUT", 3)
        write_shards(DATA, folder, count=5)
    return folder


@pytest.fixture
def own(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "own"))


def sums(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def test_what_is_read_is_what_was_drawn(made) -> None:
    read = Shards(made, check=True)
    assert len(read) == 5 and read.points == POINTS and read.data == DATA
    wanted = [4, 0, 4, 2]
    pictures, points, visible = read.labelled(wanted)
    assert pictures.shape == (4, 64, 48, 3) and points.shape == (4, 52, 2) and visible.shape == (4, 52)
    for row, number in enumerate(wanted):
        shot = draw_shot(DATA, number)
        np.testing.assert_array_equal(pictures[row], shot.picture)
        np.testing.assert_array_equal(points[row], shot.points)
        np.testing.assert_array_equal(visible[row], shot.visible)
    again, at, weight = read.batch(np.array(wanted))
    np.testing.assert_array_equal(again, pictures)
    np.testing.assert_array_equal(at, points)
    np.testing.assert_array_equal(weight, (visible > 0).astype(np.float32))
    assert weight.dtype == np.float32 and read.batch([])[0].shape == (0, 64, 48, 3)
    for wrong in ([5], [-1]):
        with pytest.raises(CapbenchError, match="numbers from 0 to 4"):
            read.batch(wrong)


def test_two_workers_make_the_same_bytes(made, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(shards, "ABOUT", 3)
    told: list[str] = []
    write_shards(DATA, tmp_path / "two", count=5, workers=2, told=told.append)
    assert sums(tmp_path / "two") == sums(made)
    assert len(told) == 2 and "2 of 2" in told[1] and "pictures/s" in told[1]
    manifest = json.loads((made / MANIFEST).read_text())
    assert manifest["recipe_sha256"] == DATA.digest and manifest["count"] == 5
    assert {s["file"]: s["sha256"] for s in manifest["shards"]} == {
        name: digest for name, digest in sums(made).items() if name != MANIFEST
    }


def test_a_stopped_run_goes_on(made, own, monkeypatch) -> None:
    monkeypatch.setattr(shards, "ABOUT", 3)
    (own / MANIFEST).unlink()
    (own / "shard-00001.npz").unlink()
    drawn: list[int] = []
    monkeypatch.setattr(shards, "draw_shot", lambda data, n: drawn.append(n) or draw_shot(data, n))
    told: list[str] = []
    write_shards(DATA, own, count=5, told=told.append)
    assert drawn == [3, 4] and "1 of 2 shards are there" in told[0]
    assert sums(own) == sums(made)

    def fails(data, number):
        if number == 4:
            raise CapbenchError("stopped here")
        return draw_shot(data, number)

    monkeypatch.setattr(shards, "draw_shot", fails)
    (own / "shard-00001.npz").unlink()
    with pytest.raises(CapbenchError, match="stopped here"):
        write_shards(DATA, own, count=5)
    assert {p.name for p in own.iterdir()} == {"shard-00000.npz", MANIFEST}  # no half shard


def test_more_pictures_later_keep_the_first(own, monkeypatch) -> None:
    monkeypatch.setattr(shards, "ABOUT", 3)
    before = sums(own)
    assert len(write_shards(DATA, own, count=6)) == 6
    assert sums(own)["shard-00000.npz"] == before["shard-00000.npz"]


def test_another_recipe_needs_another_folder(own, monkeypatch) -> None:
    monkeypatch.setattr(shards, "ABOUT", 3)
    with pytest.raises(CapbenchError, match="Expected a shard of the recipe"):
        write_shards(DATA.model_copy(update={"seed": 5}), own, count=5)
    for count in (0, 10**9):
        with pytest.raises(CapbenchError, match="pictures, got"):
            write_shards(DATA, own, count=count)


def test_shards_hold_whole_people() -> None:
    assert per_shard(DataRecipe(seed=1, shots_per_person=100)) == 1000
    assert per_shard(DataRecipe(seed=1, shots_per_person=1000)) == 1000
    assert per_shard(DataRecipe(seed=1)) == 1024


def test_a_plan_says_what_it_takes() -> None:
    """Twice the pictures take twice the room, two workers half the time of one."""
    one = plan(DATA, count=30_000, sample=3)
    two = plan(DATA, count=60_000, workers=2, sample=3)
    assert one.pictures == 30_000 and one.people == 10_000 and one.shards == -(-30_000 // 1023)
    assert two.gigabytes == pytest.approx(2 * one.gigabytes)
    size = np.mean([len(draw_shot(DATA, k).jpeg) for k in range(3)]) + 52 * 9
    assert one.gigabytes == pytest.approx(30_000 * size / 1e9)
    assert 1 < one.rate < 2000 and 0.3 < two.hours / one.hours < 3


# --- what strangers may have done ---------------------------------------------------------------------


def rewritten(folder: Path, **changes) -> None:
    with np.load(folder / "shard-00000.npz") as file:
        arrays = dict(file)
    np.savez(folder / "shard-00000.npz", **(arrays | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"points": np.zeros((3, 51, 2), np.float32)}, "points of shape"),
        ({"visible": np.zeros((2, 52), np.uint8)}, "visible of shape"),
        ({"ends": np.array([10, 5, 20])}, "one after the other"),
        ({"ends": np.array([10, 20, 10**9])}, "one after the other"),
        ({"ends": np.array([10, 20, 30])}, "JPEG"),
        ({"jpeg": np.zeros(5, np.uint8)}, "one after the other"),
        ({"points": np.array(["x"] * 312).reshape(3, 52, 2)}, "numbers of kind"),
        ({"jpeg": np.array(["x"] * 90000)}, "numbers of kind"),
    ],
)
def test_shards_that_do_not_fit_are_refused(own, changes, message) -> None:
    rewritten(own, **changes)
    with pytest.raises(CapbenchError, match=message):
        Shards(own).batch([0])
    with pytest.raises(CapbenchError, match="other bytes"):
        Shards(own, check=True)


def test_pickles_and_bombs_are_refused(own) -> None:
    with pytest.raises(CapbenchError, match="objects"):
        rewritten(own, points=np.array([{"a": 1}] * 3))
        Shards(own).batch([0])
    with zipfile.ZipFile(own / "shard-00000.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("jpeg.npy", b"\0" * 200_000_000)
    with pytest.raises(RefusedError, match="bomb"):
        Shards(own).batch([0])


@pytest.mark.parametrize(
    "change",
    [
        {"layout": "another 2"},
        {"recipe": {"seed": -1}},
        {"recipe": {"seed": 1, "unknown": 2}},
        {"shards": [{"file": "../../etc/passwd", "pictures": 3, "sha256": ""}]},
        {"shards": [{"file": "shard-00000.npz", "pictures": -3, "sha256": ""}]},
        {"shards": 7},
        {"points": None},
    ],
)
def test_manifests_that_are_none_are_refused(own, change) -> None:
    manifest = json.loads((own / MANIFEST).read_text())
    (own / MANIFEST).write_text(json.dumps(manifest | change))
    with pytest.raises(CapbenchError, match="Expected"):
        Shards(own)
    with pytest.raises(CapbenchError):
        Shards(own / "nowhere")
