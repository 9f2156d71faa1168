import subprocess
import sys

import pytest

SCRIPT = """
import resource
import numpy as np
from recsys.kernels.memory import keep_freed_blocks

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.empty(16 * 2**20, np.uint8)[::4096] = 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_freed_blocks()
faults()
print(faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone does it")
def test_blocks_that_are_made_again_and_again_are_not_fetched_from_the_system_each_time() -> None:
    # Twenty blocks of 4,096 pages; large pages count once each.
    found = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 200
