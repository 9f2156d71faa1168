"""What tests of stacks share: a stack's way forward and back, and comparisons of all that comes of it."""

import numpy as np


def kept_by(stack, n_rows):
    """As it may come: what was in the memory before is nobody's."""
    return np.full(stack.kept_shape(n_rows), np.nan, np.float32)


def by_kernel(stack, x, gradient):
    """What comes out, the gradient of the rows, and those of weight and bias of each layer."""
    kept, of_x = kept_by(stack, len(x)), np.full(x.shape, np.nan, np.float32)
    out = np.full((len(x), stack.widths[-1]), np.nan, np.float32)
    stack.forward(x, kept, out)
    return out, of_x, stack.gradients(*stack.back(gradient, kept, of_x))


def close(found, wanted, atol=1e-4):
    """Output, gradient of the rows, and those of the weights beside what is wanted."""
    assert len(found[2]) == len(wanted[2])
    for one, other in zip((*found[:2], *found[2]), (*wanted[:2], *wanted[2]), strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=atol * max(1.0, np.abs(other).max()))


def rows_need_no_gradient(stack, x, gradient):
    """Gradients of the weights are the same where that of the rows is not asked for."""
    kept, out = kept_by(stack, len(x)), np.empty((len(x), stack.widths[-1]), np.float32)
    stack.forward(x, kept, out)
    with_rows = stack.back(gradient, kept, np.empty_like(x))
    for one, other in zip(stack.back(gradient, kept, None), with_rows, strict=True):
        np.testing.assert_array_equal(one, other)
