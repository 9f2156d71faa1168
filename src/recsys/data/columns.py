"""Encoded columns and tables of them."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recsys.data import frames
from recsys.data.encoders import Categories, Encoder, Numbers
from recsys.data.vocabulary import Vocabulary
from recsys.errors import DataError

Kind = Literal["categorical", "numeric", "tags", "vector"]


@dataclass(frozen=True, eq=False)
class Column:
    """One encoded column of n rows, with what it takes to encode the same column of another frame.

    categorical: `codes` (n,). numeric: `values` (n,), a missing one 0. tags: row r holds
    `codes[indptr[r]:indptr[r + 1]]`. vector: `vectors` (n, D), a missing one 0. Code -1 is missing, or has no code;
    `field_codes` has the codes that click models give to those.
    """

    name: str
    kind: Kind
    vocabulary: Vocabulary | None = None
    """Categories that have a code; those of `hash_buckets` and "buckets" are not listed."""
    codes: Any = None
    indptr: Any = None
    values: Any = None
    mean: float = 0.0
    scale: float = 1.0
    """Mean and deviation, where the encoder standardizes."""
    vectors: Any = None
    encoder: Encoder | None = None
    """What the caller asked for; None follows from the dtype: every category a code, numbers standardized."""
    quantiles: Any = None
    """Ascending quantiles of the training data, (n_bins + 1,), or for "buckets" where each bin but the first starts."""
    unknown: bool = False
    """Whether rare categories share a code, which unknown ones take too."""
    missing: bool = False
    """Whether missing values have a code of their own."""
    absent: Any = None
    """Which values are missing, (n,), where `unknown` or `missing` makes them differ from what merely has no code."""

    @property
    def source(self) -> Kind:
        """What the column of the frame is: "numeric" for numbers that became categories."""
        return "numeric" if isinstance(self.encoder, Numbers) else self.kind

    @property
    def transform(self) -> str:
        """What is done to its numbers."""
        return self.encoder.transform if isinstance(self.encoder, Numbers) else "standardize"

    @property
    def size(self) -> int:
        """Distinct categories, tags, buckets or bins: `codes` are below it."""
        if isinstance(self.encoder, Categories) and self.encoder.hash_buckets is not None:
            return self.encoder.hash_buckets
        if self.kind == "categorical" and isinstance(self.encoder, Numbers):
            return len(self.quantiles) + 1
        return 0 if self.vocabulary is None else len(self.vocabulary)

    @property
    def labels(self) -> NDArray[Any]:
        """What each code stands for, (size,): categories as they were, buckets and bins by number as "#3"."""
        if self.vocabulary is not None and len(self.vocabulary) == self.size:
            return self.vocabulary.ids
        return np.array([f"#{code}" for code in range(self.size)], dtype=object)

    @property
    def n_codes(self) -> int:
        """Codes of a category or a tag, with those of unknown and of missing values."""
        return self.size + self.unknown + (self.missing and self.kind == "categorical")

    @property
    def field_codes(self) -> NDArray[np.int64]:
        """Codes (n,), or of tags one each: unknown ones are the last, missing ones 0, before all others; -1 is neither.

        New categories find room behind the known ones, so that no code has to move.
        """
        codes = self.codes
        if self.unknown:
            codes = np.where(codes < 0, self.size, codes)
        if self.absent is None or self.kind != "categorical":
            return codes
        return (
            np.where(self.absent, 0, np.where(codes < 0, -1, codes + 1))
            if self.missing
            else np.where(self.absent, -1, codes)
        )

    def take(self, rows: NDArray[np.integer]) -> "Column":
        """The column at some rows; row -1 is missing."""
        known = np.asarray(rows) >= 0
        if self.kind == "tags":
            indptr, codes = take_ragged(self.indptr, self.codes, rows)
            return replace(self, indptr=indptr, codes=codes)
        if self.kind == "vector":
            return replace(self, vectors=pick(self.vectors, rows, known[:, None], 0))
        absent = None if self.absent is None else pick(self.absent, rows, known, True)
        if self.kind == "categorical":
            return replace(self, codes=pick(self.codes, rows, known, -1), absent=absent)
        return replace(self, values=pick(self.values, rows, known, 0), absent=absent)

    def followed(self, below: "Column") -> "Column":
        """The rows of this column, then those of another that is encoded alike."""

        def both(a: NDArray[Any] | None, b: NDArray[Any] | None) -> NDArray[Any] | None:
            return None if a is None or b is None else np.concatenate([a, b])

        indptr = None if self.indptr is None else np.concatenate([self.indptr, self.indptr[-1] + below.indptr[1:]])
        return replace(
            below,
            codes=both(self.codes, below.codes),
            indptr=indptr,
            values=both(self.values, below.values),
            vectors=both(self.vectors, below.vectors),
            absent=both(self.absent, below.absent),
        )


@dataclass(frozen=True, eq=False)
class Features:
    """Encoded columns of one length, in the order of a vocabulary or of the interactions."""

    columns: tuple[Column, ...]
    n_rows: int

    def __len__(self) -> int:
        return self.n_rows

    def __getitem__(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise DataError(f"there is no feature {name!r}; there are {frames.listed(c.name for c in self.columns)}")

    def followed(self, more: "Features") -> "Features":
        """These rows, then those of a table that is encoded alike."""
        columns = tuple(above.followed(below) for above, below in zip(self.columns, more.columns, strict=True))
        return Features(columns, len(self) + len(more))

    def take(self, rows: Any) -> "Features":
        """Some rows; row -1 is missing in every column."""
        rows = np.asarray(rows)
        return Features(tuple(column.take(rows) for column in self.columns), len(rows))


def pick(values: NDArray[Any], rows: NDArray[np.integer], known: NDArray[np.bool_], nothing: float) -> NDArray[Any]:
    """Values at rows, and `nothing` where the row is not known."""
    if len(values) == 0:
        return np.full((len(rows), *values.shape[1:]), nothing, values.dtype)
    return np.where(known, values[np.maximum(rows, 0)], np.asarray(nothing, values.dtype))


def take_ragged(indptr: NDArray[Any], codes: NDArray[Any], rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Ragged rows at some places; row -1 is empty."""
    starts, lengths = np.concatenate([indptr[:-1], [0]])[rows], np.concatenate([np.diff(indptr), [0]])[rows]
    fresh, places = runs(starts, lengths)
    return fresh, codes[places]


def runs(starts: NDArray[Any], lengths: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Runs of places from `starts` (n,) on, `lengths` (n,) long, behind each other: where each begins (n + 1,), and all."""
    indptr = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=indptr[1:])
    return indptr, np.repeat(starts - indptr[:-1], lengths) + np.arange(indptr[-1])
