"""Workers: same results, errors arrive, and nothing is left behind after Ctrl-C."""

import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from fusionkit import parallel
from fusionkit.errors import FusionkitError


def test_little_work_starts_no_worker(monkeypatch):
    monkeypatch.setattr(parallel, "_by_workers", None)
    items = [(float(i),) for i in range(20)]
    assert list(parallel.compute(math.sqrt, items, jobs=8)) == [(item, math.sqrt(*item)) for item in items]


def test_much_work_starts_workers_unless_one_job_is_asked_for(monkeypatch):
    monkeypatch.setattr(parallel, "_by_workers", lambda function, items, jobs: iter([("workers", len(items))]))
    items = [(0.02,)] * 2 + [(0.0,)] * 998
    assert list(parallel.compute(time.sleep, items, jobs=2))[2:] == [("workers", 998)]
    assert len(list(parallel.compute(time.sleep, items[:50], jobs=1))) == 50


def test_error_of_a_worker_arrives_and_workers_end(monkeypatch):
    monkeypatch.setattr(parallel, "START_SECONDS", -1)
    results = parallel.compute(math.sqrt, [(1.0,), (4.0,), (9.0,), (-1.0,)], jobs=1)
    assert [next(results)[1] for _ in range(3)] == [1, 2, 3]
    with pytest.raises(ValueError, match="math domain error|nonnegative"):
        next(results)
    assert not multiprocessing.active_children()


def test_worker_that_dies_gives_one_clear_error():
    with pytest.raises(FusionkitError, match="ended unexpectedly; use fewer jobs"):
        list(parallel._by_workers(os._exit, [(3,)], jobs=1))


def test_no_jobs_are_refused():
    with pytest.raises(FusionkitError, match="0 jobs; at least 1"):
        parallel.compute(math.sqrt, [(1.0,)], jobs=0)


SCRIPT = """
import signal, time
from fusionkit import parallel

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has commands in the background ignore it
    parallel.START_SECONDS = -1
    try:
        for _ in parallel.compute(time.sleep, [(0,), (0,), (0,), (60,), (60,)], jobs=2):
            print("done", flush=True)
    except KeyboardInterrupt:
        print("interrupted")
"""


@pytest.mark.skipif(os.name != "posix", reason="process groups")
@pytest.mark.parametrize(("stop", "whole_group"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_workers_end_quickly_and_quietly(tmp_path, stop, whole_group):
    """Ctrl-C reaches the workers as well; SIGTERM only the process that started them."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    for _ in range(3):
        assert process.stdout.readline() == "done\n"
    (os.killpg if whole_group else os.kill)(process.pid, stop)
    # Reads until the workers, which share the pipe, are gone.
    out, errors = process.communicate(timeout=20)
    if whole_group:
        assert (process.returncode, out, errors) == (0, "interrupted\n", "")
    else:
        assert process.returncode == -signal.SIGTERM
