"""Numbers of bfloat16, the upper half of a float32's bits. NumPy knows none: they come as uint16."""

from typing import Any

from llvmlite import ir
from numba import types

from recsys.kernels.vectors import load, store

BFLOAT16 = types.uint16
HALF = ir.IntType(16)


def load_wide(builder: Any, data: Any, at: Any, number: Any, lanes: int) -> Any:
    """As many numbers from an offset on, those of bfloat16 as float32."""
    values = load(builder, data, at, ir.VectorType(number, lanes))
    if number != HALF:
        return values
    bits = ir.VectorType(ir.IntType(32), lanes)
    above = builder.shl(builder.zext(values, bits), ir.Constant(bits, [16] * lanes))
    return builder.bitcast(above, ir.VectorType(ir.FloatType(), lanes))


def store_narrow(builder: Any, values: Any, data: Any, at: Any, number: Any) -> None:
    """Write numbers to an offset, where it has bfloat16 rounded to the nearest, of two as near to the even one."""
    if number == HALF:
        lanes = values.type.count
        bits = ir.VectorType(ir.IntType(32), lanes)
        half, one, below = (ir.Constant(bits, [value] * lanes) for value in (16, 1, 2**15 - 1))
        whole = builder.bitcast(values, bits)
        odd = builder.and_(builder.lshr(whole, half), one)
        rounded = builder.lshr(builder.add(whole, builder.add(odd, below)), half)
        values = builder.trunc(rounded, ir.VectorType(number, lanes))
    store(builder, values, data, at)
