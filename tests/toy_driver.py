"""A whole run in a process of its own, to be killed: STORE CONTEXT WHAT WORKERS ANSWER."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from toy_work import WORK, ladder

from capbench.run.executors import run_units
from capbench.run.store import Store
from capbench.run.units import Unit


def main(root: str, context: str, what: str, workers: str, answer: str) -> int:
    kind, _, count = what.partition(" ")
    units = ladder(int(count)) if kind == "ladder" else [Unit("bad", kind, params={"how": kind})]
    try:
        outcomes = run_units(units, WORK, Store(root), shared=json.loads(context), workers=int(workers))
    except KeyboardInterrupt:
        return 130
    lines = [
        f"{unit} {unit.key} {failed or hashlib.sha256(outcomes[unit]).hexdigest()}"
        for unit, failed in outcomes
    ]
    Path(answer).write_text("\n".join(lines))
    return 1 if outcomes.failures else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
