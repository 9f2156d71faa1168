"""Cross networks: products of the inputs with each other, one degree a layer.

With x_0 the input, a layer adds to x_l the product, number by number, of x_0 and something linear in x_l; nothing
else is nonlinear, except within the experts of `MixCross`. What the first layer takes of x_0 before that is linear in
it too, `first_sums`, and may be handed over by who knows it as a sum of parts.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.nn.mlp import linear, product
from recsys.nn.towers import Crosses, sum_of_towers


class VectorCross(nn.Module):
    """x_{l+1} = x_0 (x_l . w_l) + b_l + x_l: (B, D) to (B, D), 2 D parameters a layer.

    Wang, Fu, Fu & Wang, "Deep & Cross Network for Ad Click Predictions", ADKDD 2017.
    """

    def __init__(self, dim: int, n_layers: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_layers, dim).normal_(0, dim**-0.5))
        self.bias = nn.Parameter(torch.zeros(n_layers, dim))

    def first_sums(self, x: Tensor) -> Tensor:
        """x_0 . w_0: (B, D) to (B,)."""
        return x @ self.weight[0]

    def forward(self, x: Tensor, sums: Tensor | None = None) -> Tensor:
        """Rows (B, D) to rows of the same shape."""
        first, sums = x, self.first_sums(x) if sums is None else sums
        for at, bias in enumerate(self.bias):
            x = first * (x @ self.weight[at] if at else sums)[:, None] + bias + x
        return x


class MatrixCross(nn.Module):
    """x_{l+1} = x_0 * (W_l x_l + b_l) + x_l, number by number: (B, D) to (B, D), D^2 + D parameters a layer.

    With a `rank` W_l is a product U_l V_l of (D, rank) and (rank, D). Wang et al., "DCN V2: Improved Deep & Cross
    Network and Practical Lessons for Web-scale Learning to Rank Systems", WWW 2021.
    """

    def __init__(self, dim: int, n_layers: int, rank: int | None = None):
        super().__init__()
        self.layers = nn.ModuleList(
            linear(dim, dim) if rank is None else nn.Sequential(linear(dim, rank, bias=False), linear(rank, dim))
            for _ in range(n_layers)
        )

    def first_sums(self, x: Tensor) -> Tensor:
        """W_0 x_0, or V_0 x_0 with a rank: (B, D) to (B, D) or (B, rank)."""
        layer = self.layers[0]
        return product(layer[0] if isinstance(layer, nn.Sequential) else layer, x)  # type: ignore[arg-type]

    def forward(self, x: Tensor, sums: Tensor | None = None) -> Tensor:
        """Rows (B, D) to rows of the same shape."""
        layers = self.bare
        if layers and sums is None:
            return sum_of_towers(x, [layers])
        first = x
        for at, layer in enumerate(self.layers):
            x = torch.addcmul(x, first, layer(x) if at or sums is None else self._from_sums(sums))
        return x

    @property
    def bare(self) -> Crosses | None:
        """The layers, where each has one matrix."""
        layers = [one for one in self.layers if isinstance(one, nn.Linear)]
        return Crosses(tuple(part for one in layers for part in (one.weight, one.bias))) if layers else None

    def _from_sums(self, sums: Tensor) -> Tensor:
        """What the first layer makes of its sums."""
        layer = self.layers[0]
        return layer[1](sums) if isinstance(layer, nn.Sequential) else sums + layer.bias


class MixCross(nn.Module):
    """x_{l+1} = sum over experts k of g_k x_0 * (U_k tanh(C_k tanh(V_k^T x_l)) + b_l) + x_l: (B, D) to (B, D).

    The gates g are a softmax over the K experts of what a linear map makes of x_l; U_k and V_k are (D, rank), C_k is
    (rank, rank), of each layer's own. The mixture of low-rank layers of DCN V2 (see `MatrixCross`).
    """

    def __init__(self, dim: int, n_layers: int, rank: int, n_experts: int):
        super().__init__()
        self.down = nn.Parameter(torch.empty(n_layers, n_experts, dim, rank).normal_(0, dim**-0.5))
        self.core = nn.Parameter(torch.empty(n_layers, n_experts, rank, rank).normal_(0, rank**-0.5))
        self.up = nn.Parameter(torch.empty(n_layers, n_experts, dim, rank).normal_(0, rank**-0.5))
        self.bias = nn.Parameter(torch.zeros(n_layers, dim))
        self.gate = nn.ModuleList(nn.Linear(dim, n_experts, bias=False) for _ in range(n_layers))

    def first_sums(self, x: Tensor) -> Tensor:
        """V_0k^T x_0 of all experts, and what gates them: (B, D) to (B, K rank + K)."""
        return self._sums(0, x)

    def _sums(self, layer: int, x: Tensor) -> Tensor:
        narrow = torch.einsum("bd,kdr->bkr", x, self.down[layer]).flatten(1)
        return torch.cat([narrow, self.gate[layer](x)], 1)

    def forward(self, x: Tensor, sums: Tensor | None = None) -> Tensor:
        """Rows (B, D) to rows of the same shape."""
        first, n_experts = x, len(self.gate[0].weight)  # type: ignore[arg-type]
        for at, (core, up, bias) in enumerate(zip(self.core, self.up, self.bias, strict=True)):
            sums = self._sums(at, x) if at or sums is None else sums
            narrow = torch.tanh(sums[:, :-n_experts].unflatten(1, (n_experts, -1)))
            narrow = torch.tanh(torch.einsum("bkr,ksr->bks", narrow, core))
            # The gates add up to 1, so that the bias needs none.
            mixed = torch.einsum("bk,bks,kds->bd", F.softmax(sums[:, -n_experts:], 1), narrow, up)
            x = torch.addcmul(x, first, mixed + bias)
        return x
