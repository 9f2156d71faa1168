"""Training in many processes: each takes its part of every batch, and all of them make the same step.

The processes are those of `torchrun`, or of a process group that the program has made. They start with the same
weights. Of a batch of B examples each process takes about B / world, its loss counts for the share of the batch that
it saw, and the gradients are added up: all processes step as one would that saw the whole batch. Parameters may
therefore have sparse gradients, and every process ends with the same network.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from recsys.data.parquet import ParquetTable, Piece
from recsys.embedding import CachedEmbedding
from recsys.errors import DataError, LoadError, ParameterError, UnsupportedError
from recsys.training.cloze import ClozeBatch
from recsys.training.examples import Examples, RatingBatch, SequenceBatch, Stream, rows_of_batches, shuffled

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Processes:
    """The processes that train one network together: this one's number, how many there are, and its device.

    The order of the examples is drawn from torch's generator, whose state all processes share, as one process draws
    it. What depends on the batch (dropout, negatives) is to be drawn from numbers seeded with `own_seed`.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = CPU

    # -- what they tell each other -----------------------------------------------------------------------------------

    def total(self, values: Tensor) -> Tensor:
        """Sum over the processes of tensors of one shape, on the device."""
        if self.world > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def gather(self, rows: Tensor) -> Tensor:
        """Rows (n, ...) of all processes one after the other; n may differ."""
        if self.world == 1:
            return rows
        sizes = [torch.zeros(1, dtype=torch.long, device=rows.device) for _ in range(self.world)]
        dist.all_gather(sizes, torch.tensor([len(rows)], device=rows.device))
        lengths = torch.cat(sizes).tolist()
        padded = rows.new_zeros(max(lengths), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.world)]
        dist.all_gather(parts, padded)
        return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])

    def texts(self, text: str) -> list[str]:
        """The texts of all processes, none of which may have a line break."""
        letters = torch.tensor(list(f"{text}\n".encode()), dtype=torch.uint8, device=self.device)
        return bytes(self.gather(letters).tolist()).decode().splitlines()

    def any(self, one: bool) -> bool:
        """Whether it is so in any process."""
        return bool(self.gather(torch.tensor([one], device=self.device)).any())

    def figure_of_first(self, figure: float) -> float:
        """The first process's figure."""
        return float(self.gather(torch.tensor([figure], dtype=torch.float64, device=self.device))[0])

    def check_same(self, epochs: int, path: str) -> None:
        """Refuse a checkpoint that some processes find and others do not, or in another state."""
        found = self.gather(torch.tensor([epochs], device=self.device)).tolist()
        if len(set(found)) > 1:
            raise LoadError(
                f"checkpoint={path!r}: the processes find files of {found} epochs; give a place that all of them see"
            )

    # -- batches and gradients ---------------------------------------------------------------------------------------

    def share_state(self) -> None:
        """Take over the state of the first process's generator, from which the order of the examples is drawn."""
        if self.world > 1:
            states = self.gather(torch.get_rng_state()[None].to(self.device))
            torch.set_rng_state(states[0].cpu())

    def own_seed(self) -> int:
        """A seed of this process's own, from the state of torch's generator, which all of them share, and its rank."""
        shared = torch.Generator()
        shared.set_state(torch.get_rng_state())
        return (int(torch.randint(2**62, (), generator=shared)) + self.rank) % 2**62

    def batches(
        self, examples: Examples | Stream, batch_size: int, device: torch.device
    ) -> Iterator[tuple[NamedTuple, float]]:
        """One epoch: this process's part of each batch, and the share that its mean loss has in that of the whole.

        The order is drawn at once, before the first batch is asked for.
        """
        if self.world == 1:
            return ((batch, 1.0) for batch in shuffled(examples, batch_size, device))
        if batch_size < self.world:
            raise ParameterError(f"batch_size={batch_size} is below the {self.world} processes; give each an example")
        if isinstance(examples, Stream):
            # Each process streams rows of its own.
            own = batch_size // self.world + (self.rank < batch_size % self.world)
            return self._weighted((part, len(part[0])) for part in examples.batches(own))
        shares = (self.share(rows) for rows in rows_of_batches(examples, batch_size, device))
        return self._weighted((part, n_terms(part, len(rows))) for rows in shares for part in [examples.batch(rows)])

    def _weighted(self, parts: Iterator[tuple[NamedTuple, int]]) -> Iterator[tuple[NamedTuple, float]]:
        """Parts of batches and how many terms each has, to parts and their shares of all processes' terms.

        All processes make the same number of steps. One that has no row left gives its last part again, with share 0.
        """
        part: NamedTuple | None = None
        while True:
            part, terms = next(parts, (part, 0))
            whole = float(self.total(torch.tensor(float(terms), device=self.device)))
            if whole == 0:
                return
            if part is None:
                raise DataError(
                    f"process {self.rank} of {self.world} has no example; write more and smaller row groups"
                )
            yield part, terms / whole

    def pieces(self, table: ParquetTable) -> list[Piece]:
        """The row groups that this process streams: every `world`-th one, or those of the `shard` that the data names."""
        if self.world == 1 or table.shard == (self.rank, self.world):
            return table.shard_pieces
        if table.shard != (0, 1):
            raise DataError(
                f"Dataset.from_parquet: shard={table.shard}, but this is process {self.rank} of {self.world}; leave "
                "shard out, and each process takes its own row groups"
            )
        return table.pieces_of(self.rank, self.world)

    def share(self, rows: Tensor) -> Tensor:
        """This process's part of a batch (B,). Fewer rows than processes are everyone's, and count once altogether."""
        return rows if len(rows) < self.world else rows.tensor_split(self.world)[self.rank]

    def combine(self, net: nn.Module, share: float) -> None:
        """Add the gradients of all processes up; each has to come from a loss that was multiplied by its share."""
        if self.world == 1:
            return
        moved = [one for one in net.parameters() if one.grad is not None]
        dense = [one.grad for one in moved if one.grad is not None and not one.grad.is_sparse]
        if dense:
            # One message for all of them.
            sums = self.total(torch.cat([gradient.flatten() for gradient in dense]))
            for gradient, whole in zip(dense, sums.split([one.numel() for one in dense]), strict=True):
                gradient.copy_(whole.view_as(gradient))
        for parameter in moved:
            gradient = parameter.grad
            if gradient is not None and gradient.is_sparse:
                # Rows that do not count must not be named: an optimizer moves what is, also by a gradient of 0.
                kept = slice(None) if share else slice(0)
                rows, values = self.gather(gradient._indices()[0][kept]), self.gather(gradient._values()[kept])
                parameter.grad = torch.sparse_coo_tensor(rows[None], values, gradient.shape, check_invariants=False)

    # -- batch normalization -----------------------------------------------------------------------------------------

    @contextmanager
    def synchronized(self, net: nn.Module) -> Iterator[None]:
        """Inside the block batch normalization takes mean and variance over the whole batch, that of all processes."""
        if self.world == 1:
            yield
            return
        if any(isinstance(module, CachedEmbedding) for module in net.modules()):
            raise UnsupportedError("a CachedEmbedding trains in one process; use an Embedding, or shard the tables")
        norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm1d)]
        for norm in norms:
            norm.__dict__["forward"] = partial(normalize, norm, self)
        try:
            yield
        finally:
            for norm in norms:
                del norm.__dict__["forward"]


def join(device: torch.device) -> Processes:
    """The processes that train together; a group of them is made under `torchrun` where there is none yet.

    Messages go over gloo between CPUs and over nccl between GPUs, of which each process takes the one of its number.
    """
    if not dist.is_available():
        return Processes(device=device)
    if not dist.is_initialized():
        if not dist.is_torchelastic_launched():
            return Processes(device=device)
        if device.type == "cuda":
            torch.cuda.set_device(own_gpu(device))
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    return Processes(dist.get_rank(), dist.get_world_size(), device)


def own_gpu(device: torch.device) -> int:
    """The GPU of this process: the one of its number on the machine. A number in `device` would be everyone's."""
    local, world = dist.get_node_local_rank(fallback_rank=0), torch.cuda.device_count()  # type: ignore[attr-defined]
    if device.index not in (None, local):
        raise ParameterError(f'device="{device}" puts several processes on one GPU; give "auto" or "cuda"')
    if local >= world:
        raise ParameterError(f"process {local} of this machine has no GPU, it has {world}; start fewer processes")
    return local


def is_first() -> bool:
    """Whether this process is the one that writes: the first of its group, or the only one."""
    return not (dist.is_available() and dist.is_initialized()) or dist.get_rank() == 0


def n_terms(batch: NamedTuple, n_rows: int) -> int:
    """Of how many terms a batch's loss is the mean: places with a target for sequences, ratings, else examples."""
    if isinstance(batch, RatingBatch):
        return len(batch.ratings)
    return int((batch.targets >= 0).sum()) if isinstance(batch, SequenceBatch | ClozeBatch) else n_rows


class _Sum(torch.autograd.Function):
    """Sum over the processes, forward and backward."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, total: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.total = total
        return total(values)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return ctx.total(grad_outputs[0].contiguous()), None


def normalize(norm: nn.BatchNorm1d, processes: Processes, rows: Tensor) -> Tensor:
    """Batch normalization of this process's rows (B, D) by the mean and variance of all processes' rows."""
    if not norm.training:
        return type(norm).forward(norm, rows)

    def total(values: Tensor) -> Tensor:
        summed: Tensor = _Sum.apply(values, processes.total)  # type: ignore[assignment]
        return summed

    wide = rows.float()
    n = total(torch.full((), float(len(rows)), device=rows.device))
    mean = total(wide.sum(0)) / n
    variance = total((wide - mean).square().sum(0)) / n
    kept_mean, kept_variance, seen = norm.running_mean, norm.running_var, norm.num_batches_tracked
    if kept_mean is not None and kept_variance is not None and seen is not None and n > 1:
        seen += 1
        step = 1 / float(seen) if norm.momentum is None else norm.momentum
        kept_mean.lerp_(mean.detach(), step)
        kept_variance.lerp_(variance.detach() * n / (n - 1), step)
    if kept_mean is not None and kept_variance is not None and n == 1:
        # One row has no deviation.
        mean, variance = kept_mean, kept_variance
    normal = (wide - mean) / (variance + norm.eps).sqrt()
    return (normal * norm.weight + norm.bias if norm.affine else normal).to(rows.dtype)
