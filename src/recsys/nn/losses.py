"""Losses, each stated with its reduction."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK_BYTES = 32 * 2**20
"""Size of the largest block of logits that the softmax over the catalog holds."""


def bpr_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """-ln sigmoid(positive - negative), mean over all pairs; shapes that broadcast (Rendle et al., 2009)."""
    return F.softplus(negative - positive).mean()


def bce_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """-ln sigmoid(positive) - sum over K of ln(1 - sigmoid(negative)), mean over positives: (N,) and (N, K) logits."""
    return (F.softplus(-positive) + F.softplus(negative).sum(-1)).mean()


def gbce_loss(positive: Tensor, negative: Tensor, n_items: int, t: float = 0.75) -> Tensor:
    """Binary cross-entropy with sigmoid(positive)^beta, which undoes the overconfidence of drawn negatives.

    beta = a (t (1 - 1/a) + 1/a) with a = K / (n_items - 1) the share of negatives drawn, so -ln sigmoid^beta is
    beta softplus(-positive); mean over all 1 + K terms. (Petrov & Macdonald, "gSASRec", RecSys 2023.)
    """
    share = negative.shape[-1] / max(n_items - 1, 1)
    beta = share * (t * (1 - 1 / share) + 1 / share)
    return (beta * F.softplus(-positive) + F.softplus(negative).sum(-1)).mean() / (1 + negative.shape[-1])


class _SoftmaxLoss(torch.autograd.Function):
    """Gradients are made beside the loss, a block of rows at a time: three products, and never all the logits."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, items: Tensor, targets: Tensor) -> Tensor:
        n, n_items = len(states), len(items)
        grad_states, grad_items = torch.empty_like(states), torch.zeros_like(items)
        total = states.new_zeros(())
        step = max(1, BLOCK_BYTES // (4 * n_items))
        for start in range(0, n, step):
            block, wanted = states[start : start + step], targets[start : start + step, None]
            logits = block @ items.T
            top = logits.amax(1, keepdim=True)
            picked = logits.gather(1, wanted) - top
            softmax = logits.sub_(top).exp_()
            norm = softmax.sum(1, keepdim=True)
            total += (norm.log() - picked).sum()
            softmax.div_(norm).scatter_add_(1, wanted, softmax.new_full(wanted.shape, -1.0))
            grad_states[start : start + step] = softmax @ items
            grad_items.addmm_(softmax.T, block)
        ctx.save_for_backward(grad_states / n, grad_items / n)
        return total / n

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        grad_states, grad_items = ctx.saved_tensors
        return grad_outputs[0] * grad_states, grad_outputs[0] * grad_items, None


def softmax_loss(states: Tensor, items: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy over the whole catalog, mean over rows: states (N, D), items (I, D), targets (N,).

    Memory is a block of logits, never (N, I); time is the three matrix products of a forward and a backward pass.
    """
    with torch.autocast(states.device.type, enabled=False):
        loss: Tensor = _SoftmaxLoss.apply(states.float() if states.dtype == torch.bfloat16 else states, items, targets)  # type: ignore[assignment]
    return loss


def multinomial_loss(logits: Tensor, items: Tensor, lengths: Tensor) -> Tensor:
    """-sum over a row's items of ln softmax(logits), mean over rows: logits (B, I), items (N,), lengths (B,)."""
    row = torch.repeat_interleave(torch.arange(len(lengths), device=items.device), lengths)
    chosen = logits[row, items].sum()
    return ((logits.logsumexp(1) * lengths).sum() - chosen) / len(lengths)


def kl_loss(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)) summed over dimensions, mean over rows."""
    return 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance).sum(1).mean()
