"""SASRec by its losses on MovieLens 1M, next item, in the whole catalog and among 100 drawn items."""

from collections.abc import Iterator

import next_item
from next_item import Parts
from reproduce import Row

import recsys
from recsys import SASRec

TITLE = "SASRec and its losses on MovieLens 1M"
PROTOCOL = """Movies with fewer than five ratings left out, every rating an interaction in the order of time: 6,040
users, 3,416 items, 999,611 interactions, as in the SASRec paper. Each user's last item is the test, the one before it
the validation. A model is trained on all but these two and stops by NDCG@10 on the validation items; then it reads the
history up to and with the validation item. The test item is looked for in the whole catalog without the user's earlier
items, and, as in the paper, among itself and 100 items drawn uniformly from those that the user has not."""

COMMON = {"max_len": 200, "batch_size": 32, "learning_rate": 0.001, "monitor": "ndcg@10"}
MODELS = [
    (SASRec(loss="softmax", dropout=0.2, epochs=60, patience=5, **COMMON), "0.3152 / 0.1821"),
    (SASRec(loss="bce", dropout=0.2, epochs=200, patience=10, **COMMON), "0.2500 / 0.1341; of 100: 0.8245 / 0.5905"),
    (SASRec(loss="gbce", n_negatives=256, dropout=0.2, epochs=100, patience=5, **COMMON), "0.3003 / 0.1726"),
]
"""With the figures published for the same loss."""


def run() -> Iterator[Row]:
    parts = next_item.movielens()
    for model, published in MODELS:
        yield measured(model, parts, published)


def measured(model: SASRec, parts: Parts, published: str) -> Row:
    fitted = next_item.trained(model, parts)
    whole = next_item.measured(fitted, parts)
    history = parts.known.to_frame()
    drawn = recsys.evaluate(
        fitted, parts.test, metrics=next_item.METRICS, candidates=("sampled", 100), history=history, random_state=0
    )
    among = {
        f"{name} of 100": drawn[f"{metric}(sampled-100)"]
        for name, metric in zip(("HR@10", "NDCG@10"), next_item.METRICS, strict=True)
    }
    return {
        "model": repr(model), **next_item.cells([whole]), **among, **next_item.trainings([fitted]),
        "published": published,
    }  # fmt: skip
