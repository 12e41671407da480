"""What our networks can be: sizes by name, and the architecture read off the shapes of a checkpoint.

No torch here: a card can be written, and a checkpoint described, without it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from dataclasses import fields as fields_of
from typing import TYPE_CHECKING, Any, Literal

from cohorts.errors import CapbenchError, unknown_name

if TYPE_CHECKING:
    from capbench.models.nets.pose import PoseNet

Shapes = Mapping[str, tuple[int, ...]]  #: parameter name -> its shape
COARSEST = 32  #: HRNet and FPN halve a picture five times


@dataclass(frozen=True, kw_only=True)
class HRNetSize:
    """An HRNet (Sun et al. 2019): 1 to 4 parallel branches, the widths doubling from one to the next.

    Attributes
    ----------
    width : channels of the finest branch, the "32" of HRNet-W32
    stem_width : bottleneck channels of the first stage (its output has four times as many)
    stem_blocks : bottlenecks of the first stage
    blocks : residual blocks of a branch in each module
    modules : modules of stages 2, 3 and 4
    """

    width: int
    stem_width: int = 64
    stem_blocks: int = 4
    blocks: int = 4
    modules: tuple[int, int, int] = (1, 4, 3)


@dataclass(frozen=True, kw_only=True)
class ViTSize:
    """A plain vision transformer (Dosovitskiy et al. 2021) as ViTPose uses it: no class token.

    Attributes
    ----------
    width, depth, heads : channels of a token, layers, attention heads
    hidden : channels inside each feed-forward block; None: four times ``width``
    patch : side of a patch in pixels
    """

    width: int
    depth: int
    heads: int
    hidden: int | None = None
    patch: int = 16

    def grid(self, input_size: tuple[int, int]) -> tuple[int, int]:
        """Columns and rows of patches for (width, height): the picture is padded by two pixels a side."""
        columns, rows = ((side + 4 - self.patch) // self.patch + 1 for side in input_size)
        return columns, rows


@dataclass(frozen=True, kw_only=True)
class FPNSize:
    """A small feature pyramid (Lin et al. 2017), see :mod:`fpn`.

    Attributes
    ----------
    width : channels of the merged features, which the head takes
    stem : channels at 1/2 of the picture
    stages : channels at 1/4, 1/8, 1/16 and 1/32
    stage_blocks : residual blocks of each
    """

    width: int
    stem: int = 16
    stages: tuple[int, ...] = (32, 64, 96, 128)
    stage_blocks: tuple[int, ...] = (1, 1, 2, 1)


Backbone = HRNetSize | ViTSize | FPNSize


@dataclass(frozen=True, kw_only=True)
class HeadSize:
    """From features to one heatmap for each of ``points``, or to two rows of bins (SimCC).

    Attributes
    ----------
    deconv : channels of each transposed convolution, which doubles the resolution
    deconv_kernel : its kernel, 2, 3 or 4
    final_kernel : 1 or 3, of the convolution that gives the heatmaps
    upsample : bilinear enlargement behind a ReLU before everything else (ViTPose's "simple" head: 4)
    bins : SimCC only: bins across and down, input size times the split ratio
    """

    points: int
    deconv: tuple[int, ...] = ()
    deconv_kernel: int = 4
    final_kernel: int = 1
    upsample: int = 1
    bins: tuple[int, int] | None = None

    @property
    def kind(self) -> Literal["heatmap", "simcc"]:
        """What it puts out."""
        return "heatmap" if self.bins is None else "simcc"


BACKBONES: dict[str, Backbone] = {
    "hrnet-w18-small": HRNetSize(width=18, stem_blocks=2, blocks=2, modules=(1, 3, 2)),
    "hrnet-w32": HRNetSize(width=32),
    "hrnet-w48": HRNetSize(width=48),
    "vit-tiny": ViTSize(width=192, depth=6, heads=3),
    "vit-small": ViTSize(width=384, depth=12, heads=12),
    "vit-base": ViTSize(width=768, depth=12, heads=12),
    "vit-large": ViTSize(width=1024, depth=24, heads=16),
    "vit-huge": ViTSize(width=1280, depth=32, heads=16),
    "fpn-mini": FPNSize(width=64),
    "fpn-small": FPNSize(width=80, stem=24, stages=(48, 96, 144, 192)),
}  #: name -> size; ViTPose-small has 12 heads where DeiT-small has 6
HEADS = {"conv": HeadSize(points=1), "deconv": HeadSize(points=1, deconv=(256, 256))} | {
    "simple": HeadSize(points=1, final_kernel=3, upsample=4)
}  #: name -> all but the number of points


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A whole network; ``input_size`` is (width, height) in pixels."""

    backbone: Backbone
    head: HeadSize
    input_size: tuple[int, int]

    def __post_init__(self) -> None:
        if not isinstance(self.backbone, ViTSize) and any(side % COARSEST for side in self.input_size):
            name = "HRNet" if isinstance(self.backbone, HRNetSize) else "FPN"
            raise CapbenchError(
                f"Expected an input size in multiples of {COARSEST} for {name}, got {self.input_size}."
            )
        if self.head.bins is not None and self.head.upsample != 1:
            raise CapbenchError("Expected a SimCC head without bilinear enlargement, got both.")
        if min(self.features) < 1:
            raise CapbenchError(f"Expected an input larger than a patch, got {self.input_size}.")

    @property
    def features(self) -> tuple[int, int]:
        """(width, height) of the backbone's finest features."""
        if isinstance(self.backbone, ViTSize):
            return self.backbone.grid(self.input_size)
        return self.input_size[0] // 4, self.input_size[1] // 4

    @property
    def heatmap_size(self) -> tuple[int, int]:
        """(width, height) of the maps that the head puts out or, with SimCC, flattens."""
        factor = self.head.upsample * 2 ** len(self.head.deconv)
        return self.features[0] * factor, self.features[1] * factor

    def build(self, *, seed: int | None = None, drop_path: float = 0.0) -> PoseNet:
        """The network with random weights; the same for the same ``seed``."""
        from capbench.models.nets.pose import build

        return build(self, seed=seed, drop_path=drop_path)


def architecture(
    backbone: str | Backbone,
    *,
    points: int,
    input_size: tuple[int, int],
    head: str | HeadSize | None = None,
) -> Architecture:
    """The architecture of that name; ViT takes the head "deconv" and others "conv" unless told otherwise."""
    if isinstance(backbone, str):
        if backbone not in BACKBONES:
            raise unknown_name("network", backbone, BACKBONES)
        backbone = BACKBONES[backbone]
    if head is None:
        head = "deconv" if isinstance(backbone, ViTSize) else "conv"
    if isinstance(head, str):
        if head not in HEADS:
            raise unknown_name("head", head, HEADS)
        head = HEADS[head]
    return Architecture(backbone=backbone, head=replace(head, points=points), input_size=input_size)


# --- as a card says it ------------------------------------------------------------------------------

_LARGEST = {"width": 4096, "stem_width": 4096, "hidden": 16384, "heads": 256, "patch": 64, "upsample": 16} | {
    "stem": 4096,
    "stages": 4096,
}
_AT_MOST = 128  #: of whatever else is counted
_BINS_AT_MOST = 16384


def from_options(
    name: str, options: Mapping[str, Any], *, points: int, input_size: tuple[int, int]
) -> Architecture:
    """The architecture a card names, with what its ``options`` change: fields of the sizes above, and "head".

    >>> from_options("vit-tiny", {"depth": 2, "head": "simple"}, points=17, input_size=(192, 256)).backbone
    ViTSize(width=192, depth=2, heads=3, hidden=None, patch=16)
    """
    base = architecture(name, points=points, input_size=input_size, head=_head_name(options))
    owner: dict[str, Any] = {}
    for part in (base.backbone, base.head):
        owner.update(dict.fromkeys(_fields(part), part))
    changes: dict[str, Any] = {}
    for key, value in options.items():
        if key == "head":
            continue
        if key not in owner or key == "points":
            raise unknown_name("net option", key, {*owner, "head"} - {"points"})
        changes[key] = _checked(key, value, getattr(owner[key], key))
    inner, outer = (
        {k: v for k, v in changes.items() if k in _fields(part)} for part in (base.backbone, base.head)
    )
    backbone: Any = replace(base.backbone, **inner)
    if isinstance(backbone, ViTSize) and backbone.width % backbone.heads:
        raise CapbenchError(
            f"Expected a width that {backbone.heads} heads divide, got {backbone.width}.", place="net.options"
        )
    return Architecture(backbone=backbone, head=replace(base.head, **outer), input_size=input_size)


def to_options(made: Architecture) -> tuple[str, dict[str, Any]]:
    """What :func:`from_options` takes for ``made``: the nearest name, and what departs from it."""
    kind = type(made.backbone)
    alike = {name: size for name, size in BACKBONES.items() if isinstance(size, kind)}
    name = min(alike, key=lambda name: len(_changes(made.backbone, alike[name])))
    default = architecture(name, points=made.head.points, input_size=made.input_size).head
    heads = {key: replace(HEADS[key], points=made.head.points) for key in HEADS}
    head = min(heads, key=lambda key: (len(_changes(made.head, heads[key])), heads[key] != default))
    options = _changes(made.backbone, alike[name]) | _changes(made.head, heads[head])
    return name, options if heads[head] == default else {"head": head, **options}


def _fields(size: Backbone | HeadSize) -> tuple[str, ...]:
    return tuple(field.name for field in fields_of(size))


def _changes(made: Backbone | HeadSize, base: Backbone | HeadSize) -> dict[str, Any]:
    found = {key: getattr(made, key) for key in _fields(made) if getattr(made, key) != getattr(base, key)}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}


def _head_name(options: Mapping[str, Any]) -> str | None:
    head = options.get("head")
    if head is None or isinstance(head, str):
        return head
    raise CapbenchError(
        f"Expected the name of a head, got {head!r:.60}.",
        place="net.options.head",
        fix=f"one of {', '.join(HEADS)}, with deconv, final_kernel, upsample or bins beside it",
    )


def _checked(key: str, value: Any, default: Any) -> Any:
    """``value`` if it is a sensible one for the field ``key``."""
    limit = _BINS_AT_MOST if key == "bins" else _LARGEST.get(key, 4096 if key == "deconv" else _AT_MOST)
    several = key in ("modules", "deconv", "bins", "stages", "stage_blocks")
    values = value if several and isinstance(value, (list, tuple)) else [value]
    length = {"modules": 3, "bins": 2, "stages": 4, "stage_blocks": 4}.get(key)
    fits = isinstance(value, (list, tuple)) == several and (length is None or len(values) == length)
    if not fits or len(values) > 8 or not all(type(v) is int and 1 <= v <= limit for v in values):
        shape = f"{length or 'a few'} whole numbers" if several else "a whole number"
        raise CapbenchError(
            f"Expected {shape} from 1 to {limit}, got {value!r:.60} (default: {default}).",
            place=f"net.options.{key}",
        )
    if (key == "deconv_kernel" and value not in (2, 3, 4)) or (key == "final_kernel" and value not in (1, 3)):
        raise CapbenchError(
            f"Expected a kernel that keeps the sizes, got {value}.", place=f"net.options.{key}"
        )
    return tuple(values) if several else value


# --- from the shapes of a checkpoint ----------------------------------------------------------------

#: width -> heads where a ViT is as published; a checkpoint doesn't say how its channels are split
_HEADS_BY_WIDTH = {192: 3, 384: 12, 768: 12, 1024: 16, 1280: 16}
#: grids of patches of the usual crops; 192 patches could also be 16 x 12 of another aspect
_ASPECTS = ((3, 4), (1, 1))


def architecture_of(
    shapes: Shapes,
    *,
    input_size: tuple[int, int] | None = None,
    heads: int | None = None,
    notes: list[str] | None = None,
) -> Architecture:
    """The network whose parameters (in our names, see :mod:`names`) have these shapes.

    ``input_size`` and ``heads`` settle what shapes leave open; ``notes`` takes what was assumed without them.
    """
    notes = [] if notes is None else notes
    if "backbone.patch_embed.projection.weight" in shapes:
        vit = _vit_of(shapes, heads, notes)
        size = input_size or _vit_input(vit, _shape(shapes, "backbone.pos_embed"), notes)
        head = _head_of(shapes, vit.width, notes)
        return Architecture(backbone=vit, head=head, input_size=size)
    if "backbone.stage2.0.branches.0.0.conv1.weight" in shapes:
        hrnet = _hrnet_of(shapes)
        head = _head_of(shapes, hrnet.width, notes)
        return Architecture(
            backbone=hrnet, head=head, input_size=input_size or _hrnet_input(hrnet, head, notes)
        )
    if "backbone.lateral.0.weight" in shapes:
        fpn = _fpn_of(shapes)
        head = _head_of(shapes, fpn.width, notes)
        return Architecture(backbone=fpn, head=head, input_size=input_size or _fpn_input(head, notes))
    known = sorted({name.split(".")[0] for name in shapes})[:8]
    raise CapbenchError(
        "Expected the parameters of an HRNet or ViT, or of our FPN, with a heatmap head, got ones of "
        f"{', '.join(known)}.",
        fix="run it as ONNX, TorchScript, a Python class, or through MMPose",
    )


def _shape(shapes: Shapes, name: str, axes: int | None = None) -> tuple[int, ...]:
    found = shapes.get(name)
    if found is None:
        raise CapbenchError(f"Expected the parameter {name}, got none.")
    if axes is not None and len(found) != axes:
        raise CapbenchError(f"Expected {axes} axes of {name}, got shape {found}.")
    return found


def _count(shapes: Shapes, pattern: str) -> int:
    """How many numbers stand for the only group of ``pattern`` among the names."""
    return len({m[1] for name in shapes if (m := re.match(pattern, name))})


def _hrnet_of(shapes: Shapes) -> HRNetSize:
    stages = [_count(shapes, rf"backbone\.stage{i}\.(\d+)\.") for i in (2, 3, 4)]
    return HRNetSize(
        width=_shape(shapes, "backbone.stage2.0.branches.0.0.conv1.weight", 4)[0],
        stem_width=_shape(shapes, "backbone.layer1.0.conv1.weight", 4)[0],
        stem_blocks=_count(shapes, r"backbone\.layer1\.(\d+)\."),
        blocks=_count(shapes, r"backbone\.stage2\.0\.branches\.0\.(\d+)\."),
        modules=(stages[0], stages[1], stages[2]),
    )


def _fpn_of(shapes: Shapes) -> FPNSize:
    stages = sorted({int(m[1]) for name in shapes if (m := re.match(r"backbone\.stages\.(\d)\.", name))})
    return FPNSize(
        width=_shape(shapes, "backbone.lateral.0.weight", 4)[0],
        stem=_shape(shapes, "backbone.stem.0.weight", 4)[0],
        stages=tuple(_shape(shapes, f"backbone.stages.{i}.0.0.weight", 4)[0] for i in stages),
        stage_blocks=tuple(_count(shapes, rf"backbone\.stages\.{i}\.(\d+)\.") - 1 for i in stages),
    )


def _fpn_input(head: HeadSize, notes: list[str]) -> tuple[int, int]:
    if head.bins is not None:
        notes.append("input size taken as half the number of SimCC bins (split ratio 2)")
        return head.bins[0] // 2, head.bins[1] // 2
    notes.append("input size 96x128: an FPN's parameters fit any")
    return 96, 128


def _hrnet_input(hrnet: HRNetSize, head: HeadSize, notes: list[str]) -> tuple[int, int]:
    if head.bins is not None:  # the split ratio is 2 in all published SimCC models of HRNet
        notes.append("input size taken as half the number of SimCC bins (split ratio 2)")
        return head.bins[0] // 2, head.bins[1] // 2
    size = (288, 384) if hrnet.width >= 48 else (192, 256)
    notes.append(f"input size {size[0]}x{size[1]}: an HRNet's parameters fit any")
    return size


def _vit_of(shapes: Shapes, heads: int | None, notes: list[str]) -> ViTSize:
    width, _, patch, _ = _shape(shapes, "backbone.patch_embed.projection.weight", 4)
    hidden = _shape(shapes, "backbone.layers.0.ffn.layers.0.0.weight", 2)[0]
    if heads is None:
        heads = _HEADS_BY_WIDTH.get(width) or max(1, width // 64)
        notes.append(f"{heads} attention heads for {width} channels: the parameters fit any number")
    return ViTSize(
        width=width,
        depth=_count(shapes, r"backbone\.layers\.(\d+)\."),
        heads=heads,
        hidden=None if hidden == 4 * width else hidden,
        patch=patch,
    )


def _vit_input(vit: ViTSize, position: tuple[int, ...], notes: list[str]) -> tuple[int, int]:
    patches = position[1] if len(position) == 3 else 0
    for across, down in _ASPECTS:
        times = round((patches / (across * down)) ** 0.5)
        if times and times**2 * across * down == patches:
            size = (across * times * vit.patch, down * times * vit.patch)
            notes.append(f"input size {size[0]}x{size[1]} taken from {patches} patches")
            return size
    raise CapbenchError(
        f"Expected patches of a 3:4 or square crop, got {patches}.", fix="give the input size in the card"
    )


def _head_of(shapes: Shapes, channels: int, notes: list[str]) -> HeadSize:
    prefix = "head.deconv_head" if "head.deconv_head.final_layer.weight" in shapes else "head"
    final = _shape(shapes, f"{prefix}.final_layer.weight", 4)
    if any(name.startswith(f"{prefix}.conv_layers.") for name in shapes):
        raise CapbenchError("Expected a head of transposed and one final convolution, got extra conv_layers.")
    deconv: list[int] = []
    kernel = 4
    while (weight := shapes.get(f"{prefix}.deconv_layers.{3 * len(deconv)}.weight")) is not None:
        if len(weight) != 4 or weight[2] not in (2, 3, 4):
            raise CapbenchError(f"Expected transposed convolutions of kernel 2, 3 or 4, got {weight}.")
        deconv.append(weight[1])
        kernel = weight[2]
    bins = None
    if "head.mlp_head_x.weight" in shapes:
        bins = tuple(_shape(shapes, f"head.mlp_head_{axis}.weight", 2)[0] for axis in "xy")
    upsample = 1
    is_vit = "backbone.patch_embed.projection.weight" in shapes
    if is_vit and not deconv and bins is None:
        upsample = 4
        notes.append("the ViT has no transposed convolutions: fourfold bilinear enlargement")
    if final[1] != (deconv[-1] if deconv else channels):
        raise CapbenchError(f"Expected the final layer to follow on {channels} channels, got {final[1]}.")
    return HeadSize(
        points=final[0],
        deconv=tuple(deconv),
        deconv_kernel=kernel,
        final_kernel=final[2],
        upsample=upsample,
        bins=None if bins is None else (bins[0], bins[1]),
    )
