"""Interactions between field vectors."""

from torch import Tensor


def pairwise_interaction(e: Tensor) -> Tensor:
    """Sum over pairs of fields of their dot products, by (sum e)^2 - sum e^2: (B, F, D) to (B,) (Rendle, 2010)."""
    return 0.5 * (e.sum(1).square() - e.square().sum(1)).sum(1)
