"""Loss of pairs straight from the tables of users and items: on a CPU a step is one call, with all gradients.

It is `pair_loss` of what the sides are made of, where that has no dropout and no other precision.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from recsys.embedding import Embedding
from recsys.embedding.table import gradient_of_rows
from recsys.kernels.pair_sides import Side, places_of
from recsys.kernels.pairs import Pairs, pair_gradients
from recsys.kernels.sparse_step import group_rows
from recsys.nn.pairs import PairLayers

Array = NDArray[Any]
Tables = tuple[Embedding, Embedding]
NOTHING = np.zeros((1, 0), np.float32)


class PairTables(NamedTuple):
    """What both sides are made of: tables of users and of items, and the layer that reads them.

    A user's side is [h * p; W_p p' + c] and an item's [q; W_q q'], of vectors p and q that are multiplied and others, p'
    and q', that a tower reads, whose first layer is [W_p, W_q] and c. A product alone has no second part, a tower alone
    no first one.
    """

    multiplied: Tables | None = None
    factor: Tensor | None = None
    """h, (1, D)."""
    read: Tables | None = None
    first: nn.Linear | None = None
    """(H, 2 E)."""

    @property
    def sparse(self) -> tuple[bool, bool]:
        """Whether gradients of users' and of items' tables hold the rows of the batch alone."""
        users, items = self.multiplied or self.read or (None, None)
        return users is not None and users.sparse, items is not None and items.sparse

    @property
    def parameters(self) -> list[Tensor | None]:
        """Tables that are multiplied, h, tables that are read, W and c; None for what is absent."""
        multiplied, read = ([one.weight for one in pair or ()] or [None, None] for pair in (self.multiplied, self.read))
        first = [None, None] if self.first is None else [self.first.weight, self.first.bias]
        return [*multiplied, self.factor, *read, *first]


def in_one_call(layers: PairLayers) -> bool:
    """Whether `table_loss` serves: in float32 on a CPU, without dropout and outside of autocast."""
    one = layers.weights[0]  # all parameters of a network are of one kind, in one place
    plain = one.is_cpu and one.dtype == torch.float32
    return plain and not layers.dropout and not torch.is_autocast_enabled("cpu")


def table_loss(users: Tensor, items: Tensor, tables: PairTables, layers: PairLayers) -> Tensor:
    """`pair_loss` of users (B,) and the items of each (B, 1 + K), by their codes, all of which are in the tables."""
    return _TableLoss.apply(users, items, tables.sparse, *tables.parameters, *layers.weights)  # type: ignore[return-value]


class _TableLoss(torch.autograd.Function):
    """Gradients are made beside the loss."""

    @staticmethod
    def forward(
        ctx: Any, users: Tensor, items: Tensor, sparse: tuple[bool, bool], *parameters: Tensor | None
    ) -> Tensor:
        arrays = [None if one is None else one.detach().numpy() for one in parameters]
        pairs = _pairs(users.numpy(), items.numpy(), sparse, arrays)
        loss, found = pair_gradients(pairs, torch.get_num_threads())
        u, i = found.users, found.things
        found_of_tables = u.multiplied, i.multiplied, u.read, i.read
        tables = zip(arrays[:2] + arrays[3:5], (u, i) * 2, found_of_tables, strict=True)
        of_tables = [_of_table(*one) for one in tables]
        shared = [u.factor[None], np.concatenate([u.weight, i.weight], 1), u.bias, *found.weights]
        factor, *others = (torch.from_numpy(one) for one in shared)
        ctx.gradients = [*of_tables[:2], factor, *of_tables[2:], *others]
        return torch.tensor(loss, dtype=torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        # Nothing else may hold them: then they become the parameters' own, and are not copied.
        gradients, ctx.gradients = ctx.gradients, None
        scale = float(grad_outputs[0])
        needed = zip(gradients, ctx.needs_input_grad[3:], strict=True)
        return None, None, None, *((one if scale == 1 else one * scale) if wanted else None for one, wanted in needed)


def _pairs(users: Array, items: Array, sparse: tuple[bool, bool], arrays: Sequence[Array | None]) -> Pairs:
    """What the kernel takes; a user or an item that comes more than once is there once, unless the table is sparse."""
    p, q, factor, p_read, q_read, weight, bias = (NOTHING if one is None else one for one in arrays[:7])
    weight = weight[: bias.size]
    n_users, n_items = (max(map(len, tables)) - 1 for tables in ((p, p_read), (q, q_read)))
    if sparse[0]:
        people, whose = users, np.arange(len(users))
    else:
        people, starts, order = group_rows(users, n_users)
        whose, items = np.repeat(np.arange(len(people)), np.diff(starts)), items.take(order, 0)
    if sparse[1]:
        things, places = items.reshape(-1), np.arange(items.size)
    else:
        things, places = places_of(items.reshape(-1), n_items)
    inner, one, nothing = p_read.shape[1], np.ones(q.shape[1], np.float32), np.zeros(bias.size, np.float32)
    # Row 0 of a table is the spare one.
    of_users = Side(people + 1, p, factor[0], p_read, weight[:, :inner], bias.reshape(-1), spread=not sparse[0])
    of_items = Side(things + 1, q, one, q_read, weight[:, inner:], nothing, spread=not sparse[1])
    return Pairs(of_users, of_items, whose, places.reshape(items.shape), arrays[7:])  # type: ignore[arg-type]


def _of_table(table: Array | None, side: Side, values: Array) -> Tensor | None:
    """The gradient of a table (N, D) from what the kernel has found of it."""
    if table is None:
        return None
    if side.spread:
        return torch.from_numpy(values)
    return gradient_of_rows(
        torch.from_numpy(side.rows), torch.from_numpy(values), torch.Size(table.shape), spared=False
    )
