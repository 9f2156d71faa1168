"""Towers beside each other over ranges of rows: the sum of what each stack makes of them by itself."""

import numpy as np
import pytest

from recsys.kernels.cross import CrossStack
from recsys.kernels.mlp import BLOCK_ROWS, Stack
from recsys.kernels.towers import back_towers, forward_towers
from tests.kernels.stacks import close, kept_by


def drawn(n_rows):
    """Three towers over 5 numbers, of one, two and one stack; rows; and the gradient of 3 outputs."""
    rng = np.random.default_rng(0)

    def layer(below, above):
        return rng.normal(0, 0.5, (above, below)).astype(np.float32), rng.normal(size=above).astype(np.float32)

    towers = [
        [Stack([layer(5, 17), layer(17, 3)], [False, True, False], 5)],
        [CrossStack([layer(5, 5), layer(5, 5)]), Stack([layer(5, 3)], [False, False], 5)],
        [Stack([layer(5, 3)], [False, True], 5)],
    ]
    x, gradient = (rng.normal(size=(n_rows, width)).astype(np.float32) for width in (5, 3))
    return towers, x, gradient


def stack_by_stack(towers, x, gradient):
    outs, slopes, found = [], [], []
    for tower in towers:
        rows, widths = x, [5, *(int(one.widths[-1]) for one in tower)]
        kept = [kept_by(stack, len(x)) for stack in tower]
        for stack, numbers, width in zip(tower, kept, widths[1:], strict=True):
            above = np.empty((len(x), width), np.float32)
            stack.forward(rows, numbers, above)
            rows = above
        outs, slope, of_tower = [*outs, rows], gradient, []
        for stack, numbers, width in zip(tower[::-1], kept[::-1], widths[-2::-1], strict=True):
            below = np.empty((len(x), width), np.float32)
            of_tower = [*stack.gradients(*stack.back(slope, numbers, below)), *of_tower]
            slope = below
        slopes, found = [*slopes, slope], [*found, *of_tower]
    return sum(outs), sum(slopes), found


def together(towers, x, gradient, n_jobs=1):
    kept = [[kept_by(stack, len(x)) for stack in tower] for tower in towers]
    out, of_x = np.full((len(x), 3), np.nan, np.float32), np.full(x.shape, np.nan, np.float32)
    forward_towers(x, towers, kept, out, n_jobs)
    found = back_towers(gradient, towers, kept, of_x, n_jobs)
    without = back_towers(gradient, towers, kept, None, n_jobs)
    for one, other in zip(found, without, strict=True):
        np.testing.assert_array_equal(one, other)
    return out, of_x, found


@pytest.mark.parametrize("n_jobs", [1, 3])
@pytest.mark.parametrize("n_rows", [1, BLOCK_ROWS, 13 * BLOCK_ROWS + 5])
def test_outputs_and_gradients_of_rows_are_added_up(n_rows, n_jobs):
    problem = drawn(n_rows)
    close(together(*problem, n_jobs), stack_by_stack(*problem))


def test_threads_repeat_themselves():
    problem = drawn(13 * BLOCK_ROWS + 5)
    once, again = together(*problem, 3), together(*problem, 3)
    for one, other in zip((*once[:2], *once[2]), (*again[:2], *again[2]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_no_rows_have_gradients_of_zeros():
    towers, x, gradient = drawn(1)
    out, of_x, found = together(towers, x[:0], gradient[:0], 2)
    assert out.shape == (0, 3)
    assert of_x.shape == (0, 5)
    assert not any(one.any() for one in found)
