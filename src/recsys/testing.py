"""The conformance suite: what every model promises, as plain checks. Yours can pass it too: `check_recommender(MyModel())`.

A check takes an unfitted model and a data set that suits it, and raises `ConformanceError` with the contract that was
broken.
"""

import inspect
import random
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
import torch

from recsys.base import Recommender, load
from recsys.data import Dataset
from recsys.errors import DataError, LoadError, NotFittedError, ParameterError, UnsupportedError

Check = Callable[[Recommender, Dataset], None]


class ConformanceError(AssertionError):
    """A contract that a model breaks."""


def require(holds: bool, contract: str) -> None:
    """Raise for a contract that does not hold."""
    if not holds:
        raise ConformanceError(contract)


def refuses(error: type[Exception], call: Callable[[], Any], contract: str) -> str:
    """The message of the error that a call must raise."""
    try:
        call()
    except error as raised:
        return str(raised)
    except Exception as other:
        raise ConformanceError(f"{contract}: raised {type(other).__name__} ({other}), not {error.__name__}") from other
    raise ConformanceError(f"{contract}: raised nothing, not {error.__name__}")


def native(table: Any) -> Any:
    """A frame as its own library has it."""
    return nw.to_native(table, pass_through=True)


def same(one: pd.DataFrame, other: pd.DataFrame, contract: str, *, tolerance: float = 0.0) -> None:
    """Require two frames of lists to be equal, scores up to a relative tolerance."""
    require(len(one) == len(other), f"{contract}: {len(one)} rows and {len(other)}")
    columns = [name for name in one.columns if name != "score"]
    require(bool((one[columns].to_numpy() == other[columns].to_numpy()).all()), f"{contract}: other items")
    scores = one["score"].to_numpy(), other["score"].to_numpy()
    close = np.allclose(*scores, rtol=tolerance, atol=tolerance) if tolerance else np.array_equal(*scores)
    require(bool(close), f"{contract}: other scores")


def check_hyperparameters(model: Recommender, data: Dataset) -> None:
    """Every hyperparameter is documented and round-trips; a wrong name is refused."""
    cls = type(model)
    source = "\n".join(inspect.getsource(base) for base in cls.__mro__ if base.__module__ not in ("builtins", "abc"))
    for name in model.get_params():
        documented = re.search(rf"^    {name}: .*?= .*?\n    \"\"\"", source, re.M | re.S)
        require(documented is not None, f"the hyperparameter {name} has no docstring")
    require(cls().get_params() == cls().clone().get_params(), "clone changes hyperparameters")
    again = cls(**model.get_params())
    require(repr(again) == repr(model), f"repr does not round-trip: {again!r} and {model!r}")
    require(not model.is_fitted, "the constructor sets fitted attributes")
    before = model.get_params()
    message = refuses(ParameterError, lambda: model.set_params(no_such_parameter=1), "an unknown hyperparameter")
    require("no_such_parameter" in message, "the error does not name the hyperparameter")
    require(model.get_params() == before, "a refused set_params changed something")


def check_unfitted(model: Recommender, data: Dataset) -> None:
    """Use before `fit` raises `NotFittedError`."""
    for name, call in {
        "predict": lambda: model.predict([1], [1]),
        "recommend": lambda: model.recommend(),
        "similar_items": lambda: model.similar_items([1]),
        "save": lambda: model.save("nowhere"),
    }.items():
        refuses(NotFittedError, call, f"{name} before fit")


def check_fit(model: Recommender, data: Dataset) -> None:
    """`fit` returns the model, changes neither data nor hyperparameters, repeats bitwise, and leaves global state alone."""
    parameters, frame = model.get_params(), data.to_frame().copy()
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    require(model.fit(data) is model, "fit does not return the model")
    first = model.recommend(k=5)
    require(random.getstate() == states[0], "fit or recommend moves Python's random state")
    require(bool((np.random.get_state()[1] == states[1]).all()), "fit or recommend moves NumPy's random state")  # noqa: NPY002
    require(torch.equal(torch.get_rng_state(), states[2]), "fit or recommend moves torch's random state")
    require(model.get_params() == parameters, "fit changes hyperparameters")
    require(frame.equals(data.to_frame()), "fit changes the data")
    same(first, model.clone().fit(data).recommend(k=5), "the same seed gives another model")
    half = data.subset(np.arange(len(data)) % 2 == 0)
    same(first, model.clone().fit(half).fit(data).recommend(k=5), "refitting does not forget the first fit")


def check_failed_fit(model: Recommender, data: Dataset) -> None:
    """A fit that fails leaves the fitted model as it was; missing roles are named."""
    model.fit(data)
    before = model.recommend(k=3)
    frame = data.to_frame()
    refuses(DataError, lambda: model.fit(frame.iloc[:0]), "fit on an empty frame")
    same(before, model.recommend(k=3), "a failed fit changed the model")
    for role in model.needs:
        if role in ("rating", "label"):
            bare = Dataset(frame[["user_id", "item_id"]])
            message = refuses(DataError, lambda: model.clone().fit(bare), f"fit without a {role}")  # noqa: B023
            require(role in message, f"the error does not name the missing {role}")


def check_lists(model: Recommender, data: Dataset) -> None:
    """Lists are unique, sorted, ranked from 1, at most k long, without seen items, and agree with `predict`."""
    model.fit(data)
    k = 7
    lists = model.recommend(k=k)
    require(list(lists.columns) == ["user_id", "item_id", "score", "rank"], f"columns are {list(lists.columns)}")
    require(not lists.duplicated(["user_id", "item_id"]).any(), "a list holds an item twice")
    require(bool(np.isfinite(lists["score"]).all()), "a score is not finite")
    require(lists["score"].dtype == np.float32, "scores are not float32")
    for user, rows in lists.groupby("user_id", sort=False):
        require(list(rows["rank"]) == list(range(1, len(rows) + 1)), f"ranks of user {user} are {list(rows['rank'])}")
        require(bool((np.diff(rows["score"]) <= 0).all()), f"the list of user {user} is not sorted")
        require(len(rows) <= k, f"the list of user {user} is longer than k")
    held = pd.DataFrame({"user_id": data.users.ids[data.user_codes], "item_id": data.items.ids[data.item_codes]})
    require(len(lists.merge(held[data.positive], on=["user_id", "item_id"])) == 0, "a list holds a seen item")
    predicted = model.predict(lists)
    require(predicted.dtype == np.float32 and predicted.shape == (len(lists),), "predict is no float32 (n,)")
    require(bool(np.allclose(predicted, lists["score"], rtol=1e-4, atol=1e-5)), "recommend does not agree with predict")
    shuffled = lists.sample(frac=1, random_state=0)
    close = np.allclose(model.predict(shuffled), shuffled["score"], rtol=1e-4, atol=1e-5)
    require(bool(close), "predict depends on the order of rows")


def check_candidates(model: Recommender, data: Dataset) -> None:
    """Candidates, exclusions and `filter_seen` are kept to the letter; k beyond the catalogue gives what there is."""
    model.fit(data)
    users, items = data.users.ids[:3], data.items.ids[::3]
    allowed = model.recommend(users, k=5, items=items)
    require(bool(allowed["item_id"].isin(items).all()), "a list holds an item that is no candidate")
    without = model.recommend(users, k=5, exclude_items=items)
    require(not without["item_id"].isin(items).any(), "a list holds an excluded item")
    everything = model.recommend(users, k=data.n_items + 10, filter_seen=False)
    require(len(everything) == 3 * data.n_items, "k beyond the catalogue does not give all of it")
    unseen = model.recommend(users, k=data.n_items + 10)
    n_seen = data.to_csr()[:3].nnz
    require(len(unseen) == 3 * data.n_items - n_seen, "filter_seen leaves out other than the seen items")
    for k in (0, -1, True, 2.5):
        refuses(ParameterError, lambda: model.recommend(k=k), f"k={k!r}")  # noqa: B023


def check_unknown(model: Recommender, data: Dataset) -> None:
    """Unknown users and items raise, are skipped, or are served the popular items, as asked; `predict` stays finite."""
    model.fit(data)
    known = data.users.ids[0]
    asked = [known, 987654]
    message = refuses(DataError, lambda: model.recommend(asked), "an unknown user")
    require("987654" in message, "the error does not name the unknown user")
    require(set(model.recommend(asked, on_unknown="skip")["user_id"]) == {known}, "on_unknown='skip' does not skip")
    popular = model.recommend(asked, k=3, on_unknown="popular")
    require(list(popular["user_id"]) == [known] * 3 + [987654] * 3, "on_unknown='popular' does not serve everyone")
    scores = model.predict([known, 987654, 987654], [987654, data.items.ids[0], 987654])
    require(bool(np.isfinite(scores).all()), "predict of an unknown user or item is not finite")
    refuses(ParameterError, lambda: model.recommend(on_unknown="guess"), "on_unknown='guess'")


def check_history(model: Recommender, data: Dataset) -> None:
    """`history=` works exactly where `supports("history")` says, and gives a fitted user's list from the user's rows."""
    model.fit(data)
    users = data.users.ids[:4]
    frame = data.to_frame()
    rows = frame[frame["user_id"].isin(users) & (frame["label"] == 1 if "label" in frame else True)]
    if not model.supports("history"):
        refuses(UnsupportedError, lambda: model.recommend(history=rows), "history= without support")
        return
    found = model.recommend(history=rows, k=5).sort_values(["user_id", "rank"])
    same(model.recommend(users, k=5), found, "a history does not give its user's list", tolerance=1e-3)
    unknown = rows.assign(item_id=987654)
    refuses(DataError, lambda: model.recommend(history=unknown), "a history of unknown items")
    require(len(model.recommend(history=unknown, on_unknown="skip")) == 0, "a history of unknown items is not skipped")
    popular = model.recommend(history=unknown, k=2, on_unknown="popular")
    require(len(popular) == 2 * rows["user_id"].nunique(), "a history of unknown items is not served popular items")


def check_saving(model: Recommender, data: Dataset) -> None:
    """A saved model gives the same lists; a cut, changed or foreign one is a `LoadError`."""
    model.fit(data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model")
        model.save(path)
        model.save(path)
        again = load(path)
        require(repr(again) == repr(model), "a loaded model has other hyperparameters")
        same(model.recommend(k=5), again.recommend(k=5), "a loaded model gives other lists", tolerance=1e-6)
        head, arrays = (path / "model.json").read_text(), (path / "model.safetensors").read_bytes()
        damages: dict[str, Callable[[], Any]] = {
            "cut arrays": lambda: (path / "model.safetensors").write_bytes(arrays[: len(arrays) // 2]),
            "changed arrays": lambda: (path / "model.safetensors").write_bytes(arrays[:-1] + bytes([arrays[-1] ^ 1])),
            "a cut head": lambda: (path / "model.json").write_text(head[: len(head) // 2]),
            "another version": lambda: (path / "model.json").write_text(head.replace('"format": 1', '"format": 99')),
            "a changed head": lambda: (path / "model.json").write_text(head.replace('"item_id"', '"itemid"')),
            "missing arrays": lambda: (path / "model.safetensors").unlink(),
        }
        for name, damage in damages.items():
            (path / "model.json").write_text(head)
            (path / "model.safetensors").write_bytes(arrays)
            damage()
            refuses(LoadError, lambda: load(path), f"a saved model with {name}")


def check_order(model: Recommender, data: Dataset) -> None:
    """Given times, the order of the frame's rows changes nothing; nor do ids that are renamed in order, or strings."""
    model.fit(data)
    lists = model.recommend(k=5)
    roles = data.roles
    shuffled = data.to_frame().sample(frac=1, random_state=1)
    other = Dataset(shuffled, user_features=native(roles.user_features), item_features=native(roles.item_features))
    same(lists, model.clone().fit(other).recommend(k=5), "the order of rows changes the lists")

    def rename(frame: Any) -> Any:
        return frame.assign(**{c: frame[c].map("id{:06d}".format) for c in ("user_id", "item_id") if c in frame})

    renamed = Dataset(
        rename(data.to_frame()),
        user_features=rename(native(roles.user_features)),
        item_features=rename(native(roles.item_features)),
    )
    same(rename(lists), model.clone().fit(renamed).recommend(k=5), "renamed ids change the lists")


def check_frames(model: Recommender, data: Dataset) -> None:
    """A polars or pyarrow frame gives the same lists, in its own kind."""
    lists = model.clone().fit(Dataset(data.to_frame(), item_features=native(data.roles.item_features))).recommend(k=3)
    for kind in ("polars", "pyarrow"):
        try:
            library = __import__(kind)
        except ImportError:
            continue
        frame = data.to_frame()
        given = (
            library.from_pandas(frame) if kind == "polars" else library.Table.from_pandas(frame, preserve_index=False)
        )
        found = model.clone().fit(Dataset(given, item_features=native(data.roles.item_features))).recommend(k=3)
        require(type(found).__module__.startswith(kind), f"a {kind} frame gives lists as {type(found)}")
        same(lists, found.to_pandas(), f"a {kind} frame changes the lists")


def check_extremes(model: Recommender, data: Dataset) -> None:
    """One user, one item, and repeated rows are served; a user with an empty history is too."""
    model.fit(data)
    empty = data.users.ids[-1]
    require(len(model.recommend([empty], k=4)) == 4, "a user with an empty history is not served")
    frame = data.to_frame()
    features = native(data.roles.item_features)
    one_user = frame[frame["user_id"] == frame["user_id"].iloc[0]]
    require(
        len(model.clone().fit(Dataset(one_user, item_features=features)).recommend(k=2)) == 2, "one user is not served"
    )
    one_item = frame[frame["item_id"] == frame["item_id"].iloc[0]]
    alone = features[features["item_id"] == frame["item_id"].iloc[0]]
    lists = model.clone().fit(Dataset(one_item, item_features=alone)).recommend(k=2, filter_seen=False)
    require(set(lists["item_id"]) <= set(one_item["item_id"]), "a catalogue of one item gives another")
    twice = pd.concat([frame, frame])
    require(
        len(model.clone().fit(Dataset(twice, item_features=features)).recommend(k=2)) > 0,
        "repeated rows are not served",
    )


def check_similar(model: Recommender, data: Dataset) -> None:
    """Similar items and users exist exactly where `supports` says; an item is not similar to itself."""
    model.fit(data)
    for feature, ids, column in (
        ("similar_items", data.items.ids[:3], "item_id"),
        ("similar_users", data.users.ids[:3], "user_id"),
    ):
        call = getattr(model, feature)
        if not model.supports(feature):
            refuses(UnsupportedError, lambda: call(ids), f"{feature} without support")  # noqa: B023
            continue
        found = call(ids, k=4)
        require(bool((found[column] != found[f"similar_{column}"]).all()), f"{feature} names the id itself")
        require(found.groupby(column).size().max() <= 4, f"{feature} gives more than k")


CHECKS: tuple[Check, ...] = (
    check_hyperparameters,
    check_unfitted,
    check_fit,
    check_failed_fit,
    check_lists,
    check_candidates,
    check_unknown,
    check_history,
    check_saving,
    check_order,
    check_frames,
    check_extremes,
    check_similar,
)


def check_recommender(model: Recommender, data: Dataset) -> None:
    """Run every check on an unfitted model: the first broken contract raises.

    `data` suits the model's task shape, holds timestamps, user and item features, integer ids below 987654, at least
    4 users, and as its last user one that only the features know.
    """
    for check in CHECKS:
        check(model.clone(), data)
