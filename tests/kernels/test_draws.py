"""Random numbers by place."""

import numpy as np

from recsys.kernels.draws import draw
from tests.kernels.splitmix import drawn


def test_draws_are_splitmix64():
    for seed in (0, 5, 2**63 - 1, 2**64 - 1):
        for n, bound in ((0, 7), (1, 1), (10**9, 2**31), (3, 41_000)):
            assert draw(np.uint64(seed), n, bound) == drawn(seed, n, bound)


def test_draws_are_even():
    counts = np.bincount([draw(np.uint64(3), n, 10) for n in range(20_000)], minlength=10)
    assert len(counts) == 10
    assert ((counts - 2000) ** 2 / 2000).sum() < 28  # chi-square of 9 degrees, one in a thousand
