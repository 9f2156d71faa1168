"""Slots: encoded rows of users, items and contexts, as click models read them.

A field is a column; a slot is one of its entries in a row (a tag column has as many as its longest row). Every slot
is a code and a value that multiplies the code's vector: 1 for a category, the number itself for a numeric column.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from recsys.data import Column, Features
from recsys.errors import DataError

Table = tuple[Tensor, Tensor]
"""Codes and values of slots, (n, S) each."""


@dataclass(frozen=True)
class Slots:
    """Encoded rows of one side (users, items or contexts): codes and values (n, S).

    `fields` has the field of each slot, `numeric` whether the slot's value is a number, `sizes` the codes of each field.
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
        parts: list[tuple[NDArray[Any], NDArray[Any], int]] = []
        if with_id:
            parts.append((np.arange(n_rows)[:, None], np.ones((n_rows, 1)), n_rows))
        columns = () if features is None else features.columns
        kinds = [*(["id"] if with_id else []), *(column.kind for column in columns)]
        fitted = [column_width(column) for column in columns] if widths is None else widths
        parts += [column_slots(column, n_rows, width) for column, width in zip(columns, fitted, strict=True)]
        codes = [np.empty((n_rows, 0), np.int64), *(part[0] for part in parts)]
        values = [np.empty((n_rows, 0)), *(part[1] for part in parts)]
        fields = [field for field, part in enumerate(parts) for _ in range(part[0].shape[1])]
        return cls(
            np.concatenate(codes, 1).astype(np.int64),
            np.concatenate(values, 1).astype(np.float32),
            tuple(fields),
            tuple(kinds[field] in ("numeric", "vector") for field in fields),
            tuple(part[2] for part in parts),
        )

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
    return max(int(np.diff(column.indptr).max(initial=0)), 1) if column.kind == "tags" else 1


def column_slots(column: Column, n_rows: int, width: int) -> tuple[NDArray[Any], NDArray[Any], int]:
    """Codes (n, s), values (n, s) and number of distinct codes of one column, s = `width`."""
    if column.kind == "categorical":
        return column.codes[:, None], np.ones((n_rows, 1)), max(column.size, 1)
    if column.kind == "numeric":
        return np.zeros((n_rows, 1), np.int64), column.values[:, None], 1
    if column.kind == "vector":
        return np.tile(np.arange(column.vectors.shape[1]), (n_rows, 1)), column.vectors, column.vectors.shape[1]
    lengths = np.diff(column.indptr)
    if lengths.max(initial=0) > width:
        rows = int((lengths > width).sum())
        raise DataError(
            f"column {column.name!r} has {rows} rows of more than {width} tags, the most of a row when the model was "
            "fitted; shorten them, or fit on such rows too"
        )
    codes = np.full((n_rows, width), -1, np.int64)
    row = np.repeat(np.arange(n_rows), lengths)
    codes[row, np.arange(len(column.codes)) - column.indptr[row]] = column.codes
    # A mean over the tags, so that a row with many weighs no more than a row with one.
    values = np.where(codes >= 0, 1 / np.maximum(lengths, 1)[:, None], 0)
    return codes, values, max(column.size, 1)


def at(table: Table, rows: Tensor) -> Table:
    """Some rows of a table; row -1 is its last, the unknown id."""
    return table[0][rows], table[1][rows]


def joined(*parts: Table) -> Table:
    """Slots of the user, the item and the context beside each other."""
    return torch.cat([codes for codes, _ in parts], 1), torch.cat([values for _, values in parts], 1)


def unknown(n_rows: int, like: Table) -> Table:
    """Rows of a table of which nothing is known."""
    codes, values = like
    return codes.new_full((n_rows, codes.shape[1]), -1), values.new_zeros((n_rows, values.shape[1]))
