"""Scores of a few users for a few items, kept in registers: the inner loop of the exact top-k.

A matrix product from BLAS would be as fast, but its threads fight with the caller's, its last digit depends on the
shape of the block, and it can give two equal vectors unequal scores. Here every score is the sum over D in one order:
it depends on its two vectors alone.
"""

# pyright: reportMissingParameterType=false
# Numba infers what the kernels take.

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numpy.typing import NDArray

from recsys.kernels.vectors import (
    FLOATS,
    INDEX,
    array_of,
    fetch,
    in_order,
    inline_ir,
    load,
    multiply_add,
    shuffle,
    spread,
    store,
    sum_products,
)

TILE_USERS = 6
"""Rows of a tile: 6 x 16 sums fill 12 of the 16 registers of AVX2."""
TILE_ITEMS = 16
BLOCK = 8
ONE_ITEMS = 32
"""Items of a single user's tile: with fewer sums at once each would wait for its own last addition."""
CHUNK = 32
"""Scores that `any_above` tests at once."""
LINE = 16
"""Numbers in a line of the cache."""
FOUR, EIGHT = ir.VectorType(ir.FloatType(), 4), ir.VectorType(ir.FloatType(), BLOCK)


@njit(cache=True, nogil=True)
def score_block(users, vectors, first, stop, panel, block):
    """Scores of packed users (U / 6, D, 6) for the items `first ... stop` of vectors (I, D), into block (U, n).

    `panel` (D, 16) is scratch: 16 items at a time are turned so that one dimension of all 16 is one load. The columns
    of `block` are filled up to a multiple of 16, and those beyond `stop - first` mean nothing.
    """
    depth = vectors.shape[1]
    item = first
    if users.shape[2] == 1 and depth % BLOCK == 0:
        # Vectors are read once, so the panel would be a detour.
        while item + ONE_ITEMS <= stop:
            _scores_of_one(users, vectors, item, block, item - first)
            item += ONE_ITEMS
    while item < stop:
        whole = depth - depth % BLOCK if item + TILE_ITEMS <= stop else 0
        for d in range(0, whole, BLOCK):
            _turn(vectors, item, d, panel, 0)
            _turn(vectors, item + BLOCK, d, panel, BLOCK)
        for j in range(min(TILE_ITEMS, stop - item)):
            for d in range(whole, depth):
                panel[d, j] = vectors[item + j, d]
        if users.shape[2] == 1:
            _tile_of_one(users, 0, panel, block, item - first)
        else:
            for tile in range(users.shape[0]):
                _tile(users, tile, panel, block, item - first)
        item += TILE_ITEMS


def pack_users(users: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors (U, D) as (U / 6, D, 6): one dimension of a tile's users is adjacent. A single user becomes (1, D, 1)."""
    n, depth = users.shape
    rows = 1 if n == 1 else TILE_USERS
    tiles = -(-n // rows)
    padded = np.zeros((tiles * rows, depth), np.float32)
    padded[:n] = users
    return np.ascontiguousarray(padded.reshape(tiles, rows, depth).transpose(0, 2, 1))


def _tile_of(rows: int) -> Any:
    """Intrinsic that writes block[rows * tile :][:rows, column : column + 16] = users[tile].T @ panel."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        users, panel, block = (array_of(context, builder, signature, args, i) for i in (0, 2, 3))
        tile, column, depth = args[1], args[4], builder.extract_value(panel.shape, 0)
        first = builder.mul(tile, INDEX(rows))
        left, right = (users.data, builder.mul(first, depth)), (panel.data, INDEX(0), FLOATS)
        totals = sum_products(builder, rows, left, INDEX(rows), right, INDEX(TILE_ITEMS), depth)
        for row, total in enumerate(totals):
            line = builder.mul(builder.add(first, INDEX(row)), builder.extract_value(block.shape, 1))
            store(builder, total, block.data, builder.add(line, column))
        return context.get_dummy_value()

    def tile(typing: Any, users: Any, tile: Any, panel: Any, block: Any, column: Any) -> Any:
        return types.void(users, types.intp, panel, block, types.intp), build

    return inline_ir(tile)


_tile = _tile_of(TILE_USERS)
_tile_of_one = _tile_of(1)


def _columns(builder: Any, data: Any, depth: Any, at: Any) -> list[Any]:
    """From the offset on, 8 dimensions of 8 items of vectors (I, depth), each dimension of all 8 in a register."""
    starts = [at]
    for _ in range(1, BLOCK):
        starts.append(builder.add(starts[-1], depth))
    columns: list[Any] = []
    for half in (0, 4):
        # Beside each other, item i and item i + 4: halves of a register are filled by loads, which shuffle nothing.
        rows: list[Any] = []
        for i in range(4):
            parts = [load(builder, data, builder.add(starts[j], INDEX(half)), FOUR) for j in (i, i + 4)]
            rows.append(shuffle(builder, *parts, list(range(BLOCK))))
        # Both squares of 4 x 4 turned at once: by single numbers, then by pairs.
        low, high = [0, 8, 1, 9, 4, 12, 5, 13], [2, 10, 3, 11, 6, 14, 7, 15]
        first, second = ([shuffle(builder, rows[i], rows[i + 1], lanes) for i in (0, 2)] for lanes in (low, high))
        low, high = [0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]
        columns += [shuffle(builder, *pair, lanes) for pair in (first, second) for lanes in (low, high)]
    return columns


@inline_ir
def _scores_of_one(typing: Any, users: Any, vectors: Any, item: Any, block: Any, column: Any) -> Any:
    """block[0, column : column + 32] = vectors[item : item + 32] @ the one packed user; D is a multiple of 8."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        users, vectors, block = (array_of(context, builder, signature, args, i) for i in (0, 1, 3))
        item, column, depth = args[2], args[4], builder.extract_value(vectors.shape, 1)
        start, loop, done = builder.block, builder.append_basic_block("add"), builder.append_basic_block("done")
        builder.branch(loop)
        builder.position_at_end(loop)
        d, sums = builder.phi(INDEX), [builder.phi(EIGHT) for _ in range(ONE_ITEMS // BLOCK)]
        totals: list[Any] = list(sums)
        # No processor foresees so many strides: a share of the next items' vectors is asked for at each step.
        share = builder.add(builder.mul(builder.add(item, INDEX(ONE_ITEMS)), depth), builder.mul(d, INDEX(ONE_ITEMS)))
        for line in range(0, ONE_ITEMS * BLOCK, LINE):
            fetch(builder, vectors.data, builder.add(share, INDEX(line)))
        # In the order of the tile of many: k ascends within one sum.
        for half in range(len(sums)):
            first = builder.add(builder.mul(builder.add(item, INDEX(half * BLOCK)), depth), d)
            for k, values in enumerate(_columns(builder, vectors.data, depth, in_order(builder, first))):
                factor = builder.load(builder.gep(users.data, [builder.add(d, INDEX(k))]))
                totals[half] = multiply_add(builder, totals[half], spread(builder, factor, EIGHT), values)
        following = builder.add(d, INDEX(BLOCK))
        for phi, total in zip(sums, totals, strict=True):
            phi.add_incoming(ir.Constant(EIGHT, [0.0] * BLOCK), start)
            phi.add_incoming(total, loop)
        d.add_incoming(INDEX(0), start)
        d.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", following, depth), loop, done)
        builder.position_at_end(done)
        for half, total in enumerate(totals):
            store(builder, total, block.data, builder.add(column, INDEX(half * BLOCK)))
        return context.get_dummy_value()

    return types.void(users, vectors, types.intp, block, types.intp), build


@inline_ir
def _turn(typing: Any, vectors: Any, item: Any, d: Any, panel: Any, column: Any) -> Any:
    """Transpose: panel[d : d + 8, column : column + 8] = vectors[item : item + 8, d : d + 8].T, in registers."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vectors, panel = (array_of(context, builder, signature, args, i) for i in (0, 3))
        item, d, column = args[1], args[2], args[4]
        depth = builder.extract_value(vectors.shape, 1)
        for i, row in enumerate(_columns(builder, vectors.data, depth, builder.add(builder.mul(item, depth), d))):
            at = builder.add(builder.mul(builder.add(d, INDEX(i)), INDEX(TILE_ITEMS)), column)
            store(builder, row, panel.data, at)
        return context.get_dummy_value()

    return types.void(vectors, types.intp, types.intp, panel, types.intp), build


@inline_ir
def any_above(typing: Any, table: Any, row: Any, column: Any, bound: Any) -> Any:
    """Whether one of table[row, column : column + 32] is greater than the bound (a NaN is not)."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        table = array_of(context, builder, signature, args, 0)
        at = builder.add(builder.mul(args[1], builder.extract_value(table.shape, 1)), args[2])
        bounds = spread(builder, args[3], FLOATS)
        greater = None
        for part in range(0, CHUNK, TILE_ITEMS):
            scores = load(builder, table.data, builder.add(at, INDEX(part)), FLOATS)
            found = builder.fcmp_ordered(">", scores, bounds)
            greater = found if greater is None else builder.or_(greater, found)
        return builder.icmp_unsigned("!=", builder.bitcast(greater, ir.IntType(16)), ir.IntType(16)(0))

    return types.boolean(table, types.intp, types.intp, types.float32), build
