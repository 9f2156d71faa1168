"""Optimizers whose step costs the rows of the batch, never those of the table.

Gradients of the same row are added up first, so that a row that a batch names twice takes one step, as in a dense
optimizer.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


def touched_rows(parameter: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (R,) that have a gradient and the gradient of each (R, D), duplicates added up."""
    gradient = parameter.grad
    assert gradient is not None
    if not gradient.is_sparse:
        return torch.arange(len(parameter), device=parameter.device), gradient
    rows, inverse = torch.unique(gradient._indices()[0], return_inverse=True)
    values = gradient._values()
    return rows, values.new_zeros(len(rows), values.shape[1]).index_add_(0, inverse, values)


class RowOptimizer(Optimizer):
    """Runs `_update` over the touched rows of each parameter."""

    def __init__(self, parameters: Iterable[Tensor], defaults: dict[str, Any]):
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step for the rows that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                rows, gradient = touched_rows(parameter)
                if group["weight_decay"]:
                    gradient = gradient + group["weight_decay"] * parameter[rows]
                self._update(parameter, rows, gradient, group)
        return loss

    def _update(self, parameter: Tensor, rows: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        raise NotImplementedError


class SparseAdam(RowOptimizer):
    """Adam that moves and remembers only the rows with a gradient (Kingma & Ba, 2015, lazily).

    Bias correction counts all steps of the table; the moments of rows without a gradient stand still. `weight_decay`
    acts on the rows of the batch.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def _update(self, parameter: Tensor, rows: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["mean"] = torch.zeros_like(parameter)
            state["square"] = torch.zeros_like(parameter)
        state["step"] += 1
        step = float(state["step"])
        beta1, beta2 = group["betas"]
        mean = state["mean"][rows].lerp_(gradient, 1 - beta1)
        square = state["square"][rows].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        state["mean"][rows], state["square"][rows] = mean, square
        root = square.div(1 - beta2**step).sqrt_().add_(group["eps"])
        parameter.index_add_(0, rows, mean.div_(root), alpha=-group["lr"] / (1 - beta1**step))


class RowwiseAdagrad(RowOptimizer):
    """Adagrad with one accumulator a row: the mean square of the row's gradients (as in production click models).

    State is one number a row instead of one a weight.
    """

    def __init__(self, params: Iterable[Tensor], lr: float = 1e-2, eps: float = 1e-10, weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "eps": eps, "weight_decay": weight_decay})

    def _update(self, parameter: Tensor, rows: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["sum"] = torch.zeros(len(parameter), dtype=parameter.dtype, device=parameter.device)
        total = state["sum"][rows] + gradient.square().mean(1)
        state["sum"][rows] = total
        parameter.index_add_(0, rows, gradient / (total.sqrt() + group["eps"])[:, None], alpha=-group["lr"])
