#!/usr/bin/env python
"""Kill a run again and again, at random moments: what it writes in the end must be as if nobody had.

    python scripts/kill_test.py --kills 50 -- capbench evaluate --workers 4 --out {out}

First the command runs undisturbed in a folder of its own ({out}). Then it runs in another; after random
pauses a random process of its tree (the run itself, a worker, whatever they started) gets SIGKILL. When the
run itself is dead, the same command resumes it. One that ends although it was disturbed is given once more,
undisturbed, as a person would who reads "run it again" (what the environment spoilt is tried anew). Then its
{out}/result.json is compared byte by byte, and the next folder is begun, until all kills are spent. Exit 1 on
any difference.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from capbench.run.supervise import tree

PATIENCE = 3600.0  #: seconds an undisturbed run may take


@dataclass
class Tally:
    """What was done to the runs."""

    runs: int = 0  #: times the command was given, disturbed
    whole: int = 0  #: kills of the run itself
    below: int = 0  #: kills of a process that it started
    finished: int = 0  #: folders whose result was compared
    differ: list[Path] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """So far."""
        return self.whole + self.below


def main() -> int:
    """Run, kill, compare; 0 where every result is the undisturbed one's."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the runs go (default: a temporary folder)")
    parser.add_argument("--compare", default="result.json", help="file below {out}")
    parser.add_argument(
        "--pause", type=float, nargs=2, metavar=("LEAST", "MOST"),
        help="seconds between kills (default: by the undisturbed run's time, some ten kills in a run)",
    )  # fmt: skip
    parser.add_argument("command", nargs="+", help="with {out} where the folder of the run goes")
    asked = parser.parse_args()
    if not any("{out}" in word for word in asked.command):
        parser.error("the command must say {out} where the folder of the run goes")
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="kill-test-"))
    folder.mkdir(parents=True, exist_ok=True)

    calm = folder / "calm"
    began = time.monotonic()
    status = undisturbed(asked.command, calm)
    seconds = time.monotonic() - began
    expected = calm / asked.compare
    if not expected.is_file():
        print(f"the undisturbed run ended with status {status} and wrote no {asked.compare}")
        return 1
    print(f"undisturbed: {seconds:.1f} s, status {status}, {expected.stat().st_size} bytes")

    chance = random.Random(asked.seed)
    least, most = asked.pause or (0.0, max(0.2, seconds / 5))
    tally = Tally()
    while tally.kills < asked.kills:
        out = folder / f"killed-{tally.finished}"
        disturbed(asked.command, out, tally, asked.kills, lambda: chance.uniform(least, most), chance)
        undisturbed(asked.command, out)
        tally.finished += 1
        made = out / asked.compare
        if not made.is_file() or made.read_bytes() != expected.read_bytes():
            tally.differ.append(made)
        print(
            f"{tally.kills} kills: {made} {'differs' if made in tally.differ else 'is the same'}", flush=True
        )
    print(
        f"{tally.kills} kills ({tally.whole} of the run, {tally.below} below it) in {tally.runs} runs, "
        f"{tally.finished} results compared, {len(tally.differ)} differ"
    )
    if not tally.differ and asked.folder is None:
        shutil.rmtree(folder)
    return 1 if tally.differ else 0


def start(command: list[str], out: Path) -> subprocess.Popen[bytes]:
    """The command with its folder, its words in a log beside it."""
    with out.with_suffix(".log").open("ab") as log:
        words = [word.replace("{out}", str(out)) for word in command]
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def undisturbed(command: list[str], out: Path) -> int:
    """Its exit status."""
    return start(command, out).wait(PATIENCE)


def disturbed(
    command: list[str],
    out: Path,
    tally: Tally,
    most: int,
    pause: Callable[[], float],
    chance: random.Random,
) -> None:
    """Give the command and kill in its tree, until it ends by itself or all kills are spent."""
    while tally.kills < most:
        run = start(command, out)
        tally.runs += 1
        while tally.kills < most:
            with contextlib.suppress(subprocess.TimeoutExpired):
                if run.wait(pause()) != -signal.SIGKILL:
                    return  # it ended in spite of all
                break  # killed last time round: the same command again
            victim = chance.choice([run.pid, *tree(run.pid)])
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                tally.whole += victim == run.pid
                tally.below += victim != run.pid
        if tally.kills >= most:
            run.kill()
            run.wait()


if __name__ == "__main__":
    sys.exit(main())
