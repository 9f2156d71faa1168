"""Implicit matrix factorization by alternating least squares.

Hu, Koren & Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008; Rendle et al., "Revisiting
the Performance of iALS on Item Recommendation Benchmarks", RecSys 2022.
"""

import time
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm.auto import tqdm

from recsys.base import Query
from recsys.data import Dataset, Histories
from recsys.factor import FactorRecommender
from recsys.kernels.als import solve_rows
from recsys.params import NonNegative, NonNegativeInt, Positive, PositiveInt


class ALS(FactorRecommender):
    """Least squares over all pairs, seen and unseen, each side solved exactly in turn.

    "confidence": sum c (x - p)^2 + regularization (|u|^2 + |v|^2), where a seen pair has p = 1 and c = alpha times
    its weight and an unseen one p = 0 and c = 1. "unobserved": sum over seen pairs of w (1 - p)^2 + unobserved_weight
    sum over all
    pairs of p^2 + regularization times (n_u + unobserved_weight I)^frequency_scaling |u|^2, and likewise for items.
    Users are solved last, so a
    known user's list is that of the user's history; anyone with one is served by the same solve. O(nnz D^2 + (U + I)
    D^3) an epoch.
    """

    reads_history: ClassVar[bool] = True

    n_factors: PositiveInt = 64
    """Length of the vectors."""
    epochs: PositiveInt = 15
    """Alternations."""
    regularization: NonNegative = 0.01
    """Penalty on the vectors."""
    objective: Literal["confidence", "unobserved"] = "confidence"
    """Which of the two published objectives is minimized."""
    alpha: Positive = 1.0
    """Confidence of a seen pair of weight 1, for "confidence"; that of an unseen pair is 1."""
    unobserved_weight: Positive = 0.1
    """Weight of every pair's squared score, for "unobserved"."""
    frequency_scaling: NonNegative = 1.0
    """Exponent of the size that scales a row's penalty, for "unobserved"."""
    init_std: Positive = 0.1
    """Standard deviation of a vector's norm at the start."""
    random_state: NonNegativeInt = 0
    """Seed of initialization."""
    n_jobs: int = -1
    """Threads; -1 is all processors. The result does not depend on it."""
    verbose: NonNegativeInt = 1
    """1 shows a progress bar, 0 is silent."""

    user_factors_: NDArray[np.float32]
    item_factors_: NDArray[np.float32]

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        rng = np.random.default_rng(self.random_state)
        by_user = self._weights(data.histories(), data.n_items)
        by_item = by_user.T.tocsr()
        std = self.init_std / self.n_factors**0.5
        users, items = (rng.normal(0, std, (n, self.n_factors)) for n in by_user.shape)
        log: list[dict[str, float]] = []
        for epoch in tqdm(range(1, self.epochs + 1), disable=self.verbose < 1, desc="ALS"):
            start = time.perf_counter()
            items = self._solve(by_item, users)
            users = self._solve(by_user, items)
            seconds = time.perf_counter() - start
            log.append({"epoch": epoch, "loss": self._objective(by_user, users, items), "seconds": seconds})
        self.training_log_ = pd.DataFrame(log)
        self.item_factors_ = items.astype(np.float32)
        # Solved once more from what is kept, so that a fold-in of the same history gives the same vector.
        self.user_factors_ = self._solve(by_user, self.item_factors_).astype(np.float32)

    def _weights(self, history: Histories, n_items: int) -> Any:
        return history.matrix(n_items, "ones" if history.weights is None else "weight").astype(np.float64)

    def _solve(self, matrix: Any, factors: NDArray[np.floating]) -> NDArray[np.float64]:
        """The best vectors of a matrix's rows given those of its columns: (n, D)."""
        wide = factors.astype(np.float64)
        gram = wide.T @ wide
        if self.objective == "confidence":
            confidence = self.alpha * matrix.data
            penalty = np.full(matrix.shape[0], self.regularization)
            return solve_rows(matrix, confidence - 1, confidence, gram, penalty, wide, self.n_jobs)
        return solve_rows(
            matrix, matrix.data, matrix.data, self.unobserved_weight * gram, self._penalty(matrix), wide, self.n_jobs
        )

    def _penalty(self, matrix: Any) -> NDArray[np.float64]:
        size = np.diff(matrix.indptr) + self.unobserved_weight * matrix.shape[1]
        return self.regularization * size**self.frequency_scaling

    def _objective(self, matrix: Any, users: NDArray[np.float64], items: NDArray[np.float64]) -> float:
        """What is minimized, exact: the sum over all pairs of squared scores is <U'U, V'V>."""
        every = float(((users.T @ users) * (items.T @ items)).sum())
        rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        seen = np.einsum("nd,nd->n", users[rows], items[matrix.indices])
        if self.objective == "confidence":
            confidence = self.alpha * matrix.data
            fit = every + float((confidence * (1 - seen) ** 2 - seen**2).sum())
            return fit + self.regularization * float((users**2).sum() + (items**2).sum())
        fit = self.unobserved_weight * every + float((matrix.data * (1 - seen) ** 2).sum())
        by_user, by_item = self._penalty(matrix), self._penalty(matrix.T.tocsr())
        return fit + float((by_user @ users**2).sum() + (by_item @ items**2).sum())

    def _user_vectors(self, query: Query) -> NDArray[np.float32]:
        vectors = np.where(query.users[:, None] >= 0, self.user_factors_[query.users], 0)
        new = np.flatnonzero((query.users < 0) & (query.history.lengths > 0))
        if len(new):
            vectors[new] = self._solve(self._weights(query.history[new], len(self.items_)), self.item_factors_)
        return vectors.astype(np.float32)

    def _item_vectors(self) -> NDArray[np.float32]:
        return self.item_factors_
