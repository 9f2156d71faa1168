"""Data and models that one process and two are trained on alike."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recsys import DCN, SASRec
from recsys.data import Dataset
from recsys.models.autoencoders.multvae import MultVAE
from recsys.models.fields.deepfm import DeepFM

N_ROWS = 601
"""With batches of 64 the last one is of 25 rows: two processes have unequal parts of it."""


def click_frame() -> pd.DataFrame:
    """Clicks that depend on the place and on a product of the place and the time."""
    rng = np.random.default_rng(3)
    place, time = rng.integers(0, 9, N_ROWS), rng.integers(0, 7, N_ROWS)
    logit = rng.normal(size=9)[place] + np.outer(rng.normal(size=9), rng.normal(size=7))[place, time]
    label = (rng.random(N_ROWS) < 1 / (1 + np.exp(-2 * logit))).astype(float)
    return pd.DataFrame({"place": place, "time": time, "label": label})


def clicks() -> Dataset:
    return Dataset(click_frame(), user_col=None, item_col=None, context_cols=["place", "time"])


def likes() -> Dataset:
    """Users who go round one of three circles of ten items, in order."""
    rng = np.random.default_rng(4)
    rows = [
        (user, 10 * (user % 3) + (start + step) % 10, step)
        for user, start in enumerate(rng.integers(0, 10, 61))
        for step in range(rng.integers(4, 10))
    ]
    return Dataset(pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]))


def write_stream(folder: Path) -> None:
    """The clicks in 7 row groups: one process streams 4 of them and the other 3."""
    click_frame().to_parquet(folder / "clicks.parquet", row_group_size=90)


def stream(folder: Path, **changes: Any) -> Dataset:
    path = folder / "clicks.parquet"
    return Dataset.from_parquet(path, user_col=None, item_col=None, context_cols=["place", "time"], **changes)


def scores(model: Any, data: Dataset) -> np.ndarray:
    """Scores of all rows of clicks, or of all items for all users."""
    if data.users is None:
        return model.predict(click_frame())
    users = np.repeat(np.arange(data.n_users), data.n_items)
    return model.predict_codes(users, np.tile(np.arange(data.n_items), data.n_users))


def sparse_model() -> tuple[Any, Dataset]:
    """A batch of 4 rows looks up less than the table has, so its gradients are sparse; the last batch is one row."""
    shape = {"embedding_dim": 4, "hidden_dims": (8,), "batch_size": 4, "learning_rate": 0.02, "dropout": 0.0}
    return DeepFM(optimizer="rowwise_adagrad", epochs=2, verbose=0, **shape), clicks()


def dense_model() -> tuple[Any, Dataset]:
    return DeepFM(
        embedding_dim=4, hidden_dims=(8,), batch_size=64, epochs=3, learning_rate=0.02, dropout=0.0, verbose=0
    ), clicks()


def normalized_model() -> tuple[Any, Dataset]:
    """Batch normalization takes its statistics of the whole batch. A bias before it has a gradient of noise alone, which
    Adam would turn into steps of full size."""
    return DCN(
        embedding_dim=4,
        hidden_dims=(8,),
        batch_norm=True,
        optimizer="sgd",
        batch_size=64,
        epochs=3,
        learning_rate=0.1,
        verbose=0,
    ), clicks()


def sequence_model() -> tuple[Any, Dataset]:
    """Without dropout, and the softmax over all items draws no negatives: nothing is random but the order."""
    return SASRec(embedding_dim=8, dropout=0.0, batch_size=16, epochs=3, max_len=6, verbose=0), likes()


def profile_model() -> tuple[Any, Dataset]:
    """Each process draws the noise of the code for itself."""
    shape = {"hidden_dims": (16,), "embedding_dim": 8, "dropout": 0.0}
    return MultVAE(**shape, batch_size=16, epochs=60, learning_rate=0.01, verbose=0), likes()


def streamed_model() -> DeepFM:
    """On 9 + 7 codes, in batches that hold them all."""
    return DeepFM(
        embedding_dim=4, hidden_dims=(8,), batch_size=64, epochs=8, learning_rate=0.02, dropout=0.0, verbose=0
    )


MODELS: dict[str, Callable[[], tuple[Any, Dataset]]] = {
    "sparse": sparse_model,
    "dense": dense_model,
    "normalized": normalized_model,
    "sequence": sequence_model,
    "profile": profile_model,
}
