"""Biased matrix factorization by stochastic gradient descent.

Koren, Bell & Volinsky, "Matrix Factorization Techniques for Recommender Systems", IEEE Computer 2009.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.base import Query
from recsys.data import Dataset
from recsys.kernels.rating_sgd import svd_epoch
from recsys.models.factorization.ratings import RatingFactorRecommender, RatingsByUser
from recsys.params import NonNegative, PositiveInt


class SVD(RatingFactorRecommender):
    """r_ui = mean + b_u + b_i + p_u . q_i, the squared error and regularization (|p|^2 + |q|^2 + b^2) by SGD.

    An unknown user or item leaves its terms out.
    """

    n_factors: PositiveInt = 100
    """Length of the vectors."""
    regularization: NonNegative = 0.02
    """Penalty on vectors and biases, at each rating."""

    def _start(self, data: Dataset, rng: np.random.Generator) -> None:
        super()._start(data, rng)
        self.user_biases_, self.item_biases_ = np.zeros(data.n_users, np.float32), np.zeros(data.n_items, np.float32)

    def _learned(self) -> list[NDArray[Any]]:
        return [self.user_biases_, self.item_biases_, self._p, self._q]

    def _steps(self, order: NDArray[np.int64], seed: np.uint64, rate: np.float32, ratings: RatingsByUser) -> float:
        penalty = np.float32(self.regularization)
        return svd_epoch(order, seed, *ratings, np.float32(self.mean_), *self._learned(), rate, penalty)

    def _user_vectors(self, query: Query) -> NDArray[np.float32]:
        known = query.users[:, None] >= 0
        vectors = np.where(known, self.user_factors_[query.users], 0)
        level = self.mean_ + np.where(known, self.user_biases_[query.users][:, None], 0)
        return np.hstack([vectors, level, np.ones_like(level)]).astype(np.float32)

    def _item_vectors(self) -> NDArray[np.float32]:
        biases = self.item_biases_[:, None]
        return np.hstack([self.item_factors_, np.ones_like(biases), biases]).astype(np.float32)

    def _score_pairs(self, query: Query, items: NDArray[np.int64]) -> NDArray[np.float32]:
        users = query.users
        scores = self.mean_ + np.where(users >= 0, self.user_biases_[users], 0)
        scores += np.where(items >= 0, self.item_biases_[items], 0)
        products = np.einsum("bd,bd->b", self.user_factors_[users], self.item_factors_[items])
        return (scores + np.where((users >= 0) & (items >= 0), products, 0)).astype(np.float32)
