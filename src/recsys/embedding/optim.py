"""Optimizers whose step costs the rows of the batch, never those of the table.

Gradients of the same row are added up first, so that a row that a batch names twice takes one step, as in a dense
optimizer. Parameters with dense gradients, of any shape, are moved as a whole: a bias or a matrix may stand beside the
tables.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from recsys.errors import ParameterError


def touched_rows(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (R,) that a sparse gradient names and the gradient of each (R, ...), duplicates added up."""
    # By sorting, which is repeatable on a GPU too; O(R D + R log R).
    gradient = gradient.coalesce()
    return gradient.indices()[0], gradient.values()


class RowOptimizer(Optimizer, ABC):
    """Runs `_update` over the touched rows of each parameter, or over all of it where its gradient is dense.

    An option `weight_decay` adds weight_decay times the weights to the gradient, of the rows of the batch alone.
    """

    def __init__(self, params: Iterable[Tensor], defaults: dict[str, Any]):
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        name = type(self).__name__
        for option in self.defaults:
            if option != "betas" and not group[option] >= 0:
                raise ParameterError(f"{name}: {option}={group[option]!r} is not allowed; give a number of at least 0")
        for beta in group.get("betas", ()):
            if not 0 <= beta < 1:
                raise ParameterError(f"{name}: betas={group['betas']!r} is not allowed; give numbers in [0, 1)")

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
                state = self.state[parameter]
                if not state:
                    state.update(self._new_state(parameter, group))
                if parameter.grad.is_sparse:
                    self._step_rows(parameter, state, group)
                else:
                    self._decayed_update(parameter, parameter.grad, state, group)
        return loss

    def _step_rows(self, parameter: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
        rows, gradient = touched_rows(parameter.grad)  # type: ignore[arg-type]
        weight = parameter[rows]
        # What has no dimension is the table's, not a row's, as a count of steps.
        parts = {name: value[rows] if value.ndim else value for name, value in state.items()}
        self._decayed_update(weight, gradient, parts, group)
        parameter[rows] = weight
        for name, value in state.items():
            if value.ndim:
                value[rows] = parts[name]

    def _decayed_update(
        self, weight: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]
    ) -> None:
        if group.get("weight_decay"):
            gradient = gradient.add(weight, alpha=group["weight_decay"])
        self._update(weight, gradient, state, group)

    @abstractmethod
    def _new_state(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        """What is remembered before the first step: by row along the first dimension, or one number for all."""

    @abstractmethod
    def _update(self, weight: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
        """Move weights (R, ...) and their state, in place, by their gradient of the same shape."""


class SGD(RowOptimizer):
    """w <- w - lr g: no state at all."""

    def __init__(self, params: Iterable[Tensor], lr: float = 1e-2, weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    def _new_state(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        return {}

    def _update(self, weight: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
        weight.sub_(gradient, alpha=group["lr"])


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

    def _new_state(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        return {
            "step": torch.zeros(()),
            "mean": torch.zeros_like(parameter),
            "square": torch.zeros_like(parameter),
        }

    def _update(self, weight: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
        state["step"] += 1
        step = float(state["step"])
        beta1, beta2 = group["betas"]
        mean = state["mean"].lerp_(gradient, 1 - beta1)
        square = state["square"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        root = square.div(1 - beta2**step).sqrt_().add_(group["eps"])
        weight.addcdiv_(mean, root, value=-group["lr"] / (1 - beta1**step))


class Adagrad(RowOptimizer):
    """w <- w - lr g / (sqrt(sum of g^2) + eps), by weight (Duchi et al., JMLR 2011); the sum starts at `initial`."""

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-2,
        eps: float = 1e-10,
        initial: float = 0.0,
        weight_decay: float = 0.0,
    ):
        super().__init__(params, {"lr": lr, "eps": eps, "initial": initial, "weight_decay": weight_decay})

    def _new_state(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        return {"sum": torch.full_like(parameter, group["initial"])}

    def _update(self, weight: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
        total = state["sum"].addcmul_(gradient, gradient)
        weight.addcdiv_(gradient, total.sqrt().add_(group["eps"]), value=-group["lr"])


class RowwiseAdagrad(RowOptimizer):
    """Adagrad with one accumulator a row: the mean square of the row's gradients (as in production click models).

    State is one number a row instead of one a weight.
    """

    def __init__(self, params: Iterable[Tensor], lr: float = 1e-2, eps: float = 1e-10, weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "eps": eps, "weight_decay": weight_decay})

    def _new_state(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        return {"sum": parameter.new_zeros(parameter.shape[:1])}

    def _update(self, weight: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
        squares = gradient.square()
        total = state["sum"].add_(squares.flatten(1).mean(1) if squares.ndim > 1 else squares)
        root = total.sqrt().add_(group["eps"]).view(total.shape + (1,) * max(weight.ndim - 1, 0))
        weight.addcdiv_(gradient, root, value=-group["lr"])


class FTRL(RowOptimizer):
    """FTRL-Proximal by weight (McMahan et al., KDD 2013): with l1 > 0 weights that little speaks for are exactly 0.

    n <- n + g^2,  z <- z + g - (sqrt(n) - sqrt(old n)) / lr w,
    w = -(z - sign(z) l1) / ((beta + sqrt(n)) / lr + l2) where |z| > l1, else 0.

    z starts so that this is the weight as it was: a start stands until its first gradient.
    """

    def __init__(self, params: Iterable[Tensor], lr: float = 0.1, beta: float = 1.0, l1: float = 0.0, l2: float = 0.0):
        super().__init__(params, {"lr": lr, "beta": beta, "l1": l1, "l2": l2})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own."""
        super().add_param_group(param_group)
        for option in ("lr", "beta"):
            if self.param_groups[-1][option] == 0:
                raise ParameterError(f"FTRL: {option}=0 is not allowed, it is divided by; give a number above 0")

    def _new_state(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        scale = group["beta"] / group["lr"] + group["l2"]
        z = -scale * parameter - group["l1"] * parameter.sign()
        return {"z": z, "n": torch.zeros_like(parameter)}

    def _update(self, weight: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
        z, n = state["z"], state["n"]
        before = n.sqrt()
        root = n.addcmul_(gradient, gradient).sqrt()
        z.add_(gradient).addcmul_(root - before, weight, value=-1 / group["lr"])
        scale = root.add_(group["beta"]).div_(group["lr"]).add_(group["l2"])
        shrunk = torch.nn.functional.softshrink(z, group["l1"])
        weight.copy_(shrunk.div_(scale).neg_())
