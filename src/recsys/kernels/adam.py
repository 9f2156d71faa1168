"""Adam's step of many parameters in one call, each of which may be too small to be worth one of its own.

Kingma & Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.np.numpy_support import carray
from numpy.typing import NDArray

from recsys.kernels.parallel import FAST, over_rows
from recsys.kernels.vectors import inline_ir

PIECE = 1 << 14
"""Numbers of a parameter that a thread takes at a time."""
SMALL = 1 << 19
"""Numbers below which starting threads takes longer than the step."""


@inline_ir
def _floats(typing: Any, address: Any) -> Any:
    """A pointer to the float32 at an address."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], ir.FloatType().as_pointer())

    return types.CPointer(types.float32)(types.int64), build


@njit(cache=True, nogil=True)
def _count(addresses, rate, beta1, beta2, out):  # pragma: no cover
    """One step more for each parameter; the step's rate and what the root is multiplied by, both corrected for bias."""
    for i in range(len(addresses)):
        steps = carray(_floats(addresses[i, 0]), 1)
        steps[0] += np.float32(1)
        out[i, 0] = rate / (1 - beta1 ** steps[0])
        out[i, 1] = (1 - beta2 ** steps[0]) ** -0.5


@njit(cache=True, nogil=True, **FAST)
def _step(first, last, pieces, addresses, corrected, gain1, beta2, gain2, eps, decay):  # pragma: no cover
    for piece in range(first, last):
        i, start, n = pieces[piece, 0], pieces[piece, 1], pieces[piece, 2]
        rate, root_scale = corrected[i, 0], corrected[i, 1]
        w, g = carray(_floats(addresses[i, 1] + 4 * start), n), carray(_floats(addresses[i, 2] + 4 * start), n)
        mean, square = carray(_floats(addresses[i, 3] + 4 * start), n), carray(_floats(addresses[i, 4] + 4 * start), n)
        for d in range(n):
            slope = g[d] + decay * w[d]
            mean[d] += gain1 * (slope - mean[d])
            square[d] = beta2 * square[d] + gain2 * slope * slope
            w[d] -= rate * mean[d] / (root_scale * np.sqrt(square[d]) + eps)


def pieces_of(sizes: Sequence[int]) -> NDArray[np.int64]:
    """Parameter, first number and how many of each piece, (P, 3), of parameters of so many numbers."""
    found = [(i, at, min(PIECE, size - at)) for i, size in enumerate(sizes) for at in range(0, size, PIECE)]
    return np.array(found, np.int64).reshape(-1, 3)


def adam_step(
    addresses: NDArray[np.int64],
    pieces: NDArray[np.int64],
    rate: float,
    beta1: float,
    beta2: float,
    eps: float,
    decay: float,
    n_jobs: int = -1,
) -> None:
    """Step parameters in place, of each of which (n, 5) tells where in memory its numbers are, float32 without gaps.

    These are the count of its steps, its weights, gradient, and means of gradients and of their squares. `decay` times
    the weights is added to the gradient.
    """
    corrected = np.empty((len(addresses), 2), np.float32)
    _count(addresses, float(rate), float(beta1), float(beta2), corrected)
    # Subtracted in double precision: of 1 - 0.999 single precision would keep four digits.
    numbers = [np.float32(one) for one in (1 - beta1, beta2, 1 - beta2, eps, decay)]

    def step(first: int, last: int) -> None:
        _step(first, last, pieces, addresses, corrected, *numbers)

    over_rows(step, len(pieces), 1 if int(pieces[:, 2].sum()) < SMALL else n_jobs)
