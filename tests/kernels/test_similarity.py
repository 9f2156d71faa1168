"""Similar rows and neighbors' means against the definitions, pair by pair."""

import numpy as np
import pytest
import scipy.sparse as sp

from recsys.errors import ParameterError
from recsys.kernels.measures import CORATED, OVERLAP, Measure, Rows
from recsys.kernels.similarity import predict_pairs, similarity_table, top_k_similar, turned

OVERLAP_NAMES, CORATED_NAMES = sorted(OVERLAP), sorted(CORATED)
DAMPING = [(s, g, m) for s in (0.0, 2.5) for g in (0.0, 3.0) for m in (1, 2)]


def entries(matrix, row):
    """Column to value of a row's entries, stored zeros included."""
    low, high = matrix.indptr[row], matrix.indptr[row + 1]
    return dict(zip(matrix.indices[low:high].tolist(), matrix.data[low:high].tolist(), strict=True))


def overlap(name, a, b, shrinkage, alpha, beta):
    """Overlap measures of two rows: those of common columns over what both rows hold."""
    common = a.keys() & b.keys()
    n, product = len(common), sum(a[c] * b[c] for c in common)
    norm_a, norm_b = sum(x * x for x in a.values()), sum(x * x for x in b.values())
    top, bottom = {
        "cosine": (product, np.sqrt(norm_a * norm_b)),
        "asymmetric": (product, norm_a**alpha * norm_b ** (1 - alpha)),
        "jaccard": (n, len(a.keys() | b.keys())),
        "dice": (n, (len(a) + len(b)) / 2),
        "tversky": (n, n + alpha * (len(a) - n) + beta * (len(b) - n)),
    }[name]
    return top / (bottom + shrinkage) if bottom + shrinkage > 0 else 0.0


def corated(name, a, b):
    """Measures of two rows over their common columns alone."""
    common = sorted(a.keys() & b.keys())
    x, y = np.array([a[c] for c in common]), np.array([b[c] for c in common])
    if name == "msd":
        return 1 / (np.mean((x - y) ** 2) + 1)
    if name == "euclidean":
        return 1 / (np.linalg.norm(x - y) + 1)
    if name == "corated_pearson":
        x, y = x - x.mean(), y - y.mean()
    norms = np.sqrt((x**2).sum() * (y**2).sum())
    return (x * y).sum() / norms if norms > 1e-9 else 0.0


def twin(name, a, b, shrinkage=0.0, significance=0.0, min_support=1, alpha=0.5, beta=0.5):
    """The similarity of two rows, each a dict of column to value."""
    n = len(a.keys() & b.keys())
    if n < min_support:
        return 0.0
    if name in OVERLAP or name == "corated_jaccard":
        s = overlap(name.removeprefix("corated_"), a, b, shrinkage, alpha, beta)
    else:
        s = corated(name, a, b) * n / (n + shrinkage)
    return s * (min(n, significance) / significance if significance else 1)


def similarities(name, queries, matrix, **how):
    """All of them: (Q, n)."""
    rows = [entries(matrix, j) for j in range(matrix.shape[0])]
    return np.array([[twin(name, entries(queries, i), row, **how) for row in rows] for i in range(queries.shape[0])])


def measure(name, **how):
    return Measure({**OVERLAP, **CORATED}[name], **how)


def strangers(queries):
    """Queries that are no rows of the matrix."""
    return np.full(queries.shape[0], -1)


def random_matrix(n=14, m=9, seed=0, density=0.45):
    """Half-point ratings with an empty row, a row of one entry and a constant row."""
    rng = np.random.default_rng(seed)
    dense = rng.integers(1, 11, (n, m)) / 2 * (rng.random((n, m)) < density)
    dense[3] = 0
    dense[5] = np.eye(m)[2] * 4
    dense[7] = 3
    return sp.csr_matrix(dense)


def assert_lists_the_best(near, values, wanted, exclude_self):
    """The lists hold the positive similarities of `wanted` (Q, n), largest first; which of nearly equal ones is left open."""
    wanted = wanted.copy()
    if exclude_self:
        np.fill_diagonal(wanted, 0)
    n_listed = np.minimum((wanted > 1e-7).sum(1), near.shape[1])
    np.testing.assert_array_equal((near >= 0).sum(1), n_listed)
    for row, n in enumerate(n_listed):
        assert (near[row, n:] == -1).all()
        assert (values[row, n:] == 0).all()
        assert len(set(near[row, :n])) == n
        np.testing.assert_allclose(values[row, :n], wanted[row, near[row, :n]], rtol=1e-5)
        np.testing.assert_allclose(values[row, :n], np.sort(wanted[row])[::-1][:n], rtol=1e-5)


@pytest.mark.parametrize("shrinkage, significance, min_support", DAMPING)
@pytest.mark.parametrize("name", OVERLAP_NAMES + CORATED_NAMES)
def test_rows_list_their_most_similar_rows(name, shrinkage, significance, min_support):
    matrix = random_matrix()
    how = {"shrinkage": shrinkage, "significance": significance, "min_support": min_support}
    wanted = similarities(name, matrix, matrix, **how)
    for k in (1, 4, 30):
        near, values = top_k_similar(matrix, Rows.of(matrix), k, measure(name, **how))
        assert_lists_the_best(near, values, wanted, exclude_self=True)


@pytest.mark.parametrize("name", ["asymmetric", "tversky"])
@pytest.mark.parametrize("alpha, beta", [(0.0, 0.0), (0.2, 1.5), (1.0, 0.3)])
def test_weights_of_the_two_rows_are_not_swapped(name, alpha, beta):
    matrix = random_matrix(seed=1)
    near, values = top_k_similar(matrix, Rows.of(matrix), 5, measure(name, alpha=alpha, beta=beta))
    wanted = similarities(name, matrix, matrix, alpha=alpha, beta=beta)
    assert_lists_the_best(near, values, wanted, exclude_self=True)


@pytest.mark.parametrize("name", ["cosine", "corated_pearson", "msd"])
def test_queries_need_not_be_rows_of_the_matrix(name):
    matrix, queries = random_matrix(), random_matrix(9, seed=2)
    near, values = top_k_similar(queries, Rows.of(matrix), 5, measure(name), own=strangers(queries))
    assert_lists_the_best(near, values, similarities(name, queries, matrix), exclude_self=False)


@pytest.mark.parametrize("name", ["cosine", "jaccard", "dice"])
def test_a_row_is_most_similar_to_itself_where_it_may_be(name):
    matrix = random_matrix()
    near, values = top_k_similar(matrix, Rows.of(matrix), 1, measure(name), own=strangers(matrix))
    filled = np.diff(matrix.indptr) > 0
    np.testing.assert_array_equal(near[filled, 0], np.flatnonzero(filled))
    np.testing.assert_allclose(values[filled, 0], 1, rtol=1e-6)
    assert (near[~filled] == -1).all()


def test_equal_similarities_go_to_the_smaller_code_in_whatever_order_rows_are_met():
    # Column 0 meets the even rows first, column 1 all rows: codes do not come in ascending order.
    dense = np.zeros((41, 3))
    dense[2::2, 0] = dense[1:, 1] = dense[0, :2] = 1
    near, values = top_k_similar(sp.csr_matrix(dense[:1]), Rows.of(sp.csr_matrix(dense)), 25, measure("cosine"))
    np.testing.assert_array_equal(near[0], [*range(2, 41, 2), 1, 3, 5, 7, 9])
    np.testing.assert_allclose(values[0], [1.0] * 20 + [0.5**0.5] * 5, rtol=1e-6)


def test_similarities_of_zero_and_below_are_not_listed():
    matrix = sp.csr_matrix(np.array([[1.0, 2, 0], [2.0, 1, 0], [1.0, 3, 0], [0, 0, 5.0]]))
    near, values = top_k_similar(matrix, Rows.of(matrix), 3, measure("corated_pearson"))
    np.testing.assert_array_equal(near, [[2, -1, -1], [-1] * 3, [0, -1, -1], [-1] * 3])
    np.testing.assert_allclose(values[[0, 2], 0], 1, rtol=1e-6)


def test_a_stored_zero_is_an_entry():
    matrix = sp.csr_matrix((np.array([0.0, 2.0, 0.0, 2.0]), np.array([0, 1, 0, 1]), np.array([0, 2, 4])), shape=(2, 2))
    _, values = top_k_similar(matrix, Rows.of(matrix), 1, measure("cosine", min_support=2))
    np.testing.assert_allclose(values, 1)
    _, values = top_k_similar(matrix, Rows.of(matrix), 1, measure("corated_pearson"))
    np.testing.assert_allclose(values, 1)


@pytest.mark.parametrize("shape", [(1, 4), (1, 1), (3, 1)])
def test_matrices_without_entries_or_of_one_row_have_no_neighbors(shape):
    for matrix in (sp.csr_matrix(shape), sp.csr_matrix(np.eye(*shape))):
        near, values = top_k_similar(matrix, Rows.of(matrix), 2, measure("cosine"))
        assert near.shape == values.shape == (shape[0], 2)
        assert (near == -1).all()
        assert (values == 0).all()


def test_no_queries_have_no_lists():
    matrix = random_matrix()
    near, values = top_k_similar(matrix[:0], Rows.of(matrix), 3, measure("cosine"))
    assert near.shape == values.shape == (0, 3)


@pytest.mark.parametrize("name", ["cosine", "corated_pearson"])
def test_lists_do_not_depend_on_threads_or_on_other_queries(name):
    matrix = random_matrix(300, 40, density=0.1)
    rows = Rows.of(matrix)
    expected = top_k_similar(matrix, rows, 8, measure(name), n_jobs=1)
    for n_jobs in (2, 3, -1):
        for got, wanted in zip(top_k_similar(matrix, rows, 8, measure(name), n_jobs=n_jobs), expected, strict=True):
            np.testing.assert_array_equal(got, wanted)
    alone = top_k_similar(matrix[200:210], rows, 9, measure(name), own=strangers(matrix[200:210]))
    for i in range(10):
        others = alone[0][i] != 200 + i
        np.testing.assert_array_equal(alone[0][i][others][:8], expected[0][200 + i])
        np.testing.assert_array_equal(alone[1][i][others][:8], expected[1][200 + i])


def test_fewer_than_one_neighbor_is_refused():
    matrix = random_matrix()
    with pytest.raises(ParameterError, match="k must be"):
        top_k_similar(matrix, Rows.of(matrix), 0, measure("cosine"))
    with pytest.raises(ParameterError, match="k must be"):
        predict_pairs(*pairs_of(matrix), 0, 1, measure("cosine"))


def pairs_of(matrix, seed=4):
    """Every row asked about every other of 6, in a random order: what `predict_pairs` takes before k."""
    rng = np.random.default_rng(seed)
    given = sp.csr_matrix(rng.normal(size=(6, matrix.shape[0])) * (rng.random((6, matrix.shape[0])) < 0.6))
    pair_indptr = np.arange(matrix.shape[0] + 1) * 6
    pair_other = np.concatenate([rng.permutation(6) for _ in range(matrix.shape[0])])
    return matrix, np.arange(matrix.shape[0]), Rows.of(matrix), pair_indptr, pair_other, given


def predicted(name, queries, own, matrix, pair_indptr, pair_other, given, k, min_k, opposite=False, **how):
    """The definition of `predict_pairs`, a pair at a time."""
    table, out = similarities(name, queries, matrix, **how), []
    for query in range(queries.shape[0]):
        for other in pair_other[pair_indptr[query] : pair_indptr[query + 1]]:
            values = entries(given, other)
            # In single precision ties are ties, and they go to the smaller row.
            strength = abs(table[query]) if opposite else table[query]
            near = [(-np.float32(strength[row]), row) for row in values if row != own[query]]
            near = [row for negative, row in sorted(near) if negative < 0][:k]
            weights = [table[query, row] for row in near]
            enough = len(near) >= max(min_k, 1)
            out.append(np.dot(weights, [values[row] for row in near]) / sum(np.abs(weights)) if enough else np.nan)
    return np.array(out)


@pytest.mark.parametrize(
    "k, min_k, opposite", [(1, 1, False), (3, 1, False), (3, 3, True), (50, 4, False), (2, 1, True)]
)
@pytest.mark.parametrize("name", OVERLAP_NAMES + CORATED_NAMES)
def test_pairs_are_weighted_means_over_the_nearest_rows(name, k, min_k, opposite):
    matrix = random_matrix(seed=7)
    queries, own, rows, *pairs = pairs_of(matrix)
    how = {"shrinkage": 1.0, "significance": 4.0}
    found = predict_pairs(queries, own, rows, *pairs, k, min_k, measure(name, **how), opposite=opposite)
    wanted = predicted(name, queries, own, matrix, *pairs, k, min_k, opposite, **how)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)
    assert np.isnan(wanted).any()
    assert np.isfinite(wanted).any()


def test_a_stranger_has_no_row_to_leave_out():
    matrix, queries = random_matrix(), random_matrix(seed=9)
    _, _, rows, *pairs = pairs_of(matrix)
    strangers = np.full(len(pairs[0]) - 1, -1)
    found = predict_pairs(queries, strangers, rows, *pairs, 3, 1, measure("cosine"))
    np.testing.assert_allclose(
        found, predicted("cosine", queries, strangers, matrix, *pairs, 3, 1), rtol=1e-5, atol=1e-7
    )
    known = np.arange(len(strangers))
    assert not np.array_equal(
        found, predict_pairs(queries, known, rows, *pairs, 3, 1, measure("cosine")), equal_nan=True
    )


def test_queries_may_ask_about_any_number_of_others():
    matrix = random_matrix()
    queries, own, rows, _, _, given = pairs_of(matrix)
    counts = np.array([0, 3, 0, 1, 6, 0, 0, 2, 0, 0, 0, 0, 5, 0])
    indptr, others = np.concatenate([[0], np.cumsum(counts)]), np.arange(counts.sum()) % 6
    found = predict_pairs(queries, own, rows, indptr, others, given, 4, 1, measure("msd"))
    wanted = predicted("msd", queries, own, matrix, indptr, others, given, 4, 1)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)
    nobody = predict_pairs(queries, own, rows, np.zeros(15, np.int64), others[:0], given, 4, 1, measure("msd"))
    assert nobody.shape == (0,)


def test_of_equally_near_rows_the_smaller_ones_count():
    matrix = sp.csr_matrix(np.ones((5, 1)))
    given = sp.csr_matrix(np.array([[0, 0, 1.0, 10.0, 100.0]]))
    pairs = np.array([0, 1]), np.array([0])
    for k, wanted in ((1, 1.0), (2, 5.5), (3, 37.0)):
        found = predict_pairs(matrix[:1], np.array([0]), Rows.of(matrix), *pairs, given, k, 1, measure("cosine"))
        np.testing.assert_allclose(found, [wanted])


def test_means_do_not_depend_on_threads():
    matrix = random_matrix(120, 30, density=0.2)
    parts = pairs_of(matrix)
    expected = predict_pairs(*parts, 5, 1, measure("corated_pearson"), n_jobs=1)
    for n_jobs in (2, 3, -1):
        np.testing.assert_array_equal(predict_pairs(*parts, 5, 1, measure("corated_pearson"), n_jobs), expected)


def test_index_arrays_of_any_layout_are_read():
    queries, own, rows, indptr, other, given = pairs_of(random_matrix())
    expected = predict_pairs(queries, own, rows, indptr, other, given, 5, 1, measure("cosine"))
    frozen = own.astype(np.int32)
    frozen.flags.writeable = False
    strided = np.repeat(other, 2)[::2]
    found = predict_pairs(queries, frozen, rows, indptr.astype(np.int32), strided, given, 5, 1, measure("cosine"))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", OVERLAP_NAMES)
@pytest.mark.parametrize("density", [0.05, 0.6])
def test_sets_are_compared_by_counts_alone_whether_many_rows_are_met_or_few(name, density):
    rng = np.random.default_rng(3)
    matrix = sp.csr_matrix((rng.random((60, 40)) < density).astype(float))
    how = {"shrinkage": 0.5, "significance": 3.0, "min_support": 2, "alpha": 0.3, "beta": 0.8}
    near, values = top_k_similar(matrix, Rows.of(matrix), 9, measure(name, **how))
    assert_lists_the_best(near, values, similarities(name, matrix, matrix, **how), exclude_self=True)


@pytest.mark.parametrize("name", ["jaccard", "dice", "tversky"])
def test_measures_of_sets_overlook_what_the_entries_are(name):
    matrix = random_matrix()
    ones = sp.csr_matrix((np.ones(matrix.nnz), matrix.indices, matrix.indptr), shape=matrix.shape)
    for mine, theirs in zip(
        top_k_similar(matrix, Rows.of(matrix), 5, measure(name)),
        top_k_similar(ones, Rows.of(ones), 5, measure(name)),
        strict=True,
    ):
        np.testing.assert_array_equal(mine, theirs)


def test_a_row_of_zeros_alone_is_like_nothing():
    matrix = sp.csr_matrix((np.array([0.0, 1.0, 2.0]), np.array([0, 0, 0]), np.array([0, 1, 2, 3])), shape=(3, 1))
    near, values = top_k_similar(matrix, Rows.of(matrix), 2, measure("cosine"))
    np.testing.assert_array_equal(near, [[-1, -1], [2, -1], [1, -1]])
    np.testing.assert_allclose(values, [[0, 0], [1, 0], [1, 0]])


@pytest.mark.parametrize("name", OVERLAP_NAMES + CORATED_NAMES)
def test_a_table_holds_all_similarities_negative_ones_too(name):
    matrix, queries = random_matrix(seed=5), random_matrix(9, seed=6)
    how = {"shrinkage": 1.5, "min_support": 2}
    wanted = similarities(name, queries, matrix, **how)
    for n_jobs in (1, 2):
        found = similarity_table(queries, Rows.of(matrix), measure(name, **how), n_jobs=n_jobs)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)
    assert (wanted < 0).any() == (name == "corated_pearson")


def test_rows_by_columns_are_those_by_rows():
    matrix = random_matrix()
    for mine, theirs in zip(Rows.of(matrix), Rows.of(sp.csc_matrix(matrix)), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_turned_lists_are_the_transposed_matrix_of_the_lists():
    rng = np.random.default_rng(0)
    near = np.array([rng.permutation(9)[:4] for _ in range(13)], np.int32)
    near[rng.random(near.shape) < 0.3] = -1
    near[5] = -1  # a list without entries; row 8 may be in none
    near[near == 8] = -1
    values = rng.normal(size=near.shape).astype(np.float32)
    table = np.zeros((9, 13), np.float32)
    for q, n in zip(*np.nonzero(near >= 0), strict=True):
        table[near[q, n], q] = values[q, n]
    found = turned(near, values, 9)
    np.testing.assert_array_equal(found.toarray(), table)
    assert found.nnz == (near >= 0).sum()
    assert all((np.diff(found.indices[a:b]) > 0).all() for a, b in zip(found.indptr, found.indptr[1:], strict=False))
