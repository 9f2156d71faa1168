"""Stochastic gradient steps on triples of a user, an item and one that the user has not, where a basket came before.

Three tables (`kernels.rows`) of D numbers in W: users p and, of items, b, by which they act in a basket; and of items q,
2 W wide, whose first W numbers meet the user's vector and whose others meet the mean over the basket. So a score is one
product: x = q_i . (p_u, mean of b_l over the basket).

Draws, redraws and threads are as in `kernels.ranking_sgd`.
"""

import numpy as np
from numba import njit

from recsys.kernels.draws import draw
from recsys.kernels.parallel import FAST
from recsys.kernels.ranking_sgd import BLOCK, TRIES, hardest_unseen, logistic_pull, propose
from recsys.kernels.rows import add_row, dot_row, fetch_row, step_row


@njit(cache=True, nogil=True)
def _draw_block(
    first, size, seed, stride, user_of, events, starts, stops, proposals, n_items, p, b, q, drawn, negatives
):  # pragma: no cover  # fmt: skip
    """Draw a block's events and negatives (size, K), and have their rows brought near."""
    for m in range(size):
        n = (first + m) * stride
        at = draw(seed, n, len(events))
        drawn[m] = at
        fetch_row(p, np.int64(user_of[at]))
        fetch_row(q, np.int64(events[at]))
        for place in range(starts[at], stops[at]):
            fetch_row(b, np.int64(events[place]))
        for t in range(negatives.shape[1]):
            negatives[m, t] = propose(seed, n + 1 + t, proposals, n_items)
            fetch_row(q, negatives[m, t])


@njit(cache=True, nogil=True, **FAST)
def _add_basket(b, events, start, stop, share, out):  # pragma: no cover
    """Add the mean over a basket to `out`; share is 1 over its length."""
    for place in range(start, stop):
        add_row(b, np.int64(events[place]), share, out)


@njit(cache=True, nogil=True, **FAST)
def _step(p, b, q, u, i, j, events, begin, end, share, pull, query, for_user, for_basket, keep):  # pragma: no cover
    """Pull user and basket along q_i - q_j, item i towards the query and j away, all by the old vectors."""
    step_row(p, u, pull, for_user, keep)
    for place in range(begin, end):
        step_row(b, np.int64(events[place]), pull * share, for_basket, keep)
    step_row(q, i, pull, query, keep)
    step_row(q, j, -pull, query, keep)


@njit(cache=True, nogil=True, **FAST)
def markov_epoch(
    start, stop, seed, user_of, events, starts, stops, indptr, liked, proposals, n_items, p, b, q,
    rate, penalty, hardest_of,
):  # pragma: no cover  # fmt: skip
    """Steps start, ..., stop - 1 down -ln sigmoid(x_i - x_j) for any of the events; j is as in `bpr_epoch`.

    `events` are items, `user_of` their users; the basket before event e is events[starts[e]:stops[e]], and may be
    empty. Row u of (indptr, liked), ascending, is what user u has.
    Returns the sum of the losses and the number of steps that were made.
    """
    drawn, negatives = np.empty(BLOCK, np.int64), np.empty((BLOCK, hardest_of), np.int64)
    width = p.shape[2]
    query, difference = np.empty(2 * width, np.float32), np.empty(2 * width, np.float32)
    # Views made once: in the loop each would have its references counted.
    of_user, of_basket, for_user, for_basket = query[:width], query[width:], difference[:width], difference[width:]
    no_indptr, no_columns, no_weights = np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.float32)
    one, keep = np.float32(1), np.float32(1) - rate * penalty
    total, steps, stride = 0.0, 0, 1 + (TRIES + 1) * hardest_of
    for first in range(start, stop, BLOCK):
        size = min(BLOCK, stop - first)
        _draw_block(
            first, size, seed, stride, user_of, events, starts, stops, proposals, n_items, p, b, q, drawn, negatives
        )
        product = 1.0
        for m in range(size):
            at = drawn[m]
            u, i, begin, end = np.int64(user_of[at]), np.int64(events[at]), starts[at], stops[at]
            share = one / np.float32(max(end - begin, 1))
            query[:] = 0
            add_row(p, u, one, of_user)
            _add_basket(b, events, begin, end, share, of_basket)
            j, best = hardest_unseen(
                q, no_indptr, no_columns, no_weights, indptr, liked, u, query, negatives, m,
                seed, (first + m) * stride + 1 + hardest_of, proposals, n_items,
            )  # fmt: skip
            if j < 0:
                continue
            x = dot_row(q, i, query) - best
            pull, e = logistic_pull(x)
            total -= min(x, np.float32(0))
            product *= 1.0 + e
            steps += 1
            difference[:] = 0
            add_row(q, i, one, difference)
            add_row(q, j, -one, difference)
            _step(p, b, q, u, i, j, events, begin, end, share, rate * pull, query, for_user, for_basket, keep)
        total += np.log(product)  # one logarithm a block: the sum of ln(1 + e)
    return total, steps
