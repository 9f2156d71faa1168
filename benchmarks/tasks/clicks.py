"""What the tasks of click models share: data sets as columns of codes, the clock of an epoch, bare matrix products.

A data set lies in the scratch folder as `NAME-train.npz` and `NAME-test.npz`, a column a field and "label", and
`NAME.json`, the fields. Codes of categories begin at 0; those of tags at 1, with 0 behind the last tag of a row.
Peers import this too.
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
    """What is trained on, and the sizes and the rate that all contenders share. The first epoch is not timed."""

    data: str
    embedding_dim: int
    hidden_dims: tuple[int, ...]
    batch_size: int = 4096
    learning_rate: float = 0.001
    epochs: int = 3

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


# -- figures -----------------------------------------------------------------------------------------------------------


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Share of pairs of a 1 and a 0 that the scores order rightly, ties by half."""
    ranks, positive = rankdata(scores), labels == 1
    n = int(positive.sum())
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(labels) - n)))


def cost(seconds: float, n_rows: int) -> Measures:
    return {COST: 1e6 * seconds / n_rows, "rows/s": n_rows / seconds}


def report(seconds: Sequence[float], n_rows: int, labels: np.ndarray, scores: np.ndarray) -> Measures:
    """From the seconds of all epochs and the scores of the test rows."""
    return {**cost(statistics.mean(seconds[1:]), n_rows), ERROR: 1 - auc(labels, scores)}


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
    """Fit by the public call; the log of the fit has the seconds of each epoch."""

    def run(scratch: Path) -> Measures:
        import recsys

        threads()
        train, test = (dataset(scratch, part) for part in ("train", "test"))
        model = getattr(recsys, kind)(
            embedding_dim=setting.embedding_dim, hidden_dims=setting.hidden_dims, dropout=0.0,
            batch_size=setting.batch_size, learning_rate=setting.learning_rate, epochs=setting.epochs,
            device="cpu", verbose=0, **options,
        ).fit(train)  # fmt: skip
        seconds = model.training_log_["seconds"].tolist()
        return report(seconds, len(train), test.labels, model.predict(test.to_frame()))

    return run
