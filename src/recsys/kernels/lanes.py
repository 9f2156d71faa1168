"""Jobs on lanes: each in turn goes to the lane that is free first."""

# pyright: reportMissingParameterType=false
# Numba infers what the kernels take.

from heapq import heapreplace

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def assign_lanes(lengths, n_lanes):  # pragma: no cover
    """The lane (S,) and the time of the beginning (S,) of each of S jobs of given lengths (S,): O(S log n_lanes).

    Of lanes that are free at one time the lower number is first.
    """
    lanes, begins = np.empty(len(lengths), np.int64), np.empty(len(lengths), np.int64)
    # A heap of the lanes by when they are free.
    free = [(np.int64(0), np.int64(lane)) for lane in range(n_lanes)]
    for job in range(len(lengths)):
        begins[job], lanes[job] = free[0]
        heapreplace(free, (begins[job] + lengths[job], lanes[job]))
    return lanes, begins
