"""Implicit matrix factorization by alternating least squares.

Hu, Koren & Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008; Rendle et al., "Revisiting
the Performance of iALS on Item Recommendation Benchmarks", RecSys 2022.
"""

import time
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm.auto import tqdm

from recsys.base import Query
from recsys.data import Dataset, Histories
from recsys.factor import FactorRecommender
from recsys.models.factorization.least_squares import Half, gramian, penalty_of, principal_axes, rotated
from recsys.models.factorization.least_squares_device import solve_on
from recsys.params import NonNegative, NonNegativeInt, Positive, PositiveInt
from recsys.training import pick_device


class ALS(FactorRecommender):
    """Least squares over all pairs, seen and unseen, each side solved in turn.

    "confidence": sum c (x - p)^2 + regularization (|u|^2 + |v|^2), where a seen pair has p = 1 and c = alpha times
    its weight and an unseen one p = 0 and c = 1. "unobserved": sum over seen pairs of w (1 - p)^2 + unobserved_weight
    sum over all pairs of p^2 + regularization times (n_u + unobserved_weight I)^frequency_scaling |u|^2, and likewise
    for items. Weights are those of the data's weight column, else 1.

    Users are solved last and to the end, so a known user's list is that of the user's history; anyone with one is
    served by the same solve. Vectors are float32 and Gramians float64. `training_log_` has the exact objective of each
    epoch.
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
    solver: Literal["gradients", "cholesky", "blocks"] = "gradients"
    """How a side is solved, in multiplications an epoch: a few conjugate gradients in float32, O(nnz D + (U + I) D^2);
    exactly, O(nnz D^2 + (U + I) D^3); or blocks of coordinates in turn (iALS++), that with `block_size` for one D."""
    gradient_steps: PositiveInt = 3
    """Conjugate gradients a side and epoch, for "gradients"."""
    block_size: PositiveInt = 64
    """Coordinates in a block, for "blocks"."""
    init_std: Positive = 1.0
    """Standard deviation of a vector's norm at the start."""
    device: str = "auto"
    """Where "gradients" and "cholesky" solve, there in float32: "cpu", "cuda", or "auto", a GPU where there is one."""
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
        matrix = self._weights(self.history_, data.n_items)
        by_user, by_item = self._half(matrix), self._half(matrix.T.tocsr())
        std = self.init_std / self.n_factors**0.5
        users, items = (rng.normal(0, std, (n, self.n_factors)).astype(np.float32) for n in matrix.shape)
        log: list[dict[str, float]] = []
        for epoch in tqdm(range(1, self.epochs + 1), disable=self.verbose < 1, desc="ALS"):
            start = time.perf_counter()
            users, items = self._step(by_item, users, items)
            items, users = self._step(by_user, items, users)
            seconds = time.perf_counter() - start
            loss = by_user.value(users, items) + penalty_of(items, by_item.penalty)
            log.append({"epoch": epoch, "loss": loss, "seconds": seconds})
        self.training_log_ = pd.DataFrame(log)
        self._settle(by_user, items)

    def _weights(self, history: Histories, n_items: int) -> Any:
        return history.matrix(n_items, "ones" if history.weights is None else "weight")

    def _half(self, matrix: Any) -> Half:
        """The problem of a matrix's rows, given vectors of its columns."""
        if self.objective == "confidence":
            confidence = np.float32(self.alpha) * matrix.data
            penalty = np.full(matrix.shape[0], self.regularization, np.float32)
            return Half(matrix, confidence - 1, confidence, penalty, 1.0, self.n_jobs)
        size = np.diff(matrix.indptr) + self.unobserved_weight * matrix.shape[1]
        penalty = (self.regularization * size**self.frequency_scaling).astype(np.float32)
        return Half(matrix, matrix.data, matrix.data, penalty, self.unobserved_weight, self.n_jobs)

    def _step(
        self, half: Half, fixed: NDArray[np.float32], own: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Bring one side nearer to its minimum: the fixed side's vectors, which may have turned, and the new ones."""
        device = pick_device(self.device)
        if self.solver == "blocks":
            return fixed, half.by_blocks(fixed, own, self.block_size).astype(np.float32)
        if device.type != "cpu":
            return fixed, solve_on(
                device, half, fixed, own, self.gradient_steps if self.solver == "gradients" else None
            )
        if self.solver == "gradients":
            return half.nearer(fixed, own, self.gradient_steps)
        return fixed, half.exact(fixed).astype(np.float32)

    def _settle(self, by_user: Half, items: NDArray[np.float32]) -> None:
        """Keep the items' vectors, and of the users those that a fold-in of their history gives."""
        turn = self.solver == "gradients"
        self.item_factors_ = rotated(items, principal_axes(items, self.n_jobs)[1], self.n_jobs) if turn else items
        self.user_factors_ = self._folded_in(by_user)

    def _folded_in(self, half: Half) -> NDArray[np.float32]:
        if self.solver != "gradients":
            return half.exact(self.item_factors_, self._gram).astype(np.float32)
        return half.converged(self.item_factors_, np.diag(self._gram))

    @cached_property
    def _gram(self) -> NDArray[np.float64]:
        """Gramian of the items, made once and not saved; "gradients" leaves it diagonal."""
        return gramian(self.item_factors_, self.n_jobs)

    def _partial_fit(self, data: Dataset) -> None:
        """Solve the users and items that the new data names, then all users."""
        matrix = self._weights(self.history_, len(self.items_))
        by_user, by_item = self._half(matrix), self._half(matrix.T.tocsr())
        users, items = (
            np.vstack([old, np.zeros((n - len(old), self.n_factors), np.float32)])
            for old, n in ((self.user_factors_, len(self.users_)), (self.item_factors_, len(self.items_)))
        )
        touched = self.users_.encode(data.users.ids)
        users[touched] = by_user.rows(touched).exact(items)
        touched = self.items_.encode(data.items.ids)
        items[touched] = by_item.rows(touched).exact(users)
        self._settle(by_user, items)

    def _user_vectors(self, query: Query) -> NDArray[np.float32]:
        vectors, unknown = self.user_factors_[query.users], query.users < 0
        if unknown.any():
            vectors[unknown] = 0
            new = np.flatnonzero(unknown & (query.history.lengths > 0))
            if len(new):
                half = self._half(self._weights(query.history[new], len(self.items_)))
                vectors[new] = self._folded_in(half)
        return vectors

    def _item_vectors(self) -> NDArray[np.float32]:
        return self.item_factors_

    def _explain(self, query: Query, item: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        # A score is v A^-1 (sum of target_e v_e): each item of the history adds its own term.
        half = self._half(self._weights(query.history, len(self.items_)))
        seen = half.matrix.indices
        vectors = self.item_factors_.astype(np.float64)
        own = vectors[seen]
        equations = half.share * self._gram + (own.T * half.extra) @ own
        equations[np.diag_indices_from(equations)] += half.penalty[0]
        weights = np.linalg.lstsq(equations, vectors[item], rcond=None)[0]
        return seen.astype(np.int64), (half.target * (own @ weights)).astype(np.float32)
