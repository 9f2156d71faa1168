"""Towers: layers behind each other, which a kernel of the CPU works out block by block where it can.

Hidden units of a block of rows then do not leave the cache between layers, and several towers over the same rows are one
pass forward and one back.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from recsys.kernels.cross import CrossStack
from recsys.kernels.mlp import Layers as Arrays
from recsys.kernels.mlp import Stack
from recsys.kernels.towers import back_towers, forward_towers


class Linears(NamedTuple):
    """Linear layers: weight and bias of each, and whether a ReLU follows it."""

    weights: tuple[Tensor, ...] = ()
    rectified: tuple[bool, ...] = ()

    def then(self, weight: Tensor, bias: Tensor) -> "Linears":
        """With one more layer, which nothing follows."""
        return Linears((*self.weights, weight, bias), (*self.rectified, False))

    def __call__(self, x: Tensor) -> Tensor:
        """Rows (B, D) to rows (B, H), by torch."""
        for weight, bias, active in zip(self.weights[::2], self.weights[1::2], self.rectified, strict=True):
            x = F.linear(x, weight, bias)
            x = x.relu_() if active else x
        return x

    def stack(self) -> Stack:
        """The layers for the kernels."""
        return Stack(_arrays(self.weights), [False, *self.rectified], self.weights[0].shape[1])


class Crosses(NamedTuple):
    """Cross layers, x_{l+1} = x_0 * (W_l x_l + b_l) + x_l: weight and bias of each."""

    weights: tuple[Tensor, ...]

    def __call__(self, x: Tensor) -> Tensor:
        """Rows (B, D) to rows of the same shape, by torch."""
        first = x
        for weight, bias in zip(self.weights[::2], self.weights[1::2], strict=True):
            x = torch.addcmul(x, first, F.linear(x, weight, bias))
        return x

    def stack(self) -> CrossStack:
        """The layers for the kernels."""
        return CrossStack(_arrays(self.weights))


def _arrays(weights: Sequence[Tensor]) -> Arrays:
    arrays = [one.detach().numpy() for one in weights]
    return list(zip(arrays[::2], arrays[1::2], strict=True))


Tower: TypeAlias = Sequence[Linears | Crosses]
"""What rows go through, one after the other, none of it without a layer."""


def sum_of_towers(x: Tensor, *towers: Tower) -> Tensor:
    """Rows (B, D) through each tower; what comes out of all is added up, (B, H)."""
    weights = [weight for tower in towers for some in tower for weight in some.weights]
    if in_blocks(x, weights):
        return _Towers.apply(x.contiguous(), [[some.stack() for some in tower] for tower in towers], *weights)  # type: ignore[return-value]
    first, *others = (_through(tower, x) for tower in towers)
    return sum(others, start=first)


def _through(tower: Tower, x: Tensor) -> Tensor:
    for some in tower:
        x = some(x)
    return x


def in_blocks(x: Tensor, weights: Iterable[Tensor]) -> bool:
    """Whether the kernels take rows (B, D) and these weights: in training on a CPU, in float32.

    They keep all levels for the way back, which nothing else needs.
    """
    plain = x.ndim == 2 and all(one.is_cpu and one.dtype == torch.float32 for one in (x, *weights))
    trains = torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")
    return plain and trains and not torch.compiler.is_compiling()


class _Towers(torch.autograd.Function):
    """Rows (B, D), stacks of towers over them, and the weights these are made of, to the sum of the outputs (B, H)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, towers: Sequence[Sequence[Stack]], *weights: Tensor) -> Tensor:
        # Torch's own memory: it gives the same out again.
        kept = [[x.new_empty(stack.kept_shape(len(x))).numpy() for stack in tower] for tower in towers]
        out = x.new_empty(len(x), int(towers[0][-1].widths[-1]))
        forward_towers(x.numpy(), towers, kept, out.numpy(), torch.get_num_threads())
        ctx.towers, ctx.kept = towers, kept
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        gradient = grad_outputs[0].contiguous()
        of_x = gradient.new_empty(len(gradient), int(ctx.towers[0][0].widths[0])) if ctx.needs_input_grad[0] else None
        arrays = gradient.numpy(), ctx.towers, ctx.kept, None if of_x is None else of_x.numpy()
        return of_x, None, *map(torch.from_numpy, back_towers(*arrays, torch.get_num_threads()))
