"""Log loss of pairs that a product and a tower of layers score, and all gradients, a block of pairs at a time.

Each side, users and items, is worked out once for its rows; a block's layers then go forward and back while they are in
the second-level cache. He et al., "Neural Collaborative Filtering", WWW 2017.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types

from recsys.kernels.layers import LANES, ROWS
from recsys.kernels.mlp import Stack, columns, down, lines, matrix, summed, up
from recsys.kernels.pair_sides import Floats, Integers, Side, Sides
from recsys.kernels.parallel import FAST, n_threads, ranges, run_all
from recsys.kernels.vectors import (
    FLOATS,
    array_of,
    each,
    inline_ir,
    load,
    multiply_add,
    spread,
    store,
    sum_lanes,
)

BLOCK_NUMBERS = 1 << 15
"""Numbers of all layers and their gradients that are held at a time."""
LEAST = 1 << 10
"""Pairs below which starting a thread takes longer than what it does."""
NOTHING = ir.Constant(FLOATS, [0.0] * LANES)


# -- pairs -------------------------------------------------------------------------------------------------------------


def _row(context: Any, builder: Any, signature: Any, args: Any, i: int) -> tuple[Any, Any, Any]:
    """Address of a matrix, argument i, offset of the row that the argument behind it tells, and the matrix's width."""
    array = array_of(context, builder, signature, args, i)
    width = builder.extract_value(array.shape, 1)
    return array.data, builder.mul(args[i + 1], width), width


def _at(builder: Any, row: tuple[Any, Any, Any], column: Any) -> tuple[Any, Any]:
    return row[0], builder.add(row[1], column)


@inline_ir
def _product(typing: Any, people: Any, user: Any, things: Any, item: Any, dim: Any) -> Any:
    """people[user, :dim] . things[item, :dim], dim not 0."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        u, i = (_row(context, builder, signature, args, at) for at in (0, 2))

        def body(at: Any, total: Any) -> Any:
            one, other = (load(builder, *_at(builder, row, at), FLOATS) for row in (u, i))
            return multiply_add(builder, total, one, other)

        nothing = NOTHING
        return sum_lanes(builder, each(builder, args[4], body, nothing))

    return types.float32(people, types.intp, things, types.intp, types.intp), build


@inline_ir
def _activate(typing: Any, people: Any, user: Any, things: Any, item: Any, dim: Any, hidden: Any, row: Any) -> Any:
    """hidden[row] = relu(people[user, dim:] + things[item, dim:]), of as many columns, at least some."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        u, i, out = (_row(context, builder, signature, args, at) for at in (0, 2, 5))

        def body(at: Any) -> None:
            one, other = (load(builder, *_at(builder, row, builder.add(args[4], at)), FLOATS) for row in (u, i))
            value = builder.fadd(one, other)
            value = builder.select(builder.fcmp_ordered("<", value, NOTHING), NOTHING, value)
            store(builder, value, *_at(builder, out, at))

        each(builder, builder.sub(u[2], args[4]), body)
        return context.get_dummy_value()

    index = types.intp
    return types.void(people, index, things, index, index, hidden, index), build


@inline_ir
def _add_both(typing: Any, of_sums: Any, row: Any, to: Any, user: Any, other: Any, item: Any, dim: Any) -> Any:
    """of_sums[row] is added to to[user, dim:] and to other[item, dim:], of as many columns, at least some."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        sums, u, i = (_row(context, builder, signature, args, at) for at in (0, 2, 4))

        def body(at: Any) -> None:
            value, column = load(builder, *_at(builder, sums, at), FLOATS), builder.add(args[6], at)
            for out in (u, i):
                place = _at(builder, out, column)
                store(builder, builder.fadd(load(builder, *place, FLOATS), value), *place)

        each(builder, builder.sub(u[2], args[6]), body)
        return context.get_dummy_value()

    index = types.intp
    return types.void(of_sums, index, to, index, other, index, index), build


@inline_ir
def _add_product(typing: Any, to: Any, row: Any, table: Any, other: Any, slope: Any, dim: Any) -> Any:
    """to[row, :dim] += slope table[other, :dim], dim not 0."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        out, vector = (_row(context, builder, signature, args, at) for at in (0, 2))
        factor = spread(builder, args[4], FLOATS)

        def body(at: Any) -> None:
            place, value = _at(builder, out, at), load(builder, *_at(builder, vector, at), FLOATS)
            store(builder, multiply_add(builder, load(builder, *place, FLOATS), factor, value), *place)

        each(builder, args[5], body)
        return context.get_dummy_value()

    index = types.intp
    return types.void(to, index, table, index, types.float32, index), build


@njit(cache=True, nogil=True, **FAST)
def _slopes(products, bias, logits, n, n_each, scale, slopes):  # pragma: no cover
    """Log loss of logits, of which every n_each-th is of a user's own item; scale times its derivatives to slopes[:, 0].

    A logit is a product, a bias and column 0 of `logits` (R, 16).
    """
    total, product = 0.0, 1.0
    for r in range(n):
        x, own = products[r] + bias + logits[r, 0], r % n_each == 0
        small = np.exp(-abs(x))
        # Of the sign that does not overflow.
        chance = (np.float32(1) if x > 0 else small) / (np.float32(1) + small)
        total += max(-x if own else x, np.float32(0))
        # One logarithm for many factors, none of which is above 2.
        product *= 1.0 + small
        if r % 512 == 511:
            total, product = total + np.log(product), 1.0
        slopes[r, 0] = scale * (chance - np.float32(own))
    return total + np.log(product)


@njit(cache=True, nogil=True, **FAST)
def _pairs(
    start, stop, step, whose, people, things, items, dim, bias, widths, floors, weights, turned, shifts, scale,
    of_people, of_things, of_bias, of_weights, of_shifts,
):  # pragma: no cover  # fmt: skip
    """Summed loss of rows start to stop of `items`, `step` at a time; gradients are added up."""
    n_each, inside, inner = items.shape[1], people.shape[1] > dim, columns(widths[0])
    capacity, total = lines(step * n_each), 0
    for width in widths:
        total += capacity * columns(width)
    hidden, of_hidden = np.zeros(total, np.float32), np.zeros(total, np.float32)
    products, last, loss = np.zeros(capacity, np.float32), total - capacity * LANES, 0.0
    sums, of_sums = matrix(hidden, 0, capacity, inner), matrix(of_hidden, 0, capacity, inner)
    logits, slopes = matrix(hidden, last, capacity, LANES), matrix(of_hidden, last, capacity, LANES)
    for first in range(start, stop, step):
        beyond = min(first + step, stop)
        n = (beyond - first) * n_each
        for row in range(first, beyond):
            user = whose[row]
            for k in range(n_each):
                item, r = items[row, k], (row - first) * n_each + k
                if dim:
                    products[r] = _product(people, user, things, item, dim)
                if inside:
                    _activate(people, user, things, item, dim, sums, r)
        up(n, capacity, widths, floors, turned, shifts, hidden)
        loss += _slopes(products, bias, logits, n, n_each, scale, slopes)
        down(n, capacity, widths, floors, weights, hidden, of_hidden, of_weights, of_shifts, 0)
        for row in range(first, beyond):
            user = whose[row]
            for k in range(n_each):
                item, r = items[row, k], (row - first) * n_each + k
                of_bias[0] += slopes[r, 0]
                if dim:
                    _add_product(of_people, user, things, item, slopes[r, 0], dim)
                    _add_product(of_things, item, people, user, slopes[r, 0], dim)
                if inside:
                    _add_both(of_sums, r, of_people, user, of_things, item, dim)
    return loss


# -- a batch -----------------------------------------------------------------------------------------------------------


class Pairs(NamedTuple):
    """Users `whose` (B,), ascending, with items (B, C), places among the rows of either side; the first item is the own.

    The logit of sides u and i is u[:D] . i[:D] + h . z + b, with the first hidden layer relu(u[D:] + i[D:]) and z the
    last one. `weights` are b (1,), and for a tower h (1, Z), and weight and bias of each hidden layer behind the first.
    """

    users: Side
    things: Side
    whose: Integers
    items: Integers
    weights: Sequence[Floats]


class Gradients(NamedTuple):
    """Those of both sides and of the weights."""

    users: Side
    things: Side
    weights: Sequence[Floats]


def _stack(width: int, weights: Sequence[Floats]) -> Stack:
    """The layers behind the first one, which comes in cut off at 0, and the logit as the last."""
    _, *tower = weights
    layers = [*zip(tower[1::2], tower[2::2], strict=True), (tower[0], np.zeros(1, np.float32))] if tower else []
    return Stack(layers, [True] * len(layers) + [False], width if tower else 1)


def _cuts(whose: Integers, threads: int) -> list[tuple[int, int]]:
    """Ranges of rows, one a thread, each of which has all rows of its users."""
    n = len(whose)
    inner = (int(np.searchsorted(whose, whose[n * part // threads])) for part in range(1, threads))
    return list(pairwise([0, *inner, n]))


def pair_gradients(pairs: Pairs, n_jobs: int = -1) -> tuple[float, Gradients]:
    """Mean over rows of -ln sigmoid(first logit) - sum of ln(1 - sigmoid(the others)), and its gradients.

    All arrays but rows, places and items are float32. Bitwise the same for one number of threads.
    """
    threads = max(1, min(n_threads(n_jobs), pairs.items.size // LEAST))
    users, things = Sides(pairs.users), Sides(pairs.things)
    stack = _stack(len(pairs.users.bias), pairs.weights)
    parts = list(zip(*(ranges(len(side.rows), threads, ROWS) for side in (pairs.users, pairs.things)), strict=True))

    def forward(of_users: tuple[int, int], of_things: tuple[int, int]) -> None:
        users.forward(*of_users)
        things.forward(*of_things)

    run_all([partial(forward, *part) for part in parts], threads)
    to_users = np.zeros_like(users.vectors)
    some_rows = partial(_some_rows, pairs=pairs, users=users, things=things, stack=stack, to_users=to_users)
    calls = [partial(some_rows, *some) for some in _cuts(pairs.whose, threads)]
    losses, (to_things, *others), of_weights = zip(*run_all(calls, threads), strict=True)

    def back(of_users: tuple[int, int], of_things: tuple[int, int]) -> tuple[list[Floats], list[Floats]]:
        some = slice(*of_things)
        for other in others:
            to_things[some] += other[some]
        return users.back(*of_users, to_users), things.back(*of_things, to_things)

    shared = zip(*run_all([partial(back, *part) for part in parts], threads), strict=True)
    of_users, of_things = (side.gradients(summed(one)) for side, one in zip((users, things), shared, strict=True))
    return sum(losses) / max(len(pairs.items), 1), Gradients(of_users, of_things, summed(of_weights))


def _some_rows(
    start: int, stop: int, pairs: Pairs, users: Sides, things: Sides, stack: Stack, to_users: Floats
) -> tuple[float, Floats, list[Floats]]:
    """Summed loss; gradients of the items' sides and of the weights. Those of the users' sides are added up in place."""
    n_rows, n_each = pairs.items.shape
    step = max(1, BLOCK_NUMBERS // (2 * stack.n_numbers * n_each))
    to_things, of_bias = np.zeros_like(things.vectors), np.zeros_like(pairs.weights[0])
    of_weights, of_shifts = stack.zeros()
    loss = _pairs(
        start, stop, step, pairs.whose, users.vectors, things.vectors, pairs.items, users.dim, pairs.weights[0][0],
        stack.widths, stack.floors, stack.weights, stack.turned, stack.shifts, np.float32(1 / max(n_rows, 1)),
        to_users, to_things, of_bias, of_weights, of_shifts,
    )  # fmt: skip
    of_layers = stack.gradients(of_weights, of_shifts)
    # The logit is the last layer, of which the bias is no weight, and comes first.
    return loss, to_things, [of_bias, *of_layers[-2:-1], *of_layers[:-2]]
