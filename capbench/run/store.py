"""The store: what units gave, by their keys, in a folder that any number of runs may share.

    objects/ab/ab12…      an output or a failure, in an envelope that holds its SHA-256
    timings/<stage>/…     seconds, bytes and memory of each unit, and the traceback where it threw
    hashes/ab/…           SHA-256 of files read before
    damaged/              objects that failed their check, moved aside

Objects are written to a temporary file beside their place and renamed, so each is whole or absent, whenever
a writer is killed; two writers of one key are harmless. An object is checked each time it is read: a damaged
one counts as absent and is computed again. Failures that are the model's or the cohort's are kept like
outputs and replayed; those of the environment never are. No clock, host or path gets into an object.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from capbench.run.units import FAULTS, Failed, canonical
from cohorts.bounded import regular_file
from cohorts.errors import CapbenchError, EnvironmentFault

_MAGIC = b"capbench unit 1\n"
_OUTPUT, _FAILURE = b"o", b"f"
_OBJECT_LIMIT = 16 << 30
_FILE_LIMIT = 1 << 42  #: bytes of a file to hash: 4 TB
_OLD = 24 * 3600.0  #: seconds after which another machine's temporary file is left over
_FRESH = 2.0  #: seconds in which a file may change again without its time stamp telling
_TEMPORARY = re.compile(r"\.([0-9a-f]{8})-(\d+)-(\d+)-[0-9a-f]{8}\.part")


class Timing(NamedTuple):
    """What a unit cost when it was computed."""

    seconds: float
    size: float  #: the unit's hint
    bytes: int  #: of its output
    peak: int | None = None  #: bytes of memory its worker held at most, so far
    trace: str = ""  #: the traceback, where the stage threw


class Store:
    """Outputs by key in ``root``, which is made where it is missing.

    ``sweep`` removes what killed writers left; those still at work lose nothing by it.
    """

    def __init__(self, root: str | os.PathLike[str], *, sweep: bool = True) -> None:
        self.root = Path(root)
        try:
            for name in ("objects", "timings", "hashes", "damaged"):
                (self.root / name).mkdir(parents=True, exist_ok=True)
            if sweep:
                self._sweep()
        except OSError as error:
            raise _fault(error, self.root) from error

    # --- objects --------------------------------------------------------------------------------

    def get(self, key: str) -> bytes | Failed | None:
        """The output or the failure under ``key``, checked; None where there is none that is whole."""
        path = self._place(key)
        try:
            with path.open("rb") as file:
                data = file.read(min(os.fstat(file.fileno()).st_size, _OBJECT_LIMIT) + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.EIO:
                raise _fault(error, path) from error
            data = b""  # the disk lost it
        found = _opened(key, data)
        if found is None:
            self._move_aside(path)
        return found

    def put(self, key: str, output: bytes | Failed, *, overwrite: bool = False) -> None:
        """Keep what a unit gave. What is kept already stays, unless ``overwrite``.

        It stays because others may have been computed from it, and a model on a GPU need not give the same
        bytes twice. Raises ``EnvironmentFault`` where it can't be written; what was there is then as it was.
        """
        if isinstance(output, Failed):
            if output.fault == "environment":
                raise ValueError("an environment fault is never kept")
            kind, payload = _FAILURE, canonical([output.fault, output.kind, output.reason])
        else:
            kind, payload = _OUTPUT, output
        if overwrite or self.get(key) is None:
            self._write(self._place(key), [_MAGIC, kind, _check(key, kind, payload), payload])

    def forget(self, key: str) -> None:
        """Drop what is under ``key``."""
        self._place(key).unlink(missing_ok=True)

    def _place(self, key: str) -> Path:
        return self.root / "objects" / key[:2] / key

    def _move_aside(self, path: Path) -> None:
        with suppress(FileNotFoundError):  # another reader was first
            try:
                path.replace(self.root / "damaged" / path.name)
            except FileNotFoundError:
                raise
            except OSError as error:
                raise _fault(error, path) from error

    def _write(self, path: Path, parts: list[bytes], *, sync: bool = True) -> None:
        """Write, sync, rename. The folder is not synced: after a power cut an object is whole or absent."""
        temporary = path.parent / f".{_me()}-{secrets.token_hex(4)}.part"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with temporary.open("xb") as file:
                    file.writelines(parts)
                    if sync:
                        file.flush()
                        os.fsync(file.fileno())
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise _fault(error, path) from error

    def _sweep(self) -> None:
        mine, now = _me().partition("-")[0], time.time()
        for path in self.root.glob("*/*/.*.part"):
            named = _TEMPORARY.fullmatch(path.name)
            if named is None:
                continue
            machine, pid, started = named.groups()
            with suppress(FileNotFoundError):  # its writer ended meanwhile, or another sweep was first
                if machine == mine:
                    left = _started(int(pid)) != int(started)
                else:
                    left = now - path.stat().st_mtime > _OLD
                if left:
                    path.unlink()

    # --- timings --------------------------------------------------------------------------------

    def time(self, key: str, stage: str, timing: Timing) -> None:
        """Note what a unit cost; the newest note counts."""
        text = json.dumps(timing._asdict(), ensure_ascii=True)
        self._write(self.root / "timings" / stage / f"{key}.json", [text.encode()], sync=False)

    def timing(self, key: str, stage: str) -> Timing | None:
        """What a unit cost, where that was noted."""
        try:
            fields = json.loads((self.root / "timings" / stage / f"{key}.json").read_bytes())
            return Timing(**fields)
        except (OSError, ValueError, TypeError):  # only a hint: absent and broken are alike
            return None

    def timings(self, stage: str, most: int = 200) -> Iterator[Timing]:
        """Some of the notes on a stage, for estimates."""
        try:
            names = [entry.name for entry in islice(os.scandir(self.root / "timings" / stage), most)]
        except FileNotFoundError:
            return
        for name in names:
            if name.endswith(".json") and (found := self.timing(name[:-5], stage)) is not None:
                yield found

    # --- files ----------------------------------------------------------------------------------

    def hash_file(self, path: str | os.PathLike[str]) -> str:
        """SHA-256 of a file. Read once: afterwards looked up by path, size, inode and time stamps.

        So a second plan over 50 GB of video takes no time. The price: bytes changed on the disk behind the
        file system's back (size, inode, modification and change time all as before) are not seen. A file
        changed less than two seconds ago is read each time, as its stamp may not tell the next change.
        """
        path = regular_file(path, _FILE_LIMIT).absolute()
        try:
            status = path.stat()
            stamps = [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]
            name = hashlib.sha256(os.fsencode(path) + canonical(stamps)).hexdigest()
            kept = self.root / "hashes" / name[:2] / name
            with suppress(FileNotFoundError):
                known = kept.read_text("ascii", errors="replace")
                if re.fullmatch(r"[0-9a-f]{64}", known):
                    return known
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise CapbenchError(f"Can't be read: {error.strerror or error}.", file=path) from None
        if time.time() - max(status.st_mtime, status.st_ctime) > _FRESH:
            self._write(kept, [found.encode()])
        return found


def _check(key: str, kind: bytes, payload: bytes) -> bytes:
    """The key is part of what is hashed: an object renamed to another key's place is damaged too."""
    made = hashlib.sha256(bytes.fromhex(key) + kind)
    made.update(payload)
    return made.digest()


def _opened(key: str, data: bytes) -> bytes | Failed | None:
    """The content of an envelope, None where its check fails."""
    head = len(_MAGIC)
    kind, check, payload = data[head : head + 1], data[head + 1 : head + 33], data[head + 33 :]
    if data[:head] != _MAGIC or check != _check(key, kind, payload):
        return None
    if kind == _OUTPUT:
        return payload
    fault, word, reason = json.loads(payload)
    return Failed(fault, word, reason) if fault in FAULTS else None


def _fault(error: OSError, path: Path) -> EnvironmentFault:
    fix = None
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        fix = "make room on the disk, then give the same command again: what is done is kept"
    return EnvironmentFault(f"The store can't be used: {error.strerror or error}.", file=path, fix=fix)


# --- who writes ---------------------------------------------------------------------------------


def _me() -> str:
    """This process, in a way that tells later whether it still lives: machine, number, start."""
    return f"{_machine()}-{os.getpid()}-{_started(os.getpid()) or 0}"


@cache
def _machine() -> str:
    """Names the running system and its space of process numbers: containers may share a host's name."""
    parts = [os.uname().nodename]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text("ascii"))
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def _started(pid: int) -> int | None:
    """When a process began, in ticks since the system did; None where there is none of that number."""
    try:
        status = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    return int(status.rpartition(b")")[2].split()[19])
