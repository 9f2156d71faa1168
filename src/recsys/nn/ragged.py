"""A linear layer whose input is mostly zeros."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.embedding import EmbeddingBag
from recsys.kernels.bags import nonzero_members


class RaggedLinear(EmbeddingBag):
    """W x + b of rows x that are given by their entries: no (B, I) input is ever made. W starts as `linear` has it."""

    def __init__(self, num: int, dim: int):
        super().__init__(num, dim)
        self.bias = nn.Parameter(torch.zeros(dim))
        nn.init.xavier_uniform_(self.table.weight.data[1:])

    def forward(self, codes: Tensor, lengths: Tensor, weights: Tensor | None = None) -> Tensor:
        """Columns (N,) of the entries of ragged rows, lengths (B,), values (N,), by default ones, to (B, dim)."""
        self._check(codes, lengths)
        if weights is not None and self.training and codes.device.type == "cpu":
            # What dropout took away need not be looked up. A GPU would have to be asked how much that is.
            codes, lengths, weights = without_zeros(codes, lengths, weights)
        return self._pooled(codes, lengths, weights) + self.bias

    def dense(self, x: Tensor) -> Tensor:
        """The same of rows that are given whole: (B, num) to (B, dim)."""
        return F.linear(x, self.table.vectors.T, self.bias)


def without_zeros(codes: Tensor, lengths: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Ragged rows without the entries whose value is 0, on a CPU."""
    places, kept = (torch.from_numpy(one) for one in nonzero_members(lengths.numpy(), values.detach().numpy()))
    return codes.index_select(0, places), kept, values.index_select(0, places)
