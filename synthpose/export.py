"""A trained network as others can run it: safetensors, ONNX, Hugging Face's VitPose, eight bits.

Each format becomes a folder with its model card, which ``capbench evaluate`` takes as it is. Before a folder
is kept it is opened as its readers open it, asked about pictures, and held against the network: what would
answer otherwise is not written.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from capbench.models.adapters.hf import CONFIG, PROCESSOR
from capbench.models.card import (
    FILE_NAME,
    ModelCard,
    Net,
    Route,
    TrainingData,
    codec_of,
    input_of,
    write_card,
)
from capbench.models.checkpoint import read_checkpoint, write_safetensors
from capbench.models.nets.architecture import Architecture, to_options
from capbench.models.topdown import Run, TopDown, normalised
from cohorts.bounded import check_new
from cohorts.errors import CapbenchError, EnvironmentFault, unknown_name
from cohorts.store import sha256
from cohorts.values import FloatArray
from synthpose import onnx_export, vitpose_export
from synthpose.vitpose_export import WEIGHTS

if TYPE_CHECKING:
    from capbench.models.nets.pose import PoseNet

FORMATS = ("safetensors", "onnx", "hf")
INT8 = "int8"
ONNX = "model.onnx"
#: format -> what runs it, and its files, weights first
ROUTES: Mapping[str, Route] = {"safetensors": "torch", "onnx": "onnx", "hf": "hf", INT8: "onnx"}
FILES: Mapping[str, tuple[str, ...]] = {
    "safetensors": (WEIGHTS,),
    "onnx": (ONNX,),
    "hf": (WEIGHTS, CONFIG, PROCESSOR),
    INT8: (ONNX,),
}
OWN_NAMES = frozenset({FILE_NAME, *(file for files in FILES.values() for file in files)})
#: what an export may change: of a decoded point, pixels of the crop
FARTHEST = 0.05
#: and of any value of the maps, as a share of the highest; weights of float16 are rounded by up to 0.05 %
MAPS, MAPS_HALF = 1e-3, 2e-2
#: a map's highest cell is decided if it leads the next hill by this many times what the maps differ by
LEAD = 4.0
LICENCE = "Apache-2.0"  #: of weights that come of nothing but what is in this repository
HONEST = "Learnt from synthetic pixels only: for demonstration and testing; not for real video."
Pictures = NDArray[np.uint8]  #: (n, h, w, 3) RGB crops of the network's size


@dataclass(frozen=True)
class Parity:
    """How far one exported format is from the network that it was made of, over some crops.

    Attributes
    ----------
    format : of :data:`FORMATS`, or :data:`INT8`
    folder : where it lies
    size : bytes of its weights
    maps : largest difference of any value, as a share of the highest
    pixels : largest distance of a decoded point, pixels of the crop
    typical, most : the same distance, median and 95th percentile
    undecided : share of points left out, whose maps have two hills as high as each other
    """

    format: str
    folder: Path
    size: int
    maps: float
    pixels: float
    typical: float
    most: float
    undecided: float


def draft_card(
    made: Architecture,
    like: ModelCard | None = None,
    *,
    training: Sequence[TrainingData],
    recipe: str = "",
    notes: Sequence[str] = (),
    **fields: Any,
) -> ModelCard:
    """The card of a network trained here: its architecture, what it learnt from, and what it is not for.

    Parameters
    ----------
    made : the network's architecture
    like : a card to take everything else from, such as that of the model it started from
    training : what it was trained on, as declared
    recipe : SHA-256 of the recipe that it follows from, if it does
    fields : of :class:`ModelCard`: name, version, skeleton, input, codec, flip_test, …
    """
    told = [HONEST] if training and all(one.synthetic for one in training) else []
    told += [f"Trained by the recipe with SHA-256 {recipe}."] if recipe else []
    given = {} if like is None else {key: getattr(like, key) for key in ModelCard.model_fields}
    given = {"licence": LICENCE, **given, **fields, "route": "torch", "files": {}}
    given |= {"net": _net_of(made), "training_data": tuple(training), "notes": (*told, *notes)}
    card = ModelCard(**given)
    if len(card.points) != made.head.points or input_of(card).size != made.input_size:
        raise CapbenchError(
            f"Expected a card of {made.head.points} points in crops of {made.input_size}, got "
            f"{len(card.points)} in {input_of(card).size}.",
            place=card.name,
        )
    return card


def export(
    net: PoseNet,
    card: ModelCard,
    folder: Path,
    *,
    crops: Pictures,
    formats: Sequence[str] = ("safetensors", "onnx"),
    half: bool = False,
    int8: bool = False,
    overwrite: bool = False,
    told: Callable[[Parity], None] | None = None,
) -> tuple[Parity, ...]:
    """Write ``folder``/FORMAT for each of ``formats``, and ``folder``/int8, each with its card and checked.

    Parameters
    ----------
    net : the trained network, wherever it is; it stays as it is
    card : its card; route, files and net are filled in
    crops : what the formats are held against each other on, and eight bits are fitted to: people as the
        network was trained on, some dozens for eight bits
    half : store the weights of ONNX as float16
    int8 : an ONNX file with weights and activations of eight bits too; what that costs is measured
    overwrite : replace folders of these formats that are there
    """
    wanted = _wanted(formats, int8=int8)
    fresh = _copy(net)
    card = card.model_copy(update={"net": _net_of(net.architecture)})
    _check_crops(crops, card)
    if "hf" in wanted:
        vitpose_export.config_of(net.architecture, card)  # refused before anything is written
    targets = {name: folder / name for name in wanted}
    for target in targets.values():
        _check_target(target, overwrite=overwrite)
    _make(folder)
    found = []
    for name, target in targets.items():
        with _building(target) as building:
            one = _written(name, building, fresh, card, crops, half=half)
        found.append(replace(one, folder=target))
        if told is not None:
            told(found[-1])
    return tuple(found)


def write_torch(folder: Path, net: PoseNet, card: ModelCard) -> ModelCard:
    """Weights and card of ``net`` as it is now in a new ``folder``, for route torch; nothing is checked."""
    _make(folder)
    write_safetensors(folder / WEIGHTS, tensors_of(net))
    files = {WEIGHTS: sha256(folder / WEIGHTS)}
    made = card.model_copy(update={"net": _net_of(net.architecture), "route": "torch", "files": files})
    write_card(folder / FILE_NAME, made)
    return made


def _wanted(formats: Sequence[str], *, int8: bool) -> tuple[str, ...]:
    for name in formats:
        if name not in FORMATS:
            raise unknown_name("format", name, FORMATS)
    return (*dict.fromkeys(formats), *([INT8] if int8 else []))


def _copy(net: PoseNet) -> PoseNet:
    """The same network in float32 on the CPU, in evaluation mode."""
    from capbench.models.nets.pose import load

    return load(net.architecture, tensors_of(net))


def tensors_of(net: PoseNet) -> dict[str, NDArray[Any]]:
    """A network's parameters and buffers as arrays; floats as float32."""
    found = {}
    for name, value in net.state_dict().items():
        there = value.detach().cpu()
        found[name] = (there.float() if there.is_floating_point() else there).numpy().copy()
    return found


def _net_of(made: Architecture) -> Net:
    name, options = to_options(made)
    return Net(architecture=name, options=options)


def _check_crops(crops: Pictures, card: ModelCard) -> None:
    width, height = input_of(card).size
    if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[1:] != (height, width, 3) or len(crops) < 2:
        raise CapbenchError(
            f"Expected at least two crops (n, {height}, {width}, 3) of uint8 to check the export with, got "
            f"{crops.shape} of {crops.dtype}."
        )


# --- folders ----------------------------------------------------------------------------------------


def _check_target(target: Path, *, overwrite: bool) -> None:
    """Refuse to replace a folder unless that is allowed and it holds nothing but what is written here."""
    if not target.exists():
        return
    check_new(target, overwrite=overwrite)
    inside = {entry.name for entry in target.iterdir()} if target.is_dir() else {target.name}
    if odd := sorted(inside - OWN_NAMES):
        raise CapbenchError(
            f"Expected a folder that holds nothing but an exported model, got one with {odd[0]}: it is not "
            "replaced.",
            file=target,
            fix="choose another folder",
        )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentFault(f"Can't be made: {error.strerror}.", file=folder) from error


@contextmanager
def _building(target: Path) -> Iterator[Path]:
    """A hidden folder that takes ``target``'s place, whole, when the block ends well, and else is removed."""
    made = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    old = made.with_name(made.name + ".old")
    try:
        yield made
        made.chmod(0o755)
        if target.exists():
            target.rename(old)
        made.rename(target)
    finally:
        shutil.rmtree(made, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


# --- one format -------------------------------------------------------------------------------------


def _written(
    name: str, folder: Path, net: PoseNet, card: ModelCard, crops: Pictures, *, half: bool
) -> Parity:
    """Write one format into ``folder`` and hold it against ``net``."""
    batch = normalised(crops, input_of(card))
    if name == "safetensors":
        write_safetensors(folder / WEIGHTS, tensors_of(net))
    elif name == "hf":
        vitpose_export.write(folder, net.architecture, tensors_of(net), card)
    elif name == "onnx":
        onnx_export.write_onnx(folder / ONNX, net, half=half)
    else:
        with tempfile.TemporaryDirectory() as workshop:
            source = Path(workshop) / ONNX
            onnx_export.write_onnx(source, net)
            onnx_export.write_int8(folder / ONNX, source, batch)
    files = {file: sha256(folder / file) for file in FILES[name]}
    made = card.model_copy(update={"route": ROUTES[name], "files": files})
    write_card(folder / FILE_NAME, made)
    found = _compared(name, folder, net, made, crops, batch)
    if name != INT8:
        _check(found, half=half and name == "onnx")
        return found
    words = (
        f"Eight bits: points lie {found.typical:.2f} px (median) and {found.most:.2f} px (95 %) from the "
        f"unrounded network's, in {len(crops)} crops of {crops.shape[2]} x {crops.shape[1]} px."
    )
    write_card(folder / FILE_NAME, made.model_copy(update={"notes": (*made.notes, words)}), overwrite=True)
    return found


def _check(found: Parity, *, half: bool) -> None:
    """Refuse an export that answers otherwise than the network."""
    limit = MAPS_HALF if half else MAPS
    if not (found.maps <= limit and found.pixels <= FARTHEST and found.undecided < 0.5):
        raise CapbenchError(
            f"Expected the export to answer as the network does, to {FARTHEST} px and {limit:g} of the "
            f"highest value, got {found.pixels:.2g} px and {found.maps:.2g}; {found.undecided:.0%} of the "
            "points are undecided.",
            place=found.format,
            fix="export it in float32"
            if half
            else "see whether the network is trained and its weights finite",
        )


# --- parity -----------------------------------------------------------------------------------------


def _compared(
    name: str, folder: Path, net: PoseNet, card: ModelCard, crops: Pictures, batch: NDArray[np.float32]
) -> Parity:
    """The format's values as its own reader gives them, and its points as capbench does, beside the net's."""
    from capbench.models.registry import find_model

    run = _torch_run(net)
    truth, other = run(batch), _reader(name, folder, card, net.architecture)(batch)
    highest = max(float(np.abs(values).max()) for values in truth.values())
    apart = max(float(np.abs(truth[role] - other[role]).max()) for role in truth)
    boxes = whole_boxes(card, len(crops))
    wanted = TopDown(card, run).predict(list(crops), boxes).points
    opened = find_model(folder).open(threads=1)
    try:
        alone = [
            opened.predict([crop], box[None]).points[0] for crop, box in zip(crops[:2], boxes, strict=False)
        ]
        given = opened.predict(list(crops), boxes).points
    finally:
        opened.close()
    distance = np.linalg.norm(given - wanted, axis=-1)
    distance[np.isnan(given).any(-1) & np.isnan(wanted).any(-1)] = 0.0
    distance[np.isnan(distance)] = np.inf  # a point that one of them misses
    decided = np.logical_and.reduce([_leads(values, LEAD * apart) for values in truth.values()])
    batched = np.abs(np.nan_to_num(given[: len(alone)] - np.array(alone))).max(axis=-1)
    counted = distance[decided] if name != INT8 and decided.any() else distance.ravel()
    farthest = max(float(counted.max()), float(batched[decided[: len(alone)]].max(initial=0.0)))
    weights = folder / str(card.weights)
    return Parity(
        name,
        folder,
        weights.stat().st_size,
        apart / highest if highest > 0 else np.inf,
        farthest,
        float(np.median(counted)),
        float(np.percentile(counted, 95)),
        float(1 - decided.mean()),
    )


def whole_boxes(card: ModelCard, count: int) -> FloatArray:
    """(count, 4) boxes whose crops are the pictures themselves, for pictures of the network's size.

    In udp's geometry nearly so: it stretches every crop by up to a pixel along one axis.
    """
    given = input_of(card)
    extent = np.array(given.size, dtype=np.float64) - (1 if codec_of(card).udp else 0)
    middle, half = extent / 2, extent / (2 * given.padding)
    return np.tile(np.concatenate([middle - half, middle + half]), (count, 1))


def _leads(values: NDArray[Any], margin: float) -> NDArray[np.bool_]:
    """(n, K) whether a map's (or vector's) highest hill is higher than any other by more than ``margin``."""
    maps = values if values.ndim == 4 else values[:, :, None, :]
    height, width = maps.shape[2:]
    row, column = np.divmod(maps.reshape(*maps.shape[:2], -1).argmax(axis=2), width)
    near = (np.abs(np.arange(height) - row[..., None]) <= 2)[..., :, None] & (
        np.abs(np.arange(width) - column[..., None]) <= 2
    )[..., None, :]
    second = np.where(near, -np.inf, maps).max(axis=(2, 3))
    leads: NDArray[np.bool_] = maps.max(axis=(2, 3)) - second > margin
    return leads


def _torch_run(net: PoseNet) -> Run:
    from capbench.models.adapters.torch_run import Network

    network = Network(net, threads=1)
    roles = onnx_export.outputs_of(net)
    return lambda batch: dict(zip(roles, network(batch).values(), strict=True))


def _reader(name: str, folder: Path, card: ModelCard, made: Architecture) -> Run:
    """The format as its own reader runs it: torch, onnxruntime, transformers."""
    if name == "hf":
        return vitpose_export.run_of(folder)
    if name == "safetensors":
        from capbench.models.nets.pose import load

        return _torch_run(load(made, read_checkpoint(folder / WEIGHTS).tensors))
    from capbench.models.adapters.onnx import Network

    network = Network(folder / ONNX, card, threads=1)
    return lambda batch: dict(network.run(batch))
