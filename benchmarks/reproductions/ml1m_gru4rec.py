"""GRU4Rec through whole histories on MovieLens 1M, next item, beside SASRec's page."""

from collections.abc import Iterator

import next_item
from reproduce import Row

from recsys import GRU4Rec

TITLE = "GRU4Rec on MovieLens 1M, next item"
PROTOCOL = """Movies with fewer than five ratings left out, every rating an interaction in the order of time: 6,040
users, 3,416 items, 999,611 interactions, as in the SASRec paper. Each user's last item is the test, the one before it
the validation. GRU4Rec is trained on all but these two, in windows, with the softmax over the catalog and products in
bfloat16; its options are picked by NDCG@10 on the validation items, and the epochs end by it. The test item is looked
for in the whole catalog without the user's earlier items; the history is read up to and with the validation item."""
COMMON = {
    "batching": "windows", "loss": "softmax", "optimizer": "adam", "learning_rate": 0.003, "max_len": 200,
    "batch_size": 32, "epochs": 20, "patience": 3, "monitor": "ndcg@10", "verbose": 0,
    "precision": "bf16",
}  # fmt: skip
PUBLISHED = "0.2811 / 0.1648 (all items kept)"
OPTIONS = [
    GRU4Rec(**COMMON, embedding_dim=dim, hidden_dim=dim, embedding=embedding, dropout=dropout, embedding_dropout=0.2)
    for dim, embedding, dropout in ((128, "tied", 0.2), (128, "separate", 0.2), (256, "separate", 0.3))
]


def run() -> Iterator[Row]:
    parts = next_item.movielens()
    yield next_item.row_of([next_item.best_of(OPTIONS, parts)], parts, PUBLISHED)
