"""Part of a network in training as one compiled graph, whose steps start without Python in between."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from recsys.errors import UnsupportedError


@contextmanager
def compiled(net: nn.Module, method: str) -> Iterator[None]:
    """Inside the block a method of the network runs compiled while it trains, and as it is written elsewhere.

    It is compiled at its first call, and once more for batches of another size. What `torch.compile` cannot do here,
    as without a compiler, is an `UnsupportedError`.
    """
    plain: Callable[..., Any] = getattr(net, method)
    # On a GPU the whole graph is recorded and started at once; on a CPU this is the plain mode.
    fast = torch.compile(plain, mode="reduce-overhead", dynamic=False)

    def call(*args: Any) -> Any:
        if not net.training:
            return plain(*args)
        try:
            return fast(*args)
        except torch._dynamo.exc.TorchDynamoException as error:
            raise UnsupportedError(
                f"{type(net).__name__}.{method} could not be compiled ({error}); give compiled=False, or install a C++ "
                "compiler for a CPU, Triton for a GPU"
            ) from error

    net.__dict__[method] = call
    try:
        yield
    finally:
        del net.__dict__[method]
