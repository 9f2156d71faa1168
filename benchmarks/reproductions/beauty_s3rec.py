"""SASRec on the Beauty reviews of Amazon, as S3-Rec cut them."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from next_item import Parts, evaluated, row
from reproduce import Row

from recsys import Dataset, Popular, SASRec

TITLE = "Next item on Amazon Beauty, 22,363 users"
PROTOCOL = """Reviews of Amazon's beauty products as S3-Rec published them: 22,363 users, 12,101 items, 198,502
interactions, every user and item with at least five. Each user's last item is the test, the one before it the
validation. SASRec is trained on all but these two and stops by NDCG@10 on the validation items; the test item is looked
for in the whole catalog without the user's earlier items, after the history up to and with the validation item. Mean
and standard deviation over three seeds."""


def run() -> Iterator[Row]:
    parts = Parts.of(interactions())
    yield evaluated(Popular().fit(parts.known), parts)
    model = SASRec(
        loss="softmax", embedding_dim=64, max_len=50, dropout=0.5, batch_size=128, learning_rate=0.001, epochs=60,
        patience=5, monitor="ndcg@10",
    )  # fmt: skip
    yield row(model, parts, "0.0605 / 0.0318", n_seeds=3)


def interactions() -> Dataset:
    folder = Path(os.environ["RECSYS_DATA"]) / "amazon-beauty-s3rec"
    lists = pd.read_parquet(folder / "sequences.parquet").explode("items", ignore_index=True)
    frame = lists.rename(columns={"items": "item_id"}).astype({"item_id": "int32"})
    return Dataset(frame.assign(timestamp=np.arange(len(frame))))
