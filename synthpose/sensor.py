"""What a phone does to light: when and how long it looks, lens, noise, exposure, white balance, compression.

All of it is a nuisance whose size is recorded (the fields of ``Sensor``), every random choice follows from a
seed, and every function gives the same result for the same arguments, whatever ran before.
Motion blur is the mean of a few pictures taken while the shutter is open; a rolling shutter moves each vertex
to where it is when its row is read.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numba as nb
import numpy as np
from numpy.typing import NDArray

from cohorts.camera import Camera
from cohorts.errors import CapbenchError, EnvironmentFault
from cohorts.values import FloatArray
from synthpose import lens
from synthpose.render import Float32Array
from synthpose.shade import GUESS, STEPS, byte

BYTES_SD = 209.0215  #: standard deviation of the sum of 8 random bytes: sqrt(8 (256² - 1) / 12)


@dataclass(frozen=True)
class Sensor:
    """One phone's sensor and settings.

    Attributes
    ----------
    exposure : stops: 1 is twice the light
    balance : gains of red, green and blue
    soft : pixels, standard deviation of the lens' point spread
    shutter : seconds that it looks at each frame
    readout : seconds from reading the first row to reading the last (rolling shutter)
    read_noise : standard deviation in the dark, of full scale (linear light)
    electrons : how many a pixel holds at full scale; the light's own noise is sqrt(electrons caught), none
        if infinite
    quality : of JPEG, 1 to 100; 0: not compressed
    """

    exposure: float = 0.0
    balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    soft: float = 0.5
    shutter: float = 1 / 240
    readout: float = 0.0
    read_noise: float = 0.003
    electrons: float = 4000.0
    quality: int = 0

    def __post_init__(self) -> None:
        good = {
            "exposure": abs(self.exposure) <= 10,
            "balance": len(self.balance) == 3 and all(0 < g < 100 for g in self.balance),
            "soft": 0 <= self.soft <= 20,
            "shutter": 0 <= self.shutter <= 1,
            "readout": 0 <= self.readout <= 1,
            "read_noise": 0 <= self.read_noise <= 1,
            "electrons": self.electrons > 0,
            "quality": self.quality in range(101),
        }
        for name, fits in good.items():
            if not fits:
                raise CapbenchError(f"Expected a {name} that a sensor can have, got {getattr(self, name)!r}.")

    @property
    def gains(self) -> FloatArray:
        """(3,) what red, green and blue light is multiplied by."""
        return np.asarray(np.array(self.balance, float) * 2.0**self.exposure)


def draw_sensor(seed: int, camera: str) -> Sensor:
    """A phone as it might stand in a gym: each camera's own, the same for all frames of a trial."""
    random = _random(seed, "sensor", camera)
    return Sensor(
        exposure=float(np.clip(random.normal(0.0, 0.3), -0.8, 0.8)),
        balance=tuple(np.exp(np.clip(random.normal(0.0, 0.05, 3), -0.12, 0.12)).tolist()),
        soft=float(random.uniform(0.4, 0.8)),
        shutter=float(np.exp(random.uniform(np.log(1 / 1000), np.log(1 / 120)))),
        readout=float(random.uniform(0.004, 0.012)),
        read_noise=float(np.exp(random.uniform(np.log(0.001), np.log(0.008)))),
        electrons=float(np.exp(random.uniform(np.log(1000), np.log(8000)))),
        quality=int(random.integers(70, 96)),
    )


def _random(seed: int, *words: str) -> np.random.Generator:
    return np.random.default_rng(_sequence(seed, *words))


def _sequence(seed: int, *words: str) -> np.random.SeedSequence:
    return np.random.SeedSequence([seed, *(zlib.crc32(word.encode()) for word in words)])


# --- time ---------------------------------------------------------------------------------------


def offsets(cameras: Sequence[str], *, seed: int, most: float = 0.1) -> dict[str, float]:
    """Seconds by which each camera's clock is late, constant through a trial; two differ by ``most`` at most.

    Phones are not synchronised by wire: the clips of LabValidation are up to six frames (0.1 s) apart.
    """
    return {name: float(_random(seed, "offset", name).uniform(-most / 2, most / 2)) for name in cameras}


def frame_times(start: float, stop: float, rate: float, *, offset: float = 0.0) -> FloatArray:
    """Seconds at which a camera's frames 0, 1, … are taken: ``start + offset + k / rate``.

    As many as fit between start and stop for a camera without offset, so cameras of one trial have equally
    many; with an offset the first or last ones lie outside the trial by that much.
    """
    if not (rate > 0 and stop >= start):
        raise CapbenchError(f"Expected a positive rate and start <= stop, got {rate:g}, {start:g}, {stop:g}.")
    count = int(np.floor((stop - start) * rate + 1e-9)) + 1
    return start + offset + np.arange(count) / rate


def kept(frames: int, *, share: float, seed: int, camera: str) -> NDArray[np.bool_]:
    """(frames,) which frames a camera did not drop; it drops ``share`` of them, never the first or last."""
    if not 0 <= share < 1:
        raise CapbenchError(f"Expected a share of dropped frames from 0 to below 1, got {share:g}.")
    keep = np.ones(frames, bool)
    count = min(round(share * frames), max(frames - 2, 0))
    if count:
        keep[1 + _random(seed, "drop", camera).choice(frames - 2, count, replace=False)] = False
    return keep


def openings(time: float, shutter: float, count: int) -> FloatArray:
    """(count,) seconds: evenly spread moments while the shutter is open, ``time`` their middle."""
    return time + shutter * ((np.arange(count) + 0.5) / count - 0.5)


def exposed(pictures: Iterable[Float32Array]) -> Float32Array:
    """(h, w, 3) linear light of a long exposure: the mean of pictures taken while the shutter was open."""
    total, count = None, 0
    for picture in pictures:
        total = picture.astype(np.float64) if total is None else total + picture
        count += 1
    if total is None:
        raise CapbenchError("Expected at least one picture of an exposure, got none.")
    return np.asarray(total / count, np.float32)


def rolled(camera: Camera, posed_v3: FloatArray, velocity_v3: FloatArray, readout: float) -> FloatArray:
    """(V, 3) where each vertex is when its row is read, metres.

    posed (V, 3) at the frame's time, when the middle row is read; velocity (V, 3) m/s; readout: seconds from
    the first row to the last. Rows beyond the picture count as its edge.
    """
    moved = posed_v3
    height = camera.size[1]
    for _ in range(2):  # the row depends on where the vertex has got to: twice is exact to a hundredth pixel
        rows = lens.project(camera, moved)[0][:, 1]
        share = np.clip(np.nan_to_num(rows, nan=(height - 1) / 2) / max(height - 1, 1), 0.0, 1.0) - 0.5
        moved = posed_v3 + velocity_v3 * (readout * share)[:, None]
    return moved


# --- light --------------------------------------------------------------------------------------


def develop(linear: Float32Array, sensor: Sensor, *, seed: int, camera: str, frame: int) -> NDArray[np.uint8]:
    """(h, w, 3) the 8-bit picture that a phone makes of linear light; ``frame`` has noise of its own."""
    light = softened(linear, sensor.soft)
    key = int(_sequence(seed, "noise", camera, str(frame)).generate_state(1, np.uint64)[0])
    made = np.empty(linear.shape, np.uint8)
    _expose(
        light, sensor.gains, sensor.read_noise**2, 1.0 / sensor.electrons, np.uint64(key), STEPS, GUESS, made
    )
    return compressed(made, sensor.quality) if sensor.quality else made


def softened(linear: Float32Array, soft: float) -> Float32Array:
    """Linear light through a lens with a Gaussian point spread of ``soft`` pixels; no light is lost.

    The picture is mirrored at its edges.
    """
    reach = int(np.ceil(3 * soft))
    if reach == 0:
        return np.ascontiguousarray(linear)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / soft) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    out = np.empty(linear.shape, np.float32)
    _spread(np.ascontiguousarray(linear), weights, out)
    return out


@nb.njit(cache=True)
def _mirrored(n: int, size: int) -> int:
    n %= 2 * size
    return n if n < size else 2 * size - 1 - n


@nb.njit(cache=True)
def _spread(picture: Float32Array, weights: Float32Array, out: Float32Array) -> None:
    """Down the columns into one row, then along that row, which stays at hand."""
    height, width, channels = picture.shape
    reach, pad = len(weights) // 2, len(weights) // 2 * channels
    row = np.empty(width * channels + 2 * pad, np.float32)
    inner = row[pad : pad + width * channels]
    for y in range(height):
        inner[:] = 0.0
        for n in range(len(weights)):
            line, weight = picture[_mirrored(y + n - reach, height)].ravel(), weights[n]
            for i in range(len(inner)):
                inner[i] += weight * line[i]
        for x in range(reach):
            for channel in range(channels):
                row[x * channels + channel] = inner[_mirrored(x - reach, width) * channels + channel]
                row[(reach + width + x) * channels + channel] = inner[
                    _mirrored(width + x, width) * channels + channel
                ]
        made = out[y].ravel()
        made[:] = 0.0
        for n in range(len(weights)):
            shifted, weight = row[n * channels : n * channels + width * channels], weights[n]
            for i in range(len(made)):
                made[i] += weight * shifted[i]


@nb.njit(cache=True)
def random_sum(key: np.uint64, n: np.uint64) -> float:
    """The sum of the 8 bytes of the n-th random number of a key (splitmix64): near to Gaussian, mean 1020."""
    h = key + (n + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    h ^= h >> np.uint64(31)
    lanes = np.uint64(0x00FF00FF00FF00FF)
    pairs = (h & lanes) + ((h >> np.uint64(8)) & lanes)
    return float((pairs * np.uint64(0x0001000100010001)) >> np.uint64(48))


@nb.njit(cache=True)
def _expose(
    light: Float32Array,
    gains: FloatArray,
    dark: float,
    grain: float,
    key: np.uint64,
    steps: FloatArray,
    guess: NDArray[np.uint8],
    out: NDArray[np.uint8],
) -> None:
    """Gains, noise of variance ``dark + grain * value`` and 8 bits."""
    flat, made = light.ravel(), out.ravel()
    for n in range(len(flat)):
        value = float(flat[n]) * gains[n % 3]
        unit = (random_sum(key, np.uint64(n)) - 1020.0) / BYTES_SD
        value += unit * np.sqrt(dark + grain * max(value, 0.0))
        made[n] = byte(value, steps, guess)


def compressed(rgb: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """A picture (h, w, 3) after JPEG of that quality (1 to 100)."""
    try:
        import cv2
    except ImportError as error:
        raise EnvironmentFault(
            f"Compressing pictures needs OpenCV, which can't be imported ({error}).",
            fix="pip install 'opencv-python-headless>=4.10,<6'",
        ) from error
    _, data = cv2.imencode(
        ".jpg", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, int(quality)]
    )
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None  # it was encoded just now
    return np.ascontiguousarray(decoded[..., ::-1]).astype(np.uint8, copy=False)


#: sensors for comparisons in which the sensor alone changes
PRESETS: Mapping[str, Sensor] = {
    "perfect": Sensor(soft=0.0, shutter=0.0, read_noise=0.0, electrons=float("inf")),
    "daylight": Sensor(shutter=1 / 1000, read_noise=0.001, electrons=8000.0),
    "indoors": Sensor(shutter=1 / 120, readout=0.008, read_noise=0.006, electrons=1500.0, quality=85),
    "dim": Sensor(exposure=-1.0, shutter=1 / 60, readout=0.012, read_noise=0.02, electrons=400.0, quality=70),
}
