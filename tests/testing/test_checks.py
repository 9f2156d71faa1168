"""The conformance suite passes a model that keeps its promises, and names the one that another breaks."""

import re
import subprocess
import sys
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

import recsys
from recsys import DeepFM, Popular, Recommender
from recsys.errors import ParameterError
from recsys.testing import ConformanceError, check_recommender, checks, held_out, planted, quick, run_check
from recsys.testing.contract import Model, all_items, all_scores, all_users, close, fitted, same_lists, seen_items
from recsys.testing.planted import IDLE_ITEM, IDLE_USER, N_GROUPS, NOBODY, NOTHING
from recsys.testing.storage import moved
from tests.testing import broken_lists
from tests.testing.broken import CAUGHT
from tests.testing.together import Growing, Together

CASES = [pytest.param(model, name, words, id=f"{model.__name__}-{name}") for model, name, words in CAUGHT]


def verdict(model: Model, name: str) -> str:
    """What the named check says of a model; nothing where the model passes."""
    try:
        run_check(model, name, dict(checks(model))[name])
    except ConformanceError as error:
        return str(error)
    return ""


# -- models that pass --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [Together, Together(smoothing=5.0), Growing, Popular], ids=str)
def test_a_model_that_keeps_its_promises_passes(model: Model) -> None:
    check_recommender(model)


def test_a_model_that_only_predicts_passes() -> None:
    class Predictor(Together):
        ranks: ClassVar[bool] = False
        personal: ClassVar[bool] = False

    check_recommender(Predictor)


def test_an_instance_stays_as_it_was() -> None:
    one = Together(smoothing=2.0).fit(planted("top-n").dataset())
    before = all_scores(one)
    check_recommender(one)
    assert one.get_params() == {"smoothing": 2.0}
    assert np.array_equal(all_scores(one), before)


# -- models that fail --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model, name, words", CASES)
def test_broken_promise_is_caught_and_named(model: type[Recommender], name: str, words: tuple[str, ...]) -> None:
    said = verdict(model, name)
    assert said.startswith(f"{model.__name__}: ")
    for word in words:
        assert word in said


def test_every_check_can_fail() -> None:
    every = {
        name for model in (Together, Growing, DeepFM, broken_lists.RecommendsAllTheSame) for name, _ in checks(model)
    }
    denied = {name for name, _ in checks(broken_lists.DeniesItsHistories)}
    assert (every | denied) - {name for _, name, _ in CAUGHT} <= {"gpu_agrees"}


def test_the_first_broken_promise_ends_the_suite() -> None:
    with pytest.raises(ConformanceError, match=r"^RepeatsTheSeen: user 100 is recommended item \d+, which was seen$"):
        check_recommender(broken_lists.RepeatsTheSeen)


def test_an_unexpected_error_is_a_broken_promise_with_its_cause() -> None:
    class Crashes(Together):
        def _fit(self, data: Any, validation: Any) -> None:
            raise ZeroDivisionError("no users")

    with pytest.raises(ConformanceError, match=r"Crashes: .* ends in ZeroDivisionError: no users") as caught:
        check_recommender(Crashes)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_something_else_than_a_recommender_is_refused() -> None:
    for other in (3, int, "ALS"):
        with pytest.raises(ParameterError, match=re.escape(repr(other))):
            check_recommender(other)  # type: ignore[arg-type]


# -- which checks apply ------------------------------------------------------------------------------------------------


def test_checks_are_named_functions_of_one_model() -> None:
    found = checks(Together)
    assert len(found) > 50
    assert len({name for name, _ in found}) == len(found)
    assert all(check.__name__ == f"check_{name}" and check.__doc__ for name, check in found)


def test_checks_follow_what_the_model_supports() -> None:
    names = {name for name, _ in checks(Together)}
    assert "history_gives_the_users_list" in names
    assert "history_is_refused" not in names
    assert "context_is_refused" in names
    assert "context" in {name for name, _ in checks(DeepFM)}
    without = {name for name, _ in checks(broken_lists.DeniesItsHistories)}
    assert "history_is_refused" in without
    assert not any(name.startswith("history_") for name in without - {"history_is_refused"})
    assert "learns_the_planted_tastes" not in {name for name, _ in checks(Popular)}


def test_lists_of_a_history_may_differ_where_a_model_knows_its_users() -> None:
    class KnowsItsUsers(broken_lists.RemembersItsUsers):
        knows_users: ClassVar[bool] = True

    for name, check in checks(KnowsItsUsers):
        if name in ("history_gives_the_users_list", "renamed_columns_change_nothing"):
            check(KnowsItsUsers)


def test_the_suite_needs_neither_pytest_nor_optional_frames() -> None:
    code = """
import sys
sys.modules.update(dict.fromkeys(["pytest", "polars", "pyarrow"]))
import recsys
names = [name for name, _ in recsys.testing.checks(recsys.Popular)]
assert "polars_frames" not in names and "arrow_tables" not in names
recsys.testing.check_recommender(recsys.Popular)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


# -- the planted data --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["rating", "top-n", "click", "next-item"])
def test_planted_data_has_an_idle_user_and_item_and_two_ids_that_nobody_has(shape: Any) -> None:
    data = planted(shape).dataset()
    assert np.array_equal(data.users.ids, all_users())
    assert np.array_equal(data.items.ids, all_items())
    assert data.users.decode(np.setdiff1d(np.arange(data.n_users), data.user_codes)).tolist() == [IDLE_USER]
    assert IDLE_ITEM in data.items.decode(np.setdiff1d(np.arange(data.n_items), data.item_codes))
    assert not {NOBODY, NOTHING} & {*all_users().tolist(), *all_items().tolist()}


@pytest.mark.parametrize("shape", ["rating", "top-n", "click", "next-item"])
def test_planted_users_like_their_own_group(shape: Any) -> None:
    data = planted(shape).dataset()
    own = data.user_codes % N_GROUPS == data.item_codes // 10
    liked = {"rating": data.ratings, "click": data.labels}.get(shape)
    liked = np.ones(len(data)) if liked is None else (liked >= (4 if shape == "rating" else 1))
    assert liked[own].mean() > 0.75
    assert own[liked > 0].mean() > 0.8


def test_planted_walks_say_what_comes_next() -> None:
    train, test = held_out("next-item")
    last = {int(user): int(train.item_codes[train.user_codes == user][-1]) for user in np.unique(train.user_codes)}
    for user, item in zip(test.user_codes, test.item_codes, strict=True):
        assert item == last[int(user)] // 10 * 10 + (last[int(user)] + 1) % 10


def test_planted_data_differs_by_seed_alone() -> None:
    one, again, other = planted("top-n"), planted("top-n"), planted("top-n", seed=1)
    assert one.interactions.equals(again.interactions)
    assert not one.interactions.equals(other.interactions)


def test_seen_items_are_the_clicked_ones() -> None:
    tables = planted("click")
    data = tables.dataset()
    histories = data.histories()
    for user, items in seen_items(tables).items():
        code = data.users.encode([user])
        assert items == set(data.items.decode(histories[code].items).tolist())


# -- what checks are made of -------------------------------------------------------------------------------------------


def test_quick_models_are_small_and_on_the_cpu() -> None:
    assert quick(DeepFM).get_params() | {
        "epochs": 3,
        "hidden_dims": (16, 16, 16),
        "embedding_dim": 8,
        "device": "cpu",
    } == (quick(DeepFM).get_params())
    assert quick(recsys.ALS(n_factors=4)).get_params()["n_factors"] == 4
    assert quick(DeepFM(device="cuda")).get_params()["device"] == "cuda"


def test_close_scores_are_equal_up_to_a_share_of_the_largest() -> None:
    assert close([100.0, 0.001], [100.0, 0.005])
    assert not close([1.0, 0.001], [1.0, 0.005])
    assert not close([1.0, np.nan], [1.0, np.nan])
    assert not close([1.0, np.inf], [1.0, 2.0])
    assert not close([1.0], [1.0, 1.0])


def test_same_lists_may_swap_items_whose_scores_tie() -> None:
    one = Together().fit(planted("top-n").dataset()).recommend(k=4)
    swapped, other = one.copy(), one.copy()
    swapped.loc[0:1, "item_id"] = swapped.loc[[1, 0], "item_id"].to_numpy()
    swapped.loc[0:1, "score"] = swapped.loc[0, "score"]
    tied = swapped.assign(item_id=one["item_id"])
    other.loc[0, "item_id"] = IDLE_ITEM
    assert same_lists(one, one, 0)
    assert same_lists(tied, swapped)
    assert not same_lists(tied, swapped, 0)
    assert not same_lists(one, other)
    assert not same_lists(one, one.iloc[:-1])


def test_a_moved_network_scores_as_before() -> None:
    one = fitted(DeepFM)
    assert np.array_equal(all_scores(moved(one, "cpu")), all_scores(one))
    assert isinstance(moved(one, "cpu").module_, torch.nn.Module)
