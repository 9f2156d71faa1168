"""Neighbors, linear models and factor models on the LightGCN paper's split of Yelp2018."""

from collections.abc import Iterator

from reproduce import Row

import recsys
from recsys import ALS, BPR, EASE, SLIM, ItemKNN, Popular, RP3Beta, UserKNN
from reproductions import gowalla_topn
from reproductions.gowalla_topn import Grids

TITLE = "Top-n on Yelp2018, the split of the LightGCN paper"
PROTOCOL = gowalla_topn.PROTOCOL.replace(
    "29,858 users, 40,981 items, 810,128 and 217,242", "31,668 users, 38,048 items, 1,237,259 and 324,147"
)

GRIDS: Grids = {
    "Popular": ("", [Popular()]),
    "ItemKNN": (
        "0.0639 / 0.0531 (ItemCF)",
        [
            ItemKNN(similarity="asymmetric", alpha=alpha, weighting="tfidf", n_neighbors=n, shrinkage=100.0)
            for alpha in (0.6, 0.7, 0.8)
            for n in (200, 1000)
        ],
    ),
    "UserKNN": ("", [UserKNN(n_neighbors=n, weighting="tfidf", shrinkage=10.0) for n in (100, 200, 400)]),
    "RP3Beta": ("", [RP3Beta(n_neighbors=500, alpha=alpha, beta=beta) for alpha in (0.6, 0.8) for beta in (0.2, 0.4)]),
    "SLIM": (
        "0.0646 / 0.0541",
        [
            SLIM(n_neighbors=200, regularization=l2, l1_regularization=l1)
            for l2, l1 in ((50.0, 1.0), (100.0, 1.0), (200.0, 1.0), (200.0, 0.5))
        ],
    ),
    "EASE": ("0.0657 / 0.0552", [EASE()]),
    "ALS": (
        "",
        [
            ALS(
                objective="unobserved", n_factors=512, regularization=penalty, unobserved_weight=weight, epochs=10,
                verbose=0,
            )
            for penalty, weight in ((0.01, 0.01), (0.007, 0.015), (0.005, 0.02))
        ],
    ),
    "BPR": (
        "0.0576 / 0.0468 (MF-BPR)",
        [
            BPR(
                n_factors=256, learning_rate=0.1, regularization=0.03, item_regularization=item_penalty, item_bias=False,
                init_std=0.03, hardest_of=8, epochs=80, n_jobs=-1, verbose=0,
            )
            for item_penalty in (0.001, 0.002)
        ],
    ),
}  # fmt: skip


def run() -> Iterator[Row]:
    yield from gowalla_topn.rows(*recsys.datasets.yelp2018(), GRIDS)
