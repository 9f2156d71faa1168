"""What factor models of ratings share: the scale, the start, an epoch over users, and RMSE on the validation data."""

from abc import abstractmethod
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.data import Dataset
from recsys.errors import DataError
from recsys.kernels.parallel import over_rows
from recsys.metrics.rating import rmse
from recsys.models.factorization.descent import DescentRecommender
from recsys.params import NonNegative, Positive, PositiveInt


class RatingsByUser(NamedTuple):
    """The training ratings: those of user u from indptr[u] to indptr[u + 1]. Epochs shuffle them within a user."""

    indptr: NDArray[np.int64]
    items: NDArray[np.int32]
    values: NDArray[np.float32]


class RatingFactorRecommender(DescentRecommender):
    """Base of `SVD`, `SVDpp` and `PMF`. An epoch takes users in random order and each one's ratings in random order."""

    shape: ClassVar[Literal["rating", "top-n", "click", "next-item"]] = "rating"
    needs: ClassVar[tuple[str, ...]] = ("rating",)

    n_factors: PositiveInt = 100
    """Length of the vectors."""
    init_std: NonNegative = 0.1
    """Standard deviation of the vectors at the start."""
    learning_rate: Positive = 0.005
    """Step size."""

    @abstractmethod
    def _steps(self, order: NDArray[np.int64], draws: NDArray[np.float32], rate: np.float32) -> float:
        """Steps over the ratings of some users; returns the sum of their squared errors."""

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        if validation is not None and validation.ratings is None:
            raise DataError(
                f"{type(self).__name__}: validation_data needs a rating column; pass rating_col=... to Dataset"
            )
        rng = np.random.default_rng(self.random_state)
        self._start(data, rng)
        self._descend(rng, validation)
        self._settle()
        del self._ratings

    def _start(self, data: Dataset, rng: np.random.Generator) -> None:
        """Set what epochs read and change; the data is held by user."""
        assert data.ratings is not None
        self.mean_ = float(data.ratings.mean(dtype=np.float64))
        self.low_, self.high_ = float(data.ratings.min()), float(data.ratings.max())
        indptr = np.concatenate([[0], np.cumsum(np.bincount(data.user_codes, minlength=data.n_users))])
        self._ratings = RatingsByUser(indptr, data.item_codes.astype(np.int32), data.ratings.astype(np.float32))
        self.user_factors_ = self._vectors(rng, data.user_codes, data.n_users)
        self.item_factors_ = self._vectors(rng, data.item_codes, data.n_items)

    def _vectors(self, rng: np.random.Generator, codes: NDArray[np.int64], n_rows: int) -> NDArray[np.float32]:
        vectors = rng.normal(0, self.init_std, (n_rows, self.n_factors)).astype(np.float32)
        # A vector without a rating is never stepped; at zero it says nothing.
        vectors[np.bincount(codes, minlength=n_rows) == 0] = 0
        return vectors

    def _settle(self) -> None:
        """Set what scores are made of from what epochs change; before validation and at the end."""

    def _epoch(self, rng: np.random.Generator, rate: float) -> float:
        return self._pass(rng, rate) / len(self._ratings.values)

    def _pass(self, rng: np.random.Generator, rate: float) -> float:
        """One step a rating; returns the sum of the squared errors that the steps met."""
        lengths = np.diff(self._ratings.indptr)
        order = rng.permutation(len(lengths))
        draws = rng.random(len(self._ratings.values), np.float32)
        squares: list[float] = []

        def work(start: int, stop: int) -> None:
            squares.append(self._steps(order[start:stop], draws, np.float32(rate)))

        over_rows(work, len(order), self.n_jobs, lengths[order])
        return sum(squares)

    def _validate(self, validation: Dataset) -> tuple[str, float]:
        self._settle()
        users = self.users_.encode(validation.users.ids)[validation.user_codes]
        items = self.items_.encode(validation.items.ids)[validation.item_codes]
        return "rmse", rmse(validation.ratings, self.predict_codes(users, items))

    def _link(self, scores: NDArray[np.float32]) -> NDArray[Any]:
        return np.clip(scores, self.low_, self.high_).astype(np.float32)
