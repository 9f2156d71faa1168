"""Pairs of a user and an item, scored by a product and by a tower of layers over what each side brings; their log loss.

The network is that of He et al., "Neural Collaborative Filtering", WWW 2017.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from recsys.nn.losses import widened

CPU_ROWS, GPU_ROWS = 1 << 11, 1 << 20
"""Pairs whose layers are held at a time in training: on a CPU they stay in its second-level cache."""


class PairLayers(NamedTuple):
    """What scores a pair from a user's side u (D + H) and an item's side i (D + H).

    The logit is u[:D] . i[:D] + h . z + b. The first hidden layer is relu(u[D:] + i[D:]), z is the last one.
    """

    dim: int
    """D, numbers of a side that are multiplied; 0 for a tower alone."""
    weights: Sequence[Tensor]
    """b (1,); and for a tower h (1, Z), and weight and bias of each hidden layer behind the first."""
    dropout: float = 0.0
    """Share of hidden units left out."""

    @property
    def tower(self) -> bool:
        """Whether there are hidden layers."""
        return len(self.weights) > 1


def pair_logits(people: Tensor, things: Tensor, layers: PairLayers) -> Tensor:
    """Logits (B, C) from sides of users (B, 1, D + H) and of items (B, C, D + H), or (C, D + H) of the same for all."""
    return _logits(people, things, layers)[0]


def pair_loss(people: Tensor, things: Tensor, items: Tensor, layers: PairLayers) -> Tensor:
    """-ln sigmoid(first logit) - sum of ln(1 - sigmoid(the others)) of each user's items, mean over users.

    Sides of users (B, D + H), sides of items (I, D + H), and the items of each user (B, 1 + K) as rows of those. In
    float32, below bfloat16 autocast too.
    """
    with torch.autocast(people.device.type, enabled=False):
        loss: Tensor = _PairLoss.apply(*widened(people, things), items, layers.dim, layers.dropout, *layers.weights)  # type: ignore[assignment]
    return loss


class _PairLoss(torch.autograd.Function):
    """Gradients are made beside the loss, a block of users at a time: no layer is ever held for all pairs."""

    @staticmethod
    def forward(
        ctx: Any, people: Tensor, things: Tensor, items: Tensor, dim: int, dropout: float, *weights: Tensor
    ) -> Tensor:
        loss, gradients = _loss_and_gradients(people, things, items, PairLayers(dim, weights, dropout))
        ctx.save_for_backward(*gradients)
        ctx.n = max(len(items), 1)
        return loss / ctx.n

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        people, things, *weights = (grad_outputs[0] / ctx.n * one for one in ctx.saved_tensors)
        return people, things, None, None, None, *weights


def _loss_and_gradients(
    people: Tensor, things: Tensor, items: Tensor, layers: PairLayers
) -> tuple[Tensor, Sequence[Tensor]]:
    """Loss, summed over users, and gradients of both sides and of the weights."""
    of_people, of_things = torch.empty_like(people), torch.zeros_like(things)
    of_weights, total = [torch.zeros_like(one) for one in layers.weights], people.new_zeros(())
    step = max(1, (GPU_ROWS if people.is_cuda else CPU_ROWS) // items.shape[1])
    for start in range(0, len(items), step):
        rows = slice(start, start + step)
        sides = things.index_select(0, items[rows].reshape(-1)).view(*items[rows].shape, -1)
        loss, of_people[rows], of_sides = _block(people[rows], sides, layers, of_weights)
        _add_rows(of_things, items[rows].reshape(-1), of_sides.flatten(0, 1))
        total += loss
    return total, [of_people, of_things, *of_weights]


def _logits(people: Tensor, things: Tensor, layers: PairLayers) -> tuple[Tensor, list[Tensor]]:
    """Logits (B, C) and the hidden layers, (B C, width) each."""
    dim, hidden = layers.dim, []
    logits = layers.weights[0]
    if dim:
        logits = logits + (people[..., :dim] @ things[..., :dim].mT).squeeze(1)
    if layers.tower:
        sums = people[..., dim:] + things[..., dim:]
        hidden = _hidden_layers(sums.flatten(0, 1), layers)
        logits = logits + (hidden[-1] @ layers.weights[1][0]).view(sums.shape[:2])
    return logits, hidden


def _hidden_layers(sums: Tensor, layers: PairLayers) -> list[Tensor]:
    """All hidden layers from what the units of the first one sum up, (N, H), which is overwritten."""
    hidden = [_active(sums, layers.dropout)]
    for weight, bias in zip(layers.weights[2::2], layers.weights[3::2], strict=True):
        hidden.append(_active(torch.addmm(bias, hidden[-1], weight.T), layers.dropout))
    return hidden


def _active(sums: Tensor, dropout: float) -> Tensor:
    z = sums.relu_()
    return F.dropout(z, dropout, inplace=True) if dropout else z


def _block(
    people: Tensor, sides: Tensor, layers: PairLayers, of_weights: Sequence[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss of users (B, D + H) with items (B, C, D + H), summed, and the gradients of both; adds those of the weights."""
    dim = layers.dim
    logits, hidden = _logits(people[:, None], sides, layers)
    slope = torch.sigmoid(logits)
    slope[:, 0] -= 1
    of_people, of_sides = torch.empty_like(people), torch.empty_like(sides)
    of_weights[0].add_(slope.sum())
    if dim:
        of_people[:, :dim] = (slope[:, None] @ sides[..., :dim]).squeeze(1)
        torch.mul(slope[..., None], people[:, None, :dim], out=of_sides[..., :dim])
    if layers.tower:
        of_sums = _back_through_tower(slope.view(-1), hidden, layers, of_weights).view(*slope.shape, -1)
        of_people[:, dim:], of_sides[..., dim:] = of_sums.sum(1), of_sums
    return F.softplus(logits).sum() - logits[:, 0].sum(), of_people, of_sides


def _back_through_tower(
    slope: Tensor, hidden: Sequence[Tensor], layers: PairLayers, of_weights: Sequence[Tensor]
) -> Tensor:
    """Gradient of the first layer's sums (N, H) from that of the logits (N,); those of the weights are added up."""
    of_weights[1].add_(slope @ hidden[-1])
    gradient = torch.outer(slope, layers.weights[1][0])
    for at in range(len(hidden) - 1, -1, -1):
        # A unit that was left out is 0, as one that is not active is; the others were scaled up.
        gradient = torch.ops.aten.threshold_backward(gradient, hidden[at], 0)
        if layers.dropout:
            gradient /= 1 - layers.dropout
        if at:
            of_weights[2 * at].addmm_(gradient.T, hidden[at - 1])
            of_weights[2 * at + 1].add_(gradient.sum(0))
            gradient = gradient @ layers.weights[2 * at]
    return gradient


def _add_rows(table: Tensor, rows: Tensor, values: Tensor) -> None:
    """Add values (N, D) to rows (N,) of a table (n, D), in an order that is the same every time."""
    if table.is_cuda:
        # In place a GPU adds in any order.
        table += torch.ops.aten.embedding_dense_backward(values, rows, len(table), -1, False)
    else:
        table.index_add_(0, rows, values)
