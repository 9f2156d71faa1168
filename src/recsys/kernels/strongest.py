"""The k largest of many positive numbers, each with a code: by counting them on shelves, not by a heap.

A number and its code make one key, and larger keys come first in a list: larger numbers, and of equal ones that of the
smaller code. The bits of positive floats compare as the floats do, and the upper ones name a number's shelf.
"""

# pyright: reportMissingParameterType=false
# Numba infers what the kernels take.

import numpy as np
from numba import njit
from numpy.typing import NDArray

LAST = 2**32 - 1
"""A key is the bits of a float32 and, below them, 2^32 - 1 less a code; 0 is no key."""
SHELF = 19
"""Bits of a float32 below those that name its shelf: 16 shelves between a number and its double."""
SHELVES = 2**31 >> SHELF


@njit(cache=True, nogil=True)
def strongest(bits, codes, n, k, shelves, keys, ties):  # pragma: no cover
    """Write the keys of the k largest positive numbers to keys[:m], in no order; m is returned.

    `bits` are n float32 seen as int32, `codes` (n,). `keys` has room for k + 1, `ties` for n + 1; `shelves` (SHELVES,)
    are zeros before and after.
    """
    low, high, missing = 1, 1, 0
    if n > k:
        low, high, missing = _cut(bits, n, k, shelves)
    m, tied = np.int64(0), np.int64(0)  # a literal 0 is a type of its own
    for place in range(n):
        x = bits[place]
        key = (np.int64(x) << 32) | (LAST - np.int64(codes[place]))
        # Every key is written down, and its place kept where it counts: no branch to be guessed wrong.
        keys[m] = key
        m += x >= high
        ties[tied] = key
        tied += (x >= low) & (x < high)
    missing = min(missing, tied)
    _to_front(ties, tied, missing)
    for place in range(missing):
        keys[m + place] = ties[place]
    return m + missing


@njit(cache=True, nogil=True)
def _cut(bits, n, k, shelves):  # pragma: no cover
    """Ends of the shelf that the k-th largest lies on, and how many of it are among the k largest."""
    top = 0
    for place in range(n):
        shelf = max(bits[place], 0) >> SHELF
        shelves[shelf] += 1
        top = max(top, shelf)
    shelf, missing = top, k
    while shelf > 0 and shelves[shelf] < missing:
        missing -= shelves[shelf]
        shelf -= 1
    shelves[: top + 1] = 0
    return max(shelf << SHELF, 1), (shelf + 1) << SHELF, missing


@njit(cache=True, nogil=True)
def _to_front(keys, n, k):  # pragma: no cover
    """Put the k largest of keys[:n] in front, in no order."""
    low, high = 0, n - 1
    while low < high and k > 0:
        first, middle, last = keys[low], keys[(low + high) // 2], keys[high]
        pivot = max(min(first, middle), min(max(first, middle), last))
        i, j = low, high
        while i <= j:
            while keys[i] > pivot:
                i += 1
            while keys[j] < pivot:
                j -= 1
            if i <= j:
                keys[i], keys[j] = keys[j], keys[i]
                i += 1
                j -= 1
        if k - 1 <= j:
            high = j
        elif k - 1 >= i:
            low = i
        else:
            return


def unpacked(keys: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Rows of keys (n, k), padded with zeros, as lists: codes (n, k) padded with -1, numbers (n, k) padded with 0."""
    best = np.sort(keys, axis=1)[:, ::-1]
    codes = np.where(best > 0, LAST - (best & LAST), -1).astype(np.int32)
    return codes, (best >> 32).astype(np.int32).view(np.float32)
