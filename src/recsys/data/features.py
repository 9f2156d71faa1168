"""Columns that describe users, items or contexts, encoded: categories to codes, numbers to values, tags ragged."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys.data import frames
from recsys.data.accumulators import CategoryCounts, NumberSummary
from recsys.data.columns import Column, Features, Kind
from recsys.data.encoders import Categories, Encoder, Numbers, ranks
from recsys.data.hashing import buckets
from recsys.data.vocabulary import Vocabulary, read_ids
from recsys.errors import DataError

FRACTIONS = "fractional numbers, which are no categories (round them, or encode them with Numbers)"
NO_ENCODERS: Mapping[str, Encoder] = MappingProxyType({})


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


def kind_for(series: nw.Series[Any], name: str, numeric: bool, encoder: Encoder | None) -> Kind:
    """What a column is to its encoder, which may read numbers as categories and categories as numbers."""
    kind = column_kind(series, numeric or isinstance(encoder, Numbers))
    if isinstance(encoder, Categories) and kind == "vector":
        raise DataError(f"column {name!r} holds vectors, which Categories cannot encode; give it no encoder")
    return "categorical" if isinstance(encoder, Categories) and kind == "numeric" else kind


def encode_column(
    series: nw.Series[Any], name: str, numeric: bool, like: Column | None, encoder: Encoder | None = None
) -> Column:
    """Encode a column, by a fitted one where there is one, else by an encoder or by what its dtype says."""
    if like is not None and series.is_null().all():
        return like.take(np.full(len(series), -1))
    if like is None:
        kind = kind_for(series, name, numeric, encoder)
    else:
        kind = kind_for(series, name, like.source == "numeric", like.encoder)
        if kind != like.source:
            hint = " (missing values turn integers into floats: cast them to Int64)" if kind == "numeric" else ""
            raise DataError(f"column {name!r} was {like.source} when the model was fitted and is {kind} now{hint}")
    if kind == "numeric":
        return encode_numbers(series, name, like, encoder if isinstance(encoder, Numbers) else None)
    if kind == "vector":
        return encode_vectors(series, name, like)
    encoder = encoder if isinstance(encoder, Categories) else None
    if kind == "tags":
        return encode_tags(series, name, like, encoder)
    return encode_categories(series, name, like, encoder)


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


def encode_categories(series: nw.Series[Any], name: str, like: Column | None, encoder: Categories | None) -> Column:
    """One category a row."""
    places, distinct = read_categories(series, name)
    like = fitted(places, distinct, name, "categorical", encoder) if like is None else like
    return replace(like, codes=codes_at(places, distinct, like), absent=None if like.absent is None else places < 0)


def encode_tags(series: nw.Series[Any], name: str, like: Column | None, encoder: Categories | None) -> Column:
    """Lists of tags as one ragged table; a missing row has none."""
    indptr, places, distinct = read_tags(series, name)
    like = fitted(places, distinct, name, "tags", encoder) if like is None else like
    return replace(like, codes=codes_at(places, distinct, like), indptr=indptr)


def encode_numbers(series: nw.Series[Any], name: str, like: Column | None, encoder: Numbers | None) -> Column:
    """Numbers by the statistics of the known ones; a missing one becomes 0, or bin -1."""
    values = read_numbers(series, name)
    if like is None:
        summary = NumberSummary(name, encoder)
        summary.add(values)
        like = summary.finish()
    there = ~np.isnan(values)
    absent = None if like.absent is None else ~there
    if like.kind == "categorical":
        codes = np.searchsorted(like.quantiles, values, side="right")
        return replace(like, codes=np.where(there, codes, -1).astype(np.int64), absent=absent)
    with np.errstate(over="ignore"):
        found = np.nan_to_num(transformed(values, like), posinf=np.inf, neginf=-np.inf).astype(np.float32)
    frames.refuse(np.isinf(found), values, name, "numbers too large for float32 (give it another transform)")
    return replace(like, values=found, absent=absent)


def transformed(values: NDArray[np.float64], like: Column) -> NDArray[np.float64]:
    """Numbers (n,) as the encoder of a fitted column makes them; NaN stays NaN."""
    if like.transform == "standardize":
        return (values - like.mean) / like.scale
    if like.transform == "log1p":
        return np.log1p(np.maximum(values, 0))
    return values if like.transform == "none" else ranks(values, like.quantiles)


def read_numbers(series: nw.Series[Any], name: str) -> NDArray[np.float64]:
    """A numeric column as float64, NaN where missing."""
    values = frames.floats(series, name, "numeric")
    frames.refuse(np.isinf(values), values, name, "infinite numbers")
    return values


def read_categories(series: nw.Series[Any], name: str) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """A column's distinct categories, integers or strings, and the place of each row's among them, -1 where missing."""
    native = series.to_native()
    if series.dtype == nw.String and isinstance(native, pd.Series) and native.dtype != object:
        # Strings that pandas holds in one buffer: five times as fast as by Python's objects.
        places, distinct = pd.factorize(native)
        return places.astype(np.int64), np.asarray(distinct, dtype=object)
    if series.dtype.is_float() or series.dtype == nw.Decimal:
        return distinct_of(*whole_numbers(series, name))
    return distinct_of(*categories(frames.to_array(series)))


def read_tags(series: nw.Series[Any], name: str) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]:
    """Row pointers of lists (n + 1,), the places of their tags, as those of categories, and the distinct tags."""
    array = frames.to_array(series)
    rows = [() if frames.missing(row) else row for row in array]
    single = np.fromiter((not is_list(row) for row in rows), bool, len(rows))
    frames.refuse(single, array, name, "entries that are no lists, beside lists of tags")
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    # The order within a set is not fixed: sorted, the same data gives the same codes.
    tags = [tag for row in rows for tag in (sorted(row, key=str) if isinstance(row, set | frozenset) else row)]
    return indptr, *distinct_of(*categories(np.fromiter(tags, object, len(tags))))


def distinct_of(values: NDArray[Any], known: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Distinct ones of the known values, and the place of each value among them, -1 where it is not known."""
    places = np.full(len(values), -1, np.int64)
    places[known], distinct = pd.factorize(values[known])
    return places, np.asarray(distinct)


def whole_numbers(series: nw.Series[Any], name: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Floats as integers, and which of them are known; fractions are refused."""
    values = frames.floats(series, name, "categorical")
    frames.refuse(fractions(values), values, name, FRACTIONS)
    known = ~np.isnan(values)
    return np.where(known, values, 0).astype(np.int64), known


def fractions(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which numbers (n,) stand for no integer; NaN is missing, and none of them."""
    # Beyond 2^53 neighboring integers are one float.
    return ~np.isnan(values) & ((np.abs(values) > 2**53) | (values != np.floor(values)))


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


def fitted(
    places: NDArray[np.int64], distinct: NDArray[Any], name: str, kind: Kind, encoder: Categories | None
) -> Column:
    """The column without rows, fitted to categories."""
    counts = CategoryCounts(name, kind, encoder)
    counts.add(distinct, places)
    return counts.finish()


def codes_at(places: NDArray[np.int64], distinct: NDArray[Any], like: Column) -> NDArray[np.int64]:
    """Codes of values, given by their places among distinct ones, by a fitted column; -1 where missing or unknown."""
    return np.append(codes_of(distinct, like), -1)[places]


def codes_of(distinct: NDArray[Any], like: Column) -> NDArray[np.int64]:
    """Codes of known categories by a fitted column, -1 where they have none."""
    assert like.vocabulary is not None
    if like.vocabulary.kind == "strings" and distinct.dtype != object:
        distinct = distinct.astype(str).astype(object)
    if isinstance(like.encoder, Categories) and like.encoder.hash_buckets is not None and len(distinct):
        if like.vocabulary.kind == "integers" and distinct.dtype == object:
            raise DataError(f"column {like.name!r} held integers when the model was fitted and holds strings now")
        return buckets(distinct, like.encoder.hash_buckets)
    try:
        return like.vocabulary.encode(distinct)
    except DataError as error:
        raise DataError(f"column {like.name!r}: {error}") from error


def encode_table(
    frame: nw.DataFrame[Any],
    id_col: str,
    vocabulary: Vocabulary,
    numeric: tuple[str, ...],
    encoders: Mapping[str, Encoder] = NO_ENCODERS,
) -> Features:
    """A feature frame in the order of a vocabulary; ids without a row are missing in every column."""
    rows = table_rows(frame, id_col, vocabulary)
    names = [name for name in frame.columns if name != id_col]
    given = [frames.column(frame, name, "features") for name in names]
    columns = tuple(
        encode_column(series, name, name in numeric, None, encoders.get(name))
        for series, name in zip(given, names, strict=True)
    )
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
