"""The hash of categories against its published definitions, in Python's own integers."""

import numpy as np
import pytest
from tests.kernels.splitmix import drawn

from recsys.data.hashing import buckets, fnv1a, mixed

WHOLE = 2**64 - 1
WORDS = ["", "a", "foobar", "tea", "Grüner Tee", "日本茶", "\ud800", "x" * 300]


def fnv1a_by_hand(text):
    h = 0xCBF29CE484222325
    for byte in text.encode("utf-8", "surrogatepass"):
        h = ((h ^ byte) * 0x100000001B3) & WHOLE
    return h


def mixed_by_hand(key):
    z = (key + 0x9E3779B97F4A7C15) & WHOLE
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & WHOLE
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & WHOLE
    return z ^ (z >> 31)


@pytest.mark.parametrize(
    "text, expected", [("", 0xCBF29CE484222325), ("a", 0xAF63DC4C8601EC8C), ("foobar", 0x85944171F73967E8)]
)
def test_strings_have_the_published_hash(text, expected):
    assert fnv1a(np.array([text], object)).tolist() == [expected]


def test_many_strings_are_hashed_as_one_is():
    found = fnv1a(np.array(WORDS, object))
    assert found.tolist() == [fnv1a_by_hand(word) for word in WORDS]


def test_no_strings_have_no_hashes():
    assert len(fnv1a(np.empty(0, object))) == 0


def test_keys_are_mixed_as_by_the_published_generator():
    assert mixed(np.array([1234567], np.uint64)).tolist() == [6457827717110365317]
    assert int(mixed(np.array([5], np.uint64))[0]) >> 32 == drawn(5, 0, 2**32)


@pytest.mark.parametrize("n_buckets", [1, 2, 10, 2**20, 2**31 - 1])
def test_buckets_are_remainders_of_mixed_keys(n_buckets):
    integers = np.array([0, 1, -1, 2**62, -(2**63), 17])
    assert buckets(integers, n_buckets).tolist() == [
        mixed_by_hand(int(value) & WHOLE) % n_buckets for value in integers
    ]
    strings = np.array(WORDS, object)
    assert buckets(strings, n_buckets).tolist() == [mixed_by_hand(fnv1a_by_hand(word)) % n_buckets for word in WORDS]


def test_integers_of_every_width_have_one_bucket():
    values = [0, 3, 100]
    expected = buckets(np.array(values), 1000).tolist()
    for dtype in (np.int8, np.uint8, np.int32, np.uint64):
        assert buckets(np.array(values, dtype), 1000).tolist() == expected


@pytest.mark.parametrize("kind", ["integers in a row", "strings in a row"])
def test_categories_spread_evenly_over_buckets(kind):
    values = np.arange(64_000)
    given = values if kind.startswith("integers") else np.array([f"item-{value}" for value in values], object)
    counts = np.bincount(buckets(given, 64), minlength=64)
    # Chi-squared of 63 degrees of freedom is below 120 but once in 20,000 times.
    assert ((counts - 1000) ** 2 / 1000).sum() < 120
