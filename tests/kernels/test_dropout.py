"""The hash that decides on dropped numbers, against the same in NumPy."""

import numpy as np
import pytest

from recsys.kernels.dropout import GROUP, LANES, LEVELS, drop_numbers

FULL = 2**32 - 1


def dropped(x, share, seed):
    out = np.full_like(x, 99)
    drop_numbers(x, share, seed, out)
    return out


def twin(x, share, seed):
    """A number at a time."""
    limit, out = min(round(share * LEVELS), LEVELS - 1), np.zeros_like(x)
    for place in range(len(x)):
        group, within = divmod(place, GROUP)
        bits = (group * LANES + within % LANES) * 0x9E3779B9 + (seed & FULL) & FULL
        bits = (bits ^ bits >> 16) * 0x21F0AAAD & FULL
        bits = (bits ^ bits >> 15 ^ seed >> 32) * 0xD35A2D97 & FULL
        bits ^= bits >> 15
        half = bits & LEVELS - 1 if within < LANES else bits >> 16
        if half >= limit:
            out[place] = x[place] * x.dtype.type(LEVELS / (LEVELS - limit))
    return out


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [0, 1, 31, 32, 33, 1000])
@pytest.mark.parametrize("seed", [0, 2**63 - 25])
def test_numbers_are_dropped_as_by_a_loop(n, seed, dtype):
    x = np.random.default_rng(n).normal(size=n).astype(dtype)
    np.testing.assert_array_equal(dropped(x, 0.3, seed), twin(x, 0.3, seed))


def test_places_and_seeds_are_independent_of_each_other():
    n = 50_000
    kept = np.array([dropped(np.ones(n * GROUP, np.float32), 0.3, seed) > 0 for seed in (1, 2)])
    within = kept[0].reshape(n, GROUP)
    # Of n pairs: five standard deviations of a correlation that is 0.
    assert np.abs(np.corrcoef(within.T) - np.eye(GROUP)).max() < 5 / n**0.5
    far = kept.ravel()
    for apart in (LANES, GROUP, 1024, n * GROUP):
        assert abs(np.corrcoef(far[:-apart], far[apart:])[0, 1]) < 5 / (n * GROUP) ** 0.5


def test_a_share_below_the_steps_leaves_all_and_not_a_number_stays_one():
    x = np.full(100, np.nan, np.float32)
    assert np.isnan(dropped(x, 1e-6, 3)).all()
