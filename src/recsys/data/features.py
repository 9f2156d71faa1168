"""Columns that describe users, items or contexts, encoded: categories to codes, numbers standardized, tags ragged."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from recsys.data import frames
from recsys.data.vocabulary import Vocabulary, read_ids
from recsys.errors import DataError

Kind = Literal["categorical", "numeric", "tags", "vector"]


@dataclass(frozen=True, eq=False)
class Column:
    """One encoded column of n rows, with what it takes to encode the same column of another frame.

    categorical: `codes` (n,). numeric: `values` (n,), standardized by `mean` and `scale`, a missing one 0. tags: row r holds
    `codes[indptr[r]:indptr[r + 1]]`. vector: `vectors` (n, D). Code -1 is missing or was not there when the encoder was made.
    """

    name: str
    kind: Kind
    vocabulary: Vocabulary | None = None
    codes: Any = None
    indptr: Any = None
    values: Any = None
    mean: float = 0.0
    scale: float = 1.0
    vectors: Any = None

    @property
    def size(self) -> int:
        """Distinct categories or tags."""
        return 0 if self.vocabulary is None else len(self.vocabulary)

    def take(self, rows: NDArray[np.integer]) -> "Column":
        """The column at some rows; row -1 is missing."""
        known = np.asarray(rows) >= 0
        if self.kind == "tags":
            indptr, codes = take_ragged(self.indptr, self.codes, rows)
            return replace(self, indptr=indptr, codes=codes)
        if self.kind == "categorical":
            return replace(self, codes=pick(self.codes, rows, known, -1))
        if self.kind == "numeric":
            return replace(self, values=pick(self.values, rows, known, 0))
        return replace(self, vectors=pick(self.vectors, rows, known[:, None], 0))


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
        raise DataError(f"there is no feature {name!r}; there are {', '.join(c.name for c in self.columns)}")

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
    fresh = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return fresh, codes[np.repeat(starts - fresh[:-1], lengths) + np.arange(fresh[-1])]


def column_kind(series: nw.Series[Any], numeric: bool) -> Kind:
    """What a column is, by its dtype."""
    dtype = series.dtype
    if numeric or dtype.is_float() or dtype == nw.Decimal:
        return "numeric"
    if isinstance(dtype, nw.Array):
        return "vector"
    if isinstance(dtype, nw.List) or dtype == nw.Object:
        rows = [row for row in frames.to_array(series) if row is not None and not np.isscalar(row)]
        if not rows:
            return "tags" if isinstance(dtype, nw.List) else "categorical"
        floats = all(len(row) == len(rows[0]) for row in rows) and np.asarray(rows[0]).dtype.kind == "f"
        return "vector" if floats and len(rows[0]) else "tags"
    return "categorical"


def encode_column(series: nw.Series[Any], name: str, numeric: bool, like: Column | None) -> Column:
    """Encode a column, by a fitted one where there is one."""
    kind = column_kind(series, numeric or (like is not None and like.kind == "numeric"))
    if like is not None and kind != like.kind:
        raise DataError(f"column {name!r} was {like.kind} when the model was fitted and is {kind} now")
    if kind == "numeric":
        return encode_numbers(series, name, like)
    if kind == "vector":
        rows = [np.asarray(row, np.float32) for row in frames.to_array(series)]
        vectors = np.stack(rows) if rows else np.empty((0, 0), np.float32)
        if like is not None and vectors.shape[1:] != like.vectors.shape[1:]:
            raise DataError(f"column {name!r} held vectors of {like.vectors.shape[1]} numbers and holds {vectors.shape[1]} now")
        frames.refuse(~np.isfinite(vectors).all(1), vectors, name, "vectors with missing or infinite numbers")
        return Column(name, "vector", vectors=vectors)
    if kind == "tags":
        rows = [() if frames.missing(row) else row for row in frames.to_array(series)]
        lengths = np.array([len(row) for row in rows], np.int64)
        flat = categories([tag for row in rows for tag in row])
        vocabulary = Vocabulary.of(flat[~is_missing(flat)]) if like is None else like.vocabulary
        codes = encode_known(vocabulary, flat, name)
        return Column(name, "tags", vocabulary, codes, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    flat = categories(frames.to_array(series))
    vocabulary = Vocabulary.of(flat[~is_missing(flat)]) if like is None else like.vocabulary
    return Column(name, "categorical", vocabulary, encode_known(vocabulary, flat, name))


def encode_numbers(series: nw.Series[Any], name: str, like: Column | None) -> Column:
    """Standardize by the mean and deviation of the known values; a missing one becomes 0, the mean."""
    array = frames.to_array(series)
    try:
        values = np.array([np.nan if frames.missing(v) else v for v in array], np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"column {name!r} holds {series.dtype}, not numbers") from error
    frames.refuse(np.isinf(values), values, name, "infinite numbers")
    known = values[~np.isnan(values)]
    mean = (float(known.mean()) if len(known) else 0.0) if like is None else like.mean
    scale = (float(known.std()) if len(known) else 0.0) or 1.0
    scale = scale if like is None else like.scale
    return Column(name, "numeric", values=np.nan_to_num((values - mean) / scale).astype(np.float32), mean=mean, scale=scale)


def categories(values: Any) -> NDArray[Any]:
    """Categories as integers, or as strings with None where missing; mixed types become strings."""
    array = values if isinstance(values, np.ndarray) else np.fromiter(values, object, len(values))
    if array.dtype.kind in "iub":
        return array.astype(np.int64)
    if len(array) and all(isinstance(v, int | np.integer | np.bool_) for v in array):
        return array.astype(np.int64)
    return np.array([None if frames.missing(v) else str(v) for v in array], dtype=object)


def is_missing(array: NDArray[Any]) -> NDArray[np.bool_]:
    """Which entries are None."""
    return np.array([v is None for v in array], bool) if array.dtype == object else np.zeros(len(array), bool)


def encode_known(vocabulary: Vocabulary | None, values: NDArray[Any], name: str) -> NDArray[np.int64]:
    """Codes of categories; -1 for missing and unknown ones."""
    assert vocabulary is not None
    codes = np.full(len(values), -1, np.int64)
    there = ~is_missing(values)
    if vocabulary.kind == "strings" and values.dtype != object:
        values = values.astype(str).astype(object)
    if there.any() and len(vocabulary):
        try:
            codes[there] = vocabulary.encode(values[there])
        except DataError as error:
            raise DataError(f"column {name!r}: {error}") from error
    return codes


def encode_table(frame: nw.DataFrame[Any], id_col: str, vocabulary: Vocabulary, numeric: tuple[str, ...]) -> Features:
    """A feature frame in the order of a vocabulary; ids without a row are missing in every column."""
    ids = table_ids(frame, id_col)
    rows = Vocabulary.of(ids).encode(vocabulary.ids) if len(ids) else np.full(len(vocabulary), -1)
    # Encoded in the order of sorted ids, so that a code looked up in them is a row.
    order = np.argsort(Vocabulary.of(ids).encode(ids)) if len(ids) else np.empty(0, np.int64)
    names = [name for name in frame.columns if name != id_col]
    table = frame[order.tolist()] if len(ids) else frame
    return Features(tuple(encode_column(table[n], n, n in numeric, None) for n in names), len(ids)).take(rows)


def table_ids(frame: nw.DataFrame[Any], id_col: str) -> NDArray[Any]:
    """Ids of a feature frame, each there once."""
    ids = read_ids(frames.column(frame, id_col, "ids of the features"), id_col)
    _, first = np.unique(ids, return_index=True)
    again = np.ones(len(ids), bool)
    again[first] = False
    frames.refuse(again, ids, id_col, "ids that have a row of features already")
    return ids


def encode_rows(frame: Any, like: Features) -> Features:
    """Encode the columns of another frame as the fitted ones were; columns that changed are named."""
    table = frames.read(frame)
    absent = [column.name for column in like.columns if column.name not in table.columns]
    if absent:
        raise DataError(f"column {absent[0]!r} was there when the model was fitted; the frame has {', '.join(table.columns)}")
    return Features(tuple(encode_column(table[c.name], c.name, False, c) for c in like.columns), len(table))
