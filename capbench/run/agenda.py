"""What is done, what can be done next, and what a failure means for the units that need it."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Iterable

from capbench.run.store import Store
from capbench.run.units import Failed, Unit


class Agenda:
    """The order of work on ``units``: as given, as far as their needs allow.

    What ``store`` holds is done already, unless ``fresh``. A need that is no unit of the list must be there.

    Attributes
    ----------
    units : by key; equal keys are one unit
    outcomes : key -> None for an output, which is in the store, or the failure
    cached : how many were done already
    failed : how many of the outcomes are failures
    ahead : stage -> size of its units without an outcome
    """

    def __init__(self, units: Iterable[Unit], store: Store, *, fresh: bool = False) -> None:
        self.units: dict[str, Unit] = {}
        for unit in units:
            self.units.setdefault(unit.key, unit)
        self.outcomes: dict[str, Failed | None] = {} if fresh else kept(self.units, store)
        self.cached = len(self.outcomes)
        self.failed = sum(failed is not None for failed in self.outcomes.values())
        self.ahead: dict[str, float] = defaultdict(float)
        #: key -> the unit that failed first, and its failure: what those that need it will say
        self._roots = {key: (str(self.units[key]), failed) for key, failed in self.outcomes.items() if failed}
        self._roots |= self._earlier_failures(store)
        self._waits: dict[str, set[str]] = {}
        self._needed_by: dict[str, list[str]] = defaultdict(list)
        self._ready: dict[str, deque[Unit]] = defaultdict(deque)
        self._again: deque[Unit] = deque()
        for key, unit in self.units.items():
            if key in self.outcomes:
                continue
            self.ahead[unit.stage] += unit.size
            self._waits[key] = {need for need in unit.needs if need in self.units} - self.outcomes.keys()
            for need in self._waits[key]:
                self._needed_by[need].append(key)
            if not self._waits[key]:
                self._open(unit)

    @property
    def finished(self) -> bool:
        """Whether every unit has its outcome."""
        return len(self.outcomes) == len(self.units)

    @property
    def ready(self) -> int:
        """How many units could be begun now."""
        return len(self._again) + sum(map(len, self._ready.values()))

    def take(self, stage: str = "", others: Collection[str] = ()) -> Unit | None:
        """The next unit to begin.

        Of ``stage`` where there is one: its worker has the model open. Else rather of none of the ``others``,
        which other workers are at. Without a stage it is for a fresh worker, and those to be done again come
        first.
        """
        if not stage and self._again:
            return self._again.popleft()
        open_stages = [name for name, units in self._ready.items() if units]
        if not open_stages:
            return None
        if stage not in open_stages:
            stage = next((name for name in open_stages if name not in others), open_stages[0])
        return self._ready[stage].popleft()

    def put_back(self, unit: Unit) -> None:
        """A unit that was taken is to be done again, by a fresh worker."""
        self._again.append(unit)

    def settle(self, unit: Unit, failed: Failed | None) -> None:
        """A unit that was taken has its outcome; those that waited for it become ready, or fail with it."""
        if failed is not None:
            self._roots[unit.key] = str(unit), failed
        self._record(unit, failed)
        settled = [unit.key]
        while settled:  # no recursion: chains may be long
            key = settled.pop()
            for later in self._needed_by.pop(key, ()):
                self._waits[later].remove(key)
                if not self._waits[later] and not self._open(self.units[later]):
                    settled.append(later)

    def _open(self, unit: Unit) -> bool:
        """All its needs are settled: it is ready (True), or fails as the first did that it can't lack."""
        can_lack = {unit.inputs[name] for name in unit.may_lack}
        for need in unit.needs:
            first, failed = self._roots.get(need, ("", None))
            if failed is None or (need in can_lack and failed.fault != "environment"):
                continue
            self._roots[unit.key] = first, failed
            self._record(unit, Failed(failed.fault, failed.kind, f"needs {first}: {failed.reason}"))
            return False
        self._ready[unit.stage].append(unit)
        return True

    def _record(self, unit: Unit, failed: Failed | None) -> None:
        self.outcomes[unit.key] = failed
        self.failed += failed is not None
        self.ahead[unit.stage] -= unit.size

    def _earlier_failures(self, store: Store) -> dict[str, tuple[str, Failed]]:
        """Those among the needs that are no units of the list."""
        earlier = {need for unit in self.units.values() for need in unit.needs} - self.units.keys()
        found = kept(earlier, store)
        if missing := earlier - found.keys():
            needing = next(unit for unit in self.units.values() if missing & set(unit.needs))
            raise ValueError(f"{needing} needs a unit that is neither in the list nor in the store")
        return {key: ("an earlier unit", failed) for key, failed in found.items() if failed}


def kept(keys: Iterable[str], store: Store) -> dict[str, Failed | None]:
    """The outcomes among ``keys`` that the store holds whole."""
    found: dict[str, Failed | None] = {}
    for key in keys:
        had = store.get(key)
        if had is not None:
            found[key] = had if isinstance(had, Failed) else None
    return found
