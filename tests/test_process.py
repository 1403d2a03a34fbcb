"""Life in a process: imports, threads, forks, other libraries, exits."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import signal
import sys
import threading
import time

import numpy as np
import pytest

import rosenblatt as rb

WORK = """
import numpy as np, rosenblatt as rb
def work(n=300):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((n, n)).astype(np.float32)
    return float(np.abs(rb.ops.softmax(rb.ops.gemm(a, a, activation="tanh")).astype(np.float64)).sum())
"""


def task(n=300):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((n, n)).astype(np.float32)
    x = rng.standard_normal((4, 16, 16, 8)).astype(np.float32)
    w = rng.standard_normal((16, 3, 3, 8)).astype(np.float32)
    return rb.ops.softmax(rb.ops.gemm(a, a)).tobytes() + rb.ops.conv2d(x, w).tobytes() + rb.ops.sum(a).tobytes()


# --- imports


@pytest.mark.quick
def test_import_is_light(run_python):
    code = """
import os, sys, threading
import numpy
before = len(os.listdir("/proc/self/task"))
import rosenblatt as rb
from rosenblatt import data, io, models, nn, ops, optim, train
assert len(os.listdir("/proc/self/task")) == before and threading.active_count() == 1
heavy = {"sklearn", "scipy", "matplotlib", "PIL", "rich", "torch", "pandas", "cupy"} & set(sys.modules)
assert not heavy, heavy
"""
    run_python(code)


@pytest.mark.quick
def test_import_loads_submodules_only_when_used(run_python):
    code = """
import sys
import rosenblatt as rb
assert not {"rosenblatt.train", "rosenblatt.cli", "rosenblatt.viz"} & set(sys.modules)
rb.train
assert "rosenblatt.train" in sys.modules
"""
    run_python(code)


def test_import_time_can_be_read(run_python):
    result = run_python("import rosenblatt", prefix=())
    assert result.stderr == ""
    text = run_python(
        "import subprocess, sys; sys.stderr.write(subprocess.run([sys.executable, '-X', 'importtime', '-c', "
        "'import rosenblatt'], capture_output=True, text=True).stderr)"
    ).stderr
    rows = {line.split("|")[-1].strip() for line in text.splitlines() if "rosenblatt" in line}
    assert "rosenblatt" in rows and "rosenblatt._core" in rows and not any("fit" in r or "report" in r for r in rows)


OTHERS = {
    "torch": "torch.mm(torch.ones(200, 200), torch.ones(200, 200)).sum().item()",
    "sklearn": "from sklearn.decomposition import PCA; PCA(3).fit(np.random.default_rng(0).random((200, 50)))",
}


@pytest.mark.parametrize("first", ["ours", "theirs"])
@pytest.mark.parametrize("library", list(OTHERS))
def test_beside_other_libraries(library, first, run_python):
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    ours, theirs = WORK, f"import numpy as np, {library}\n"
    code = (
        (ours + theirs if first == "ours" else theirs + ours)
        + f"""
a = work()
{OTHERS[library]}
b = work()
{OTHERS[library]}
print(a == b == work(), "DONE")
"""
    )
    result = run_python(code, env={"RB_THREADS": "2"})
    assert result.stdout == "True DONE\n" and "OMP" not in result.stderr
    alone = run_python(WORK + "print(work().hex())").stdout
    assert run_python(theirs + WORK + "print(work().hex())").stdout == alone


def test_floating_point_mode_is_left_alone(run_python):
    code = (
        WORK
        + """
work()
tiny = np.array([1e-310, 1e-40])
assert (tiny * 0.5 > 0).all()
small = np.full(100_000, 1e-40, np.float32)
rb.ops.add(small, small)
assert (small * np.float32(0.5) > 0).all() and float.fromhex("0x1p-1074") > 0
with np.errstate(all="raise"):
    work()
"""
    )
    run_python(code, env={"RB_THREADS": "2"})


# --- forks


def forks(count):
    rb.set_num_threads(2)
    want = task()
    for i in range(count):
        pid = os.fork()
        if pid == 0:
            ok = False
            try:
                ok = task() == want
            finally:
                os._exit(0 if ok else 3)
        deadline = time.monotonic() + 30
        while True:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                break
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                pytest.fail(f"child {i} hung")
            time.sleep(0.002)
        assert os.waitstatus_to_exitcode(status) == 0, f"child {i}: {status}"
    assert task() == want


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forks_after_use():
    forks(20)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_many_forks_after_use():
    forks(500)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(method):
    want = task()
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(task, [300] * 4, chunksize=1) == [want] * 4


def test_fork_while_another_thread_computes(run_python):
    code = (
        WORK
        + """
import os, threading
want = work()
stop = threading.Event()
def spin():
    while not stop.is_set():
        work()
t = threading.Thread(target=spin)
t.start()
for _ in range(10):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if work() == want else 3)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
stop.set()
t.join()
"""
    )
    run_python(code, env={"RB_THREADS": "2", "PYTHONWARNINGS": "ignore"}, timeout=100)


# --- threads


def test_eight_threads_agree_with_one():
    rb.set_num_threads(2)
    want = task(200)
    results, errors = [], []

    def work():
        try:
            for _ in range(6):
                results.append(task(200) == want)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert not errors and len(results) == 48 and all(results)


def test_threads_train_side_by_side():
    x = np.random.default_rng(0).standard_normal((64, 10)).astype(np.float32)
    y = np.random.default_rng(1).integers(0, 3, 64)

    def train(out):
        model = rb.nn.Sequential(rb.nn.Linear(10, 16, activation="tanh"), rb.nn.Linear(16, 3))
        for i, p in enumerate(model.parameters()):
            p.data = np.random.default_rng(i).standard_normal(p.shape).astype(np.float32)
        opt = rb.optim.Adam(model.parameters(), 0.01)
        for _ in range(20):
            opt.zero_grad()
            rb.ops.cross_entropy(model(rb.Tensor(x)), y).backward()
            opt.step()
        out.append(b"".join(p.data.tobytes() for p in model.parameters()))

    results: list[bytes] = []
    train(results)
    threads = [threading.Thread(target=train, args=(results,)) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert len(results) == 5 and len(set(results)) == 1


def test_exit_while_daemon_threads_compute(run_python):
    code = (
        WORK
        + """
import threading, time
def spin():
    while True:
        work(150)
for _ in range(4):
    threading.Thread(target=spin, daemon=True).start()
time.sleep(0.3)
print("leaving")
"""
    )
    for _ in range(5):
        assert run_python(code, env={"RB_THREADS": "2"}, timeout=30).stdout == "leaving\n"


# --- how many threads


COUNT = """
import numpy as np, rosenblatt as rb, os
a = np.ones((700, 700), np.float32)
rb.ops.gemm(a, a)
print(rb.get_num_threads())
"""


def test_thread_counts(run_python):
    assert run_python(COUNT, env={"OMP_NUM_THREADS": "1"}).stdout == "1\n"
    assert run_python(COUNT, env={"OMP_NUM_THREADS": "1,2"}).stdout == "1\n"
    assert run_python(COUNT, env={"OMP_NUM_THREADS": "1", "RB_THREADS": "3"}).stdout == "3\n"
    assert run_python("import os\nos.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n" + COUNT).stdout == "1\n"
    free = int(run_python(COUNT).stdout)
    assert 1 <= free <= len(os.sched_getaffinity(0))
    assert int(run_python(COUNT, env={"OMP_NUM_THREADS": "1000"}).stdout) == free


CROWDED = """
import resource, signal
import numpy as np
from rosenblatt import _core

x, y = np.ones((2000, 2000), np.float32), np.empty((2000, 2000), np.float32)
_core.set_num_threads(1)
_core.square(x, y)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (60 << 20), resource.RLIM_INFINITY))
_core.set_num_threads(200)
for _ in range(3):
    y[:] = 0
    _core.square(x, y)
    assert (y == 1).all()
print("signals blocked:", len(signal.pthread_sigmask(signal.SIG_BLOCK, [])))
"""


def test_threads_that_the_system_refuses_are_done_without(run_python):
    """Room for a few stacks only, as under a limit on processes: the rest of the team does the work."""
    assert run_python(CROWDED).stdout == "signals blocked: 0\n"


def test_no_more_threads_than_asked(run_python):
    code = COUNT + 'print(len(os.listdir("/proc/self/task")))'
    base = int(run_python("import numpy, os; print(len(os.listdir('/proc/self/task')))").stdout)
    for n in (1, 3):
        threads = int(run_python(code, env={"RB_THREADS": str(n)}).stdout.split()[1])
        assert threads <= base + n - 1


@pytest.mark.quick
def test_set_num_threads():
    rb.set_num_threads(3)
    assert rb.get_num_threads() == 3
    for bad in (0, -1, 257):
        with pytest.raises(ValueError, match="set_num_threads"):
            rb.set_num_threads(bad)
    for bad in (1.5, "2", True, None):
        with pytest.raises(TypeError, match="set_num_threads: expected an integer"):
            rb.set_num_threads(bad)
    assert rb.get_num_threads() == 3 and sys.getrefcount(rb) > 0
