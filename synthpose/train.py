"""Training: from a recipe and pictures to weights, on a CPU, a GPU or several.

A training writes into a folder of its own: ``recipe.json``, ``log.jsonl``, ``curves.png``,
``state.safetensors`` (to go on from), ``last.safetensors`` and ``model.safetensors`` (the averaged weights of
the last step and of the best validation) and, when it is over, ``training.json`` with the hashes of all it
followed from. Killed at any moment, the same call goes on from the last checkpoint; on a CPU with the same
number of threads it ends with the very weights it would have had.

Several processes: ``torchrun`` starts them and each calls :func:`train` alike; the first one writes.
"""

from __future__ import annotations

import copy
import json
import math
import platform
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from capbench.models.checkpoint import read_checkpoint, write_safetensors
from capbench.models.nets import names
from capbench.models.nets.architecture import Architecture, ViTSize
from capbench.models.nets.pose import PoseNet, fill
from cohorts.bounded import about, load_json, read_text, write_text
from cohorts.errors import CapbenchError, EnvironmentFault
from cohorts.skeleton import Skeleton, skeleton
from cohorts.store import sha256
from synthpose import looks, schedule, surgery
from synthpose.beside import Beside
from synthpose.compiled import compiled
from synthpose.feeding import Batch, Feed, Order, Source, Waiting, ahead, ahead_in_processes
from synthpose.losses import cells_of, loss_of
from synthpose.processes import World, autocast, threads, world_of
from synthpose.progress_log import CURVES, ProgressLog, draw_curves
from synthpose.progress_log import NAME as LOG
from synthpose.train_recipe import TrainRecipe
from synthpose.training_state import NAME as STATE
from synthpose.training_state import Progress, arrays, load_state, save_state

MODEL, LAST, RESULT, RECIPE = "model.safetensors", "last.safetensors", "training.json", "recipe.json"

REDRAW = 30.0  #: seconds at least between two drawings of the curves, but for the last

#: (network with averaged weights, step) -> what is to be logged; the lowest "score" is the best
Validate = Callable[[PoseNet, int], Mapping[str, float]]


@dataclass(frozen=True)
class Start:
    """Weights to start from, and the points their head gives."""

    tensors: Mapping[str, Any]
    points: Skeleton
    sha256: str


@dataclass(frozen=True)
class Trained:
    """What a training came to.

    Attributes
    ----------
    folder : where its files lie
    done : whether it reached its last step; else the same call goes on
    step : steps done
    validation : the last look at it
    best, best_step : the lowest score, and when; None without validation
    samples_per_second, waiting : speed, and the share of time spent waiting for data, in this run
    """

    folder: Path
    done: bool
    step: int
    validation: Mapping[str, float]
    best: float | None
    best_step: int
    samples_per_second: float
    waiting: float

    @property
    def weights(self) -> Path:
        """The best weights, averaged."""
        return self.folder / MODEL


def start_from(path: Path, points: Skeleton | str | None = None) -> Start:
    """Weights of an earlier training's folder, or of a checkpoint whose ``points`` are said."""
    file = path / MODEL if path.is_dir() else path
    if points is None:
        recipe = (path if path.is_dir() else path.parent) / RECIPE
        if not recipe.exists():
            raise CapbenchError("Expected to know whose points these weights give.", file=file, fix="say it")
        points = str(load_json(recipe)["skeleton"])
    tensors = names.to_ours(read_checkpoint(file).tensors)
    return Start(tensors, skeleton(points) if isinstance(points, str) else points, sha256(file))


def train(
    recipe: TrainRecipe,
    out: Path,
    *,
    data: Source,
    data_hash: str = "",
    held_out: Source | None = None,
    start: Start | None = None,
    beside: Beside | None = None,
    validate: Validate | None = None,
    device: str = "cpu",
    seconds: float | None = None,
    told: Callable[[Mapping[str, Any]], None] | None = None,
) -> Trained:
    """Train by ``recipe`` into the folder ``out``, or go on with what lies there.

    Parameters
    ----------
    data : the pictures; the last ``checks.shots`` of them are only looked at
    held_out : pictures to look at instead, as a mixture needs: its last pictures are of one source, and may
        be trained on under another number
    data_hash : of the recipe that they follow from, kept beside the weights
    start : weights to start from; where points differ the head is grown, see ``synthpose.surgery``
    beside : a further loss
    validate : a further look at the averaged weights every ``checks.every`` steps
    device : cpu, cuda or cuda:N; with several processes each takes its own GPU
    seconds : after which it saves and returns, to be gone on with by another call
    told : hears each line of the log
    """
    # on a GPU: the fastest algorithms for these sizes, whose last bits may differ from run to run
    fast = torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=True)
    with world_of(device) as world, threads(recipe.machine.threads), fast:
        made = _Training(recipe, out, data, data_hash, held_out, start, beside, validate, world, told)
        return made.run(seconds)


# --- the loop ---------------------------------------------------------------------------------------


@dataclass
class _Meter:
    """What happened since the last line of the log."""

    steps: int = 0
    loss: float = 0.0
    norm: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)
    since: float = field(default_factory=time.perf_counter)
    waited: float = 0.0


class _Training:
    def __init__(
        self,
        recipe: TrainRecipe,
        out: Path,
        data: Source,
        data_hash: str,
        held_out: Source | None,
        start: Start | None,
        beside: Beside | None,
        validate: Validate | None,
        world: World,
        told: Callable[[Mapping[str, Any]], None] | None,
    ) -> None:
        self.recipe, self.out, self.world, self.told, self.validate = recipe, out, world, told, validate
        train_on = len(data) - (recipe.checks.shots if held_out is None else 0)
        if train_on < 1:
            raise CapbenchError(
                f"Expected more pictures than the {recipe.checks.shots} held out, got {len(data)}."
            )
        if recipe.batch % world.size:
            raise CapbenchError(
                f"Expected a batch that {world.size} processes can share, got {recipe.batch}."
            )
        order = Order(train_on, recipe.batch, recipe.seed, world.rank, world.size)
        self.feed = Feed(recipe, data, order)
        self.looked_at = self.feed if held_out is None else Feed(recipe, held_out, order)
        self.held_out = np.arange(train_on, len(data)) if held_out is None else np.arange(len(held_out))
        self.steps = recipe.steps(train_on)
        self.identity = {"recipe": recipe.digest, "data": data_hash or f"{len(data)} pictures"}
        self.identity["start"] = start.sha256 if start is not None else ""
        self.identity |= {} if beside is None else beside.hashes
        self.made = recipe.made
        self.net = self._network(start)
        self.averaged = copy.deepcopy(self.net).eval().requires_grad_(False)
        self.beside, self.own = beside, nn.Module() if beside is None else beside.own
        self.called = self.net if beside is None else beside.around(self.net)
        self.optimiser = self._optimiser()
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=recipe.precision == "fp16")
        self.progress = Progress(identity=self.identity, best=None if beside is None else beside.best)
        self.looked: dict[str, float] = {}
        self.drawn = time.perf_counter()
        self._resume()
        self.model = self._wrapped()
        self.log = self._prepared_folder()

    def _network(self, start: Start | None) -> PoseNet:
        recipe = self.recipe
        net = self.made.build(seed=recipe.seed, drop_path=recipe.network.drop_path)
        if start is not None:
            state = surgery.grow(
                start.tensors,
                start.points,
                recipe.points,
                into=arrays(net.state_dict()),
                seed=recipe.seed,
                head=recipe.head == "grown",
            )
            fill(net, state)
        return placed(net, self.made, self.world.device)

    def _optimiser(self) -> torch.optim.Optimizer:
        asked = self.recipe.optimiser
        groups = schedule.groups(
            self.net,
            weight_decay=asked.weight_decay,
            layer_decay=asked.layer_decay,
            head_rate=asked.head_rate,
        )
        groups += schedule.groups(self.own, weight_decay=asked.weight_decay)
        kind = torch.optim.AdamW if asked.kind == "adamw" else torch.optim.Adam
        made: torch.optim.Optimizer = kind(groups, lr=asked.rate, fused=True)
        return made

    def _wrapped(self) -> nn.Module:
        """The network as it is called: compiled and, with several processes, summing their gradients."""
        recipe, model = self.recipe, self.called
        if recipe.machine.compile:
            size = recipe.network.input_size
            model = compiled(model, size=size, precision=recipe.precision, device=self.world.device)
        if self.world.size > 1:
            from torch.nn.parallel import DistributedDataParallel

            model = DistributedDataParallel(model)
        return model

    def _resume(self) -> None:
        path = self.out / STATE
        if path.exists():
            self.progress, scale = load_state(
                path,
                self.identity,
                net=self.net,
                averaged=self.averaged,
                own=self.own,
                optimiser=self.optimiser,
            )
            if scale:
                self.scaler.load_state_dict(scale)

    def _prepared_folder(self) -> ProgressLog:
        if not self.world.first:
            return ProgressLog(None)
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentFault(f"Can't be made: {error.strerror}.", file=self.out) from None
        text = json.dumps(self.recipe.model_dump(mode="json"), indent=2) + "\n"
        write_text(self.out / RECIPE, text, overwrite=True)
        return ProgressLog(self.out / LOG, from_step=self.progress.step)

    # --- steps --------------------------------------------------------------------------------------

    def run(self, seconds: float | None) -> Trained:
        began, first = time.perf_counter(), self.progress.step
        before = self.progress.seconds
        wait, meter = Waiting(), _Meter()
        checks = self.recipe.checks
        batches = self._batches(range(first, self.steps))
        try:
            for batch in wait.over(batches):
                self._step(batch, meter)
                step = self.progress.step
                self.progress.seconds = before + time.perf_counter() - began
                late = seconds is not None and self._agreed(time.perf_counter() - began > seconds)
                due = step % checks.every == 0 or step == self.steps
                if step % checks.log == 0 or due or late:  # before weights are kept: refuses what diverged
                    meter = self._line(meter, wait)
                if due or late:
                    self._check(look=due)
                if late:
                    break
        finally:
            batches.close()
        taken = max(time.perf_counter() - began, 1e-9)
        done = self.progress.step == self.steps
        if done and self.world.first:
            self._finish()
        samples = (self.progress.step - first) * self.recipe.batch
        best, best_step = self.progress.best, self.progress.best_step
        return Trained(
            self.out, done, self.progress.step, self.looked, best, best_step, samples / taken,
            wait.seconds / taken,
        )  # fmt: skip

    def _batches(self, steps: range) -> Generator[Batch]:
        machine = self.recipe.machine
        if machine.processes and machine.workers:
            return ahead_in_processes(self.feed, steps, workers=machine.workers, depth=machine.prefetch)
        return ahead(self.feed, steps, workers=machine.workers, depth=machine.prefetch)

    def _step(self, batch: Batch, meter: _Meter) -> None:
        recipe, device, step = self.recipe, self.world.device, self.progress.step
        asked = recipe.optimiser
        rate = asked.rate * schedule.factor(
            step, self.steps, kind=asked.schedule, warm_up=asked.warm_up, drops=asked.drops, floor=asked.floor
        )
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["rate"]
        # what a step draws (skipped blocks) follows from its number, not from what was drawn before
        own = np.random.SeedSequence([recipe.seed, 3, step, self.world.rank])
        torch.manual_seed(int(own.generate_state(1)[0]))
        self.model.train()
        points = cells_of(
            torch.as_tensor(batch.points).to(device, non_blocking=True),
            self.made,
            udp=recipe.loss.geometry == "udp",
        )
        weight = torch.as_tensor(batch.weight).to(device, non_blocking=True)
        pictures = looks.network_input(batch.pictures, device)
        with autocast(recipe.precision, device):
            answer = self.model(pictures)
        out = answer if self.beside is None else answer[0]
        terms = loss_of(out, points, weight, recipe.loss)
        if self.beside is not None:
            terms = self.beside.terms(terms, answer, pictures, weight, share=step / self.steps)
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(terms.total).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_(self.called.parameters(), asked.clip or math.inf)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self._average(step)
        self.progress.step += 1
        self._measure(meter, terms.total, norm, terms.parts)

    def _measure(
        self, meter: _Meter, loss: torch.Tensor, norm: torch.Tensor, parts: Mapping[str, torch.Tensor]
    ) -> None:
        """Sums that stay on the device until a line of the log is due."""
        meter.steps += 1
        meter.loss = meter.loss + loss.detach()  # type: ignore[assignment]
        meter.norm = meter.norm + norm.detach()  # type: ignore[assignment]
        for name, value in parts.items():
            meter.parts[name] = meter.parts.get(name, 0.0) + value  # type: ignore[assignment]

    @torch.no_grad()
    def _average(self, step: int) -> None:
        """The running average, which forgets the first steps sooner."""
        decay = self.recipe.optimiser.ema
        share = 1.0 if decay is None else 1 - min(decay, (1 + step) / (10 + step))
        own, averaged = self.net.state_dict(), self.averaged.state_dict()
        floats = [name for name, value in own.items() if value.is_floating_point()]
        torch._foreach_lerp_([averaged[n] for n in floats], [own[n] for n in floats], share)
        for name in own.keys() - set(floats):  # norms count their batches
            averaged[name].copy_(own[name])

    def _agreed(self, ask: bool) -> bool:
        """Whether any process asks to stop: all must stop at the same step."""
        if self.world.size == 1:
            return ask
        import torch.distributed as distributed

        flag = torch.tensor(float(ask), device=self.world.device)
        distributed.all_reduce(flag, distributed.ReduceOp.MAX)
        return bool(flag)

    # --- what is written ----------------------------------------------------------------------------

    def _line(self, meter: _Meter, wait: Waiting) -> _Meter:
        now = time.perf_counter()
        taken = max(now - meter.since, 1e-9)
        loss = float(meter.loss) / meter.steps
        if not math.isfinite(loss):
            raise CapbenchError(
                f"Expected a finite loss, got {loss} by step {self.progress.step}: this training diverged.",
                file=self.out / LOG,
                fix="lower optimiser.rate, clip the gradient, or train in fp32",
            )
        entry = {
            "step": self.progress.step,
            "loss": loss,
            "parts": {name: float(value) / meter.steps for name, value in meter.parts.items()},
            "rate": max(group["lr"] for group in self.optimiser.param_groups),
            "gradient": float(meter.norm) / meter.steps,
            "samples_per_second": meter.steps * self.recipe.batch / taken,
            "waiting": min(1.0, (wait.seconds - meter.waited) / taken),
            "seconds": self.progress.seconds,
        }
        self._say(entry)
        return _Meter(since=now, waited=wait.seconds)

    def _say(self, entry: Mapping[str, Any]) -> None:
        if self.world.first:
            self.log.write(entry)
            if self.told is not None:
                self.told(entry)

    def _check(self, *, look: bool) -> None:
        """Validate, keep the best weights, and write what a next run goes on from."""
        if not self.world.first:
            return
        if look:
            self._look()
        write_safetensors(self.out / LAST, arrays(self.averaged.state_dict()), overwrite=True)
        if self.progress.best is None or self.progress.best_step == self.progress.step:
            write_safetensors(self.out / MODEL, arrays(self.averaged.state_dict()), overwrite=True)
        save_state(
            self.out / STATE,
            self.progress,
            net=self.net,
            averaged=self.averaged,
            own=self.own,
            optimiser=self.optimiser,
            scale=self.scaler.state_dict(),
        )
        over = self.progress.step == self.steps
        if over or not look or time.perf_counter() - self.drawn > REDRAW:
            draw_curves(self.out / LOG, self.out / CURVES)
            self.drawn = time.perf_counter()

    def _look(self) -> None:
        looked: dict[str, float] = {}
        if len(self.held_out):
            errors, weight = looks.point_errors(
                self.averaged,
                self.looked_at,
                self.held_out,
                device=self.world.device,
                autocast=self.recipe.precision != "fp32",
            )
            looked |= looks.by_group(errors, weight, self.recipe.points)
        if self.validate is not None:
            looked |= self.validate(self.averaged, self.progress.step)
        if not looked:
            return
        score = looked.get("score", looked.get("px"))
        if score is not None and (self.progress.best is None or score < self.progress.best):
            self.progress.best, self.progress.best_step = float(score), self.progress.step
        self.looked = looked
        self._say({"step": self.progress.step, "validation": looked})

    def _finish(self) -> None:
        """``training.json``: all that the weights followed from."""
        result = {
            "recipe": self.recipe.model_dump(mode="json"),
            "hashes": {
                **self.identity,
                MODEL: sha256(self.out / MODEL),
                LAST: sha256(self.out / LAST),
            },
            **({} if self.beside is None else self.beside.told),
            "steps": self.progress.step,
            "samples": self.progress.step * self.recipe.batch,
            "seconds": round(self.progress.seconds, 1),
            "best": {"value": self.progress.best, "step": self.progress.best_step},
            "processes": self.world.size,
            "device": _device_words(self.world.device),
            "torch": torch.__version__,
        }
        write_text(self.out / RESULT, json.dumps(result, indent=2) + "\n", overwrite=True)


def placed(net: PoseNet, made: Architecture, device: torch.device) -> PoseNet:
    """The network on its device, as the device's convolutions like it best."""
    moved: Any = net
    layout = {} if isinstance(made.backbone, ViTSize) else {"memory_format": torch.channels_last}
    there: PoseNet = moved.to(device, **layout)
    return there


def _device_words(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"


def load_trained(folder: Path) -> tuple[TrainRecipe, PoseNet]:
    """The recipe and the best weights of a training's folder, for export."""
    path = folder / RECIPE
    with about(path):
        recipe = TrainRecipe.model_validate_json(read_text(path))
    net = recipe.made.build()
    fill(net, start_from(folder).tensors)
    return recipe, net
