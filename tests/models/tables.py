"""Toy interactions as a matrix and as a frame."""

import numpy as np
import pandas as pd


def table(seed: int = 0, n_users: int = 40, n_items: int = 12) -> np.ndarray:
    """Users x items of zeros and ones; nobody and nothing is without interactions."""
    rng = np.random.default_rng(seed)
    x = (rng.random((n_users, n_items)) < rng.uniform(0.1, 0.6, n_items)).astype(float)
    x[np.arange(n_users), np.arange(n_users) % n_items] = 1
    return x


def as_frame(x: np.ndarray) -> pd.DataFrame:
    """A row for each entry that is not 0, with its value as a weight where one is not 1."""
    users, items = np.nonzero(x)
    frame = pd.DataFrame({"user_id": users, "item_id": items})
    return frame if set(np.unique(x)) <= {0, 1} else frame.assign(weight=x[users, items])
