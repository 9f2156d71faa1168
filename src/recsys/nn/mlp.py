"""Stacks of linear layers."""

import itertools
from collections.abc import Callable

from torch import nn


def mlp(
    *dims: int, dropout: float = 0.0, activation: Callable[[], nn.Module] = nn.ReLU, batch_norm: bool = False
) -> nn.Sequential:
    """Linear layers dims[0] -> dims[1] -> ...; all but the last are followed by norm, activation and dropout."""
    layers: list[nn.Module] = []
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(dims)):
        layers.append(nn.Linear(fan_in, fan_out))
        if i == len(dims) - 2:
            break
        if batch_norm:
            layers.append(nn.BatchNorm1d(fan_out))
        layers.append(activation())
        if dropout:
            layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)
