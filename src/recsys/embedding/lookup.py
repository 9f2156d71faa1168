"""Lookup of slots on the CPU: values times rows, added up by owner, in one pass forward and one backward."""

from typing import Any

import torch
from torch import Tensor

from recsys.kernels.slots import Layout, gather_slots, list_slots, scatter_slots


class _SlotSums(torch.autograd.Function):
    """Codes (B, S), values (B, S) and a weight (n, D) to vectors (B, n_owners, D)."""

    @staticmethod
    def forward(ctx: Any, codes: Tensor, values: Tensor, weight: Tensor, layout: Layout, sparse: bool) -> Tensor:
        ctx.save_for_backward(codes, values)
        ctx.layout, ctx.shape, ctx.sparse = layout, weight.shape, sparse
        arrays = codes.numpy(), values.numpy(), weight.detach().numpy()
        return torch.from_numpy(gather_slots(*arrays, layout, torch.get_num_threads()))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[None, None, Tensor, None, None]:
        codes, values = ctx.saved_tensors
        arrays = codes.numpy(), values.numpy(), grad_outputs[0].contiguous().numpy()
        if ctx.sparse:
            rows, moved = map(torch.from_numpy, list_slots(*arrays, ctx.layout))
            gradient = torch.sparse_coo_tensor(rows[None], moved, ctx.shape, check_invariants=False)
        else:
            jobs = torch.get_num_threads()
            gradient = torch.from_numpy(scatter_slots(*arrays, ctx.layout, ctx.shape[0], jobs))
        return None, None, gradient, None, None


def sums_of_slots(codes: Tensor, values: Tensor, weight: Tensor, layout: Layout, *, sparse: bool) -> Tensor:
    """Values times rows of a weight (n, D), added up by owner: codes (B, S) and values (B, S) to (B, n_owners, D).

    With `sparse` the weight's gradient names the batch's rows alone.
    """
    values = values.to(weight.dtype).contiguous()
    return _SlotSums.apply(codes.contiguous(), values, weight, layout, sparse)  # type: ignore[return-value]
