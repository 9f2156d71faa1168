"""Where a table lies: on the device, or in host memory with its hot rows in a cache on the device."""

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from recsys.embedding.row_optimizer import RowOptimizer
from recsys.embedding.table import Embedding, look_up, new_rows
from recsys.errors import DataError, ParameterError, UnsupportedError

Placement = Literal["auto", "device", "host"]


class CachedEmbedding(nn.Module):
    """An `Embedding` whose table is in host memory; the rows that batches name are moved to `cache_rows` on the device.

    `weight` is the cache, (cache_rows + 1, dim), and the parameter that an optimizer is given; `follow` then has that
    optimizer's memory of a row move with it. The rows not used for longest make room and are written back, so that
    training is that of the table on the device, step by step. All rows that are looked up between two steps must fit.
    Saved and loaded it is the whole table, as an `Embedding` is; what the optimizer remembers is not saved.

    On the host: the table, and as much again per number that the optimizer remembers of a weight; pinned where the
    device is a GPU. On the device: the same for the cache alone, and 4 bytes a row of the table, for where it is. A
    step moves the rows that the cache lacks twice, in and out, and looks for what makes room in O(cache_rows).
    """

    place_of: Tensor
    row_of: Tensor
    used: Tensor
    sparse = True

    def __init__(
        self, num: int, dim: int, cache_rows: int, *, std: float = 0.01, device: torch.device | str | None = None
    ):
        super().__init__()
        if cache_rows < 1:
            raise ParameterError(f"CachedEmbedding: cache_rows={cache_rows} is not allowed; give a number above 0")
        self.host = new_rows("CachedEmbedding", num, dim, std, torch.float32)
        cache_rows = min(cache_rows, max(num, 1))
        self.weight = nn.Parameter(torch.zeros(cache_rows + 1, dim))
        # Where a row is in the cache, 0 for nowhere; which row a place has, 0 for none; when it was last asked for.
        self.register_buffer("place_of", torch.zeros(num + 1, dtype=torch.int32), persistent=False)
        self.register_buffer("row_of", torch.zeros(cache_rows + 1, dtype=torch.long), persistent=False)
        self.register_buffer("used", torch.zeros(cache_rows + 1, dtype=torch.long), persistent=False)
        self.clock, self.stepped = 0, 0
        self._optimizer: RowOptimizer | None = None
        self._remembered: dict[str, Tensor] = {}
        if device is not None:
            self.to(device)
        if self.weight.is_cuda:
            self.host = self.host.pin_memory()

    @property
    def vectors(self) -> Tensor:
        """The vectors of all codes, (num, dim), on the host."""
        self.flush()
        return self.host[1:]

    def forward(self, codes: Tensor) -> Tensor:
        """Codes (...) to vectors (..., dim); in evaluation, or without gradients, the cache stays as it is."""
        rows = codes + 1
        if rows.numel() and not 0 <= int(rows.min()) <= int(rows.max()) < len(self.host):
            raise DataError(f"CachedEmbedding has codes -1 to {len(self.host) - 2}, got others")
        if not (self.training and torch.is_grad_enabled()):
            return self._read(rows)
        if self._optimizer is None:
            raise UnsupportedError(
                "CachedEmbedding is trained by the optimizer that it follows; call follow(optimizer)"
            )
        distinct = rows.unique()
        self._bring(distinct[distinct > 0])
        return look_up(self.place_of[rows].long(), self.weight, sparse=True)

    def follow(self, optimizer: Optimizer) -> None:
        """Let the optimizer, which has this cache's `weight`, remember by row of the table instead of place."""
        if not isinstance(optimizer, RowOptimizer):
            raise UnsupportedError(
                f"CachedEmbedding.follow needs an optimizer of recsys.embedding, got {type(optimizer).__name__}"
            )
        groups = [group for group in optimizer.param_groups if any(one is self.weight for one in group["params"])]
        if not groups:
            raise ParameterError("CachedEmbedding.follow: the optimizer was not given this table's weight")
        self.flush()
        self._optimizer = optimizer
        state = optimizer.new_state(self.host, groups[0])
        self._remembered = {name: state[name] for name in optimizer.remembers}
        if self.weight.is_cuda:
            self._remembered = {name: value.pin_memory() for name, value in self._remembered.items()}
        optimizer.state[self.weight].update(optimizer.new_state(self.weight, groups[0]))
        self._fetch(torch.arange(len(self.row_of), device=self.row_of.device), self.row_of)
        optimizer.register_step_post_hook(self._after_step)

    def flush(self) -> None:
        """Write all rows of the cache, and what the optimizer remembers of them, back to the host; they stay cached."""
        places = self.row_of.nonzero()[:, 0]
        self._write_back(places)

    # -- the cache ---------------------------------------------------------------------------------------------------

    def _after_step(self, *_: Any) -> None:
        self.stepped = self.clock

    def _pairs(self) -> list[tuple[Tensor, Tensor]]:
        """What is cached, each as it is on the host and on the device."""
        if self._optimizer is None:
            return [(self.host, self.weight.detach())]
        state = self._optimizer.state[self.weight]
        return [
            (self.host, self.weight.detach()),
            *((value, state[name]) for name, value in self._remembered.items()),
        ]

    def _write_back(self, places: Tensor) -> None:
        rows = self.row_of[places].cpu()
        for host, cache in self._pairs():
            host[rows] = cache[places].cpu()

    def _fetch(self, places: Tensor, rows: Tensor) -> None:
        at = rows.cpu()
        for host, cache in self._pairs():
            cache[places] = host[at].to(cache.device)

    def _bring(self, rows: Tensor) -> None:
        """Have distinct rows (R,) in the cache."""
        self.clock += 1
        places = self.place_of[rows].long()
        self.used[places[places > 0]] = self.clock
        missing = rows[places == 0]
        if not len(missing):
            return
        free = self.used[1:] <= self.stepped
        if int(free.sum()) < len(missing):
            raise DataError(
                f"CachedEmbedding has {len(free)} rows in its cache, and lookups since the last step need "
                f"{len(missing) - int(free.sum())} more; give a larger cache_rows or smaller batches"
            )
        oldest = self.used[1:].topk(len(missing), largest=False).indices + 1
        leaving = oldest[self.row_of[oldest] > 0]
        self._write_back(leaving)
        self.place_of[self.row_of[leaving]] = 0
        self._fetch(oldest, missing)
        self.row_of[oldest], self.used[oldest] = missing, self.clock
        self.place_of[missing] = oldest.int()

    def _read(self, rows: Tensor) -> Tensor:
        """Vectors (..., dim) of rows, from the cache where they are in it."""
        places = self.place_of[rows].long()
        vectors = self.host[rows.cpu()].to(self.weight.device)
        return torch.where((places > 0)[..., None], self.weight.detach()[places], vectors)

    # -- saved as the whole table, under the name that `Embedding` gives it ---------------------------------------------

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        self.flush()
        destination[f"{prefix}weight"] = self.host if keep_vars else self.host.detach()

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
        name = f"{prefix}weight"
        if name not in state_dict:
            missing_keys.append(name)
        elif state_dict[name].shape != self.host.shape:
            shapes = f"{tuple(state_dict[name].shape)}, the table's is {tuple(self.host.shape)}"
            error_msgs.append(f"size mismatch for {name}: the shape saved is {shapes}")
        else:
            self.flush()
            self.host.copy_(state_dict[name])
            with torch.no_grad():
                places = self.row_of.nonzero()[:, 0]
                self._fetch(places, self.row_of[places])


def place(
    num: int,
    dim: int,
    placement: Placement = "auto",
    *,
    device: torch.device | str = "cpu",
    cache_rows: int | None = None,
    state_per_weight: float = 2.0,
    std: float = 0.01,
) -> Embedding | CachedEmbedding:
    """A table with sparse gradients, on the device, or on the host with `cache_rows` (by default num / 10) on the device.

    "auto" is the device where the table and its optimizer's state, `state_per_weight` numbers a weight (2 for
    `SparseAdam` and `FTRL`, 1 for `Adagrad`, 1 / dim for `RowwiseAdagrad`), take at most nine tenths of the GPU's free
    memory; and always on the CPU.
    """
    if placement not in get_args(Placement):
        ways = ", ".join(get_args(Placement))
        raise ParameterError(f"place: placement={placement!r} is not allowed; give one of {ways}")
    device = torch.device(device)
    if placement == "auto":
        # The CPU's memory is the host's.
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else float("inf")
        placement = "device" if fits(num, dim, state_per_weight, free) else "host"
    if placement == "device":
        return Embedding(num, dim, std=std, sparse=True).to(device)
    return CachedEmbedding(num, dim, max(num // 10, 1) if cache_rows is None else cache_rows, std=std, device=device)


def fits(num: int, dim: int, state_per_weight: float, free: float) -> bool:
    """Whether a table (num + 1, dim) in float32 and its optimizer's state take at most nine tenths of `free` bytes."""
    return 4 * (num + 1) * dim * (1 + state_per_weight) <= 0.9 * free
