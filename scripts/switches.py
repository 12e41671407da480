#!/usr/bin/env python
"""What each part of the training is good for: the same training with it and without it, over several seeds.

    python scripts/switches.py runs/switches                       # some 20 minutes on one core
    python scripts/switches.py runs/switches --only surgery part-drop --seeds 3
    python scripts/switches.py /tmp/try --samples 64 --seeds 2 --people 2 --pictures 240     # does it run?

Tiny networks (recipe tiny-cpu, its people and pictures) learn from few pictures; errors are pixels of the
64 x 96 crops of other people, never trained on and never chosen by. Training goes on where it was stopped:
every training keeps its folder. Writes ``switches.md`` and ``switches.json`` and prints the table.

A switch is paired within seeds: weights, order and augmentation follow from the same seed on both sides.
What it does is called shown where the 95 % t-interval of the paired differences leaves out 0; intervals are
not adjusted for the number of switches.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # read by the libraries when they are imported
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from scipy import stats

from cohorts.bounded import load_json, write_text
from cohorts.errors import CapbenchError
from cohorts.store import sha256
from synthpose import looks
from synthpose.adapt import ADAPTATION, adapt
from synthpose.adaptation import Adaptation, Crops
from synthpose.augment import NOTHING, Augmentation, Augmenter
from synthpose.distill import Distillation, distill, teacher_from
from synthpose.feeding import Batch, Feed, Held, Labelled, Order, held, weights
from synthpose.plausible import Plausible, learned
from synthpose.shards import Shards, write_shards
from synthpose.train import MODEL, Start, load_trained, start_from, train
from synthpose.train_recipe import TrainRecipe, merged, read_recipe

SAMPLES = 5000  #: pictures that each phase trains on: 20 s on a core
PICTURES = 1200  #: of which the last 120 choose the best weights
SEEDS = 3
PEOPLE = 10  #: to be tested on, 60 pictures each
TEST_SEED = 70_007  #: of their data, in place of the recipe's 7
DROP = 0.25  #: share of pictures with patches around points removed, where PartDrop is on
COVERED = 0.5  #: what the weight of covered points is multiplied by, only to be told from others
SECOND = 0.2  #: steps of a distillation's second stage, as a share of the first's
ROUNDS = 3  #: of an adaptation, half a phase's pictures each
SCORES = "scores.json"
#: what an error is measured on: name -> pictures, words
MEASURES = {
    "px": ("plain", "pictures as they are"),
    "px_patched": ("patched", "patches over points: all points"),
    "px_covered": ("patched", "patches over points: those under them"),
    "px_foreign": ("foreign", "pictures of the poor camera"),
}
#: what makes pictures look as if a poor camera had taken them, which no training has seen like this
POOR = NOTHING.model_copy(update=dict.fromkeys(("grey", "blur", "coarse", "noise", "compression"), 1.0))
#: the network that learns from the other one: half its channels
SMALL = {"stages": [12, 24, 32, 48], "stem": 8, "width": 24}
Scores = Mapping[str, float]


@dataclass(frozen=True)
class Bench:
    """Where trainings lie, and what they train and are tested on."""

    folder: Path
    samples: int
    people: int
    pictures: int
    workers: int

    @cached_property
    def base(self) -> TrainRecipe:
        """The recipe that every training changes."""
        return read_recipe("tiny-cpu")

    @cached_property
    def data(self) -> Held:
        """Pictures to train on."""
        return self._pictures("train", self.pictures)

    @cached_property
    def prior(self) -> Plausible:
        """Of the postures that are trained on."""
        return learned(self.data, self.base.points)

    @cached_property
    def plain(self) -> Held:
        """Pictures of people to test on."""
        assert self.base.data is not None
        return self._pictures("test", self.people * self.base.data.shots_per_person, seed=TEST_SEED)

    @cached_property
    def patched(self) -> Held:
        """The same with patches over points; the weights of covered points are ``COVERED``."""
        return changed(self.plain, NOTHING.model_copy(update={"part_drop": 1.0, "covered": COVERED}))

    @cached_property
    def foreign(self) -> Held:
        """The same as a poor camera shows them."""
        return changed(self.plain, POOR)

    @cached_property
    def unlabelled(self) -> Crops:
        """Other people as that camera shows them, whose points nobody knows."""
        assert self.base.data is not None
        each = self.base.data.shots_per_person
        some = changed(self._pictures("unlabelled", self.people * each, seed=TEST_SEED + 1), POOR)
        return Crops(some.pictures, np.arange(len(some)) // each)

    def _pictures(self, name: str, count: int, **changes: Any) -> Held:
        assert self.base.data is not None
        data = self.base.data.model_copy(update=changes)
        folder = self.folder / "pictures" / name
        write_shards(data, folder, count=count, workers=self.workers, told=_say)
        return held(Labelled(Shards(folder)))

    def recipe(self, name: str, seed: int, **changes: Any) -> TrainRecipe:
        """The base recipe with these changes; ``samples`` are those of one phase unless changed."""
        own = {"name": name, "seed": seed, "samples": self.samples, **changes}
        return TrainRecipe.model_validate(merged(self.base.model_dump(), own))

    def trained(self, name: str, seed: int, *, start: Start | None = None, **changes: Any) -> Path:
        """The folder of a training, done if need be."""
        folder = self.folder / f"{name}-{seed}"
        recipe = self.recipe(name, seed, **changes)
        assert recipe.data is not None
        if not (folder / "training.json").exists():
            _say(f"{folder.name}: {recipe.steps(len(self.data))} steps")
        train(recipe, folder, data=self.data, data_hash=recipe.data.digest, start=start)
        return folder

    def scores(self, folder: Path, measures: Sequence[str]) -> Scores:
        """Errors of a training's best weights on the test's people, looked up where they are known."""
        file = folder / SCORES
        of = {"weights": sha256(folder / MODEL), "people": self.people}
        kept = load_json(file) if file.exists() else {}
        found: dict[str, float] = dict(kept["scores"]) if kept.get("of") == of else {}
        for source in sorted({MEASURES[name][0] for name in measures if name not in found}):
            found |= self._measured(folder, source)
        write_text(file, json.dumps({"of": of, "scores": found}, indent=1) + "\n", overwrite=True)
        return {name: found[name] for name in measures}

    def _measured(self, folder: Path, name: str) -> dict[str, float]:
        recipe, net = load_trained(folder)
        source: Held = getattr(self, name)
        feed = Feed(recipe, source, Order(len(source), recipe.batch, 0))
        numbers, device = np.arange(len(source)), torch.device("cpu")
        errors, weight = looks.point_errors(net, feed, numbers, device=device, autocast=False)
        if name != "patched":
            measure = next(k for k, (pictures, _) in MEASURES.items() if pictures == name)
            return {measure: looks.by_group(errors, weight, recipe.points)["px"]}
        covered = np.where(weight == COVERED, 1, 0).astype(np.float32)
        each = {"px_patched": weight, "px_covered": covered}
        return {key: looks.by_group(errors, w, recipe.points)["px"] for key, w in each.items()}


def changed(source: Held, how: Augmentation) -> Held:
    """All pictures of a source, changed once and for all."""
    change, random, size = Augmenter(how, source.skeleton), np.random.default_rng(11), 60
    made = []
    for k in range(0, len(source), size):
        pictures, points, visible = source.batch(np.arange(k, min(k + size, len(source))))
        made.append(change(Batch(pictures, points, weights(visible, hidden=1.0)), random))
    pictures, points, weight = (np.concatenate(column) for column in zip(*made, strict=True))
    return Held(source.skeleton, pictures, points, weight)


# --- switches -----------------------------------------------------------------------------------


Arm = Callable[[Bench, int], Path]  #: trains a seed, or looks it up, and gives its folder


@dataclass(frozen=True)
class Switch:
    """Something that can be on or off, and what its errors are measured on.

    ``note`` says something of a seed that is on.
    """

    name: str
    words: str
    on: Arm
    off: Arm
    measures: tuple[str, ...] = ("px", "px_patched", "px_covered")
    note: Callable[[Path], str] | None = None


def second(head: str) -> Arm:
    """52 points learnt in a second phase, from a backbone that knows 17; at half the rate, as mini-cpu."""

    def arm(bench: Bench, seed: int) -> Path:
        rate = bench.base.optimiser.rate / 2
        start = start_from(bench.trained("sparse", seed, skeleton="coco-17"))
        return bench.trained(f"second-{head}", seed, start=start, head=head, optimiser={"rate": rate})

    return arm


def scratch(name: str, phases: int = 2, **changes: Any) -> Arm:
    """52 points learnt from nothing, with the steps of so many phases."""

    def arm(bench: Bench, seed: int) -> Path:
        return bench.trained(name, seed, samples=phases * bench.samples, **changes)

    return arm


WHOLE = scratch("scratch")
ALONE = scratch("small", network={"options": SMALL})


def distilled(bench: Bench, seed: int) -> Path:
    """The small network taught by the whole one, in both stages as many steps as it has alone."""
    how = Distillation(second=SECOND)
    samples = round(2 * bench.samples / (1 + SECOND))
    recipe = bench.recipe("distilled", seed, samples=samples, network={"options": SMALL})
    assert recipe.data is not None
    out = bench.folder / f"distilled-{seed}"
    teacher = teacher_from(WHOLE(bench, seed))
    return distill(
        recipe, out, teacher=teacher, how=how, data=bench.data, data_hash=recipe.data.digest
    ).folder


def adapted(bench: Bench, seed: int) -> Path:
    """The whole network, gone on with pictures of the poor camera that nobody labelled."""
    asked = Adaptation(seed=seed, rounds=ROUNDS, samples=max(1, bench.samples // 2))
    out = bench.folder / f"adapted-{seed}"
    source = WHOLE(bench, seed)
    assert bench.base.data is not None
    return adapt(
        source,
        bench.unlabelled,
        out,
        prior=bench.prior,
        labelled=bench.data,
        labelled_hash=bench.base.data.digest,
        asked=asked,
    ).folder


def gone_on(bench: Bench, seed: int) -> Path:
    """The whole network, gone on with its own labelled pictures for as many steps, at the same rate."""
    rate = bench.base.optimiser.rate * Adaptation().rate
    return bench.trained(
        "gone-on",
        seed,
        start=start_from(WHOLE(bench, seed)),
        samples=ROUNDS * max(1, bench.samples // 2),
        optimiser={"rate": rate, "schedule": "constant", "warm_up": 0, "ema": Adaptation().ema},
    )


def taken(folder: Path) -> str:
    """Which weights an adaptation left, and why."""
    told = load_json(folder / ADAPTATION)
    return f"{told['taken']} kept ({told['verdict']['reason']})"


SWITCHES = (
    Switch("surgery", "head surgery after 17 points; off: scratch, as many steps in all",
           second("grown"), WHOLE),
    Switch("surgery-steps", "the same; off: scratch, as many steps as the second phase",
           second("grown"), scratch("scratch-short", 1)),
    Switch("surgery-head", "the same; off: the same backbone under a new head",
           second("grown"), second("new")),
    Switch("part-drop", f"PartDrop in {100 * DROP:.0f} % of the pictures; off: in none",
           scratch("part-drop", augment={"part_drop": DROP}),
           scratch("no-part-drop", augment={"part_drop": 0.0})),
    Switch("distillation", "a network of half the channels, distilled; off: alone, as many steps",
           distilled, ALONE),
    Switch("adaptation", "adaptation to a poor camera, without labels; off: as it was",
           adapted, WHOLE, ("px_foreign", "px"), taken),
    Switch("adaptation-steps", "the same; off: gone on with its own pictures, as many steps",
           adapted, gone_on, ("px_foreign", "px")),
)  # fmt: skip


# --- the table ----------------------------------------------------------------------------------


class Effect(NamedTuple):
    """A switch by one measure: each seed's pixels on and off, and their paired difference.

    Below 0, on is better.
    ``sd`` of the differences, ``low`` and ``high`` of their 95 % t-interval: NaN for one seed.
    """

    switch: str
    measure: str
    on: tuple[float, ...]
    off: tuple[float, ...]
    difference: float
    sd: float
    low: float
    high: float

    @property
    def word(self) -> str:
        """Whether it helps."""
        gaps = np.subtract(self.on, self.off)
        if not gaps.any():
            return "the same"
        if self.high < 0:
            return "helps"
        if self.low > 0:
            return "**harms**"
        if len(gaps) > 1 and (gaps < 0).all():
            return "not shown (better with every seed)"
        if len(gaps) > 1 and (gaps > 0).all():
            return "not shown (worse with every seed)"
        return "not shown"


def effect(switch: str, measure: str, on: Sequence[float], off: Sequence[float]) -> Effect:
    """The paired differences of seeds and what they show."""
    gaps = np.subtract(on, off)
    n, middle = len(gaps), float(gaps.mean())
    sd = float(gaps.std(ddof=1)) if n > 1 else float("nan")
    half = float(stats.t.ppf(0.975, n - 1)) * sd / n**0.5 if n > 1 else float("nan")
    return Effect(switch, measure, tuple(on), tuple(off), middle, sd, middle - half, middle + half)


def table(switches: Sequence[Switch], effects: Sequence[Effect]) -> str:
    """Markdown: a line for each switch and measure."""
    head = ("switch", "measured on", "on, px", "off, px", "on − off, px (95 %)", "SD", "each seed", "")
    lines = ["| " + " | ".join(head) + " |", "| --- | --- " + "| ---: " * 4 + "| --- | --- |"]
    words = {switch.name: switch.words for switch in switches}
    for one in effects:
        gaps = ", ".join(f"{a - b:+.2f}" for a, b in zip(one.on, one.off, strict=True))
        cells = [
            words[one.switch],
            MEASURES[one.measure][1],
            f"{np.mean(one.on):.2f}",
            f"{np.mean(one.off):.2f}",
            f"{one.difference:+.2f} ({one.low:+.2f} to {one.high:+.2f})",
            f"{one.sd:.2f}",
            gaps,
            one.word,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def run(bench: Bench, switches: Sequence[Switch], seeds: int) -> tuple[list[Effect], list[str]]:
    """Train and measure all arms, and what is to be noted; seed by seed: a stopped run has whole pairs."""
    found: dict[str, list[tuple[Scores, Scores]]] = {switch.name: [] for switch in switches}
    notes = []
    for seed in range(seeds):
        for switch in switches:
            on, off = switch.on(bench, seed), switch.off(bench, seed)
            found[switch.name].append((bench.scores(on, switch.measures), bench.scores(off, switch.measures)))
            if switch.note is not None:
                notes.append(f"{switch.name}, seed {seed}: {switch.note(on)}")
    effects = []
    for switch in switches:
        for measure in switch.measures:
            on_px, off_px = ([pair[k][measure] for pair in found[switch.name]] for k in (0, 1))
            effects.append(effect(switch.name, measure, on_px, off_px))
    return effects, notes


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def main(words: Sequence[str] | None = None) -> int:
    """Train what is missing, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [switch.name for switch in SWITCHES]
    parser.add_argument("folder", type=Path, help="of all trainings")
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="some of the switches")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--samples", type=int, default=SAMPLES, help="pictures that a phase trains on")
    parser.add_argument("--pictures", type=int, default=PICTURES, help="to train on, in multiples of 60")
    parser.add_argument("--people", type=int, default=PEOPLE, help="to test on")
    parser.add_argument("--workers", type=int, default=1, help="that make pictures")
    given = parser.parse_args(words)
    if min(given.seeds, given.samples, given.people) < 1:
        parser.error("expected at least one seed, sample and person")
    bench = Bench(given.folder, given.samples, given.people, given.pictures, given.workers)
    chosen = [switch for switch in SWITCHES if switch.name in given.only]
    effects, notes = run(bench, chosen, given.seeds)
    page = (
        f"Tiny networks, {given.samples:,} pictures a phase (with repetition, of {given.pictures:,}), "
        f"{given.seeds} seeds, {given.people} people to test on.\n\n{table(chosen, effects)}"
    )
    page += "".join(f"\n- {note}" for note in notes) + ("\n" if notes else "")
    write_text(given.folder / "switches.md", page, overwrite=True)
    plain = [one._asdict() | {"word": one.word} for one in effects]
    write_text(given.folder / "switches.json", json.dumps(plain, indent=1) + "\n", overwrite=True)
    print(page)
    return 0


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except CapbenchError as error:
        raise SystemExit(str(error)) from None
