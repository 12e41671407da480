"""Progress with rate and time left: one line rewritten on a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from types import TracebackType
from typing import Self, TextIO, TypeVar

from cohorts.errors import printable

T = TypeVar("T")
_REDRAW = 0.1  #: seconds between two pictures of the line on a terminal
_REPORT = 5.0  #: seconds between two plain lines elsewhere


class Progress:
    """Counts finished items and says how far it is, on stderr.

    Use as a context manager, so that the line is ended whatever happens::

        with Progress(total=60, label="frames") as progress:
            progress.advance()
    """

    def __init__(
        self,
        total: int | None = None,
        label: str = "",
        *,
        quiet: bool = False,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total = total
        self.done = 0
        self._label = printable(label)
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._quiet = quiet
        self._terminal = self._stream.isatty()
        self._start = self._last = clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write(self._closing(), final=True)

    def advance(self, count: int = 1) -> None:
        """``count`` more items are finished."""
        self.done += count
        now = self._clock()
        if now - self._last >= (_REDRAW if self._terminal else _REPORT):
            self._last = now
            self._write(self._line(now - self._start), final=False)

    def _line(self, elapsed: float) -> str:
        rate = self.done / elapsed if elapsed > 0 else 0.0
        parts = [self._counted(), f"{rate:.3g}/s"]
        if self.total is not None:
            parts.insert(1, f"{100 * self.done / self.total:.0f} %" if self.total else "100 %")
            if rate > 0 and self.done < self.total:
                parts.append(f"{clock_time((self.total - self.done) / rate)} left")
        return "  ".join(parts)

    def _closing(self) -> str:
        elapsed = self._clock() - self._start
        rate = f" ({self.done / elapsed:.3g}/s)" if elapsed > 0 and self.done else ""
        return f"{self._counted()} in {clock_time(elapsed)}{rate}"

    def _counted(self) -> str:
        count = f"{self.done}" if self.total is None else f"{self.done}/{self.total}"
        return f"{self._label} {count}" if self._label else count

    def _write(self, line: str, *, final: bool) -> None:
        if self._quiet:
            return
        if self._terminal:
            columns = shutil.get_terminal_size().columns
            self._stream.write(f"\r{line[: columns - 1]}\x1b[K" + ("\n" if final else ""))
        else:
            self._stream.write(line + "\n")
        self._stream.flush()


def track(
    items: Iterable[T],
    total: int | None = None,
    label: str = "",
    *,
    quiet: bool = False,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[T]:
    """The ``items``, while saying how many have been worked on; ``total`` by default their number."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Progress(total, label, quiet=quiet, stream=stream, clock=clock) as progress:
        for item in items:
            yield item
            progress.advance()


def clock_time(seconds: float) -> str:
    """Seconds in words for a clock.

    >>> clock_time(4.26), clock_time(75), clock_time(7384)
    ('4.3 s', '1:15', '2:03:04')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
