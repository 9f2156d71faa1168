"""A problem with a known answer for the training loop: y is a line in x, plus a number by group."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from recsys.embedding import Embedding
from recsys.training import Checkpoint, Trainer, make_optimizers, seeded

SLOPES = torch.tensor([1.0, -2.0, 0.5])
LEVELS = torch.tensor([3.0, -1.0, 0.0, 0.0])
"""Level of each group; no row is of the last."""


class Rows(NamedTuple):
    x: Tensor
    group: Tensor
    y: Tensor


class LineExamples:
    """Rows of the planted line; remembers which rows each batch was."""

    def __init__(self, n_rows: int = 60):
        generator = torch.Generator().manual_seed(7)
        self.x = torch.randn(n_rows, 3, generator=generator)
        self.group = torch.randint(3, (n_rows,), generator=generator)
        self.y = self.x @ SLOPES + LEVELS[self.group]
        self.seen_batches: list[list[int]] = []

    def __len__(self) -> int:
        return len(self.y)

    def to(self, device: torch.device) -> Self:
        self.x, self.group, self.y = self.x.to(device), self.group.to(device), self.y.to(device)
        return self

    def batch(self, rows: Tensor) -> Rows:
        self.seen_batches.append(rows.tolist())
        return Rows(self.x[rows], self.group[rows], self.y[rows])


class LineNet(nn.Module):
    """A line, a table of levels whose gradients are sparse, dropout on the inputs, and a counter that is no weight."""

    steps: Tensor

    def __init__(self, dropout: float = 0.0):
        super().__init__()
        self.line = nn.Linear(3, 1)
        self.levels = Embedding(4, 1, sparse=True)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor, group: Tensor) -> Tensor:
        return (self.line(self.dropout(x)) + self.levels(group)).squeeze(1)


def squares(net: Any, batch: Rows) -> Tensor:
    """Mean squared error; counts the steps."""
    net.steps += 1
    return (net(batch.x, batch.group).float() - batch.y).square().mean()


def stopping(at_step: int) -> Callable[[Any, Rows], Tensor]:
    """The same loss, cut off at a step as by Ctrl-C."""

    def loss(net: Any, batch: Rows) -> Tensor:
        if int(net.steps) + 1 == at_step:
            raise KeyboardInterrupt
        return squares(net, batch)

    return loss


def trainer(**changes: Any) -> Trainer:
    rate, decay = changes.pop("learning_rate", 0.05), changes.pop("weight_decay", 0.0)
    changes.setdefault("optimizers", lambda net: make_optimizers(net, "adam", rate, decay))
    settings: dict[str, Any] = {"epochs": 5, "batch_size": 16, "verbose": 0, "name": "Line"}
    return Trainer(**{**settings, **changes})


def scores(values: list[float]) -> Callable[[], float]:
    """A validation that gives these figures, one after the other."""
    remaining: Iterator[float] = iter(values)
    return lambda: next(remaining)


def train(
    *, seed: int = 0, dropout: float = 0.0, loss: Any = squares, validate: Any = None, **changes: Any
) -> tuple[LineNet, Any]:
    """A net trained on the line from a seed, and its log."""
    with seeded(seed):
        net = LineNet(dropout)
        log = trainer(**changes).run(net, LineExamples(), loss, validate)
    return net, log


def open_checkpoint(folder: Any, key: str = "run") -> Checkpoint:
    return Checkpoint(folder / "run.ckpt", key)


def same_state(one: nn.Module, other: nn.Module) -> bool:
    """Whether two networks have bitwise the same weights and buffers."""
    left, right = one.state_dict(), other.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)
