"""Codes of texts by a hash table over their bytes, which makes no Python object of any of them.

The hash is FNV-1a of 64 bits (Fowler, Noll & Vo, "The FNV Non-Cryptographic Hash Algorithm", RFC 9923), the table open
and probed place by place (Knuth, "The Art of Computer Programming", vol. 3, 6.4). It takes 16 to 32 bytes a text.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

OFFSET, PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
HALF = np.uint64(32)


@njit(cache=True, nogil=True)
def _fnv1a(text, start, stop):  # pragma: no cover
    h = OFFSET
    for at in range(start, stop):
        h = (h ^ np.uint64(text[at])) * PRIME
    return h


@njit(cache=True, nogil=True)
def _fnv1a_all(text, offsets, out):  # pragma: no cover
    for i in range(len(out)):
        out[i] = _fnv1a(text, offsets[i], offsets[i + 1])


@njit(cache=True, nogil=True)
def _hash(text, start, stop):  # pragma: no cover
    h = _fnv1a(text, start, stop)
    # The last bytes have moved the low bits least, and these are the place.
    return h ^ (h >> HALF)


@njit(cache=True, nogil=True)
def _fill(text, offsets, codes, tags):  # pragma: no cover
    mask = np.uint64(len(codes) - 1)
    for code in range(len(offsets) - 1):
        h = _hash(text, offsets[code], offsets[code + 1])
        place = h & mask
        while codes[place] >= 0:
            place = (place + np.uint64(1)) & mask
        codes[place], tags[place] = code, np.uint32(h >> HALF)


@njit(cache=True, nogil=True)
def _find(text, offsets, known_text, known_offsets, codes, tags, out):  # pragma: no cover
    mask = np.uint64(len(codes) - 1)
    for i in range(len(out)):
        start, length = offsets[i], offsets[i + 1] - offsets[i]
        h = _hash(text, start, start + length)
        tag, place, found = np.uint32(h >> HALF), h & mask, -1
        while codes[place] >= 0 and found < 0:
            code = codes[place]
            # The tag is beside the code; the text itself is far away, and most texts of this place are others.
            if tags[place] == tag:
                first = known_offsets[code]
                same = known_offsets[code + 1] - first == length
                at = 0
                while same and at < length:
                    same = known_text[first + at] == text[start + at]
                    at += 1
                if same:
                    found = code
            place = (place + np.uint64(1)) & mask
        out[i] = found


def fnv1a(text: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Hashes (n,) of n texts: text i is `text[offsets[i]:offsets[i + 1]]`."""
    out = np.empty(len(offsets) - 1, np.uint64)
    _fnv1a_all(frozen(text), frozen(offsets), out)
    return out


class TextTable:
    """Distinct texts, each of which has its place as code: text i is `text[offsets[i]:offsets[i + 1]]`, UTF-8.

    `text` is (bytes,) of uint8 and `offsets` (n + 1,) of int64.
    """

    def __init__(self, text: NDArray[np.uint8], offsets: NDArray[np.int64]):
        self.text, self.offsets = frozen(text), frozen(offsets)
        # At least half of the places stay free, so that a search ends soon.
        size = 1 << max(2 * (len(offsets) - 1), 1).bit_length()
        self.codes, self.tags = np.full(size, -1, np.int32), np.zeros(size, np.uint32)
        _fill(self.text, self.offsets, self.codes, self.tags)

    def find(self, text: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        """Codes (n,) of n texts, -1 for those that are not among the table's."""
        out = np.empty(len(offsets) - 1, np.int64)
        _find(frozen(text), frozen(offsets), self.text, self.offsets, self.codes, self.tags, out)
        return out


def frozen(values: NDArray[Any]) -> NDArray[Any]:
    """A view that cannot be written to: Arrow's buffers are of that kind, and another would be compiled once more."""
    view = values.view()
    view.flags.writeable = False
    return view
