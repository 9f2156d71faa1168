"""Adam over all parameters in one call on a CPU.

Kingma & Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recsys.embedding.row_optimizer import forget_gradients
from recsys.kernels.adam import adam_step, pieces_of


class Adam(torch.optim.Adam):
    """torch's own, in its fused form; parameters in float32 on a CPU take a step of the same numbers together.

    Torch goes over them one by one, which takes longer than the step where a network is small.
    """

    def __init__(self, params: Any, lr: float = 1e-3, weight_decay: float = 0.0):
        super().__init__(params, lr, weight_decay=weight_decay, fused=True)
        self._pieces: dict[tuple[int, ...], Any] = {}

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Take all gradients away. Torch says so to a profiler, which at a small step takes longer than the act."""
        if not set_to_none:
            super().zero_grad(set_to_none)
            return
        forget_gradients(self)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step for the parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        groups = [[one for one in group["params"] if one.grad is not None] for group in self.param_groups]
        if not all(_plain(one) for group in groups for one in group):
            super().step()
            return loss
        for group, moved in zip(self.param_groups, groups, strict=True):
            if moved:
                self._move(moved, group)
        return loss

    def _move(self, moved: list[Tensor], group: dict[str, Any]) -> None:
        sizes = tuple(one.numel() for one in moved)
        if sizes not in self._pieces:
            self._pieces[sizes] = pieces_of(sizes)
        addresses = np.array([self._addresses(one) for one in moved])
        constants = group["lr"], *group["betas"], group["eps"], group["weight_decay"]
        adam_step(addresses, self._pieces[sizes], *constants, torch.get_num_threads())

    def _addresses(self, parameter: Any) -> list[int]:
        """Where the numbers are that its step takes, in the order of the kernel."""
        state = self.state[parameter]
        if not state:
            # As torch has them, so that either goes on from the state of the other.
            state["step"] = torch.zeros(())
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        parts = state["step"], parameter, parameter.grad, state["exp_avg"], state["exp_avg_sq"]
        return [part.data_ptr() for part in parts]


def _plain(parameter: Any) -> bool:
    """Whether a parameter and its gradient are float32 on a CPU, in one piece."""
    return all(
        one.dtype == torch.float32 and one.is_cpu and one.layout == torch.strided and one.is_contiguous()
        for one in (parameter, parameter.grad)
    )
