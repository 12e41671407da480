"""Cards written by people: strict pydantic models read from YAML, errors that name line and fix.

A key that is not known is told the nearest known one. The line is that of the offending key, found in the
text itself: pydantic knows only the path to it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NoReturn, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from cohorts.bounded import CARD_LIMIT, parse_yaml, read_text
from cohorts.errors import CapbenchError, did_you_mean

M = TypeVar("M", bound="Strict")
Place = tuple[str | int, ...]

Texts = Annotated[tuple[str, ...], Field(strict=False)]  #: a YAML list of texts


class Strict(BaseModel):
    """A card or a part of one: nothing unknown, nothing converted silently, unchangeable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def wrong(problem: str, *, at: Place = (), fix: str | None = None) -> NoReturn:
    """Refuse a card from within a validator, ``at`` the path below the model that is validated."""
    raise PydanticCustomError("card", "{problem}", {"problem": problem, "at": at, "fix": fix})


# --- reading ------------------------------------------------------------------------------------


def read_strict(
    path: str | os.PathLike[str], model: type[M], *, what: str = "card", limit: int = CARD_LIMIT
) -> M:
    """The YAML file at ``path`` as a ``model``; ``what`` it is, for messages."""
    text = read_text(path, limit)
    return parse_strict(text, model, file=path, what=what)


def parse_strict(
    text: str, model: type[M], *, file: str | os.PathLike[str] | None = None, what: str = "card"
) -> M:
    """YAML text as a ``model``; see :func:`read_strict`."""
    content = parse_yaml(text, file=file)
    if not isinstance(content, dict):
        found = "nothing" if content is None else type(content).__name__
        raise CapbenchError(f"Expected a {what} (a mapping of keys), got {found}.", file=file, line=1)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise _translated(error, model, Lines(text), file, what) from None


class Lines:
    """Where each key of a YAML text stands; the text must have passed :func:`bounded.parse_yaml`."""

    def __init__(self, text: str) -> None:
        import yaml

        self._root = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))

    @classmethod
    def of_file(cls, path: Path, limit: int = CARD_LIMIT) -> Lines:
        """Those of a file; empty where it can't be parsed."""
        text = read_text(path, limit)
        parse_yaml(text, file=path)
        return cls(text)

    def of(self, *place: str | int) -> int:
        """The line (from 1) of the deepest part of ``place`` that the text holds."""
        node, line = self._root, 1
        for step in place:
            found = self._step(node, step)
            if found is None:
                break
            line, node = found
        return line

    @staticmethod
    def _step(node: Any, step: str | int) -> tuple[int, Any] | None:
        import yaml

        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(step):
                    return key.start_mark.line + 1, value
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            return node.value[step].start_mark.line + 1, node.value[step]
        return None


# --- from pydantic's words to ours --------------------------------------------------------------


class _Said(NamedTuple):
    rank: int  # an unknown key explains the missing one beside it
    line: int
    place: Place
    problem: str
    fix: str | None


def _translated(
    error: ValidationError,
    model: type[BaseModel],
    lines: Lines,
    file: str | os.PathLike[str] | None,
    what: str,
) -> CapbenchError:
    """The first error of the text in our words; says how many more there are."""
    found = [_say(one, model, lines, what) for one in error.errors(include_url=False)]
    first, *more = sorted(found, key=lambda said: (said.rank, said.line))
    also = sorted({said.line for said in more} - {first.line})
    tail = f" (More on line {', '.join(map(str, also[:6]))}.)" if also else ""
    return CapbenchError(
        first.problem + tail,
        file=file,
        line=first.line,
        place=".".join(map(str, first.place)) or None,
        fix=first.fix,
    )


def _say(error: ErrorDetails, model: type[BaseModel], lines: Lines, what: str) -> _Said:
    place = tuple(step for step in error["loc"] if step != "[key]")
    kind, given = error["type"], error.get("input")
    context: Mapping[str, Any] = error.get("ctx", {})
    if kind == "card":
        place = (*place, *context["at"])
        return _Said(1, lines.of(*place), place, context["problem"], context["fix"])
    if kind == "extra_forbidden":
        known = list(_model_at(model, place[:-1]).model_fields)
        near = did_you_mean(str(place[-1]), known)
        return _Said(
            0,
            lines.of(*place),
            place[:-1],
            f"Expected the keys of a {what}, got {str(place[-1])!r}."
            + (f" Did you mean {near!r}?" if near else ""),
            f"one of {', '.join(known)}.",
        )
    if kind == "missing":
        owner = _model_at(model, place[:-1]).model_fields.get(str(place[-1]))
        meant = owner.description if owner is not None else None
        return _Said(
            1,
            lines.of(*place[:-1]),
            place[:-1],
            f"Expected the key {str(place[-1])!r}, got none.",
            f"{place[-1]}: {meant}" if meant else None,
        )
    if kind == "literal_error":
        words = str(context["expected"]).replace(" or ", ",").split(",")
        near = did_you_mean(str(given), [word.strip().strip("'") for word in words])
        problem = f"Expected {context['expected']}, got {repr(given)[:60]}."
        hint = f" Did you mean {near!r}?" if near else ""
        return _Said(1, lines.of(*place), place, problem + hint, None)
    shown = repr(given)[:60]
    if kind == "string_type":
        return _Said(1, lines.of(*place), place, f"Expected text, got {shown}.", "put it in quotes")
    said = error["msg"].replace("Input should be", "Expected").replace("String should", "Expected text to")
    said = said.replace("Expected greater", "Expected a number greater")
    said = said.replace("Expected less", "Expected a number less")
    return _Said(1, lines.of(*place), place, f"{said}, got {shown}.", None)


def _model_at(model: type[BaseModel], place: Place) -> type[BaseModel]:
    """The model whose keys stand at ``place`` below ``model``."""
    current: Any = model
    for step in place:
        if isinstance(current, type) and issubclass(current, BaseModel):
            field = current.model_fields.get(str(step))
            current = None if field is None else field.annotation
        else:  # an item of a mapping or a list
            current = _inner(current)
        found = _model_in(current)
        current = found if found is not None and not _is_container(current) else current
    while current is not None and _is_container(current):
        current = _inner(current)
    found = _model_in(current)
    return model if found is None else found


def _is_container(hint: Any) -> bool:
    origin = get_origin(hint)
    return isinstance(origin, type) and issubclass(origin, (Mapping, Sequence, tuple, dict))


def _inner(hint: Any) -> Any:
    """What a mapping or list holds."""
    if not _is_container(hint):
        return next((_inner(part) for part in get_args(hint) if _is_container(part)), None)
    parts = [part for part in get_args(hint) if part is not Ellipsis]
    return parts[-1] if parts else None


def _model_in(hint: Any) -> type[BaseModel] | None:
    """The model that a hint names, perhaps beside None."""
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return hint
    if _is_container(hint) or get_origin(hint) is Literal:
        return None
    return next((found for part in get_args(hint) if (found := _model_in(part)) is not None), None)


# --- writing ------------------------------------------------------------------------------------


def to_yaml(model: BaseModel) -> str:
    """``model`` as YAML that :func:`parse_strict` gives back; what equals its default is left out."""
    import yaml

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True  # the reader refuses aliases

    content = model.model_dump(mode="json", exclude_defaults=True)
    return str(yaml.dump(content, Dumper=Plain, sort_keys=False, allow_unicode=True, width=110))
