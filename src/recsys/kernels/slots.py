"""Slots of rows; their lookup in a table, and the way back of its gradient: one pass each, with nothing in between.

A row of a data set has slots, each a code (-1 is nothing) and a value. What is looked up is value times row of the
table, and slots of one owner are added up. Arrays lie in one piece, row after row; this is not checked.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numpy.typing import NDArray

from recsys.errors import DataError
from recsys.kernels.parallel import over_rows
from recsys.kernels.vectors import array_of, in_pieces, inline_ir, load, multiply_add, spread, store

SMALL = 1 << 21
"""Numbers looked up below which starting threads takes longer than the rest."""


class Layout(NamedTuple):
    """Of each slot the row of its field's code 0, the place of the result it is added to, and its field, (S,) each.

    Fields have rows of their own.
    """

    first: NDArray[np.int64]
    owner: NDArray[np.int64]
    field: NDArray[np.int64]
    n_owners: int


@inline_ir
def _add_times(typing: Any, factor: Any, source: Any, at: Any, target: Any, to: Any, n: Any) -> Any:
    """target[to : to + n] += factor source[at : at + n], of their numbers in a row; nothing is checked.

    Left to itself LLVM asks for each of these short vectors whether it may be worked on at once, which takes longer.
    """

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (theirs, mine), number = (array_of(context, builder, signature, args, i).data for i in (1, 3)), args[0].type

        def body(d: Any, lanes: int) -> None:
            vector, here = ir.VectorType(number, lanes), builder.add(args[4], d)
            added = load(builder, theirs, builder.add(args[2], d), vector)
            total = multiply_add(builder, load(builder, mine, here, vector), spread(builder, args[0], vector), added)
            store(builder, total, mine, here)

        in_pieces(builder, args[5], body)
        return context.get_dummy_value()

    return types.void(source.dtype, source, types.int64, target, types.int64, types.int64), build


@njit(cache=True, nogil=True)
def _gather(start, stop, codes, values, first, owner, weight, out):  # pragma: no cover
    n_owners, dim = out.shape[1:]
    for b in range(start, stop):
        out[b] = 0
        for s in range(len(first)):
            code = codes[b, s]
            if code >= 0:
                row = code + first[s]
                if row >= len(weight):
                    raise DataError("FieldEmbedding got a code beyond its table; give codes below the fields' sizes")
                _add_times(values[b, s], weight, row * dim, out, (b * n_owners + owner[s]) * dim, dim)


@njit(cache=True, nogil=True)
def _scatter(start, stop, codes, values, first, owner, field, gradient, out):  # pragma: no cover
    n_owners, dim = gradient.shape[1:]
    for s in range(len(first)):
        if start <= field[s] < stop:
            for b in range(len(codes)):
                if codes[b, s] >= 0:
                    row = codes[b, s] + first[s]
                    _add_times(values[b, s], gradient, (b * n_owners + owner[s]) * dim, out, row * dim, dim)


@njit(cache=True, nogil=True)
def _list(codes, values, first, owner, gradient, rows, out):  # pragma: no cover
    n_owners, dim = gradient.shape[1:]
    n = 0
    for b in range(len(codes)):
        for s in range(len(first)):
            if codes[b, s] >= 0:
                rows[n], out[n] = codes[b, s] + first[s], 0
                _add_times(values[b, s], gradient, (b * n_owners + owner[s]) * dim, out, n * dim, dim)
                n += 1
    return n


@njit(cache=True, nogil=True)
def _beside(codes, values, rows, first, out_codes, out_values):  # pragma: no cover
    n_rows, width = codes.shape
    for b in range(len(rows)):
        row = rows[b] + n_rows if rows[b] < 0 else rows[b]
        if row < 0 or row >= n_rows:
            raise DataError("slots got a row beyond their table; give rows below its length, -1 for the last one")
        for s in range(width):
            out_codes[b, first + s], out_values[b, first + s] = codes[row, s], values[row, s]


def slots_beside(
    tables: Sequence[tuple[NDArray[np.int64], NDArray[np.float32]]], rows: Sequence[NDArray[np.int64]]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Codes and values (B, S) from rows (B,) of each table (n, s), -1 the last one, one table's slots behind another's."""
    widths = [codes.shape[1] for codes, _ in tables]
    shape = len(rows[0]), sum(widths)
    out = np.empty(shape, np.int64), np.empty(shape, np.float32)
    for (codes, values), some, first in zip(tables, rows, np.cumsum([0, *widths]), strict=False):
        _beside(codes, values, some, first, *out)
    return out


def gather_slots(
    codes: NDArray[np.int64], values: NDArray[Any], weight: NDArray[Any], layout: Layout, n_jobs: int = -1
) -> NDArray[Any]:
    """Codes (B, S), values (B, S) and a weight (n, D) to vectors (B, n_owners, D)."""
    out = np.empty((len(codes), layout.n_owners, weight.shape[1]), weight.dtype)

    def gather(start: int, stop: int) -> None:
        _gather(start, stop, codes, values, layout.first, layout.owner, weight, out)

    over_rows(gather, len(codes), _jobs(codes.size * weight.shape[1], n_jobs))
    return out


def scatter_slots(
    codes: NDArray[np.int64],
    values: NDArray[Any],
    gradient: NDArray[Any],
    layout: Layout,
    n_rows: int,
    n_jobs: int = -1,
) -> NDArray[Any]:
    """Gradient (n, D) of the weight from that of the vectors, (B, n_owners, D).

    Each thread takes fields: the result is bitwise the same for any number of threads.
    """
    out = np.zeros((n_rows, gradient.shape[2]), gradient.dtype)

    def scatter(start: int, stop: int) -> None:
        _scatter(start, stop, codes, values, layout.first, layout.owner, layout.field, gradient, out)

    over_rows(scatter, int(layout.field.max(initial=-1)) + 1, _jobs(codes.size * out.shape[1], n_jobs))
    return out


def list_slots(
    codes: NDArray[np.int64], values: NDArray[Any], gradient: NDArray[Any], layout: Layout
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """The same gradient as rows (N,), some more than once, and values (N, D): one for each slot that is something."""
    rows, out = np.empty(codes.size, np.int64), np.empty((codes.size, gradient.shape[2]), gradient.dtype)
    n = _list(codes, values, layout.first, layout.owner, gradient, rows, out)
    return rows[:n], out[:n]


def _jobs(n_numbers: int, n_jobs: int) -> int:
    return 1 if n_numbers < SMALL else n_jobs
