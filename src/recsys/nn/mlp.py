"""Stacks of linear layers."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from recsys.kernels.mlp import Stack, back_rows, forward_rows, hidden_shape
from recsys.nn.dropout import Dropout


class BatchNorm(nn.BatchNorm1d):
    """Batch normalization; a batch of one row, which has no deviation, is normalized by the running statistics."""

    def forward(self, input: Tensor) -> Tensor:
        """Rows (B, D) to rows of the same shape."""
        if self.training and len(input) == 1:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(input)


def linear(fan_in: int, fan_out: int, *, bias: bool = True) -> nn.Linear:
    """A linear layer that starts as in the papers' code: W uniform with variance 2 / (n + m), b = 0.

    Glorot & Bengio, "Understanding the Difficulty of Training Deep Feedforward Neural Networks", AISTATS 2010. Torch's
    own start is three to six times smaller in variance, and a deep network learns little in its first steps.
    """
    layer = nn.Linear(fan_in, fan_out, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def relu() -> nn.Module:
    """ReLU in the place of its input: neither a linear layer nor a norm looks again at what it gave."""
    return nn.ReLU(inplace=True)


def stack_of(weights: Sequence[Tensor], rectified: Sequence[bool], width: int) -> Stack:
    """Layers for the kernels, from weight and bias of each."""
    arrays = [one.detach().numpy() for one in weights]
    return Stack(list(zip(arrays[::2], arrays[1::2], strict=True)), rectified, width)


class _LinearLayers(torch.autograd.Function):
    """Rows (B, D), whether each layer has a ReLU, and its weight and bias, to rows (B, H), by a kernel of the CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rectified: Sequence[bool], *weights: Tensor) -> Tensor:
        ctx.stack = stack_of(weights, [False, *rectified], x.shape[1])
        # Torch's own memory: it gives the same out again.
        ctx.hidden = x.new_empty(hidden_shape(len(x), ctx.stack))
        out = x.new_empty(len(x), ctx.stack.widths[-1])
        forward_rows(x.numpy(), ctx.stack, ctx.hidden.numpy(), out.numpy(), torch.get_num_threads())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        gradient = grad_outputs[0].contiguous()
        of_x = gradient.new_empty(len(gradient), ctx.stack.widths[0]) if ctx.needs_input_grad[0] else None
        arrays = gradient.numpy(), ctx.stack, ctx.hidden.numpy(), None if of_x is None else of_x.numpy()
        found = back_rows(*arrays, torch.get_num_threads())
        return of_x, None, *map(torch.from_numpy, found)


def in_blocks(x: Tensor, weights: Iterable[Tensor]) -> bool:
    """Whether kernels of the CPU work on rows (B, D) block by block: in training, in float32.

    Hidden units then do not leave the cache between layers. They are kept for the way back, which nothing else needs.
    """
    plain = x.ndim == 2 and all(one.is_cpu and one.dtype == torch.float32 for one in (x, *weights))
    trains = torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")
    return plain and trains and not torch.compiler.is_compiling()


def linear_layers(x: Tensor, weights: Sequence[Tensor], rectified: Sequence[bool]) -> Tensor:
    """Linear layers on rows (B, D): weight and bias of each, and whether a ReLU follows it."""
    if in_blocks(x, weights):
        return _LinearLayers.apply(x.contiguous(), rectified, *weights)  # type: ignore[return-value]
    for weight, bias, active in zip(weights[::2], weights[1::2], rectified, strict=True):
        x = F.linear(x, weight, bias)
        x = x.relu_() if active else x
    return x


class Layers(nn.Sequential):
    """Linear layers, and norms, activations and dropout between them."""

    def forward(self, input: Tensor) -> Tensor:
        """Rows (B, D) to rows (B, H)."""
        if not self._bare:
            return super().forward(input)
        return linear_layers(input, self._weights, self._rectified)

    def followed_by(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Rows (B, D) through the layers and one more of these weights."""
        if not self._bare:
            return F.linear(self(x), weight, bias)
        return linear_layers(x, [*self._weights, weight, bias], [*self._rectified, False])

    @property
    def _bare(self) -> bool:
        """Whether there are linear layers and ReLUs behind them alone."""
        kinds = [type(one) for one in self]
        known = kinds[:1] == [nn.Linear] and set(kinds) <= {nn.Linear, nn.ReLU}
        return known and (nn.ReLU, nn.ReLU) not in itertools.pairwise(kinds)

    @property
    def _weights(self) -> list[Tensor]:
        return [part for one in self if isinstance(one, nn.Linear) for part in (one.weight, one.bias)]

    @property
    def _rectified(self) -> list[bool]:
        pairs = itertools.pairwise([*self, None])
        return [isinstance(after, nn.ReLU) for one, after in pairs if isinstance(one, nn.Linear)]


def hidden_layers(
    *dims: int, dropout: float = 0.0, activation: Callable[[], nn.Module] = relu, batch_norm: bool = False
) -> Layers:
    """Linear layers dims[0] -> dims[1] -> ..., each followed by norm, activation and dropout."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(dims):
        layers.append(linear(fan_in, fan_out))
        if batch_norm:
            layers.append(BatchNorm(fan_out))
        layers.append(activation())
        if dropout:
            layers.append(Dropout(dropout))
    return Layers(*layers)


def mlp(
    *dims: int, dropout: float = 0.0, activation: Callable[[], nn.Module] = relu, batch_norm: bool = False
) -> Layers:
    """`hidden_layers` and one more linear layer, which nothing follows."""
    hidden = hidden_layers(*dims[:-1], dropout=dropout, activation=activation, batch_norm=batch_norm)
    return Layers(*hidden, linear(dims[-2], dims[-1]))


def product(layer: nn.Linear, x: Tensor) -> Tensor:
    """A linear layer without its bias: rows (B, D) to (B, H)."""
    return F.linear(x, layer.weight)


def both(left: Tensor, right: Tensor, layer: nn.Linear) -> Tensor:
    """The layer on the sum of every pair of rows, from `product` of each, (B, H) and (C, H): (B C, H)."""
    return ((left + layer.bias)[:, None] + right).flatten(0, 1)
