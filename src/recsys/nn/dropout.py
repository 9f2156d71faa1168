"""Dropout for the CPU, where drawing its numbers would take longer than the products around it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = 2**16
"""Shares are rounded to this part of 1: a draw of 64 bits decides on four numbers."""


class Dropout(nn.Module):
    """In training a share of the numbers is set to 0 and the others are scaled up, so that sums stay what they are."""

    def __init__(self, share: float):
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        return drop(x, self.share) if self.training else x


def drop(x: Tensor, share: float) -> Tensor:
    """Each number 0 with chance `share`, else 1 / (1 - share) times itself; drawn from torch's default generator."""
    if share == 0 or x.is_cuda:
        return F.dropout(x, share)
    dropped = min(round(share * LEVELS), LEVELS - 1)
    bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), 2**63 - 1).view(torch.int16)
    kept = bits[: x.numel()].view(x.shape) >= dropped - LEVELS // 2
    return x * torch.where(kept, LEVELS / (LEVELS - dropped), 0.0).to(x.dtype)
