"""Upper bounds of dot products, from copies of the vectors in whole numbers: they rule out most items of a catalog.

An item's vector v is `scale` q and an error, q whole numbers of 8 bits; a user's u is `step` p and an error, p of 16.
By Cauchy and Schwarz u.v <= step scale p.q + |u| reach, where `reach` holds the errors of both and of the sums in
float32; the bound is above the score, never equal. For 64 factors it lies about a hundredth of |u| |v| above, at a quarter
of the bytes.

Bounds by whole numbers before exact products: Li et al., "FEXIPRO: Fast and Exact Inner Product Retrieval in Recommender
Systems", SIGMOD 2017.
"""

# pyright: reportMissingParameterType=false
# Numba infers what the kernels take.

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numpy.typing import ArrayLike, NDArray

from recsys.kernels.vectors import (
    FLOATS,
    INDEX,
    array_of,
    inline_ir,
    load,
    multiply_add,
    shuffle,
    spread,
    store,
)

TILE = 32
"""Items whose numbers lie side by side, two dimensions of each: what one multiplication of 16-bit pairs takes."""
ITEM_TOP = 127
"""Largest whole number of an item."""
UNIT = 2.0**-24
"""Relative error of one step in float32."""
LEAST, LARGEST = 1e-15, 1e25
"""A user of a smaller norm, or of a larger one or larger scores, gets no bounds: float32 would lose or overflow them."""
LEAST_REACH = 1e-20
"""In every bound, for what float32 cannot show: times the least norm it is far above that."""
HALVES, WHOLES = ir.VectorType(ir.IntType(16), TILE), ir.VectorType(ir.IntType(32), TILE)
BYTES, SUMS = ir.VectorType(ir.IntType(8), TILE), ir.VectorType(ir.IntType(32), TILE // 2)


class Catalog(NamedTuple):
    """Item vectors (I, D) and what bounds their scores, longest vectors first: D + 12 bytes an item beside the vectors."""

    vectors: NDArray[np.float32]
    """The vectors in the order of the codes, (I, D)."""
    codes: NDArray[np.int32]
    """The items by falling norm, (I,)."""
    coarse: NDArray[np.int8]
    """Whole numbers, (I / 32, D / 2, 64), both rounded up: of 32 items two dimensions beside each other."""
    scale: NDArray[np.float32]
    """What an item's whole numbers are multiples of, (I,) rounded up to 32s."""
    reach: NDArray[np.float32]
    """How far a score may exceed the product of the copies, for a user of norm 1; -inf where there is no item."""
    length: NDArray[np.float32]
    """How large a score may be from each 32 items on, for a user of norm 1: (I / 32,) rounded up."""
    largest: float
    """Largest norm of an item; infinite if one holds an infinity or a NaN, and then there are no bounds."""


def catalog_of(vectors: ArrayLike) -> Catalog:
    """The catalog of vectors (I, D): O(I D + I log I) time."""
    table = np.require(vectors, np.float32, ("C", "A", "W"))
    n_items, depth = table.shape
    norms = np.sqrt(np.einsum("id,id->i", table, table, dtype=np.float64))
    codes = np.argsort(-norms, kind="stable").astype(np.int32)
    largest = float(norms.max(initial=0)) if np.isfinite(norms).all() else np.inf
    tiles = -(-n_items // TILE)
    coarse = np.zeros((tiles, max(1, -(-depth // 2)), 2 * TILE), np.int8)
    scale, reach = np.zeros(tiles * TILE, np.float32), np.full(tiles * TILE, -np.inf, np.float32)
    length = np.zeros(tiles, np.float32)
    if largest < np.inf:
        _round_items(table, codes, *shares(depth), coarse, scale, reach, length)
    return Catalog(table, codes, coarse, scale, reach, length, largest)


def shares(depth: int) -> tuple[float, float, float]:
    """Errors relative to |u| |v|: of a sum over D in float32 and of the bound's own steps, of a user, and of both.

    A sum is off by D units at most, or twice that without fused additions; the bound's steps by ten, and 32 keep it above
    the score. A user's whole numbers are off by sqrt(D) / 2
    steps, of which the largest has `user_top(D)`.
    """
    of_sums, of_user = (2 * depth + 32) * UNIT, 0.505 * depth**0.5 / user_top(depth)
    return of_sums, of_user, of_sums + of_user


@njit(cache=True, nogil=True)
def user_top(depth):
    """Largest whole number of a user: 16 bits, or fewer where a sum over D would not fit 32."""
    return min(2**15 - 1, (2**31 - 1) // (ITEM_TOP * max(depth, 1)))


@njit(cache=True, nogil=True)
def _round_items(vectors, codes, of_sums, of_user, of_both, coarse, scale, reach, length):
    """Fill a catalog of finite vectors."""
    for place in range(len(codes)):
        item, top, squares, errors = codes[place], np.float32(0), 0.0, 0.0
        for d in range(vectors.shape[1]):
            top = max(top, abs(vectors[item, d]))
        unit = np.float32(top / ITEM_TOP)
        for d in range(vectors.shape[1]):
            x, whole = np.float64(vectors[item, d]), 0.0
            if unit > 0:
                # A unit among the smallest floats is inexact, and might give more.
                whole = min(max(np.rint(x / unit), -ITEM_TOP), ITEM_TOP)
            coarse[place // TILE, d // 2, 2 * (place % TILE) + d % 2] = np.int8(whole)
            squares += x * x
            errors += (x - whole * unit) ** 2
        scale[place] = unit
        reach[place] = (1 + of_user) * np.sqrt(errors) + of_both * np.sqrt(squares) + LEAST_REACH
        if place % TILE == 0:
            length[place // TILE] = (1 + of_sums) * np.sqrt(squares) + LEAST_REACH


@njit(cache=True, nogil=True)
def round_user(user, largest, coarse):
    """Write a user's whole numbers to `coarse`; step and norm are returned, a norm of 0 where there are no bounds."""
    top, squares = np.float32(0), 0.0
    for x in user:
        top = max(top, abs(x))
        squares += np.float64(x) ** 2
    norm = np.sqrt(squares)
    if not (LEAST < norm < LARGEST and norm * largest < LARGEST):
        return np.float32(0), np.float32(0)
    step = np.float32(top / user_top(len(user)))
    for d in range(len(user)):
        coarse[d] = np.int16(np.rint(user[d] / step))
    return step, np.float32(norm)


@njit(cache=True, nogil=True)
def bound_block(user, step, norm, catalog, first, stop, block):
    """Bounds of the items `first ... stop` into block[0]: `first` is a multiple of 32, and so is what is filled."""
    for item in range(first, stop, TILE):
        _bound_tile(user, step, norm, catalog.coarse, catalog.scale, catalog.reach, item, block, item - first)


@inline_ir
def _bound_tile(
    typing: Any,
    user: Any,
    step: Any,
    norm: Any,
    coarse: Any,
    scale: Any,
    reach: Any,
    item: Any,
    block: Any,
    column: Any,
) -> Any:
    """block[0, column : column + 32] = step scale (coarse . user) + norm reach, for 32 items from `item` on."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        user, coarse, scale, reach, block = (array_of(context, builder, signature, args, i) for i in (0, 3, 4, 5, 7))
        step, norm, item, column = args[1], args[2], args[6], args[8]
        pairs = builder.extract_value(coarse.shape, 1)
        sums = _sum_pairs(builder, user.data, coarse.data, builder.mul(item, builder.mul(pairs, INDEX(2))), pairs)
        for half, total in enumerate(sums):
            at = builder.add(item, INDEX(half * TILE // 2))
            product = builder.fmul(builder.sitofp(total, FLOATS), spread(builder, step, FLOATS))
            score = builder.fmul(product, load(builder, scale.data, at, FLOATS))
            bound = multiply_add(builder, score, spread(builder, norm, FLOATS), load(builder, reach.data, at, FLOATS))
            store(builder, bound, block.data, builder.add(column, INDEX(half * TILE // 2)))
        return context.get_dummy_value()

    inputs = user, types.float32, types.float32, coarse, scale, reach, types.intp, block, types.intp
    return types.void(*inputs), build


def _sum_pairs(builder: Any, user: Any, coarse: Any, at: Any, pairs: Any) -> list[Any]:
    """Products of a user with the 32 items whose numbers start at an offset, 16 in a vector; there is a pair to sum."""
    start, loop, done = builder.block, builder.append_basic_block("add"), builder.append_basic_block("done")
    builder.branch(loop)
    builder.position_at_end(loop)
    k, sums = builder.phi(INDEX), [builder.phi(SUMS), builder.phi(SUMS)]
    # Two of the user's numbers, repeated as one of 32 bits.
    both = load(builder, user, builder.mul(k, INDEX(2)), ir.VectorType(ir.IntType(16), 2))
    factor = spread(builder, builder.bitcast(both, ir.IntType(32)), SUMS)
    factors = builder.sext(builder.bitcast(factor, HALVES), WHOLES)
    totals: list[Any] = []
    for half, total in enumerate(sums):
        place = builder.add(at, builder.add(builder.mul(k, INDEX(2 * TILE)), INDEX(half * TILE)))
        products = builder.mul(factors, builder.sext(load(builder, coarse, place, BYTES), WHOLES))
        # Processors have one instruction for this: products of 16 bits, added in pairs.
        pair = (shuffle(builder, products, products, list(range(odd, TILE, 2))) for odd in (0, 1))
        totals.append(builder.add(total, builder.add(*pair)))
    following = builder.add(k, INDEX(1))
    for phi, total in zip(sums, totals, strict=True):
        phi.add_incoming(ir.Constant(SUMS, [0] * (TILE // 2)), start)
        phi.add_incoming(total, loop)
    k.add_incoming(INDEX(0), start)
    k.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", following, pairs), loop, done)
    builder.position_at_end(done)
    return totals
