"""From what a person types to a model: names, folders, files, hubs, and what other packages bring.

What runs a model is an adapter: a module with ``open(card, folder, *, device, …) -> Predictor`` and, where
it has names of its own, ``find(rest) -> (card, folder)``. Ours are looked up by a card's ``route`` and
imported only then. Another package adds its own through an entry point of the group ``capbench.models``,
whose name is what stands before the colon of a specification.
"""

from __future__ import annotations

import inspect
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from capbench.models.card import FILE_NAME, ModelCard, fingerprint, read_card, verify
from capbench.models.predictor import Predictor
from cohorts.card import leads_out
from cohorts.errors import CapbenchError, RefusedError, unknown_name

BUILTIN = Path(__file__).parent / "builtin"
GROUP = "capbench.models"  #: of entry points
PREFIX = "capbench:"
#: models that are no network: the run makes their answers from the cohort itself
SOURCES: Mapping[str, str] = {
    "noisy-truth": "the cohort's true landmarks, projected, with declared pixel noise: a self-test, no model"
}
#: what is evaluated unless something else is asked for: the first of these that this installation holds
DEFAULTS = ("mini-52", "noisy-truth")
#: endings of files of weights
WEIGHTS = (".onnx", ".pth", ".safetensors", ".pt", ".torchscript")


@dataclass(frozen=True)
class Adapter:
    """What runs the models of a route: ``open(card, folder, *, device, …)`` in a module of ``adapters``.

    ``danger`` says what could happen if the model's files are not to be trusted; then leave must be given.
    """

    module: str
    danger: str = ""


ADAPTERS: Mapping[str, Adapter] = {
    "onnx": Adapter("onnx"),
    "hf": Adapter("hf"),
    "torch": Adapter("torch_native"),
    "torchscript": Adapter("torchscript", "a TorchScript file holds a program, which runs in this process"),
    "python": Adapter("python", "its Python code can do whatever you can on this machine"),
    "command": Adapter("command", "its program can do whatever you can on this machine"),
    "mediapipe": Adapter("mediapipe"),
    "mmpose": Adapter("mmpose", "an MMPose config is a Python program, which runs"),
}


@dataclass(frozen=True)
class Found:
    """A model that is known but not running.

    Attributes
    ----------
    spec : what was typed
    card : what it is
    folder : where its files lie; None for those that have none
    adapter : another package's, or None for ours
    """

    spec: str
    card: ModelCard
    folder: Path | None
    adapter: Any = None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that its answers follow from."""
        return fingerprint(self.card, self.folder)

    def check(self, *, device: str = "cpu", trust: bool = False) -> None:
        """Refuse what can't be started, or needs leave, before anything is."""
        if self.card.route == "predictions":
            raise CapbenchError(
                f"Expected a model that runs, got the predictions of {self.card.name}.",
                file=self.folder,
                fix=f"capbench score {self.spec}",
            )
        danger = ADAPTERS[self.card.route].danger if self.adapter is None else ""  # installed: trusted
        if danger and not trust:
            raise RefusedError(
                f"Expected leave to run {self.card.name}, got none: {danger}.",
                file=self.folder,
                fix="read it, then give --trust",
            )
        kind = device.partition(":")[0]
        if kind not in self.card.devices:
            known = ", ".join(self.card.devices)
            raise CapbenchError(
                f"Expected a device that {self.card.name} can run on ({known}), got {device}."
            )
        if self.folder is not None:
            verify(self.card, self.folder)

    def open(
        self,
        *,
        device: str = "cpu",
        trust: bool = False,
        python: str | None = None,
        threads: int | None = None,
    ) -> Predictor:
        """Start it, once its files are those of its card; see :func:`open_model`."""
        self.check(device=device, trust=trust)
        opener = (self.adapter or adapter_module(self.card.route)).open
        options = {"device": device, "trust": trust, "python": python, "threads": threads}
        made: Predictor = opener(self.card, self.folder or Path(), **_taken(opener, options))
        return made


def open_model(
    spec: str | os.PathLike[str],
    *,
    device: str = "cpu",
    trust: bool = False,
    python: str | None = None,
    threads: int | None = None,
) -> Predictor:
    """The model that ``spec`` names, ready to run; see :func:`find_model`.

    Parameters
    ----------
    device : cpu, cuda or cuda:N
    trust : leave to run code that the model brings
    python : the interpreter for models that run in a process of their own
    threads : within one operator; one thread gives the same bytes on every machine of a kind
    """
    return find_model(spec).open(device=device, trust=trust, python=python, threads=threads)


def find_model(spec: str | os.PathLike[str]) -> Found:
    """The card and the folder of the model that ``spec`` names; nothing of it runs yet.

    ``capbench:NAME``; a folder with ``model.yaml``, or with Hugging Face's ``config.json``; a file of weights
    (.onnx, .pth, .safetensors, .pt) with its card beside it or, where it tells enough, without;
    ``hf:ORG/NAME``; ``mediapipe``; ``mmpose:CONFIG:CHECKPOINT``; what another package brings.
    """
    text = os.fspath(spec)
    path = Path(text)
    if path.is_dir():
        return Found(text, *_in_folder(path))
    if path.is_file():
        return Found(text, *_of_file(path))
    if text.startswith(PREFIX):
        return Found(text, *_builtin(text.removeprefix(PREFIX)))
    route, _, rest = text.partition(":")
    if (route in ("hf", "mmpose") and rest) or text == "mediapipe":
        return Found(text, *adapter_module(route).find(rest))
    if (foreign := _foreign(route)) is not None:
        card, folder = foreign.find(rest)
        return Found(text, card, folder, foreign)
    if text.endswith(WEIGHTS) or os.sep in text:
        raise CapbenchError("Expected a model's folder or file, got nothing of that name.", file=path)
    error = unknown_name("model", text, model_names())
    error.fix = (
        f"a folder with {FILE_NAME}, an .onnx file, hf:ORG/NAME, mmpose:CONFIG:CHECKPOINT, or one of "
        + ", ".join(model_names())
    )
    raise error


def model_names() -> tuple[str, ...]:
    """What can be named without a file: built-in models and sources, and other packages' kinds."""
    own = [path.parent.name for path in BUILTIN.glob(f"*/{FILE_NAME}")]
    builtin = [PREFIX + name for name in sorted({*own, *SOURCES})]
    return (*builtin, "mediapipe", *sorted(_entry_points()))


def default_model() -> str:
    """What to evaluate unless something else is asked for: the model that comes along, or the self-test."""
    here = model_names()
    return next(PREFIX + name for name in DEFAULTS if PREFIX + name in here)


def is_builtin_source(spec: str | os.PathLike[str]) -> bool:
    """Whether ``spec`` is no network but answers that the run makes from the cohort itself."""
    return os.fspath(spec).startswith(PREFIX) and os.fspath(spec).removeprefix(PREFIX) in SOURCES


def adapter_module(route: str) -> ModuleType:
    """The module that runs the models of ``route``, imported only now."""
    if route not in ADAPTERS:
        raise unknown_name("route", route, ADAPTERS)
    return import_module(f"capbench.models.adapters.{ADAPTERS[route].module}")


# --- finding ------------------------------------------------------------------------------------


def _in_folder(folder: Path) -> tuple[ModelCard, Path]:
    if (folder / FILE_NAME).is_file():
        return read_card(folder), folder
    if (folder / "config.json").is_file():
        found: ModelCard | None = adapter_module("hf").card_of(folder)
        if found is not None:
            return found, folder
    loose = sorted(path.name for path in folder.iterdir() if path.name.endswith(WEIGHTS))
    raise CapbenchError(
        f"Expected a model's folder, one with {FILE_NAME} or with config.json, got neither.",
        file=folder,
        fix=f"capbench models init {folder / loose[0]}"
        if loose
        else f"capbench models init --help; for predictions made elsewhere: capbench score {folder}",
    )


def _of_file(path: Path) -> tuple[ModelCard, Path]:
    folder = path.parent
    if path.name == FILE_NAME:
        return read_card(path), folder
    ending = next((ending for ending in WEIGHTS if path.name.lower().endswith(ending)), None)
    if ending is None:
        raise CapbenchError(
            f"Expected a model: a folder, or a file ending in one of {' '.join(WEIGHTS)}, got {path.name!r}.",
            file=path,
            fix=f"for predictions made elsewhere: capbench score {path}",
        )
    for beside in (path.with_suffix(".yaml"), folder / FILE_NAME):
        if beside.is_file():
            card = read_card(beside)
            if card.weights == path.name:
                return card, folder
    if ending == ".onnx":
        return adapter_module("onnx").card_of(path), folder
    if not is_torchscript(path):
        return adapter_module("torch").card_of(path), folder
    raise CapbenchError(
        f"Expected a card beside {path.name} that says what it is, got none.",
        file=path,
        fix=f"write one: capbench models init {path}",
    )


def _builtin(name: str) -> tuple[ModelCard, Path]:
    if name in SOURCES:
        raise CapbenchError(f"Expected a model, got {PREFIX}{name}: {SOURCES[name]}.")
    folder = BUILTIN / name
    if not leads_out(name) and (folder / FILE_NAME).is_file():
        return read_card(folder), folder
    raise unknown_name("model", PREFIX + name, model_names())


def is_torchscript(path: Path) -> bool:
    """Whether a file of weights is a TorchScript archive: a zip that holds code."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False  # whatever it is: its reader says so


# --- what other packages bring ------------------------------------------------------------------


def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _foreign(name: str) -> Any:
    """Another package's adapter of that name, or None."""
    point = _entry_points().get(name)
    if point is None:
        return None
    try:
        return point.load()
    except Exception as error:  # whatever that package throws
        raise CapbenchError(
            f"Expected the package that brings {name!r} to load, got {type(error).__name__}: {error}",
            place=point.value,
        ) from error


def _taken(function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``options`` that ``function`` has a parameter for."""
    parameters = inspect.signature(function).parameters
    return {name: value for name, value in options.items() if name in parameters}
