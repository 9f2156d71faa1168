"""Nearest items by their features: a user's profile is the mean of the items in the history."""

from typing import Any, ClassVar, Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from recsys.base import Query, Recommender
from recsys.data import Dataset, frames
from recsys.errors import DataError
from recsys.models.content.vectors import compare, item_vectors, reads_as_text
from recsys.request import check_count


class ContentKNN(Recommender):
    """Cosine, dot product or Euclidean distance between a profile and the items' feature vectors.

    A vector column enters as it is and a numeric one standardized; tags, categories and the words of texts enter by
    TF-IDF, a word weighing (1 + ln count) (ln((1 + I) / (1 + n)) + 1) for n items that have it, each column scaled to
    norm 1. A profile is weighted by `weight` where the data has one. With "euclidean" the score is minus the distance.
    """

    needs: ClassVar[tuple[str, ...]] = ("item_features",)
    reads_history: ClassVar[bool] = True

    metric: Literal["cosine", "dot", "euclidean"] = "cosine"
    """How a profile and an item are compared."""
    text: tuple[str, ...] | Literal["auto"] = "auto"
    """String columns that are read word by word; "auto": those of several words of which hardly any value repeats."""

    dense_: NDArray[np.float64]
    sparse_: Any

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        features = data.item_features
        assert features is not None
        if not features.columns:
            raise DataError("ContentKNN: the item features have no column beside the ids")
        auto = tuple(column.name for column in features.columns if reads_as_text(column))
        text = auto if self.text == "auto" else self.text
        for name in text:
            vocabulary = features[name].vocabulary
            if features[name].kind != "categorical" or (vocabulary is not None and vocabulary.kind != "strings"):
                raise DataError(f"ContentKNN: text={self.text!r}, but {name!r} is no column of strings")
        self.dense_, self.sparse_ = item_vectors(features.columns, text, data.n_items)

    def nearest(self, vector: ArrayLike, k: int = 10) -> Any:
        """Items nearest to a vector (D,): a frame of item, rank and `distance` (euclidean) or `similarity`.

        The vector holds the numbers of vector and numeric columns first, then one for every tag, category and word.
        """
        self._check_fitted()
        k = check_count("ContentKNN", "k", k)
        profile = np.asarray(vector, np.float64).reshape(1, -1)
        n_dense, n_sparse = self.dense_.shape[1], self.sparse_.shape[1]
        if profile.shape[1] != n_dense + n_sparse:
            raise DataError(
                f"ContentKNN.nearest: the vector has {profile.shape[1]} numbers, items have {n_dense + n_sparse}"
            )
        scores = self._compare(profile[:, :n_dense], sp.csr_matrix(profile[:, n_dense:]), np.float64)[0]
        best = np.argsort(-scores, kind="stable")[:k]
        name, sign = ("distance", -1) if self.metric == "euclidean" else ("similarity", 1)
        columns = {
            self.item_col_: self.items_.decode(best),
            name: sign * scores[best],
            "rank": np.arange(1, len(best) + 1),
        }
        return frames.build(columns, self.frame_kind_)

    def _score_items(self, query: Query) -> NDArray[np.float32]:
        values = "ones" if query.history.weights is None else "weight"
        history = query.history.matrix(len(self.items_), values).astype(np.float64)
        totals = np.asarray(history.sum(1)).ravel()
        history = sp.diags(1 / np.where(totals > 0, totals, 1)) @ history
        return self._compare(history @ self.dense_, history @ self.sparse_)

    def _item_similarity(self, items: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._compare(self.dense_[items], self.sparse_[items])

    def _compare(self, dense: NDArray[np.float64], sparse: Any, dtype: Any = np.float32) -> NDArray[Any]:
        return compare(self.metric, (dense, sparse), (self.dense_, self.sparse_), dtype)
