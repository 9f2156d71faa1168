import copy
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

import recsys
from recsys import ALS, EASE, FM, SVD, Blend, Dataset, DeepFM, GRU4Rec, ItemKNN, Popular, SASRec
from recsys.base import Query
from recsys.data import Histories
from recsys.errors import DataError, LoadError, NotFittedError, ParameterError, UnsupportedError
from recsys.kernels.mixes import top_k_mixes
from recsys.kernels.topk import top_k_scores
from recsys.lists import Seen
from recsys.metrics import parse
from recsys.pipeline import blend as blend_module
from recsys.pipeline.fusion import comparable, contenders, weight_grid, weighted

N_ITEMS = 24


def tastes_and_order(n_users: int = 150, seed: int = 0) -> pd.DataFrame:
    """Users of two tastes, even items or odd ones, who walk on by two from time to time: a bag knows the taste alone."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(n_users):
        item = user % 2 + 2 * int(rng.integers(12))
        for step in range(9):
            rows.append((user, item, step))
            item = (item + 2) % N_ITEMS if rng.random() < 0.6 else user % 2 + 2 * int(rng.integers(12))
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])


def parts() -> tuple[Dataset, Dataset, Dataset]:
    known, test = recsys.split.leave_last_out(Dataset(tastes_and_order()))
    train, validation = recsys.split.leave_last_out(known)
    return train, validation, test


SMALL: dict[str, Any] = {
    "embedding_dim": 16, "n_layers": 1, "epochs": 8, "batch_size": 32, "learning_rate": 0.01, "verbose": 0,
    "device": "cpu",
}  # fmt: skip


def test_a_score_is_the_weighted_sum_of_comparable_scores() -> None:
    train, _, _ = parts()
    model = Blend([EASE(), ItemKNN()], weights=(0.3, 0.7)).fit(train)
    items = train.items.ids
    for user in (0, 7):
        wanted = 0.0
        for part, weight in zip((EASE(), ItemKNN()), (0.3, 0.7), strict=True):
            scores = part.fit(train).predict([user] * len(items), items).astype(float)
            wanted = wanted + weight * (scores - scores.mean()) / scores.std()
        np.testing.assert_allclose(model.predict([user] * len(items), items), wanted, atol=1e-5)


@pytest.mark.parametrize("method", ["zscore", "minmax", "rrf"])
def test_lists_are_by_what_predict_says_whatever_is_left_out(method: Any) -> None:
    train, _, _ = parts()
    model = Blend([EASE(), Popular()], method=method).fit(train)
    lists = model.recommend([3, 4], k=5, exclude_items=[2, 3])
    np.testing.assert_allclose(lists["score"], model.predict(lists[["user_id", "item_id"]]), rtol=1e-5)
    assert not set(lists["item_id"]) & {2, 3}
    scores = model.predict([3] * N_ITEMS, range(N_ITEMS))
    seen = set(train.to_frame().query("user_id == 3")["item_id"]) | {2, 3}
    left = [item for item in np.argsort(-scores, kind="stable").tolist() if item not in seen]
    assert lists[lists["user_id"] == 3]["item_id"].tolist() == left[:5]


@pytest.mark.parametrize("method", ["zscore", "minmax", "rrf"])
def test_what_scores_minus_infinity_is_left_out_and_the_rest_compared_without_it(method: Any) -> None:
    rng = np.random.default_rng(0)
    scores = np.round(rng.normal(size=(5, 12)), 1).astype(np.float32)
    scores[1, [0, 4, 11]], scores[2, 1:], scores[3], scores[4] = -np.inf, -np.inf, -np.inf, 0.1
    found = comparable(scores, method, 60.0)
    for row, ours in zip(scores, found, strict=True):
        kept = row > -np.inf
        assert np.array_equal(ours == -np.inf, ~kept)
        values = row[kept].astype(float)
        if method == "rrf":
            wanted = [1 / (60 + 1 + sum(values > v) + sum(values[:i] == v)) for i, v in enumerate(values)]
        elif len(set(values)) <= 1:
            wanted = 0 * values
        else:
            start, spread = (values.mean(), values.std()) if method == "zscore" else (values.min(), np.ptp(values))
            wanted = (values - start) / spread
        np.testing.assert_allclose(ours[kept], wanted, atol=1e-6)


class Barring(EASE):
    """Scores of EASE, but no candidates among the first items."""

    def _score_items(self, query: Query) -> NDArray[np.float32]:
        scores = super()._score_items(query)
        scores[:, :4] = -np.inf
        return scores


@pytest.mark.parametrize("method", ["zscore", "minmax", "rrf"])
def test_an_item_that_a_model_bars_is_in_no_list_and_the_model_keeps_its_say(method: Any) -> None:
    train, validation, _ = parts()
    lists = Blend([Barring(), Popular()], method=method, weights=(0.9, 0.1)).fit(train).recommend(k=N_ITEMS)
    assert lists["item_id"].min() == 4
    own = lists[(lists["rank"] <= 3) & (lists["item_id"] % 2 == lists["user_id"] % 2)]
    assert len(own) > 0.9 * (lists["rank"] <= 3).sum()
    # A model without a weight bars nothing.
    assert Blend([Barring(), Popular()], method=method, weights=(0.0, 1.0)).fit(train).recommend()["item_id"].min() < 4
    picked = Blend([Barring(), ItemKNN()], method=method).fit(train, validation_data=validation)
    assert recsys.evaluate(picked, validation, "ndcg@10")["ndcg@10"] == pytest.approx(picked.trials_[:, 2].max())


@pytest.mark.parametrize("method", ["zscore", "minmax", "rrf"])
def test_the_figure_of_the_weights_is_that_of_evaluate(monkeypatch: pytest.MonkeyPatch, method: Any) -> None:
    monkeypatch.setattr(blend_module, "USERS_AT_ONCE", 40)
    train, validation, _ = parts()
    model = Blend([EASE(), ItemKNN()], method=method).fit(train, validation_data=validation)
    trials = model.trials_
    assert trials.shape == (21, 3)
    found = recsys.evaluate(model, validation, "ndcg@10")["ndcg@10"]
    assert found == pytest.approx(trials[:, 2].max())
    for row in (0, 4, 20):
        fixed = model.clone(weights=tuple(trials[row, :2])).fit(train)
        assert recsys.evaluate(fixed, validation, "ndcg@10")["ndcg@10"] == pytest.approx(trials[row, 2])
    assert model.weights_ == tuple(trials[trials[:, 2].argmax(), :2])


def test_lists_by_all_weightings_are_those_of_each_weighting() -> None:
    rng = np.random.default_rng(0)
    for n_models, n_items, k in ((2, 60, 5), (3, 200, 10), (3, 4, 10)):
        scores = rng.normal(size=(7, n_items)) + 0.5 * rng.normal(size=(n_models, 7, n_items))
        tables = list(np.round(scores, 1).astype(np.float32))
        tables[0][:, 0], tables[1][2] = -np.inf, -np.inf
        history = Histories.from_rows(np.array([0, 0, 3]), np.array([1, 3, 2]), 7)
        seen, grid = Seen.of(history, n_items, None), weight_grid(n_models)
        row, items = contenders(tables, k, seen)
        assert n_items < 60 or len(items) < 0.7 * 7 * n_items
        indptr = np.searchsorted(row, np.arange(8))
        lists = top_k_mixes(np.stack([one[row, items] for one in tables]), items, indptr, grid.astype(np.float32), k)
        for weights, found in zip(grid, lists, strict=True):
            wanted = top_k_scores(weighted(tables, weights), k, **seen.rows(slice(0, 7)))[0]
            np.testing.assert_array_equal(found, wanted)


def test_memory_to_pick_weights_does_not_grow_with_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blend_module, "USERS_AT_ONCE", 32)
    peaks = []
    for n_users in (150, 1200):
        known, _ = recsys.split.leave_last_out(Dataset(tastes_and_order(n_users)))
        train, validation = recsys.split.leave_last_out(known)
        model = Blend([EASE(), ItemKNN(), Popular()]).fit(train)
        tracemalloc.start()
        model._pick_weights(validation, parse("ndcg@10"))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # What grows is the validation data itself, some hundred bytes a user; lists by 231 weightings would be 18 kB.
    assert peaks[1] - peaks[0] < 1000 * (1200 - 150)


def test_seen_and_unknown_rows_of_the_validation_data_count_as_evaluate_counts_them() -> None:
    train, validation, _ = parts()
    frame = pd.concat([validation.to_frame(), train.to_frame().iloc[:40]])
    frame = pd.concat([frame, pd.DataFrame({"user_id": [0, 999], "item_id": [999, 3], "timestamp": [50, 50]})])
    mixed = Dataset(frame)
    model = Blend([EASE(), Popular()]).fit(train, validation_data=mixed)
    assert recsys.evaluate(model, mixed, "ndcg@10")["ndcg@10"] == pytest.approx(model.trials_[:, 2].max())


def test_models_that_know_different_things_are_better_together() -> None:
    # Item 10 g + p: the place p goes on by one each step, the group g is the user's own in half of the steps. The last
    # item alone tells the next place, all items in any order tell the group.
    rng = np.random.default_rng(0)
    rows = []
    for user in range(300):
        start = int(rng.integers(10))
        for step in range(8):
            group = user % 4 if rng.random() < 0.5 else int(rng.integers(4))
            rows.append((user, 10 * group + (start + step) % 10, step))
    known, test = recsys.split.leave_last_out(Dataset(pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])))
    train, validation = recsys.split.leave_last_out(known)
    order, taste = SASRec(**{**SMALL, "max_len": 1, "epochs": 20}), EASE(regularization=10.0)
    model = Blend([order, taste], monitor="ndcg@5").fit(train, validation_data=validation)
    assert 0 < model.weights_[0] < 1
    history = known.to_frame()
    figures = [recsys.evaluate(one, test, "ndcg@5", history=history)["ndcg@5"] for one in (model, *model.parts_)]
    assert figures[0] > max(figures[1:]) + 0.02


def test_without_validation_data_all_models_count_alike() -> None:
    train, _, _ = parts()
    assert Blend([EASE(), ItemKNN(), Popular()]).fit(train).weights_ == (1 / 3,) * 3


def test_models_that_are_fitted_already_are_taken_as_they_are() -> None:
    train, validation, _ = parts()
    models = [EASE().fit(train), ItemKNN().fit(train)]
    model = Blend(models, prefit=True).fit(train, validation_data=validation)
    assert model.parts_[0].weights_ is models[0].weights_
    twin = Blend([EASE(), ItemKNN()]).fit(train, validation_data=validation)
    lists = model.recommend(k=3)
    pd.testing.assert_frame_equal(lists, twin.recommend(k=3))
    models[0].set_params(regularization=1.0).fit(tastes_and_order(150, seed=1))
    models[1].partial_fit(tastes_and_order(150, seed=2))
    pd.testing.assert_frame_equal(model.recommend(k=3), lists)


@pytest.mark.parametrize("prefit", [False, True])
def test_a_fit_of_a_clone_or_of_a_part_changes_nothing_else(tmp_path: Path, prefit: bool) -> None:
    train, _, _ = parts()
    other = Dataset(tastes_and_order(150, seed=1))
    models = [one.fit(train) if prefit else one for one in (EASE(), ItemKNN())]
    model = Blend(models, prefit=prefit).fit(train)
    model.save(tmp_path / "blend")
    loaded = recsys.load(tmp_path / "blend")
    lists = model.recommend(k=3)
    for one in (model, loaded):
        twin = one.clone()
        assert not twin.is_fitted
        twin.fit(train).parts_[0].fit(other)
        assert not one.recommend(k=3).equals(twin.recommend(k=3))
        pd.testing.assert_frame_equal(one.recommend(k=3), lists)
        one.parts_[0].fit(other)
        pd.testing.assert_frame_equal(one.clone().fit(train).recommend(k=3), lists)


def test_the_models_given_stay_unfitted() -> None:
    train, _, _ = parts()
    models = [EASE(), ItemKNN()]
    Blend(models).fit(train)
    assert not any(one.is_fitted for one in models)


def test_histories_are_served_where_all_models_read_them() -> None:
    train, _, _ = parts()
    able = Blend([EASE(), SASRec(**SMALL)]).fit(train)
    assert able.supports("history")
    lists = able.recommend(history=train.to_frame(), k=4)
    pd.testing.assert_frame_equal(lists, able.recommend(k=4), check_dtype=False, rtol=1e-3)
    unable = Blend([EASE(), ALS(n_factors=4, epochs=2, verbose=0)], weights=(1.0, 0.0)).fit(train)
    served = unable.supports("history")
    assert served == ALS().supports("history")
    mute = Blend([EASE(), recsys.BPR(n_factors=4, epochs=2, verbose=0)]).fit(train)
    assert not mute.supports("history")
    with pytest.raises(UnsupportedError, match=r"Blend: BPR\(.* has no meaning for history"):
        mute.recommend(history=[[1, 2]])
    assert Blend.supports("history")


@pytest.mark.parametrize("prefit", [False, True])
def test_partial_fit_goes_on_with_every_model(prefit: bool) -> None:
    train, _, _ = parts()
    more = pd.DataFrame({"user_id": [0, 900, 900], "item_id": [500, 500, 3], "timestamp": 99})
    models = [one.fit(train) if prefit else one for one in (EASE(), ItemKNN())]
    first = Blend(models, prefit=prefit).fit(train)
    before, old_parts = first.recommend(k=3), first.parts_
    model = copy.copy(first).partial_fit(more)
    twin = Blend([EASE(), ItemKNN()]).fit(pd.concat([train.to_frame(), more]))
    lists, wanted = (one.recommend(k=4).sort_values(["user_id", "rank"]) for one in (model, twin))
    np.testing.assert_allclose(lists["score"], wanted["score"], rtol=1e-4)
    assert 900 in set(lists["user_id"])
    assert first.parts_ is old_parts
    pd.testing.assert_frame_equal(first.recommend(k=3), before)
    assert Blend.supports("partial_fit")


def test_partial_fit_is_refused_for_the_model_that_has_none() -> None:
    train, _, _ = parts()
    model = Blend([EASE(), SASRec(**SMALL)])
    assert not model.supports("partial_fit")
    with pytest.raises(
        UnsupportedError, match=r"Blend: SASRec\(.* has no meaning for partial_fit; give models that all"
    ):
        model.partial_fit(train)


def with_device() -> tuple[Dataset, pd.DataFrame]:
    """Who listens on a phone takes even items, on a television odd ones, whoever it is."""
    rows = tastes_and_order(60)
    rows["device"] = np.where(rows["item_id"] % 2 == 0, "phone", "television")
    rows["user_id"] //= 2
    return Dataset(rows, context_cols=("device",)), rows


def test_contexts_are_served_where_all_models_read_them() -> None:
    train, rows = with_device()
    settings: dict[str, Any] = {"epochs": 5, "batch_size": 32, "learning_rate": 0.02, "verbose": 0, "device": "cpu"}
    model = Blend([FM(**settings), DeepFM(**settings)]).fit(train)
    assert model.supports("context")
    for device, rest in (("phone", 0), ("television", 1)):
        lists = model.recommend(k=3, context={"device": device}, filter_seen=False)
        assert (lists["item_id"] % 2 == rest).mean() > 0.9
        np.testing.assert_allclose(model.predict(lists.assign(device=device)), lists["score"], atol=1e-4)
    settings["epochs"] = 1
    mixed = Blend([FM(**settings), EASE()]).fit(train)
    assert not mixed.supports("context")
    with pytest.raises(UnsupportedError, match=r"Blend: EASE\(\) has no meaning for context"):
        mixed.recommend(context={"device": "phone"})
    fitted = [FM(**settings).fit(Dataset(rows)), DeepFM(**settings).fit(train)]
    with pytest.raises(DataError, match=r"FM\(.* was fitted on other context than"):
        Blend(fitted, prefit=True).fit(train)


def test_the_history_is_held_and_saved_once(tmp_path: Path) -> None:
    train, _, _ = parts()
    model = Blend([EASE(), Blend([ItemKNN(), EASE(regularization=10.0)])]).fit(train)
    model.save(tmp_path / "blend")
    loaded = recsys.load(tmp_path / "blend")
    for one in (model, loaded, copy.copy(loaded).partial_fit(train)):
        inner = one.parts_[1]
        assert all(part.history_ is one.history_ for part in (*one.parts_, *inner.parts_))
    arrays = load_file(str(tmp_path / "blend" / "model.safetensors"))
    assert [name for name in arrays if name.endswith("history_.items")] == ["history_.items"]


def test_a_blend_is_for_what_its_models_are_for() -> None:
    assert Blend([SASRec(), GRU4Rec()]).shape == "next-item"
    assert Blend([SASRec(), EASE()]).shape == Blend().shape == "top-n"


@pytest.mark.parametrize("prefit", [False, True])
def test_a_saved_blend_gives_the_same_lists(tmp_path: Path, prefit: bool) -> None:
    train, validation, _ = parts()
    models: list[Any] = [SASRec(**SMALL), EASE()]
    models = [one.fit(train) for one in models] if prefit else models
    model = Blend(models, prefit=prefit, method="minmax").fit(train, validation_data=validation)
    model.save(tmp_path / "blend")
    loaded = recsys.load(tmp_path / "blend")
    pd.testing.assert_frame_equal(loaded.recommend(k=4), model.recommend(k=4))
    assert repr(loaded) == repr(model)
    assert loaded.weights_ == model.weights_
    again = loaded.clone().fit(train, validation_data=validation)
    pd.testing.assert_frame_equal(again.recommend(k=4), model.recommend(k=4))


@pytest.mark.parametrize("prefit", [False, True])
def test_a_blend_within_a_blend_is_saved_and_loaded(tmp_path: Path, prefit: bool) -> None:
    train, validation, _ = parts()
    inner = Blend([EASE(), Popular().fit(train)] if not prefit else [EASE().fit(train), Popular().fit(train)])
    inner.set_params(prefit=prefit, method="rrf")
    model = Blend([inner, ItemKNN()], weights=(0.8, 0.2)).fit(train, validation_data=validation)
    model.save(tmp_path / "blend")
    loaded = recsys.load(tmp_path / "blend")
    pd.testing.assert_frame_equal(loaded.recommend(k=4), model.recommend(k=4))
    assert repr(loaded) == repr(model)
    again = loaded.clone().fit(train, validation_data=validation)
    pd.testing.assert_frame_equal(again.recommend(k=4), model.recommend(k=4))


def test_one_of_several_processes_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, _, _ = parts()
    model = Blend([EASE(), Popular()]).fit(train)
    monkeypatch.setattr(blend_module, "is_first", lambda: False)
    model.save(tmp_path / "blend")
    assert not (tmp_path / "blend").exists()


def test_a_saved_blend_of_a_class_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, _, _ = parts()
    Blend([EASE(), Popular()]).fit(train).save(tmp_path / "blend")
    monkeypatch.delitem(recsys.Recommender.known, "Popular")
    with pytest.raises(LoadError, match="Popular"):
        recsys.load(tmp_path / "blend")


def test_needs_are_those_of_all_models() -> None:
    assert Blend([SVD(), EASE()]).needs == ("rating",)
    with pytest.raises(DataError, match="needs a rating column"):
        Blend([SVD(), EASE()]).fit(tastes_and_order())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"models": []}, "are 0; give two or more"),
        ({"models": [EASE()]}, "are 1; give two or more"),
        ({"models": [EASE(), "EASE"]}, "models=.* is not allowed"),
        ({"weights": (1.0,)}, "give one for each of the 2 models"),
        ({"weights": (0.0, 0.0)}, "not all of them 0"),
        ({"weights": (1.0, -1.0)}, "weights=.* is not allowed"),
        ({"method": "sum"}, "method='sum' is not allowed"),
        ({"monitor": "rmse"}, "monitor='rmse' is no metric of lists"),
    ],
)
def test_what_is_wrong_is_named(options: dict[str, Any], message: str) -> None:
    train, validation, _ = parts()
    with pytest.raises(ParameterError, match=message):
        Blend(**{"models": [EASE(), Popular()], **options}).fit(train, validation_data=validation)


def test_models_of_other_data_are_refused() -> None:
    train, _, _ = parts()
    other = Dataset(tastes_and_order(20))
    with pytest.raises(NotFittedError, match="prefit=True, but EASE"):
        Blend([EASE(), Popular().fit(train)], prefit=True).fit(train)
    with pytest.raises(DataError, match="fitted on other users"):
        Blend([EASE().fit(other), Popular().fit(train)], prefit=True).fit(train)


def test_validation_data_that_was_all_seen_is_refused() -> None:
    train, _, _ = parts()
    with pytest.raises(DataError, match="no test user has a relevant item"):
        Blend([EASE(), Popular()]).fit(train, validation_data=train.subset(np.arange(5)))
