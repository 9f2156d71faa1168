"""Frappe, or planted clicks where it is not there, and a DLRM on them that one process and two are trained on alike."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recsys import DLRM, DeepFM
from recsys.data import Dataset

FRAPPE = Path(__file__).resolve().parents[3] / "shared" / "data" / "frappe" / "frappe_x1.parquet"
N_TRAIN, N_TEST = 16_000, 6_000
COLUMNS = ["user", "item", "daytime", "weekday", "isweekend", "homework", "cost", "weather", "country", "city"]


def click_frames() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows to train on and rows to test."""
    rng = np.random.default_rng(5)
    if FRAPPE.exists():
        # The items are most of the rows of all tables: theirs has to be cut.
        frame = pd.read_parquet(FRAPPE).sample(N_TRAIN + N_TEST, random_state=1)
    else:
        codes = {name: rng.integers(0, 10 * 3 ** (at % 4), N_TRAIN + N_TEST) for at, name in enumerate(COLUMNS)}
        # As in Frappe the items are most of the rows of all tables: theirs has to be cut.
        codes["item"] = rng.integers(0, 1500, N_TRAIN + N_TEST)
        logit = (
            sum(rng.normal(size=1500)[values] for values in codes.values())
            + rng.normal(size=(1500, 1500))[codes["user"], codes["item"]]
        )
        frame = pd.DataFrame({**codes, "label": (rng.random(len(logit)) < 1 / (1 + np.exp(-logit))).astype(float)})
    frame = frame[[*COLUMNS, "label"]]
    return frame[:N_TRAIN], frame[N_TRAIN:]


def clicks(frame: pd.DataFrame) -> Dataset:
    return Dataset(frame, user_col=None, item_col=None, context_cols=COLUMNS)


def dlrm(**changes: Any) -> DLRM:
    shape = {"embedding_dim": 8, "hidden_dims": (32,), "batch_size": 500, "epochs": 3, "learning_rate": 0.02}
    settings = {**shape, "optimizer": "rowwise_adagrad", "sharding": "planner", "monitor": "auc", "verbose": 0}
    return DLRM(**{**settings, **changes})


def wide(name: str) -> Any:
    """A model that moves tables by the named rule, by rates that fall, or two embeddings at once."""
    return {
        "sgd": dlrm(optimizer="sgd", learning_rate=0.1, epochs=1),
        "adagrad": dlrm(optimizer="adagrad", epochs=1),
        "falling": dlrm(epochs=3, learning_rate=0.5, plateau_factor=0.01),
        "two": DeepFM(
            hidden_dims=(8,), dropout=0.0, epochs=1, sharding="planner", optimizer="adagrad", monitor="auc", verbose=0
        ),
    }[name]
