"""People in pictures: what a detector is, and one from an ONNX file that the user brings.

No detector's weights come with capbench. Exports of the usual families are told apart by the names and shapes
of their inputs and outputs (:data:`LAYOUTS`); non-maximum suppression is done here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from capbench.vision import boxes as box_tools
from cohorts.bounded import MB, read_bytes
from cohorts.errors import CapbenchError, EnvironmentFault, RefusedError, unknown_name
from cohorts.values import FloatArray

Picture = NDArray[np.uint8]  #: (height, width, 3), RGB
FILE_LIMIT = 2048 * MB
LEAST_SCORE = 0.3  #: below, a detection is none
OVERLAP = 0.65  #: two boxes that share more than this (IoU) are one person
MOST = 300  #: boxes of one picture that are looked at
GREY = 114  #: what the rest of a letterbox is filled with


class Detected(NamedTuple):
    """People in one picture, best first: ``boxes`` (m, 4) pixels, ``scores`` (m,) 0 to 1."""

    boxes: FloatArray
    scores: FloatArray


class Detector(Protocol):
    """Finds people."""

    def detect(self, frames: Sequence[Picture]) -> list[Detected]:
        """Everybody in each picture. Same pictures, same answer, whatever else is in the batch."""


def suppress(boxes: FloatArray, scores: FloatArray, *, overlap: float = OVERLAP) -> NDArray[np.int64]:
    """Which of ``boxes`` (n, 4) are left, best first, when each removes those that it mostly covers.

    Greedy non-maximum suppression: a box goes where one of a higher score shares more than ``overlap`` (IoU)
    with it. Of equal scores the earlier one counts as higher.
    """
    order = np.argsort(-scores, kind="stable")[:MOST]
    shared = box_tools.iou(boxes[order][:, None], boxes[order][None]) > overlap
    kept: list[int] = []
    gone = np.zeros(len(order), bool)
    for i in range(len(order)):
        if not gone[i]:
            kept.append(i)
            gone |= shared[i]
    return order[kept]


# --- layouts ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """How a family of exports wants its picture and gives its boxes.

    Attributes
    ----------
    fit : "stretch" the picture to the input, or keep its shape and fill up: "corner" (picture top left) or
        "centre"
    colour : "rgb" or "bgr"
    white : what white becomes: 1 or 255
    people : from the outputs of one picture and the input's (width, height): boxes x0 y0 x1 y1 in pixels of
        the input, and scores, of persons
    """

    fit: Literal["stretch", "corner", "centre"]
    colour: Literal["rgb", "bgr"]
    white: Literal[1, 255]
    people: Callable[[Mapping[str, NDArray[Any]], tuple[int, int], int], tuple[FloatArray, FloatArray]]


Outputs = Mapping[str, NDArray[Any]]
Found = tuple[FloatArray, FloatArray]


def _corners(centred: FloatArray) -> FloatArray:
    """x0 y0 x1 y1 of cx cy w h (n, 4)."""
    half = centred[:, 2:4] / 2
    return np.concatenate([centred[:, :2] - half, centred[:, :2] + half], axis=1)


def _sigmoid(x: FloatArray) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -60, 60))))


def _labelled(out: Outputs, size: tuple[int, int], person: int) -> Found:
    """RT-DETR and D-FINE with their own post-processing: labels, boxes, scores."""
    mine = out["labels"] == person
    return out["boxes"][mine].astype(float), out["scores"][mine].astype(float)


def _queries(out: Outputs, size: tuple[int, int], person: int) -> Found:
    """Transformers' RT-DETR, D-FINE (sigmoid) and DETR (softmax over 91 classes and none)."""
    logits = out["logits"].astype(float)
    if logits.shape[1] in (91, 92):
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        score = (powers / powers.sum(axis=1, keepdims=True))[:, person]
    else:
        score = _sigmoid(logits[:, person])
    return _corners(out["pred_boxes"].astype(float)) * [*size, *size], score


def _dets(out: Outputs, size: tuple[int, int], person: int) -> Found:
    """MMDeploy's exports with suppression inside: dets (n, 5) and labels."""
    mine = out["labels"] == person
    return out["dets"][mine, :4].astype(float), out["dets"][mine, 4].astype(float)


def _rows(out: Outputs) -> FloatArray:
    return np.asarray(next(iter(out.values())), float)


def _cells(size: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    """Of an anchor-free head with strides 8, 16, 32: each cell's (column, row) and its stride."""
    places, strides = [], []
    for stride in (8, 16, 32):
        y, x = np.mgrid[: size[1] // stride, : size[0] // stride]
        places.append(np.stack([x.ravel(), y.ravel()], axis=1))
        strides.append(np.full((x.size, 1), stride))
    return np.concatenate(places).astype(float), np.concatenate(strides).astype(float)


def _yolox(out: Outputs, size: tuple[int, int], person: int) -> Found:
    """YOLOX: offsets to cells and logarithms of sides, unless the export decoded them."""
    rows = _rows(out)
    if np.median(np.abs(rows[:, :2])) < 16:  # decoded centres lie all over the picture, offsets within cells
        cells, strides = _cells(size)
        with np.errstate(over="ignore"):
            sides = np.exp(rows[:, 2:4]) * strides
        rows = np.concatenate([(rows[:, :2] + cells) * strides, sides, rows[:, 4:]], axis=1)
    return _corners(rows), rows[:, 4] * rows[:, 5 + person]


def _yolo_objectness(out: Outputs, size: tuple[int, int], person: int) -> Found:
    """YOLOv5 and v7: centres, sides, objectness, classes."""
    rows = _rows(out)
    return _corners(rows), rows[:, 4] * rows[:, 5 + person]


def _yolo_channels(out: Outputs, size: tuple[int, int], person: int) -> Found:
    """YOLOv8 and later: the same without objectness, channels first."""
    rows = _rows(out).T
    return _corners(rows), rows[:, 4 + person]


def _yolo_ended(out: Outputs, size: tuple[int, int], person: int) -> Found:
    """End-to-end YOLO: corners, score, class."""
    rows = _rows(out)
    mine = rows[:, 5] == person
    return rows[mine, :4], rows[mine, 4]


LAYOUTS: Mapping[str, Layout] = {
    "rtdetr": Layout("stretch", "rgb", 1, _labelled),
    "rtdetr-hf": Layout("stretch", "rgb", 1, _queries),
    "mmdeploy-yolox": Layout("corner", "bgr", 255, _dets),
    "yolox": Layout("corner", "bgr", 255, _yolox),
    "yolov5": Layout("centre", "rgb", 1, _yolo_objectness),
    "yolov8": Layout("centre", "rgb", 1, _yolo_channels),
    "yolo-end2end": Layout("centre", "rgb", 1, _yolo_ended),
}
Shape = Sequence[int | str | None]


def told(outputs: Mapping[str, Shape], size: tuple[int, int]) -> str | None:
    """The name of the layout with such output names and shapes (batch first), or None.

    ``size`` is the input's (width, height).
    """
    names = set(outputs)
    if {"labels", "boxes", "scores"} <= names:
        return "rtdetr"
    if {"logits", "pred_boxes"} <= names:
        return "rtdetr-hf"
    if {"dets", "labels"} <= names:
        return "mmdeploy-yolox"
    shape = [n if isinstance(n, int) else None for n in next(iter(outputs.values()), ())]
    if len(shape) != 3 or (shape[2] is None and shape[1] is None):
        return None
    cells = len(_cells(size)[0])
    rows, columns = shape[1], shape[2]
    if columns == 6 and rows != cells:
        return "yolo-end2end"
    if rows is not None and rows > 4 and columns in (cells, None):
        return "yolov8"
    if columns is None or columns < 6:
        return None
    return {cells: "yolox", 3 * cells: "yolov5"}.get(rows or 0)


# --- the ONNX detector --------------------------------------------------------------------------


class OnnxDetector:
    """A detector from an ONNX file. Pictures go through it one at a time, so a batch changes nothing."""

    def __init__(
        self,
        path: str | Path,
        *,
        layout: str | None = None,
        person: int | None = None,
        size: tuple[int, int] | None = None,
        least: float = LEAST_SCORE,
        overlap: float = OVERLAP,
        threads: int = 1,
    ) -> None:
        """Open the file at ``path``.

        Parameters
        ----------
        layout : one of :data:`LAYOUTS`; by default told by names and shapes of the outputs
        person : the number of the class; by default 1 for DETR's 91 classes, else 0
        size : (width, height) of the input, where the file leaves it open; by default 640 x 640
        least : score below which a detection is none
        overlap : IoU above which two boxes are one person
        threads : of the runtime; more don't change the answer by more than rounding
        """
        self.path = Path(path)
        self._session = _opened(self.path, threads)
        picture, self._extra = _inputs(self._session, self.path)
        self._input, self._type = picture.name, np.float16 if "float16" in picture.type else np.float32
        self.size = _input_size(picture.shape, size, self.path)
        outputs = {o.name: o.shape for o in self._session.get_outputs()}
        name = layout or told(outputs, self.size)
        if name is None:
            shapes = ", ".join(f"{key} {list(shape)}" for key, shape in outputs.items())
            raise CapbenchError(
                f"Expected the outputs of a known family of detectors, got {shapes}.",
                file=self.path,
                fix=f"say which it is with layout, one of {', '.join(LAYOUTS)}",
            )
        if name not in LAYOUTS:
            raise unknown_name("layout", name, LAYOUTS)
        self.layout = name
        classes = outputs["logits"][-1] if "logits" in outputs else None
        self._person = person if person is not None else 1 if classes in (91, 92) else 0
        self._least, self._overlap = least, overlap

    def detect(self, frames: Sequence[Picture]) -> list[Detected]:
        """Everybody in each picture (h, w, 3) uint8 RGB."""
        return [self._one(frame) for frame in frames]

    def _one(self, frame: Picture) -> Detected:
        layout = LAYOUTS[self.layout]
        picture, (sx, sy, dx, dy) = _fitted(frame, self.size, layout.fit)
        if layout.colour == "bgr":
            picture = picture[..., ::-1]
        batch = (picture.transpose(2, 0, 1)[None] / (255 / layout.white)).astype(self._type)
        feeds: dict[str, Any] = {self._input: np.ascontiguousarray(batch)}
        if self._extra is not None:  # RT-DETR scales its boxes itself: to the input, as the others do
            feeds[self._extra.name] = np.array([self.size], np.int64)
        names = [o.name for o in self._session.get_outputs()]
        try:
            answers = self._session.run(names, feeds)
            found, scores = layout.people(
                {name: np.asarray(a)[0] for name, a in zip(names, answers, strict=True)},
                self.size,
                self._person,
            )
            if found.shape != (len(scores), 4) or scores.ndim != 1:
                raise ValueError(f"boxes of shape {found.shape}, scores of shape {scores.shape}")
        except Exception as error:  # onnxruntime's own types, and numpy's where shapes are others
            raise CapbenchError(
                f"The detector failed: {str(error).splitlines()[0][:200]}.",
                file=self.path,
                fix=f"is it of layout {self.layout}? Say which with layout",
            ) from error
        good = np.isfinite(found).all(axis=1) & (scores >= self._least)
        found, scores = found[good], scores[good]
        kept = suppress(found, scores, overlap=self._overlap)
        # corners are edges of pixels, counted from the picture's own edge; ours from the first pixel's centre
        boxes = (found[kept] - [dx, dy, dx, dy]) / [sx, sy, sx, sy] - 0.5
        boxes = box_tools.clip(boxes, (frame.shape[1], frame.shape[0]))
        there = np.isfinite(boxes).all(axis=1)
        return Detected(boxes[there], scores[kept][there])


def _opened(path: Path, threads: int) -> Any:
    content = read_bytes(path, FILE_LIMIT)
    # tensors kept in other files would be sought by name from wherever we are, out of any folder
    if b"\n\x08location\x12" in content:
        raise RefusedError(
            "Expected a detector in one file, got one that keeps its weights in others.",
            file=path,
            fix="save it again with its weights inside: onnx.save_model(onnx.load(A), B)",
        )
    try:
        import onnxruntime
    except ImportError as error:
        raise EnvironmentFault(
            f"Running a detector needs ONNX Runtime, which can't be imported ({error}).",
            fix="pip install 'onnxruntime>=1.20'",
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base but this
        raise CapbenchError(
            f"Expected an ONNX model, got: {str(error).splitlines()[0][:200]}.", file=path
        ) from None


def _inputs(session: Any, path: Path) -> tuple[Any, Any]:
    """The input that takes the picture (n, 3, h, w), and RT-DETR's original sizes (n, 2) or None."""
    inputs = session.get_inputs()
    pictures = [i for i in inputs if len(i.shape) == 4 and "float" in i.type]
    others = [i for i in inputs if i not in pictures]
    if len(pictures) != 1 or len(others) > 1 or (others and len(others[0].shape) != 2):
        have = ", ".join(f"{i.name} {i.shape} {i.type}" for i in inputs)
        raise CapbenchError(
            f"Expected a detector with one picture (n, 3, h, w) of floats as input, got {have}.", file=path
        )
    return pictures[0], others[0] if others else None


def _input_size(shape: Shape, asked: tuple[int, int] | None, path: Path) -> tuple[int, int]:
    fixed = [n if isinstance(n, int) and n > 0 else None for n in shape[2:]]
    height, width = fixed
    if fixed == [None, None]:
        width, height = asked or (640, 640)
    if width is None or height is None or not (32 <= width <= 4096 and 32 <= height <= 4096):
        raise CapbenchError(f"Expected an input of 32 to 4096 pixels a side, got {list(shape)}.", file=path)
    if asked is not None and asked != (width, height):
        raise CapbenchError(f"Expected size {(width, height)} as the file has it, got {asked}.", file=path)
    return width, height


def _fitted(
    frame: Picture, size: tuple[int, int], fit: Literal["stretch", "corner", "centre"]
) -> tuple[Picture, tuple[float, float, float, float]]:
    """The picture at the input's size; scale x, y and shift x, y from picture to input, between edges."""
    import cv2

    height, width = frame.shape[:2]
    if fit == "stretch":
        return cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR).astype(np.uint8), (
            size[0] / width,
            size[1] / height,
            0.0,
            0.0,
        )
    scale = min(size[0] / width, size[1] / height)
    inner = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2) if fit == "centre" else (0, 0)
    canvas = np.full((size[1], size[0], 3), GREY, np.uint8)
    canvas[top : top + inner[1], left : left + inner[0]] = cv2.resize(
        frame, inner, interpolation=cv2.INTER_LINEAR
    )
    return canvas, (inner[0] / width, inner[1] / height, float(left), float(top))
