"""Matrix factorization for pairwise ranking.

Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009.
"""

import time
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm.auto import tqdm

from recsys.base import Query
from recsys.data import Dataset
from recsys.errors import RecsysError
from recsys.factor import FactorRecommender
from recsys.kernels.ranking_sgd import bpr_epoch
from recsys.params import NonNegative, NonNegativeInt, Positive, PositiveInt

CHUNK = 1 << 18
"""Draws made at a time."""
TRIES = 8
"""Negatives drawn a step; the first that is no positive is taken."""


class BPR(FactorRecommender):
    """-ln sigmoid(x_ui - x_uj) with x = p . q + b_i, for an interaction (u, i) and an item j that u has not, by SGD.

    An epoch is as many draws of interactions, uniform and with replacement, as there are distinct ones. Serial, so
    the same seed gives bitwise the same model.
    """

    n_factors: PositiveInt = 64
    """Length of the vectors."""
    epochs: PositiveInt = 100
    """Passes of as many steps as there are interactions."""
    learning_rate: Positive = 0.05
    """Step size."""
    regularization: NonNegative = 0.01
    """Penalty on a user's vector in each of the user's steps."""
    item_regularization: NonNegative | None = None
    """Penalty on the vectors and biases of a step's two items; None is `regularization`."""
    optimizer: Literal["sgd", "adagrad"] = "sgd"
    """Plain steps, or steps divided by the root of the summed squared gradients."""
    item_bias: bool = True
    """Whether items have a bias."""
    negatives: Literal["uniform", "popularity"] = "uniform"
    """How items that the user has not are drawn: evenly, or by their number of users."""
    init_std: Positive = 0.1
    """Standard deviation of the vectors at the start."""
    random_state: NonNegativeInt = 0
    """Seed of initialization and draws."""
    verbose: NonNegativeInt = 1
    """1 shows a progress bar, 0 is silent."""

    user_factors_: NDArray[np.float32]
    item_factors_: NDArray[np.float32]
    item_biases_: NDArray[np.float32]

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        rng = np.random.default_rng(self.random_state)
        matrix = data.to_csr()
        rows = np.repeat(np.arange(data.n_users), np.diff(matrix.indptr))
        positives = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64)
        p, q = (rng.normal(0, self.init_std, (n, self.n_factors)).astype(np.float32) for n in matrix.shape)
        p[np.diff(matrix.indptr) == 0] = 0
        bias = np.zeros(data.n_items, np.float32)
        # Adagrad's sums start above 0, or a first step would be as long as the rate.
        squares = [
            np.full(a.shape if self.optimizer == "adagrad" else (0,) * a.ndim, 1e-1, np.float32) for a in (p, q, bias)
        ]
        own = self.item_regularization
        penalty_user, penalty_item = (
            np.float32(self.regularization),
            np.float32(self.regularization if own is None else own),
        )
        log: list[dict[str, float]] = []
        for epoch in tqdm(range(1, self.epochs + 1), disable=self.verbose < 1, desc="BPR"):
            start = time.perf_counter()
            loss, steps = 0.0, 0
            for first in range(0, len(rows), CHUNK):
                draws = rng.integers(len(rows), size=min(CHUNK, len(rows) - first))
                drawn = self._draw(rng, positives[1], data.n_items, len(draws))
                total, made = bpr_epoch(
                    draws, drawn, rows, *positives, p, q, bias, np.float32(self.learning_rate),
                    penalty_user, penalty_item, self.item_bias, *squares,
                )  # fmt: skip
                loss, steps = loss + total, steps + made
            if not np.isfinite(loss):
                raise RecsysError(f"BPR: the loss became NaN; lower learning_rate={self.learning_rate}")
            log.append({"epoch": epoch, "loss": loss / max(steps, 1), "seconds": time.perf_counter() - start})
        self.user_factors_, self.item_factors_, self.item_biases_ = p, q, bias
        self.training_log_ = pd.DataFrame(log)

    def _draw(self, rng: np.random.Generator, items: NDArray[np.int64], n_items: int, n: int) -> NDArray[np.int64]:
        if self.negatives == "uniform":
            return rng.integers(n_items, size=(n, TRIES))
        return items[rng.integers(len(items), size=(n, TRIES))]

    def _score_pairs(self, query: Query, items: NDArray[np.int64]) -> NDArray[np.float32]:
        known = query.users >= 0
        products = np.einsum("bd,bd->b", self.user_factors_[query.users], self.item_factors_[items])
        return np.where(items >= 0, np.where(known, products, 0) + self.item_biases_[items], 0).astype(np.float32)

    def _user_vectors(self, query: Query) -> NDArray[np.float32]:
        vectors = np.where(query.users[:, None] >= 0, self.user_factors_[query.users], 0)
        return np.hstack([vectors, np.ones((len(query), 1), np.float32)]).astype(np.float32)

    def _item_vectors(self) -> NDArray[np.float32]:
        return np.hstack([self.item_factors_, self.item_biases_[:, None]])
