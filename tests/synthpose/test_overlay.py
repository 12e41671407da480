"""Pictures of predictions: points where they belong, in their side's colour, hidden ones as rings."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from capbench.models.predictor import Predicted
from cohorts.errors import CapbenchError
from cohorts.skeleton import Skeleton, skeleton
from cohorts.store import open_cohort
from synthpose import overlay
from synthpose.overlay import COLOURS, MARGIN, TILE, tile

PLAIN = np.full((260, 220, 3), 128, np.uint8)
BOX = np.array([60.0, 50, 140, 210])  # the tile shows 150 x 200 pixels about its middle
DOTS = Skeleton(
    name="dots", points=("left_a", "right_a", "c"), flip_pairs=(("left_a", "right_a"),),
    landmarks=("left_knee", "right_knee", "c7"), limbs=(("left_a", "c"),),
)  # fmt: skip


def place(xy):
    """Where a point of the picture lies on the tile, by hand."""
    width, height = TILE
    scale = min(width / (MARGIN * 80), height / (MARGIN * 160))
    return (np.array(xy) - [100, 130]) * scale + (np.array(TILE) - 1) / 2


def colour_at(made, at):
    x, y = np.rint(at).astype(int)
    return made[y, x].astype(int)


@pytest.mark.truth("closed form")
def test_points_are_drawn_where_they_are_in_the_colour_of_their_side() -> None:
    xy = np.array([[90.0, 90.0], [120.0, 90.0], [100.0, 170.0]])
    made = tile(PLAIN, BOX, DOTS, xy)
    assert made.shape == (TILE[1], TILE[0], 3)
    for point, side in zip(xy, ("left", "right", "middle"), strict=True):
        assert np.abs(colour_at(made, place(point)) - COLOURS[side]).max() < 40, side
    changed = np.abs(made.astype(int) - 128).max(axis=2) > 20
    rows, columns = np.nonzero(changed)
    low, high = place([90, 90]) - 5, place([120, 170]) + 5
    assert columns.min() >= low[0] and rows.min() >= low[1]
    assert columns.max() <= high[0] and rows.max() <= high[1]


def test_a_limb_of_one_side_has_its_colour_and_one_across_is_green() -> None:
    xy = np.array([[90.0, 90.0], [120.0, 90.0], [100.0, 170.0]])
    made = tile(PLAIN, BOX, DOTS, xy)
    middle = colour_at(made, place([95, 130]))
    assert middle[1] > middle[0] + 20 and middle[1] > middle[2] + 20  # left and middle: across


def test_doubtful_points_are_rings_and_missing_ones_are_not_there() -> None:
    xy = np.array([[90.0, 90.0], [120.0, 90.0], [np.nan, np.nan]])
    made = tile(PLAIN, BOX, DOTS, xy, np.array([0.9, 0.1, 0.9]))
    assert np.abs(colour_at(made, place(xy[0])) - COLOURS["left"]).max() < 40
    assert np.abs(colour_at(made, place(xy[1])) - COLOURS["right"]).max() > 40  # a hole in the middle
    assert np.abs(made[..., 1].astype(int) - COLOURS["middle"][1]).min() > 40  # nothing green
    none = tile(PLAIN, BOX, DOTS, xy, np.array([0.0, 0.0, 0.9]))
    assert np.abs(none.astype(int) - 128).max() < 3
    far = tile(PLAIN, BOX, DOTS, np.full((3, 2), 1e6))
    assert np.abs(far.astype(int) - 128).max() < 3


def test_without_a_box_the_whole_picture_is_shown() -> None:
    picture = PLAIN.copy()
    picture[:5, :5] = 0
    picture[-5:, -5:] = 0
    made = tile(picture, np.full(4, np.nan), DOTS, np.full((3, 2), np.nan))
    assert (made < 30).sum() > 30 and (made == 90).any()  # both corners, and what lies beyond


def test_sheets_hold_every_tile_once_in_rows() -> None:
    tiles = [np.full((20, 30, 3), 10 * k, np.uint8) for k in range(1, 6)]
    made = overlay.sheet(tiles, across=3, gap=4)
    assert made.shape == (2 * 24 + 4, 3 * 34 + 4, 3)
    assert [made[y, x, 0] for y, x in ((14, 10), (14, 44), (14, 78), (38, 10), (38, 44), (38, 78))] == [
        10, 20, 30, 40, 50, 255,
    ]  # fmt: skip
    titled = overlay.sheet(tiles, across=3, gap=4, title="five")
    assert titled.shape[0] == made.shape[0] + overlay.STRIP and (titled[: overlay.STRIP] < 100).any()
    one = overlay.pair(tiles[0], tiles[1], "words")
    assert (
        one.shape == (20 + overlay.STRIP, 62, 3)
        and (one[:20, :30] == 10).all()
        and (one[:20, 32:] == 20).all()
    )


def test_a_picture_is_written_once(tmp_path) -> None:
    import cv2

    picture = np.zeros((10, 12, 3), np.uint8)
    picture[..., 0] = 200  # red
    overlay.write_png(tmp_path / "a.png", picture)
    assert cv2.imread(str(tmp_path / "a.png"))[0, 0].tolist() == [0, 0, 200]
    with pytest.raises(CapbenchError, match="exists"):
        overlay.write_png(tmp_path / "a.png", picture)
    overlay.write_png(tmp_path / "a.png", picture, overwrite=True)


# --- the script ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def script():
    path = Path(__file__).parents[2] / "scripts" / "draw_mini52.py"
    spec = importlib.util.spec_from_file_location("scripts_draw_mini52", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


class Off:
    """A model that is off by (3, 4) pixels from what it is told is true."""

    card = SimpleNamespace(points=skeleton("synthpose-52"))

    def __init__(self, truth):
        self.truth, self.asked = truth, []

    def predict(self, frames, boxes):
        self.asked.append(boxes[0])
        xy = next(self.truth)[None] + [3.0, 4.0]
        return Predicted(xy, np.ones(xy.shape[:2]))


@pytest.mark.truth("3-4-5")
def test_captions_give_the_mean_distance_and_boxes_hold_the_person(script, tiny_cohort, monkeypatch) -> None:
    from cohorts import formats

    cohort = open_cohort(tiny_cohort)
    shots = script.draw_cohort.chosen(cohort.cohort.trials, 4)
    truth = []
    for trial, camera, share in shots:
        track = formats.read(cohort.path(trial.extras[f"keypoints:{camera}"]))[1][0]
        truth.append(track.xy[round(share * (len(track) - 1))])
    told = []
    monkeypatch.setattr(script.overlay, "pair", lambda a, b, words: told.append(words) or a)
    model = Off(iter(truth))
    tiles = script.on_cohort(model, cohort, 4, ("",))
    assert len(tiles) == 4 and all(words.endswith(": 5.0 px on average") for words in told)
    for box, xy in zip(model.asked, truth, strict=True):
        assert (box[:2] <= xy.min(axis=0) + 3).all() and (box[2:] >= xy.max(axis=0) - 3).all()


@pytest.mark.truth("where it was drawn")
def test_what_moves_before_a_background_is_boxed(script) -> None:
    random = np.random.default_rng(0)
    back = random.integers(60, 120, (240, 320, 3), dtype=np.uint8)
    picture = np.clip(back + random.normal(0, 4, back.shape), 0, 255).astype(np.uint8)
    assert np.isnan(script.moving(picture, back)).all()
    picture[60:200, 100:150] = 250
    picture[10:14, 10:14] = 250  # a lamp
    box = script.moving(picture, back)
    assert np.abs(box - [100, 60, 150, 200]).max() < 12


def test_a_folder_without_videos_is_refused(script, tmp_path) -> None:
    with pytest.raises(CapbenchError, match=r"videos/\*\.mp4"):
        script.on_video(None, tmp_path, 4)


def test_real_frames_are_drawn(script, shared_data, tmp_path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "cam01.mp4").symlink_to(shared_data / "pose2sim_single" / "videos" / "cam01.mp4")
    model = Off(iter([np.full((52, 2), 100.0)] * 2))
    assert len(script.on_video(model, tmp_path, 2)) == 2
    assert all(400 < box[3] - box[1] < 1500 for box in model.asked)  # of 1920


def test_a_long_video_is_thinned_evenly(script, monkeypatch) -> None:
    monkeypatch.setattr("cohorts.formats.video.frames", lambda _: ((k / 30, k) for k in range(500)))
    kept = script.frames(Path("a.mp4"))
    assert len(kept) <= script.KEPT and kept[0] == (0, 0) and kept[-1][0] > 480
    assert len(set(np.diff([number for number, _ in kept]))) == 1
