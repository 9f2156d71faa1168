"""Import of the package beside that of its dependencies alone, and compilation in a first `fit` and `recommend`.

`import recsys` is set against torch, pandas, scipy.sparse and numba imported alone. Compilation is what a first `fit`
and `recommend` take with an empty cache of compiled kernels above the same with a full one.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from speed import Contender, Measures

TITLE = "Start: imports, and compilation in a first fit and recommend"


def prepare(data: Path, scratch: Path) -> None:
    """Nothing is read."""


def imported(line: str) -> Callable[[Path], Measures]:
    def run(scratch: Path) -> Measures:
        start = time.perf_counter()
        exec(line)
        return {"s": time.perf_counter() - start}

    return run


def compiled(name: str, ratings: bool = False) -> Callable[[Path], Measures]:
    """Seconds of compilation: a run in a fresh process with an empty cache less one with a full cache."""

    def run(scratch: Path) -> Measures:
        with tempfile.TemporaryDirectory() as cache:
            cold, warm = (first_use(name, ratings, cache) for _ in range(2))
        return {"s": cold - warm}

    return run


FIRST_USE = """
import time
import numpy as np, pandas as pd, recsys
rng = np.random.default_rng(0)
frame = pd.DataFrame({{"user_id": rng.integers(0, 50, 600), "item_id": rng.integers(0, 40, 600)}})
if {ratings}:
    frame["rating"] = rng.integers(1, 6, 600)
frame["timestamp"] = np.arange(600)
model = recsys.{name}()
if "verbose" in model.get_params():
    model.set_params(verbose=0)
if "epochs" in model.get_params():
    model.set_params(epochs=1)
start = time.perf_counter()
model.fit(frame).recommend()
print(time.perf_counter() - start)
"""


def first_use(name: str, ratings: bool, cache: str) -> float:
    import subprocess
    import sys

    script = FIRST_USE.format(name=name, ratings=ratings)
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


CONTENDERS = {
    "import recsys": Contender(imported("import recsys")),
    "import torch, pandas, scipy.sparse, numba": Contender(imported("import torch, pandas, scipy.sparse, numba")),
    **{
        f"compilation, {name}{' on ratings' if ratings else ''}": Contender(compiled(name, ratings))
        for name, ratings in (
            ("Popular", False), ("ItemKNN", False), ("ItemKNN", True), ("UserKNN", False), ("UserKNN", True),
            ("EASE", False), ("SVD", True), ("ALS", False), ("BPR", False), ("SASRec", False), ("LightGCN", False),
        )
    },
}  # fmt: skip
