"""Frames at the boundary: pandas, polars or pyarrow in, the same kind out."""

import contextlib
import functools
from collections.abc import Mapping
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
from narwhals.exceptions import DuplicateError
from numpy.typing import NDArray

from recsys.errors import DataError

_of_blocks: Any = None
with contextlib.suppress(ImportError):  # pandas 3
    from pandas.api.internals import create_dataframe_from_blocks as _of_blocks

KINDS = ("pandas", "polars", "pyarrow")
NUMBERS = ("integer", "floating", "mixed-integer-float", "decimal", "boolean", "empty")
"""What pandas infers of object values that are numbers."""


def read(frame: Any) -> nw.DataFrame[Any]:
    """Any pandas, polars or pyarrow frame behind one interface; a lazy frame is collected."""
    try:
        table = frame if isinstance(frame, nw.DataFrame | nw.LazyFrame) else nw.from_native(frame)
        table = table.collect() if isinstance(table, nw.LazyFrame) else table
        names = table.columns
    except TypeError as error:
        raise DataError(f"a pandas, polars or pyarrow frame is needed; got {type(frame).__name__}") from error
    except DuplicateError as error:
        raise DataError("two columns of the frame have one name; rename one of them") from error
    if len(set(names)) < len(names):
        raise DataError(f"two columns of the frame have one name: {listed(sorted(names, key=str))}; rename one of them")
    if kind_of(table) == "pyarrow":
        # Arrow can neither take rows of string views nor sort them.
        views = [name for name, kind in zip(names, table.to_native().schema.types, strict=True) if "view" in str(kind)]
        table = table.with_columns(nw.col(*views).cast(nw.String)) if views else table
    return table


def kind_of(table: nw.DataFrame[Any]) -> str:
    """Which of "pandas", "polars", "pyarrow" is behind a table."""
    name = str(table.implementation.name).lower()
    if name not in KINDS:
        raise DataError(f"a pandas, polars or pyarrow frame is needed; got one of {name}")
    return name


def frame_kind(frame: Any) -> str:
    """Which of "pandas", "polars", "pyarrow" a frame is."""
    return kind_of(read(frame))


def kind_or(value: Any, default: str) -> str:
    """The kind of a frame, or the default for anything that is none."""
    return default if isinstance(value, list | tuple | np.ndarray) else frame_kind(value)


@functools.cache
def _heads(names: tuple[str, ...]) -> tuple[pd.Index, list[NDArray[np.int64]]]:
    """The names as pandas holds them, and the place of each."""
    return pd.Index(names), [np.array([at]) for at in range(len(names))]


def build(columns: Mapping[str, NDArray[Any]], kind: str) -> Any:
    """A frame of the given kind from arrays that nobody else holds: the frame may keep them as its own."""
    if kind == "pandas":
        # Without copies, and with names that pandas has seen before: half the time of one user's short frame.
        arrays, (heads, places) = list(columns.values()), _heads(tuple(columns))
        if _of_blocks is not None and all(array.dtype != object for array in arrays):
            # Of numbers there is nothing to infer: a fifth of the time.
            blocks = [(array[None], place) for array, place in zip(arrays, places, strict=True)]
            return _of_blocks(blocks, pd.RangeIndex(len(arrays[0])), heads.view())
        frame = pd.DataFrame(dict(enumerate(arrays)), copy=False)
        frame.columns = heads.view()
        return frame
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
        there = listed(frame.columns)
        raise DataError(f"there is no column {name!r} for the {role}; the frame has {there}: name one, or rename it")
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DataError(f"the column {name!r} for the {role} is no text; rename it, for columns are named by strings")
    return frame[name]


def to_array(series: nw.Series[Any]) -> NDArray[Any]:
    """Values of a column: numbers and times in their dtype, all else as objects; missing values stay visible."""
    dtype = series.dtype
    if dtype == nw.Categorical or dtype == nw.Enum:
        native = series.to_native()
        # Categories may be integers: a cast to text would change the kind of the ids.
        return native.astype(object).to_numpy() if isinstance(native, pd.Series) else objects(series.cast(nw.String))
    if dtype.is_integer() or dtype == nw.Boolean:
        return objects(series) if series.is_null().any() else np.asarray(series.to_numpy())
    if dtype.is_float():
        return np.asarray(series.to_numpy(), dtype=np.float64 if dtype == nw.Float64 else np.float32)
    if dtype.is_temporal():
        return np.asarray(series.to_numpy())
    if dtype == nw.String:
        array = series.to_numpy()
        return array if array.dtype == object else array.astype(object)
    return objects(series)


def objects(series: nw.Series[Any]) -> NDArray[Any]:
    """Values as Python objects."""
    return np.fromiter(series.to_list(), dtype=object, count=len(series))


def missing(value: Any) -> bool:
    """Whether a value is None, NaN or a library's own missing mark."""
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)


def floats(series: nw.Series[Any], name: str, role: str) -> NDArray[np.float64]:
    """A column of numbers as float64, NaN where missing; text is refused, even text of digits."""
    array = to_array(series)
    if array.dtype.kind in "iufb":
        return array.astype(np.float64)
    known = ~np.asarray(pd.isna(array))
    if array.dtype != object or pd.api.types.infer_dtype(array[known], skipna=False) not in NUMBERS:
        raise DataError(f"the {role} column {name!r} holds {series.dtype}, not numbers; cast it")
    values = np.full(len(array), np.nan)
    values[known] = array[known].astype(np.float64)
    return values


def numbers(series: nw.Series[Any], name: str, role: str) -> NDArray[np.float32]:
    """A column of finite numbers as float32."""
    values = floats(series, name, role)
    refuse(~np.isfinite(values), values, name, f"missing or infinite {role}s")
    refuse(np.abs(values) > np.finfo(np.float32).max, values, name, f"{role}s too large for float32")
    return values.astype(np.float32)


def refuse(wrong: NDArray[np.bool_], values: NDArray[Any], name: str, what: str) -> None:
    """Raise for rows that are wrong, naming the column, their number and the first of them."""
    if wrong.any():
        first = int(np.argmax(wrong))
        raise wrong_rows(name, int(wrong.sum()), what, first, values[first])


def wrong_rows(name: str, count: int, what: str, first: int, value: Any) -> DataError:
    """What is raised for `count` rows of a column that are wrong in one way: row `first` has the value."""
    return DataError(
        f"column {name!r} has {count} {what}, first in row {first} ({show(value)}); drop or repair those rows"
    )


def show(value: Any) -> str:
    """A value as its own Python type writes it: 3, not np.int64(3)."""
    return repr(value.item() if isinstance(value, np.generic) else value)


def listed(names: Any) -> str:
    """Names of columns for a message."""
    return ", ".join(map(str, names)) or "no columns"
