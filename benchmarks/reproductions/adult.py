"""Wide & Deep beside its halves on the Adult census."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from reproduce import Row
from sklearn.ensemble import HistGradientBoostingClassifier

from recsys import Dataset, WideDeep
from recsys.data import Numbers
from recsys.metrics.classification import auc, logloss

TITLE = "Wide & Deep on the Adult census"
PROTOCOL = """Whether someone earns more than 50,000 dollars, from 13 columns of the census; the sampling weight is not
read. Training and test rows are the official ones. Both parts read eight categories and five numbers, each number by
its quantile and as a range; the wide part also the crosses of education and occupation, of both and the range of ages,
and of country and occupation. Options are picked by AUC on a fifth of the training rows, from the same number of
trials a model, and so are the epochs, by early stopping there. The test rows are read once a model: mean and standard
deviation over three seeds. Gradient boosted trees are scikit-learn's with their default options, fitted on the same
four fifths."""

CATEGORIES = (
    "workclass", "education", "marital_status", "occupation", "relationship", "race", "sex", "native_country",
)  # fmt: skip
NUMBERS = ("age", "education_num", "capital_gain", "capital_loss", "hours_per_week")
BINS = {"age": 10, "education_num": 16, "capital_gain": 200, "capital_loss": 200, "hours_per_week": 10}
CROSSES = (
    ("education", "occupation"),
    ("age_range", "education", "occupation"),
    ("native_country", "occupation"),
)
SEEDS = 3
BASE = WideDeep(
    crosses=CROSSES, wide_l1=10.0, batch_size=512, epochs=30, patience=3, monitor="auc", device="cpu", verbose=0
)
TRIALS: Mapping[str, list[WideDeep]] = {
    "wide alone": [
        BASE.clone(part="wide", wide_learning_rate=rate, wide_l1=l1) for rate in (0.1, 0.3) for l1 in (3.0, 10.0, 30.0)
    ],
    "deep alone": [
        BASE.clone(part="deep", learning_rate=rate, dropout=dropout)
        for rate in (0.005, 0.01)
        for dropout in (0.2, 0.35, 0.5)
    ],
    "Wide & Deep": [
        BASE.clone(wide_learning_rate=rate, dropout=dropout) for rate in (0.01, 0.03) for dropout in (0.2, 0.35, 0.5)
    ],
}
OPTIONS = {
    "wide alone": ("wide_learning_rate", "wide_l1"),
    "deep alone": ("learning_rate", "dropout"),
    "Wide & Deep": ("wide_learning_rate", "dropout"),
}


def run() -> Iterator[Row]:
    train, validation, test = parts()
    yield trees(train, test)
    for name, trials in TRIALS.items():
        yield network(name, trials, as_data(train), as_data(validation), test)


def parts() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Training, validation and test rows, with a copy of each number to be cut into ranges."""
    rows = pd.read_parquet(Path(os.environ["RECSYS_DATA"], "adult", "adult.parquet"))
    rows = rows.assign(**{f"{name}_range": rows[name] for name in NUMBERS})
    official, test = rows[rows["split"] == "train"], rows[rows["split"] == "test"]
    held_out = np.random.default_rng(0).random(len(official)) < 0.2
    return official[~held_out], official[held_out], test


def as_data(rows: pd.DataFrame) -> Dataset:
    quantiles = {name: Numbers("quantile") for name in NUMBERS}
    ranges = {f"{name}_range": Numbers("buckets", n_bins=n) for name, n in BINS.items()}
    return Dataset(
        rows, user_col=None, item_col=None, context_cols=(*CATEGORIES, *quantiles, *ranges),
        encoders={**quantiles, **ranges},
    )  # fmt: skip


def network(name: str, trials: list[WideDeep], train: Dataset, validation: Dataset, test: pd.DataFrame) -> Row:
    """The trial that is best on the validation rows, with other seeds too."""
    scores = [
        float(trial.clone().fit(train, validation_data=validation).training_log_["auc"].max()) for trial in trials
    ]
    print(f"  {name}: validation AUC {[round(score, 4) for score in scores]}", flush=True)
    best = trials[int(np.argmax(scores))]
    seeded = [best.clone(random_state=seed).fit(train, validation_data=validation) for seed in range(SEEDS)]
    found = pd.DataFrame([figures(test["label"].to_numpy(), model.predict(test)) for model in seeded])
    n_weights = int((seeded[0].module_.wide.crossed.table.table.weight != 0).sum()) if best.part != "deep" else 0
    return {
        "model": name,
        **found.mean(),
        **found[["accuracy", "AUC"]].std().add_prefix("± "),
        "options": ", ".join(f"{option}={getattr(best, option)}" for option in OPTIONS[name]),
        "epochs": round(np.mean([model.training_log_["auc"].argmax() + 1 for model in seeded])),
        "crosses with a weight": f"{n_weights:,}",
    }


def trees(train: pd.DataFrame, test: pd.DataFrame) -> Row:
    """Gradient boosted trees on the same columns, as a yardstick."""

    def columns(rows: pd.DataFrame) -> pd.DataFrame:
        return rows[[*CATEGORIES, *NUMBERS]].astype(dict.fromkeys(CATEGORIES, "category"))

    model = HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=0)
    p = model.fit(columns(train), train["label"]).predict_proba(columns(test))[:, 1]
    return {"model": "gradient boosted trees", **figures(test["label"].to_numpy(), p)}


def figures(labels: np.ndarray, p: np.ndarray) -> dict[str, float]:
    return {"accuracy": float(np.mean((p > 0.5) == labels)), "AUC": auc(labels, p), "log loss": logloss(labels, p)}
