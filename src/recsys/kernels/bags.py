"""Bags of members: which of them count, and the way back of sums over bags, which writes each row of a table once.

Arrays lie in one piece, row after row; this is not checked.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numpy.typing import NDArray

from recsys.kernels.parallel import over_rows
from recsys.kernels.vectors import array_of, each, in_pieces, inline_ir, load, multiply_add, spread, store

SMALL = 1 << 19
"""Numbers added up below which starting threads takes longer than the rest."""
WIDEST = 64
"""Columns summed up at a time: in float32 half of the registers of AVX2."""


@njit(cache=True, nogil=True)
def _by_row(codes, offsets, weights, ends, bags, values):  # pragma: no cover
    """Bag and weight of each member, grouped by code; group c stops at ends[c], which is where the next one starts."""
    n_rows = len(ends)
    for code in codes:
        if code + 1 < n_rows and code >= 0:
            ends[code + 1] += 1
    for row in range(1, n_rows):
        ends[row] += ends[row - 1]
    # So far these are where groups start: each member moves its group's on.
    for bag in range(len(offsets) - 1):
        for at in range(offsets[bag], offsets[bag + 1]):
            if codes[at] >= 0:
                place = ends[codes[at]]
                ends[codes[at]] = place + 1
                bags[place], values[place] = bag, weights[at]


@inline_ir
def _sum_members(typing: Any, values: Any, bags: Any, first: Any, n: Any, gradient: Any, row: Any, out: Any) -> Any:
    """out[row] = sum over the n members from `first` on of values[i] gradient[bags[i]]; nothing is checked.

    The sums of a piece of the columns stay in registers while all members go by.
    """

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (values_, bags_, source, target) = (array_of(context, builder, signature, args, i) for i in (0, 1, 4, 6))
        first, n, row = args[2], args[3], args[5]
        number, dim = context.get_value_type(gradient.dtype), builder.extract_value(target.shape, 1)

        def body(d: Any, lanes: int) -> None:
            vector = ir.VectorType(number, lanes)

            def add(member: Any, total: Any) -> Any:
                at = builder.add(first, member)
                value, bag = (builder.load(builder.gep(one.data, [at])) for one in (values_, bags_))
                theirs = load(builder, source.data, builder.add(builder.mul(bag, dim), d), vector)
                return multiply_add(builder, total, spread(builder, value, vector), theirs)

            total = each(builder, n, add, ir.Constant(vector, [0.0] * lanes), step=1)
            store(builder, total, target.data, builder.add(builder.mul(row, dim), d))

        in_pieces(builder, dim, body, largest=WIDEST)
        return context.get_dummy_value()

    index = types.int64
    return types.void(values, bags, index, index, gradient, index, out), build


@njit(cache=True, nogil=True)
def _add_up(start, stop, ends, bags, values, gradient, out):  # pragma: no cover
    for row in range(start, stop):
        first = ends[row - 1] if row else 0
        if first == ends[row]:
            out[row] = 0
        else:
            _sum_members(values, bags, first, ends[row] - first, gradient, row, out)


def bag_gradient(
    codes: NDArray[np.int64],
    offsets: NDArray[np.int64],
    weights: NDArray[Any],
    gradient: NDArray[Any],
    out: NDArray[Any],
    n_jobs: int = -1,
) -> None:
    """Gradient `out` (n, D) of a table from that of weighted sums of its rows, (B, D).

    Bag b has `codes[offsets[b]:offsets[b + 1]]` with weights of the same places; code -1 is no member. Members are
    added in their order: the result is bitwise the same for any number of threads.
    """
    ends, bags = np.zeros(len(out), np.int64), np.empty(len(codes), np.int64)
    values = np.empty(len(codes), gradient.dtype)
    _by_row(codes, offsets, weights, ends, bags, values)

    def add_up(start: int, stop: int) -> None:
        _add_up(start, stop, ends, bags, values, gradient, out)

    few = codes.size * out.shape[1] + out.size < SMALL
    over_rows(add_up, len(out), 1 if few else n_jobs, np.diff(ends, prepend=0))


@njit(cache=True, nogil=True)
def _nonzero(lengths, values, places, kept):  # pragma: no cover
    at, n = 0, 0
    for bag in range(len(lengths)):
        before = n
        for _ in range(lengths[bag]):
            # Overwritten by the next one where it is zero: a branch would be guessed wrong half of the time.
            places[n] = at
            n += values[at] != 0
            at += 1
        kept[bag] = n - before
    return n


def nonzero_members(lengths: NDArray[np.int64], values: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the members of bags are that are not 0, and how many each bag has of them.

    Lengths (B,) add up to the number of values (N,); this is not checked.
    """
    places, kept = np.empty(len(values) + 1, np.int64), np.empty(len(lengths), np.int64)
    return places[: _nonzero(lengths, values, places, kept)], kept
