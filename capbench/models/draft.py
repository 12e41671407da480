"""A first card for a model's files, with comments, for a person to finish."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path
from typing import Any, Literal

from capbench.models.card import CODE_ROUTES, FILE_NAME, Codec, Input, ModelCard, Net
from capbench.models.registry import WEIGHTS, adapter_module, is_torchscript
from cohorts.bounded import CARD_LIMIT, read_text
from cohorts.errors import CapbenchError, RefusedError
from cohorts.store import sha256

WIDTH = 100
_GUESS = "Nothing of this could be read off the file: see to skeleton, input and codec."


def draft(path: Path) -> tuple[ModelCard, Path]:
    """A card as good as the file or folder tells, and where it belongs; ``notes`` say what was guessed."""
    if path.is_dir():
        if (path / "config.json").is_file():
            return _numbered(adapter_module("hf").card_of(path)), path / FILE_NAME
        raise CapbenchError(
            "Expected a file of weights, a Python file, or a folder with config.json, got another folder.",
            file=path,
        )
    if not path.is_file():
        raise CapbenchError("Expected a model's file or folder, got nothing of that name.", file=path)
    if path.suffix == ".py":
        return _python(path), path.parent / FILE_NAME
    if not path.name.lower().endswith(WEIGHTS):
        raise CapbenchError(
            f"Expected a file ending in one of {' '.join(WEIGHTS)} .py, got {path.name!r}.", file=path
        )
    return _weights(path), path.parent / FILE_NAME


def _weights(path: Path) -> ModelCard:
    route = _route(path)
    told = _GUESS
    if route != "torchscript":
        try:
            return _numbered(adapter_module(route).card_of(path))
        except RefusedError:
            raise
        except CapbenchError as error:
            told = f"{error.problem} {_GUESS}"
    return ModelCard(
        **_head(path),
        route=route,
        skeleton="coco-17",
        net=Net(architecture="hrnet-w32") if route == "torch" else None,
        input=Input(size=(192, 256)),
        codec=Codec(kind="heatmap", decoding="dark"),
        notes=(told,),
    )


def _numbered(card: ModelCard) -> ModelCard:
    """A card that was inferred, with a version to count up from."""
    return card.model_copy(update={"version": "1"}) if card.version == "unknown" else card


def _route(path: Path) -> Literal["onnx", "torchscript", "torch"]:
    if path.name.lower().endswith(".onnx"):
        return "onnx"
    return "torchscript" if is_torchscript(path) else "torch"


def _python(path: Path) -> ModelCard:
    """The first class of the file that can predict; its text is parsed, not run."""
    try:
        tree = ast.parse(read_text(path, CARD_LIMIT))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        raise CapbenchError(f"Expected Python, got: {error}.", file=path, line=line) from None
    for node in tree.body:
        parts = {getattr(part, "name", "") for part in node.body} if isinstance(node, ast.ClassDef) else set()
        if isinstance(node, ast.ClassDef) and "predict" in parts:
            entry = f"{path.name}:{node.name}"
            return ModelCard(**_head(path), route="python", skeleton="coco-17", entry=entry, notes=(_GUESS,))
    raise CapbenchError(
        "Expected a class with a method predict(frames, boxes), got none.",
        file=path,
        fix="frames are uint8 (n, h, w, 3), boxes (n, 4); return keypoints (n, K, 2) and confidences (n, K)",
    )


def _head(path: Path) -> dict[str, Any]:
    stem = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in path.stem)
    return {
        "name": stem.lstrip("._-")[:80] or "model",
        "version": "1",
        "licence": "unknown",
        "files": {path.name: sha256(path)},
    }


def commented(card: ModelCard) -> str:
    """The card as YAML with what each key means above it; keys that are not set are commented out."""
    content = card.model_dump(mode="json", exclude_defaults=True)
    parts = [
        "# A model's card. Keys that are commented out have the value shown, or none. What else may stand\n"
        "# below input, codec and limits: capbench models describe --schema\n"
    ]
    for name, field in ModelCard.model_fields.items():
        if _needless(name, card):
            continue
        words = textwrap.fill(field.description or "", WIDTH, initial_indent="# ", subsequent_indent="# ")
        value = content.get(name, field.get_default(call_default_factory=True))
        if hasattr(value, "model_dump"):
            value = value.model_dump(mode="json")
        plain = list(value) if isinstance(value, tuple) else value
        text = _yaml({name: plain})
        if name not in content:
            text = textwrap.indent(text, "# ")
        parts.append(f"{words}\n{text}")
    return "\n".join(parts)


def _yaml(content: dict[str, Any]) -> str:
    """YAML with short lists on one line."""
    import yaml

    class Plain(yaml.SafeDumper):
        def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> Any:
            short = all(isinstance(item, (int, float, str)) for item in sequence) and len(str(sequence)) < 60
            return super().represent_sequence(tag, sequence, flow_style=short)

    return str(yaml.dump(content, Dumper=Plain, sort_keys=False, allow_unicode=True, width=WIDTH))


def _needless(name: str, card: ModelCard) -> bool:
    """Whether a key means nothing for the card's route."""
    runs_here = card.route in ("onnx", "hf", "torch", "torchscript")
    if name in ("input", "codec", "flip_test", "shift_heatmap"):
        return not runs_here
    if name == "net":
        return card.route not in ("torch", "hf")
    return name == "entry" and card.route not in CODE_ROUTES | {"mmpose"}
