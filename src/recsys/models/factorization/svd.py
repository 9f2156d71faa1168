"""Biased matrix factorization by stochastic gradient descent.

Koren, Bell & Volinsky, "Matrix Factorization Techniques for Recommender Systems", IEEE Computer 2009.
"""

import time
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm.auto import tqdm

from recsys.base import Query
from recsys.data import Dataset
from recsys.errors import DataError, ParameterError, RecsysError
from recsys.factor import FactorRecommender
from recsys.kernels.rating_sgd import svd_epoch
from recsys.metrics.rating import rmse
from recsys.params import NonNegative, NonNegativeInt, Positive, PositiveInt


class SVD(FactorRecommender):
    """r_ui = mean + b_u + b_i + p_u . q_i, the squared error and regularization (|p|^2 + |q|^2 + b^2) by SGD.

    An unknown user or item leaves its terms out. Serial, so the same seed gives bitwise the same model.
    """

    shape: ClassVar[Literal["rating", "top-n", "click", "next-item"]] = "rating"
    needs: ClassVar[tuple[str, ...]] = ("rating",)

    n_factors: PositiveInt = 100
    """Length of the vectors."""
    epochs: PositiveInt = 20
    """Passes over the ratings, at most."""
    learning_rate: Positive = 0.005
    """Step size."""
    regularization: NonNegative = 0.02
    """Penalty on vectors and biases, at each rating."""
    init_std: NonNegative = 0.1
    """Standard deviation of the vectors at the start."""
    patience: PositiveInt | None = None
    """Epochs without a smaller validation RMSE before training stops; needs `validation_data`."""
    random_state: NonNegativeInt = 0
    """Seed of initialization and order."""
    verbose: NonNegativeInt = 1
    """1 shows a progress bar, 0 is silent."""

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        if self.patience is not None and validation is None:
            raise ParameterError(f"SVD: patience={self.patience} needs fit(data, validation_data=...)")
        if validation is not None and validation.ratings is None:
            raise DataError("SVD: validation_data needs a rating column; pass rating_col=... to Dataset")
        assert data.ratings is not None
        rng = np.random.default_rng(self.random_state)
        ratings = data.ratings.astype(np.float64)
        self._start(data, ratings, rng)
        log: list[dict[str, float]] = []
        best, kept = (np.inf, 0), self._state()
        for epoch in tqdm(range(1, self.epochs + 1), disable=self.verbose < 1, desc="SVD"):
            start = time.perf_counter()
            steps = rng.permutation(len(data)), data.user_codes, data.item_codes, ratings
            error = svd_epoch(*steps, self.mean_, *self._state(), self.learning_rate, self.regularization)
            if not np.isfinite(error):
                raise RecsysError(f"SVD: the loss became NaN; lower learning_rate={self.learning_rate}")
            row = {"epoch": epoch, "loss": error / len(data)}
            if validation is not None:
                row["rmse"] = self._validation_error(validation)
                if row["rmse"] < best[0]:
                    best, kept = (row["rmse"], epoch), [part.copy() for part in self._state()]
            log.append({**row, "seconds": time.perf_counter() - start})
            if self.patience is not None and epoch - best[1] >= self.patience:
                break
        self.user_biases_, self.item_biases_, p, q = kept
        self.user_factors_, self.item_factors_ = p.astype(np.float32), q.astype(np.float32)
        self.training_log_ = pd.DataFrame(log)

    def _start(self, data: Dataset, ratings: NDArray[np.float64], rng: np.random.Generator) -> None:
        self.mean_, self.low_, self.high_ = float(ratings.mean()), float(ratings.min()), float(ratings.max())
        self.user_biases_, self.item_biases_ = np.zeros(data.n_users), np.zeros(data.n_items)
        p, q = (rng.normal(0, self.init_std, (n, self.n_factors)) for n in (data.n_users, data.n_items))
        # A vector without a rating is never stepped; at zero it says nothing.
        p[np.bincount(data.user_codes, minlength=data.n_users) == 0] = 0
        q[np.bincount(data.item_codes, minlength=data.n_items) == 0] = 0
        self.user_factors_, self.item_factors_ = p, q

    def _validation_error(self, validation: Dataset) -> float:
        users = self.users_.encode(validation.users.ids)[validation.user_codes]
        items = self.items_.encode(validation.items.ids)[validation.item_codes]
        return float(rmse(validation.ratings, self.predict_codes(users, items)))

    def _state(self) -> list[NDArray[np.float64]]:
        return [self.user_biases_, self.item_biases_, self.user_factors_, self.item_factors_]

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

    def _link(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.clip(scores, self.low_, self.high_).astype(np.float32)
