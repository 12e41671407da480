"""Where a training picture is taken from, and what of it the network gets: cameras and boxes by chance."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from capbench.models.crop import Crops, plan
from capbench.vision.boxes import centre, from_points, whole
from cohorts.camera import Camera
from cohorts.values import FloatArray
from synthpose import lens
from synthpose.data_recipe import DataRecipe
from synthpose.rig import PHONE_DISTORTION, facing

#: pictures that people take, width and height in pixels, and how often
PICTURES = ((720, 1280), (360, 640), (1280, 720), (640, 480))
COMMON = (0.5, 0.2, 0.2, 0.1)
FOCAL = (0.55, 1.3)  #: of the longer side, from a phone's wide lens to twice as long
TALL = (0.25, 0.85)  #: share of the picture's height that a person takes
DISTANCES = (1.4, 8.0)  #: metres
HEIGHTS = (0.3, 2.2)  #: metres of the camera above the floor
FRONT = 1.6  #: radians to either side of where the person faces that count as before them
ROLL = 0.045  #: radians, standard deviation
NEAR_EDGE = 0.15  #: share of people who are partly outside the picture
FEWEST = 8  #: points in the crop, or it is drawn again
TRIES = 8


@dataclass(frozen=True)
class Viewpoint:
    """A camera, and the crop that is cut from its picture.

    Attributes
    ----------
    camera : of the whole picture
    crops : one, of the person's box
    """

    camera: Camera
    crops: Crops

    def crop(self, finer: int = 1) -> Camera:
        """The camera of the crop, with ``finer`` x ``finer`` pixels for each of its own."""
        width, height = self.crops.size
        matrix = self.camera.matrix.copy()
        matrix[:2] *= self.crops.scale[0][:, None] * finer
        matrix[:2, 2] += self.crops.shift[0] * finer + (finer - 1) / 2
        made = replace(self.camera, matrix=matrix, size=(width * finer, height * finer))
        vars(made)["reach"] = self.camera.reach  # that of the lens, which is the same; costly to find
        return made

    def outside(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which columns and which rows of the crop lie outside the whole picture."""
        found = []
        for axis in (0, 1):
            at = (np.arange(self.crops.size[axis]) - self.crops.shift[0, axis]) / self.crops.scale[0, axis]
            found.append((at < -0.5) | (at > self.camera.size[axis] - 0.5))
        return found[0], found[1]

    def inside(self, points: FloatArray) -> NDArray[np.bool_]:
        """(K,) which points (K, 2), pixels of the crop, lie in it and in the whole picture."""
        low, high = -0.5, np.array(self.crops.size) - 0.5
        there = (points >= low).all(axis=1) & (points <= high).all(axis=1)
        at = self.crops.to_picture(points[None])[0]
        there &= (at >= -0.5).all(axis=1) & (at <= np.array(self.camera.size) - 0.5).all(axis=1)
        return np.asarray(there)


def straight(camera: Camera) -> Camera:
    """A camera without a lens' distortion that sees nearly the same (a tenth of a pixel in a crop).

    For what is behind people: undoing a lens at every pixel costs more than all the rest.
    """
    if not len(camera.distortion):
        return camera
    width, height = camera.size
    x, y = np.meshgrid(np.linspace(0, width - 1, 6), np.linspace(0, height - 1, 6))
    pixels = np.stack([x.ravel(), y.ravel()], axis=1)
    ideal = camera.undistort(pixels)
    known = np.isfinite(ideal).all(axis=1)
    if known.sum() < 9:
        return replace(camera, distortion=np.empty(0))
    design = np.column_stack([pixels[known], np.ones(known.sum())])
    along = np.linalg.lstsq(design, ideal[known, 0], rcond=None)[0]
    down = np.linalg.lstsq(design[:, 1:], ideal[known, 1], rcond=None)[0]
    bend = np.array([along, [0.0, *down], [0.0, 0.0, 1.0]])  # the crop's pixels -> a perfect lens' ...
    matrix = np.linalg.solve(bend, camera.matrix)  # ... and back
    matrix[1, 0] = matrix[2, 0] = matrix[2, 1] = 0.0
    matrix[2, 2] = 1.0
    return replace(camera, matrix=matrix, distortion=np.empty(0))


def draw_viewpoint(data: DataRecipe, marks: FloatArray, random: np.random.Generator) -> Viewpoint:
    """A camera anywhere round a person whose points are ``marks`` (K, 3; metres, the floor at 0)."""
    for _ in range(TRIES):
        camera = _draw_camera(data, marks, random)
        xy, _ = lens.project(camera, marks)
        if not np.isfinite(xy).all():
            continue
        crops = plan(_draw_box(data, camera, xy, random)[None], data.size, padding=data.padding,
                     geometry=data.geometry)  # fmt: skip
        made = Viewpoint(camera, crops)
        if crops.good[0] and made.inside(crops.to_crop(xy[None])[0]).sum() >= FEWEST:
            return made
    return _plain(data, marks)


def _plain(data: DataRecipe, marks: FloatArray) -> Viewpoint:
    """From the front, everything in sight."""
    middle = (marks.min(axis=0) + marks.max(axis=0)) / 2
    place = np.array([middle[0] + 4.0, 1.2, middle[2]])
    rotation = facing(place, middle)
    matrix = np.array([[900.0, 0.0, 359.5], [0.0, 900.0, 639.5], [0.0, 0.0, 1.0]])
    camera = Camera("camera", matrix, rotation, -rotation @ place, (720, 1280))
    box = from_points(camera.project(marks))
    return Viewpoint(camera, plan(box[None], data.size, padding=data.padding, geometry=data.geometry))


def _draw_camera(data: DataRecipe, marks: FloatArray, random: np.random.Generator) -> Camera:
    size = PICTURES[int(random.choice(len(PICTURES), p=COMMON))]
    low, high = marks.min(axis=0), marks.max(axis=0)
    middle, extent = (low + high) / 2, float((high - low).max()) + 0.15
    focal = max(size) * float(np.exp(random.uniform(*np.log(FOCAL))))
    distance = float(np.clip(focal * extent / (random.uniform(*TALL) * size[1]), *DISTANCES))
    usual = random.random() < 0.5
    height = float(np.clip(random.normal(1.1, 0.25) if usual else random.uniform(*HEIGHTS), *HEIGHTS))
    before = random.random() < data.front
    azimuth = random.uniform(-FRONT, FRONT) if before else random.uniform(-np.pi, np.pi)
    place = np.array([middle[0] + distance * np.cos(azimuth), height, middle[2] - distance * np.sin(azimuth)])
    reach = distance / focal * np.array(size) / 2  # metres from the picture's middle to its edges
    share = 1.0 if random.random() < NEAR_EDGE else 0.5 * random.random()
    off = random.uniform(-1, 1, 2) * share * reach
    right = np.array([np.sin(azimuth), 0.0, np.cos(azimuth)])
    aim = middle + right * off[0] + np.array([0.0, off[1], 0.0])
    roll = random.normal(0.0, ROLL)
    c, s = np.cos(roll), np.sin(roll)
    rotation = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]) @ facing(place, aim)
    focals = focal * np.exp(random.normal(0.0, 0.002, 2))
    point = (np.array(size) - 1) / 2 + random.normal(0.0, 0.01, 2) * size
    matrix = np.array([[focals[0], 0.0, point[0]], [0.0, focals[1], point[1]], [0.0, 0.0, 1.0]])
    bend = random.uniform(0.0, 1.3) * np.array(PHONE_DISTORTION) if random.random() < 0.7 else np.empty(0)
    return Camera("camera", matrix, rotation, -rotation @ place, size, bend)


def _draw_box(data: DataRecipe, camera: Camera, xy: FloatArray, random: np.random.Generator) -> FloatArray:
    """(4,) where a detector or tracker might see the person, pixels of the picture."""
    kind = random.random()
    if kind < data.whole:
        return whole(camera.size)
    seen = np.asarray(((xy >= -0.5) & (xy <= np.array(camera.size) - 0.5)).all(axis=1))
    known: NDArray[np.bool_] = (
        seen if random.random() < 0.5 and seen.sum() >= FEWEST else np.ones(len(xy), bool)
    )
    if random.random() < 0.3:  # COCO's points alone
        known[17:] &= known[:17].sum() < FEWEST
    box = from_points(xy, known.astype(float))
    side = np.maximum(box[2:] - box[:2], 1.0)
    if kind < data.whole + data.loose:
        off, grown = random.uniform(-0.35, 0.35, 2), np.exp(random.uniform(-0.4, 0.6)) * np.ones(2)
    else:
        off = random.normal(0.0, 0.04, 2)
        grown = np.exp(random.normal(0.0, 0.09) + random.normal(0.0, 0.04, 2))
    middle, half = centre(box) + off * side, side * grown / 2
    return np.concatenate([middle - half, middle + half])
