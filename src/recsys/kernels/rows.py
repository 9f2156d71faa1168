"""Rows of a table of vectors in registers: what steps of single examples are made of.

A table is float32 (n, S, W): slot 0 of a row is its vector, slot 1, if S is 2, Adagrad's sums of squared gradients
beside it. W is a whole number of registers; what of it the vector does not need stays 0. Nothing is checked.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from recsys.kernels.vectors import FLOATS, INDEX, array_of, inline_ir, load, multiply_add, spread, store

LANES = 16
"""Numbers in a register of 64 bytes, which is a line of the cache as well."""
FUSED = ("contract",)
INT32, BYTES = ir.IntType(32), ir.IntType(8).as_pointer()


def new_table(n_rows: int, n_columns: int, n_slots: int) -> NDArray[np.float32]:
    """Zeros (n_rows, n_slots, W) for vectors of `n_columns` numbers; each row starts a line of the cache."""
    width = -(-n_columns // LANES) * LANES
    raw = np.zeros(n_rows * n_slots * width + LANES, np.float32)
    start = (-raw.ctypes.data % 64) // 4
    return raw[start : start + n_rows * n_slots * width].reshape(n_rows, n_slots, width)


def _row(context: Any, builder: Any, signature: Any, args: Any, table: int, slot: int = 0) -> tuple[Any, Any, Any]:
    """Address of a table's numbers, offset of a slot of the row that the next argument names, and W."""
    array = array_of(context, builder, signature, args, table)
    slots, width = builder.extract_value(array.shape, 1), builder.extract_value(array.shape, 2)
    place = builder.add(builder.mul(args[table + 1], slots), INDEX(slot))
    return array.data, builder.mul(place, width), width


def _each(builder: Any, size: Any, body: Callable[..., Any], total: Any = None) -> Any:
    """Run `body(at)` for at = 0, 16, ... below `size`; with a `total`, `body(at, total)`, which gives the next one."""
    start, loop, done = builder.block, builder.append_basic_block("each"), builder.append_basic_block("done")
    builder.branch(loop)

    builder.position_at_end(loop)
    at = builder.phi(INDEX)
    at.add_incoming(INDEX(0), start)
    if total is None:
        result = body(at)
    else:
        carried = builder.phi(total.type)
        carried.add_incoming(total, start)
        result = body(at, carried)
        carried.add_incoming(result, loop)
    following = builder.add(at, INDEX(LANES))
    at.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", following, size), loop, done)

    builder.position_at_end(done)
    return result


@inline_ir
def dot_row(typing: Any, table: Any, row: Any, vector: Any) -> Any:
    """Product of a row with a vector (W,)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data, first, width = _row(context, builder, signature, args, 0)
        other = array_of(context, builder, signature, args, 2).data

        def body(at: Any, total: Any) -> Any:
            mine = load(builder, data, builder.add(first, at), FLOATS)
            return multiply_add(builder, total, mine, load(builder, other, at, FLOATS))

        total = _each(builder, width, body, ir.Constant(FLOATS, [0.0] * LANES))
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType(), FLOATS])
        add_up = builder.module.declare_intrinsic("llvm.vector.reduce.fadd.v16f32", (), kind)
        return builder.call(add_up, [ir.Constant(ir.FloatType(), 0.0), total], fastmath=("reassoc",))

    return types.float32(table, row, vector), generate


@inline_ir
def add_row(typing: Any, table: Any, row: Any, weight: Any, out: Any) -> Any:
    """Add weight times a row to a vector `out` of at least W numbers."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data, first, width = _row(context, builder, signature, args, 0)
        target, factor = array_of(context, builder, signature, args, 3).data, spread(builder, args[2], FLOATS)

        def body(at: Any) -> None:
            mine = load(builder, data, builder.add(first, at), FLOATS)
            store(builder, multiply_add(builder, load(builder, target, at, FLOATS), factor, mine), target, at)

        _each(builder, width, body)
        return context.get_dummy_value()

    return types.void(table, row, types.float32, out), generate


@inline_ir
def step_row(typing: Any, table: Any, row: Any, pull: Any, direction: Any, keep: Any) -> Any:
    """row = keep row + pull direction."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data, first, width = _row(context, builder, signature, args, 0)
        along = array_of(context, builder, signature, args, 3).data
        pull, keep = spread(builder, args[2], FLOATS), spread(builder, args[4], FLOATS)

        def body(at: Any) -> None:
            here = builder.add(first, at)
            kept = builder.fmul(keep, load(builder, data, here, FLOATS), flags=FUSED)
            store(builder, multiply_add(builder, kept, pull, load(builder, along, at, FLOATS)), data, here)

        _each(builder, width, body)
        return context.get_dummy_value()

    return types.void(table, row, types.float32, direction, types.float32), generate


@inline_ir
def adagrad_row(typing: Any, table: Any, row: Any, pull: Any, direction: Any, rate: Any, penalty: Any) -> Any:
    """g = pull direction - penalty row; squares += g^2; row += rate g / sqrt(squares)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data, first, width = _row(context, builder, signature, args, 0)
        second = _row(context, builder, signature, args, 0, slot=1)[1]
        along = array_of(context, builder, signature, args, 3).data
        pull, rate, penalty = (spread(builder, args[k], FLOATS) for k in (2, 4, 5))
        root = builder.module.declare_intrinsic("llvm.sqrt.v16f32", (), ir.FunctionType(FLOATS, [FLOATS]))

        def body(at: Any) -> None:
            here, there = builder.add(first, at), builder.add(second, at)
            mine = load(builder, data, here, FLOATS)
            gain = builder.fmul(pull, load(builder, along, at, FLOATS), flags=FUSED)
            gradient = builder.fsub(gain, builder.fmul(penalty, mine, flags=FUSED), flags=FUSED)
            squares = multiply_add(builder, load(builder, data, there, FLOATS), gradient, gradient)
            store(builder, squares, data, there)
            move = builder.fdiv(gradient, builder.call(root, [squares]))
            store(builder, multiply_add(builder, mine, rate, move), data, here)

        _each(builder, width, body)
        return context.get_dummy_value()

    return types.void(table, row, types.float32, direction, types.float32, types.float32), generate


@inline_ir
def fetch_row(typing: Any, table: Any, row: Any) -> Any:
    """Have a row brought near, to be changed soon; nothing waits for it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data, first, width = _row(context, builder, signature, args, 0)
        slots = builder.extract_value(array_of(context, builder, signature, args, 0).shape, 1)
        kind = ir.FunctionType(ir.VoidType(), [BYTES, INT32, INT32, INT32])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch.p0", (), kind)

        def body(at: Any) -> None:
            line = builder.bitcast(builder.gep(data, [builder.add(first, at)]), BYTES)
            builder.call(prefetch, [line, INT32(1), INT32(3), INT32(1)])

        _each(builder, builder.mul(slots, width), body)
        return context.get_dummy_value()

    return types.void(table, row), generate
