"""Users' items in time order, as one ragged table."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.errors import DataError


@dataclass(frozen=True, eq=False)
class Histories:
    """Row u holds `items[indptr[u]:indptr[u + 1]]`, oldest first.

    Beside each item stand its rating, weight and time, where the data has them.
    """

    indptr: NDArray[np.int64]
    items: NDArray[np.int64]
    ratings: NDArray[np.float32] | None = None
    weights: NDArray[np.float32] | None = None
    times: NDArray[np.int64] | None = None

    @classmethod
    def empty(cls, n_rows: int) -> "Histories":
        """Rows without items."""
        return cls(np.zeros(n_rows + 1, np.int64), np.empty(0, np.int64))

    @classmethod
    def from_rows(
        cls,
        rows: NDArray[np.int64],
        items: NDArray[np.int64],
        n_rows: int,
        ratings: NDArray[Any] | None = None,
        weights: NDArray[Any] | None = None,
        times: NDArray[np.int64] | None = None,
    ) -> "Histories":
        """Events in time order, each with the row that it belongs to."""
        order = np.argsort(rows, kind="stable")
        indptr = np.zeros(n_rows + 1, np.int64)
        np.cumsum(np.bincount(rows, minlength=n_rows), out=indptr[1:])

        def sort(values: NDArray[Any] | None, dtype: Any) -> Any:
            return None if values is None else np.asarray(values)[order].astype(dtype)

        return cls(
            indptr, sort(items, np.int64), sort(ratings, np.float32), sort(weights, np.float32), sort(times, np.int64)
        )

    def joined(self, rows: NDArray[np.int64], more: "Histories", n_rows: int) -> "Histories":
        """These histories and, behind each, those of `more`, whose row r belongs to row `rows[r]` of `n_rows`.

        Where both have times, events are put in their order. A column that one of the two lacks is left out.
        """
        both = [np.repeat(at, one.lengths) for at, one in ((np.arange(len(self)), self), (rows, more))]
        columns: list[Any] = []
        for name in ("ratings", "weights", "times"):
            old, new = getattr(self, name), getattr(more, name)
            columns.append(None if old is None or new is None else np.concatenate([old, new]))
        events, items = np.concatenate(both), np.concatenate([self.items, more.items])
        if columns[2] is not None:
            order = np.argsort(columns[2], kind="stable")
            events, items = events[order], items[order]
            columns = [None if column is None else column[order] for column in columns]
        return Histories.from_rows(events, items, n_rows, *columns)

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Items of each row, (n,)."""
        return np.diff(self.indptr)

    def __getitem__(self, rows: Any) -> "Histories":
        """The histories of some rows; row -1 has none."""
        if isinstance(rows, slice) or np.asarray(rows).dtype == bool:
            rows = np.arange(len(self))[rows]
        rows = np.asarray(rows, np.int64)
        if len(rows) == 1 and (row := int(rows[0])) >= 0:
            only = slice(int(self.indptr[row]), int(self.indptr[row + 1]))
            return self._taken(np.array([0, only.stop - only.start]), only)
        # Of the rows asked for alone: one user's list must not cost a pass over all users.
        lengths = np.where(rows >= 0, self.indptr[rows + 1] - self.indptr[rows], 0)
        indptr = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(lengths, out=indptr[1:])
        at = np.repeat(self.indptr[rows] - indptr[:-1], lengths) + np.arange(indptr[-1])
        return self._taken(indptr, at)

    def _taken(self, indptr: NDArray[np.int64], at: Any) -> "Histories":
        """The histories of some entries."""
        columns = (self.items, self.ratings, self.weights, self.times)
        return Histories(indptr, *(None if values is None else values[at] for values in columns))

    def matrix(self, n_items: int, values: str = "ones") -> Any:
        """Users x items, (n, I) float32, sorted indices.

        Over repeated items "ones" stay 1, "rating" is averaged and "weight" is summed.
        """
        shape = (len(self), n_items)
        if values == "ones":
            indptr, indices = self.distinct
            ones: Any = sp.csr_matrix((np.ones(len(indices), np.float32), indices, indptr), shape=shape)
            ones.has_canonical_format = True
            return ones
        column = {"rating": self.ratings, "weight": self.weights}.get(values)
        if column is None:
            raise DataError(f"values={values!r}: these histories hold no such column")
        data = column.copy()
        # SciPy merges repeated items in place: the row pointers must be its own.
        matrix: Any = sp.csr_matrix((data, self.items.astype(np.int32), self.indptr.copy()), shape=shape)
        if values == "rating":
            counts: Any = sp.csr_matrix((np.ones_like(data), matrix.indices.copy(), matrix.indptr.copy()), shape=shape)
            counts.sum_duplicates()
            matrix.sum_duplicates()
            matrix.data /= counts.data
            return matrix
        matrix.sum_duplicates()
        return matrix

    @cached_property
    def distinct(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Row pointers and sorted distinct items of the rows: asked for again at every list that is made."""
        if len(self) == 1:  # what SciPy builds costs more than one user's list
            items = np.unique(self.items).astype(np.int32)
            return np.array([0, len(items)]), items
        shape = (len(self), int(self.items.max(initial=0)) + 1)
        once = np.ones(len(self.items), np.float32)
        matrix: Any = sp.csr_matrix((once, self.items.astype(np.int32), self.indptr.copy()), shape=shape)
        matrix.sum_duplicates()
        return matrix.indptr, matrix.indices

    def last(self, length: int) -> NDArray[np.int64]:
        """The last `length` items of each row in time order, padded on the right with -1: (n, length)."""
        kept = np.minimum(self.lengths, length)
        starts = self.indptr[1:] - kept
        steps = np.arange(length)
        real = steps < kept[:, None]
        at = np.where(real, starts[:, None] + steps, 0)
        return np.where(real, self.items[at] if len(self.items) else -1, -1)
