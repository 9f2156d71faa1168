"""Metrics by name."""

from typing import Any

import numpy as np
import pytest

from recsys import metrics
from recsys.errors import ParameterError
from recsys.metrics import Metric, Rankings, parse, parse_all
from recsys.metrics.names import TABLES

CUT = ["precision", "recall", "hit", "f1", "mrr", "map", "ndcg"]
CATALOG = ["coverage", "gini", "entropy", "novelty", "avg_popularity", "ild", "serendipity", "personalization"]
WHOLE = ["r_precision", "ranking_auc", "rmse", "mae", "fcp", "auc", "gauc", "logloss"]


@pytest.mark.parametrize("stem", [*CUT, *CATALOG])
def test_a_cut_off_is_part_of_the_name(stem: str) -> None:
    metric = parse(f"{stem}@10")
    assert (metric.name, metric.k) == (f"{stem}@10", 10)
    for name in (stem, f"{stem}@0", f"{stem}@-3"):
        with pytest.raises(ParameterError, match=f"needs a cut-off of at least 1, as in '{stem}@10'"):
            parse(name)


@pytest.mark.parametrize("stem", WHOLE)
def test_a_metric_without_a_cut_off_takes_none(stem: str) -> None:
    assert parse(stem).k is None
    with pytest.raises(ParameterError, match=f"has no cut-off; write '{stem}'"):
        parse(f"{stem}@10")


@pytest.mark.parametrize("name", ["ndgc@10", "", "ndcg@@10", "NDCG@10", "ndcg@ten", "10"])
def test_an_unknown_name_is_answered_with_the_known_ones(name: str) -> None:
    with pytest.raises(ParameterError, match=r"there is no metric .*ndcg@k.*rmse.*gauc"):
        parse(name)


def test_auc_is_that_of_labels_and_ranking_auc_that_of_rankings() -> None:
    assert (parse("auc").kind, parse("auc").function) == ("label", metrics.auc)
    assert (parse("ranking_auc").kind, parse("ranking_auc").function) == ("scores", metrics.ranking_auc)


def test_every_function_of_a_name_is_public() -> None:
    for table in TABLES.values():
        for function in table.values():
            assert getattr(metrics, function.__name__) is function


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ndcg@2(gain=exp)", {"gain": "exp"}),
        ("ndcg@2( ideal = k , discount=lenskit )", {"ideal": "k", "discount": "lenskit"}),
        ("recall@1(cap=True)", {"cap": True}),
        ("map@2(norm=relevant)", {"norm": "relevant"}),
        ("precision@2(divide_by=list)", {"divide_by": "list"}),
    ],
)
def test_options_of_a_name_reach_the_function(name: str, options: dict[str, Any]) -> None:
    rankings = Rankings(np.array([[0, 1, 2]]), np.array([0, 3]), np.array([0, 2, 5]), np.array([1.0, 3.0, 2.0]))
    metric = parse(name)
    plain = parse(name.partition("(")[0])
    assert metric.name.replace(" ", "") == name.replace(" ", "")
    assert parse(metric.name).name == metric.name
    np.testing.assert_array_equal(metric.function(rankings, metric.k), plain.function(rankings, plain.k, **options))


def test_numbers_are_options_too() -> None:
    assert parse("ece(bins=3)").function([1, 0], [0.9, 0.4]) == metrics.ece([1, 0], [0.9, 0.4], bins=3)
    assert parse("logloss(eps=1e-3)").function([1], [0.0]) == metrics.logloss([1], [0.0], eps=1e-3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ndcg@10(gian=exp)", "has no option 'gian'; it has gain, ideal, discount"),
        ("ndcg@10(gain=cubic)", "gain='cubic' is not allowed; give 'binary' or 'linear' or 'exp'"),
        ("recall@10(cap=1)", "cap=1 is not allowed; give True or False"),
        ("recall@10(cap)", "'cap' is no option; write it as option=value"),
        ("hit@10(k=3)", "has no option 'k'; it has none"),
    ],
)
def test_options_that_cannot_be_are_named(name: str, message: str) -> None:
    with pytest.raises(ParameterError) as error:
        parse(name)
    assert message in str(error.value)


def test_metrics_that_read_users_or_grades_say_so() -> None:
    assert {name for name in WHOLE if parse(name).by_user} == {"rmse", "mae", "fcp", "gauc"}
    assert parse("ndcg@10(gain=linear)").graded
    assert not parse("ndcg@10(gain=binary)").graded


@pytest.mark.parametrize(("name", "better"), [("ndcg@10", True), ("rmse", False), ("gini@5", False), ("auc", True)])
def test_a_metric_knows_its_direction(name: str, better: bool) -> None:
    assert parse(name).greater_is_better is better
    assert metrics.greater_is_better(f"{name}(sampled-100)") is better


def test_several_names_are_read_in_order_and_once() -> None:
    assert [metric.name for metric in parse_all(["recall@5", "rmse", "recall@5"])] == ["recall@5", "rmse"]
    assert [metric.name for metric in parse_all("rmse")] == ["rmse"]


def test_names_without_a_cut_off_take_each_k() -> None:
    found = [metric.name for metric in parse_all(["ndcg", "recall@7", "map(norm=k)", "rmse"], k=[5, 10])]
    assert found == ["ndcg@5", "ndcg@10", "recall@7", "map@5(norm=k)", "map@10(norm=k)", "rmse"]
    assert [metric.name for metric in parse_all("hit", k=3)] == ["hit@3"]


@pytest.mark.parametrize("k", [0, [5, 0], [5.0], True, ["5"]], ids=repr)
def test_each_k_is_a_positive_integer(k: Any) -> None:
    with pytest.raises(ParameterError, match="k="):
        parse_all("ndcg", k=k)


def test_no_metric_at_all_is_refused() -> None:
    with pytest.raises(ParameterError, match="metrics="):
        parse_all([])


def test_a_metric_of_the_callers_own_passes_through() -> None:
    own = Metric("places", "ranking", lambda rankings, k: np.full(len(rankings), float(k)), k=4)
    assert parse(own) is own
    assert parse_all([own, "mrr@2"])[0] is own
