"""Every file format a biomechanics or pose lab owns: what each holds, how it is told, read and written.

One module per format. A module offers

- ``read(path, *, notes=None, **options) -> noun`` (a tuple of nouns for keypoints and cameras);
  oddities that did not stop it are appended to ``notes``, in words;
- ``write(path, noun, *, overwrite=False, **options)`` where writing makes sense;
- ``recognise(content) -> bool`` where several formats share a container (JSON, npz, pickle, TOML, YAML,
  XML): ``content`` is the container as parsed by :mod:`cohorts.bounded`.

The table ``FORMATS`` is the one place that lists them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from cohorts.errors import CapbenchError, unknown_name

Holds = Literal["keypoints", "markers", "motion", "signals", "cameras", "body", "video", "document"]
Container = Literal["json", "npz", "pickle", "toml", "yaml", "xml"]


@dataclass(frozen=True)
class Format:
    """One row of the table of formats.

    Attributes
    ----------
    name : what ``--format`` takes
    title : what it is, in a phrase
    suffixes : file endings, longest first; "/" stands for a folder
    holds : what nouns it can carry
    module : where its reader and writer live, below ``cohorts.formats``
    writes : which of ``holds`` it can write
    container : the shared container it is told apart in, or None
    has_time : False where files only count frames, so that a rate must come from elsewhere
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    holds: tuple[Holds, ...]
    module: str
    writes: tuple[Holds, ...] = ()
    container: Container | None = None
    has_time: bool = True

    def load(self) -> ModuleType:
        """The module, imported only now."""
        return import_module(f"cohorts.formats.{self.module}")


FORMATS: dict[str, Format] = {
    f.name: f
    for f in (
        Format("trc", "marker tracks (TRC)", (".trc",), ("markers",), "trc", ("markers",)),
        Format(
            "storage",
            "OpenSim motion or storage",
            (".mot", ".sto"),
            ("motion", "signals"),
            "storage",
            ("motion", "signals"),
        ),
        Format("c3d", "C3D marker tracks", (".c3d",), ("markers",), "c3d", ("markers",)),
        Format(
            "csv",
            "table with units in its header",
            (".csv",),
            ("motion", "signals", "markers"),
            "csv_table",
            ("motion", "signals", "markers"),
        ),
        Format(
            "parquet",
            "the same table as Parquet",
            (".parquet",),
            ("motion", "signals", "markers"),
            "parquet_table",
            ("motion", "signals", "markers"),
        ),
        Format(
            "npz",
            "capbench arrays",
            (".npz",),
            ("keypoints", "markers", "motion"),
            "native_npz",
            ("keypoints", "markers", "motion"),
            "npz",
        ),
        Format(
            "smpl",
            "SMPL, SMPL+H, SMPL-X or MANO parameters (AMASS keys)",
            (".npz",),
            ("body",),
            "smpl_npz",
            ("body",),
            "npz",
        ),
        Format(
            "coco",
            "COCO keypoint results",
            (".json",),
            ("keypoints",),
            "coco_results",
            ("keypoints",),
            "json",
            has_time=False,
        ),
        Format(
            "openpose",
            "OpenPose JSON, one file per frame",
            ("/", "_keypoints.json"),
            ("keypoints",),
            "openpose_json",
            ("keypoints",),
            "json",
            has_time=False,
        ),
        Format(
            "alphapose",
            "AlphaPose results JSON",
            (".json",),
            ("keypoints",),
            "alphapose_json",
            ("keypoints",),
            "json",
            has_time=False,
        ),
        Format(
            "mmpose-json",
            "MMPose inferencer JSON",
            (".json",),
            ("keypoints",),
            "mmpose_json",
            ("keypoints",),
            "json",
            has_time=False,
        ),
        Format(
            "mmpose-dump",
            "MMPose test --dump pickle",
            (".pkl", ".pickle"),
            ("keypoints",),
            "mmpose_dump",
            (),
            "pickle",
            has_time=False,
        ),
        Format(
            "opencap-keypoints",
            "OpenCap or OpenCapBench keypoint pickle",
            (".pkl", ".pickle"),
            ("keypoints",),
            "opencap_keypoints",
            (),
            "pickle",
            has_time=False,
        ),
        Format(
            "opencap-camera",
            "OpenCap cameraIntrinsicsExtrinsics pickle",
            (".pickle", ".pkl"),
            ("cameras",),
            "opencap_camera",
            (),
            "pickle",
        ),
        Format(
            "toml-cameras",
            "Pose2Sim, Anipose or Caliscope calibration",
            (".toml",),
            ("cameras",),
            "toml_cameras",
            ("cameras",),
            "toml",
        ),
        Format(
            "qualisys-cameras",
            "Qualisys calibration",
            (".qca.txt", ".xml"),
            ("cameras",),
            "qualisys_cameras",
            (),
            "xml",
        ),
        Format(
            "opencv-cameras",
            "OpenCV calibration YAML",
            (".yml", ".yaml"),
            ("cameras",),
            "opencv_cameras",
            ("cameras",),
            "yaml",
        ),
        Format(
            "opensim",
            "OpenSim model or set-up document",
            (".osim", ".xml"),
            ("document",),
            "opensim_document",
            (),
            "xml",
        ),
        Format("video", "video", (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"), ("video",), "video"),
    )
}


def find_format(name: str) -> Format:
    """The format called ``name``."""
    if name not in FORMATS:
        raise unknown_name("format", name, FORMATS)
    return FORMATS[name]


def identify(path: str | Path) -> Format:
    """Which format a file or folder is in: by its ending, then by what it holds."""
    path = Path(path)
    candidates = _by_suffix(path)
    if not candidates:
        endings = sorted({s for f in FORMATS.values() for s in f.suffixes if s != "/"})
        raise CapbenchError(
            f"Expected a file ending in one of {' '.join(endings)}, got {path.name!r}.",
            file=path,
            fix="name the format with --format (see: capbench list formats)",
        )
    if len(candidates) == 1 and not path.is_dir():
        return candidates[0]
    content = load_container(path, candidates[0].container)
    for candidate in candidates:
        if candidate.load().recognise(content):
            return candidate
    raise CapbenchError(
        f"Expected one of: {'; '.join(f.title for f in candidates)}. Got something else.",
        file=path,
        fix="name the format with --format to see why it can't be read as that",
    )


def _by_suffix(path: Path) -> list[Format]:
    if path.is_dir():
        return [f for f in FORMATS.values() if "/" in f.suffixes]
    name = path.name.lower()
    fits = [(max((len(s) for s in f.suffixes if name.endswith(s)), default=0), f) for f in FORMATS.values()]
    longest = max(length for length, _ in fits)
    return [f for length, f in fits if length == longest > 0]


def writable(path: str | Path, holds: Holds) -> Format:
    """The format that writes ``holds`` to a file of that name."""
    path = Path(path)
    fits = [f for f in FORMATS.values() if holds in f.writes]
    named = [f for f in fits if any(s != "/" and path.name.lower().endswith(s) for s in f.suffixes)]
    if not named and not path.suffix:
        named = [f for f in fits if "/" in f.suffixes]
    if not named:
        can = ", ".join(f"{f.name} ({' '.join(_endings(f))})" for f in fits) or "nothing"
        raise CapbenchError(
            f"Expected an output that can hold {holds}, got {path.name!r}.",
            file=path,
            fix=f"one of: {can}",
        )
    return named[0]


def _endings(format: Format) -> list[str]:
    return ["a folder" if suffix == "/" else suffix for suffix in format.suffixes if suffix[0] != "_"]


def load_container(path: Path, container: Container | None) -> Any:
    """The content of a shared container, parsed and bounded; a folder gives its sorted file names."""
    from cohorts import bounded
    from cohorts.formats.inert_pickle import load_pickle

    if path.is_dir():
        return sorted(entry.name for entry in path.iterdir())
    loaders: dict[str, Callable[[Path], Any]] = {
        "json": bounded.load_json,
        "npz": partial(bounded.load_npz, objects=[]),
        "pickle": partial(load_pickle, foreign="placeholder"),  # the reader decides what to refuse
        "toml": bounded.load_toml,
        "yaml": bounded.load_yaml,
        "xml": bounded.load_xml,
    }
    return None if container is None else loaders[container](path)


def read(
    path: str | Path,
    *,
    format: str | None = None,
    notes: list[str] | None = None,
    **options: Any,
) -> tuple[Format, Any]:
    """The format of a file and the noun (or tuple of nouns) it holds."""
    found = find_format(format) if format else identify(path)
    reader = found.load().read
    _check_options(found, "read", reader, options)
    return found, reader(Path(path), notes=notes, **options)


def write(
    path: str | Path,
    value: Any,
    *,
    format: str | None = None,
    overwrite: bool = False,
    **options: Any,
) -> Format:
    """Write a noun (or tuple of keypoints or cameras) in the format that ``path``'s ending names."""
    holds = holds_of(value)
    found = find_format(format) if format else writable(path, holds)
    if holds not in found.writes:
        raise CapbenchError(f"Expected a format that writes {holds}, got {found.name}.", file=path)
    writer = found.load().write
    _check_options(found, "write", writer, options)
    writer(Path(path), value, overwrite=overwrite, **options)
    return found


def options_of(function: Any) -> dict[str, tuple[str, ...]]:
    """The options a ``read`` or ``write`` takes, each with the words it is limited to (none: any value)."""
    hints = get_type_hints(function)
    fixed = {"path", "value", "notes", "overwrite"}
    return {
        option: _words(hints.get(option))
        for option in inspect.signature(function).parameters
        if option not in fixed
    }


def _words(hint: Any) -> tuple[str, ...]:
    """The words of a ``Literal``, perhaps with None beside it."""
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return tuple(word for part in parts if get_origin(part) is Literal for word in get_args(part))


def _check_options(found: Format, verb: str, function: Any, options: dict[str, Any]) -> None:
    taken = options_of(function)
    for option, value in options.items():
        if option not in taken:
            raise CapbenchError(
                f"Expected options that the {found.name} format can {verb} with "
                f"({', '.join(sorted(taken)) or 'none'}), got {option}."
            )
        words = taken[option]
        if value is not None and words and value not in words:
            raise CapbenchError(
                f"Expected {option} {' or '.join(words)} to {verb} {found.name} with, got {value!r}."
            )


def holds_of(value: Any) -> Holds:
    """What word of the table names ``value``."""
    from cohorts.camera import Camera
    from cohorts.recording import BodyParameters, Keypoints, Markers, Motion, Signals

    first = value[0] if isinstance(value, tuple) and value else value
    names: dict[type, Holds] = {
        Keypoints: "keypoints",
        Camera: "cameras",
        Markers: "markers",
        Motion: "motion",
        Signals: "signals",
        BodyParameters: "body",
    }
    for kind, word in names.items():
        if isinstance(first, kind):
            return word
    raise CapbenchError(f"Expected something a file can hold, got {type(value).__name__}.")
