"""Presets of marker weights, and models by name."""

import numpy as np
import pytest

from capbench.biomech.fit import fit
from capbench.biomech.kinematics import marker_tracks
from capbench.biomech.model_file import model_file
from capbench.biomech.opensim_setup import read_tasks
from capbench.biomech.osim import read_model
from capbench.biomech.presets import preset, presets
from cohorts import CapbenchError, Motion, skeleton


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("opencap-synthpose", "Setup_IK_mmpose_final_adjusted.xml"),
        ("opencap-openpose", "Setup_IK_openpose.xml"),
        ("opencap-mocap", "Setup_IK_Mocap.xml"),
    ],
)
def test_presets_are_the_published_set_ups(shared_data, name, file) -> None:
    assert preset(name).markers == read_tasks(shared_data / "opencap_setup" / file).markers


def test_each_preset_says_what_it_is_and_the_nearest_name_is_told() -> None:
    for card in presets().values():
        assert card["title"] and card["source"]
    with pytest.raises(CapbenchError, match="Did you mean 'opencap-mocap'"):
        preset("opencap-mocp")
    assert set(preset("opencap-synthpose").markers) <= set(skeleton("synthpose-52").points)


def test_our_own_model_by_name_with_a_preset() -> None:
    with model_file("capbench:fullbody") as path:
        model = read_model(path)
        names = model.coordinate_names
        values = np.zeros((5, len(names)))
        values[:, names.index("pelvis_ty")] = 0.95
        values[:, names.index("knee_angle_r")] = np.linspace(0.2, 0.6, 5)
        kinds = tuple(c.kind for c in model.coordinates)
        motion = Motion(np.arange(5) / 50, names, values, kinds)
        found = fit(marker_tracks(model, motion), path, tasks="opencap-synthpose", passes=1)
    assert not path.exists()
    knee = found.motion.column("knee_angle_r")
    np.testing.assert_allclose(knee, values[:, names.index("knee_angle_r")], atol=1e-6)
    assert any("have no task" in note for note in found.notes)  # the COCO points carry no weight there
    with model_file(path) as same:
        assert same == path
