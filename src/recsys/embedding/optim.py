"""Optimizers whose step costs the rows of the batch, never those of the table.

Gradients of the same row are added up first, so that a row that a batch names twice takes one step, as in a dense
optimizer.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from recsys.errors import ParameterError


def touched_rows(parameter: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (R,) that have a gradient and the gradient of each (R, D), duplicates added up."""
    gradient = parameter.grad
    assert gradient is not None
    if not gradient.is_sparse:
        return torch.arange(len(parameter), device=parameter.device), gradient
    # By sorting, which is repeatable on a GPU too; O(R D + R log R).
    gradient = gradient.coalesce()
    return gradient.indices()[0], gradient.values()


class RowOptimizer(Optimizer, ABC):
    """Runs `_update` over the touched rows of each parameter (n, D)."""

    def __init__(self, params: Iterable[Tensor], defaults: dict[str, Any]):
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add tables with options of their own."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        name = type(self).__name__
        for option in ("lr", "eps", "weight_decay"):
            if not group[option] >= 0:
                raise ParameterError(f"{name}: {option}={group[option]!r} is not allowed; give a number of at least 0")
        for beta in group.get("betas", ()):
            if not 0 <= beta < 1:
                raise ParameterError(f"{name}: betas={group['betas']!r} is not allowed; give numbers in [0, 1)")
        for parameter in group["params"]:
            if parameter.ndim != 2:
                raise ParameterError(f"{name} is for tables (n, D), got a parameter of shape {tuple(parameter.shape)}")

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

    @abstractmethod
    def _update(self, parameter: Tensor, rows: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        """Move the rows (R,) of a parameter by their gradient (R, D); nothing of the table's size is made but state."""


class SparseAdam(RowOptimizer):
    """Adam that moves and remembers only the rows with a gradient (Kingma & Ba, ICLR 2015, lazily).

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
