"""Probabilistic matrix factorization: the maximum a posteriori estimate under Gaussian priors.

Salakhutdinov & Mnih, "Probabilistic Matrix Factorization", NIPS 2007.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from recsys.base import Query
from recsys.data import Dataset
from recsys.kernels.rating_sgd import pmf_epoch
from recsys.models.factorization.ratings import RatingFactorRecommender, RatingsByUser
from recsys.params import NonNegative, Positive, PositiveInt


class PMF(RatingFactorRecommender):
    """r_ui = p_u . q_i, or low + (high - low) sigmoid(p_u . q_i): without mean and biases, which the vectors must learn.

    Minimizes 1/2 sum of squared errors + regularization / 2 sum of |p_u|^2 + item_regularization / 2 sum of |q_i|^2:
    the negative log posterior, the penalties being the noise's variance over that of the priors. A prior counts once a
    row however many ratings there are, so that a step pays its share: the penalty over the row's ratings.
    `training_log_` has the objective over the number of ratings, `loss`. Unknown users and items, and those without
    ratings, have no product: the mean of the ratings stands in for it.
    """

    n_factors: PositiveInt = 10
    """Length of the vectors."""
    link: Literal["identity", "sigmoid"] = "identity"
    """What the product goes through: nothing, or the logistic function, spread over the scale of the ratings."""
    regularization: NonNegative = 5.0
    """Penalty on a user's vector, and on an item's unless `item_regularization` is given."""
    item_regularization: NonNegative | None = None
    """Penalty on an item's vector; None stands for `regularization`."""
    learning_rate: Positive = 0.01
    """Step size."""

    def _start(self, data: Dataset, rng: np.random.Generator) -> None:
        super()._start(data, rng)
        counts = (
            np.bincount(data.user_codes, minlength=data.n_users),
            np.bincount(data.item_codes, minlength=data.n_items),
        )
        self._shares = [
            (penalty / np.maximum(count, 1)).astype(np.float32)
            for penalty, count in zip(self._penalties(), counts, strict=True)
        ]
        share = (self.mean_ - self.low_) / max(self.high_ - self.low_, 1e-6)
        self.level_ = float(logit(np.clip(share, 1e-6, 1 - 1e-6))) if self.link == "sigmoid" else self.mean_

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        super()._fit(data, validation)
        del self._shares

    def _penalties(self) -> tuple[float, float]:
        own = self.item_regularization
        return self.regularization, self.regularization if own is None else own

    def _learned(self) -> list[NDArray[Any]]:
        return [self._p, self._q]

    def _steps(self, order: NDArray[np.int64], seed: np.uint64, rate: np.float32, ratings: RatingsByUser) -> float:
        scale = np.float32(self.low_), np.float32(self.high_ - self.low_), self.link == "sigmoid"
        return pmf_epoch(order, seed, *ratings, *self._learned(), rate, *self._shares, *scale)

    def _epoch(self, rng: np.random.Generator, rate: float) -> float:
        return self._objective(self._pass(rng, rate)) / self._lengths.sum()

    def _objective(self, squares: float) -> float:
        """The paper's objective, given the sum of the squared errors."""
        norms = [np.square(part, dtype=np.float64).sum() for part in self._learned()]
        return float(0.5 * (squares + np.dot(self._penalties(), norms)))

    def _link(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.link == "identity":
            return super()._link(scores)
        return (self.low_ + (self.high_ - self.low_) * expit(scores)).astype(np.float32)

    def _user_vectors(self, query: Query) -> NDArray[np.float32]:
        known = ((query.users >= 0) & self.user_factors_[query.users].any(1))[:, None]
        # Against an item's 1 and whether it is unknown: the level, where one of the two is.
        level = self.level_ * np.hstack([~known, known])
        return np.hstack([np.where(known, self.user_factors_[query.users], 0), level]).astype(np.float32)

    def _item_vectors(self) -> NDArray[np.float32]:
        unknown = ~self.item_factors_.any(1, keepdims=True)
        return np.hstack([self.item_factors_, np.ones_like(unknown), unknown]).astype(np.float32)

    def _score_pairs(self, query: Query, items: NDArray[np.int64]) -> NDArray[np.float32]:
        p, q = self.user_factors_[query.users], self.item_factors_[items]
        known = (query.users >= 0) & (items >= 0) & p.any(1) & q.any(1)
        return np.where(known, np.einsum("bd,bd->b", p, q), self.level_).astype(np.float32)
