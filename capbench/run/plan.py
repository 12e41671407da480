"""What a run will cost, from what such units cost before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from capbench.run.agenda import kept
from capbench.run.store import Store, Timing
from capbench.run.units import Unit


@dataclass
class Rates:
    """What a stage costs per unit of size, as far as units of it were timed."""

    seconds: float = 0.0
    bytes: float = 0.0
    size: float = 0.0

    def add(self, timing: Timing) -> None:
        """One more unit was timed."""
        self.seconds += timing.seconds
        self.bytes += timing.bytes
        self.size += timing.size


@dataclass
class Estimates:
    """The rates of every stage; a stage that was never timed has none."""

    rates: dict[str, Rates] = field(default_factory=lambda: defaultdict(Rates))

    @classmethod
    def of(cls, stages: Iterable[str], store: Store) -> Estimates:
        """From the timings the store holds."""
        made = cls()
        for stage in set(stages):
            for timing in store.timings(stage):
                made.rates[stage].add(timing)
        return made

    def seconds(self, sizes: Mapping[str, float]) -> float | None:
        """Of work, for the total size of each stage; None where a stage was never timed."""
        return self._sum({name: rate.seconds / rate.size for name, rate in self._known()}, sizes)

    def bytes(self, sizes: Mapping[str, float]) -> float | None:
        """Of outputs, likewise."""
        return self._sum({name: rate.bytes / rate.size for name, rate in self._known()}, sizes)

    def _known(self) -> list[tuple[str, Rates]]:
        return [(name, rate) for name, rate in self.rates.items() if rate.size > 0]

    @staticmethod
    def _sum(rates: Mapping[str, float], sizes: Mapping[str, float]) -> float | None:
        wanted = {name: size for name, size in sizes.items() if size > 1e-9}  # sums may be off by roundings
        if wanted.keys() - rates.keys():
            return None
        return sum(rates[name] * size for name, size in wanted.items())


@dataclass(frozen=True)
class StagePlan:
    """One stage's part. ``seconds`` of one worker and ``bytes`` are None where the stage was never timed."""

    total: int
    cached: int
    failed: int  #: of those cached: failures, which are replayed
    seconds: float | None
    bytes: float | None

    @property
    def to_do(self) -> int:
        """Units to compute."""
        return self.total - self.cached


@dataclass(frozen=True)
class Plan:
    """What a run will do, by stage in the order of the work."""

    stages: Mapping[str, StagePlan]

    @property
    def total(self) -> int:
        """Units."""
        return sum(part.total for part in self.stages.values())

    @property
    def cached(self) -> int:
        """Units that are done already."""
        return sum(part.cached for part in self.stages.values())

    @property
    def to_do(self) -> int:
        """Units to compute."""
        return self.total - self.cached

    @property
    def seconds(self) -> float | None:
        """Of work for one worker; None where a stage with work to do was never timed."""
        return _total([part.seconds for part in self.stages.values()])

    @property
    def bytes(self) -> float | None:
        """That the outputs will take, likewise."""
        return _total([part.bytes for part in self.stages.values()])


def make_plan(units: Iterable[Unit], store: Store, *, fresh: bool = False) -> Plan:
    """Look up what is done, and estimate what is not; computes nothing."""
    unique = {unit.key: unit for unit in units}
    done = {} if fresh else kept(unique, store)
    estimates = Estimates.of((unit.stage for unit in unique.values()), store)
    by_stage: dict[str, list[Unit]] = defaultdict(list)
    for unit in unique.values():
        by_stage[unit.stage].append(unit)
    stages = {}
    for stage, those in by_stage.items():
        ahead = {stage: sum(unit.size for unit in those if unit.key not in done)}
        stages[stage] = StagePlan(
            total=len(those),
            cached=sum(unit.key in done for unit in those),
            failed=sum(done.get(unit.key) is not None for unit in those),
            seconds=estimates.seconds(ahead),
            bytes=estimates.bytes(ahead),
        )
    return Plan(stages)


def describe(plan: Plan, *, workers: int = 1) -> str:
    """The plan as a table for ``--plan``."""
    rows = [("stage", "units", "done", "to do", "time", "disk")]
    for stage, part in plan.stages.items():
        done = f"{part.cached}" + (f" ({part.failed} failed)" if part.failed else "")
        rows.append(
            (stage, f"{part.total}", done, f"{part.to_do}", *_costs(part.seconds, part.bytes, workers))
        )
    costs = _costs(plan.seconds, plan.bytes, workers)
    rows.append(("all", f"{plan.total}", f"{plan.cached}", f"{plan.to_do}", *costs))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(t.rjust(w) for t, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
    lines.append(f"Time with {workers} worker{'s' * (workers != 1)}, from what such units took before.")
    if plan.seconds is None:
        lines.append("?: no unit of this stage was timed yet; after the first few the run itself will say.")
    return "\n".join(lines)


def _costs(seconds: float | None, size: float | None, workers: int) -> tuple[str, str]:
    time = "?" if seconds is None else duration(seconds / max(workers, 1))
    return time, "?" if size is None else gigabytes(size)


def duration(seconds: float) -> str:
    """Time in words, to two digits or so.

    >>> duration(0.4), duration(42), duration(600), duration(9000)
    ('0 s', '42 s', '10 min', '2.5 h')
    """
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"{seconds / 3600:.1f} h"


def gigabytes(size: float) -> str:
    """Bytes in words.

    >>> gigabytes(2_000), gigabytes(5e8), gigabytes(3e10)
    ('0.0 MB', '500.0 MB', '30.0 GB')
    """
    return f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"


def _total(parts: Iterable[float | None]) -> float | None:
    parts = list(parts)
    return None if None in parts else sum(part for part in parts if part is not None)
