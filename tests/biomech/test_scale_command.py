"""``capbench scale`` on the command line."""

import json

import numpy as np
import pytest
from biomech.test_scale import TRUE, subject
from click.testing import CliRunner

from capbench.biomech.osim import read_model
from capbench.cli.fit import DEMO
from capbench.cli.main import cli
from cohorts.formats import trc

MODEL = DEMO / "walker.osim"


def run(*arguments: object):
    return CliRunner().invoke(cli, ["scale", *map(str, arguments)])


@pytest.fixture
def files(tmp_path):
    """A static trial of a known subject, and the set-up that finds its factors."""
    _, markers, setup, _ = subject()
    trc.write(tmp_path / "static.trc", markers)
    measurements = "".join(
        f'<Measurement name="{m.name}"><MarkerPairSet><objects>'
        + "".join(f"<MarkerPair><markers>{a} {b}</markers></MarkerPair>" for a, b in m.pairs)
        + "</objects></MarkerPairSet><BodyScaleSet><objects>"
        + "".join(f'<BodyScale name="{body}"><axes>X Y Z</axes></BodyScale>' for body, _ in m.bodies)
        + "</objects></BodyScaleSet></Measurement>"
        for m in setup.measurements
    )
    tasks = "".join(f'<IKMarkerTask name="{n}"><weight>1</weight></IKMarkerTask>' for n in markers.names)
    (tmp_path / "setup.xml").write_text(
        '<OpenSimDocument Version="40000"><ScaleTool name="s"><ModelScaler><scaling_order>measurements'
        f"</scaling_order><MeasurementSet><objects>{measurements}</objects></MeasurementSet>"
        "<time_range>0 0.2</time_range><preserve_mass_distribution>true</preserve_mass_distribution>"
        f"</ModelScaler><MarkerPlacer><IKTaskSet><objects>{tasks}</objects></IKTaskSet>"
        "<time_range>0 0.2</time_range></MarkerPlacer></ScaleTool></OpenSimDocument>"
    )
    return tmp_path


def given(files, *more: object) -> list[object]:
    return [files / "static.trc", "--model", MODEL, "--setup", files / "setup.xml", *more]


@pytest.mark.parametrize("engine", ["fast", "opensim"])
def test_the_written_model_has_the_told_factors(files, engine) -> None:
    ran = run(*given(files, "--mass", 60, "--engine", engine, "-o", files / "out.osim", "--json"))
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)
    assert told["mass_kg"] == pytest.approx(60) and told["output"].endswith("out.osim")
    factors = {f["measurement"]: f["factor"] for f in told["factors"]}
    assert factors["femur_r"] == pytest.approx(TRUE["femur_r"]) and factors["hips"] == pytest.approx(1.2)
    assert told["engine"].startswith("fast" if engine == "fast" else "OpenSim 4.6")
    if engine == "opensim":
        assert told["opensim_factors"] == pytest.approx(factors, rel=1e-12)
    written, generic = read_model(files / "out.osim"), read_model(MODEL)
    assert written.mass == pytest.approx(60)
    knee = written.joint_of("tibia_r").in_parent.translation
    assert knee == pytest.approx(1.1 * generic.joint_of("tibia_r").in_parent.translation)
    assert np.array(told["scales"]["femur_l"]) == pytest.approx([0.95] * 3)
    assert told["placement"]["weighted_rms_mm"] < 1e-3


def test_people_are_told_factors_and_notes(files) -> None:
    ran = run(*given(files, "-o", files / "out.osim"))
    assert ran.exit_code == 0, ran.output
    assert "femur_r      1.1000" in ran.stdout and "± pairs" in ran.stdout
    assert "muscles" in ran.stdout and "no mass is given" in ran.stdout and "sacrum" in ran.stdout
    assert "27 markers" in ran.stdout


def test_an_output_that_exists_is_kept(files) -> None:
    (files / "out.osim").write_text("mine")
    ran = run(*given(files, "-o", files / "out.osim"))
    assert ran.exit_code == 2 and "--force" in ran.stderr and (files / "out.osim").read_text() == "mine"
    assert run(*given(files, "-o", files / "out.osim", "--force")).exit_code == 0
    assert read_model(files / "out.osim").bodies


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--mass", "70000"], "mass from 1 to 500 kg"),
        (["--mass", "60", "--height", "0.5"], "Expected a person"),
        (["--height", "175"], "height from 0.3 to 2.8 m"),
        (["--still", "99"], "at least 99 s"),
        (["--units", "mm"], "scale factors from 0.3"),
    ],
)
def test_odd_subjects_are_refused_before_anything_is_written(files, more, words) -> None:
    ran = run(*given(files, *more, "-o", files / "out.osim"))
    assert ran.exit_code == 2 and words in " ".join(ran.stderr.split())
    assert not (files / "out.osim").exists()


def test_what_is_no_model_is_refused(files) -> None:
    ran = run(*given(files, "-o", files / "out.xml"))
    assert ran.exit_code == 2 and ".osim" in ran.stderr
    ran = run(DEMO / "walker.mot", "-m", MODEL, "--setup", files / "setup.xml", "-o", files / "o.osim")
    assert ran.exit_code == 2 and "Expected markers" in ran.stderr


def test_a_time_range_of_another_recording_is_refused_with_the_way_out(files) -> None:
    path = files / "setup.xml"
    path.write_text(path.read_text().replace("<time_range>0 0.2", "<time_range>7 8"))
    ran = run(*given(files, "-o", files / "out.osim"))
    assert ran.exit_code == 2 and "--still 0.1" in ran.stderr
    assert run(*given(files, "-o", files / "out.osim", "--still", "0.1")).exit_code == 0


def test_a_marker_set_takes_the_place_of_the_models(files) -> None:
    (files / "set.xml").write_text(
        '<OpenSimDocument Version="40000"><MarkerSet><objects><Marker name="r_thigh">'
        "<socket_parent_frame>/bodyset/tail</socket_parent_frame><location>0 0 0</location></Marker>"
        "</objects></MarkerSet></OpenSimDocument>"
    )
    ran = run(*given(files, "--markers", files / "set.xml", "-o", files / "out.osim"))
    assert ran.exit_code == 2 and "set.xml" in ran.stderr and "tail" in ran.stderr


def test_a_moving_trial_serves_where_there_is_no_static_one(files) -> None:
    """The bundled walk is of the bundled model: factors 1."""
    walk = [DEMO / "walker.trc", "--model", MODEL, "--setup", files / "setup.xml", "--from-motion"]
    ran = run(*walk, "--mass", 60, "-o", files / "out.osim", "--json")
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)
    assert told["mass_kg"] == pytest.approx(60) and told["motion"]["frames"] == 60
    for factor in told["factors"]:
        assert factor["factor"] == pytest.approx(1, abs=0.02) and 0 < factor["standard_error"] < 0.1
    assert read_model(files / "out.osim").mass == pytest.approx(60)
    ran = run(*walk, "-o", files / "out.osim", "--force")
    assert "root mean square over 60 frames" in ran.stdout and "femur_r" in ran.stdout
    ran = run(*walk, "--still", 0.1, "-o", files / "other.osim")
    assert ran.exit_code == 2 and "--from-motion by itself" in ran.stderr
