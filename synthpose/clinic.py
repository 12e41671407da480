"""The synthetic clinic: people whose every joint angle is true by construction, filmed, as a cohort.

Each person is a unit of work that follows from the recipe alone, so any number of processes makes the same
bytes. A person's folder holds the scaled model, the calibrated cameras, and for each trial the true joint
angles (100 Hz), the true landmarks and mocap markers, what each camera sees of each landmark, and the videos.
``files/frames.json`` names the SHA-256 of every video's frames before compression.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from capbench import biomech
from capbench.biomech.kinematics import marker_tracks
from capbench.biomech.osim_write import write_model
from cohorts import formats
from cohorts.bounded import write_text
from cohorts.camera import Camera
from cohorts.card import Card
from cohorts.recording import Cohort, Keypoints, Motion, Subject, Trial
from cohorts.skeleton import skeleton
from cohorts.store import FILES_NAME, Imported, new_folder, open_cohort, write_cohort
from cohorts.values import FloatArray
from metrics.aggregate import TrialKey, mean_pose, tree_mean
from metrics.angles import rmse
from synthpose import aids, sensor, video
from synthpose.clothing import draw_outfit, dress, materials
from synthpose.mesh import Surface
from synthpose.motion import make_motion, perform, sole_points
from synthpose.people import draw_phenotype
from synthpose.person import MOCAP, Person, make_person
from synthpose.recipe import PersonPlan, Recipe, TrialPlan, chance, plan, recipe_of
from synthpose.rig import phone_rig
from synthpose.scene import Actor, Material, Stage, View, tolerances
from synthpose.softtissue import soft_tissue
from synthpose.style import STYLES, Style

TRUTH_RATE = 100.0  #: Hz of motions and markers
BLOCK = 12  #: frames that are posed at once
BLURRED = 3  #: moments that make a blurred frame ...
SHARP = 1 / 400  #: ... where the shutter is open for longer than this, seconds
WALKING_DISTANCE, DISTANCE = 4.0, 3.1  #: metres from the middle of the scene to the phones
FRAMES_NAME = "frames.json"
Told = Callable[[str], None]


# --- a cohort -----------------------------------------------------------------------------------


def make(
    card: Card,
    target: Path,
    *,
    seed: int | None = None,
    workers: int = 1,
    overwrite: bool = False,
    told: Told | None = None,
) -> Imported:
    """Make the cohort of a card in a new folder, whole or not at all.

    ``seed`` replaces the recipe's; ``told`` hears of every person that is done. The same card and seed give
    the same frames, motions and markers with any number of ``workers``.
    """
    recipe = recipe_of(card, seed=seed)
    people = plan(recipe)
    with new_folder(target, overwrite=overwrite) as folder:
        files = folder / FILES_NAME
        files.mkdir()
        made: dict[str, Made] = {}
        for one in _all(recipe, people, files, workers):
            made[one.subject.pseudonym] = one
            if told is not None:
                told(one.subject.pseudonym)
        ordered = [made[p.name] for p in people]
        cohort = Cohort(
            card.name,
            card.version,
            tuple(m.subject for m in ordered),
            tuple(t for m in ordered for t in m.trials),
        )
        null = null_errors([row for m in ordered for row in m.angles])
        reference = card.reference.model_copy(
            update={"null_error": null, "null_error_source": "the constant mean pose of this cohort's trials"}
        )
        digests = {path: digest for m in ordered for path, digest in m.frames.items()}
        write_text(files / FRAMES_NAME, json.dumps(digests, indent=1, sort_keys=True) + "\n")
        imported = Imported(card.model_copy(update={"reference": reference}), cohort, source="synthpose")
        write_cohort(folder, imported, root=FILES_NAME)
    return open_cohort(target)


def maker_version(card: Card) -> str:
    """Twelve digits that change with the card, and with the sources of all that makes a cohort of it."""
    digest = hashlib.sha256(card.model_dump_json().encode())
    root = Path(__file__).parent
    engine = Path(biomech.__file__).parent
    for path in sorted([*root.rglob("*"), *engine.rglob("*")]):
        if path.suffix in (".py", ".yaml", ".npz"):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _all(recipe: Recipe, people: Sequence[PersonPlan], folder: Path, workers: int) -> Iterator[Made]:
    if workers <= 1:
        yield from (make_one(recipe, person, folder) for person in people)
        return
    # spawned, not forked: a fork of a process with threads may stop
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(make_one, recipe, person, folder) for person in people]
        for job in as_completed(jobs):
            yield job.result()


@dataclass(frozen=True)
class Angles:
    """A trial's coordinates as the null model needs them: names and (T, N) values in radians and metres."""

    key: TrialKey
    names: tuple[str, ...]
    values: FloatArray


@dataclass(frozen=True)
class Made:
    """One person's part of a cohort; paths are relative to its folder."""

    subject: Subject
    trials: tuple[Trial, ...]
    angles: tuple[Angles, ...]
    frames: Mapping[str, str]


def null_errors(trials: Sequence[Angles]) -> dict[str, float]:
    """Coordinate -> RMSE of the cohort's constant mean pose, degrees (translations: millimetres)."""
    if not trials:  # people who only stand
        return {}
    keys = [t.key for t in trials]
    names = trials[0].names
    turns = np.array([not n.endswith(("_tx", "_ty", "_tz")) for n in names])
    pose = mean_pose(
        [t.values.mean(axis=0) for t in trials], keys, period_c=np.where(turns, 2 * np.pi, np.inf)
    )
    errors = np.empty((len(trials), len(names)))
    for k, trial in enumerate(trials):
        constant = np.broadcast_to(pose, trial.values.shape)
        errors[k, turns] = rmse(constant[:, turns], trial.values[:, turns])
        errors[k, ~turns] = rmse(constant[:, ~turns], trial.values[:, ~turns], kind="translation")
    return {
        name: round(tree_mean(dict(zip(keys, errors[:, c].tolist(), strict=True))), 3)
        for c, name in enumerate(names)
        if not name.startswith("mtp_angle")
    }


# --- a person -----------------------------------------------------------------------------------


def cast_of(who: PersonPlan) -> Cast:
    """A person as planned, dressed."""
    phenotype = draw_phenotype(who.seed, group=who.group)
    outfit = draw_outfit(who.seed, phenotype)
    return Cast(dress(make_person(phenotype, name=who.name), outfit), materials(outfit))


def angles_of(recipe: Recipe, who: PersonPlan) -> tuple[Angles, ...]:
    """A person's true coordinates in all trials but the standing one, without filming anything."""
    person = cast_of(who).person
    return tuple(_angles(who, one, _motion(person, one, recipe)[0]) for one in who.trials if one.doing)


def _angles(who: PersonPlan, one: TrialPlan, motion: Motion) -> Angles:
    return Angles(TrialKey(who.name, one.activity, one.name), motion.names, motion.values)


def make_one(recipe: Recipe, who: PersonPlan, folder: Path) -> Made:
    """Make one person's files below ``folder``."""
    cast = cast_of(who)
    (folder / who.name).mkdir()
    write_model(cast.person.model, folder / who.name / "model.osim")
    write_model(cast.person.mocap, folder / who.name / "mocap.osim")
    trials, angles, frames = [], [], dict[str, str]()
    for one in who.trials:
        take = take_of(recipe, who, one, cast)
        trial, digests = film(recipe, who, one, take, folder)
        trials.append(trial)
        frames |= digests
        if one.doing is not None:
            angles.append(_angles(who, one, take.motion))
    return Made(cast.person.subject, tuple(trials), tuple(angles), frames)


@dataclass(frozen=True)
class Cast:
    """Somebody dressed, and what all they wear is made of."""

    person: Person
    colours: Mapping[str, Material]

    def actors(self, number: int) -> list[Actor]:
        """Everything to draw of them; ``number`` 1 is the subject."""
        return [Actor(surface, self.colours, person=number) for surface in self.person.surfaces]


@dataclass(frozen=True)
class Take:
    """What there is to film: the subject and their motion (floor at y = 0), things, somebody else, phones."""

    subject: Cast
    motion: Motion
    things: tuple[Actor, ...]
    other: tuple[Cast, Motion] | None
    cameras: tuple[Camera, ...]


def take_of(recipe: Recipe, who: PersonPlan, one: TrialPlan, cast: Cast) -> Take:
    """What there is to film of a trial; the cast may get a cane in hand."""
    motion, facts = _motion(cast.person, one, recipe)
    if one.aid == "cane":  # in the hand of the better side
        cane = aids.cane(cast.person, side="l" if one.side == "r" else "r")
        cast = Cast(
            replace(cast.person, surfaces=(*cast.person.surfaces, cane)), {**cast.colours, **aids.MATERIALS}
        )
    return Take(
        cast,
        motion,
        tuple(_things(one, motion, facts)),
        _somebody(one) if one.other else None,
        _phones(recipe, who, one, cast.person.phenotype.stature),
    )


def _somebody(one: TrialPlan) -> tuple[Cast, Motion]:
    """A second person, who stands behind the subject and to one side."""
    random = chance(one.seed, "other")
    group = str(random.choice(["adult", "elder"]))
    seed = int(random.integers(2**31))
    phenotype = draw_phenotype(seed, group=group)
    outfit = draw_outfit(seed, phenotype)
    cast = Cast(dress(make_person(phenotype, name="other"), outfit), materials(outfit))
    side = float(random.choice([-1.0, 1.0]))
    return cast, _moved(
        _standing(cast.person, 0.1, seed),
        pelvis_tx=float(random.uniform(-2.4, -1.4)),
        pelvis_tz=side * float(random.uniform(0.4, 1.1)),
        pelvis_rotation=float(random.uniform(-0.6, 0.6)),
    )


def _motion(person: Person, one: TrialPlan, recipe: Recipe) -> tuple[Motion, Mapping[str, float]]:
    """The true motion at ``TRUTH_RATE``, soles on y = 0, and what is known of it."""
    if one.doing is None:
        return _standing(person, recipe.static, one.seed), {}
    done = perform(
        one.doing.condition,
        person.model,
        seed=one.seed,
        rate=TRUTH_RATE,
        severity=one.severity,
        side=one.side,
        sole=sole_points(person),
        **one.doing.options,
    )
    motion = done.motion
    if one.activity == "walking":  # the middle of the way is the middle of the scene
        motion = _moved(motion, pelvis_tx=-float(motion.column("pelvis_tx")[len(motion) // 2]))
    return motion, done.facts


def _standing(person: Person, seconds: float, seed: int) -> Motion:
    """The person's own way to stand, with a little sway: the start of a squat, before it goes down."""
    stand = make_motion(
        "squat", person.model, seed=seed, rate=TRUTH_RATE, sole=sole_points(person), repetitions=1
    )
    count = round(seconds * TRUTH_RATE) + 1
    still = min(30, len(stand))  # squats begin with 0.4 s of standing
    order = (
        np.abs((np.arange(count) + still - 1) % (2 * still - 2) - (still - 1))
        if still > 1
        else np.zeros(count, int)
    )
    return replace(stand, time=np.arange(count) / TRUTH_RATE, values=stand.values[order])


def _moved(motion: Motion, **by: float) -> Motion:
    """The motion with coordinates raised by metres or radians."""
    values = motion.values.copy()
    for coordinate, amount in by.items():
        values[:, motion.names.index(coordinate)] += amount
    return replace(motion, values=values)


def _phones(recipe: Recipe, who: PersonPlan, one: TrialPlan, stature: float) -> tuple[Camera, ...]:
    """The session's phones: walking is filmed from further away, so it is a session of its own."""
    walking = one.activity == "walking"
    return tuple(
        phone_rig(
            recipe.cameras,
            distance=(WALKING_DISTANCE if walking else DISTANCE) * max(0.75, stature / 1.7),
            height=0.7 * stature,
            target=(0.0, 0.55 * stature, 0.0),
            size=recipe.size,
            jitter=0.05,
            seed=who.seed + walking,
        )
    )


def _things(one: TrialPlan, motion: Motion, facts: Mapping[str, float]) -> list[Actor]:
    """The chair that is sat on, the box that is jumped from, what a walk leans on."""
    at = (float(motion.column("pelvis_tx")[0]), float(motion.column("pelvis_tz")[0]))
    made = []
    if "seat" in facts:
        arms = bool(chance(one.seed, "chair").random() < 0.3)
        made.append(aids.chair(seat=facts["seat"], arms=arms, at=(facts["seat_x"] + 0.02, at[1])))
    if "box" in facts:
        made.append(aids.jump_box(height=facts["box"], at=at))
    if one.aid == "bars":
        made.append(aids.bars(length=4.0))
    if one.aid == "walker":
        made.append(aids.walker(at=(at[0] + 0.38, at[1])))
    return [Actor(thing, aids.MATERIALS, person=0) for thing in made]


def _placed(thing: Surface, motion: Motion) -> FloatArray:
    """(T, V, 3) metres of a thing: it stands, but a walker is pushed along."""
    if thing.name == "walker":
        return aids.followed(thing, motion)
    return np.broadcast_to(thing.rest_v3, (len(motion), *thing.rest_v3.shape))


# --- filming ------------------------------------------------------------------------------------


def film(
    recipe: Recipe, who: PersonPlan, one: TrialPlan, take: Take, folder: Path
) -> tuple[Trial, dict[str, str]]:
    """Write one trial's truth and videos: the trial as the cohort knows it, and its frames' digests."""
    session = "walk" if one.activity == "walking" else "room"
    home = f"{who.name}/{session}"
    truth = {kind: f"{home}/{kind}/{one.name}{end}" for kind, end in KINDS.items()}
    calibration = f"{home}/calibration.toml"
    for path in (*truth.values(), *(f"{home}/{c.name}/x" for c in take.cameras)):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
    if not (folder / calibration).exists():
        formats.write(folder / calibration, take.cameras)
    person = take.subject.person
    formats.write(folder / truth["motion"], take.motion)
    formats.write(folder / truth["landmarks"], person.landmarks(take.motion))
    mocap = marker_tracks(person.mocap, take.motion)
    formats.write(folder / truth["mocap"], mocap)
    skin = soft_tissue(mocap, person.mocap, take.motion, seed=who.seed, points=MOCAP)
    formats.write(folder / truth["mocap_skin"], skin.markers)
    style = STYLES[recipe.style]
    room = style.room(who.seed, session)
    stage = Stage(_drawn(style, who, one, take), room)
    late = sensor.offsets([c.name for c in take.cameras], seed=one.seed, most=recipe.offset)
    videos, extras, digests = dict[str, str](), dict[str, str](), dict[str, str]()
    for camera in take.cameras:
        where = f"{home}/{camera.name}/{one.name}"
        times = sensor.frame_times(
            take.motion.time[0], take.motion.time[-1], recipe.rate, offset=late[camera.name]
        )
        seen: list[NDArray[np.bool_]] = []
        pictures = _pictures(recipe, one, take, stage, View(camera, room, painter=style.painter), times, seen)
        written = video.write(folder / f"{where}.mp4", pictures, rate=recipe.rate)
        digests[f"{where}.mp4"] = written.sha256
        videos[camera.name] = f"{where}.mp4"
        formats.write(folder / f"{where}.npz", _seen_by(camera, take, times, np.array(seen)))
        extras[f"keypoints:{camera.name}"] = f"{where}.npz"
    extras |= {
        "model": f"{who.name}/model.osim",
        "mocap": truth["mocap"],
        "mocap_skin": truth["mocap_skin"],
        "mocap_model": f"{who.name}/mocap.osim",
        "static": f"{who.name}/room/landmarks/static1.trc",
    }
    calibrations = dict.fromkeys(videos, calibration)
    trial = Trial(
        one.name, who.name, one.activity, session, videos, calibrations,
        truth["landmarks"], truth["motion"], extras,
    )  # fmt: skip
    return trial, digests


#: what is written of a trial's truth: "mocap" is rigid on its bodies, "mocap_skin" moves with the skin, and
#: the difference of the two is the soft-tissue artefact
KINDS = {"motion": ".mot", "landmarks": ".trc", "mocap": ".trc", "mocap_skin": ".npz"}


def at_times(motion: Motion, times: FloatArray) -> Motion:
    """The motion at other times, by cubic splines; before its start and after its end it stands still.

    Times need not increase where several frames are open at once, so the motion's own clock only counts them.
    """
    inside = np.clip(times, motion.time[0], motion.time[-1])
    clock = times if np.all(np.diff(times) > 0) else np.arange(len(times), dtype=float)
    return replace(motion, time=clock, values=CubicSpline(motion.time, motion.values)(inside))


def _drawn(style: Style, who: PersonPlan, one: TrialPlan, take: Take) -> list[Actor]:
    """Everything there is to draw, in that style: the subject, things, somebody else."""
    others = () if take.other is None else take.other[0].actors(2)
    seeds = {1: who.seed, 0: one.seed, 2: one.seed}
    return [
        replace(actor, materials=style.dressed(actor.materials, seeds[actor.person]))
        for actor in (*take.subject.actors(1), *take.things, *others)
    ]


def _pictures(
    recipe: Recipe,
    one: TrialPlan,
    take: Take,
    stage: Stage,
    view: View,
    times: FloatArray,
    seen: list[NDArray[np.bool_]],
) -> Iterator[NDArray[np.uint8]]:
    """Each frame as the phone has it; appends to ``seen`` which landmarks it shows."""
    person = take.subject.person
    phone = replace(
        sensor.draw_sensor(one.seed, view.camera.name), quality=0
    )  # the video is compressed itself
    moments = BLURRED if recipe.blur and phone.shutter > SHARP else 1
    others = [] if take.other is None else take.other[0].person.posed(take.other[1][:1])
    landmarks = person.landmarks(at_times(take.motion, times))
    tolerance = None
    for start in range(0, len(times), BLOCK):
        block = times[start : start + BLOCK]
        open_at = np.concatenate([sensor.openings(t, phone.shutter, moments) for t in block])
        now = at_times(take.motion, open_at)
        posed = person.posed(now)
        things = [_placed(thing.surface, now) for thing in take.things]
        for k in range(len(block)):
            scenes = [
                stage.pose([*(p[k * moments + m] for p in (*posed, *things)), *(p[0] for p in others)])
                for m in range(moments)
            ]
            shots = [view.see(scene) for scene in scenes]
            middle = shots[moments // 2]
            if tolerance is None:
                tolerance = tolerances([p[moments // 2] for p in posed], landmarks, 0)
            seen.append(view.visible(middle, landmarks, start + k, tolerance=tolerance))
            linear = shots[0].linear if moments == 1 else sensor.exposed(s.linear for s in shots)
            yield STYLES[recipe.style].develop(
                linear, phone, seed=one.seed, camera=view.camera.name, frame=start + k
            )


def _seen_by(camera: Camera, take: Take, times: FloatArray, seen: NDArray[np.bool_]) -> Keypoints:
    """Where the camera has each landmark; confidence 1 where it is seen, 0.5 where it is hidden."""
    points = skeleton("synthpose-52")
    landmarks = take.subject.person.landmarks(at_times(take.motion, times))
    order = [landmarks.names.index(n) for n in points.points]
    xy = camera.project(landmarks.xyz[:, order])
    confidence = np.where(np.isnan(xy[..., 0]), 0.0, np.where(seen[:, order], 1.0, 0.5))
    return Keypoints(camera.name, times, xy, points, confidence, frames=np.arange(len(times)))
