"""MMPose in a worker: keypoints as MMPose's own, hostile checkpoints, and a word for each landmine."""

import json
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from capbench.models.adapters import mmpose
from capbench.models.environments import ENVIRONMENTS, is_installed, python_of
from capbench.models.registry import open_model
from capbench.models.worker import child, mmpose_shim
from cohorts.errors import CapbenchError, EnvironmentFault, RefusedError
from cohorts.skeleton import skeleton

WORKER = Path(child.__file__).parent
#: HRNet-w32 as MMPose has it, with narrow branches: quick, and of every kind of layer
CONFIG = """
_base_ = ["mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_hrnet-w32_8xb64-210e_coco-256x192.py"]
model = dict(backbone=dict(extra=dict(
    stage2=dict(num_channels=(8, 16)), stage3=dict(num_modules=1, num_channels=(8, 16, 32)),
    stage4=dict(num_modules=1, num_channels=(8, 16, 32, 64)))), head=dict(in_channels=8))
"""
#: run by the environment's own Python: makes a checkpoint, asks MMPose itself, then what our child refuses
MAKER = """
import json, os, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
import child
sys.modules["capbench_child"] = child
import mmpose_child
mmpose_child.shim.install()
import torch
from mmengine.logging import HistoryBuffer
from mmpose.apis import inference_topdown, init_model
os.chdir(sys.argv[2])

class Payload:
    def __reduce__(self):
        return os.mkdir, ("payload-ran",)

torch.manual_seed(1)
model = init_model("config.py", None, device="cpu")
for p in model.head.parameters():  # maps with a clear peak, each another
    torch.nn.init.normal_(p, std=0.3)
history = HistoryBuffer()
history.update(1.0)
torch.save({"state_dict": model.state_dict(), "message_hub": {"loss": history}, "payload": Payload(),
            "meta": {"epoch": np.float64(1)}}, "checkpoint.pth")
given = np.load("given.npz")
boxes = given["boxes"].astype("f4")
found = [inference_topdown(model, given[f"frame{i}"][..., ::-1].copy(), boxes[i : i + 1])[0] for i in (0, 1)]
np.savez("own.npz", points=np.stack([f.pred_instances.keypoints[0] for f in found]),
         scores=np.stack([f.pred_instances.keypoint_scores[0] for f in found]))

coco = json.loads(sys.argv[3])
refused = {}
def refuse(name, points=coco, **asked):
    try:
        mmpose_child.load({"model": {"config": "config.py", **asked}, "device": "cpu", "points": points})
    except Exception as error:
        refused[name] = [type(error).__name__, str(error), getattr(error, "fix", "")]
refuse("count", points=coco[:5])
refuse("order", points=[*coco[1:], coco[0]])
refuse("config", config="no-such-config")
with open("other.safetensors", "wb") as file:
    text = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    file.write(len(text).to_bytes(8, "little") + text + bytes(4))
refuse("weights", weights="other.safetensors")
refuse("vitpose", config="td-hm_ViTPose-small_8xb64-210e_coco-256x192")
refuse("bottomup", config="dekr_hrnet-w32_8xb10-140e_coco-512x512")
json.dump(refused, open("refused.json", "w"))
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with a config, a checkpoint and what MMPose itself makes of pictures."""
    try:
        python = python_of("mmpose")
    except EnvironmentFault as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("mmpose")
    rng = np.random.default_rng(0)
    np.savez(
        folder / "given.npz",
        frame0=rng.integers(0, 256, (240, 320, 3), np.uint8),
        frame1=rng.integers(0, 256, (300, 200, 3), np.uint8),
        boxes=[[40, 20, 200, 220.5], [-15, 30, 120, 290]],
    )
    (folder / "config.py").write_text(CONFIG)
    points = json.dumps(skeleton("coco-17").points)
    ran = subprocess.run(
        [python, "-c", MAKER, str(WORKER), str(folder), points], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return folder


@pytest.mark.truth("MMPose's own inference_topdown on the same pictures")
def test_the_worker_gives_what_mmpose_gives_and_runs_nothing_of_the_checkpoint(made) -> None:
    model = open_model(f"mmpose:{made / 'config.py'}:{made / 'checkpoint.pth'}", trust=True)
    assert model.card.skeleton == "coco-17" and model.card.name == "checkpoint"
    given, own = np.load(made / "given.npz"), np.load(made / "own.npz")
    frames, boxes = [given["frame0"], given["frame1"]], given["boxes"]
    got = model.predict(frames, boxes)
    assert np.ptp(own["points"], axis=1).min() > 20  # points all over the picture
    assert np.abs(got.points - own["points"]).max() < 1e-3
    assert np.abs(got.confidence - own["scores"].clip(0)).max() < 1e-5
    # people that are not there
    none = model.predict(frames, np.array([boxes[0], [np.nan] * 4]))
    assert np.abs(none.points[0] - own["points"][0]).max() < 1e-3
    assert np.isnan(none.points[1]).all() and (none.confidence[1] == 0).all()
    model.close()
    assert not (made / "payload-ran").exists()


def test_a_config_runs_only_with_leave(made) -> None:
    with pytest.raises(RefusedError, match="Python program"):
        open_model(f"mmpose:{made / 'config.py'}:{made / 'checkpoint.pth'}")


@pytest.mark.parametrize(
    ("case", "kind", "says"),
    [
        ("count", "Unfit", "its config has 17 keypoints, its card 5"),
        ("order", "Unfit", "in another order"),
        ("config", "FileNotFoundError", "no config 'no-such-config'"),
        ("weights", "ValueError", "weights of the config, such as backbone"),
        ("vitpose", "Missing", "ViTPose in MMPose needs mmpretrain"),
        ("bottomup", "ValueError", "this config makes a BottomupPoseEstimator"),
    ],
)
def test_what_it_refuses(made, case, kind, says) -> None:
    found = json.loads((made / "refused.json").read_text())[case]
    assert found[0] == kind and says in found[1]


# --- what a specification and a config's text tell ----------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("dataset_type = 'CocoDataset'\nmodel = dict(head=dict(out_channels=17))", "coco-17"),
        ("n = 133\ndataset_type = 'CocoWholeBodyDataset'\nmodel = dict(head=dict(out_channels=n))", None),
        (
            "n = 26\ndataset_type = 'CocoDataset'\nmodel = dict(a=1, head=dict(b=2, out_channels=n))",
            "halpe-26",
        ),
        ("dataset_type = 'MpiiDataset'\nmodel = dict(head=dict(out_channels=16))", "mpii-16"),
        ("_base_ = 'base.py'\nmodel = dict(backbone=dict(depth=2))", "coco-17"),
        ("_base_ = ['absent.py', 'base.py']\nmodel = dict(head=dict(out_channels=26))", "halpe-26"),
    ],
)
def test_the_skeleton_is_read_from_the_text(tmp_path, text, name) -> None:
    (tmp_path / "base.py").write_text(
        "dataset_type = 'CocoDataset'\nmodel = dict(head=dict(out_channels=17))\n"
    )
    (tmp_path / "config.py").write_text(text)
    assert mmpose.skeleton_of(tmp_path / "config.py") == (name or "coco-wholebody-133")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import os; os.system('touch ran')", "an unknown number of points"),
        (
            "dataset_type = 'AP10KDataset'\nmodel = dict(head=dict(out_channels=17))",
            "17 points of ap10kdataset",
        ),
        ("dataset_type = 'CocoDataset'\nmodel = dict(head=dict(out_channels=open('x')))", "unknown number"),
        ("model = (", "Expected an MMPose config"),
        ("(" * 5000, "Expected an MMPose config"),
        ("_base_ = 'config.py'", "an unknown number of points"),
    ],
)
def test_texts_that_do_not_tell(tmp_path, text, says, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.py").write_text(text)
    with pytest.raises(CapbenchError) as caught:
        mmpose.skeleton_of(tmp_path / "config.py")
    assert says in caught.value.problem
    assert not (tmp_path / "ran").exists()


def test_config_and_checkpoint_in_two_folders_share_the_one_above(tmp_path) -> None:
    for name, text in (
        ("a/config.py", "dataset_type = 'CocoDataset'\nmodel = dict(head=dict(out_channels=17))"),
        ("b/best coco.pth", "x"),
    ):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    card, folder = mmpose.find(f"{tmp_path}/a/config.py:{tmp_path}/b/best coco.pth")
    assert folder == tmp_path and card.name == "best-coco"
    assert list(card.files) == ["b/best coco.pth", "a/config.py"] and card.entry == "a/config.py"


@pytest.mark.parametrize("spec", ["mmpose:config.py", "mmpose::x.pth", "mmpose:config.py:"])
def test_specifications_that_are_none(spec) -> None:
    with pytest.raises(CapbenchError, match="CONFIG:CHECKPOINT"):
        open_model(spec, trust=True)


def test_a_checkpoint_that_is_not_there() -> None:
    with pytest.raises(CapbenchError, match="Expected a checkpoint, got no file"):
        open_model("mmpose:config.py:absent.pth", trust=True)


# --- the shim -----------------------------------------------------------------------------------

USE = """
import importlib, sys
sys.path[:0] = [sys.argv[1], sys.argv[2]]
import mmpose_shim
print(mmpose_shim.install())
import pkg_resources
importlib.reload(pkg_resources)
found = pkg_resources.get_distribution("numpy")
import numpy
assert found.version == numpy.__version__ and numpy.__file__.startswith(found.location)
assert found.has_metadata("METADATA") and not found.has_metadata("no-such-file")
try:
    pkg_resources.get_distribution("no-such-package")
except pkg_resources.DistributionNotFound:
    print("not found")
import xtcocotools.mask
from xtcocotools.coco import COCO
from xtcocotools.cocoeval import COCOeval
print(COCO.__module__, COCOeval.__module__)
import torchvision
from torchvision.transforms import ToPILImage
print(torchvision.__version__, ToPILImage.__module__)
"""


def use_shim(folder: Path) -> list[str]:
    ran = subprocess.run(
        [sys.executable, "-c", USE, str(WORKER), str(folder)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def package(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_stand_ins_for_what_is_absent(tmp_path) -> None:
    pytest.importorskip("pycocotools")
    lines = use_shim(tmp_path)
    assert lines == ["[]", "not found", "pycocotools.coco pycocotools.cocoeval", "0 mmpose_shim"]


def test_stand_ins_for_what_is_broken(tmp_path) -> None:
    pytest.importorskip("pycocotools")
    message = (
        "numpy.dtype size changed, may indicate binary incompatibility. Expected 96 from C header, got 88"
    )
    package(
        tmp_path,
        {
            "xtcocotools/__init__.py": "",
            "xtcocotools/coco.py": "COCO = 1",
            "xtcocotools/mask.py": f"raise ValueError({message!r})",
            "torchvision/__init__.py": "raise RuntimeError('operator torchvision::nms does not exist')",
        },
    )
    lines = use_shim(tmp_path)
    assert lines[0] == "['xtcocotools', 'torchvision']"
    assert lines[2:] == ["pycocotools.coco pycocotools.cocoeval", "0 mmpose_shim"]


def test_none_for_what_works(tmp_path) -> None:
    package(
        tmp_path,
        {
            "xtcocotools/__init__.py": "",
            "xtcocotools/coco.py": "class COCO: pass",
            "xtcocotools/cocoeval.py": "class COCOeval: pass",
            "xtcocotools/mask.py": "",
            "torchvision/__init__.py": "__version__ = 'real'",
            "torchvision/transforms.py": "class ToPILImage: pass",
        },
    )
    lines = use_shim(tmp_path)
    assert lines[0] == "[]" and lines[3] == "real torchvision.transforms"
    assert lines[2] == "xtcocotools.coco xtcocotools.cocoeval"


def test_compiled_operators_are_missed_only_when_called() -> None:
    module = types.ModuleType("mmcv._ext")
    mmpose_shim._mmcv_ext(module)
    assert not hasattr(module, "__path__")
    with pytest.raises(RuntimeError) as caught:
        module.nms(1, iou=2)
    assert mmpose_shim.explain(caught.value)[0].startswith("this model uses compiled operators")


@pytest.mark.parametrize(
    ("error", "what", "fix"),
    [
        (ModuleNotFoundError("No module named 'chumpy'"), "chumpy can't be built", "--no-deps mmpose"),
        (ImportError("cannot import name 'getargspec' from 'inspect'"), "chumpy", "--no-deps mmpose"),
        (ValueError("numpy.dtype size changed, may indicate"), "built for numpy 1", "pycocotools"),
        (ModuleNotFoundError("No module named 'pycocotools.coco'"), "built for numpy 1", "pycocotools"),
        (ModuleNotFoundError("No module named 'six'"), "six", "pip install six"),
        (ModuleNotFoundError("No module named 'mmdet'"), "RTMO", "mmdet==3.3.0"),
        (AssertionError("MMCV==2.2.0 is used but incompatible. Please install"), "mmcv", "mmcv-lite==2.1.0"),
        (RuntimeError("operator torchvision::nms does not exist"), "another torch", "uninstall torchvision"),
        (ImportError("libGL.so.1: cannot open shared object file"), "desktops", "opencv-python-headless"),
        (
            KeyError("mmpretrain.VisionTransformer is not in the mmpose::model registry"),
            "ViTPose",
            "natively",
        ),
        (RuntimeError("albumentations is not installed"), "training", "test pipeline"),
        (
            RuntimeError("Weights only load failed. ... Unsupported global: GLOBAL numpy"),
            "safety",
            "init_cfg",
        ),
        (ModuleNotFoundError("No module named 'mmpose'"), "has no mmpose", "capbench models install mmpose"),
        (ModuleNotFoundError("No module named 'torch'"), "has no torch", "capbench models install mmpose"),
    ],
)
def test_each_landmine_has_its_words(error, what, fix) -> None:
    try:
        try:
            raise error
        except Exception as inner:
            raise RuntimeError("failed to build") from inner  # mmengine's registry wraps what it meets
    except RuntimeError as outer:
        known = mmpose_shim.explain(outer)
    assert known is not None and what in known[0] and fix in known[1]


def test_other_errors_stay_what_they_are() -> None:
    assert mmpose_shim.explain(ValueError("no such thing")) is None


def test_the_environment_is_the_one_of_the_pins() -> None:
    if not is_installed("mmpose"):
        pytest.skip(f"MMPose's environment is not here: {ENVIRONMENTS['mmpose'].command}")
    code = "import mmcv, numpy; print(numpy.__version__[0], mmcv.__version__)"
    shim = f"import sys; sys.path.insert(0, {str(WORKER)!r}); import mmpose_shim; mmpose_shim.install(); "
    ran = subprocess.run([python_of("mmpose"), "-c", shim + code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["2", "2.1.0"]
