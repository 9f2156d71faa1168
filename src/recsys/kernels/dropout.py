"""Dropout whose numbers are told by their place: nothing is kept for the way back, which decides once more.

A hash of 32 bits of a counter (Wellons, "Hash Function Prospector", 2018) decides on two numbers.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numpy.typing import NDArray

from recsys.kernels.bfloat16 import BFLOAT16, load_wide, store_narrow
from recsys.kernels.vectors import array_of, inline_ir, spread

LEVELS = 2**16
"""Shares are rounded to this part of 1."""
LANES = 16
GROUP = 2 * LANES
"""Numbers that are decided on at once."""
BITS = ir.VectorType(ir.IntType(32), LANES)


def _hash(builder: Any, counters: Any, low: Any, high: Any) -> Any:
    def shifted(value: Any, by: int) -> Any:
        return builder.xor(value, builder.lshr(value, ir.Constant(BITS, [by] * LANES)))

    def times(value: Any, factor: int) -> Any:
        return builder.mul(value, ir.Constant(BITS, [factor] * LANES))

    # The first product sets neighbors apart; between the other two rounds the second half of the key comes in.
    value = builder.add(times(counters, 0x9E3779B9), low)
    value = builder.xor(shifted(times(shifted(value, 16), 0x21F0AAAD), 15), high)
    return shifted(times(value, 0xD35A2D97), 15)


@inline_ir
def _drop_group(typing: Any, x: Any, out: Any, at: Any, group: Any, key: Any, dropped: Any, scale: Any) -> Any:
    """out[at : at + 32] = scale times x there, or 0 where 16 bits of the hash of the place are below `dropped`."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, target = (array_of(context, builder, signature, args, i).data for i in (0, 1))
        number, theirs = ir.IntType(32), context.get_value_type(x.dtype)
        low, high = builder.trunc(args[4], number), builder.trunc(builder.lshr(args[4], args[4].type(32)), number)
        first = builder.mul(builder.trunc(args[3], number), number(LANES))
        counters = builder.add(spread(builder, first, BITS), ir.Constant(BITS, list(range(LANES))))
        bits = _hash(builder, counters, spread(builder, low, BITS), spread(builder, high, BITS))
        limit = spread(builder, builder.trunc(args[5], number), BITS)
        lanes = ir.VectorType(args[6].type, LANES)
        factor, nothing = spread(builder, args[6], lanes), ir.Constant(lanes, [0.0] * LANES)
        halves = (
            builder.and_(bits, ir.Constant(BITS, [LEVELS - 1] * LANES)),
            builder.lshr(bits, ir.Constant(BITS, [16] * LANES)),
        )
        for i, half in enumerate(halves):
            place = builder.add(args[2], args[2].type(i * LANES))
            value = builder.fmul(load_wide(builder, source, place, theirs, LANES), factor)
            kept = builder.icmp_unsigned(">=", half, limit)
            store_narrow(builder, builder.select(kept, value, nothing), target, place, theirs)
        return context.get_dummy_value()

    scale = types.float32 if x.dtype == BFLOAT16 else x.dtype
    return types.void(x, out, types.intp, types.intp, types.uint64, types.intp, scale), build


@njit(cache=True, nogil=True)
def _drop(x, key, dropped, scale, out):  # pragma: no cover
    for group in range(-(-len(x) // GROUP)):
        at = group * GROUP
        if at + GROUP <= len(x):
            _drop_group(x, out, at, group, key, dropped, scale)
        else:
            rest = np.zeros(GROUP, x.dtype)
            rest[: len(x) - at] = x[at:]
            _drop_group(rest, rest, 0, group, key, dropped, scale)
            out[at:] = rest[: len(x) - at]


def drop_numbers(x: NDArray[Any], share: float, seed: int, out: NDArray[Any]) -> None:
    """out = each number of x (n,) times 1 / (1 - share), or 0 with chance `share`: by its place.

    Numbers are float32, float64, or the bits of bfloat16 as uint16.

    On the calling thread alone. That is as fast as memory is, and torch's threads, which stay awake between its
    operations for the next one, would be in the way of others: it is the next operation that then waits.
    """
    dropped = min(round(share * LEVELS), LEVELS - 1)
    scale = np.float32 if x.dtype == np.uint16 else x.dtype.type
    _drop(x, np.uint64(seed), dropped, scale(LEVELS / (LEVELS - dropped)), out)
