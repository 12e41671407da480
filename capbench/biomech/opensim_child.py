"""Child process in which OpenSim fits or scales a model; it prints, it crashes and it hangs on odd files.

Run by path, as ``python -P opensim_child.py JOB``: it imports nothing of capbench. JOB is a JSON file that
:mod:`capbench.biomech.opensim_tools` or :mod:`capbench.biomech.opensim_scale` wrote; the answers are left
beside it.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

REFUSED = 65  #: exit status when OpenSim itself says no; the last line of the log says why
NO_OPENSIM = 3


def main(job_file: str) -> None:
    """Do the job, and leave ``done.json`` and what the tool writes in the current folder."""
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    try:
        import opensim
    except ImportError as error:
        leave(NO_OPENSIM, f"the package opensim can't be imported: {error}")
    opensim.Logger.removeFileSink()  # it would leave an opensim.log in the current folder
    try:
        done = scale(opensim, job) if job.get("tool") == "scale" else fit(opensim, job)
    except RuntimeError as error:  # what OpenSim's C++ exceptions become
        leave(REFUSED, first_cause(str(error)))
    Path("done.json").write_text(json.dumps(done), encoding="utf-8")
    leave(0, "done")


def fit(opensim: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Run the inverse kinematics tool; says how long it took (s) and what kind each coordinate is."""
    model = opensim.Model(job["model"])  # must outlive the tool, which only borrows it
    tool = opensim.InverseKinematicsTool()
    tool.setName("fit")
    tool.setModel(model)
    tool.set_marker_file(job["markers"])
    tool.set_accuracy(job["accuracy"])
    tool.setStartTime(-math.inf)
    tool.setEndTime(math.inf)  # the tool's own default stops at 2.0 s
    tool.set_output_motion_file("fit.mot")
    tool.set_results_directory(".")
    tool.set_report_errors(True)
    tasks = opensim.IKTaskSet()
    for name, weight in job["marker_tasks"]:
        task = opensim.IKMarkerTask()
        task.setName(name)
        task.setWeight(weight)
        tasks.cloneAndAppend(task)
    for name, weight, kind, value in job["coordinate_tasks"]:
        task = opensim.IKCoordinateTask()
        task.setName(name)
        task.setWeight(weight)
        task.setValueType(opensim.IKCoordinateTask.StringToValueType(kind))
        task.setValue(value)
        tasks.cloneAndAppend(task)
    tool.set_IKTaskSet(tasks)
    began = time.perf_counter()
    if not tool.run():
        leave(REFUSED, "OpenSim's inverse kinematics tool did not finish")
    seconds = time.perf_counter() - began
    coordinates = model.getCoordinateSet()
    kinds = {
        coordinates.get(i).getName(): int(coordinates.get(i).getMotionType())
        for i in range(coordinates.getSize())
    }
    return {"seconds": seconds, "kinds": kinds, "version": str(opensim.GetVersion())}


def scale(opensim: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Run the scale tool on a set-up that names its files; says every factor to the last digit."""
    tool = opensim.ScaleTool(job["setup"])
    tool.setPathToSubject("")  # else it looks for the files beside nothing
    model = tool.createModel()
    state = model.initSystem()
    model.realizePosition(state)
    scaler = tool.getModelScaler()
    recorded = opensim.MarkerData(job["markers"])
    recorded.convertToUnits(model.getLengthUnits())
    measurements = scaler.getMeasurementSet()
    factors = {}
    for i in range(measurements.getSize()):
        measurement = measurements.get(i)
        factor = scaler.computeMeasurementScaleFactor(state, model, recorded, measurement)
        factors[measurement.getName()] = factor if math.isfinite(factor) else None
    began = time.perf_counter()
    if not tool.run():
        leave(REFUSED, "OpenSim's scale tool did not finish")
    seconds = time.perf_counter() - began
    return {"factors": factors, "seconds": seconds, "version": str(opensim.GetVersion())}


def first_cause(message: str) -> str:
    """What an OpenSim exception says, without where in its source it was thrown."""
    lines = [line.strip() for line in message.splitlines()]
    kept = [line for line in lines if line and not line.startswith(("Thrown at", "In Object"))]
    kept = [line.rpartition("std::exception in ")[2].partition("': ")[2] or line for line in kept]
    return " ".join(kept) or "OpenSim failed without a word"


def leave(status: int, word: str) -> NoReturn:
    """End at once: OpenSim's own clearing up at exit can crash after all is done."""
    sys.stdout.flush()
    sys.stderr.write(word + "\n")
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main(sys.argv[1])
