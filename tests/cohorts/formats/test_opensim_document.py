import pytest
import samples

from cohorts import CapbenchError
from cohorts.formats import opensim_document


def test_a_marker_set(tmp_path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(samples.OPENSIM)
    document = opensim_document.read(path)
    assert (document.kind, document.name, document.version) == ("MarkerSet", "few", "40000")
    assert document.facts["markers"] == "2: R.ASIS, L.ASIS"
    assert document.facts["fixed markers"] == "1: R.ASIS"


def test_repeated_markers_are_noted(tmp_path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(samples.OPENSIM.replace("L.ASIS", "R.ASIS"))
    notes: list[str] = []
    opensim_document.read(path, notes=notes)
    assert notes == ["markers named more than once: R.ASIS"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("<html/>", "got <html>"), ("<OpenSimDocument/>", "an empty one"), ("<OpenSimDocument>", "XML")],
)
def test_other_xml_is_refused(tmp_path, text, message) -> None:
    path = tmp_path / "a.xml"
    path.write_text(text)
    with pytest.raises(CapbenchError, match=message):
        opensim_document.read(path)


def test_counts_equal_opensim_s(shared_data) -> None:
    import opensim

    opensim.Logger.setLevelString("error")
    opensim.Logger.removeFileSink()
    files = sorted(shared_data.rglob("*.osim"))
    assert len(files) == 5
    for file in files:
        model = opensim.Model(str(file))
        model.initSystem()
        facts = opensim_document.read(file).facts
        bodies, coordinates = model.getBodySet(), model.getCoordinateSet()
        assert facts["bodies"].startswith(f"{bodies.getSize()}: ")
        assert facts["coordinates"].startswith(f"{coordinates.getSize()}: ")
        assert facts.get("markers", "0: ").startswith(f"{model.getMarkerSet().getSize()}: ")
        assert facts["muscles"].startswith(f"{model.getMuscles().getSize()}: ")
        mass = sum(bodies.get(i).getMass() for i in range(bodies.getSize()))
        assert facts["mass"] == f"{mass:.3f} kg"


def test_every_setup_file_is_known(shared_data) -> None:
    files = sorted(shared_data.rglob("*.xml"))
    assert len(files) == 16
    for file in files:
        notes: list[str] = []
        document = opensim_document.read(file, notes=notes)
        assert document.kind in opensim_document.KINDS
        assert document.facts, file
