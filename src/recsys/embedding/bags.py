"""Ragged bags of codes, pooled to one vector each."""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.embedding.table import Embedding
from recsys.errors import DataError, ParameterError

Mode = Literal["sum", "mean", "max", "sqrtn"]


class EmbeddingBag(nn.Module):
    """Vectors of a bag's codes, each times its weight, pooled by sum, mean, max or sqrtn (sum / sqrt(sum of squared weights)).

    Code -1 is no member; an empty bag is zeros. The mean divides by the sum of the weights.
    """

    def __init__(self, num: int, dim: int, mode: Mode = "sum", *, std: float = 0.01, sparse: bool = False):
        super().__init__()
        if mode not in get_args(Mode):
            raise ParameterError(f"EmbeddingBag: mode={mode!r} is not allowed; give one of {', '.join(get_args(Mode))}")
        self.mode = mode
        self.table = Embedding(num, dim, std=std, sparse=sparse)

    def forward(self, codes: Tensor, lengths: Tensor, weights: Tensor | None = None) -> Tensor:
        """Codes (N,) of all bags one after the other, lengths (B,), weights (N,), by default ones, to vectors (B, dim)."""
        # Not on a GPU, which would be waited for at every batch.
        if lengths.device.type == "cpu" and (int(lengths.sum()) != len(codes) or bool((lengths < 0).any())):
            raise DataError(f"EmbeddingBag got {len(codes)} codes for bags of {int(lengths.sum())} in all")
        weight = self.table.weight
        weights = torch.ones_like(codes, dtype=weight.dtype) if weights is None else weights.to(weight.dtype)
        if self.mode == "max":
            members = torch.where(codes[:, None] >= 0, self.table(codes) * weights[:, None], -torch.inf)
            pooled = torch.segment_reduce(members, "max", lengths=lengths, unsafe=True)
            return torch.where(pooled == -torch.inf, 0, pooled)
        # Torch's fast path on a CPU is there for bags without a spare row alone.
        spare = 0 if codes.device.type != "cpu" or bool((codes < 0).any()) else None
        # One pass over the rows: the vectors of the members are never held beside each other.
        summed = F.embedding_bag(
            codes + 1,
            weight,
            F.pad(lengths.cumsum(0), (1, 0)),
            mode="sum",
            per_sample_weights=weights,
            padding_idx=spare,
            include_last_offset=True,
            sparse=self.table.sparse,
        )
        return summed if self.mode == "sum" else summed / self._norm(codes, lengths, weights)[:, None]

    def _norm(self, codes: Tensor, lengths: Tensor, weights: Tensor) -> Tensor:
        """What the sum is divided by, (B,); 1 where that would be 0."""
        members = torch.where(codes >= 0, weights, 0)
        if self.mode == "mean":
            total = torch.segment_reduce(members, "sum", lengths=lengths, unsafe=True)
            return torch.where(total == 0, 1, total)
        total = torch.segment_reduce(members.square(), "sum", lengths=lengths, unsafe=True)
        return torch.where(total == 0, 1, total).sqrt()
