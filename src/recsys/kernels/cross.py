"""Cross layers, x_{l+1} = x_0 * (W_l x_l + b_l) + x_l, forward and back to all gradients, on blocks of rows in the cache.

Wang et al., "DCN V2: Improved Deep & Cross Network and Practical Lessons for Web-scale Learning to Rank Systems", WWW
2021. Of a block the rows are kept and, layer by layer, what multiplies them; the layers' inputs are made again from it.
"""

import numpy as np
from numba import njit

from recsys.kernels.layers import ANY, add_gradients, back, forward
from recsys.kernels.mlp import BLOCK_ROWS, Floats, Stack, columns, copy_rows, lines, matrix, over_blocks, summed
from recsys.kernels.parallel import FAST


@njit(cache=True, nogil=True, **FAST)
def _add_product(n, a, b, total, out):  # pragma: no cover
    """out[:n] = total[:n] + a[:n] b[:n], of matrices of one shape."""
    width = out.shape[1]
    flat_a, flat_b, flat_total, flat_out = a.reshape(-1), b.reshape(-1), total.reshape(-1), out.reshape(-1)
    for i in range(n * width):
        flat_out[i] = flat_total[i] + flat_a[i] * flat_b[i]


@njit(cache=True, nogil=True)
def _forward(start, stop, x, turned, shifts, kept, out):  # pragma: no cover
    dim = x.shape[1]
    deep, width = lines(dim), columns(dim)
    n_layers, inputs = len(shifts) // width, np.zeros((BLOCK_ROWS, width), np.float32)
    for start_row in range(start, stop, BLOCK_ROWS):
        n, block = min(BLOCK_ROWS, stop - start_row), kept[start_row // BLOCK_ROWS]
        first = matrix(block, 0, BLOCK_ROWS, width)
        copy_rows(x[start_row : start_row + n], first)
        copy_rows(first[:n], inputs)
        for layer in range(n_layers):
            factors = matrix(block, (layer + 1) * BLOCK_ROWS * width, BLOCK_ROWS, width)
            weight = matrix(turned, layer * deep * width, deep, width)
            forward(inputs, weight, shifts[layer * width : (layer + 1) * width], ANY, n, factors, 0)
            _add_product(n, first, factors, inputs, inputs)
        copy_rows(inputs[:n], out[start_row:])


@njit(cache=True, nogil=True)
def _back(start, stop, gradient, more, weights, kept, of_weights, of_shifts, of_x):  # pragma: no cover
    dim = of_x.shape[1]
    deep, width = lines(dim), columns(dim)
    n_layers, size = len(of_shifts) // width, BLOCK_ROWS * width
    inputs = np.zeros((n_layers, BLOCK_ROWS, width), np.float32)
    of_output, of_factors, of_first, of_inputs = (
        np.zeros((BLOCK_ROWS, width), np.float32), np.zeros((BLOCK_ROWS, width), np.float32),
        np.zeros((BLOCK_ROWS, width), np.float32), np.zeros((BLOCK_ROWS, width), np.float32),
    )  # fmt: skip
    for start_row in range(start, stop, BLOCK_ROWS):
        n, block = min(BLOCK_ROWS, stop - start_row), kept[start_row // BLOCK_ROWS]
        first = matrix(block, 0, BLOCK_ROWS, width)
        copy_rows(first[:n], inputs[0])
        for layer in range(1, n_layers):
            factors = matrix(block, layer * size, BLOCK_ROWS, width)
            _add_product(n, first, factors, inputs[layer - 1], inputs[layer])
        copy_rows(gradient[start_row : start_row + n], of_output)
        copy_rows(more[start_row : start_row + n], of_first)
        for layer in range(n_layers - 1, -1, -1):
            factors = matrix(block, (layer + 1) * size, BLOCK_ROWS, width)
            weight = matrix(weights, layer * deep * width, deep, width)
            of_inputs[:] = 0
            _add_product(n, of_output, first, of_inputs, of_factors)
            _add_product(n, of_output, factors, of_first, of_first)
            of_weight = matrix(of_weights, layer * deep * width, deep, width)
            add_gradients(of_factors, 0, inputs[layer], n, of_weight, of_shifts[layer * width : (layer + 1) * width])
            back(of_factors, 0, weight, inputs[layer], ANY, n, of_inputs)
            of_output += of_inputs
        of_output += of_first
        copy_rows(of_output[:n], of_x[start_row:])


def cross_rows(x: Floats, stack: Stack, kept: Floats, out: Floats, n_jobs: int) -> None:
    """Rows (B, D) through the layers of a stack, at least one, each (D, D), to `out` (B, D). `kept` is of
    `hidden_shape` and may come as it is."""

    def some(start: int, stop: int) -> None:
        _forward(start, stop, x, stack.turned, stack.shifts, kept, out)

    over_blocks(some, len(x), n_jobs)


def cross_rows_back(
    gradient: Floats, more: Floats, stack: Stack, kept: Floats, of_x: Floats, n_jobs: int
) -> list[Floats]:
    """Gradients of weight and bias of each layer, from that of the output (B, D); that of the rows in `of_x`, to which
    `more` (B, D) is added, what there is of it besides.

    Bitwise the same for one number of threads.
    """

    def some(start: int, stop: int) -> tuple[Floats, Floats]:
        found = stack.zeros()
        _back(start, stop, gradient, more, stack.weights, kept, *found, of_x)
        return found

    return stack.gradients(*summed(over_blocks(some, len(gradient), n_jobs)))
