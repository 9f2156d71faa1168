"""Users' lists beside what each user wanted: what every ranking metric reads."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recsys.errors import DataError, ParameterError
from recsys.kernels.topk import top_k_scores

Gain = Literal["binary", "linear", "exp"]


@dataclass(frozen=True, eq=False)
class Rankings:
    """Lists `items` (U, K) of codes, best first, padded on the right with -1, and relevant items of each user.

    User u's relevant items are `relevant[indptr[u]:indptr[u + 1]]`, ascending, each with its gain, by default 1. A list
    that holds an item twice is refused.
    """

    items: NDArray[np.int64]
    indptr: NDArray[np.int64]
    relevant: NDArray[np.int64]
    gains: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        ordered = np.sort(self.items, axis=1)
        twice = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(1)
        if twice.any():
            raise DataError(f"{int(twice.sum())} lists hold an item more than once, first list {int(np.argmax(twice))}")

    @classmethod
    def from_lists(cls, lists: Sequence[Sequence[Hashable]], relevant: Sequence[Sequence[Hashable]]) -> "Rankings":
        """From lists of ids and the ids that each user wanted."""
        if len(lists) != len(relevant):
            raise DataError(f"there are {len(lists)} lists but {len(relevant)} users who wanted something")
        codes: dict[Hashable, int] = {}
        wanted = [sorted(codes.setdefault(item, len(codes)) for item in set(one)) for one in relevant]
        table = np.full((len(lists), max((len(one) for one in lists), default=0)), -1, np.int64)
        for row, one in zip(table, lists, strict=True):
            row[: len(one)] = [codes.setdefault(item, len(codes)) for item in one]
        indptr = np.concatenate([[0], np.cumsum([len(one) for one in wanted])]).astype(np.int64)
        return cls(table, indptr, np.array([code for one in wanted for code in one], np.int64))

    @classmethod
    def from_scores(
        cls,
        scores: ArrayLike,
        k: int,
        indptr: NDArray[np.int64],
        relevant: NDArray[np.int64],
        gains: NDArray[np.float64] | None = None,
    ) -> "Rankings":
        """The best k of scores (U, I), equal ones by smaller code; -inf is no candidate, NaN is refused."""
        return cls(top_k_scores(finite(scores), checked_cut(k))[0], indptr, relevant, gains)

    @classmethod
    def from_pairs(
        cls,
        list_users: NDArray[np.integer],
        list_items: NDArray[np.integer],
        list_ranks: NDArray[np.integer],
        relevant_users: NDArray[np.integer],
        relevant_items: NDArray[np.integer],
        gains: NDArray[Any] | None = None,
        width: int | None = None,
    ) -> "Rankings":
        """From rows (user, item, rank from 1) of lists and rows (user, item) of what was wanted, in codes 0 to n - 1.

        Users are those that wanted something, ascending; one without a list has an empty one. Ranks above `width` are
        left out. A pair that was wanted twice counts once, with its first gain. O(n) memory for n the largest code.
        """
        n_users = int(max(list_users.max(initial=-1), relevant_users.max(initial=-1))) + 1
        present = np.bincount(relevant_users, minlength=n_users) > 0
        place = np.cumsum(present) - 1
        table = list_table(list_users, list_items, list_ranks, present, place, width)
        span = int(relevant_items.max(initial=-1)) + 1
        keys = place[relevant_users] * span + relevant_items
        kept = None
        if gains is not None:
            keys, first = np.unique(keys, return_index=True)
            kept = np.asarray(gains, np.float64)[first]
        elif not np.all(keys[1:] > keys[:-1]):
            keys = np.sort(keys)
            keys = keys[np.append(True, keys[1:] != keys[:-1])]
        rows, items = np.divmod(keys, max(span, 1))
        indptr = np.append(0, np.cumsum(np.bincount(rows, minlength=len(table)))).astype(np.int64)
        return cls(table, indptr, items, kept)

    def __len__(self) -> int:
        return len(self.items)

    # -- what metrics are made of ------------------------------------------------------------------------------------

    @cached_property
    def n_relevant(self) -> NDArray[np.int64]:
        """Relevant items of each user, (U,)."""
        return np.diff(self.indptr)

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """Where each list entry stands among the relevant items, (U, K); -1 for one that is not relevant."""
        found = np.full(self.items.shape, -1, np.int64)
        if len(self.relevant) == 0 or self.items.size == 0:
            return found
        span = int(max(self.relevant.max(), self.items.max())) + 2
        keys = np.repeat(np.arange(len(self)), self.n_relevant) * span + self.relevant
        asked = np.arange(len(self))[:, None] * span + np.where(self.items >= 0, self.items, span - 1)
        # Few entries are relevant. A table of the keys' last bits rules most of the others out before the search.
        last_bits = (1 << min(22, 3 + len(keys).bit_length())) - 1
        present = np.zeros(last_bits + 1, bool)
        present[keys & last_bits] = True
        maybe = present[asked & last_bits]
        at = np.minimum(np.searchsorted(keys, asked[maybe]), len(keys) - 1)
        found[maybe] = np.where(keys[at] == asked[maybe], at, -1)
        return found

    @cached_property
    def hits(self) -> NDArray[np.bool_]:
        """Whether each list entry is relevant, (U, K)."""
        return self.positions >= 0

    @cached_property
    def chances(self) -> NDArray[np.float64]:
        """Probability that the item at each place is relevant, (U, K): h_i itself unless ties are averaged."""
        return self.hits.astype(np.float64)

    @cached_property
    def n_hits(self) -> NDArray[np.float64]:
        """Expected number of relevant items among the first 0, 1, ..., K of each list, (U, K + 1)."""
        found = np.zeros((len(self), self.items.shape[1] + 1))
        np.cumsum(self.chances, axis=1, out=found[:, 1:])
        return found

    @cached_property
    def misses(self) -> NDArray[np.float64]:
        """Probability that none of the first 0, 1, ..., K of each list is relevant, (U, K + 1)."""
        return (self.n_hits == 0).astype(np.float64)

    @cached_property
    def hit_products(self) -> NDArray[np.float64]:
        """Expectation of h_i (h_1 + ... + h_i) at each place i, (U, K)."""
        return self.chances * self.n_hits[:, 1:]

    def values(self, kind: Gain) -> NDArray[np.float64]:
        """Gains of the relevant items, (R,): 1, the relevance, or 2^relevance - 1; a negative relevance gains nothing."""
        if self.gains is None or kind == "binary":
            return np.ones(len(self.relevant))
        raw = np.maximum(self.gains, 0)
        return 2.0**raw - 1 if kind == "exp" else raw

    def listed_values(self, kind: Gain) -> NDArray[np.float64]:
        """Expected gain of the item at each place, (U, K)."""
        if self.gains is None or kind == "binary":
            return self.chances
        return np.append(self.values(kind), 0.0)[self.positions]


def checked_cut(k: object) -> int:
    """A cut-off as an int of at least 1."""
    if isinstance(k, bool | np.bool_) or not isinstance(k, int | np.integer) or k < 1:
        raise ParameterError(f"k={k!r} is not allowed; a metric has one cut-off, an integer of at least 1")
    return int(k)


def finite(scores: ArrayLike) -> NDArray[np.floating]:
    """Scores (U, I) without NaN or infinity; -inf may stand for what is no candidate."""
    table = np.asarray(scores)
    wrong = np.isnan(table) | (table == np.inf)
    if wrong.any():
        row, item = np.argwhere(wrong)[0]
        raise DataError(f"{int(wrong.sum())} scores are NaN or infinite, first that of item code {item} in row {row}")
    return table


def list_table(
    users: NDArray[np.integer],
    items: NDArray[np.integer],
    ranks: NDArray[np.integer],
    present: NDArray[np.bool_],
    place: NDArray[np.int64],
    width: int | None,
) -> NDArray[np.int64]:
    """Lists (U, K) of the users that are `present`, at their `place`, from rows (user, item, rank from 1)."""
    if len(ranks) and (ranks.dtype.kind not in "iu" or ranks.min() < 1):
        first = ranks[0] if ranks.dtype.kind not in "iu" else ranks.min()
        raise DataError(f"ranks are whole numbers from 1; got {ranks.dtype} such as {first}")
    ranks = ranks.astype(np.int64, copy=False)
    longest = int(ranks.max(initial=0))
    kept = present[users]
    if width is not None and longest > width:
        longest, kept = width, kept & (ranks <= width)
    if not kept.all():
        users, items, ranks = users[kept], items[kept], ranks[kept]
    n_users = int(np.count_nonzero(present))
    table = np.full(n_users * longest, -1, np.int64)
    table[place[users] * longest + (ranks - 1)] = items
    repeated = len(users) - np.count_nonzero(table >= 0)
    if repeated:
        raise DataError(f"{repeated} rows of the lists have the user and the rank of another row; rank each list once")
    return table.reshape(n_users, longest)
