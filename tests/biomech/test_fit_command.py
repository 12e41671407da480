"""``capbench fit`` on the command line."""

import json
import re

import numpy as np
import pytest
from click.testing import CliRunner

from capbench.cli.fit import DEMO, command
from capbench.cli.main import cli
from cohorts import Markers, formats
from cohorts.formats import storage, trc

GIVEN = [str(DEMO / "walker.trc"), "--model", str(DEMO / "walker.osim")]


def run(*arguments: object):
    return CliRunner().invoke(cli, ["fit", *map(str, arguments)])


@pytest.fixture
def short(tmp_path):
    """The first five frames of the bundled markers."""
    path = tmp_path / "short.trc"
    trc.write(path, trc.read(DEMO / "walker.trc")[:5])
    return path


def test_demo_tells_how_near_it_came(tmp_path) -> None:
    ran = run("--demo", "-o", tmp_path / "new" / "demo", "--json")
    assert ran.exit_code == 0 and ran.stderr == ""
    told = json.loads(ran.stdout)
    assert told["frames"] == told["fitted_frames"] == 201
    assert told["markers"] == 27 and told["coordinates"] == 19
    assert told["difference"]["rotation_deg"] < 0.01 and told["difference"]["translation_mm"] < 0.01
    assert told["frames_per_second"] == pytest.approx(201 / told["seconds"])
    # the file holds what was told
    found, truth = storage.read(tmp_path / "new/demo/walker_fit.mot"), storage.read(DEMO / "walker.mot")
    name = told["difference"]["rotation_name"]
    gap = np.degrees(np.abs(found.column(name) - truth.column(name))).max()
    assert gap == pytest.approx(told["difference"]["rotation_deg"])


def test_demo_without_a_folder_writes_nothing(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run("--demo", "--engine", "opensim", "--accuracy", "1e-5")
    assert ran.exit_code == 0
    assert "201 frames, 27 markers, 19 coordinates" in ran.stdout
    assert "largest difference" in ran.stdout and "frames/s" in ran.stdout
    assert "Fitting 201 frames with OpenSim" in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_fit_writes_the_motion(short, tmp_path) -> None:
    truth = storage.read(DEMO / "walker.mot")[:5]
    for name in ("out.mot", "out.csv"):
        ran = run(short, "-m", DEMO / "walker.osim", "-o", tmp_path / name, "-q")
        assert ran.exit_code == 0, ran.stderr
        assert ran.stderr == "" and f"{name}" in ran.stdout
        _, motion = formats.read(tmp_path / name)
        assert np.abs(motion.select(truth.names).values - truth.values).max() < 1e-4


def test_an_existing_output_is_kept_unless_forced(short, tmp_path) -> None:
    out = tmp_path / "out.mot"
    out.write_text("mine")
    ran = run(short, "-m", DEMO / "walker.osim", "-o", out)
    assert ran.exit_code == 2 and "--force" in ran.stderr and out.read_text() == "mine"
    assert "Fitting" not in ran.stderr  # refused before the work
    assert run(short, "-m", DEMO / "walker.osim", "-o", out, "--force").exit_code == 0
    assert out.read_text().startswith("Coordinates")


def test_units_override_the_header(short, tmp_path) -> None:
    wrong = tmp_path / "wrong.trc"
    wrong.write_text(short.read_text().replace("\tm\t", "\tmm\t"))
    ran = run(wrong, "-m", DEMO / "walker.osim", "-o", tmp_path / "o.mot")
    assert ran.exit_code == 2 and "units" in ran.stderr
    assert run(wrong, "-m", DEMO / "walker.osim", "-o", tmp_path / "o.mot", "--units", "m").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Expected MARKERS, --model and --output"),
        (GIVEN, "Expected MARKERS, --model and --output"),
        (["--demo", *GIVEN], "--demo brings its own"),
        ([*GIVEN, "-o", "nowhere/out.mot"], "existing folder"),
        ([*GIVEN, "-o", "out.trc"], "Expected an output that can hold motion"),
        (
            [*GIVEN, "-o", "out.mot", "--engine", "opensim", "--accuracy", "7"],
            "accuracy between 0 and 0.1, got 7",
        ),
        ([*GIVEN, "-o", "out.mot", "--accuracy", "1e-7"], "--engine opensim"),
        ([*GIVEN, "-o", "a.mot", "--engine", "opensim", "--certificate", "c.csv"], "OpenSim gives none"),
        ([str(DEMO / "walker.mot"), *GIVEN[1:], "-o", "out.mot"], "Expected markers .3D points."),
        (["no.trc", *GIVEN[1:], "-o", "out.mot"], "no.trc"),
        ([*GIVEN, "--tasks", str(DEMO / "walker.osim"), "-o", "out.mot"], "IKTaskSet"),
    ],
)
def test_what_is_asked_wrongly(tmp_path, monkeypatch, arguments, words) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run(*arguments)
    assert ran.exit_code == 2
    assert re.search(words, ran.stderr), ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_command_is_the_one_the_table_names() -> None:
    assert cli.get_command(None, "fit") is command  # type: ignore[arg-type]


def test_a_mirrored_recording_is_refused_unless_told_otherwise(shared_data, tmp_path) -> None:
    """Real markers with one axis turned over look like a person, and fit like none."""
    folder = shared_data / "labvalidation_subject4"
    walk = trc.read(folder / "markers/walking1.trc")[:20]
    trc.write(tmp_path / "mirrored.trc", Markers(walk.time, walk.names, walk.xyz * [1, 1, -1]))
    asked = ["", "-m", str(folder / "model/manually_scaled.osim"), "-o", ""]
    asked[0], asked[-1] = str(tmp_path / "mirrored.trc"), str(tmp_path / "out.mot")
    refused = run(*asked)
    assert refused.exit_code == 2
    assert "an axis is mirrored" in refused.stderr and "change the sign of one axis" in refused.stderr
    assert not (tmp_path / "out.mot").exists()
    told = run(*asked, "--anyway")
    assert told.exit_code == 0
    assert "an axis is mirrored" in " ".join(told.stdout.split())


def test_the_certificate_is_written(short, tmp_path) -> None:
    asked = (short, "-m", DEMO / "walker.osim", "-o", tmp_path / "o.mot", "--certificate", tmp_path / "c.csv")
    assert run(*asked).exit_code == 0
    _, proof = formats.read(tmp_path / "c.csv")
    assert len(proof) == 5
    assert proof.column("gradient").max() <= 1e-10
    assert (proof.column("converged") == 1).all()
    assert (proof.column("markers") == 27).all()
    assert np.isfinite(proof.column("sigma_knee_angle_r")).all()


def test_the_published_engine_is_opensim_at_its_customary_accuracy(short, tmp_path) -> None:
    asked = (short, "-m", DEMO / "walker.osim", "--json")
    told = json.loads(run(*asked, "-o", tmp_path / "a.mot", "--engine", "published").stdout)
    assert told["engine"] == "OpenSim 4.6, accuracy 1e-05"
    run(*asked, "-o", tmp_path / "b.mot", "--engine", "opensim", "--accuracy", "1e-5")
    assert storage.read(tmp_path / "a.mot") == storage.read(tmp_path / "b.mot")
