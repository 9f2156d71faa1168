"""Numbers of bfloat16 for kernels, whose arrays are NumPy's."""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor


def as_numpy(x: Tensor) -> NDArray[Any]:
    """The same memory, on a CPU; of bfloat16, which NumPy does not know, the bits as uint16."""
    return (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).numpy()
