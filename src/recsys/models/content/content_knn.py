"""Nearest items by their features: a user's profile is the mean of the items in the history."""

from typing import Any, ClassVar, Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from recsys.base import Query, Recommender
from recsys.data import Column, Dataset, frames
from recsys.errors import DataError
from recsys.request import check_count


class ContentKNN(Recommender):
    """Cosine, dot product or Euclidean distance between a profile and the items' feature vectors.

    A vector column enters as it is and a numeric one standardized; tags and categories enter by TF-IDF, a tag
    weighing ln((1 + I) / (1 + n)) + 1 for n items that have it, each column scaled to norm 1. With "euclidean" the
    score is minus the
    distance.
    """

    needs: ClassVar[tuple[str, ...]] = ("item_features",)
    reads_history: ClassVar[bool] = True

    metric: Literal["cosine", "dot", "euclidean"] = "cosine"
    """How a profile and an item are compared."""

    vectors_: Any

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        features = data.item_features
        assert features is not None
        if not features.columns:
            raise DataError("ContentKNN: the item features have no column beside the ids")
        self.vectors_ = sp.hstack([column_vectors(column, data.n_items) for column in features.columns]).tocsr()

    def nearest(self, vector: ArrayLike, k: int = 10) -> Any:
        """Items nearest to a vector (D,): a frame of item, rank and `distance` (euclidean) or `similarity`."""
        self._check_fitted()
        k = check_count("ContentKNN", "k", k)
        profile = np.asarray(vector, np.float64).reshape(1, -1)
        if profile.shape[1] != self.vectors_.shape[1]:
            raise DataError(
                f"ContentKNN.nearest: the vector has {profile.shape[1]} numbers, items have {self.vectors_.shape[1]}"
            )
        scores = self._compare(sp.csr_matrix(profile))[0]
        best = np.argsort(-scores, kind="stable")[:k]
        name, sign = ("distance", -1) if self.metric == "euclidean" else ("similarity", 1)
        columns = {
            self.item_col_: self.items_.decode(best),
            name: sign * scores[best],
            "rank": np.arange(1, len(best) + 1),
        }
        return frames.build(columns, self.frame_kind_)

    def _score_items(self, query: Query) -> NDArray[np.float32]:
        history = query.history.matrix(len(self.items_)).astype(np.float64)
        lengths = np.maximum(np.diff(history.indptr), 1)
        return self._compare(sp.diags(1 / lengths) @ history @ self.vectors_).astype(np.float32)

    def _item_similarity(self, items: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._compare(self.vectors_[items]).astype(np.float32)

    def _compare(self, profiles: Any) -> NDArray[np.float64]:
        """Scores (B, I) of sparse profiles (B, D): larger is nearer."""
        dot = np.asarray((profiles @ self.vectors_.T).todense(), np.float64)
        if self.metric == "dot":
            return dot
        own, other = row_squares(profiles)[:, None], row_squares(self.vectors_)[None]
        if self.metric == "euclidean":
            # Rounding can leave a square of zero below it.
            return -np.sqrt(np.maximum(own + other - 2 * dot, 0))
        norm = np.sqrt(own * other)
        return np.where(norm > 0, dot / np.where(norm > 0, norm, 1), 0)


def row_squares(matrix: Any) -> NDArray[np.float64]:
    """Squared norm of each row."""
    return np.asarray(matrix.multiply(matrix).sum(1), np.float64).ravel()


def column_vectors(column: Column, n_items: int) -> Any:
    """One feature column as sparse vectors (I, d)."""
    if column.kind == "vector":
        return sp.csr_matrix(column.vectors.astype(np.float64))
    if column.kind == "numeric":
        return sp.csr_matrix(column.values.astype(np.float64)[:, None])
    indptr = np.arange(n_items + 1) if column.kind == "categorical" else column.indptr
    rows, known = np.repeat(np.arange(n_items), np.diff(indptr)), column.codes >= 0
    entries = (np.ones(int(known.sum())), (rows[known], column.codes[known]))
    counts = sp.csr_matrix(entries, shape=(n_items, max(column.size, 1)))
    holders = np.bincount(counts.indices, minlength=counts.shape[1])
    weighted = counts @ sp.diags(np.log((1 + n_items) / (1 + holders)) + 1)
    norms = np.sqrt(row_squares(weighted))
    return sp.diags(1 / np.where(norms > 0, norms, 1)) @ weighted
