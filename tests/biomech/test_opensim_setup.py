"""Names and weights out of OpenSim's XML."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capbench.biomech.opensim_setup import CoordinateTask, model_names, read_tasks
from capbench.cli.fit import DEMO
from cohorts import CapbenchError, RefusedError


def written(tmp_path, text: str):
    path = tmp_path / "document.xml"
    path.write_text(text)
    return path


def test_names_of_a_model() -> None:
    names = model_names(DEMO / "walker.osim")
    assert len(names.markers) == 27 and len(names.coordinates) == 19
    assert names.markers[:3] == ("r_ASIS", "l_ASIS", "r_PSIS")
    assert names.coordinates[:4] == ("pelvis_tilt", "pelvis_list", "pelvis_rotation", "pelvis_tx")


def test_names_of_an_old_model_and_of_a_set_up(shared_data) -> None:
    names = model_names(shared_data / "opensim_gait2354" / "subject01_simbody.osim")
    assert len(names.markers) == 39 and len(names.coordinates) == 23
    tasks = read_tasks(shared_data / "opencap_setup" / "Setup_IK_mmpose_final_adjusted.xml")
    # the published weights: pelvis 25, sternum, knees and ankles 10, feet 7, the rest 5
    assert tasks.markers["r_ASIS"] == 25 and tasks.markers["sternum"] == 10
    assert tasks.markers["l_calc"] == 7 and tasks.markers["C7"] == 5
    assert len(tasks.markers) == 33 and tasks.coordinates == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<OpenSimDocument/>", "got <OpenSimDocument>."),
        ("<html><body/></html>", "got <html> with a <body>"),
        ("<OpenSimDocument><IKTaskSet/></OpenSimDocument>", "with a <IKTaskSet>"),
        ("nothing", "Expected XML"),
        (
            '<OpenSimDocument><Model><Marker name="a"/><Marker name="a"/></Model></OpenSimDocument>',
            "each marker once, got 'a' twice",
        ),
    ],
)
def test_what_is_no_model(tmp_path, text, words) -> None:
    with pytest.raises(CapbenchError, match=words):
        model_names(written(tmp_path, text))


def tasks_of(inside: str) -> str:
    return f"<OpenSimDocument>\n<IKTaskSet><objects>\n{inside}</objects></IKTaskSet></OpenSimDocument>"


def test_weights_and_their_defaults(tmp_path) -> None:
    tasks = read_tasks(
        written(
            tmp_path,
            tasks_of(
                '<IKMarkerTask name="a"><weight> 2.5 </weight></IKMarkerTask>'
                '<IKMarkerTask name="b"/>'
                '<IKMarkerTask name="c"><apply> FALSE </apply><weight>3</weight></IKMarkerTask>'
                '<IKCoordinateTask name="q"><weight>4</weight></IKCoordinateTask>'
                '<IKCoordinateTask name="off"><apply>0</apply><value_type>from_file</value_type>'
                "</IKCoordinateTask>"
                '<IKCoordinateTask name="none"><weight>0</weight></IKCoordinateTask>'
            ),
        )
    )
    assert tasks.markers == {"a": 2.5, "b": 1.0, "c": 0.0}
    assert tasks.coordinates == (CoordinateTask("q", 4.0, "default_value", 0.0),)


@pytest.mark.parametrize(
    ("inside", "words"),
    [
        ('<IKMarkerTask name="a"><weight>x</weight></IKMarkerTask>', "line 3, task a: .*number, got 'x'"),
        ('<IKMarkerTask name="a"><weight>nan</weight></IKMarkerTask>', "line 3, task a: .*got 'nan'"),
        ('<IKMarkerTask name="a"><weight>1e999</weight></IKMarkerTask>', "number"),
        ('<IKMarkerTask name="a"><weight>-1</weight></IKMarkerTask>', "at least 0, got -1"),
        ('<IKMarkerTask name="a"><apply>maybe</apply></IKMarkerTask>', "true or false, got 'maybe'"),
        ('<IKMarkerTask name="a"/>\n<IKMarkerTask name="a"/>', "line 4: .*two for 'a'"),
        (
            '<IKCoordinateTask name="q"><value_type>from_file</value_type></IKCoordinateTask>',
            "default_value or manual_value, got 'from_file'",
        ),
    ],
)
def test_tasks_that_make_no_sense(tmp_path, inside, words) -> None:
    with pytest.raises(CapbenchError, match=words):
        read_tasks(written(tmp_path, tasks_of(inside)))


def test_a_set_up_without_tasks_or_with_others_inside(tmp_path) -> None:
    with pytest.raises(CapbenchError, match="IKTaskSet"):
        read_tasks(DEMO / "walker.osim")
    with pytest.raises(RefusedError, match="pulls in another"):
        read_tasks(written(tmp_path, tasks_of('<IKMarkerTask name="a" file="/etc/passwd"/>')))


@settings(max_examples=50, deadline=None)
@given(place=st.integers(0, 29_000), junk=st.binary(min_size=0, max_size=8), cut=st.integers(0, 400))
def test_a_damaged_model_is_read_or_refused(tmp_path_factory, place, junk, cut) -> None:
    data = (DEMO / "walker.osim").read_bytes()
    path = tmp_path_factory.mktemp("damaged") / "walker.osim"
    path.write_bytes(data[:place] + junk + data[place + cut :])
    for reader in (model_names, read_tasks):
        try:
            reader(path)
        except CapbenchError as error:
            assert error.file == str(path)
