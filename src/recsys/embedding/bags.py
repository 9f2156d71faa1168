"""Ragged bags of codes, pooled to one vector each."""

from typing import Literal

import torch
from torch import Tensor, nn

from recsys.embedding.table import Embedding


class EmbeddingBag(nn.Module):
    """Vectors of a bag's codes, each times its weight, pooled by sum, mean, max or sqrtn (sum / sqrt(sum of squared weights)).

    Code -1 is no member; an empty bag is zeros. The mean divides by the sum of the weights.
    """

    def __init__(
        self,
        num: int,
        dim: int,
        mode: Literal["sum", "mean", "max", "sqrtn"] = "sum",
        *,
        std: float = 0.01,
        sparse: bool = False,
    ):
        super().__init__()
        self.mode = mode
        self.table = Embedding(num, dim, std=std, sparse=sparse)

    def forward(self, codes: Tensor, lengths: Tensor, weights: Tensor | None = None) -> Tensor:
        """Codes (N,) of all bags one after the other, lengths (B,), weights (N,), by default ones, to vectors (B, dim)."""
        bag = torch.repeat_interleave(torch.arange(len(lengths), device=codes.device), lengths)
        member = (codes >= 0).to(self.table.weight.dtype)
        weights = member if weights is None else member * weights.to(member.dtype)
        vectors = self.table(codes)
        out = vectors.new_zeros(len(lengths), vectors.shape[-1])
        if self.mode == "max":
            lowest = torch.where(codes[:, None] >= 0, vectors * weights[:, None], -torch.inf)
            pooled = out.index_reduce(0, bag, lowest, "amax", include_self=False)
            return torch.where(torch.isinf(pooled), 0, pooled)
        summed = out.index_add(0, bag, vectors * weights[:, None])
        if self.mode == "sum":
            return summed
        power = 1 if self.mode == "mean" else 2
        norm = weights.new_zeros(len(lengths)).index_add(0, bag, weights**power)
        norm = norm if self.mode == "mean" else norm.sqrt()
        return summed / torch.where(norm > 0, norm, 1)[:, None]
