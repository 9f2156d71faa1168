"""Cross layers, x_{l+1} = x_0 * (W_l x_l + b_l) + x_l, forward and back to all gradients, on blocks of rows in the cache.

Wang et al., "DCN V2: Improved Deep & Cross Network and Practical Lessons for Web-scale Learning to Rank Systems", WWW
2021. Of a block the rows are kept and, layer by layer, what multiplies them; the layers' inputs are made again from it.
"""

import numpy as np
from numba import njit

from recsys.kernels.layers import add_back, add_gradients, cross_forward
from recsys.kernels.mlp import BLOCK_ROWS, Floats, Layers, Stack, columns, copy_rows, lines, matrix
from recsys.kernels.parallel import FAST


@njit(cache=True, nogil=True, **FAST)
def _cross(size, first, factors, inputs, out):  # pragma: no cover
    """out = inputs + first * factors, of the first so many numbers of matrices of one shape."""
    flat_first, flat_factors = first.reshape(-1), factors.reshape(-1)
    flat_inputs, flat_out = inputs.reshape(-1), out.reshape(-1)
    for i in range(size):
        flat_out[i] = flat_inputs[i] + flat_first[i] * flat_factors[i]


@njit(cache=True, nogil=True, **FAST)
def _cross_back(size, first, factors, of_output, of_factors, of_first):  # pragma: no cover
    """Gradients of both that are multiplied, of_factors anew and of_first added to; matrices as in `_cross`."""
    flat_first, flat_factors, flat_output = first.reshape(-1), factors.reshape(-1), of_output.reshape(-1)
    to_factors, to_first = of_factors.reshape(-1), of_first.reshape(-1)
    for i in range(size):
        to_factors[i] = flat_output[i] * flat_first[i]
        to_first[i] += flat_output[i] * flat_factors[i]


@njit(cache=True, nogil=True)
def _forward(x, turned, shifts, kept, out):  # pragma: no cover
    dim = x.shape[1]
    deep, width = lines(dim), columns(dim)
    # Layer by layer from one to the other and back; the first one reads what is kept.
    levels = np.empty((2, BLOCK_ROWS, width), np.float32)
    for start in range(0, len(x), BLOCK_ROWS):
        n, block = min(BLOCK_ROWS, len(x) - start), kept[start // BLOCK_ROWS]
        first = matrix(block, 0, BLOCK_ROWS, width)
        copy_rows(x[start : start + n], first)
        below = first
        for layer in range(len(shifts) // width):
            factors, above = matrix(block, (layer + 1) * BLOCK_ROWS * width, BLOCK_ROWS, width), levels[layer % 2]
            weight = matrix(turned, layer * deep * width, deep, width)
            cross_forward(below, weight, shifts[layer * width : (layer + 1) * width], first, n, factors, above)
            below = above
        copy_rows(below[:n], out[start:])


@njit(cache=True, nogil=True)
def _back(gradient, weights, kept, of_weights, of_shifts, of_x):  # pragma: no cover
    dim = gradient.shape[1]
    deep, width = lines(dim), columns(dim)
    n_layers, size = len(of_shifts) // width, BLOCK_ROWS * width
    inputs = np.empty((n_layers, BLOCK_ROWS, width), np.float32)
    # Rows behind the last one are read, by tiles of several, and never used.
    scratch = np.zeros((3, BLOCK_ROWS, width), np.float32)
    of_output, of_factors, of_first = scratch[0], scratch[1], scratch[2]
    for start in range(0, len(gradient), BLOCK_ROWS):
        n, block = min(BLOCK_ROWS, len(gradient) - start), kept[start // BLOCK_ROWS]
        first = matrix(block, 0, BLOCK_ROWS, width)
        inputs[0, :n] = first[:n]
        for layer in range(1, n_layers):
            _cross(n * width, first, matrix(block, layer * size, BLOCK_ROWS, width), inputs[layer - 1], inputs[layer])
        copy_rows(gradient[start : start + n], of_output)
        of_first[:] = 0
        for layer in range(n_layers - 1, -1, -1):
            factors = matrix(block, (layer + 1) * size, BLOCK_ROWS, width)
            _cross_back(n * width, first, factors, of_output, of_factors, of_first)
            of_weight = matrix(of_weights, layer * deep * width, deep, width)
            add_gradients(of_factors, 0, inputs[layer], n, of_weight, of_shifts[layer * width : (layer + 1) * width])
            add_back(of_factors, matrix(weights, layer * deep * width, deep, width), n, of_output)
        if len(of_x):
            of_output += of_first
            copy_rows(of_output[:n], of_x[start:])


class CrossStack(Stack):
    """Cross layers, at least one, each (D, D)."""

    def __init__(self, layers: Layers):
        super().__init__(layers, [False] * (len(layers) + 1), len(layers[0][1]))

    def forward(self, x: Floats, kept: Floats, out: Floats) -> None:
        """Rows (B, D) to rows of the same shape, in `out`."""
        _forward(x, self.turned, self.shifts, kept, out)

    def _add_back(self, gradient: Floats, kept: Floats, of_weights: Floats, of_shifts: Floats, of_x: Floats) -> None:
        _back(gradient, self.weights, kept, of_weights, of_shifts, of_x)
