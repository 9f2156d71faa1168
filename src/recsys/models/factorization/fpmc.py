"""Factorized Markov chains of single users: what comes next, by taste and by what came just before.

Rendle, Freudenthaler & Schmidt-Thieme, "Factorizing Personalized Markov Chains for Next-Basket Recommendation", WWW 2010.
"""

from typing import Any, ClassVar, Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.base import Query
from recsys.data import Dataset, Histories
from recsys.data.columns import runs
from recsys.errors import DataError
from recsys.kernels.markov_sgd import markov_epoch
from recsys.kernels.rows import new_table
from recsys.models.factorization.descent import DescentRecommender
from recsys.models.factorization.held_out import held_out, held_out_recall
from recsys.models.factorization.pairwise import drawn_from, mean_loss
from recsys.params import NonNegative, Positive, PositiveInt


class FPMC(DescentRecommender):
    """x_ui = p_u . q_i + mean over the last basket L of r_i . b_l: a taste and a Markov chain, learned together.

    -ln sigmoid(x_ui - x_uj) for an event (u, i), the basket before it, and an item j that u has not, by SGD. A user's
    first events have no basket before them: the taste alone learns from them. An epoch is as many draws of events, with
    replacement, as there are. The same seed gives bitwise the same model, unless `n_jobs` says otherwise.

    A fitted user is served by both terms. Someone known by `history=` alone has no p_u: the Markov term alone answers,
    and of the history only the last basket counts. Vectors are learned by `fit`; as with `BPR`, there is no
    `partial_fit`. Repeats that are wanted back are not learned, as no item of the user's own is ever a negative.
    Similar items and users are those of one taste.
    """

    shape: ClassVar[Literal["rating", "top-n", "click", "next-item"]] = "next-item"
    reads_history: ClassVar[bool] = True
    knows_users: ClassVar[bool] = True
    reads_events: ClassVar[bool] = True
    lower_is_better: ClassVar[bool] = False

    n_factors: PositiveInt = 64
    """Length of the vectors of each term."""
    regularization: NonNegative = 0.001
    """Penalty on the vectors of a step."""
    baskets: Literal["items", "sessions"] = "items"
    """What a basket is: an item, or the items of a session (`session_col` of the data). A session is learned from the
    one before it, and a history without sessions is one."""
    n_last: PositiveInt = 1
    """Baskets just before an item that count, together as one."""
    hardest_of: PositiveInt = 1
    """Negatives drawn a step, of which the one with the highest score is taken, as in `BPR`."""
    init_std: Positive = 0.01
    """Standard deviation of the vectors at the start."""

    user_factors_: NDArray[np.float32]
    """p, (U, D)."""
    item_factors_: NDArray[np.float32]
    """q, (I, D)."""
    next_factors_: NDArray[np.float32]
    """r, (I, D): of items as those that come next."""
    basket_factors_: NDArray[np.float32]
    """b, (I, D): of items as those that came before."""

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        history = self.history_
        if self.baskets == "sessions" and history.sessions is None:
            raise DataError(
                f"{type(self).__name__}: baskets='sessions' needs sessions; pass session_col=... to Dataset"
            )
        rng = np.random.default_rng(self.random_state)
        positives = drawn_from(data)
        self._events = history.items.astype(np.int32)
        self._drawn = (
            np.repeat(np.arange(len(history), dtype=np.int32), history.lengths),
            self._events,
            *baskets_before(history, self.baskets, self.n_last),
            positives.indptr,
            positives.items,
            positives.proposals,
            positives.n_items,
        )
        seen_users, seen_items = np.flatnonzero(history.lengths), np.unique(self._events)
        self._tables = (
            self._table(rng, data.n_users, seen_users, 1),
            self._table(rng, data.n_items, seen_items, 1),
            self._table(rng, data.n_items, seen_items, 2),
        )
        self._wanted = None if validation is None else held_out(self, validation, self.random_state)
        self._descend(rng, validation)
        self._settle()
        del self._events, self._drawn, self._tables, self._wanted

    def _table(self, rng: np.random.Generator, n: int, seen: NDArray[Any], n_parts: int) -> NDArray[np.float32]:
        """Vectors of a number of parts at the start: random for what a step can reach, zeros, which say nothing, else."""
        width = new_table(0, self.n_factors, 1).shape[2]
        table = new_table(n, n_parts * width, 1)
        parts = table.reshape(n, n_parts, width)
        parts[seen, :, : self.n_factors] = rng.normal(0, self.init_std, (len(seen), n_parts, self.n_factors))
        return table

    def _epoch(self, rng: np.random.Generator, rate: float) -> float:
        seed = rng.integers(2**63, dtype=np.uint64)
        state = (*self._drawn, *self._tables, np.float32(rate), np.float32(self.regularization), self.hardest_of)
        return mean_loss(
            lambda steps: markov_epoch(steps.start, steps.stop, seed, *state), len(self._events), self.n_jobs
        )

    def _learned(self) -> list[NDArray[Any]]:
        return list(self._tables)

    def _settle(self) -> None:
        """Set what scores are made of from what epochs change."""
        users, baskets, items = self._tables
        size = self.n_factors
        parts = items.reshape(len(items), 2, -1)[:, :, :size]
        self.user_factors_, self.basket_factors_ = users[:, 0, :size].copy(), baskets[:, 0, :size].copy()
        self.item_factors_, self.next_factors_ = parts[:, 0].copy(), parts[:, 1].copy()
        self.__dict__.pop("_served", None)

    def _validate(self, validation: Dataset) -> tuple[str, float]:
        self._settle()
        assert self._wanted is not None
        return held_out_recall(self, self._wanted)

    # -- scores ------------------------------------------------------------------------------------------------------

    def _user_vectors(self, query: Query) -> NDArray[np.float32]:
        tastes = np.where(query.users[:, None] >= 0, self.user_factors_[query.users], 0)
        means = last_baskets(query.history, self.baskets, self.n_last, len(self.items_)) @ self.basket_factors_
        return np.hstack([tastes, means]).astype(np.float32)

    def _item_vectors(self) -> NDArray[np.float32]:
        if "_served" not in self.__dict__:
            # Put together once: for one user's list that would cost more than the list.
            self._served = np.hstack([self.item_factors_, self.next_factors_])
        return self._served


def basket_edges(history: Histories, per: Literal["items", "sessions"]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each basket begins among the events, (baskets + 1), and the first basket of each row, (n + 1)."""
    if per == "items":
        return np.arange(len(history.items) + 1), history.indptr
    parts, rows = history.by_session()
    return parts.indptr, np.searchsorted(rows, np.arange(len(history) + 1))


def baskets_before(
    history: Histories, per: Literal["items", "sessions"], n_last: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each event, where the `n_last` baskets of its row before its own begin and end: they are empty at its first."""
    edges, firsts = basket_edges(history, per)
    basket = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
    first = np.repeat(firsts[:-1], history.lengths)
    return edges[np.maximum(basket - n_last, first)], edges[basket]


def last_baskets(history: Histories, per: Literal["items", "sessions"], n_last: int, n_items: int) -> Any:
    """Share of each item in the last `n_last` baskets of each row, CSR (n, I) float32; an empty row has none."""
    edges, firsts = basket_edges(history, per)
    starts = edges[np.maximum(firsts[1:] - n_last, firsts[:-1])]
    lengths = history.indptr[1:] - starts
    indptr, at = runs(starts, lengths)
    shares = np.repeat(1 / np.maximum(lengths, 1), lengths).astype(np.float32)
    table: Any = sp.csr_matrix((shares, history.items[at], indptr), shape=(len(history), n_items))
    return table
