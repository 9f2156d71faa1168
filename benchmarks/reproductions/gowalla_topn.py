"""Item neighbors, BPR and ALS on the LightGCN paper's split of Gowalla."""

from collections.abc import Iterable, Iterator

from reproduce import Row, best_of

import recsys
from recsys import ALS, BPR, ItemKNN, Popular, Recommender

TITLE = "Top-n on Gowalla, the split of the LightGCN paper"
PROTOCOL = """Training and test interactions as published (29,858 users, 40,981 items, 810,128 and 217,242
interactions). Options are picked by Recall@20 on a fifth of the training interactions, drawn at random; the best ones
are fitted on all of the training data and measured once on the test data, over the whole catalog without training
items."""
METRICS = ("recall@20", "ndcg@20")

GRIDS: dict[str, tuple[str, Iterable[Recommender]]] = {
    "Popular": ("", [Popular()]),
    "ItemKNN": (
        "0.1570 / 0.1214 (ItemCF)",
        [
            *(ItemKNN(n_neighbors=200, shrinkage=20.0, weighting=weighting) for weighting in ("none", "tfidf")),
            *(
                ItemKNN(
                    similarity="asymmetric", alpha=alpha, weighting=weighting, n_neighbors=n_neighbors,
                    shrinkage=shrinkage,
                )
                for alpha in (0.7, 0.8, 0.9)
                for weighting in ("none", "tfidf")
                for n_neighbors in (200, 1000)
                for shrinkage in (50.0,)
            ),
        ],
    ),
    "BPR": (
        "0.1627 / 0.1378 (MF-BPR)",
        [
            BPR(
                n_factors=dim, learning_rate=0.1, regularization=penalty, item_regularization=0.001, item_bias=False,
                init_std=0.03, epochs=200, verbose=0,
            )
            for dim, penalty in ((64, 0.01), (64, 0.03), (128, 0.03))
        ],
    ),
    "ALS": (
        "",
        [
            ALS(
                objective="unobserved", n_factors=dim, regularization=penalty, unobserved_weight=weight, epochs=10,
                verbose=0,
            )
            for dim, penalty, weight in ((128, 0.01, 0.003), (128, 0.005, 0.005), (256, 0.01, 0.005), (256, 0.006, 0.005))
        ],
    ),
}  # fmt: skip


def run() -> Iterator[Row]:
    train, test = recsys.datasets.gowalla()
    fit, validation = recsys.split.random(train, 0.2, random_state=0)
    for published, grid in GRIDS.values():
        model = best_of(grid, fit, validation, "recall@20")
        found = recsys.evaluate(model.fit(train), test, metrics=METRICS)
        yield {
            "model": repr(model),
            "Recall@20": found["recall@20"],
            "NDCG@20": found["ndcg@20"],
            "published Recall@20 / NDCG@20": published,
        }
