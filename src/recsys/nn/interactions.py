"""Interactions between field vectors."""

import torch
from torch import Tensor


def pairwise_interaction(e: Tensor) -> Tensor:
    """Sum over pairs of fields of their dot products, by (sum e)^2 - sum e^2: (B, F, D) to (B,) (Rendle, 2010)."""
    return 0.5 * (e.sum(1).square() - e.square().sum(1)).sum(1)


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


def pairwise_products(e: Tensor) -> Tensor:
    """Dot products of each vector with those before it, (1, 0), (2, 0), (2, 1), ...: (B, F, D) to (B, F (F - 1) / 2)."""
    later, earlier = torch.tril_indices(e.shape[1], e.shape[1], -1, device=e.device)
    return (e @ e.transpose(1, 2))[:, later, earlier]
