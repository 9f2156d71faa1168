"""What autoencoders with a multinomial likelihood share."""

import torch
from torch import Tensor, nn


def unit_profiles(lengths: Tensor, n_entries: int) -> Tensor:
    """Entries (N,) of rows of ones with these lengths (B,), each row divided by its norm, sqrt(length)."""
    values = lengths.clamp(min=1).to(torch.get_default_dtype()).rsqrt()
    return torch.repeat_interleave(values, lengths, output_size=n_entries)


def output_layer(fan_in: int, fan_out: int) -> nn.Linear:
    """A linear layer that starts as in the paper's code: W uniform with variance 2 / (n + m), b close to 0."""
    layer = nn.Linear(fan_in, fan_out)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.trunc_normal_(layer.bias, std=0.001, a=-0.002, b=0.002)
    return layer
