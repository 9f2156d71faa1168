"""What the tasks of click models share: data sets as columns of codes, the clock of an epoch, bare matrix products.

A data set lies in the scratch folder as `NAME-PART.npz`, a column a field and "label", for the parts "train", "test"
and, if it has one, "valid", and `NAME.json`, the fields. Codes of categories begin at 0; those of tags at 1, with 0
behind the last tag of a row. Peers import this too.
"""

import itertools
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import rankdata
from speed import Bar, Measures

from tasks import common

COST = "s a million rows"
ERROR = "1 - test AUC"
CROSS_LAYERS = 3


class Field(NamedTuple):
    """A column: codes below `size`, `width` of them a row."""

    name: str
    size: int
    width: int


@dataclass(frozen=True)
class Setting:
    """What is trained on, and the sizes and the rate that all contenders share.

    Of so many epochs the first is not timed. Data with a validation part is then trained on off the clock, until
    `patience` epochs have not been better on it, `most_epochs` at most.
    """

    data: str
    embedding_dim: int
    hidden_dims: tuple[int, ...]
    batch_size: int = 4096
    learning_rate: float = 0.001
    epochs: int = 3
    patience: int = 2
    most_epochs: int = 30

    def layers(self, kind: str, n_fields: int) -> list[tuple[int, int]]:
        """Inputs and outputs of the matrices of "DeepFM" or "DCN"."""
        dim = n_fields * self.embedding_dim
        deep = list(itertools.pairwise((dim, *self.hidden_dims)))
        if kind == "DeepFM":
            return [*deep, (self.hidden_dims[-1], 1)]
        return [(dim, dim)] * CROSS_LAYERS + [*deep, (dim + self.hidden_dims[-1], 1)]


Columns = Mapping[str, np.ndarray]


def save(scratch: Path, name: str, fields: Sequence[Field], **parts: Columns) -> None:
    """Leave the fields and the parts of a data set for all contenders."""
    (scratch / f"{name}.json").write_text(json.dumps(fields))
    for part, columns in parts.items():
        np.savez(scratch / f"{name}-{part}.npz", **columns)


def load_fields(scratch: Path, name: str) -> list[Field]:
    return [Field(*one) for one in json.loads((scratch / f"{name}.json").read_text())]


def load(scratch: Path, name: str, part: str) -> dict[str, np.ndarray]:
    with np.load(scratch / f"{name}-{part}.npz") as found:
        return dict(found)


def has_validation(scratch: Path, name: str) -> bool:
    return (scratch / f"{name}-valid.npz").exists()


# -- figures -----------------------------------------------------------------------------------------------------------


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Share of pairs of a 1 and a 0 that the scores order rightly, ties by half."""
    ranks, positive = rankdata(scores), labels == 1
    n = int(positive.sum())
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(labels) - n)))


def cost(seconds: float, n_rows: int) -> Measures:
    return {COST: 1e6 * seconds / n_rows, "rows/s": n_rows / seconds}


class Progress:
    """What an epoch after the other gives: its seconds, and the test figure of the one that is best on the validation part.

    Without a validation part that is the last timed one.
    """

    def __init__(self, scratch: Path, setting: Setting):
        self.setting, self.n_rows = setting, len(load(scratch, setting.data, "train")["label"])
        self.valid = load(scratch, setting.data, "valid")["label"] if has_validation(scratch, setting.data) else None
        self.test = load(scratch, setting.data, "test")["label"]
        self.seconds: list[float] = []
        self.best, self.best_epoch, self.error = 0.0, 0, 1.0

    def done(self, seconds: float, score: Callable[[str], np.ndarray]) -> bool:
        """Take in an epoch, with what scores the rows of a part after it; whether it was the last."""
        self.seconds.append(seconds)
        epoch, setting = len(self.seconds), self.setting
        if self.valid is None:
            if epoch == setting.epochs:
                self.best_epoch, self.error = epoch, 1 - auc(self.test, score("test"))
            return epoch == setting.epochs
        value = auc(self.valid, score("valid"))
        if value > self.best:
            self.best, self.best_epoch, self.error = value, epoch, 1 - auc(self.test, score("test"))
        return epoch >= setting.epochs and (epoch - self.best_epoch >= setting.patience or epoch == setting.most_epochs)

    def report(self) -> Measures:
        timed = self.seconds[1 : self.setting.epochs]
        return {**cost(statistics.mean(timed), self.n_rows), ERROR: self.error, "epochs": self.best_epoch}


def threads() -> None:
    import torch

    torch.set_num_threads(common.N_JOBS)


def bare_products(setting: Setting, kind: str, n_fields: int) -> Callable[[Path], Measures]:
    """The products of a step alone, on random numbers: what it says forward, and both gradients of each layer."""

    def run(scratch: Path) -> Measures:
        import torch

        threads()
        size = setting.batch_size

        def layer(fan_in: int, fan_out: int) -> Callable[[], object]:
            x, weight, gradient = (
                torch.randn(*shape) for shape in ((size, fan_in), (fan_out, fan_in), (size, fan_out))
            )
            y, to_x, to_weight = (torch.empty_like(one) for one in (gradient, x, weight))
            return lambda: (
                torch.mm(x, weight.T, out=y), torch.mm(gradient, weight, out=to_x),
                torch.mm(gradient.T, x, out=to_weight),
            )  # fmt: skip

        step = [layer(*sizes) for sizes in setting.layers(kind, n_fields)]
        seconds = [common.seconds(lambda: [product() for product in step]) for _ in range(60)]
        return cost(statistics.median(seconds[10:]), size)

    return run


def bars(ours: str, products: str, peers: Sequence[str]) -> list[Bar]:
    return [
        Bar(ours, COST, 0.8, tuple(peers)),
        Bar(ours, COST, 1.4, (products,)),
        Bar(ours, ERROR, 1.0, tuple(peers), slack=0.001),
    ]


def ours(
    setting: Setting, kind: str, dataset: Callable[[Path, str], Any], **options: Any
) -> Callable[[Path], Measures]:
    """Fit by the public call, once on the clock and once with the validation part, by which the fit stops."""

    def run(scratch: Path) -> Measures:
        import recsys

        threads()
        train, valid, test = (dataset(scratch, part) for part in ("train", "valid", "test"))
        model = getattr(recsys, kind)(
            embedding_dim=setting.embedding_dim, hidden_dims=setting.hidden_dims, dropout=0.0,
            batch_size=setting.batch_size, learning_rate=setting.learning_rate, epochs=setting.epochs,
            device="cpu", verbose=0, **options,
        )  # fmt: skip
        seconds = model.fit(train).training_log_["seconds"].iloc[1:].mean()
        model.set_params(epochs=setting.most_epochs, monitor="auc", patience=setting.patience)
        model.fit(train, validation_data=valid)
        error = 1 - auc(test.labels, model.predict(test.to_frame()))
        best_epoch = int(model.training_log_["auc"].idxmax()) + 1
        return {**cost(float(seconds), len(train)), ERROR: error, "epochs": best_epoch}

    return run
