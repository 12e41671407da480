"""Checkpoints of strangers: nothing runs, every number is torch's own, and files that lie are refused."""

import collections
import io
import json
import pathlib
import pickle
import struct
import sys
import types
import warnings
import zipfile

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hostile_pickles import PAYLOADS, Calls

from capbench.models import checkpoint as module
from capbench.models.checkpoint import (
    read_checkpoint,
    read_safetensors,
    to_safetensors,
    write_safetensors,
)
from cohorts.errors import CapbenchError, RefusedError

CONTAINERS = ("zip", "legacy", "pickle")


def save(path, content, container="zip"):
    if container == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=container == "zip")
    return path


def state(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return collections.OrderedDict(
        {
            "a.weight": torch.randn(4, 3, generator=generator),
            "a.bias": torch.randn(4, generator=generator),
            "b.running_mean": torch.randn(5, generator=generator),
            "b.num_batches_tracked": torch.tensor(7),
        }
    )


def same(found, wanted):
    assert list(found) == list(wanted)
    for name, tensor in wanted.items():
        assert np.array_equal(found[name], tensor.numpy()), name


# --- nothing runs -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAYLOADS)
def test_payloads_are_real(name, tmp_path) -> None:
    mark = tmp_path / "mark"
    stolen = sys.stdout  # some print what they did
    pickle.loads(pickle.dumps(PAYLOADS[name](mark, tmp_path)))  # noqa: S301
    assert mark.exists() and sys.stdout is stolen


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", PAYLOADS)
def test_payloads_do_not_run_and_weights_are_read(name, container, tmp_path) -> None:
    mark = tmp_path / "mark"
    numbers = {"w": np.arange(3.0)} if container == "pickle" else {"w": torch.arange(3.0)}
    path = save(
        tmp_path / "x.pth", {"state_dict": numbers, "extra": PAYLOADS[name](mark, tmp_path)}, container
    )
    found = read_checkpoint(path)
    assert not mark.exists()
    assert np.array_equal(found.tensors["w"], [0, 1, 2])
    assert found.neutralised


def test_payloads_among_the_weights_are_left_out_and_named(tmp_path) -> None:
    mark = tmp_path / "mark"
    weights = {"w": torch.arange(3.0), "v": torch.ones(1), "evil": PAYLOADS["os.system"](mark, tmp_path)}
    found = read_checkpoint(save(tmp_path / "x.pth", weights))
    assert set(found.tensors) == {"w", "v"} and not mark.exists()
    assert found.neutralised == ("posix.system",)
    assert any("'evil'" in note for note in found.notes)


@pytest.mark.parametrize(
    "build",
    [
        lambda evil: Calls(torch._utils._rebuild_tensor_v2, evil, 0, (1,), (1,), False, {}),
        lambda evil: Calls(torch._utils._rebuild_parameter, evil, True, {}),
        lambda evil: Calls(torch._tensor._rebuild_from_type_v2, evil, torch.Tensor, (), {}),
        lambda evil: Calls(torch.Size, evil),
        lambda evil: Calls(collections.OrderedDict, evil),
    ],
)
def test_payloads_as_arguments_of_what_is_known_do_not_run(build, tmp_path) -> None:
    mark = tmp_path / "mark"
    evil = PAYLOADS["os.system"](mark, tmp_path)
    path = save(tmp_path / "x.pth", {"state_dict": {"w": np.ones(2)}, "extra": build(evil)}, "pickle")
    try:
        found = read_checkpoint(path)
    except RefusedError:
        pass
    else:
        assert np.array_equal(found.tensors["w"], [1, 1])
    assert not mark.exists()


def test_a_whole_pickled_network_is_refused_kindly(tmp_path) -> None:
    path = tmp_path / "x.pth"
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(CapbenchError, match=r"class torch\.nn\.modules\.linear\.Linear"):
        read_checkpoint(path)


def test_a_torchscript_archive_is_refused_with_its_route(tmp_path) -> None:
    path = tmp_path / "x.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch is phasing it out
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), path)
    with pytest.raises(RefusedError, match="TorchScript"):
        read_checkpoint(path)


# --- real files ---------------------------------------------------------------------------------


@pytest.mark.truth("torch's own values")
@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_every_kind_of_tensor_is_as_torch_has_it(container, tmp_path) -> None:
    base = torch.arange(24.0)
    tensors = {
        "float64": torch.randn(2, 3, dtype=torch.float64),
        "float16": torch.randn(5).half(),
        "int8": torch.tensor([-3, 4], dtype=torch.int8),
        "int16": torch.tensor([-300], dtype=torch.int16),
        "int32": torch.tensor([[1 << 20]], dtype=torch.int32),
        "uint8": torch.arange(256).to(torch.uint8),
        "uint16": torch.arange(4).to(torch.uint16),
        "bool": torch.tensor([True, False, True]),
        "a number": torch.tensor(2.5),
        "nothing": torch.zeros(0, 3),
        "part": base.reshape(4, 6)[1:3, ::2],
        "turned": base.reshape(4, 6).t(),
        "the same storage": base,
        "repeated": torch.tensor([1.0, 2.0]).expand(3, 2),
        "parameter": torch.nn.Parameter(torch.randn(3)),
        "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    }
    found = read_checkpoint(save(tmp_path / "x.pth", tensors, container)).tensors
    same(found, {name: tensor.detach() for name, tensor in tensors.items()})
    assert all(found[name].dtype == tensor.detach().numpy().dtype for name, tensor in tensors.items())


@pytest.mark.truth("torch's own conversion to float32")
@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_bfloat16_becomes_float32_exactly(container, tmp_path) -> None:
    tensors = {"w": torch.randn(7, 3).bfloat16(), "turned": torch.randn(7, 3).bfloat16().t()}
    found = read_checkpoint(save(tmp_path / "x.pth", tensors, container)).tensors
    same(found, {name: tensor.float() for name, tensor in tensors.items()})


@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_a_state_dict_with_its_versions_and_an_optimiser_beside(container, tmp_path) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimiser = torch.optim.AdamW(net.parameters())
    net(torch.randn(2, 3)).sum().backward()
    optimiser.step()
    content = {"epoch": 3, "state_dict": net.state_dict(), "optimizer": optimiser.state_dict()}
    found = read_checkpoint(save(tmp_path / "x.pth", content, container))
    same(found.tensors, net.state_dict())
    assert found.place == "state_dict" and found.neutralised == ()
    assert found.parameters == 3 * 4 + 4 + 4 * 4


def test_as_mmengine_saves_them(tmp_path, monkeypatch) -> None:
    """Foreign classes beside the weights: torch.load with weights_only refuses the file."""
    foreign = types.ModuleType("mmengine.logging.history_buffer")

    class HistoryBuffer:
        def __init__(self):
            self.history = np.arange(5.0)
            self.methods = {"mean": getattr}
            self.queue = collections.deque([np.float64(1.5)])

    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = foreign.__name__, "HistoryBuffer"
    foreign.HistoryBuffer = HistoryBuffer
    text = "model = dict(type='TopdownPoseEstimator')\n"
    content = {
        "meta": {"cfg": text, "epoch": 210, "seed": np.int64(1), "where": pathlib.PurePosixPath("/x")},
        "state_dict": state(),
        "message_hub": {"log_scalars": {"loss": HistoryBuffer()}},
    }
    with monkeypatch.context() as patched:
        for name in ("mmengine", "mmengine.logging"):
            patched.setitem(sys.modules, name, types.ModuleType(name))
        patched.setitem(sys.modules, foreign.__name__, foreign)
        path = save(tmp_path / "x.pth", content)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    found = read_checkpoint(path)
    same(found.tensors, state())
    assert set(found.neutralised) == {
        "pathlib.PurePosixPath",
        "mmengine.logging.history_buffer.HistoryBuffer",
        "__builtin__.getattr",  # protocol 2 names it as Python 2 did
        "collections.deque",
    }
    assert found.meta == {"cfg": text}


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (lambda s: s, ""),
        (lambda s: {"state_dict": s}, "state_dict"),
        (lambda s: {"model": s, "optimizer": {"state": {}}}, "model"),
        (lambda s: {"model": {"state_dict": s}}, "model.state_dict"),
        (lambda s: {"model": state(1), "ema": {"module": s}, "step": 3}, "ema.module"),
        (lambda s: {"model": state(1), "model_ema": s}, "model_ema"),
        # mmengine's hook has exchanged them: "state_dict" holds the averaged weights
        (lambda s: {"state_dict": s, "ema_state_dict": state(1)}, "state_dict"),
        (lambda s: {"state_dict": s, "some": torch.ones(2), "others": torch.ones(2)}, "state_dict"),
    ],
)
def test_weights_are_found_where_training_code_puts_them(content, place, tmp_path) -> None:
    found = read_checkpoint(save(tmp_path / "x.pth", content(state())))
    same(found.tensors, state())
    assert found.place == place


def test_the_place_can_be_named(tmp_path) -> None:
    path = save(tmp_path / "x.pth", {"state_dict": state(1), "mine": {"here": state()}})
    same(read_checkpoint(path, place="mine.here").tensors, state())
    with pytest.raises(CapbenchError, match="'there'"):
        read_checkpoint(path, place="mine.there")
    with pytest.raises(CapbenchError, match="Expected weights at 'mine'"):
        read_checkpoint(path, place="mine")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod."])
def test_wrappers_names_are_stripped(prefix, tmp_path) -> None:
    content = {prefix + name: tensor for name, tensor in state().items()}
    found = read_checkpoint(save(tmp_path / "x.pth", content))
    same(found.tensors, state())
    assert any(prefix.split(".")[0] in note for note in found.notes)


def test_names_that_only_some_have_are_kept(tmp_path) -> None:
    content = {"module.a": torch.ones(1), "b": torch.ones(1)}
    assert set(read_checkpoint(save(tmp_path / "x.pth", content)).tensors) == set(content)


def test_an_average_s_counter_goes_with_its_prefix(tmp_path) -> None:
    content = {"module.a": torch.ones(1), "steps": torch.tensor(4)}
    assert set(read_checkpoint(save(tmp_path / "x.pth", content)).tensors) == {"a"}


def test_arrays_of_numpy_are_weights_too(tmp_path) -> None:
    path = save(tmp_path / "x.pkl", {"model": {"w": np.arange(4.0)}, "__author__": "x"}, "pickle")
    assert np.array_equal(read_checkpoint(path).tensors["w"], np.arange(4.0))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_not_finite_are_refused_by_name(bad, kind, tmp_path) -> None:
    content = state() | {"b.running_mean": torch.tensor([1.0, bad], dtype=kind)}
    with pytest.raises(CapbenchError, match=r"1 of 2 that are not in 'b\.running_mean'"):
        read_checkpoint(save(tmp_path / "x.pth", content))


@pytest.mark.parametrize(
    "content", [{}, [1, 2], "text", {"a": 1, "b": "x"}, {"state_dict": {}}, {"state_dict": [1]}, 5, None]
)
@pytest.mark.parametrize("container", CONTAINERS)
def test_files_without_weights_say_what_they_hold(content, container, tmp_path) -> None:
    with pytest.raises(CapbenchError, match="Expected weights by name"):
        read_checkpoint(save(tmp_path / "x.pth", content, container))


# --- files that lie -----------------------------------------------------------------------------


def refused(path):
    with pytest.raises(CapbenchError) as caught:
        read_checkpoint(path)
    assert caught.value.file == str(path)
    return caught.value


@pytest.mark.parametrize("container", ["zip", "legacy", "safetensors"])
def test_truncated_files_are_refused_at_every_length(container, tmp_path) -> None:
    path = tmp_path / "x.pth"
    if container == "safetensors":
        write_safetensors(path, {name: tensor.numpy() for name, tensor in state().items()})
    else:
        save(path, state(), container)
    whole = path.read_bytes()
    for length in [*range(0, len(whole), max(1, len(whole) // 40)), len(whole) - 1]:
        path.write_bytes(whole[:length])
        refused(path)


@pytest.mark.parametrize("container", [*CONTAINERS, "safetensors"])
def test_damaged_bytes_raise_nothing_else(container, tmp_path) -> None:
    """Either a refusal, or numbers of the right kind: never another error, never a hang."""
    path = tmp_path / "x.pth"
    arrays = {name: tensor.numpy() for name, tensor in state().items()}
    if container == "safetensors":
        write_safetensors(path, arrays)
    else:
        save(path, arrays if container == "pickle" else state(), container)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    outcomes = collections.Counter()
    for _ in range(300):
        data = bytearray(whole)
        for place in random.integers(0, len(data), random.integers(1, 4)):
            data[place] = random.integers(0, 256)
        path.write_bytes(bytes(data))
        try:
            read_checkpoint(path)
            outcomes["read"] += 1
        except CapbenchError:
            outcomes["refused"] += 1
    assert outcomes["refused"] > 20


def test_a_flipped_bit_in_the_weights_is_found(tmp_path) -> None:
    path = save(tmp_path / "x.pth", {"w": torch.full((100,), 1.25)})
    data = bytearray(path.read_bytes())
    data[data.index(struct.pack("<f", 1.25) * 100) + 40] ^= 1
    path.write_bytes(bytes(data))
    assert "checksum" in refused(path).problem


def rezipped(path, change, compression=zipfile.ZIP_STORED):
    """The archive with its entries changed: name -> bytes."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def entry(entries, ending):
    return next(name for name in entries if name.endswith(ending))


def test_packed_entries_are_refused_before_they_expand(tmp_path) -> None:
    path = save(tmp_path / "x.pth", {"w": torch.zeros(1_000_000)})
    rezipped(path, lambda entries: None, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    assert isinstance(refused(path), RefusedError)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda e: e.pop(entry(e, "data/0")), "bytes in"),
        (lambda e: e.update({entry(e, "data/0"): b"1234"}), "got 4"),
        (lambda e: e.update({entry(e, "data/0"): b"1" * 10_000}), "got 10000"),
        (lambda e: e.pop(entry(e, "data.pkl")), "one data.pkl"),
        (lambda e: e.update({"other/data.pkl": b""}), "one data.pkl"),
        (lambda e: e.update({entry(e, "data.pkl"): b"nothing"}), "torch.save"),
        (lambda e: e.update({entry(e, "byteorder"): b"big"}), "little-endian"),
    ],
)
def test_archives_that_do_not_fit_together_are_refused(change, says, tmp_path) -> None:
    path = rezipped(save(tmp_path / "x.pth", state()), change)
    assert says in refused(path).problem


def crafted(path, *, shape=(4,), stride=(1,), offset=0, count=4, kind=torch.FloatStorage, key="0", bytes_=16):
    """An archive with one tensor described by hand."""

    class Storage:
        pass

    class Pickler(pickle._Pickler):
        def persistent_id(self, value):
            return ("storage", kind, key, "cpu", count) if isinstance(value, Storage) else None

    stream = io.BytesIO()
    tensor = Calls(
        torch._utils._rebuild_tensor_v2, Storage(), offset, shape, stride, False, collections.OrderedDict()
    )
    Pickler(stream, protocol=2).dump({"w": tensor})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", stream.getvalue())
        archive.writestr("x/data/0", np.arange(bytes_ // 4, dtype="<f4").tobytes())
    return path


def test_the_crafted_archive_is_sound_where_it_does_not_lie(tmp_path) -> None:
    found = read_checkpoint(crafted(tmp_path / "x.pth", shape=(2, 2), stride=(1, 2))).tensors["w"]
    assert np.array_equal(found, [[0, 2], [1, 3]])


@pytest.mark.parametrize(
    "lie",
    [
        {"shape": (5,)},
        {"shape": (2,), "stride": (4,)},
        {"offset": 1},
        {"offset": -1},
        {"shape": (-4,)},
        {"stride": (-1,), "offset": 3},
        {"shape": (10**9, 10**9), "stride": (0, 0)},
        {"shape": (2**62,)},
        {"shape": (2,) * 40, "stride": (0,) * 40},
        {"shape": [4]},
        {"shape": (4.0,)},
        {"shape": (True,)},
        {"stride": (1, 1)},
        {"count": 10**12},
        {"count": -4},
        {"count": 3},
        {"kind": torch.DoubleStorage},
        {"kind": print},
        {"kind": dict},
        {"key": "1"},
        {"key": "../../etc/passwd"},
        {"key": 0},
        {"bytes_": 12},
    ],
    ids=str,
)
def test_tensors_that_lie_about_themselves_are_refused(lie, tmp_path) -> None:
    refused(crafted(tmp_path / "x.pth", **lie))


def test_legacy_counts_that_lie_are_refused(tmp_path) -> None:
    path = save(tmp_path / "x.pth", {"w": torch.full((100,), 1.25)}, "legacy")
    data = path.read_bytes()
    start = data.index(struct.pack("<f", 1.25) * 100)
    assert data[start - 8 : start] == struct.pack("<q", 100)
    path.write_bytes(data[: start - 8] + struct.pack("<q", 99) + data[start:])
    assert "100 numbers" in refused(path).problem


def test_one_storage_behind_many_tensors_cannot_grow_without_end(tmp_path, monkeypatch) -> None:
    base = torch.zeros(1000)
    path = save(tmp_path / "x.pth", {f"w{i}": base for i in range(100)})
    assert len(read_checkpoint(path).tensors) == 100
    monkeypatch.setattr(module, "CHECKPOINT_LIMIT", path.stat().st_size)
    assert isinstance(refused(path), RefusedError)


def test_files_that_are_too_large_are_refused(tmp_path, monkeypatch) -> None:
    path = save(tmp_path / "x.pth", state())
    monkeypatch.setattr(module, "CHECKPOINT_LIMIT", 100)
    assert isinstance(refused(path), RefusedError)


def test_a_folder_or_nothing_is_refused(tmp_path) -> None:
    refused(tmp_path)
    refused(tmp_path / "absent.pth")


# --- safetensors --------------------------------------------------------------------------------


@pytest.mark.truth("the safetensors library reads what we write, and we what it writes")
def test_safetensors_agree_with_the_library(tmp_path) -> None:
    library = pytest.importorskip("safetensors.torch")
    tensors = {name: tensor.clone() for name, tensor in state().items()}
    tensors |= {
        "half": torch.randn(3).half(),
        "flags": torch.tensor([True, False]),
        "empty": torch.zeros(0, 2),
    }
    tensors |= {"byte": torch.arange(3).to(torch.uint8), "double": torch.randn(2, dtype=torch.float64)}
    ours, theirs = tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors"
    write_safetensors(ours, {name: tensor.numpy() for name, tensor in tensors.items()})
    for name, tensor in library.load_file(ours).items():
        assert torch.equal(tensor, tensors[name]) and tensor.dtype == tensors[name].dtype
    tensors["brain"] = torch.randn(5).bfloat16()
    library.save_file(tensors, theirs, metadata={"format": "pt"})
    found = read_checkpoint(theirs)
    assert set(found.tensors) == set(tensors) and found.place == ""
    for name, tensor in tensors.items():
        assert np.array_equal(found.tensors[name], tensor.float() if name == "brain" else tensor)


def test_conversion_keeps_every_number_and_is_the_same_each_time(tmp_path) -> None:
    mark = tmp_path / "mark"
    content = {"state_dict": state(), "evil": PAYLOADS["os.system"](mark, tmp_path)}
    one, other = (save(tmp_path / f"{c}.pth", content, c) for c in ("zip", "legacy"))
    made = to_safetensors(one, tmp_path / "one.safetensors")
    to_safetensors(other, tmp_path / "other.safetensors")
    assert made.neutralised and not mark.exists()
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "other.safetensors").read_bytes()
    found = read_checkpoint(tmp_path / "one.safetensors").tensors
    assert all(np.array_equal(found[name], tensor) for name, tensor in state().items())
    with pytest.raises(CapbenchError, match="exists"):
        to_safetensors(one, tmp_path / "one.safetensors")
    to_safetensors(one, tmp_path / "one.safetensors", overwrite=True)


def assembled(header, body=b"\0" * 8):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def tensor(shape=(2,), offsets=(0, 8), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_the_assembled_file_is_sound_where_it_does_not_lie() -> None:
    assert np.array_equal(read_safetensors(assembled({"w": tensor()}))["w"], [0, 0])


@pytest.mark.parametrize(
    "data",
    [
        assembled({"w": tensor(shape=(3,))}),
        assembled({"w": tensor(offsets=(0, 12))}),
        assembled({"w": tensor(offsets=(4, 12))}),
        assembled({"w": tensor(shape=(1,), offsets=(4, 8))}),
        assembled({"w": tensor(shape=(1,), offsets=(0, 4))}),
        assembled({"w": tensor(), "v": tensor()}),
        assembled({"w": tensor(offsets=(8, 0))}),
        assembled({"w": tensor(offsets=(-8, 0))}),
        assembled({"w": tensor(offsets=(0.0, 8.0))}),
        assembled({"w": tensor(shape=(2**40, 2**40))}),
        assembled({"w": tensor(shape=(-2,))}),
        assembled({"w": tensor(shape=("2",))}),
        assembled({"w": tensor(shape=(1,) * 40)}),
        assembled({"w": tensor(dtype="F8")}),
        assembled({"w": tensor(dtype=["F32"])}),
        assembled({"w": tensor() | {"more": 1}}),
        assembled({"w": [1]}),
        assembled(
            b'{"w": ' + json.dumps(tensor()).encode() + b', "w": ' + json.dumps(tensor()).encode() + b"}"
        ),
        assembled(b"{not json}"),
        assembled(b"{" * 100_000),
        assembled(b"\xff\xfe{}"),
        assembled([1, 2]),
        struct.pack("<Q", 2**63) + b"{}",
    ],
)
def test_headers_that_lie_are_refused(data, tmp_path) -> None:
    with pytest.raises(CapbenchError):
        read_safetensors(data)
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    refused(path)
