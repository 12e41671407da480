"""Models that go wrong, and one that doesn't: it knows every frame of a made cohort by heart.

``FLAWS`` are things that a submission's code does when it is asked, ``REFUSALS`` models that must be refused
before anything runs. Both by name.
"""

import hashlib
import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from spoiling import TRIAL

from cohorts import formats
from cohorts.formats import video as film
from cohorts.skeleton import skeleton

POINTS = "synthpose-52"
#: the flaw shows on frames of the first walk only
CODE = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
{before}

class Model:
    def __init__(self, folder):
        truth = np.load(Path(folder) / "truth.npz")
        self.pictures, self.xy, self.walk = truth["pictures"].astype(np.int16), truth["xy"], truth["walk"]
        {start}

    def predict(self, frames, boxes):
        points = np.full((len(frames), {count}, 2), np.nan)
        spoil = np.zeros(len(frames), bool)
        for i, frame in enumerate(frames):
            if frame.shape == self.pictures.shape[1:]:
                far = np.abs(self.pictures - frame).mean(axis=(1, 2, 3))
                if far.min() < 12:  # the same but for its compression
                    points[i], spoil[i] = self.xy[far.argmin()], self.walk[far.argmin()]
        confidence = np.where(np.isnan(points).any(axis=-1), 0.0, 1.0)
        if spoil.any():
            {flaw}
        return points, confidence
"""


@dataclass(frozen=True)
class Flaw:
    """What a model does on frames of the first walk.

    ``code`` stands where ``points`` (n, K, 2), ``confidence`` (n, K) and ``spoil`` (n,) are known. ``kind``
    is the failure's kind in the result; "" where nothing has to be said, as the answer is merely bad or odd.
    """

    code: str
    kind: str
    says: str = ""
    before: str = ""
    start: str = "pass"
    limits: dict[str, float] = field(default_factory=dict)


def learn(folder: Path, cohort: Path) -> Path:
    """The submission without a flaw: it has every frame of ``cohort`` by heart, with the true points."""
    folder.mkdir(parents=True)
    pictures: list[np.ndarray] = []
    xy, walk = [], []
    for video in sorted(cohort.glob("files/*/*/*/*.mp4")):
        _, (track,) = formats.read(video.with_suffix(".npz"))
        pictures += [picture for _, picture in film.frames(video)]
        xy.append(track.xy)
        walk += [video.stem == TRIAL] * len(track)
    assert len(pictures) == len(walk)
    np.savez(folder / "truth.npz", pictures=np.array(pictures), xy=np.concatenate(xy), walk=np.array(walk))
    return _with_code(folder, Flaw("pass", ""))


def flawed(folder: Path, good: Path, flaw: Flaw) -> Path:
    """The submission ``good`` with a flaw."""
    folder.mkdir(parents=True)
    shutil.copy(good / "truth.npz", folder)
    return _with_code(folder, flaw)


def _with_code(folder: Path, given: Flaw) -> Path:
    indented = given.code.strip().replace("\n", "\n            ")
    code = CODE.format(
        before=given.before, start=given.start, flaw=indented, count=len(skeleton(POINTS).points)
    )
    (folder / "model.py").write_text(code)
    write_card(folder, limits={"start": 30, "answer": 20, "memory": 1500, **given.limits})
    return folder


def write_card(folder: Path, **changes: Any) -> None:
    """The card of a Python submission with the given changes; None leaves a key out."""
    said = {
        "name": "by-heart",
        "version": "1",
        "licence": "CC0-1.0",
        "route": "python",
        "skeleton": POINTS,
        "entry": "model.py:Model",
        **changes,
    }
    text = yaml.safe_dump({key: value for key, value in said.items() if value is not None})
    (folder / "model.yaml").write_text(text)


_OTHER = {a: b for pair in skeleton(POINTS).flip_pairs for a, b in (pair, pair[::-1])}
MIRRORED = [skeleton(POINTS).points.index(_OTHER.get(p, p)) for p in skeleton(POINTS).points]

FLAWS: dict[str, Flaw] = {
    "throws": Flaw("raise RuntimeError('no such luck')", "threw", "no such luck"),
    "throws-what-is-no-exception": Flaw(
        "raise Odd('odd')", "threw", "odd", before="class Odd(BaseException): 0"
    ),
    "exits": Flaw("sys.exit(0)", "threw", "SystemExit|exit"),
    "ends-its-process": Flaw("os._exit(0)", "died", "ended|status"),
    "crashes-by-signal": Flaw("os.kill(os.getpid(), signal.SIGSEGV)", "died", "SIGSEGV|signal"),
    "is-killed-from-outside": Flaw("os.kill(os.getpid(), signal.SIGKILL)", "died", "SIGKILL|signal|killed"),
    "hangs": Flaw("time.sleep(600)", "hung", "within 2 s", limits={"answer": 2}),
    "spins": Flaw("while True: pass", "hung", "within 2 s", limits={"answer": 2}),
    "eats-memory": Flaw(
        "hoard = []\nwhile True: hoard.append(np.ones(2**20))", "memory", "memory", limits={"memory": 500}
    ),
    "asks-for-more-memory-than-there-is": Flaw("np.ones(2**45)", "memory", "memory|allocate"),
    "recurses-without-end": Flaw("again = lambda n: again(n + 1) + 1\nagain(0)", "threw", "recursion"),
    "gives-one-point-less": Flaw("return points[:, :-1], confidence[:, :-1]", "shape", "shape|52|51"),
    "gives-one-person-less": Flaw("return points[:-1], confidence[:-1]", "shape", "shape"),
    "gives-axes-in-another-order": Flaw("return points.swapaxes(0, 1), confidence.T", "shape", "shape"),
    "gives-points-in-space": Flaw(
        "return np.concatenate([points, points[..., :1]], axis=-1), confidence", "shape", "shape"
    ),
    "gives-nothing": Flaw("return None", "shape", "got NoneType|expected"),
    "gives-text": Flaw("return 'left knee', 'right knee'", "shape", "numbers|text|str"),
    "gives-four-things": Flaw("return points, confidence, None, None", "shape", "4 things|expected"),
    "gives-ragged-lists": Flaw("return [[1, 2], [3]], [[1.0]]", "shape", "numbers|shape"),
    "gives-confidences-that-are-no-number": Flaw("confidence[:] = np.nan", "nan", "confidence"),
    "gives-negative-confidences": Flaw("confidence[:] = -1", "nan|protocol", "confidence"),
    "gives-infinite-confidences": Flaw("confidence[:] = np.inf", "nan", "confidence"),
    "gives-infinite-points": Flaw("points[:] = np.inf", "nan", "infinite|finite"),
    "gives-absurd-points": Flaw("points[:] = 1e300", "nan", "beyond|finite"),
    "gives-covariances-that-are-none": Flaw(
        "return points, confidence, np.full((*points.shape, 2), -1.0)", "nan|shape", "covariance"
    ),
    # answers of the right shape that are merely wrong: nothing to be said, and nothing to be won
    "sees-nobody": Flaw("points[:] = np.nan; confidence[:] = 0", ""),
    "is-unsure-of-everything": Flaw("confidence[:] = 0", ""),
    "gives-points-far-outside": Flaw("points += 5000", ""),
    "gives-all-points-in-one-place": Flaw("points[:] = 50", ""),
    "exchanges-left-and-right": Flaw(
        "points[:] = points[:, SWAP]",
        "",
        before=f"SWAP = {MIRRORED}",
    ),
    "shifts-by-a-frame": Flaw("points[:] = np.roll(points, 1, axis=0)", ""),
    "rolls-dice": Flaw(
        "points += np.frombuffer(os.urandom(points.size), np.uint8).reshape(points.shape) / 20.0", ""
    ),
    "is-proud-of-wrong-points": Flaw("points += 30; confidence *= 1e6", ""),
    # noise that must not harm
    "prints": Flaw("print('hello'); sys.stderr.write('x' * 200000); os.write(1, b'\\x00\\x01' * 50000)", ""),
    "leaves-a-thread-behind": Flaw(
        "threading.Thread(target=time.sleep, args=(600,)).start()", "", before="import threading"
    ),
    "gives-float16": Flaw("return points.astype('f2'), confidence.astype('f2')", ""),
}

#: flaws that show as soon as the model is started
FLAWS_AT_START: dict[str, Flaw] = {
    "throws-at-its-start": Flaw("pass", "threw", "no weights", start="raise OSError('no weights')"),
    "hangs-at-its-start": Flaw("pass", "hung", "ready", start="time.sleep(600)", limits={"start": 1}),
    "dies-at-its-start": Flaw("pass", "died", "ended|status|signal", start="os._exit(3)"),
    "imports-what-is-not-there": Flaw(
        "pass", "environment", "no_such_package", before="import no_such_package"
    ),
    "is-no-python": Flaw("pass", "threw", "SyntaxError|syntax", before="def ("),
}


# --- models that are refused before anything runs -------------------------------------------------


@dataclass(frozen=True)
class Refusal:
    """``make`` writes the model below a folder and gives back what a person would type."""

    make: Callable[[Path], Path]
    says: str


REFUSALS: dict[str, Refusal] = {}


def refusal(says: str) -> Callable[[Any], Any]:
    """Register the function as the refusal of its own name."""

    def registered(make: Callable[[Path], Path]) -> Callable[[Path], Path]:
        REFUSALS[make.__name__.replace("_", "-")] = Refusal(make, says)
        return make

    return registered


def network_card(folder: Path, route: str, weights: str, **changes: Any) -> None:
    """The card of a network in one file, with the hash that the file has."""
    digest = hashlib.sha256((folder / weights).read_bytes()).hexdigest()
    write_card(
        folder,
        **{
            "route": route,
            "entry": None,
            "input": {"size": [48, 64]},
            "codec": {"kind": "heatmap"},
            "files": {weights: digest},
            **changes,
        },
    )


@refusal("nothing of that name")
def not_there(folder: Path) -> Path:
    return folder / "nowhere.onnx"


@refusal("neither|model.yaml")
def an_empty_folder(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


@refusal("ONNX")
def not_an_onnx_file(folder: Path) -> Path:
    (folder / "m.onnx").write_bytes(np.random.default_rng(0).bytes(4000))
    return folder / "m.onnx"


@refusal("empty")
def an_onnx_file_of_no_bytes(folder: Path) -> Path:
    (folder / "m.onnx").write_bytes(b"")
    return folder / "m.onnx"


def onnx_network(path: Path, location: str | None = None, cut: int | None = None) -> None:
    """A network of one weight, kept in the file ``location`` if that is given."""
    from onnx import TensorProto, helper, save

    weight = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    if location is not None:
        weight = TensorProto(
            name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL
        )
        for key, value in {"location": location, "offset": "0", "length": "4"}.items():
            entry = weight.external_data.add()
            entry.key, entry.value = key, value
    pictures = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 64, 48])
    maps = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 3, 64, 48])
    graph = helper.make_graph(
        [helper.make_node("Mul", ["input", "w"], ["output"])], "g", [pictures], [maps], [weight]
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    if cut is not None:
        path.write_bytes(path.read_bytes()[:cut])


@refusal("folder|outside|below")
def onnx_weights_outside_the_folder(folder: Path) -> Path:
    (folder / "m").mkdir()
    (folder / "secret").write_bytes(b"\0\0\0\0")
    onnx_network(folder / "m" / "m.onnx", "../secret")
    return folder / "m" / "m.onnx"


@refusal("folder|outside|below")
def onnx_weights_behind_a_link(folder: Path) -> Path:
    (folder / "m").mkdir()
    (folder / "secret").write_bytes(b"\0\0\0\0")
    (folder / "m" / "data").symlink_to(folder / "secret")
    onnx_network(folder / "m" / "m.onnx", "data")
    return folder / "m" / "m.onnx"


@refusal("cut short|ONNX")
def onnx_cut_short(folder: Path) -> Path:
    onnx_network(folder / "m.onnx", cut=60)
    return folder / "m.onnx"


@refusal("SHA-256")
def other_weights_than_the_card_s(folder: Path) -> Path:
    onnx_network(folder / "m.onnx")
    network_card(folder, "onnx", "m.onnx")
    onnx_network(folder / "m.onnx", "data")
    (folder / "data").write_bytes(b"\0\0\0\0")
    return folder


@refusal("that the model's card names|got none")
def weights_missing(folder: Path) -> Path:
    onnx_network(folder / "m.onnx")
    network_card(folder, "onnx", "m.onnx")
    (folder / "m.onnx").unlink()
    return folder


@refusal("below")
def weights_above_the_folder(folder: Path) -> Path:
    (folder / "m").mkdir()
    write_card(folder / "m", route="onnx", entry=None, input={"size": [48, 64]}, codec={"kind": "heatmap"},
               files={"../m.onnx": "0" * 64})  # fmt: skip
    return folder / "m"


def safetensors(header: dict[str, Any], data: bytes, length: int | None = None) -> bytes:
    """A safetensors file with this header, which may lie."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


NET = {"architecture": "vit-tiny", "options": {"depth": 1}}


@refusal("safetensors|header|length|bytes|cut")
def safetensors_with_a_huge_header(folder: Path) -> Path:
    (folder / "m.safetensors").write_bytes(safetensors({}, b"", length=2**60))
    network_card(folder, "torch", "m.safetensors", net=NET)
    return folder


@refusal("safetensors|offset|bytes|range|end")
def safetensors_that_promises_more_than_it_holds(folder: Path) -> Path:
    header = {"a": {"dtype": "F32", "shape": [10**9, 10**6], "data_offsets": [0, 4 * 10**15]}}
    (folder / "m.safetensors").write_bytes(safetensors(header, b"\0" * 16))
    network_card(folder, "torch", "m.safetensors", net=NET)
    return folder


@refusal("safetensors|overlap|shape|bytes")
def safetensors_whose_shape_is_not_its_bytes(folder: Path) -> Path:
    header = {"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 4]}}
    (folder / "m.safetensors").write_bytes(safetensors(header, b"\0" * 4))
    network_card(folder, "torch", "m.safetensors", net=NET)
    return folder


class Payload:
    """What a pickle can do when it is loaded: here, leave a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.mark), "w"))


@refusal("pickle|refused|Expected weights")
def pickle_with_a_payload(folder: Path) -> Path:
    import pickle

    (folder / "m.pth").write_bytes(pickle.dumps({"state_dict": Payload(folder / "ran")}))
    network_card(folder, "torch", "m.pth", net=NET)
    return folder


@refusal("pickle|refused|Expected weights")
def torch_archive_with_a_payload(folder: Path) -> Path:
    import torch

    torch.save({"state_dict": Payload(folder / "ran")}, folder / "m.pth")
    network_card(folder, "torch", "m.pth", net=NET)
    return folder


@refusal("checkpoint|torch|weights|zip|pickle")
def weights_that_are_text(folder: Path) -> Path:
    (folder / "m.pth").write_text("<html>404 not found</html>\n" * 40)
    network_card(folder, "torch", "m.pth", net=NET)
    return folder


@refusal("architecture|vit-colossal")
def an_unknown_architecture(folder: Path) -> Path:
    import torch

    torch.save({"state_dict": {}}, folder / "m.pth")
    network_card(folder, "torch", "m.pth", net={"architecture": "vit-colossal"})
    return folder


@refusal("skeleton")
def an_unknown_skeleton(folder: Path) -> Path:
    write_card(folder, skeleton="coco-18")
    return folder


@refusal("key|quality")
def a_card_with_unknown_keys(folder: Path) -> Path:
    write_card(folder, quality="best")
    return folder


@refusal("entry")
def code_without_an_entry(folder: Path) -> Path:
    write_card(folder, entry=None)
    return folder


@refusal("leave|trust|file")
def code_that_is_not_there(folder: Path) -> Path:
    write_card(folder)
    return folder


@refusal("below|leave|trust")
def code_above_the_folder(folder: Path) -> Path:
    (folder / "m").mkdir()
    (folder / "model.py").write_text("class Model: pass\n")
    write_card(folder / "m", entry="../model.py:Model")
    return folder / "m"


@refusal("Did you mean|route")
def an_unknown_route(folder: Path) -> Path:
    write_card(folder, route="onxx")
    return folder
