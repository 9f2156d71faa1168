"""Products of the vectors of a row with each other, summed, and the way back: one pass each over vectors (B, F, D).

Arrays lie in one piece, row after row; this is not checked.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.cgutils import alloca_once_value
from numpy.typing import NDArray

from recsys.kernels.parallel import over_rows
from recsys.kernels.vectors import (
    array_of,
    each,
    in_pieces,
    inline_ir,
    load,
    multiply_add,
    spread,
    store,
    sum_lanes,
)

SMALL = 1 << 21
"""Numbers below which starting threads takes longer than the rest."""


def _row(context: Any, builder: Any, signature: Any, args: Any) -> tuple[Any, Any, Any, Any]:
    """Of row `args[1]` of vectors, the first argument: address of all numbers, its first one, F and D."""
    array = array_of(context, builder, signature, args, 0)
    n_vectors, dim = (builder.extract_value(array.shape, axis) for axis in (1, 2))
    return array.data, builder.mul(args[1], builder.mul(n_vectors, dim)), n_vectors, dim


def _piece(builder: Any, row: tuple[Any, Any, Any, Any], d: Any, lanes: int, number: Any) -> tuple[Any, Any, Any]:
    """Of the numbers from d on of a row's vectors: the offset and the numbers of vector f, functions of f, and their sum."""
    data, first, n_vectors, dim = row
    vector, start = ir.VectorType(number, lanes), builder.add(first, d)

    def at(f: Any) -> Any:
        return builder.add(start, builder.mul(f, dim))

    def of(f: Any) -> Any:
        return load(builder, data, at(f), vector)

    zeros = ir.Constant(vector, [0.0] * lanes)
    return at, of, each(builder, n_vectors, lambda f, sums: builder.fadd(sums, of(f)), zeros, step=1)


@inline_ir
def _row_products(typing: Any, e: Any, row: Any) -> Any:
    """Sum over d of (sum over f of e)^2 - (sum over f of e^2), of one row."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        row = _, _, n_vectors, dim = _row(context, builder, signature, args)
        number = context.get_value_type(e.dtype)
        found = alloca_once_value(builder, ir.Constant(number, 0.0))

        def body(d: Any, lanes: int) -> None:
            _, of, total = _piece(builder, row, d, lanes, number)
            zeros = ir.Constant(total.type, [0.0] * lanes)
            squares = each(builder, n_vectors, lambda f, sums: multiply_add(builder, sums, of(f), of(f)), zeros, step=1)
            pairs = sum_lanes(builder, builder.fsub(builder.fmul(total, total), squares))
            builder.store(builder.fadd(builder.load(found), pairs), found)

        in_pieces(builder, dim, body)
        return builder.load(found)

    return e.dtype(e, types.int64), build


@inline_ir
def _row_back(typing: Any, e: Any, row: Any, gradient: Any, more: Any, out: Any) -> Any:
    """out = more + gradient (sum over f of e - e), of one row; `more` is an array like `out`, or nothing."""
    adds = not isinstance(more, types.NoneType)

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        row = _, _, n_vectors, dim = _row(context, builder, signature, args)
        number, target = args[2].type, array_of(context, builder, signature, args, 4).data
        beside = array_of(context, builder, signature, args, 3).data if adds else None

        def body(d: Any, lanes: int) -> None:
            at, of, total = _piece(builder, row, d, lanes, number)
            factor = spread(builder, args[2], total.type)

            def move(f: Any) -> None:
                others = builder.fsub(total, of(f))
                if adds:
                    value = multiply_add(builder, load(builder, beside, at(f), total.type), factor, others)
                else:
                    value = builder.fmul(factor, others)
                store(builder, value, target, at(f))

            each(builder, n_vectors, move, step=1)

        in_pieces(builder, dim, body)
        return context.get_dummy_value()

    return types.void(e, types.int64, e.dtype, more, out), build


@njit(cache=True, nogil=True)
def _products(start, stop, e, out):  # pragma: no cover
    for row in range(start, stop):
        out[row] = _row_products(e, row) / 2


@njit(cache=True, nogil=True)
def _back(start, stop, e, gradient, more, out):  # pragma: no cover
    for row in range(start, stop):
        _row_back(e, row, gradient[row], more, out)


def pair_products(e: NDArray[Any], n_jobs: int = -1) -> NDArray[Any]:
    """Sums over pairs of a row's vectors of their dot products: (B, F, D), with F at least 1, to (B,)."""
    out = np.empty(len(e), e.dtype)
    over_rows(lambda start, stop: _products(start, stop, e, out), len(e), _jobs(e, n_jobs))
    return out


def pair_products_back(
    e: NDArray[Any], gradient: NDArray[Any], more: NDArray[Any] | None, out: NDArray[Any], n_jobs: int = -1
) -> None:
    """The gradient `out` (B, F, D) of the vectors from that of the sums, (B,), and what else there is of it, `more`."""
    over_rows(lambda start, stop: _back(start, stop, e, gradient, more, out), len(e), _jobs(e, n_jobs))


def _jobs(e: NDArray[Any], n_jobs: int) -> int:
    return 1 if e.size < SMALL else n_jobs
