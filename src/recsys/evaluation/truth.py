"""What an evaluation asks a model, and what the answer should be, in the model's codes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys.base import Query, Recommender
from recsys.data import Dataset, Histories, frames
from recsys.errors import DataError, UnsupportedError
from recsys.metrics import Metric
from recsys.request import ask_history


@dataclass(frozen=True, eq=False)
class Truth:
    """Users with something to find, ascending by id.

    Row u of `query` is the user `ids[u]`, of whom the model knows something where `served[u]`. Wanted is
    `items[indptr[u]:indptr[u + 1]]`, ascending; a code beyond the model's items is an item that it does not know. `gains`
    are the mean ratings of the pairs, if there are ratings.
    """

    ids: NDArray[Any]
    query: Query
    served: NDArray[np.bool_]
    indptr: NDArray[np.int64]
    items: NDArray[np.int64]
    gains: NDArray[np.float64] | None
    counts: dict[str, int]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def rows(self) -> NDArray[np.int64]:
        """User of each wanted item, (R,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.indptr))


def find_truth(
    model: Recommender, data: Dataset, history: Any, relevance_threshold: float | None, exclude_cold_items: bool
) -> Truth:
    """Pairs of the test data that a list should hold: relevant ones that the user has not seen."""
    if data.users is None:
        raise DataError("ranking metrics need users and items, and the test data has user_col=None, item_col=None")
    kept = relevant_rows(data, relevance_threshold)
    items = model.items_.encode(data.items.ids)
    items = np.where(items < 0, len(model.items_) + np.arange(len(items)), items)
    span = len(model.items_) + data.n_items
    keys, pair = np.unique(data.user_codes[kept] * span + items[data.item_codes[kept]], return_inverse=True)
    users, items = np.divmod(keys, span)
    gains = None if data.ratings is None else np.bincount(pair, data.ratings[kept]) / np.bincount(pair)
    query, served = ask_users(model, data, history)
    seen, cold = in_history(query.history, users, items, span), items >= len(model.items_)
    left = ~seen & ~(cold if exclude_cold_items else np.zeros(len(cold), bool))
    if not left.any():
        raise DataError("no test user has a relevant item, so there is nothing to evaluate")
    evaluated, n_relevant = np.unique(users[left], return_counts=True)
    counts = {
        "users": len(evaluated),
        "unknown users": int(np.count_nonzero(~served[evaluated])),
        "users without relevant items": len(np.unique(data.user_codes)) - len(evaluated),
        "seen pairs left out": int(seen.sum()),
        "cold pairs left out" if exclude_cold_items else "cold pairs": int((cold & ~seen).sum()),
    }
    return Truth(
        data.users.ids[evaluated],
        query[evaluated],
        served[evaluated],
        np.append(0, np.cumsum(n_relevant)),
        items[left],
        None if gains is None else gains[left],
        counts,
    )


def relevant_rows(data: Dataset, threshold: float | None) -> NDArray[np.bool_]:
    """Rows of test data that are relevant: labeled 1 where there are labels, rated at least the threshold if given."""
    if threshold is None:
        return data.positive
    if data.ratings is None:
        raise DataError(f"relevance_threshold={threshold} needs ratings in the test data")
    return data.positive & (data.ratings >= threshold)


def ask_users(model: Recommender, data: Dataset, history: Any) -> tuple[Query, NDArray[np.bool_]]:
    """The test data's users as the model knows them, or known by `history` alone; and whether it knows anything."""
    if history is None:
        codes = model.users_.encode(data.users.ids)
        return Query(codes, model.history_[codes]), codes >= 0
    if not model.supports("history"):
        raise model._cannot("history")
    names = model._names()
    frame = history.to_frame() if isinstance(history, Dataset) else history
    frames.column(frames.read(frame), names.user, "users of the history")
    asked = ask_history(frame, model.items_, names, "skip")
    table = asked.history[pd.Index(asked.ids).get_indexer(pd.Index(data.users.ids))]
    return Query(np.full(data.n_users, -1), table), table.lengths > 0


def in_history(history: Histories, rows: NDArray[np.int64], items: NDArray[np.int64], span: int) -> NDArray[np.bool_]:
    """Which pairs (row, item) the histories hold; item codes are below `span`."""
    held = np.repeat(np.arange(len(history)), history.lengths) * np.int64(span) + history.items
    return np.isin(rows * np.int64(span) + items, held)


def refuse_ungraded(metrics: Sequence[Metric], graded: bool) -> None:
    """Refuse metrics that read how relevant an item is where the test data does not say."""
    for metric in metrics:
        if metric.graded and not graded:
            raise UnsupportedError(f"{metric.name} needs ratings in the test data; without them use gain=binary")
