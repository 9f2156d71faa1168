"""A step of DeepFM over 26 tables of 1,000,000 rows, which should cost what the batch does, not what the tables do.

Dimension 16, 400-400-400 hidden units, 4,096 rows a batch of ids that follow a power law (exponent 1.05, so that a batch
names some 57,000 of the 26,000,000 rows), 2 threads. Ours and TorchRec's fused kernels take row-wise Adagrad; DeepCTR-
Torch and FuxiCTR know dense Adam, and take few steps. Ours once more with 10,000 rows a table. Labels follow from
hidden weights of the ids; the log loss is that of rows held out, after two epochs.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from speed import Bar, Contender, Measures

from tasks import click_peers, clicks, common
from tasks.clicks import Field, Setting

TITLE = "A step of DeepFM over 26 tables, dimension 16, 400-400-400 hidden units, 4,096 rows a batch, 2 threads"
N_FIELDS, DIM, HIDDEN, BATCH = 26, 16, (400, 400, 400), 4096
LARGE, SMALL = 1_000_000, 10_000
N_ROWS, N_HELD_OUT, N_FEW = 50 * BATCH, 5 * BATCH, 3 * BATCH
EXPONENT = 1.05
STEP = "step, ms"
SETTING = Setting("dense", DIM, HIDDEN, BATCH, epochs=2)
"""Of the peers with dense Adam: two epochs of three steps, of which the second is timed."""


def prepare(data: Path, scratch: Path) -> None:
    for size in (LARGE, SMALL):
        rows = dict(zip(("codes", "labels"), drawn(size, N_ROWS + N_HELD_OUT), strict=True))
        np.savez(scratch / f"{size}.npz", **rows)
    codes, labels = drawn(LARGE, 2 * N_FEW)
    fields = [Field(f"field{f}", LARGE, 1) for f in range(N_FIELDS)]
    columns = {field.name: codes[:, f] for f, field in enumerate(fields)} | {"label": labels}
    parts = {"train": slice(N_FEW), "test": slice(N_FEW, None)}
    arrays = {part: {name: values[rows] for name, values in columns.items()} for part, rows in parts.items()}
    clicks.save(scratch, SETTING.data, fields, **arrays)


def drawn(size: int, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes below `size` by a power law (n, F), scattered over the tables, and labels (n,)."""
    rng = np.random.default_rng(0)
    power = 1 - EXPONENT
    # The inverse of the distribution function of the power law on [1, size].
    ranks = ((size**power - 1) * rng.random((n_rows, N_FIELDS)) + 1) ** (1 / power)
    ranks = np.minimum(ranks.astype(np.int64) - 1, size - 1)
    # Frequent ids do not lie beside each other: a step of a number prime to the size visits every place once.
    codes = ranks * 786_433 % size
    hidden = np.sin(ranks * 12.9898 + np.arange(N_FIELDS)) * 0.5
    return codes, (rng.random(n_rows) < 1 / (1 + np.exp(-hidden.sum(1)))).astype(np.int64)


def load(scratch: Path, size: int) -> tuple[Any, Any]:
    """Codes (n, F) and labels (n,) as tensors."""
    import torch

    with np.load(scratch / f"{size}.npz") as found:
        return torch.from_numpy(found["codes"]), torch.from_numpy(found["labels"]).float()


def measures(seconds: float, logits: np.ndarray, labels: np.ndarray) -> Measures:
    """From the seconds of an epoch and the logits of the rows held out."""
    loss = float(np.mean(np.logaddexp(0, logits) - labels * logits))
    return {**steps(seconds, N_ROWS), "peak, MB": common.peak_memory(), "log loss": loss}


def steps(seconds: float, n_rows: int) -> Measures:
    return {STEP: 1000 * seconds / (n_rows / BATCH), "rows/s": n_rows / seconds}


# -- ours --------------------------------------------------------------------------------------------------------------


class Batch(NamedTuple):
    """Codes (B, F), their values (B, F) and labels (B,)."""

    codes: Any
    values: Any
    labels: Any


class Rows:
    """Rows held as tensors, for the training loop."""

    def __init__(self, codes: Any, labels: Any):
        self.codes, self.labels = codes, labels

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: Any) -> "Rows":
        return self

    def batch(self, rows: Any) -> Batch:
        codes = self.codes[rows]
        return Batch(codes, codes.new_ones(codes.shape).float(), self.labels[rows])


def ours(size: int) -> Callable[[Path], Measures]:
    """The network, optimizer and loop of `DeepFM(optimizer="rowwise_adagrad")`, fed with tensors."""

    def run(scratch: Path) -> Measures:
        import torch
        import torch.nn.functional as F

        from recsys.models.fields.deepfm import DeepFMNet
        from recsys.training import Trainer, make_optimizers

        clicks.threads()
        codes, labels = load(scratch, size)
        net = DeepFMNet([size] * N_FIELDS, range(N_FIELDS), DIM, HIDDEN, sparse=True)
        trainer = Trainer(
            epochs=2, batch_size=BATCH, verbose=0,
            optimizers=lambda net: make_optimizers(net, "rowwise_adagrad", 0.01, 0.0, None),
        )  # fmt: skip
        log = trainer.run(
            net, Rows(codes[:N_ROWS], labels[:N_ROWS]),
            lambda net, batch: F.binary_cross_entropy_with_logits(net(batch.codes, batch.values), batch.labels),
        )  # fmt: skip
        with torch.inference_mode():
            held_out = codes[N_ROWS:]
            logits = net(held_out, torch.ones(held_out.shape)).numpy()
        return measures(float(log["seconds"].iloc[1]), logits, labels[N_ROWS:].numpy())

    return run


# -- peers -------------------------------------------------------------------------------------------------------------


def torchrec(scratch: Path) -> Measures:
    """TorchRec's collection of tables with FBGEMM's fused row-wise Adagrad; the other weights take torch's Adagrad."""
    import torch
    import torch.nn.functional as F

    clicks.threads()
    torch.manual_seed(0)
    codes, labels = load(scratch, LARGE)
    network = torchrec_network()
    dense = [p for name, p in network.named_parameters() if not name.startswith("tables")]
    optimizer = torch.optim.Adagrad(dense, lr=0.01)

    def epoch() -> None:
        for some_codes, some_labels in shuffled(codes[:N_ROWS], labels[:N_ROWS]):
            optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(network(some_codes), some_labels).backward()
            optimizer.step()

    epoch()
    seconds = common.seconds(epoch)
    with torch.no_grad():
        logits = network(codes[N_ROWS:]).numpy()
    return measures(seconds, logits, labels[N_ROWS:].numpy())


def shuffled(codes: Any, labels: Any) -> Iterator[tuple[Any, Any]]:
    import torch

    for rows in torch.randperm(len(labels)).split(BATCH):
        yield codes[rows], labels[rows]


def torchrec_network() -> Any:
    """DeepFM on `FusedEmbeddingBagCollection`: tables of 16 columns, and of the linear part, 4 of which 1 is read.

    FBGEMM's tables have columns by fours.
    """
    import torch
    from torchrec.modules.embedding_configs import EmbeddingBagConfig
    from torchrec.modules.fused_embedding_modules import FusedEmbeddingBagCollection
    from torchrec.optim import RowWiseAdagrad
    from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

    names = [f"field{f}" for f in range(N_FIELDS)]

    def tables(dim: int) -> FusedEmbeddingBagCollection:
        wanted = [
            EmbeddingBagConfig(name=name, embedding_dim=dim, num_embeddings=LARGE, feature_names=[name])
            for name in names
        ]
        return FusedEmbeddingBagCollection(wanted, RowWiseAdagrad, {"lr": 0.01}, device=torch.device("cpu"))

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tables, self.tables_linear = tables(DIM), tables(4)
            sizes = [*clicks.Setting("", DIM, HIDDEN).layers("DeepFM", N_FIELDS)]
            layers = [layer for sizes_of in sizes for layer in (torch.nn.Linear(*sizes_of), torch.nn.ReLU())]
            self.deep = torch.nn.Sequential(*layers[:-1])

        def forward(self, codes: Any) -> Any:
            lengths = torch.ones(codes.numel(), dtype=torch.int64)
            jagged = KeyedJaggedTensor(keys=names, values=codes.T.reshape(-1), lengths=lengths)
            x = self.tables(jagged).values()
            linear = self.tables_linear(jagged).values().view(len(codes), N_FIELDS, 4)[:, :, 0].sum(1)
            vectors = x.view(len(codes), N_FIELDS, DIM)
            pairs = 0.5 * (vectors.sum(1).square() - vectors.square().sum(1)).sum(1)
            return linear + pairs + self.deep(x)[:, 0]

    return Network()


def dense(train: Callable[[Path], Measures]) -> Callable[[Path], Measures]:
    """A peer with dense Adam: steps of the whole tables, too few to tell of quality."""

    def run(scratch: Path) -> Measures:
        seconds = train(scratch)[clicks.COST] * N_FEW / 1e6
        return {**steps(seconds, N_FEW), "peak, MB": common.peak_memory()}

    return run


def bare_products(scratch: Path) -> Measures:
    seconds = clicks.bare_products(SETTING, "DeepFM", N_FIELDS)(scratch)[clicks.COST] * BATCH / 1e6
    return steps(seconds, BATCH)


OURS, OURS_SMALL = "recsys, 1,000,000 rows a table", "recsys, 10,000 rows a table"
FUSED = "TorchRec with FBGEMM, fused row-wise Adagrad"
DENSE = {
    f"{name}, dense Adam": Contender(
        dense(click_peers.PEERS[name](SETTING, "DeepFM")), peer=True, listed=click_peers.LISTED
    )
    for name in ("DeepCTR-Torch", "FuxiCTR")
}
CONTENDERS = {
    OURS: Contender(ours(LARGE)),
    OURS_SMALL: Contender(ours(SMALL)),
    "bare products": Contender(bare_products),
    FUSED: Contender(torchrec, peer=True, listed=click_peers.LISTED),
    **DENSE,
}
BARS = [
    Bar(OURS, STEP, 1.5, (OURS_SMALL,)),
    Bar(OURS, STEP, 1 / 30, tuple(DENSE)),
    Bar(OURS, STEP, 1.0, (FUSED,)),
]
