"""One table of vectors, in which code -1 is nothing."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.errors import ParameterError


class Embedding(nn.Module):
    """Vectors of codes 0..num-1; code -1 is zeros and is never trained.

    `weight` is (num + 1, dim): its first row is the spare one that -1 reads. Rows start as N(0, std^2). With
    `sparse=True` gradients hold the batch's rows alone, for the optimizers of `recsys.embedding`.
    """

    def __init__(self, num: int, dim: int, *, std: float = 0.01, sparse: bool = False):
        super().__init__()
        name = type(self).__name__
        if num < 0 or dim < 1:
            raise ParameterError(f"{name} needs num at least 0 and dim at least 1, got num={num}, dim={dim}")
        if not std >= 0:
            raise ParameterError(f"{name} needs std at least 0, got std={std}")
        self.std, self.sparse = std, sparse
        self.weight = nn.Parameter(torch.cat([torch.zeros(1, dim), torch.randn(num, dim) * std]))

    @property
    def vectors(self) -> Tensor:
        """The vectors of all codes, (num, dim)."""
        return self.weight[1:]

    def forward(self, codes: Tensor) -> Tensor:
        """Codes (...) to vectors (..., dim)."""
        return F.embedding(codes + 1, self.weight, padding_idx=0, sparse=self.sparse)

    def grow(self, num: int) -> None:
        """Make room for codes up to num - 1; new rows start as rows do, old ones stay bitwise what they were.

        The parameter is a new one afterwards: optimizers must be made anew.
        """
        new = num + 1 - len(self.weight)
        if new <= 0:
            return
        old = self.weight.detach()
        rows = torch.randn(new, old.shape[1], dtype=old.dtype, device=old.device) * self.std
        self.weight = nn.Parameter(torch.cat([old, rows]), requires_grad=self.weight.requires_grad)
