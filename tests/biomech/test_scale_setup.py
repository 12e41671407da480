"""Set-ups of OpenSim's scale tool: what is read, what is refused."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capbench.biomech.scale_setup import Measurement, read_setup
from cohorts import CapbenchError, RefusedError

TEXT = """<?xml version="1.0" encoding="UTF-8"?>
<OpenSimDocument Version="30000"><ScaleTool name="s">
<mass> 72.5 </mass><height>1800</height>
<ModelScaler><apply>true</apply><scaling_order> measurements manualScale</scaling_order>
<MeasurementSet><objects>
<Measurement name="thigh"><apply>true</apply>
<MarkerPairSet><objects><MarkerPair><markers> a b</markers></MarkerPair>
<MarkerPair><markers>c d </markers></MarkerPair></objects></MarkerPairSet>
<BodyScaleSet><objects><BodyScale name="femur"><axes> Z X</axes></BodyScale></objects></BodyScaleSet>
</Measurement>
<Measurement name="off"><apply> false </apply></Measurement>
</objects></MeasurementSet>
<ScaleSet><objects><Scale><scales>1 1.1 0.9</scales><segment> tibia </segment><apply>true</apply></Scale>
<Scale><scales>2 2 2</scales><segment>foot</segment><apply>false</apply></Scale></objects></ScaleSet>
<marker_file>static.trc</marker_file><time_range> 1 2.5</time_range>
<preserve_mass_distribution>true</preserve_mass_distribution></ModelScaler>
<MarkerPlacer><apply>true</apply><IKTaskSet><objects>
<IKMarkerTask name="a"><apply>true</apply><weight>20</weight></IKMarkerTask>
<IKMarkerTask name="b"><apply>false</apply><weight>10</weight></IKMarkerTask>
<IKCoordinateTask name="knee"><apply>true</apply><weight>0.1</weight><value_type>manual_value</value_type>
<value>0.25</value></IKCoordinateTask>
</objects></IKTaskSet><time_range>0.5 0.75</time_range></MarkerPlacer>
</ScaleTool></OpenSimDocument>
"""


def read(text: str, folder: Path):
    path = folder / "setup.xml"
    path.write_text(text)
    return read_setup(path)


def test_everything_is_read(tmp_path) -> None:
    setup = read(TEXT, tmp_path)
    assert (setup.mass, setup.height, setup.order) == (72.5, 1.8, ("measurements", "manualScale"))
    assert setup.scaling and setup.placing and setup.preserve_mass and setup.notes == ()
    assert setup.measurements == (Measurement("thigh", (("a", "b"), ("c", "d")), (("femur", (0, 2)),)),)
    assert [(m.body, m.factors.tolist()) for m in setup.manual] == [("tibia", [1.0, 1.1, 0.9])]
    assert setup.time_range == (1.0, 2.5) and setup.placing_time_range == (0.5, 0.75)
    assert setup.tasks.markers == {"a": 20.0, "b": 0.0}
    (task,) = setup.tasks.coordinates
    assert (task.name, task.weight, task.kind, task.value) == ("knee", 0.1, "manual_value", 0.25)


def test_a_bare_tool_and_its_defaults(tmp_path) -> None:
    """OpenSim's stand-ins for nothing, and steps that are off."""
    setup = read("<ScaleTool><mass>-1</mass><height>-1</height><ModelScaler/></ScaleTool>", tmp_path)
    assert setup.mass is None and setup.height is None and not setup.placing and not setup.preserve_mass
    assert setup.scaling and setup.time_range is None and "whole trial" in setup.notes[0]
    off = read(TEXT.replace("<apply>true</apply>", "<apply>false</apply>", 1), tmp_path)
    assert not off.scaling and off.placing
    never = read(TEXT.replace("<MarkerPlacer><apply>true", "<MarkerPlacer><apply>false"), tmp_path)
    assert not never.placing and never.tasks.markers == {}
    metres = read(TEXT.replace("<height>1800", "<height>1.8"), tmp_path)
    assert metres.height == 1.8


def test_published_set_ups(shared_data) -> None:
    """Figures as written in the files."""
    gait = read_setup(shared_data / "opensim_gait2354/subject01_Setup_Scale.xml")
    assert (gait.mass, gait.height, gait.time_range, gait.preserve_mass) == (
        72.6,
        pytest.approx(1.8034),
        (1.0, 2.0),
        True,
    )
    assert [m.name for m in gait.measurements] == ["torso", "pelvis", "thigh", "shank", "foot"]
    assert gait.measurements[2].pairs == (("R.ASIS", "R.Knee.Lat"), ("L.ASIS", "L.Knee.Lat"))
    assert {m.body: m.factors.tolist() for m in gait.manual}["tibia_l"] == [0.988523] * 3
    assert gait.tasks.markers["V.Sacral"] == 1000 and gait.tasks.markers["Top.Head"] == 1
    folder = shared_data / "opencap_setup"
    lab = read_setup(folder / "Setup_scaling_RajagopalModified2016_withArms_KA_Mocap.xml")
    assert lab.order == ("measurements",) and lab.manual == () and lab.placing_time_range == (3.41, 3.66)
    by_name = {m.name: m for m in lab.measurements}
    assert by_name["pelvisXY"].bodies == (("pelvis", (0, 1)),)
    assert ("R_wrist_radius", "L_elbow_med") in by_name["radius"].pairs  # the set-up's own slip
    steering = {t.name: t.value for t in lab.tasks.coordinates}
    assert steering["ankle_angle_r"] == 0.087266462599716474 and "hip_rotation_l" not in steering
    for name in ("mmpose", "mmpose_final"):
        assert read_setup(folder / f"Setup_scaling_RajagopalModified2016_withArms_KA_{name}.xml").measurements


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("ScaleTool", "InverseTool", "scale tool"),
        (" a b<", " a b c<", "two markers"),
        (" a b<", " a a<", "two markers"),
        (" Z X<", " W<", "X Y Z"),
        (" Z X<", " <", "X Y Z"),
        (" measurements manualScale", "guess", "scaling_order"),
        ("1 1.1 0.9", "1 1.1", "three scale factors"),
        ("1 1.1 0.9", "1 -1.1 1", "above 0"),
        ("1 1.1 0.9", "1 nan 1", "numbers"),
        ("> 1 2.5<", "> 2.5 1<", "start to end"),
        ("> 1 2.5<", "> 1<", "start to end"),
        ("> 72.5 <", "> heavy <", "mass"),
        ("> 72.5 <", "> 1 2 <", "one number"),
        ("<apply> false </apply>", "<apply>perhaps</apply>", "true or false"),
        ("manual_value<", "from_file<", "default_value or manual_value"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(tmp_path, old, new, words) -> None:
    assert old in TEXT
    with pytest.raises(CapbenchError, match=words) as caught:
        read(TEXT.replace(old, new), tmp_path)
    assert str(caught.value.file).endswith("setup.xml")


def test_a_set_up_that_pulls_in_files_is_refused(tmp_path) -> None:
    with pytest.raises(RefusedError, match="pulls in another"):
        read(TEXT.replace("<ScaleSet>", '<ScaleSet file="/etc/passwd">'), tmp_path)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_set_ups_end_in_words(tmp_path_factory, data) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    words = TEXT.split(" ")
    for _ in range(data.draw(st.integers(1, 4))):
        i = data.draw(st.integers(0, len(words) - 1))
        words[i] = data.draw(
            st.sampled_from(["", "nan", "1e999", "-1", "<a>", "</objects>", "true", "é", "X"])
        )
    start = data.draw(st.integers(0, 200))
    with contextlib.suppress(CapbenchError):
        read(" ".join(words)[: -start or None], folder)
