#!/usr/bin/env python
"""Feed every reader damaged files: each must end in success or CapbenchError, soon and in little memory.

    python scripts/fuzz_formats.py --inputs 20000 --seed 1

Input k of a seed is always the same bytes. A failure (another exception, over 5 s, over 512 MB, or a dead
process) is kept under --keep and fails the run.
"""

from __future__ import annotations

import argparse
import multiprocessing as mp
import resource
import shutil
import sys
import tempfile
import threading
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

SECONDS = 5.0
MEGABYTES = 512

Rng = np.random.Generator


# --- mutations ----------------------------------------------------------------------------------


def flip_bits(data: bytearray, rng: Rng) -> bytearray:
    """Flip one to sixteen bits."""
    for _ in range(int(rng.choice([1, 1, 2, 4, 16]))):
        if data:
            data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    return data


def truncate(data: bytearray, rng: Rng) -> bytearray:
    """Cut the file anywhere."""
    return data[: int(rng.integers(len(data) + 1))]


def splice(data: bytearray, rng: Rng) -> bytearray:
    """Copy a stretch of the file over, or into, another place."""
    if not data:
        return data
    a, b, at = (int(n) for n in rng.integers(len(data), size=3))
    piece = data[min(a, b) : max(a, b)][:4096]
    return data[:at] + piece + data[at + int(rng.integers(2)) * len(piece) :]


def scramble(data: bytearray, rng: Rng) -> bytearray:
    """Overwrite a stretch with random bytes."""
    if data:
        at, length = int(rng.integers(len(data))), int(rng.integers(1, 64))
        data[at : at + length] = rng.bytes(length)
    return data


_NUMBERS = (b"1e308", b"-1e309", b"99999999999999999999", b"NaN", b"Infinity", b"1_0", b"0x1F", b"-0", b"")


def change_number(data: bytearray, rng: Rng) -> bytearray:
    """Put a strange number where a number stood in a text, or a huge integer into bytes."""
    digits = [i for i, byte in enumerate(data[:200_000]) if 48 <= byte <= 57]
    if not digits:
        return scramble(data, rng)
    at = digits[int(rng.integers(len(digits)))]
    end = at
    while end < len(data) and data[end] in b"0123456789.eE+-":
        end += 1
    return data[:at] + bytearray(_NUMBERS[int(rng.integers(len(_NUMBERS)))]) + data[end:]


def repeat_word(data: bytearray, rng: Rng) -> bytearray:
    """Put one word of the file in place of another: names twice, keys twice."""
    words = bytes(data[:100_000]).split()
    if len(words) < 2:
        return data
    a, b = (words[int(n)] for n in rng.integers(len(words), size=2))
    return bytearray(bytes(data).replace(a, b, 1))


def big_bytes(data: bytearray, rng: Rng) -> bytearray:
    """Overwrite 1, 2, 4 or 8 bytes with the largest or smallest integer: lengths that lie."""
    size = int(rng.choice([1, 2, 4, 8]))
    if len(data) > size:
        at = int(rng.integers(len(data) - size))
        data[at : at + size] = [b"\xff", b"\x7f", b"\x80", b"\x00"][int(rng.integers(4))] * size
    return data


def bomb(data: bytearray, rng: Rng) -> bytearray:
    """Something that grows: nesting, a line or a value repeated many thousand times."""
    kind = int(rng.integers(5))
    times = int(rng.choice([1_000, 30_000, 200_000]))
    if kind == 0:
        return bytearray(b"[" * times)
    if kind == 1:
        return bytearray(b'{"a":' * times)
    if kind == 2:
        return bytearray(b"<a>" * times)
    lines = bytes(data).split(b"\n")
    if kind == 3 and len(data) < 20_000:
        line = lines[int(rng.integers(len(lines)))] + b"\n"
        return data + bytearray(line * (4_000_000 // max(len(line), 20)))
    return data[: len(data) // 2] + bytearray(b"9" * times) + data[len(data) // 2 :]


MUTATIONS: tuple[Callable[[bytearray, Rng], bytearray], ...] = (
    flip_bits, truncate, splice, scramble, change_number, repeat_word, big_bytes, bomb,
)  # fmt: skip
WEIGHTS = np.array([4, 2, 3, 2, 4, 3, 3, 1], float) / 22


def mutate(data: bytes, rng: Rng) -> bytes:
    """One to three mutations, one after the other."""
    changed = bytearray(data)
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        changed = MUTATIONS[int(rng.choice(len(MUTATIONS), p=WEIGHTS))](changed, rng)
    return bytes(changed)


def make_input(samples: list[tuple[str, Path]], seed: int, number: int, folder: Path) -> tuple[str, Path]:
    """Write input ``number`` of ``seed`` below ``folder``: its format and its path."""
    rng = np.random.default_rng([seed, number])
    name, source = samples[number % len(samples)]
    target = folder / source.name
    if source.is_dir():
        shutil.copytree(source, target)
        parts = sorted(target.iterdir())
        damaged = parts[int(rng.integers(len(parts)))]
    else:
        shutil.copy(source, target)
        damaged = target
    if damaged.suffix == ".npz" and rng.random() < 0.8:
        mutate_inside(damaged, rng)
    else:
        damaged.write_bytes(mutate(damaged.read_bytes(), rng))
    return name, target


def mutate_inside(path: Path, rng: Rng) -> None:
    """Damage one array of an .npz and pack it anew: the archive's checksums would hide anything else."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    name = sorted(entries)[int(rng.integers(len(entries)))]
    head, rest = entries[name][:160], entries[name][160:]
    entries[name] = mutate(head, rng) + rest if rng.random() < 0.5 else head + mutate(rest, rng)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, data in entries.items():
            archive.writestr(entry, data)


# --- running ------------------------------------------------------------------------------------


def worker(pipe: Connection, samples: list[tuple[str, Path]], seed: int) -> None:
    """Read inputs by number until told to stop; answer (outcome, detail) for each."""
    from cohorts.errors import CapbenchError
    from cohorts.formats import read

    pipe.send("ready")
    while (number := pipe.recv()) is not None:
        with tempfile.TemporaryDirectory() as folder:
            name, path = make_input(samples, seed, number, Path(folder))
            try:
                # every other round is told the format, the rest must be identified first
                read(path, format=name if number // len(samples) % 2 else None)
                outcome, detail = "read", ""
            except CapbenchError as error:
                outcome, detail = "refused", str(error)
            except BaseException:
                outcome, detail = "FAILED", traceback.format_exc(limit=-4)
        peak = max(own_peak(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
        if peak > MEGABYTES:
            outcome, detail = "FAILED", f"{peak} MB; {detail}"
        pipe.send((outcome, detail))


def own_peak() -> int:
    """Megabytes this process held at most. Its ru_maxrss would count what its parent held when it forked."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024
    raise RuntimeError("no VmHWM in /proc/self/status")


class Worker:
    """A process that reads inputs, replaced when it fails (its peak of memory never falls again)."""

    def __init__(self, samples: list[tuple[str, Path]], seed: int) -> None:
        self.samples, self.seed = samples, seed
        self.start()

    def start(self) -> None:
        """Start the process and wait until it has imported what it needs."""
        context = mp.get_context("spawn")
        self.pipe, far = context.Pipe()
        self.process = context.Process(target=worker, args=(far, self.samples, self.seed), daemon=True)
        self.process.start()
        far.close()
        self.pipe.recv()

    def ask(self, number: int) -> tuple[str, str]:
        """(outcome, detail) of one input; a silent or dead process is a failure."""
        self.pipe.send(number)
        outcome, detail = "FAILED", f"no answer within {SECONDS:g} s"
        if self.pipe.poll(SECONDS):
            try:
                outcome, detail = self.pipe.recv()
            except EOFError:
                self.process.join()
                detail = f"the process died (exit {self.process.exitcode})"
        if outcome == "FAILED":
            self.process.kill()
            self.process.join()
            self.start()
        return outcome, detail

    def stop(self) -> None:
        """End the process."""
        self.pipe.send(None)
        self.process.join()


def run(
    inputs: int, seed: int, jobs: int, keep: Path | None, only: str | None = None
) -> Counter[tuple[str, str]]:
    """Counts of (format, outcome) over all inputs; failing inputs are copied to ``keep``."""
    import samples as made

    counts: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        samples = made.make_all(Path(folder), only)
        files = [(name, path) for name, paths in samples.items() for path in paths]
        numbers, lock, begun = iter(range(inputs)), threading.Lock(), time.monotonic()

        def drive() -> None:
            mine = Worker(files, seed)
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return mine.stop()
                outcome, detail = mine.ask(number)
                name = files[number % len(files)][0]
                with lock:
                    counts[name, outcome] += 1
                    if outcome == "FAILED":
                        print(f"FAILED input {number} ({name}): {detail}", flush=True)
                    if (done := sum(counts.values())) % 1000 == 0:
                        print(f"{done}/{inputs}  {done / (time.monotonic() - begun):.0f}/s", flush=True)
                if outcome == "FAILED" and keep is not None:
                    spot = keep / f"{seed}-{number}"
                    shutil.rmtree(spot, ignore_errors=True)
                    spot.mkdir(parents=True)
                    make_input(files, seed, number, spot)

        with ThreadPoolExecutor(jobs) as pool:
            for ended in [pool.submit(drive) for _ in range(jobs)]:
                ended.result()  # raises what went wrong with the harness itself
    return counts


def main() -> None:
    """Parse, run, print the table, leave with 1 if anything failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", help="only this format")
    parser.add_argument("--keep", type=Path, help="folder for the inputs that failed")
    args = parser.parse_args()
    begun = time.monotonic()
    counts = run(args.inputs, args.seed, args.jobs, args.keep, args.only)
    print(f"\n{'format':20}{'read':>8}{'refused':>9}{'FAILED':>8}")
    for name in sorted({name for name, _ in counts}):
        print(f"{name:20}" + "".join(f"{counts[name, o]:>{w}}" for o, w in _COLUMNS))
    total = {o: sum(n for (_, outcome), n in counts.items() if outcome == o) for o, _ in _COLUMNS}
    print(f"{'all':20}" + "".join(f"{total[o]:>{w}}" for o, w in _COLUMNS))
    print(f"{sum(total.values())} inputs, seed {args.seed}, {time.monotonic() - begun:.0f} s")
    sys.exit(1 if total["FAILED"] else 0)


_COLUMNS = (("read", 8), ("refused", 9), ("FAILED", 8))

if __name__ == "__main__":
    main()
