"""What optimizers of tables share: which rows move, in which precision, and by which path."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from recsys.errors import ParameterError
from recsys.kernels import gpu
from recsys.kernels.sparse_step import step_rows


def touched_rows(gradient: Tensor, lowest: int = 0) -> tuple[Tensor, Tensor]:
    """Rows (R,) from `lowest`, 0 or 1, that a sparse gradient names and the gradient of each (R, ...), duplicates added up."""
    # By sorting, which is repeatable on a GPU too; O(R D + R log R).
    gradient = gradient.coalesce()
    rows, values = gradient.indices()[0], gradient.values()
    first = int((rows[:1] < lowest).sum()) if lowest else 0
    return rows[first:], values[first:]


def forget_gradients(optimizer: Optimizer) -> None:
    """Leave an optimizer's parameters without gradients."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def offer_to_spare(parameter: Tensor) -> None:
    """Tell a table that its gradients may keep row 0: if it says that it is a spare one, the step leaves it out.

    A table that takes it out itself has to wait for a GPU, to know whether it is there.
    """
    if not hasattr(parameter, "spare_row"):
        parameter.spare_row = False


def round_stochastically(values: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Float32 to bfloat16, to the neighbor above or below with the chances that keep the mean.

    Rounding to the nearest would lose every step smaller than 1/256 of the weight, so that training stands still.
    """
    bits = values.view(torch.int32)
    # Bfloat16 is the upper half of a float32: noise in the lower half carries over as often as the half is large.
    noise = torch.randint(0, 1 << 16, bits.shape, dtype=torch.int32, device=bits.device, generator=generator)
    rounded = ((bits + noise) & -(1 << 16)).view(torch.float32)
    return torch.where(torch.isfinite(values), rounded, values).bfloat16()


class RowOptimizer(Optimizer, ABC):
    """Moves the touched rows of each parameter, or all of it where its gradient is dense.

    Tables in float32 on the CPU, and in float32 or bfloat16 on a GPU with Triton, are stepped by a kernel in one pass,
    others by torch, with the same result but for rounding. State of bfloat16 tables is float32, and so is their step;
    what it gives is rounded stochastically, by `generator` (torch's own where it is None). An option `weight_decay`
    adds weight_decay times the weights to the gradient, of the rows of the batch alone.
    """

    rule: ClassVar[int]
    """The kernel's number for what `_update` does."""
    remembers: ClassVar[tuple[str, ...]]
    """Names of the state that rows have, in the order in which the rule takes it."""

    def __init__(self, params: Iterable[Tensor], defaults: dict[str, Any], generator: torch.Generator | None = None):
        super().__init__(params, defaults)
        self.generator = generator

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
        for parameter in group["params"]:
            offer_to_spare(parameter)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over options and state, of the types it has: torch would round it to those of the parameters."""
        super().load_state_dict(state_dict)
        theirs = itertools.chain.from_iterable(group["params"] for group in state_dict["param_groups"])
        ours = itertools.chain.from_iterable(group["params"] for group in self.param_groups)
        for key, parameter in zip(theirs, ours, strict=True):
            for name, value in state_dict["state"].get(key, {}).items():
                if value.dtype != self.state[parameter][name].dtype:
                    # Numbers of the whole table stay on the host, which reads them.
                    self.state[parameter][name] = value.to(parameter.device if value.ndim else "cpu", copy=True)

    def new_state(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        """What is remembered of a parameter of a group before its first step."""
        weight = parameter.detach()
        return self._new_state(weight.float() if weight.dtype == torch.bfloat16 else weight, group)

    def grow_state(self, old: Tensor, new: Tensor, places: Tensor) -> None:
        """Take over the parameter `new` for `old`, whose rows are at `places` (old rows,) in it, with what they remember.

        Rows between them start as rows do. That is how a table that has grown is trained on.
        """
        for group in self.param_groups:
            at = [i for i, one in enumerate(group["params"]) if one is old]
            if not at:
                continue
            group["params"][at[0]] = new
            offer_to_spare(new)
            state = self.state.pop(old, {})
            if state and new is not old:
                fresh = self.new_state(new, group)
                for name in self.remembers:
                    fresh[name][places] = state[name]
                state = {**state, **{name: fresh[name] for name in self.remembers}}
            if state:
                self.state[new] = state
            return
        raise ParameterError(f"{type(self).__name__}.grow_state: the optimizer was not given the old parameter")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Take all gradients away, as torch does, which tells a profiler about it."""
        if not set_to_none:
            super().zero_grad(set_to_none)
            return
        forget_gradients(self)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step for the rows that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, parameter.grad, group)
        return loss

    def _step(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state.update(self.new_state(parameter, group))
        constants, decay = self._constants(state, group), group.get("weight_decay", 0.0)
        parts = [state[name] for name in self.remembers]
        if not gradient.is_sparse:
            self._move(parameter, gradient, parts, constants, decay, slice(None) if parameter.ndim else ())
        elif parameter.device.type == "cpu" and parameter.dtype == torch.float32 and parameter.is_contiguous():
            weight, *kept = (part.detach().numpy() for part in (parameter, *parts))
            rows, values = gradient._indices()[0].numpy(), gradient._values().contiguous().numpy()
            step_rows(self.rule, rows, values, weight, kept, constants, decay, torch.get_num_threads())
        elif gpu.takes(parameter):
            self._step_on_gpu(parameter, gradient, parts, constants, decay)
        else:
            # Duplicates of a bfloat16 table are added up in full precision.
            wide = gradient.float() if gradient.dtype == torch.bfloat16 else gradient
            rows, values = touched_rows(wide, int(parameter.spare_row))
            self._move(parameter, values, parts, constants, decay, rows)

    def _step_on_gpu(
        self, parameter: Tensor, gradient: Tensor, state: list[Tensor], constants: tuple[float, ...], decay: float
    ) -> None:
        rows, values, seed = gradient._indices()[0], gradient._values().contiguous(), None
        if parameter.dtype == torch.bfloat16:
            seed = torch.randint(2**31, (1,), dtype=torch.int32, device=parameter.device, generator=self.generator)
        gpu.sparse_step_gpu().step_rows(
            self.rule, rows, values, parameter.detach(), state, constants, decay,
            lowest=int(parameter.spare_row), seed=seed,
        )  # fmt: skip

    def _move(
        self,
        parameter: Tensor,
        gradient: Tensor,
        state: list[Tensor],
        constants: tuple[float, ...],
        decay: float,
        rows: Any,
    ) -> None:
        """The step in torch: on copies of some rows, written back, or in place where `rows` is all of them."""
        low = parameter.dtype == torch.bfloat16
        weight, *kept = (part[rows] for part in (parameter, *state))
        if low:
            weight, gradient = weight.float(), gradient.float()
        self._update(weight, gradient.add(weight, alpha=decay) if decay else gradient, kept, constants)
        if isinstance(rows, Tensor):
            for whole, part in zip(state, kept, strict=True):
                whole[rows] = part
        if isinstance(rows, Tensor) or low:
            parameter[rows] = round_stochastically(weight, self.generator) if low else weight

    @abstractmethod
    def _new_state(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        """What is remembered before the first step: what `remembers` names, by row, and numbers of the whole table."""

    @abstractmethod
    def _constants(self, state: dict[str, Tensor], group: dict[str, Any]) -> tuple[float, ...]:
        """The numbers of the step that begins, as the kernel's rule takes them."""

    @abstractmethod
    def _update(self, weight: Tensor, gradient: Tensor, state: list[Tensor], constants: tuple[float, ...]) -> None:
        """Move weights (R, ...) and their state, in place, by their gradient of the same shape."""
