"""Lookup of the slots of rows in a table, and the way back of its gradient: one pass each, with nothing in between.

A row of a data set has slots, each a code (-1 is nothing) and a value. What is looked up is value times row of the
table, and slots of one owner are added up.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recsys.errors import DataError
from recsys.kernels.parallel import FAST, over_rows

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


@njit(cache=True, nogil=True, **FAST)
def _gather(start, stop, codes, values, first, owner, weight, out):  # pragma: no cover
    for b in range(start, stop):
        out[b] = 0
        for s in range(len(first)):
            code = codes[b, s]
            if code >= 0:
                if code + first[s] >= len(weight):
                    raise DataError("FieldEmbedding got a code beyond its table; give codes below the fields' sizes")
                row, value, vector = weight[code + first[s]], values[b, s], out[b, owner[s]]
                for d in range(len(row)):
                    vector[d] += value * row[d]


@njit(cache=True, nogil=True, **FAST)
def _scatter(start, stop, codes, values, first, owner, field, gradient, out):  # pragma: no cover
    for s in range(len(first)):
        if start <= field[s] < stop:
            for b in range(len(codes)):
                if codes[b, s] >= 0:
                    row, value, vector = out[codes[b, s] + first[s]], values[b, s], gradient[b, owner[s]]
                    for d in range(len(row)):
                        row[d] += value * vector[d]


@njit(cache=True, nogil=True, **FAST)
def _list(codes, values, first, owner, gradient, rows, out):  # pragma: no cover
    n = 0
    for b in range(len(codes)):
        for s in range(len(first)):
            if codes[b, s] >= 0:
                rows[n], value, vector = codes[b, s] + first[s], values[b, s], gradient[b, owner[s]]
                for d in range(len(vector)):
                    out[n, d] = value * vector[d]
                n += 1
    return n


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
