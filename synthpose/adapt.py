"""Adaptation: a trained network goes on learning from pictures that nobody labelled.

A mean teacher in rounds. In each the teacher, the running average of the weights so far, looks at weak views
of every crop; its points are pseudo-labels where it is sure, where its views agree and where an anatomical
prior finds them plausible. The student starts as the teacher and learns them from changed pictures; the
average of its weights is the next round's teacher. With a labeller such as
:class:`synthpose.fit_in_loop.FitInLoop` the pseudo-labels come from fits of a body instead.

The student also learns from labelled pictures, made to look as the crops do (:mod:`synthpose.likeness`).
Others of those, in the look of crops held out, decide whether it helped: their points are known, so that a
network which only came to agree with itself is found out. The rule stands before it starts
(:func:`synthpose.adaptation.decide`). Where it did not help, the source's weights come out as they were, byte
for byte.

A folder holds ``adapt.json`` (what all follows from), ``round-01``, … (each the folder of a training, with
its ``labels.npz``), ``log.jsonl`` and, when it is over, ``adaptation.json`` (numbers, decision, hashes)
beside ``recipe.json`` and ``model.safetensors``, as a training has them. Killed at any moment, the same call
goes on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from capbench.models.adapters.torch_run import device_of
from cohorts.bounded import load_json, load_npz, read_bytes, replacing, write_text
from cohorts.errors import CapbenchError, EnvironmentFault
from cohorts.store import sha256
from cohorts.values import FloatArray, IntArray
from synthpose import looks
from synthpose.adaptation import Adaptation, Crops, Gain, Labels, Verdict, decide
from synthpose.feeding import Feed, Held, Order, Source, chosen
from synthpose.likeness import Likened, likened
from synthpose.mixing import Mixed, Part
from synthpose.plausible import Plausible
from synthpose.processes import threads
from synthpose.progress_log import NAME as LOG
from synthpose.progress_log import ProgressLog
from synthpose.recipe import LARGEST_SEED
from synthpose.teacher import Views, labels_of, marks_of, view
from synthpose.train import MODEL, RECIPE, RESULT, Start, load_trained, start_from, train
from synthpose.train_recipe import Mixture, TrainRecipe, digest

if TYPE_CHECKING:
    from capbench.models.nets.pose import PoseNet

PLAN, ADAPTATION, LABELS = "adapt.json", "adaptation.json", "labels.npz"
CHECKPOINT = 500  #: steps at most between two checkpoints of a round
JUDGED = 1024  #: labelled pictures to judge by, at most
WEIGHTS_LIMIT = 4 << 30  #: bytes


class Labeller(Protocol):
    """Makes pseudo-labels of all crops from what the teacher says of them."""

    @property
    def sha256(self) -> str:
        """Of all that they follow from beside the crops and the teacher."""
        ...

    def labels(self, seen: Views, before: Labels | None) -> Labels:
        """New ones; ``before`` are those of the round before."""
        ...

    def marks(self, seen: Views, numbers: IntArray) -> dict[str, FloatArray]:
        """Further marks of the crops ``numbers`` that ``seen`` is of, the lower the better."""
        ...


@dataclass(frozen=True)
class Peaked:
    """The usual pseudo-labels: sure, steady, plausible points of the teacher."""

    prior: Plausible
    size: tuple[int, int]
    asked: Adaptation

    @property
    def sha256(self) -> str:
        """See :class:`Labeller`."""
        return self.prior.sha256

    def labels(self, seen: Views, before: Labels | None) -> Labels:
        """See :class:`Labeller`."""
        asked = self.asked
        return labels_of(seen, self.prior, self.size, sure=asked.sure, spread=asked.spread, gate=asked.gate)

    def marks(self, seen: Views, numbers: IntArray) -> dict[str, FloatArray]:
        """No further ones."""
        return {}


class Adapted(NamedTuple):
    """What came of it: where the weights lie, the decision, and what ``adaptation.json`` says."""

    folder: Path
    verdict: Verdict
    told: Mapping[str, Any]


# --- rounds -----------------------------------------------------------------------------------------


def adapt(
    source: Path,
    crops: Crops,
    out: Path,
    *,
    prior: Plausible,
    labelled: Source,
    labelled_hash: str,
    asked: Adaptation | None = None,
    labeller: Labeller | None = None,
    device: str = "cpu",
    told: Callable[[Mapping[str, Any]], None] | None = None,
) -> Adapted:
    """Adapt the training in the folder ``source`` to ``crops``, or go on with what lies in ``out``.

    Parameters
    ----------
    prior : of the points that the training learnt
    labelled, labelled_hash : pictures with labels of all its points, and the hash of what they follow from;
        the last of them judge, the others are mixed in by ``asked.labelled``
    labeller : makes the pseudo-labels; by default :class:`Peaked`
    told : hears a line of each round, and of each line of a round's training
    """
    asked = Adaptation() if asked is None else asked
    run = _Run(source, crops, out, prior, labelled, labelled_hash, asked, labeller, device, told)
    return run.run()


class _Run:
    def __init__(
        self,
        source: Path,
        crops: Crops,
        out: Path,
        prior: Plausible,
        labelled: Source,
        labelled_hash: str,
        asked: Adaptation,
        labeller: Labeller | None,
        device: str,
        told: Callable[[Mapping[str, Any]], None] | None,
    ) -> None:
        self.source, self.crops, self.out, self.prior, self.asked = source, crops, out, prior, asked
        self.device, self.told = device, told or (lambda _: None)
        self.recipe, self.net = load_trained(source)
        self.size = self.recipe.network.input_size
        if crops.pictures.shape[1:3] != self.size[::-1]:
            height, width = crops.pictures.shape[1:3]
            raise CapbenchError(
                f"Expected crops of {self.size[0]} x {self.size[1]} pixels, as the network takes them, "
                f"got {width} x {height}."
            )
        if prior.skeleton.points != self.recipe.points.points:
            raise CapbenchError(
                f"Expected a prior of {self.recipe.skeleton}, got one of {prior.skeleton.name}."
            )
        self.labeller: Labeller = Peaked(prior, self.size, asked) if labeller is None else labeller
        self.judged = crops.held_out(asked.held_out, asked.seed)
        self.labelled, self.judging = self._likened(labelled)
        self.identity = {
            "source": sha256(source / MODEL),
            "source recipe": self.recipe.digest,
            "crops": crops.sha256,
            "prior": prior.sha256,
            "labeller": self.labeller.sha256,
            "labelled": labelled_hash,
            "asked": digest(asked.model_dump(mode="json")),
        }

    def _likened(self, labelled: Source) -> tuple[Likened, Likened]:
        """Labelled pictures to learn from and to judge by, in the looks of the crops of each kind."""
        count = min(round(self.asked.held_out * len(labelled)), JUDGED)
        if not 0 < count < len(labelled):
            raise CapbenchError(
                f"Expected labelled pictures to learn from beside those held out, got {len(labelled)} in all."
            )
        chosen(labelled.skeleton, self.recipe.points)  # refuses those that lack a point
        numbers, made = np.arange(len(labelled)), []
        for some, rows in ((numbers[:-count], ~self.judged), (numbers[-count:], self.judged)):
            pictures, group = self.crops.pictures[rows], self.crops.group[rows]
            made.append(likened(labelled, some, pictures, group, seed=self.asked.seed))
        return made[0], made[1]

    def run(self) -> Adapted:
        self._claim()
        if (self.out / ADAPTATION).exists():
            told = load_json(self.out / ADAPTATION)
            return Adapted(self.out, _verdict(told["verdict"]), told)
        log = ProgressLog(self.out / LOG)
        before: Labels | None = None
        start, folder = start_from(self.source), self.source
        for number in range(1, self.asked.rounds + 1):
            place = self.out / f"round-{number:02d}"
            before = self._labels(place, number, start, before)
            share = float((before.weight > 0)[~self.judged].mean())
            entry = {"step": number, "labelled, %": 100 * share, **before.facts}
            if share == 0 or share < self.asked.least:
                log.write(entry)
                self.told(entry)
                words = f"round {number}: {share:.1%} of the points got a pseudo-label, too few to learn from"
                return self._finished(Verdict(False, words), None)
            # from the source to the first round, then from each round to the next
            start, folder = self._trained(place, number, start, before), place
            log.write(entry)
            self.told(entry)
        return self._finished(self._verdict(start), folder)

    def _claim(self) -> None:
        """Note what all follows from; a folder of another adaptation is refused."""
        path = self.out / PLAN
        if path.exists():
            kept = load_json(path).get("hashes", {})
            changed = [name for name, value in self.identity.items() if kept.get(name) != value]
            if changed:
                raise CapbenchError(
                    f"Expected the folder of this adaptation, got one with another {' and '.join(changed)}.",
                    file=path,
                    fix="go on with the same source, crops and options, or adapt into another folder",
                )
            return
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentFault(f"Can't be made: {error.strerror}.", file=self.out) from None
        plan = {"hashes": self.identity, "asked": self.asked.model_dump(mode="json")}
        write_text(path, json.dumps(plan, indent=2) + "\n")

    def _view(self, net: PoseNet, pictures: NDArray[np.uint8], seed: int) -> Views:
        asked = self.asked
        return view(
            net, self.recipe, pictures, views=asked.views, weak=asked.weak, seed=seed, device=self.device
        )

    def _labels(self, place: Path, number: int, start: Start, before: Labels | None) -> Labels:
        """The round's pseudo-labels: those that lie there, or made by its teacher."""
        path = place / LABELS
        if path.exists():
            found = load_npz(path)
            facts = {name: float(value) for name, value in json.loads(bytes(found["facts"]).decode()).items()}
            return Labels(found["points"], found["weight"], facts)
        seen = self._view(self._teacher(start), self.crops.pictures, self.asked.seed + number)
        made = self.labeller.labels(seen, before)
        place.mkdir(exist_ok=True)
        with replacing(path, overwrite=True) as temporary, temporary.open("wb") as file:
            facts_text = np.frombuffer(json.dumps(made.facts).encode(), np.uint8)
            np.savez(file, points=made.points, weight=made.weight, facts=facts_text)
        return made

    def _teacher(self, start: Start) -> PoseNet:
        from capbench.models.nets.pose import fill

        fill(self.net, start.tensors)
        return self.net

    def _trained(self, place: Path, number: int, start: Start, labels: Labels) -> Start:
        """The student's running average after a round."""
        rows = np.flatnonzero(~self.judged & (labels.weight > 0).any(1))
        points = np.where(np.isfinite(labels.points), labels.points, 0.0)[rows].astype(np.float32)
        weight = labels.weight[rows].astype(np.float32)
        data: Source = Held(self.recipe.points, self.crops.pictures[rows], points, weight)
        if self.asked.labelled:
            data = Mixed(self.recipe.points, (Part(data), Part(self.labelled, ratio=self.asked.labelled)))
        made = hashlib.sha256(points.tobytes() + weight.tobytes() + rows.tobytes()).hexdigest()
        train(
            self._recipe(number),
            place,
            data=data,
            data_hash=digest({**self.identity, "labels": made}),
            start=start,
            device=self.device,
            told=self.told,
        )
        return start_from(place)

    def _recipe(self, number: int) -> TrainRecipe:
        """A round's training: the source's recipe with the student's pictures."""
        asked, base = self.asked, self.recipe
        optimiser = base.optimiser.model_copy(
            update={
                "rate": base.optimiser.rate * asked.rate,
                "schedule": "constant",
                "warm_up": 0,
                "clip": base.optimiser.clip or 1.0,
                "ema": asked.ema,
            }
        )
        samples = max(asked.samples, base.batch)
        steps = samples // base.batch
        checks = base.checks.model_copy(
            update={"every": min(steps, CHECKPOINT), "shots": 0, "cohort": None, "log": min(steps, 50)}
        )
        note = (
            f"{len(self.crops):,} crops without labels, SHA-256 {self.identity['crops']}; learnt from "
            f"pseudo-labels, and from pictures in their look, data SHA-256 {self.identity['labelled']}"
        )
        return base.model_copy(
            update={
                "name": f"{base.name}-adapted",
                "seed": (asked.seed * 1009 + number) % (LARGEST_SEED + 1),
                "start": None,
                "head": "grown",
                "sources": {"unlabelled": Mixture(kind="coco", note=note)},
                "augment": base.augment if asked.strong is None else asked.strong,
                "samples": samples,
                "epochs": None,
                "optimiser": optimiser,
                "checks": checks,
            }
        )

    # --- what comes of it ---------------------------------------------------------------------------

    def _verdict(self, adapted: Start) -> Verdict:
        """Both networks on the same views of the same held-out crops."""
        rows = np.flatnonzero(self.judged)
        pictures, seed = self.crops.pictures[rows], self.asked.seed
        marks = []
        for weights in (start_from(self.source), adapted):
            net = self._teacher(weights)
            seen = self._view(net, pictures, seed)
            found = marks_of(seen, self.prior, self._errors(net))
            marks.append(found._replace(terms={**found.terms, **self.labeller.marks(seen, rows)}))
        return decide(marks[0], marks[1], self.crops.group[rows], self.asked)

    def _errors(self, net: PoseNet) -> FloatArray:
        """(m,) pixels, of the labelled pictures that judge."""
        feed = Feed(self.recipe, self.judging, Order(len(self.judging), self.recipe.batch, 0))
        numbers = np.arange(len(self.judging))
        with threads(self.recipe.machine.threads):
            errors, weight = looks.point_errors(
                net, feed, numbers, device=device_of(self.device), autocast=False
            )
        made = looks.by_picture(errors, weight)
        return np.asarray(made[np.isfinite(made)])

    def _finished(self, verdict: Verdict, last: Path | None) -> Adapted:
        """The weights that are taken, as a training's folder, and ``adaptation.json``."""
        taken = last if verdict.better and last is not None else self.source
        for name in (MODEL, RECIPE):
            _copied(taken / name, self.out / name)
        if taken is self.source:
            if (self.source / RESULT).exists():
                _copied(self.source / RESULT, self.out / RESULT)
        else:
            self._result(taken)
        rounds = sorted(path.name for path in self.out.glob("round-*") if (path / RESULT).exists())
        told = {
            "verdict": {**verdict._asdict(), "marks": dict(verdict.marks)},
            "taken": "adapted" if verdict.better else "source",
            "crops": len(self.crops),
            "judged by": int(self.judged.sum()),
            "asked": self.asked.model_dump(mode="json"),
            "hashes": {
                **self.identity,
                **{f"{name}/{MODEL}": sha256(self.out / name / MODEL) for name in rounds},
                MODEL: sha256(self.out / MODEL),
            },
        }
        write_text(self.out / ADAPTATION, json.dumps(told, indent=2) + "\n", overwrite=True)
        return Adapted(self.out, verdict, told)

    def _result(self, last: Path) -> None:
        """``training.json`` of all rounds together, which started from the source."""
        kept = load_json(last / RESULT)
        others = [load_json(path) for path in sorted(self.out.glob(f"round-*/{RESULT}"))]
        for name in ("steps", "samples", "seconds"):
            kept[name] = sum(one[name] for one in others)
        kept["hashes"]["start"] = self.identity["source"]
        write_text(self.out / RESULT, json.dumps(kept, indent=2) + "\n", overwrite=True)


def _verdict(told: Mapping[str, Any]) -> Verdict:
    """As ``adaptation.json`` has it."""
    marks = {name: (before, after) for name, (before, after) in told["marks"].items()}
    labelled, unlabelled = (None if told[k] is None else Gain(*told[k]) for k in ("labelled", "unlabelled"))
    follows = None if told["follows"] is None else (told["follows"][0], told["follows"][1])
    return Verdict(told["better"], told["reason"], labelled, unlabelled, marks, follows)


def _copied(source: Path, target: Path) -> None:
    with replacing(target, overwrite=True) as temporary:
        temporary.write_bytes(read_bytes(source, WEIGHTS_LIMIT))
