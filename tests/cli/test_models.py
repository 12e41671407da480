"""``capbench models``: what a person sees and what exit codes say."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from onnx_models import heatmap_net

from capbench.cli.main import COMMANDS, cli
from capbench.cli.model_pictures import posed_person
from capbench.cli.models import INSTALLABLE
from capbench.models.card import FILE_NAME, ModelCard, parse_card, read_card, write_card
from cohorts.errors import CapbenchError
from cohorts.store import sha256


def run(*words):
    """Exit code and output; an error's text where one was raised."""
    result = CliRunner().invoke(cli, ["models", *map(str, words)], standalone_mode=False)
    if isinstance(result.exception, CapbenchError):
        return result.exception.exit_code, str(result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return (result.return_value if result.return_value is not None else result.exit_code), result.output


@pytest.fixture
def net(tmp_path):
    return heatmap_net(tmp_path / "net.onnx", points=17)


def test_the_command_is_in_the_table():
    assert COMMANDS["models"].module == "capbench.cli.models"


# --- list and describe --------------------------------------------------------------------------


def test_list_names_what_is_built_in_and_what_folders_hold(net):
    code, text = run("list", net.parent)
    assert code == 0 and "capbench:noisy-truth" in text and "mediapipe" in text
    write_card(
        net.parent / FILE_NAME,
        ModelCard(name="a", version="1", licence="MIT", route="predictions", kind="motion"),
    )
    rows = json.loads(run("list", net.parent, "--json")[1])
    assert rows[-1] == {
        "model": str(net.parent), "route": "predictions", "points": "", "licence": "MIT", "what": "",
    }  # fmt: skip
    assert run("list", net)[0] == 2


def test_describe_says_what_was_guessed(net):
    code, text = run("describe", net)
    assert code == 0
    for words in (
        "net: a model",
        "17 points of coco-17 in 2D",
        "96 x 128 px",
        "dark",
        "not declared",
        "Guessed",
    ):
        assert words in text, words
    told = json.loads(run("describe", net, "--json")[1])
    assert told["files"] == {"net.onnx": sha256(net)} and len(told["fingerprint"]) == 64


def test_describe_tells_training_and_flip_test(net):
    data = ({"name": "BEDLAM", "synthetic": True, "note": "part"}, {"name": "COCO", "synthetic": False})
    card = ModelCard(
        name="a", version="1", licence="x", route="onnx", skeleton="coco-17", input={"size": (96, 128)},
        codec={"kind": "simcc"}, flip_test=True, training_data=data, files={"net.onnx": sha256(net)},
    )  # fmt: skip
    write_card(net.parent / FILE_NAME, card)
    text = run("describe", net.parent)[1]
    assert "BEDLAM (made people; part), COCO (recorded people)" in text
    assert "simcc, msra geometry, flip test" in text


def test_the_schema_and_a_missing_argument():
    assert "skeleton" in json.loads(run("describe", "--schema")[1])["properties"]
    result = CliRunner().invoke(cli, ["models", "describe"], standalone_mode=False)
    assert "Missing argument 'MODEL'" in str(result.exception)
    assert run("describe", "no-such")[0] == 2


# --- check --------------------------------------------------------------------------------------


def test_the_made_up_person_is_seen_whole_from_both_sides():
    person = posed_person()
    assert person.pictures.shape == (4, 480, 270, 3) and person.pictures.dtype == np.uint8
    low, high = person.boxes[:, None, :2], person.boxes[:, None, 2:]
    assert ((person.truth > low) & (person.truth < high)).all()
    assert (low > 0).all() and (high < [270, 480]).all()
    left, right = (person.truth[:, person.skeleton.index(f"{side}shoulder"), 0] for side in "lr")
    front, back = 0, 1
    assert left[front] > right[front] and left[back] < right[back]
    assert np.array_equal(posed_person().pictures, person.pictures)


def test_check_reports_draws_and_says_nothing_bad_of_a_sound_network(net, tmp_path):
    picture = tmp_path / "seen.png"
    code, text = run("check", net, "--picture", picture)
    assert code == 0, text
    for words in (
        "determinism",
        "same bytes",
        "batches",
        "no person",
        "flip",
        "speed",
        "memory",
        "can be evaluated",
    ):
        assert words in text, words
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert "Note: Guessed" in text
    assert run("check", net, "--picture", picture)[0] == 2  # it exists


def test_check_leaves_with_1_where_something_is_bad(tmp_path):
    path = heatmap_net(tmp_path / "net.onnx", points=16)
    card = ModelCard(
        name="wrong", version="1", licence="x", route="onnx", skeleton="coco-17", input={"size": (96, 128)},
        codec={"kind": "heatmap"}, files={"net.onnx": sha256(path)},
    )  # fmt: skip
    write_card(tmp_path / FILE_NAME, card)
    code, text = run("check", tmp_path, "--json")
    assert code == 1
    (line,) = json.loads(text)["lines"]
    assert line["verdict"] == "bad" and "17 points" in line["words"]


def test_check_refuses_code_without_leave(tmp_path):
    (tmp_path / "m.py").write_text(
        "raise SystemExit('I ran')\nclass M:\n    def predict(self, frames, boxes): ...\n"
    )
    assert run("init", tmp_path / "m.py")[0] == 0
    code, text = run("check", tmp_path)
    assert code == 4 and "--trust" in text


# --- init ---------------------------------------------------------------------------------------


def test_init_writes_a_commented_card_that_reads_back(net):
    code, text = run("init", net)
    assert code == 0 and "models check" in text and "Guessed" in text
    written = (net.parent / FILE_NAME).read_text()
    card = read_card(net.parent)
    assert card.files == {"net.onnx": sha256(net)} and card.codec.decoding == "dark"
    for name in (
        "training_data",
        "flip_test",
        "authors",
    ):  # unset, so commented out, with their meaning above
        assert f"# {name}:" in written
    assert "# Average with the answer to the mirrored picture." in written
    assert max(map(len, written.splitlines())) <= 110
    assert run("init", net)[0] == 2  # nothing is overwritten
    assert run("init", net, "--force", "-q") == (0, "")


@pytest.mark.parametrize(
    "key", ["flip_test", "shift_heatmap", "authors", "training_data", "devices", "limits"]
)
def test_every_key_that_is_commented_out_may_be_put_in(key, net):
    run("init", net)
    lines = (net.parent / FILE_NAME).read_text().splitlines()
    start = lines.index(next(line for line in lines if line.startswith(f"# {key}:")))
    end = start + 1
    while end < len(lines) and lines[end].startswith(("# - ", "#   ")):
        end += 1
    lines[start:end] = [line.removeprefix("# ") for line in lines[start:end]]
    parse_card("\n".join(lines))


def test_init_of_a_python_file_reads_and_never_runs_it(tmp_path):
    (tmp_path / "m.py").write_text(
        "raise SystemExit('I ran')\nclass Helper: ...\n"
        "class Mine:\n    def predict(self, frames, boxes): ...\n"
    )
    assert run("init", tmp_path / "m.py")[0] == 0
    card = read_card(tmp_path)
    assert (
        card.route == "python"
        and card.entry == "m.py:Mine"
        and card.files == {"m.py": sha256(tmp_path / "m.py")}
    )
    (tmp_path / "bad.py").write_text("class X(:\n")
    assert "line 1" in run("init", tmp_path / "bad.py", "-o", tmp_path / "b.yaml")[1]
    (tmp_path / "none.py").write_text("class X: ...\n")
    assert "predict(frames, boxes)" in run("init", tmp_path / "none.py", "-o", tmp_path / "b.yaml")[1]


def test_init_of_what_tells_nothing_is_a_card_to_finish(tmp_path):
    path = heatmap_net(tmp_path / "five.onnx", points=5)
    code, text = run("init", path)
    assert code == 0 and "[1, 5, 32, 24]" in text and "see to skeleton" in text
    assert read_card(tmp_path).route == "onnx"


def test_init_of_torchscript_and_what_is_no_model(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "net.pt", "w") as archive:
        archive.writestr("net/code/__torch__.py", "")
    assert run("init", tmp_path / "net.pt")[0] == 0
    assert read_card(tmp_path).route == "torchscript"
    (tmp_path / "a.txt").write_text("x")
    for path in (tmp_path / "a.txt", tmp_path, tmp_path / "none.onnx"):
        assert run("init", path, "-o", tmp_path / "b.yaml")[0] == 2
    other = tmp_path / "other"
    other.mkdir()
    assert "own folder" in run("init", tmp_path / "net.pt", "-o", other / FILE_NAME)[1]


# --- convert and install ------------------------------------------------------------------------


def test_convert_writes_numbers_and_names_what_was_not_run(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"state_dict": {"a.weight": torch.arange(6.0)}, "epoch": 3}, tmp_path / "net.pth")
    code, text = run("convert", tmp_path / "net.pth", tmp_path / "net.safetensors")
    assert code == 0 and "6 numbers in 1 tensor" in text and "state_dict" in text
    assert run("convert", tmp_path / "net.pth", tmp_path / "net.safetensors")[0] == 2  # it exists
    assert run("convert", tmp_path / "net.pth", tmp_path / "net.bin")[0] == 2
    assert run("convert", tmp_path / "net.pth", tmp_path / "net.safetensors", "--force", "-q") == (0, "")
    from capbench.models.checkpoint import read_checkpoint

    np.testing.assert_array_equal(
        read_checkpoint(tmp_path / "net.safetensors").tensors["a.weight"], np.arange(6)
    )


def test_what_can_be_installed_is_what_there_is(monkeypatch):
    from capbench.models import environments

    assert set(INSTALLABLE) == set(environments.ENVIRONMENTS)
    told = {}

    def install(name, *, told=None, fresh=False):
        seen.update(name=name, fresh=fresh)
        return "/x/bin/python"

    seen = told
    monkeypatch.setattr(environments, "install", install)
    assert run("install", "mmpose", "--fresh") == (0, "Its Python: /x/bin/python\n")
    assert seen == {"name": "mmpose", "fresh": True}
