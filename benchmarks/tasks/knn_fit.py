"""Item neighbors by the cosine, 100 an item: fitting, and lists of 20 for all users, on Gowalla and MovieLens 1M.

Every rating of MovieLens 1M is an interaction. `implicit` counts an item among its own neighbors, so it is asked for
one more. The neighbors of 1,000 items are compared: one that is not ours counts as different where its cosine is above
the least of ours by more than rounding, so ties at the end of a list do not. The lists are `implicit`'s best without
what a user has; LensKit ranks through pipelines of one user at a time and is left out there. The interactions are in
each one's own form before the clock starts. Gowalla's Recall@20 is over its test interactions.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from speed import Bar, Contender, Measures

from tasks import common

TITLE = "Item neighbors: cosine, 100 an item"
DATA = ("Gowalla", "MovieLens 1M")
NEIGHBORS, SAMPLE, ROUNDING = 100, 1000, 1e-5


def prepare(data: Path, scratch: Path) -> None:
    train, test = common.gowalla(data)
    users, items, _ = common.movielens(data, "ml-1m")
    movies = common.ones(users, items, (int(users.max()) + 1, int(items.max()) + 1))
    for name, matrix in {"Gowalla": train, "Gowalla-test": test, "MovieLens 1M": movies}.items():
        sp.save_npz(scratch / f"{name}.npz", matrix)


def neighbors(similar: Any) -> tuple[np.ndarray, np.ndarray]:
    """Of some items, the neighbors and cosines from the items' rows of a sparse matrix, each (SAMPLE, NEIGHBORS)."""
    rows = np.sort(np.random.default_rng(0).permutation(similar.shape[0])[:SAMPLE])
    near, values = np.full((SAMPLE, NEIGHBORS), -1), np.zeros((SAMPLE, NEIGHBORS))
    for place, row in enumerate(rows):
        inside = slice(*similar.indptr[row : row + 2])
        found, cosine = similar.indices[inside], similar.data[inside]
        best = np.flatnonzero(found != row)
        best = best[np.argsort(-cosine[best], kind="stable")][:NEIGHBORS]
        near[place, : len(best)], values[place, : len(best)] = found[best], cosine[best]
    return near, values


def different(answer: Path, near: np.ndarray, values: np.ndarray) -> float:
    """Share of the neighbors in percent that are not ours; the first to ask, ours, leaves the answer."""
    if not answer.exists():
        np.savez(answer, near=near, values=values)
    with np.load(answer) as kept:
        our_near, our_values = kept["near"], kept["values"]
    wrong = 0
    for ours, theirs, least, cosine in zip(our_near, near, our_values.min(1), values, strict=True):
        wrong += int(np.sum(~np.isin(theirs, ours) & (cosine > least + ROUNDING)))
        wrong += max(0, int((ours >= 0).sum() - (theirs >= 0).sum()))
    return 100 * wrong / max(1, int((our_near >= 0).sum()))


def served(scratch: Path, name: str, recommend: Callable[[], np.ndarray]) -> Measures:
    """Time of lists for all users, and on Gowalla their recall."""
    lists, seconds = common.timed(recommend)
    measures = {"recommend all, s": seconds, "users a second (more is better)": len(lists) / seconds}
    test = scratch / f"{name}-test.npz"
    if test.exists():
        measures["Recall@20 (more is better)"] = common.list_recall(lists, common.load_matrix(test))
    return measures


def ours(name: str) -> Callable[[Path], Measures]:
    def run(scratch: Path) -> Measures:
        seen = common.load_matrix(scratch / f"{name}.npz")
        with common.compiling_first() as compiled:
            import recsys

            model = recsys.ItemKNN(
                n_neighbors=NEIGHBORS, similarity="cosine", feedback="implicit", n_jobs=common.N_JOBS
            )  # fmt: skip
            data = recsys.Dataset(common.interactions(seen))
            some = recsys.Dataset(common.interactions(common.some_rows(seen)))
            first = common.seconds(lambda: model.fit(some).recommend(k=common.K))
            compiled()
            fit = common.seconds(lambda: model.fit(data))
            lists = served(scratch, name, lambda: common.frame_lists(model.recommend(k=common.K), seen.shape[0]))
        # Column j of the weights holds the neighbors of item j.
        wrong = different(scratch / f"{name}-near.npz", *neighbors(model.weights_.T.tocsr()))
        return {"fit, s": fit, "neighbors not ours, %": wrong, **lists, "first call, s": first}

    return run


def implicit(name: str) -> Callable[[Path], Measures]:
    def run(scratch: Path) -> Measures:
        from implicit.nearest_neighbours import CosineRecommender

        seen = common.load_matrix(scratch / f"{name}.npz")
        model = CosineRecommender(K=NEIGHBORS + 1, num_threads=common.N_JOBS)
        first = common.seconds(lambda: model.fit(common.some_rows(seen), show_progress=False))
        fit = common.seconds(lambda: model.fit(seen, show_progress=False))
        users = np.arange(seen.shape[0])
        lists = served(scratch, name, lambda: model.recommend(users, seen, N=common.K)[0])
        wrong = different(scratch / f"{name}-near.npz", *neighbors(model.similarity))
        return {"fit, s": fit, "neighbors not ours, %": wrong, **lists, "first call, s": first}

    return run


def lenskit(name: str) -> Callable[[Path], Measures]:
    def run(scratch: Path) -> Measures:
        import pandas as pd
        from lenskit.data import from_interactions_df
        from lenskit.knn import ItemKNNScorer

        def data(matrix: Any) -> Any:
            coo = matrix.tocoo()
            return from_interactions_df(pd.DataFrame({"user_id": coo.row, "item_id": coo.col}))

        def trained(data: Any) -> ItemKNNScorer:
            model = ItemKNNScorer(max_nbrs=NEIGHBORS, save_nbrs=NEIGHBORS, feedback="implicit")
            model.train(data)
            return model

        seen = common.load_matrix(scratch / f"{name}.npz")
        some, all_of_it = data(common.some_rows(seen)), data(seen)
        first = common.seconds(lambda: trained(some))
        model, fit = common.timed(lambda: trained(all_of_it))
        wrong = different(scratch / f"{name}-near.npz", *neighbors(model.sim_matrix.to_scipy().tocsr()))
        return {"fit, s": fit, "neighbors not ours, %": wrong, "first call, s": first}

    return run


CONTENDERS: dict[str, Contender] = {}
BARS: list[Bar] = []
for name in DATA:
    CONTENDERS[f"recsys, {name}"] = Contender(ours(name), group=name)
    CONTENDERS[f"implicit, {name}"] = Contender(implicit(name), peer=True, environment=common.ONE_BLAS, group=name)
    CONTENDERS[f"LensKit, {name}"] = Contender(
        lenskit(name), peer=True, environment={"LK_NUM_THREADS": "2"}, group=name
    )
    BARS += [
        Bar(f"recsys, {name}", "fit, s", 0.75, (f"implicit, {name}", f"LensKit, {name}")),
        Bar(f"recsys, {name}", "recommend all, s", 0.2, (f"implicit, {name}",)),
    ]
