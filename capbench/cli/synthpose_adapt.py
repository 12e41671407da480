"""``capbench synthpose adapt``: people cut out of recordings that nobody labelled, and learning from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import numpy as np

from capbench.cli import synthpose_card as cards
from capbench.cli.cohort import card_titles
from capbench.cli.common import completes, echo_json, facts, json_option, quiet_option, readable
from capbench.cli.progress import Progress
from capbench.cli.synthpose_options import PathOption, device_option, workers_option
from cohorts.errors import CapbenchError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from capbench.models.card import Input
    from capbench.models.predictor import Picture, Predictor
    from cohorts.camera import Camera
    from cohorts.store import Imported
    from cohorts.values import FloatArray
    from synthpose.adapt import Adapted
    from synthpose.adaptation import Adaptation, Crops
    from synthpose.fit_in_loop import Film, FitInLoop
    from synthpose.shards import Shards
    from synthpose.train_recipe import TrainRecipe

VIDEOS, PICTURES = (".mp4", ".avi", ".mov", ".mkv", ".webm"), (".jpg", ".jpeg", ".png")
FEW = 2048  #: labelled pictures that are made where none are at hand
APART = 0.3  #: of a frame's time, by which cameras' frames of one moment may differ


@click.command("adapt")
@click.argument("training", type=PathOption)
@click.option(
    "--output", "-o", metavar="FOLDER", type=PathOption, required=True, help="Becomes a training's folder."
)
@click.option(
    "--from",
    "given",
    metavar="PATH",
    type=PathOption,
    multiple=True,
    help="A video or picture, or a folder of them; may come again.",
)
@click.option(
    "--cohort",
    metavar="COHORT",
    shell_complete=completes(card_titles),
    help="Or a cohort: its videos and calibrations are used, never what is true of them.",
)
@click.option(
    "--fit-in-loop",
    is_flag=True,
    help="Pseudo-labels from a body's model, fitted to all calibrated cameras of the cohort at once.",
)
@click.option(
    "--fps",
    type=click.FloatRange(min=0.1, max=240),
    default=5.0,
    show_default=True,
    help="Frames per second that are taken of videos.",
)
@click.option(
    "--most",
    metavar="N",
    type=click.IntRange(min=10),
    default=8000,
    show_default=True,
    help="Crops that are learnt from, at most, evenly taken.",
)
@click.option(
    "--settings", metavar="FILE", type=PathOption, help="YAML of what else is to differ, such as rounds."
)
@click.option("--rounds", metavar="N", type=click.IntRange(min=1), help="Of labelling and training.")
@click.option("--samples", metavar="N", type=click.IntRange(min=1), help="Pictures trained on in a round.")
@click.option("--seed", metavar="NUMBER", type=click.IntRange(min=0), help="Of every random choice.")
@click.option(
    "--pictures",
    metavar="FOLDER",
    type=PathOption,
    help="Labelled pictures of capbench synthpose render: they say what a person's points can be, are learnt "
    "in the recordings' look, and judge. Default: the training's own.",
)
@device_option
@workers_option
@json_option
@quiet_option
def command(
    training: Path,
    output: Path,
    given: tuple[Path, ...],
    cohort: str | None,
    fit_in_loop: bool,
    fps: float,
    most: int,
    settings: Path | None,
    rounds: int | None,
    samples: int | None,
    seed: int | None,
    pictures: Path | None,
    device: str,
    workers: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Adapt a trained network to recordings that nobody labelled, or leave it as it is.

    A teacher, the average of the network so far, labels what it is sure of and what can be a person; the
    network learns that, and labelled pictures made to look as the recordings do. Other labelled pictures, in
    the look of recordings held out, say whether the error became smaller by more than chance; if not, the
    weights come out as they were.
    """
    if bool(given) == (cohort is not None):
        raise click.UsageError("Give --from or --cohort.")
    if fit_in_loop and cohort is None:
        raise click.UsageError("--fit-in-loop needs the calibrated cameras of a --cohort.")
    from capbench.models.adapters.torch_run import need_torch

    need_torch()
    from cohorts.store import sha256
    from synthpose.adapt import adapt
    from synthpose.feeding import Labelled
    from synthpose.plausible import learned
    from synthpose.train import MODEL, load_trained

    folder = cards.run_folder(training)
    recipe, _ = load_trained(folder)
    asked = _asked(settings, rounds=rounds, samples=samples, seed=seed)
    shards = _shards(recipe, pictures, workers=workers, quiet=quiet)
    labelled = Labelled(shards)
    prior = learned(labelled, recipe.points)
    with Progress(total=None, label="frames looked at", quiet=quiet) as progress:
        cutter = _Cutter(folder, device, fps, progress)
        if cohort is None:
            crops, labeller = _thinned(cutter.of_files(given), most), None
        else:
            from capbench.cli.evaluation import chosen_cohort

            found = chosen_cohort(cohort, None, quiet=quiet)
            crops, labeller = _of_cohort(cutter, found, recipe, most, fit_in_loop)
        cutter.predictor.close()
    told = None if quiet else _say
    done = adapt(
        folder,
        crops,
        output,
        prior=prior,
        labelled=labelled,
        labelled_hash=shards.data.digest,
        asked=asked,
        labeller=labeller,
        device=device,
        told=told,
    )
    _account(folder, output, done, sha256(folder / MODEL))
    if as_json:
        echo_json(done.told)
    else:
        click.echo(_words(done, crops))


def _asked(settings: Path | None, **changes: Any) -> Adaptation:
    from cohorts.strict import read_strict
    from synthpose.adaptation import Adaptation

    base = Adaptation() if settings is None else read_strict(settings, Adaptation, what="adaptation")
    given = {name: value for name, value in changes.items() if value is not None}
    return base.model_copy(update=given)


def _say(entry: Mapping[str, Any]) -> None:
    if "labelled, %" in entry:
        click.echo(f"round {entry['step']}: {entry['labelled, %']:.1f} % of the points labelled", err=True)


def _account(source: Path, output: Path, done: Adapted, digest: str) -> None:
    """Beside the weights, what they had learnt from before, for their card."""
    if done.verdict.better:
        cards.note_start(output, source, digest)
    elif (source / cards.START).is_file():
        from cohorts.bounded import read_text, write_text

        write_text(output / cards.START, read_text(source / cards.START), overwrite=True)


def _words(done: Adapted, crops: Crops) -> str:
    verdict = done.verdict
    pairs = [("in", str(done.folder)), ("crops", f"{len(crops):,}, {done.told['judged by']:,} to judge by")]
    pairs.append(("weights", f"{done.told['taken']}: {verdict.reason}"))
    for words, gain in (("gain", verdict.labelled), ("gain of the marks", verdict.unlabelled)):
        if gain is not None:
            pairs.append((words, f"{gain.share:.1%}, standard error {gain.error:.1%}"))
    for name, (before, after) in verdict.marks.items():
        pairs.append((name, f"{before:.4g} before, {after:.4g} after"))
    if verdict.better:
        pairs.append(("next", f"capbench synthpose export {readable(done.folder)} -o FOLDER"))
    return facts(pairs)


# --- what is learnt from beside the recordings ----------------------------------------------------


def _shards(recipe: TrainRecipe, folder: Path | None, *, workers: int, quiet: bool) -> Shards:
    """Labelled pictures: in ``folder``, those that the training saw, or some made now."""
    from capbench.cli.synthpose_data import pictures, pictures_folder
    from synthpose.shards import MANIFEST, Shards

    if folder is not None:
        return Shards(folder)
    if recipe.data is None:
        raise CapbenchError(
            f"Expected labelled pictures to judge by; {recipe.name} was trained on none of ours.",
            fix="--pictures FOLDER, with pictures of capbench synthpose render",
        )
    if (own := pictures_folder(recipe)) and (own / MANIFEST).is_file():
        return Shards(own)
    few = recipe.model_copy(update={"pictures": FEW})
    return pictures(few, own.with_name(own.name + "-few"), workers=workers, quiet=quiet)


# --- people cut out of recordings -----------------------------------------------------------------


class _Crop(NamedTuple):
    """One person: the picture of the network's size, the box it was cut by, and which frame (k / fps)."""

    picture: Picture
    box: FloatArray
    frame: int
    time: float


class _Cutter:
    """Follows one person by the network itself and cuts them out as it looks at them."""

    def __init__(self, training: Path, device: str, fps: float, progress: Progress) -> None:
        from capbench.models.card import input_of
        from capbench.models.registry import open_model

        self.predictor: Predictor = open_model(cards.model_of(training), device=device)
        self.input: Input = input_of(self.predictor.card)
        self.fps, self.progress = fps, progress

    def of_files(self, given: Sequence[Path]) -> Crops:
        """Of videos and pictures; each video is a group, and all pictures of a folder."""
        from synthpose.adaptation import Crops

        pictures: list[Picture] = []
        group: list[int] = []
        for number, (kind, paths) in enumerate(_found(given)):
            some = self.of_videos({"video": paths[0]})["video"] if kind == "video" else self._stills(paths)
            pictures += [one.picture for one in some]
            group += [number] * len(some)
        if not pictures:
            raise CapbenchError("Expected people in the recordings, got none that the network finds.")
        return Crops(np.stack(pictures), np.array(group, np.int64))

    def of_videos(
        self, videos: Mapping[str, Path], cameras: Mapping[str, Camera] | None = None
    ) -> dict[str, list[_Crop]]:
        """Camera -> the person in its video, where there is anybody."""
        from capbench.run.inference import predict_trial

        found = predict_trial(
            self.predictor, videos, boxes="track", cameras=cameras, rate=self.fps, told=self.progress.advance
        )
        made: dict[str, list[_Crop]] = {name: [] for name in videos}
        for name, track in found.tracks.items():
            assert track.frames is not None
            boxes = dict(zip(track.frames.tolist(), found.boxes[name], strict=True))
            made[name] = list(self._cut(name, videos[name], boxes))
        return made

    def _cut(self, name: str, path: Path, boxes: Mapping[int, FloatArray]) -> Iterator[_Crop]:
        from capbench.run.decoding import Feed

        feed = Feed(name, path, rate=self.fps)
        try:
            feed.start(2)
            while (frame := feed.take()) is not None:
                box = boxes.get(frame.number)
                if box is not None and np.isfinite(box).all():
                    yield self._crop(frame.picture, box, round(frame.time * self.fps), frame.time)
        finally:
            feed.close()

    def _crop(self, picture: Picture, box: FloatArray, frame: int, time: float) -> _Crop:
        from capbench.models.crop import cut

        return _Crop(cut([picture], self.placed(box[None]))[0], box, frame, time)

    def placed(self, boxes: FloatArray) -> Any:
        """Where the crops of boxes (n, 4) lie in their pictures."""
        from capbench.models.card import codec_of
        from capbench.models.crop import plan

        return plan(
            boxes,
            self.input.size,
            padding=self.input.padding,
            geometry="udp" if codec_of(self.predictor.card).udp else "msra",
        )

    def _stills(self, paths: Sequence[Path]) -> list[_Crop]:
        """One person of each picture, looked for as in the first frame of a video."""
        from capbench.vision.tracking import Follower
        from cohorts.bounded import read_bytes
        from synthpose.coco import PICTURE_LIMIT, read_picture, stated_size

        made = []
        for path in paths:
            size = stated_size(read_bytes(path, PICTURE_LIMIT))
            if size is None:
                raise CapbenchError("Expected a JPEG or PNG picture, got something else.", file=path)
            picture = read_picture(path, size)
            follower, verdict = Follower(size), "look again"
            while verdict == "look again":
                box = follower.box
                found = self.predictor.predict([picture], box[None])
                verdict = follower.take(found.points[0], found.confidence[0], frame=0, time=0.0)
            self.progress.advance()
            if verdict == "held":
                made.append(self._crop(picture, box, 0, 0.0))
        return made


def _found(given: Sequence[Path]) -> list[tuple[str, list[Path]]]:
    """("video", one) or ("pictures", those of one folder), in the order of their names."""
    made: list[tuple[str, list[Path]]] = []
    for path in given:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        stills: dict[Path, list[Path]] = {}
        before = len(made)
        for file in files:
            if file.suffix.lower() in VIDEOS:
                made.append(("video", [file]))
            elif file.suffix.lower() in PICTURES:
                stills.setdefault(file.parent, []).append(file)
        made += [("pictures", some) for some in stills.values()]
        if len(made) == before:
            raise CapbenchError(
                f"Expected videos ({', '.join(VIDEOS)}) or pictures ({', '.join(PICTURES)}), got none.",
                file=path,
            )
    return made


def _thinned(crops: Crops, most: int) -> Crops:
    from synthpose.adaptation import Crops

    rows = _evenly(len(crops), most)
    return Crops(crops.pictures[rows], crops.group[rows])


def _evenly(number: int, most: int) -> NDArray[np.int64]:
    if number <= most:
        return np.arange(number)
    return np.asarray(np.arange(most) * number // most)


# --- cohorts --------------------------------------------------------------------------------------


def _of_cohort(
    cutter: _Cutter, cohort: Imported, recipe: TrainRecipe, most: int, fit: bool
) -> tuple[Crops, FitInLoop | None]:
    """The crops of a cohort's videos, each trial a group; and what fits a body to them."""
    rig = cohort.card.cameras
    if fit and (rig is None or not rig.synchronised):
        raise CapbenchError(
            f"Expected a cohort whose cameras are synchronised, got {cohort.card.name}.",
            fix="leave --fit-in-loop out, or give a cohort whose frames are of one moment",
        )
    trials = [trial for trial in cohort.cohort.trials if trial.videos]
    moments: list[tuple[int, dict[str, _Crop]]] = []  # trial, camera -> crop of one moment
    cameras: list[dict[str, Camera]] = []
    for number, trial in enumerate(trials):
        calibrated = cohort.cameras(trial) if fit else {}
        cameras.append({name: calibrated[name] for name in trial.videos if name in calibrated})
        wanted = [name for name in trial.videos if not fit or name in calibrated]
        if len(wanted) < (2 if fit else 1):
            continue
        seen = cutter.of_videos({name: cohort.path(trial.videos[name]) for name in wanted}, cameras[-1])
        moments += [(number, one) for one in _moments(seen, cutter.fps)]
    each = max(1, round(float(np.mean([len(one) for _, one in moments])))) if moments else 1
    moments = [moments[k] for k in _evenly(len(moments), max(1, most // each)).tolist()]
    if not moments:
        raise CapbenchError(f"Expected people in the videos of {cohort.card.name}, got none.")
    return _laid_out(
        cutter, moments, [t.subject for t in trials], cameras, recipe, rig.up if rig else None, fit
    )


def _moments(seen: Mapping[str, list[_Crop]], fps: float) -> list[dict[str, _Crop]]:
    """The crops of one moment together; one whose time is off is left out."""
    made: dict[int, dict[str, _Crop]] = {}
    for name, some in seen.items():
        for one in some:
            there = made.setdefault(one.frame, {})
            first = next(iter(there.values()), one)
            if abs(first.time - one.time) <= APART / fps:
                there[name] = one
    return [made[frame] for frame in sorted(made)]


def _laid_out(
    cutter: _Cutter,
    moments: Sequence[tuple[int, dict[str, _Crop]]],
    people: Sequence[str],
    cameras: Sequence[Mapping[str, Camera]],
    recipe: TrainRecipe,
    up: Any,
    fit: bool,
) -> tuple[Crops, FitInLoop | None]:
    from synthpose.adaptation import Crops
    from synthpose.fit_in_loop import Film, FitInLoop

    flat = [(number, one) for number, seen in moments for one in seen.values()]
    crops = Crops(
        np.stack([one.picture for _, one in flat]), np.array([number for number, _ in flat], np.int64)
    )
    if not fit:
        return crops, None
    films: list[Film] = []
    first = 0
    rows: dict[int, list[tuple[float, list[int]]]] = {}
    for number, seen in moments:
        order = {name: first + k for k, name in enumerate(seen)}
        first += len(seen)
        time = next(iter(seen.values())).time
        rows.setdefault(number, []).append((time, [order.get(name, -1) for name in cameras[number]]))
    for number, some in rows.items():
        times, of = np.array([time for time, _ in some]), np.array([row for _, row in some], np.int64)
        films.append(Film(people[number], times, tuple(cameras[number].values()), of, up=up or "+y"))
    placed = cutter.placed(np.stack([one.box for _, one in flat]))
    return crops, FitInLoop(tuple(films), placed, recipe.points)
