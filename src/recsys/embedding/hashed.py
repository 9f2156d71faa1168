"""Tables smaller than their vocabulary: hashed ones for keys without end, and quotient-remainder tables."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from recsys.embedding.table import Embedding
from recsys.errors import ParameterError

Combine = Literal["multiply", "add", "concat"]
MOST_BUCKETS = 2**31 - 1
"""So that a hash of 32 bits times the number of buckets is a 64-bit integer."""


GOLDEN, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
"""The constants of SplitMix64; the first, an odd number, is 2^64 over the golden ratio."""


def bucket(keys: Tensor, n_buckets: int, n: int = 0) -> Tensor:
    """Hash number n of int64 keys (...), in 0..n_buckets-1: the same on every machine, in every version.

    It is `mixed` of key + (n + 1) 0x9E3779B97F4A7C15 modulo 2^64, and of that the upper half times n_buckets, without
    its lowest 32 bits.
    """
    return right_shift(mixed(keys + signed((n + 1) * GOLDEN)), 32) * n_buckets >> 32


def mixed(keys: Tensor) -> Tensor:
    """Keys with every bit spread over all 64, as SplitMix64 ends (Steele, Lea & Flood, OOPSLA 2014).

    z <- (z xor z >> 30) 0xBF58476D1CE4E5B9, z <- (z xor z >> 27) 0x94D049BB133111EB, z <- z xor z >> 31.
    """
    keys = (keys ^ right_shift(keys, 30)) * signed(FIRST)
    keys = (keys ^ right_shift(keys, 27)) * signed(SECOND)
    return keys ^ right_shift(keys, 31)


def right_shift(keys: Tensor, bits: int) -> Tensor:
    """Keys as unsigned numbers, shifted to the right."""
    return keys >> bits & (1 << 64 - bits) - 1


def signed(number: int) -> int:
    """A number modulo 2^64, as int64 holds it."""
    return (number + 2**63) % 2**64 - 2**63


class HashEmbedding(nn.Module):
    """Vectors of any int64 keys from `num_buckets` rows; key -1 is zeros and is never trained.

    A key's vector is the sum of the rows that its `n_hashes` hashes name: with k of them two keys share their whole
    vector with a chance of about k! / num_buckets^k instead of 1 / num_buckets (Svenstrup, Hansen & Winther, "Hash
    Embeddings for Efficient Word Representations", NIPS 2017, with weights of 1). No vocabulary is held; keys of
    several columns are told apart by the caller, as by a table each.
    """

    def __init__(
        self,
        num_buckets: int,
        dim: int,
        n_hashes: int = 1,
        *,
        std: float = 0.01,
        sparse: bool = False,
        dtype: torch.dtype = torch.float32,
    ):
        super().__init__()
        if not 1 <= num_buckets <= MOST_BUCKETS:
            raise ParameterError(
                f"HashEmbedding: num_buckets={num_buckets} is not allowed; give a number from 1 to {MOST_BUCKETS}"
            )
        if n_hashes < 1:
            raise ParameterError(f"HashEmbedding: n_hashes={n_hashes} is not allowed; give a number above 0")
        self.num_buckets, self.n_hashes = num_buckets, n_hashes
        self.table = Embedding(num_buckets, dim, std=std * n_hashes**-0.5, sparse=sparse, dtype=dtype)

    def codes(self, keys: Tensor) -> Tensor:
        """Keys (...) to the codes of their rows, (..., n_hashes); -1 for key -1."""
        hashes = torch.stack([bucket(keys, self.num_buckets, n) for n in range(self.n_hashes)], -1)
        return torch.where((keys == -1)[..., None], -1, hashes)

    def forward(self, keys: Tensor) -> Tensor:
        """Keys (...) to vectors (..., dim)."""
        return self.table(self.codes(keys)).sum(-2)


class QREmbedding(nn.Module):
    """Vectors of codes 0..num-1 from n_buckets + num / n_buckets rows, each code's its own; -1 is zeros.

    Row `code mod n_buckets` of one table and row `code div n_buckets` of another, multiplied, added or put side by
    side (Shi et al., "Compositional Embeddings Using Complementary Partitions", KDD 2020). Fewest rows, 2 sqrt(num),
    are needed with n_buckets = sqrt(num). Vectors start with the standard deviation `std`.
    """

    def __init__(
        self,
        num: int,
        dim: int,
        n_buckets: int,
        combine: Combine = "multiply",
        *,
        std: float = 0.01,
        sparse: bool = False,
        dtype: torch.dtype = torch.float32,
    ):
        super().__init__()
        if combine not in get_args(Combine):
            ways = ", ".join(get_args(Combine))
            raise ParameterError(f"QREmbedding: combine={combine!r} is not allowed; give one of {ways}")
        if n_buckets < 1:
            raise ParameterError(f"QREmbedding: n_buckets={n_buckets} is not allowed; give a number above 0")
        if combine == "concat" and dim < 2:
            raise ParameterError(f"QREmbedding: dim={dim} is not allowed with combine='concat'; give 2 or more")
        self.n_buckets, self.combine = n_buckets, combine
        widths = (dim - dim // 2, dim // 2) if combine == "concat" else (dim, dim)
        part_std = {"multiply": std**0.5, "add": std * 0.5**0.5, "concat": std}[combine]
        self.remainder = Embedding(min(n_buckets, num), widths[0], std=part_std, sparse=sparse, dtype=dtype)
        self.quotient = Embedding(-(-num // n_buckets), widths[1], std=part_std, sparse=sparse, dtype=dtype)

    def forward(self, codes: Tensor) -> Tensor:
        """Codes (...) to vectors (..., dim)."""
        known = codes >= 0
        remainder = self.remainder(torch.where(known, codes % self.n_buckets, codes))
        quotient = self.quotient(torch.where(known, codes.div(self.n_buckets, rounding_mode="floor"), codes))
        if self.combine == "concat":
            return torch.cat([remainder, quotient], -1)
        return remainder * quotient if self.combine == "multiply" else remainder + quotient
