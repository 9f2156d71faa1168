"""Dropout for the CPU, where drawing its numbers would take longer than the products around it."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from recsys.kernels.dropout import drop_numbers
from recsys.nn.bfloat16 import as_numpy

KNOWN = (torch.float32, torch.float64, torch.bfloat16)
"""What the kernel drops; torch drops the rest."""


class Dropout(nn.Module):
    """In training a share of the numbers is set to 0 and the others are scaled up, so that sums stay what they are."""

    def __init__(self, share: float):
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        return drop(x, self.share) if self.training else x


class _Drop(torch.autograd.Function):
    """The way back leaves out the same numbers again, by the seed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, share: float) -> Tensor:
        ctx.share, ctx.seed = share, int(torch.empty((), dtype=torch.int64).random_())
        return _dropped(x, ctx.share, ctx.seed)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _dropped(grad_outputs[0], ctx.share, ctx.seed), None


def _dropped(x: Tensor, share: float, seed: int) -> Tensor:
    x = x.contiguous()
    # Torch's own memory: it gives the same out again, where NumPy's would leave holes between.
    out = torch.empty_like(x)
    drop_numbers(as_numpy(x.view(-1)), share, seed, as_numpy(out.view(-1)))
    return out


def drop(x: Tensor, share: float) -> Tensor:
    """Each number 0 with chance `share`, else 1 / (1 - share) times itself; the seed is torch's default generator's."""
    if share in (0, 1) or x.is_cuda or x.dtype not in KNOWN:
        return F.dropout(x, share)
    return _Drop.apply(x, share)  # type: ignore[return-value]
