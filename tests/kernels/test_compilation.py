"""What the first use of the models compiles, in a process of its own, where nothing else calls the kernels."""

import json
import subprocess
import sys

PROGRAM = """
import importlib, json, pkgutil
import numpy as np, pandas as pd
from numba.core.dispatcher import Dispatcher
import recsys.kernels
from recsys import ALS, BPR, EASE, PMF, SLIM, SVD, ItemKNN, Popular, RP3Beta, SVDpp, UserKNN

rng = np.random.default_rng(0)
seen = pd.DataFrame({"user_id": rng.integers(0, 30, 300), "item_id": rng.integers(0, 20, 300)}).drop_duplicates()
rated = seen.assign(rating=rng.integers(1, 6, len(seen)).astype(float))
how = {"epochs": 2, "verbose": 0}
implicit = [
    ALS(**how), ALS(solver="cholesky", **how), ALS(solver="blocks", block_size=32, **how), BPR(**how),
    BPR(optimizer="adagrad", **how), EASE(), ItemKNN(), Popular(), RP3Beta(), SLIM(), SLIM(n_neighbors=3), UserKNN(),
]
explicit = [SVD(**how), SVDpp(**how), PMF(**how), ItemKNN(), UserKNN()]
for model, frame in [*((model, seen) for model in implicit), *((model, rated) for model in explicit)]:
    model.fit(frame).recommend(k=5)
    model.recommend(frame["user_id"].tolist()[:1], k=3)
    model.predict(frame.head(7))
    if model.supports("similar_items"):
        model.similar_items(frame["item_id"].tolist()[:1], k=3)
modules = [importlib.import_module(f"recsys.kernels.{m.name}") for m in pkgutil.iter_modules(recsys.kernels.__path__)]
kernels = {id(k): k for module in modules for k in vars(module).values() if isinstance(k, Dispatcher)}
print(json.dumps({k.py_func.__name__: len(k.signatures) for k in kernels.values()}))
"""


def test_every_kernel_is_compiled_for_one_type_whatever_models_call_it():
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    compiled = json.loads(found.stdout)
    entries = [
        "_rank",
        "offer",
        "_solve_rows",
        "_descend_rows",
        "svd_epoch",
        "svdpp_epoch",
        "pmf_epoch",
        "bpr_epoch",
        "_top_k_rows",
        "_turn",
        "_predict_rows",
        "_rank_rows",
        "_solve_columns",
        "_gram_rows",
    ]
    assert [compiled[name] for name in entries] == [1] * len(entries)
    # What only other kernels call comes out of the cache inside them.
    assert set(compiled.values()) <= {0, 1}, compiled
