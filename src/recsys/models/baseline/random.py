"""Random scores."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from recsys.base import Query, Recommender
from recsys.data import Dataset
from recsys.params import NonNegativeInt


class Random(Recommender):
    """A score in [0, 1) that depends on seed, user and item alone: `predict` agrees with `recommend` and both repeat."""

    personal: ClassVar[bool] = False

    random_state: NonNegativeInt = 0
    """Seed."""

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        self.n_items_ = data.n_items

    def _score_items(self, query: Query) -> NDArray[np.float32]:
        users = query.users.astype(np.uint64)[:, None]
        keys = users * np.uint64(self.n_items_) + np.arange(self.n_items_, dtype=np.uint64)
        keys += np.uint64((self.random_state * 0x9E3779B97F4A7C15) % 2**64)
        # The finalizer of SplitMix64: every bit of the key moves every bit of the score.
        keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        keys ^= keys >> np.uint64(31)
        return ((keys >> np.uint64(40)).astype(np.float32)) * np.float32(2**-24)
