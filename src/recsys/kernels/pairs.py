"""Log loss of pairs that a product and a tower of layers score, and its gradients, a block of pairs at a time.

The products of a block are BLAS's, what lies between them is one pass each, and nothing leaves the second-level cache
but the gradients of the two sides. He et al., "Neural Collaborative Filtering", WWW 2017.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recsys.kernels.parallel import FAST, n_threads, one_blas_thread, run_all

Floats = NDArray[np.float32]

BLOCK_NUMBERS = 1 << 16
"""Numbers of the widest layer that are held at a time."""
LEAST = 1 << 12
"""Pairs below which starting a thread takes longer than what it does."""


@njit(cache=True, nogil=True, **FAST)
def _dot(x, y):  # pragma: no cover
    total = np.float32(0)
    for d in range(len(x)):
        total += x[d] * y[d]
    return total


@njit(cache=True, nogil=True, **FAST)
def _add_scaled(out, factor, x):  # pragma: no cover
    for d in range(len(x)):
        out[d] += factor * x[d]


@njit(cache=True, nogil=True, **FAST)
def _activate(x, y, out):  # pragma: no cover
    """out = relu(x + y)."""
    for d in range(len(out)):
        total = x[d] + y[d]
        out[d] = total if total > 0 else np.float32(0)


@njit(cache=True, nogil=True, **FAST)
def _shift_and_activate(sums, bias):  # pragma: no cover
    """relu(sums + bias) in place, (n, H)."""
    for row in sums:
        _activate(row, bias, row)


@njit(cache=True, nogil=True, **FAST)
def _pass_active(gradient, units):  # pragma: no cover
    """The gradient where units are active, 0 elsewhere, in place, (N,)."""
    for e in range(len(gradient)):
        # Loaded whether or not it is active: a load that depends on it keeps the loop from taking several at a time.
        value, unit = gradient[e], units[e]
        gradient[e] = value if unit > 0 else np.float32(0)


@njit(cache=True, nogil=True, **FAST)
def _enter(people, things, items, dim, bias, logits, hidden):  # pragma: no cover
    """Product and bias to `logits` (n,), first hidden layer to `hidden` (n, H), of users with items (b, C)."""
    n_each = items.shape[1]
    for r in range(len(logits)):
        u, i = people[r // n_each], things[items[r // n_each, r % n_each]]
        logits[r] = bias + _dot(u[:dim], i[:dim])
        _activate(u[dim:], i[dim:], hidden[r])


@njit(cache=True, nogil=True, **FAST)
def _slopes(logits, n_each):  # pragma: no cover
    """Log loss of logits, of which every n_each-th is of a user's own item; turns them into its derivatives."""
    total, product = 0.0, 1.0
    for r in range(len(logits)):
        x, own = logits[r], r % n_each == 0
        small = np.exp(-abs(x))
        # Of the sign that does not overflow.
        chance = (np.float32(1) if x > 0 else small) / (np.float32(1) + small)
        total += max(-x if own else x, np.float32(0))
        # One logarithm for many factors, none of which is above 2.
        product *= 1.0 + small
        if r % 512 == 511:
            total, product = total + np.log(product), 1.0
        logits[r] = chance - np.float32(own)
    return total + np.log(product)


@njit(cache=True, nogil=True, **FAST)
def _leave(people, things, items, dim, slope, of_sums, of_people, of_things):  # pragma: no cover
    """Gradients of users' sides, put in place (b, D + H), and of items' sides, added up (I, D + H)."""
    n_each, one = items.shape[1], np.float32(1)
    of_people[:] = 0
    for r in range(len(slope)):
        at, item = r // n_each, items[r // n_each, r % n_each]
        to_user, to_item = of_people[at], of_things[item]
        _add_scaled(to_user[:dim], slope[r], things[item, :dim])
        _add_scaled(to_item[:dim], slope[r], people[at, :dim])
        _add_scaled(to_user[dim:], one, of_sums[r])
        _add_scaled(to_item[dim:], one, of_sums[r])


class Pairs(NamedTuple):
    """Sides of users (B, D + H) and of items (I, D + H), items of each user (B, C), D, and what else scores them.

    The logit is u[:D] . i[:D] + h . z + b with the first hidden layer relu(u[D:] + i[D:]) and z the last one. Weights
    are b (1,), and for a tower h (1, Z), and weight and bias of each hidden layer behind the first.
    """

    people: Floats
    things: Floats
    items: NDArray[np.int64]
    dim: int
    weights: Sequence[Floats]

    def rows(self, start: int, stop: int) -> "Pairs":
        """Some users."""
        return self._replace(people=self.people[start:stop], items=self.items[start:stop])


class Gradients(NamedTuple):
    """Those of the two sides and of the weights, of the same shapes."""

    people: Floats
    things: Floats
    weights: Sequence[Floats]


def pair_gradients(pairs: Pairs, n_jobs: int = -1) -> tuple[float, Gradients]:
    """Sum over users of -ln sigmoid(first logit) - sum of ln(1 - sigmoid(the others)), and its gradients.

    All arrays but items are float32, contiguous. Bitwise the same for one number of threads.
    """
    n_users, n_each = pairs.items.shape
    threads = max(1, min(n_threads(n_jobs), n_users * n_each // LEAST))
    edges = np.linspace(0, n_users, threads + 1).astype(int).tolist()
    of_people = np.empty_like(pairs.people)

    def run(start: int, stop: int) -> tuple[float, Gradients]:
        sums = [np.zeros_like(one) for one in pairs.weights]
        gradients = Gradients(of_people[start:stop], np.zeros_like(pairs.things), sums)
        return _blocks(pairs.rows(start, stop), gradients), gradients

    with one_blas_thread():
        parts = run_all([partial(run, *some) for some in pairwise(edges)], threads)
    loss, (_, of_things, of_weights) = parts[0]
    for more, part in parts[1:]:
        loss += more
        for whole, one in zip((of_things, *of_weights), (part.things, *part.weights), strict=True):
            whole += one
    return loss, Gradients(of_people, of_things, of_weights)


def _blocks(pairs: Pairs, gradients: Gradients) -> float:
    """The loss of all users, whose gradients are put in place, a block at a time."""
    n_users, n_each = pairs.items.shape
    widths = [pairs.people.shape[1] - pairs.dim, *(len(bias) for bias in pairs.weights[3::2])]
    step = max(1, min(n_users, BLOCK_NUMBERS // (max(*widths, 1) * n_each)))
    # Layers and their gradients, in the same memory for all blocks.
    memory = [np.empty((step * n_each, width), np.float32) for width in widths * 2]
    loss = 0.0
    for start in range(0, n_users, step):
        stop = min(start + step, n_users)
        held = [one[: (stop - start) * n_each] for one in memory]
        part = gradients._replace(people=gradients.people[start:stop])
        loss += _block(pairs.rows(start, stop), part, held[: len(widths)], held[len(widths) :])
    return loss


def _block(pairs: Pairs, gradients: Gradients, hidden: Sequence[Floats], of_hidden: Sequence[Floats]) -> float:
    """The loss of users whose layers, and the gradients of these, fit the memory given."""
    people, things, items, dim, (bias, *tower) = pairs
    logits = np.empty(items.size, np.float32)
    _enter(people, things, items, dim, bias[0], logits, hidden[0])
    for below, above, weight, shift in zip(hidden, hidden[1:], tower[1::2], tower[2::2], strict=False):
        np.dot(below, weight.T, out=above)
        _shift_and_activate(above, shift)
    if tower:
        logits += hidden[-1] @ tower[0][0]
    loss = _slopes(logits, items.shape[1])
    gradients.weights[0][0] += logits.sum()
    if tower:
        _back(logits, tower, gradients.weights[1:], hidden, of_hidden)
    _leave(people, things, items, dim, logits, of_hidden[0], gradients.people, gradients.things)
    return loss


def _back(
    slope: Floats,
    tower: Sequence[Floats],
    of_tower: Sequence[Floats],
    hidden: Sequence[Floats],
    of_hidden: Sequence[Floats],
) -> None:
    """Gradients of all layers from the slope (n,) of the logits; those of the weights are added up."""
    ones = np.ones(len(slope), np.float32)
    of_tower[0][0] += slope @ hidden[-1]
    np.multiply(slope[:, None], tower[0], out=of_hidden[-1])
    for level in range(len(hidden) - 1, -1, -1):
        gradient = of_hidden[level]
        _pass_active(gradient.reshape(-1), hidden[level].reshape(-1))
        if level:
            of_weight, of_shift = of_tower[2 * level - 1 : 2 * level + 1]
            of_weight += gradient.T @ hidden[level - 1]
            of_shift += ones @ gradient
            np.dot(gradient, tower[2 * level - 1], out=of_hidden[level - 1])
