"""The two sides of pairs: what a user, and what an item, brings to all pairs it is in, from rows of tables, and back."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recsys.kernels.layers import ANY, LANES, ROWS, add_gradients, back, fill_up, filled_up, forward
from recsys.kernels.parallel import FAST

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

SIDE_ROWS = 64
"""Rows of a table that are worked on at a time."""


@njit(cache=True, nogil=True, **FAST)
def _gather(rows, table, first, n, block):  # pragma: no cover
    for r in range(n):
        vector, to = table[rows[first + r]], block[r]
        for d in range(len(vector)):
            to[d] = vector[d]


@njit(cache=True, nogil=True, **FAST)
def _side(start, stop, rows, multiplied, factor, read, turned, bias, dim, out):  # pragma: no cover
    """Sides (n, W) of rows start to stop: factor times the one vector, and from column `dim` the other's product."""
    block = np.zeros((SIDE_ROWS, -(-read.shape[1] // LANES) * LANES), np.float32)
    for first in range(start, stop, SIDE_ROWS):
        n = min(SIDE_ROWS, stop - first)
        for r in range(n):
            vector, to = multiplied[rows[first + r]], out[first + r]
            for d in range(len(vector)):
                to[d] = factor[d] * vector[d]
        _gather(rows, read, first, n, block)
        forward(block, turned, bias, ANY, n, out[first:], dim)


@njit(cache=True, nogil=True, **FAST)
def _side_back(
    start, stop, rows, multiplied, factor, read, weight, dim, of_sides, places,
    of_multiplied, of_factor, of_read, of_weight, of_bias,
):  # pragma: no cover  # fmt: skip
    """Gradients of rows, put in their places, and of what all rows share, added up, from those of sides start to stop."""
    block = np.zeros((SIDE_ROWS, weight.shape[1]), np.float32)
    of_block = np.zeros_like(block)
    for first in range(start, stop, SIDE_ROWS):
        n = min(SIDE_ROWS, stop - first)
        for r in range(n):
            vector, gradient, to = multiplied[rows[first + r]], of_sides[first + r], of_multiplied[places[first + r]]
            for d in range(len(vector)):
                to[d] = factor[d] * gradient[d]
                of_factor[d] += vector[d] * gradient[d]
        _gather(rows, read, first, n, block)
        add_gradients(of_sides[first:], dim, block, n, of_weight, of_bias)
        back(of_sides[first:], dim, weight, block, ANY, n, of_block)
        for r in range(n):
            gradient, to = of_block[r], of_read[places[first + r]]
            for d in range(len(to)):
                to[d] = gradient[d]


@njit(cache=True, nogil=True)
def places_of(codes, n_codes):  # pragma: no cover
    """Distinct ones of codes (N,), in the order in which they come, and the place of each code among them (N,)."""
    place_of, places, distinct = np.full(n_codes, -1), np.empty_like(codes), np.empty_like(codes)
    n = 0
    for i in range(len(codes)):
        code = codes[i]
        if place_of[code] < 0:
            place_of[code], distinct[n] = n, code
            n += 1
        places[i] = place_of[code]
    return distinct[:n], places


class Side(NamedTuple):
    """Rows (n,) of two tables, and what becomes of them: factor * multiplied[row] and weight read[row] + bias.

    Tables (N, D) and (N, E) are C-contiguous, factor is (D,), weight (H, E) and bias (H,). D may be 0, or E and H.
    Gradients of tables are as long as these where the side is `spread`, which takes rows of which none comes twice; else
    there is one for each of the rows.
    """

    rows: Integers
    multiplied: Floats
    factor: Floats
    read: Floats
    weight: Floats
    bias: Floats
    spread: bool = False


class Sides:
    """A side's vectors of all its rows, filled up: what is multiplied, then what the first layer sums up."""

    def __init__(self, side: Side):
        self.side, n_rows = side, filled_up(len(side.rows), ROWS)
        self.dim = filled_up(len(side.factor), LANES)
        self.weight, self.turned = fill_up(side.weight), fill_up(side.weight.T)
        self.bias = fill_up(side.bias[None])[0]
        self.vectors = np.zeros((n_rows, self.dim + len(self.bias)), np.float32)
        self.places = side.rows if side.spread else np.arange(len(side.rows))
        lengths = (
            (len(table) if side.spread else len(side.rows), table.shape[1]) for table in (side.multiplied, side.read)
        )
        self.of_tables = [np.zeros(shape, np.float32) for shape in lengths]

    def forward(self, start: int, stop: int) -> None:
        """Work out some of the vectors."""
        rows, multiplied, factor, read, *_ = self.side
        _side(start, stop, rows, multiplied, factor, read, self.turned, self.bias, self.dim, self.vectors)

    def back(self, start: int, stop: int, of_vectors: Floats) -> list[Floats]:
        """Gradients of some rows, put in place; those of factor, weight and bias are returned."""
        rows, multiplied, factor, read, weight, bias, _ = self.side
        shared = [np.zeros_like(one) for one in (factor, self.weight, self.bias)]
        _side_back(
            start, stop, rows, multiplied, factor, read, self.weight, self.dim, of_vectors, self.places,
            self.of_tables[0], shared[0], self.of_tables[1], *shared[1:],
        )  # fmt: skip
        return [shared[0], shared[1][: weight.shape[0], : weight.shape[1]], shared[2][: len(bias)]]

    def gradients(self, shared: Sequence[Floats]) -> Side:
        """Those of all rows, and of what they share."""
        factor, weight, bias = shared
        return self.side._replace(
            multiplied=self.of_tables[0], factor=factor, read=self.of_tables[1], weight=weight, bias=bias
        )
