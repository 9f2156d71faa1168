"""Gather, backward and step of 26 tables of 1,000,000 rows on one GPU, against a copy of as many bytes; and DLRM.

65,536 rows a batch, 26 lookups each, dimension 64, float32; ids uniform, or by a power law (exponent 1.05). The bytes
that a step cannot do without, for N lookups of R distinct rows, vectors of D numbers of 4 bytes, s numbers remembered
a weight: 8 N D for the gather (read and written), 4 N D for the gradient (read), 8 N for the ids, 8 R D (1 + s) for
weights and what is remembered (read and written). "Times a copy" is the GPU's time for the whole over that of a copy
on the device of so many bytes, half read and half written; at 60 % of the copy's bandwidth it is 1.67. The host, which
waits for the GPU at no point, is ahead of it, as it is in a network; what a step costs the host stands beside it.

DLRM: 13 numbers and 26 fields of 1,000,000 codes, dimension 64, layers 512-256-64 and 512-256-1, trained by the
library's network, optimizer and loop on rows that lie on the GPU.

Takes under 3 minutes with `--runs 1`; needs a GPU with 64 GB.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from speed import Bar, Contender, Measures

TITLE = "The embedding step on a GPU: 65,536 x 26 lookups in 26 tables of 1,000,000 rows, dimension 64; and DLRM"
BATCH, FIELDS, SIZE, DIM = 65_536, 26, 1_000_000, 64
NUMBERS, BOTTOM, HIDDEN = 13, (512, 256), (512, 256)
EXPONENT = 1.05
KINDS = ("uniform", "power law")
SHARE = 0.6
"""Of the copy's bandwidth, that the embedding step should reach."""
STEPS, WARM = 25, 5
AHEAD = 100_000_000
"""Cycles for which a GPU is kept busy, so that the host is ahead of it: about 60 ms."""
TRAINED, EPOCHS = 40, 2
"""Batches of an epoch of DLRM, and epochs, of which the last is timed."""


def prepare(data: Path, scratch: Path) -> None:
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("gpu_embedding needs a CUDA device")


# -- what is measured ----------------------------------------------------------------------------------------------------


def drawn(kind: str, n_rows: int, seed: int = 0) -> Any:
    """Codes (n, F) on the GPU; those of the power law scattered over the tables."""
    import torch

    generator = torch.Generator("cuda").manual_seed(seed)
    uniform = torch.rand(n_rows, FIELDS, generator=generator, device="cuda", dtype=torch.float64)
    if kind == "uniform":
        return (uniform * SIZE).long().clamp(max=SIZE - 1)
    power = 1 - EXPONENT
    # The inverse of the distribution function of the power law on [1, size].
    ranks = ((SIZE**power - 1) * uniform + 1) ** (1 / power)
    return (ranks.long().clamp(1, SIZE) - 1) * 786_433 % SIZE


def milliseconds(*parts: Callable[[], object]) -> tuple[list[float], float]:
    """Mean time of each part on the GPU, the parts run one after the other, again and again; and of all on the host."""
    import torch

    def steps(n: int) -> list[list[Any]]:
        taken = []
        for _ in range(n):
            marks = [torch.cuda.Event(enable_timing=True) for _ in range(len(parts) + 1)]
            marks[0].record()
            for part, mark in zip(parts, marks[1:], strict=True):
                part()
                mark.record()
            taken.append(marks)
        return taken

    steps(WARM)
    torch.cuda.synchronize()
    torch.cuda._sleep(AHEAD)
    start = time.perf_counter()
    taken = steps(STEPS)
    host = time.perf_counter() - start
    torch.cuda.synchronize()
    gpu = [sum(marks[i].elapsed_time(marks[i + 1]) for marks in taken) / STEPS for i in range(len(parts))]
    return gpu, 1000 * host / STEPS


def copy_rate() -> float:
    """Bytes a millisecond of a copy on the device, read and written ones together."""
    import torch

    source = torch.empty(2**29, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.nbytes / milliseconds(lambda: target.copy_(source))[0][0]


def measured(table: Any, optimizer: Any, remembered: float, offsets: bool = False) -> Measures:
    """Times of `table(codes)`, and of the backward pass and step, with ids of each kind."""
    import torch

    found: Measures = {}
    rate = copy_rate()
    gradient = torch.randn(BATCH, FIELDS, DIM, device="cuda") * 1e-3
    vectors: list[Any] = []
    for kind in KINDS:
        codes = drawn(kind, BATCH)
        if offsets:
            codes = codes + torch.arange(FIELDS, device="cuda") * SIZE
        distinct = len((codes + torch.arange(FIELDS, device="cuda") * SIZE * (not offsets)).unique())
        n = codes.numel()
        n_bytes = 12 * n * DIM + 8 * n + 8 * distinct * DIM * (1 + remembered)

        def gather(codes: Any = codes) -> None:
            vectors[:] = [table(codes)]

        def step() -> None:
            optimizer.zero_grad()
            vectors.pop().backward(gradient)
            optimizer.step()

        (gathered, stepped), host = milliseconds(gather, step)
        found |= {
            f"{kind}: GB": n_bytes / 1e9, f"{kind}: gather, ms": gathered, f"{kind}: backward and step, ms": stepped,
            times(kind): (gathered + stepped) * rate / n_bytes, f"{kind}: host, ms": host,
        }  # fmt: skip
    return {**found, "copy, TB/s": rate / 1e9}


def times(kind: str) -> str:
    return f"{kind}: times a copy"


# -- ours ----------------------------------------------------------------------------------------------------------------


def ours(name: str, remembered: float) -> Callable[[Path], Measures]:
    """`FieldEmbedding` and an optimizer of `recsys.embedding`."""

    def run(scratch: Path) -> Measures:
        import torch

        from recsys import embedding

        with torch.device("cuda"):
            table = embedding.FieldEmbedding([SIZE] * FIELDS, DIM, sparse=True)
        optimizer = getattr(embedding, name)(table.parameters())
        return measured(table, optimizer, remembered)

    return run


def dlrm(scratch: Path) -> Measures:
    """`DLRMNet` with row-wise Adagrad by the training loop of the library, in both precisions."""
    return {f"{one}: {name}": value for one in ("fp32", "bf16") for name, value in trained(one).items()}


def trained(precision: str) -> Measures:
    import torch
    import torch.nn.functional as F

    from recsys.models.fields.dlrm import DLRMNet
    from recsys.training import Trainer, make_optimizers

    n = TRAINED * BATCH
    zeros = torch.zeros(n, NUMBERS, dtype=torch.long, device="cuda")
    codes = torch.cat([zeros, drawn("power law", n)], 1)
    values = torch.ones(n, NUMBERS + FIELDS, device="cuda")
    values[:, :NUMBERS].normal_()
    labels = (values[:, :NUMBERS].sum(1) > 0).float()
    with torch.device("cuda"):
        net = DLRMNet(
            [1] * NUMBERS + [SIZE] * FIELDS, range(NUMBERS + FIELDS), range(NUMBERS), DIM, BOTTOM, HIDDEN
        )  # fmt: skip
    trainer = Trainer(
        epochs=EPOCHS, batch_size=BATCH, precision=precision, device=torch.device("cuda"), verbose=0,
        optimizers=lambda net: make_optimizers(net, "rowwise_adagrad", 0.01, 0.0, None),
    )  # fmt: skip
    torch.cuda.reset_peak_memory_stats()
    log = trainer.run(
        net, Rows(codes, values, labels),
        lambda net, batch: F.binary_cross_entropy_with_logits(net(batch[0], batch[1]).float(), batch[2]),
    )  # fmt: skip
    seconds = float(log["seconds"].iloc[-1])
    peak = torch.cuda.max_memory_allocated() / 1e9
    return {"step, ms": 1000 * seconds / TRAINED, "million rows/s": n / seconds / 1e6, "peak, GB": peak}


class Rows:
    """Tensors of rows, on the GPU, for the training loop."""

    def __init__(self, *columns: Any):
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns[0])

    def to(self, device: Any) -> "Rows":
        return self

    def batch(self, rows: Any) -> tuple[Any, ...]:
        return tuple(column[rows] for column in self.columns)


# -- torch's own ---------------------------------------------------------------------------------------------------------


def torch_sparse(scratch: Path) -> Measures:
    """`nn.Embedding(sparse=True)` of all rows and `torch.optim.SparseAdam`."""
    import torch

    with torch.device("cuda"):
        table = torch.nn.Embedding(FIELDS * SIZE, DIM, sparse=True)
    return measured(table, torch.optim.SparseAdam(list(table.parameters())), 2, offsets=True)


def torch_dense(scratch: Path) -> Measures:
    """`nn.Embedding` of all rows, whose gradient is the whole table's, and fused `torch.optim.Adam`."""
    import torch

    with torch.device("cuda"):
        table = torch.nn.Embedding(FIELDS * SIZE, DIM)
    return measured(table, torch.optim.Adam(table.parameters(), fused=True), 2, offsets=True)


STEP, MODEL = "gather, backward and step", "training DLRM"
OURS = {
    "recsys, RowwiseAdagrad": ours("RowwiseAdagrad", 1 / DIM),
    "recsys, SGD": ours("SGD", 0),
    "recsys, Adagrad": ours("Adagrad", 1),
    "recsys, SparseAdam": ours("SparseAdam", 2),
    "recsys, FTRL": ours("FTRL", 2),
}
CONTENDERS = {
    **{name: Contender(run, group=STEP) for name, run in OURS.items()},
    "torch, sparse nn.Embedding and SparseAdam": Contender(torch_sparse, group=STEP),
    "torch, dense nn.Embedding and fused Adam": Contender(torch_dense, group=STEP),
    "recsys, DLRM": Contender(dlrm, group=MODEL),
}
BARS = [Bar(name, times(kind), 1 / SHARE) for name in OURS for kind in KINDS]
