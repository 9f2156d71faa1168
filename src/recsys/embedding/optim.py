"""Optimizers whose step costs the rows of the batch, never those of the table.

Gradients of the same row are added up first, so that a row that a batch names twice takes one step, as in a dense
optimizer. Parameters with dense gradients, of any shape, are moved as a whole: a bias or a matrix may stand beside the
tables. What is common to all is told at `recsys.embedding.row_optimizer.RowOptimizer`.
"""

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from recsys.embedding.memory import new_table_like
from recsys.embedding.row_optimizer import RowOptimizer
from recsys.errors import ParameterError
from recsys.kernels import sparse_step


class SGD(RowOptimizer):
    """w <- w - lr g: no state at all."""

    rule = sparse_step.SGD
    remembers: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, params: Iterable[Tensor], lr: float = 1e-2, weight_decay: float = 0.0, generator: Generator | None = None
    ):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay}, generator)

    def _new_state(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        return {}

    def _constants(self, state: dict[str, Tensor], group: dict[str, Any]) -> tuple[float, ...]:
        return (group["lr"],)

    def _update(self, weight: Tensor, gradient: Tensor, state: list[Tensor], constants: tuple[float, ...]) -> None:
        weight.sub_(gradient, alpha=constants[0])


class SparseAdam(RowOptimizer):
    """Adam that moves and remembers only the rows with a gradient (Kingma & Ba, ICLR 2015, lazily).

    Bias correction counts all steps of the table; the moments of rows without a gradient stand still. `weight_decay`
    acts on the rows of the batch.
    """

    rule = sparse_step.ADAM
    remembers = ("mean", "square")

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        generator: Generator | None = None,
    ):
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, options, generator)

    def _new_state(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        return {
            "step": torch.zeros(()),
            "mean": new_table_like(parameter),
            "square": new_table_like(parameter),
        }

    def _constants(self, state: dict[str, Tensor], group: dict[str, Any]) -> tuple[float, ...]:
        state["step"] += 1
        step, (beta1, beta2) = float(state["step"]), group["betas"]
        # Bias correction of both moments: sqrt(square / (1 - beta2^step)) is root_scale sqrt(square).
        return group["lr"] / (1 - beta1**step), beta1, beta2, group["eps"], (1 - beta2**step) ** -0.5

    def _update(self, weight: Tensor, gradient: Tensor, state: list[Tensor], constants: tuple[float, ...]) -> None:
        (mean, square), (rate, beta1, beta2, eps, root_scale) = state, constants
        mean.lerp_(gradient, 1 - beta1)
        square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        weight.addcdiv_(mean, square.sqrt().mul_(root_scale).add_(eps), value=-rate)


class Adagrad(RowOptimizer):
    """w <- w - lr g / (sqrt(sum of g^2) + eps), by weight (Duchi et al., JMLR 2011); the sum starts at `initial`."""

    rule = sparse_step.ADAGRAD
    remembers = ("sum",)

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-2,
        eps: float = 1e-10,
        initial: float = 0.0,
        weight_decay: float = 0.0,
        generator: Generator | None = None,
    ):
        options = {"lr": lr, "eps": eps, "initial": initial, "weight_decay": weight_decay}
        super().__init__(params, options, generator)

    def _new_state(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        return {"sum": torch.full_like(parameter, group["initial"])}

    def _constants(self, state: dict[str, Tensor], group: dict[str, Any]) -> tuple[float, ...]:
        return group["lr"], group["eps"]

    def _update(self, weight: Tensor, gradient: Tensor, state: list[Tensor], constants: tuple[float, ...]) -> None:
        (total,), (rate, eps) = state, constants
        total.addcmul_(gradient, gradient)
        weight.addcdiv_(gradient, total.sqrt().add_(eps), value=-rate)


class MomentumAdagrad(RowOptimizer):
    """v <- momentum v - lr g / sqrt(sum of g^2 + eps), w <- w + v, by weight.

    The Adagrad of GRU4Rec (Hidasi & Karatzoglou, CIKM 2018). Here eps is inside the root and no mere guard against 0: where
    gradients are below sqrt(eps), as those of drawn negatives are, steps are as small as they.
    """

    rule = sparse_step.MOMENTUM_ADAGRAD
    remembers = ("sum", "velocity")

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 0.05,
        momentum: float = 0.0,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        generator: Generator | None = None,
    ):
        options = {"lr": lr, "momentum": momentum, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, options, generator)

    def _new_state(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        return {"sum": new_table_like(parameter), "velocity": new_table_like(parameter)}

    def _constants(self, state: dict[str, Tensor], group: dict[str, Any]) -> tuple[float, ...]:
        return group["lr"], group["eps"], group["momentum"]

    def _update(self, weight: Tensor, gradient: Tensor, state: list[Tensor], constants: tuple[float, ...]) -> None:
        (total, velocity), (rate, eps, momentum) = state, constants
        total.addcmul_(gradient, gradient)
        velocity.mul_(momentum).addcdiv_(gradient, (total + eps).sqrt_(), value=-rate)
        weight.add_(velocity)


class RowwiseAdagrad(RowOptimizer):
    """Adagrad with one accumulator a row: the mean square of the row's gradients (as in production click models).

    State is one number a row instead of one a weight.
    """

    rule = sparse_step.ROWWISE_ADAGRAD
    remembers = ("sum",)

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-2,
        eps: float = 1e-10,
        weight_decay: float = 0.0,
        generator: Generator | None = None,
    ):
        super().__init__(params, {"lr": lr, "eps": eps, "weight_decay": weight_decay}, generator)

    def _new_state(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        return {"sum": new_table_like(parameter, parameter.shape[:1])}

    def _constants(self, state: dict[str, Tensor], group: dict[str, Any]) -> tuple[float, ...]:
        return group["lr"], group["eps"]

    def _update(self, weight: Tensor, gradient: Tensor, state: list[Tensor], constants: tuple[float, ...]) -> None:
        (total,), (rate, eps) = state, constants
        squares = gradient.square()
        total.add_(squares.flatten(1).mean(1) if squares.ndim > 1 else squares)
        root = total.sqrt().add_(eps).view(total.shape + (1,) * max(weight.ndim - 1, 0))
        weight.addcdiv_(gradient, root, value=-rate)


class FTRL(RowOptimizer):
    """FTRL-Proximal by weight (McMahan et al., KDD 2013): with l1 > 0 weights that little speaks for are exactly 0.

    n <- n + g^2,  z <- z + g - (sqrt(n) - sqrt(old n)) / lr w,
    w = -(z - sign(z) l1) / ((beta + sqrt(n)) / lr + l2) where |z| > l1, else 0.

    z starts so that this is the weight as it was: a start stands until its first gradient. So it does when lr changes,
    which takes a pass over the table.
    """

    rule = sparse_step.FTRL
    remembers = ("z", "n")

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 0.1,
        beta: float = 1.0,
        l1: float = 0.0,
        l2: float = 0.0,
        generator: Generator | None = None,
    ):
        super().__init__(params, {"lr": lr, "beta": beta, "l1": l1, "l2": l2}, generator)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own."""
        super().add_param_group(param_group)
        for option in ("lr", "beta"):
            if self.param_groups[-1][option] == 0:
                raise ParameterError(f"FTRL: {option}=0 is not allowed, it is divided by; give a number above 0")

    def _new_state(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        scale = group["beta"] / group["lr"] + group["l2"]
        z = -scale * parameter - group["l1"] * parameter.sign()
        return {"z": z, "n": new_table_like(parameter), "rate": torch.tensor(group["lr"], dtype=torch.float64)}

    def _step(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if state and float(state["rate"]) != group["lr"]:
            # The weight is worked out from z and lr: z moves so that another lr leaves the weight alone.
            change = 1 / float(state["rate"]) - 1 / group["lr"]
            state["z"].addcmul_(state["n"].sqrt().add_(group["beta"]), parameter.detach(), value=change)
            state["rate"].fill_(group["lr"])
        super()._step(parameter, gradient, group)

    def _constants(self, state: dict[str, Tensor], group: dict[str, Any]) -> tuple[float, ...]:
        return group["lr"], group["beta"], group["l1"], group["l2"]

    def _update(self, weight: Tensor, gradient: Tensor, state: list[Tensor], constants: tuple[float, ...]) -> None:
        (z, n), (rate, beta, l1, l2) = state, constants
        before = n.sqrt()
        root = n.addcmul_(gradient, gradient).sqrt()
        z.add_(gradient).addcmul_(root - before, weight, value=-1 / rate)
        scale = root.add_(beta).div_(rate).add_(l2)
        weight.copy_(F.softshrink(z, l1).div_(scale).neg_())
