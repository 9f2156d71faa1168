"""Neighbors, linear models and factor models on the LightGCN paper's split of Gowalla."""

import time
from collections.abc import Iterable, Iterator, Mapping

from reproduce import Row, best_of

import recsys
from recsys import ALS, BPR, EASE, SLIM, WARP, Dataset, ItemKNN, Popular, Recommender, RP3Beta, UserKNN
from recsys.errors import DataError

TITLE = "Top-n on Gowalla, the split of the LightGCN paper"
PROTOCOL = """Training and test interactions as published (29,858 users, 40,981 items, 810,128 and 217,242
interactions). Options are picked by Recall@20 on a fifth of the training interactions, drawn at random; the best ones
are fitted on all of the training data and measured once on the test data, over the whole catalog without training
items. "fit" is the seconds of that last fit, "seconds" those of the whole row, picking included."""
METRICS = ("recall@20", "ndcg@20")

Grids = Mapping[str, tuple[str, Iterable[Recommender]]]
"""By name: published Recall@20 / NDCG@20, and the options to pick from."""

GRIDS: Grids = {
    "Popular": ("", [Popular()]),
    "ItemKNN": (
        "0.1570 / 0.1214 (ItemCF)",
        [
            ItemKNN(n_neighbors=200, shrinkage=20.0),
            *(
                ItemKNN(similarity="asymmetric", alpha=alpha, weighting="tfidf", n_neighbors=1000, shrinkage=shrinkage)
                for alpha in (0.8, 0.9)
                for shrinkage in (50.0, 100.0, 200.0)
            ),
        ],
    ),
    "UserKNN": ("", [UserKNN(n_neighbors=n, weighting="tfidf", shrinkage=10.0) for n in (50, 100, 200)]),
    "RP3Beta": (
        "",
        [
            RP3Beta(n_neighbors=n, alpha=alpha, item_alpha=0.6, beta=beta)
            for n in (500, 3000)
            for alpha in (0.6, 0.65)
            for beta in (0.25, 0.3)
        ],
    ),
    "SLIM": (
        "0.1699 / 0.1382",
        [
            SLIM(n_neighbors=200, regularization=l2, l1_regularization=l1)
            for l2, l1 in ((20.0, 0.5), (50.0, 0.5), (100.0, 0.5), (200.0, 0.5), (100.0, 0.2))
        ],
    ),
    "EASE": ("0.1765 / 0.1467", [EASE()]),
    "ALS": (
        "",
        [
            ALS(
                objective="unobserved", n_factors=512, regularization=penalty, unobserved_weight=weight, epochs=10,
                verbose=0,
            )
            for penalty, weight in ((0.006, 0.005), (0.006, 0.01), (0.004, 0.01))
        ],
    ),
    "BPR": (
        "0.1627 / 0.1378 (MF-BPR)",
        [
            BPR(
                n_factors=256, learning_rate=0.1, regularization=0.03, item_regularization=item_penalty, item_bias=False,
                init_std=0.03, hardest_of=hardest, epochs=100, n_jobs=-1, verbose=0,
            )
            for item_penalty, hardest in ((0.001, 16), (0.002, 8), (0.003, 8))
        ],
    ),
    "WARP": (
        "",
        [
            WARP(
                n_factors=64, max_sampled=100, regularization=1.0, item_regularization=item_penalty, epochs=25, n_jobs=-1,
                verbose=0,
            )
            for item_penalty in (0.3, 1.0)
        ],
    ),
}  # fmt: skip


def run() -> Iterator[Row]:
    yield from rows(*recsys.datasets.gowalla(), GRIDS)


def rows(train: Dataset, test: Dataset, grids: Grids) -> Iterator[Row]:
    """The best options of each grid, and their figures on the test data."""
    fit, validation = recsys.split.random(train, 0.2, random_state=0)
    for published, grid in grids.values():
        try:
            model = best_of(grid, fit, validation, "recall@20")
            start = time.perf_counter()
            model.fit(train)
        except DataError as error:
            yield {"model": f"refused: {error}", "published Recall@20 / NDCG@20": published}
            continue
        seconds = time.perf_counter() - start
        found = recsys.evaluate(model, test, metrics=METRICS)
        yield {
            "model": repr(model),
            "Recall@20": found["recall@20"],
            "NDCG@20": found["ndcg@20"],
            "published Recall@20 / NDCG@20": published,
            "fit": round(seconds, 1),
        }
