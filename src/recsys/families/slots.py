"""Slots: encoded rows of users, items and contexts, as click models read them.

A field is a column; a slot is one of its entries in a row. Every slot is a code and a value that multiplies the code's
vector. The slots of a column are

- a category: its code, value 1; unknown and missing ones have codes where the column gives them some;
- tags: as many as the longest row has, value 1 / (tags of the row);
- a number: code 0, the number itself; for powers of its rank codes 0, 1, 2; and, where the column gives missing numbers
  a code, one more slot that is this code, value 1, in rows without a number, whose other slots are 0;
- a vector: codes 0, ..., D - 1, its numbers.

Code -1, value 0 is nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from recsys.data import Column, Features
from recsys.data.encoders import powers
from recsys.errors import DataError
from recsys.kernels.slots import slots_beside

Table = tuple[Tensor, Tensor]
"""Codes and values of slots, (n, S) each."""


class Field(NamedTuple):
    """Slots of one field: codes (n, s) below `size` and values (n, s); `numeric` says of each whether it is a number."""

    codes: NDArray[np.int64]
    values: NDArray[np.float32]
    numeric: tuple[bool, ...]
    size: int


@dataclass(frozen=True)
class Slots:
    """Encoded rows of one side (users, items or contexts): codes and values (n, S).

    `fields` has the field of each slot, `numeric` whether the slot's value is the number of a column, `sizes` the codes
    of each field.
    """

    codes: NDArray[np.int64]
    values: NDArray[np.float32]
    fields: tuple[int, ...]
    numeric: tuple[bool, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(
        cls, n_rows: int, features: Features | None, *, with_id: bool, widths: Sequence[int] | None = None
    ) -> "Slots":
        """Slots of the id (where the side has one) and of every column, as many as it needs or as `widths` says."""
        columns = () if features is None else features.columns
        fitted = [column_width(column) for column in columns] if widths is None else widths
        parts = [category(np.arange(n_rows), n_rows)] if with_id else []
        parts += [column_slots(column, n_rows, width) for column, width in zip(columns, fitted, strict=True)]
        starts = np.cumsum([0, *(len(part.numeric) for part in parts)])
        codes = np.empty((n_rows, starts[-1]), np.int64)
        values = np.empty((n_rows, starts[-1]), np.float32)
        for part, start, stop in zip(parts, starts[:-1], starts[1:], strict=True):
            codes[:, start:stop], values[:, start:stop] = part.codes, part.values
        fields = tuple(field for field, part in enumerate(parts) for _ in part.numeric)
        numeric = tuple(one for part in parts for one in part.numeric)
        return cls(codes, values, fields, numeric, tuple(part.size for part in parts))

    def tensors(self, device: torch.device) -> Table:
        """Codes and values."""
        return torch.from_numpy(self.codes).to(device), torch.from_numpy(self.values).to(device)

    def table(self, device: torch.device) -> Table:
        """Codes and values with one more row, which stands for an unknown id: all -1."""
        codes, values = self.tensors(device)
        return F.pad(codes, (0, 0, 0, 1), value=-1), F.pad(values, (0, 0, 0, 1))


def column_width(column: Column) -> int:
    """Slots of one column: a tag column has as many as its longest row."""
    if column.kind == "vector":
        return column.vectors.shape[1]
    if column.kind == "numeric":
        return (3 if column.transform == "powers" else 1) + column.missing
    return max(int(np.diff(column.indptr).max(initial=0)), 1) if column.kind == "tags" else 1


def column_slots(column: Column, n_rows: int, width: int) -> Field:
    """Slots of one column of n rows, `width` of them."""
    if column.kind == "categorical":
        return category(column.field_codes, column.n_codes)
    if column.kind == "numeric":
        return number_slots(column, n_rows)
    if column.kind == "tags":
        return tag_slots(column, n_rows, width)
    codes = np.tile(np.arange(column.vectors.shape[1]), (n_rows, 1))
    return Field(codes, column.vectors, (True,) * codes.shape[1], codes.shape[1])


def category(codes: NDArray[np.int64], size: int) -> Field:
    """One slot of codes (n,)."""
    return Field(codes[:, None], np.ones((len(codes), 1), np.float32), (False,), max(size, 1))


def number_slots(column: Column, n_rows: int) -> Field:
    """A number or its powers, and the slot of missing numbers where they have a code."""
    values = column.values[:, None]
    if column.transform == "powers":
        values = powers(column.values)
    n_numbers = values.shape[1]
    codes = np.tile(np.arange(n_numbers), (n_rows, 1))
    if not column.missing:
        return Field(codes, values, (True,) * n_numbers, n_numbers)
    absent = column.absent[:, None]
    codes = np.concatenate([codes, np.where(absent, n_numbers, -1)], 1)
    values = np.concatenate([values, absent.astype(np.float32)], 1)
    return Field(codes, values, (*(True,) * n_numbers, False), n_numbers + 1)


def tag_slots(column: Column, n_rows: int, width: int) -> Field:
    """The tags of a row, each with its share of the row."""
    lengths = np.diff(column.indptr)
    if lengths.max(initial=0) > width:
        rows = int((lengths > width).sum())
        raise DataError(
            f"column {column.name!r} has {rows} rows of more than {width} tags, the most of a row when the model was "
            "fitted; shorten them, or fit on such rows too"
        )
    codes = np.full((n_rows, width), -1, np.int64)
    row = np.repeat(np.arange(n_rows), lengths)
    codes[row, np.arange(len(column.codes)) - column.indptr[row]] = column.field_codes
    # A mean over the tags, so that a row with many weighs no more than a row with one.
    values = np.where(codes >= 0, 1 / np.maximum(lengths, 1)[:, None], 0).astype(np.float32)
    return Field(codes, values, (False,) * width, max(column.n_codes, 1))


def at(table: Table, rows: Tensor) -> Table:
    """Some rows of a table; row -1 is its last, the unknown id."""
    codes, values = table
    # Whole rows are copied; indexing would go number by number.
    places = rows.remainder(len(codes))
    return codes.index_select(0, places), values.index_select(0, places)


def beside(tables: Sequence[Table], rows: Sequence[Tensor]) -> Table:
    """Rows (B,) of each table, one table's slots behind another's; row -1 is the last, the unknown id."""
    if all(codes.is_cpu for codes, _ in tables):
        arrays = [(codes.numpy(), values.numpy()) for codes, values in tables]
        codes, values = slots_beside(arrays, [some.numpy() for some in rows])
        return torch.from_numpy(codes), torch.from_numpy(values)
    return joined(*(at(table, some) for table, some in zip(tables, rows, strict=True)))


def joined(*parts: Table) -> Table:
    """Slots of the user, the item and the context beside each other."""
    return torch.cat([codes for codes, _ in parts], 1), torch.cat([values for _, values in parts], 1)


def unknown(n_rows: int, like: Table) -> Table:
    """Rows of a table of which nothing is known."""
    codes, values = like
    return codes.new_full((n_rows, codes.shape[1]), -1), values.new_zeros((n_rows, values.shape[1]))
