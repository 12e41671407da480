"""The host's end of the worker's protocol: starts a child, asks it, and says in one word what went wrong.

Everything that comes back is foreign: the header is bounded before it is read, its shapes are compared with
what was asked for before a byte of them is, and every wait has an end. After any fault but an exception that
the child itself reported, the child is ended; the next question starts another.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from capbench.models.card import Limits, ModelCard
from capbench.models.faults import FaultKind, ModelFault
from capbench.models.predictor import Picture, Predicted
from capbench.models.worker import keeper
from capbench.models.worker.child import ANSWER, DTYPES, PROTOCOL, pack
from cohorts.bounded import MB
from cohorts.errors import CapbenchError, EnvironmentFault
from cohorts.values import FloatArray

HEADER_LIMIT = 1 * MB
TAIL = 64 * 1024  #: bytes of the child's standard error that are kept
GRACE = 3.0  #: seconds a child is given to end by itself after "bye"
#: what a child's environment keeps of ours: no tokens, no proxies, no paths of Python's
KEPT = ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "TZ", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")
_PIPE = 1 * MB  # twenty times as many bytes a system call as by default; a frame is several megabytes


@dataclass(frozen=True)
class Launch:
    """How a worker is started.

    Attributes
    ----------
    command : the program and its arguments
    folder : where it runs; None: in its own empty HOME
    model : what "hello" tells it of the model
    needs : who installs what is missing, for messages, such as "capbench models install mmpose"
    """

    command: tuple[str, ...]
    folder: Path | None = None
    model: Mapping[str, Any] = field(default_factory=dict)
    needs: str = ""


class Worker:
    """A :class:`~capbench.models.predictor.Predictor` whose model lives in a child process.

    The child starts with the first question. One question at a time: threads wait for one another.
    """

    def __init__(
        self, card: ModelCard, launch: Launch, *, device: str = "cpu", threads: int | None = None
    ) -> None:
        self._card = card
        self._launch = launch
        self._device = device
        self._environment = _environment(threads or 1)
        self._names = card.points.points
        self._dimensions = 3 if card.kind == "keypoints3d" else 2
        self._child: _Child | None = None
        self._calls = 0
        self._closed = False
        self._turn = threading.Lock()

    @property
    def card(self) -> ModelCard:
        """What it is."""
        return self._card

    def predict(self, frames: Sequence[Picture], boxes: FloatArray) -> Predicted:
        """See :class:`~capbench.models.predictor.Predictor`; raises :class:`ModelFault` when it fails."""
        boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        if len(frames) != len(boxes):
            raise CapbenchError(f"Expected a box for each of {len(frames)} pictures, got {len(boxes)}.")
        most = self._card.limits.batch
        parts = []
        with self._turn:
            for at in range(0, max(len(frames), 1), most):
                parts.append(self._ask(frames[at : at + most], boxes[at : at + most]))
        return parts[0] if len(parts) == 1 else _joined(parts)

    def start(self) -> str:
        """Start the child now rather than with the first question; the name that it gives itself."""
        with self._turn:
            return self._ready().calls_itself

    def close(self) -> None:
        """End the child."""
        with self._turn:
            self._closed = True
            if self._child is not None:
                self._child.end(politely=True)
                self._child = None

    def _ask(self, frames: Sequence[Picture], boxes: FloatArray) -> Predicted:
        child = self._ready()
        self._calls += 1
        arrays = [("boxes", boxes), *(("frame", _checked_picture(frame)) for frame in frames)]
        request = pack({"do": "predict", "call": self._calls}, arrays)
        try:
            header = child.exchange(request, self._card.limits.answer)
            return self._predicted(child, header, len(boxes))
        except ModelFault as fault:
            if not (fault.kind == "threw" and child.alive):
                child.end()
                self._child = None
            raise
        except BaseException:  # an interrupt in the middle of an answer: what comes next is not one
            child.end()
            self._child = None
            raise

    def _ready(self) -> _Child:
        if self._closed:
            raise CapbenchError(f"Expected an open model, got {self._card.name} after it was closed.")
        if self._child is not None:
            return self._child
        limits = self._card.limits
        child = _Child(self._card.name, self._launch, limits, self._environment, self._device)
        hello = {
            "do": "hello",
            "protocol": PROTOCOL,
            "points": list(self._names),
            "dimensions": self._dimensions,
            "device": self._device,
            "model": dict(self._launch.model),
        }
        try:
            header = child.exchange(pack(hello), limits.start, starting=True)
            if header.get("said") != "hello" or header.get("protocol") != PROTOCOL:
                child.fault("protocol", f"answered 'hello' with {_shown(header)}")
            points = header.get("points")
            if points is not None and points != len(self._names):
                child.fault("shape", f"says it gives {points} points; its card names {len(self._names)}")
        except BaseException:
            child.end()
            raise
        child.calls_itself = str(header.get("name") or "")[:200]
        self._child = child
        return child

    def _predicted(self, child: _Child, header: dict[str, Any], n: int) -> Predicted:
        if header.get("said") != "predicted" or header.get("call") != self._calls:
            child.fault("protocol", f"answered question {self._calls} with {_shown(header)}")
        k, d = len(self._names), self._dimensions
        shapes = {"points": (n, k, d), "confidence": (n, k), "covariance": (n, k, 2, 2)}
        arrays = child.arrays(header, {name: shapes[name] for name in ANSWER})
        if not {"points", "confidence"} <= arrays.keys():
            child.fault("shape", f"expected points and confidence, got {', '.join(arrays) or 'nothing'}")
        points, confidence = arrays["points"], arrays["confidence"]
        if not (np.isfinite(confidence).all() and (confidence >= 0).all()):
            child.fault("nan", "gave confidences that are not numbers from 0 on")
        if np.isinf(points).any():
            child.fault("nan", "gave infinite points")
        missing = np.isnan(points).any(axis=2)
        points[missing], confidence[missing] = np.nan, 0
        return Predicted(points, confidence, arrays.get("covariance"))


def _joined(parts: Sequence[Predicted]) -> Predicted:
    some = [part.covariance for part in parts]
    every = np.concatenate([c for c in some if c is not None]) if all(c is not None for c in some) else None
    return Predicted(
        np.concatenate([part.points for part in parts]),
        np.concatenate([part.confidence for part in parts]),
        every,
    )


def _checked_picture(frame: Picture) -> Picture:
    frame = np.asarray(frame)
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise CapbenchError(f"Expected pictures (h, w, 3) of uint8, got {frame.shape} of {frame.dtype}.")
    return frame


def _shown(header: Mapping[str, Any]) -> str:
    return json.dumps(header)[:200]


# --- one process --------------------------------------------------------------------------------


class _Child:
    """One child with its keeper and its three pipes."""

    def __init__(
        self, name: str, launch: Launch, limits: Limits, environment: Mapping[str, str], device: str
    ) -> None:
        self.name = name
        self.calls_itself = ""
        self._launch = launch
        self._limits = limits
        memory = int(limits.memory * MB)
        report, told = os.pipe()
        numbers = [os.getpid(), memory, memory if device == "cpu" else 0, told]
        command = [sys.executable, "-I", "-S", keeper.__file__, *map(str, numbers)]
        try:
            self._keeper = subprocess.Popen(
                [*command, *launch.command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=launch.folder or "/",
                env=environment,
                pass_fds=(told,),
                start_new_session=True,
            )
        except OSError as error:
            os.close(report)
            raise EnvironmentFault(f"Can't start {name}'s process: {error.strerror}.") from error
        finally:
            os.close(told)
        self._report = report
        self._to, self._from = cast(IO[bytes], self._keeper.stdin), cast(IO[bytes], self._keeper.stdout)
        for stream in (self._to, self._from):
            os.set_blocking(stream.fileno(), False)
            with suppress(OSError):  # more than this user may have
                fcntl.fcntl(stream.fileno(), fcntl.F_SETPIPE_SZ, _PIPE)
        self._tail = bytearray()
        errors = cast(IO[bytes], self._keeper.stderr)
        self._drain = threading.Thread(target=_keep_tail, args=(errors, self._tail), daemon=True)
        self._drain.start()
        self._ended: dict[str, Any] | None = None
        self._finish = weakref.finalize(self, _end, self._keeper)

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._ended is None and self._keeper.poll() is None

    def exchange(self, request: list[Any], seconds: float, *, starting: bool = False) -> dict[str, Any]:
        """Ask, and read the header of the answer; an "error" becomes the fault or error that it is."""
        deadline = time.monotonic() + seconds
        late = "was not ready" if starting else "gave no answer"
        self._late = f"{late} within {seconds:g} s"
        self._deadline = deadline
        for part in request:
            if not self._write(memoryview(part)):
                break  # it speaks before it has heard all, or is gone: its answer says which
        size = int.from_bytes(self._read(4), "little")
        if not 2 <= size <= HEADER_LIMIT:
            self.fault("protocol", f"began an answer with a header of {size} bytes; did it print to it?")
        header = self._parsed(bytes(self._read(size)))
        if header.get("said") == "error":
            self._reported(header, starting)
        return header

    def arrays(
        self, header: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
    ) -> dict[str, NDArray[np.float64]]:
        """The arrays that follow a header, as float64; each must have one of the names and its shape."""
        listed = header.get("arrays")
        if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
            self.fault("protocol", "listed no arrays in its answer")
        for entry in listed:
            name, dtype, shape = entry.get("name"), entry.get("dtype"), entry.get("shape")
            if name not in shapes or dtype not in ("float32", "float64"):
                self.fault("shape", f"gave an array {str(name)[:40]!r} of {str(dtype)[:40]}")
            if shape != list(shapes[name]):
                self.fault("shape", f"gave {name} of shape {str(shape)[:60]}; expected {list(shapes[name])}")
        if len({entry["name"] for entry in listed}) != len(listed):
            self.fault("protocol", "gave an array twice")
        found = {}
        for entry in listed:
            dtype, shape = np.dtype(DTYPES[entry["dtype"]]), shapes[entry["name"]]
            data = self._read(dtype.itemsize * math.prod(shape))
            found[entry["name"]] = np.frombuffer(data, dtype).reshape(shape).astype(np.float64)
        return found

    # --- pipes ---

    def _wait(self, *, writing: bool) -> set[int]:
        """The pipes that can go on (write end only if ``writing``); a fault when time is up."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._from, selectors.EVENT_READ)
            if writing:
                selector.register(self._to, selectors.EVENT_WRITE)
            ready = selector.select(max(0.0, self._deadline - time.monotonic()))
        if not ready:
            self.fault("hung", self._late)
        return {key.fd for key, _ in ready}

    def _write(self, data: memoryview) -> bool:
        """Write all of ``data``; False as soon as the child answers or is gone."""
        while len(data):
            try:
                data = data[os.write(self._to.fileno(), data) :]
            except BlockingIOError:
                if self._from.fileno() in self._wait(writing=True):
                    return False
            except BrokenPipeError:
                return False
        return True

    def _read(self, size: int) -> bytearray:
        """The next ``size`` bytes of an answer."""
        data = bytearray(size)
        view, at = memoryview(data), 0
        while at < size:
            try:
                got = os.readv(self._from.fileno(), [view[at:]])
            except BlockingIOError:
                self._wait(writing=False)
                continue
            if got == 0:
                self._gone()
            at += got
        return data

    def _parsed(self, text: bytes) -> dict[str, Any]:
        try:
            header = json.loads(text)
        except (ValueError, RecursionError):
            header = None
        if not isinstance(header, dict):
            self.fault("protocol", f"answered with {text[:60]!r}; did it print to its standard output?")
        return header

    # --- what went wrong ---

    def fault(self, kind: FaultKind, what: str, *, fix: str | None = None) -> NoReturn:
        """The fault ``kind``, after the child has been ended, with its last words."""
        if kind != "threw":
            self.end()
        raise ModelFault(f"{self.name} {what}.{self._last_words()}", kind=kind, fix=fix)

    def _reported(self, header: Mapping[str, Any], starting: bool) -> NoReturn:
        """What the child itself says went wrong."""
        what, fix = (str(header.get(key) or "")[:2000] for key in ("what", "fix"))
        where = f" ({str(header['where'])[:200]})" if header.get("where") else ""
        when = " while it got ready" if starting else ""
        cause = header.get("cause")
        if cause == "environment":
            ways = dict.fromkeys(filter(None, [fix, self._launch.needs]))
            raise EnvironmentFault(f"{self.name} can't run here: {what}.", fix=", or ".join(ways))
        if cause == "memory":
            self.fault("memory", f"took more memory than {self._limits.memory:g} MB{when}: {what}{where}")
        if cause == "shape":
            self.fault("shape", f"{'can not be used' if starting else 'gave no usable answer'}: {what}")
        raise ModelFault(f"{self.name} threw {what}{where}{when}.", kind="threw")

    def _gone(self) -> NoReturn:
        """The fault of a child that closed its output: how did it end?"""
        ended = self._how_it_ended(GRACE)
        if ended is None:
            self.fault("protocol", "closed its output and went on")
        if ended.get("ended") == "unstarted":
            raise EnvironmentFault(
                f"Can't start {self.name}: {ended.get('why')}.",
                fix=self._launch.needs or None,
            )
        if ended.get("ended") == "unknown":
            raise EnvironmentFault(
                f"The process that keeps {self.name} ended: it was killed, or memory ran out."
            )
        if ended.get("ended") == "memory":
            used = int(ended["bytes"]) / MB
            self.fault("memory", f"took {used:.0f} MB of memory; its limit is {self._limits.memory:g} MB")
        if ended.get("ended") == "signal":
            number = int(ended["number"])
            name = signal.Signals(number).name if number in list(signal.Signals) else str(number)
            more = ", perhaps by the system for want of memory" if name == "SIGKILL" else ""
            self.fault("died", f"was ended by {name}{more}")
        self.fault("died", f"left with exit status {ended.get('code', 'unknown')} in the middle of its work")

    def _how_it_ended(self, seconds: float) -> dict[str, Any] | None:
        """The keeper's report, or None where the child still runs after ``seconds``."""
        if self._ended is None:
            try:
                self._keeper.wait(seconds)
            except subprocess.TimeoutExpired:
                return None
            line, _, _ = os.read(self._report, 4096).partition(b"\n")
            self._ended = json.loads(line) if line else {"ended": "unknown"}
        return self._ended

    def _last_words(self) -> str:
        """The last lines that the child printed, for a message."""
        self._drain.join(0.5)
        lines = [line.strip() for line in bytes(self._tail).decode("utf-8", "replace").splitlines()]
        said = [line for line in lines if line][-3:]
        return f" It printed last: {' | '.join(said)[-500:]}" if said else ""

    def end(self, *, politely: bool = False) -> None:
        """End the process and all that it started."""
        if politely and self.alive:
            with suppress(OSError):
                os.write(self._to.fileno(), pack({"do": "bye"})[0])
            with suppress(OSError):
                self._to.close()
            with suppress(subprocess.TimeoutExpired):
                self._keeper.wait(GRACE)
        self._finish()
        self._how_it_ended(0)
        with suppress(OSError):
            self._to.close()
        self._from.close()
        if self._report >= 0:
            os.close(self._report)
            self._report = -1


def _end(process: subprocess.Popen[bytes]) -> None:
    """Have a keeper end all that it keeps; end it by force where it does not."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()  # the model dies with it
            process.wait()


def _keep_tail(stream: IO[bytes], tail: bytearray) -> None:
    """Read all that a child prints, and keep the end of it."""
    with stream:
        while data := stream.read1(4096):  # type: ignore[attr-defined]  # a BufferedReader has it
            tail += data
            del tail[:-TAIL]


def _environment(threads: int) -> dict[str, str]:
    """A child's environment; the keeper adds HOME and TMPDIR."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    libraries = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {
        **kept,
        **dict.fromkeys(libraries, str(threads)),
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",  # nothing is added to a submission's folder
        "PYTHONHASHSEED": "0",  # same input, same output
        "PYTHONNOUSERSITE": "1",
        "PYTHONUNBUFFERED": "1",
    }
