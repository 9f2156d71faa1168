"""Users' lists beside what each user wanted: what every ranking metric reads."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.errors import DataError


@dataclass(frozen=True, eq=False)
class Rankings:
    """Lists `items` (U, K) of codes, best first, padded on the right with -1, and relevant items of each user.

    User u's relevant items are `relevant[indptr[u]:indptr[u + 1]]`, ascending, each with its gain, by default 1.
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
        codes: dict[Hashable, int] = {}
        wanted = [sorted(codes.setdefault(item, len(codes)) for item in set(one)) for one in relevant]
        table = np.full((len(lists), max((len(one) for one in lists), default=0)), -1, np.int64)
        for row, one in zip(table, lists, strict=True):
            row[: len(one)] = [codes.setdefault(item, len(codes)) for item in one]
        indptr = np.concatenate([[0], np.cumsum([len(one) for one in wanted])]).astype(np.int64)
        return cls(table, indptr, np.array([code for one in wanted for code in one], np.int64))

    @classmethod
    def from_pairs(
        cls,
        list_users: NDArray[Any],
        list_items: NDArray[Any],
        list_ranks: NDArray[Any],
        relevant_users: NDArray[Any],
        relevant_items: NDArray[Any],
        gains: NDArray[Any] | None = None,
    ) -> "Rankings":
        """From rows (user, item, rank from 1) of lists and rows (user, item) of what was wanted, in codes.

        Users are those that wanted something, ascending; one without a list has an empty one.
        """
        users, row = np.unique(relevant_users, return_inverse=True)
        order = np.lexsort((relevant_items, row))
        keep = np.ones(len(order), bool)
        keep[1:] = (np.diff(row[order]) != 0) | (np.diff(relevant_items[order]) != 0)
        order = order[keep]
        indptr = np.concatenate([[0], np.cumsum(np.bincount(row[order], minlength=len(users)))]).astype(np.int64)
        at = np.minimum(np.searchsorted(users, list_users), max(len(users) - 1, 0))
        served = users[at] == list_users if len(users) else np.zeros(len(list_users), bool)
        table = np.full((len(users), int(list_ranks.max(initial=0))), -1, np.int64)
        table[at[served], np.asarray(list_ranks)[served] - 1] = np.asarray(list_items)[served]
        kept = None if gains is None else np.asarray(gains, np.float64)[order]
        return cls(table, indptr, np.asarray(relevant_items)[order].astype(np.int64), kept)

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def n_relevant(self) -> NDArray[np.int64]:
        """Relevant items of each user, (U,)."""
        return np.diff(self.indptr)

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """Where each list entry stands among the relevant items, (U, K); -1 for one that is not relevant."""
        if len(self.relevant) == 0 or self.items.size == 0:
            return np.full(self.items.shape, -1, np.int64)
        span = int(max(self.relevant.max(), self.items.max())) + 2
        keys = np.repeat(np.arange(len(self)), self.n_relevant) * span + self.relevant
        asked = np.arange(len(self))[:, None] * span + self.items
        at = np.minimum(np.searchsorted(keys, asked.ravel()), len(keys) - 1).reshape(asked.shape)
        return np.where((keys[at] == asked) & (self.items >= 0), at, -1)

    @cached_property
    def hits(self) -> NDArray[np.bool_]:
        """Whether each list entry is relevant, (U, K)."""
        return self.positions >= 0

    def gain(self, kind: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Gains of the relevant items (R,) and of the list entries (U, K); a negative relevance gains nothing."""
        raw = np.ones(len(self.relevant)) if self.gains is None or kind == "binary" else np.maximum(self.gains, 0)
        values = 2.0**raw - 1 if kind == "exp" else raw
        listed = np.where(self.hits, np.concatenate([values, [0.0]])[self.positions], 0.0)
        return values, listed
