"""What models that learn from triples share: a user, an item the user has, and one the user has not."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.base import Query
from recsys.data import Dataset, Features
from recsys.errors import DataError
from recsys.kernels.parallel import over_rows
from recsys.kernels.rows import new_table
from recsys.models.factorization.descent import DescentRecommender
from recsys.models.factorization.feature_bags import bag_matrix
from recsys.models.factorization.held_out import held_out, held_out_recall
from recsys.params import NonNegative, Positive, PositiveInt

Draws = Literal["interactions", "users"]
NegativesFrom = Literal["uniform", "popularity"]


class Side(NamedTuple):
    """Users or items in training: a table, and the bag of its rows that each entity sums, CSR (entities, rows).

    Without a bag entity e is row e.
    """

    table: NDArray[np.float32]
    bag: Any

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """As the kernels take it."""
        if self.bag is None:
            return self.table, np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.float32)
        return self.table, self.bag.indptr.astype(np.int64), self.bag.indices.astype(np.int32), self.bag.data

    def vectors(self, size: int) -> NDArray[np.float32]:
        """The first numbers of the entities' vectors, (entities, size)."""
        rows = np.ascontiguousarray(self.table[:, 0, :size])
        return rows.copy() if self.bag is None else self.bag @ rows


class Positives(NamedTuple):
    """What is drawn from, as the kernels take it."""

    active: NDArray[np.int32]
    """Users with items, where users are drawn first; empty where interactions are drawn."""
    user_of: NDArray[np.int32]
    """User of each interaction."""
    indptr: NDArray[np.int64]
    items: NDArray[np.int32]
    """Items of user u, ascending, from indptr[u] to indptr[u + 1]."""
    proposals: NDArray[np.int32]
    """What negatives are drawn from, each as often as it stands there; empty for all items."""
    n_items: int


def drawn_from(data: Dataset, draws: Draws = "interactions", negatives: NegativesFrom = "uniform") -> Positives:
    """What users have, whether users are drawn before their items, and negatives evenly or by their number of users."""
    matrix = data.to_csr()
    lengths = np.diff(matrix.indptr)
    user_of = np.repeat(np.arange(data.n_users, dtype=np.int32), lengths)
    active = np.flatnonzero(lengths).astype(np.int32) if draws == "users" else np.empty(0, np.int32)
    items = matrix.indices.astype(np.int32)
    known = np.unique(items)
    proposals = items
    if negatives == "uniform":
        proposals = known if len(known) < data.n_items else np.empty(0, np.int32)
    return Positives(active, user_of, matrix.indptr.astype(np.int64), items, proposals, data.n_items)


def mean_loss(steps: Callable[[range], tuple[float, int]], n_steps: int, n_jobs: int) -> float:
    """Mean loss of a step of an epoch whose steps threads share, a range of their numbers at a time.

    `steps` makes a range of them and returns the sum of their losses and the number to divide it by.
    """
    made: list[tuple[float, int]] = []
    over_rows(lambda start, stop: made.append(steps(range(start, stop))), n_steps, n_jobs)
    return sum(loss for loss, _ in made) / max(1, sum(count for _, count in made))


class PairwiseRecommender(DescentRecommender):
    """Base of `BPR` and `WARP`: x_ui = p_u . q_i + b_i, learned from pairs of items that a user has and has not.

    An epoch is as many draws as there are distinct interactions. Negatives are items that somebody has: one that nobody
    has yet was not turned down.
    """

    lower_is_better: ClassVar[bool] = False

    n_factors: PositiveInt = 64
    """Length of the vectors."""
    regularization: NonNegative = 0.0
    """Penalty on a user's vector in each of the user's steps."""
    item_regularization: NonNegative | None = None
    """Penalty on the vectors and biases of a step's two items; None is `regularization`."""
    optimizer: Literal["sgd", "adagrad"] = "sgd"
    """Plain steps, or each number's divided by the root of its summed squared gradients, which start at 1."""
    item_bias: bool = True
    """Whether items have a bias."""
    draws: Draws = "interactions"
    """What is drawn evenly: an interaction, or a user and then one of the user's items. By users those with few items
    weigh as much as others, as in a figure that is a mean over users."""
    negatives: NegativesFrom = "uniform"
    """How items that the user has not are drawn: evenly, or by their number of users."""
    features: Literal["none", "users", "items", "both"] = "none"
    """Whose features are learned from: a vector is then the sum of one for the id and one for each feature."""
    init_std: Positive = 0.1
    """Standard deviation of the vectors at the start."""

    user_factors_: NDArray[np.float32]
    item_factors_: NDArray[np.float32]
    item_biases_: NDArray[np.float32]

    @abstractmethod
    def _steps(self, steps: range, seed: np.uint64, state: tuple[Any, ...]) -> tuple[float, int]:
        """Some steps of an epoch, by their numbers; returns the sum of their losses and the number to divide it by.

        `state` is what the kernels take from the positives to the penalties.
        """

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        rng = np.random.default_rng(self.random_state)
        self._positives = drawn_from(data, self.draws, self.negatives)
        seen_users, seen_items = (np.unique(codes) for codes in (self._positives.user_of, self._positives.items))
        self._users = self._side(rng, "users", data.user_features, data.n_users, seen_users, self.n_factors)
        columns = self.n_factors + self.item_bias
        self._items = self._side(rng, "items", data.item_features, data.n_items, seen_items, columns)
        self._wanted = None if validation is None else held_out(self, validation, self.random_state)
        self._descend(rng, validation)
        self._settle()
        del self._positives, self._users, self._items, self._wanted

    def _side(
        self,
        rng: np.random.Generator,
        name: str,
        features: Features | None,
        n: int,
        seen: NDArray[np.int32],
        n_columns: int,
    ) -> Side:
        """The table at the start: random vectors for what a step can reach, zeros, which say nothing, for the rest."""
        bag, reached, n_rows = None, seen, n
        if self.features in (name, "both"):
            if features is None:
                what = f"{name[:-1]}_features"
                raise DataError(f"{type(self).__name__}: features={self.features!r} needs Dataset(..., {what}=frame)")
            bag, names = bag_matrix(features)
            reached, n_rows = np.unique(bag[seen].indices), bag.shape[1]
            setattr(self, f"{name[:-1]}_feature_names_", names)
        adagrad = self.optimizer == "adagrad"
        table = new_table(n_rows, n_columns, 1 + adagrad)
        table[reached, 0, : self.n_factors] = rng.normal(0, self.init_std, (len(reached), self.n_factors))
        if adagrad:
            table[:, 1] = 1
        return Side(table, bag)

    def _epoch(self, rng: np.random.Generator, rate: float) -> float:
        seed = rng.integers(2**63, dtype=np.uint64)
        own = self.item_regularization
        numbers = (rate, self.regularization, self.regularization if own is None else own)
        bias_at = self.n_factors if self.item_bias else -1
        sides = (*self._users.arrays(), *self._items.arrays())
        state = (*self._positives, *sides, bias_at, *map(np.float32, numbers))
        return mean_loss(lambda steps: self._steps(steps, seed, state), len(self._positives.items), self.n_jobs)

    def _learned(self) -> list[NDArray[Any]]:
        return [self._users.table, self._items.table]

    def _settle(self) -> None:
        """Set what scores are made of from what epochs change."""
        size = self.n_factors
        self.user_factors_ = self._users.vectors(size)
        items = self._items.vectors(size + 1)
        self.item_factors_ = np.ascontiguousarray(items[:, :size])
        self.item_biases_ = items[:, size].copy() if self.item_bias else np.zeros(len(items), np.float32)
        if self._users.bag is not None:
            self.user_feature_factors_ = self._users.table[len(self.users_) :, 0, :size].copy()
        if self._items.bag is not None:
            self.item_feature_factors_ = self._items.table[len(self.items_) :, 0, :size].copy()
            if self.item_bias:
                self.item_feature_biases_ = self._items.table[len(self.items_) :, 0, size].copy()
        self.__dict__.pop("_served", None)

    def _validate(self, validation: Dataset) -> tuple[str, float]:
        self._settle()
        assert self._wanted is not None
        return held_out_recall(self, self._wanted)

    # -- scores ------------------------------------------------------------------------------------------------------

    def _score_pairs(self, query: Query, items: NDArray[np.int64]) -> NDArray[np.float32]:
        known = query.users >= 0
        products = np.einsum("bd,bd->b", self.user_factors_[query.users], self.item_factors_[items])
        return np.where(items >= 0, np.where(known, products, 0) + self.item_biases_[items], 0).astype(np.float32)

    def _user_vectors(self, query: Query) -> NDArray[np.float32]:
        vectors = np.where(query.users[:, None] >= 0, self.user_factors_[query.users], 0)
        return np.hstack([vectors, np.ones((len(query), int(self.item_bias)), np.float32)]).astype(np.float32)

    def _item_vectors(self) -> NDArray[np.float32]:
        if not self.item_bias:
            return self.item_factors_
        if "_served" not in self.__dict__:
            # Put together once: for one user's list that would cost more than the list.
            self._served = np.hstack([self.item_factors_, self.item_biases_[:, None]])
        return self._served
