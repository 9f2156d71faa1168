"""Recall and NDCG at 10 and 20 of given lists of 20 for all users of Gowalla: the metric step alone.

The lists are the most popular items that a user has not, so that they hold hits. Every contender reads the same two
frames of ids; the last measure is the mean NDCG@20, by each one's own definition.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from speed import Contender, Measures

TITLE = "Recall and NDCG at 10 and 20 of given lists of 20 (Gowalla, 29,858 users, 217,242 relevant items)"
K, REPEATS = 20, 5


def prepare(data: Path, scratch: Path) -> None:
    """Leave lists (user, item, rank) and relevant pairs (user, item) as arrays of ids."""
    import pandas as pd

    frame = pd.read_parquet(data / "gowalla-lightgcn" / "interactions.parquet")
    train, test = frame[frame.split == "train"], frame[frame.split == "test"]
    rng = np.random.default_rng(0)
    popular = train.item_id.value_counts().index.to_numpy()[:200]
    users = np.unique(test.user_id)
    lists = np.stack([rng.permutation(popular)[:K] for _ in users])
    # A test item in every other list, at a random rank, so that the figures are not all zero.
    hit = test.drop_duplicates("user_id").set_index("user_id").item_id.loc[users].to_numpy()
    rows = np.arange(0, len(users), 2)
    fresh = ~(lists[rows] == hit[rows, None]).any(1)
    lists[rows[fresh], rng.integers(0, K, fresh.sum())] = hit[rows[fresh]]
    np.savez(
        scratch / "evaluate.npz",
        list_user=np.repeat(users, K),
        list_item=lists.ravel(),
        list_rank=np.tile(np.arange(1, K + 1), len(users)),
        test_user=test.user_id.to_numpy(),
        test_item=test.item_id.to_numpy(),
    )


def frames(scratch: Path, names: tuple[str, str, str]) -> tuple[Any, Any]:
    """Lists and relevant pairs as frames with the given names of the columns."""
    import pandas as pd

    user, item, rank = names
    with np.load(scratch / "evaluate.npz") as found:
        lists = pd.DataFrame({user: found["list_user"], item: found["list_item"], rank: found["list_rank"]})
        test = pd.DataFrame({user: found["test_user"], item: found["test_item"]})
    return lists.astype(np.int64), test.astype(np.int64)


def best_of_repeats(function: Callable[[], float]) -> Measures:
    function()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        value = function()
        seconds.append(time.perf_counter() - start)
    return {"s": min(seconds), "ndcg@20": value}


def ours(scratch: Path) -> Measures:
    import recsys

    lists, test = frames(scratch, ("user_id", "item_id", "rank"))
    names = ("recall@10", "recall@20", "ndcg@10", "ndcg@20")
    return best_of_repeats(lambda: recsys.evaluate_lists(lists, test, names)["ndcg@20"])


def rectools(scratch: Path) -> Measures:
    from rectools.metrics import NDCG, Recall, calc_metrics

    lists, test = frames(scratch, ("user_id", "item_id", "rank"))
    metrics = {
        "recall@10": Recall(10),
        "recall@20": Recall(20),
        "ndcg@10": NDCG(10, divide_by_achievable=True),
        "ndcg@20": NDCG(20, divide_by_achievable=True),
    }
    return best_of_repeats(lambda: calc_metrics(metrics, reco=lists, interactions=test)["ndcg@20"])


def floor(scratch: Path) -> Measures:
    """The same figures in bare NumPy from arrays that are already sorted by user and rank."""
    with np.load(scratch / "evaluate.npz") as found:
        user, item, wanted_user, wanted_item = (
            found[name].astype(np.int64) for name in ("list_user", "list_item", "test_user", "test_item")
        )

    def figures() -> float:
        span = int(max(item.max(), wanted_item.max())) + 1
        keys = np.sort(wanted_user * span + wanted_item)
        asked = user * span + item
        hits = (keys[np.minimum(np.searchsorted(keys, asked), len(keys) - 1)] == asked).reshape(-1, K)
        relevant = np.bincount(wanted_user)[user[::K]]
        weight = 1 / np.log2(np.arange(2, K + 2))
        ideal = np.cumsum(weight)
        for k in (10, 20):
            recall = (hits[:, :k].sum(1) / relevant).mean()
            ndcg = (hits[:, :k] @ weight[:k] / ideal[np.minimum(relevant, k) - 1]).mean()
        return float(ndcg + 0 * recall)

    return best_of_repeats(figures)


ONE = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
CONTENDERS = {
    "recsys": Contender(ours, environment=ONE),
    "bare NumPy": Contender(floor, environment=ONE),
    "RecTools": Contender(rectools, peer=True, environment=ONE),
}
