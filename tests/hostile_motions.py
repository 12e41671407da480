"""Files of joint angles and of body parameters with one thing wrong; ``CASES`` has those of all kinds."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from hostile_predictions import CASES, Arrays, case, file_of
from spoiling import OTHER, rewrite, substitute

from cohorts.recording import Motion

__all__ = ["CASES"]

# --- joint angles --------------------------------------------------------------------------------


def angles(folder: Path, change: Callable[[Motion], Motion]) -> None:
    """Change the motion of the first walk."""
    rewrite(file_of(folder, "motion"), change)


@case("motion", "degrees|radian|turn")
def motion_in_degrees_said_to_be_radians(folder: Path) -> None:
    substitute(file_of(folder, "motion"), "inDegrees=yes", "inDegrees=no")


@case("motion", "inDegrees|degrees")
def motion_that_does_not_say_its_unit(folder: Path) -> None:
    substitute(file_of(folder, "motion"), "inDegrees=yes\n", "")


@case("motion")
def motion_without_knees(folder: Path) -> None:
    angles(folder, lambda m: m.select([n for n in m.names if not n.startswith("knee")]))


@case("motion", "coordinate|column|none")
def motion_without_coordinates(folder: Path) -> None:
    angles(folder, lambda m: m.select(()))


@case("motion", "coordinate|name|none|known")
def motion_with_other_names(folder: Path) -> None:
    angles(
        folder,
        lambda m: replace(m, names=tuple(f"q{i}" for i in range(len(m.names))), kinds=None, coupled=()),
    )


@case("motion")
def motion_all_missing(folder: Path) -> None:
    angles(folder, lambda m: replace(m, values=np.full_like(m.values, np.nan)))


@case("motion")
def motion_that_is_constant(folder: Path) -> None:
    angles(folder, lambda m: replace(m, values=np.tile(m.values.mean(axis=0), (len(m), 1))))


@case("motion")
def motion_with_columns_in_another_order(folder: Path) -> None:
    angles(folder, lambda m: m.select(m.names[::-1]))


@case("motion")
def motion_with_columns_called_by_their_neighbours(folder: Path) -> None:
    angles(folder, lambda m: replace(m, names=m.names[1:] + m.names[:1], kinds=None, coupled=()))


@case("motion")
def motion_with_left_and_right_exchanged(folder: Path) -> None:
    def other(name: str) -> str:
        return name[:-2] + {"_l": "_r", "_r": "_l"}.get(name[-2:], name[-2:])

    angles(folder, lambda m: replace(m, names=tuple(map(other, m.names)), coupled=()))


@case("motion")
def motion_every_other_frame(folder: Path) -> None:
    angles(folder, lambda m: m[::2])


@case("motion", "answer|time|overlap|during")
def motion_of_another_time(folder: Path) -> None:
    angles(folder, lambda m: replace(m, time=m.time + 1000))


@case("motion")
def motion_a_little_late(folder: Path) -> None:
    angles(folder, lambda m: replace(m, time=m.time + 0.15))


@case("motion", "answer|time|overlap|during|one")
def motion_of_one_frame(folder: Path) -> None:
    angles(folder, lambda m: m[:1])


@case("motion", "row|empty|none|frame")
def motion_of_no_frames(folder: Path) -> None:
    angles(folder, lambda m: m[:0])


@case("motion", "twice|unique|again|once|column")
def motion_with_a_column_twice(folder: Path) -> None:
    substitute(file_of(folder, "motion"), "knee_angle_l", "knee_angle_r")


@case("motion", "increas|time|order")
def motion_that_runs_backwards(folder: Path) -> None:
    path = file_of(folder, "motion")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-3], *lines[-3:][::-1]]) + "\n")


@case("motion", "number|value|finite")
def motion_with_words_among_numbers(folder: Path) -> None:
    path = file_of(folder, "motion")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-1], lines[-1].replace(lines[-1].split()[2], "bent", 1)]) + "\n")


@case("motion", "finite|infinity")
def motion_at_infinity(folder: Path) -> None:
    path = file_of(folder, "motion")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-1], lines[-1].replace(lines[-1].split()[2], "inf", 1)]) + "\n")


@case("motion", "degrees|turn|absurd|large|within")
def motion_of_a_billion_turns(folder: Path) -> None:
    angles(folder, lambda m: replace(m, values=m.values + 1e9))


# --- parameters of a body model ------------------------------------------------------------------


def body(folder: Path, change: Callable[[Arrays], None]) -> None:
    """Change the bare arrays of the first walk's body parameters."""
    path = file_of(folder, "body")
    with np.load(path) as loaded:
        content = dict(loaded)
    change(content)
    np.savez(path, **content)


@case("body", "poses of shape|width|156")
def body_of_no_known_width(folder: Path) -> None:
    body(folder, lambda a: a.update(poses=a["poses"][:, :70]))


@case("body", "hand|mano|whole body")
def body_that_is_a_hand(folder: Path) -> None:
    body(folder, lambda a: a.update(poses=a["poses"][:, :48]))


@case("body", "finite|NaN")
def body_with_nan(folder: Path) -> None:
    body(folder, lambda a: a.update(poses=np.full_like(a["poses"], np.nan)))


@case("body", "millimet|mm|m of the origin")
def body_in_millimetres(folder: Path) -> None:
    body(folder, lambda a: a.update(trans=a["trans"] * 1000))


@case("body", "smplx|as the file says")
def body_that_says_it_is_another(folder: Path) -> None:
    body(folder, lambda a: a.update(surface_model_type=np.array("smplx")))


@case("body", "degrees")
def body_in_degrees(folder: Path) -> None:
    body(folder, lambda a: a.update(poses=a["poses"] + 90))


@case("body", "AMASS|trans")
def body_without_a_place(folder: Path) -> None:
    body(folder, lambda a: a.pop("trans") is None)


@case("body", "nothing|got none|none")
def body_of_one_trial_only(folder: Path) -> None:
    file_of(folder, "body", OTHER).unlink()
