"""Models whose score is a dot product: they hand out vectors and get the exact top-k without a score matrix."""

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.base import Query, Recommender
from recsys.kernels.topk import Lists, top_k_dot
from recsys.lists import Seen, seen_rows


class FactorRecommender(Recommender):
    """A model whose score is a dot product: exact top-k without a score matrix, and similar items, come with it."""

    user_factors_: Any
    item_factors_: Any

    @abstractmethod
    def _user_vectors(self, query: Query) -> NDArray[np.float32]:
        """Vector of each row of the query, (B, D); zeros for a user that is nothing to the model."""

    @abstractmethod
    def _item_vectors(self) -> NDArray[np.float32]:
        """Vector of each item, (I, D); an item bias is one more column against a 1."""

    def _score_items(self, query: Query) -> NDArray[np.float32]:
        return self._user_vectors(query) @ self._item_vectors().T

    def _score_pairs(self, query: Query, items: NDArray[np.int64]) -> NDArray[np.float32]:
        # Each user's vector once: it may cost a pass of a network, or a solve.
        users, row = query.once()
        vectors = self._item_vectors()[np.maximum(items, 0)]
        scores = np.einsum("bd,bd->b", self._user_vectors(users)[row], vectors)
        return np.where(items >= 0, scores, 0).astype(np.float32)

    def _top_k(self, query: Query, k: int, allowed: NDArray[np.int64] | None, seen: Seen | None) -> Lists:
        users = np.ascontiguousarray(self._user_vectors(query), np.float32)
        items = self._item_vectors() if allowed is None else self._item_vectors()[allowed]
        rows = seen_rows(seen, slice(0, len(query)))
        return top_k_dot(users, np.ascontiguousarray(items, np.float32), k, n_jobs=self._threads(), **rows)

    def _item_similarity(self, items: NDArray[np.int64]) -> NDArray[np.float32]:
        return cosine(self.item_factors_, items)

    def _user_similarity(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        return cosine(self.user_factors_, users)


def cosine(vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Cosine of some rows to all rows, (B, n); 0 where a vector is zero."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(norms > 0, norms, 1)
    return unit[rows] @ unit.T
