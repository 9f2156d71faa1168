"""The smallest member of each family, whose scores can be computed by hand, and data for it."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from recsys.data import Dataset
from recsys.embedding import Embedding, FieldEmbedding
from recsys.families import FieldRecommender, ProfileRecommender, SequenceRecommender, VectorRecommender
from recsys.families.field import FieldNet
from recsys.params import PositiveInt
from recsys.training.examples import ProfileBatch, SequenceBatch


class AdditiveNet(FieldNet):
    """The logit is the sum of one weight a slot, times the slot's value, plus the product of the fields' sums."""

    def __init__(self, sizes: tuple[int, ...], fields: tuple[int, ...]):
        super().__init__()
        self.weights = FieldEmbedding(sizes, 1, fields=fields, std=1.0)
        self.vectors = FieldEmbedding(sizes, 2, fields=fields, std=1.0)

    def embed(self, codes: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        return self.weights(codes, values).sum((1, 2)), self.vectors(codes, values)

    def head(self, parts: tuple[Tensor, ...]) -> Tensor:
        linear, vectors = parts
        return linear + vectors.sum(1).prod(1)


class Additive(FieldRecommender):
    """A field model of one weight and two numbers a slot."""

    def _network(self) -> AdditiveNet:
        return AdditiveNet(self.field_sizes_, self.slot_fields_)


class TablesNet(nn.Module):
    """One vector a user, one an item."""

    def __init__(self, n_users: int, n_items: int, dim: int):
        super().__init__()
        self.users, self.items = Embedding(n_users, dim, std=0.1), Embedding(n_items, dim, std=0.1)

    def forward(self) -> tuple[Tensor, Tensor]:
        return self.users.vectors, self.items.vectors


class Tables(VectorRecommender):
    """Matrix factorization, the vector model without anything else."""

    embedding_dim: PositiveInt = 8
    """Length of the vectors."""

    def _network(self) -> TablesNet:
        return TablesNet(len(self.users_), len(self.items_), self.embedding_dim)


class WeightsNet(nn.Module):
    """One weight a pair of items."""

    def __init__(self, n_items: int):
        super().__init__()
        self.weights = nn.Parameter(torch.randn(n_items, n_items))

    def forward(self, items: Tensor, lengths: Tensor) -> Tensor:
        row = torch.repeat_interleave(torch.arange(len(lengths), device=items.device), lengths)
        return self.weights.new_zeros(len(lengths), len(self.weights)).index_add(0, row, self.weights[items])


class Weights(ProfileRecommender):
    """A linear model of a user's set of items."""

    def _network(self) -> WeightsNet:
        return WeightsNet(len(self.items_))

    def _logits(self, net: Any, batch: ProfileBatch) -> Tensor:
        return net(batch.items, batch.lengths)

    def _loss(self, net: Any, batch: ProfileBatch) -> Tensor:
        return net(batch.items, batch.lengths).square().mean()


class FadingNet(nn.Module):
    """The state is a sum of the items' vectors, each step back worth half."""

    def __init__(self, n_items: int, dim: int):
        super().__init__()
        self.table = Embedding(n_items, dim, std=0.3)

    @property
    def items(self) -> Tensor:
        return self.table.vectors

    def forward(self, history: Tensor, context: Any = ()) -> Tensor:
        x, states = self.table(history), []
        state = torch.zeros_like(x[:, 0])
        for step in range(x.shape[1]):
            state = state / 2 + x[:, step]
            states.append(state)
        return torch.stack(states, 1)


class Fading(SequenceRecommender):
    """A sequence model in which every item counts and the newest most."""

    embedding_dim: PositiveInt = 4
    """Length of the vectors."""

    def _network(self) -> FadingNet:
        return FadingNet(len(self.items_), self.embedding_dim)

    def _loss(self, net: Any, batch: SequenceBatch) -> Tensor:
        real = batch.targets >= 0
        return nn.functional.cross_entropy(net(batch.history)[real] @ net.items.T, batch.targets[real])


def quick(model: Any, **changes: Any) -> Any:
    """A model of some epochs on the CPU."""
    return model(**{"epochs": 2, "batch_size": 16, "verbose": 0, "device": "cpu", **changes})


# -- data --------------------------------------------------------------------------------------------------------------

USERS = pd.DataFrame({"user_id": [1, 2, 3, 9], "group": ["a", None, "b", "a"], "age": [20.0, 40.0, None, 30.0]})
ITEMS = pd.DataFrame(
    {
        "item_id": [10, 20, 30, 40],
        "tags": [["x", "y", "z"], ["y"], [], None],
        "sound": [[1.0, -1.0], [0.5, 2.0], [0.0, 1.5], None],
    }
)


def clicks(n_rows: int = 60) -> pd.DataFrame:
    """Rows of users and items, each with a label, a rating, a weight, a time and two columns of context."""
    rng = np.random.default_rng(3)
    rows = pd.DataFrame({"user_id": rng.integers(1, 4, n_rows), "item_id": rng.choice([10, 20, 30], n_rows)})
    rows["label"] = rng.integers(2, size=n_rows)
    rows["rating"] = rng.integers(1, 6, n_rows).astype(float)
    rows["weight"] = rng.random(n_rows)
    rows["timestamp"] = np.arange(n_rows)
    rows["place"] = rng.choice(["home", "train"], n_rows)
    rows["topics"] = [list(rng.choice(["p", "q", "r"], size, replace=False)) for size in rng.integers(0, 3, n_rows)]
    return rows


def field_data(*, context: bool = True, without: tuple[str, ...] = (), **options: Any) -> Dataset:
    """The clicks with features of both sides; user 9 and item 40 are known by features alone."""
    rows = clicks().drop(columns=list(without))
    names = ("place", "topics") if context else ()
    return Dataset(rows, context_cols=names, **{"user_features": USERS, "item_features": ITEMS, **options})


def groups(n_users: int = 40, n_items: int = 24, per_user: int = 6) -> pd.DataFrame:
    """User u likes six of the twelve items of group u % 2, in an order that goes around them."""
    rows = [
        (user, 12 * (user % 2) + (user + step) % 12, 100 * step + user)
        for user in range(n_users)
        for step in range(per_user)
    ]
    assert n_items == 24
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
