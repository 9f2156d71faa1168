"""Item neighbors, BPR and ALS on the LightGCN paper's split of Gowalla."""

from collections.abc import Iterable, Iterator

from reproduce import Row, best_of

import recsys
from recsys import ALS, BPR, ItemKNN, Popular, Recommender

TITLE = "Top-n on Gowalla, the split of the LightGCN paper"
PROTOCOL = """Training and test interactions as published (29,858 users, 40,981 items, 810,128 and 217,242
interactions). Options are picked by Recall@20 on a tenth of the training interactions, drawn at random; the best ones
are fitted on all of the training data and measured once on the test data, over the whole catalogue without training
items."""
METRICS = ("recall@20", "ndcg@20")

GRIDS: dict[str, tuple[str, Iterable[Recommender]]] = {
    "Popular": ("", [Popular()]),
    "ItemKNN": (
        "0.1570 / 0.1214 (ItemCF)",
        [
            ItemKNN(similarity=similarity, alpha=alpha, weighting=weighting, n_neighbors=n, shrinkage=shrinkage)
            for similarity, alpha in (("cosine", 0.5), ("asymmetric", 0.6))
            for weighting in ("none", "tfidf")
            for n in (100, 400)
            for shrinkage in (0.0, 5.0)
        ],
    ),
    "BPR": (
        "0.1627 / 0.1378 (MF-BPR)",
        [
            BPR(learning_rate=rate, regularization=penalty, item_bias=bias, epochs=150, verbose=0)
            for rate in (0.05, 0.1)
            for penalty in (0.005, 0.02)
            for bias in (False, True)
        ],
    ),
    "ALS": (
        "",
        [
            ALS(
                objective="unobserved", n_factors=128, regularization=penalty, unobserved_weight=weight,
                frequency_scaling=scaling, epochs=12, verbose=0,
            )
            for weight in (0.003, 0.01, 0.03)
            for penalty, scaling in ((0.003, 1.0), (0.01, 1.0), (0.05, 0.5))
        ],
    ),
}  # fmt: skip


def run() -> Iterator[Row]:
    train, test = recsys.datasets.gowalla()
    fit, validation = recsys.split.random(train, 0.1, random_state=0)
    for published, grid in GRIDS.values():
        model = best_of(grid, fit, validation, "recall@20")
        found = recsys.evaluate(model.fit(train), test, metrics=METRICS)
        yield {
            "model": repr(model),
            "Recall@20": found["recall@20"],
            "NDCG@20": found["ndcg@20"],
            "published Recall@20 / NDCG@20": published,
        }
