#!/usr/bin/env python
"""Hold the fast engine against OpenSim at accuracy 1e-9 on real trials and made-up noisy ones.

    python scripts/check_ik.py --data ../shared/data [--trials walking1 DJ1] [--made 350]

Per set of frames: where our cost is higher (should be nowhere), the largest projected gradient, and the
largest differences of angles, lower body with trunk and others apart. Left out of the differences and
counted: frames in which OpenSim stays in a worse minimum (cost more than 1e-4 above ours), and coordinates
that the markers hardly determine (standard deviation above 20°).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from capbench.biomech import kinematics, opensim_tools
from capbench.biomech.fit import fit
from capbench.biomech.matching import plan
from capbench.biomech.osim import read_markers, read_model
from capbench.biomech.osim_write import write_model
from capbench.biomech.problem import build_problem
from capbench.biomech.verify import cost_of
from cohorts import Markers, Motion
from cohorts.formats import storage, trc

ARMS = ("arm", "elbow", "pro_sup", "wrist")
UNSEEN = ("mtp",)


def compare(name: str, markers: Markers, model: Path, tasks: Path | None) -> bool:
    """Solve in both engines, print a row, and say whether ours was never higher."""
    begun = time.perf_counter()
    ours = fit(markers, model, tasks=tasks)
    middle = time.perf_counter()
    theirs = opensim_tools.fit(markers, model, tasks=tasks, accuracy=1e-9)
    problem = build_problem(read_model(model), plan(markers, model, tasks).weights)
    names = problem.tree.coordinates
    q, reference = (found.motion.select(names).values for found in (ours, theirs))
    cost, opensim = cost_of(problem, q, markers), cost_of(problem, reference, markers)
    there = np.isfinite(cost) & np.isfinite(opensim)
    higher = int((cost > opensim * (1 + 1e-9) + 1e-18)[there].sum())
    same = there & (opensim <= cost * (1 + 1e-4) + 1e-10)
    gap = np.abs(q - reference)[same]
    turning = [i for i, n in enumerate(names) if not n.endswith(("_tx", "_ty", "_tz"))]
    whole = 2 * np.pi * np.round(gap[:, turning] / (2 * np.pi))  # a turn more or less is the same pose
    gap[:, turning] = np.abs(gap[:, turning] - whole)
    assert ours.certificate is not None
    observed, sigma = ours.certificate.observed[same], ours.certificate.sigma[same]
    unsure = observed & ~(sigma < np.radians(20))
    seen = observed & ~unsure & ~np.isnan(gap)

    def worst(chosen: list[int], scale: float) -> float:
        return scale * float(np.where(seen, gap, 0)[:, chosen].max(initial=0)) if chosen else 0.0

    slides = [i for i, n in enumerate(names) if n.endswith(("_tx", "_ty", "_tz"))]
    arms = [i for i, n in enumerate(names) if n.startswith(ARMS)]
    rest = [i for i in range(len(names)) if i not in slides + arms]
    print(
        f"{name:26}{there.sum():7}{higher:8}{np.nanmax(ours.certificate.gradient):10.1e}"
        f"{int(there.sum() - same.sum()):7}{unsure.sum():8}"
        f"{worst(rest, 180 / np.pi):10.4f}{worst(arms, 180 / np.pi):9.3f}"
        f"{worst(slides, 1000):9.4f}{middle - begun:9.2f}{theirs.seconds:9.1f}",
        flush=True,
    )
    return higher == 0


def made_up(
    model_file: Path, marker_file: Path, motion: Motion, folder: Path, frames: int
) -> list[tuple[str, Markers]]:
    """Noisy markers of real poses, the subject turning all the way round, some markers missing."""
    model = read_model(model_file).with_markers(read_markers(marker_file))
    write_model(model, folder / "made_up.osim", overwrite=True)
    rng = np.random.default_rng(0)
    rows = np.linspace(0, len(motion) - 1, frames).astype(int)
    values = motion.values[rows].copy()
    values[:, motion.names.index("pelvis_rotation")] += np.linspace(0, 2 * np.pi, frames)
    turned = Motion(np.arange(frames) / 100, motion.names, values, motion.kinds, motion.coupled)
    clean = kinematics.marker_tracks(model, turned)
    made = []
    for noise in (0.0, 0.005, 0.02):
        xyz = clean.xyz + rng.normal(0, noise, clean.xyz.shape)
        xyz[rng.random(xyz.shape[:2]) < 0.03] = np.nan
        made.append((f"made up, {1000 * noise:g} mm", replace(Markers(clean.time, clean.names, xyz))))
    return made


def main() -> None:
    """Parse, compare, leave with 1 if OpenSim's cost was lower anywhere."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--trials", nargs="*", default=["walking1", "walking2", "DJ1", "static1", "squats1"])
    parser.add_argument("--made", type=int, default=350, help="frames per noise level")
    args = parser.parse_args()
    subject, setup = args.data / "labvalidation_subject4", args.data / "opencap_setup"
    gait = args.data / "opensim_gait2354"
    print(
        f"{'':26}{'frames':>7}{'higher':>8}{'gradient':>10}{'worse':>7}{'unsure':>8}"
        f"{'legs °':>10}{'arms °':>9}{'mm':>9}"
        f"{'ours s':>9}{'theirs s':>9}"
    )
    fine = [
        compare(trial, trc.read(subject / f"markers/{trial}.trc"), subject / "model/manually_scaled.osim",
                setup / "Setup_IK_Mocap.xml")
        for trial in args.trials
    ]  # fmt: skip
    fine.append(
        compare("gait2354 walk1", trc.read(gait / "subject01_walk1.trc"), gait / "subject01_simbody.osim",
                gait / "subject01_Setup_IK.xml")
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        marker_file = setup / "RajagopalModified2016_markers_mmpose_final_adjusted.xml"
        motion = storage.read(subject / "reference_ik/squats1.mot")
        assert isinstance(motion, Motion)
        for label, markers in made_up(setup / "LaiUhlrich2022.osim", marker_file, motion, folder, args.made):
            tasks = setup / "Setup_IK_mmpose_final_adjusted.xml"
            fine.append(compare(label, markers, folder / "made_up.osim", tasks))
    raise SystemExit(0 if all(fine) else 1)


if __name__ == "__main__":
    main()
