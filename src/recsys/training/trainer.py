"""The one training loop: epochs of shuffled batches, validation, early stopping, best weights, checkpoints, a log."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from textwrap import shorten
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm.auto import tqdm

from recsys.errors import LoadError, ParameterError, TrainingError
from recsys.kernels.memory import keep_freed_blocks
from recsys.training.checkpoint import Checkpoint, Progress, optimizer_tensors, restore_optimizer
from recsys.training.distributed import CPU, Processes
from recsys.training.examples import Examples
from recsys.training.optimizers import clip_gradients

LOGGER = logging.getLogger(__name__)


def pick_device(name: str) -> torch.device:
    """The device that "auto" stands for, or the named one; an absent one is refused."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ways_out = 'give "auto", "cpu", "cuda" or the number of a GPU, as in "cuda:0"'
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ParameterError(f"device={name!r} is not allowed; {ways_out}") from error
    if device.type not in ("cpu", "cuda"):
        raise ParameterError(f"device={name!r} is not allowed; {ways_out}")
    n_devices = torch.cuda.device_count() if device.type == "cuda" else 1
    if n_devices == 0:
        raise ParameterError(f'device={name!r}, but torch sees no CUDA device; give "auto" or "cpu"')
    if (device.index or 0) >= n_devices:
        raise ParameterError(f"device={name!r}, but torch sees {n_devices} of its kind, numbered from 0")
    return device


@contextmanager
def seeded(seed: int, device: torch.device = CPU) -> Iterator[None]:
    """Draw from `seed` inside the block, on the CPU and on the device, and leave the caller's random state as it was."""
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(gpus, device_type="cuda"):
        # One generator each: `torch.manual_seed` seeds every GPU, also those whose state is not kept here.
        torch.default_generator.manual_seed(seed % 2**63)
        for gpu in gpus:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(seed % 2**63)
        yield


HEIGHT = "height"
"""Where a group of parameters has the learning rate that schedules take a share of."""


def groups_of(optimizers: Sequence[Optimizer]) -> Iterator[dict[str, Any]]:
    """The groups of parameters of all optimizers."""
    for optimizer in optimizers:
        yield from optimizer.param_groups


@dataclass
class Run:
    """Where a training run stands: a row an epoch, and the weights of the best one."""

    log: list[dict[str, float]] = field(default_factory=list)
    steps: int = 0
    best: dict[str, Tensor] | None = None
    best_score: float = math.nan
    best_epoch: int = 0


def one_step(batch: Any) -> Iterable[Any]:
    """The batch itself."""
    return (batch,)


@dataclass
class Trainer:
    """How to train: what is said here once serves every neural model."""

    epochs: int
    batch_size: int
    optimizers: Callable[[nn.Module], Sequence[Optimizer]]
    """Makes what moves the network's parameters."""
    steps: Callable[[Any], Iterable[Any]] = one_step
    """Batches that a batch of examples makes, a step each; one is asked for when the step before it is done."""
    plateau_factor: float = 1.0
    """What an epoch without a better metric multiplies the learning rates by."""
    clip: float | None = None
    """Norm that the gradient of a step is cut to."""
    share_of_rate: Callable[[int], float] | None = None
    """The share of the learning rates that the step of a number, from 0, is taken with."""
    patience: int | None = None
    precision: str = "fp32"
    verbose: int = 1
    monitor: str | None = None
    greater_is_better: bool = True
    checkpoint: Checkpoint | None = None
    device: torch.device = CPU
    processes: Processes = field(default_factory=Processes)
    """Those that train together; the first one shows progress and writes checkpoints."""
    name: str = "Training"
    """What the progress bar and errors call the run."""
    rate: str = "learning_rate"
    """What errors call the learning rate."""

    def run(
        self,
        net: nn.Module,
        examples: Examples,
        loss: Callable[[nn.Module, Any], Tensor],
        validate: Callable[[], float] | None = None,
    ) -> pd.DataFrame:
        """Train in place, keep the best weights where there is a `validate`, return the log of the run.

        The log has a row an epoch: epoch, loss (mean over batches), the monitored metric, seconds.
        """
        keep_freed_blocks()
        optimizers = self.optimizers(net)
        for group in groups_of(optimizers):
            group[HEIGHT] = group["lr"]
        run = self._resume(net, optimizers)
        self.processes.share_state()
        silent = self.verbose < 1 or self.processes.rank > 0
        synchronized = self.processes.synchronized(net)
        with synchronized, tqdm(total=self.epochs, initial=len(run.log), disable=silent, desc=self.name) as bar:
            while len(run.log) < self.epochs and not self._should_stop(run):
                start = time.perf_counter()
                mean = self._epoch(net, examples, loss, optimizers, run)
                row: dict[str, float] = {"epoch": len(run.log) + 1, "loss": mean}
                self._check(net, row, optimizers)
                if validate is not None and self.monitor is not None:
                    net.eval()
                    # One figure for all processes, who must stop together.
                    row[self.monitor] = self.processes.figure_of_first(validate())
                    self._compare(net, run, row)
                    if run.best_epoch != row["epoch"]:
                        self._slow_down(optimizers)
                run.log.append({**row, "seconds": time.perf_counter() - start})
                bar.update()
                bar.set_postfix({name: f"{value:.4g}" for name, value in row.items() if name != "epoch"})
                self._write(net, optimizers, run)
        if run.best is not None:
            net.load_state_dict(run.best)
        net.eval()
        # A trained network keeps no gradients, which would take as much memory as its weights.
        net.zero_grad(set_to_none=True)
        if self.checkpoint is not None and self.processes.rank == 0:
            self.checkpoint.remove()
        return pd.DataFrame(run.log)

    def _epoch(
        self,
        net: nn.Module,
        examples: Examples,
        loss: Callable[..., Tensor],
        optimizers: Sequence[Optimizer],
        run: Run,
    ) -> float:
        net.train()
        total, n_batches = torch.zeros((), device=self.device), 0
        batches = self.processes.batches(examples, self.batch_size, self.device)
        with self._own_numbers():
            for batch, share in batches:
                self._set_rates(optimizers, run.steps)
                value, *_ = (self._step(net, one, share, loss, optimizers) for one in self.steps(batch))
                total += value
                n_batches += 1
                run.steps += 1
        # Data can hold no example at all, as one user with one item holds no next item.
        return float(self.processes.total(total)) / max(n_batches, 1)

    def _step(
        self, net: nn.Module, batch: Any, share: float, loss: Callable[..., Tensor], optimizers: Sequence[Optimizer]
    ) -> Tensor:
        """Move the network by one batch; returns the loss before that."""

        def evaluate() -> Tensor:
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                value = loss(net, batch) * share
            value.backward()
            self.processes.combine(net, share)
            if self.clip is not None:
                clip_gradients(net, self.clip)
            return value.detach()

        if isinstance(optimizers[0], torch.optim.LBFGS):
            # Its line search asks for the loss again and again.
            return optimizers[0].step(evaluate)
        value = evaluate()
        for optimizer in optimizers:
            optimizer.step()
        return value

    def _own_numbers(self) -> AbstractContextManager[None]:
        """Of several processes each draws dropout and negatives for itself; the state that they share is kept."""
        if self.processes.world == 1:
            return nullcontext()
        return seeded(self.processes.own_seed(), self.device)

    def _slow_down(self, optimizers: Sequence[Optimizer]) -> None:
        """Multiply the learning rates by `plateau_factor`."""
        for group in groups_of(optimizers):
            group[HEIGHT] *= self.plateau_factor
            group["lr"] = group[HEIGHT]

    def _set_rates(self, optimizers: Sequence[Optimizer], step: int) -> None:
        """The learning rates of one step."""
        if self.share_of_rate is not None:
            share = self.share_of_rate(step)
            for group in groups_of(optimizers):
                group["lr"] = group[HEIGHT] * share

    def _check(self, net: nn.Module, row: dict[str, float], optimizers: Sequence[Optimizer]) -> None:
        """Refuse a run that diverged. The weights tell of a last step too large, which no later loss would show."""
        # A sum is finite where all of its terms are, and takes no memory, of which a table would need its own size twice.
        finite = torch.stack([one.detach().sum().double() for one in net.parameters()]).isfinite().all()
        what = "loss" if not math.isfinite(row["loss"]) else None if bool(finite) else "weights"
        if what is not None:
            rate = optimizers[0].param_groups[0][HEIGHT]
            raise TrainingError(
                f"{self.name}: the {what} became NaN or infinite in epoch {row['epoch']} with "
                f"{self.rate}={rate:g}; lower it, or look for extreme values in the data"
            )

    def _compare(self, net: nn.Module, run: Run, row: dict[str, float]) -> None:
        """Keep the weights of the best epoch so far; of equal ones the first, and none whose score is NaN."""
        score = row[str(self.monitor)]
        gain = score - run.best_score if self.greater_is_better else run.best_score - score
        if gain > 0 or (run.best is None and not math.isnan(score)):
            run.best = {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}
            run.best_score, run.best_epoch = score, len(run.log) + 1

    def _should_stop(self, run: Run) -> bool:
        since = len(run.log) - run.best_epoch
        stop = self.patience is not None and run.best is not None and since >= self.patience
        if stop:
            LOGGER.info("%s: stopped, no better %s for %d epochs", self.name, self.monitor, since)
        return stop

    # -- checkpoints -------------------------------------------------------------------------------------------------

    def _write(self, net: nn.Module, optimizers: Sequence[Optimizer], run: Run) -> None:
        if self.checkpoint is None:
            return
        tensors = {f"net.{name}": tensor for name, tensor in net.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in (run.best or {}).items()}
        for i, optimizer in enumerate(optimizers):
            tensors |= optimizer_tensors(optimizer, f"optimizer{i}")
        tensors["rng.cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["rng.cuda"] = torch.cuda.get_rng_state(self.device)
        values = {"log": run.log, "steps": run.steps, "best_score": run.best_score, "best_epoch": run.best_epoch}
        rates = [[group[HEIGHT] for group in optimizer.param_groups] for optimizer in optimizers]
        self.checkpoint.write(Progress(tensors, {**values, "learning_rates": rates}), self.processes)

    def _resume(self, net: nn.Module, optimizers: Sequence[Optimizer]) -> Run:
        """Where the run was cut off, with the network, the optimizers and the random state as they were."""
        if self.checkpoint is None:
            return Run()
        progress = self.checkpoint.read()
        self.processes.check_same(0 if progress is None else len(progress.values["log"]), str(self.checkpoint.path))
        if progress is None:
            return Run()
        tensors = progress.tensors
        best = {n.removeprefix("best."): t.to(self.device) for n, t in tensors.items() if n.startswith("best.")}
        try:
            net.load_state_dict({n.removeprefix("net."): t for n, t in tensors.items() if n.startswith("net.")})
            for i, optimizer in enumerate(optimizers):
                restore_optimizer(optimizer, f"optimizer{i}", tensors)
            values = dict(progress.values)
            for optimizer, rates in zip(optimizers, values.pop("learning_rates"), strict=True):
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = group[HEIGHT] = rate
            torch.set_rng_state(tensors["rng.cpu"])
            if "rng.cuda" in tensors and self.device.type == "cuda":
                torch.cuda.set_rng_state(tensors["rng.cuda"], self.device)
            return Run(best=best or None, **values)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            path, what = self.checkpoint.path, shorten(str(error), 200)
            raise LoadError(f"{path} does not fit {self.name} ({what}); remove it to start over") from error
