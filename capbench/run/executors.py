"""Units in, outcomes out: by local processes under supervision, or on a Dask cluster.

How a stage function is written
-------------------------------
A run has one work function, named ``"module:function"`` because it is imported in the worker::

    def work(unit: Unit, context: dict[str, Any], inputs: Mapping[str, bytes]) -> bytes:
        if unit.stage == "predict":
            return predict(unit, context)
        ...

- ``context`` is the JSON that :func:`run_units` was given as ``shared``: paths, mostly. What changes an
  output belongs in ``unit.params`` or ``unit.inputs``, or it is not in the key.
- ``inputs`` holds the outputs of the units named in ``unit.needs`` and ``unit.inputs``, by input name
  (:func:`units.unpack` reads them); those that ``unit.may_lack`` and that failed are not in it.
- It returns bytes that depend on the unit alone: :func:`units.pack`. No clock, no host, no absolute path, no
  chance without a seed from ``params``.
- What it opens may stay open between units (a module's ``functools.lru_cache``): a worker is given units of
  one stage after another. It must not matter which units came before.
- To fail, raise :class:`units.UnitError`, which says whose fault it is and of which kind. Any other
  ``CapbenchError`` is the fault of ``unit.blame`` (kind "unusable"; "refused" for safety), but an
  ``EnvironmentFault``, and any other exception is ``unit.blame``'s too (kind "threw").
- It may print: that goes nowhere, but for the last line where its process dies.

What happens to a unit that ends its worker
-------------------------------------------
It is tried once more in a fresh process. Twice killed from outside, it fails by the environment ("killed").
Twice over a limit ("hung", "memory") or crashed by itself ("crashed"), it fails by the fault of
``unit.blame``. Faults of the environment are in the outcomes and never in the store: the next run tries
again. A full disk ends the run with an ``EnvironmentFault``, Ctrl-C with ``KeyboardInterrupt``; what was
done is kept in both cases.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from capbench.run.agenda import Agenda
from capbench.run.plan import Estimates
from capbench.run.store import Store
from capbench.run.supervise import Child, Limits, Setup, wait_for
from capbench.run.units import Failed, Unit
from capbench.run.worker import Report, find_work, perform
from cohorts.errors import CapbenchError, EnvironmentFault

__all__ = ["Executor", "Limits", "Outcomes", "Progress", "run_units"]

Executor: TypeAlias = Literal["local", "dask"]
TRIES = 2  #: how often a unit may end its worker
STARTS = 5  #: how many workers in a row may die before they are ready


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    done: int  #: units with an outcome, those kept from before included
    total: int
    cached: int  #: units that were done before this run
    failed: int
    seconds_left: float | None  #: None while it can't be told
    last: Unit | None = None  #: what was just done


Told: TypeAlias = Callable[[Progress], None]


@dataclass(frozen=True)
class Outcomes:
    """What became of every unit; outputs are read from the store when asked for."""

    units: Mapping[str, Unit]
    failures: Mapping[str, Failed]
    cached: int
    store: Store = field(repr=False)

    def __getitem__(self, which: Unit | str) -> bytes | Failed:
        """The output of a unit (or of its key), or why it has none."""
        key = which if isinstance(which, str) else which.key
        if key not in self.units:
            raise KeyError(which)
        found = self.failures.get(key) or self.store.get(key)
        if found is None:
            raise EnvironmentFault(
                f"Expected the output of {self.units[key]} in the store, got none: damaged or removed.",
                file=self.store.root,
                fix="give the same command again",
            )
        return found

    def __iter__(self) -> Iterator[tuple[Unit, Failed | None]]:
        """Each unit in the order given, with its failure."""
        return ((unit, self.failures.get(key)) for key, unit in self.units.items())

    def seconds(self) -> dict[str, float]:
        """What each stage's units cost when they were computed, together, by this run or an earlier one."""
        found: dict[str, float] = {}
        for key, unit in self.units.items():
            if (timing := self.store.timing(key, unit.stage)) is not None:
                found[unit.stage] = found.get(unit.stage, 0.0) + timing.seconds
        return found


def run_units(
    units: Iterable[Unit],
    work: str,
    store: Store,
    *,
    shared: Any = None,
    workers: int = 1,
    limits: Limits | None = None,
    threads: int = 1,
    told: Told | None = None,
    executor: Executor = "local",
    scheduler: str | None = None,
    fresh: bool = False,
) -> Outcomes:
    """Compute every unit that the store does not hold.

    Parameters
    ----------
    units : in any order; equal keys are computed once
    work : ``"module:function"``, see above
    shared : JSON for every call
    workers : local processes; 0 works in this process, for a debugger: no limits, a crash is ours, and its
        own number of threads decides the last digits
    limits : of each attempt
    threads : for each worker's numerical libraries; see :class:`supervise.Setup`
    told : called after each unit
    executor, scheduler : ``"dask"`` and the address of its scheduler, instead of local processes
    fresh : compute what the store holds too, and replace it
    """
    agenda = Agenda(units, store, fresh=fresh)
    desk = Desk(agenda, store, told=told, workers=max(workers, 1))
    context = json.loads(json.dumps(shared))  # what the stages see must not depend on the executor
    setup = Setup(work, context, str(store.root.absolute()), threads, fresh)
    limits = limits or Limits()
    if agenda.finished:
        desk.tell(None)
    elif executor == "dask":
        from capbench.run.dask_executor import run_on_dask

        if scheduler is None:
            raise CapbenchError(
                "Expected the address of a Dask scheduler, got none.", fix="--scheduler tcp://HOST:8786"
            )
        run_on_dask(desk, setup, limits, scheduler)
    elif workers == 0:
        _run_here(desk, setup)
    else:
        _run_local(desk, setup, limits, workers)
    failures = {key: failed for key, failed in agenda.outcomes.items() if failed is not None}
    return Outcomes(agenda.units, failures, agenda.cached, store)


class Desk:
    """Where reports come in: what each means for its unit, and for the run."""

    def __init__(self, agenda: Agenda, store: Store, *, told: Told | None, workers: int) -> None:
        self.agenda = agenda
        self.store = store
        self.workers = workers
        self._told = told
        self._losses: dict[str, list[Failed]] = defaultdict(list)
        self._starts = 0
        self._estimates = Estimates.of((unit.stage for unit in agenda.units.values()), store)

    def file(self, unit: Unit | None, report: Report) -> None:
        """Take the report on a unit; one that is lost for the first time goes back on the agenda."""
        failed = report.failed
        if report.state == "stop":
            assert failed is not None
            room = "make room on the disk, then " if failed.kind == "disk" else ""
            raise EnvironmentFault(
                f"The run stopped at {unit}: {failed.reason}.",
                fix=f"{room}the same command again: what is done is kept",
            )
        if failed is not None and failed.kind == "start":
            self._starts += 1
            if self._starts >= STARTS:
                raise EnvironmentFault(f"{STARTS} workers in a row died at their start: {failed.reason}.")
        if unit is None:
            return
        if failed is None or failed.kind != "start":
            self._starts = 0
        if report.state == "lost":
            assert failed is not None
            self._lost(unit, failed)
            return
        if report.timing is not None:
            self._estimates.rates[unit.stage].add(report.timing)
        self._settle(unit, failed)

    def _lost(self, unit: Unit, failed: Failed) -> None:
        losses = self._losses[unit.key]
        losses.append(failed)
        if len(losses) < TRIES:
            self.agenda.put_back(unit)
            return
        own = all(loss.kind in ("hung", "memory", "crashed") for loss in losses)
        final = Failed(unit.blame if own else "environment", failed.kind, f"{failed.reason} ({TRIES} times)")
        if final.fault != "environment":
            # a lost worker may have kept an output on its way out, from which nothing was computed yet
            self.store.put(unit.key, final, overwrite=True)
        self._settle(unit, final)

    def _settle(self, unit: Unit, failed: Failed | None) -> None:
        self.agenda.settle(unit, failed)
        self.tell(unit)

    def tell(self, unit: Unit | None) -> None:
        """Say how far the run is."""
        if self._told is None:
            return
        agenda = self.agenda
        seconds = self._estimates.seconds(agenda.ahead)
        self._told(
            Progress(
                done=len(agenda.outcomes),
                total=len(agenda.units),
                cached=agenda.cached,
                failed=agenda.failed,
                seconds_left=None if seconds is None else seconds / self.workers,
                last=unit,
            )
        )


def _run_here(desk: Desk, setup: Setup) -> None:
    work = find_work(setup.work)
    while (unit := desk.agenda.take()) is not None:
        told = Unit.from_dict(json.loads(json.dumps(unit.to_dict())))  # as a worker would be
        desk.file(unit, perform(told, work, setup.context, desk.store, overwrite=setup.overwrite))
    _check_finished(desk)


def _run_local(desk: Desk, setup: Setup, limits: Limits, workers: int) -> None:
    agenda = desk.agenda
    children: list[Child] = []
    try:
        while not agenda.finished:
            _give_out(agenda, children, setup, limits, workers)
            if not agenda.ready and not any(child.unit for child in children):
                break
            wait_for(children)
            for child in list(children):
                unit = child.unit
                report = child.look()
                if report is None:
                    continue
                if report.state == "lost":
                    children.remove(child)
                desk.file(unit, report)
    finally:
        for child in children:
            child.kill()
    _check_finished(desk)


def _give_out(agenda: Agenda, children: list[Child], setup: Setup, limits: Limits, workers: int) -> None:
    """Units to idle workers; more workers where there are more units than workers."""
    for child in children:
        others = {other.stage for other in children if other is not child}
        if child.idle and (unit := agenda.take(child.stage, others)) is not None:
            child.give(unit)
    starting = sum(not child.ready for child in children)
    while len(children) < workers and agenda.ready > starting:
        children.append(Child(setup, limits))
        starting += 1


def _check_finished(desk: Desk) -> None:
    if not desk.agenda.finished:
        left = [str(unit) for key, unit in desk.agenda.units.items() if key not in desk.agenda.outcomes]
        raise ValueError(f"these units need each other in a circle: {', '.join(left[:6])}")
