"""Cross layers and their gradients beside NumPy's products in double precision."""

import numpy as np
import pytest

from recsys.kernels.cross import CrossStack
from recsys.kernels.mlp import BLOCK_ROWS
from tests.kernels.stacks import by_kernel, close, rows_need_no_gradient


def drawn(dim, n_layers, n_rows):
    """Layers, rows, and the gradient of what comes out."""
    rng = np.random.default_rng(dim)
    layers = [
        (rng.normal(0, dim**-0.5, (dim, dim)).astype(np.float32), rng.normal(size=dim).astype(np.float32))
        for _ in range(n_layers)
    ]
    return layers, *(rng.normal(size=(n_rows, dim)).astype(np.float32) for _ in range(2))


def by_products(layers, x, gradient):
    first, inputs, factors = x.astype(float), [x.astype(float)], []
    for weight, bias in layers:
        factors.append(inputs[-1] @ weight.T + bias)
        inputs.append(inputs[-1] + first * factors[-1])
    found, slope, of_first = [], gradient.astype(float), 0
    for (weight, _), before, factor in zip(layers[::-1], inputs[-2::-1], factors[::-1], strict=True):
        of_factor = slope * first
        of_first = of_first + slope * factor
        found = [of_factor.T @ before, of_factor.sum(0), *found]
        slope = slope + of_factor @ weight
    return inputs[-1], slope + of_first, found


@pytest.mark.parametrize("n_rows", [1, BLOCK_ROWS, 2 * BLOCK_ROWS + 5])
@pytest.mark.parametrize(("dim", "n_layers"), [(1, 1), (5, 3), (16, 2), (37, 4)])
def test_layers_and_all_gradients_are_those_of_products(dim, n_layers, n_rows):
    layers, x, gradient = drawn(dim, n_layers, n_rows)
    close(by_kernel(CrossStack(layers), x, gradient), by_products(layers, x, gradient), atol=1e-5)


def test_rows_that_need_no_gradient_get_none():
    layers, x, gradient = drawn(5, 3, 70)
    rows_need_no_gradient(CrossStack(layers), x, gradient)
