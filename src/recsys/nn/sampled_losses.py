"""Losses of GRU4Rec on the scores of a mini-batch, whose items are each other's negatives.

Scores are (B, C): row i is an example, column i, for i < B, its target, and all other columns are its negatives: the
targets of the other rows, and further items that all rows share. Losses are sums over rows divided by B. Hidasi &
Karatzoglou, "Recurrent Neural Networks with Top-k Gains for Session-based Recommendations", CIKM 2018, as in the
authors' code; the bias of drawn negatives is undone as in Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large
Corpus Item Recommendations", RecSys 2019.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

LEAST = 1e-24
"""Added to a probability before its logarithm is taken."""


def targets_of(scores: Tensor) -> Tensor:
    """The scores of the targets, (B, 1)."""
    return scores.diagonal()[:, None]


def softmax_of_negatives(scores: Tensor) -> Tensor:
    """Softmax of each row over its negatives, 0 at its target, (B, C)."""
    lowest = torch.finfo(scores.dtype).min
    weights = torch.diagonal_scatter(scores, scores.new_full((len(scores),), lowest)).softmax(1)
    # A target that is alone in its row has a weight of 1 so far.
    return torch.diagonal_scatter(weights, weights.new_zeros(len(scores)))


def cross_entropy(scores: Tensor, log_q: Tensor | None = None) -> Tensor:
    """-ln softmax(scores - log_q) at the target; `log_q` (C,) is the log of how often a column's item is drawn."""
    loss: Tensor = _CrossEntropy.apply(scores if log_q is None else scores - log_q)  # type: ignore[assignment]
    return loss


class _CrossEntropy(torch.autograd.Function):
    """The gradient is made beside the loss: torch would take the exponentials of all scores twice."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        n = max(len(scores), 1)
        weights = scores - scores.amax(1, keepdim=True)
        loss = -weights.diagonal().sum()
        norm = weights.exp_().sum(1, keepdim=True)
        loss += norm.log().sum()
        weights.div_(norm.mul_(n)).diagonal().sub_(1 / n)
        ctx.save_for_backward(weights)
        return loss / n

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return ctx.saved_tensors[0] * grad_outputs[0]


def top1(scores: Tensor) -> Tensor:
    """Mean over columns j of sigmoid(o_j - o_i) + sigmoid(o_j^2), without the target's own sigmoid(o_i^2) / C."""
    target = targets_of(scores)
    terms = torch.sigmoid(scores - target) + torch.sigmoid(scores.square())
    return (terms.sum(1) - torch.sigmoid(target.square())[:, 0]).mean() / scores.shape[1]


def top1_max(scores: Tensor) -> Tensor:
    """TOP1 with each negative weighted by its share of the softmax over the negatives."""
    terms = torch.sigmoid(scores - targets_of(scores)) + torch.sigmoid(scores.square())
    return (softmax_of_negatives(scores) * terms).sum(1).mean()


def bpr(scores: Tensor) -> Tensor:
    """Sum over columns j of -ln sigmoid(o_i - o_j); the target's own term is ln 2."""
    return F.softplus(scores - targets_of(scores)).sum(1).mean()


def bpr_max(scores: Tensor, elu: float | None = None, regularization: float = 0.0) -> Tensor:
    """-ln sum of s_j sigmoid(o_i - o_j) + regularization sum of s_j o_j^2, s the softmax over the negatives j.

    With `elu` scores first pass through that activation: negative ones level off at -elu, so that what is already
    ranked low is no longer pushed down.
    """
    active = scores if elu is None else F.elu(scores, elu)
    loss: Tensor = _BPRMax.apply(active, regularization)  # type: ignore[assignment]
    return loss


class _BPRMax(torch.autograd.Function):
    """The gradient is made beside the loss, in a third of the passes over the scores that torch would take.

    With p_j = sigmoid(o_i - o_j), P = sum of s_j p_j and R = sum of s_j o_j^2:
    dP/do_j = s_j (p_j^2 - P), dP/do_i = sum of s_j p_j (1 - p_j), dR/do_j = s_j (o_j^2 - R + 2 o_j).
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor, regularization: float) -> Tensor:
        n = max(len(scores), 1)
        weights = softmax_of_negatives(scores)
        above = torch.sigmoid(targets_of(scores) - scores)
        weighted = weights * above
        chance = weighted.sum(1, keepdim=True) + LEAST
        loss = -chance.log().sum() / n
        at_target = weighted.sum(1) - weighted.mul_(above).sum(1)
        # What weights are multiplied with, in the end.
        factor = above.square_().sub_(chance).div_(-n * chance)
        if regularization:
            squares = scores.square()
            mean = (weights * squares).sum(1, keepdim=True)
            loss += regularization * mean.sum() / n
            factor.add_(squares.sub_(mean).add_(scores, alpha=2), alpha=regularization / n)
        gradient = factor.mul_(weights)
        gradient.diagonal().copy_(at_target / chance[:, 0] / -n)
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return ctx.saved_tensors[0] * grad_outputs[0], None
