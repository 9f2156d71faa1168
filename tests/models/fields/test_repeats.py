import numpy as np

from recsys.families.slots import Slots
from recsys.models.fields.repeats import merged


def slots(codes: list[list[int]], values: list[list[float]]) -> Slots:
    """A category of 4 codes, and three tags of 3."""
    return Slots(np.array(codes), np.array(values, np.float32), (0, 1, 1, 1), (False,) * 4, (4, 3))


def test_a_tag_named_twice_is_one_feature_with_the_sum_of_the_values() -> None:
    given = slots([[2, 1, 2, 1], [3, 0, 0, 0], [1, 2, -1, -1]], [[1, 0.2, 0.3, 0.5], [1, 0.1, 0.2, 0.3], [1, 1, 0, 0]])
    found = merged(given)
    np.testing.assert_array_equal(found.codes, [[2, 1, 2, -1], [3, 0, -1, -1], [1, 2, -1, -1]])
    np.testing.assert_allclose(found.values, [[1, 0.7, 0.3, 0], [1, 0.6, 0, 0], [1, 1, 0, 0]], rtol=1e-6)
    np.testing.assert_array_equal(given.codes[0], [2, 1, 2, 1])
    assert (found.fields, found.numeric, found.sizes) == (given.fields, given.numeric, given.sizes)


def test_distinct_tags_and_equal_codes_of_two_fields_stay() -> None:
    given = slots([[1, 1, 0, 2], [0, 0, 1, -1]], [[1, 0.2, 0.3, 0.5]] * 2)
    assert merged(given) is given
    none = slots([[-1, -1, -1, -1]], [[0, 0, 0, 0]])
    assert merged(none) is none
