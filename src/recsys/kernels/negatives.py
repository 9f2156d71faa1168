"""Items that a user has no interaction with, drawn uniformly, and pairs that they stand beside."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recsys.kernels.draws import draw
from recsys.kernels.parallel import over_rows

SMALL = 1 << 14
"""Draws below which starting threads takes longer than drawing."""


@njit(cache=True, nogil=True)
def mark(users, items, marks):  # pragma: no cover
    """Set the bit of each pair: that of item i is bit i % 8 of marks[user, i // 8]."""
    for at in range(len(users)):
        item = items[at]
        marks[users[at], item >> 3] |= np.uint8(1) << np.uint8(item & 7)


@njit(cache=True, nogil=True)
def _find(first, last, seed, users, starts, gaps, marks, n_items, out):  # pragma: no cover
    n_each, numbers = out.shape[1], np.empty(out.shape[1], np.int64)
    for row in range(first, last):
        user, found = users[row], out[row]
        # Users beyond the last one that has positives have none.
        start, stop = (starts[user], starts[user + 1]) if user + 1 < len(starts) else (0, 0)
        if stop - start == n_items:
            start = stop
        left = stop - start
        if user < len(marks) and 2 * left <= n_items:
            # Of items at random most are free, and whether one is says a single bit, for which no other draw waits.
            for k in range(n_each):
                place = row * n_each + k
                item = draw(seed, place, n_items)
                while left and (marks[user, item >> 3] >> np.uint8(item & 7)) & np.uint8(1):
                    place += out.size
                    item = draw(seed, place, n_items)
                found[k] = item
            continue
        for k in range(n_each):
            numbers[k] = draw(seed, row * n_each + k, n_items - left)
            found[k] = start
        # All draws in step and without a branch: nothing is foreseen wrongly, and they wait for memory together.
        while left > 0:
            half = (left + 1) >> 1
            for k in range(n_each):
                found[k] += half if gaps[found[k] + half - 1] <= numbers[k] else 0
            left -= half
        for k in range(n_each):
            found[k] += numbers[k] - start


def free_items(
    seed: int,
    users: NDArray[np.int64],
    starts: NDArray[np.int64],
    gaps: NDArray[np.int32],
    marks: NDArray[np.uint8],
    n_items: int,
    out: NDArray[np.integer],
    n_jobs: int = -1,
) -> None:
    """Fill `out` (B, K) with items that users (B,) have no interaction with, K for each; any for one who has all.

    The positives p_0 < p_1 < ... of user u have gaps[starts[u] + j] = p_j - j: a binary search among the user's own, in
    memory that the draws of a user share. With marks (U, I / 8), as `mark` sets them, items are drawn until one is free,
    but for users who have more than half of them; without, (0, 0), all are searched for.
    """

    def find(first: int, last: int) -> None:
        _find(first, last, seed, users, starts, gaps, marks, n_items, out)

    over_rows(find, len(users), n_jobs if out.size >= SMALL else 1)


@njit(cache=True, nogil=True)
def _take(first, last, rows, table, users, items):  # pragma: no cover
    for i in range(first, last):
        row = table[rows[i]]
        users[i] = row[0]
        for k in range(items.shape[1]):
            items[i, k] = row[1 + k]


def take_pairs(
    rows: NDArray[np.int64], table: NDArray[np.int32], n_jobs: int = -1
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Users (B,), and the item of each with those drawn beside it (B, 1 + K), of rows (B,) of a table (N, 2 + K) of all."""
    users, items = np.empty(len(rows), np.int64), np.empty((len(rows), table.shape[1] - 1), np.int64)

    def take(first: int, last: int) -> None:
        _take(first, last, rows, table, users, items)

    over_rows(take, len(rows), n_jobs if items.size >= SMALL else 1)
    return users, items
