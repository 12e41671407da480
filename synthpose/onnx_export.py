"""A network of ours as one ONNX file: any batch, no other files, nothing of the machine that wrote it.

Needs torch, onnx and onnxscript (``pip install 'capbench[export]'``); to run the file, onnxruntime is enough.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cohorts.bounded import replacing
from cohorts.errors import CapbenchError, EnvironmentFault

if TYPE_CHECKING:
    from capbench.models.nets.pose import PoseNet

INPUT = "picture"
BATCH = "batch"  #: name of the free axis
LARGEST_BATCH = 4096
LARGEST_HALF = 65504.0  #: of float16
#: tensors with fewer values stay float32: biases and norms weigh nothing and count most
SMALL = 1024


def outputs_of(net: PoseNet) -> tuple[str, ...]:
    """What the outputs are called: as :mod:`capbench.models.topdown` calls them."""
    return ("heatmaps",) if net.architecture.head.bins is None else ("simcc_x", "simcc_y")


def write_onnx(path: Path, net: PoseNet, *, half: bool = False, overwrite: bool = False) -> None:
    """Write ``net`` (float32, on the CPU, in evaluation mode) to ``path``; the same weights, the same bytes.

    With ``half`` the weights are stored as float16 and computed with as float32: half the file, and the
    answers of the rounded weights.
    """
    onnx = need_onnx()
    program = _program(net)
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw.onnx"
        program.save(str(raw))
        model = onnx.load(str(raw))
    stripped(model)
    if half:
        halved(model)
    onnx.checker.check_model(model, full_check=True)
    with replacing(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def need_onnx() -> Any:
    """The package onnx, or what to install."""
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise EnvironmentFault(
            f"Expected onnx and onnxscript to write ONNX with, got: {error}.",
            fix="pip install 'capbench[export]'",
        ) from None
    return onnx


def _program(net: PoseNet) -> Any:
    import torch

    width, height = net.architecture.input_size
    example = torch.zeros(2, 3, height, width)
    free = torch.export.Dim(BATCH, min=1, max=LARGEST_BATCH)
    with quiet():
        program = torch.onnx.export(
            net,
            (example,),
            dynamo=True,
            input_names=[INPUT],
            output_names=list(outputs_of(net)),
            dynamic_shapes=({0: free},),
            external_data=False,
            verbose=False,
        )
    assert program is not None
    return program


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Exporters and quantisers write a page about themselves each time, and warn that others are newer."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "root", "onnxscript")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            Path(os.devnull).open("w") as nowhere,
            contextlib.redirect_stdout(nowhere),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def stripped(model: Any) -> None:
    """Take out of an ONNX model what only its maker needs: stack traces with paths, scopes, doc strings."""
    del model.metadata_props[:]
    model.doc_string = ""
    graph = model.graph
    del graph.metadata_props[:]
    del graph.value_info[:]
    graph.doc_string, graph.name = "", "pose"
    for part in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""


def halved(model: Any) -> None:
    """Store the large float tensors of an ONNX model as float16, each behind a cast back to float32."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or int(np.prod(tensor.dims)) < SMALL:
            continue
        values = numpy_helper.to_array(tensor)
        if np.abs(values).max() > LARGEST_HALF:
            raise CapbenchError(
                f"Expected weights that float16 can hold, got {np.abs(values).max():.3g} in {tensor.name}.",
                fix="export it in float32",
            )
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(
            helper.make_node("Cast", [f"{name}.half"], [name], name=f"{name}.cast", to=TensorProto.FLOAT)
        )
    for node in reversed(casts):
        model.graph.node.insert(0, node)


# --- eight bits -------------------------------------------------------------------------------------


class _Batches:
    """What the quantiser asks for pictures; its own base class only asks for ``get_next``."""

    def __init__(self, batch: NDArray[np.float32]) -> None:
        self._left = list(range(len(batch)))
        self._batch = batch

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """One picture as a feed, or None at the end."""
        if not self._left:
            return None
        at = self._left.pop(0)
        return {INPUT: self._batch[at : at + 1]}


def write_int8(path: Path, source: Path, batch: NDArray[np.float32], *, overwrite: bool = False) -> None:
    """Quantise the ONNX file ``source`` (float32) to eight bits by the ranges that ``batch`` shows.

    Weights a channel at a time, activations by their range over ``batch`` (n, 3, h, w). The last layer stays
    as it is: a map of 256 steps would say less well where its peak is.
    """
    onnx = need_onnx()
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    CalibrationDataReader.register(_Batches)
    model = onnx.load(str(source))
    outputs = {output.name for output in model.graph.output}
    last = [node.name for node in model.graph.node if outputs & set(node.output)]
    with tempfile.TemporaryDirectory() as folder, quiet():
        made = Path(folder) / "made.onnx"
        quantize_static(
            str(source),
            str(made),
            _Batches(batch),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=last,
        )
        found = onnx.load(str(made))
    stripped(found)
    onnx.checker.check_model(found)
    with replacing(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(found.SerializeToString(deterministic=True))
