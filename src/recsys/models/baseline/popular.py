"""The most popular items."""

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from recsys.base import Query, Recommender
from recsys.data import Dataset
from recsys.errors import DataError
from recsys.params import Positive


class Popular(Recommender):
    """The same score for everyone: how many users, or interactions, an item has; newer ones may count more."""

    personal: ClassVar[bool] = False
    reads_history: ClassVar[bool] = True

    count: Literal["users", "interactions"] = "users"
    """Count an item's distinct users, or all its interactions."""
    half_life: Positive | None = None
    """Time, in units of the timestamps, after which an interaction counts half; counts interactions. None: never."""

    item_scores_: NDArray[np.float32]

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        rows = data.positive
        if self.half_life is not None:
            if data.timestamps is None:
                raise DataError("Popular: half_life needs a timestamp column; pass timestamp_col=... to Dataset")
            age = data.timestamps.max() - data.timestamps[rows]
            scores = np.bincount(data.item_codes[rows], 0.5 ** (age / self.half_life), minlength=data.n_items)
        elif self.count == "interactions":
            scores = np.bincount(data.item_codes[rows], minlength=data.n_items)
        else:
            scores = self.item_counts_
        self.item_scores_ = scores.astype(np.float32)

    def _score_items(self, query: Query) -> NDArray[np.float32]:
        return np.repeat(self.item_scores_[None], len(query), axis=0)

    def _score_pairs(self, query: Query, items: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.where(items >= 0, self.item_scores_[items], 0).astype(np.float32)
