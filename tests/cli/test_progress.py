"""Progress, with a clock that the test moves."""

import io

import pytest

from capbench.cli.progress import Progress, clock_time, track


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def work(stream, seconds_each: float, count: int = 4, **options) -> str:
    clock = Clock()
    for _ in track(range(count), stream=stream, clock=clock, **options):
        clock.now += seconds_each
    return stream.getvalue()


def test_on_a_terminal_one_line_is_rewritten_with_rate_and_time_left(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = work(Terminal(), 2.0, label="frames")
    assert text.count("\n") == 1 and text.endswith("\n")
    lines = [line.removesuffix("\x1b[K") for line in text.strip("\n").split("\r")[1:]]
    # 2 s each: 0.5/s; after 1 of 4, three are left: 6 s
    assert lines[0] == "frames 1/4  25 %  0.5/s  6.0 s left"
    assert lines[2] == "frames 3/4  75 %  0.5/s  2.0 s left"
    assert lines[-1] == "frames 4/4 in 8.0 s (0.5/s)"


def test_a_terminal_is_redrawn_ten_times_a_second_at_most() -> None:
    text = work(Terminal(), 0.01, count=100)
    assert 5 <= text.count("\r") <= 12


def test_a_narrow_terminal_is_not_overrun(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    text = work(Terminal(), 2.0, label="a very long label indeed")
    assert max(len(part.removesuffix("\x1b[K")) for part in text.strip("\n").split("\r")) <= 19


def test_elsewhere_plain_lines_every_few_seconds() -> None:
    text = work(io.StringIO(), 2.0, count=6, label="units")
    assert text.splitlines() == [
        "units 3/6  50 %  0.5/s  6.0 s left",
        "units 6/6  100 %  0.5/s",
        "units 6/6 in 12.0 s (0.5/s)",
    ]
    assert "\r" not in text and "\x1b" not in text


def test_without_a_total_there_is_no_time_left() -> None:
    clock, stream = Clock(), io.StringIO()
    for _ in track(iter(range(3)), stream=stream, clock=clock):
        clock.now += 10
    assert stream.getvalue().splitlines() == ["1  0.1/s", "2  0.1/s", "3  0.1/s", "3 in 30.0 s (0.1/s)"]


def test_quiet_is_silent() -> None:
    assert work(Terminal(), 2.0, quiet=True) == ""


def test_the_line_is_ended_when_the_work_fails() -> None:
    stream, clock = Terminal(), Clock()
    with pytest.raises(ZeroDivisionError), Progress(3, "x", stream=stream, clock=clock) as progress:
        progress.advance()
        raise ZeroDivisionError
    assert stream.getvalue().endswith("\n") and "1/3" in stream.getvalue()


def test_nothing_to_do_and_a_clock_that_stands_still() -> None:
    assert work(io.StringIO(), 0.0, count=0).splitlines() == ["0/0 in 0.0 s"]
    assert work(io.StringIO(), 0.0, count=2).splitlines() == ["2/2 in 0.0 s"]


def test_labels_cannot_steer_the_terminal() -> None:
    assert "\x1b[2J" not in work(io.StringIO(), 1.0, label="a\x1b[2Jb")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (59.94, "59.9 s"), (59.96, "1:00"), (3599.6, "1:00:00"), (90061, "25:01:01")],
)
def test_clock_time(seconds, text) -> None:
    assert clock_time(seconds) == text
