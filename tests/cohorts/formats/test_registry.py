import inspect
from pathlib import Path

import pytest
import samples

from cohorts import CapbenchError
from cohorts.formats import FORMATS, find_format, holds_of, identify, read, writable, write


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, list[Path]]:
    return samples.make_all(tmp_path_factory.mktemp("samples"))


def test_there_is_a_sample_of_every_format(made) -> None:
    assert made.keys() == FORMATS.keys()


@pytest.mark.parametrize("name", FORMATS)
def test_each_sample_is_known_for_what_it_is_and_read(made, name) -> None:
    for path in made[name]:
        assert identify(path).name == name
        found, value = read(path)
        assert found.name == name
        if not {"video", "document"} & set(found.holds):
            assert holds_of(value) in found.holds


@pytest.mark.parametrize("name", FORMATS)
def test_each_module_keeps_the_contract(name) -> None:
    module = FORMATS[name].load()
    assert module.__doc__
    assert next(iter(inspect.signature(module.read).parameters)) == "path"
    assert inspect.signature(module.read).parameters["notes"].kind is inspect.Parameter.KEYWORD_ONLY
    assert hasattr(module, "write") == bool(FORMATS[name].writes)
    assert hasattr(module, "recognise") == (FORMATS[name].container is not None)
    if FORMATS[name].writes:
        parameters = inspect.signature(module.write).parameters
        assert list(parameters)[:2] == ["path", "value"]
        assert parameters["overwrite"].default is False
    if not FORMATS[name].has_time:
        assert "rate" in inspect.signature(module.read).parameters


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_is_read_back_and_never_overwritten(made, name, tmp_path) -> None:
    for path in made[name]:
        _, value = read(path)
        if not FORMATS[name].writes or holds_of(value) not in FORMATS[name].writes:
            continue
        copy = tmp_path / path.name
        write(copy, value, format=name)
        assert identify(copy).name == name
        with pytest.raises(CapbenchError, match="exists"):
            write(copy, value, format=name)
        write(copy, value, format=name, overwrite=True)


def test_names_and_endings_that_nobody_knows(tmp_path) -> None:
    with pytest.raises(CapbenchError, match="Did you mean 'openpose'"):
        find_format("openpse")
    (tmp_path / "a.xyz").write_text("")
    with pytest.raises(CapbenchError, match=r"ending in one of .*\.trc"):
        identify(tmp_path / "a.xyz")
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(CapbenchError, match="COCO keypoint results"):
        identify(tmp_path / "a.json")


def test_options_must_be_ones_the_format_takes(made) -> None:
    with pytest.raises(CapbenchError, match=r"the trc format can read with \(units\), got rate"):
        read(made["trc"][0], rate=30)


def test_outputs_are_chosen_by_what_they_must_hold(tmp_path) -> None:
    assert writable(tmp_path / "a.npz", "body").name == "smpl"
    assert writable(tmp_path / "a.npz", "markers").name == "npz"
    assert writable(tmp_path / "folder", "keypoints").name == "openpose"
    with pytest.raises(CapbenchError, match=r"can hold motion.*storage"):
        writable(tmp_path / "a.trc", "motion")
    with pytest.raises(CapbenchError, match="writes motion, got trc"):
        write(tmp_path / "a.trc", samples.motion(), format="trc")


def test_every_real_file_is_identified_and_read(shared_data) -> None:
    endings = (".trc", ".mot", ".sto", ".osim", ".xml", ".mp4", ".qca.txt")
    files = [p for p in sorted(shared_data.rglob("*")) if p.is_file() and p.name != "README.md"]
    assert len(files) == 50
    for path in files:
        assert path.name.endswith(endings), path
        read(path)
