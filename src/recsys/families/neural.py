"""The base of all neural models: how to train is declared here, once."""

from abc import abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from recsys.base import Recommender
from recsys.data import Dataset
from recsys.errors import DataError, ParameterError
from recsys.evaluation import evaluate
from recsys.metrics import Metric, parse
from recsys.params import Factor, NonNegative, NonNegativeInt, Positive, PositiveInt
from recsys.training import (
    Checkpoint,
    Examples,
    Processes,
    StreamedExamples,
    Trainer,
    is_first,
    join,
    make_optimizers,
    pick_device,
    run_key,
    seeded,
)


class NeuralRecommender(Recommender):
    """A model whose scores come from a torch network, `module_`."""

    epochs: PositiveInt = 20
    """Passes over the training examples, at most."""
    batch_size: PositiveInt = 1024
    """Examples a step."""
    learning_rate: Positive = 0.001
    """Step size of the optimizer."""
    weight_decay: NonNegative = 0.0
    """Squared-norm penalty that the optimizer adds to the gradient; half of it times the squared weights."""
    clip: Positive | None = None
    """Norm that the gradient of a step is cut to; None leaves it as it is."""
    patience: PositiveInt | None = None
    """Epochs without a better `monitor` before training stops; None runs all epochs. Needs `validation_data`."""
    plateau_factor: Factor = 1.0
    """What an epoch without a better `monitor` multiplies the learning rate by."""
    monitor: str = "ndcg@10"
    """Metric of the validation data that picks the best epoch, any name of `recsys.metrics`."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the network: float32, or bfloat16 autocast, in which weights stay float32 and products are rounded.

    It is faster where the processor multiplies bfloat16 numbers: GPUs, CPUs with AVX-512 BF16 or AMX. On others it is
    slower.
    """
    device: str = "auto"
    """Where to train and score: "cpu", "cuda", or the GPU if there is one."""
    checkpoint: str | None = None
    """File that holds the state of a running fit after each epoch; a fit that was killed goes on from it."""
    random_state: NonNegativeInt = 0
    """Seed of initialization, shuffling, dropout and negatives."""
    verbose: NonNegativeInt = 1
    """1 shows a progress bar, 0 is silent."""

    module_: nn.Module

    @abstractmethod
    def _network(self) -> nn.Module:
        """The untrained network, from hyperparameters and fitted attributes alone: a loaded model calls it too."""

    @abstractmethod
    def _examples(self, data: Dataset) -> Examples | StreamedExamples:
        """What the training loop runs over; what only training needs may go into attributes that begin with `_`."""

    @abstractmethod
    def _loss(self, net: Any, batch: Any) -> Tensor:
        """Loss of one batch."""

    def _steps(self, batch: Any) -> Iterable[Any]:
        """Batches that a batch of examples makes, a step each; one is asked for when the step before it is done."""
        return (batch,)

    def _optimizers(self, net: nn.Module) -> list[Optimizer]:
        """What moves the network's parameters."""
        return make_optimizers(net, "adam", self.learning_rate, self.weight_decay)

    @property
    def _rate(self) -> str:
        """The hyperparameter that is the optimizers' learning rate."""
        return "learning_rate"

    def _share_of_rate(self, examples: Any) -> Callable[[int], float] | None:
        """The share of the learning rate that each step, from 0, over these examples is taken with; None is all of it."""
        return None

    def _prepare(self, data: Dataset) -> None:
        """Set the fitted attributes that the network's sizes follow from."""

    def _refresh(self) -> None:
        """Recompute what is kept of the network's outputs; called before validation and at the end."""

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        if self.patience is not None and validation is None:
            raise ParameterError(
                f"{type(self).__name__}: patience={self.patience} needs fit(data, validation_data=...)"
            )
        if validation is not None:
            self._check_monitor(parse(self.monitor), validation)
        device = pick_device(self.device)
        join(device)
        self._prepare(data)
        with seeded(self.random_state, device):
            self.module_ = self._network().to(device)
            self._train(data, validation, device)

    def _train(self, data: Dataset, validation: Dataset | None, device: torch.device) -> None:
        """Train `module_` from where it stands, on numbers drawn from torch's generators; leaves `training_log_`."""
        metric = parse(self.monitor)
        examples = self._examples(data).to(device)
        processes = join(device)
        trainer = Trainer(
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimizers=self._optimizers,
            steps=self._steps,
            plateau_factor=self.plateau_factor,
            clip=self.clip,
            share_of_rate=self._share_of_rate(examples),
            patience=self.patience if validation is not None else None,
            precision=self.precision,
            verbose=self.verbose,
            monitor=self.monitor if validation is not None else None,
            greater_is_better=metric.greater_is_better,
            checkpoint=self._open_checkpoint(data, validation, processes),
            device=device,
            processes=processes,
            name=type(self).__name__,
            rate=self._rate,
        )
        check = None if validation is None else lambda: self._validation_score(metric, validation)
        self.training_log_ = trainer.run(self.module_, examples, self._loss, check)
        # What only training needs has a name that begins with `_`; a fitted model does not carry it along.
        for name in [name for name in self.__dict__ if name.startswith("_")]:
            del self.__dict__[name]
        self._refresh()

    def _check_monitor(self, metric: Metric, validation: Dataset) -> None:
        """Refuse validation data that the metric cannot be taken on, before anything is trained."""
        needs = {"rating": ("ratings", validation.ratings), "label": ("labels", validation.labels)}
        what, there = needs.get(metric.kind, ("users and items", validation.users))
        if there is None:
            raise DataError(
                f"{type(self).__name__}: monitor={self.monitor!r} needs {what} in validation_data, which has none; "
                "name another metric as monitor"
            )

    def _validation_score(self, metric: Metric, validation: Dataset) -> float:
        self._refresh()
        return evaluate(self, validation, metric)[metric.name]

    def _open_checkpoint(self, data: Dataset, validation: Dataset | None, processes: Processes) -> Checkpoint | None:
        if self.checkpoint is None:
            return None
        apart = ("checkpoint", "verbose", "device")
        settings = {name: value for name, value in self.get_params().items() if name not in apart}
        # Each process may stream rows of its own, so its key is its own too.
        key = processes.texts(run_key([type(self).__name__, settings], data, validation))[0]
        return Checkpoint(self.checkpoint, key)

    def save(self, path: str | Path) -> None:
        """Write the model to a directory; of several processes the first one does, and the others do not wait for it.

        Hyperparameters that were set since the fit may not be those of another network.
        """
        self._check_fitted()
        self._check_network()
        if is_first():
            super().save(path)

    def _check_network(self) -> None:
        """Refuse hyperparameters with which what was learned could not be loaded."""
        try:
            # There a network takes no memory and draws no numbers.
            with torch.device("meta"):
                asked = self._network().state_dict()
        except (NotImplementedError, RuntimeError):
            # One that cannot be made there: somebody's own.
            return
        learned = self.module_.state_dict()
        if {name: one.shape for name, one in asked.items()} != {name: one.shape for name, one in learned.items()}:
            raise ParameterError(
                f"{type(self).__name__}: hyperparameters were changed since the fit, and {self!r} is another network "
                "than the one that was trained; set them back, or fit the model again"
            )

    def _restore(self, fitted: dict[str, Any]) -> None:
        weights = fitted.pop("module_")
        super()._restore(fitted)
        try:
            device = pick_device(self.device)
        except ParameterError:
            # Fitted on a machine with a GPU and loaded on one without: what it learned serves here too.
            device = torch.device("cpu")
        with seeded(self.random_state):
            self.module_ = self._network().to(device)
        self.module_.load_state_dict(weights)
        self.module_.eval()

    def _to_device(self, codes: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(codes)).to(next(self.module_.parameters()).device)


def as_table(vectors: Tensor) -> NDArray[np.float32]:
    """Vectors of a network as an array of its own, which later training does not reach."""
    return vectors.detach().float().cpu().numpy().copy()
