"""The store: whole or absent, checked when read, shared by many, never half-written."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from capbench.run import store as module
from capbench.run.store import Store, Timing
from capbench.run.units import Failed
from cohorts.errors import CapbenchError, EnvironmentFault, RefusedError

KEY, OTHER = "ab" + "0" * 62, "cd" + "1" * 62


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "units")


def files(store: Store) -> list[Path]:
    return sorted(path for path in store.root.rglob("*") if path.is_file())


def the_object(store: Store) -> Path:
    (path,) = (store.root / "objects").rglob("*" + KEY)
    return path


@pytest.mark.parametrize(
    "output",
    [b"", b"bytes" * 1000, Failed("model", "threw", "ValueError: ä\udcff"), Failed("cohort", "x", "")],
)
def test_what_is_put_is_got_by_every_reader(store, output) -> None:
    assert store.get(KEY) is None
    store.put(KEY, output)
    assert store.get(KEY) == output and Store(store.root).get(KEY) == output
    assert store.get(OTHER) is None
    store.forget(KEY)
    store.forget(KEY)
    assert store.get(KEY) is None


def test_environment_faults_are_never_kept(store) -> None:
    with pytest.raises(ValueError):
        store.put(KEY, Failed("environment", "disk", "full"))
    assert files(store) == []


def test_the_first_output_stays_unless_overwritten(store) -> None:
    store.put(KEY, b"first")
    store.put(KEY, b"second")
    assert store.get(KEY) == b"first"
    store.put(KEY, b"third", overwrite=True)
    assert store.get(KEY) == b"third"


def test_no_clock_host_or_path_in_an_object(tmp_path, monkeypatch) -> None:
    first = Store(tmp_path / "a")
    first.put(KEY, b"output")
    monkeypatch.setattr(time, "time", lambda: 0.0)
    second = Store(tmp_path / "deeper" / "b")
    second.put(KEY, b"output")
    assert the_object(first).read_bytes() == the_object(second).read_bytes()


@pytest.mark.parametrize("kind", ["output", "failure"])
def test_every_damage_is_seen_moved_aside_and_mended(store, kind) -> None:
    output = b"0123456789" if kind == "output" else Failed("model", "threw", "x")
    store.put(KEY, output)
    path = the_object(store)
    whole = path.read_bytes()
    damages = [whole[:n] for n in range(len(whole))] + [whole + b"x", b"\0" * len(whole)]
    damages += [whole[:n] + bytes([whole[n] ^ 1]) + whole[n + 1 :] for n in range(len(whole))]
    for damage in damages:
        path.write_bytes(damage)
        assert store.get(KEY) is None
        assert not path.exists() and (store.root / "damaged" / KEY).read_bytes() == damage
        store.put(KEY, output)
        assert store.get(KEY) == output


def test_an_object_in_another_s_place_is_damaged(store) -> None:
    store.put(KEY, b"output")
    store.put(OTHER, b"other")
    the_object(store).replace(store.root / "objects" / OTHER[:2] / OTHER)
    assert store.get(OTHER) is None


def test_a_disk_that_lost_an_object_counts_as_damage(store, monkeypatch) -> None:
    store.put(KEY, b"output")
    real = os.fstat

    def fails(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(module.os, "fstat", fails)
    assert store.get(KEY) is None
    monkeypatch.setattr(module.os, "fstat", real)
    store.put(KEY, b"output")
    assert store.get(KEY) == b"output"


# --- a full disk --------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("site", ["fsync", "replace", "open", "write"])
def test_a_fault_of_the_disk_leaves_the_old_value_and_nothing_half(store, monkeypatch, number, site) -> None:
    store.put(KEY, b"old")
    before = files(store)

    def fails(*_args, **_kwargs):
        raise OSError(number, os.strerror(number))

    real_open = Path.open

    def opens(self, mode="r", *args, **kwargs):
        if "x" not in mode:
            return real_open(self, mode, *args, **kwargs)
        if site == "open":
            fails()
        file = real_open(self, mode, *args, **kwargs)

        class Full:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                file.close()

            def writelines(self, parts):
                file.write(parts[0])
                fails()

        return Full()

    if site == "fsync":
        monkeypatch.setattr(module.os, "fsync", fails)
    elif site == "replace":
        monkeypatch.setattr(Path, "replace", fails)
    else:
        monkeypatch.setattr(Path, "open", opens)
    with pytest.raises(EnvironmentFault) as told:
        store.put(KEY, b"new", overwrite=True)
    with pytest.raises(EnvironmentFault):
        store.put(OTHER, b"new")
    monkeypatch.undo()
    assert ("make room" in str(told.value)) == (number != errno.EIO)
    assert store.get(KEY) == b"old" and store.get(OTHER) is None and files(store) == before


@pytest.mark.truth("the kernel's own refusal to write")
def test_a_real_limit_on_what_may_be_written(store) -> None:
    """RLIMIT_FSIZE makes the kernel fail a write halfway, as a full disk does."""
    store.put(KEY, b"old")
    code = """
        import resource, signal, sys
        from capbench.run.store import Store
        from cohorts.errors import EnvironmentFault
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        store = Store(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            store.put(sys.argv[2], b"x" * 1_000_000, overwrite=True)
        except EnvironmentFault as error:
            print("told:", error)
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), store.root, KEY],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert "told: " in ran.stdout and "File too large" in ran.stdout
    assert store.get(KEY) == b"old" and len(files(store)) == 1


def test_a_folder_that_may_not_be_written(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault):
        Store(tmp_path / "file" / "store")


# --- several at once ----------------------------------------------------------------------------

WRITER = """
    import sys, time
    from capbench.run.store import Store
    store = Store(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    for k in range(200):
        key = f"{k % 20:064x}"
        store.put(key, str(k % 20).encode() * 5000, overwrite=k % 3 == 0)
        assert store.get(key) == str(k % 20).encode() * 5000, k
"""


def writer(store: Store) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), store.root],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip


def test_writers_of_the_same_keys_do_each_other_no_harm(store) -> None:
    writers = [writer(store) for _ in range(3)]
    for one in writers:
        assert one.stdout.readline() == "ready\n"
    for one in writers:
        one.stdin.write("go\n")
        one.stdin.flush()
    for _ in range(20):
        Store(store.root)  # sweeps while they write
    for one in writers:
        one.stdin.close()
        assert one.wait(30) == 0
        one.stdout.close()
    assert len(files(store)) == 20


def test_what_killed_writers_left_is_swept_and_what_others_write_is_not(store) -> None:
    folder = store.root / "objects" / "ab"
    folder.mkdir()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    machine, me, started = module._me().split("-")
    day = 24 * 3600
    names = {
        f".{machine}-{ended.pid}-123-00000000.part": (0, False),  # its writer is gone
        f".{machine}-{me}-{started}-00000001.part": (9 * day, True),  # its writer is this process
        f".{machine}-{me}-{int(started) + 1}-00000002.part": (0, False),  # the number was given anew
        ".ffffffff-1-1-00000003.part": (60, True),  # another machine's
        ".ffffffff-1-1-00000004.part": (2 * day, False),  # another machine's, of long ago
        ".notours.part": (9 * day, True),
        KEY: (9 * day, True),
    }
    for name, (age, _) in names.items():
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (time.time() - age,) * 2)
    Store(store.root)
    assert {path.name for path in folder.iterdir()} == {name for name, (_, stays) in names.items() if stays}


# --- hashes and timings -------------------------------------------------------------------------


def aged(path: Path, seconds: float = 100.0) -> Path:
    os.utime(path, (time.time() - seconds,) * 2)
    return path


@pytest.mark.truth("hashlib over the bytes")
def test_hash_of_a_file(store, tmp_path) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(os.urandom(300_000))
    assert store.hash_file(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_is_read_once_and_again_when_anything_about_it_changed(store, tmp_path, monkeypatch) -> None:
    path = aged(tmp_path / "video.mp4") if (tmp_path / "video.mp4").write_bytes(b"one") else None
    reads = []
    real = hashlib.file_digest
    monkeypatch.setattr(module.hashlib, "file_digest", lambda f, n: reads.append(f.name) or real(f, n))
    monkeypatch.setattr(module, "_FRESH", -1.0)  # the change time can't be set back
    first = store.hash_file(path)
    assert store.hash_file(path) == first == Store(store.root).hash_file(path) and len(reads) == 1
    stamp = path.stat()
    path.write_bytes(b"two")  # same size, and the same modification time
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert store.hash_file(path) == hashlib.sha256(b"two").hexdigest() and len(reads) == 2
    swapped = tmp_path / "new"
    swapped.write_bytes(b"333")
    os.utime(swapped, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    swapped.replace(path)
    assert store.hash_file(path) == hashlib.sha256(b"333").hexdigest()


def test_a_file_just_written_is_read_each_time(store, tmp_path) -> None:
    path = tmp_path / "a"
    for content in (b"1", b"2", b"3"):
        path.write_bytes(content)
        assert store.hash_file(path) == hashlib.sha256(content).hexdigest()
    assert files(store) == []


def test_a_damaged_note_of_a_hash_is_not_believed(store, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "_FRESH", -1.0)
    path = tmp_path / "a"
    path.write_bytes(b"1")
    right = store.hash_file(path)
    (note,) = files(store)
    note.write_bytes(b"\xff" * 64)
    assert store.hash_file(path) == right


def test_only_ordinary_files_are_hashed(store, tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RefusedError):
        store.hash_file(tmp_path / "pipe")
    with pytest.raises(CapbenchError):
        store.hash_file(tmp_path / "absent")


def test_timings_lie_beside(store) -> None:
    timing = Timing(1.5, 20.0, 100, 5_000_000, "Traceback …")
    store.time(KEY, "solve", timing)
    store.time(OTHER, "solve", timing._replace(seconds=2.5))
    assert store.timing(KEY, "solve") == timing and store.timing(KEY, "predict") is None
    assert sorted(t.seconds for t in store.timings("solve")) == [1.5, 2.5]
    assert len(list(store.timings("solve", most=1))) == 1 and list(store.timings("predict")) == []
    (store.root / "timings" / "solve" / f"{KEY}.json").write_text("{broken")
    assert store.timing(KEY, "solve") is None and len(list(store.timings("solve"))) == 1
    assert store.get(KEY) is None
