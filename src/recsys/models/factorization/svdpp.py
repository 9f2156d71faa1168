"""SVD++: biased matrix factorization that also reads which items a user has rated.

Koren, "Factorization Meets the Neighborhood: a Multifaceted Collaborative Filtering Model", KDD 2008.
"""

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.data import Dataset
from recsys.kernels.rating_sgd import svdpp_epoch
from recsys.models.factorization.ratings import RatingsByUser
from recsys.models.factorization.svd import SVD
from recsys.params import NonNegative, Positive, PositiveInt


class SVDpp(SVD):
    """r_ui = mean + b_u + b_i + q_i . (p_u + |N(u)|^-1/2 sum of y_j over N(u)), N(u) being the items u has rated.

    N(u) is of the training data alone. Each step moves b_u, b_i, p_u, q_i and all y_j of N(u) by their gradients at the
    old values. Since a user's ratings follow each other, the sum over N(u) is carried along and the y_j are written once
    a user: the very same steps at O(D) a rating and O(|N(u)| D) a user. `user_factors_` are the whole vectors in the
    parentheses, `implicit_factors_` the y_j.
    """

    n_factors: PositiveInt = 20
    """Length of the vectors."""
    learning_rate: Positive = 0.007
    """Step size."""
    regularization: NonNegative = 0.02
    """Penalty on vectors and biases, at each rating."""
    n_jobs: int = 1
    """Threads. More than one step without locks and lose a little to each other: faster, but two fits differ."""

    def _divided(self, data: Dataset) -> list[RatingsByUser]:
        # A step moves the y_j of all items of the user: there are no parts of the items that threads could keep to.
        return [RatingsByUser.of(data, slice(None))]

    def _start(self, data: Dataset, rng: np.random.Generator) -> None:
        super()._start(data, rng)
        self._y = self._table(rng, data.item_codes, data.n_items)
        indptr, items, _ = self._parts[0]
        shape = (data.n_users, data.n_items)
        own: Any = sp.csr_matrix((np.ones(len(items), np.float32), items.copy(), indptr.copy()), shape=shape)
        own.sum_duplicates()  # an item rated twice is one of N(u)
        lengths = np.diff(own.indptr)
        own.data = np.repeat(np.maximum(lengths, 1) ** -0.5, lengths).astype(np.float32)
        self._own = own

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        super()._fit(data, validation)
        del self._own, self._y

    def _learned(self) -> list[NDArray[Any]]:
        return [*super()._learned(), self._y]

    def _settle(self) -> None:
        super()._settle()
        self.implicit_factors_ = self._vectors(self._y)
        self.user_factors_ += self._own @ self.implicit_factors_

    def _steps(self, order: NDArray[np.int64], seed: np.uint64, rate: np.float32, ratings: RatingsByUser) -> float:
        *learned, y = self._learned()
        fixed = np.float32(self.mean_), *learned, rate, np.float32(self.regularization)
        return svdpp_epoch(order, seed, *ratings, *fixed, self._own.indptr, self._own.indices, y)
