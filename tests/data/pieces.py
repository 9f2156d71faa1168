"""One column's encoder, fitted to a piece of the column at a time."""

from typing import Any

import narwhals as nw
import numpy as np

from recsys.data.accumulators import MAX_CATEGORIES, SAMPLE, CategoryCounts, NumberSummary
from recsys.data.columns import Column, Kind
from recsys.data.encoders import Categories, Encoder, Numbers
from recsys.data.features import encode_vectors, kind_for, read_categories, read_numbers, read_tags
from recsys.errors import DataError


class Fitting:
    """What encodes a column, from its pieces: `add` each, then `finish`; `encode_column(..., like=)` does the rest.

    Memory is that of one piece and of the distinct categories, at most `max_categories` of them, or of `sample`
    numbers for quantiles. Vocabularies, counts and, up to rounding, means are those of the whole column, and so are
    quantiles of no more than `sample` numbers. A piece of another kind raises a `DataError`.
    """

    def __init__(
        self,
        name: str,
        encoder: Encoder | None = None,
        *,
        numeric: bool = False,
        max_categories: int = MAX_CATEGORIES,
        sample: int = SAMPLE,
    ):
        self.name, self.encoder, self.numeric = name, encoder, numeric
        self.max_categories, self.sample = max_categories, sample
        self.kind: Kind | None = None
        self.n_missing = 0
        self.counts: CategoryCounts
        self.numbers: NumberSummary
        self.vectors: Column | None = None

    def add(self, series: nw.Series[Any]) -> None:
        """Take in a piece of the column."""
        if series.is_null().all():
            # Of such a piece the dtype says nothing: an empty column of text is often one of floats.
            self._miss(len(series))
            return
        kind = kind_for(series, self.name, self.numeric, self.encoder)
        if self.kind is None:
            self._start(kind)
        if kind != self.kind:
            raise DataError(f"column {self.name!r} is {self.kind} in one piece and {kind} in another; give one type")
        if kind == "numeric":
            self.numbers.add(read_numbers(series, self.name))
        elif kind == "vector":
            self.vectors = encode_vectors(series, self.name, self.vectors)
        else:
            read = read_categories(series, self.name) if kind == "categorical" else read_tags(series, self.name)[1:]
            places, distinct = read
            self.counts.add(distinct, places)

    def _start(self, kind: Kind) -> None:
        self.kind = kind
        categories = self.encoder if isinstance(self.encoder, Categories) else None
        numbers = self.encoder if isinstance(self.encoder, Numbers) else None
        self.counts = CategoryCounts(self.name, kind, categories, self.max_categories)
        self.numbers = NumberSummary(self.name, numbers, self.sample)
        self._miss(self.n_missing)

    def _miss(self, n_rows: int) -> None:
        if self.kind is None:
            self.n_missing += n_rows
        elif self.kind == "numeric":
            self.numbers.add(np.full(n_rows, np.nan))
        else:
            self.counts.add(np.empty(0, np.int64), np.full(n_rows, -1))

    def finish(self) -> Column:
        """The column without rows, which holds what it takes to encode some."""
        if self.kind is None:
            self._start("numeric" if self.numeric or isinstance(self.encoder, Numbers) else "categorical")
        if self.vectors is not None:
            return self.vectors.take(np.empty(0, np.int64))
        return self.numbers.finish() if self.kind == "numeric" else self.counts.finish()
