"""SLIM: sparse non-negative weights between items.

Ning & Karypis, "SLIM: Sparse Linear Methods for Top-N Recommender Systems", ICDM 2011; Friedman et al., "Regularization
Paths for Generalized Linear Models via Coordinate Descent", Journal of Statistical Software 2010 (the solver).
"""

import logging
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.item_weights import ItemWeightsRecommender
from recsys.kernels.coordinate_descent import solve_columns
from recsys.kernels.measures import OVERLAP, Measure, Rows
from recsys.kernels.similarity import top_k_similar
from recsys.params import NonNegative, Positive, PositiveInt

GRAM_BYTES = 2**30
"""Size up to which the Gram matrix is kept; a larger one is made again, row by row, as it is needed."""


class SLIM(ItemWeightsRecommender):
    """min 1/2 ||X - X W||^2 + regularization / 2 ||W||^2 + l1_regularization ||W||_1 with W >= 0 and diag(W) = 0.

    Each column is a problem of its own, solved by coordinate descent on the Gram matrix. scikit-learn's `ElasticNet`
    divides the loss by the number of users: its alpha l1_ratio is l1_regularization / U. Memory is the weights, and a
    sparse Gram matrix where that fits 1 GiB.
    """

    regularization: NonNegative = 10.0
    """Penalty on the squared weights, in interactions."""
    l1_regularization: NonNegative = 1.0
    """Penalty on the weights, in interactions: items with no more common users have no weight for each other."""
    n_neighbors: PositiveInt | None = None
    """Items by cosine that a column may have weights for; None is all. About 100 makes large catalogs cheap."""
    max_iterations: PositiveInt = 500
    """Passes over a column's items, at most."""
    tolerance: Positive = 0.001
    """Where a column stops: its worst violation of the optimality conditions, as a share of the first."""
    n_jobs: int = -1
    """Threads; -1 is all processors. The result does not depend on it."""

    n_iterations_: NDArray[np.int64]
    """Passes that each column took; max_iterations + 1 where it was stopped."""

    def _learn(self, x: Any) -> None:
        by_item = x.T.tocsr()
        diagonal = np.asarray(x.multiply(x).sum(0), np.float64).ravel()
        left, right = by_item, x
        if 8 * min(len(diagonal) ** 2, int(np.square(np.diff(x.indptr).astype(np.float64)).sum())) <= GRAM_BYTES:
            left, right = sp.identity(len(diagonal), np.float32, "csr"), by_item @ x
        columns, self.n_iterations_ = solve_columns(
            left,
            right,
            diagonal,
            self._nearest(by_item),
            self.l1_regularization,
            self.regularization,
            self.tolerance,
            self.max_iterations,
            self.n_jobs,
        )
        # Turning columns into rows sorts them.
        self.weights_ = columns.tocsr()
        stopped = int((self.n_iterations_ > self.max_iterations).sum())
        if stopped:
            logging.getLogger(__name__).warning(
                "SLIM: %d of %d items were stopped by max_iterations=%d; raise it, or tolerance=%g",
                stopped, len(diagonal), self.max_iterations, self.tolerance,
            )  # fmt: skip

    def _nearest(self, by_item: Any) -> NDArray[np.int32] | None:
        """The items that each column may have weights for, (I, K) padded with -1; None where that is all."""
        if self.n_neighbors is None:
            return None
        cosine = Measure(OVERLAP["cosine"])
        return top_k_similar(by_item, Rows.of(by_item), self.n_neighbors, cosine, n_jobs=self.n_jobs)[0]
