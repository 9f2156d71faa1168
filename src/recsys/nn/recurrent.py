"""Gated recurrent units: a step for those who wait for each item, and whole sequences at once."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class GRULayer(nn.GRU):
    """One layer of gated recurrent units, in torch's form, which a step or a whole sequence may be asked of.

    r = sigmoid(W_r x + b_r + U_r h + c_r), z likewise, n = tanh(W_n x + b_n + r (U_n h + c_n)), h <- (1 - z) n + z h.
    With `reads_gates` the input is the 3 D numbers W x of r, z and n themselves: W is the identity, and not trained.
    """

    def __init__(self, n_inputs: int, hidden_dim: int, *, reads_gates: bool = False):
        self.reads_gates = reads_gates
        super().__init__(3 * hidden_dim if reads_gates else n_inputs, hidden_dim, batch_first=True)

    def reset_parameters(self) -> None:
        """Start every gate's matrices as `uniform_start` does, and biases at 0."""
        for name, parameter in self.named_parameters():
            if name.startswith("bias"):
                nn.init.zeros_(parameter)
            elif name.startswith("weight_ih") and self.reads_gates:
                nn.init.eye_(parameter)
                parameter.requires_grad = False
            else:
                for gate in parameter.data.chunk(3):
                    uniform_start(gate)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        """The state after one more input: (B, N) and (B, D) to (B, D)."""
        gates = x + self.bias_ih_l0 if self.reads_gates else F.linear(x, self.weight_ih_l0, self.bias_ih_l0)
        of_state = F.linear(state, self.weight_hh_l0, self.bias_hh_l0)
        # In full precision, as is the state that goes on.
        after: Tensor = _GRUStep.apply(gates.float(), of_state.float(), state)  # type: ignore[assignment]
        return after


class _GRUStep(torch.autograd.Function):
    """From W x + b and U h + c, (B, 3 D) each, and h (B, D) to the next state: a third of the calls that torch makes."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, of_state: Tensor, state: Tensor) -> Tensor:
        width = 2 * state.shape[1]
        both = torch.sigmoid(gates[:, :width] + of_state[:, :width])
        r, z = both.chunk(2, 1)
        n = torch.addcmul(gates[:, width:], r, of_state[:, width:]).tanh_()
        ctx.save_for_backward(both, n, of_state[:, width:], state)
        return torch.lerp(n, state, z)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        (both, n, n_of_state, state), (gradient,) = ctx.saved_tensors, grad_outputs
        r, z = both.chunk(2, 1)
        slope_r, slope_z = torch.addcmul(both, both, both, value=-1).chunk(2, 1)
        through_z = gradient * z
        # (1 - z) (1 - n^2) of the gradient.
        to_n = gradient - through_z
        to_n.addcmul_(to_n * n, n, value=-1)
        to_r = (to_n * n_of_state).mul_(slope_r)
        to_z = (state - n).mul_(gradient).mul_(slope_z)
        return torch.cat([to_r, to_z, to_n], 1), torch.cat([to_r, to_z, to_n * r], 1), through_z


def uniform_start(matrix: Tensor) -> None:
    """Fill a matrix (n, m) uniformly from -a to a, a = sqrt(6 / (n + m)) (Glorot & Bengio, AISTATS 2010)."""
    bound = math.sqrt(6 / sum(matrix.shape))
    nn.init.uniform_(matrix, -bound, bound)
