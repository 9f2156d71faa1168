"""Tables smaller than their vocabulary: hashed ones for keys without end, and quotient-remainder tables."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from recsys.embedding.table import Embedding
from recsys.errors import ParameterError

Combine = Literal["multiply", "add", "concat"]
MOST_BUCKETS = 2**31 - 1
"""So that a hash of 32 bits times the number of buckets is a 64-bit integer."""


def _as_int64(bits: int) -> int:
    return bits - (1 << 64) if bits >> 63 else bits


STEP, FIRST, SECOND = (_as_int64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
"""The constants of SplitMix64."""


def bucket(keys: Tensor, n_buckets: int, n: int = 0) -> Tensor:
    """Hash number n of int64 keys (...), in 0..n_buckets-1: the same on every machine, in every version.

    SplitMix64 (Steele, Lea & Flood, OOPSLA 2014) of key + (n + 1) 0x9E3779B97F4A7C15 modulo 2^64:
    z <- (z xor z >> 30) 0xBF58476D1CE4E5B9, z <- (z xor z >> 27) 0x94D049BB133111EB, z <- z xor z >> 31;
    the bucket is the upper half of z times n_buckets, without its lowest 32 bits.
    """
    z = keys + _as_int64((n + 1) * 0x9E3779B97F4A7C15 % (1 << 64))
    z = (z ^ _shifted(z, 30)) * FIRST
    z = (z ^ _shifted(z, 27)) * SECOND
    z = z ^ _shifted(z, 31)
    return _shifted(z, 32) * n_buckets >> 32


def _shifted(z: Tensor, n: int) -> Tensor:
    """Int64 shifted right as if it had no sign."""
    return z >> n & (1 << 64 - n) - 1


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
