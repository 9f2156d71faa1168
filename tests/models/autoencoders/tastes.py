"""Ratings and profiles whose structure is planted."""

import numpy as np
import pandas as pd


def ratings_frame(n_users: int = 60, n_items: int = 30, share: float = 0.5, seed: int = 0) -> pd.DataFrame:
    """User u gives 5 or 4 to the items of group u % 3 and 1 or 2 to others; of each a share is known."""
    rng = np.random.default_rng(seed)
    users, items = np.nonzero(rng.random((n_users, n_items)) < share)
    liked = users % 3 == items // (n_items // 3)
    rating = np.where(liked, 5.0, 1.0) + np.where(liked, -1.0, 1.0) * rng.integers(2, size=len(users))
    return pd.DataFrame({"user_id": users, "item_id": items, "rating": rating})


def taste_frame(n_users: int, first_user: int = 0, seed: int = 0) -> pd.DataFrame:
    """User u likes six of the ten items of group u % 4."""
    rng = np.random.default_rng(seed)
    rows = [(first_user + u, 10 * (u % 4) + i) for u in range(n_users) for i in rng.permutation(10)[:6]]
    return pd.DataFrame(rows, columns=["user_id", "item_id"])
