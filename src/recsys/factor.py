"""Models whose score is a dot product: they hand out vectors and get the exact top-k without a score matrix."""

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.base import Query, Recommender
from recsys.kernels.bounds import Catalog, catalog_of
from recsys.kernels.topk import Lists, top_k_dot, top_k_few
from recsys.lists import Seen, seen_rows

FEW_USERS = 8
"""So many are served one by one, from a catalog that rules items out; more share passes over all items."""


class FactorRecommender(Recommender):
    """A model whose score is a dot product: exact top-k without a score matrix, and similar items, come with it.

    The first list for 8 users or fewer takes O(I D + I log I) time more, and from then on the model holds D + 12 bytes an
    item, a copy in whole numbers, and the vectors where they are not `item_factors_` itself. It is not saved, and new
    factors must be assigned, not written in place.
    """

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
        users, rows = self._user_vectors(query), seen_rows(seen, slice(0, len(query)))
        if allowed is None and len(query) <= FEW_USERS:
            return top_k_few(users, self._catalog(), k, **rows)
        items = self._item_vectors() if allowed is None else self._item_vectors()[allowed]
        return top_k_dot(users, items, k, n_jobs=self._threads(), **rows)

    def _catalog(self) -> Catalog:
        """The item vectors and what bounds their scores, made once for these factors."""
        factors, catalog = self.__dict__.get("_bounded", (None, None))
        if catalog is None or factors is not self.item_factors_:
            catalog = catalog_of(self._item_vectors())
            self._bounded = self.item_factors_, catalog
        return catalog

    def _item_similarity(self, items: NDArray[np.int64]) -> NDArray[np.float32]:
        return cosine(self.item_factors_, items)

    def _user_similarity(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        return cosine(self.user_factors_, users)


def cosine(vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Cosine of some rows to all rows, (B, n); 0 where a vector is zero."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(norms > 0, norms, 1)
    return unit[rows] @ unit.T
