import numpy as np
import pytest

from recsys.kernels import lookup
from recsys.kernels.lookup import TextTable


def packed(texts):
    """Texts as their bytes, one after the other, and where each begins."""
    blobs = [text.encode() for text in texts]
    return np.frombuffer(b"".join(blobs), np.uint8), np.cumsum([0, *map(len, blobs)])


def find(known, asked):
    return TextTable(*packed(known)).find(*packed(asked)).tolist()


def by_dictionary(known, asked):
    codes = {text: code for code, text in enumerate(known)}
    return [codes.get(text, -1) for text in asked]


@pytest.mark.parametrize("n_known", [1, 2, 3, 1000, 4096])
def test_codes_are_those_of_a_dictionary(n_known):
    rng = np.random.default_rng(n_known)
    lengths = rng.integers(0, 12, 3 * n_known)
    texts = list(dict.fromkeys("".join(rng.choice(list("ab東é"), length)) for length in lengths))
    known = texts[:n_known]
    asked = rng.choice(texts, 5 * n_known).tolist()
    assert find(known, asked) == by_dictionary(known, asked)


def test_an_empty_text_is_a_text():
    assert find(["a", ""], ["", "a", "b"]) == [1, 0, -1]
    assert find(["a"], [""]) == [-1]


def test_beginnings_of_a_text_are_others():
    assert find(["ab", "abc"], ["a", "ab", "abc", "abcd"]) == [-1, 0, 1, -1]


def test_a_table_of_nothing_knows_nothing():
    assert find([], ["a", ""]) == [-1, -1]
    assert find(["a"], []) == []


def test_the_hash_is_fnv_1a():
    # Test vectors of RFC 9923; the table folds the upper half in.
    for text, expected in [(b"", 0xCBF29CE484222325), (b"a", 0xAF63DC4C8601EC8C), (b"foobar", 0x85944171F73967E8)]:
        found = lookup._hash(np.frombuffer(text, np.uint8), 0, len(text))
        assert int(found) == expected ^ (expected >> 32)


def test_texts_of_one_tag_are_told_apart():
    known = ["a", "b", "c"]
    table = TextTable(*packed(known))
    # Every tag alike: the bytes alone decide.
    table.tags[:] = lookup._hash(np.frombuffer(b"x", np.uint8), 0, 1) >> np.uint64(32)
    assert table.find(*packed(["x"])).tolist() == [-1]


def test_a_crowded_table_ends_every_search():
    known = [f"{code}" for code in range(10_000)]
    asked = [f"{code}" for code in range(5_000, 15_000)]
    assert find(known, asked) == by_dictionary(known, asked)
    table = TextTable(*packed(known))
    assert (table.codes >= 0).sum() == 10_000 <= len(table.codes) / 2
