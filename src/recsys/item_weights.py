"""Models whose scores are a history times a sparse matrix of weights between items."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from recsys.base import Query, Recommender


class ItemWeightsRecommender(Recommender):
    """score(u, j) = sum over the history of x_ui W_ij: anyone with a history is served, and every score explains itself.

    A model's `_fit` sets `weights_`, a CSR matrix (I, I) whose column j holds what pulls item j.
    """

    reads_history: ClassVar[bool] = True

    weights_: Any

    def _score_items(self, query: Query) -> NDArray[np.float32]:
        return np.asarray((self._given(query) @ self.weights_).todense(), np.float32)

    def _given(self, query: Query) -> Any:
        """What a history is to the model, CSR (B, I) float32: ones, unless a model weighs them."""
        return query.history.matrix(len(self.items_))
