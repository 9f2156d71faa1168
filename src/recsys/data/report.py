"""What a data set looks like, in figures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from recsys.data.dataset import Dataset


@dataclass(frozen=True)
class Report:
    """Figures that show whether the data is what it seems."""

    interactions: int
    users: int
    items: int
    density: float
    """Share of user-item pairs that have an interaction."""
    repeated: int
    """Interactions beyond the first of their user and item."""
    single_users: int
    """Users with one interaction: nothing of theirs can be held out."""
    single_items: int
    cold_users: int
    """Users known by features or friends alone."""
    cold_items: int
    equal_times: float
    """Share of a user's consecutive interactions with equal timestamps: their order means nothing; NaN without times."""

    def __repr__(self) -> str:
        return "\n".join(
            f"{name.replace('_', ' '):<14}{value:,.4g}"
            if isinstance(value, float)
            else f"{name.replace('_', ' '):<14}{value:,}"
            for name, value in asdict(self).items()
        )


def report(data: Dataset) -> Report:
    """The figures of a data set with users and items."""
    pairs = data.user_codes * np.int64(data.n_items) + data.item_codes
    users = np.bincount(data.user_codes, minlength=data.n_users)
    items = np.bincount(data.item_codes, minlength=data.n_items)
    distinct = len(np.unique(pairs))
    equal = float("nan")
    if data.timestamps is not None:
        same_user = data.user_codes[1:] == data.user_codes[:-1]
        equal = (
            float(np.mean(data.timestamps[1:][same_user] == data.timestamps[:-1][same_user]))
            if same_user.any()
            else 0.0
        )
    return Report(
        interactions=len(data),
        users=data.n_users,
        items=data.n_items,
        density=distinct / (data.n_users * data.n_items),
        repeated=len(data) - distinct,
        single_users=int((users == 1).sum()),
        single_items=int((items == 1).sum()),
        cold_users=int((users == 0).sum()),
        cold_items=int((items == 0).sum()),
        equal_times=equal,
    )
