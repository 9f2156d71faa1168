"""Kernels in Triton: where they run, and their modules.

They are imported when a first tensor is on such a GPU: Triton takes longer to import than the package, and is not
everywhere.
"""

import math
import shutil
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

WIDEST = 4096
"""Numbers of a row, at most: more do not fit a program's registers."""


@cache
def runs_kernels(device: torch.device) -> bool:
    """Whether kernels in Triton run on a device: a GPU of the Ampere generation or later.

    Triton has to be installed, and a C compiler, with which it makes the part of a kernel that starts it.
    """
    able = device.type == "cuda" and find_spec("triton") and any(map(shutil.which, ("cc", "gcc", "clang")))
    return bool(able) and torch.cuda.get_device_capability(device) >= (8, 0)


def takes(table: Tensor) -> bool:
    """Whether kernels read and step a table (n, ...): in float32 or bfloat16, in one piece, on a device of theirs."""
    fits = table.dtype in (torch.float32, torch.bfloat16) and table.is_contiguous()
    return fits and runs_kernels(table.device) and math.prod(table.shape[1:]) <= WIDEST


def sparse_step_gpu() -> Any:
    """The module `sparse_step_gpu`."""
    return import_module("recsys.kernels.sparse_step_gpu")


def gather_gpu() -> Any:
    """The module `gather_gpu`."""
    return import_module("recsys.kernels.gather_gpu")
