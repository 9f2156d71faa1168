"""The base of all neural models: how to train is declared here, once."""

import hashlib
import json
from abc import abstractmethod
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recsys.base import Recommender
from recsys.data import Dataset
from recsys.errors import ParameterError
from recsys.evaluation import evaluate
from recsys.metrics import parse
from recsys.params import NonNegative, NonNegativeInt, Positive, PositiveInt
from recsys.training import Checkpoint, Examples, Trainer, pick_device, seeded


class NeuralRecommender(Recommender):
    """A model whose scores come from a torch network, `module_`."""

    epochs: PositiveInt = 20
    """Passes over the training examples, at most."""
    batch_size: PositiveInt = 1024
    """Examples a step."""
    learning_rate: Positive = 0.001
    """Step size of Adam."""
    weight_decay: NonNegative = 0.0
    """Squared-norm penalty that Adam adds to the gradient."""
    patience: PositiveInt | None = None
    """Epochs without a better `monitor` before training stops; None runs all epochs. Needs `validation_data`."""
    monitor: str = "ndcg@10"
    """Metric of the validation data that picks the best epoch, any name of `recsys.metrics`."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the network: float32, or bfloat16 autocast."""
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
    def _examples(self, data: Dataset) -> Examples:
        """What the training loop runs over."""

    @abstractmethod
    def _loss(self, net: Any, batch: Any) -> Tensor:
        """Loss of one batch."""

    def _prepare(self, data: Dataset) -> None:
        """Set the fitted attributes that the network's sizes follow from."""

    def _refresh(self) -> None:
        """Recompute what is kept of the network's outputs; called before validation and at the end."""

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        if self.patience is not None and validation is None:
            raise ParameterError(
                f"{type(self).__name__}: patience={self.patience} needs fit(data, validation_data=...)"
            )
        metric = parse(self.monitor)
        device = pick_device(self.device)
        self._prepare(data)
        with seeded(self.random_state):
            self.module_ = self._network().to(device)
            examples = self._examples(data).to(device)
            trainer = Trainer(
                epochs=self.epochs,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                weight_decay=self.weight_decay,
                patience=self.patience,
                precision=self.precision,
                verbose=self.verbose,
                monitor=self.monitor if validation is not None else None,
                greater_is_better=metric.greater_is_better,
                checkpoint=None if self.checkpoint is None else Checkpoint(self.checkpoint, self._run_key(data)),
                device=device,
            )
            check = None if validation is None else lambda: self._validation_score(validation)
            self.training_log_ = trainer.run(self.module_, examples, self._loss, check)
        self._refresh()

    def _validation_score(self, validation: Dataset) -> float:
        self._refresh()
        return evaluate(self, validation, metrics=[self.monitor])[self.monitor]

    def _run_key(self, data: Dataset) -> str:
        """Digest of what makes a run the same: the class, its hyperparameters, and the data."""
        parameters = {k: v for k, v in self.get_params().items() if k not in ("checkpoint", "verbose", "device")}
        digest = hashlib.sha256(json.dumps([type(self).__name__, parameters], sort_keys=True, default=str).encode())
        for codes in (data.user_codes, data.item_codes):
            if codes is not None:
                digest.update(np.ascontiguousarray(codes).tobytes())
        return digest.hexdigest()

    def _restore(self, fitted: dict[str, Any]) -> None:
        weights = fitted.pop("module_")
        super()._restore(fitted)
        with seeded(self.random_state):
            self.module_ = self._network().to(pick_device(self.device))
        self.module_.load_state_dict(weights)
        self.module_.eval()

    def _to_device(self, codes: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(codes)).to(next(self.module_.parameters()).device)
