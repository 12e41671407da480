"""Videos through a model: rectangles whose corners are known to the pixel, in every frame and camera."""

import importlib.util
import json
import sys
import threading
import time
from pathlib import Path

import blobs
import numpy as np
import pytest
from blobs import GREEN, RED, Blob, corners, film

from capbench.models.faults import ModelFault
from capbench.models.predictor import Predicted
from capbench.models.registry import open_model
from capbench.run import decoding, forecast
from capbench.run.decoding import Frame, thinned
from capbench.run.inference import predict_trial
from capbench.vision.boxes import BoxTrack, from_points
from capbench.vision.detector import Detected
from cohorts.camera import Camera
from cohorts.errors import CapbenchError, EnvironmentFault
from synthpose import video

#: two cameras: (width, height), frames/s, frames, and where the rectangle stands in frame k
SIZES = {"A": (160, 240), "B": (240, 160)}
RATES = {"A": 25.0, "B": 50.0}
COUNTS = {"A": 20, "B": 40}


# colour is stored for two by two pixels: edges between such squares are sharp
def where_a(k: int):
    return 20 + 4 * k, 60 + 2 * k, 61 + 4 * k, 161 + 2 * k


def where_b(k: int):
    return 180 - 2 * k, 30, 221 - 2 * k, 111


WHERE = {"A": where_a, "B": where_b}


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("videos")
    return {
        name: film(
            folder / f"{name}.avi", size=SIZES[name], rate=RATES[name], count=COUNTS[name], where=WHERE[name]
        )
        for name in SIZES
    }


def truth(name: str) -> np.ndarray:
    return np.array([corners(WHERE[name](k)) for k in range(COUNTS[name])])


def given(names=SIZES) -> dict[str, BoxTrack]:
    return {
        name: BoxTrack(
            np.arange(COUNTS[name]) / RATES[name], from_points(truth(name)), "boxes from the cohort"
        )
        for name in names
    }


def check_tracks(inferred, names=("A", "B"), within=0.6) -> None:
    assert set(inferred.tracks) == set(names)
    for name in names:
        track = inferred.tracks[name]
        assert (track.camera, track.person) == (name, "0")
        np.testing.assert_allclose(track.xy, truth(name), atol=within)
        np.testing.assert_array_equal(track.confidence, 0.9)
        np.testing.assert_allclose(track.time, np.arange(COUNTS[name]) / RATES[name], atol=1e-3)
        np.testing.assert_array_equal(track.frames, np.arange(COUNTS[name]))


class Finder:
    """A detector that gives the red and the green rectangle."""

    def __init__(self) -> None:
        self.frames = 0

    def detect(self, frames):
        self.frames += len(frames)
        found = []
        for picture in frames:
            both = []
            for channel in (0, 1):
                whole = np.array([[0, 0, picture.shape[1], picture.shape[0]]], float)
                said = Blob(channel).predict([picture], whole)
                if said.confidence.any():
                    both.append(from_points(said.points[0]))
            found.append(Detected(np.array(both).reshape(-1, 4), np.full(len(both), 0.9)))
        return found


# --- the ways of knowing where to look ----------------------------------------------------------


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("way", ["cohort", "track", "detector"])
def test_every_frame_of_two_unlike_cameras(videos, way) -> None:
    told = []
    inferred = predict_trial(
        Blob(), videos, boxes=Finder() if way == "detector" else way, given=given(), told=told.append
    )
    check_tracks(inferred)
    assert inferred.lost == {}
    assert inferred.frames == sum(told) == 60
    assert inferred.facts["found"] == 100
    assert any("frame rates differ: A 25, B 50" in note for note in inferred.notes)
    for name in videos:
        assert np.isfinite(inferred.boxes[name]).all()
    assert 0 < inferred.seconds.model < inferred.seconds.total
    assert inferred.seconds.decode > 0


def test_given_boxes_are_looked_at_and_nothing_else(videos) -> None:
    model = Blob()
    inferred = predict_trial(model, videos, boxes="cohort", given=given(), batch=7)
    assert sum(model.batches) == 60
    assert model.batches == [7] * 8 + [4]
    np.testing.assert_allclose(inferred.boxes["B"], given()["B"].boxes, atol=0.2)  # its times are rounded
    looked = {tuple(np.round(box, 6)) for box in model.looked}
    both = np.concatenate([inferred.boxes["A"], inferred.boxes["B"]])
    assert looked == {tuple(row) for row in np.round(both, 6)}


def test_a_card_may_ask_for_smaller_batches(videos) -> None:
    model = Blob(limits=blobs.Limits(batch=5))
    predict_trial(model, videos, boxes="cohort", given=given(), batch=32)
    assert max(model.batches) == 5


def test_tracking_batches_the_cameras_and_looks_once_a_frame(videos) -> None:
    model = Blob()
    predict_trial(model, videos, boxes="track")
    # the first frame three times, then 19 of both cameras, then 20 of one
    assert model.batches == [2] * 3 + [2] * 19 + [1] * 20


def test_where_nobody_is_given_the_model_is_not_asked(videos) -> None:
    some = given()
    boxes = some["A"].boxes.copy()
    boxes[8:] = np.nan
    some["A"] = BoxTrack(some["A"].time, boxes, "cohort's boxes")
    model = Blob()
    inferred = predict_trial(model, videos, boxes="cohort", given=some)
    seen = np.isfinite(inferred.tracks["A"].xy).all(axis=(1, 2))
    assert seen[:8].all()
    assert not seen[11:].any()  # a box holds for a tenth of a second, 2.5 frames
    assert (inferred.tracks["A"].confidence[~seen] == 0).all()
    assert sum(model.batches) == 40 + seen.sum()
    assert inferred.facts["found"] == pytest.approx(100 * (40 + seen.sum()) / 60)


def test_a_camera_without_given_boxes_is_lost_alone(videos) -> None:
    inferred = predict_trial(Blob(), videos, boxes="cohort", given=given(["B"]))
    check_tracks(inferred, ("B",))
    assert inferred.lost["A"][:2] == ("no-boxes", "cohort")


def test_a_person_who_leaves_and_returns_is_lost_and_found(tmp_path) -> None:
    gone = range(8, 14)
    path = film(tmp_path / "a.avi", where=lambda k: None if k in gone else (60, 60, 100, 160))
    inferred = predict_trial(Blob(), {"A": path})
    seen = np.isfinite(inferred.tracks["A"].xy).all(axis=(1, 2))
    assert np.flatnonzero(~seen).tolist() == list(gone)
    assert inferred.facts["times lost"] == 1
    assert any("lost the person 1 times, found somebody again 1" in note for note in inferred.notes)


def test_two_who_cross_are_told_apart(tmp_path) -> None:
    def red(k):
        return 20 + 6 * k, 60, 61 + 6 * k, 181

    def green(k):
        return 180 - 6 * k, 20, 211 - 6 * k, 131

    frames = (blobs.draw((240, 240), [(green(k), GREEN), (red(k), RED)]) for k in range(28))
    video.write(tmp_path / "a.avi", frames, rate=25.0, quality=100)
    finder = Finder()
    inferred = predict_trial(Anyone(), {"A": tmp_path / "a.avi"}, boxes=finder)
    assert finder.frames == 28
    want = np.array([corners(red(k)) for k in range(28)])
    np.testing.assert_allclose(inferred.tracks["A"].xy, want, atol=0.6)
    assert inferred.facts["people"] == 2
    assert any("several people" in note for note in inferred.notes)
    assert (inferred.tracks["A"].score == 0.9).all()


class Anyone(Blob):
    """Finds the rectangle that fills the box, red or green: which of them is the box's middle's colour."""

    def predict(self, frames, boxes):
        said = [
            max((Blob(c).predict([f], b[None]) for c in (0, 1)), key=lambda p, b=b: _fill(p.points[0], b))
            for f, b in zip(frames, boxes, strict=True)
        ]
        return Predicted(
            np.concatenate([p.points for p in said]), np.concatenate([p.confidence for p in said])
        )


def _fill(points, box) -> float:
    return 0.0 if np.isnan(points).any() else -float(np.abs(from_points(points) - box).sum())


# --- order, threads, memory ---------------------------------------------------------------------


@pytest.mark.parametrize("way", ["cohort", "track"])
def test_batches_change_nothing_and_neither_does_luck(videos, way) -> None:
    first = predict_trial(Blob(), videos, boxes=way, given=given(), batch=1)
    for batch in (3, 32):
        again = predict_trial(Blob(), videos, boxes=way, given=given(), batch=batch)
        assert again.tracks == first.tracks
        for name in videos:
            np.testing.assert_array_equal(again.boxes[name], first.boxes[name])


def test_batches_are_made_up_alike_however_long_decoding_takes(videos, monkeypatch) -> None:
    def order(delays):
        decode = decoding.video.frames

        def slow(path):
            for item in decode(path):
                time.sleep(delays[Path(path).stem])
                yield item

        monkeypatch.setattr(decoding.video, "frames", slow)
        model = Blob()
        predict_trial(model, videos, boxes="cohort", given=given(), batch=7)
        monkeypatch.setattr(decoding.video, "frames", decode)
        return np.array(model.looked)

    np.testing.assert_array_equal(order({"A": 0.003, "B": 0}), order({"A": 0, "B": 0.003}))


def test_frames_wait_in_bounded_queues(videos, monkeypatch) -> None:
    frame = 160 * 240 * 3
    monkeypatch.setattr(decoding, "MEMORY", 6 * frame)  # three of each camera
    feeds = [decoding.Feed(name, path) for name, path in videos.items()]
    decoding.start(feeds, batch=32)
    try:
        time.sleep(0.3)
        # the first one, three that wait, and one that can't be put away
        assert [feed.decoded for feed in feeds] == [5, 5]
        assert sum(len(taken) for taken in decoding.rounds(feeds)) == 60
        assert [feed.decoded for feed in feeds] == [20, 40]
    finally:
        for feed in feeds:
            feed.close()


def test_decoding_goes_on_while_the_model_computes(videos, monkeypatch) -> None:
    feeds: list[decoding.Feed] = []
    moved = []

    class Slow(Blob):
        def predict(self, frames, boxes):
            before = sum(feed.decoded for feed in feeds)
            time.sleep(0.1)
            moved.append(sum(feed.decoded for feed in feeds) - before)
            return super().predict(frames, boxes)

    decode, start = decoding.video.frames, decoding.start

    def slow(path):
        for item in decode(path):
            time.sleep(0.005)
            yield item

    def keep(some, *, batch):
        feeds.extend(some)
        start(some, batch=batch)

    monkeypatch.setattr(decoding.video, "frames", slow)
    monkeypatch.setattr(decoding, "start", keep)
    predict_trial(Slow(), videos, boxes="cohort", given=given(), batch=16)
    assert moved[0] >= 10


def test_no_thread_is_left_behind_even_by_a_fault(videos) -> None:
    before = threading.active_count()
    with pytest.raises(ModelFault):
        predict_trial(Faulty(lambda p: 1 / 0), videos, boxes="cohort", given=given(), batch=4)
    assert threading.active_count() == before


# --- bad videos ---------------------------------------------------------------------------------


def test_one_corrupt_video_of_five_loses_that_camera_only(videos, tmp_path) -> None:
    (tmp_path / "bad.avi").write_bytes(b"RIFF" + bytes(4000))
    (tmp_path / "empty.mp4").write_bytes(b"")
    five = {**videos, "C": tmp_path / "bad.avi", "D": tmp_path / "empty.mp4", "E": tmp_path / "none.mp4"}
    inferred = predict_trial(Blob(), five)
    check_tracks(inferred)
    assert {name: lost[:2] for name, lost in inferred.lost.items()} == dict.fromkeys(
        "CDE", ("bad-video", "cohort")
    )
    assert "no decoder opens" in inferred.lost["C"].reason


def test_all_lost_is_no_crash(tmp_path) -> None:
    (tmp_path / "bad.avi").write_bytes(bytes(4000))
    inferred = predict_trial(Blob(), {"A": tmp_path / "bad.avi"})
    assert (inferred.tracks, inferred.frames, inferred.facts["found"]) == ({}, 0, 0.0)
    assert set(inferred.lost) == {"A"}


def test_a_video_cut_short_is_noted(videos, tmp_path) -> None:
    whole = videos["B"].read_bytes()
    (tmp_path / "B.avi").write_bytes(whole[: int(0.6 * len(whole))])
    inferred = predict_trial(Blob(), {"A": videos["A"], "B": tmp_path / "B.avi"})
    count = len(inferred.tracks["B"])
    assert 15 < count < 30
    np.testing.assert_allclose(inferred.tracks["B"].xy[: count - 1], truth("B")[: count - 1], atol=0.6)
    assert any("camera B: the container claims 40 frames" in note for note in inferred.notes)
    assert any("unequally long" in note for note in inferred.notes)


def test_a_size_that_changes_midway_loses_the_camera(videos, monkeypatch) -> None:
    decode = decoding.video.frames

    def odd(path):
        for k, (moment, picture) in enumerate(decode(path)):
            yield moment, picture[:100] if k > 6 and Path(path).stem == "A" else picture

    monkeypatch.setattr(decoding.video, "frames", odd)
    inferred = predict_trial(Blob(), videos)
    check_tracks(inferred, ("B",))
    assert (
        "frame 7: Expected frames of one size, got 160 x 240 and then 160 x 100" in inferred.lost["A"].reason
    )


def test_a_decoder_that_throws_loses_the_camera_and_memory_is_the_machine_s(videos, monkeypatch) -> None:
    decode = decoding.video.frames
    for error, lost in ((RuntimeError("broken"), True), (MemoryError(), False)):

        def thrown(path, error=error):
            for k, item in enumerate(decode(path)):
                if k == 9 and Path(path).stem == "A":
                    raise error
                yield item

        monkeypatch.setattr(decoding.video, "frames", thrown)
        if lost:
            inferred = predict_trial(Blob(), videos)
            check_tracks(inferred, ("B",))
            assert "frame 9: The decoder failed: broken" in inferred.lost["A"].reason
        else:
            with pytest.raises(EnvironmentFault, match="memory"):
                predict_trial(Blob(), videos)


def camera(name: str, size) -> Camera:
    matrix = [[200.0, 0, size[0] / 2], [0, 200, size[1] / 2], [0, 0, 1]]
    return Camera(name, matrix, np.eye(3), np.array([0.0, 0, 3]), size)


@pytest.mark.parametrize(
    ("calibrated", "words"),
    [
        ((240, 160), "turned by 90°. Try: turn the video back"),
        ((320, 480), "resized. Try: use the video in the size"),
        ((640, 480), "of another shape"),
    ],
)
def test_pictures_must_have_the_calibrated_size(videos, calibrated, words) -> None:
    cameras = {"A": camera("A", calibrated), "B": camera("B", SIZES["B"])}
    inferred = predict_trial(Blob(), videos, cameras=cameras)
    check_tracks(inferred, ("B",))
    assert inferred.lost["A"][:2] == ("picture-size", "cohort")
    assert words in inferred.lost["A"].reason


def test_an_encoder_s_padding_is_only_noted(videos) -> None:
    inferred = predict_trial(Blob(), videos, cameras={"A": camera("A", (160, 238))})
    check_tracks(inferred)
    assert any("padding" in note for note in inferred.notes)


def test_nobody_in_any_frame_is_a_reason(tmp_path, videos) -> None:
    empty = film(tmp_path / "a.avi", where=lambda k: None)
    inferred = predict_trial(Blob(), {"A": empty, "B": videos["B"]})
    check_tracks(inferred, ("B",))
    assert inferred.lost["A"][:2] == ("nobody", "model")
    inferred = predict_trial(Blob(), {"A": empty}, boxes=Finder())
    assert inferred.lost["A"].kind == "nobody"
    none = {"A": BoxTrack([0.0], [[np.nan] * 4], "cohort's boxes")}
    inferred = predict_trial(Blob(), {"A": empty}, boxes="cohort", given=none)
    assert inferred.lost["A"][:2] == ("no-boxes", "cohort")


def test_one_frame_is_enough(tmp_path) -> None:
    path = film(tmp_path / "a.avi", count=1, where=where_a)
    for way in ("track", Finder()):
        inferred = predict_trial(Blob(), {"A": path}, boxes=way)
        np.testing.assert_allclose(inferred.tracks["A"].xy[0], corners(where_a(0)), atol=0.6)


# --- bad models ---------------------------------------------------------------------------------


class Faulty(Blob):
    """Spoils its answer to the second batch."""

    def __init__(self, spoil) -> None:
        super().__init__()
        self.spoil = spoil

    def predict(self, frames, boxes):
        said = super().predict(frames, boxes)
        return self.spoil(said) if len(self.batches) == 2 else said


def change(points=None, confidence=None, covariance=None):
    """A spoiler that sets one number of the answer's third picture and second point."""

    def spoil(said):
        p, c = said.points.copy(), said.confidence.copy()
        v = None if covariance is None else np.tile(np.eye(2), (*c.shape, 1, 1))
        for array, value in ((p, points), (c, confidence), (v, covariance)):
            if value is not None:
                array[2, 1] = value
        return Predicted(p, c, v)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "kind", "words"),
    [
        (lambda s: Predicted(s.points[:-1], s.confidence), "shape", r"points of shape \(4, 4, 2\)"),
        (lambda s: Predicted(s.points[:, :3], s.confidence), "shape", "points of shape"),
        (lambda s: Predicted(s.points, s.confidence[..., None]), "shape", "confidences of shape"),
        (lambda s: Predicted(s.points, s.confidence, np.ones((4, 4, 2))), "shape", "covariances"),
        (lambda s: None, "shape", "NoneType"),
        (lambda s: (s.points,), "shape", "confidences"),
        (lambda s: Predicted(s.points.astype("U"), s.confidence), "shape", "of <U"),
        (change(points=np.inf), "nan", "beyond"),
        (change(points=-1e30), "nan", "beyond"),
        (change(confidence=np.nan), "nan", "no number"),
        (change(confidence=np.inf), "nan", "no number"),
        (change(confidence=-0.1), "protocol", "below 0"),
        (change(points=np.nan), "nan", "confidence above 0"),
        (change(points=[np.nan, 3]), "nan", "confidence above 0"),
        (change(covariance=-np.eye(2)), "nan", "positive definite"),
        (change(covariance=np.nan), "nan", "positive definite"),
        (lambda s: 1 / 0, "threw", "ZeroDivisionError"),
        (lambda s: (_ for _ in ()).throw(MemoryError()), "memory", "memory"),
    ],
)
def test_bad_answers_are_the_model_s_fault(videos, spoil, kind, words) -> None:
    with pytest.raises(ModelFault, match=words) as caught:
        predict_trial(Faulty(spoil), videos, boxes="cohort", given=given(), batch=4)
    assert caught.value.kind == kind
    assert "camera A, frame" in str(caught.value)
    if kind in ("nan", "protocol"):
        # four a batch from two cameras in turn: the third of the second batch is A's frame 3
        assert "camera A, frame 3, point top_right" in str(caught.value)


def test_missing_points_and_covariances_pass(videos) -> None:
    def spoil(said):
        answer = change(points=np.nan, confidence=0.0, covariance=np.nan)(said)
        return answer

    class Sure(Faulty):
        def predict(self, frames, boxes):
            said = super().predict(frames, boxes)
            if said.covariance is not None:
                return said
            return said._replace(covariance=np.tile(2 * np.eye(2), (*said.confidence.shape, 1, 1)))

    inferred = predict_trial(Sure(spoil), videos, boxes="cohort", given=given(), batch=4)
    track = inferred.tracks["A"]
    assert np.isnan(track.xy[3, 1]).all()
    assert track.confidence[3, 1] == 0
    np.testing.assert_array_equal(track.covariance[0, 0], 2 * np.eye(2))
    assert np.isnan(track.covariance[3, 1]).all()


def test_points_far_outside_are_flagged(videos) -> None:
    inferred = predict_trial(
        Faulty(change(points=[-170.0, 5])), videos, boxes="cohort", given=given(), batch=4
    )
    assert inferred.facts["outside"] == 1
    assert any("1 points lie more than a picture's size outside" in note for note in inferred.notes)


class BadFinder:
    def __init__(self, *answers) -> None:
        self.answers = list(answers)

    def detect(self, frames):
        return self.answers


@pytest.mark.parametrize(
    "answers",
    [
        [],
        [Detected(np.zeros((2, 4)), np.zeros(2))] * 60,
        [Detected(np.full((1, 4), np.nan), np.ones(1))] * 60,
        [Detected(np.array([[0, 0, 5, 5.0]]), np.ones(2))] * 60,
        [Detected(np.ones((1, 5)), np.ones(1))] * 60,
    ],
)
def test_bad_detectors_are_told(videos, answers) -> None:
    with pytest.raises(CapbenchError, match="Expected 60 answers of a detector"):
        predict_trial(Blob(), videos, boxes=BadFinder(*answers), batch=64)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"boxes": "cohort"}, "Expected boxes from the cohort for A, B, got none"),
        ({"boxes": "guess"}, "'cohort', 'track' or a detector"),
        ({"batch": 0}, "batch of at least 1"),
        ({"rate": 0.0}, "rate"),
    ],
)
def test_what_can_t_work_is_refused_first(videos, options, words) -> None:
    model = Blob()
    with pytest.raises(CapbenchError, match=words):
        predict_trial(model, videos, **options)
    assert not model.batches


def test_no_videos_and_models_of_other_kinds_are_refused(videos) -> None:
    with pytest.raises(CapbenchError, match="got none"):
        predict_trial(Blob(), {})
    with pytest.raises(CapbenchError, match="kind motion"):
        predict_trial(Blob(kind="motion"), videos)
    with pytest.raises(CapbenchError, match="calibrated cameras"):
        predict_trial(Blob(kind="keypoints3d"), videos)


# --- 3D -----------------------------------------------------------------------------------------


class InSpace(Blob):
    """The same corners at 2 m from the camera, in metres of its frame."""

    def __init__(self) -> None:
        super().__init__(kind="keypoints3d")

    def predict(self, frames, boxes):
        said = super().predict(frames, boxes)
        middle = np.array([[f.shape[1] / 2, f.shape[0] / 2] for f in frames])[:, None]
        flat = (said.points - middle) / 200
        return Predicted(
            np.concatenate([2 * flat, np.full((*flat.shape[:2], 1), 2.0)], axis=-1), said.confidence
        )


@pytest.mark.truth("closed form")
def test_a_3d_model_s_points_are_kept_and_projected(videos) -> None:
    cameras = {"A": camera("A", SIZES["A"])}
    inferred = predict_trial(InSpace(), videos, boxes="cohort", given=given(), cameras=cameras)
    assert set(inferred.tracks) == {"A"}  # B isn't calibrated
    assert set(inferred.space) == {"A", "B"}
    np.testing.assert_allclose(inferred.tracks["A"].xy, truth("A"), atol=0.6)
    flat = (truth("B") - [120, 80]) / 200 * 2
    np.testing.assert_allclose(inferred.space["B"].xyz[..., :2], flat, atol=0.6 / 100)
    assert (inferred.space["B"].xyz[..., 2] == 2).all()
    followed = predict_trial(InSpace(), {"A": videos["A"]}, cameras=cameras)
    np.testing.assert_allclose(followed.tracks["A"].xy, truth("A"), atol=0.6)


# --- fewer frames, and plans --------------------------------------------------------------------


def test_a_lower_rate_takes_the_nearest_frames_with_their_own_times(videos) -> None:
    inferred = predict_trial(Blob(), videos, boxes="cohort", given=given(), rate=10.0)
    np.testing.assert_array_equal(inferred.tracks["A"].frames, [0, 2, 5, 7, 10, 12, 15, 17])
    np.testing.assert_array_equal(inferred.tracks["B"].frames, np.arange(0, 40, 5))
    np.testing.assert_allclose(inferred.tracks["A"].time, inferred.tracks["A"].frames / 25, atol=1e-3)
    np.testing.assert_allclose(inferred.tracks["A"].xy, truth("A")[inferred.tracks["A"].frames], atol=0.6)


@pytest.mark.truth("brute force")
@pytest.mark.parametrize("rate", [3.0, 10.0, 29.0, 100.0])
def test_thinning_takes_what_is_nearest(rate) -> None:
    rng = np.random.default_rng(6)
    times = np.r_[0, np.cumsum(rng.uniform(0.01, 0.06, 60))]
    got = [f.number for f in thinned(iter([Frame(i, t, None) for i, t in enumerate(times)]), rate)]
    wanted = np.arange(0, times[-1] + 1e-6, 1 / rate)
    assert got == sorted({int(np.abs(times - w).argmin()) for w in wanted})


def test_plans_believe_containers(videos, tmp_path) -> None:
    (tmp_path / "bad.avi").write_bytes(bytes(100))
    three = {**videos, "C": tmp_path / "bad.avi"}
    assert forecast.frame_counts(three) == {"A": 20, "B": 40, "C": 0}
    assert forecast.frame_counts(videos, rate=10.0) == {"A": 8, "B": 8}
    assert forecast.frame_counts(videos, rate=100.0) == {"A": 20, "B": 40}
    assert forecast.hours(7200, 0.5, workers=2) == 0.5


def test_a_short_timing_tells_the_pace() -> None:
    class Slow(Blob):
        def predict(self, frames, boxes):
            time.sleep(0.01 * len(frames))
            return super().predict(frames, boxes)

    assert forecast.seconds_per_frame(Slow(), size=(64, 64), count=8, batch=4) == pytest.approx(0.01, rel=0.5)


# --- a real network, and the benchmark ----------------------------------------------------------


@pytest.fixture(scope="module")
def bench():
    path = Path(__file__).parents[2] / "scripts" / "bench" / "inference.py"
    spec = importlib.util.spec_from_file_location("bench_inference", path)
    module = importlib.util.module_from_spec(spec)
    kept = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = kept
    return module


def test_an_onnx_network_s_answers_do_not_depend_on_its_batch(videos, bench, tmp_path) -> None:
    model = open_model(bench.made_model(tmp_path, depth=1))
    found = [
        predict_trial(model, videos, boxes="cohort", given=given(), batch=batch).tracks
        for batch in (1, 7, 32)
    ]
    for other in found[1:]:
        for name in videos:
            np.testing.assert_allclose(other[name].xy, found[0][name].xy, atol=1e-3)
            np.testing.assert_allclose(other[name].confidence, found[0][name].confidence, atol=1e-5)
    again = predict_trial(model, videos, boxes="cohort", given=given(), batch=7).tracks
    assert again == found[1]
    model.close()


def test_the_benchmark_runs(bench, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["inference.py", "--quick", "--json"])
    bench.main()
    found = json.loads(capsys.readouterr().out)
    assert found["frames"] == 40
    assert found["overhead"] == pytest.approx(found["predict_trial_s"] / found["model_alone_s"] - 1)
    assert 0 < found["decode_alone_s"] < found["naive_s"]
