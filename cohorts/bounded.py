"""Reading files from strangers: every container is bounded before it is parsed.

One function per container (bytes, lines, JSON, YAML, TOML, XML, npz). Each has a cap on size and
nesting, refuses what could expand (entities, aliases, zip bombs), and turns every failure of the
parser beneath it into a ``CapbenchError`` that names the file and, where the parser knows it, the line.
"""

from __future__ import annotations

import ast
import json
import math
import os
import re
import stat
import tempfile
import tomllib
import xml.etree.ElementTree as ET
import xml.parsers.expat as expat
import zipfile
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from cohorts.errors import CapbenchError, EnvironmentFault, RefusedError

MB = 1 << 20
TEXT_LIMIT = 512 * MB  #: trc, mot, csv: an hour of 100 markers at 100 Hz is about 1 GB / 3
JSON_LIMIT = 256 * MB
CARD_LIMIT = 1 * MB  #: YAML and TOML written by people; their parsers are slow
XML_LIMIT = 64 * MB  #: the largest OpenSim models are about 10 MB
NPZ_FREE = 64 * MB  #: arrays up to here are read however well they compressed
NPZ_RATIO = 20  #: beyond, they may not be larger than this times the file (float data compress 1-5x)
NPZ_LIMIT = 4096 * MB
DEPTH_LIMIT = 64


def regular_file(path: str | os.PathLike[str], limit: int) -> Path:
    """``path`` if it is an ordinary file of at most ``limit`` bytes."""
    path = Path(path)
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CapbenchError(f"Expected a readable file, got: {reason}.", file=path) from None
    if stat.S_ISDIR(status.st_mode):
        raise CapbenchError("Expected a file, got a folder.", file=path)
    if not stat.S_ISREG(status.st_mode):
        raise RefusedError("Expected an ordinary file, got a device, pipe or socket.", file=path)
    if status.st_size > limit:
        raise RefusedError(
            f"Expected at most {limit // MB} MB, got {status.st_size / MB:.0f} MB.",
            file=path,
            fix="split the recording into parts",
        )
    return path


def read_bytes(path: str | os.PathLike[str], limit: int) -> bytes:
    """The whole of an ordinary file of at most ``limit`` bytes."""
    path = regular_file(path, limit)
    try:
        with path.open("rb") as file:
            size = min(os.fstat(file.fileno()).st_size, limit)
            data = file.read(size + 1)  # not limit + 1: reading allocates what it asks for
    except OSError as error:
        raise CapbenchError(f"Can't be read: {error.strerror}.", file=path) from None
    if len(data) > size:  # it grew, or lied about its size
        raise RefusedError(f"Expected {size} bytes, got more: it grows while being read.", file=path)
    return data


def read_text(path: str | os.PathLike[str], limit: int = TEXT_LIMIT) -> str:
    """A text file as UTF-8 (a byte-order mark is dropped), or as Latin-1 where it is not UTF-8."""
    data = read_bytes(path, limit)
    if b"\0" in data[:4096]:
        raise CapbenchError("Expected text, got a binary file.", file=path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def read_lines(path: str | os.PathLike[str], limit: int = TEXT_LIMIT) -> list[str]:
    """The lines of a text file without their ends (``\\n``, ``\\r\\n`` or ``\\r``)."""
    return read_text(path, limit).replace("\r\n", "\n").replace("\r", "\n").split("\n")


@contextmanager
def about(path: str | os.PathLike[str]) -> Iterator[None]:
    """Errors raised inside that name no file yet are about ``path``."""
    try:
        yield
    except CapbenchError as error:
        if error.file is None:
            error.file = os.fspath(path)
        raise


def parse_number(text: str) -> float:
    """A decimal number as files write it; ``ValueError`` for what only Python accepts ("1_000")."""
    if "_" in text:
        raise ValueError(text)
    return float(text)


# --- JSON ---------------------------------------------------------------------------------------


def load_json(path: str | os.PathLike[str], limit: int = JSON_LIMIT) -> Any:
    """Strict JSON: no NaN or Infinity, no key twice, no number beyond float64, bounded nesting."""
    text = read_text(path, limit)

    def refuse_constant(name: str) -> NoReturn:
        raise CapbenchError(
            f"Expected standard JSON, got the number {name}.", file=path, fix="write null instead"
        )

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
            raise CapbenchError(f"Expected each key once, got {twice!r} twice.", file=path)
        return made

    def finite(text: str) -> float:
        number = float(text)
        if not np.isfinite(number):
            raise CapbenchError(f"Expected numbers below 1.8e308, got {text[:20]}.", file=path)
        return number

    def whole(text: str) -> int | float:
        return int(text) if len(text) < 19 else finite(text)

    try:
        return json.loads(
            text,
            parse_constant=refuse_constant,
            object_pairs_hook=unique,
            parse_float=finite,
            parse_int=whole,
        )
    except json.JSONDecodeError as error:
        raise CapbenchError(
            f"Expected JSON, got text that breaks off or errs: {error.msg}.",
            file=path,
            line=error.lineno,
        ) from None
    except RecursionError:
        raise RefusedError("Expected less deeply nested JSON.", file=path) from None


# --- YAML ---------------------------------------------------------------------------------------


def load_yaml(path: str | os.PathLike[str], limit: int = CARD_LIMIT) -> Any:
    """Plain YAML: no tags that build objects, no aliases (they can expand), no key twice."""
    return parse_yaml(read_text(path, limit), file=path)


def parse_yaml(
    text: str, *, file: str | os.PathLike[str] | None = None, plain_tags: Collection[str] = ()
) -> Any:
    """``load_yaml`` of text already read; mappings tagged ``!!`` and one of ``plain_tags`` are plain ones."""
    import yaml

    allowed = {f"tag:yaml.org,2002:{tag}" for tag in plain_tags}
    loader = _yaml_loader(file, allowed)
    try:
        depth = 0
        # events come one by one, so the depth is known before anything recurses
        for event in yaml.parse(text, Loader=_yaml_base()):
            if isinstance(event, yaml.AliasEvent):
                raise RefusedError("Expected no YAML aliases (*name).", file=file, line=_line(event))
            tag = getattr(event, "tag", None)
            if tag is not None and not (tag in allowed and isinstance(event, yaml.MappingStartEvent)):
                raise RefusedError(f"Expected no YAML tags, got {tag[:60]!r}.", file=file, line=_line(event))
            depth += isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent))
            depth -= isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent))
            if depth > DEPTH_LIMIT:
                raise RefusedError(
                    f"Expected at most {DEPTH_LIMIT} levels of nesting.",
                    file=file,
                    line=_line(event),
                )
        return yaml.load(text, Loader=loader)  # a SafeLoader subclass
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise CapbenchError(f"Expected YAML, got: {error.problem}.", file=file, line=line) from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CapbenchError(f"Expected YAML, got: {first}.", file=file) from None


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _yaml_base() -> Any:
    """The safe loader: libyaml's where PyYAML was built with it (ten times as fast)."""
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _yaml_loader(file: str | os.PathLike[str] | None, plain_tags: Collection[str]) -> Any:
    class Loader(_yaml_base()):  # type: ignore[misc]  # one of two classes with the same methods
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen: set[Any] = set()
            for key_node, _ in node.value:
                key = self.construct_object(key_node, deep=True)
                line = key_node.start_mark.line + 1
                if not isinstance(key, (str, int, float, bool)):
                    raise CapbenchError("Expected plain keys.", file=file, line=line)
                if key in seen:
                    raise CapbenchError(f"Expected each key once, got {key!r} twice.", file=file, line=line)
                seen.add(key)
            return super().construct_mapping(node, deep=deep)

    for tag in plain_tags:
        Loader.add_constructor(tag, lambda loader, node: loader.construct_mapping(cast(Any, node), deep=True))
    return Loader


# --- TOML and XML -------------------------------------------------------------------------------


def load_toml(path: str | os.PathLike[str], limit: int = CARD_LIMIT) -> dict[str, Any]:
    """TOML (the standard library's parser, which is strict already)."""
    try:
        return tomllib.loads(read_text(path, limit))
    except (tomllib.TOMLDecodeError, ValueError, RecursionError) as error:
        raise CapbenchError(f"Expected TOML, got: {error}.", file=path) from None


class Element(ET.Element):
    """An XML element that knows the line it starts on."""

    line: int = 0


def load_xml(path: str | os.PathLike[str], limit: int = XML_LIMIT) -> Element:
    """The root of an XML document; document types and entities are refused, nesting is bounded."""
    data = read_bytes(path, limit)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    builder = ET.TreeBuilder(element_factory=Element)
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > DEPTH_LIMIT:
            raise RefusedError(
                f"Expected at most {DEPTH_LIMIT} levels of nesting.",
                file=path,
                line=parser.CurrentLineNumber,
            )
        element = builder.start(tag, attributes)
        element.line = parser.CurrentLineNumber  # type: ignore[attr-defined]  # our Element

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def doctype(*_: object) -> NoReturn:
        raise RefusedError("Expected no document type or entities.", file=path, line=parser.CurrentLineNumber)

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = doctype
    parser.EntityDeclHandler = doctype
    try:
        parser.Parse(data, True)
        return builder.close()  # type: ignore[return-value]  # made by our factory
    except expat.ExpatError as error:
        raise CapbenchError(
            f"Expected XML, got: {expat.errors.messages[error.code]}.",
            file=path,
            line=error.lineno,
        ) from None
    except (ValueError, LookupError) as error:  # unknown or broken encodings
        raise CapbenchError(f"Expected XML, got: {error}.", file=path) from None


# --- npz ----------------------------------------------------------------------------------------


def load_npz(path: str | os.PathLike[str], objects: list[str] | None = None) -> dict[str, NDArray[Any]]:
    """All arrays of an .npz of numbers and text; zip bombs are refused.

    So are pickled objects, unless ``objects`` is given: it then takes the names of such arrays, which
    are left unread.
    """
    path = regular_file(path, NPZ_LIMIT)
    arrays: dict[str, NDArray[Any]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            total = sum(entry.file_size for entry in entries)
            allowed = min(max(NPZ_FREE, NPZ_RATIO * path.stat().st_size), NPZ_LIMIT)
            if len(entries) > 1000 or total > allowed:
                raise RefusedError(
                    f"Expected at most {allowed // MB} MB in at most 1000 arrays, "
                    f"got {total / MB:.0f} MB in {len(entries)} (a zip bomb?).",
                    file=path,
                )
            for entry in entries:
                name = entry.filename.removesuffix(".npy")
                if name in arrays:
                    raise CapbenchError(f"Expected each array once, got {name!r} twice.", file=path)
                with archive.open(entry) as stream:
                    array = _read_npy(stream, entry.file_size, path, name)
                if array is not None:
                    arrays[name] = array
                elif objects is not None:
                    objects.append(name)
                else:
                    raise CapbenchError(
                        "Expected plain numbers or text, not objects or structures.",
                        file=path,
                        place=f"array {name}",
                    )
    except CapbenchError:
        raise
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError) as error:
        raise CapbenchError(f"Expected an .npz archive, got: {error}.", file=path) from None
    except RuntimeError as error:  # zipfile: encrypted entries
        raise CapbenchError(f"Can't be opened: {error}.", file=path) from None
    except Exception as error:
        # zlib, lzma and bz2 raise their own types on damaged streams
        if type(error).__module__ not in ("zlib", "_lzma", "lzma", "struct"):
            raise
        raise CapbenchError(f"Expected an .npz archive, got: {error}.", file=path) from None
    return arrays


def _read_npy(stream: IO[bytes], size: int, file: Path, name: str) -> NDArray[Any] | None:
    """One array of numbers or text, None for one of objects. Its header is checked against its size first."""

    def bad(what: str) -> CapbenchError:
        return CapbenchError(f"Expected {what}.", file=file, place=f"array {name}")

    magic = stream.read(8)
    if magic[:6] != b"\x93NUMPY" or magic[6:7] not in (b"\x01", b"\x02"):
        raise bad("a numpy array")
    length = int.from_bytes(stream.read(2 if magic[6] == 1 else 4), "little")
    if length > 10_000:
        raise bad("a short array header")
    try:
        header = ast.literal_eval(stream.read(length).decode("latin-1"))
        descr, order, shape = header["descr"], header["fortran_order"], tuple(header["shape"])
        plain = isinstance(descr, str) and re.fullmatch(r"[<>=|]?[biufSU][1-9]\d{0,8}", descr)
        dtype = np.dtype(descr) if plain else None
    except (SyntaxError, ValueError, TypeError, KeyError, RecursionError, MemoryError):
        raise bad("a numpy array header") from None
    if not all(type(s) is int and s >= 0 for s in shape) or len(shape) > 8:
        raise bad("the shape of an array")
    if dtype is None:
        return None
    count = math.prod(shape)
    if count * dtype.itemsize > size:
        raise bad(f"{size} bytes to hold shape {shape} of {dtype}")
    data = stream.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        raise bad(f"{count} values, got fewer: the file is cut short")
    if dtype.kind == "U" and data and (np.frombuffer(data, dtype.str[0] + "u4") > 0x10FFFF).any():
        raise bad("text, got numbers that are no characters")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if order else "C")


# --- writing ------------------------------------------------------------------------------------


def check_new(path: Path, *, overwrite: bool) -> None:
    """Refuse an output that exists (unless ``overwrite``) or whose folder does not."""
    if path.exists() and not overwrite:
        raise CapbenchError(
            "Expected a new file, got one that exists.",
            file=path,
            fix="choose another name, or allow overwriting with --force",
        )
    if not path.parent.is_dir():
        raise CapbenchError(
            "Expected an existing folder to write into, got none.",
            file=path.parent,
            fix=f"mkdir -p {path.parent}",
        )


@contextmanager
def replacing(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place, whole and on disk, when the block ends well.

    On any failure the old file stays as it was and the temporary one is removed. A ``path`` that
    exists is refused unless ``overwrite`` is given.
    """
    path = Path(path)
    check_new(path, overwrite=overwrite)
    temporary = None
    try:
        handle, name = tempfile.mkstemp(prefix=".", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        temporary.chmod(path.stat().st_mode if path.exists() else 0o666 & ~_umask())
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise EnvironmentFault(f"Can't be written: {error.strerror or error}.", file=path) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: str | os.PathLike[str], text: str, *, overwrite: bool = False) -> None:
    """Write ``text`` as UTF-8, all or nothing."""
    with replacing(path, overwrite=overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def one_line(name: str, *, file: str | os.PathLike[str], forbidden: str = "\t\n\r") -> str:
    """``name`` if a text table can hold it: no tabs or line ends."""
    if any(c in name for c in forbidden) or name != name.strip():
        raise CapbenchError(
            f"Expected a name without tabs, line ends or spaces around it, got {name!r}.",
            file=file,
            fix="rename it before writing this format",
        )
    return name


def shorten(items: Sequence[object], most: int = 6) -> str:
    """``items`` as one phrase: ``"a, b, c and 40 more"``."""
    shown = ", ".join(map(str, items[:most]))
    return shown if len(items) <= most else f"{shown} and {len(items) - most} more"
