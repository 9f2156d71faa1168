"""Linear layers behind each other beside NumPy's products in double precision."""

import itertools

import numpy as np
import pytest

from recsys.kernels.layers import ANY, ZERO
from recsys.kernels.mlp import BLOCK_ROWS, Stack
from tests.kernels.stacks import by_kernel, close, rows_need_no_gradient

WIDTHS = [(3, 2), (16, 16, 1), (5, 40, 17, 7), (33, 8, 8, 8)]
ROWS = [1, BLOCK_ROWS, 2 * BLOCK_ROWS + 5]


def drawn(widths, n_rows):
    """A stack that is cut off at 0 but for its input and its last level, rows, and a gradient."""
    rng = np.random.default_rng(sum(widths))
    layers = [
        (rng.normal(size=(above, below)).astype(np.float32), rng.normal(size=above).astype(np.float32))
        for below, above in itertools.pairwise(widths)
    ]
    rectified = [False, *[True] * (len(layers) - 1), False]
    x, gradient = (rng.normal(size=(n_rows, width)).astype(np.float32) for width in (widths[0], widths[-1]))
    return layers, rectified, x, gradient


def by_products(layers, rectified, x, gradient):
    """What comes out, the gradient of the rows, and those of weight and bias of each layer."""
    levels = [x.astype(float)]
    for (weight, bias), active in zip(layers, rectified[1:], strict=True):
        sums = levels[-1] @ weight.T + bias
        levels.append(np.maximum(sums, 0) if active else sums)
    found, slope = [], gradient.astype(float)
    for at in range(len(layers) - 1, -1, -1):
        slope = np.where(levels[at + 1] > 0, slope, 0) if rectified[at + 1] else slope
        found = [slope.T @ levels[at], slope.sum(0), *found]
        slope = slope @ layers[at][0]
    return levels[-1], slope, found


@pytest.mark.parametrize("last_is_cut_off", [False, True])
@pytest.mark.parametrize("n_rows", ROWS)
@pytest.mark.parametrize("widths", WIDTHS)
def test_levels_and_all_gradients_are_those_of_products(widths, n_rows, last_is_cut_off):
    layers, rectified, x, gradient = drawn(widths, n_rows)
    rectified[-1] = last_is_cut_off
    close(by_kernel(Stack(layers, rectified, widths[0]), x, gradient), by_products(layers, rectified, x, gradient))


def test_rows_that_need_no_gradient_get_none():
    layers, rectified, x, gradient = drawn((5, 40, 17, 7), 70)
    rows_need_no_gradient(Stack(layers, rectified, 5), x, gradient)


def test_a_row_with_a_nan_does_not_touch_the_others():
    layers, rectified, x, gradient = drawn((5, 40, 17, 7), 12)
    stack = Stack(layers, rectified, 5)
    clean = by_kernel(stack, x, gradient)[0]
    x[4, 2] = np.nan
    out = by_kernel(stack, x, gradient)[0]
    assert np.isnan(out[4]).all()
    np.testing.assert_array_equal(np.delete(out, 4, 0), np.delete(clean, 4, 0))


def test_a_stack_keeps_its_numbers_filled_up():
    layers, rectified, *_ = drawn((5, 40, 17, 7), 1)
    stack = Stack(layers, rectified, 5)
    assert stack.widths.tolist() == [5, 40, 17, 7]
    assert stack.floors.tolist() == [ANY, ZERO, ZERO, ANY]
    assert stack.n_numbers == 16 + 48 + 32 + 16
    for one, other in zip(stack.gradients(stack.weights, stack.shifts), sum(layers, ()), strict=True):
        np.testing.assert_array_equal(one, other)
