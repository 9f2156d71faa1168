"""Layers on a block of rows beside NumPy's products."""

import numpy as np
import pytest
from numpy.typing import NDArray

from recsys.kernels.layers import (
    ANY,
    ZERO,
    add_back,
    add_gradients,
    back,
    cross_forward,
    fill_up,
    forward,
    new_rows,
)  # fmt: skip

SHAPES = [(1, 1, 1), (4, 16, 16), (7, 5, 3), (9, 33, 20), (64, 20, 37)]
FIRST = 16
"""Columns before the layer's."""


def normal(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def behind(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """The matrix filled up, behind columns that are others'."""
    filled = fill_up(matrix)
    return np.hstack([np.full((len(filled), FIRST), 7, np.float32), filled])


def test_filled_up_matrices_keep_their_numbers() -> None:
    filled = fill_up(normal(5, 17))
    assert filled.shape == (8, 32)
    np.testing.assert_array_equal(filled[:5, :17], normal(5, 17))
    assert not filled[5:].any()
    assert not filled[:, 17:].any()


@pytest.mark.parametrize("floor", [ZERO, ANY])
@pytest.mark.parametrize("n, inner, outer", SHAPES)
def test_forward_is_a_product_and_a_floor(n: int, inner: int, outer: int, floor: np.float32) -> None:
    x, weight, shift = normal(n, inner), normal(outer, inner), normal(outer)
    above = behind(np.zeros((n, outer), np.float32))
    forward(fill_up(x), fill_up(weight.T), fill_up(shift[None])[0], floor, n, above, FIRST)
    wanted = np.maximum(x @ weight.T + shift, floor)
    np.testing.assert_allclose(above[:n, FIRST : FIRST + outer], wanted, rtol=1e-5, atol=1e-5)
    assert (above[:, :FIRST] == 7).all()
    assert not above[:, FIRST + outer :].any()


@pytest.mark.parametrize("floor", [ZERO, ANY])
@pytest.mark.parametrize("n, inner, outer", SHAPES)
def test_back_passes_what_is_above_the_floor(n: int, inner: int, outer: int, floor: np.float32) -> None:
    x, weight, gradient = normal(n, inner), normal(outer, inner), normal(n, outer)
    of_x = new_rows(n, inner)
    back(behind(gradient), FIRST, fill_up(weight), fill_up(x), floor, n, of_x)
    wanted = np.where(x > floor, gradient @ weight, 0)
    np.testing.assert_allclose(of_x[:n, :inner], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n, inner, outer", SHAPES)
def test_products_are_added_to_what_is_there(n: int, inner: int, outer: int) -> None:
    weight, gradient = normal(outer, inner), normal(n, outer)
    of_x = np.ones_like(new_rows(n, inner))
    add_back(fill_up(gradient), fill_up(weight), n, of_x)
    np.testing.assert_allclose(of_x[:n, :inner], 1 + gradient @ weight, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n, dim", [(1, 1), (3, 16), (21, 37)])
def test_a_cross_layer_multiplies_the_first_rows_and_adds(n: int, dim: int) -> None:
    x, first, weight, shift = normal(n, dim), normal(n, dim) + 1, normal(dim, dim), normal(dim)
    factors, above = new_rows(n, dim), new_rows(n, dim)
    cross_forward(fill_up(x), fill_up(weight.T), fill_up(shift[None])[0], fill_up(first), n, factors, above)
    wanted = x @ weight.T + shift
    np.testing.assert_allclose(factors[:n, :dim], wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(above[:n, :dim], x + first * wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n, inner, outer", SHAPES)
def test_gradients_of_weights_are_added_up_over_rows(n: int, inner: int, outer: int) -> None:
    x, gradient = normal(n, inner), normal(n, outer)
    of_weight, of_shift = np.ones_like(fill_up(normal(outer, inner))), np.ones_like(fill_up(normal(1, outer))[0])
    # Rows beyond the n-th are not looked at.
    beyond = np.full((4, 1), 1e9, np.float32)
    below, above = (np.vstack([one[:n], beyond + np.zeros_like(one[:1])]) for one in (fill_up(x), behind(gradient)))
    add_gradients(above, FIRST, below, n, of_weight, of_shift)
    np.testing.assert_allclose(of_weight[:outer, :inner], 1 + gradient.T @ x, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(of_shift[:outer], 1 + gradient.sum(0), rtol=1e-4, atol=1e-4)
    assert (of_weight[outer:] == 1).all()
