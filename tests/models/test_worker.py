"""Models in processes of their own: what goes across, and every way in which one can fail."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from capbench.models.adapters import python
from capbench.models.card import ModelCard, parse_card
from capbench.models.faults import ModelFault
from capbench.models.worker import child, host
from capbench.models.worker.host import Worker
from cohorts.errors import CapbenchError, EnvironmentFault

K = 3
CARD = """
name: tiny
version: "1"
licence: CC0-1.0
route: python
skeleton: {name: three, points: [a, b, c]}
entry: model.py:Model
limits: {start: 20, answer: 10, memory: 600, batch: 4}
"""
FRAMES = np.zeros((2, 4, 6, 3), np.uint8)
BOXES = np.array([[0.0, 0, 5, 3], [1, 1, 4, 2]])


def card(**changes: object) -> ModelCard:
    made = parse_card(CARD)
    limits = changes.pop("limits", {})
    return made.model_copy(update={**changes, "limits": made.limits.model_copy(update=limits)})


@pytest.fixture
def worker(tmp_path):
    """Makes workers of the body of a class, or of its ``predict``; closes them."""
    made = []

    def make(body: str, before: str = "", **changes: object) -> Worker:
        lines = body.strip("\n").splitlines()
        if "def " not in body:
            lines = ["def predict(self, frames, boxes):", *("    " + line for line in lines)]
        text = "import os, sys, time\nimport numpy as np\n" + before + "\nclass Model:\n"
        (tmp_path / "model.py").write_text(text + "\n".join("    " + line for line in lines) + "\n")
        made.append(python.open(card(**changes), tmp_path))
        return made[-1]

    yield make
    for one in made:
        one.close()


def answer(points: str = "np.zeros((len(boxes), 3, 2))", confidence: str = "np.ones((len(boxes), 3))") -> str:
    return f"return {points}, {confidence}"


def fault(worker: Worker) -> ModelFault:
    with pytest.raises(ModelFault) as caught:
        worker.predict(FRAMES, BOXES)
    return caught.value


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def gone(process: int, within: float = 5) -> bool:
    end = time.monotonic() + within
    while alive(process) and time.monotonic() < end:
        time.sleep(0.02)
    return not alive(process)


# --- what goes across ---------------------------------------------------------------------------


def test_frames_and_boxes_arrive_and_points_come_back_as_they_are(worker) -> None:
    # each point is made of pixels and of the box, so that nothing can be out of place unseen
    body = """
        points = np.empty((len(boxes), 3, 2))
        for i, (frame, box) in enumerate(zip(frames, boxes)):
            points[i] = frame[0, :3, :2] + box[:2] * 1000
        return points, np.full((len(boxes), 3), 0.25)
    """.replace("\n        ", "\n")
    frames = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3), np.uint8)
    got = worker(body).predict(frames, BOXES)
    assert np.array_equal(got.points, frames[:, 0, :3, :2] + 1000.0 * BOXES[:, None, :2])
    assert got.points.dtype == np.float64 and (got.confidence == 0.25).all() and got.covariance is None


def test_frames_of_many_sizes_none_and_more_than_a_batch(worker) -> None:
    one = worker("return [[f.shape[:2]] * 3 for f in frames], np.ones((len(frames), 3))")
    frames = [np.zeros((2 + i, 9 - i, 3), np.uint8) for i in range(7)]  # batches of 4
    got = one.predict(frames, np.zeros((7, 4)))
    assert [tuple(p) for p in got.points[:, 0]] == [(2 + i, 9 - i) for i in range(7)]
    none = worker(answer()).predict([], np.zeros((0, 4)))
    assert none.points.shape == (0, 3, 2) and none.confidence.shape == (0, 3)


def test_a_frame_that_is_no_whole_array_arrives_whole(worker) -> None:
    one = worker("return [f[0, :3, :2] for f in frames], np.ones((len(frames), 3))")
    frame = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)[::2, ::2, ::-1]
    assert np.array_equal(one.predict([frame], BOXES[:1]).points[0], frame[0, :3, :2])


def test_frames_larger_than_a_pipe_and_answers_too(worker) -> None:
    body = "return np.broadcast_to(frames[:, :3, 0, :2], (len(boxes), 3, 2)), np.ones((len(boxes), 3))"
    frames = np.random.default_rng(0).integers(0, 256, (4, 700, 900, 3), np.uint8)
    got = worker(body).predict(frames, np.zeros((4, 4)))
    assert np.array_equal(got.points, frames[:, :3, 0, :2])


def test_missing_points_have_no_confidence_and_covariances_come_along(worker) -> None:
    got = worker(
        "p = np.zeros((len(boxes), 3, 2)); p[0, 1, 0] = np.nan\n"
        "return p, np.ones((len(boxes), 3)), np.tile(np.eye(2) * 4, (len(boxes), 3, 1, 1))"
    ).predict(FRAMES, BOXES)
    assert np.isnan(got.points[0, 1]).all() and got.confidence[0].tolist() == [1, 0, 1]
    assert got.covariance is not None and (got.covariance[1, 2] == 4 * np.eye(2)).all()


def test_a_model_of_3d_keypoints(worker) -> None:
    one = worker(answer("np.full((len(boxes), 3, 3), 1.5)"), kind="keypoints3d")
    assert one.predict(FRAMES, BOXES).points.shape == (2, 3, 3)


def test_the_constructor_is_told_what_it_asks_for(worker, tmp_path) -> None:
    one = worker(
        "def __init__(self, folder, points): self.said = [float(len(points)), float(os.getcwd() == folder)]\n"
        "def predict(self, frames, boxes): return np.tile(self.said, (len(boxes), 3, 1)), "
        "np.ones((len(boxes), 3))"
    )
    assert one.predict(FRAMES, BOXES).points[0, 0].tolist() == [3, 1]


def test_what_a_model_prints_harms_nothing(worker) -> None:
    one = worker(
        "print('x' * 5_000_000)\nos.write(1, b'raw\\n' * 1000)\nos.system('echo from a shell')\n"
        "sys.stdin.read()\n" + answer(),
        before="print('while it is imported')",
    )
    for _ in range(2):
        assert one.predict(FRAMES, BOXES).points.shape == (2, 3, 2)


def test_its_own_modules_are_not_shadowed_by_ours(worker, tmp_path) -> None:
    (tmp_path / "metrics.py").write_text("VALUE = 1\n")
    (tmp_path / "synthpose.py").write_text("VALUE = 2\n")
    (tmp_path / "capbench.py").write_text("VALUE = 3\n")
    (tmp_path / "host.py").write_text("VALUE = 4\n")  # and of the worker's own files none
    (tmp_path / "cohorts").mkdir()  # without __init__.py it would give way to ours on sys.path
    (tmp_path / "cohorts" / "mine.py").write_text("VALUE = 5\n")
    one = worker(
        "assert sys.path[0] == os.path.dirname(os.path.abspath(__file__)) and __name__ == 'model'\n"
        "v = [metrics.VALUE, synthpose.VALUE, capbench.VALUE, host.VALUE, cohorts.mine.VALUE, 6]\n"
        "return np.tile(np.reshape(v, (3, 2)), (len(boxes), 1, 1)), np.ones((len(boxes), 3))",
        before="import metrics, synthpose, capbench, host, cohorts.mine",
    )
    assert one.predict(FRAMES, BOXES).points[0].ravel().tolist() == [1, 2, 3, 4, 5, 6]


def test_ours_are_not_found_where_it_has_none(worker) -> None:
    body = (
        "found = []\nfor name in " + repr(child.OURS) + ":\n    try:\n        __import__(name)\n"
        "    except ModuleNotFoundError as error:\n        found.append(str(error))\n"
        "raise ValueError(str(len(found)) + found[0])"
    )
    found = fault(worker(body))
    assert "ValueError: 4No module named 'capbench' in the model's folder" in found.problem


def test_the_environment_is_bare(worker, monkeypatch, tmp_path) -> None:
    for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "https_proxy", "PYTHONPATH", "PIP_INDEX_URL"):
        monkeypatch.setenv(name, "x")
    one = worker(
        "known = {'PATH', 'LD_LIBRARY_PATH', 'TZ', 'HOME', 'TMPDIR', 'LC_ALL', 'OMP_NUM_THREADS', "
        "'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS', 'CUDA_VISIBLE_DEVICES', 'NVIDIA_VISIBLE_DEVICES'}\n"
        "left = [n for n in os.environ if n not in known and not n.startswith('PYTHON')]\n"
        "assert not left and 'PYTHONPATH' not in os.environ, left\n"
        "assert os.environ['OMP_NUM_THREADS'] == '1' and os.listdir(os.environ['HOME']) == []\n"
        "open(os.environ['HOME'] + '/left', 'w').close()\n"
        f"open({str(tmp_path / 'home')!r}, 'w').write(os.environ['HOME'])\n" + answer()
    )
    one.predict(FRAMES, BOXES)
    home = Path((tmp_path / "home").read_text())
    assert (home / "left").exists()
    one.close()
    assert not home.exists()
    assert not list(tmp_path.rglob("__pycache__"))  # a submission's folder stays as it is


# --- every way to fail --------------------------------------------------------------------------


def test_one_that_throws_goes_on_afterwards(worker) -> None:
    one = worker("if len(boxes) == 2:\n    raise ValueError('two is too many')\n" + answer())
    found = fault(one)
    assert found.kind == "threw"
    assert "tiny threw ValueError: two is too many (model.py, line" in found.problem
    assert one.predict(FRAMES[:1], BOXES[:1]).points.shape == (1, 3, 2)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("sys.exit(0)", "SystemExit: 0"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("1 / 0", "ZeroDivision"),
    ],
)
def test_whatever_it_raises(worker, body, says) -> None:
    found = fault(worker(body))
    assert found.kind == "threw" and says in found.problem


@pytest.mark.parametrize(
    ("points", "confidence", "kind", "says"),
    [
        (
            "np.zeros((len(boxes), 4, 2))",
            "np.ones((len(boxes), 3))",
            "shape",
            "[2, 4, 2]; expected [2, 3, 2]",
        ),
        ("np.zeros((len(boxes), 3, 3))", "np.ones((len(boxes), 3))", "shape", "expected [2, 3, 2]"),
        ("np.zeros((3, 2))", "np.ones(3)", "shape", "points of shape [3, 2]"),
        ("np.zeros((len(boxes), 3, 2))", "np.ones(3)", "shape", "confidence of shape [3]"),
        ("np.zeros((10**6, 3, 2))", "np.ones(3)", "shape", "[1000000, 3, 2]"),
        ("['a']", "np.ones(3)", "shape", "points as an array of numbers, got list"),
        ("None", "None", "shape", "points"),
        ("np.zeros((2, 3, 2))", "np.full((2, 3), np.nan)", "nan", "confidences that are not numbers"),
        ("np.zeros((2, 3, 2))", "np.full((2, 3), -1)", "nan", "confidences that are not numbers"),
        ("np.full((2, 3, 2), np.inf)", "np.ones((2, 3))", "nan", "infinite points"),
    ],
)
def test_answers_that_are_none(worker, points, confidence, kind, says) -> None:
    found = fault(worker(answer(points, confidence)))
    assert found.kind == kind and says in found.problem


@pytest.mark.parametrize("value", ["None", "np.zeros((2, 3, 2))", "(1, 2, 3, 4)", "'text'"])
def test_answers_that_are_no_pair(worker, value) -> None:
    found = fault(worker(f"return {value}"))
    assert found.kind == "shape" and "expected (keypoints, confidences)" in found.problem


def test_one_that_hangs_is_ended_and_started_anew(worker, tmp_path) -> None:
    one = worker(
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "while len(boxes) == 2:\n    pass\n" + answer(),
        limits={"answer": 0.5},
    )
    began = time.monotonic()
    found = fault(one)
    assert found.kind == "hung" and "within 0.5 s" in found.problem and time.monotonic() - began < 8
    assert gone(int((tmp_path / "pid").read_text()))
    assert one.predict(FRAMES[:1], BOXES[:1]).points.shape == (1, 3, 2)


def test_one_that_hangs_while_it_gets_ready(worker) -> None:
    found = fault(worker(answer(), before="time.sleep(60)", limits={"start": 0.5}))
    assert found.kind == "hung" and "was not ready within 0.5 s" in found.problem


def test_one_that_stops_reading_hangs(worker) -> None:
    # its descriptors are private, but not out of reach of one that looks for them
    big = np.zeros((2, 2000, 2000, 3), np.uint8)
    one = worker(answer(), limits={"answer": 0.5})
    one.start()
    os.kill(int(one._child._keeper.pid), signal.SIGSTOP)
    for process in Path("/proc").glob(f"{one._child._keeper.pid}/task/*/children"):
        for pid in process.read_text().split():
            os.kill(int(pid), signal.SIGSTOP)
    os.kill(int(one._child._keeper.pid), signal.SIGCONT)
    with pytest.raises(ModelFault) as caught:
        one.predict(big, BOXES)
    assert caught.value.kind == "hung"


def test_memory_beyond_the_limit_in_one_go(worker) -> None:
    one = worker("if len(boxes) == 2:\n    a = np.ones(200_000_000)\n" + answer())
    found = fault(one)
    assert found.kind == "memory" and "600 MB" in found.problem and "Unable to allocate" in found.problem
    assert one.predict(FRAMES[:1], BOXES[:1]).points.shape == (1, 3, 2)


def test_memory_beyond_the_limit_of_a_model_on_a_gpu_is_watched(tmp_path) -> None:
    # a driver's mappings are not bounded, what is resident is
    (tmp_path / "model.py").write_text(
        "import numpy as np, time, mmap\n"
        "mapped = mmap.mmap(-1, 2 << 30, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n"
        "class Model:\n def predict(self, frames, boxes):\n"
        "  if len(boxes) == 2: a = np.ones(90_000_000); time.sleep(60)\n"
        f"  {answer()}\n"
    )
    one = python.open(card(), tmp_path, device="cuda")
    assert one.predict(FRAMES[:1], BOXES[:1]).points.shape == (1, 3, 2)
    found = fault(one)
    assert found.kind == "memory" and "its limit is 600 MB" in found.problem
    one.close()


def test_memory_beyond_the_limit_shared_among_forks(worker) -> None:
    body = (
        "for _ in range(3):\n    if os.fork() == 0:\n        a = np.ones(15_000_000)\n"
        "        time.sleep(60)\ntime.sleep(60)"
    )
    found = fault(worker(body, limits={"memory": 300}))  # each holds 120 MB
    assert found.kind == "memory" and "its limit is 300 MB" in found.problem


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM])
def test_one_that_a_signal_ends(worker, number) -> None:
    one = worker(
        "if len(boxes) == 2:\n    print('my last words', file=sys.stderr)\n"
        f"    os.kill(os.getpid(), {number})\n" + answer()
    )
    found = fault(one)
    assert found.kind == "died" and number.name in found.problem and "my last words" in found.problem
    assert one.predict(FRAMES[:1], BOXES[:1]).points.shape == (1, 3, 2)


def test_one_that_just_leaves(worker) -> None:
    found = fault(worker("os._exit(5)"))
    assert found.kind == "died" and "exit status 5" in found.problem


def test_forks_that_come_back_do_not_answer_and_do_not_stay(worker, tmp_path) -> None:
    # one child comes back from predict, another leaves its session and stays
    one = worker(
        "if os.fork() == 0:\n    return np.full((len(boxes), 3, 2), 7.0), np.ones((len(boxes), 3))\n"
        "if os.fork() == 0:\n    os.setsid()\n"
        f"    open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n    time.sleep(600)\n"
        "time.sleep(0.2)\n" + answer()
    )
    for _ in range(2):
        assert (one.predict(FRAMES, BOXES).points == 0).all()
    stray = int((tmp_path / "pid").read_text())
    assert alive(stray)
    one.close()
    assert gone(stray)


def test_what_it_printed_last_is_shown_and_steers_no_terminal(worker) -> None:
    found = fault(worker("sys.stderr.write('\\x1b[2Jcleared\\n' * 99)\nos._exit(1)"))
    assert "cleared" in found.problem and "\x1b" not in str(found) and len(str(found)) < 1000


@pytest.mark.parametrize(
    ("written", "says"),
    [
        (b"\xff\xff\xff\xff", "header of 4294967295 bytes"),
        (b"\x00\x00\x00\x00", "header of 0 bytes"),
        (b"\x05\x00\x00\x00hello", "answered with"),
        (b"\x02\x00\x00\x00[]", "answered with"),
        (b'\x1a\x00\x00\x00{"said": "predicted", "x":', "answered with"),
        (b'\x15\x00\x00\x00{"said": "predicted"}', "answered question 1"),
        (b"[" * 70_000, "header of"),
    ],
)
def test_one_that_breaks_the_protocol(worker, written, says) -> None:
    one = worker(
        "import gc, io\n"
        "out = [o for o in gc.get_objects() if isinstance(o, io.BufferedWriter) and o.fileno() > 2][0]\n"
        f"out.write({written!r}); out.flush()\ntime.sleep(60)"
    )
    found = fault(one)
    assert found.kind == "protocol" and says in found.problem


def test_an_answer_too_many_is_noticed(worker) -> None:
    one = worker(
        "import gc, io\n"
        "out = [o for o in gc.get_objects() if isinstance(o, io.BufferedWriter) and o.fileno() > 2][0]\n"
        "out.write(b'\\x02\\x00\\x00\\x00{}'); out.flush()\n" + answer()
    )
    assert fault(one).kind == "protocol"


# --- the machine's faults and the user's --------------------------------------------------------


def test_a_package_that_is_missing_is_the_machines_fault(worker) -> None:
    one = worker(answer(), before="import no_such_package_at_all")
    with pytest.raises(EnvironmentFault, match="no_such_package_at_all") as caught:
        one.predict(FRAMES, BOXES)
    assert f"install no_such_package_at_all for {sys.executable}" in str(caught.value)


def test_a_keeper_that_is_killed_is_the_machines_fault(worker, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # it can't clear up any more
    one = worker(
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "os.kill(os.getppid(), 9)\ntime.sleep(60)"
    )
    with pytest.raises(EnvironmentFault, match="keeps tiny ended"):
        one.predict(FRAMES, BOXES)
    assert gone(int((tmp_path / "pid").read_text()))


FULL = """
import os, sys, tempfile
sys.path.insert(0, sys.argv[1])
import keeper
def full(**options):
    raise OSError(28, os.strerror(28))
tempfile.mkdtemp = full
keeper.main(os.getppid(), 1 << 30, 0, 1, ["/bin/echo", "ran"])
"""


def test_a_full_disk_is_the_machines_fault(worker, monkeypatch) -> None:
    folder = str(Path(child.__file__).parent)
    ran = subprocess.run([sys.executable, "-c", FULL, folder], capture_output=True, text=True, check=True)
    assert ran.stdout == '{"ended": "unstarted", "why": "a folder for it: No space left on device"}\n'
    one = worker("os._exit(0)")
    monkeypatch.setattr(host._Child, "_how_it_ended", lambda self, seconds: json.loads(ran.stdout))
    with pytest.raises(EnvironmentFault, match="Can't start tiny: a folder for it: No space left"):
        one.predict(FRAMES, BOXES)


def test_a_python_that_is_not_there_or_has_no_numpy(tmp_path) -> None:
    (tmp_path / "model.py").touch()
    with pytest.raises(EnvironmentFault, match="No such file"):
        python.open(card(), tmp_path, python=str(tmp_path / "python")).predict(FRAMES, BOXES)
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(EnvironmentFault, match="no numpy"):
        python.open(card(), tmp_path, python=str(bare)).predict(FRAMES, BOXES)


@pytest.mark.parametrize(
    ("frames", "boxes", "says"),
    [
        (FRAMES, BOXES[:1], "a box for each of 2 pictures"),
        (FRAMES.astype(float), BOXES, "pictures (h, w, 3) of uint8"),
        (FRAMES[..., :1], BOXES, "pictures (h, w, 3) of uint8"),
    ],
)
def test_questions_that_make_no_sense(worker, frames, boxes, says) -> None:
    with pytest.raises(CapbenchError) as caught:
        worker(answer()).predict(frames, boxes)
    assert says in caught.value.problem and not isinstance(caught.value, ModelFault)


def test_closed_is_closed(worker) -> None:
    one = worker(answer())
    one.predict(FRAMES, BOXES)
    one.close()
    one.close()
    with pytest.raises(CapbenchError, match="after it was closed"):
        one.predict(FRAMES, BOXES)


# --- nothing outlives the host ------------------------------------------------------------------

HOST = """
import sys, numpy as np
from pathlib import Path
from capbench.models.adapters import python
from capbench.models.card import parse_card
one = python.open(parse_card(Path(sys.argv[1], "card").read_text()), Path(sys.argv[1]))
print(one.predict(np.zeros((1, 4, 4, 3), np.uint8), np.zeros((1, 4))).points[0, 0, 0], flush=True)
one.predict(np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 4)))
"""


def test_a_killed_host_leaves_no_child_and_no_folder(tmp_path) -> None:
    (tmp_path / "card").write_text(CARD)
    (tmp_path / "model.py").write_text(
        "import os, time, numpy as np\nclass Model:\n def predict(self, frames, boxes):\n"
        "  open(os.path.join(os.path.dirname(__file__), 'home'), 'w').write(os.environ['HOME'])\n"
        "  while len(boxes) == 2: pass\n"
        "  return np.full((len(boxes), 3, 2), os.getpid()), np.ones((len(boxes), 3))\n"
    )
    with subprocess.Popen([sys.executable, "-c", HOST, tmp_path], stdout=subprocess.PIPE, text=True) as host:
        pid = int(float(host.stdout.readline()))
        home = Path((tmp_path / "home").read_text())
        assert alive(pid) and home.is_dir()
        host.kill()
    assert gone(pid)
    end = time.monotonic() + 5
    while home.exists() and time.monotonic() < end:
        time.sleep(0.02)
    assert not home.exists()


def test_a_child_outlives_the_thread_that_started_it(worker) -> None:
    # the kernel's parent-death signal would end it here: it follows the thread
    one = worker("return np.full((len(boxes), 3, 2), os.getpid()), np.ones((len(boxes), 3))")
    pids = []
    for _ in range(2):
        thread = threading.Thread(target=lambda: pids.append(one.predict(FRAMES, BOXES).points[0, 0, 0]))
        thread.start()
        thread.join()
        time.sleep(0.2)
    assert pids[0] == pids[1]


def test_threads_take_turns(worker) -> None:
    one = worker("time.sleep(0.02)\nreturn np.tile(boxes[:, None, :2], (1, 3, 1)), np.ones((len(boxes), 3))")
    right = []

    def ask(value: float) -> None:
        boxes = np.full((1, 4), value)
        right.append((one.predict(FRAMES[:1], boxes).points == value).all())

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(right) == 8 and all(right)


def test_the_same_question_has_the_same_answer_in_every_process(worker) -> None:
    body = "return np.full((len(boxes), 3, 2), hash('a') % 1e6), np.ones((len(boxes), 3))"
    first = worker(body).predict(FRAMES, BOXES).points
    assert (worker(body).predict(FRAMES, BOXES).points == first).all()
