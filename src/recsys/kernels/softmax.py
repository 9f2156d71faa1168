"""From logits to the gradient of a softmax's log loss, in place: a row of the block at a time, which stays in the cache.

Rows are filled up to a multiple of `LANES`. Numbers are float32, or the bits of bfloat16 as uint16; what is summed over
a row is in float32. Targets are not checked.
"""

import functools
import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numpy.typing import NDArray

from recsys.kernels.bfloat16 import load_wide, store_narrow
from recsys.kernels.parallel import ranges, run_all
from recsys.kernels.vectors import (
    FLOATS,
    array_of,
    each,
    inline_ir,
    load,
    multiply_add,
    on_lanes,
    spread,
    store,
    sum_lanes,
)

LANES = FLOATS.count
"""What rows are filled up to a multiple of."""
SMALL = 1 << 17
"""Logits below which starting threads takes longer than the rest."""
TERMS = 8
"""Terms of the exponential's series, of at most ln 2 / 2 in size: the first one left out is below 1e-8."""
LOWEST = -87.0
"""What has an exponential of 0: that of a number below would be less than float32 can hold in full."""
HIGH = 355 / 512
"""The logarithm of 2 to nine bits, so that its product with a whole number is exact; what is left is taken apart."""


def _floats(value: float) -> Any:
    return ir.Constant(FLOATS, [value] * LANES)


def _exponential(builder: Any, x: Any) -> Any:
    """e^x of numbers of at most 0; NaN stays NaN.

    With the whole number n nearest to x / ln 2, e^x = 2^n e^r. Added to 1.5 2^23, x / ln 2 is rounded to n, and n stands
    in the lowest bits, from where it is added to the exponent.
    """
    bits = ir.VectorType(ir.IntType(32), LANES)
    magic = _floats(1.5 * 2**23)
    rounded = multiply_add(builder, magic, x, _floats(1 / math.log(2)))
    n = builder.fsub(rounded, magic)
    r = multiply_add(builder, x, n, _floats(-HIGH))
    r = multiply_add(builder, r, n, _floats(HIGH - math.log(2)))
    value = _floats(1 / math.factorial(TERMS - 1))
    for power in range(TERMS - 2, -1, -1):
        value = multiply_add(builder, _floats(1 / math.factorial(power)), value, r)
    exponent = builder.shl(builder.bitcast(rounded, bits), ir.Constant(bits, [23] * LANES))
    value = builder.bitcast(builder.add(builder.bitcast(value, bits), exponent), FLOATS)
    return builder.select(builder.fcmp_ordered("<", x, _floats(LOWEST)), _floats(0.0), value)


def _row(context: Any, builder: Any, signature: Any, args: Any) -> tuple[Any, Any, Any, Any]:
    """Of row `args[1]` of the block, the first argument: address of all numbers, first one, width, type of a number."""
    array = array_of(context, builder, signature, args, 0)
    width = builder.extract_value(array.shape, 1)
    return array.data, builder.mul(args[1], width), width, context.get_value_type(signature.args[0].dtype)


@inline_ir
def _value(typing: Any, block: Any, row: Any, column: Any) -> Any:
    """One number of a row."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data, first, _, number = _row(context, builder, signature, args)
        one = load_wide(builder, data, builder.add(first, args[2]), number, 1)
        return builder.extract_element(one, ir.IntType(32)(0))

    return types.float32(block, types.int64, types.int64), build


@inline_ir
def _write(typing: Any, block: Any, row: Any, column: Any, value: Any) -> Any:
    """One number of a row is overwritten."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data, first, _, number = _row(context, builder, signature, args)
        one = spread(builder, args[3], ir.VectorType(ir.FloatType(), 1))
        store_narrow(builder, one, data, builder.add(first, args[2]), number)
        return context.get_dummy_value()

    return types.void(block, types.int64, types.int64, types.float32), build


@inline_ir
def _largest(typing: Any, block: Any, row: Any) -> Any:
    """The largest number of a row, of those that are numbers."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data, first, width, number = _row(context, builder, signature, args)

        def body(at: Any, largest: Any) -> Any:
            values = load_wide(builder, data, builder.add(first, at), number, LANES)
            return builder.select(builder.fcmp_ordered(">", values, largest), values, largest)

        largest = each(builder, width, body, _floats(-math.inf), step=LANES)
        return builder.call(on_lanes(builder, "vector.reduce.fmax", FLOATS, ir.FloatType()), [largest])

    return types.float32(block, types.int64), build


@inline_ir
def _exponentials(typing: Any, block: Any, row: Any, shift: Any) -> Any:
    """A row becomes e^(row - shift); its sum."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data, first, width, number = _row(context, builder, signature, args)
        shift = spread(builder, args[2], FLOATS)

        def body(at: Any, total: Any) -> Any:
            place = builder.add(first, at)
            values = _exponential(builder, builder.fsub(load_wide(builder, data, place, number, LANES), shift))
            store_narrow(builder, values, data, place, number)
            return builder.fadd(total, values)

        return sum_lanes(builder, each(builder, width, body, _floats(0.0), step=LANES))

    return types.float32(block, types.int64, types.float32), build


@inline_ir
def _add_scaled(typing: Any, block: Any, row: Any, scale: Any, out: Any) -> Any:
    """out += scale times a row."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data, first, width, number = _row(context, builder, signature, args)
        scale, target = spread(builder, args[2], FLOATS), array_of(context, builder, signature, args, 3).data

        def body(at: Any) -> None:
            values = load_wide(builder, data, builder.add(first, at), number, LANES)
            store(builder, multiply_add(builder, load(builder, target, at, FLOATS), scale, values), target, at)

        each(builder, width, body, step=LANES)
        return context.get_dummy_value()

    return types.void(block, types.int64, types.float32, out), build


@njit(cache=True, nogil=True, error_model="numpy")
def _rows(start, stop, block, n_columns, targets, ends, share, scales, losses, of_bias):  # pragma: no cover
    for r in range(start, stop):
        first, last = ends[r - 1] if r else 0, ends[r]
        for column in range(n_columns, block.shape[1]):
            _write(block, r, column, np.float32(-np.inf))
        shift = _largest(block, r)
        found = np.float64(0)
        for at in range(first, last):
            found += _value(block, r, targets[at]) - shift
        total = _exponentials(block, r, shift)
        losses[r] = (last - first) * np.log(np.float64(total)) - found
        scales[r] = share * (last - first) / total
        of_one = np.float32(total / (last - first))
        for at in range(first, last):
            _write(block, r, targets[at], _value(block, r, targets[at]) - of_one)
        if len(of_bias):
            _add_scaled(block, r, scales[r], of_bias)


def softmax_gradient(
    block: NDArray[Any],
    n_columns: int,
    targets: NDArray[np.int64],
    ends: NDArray[np.int64],
    share: float,
    has_bias: bool,
    n_jobs: int,
) -> tuple[float, NDArray[np.float32], NDArray[np.float32] | None]:
    """-sum over a row's targets of ln softmax(row), summed over rows (B, W) of which the first I columns are logits.

    Row r has `targets[ends[r - 1] : ends[r]]`; a target that it has twice counts twice. The block becomes the gradient
    of `share` times the loss, but for a factor of each row: what is returned with the loss are these factors (B,) and,
    where asked for, the gradient summed over rows (I,).
    """
    n, width = block.shape
    pieces = ranges(n, n_jobs if block.size >= SMALL else 1)
    scales, losses = np.empty(n, np.float32), np.empty(n)
    of_bias = np.zeros((len(pieces), width if has_bias else 0), np.float32)
    calls = [
        functools.partial(_rows, start, stop, block, n_columns, targets, ends, share, scales, losses, sums)
        for (start, stop), sums in zip(pieces, of_bias, strict=True)
    ]
    run_all(calls, len(calls))
    return float(losses.sum()), scales, of_bias.sum(0)[:n_columns] if has_bias else None
