"""Frames at the boundary: pandas, polars or pyarrow in, the same kind out."""

from collections.abc import Mapping
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys.errors import DataError

KINDS = ("pandas", "polars", "pyarrow")


def read(frame: Any) -> nw.DataFrame[Any]:
    """Any pandas, polars or pyarrow frame behind one interface; a lazy frame is collected."""
    try:
        table = nw.from_native(frame)
    except TypeError as error:
        raise DataError(f"a pandas, polars or pyarrow frame is needed; got {type(frame).__name__}") from error
    return table.collect() if isinstance(table, nw.LazyFrame) else table


def frame_kind(frame: Any) -> str:
    """Which of "pandas", "polars", "pyarrow" a frame is."""
    name = str(read(frame).implementation.name).lower()
    if name not in KINDS:
        raise DataError(f"a pandas, polars or pyarrow frame is needed; got one of {name}")
    return name


def kind_or(value: Any, default: str) -> str:
    """The kind of a frame, or the default for anything that is none."""
    return default if isinstance(value, list | tuple | np.ndarray) else frame_kind(value)


def build(columns: Mapping[str, NDArray[Any]], kind: str) -> Any:
    """A frame of the given kind from arrays."""
    if kind == "pandas":
        return pd.DataFrame(dict(columns))
    values = {name: column.tolist() if column.dtype == object else column for name, column in columns.items()}
    if kind == "polars":
        import polars  # noqa: PLC0415 (optional: the caller who gave a polars frame has it)

        schema = {name: polars.String for name, column in columns.items() if column.dtype == object}
        return polars.DataFrame(values, schema_overrides=schema)
    import pyarrow  # noqa: PLC0415 (optional, as polars)

    types = {name: pyarrow.string() if column.dtype == object else None for name, column in columns.items()}
    return pyarrow.table({name: pyarrow.array(value, type=types[name]) for name, value in values.items()})


def column(frame: nw.DataFrame[Any], name: str, role: str) -> nw.Series[Any]:
    """A column by its name; one that is absent is named beside those there are."""
    if name not in frame.columns:
        raise DataError(f"there is no column {name!r} for the {role}; the frame has {', '.join(frame.columns)}")
    return frame[name]


def to_array(series: nw.Series[Any]) -> NDArray[Any]:
    """Values of a column: numbers and times in their dtype, all else as an object array; missing values stay visible."""
    dtype = series.dtype
    if dtype == nw.Categorical or dtype == nw.Enum:
        series = series.cast(nw.String)
        return np.array([None if missing(value) else value for value in series.to_list()], dtype=object)
    if dtype.is_integer() or dtype == nw.Boolean:
        if series.is_null().any():
            return np.array(series.to_list(), dtype=object)
        array = series.to_numpy()
        return array if array.dtype != object else np.array(series.to_list())
    if dtype.is_float():
        return np.asarray(series.to_numpy(), dtype=np.float64 if dtype == nw.Float64 else np.float32)
    if dtype.is_temporal():
        return np.asarray(series.to_numpy())
    return np.fromiter(series.to_list(), dtype=object, count=len(series))


def missing(value: Any) -> bool:
    """Whether a value is None, NaN or a library's own missing mark."""
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)


def numbers(series: nw.Series[Any], name: str, role: str) -> NDArray[np.float32]:
    """A column of finite numbers as float32."""
    array = to_array(series)
    try:
        values = np.array([np.nan if missing(v) else v for v in array] if array.dtype == object else array, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"the {role} column {name!r} holds {series.dtype}, not numbers") from error
    refuse(~np.isfinite(values), values, name, f"missing or infinite {role}s")
    return values.astype(np.float32)


def refuse(wrong: NDArray[np.bool_], values: NDArray[Any], name: str, what: str) -> None:
    """Raise for rows that are wrong, naming the column, their number and the first of them."""
    if wrong.any():
        first = int(np.argmax(wrong))
        raise DataError(
            f"column {name!r} has {int(wrong.sum())} {what}, first in row {first} ({values[first]!r}); "
            "drop or repair those rows"
        )
