"""Most memory that `recommend` for all users of Gowalla holds above the fitted model, for each kind of scoring."""

import ctypes
import gc
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from speed import Contender, Measures

from tasks.common import forget_peak, peak_memory

TITLE = "Memory of recommend for all users of Gowalla (29,858 users, 40,981 items, k = 20) above the fitted model"


def prepare(data: Path, scratch: Path) -> None:
    import pandas as pd

    frame = pd.read_parquet(data / "gowalla-lightgcn" / "interactions.parquet")
    train = frame.loc[frame.split == "train", ["user_id", "item_id"]]
    train.assign(timestamp=np.arange(len(train))).to_parquet(scratch / "train.parquet")


def serving(name: str, **options: object) -> Callable[[Path], Measures]:
    def run(scratch: Path) -> Measures:
        import pandas as pd

        import recsys

        model = getattr(recsys, name)(**options).fit(pd.read_parquet(scratch / "train.parquet"))
        model.recommend(model.users_.ids[:1], k=20)  # kernels are compiled, or read from their cache
        gc.collect()
        # What fitting has freed goes back to the system first, or serving would find it there and seem to need nothing.
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        forget_peak()
        before = peak_memory()
        start = time.perf_counter()
        lists = model.recommend(k=20)
        seconds = time.perf_counter() - start
        assert len(lists) == 20 * len(model.users_)
        return {"MB above the model": peak_memory() - before, "s": seconds}

    return run


CONTENDERS = {
    "Popular": Contender(serving("Popular")),
    "ItemKNN": Contender(serving("ItemKNN", n_neighbors=100)),
    "ALS": Contender(serving("ALS", epochs=1, verbose=0)),
    "BPR": Contender(serving("BPR", epochs=1, verbose=0)),
    "LightGCN": Contender(serving("LightGCN", epochs=1, batch_size=65536, verbose=0)),
    "MultVAE": Contender(serving("MultVAE", epochs=1, hidden_dims=(64,), embedding_dim=32, batch_size=2000, verbose=0)),
    "SASRec": Contender(serving("SASRec", epochs=1, loss="bce", n_layers=1, embedding_dim=32, verbose=0)),
}
