"""Models whose network reads a row of the interaction matrix, or of the rating matrix, and gives a score to each column."""

from abc import abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys.base import Query
from recsys.data import Dataset, Features, Histories
from recsys.errors import DataError
from recsys.families.neural import NeuralRecommender
from recsys.lists import block_rows
from recsys.training import Examples, ProfileExamples, RatingProfileExamples
from recsys.training.examples import ProfileBatch, RatingBatch


class ProfileRecommender(NeuralRecommender):
    """A network that maps a user's row of the interaction matrix to scores of all items."""

    reads_history: ClassVar[bool] = True

    @abstractmethod
    def _logits(self, net: Any, batch: Any) -> Tensor:
        """Scores of all items for ragged rows: (B, I). Row -1 is somebody known by history alone."""

    def _examples(self, data: Dataset) -> Examples:
        return ProfileExamples(profiles(data.to_csr()))

    def _batch(self, query: Query) -> Any:
        """What the network reads of the users of a query."""
        matrix = query.history.matrix(len(self.items_))
        return ProfileBatch(*self._ragged(matrix), self._to_device(query.users))

    def _ragged(self, matrix: Any) -> tuple[Tensor, Tensor]:
        """Columns (N,) of the entries of a sparse matrix and the length of each row (B,)."""
        lengths = np.diff(matrix.indptr).astype(np.int64)
        return self._to_device(matrix.indices.astype(np.int64)), self._to_device(lengths)

    def _score_items(self, query: Query) -> NDArray[np.float32]:
        with torch.inference_mode():
            return self._logits(self.module_, self._batch(query)).float().cpu().numpy()

    def score_codes(
        self, users: NDArray[np.int64], items: NDArray[np.int64], context: Features | None = None
    ) -> NDArray[np.float32]:
        """Scores of pairs of codes: each user's row is read once, and of its scores the pairs alone leave the device."""
        asked, row = np.unique(users, return_inverse=True)
        order, scores = np.argsort(row, kind="stable"), np.empty(len(users), np.float32)
        block = block_rows(len(self.items_))
        for start in range(0, len(asked), block):
            pairs = order[slice(*np.searchsorted(row[order], (start, start + block)))]
            query = Query(asked[start : start + block], self._history_of(asked[start : start + block]))
            scores[pairs] = self._score_some(query, row[pairs] - start, items[pairs])
        return scores

    def _score_some(self, query: Query, rows: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores of (row of the query, item) pairs, (n,); item code -1 scores 0."""
        with torch.inference_mode():
            table = self._logits(self.module_, self._batch(query))
            found = table[self._to_device(rows), self._to_device(np.maximum(items, 0))].float().cpu().numpy()
        return np.where(items >= 0, found, 0).astype(np.float32)


class RatingProfileRecommender(ProfileRecommender):
    """A network that maps the ratings of a row to ratings of all columns, in their own scale.

    An unknown user or item, one without ratings, and a user with an empty history have nothing to predict from: the
    mean of the training ratings stands in.
    """

    shape: ClassVar[Literal["rating", "top-n", "click", "next-item"]] = "rating"
    needs: ClassVar[tuple[str, ...]] = ("rating",)

    monitor: str = "rmse"
    """Metric of the validation data that picks the best epoch, any name of `recsys.metrics`."""

    mean_: float
    low_: float
    high_: float

    def _prepare(self, data: Dataset) -> None:
        assert data.ratings is not None
        self.mean_ = float(data.ratings.mean(dtype=np.float64))
        self.low_, self.high_ = float(data.ratings.min()), float(data.ratings.max())

    def _examples(self, data: Dataset) -> Examples:
        return RatingProfileExamples(profiles(data.to_csr("rating")))

    def _batch(self, query: Query) -> RatingBatch:
        matrix = self._ratings(query.history)
        return RatingBatch(*self._ragged(matrix), self._to_device(query.users), self._to_device(matrix.data))

    def _ratings(self, history: Histories) -> Any:
        """Users x items of ratings, (n, I)."""
        if history.ratings is None:
            raise DataError(f"{type(self).__name__} was fitted on ratings; give the history a 'rating' column")
        return history.matrix(len(self.items_), "rating")

    def _level(self) -> float:
        """The score that stands for the mean of the ratings."""
        return self.mean_

    def _score_items(self, query: Query) -> NDArray[np.float32]:
        scores = super()._score_items(query)
        scores[query.history.lengths == 0] = self._level()
        scores[:, self.item_counts_ == 0] = self._level()
        return scores

    def _score_some(self, query: Query, rows: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.float32]:
        known = (query.history.lengths[rows] > 0) & (items >= 0) & (self.item_counts_[items] > 0)
        return np.where(known, super()._score_some(query, rows, items), self._level()).astype(np.float32)

    def _link(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.clip(scores, self.low_, self.high_).astype(np.float32)


def profiles(matrix: Any) -> Histories:
    """Rows of a sparse matrix with sorted columns; their values are kept as ratings."""
    return Histories(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64), matrix.data.astype(np.float32))
