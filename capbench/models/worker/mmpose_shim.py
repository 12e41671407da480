"""What MMPose needs to be imported beside today's torch and numpy, and words for what still goes wrong.

Loaded by path in a worker's Python; stdlib only. In an environment where the real packages work it does
nothing. Each stand-in is used only where the real one is absent or can't be imported:

- ``pkg_resources`` left setuptools with version 82; mmengine asks it where packages lie.
- ``xtcocotools`` is built for numpy 1. MMPose reads and scores COCO files with it; pycocotools does the same.
- ``torchvision``'s wheel fails beside a CPU torch. MMPose needs one name of it, to draw.
- ``mmcv._ext``, the compiled operators, has no wheel for current torch. MMPose imports it for a few heads.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import re
import sys
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    Maker = Callable[[ModuleType], None]


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Makes the modules named in ``makers``; modules below them can be named too."""

    def __init__(self, makers: Mapping[str, Maker]) -> None:
        self.makers = makers

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """See :class:`importlib.abc.MetaPathFinder`."""
        if name not in self.makers:
            return None
        package = any(other.startswith(name + ".") for other in self.makers)
        return importlib.machinery.ModuleSpec(name, self, origin="capbench", is_package=package)

    def exec_module(self, module: ModuleType) -> None:
        """Fill the module."""
        self.makers[module.__name__](module)


def install() -> list[str]:
    """Put stand-ins where they are needed; the names of the packages that were there but failed to import."""
    # last in line: found only where nothing else is
    sys.meta_path.append(StandIns({"pkg_resources": _pkg_resources, "mmcv._ext": _mmcv_ext}))
    broken = []
    for package, probe, makers in (
        ("xtcocotools", "xtcocotools.mask", _COCO),
        ("torchvision", "torchvision.transforms", _TORCHVISION),
    ):
        try:
            importlib.import_module(probe)
        except Exception as error:  # a broken wheel raises whatever it likes: RuntimeError, ValueError
            if not isinstance(error, ModuleNotFoundError) or error.name != package:
                broken.append(package)
            for name in [n for n in sys.modules if n.split(".")[0] == package]:
                del sys.modules[name]
            sys.meta_path.insert(0, StandIns(makers))
    return broken


# --- the stand-ins ------------------------------------------------------------------------------


class DistributionNotFound(Exception):
    """What ``pkg_resources`` raises for a package that is not installed."""


class _Distribution:
    def __init__(self, name: str) -> None:
        try:
            self._found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError as error:
            raise DistributionNotFound(name) from error
        self.version = self._found.version
        self.location = str(self._found.locate_file(""))

    def has_metadata(self, name: str) -> bool:
        return self._found.read_text(name) is not None

    def get_metadata(self, name: str) -> str:
        return self._found.read_text(name) or ""


def _pkg_resources(module: Any) -> None:
    module.DistributionNotFound = DistributionNotFound
    module.get_distribution = _Distribution


def _mmcv_ext(module: Any) -> None:
    def get(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def absent(*args: Any, **options: Any) -> NoReturn:
            raise RuntimeError(f"mmcv._ext.{name} is compiled code, which mmcv-lite does not have")

        return absent

    module.__getattr__ = get


def _same_as(real: str) -> Maker:
    def make(module: Any) -> None:
        module.__dict__.update(
            {k: v for k, v in vars(importlib.import_module(real)).items() if not k.startswith("__")}
        )

    return make


def _nothing(module: Any) -> None:
    module.__version__ = "0"


def _transforms(module: Any) -> None:
    class ToPILImage:
        """Only drawing needs it."""

        def __init__(self, *args: Any) -> None:
            raise RuntimeError("torchvision is not here to draw with")

    module.ToPILImage = ToPILImage


_COCO = {
    "xtcocotools": _nothing,
    **{f"xtcocotools.{part}": _same_as(f"pycocotools.{part}") for part in ("coco", "cocoeval", "mask")},
}
_TORCHVISION = {"torchvision": _nothing, "torchvision.transforms": _transforms}

# --- words for what still goes wrong ------------------------------------------------------------

_ENV = "capbench models install mmpose"
#: what an exception says -> (what is the matter, what to do); the first that fits
KNOWN = (
    (
        r"No module named 'chumpy'|getargspec",
        "chumpy can't be built or imported any more; MMPose asks for it but never uses it",
        "pip install --no-deps mmpose==1.3.2",
    ),
    (
        r"numpy\.dtype size changed|No module named 'pycocotools|_ARRAY_API not found",
        "xtcocotools was built for numpy 1, and there is no pycocotools to take its place",
        "pip install pycocotools",
    ),
    (r"No module named 'six'", "MMPose uses six without asking for it", "pip install six"),
    (
        r"No module named 'mmdet'",
        "MMPose uses mmdet (its RTMO head) without asking for it",
        "pip install --no-deps mmdet==3.3.0",
    ),
    (
        r"MMCV==\S+ is used but incompatible|mmcv.*incompatible|Please install mmcv",
        "this mmcv is not one that mmdet 3.3.0 takes",
        "pip install --no-deps mmcv-lite==2.1.0",
    ),
    (
        r"mmcv\._ext\.\w+ is compiled code",
        "this model uses compiled operators of the full mmcv, which has no build for current torch",
        "an environment where mmcv is compiled (MMCV_WITH_OPS=1 pip install mmcv==2.1.0, about 9 minutes); "
        "name its Python with --python",
    ),
    (
        r"libGL\.so|libxcb|libgthread",
        "its OpenCV is the one for desktops, whose libraries are not on this machine",
        "pip uninstall opencv-python opencv-contrib-python && pip install opencv-python-headless",
    ),
    (
        r"operator torchvision::nms does not exist",
        "its torchvision was built for another torch",
        "pip uninstall torchvision",
    ),
    (
        r"mmpretrain",
        "ViTPose in MMPose needs mmpretrain, and mmpretrain a torchvision that works",
        "run the checkpoint natively (route torch), or pip install mmpretrain==1.2.0 and the torchvision "
        "that fits its torch",
    ),
    (
        r"albumentations",
        "this config's pipeline needs albumentations, as only training does",
        "take the config's test pipeline, or pip install --no-deps albumentations",
    ),
    (
        r"weights_only|Unsupported global|WeightsUnpickler",
        "something in this config reads a checkpoint by itself, which torch refuses for safety",
        "give the weights as the checkpoint and take init_cfg and load_from out of the config",
    ),
    (
        r"No module named '(torch|mmpose|mmengine|mmcv|cv2|xtcocotools|torchvision)'",
        "this Python has no {0}",
        _ENV,
    ),
)


def explain(error: BaseException) -> tuple[str, str] | None:
    """What lies behind an exception of MMPose's and what to do; None where it is not one of these."""
    chain: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in chain:
        chain.append(at)
        at = at.__cause__ or at.__context__
    text = "\n".join(f"{type(one).__name__}: {one}" for one in chain)
    for pattern, what, fix in KNOWN:
        found = re.search(pattern, text)
        if found is not None:
            return what.format(*found.groups()), fix
    return None
