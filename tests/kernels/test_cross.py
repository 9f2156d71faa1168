"""Cross layers and their gradients beside NumPy's products in double precision."""

import numpy as np
import pytest

from recsys.kernels.cross import cross_rows, cross_rows_back
from recsys.kernels.mlp import BLOCK_ROWS, Stack, hidden_shape


def drawn(dim, n_layers, n_rows):
    """Layers, rows, the gradient of what comes out, and another one of the rows."""
    rng = np.random.default_rng(dim)
    layers = [
        (rng.normal(0, dim**-0.5, (dim, dim)).astype(np.float32), rng.normal(size=dim).astype(np.float32))
        for _ in range(n_layers)
    ]
    return layers, *(rng.normal(size=(n_rows, dim)).astype(np.float32) for _ in range(3))


def by_products(layers, x, gradient, more):
    first, inputs, factors = x.astype(float), [x.astype(float)], []
    for weight, bias in layers:
        factors.append(inputs[-1] @ weight.T + bias)
        inputs.append(inputs[-1] + first * factors[-1])
    found, slope, of_first = [], gradient.astype(float), more.astype(float)
    for (weight, _), before, factor in zip(layers[::-1], inputs[-2::-1], factors[::-1], strict=True):
        of_factor = slope * first
        of_first = of_first + slope * factor
        found = [of_factor.T @ before, of_factor.sum(0), *found]
        slope = slope + of_factor @ weight
    return inputs[-1], slope + of_first, found


def by_kernel(layers, x, gradient, more, n_jobs=1):
    stack = Stack(layers, [False] * (len(layers) + 1), x.shape[1])
    kept = np.full(hidden_shape(len(x), stack), np.nan, np.float32)
    out, of_x = np.full(x.shape, np.nan, np.float32), np.full(x.shape, np.nan, np.float32)
    cross_rows(x, stack, kept, out, n_jobs)
    return out, of_x, cross_rows_back(gradient, more, stack, kept, of_x, n_jobs)


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * max(1.0, np.abs(wanted).max()))


@pytest.mark.parametrize("n_rows", [1, BLOCK_ROWS, 2 * BLOCK_ROWS + 5])
@pytest.mark.parametrize(("dim", "n_layers"), [(1, 1), (5, 3), (16, 2), (37, 4)])
def test_layers_and_all_gradients_are_those_of_products(dim, n_layers, n_rows):
    problem = drawn(dim, n_layers, n_rows)
    out, of_x, found = by_kernel(*problem)
    wanted_out, wanted_of_x, wanted = by_products(*problem)
    close(out, wanted_out)
    close(of_x, wanted_of_x)
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        close(one, other)


def test_threads_share_the_rows_and_repeat_themselves():
    problem = drawn(16, 2, 5 * BLOCK_ROWS + 3)
    one, three, again = (by_kernel(*problem, n_jobs) for n_jobs in (1, 3, 3))
    for at in (0, 1):
        np.testing.assert_array_equal(one[at], three[at])
    for alone, shared, repeated in zip(one[2], three[2], again[2], strict=True):
        close(shared, alone)
        np.testing.assert_array_equal(shared, repeated)


def test_no_rows_have_gradients_of_zeros():
    layers, *rows = drawn(5, 2, 1)
    out, of_x, found = by_kernel(layers, *(one[:0] for one in rows), n_jobs=2)
    assert out.shape == of_x.shape == (0, 5)
    assert not any(one.any() for one in found)
