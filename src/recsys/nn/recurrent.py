"""Gated recurrent units: a step for those who wait for each item, and whole sequences at once."""

import math
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils.rnn import PackedSequence


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
        return self._after(x, state, [len(x)])

    def forward(self, input: Any, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        """States after each packed input, from a state of 0, and those after the last ones, (1, B, D)."""
        if not isinstance(input, PackedSequence) or hx is not None or input.data.is_cuda:
            return super().forward(input, hx)
        sizes = input.batch_sizes
        states = self._after(input.data, input.data.new_zeros(int(sizes[0]), self.hidden_size), sizes.tolist())
        lengths = (sizes[:, None] > torch.arange(int(sizes[0]))).sum(0)
        last = (sizes.cumsum(0) - sizes)[lengths - 1] + torch.arange(len(lengths))
        if input.unsorted_indices is not None:
            last = last[input.unsorted_indices]
        return input._replace(data=states), states[last][None]

    def _after(self, x: Tensor, state: Tensor, sizes: list[int]) -> Tensor:
        gates = x + self.bias_ih_l0 if self.reads_gates else F.linear(x, self.weight_ih_l0, self.bias_ih_l0)
        weight, bias = self.weight_hh_l0, self.bias_hh_l0
        # In full precision, as is the state that goes on.
        after: Tensor = _GRU.apply(gates.to(weight.dtype), weight, bias, state.to(weight.dtype), sizes)  # type: ignore[assignment]
        return after


class _GRU(torch.autograd.Function):
    """States after each step, (N, D), of rows that stand step by step: `sizes` of them, no more than in the step before.

    Given are the gates' W x + b (N, 3 D), U (3 D, D), c (3 D,) and the state before the first step (B, D). On the way
    back, what each gradient of a state is multiplied with is made for all steps at once, and so are the gradients of
    the matrices: a step is one product and what cannot do without it.
    """

    @staticmethod
    def forward(ctx: Any, gates: Tensor, weight: Tensor, bias: Tensor, start: Tensor, sizes: list[int]) -> Tensor:
        dim = weight.shape[1]
        states, n, both, of_states = (gates.new_empty(len(gates), width * dim) for width in (1, 1, 2, 3))
        before, columns = start, weight.T
        for rows in steps_of(sizes):
            now, state = gates[rows], before[: rows.stop - rows.start]
            of_state, gate = torch.addmm(bias, state, columns, out=of_states[rows]), both[rows]
            torch.add(now[:, : 2 * dim], of_state[:, : 2 * dim], out=gate).sigmoid_()
            new = torch.addcmul(now[:, 2 * dim :], gate[:, :dim], of_state[:, 2 * dim :], out=n[rows]).tanh_()
            before = torch.lerp(new, state, gate[:, dim:], out=states[rows])
        ctx.sizes = sizes
        ctx.save_for_backward(weight, start, states, n, both, of_states)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        weight, start, states, n, both, of_states = ctx.saved_tensors
        dim, sizes = weight.shape[1], ctx.sizes
        before = start if len(sizes) == 1 else torch.cat([start, states[rows_before(sizes)]])
        r, z = both.chunk(2, 1)
        slope_n = (1 - z).mul_(1 - n.square())
        slope_z = (before - n).mul_(z).mul_(1 - z)
        slope_r = (slope_n * of_states[:, 2 * dim :]).mul_(r).mul_(1 - r)
        slopes = torch.stack([slope_r, slope_z, slope_n * r], 1)
        # Of each state; and of U h + c.
        gradient = grad_outputs[0].clone() if len(sizes) > 1 else grad_outputs[0]
        of_state = torch.empty_like(of_states)
        through = states.new_zeros(0, dim)
        for rows in reversed(list(steps_of(sizes))):
            one = gradient[rows]
            if len(through):
                one[: len(through)] += through
            torch.mul(one[:, None], slopes[rows], out=of_state[rows].view(-1, 3, dim))
            if rows.start or ctx.needs_input_grad[3]:
                through = torch.addmm(one * z[rows], of_state[rows], weight)
        of_gates = torch.cat([of_state[:, : 2 * dim], gradient * slope_n], 1)
        return of_gates, of_state.T @ before, of_state.sum(0), through if ctx.needs_input_grad[3] else None, None


def steps_of(sizes: list[int]) -> Iterator[slice]:
    """Where the rows of each step are."""
    return (slice(end - size, end) for end, size in zip(accumulate(sizes), sizes, strict=True))


def rows_before(sizes: list[int]) -> Tensor:
    """The row one step earlier of each row behind the first step."""
    every = torch.tensor(sizes)
    return torch.arange(sizes[0], sum(sizes)) - every[:-1].repeat_interleave(every[1:])


def uniform_start(matrix: Tensor) -> None:
    """Fill a matrix (n, m) uniformly from -a to a, a = sqrt(6 / (n + m)) (Glorot & Bengio, AISTATS 2010)."""
    bound = math.sqrt(6 / sum(matrix.shape))
    nn.init.uniform_(matrix, -bound, bound)
