"""Models whose network reads a user's row of the interaction matrix and scores all items."""

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys.base import Query
from recsys.data import Dataset, Histories
from recsys.families.neural import NeuralRecommender
from recsys.training import Examples, ProfileExamples


class ProfileRecommender(NeuralRecommender):
    """A network that maps a user's row of the interaction matrix to scores of all items."""

    reads_history: ClassVar[bool] = True

    @abstractmethod
    def _logits(self, net: Any, items: Tensor, lengths: Tensor) -> Tensor:
        """Scores of all items for ragged rows, items (N,) and lengths (B,): (B, I)."""

    def _examples(self, data: Dataset) -> Examples:
        return ProfileExamples(distinct(data))

    def _score_items(self, query: Query) -> NDArray[np.float32]:
        matrix = query.history.matrix(len(self.items_))
        items = self._to_device(matrix.indices.astype(np.int64))
        lengths = self._to_device(np.diff(matrix.indptr).astype(np.int64))
        with torch.inference_mode():
            return self._logits(self.module_, items, lengths).float().cpu().numpy()


def distinct(data: Dataset) -> Histories:
    """Each user's distinct items, by item code."""
    matrix = data.to_csr()
    return Histories(
        indptr=matrix.indptr.astype(np.int64),
        items=matrix.indices.astype(np.int64),
        ratings=None,
        weights=None,
        times=None,
    )
