"""Items that a user has no interaction with, drawn uniformly."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recsys.kernels.parallel import over_rows

SMALL = 1 << 16
"""Draws below which starting threads takes longer than drawing."""


@njit(cache=True, nogil=True)
def _find(first, last, uniform, users, starts, gaps, n_items, out):  # pragma: no cover
    numbers = np.empty(uniform.shape[1], np.int64)
    for row in range(first, last):
        user = users[row]
        # Users beyond the last one that has positives have none.
        start, stop = (starts[user], starts[user + 1]) if user + 1 < len(starts) else (0, 0)
        if stop - start == n_items:
            start = stop
        n_free = n_items - (stop - start)
        found = out[row]
        for k in range(len(found)):
            # A product with a number below 1 may round up to the end of the range.
            numbers[k] = min(int(uniform[row, k] * n_free), n_free - 1)
            found[k] = start
        # All draws in step and without a branch: nothing is foreseen wrongly, and they wait for memory together.
        left = stop - start
        while left > 0:
            half = (left + 1) >> 1
            for k in range(len(found)):
                found[k] += half if gaps[found[k] + half - 1] <= numbers[k] else 0
            left -= half
        for k in range(len(found)):
            found[k] += numbers[k] - start


def free_items(
    uniform: NDArray[np.float64],
    users: NDArray[np.int64],
    starts: NDArray[np.int64],
    gaps: NDArray[np.int32],
    n_items: int,
    n_jobs: int = -1,
) -> NDArray[np.int64]:
    """Items for numbers in [0, 1), (B, K), among those that users (B,) have no interaction with; any for one who has all.

    The positives p_0 < p_1 < ... of user u have gaps[starts[u] + j] = p_j - j: a binary search among the user's own, in
    memory that the draws of a user share.
    """
    out = np.empty(uniform.shape, np.int64)

    def find(first: int, last: int) -> None:
        _find(first, last, uniform, users, starts, gaps, n_items, out)

    over_rows(find, len(users), n_jobs if uniform.size >= SMALL else 1)
    return out
