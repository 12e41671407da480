"""Body-model parameters under AMASS's keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from keypoint_samples import smpl
from strategies import times

from cohorts.errors import CapbenchError
from cohorts.formats import smpl_npz
from cohorts.recording import BodyParameters


def put(path: Path, arrays: dict[str, Any]) -> Path:
    np.savez(path, **arrays)
    return path


def test_an_amass_smplh_file(tmp_path: Path) -> None:
    arrays = smpl()
    notes: list[str] = []
    body = smpl_npz.read(put(tmp_path / "a.npz", arrays), notes=notes)
    assert (body.family, body.gender) == ("smplh", "female")
    assert body.poses.shape == (3, 52, 3)
    assert body.poses[2, 51].tolist() == arrays["poses"][2, -3:].tolist()  # the last joint's axis-angle
    assert body.poses[0, 1].tolist() == arrays["poses"][0, 3:6].tolist()
    assert body.trans.tolist() == arrays["trans"].tolist()
    assert body.betas.tolist() == list(range(16))
    assert np.allclose(body.time, [0, 1 / 120, 2 / 120], rtol=0, atol=1e-15)
    assert notes == []


def test_an_amass_smplx_file_with_its_pickled_objects(tmp_path: Path) -> None:
    arrays = smpl(
        165,
        mocap_framerate=None,
        mocap_frame_rate=np.array(60),
        surface_model_type=np.array("smplx"),
        markers_latent_vids=np.array({"C7": 3}, dtype=object),
    )
    notes: list[str] = []
    body = smpl_npz.read(put(tmp_path / "a.npz", arrays), notes=notes)
    assert (body.family, body.poses.shape) == ("smplx", (3, 55, 3))
    assert body.time.tolist() == [0, 1 / 60, 2 / 60]
    assert notes == ["not read (pickled objects): markers_latent_vids"]


@pytest.mark.parametrize(("width", "family"), [(72, "smpl"), (156, "smplh"), (165, "smplx"), (48, "mano")])
def test_the_width_tells_the_family(tmp_path: Path, width: int, family: str) -> None:
    assert smpl_npz.read(put(tmp_path / "a.npz", smpl(width))).family == family


@pytest.mark.parametrize(
    ("gender", "read"),
    [
        (np.array("male"), "male"),
        (np.array(b"male"), "male"),
        (np.array(["Female"]), "female"),
        (np.array([b"neutral"]), "neutral"),
        (np.array("b'female'"), "female"),
    ],
)
def test_gender_in_all_its_spellings(tmp_path: Path, gender: Any, read: str) -> None:
    assert smpl_npz.read(put(tmp_path / "a.npz", smpl(gender=gender))).gender == read


def test_a_missing_gender_is_neutral_with_a_note(tmp_path: Path) -> None:
    notes: list[str] = []
    assert smpl_npz.read(put(tmp_path / "a.npz", smpl(gender=None)), notes=notes).gender == "neutral"
    assert notes == ["no gender in the file: taken as neutral"]


def test_the_frame_rate_may_be_missing_given_or_overruled(tmp_path: Path) -> None:
    notes: list[str] = []
    without = put(tmp_path / "a.npz", smpl(mocap_framerate=None))
    assert smpl_npz.read(without, notes=notes).time.tolist() == [0, 1, 2]
    assert notes == ["no frame rate in the file: time counts frames; give --rate"]
    notes.clear()
    assert smpl_npz.read(without, notes=notes, rate=50).time.tolist() == [0, 0.02, 0.04]
    assert notes == []
    given = put(tmp_path / "b.npz", smpl())
    assert smpl_npz.read(given, notes=notes, rate=50).time.tolist() == [0, 0.02, 0.04]
    assert notes == ["the file says 120 frames per second; 50 used as asked"]


def test_betas_of_one_row_or_the_same_in_every_frame(tmp_path: Path) -> None:
    for betas in (np.ones((1, 10)), np.ones((3, 10))):
        assert smpl_npz.read(put(tmp_path / "a.npz", smpl(betas=betas))).betas.tolist() == [1.0] * 10


def test_millimetres_are_found_out_and_can_be_given(tmp_path: Path) -> None:
    path = put(tmp_path / "a.npz", smpl(trans=smpl()["trans"] * 1000))
    with pytest.raises(CapbenchError, match=r"900 m.*--units mm"):
        smpl_npz.read(path)
    assert np.allclose(smpl_npz.read(path, units="mm").trans, smpl()["trans"], atol=1e-12)


def test_degrees_are_noted(tmp_path: Path) -> None:
    notes: list[str] = []
    smpl_npz.read(put(tmp_path / "a.npz", smpl(poses=np.full((3, 72), 90.0))), notes=notes)
    assert any("degrees" in note for note in notes)


BAD: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"poses": None}, {}, "'poses'"),
    ({"trans": None}, {}, "'trans'"),
    ({"betas": None}, {}, "'betas'"),
    ({"poses": np.zeros((3, 133))}, {}, r"72 \(smpl\)"),
    ({"poses": np.zeros((3, 0))}, {}, "shape"),
    ({"poses": np.zeros(156)}, {}, "shape"),
    ({"poses": np.zeros((3, 52, 3))}, {}, "shape"),
    ({"poses": np.full((3, 156), "x")}, {}, "numbers"),
    ({"poses": np.full((3, 156), True)}, {}, "numbers"),
    ({"poses": np.full((3, 156), np.nan)}, {}, "finite poses"),
    ({"poses": np.full((3, 156), np.inf)}, {}, "finite poses"),
    ({"trans": np.zeros((2, 3))}, {}, "trans"),
    ({"trans": np.full((3, 3), np.nan)}, {}, "finite trans"),
    ({"trans": np.full((3, 3), np.inf)}, {}, "finite trans"),
    ({"betas": np.arange(30.0).reshape(3, 10)}, {}, "change over time"),
    ({"betas": np.zeros((0, 10))}, {}, "change over time"),
    ({"betas": np.array(1.0)}, {}, "betas"),
    ({"betas": np.full(10, np.nan)}, {}, "finite betas"),
    ({"gender": np.array("robot")}, {}, "gender"),
    ({"gender": np.array(1)}, {}, "one word"),
    ({"gender": np.array(["male", "female"])}, {}, "one word"),
    ({"mocap_framerate": np.array(0.0)}, {}, "frame rate"),
    ({"mocap_framerate": np.array(-60)}, {}, "frame rate"),
    ({"mocap_framerate": np.array(np.nan)}, {}, "frame rate"),
    ({"mocap_framerate": np.array([60, 60])}, {}, "frame rate"),
    ({"mocap_framerate": np.array("60")}, {}, "numbers"),
    ({"mocap_frame_rate": np.array(60)}, {}, "one frame rate, got 120 and 60"),
    ({"surface_model_type": np.array("smplx")}, {}, "smplx, as the file says, got those of smplh"),
    ({"time": np.array([0.0, 0.0, 1.0])}, {}, "time to increase"),
    ({"time": np.array([0.0, 1.0])}, {}, "poses"),
    ({}, {"rate": 0}, "frame rate"),
    ({}, {"rate": "60"}, "frame rate"),
    ({}, {"units": "inch"}, "unit"),
]


@pytest.mark.parametrize(("changes", "options", "match"), BAD, ids=range(len(BAD)))
def test_bad_content_is_refused(
    tmp_path: Path, changes: dict[str, Any], options: dict[str, Any], match: str
) -> None:
    path = put(tmp_path / "a.npz", smpl(**changes))
    with pytest.raises(CapbenchError, match=match) as caught:
        smpl_npz.read(path, **options)
    assert caught.value.file == str(path)


# --- writing ------------------------------------------------------------------------------------


@st.composite
def bodies(draw: st.DrawFn) -> BodyParameters:
    family, joints = draw(st.sampled_from(sorted(BodyParameters.JOINTS.items())))
    time = draw(times())
    ordinary = st.floats(-3, 3)
    random = np.random.default_rng(draw(st.integers(0, 99)))
    return BodyParameters(
        family=family,  # type: ignore[arg-type]
        time=time,
        poses=random.normal(0, 1, (len(time), joints, 3)),
        trans=draw(hnp.arrays(np.float64, (len(time), 3), elements=ordinary)),
        betas=draw(hnp.arrays(np.float64, st.integers(0, 16), elements=ordinary)),
        gender=draw(st.sampled_from(["neutral", "female", "male"])),
    )


@settings(max_examples=50, deadline=None)
@given(body=bodies())
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, body: BodyParameters) -> None:
    path = tmp_path_factory.mktemp("b") / "a.npz"
    smpl_npz.write(path, body)
    notes: list[str] = []
    assert smpl_npz.read(path, notes=notes) == body
    assert notes == []


@pytest.mark.parametrize(("family", "rate"), [("smplh", "mocap_framerate"), ("smplx", "mocap_frame_rate")])
def test_others_find_amass_keys(tmp_path: Path, family: Any, rate: str) -> None:
    joints = BodyParameters.JOINTS[family]
    body = BodyParameters(
        family, [0.0, 0.01], np.ones((2, joints, 3)), np.zeros((2, 3)), np.zeros(10), "male"
    )
    smpl_npz.write(tmp_path / "a.npz", body)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert arrays["poses"].shape == (2, 3 * joints)
        assert float(arrays[rate]) == pytest.approx(100)
        assert str(arrays["gender"]) == "male"
        assert arrays["trans"].shape == (2, 3) and arrays["betas"].shape == (10,)


def test_overwriting_is_refused(tmp_path: Path) -> None:
    body = smpl_npz.read(put(tmp_path / "a.npz", smpl()))
    with pytest.raises(CapbenchError, match="exists"):
        smpl_npz.write(tmp_path / "a.npz", body)
    smpl_npz.write(tmp_path / "a.npz", body, overwrite=True)
    assert smpl_npz.read(tmp_path / "a.npz") == body
