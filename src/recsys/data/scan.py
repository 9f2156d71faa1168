"""One pass over Parquet row groups: vocabularies, means and deviations, ranges, and the rows that are wrong.

What is held is the distinct values of each column, or what its encoder keeps of them, and one piece of rows.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from recsys.data import frames
from recsys.data.accumulators import MAX_CATEGORIES, SAMPLE, CategoryCounts, NumberSummary
from recsys.data.columns import Column
from recsys.data.encoders import Categories, Numbers
from recsys.data.features import FRACTIONS, categories, fractions
from recsys.data.parquet import ParquetTable, arrow, plain_type
from recsys.data.roles import STRANGE, Roles
from recsys.errors import DataError

MAX_FLOAT = np.finfo(np.float32).max


@dataclass
class Wrong:
    """Rows that are wrong in one way, counted over all pieces."""

    name: str
    what: str
    count: int = 0
    first: int = 0
    value: Any = None

    def add(self, wrong: NDArray[np.bool_], values: Any, start: int) -> None:
        """Count the wrong rows of a piece whose first row has the number `start`."""
        if not wrong.any():
            return
        if self.count == 0:
            at = int(np.argmax(wrong))
            self.first, self.value = start + at, values[at]
        self.count += int(wrong.sum())

    def refuse(self) -> None:
        """Raise where any row was wrong."""
        if self.count:
            raise frames.wrong_rows(self.name, self.count, self.what, self.first, self.value)


class Reader(ABC):
    """Reads one column a piece at a time; `check` raises for what was wrong in any of them."""

    def __init__(self, name: str, role: str, table: ParquetTable):
        self.name, self.role, self.kind = name, role, table.type_of(name, role)
        self.wrong: list[Wrong] = []

    @abstractmethod
    def add(self, column: Any, start: int) -> None:
        """Read the column of a piece, a pyarrow chunked array whose first row has the number `start`."""

    def check(self) -> None:
        """Raise a `DataError` with the count and the first of the wrong rows."""
        for wrong in self.wrong:
            wrong.refuse()

    def _watch(self, what: str) -> Wrong:
        self.wrong.append(Wrong(self.name, what))
        return self.wrong[-1]


class RoleValues(Reader):
    """A role of numbers, ratings, labels or weights: its checks, mean and range."""

    def __init__(self, name: str, role: str, table: ParquetTable):
        super().__init__(name, role, table)
        check_numbers(self.kind, name, role)
        self.summary, self.low, self.high = NumberSummary(name, None), np.inf, -np.inf
        self.absent = self._watch(f"missing or infinite {role}s")
        self.large = self._watch(f"{role}s too large for float32")
        self.strange = [(self._watch(what), test) for one, what, test in STRANGE if one == role]

    def add(self, column: Any, start: int) -> None:
        """Check the numbers and take them into the mean and the range."""
        values = to_floats(column)
        self.absent.add(~np.isfinite(values), values, start)
        self.large.add(np.abs(values) > MAX_FLOAT, values, start)
        if self.absent.count or self.large.count:
            return
        single = values.astype(np.float32)
        for wrong, test in self.strange:
            wrong.add(test(single), single, start)
        self.summary.add(single.astype(np.float64))
        self.low, self.high = min(self.low, float(single.min())), max(self.high, float(single.max()))


class ContextNumbers(Reader):
    """A context column of numbers, and what its encoder keeps of them."""

    def __init__(self, name: str, table: ParquetTable, encoder: Numbers | None):
        super().__init__(name, "context", table)
        check_numbers(self.kind, name, "numeric")
        self.summary, self.infinite = NumberSummary(name, encoder, SAMPLE), self._watch("infinite numbers")

    def add(self, column: Any, start: int) -> None:
        """Take in the numbers."""
        values = to_floats(column)
        self.infinite.add(np.isinf(values), values, start)
        if not self.infinite.count:
            self.summary.add(values)

    def finish(self) -> Column:
        """The column without rows, which holds what it takes to encode some."""
        return self.summary.finish()


class ContextCategories(Reader):
    """A context column of categories, and what its encoder keeps of them."""

    def __init__(self, name: str, table: ParquetTable, encoder: Categories | None):
        super().__init__(name, "context", table)
        if arrow().types.is_nested(self.kind):
            raise DataError(
                f"column {name!r} holds lists, which cannot be streamed as a context; put them into user_features or "
                "item_features, or read the files into a frame for Dataset"
            )
        self.counts = CategoryCounts(name, "categorical", encoder, MAX_CATEGORIES)
        self.odd = self._watch(FRACTIONS)

    def add(self, column: Any, start: int) -> None:
        """Count the categories."""
        if is_fraction(self.kind):
            values = to_floats(column)
            self.odd.add(fractions(values), values, start)
        if not self.odd.count:
            self.counts.add(*held(column, integers=np.int64))

    def finish(self) -> Column:
        """The column without rows, which holds what it takes to encode some."""
        return self.counts.finish()


class Ids(Reader):
    """Distinct ids of users or items, none of them missing; integers keep their type."""

    def __init__(self, name: str, role: str, table: ParquetTable):
        super().__init__(name, role, table)
        types = arrow().types
        if types.is_floating(self.kind):
            raise DataError(
                f"column {name!r} holds floats, which are no ids (missing ids turn integers into floats); drop missing "
                "rows and cast to an integer"
            )
        if not (types.is_integer(self.kind) or types.is_string(self.kind) or types.is_null(self.kind)):
            raise DataError(f"column {name!r} holds {self.kind}; ids are integers or strings, so cast it")
        self.counts, self.missing = CategoryCounts(name, "categorical", None), self._watch("missing ids")

    def add(self, column: Any, start: int) -> None:
        """Take in the ids."""
        if column.null_count:
            self.missing.add(column.is_null().to_numpy(), [None] * len(column), start)
        self.counts.add(*held(column))

    def finish(self) -> NDArray[Any]:
        """The distinct ids, ascending."""
        vocabulary = self.counts.finish().vocabulary
        return np.empty(0, np.int64) if vocabulary is None else vocabulary.ids


class Scan:
    """One pass: `values` of roles, `context` columns without rows, and distinct `ids` of users and items."""

    def __init__(self, table: ParquetTable, roles: Roles):
        named = {"rating": roles.rating_col, "label": roles.label_col, "weight": roles.weight_col}
        self.values = {role: RoleValues(name, role, table) for role, name in named.items() if name is not None}
        context = [context_reader(name, table, roles) for name in roles.context_cols]
        both = {"users": roles.user_col, "items": roles.item_col}
        ids = [Ids(name, role, table) for role, name in both.items() if name is not None]
        # Columns are checked in this order.
        readers: list[Reader] = [*self.values.values(), *context, *ids]
        self.names = list(dict.fromkeys(reader.name for reader in readers))
        """Columns that are read, each once."""
        for piece in table.pieces:
            rows = table.read(piece, self.names)
            for reader in readers:
                reader.add(rows.column(reader.name), piece.first)
        for reader in readers:
            reader.check()
        self.context = tuple(reader.finish() for reader in context)
        self.ids = tuple(reader.finish() for reader in ids)


def context_reader(name: str, table: ParquetTable, roles: Roles) -> ContextNumbers | ContextCategories:
    """A reader as the column's encoder asks for, else of numbers for fractions and `numeric_cols`, else of categories."""
    encoder = roles.encoders.get(name)
    if isinstance(encoder, Categories):
        return ContextCategories(name, table, encoder)
    if encoder is not None or name in roles.numeric_cols or is_fraction(table.type_of(name, "context")):
        return ContextNumbers(name, table, encoder)
    return ContextCategories(name, table, None)


# -- columns of a piece ------------------------------------------------------------------------------------------------


def check_numbers(kind: Any, name: str, role: str) -> None:
    """Refuse a column that holds no numbers."""
    types = arrow().types
    numbers = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal, types.is_null)
    if not any(fits(kind) for fits in numbers):
        raise DataError(f"the {role} column {name!r} holds {kind}, not numbers; cast it")


def is_fraction(kind: Any) -> bool:
    """Whether a type is one of floats or decimals."""
    types = arrow().types
    return types.is_floating(kind) or types.is_decimal(kind)


def held(column: Any, integers: Any = None) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Distinct values (D,) that some row has, integers in their type or the given one, and places as `coded` has them."""
    values, places = coded(column)
    used = np.bincount(places + 1, minlength=len(values) + 1)[1:] > 0
    if not used.all():
        values = values.filter(arrow().array(used))
        places = np.append(np.cumsum(used) - 1, -1)[places]
    ids = to_ids(values)
    return ids if integers is None or ids.dtype == object else ids.astype(integers), places.astype(np.int64)


def to_floats(column: Any) -> NDArray[np.float64]:
    """Numbers of a column (n,), NaN where missing."""
    pa = arrow()
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy())


def coded(column: Any) -> tuple[Any, NDArray[np.int32]]:
    """A column's values (D,), some of which may have no row, and each row's place among them (n,), -1 where missing."""
    pa = arrow()
    if pa.types.is_dictionary(column.type):
        kind = column.type.value_type
        absent = any(chunk.dictionary.null_count for chunk in column.chunks)
        column = column.cast(kind) if absent or plain_type(kind) != pa.string() else column
    if not pa.types.is_dictionary(column.type):
        column = plain_values(column).dictionary_encode()
    column = column.unify_dictionaries()
    indices = [chunk.indices.cast(pa.int32()).fill_null(-1) for chunk in column.chunks]
    places = np.concatenate([part.to_numpy(zero_copy_only=False) for part in indices])
    return column.chunk(0).dictionary, places


def plain_values(column: Any) -> Any:
    """Categories as integers or text; what is neither becomes text as it does in a frame."""
    pa = arrow()
    if pa.types.is_boolean(column.type):
        return column.cast(pa.int64())
    if is_fraction(column.type):
        return column.cast(pa.float64()).cast(pa.int64(), safe=False)
    if pa.types.is_integer(column.type) or plain_type(column.type) == pa.string():
        return column
    if pa.types.is_null(column.type):
        return column.cast(pa.string())
    flat, known = categories(frames.to_array(nw.from_native(column, series_only=True)))
    return pa.chunked_array([pa.array(flat, mask=~known)])


def to_ids(values: Any) -> NDArray[Any]:
    """Values of a dictionary as integers in their type, or as objects that are strings."""
    array = values.to_numpy(zero_copy_only=False)
    return array if array.dtype.kind in "iu" else array.astype(object)
