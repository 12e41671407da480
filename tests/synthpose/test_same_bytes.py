"""The same seed gives the same bytes, whatever number of threads the libraries may use."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = """
import hashlib, numpy as np
from synthpose.body import Phenotype
from synthpose.person import make_person
from synthpose.rig import phone_rig
from synthpose.scene import Actor, Material, Room, Stage, View
from synthpose.sensor import develop, draw_sensor
person = make_person(Phenotype(stature=1.6, bmi=27.0))
room = Room(seed=5)
stage = Stage([Actor(person.surfaces[0], {"skin": Material((0.5, 0.3, 0.2))})], room)
scene = stage.pose([v[0] for v in person.posed(person.bind)])
for camera in phone_rig(size=(180, 320), jitter=0.02, seed=3):
    picture = View(camera, room).see(scene)
    made = develop(picture.linear, draw_sensor(3, camera.name), seed=3, camera=camera.name, frame=0)
    assert (picture.person == 1).mean() > 0.02
    for part in (picture.linear, made, picture.depth, picture.normal, picture.part):
        print(hashlib.sha256(np.ascontiguousarray(part).tobytes()).hexdigest())
"""


def drawn(threads: str) -> str:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    ran = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=ROOT,
        env=os.environ | dict.fromkeys(names, threads),
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout


def test_one_thread_or_several() -> None:
    one = drawn("1")
    assert len(set(one.split())) == 10
    assert drawn("3") == one
