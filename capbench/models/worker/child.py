"""The Python end of the worker's protocol (see the package's docstring), whatever model is behind it.

Run by path, as ``python child.py KIND``, by any Python from 3.8 on that has numpy: it imports nothing of
capbench, and takes care that the model can't either, by accident: a submission's own ``metrics.py`` or
``cohorts/`` would otherwise meet ours. Copy this file alone into a container to serve a class from there:
``python child.py python``.

What the model prints goes to standard error: the protocol moves to descriptors that only this file knows.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import inspect
import json
import math
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

try:
    import numpy as np
except ImportError:  # said in the protocol's own words, which need none: see main
    np = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    #: what a model is once it is ready: frames and boxes in; points, confidence and perhaps covariance out
    Predict = Callable[[Any, np.ndarray[Any, Any]], Any]

HERE = Path(__file__).resolve().parent
PROTOCOL = 1
DTYPES = {"uint8": "|u1", "float32": "<f4", "float64": "<f8"}
OURS = ("capbench", "cohorts", "metrics", "synthpose")  #: our top-level packages, hidden from a model
ANSWER = ("points", "confidence", "covariance")
#: what torch, ONNX Runtime and C++ say when memory runs out
OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "bad_alloc", "Failed to allocate memory")


class Missing(Exception):
    """Something isn't there on this machine; ``fix`` says what to do."""

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(what)
        self.fix = fix


class Unfit(Exception):
    """The model's answer is none."""


# --- messages -----------------------------------------------------------------------------------


def pack(header: dict[str, Any], arrays: Sequence[tuple[str, Any]] = ()) -> list[Any]:
    """A message as buffers to be written one after the other; (name, array) pairs follow the header."""
    named = [(name, np.ascontiguousarray(array)) for name, array in arrays]
    listed = [{"name": n, "dtype": a.dtype.name, "shape": list(a.shape)} for n, a in named]
    text = json.dumps({**header, "arrays": listed} if listed else header).encode()
    return [
        len(text).to_bytes(4, "little") + text,
        *(a.reshape(-1).view("u1").data for _, a in named if a.size),
    ]


def receive(stream: BinaryIO) -> tuple[dict[str, Any], list[tuple[str, Any]]] | None:
    """The next request and its arrays; None at the end of the input."""
    start = stream.read(4)
    if len(start) < 4:
        return None
    header = json.loads(stream.read(int.from_bytes(start, "little")))
    listed = header.pop("arrays", [])
    sizes = [np.dtype(DTYPES[entry["dtype"]]).itemsize * math.prod(entry["shape"]) for entry in listed]
    data = bytearray(sum(sizes))  # one buffer, so that frames of one size are one array without a copy
    if stream.readinto(data) != len(data):  # type: ignore[attr-defined]  # a BufferedReader has it
        return None
    arrays, at = [], 0
    for entry in listed:
        dtype, count = np.dtype(DTYPES[entry["dtype"]]), math.prod(entry["shape"])
        array: Any = np.frombuffer(data, dtype, count, at) if count else np.empty(0, dtype)
        arrays.append((entry["name"], array.reshape(entry["shape"])))
        at += dtype.itemsize * count
    return header, arrays


def send(stream: BinaryIO, header: dict[str, Any], arrays: Sequence[tuple[str, Any]] = ()) -> None:
    """Write one answer."""
    for part in pack(header, arrays):
        stream.write(part)
    stream.flush()


def take_over() -> tuple[BinaryIO, BinaryIO]:
    """The protocol's two ends; from now on standard input is empty and output goes to standard error."""
    source, target = os.dup(0), os.dup(1)  # not handed on to programs that the model starts
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return os.fdopen(source, "rb"), os.fdopen(target, "wb")


# --- the loop -----------------------------------------------------------------------------------


def serve(source: BinaryIO, target: BinaryIO, load: Callable[[dict[str, Any]], tuple[str, Predict]]) -> None:
    """Answer requests until there are no more."""
    born = os.getpid()
    predict: Predict | None = None
    while True:
        message = receive(source)
        if message is None or message[0]["do"] == "bye":
            return
        request, arrays = message
        call = request.get("call", 0)
        try:
            if request["do"] == "hello":
                name, predict = load(request)
                answer, out = {"said": "hello", "protocol": PROTOCOL, "name": name, "points": None}, []
            else:
                assert predict is not None
                boxes, frames = arrays[0][1], [frame for _, frame in arrays[1:]]
                out = outcome(predict(together(frames), boxes))
                answer = {"said": "predicted"}
        except BaseException as error:  # the model may raise anything, SystemExit included
            if not isinstance(error, (Missing, Unfit)):  # these say all themselves
                traceback.print_exc()
            answer, out = failure(error), []
        if os.getpid() != born:
            os._exit(70)  # a fork of the model's came back here: it must not answer a second time
        sys.stdout.flush()
        send(target, {**answer, "call": call}, out)


def together(frames: list[Any]) -> Any:
    """Frames of one size as one array (n, h, w, 3) where they lie together in memory; otherwise the list."""
    if not frames or any(frame.shape != frames[0].shape for frame in frames):
        return frames
    first = frames[0]
    start, size = first.ctypes.data, first.nbytes
    if all(frame.ctypes.data == start + i * size for i, frame in enumerate(frames)):
        return np.lib.stride_tricks.as_strided(first, (len(frames), *first.shape), (size, *first.strides))
    return np.stack(frames)


def outcome(answer: Any) -> list[tuple[str, Any]]:
    """A model's answer as arrays to send: (points, confidence) or (points, confidence, covariance)."""
    if not isinstance(answer, (tuple, list)) or not 2 <= len(answer) <= 3:
        shown = f"{len(answer)} things" if isinstance(answer, (tuple, list)) else type(answer).__name__
        raise Unfit(f"expected (keypoints, confidences) or these and covariances, got {shown}")
    arrays = []
    for i, value in enumerate(answer):
        name = ANSWER[i]
        if value is None and name == "covariance":
            continue
        if hasattr(value, "detach"):  # a torch tensor, perhaps on the GPU
            value = value.detach().cpu().numpy()
        try:
            arrays.append((name, np.asarray(value, dtype="<f8")))
        except (TypeError, ValueError) as error:
            found = f"{type(value).__name__}: {error}"
            raise Unfit(f"expected {name} as an array of numbers, got {found}") from None
    return arrays


def failure(error: BaseException) -> dict[str, Any]:
    """An exception as an answer: what was thrown, where in the model, and what kind of thing it is."""
    text = str(error) or "no message"
    what = text if isinstance(error, (Missing, Unfit)) else f"{type(error).__name__}: {text}"
    said = {"said": "error", "what": what[:2000], "cause": "model", "fix": "", "where": ""}
    theirs = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).parent != HERE]
    if theirs:
        said["where"] = f"{Path(theirs[-1].filename).name}, line {theirs[-1].lineno}"
    if isinstance(error, Missing):
        said.update(cause="environment", fix=error.fix, where="")
    elif isinstance(error, Unfit):
        said.update(cause="shape", where="")
    elif isinstance(error, MemoryError) or any(sign in text for sign in OUT_OF_MEMORY):
        said["cause"] = "memory"
    elif isinstance(error, ModuleNotFoundError) and error.name and error.name.split(".")[0] not in OURS:
        said.update(cause="environment", fix=f"install {error.name.split('.')[0]} for {sys.executable}")
    return said


# --- a class in a submission's folder -----------------------------------------------------------


class OwnFirst:
    """Finds top-level modules that bear the name of one of ours in the submission's folder, or not at all.

    Being first on ``sys.path`` is not enough: a folder without ``__init__.py`` gives way to any package of
    its name farther on.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """See :class:`importlib.abc.MetaPathFinder`."""
        if name not in OURS:
            return None
        found = importlib.machinery.PathFinder.find_spec(name, [self.folder])
        if found is None:
            raise ModuleNotFoundError(f"No module named {name!r} in the model's folder", name=name)
        return found


def load_python(request: dict[str, Any]) -> tuple[str, Predict]:
    """The object that ``entry`` ("module:Class" or "file.py:Class") of a folder makes."""
    folder, entry = request["model"]["folder"], request["model"]["entry"]
    sys.path.insert(0, folder)
    sys.meta_path.insert(0, OwnFirst(folder))
    place, _, name = entry.partition(":")
    module: Any
    if not place.endswith(".py"):
        module = importlib.import_module(place)
    elif "/" not in place:  # an ordinary module of the folder
        module = importlib.import_module(place[: -len(".py")])
    else:
        module = from_file(Path(folder, place), Path(place).stem)
    maker = module
    for part in name.split("."):
        maker = getattr(maker, part)
    known = {"device": request.get("device", "cpu"), "folder": folder, "points": request["points"]}
    model = maker(**{key: value for key, value in known.items() if takes(maker, key)})
    if not callable(getattr(model, "predict", None)):
        raise TypeError(f"{entry} has no method predict(frames, boxes)")
    return str(getattr(model, "name", entry))[:200], model.predict


def takes(maker: Any, name: str) -> bool:
    """Whether ``maker`` names such a parameter."""
    try:
        return name in inspect.signature(maker).parameters
    except (TypeError, ValueError):  # made in C
        return False


def from_file(path: Path, name: str) -> Any:
    """The module in a file, under ``name``."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def main(kind: str) -> None:
    """Serve a model of ``kind``: "python", or a file KIND_child.py beside this one that has ``load``."""
    if Path(sys.path[0]).resolve() == HERE:
        del sys.path[0]  # a model's "import host" must not find a file of ours
    source, target = take_over()
    if np is None:
        fix = f"{sys.executable} -m pip install numpy"
        what = f"{sys.executable} has no numpy"
        return send(target, {"said": "error", "what": what, "cause": "environment", "fix": fix})
    if kind == "python":
        return serve(source, target, load_python)
    sys.modules["capbench_child"] = sys.modules[__name__]  # so that "Missing" is the same class there
    serve(source, target, from_file(HERE / f"{kind}_child.py", f"capbench_{kind}").load)


if __name__ == "__main__":
    main(sys.argv[1])
