"""Adaptation without labels: what is learnt, by what it is judged, and that what doesn't help is left."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from toy_people import ToyPeople, toy_recipe

from cohorts.errors import CapbenchError
from cohorts.skeleton import skeleton
from synthpose.adapt import ADAPTATION, Adaptation, Crops, adapt
from synthpose.adaptation import Marks, clusters, decide, standard_error
from synthpose.augment import NOTHING, Augmenter
from synthpose.feeding import Batch
from synthpose.plausible import learned
from synthpose.progress_log import read_log
from synthpose.teacher import back, forth, labels_of, marks_of, view
from synthpose.train import MODEL, RECIPE, load_trained, train

COCO = skeleton("coco-17")
SIZE = (64, 64)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Curves take half a second and are tested elsewhere."""
    monkeypatch.setattr("synthpose.train.draw_curves", lambda log, target: None)


# --- two views of one place -------------------------------------------------------------------------


@pytest.mark.truth("affine maps in closed form")
def test_points_of_two_views_land_on_the_same_place() -> None:
    random = np.random.default_rng(0)
    at = random.uniform(10, 50, (3, len(COCO), 2))
    turn, width = 0.3, SIZE[0]
    one = np.tile(np.array([[1.1, 0.2, 3.0], [-0.1, 0.9, -5.0]]), (3, 1, 1))
    c, s = np.cos(turn), np.sin(turn)
    # mirrored after a turn about the corner: x' = W - 1 - (c x - s y), y' = s x + c y
    other = np.tile(np.array([[-c, s, width - 1], [s, c, 0.0]]), (3, 1, 1))
    seen = forth(at, other, COCO)
    left, right = COCO.index("left_knee"), COCO.index("right_knee")
    x, y = at[:, left].T
    # in the mirrored view his left knee is a right knee
    assert seen[:, right] == pytest.approx(np.stack([width - 1 - (c * x - s * y), s * x + c * y], 1))
    assert back(seen, other, COCO) == pytest.approx(at)
    assert back(forth(at, one, COCO), one, COCO) == pytest.approx(at)
    assert back(forth(at, one, COCO), other, COCO) != pytest.approx(at)
    # the student's view, by the augmentation that a training uses, from pseudo-labels of the teacher's
    how = Augmenter(NOTHING.model_copy(update={"moved": 1.0, "flip": 1.0}), COCO)
    batch = Batch(
        np.zeros((3, 64, 64, 3), np.uint8), back(seen, other, COCO).astype(np.float32),
        np.ones((3, len(COCO)), np.float32),
    )  # fmt: skip
    maps = how.maps(batch, np.random.default_rng(4))
    student = how(batch, np.random.default_rng(4))
    assert student.points == pytest.approx(forth(at, maps, COCO), abs=1e-3)


class Constant(torch.nn.Module):
    """A network that gives the same answer whatever it sees."""

    def __init__(self, count):
        super().__init__()
        self.count, self.own = count, torch.nn.Parameter(torch.zeros(()))

    def forward(self, pictures):
        maps = torch.zeros(len(pictures), self.count, *pictures.shape[2:])
        k = torch.arange(self.count)
        maps[:, k, 10 + 2 * k, 8 + 3 * (k % 7)] = 30.0
        return maps


@pytest.mark.truth("a network that answers all views alike")
def test_a_blind_network_follows_nothing() -> None:
    recipe = toy_recipe()
    random = np.random.default_rng(0)
    pictures = random.integers(0, 255, (6, 64, 64, 3), np.uint8)
    weak = Adaptation().weak
    seen = view(Constant(len(COCO)), recipe, pictures, views=4, weak=weak, seed=0)
    assert np.isfinite(seen.points).all()
    blind, spread = seen.blind(COCO), seen.spread
    assert spread.mean() > 0.03
    assert blind == pytest.approx(spread, rel=1e-6)
    prior = learned(ToyPeople(200), COCO)
    assert marks_of(seen, prior, np.ones(3)).follows == pytest.approx(1.0)
    again = view(Constant(len(COCO)), recipe, pictures, views=4, weak=weak, seed=0)
    assert np.array_equal(again.points, seen.points)


def test_labels_are_sure_steady_plausible_and_inside() -> None:
    from synthpose.teacher import Views

    prior = learned(ToyPeople(300), COCO)
    at = ToyPeople(4, seed=8).points[:, : len(COCO)].astype(float)
    views = np.stack([at, at])
    sure = np.ones((2, 4, len(COCO)))
    sure[:, 0, 3] = 0.1  # not sure
    views[0, 1, 3, 0] += 5.0  # the views are 5 of 64 px apart
    views[:, 2, 3] += 25.0  # nobody's
    views[:, 3, :, 0] += 64.0 - at[3, 3, 0]  # this point lies just off the right edge
    maps = np.broadcast_to(np.eye(2, 3), (2, 4, 2, 3))
    made = labels_of(Views(views, sure, maps, 64), prior, SIZE, sure=0.3, spread=0.03, gate=4.0)
    assert not made.weight[:, 3].any()
    assert np.delete(made.weight[:3], 3, axis=1).all()
    assert np.array_equal(made.points, views.mean(0))
    assert made.facts["plausible, %"] == pytest.approx(100 * made.weight.mean())
    wide = labels_of(Views(views, sure, maps, 64), prior, SIZE, sure=0.05, spread=0.05, gate=6.0)
    assert wide.weight[0, 3] == wide.weight[1, 3] == 1


# --- the decision -----------------------------------------------------------------------------------


@pytest.mark.truth("brute force over clusters")
def test_the_standard_error_is_of_clusters() -> None:
    random = np.random.default_rng(0)
    group = np.repeat(np.arange(8), 5)
    effects = random.normal(0, 1, 8)
    values = effects[group] + random.normal(0, 0.1, 40)
    means = np.array([values[group == k].mean() for k in range(8)])
    # clusters of one size: the mean of their means
    assert standard_error(values, group) == pytest.approx(means.std(ddof=1) / np.sqrt(8))
    assert standard_error(values, np.arange(40)) == pytest.approx(values.std(ddof=1) / np.sqrt(40))
    assert standard_error(values, np.zeros(40, int)) == np.inf
    assert np.array_equal(np.unique(clusters(group)), np.arange(8))
    assert len(np.unique(clusters(np.zeros(40, int)))) == 10
    few = clusters(np.repeat([3, 4], 20))
    assert not set(few[:20]) & set(few[20:])


BASE = np.random.default_rng(1).uniform(0.8, 1.2, 40)
BEFORE = 4 * BASE, 0.02 * BASE, 3 * BASE  #: error on labelled pictures, spread of views, posture


def decided(labelled, views, posture, *, follows=0.1, errors=2.0):
    """The verdict on a network whose numbers are so many times those of before."""
    before, after = (
        Marks(error, {"views": spread, "posture": strange}, follows)
        for error, spread, strange in (
            BEFORE,
            tuple(by * was for by, was in zip((labelled, views, posture), BEFORE, strict=True)),
        )
    )
    return decide(before, after, np.repeat(np.arange(10), 4), Adaptation(errors=errors))


def test_it_is_taken_only_where_better_by_more_than_chance() -> None:
    better = decided(0.9, 1.0, 1.0)
    assert better.better
    assert better.labelled.share == pytest.approx(0.1)
    # by pictures made one after the other, in ten runs
    runs = (0.1 * BASE / BASE.mean()).reshape(10, 4).mean(1)
    assert better.labelled.error == pytest.approx(runs.std(ddof=1) / np.sqrt(10))
    assert better.marks["views"] == pytest.approx((0.02 * BASE.mean(), 0.02 * BASE.mean()))
    assert not decided(1.0, 1.0, 1.0).better
    # smaller on the whole, by less than two standard errors: four pictures of forty say it
    one = np.where(np.arange(40) // 4 == 3, 0.5, 1.0)
    chance = decided(one, 1.0, 1.0)
    assert chance.labelled.share > 0
    assert not chance.better
    blind = decided(0.8, 0.5, 0.5, follows=0.9)
    assert not blind.better
    assert "follow" in blind.reason


def test_agreeing_with_itself_is_no_reason_to_take_it() -> None:
    surer = decided(1.1, 0.5, 0.8)
    assert surer.unlabelled.share == pytest.approx(np.mean([0.5, 0.2]))
    assert surer.unlabelled.share > 5 * surer.unlabelled.error
    assert not surer.better
    assert "error" in surer.reason


def test_marks_that_get_worse_speak_against_it() -> None:
    worse = decided(0.9, 1.3, 1.1)
    assert worse.labelled.share > 0
    assert not worse.better
    assert "marks" in worse.reason
    assert decided(0.9, 1.3, 0.6).better  # one is worse, the other better by more


def test_whole_groups_are_held_out() -> None:
    pictures = np.zeros((40, 64, 64, 3), np.uint8)
    crops = Crops(pictures, np.repeat(np.arange(8), 5))
    out = crops.held_out(0.2, 0)
    assert out.sum() == 10
    assert all(len(np.unique(out[crops.group == k])) == 1 for k in range(8))
    assert not np.array_equal(out, crops.held_out(0.2, 1))
    alone = Crops(pictures, np.zeros(40, int)).held_out(0.2, 0)
    assert np.array_equal(np.flatnonzero(alone), np.arange(32, 40))
    with pytest.raises(CapbenchError, match="group"):
        Crops(pictures, np.zeros(3, int))
    with pytest.raises(CapbenchError, match="uint8"):
        Crops(pictures.astype(float), np.zeros(40, int))


# --- the whole way ----------------------------------------------------------------------------------


def paler(pictures):
    """The other domain: half the contrast, and lighter."""
    return np.clip(pictures * 0.5 + 90, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The folder of a training on pictures of the one domain."""
    folder = tmp_path_factory.mktemp("adapt") / "source"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("synthpose.train.draw_curves", lambda log, target: None)
        recipe = toy_recipe(samples=8 * 240, augment={"moved": 0.5}, checks={"every": 240, "log": 240})
        train(recipe, folder, data=ToyPeople(208))
    return folder


@pytest.fixture(scope="module")
def prior():
    return learned(ToyPeople(400, seed=3), COCO)


@pytest.fixture(scope="module")
def crops():
    return Crops(paler(ToyPeople(160, seed=7).pictures), np.arange(160) // 16)


def pixels(folder, people, pictures):
    """Mean error of a training's weights."""
    from synthpose.looks import decoded, network_input

    recipe, net = load_trained(folder)
    with torch.inference_mode():
        found = decoded(net(network_input(pictures, torch.device("cpu"))), recipe)
    return float(np.linalg.norm(found - people.points[:, : len(COCO)], axis=-1).mean())


QUICK = {"rate": 0.3, "ema": 0.95, "spread": 0.05}
#: pictures of the first domain whose points are known
KNOWN = {"labelled": ToyPeople(120, seed=4), "labelled_hash": "toy"}


@pytest.mark.truth("points that the pictures were made from, of people not adapted to")
def test_adaptation_to_another_domain_lowers_the_true_error(source, prior, crops, tmp_path) -> None:
    asked = Adaptation(rounds=3, samples=320, **QUICK)
    done = adapt(source, crops, tmp_path / "out", prior=prior, **KNOWN, asked=asked)
    people = ToyPeople(64, seed=8)
    before, after = (pixels(f, people, paler(people.pictures)) for f in (source, tmp_path / "out"))
    assert before > 1.5 * pixels(source, people, people.pictures)  # the domains do differ
    assert done.verdict.better
    assert after < 0.95 * before  # here 0.84
    told = done.told
    assert told["taken"] == "adapted"
    assert told["hashes"][MODEL] == told["hashes"][f"round-03/{MODEL}"] != told["hashes"]["source"]
    assert [line["step"] for line in read_log(tmp_path / "out" / "log.jsonl")] == [1, 2, 3]
    # asked again it says the same, and trains nothing
    again = adapt(
        source,
        crops,
        tmp_path / "out",
        prior=prior,
        **KNOWN,
        asked=asked,
        told=lambda _: pytest.fail("trains"),
    )
    assert again.verdict == done.verdict
    with pytest.raises(CapbenchError, match="another asked"):
        adapt(source, crops, tmp_path / "out", prior=prior, **KNOWN, asked=Adaptation(rounds=1, **QUICK))


def as_it_was(source, out):
    return all(
        (source / name).read_bytes() == (out / name).read_bytes() for name in (MODEL, RECIPE, "training.json")
    )


def test_noise_teaches_nothing(source, prior, crops, tmp_path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, crops.pictures.shape, np.uint8)
    done = adapt(
        source, Crops(noise, crops.group), tmp_path / "out", prior=prior, **KNOWN, asked=Adaptation(**QUICK)
    )
    assert not done.verdict.better
    assert "too few" in done.verdict.reason
    assert as_it_was(source, tmp_path / "out")
    assert done.told["taken"] == "source"
    assert done.told["hashes"][MODEL] == done.told["hashes"]["source"]


class Stubborn:
    """Labels every crop with the same posture: a network that learns it is steady, plausible and blind."""

    sha256 = "stubborn"

    def __init__(self, points):
        self.points = points

    def labels(self, seen, before):
        from synthpose.adaptation import Labels

        count = seen.points.shape[1]
        return Labels(np.repeat(self.points[None], count, 0), np.ones((count, len(COCO))), {})

    def marks(self, seen, numbers):
        return {}


def test_a_network_gone_blind_is_not_taken_though_its_marks_are_better(
    source, prior, crops, tmp_path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, crops.pictures.shape, np.uint8)
    points = ToyPeople(1, seed=5).points[0, : len(COCO)].astype(float)
    # the student sees what is not moved, so that it learns to answer the same whatever it sees
    asked = Adaptation(rounds=1, samples=480, strong=NOTHING, **{**QUICK, "rate": 1.0})
    done = adapt(
        source,
        Crops(noise, crops.group),
        tmp_path / "out",
        prior=prior,
        **KNOWN,
        asked=asked,
        labeller=Stubborn(points),
    )
    verdict = done.verdict
    assert verdict.unlabelled.share > 2 * verdict.unlabelled.error
    assert verdict.follows[1] > 0.9
    assert not verdict.better
    assert as_it_was(source, tmp_path / "out")


class Killed(Exception):
    pass


def test_it_goes_on_from_a_kill_to_the_same_weights(source, prior, crops, tmp_path) -> None:
    asked = Adaptation(rounds=2, samples=64, **QUICK)
    whole = adapt(source, crops, tmp_path / "whole", prior=prior, **KNOWN, asked=asked)
    for moment in (1, 3):
        heard = []

        def stop(entry, heard=heard, moment=moment):
            heard.append(entry)
            if len(heard) == moment:
                raise Killed

        with pytest.raises(Killed):
            adapt(source, crops, tmp_path / "cut", prior=prior, **KNOWN, asked=asked, told=stop)
        assert not (tmp_path / "cut" / ADAPTATION).exists()
    done = adapt(source, crops, tmp_path / "cut", prior=prior, **KNOWN, asked=asked)
    assert done.told == whole.told
    for name in ("round-01", "round-02", "."):
        assert (tmp_path / "cut" / name / MODEL).read_bytes() == (
            tmp_path / "whole" / name / MODEL
        ).read_bytes()


class Watched:
    """Labelled pictures that note which of them were looked at."""

    def __init__(self, people):
        self.people, self.taken = people, []
        self.skeleton = people.skeleton

    def __len__(self):
        return len(self.people)

    def batch(self, numbers):
        self.taken.extend(numbers.tolist())
        return self.people.batch(numbers)


def test_labelled_pictures_are_mixed_in_and_others_judge(source, prior, crops, tmp_path) -> None:
    seen = Watched(ToyPeople(40, seed=9))
    given = {"prior": prior, "labelled": seen, "labelled_hash": "x"}
    asked = Adaptation(rounds=1, samples=160, labelled=1.0, **QUICK)
    done = adapt(source, crops, tmp_path / "a", asked=asked, **given)
    learnt, judged = ([n for n in seen.taken if (n < 32) == kind] for kind in (True, False))
    assert 60 < len(learnt) - 32 < 100  # half of 160
    assert sorted(judged) == sorted([*range(32, 40)] * 3)  # for their look, and by both networks
    before, after = done.verdict.marks["error in their look, px"]
    assert done.verdict.labelled.share == pytest.approx(1 - after / before)
    seen.taken.clear()
    off = asked.model_copy(update={"labelled": 0.0})
    adapt(source, crops, tmp_path / "b", asked=off, **given)
    assert sorted(seen.taken) == sorted([*range(32), *[*range(32, 40)] * 3])
    with pytest.raises(CapbenchError, match="labelled pictures"):
        adapt(source, crops, tmp_path / "c", **{**given, "labelled": ToyPeople(1)})


@pytest.mark.truth("points that the pictures were made from, of people not adapted to")
def test_the_error_it_is_judged_by_is_that_of_the_crops(source, prior, crops, tmp_path) -> None:
    asked = Adaptation(rounds=1, samples=8, **QUICK)
    marks = adapt(source, crops, tmp_path / "out", prior=prior, **KNOWN, asked=asked).verdict.marks
    told = marks["error in their look, px"][0]
    people = ToyPeople(64, seed=8)
    assert told == pytest.approx(pixels(source, people, paler(people.pictures)), rel=0.15)
    assert told > 1.4 * pixels(source, people, people.pictures)


def test_what_does_not_fit_is_refused(source, prior, crops, tmp_path) -> None:
    small = Crops(crops.pictures[:, :32], crops.group)
    with pytest.raises(CapbenchError, match="64 x 64"):
        adapt(source, small, tmp_path / "out", prior=prior, **KNOWN)
    other = learned(ToyPeople(200), skeleton("synthpose-52"))
    with pytest.raises(CapbenchError, match="prior of coco-17"):
        adapt(source, crops, tmp_path / "out", prior=other, **KNOWN)
    assert not (tmp_path / "out").exists()
