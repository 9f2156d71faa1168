"""Recurrent units beside torch's own, by the step and through packed sequences."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from recsys.nn.recurrent import GRULayer


def twins(n_inputs=3, dim=4, *, reads_gates=False):
    """Ours with all parameters random, and torch's with the same."""
    ours = GRULayer(n_inputs, dim, reads_gates=reads_gates).double()
    for name, one in ours.named_parameters():
        if one.requires_grad or name.startswith("bias"):
            nn.init.normal_(one)
    theirs = nn.GRU(3 * dim if reads_gates else n_inputs, dim, batch_first=True).double()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("lengths", [[5], [1, 1], [2, 5, 1, 5, 3]])
@pytest.mark.parametrize("reads_gates", [False, True])
def test_packed_sequences_give_torchs_states_and_gradients(lengths, reads_gates):
    ours, theirs = twins(reads_gates=reads_gates)
    x = torch.randn(len(lengths), max(lengths), 12 if reads_gates else 3, dtype=torch.float64, requires_grad=True)
    history = pack_padded_sequence(x, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    weights = torch.randn(len(lengths), max(lengths), 4, dtype=torch.float64)
    names = [name for name, one in ours.named_parameters() if one.requires_grad]
    found = []
    for layer in (ours, theirs):
        states, last = layer(history)
        padded = pad_packed_sequence(states, batch_first=True)[0]
        value = (padded * weights).sum() + (last.square() * 3).sum()
        parameters = [dict(layer.named_parameters())[name] for name in names]
        found.append([padded, last, *torch.autograd.grad(value, [x, *parameters], retain_graph=True)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_steps_are_those_of_a_sequence_and_gradients_pass_through_the_state():
    layer, _ = twins()
    x, state = (torch.randn(6, n, dtype=torch.float64, requires_grad=True) for n in (3, 4))
    whole = layer(pack_padded_sequence(x[:, None].repeat(1, 3, 1), torch.full((6,), 3), batch_first=True))[1][0]
    stepped = torch.zeros(6, 4, dtype=torch.float64)
    for _ in range(3):
        stepped = layer.step(x, stepped)
    torch.testing.assert_close(stepped, whole)
    assert torch.autograd.gradcheck(layer.step, (x, state))
    assert torch.autograd.gradcheck(lambda a: layer.step(a, layer.step(a, state)), (x,))


def test_states_stay_in_full_precision_under_autocast():
    layer, _ = twins()
    layer.float()
    x = torch.randn(6, 3)
    wanted = layer.step(x, torch.zeros(6, 4))
    with torch.autocast("cpu", torch.bfloat16):
        found = layer.step(x, torch.zeros(6, 4))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, rtol=0.05, atol=0.05)
