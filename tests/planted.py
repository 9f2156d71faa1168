"""Data whose answer is known by construction: users in taste groups that each like their own items."""

import numpy as np
import pandas as pd

from recsys import Dataset

N_USERS, N_ITEMS, N_GROUPS = 60, 40, 4


def frames(seed: int = 0, per_user: int = 8) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Interactions (user u likes the 10 items of group u % 4), user features and item features (two users and items
    without any)."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(N_USERS):
        first = 10 * (user % N_GROUPS)
        start = int(rng.integers(10))
        liked = [first + (start + step) % 10 for step in range(per_user)]
        for step, item in enumerate(liked):
            rows.append((user, item, 4.0 + rng.integers(2), 1, 100 * step + user))
        for item in rng.permutation(N_ITEMS)[:3]:
            if not first <= item < first + 10:
                rows.append((user, int(item), 1.0 + rng.integers(2), 0, 1000 + user))
    interactions = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "label", "timestamp"])
    users = pd.DataFrame({"user_id": range(N_USERS + 2), "group": [f"g{u % N_GROUPS}" for u in range(N_USERS + 2)]})
    items = pd.DataFrame(
        {
            "item_id": range(N_ITEMS + 2),
            "tags": [[f"t{i // 10}", f"p{i % 2}"] for i in range(N_ITEMS + 2)],
            "size": rng.random(N_ITEMS + 2),
        }
    )
    return interactions, users, items


def for_model(model: object, interactions: pd.DataFrame | None = None) -> Dataset:
    """The planted data with the roles that the model's task shape has."""
    given, users, items = frames()
    rows = given if interactions is None else interactions
    shape = getattr(model, "shape")  # noqa: B009
    if shape == "rating":
        rows = rows.drop(columns="label")
    elif shape == "click":
        rows = rows.drop(columns="rating")
    else:
        rows = rows[rows["label"] == 1].drop(columns=["label", "rating"])
    return Dataset(rows.reset_index(drop=True), user_features=users, item_features=items)
