"""Field models that train on rows which stay in Parquet files."""

from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from recsys import EASE, FM, DeepFM, Recommender, SASRec, load
from recsys.data import Dataset, Numbers, parquet, streamed
from recsys.errors import LoadError, UnsupportedError
from recsys.families import FieldRecommender
from recsys.metrics import auc

N = 3000
OPTIONS: dict[str, Any] = {"context_cols": ["hour", "device", "age"], "encoders": {"age": Numbers("none")}}
FIELDS = {"user_col": None, "item_col": None}
SMALL: dict[str, Any] = {
    "embedding_dim": 4, "hidden_dims": (8,), "epochs": 3, "batch_size": 64, "learning_rate": 0.02, "device": "cpu",
    "verbose": 0,
}  # fmt: skip


def clicks(seed: int = 0) -> pd.DataFrame:
    """Clicks that follow from the taste of the user's group, the item's group and the hour."""
    rng = np.random.default_rng(seed)
    users, items, hours = rng.integers(40, size=N), rng.integers(30, size=N), rng.integers(6, size=N)
    logits = np.where(users % 2 == items % 2, 2.0, -2.0) + np.where(hours < 3, 1.0, -1.0)
    return pd.DataFrame(
        {
            "user_id": [f"u{user:02}" for user in users],
            "item_id": items,
            "label": (rng.random(N) < 1 / (1 + np.exp(-logits))).astype(int),
            "rating": 3.0 + logits / 2 + rng.normal(0, 0.1, N),
            "weight": rng.choice([0.5, 1.0], N),
            "hour": [f"h{hour}" for hour in hours],
            "device": rng.integers(3, size=N),
            "age": rng.integers(-3, 4, N) / 2,
        }
    )


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Two files of ragged row groups, read in pieces and chunks far smaller than the data."""
    monkeypatch.setattr(parquet, "PIECE_ROWS", 300)
    monkeypatch.setattr(streamed, "CHUNK_ROWS", 100)
    clicks()[:1234].to_parquet(tmp_path / "1.parquet", row_group_size=130)
    clicks()[1234:].to_parquet(tmp_path / "2.parquet", row_group_size=400)
    return str(tmp_path / "*.parquet")


class InOrder:
    """Examples in memory, a batch after the other in their own order."""

    def __init__(self, examples: Any):
        self.examples = examples

    def to(self, device: torch.device) -> "InOrder":
        return self

    def batches(self, batch_size: int) -> Any:
        torch.randint(2**62, ())  # as a stream takes its seed
        return (self.examples.batch(rows) for rows in torch.arange(len(self.examples)).split(batch_size))


class OrderedDeepFM(DeepFM):
    def _examples(self, data: Dataset) -> Any:
        return InOrder(super()._examples(data))


def same_weights(one: Any, other: Any) -> bool:
    left, right = one.module_.state_dict(), other.module_.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_in_one_order_the_model_is_bitwise_that_of_rows_in_memory(path):
    options = {**FIELDS, **OPTIONS, "rating_col": None}
    memory = OrderedDeepFM(**SMALL).fit(Dataset(clicks(), **options))
    stream = DeepFM(**SMALL).fit(Dataset.from_parquet(path, **options, shuffle_buffer=0))
    assert same_weights(memory, stream)
    assert stream.training_log_["loss"].tolist() == memory.training_log_["loss"].tolist()
    np.testing.assert_array_equal(stream.predict(clicks(1)), memory.predict(clicks(1)))


@pytest.mark.parametrize("buffer", [200, N])
def test_shuffled_by_a_buffer_it_tells_clicks_apart_as_well(path, buffer):
    options = {**OPTIONS, "rating_col": None}
    memory = DeepFM(**SMALL).fit(Dataset(clicks(), **options))
    stream = DeepFM(**SMALL).fit(Dataset.from_parquet(path, **options, shuffle_buffer=buffer))
    test = clicks(1)
    scores = [auc(test["label"].to_numpy(), model.predict(test)) for model in (memory, stream)]
    assert scores[1] > 0.86
    assert abs(scores[0] - scores[1]) < 0.02


def test_the_same_seed_is_the_same_model(path):
    data = Dataset.from_parquet(path, **OPTIONS, shuffle_buffer=200)
    one, same, other = (DeepFM(**SMALL, random_state=seed).fit(data) for seed in (1, 1, 2))
    assert same_weights(one, same)
    assert not same_weights(one, other)


def test_ratings_are_centered_and_clipped_as_in_memory(path):
    options = {**OPTIONS, "label_col": None}
    memory = FM(epochs=1, verbose=0, device="cpu").fit(Dataset(clicks(), **options))
    stream = DeepFM(**SMALL).fit(Dataset.from_parquet(path, **options))
    assert (stream.mean_, stream.low_, stream.high_) == pytest.approx((memory.mean_, memory.low_, memory.high_))
    errors = stream.predict(clicks(1)) - clicks(1)["rating"]
    assert np.sqrt((errors**2).mean()) < 0.5 * clicks(1)["rating"].std()


def test_rows_without_labels_are_trained_with_negatives_that_nobody_has(path):
    options = {**OPTIONS, "label_col": None, "rating_col": None}
    data = Dataset.from_parquet(path, **options)
    model = DeepFM(**SMALL).fit(data)
    frame = clicks()
    have = set(zip(frame["user_id"], frame["item_id"], strict=True))
    pairs = pd.DataFrame([(u, i) for u in data.users.ids for i in data.items.ids], columns=["user_id", "item_id"])
    mine = np.array([pair in have for pair in pairs.itertuples(index=False, name=None)])
    scores = model.predict(pairs["user_id"], pairs["item_id"])
    assert auc(mine.astype(int), scores) > 0.6


def test_seen_items_are_left_out_of_lists(path):
    options = {**OPTIONS, "rating_col": None}
    memory = DeepFM(**SMALL).fit(Dataset(clicks(), **options))
    stream = DeepFM(**SMALL).fit(Dataset.from_parquet(path, **options))
    liked = clicks().query("label == 1")
    have = set(zip(liked["user_id"], liked["item_id"], strict=True))
    lists = stream.recommend(k=30)
    assert not have & set(zip(lists["user_id"], lists["item_id"], strict=True))
    assert len(lists) == 40 * 30 - len(have) == len(memory.recommend(k=30))
    assert set(stream.recommend(k=30, filter_seen=False)["item_id"]) == set(range(30))
    np.testing.assert_array_equal(stream.item_counts_, memory.item_counts_)


def test_a_saved_model_needs_no_file_of_the_data(path, tmp_path):
    model = DeepFM(**SMALL).fit(Dataset.from_parquet(path, **OPTIONS))
    model.save(tmp_path / "model")
    for file in tmp_path.glob("*.parquet"):
        file.unlink()
    np.testing.assert_array_equal(load(tmp_path / "model").predict(clicks(1)), model.predict(clicks(1)))


def test_shards_train_on_their_own_rows_with_one_vocabulary(path):
    shards = [Dataset.from_parquet(path, **OPTIONS, shard=(rank, 2), shuffle_buffer=200) for rank in range(2)]
    one, other = (DeepFM(**SMALL).fit(shard) for shard in shards)
    assert one.field_sizes_ == other.field_sizes_
    assert not same_weights(one, other)


def kill(fit: Callable[[], Any], at_step: int) -> None:
    """Cut a fit off at a step, as by Ctrl-C."""
    whole, steps = FieldRecommender._loss, count(1)

    def loss(self: Any, net: Any, batch: Any) -> Any:
        if next(steps) == at_step:
            raise KeyboardInterrupt
        return whole(self, net, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FieldRecommender, "_loss", loss)
        with pytest.raises(KeyboardInterrupt):
            fit()


def test_a_fit_that_was_killed_goes_on_to_the_same_model(path, tmp_path):
    data = Dataset.from_parquet(path, **OPTIONS, shuffle_buffer=200)
    whole = DeepFM(**SMALL, checkpoint=str(tmp_path / "whole")).fit(data)
    cut = str(tmp_path / "cut")
    kill(lambda: DeepFM(**SMALL, checkpoint=cut).fit(data), at_step=100)
    resumed = DeepFM(**SMALL, checkpoint=cut).fit(Dataset.from_parquet(path, **OPTIONS, shuffle_buffer=200))
    assert same_weights(whole, resumed)


def test_a_checkpoint_of_other_files_is_refused(path, tmp_path):
    cut = str(tmp_path / "cut")
    kill(lambda: DeepFM(**SMALL, checkpoint=cut).fit(Dataset.from_parquet(path, **OPTIONS)), at_step=100)
    clicks(1).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(LoadError, match="belongs to another model"):
        DeepFM(**SMALL, checkpoint=cut).fit(Dataset.from_parquet(tmp_path / "other.parquet", **OPTIONS))


@pytest.mark.parametrize("model", [EASE(), SASRec(verbose=0)], ids=["EASE", "SASRec"])
def test_models_that_need_all_rows_say_so_and_which_do_not(path, model: Recommender):
    with pytest.raises(UnsupportedError, match=r"needs all rows in memory .* frame for Dataset; .*DeepFM"):
        model.fit(Dataset.from_parquet(path, timestamp_col="age"))


def test_rows_to_validate_on_are_wanted_in_memory(path):
    data = Dataset.from_parquet(path, **OPTIONS)
    with pytest.raises(UnsupportedError, match=r"holds no rows, so it has no .*"):
        DeepFM(**SMALL, monitor="auc").fit(data, validation_data=data)
