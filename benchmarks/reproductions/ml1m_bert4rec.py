"""BERT4Rec on MovieLens 1M, next item."""

from collections.abc import Iterator

import next_item
from reproduce import Row

from recsys import BERT4Rec

TITLE = "BERT4Rec on MovieLens 1M"
PROTOCOL = """Movies with fewer than five ratings left out, every rating an interaction in the order of time: 6,040
users, 3,416 items, 999,611 interactions, as in the SASRec paper. Each user's last item is the test, the one before it
the validation. The model is trained on all but these two, and of all epochs the one with the best NDCG@10 on the
validation items is kept; then it reads the history up to and with the validation item. The test item is looked for in
the whole catalog without the user's earlier items."""

MODEL = BERT4Rec(
    embedding_dim=64, n_layers=2, n_heads=2, max_len=200, dropout=0.2, mask_share=0.2, mask_last=False, window_step=1.0,
    batch_size=32, learning_rate=0.001, schedule="trapezoid", epochs=140, monitor="ndcg@10",
)  # fmt: skip


def run() -> Iterator[Row]:
    yield next_item.row(MODEL, next_item.movielens(), "0.2843 / 0.1537")
