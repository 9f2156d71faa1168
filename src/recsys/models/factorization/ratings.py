"""What factor models of ratings share: the scale, the start, an epoch over users, and RMSE on the validation data."""

from abc import abstractmethod
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.data import Dataset
from recsys.errors import DataError
from recsys.kernels.parallel import n_threads, run_all
from recsys.kernels.rows import new_table
from recsys.metrics.rating import rmse
from recsys.models.factorization.descent import DescentRecommender
from recsys.params import NonNegative, Positive, PositiveInt


class RatingsByUser(NamedTuple):
    """Training ratings: those of user u from indptr[u] to indptr[u + 1]. Epochs shuffle them within a user."""

    indptr: NDArray[np.int64]
    items: NDArray[np.int32]
    values: NDArray[np.float32]

    @classmethod
    def of(cls, data: Dataset, rows: NDArray[np.int64] | slice) -> "RatingsByUser":
        """Those of some rows of the data, which lie by user."""
        assert data.ratings is not None
        counts = np.bincount(data.user_codes[rows], minlength=data.n_users)
        items, values = data.item_codes[rows].astype(np.int32), data.ratings[rows].astype(np.float32)
        return cls(np.concatenate([[0], np.cumsum(counts)]), items, values)


class RatingFactorRecommender(DescentRecommender):
    """Base of `SVD`, `SVDpp` and `PMF`. An epoch takes users in random order and each one's ratings in random order.

    Threads have a share of the users each. The items are in as many parts, and in each turn a thread steps on the
    ratings of its users for another part: no two touch the same vector, nothing is lost, and the cores do not have to
    fetch vectors from each other. Gemulla et al., "Large-Scale Matrix Factorization with Distributed Stochastic Gradient
    Descent", KDD 2011.
    """

    shape: ClassVar[Literal["rating", "top-n", "click", "next-item"]] = "rating"
    needs: ClassVar[tuple[str, ...]] = ("rating",)

    n_factors: PositiveInt = 100
    """Length of the vectors."""
    init_std: NonNegative = 0.1
    """Standard deviation of the vectors at the start."""
    learning_rate: Positive = 0.005
    """Step size."""
    n_jobs: int = 1
    """Threads; -1 for all processors. The same seed and number of threads give bitwise the same model."""

    @abstractmethod
    def _steps(self, order: NDArray[np.int64], seed: np.uint64, rate: np.float32, ratings: RatingsByUser) -> float:
        """Steps over these ratings of some users; returns the sum of their squared errors."""

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        if validation is not None and validation.ratings is None:
            raise DataError(
                f"{type(self).__name__}: validation_data needs a rating column; pass rating_col=... to Dataset"
            )
        rng = np.random.default_rng(self.random_state)
        self._start(data, rng)
        self._descend(rng, validation)
        self._settle()
        del self._parts, self._lengths, self._p, self._q

    def _start(self, data: Dataset, rng: np.random.Generator) -> None:
        """Set what epochs read and change; the data is held by user."""
        assert data.ratings is not None
        self.mean_ = float(data.ratings.mean(dtype=np.float64))
        self.low_, self.high_ = float(data.ratings.min()), float(data.ratings.max())
        self._lengths = np.bincount(data.user_codes, minlength=data.n_users)
        self._parts = self._divided(data)
        self._p = self._table(rng, data.user_codes, data.n_users)
        self._q = self._table(rng, data.item_codes, data.n_items)

    def _divided(self, data: Dataset) -> list[RatingsByUser]:
        """The ratings by parts of the items, one a thread, of about as many ratings each."""
        threads = n_threads(self.n_jobs)
        if threads == 1:
            return [RatingsByUser.of(data, slice(None))]
        by_count = np.argsort(-np.bincount(data.item_codes, minlength=data.n_items), kind="stable")
        part = np.empty(data.n_items, np.int32)
        part[by_count] = np.arange(data.n_items) % threads
        parts = part[data.item_codes]
        return [RatingsByUser.of(data, np.flatnonzero(parts == t)) for t in range(threads)]

    def _table(self, rng: np.random.Generator, codes: NDArray[np.int64], n_rows: int) -> NDArray[np.float32]:
        """Vectors at the start, in the table that steps change."""
        table = new_table(n_rows, self.n_factors, 1)
        vectors = np.float32(self.init_std) * rng.standard_normal((n_rows, self.n_factors), np.float32)
        # A vector without a rating is never stepped; at zero it says nothing.
        vectors[np.bincount(codes, minlength=n_rows) == 0] = 0
        table[:, 0, : self.n_factors] = vectors
        return table

    def _vectors(self, table: NDArray[np.float32]) -> NDArray[np.float32]:
        return table[:, 0, : self.n_factors].copy()

    def _settle(self) -> None:
        """Set what scores are made of from what epochs change; before validation and at the end."""
        self.user_factors_, self.item_factors_ = self._vectors(self._p), self._vectors(self._q)

    def _epoch(self, rng: np.random.Generator, rate: float) -> float:
        return self._pass(rng, rate) / self._lengths.sum()

    def _pass(self, rng: np.random.Generator, rate: float) -> float:
        """One step a rating; returns the sum of the squared errors that the steps met."""
        order, seed = rng.permutation(len(self._lengths)), rng.integers(2**63, dtype=np.uint64)
        threads, parts = n_threads(self.n_jobs), self._parts
        done = np.cumsum(self._lengths[order])
        shares = np.split(order, np.searchsorted(done, done[-1] * np.arange(1, threads) / threads))
        squares = 0.0
        for turn in range(len(parts)):
            calls = [
                partial(self._steps, share, seed, np.float32(rate), parts[(t + turn) % len(parts)])
                for t, share in enumerate(shares)
            ]
            squares += sum(run_all(calls, threads))
        return squares

    def _validate(self, validation: Dataset) -> tuple[str, float]:
        self._settle()
        users = self.users_.encode(validation.users.ids)[validation.user_codes]
        items = self.items_.encode(validation.items.ids)[validation.item_codes]
        return "rmse", rmse(validation.ratings, self.predict_codes(users, items))

    def _link(self, scores: NDArray[np.float32]) -> NDArray[Any]:
        return np.clip(scores, self.low_, self.high_).astype(np.float32)
