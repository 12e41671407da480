"""Everything that has a name a user may ask for: the one place ``list``, ``describe`` and completion look.

A kind of thing joins by one entry in ``REGISTRIES``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from cohorts.errors import CapbenchError, did_you_mean, unknown_name

if TYPE_CHECKING:
    from cohorts.formats import Format
    from cohorts.skeleton import Skeleton

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Registry:
    """One kind of named things.

    Attributes
    ----------
    what : the plural, as ``list`` takes it
    one : the singular
    names : every name, in the order of listing
    row : name -> what ``list`` shows of it; the first key is "name"
    details : name -> what ``describe`` says of it
    """

    what: str
    one: str
    names: Callable[[], tuple[str, ...]]
    row: Callable[[str], Row]
    details: Callable[[str], Row]


def _skeleton_names() -> tuple[str, ...]:
    from cohorts.skeleton import skeleton_names

    return skeleton_names()


def _skeleton_row(name: str) -> Row:
    from cohorts.skeleton import skeleton

    found = skeleton(name)
    return {
        "name": name,
        "points": len(found),
        "sigmas": "yes" if found.sigmas else "",
        "what": found.title,
    }


def _skeleton_details(name: str) -> Row:
    from cohorts.skeleton import skeleton

    return skeleton_details(skeleton(name))


def skeleton_details(found: Skeleton) -> Row:
    """A skeleton as ``describe --json`` prints it."""
    from cohorts.skeleton import describe

    other_names: dict[str, list[str]] = {point: [] for point in found.points}
    for alias, point in found.aliases.items():
        other_names[point].append(alias)
    sigmas = found.sigmas or (None,) * len(found)
    points = [
        {
            "name": point,
            "side": side,
            "sigma": sigma,
            "landmark": landmark,
            "is": describe(landmark),
            "aliases": other_names[point],
        }
        for point, side, sigma, landmark in zip(
            found.points, found.sides, sigmas, found.landmarks, strict=True
        )
    ]
    return {
        "name": found.name,
        "title": found.title,
        "source": found.source,
        "sigmas_source": found.sigmas_source,
        "points": points,
        "flip_pairs": found.flip_pairs,
        "limbs": found.limbs,
    }


def _format_names() -> tuple[str, ...]:
    from cohorts.formats import FORMATS

    return tuple(FORMATS)


def _format_row(name: str) -> Row:
    from cohorts.formats import find_format

    found = find_format(name)
    return {
        "name": name,
        "endings": " ".join("folder" if s == "/" else s for s in found.suffixes),
        "reads": ", ".join(found.holds),
        "writes": ", ".join(found.writes),
        "what": found.title,
    }


def _format_details(name: str) -> Row:
    from cohorts.formats import find_format

    found = find_format(name)
    module = found.load()
    return {
        "name": name,
        "title": found.title,
        "endings": found.suffixes,
        "reads": found.holds,
        "writes": found.writes,
        "has_time": found.has_time,
        "about": inspect.getdoc(module) or "",
        "read_options": _options(module, "read"),
        "write_options": _options(module, "write") if found.writes else [],
    }


#: what the options of readers and writers mean
OPTION_HELP = {
    ("read", "rate"): "frames per second, for files that only count frames",
    ("read", "units"): "the units of the numbers, where the file is wrong or silent",
    ("read", "skeleton"): "which named points the numbers are",
    ("read", "camera"): "the camera's name, where the file has none",
    ("read", "kind"): "motion or signals, where the file is wrong or silent",
    ("write", "units"): "the units of the numbers written",
}


def _options(module: ModuleType, verb: str) -> list[dict[str, Any]]:
    """The options a format's ``read`` or ``write`` takes, with their words, defaults and meaning."""
    from cohorts.formats import options_of

    function = getattr(module, verb)
    defaults = inspect.signature(function).parameters
    return [
        {
            "name": name,
            "words": words,
            "default": defaults[name].default,
            "help": OPTION_HELP.get((verb, name), ""),
        }
        for name, words in options_of(function).items()
    ]


def takes(found: Format, verb: str) -> set[str]:
    """The names of the options that a format's ``read`` or ``write`` takes."""
    from cohorts.formats import options_of

    return set(options_of(getattr(found.load(), verb)))


def _preset_names() -> tuple[str, ...]:
    from capbench.biomech.presets import presets

    return tuple(presets())


def _preset_row(name: str) -> Row:
    from capbench.biomech.presets import preset, presets

    return {"name": name, "markers": len(preset(name).markers), "what": presets()[name]["title"]}


def _preset_details(name: str) -> Row:
    from capbench.biomech.presets import preset, presets

    card = presets()[name]
    return {
        "name": name,
        "title": card["title"],
        "source": card["source"],
        "weights": preset(name).markers,
    }


def _metric_names() -> tuple[str, ...]:
    from metrics.catalogue import cards

    return tuple(cards())


def _metric_row(name: str) -> Row:
    from metrics.catalogue import card

    found = card(name)
    return {
        "name": name,
        "version": found.version,
        "unit": found.unit,
        "best": found.direction,
        "module": found.module,
        "what": found.definition,
    }


def _metric_details(name: str) -> Row:
    from metrics.catalogue import DIRECTIONS, MERGES, NEEDS, card

    found = card(name)
    return {
        "name": name,
        "version": found.version,
        "unit": found.unit,
        "direction": DIRECTIONS[found.direction],
        "definition": found.definition,
        "reference": found.reference,
        "needs": {need: NEEDS[need] for need in found.needs},
        "merge": MERGES[found.merge],
        "function": f"metrics.{found.module}.{found.function.__name__}",
        "fixed": dict(found.fixed),
        "part": found.part,
        "about": inspect.getdoc(found.function) or "",
    }


REGISTRIES: Mapping[str, Registry] = {
    registry.what: registry
    for registry in (
        Registry("skeletons", "skeleton", _skeleton_names, _skeleton_row, _skeleton_details),
        Registry("formats", "format", _format_names, _format_row, _format_details),
        Registry("presets", "preset", _preset_names, _preset_row, _preset_details),
        Registry("metrics", "metric", _metric_names, _metric_row, _metric_details),
    )
}


def known_names() -> dict[str, str]:
    """Every name that ``describe`` knows, and what kind of thing it is."""
    return {name: registry.one for registry in REGISTRIES.values() for name in registry.names()}


def find(name: str, kind: str | None = None) -> list[Registry]:
    """The registries (all, or that of one ``kind``) that know ``name``; an error with the nearest name."""
    asked = [registry for registry in REGISTRIES.values() if kind in (None, registry.one)]
    if not asked:
        raise unknown_name("kind of thing", str(kind), [r.one for r in REGISTRIES.values()])
    found = [registry for registry in asked if name in registry.names()]
    if not found:
        near = did_you_mean(name, [known for registry in asked for known in registry.names()])
        kinds = " or a ".join(registry.one for registry in asked)
        raise CapbenchError(
            f"Expected the name of a {kinds}, got {name!r}." + (f" Did you mean {near!r}?" if near else ""),
            fix=" or ".join(f"capbench list {registry.what}" for registry in asked),
        )
    return found
