"""Clothes: what a person wears, drawn by chance or said in words, and the person dressed in it.

Everybody wears something on trunk and hips, always: ``Outfit`` knows no other way. What cloth covers of the
skin is left out, so nothing shows through; what is seen of it draws back a little under each hem.

Shoes stand on soles that are parallel to the bare foot's and ``sole_height(outfit)`` metres below it: who
plans where feet meet the floor lowers the floor by as much (or lifts the person).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from zlib import crc32

import numpy as np

from cohorts.errors import CapbenchError, unknown_name
from synthpose import head, palette
from synthpose.body import Phenotype, asset
from synthpose.garments import Fit, Layer, Wearer, bare_skin, lay, shell, wearer
from synthpose.mesh import Surface
from synthpose.person import Person
from synthpose.rings import Shoe, Skirt, make_shoe, make_skirt
from synthpose.scene import Material
from synthpose.tailor import Cut

TOPS = ("vest", "tshirt", "long", "dress", "gown")
BOTTOMS = ("shorts", "tights", "trousers", "skirt")
SHOES = {"bare": 0.0, "socks": 0.002, "shoes": 0.020, "thick": 0.025, "flat": 0.015}  #: -> metres of sole
BRACES = ("none", "knee_r", "knee_l", "afo_r", "afo_l")
WHOLE = ("dress", "gown")  #: tops that go on below as a skirt


@dataclass(frozen=True)
class Outfit:
    """What a person wears.

    Attributes
    ----------
    top, bottom : of ``TOPS`` and ``BOTTOMS``; under a dress or gown the bottom is shorts that nobody sees
    top_loose, bottom_loose : 0 skin-tight to 1 hanging; a top worn over wide trousers is at least 0.8 as wide
    sleeve : where sleeves end, 0.25 (short) to 2 (wrist); 1 is the elbow
    leg : where the bottom's legs, or the skirt, end: 0 hip, 1 knee, 2 ankle
    hem : canonical metres above the hips' front at which the top ends
    tucked : whether the top goes into the bottom
    scoop : metres by which the neckline is deeper than the throat's pit
    feet : of ``SHOES``
    sock : where socks end: 1 knee, 2 ankle; more than 2: none seen
    brace : of ``BRACES``
    hair : of ``synthpose.head.STYLES``
    beard : metres; 0 none
    glasses : whether there are some
    colours : material name -> Material
    seed : of folds
    """

    top: str = "tshirt"
    bottom: str = "shorts"
    top_loose: float = 0.4
    bottom_loose: float = 0.3
    sleeve: float = 0.55
    leg: float = 0.75
    hem: float = 0.0
    tucked: bool = False
    scoop: float = 0.0
    feet: str = "shoes"
    sock: float = 1.7
    brace: str = "none"
    hair: str = "short"
    beard: float = 0.0
    glasses: bool = False
    colours: Mapping[str, Material] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        for what, chosen, known in (
            ("top", self.top, TOPS),
            ("bottom", self.bottom, BOTTOMS),
            ("footwear", self.feet, tuple(SHOES)),
            ("brace", self.brace, BRACES),
            ("hair style", self.hair, tuple(head.STYLES)),
        ):
            if chosen not in known:
                raise unknown_name(what, chosen, known)
        for what, value, (low, high) in (
            ("top_loose", self.top_loose, (0.0, 1.0)),
            ("bottom_loose", self.bottom_loose, (0.0, 1.0)),
            ("sleeve", self.sleeve, (0.25, 2.0)),
            ("leg", self.leg, (0.3, 2.0)),
            ("hem", self.hem, (-0.05, 0.12)),
            ("scoop", self.scoop, (0.0, 0.06)),
            ("sock", self.sock, (1.05, 3.0)),
            ("beard", self.beard, (0.0, 0.03)),
        ):
            if not low <= value <= high:
                raise CapbenchError(f"Expected {what} of an outfit from {low:g} to {high:g}, got {value:g}.")


def sole_height(outfit: Outfit) -> float:
    """Metres from the bare foot's sole down to the floor that the outfit stands on; heel and toe alike.

    >>> sole_height(Outfit(feet="bare")), sole_height(Outfit(feet="thick"))
    (0.0, 0.025)
    """
    return SHOES[outfit.feet]


DEFAULTS: Mapping[str, Material] = {
    "skin": palette.skin(4.5),
    "lips": palette.lips(palette.skin(4.5)),
    "eye": Material((0.75, 0.74, 0.72), rough=0.02),
    "iris": Material(palette.linear(palette.EYES[0]), rough=0.1),
    "hair": Material(palette.linear("2e2018"), rough=0.5),
    "brow": Material(palette.linear("2e2018"), rough=0.5),
    "top": Material(palette.linear("5b5e63")),
    "bottom": Material(palette.linear("1c2233")),
    "sock": Material(palette.linear("c9c7c1")),
    "shoe": Material(palette.linear("2f3136"), rough=0.15),
    "sole": Material(palette.linear("c9c7c1"), rough=0.1),
    "brace": Material(palette.linear("1a1b1e"), rough=0.1),
    "frame": Material(palette.linear("101114"), rough=0.0),
}


def materials(outfit: Outfit) -> Mapping[str, Material]:
    """Every material that a person dressed so may wear: name -> colours."""
    return {**DEFAULTS, **outfit.colours}


# --- drawn by chance --------------------------------------------------------------------------------


def draw_outfit(seed: int, phenotype: Phenotype) -> Outfit:
    """An outfit by chance, the same for the same seed; age, sex and build have a say in it."""
    random = np.random.default_rng(np.random.SeedSequence([seed, crc32(b"outfit")]))
    woman = random.random() < phenotype.sex
    top = str(
        random.choice(TOPS, p=[0.12, 0.42, 0.28, 0.08, 0.10] if woman else [0.13, 0.5, 0.29, 0.0, 0.08])
    )
    kinds = [0.30, 0.30, 0.28, 0.12] if woman else [0.45, 0.15, 0.40, 0.0]
    bottom = "shorts" if top in WHOLE else str(random.choice(BOTTOMS, p=kinds))
    leg = {
        "shorts": random.uniform(0.45, 0.92),
        "tights": random.choice([1.2, 1.85]) + random.uniform(-0.05, 0.05),
        "trousers": random.uniform(1.85, 2.0),
        "skirt": random.uniform(0.7, 1.15),
    }[bottom]
    sleeve = {"long": random.uniform(1.6, 1.98), "gown": random.uniform(0.5, 0.9)}.get(
        top, random.uniform(0.3, 0.8)
    )
    brace = str(random.choice(BRACES, p=[0.84, 0.05, 0.05, 0.03, 0.03]))
    if brace != "none":  # worn over bare legs or tights, with shoes
        bottom, leg = ("shorts", min(float(leg), 0.55)) if bottom != "tights" else (bottom, leg)
        top = top if top not in WHOLE else "tshirt"
    feet = str(random.choice(list(SHOES), p=[0.22, 0.10, 0.38, 0.10, 0.20]))
    drawn = Outfit(
        top=top,
        bottom=bottom,
        top_loose=float(random.choice([0.0, 1.0]) * random.uniform(0, 0.4) + random.uniform(0.1, 0.6)),
        bottom_loose=0.0 if bottom == "tights" else float(random.uniform(0.3, 1.0)),
        sleeve=float(sleeve),
        leg=float(random.uniform(0.75, 1.15) if top in WHOLE else leg),
        hem=float(random.uniform(-0.05, 0.08)),
        tucked=bool(random.random() < 0.3),
        scoop=float(random.choice([0.0, random.uniform(0, 0.05)])),
        feet="shoes" if brace.startswith("afo") else feet,
        sock=float(random.choice([1.3, 1.65, 1.85, 3.0])),
        brace=brace,
        seed=int(random.integers(1 << 30)),
    )
    return _draw_head(drawn, random, phenotype, woman)


def _draw_head(outfit: Outfit, random: np.random.Generator, phenotype: Phenotype, woman: bool) -> Outfit:
    """Hair, beard, glasses and all colours."""
    if woman:
        style = random.choice(["short", "full", "curls", "bob", "long", "bun", "ponytail"],
                              p=[0.14, 0.08, 0.1, 0.24, 0.18, 0.12, 0.14])  # fmt: skip
    else:
        bald = float(np.clip((phenotype.age - 25) / 200, 0.0, 0.3))
        style = random.choice(["bald", "buzz", "short", "full", "curls"],
                              p=[bald, 0.2, 0.45 - bald / 2, 0.25 - bald / 2, 0.10])  # fmt: skip
    tone = float(random.uniform(1, 10))
    skin, mane = palette.skin(tone), palette.hair(random, tone, phenotype.age)
    grown = not woman and phenotype.age >= 18 and random.random() < 0.35
    colours = {
        "skin": skin,
        "lips": palette.lips(skin),
        "iris": palette.one_of(random, palette.EYES if tone < 5 else palette.EYES[:2]),
        "hair": mane,
        "brow": replace(mane, pattern=0),
        "top": palette.gown_cloth(random) if outfit.top == "gown" else palette.cloth(random, unlike=skin),
        "bottom": palette.cloth(random, plain=0.8, unlike=skin),
        "sock": palette.cloth(random, plain=0.85),
        "shoe": palette.cloth(random, plain=0.9),
        "sole": palette.one_of(random, ("e8e6e1", "c9c7c1", "101114", "5b3a20")),
        "brace": palette.one_of(random, palette.SHELLS, 0.1),
        "frame": palette.one_of(random, ("101114", "3a2413", "8d8f92", "5a1a1a"), 0.0),
    }
    return replace(
        outfit,
        hair=str(style),
        beard=float(random.uniform(0.003, 0.016)) if grown else 0.0,
        glasses=bool(random.random() < (0.15 if phenotype.age < 45 else 0.4)),
        colours=colours,
    )


# --- dressing ---------------------------------------------------------------------------------------

WAIST = 0.095  #: canonical metres: where bottoms end above


def dress(person: Person, outfit: Outfit) -> Person:
    """The person in those clothes: the skin that is still seen first, then what is worn."""
    skin = person.surfaces[0]
    if skin.name != "body" or len(skin.rest_v3) != asset().body_vertices:
        raise CapbenchError(f"Expected a person in their skin, got one wearing {skin.name}, dressed already.",
                            fix="dress what make_person gave")  # fmt: skip
    w = wearer(skin)
    layers = _layers(w, outfit)
    cloth = {"socks": "sock", "lining": "top" if outfit.top in WHOLE else "bottom"}
    worn = [layer.worn(layers[k + 1 :], cloth.get(layer.name, layer.name)) for k, layer in enumerate(layers)]
    extra = _skirts(w, outfit) + _shoes(w, outfit) + _braces(w, outfit) + _head(w, outfit)
    body = _skin(w, skin, outfit, layers)
    return replace(person, surfaces=(body, *worn, *extra))


def _layers(w: Wearer, outfit: Outfit) -> list[Layer]:
    """Pieces of cloth from the innermost."""
    made = []
    shoe = _shoe(outfit)
    if outfit.sock < 2 and outfit.feet != "bare":
        made.append(
            lay(
                w,
                "socks",
                (("leg", outfit.sock, True), ("shoe", 0.85 * shoe.collar, True)),
                Fit(gap=0.002, smooth=1),
            )
        )
    skirt = outfit.bottom == "skirt" or outfit.top in WHOLE
    over = not (outfit.tucked or skirt)
    loose = 0.0 if skirt else outfit.bottom_loose
    # a top over wide trousers must be wide too; tucked into them it has no room
    upper_loose = max(outfit.top_loose, 0.8 * loose) if over else 0.4 * outfit.top_loose
    lower_cuts: tuple[Cut, ...] = (("height", WAIST, False), ("leg", 0.4 if skirt else outfit.leg, False))
    lower_fit = Fit(0.003 + 0.004 * loose, loose, 12, 0.02 + 0.04 * loose, 0.018 * loose, outfit.seed)
    upper_cuts = _top_cuts(outfit, outfit.hem if over else WAIST - 0.03)
    fold = 0.016 * upper_loose + 0.002
    upper_fit = Fit(0.004, upper_loose, 12, 0.02 + 0.03 * upper_loose, fold, outfit.seed + 1)
    if over:
        lower = lay(w, "bottom", lower_cuts, lower_fit, made)
        return [*made, lower, lay(w, "top", upper_cuts, upper_fit, [lower])]
    upper = lay(w, "top", upper_cuts, upper_fit)
    if skirt:  # its own rings cover the seam; what is worn below is of the same cloth, should it be seen
        return [*made, lay(w, "lining", lower_cuts, lower_fit), upper]
    return [*made, upper, lay(w, "bottom", lower_cuts, lower_fit, [*made, upper])]


def _top_cuts(outfit: Outfit, hem: float) -> tuple[Cut, ...]:
    ends: Cut = ("shoulder", 0.135, False) if outfit.top == "vest" else ("arm", outfit.sleeve, False)
    neck: Cut = ("neck_front", 0.10 - 1.2 * outfit.scoop, False) if outfit.scoop > 0 else ("neck", 0.0, False)
    return (("height", hem, True), ends, neck)


def _skirts(w: Wearer, outfit: Outfit) -> list[Surface]:
    if outfit.top in WHOLE:
        gap, flare = (0.020, 0.025) if outfit.top == "gown" else (0.014, 0.045)
        fit = Fit(gap=gap, fold=0.025, seed=outfit.seed + 2)
        return [make_skirt(w, Skirt(WAIST, outfit.leg, flare, fit), "top")]
    if outfit.bottom == "skirt":
        fit = Fit(gap=0.006, fold=0.03 * outfit.bottom_loose, seed=outfit.seed + 2)
        return [make_skirt(w, Skirt(WAIST - 0.01, outfit.leg, 0.08 * outfit.bottom_loose, fit), "bottom")]
    return []


def _shoe(outfit: Outfit) -> Shoe:
    if outfit.feet == "socks":
        return Shoe(sole=SHOES["socks"], stuff=0.002, collar=1.0, welt=0.0)
    return Shoe(sole=SHOES[outfit.feet], collar=0.7 if outfit.feet == "flat" else 0.9)


def _shoes(w: Wearer, outfit: Outfit) -> list[Surface]:
    if outfit.feet == "bare":
        return []
    names = ("sock", "sock") if outfit.feet == "socks" else ("shoe", "sole")
    return [make_shoe(w, _shoe(outfit), side, *names) for side in "rl"]


def _braces(w: Wearer, outfit: Outfit) -> list[Surface]:
    if outfit.brace == "none":
        return []
    kind, _, side = outfit.brace.partition("_")
    leg = f"leg_{side}"
    gap, thick = 0.010 * w.size, 0.004
    if kind == "knee":
        return [
            shell(w, "brace_thigh", ((leg, 0.66, True), (leg, 0.88, False)), f"femur_{side}", gap, thick),
            shell(w, "brace_shank", ((leg, 1.14, True), (leg, 1.40, False)), f"tibia_{side}", gap, thick),
        ]
    return [
        shell(w, "brace_strap", ((leg, 1.32, True), (leg, 1.42, False)), f"tibia_{side}", gap, thick),
        shell(
            w,
            "brace_calf",
            ((leg, 1.30, True), (leg, 1.95, False), ("front", 0.0, False)),
            f"tibia_{side}",
            gap,
            thick,
        ),
    ]


def _head(w: Wearer, outfit: Outfit) -> list[Surface]:
    style = head.STYLES[outfit.hair]
    made = [head.growth(w, "brow", "brows", 0.0015)]
    if style.thick > 0:
        made.append(head.cap(w, style, outfit.seed + 3))
    if style.fall > 0:
        made.append(head.fall(w, style))
    if style.tied:
        made.append(head.tied(w, style.tied))
    if outfit.beard > 0:
        made.append(head.growth(w, "beard", "beard", outfit.beard))
    if outfit.glasses:
        made.append(head.glasses(w))
    return made


def _skin(w: Wearer, skin: Surface, outfit: Outfit, layers: list[Layer]) -> Surface:
    """What is still seen of the skin, and the eyes."""
    below = 0.0 if outfit.feet == "bare" else 0.85 * _shoe(outfit).collar
    faces, rest = bare_skin(w, skin, layers, below, outfit.hair != "bald")
    used, place = np.unique(faces, return_inverse=True)
    return replace(
        skin,
        rest_v3=rest[used],
        canonical_v3=skin.canonical_v3[used],
        faces_f3=place.reshape(-1, 3),
        material_f=head.face_materials(faces),
        materials=head.FACE,
        bones_vk=skin.bones_vk[used],
        weights_vk=skin.weights_vk[used],
    )
