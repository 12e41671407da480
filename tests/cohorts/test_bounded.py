import io
import os
import struct
import zipfile

import numpy as np
import pytest

from cohorts import CapbenchError, EnvironmentFault, RefusedError, bounded


def put(tmp_path, content, name="a"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_only_ordinary_files_of_bounded_size(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RefusedError, match="device, pipe or socket"):
        bounded.read_bytes(tmp_path / "pipe", 10)
    with pytest.raises(RefusedError, match="ordinary file"):
        bounded.read_bytes("/dev/zero", 10)
    with pytest.raises(RefusedError, match="at most"):
        bounded.read_bytes(put(tmp_path, b"x" * 11), 10)
    with pytest.raises(CapbenchError, match="a folder"):
        bounded.read_bytes(tmp_path, 10)
    with pytest.raises(CapbenchError, match="No such file"):
        bounded.read_bytes(tmp_path / "none", 10)
    with pytest.raises(CapbenchError, match="readable"):
        bounded.read_bytes("a\0b", 10)


def test_text_is_utf8_or_latin1(tmp_path) -> None:
    assert bounded.read_lines(put(tmp_path, "\ufeffé\r\nb\rc".encode())) == ["é", "b", "c"]
    assert bounded.read_lines(put(tmp_path, b"\xe9")) == ["é"]
    with pytest.raises(CapbenchError, match="binary"):
        bounded.read_text(put(tmp_path, b"a\0b"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": NaN}', "the number NaN"),
        ("[-Infinity]", "the number -Infinity"),
        ('{"a": 1, "a": 2}', "'a' twice"),
        ("[1e999]", "below 1.8e308"),
        ("[" + "9" * 5000 + "]", "below 1.8e308"),
        ("[1,\n2", "line 2"),
        ("[" * 200_000, "less deeply nested"),
        ("", "breaks off"),
    ],
)
def test_json_is_strict(tmp_path, text, message) -> None:
    with pytest.raises(CapbenchError, match=message):
        bounded.load_json(put(tmp_path, text))


def test_json_of_ordinary_values(tmp_path) -> None:
    assert bounded.load_json(put(tmp_path, '{"a": [1, -2.5, "x", null, true]}')) == {
        "a": [1, -2.5, "x", None, True]
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x [1]\nb: *x", "line 2.*aliases"),
        ("a: 1\nb: 2\na: 3", "line 3.*'a' twice"),
        ("a: !!python/object/apply:os.system [id]", "YAML"),
        ("[" * 100, "levels of nesting"),
        ("a: [1", "line"),
        ("? [1, 2]\n: 3", "plain keys"),
        ("a: 1\n--- \nb: 2", "YAML"),
    ],
)
def test_yaml_is_plain(tmp_path, text, message) -> None:
    with pytest.raises(CapbenchError, match=message):
        bounded.load_yaml(put(tmp_path, text))


def test_toml_errors_are_ours(tmp_path) -> None:
    assert bounded.load_toml(put(tmp_path, "a = 1")) == {"a": 1}
    with pytest.raises(CapbenchError, match="Expected TOML"):
        bounded.load_toml(put(tmp_path, "a = [1"))


def test_xml_without_entities_or_depth(tmp_path) -> None:
    root = bounded.load_xml(put(tmp_path, "<a>\n<b name='x'>1</b></a>"))
    assert (root.tag, root[0].get("name"), root[0].line) == ("a", "x", 2)
    laughs = '<!DOCTYPE a [<!ENTITY x "ha">]><a>&x;</a>'
    with pytest.raises(RefusedError, match=r"line 1.*document type"):
        bounded.load_xml(put(tmp_path, laughs))
    with pytest.raises(RefusedError, match="levels of nesting"):
        bounded.load_xml(put(tmp_path, "<a>" * 1000))
    with pytest.raises(CapbenchError, match=r"line 2.*mismatched tag"):
        bounded.load_xml(put(tmp_path, "<a>\n</b>"))
    with pytest.raises(CapbenchError, match="Expected XML"):
        bounded.load_xml(put(tmp_path, "<?xml version='1.0' encoding='klingon'?><a/>"))


def npy(header: str, data: bytes = b"") -> bytes:
    """An .npy entry with any header one likes."""
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def npz(tmp_path, entry: bytes, name: str = "a.npy"):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, entry)
    return tmp_path / "a.npz"


def test_npz_of_numbers_and_text(tmp_path) -> None:
    wanted = {
        "f": np.arange(6.0).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "s": np.array(["knee", "é"]),
        "none": np.zeros((0, 3), bool),
        "scalar": np.float32(2.5),
    }
    np.savez_compressed(tmp_path / "a.npz", **wanted)
    found = bounded.load_npz(tmp_path / "a.npz")
    for key, value in wanted.items():
        np.testing.assert_array_equal(found[key], value)
        assert found[key].dtype == np.asarray(value).dtype


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", "not objects"),
        ("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,)}", "not objects"),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (10**10,)}", "array header"),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000,)}", "bytes to hold"),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}", "shape of an array"),
        ("__import__('os').system('true')", "array header"),
        ("{'descr': '<f8'}", "array header"),
        ("(" * 300, "array header"),
    ],
)
def test_npy_headers_are_checked_before_anything_is_read(tmp_path, header, message) -> None:
    with pytest.raises(CapbenchError, match=message):
        bounded.load_npz(npz(tmp_path, npy(header, b"\0" * 16)))


def test_npz_bombs_are_refused(tmp_path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(16 << 20))  # 128 MB of zeros in 130 kB
    path = npz(tmp_path, buffer.getvalue())
    assert path.stat().st_size < 1 << 20
    with pytest.raises(RefusedError, match="zip bomb"):
        bounded.load_npz(path)


def test_writing_is_all_or_nothing(tmp_path) -> None:
    path = put(tmp_path, "old")
    with pytest.raises(CapbenchError, match=r"one that exists.*--force"):
        bounded.write_text(path, "new")
    with pytest.raises(RuntimeError, match="half way"), bounded.replacing(path, overwrite=True) as temporary:
        temporary.write_text("half")
        raise RuntimeError("half way")
    assert path.read_text() == "old"
    with pytest.raises(EnvironmentFault, match="No space left"), bounded.replacing(path, overwrite=True):
        raise OSError(28, "No space left on device")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    bounded.write_text(path, "new", overwrite=True)
    assert path.read_text() == "new"
    with pytest.raises(CapbenchError, match="existing folder"):
        bounded.write_text(tmp_path / "no" / "a", "x")
    mask = os.umask(0o022)
    os.umask(mask)
    bounded.write_text(tmp_path / "fresh", "x")
    assert (tmp_path / "fresh").stat().st_mode & 0o777 == 0o666 & ~mask
