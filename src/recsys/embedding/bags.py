"""Ragged bags of codes, pooled to one vector each."""

from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from recsys.embedding.table import Embedding
from recsys.errors import DataError, ParameterError
from recsys.kernels.bags import bag_gradient

Mode = Literal["sum", "mean", "max", "sqrtn"]


class _BagSums(torch.autograd.Function):
    """Weighted sums of a table's rows on the CPU. Row 0 is the spare one, and has no gradient.

    Torch's own way back sorts the codes and fills the gradient with zeros first.
    """

    @staticmethod
    def forward(ctx: Any, codes: Tensor, offsets: Tensor, weights: Tensor, weight: Tensor, spare: int | None) -> Tensor:
        ctx.save_for_backward(codes, offsets, weights)
        ctx.shape = weight.shape
        return _looked_up(codes, offsets, weights, weight, spare, sparse=False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        gradient = grad_outputs[0].contiguous()
        out = gradient.new_empty(ctx.shape)
        out[0] = 0
        arrays = [one.numpy() for one in (*ctx.saved_tensors, gradient, out[1:])]
        bag_gradient(*arrays, torch.get_num_threads())
        return None, None, None, out, None


def _looked_up(
    codes: Tensor, offsets: Tensor, weights: Tensor, weight: Tensor, spare: int | None, *, sparse: bool
) -> Tensor:
    return F.embedding_bag(
        codes + 1,
        weight,
        offsets,
        mode="sum",
        per_sample_weights=weights,
        padding_idx=spare,
        include_last_offset=True,
        sparse=sparse,
    )


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
        self._check(codes, lengths)
        return self._pooled(codes, lengths, weights)

    def _pooled(self, codes: Tensor, lengths: Tensor, weights: Tensor | None) -> Tensor:
        weight = self.table.weight
        weights = torch.ones_like(codes, dtype=weight.dtype) if weights is None else weights.to(weight.dtype)
        if self.mode == "max":
            members = torch.where(codes[:, None] >= 0, self.table(codes) * weights[:, None], -torch.inf)
            pooled = torch.segment_reduce(members, "max", lengths=lengths, unsafe=True)
            return torch.where(pooled == -torch.inf, 0, pooled)
        # One pass over the rows: the vectors of the members are never held beside each other.
        summed = self._sums(codes, F.pad(lengths.cumsum(0), (1, 0)), weights)
        return summed if self.mode == "sum" else summed / self._norm(codes, lengths, weights)[:, None]

    def _sums(self, codes: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
        """Weighted sums of the vectors of the members, (B, dim)."""
        weight, on_cpu = self.table.weight, codes.device.type == "cpu"
        # Torch's fast path on a CPU is there for bags without a spare row alone.
        spare = 0 if not on_cpu or bool((codes < 0).any()) else None
        parts = codes, offsets, weights, weight, spare
        plain = weight.dtype in (torch.float32, torch.float64) and not weights.requires_grad
        if on_cpu and plain and not self.table.sparse:
            return _BagSums.apply(*parts)  # type: ignore[return-value]
        return _looked_up(*parts, sparse=self.table.sparse)

    def _check(self, codes: Tensor, lengths: Tensor) -> None:
        # Not on a GPU, which would be waited for at every batch.
        if lengths.device.type == "cpu" and (int(lengths.sum()) != len(codes) or bool((lengths < 0).any())):
            raise DataError(f"{type(self).__name__} got {len(codes)} codes for bags of {int(lengths.sum())} in all")

    def _norm(self, codes: Tensor, lengths: Tensor, weights: Tensor) -> Tensor:
        """What the sum is divided by, (B,); 1 where that would be 0."""
        members = torch.where(codes >= 0, weights, 0)
        if self.mode == "mean":
            total = torch.segment_reduce(members, "sum", lengths=lengths, unsafe=True)
            return torch.where(total == 0, 1, total)
        total = torch.segment_reduce(members.square(), "sum", lengths=lengths, unsafe=True)
        return torch.where(total == 0, 1, total).sqrt()
