from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recsys.data import Dataset
from recsys.datasets import gowalla, yelp2018
from recsys.errors import DataError

Loader = Callable[[], tuple[Dataset, Dataset]]


@pytest.mark.parametrize(
    "load, n_users, n_items, n_train, n_test",
    [(gowalla, 29_858, 40_981, 810_128, 217_242), (yelp2018, 31_668, 38_048, 1_237_259, 324_147)],
)
def test_counts_are_those_published(
    shared_data: Path,
    monkeypatch: pytest.MonkeyPatch,
    load: Loader,
    n_users: int,
    n_items: int,
    n_train: int,
    n_test: int,
) -> None:
    monkeypatch.setenv("RECSYS_DATA", str(shared_data))
    train, test = load()
    assert (len(train), len(test)) == (n_train, n_test)
    assert (train.n_users, train.n_items) == (n_users, n_items)
    assert np.isin(test.users.ids, train.users.ids).all()
    assert np.isin(test.items.ids, train.items.ids).all()


@pytest.mark.parametrize("load, folder", [(gowalla, "gowalla-lightgcn"), (yelp2018, "yelp2018-lightgcn")])
def test_splits_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: Loader, folder: str) -> None:
    (tmp_path / folder).mkdir()
    rows = pd.DataFrame({"user_id": [0, 0, 1], "item_id": [5, 6, 5], "split": ["train", "test", "train"]})
    rows.to_parquet(tmp_path / folder / "interactions.parquet")
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    train, test = load()
    assert train.to_frame().to_dict("list") == {"user_id": [0, 1], "item_id": [5, 5]}
    assert test.to_frame().to_dict("list") == {"user_id": [0], "item_id": [6]}


@pytest.mark.parametrize("load, folder", [(gowalla, "gowalla-lightgcn"), (yelp2018, "yelp2018-lightgcn")])
def test_a_missing_set_says_where_it_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: Loader, folder: str
) -> None:
    with pytest.raises(DataError, match=f"{folder}/interactions.parquet was not found because RECSYS_DATA is not set"):
        load()
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    with pytest.raises(DataError, match=str(tmp_path)):
        load()
