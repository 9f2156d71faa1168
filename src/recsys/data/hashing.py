"""A hash of categories that is the same in every process, on every machine and in every version.

A string is hashed over its UTF-8 bytes by FNV-1a of 64 bits: from h = 14695981039346656037, h = (h xor byte) *
1099511628211 for each byte (Fowler, Noll & Vo, "The FNV Non-Cryptographic Hash Algorithm", RFC 9923). An integer is
its 64 bits in two's complement. Either is then mixed as in Steele, Lea & Flood, "Fast Splittable Pseudorandom Number
Generators", OOPSLA 2014, and the bucket is the remainder.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.kernels import lookup

GAMMA, FIRST, SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def buckets(values: NDArray[Any], n_buckets: int) -> NDArray[np.int64]:
    """Buckets 0, ..., n_buckets - 1 of integers or of objects that are strings, (n,)."""
    keys = fnv1a(values) if values.dtype == object else values.astype(np.int64).view(np.uint64)
    return (mixed(keys) % np.uint64(n_buckets)).astype(np.int64)


def mixed(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's first output from the state `keys`: every bit of a key moves every bit of it."""
    keys = keys + GAMMA
    keys = (keys ^ (keys >> np.uint64(30))) * FIRST
    keys = (keys ^ (keys >> np.uint64(27))) * SECOND
    return keys ^ (keys >> np.uint64(31))


def fnv1a(strings: NDArray[Any]) -> NDArray[np.uint64]:
    """FNV-1a of strings (n,)."""
    # Text from a file system can hold lone surrogates, which plain UTF-8 refuses.
    blobs = [text.encode("utf-8", "surrogatepass") for text in strings.tolist()]
    offsets = np.cumsum([0, *map(len, blobs)]).astype(np.int64)
    return lookup.fnv1a(np.frombuffer(b"".join(blobs), np.uint8), offsets)
