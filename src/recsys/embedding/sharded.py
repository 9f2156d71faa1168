"""Tables of fields spread over processes by TorchRec (`pip install "recsys[distributed]"`).

Each field is a table of its own, or several, and TorchRec's planner says which process holds which tables or parts of
them. A step sends codes to those that have the rows and vectors back; the rows move during the backward pass, by an
optimizer that is fused into it.

Ivchenko et al., "TorchRec: a PyTorch Domain Library for Recommendation Systems", RecSys 2022.
"""

# TorchRec is optional, also for the type checker.
# pyright: reportMissingImports=false

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Literal, NoReturn, get_args

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from recsys.embedding.fields import FieldEmbedding, first_codes
from recsys.errors import UnsupportedError

FusedRule = Literal["sgd", "adagrad", "rowwise_adagrad"]
"""Rules that a backward pass can move rows by, on the CPU and on the GPU."""
Piece = tuple[int, int, Tensor]
"""A part of a whole table: its first row and column there, and its values (n, D), or (n,) where rows have one each."""
AT = "@"
"""Between the name of a tensor and the place of a part of it, as in "weight@1:0": the first row and column."""


def can_shard(rule: str) -> bool:
    """Whether TorchRec is installed and moves rows by the rule."""
    return find_spec("torchrec") is not None and rule in get_args(FusedRule)


class ShardedFieldEmbedding(nn.Module):
    """A `FieldEmbedding` whose rows are spread over the processes of the default group; a step of one is one of all.

    All processes have to call it equally often, each with rows of its own, and `loss` has to be each process's share
    of the whole loss. It has no parameters: its rows move in the backward pass, with the learning rate of
    `ShardedOptimizer`. Its state is the process's own parts of the table, and it takes parts or whole tables back.
    """

    def __init__(self, whole: FieldEmbedding, rule: FusedRule, learning_rate: float):
        super().__init__()
        weight = whole.table.weight.detach()
        self.dim, self.sizes, self.world = weight.shape[1], whole.sizes, dist.get_world_size()
        # Without a GPU TorchRec does not part a table by rows, and one table could be most of the bytes.
        largest = sum(self.sizes) // self.world if weight.device.type == "cpu" else sum(self.sizes)
        self.tables = [(f, size) for f, rows in enumerate(self.sizes) for size in cut_rows(rows, largest, self.world)]
        self.names = [f"table{number}" for number in range(len(self.tables))]
        self.starts = (first_codes([size for _, size in self.tables]) + 1).tolist()
        self.register_buffer("firsts", torch.tensor(self.starts[:-1], device=weight.device) - 1, persistent=False)
        self.register_buffer(
            "owners", torch.tensor([f for f, _ in self.tables], device=weight.device), persistent=False
        )
        # Aside, so that neither is part of the module's parameters and state.
        self.__dict__["whole"] = whole
        self.__dict__["shards"] = self._place(self._tables(rule, learning_rate), weight.device)
        self._write(self.pieces(), weight)
        whole.table.weight = nn.Parameter(weight.new_empty(0, self.dim))

    def _tables(self, rule: FusedRule, learning_rate: float) -> Any:
        """TorchRec's tables, without memory, and each with the optimizer of its backward pass."""
        import torchrec  # noqa: PLC0415 (optional)
        from torchrec.optim.apply_optimizer_in_backward import apply_optimizer_in_backward  # noqa: PLC0415 (optional)

        rules = {
            "sgd": torch.optim.SGD,
            "adagrad": torch.optim.Adagrad,
            "rowwise_adagrad": torchrec.optim.RowWiseAdagrad,
        }
        settings = {"lr": learning_rate} | ({} if rule == "sgd" else {"eps": 1e-10})
        tables = [
            torchrec.EmbeddingBagConfig(
                name=name, num_embeddings=max(size, 1), embedding_dim=self.dim, feature_names=[name]
            )
            for name, (_, size) in zip(self.names, self.tables, strict=True)
        ]
        bags = torchrec.EmbeddingBagCollection(tables=tables, is_weighted=True, device=torch.device("meta"))
        apply_optimizer_in_backward(rules[rule], bags.parameters(), settings)
        return bags

    def _place(self, bags: Any, device: torch.device) -> Any:
        """The tables where TorchRec's planner puts them, of which this process has its parts."""
        from torchrec.distributed import embeddingbag, planner  # noqa: PLC0415 (optional)
        from torchrec.distributed.comm import get_local_size  # noqa: PLC0415 (optional)
        from torchrec.distributed.planner import storage_reservations, types  # noqa: PLC0415 (optional)
        from torchrec.distributed.types import ShardingEnv  # noqa: PLC0415 (optional)

        # A copy on every process would be no shard.
        ways = ["table_wise"] if device.type == "cpu" else ["table_wise", "row_wise", "column_wise"]
        constraints = {name: planner.ParameterConstraints(sharding_types=ways) for name in self.names}
        memory = torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else None
        machine = types.TrainerConfig(
            world_size=self.world, local_world_size=get_local_size(self.world), hbm_cap_bytes=memory
        )
        topology = types.TopologyFactory.create_topology(
            machine, kernel_config=types.KernelConfig(compute_device=device.type)
        )
        # What the plan leaves free is for the network and its batches.
        free = storage_reservations.FixedPercentageStorageReservation(percentage=0.15)
        maker = planner.EmbeddingShardingPlanner(topology=topology, constraints=constraints, storage_reservation=free)
        sharder, group = embeddingbag.EmbeddingBagCollectionSharder(), dist.group.WORLD
        plan = maker.collective_plan(bags, [sharder], group).plan[""]
        return sharder.shard(bags, plan, ShardingEnv.from_process_group(group), device)

    def forward(self, codes: Tensor, values: Tensor | None = None) -> Tensor:
        """Codes (B, S) and values (B, S), by default ones, to vectors (B, F, dim); B may differ between processes."""
        if torch.is_inference_mode_enabled():
            # The lookups have no kernel for inference tensors on the CPU.
            with torch.inference_mode(False), torch.no_grad():
                return self(codes.clone(), None if values is None else values.clone())
        found = self.shards(self._bags(codes, torch.ones_like(codes) if values is None else values)).wait()
        vectors = torch.stack([found[name] for name in self.names], 1)
        if vectors.requires_grad:
            # TorchRec takes the mean of the processes' gradients, where the sum is wanted.
            vectors.register_hook(lambda gradient: gradient * self.world)
        if len(self.names) == len(self.sizes):
            return vectors
        return vectors.new_zeros(len(vectors), len(self.sizes), self.dim).index_add(1, self.owners, vectors)

    def _bags(self, codes: Tensor, values: Tensor) -> Any:
        """Slots (B, S) and values (B, S) as TorchRec has them: by table, then row, without the unknown ones."""
        from torchrec.sparse.jagged_tensor import KeyedJaggedTensor  # noqa: PLC0415 (optional)

        n = len(codes)
        known = (codes >= 0).flatten()
        codes = codes + self.whole.start
        tables = torch.searchsorted(self.firsts, codes, right=True) - 1
        codes = codes - self.firsts[tables]
        bag = (tables * n + torch.arange(n, device=codes.device)[:, None]).flatten()
        lengths = torch.bincount(bag[known], minlength=n * len(self.names))
        order = torch.argsort(bag, stable=True)
        order = order[known[order]]
        codes, values = codes.flatten()[order], values.flatten()[order].float()
        return KeyedJaggedTensor(keys=self.names, values=codes, weights=values, lengths=lengths)

    # -- parts -------------------------------------------------------------------------------------------------------

    def pieces(self) -> list[Piece]:
        """This process's parts of the table, which is as an `Embedding`'s weight is: a spare row, then all fields."""
        return [one for key, table in self.shards.state_dict().items() for one in self._placed(key, table)]

    def moments(self) -> list[Piece]:
        """What the optimizer remembers of the parts: sums of squares of gradients."""
        state = self.shards.fused_optimizer.state_dict()["state"]
        return [one for key, kept in state.items() for table in kept.values() for one in self._placed(key, table)]

    def _placed(self, key: str, table: Any) -> Iterator[Piece]:
        """Parts of one of TorchRec's tables that are here."""
        number = self.names.index(key.split(".")[-2])
        for shard in table.local_shards() if self.tables[number][1] else ():
            offsets = [*shard.metadata.shard_offsets, 0]
            yield self.starts[number] + offsets[0], offsets[1], shard.tensor.detach()

    @torch.no_grad()
    def _write(self, pieces: Sequence[Piece], whole: Tensor) -> None:
        for row, column, part in pieces:
            part.copy_(cut_piece(whole, row, column, part))

    @torch.no_grad()
    def gather(self) -> FieldEmbedding:
        """The embedding with its whole table, on every process."""
        device = self.firsts.device
        weight = torch.zeros(sum(self.sizes) + 1, self.dim, device=device)
        for row, column, part in self.pieces():
            cut_piece(weight, row, column, part).copy_(part)
        # Parts do not overlap, and the rest is zeros.
        dist.all_reduce(weight)
        self.whole.table.weight = nn.Parameter(weight)
        return self.whole

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        for row, column, part in self.pieces():
            destination[f"{prefix}table.weight{AT}{row}:{column}"] = part

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        try:
            put_back(self.pieces(), f"{prefix}table.weight", state_dict)
        except KeyError as error:
            missing_keys.append(str(error.args[0]))

    @property
    def table(self) -> NoReturn:
        """Refused: no process has the table."""
        raise UnsupportedError(
            'this network reads its tables itself, so they cannot be sharded; give sharding="replicated"'
        )

    start = slot_vectors = table


class ShardedOptimizer(Optimizer):
    """Learning rate and memory of the optimizers that are fused into the backward passes of a network's sharded tables.

    `small` is the optimizer of the sparse tables that every process has, if there are any. Together they count tables
    as an optimizer of one process does.
    """

    def __init__(self, net: nn.Module, learning_rate: float, small: Optimizer | None):
        # No parameter is its own; torch asks for at least one.
        super().__init__([nn.Parameter(torch.zeros(0))], {"lr": learning_rate})
        tables = [m for m in net.modules() if isinstance(m, ShardedFieldEmbedding) or getattr(m, "sparse", False)]
        self.sharded = {at: one for at, one in enumerate(tables) if isinstance(one, ShardedFieldEmbedding)}
        self.places = [at for at in range(len(tables)) if at not in self.sharded]
        self.small = small

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Before a step: tell all of them the learning rate."""
        optimizers = [table.shards.fused_optimizer for table in self.sharded.values()]
        for optimizer in [*optimizers, *([] if self.small is None else [self.small])]:
            for group in optimizer.param_groups:
                group["lr"] = self.param_groups[0]["lr"]
            optimizer.zero_grad()

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move the small tables; the rows of the others have moved in the backward pass."""
        if self.small is not None:
            self.small.step()

    def state_dict(self) -> dict[str, Any]:
        """What is remembered, with parts of sums under the names that a table of one process gives the whole ones."""
        state = {
            at: {f"sum{AT}{row}:{column}": part for row, column, part in table.moments()}
            for at, table in self.sharded.items()
        }
        small = {} if self.small is None else self.small.state_dict()["state"]
        state |= {self.places[at]: values for at, values in small.items()}
        return {"state": state, "param_groups": [{"lr": self.param_groups[0]["lr"]}]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take parts or whole sums back."""
        state = state_dict["state"]
        for at, table in self.sharded.items():
            if table.moments():
                put_back(table.moments(), "sum", state[at])
        if self.small is not None:
            own = {at: state[place] for at, place in enumerate(self.places) if place in state}
            self.small.load_state_dict({"state": own, "param_groups": self.small.state_dict()["param_groups"]})


def shardable(module: nn.Module) -> bool:
    """Whether a module is an embedding that TorchRec can shard: its vectors are of a multiple of 4 numbers."""
    return isinstance(module, FieldEmbedding) and module.table.weight.shape[1] % 4 == 0


def shard_tables(net: nn.Module, rule: FusedRule, learning_rate: float) -> None:
    """Put sharded embeddings in the place of a network's embeddings that can be."""
    replace_modules(net, shardable, lambda whole: ShardedFieldEmbedding(whole, rule, learning_rate))


def gather_tables(net: nn.Module) -> None:
    """Put embeddings with whole tables back in the place of sharded ones, on every process."""
    replace_modules(net, lambda one: isinstance(one, ShardedFieldEmbedding), lambda sharded: sharded.gather())


def replace_modules(net: nn.Module, chosen: Callable[[nn.Module], bool], made: Callable[[Any], nn.Module]) -> None:
    """Put `made(module)` in the place of each module that is chosen, in the order of the modules."""
    found = [(parent, name, child) for parent in net.modules() for name, child in parent.named_children()]
    for parent, name, child in found:
        if chosen(child):
            setattr(parent, name, made(child))


def cut_rows(n_rows: int, largest: int, n_parts: int) -> list[int]:
    """Rows of the tables of one field: one, or `n_parts` of about the same size where it has more than `largest` rows."""
    if n_rows <= max(largest, n_parts):
        return [n_rows]
    return [n_rows * (part + 1) // n_parts - n_rows * part // n_parts for part in range(n_parts)]


def cut_piece(whole: Tensor, row: int, column: int, like: Tensor) -> Tensor:
    """The part of a whole table, or of one number a row, that lies at a place and has the shape of another tensor."""
    rows = whole[row : row + len(like)]
    return rows if like.ndim == 1 else rows[:, column : column + like.shape[1]]


@torch.no_grad()
def put_back(pieces: Sequence[Piece], name: str, state: Mapping[str, Tensor]) -> None:
    """Write values into parts: those of the part's own name, or cut out of the whole of that name."""
    for row, column, part in pieces:
        own = state.get(f"{name}{AT}{row}:{column}")
        part.copy_(cut_piece(state[name], row, column, part) if own is None or own.shape != part.shape else own)
