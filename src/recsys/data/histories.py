"""Users' items in time order, as one ragged table."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.data.columns import Features, runs
from recsys.errors import DataError


@dataclass(frozen=True, eq=False)
class Histories:
    """Row u holds `items[indptr[u]:indptr[u + 1]]`, oldest first.

    Beside each item stand its rating, weight and time, where the data has them, and for models that read them the
    session and the context of the event. Sessions are numbers that differ from one session of a row to the next.
    """

    indptr: NDArray[np.int64]
    items: NDArray[np.int64]
    ratings: NDArray[np.float32] | None = None
    weights: NDArray[np.float32] | None = None
    times: NDArray[np.int64] | None = None
    sessions: NDArray[np.int64] | None = None
    context: Features | None = None

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
        sessions: NDArray[np.int64] | None = None,
        context: Features | None = None,
    ) -> "Histories":
        """Events in time order, each with the row that it belongs to."""
        order = np.argsort(rows, kind="stable")
        indptr = np.zeros(n_rows + 1, np.int64)
        np.cumsum(np.bincount(rows, minlength=n_rows), out=indptr[1:])

        def sort(values: NDArray[Any] | None, dtype: Any) -> Any:
            return None if values is None else np.asarray(values)[order].astype(dtype)

        columns = (
            sort(ratings, np.float32),
            sort(weights, np.float32),
            sort(times, np.int64),
            sort(sessions, np.int64),
        )
        return cls(indptr, sort(items, np.int64), *columns, None if context is None else context.take(order))

    def joined(self, rows: NDArray[np.int64], more: "Histories", n_rows: int) -> "Histories":
        """These histories and, behind each, those of `more`, whose row r belongs to row `rows[r]` of `n_rows`.

        Where both have times, events are put in their order. A column that one of the two lacks is left out. Sessions
        of `more` are others than these.
        """
        both = [np.repeat(at, one.lengths) for at, one in ((np.arange(len(self)), self), (rows, more))]
        if self.sessions is not None and more.sessions is not None:
            more = replace(more, sessions=more.sessions + 1 + self.sessions.max(initial=-1))
        columns: list[Any] = []
        for name in ("ratings", "weights", "times", "sessions"):
            old, new = getattr(self, name), getattr(more, name)
            columns.append(None if old is None or new is None else np.concatenate([old, new]))
        columns.append(None if self.context is None or more.context is None else self.context.followed(more.context))
        events, items = np.concatenate(both), np.concatenate([self.items, more.items])
        if columns[2] is not None:
            order = np.argsort(columns[2], kind="stable")
            events, items = events[order], items[order]
            columns = [taken(column, order) for column in columns]
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
        return self._taken(*runs(self.indptr[rows], lengths))

    def _taken(self, indptr: NDArray[np.int64], at: Any) -> "Histories":
        """The histories of some entries."""
        columns = (self.items, self.ratings, self.weights, self.times, self.sessions, self.context)
        return Histories(indptr, *(taken(values, at) for values in columns))

    def by_session(self) -> tuple["Histories", NDArray[np.int64]]:
        """A row for each session in its place, and which row of these it is a part of; without sessions, these rows."""
        if self.sessions is None:
            return self, np.arange(len(self))
        rows = np.repeat(np.arange(len(self)), self.lengths)
        first = np.flatnonzero((np.diff(rows, prepend=-1) != 0) | (np.diff(self.sessions, prepend=-1) != 0))
        return replace(self, indptr=np.append(first, len(self.items)).astype(np.int64)), rows[first]

    def last_session(self) -> "Histories":
        """Of each row the events of its last session; all of them without sessions."""
        if self.sessions is None or not len(self.items):
            return self
        last = self.sessions[np.maximum(self.indptr[1:] - 1, 0)]
        differs = np.append(self.sessions != np.repeat(last, self.lengths), True)
        # Where the last event of another session is, counted from the row's start.
        place = np.arange(len(differs)) * differs
        before = np.maximum.accumulate(place)[np.maximum(self.indptr[1:] - 1, 0)]
        starts = np.where((before >= self.indptr[:-1]) & differs[before], before + 1, self.indptr[:-1])
        return self._taken(*runs(starts, self.indptr[1:] - starts))

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
        places = self.last_places(length)
        return np.where(places >= 0, self.items[places] if len(self.items) else -1, -1)

    def last_places(self, length: int, rows: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Where the last `length` events of each row, or of some rows, are, padded on the right with -1: (n, length)."""
        stops = self.indptr[1:] if rows is None else self.indptr[rows + 1]
        kept = np.minimum(stops - (self.indptr[:-1] if rows is None else self.indptr[rows]), length)
        starts = stops - kept
        steps = np.arange(length)
        real = steps < kept[:, None]
        return np.where(real, starts[:, None] + steps, -1)


def taken(values: Any, at: Any) -> Any:
    """Some entries of a column, by numbers or a slice; None where there is no column."""
    if isinstance(values, Features):
        return values.take(np.arange(len(values))[at])
    return None if values is None else values[at]
