"""Lookup of slots and its gradient, against plain loops."""

import numpy as np
import pytest

from recsys.errors import DataError
from recsys.kernels import slots
from recsys.kernels.slots import Layout, gather_slots, list_slots, scatter_slots, slots_beside

SIZES = np.array([7, 5, 30])
FIELD = np.array([0, 1, 1, 2, 1])


def problem(dim, owned):
    """Codes, values, weight, gradient and layout; with `owned` slots are added up by field, else each is its own."""
    rng = np.random.default_rng(dim)
    codes = (rng.random((37, len(FIELD))) * (SIZES[FIELD] + 1)).astype(np.int64) - 1
    values = rng.normal(size=codes.shape).astype(np.float32)
    first = np.cumsum([1, *SIZES])[:-1][FIELD]
    layout = Layout(first, FIELD if owned else np.arange(len(FIELD)), FIELD, 3 if owned else len(FIELD))
    weight = rng.normal(size=(1 + SIZES.sum(), dim)).astype(np.float32)
    gradient = rng.normal(size=(37, layout.n_owners, dim)).astype(np.float32)
    return codes, values, weight, gradient, layout


def gather_twin(codes, values, weight, layout):
    out = np.zeros((len(codes), layout.n_owners, weight.shape[1]))
    for (b, s), code in np.ndenumerate(codes):
        if code >= 0:
            out[b, layout.owner[s]] += float(values[b, s]) * weight[layout.first[s] + code]
    return out


def scatter_twin(codes, values, gradient, layout, n_rows):
    out = np.zeros((n_rows, gradient.shape[2]))
    for (b, s), code in np.ndenumerate(codes):
        if code >= 0:
            out[layout.first[s] + code] += float(values[b, s]) * gradient[b, layout.owner[s]]
    return out


@pytest.mark.parametrize("owned", [False, True])
@pytest.mark.parametrize("dim", [1, 10, 16, 37])
def test_vectors_are_values_times_rows_added_up_by_owner(dim, owned):
    codes, values, weight, _, layout = problem(dim, owned)
    # What code -1 reads is nothing, whatever the spare row holds.
    weight[0] = np.nan
    got = gather_slots(codes, values, weight, layout)
    np.testing.assert_allclose(got, gather_twin(codes, values, weight, layout), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("owned", [False, True])
@pytest.mark.parametrize("dim", [1, 10, 16, 37])
def test_the_gradient_is_that_of_a_loop_dense_and_by_rows(dim, owned):
    codes, values, weight, gradient, layout = problem(dim, owned)
    wanted = scatter_twin(codes, values, gradient, layout, len(weight))
    np.testing.assert_allclose(
        scatter_slots(codes, values, gradient, layout, len(weight)), wanted, rtol=1e-5, atol=1e-5
    )
    rows, moved = list_slots(codes, values, gradient, layout)
    assert len(rows) == (codes >= 0).sum()
    added = np.zeros_like(wanted)
    np.add.at(added, rows, moved)
    np.testing.assert_allclose(added, wanted, rtol=1e-5, atol=1e-5)


def test_any_number_of_threads_gives_the_same_bits(monkeypatch):
    monkeypatch.setattr(slots, "SMALL", 0)
    codes, values, weight, gradient, layout = problem(10, owned=True)
    one, three = (gather_slots(codes, values, weight, layout, n_jobs) for n_jobs in (1, 3))
    np.testing.assert_array_equal(one, three)
    one, three = (scatter_slots(codes, values, gradient, layout, len(weight), n_jobs) for n_jobs in (1, 3))
    np.testing.assert_array_equal(one, three)


def test_no_rows_and_no_slots_give_nothing():
    codes, values, weight, gradient, layout = problem(4, owned=True)
    assert gather_slots(codes[:0], values[:0], weight, layout).shape == (0, 3, 4)
    assert not scatter_slots(codes[:0], values[:0], gradient[:0], layout, len(weight)).any()
    bare = Layout(*(np.zeros(0, np.int64),) * 3, 0)
    assert gather_slots(codes[:, :0], values[:, :0], weight, bare).shape == (37, 0, 4)


def test_a_code_beyond_the_table_is_refused():
    codes, values, weight, _, layout = problem(4, owned=True)
    codes[5, 3] = SIZES[2]
    with pytest.raises(DataError, match="beyond its table"):
        gather_slots(codes, values, weight, layout)


def tables():
    codes, values, *_ = problem(4, owned=True)
    return [(codes[:9, :2].copy(), values[:9, :2].copy()), (codes[9:, 2:].copy(), values[9:, 2:].copy())]


def test_rows_of_tables_lie_beside_each_other_and_minus_one_is_the_last():
    rng = np.random.default_rng(1)
    rows = [rng.integers(-1, len(codes), 50) for codes, _ in tables()]
    codes, values = slots_beside(tables(), rows)
    assert codes.dtype == np.int64
    assert values.dtype == np.float32
    for b in range(50):
        places = [some[b] for some in rows]
        for found, at in ((codes, 0), (values, 1)):
            wanted = np.concatenate([table[at][place] for table, place in zip(tables(), places, strict=True)])
            np.testing.assert_array_equal(found[b], wanted)


@pytest.mark.parametrize("row", [9, -10])
def test_a_row_beyond_its_table_is_refused(row):
    with pytest.raises(DataError, match="row beyond their table"):
        slots_beside(tables(), [np.array([0, row]), np.array([0, 0])])
