"""Memory for tables and for what optimizers remember of them."""

import math

import numpy as np
import torch
from torch import Tensor

LINE = 64
"""Bytes of a cache line: rows begin on one where they fill some, so that none lies across two."""


def new_table(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | None = None) -> Tensor:
    """Zeros, on torch's default device if none is given.

    On a CPU NumPy asks the system for large pages, which torch does not: rows are read in no order, and of a table of
    gigabytes each would first have its small page looked up. The system gives the memory when it is first written.
    """
    device = torch.get_default_device() if device is None else device
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    n_bytes = math.prod(shape) * dtype.itemsize
    memory = np.zeros(n_bytes + LINE, np.uint8)
    first = -memory.ctypes.data % LINE
    return torch.from_numpy(memory[first : first + n_bytes]).view(dtype).view(shape)


def new_table_like(table: Tensor, shape: tuple[int, ...] | None = None) -> Tensor:
    """Zeros of a table's type and device, and of its shape if no other is given."""
    return new_table(tuple(table.shape) if shape is None else shape, table.dtype, table.device)
