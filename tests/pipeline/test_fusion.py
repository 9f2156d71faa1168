import numpy as np
import pytest

from recsys.pipeline.fusion import comparable, weight_grid
from tests.models.worked import Golden, near


def twin(scores: np.ndarray, method: str, rrf_k: float) -> np.ndarray:
    """The same, a number at a time."""
    out = np.zeros(scores.shape)
    for row, values in enumerate(scores.astype(float).tolist()):
        n = len(values)
        mean = sum(values) / n
        deviation = (sum((value - mean) ** 2 for value in values) / n) ** 0.5
        low, high = min(values), max(values)
        for at, value in enumerate(values):
            if method == "zscore":
                out[row, at] = (value - mean) / deviation if deviation else 0
            elif method == "minmax":
                out[row, at] = (value - low) / (high - low) if high > low else 0
            else:
                ahead = sum(other > value or (other == value and i < at) for i, other in enumerate(values))
                out[row, at] = 1 / (rrf_k + 1 + ahead)
    return out


def test_43_fusion(golden: Golden) -> None:
    g = golden("43_hybrid_sequence_cf")
    i, wanted = g["inputs"], g["expected"]
    tables = [np.array([i[name]], np.float32) for name in ("seq_scores", "cf_scores")]
    weights = (i["weight_seq"], 1 - i["weight_seq"])
    for method, name in (("zscore", "z_blend"), ("minmax", "minmax_blend")):
        blended = sum(w * comparable(table, method, 60) for w, table in zip(weights, tables, strict=True))
        near(blended[0], wanted[name])
    near(sum(comparable(table, "rrf", i["rrf_k"]) for table in tables)[0], wanted["rrf"])


@pytest.mark.parametrize("method", ["zscore", "minmax", "rrf"])
def test_rows_are_made_comparable_as_by_a_loop(method: str) -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 5, (20, 9)).astype(np.float32)
    scores[3] = 2
    np.testing.assert_allclose(comparable(scores, method, 7.0), twin(scores, method, 7.0), atol=1e-6)


@pytest.mark.parametrize("method", ["zscore", "minmax"])
def test_what_is_added_to_a_row_and_what_it_is_multiplied_with_says_nothing(method: str) -> None:
    scores = np.random.default_rng(1).normal(size=(4, 30)).astype(np.float32)
    np.testing.assert_allclose(comparable(100 + 5 * scores, method, 60), comparable(scores, method, 60), atol=1e-4)


def test_scores_far_from_0_keep_their_order() -> None:
    scores = np.array([[1e6, 1e6 + 1, 1e6 + 2]], np.float32)
    assert (np.diff(comparable(scores, "zscore", 60)) > 1).all()


@pytest.mark.parametrize("n_models, n_points", [(2, 21), (3, 231), (4, 286), (5, 126)])
def test_weights_of_the_grid_add_up_to_1_and_hold_each_model_alone(n_models: int, n_points: int) -> None:
    grid = weight_grid(n_models)
    assert len(grid) == n_points
    assert len(np.unique(grid, axis=0)) == n_points
    np.testing.assert_allclose(grid.sum(1), 1)
    assert (grid >= 0).all()
    assert sorted(grid[(grid == 1).any(1)].argmax(1).tolist()) == list(range(n_models))
