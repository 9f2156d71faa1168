"""Metrics of ratings and of probabilities, against sklearn and plain loops."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss, mean_absolute_error, mean_squared_error, roc_auc_score

from recsys.errors import DataError, ParameterError
from recsys.metrics import classification, rating


def ratings(seed: int, n: int = 200, n_users: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(1, 6, n).astype(float), np.round(rng.uniform(1, 5, n), 1), rng.integers(0, n_users, n) * 7


def clicks(seed: int, n: int = 400, n_users: int = 25) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, predictions with many ties, users; some users have one class."""
    rng = np.random.default_rng(seed)
    users = rng.integers(0, n_users, n)
    labels = (rng.random(n) < np.where(users < 3, 0.0, 0.4)).astype(int)
    return labels, np.round(rng.random(n) * 0.6 + 0.3 * labels, 1), users


# -- ratings -----------------------------------------------------------------------------------------------------------


def test_errors_over_pairs_agree_with_sklearn() -> None:
    true, predicted, _ = ratings(0)
    assert rating.rmse(true, predicted) == pytest.approx(mean_squared_error(true, predicted) ** 0.5)
    assert rating.mae(true, predicted) == pytest.approx(mean_absolute_error(true, predicted))


def test_errors_over_users_are_means_of_the_users_own() -> None:
    true, predicted, users = ratings(1)
    rows = [users == user for user in np.unique(users)]
    roots = [mean_squared_error(true[mine], predicted[mine]) ** 0.5 for mine in rows]
    means = [mean_absolute_error(true[mine], predicted[mine]) for mine in rows]
    assert rating.rmse(true, predicted, users, average="users") == pytest.approx(np.mean(roots))
    assert rating.mae(true, predicted, users, average="users") == pytest.approx(np.mean(means))


def test_a_user_with_many_rows_weighs_more_in_the_mean_over_pairs_alone() -> None:
    true, predicted, users = [1.0] * 4, [1.0, 1.0, 1.0, 3.0], ["a", "a", "a", "b"]
    assert rating.rmse(true, predicted, users) == 1
    assert rating.rmse(true, predicted, users, average="users") == 1
    assert rating.mae(true, predicted, users) == 0.5
    assert rating.mae(true, predicted, users, average="users") == 1


def test_concordant_pairs_agree_with_the_loop() -> None:
    true, predicted, users = ratings(2)
    concordant = discordant = 0
    for i in range(len(true)):
        for j in range(i):
            if users[i] == users[j]:
                agreement = np.sign(true[i] - true[j]) * np.sign(predicted[i] - predicted[j])
                concordant += agreement > 0
                discordant += agreement < 0
    assert rating.fcp(true, predicted, users) == pytest.approx(concordant / (concordant + discordant))


def test_concordance_of_users_without_a_pair_is_undefined() -> None:
    assert np.isnan(rating.fcp([1, 2], [1, 2], ["a", "b"]))


@pytest.mark.parametrize("average", ["users"])
def test_a_mean_over_users_needs_the_users(average: Any) -> None:
    with pytest.raises(DataError, match="users="):
        rating.rmse([1.0], [1.0], average=average)
    with pytest.raises(DataError, match="one length"):
        rating.mae([1.0, 2.0], [1.0, 2.0], ["a"], average=average)


# -- labels ------------------------------------------------------------------------------------------------------------


def test_label_metrics_agree_with_sklearn() -> None:
    labels, predicted, _ = clicks(3)
    assert classification.auc(labels, predicted) == pytest.approx(roc_auc_score(labels, predicted))
    assert classification.logloss(labels, predicted) == pytest.approx(
        log_loss(labels, np.clip(predicted, 1e-7, 1 - 1e-7))
    )
    assert classification.brier(labels, predicted) == pytest.approx(brier_score_loss(labels, predicted))


def test_ties_count_half_in_auc() -> None:
    assert classification.auc([1, 0], [0.5, 0.5]) == 0.5
    assert classification.auc([1, 0, 0], [0.5, 0.5, 0.1]) == 0.75


def test_auc_of_one_class_is_undefined() -> None:
    assert np.isnan(classification.auc([1, 1], [0.1, 0.2]))


def test_logloss_clips_certainty() -> None:
    assert classification.logloss([1], [0.0], eps=1e-3) == pytest.approx(-np.log(1e-3))
    assert classification.logloss([0], [1.0], eps=1e-3) == pytest.approx(-np.log(1e-3))


@pytest.mark.parametrize("weight", ["impressions", "positives", "equal"])
def test_auc_by_user_agrees_with_the_loop(weight: Any) -> None:
    labels, predicted, users = clicks(4)
    figures, weights = [], []
    for user in np.unique(users):
        y, p = labels[users == user], predicted[users == user]
        if 0 < y.sum() < len(y):
            figures.append(roc_auc_score(y, p))
            weights.append({"impressions": len(y), "positives": y.sum(), "equal": 1}[weight])
    assert len(figures) < len(np.unique(users))
    assert classification.gauc(labels, predicted, users, weight=weight) == pytest.approx(
        np.average(figures, weights=weights)
    )


def test_weights_of_users_can_change_the_figure() -> None:
    labels, predicted = [1, 0, 0, 0, 1, 1, 0], [0.9, 0.1, 0.2, 0.3, 0.1, 0.2, 0.9]
    users = ["good"] * 4 + ["bad"] * 3
    found = {w: classification.gauc(labels, predicted, users, weight=w) for w in ("impressions", "positives", "equal")}  # type: ignore[arg-type]
    assert found == pytest.approx({"impressions": 4 / 7, "positives": 1 / 3, "equal": 1 / 2})


def test_auc_by_user_is_undefined_where_nobody_has_both_classes() -> None:
    assert np.isnan(classification.gauc([1, 0], [0.5, 0.5], ["a", "b"]))


def test_calibration_error_agrees_with_the_loop() -> None:
    labels, predicted, _ = clicks(5)
    expected = 0.0
    for b in range(10):
        mine = np.minimum((predicted * 10).astype(int), 9) == b
        if mine.any():
            expected += mine.mean() * abs(labels[mine].mean() - predicted[mine].mean())
    assert classification.ece(labels, predicted) == pytest.approx(expected)


# -- edges -------------------------------------------------------------------------------------------------------------

ALL: list[Callable[..., float]] = [
    rating.rmse,
    rating.mae,
    classification.auc,
    classification.logloss,
    classification.brier,
    classification.ece,
]


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize(
    ("true", "predicted", "message"),
    [
        ([1, 0], [0.5, np.nan], "1 predictions are NaN or infinite, first in row 1"),
        ([np.nan, 0], [0.5, 0.5], "1 true values are NaN or infinite, first in row 0"),
        ([1, 0], [0.5], "one length"),
        ([], [], "one length"),
        ([[1]], [[1]], "one length"),
    ],
)
def test_wrong_columns_are_refused(metric: Callable[..., float], true: Any, predicted: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        metric(true, predicted)


def test_labels_are_zero_or_one() -> None:
    for metric in ALL[2:]:
        with pytest.raises(DataError, match=r"1 labels are neither 0 nor 1, first in row 1"):
            metric([1, 2], [0.1, 0.2])


def test_probabilities_lie_between_zero_and_one() -> None:
    for metric in (classification.logloss, classification.brier, classification.ece):
        with pytest.raises(DataError, match=r"1 predictions are no probabilities, first 1.5 in row 0"):
            metric([1, 0], [1.5, 0.2])
    assert classification.auc([1, 0], [1.5, -3.0]) == 1


def test_calibration_needs_a_bin() -> None:
    with pytest.raises(ParameterError, match="bins=0"):
        classification.ece([1], [0.5], bins=0)
