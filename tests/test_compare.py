"""`compare`: planted differences are found, equal models are told apart no more often than 5% of the time."""

from itertools import combinations
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import recsys
from recsys import EASE, Dataset, Popular, Random
from recsys.base import Query, Recommender
from recsys.compare import Comparison, difference_p, holm, p_values
from recsys.errors import DataError, ParameterError
from recsys.evaluation import Result


def results(figures: dict[str, np.ndarray], metric: str = "ndcg@10") -> dict[str, Result]:
    """Results of models by their figures of each user."""
    ids = np.arange(len(next(iter(figures.values()))))
    return {name: Result.of({metric: values}, ids, "user_id", {}) for name, values in figures.items()}


def planted(shifts: list[float], seed: int, n_users: int = 150) -> dict[str, Result]:
    """Models of one difficulty a user, apart in their means by `shifts`."""
    rng = np.random.default_rng(seed)
    users = rng.normal(size=n_users)
    return results({f"m{i}": users + rng.normal(size=n_users) * 0.5 + shift for i, shift in enumerate(shifts)})


# -- significance ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("test", ["bootstrap", "t"])
def test_a_planted_difference_is_found(test: Any) -> None:
    p = p_values(planted([0.0, 0.02, 0.5], seed=0), test, 0)["ndcg@10"]
    assert np.isnan(p["m2"])
    assert p["m0"] < 0.01
    assert p["m1"] < 0.01


@pytest.mark.parametrize("test", ["bootstrap", "t"])
@pytest.mark.parametrize("n_models", [2, 4])
def test_equal_models_are_rarely_told_apart(test: Any, n_models: int) -> None:
    runs = [p_values(planted([0.0] * n_models, seed), test, seed)["ndcg@10"].min() < 0.05 for seed in range(200)]
    # At 5% of 200 runs, 10 are expected, and more than 19 have a chance of one in 300.
    assert sum(runs) <= 19


def test_the_bootstrap_agrees_with_the_t_test() -> None:
    rng = np.random.default_rng(1)
    differences = rng.normal(size=(400, 5)) + np.array([0, 0.03, 0.06, 0.1, 0.15])
    one, other = (difference_p(differences, test, 0) for test in ("bootstrap", "t"))  # type: ignore[arg-type]
    np.testing.assert_allclose(one, other, atol=0.03)


def test_the_t_test_is_that_of_scipy_without_the_missing() -> None:
    rng = np.random.default_rng(2)
    differences = rng.normal(size=(50, 3))
    differences[:20, 1] = np.nan
    expected = [stats.ttest_1samp(column[~np.isnan(column)], 0).pvalue for column in differences.T]
    np.testing.assert_allclose(difference_p(differences, "t", 0), expected)


@pytest.mark.parametrize("test", ["bootstrap", "t"])
def test_differences_that_do_not_vary(test: Any) -> None:
    differences = np.column_stack([np.zeros(30), np.full(30, 0.1), np.full(30, np.nan)])
    p = difference_p(differences, test, 0)
    assert p[0] == 1
    assert p[1] < 0.001
    assert np.isnan(p[2])
    assert np.isnan(difference_p(np.ones((1, 1)), test, 0)).all()


def test_p_values_are_two_sided() -> None:
    differences = np.random.default_rng(3).normal(0.1, 1, size=(80, 1))
    for test in ("bootstrap", "t"):
        assert difference_p(differences, test, 0) == difference_p(-differences, test, 0)  # type: ignore[arg-type]


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.5, 0.9])), [1, 1])
    np.testing.assert_allclose(holm(np.array([0.04, np.nan, 0.01])), [0.04, np.nan, 0.02])
    assert len(holm(np.empty(0))) == 0


def test_p_values_are_corrected_for_all_pairs() -> None:
    given = planted([0.0, 0.05, 0.12, 0.4], seed=4)
    columns = {name: result.per_user["ndcg@10"].to_numpy() for name, result in given.items()}
    pairs = list(combinations(columns, 2))
    corrected = holm(np.array([stats.ttest_rel(columns[a], columns[b]).pvalue for a, b in pairs]))
    found = p_values(given, "t", 0)["ndcg@10"]
    for pair, p in zip(pairs, corrected, strict=True):
        if "m3" in pair:
            assert found[pair[0]] == pytest.approx(p)


def test_the_best_is_the_smallest_where_smaller_is_better() -> None:
    rng = np.random.default_rng(5)
    popular = results({"a": rng.random(50) + 9, "b": rng.random(50)}, "avg_popularity@10")
    found = p_values(popular, "t", 0)["avg_popularity@10"]
    assert np.isnan(found["b"])
    assert found["a"] < 0.01


def test_users_are_matched_by_their_ids() -> None:
    given = planted([0.0, 0.0], seed=6)
    shuffled = Result(given["m1"].means, given["m1"].per_user.sample(frac=1, random_state=0), {})
    pd.testing.assert_frame_equal(p_values(given, "t", 0), p_values({**given, "m1": shuffled}, "t", 0))


# -- comparing ---------------------------------------------------------------------------------------------------------


class Stubborn(Recommender):
    """A model that leaves notes on what it was fitted with."""

    seen: ClassVar[list[Any]] = []

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        self.seen.append((data, validation))

    def _score_items(self, query: Query) -> np.ndarray:
        return np.zeros((len(query), len(self.items_)), np.float32)


@pytest.fixture(scope="module")
def split() -> tuple[Dataset, Dataset]:
    """Users who walk stretches of a circle of items."""
    rng = np.random.default_rng(0)
    walks = [(f"u{u}", (start + step) % 50) for u in range(80) for start in [rng.integers(50)] for step in range(12)]
    return recsys.split.random(pd.DataFrame(walks, columns=["user_id", "item_id"]), 0.25, random_state=0)


@pytest.fixture(scope="module")
def table(split: tuple[Dataset, Dataset]) -> Comparison:
    models = {"popular": Popular(), "EASE": EASE(regularization=5.0), "random": Random()}
    return recsys.compare(models, *split, metrics=["recall@10", "ndcg@10", "coverage@10"])


def test_models_are_fitted_in_place_and_evaluated(table: Comparison, split: tuple[Dataset, Dataset]) -> None:
    model = EASE(regularization=5.0)
    found = recsys.compare({"EASE": model}, *split, metrics=["recall@10", "ndcg@10"])
    assert model.is_fitted
    assert dict(found.results["EASE"]) == dict(recsys.evaluate(model, split[1], ["recall@10", "ndcg@10"]))
    assert found.seconds["EASE"] > 0
    assert np.isnan(found.p_values.to_numpy()).all()


def test_the_better_model_is_told_from_the_others(table: Comparison) -> None:
    assert table.results["EASE"]["recall@10"] > 2 * table.results["popular"]["recall@10"]
    assert (table.p_values.loc[["popular", "random"], ["recall@10", "ndcg@10"]] < 0.05).all().all()
    assert table.p_values.loc["EASE"].isna().all()


def test_a_frame_has_a_row_a_model_and_metric(table: Comparison) -> None:
    frame = table.to_frame()
    assert list(frame.columns) == ["model", "metric", "value", "low", "high", "p_value"]
    assert len(frame) == 9
    row = frame.set_index(["model", "metric"]).loc[("popular", "ndcg@10")]
    assert row["value"] == table.results["popular"]["ndcg@10"]
    assert (row["low"], row["high"]) == table.results["popular"].ci()["ndcg@10"]
    assert row["p_value"] == table.p_values.loc["popular", "ndcg@10"]
    assert frame.loc[frame["metric"] == "coverage@10", ["low", "p_value"]].isna().all().all()


def test_a_table_marks_what_is_worse_than_the_best(table: Comparison) -> None:
    cells = table.table()
    assert list(cells.columns) == ["recall@10", "ndcg@10", "coverage@10", "fit s"]
    assert list(cells.index) == ["popular", "EASE", "random"]
    for metric in ("recall@10", "ndcg@10"):
        assert cells[metric].str.endswith("*").tolist() == [True, False, True]
        assert f"{table.results['EASE'][metric]:.4f} ±" in cells.loc["EASE", metric]
    assert not cells["coverage@10"].str.contains("±|\\*").any()
    for text in (repr(table), table._repr_html_()):
        assert cells.loc["popular", "recall@10"] in text
        assert "Holm" in text


def test_options_reach_the_evaluation(split: tuple[Dataset, Dataset]) -> None:
    models = {"popular": Popular(), "random": Random()}
    found = recsys.compare(models, *split, metrics="hit", k=[3, 5], candidates=("sampled", 9), random_state=4)
    assert list(found.results["popular"]) == ["hit@3(sampled-9)", "hit@5(sampled-9)"]
    expected = recsys.evaluate(
        models["popular"], split[1], ["hit@3", "hit@5"], candidates=("sampled", 9), random_state=4
    )
    assert dict(found.results["popular"]) == dict(expected)
    assert "hit@3(sampled-9)" in found.p_values


def test_all_models_see_one_training_and_one_validation_set(split: tuple[Dataset, Dataset]) -> None:
    Stubborn.seen.clear()
    train = split[0].to_frame()
    recsys.compare({"a": Stubborn(), "b": Stubborn()}, train, split[1], validation_data=split[1])
    (one, validation), (other, _) = Stubborn.seen
    assert one is other
    assert validation is split[1]


def test_models_of_equal_lists_do_not_differ(split: tuple[Dataset, Dataset]) -> None:
    found = recsys.compare({"a": Popular(), "b": Popular()}, *split, metrics=["ndcg@10"])
    assert sorted(found.p_values["ndcg@10"].fillna(-1)) == [-1, 1]


def test_metrics_of_rows_have_values_without_p() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"user_id": rng.integers(0, 9, 90), "item_id": rng.integers(0, 9, 90), "rating": 3.0})
    models = {"a": recsys.SVD(epochs=1, verbose=0), "b": recsys.SVD(epochs=2, verbose=0)}
    found = recsys.compare(models, frame.iloc[:60], frame.iloc[60:], "rmse")
    assert found.to_frame()["value"].notna().all()
    assert found.to_frame()["p_value"].isna().all()
    assert "rmse" in repr(found)


def test_arguments_that_cannot_be_are_named(split: tuple[Dataset, Dataset]) -> None:
    with pytest.raises(ParameterError, match=r"models=\{\}"):
        recsys.compare({}, *split)
    with pytest.raises(ParameterError, match=r"paired_test='wilcoxon' is not allowed; give one of bootstrap, t"):
        recsys.compare({"a": Popular()}, *split, paired_test="wilcoxon")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="frame is needed"):
        recsys.compare({"a": Popular()}, [1, 2], split[1])
