"""The way back of sums over bags: a table's gradient from that of the sums, each row written once."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recsys.kernels.parallel import FAST, over_rows

SMALL = 1 << 19
"""Numbers added up below which starting threads takes longer than the rest."""


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


@njit(cache=True, nogil=True, **FAST)
def _add_up(start, stop, ends, bags, values, gradient, out):  # pragma: no cover
    for row in range(start, stop):
        total = out[row]
        total[:] = 0
        for at in range(ends[row - 1] if row else 0, ends[row]):
            value, vector = values[at], gradient[bags[at]]
            for d in range(len(total)):
                total[d] += value * vector[d]


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
