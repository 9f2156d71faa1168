"""Interactions between field vectors."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recsys.kernels.interactions import pair_products, pair_products_back


class _PairwiseInteraction(torch.autograd.Function):
    """(|s|^2 - sum |e_f|^2) / 2 with s = sum e_f, and the vectors again. The gradient is s - e_f times that of the sum, and
    what comes back to the vectors, told to torch, which would make it of many passes."""

    @staticmethod
    def forward(ctx: Any, e: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(e)
        ctx.set_materialize_grads(False)
        if _in_one_pass(e):
            products = torch.from_numpy(pair_products(e.numpy(), torch.get_num_threads()))
        else:
            products = 0.5 * (e.sum(1).square() - e.square().sum(1)).sum(1)
        return products, e.view_as(e)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        (e,), (gradient, more) = ctx.saved_tensors, grad_outputs
        if gradient is None:
            return more
        if _in_one_pass(e):
            # Torch's own memory: it gives the same out again.
            out = torch.empty_like(e)
            beside = None if more is None else more.contiguous().numpy()
            arrays = e.numpy(), gradient.contiguous().numpy(), beside, out.numpy()
            pair_products_back(*arrays, torch.get_num_threads())
            return out
        found = (e.sum(1, keepdim=True) - e).mul_(gradient[:, None, None])
        return found if more is None else found.add_(more)


def _in_one_pass(e: Tensor) -> bool:
    """Whether a kernel of the CPU takes these vectors; torch takes the rest."""
    known = e.device.type == "cpu" and e.dtype in (torch.float32, torch.float64)
    return known and e.is_contiguous() and e.shape[1] > 0


def pairwise_interaction(e: Tensor) -> Tensor:
    """Sum over pairs of fields of their dot products, by (sum e)^2 - sum e^2: (B, F, D) to (B,) (Rendle, 2010)."""
    return with_pairwise_interaction(e)[0]


def with_pairwise_interaction(e: Tensor) -> tuple[Tensor, Tensor]:
    """`pairwise_interaction`, and the vectors for who else reads them: both gradients are then one pass."""
    return _PairwiseInteraction.apply(e)  # type: ignore[return-value]


def anova_degrees(e: Tensor, order: int) -> Tensor:
    """Sums of the products of t distinct vectors' entries, for t = 0, ..., order: (B, F, D) to (B, order + 1, D).

    a_t <- a_t + e_f a_{t-1}, a vector at a time: O(F D order) (Blondel et al., "Higher-Order Factorization Machines",
    NeurIPS 2016).
    """
    ones = e.new_ones(len(e), 1, e.shape[2])
    sums = torch.cat([ones, e.new_zeros(len(e), order, e.shape[2])], 1)
    for vector in e.unbind(1):
        sums = torch.cat([ones, sums[:, 1:] + vector[:, None] * sums[:, :-1]], 1)
    return sums


def anova(e: Tensor, order: int) -> Tensor:
    """Sum over all sets of `order` distinct vectors of their entries' products, over all entries: (B, F, D) to (B,).

    Order 2 is `pairwise_interaction`.
    """
    return pairwise_interaction(e) if order == 2 else anova_degrees(e, order)[:, order].sum(1)


def place_of_product(later: Tensor, earlier: Tensor) -> Tensor:
    """Where `pairwise_products` has the dot product of these vectors, of which `earlier` come before `later`."""
    return later * (later - 1) // 2 + earlier


def pairwise_products(e: Tensor) -> Tensor:
    """Dot products of each vector with those before it, (1, 0), (2, 0), (2, 1), ...: (B, F, D) to (B, F (F - 1) / 2)."""
    n = e.shape[1]
    later, earlier = torch.tril_indices(n, n, -1, device=e.device)
    # Each place comes once: the gradient of `index_select` adds in place, that of [:, later, earlier] would sort first.
    return (e @ e.transpose(1, 2)).flatten(1).index_select(1, later * n + earlier)
