"""Detectors from made-up ONNX graphs: boxes planted in the graph, and one that really looks at its input."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from capbench.vision import boxes as box_tools
from capbench.vision import detector
from capbench.vision.detector import OnnxDetector, suppress
from cohorts.errors import CapbenchError, RefusedError

SIDE = 64
CELLS = 84  # 8² + 4² + 2²
#: two people and a dog in a picture of 128 x 96: x0 y0 x1 y1, between edges of pixels
PEOPLE = np.array([[10.0, 20, 50, 90], [70, 16, 100, 92]])
DOG = np.array([[60.0, 60, 120, 90]])
SCORES = np.array([0.9, 0.6])
FRAME = np.full((96, 128, 3), 90, np.uint8)


def graph(path, outputs, *, name="images", shape=(1, 3, SIDE, SIDE), sizes=None, kind=TensorProto.FLOAT):
    """A model whose outputs are constants, the input used by a zero that is added to the first."""
    nodes, constants, infos = [], [], []
    for output, value in outputs.items():
        integers = value.dtype.kind == "i"
        constants.append(numpy_helper.from_array(value, f"c.{output}"))
        nodes.append(helper.make_node("Identity", [f"c.{output}"], [output]))
        infos.append(
            helper.make_tensor_value_info(
                output, TensorProto.INT64 if integers else TensorProto.FLOAT, value.shape
            )
        )
    inputs = [helper.make_tensor_value_info(name, kind, shape)]
    if sizes:
        inputs.append(helper.make_tensor_value_info(sizes, TensorProto.INT64, (1, 2)))
    save(path, helper.make_graph(nodes, "g", inputs, infos, constants))
    return path


def save(path, made):
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save_model(model, path)


def stretched(boxes):
    """In the 64 x 64 input that all of the picture fills."""
    return boxes * [0.5, 2 / 3, 0.5, 2 / 3]


def boxed(boxes, fit):
    """In the 64 x 64 input: the picture becomes 64 x 48, at the top or in the middle."""
    return boxes / 2 + ([0, 0, 0, 0] if fit == "corner" else [0, 8, 0, 8])


def centred(boxes):
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)


def logit(p):
    return np.log(p / (1 - p))


EVERYBODY = np.concatenate([PEOPLE, DOG])
CLASSES = 5
CLASS = np.array([0, 0, 3])
CONFIDENCE = np.array([0.9, 0.6, 0.95])


def one_hot():
    table = np.full((3, CLASSES), 0.01)
    table[np.arange(3), CLASS] = CONFIDENCE
    return table


def f32(values):
    return np.asarray(values, np.float32)[None]


def rtdetr():
    return {"labels": CLASS[None], "boxes": f32(stretched(EVERYBODY)), "scores": f32(CONFIDENCE)}


def rtdetr_hf():
    return {"logits": f32(logit(one_hot())), "pred_boxes": f32(centred(stretched(EVERYBODY)) / SIDE)}


def detr():
    """Softmax over 91 classes and none; a person is class 1."""
    chances = np.full((3, 92), 1e-6)
    chances[np.arange(3), [1, 1, 18]] = CONFIDENCE
    chances[:, 91] = 1 - chances[:, :91].sum(axis=1)
    return {"logits": f32(np.log(chances) + 3), "pred_boxes": f32(centred(stretched(EVERYBODY)) / SIDE)}


def mmdeploy():
    rows = np.concatenate([boxed(EVERYBODY, "corner"), CONFIDENCE[:, None]], axis=1)
    return {"dets": f32(rows), "labels": CLASS[None]}


def everywhere(columns, rows=CELLS):
    """Rows of no confidence, as heads have one for each cell, centres all over the picture."""
    table = np.zeros((rows, columns))
    table[:, :2] = np.random.default_rng(0).uniform(0, SIDE, (rows, 2))
    table[:, 2:4] = 5
    return table


def yolox(decoded=True):
    table = everywhere(5 + CLASSES)
    table[[3, 40, 80], :4] = centred(boxed(EVERYBODY, "corner"))
    table[[3, 40, 80], 4] = 0.98
    table[[3, 40, 80], 5:] = one_hot() / 0.98
    if not decoded:
        cells = np.concatenate(
            [np.stack(np.meshgrid(range(n), range(n)), -1).reshape(-1, 2) for n in (8, 4, 2)]
        )
        stride = np.repeat([8, 16, 32], [64, 16, 4])[:, None]
        table[:, :2] = table[:, :2] / stride - cells
        table[:, 2:4] = np.log(table[:, 2:4] / stride)
    return {"output": f32(table)}


def yolov5():
    table = everywhere(5 + CLASSES, 3 * CELLS)
    table[[3, 40, 200], :4] = centred(boxed(EVERYBODY, "centre"))
    table[[3, 40, 200], 4] = 0.98
    table[[3, 40, 200], 5:] = one_hot() / 0.98
    return {"output": f32(table)}


def yolov8():
    table = everywhere(4 + CLASSES)
    table[[3, 40, 80], :4] = centred(boxed(EVERYBODY, "centre"))
    table[[3, 40, 80], 4:] = one_hot()
    return {"output0": f32(table.T)}


def yolo_ended():
    rows = np.concatenate([boxed(EVERYBODY, "centre"), CONFIDENCE[:, None], CLASS[:, None]], axis=1)
    return {"output0": f32(np.concatenate([rows, np.zeros((47, 6))]))}


@pytest.mark.truth("planted boxes")
@pytest.mark.parametrize(
    ("made", "layout", "options"),
    [
        (rtdetr, "rtdetr", {"sizes": "orig_target_sizes"}),
        (rtdetr_hf, "rtdetr-hf", {"name": "pixel_values"}),
        (detr, "rtdetr-hf", {"name": "pixel_values"}),
        (mmdeploy, "mmdeploy-yolox", {"name": "input"}),
        (yolox, "yolox", {}),
        (lambda: yolox(decoded=False), "yolox", {}),
        (yolov5, "yolov5", {}),
        (yolov8, "yolov8", {}),
        (yolo_ended, "yolo-end2end", {}),
    ],
)
def test_planted_people_come_back_and_dogs_do_not(tmp_path, made, layout, options) -> None:
    found = OnnxDetector(graph(tmp_path / "d.onnx", made(), **options))
    assert found.layout == layout
    (first, second) = found.detect([FRAME, FRAME])
    # ours count from the centre of the first pixel, a detector's from its edge
    np.testing.assert_allclose(first.boxes, PEOPLE - 0.5, atol=1e-3)
    np.testing.assert_allclose(first.scores, SCORES, atol=1e-3)
    np.testing.assert_array_equal(first.boxes, second.boxes)
    assert len(OnnxDetector(tmp_path / "d.onnx", least=0.7).detect([FRAME])[0].boxes) == 1
    dogs = OnnxDetector(tmp_path / "d.onnx", person=18 if made is detr else 3).detect([FRAME])[0]
    np.testing.assert_allclose(dogs.boxes, DOG - 0.5, atol=1e-3)


def looking(path, *, side=SIDE, dynamic=False):
    """End-to-end YOLO output with one box: score = the mean of the input's first channel, and its middle."""
    shape = ["n", 3, "h", "w"] if dynamic else [1, 3, side, side]
    template = np.array([[[8, 8, 40, 40, 0, 0]]], np.float32)
    where = np.array([[[0, 0, 0, 0, 1, 0]]], np.float32)
    nodes = [
        helper.make_node("Slice", ["images", "s", "e", "axis"], ["first"]),
        helper.make_node("ReduceMean", ["first"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Reshape", ["mean", "shape"], ["score"]),
        helper.make_node("Mul", ["score", "where"], ["placed"]),
        helper.make_node("Add", ["placed", "template"], ["output0"]),
    ]
    constants = [
        numpy_helper.from_array(template, "template"),
        numpy_helper.from_array(where, "where"),
        *(
            numpy_helper.from_array(np.array(v, np.int64), n)
            for n, v in (("s", [0]), ("e", [1]), ("axis", [1]), ("shape", [1, 1, 1]))
        ),
    ]
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 1, 6])],
        constants,
    )
    save(path, made)
    return path


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("layout", "red"),
    [
        # the picture covers three quarters of a letterbox, grey the rest
        ("yolo-end2end", 0.75 * 200 / 255 + 0.25 * 114 / 255),
        ("stretch", 200 / 255),
        ("bgr", 0.75 * 40 + 0.25 * 114),
    ],
)
def test_what_the_network_sees(tmp_path, layout, red, monkeypatch) -> None:
    ended = detector.LAYOUTS["yolo-end2end"]
    stretch = detector.Layout("stretch", "rgb", 1, ended.people)
    bgr = detector.Layout("corner", "bgr", 255, ended.people)
    layouts = {"yolo-end2end": ended, "stretch": stretch, "bgr": bgr}
    monkeypatch.setattr(detector, "LAYOUTS", layouts)
    picture = np.empty((96, 128, 3), np.uint8)
    picture[:] = (200, 30, 40)
    found = OnnxDetector(looking(tmp_path / "d.onnx"), layout=layout, least=0.0)
    assert found.detect([picture])[0].scores == pytest.approx([red], rel=1e-5)


def test_an_open_size_is_640_or_as_asked(tmp_path) -> None:
    path = looking(tmp_path / "d.onnx", dynamic=True)
    assert OnnxDetector(path).size == (640, 640)
    found = OnnxDetector(path, size=(96, 64), least=0.0)
    assert found.size == (96, 64)
    # 128 x 96 in 96 x 64: by 2/3, so 85 x 64 with 5 to the left; the box is 8 8 40 40
    box = found.detect([FRAME])[0].boxes[0]
    np.testing.assert_allclose(box, np.array([3 * 128 / 85, 12, 35 * 128 / 85, 60]) - 0.5, atol=1e-6)
    with pytest.raises(CapbenchError, match="as the file has it"):
        OnnxDetector(looking(tmp_path / "fixed.onnx"), size=(96, 64))
    with pytest.raises(CapbenchError, match="32 to 4096"):
        OnnxDetector(path, size=(96, 100_000))


def test_boxes_stay_in_the_picture(tmp_path) -> None:
    rows = np.zeros((1, 50, 6), np.float32)
    rows[0, :2, :5] = [[-20, 0, 30, 30, 0.9], [100, 100, 140, 140, 0.8]]
    found = OnnxDetector(graph(tmp_path / "d.onnx", {"output0": rows})).detect([FRAME])[0]
    np.testing.assert_allclose(found.boxes, [[-0.5, -0.5, 59.5, 43.5]])  # the other is in the grey
    rows[0, 0, 0] = np.nan
    found = OnnxDetector(graph(tmp_path / "d.onnx", {"output0": rows})).detect([FRAME])[0]
    assert found.boxes.shape == (0, 4)


@pytest.mark.truth("brute force")
def test_suppression_keeps_the_best_of_each_heap() -> None:
    rng = np.random.default_rng(3)
    low = rng.uniform(0, 60, (150, 2))
    some = np.concatenate([low, low + rng.uniform(10, 40, (150, 2))], axis=1)
    score = rng.uniform(0, 1, 150).round(1)  # with equals
    left = sorted(range(150), key=lambda i: (-score[i], i))
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [i for i in left if box_tools.iou(some[i], some[best]) <= 0.5]
    np.testing.assert_array_equal(suppress(some, score, overlap=0.5), kept)
    assert len(suppress(np.zeros((0, 4)), np.zeros(0))) == 0


def test_two_close_people_are_left_two_copies_become_one(tmp_path) -> None:
    rows = np.zeros((1, 50, 6), np.float32)
    rows[0, :3, :5] = [[10, 10, 30, 50, 0.7], [11, 10, 31, 50, 0.9], [20, 10, 40, 50, 0.8]]
    found = OnnxDetector(graph(tmp_path / "d.onnx", {"output0": rows})).detect([FRAME])[0]
    np.testing.assert_allclose(found.scores, [0.9, 0.8])


# --- what is refused ----------------------------------------------------------------------------


def test_outputs_of_no_known_family_are_listed(tmp_path) -> None:
    path = graph(tmp_path / "d.onnx", {"heat": np.zeros((1, 17, 64, 48), np.float32)})
    with pytest.raises(CapbenchError, match=r"heat \[1, 17, 64, 48\].*one of rtdetr"):
        OnnxDetector(path)
    with pytest.raises(CapbenchError, match="Did you mean 'yolox'"):
        OnnxDetector(path, layout="yolo-x")
    with pytest.raises(CapbenchError, match=r"The detector failed.*layout yolov5"):
        OnnxDetector(path, layout="yolov5").detect([FRAME])


def test_weights_in_other_files_are_refused(tmp_path) -> None:
    made = graph(tmp_path / "d.onnx", {"output0": np.zeros((1, 300, 6), np.float32)})
    model = onnx.load(made)
    onnx.save_model(
        model, tmp_path / "e.onnx", save_as_external_data=True, location="w.bin", size_threshold=10
    )
    with pytest.raises(RefusedError, match="in one file"):
        OnnxDetector(tmp_path / "e.onnx")


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x09" * 50])
def test_what_is_no_model_is_said(tmp_path, content) -> None:
    (tmp_path / "d.onnx").write_bytes(content)
    with pytest.raises(CapbenchError, match="Expected"):
        OnnxDetector(tmp_path / "d.onnx")


def test_inputs_that_are_no_pictures_are_listed(tmp_path) -> None:
    path = graph(tmp_path / "d.onnx", {"output0": np.zeros((1, 50, 6), np.float32)}, shape=(1, 64))
    with pytest.raises(CapbenchError, match=r"images \[1, 64\]"):
        OnnxDetector(path)


@pytest.mark.parametrize(
    ("shape", "want"),
    [
        ((1, 8400, 85), "yolox"),
        (("n", 8400, 85), "yolox"),
        ((1, 25200, 85), "yolov5"),
        ((1, 84, 8400), "yolov8"),
        ((1, 300, 6), "yolo-end2end"),
        ((1, "m", 6), "yolo-end2end"),
        ((1, 84, "anchors"), "yolov8"),
        ((1, 8400, 6), "yolox"),
        ((1, 1000, 85), None),
        (("a", "b", "c"), None),
        ((1, 10), None),
    ],
)
def test_families_are_told_by_shape(shape, want) -> None:
    assert detector.told({"out": shape}, (640, 640)) == want
    assert detector.told({}, (640, 640)) is None
