"""The epochs of models that descend by single steps: the log, the progress bar, early stopping, and a loss that ran off."""

import time
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm.auto import tqdm

from recsys.data import Dataset
from recsys.errors import ParameterError, RecsysError
from recsys.factor import FactorRecommender
from recsys.params import NonNegativeInt, Positive, PositiveInt


class DescentRecommender(FactorRecommender):
    """A factor model trained by stochastic gradient descent on the CPU.

    A model's `_fit` sets its fitted arrays and calls `_descend`; an epoch changes them in place.
    """

    lower_is_better: ClassVar[bool] = True
    """Whether a smaller validation figure is the better one."""

    epochs: PositiveInt = 20
    """Passes over the training data, at most."""
    learning_rate: Positive = 0.05
    """Step size."""
    learning_rate_decay: Positive = 1.0
    """Factor on the step size after each epoch."""
    patience: PositiveInt | None = None
    """Epochs without a better figure on the validation data before training stops; needs `validation_data`. The best
    epoch is kept."""
    random_state: NonNegativeInt = 0
    """Seed of initialization and order."""
    n_jobs: int = 1
    """Threads. More than one step without locks and lose a little to each other: faster, but two fits differ."""
    verbose: NonNegativeInt = 1
    """1 shows a progress bar, 0 is silent."""

    training_log_: Any

    @abstractmethod
    def _epoch(self, rng: np.random.Generator, rate: float) -> float:
        """One pass with this step size; returns the mean loss of a step."""

    @abstractmethod
    def _learned(self) -> list[NDArray[Any]]:
        """The arrays that an epoch changes."""

    @abstractmethod
    def _validate(self, validation: Dataset) -> tuple[str, float]:
        """Name and figure of how well the model does on the validation data."""

    def _descend(self, rng: np.random.Generator, validation: Dataset | None) -> None:
        model = type(self).__name__
        if self.patience is not None and validation is None:
            raise ParameterError(f"{model}: patience={self.patience} needs fit(data, validation_data=...)")
        log: list[dict[str, float]] = []
        best, best_epoch, kept = np.inf, 0, None
        for epoch in tqdm(range(1, self.epochs + 1), disable=self.verbose < 1, desc=model):
            start = time.perf_counter()
            loss = self._epoch(rng, self.learning_rate * self.learning_rate_decay ** (epoch - 1))
            if not np.isfinite(loss):
                raise RecsysError(f"{model}: the loss became NaN; lower learning_rate={self.learning_rate}")
            row = {"epoch": epoch, "loss": loss, "seconds": time.perf_counter() - start}
            if validation is not None:
                name, row_figure = self._validate(validation)
                row[name] = row_figure
                figure = row_figure if self.lower_is_better else -row_figure
                if figure < best:
                    best, best_epoch, kept = figure, epoch, [part.copy() for part in self._learned()]
            log.append(row)
            if self.patience is not None and epoch - best_epoch >= self.patience:
                break
        if kept is not None:
            for part, one in zip(self._learned(), kept, strict=True):
                part[...] = one
        self.training_log_ = pd.DataFrame(log)

    def _threads(self) -> int:
        # `n_jobs` is of the steps, whose outcome it changes; lists are the same however many threads make them.
        return -1
