"""DeepFM beside its halves on MovieLens 1M, rating of at least 4 as the click."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from reproduce import Row
from sklearn.linear_model import LogisticRegression
from torch import Tensor

import recsys
from recsys import Dataset, DeepFM
from recsys.families.field import FieldRecommender, Parts
from recsys.metrics.classification import auc, logloss
from recsys.models.fields.deepfm import DeepFMNet

TITLE = "Click prediction on MovieLens 1M"
PROTOCOL = """A rating of at least 4 is a click, from six fields: user, movie, gender, age, occupation and genres.
Ratings are split 80/10/10 at random. Each model's options are picked by AUC on the validation part from the same
number of trials, its epochs by early stopping there; the test part is read once a model. The multilayer perceptron is
DeepFM without its linear and pairwise parts; the logistic regression is scikit-learn's."""
TRIALS = tuple({"weight_decay": decay, "dropout": dropout} for decay in (1e-5, 1e-4, 5e-4) for dropout in (0.2, 0.5))


class DeepOnlyNet(DeepFMNet):
    """DeepFM's network with its deep part alone."""

    def head(self, parts: Parts) -> Tensor:
        """Field vectors (B, F, D) to logits (B,)."""
        return self.bias + self.deep(parts[1].flatten(1)).squeeze(1)


class DeepOnly(DeepFM):
    """A multilayer perceptron over the fields' vectors."""

    def _network(self) -> DeepOnlyNet:
        return DeepOnlyNet(
            self.field_sizes_, self.slot_fields_, self.embedding_dim, self.hidden_dims, dropout=self.dropout
        )


def run() -> Iterator[Row]:
    train, validation, test = parts()
    yield logistic(train, validation, test)
    for name, model in (("multilayer perceptron", DeepOnly()), ("DeepFM", DeepFM(init_std=0.001))):
        yield network(name, model, train, validation, test)


def parts() -> tuple[Dataset, Dataset, Dataset]:
    folder = Path(os.environ["RECSYS_DATA"], "ml-1m")
    ratings = pd.read_parquet(folder / "ratings.parquet")
    users = pd.read_parquet(folder / "users.parquet")[["user_id", "gender", "age", "occupation"]]
    items = recsys.datasets.movielens_items("1m")[["item_id", "genres"]]
    rows = ratings[["user_id", "item_id"]].assign(label=(ratings.rating >= 4).astype(int))
    part = np.random.default_rng(0).choice(3, size=len(rows), p=(0.8, 0.1, 0.1))
    return tuple(Dataset(rows[part == p], user_features=users, item_features=items) for p in range(3))  # type: ignore[return-value]


def logistic(*data: Dataset) -> Row:
    """Logistic regression on the one-hot fields, its penalty picked on the validation part."""
    (x, y), (x_validation, y_validation), (x_test, y_test) = ((one_hot(part), part.labels) for part in data)
    best = (0.0, 0.0, None)
    for c in (0.03, 0.1, 0.3, 1.0, 3.0, 10.0):
        model = LogisticRegression(C=c, max_iter=300).fit(x, y)
        best = max(best, (auc(y_validation, model.predict_proba(x_validation)[:, 1]), c, model), key=lambda t: t[0])
    p = best[2].predict_proba(x_test)[:, 1]
    return {"model": f"logistic regression, C={best[1]}", "AUC": auc(y_test, p), "log loss": logloss(y_test, p)}


def one_hot(data: Dataset) -> sp.csr_matrix:
    """Rows (n, columns): a 1 for each id and category, genres as shares of a row."""
    identity = sp.identity
    blocks: list[sp.spmatrix] = [
        identity(data.n_users, format="csr")[data.user_codes],
        identity(data.n_items, format="csr")[data.item_codes],
    ]
    for features, codes in ((data.user_features, data.user_codes), (data.item_features, data.item_codes)):
        for column in features.columns:
            if column.kind == "categorical":
                table = identity(column.size, format="csr")[column.codes]
            else:
                table = sp.csr_matrix((np.ones(len(column.codes)), column.codes, column.indptr))
                table = sp.diags(1 / np.maximum(np.diff(column.indptr), 1)) @ table
            blocks.append(table.tocsr()[codes])
    return sp.hstack(blocks, format="csr")


def network(name: str, model: FieldRecommender, train: Dataset, validation: Dataset, test: Dataset) -> Row:
    """The trial that is best on the validation part."""
    fitted: Sequence[FieldRecommender] = [
        model.clone(
            embedding_dim=16, hidden_dims=(128, 128), batch_size=4096, learning_rate=0.003, epochs=30, patience=2,
            monitor="auc", verbose=0, **trial,
        ).fit(train, validation_data=validation)
        for trial in TRIALS
    ]  # fmt: skip
    scores = [float(one.training_log_["auc"].max()) for one in fitted]
    best = fitted[int(np.argmax(scores))]
    print(f"  {name}: validation AUC {[round(score, 4) for score in scores]}", flush=True)
    found = recsys.evaluate(best, test, metrics=["auc", "logloss"])
    chosen = {option: getattr(best, option) for option in ("weight_decay", "dropout")}
    n_weights = sum(one.numel() for one in best.module_.parameters())
    return {
        "model": f"{name}, {chosen}",
        "AUC": found["auc"],
        "log loss": found["logloss"],
        "weights": f"{n_weights:,}",
        "epochs": len(best.training_log_),
    }
