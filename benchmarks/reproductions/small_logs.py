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
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

import recsys
from recsys import DCN, DLRM, FM, Categories, Dataset, DeepFM, Numbers, WideDeep
from recsys.families import FieldRecommender
from recsys.metrics.classification import auc, logloss

TITLE = "Click models on the first rows of Criteo and Avazu"
PROTOCOL = """The first 10,000 rows of Criteo's Kaggle log (13 counts and 26 categories, both with missing values) and
8,999 rows of Avazu's (22 categories), each split 80/10/10 at random five times. Categories seen fewer than five times
in the training part share a code, counts go through log(1 + x), missing values have codes of their own. Options are
picked by four-fold cross-validation of log loss within the training part, epochs end by early stopping on the
validation part; the test part is read once a split. Logistic regression (scikit-learn's, its penalty picked by the
same cross-validation) reads the same one-hot categories and logarithms. Mean over the five splits, and on how many of
them log loss is below logistic regression's."""
SPLITS, FOLDS = 5, 4
RARE = 5
PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0)
"""Of logistic regression, as scikit-learn's C."""

COMMON: Mapping[str, object] = {
    "embedding_dim": 4, "batch_size": 256, "learning_rate": 0.003, "epochs": 40, "patience": 2, "plateau_factor": 0.3,
    "monitor": "logloss", "verbose": 0, "device": "cpu",
}  # fmt: skip
SLOW: Mapping[str, object] = {**COMMON, "patience": 5, "plateau_factor": 0.5}
DEEP: Mapping[str, object] = {**COMMON, "hidden_dims": (64, 64), "dropout": 0.3}
SMALL: Mapping[str, object] = {**COMMON, "hidden_dims": (32,), "dropout": 0.3}
TINY: Mapping[str, object] = {**COMMON, "embedding_dim": 2, "hidden_dims": (16,), "dropout": 0.3}


def models(crosses: Sequence[Sequence[str]]) -> Mapping[str, Sequence[FieldRecommender]]:
    """Options of each model."""
    wide = {**DEEP, "optimizer": "adam", "crosses": tuple(map(tuple, crosses)), "wide_l1": 1.0, "wide_l2": 10.0}
    return {
        "FM": [FM(**SLOW, init_std=0.01, weight_decay=decay) for decay in (0.001, 0.003, 0.01)],
        "FM, order 3": [FM(**COMMON, order=3, init_std=0.05, weight_decay=decay) for decay in (0.001, 0.003, 0.01)],
        "DeepFM": [
            DeepFM(**TINY, init_std=0.001, embedding_decay=0.003),
            DeepFM(**{**DEEP, "dropout": 0.6}, init_std=0.001, embedding_decay=0.003),
            *(DeepFM(**DEEP, init_std=0.001, embedding_decay=decay) for decay in (0.01, 0.03)),
        ],
        "WideDeep": [WideDeep(**wide, embedding_decay=decay) for decay in (0.003, 0.01, 0.03)],
        "DCN, version 1": [
            DCN(**TINY, init_std=0.1, version=1, embedding_decay=0.003),
            DCN(**DEEP, init_std=0.1, version=1, embedding_decay=0.003),
            *(
                DCN(**{**DEEP, "dropout": 0.6}, init_std=0.1, version=1, embedding_decay=decay)
                for decay in (0.003, 0.01)
            ),
        ],
        "DCN, version 2": [
            DCN(**TINY, init_std=0.1, version=2, embedding_decay=0.003),
            DCN(**SMALL, init_std=0.1, version=2, embedding_decay=0.003),
            *(DCN(**DEEP, init_std=0.1, version=2, embedding_decay=decay) for decay in (0.01, 0.03)),
        ],
        "DLRM": [
            DLRM(**size, interaction="cat", init_std=0.01, bottom_dims=(16,), embedding_decay=decay)
            for size, decay in ((TINY, 0.001), (TINY, 0.003), (SMALL, 0.003))
        ],
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
    base = np.array([logistic(log, numbers, part, PENALTIES) for part in parts])
    yield row(name, "logistic regression", base, base)
    yield row(name, "logistic regression, C = 1", np.array([logistic(log, numbers, p, (1.0,)) for p in parts]), base)
    for model, options in models(crosses).items():
        yield row(name, model, np.array([tuned(log, numbers, part, options) for part in parts]), base)


def row(data: str, model: str, figures: np.ndarray, base: np.ndarray) -> Row:
    """Mean figures (splits, 2) of log loss and AUC."""
    loss, area = figures.mean(0)
    better = int((figures[:, 0] < base[:, 0]).sum())
    return {
        "data": data,
        "model": model,
        "log loss": float(loss),
        "AUC": float(area),
        "splits won": f"{better} of {SPLITS}",
    }


def tuned(
    log: pd.DataFrame, numbers: Sequence[str], part: np.ndarray, options: Sequence[FieldRecommender]
) -> tuple[float, float]:
    """Log loss and AUC on the test part of the options that are best in cross-validation."""
    columns = [column for column in log.columns if column != "label"]
    encoders = {name: Numbers("log1p") if name in numbers else Categories(min_count=RARE) for name in columns}

    def data(rows: pd.DataFrame) -> Dataset:
        return Dataset(rows, user_col=None, item_col=None, context_cols=columns, encoders=encoders)

    losses = np.zeros(len(options))
    for fit, held_out in folds(log[part == 0]):
        train, validation = data(fit), data(held_out)
        losses += [one.clone().fit(train, validation_data=validation).training_log_["logloss"].min() for one in options]
    best = options[int(losses.argmin())].clone().fit(data(log[part == 0]), validation_data=data(log[part == 1]))
    found = recsys.evaluate(best, data(log[part == 2]), metrics=["logloss", "auc"])
    assert np.isfinite(best.training_log_["loss"]).all()
    return found["logloss"], found["auc"]


def folds(rows: pd.DataFrame) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Rows to fit on and rows held out, for each fold."""
    fold = np.random.default_rng(0).integers(FOLDS, size=len(rows))
    for held_out in range(FOLDS):
        yield rows[fold != held_out], rows[fold == held_out]


def logistic(
    log: pd.DataFrame, numbers: Sequence[str], part: np.ndarray, penalties: Sequence[float]
) -> tuple[float, float]:
    """Log loss and AUC of logistic regression on the test part, with the penalty that is best in cross-validation."""
    categories = [column for column in log.columns if column not in (*numbers, "label")]
    frame = log.fillna(dict.fromkeys(categories, "missing"))

    def fitted(c: float, rows: pd.DataFrame) -> Pipeline:
        encode = make_column_transformer(
            (OneHotEncoder(min_frequency=RARE, handle_unknown="infrequent_if_exist"), categories),
            (FunctionTransformer(logarithms), list(numbers)),
        )
        model = make_pipeline(encode, LogisticRegression(C=c, max_iter=1000))
        return model.fit(rows.drop(columns="label"), rows["label"])

    def scores(model: Pipeline, rows: pd.DataFrame) -> np.ndarray:
        return model.predict_proba(rows.drop(columns="label"))[:, 1]

    with warnings.catch_warnings():
        # A category that was never seen is what the held-out rows are about.
        warnings.simplefilter("ignore", UserWarning)
        losses = np.zeros(len(penalties))
        for fit, held_out in folds(frame[part == 0]):
            losses += [logloss(held_out["label"], scores(fitted(c, fit), held_out)) for c in penalties]
        model, test = fitted(penalties[int(losses.argmin())], frame[part == 0]), frame[part == 2]
        p = scores(model, test)
    return logloss(test["label"], p), auc(test["label"], p)


def logarithms(counts: pd.DataFrame) -> np.ndarray:
    """log(1 + x) of counts, and which are missing: (n, 2 columns)."""
    values = counts.to_numpy(np.float64)
    return np.hstack([np.log1p(np.nan_to_num(values).clip(min=0)), np.isnan(values)])
