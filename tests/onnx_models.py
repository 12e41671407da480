"""ONNX networks whose answers are known in closed form, and the pictures they answer.

Point k is the soft blob of colour k % 3 (red, green, blue): a Gaussian in the picture stays one through the
network's own Gaussian blur, and its peak is where it was drawn.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

BLUR = 2.0  #: the network's own sigma, pixels of the crop


def blobs(spots, size, sigma=8.0, height=240.0):
    """(h, w, 3) RGB picture with a blob of each colour at ``spots`` (3, 2), pixels."""
    w, h = size
    x, y = np.arange(w), np.arange(h)[:, None]
    layers = [height * np.exp(-((x - sx) ** 2 + (y - sy) ** 2) / (2 * sigma**2)) for sx, sy in spots]
    return np.rint(np.stack(layers, axis=-1)).astype(np.uint8)


def _blur_weights(k):
    taps = np.exp(-0.5 * (np.arange(-6, 7) / BLUR) ** 2)
    taps /= taps.sum()
    weights = np.zeros((k, 3, 13, 13), dtype=np.float32)
    for i in range(k):
        weights[i, i % 3] = taps[:, None] * taps
    return weights


def _saved(path, nodes, outputs, weights, *, batch, size, external=None, extra=()):
    w, h = size
    graph = helper.make_graph(
        nodes,
        "blobs",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 3, h, w])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(weights, "weights"), *extra],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if external is None:
        onnx.save(model, str(path))
    else:
        onnx.save(
            model, str(path), save_as_external_data=True, all_tensors_to_one_file=True, location=external,
            size_threshold=0,
        )  # fmt: skip
    return Path(path)


def heatmap_net(path, *, size=(96, 128), points=3, batch="n", external=None, name="heatmaps"):
    """Cell i is centred on pixel 4 i of the crop: (n, points, h / 4, w / 4) maps."""
    nodes = [
        helper.make_node(
            "Conv", ["input", "weights"], [name], kernel_shape=[13, 13], pads=[6] * 4, strides=[4, 4]
        )
    ]
    return _saved(path, nodes, [name], _blur_weights(points), batch=batch, size=size, external=external)


def simcc_net(path, *, size=(96, 128), points=3, batch="n", names=("simcc_x", "simcc_y")):
    """One bin a pixel: the highest value of each column and of each row."""
    nodes = [
        helper.make_node("Conv", ["input", "weights"], ["maps"], kernel_shape=[13, 13], pads=[6] * 4),
        helper.make_node("ReduceMax", ["maps"], [names[0]], axes=[2], keepdims=0),
        helper.make_node("ReduceMax", ["maps"], [names[1]], axes=[3], keepdims=0),
    ]
    return _saved(path, nodes, list(names), _blur_weights(points), batch=batch, size=size)
