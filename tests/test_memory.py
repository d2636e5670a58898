"""Freed memory stays with the process."""

import os
import platform
import subprocess
import sys

import pytest

from fusionkit.memory import keep_freed_memory

COUNT = """
import resource, sys
import numpy as np
from fusionkit.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(2**26, np.uint8)
before = faults()
for _ in range(8):
    np.ones(2**26, np.uint8)
print(faults() - before)
"""


def _faults(how: str) -> int:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    done = subprocess.run([sys.executable, "-c", COUNT, how], capture_output=True, text=True, check=True, env=clean)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep memory")
def test_large_arrays_reuse_pages():
    # 64 MiB are 16,384 pages of 4 KiB, or 32 where the system hands out 2 MiB at once.
    assert _faults("keep") < 16 < _faults("leave")


@pytest.mark.parametrize("name", ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"])
def test_the_environment_decides(monkeypatch, name):
    monkeypatch.setenv(name, "65536")
    assert not keep_freed_memory()
