"""Styles change how pictures look, and nothing else; the default style is what it always was."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from solids import actor, box, camera
from tiny_clinic import tiny_card

from cohorts.card import FILE_NAME
from cohorts.errors import CapbenchError
from synthpose import clinic, sensor
from synthpose.data_recipe import DataRecipe
from synthpose.palette import cloth
from synthpose.recipe import recipe_of
from synthpose.rig import phone_rig
from synthpose.scene import Stage, View
from synthpose.style import DEFAULT, STYLES

ROOT = Path(__file__).parents[2]
BUSY = {"trials": [{"condition": "gait", "seconds": 0.6}], "others": 1.0, "aids": 1.0, "blur": True}
CODE = """
import sys
from pathlib import Path
from tiny_clinic import tiny_card
from synthpose import clinic
if __name__ == "__main__":
    clinic.make(tiny_card(style=sys.argv[2], **{busy!r}), Path(sys.argv[1]), workers=2)
"""
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The same tiny cohort in every style."""
    folder = tmp_path_factory.mktemp("styles")
    return {name: clinic.make(tiny_card(style=name, **BUSY), folder / name) for name in STYLES}


def digests(folder: Path) -> dict[str, str]:
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def frames(stored) -> dict[str, str]:
    return json.loads((stored.root / clinic.FRAMES_NAME).read_text())


# --- what differs -------------------------------------------------------------------------------


def test_nothing_but_pictures_differs(made) -> None:
    """Truth, points, calibrations, models: the same bytes; every video: other frames."""
    one, other = (digests(made[name].folder) for name in (DEFAULT, "sunlit"))
    assert one.keys() == other.keys()
    differ = {path for path in one if one[path] != other[path]}
    videos = {path for path in one if path.endswith(".mp4")}
    names = {f"{clinic.FILES_NAME}/{clinic.FRAMES_NAME}", FILE_NAME}
    assert videos <= differ <= videos | names
    assert {Path(path).suffix for path in one.keys() - differ} >= {".mot", ".trc", ".npz", ".toml", ".osim"}
    cards = [(made[name].folder / FILE_NAME).read_text().splitlines() for name in (DEFAULT, "sunlit")]
    assert [pair for pair in zip(*cards, strict=True) if len(set(pair)) > 1] == [
        ("  style: default", "  style: sunlit")
    ]
    assert not set(frames(made[DEFAULT]).values()) & set(frames(made["sunlit"]).values())


def test_people_stand_where_they_stood(made) -> None:
    """What moves from frame to frame is the same part of the picture in both styles."""
    moved = {}
    for name, stored in made.items():
        (trial,) = [t for t in stored.cohort.trials if t.activity == "walking"]
        capture = cv2.VideoCapture(str(stored.path(trial.videos["Cam3"])))
        read = [capture.read()[1].astype(float) for _ in range(5)]
        moved[name] = np.abs(read[4] - read[0]).max(axis=2) > 60
    both, either = moved[DEFAULT] & moved["sunlit"], moved[DEFAULT] | moved["sunlit"]
    assert both.sum() > 0.25 * either.sum() > 20


def test_the_style_is_the_same_in_any_process(made, tmp_path) -> None:
    script = tmp_path / "make.py"
    script.write_text(CODE.format(busy=BUSY))
    env = os.environ | dict.fromkeys(THREADS, "3")
    env["PYTHONPATH"] = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    subprocess.run([sys.executable, script, tmp_path / "out", "sunlit"], env=env, check=True, timeout=600)
    again = json.loads((tmp_path / "out" / clinic.FILES_NAME / clinic.FRAMES_NAME).read_text())
    assert again == frames(made["sunlit"])


# --- the default is what it was -----------------------------------------------------------------


def default_picture(seed: int) -> np.ndarray:
    """A box in printed cloth in a drawn room, through a drawn phone; nothing in it needs linear algebra."""
    thing = actor(*box((-0.3, 0.0, -0.4), (0.4, 1.6, 0.3)))
    thing = replace(thing, materials={"stuff": cloth(np.random.default_rng(seed), plain=0.0)})
    room = STYLES[DEFAULT].room(seed, "walk")
    view = View(camera(), room, painter=STYLES[DEFAULT].painter)
    seen = view.see(Stage([thing], room).pose([thing.surface.rest_v3]))
    phone = sensor.draw_sensor(seed, "Cam1")
    return STYLES[DEFAULT].develop(seen.linear, phone, seed=seed, camera="Cam1", frame=2)


@pytest.mark.truth("the bytes of the version before there were styles")
@pytest.mark.parametrize(
    ("seed", "digest"),
    [
        (1, "f1021183a64f44940f23d1a7bb72602e653c1cd169bb26973644b45f08a30aee"),
        (2, "df6858ecc2d44a4c3c804ae785775857a47a4039eebb0eb1fd523b238110e5f9"),
        (3, "15b82453866fb5f14094b4c99f9879701c5c32982bac0ddbadcc961b7fb45426"),
    ],
)
def test_the_default_draws_the_bytes_that_it_drew_before_there_were_styles(seed, digest) -> None:
    assert hashlib.sha256(default_picture(seed).tobytes()).hexdigest() == digest


def test_recipes_that_name_no_style_mean_the_default_and_training_data_know_of_none() -> None:
    assert (
        recipe_of(tiny_card()) == recipe_of(tiny_card(style=DEFAULT)) != recipe_of(tiny_card(style="sunlit"))
    )
    assert "style" not in DataRecipe.model_fields
    before = "abaa9c98844b24c322f18ec502b959c5a5b490f6fcb963cf49369417312dcb08"
    assert DataRecipe(seed=20001).digest == before


def test_an_unknown_style_is_refused() -> None:
    with pytest.raises(
        CapbenchError, match="Expected one of the styles default, sunlit, got 'cubist'"
    ) as caught:
        recipe_of(tiny_card(style="cubist"))
    assert caught.value.place == "recipe.style"


# --- how far apart the styles are ---------------------------------------------------------------


def measured(rgb: np.ndarray) -> list[float]:
    """Of an empty room: fine texture, strength of colour, contrast, how much darker corners are."""
    values = rgb.astype(float) / 255
    grey = values @ [0.30, 0.59, 0.11]
    height, width = grey.shape
    around = (grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]) / 4
    strength = np.ptp(values, axis=2) / (values.max(axis=2) + 0.05)
    h, w = height // 8, width // 8
    corners = np.mean([grey[a, b].mean() for a in np.s_[:h, -h:] for b in np.s_[:w, -w:]])
    middle = grey[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3].mean()
    return [
        float(np.log((grey[1:-1, 1:-1] - around).std())),
        float(np.median(strength)),
        float(np.log(np.percentile(grey, 95) / np.percentile(grey, 5))),
        float(np.log(middle / corners)),
    ]


def rooms(name: str, seeds: range) -> np.ndarray:
    """(seeds, 4) what is measured of rooms of a style."""
    style, found = STYLES[name], []
    for seed in seeds:
        (phone,) = phone_rig(("Cam1",) if seed % 2 else ("Cam3",), size=(180, 320), seed=seed)
        room = style.room(seed, "walk")
        picture = View(phone, room, painter=style.painter).see(Stage([], room).pose([]))
        how = replace(sensor.draw_sensor(seed, phone.name), quality=0)
        found.append(measured(style.develop(picture.linear, how, seed=seed, camera=phone.name, frame=0)))
    return np.array(found)


def apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Difference of the means in standard deviations (Cohen's d)."""
    spread = np.sqrt((one.var(axis=0, ddof=1) + other.var(axis=0, ddof=1)) / 2)
    return np.abs(other.mean(axis=0) - one.mean(axis=0)) / spread


def test_rooms_of_the_two_styles_are_told_apart_by_plain_statistics() -> None:
    """At least 1.2 deviations in all four, 3 in fine texture, where not one picture lies among the other's;
    two halves of one style are less apart in each."""
    default, sunlit = (rooms(name, range(12)) for name in (DEFAULT, "sunlit"))
    d = apart(default, sunlit)
    assert d.min() > 1.2 and d[0] > 3
    assert default[:, 0].max() < sunlit[:, 0].min()
    assert (apart(default[::2], default[1::2]) < d).all() and (apart(sunlit[::2], sunlit[1::2]) < d).all()
