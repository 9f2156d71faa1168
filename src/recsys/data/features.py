"""Columns that describe users, items or contexts, encoded: categories to codes, numbers standardized, tags ragged."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys.data import frames
from recsys.data.vocabulary import Vocabulary, read_ids
from recsys.errors import DataError

Kind = Literal["categorical", "numeric", "tags", "vector"]


@dataclass(frozen=True, eq=False)
class Column:
    """One encoded column of n rows, with what it takes to encode the same column of another frame.

    categorical: `codes` (n,). numeric: `values` (n,), standardized by `mean` and `scale`, a missing one 0.
    tags: row r holds `codes[indptr[r]:indptr[r + 1]]`. vector: `vectors` (n, D), a missing one 0.
    Code -1 is missing, or was not there when the encoder was made.
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
        raise DataError(f"there is no feature {name!r}; there are {frames.listed(c.name for c in self.columns)}")

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
    """What a column is, by its dtype and, where that says only "list", by its values."""
    dtype = series.dtype
    if numeric or dtype.is_float() or dtype == nw.Decimal:
        return "numeric"
    if isinstance(dtype, nw.Array):
        return "vector"
    if isinstance(dtype, nw.List) or dtype == nw.Object:
        rows = [row for row in frames.to_array(series) if is_list(row)]
        if not rows:
            return "tags" if isinstance(dtype, nw.List) else "categorical"
        equal = len(rows[0]) > 0 and all(len(row) == len(rows[0]) for row in rows)
        return "vector" if equal and not isinstance(rows[0], set) and np.asarray(rows).dtype.kind == "f" else "tags"
    return "categorical"


def is_list(value: Any) -> bool:
    """Whether an entry of a column holds several values."""
    return isinstance(value, list | tuple | set | frozenset | np.ndarray)


def encode_column(series: nw.Series[Any], name: str, numeric: bool, like: Column | None) -> Column:
    """Encode a column, by a fitted one where there is one."""
    if like is not None and series.is_null().all():
        return like.take(np.full(len(series), -1))
    kind = column_kind(series, numeric or (like is not None and like.kind == "numeric"))
    if like is not None and kind != like.kind:
        hint = " (missing values turn integers into floats: cast them to Int64)" if kind == "numeric" else ""
        raise DataError(f"column {name!r} was {like.kind} when the model was fitted and is {kind} now{hint}")
    if kind == "numeric":
        return encode_numbers(series, name, like)
    if kind == "vector":
        return encode_vectors(series, name, like)
    if kind == "tags":
        return encode_tags(series, name, like)
    flat, known = categories(frames.to_array(series))
    vocabulary = fitted_or(like, flat[known])
    return Column(name, "categorical", vocabulary, encode_known(vocabulary, flat, known, name))


def encode_vectors(series: nw.Series[Any], name: str, like: Column | None) -> Column:
    """Dense vectors as (n, D) float32; a missing row is all 0."""
    rows = frames.to_array(series)
    known = np.fromiter((is_list(row) for row in rows), bool, len(rows))
    length = like.vectors.shape[1] if like is not None else len(next(iter(rows[known]), ()))
    try:
        given = np.array(list(rows[known]), np.float32).reshape(int(known.sum()), -1 if known.any() else length)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"column {name!r} holds vectors of several lengths, or of things that are no numbers"
        ) from error
    if given.shape[1] != length:
        raise DataError(f"column {name!r} held vectors of {length} numbers and holds {given.shape[1]} now")
    vectors = np.zeros((len(rows), length), np.float32)
    vectors[known] = given
    frames.refuse(~np.asarray(np.isfinite(vectors).all(1)), rows, name, "vectors with missing or infinite numbers")
    return Column(name, "vector", vectors=vectors)


def encode_tags(series: nw.Series[Any], name: str, like: Column | None) -> Column:
    """Lists of tags as one ragged table; a missing row has none."""
    rows = [() if frames.missing(row) else row for row in frames.to_array(series)]
    single = np.fromiter((not is_list(row) for row in rows), bool, len(rows))
    frames.refuse(single, frames.to_array(series), name, "entries that are no lists, beside lists of tags")
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    # The order within a set is not fixed: sorted, the same data gives the same codes.
    tags = [tag for row in rows for tag in (sorted(row, key=str) if isinstance(row, set | frozenset) else row)]
    flat, known = categories(np.fromiter(tags, object, len(tags)))
    vocabulary = fitted_or(like, flat[known])
    return Column(name, "tags", vocabulary, encode_known(vocabulary, flat, known, name), indptr)


def encode_numbers(series: nw.Series[Any], name: str, like: Column | None) -> Column:
    """Standardize by the mean and deviation of the known values; a missing one becomes 0, the mean."""
    values = frames.floats(series, name, "numeric")
    frames.refuse(np.isinf(values), values, name, "infinite numbers")
    # Sums in ascending order: the order of the rows must not reach the last bit of the mean.
    known = np.sort(values[~np.isnan(values)])
    mean, scale = (float(known.mean()), float(known.std()) or 1.0) if len(known) else (0.0, 1.0)
    if like is not None:
        mean, scale = like.mean, like.scale
    standard = np.nan_to_num((values - mean) / scale).astype(np.float32)
    return Column(name, "numeric", values=standard, mean=mean, scale=scale)


def categories(array: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Categories as integers or as strings, mixed types as strings, and which of them are known."""
    known = ~np.asarray(pd.isna(array))
    if array.dtype.kind in "iub":
        return array.astype(np.int64), known
    if array.dtype != object:
        return array.astype(str).astype(object), known
    inferred = pd.api.types.infer_dtype(array[known], skipna=False)
    if inferred in ("integer", "boolean"):
        flat = np.zeros(len(array), np.int64)
        flat[known] = array[known].astype(np.int64)
        return flat, known
    if inferred != "string":
        array = np.array([str(value) for value in array], dtype=object)
    return array, known


def fitted_or(like: Column | None, values: NDArray[Any]) -> Vocabulary:
    """The vocabulary of the fitted column, or a new one of the values."""
    return Vocabulary.of(values) if like is None or like.vocabulary is None else like.vocabulary


def encode_known(
    vocabulary: Vocabulary, values: NDArray[Any], known: NDArray[np.bool_], name: str
) -> NDArray[np.int64]:
    """Codes of categories; -1 for missing and unknown ones."""
    codes = np.full(len(values), -1, np.int64)
    given = values[known]
    if vocabulary.kind == "strings" and given.dtype != object:
        given = given.astype(str).astype(object)
    try:
        codes[known] = vocabulary.encode(given)
    except DataError as error:
        raise DataError(f"column {name!r}: {error}") from error
    return codes


def encode_table(frame: nw.DataFrame[Any], id_col: str, vocabulary: Vocabulary, numeric: tuple[str, ...]) -> Features:
    """A feature frame in the order of a vocabulary; ids without a row are missing in every column."""
    rows = table_rows(frame, id_col, vocabulary)
    names = [name for name in frame.columns if name != id_col]
    columns = tuple(encode_column(frames.column(frame, n, "features"), n, n in numeric, None) for n in names)
    return Features(columns, len(frame)).take(rows)


def encode_features(frame: Any, id_col: str, vocabulary: Vocabulary, like: Features) -> Features:
    """A feature frame in the order of a vocabulary, encoded as the fitted features were.

    A category that was not there then is -1. A column that is new, gone or of another kind raises a `DataError`.
    """
    table = frames.read(frame)
    rows = table_rows(table, id_col, vocabulary)
    fitted = [column.name for column in like.columns]
    new = [name for name in table.columns if name != id_col and name not in fitted]
    if new:
        raise DataError(f"column {new[0]!r} was not there when the model was fitted; it had {frames.listed(fitted)}")
    return encode_rows(table, like).take(rows)


def table_ids(frame: nw.DataFrame[Any], id_col: str) -> NDArray[Any]:
    """Ids of a feature frame, each there once."""
    ids = read_ids(frames.column(frame, id_col, "ids of the features"), id_col)
    again = pd.Index(ids, dtype=ids.dtype).duplicated()
    frames.refuse(again, ids, id_col, "ids that have a row of features already")
    return ids


def table_rows(frame: nw.DataFrame[Any], id_col: str, vocabulary: Vocabulary) -> NDArray[np.int64]:
    """For each id of the vocabulary its row in a feature frame, -1 where it has none."""
    codes = vocabulary.encode(table_ids(frame, id_col))
    rows = np.full(len(vocabulary), -1, np.int64)
    rows[codes[codes >= 0]] = np.flatnonzero(codes >= 0)
    return rows


def encode_rows(frame: Any, like: Features) -> Features:
    """Encode the columns of another frame as the fitted ones were; columns that changed are named."""
    table = frames.read(frame)
    absent = [column.name for column in like.columns if column.name not in table.columns]
    if absent:
        there = frames.listed(table.columns)
        raise DataError(f"column {absent[0]!r} was there when the model was fitted; the frame has {there}")
    return Features(tuple(encode_column(table[c.name], c.name, False, c) for c in like.columns), len(table))
