"""Random numbers that are told by their place: the same whichever thread draws them."""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def draw(seed, n, bound):  # pragma: no cover
    """Number n of the stream `seed`, uniform in 0, ..., bound - 1 for a bound below 2^32.

    SplitMix64: Steele, Lea & Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
    """
    z = np.uint64(seed) + np.uint64(n + 1) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.int64(((z >> np.uint64(32)) * np.uint64(bound)) >> np.uint64(32))
