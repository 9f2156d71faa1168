"""RP3beta: three steps of a random walk between users and items, with a penalty on popular ends.

Paudel et al., "Updatable, Accurate, Diverse, and Scalable Recommendations for Interactive Applications", TiiS 2017;
Cooper et al., "Random Walks in Recommender Systems: Exact Computation and Simulations", WWW 2014 (the exponent alpha).
"""

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.base import Query
from recsys.item_weights import ItemWeightsRecommender, row_lists
from recsys.kernels.history import rank_history
from recsys.params import NonNegative, PositiveInt


class RP3Beta(ItemWeightsRecommender):
    """score(u, j) = sum_i p_ui^alpha W_ij with W_ij = sum_v p_iv^item_alpha p_vj^alpha / d_j^beta, where p are steps.

    p_ui = x_ui / d_u is the step from a user to an item, p_iu = x_ui / d_i the one from an item to a user, d are sums
    of x. Of each item the `n_neighbors` most likely ends are kept. With exponents 1 and beta 0 this is the walk's own
    probability. Time is the sum over users of the square of their items; memory is the neighbors.
    """

    n_neighbors: PositiveInt = 100
    """Ends kept for each item that a walk starts from."""
    alpha: NonNegative = 0.7
    """Exponent of the steps; below 1 makes what is rarely taken likelier."""
    beta: NonNegative = 0.3
    """Exponent of the popularity that divides an end; 0 is P3alpha."""
    item_alpha: NonNegative | None = None
    """Exponent of the step from an item to a user; None is `alpha`."""
    n_jobs: int = -1
    """Threads; -1 is all processors. The result does not depend on it."""

    def _learn(self, x: Any) -> None:
        # A weight of 0 is no edge: an exponent of 0 would turn it into one.
        x.eliminate_zeros()
        by_item = x.T.tocsr()
        d = degrees(by_item)
        to_users = steps(by_item, self.alpha if self.item_alpha is None else self.item_alpha)
        to_items = steps(x, self.alpha)
        to_items.data *= (np.where(d > 0, d, 1) ** -self.beta).astype(np.float32)[to_items.indices]
        itself = sp.identity(len(d), np.float32, "csr")
        self.weights_ = row_lists(*rank_history(to_users, to_items, self.n_neighbors, None, itself, self.n_jobs))

    def _given(self, query: Query) -> Any:
        return steps(self._matrix(query.history), self.alpha)


def degrees(matrix: Any) -> NDArray[np.float64]:
    """Sum of each row of a CSR matrix."""
    return np.asarray(matrix.sum(1, dtype=np.float64)).ravel()


def steps(matrix: Any, exponent: float) -> Any:
    """Probabilities of the steps from each row to the columns, to a power, CSR float32."""
    sums = np.repeat(degrees(matrix), np.diff(matrix.indptr))
    chances = (matrix.data / np.where(sums > 0, sums, 1)) ** exponent
    return sp.csr_matrix((chances.astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)
