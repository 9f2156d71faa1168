"""Rows of a table of vectors in registers: what steps of single examples are made of.

A table is (n, S, W), float32 in the models: slot 0 of a row is its vector, slot 1, if S is 2, Adagrad's sums of squared
gradients beside it. W is a whole number of registers; what of it the vector does not need stays 0. Nothing is checked.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import DTypeLike, NDArray

from recsys.kernels.vectors import (
    INDEX,
    array_of,
    each,
    fetch,
    inline_ir,
    load,
    multiply_add,
    on_lanes,
    spread,
    store,
    sum_lanes,
)

LANES = 16
"""Numbers that are worked on at once: in float32 they fill a line of the cache."""
FUSED = ("contract",)


def new_table(n_rows: int, n_columns: int, n_slots: int, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Zeros (n_rows, n_slots, W) for vectors of `n_columns` numbers; each row starts a line of the cache."""
    width = -(-n_columns // LANES) * LANES
    raw = np.zeros(n_rows * n_slots * width + LANES, dtype)
    start = (-raw.ctypes.data % 64) // raw.itemsize
    return raw[start : start + n_rows * n_slots * width].reshape(n_rows, n_slots, width)


def _row(context: Any, builder: Any, signature: Any, args: Any, row: Any, slot: int = 0) -> tuple[Any, Any, Any]:
    """Address of the numbers of the table, which is the first argument, offset of a slot of a row, and W."""
    array = array_of(context, builder, signature, args, 0)
    slots, width = builder.extract_value(array.shape, 1), builder.extract_value(array.shape, 2)
    place = builder.add(builder.mul(row, slots), INDEX(slot))
    return array.data, builder.mul(place, width), width


def _lanes(context: Any, signature: Any) -> Any:
    """The vector type of the table's numbers."""
    return ir.VectorType(context.get_value_type(signature.args[0].dtype), LANES)


@inline_ir
def dot_row(typing: Any, table: Any, row: Any, vector: Any) -> Any:
    """Product of a row with a vector (W,)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data, first, width = _row(context, builder, signature, args, args[1])
        other, lanes = array_of(context, builder, signature, args, 2).data, _lanes(context, signature)

        def body(at: Any, total: Any) -> Any:
            mine = load(builder, data, builder.add(first, at), lanes)
            return multiply_add(builder, total, mine, load(builder, other, at, lanes))

        return sum_lanes(builder, each(builder, width, body, ir.Constant(lanes, [0.0] * LANES)))

    return table.dtype(table, types.int64, vector), generate


@inline_ir
def add_row(typing: Any, table: Any, row: Any, weight: Any, out: Any) -> Any:
    """Add weight times a row to a vector `out` of at least W numbers."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data, first, width = _row(context, builder, signature, args, args[1])
        target, lanes = array_of(context, builder, signature, args, 3).data, _lanes(context, signature)
        factor = spread(builder, args[2], lanes)

        def body(at: Any) -> None:
            mine = load(builder, data, builder.add(first, at), lanes)
            store(builder, multiply_add(builder, load(builder, target, at, lanes), factor, mine), target, at)

        each(builder, width, body)
        return context.get_dummy_value()

    return types.void(table, types.int64, table.dtype, out), generate


@inline_ir
def step_row(typing: Any, table: Any, row: Any, pull: Any, direction: Any, keep: Any) -> Any:
    """row = keep row + pull direction."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data, first, width = _row(context, builder, signature, args, args[1])
        along, lanes = array_of(context, builder, signature, args, 3).data, _lanes(context, signature)
        pull, keep = spread(builder, args[2], lanes), spread(builder, args[4], lanes)

        def body(at: Any) -> None:
            here = builder.add(first, at)
            kept = builder.fmul(keep, load(builder, data, here, lanes), flags=FUSED)
            store(builder, multiply_add(builder, kept, pull, load(builder, along, at, lanes)), data, here)

        each(builder, width, body)
        return context.get_dummy_value()

    return types.void(table, types.int64, table.dtype, direction, table.dtype), generate


@inline_ir
def step_both(
    typing: Any, table: Any, row: Any, vector: Any, pull: Any, gain: Any, keep: Any, keep_vector: Any, following: Any
) -> Any:
    """row = keep row + pull vector, and vector = keep_vector vector + gain row, both by the old values.

    Returns the new vector's product with row `following` of the table, made while it is at hand.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data, first, width = _row(context, builder, signature, args, args[1])
        after = _row(context, builder, signature, args, args[7])[1]
        other, lanes = array_of(context, builder, signature, args, 2).data, _lanes(context, signature)
        pull, gain, keep, keep_vector = (spread(builder, args[k], lanes) for k in (3, 4, 5, 6))

        def body(at: Any, total: Any) -> Any:
            here = builder.add(first, at)
            mine, theirs = load(builder, data, here, lanes), load(builder, other, at, lanes)
            store(builder, multiply_add(builder, builder.fmul(keep, mine, flags=FUSED), pull, theirs), data, here)
            moved = multiply_add(builder, builder.fmul(keep_vector, theirs, flags=FUSED), gain, mine)
            store(builder, moved, other, at)
            # Read last: it may be the same row.
            return multiply_add(builder, total, moved, load(builder, data, builder.add(after, at), lanes))

        return sum_lanes(builder, each(builder, width, body, ir.Constant(lanes, [0.0] * LANES)))

    number = table.dtype
    return number(table, types.int64, vector, number, number, number, number, types.int64), generate


@inline_ir
def adagrad_row(typing: Any, table: Any, row: Any, pull: Any, direction: Any, rate: Any, penalty: Any) -> Any:
    """g = pull direction - penalty row; squares += g^2; row += rate g / sqrt(squares)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data, first, width = _row(context, builder, signature, args, args[1])
        second = _row(context, builder, signature, args, args[1], slot=1)[1]
        along, lanes = array_of(context, builder, signature, args, 3).data, _lanes(context, signature)
        pull, rate, penalty = (spread(builder, args[k], lanes) for k in (2, 4, 5))
        root = on_lanes(builder, "sqrt", lanes, lanes)

        def body(at: Any) -> None:
            here, there = builder.add(first, at), builder.add(second, at)
            mine = load(builder, data, here, lanes)
            gain = builder.fmul(pull, load(builder, along, at, lanes), flags=FUSED)
            gradient = builder.fsub(gain, builder.fmul(penalty, mine, flags=FUSED), flags=FUSED)
            squares = multiply_add(builder, load(builder, data, there, lanes), gradient, gradient)
            store(builder, squares, data, there)
            move = builder.fdiv(gradient, builder.call(root, [squares]))
            store(builder, multiply_add(builder, mine, rate, move), data, here)

        each(builder, width, body)
        return context.get_dummy_value()

    number = table.dtype
    return types.void(table, types.int64, number, direction, number, number), generate


@inline_ir
def fetch_row(typing: Any, table: Any, row: Any) -> Any:
    """Have a row brought near, to be changed soon; nothing waits for it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data, first, width = _row(context, builder, signature, args, args[1])
        slots = builder.extract_value(array_of(context, builder, signature, args, 0).shape, 1)
        each(
            builder, builder.mul(slots, width), lambda at: fetch(builder, data, builder.add(first, at), to_write=True)
        )  # fmt: skip
        return context.get_dummy_value()

    return types.void(table, types.int64), generate
