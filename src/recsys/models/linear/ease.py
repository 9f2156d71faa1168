"""EASE: a linear item-to-item model with a closed form.

Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019.
"""

import os
from typing import ClassVar

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from recsys.base import Query, Recommender
from recsys.data import Dataset
from recsys.errors import DataError
from recsys.params import Positive


class EASE(Recommender):
    """min ||X - X B||^2 + regularization ||B||^2 with diag(B) = 0: B = I - P diag(1 / diag P), P = (X'X + regularization I)^-1.

    O(I^3) time and 18 I^2 bytes: up to about 37,000 items on 24 GiB; a catalog that cannot fit is refused before
    anything is allocated. Scores follow from a history, so anyone with one is served.
    """

    reads_history: ClassVar[bool] = True

    regularization: Positive = 250.0
    """Penalty on the weights, in interactions an item."""

    weights_: NDArray[np.float32]

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        check_memory(data.n_items)
        x = data.to_csr()
        # Counts are exact in float32; in column order LAPACK works on them in place.
        gram = np.asarray((x.T @ x).toarray(), np.float64, order="F")
        gram[np.diag_indices_from(gram)] += self.regularization
        self.weights_ = zero_diagonal_weights(inverse(gram, self.regularization)).astype(np.float32)

    def _score_items(self, query: Query) -> NDArray[np.float32]:
        return np.asarray(query.history.matrix(len(self.items_)) @ self.weights_)

    def _item_similarity(self, items: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.weights_[items].copy()

    def _explain(self, query: Query, item: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        seen = np.unique(query.history.items)
        return seen, self.weights_[seen, item]


def inverse(gram: NDArray[np.float64], regularization: float) -> NDArray[np.float64]:
    """Inverse of a symmetric positive definite matrix (I, I) by Cholesky, in its place."""
    found, failed = scipy.linalg.lapack.dpotrf(gram, lower=True, overwrite_a=True)
    if not failed:
        found, failed = scipy.linalg.lapack.dpotri(found, lower=True, overwrite_c=True)
    if failed:
        raise DataError(f"EASE: the Gram matrix cannot be inverted with regularization={regularization}; raise it")
    # LAPACK fills one triangle and leaves zeros in the other.
    found += np.tril(found, -1).T
    return found


def zero_diagonal_weights(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """B_ij = -P_ij / P_jj and B_jj = 0, in the place of P (I, I)."""
    p /= -np.diag(p)
    p[np.diag_indices_from(p)] = 0
    return p


def check_memory(n_items: int) -> None:
    """Refuse a catalog whose inverse Gram matrix and weights do not fit the machine."""
    needed = 18 * n_items**2
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else needed
    if needed > available:
        raise DataError(
            f"EASE needs {needed / 2**30:.0f} GiB for {n_items:,} items and this machine has {available / 2**30:.0f}; "
            "filter rare items (Dataset.filter(min_item_interactions=...)) or use ItemKNN"
        )
