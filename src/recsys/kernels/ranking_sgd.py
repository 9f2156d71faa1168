"""Stochastic gradient steps on triples: a user, an item the user has, and one the user has not that should rank below.

Users and items are each a table (`kernels.rows`) and three arrays (indptr, columns, weights): the vector of entity e is
the sum over k from indptr[e] to indptr[e + 1] of weights[k] times row columns[k] of the table, or just row e where the
three are empty. An item's bias is column `bias_at` of the items' table, against a 1 in the user's vector; -1 for none.

A step draws an interaction and negatives by numbered draws, so that they are the same however many threads share the
steps; on one thread everything is bitwise repeatable, on more they now and then lose a step to each other. Arrays are
passed one by one: taken out of a tuple, each would have its references counted at every use.
"""

import numpy as np
from numba import njit

from recsys.kernels.draws import draw
from recsys.kernels.parallel import FAST
from recsys.kernels.rows import adagrad_row, add_row, dot_row, fetch_row, step_row

TRIES = 8
"""Rounds of draws for a step of BPR before it is given up, since all items drawn were the user's own."""
BLOCK = 16
"""Steps whose rows are asked for before the first of them is made: memory answers while others compute."""


@njit(cache=True, nogil=True)
def is_positive(indptr, indices, u, i):  # pragma: no cover
    """Whether item i is in the sorted row u."""
    low, size = indptr[u], indptr[u + 1] - indptr[u]
    if size == 0:
        return False
    # A choice of numbers in place of a branch: no branch could be foretold.
    while size > 1:
        half = size // 2
        low = low + half if indices[low + half] <= i else low
        size -= half
    return indices[low] == i


@njit(cache=True, nogil=True)
def _span(indptr, e):  # pragma: no cover
    """First entry of an entity and the one after its last."""
    return (e, e + 1) if len(indptr) == 0 else (indptr[e], indptr[e + 1])


@njit(cache=True, nogil=True)
def _entry(columns, weights, k):  # pragma: no cover
    """Row and weight of an entry."""
    return (k, np.float32(1)) if len(columns) == 0 else (np.int64(columns[k]), weights[k])


@njit(cache=True, nogil=True, **FAST)
def _score(table, indptr, columns, weights, e, vector):  # pragma: no cover
    """Product of an entity's vector with another."""
    total = np.float32(0)
    first, stop = _span(indptr, e)
    for k in range(first, stop):
        row, weight = _entry(columns, weights, k)
        total += weight * dot_row(table, row, vector)
    return total


@njit(cache=True, nogil=True, **FAST)
def _add(table, indptr, columns, weights, e, sign, out):  # pragma: no cover
    """Add an entity's vector, times the sign, to `out`."""
    first, stop = _span(indptr, e)
    for k in range(first, stop):
        row, weight = _entry(columns, weights, k)
        add_row(table, row, sign * weight, out)


@njit(cache=True, nogil=True, **FAST)
def _move(table, indptr, columns, weights, e, pull, direction, rate, penalty):  # pragma: no cover
    """A step of each of an entity's rows: its weight of pull times direction, less the penalty times itself."""
    first, stop = _span(indptr, e)
    for k in range(first, stop):
        row, weight = _entry(columns, weights, k)
        if table.shape[1] == 1:
            step_row(table, row, rate * pull * weight, direction, np.float32(1) - rate * penalty)
        else:
            adagrad_row(table, row, pull * weight, direction, rate, penalty)


@njit(cache=True, nogil=True)
def _fetch(table, indptr, columns, weights, e):  # pragma: no cover
    """Have an entity's rows brought near."""
    first, stop = _span(indptr, e)
    for k in range(first, stop):
        fetch_row(table, _entry(columns, weights, k)[0])


@njit(cache=True, nogil=True, **FAST)
def _load_user(p, p_indptr, p_columns, p_weights, u, bias_at, user):  # pragma: no cover
    """Write a user's vector, with the 1 against the items' biases."""
    user[:] = 0
    _add(p, p_indptr, p_columns, p_weights, u, np.float32(1), user)
    if bias_at >= 0:
        user[bias_at] = 1


@njit(cache=True, nogil=True, **FAST)
def _hardest(q, q_indptr, q_columns, q_weights, indptr, liked, u, user, negatives, m):  # pragma: no cover
    """The item of row m of the negatives with the highest score that user u has not, and that score; -1 where u has them all."""
    j, best = -1, np.float32(-np.inf)
    for t in range(negatives.shape[1]):
        item = negatives[m, t]
        score = _score(q, q_indptr, q_columns, q_weights, item, user)
        # So that NaN gets through, and is seen in the loss.
        if not score <= best and not is_positive(indptr, liked, u, item):
            j, best = item, score
    return j, best


@njit(cache=True, nogil=True)
def propose(seed, n, proposals, n_items):  # pragma: no cover
    """One of the proposals, or any item where there are none."""
    return draw(seed, n, n_items) if len(proposals) == 0 else np.int64(proposals[draw(seed, n, len(proposals))])


@njit(cache=True, nogil=True, **FAST)
def hardest_unseen(
    q, q_indptr, q_columns, q_weights, indptr, liked, u, user, negatives, m, seed, n, proposals, n_items
):  # pragma: no cover  # fmt: skip
    """The hardest of a step's negatives and its score; where all are u's own, they are drawn again, from draw n on.

    -1 after so many rounds of nothing else.
    """
    j, best = -1, np.float32(0)
    for redrawn in range(TRIES):
        j, best = _hardest(q, q_indptr, q_columns, q_weights, indptr, liked, u, user, negatives, m)
        if j >= 0:
            break
        for t in range(negatives.shape[1]):
            negatives[m, t] = propose(seed, n + redrawn * negatives.shape[1] + t, proposals, n_items)
    return j, best


@njit(cache=True, nogil=True, **FAST)
def logistic_pull(x):  # pragma: no cover
    """sigmoid(-x) = -d/dx ln(1 + e^-x), and e^-|x|, of which ln(1 + e^-x) = ln(1 + e^-|x|) - min(x, 0)."""
    e = np.exp(-abs(x))
    return (e / (np.float32(1) + e) if x > 0 else np.float32(1) / (np.float32(1) + e)), e


@njit(cache=True, nogil=True)
def _draw_block(
    first, size, seed, stride, active, user_of, indptr, liked, proposals, n_items,
    p, p_indptr, p_columns, p_weights, q, q_indptr, q_columns, q_weights, users, items, negatives,
):  # pragma: no cover  # fmt: skip
    """Draw a block's users, items and negatives (size, K), and have their rows brought near."""
    for m in range(size):
        n = (first + m) * stride
        if len(active) == 0:
            at = draw(seed, n, len(liked))
        else:
            u = active[draw(seed, n, len(active))]
            at = indptr[u] + draw(seed, n + 1, indptr[u + 1] - indptr[u])
        users[m], items[m] = user_of[at], liked[at]
        _fetch(p, p_indptr, p_columns, p_weights, users[m])
        _fetch(q, q_indptr, q_columns, q_weights, items[m])
        for t in range(negatives.shape[1]):
            negatives[m, t] = propose(seed, n + 2 + t, proposals, n_items)
            _fetch(q, q_indptr, q_columns, q_weights, negatives[m, t])


@njit(cache=True, nogil=True, **FAST)
def _step(
    p, p_indptr, p_columns, p_weights, q, q_indptr, q_columns, q_weights,
    u, i, j, pull, user, difference, bias_at, rate, user_penalty, item_penalty,
):  # pragma: no cover  # fmt: skip
    """Pull the user towards q_i - q_j, item i towards the user and j away, all by the old vectors."""
    difference[:] = 0
    _add(q, q_indptr, q_columns, q_weights, i, np.float32(1), difference)
    _add(q, q_indptr, q_columns, q_weights, j, np.float32(-1), difference)
    if bias_at >= 0:
        difference[bias_at] = 0  # the 1 in the user's vector stays
    _move(p, p_indptr, p_columns, p_weights, u, pull, difference, rate, user_penalty)
    _move(q, q_indptr, q_columns, q_weights, i, pull, user, rate, item_penalty)
    _move(q, q_indptr, q_columns, q_weights, j, -pull, user, rate, item_penalty)


@njit(cache=True, nogil=True, **FAST)
def bpr_epoch(
    start, stop, seed, active, user_of, indptr, liked, proposals, n_items,
    p, p_indptr, p_columns, p_weights, q, q_indptr, q_columns, q_weights,
    bias_at, rate, user_penalty, item_penalty, hardest_of,
):  # pragma: no cover  # fmt: skip
    """Steps start, ..., stop - 1 down -ln sigmoid(x_ui - x_uj); j is the best of `hardest_of` draws, u's own left out.

    Row u of (indptr, liked), ascending, is what user u has, `user_of` the user of each entry. Any interaction is drawn
    or, where users are `active`, any of these and then one of the user's. Negatives are `proposals`, or any of the
    items where there are none; where all of a round are the user's own, the next is drawn.
    Returns the sum of the losses and the number of steps that were made.
    """
    users, items = np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int64)
    negatives = np.empty((BLOCK, hardest_of), np.int64)
    user, difference = np.zeros(q.shape[2], np.float32), np.empty(q.shape[2], np.float32)
    total, steps, stride = 0.0, 0, 2 + (TRIES + 1) * hardest_of
    for first in range(start, stop, BLOCK):
        size = min(BLOCK, stop - first)
        _draw_block(
            first, size, seed, stride, active, user_of, indptr, liked, proposals, n_items,
            p, p_indptr, p_columns, p_weights, q, q_indptr, q_columns, q_weights, users, items, negatives,
        )  # fmt: skip
        product = 1.0
        for m in range(size):
            u, i = users[m], items[m]
            _load_user(p, p_indptr, p_columns, p_weights, u, bias_at, user)
            j, best = hardest_unseen(
                q, q_indptr, q_columns, q_weights, indptr, liked, u, user, negatives, m,
                seed, (first + m) * stride + 2 + hardest_of, proposals, n_items,
            )  # fmt: skip
            if j < 0:
                continue
            x = _score(q, q_indptr, q_columns, q_weights, i, user) - best
            pull, e = logistic_pull(x)
            total -= min(x, np.float32(0))
            product *= 1.0 + e
            steps += 1
            _step(
                p, p_indptr, p_columns, p_weights, q, q_indptr, q_columns, q_weights,
                u, i, j, pull, user, difference, bias_at, rate, user_penalty, item_penalty,
            )  # fmt: skip
        total += np.log(product)  # one logarithm a block: the sum of ln(1 + e)
    return total, steps


@njit(cache=True, nogil=True, **FAST)
def warp_epoch(
    start, stop, seed, active, user_of, indptr, liked, proposals, n_items,
    p, p_indptr, p_columns, p_weights, q, q_indptr, q_columns, q_weights,
    bias_at, rate, user_penalty, item_penalty, weights,
):  # pragma: no cover  # fmt: skip
    """Steps start, ..., stop - 1 down L max(0, 1 - x_ui + x_uj), j the first draw for which that is above 0.

    L = weights[t] for draw number t = 0, 1, ...; after as many draws as there are weights no step is made. A draw that
    is the user's own counts and is skipped. Data and draws are those of `bpr_epoch`.
    Returns the sum of the losses and the number of steps that were made.
    """
    users, items = np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int64)
    negatives = np.empty((BLOCK, len(weights)), np.int64)
    user, difference = np.zeros(q.shape[2], np.float32), np.empty(q.shape[2], np.float32)
    total, steps = 0.0, 0
    for first in range(start, stop, BLOCK):
        size = min(BLOCK, stop - first)
        _draw_block(
            first, size, seed, 2 + len(weights), active, user_of, indptr, liked, proposals, n_items,
            p, p_indptr, p_columns, p_weights, q, q_indptr, q_columns, q_weights, users, items, negatives,
        )  # fmt: skip
        for m in range(size):
            u, i = users[m], items[m]
            _load_user(p, p_indptr, p_columns, p_weights, u, bias_at, user)
            limit = _score(q, q_indptr, q_columns, q_weights, i, user) - np.float32(1)
            for t in range(len(weights)):
                score = _score(q, q_indptr, q_columns, q_weights, negatives[m, t], user)
                if not score <= limit and not is_positive(indptr, liked, u, negatives[m, t]):
                    total += weights[t] * (score - limit)
                    steps += 1
                    _step(
                        p, p_indptr, p_columns, p_weights, q, q_indptr, q_columns, q_weights,
                        u, i, negatives[m, t], weights[t], user, difference, bias_at, rate, user_penalty, item_penalty,
                    )  # fmt: skip
                    break
    return total, steps
