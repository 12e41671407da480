"""BlazePose in its worker, on one real picture: where it looks, what it gives, and that it is the same."""

from pathlib import Path

import numpy as np
import pytest

from capbench.models.adapters import mediapipe
from capbench.models.environments import python_of
from capbench.models.registry import open_model
from capbench.models.worker import host
from cohorts.errors import CapbenchError, EnvironmentFault
from cohorts.formats import video

WHOLE = np.full((1, 4), np.nan)


@pytest.fixture(scope="module")
def model():
    try:
        python_of("mediapipe")
    except EnvironmentFault as error:
        pytest.skip(str(error))
    made = open_model("mediapipe")
    yield made
    made.close()


@pytest.fixture(scope="module")
def picture(shared_data) -> np.ndarray:
    """A person who walks, 1080 x 1920."""
    _, found = next(video.frames(shared_data / "pose2sim_single" / "videos" / "cam01.mp4"))
    return found


@pytest.fixture(scope="module")
def found(model, picture):
    """What it says of the whole picture, and the box around that."""
    got = model.predict([picture], WHOLE)
    return got, np.concatenate([got.points[0].min(axis=0), got.points[0].max(axis=0)])[None]


def test_a_person_stands_on_their_feet(model, found) -> None:
    got, _ = found
    at = dict(zip(model.card.points.points, got.points[0], strict=True))
    assert got.points.shape == (1, 33, 2) and got.confidence.max() <= 1
    assert (
        at["nose"][1] < at["left_shoulder"][1] < at["left_hip"][1] < at["left_knee"][1] < at["left_heel"][1]
    )
    assert got.confidence[0, [0, 11, 12, 23, 24]].min() > 0.9


def test_the_box_is_found_in_the_picture_and_mapped_back(model, picture, found) -> None:
    # the same pixels elsewhere in a larger picture, with their box: the same points there, to the last bit
    _, box = found
    first = model.predict([picture], box)
    height, width = picture.shape[:2]
    larger = np.full((height + 300, width + 200, 3), 17, np.uint8)
    larger[120 : 120 + height, 75 : 75 + width] = picture
    x0, y0, x1, y1 = box[0]
    more = mediapipe.MARGIN * max(x1 - x0, y1 - y0)
    assert min(x0 - more, y0 - more, width - x1 - more, height - y1 - more) > 2  # it looks at nothing outside
    second = model.predict([larger], box + np.array([75, 120, 75, 120]))
    assert np.abs(second.points - first.points - [75, 120]).max() < 1e-9
    assert np.array_equal(second.confidence, first.confidence)
    # and it is the same person as in the whole picture
    assert np.median(np.linalg.norm(first.points - found[0].points, axis=2)) < 0.02 * (y1 - y0)


def test_the_answer_depends_on_the_picture_alone(model, picture, found) -> None:
    got, box = found
    boxes = np.concatenate([box, WHOLE, box])
    frames = [picture[:, ::-1].copy(), picture, picture]
    several = model.predict(frames, boxes)
    assert np.array_equal(several.points[1], got.points[0])
    again = open_model("mediapipe")
    assert np.array_equal(again.predict([picture], WHOLE).points, got.points)
    again.close()


def test_nobody_is_nobody(model, picture) -> None:
    boxes = np.array([[np.nan] * 4, [10, 10, 12, 12], [-500, -500, -400, -400], [300, 300, 200, 200]])
    none = model.predict([np.full((200, 300, 3), 128, np.uint8), picture, picture, picture], boxes)
    assert np.isnan(none.points).all() and (none.confidence == 0).all()


# --- without its environment --------------------------------------------------------------------


def test_without_its_environment_it_says_how_to_have_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CAPBENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("CAPBENCH_MEDIAPIPE_PYTHON", raising=False)
    with pytest.raises(EnvironmentFault, match="capbench models install mediapipe"):
        open_model("mediapipe")


def test_specifications_that_are_none() -> None:
    with pytest.raises(CapbenchError, match="alone"):
        mediapipe.find("heavy")


def with_package(folder: Path, text: str | None) -> host.Worker:
    """BlazePose in this Python with ``text`` for a mediapipe package."""
    if text is not None:
        (folder / "mediapipe.py").write_text(text)
    wrapper = folder / "python"
    wrapper.write_text(f'#!/bin/sh\nPYTHONPATH={folder} exec {host.sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    return mediapipe.open(mediapipe.find()[0], Path(), python=str(wrapper))


OLD_PROTOBUF = """
class solutions:
    class pose:
        def Pose(**options):
            raise AttributeError("'FieldDescriptor' object has no attribute 'label'")
"""


@pytest.mark.parametrize(
    ("package", "says"),
    [
        (None, "can't import mediapipe"),
        ("__version__ = '1.2.2'", "mediapipe 1.2.2 brings no pose model; 0.10.14 does"),
        (OLD_PROTOBUF, "needs protobuf below 5"),
    ],
)
def test_pythons_that_have_another_mediapipe_or_none(tmp_path, package, says) -> None:
    model = with_package(tmp_path, package)
    with pytest.raises(EnvironmentFault) as caught:
        model.predict([np.zeros((4, 4, 3), np.uint8)], WHOLE)
    assert says in caught.value.problem and "capbench models install mediapipe" in str(caught.value)
    model.close()


#: a "mediapipe" that finds the brightest pixel, in MediaPipe's shares of the picture, and how bright it is
BRIGHTEST = """
import numpy as np
from types import SimpleNamespace as Some

class Pose:
    def __init__(self, static_image_mode, model_complexity):
        assert static_image_mode and model_complexity == 1

    def process(self, picture):
        assert picture.flags.c_contiguous
        height, width = picture.shape[:2]
        row, column = np.unravel_index(picture[..., 0].argmax(), (height, width))
        mark = Some(x=(column + 0.5) / width, y=(row + 0.5) / height, visibility=picture.max() / 255)
        return Some(pose_landmarks=Some(landmark=[mark] * 33) if picture.max() else None)

solutions = Some(pose=Some(Pose=Pose))
"""


@pytest.mark.truth("closed form: the pixel that was lit")
def test_pixels_are_counted_from_the_centre_of_the_first(tmp_path) -> None:
    model = with_package(tmp_path, BRIGHTEST)
    picture = np.zeros((60, 80, 3), np.uint8)
    picture[33, 47] = 51
    picture[2, 3] = 102
    boxes = np.array([[np.nan] * 4, [40, 20, 56.5, 38.25], [47, 33, 63, 49], [0, 0, 16, 8], [50, 5, 70, 25]])
    got = model.predict([picture] * 5, boxes)
    # the margin is a quarter of 18.25, 16, 16 and 20 pixels; the last part holds no lit pixel
    assert got.points[:4, 32].tolist() == [[3, 2], [47, 33], [47, 33], [3, 2]]
    assert np.allclose(got.confidence[:, 0], [0.4, 0.2, 0.2, 0.4, 0])
    # up to where it looks: 20 - 5 = 15 is seen, 14 is not
    picture[:] = 0
    picture[15, 15] = 255
    seen = model.predict([picture] * 2, np.array([[20, 20, 40, 40], [20.5, 20, 40, 39.5]]))
    assert seen.points[0, 0].tolist() == [15, 15] and seen.points[1, 0].tolist() == [15, 15]
    assert np.isnan(model.predict([picture], np.array([[21.5, 20, 40, 40]])).points).all()
    model.close()


def test_the_skeleton_is_its_own() -> None:
    card, _ = mediapipe.find()
    with pytest.raises(CapbenchError, match="blazepose-33"):
        mediapipe.open(card.model_copy(update={"skeleton": "coco-17"}), Path())
