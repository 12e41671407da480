"""MMPose in a worker: a config, weights as safetensors, pictures and boxes in, keypoints of the picture out.

Loaded by path by ``child.py``. The weights come as safetensors, which capbench made of the checkpoint without
running anything of it: no pickle is read here.
"""

from __future__ import annotations

import importlib
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

child: Any = sys.modules["capbench_child"]
Missing, Unfit = child.Missing, child.Unfit
shim = child.from_file(Path(__file__).with_name("mmpose_shim.py"), "capbench_mmpose_shim")


def load(request: dict[str, Any]) -> tuple[str, Any]:
    """The model that ``config`` describes, with the weights of ``weights`` or random ones."""
    asked = request["model"]
    broken = shim.install()
    if broken:
        sys.stderr.write(f"stood in for what can't be imported here: {', '.join(broken)}\n")
    try:
        model = Pose(asked["config"], asked.get("weights"), request["device"], request["points"])
    except (Missing, Unfit):
        raise
    except Exception as error:
        raise explained(error) from error
    return model.name, model.predict


def explained(error: Exception) -> Exception:
    """``error``, or what lies behind it where that is known."""
    known = shim.explain(error)
    return error if known is None else Missing(*known)


class Pose:
    """A top-down estimator with its config's own test pipeline."""

    def __init__(self, config: str, weights: str | None, device: str, points: Sequence[str]) -> None:
        torch, config_module, dataset, apis = (
            importlib.import_module(name)
            for name in ("torch", "mmengine.config", "mmengine.dataset", "mmpose.apis")
        )

        torch.manual_seed(0)  # random weights are the same every time
        read = config_module.Config.fromfile(find_config(config))
        kind = str(read.get("model", {}).get("type", "none"))
        if "TopdownPoseEstimator" not in kind:
            raise ValueError(f"only top-down estimators take a person's box; this config makes a {kind}")
        self._model = apis.init_model(read, None, device=device)
        self._meta = self._model.dataset_meta
        check_points(self._meta, points)
        if weights is not None:
            fill(self._model, weights, torch)
        self._model.eval()
        self._pipeline = dataset.Compose(read.test_dataloader.dataset.pipeline)
        self._collate = dataset.pseudo_collate
        self._no_grad = torch.no_grad
        self._count = len(points)
        self.name = Path(config).stem

    def predict(self, frames: Any, boxes: Any) -> tuple[Any, Any]:
        """Keypoints in pixels of the whole picture, and scores; the flip test is the config's affair."""
        points = np.full((len(boxes), self._count, 2), np.nan)
        scores = np.zeros((len(boxes), self._count))
        asked = [i for i, (x0, y0, x1, y1) in enumerate(boxes) if x1 > x0 and y1 > y0]  # False for NaN
        if not asked:
            return points, scores
        try:
            data = [self._prepared(frames[i], boxes[i]) for i in asked]
            with self._no_grad():
                results = self._model.test_step(self._collate(data))
        except Exception as error:
            raise explained(error) from error
        for i, result in zip(asked, results):  # noqa: B905 - Python 3.8 has no strict
            found = result.pred_instances
            points[i] = np.asarray(found.keypoints)[0, :, :2]
            # a map of a network that has learnt nothing may lie below zero everywhere
            scores[i] = np.maximum(np.asarray(found.keypoint_scores)[0], 0)
        return points, scores

    def _prepared(self, frame: Any, box: Any) -> Any:
        given = {"img": np.ascontiguousarray(frame[..., ::-1]), "bbox": np.asarray(box, np.float32)[None]}
        return self._pipeline({**self._meta, **given, "bbox_score": np.ones(1, np.float32)})


def find_config(config: str) -> str:
    """The path of a config: as given, or that of one of MMPose's own by name."""
    if Path(config).is_file():
        return config
    own = Path(str(importlib.import_module("mmpose").__file__)).parent / ".mim" / "configs"
    found = sorted(own.rglob(Path(config).with_suffix("").name + ".py"))
    if not found:
        raise FileNotFoundError(f"no config {config!r}, neither as a file nor among MMPose's own in {own}")
    return str(found[0])


def check_points(meta: dict[str, Any], points: Sequence[str]) -> None:
    """Refuse a config whose keypoints are not those that the model's card names."""
    own = [meta["keypoint_id2name"][i] for i in range(meta["num_keypoints"])]
    if len(own) != len(points):
        raise Unfit(f"its config has {len(own)} keypoints, its card {len(points)}")
    if own != list(points) and sorted(own) == sorted(points):
        raise Unfit(f"its config and its card name the same keypoints in another order, from {own[0]} on")
    flips = [own[i] for i in meta["flip_indices"]]
    left = [name for name, flipped in zip(own, flips) if name != flipped]  # noqa: B905 - Python 3.8 has no strict
    sided = [name for name in points if "left" in name.lower() or "right" in name.lower()]
    if sided and not left:
        raise Unfit("its config mirrors no keypoint, its card has left and right ones")


def fill(model: Any, weights: str, torch: Any) -> None:
    """Give ``model`` the weights of a safetensors file; all that it has must be there."""
    tensors = {name: torch.from_numpy(array) for name, array in read_safetensors(Path(weights)).items()}
    told = model.load_state_dict(tensors, strict=False)
    lacking = [name for name in told.missing_keys if not name.endswith("num_batches_tracked")]
    if lacking:
        raise ValueError(
            f"the checkpoint lacks {len(lacking)} of the {len(model.state_dict())} weights of the config, "
            f"such as {lacking[0]}: it was trained with another one"
        )
    if told.unexpected_keys:
        sys.stderr.write(f"weights that the config has no use for: {told.unexpected_keys[:8]}\n")


def read_safetensors(path: Path) -> dict[str, Any]:
    """The arrays of a safetensors file that capbench wrote: little-endian, in order, without holes."""
    dtypes = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2"}
    dtypes.update(I8="|i1", U8="|u1", BOOL="|b1")
    with path.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        header.pop("__metadata__", None)
        begin = stream.tell()
        arrays = {}
        for name, entry in header.items():
            stream.seek(begin + entry["data_offsets"][0])
            dtype, count = np.dtype(dtypes[entry["dtype"]]), math.prod(entry["shape"])
            array = np.frombuffer(bytearray(stream.read(dtype.itemsize * count)), dtype, count)
            arrays[name] = array.reshape(entry["shape"])
    return arrays
