"""The parts of the style "sunlit": prints, sun through windows, shadows, film, and what chance draws."""

import numpy as np
import pytest
from solids import actor, box, camera

from cohorts.errors import CapbenchError
from synthpose import sensor
from synthpose.clothing import draw_outfit, materials
from synthpose.palette import alike
from synthpose.people import draw_phenotype
from synthpose.scene import Light, Material, Room, Stage, View
from synthpose.shade import BLOTCHES
from synthpose.sunlit import choices, film, light, prints

SUN = Light((0.3, 0.28, 0.9), (1.5, 1.2, 0.9))
DARK = Light((0.0, -1.0, 0.0), (0.0, 0.0, 0.0))


def hall(**kind) -> Room:
    """White walls and floor, the sun alone."""
    white = Material((1.0, 1.0, 1.0), rough=1.0)
    return Room(
        surfaces=(white,) * 6, lights=(SUN, DARK), ambient=(0.0, 0.0, 0.0), high=(6.0, 3.5, 4.0), **kind
    )


# --- prints -------------------------------------------------------------------------------------


@pytest.mark.truth("a search of all cells within three")
def test_cells_find_their_nearest_point() -> None:
    """Only the eight nearest cells are looked at, so a few places have a nearer point; none a farther one."""
    points = {}
    for i, j, k in np.ndindex(9, 9, 9):
        at = np.array([prints.scatter(i, j, k, s) for s in (7, 108, 209)])
        points[i, j, k] = np.array([i, j, k]) + 0.5 + prints.JITTER * (at - 0.5)
    every, names = np.array(list(points.values())), list(points)
    right = 0
    places = np.random.default_rng(0).uniform(3, 6, (300, 3))
    for place in places:
        near, next_, own = prints.cells(*place, 7)
        away = np.linalg.norm(every - place, axis=1)
        first, second = np.sort(away)[:2]
        assert near >= first - 1e-9 and next_ >= second - 1e-9
        good = np.isclose(near, first)
        right += good
        if good:
            assert own == prints.scatter(*names[int(away.argmin())], 310)
    assert right > 0.95 * len(places)


def test_scattered_numbers_are_even_and_independent() -> None:
    rows = np.array([[prints.scatter(i, j, -3, 5) for i in range(-40, 40)] for j in range(40)])
    assert 0 <= rows.min() < 0.01 and 0.99 < rows.max() < 1
    assert abs(rows.mean() - 0.5) < 0.02 and abs(rows.std() - np.sqrt(1 / 12)) < 0.01
    for a, b in ((rows[:, 1:], rows[:, :-1]), (rows[1:], rows[:-1])):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.06


@pytest.mark.truth("the sine, which the parabolas follow to 6 %")
def test_waves() -> None:
    t = np.linspace(-2, 2, 4001)
    found = np.array([prints.wave(v) for v in t])
    assert np.abs(found - np.sin(2 * np.pi * t)).max() < 0.06
    some = np.array([prints.bent(*p, 3) for p in np.random.default_rng(1).uniform(-9, 9, (3000, 3))])
    assert 0 <= some.min() < 0.02 and 0.98 < some.max() <= 1 and 0.4 < some.mean() < 0.6


@pytest.mark.truth("the mean over a period is the line's share of it, however wide a pixel")
@pytest.mark.parametrize("pixel", [0.0005, 0.01, 0.02, 0.11])
def test_lines_lose_no_paint_when_pixels_are_wider(pixel) -> None:
    at = 0.3 * (np.arange(3000) + 0.5) / 3000 - 0.1
    cover = np.array([prints.lines(t, 0.3, 0.02, pixel) for t in at])
    assert cover.mean() == pytest.approx(0.02 / 0.3, rel=2e-3)
    assert cover.max() == pytest.approx(min(1, 0.02 / pixel), abs=0.01)


@pytest.mark.truth("areas of the motifs")
def test_prints_have_both_colours_and_fade_into_their_mean() -> None:
    random = np.random.default_rng(2)
    places = random.uniform(-3, 3, (6000, 3))
    shares = {}
    for pattern in prints.CLOTHS:
        found = np.array([prints.printed(pattern, *p, 0.08, 1e-5, 3) for p in places])
        assert found.min() >= 0 and found[:, 0].max() <= 1 and found[:, 0].std() > 0.2
        shares[pattern] = found[:, 0].mean()
    assert shares[prints.ZIGZAG] == pytest.approx(0.5, abs=0.03)
    assert shares[prints.DIAMONDS] == pytest.approx(0.5, abs=0.03)
    assert shares[prints.DOTS] == pytest.approx(4 / 3 * np.pi * 0.34**3, abs=0.03)  # a ball in each cell
    assert prints.printed(prints.PLAIN, 1, 2, 3, 0.1, 0.01, 0) == (0.0, 1.0)
    assert prints.printed(BLOTCHES, 1, 2, 3, 0.1, 0.01, 0) == (0.0, 1.0)  # no pattern of the default's


@pytest.mark.truth("joints' share of the area, one minus what is left both ways")
def test_tiles_and_bricks_have_their_joints() -> None:
    u, v = np.random.default_rng(3).uniform(-4, 4, (2, 9000))
    tiles = np.mean([prints.laid(prints.TILES, a, b, 0.4, 1e-4, 1)[0] for a, b in zip(u, v, strict=True)])
    assert tiles == pytest.approx(1 - (1 - 0.02 / 0.4) ** 2, abs=0.01)
    bricks = np.mean([prints.laid(prints.BRICKS, a, b, 0.24, 1e-4, 1)[0] for a, b in zip(u, v, strict=True)])
    tall = 0.36 * 0.24
    assert bricks == pytest.approx(1 - (1 - 0.018 / tall) * (1 - 0.018 / 0.24), abs=0.015)


# --- light --------------------------------------------------------------------------------------


def through(place, w: light.Windows) -> bool:
    """Whether the sun reaches a place: the ray there, the wall's window, the pane in it."""
    toward = np.array(SUN.toward) / np.linalg.norm(SUN.toward)
    hit = place + (w.at - place[w.axis]) / toward[w.axis] * toward
    along = (hit[2 - w.axis] - w.start) % w.pitch
    up = hit[1] - w.sill
    tall = w.lintel - w.sill
    if not (0 < up < tall and along < w.wide):
        return False
    beams = [k * w.wide / w.panes[0] for k in range(w.panes[0] + 1)]
    rungs = [k * tall / w.panes[1] for k in range(w.panes[1] + 1)]
    free = min(abs(along - b) for b in beams) > light.BARS / 2
    return free and min(abs(up - r) for r in rungs) > light.BARS / 2


@pytest.mark.truth("rays to the window's panes, and Lambert's law")
def test_the_floor_is_lit_in_the_shape_of_the_panes() -> None:
    room = hall(seed=5)
    w = light.windows(room)
    assert (w.axis, w.at) == (2, 4.0)  # the sun comes from +z more than from +x
    view = View(
        camera((1.0, 3.0, -3.0), (0.0, 0.0, 0.5), size=(120, 90), focal=60.0), room, painter=light.painter
    )
    seen = view.see(Stage([], room).pose([]))
    places = (view.beneath @ room.axes)[view.surface == 0]
    wanted = np.array([through(p, w) for p in places.astype(float)])
    values = seen.linear[view.surface == 0][:, 0]
    toward = np.array(SUN.toward) / np.linalg.norm(SUN.toward)
    full = toward[1] * SUN.colour[0]
    assert 0.1 < wanted.mean() < 0.9
    # away from the soft edges all places are as lit as they should be
    agree = np.where(
        wanted, np.isclose(values, full, rtol=1e-3), np.isclose(values, light.STRAY * full, rtol=1e-3)
    )
    assert agree.mean() > 0.85
    assert ((values > 0.55 * full) == wanted).mean() > 0.97


@pytest.mark.truth("the same scene without what stands in the sun")
def test_people_take_the_sun_from_the_floor_and_from_themselves_only_where_it_was() -> None:
    room = hall(seed=5)
    pillar = box((-0.15, 0.0, 0.6), (0.15, 1.5, 0.9))
    thing = actor(*pillar, colour=(1.0, 1.0, 1.0), rough=1.0)
    view = View(
        camera((2.5, 2.4, -3.0), (0.0, 0.3, 0.0), size=(120, 90), focal=70.0), room, painter=light.painter
    )
    empty = view.see(Stage([], room).pose([])).linear
    picture = view.see(Stage([thing], room).pose([pillar[0]]))
    bare = picture.person == 0
    less = (empty - picture.linear)[..., 0]
    assert less[bare].min() > -1e-6 and less[bare].max() > 0.2
    # where it is darker, a ray to the sun meets the pillar
    places = view.beneath @ room.axes
    toward = np.array(SUN.toward) / np.linalg.norm(SUN.toward)
    dark, sure = bare & (less > 0.15), 0
    for place in places[dark].astype(float):
        with np.errstate(divide="ignore"):
            a, b = (pillar[0].min(axis=0) - place) / toward, (pillar[0].max(axis=0) - place) / toward
        # let it be 3 cm larger: the map's pixels are 1.6 cm
        grown = 0.03 / np.abs(toward).max()
        sure += np.minimum(a, b).max() - grown < np.maximum(a, b).min() + grown
    assert dark.sum() > 30 and sure == dark.sum()
    # sides that face away from the sun have none of it: nothing but the white floor's own light, none here
    away = (picture.person == 1) & (np.nan_to_num(picture.normal) @ toward < 0)
    assert away.sum() > 30 and picture.linear[away].max() < 1e-6


def test_rooms_that_this_light_cannot_be_in_are_refused() -> None:
    with pytest.raises(CapbenchError, match="one light more, got 1 lights"):
        View(camera(), Room(lights=(SUN,)), painter=light.painter)


# --- film ---------------------------------------------------------------------------------------

PHONE = sensor.Sensor(soft=0.0)


def shown(value: float) -> float:
    x = max(value - 0.004, 0.0)
    return x * (6.2 * x + 0.5) / (x * (6.2 * x + 1.7) + 0.06)


def plain_film(monkeypatch, **changed) -> None:
    kind = {"gains": (1.0, 1.0, 1.0), "colour": 1.0, "halo": 0.0, "reach": 1.0, "grain": 0.0, "stains": 0.0}
    monkeypatch.setattr(film, "draw_film", lambda *_: film.Film(**{**kind, "corners": 0.0, **changed}))


def taken(linear) -> np.ndarray:
    return film.develop(np.asarray(linear, np.float32), PHONE, seed=1, camera="Cam1", frame=0)


@pytest.mark.truth("the published curve")
def test_a_flat_light_has_the_curves_value_and_dark_corners(monkeypatch) -> None:
    plain_film(monkeypatch)
    for value in (0.0, 0.02, 0.18, 0.7, 3.0):
        light_ = np.full((20, 30, 3), value, np.float32)
        assert (taken(light_) == int(255 * shown(value) + 0.5)).all()
        assert (light_ == np.float32(value)).all()  # what is given stays
    plain_film(monkeypatch, corners=0.5)
    made = taken(np.full((21, 31, 3), 0.5))
    assert made[10, 15, 0] == int(255 * shown(0.5) + 0.5)
    assert made[0, 0, 0] == made[20, 30, 2] == int(255 * shown(0.25) + 0.5)
    assert made[10, 0, 0] == int(255 * shown(0.5 * (1 - 0.5 * 15**2 / (15**2 + 10**2))) + 0.5)


@pytest.mark.truth("means of four independent numbers: deviation, and half shared with each neighbour")
def test_grain_is_as_strong_and_as_wide_as_it_says(monkeypatch) -> None:
    plain_film(monkeypatch, grain=0.05)
    made = taken(np.full((200, 200, 3), 0.18))[10:].astype(float) / 255
    assert np.ptp(made, axis=2).max() < 1e-9  # of brightness alone
    grain = made[..., 0] - shown(0.18)
    assert grain.std() == pytest.approx(0.05 * (1.15 - 0.8 * shown(0.18)), rel=0.03)
    for a, b, share in (
        (grain[:, 1:], grain[:, :-1], 0.5),
        (grain[1:], grain[:-1], 0.5),
        (grain[1:, 1:], grain[:-1, :-1], 0.25),
        (grain[:, 2:], grain[:, :-2], 0.0),
    ):
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] == pytest.approx(share, abs=0.03)


def test_stains_are_of_colour_and_halos_at_edges(monkeypatch) -> None:
    plain_film(monkeypatch, stains=0.05)
    made = taken(np.full((320, 200, 3), 0.18)).astype(float) / 255
    assert made.std(axis=(0, 1)).min() > 0.01 and np.ptp(made, axis=2).max() > 0.05
    wide = round(film.STAIN * 320 / film.TALL)
    red = made[..., 0]
    assert np.corrcoef(red[:, 1:].ravel(), red[:, :-1].ravel())[0, 1] > 0.6
    assert abs(np.corrcoef(red[:, 3 * wide :].ravel(), red[:, : -3 * wide].ravel())[0, 1]) < 0.1
    plain_film(monkeypatch, halo=1.0)
    step = np.full((20, 40, 3), 0.1)
    step[:, 20:] = 0.3
    made = taken(step)[10, :, 0].astype(float) / 255
    low, high = shown(0.1), shown(0.3)
    weights = np.exp(-0.5 * np.arange(-3, 4) ** 2.0)
    over = (high - low) * weights[:3].sum() / weights.sum()  # what the blur mixes in at the edge's own pixel
    assert made[20] == pytest.approx(high + over, abs=0.003)
    assert made[19] == pytest.approx(low - over, abs=0.003)
    assert made[5] == pytest.approx(low, abs=0.003)


def test_each_camera_has_a_film_and_each_frame_a_grain_of_its_own() -> None:
    grey = np.full((40, 40, 3), 0.2, np.float32)
    keys = [(1, "Cam1", 0), (1, "Cam1", 1), (1, "Cam3", 0), (2, "Cam1", 0)]
    made = [film.develop(grey, PHONE, seed=s, camera=c, frame=f).tobytes() for s, c, f in keys]
    assert len(set(made)) == 4
    assert film.develop(grey, PHONE, seed=1, camera="Cam1", frame=0).tobytes() == made[0]
    assert film.draw_film(1, "Cam1") == film.draw_film(1, "Cam1") != film.draw_film(1, "Cam3")


# --- chance -------------------------------------------------------------------------------------


def test_rooms_have_low_sun_from_one_side() -> None:
    drawn = [choices.draw_room(seed, "walk") for seed in range(60)]
    assert drawn[3] == choices.draw_room(3, "walk") != choices.draw_room(3, "room")
    for room in drawn:
        toward = np.array(room.lights[0].toward)
        height = np.degrees(np.arcsin(toward[1] / np.linalg.norm(toward)))
        assert 9 <= height <= 17 and abs(toward[2]) > abs(toward[0])
        assert np.sign(room.lights[1].toward[2]) == -np.sign(toward[2])
        w = light.windows(room)
        assert w.axis == 2 and w.at == np.sign(toward[2]) * 4.5 and w.sill + 1.5 < w.lintel < room.high[1]
        patterns = {s.pattern for s in room.surfaces} - {prints.PLAIN}
        assert patterns <= {*prints.FLOORS, *prints.WALLS}
    assert {s.pattern for room in drawn for s in room.surfaces} == {
        prints.PLAIN,
        *prints.FLOORS,
        *prints.WALLS,
    }
    assert {np.sign(room.lights[0].toward[2]) for room in drawn} == {-1.0, 1.0}


def test_people_keep_skin_and_hair_and_change_their_cloth() -> None:
    seen, own = set(), {*prints.CLOTHS, prints.PLAIN, prints.MOTTLE, prints.STREAKS}
    for seed in range(60):
        before = materials(draw_outfit(seed, draw_phenotype(seed)))
        after = choices.dressed(before, seed)
        assert after.keys() == before.keys() and after == choices.dressed(before, seed)
        assert {m.pattern for m in after.values()} <= own
        for name in ("skin", "hair", "iris", "sole", "frame"):
            assert after[name].first == before[name].first
        skin = before["skin"]
        for name in ("top", "bottom"):
            assert after[name].first != before[name].first
            assert not alike(after[name].first, skin.first)
            seen.add(after[name].pattern)
        fewer = {name: m for name, m in before.items() if name not in ("top", "sock")}
        assert choices.dressed(fewer, seed)["bottom"] == after["bottom"]
    assert seen == {*prints.CLOTHS, prints.PLAIN}
