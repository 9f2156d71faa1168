"""What moves the parameters: a dense optimizer, and beside it one that touches only the rows that a batch looked up."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from recsys.embedding import SGD, Adagrad, RowwiseAdagrad, SparseAdam
from recsys.training.adam import Adam

Rule = Literal["adam", "adagrad", "rowwise_adagrad", "sgd"]


def tables_and_rest(net: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Trained parameters: tables whose gradients hold the batch's rows alone, and all others."""
    tables = [m.weight for m in net.modules() if getattr(m, "sparse", False) and isinstance(m.weight, nn.Parameter)]
    taken = {id(one) for one in tables}
    return tables, [one for one in net.parameters() if id(one) not in taken and one.requires_grad]


def clip_gradients(net: nn.Module, norm: float) -> None:
    """Scale the gradients of all parameters so that together they are no longer than `norm`."""
    gradients = [one.grad for one in net.parameters() if one.grad is not None]
    squares = [distinct(one).float().square().sum() for one in gradients]
    if squares:
        # No early exit: asking whether they are longer would wait for a GPU.
        scale = (norm / (torch.stack(squares).sum().sqrt() + 1e-6)).clamp(max=1.0)
        for one in gradients:
            (one._values() if one.is_sparse else one).mul_(scale)


def distinct(gradient: Tensor) -> Tensor:
    """The numbers of a gradient, those of a row that a sparse one names twice added up."""
    return gradient.coalesce().values() if gradient.is_sparse else gradient


def make_optimizers(
    net: nn.Module, rule: Rule, learning_rate: float, weight_decay: float = 0.0, table_decay: float | None = None
) -> list[Optimizer]:
    """Optimizers of a network's parameters by one rule.

    "rowwise_adagrad" keeps one number for each row of a table and is Adagrad elsewhere. `table_decay` takes the place
    of `weight_decay` in all embedding tables. Tables with sparse gradients decay in the rows that a batch looks up.
    """
    decay = weight_decay if table_decay is None else table_decay
    sparse, rest = tables_and_rest(net)
    vectors = {id(m.weight) for m in net.modules() if hasattr(m, "sparse")}
    groups = [
        {"params": [one for one in rest if id(one) not in vectors], "weight_decay": weight_decay},
        {"params": [one for one in rest if id(one) in vectors], "weight_decay": decay},
    ]
    dense = [group for group in groups if group["params"]]
    optimizers: list[Optimizer] = []
    if dense:
        optimizers.append(_dense(rule, dense, learning_rate))
    if sparse:
        optimizers.append(_sparse(rule, sparse, learning_rate, decay))
    return optimizers


def _dense(rule: Rule, groups: list[dict[str, object]], learning_rate: float) -> Optimizer:
    if rule == "adam":
        return Adam(groups, learning_rate)
    if rule == "sgd":
        return torch.optim.SGD(groups, learning_rate)
    # Torch has it in one pass on the CPU alone.
    on_cpu = all(one.device.type == "cpu" for group in groups for one in group["params"])  # type: ignore[attr-defined]
    return torch.optim.Adagrad(groups, learning_rate, fused=on_cpu)


def _sparse(rule: Rule, tables: list[nn.Parameter], learning_rate: float, decay: float) -> Optimizer:
    kinds = {"adam": SparseAdam, "adagrad": Adagrad, "rowwise_adagrad": RowwiseAdagrad, "sgd": SGD}
    return kinds[rule](tables, lr=learning_rate, weight_decay=decay)
