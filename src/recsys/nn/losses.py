"""Losses, each stated with its reduction."""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from recsys.kernels.layers import filled_up
from recsys.kernels.softmax import LANES, softmax_gradient
from recsys.nn.bfloat16 import as_numpy

BLOCK_BYTES = 16 * 2**20
"""Size of the largest block of logits that the softmax over the catalog holds: one that is kept when freed."""


def bpr_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """-ln sigmoid(positive - negative), mean over all pairs; shapes that broadcast (Rendle et al., 2009)."""
    return F.softplus(negative - positive).mean()


def bce_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """-ln sigmoid(positive) - sum over K of ln(1 - sigmoid(negative)), mean over positives: (N,) and (N, K) logits."""
    return (F.softplus(-positive) + F.softplus(negative).sum(-1)).mean()


def gbce_loss(positive: Tensor, negative: Tensor, n_items: int, t: float = 0.75) -> Tensor:
    """Binary cross-entropy with sigmoid(positive)^beta, which undoes the overconfidence of drawn negatives.

    -ln sigmoid^beta is beta softplus(-positive); mean over all 1 + K terms. (Petrov & Macdonald, "gSASRec", RecSys 2023.)
    """
    n_negatives = negative.shape[-1]
    terms = gbce_power(n_negatives, n_items, t) * F.softplus(-positive) + F.softplus(negative).sum(-1)
    return terms.mean() / (1 + n_negatives)


def gbce_power(n_negatives: int, n_items: int, t: float) -> float:
    """beta = a (t (1 - 1/a) + 1/a), a = K / (n_items - 1) the share of negatives drawn; 1 where t is 0."""
    share = n_negatives / max(n_items - 1, 1)
    return share * (t * (1 - 1 / share) + 1 / share)


def base_logit(n_negatives: int, power: float = 1.0) -> float:
    """Where the slopes of -power ln sigmoid(x) and of K times -ln(1 - sigmoid(x)) cancel: ln(power / K)."""
    return math.log(power / n_negatives)


# -- the whole catalog, a block of rows at a time ------------------------------------------------------------------------


def ragged_rows(lengths: Tensor, n_entries: int) -> Tensor:
    """The row of each entry of ragged rows: lengths (B,), which add up to `n_entries`, to (N,)."""
    # The size is given, or a GPU would be waited for.
    return torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths, output_size=n_entries)


def rows_at_a_time(n_columns: int) -> int:
    """Rows whose scores are held at a time."""
    return max(1, BLOCK_BYTES // (4 * max(filled_up(n_columns, LANES), 1)))


def row_blocks(n_rows: int, n_columns: int, lengths: Tensor | None, n_entries: int) -> Iterator[tuple[slice, slice]]:
    """Blocks of so many rows, and where their entries are; without lengths each row has one."""
    step = rows_at_a_time(n_columns)
    if n_rows <= step:
        yield slice(0, n_rows), slice(0, n_entries)
        return
    starts = [*range(0, n_rows, step), n_rows]
    ends = starts if lengths is None else [0, *lengths.cumsum(0)[torch.tensor(starts[1:]) - 1].tolist()]
    for rows, entries in zip(pairwise(starts), pairwise(ends), strict=True):
        yield slice(*rows), slice(*entries)


def flat_places(lengths: Tensor | None, targets: Tensor, width: int) -> Tensor:
    """Where the targets of rows, one each or by their lengths, are in a table that is read row by row."""
    n = len(targets)
    return (torch.arange(n, device=targets.device) if lengths is None else ragged_rows(lengths, n)) * width + targets


def new_block(like: Tensor, n_rows: int, n_columns: int) -> Tensor:
    """Memory of the scores of so many rows, or of as many as are held at a time; rows are filled up as the kernel asks.

    They then begin lines of the cache. A product whose rows begin anywhere takes a third longer.
    """
    return like.new_empty(min(n_rows, rows_at_a_time(n_columns)), filled_up(n_columns, LANES))


def scores_into(table: Tensor, states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """states @ weight.T + bias (B, I), in the first columns of a table (B, W)."""
    scores = table[:, : len(weight)]
    if bias is None:
        return torch.mm(states, weight.T, out=scores)
    return torch.addmm(bias, states, weight.T, out=scores)


class _SoftmaxLoss(torch.autograd.Function):
    """Gradients are made beside the loss, a block of rows at a time: three products, and never all the logits.

    Logits and their softmax are held in the precision of the products; what is summed over a row or over blocks is not.
    """

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        items: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        lengths: Tensor | None,
        dtype: torch.dtype,
    ) -> Tensor:
        n, n_items = max(len(states), 1), len(items)
        grad_states, grad_items, grad_bias = torch.empty_like(states), None, items.new_zeros(n_items)
        total = states.new_zeros(())
        inputs, weight = states.to(dtype), items.to(dtype)
        added = None if bias is None else bias.to(dtype)
        memory = new_block(inputs, len(states), n_items)
        for rows, entries in row_blocks(len(states), n_items, lengths, len(targets)):
            block = inputs[rows]
            table = memory[: len(block)]
            scores = scores_into(table, block, weight, added)
            counts = None if lengths is None else lengths[rows]
            loss, scale, of_bias = _softmax_gradient(table, n_items, targets[entries], counts, 1 / n, bias is not None)
            total += loss
            # Rows are scaled by this in the products, which are narrow, and not in the block.
            torch.mul(scores @ weight, scale, out=grad_states[rows])
            grad_items = add_product(grad_items, scores.T, (block * scale).to(dtype), items.dtype)
            if of_bias is not None:
                grad_bias += of_bias
        ctx.has_bias = bias is not None
        ctx.save_for_backward(grad_states, grad_items, grad_bias)
        return total / n

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        gradients, slope = ctx.saved_tensors, grad_outputs[0]
        # A loss by itself has a slope of 1, and a product with it is a pass over the catalog. A GPU would be waited for.
        if slope.is_cuda or float(slope) != 1:
            gradients = [slope * one for one in gradients]
        states, items, bias = gradients
        return states, items, bias if ctx.has_bias else None, None, None, None


def _softmax_gradient(
    table: Tensor, n_items: int, targets: Tensor, lengths: Tensor | None, share: float, has_bias: bool
) -> tuple[Tensor | float, Tensor, Tensor | None]:
    """The log loss of the softmax of rows, summed over them, each with one target or with `lengths` (B,) of them.

    Scores are the first columns of the table (B, W). They become the gradient of `share` times the loss, but for the
    factors of the rows (B, 1), which are returned with the gradient's sum over rows (I,), if asked for.
    """
    if table.device.type == "cpu" and table.dtype in (torch.float32, torch.bfloat16) and n_items:
        ends = torch.arange(1, len(table) + 1) if lengths is None else lengths.cumsum(0)
        parts = as_numpy(table), n_items, targets.numpy(), ends.numpy(), share, has_bias
        loss, factors, sums = softmax_gradient(*parts, torch.get_num_threads())
        return loss, torch.from_numpy(factors)[:, None], None if sums is None else torch.from_numpy(sums)
    scores, flat, kept = table[:, :n_items], table.view(-1), torch.promote_types(table.dtype, torch.float32)
    at = flat_places(lengths, targets, table.shape[1])
    counts = table.new_ones(len(table), 1, dtype=kept) if lengths is None else lengths[:, None].to(kept)
    scores.sub_(scores.amax(1, keepdim=True))
    total = -flat[at].sum(dtype=kept)
    norm = scores.exp_().sum(1, keepdim=True, dtype=kept)
    total += (counts * norm.log()).sum()
    scale = counts / norm * share
    flat.index_add_(0, at, (norm / -counts)[at // table.shape[1], 0].to(table.dtype))
    return total, scale, scores.T @ scale[:, 0].to(table.dtype) if has_bias else None


def add_product(total: Tensor | None, left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    """total + left @ right, in place; None is 0. The product may be of a lower precision than the sum's `dtype`."""
    if total is None:
        return (left @ right).to(dtype)
    return total.addmm_(left, right) if left.dtype == dtype else total.add_(left @ right)


def dtype_of_products(states: Tensor) -> torch.dtype:
    """That of autocast, where it is on; else the full precision of the states."""
    kind = states.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else widened(states)[0].dtype


def widened(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Tensors in full precision."""
    return tuple(one.float() if one.dtype == torch.bfloat16 else one for one in tensors)


def softmax_loss(states: Tensor, items: Tensor, targets: Tensor, bias: Tensor | None = None) -> Tensor:
    """Cross-entropy over the whole catalog, mean over rows: states (N, D), items (I, D), targets (N,), bias (I,).

    Memory is a block of logits, never (N, I); time is the three matrix products of a forward and a backward pass.
    """
    dtype = dtype_of_products(states)
    with torch.autocast(states.device.type, enabled=False):
        bias = None if bias is None else widened(bias)[0]
        loss: Tensor = _SoftmaxLoss.apply(*widened(states, items), bias, targets, None, dtype)  # type: ignore[assignment]
    return loss


def sampled_softmax_loss(
    states: Tensor, positives: Tensor, negatives: Tensor, targets: Tensor, drawn: Tensor, log_expected: Tensor
) -> Tensor:
    """Cross-entropy of the target among itself and drawn items, mean over rows; with many it is `softmax_loss`.

    States and the targets' vectors are (N, D), vectors of the drawn items (K, D), codes of both (N,) and (K,). A drawn
    item's share is divided by how often it is expected among the K, given as logarithms (K,), so that all of them
    together stand for the catalog; where it is the target itself it is left out. Memory is a block of (N, K), which is
    made once more on the way back.
    """
    with torch.autocast(states.device.type, enabled=False):
        states, positives, negatives = widened(states, positives, negatives)
        total = states.new_zeros(())
        for rows, _ in row_blocks(len(states), len(drawn), None, len(states)):
            parts = states[rows], positives[rows], negatives, targets[rows], drawn, log_expected
            total = total + checkpoint(_sampled_block, *parts, use_reentrant=False)
    return total / max(len(states), 1)


def _sampled_block(
    states: Tensor, positives: Tensor, negatives: Tensor, targets: Tensor, drawn: Tensor, log_expected: Tensor
) -> Tensor:
    logits = (states @ negatives.T - log_expected).masked_fill(targets[:, None] == drawn, torch.finfo().min)
    return F.softplus(logits.logsumexp(1) - (states * positives).sum(1)).sum()


def multinomial_loss(states: Tensor, output: nn.Linear, items: Tensor, lengths: Tensor) -> Tensor:
    """-sum over a row's items of ln softmax(output(states)), mean over rows: states (B, D), items (N,), lengths (B,).

    Memory and time are those of `softmax_loss`: never (B, I).
    """
    weight, bias, dtype = output.weight, output.bias, dtype_of_products(states)
    with torch.autocast(states.device.type, enabled=False):
        loss: Tensor = _SoftmaxLoss.apply(*widened(states, weight, bias), items, lengths, dtype)  # type: ignore[assignment]
    return loss


class _Entries(torch.autograd.Function):
    """Scores are made a block of rows at a time, forward to take the entries, backward as zeros around their gradients."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, bias: Tensor, columns: Tensor, lengths: Tensor, dtype: torch.dtype
    ) -> Tensor:
        inputs, narrow, added = states.to(dtype), weight.to(dtype), bias.to(dtype)
        ctx.save_for_backward(inputs, narrow, columns, lengths)
        found, memory = states.new_empty(len(columns)), new_block(inputs, len(states), len(weight))
        for rows, entries in row_blocks(len(states), len(weight), lengths, len(columns)):
            at = flat_places(lengths[rows], columns[entries], memory.shape[1])
            table = memory[: rows.stop - rows.start]
            scores_into(table, inputs[rows], narrow, added)
            found[entries] = table.view(-1)[at].to(states.dtype)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        states, weight, columns, lengths = ctx.saved_tensors
        slopes = grad_outputs[0]
        grad_states, grad_weight = torch.empty_like(states, dtype=slopes.dtype), None
        for rows, entries in row_blocks(len(states), len(weight), lengths, len(columns)):
            at = flat_places(lengths[rows], columns[entries], len(weight))
            block = states.new_zeros(rows.stop - rows.start, len(weight))
            block.view(-1).index_add_(0, at, slopes[entries].to(block.dtype))
            grad_states[rows] = block @ weight
            grad_weight = add_product(grad_weight, block.T, states[rows], slopes.dtype)
        grad_bias = slopes.new_zeros(len(weight)).index_add_(0, columns, slopes)
        return grad_states, grad_weight, grad_bias, None, None, None


def entries(states: Tensor, weight: Tensor, bias: Tensor, columns: Tensor, lengths: Tensor) -> Tensor:
    """Some entries of states @ weight.T + bias: those at `columns` (N,) of ragged rows, lengths (B,), to (N,).

    States are (B, D), weights (I, D), the bias (I,). Memory is a block of scores, never (B, I). Where few are asked
    for, they are made one by one.
    """
    dtype = dtype_of_products(states)
    with torch.autocast(states.device.type, enabled=False):
        states, weight, bias = widened(states, weight, bias)
        vectors = 4 * len(columns) * states.shape[1]
        if vectors <= BLOCK_BYTES and 16 * len(columns) < len(states) * len(weight):
            rows = ragged_rows(lengths, len(columns))
            return (states[rows] * weight[columns]).sum(1) + bias[columns]
        found: Tensor = _Entries.apply(states, weight, bias, columns, lengths, dtype)  # type: ignore[assignment]
    return found


def kl_loss(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)) summed over dimensions, mean over rows."""
    return 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance).sum(1).mean()


def normal_log_density(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """ln N(x; mean, variance) of each number."""
    return -0.5 * (log_variance + math.log(2 * math.pi) + (x - mean).square() / log_variance.exp())


def composite_log_prior(code: Tensor, old_mean: Tensor, old_log_variance: Tensor) -> Tensor:
    """ln(3/20 N(0, 1) + 3/4 N(old mean, old variance) + 1/10 N(0, e^10)) of each number of the code (B, D).

    Shenbin et al., "RecVAE", WSDM 2020.
    """
    zero = torch.zeros_like(code)
    parts = [(0.15, zero, zero), (0.75, old_mean, old_log_variance), (0.1, zero, zero + 10)]
    logs = [math.log(share) + normal_log_density(code, mean, variance) for share, mean, variance in parts]
    return torch.logsumexp(torch.stack(logs), 0)
