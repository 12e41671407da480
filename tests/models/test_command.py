"""Any program that speaks the worker's protocol: here one written from its description alone."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from capbench.models.adapters import command
from capbench.models.card import ModelCard, parse_card
from capbench.models.faults import ModelFault
from capbench.models.worker import host
from cohorts.errors import CapbenchError, EnvironmentFault, RefusedError

CARD = """
name: foreign
version: "1"
licence: CC0-1.0
route: command
skeleton: {name: two, points: [a, b]}
entry: [./serve, --shift, "1.5; touch ran"]
limits: {start: 20, answer: 2, memory: 500}
"""
#: no numpy, no code of ours: struct and json, as one would write it in any language
SERVER = """#!PYTHON
import json, struct, sys
pipe_in, pipe_out = sys.stdin.buffer, sys.stdout.buffer

def read():
    header = json.loads(pipe_in.read(struct.unpack("<I", pipe_in.read(4))[0]))
    sizes = {"uint8": 1, "float32": 4, "float64": 8}
    arrays = []
    for entry in header.get("arrays", []):
        count = sizes[entry["dtype"]]
        for length in entry["shape"]:
            count *= length
        arrays.append((entry["name"], entry["shape"], pipe_in.read(count)))
    return header, arrays

def write(header, data=b""):
    text = json.dumps(header).encode()
    pipe_out.write(struct.pack("<I", len(text)) + text + data)
    pipe_out.flush()

shift = float(sys.argv[2].partition(";")[0])
while True:
    header, arrays = read()
    if header["do"] == "bye":
        break
    if header["do"] == "hello":
        assert header["points"] == ["a", "b"] and header["protocol"] == 1 and header["dimensions"] == 2
        write({"said": "hello", "protocol": 1, "name": "two corners", "points": 2})
        continue
    (_, (n, _), boxes), *frames = arrays
    corners = struct.unpack(f"<{4 * n}d", boxes)
    # the first and the last byte of each frame say whether it came whole
    confidence = [b / 255 for _, _, frame in frames for b in (frame[0], frame[-1])]
    write(
        {"said": "predicted", "call": header["call"], "arrays": [
            {"name": "points", "dtype": "float64", "shape": [n, 2, 2]},
            {"name": "confidence", "dtype": "float32", "shape": [n, 2]}]},
        struct.pack(f"<{4 * n}d", *(c + shift for c in corners)) + struct.pack(f"<{2 * n}f", *confidence),
    )
"""
FRAMES = [np.full((3, 5, 3), 51, np.uint8), np.full((2, 2, 3), 102, np.uint8)]
BOXES = np.array([[0.0, 1, 2, 3], [4, 5, 6, 7]])


@pytest.fixture
def folder(tmp_path) -> Path:
    write(tmp_path / "serve", SERVER)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.write_text(text.replace("PYTHON", sys.executable))
    path.chmod(0o755)


def card(*words: str) -> ModelCard:
    made = parse_card(CARD)
    return made.model_copy(update={"entry": words}) if words else made


def test_a_program_of_another_make_answers_and_no_shell_reads_its_words(folder) -> None:
    model = command.open(card(), folder)
    got = model.predict(FRAMES, BOXES)
    assert got.points.reshape(2, 4).tolist() == (BOXES + 1.5).tolist()
    assert np.allclose(got.confidence, [[0.2, 0.2], [0.4, 0.4]], atol=1e-7)
    assert model.start() == "two corners"
    model.close()
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("word", ["serve", "./serve"])
def test_the_folders_own_program_comes_first_and_runs_in_it(folder, word, monkeypatch) -> None:
    other = folder / "other"
    other.mkdir()
    write(other / "serve", "#!/bin/sh\nexit 9\n")
    monkeypatch.setenv("PATH", f"{other}:{os.environ['PATH']}")
    text = SERVER.replace("import json", "import os; assert os.path.exists('serve')\nimport json")
    write(folder / "serve", text)
    model = command.open(card(word, "--shift", "0"), folder)
    assert model.predict(FRAMES, BOXES).points[0].tolist() == [[0, 1], [2, 3]]
    model.close()


def test_a_program_on_the_path_and_the_users_own_python(folder) -> None:
    (folder / "serve").rename(folder / "serve.py")
    for python in (None, sys.executable):
        model = command.open(card("python3", "serve.py", "--shift", "0"), folder, python=python)
        assert model.predict(FRAMES, BOXES).points.shape == (2, 2, 2)
        model.close()


def test_programs_that_are_not_there_or_may_not_be_run(folder) -> None:
    with pytest.raises(EnvironmentFault, match="found none"):
        command.open(card("no-such-program-anywhere"), folder)
    (folder / "serve").chmod(0o644)
    with pytest.raises(CapbenchError, match="may be run") as caught:
        command.open(card(), folder)
    assert "chmod +x" in str(caught.value)
    with pytest.raises(RefusedError, match="below the model's folder"):
        command.open(card("../serve"), folder)
    (folder / "link").symlink_to("/bin/true")
    with pytest.raises(RefusedError, match="link"):
        command.open(card("./link"), folder)


def test_a_program_that_cannot_be_started(folder) -> None:
    write(folder / "serve", "#!/no/such/interpreter\n")
    model = command.open(card(), folder)
    with pytest.raises(EnvironmentFault, match="No such file"):
        model.predict(FRAMES, BOXES)
    model.close()


@pytest.mark.parametrize(
    ("script", "kind", "says"),
    [
        ("echo ready; exec sleep 60", "protocol", "did it print to it"),
        (
            "echo 'no weights here' >&2; exit 3",
            "died",
            "exit status 3 in the middle of its work. It printed last: no",
        ),
        ("exec sleep 60", "hung", "was not ready within 1 s"),
        ("exec >&-; exec sleep 60", "protocol", "closed its output and went on"),
        ("exec <&-; exec sleep 60", "hung", "was not ready"),
    ],
)
def test_programs_that_speak_something_else(folder, script, kind, says, monkeypatch) -> None:
    monkeypatch.setattr(host, "GRACE", 0.5)
    write(folder / "serve", f"#!/bin/sh\n{script}\n")
    slow = card().model_copy(update={"limits": card().limits.model_copy(update={"start": 1.0})})
    model = command.open(slow, folder)
    with pytest.raises(ModelFault) as caught:
        model.predict(FRAMES, BOXES)
    assert caught.value.kind == kind and says in caught.value.problem
    model.close()


def test_sizes_in_floating_point_are_as_good(folder) -> None:
    write(folder / "serve", SERVER.replace('"shape": [n, 2]}]', '"shape": [n, 2.0]}]'))
    model = command.open(card(), folder)
    assert model.predict(FRAMES, BOXES).confidence.shape == (2, 2)
    model.close()


@pytest.mark.parametrize(
    ("old", "new", "kind", "says"),
    [
        ('"protocol": 1,', '"protocol": 2,', "protocol", "answered 'hello' with"),
        ('"points": 2}', '"points": 3}', "shape", "says it gives 3 points; its card names 2"),
        ('header["call"]', 'header["call"] + 1', "protocol", "answered question 1"),
        ('"confidence", "dtype": "float32"', '"confidence", "dtype": "int8"', "shape", "of int8"),
        ('"name": "confidence"', '"name": "points"', "shape", "points of shape [2, 2]"),
        ('"name": "confidence"', '"name": "more"', "shape", "an array 'more'"),
        ('"shape": [n, 2]}]', '"shape": [n, 2.0]}, {}]', "shape", "an array 'None'"),
        ('"shape": [n, 2]}]', '"shape": [n, 1.5]}]', "shape", "confidence of shape"),
        ('"shape": [n, 2]}]', '"shape": 10**30}]', "shape", "confidence of shape 1000"),
        ('"arrays": [\n', '"arrays": 7, "a": [\n', "protocol", "listed no arrays"),
        ('struct.pack(f"<{2 * n}f", *confidence)', 'b""', "hung", "gave no answer within 2 s"),
        (
            "header, arrays = read()\n",
            'header, arrays = read()\n    if header["do"] == "predict":\n'
            '        write({"said": "error", "what": "not today", "cause": "model"})\n        continue\n',
            "threw",
            "foreign threw not today",
        ),
    ],
)
def test_programs_that_nearly_speak_it(folder, old, new, kind, says) -> None:
    text = SERVER.replace(old, new)
    assert text != SERVER
    write(folder / "serve", text)
    model = command.open(card(), folder)
    with pytest.raises(ModelFault) as caught:
        model.predict(FRAMES, BOXES)
    assert caught.value.kind == kind and says in caught.value.problem
    model.close()
