"""The k largest of many numbers against a sort of all of them."""

import numpy as np
import pytest

from recsys.kernels.strongest import LAST, SHELVES, strongest, unpacked


def listed(numbers, codes, k):
    """Lists of the kernel: codes and numbers, best first."""
    bits = np.asarray(numbers, np.float32).view(np.int32)
    shelves, keys, ties = np.zeros(SHELVES, np.int32), np.empty(k + 1, np.int64), np.empty(len(bits) + 1, np.int64)
    m = strongest(bits, np.asarray(codes, np.int32), len(bits), k, shelves, keys, ties)
    assert not shelves.any()  # for the next caller
    found, values = unpacked(keys[None, :m])
    return found[0].tolist(), values[0].tolist()


def sorted_lists(numbers, codes, k):
    pairs = [(float(np.float32(x)), int(code)) for x, code in zip(numbers, codes, strict=True) if np.float32(x) > 0]
    best = sorted(pairs, key=lambda pair: (-pair[0], pair[1]))[:k]
    return [code for _, code in best], [x for x, _ in best]


CASES = {
    "all different": lambda rng: rng.random(300),
    "few values": lambda rng: rng.integers(0, 4, 300) / 3,
    "all equal": lambda rng: np.full(300, 0.25),
    "mostly negative": lambda rng: rng.normal(-1, 1, 300),
    "none positive": lambda rng: -rng.random(300),
    "none": lambda rng: np.zeros(0),
    "one": lambda rng: np.ones(1),
    "close together": lambda rng: 1 + 1e-6 * rng.integers(0, 9, 300),
    "far apart": lambda rng: 10.0 ** rng.uniform(-37, 38, 300),
    "too small to have a shelf": lambda rng: 1e-40 * rng.integers(1, 9, 300),
    "infinite ones": lambda rng: np.where(rng.random(300) < 0.1, np.inf, rng.random(300)),
}


@pytest.mark.parametrize("k", [1, 2, 40, 299, 300, 301, 1000])
@pytest.mark.parametrize("case", CASES)
def test_lists_are_those_of_a_sort_with_ties_by_code(case, k):
    rng = np.random.default_rng(0)
    numbers = CASES[case](rng)
    codes = rng.permutation(len(numbers)) * 7 + 3
    assert listed(numbers, codes, k) == sorted_lists(numbers, codes, k)


def test_any_order_of_the_numbers_gives_the_same_list():
    rng = np.random.default_rng(1)
    numbers, codes = rng.integers(1, 20, 200) / 20, np.arange(200)
    expected = listed(numbers, codes, 30)
    for order in (np.argsort(numbers), np.argsort(-numbers), rng.permutation(200)):
        assert listed(numbers[order], codes[order], 30) == expected


def test_the_largest_code_comes_back():
    largest = np.int64(2**31 - 1)
    assert listed([0.5, 0.5], [largest, 0], 2) == ([0, largest], [0.5, 0.5])


def test_places_without_a_key_are_padded():
    one = (np.int64(np.float32(0.5).view(np.int32)) << 32) | (LAST - 6)
    codes, numbers = unpacked(np.array([[0, one, 0], [0, 0, 0]]))
    np.testing.assert_array_equal(codes, [[6, -1, -1], [-1, -1, -1]])
    np.testing.assert_array_equal(numbers, [[0.5, 0, 0], [0, 0, 0]])
