"""Click models on two small logs, beside logistic regression."""

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from reproduce import Row
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

import recsys
from recsys import DCN, DLRM, FM, Categories, Dataset, DeepFM, Numbers, WideDeep
from recsys.families import FieldRecommender
from recsys.metrics.classification import auc, logloss

TITLE = "Click models on the first rows of Criteo and Avazu"
PROTOCOL = """The first 10,000 rows of Criteo's Kaggle log (13 counts and 26 categories, both with missing values) and
8,999 rows of Avazu's (22 categories), each split 80/10/10 at random five times. Categories seen fewer than five times
in the training part share a code, counts go through log(1 + x), missing values have codes of their own. Options are
picked by log loss on the validation part and epochs end by early stopping there; the test part is read once a split.
Logistic regression (scikit-learn's, its penalty picked on the validation part) reads the same one-hot categories and
logarithms. Mean over the five splits, and on how many of them log loss is below logistic regression's."""
SPLITS = 5
RARE = 5

COMMON: Mapping[str, object] = {
    "embedding_dim": 4, "batch_size": 256, "learning_rate": 0.003, "epochs": 40, "patience": 2, "plateau_factor": 0.3,
    "monitor": "logloss", "verbose": 0, "device": "cpu",
}  # fmt: skip
LIGHT, HEAVY = (0.0003, 0.001, 0.003), (0.003, 0.01, 0.03)
DEEP: Mapping[str, object] = {**COMMON, "hidden_dims": (64, 64), "dropout": 0.3}


def models(crosses: Sequence[Sequence[str]]) -> Mapping[str, Sequence[FieldRecommender]]:
    """Options of each model."""
    wide = {**DEEP, "optimizer": "adam", "crosses": tuple(map(tuple, crosses)), "wide_l1": 1.0, "wide_l2": 10.0}
    return {
        "FM": [FM(**COMMON, init_std=0.01, weight_decay=decay) for decay in LIGHT],
        "FM, order 3": [FM(**COMMON, order=3, init_std=0.05, weight_decay=decay) for decay in LIGHT],
        "DeepFM": [DeepFM(**DEEP, embedding_decay=decay) for decay in HEAVY],
        "WideDeep": [WideDeep(**wide, embedding_decay=decay) for decay in HEAVY],
        "DCN, version 1": [DCN(**DEEP, version=1, embedding_decay=decay) for decay in HEAVY],
        "DCN, version 2": [DCN(**DEEP, version=2, embedding_decay=decay) for decay in HEAVY],
        "DLRM": [DLRM(**DEEP, bottom_dims=(32,), embedding_decay=decay) for decay in HEAVY],
    }


def run() -> Iterator[Row]:
    folder = Path(os.environ["RECSYS_DATA"])
    criteo = pd.read_parquet(folder / "criteo-10k" / "data.parquet")
    yield from rows("criteo-10k", criteo, [f"I{i}" for i in range(1, 14)], [("C6", "C9"), ("C14", "C17")])
    avazu = pd.read_parquet(folder / "avazu-9k" / "data.parquet").drop(columns=["id", "split", "hour"])
    yield from rows("avazu-9k", avazu, [], [("site_category", "app_category"), ("banner_pos", "device_type")])


def rows(name: str, log: pd.DataFrame, numbers: Sequence[str], crosses: Sequence[Sequence[str]]) -> Iterator[Row]:
    """A row a model on one log."""
    log = log.astype({column: "string" for column in log.columns if column not in (*numbers, "label")})
    parts = [np.random.default_rng(seed).choice(3, size=len(log), p=(0.8, 0.1, 0.1)) for seed in range(SPLITS)]
    base = np.array([logistic(log, numbers, part) for part in parts])
    yield row(name, "logistic regression", base, base)
    for model, options in models(crosses).items():
        yield row(name, model, np.array([tuned(log, numbers, part, options) for part in parts]), base)


def row(data: str, model: str, figures: np.ndarray, base: np.ndarray) -> Row:
    """Mean figures (splits, 2) of log loss and AUC."""
    loss, area = figures.mean(0)
    better = int((figures[:, 0] < base[:, 0]).sum())
    return {"data": data, "model": model, "log loss": float(loss), "AUC": float(area), "splits won": f"{better} of 5"}


def tuned(
    log: pd.DataFrame, numbers: Sequence[str], part: np.ndarray, options: Sequence[FieldRecommender]
) -> tuple[float, float]:
    """Log loss and AUC on the test part of the options that are best on the validation part."""
    columns = [column for column in log.columns if column != "label"]
    encoders = {name: Numbers("log1p") if name in numbers else Categories(min_count=RARE) for name in columns}
    train, validation, test = (
        Dataset(log[part == p], user_col=None, item_col=None, context_cols=columns, encoders=encoders) for p in range(3)
    )
    fitted = [one.clone().fit(train, validation_data=validation) for one in options]
    best = min(fitted, key=lambda one: one.training_log_["logloss"].min())
    found = recsys.evaluate(best, test, metrics=["logloss", "auc"])
    assert np.isfinite(best.training_log_["loss"]).all()
    return found["logloss"], found["auc"]


def logistic(log: pd.DataFrame, numbers: Sequence[str], part: np.ndarray) -> tuple[float, float]:
    """Log loss and AUC of logistic regression on the test part."""
    categories = [column for column in log.columns if column not in (*numbers, "label")]
    frame = log.fillna(dict.fromkeys(categories, "missing"))
    (x, y), (x_validation, y_validation), (x_test, y_test) = (
        (frame[part == p].drop(columns="label"), frame.loc[part == p, "label"].to_numpy()) for p in range(3)
    )
    best = (np.inf, 0.0, None)
    for c in (0.01, 0.03, 0.1, 0.3, 1.0):
        encode = make_column_transformer(
            (OneHotEncoder(min_frequency=RARE, handle_unknown="infrequent_if_exist"), categories),
            (FunctionTransformer(logarithms), list(numbers)),
        )
        model = make_pipeline(encode, LogisticRegression(C=c, max_iter=1000))
        with warnings.catch_warnings():
            # A category that was never seen is what the test part is about.
            warnings.simplefilter("ignore", UserWarning)
            model.fit(x, y)
            loss = logloss(y_validation, model.predict_proba(x_validation)[:, 1])
            if loss < best[0]:
                best = (loss, c, model)
            p = best[2].predict_proba(x_test)[:, 1]
    return logloss(y_test, p), auc(y_test, p)


def logarithms(counts: pd.DataFrame) -> np.ndarray:
    """log(1 + x) of counts, and which are missing: (n, 2 columns)."""
    values = counts.to_numpy(np.float64)
    return np.hstack([np.log1p(np.nan_to_num(values).clip(min=0)), np.isnan(values)])
