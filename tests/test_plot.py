"""Plots: what is on the axes is what was measured."""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

import recsys
from recsys import EASE, SVD, Dataset, Popular, Random
from recsys.compare import Comparison
from recsys.errors import DataError, ParameterError, UnsupportedError

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def data() -> Dataset:
    rng = np.random.default_rng(0)
    walks = [(u, (start + step) % 30) for u in range(50) for start in [int(rng.zipf(1.5)) % 30] for step in range(8)]
    return Dataset(pd.DataFrame(walks, columns=["user_id", "item_id"]))


@pytest.fixture(scope="module")
def table(data: Dataset) -> Comparison:
    models = {"popular": Popular(), "EASE": EASE(regularization=5.0), "random": Random()}
    return recsys.compare(
        models, *recsys.split.random(data, 0.3), ["ndcg", "avg_popularity@5", "coverage@5"], k=[2, 5, 10]
    )


def lines(axes: Any) -> dict[str, Any]:
    return {line.get_label(): line for line in axes.get_lines() if not line.get_label().startswith("_")}


def test_losses_are_those_of_the_training_log() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.integers(0, 9, (90, 2)), columns=["user_id", "item_id"]).assign(
        rating=rng.integers(1, 6, 90)
    )
    model = SVD(epochs=3, n_factors=2, verbose=0).fit(frame)
    axes = recsys.plot.losses(model)
    assert isinstance(axes, Axes)
    np.testing.assert_array_equal(lines(axes)["loss"].get_ydata(), model.training_log_["loss"])
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("epoch", "training loss", "SVD")


def test_a_validation_metric_has_a_scale_of_its_own(data: Dataset) -> None:
    train, validation = recsys.split.random(data, 0.3)
    model = recsys.LightGCN(epochs=2, embedding_dim=4, monitor="recall@5", verbose=0)
    model.fit(train, validation_data=validation)
    axes = recsys.plot.losses(model)
    (other,) = [one for one in axes.figure.axes if one is not axes]
    assert other.get_ylabel() == "recall@5"
    np.testing.assert_array_equal(lines(other)["recall@5"].get_ydata(), model.training_log_["recall@5"])


def test_a_model_without_epochs_has_no_losses(data: Dataset) -> None:
    with pytest.raises(UnsupportedError, match="Popular has no training log"):
        recsys.plot.losses(Popular().fit(data))


def test_bars_are_the_values_best_on_top(table: Comparison) -> None:
    for metric, best in (("ndcg@5", max), ("avg_popularity@5", min)):
        axes = recsys.plot.comparison(table, metric)
        names = [label.get_text() for label in axes.get_yticklabels()]
        values = {name: patch.get_width() for name, patch in zip(names, axes.patches, strict=True)}
        assert values == {name: result[metric] for name, result in table.results.items()}
        assert names[-1] == best(values, key=lambda name: values[name])
        assert axes.get_xlabel() == f"{metric} (95% interval over users)"


def test_error_bars_are_the_intervals(table: Comparison) -> None:
    axes = recsys.plot.comparison(table, "ndcg@5")
    names = [label.get_text() for label in axes.get_yticklabels()]
    segments = axes.containers[0].lines[2][0].get_segments()
    for name, segment in zip(names, segments, strict=True):
        np.testing.assert_allclose(segment[:, 0], table.results[name].ci()["ndcg@5"])


def test_figures_of_all_lists_have_no_interval(table: Comparison) -> None:
    assert recsys.plot.comparison(table, "coverage@5").get_xlabel() == "coverage@5"


def test_trade_off_has_a_named_point_a_model(table: Comparison) -> None:
    axes = recsys.plot.trade_off(table, "coverage@5", "ndcg@5")
    points = {text.get_text(): tuple(text.xy) for text in axes.texts}
    assert points == {name: (result["coverage@5"], result["ndcg@5"]) for name, result in table.results.items()}
    offsets = [tuple(one.get_offsets()[0]) for one in axes.collections]
    assert sorted(offsets) == sorted(points.values())
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("coverage@5", "ndcg@5")


def test_metric_at_k_has_a_line_a_model(table: Comparison) -> None:
    axes = recsys.plot.metric_at_k(table, "ndcg")
    assert set(lines(axes)) == set(table.results)
    for name, line in lines(axes).items():
        assert line.get_xdata().tolist() == [2, 5, 10]
        assert line.get_ydata().tolist() == [table.results[name][f"ndcg@{k}"] for k in (2, 5, 10)]
    assert axes.get_ylabel().startswith("ndcg@k")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(table.results)
    single = recsys.plot.metric_at_k(table.results["EASE"], "ndcg")
    assert list(lines(single)) == ["ndcg"]


def test_long_tail_shows_how_concentrated_lists_are(data: Dataset) -> None:
    popular = Popular().fit(data).recommend(k=3, filter_seen=False)
    axes = recsys.plot.long_tail(data, {"popular": popular, "even": data.to_frame().drop_duplicates("item_id")})
    shares = {name: line.get_ydata() for name, line in lines(axes).items()}
    assert set(shares) == {"interactions", "popular", "even"}
    counts = np.sort(data.to_frame().groupby("item_id").size())[::-1]
    np.testing.assert_allclose(shares["interactions"], np.append(0, np.cumsum(counts)) / counts.sum())
    assert shares["popular"][3] == 1
    np.testing.assert_allclose(shares["even"], np.arange(31) / 30)
    assert axes.get_xlabel() == "share of items, most popular first"


def test_given_axes_are_drawn_on(table: Comparison, data: Dataset) -> None:
    _, axes = plt.subplots()
    assert recsys.plot.trade_off(table, "coverage@5", "ndcg@5", axes=axes) is axes
    assert recsys.plot.comparison(table, "ndcg@5", axes=axes) is axes
    assert recsys.plot.metric_at_k(table, "ndcg", axes=axes) is axes
    assert recsys.plot.long_tail(data, axes=axes) is axes
    assert len(plt.get_fignums()) == 1


def test_what_was_not_measured_cannot_be_drawn(table: Comparison) -> None:
    for draw in (recsys.plot.comparison, lambda t, m: recsys.plot.trade_off(t, "ndcg@5", m)):
        with pytest.raises(ParameterError, match=r"there is no metric 'map@5'.*ndcg@2"):
            draw(table, "map@5")
    with pytest.raises(ParameterError, match=r"metric='map' has no cut-off here"):
        recsys.plot.metric_at_k(table, "map")


def test_lists_without_items_are_refused(data: Dataset) -> None:
    with pytest.raises(DataError, match="no column 'item_id' for the items of the lists 'mine'"):
        recsys.plot.long_tail(data, {"mine": pd.DataFrame({"item": [1]})})


def test_without_matplotlib_the_extra_is_named(
    table: Comparison, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    for draw in (lambda: recsys.plot.comparison(table, "ndcg@5"), lambda: recsys.plot.long_tail(data)):
        with pytest.raises(UnsupportedError, match=r'pip install "recsys\[plot\]"'):
            draw()
