"""Data for models that learn from triples, and how well they order it."""

from typing import Any

import numpy as np
import pandas as pd

from recsys import Dataset


def taste_frame(n_users: int = 40, n_items: int = 30, n_groups: int = 3, seed: int = 0) -> pd.DataFrame:
    """User u likes six of the items of group u % 3."""
    rng = np.random.default_rng(seed)
    rows = [(u, u % n_groups + n_groups * i) for u in range(n_users) for i in rng.permutation(n_items // n_groups)[:6]]
    return pd.DataFrame(rows, columns=["user_id", "item_id"])


def all_scores(model: Any) -> np.ndarray:
    """Scores (U, I) from the model's arrays alone."""
    return model.user_factors_ @ model.item_factors_.T + model.item_biases_


def well_ordered(model: Any, frame: pd.DataFrame) -> float:
    """Share of the pairs of an item that a user has and one the user has not whose order is right, mean over users."""
    seen = Dataset(frame).to_csr().toarray() > 0
    scores = all_scores(model)
    return float(np.mean([(row[own][:, None] > row[~own]).mean() for row, own in zip(scores, seen, strict=True)]))


def in_own_group(model: Any, n_groups: int = 3) -> float:
    """Share of unseen items recommended that are of the user's group."""
    found = model.recommend(k=3)
    return float((found["item_id"] % n_groups == found["user_id"] % n_groups).mean())
