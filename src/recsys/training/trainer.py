"""The one training loop: epochs of shuffled batches, validation, early stopping, best weights, checkpoints, a log."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from recsys.embedding.optim import SparseAdam
from recsys.errors import ParameterError, RecsysError
from recsys.training.checkpoint import Checkpoint, Progress, optimizer_tensors, restore_optimizer
from recsys.training.examples import Examples

LOGGER = logging.getLogger(__name__)


def pick_device(name: str) -> torch.device:
    """The device that "auto" stands for, or the named one; an absent one is refused."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ParameterError(f'device={name!r} is not allowed; give "auto", "cpu" or "cuda"') from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ParameterError(f'device={name!r}, but torch sees no CUDA device; give "auto" or "cpu"')
    return device


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from `seed` inside the block and leave the caller's random state as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


@dataclass
class Trainer:
    """How to train: what is said here once serves every neural model."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.0
    patience: int | None = None
    precision: str = "fp32"
    verbose: int = 1
    monitor: str | None = None
    greater_is_better: bool = True
    checkpoint: Checkpoint | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

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
        optimizers = self._optimizers(net)
        log, best, best_score = self._resume(net, optimizers)
        bar = tqdm(total=self.epochs, initial=len(log), disable=self.verbose < 1, desc=type(net).__name__)
        for epoch in range(len(log) + 1, self.epochs + 1):
            start = time.perf_counter()
            row: dict[str, float] = {"epoch": epoch, "loss": self._epoch(net, examples, loss, optimizers)}
            if validate is not None and self.monitor is not None:
                net.eval()
                row[self.monitor] = score = validate()
                if best is None or ((score > best_score) == self.greater_is_better and score != best_score):
                    best_score, best = score, {k: v.detach().clone() for k, v in net.state_dict().items()}
                    row["best"] = 1.0
            log.append({**row, "seconds": time.perf_counter() - start})
            bar.update()
            bar.set_postfix({name: f"{value:.4g}" for name, value in row.items() if name not in ("epoch", "best")})
            if self.checkpoint is not None:
                self._write(net, optimizers, log, best, best_score)
            if self._should_stop(log, best is not None):
                break
        bar.close()
        if best is not None:
            net.load_state_dict(best)
        net.eval()
        if self.checkpoint is not None:
            self.checkpoint.remove()
        return pd.DataFrame(log).drop(columns="best", errors="ignore")

    def _epoch(self, net: nn.Module, examples: Examples, loss: Callable[..., Tensor], optimizers: list[Any]) -> float:
        net.train()
        order = torch.randperm(len(examples)).to(self.device)
        total = torch.zeros((), device=self.device)
        # Data can hold no example at all, as one user with one item holds no next item.
        batches = order.split(self.batch_size) if len(order) else ()
        for rows in batches:
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                value = loss(net, examples.batch(rows))
            value.backward()
            for optimizer in optimizers:
                optimizer.step()
            total += value.detach()
        mean = float(total) / max(len(batches), 1)
        if mean != mean:
            raise RecsysError(f"{type(net).__name__}: the loss became NaN; lower the learning_rate or check the data")
        return mean

    def _optimizers(self, net: nn.Module) -> list[torch.optim.Optimizer]:
        """Adam for dense parameters, and for tables with sparse gradients a step that touches only the batch's rows."""
        sparse = [m.weight for m in net.modules() if getattr(m, "sparse", False) and isinstance(m.weight, nn.Parameter)]
        taken = {id(one) for one in sparse}
        dense = [one for one in net.parameters() if id(one) not in taken and one.requires_grad]
        optimizers: list[torch.optim.Optimizer] = []
        if dense:
            optimizers.append(torch.optim.Adam(dense, self.learning_rate, weight_decay=self.weight_decay))
        if sparse:
            optimizers.append(SparseAdam(sparse, lr=self.learning_rate, weight_decay=self.weight_decay))
        return optimizers

    def _should_stop(self, log: list[dict[str, float]], watched: bool) -> bool:
        if self.patience is None or not watched:
            return False
        since = next(i for i, row in enumerate(reversed(log)) if "best" in row)
        if since >= self.patience:
            LOGGER.info("stopped after epoch %d: no better %s for %d epochs", len(log), self.monitor, since)
        return since >= self.patience

    def _write(self, net: nn.Module, optimizers: list[Any], log: list[Any], best: Any, best_score: float) -> None:
        tensors = {f"net.{name}": tensor for name, tensor in net.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in (best or {}).items()}
        for i, optimizer in enumerate(optimizers):
            tensors |= optimizer_tensors(optimizer, f"optimizer{i}")
        tensors["rng.cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["rng.cuda"] = torch.cuda.get_rng_state(self.device)
        assert self.checkpoint is not None
        self.checkpoint.write(Progress(tensors, {"log": log, "best_score": best_score}))

    def _resume(
        self, net: nn.Module, optimizers: list[Any]
    ) -> tuple[list[dict[str, float]], dict[str, Tensor] | None, float]:
        progress = None if self.checkpoint is None else self.checkpoint.read()
        if progress is None:
            return [], None, 0.0
        tensors = progress.tensors
        net.load_state_dict({n.removeprefix("net."): t for n, t in tensors.items() if n.startswith("net.")})
        for i, optimizer in enumerate(optimizers):
            restore_optimizer(optimizer, f"optimizer{i}", tensors)
        torch.set_rng_state(tensors["rng.cpu"])
        if self.device.type == "cuda" and "rng.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["rng.cuda"], self.device)
        best = {n.removeprefix("best."): t.to(self.device) for n, t in tensors.items() if n.startswith("best.")}
        return progress.values["log"], best or None, progress.values["best_score"]
