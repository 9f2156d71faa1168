import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import ndtr
from tests.models.fields.truth import as_data, log_loss, truth_table

import recsys
from recsys import FM, Dataset
from recsys.errors import ParameterError
from recsys.models.fields import fm
from recsys.models.fields.fm import FMNet

SOLVERS = ["gradient", "als", "mcmc"]


def quick(**parameters: Any) -> FM:
    small = {"embedding_dim": 4, "epochs": 30, "batch_size": 64, "learning_rate": 0.02}
    return FM(verbose=0, device="cpu", **(small | parameters))


@pytest.fixture(autouse=True)
def _torch_seed_kept() -> Any:
    with torch.random.fork_rng():
        yield


# -- the network ---------------------------------------------------------------------------------------------------------

SIZES, FIELDS, SLOTS = (3, 1, 4), (0, 1, 2, 2, 2), 5


def net(order: int, dim: int = 2) -> FMNet:
    torch.manual_seed(0)
    one = FMNet(SIZES, FIELDS, dim, order=order).double()
    with torch.no_grad():
        for parameter in one.parameters():
            torch.nn.init.normal_(parameter)
        one.linear.table.weight[0] = one.embedding.table.weight[0] = 0  # what is unknown
    return one


CODES = torch.tensor([[2, 0, 1, 3, 0], [0, 0, 2, -1, -1], [-1, 0, -1, -1, -1]])
VALUES = torch.tensor([[1, 0.7, 0.3, 0.3, 0.4], [1, -2.0, 1, 0, 0], [1, 1, 1, 1, 1]], dtype=torch.float64)


def by_definition(one: FMNet, codes: list[int], values: list[float]) -> float:
    """All sets of features, within a field too."""
    starts, dim = (0, 3, 4), one.embedding.table.weight.shape[1] // (one.order - 1)
    x = {starts[field] + code: value for field, code, value in zip(FIELDS, codes, values, strict=True) if code >= 0}
    score = float(one.bias) + sum(float(one.linear.table.vectors[j, 0]) * x[j] for j in x)
    for m in range(2, one.order + 1):
        v = one.embedding.table.vectors[:, (m - 2) * dim : (m - 1) * dim]
        for chosen in itertools.combinations(x, m):
            score += float(v[list(chosen)].prod(0).sum()) * float(np.prod([x[j] for j in chosen]))
    return score


@pytest.mark.parametrize("order", [2, 3, 4])
def test_a_score_is_the_sum_over_all_sets_of_features(order: int) -> None:
    one = net(order)
    with torch.no_grad():
        found = one(CODES, VALUES).tolist()
        wanted = [by_definition(one, *row) for row in zip(CODES.tolist(), VALUES.tolist(), strict=True)]
    np.testing.assert_allclose(found, wanted, atol=1e-10)


@pytest.mark.parametrize("order", [2, 3, 4])
def test_the_sides_of_a_row_give_its_score(order: int) -> None:
    one = net(order)
    left, right = CODES.clone(), CODES.clone()
    left[:, 3:], right[:, :3] = -1, -1
    people, things = (one.side(one.embed(codes, VALUES)) for codes in (left, right))
    assert [part.shape for part in people] == [(3,), (3, order * (order - 1)), (3, order * (order - 1))]
    mixed = torch.cat([left[:, None, :3].expand(3, 3, 3), right[None, :, 3:].expand(3, 3, 2)], 2).flatten(0, 1)
    values = torch.cat([VALUES[:, None, :3].expand(3, 3, 3), VALUES[None, :, 3:].expand(3, 3, 2)], 2).flatten(0, 1)
    torch.testing.assert_close(one.pairs(people, things).flatten(), one(mixed, values))


def test_orders_have_tables_of_their_own() -> None:
    one = net(4, dim=3)
    assert sum(p.numel() for p in one.parameters()) == 1 + (1 + 8) + (1 + 8) * 3 * 3
    grown = net(2, dim=3)
    with torch.no_grad():
        grown.bias.copy_(one.bias)
        grown.linear.table.weight.copy_(one.linear.table.weight)
        grown.embedding.table.weight.copy_(one.embedding.table.weight[:, :3])
        one.embedding.table.weight[:, 3:] = 0
    torch.testing.assert_close(one(CODES, VALUES), grown(CODES, VALUES))


# -- what is learned -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["gradient", "mcmc"])
def test_a_product_of_two_fields_is_learned(solver: Any) -> None:
    frame = truth_table(2)
    assert log_loss(quick(solver=solver, epochs=120).fit(as_data(frame)), frame) < 0.1


def test_a_product_of_three_fields_takes_order_three() -> None:
    frame = truth_table(3)
    two, three = (quick(order=order, epochs=100, learning_rate=0.03).fit(as_data(frame)) for order in (2, 3))
    assert log_loss(two, frame) > 0.68
    assert log_loss(quick(solver="mcmc", epochs=100).fit(as_data(frame)), frame) > 0.68
    assert log_loss(three, frame) < 0.1


NOISE = 0.3


def planted_ratings(n: int = 6000, n_users: int = 100, n_items: int = 60) -> tuple[Dataset, pd.DataFrame, np.ndarray]:
    """Ratings by a machine with towns, tags and hours: training data, held-out rows and what they are without noise."""
    rng = np.random.default_rng(0)
    town, kind, price = rng.integers(4, size=n_users), rng.integers(3, size=(n_items, 2)), rng.normal(size=n_items)
    users, items, hour = rng.integers(n_users, size=n), rng.integers(n_items, size=n), rng.integers(3, size=n)
    tables = {
        name: rng.normal(0, 0.5, (size, 2)) for name, size in (("u", n_users), ("t", 4), ("i", n_items), ("h", 3))
    }
    tags = rng.normal(0, 0.5, (3, 2))
    of_item = (tags[kind].sum(1) / 2 + np.outer(price, [0.4, -0.3]) + tables["i"])[items]
    e = np.stack([tables["u"][users], tables["t"][town[users]], of_item, tables["h"][hour]], 1)
    truth = 3 + rng.normal(0, 0.5, n_items)[items] + 0.5 * (e.sum(1) ** 2 - (e**2).sum(1)).sum(1)
    rows = pd.DataFrame({"user_id": users, "item_id": items, "hour": [f"h{h}" for h in hour]})
    rows["rating"] = truth + NOISE * rng.normal(size=n)
    people = pd.DataFrame({"user_id": range(n_users), "town": [f"t{t}" for t in town]})
    things = pd.DataFrame({"item_id": range(n_items), "tags": [[f"k{t}" for t in row] for row in kind], "price": price})
    half = n // 2
    data = Dataset(rows[:half], context_cols=("hour",), user_features=people, item_features=things)
    return data, rows[half:], truth[half:]


@pytest.mark.parametrize(
    "solver, options, share",
    [("gradient", {"epochs": 20}, 0.9), ("als", {"regularization": 1.0}, 0.6), ("mcmc", {"epochs": 100}, 0.55)],
)
def test_a_planted_machine_is_found(solver: Any, options: Any, share: float) -> None:
    data, rest, truth = planted_ratings()
    error = float(np.sqrt(np.mean((quick(solver=solver, **options).fit(data).predict(rest) - truth) ** 2)))
    # A number is known from a few noisy ratings, so that something is left; the truth itself deviates by 1.3.
    assert error < share * NOISE


def test_probabilities_of_draws_are_those_of_the_data() -> None:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"user_id": rng.integers(60, size=12_000), "item_id": rng.integers(40, size=12_000)})
    p, q, level = rng.normal(0, 0.7, (60, 2)), rng.normal(0, 0.7, (40, 2)), rng.normal(0, 0.5, 40)
    users, items = rows["user_id"].to_numpy(), rows["item_id"].to_numpy()
    truth = ndtr(-0.4 + level[items] + (p[users] * q[items]).sum(1))
    rows["label"] = (rng.random(12_000) < truth).astype(int)
    model = quick(solver="mcmc", epochs=100).fit(rows[:6000])
    found = model.predict(rows[6000:])
    assert np.abs(found - truth[6000:]).mean() < 0.1
    best, ours, chance = (
        -np.mean(np.where(rows["label"][6000:] == 1, np.log(one), np.log1p(-one)))
        for one in (truth[6000:], found.astype(float), np.full(6000, truth.mean()))
    )
    assert ours - best < 0.25 * (chance - best)
    # Shrunk by what the draws differ: a plain Phi of the mean score would be surer than the data allows.
    surer = ndtr(model.score_codes(users[6000:], items[6000:]).astype(float))
    assert ours < -np.mean(np.where(rows["label"][6000:] == 1, np.log(surer), np.log1p(-surer)))


def test_a_weight_counts_a_row_as_often() -> None:
    data, _, _ = planted_ratings(600, 20, 10)
    rows = data.to_frame()[["user_id", "item_id", "rating"]]
    times = np.random.default_rng(1).integers(1, 4, len(rows))
    often = rows.loc[np.repeat(rows.index, times)]
    one, other = (
        quick(solver="als", epochs=10).fit(frame).predict(rows) for frame in (often, rows.assign(weight=times))
    )
    # The mean that ratings are measured from is one thing, and the bias takes up the other.
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_nothing_is_known_of_an_item_without_rows_but_its_features() -> None:
    rows = planted_ratings(2000, 40, 20)[0].to_frame()[["user_id", "item_id", "rating"]]
    rows["rating"] += 2.0 * (rows["item_id"] % 2)
    things = pd.DataFrame({"item_id": range(22), "kind": [f"k{i % 2}" for i in range(22)]})
    data = Dataset(rows, item_features=things)
    users = np.unique(rows["user_id"])
    for solver, options in (("als", {"regularization": 1.0}), ("mcmc", {})):
        model = quick(solver=solver, epochs=300, **options).fit(data)
        scores = [model.predict(users, np.full(len(users), item)).mean() for item in (20, 21)]
        wanted = [rows["rating"][rows["item_id"] % 2 == kind].mean() for kind in (0, 1)]
        np.testing.assert_allclose(scores, wanted, atol=0.4)


# -- ranking -------------------------------------------------------------------------------------------------------------


def people_and_things(target: str = "label") -> tuple[pd.DataFrame, Dataset]:
    """Rows with features of every kind on both sides, tags named twice, and a context."""
    rng = np.random.default_rng(0)
    users = pd.DataFrame({"user_id": range(12), "age": rng.uniform(20, 60, 12), "town": list("abcabcabcabc")})
    tags = [[f"t{j}" for j in (0, 1, 0, 2)[: i % 5]] for i in range(9)]
    vectors = rng.normal(size=(9, 3)).tolist()
    items = pd.DataFrame({"item_id": range(9), "tags": tags, "vector": vectors, "price": rng.uniform(1, 9, 9)})
    rows = pd.DataFrame({"user_id": rng.integers(12, size=200), "item_id": rng.integers(9, size=200)})
    rows["hour"], rows["device"] = rng.uniform(0, 24, 200), rng.choice(["phone", "desk"], 200)
    rows[target] = rng.integers(2, size=200)
    return rows, Dataset(rows, context_cols=("hour", "device"), user_features=users, item_features=items)


FORMS: list[dict[str, Any]] = [{}, {"order": 3}, {"order": 4}, {"solver": "mcmc", "n_draws": 3}]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_ranking_the_catalog_equals_predicting_every_pair(form: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = quick(epochs=8, **form).fit(people_and_things()[1])
    monkeypatch.setattr(fm, "USERS_AT_A_TIME", 5)
    monkeypatch.setattr(fm, "CHUNK", 500)
    users, items = np.indices((12, 9)).reshape(2, -1)
    context = {"hour": 7.5, "device": "phone"}
    table = model.predict(pd.DataFrame({"user_id": users, "item_id": items} | context)).reshape(12, 9)
    found = model.recommend(k=9, filter_seen=False, context=context)
    np.testing.assert_allclose(found["score"], table[found["user_id"], found["item_id"]], atol=1e-5)
    assert (found.groupby("user_id").size() == 9).all()
    few = model.recommend(k=3, filter_seen=False, context=context, items=[1, 4, 7, 8])
    np.testing.assert_allclose(few["score"], table[few["user_id"], few["item_id"]], atol=1e-5)
    best = -np.sort(-table[:, [1, 4, 7, 8]], axis=1)[:, :3]
    np.testing.assert_allclose(few["score"].to_numpy().reshape(12, 3), best, atol=1e-5)
    assert np.abs(model.predict(users, items).reshape(12, 9) - table).max() > 1e-3


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_predictions_are_the_networks_scores(form: Any) -> None:
    rows, data = people_and_things("rating")
    model = quick(epochs=8, **form).fit(data)
    batch = model._examples(data).batch(torch.arange(len(rows)))
    with torch.no_grad():
        scores = model.module_(batch.codes, batch.values).numpy() + model.mean_
    wanted = np.clip(scores, 0, 1)
    np.testing.assert_allclose(model.predict(data.to_frame()), wanted, atol=1e-5)


def test_the_whole_catalogs_scores_are_products_of_two_tables() -> None:
    model = quick(epochs=2, order=3).fit(people_and_things()[1])
    query = recsys.base.Query(np.arange(12), model._history_of(np.arange(12)))
    users, items = np.indices((12, 9)).reshape(2, -1)
    np.testing.assert_allclose(model._score_items(query).ravel(), model.score_codes(users, items), atol=1e-5)


def test_a_tag_named_twice_makes_no_pair_with_itself() -> None:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"user_id": rng.integers(9, size=90), "item_id": rng.integers(4, size=90)})
    rows["rating"] = rng.normal(size=90)
    twice = pd.DataFrame({"item_id": range(4), "tags": [["a", "a"], ["b", "a"], ["b", "b"], ["a"]]})
    once = twice.assign(tags=[["a"], ["b", "a"], ["b"], ["a"]])
    models = [quick(epochs=3).fit(Dataset(rows, item_features=table)) for table in (twice, once)]
    np.testing.assert_allclose(models[0].predict(rows), models[1].predict(rows), atol=1e-5)


# -- exact solvers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["als", "mcmc"])
def test_training_errors_are_those_of_the_predictions(solver: Any) -> None:
    _, data = people_and_things("rating")
    model = quick(solver=solver, epochs=1, n_draws=1, regularization=0.1).fit(data)
    error = data.to_frame()["rating"].to_numpy() - model.score_codes(data.user_codes, data.item_codes, data.context)
    assert model.training_log_["loss"].tolist() == pytest.approx([np.mean((error - model.mean_) ** 2)], rel=1e-4)


def test_least_squares_gets_better_with_every_epoch() -> None:
    model = quick(solver="als", regularization=0.0).fit(planted_ratings(1000)[0])
    assert (np.diff(model.training_log_["loss"]) < 1e-9).all()


@pytest.mark.parametrize("solver", ["als", "mcmc"])
def test_the_best_epoch_of_the_validation_data_is_kept(solver: Any) -> None:
    data, rest, _ = planted_ratings(600, 60, 60)
    model = quick(solver=solver, epochs=40, patience=4, monitor="rmse", regularization=0.01)
    log = model.fit(data, validation_data=rest).training_log_
    assert list(log.columns) == ["epoch", "loss", "rmse", "seconds"]
    best = int(log["rmse"].argmin())
    assert len(log) <= best + 1 + 4
    found = float(np.sqrt(np.mean((model.predict(rest) - rest["rating"]) ** 2)))
    assert found == pytest.approx(log["rmse"].min(), abs=2e-3)
    if solver == "als":
        assert best + 1 < len(log)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_saved_model_predicts_the_same(solver: Any, tmp_path: Path) -> None:
    rows, data = people_and_things("rating")
    model = quick(solver=solver, epochs=6, n_draws=4).fit(data)
    model.save(tmp_path / "fm")
    np.testing.assert_array_equal(recsys.load(tmp_path / "fm").predict(rows), model.predict(rows))


def test_draws_are_kept_side_by_side() -> None:
    model = quick(solver="mcmc", epochs=8, n_draws=3).fit(people_and_things()[1])
    assert model.n_draws_ == 3
    assert model.module_.embedding.table.vectors.shape[1] == 3 * 4
    assert model.variance_ > 0


def test_seeds_make_the_model() -> None:
    rows, data = people_and_things("rating")
    one, again, other = (
        quick(solver="mcmc", epochs=4, random_state=seed).fit(data).predict(rows) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-3


def test_field_data_alone_is_enough() -> None:
    frame = truth_table(2).rename(columns={"label": "rating"}).astype({"rating": float})
    model = quick(solver="als", regularization=0.01).fit(as_data(frame))
    np.testing.assert_allclose(model.predict(frame), frame["rating"], atol=0.05)


@pytest.mark.parametrize(
    "solver, target", [(s, t) for s in SOLVERS for t in ("rating", "label") if (s, t) != ("als", "label")]
)
def test_new_rows_move_a_machine_from_where_its_solver_ended(solver: Any, target: str) -> None:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"user_id": rng.integers(20, size=600), "item_id": rng.integers(10, size=600)})
    rows[target] = (rows["item_id"] % 2 == 0).astype(int)
    model = quick(solver=solver).fit(rows)
    known = model.predict(rows)
    # A new user and a new item; the new item is liked, and so is an odd one, by the new user alone.
    more = pd.DataFrame({"user_id": 99, "item_id": [0, 1, 3, 77] * 10, target: 1})
    model.partial_fit(more)
    assert model.predict([99, 99], [77, 3]).min() > 0.7
    assert np.abs(model.predict(rows) - known).mean() < 0.25
    assert (model.predict(rows[rows["item_id"] % 2 == 0]) > 0.5).all()


# -- what is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parameters, target, message",
    [
        ({"solver": "als", "order": 3}, "rating", "solver='als' is for order=2, not order=3"),
        ({"solver": "mcmc", "checkpoint": "run"}, "rating", "checkpoint='run'"),
        ({"solver": "als", "patience": 3}, "rating", "patience=3 needs"),
        ({"solver": "als"}, "label", "solver='als' is for ratings"),
        ({"solver": "als"}, None, "solver='als' needs ratings"),
        ({"solver": "mcmc"}, None, "solver='mcmc' needs ratings"),
        ({"solver": "mcmc"}, "weighted", "takes no weights beside labels"),
    ],
)
def test_what_an_exact_solver_cannot_do_is_refused(parameters: Any, target: str | None, message: str) -> None:
    rows = pd.DataFrame({"user_id": [1, 1, 2], "item_id": [1, 2, 1]})
    if target is not None:
        rows["rating" if target == "rating" else "label"] = [1, 0, 1]
    if target == "weighted":
        rows["weight"] = [1.0, 2.0, 1.0]
    with pytest.raises(ParameterError, match=message):
        quick(**parameters).fit(rows)


def test_rows_that_stay_in_their_files_are_for_gradients(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    rows = people_and_things("rating")[0][["user_id", "item_id", "rating"]]
    rows.to_parquet(tmp_path / "rows.parquet")
    data = Dataset.from_parquet(tmp_path / "rows.parquet")
    assert np.isfinite(quick(epochs=2).fit(data).predict(rows)).all()
    with pytest.raises(ParameterError, match="solver='als' needs all rows in memory"):
        quick(solver="als").fit(data)


def test_an_order_below_two_is_refused() -> None:
    with pytest.raises(ParameterError, match="order=1"):
        quick(order=1)
