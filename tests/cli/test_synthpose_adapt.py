"""``capbench synthpose adapt``: people are cut out of recordings, and a training's folder comes of it."""

import json
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")
cv2 = pytest.importorskip("cv2")

from toy_people import ToyPeople, toy_recipe

from capbench.cli import synthpose_adapt as adapting
from capbench.cli.main import cli
from capbench.cli.progress import Progress
from capbench.models.card import read_card
from capbench.models.predictor import Predicted
from cohorts.camera import Camera
from cohorts.errors import CapbenchError
from synthpose import video
from synthpose.adapt import ADAPTATION
from synthpose.adaptation import Crops
from synthpose.train import MODEL, train


class Spot:
    """A model that sees one thing: the bright spot in a picture, its points all round it."""

    def __init__(self, card):
        self.card = card

    def predict(self, frames, boxes):
        count = len(self.card.points)
        angle = 2 * np.pi * np.arange(count) / count
        points = []
        for frame in frames:
            y, x = np.nonzero(frame.max(2) > 150)
            round_ = 10 * np.stack([np.cos(angle), np.sin(angle)], 1)
            middle = np.array([x.mean(), y.mean()]) if len(x) else np.nan
            points.append(round_ + middle)
        points = np.array(points)
        return Predicted(points, np.isfinite(points[..., 0]).astype(float))

    def close(self):
        pass


def spot(x, y, *, size=(160, 120)):
    picture = np.full((size[1], size[0], 3), 20, np.uint8)
    cv2.circle(picture, (x, y), 5, (255, 255, 255), -1)
    return picture


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A training of two steps, two videos of two seconds at 10 frames/s, and a folder of three pictures."""
    folder = tmp_path_factory.mktemp("adapt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("synthpose.train.draw_curves", lambda log, target: None)
        train(toy_recipe(samples=16, checks={"shots": 0}), folder / "training", data=ToyPeople(16))
    for name, x in (("a", 50), ("b", 110)):
        video.write(folder / f"{name}.mp4", [spot(x, 60 + k // 4) for k in range(20)], rate=10)
    (folder / "stills").mkdir()
    for k in range(3):
        cv2.imwrite(str(folder / "stills" / f"{k}.png"), spot(40 + 30 * k, 50))
    cv2.imwrite(str(folder / "stills" / "empty.png"), np.zeros((50, 50, 3), np.uint8))
    return folder


class Drawn:
    """Labelled pictures, as shards have them."""

    data = SimpleNamespace(digest="toy")
    people = ToyPeople(200)

    def __len__(self):
        return len(self.people)

    def labelled(self, numbers):
        return self.people.batch(numbers)


@pytest.fixture
def sees(monkeypatch):
    monkeypatch.setattr("capbench.models.registry.open_model", lambda path, **_: Spot(read_card(path)))
    monkeypatch.setattr(adapting, "_shards", lambda *_, **__: Drawn())


def cutter(home, fps=5.0):
    return adapting._Cutter(home / "training", "cpu", fps, Progress(quiet=True))


@pytest.mark.truth("where the spot was drawn")
def test_the_person_is_in_the_middle_of_each_crop(home, sees) -> None:
    made = cutter(home).of_files([home / "a.mp4", home / "b.mp4", home / "stills"])
    # 2 s at 5 frames/s of each video; the empty picture shows nobody
    assert np.array_equal(made.group, [0] * 10 + [1] * 10 + [2] * 3)
    for picture in made.pictures:
        y, x = np.nonzero(picture.max(2) > 150)
        assert [x.mean(), y.mean()] == pytest.approx([31.5, 31.5], abs=3.0)


def test_a_folder_is_searched_and_others_refused(home, sees, tmp_path) -> None:
    kinds = [(kind, [p.name for p in paths]) for kind, paths in adapting._found([home])]
    assert kinds[:2] == [("video", ["a.mp4"]), ("video", ["b.mp4"])]
    assert ("pictures", ["0.png", "1.png", "2.png", "empty.png"]) in kinds
    with pytest.raises(CapbenchError, match="videos"):
        adapting._found([tmp_path])
    with pytest.raises(CapbenchError, match="none that the network finds"):
        cutter(home).of_files([home / "stills" / "empty.png"])


def test_crops_are_thinned_evenly() -> None:
    crops = Crops(np.arange(12, dtype=np.uint8).reshape(12, 1, 1, 1).repeat(3, 3), np.arange(12))
    assert adapting._thinned(crops, 4).group.tolist() == [0, 3, 6, 9]
    assert adapting._thinned(crops, 5).group.tolist() == [0, 2, 4, 7, 9]
    assert len(adapting._thinned(crops, 50)) == 12


def crop(value, frame, time):
    picture = np.full((64, 64, 3), value, np.uint8)
    return adapting._Crop(picture, np.array([0.0, 0.0, 10.0 + value, 20.0]), frame, time)


@dataclass
class Placer:
    """What is asked of a cutter where crops are laid out."""

    def placed(self, boxes):
        from capbench.models.crop import plan

        return plan(boxes, (64, 64))


def test_crops_of_one_moment_are_laid_out_by_camera(home) -> None:
    seen = {
        "left": [crop(1, 0, 0.0), crop(2, 1, 0.2), crop(3, 2, 0.4)],
        "right": [crop(4, 0, 0.01), crop(5, 2, 0.48), crop(6, 3, 0.6)],
    }
    moments = adapting._moments(seen, 5.0)
    # at 0.2 s only one sees anybody; at 0.4 s the other is 0.08 s late: more than 0.3 of a frame
    told = [{name: int(one.picture[0, 0, 0]) for name, one in some.items()} for some in moments]
    assert told == [{"left": 1, "right": 4}, {"left": 2}, {"left": 3}, {"right": 6}]

    def camera(name):
        return Camera(name, [[100, 0, 50], [0, 100, 50], [0, 0, 1]], np.eye(3), [0, 0, 3], (100, 100))

    cameras = [{}, {"left": camera("left"), "right": camera("right")}]
    crops, loop = adapting._laid_out(
        Placer(), [(1, one) for one in moments], ["x", "who"], cameras, toy_recipe(), None, True
    )
    (film,) = loop.films
    assert film.person == "who"
    assert [c.name for c in film.cameras] == ["left", "right"]
    values = np.where(film.rows >= 0, crops.pictures[film.rows, 0, 0, 0], 0)
    assert values.tolist() == [[1, 4], [2, 0], [3, 0], [0, 6]]
    assert film.time.tolist() == [0.0, 0.2, 0.4, 0.6]
    assert np.array_equal(crops.group, [1] * 5)
    row = film.rows[0, 1]  # its box is 14 px wide and 20 high: 25 px about (7, 10) become 64
    assert loop.placed.to_crop(np.full((5, 1, 2), [7.0, 10.0]))[row, 0] == pytest.approx([32, 32])


# --- the command ------------------------------------------------------------------------------------


def run(*words):
    result = CliRunner().invoke(cli, ["synthpose", "adapt", *map(str, words)], standalone_mode=False)
    if isinstance(result.exception, CapbenchError):
        return result.exception.exit_code, str(result.exception)
    if result.exception is not None:
        return 2, result.exception.format_message()
    return result.exit_code, result.stdout


def test_spots_teach_nothing_and_the_weights_stay(home, sees, tmp_path) -> None:
    words = (home / "training", "-o", tmp_path / "out", "--from", home / "a.mp4", "--quiet")
    code, said = run(*words)
    assert code == 0, said
    assert "source: round 1" in said
    assert (tmp_path / "out" / MODEL).read_bytes() == (home / "training" / MODEL).read_bytes()
    code, said = run(*words, "--json")
    assert json.loads(said) == json.loads((tmp_path / "out" / ADAPTATION).read_text())
    assert "another asked" in run(*words, "--rounds", 2)[1]


def test_what_was_asked_is_what_is_done(tmp_path) -> None:
    (tmp_path / "how.yaml").write_text("rounds: 5\nsure: 0.4\n")
    asked = adapting._asked(tmp_path / "how.yaml", rounds=None, samples=99, seed=None)
    assert (asked.rounds, asked.sure, asked.samples, asked.labelled) == (5, 0.4, 99, 1.0)
    (tmp_path / "how.yaml").write_text("round: 5\n")
    with pytest.raises(CapbenchError, match="rounds"):
        adapting._asked(tmp_path / "how.yaml")


def test_wrong_use_is_refused(home) -> None:
    base = (home / "training", "-o", home / "nowhere")
    assert "--from or --cohort" in run(*base)[1]
    assert "--from or --cohort" in run(*base, "--from", home, "--cohort", "clinic-mini")[1]
    assert "--cohort" in run(*base, "--from", home, "--fit-in-loop")[1]
    assert "training" in run(home, "-o", home / "nowhere", "--from", home)[1]
    assert not (home / "nowhere").exists()
