"""Model cards: strict, whole, and bound to their files."""

import hashlib
import pickle

import pytest

from capbench.models.card import (
    FILE_NAME,
    Codec,
    ModelCard,
    codec_of,
    file_below,
    fingerprint,
    input_of,
    parse_card,
    read_card,
    schema,
    verify,
    write_card,
)
from capbench.models.faults import ModelFault
from cohorts.errors import CapbenchError, RefusedError

HASH = "0" * 64
TEXT = f"""\
name: some-model
version: "1"
licence: Apache-2.0
authors: [A lab]
training_data:
  - {{name: COCO, synthetic: false}}
  - {{name: BEDLAM, synthetic: true, note: every sixth frame}}
route: onnx
skeleton: coco-17
input: {{size: [192, 256]}}
codec: {{kind: heatmap, decoding: udp}}
flip_test: true
files:
  net.onnx: "{HASH}"
"""


def changed(old, new):
    assert old in TEXT
    return TEXT.replace(old, new)


def test_a_card_is_read_written_and_read_again_equal(tmp_path):
    card = parse_card(TEXT)
    assert card.points.name == "coco-17" and card.input.size == (192, 256) and card.codec.udp
    assert [data.synthetic for data in card.training_data] == [False, True]
    assert card.weights == "net.onnx" and card.limits.batch == 32
    write_card(tmp_path / FILE_NAME, card)
    assert read_card(tmp_path) == card == read_card(tmp_path / FILE_NAME)
    with pytest.raises(CapbenchError, match="exists"):
        write_card(tmp_path / FILE_NAME, card)


def test_its_own_skeleton():
    points = "{name: three, points: [hand_l, hand_r, nose], flip_pairs: [[hand_l, hand_r]]}"
    card = parse_card(changed("coco-17", points))
    assert card.points.points == ("hand_l", "hand_r", "nose")
    assert card.points.flip_indices == (1, 0, 2)
    assert card.points.landmarks == ("hand_l@three", "hand_r@three", "nose@three")


BAD = {
    "unknown key": ("flip_test", "fliptest", 12, "Did you mean 'flip_test'"),
    "unknown skeleton": ("coco-17", "coco17", 9, "Did you mean 'coco-17'"),
    "twice a point": ("coco-17", "{name: a, points: [x, x]}", 9, "each point once"),
    "pair of nobody": ("coco-17", "{name: a, points: [x], flip_pairs: [[x, y]]}", 9, "'y'"),
    "route": ("route: onnx", "route: onxx", 8, "Did you mean 'onnx'"),
    "number for text": ('"1"', "1", 2, "quotes"),
    "empty version": ('"1"', '" "', 2, "some text"),
    "bad name": ("some-model", "some model!", 1, "short name"),
    "size": ("[192, 256]", "[192, 4]", 10, "greater than or equal to 8"),
    "one size": ("[192, 256]", "192", 10, "tuple"),
    "bytes as shares": (
        "size: [192, 256]",
        "size: [192, 256], mean: [123, 116, 103]",
        10,
        "divide them by 255",
    ),
    "shares as bytes": ("size: [192, 256]", "size: [192, 256], scale: 255", 10, "multiplied by 255"),
    "no spread": ("size: [192, 256]", "size: [192, 256], std: [1, 0, 1]", 10, "positive std"),
    "scale": ("size: [192, 256]", "size: [192, 256], scale: 2", 10, "1 or 255"),
    "decoding of vectors": ("kind: heatmap", "kind: simcc", 11, "heatmaps only"),
    "ratio of maps": ("decoding: udp", "split_ratio: 2", 11, "simcc only"),
    "even kernel": ("decoding: udp", "kernel: 10", 11, "odd width"),
    "no hash": (f'"{HASH}"', '"abc"', 14, "64 lower-case"),
    "way out": ("net.onnx", "../net.onnx", 14, "below the card's folder"),
    "absolute": ("net.onnx", "/etc/passwd", 14, "below the card's folder"),
    "no input": ("input: {size: [192, 256]}\n", "", 8, "'input' with route onnx"),
    "no codec": ("codec: {kind: heatmap, decoding: udp}\n", "", 8, "'codec' with route onnx"),
    "no skeleton": ("skeleton: coco-17\n", "", None, "skeleton of the keypoints"),
    "no licence": ("licence: Apache-2.0\n", "", 1, "'licence'"),
    "3D by ONNX": ("route: onnx", "route: onnx\nkind: keypoints3d", 9, "keypoints2d"),
    "torch without net": ("route: onnx", "route: torch", 8, "add net:"),
    "code without entry": ("route: onnx", "route: python", 8, "add entry:"),
    "limits": ("flip_test: true", "limits: {batch: 0}", 12, "greater than or equal to 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_named_with_its_line(case):
    old, new, line, words = BAD[case]
    with pytest.raises(CapbenchError) as caught:
        parse_card(changed(old, new), file="model.yaml")
    assert words in str(caught.value)
    assert line is None or caught.value.line == line


@pytest.mark.parametrize("text", ["!!python/object:os.system {}", "a: &x 1\nb: *x", "", "- 1", "a: 1\na: 2"])
def test_yaml_that_is_no_card(text):
    with pytest.raises(CapbenchError):
        parse_card(text)


def test_the_schema_names_every_key_and_describes_it():
    made = schema()
    assert set(made["properties"]) == set(ModelCard.model_fields)
    assert all(part.get("description") for part in made["properties"].values())
    assert made["additionalProperties"] is False


def test_geometry_follows_the_decoding_unless_it_is_said():
    assert Codec(kind="heatmap", decoding="udp").udp and not Codec(kind="heatmap", decoding="dark").udp
    assert Codec(kind="heatmap", decoding="dark", geometry="udp").udp
    assert not Codec(kind="simcc").udp and Codec(kind="simcc", geometry="udp").udp


def test_words_of_a_command():
    text = changed("route: onnx", "route: command\nentry: python 'my run.py' --fast")
    assert parse_card(text).command == ("python", "my run.py", "--fast")
    text = changed("route: onnx", "route: command\nentry: [./serve, a b]")
    assert parse_card(text).command == ("./serve", "a b")


def test_what_a_card_lacks_is_asked_for_by_name():
    card = ModelCard(name="a", version="1", licence="x", route="predictions", kind="motion")
    for needed in (input_of, codec_of):
        with pytest.raises(CapbenchError, match="in the card of a"):
            needed(card)
    with pytest.raises(CapbenchError, match="of kind motion"):
        _ = card.points


# --- files --------------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    return parse_card(changed(HASH, digest)), tmp_path


def test_files_are_those_of_the_card(model):
    card, folder = model
    verify(card, folder)
    (folder / "net.onnx").write_bytes(b"other weights")
    with pytest.raises(RefusedError, match="not the one") as caught:
        verify(card, folder)
    assert caught.value.exit_code == 4
    (folder / "net.onnx").unlink()
    with pytest.raises(CapbenchError, match="got none"):
        verify(card, folder)


def test_links_that_lead_out_are_refused(model, tmp_path_factory):
    card, folder = model
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "net.onnx"
    elsewhere.write_bytes(b"weights")
    (folder / "net.onnx").unlink()
    (folder / "net.onnx").symlink_to(elsewhere)
    with pytest.raises(RefusedError, match="link"):
        verify(card, folder)
    with pytest.raises(RefusedError, match="below the model's folder"):
        file_below(folder, "../x")


def test_the_fingerprint_follows_what_changes_answers_and_nothing_else(model):
    card, folder = model
    first = fingerprint(card, folder)
    assert first == fingerprint(card, folder) and len(first) == 64
    same = {
        "title": "Another",
        "notes": ("read me",),
        "authors": ("B",),
        "licence": "MIT",
        "name": "b",
        "version": "2",
    }
    for key, value in same.items():
        assert fingerprint(card.model_copy(update={key: value}), folder) == first, key
    different = {
        "flip_test": False,
        "shift_heatmap": True,
        "codec": Codec(kind="heatmap", decoding="dark"),
        "skeleton": "halpe-26",
        "files": {"net.onnx": HASH},
        "input": card.input.model_copy(update={"padding": 1.3}),
    }
    for key, value in different.items():
        assert fingerprint(card.model_copy(update={key: value}), folder) != first, key


def test_where_code_runs_every_file_counts(tmp_path):
    card = parse_card(changed("route: onnx", "route: python\nentry: m.py:M"))
    (tmp_path / "m.py").write_text("class M: ...")
    (tmp_path / FILE_NAME).write_text("x")
    first = fingerprint(card, tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "m.pyc").write_bytes(b"1")
    (tmp_path / ".cache").write_bytes(b"1")
    (tmp_path / FILE_NAME).write_text("y")
    assert fingerprint(card, tmp_path) == first
    (tmp_path / "helper.py").write_text("")
    second = fingerprint(card, tmp_path)
    (tmp_path / "helper.py").write_text("x = 1")
    assert len({first, second, fingerprint(card, tmp_path)}) == 3


def test_a_model_s_fault_crosses_processes_whole():
    fault = ModelFault("It hung.", kind="hung", place="batch 3", fix="wait")
    again = pickle.loads(pickle.dumps(fault))  # noqa: S301
    assert (again.kind, str(again), again.exit_code) == ("hung", str(fault), 2)
    assert fault.to_dict()["kind"] == "hung"
