"""Linear layers behind each other, forward and back to all gradients, on blocks of rows that stay in the second-level cache.

Numbers of a block lie behind each other, level by level from what goes in to what comes out, and so do the layers'
weights; `layers` says how they are filled up. A level has a floor below which its numbers are cut off.
"""

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recsys.kernels.layers import ANY, LANES, ROWS, ZERO, add_gradients, back, filled_up, forward

Floats = NDArray[np.float32]
Layers = Sequence[tuple[Floats, Floats]]
"""Weight (N, K) and bias (N,) of each layer."""

BLOCK_ROWS = 64
"""Rows whose levels are worked out at a time, a multiple of `ROWS`."""
NO_ROWS = np.empty((0, 0), np.float32)
"""Where a gradient of rows would be written, were one asked for."""


# -- a block -----------------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def columns(width):  # pragma: no cover
    """The width filled up as columns."""
    return -(-width // LANES) * LANES


@njit(cache=True, nogil=True)
def lines(width):  # pragma: no cover
    """The width filled up as rows."""
    return -(-width // ROWS) * ROWS


@njit(cache=True, nogil=True)
def matrix(memory, start, n_rows, n_columns):  # pragma: no cover
    """Numbers that lie behind each other, as a matrix."""
    return memory[start : start + n_rows * n_columns].reshape(n_rows, n_columns)


@njit(cache=True, nogil=True)
def up(n, capacity, widths, floors, turned, shifts, hidden):  # pragma: no cover
    """All levels of n rows from the first one, in the `hidden` numbers of a block of so many rows at most."""
    at, at_weight, at_shift = 0, 0, 0
    for level in range(1, len(widths)):
        deep, under, over = lines(widths[level - 1]), columns(widths[level - 1]), columns(widths[level])
        below = matrix(hidden, at, capacity, under)
        above = matrix(hidden, at + capacity * under, capacity, over)
        weight, shift = matrix(turned, at_weight, deep, over), shifts[at_shift : at_shift + over]
        forward(below, weight, shift, floors[level], n, above, 0)
        at, at_weight, at_shift = at + capacity * under, at_weight + deep * over, at_shift + over


@njit(cache=True, nogil=True)
def down(n, capacity, widths, floors, weights, hidden, of_hidden, of_weights, of_shifts, last):  # pragma: no cover
    """Gradients of the levels of n rows from that of the highest one, to level `last`; those of the weights are added up."""
    at, at_weight, at_shift = len(hidden) - capacity * columns(widths[-1]), len(weights), len(of_shifts)
    for level in range(len(widths) - 1, 0, -1):
        deep, under, over = lines(widths[level]), columns(widths[level - 1]), columns(widths[level])
        gradient = matrix(of_hidden, at, capacity, over)
        at, at_weight, at_shift = at - capacity * under, at_weight - deep * under, at_shift - over
        below, of_below = matrix(hidden, at, capacity, under), matrix(of_hidden, at, capacity, under)
        of_weight, of_shift = matrix(of_weights, at_weight, deep, under), of_shifts[at_shift : at_shift + over]
        add_gradients(gradient, 0, below, n, of_weight, of_shift)
        if level > last:
            back(gradient, 0, matrix(weights, at_weight, deep, under), below, floors[level - 1], n, of_below)


class Stack:
    """Layers filled up and flat behind each other; `rectified` says of each level whether it is cut off at 0."""

    def __init__(self, layers: Layers, rectified: Sequence[bool], width: int):
        self.layers = layers
        self.widths = np.array([width, *(len(bias) for _, bias in layers)])
        self.floors = np.array([ZERO if one else ANY for one in rectified])
        self.weights = _flat([weight for weight, _ in layers], ROWS)
        self.turned = _flat([weight.T for weight, _ in layers], ROWS)
        self.shifts = _flat([bias[None] for _, bias in layers], 1)

    @property
    def n_numbers(self) -> int:
        """Numbers of all levels of a row."""
        return sum(filled_up(int(width), LANES) for width in self.widths)

    def zeros(self) -> tuple[Floats, Floats]:
        """Where gradients of weights and biases are added up."""
        return np.zeros_like(self.weights), np.zeros_like(self.shifts)

    def kept_shape(self, n_rows: int) -> tuple[int, int]:
        """Shape of what `forward` leaves for `back`: the numbers of all levels of the rows, block by block."""
        return -(-n_rows // BLOCK_ROWS), BLOCK_ROWS * self.n_numbers

    def forward(self, x: Floats, kept: Floats, out: Floats) -> None:
        """Rows (B, K) to the highest level, in `out` (B, N). `kept` is of `kept_shape` and may come as it is."""
        _forward(x, self.widths, self.floors, self.turned, self.shifts, kept, out)

    def back(self, gradient: Floats, kept: Floats, of_x: Floats | None) -> tuple[Floats, Floats]:
        """Gradients of weights and biases, flat, from that of the highest level (B, N); that of the rows in `of_x`."""
        found = self.zeros()
        self._add_back(gradient, kept, *found, NO_ROWS if of_x is None else of_x)
        return found

    def _add_back(self, gradient: Floats, kept: Floats, of_weights: Floats, of_shifts: Floats, of_x: Floats) -> None:
        _back(gradient, self.widths, self.floors, self.weights, kept, of_weights, of_shifts, of_x)

    def gradients(self, of_weights: Floats, of_shifts: Floats) -> list[Floats]:
        """Flat ones as weight and bias of each layer."""
        found, at, at_shift = [], 0, 0
        for weight, bias in self.layers:
            shape = filled_up(len(weight), ROWS), filled_up(weight.shape[1], LANES)
            part = of_weights[at : at + shape[0] * shape[1]].reshape(shape)
            found += [part[: len(weight), : weight.shape[1]], of_shifts[at_shift : at_shift + len(bias)]]
            at, at_shift = at + part.size, at_shift + filled_up(len(bias), LANES)
        return found


def _flat(matrices: Sequence[Floats], to: int) -> Floats:
    """Matrices behind each other, their rows filled up to a multiple of `to`."""
    shapes = [(filled_up(len(one), to), filled_up(one.shape[1], LANES)) for one in matrices]
    flat, at = np.zeros(sum(rows * width for rows, width in shapes), np.float32), 0
    for one, (rows, width) in zip(matrices, shapes, strict=True):
        matrix(flat, at, rows, width)[: len(one), : one.shape[1]] = one
        at += rows * width
    return flat


def summed(parts: Sequence[Sequence[Floats]]) -> list[Floats]:
    """What threads found, added up in their order, in the place of the first."""
    totals, *others = parts
    for other in others:
        for total, more in zip(totals, other, strict=True):
            total += more
    return list(totals)


@njit(cache=True, nogil=True)
def copy_rows(source, target):  # pragma: no cover
    """Rows (n, D) to n rows of another width, with zeros behind them where they are shorter."""
    width = min(source.shape[1], target.shape[1])
    for r in range(len(source)):
        for d in range(width):
            target[r, d] = source[r, d]
        for d in range(width, target.shape[1]):
            target[r, d] = 0


# -- rows --------------------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def _forward(x, widths, floors, turned, shifts, hidden, out):  # pragma: no cover
    under, over = columns(widths[0]), columns(widths[-1])
    size = hidden.shape[1]
    for first in range(0, len(x), BLOCK_ROWS):
        n, block = min(BLOCK_ROWS, len(x) - first), hidden[first // BLOCK_ROWS]
        below, above = matrix(block, 0, BLOCK_ROWS, under), matrix(block, size - BLOCK_ROWS * over, BLOCK_ROWS, over)
        copy_rows(x[first : first + n], below)
        up(n, BLOCK_ROWS, widths, floors, turned, shifts, block)
        copy_rows(above[:n], out[first:])


@njit(cache=True, nogil=True)
def _back(gradient, widths, floors, weights, hidden, of_weights, of_shifts, of_x):  # pragma: no cover
    under, over = columns(widths[0]), columns(widths[-1])
    size, last = hidden.shape[1], 0 if len(of_x) else 1
    of_hidden = np.zeros(size, np.float32)
    highest = matrix(of_hidden, size - BLOCK_ROWS * over, BLOCK_ROWS, over)
    lowest = matrix(of_hidden, 0, BLOCK_ROWS, under)
    for first in range(0, len(gradient), BLOCK_ROWS):
        n, block = min(BLOCK_ROWS, len(gradient) - first), hidden[first // BLOCK_ROWS]
        above = matrix(block, size - BLOCK_ROWS * over, BLOCK_ROWS, over)
        for r in range(n):
            for d in range(gradient.shape[1]):
                highest[r, d] = gradient[first + r, d] if above[r, d] > floors[-1] else 0
        down(n, BLOCK_ROWS, widths, floors, weights, block, of_hidden, of_weights, of_shifts, last)
        if not last:
            copy_rows(lowest[:n], of_x[first:])
