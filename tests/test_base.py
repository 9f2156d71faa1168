"""The interface of every model but its lists: predict, fit, hyperparameters, what it can do, refusals, saving."""

from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import pytest

import recsys
from recsys import ALS, EASE, SVD, Dataset, DeepFM, Recommender, base
from recsys.errors import DataError, LoadError, NotFittedError, ParameterError, UnsupportedError
from recsys.factor import FactorRecommender
from tests.toys import N_ITEMS, N_USERS, ByHour, Sums, planted_data, planted_frame, scores_of


@pytest.fixture
def frame() -> pd.DataFrame:
    return planted_frame()


@pytest.fixture
def data() -> Dataset:
    return planted_data()


# -- predict -----------------------------------------------------------------------------------------------------------


def test_predict_is_the_score_of_each_row_in_its_order(data: Dataset) -> None:
    model = Sums().fit(data)
    rng = np.random.default_rng(0)
    users, items = rng.integers(N_USERS, size=50), rng.integers(N_ITEMS, size=50)
    wanted = scores_of(model)[users, items]
    found = model.predict(10 * users, 100 + items)
    assert found.dtype == np.float32
    assert found.tolist() == wanted.tolist()
    rows = pd.DataFrame({"item_id": 100 + items, "other": 1, "user_id": 10 * users})
    assert model.predict(rows).tolist() == wanted.tolist()
    assert model.predict([], []).shape == (0,)


# -- data without users and items --------------------------------------------------------------------------------------


def test_field_data_is_predicted_and_not_recommended_from() -> None:
    frame = pd.DataFrame({"site": ["a", "b"] * 20, "label": [1, 0] * 20})
    data = Dataset(frame, user_col=None, item_col=None, context_cols=("site",))
    model = DeepFM(epochs=30, learning_rate=0.05, hidden_dims=(4,), batch_size=8, verbose=0, device="cpu").fit(data)
    scores = model.predict(frame)
    assert scores[::2].min() > 0.5 > scores[1::2].max()
    with pytest.raises(UnsupportedError, match="DeepFM was fitted without users and items"):
        model.recommend()
    with pytest.raises(UnsupportedError, match="give predict a frame"):
        model.predict([1], [2])
    assert "without users and items" in model._repr_html_()
    with pytest.raises(DataError, match=r"EASE needs users and items; .*user_col=None"):
        EASE().fit(data)


# -- fitting -----------------------------------------------------------------------------------------------------------


def test_fit_that_fails_leaves_the_model(data: Dataset) -> None:
    class Fragile(Sums):
        def _fit(self, data: Dataset, validation: Dataset | None) -> None:
            super()._fit(data, validation)
            if data.n_users == 1:
                raise RuntimeError("no")

    model = Fragile().fit(data)
    before = model.recommend()
    with pytest.raises(RuntimeError, match="no"):
        model.fit(pd.DataFrame({"user_id": [1], "item_id": [1]}))
    assert model.recommend().equals(before)
    fresh = Fragile()
    with pytest.raises(RuntimeError, match="no"):
        fresh.fit(pd.DataFrame({"user_id": [1], "item_id": [1]}))
    assert not fresh.is_fitted


def test_fit_checks_hyperparameters_that_were_assigned(data: Dataset) -> None:
    model = Sums()
    model.step = -1.0
    with pytest.raises(ParameterError, match=r"Sums: step=-1\.0 is not allowed; give a number above 0"):
        model.fit(data)


def test_partial_fit_of_an_unfitted_model_is_a_fit_and_a_failed_one_leaves_it(data: Dataset) -> None:
    class Counting(Sums):
        def _partial_fit(self, data: Dataset) -> None:
            self.weights_ = self.weights_ + 1
            if data.n_users == 1:
                raise RuntimeError("no")

    model = Counting().partial_fit(data)
    assert np.array_equal(model.weights_, Sums().fit(data).weights_)
    assert model.partial_fit(data) is model
    assert np.array_equal(model.weights_, Sums().fit(data).weights_ + 1)
    with pytest.raises(RuntimeError, match="no"):
        model.partial_fit(pd.DataFrame({"user_id": [1], "item_id": [1], "rating": [1.0], "timestamp": [1]}))
    assert np.array_equal(model.weights_, Sums().fit(data).weights_ + 1)


def test_partial_fit_adds_to_histories_counts_and_features(frame: pd.DataFrame) -> None:
    class Absorbing(Sums):
        def _partial_fit(self, data: Dataset) -> None:
            pass

    colors = pd.DataFrame({"item_id": sorted(frame["item_id"].unique()), "color": "red"})
    model = Absorbing().fit(Dataset(frame, item_features=colors))
    user, n_items = frame["user_id"].iloc[0], len(model.items_)
    before = model.history_[model.users_.encode([user])].items
    counts = model.item_counts_
    new = {"user_id": [user, 900], "item_id": [901, 901], "rating": [1.0, 2.0], "timestamp": [10**6, 10**6]}
    model.partial_fit(pd.DataFrame(new))
    assert model.history_[model.users_.encode([user])].items.tolist() == [*before, n_items]
    assert model.item_counts_.tolist() == [*counts, 2]
    assert len(model.item_features_) == n_items + 1
    assert model.item_features_["color"].codes.tolist() == [0] * n_items + [-1]


def test_partial_fit_needs_the_columns_of_the_fit(data: Dataset) -> None:
    class Absorbing(Sums):
        def _partial_fit(self, data: Dataset) -> None:
            pass

    model = Absorbing().fit(data)
    with pytest.raises(DataError, match=r"Absorbing needs a (rating|timestamp) column"):
        model.partial_fit(Dataset(pd.DataFrame({"user_id": [1], "item_id": [1]})))
    with pytest.raises(DataError, match=r"no column '(rating|timestamp)'"):
        model.partial_fit(pd.DataFrame({"user_id": [1], "item_id": [1]}))


def test_partial_fit_reads_a_frame_by_the_columns_of_the_fit() -> None:
    class Absorbing(Sums):
        def _partial_fit(self, data: Dataset) -> None:
            pass

    frame = pd.DataFrame({"who": [1, 2, 2], "what": [1, 1, 2], "rating": 1.0, "timestamp": 1})
    model = Absorbing().fit(Dataset(frame, user_col="who", item_col="what"))
    model.partial_fit(frame.assign(who=3))
    assert model.recommend([3], k=2, filter_seen=False)["who"].tolist() == [3, 3]


def test_the_training_data_is_never_asked_for_again(frame: pd.DataFrame) -> None:
    model = Sums().fit(frame)
    before = model.recommend()
    frame["item_id"] = 0
    assert model.recommend().equals(before)


# -- hyperparameters, copies, shows ------------------------------------------------------------------------------------


def test_clone_is_unfitted_with_the_same_hyperparameters(data: Dataset) -> None:
    model = Sums(step=2.0).fit(data)
    assert model.clone().get_params() == {"step": 2.0}
    assert not model.clone().is_fitted
    assert model.clone(step=4.0).step == 4.0
    assert model.step == 2.0


def test_repr_shows_what_differs_from_the_defaults() -> None:
    assert repr(Sums()) == "Sums()"
    assert repr(Sums(step=2.0)) == "Sums(step=2.0)"


def test_html_shows_hyperparameters_and_what_the_model_is_fitted_on(data: Dataset) -> None:
    class Named(Sums):
        title: str = ""
        """Any text."""

    assert (
        Named(title="<b>")._repr_html_()
        == "<code>Named(title=&#x27;&lt;b&gt;&#x27;)</code><br><small>not fitted</small>"
    )
    assert f"fitted on {N_USERS} users and {N_ITEMS} items" in Named().fit(data)._repr_html_()


def test_supports_says_what_a_class_can_do() -> None:
    can = {feature for feature in base.SUPPORT if Sums.supports(feature)}
    assert can == {"recommend", "history", "similar_items", "explain"}
    assert Sums().supports("history")
    assert DeepFM.supports("context")
    assert not SVD.supports("history")
    with pytest.raises(ParameterError, match=r"Sums\.supports: feature='flying' is not allowed; give one of recommend"):
        Sums.supports("flying")


def test_an_instance_supports_what_its_hyperparameters_allow() -> None:
    class Sided(Sums):
        reads_history: ClassVar[bool] = False

        side: Literal["left", "right"] = "left"
        """The right one reads histories."""

        def _serves_histories(self) -> bool:
            return self.side == "right"

    assert [one.supports("history") for one in (Sided, Sided(), Sided(side="right"))] == [False, False, True]


def test_what_a_model_cannot_do_names_those_that_can(data: Dataset) -> None:
    model = ByHour().fit(data)
    for feature, call in {
        "similar_items": lambda: model.similar_items([100]),
        "similar_users": lambda: model.similar_users([10]),
        "explain": lambda: model.explain(10, 100),
        "history": lambda: model.recommend(history=[[100]]),
    }.items():
        with pytest.raises(UnsupportedError, match=f"ByHour has no meaning for {feature}; these can: ") as caught:
            call()
        named = str(caught.value).split(": ")[1].split(", ")
        assert all(getattr(recsys, name).supports(feature) for name in named)
    with pytest.raises(UnsupportedError, match="ByHour has no meaning for partial_fit"):
        model.partial_fit(data)


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"k": 0}, ParameterError, "Sums: k=0 is not allowed; give an integer of at least 1"),
        ({"k": True}, ParameterError, "Sums: k=True"),
        ({"k": 2.0}, ParameterError, r"Sums: k=2\.0"),
        ({"on_unknown": "guess"}, ParameterError, "Sums: on_unknown='guess' is not allowed; give one of raise, skip, popular"),
        ({"users": [10], "history": [[100]]}, DataError, "Sums.recommend takes users= or history=, not both"),
        ({"items": [1]}, DataError, "Sums does not know 1 of 1 candidate items, first 1; "),
        ({"users": pd.DataFrame({"a": [1], "b": [2]})}, DataError, "Sums: users= is a DataFrame of 2 dimensions"),
        ({"users": ["a"]}, DataError, "known ids are integers, such as 0; got strings, such as 'a'"),
        ({"users": [10, "a"]}, DataError, "known ids are integers"),
        ({"history": 7}, DataError, "Sums: history= takes a frame or lists of item ids.*int"),
        ({"history": pd.DataFrame({"film": [1]})}, DataError, "Sums: the history has no column 'item_id'; it has film"),
        ({"history": [[99]]}, DataError, "Sums does not know 1 of 1 items of the history, first 99"),
    ],
)  # fmt: skip
def test_recommend_refuses_with_the_class_the_argument_and_a_way_out(
    options: dict[str, Any], error: type[Exception], words: str, data: Dataset
) -> None:
    with pytest.raises(error, match=words):
        Sums().fit(data).recommend(**options)


def test_predict_refuses_what_is_no_pair(data: Dataset) -> None:
    model = Sums().fit(data)
    with pytest.raises(DataError, match=r"Sums\.predict: 2 users but 1 items; give one item a user"):
        model.predict([10, 20], [100])
    with pytest.raises(DataError, match=r"Sums\.predict needs a column 'item_id'; the frame has user_id"):
        model.predict(pd.DataFrame({"user_id": [10]}))
    with pytest.raises(DataError, match=r"Sums\.predict takes a frame, or users and items.*list"):
        model.predict([10, 20])


def test_similar_and_explain_refuse_unknown_ids_without_a_policy_they_lack(data: Dataset) -> None:
    model = Sums().fit(data)
    for call in (lambda: model.similar_items([1]), lambda: model.explain(7, 100), lambda: model.explain(10, 1)):
        with pytest.raises(DataError, match="Sums does not know 1 of 1") as caught:
            call()
        assert "on_unknown" not in str(caught.value)
        assert "training data" in str(caught.value)
    with pytest.raises(DataError, match="Sums: item= takes one id; got 2"):
        model.explain(10, [100, 101])


def test_unfitted_models_say_so() -> None:
    for call in (Sums().recommend, lambda: Sums().predict([1], [1]), lambda: Sums().save("x")):
        with pytest.raises(NotFittedError, match=r"this Sums is not fitted; call fit\(data\) first"):
            call()


def test_missing_roles_are_named_with_the_way_to_give_them(frame: pd.DataFrame) -> None:
    class Needy(Sums):
        needs: ClassVar[tuple[str, ...]] = ("weight", "user_features", "social")

    with pytest.raises(DataError, match=r"Needy needs a weight column; pass weight_col=\.\.\. to Dataset"):
        Needy().fit(frame)
    with pytest.raises(DataError, match=r"Needy needs user features; pass user_features=\.\.\. to Dataset"):
        Needy().fit(frame.assign(weight=1.0))
    users = pd.DataFrame({"user_id": [10], "age": [1.0]})
    with pytest.raises(DataError, match=r"Needy needs social; pass social=\.\.\. to Dataset"):
        Needy().fit(Dataset(frame.assign(weight=1.0), user_features=users))


# -- saved models ------------------------------------------------------------------------------------------------------


def test_a_users_own_class_is_saved_and_loaded_by_its_name(data: Dataset, tmp_path: Any) -> None:
    model = Sums(step=2.0).fit(data)
    model.save(str(tmp_path / "model"))
    loaded = recsys.load(str(tmp_path / "model"))
    assert type(loaded) is Sums
    assert repr(loaded) == "Sums(step=2.0)"
    assert loaded.recommend().equals(model.recommend())
    assert loaded.recommend(history=[[100]]).equals(model.recommend(history=[[100]]))


def test_a_model_of_an_unknown_class_or_of_other_hyperparameters_is_refused(data: Dataset, tmp_path: Any) -> None:
    Sums().fit(data).save(tmp_path / "model")
    known = Recommender.known["Sums"]
    try:
        del Recommender.known["Sums"]
        with pytest.raises(LoadError, match="Sums, which is no known model; import the module"):
            recsys.load(tmp_path / "model")
        Recommender.known["Sums"] = FactorRecommender
        with pytest.raises(LoadError, match="Sums, which is no known model"):
            recsys.load(tmp_path / "model")
        Recommender.known["Sums"] = ALS
        with pytest.raises(LoadError, match=r"another version of Sums: ALS has no hyperparameter 'step'.*fit and save"):
            recsys.load(tmp_path / "model")
    finally:
        Recommender.known["Sums"] = known
