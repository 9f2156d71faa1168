"""Members of bags that count and the gradient of sums over bags, against plain loops."""

import numpy as np
import pytest

from recsys.kernels import bags
from recsys.kernels.bags import bag_gradient, nonzero_members

N_ROWS = 9


def problem(dim, dtype, n_bags=40):
    """Codes with some that are no member, offsets with empty bags, weights, and the gradient of the sums."""
    rng = np.random.default_rng(dim)
    lengths = rng.integers(0, 6, n_bags)
    codes = rng.integers(-1, N_ROWS - 1, lengths.sum())
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return codes, offsets, rng.normal(size=len(codes)).astype(dtype), rng.normal(size=(n_bags, dim)).astype(dtype)


def twin(codes, offsets, weights, gradient):
    out = np.zeros((N_ROWS, gradient.shape[1]))
    for bag in range(len(offsets) - 1):
        for at in range(offsets[bag], offsets[bag + 1]):
            if codes[at] >= 0:
                out[codes[at]] += float(weights[at]) * gradient[bag]
    return out


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dim", [1, 3, 16, 50, 200])
def test_the_gradient_is_that_of_a_loop(dim, dtype):
    parts = problem(dim, dtype)
    out = np.full((N_ROWS, dim), np.nan, dtype)
    bag_gradient(*parts, out)
    np.testing.assert_allclose(out, twin(*parts), rtol=1e-5, atol=1e-5)
    # No bag has the last row.
    assert not out[-1].any()


def test_threads_do_not_change_a_bit(monkeypatch):
    monkeypatch.setattr(bags, "SMALL", 0)
    parts, found = problem(16, np.float32), []
    for n_jobs in (1, 2, 3):
        out = np.full((N_ROWS, 16), np.nan, np.float32)
        bag_gradient(*parts, out, n_jobs)
        found.append(out)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_without_a_member_all_is_zero():
    out = np.full((3, 2), np.nan, np.float32)
    bag_gradient(np.full(2, -1), np.array([0, 2]), np.ones(2, np.float32), np.ones((1, 2), np.float32), out)
    assert not out.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_members_that_are_not_zero_stay_in_their_bags(dtype):
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 4, 30)
    values = rng.integers(-1, 2, lengths.sum()).astype(dtype)
    values[0] = np.nan
    places, kept = nonzero_members(lengths, values)
    np.testing.assert_array_equal(places, np.flatnonzero(values))
    ends = lengths.cumsum()
    assert kept.tolist() == [np.count_nonzero(values[end - n : end]) for n, end in zip(lengths, ends, strict=True)]
    nothing = nonzero_members(np.zeros(3, np.int64), np.empty(0, dtype))
    assert [one.tolist() for one in nothing] == [[], [0, 0, 0]]
