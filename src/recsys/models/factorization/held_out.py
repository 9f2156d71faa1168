"""The figure that models of rankings stop by: Recall@20 on what users of the validation data have anew."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.base import Query, Recommender
from recsys.data import Dataset
from recsys.errors import DataError
from recsys.metrics import Rankings
from recsys.metrics.ranking import recall

VALIDATION_USERS, VALIDATION_CUT = 2000, 20
"""Lists of a validation: at most so many users, so many places."""


class HeldOut(NamedTuple):
    """Some users of the validation data, and the items (indptr, items) that their lists should hold."""

    query: Query
    indptr: NDArray[np.int64]
    items: NDArray[np.int64]


def held_out(model: Recommender, validation: Dataset, seed: int) -> HeldOut:
    """What the model does not know yet of known users and items; where users are many, some of them by the seed."""
    later, n_items = validation.histories(), len(model.items_)
    users = np.repeat(model.users_.encode(validation.users.ids), later.lengths)
    items = model.items_.encode(validation.items.ids)[later.items]
    history = model.history_
    seen = np.repeat(np.arange(len(history)), history.lengths) * n_items + history.items
    pairs = np.setdiff1d((users * n_items + items)[(users >= 0) & (items >= 0)], seen)
    if len(pairs) == 0:
        raise DataError(f"{type(model).__name__}: validation_data holds nothing new of a known user and item")
    users, items = np.divmod(pairs, n_items)
    chosen = np.random.default_rng(seed).permutation(np.unique(users))[:VALIDATION_USERS]
    kept = np.isin(users, chosen)
    asked, counts = np.unique(users[kept], return_counts=True)
    return HeldOut(Query(asked, history[asked]), np.append(0, np.cumsum(counts)), items[kept])


def held_out_recall(model: Recommender, wanted: HeldOut) -> tuple[str, float]:
    """Name and figure of the model as it now stands."""
    lists, _ = model.top_k_codes(wanted.query, min(VALIDATION_CUT, len(model.items_)))
    found = recall(Rankings(lists, wanted.indptr, wanted.items), VALIDATION_CUT)
    return f"recall@{VALIDATION_CUT}", float(found.mean())
