"""Make the bundled demonstration: a model of a walking person, a motion of it, and the markers that follow.

Run it as ``python scripts/make_demo.py [FOLDER]`` (default: ``capbench/demo``). It writes ``walker.osim``,
``walker.mot`` (the true joint angles) and ``walker.trc`` (where 27 markers are at those angles, without
noise), always the same bytes. Nothing is recorded from a person and nothing is copied from another model:
lengths and masses follow from the published proportions below; marker places and the curves of walking are
our own round figures. The results are in the public domain (CC0).

The markers are computed here in closed form with numpy, independently of OpenSim, so that a fit of the
markers can be held against the angles they were made from.

Sources of the proportions
--------------------------
- Segment lengths as fractions of stature: Drillis and Contini (1966), as given by Winter, Biomechanics and
  Motor Control of Human Movement.
- Segment masses, centres of mass and radii of gyration as fractions: Winter, the same book.
- Hip joint centres as fractions of the distance between the front pelvic spines: Bell, Brand and Pedersen,
  Human Movement Science 8 (1989).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STATURE = 1.75  # m
MASS = 70.0  # kg
SPINES = 0.24  # m between the front pelvic spines (own figure)

THIGH = 0.245 * STATURE
SHANK = 0.246 * STATURE
ANKLE_HEIGHT = 0.039 * STATURE
FOOT = 0.152 * STATURE
HIP_TO_SHOULDER = (0.818 - 0.530) * STATURE
SHOULDERS = 0.259 * STATURE

HIP = (-0.22 * SPINES, -0.30 * SPINES, (0.5 - 0.14) * SPINES)  # in the pelvis, right side
LUMBAR = (-0.08, 0.05, 0.0)  # where the trunk turns on the pelvis (own figure)
SHOULDER_UP = HIP_TO_SHOULDER + HIP[1] - LUMBAR[1]  # above the lumbar joint

RATE = 100  # Hz
SECONDS = 2.0
STRIDE = 1.1  # s
SPEED = 1.25  # m/s


@dataclass(frozen=True)
class Turn:
    """One rotation of a joint: the coordinate and the axis it turns about, in the parent's frame."""

    name: str
    axis: tuple[int, int, int]


@dataclass(frozen=True)
class Segment:
    """A body, the joint that carries it (three, or one, rotations in turn) and its markers.

    ``at`` is the joint centre in the parent (m); the body's own frame starts there. ``mass`` is in kg,
    ``centre`` (m) and ``gyration`` (m, about the long axis y and about the other two) place it.
    """

    name: str
    parent: str
    joint: str
    at: tuple[float, float, float]
    turns: tuple[Turn, ...]
    mass: float
    centre: tuple[float, float, float]
    gyration: tuple[float, float]
    markers: dict[str, tuple[float, float, float]] = field(default_factory=dict)


def segments() -> list[Segment]:
    """The bodies, parents first."""
    pelvis = Segment(
        "pelvis",
        "ground",
        "ground_pelvis",
        (0.0, 0.0, 0.0),
        (Turn("pelvis_tilt", (0, 0, 1)), Turn("pelvis_list", (1, 0, 0)), Turn("pelvis_rotation", (0, 1, 0))),
        0.142 * MASS,
        (-0.07, -0.01, 0.0),
        (0.10, 0.09),
        {
            "r_ASIS": (0.0, 0.0, SPINES / 2),
            "l_ASIS": (0.0, 0.0, -SPINES / 2),
            "r_PSIS": (-0.16, 0.02, 0.045),
            "l_PSIS": (-0.16, 0.02, -0.045),
        },
    )
    trunk = Segment(
        "torso",
        "pelvis",
        "back",
        LUMBAR,
        (
            Turn("lumbar_extension", (0, 0, 1)),
            Turn("lumbar_bending", (1, 0, 0)),
            Turn("lumbar_rotation", (0, 1, 0)),
        ),
        (0.678 - 0.142) * MASS,
        (0.02, 0.626 * SHOULDER_UP, 0.0),
        (0.12, 0.496 * SHOULDER_UP),
        {
            "C7": (-0.06, SHOULDER_UP + 0.06, 0.0),
            "T10": (-0.08, 0.5 * SHOULDER_UP, 0.0),
            "sternum": (0.13, SHOULDER_UP - 0.05, 0.0),
            "r_shoulder": (0.0, SHOULDER_UP, SHOULDERS / 2),
            "l_shoulder": (0.0, SHOULDER_UP, -SHOULDERS / 2),
        },
    )
    return [pelvis, trunk, *leg("r", 1), *leg("l", -1)]


def leg(side: str, sign: int) -> list[Segment]:
    """Thigh, shank and foot of one side; ``sign`` is 1 on the right, where z points outwards."""

    def place(x: float, y: float, z: float) -> tuple[float, float, float]:
        return x, y, sign * z

    thigh = Segment(
        f"femur_{side}",
        "pelvis",
        f"hip_{side}",
        place(*HIP),
        (
            Turn(f"hip_flexion_{side}", (0, 0, 1)),
            Turn(f"hip_adduction_{side}", (sign, 0, 0)),
            Turn(f"hip_rotation_{side}", (0, sign, 0)),
        ),
        0.100 * MASS,
        (0.0, -0.433 * THIGH, 0.0),
        (0.05, 0.323 * THIGH),
        {
            f"{side}_thigh": place(0.07, -0.5 * THIGH, 0.06),
            f"{side}_knee": place(0.0, -THIGH, 0.055),
            f"{side}_mknee": place(0.0, -THIGH, -0.055),
        },
    )
    shank = Segment(
        f"tibia_{side}",
        f"femur_{side}",
        f"knee_{side}",
        (0.0, -THIGH, 0.0),
        (Turn(f"knee_angle_{side}", (0, 0, -1)),),
        0.0465 * MASS,
        (0.0, -0.433 * SHANK, 0.0),
        (0.03, 0.302 * SHANK),
        {
            f"{side}_shank": place(0.05, -0.4 * SHANK, 0.04),
            f"{side}_ankle": place(-0.005, -SHANK, 0.042),
            f"{side}_mankle": place(0.005, -SHANK, -0.038),
        },
    )
    foot = Segment(
        f"foot_{side}",
        f"tibia_{side}",
        f"ankle_{side}",
        (0.0, -SHANK, 0.0),
        (Turn(f"ankle_angle_{side}", (0, 0, 1)),),
        0.0145 * MASS,
        (0.25 * FOOT, -0.5 * ANKLE_HEIGHT, 0.0),
        (0.03, 0.475 * FOOT),
        {
            f"{side}_calc": place(-0.25 * FOOT, -0.045, 0.0),
            f"{side}_toe": place(0.65 * FOOT, -0.055, -0.01),
            f"{side}_5meta": place(0.45 * FOOT, -0.055, 0.05),
        },
    )
    return [thigh, shank, foot]


#: one leg's angles in degrees: mean, then cosine and sine of each harmonic of the stride, which starts as
#: that foot lands. Positive: hip and knee flexion, ankle dorsiflexion, hip adduction and inward rotation.
LEG_CURVES: dict[str, tuple[float, tuple[tuple[float, float], ...]]] = {
    "hip_flexion": (12, ((20, -4), (-2, -1))),
    "hip_adduction": (0, ((1, 5), (0, 2))),
    "hip_rotation": (-2, ((3, 4), (1, 0))),
    "knee_angle": (23, ((-2, -21), (-14, 7), (-1, 4))),
    "ankle_angle": (0, ((-1, 5), (1, -8), (-2, 1))),
}
#: pelvis and trunk, as the right leg strides: degrees, and metres for the pelvis' ways
BODY_CURVES: dict[str, tuple[float, tuple[tuple[float, float], ...]]] = {
    "pelvis_tilt": (-9, ((0, 0), (1, 0.5))),
    "pelvis_list": (0, ((1, 4), (0, 0), (0, 0.5))),
    "pelvis_rotation": (0, ((5, -1),)),
    "pelvis_tx": (0, ((0, 0), (0.005, -0.01))),
    "pelvis_ty": (1, ((0, 0), (-0.02, 0.004))),
    "pelvis_tz": (0, ((0.005, 0.02),)),
    "lumbar_extension": (4, ((0, 0), (-1, 1))),
    "lumbar_bending": (0, ((-1, -5),)),
    "lumbar_rotation": (0, ((-9, 2),)),
}


def curve(mean: float, harmonics: tuple[tuple[float, float], ...], phase: Floats) -> Floats:
    """The sum of the harmonics at ``phase`` (radians of the stride)."""
    total = np.full_like(phase, mean)
    for order, (cosine, sine) in enumerate(harmonics, start=1):
        total += cosine * np.cos(order * phase) + sine * np.sin(order * phase)
    return total


def motion() -> tuple[Floats, dict[str, Floats]]:
    """Times (s), and every coordinate over them in degrees or metres, rounded to what the file holds."""
    time = np.round(np.arange(round(SECONDS * RATE) + 1) / RATE, 2)
    right = 2 * np.pi * time / STRIDE
    angles = {name: curve(mean, parts, right) for name, (mean, parts) in BODY_CURVES.items()}
    angles["pelvis_tx"] += SPEED * time
    for side, phase in (("r", right), ("l", right + np.pi)):
        for name, (mean, parts) in LEG_CURVES.items():
            angles[f"{name}_{side}"] = curve(mean, parts, phase)
    return time, {name: np.round(values, 7) for name, values in angles.items()}


def rotation(axis: tuple[int, int, int], degrees: Floats) -> Floats:
    """(T, 3, 3) rotations about a unit axis, by Rodrigues' formula."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]], float)
    angle = np.radians(degrees)[:, None, None]
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross))


def marker_places(angles: dict[str, Floats]) -> dict[str, Floats]:
    """(T, 3) metres of every marker in the ground frame."""
    count = len(angles["pelvis_tx"])
    turn = {"ground": np.broadcast_to(np.eye(3), (count, 3, 3))}
    origin = {"ground": np.stack([angles[f"pelvis_t{axis}"] for axis in "xyz"], axis=1)}
    places: dict[str, Floats] = {}
    for body in segments():
        origin[body.name] = origin[body.parent] + turn[body.parent] @ np.array(body.at)
        turn[body.name] = turn[body.parent]
        for step in body.turns:
            turn[body.name] = turn[body.name] @ rotation(step.axis, angles[step.name])
        for name, local in body.markers.items():
            places[name] = origin[body.name] + turn[body.name] @ np.array(local)
    return places


def number(value: float) -> str:
    """At most nine decimals, none needless, and no minus before zero."""
    text = f"{value:.9f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def numbers(*values: float) -> str:
    """Numbers with spaces between."""
    return " ".join(map(number, values))


def osim_text() -> str:
    """The model as an OpenSim 4.0 document."""
    bodies = segments()
    joints = "".join(_joint(body) for body in bodies)
    markers = "".join(
        f"""
        <Marker name="{name}">
          <socket_parent_frame>/bodyset/{body.name}</socket_parent_frame>
          <location>{numbers(*place)}</location>
          <fixed>true</fixed>
        </Marker>"""
        for body in bodies
        for name, place in body.markers.items()
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<OpenSimDocument Version="40000">
  <!-- Made by scripts/make_demo.py, which names the sources of its figures. Public domain (CC0). -->
  <Model name="walker">
    <credits>The capbench authors</credits>
    <length_units>meters</length_units>
    <force_units>N</force_units>
    <gravity>0 -9.80665 0</gravity>
    <BodySet name="bodyset">
      <objects>{"".join(_body(body) for body in bodies)}
      </objects>
    </BodySet>
    <JointSet name="jointset">
      <objects>{joints}
      </objects>
    </JointSet>
    <MarkerSet name="markerset">
      <objects>{markers}
      </objects>
    </MarkerSet>
  </Model>
</OpenSimDocument>
"""


def _body(body: Segment) -> str:
    along, across = (body.mass * radius**2 for radius in body.gyration)
    return f"""
        <Body name="{body.name}">
          <mass>{number(body.mass)}</mass>
          <mass_center>{numbers(*body.centre)}</mass_center>
          <inertia>{numbers(across, along, across)} 0 0 0</inertia>
        </Body>"""


def _joint(body: Segment) -> str:
    parent = "/ground" if body.parent == "ground" else f"/bodyset/{body.parent}"
    names = [turn.name for turn in body.turns]
    free = body.parent == "ground"
    ways = [f"pelvis_t{axis}" for axis in "xyz"] if free else []
    coordinates = "".join(_coordinate(name) for name in names + ways)
    return f"""
        <CustomJoint name="{body.joint}">
          <socket_parent_frame>{body.parent}_offset</socket_parent_frame>
          <socket_child_frame>{body.name}_offset</socket_child_frame>
          <frames>
            <PhysicalOffsetFrame name="{body.parent}_offset">
              <socket_parent>{parent}</socket_parent>
              <translation>{numbers(*body.at)}</translation>
              <orientation>0 0 0</orientation>
            </PhysicalOffsetFrame>
            <PhysicalOffsetFrame name="{body.name}_offset">
              <socket_parent>/bodyset/{body.name}</socket_parent>
              <translation>0 0 0</translation>
              <orientation>0 0 0</orientation>
            </PhysicalOffsetFrame>
          </frames>
          <coordinates>{coordinates}
          </coordinates>
          <SpatialTransform>{_axes(body.turns, ways)}
          </SpatialTransform>
        </CustomJoint>"""


def _coordinate(name: str) -> str:
    straight = name.endswith(("_tx", "_ty", "_tz"))
    default, bound = (BODY_CURVES[name][0], 100.0) if straight else (0.0, np.pi)
    return f"""
            <Coordinate name="{name}">
              <default_value>{number(default)}</default_value>
              <range>{numbers(-bound, bound)}</range>
              <clamped>false</clamped>
              <locked>false</locked>
            </Coordinate>"""


def _axes(turns: tuple[Turn, ...], ways: list[str]) -> str:
    """The six axes OpenSim asks for: unused rotations take the axes that are left, and stay at 0."""
    left = [axis for axis in ((0, 0, 1), (1, 0, 0), (0, 1, 0)) if not _used(axis, turns)]
    axes: list[tuple[str, str, tuple[int, int, int]]] = []
    for i in range(3):
        name, axis = (turns[i].name, turns[i].axis) if i < len(turns) else ("", left.pop(0))
        axes.append((f"rotation{i + 1}", name, axis))
    for i, axis in enumerate(((1, 0, 0), (0, 1, 0), (0, 0, 1))):
        axes.append((f"translation{i + 1}", ways[i] if ways else "", axis))
    return "".join(_axis(*axis) for axis in axes)


def _used(axis: tuple[int, int, int], turns: tuple[Turn, ...]) -> bool:
    return any(np.cross(axis, turn.axis).tolist() == [0, 0, 0] for turn in turns)


def _axis(kind: str, coordinate: str, axis: tuple[int, int, int]) -> str:
    function = (
        "<LinearFunction><coefficients>1 0</coefficients></LinearFunction>"
        if coordinate
        else "<Constant><value>0</value></Constant>"
    )
    return f"""
            <TransformAxis name="{kind}">
              <coordinates>{coordinate}</coordinates>
              <axis>{numbers(*axis)}</axis>
              {function}
            </TransformAxis>"""


def mot_text(time: Floats, angles: dict[str, Floats]) -> str:
    """The true motion as an OpenSim motion file in degrees and metres."""
    rows = [time, *angles.values()]
    lines = [
        "Coordinates",
        "version=1",
        f"nRows={len(time)}",
        f"nColumns={len(rows)}",
        "inDegrees=yes",
        "",
        "endheader",
        "\t".join(["time", *angles]),
    ]
    lines += ["\t".join(map(number, row)) for row in zip(*rows, strict=True)]
    return "\n".join(lines) + "\n"


def trc_text(time: Floats, places: dict[str, Floats]) -> str:
    """The markers as a TRC file in metres."""
    count = len(time)
    lines = [
        "PathFileType\t4\t(X/Y/Z)\twalker.trc",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"{RATE}\t{RATE}\t{count}\t{len(places)}\tm\t{RATE}\t1\t{count}",
        "Frame#\tTime\t" + "\t\t\t".join(places) + "\t\t",
        "\t\t" + "\t".join(f"X{i}\tY{i}\tZ{i}" for i in range(1, len(places) + 1)),
        "",
    ]
    xyz = np.concatenate(list(places.values()), axis=1)
    for i in range(count):
        lines.append("\t".join([str(i + 1), number(time[i]), *map(number, xyz[i])]))
    return "\n".join(lines) + "\n"


def make(folder: Path) -> None:
    """Write the three files into ``folder``."""
    time, angles = motion()
    for name, text in (
        ("walker.osim", osim_text()),
        ("walker.mot", mot_text(time, angles)),
        ("walker.trc", trc_text(time, marker_places(angles))),
    ):
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent / "capbench" / "demo")
