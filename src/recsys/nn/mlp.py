"""Stacks of linear layers."""

import itertools
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from recsys.nn.dropout import Dropout
from recsys.nn.towers import Linears, sum_of_towers


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


class Layers(nn.Sequential):
    """Linear layers, and norms, activations and dropout between them."""

    def forward(self, input: Tensor) -> Tensor:
        """Rows (B, D) to rows (B, H)."""
        layers = self.bare
        return sum_of_towers(input, [layers]) if layers and layers.weights else super().forward(input)

    @property
    def bare(self) -> Linears | None:
        """The layers, where there are linear ones and ReLUs behind them alone."""
        layers: list[nn.Linear] = []
        rectified: list[bool] = []
        for one in self:
            if type(one) is nn.Linear:
                layers, rectified = [*layers, one], [*rectified, False]
            elif type(one) is nn.ReLU and layers and not rectified[-1]:
                rectified[-1] = True
            else:
                return None
        return Linears(tuple(part for one in layers for part in (one.weight, one.bias)), tuple(rectified))


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
