"""SASRec and BERT4Rec on the Beauty reviews of Amazon, as BERT4Rec cut them."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from next_item import Parts, best_of, evaluated, row_of, trained
from reproduce import Row

from recsys import BERT4Rec, Dataset, Popular, SASRec

TITLE = "Next item on Amazon Beauty, 40,226 users"
PROTOCOL = """Reviews of Amazon's beauty products as BERT4Rec published them: 40,226 users, 54,542 items, 353,962
interactions, every user with at least five. Each user's last item is the test, the one before it the validation. A
model is trained on all but these two, with products in bfloat16, SASRec until NDCG@10 on the validation items has not
gone up for four epochs, and the epoch with the best one is kept; of BERT4Rec's options too those with the best one. The
test item is looked for in the whole catalog without the user's earlier items, after the history up to and with the
validation item."""

COMMON = {"max_len": 50, "batch_size": 128, "learning_rate": 0.001, "monitor": "ndcg@10", "precision": "bf16"}
SASREC = SASRec(loss="softmax", embedding_dim=64, dropout=0.5, epochs=60, patience=4, **COMMON)
BERT4RECS = [
    BERT4Rec(schedule="trapezoid", **options, **COMMON)
    for options in (
        {"embedding_dim": 64, "dropout": 0.5, "mask_share": 0.6, "epochs": 40},
        {"embedding_dim": 64, "dropout": 0.2, "mask_share": 0.2, "mask_last": False, "epochs": 60},
        {"embedding_dim": 128, "dropout": 0.2, "mask_share": 0.2, "mask_last": False, "epochs": 40},
    )
]
PUBLISHED = {SASRec: "0.0533 / 0.0327", BERT4Rec: "0.0338 / 0.0187"}


def run() -> Iterator[Row]:
    parts = Parts.of(interactions())
    yield evaluated(Popular().fit(parts.known), parts)
    for model in (trained(SASREC, parts), best_of(BERT4RECS, parts)):
        yield row_of([model], parts, PUBLISHED[type(model)])


def interactions() -> Dataset:
    frame = pd.read_parquet(Path(os.environ["RECSYS_DATA"]) / "amazon-beauty-bert4rec" / "interactions.parquet")
    return Dataset(frame[["user_id", "item_id"]].assign(timestamp=np.arange(len(frame))))
