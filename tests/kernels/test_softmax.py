"""Gradients of the softmax's log loss from logits in place, against the formula in NumPy."""

import numpy as np
import pytest
import torch

from recsys.kernels.layers import filled_up
from recsys.kernels.softmax import LANES, SMALL, softmax_gradient
from recsys.nn.bfloat16 import as_numpy


def drawn(n, n_columns, seed=0, most=5):
    """Logits whose rows are filled up with what must not count, and targets of rows, some of which have none."""
    rng = np.random.default_rng(seed)
    block = np.full((n, filled_up(n_columns, LANES)), np.nan, np.float32)
    block[:, :n_columns] = 3 * rng.normal(size=(n, n_columns))
    lengths = rng.integers(0, most, n)
    return block, rng.integers(0, n_columns, lengths.sum()), lengths.cumsum()


def twin(logits, targets, ends, share):
    """The loss, its gradient by logits, and its sum over rows."""
    logits = logits.astype(np.float64)
    lengths = np.diff(ends, prepend=0)
    counts = np.zeros_like(logits)
    np.add.at(counts, (np.repeat(np.arange(len(ends)), lengths), targets), 1)
    shifted = logits - logits.max(1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    gradient = share * (lengths[:, None] * np.exp(logs) - counts)
    return -(counts * logs).sum(), gradient, gradient.sum(0)


def found(block, n_columns, targets, ends, share=1.0, has_bias=True, n_jobs=1):
    """What the kernel makes of a copy, with the gradient put together."""
    block = block.copy()
    loss, scales, of_bias = softmax_gradient(block, n_columns, targets, ends, share, has_bias, n_jobs)
    return loss, block[:, :n_columns] * scales[:, None], of_bias


@pytest.mark.parametrize("n_columns", [1, 15, 16, 17, 1000])
@pytest.mark.parametrize("n", [0, 1, 30])
def test_loss_and_gradients_are_those_of_the_formula(n, n_columns):
    block, targets, ends = drawn(n, n_columns)
    wanted = twin(block[:, :n_columns], targets, ends, 0.3)
    for one, other in zip(found(block, n_columns, targets, ends, 0.3), wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-6, atol=2e-6)


def test_a_target_that_comes_twice_counts_twice_and_a_row_without_has_no_gradient():
    block = np.zeros((2, 16), np.float32)
    loss, gradient, of_bias = found(block, 2, np.array([1, 1]), np.array([2, 2]))
    assert loss == pytest.approx(2 * np.log(2))
    np.testing.assert_allclose(gradient, [[1, -1], [0, 0]])
    np.testing.assert_allclose(of_bias, [1, -1])


def test_exponentials_are_exact_to_the_last_digits_down_to_where_they_are_zero():
    logits = np.linspace(-100, 0, 16_000, dtype=np.float32)[None]
    block = logits.copy()
    softmax_gradient(block, logits.size, np.array([], np.int64), np.array([0]), 1.0, False, 1)
    exact = np.exp(logits.astype(np.float64))
    np.testing.assert_allclose(block[logits >= -87], exact[logits >= -87], rtol=2.5e-7)
    assert (block[logits < -87] == 0).all()


def test_far_apart_logits_stay_finite_and_no_number_is_told():
    block = np.zeros((3, 16), np.float32)
    block[0, 0], block[1, 1], block[2, 2] = 1e30, -1e30, np.nan
    loss, gradient, _ = found(block[:2], 3, np.array([0, 0]), np.array([1, 2]))
    assert loss == pytest.approx(np.log(2))
    np.testing.assert_allclose(gradient, [[0, 0, 0], [-0.5, 0, 0.5]], atol=1e-7)
    loss, gradient, _ = found(block, 3, np.array([0, 0, 0]), np.array([1, 2, 3]))
    assert np.isnan(loss)
    assert np.isnan(gradient[2]).any()
    assert np.isfinite(gradient[:2]).all()


def test_an_item_that_is_ruled_out_has_no_share():
    block = np.zeros((1, 16), np.float32)
    block[0, 1] = -np.inf
    loss, gradient, _ = found(block, 3, np.array([0]), np.array([1]))
    assert loss == pytest.approx(np.log(2))
    np.testing.assert_allclose(gradient, [[-0.5, 0, 0.5]])


def test_numbers_of_bfloat16_are_rounded_once():
    block, targets, ends = drawn(30, 100)
    narrow = torch.from_numpy(block).bfloat16()
    wide = narrow.float().numpy()
    loss, scales, of_bias = softmax_gradient(as_numpy(narrow), 100, targets, ends, 1.0, True, 1)
    assert loss == pytest.approx(found(wide, 100, targets, ends)[0])
    _, gradient, sums = twin(wide[:, :100], targets, ends, 1.0)
    # Half of the last of eight bits, of what is taken away too.
    largest = np.abs(gradient).max()
    np.testing.assert_allclose(narrow.float().numpy()[:, :100] * scales[:, None], gradient, atol=largest * 2**-8)
    np.testing.assert_allclose(of_bias, sums, atol=len(block) * largest * 2**-8)


@pytest.mark.parametrize("n_jobs", [2, 3])
def test_any_number_of_threads_finds_the_same(n_jobs):
    n_columns = 1000
    block, targets, ends = drawn(SMALL // n_columns + 7, n_columns)
    one, other = (found(block, n_columns, targets, ends, n_jobs=jobs) for jobs in (1, n_jobs))
    assert one[0] == other[0]
    np.testing.assert_array_equal(one[1], other[1])
    np.testing.assert_allclose(one[2], other[2], atol=1e-4)
