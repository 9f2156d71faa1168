"""Layers of a small network on a block of rows: forward, back, and the gradients of their weights, in registers.

Widths are filled up with zeros, so that no product has an edge: columns to a multiple of `LANES`, rows to one of `ROWS`.
A layer is `weight` (N, K) and `turned`, its transpose (K, N): each is filled up by itself. Nothing is checked.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import njit, types
from numpy.typing import NDArray

from recsys.kernels.parallel import FAST
from recsys.kernels.vectors import (
    FLOATS,
    INDEX,
    array_of,
    each,
    inline_ir,
    load,
    multiply_add,
    spread,
    store,
    sum_products,
)

LANES = FLOATS.count
"""Columns of a tile."""
ROWS = 8
"""What rows are filled up to, whatever the height of a tile: it may have been compiled on another processor."""
TILE_ROWS = 8 if get_host_cpu_features().get("avx512f") else 4
"""Rows of a tile: 8 registers of sums, enough for none to wait for itself, of the 32 of AVX-512 or the 16, half as long,
of AVX2."""
ANY = np.float32(-np.inf)
"""What every number is above: as a floor it leaves a layer linear."""
ZERO = np.float32(0)


def filled_up(n: int, to: int) -> int:
    """The next multiple."""
    return -(-n // to) * to


def new_rows(n: int, width: int) -> NDArray[np.float32]:
    """Zeros (n, width) filled up in both."""
    return np.zeros((filled_up(n, ROWS), filled_up(width, LANES)), np.float32)


def fill_up(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """A copy with zeros below and to the right."""
    out = new_rows(*matrix.shape)
    out[: matrix.shape[0], : matrix.shape[1]] = matrix
    return out


def _table(context: Any, builder: Any, signature: Any, args: Any, i: int) -> tuple[Any, Any, Any]:
    """Address, number of rows and step from row to row of argument i, a matrix."""
    array = array_of(context, builder, signature, args, i)
    return array.data, *(builder.extract_value(array.shape, axis) for axis in (0, 1))


def _place(builder: Any, row: Any, step: Any, column: Any) -> Any:
    return builder.add(builder.mul(row, step), column)


def _places(builder: Any, row: Any, step: Any, column: Any) -> list[Any]:
    """Offsets of a column in the rows of a tile."""
    return [_place(builder, builder.add(row, INDEX(i)), step, column) for i in range(TILE_ROWS)]


@inline_ir
def _forward_tile(
    typing: Any, below: Any, row: Any, turned: Any, column: Any, shift: Any, floor: Any, above: Any, first: Any
) -> Any:
    """The rows of a tile of above[:, first + column :][:, :16] = max(below @ turned + shift, floor), of the same columns."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (x, _, x_step), (w, depth, w_step), (y, _, y_step) = (
            _table(context, builder, signature, args, i) for i in (0, 2, 6)
        )
        row, column, floor, first = (args[i] for i in (1, 3, 5, 7))
        left, right = (x, builder.mul(row, x_step)), (w, column, FLOATS)
        totals = sum_products(builder, TILE_ROWS, left, INDEX(1), right, w_step, depth, left_row=x_step)
        shift = load(builder, array_of(context, builder, signature, args, 4).data, column, FLOATS)
        lowest = spread(builder, floor, FLOATS)
        for total, place in zip(totals, _places(builder, row, y_step, builder.add(first, column)), strict=True):
            value = builder.fadd(total, shift)
            # A NaN is not below the floor and goes on.
            value = builder.select(builder.fcmp_ordered("<", value, lowest), lowest, value)
            store(builder, value, y, place)
        return context.get_dummy_value()

    index = types.intp
    return types.void(below, index, turned, index, shift, types.float32, above, index), build


@inline_ir
def _cross_tile(
    typing: Any, below: Any, row: Any, turned: Any, column: Any, shift: Any, first: Any, factors: Any, above: Any
) -> Any:
    """A tile of factors = below @ turned + shift and of above = below + first * factors, of matrices of one shape."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (x, _, step), (w, depth, w_step) = (_table(context, builder, signature, args, i) for i in (0, 2))
        shift, first, factors, above = (array_of(context, builder, signature, args, i).data for i in (4, 5, 6, 7))
        row, column = args[1], args[3]
        left, right = (x, builder.mul(row, step)), (w, column, FLOATS)
        totals = sum_products(builder, TILE_ROWS, left, INDEX(1), right, w_step, depth, left_row=step)
        shift = load(builder, shift, column, FLOATS)
        for total, place in zip(totals, _places(builder, row, step, column), strict=True):
            factor = builder.fadd(total, shift)
            store(builder, factor, factors, place)
            value = multiply_add(builder, load(builder, x, place, FLOATS), load(builder, first, place, FLOATS), factor)
            store(builder, value, above, place)
        return context.get_dummy_value()

    index = types.intp
    return types.void(below, index, turned, index, shift, first, factors, above), build


@inline_ir
def _back_tile(
    typing: Any, gradient: Any, row: Any, first: Any, weight: Any, column: Any, below: Any, floor: Any, of_below: Any
) -> Any:
    """A tile of of_below = gradient[:, first:] @ weight where below is above the floor, else 0."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (g, _, g_step), (w, depth, w_step), (x, _, x_step), (out, _, out_step) = (
            _table(context, builder, signature, args, i) for i in (0, 3, 5, 7)
        )
        row, first, column, floor = (args[i] for i in (1, 2, 4, 6))
        left, right = (g, _place(builder, row, g_step, first)), (w, column, FLOATS)
        totals = sum_products(builder, TILE_ROWS, left, INDEX(1), right, w_step, depth, left_row=g_step)
        lowest, nothing = spread(builder, floor, FLOATS), ir.Constant(FLOATS, [0.0] * LANES)
        places = zip(_places(builder, row, x_step, column), _places(builder, row, out_step, column), strict=True)
        for total, (at, to) in zip(totals, places, strict=True):
            active = builder.fcmp_ordered(">", load(builder, x, at, FLOATS), lowest)
            store(builder, builder.select(active, total, nothing), out, to)
        return context.get_dummy_value()

    index = types.intp
    return types.void(gradient, index, index, weight, index, below, types.float32, of_below), build


@inline_ir
def _add_back_tile(typing: Any, gradient: Any, row: Any, weight: Any, column: Any, of_below: Any) -> Any:
    """A tile of of_below += gradient @ weight."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (g, _, g_step), (w, depth, w_step), (out, _, out_step) = (
            _table(context, builder, signature, args, i) for i in (0, 2, 4)
        )
        row, column = args[1], args[3]
        left, right = (g, builder.mul(row, g_step)), (w, column, FLOATS)
        totals = sum_products(builder, TILE_ROWS, left, INDEX(1), right, w_step, depth, left_row=g_step)
        for total, place in zip(totals, _places(builder, row, out_step, column), strict=True):
            store(builder, builder.fadd(load(builder, out, place, FLOATS), total), out, place)
        return context.get_dummy_value()

    index = types.intp
    return types.void(gradient, index, weight, index, of_below), build


@inline_ir
def _weights_tile(typing: Any, gradient: Any, first: Any, row: Any, below: Any, column: Any, n: Any, out: Any) -> Any:
    """The rows of a tile of out[:, column : column + 16] += gradient[:n, first:].T @ below[:n], of the same columns."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (g, _, g_step), (x, _, x_step), (out, _, out_step) = (
            _table(context, builder, signature, args, i) for i in (0, 3, 6)
        )
        first, row, column, n = (args[i] for i in (1, 2, 4, 5))
        left, right = (g, builder.add(first, row)), (x, column, FLOATS)
        totals = sum_products(builder, TILE_ROWS, left, g_step, right, x_step, n)
        for total, place in zip(totals, _places(builder, row, out_step, column), strict=True):
            store(builder, builder.fadd(load(builder, out, place, FLOATS), total), out, place)
        return context.get_dummy_value()

    index = types.intp
    return types.void(gradient, index, index, below, index, index, out), build


@inline_ir
def _sums_tile(typing: Any, gradient: Any, first: Any, column: Any, n: Any, out: Any) -> Any:
    """out[column : column + 16] += gradient[:n, first + column :].sum(0), of as many columns."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        g, _, g_step = _table(context, builder, signature, args, 0)
        out, column = array_of(context, builder, signature, args, 4).data, args[2]
        at = builder.add(args[1], column)

        def body(row: Any, total: Any) -> Any:
            return builder.fadd(total, load(builder, g, _place(builder, row, g_step, at), FLOATS))

        total = each(builder, args[3], body, load(builder, out, column, FLOATS), step=1)
        store(builder, total, out, column)
        return context.get_dummy_value()

    index = types.intp
    return types.void(gradient, index, index, index, out), build


@njit(cache=True, nogil=True, **FAST)
def forward(below, turned, shift, floor, n, above, first):  # pragma: no cover
    """above[:n, first:] = max(below[:n] @ turned + shift, floor). Rows up to a multiple of `ROWS` are overwritten."""
    for row in range(0, n, TILE_ROWS):
        for column in range(0, turned.shape[1], LANES):
            _forward_tile(below, row, turned, column, shift, floor, above, first)


@njit(cache=True, nogil=True, **FAST)
def cross_forward(below, turned, shift, first, n, factors, above):  # pragma: no cover
    """factors[:n] = below[:n] @ turned + shift and above = below + first * factors; rows as in `forward`."""
    for row in range(0, n, TILE_ROWS):
        for column in range(0, turned.shape[1], LANES):
            _cross_tile(below, row, turned, column, shift, first, factors, above)


@njit(cache=True, nogil=True, **FAST)
def back(gradient, first, weight, below, floor, n, of_below):  # pragma: no cover
    """of_below[:n] = gradient[:n, first:] @ weight where below is above the floor, else 0; rows as in `forward`."""
    for row in range(0, n, TILE_ROWS):
        for column in range(0, weight.shape[1], LANES):
            _back_tile(gradient, row, first, weight, column, below, floor, of_below)


@njit(cache=True, nogil=True, **FAST)
def add_back(gradient, weight, n, of_below):  # pragma: no cover
    """of_below[:n] += gradient[:n] @ weight; rows as in `forward`."""
    for row in range(0, n, TILE_ROWS):
        for column in range(0, weight.shape[1], LANES):
            _add_back_tile(gradient, row, weight, column, of_below)


@njit(cache=True, nogil=True, **FAST)
def add_gradients(gradient, first, below, n, of_weight, of_shift):  # pragma: no cover
    """of_weight += gradient[:n, first:].T @ below[:n] and of_shift += gradient[:n, first:].sum(0), n at least 1."""
    for column in range(0, of_shift.shape[0], LANES):
        _sums_tile(gradient, first, column, n, of_shift)
    for row in range(0, of_weight.shape[0], TILE_ROWS):
        for column in range(0, of_weight.shape[1], LANES):
            _weights_tile(gradient, first, row, below, column, n, of_weight)
