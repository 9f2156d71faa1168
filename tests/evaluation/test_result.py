"""Figures of rows, results, and what `evaluate` refuses."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

import recsys
from recsys import SVD, Dataset, DeepFM
from recsys.errors import DataError, NotFittedError, ParameterError, UnsupportedError
from recsys.metrics import Metric, rating
from tests.evaluation.planted import Given, table

# -- rows --------------------------------------------------------------------------------------------------------------


def test_rating_metrics_go_over_the_test_rows() -> None:
    rng = np.random.default_rng(0)
    frame = table(rng.integers(0, [15, 12], (200, 2)), rating=rng.integers(1, 6, 200).astype(float))
    train, test = frame.iloc[:150], frame.iloc[150:]
    model = SVD(epochs=3, n_factors=4, verbose=0).fit(train)
    found = recsys.evaluate(model, test, ["rmse", "mae", "fcp", "rmse(average=users)"])
    columns = (test["rating"], model.predict(test), test["user_id"])
    assert found["rmse"] == pytest.approx(rating.rmse(*columns))
    assert found["mae"] == pytest.approx(rating.mae(*columns))
    assert found["fcp"] == pytest.approx(rating.fcp(*columns))
    assert found["rmse(average=users)"] == pytest.approx(rating.rmse(*columns, average="users"))
    assert (found.counts, len(found.per_user)) == ({"rows": 50}, 0)


def test_label_metrics_go_over_the_test_rows() -> None:
    rng = np.random.default_rng(0)
    frame = table(rng.integers(0, [15, 12], (300, 2)), label=rng.integers(0, 2, 300))
    train, test = frame.iloc[:200], frame.iloc[200:]
    model = DeepFM(epochs=1, embedding_dim=2, hidden_dims=(4,), verbose=0).fit(train)
    found = recsys.evaluate(model, test, ["auc", "gauc", "gauc(weight=equal)", "logloss", "ndcg@5"])
    assert list(found) == ["auc", "gauc", "gauc(weight=equal)", "logloss", "ndcg@5"]
    assert found["auc"] == pytest.approx(roc_auc_score(test["label"], model.predict(test)))
    figures = [
        (len(rows), roc_auc_score(rows["label"], model.predict(rows)))
        for _, rows in test.groupby("user_id")
        if rows["label"].nunique() == 2
    ]
    weights, values = zip(*figures, strict=True)
    assert found["gauc"] == pytest.approx(np.average(values, weights=weights))
    assert found["gauc(weight=equal)"] == pytest.approx(np.mean(values))


def test_a_missing_column_of_truth_is_named(planted: Any, model: Given) -> None:
    with pytest.raises(UnsupportedError, match="rmse needs a rating column"):
        recsys.evaluate(model, planted[0], "rmse")
    with pytest.raises(UnsupportedError, match=r'auc needs a label column in the test data; .*"ranking_auc"'):
        recsys.evaluate(model, planted[0], "auc")


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [np.s_[:, :], np.s_[5, :], np.s_[:, 3]], ids=["all", "one user", "one item"])
@pytest.mark.parametrize("options", [{}, {"ties": "average"}, {"candidates": ("sampled", 30)}], ids=str)
def test_scores_that_are_nan_are_refused(planted: Any, where: Any, options: dict[str, Any]) -> None:
    model = Given().fit(planted[0])
    model.scores_[where] = np.nan
    with pytest.raises(DataError, match="Given gives scores that are NaN"):
        recsys.evaluate(model, planted[1], "recall@10", **options)


def test_scores_that_are_nan_have_no_auc(planted: Any) -> None:
    model = Given().fit(planted[0])
    model.scores_[4, 4] = np.nan
    with pytest.raises(DataError, match="Given gives scores that are NaN"):
        recsys.evaluate(model, planted[1], "ranking_auc")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_unknown": "raise"}, r"on_unknown='raise' is not allowed; give one of skip, popular"),
        ({"ties": "random"}, r"ties='random' is not allowed"),
        ({"candidates": "sampled"}, r"candidates='sampled' is not allowed; give \"full\" or"),
        ({"candidates": ("sampled", 0)}, r"candidates=0 is not allowed"),
        ({"candidates": ("popular", 10)}, r"candidates=\('popular', 10\) is not allowed"),
        ({"metrics": ["ndcg"]}, r"'ndcg' needs a cut-off"),
        ({"metrics": ["ndcg"], "k": [0]}, r"k=0 is not allowed"),
        ({"metrics": []}, r"metrics=\[\]"),
    ],
)
def test_arguments_that_cannot_be_are_named(planted: Any, model: Given, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        recsys.evaluate(model, planted[1], **options)


def test_an_unfitted_model_is_refused(planted: Any) -> None:
    with pytest.raises(NotFittedError, match="Given is not fitted"):
        recsys.evaluate(Given(), planted[1])


def test_nothing_to_find_is_refused(planted: Any, model: Given) -> None:
    with pytest.raises(DataError, match="no test user has a relevant item"):
        recsys.evaluate(model, planted[0])


def test_field_data_has_nobody_to_rank_for(planted: Any, model: Given) -> None:
    rows = pd.DataFrame({"label": [0, 1], "color": ["a", "b"]})
    data = Dataset(rows, user_col=None, item_col=None, context_cols=["color"])
    with pytest.raises(DataError, match="ranking metrics need users and items"):
        recsys.evaluate(model, data)
    field = DeepFM(epochs=1, embedding_dim=2, hidden_dims=(4,), verbose=0).fit(data)
    with pytest.raises(UnsupportedError, match="nothing to recommend"):
        recsys.evaluate(field, planted[1])
    with pytest.raises(DataError, match="users="):
        recsys.evaluate(field, data, "gauc")
    assert recsys.evaluate(field, data, "logloss")["logloss"] > 0


# -- the result --------------------------------------------------------------------------------------------------------


def test_a_result_is_a_mapping_in_the_order_asked_for(planted: Any, model: Given) -> None:
    own = Metric("first@3", "ranking", lambda rankings, k: rankings.hits[:, 0].astype(float), k=3)
    found = recsys.evaluate(model, planted[1], ["coverage@5", "recall", own, "rmse", "mrr@9"], k=[2, 4])
    assert list(found) == ["coverage@5", "recall@2", "recall@4", "first@3", "rmse", "mrr@9"]
    assert len(found) == 6
    assert dict(found)["first@3"] == found.per_user["first@3"].mean()
    assert list(found.per_user.columns) == ["recall@2", "recall@4", "first@3", "mrr@9"]
    assert found.per_user.index.name == "user_id"
    with pytest.raises(KeyError):
        found["ndcg@10"]


def test_intervals_are_those_of_the_mean(planted: Any, model: Given) -> None:
    found = recsys.evaluate(model, planted[1], ["recall@10", "coverage@10"])
    values = found.per_user["recall@10"]
    error = values.std() / np.sqrt(len(values))
    low, high = found.ci(0.95, n_draws=4000)["recall@10"]
    np.testing.assert_allclose([low, high], values.mean() + np.array([-1.96, 1.96]) * error, atol=0.25 * error)
    narrow = found.ci(0.5, n_draws=4000)["recall@10"]
    assert low < narrow[0] < found["recall@10"] < narrow[1] < high
    assert found.ci() == found.ci()
    assert "coverage@10" not in found.ci()


def test_figures_that_a_user_lacks_are_left_out_of_means_and_intervals() -> None:
    model = Given().fit(table([(0, 0), (0, 1), (1, 2), (1, 3), (2, 0), (2, 1), (2, 2)]))
    found = recsys.evaluate(model, table([(0, 2), (1, 0), (2, 3)]), "ild@2", item_vectors=np.eye(4))
    # User 2 has one item left, and a list of one has no pair.
    assert np.isnan(found.per_user["ild@2"]).tolist() == [False, False, True]
    assert found["ild@2"] == 1
    assert found.ci()["ild@2"] == (1, 1)


@pytest.mark.parametrize(("options", "name"), [({"level": 1.0}, "level=1.0"), ({"n_draws": 0}, "n_draws=0")])
def test_intervals_refuse_what_cannot_be(planted: Any, model: Given, options: dict[str, Any], name: str) -> None:
    with pytest.raises(ParameterError, match=name):
        recsys.evaluate(model, planted[1]).ci(**options)


def test_a_result_shows_figures_intervals_and_counts(planted: Any, model: Given) -> None:
    found = recsys.evaluate(model, planted[1], ["recall@10", "coverage@10"])
    for text in (repr(found), found._repr_html_()):
        assert "recall@10" in text
        assert f"{found['recall@10']:.4f}" in text
        assert f"{found.ci()['recall@10'][1]:.4f}" in text
        assert f"users {found.counts['users']}" in text
        assert "NaN" not in text
    assert found._repr_html_().startswith("<table")


def test_rows_alone_have_no_intervals() -> None:
    frame = table([(0, 0), (1, 1)], rating=[1.0, 2.0])
    found = recsys.evaluate(SVD(epochs=1, verbose=0).fit(frame), frame, "rmse")
    assert found.ci() == {}
    assert "rmse" in repr(found)
