"""Losses against their plain formulas, in value and in gradient."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from recsys.nn import losses
from recsys.nn.losses import (
    bce_loss,
    bpr_loss,
    entries,
    gbce_loss,
    multinomial_loss,
    sampled_softmax_loss,
    softmax_loss,
)


def logits(*shape):
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


# -- pairs ---------------------------------------------------------------------------------------------------------------


def test_bpr_is_the_mean_of_minus_ln_sigmoid_of_the_differences():
    positive, negative = logits(5, 1), logits(5, 3)
    wanted = [-math.log(sigmoid(positive[n, 0].item() - x.item())) for n in range(5) for x in negative[n]]
    assert bpr_loss(positive, negative).item() == pytest.approx(sum(wanted) / 15)
    assert torch.autograd.gradcheck(bpr_loss, (positive, negative))


def test_bpr_of_equal_scores_is_ln_2():
    assert bpr_loss(torch.ones(4), torch.ones(4)).item() == pytest.approx(math.log(2))


def test_bce_sums_over_negatives_and_is_the_mean_over_positives():
    positive, negative = logits(4), logits(4, 3)
    wanted = sum(
        -math.log(sigmoid(positive[n].item())) - sum(math.log(1 - sigmoid(x.item())) for x in negative[n])
        for n in range(4)
    )
    assert bce_loss(positive, negative).item() == pytest.approx(wanted / 4)
    assert torch.autograd.gradcheck(bce_loss, (positive, negative))


def test_bce_is_torchs_over_all_logits_at_once():
    positive, negative = logits(6), logits(6, 2)
    every, labels = torch.cat([positive[:, None], negative], 1), torch.tensor([1.0, 0, 0]).expand(6, 3).double()
    torch.testing.assert_close(bce_loss(positive, negative), F.binary_cross_entropy_with_logits(every, labels) * 3)


@pytest.mark.parametrize("t", [0.0, 0.5, 0.75, 1.0])
def test_gbce_is_binary_cross_entropy_with_a_power_of_the_positives_sigmoid(t):
    positive, negative = logits(4), logits(4, 5)
    share = 5 / 40
    beta = share * (t * (1 - 1 / share) + 1 / share)
    wanted = sum(
        -math.log(sigmoid(positive[n].item()) ** beta) - sum(math.log(1 - sigmoid(x.item())) for x in negative[n])
        for n in range(4)
    )
    found = gbce_loss(positive, negative, n_items=41, t=t)
    assert found.item() == pytest.approx(wanted / (4 * 6))
    assert torch.autograd.gradcheck(lambda a, b: gbce_loss(a, b, 41, t), (positive, negative))


def test_gbce_without_calibration_is_bce_over_all_terms():
    positive, negative = logits(7), logits(7, 3)
    torch.testing.assert_close(gbce_loss(positive, negative, 100, t=0.0), bce_loss(positive, negative) / 4)


def test_gbce_undoes_the_overconfidence_of_drawn_negatives():
    # Of 50 items one is the positive, with chance p; the best fit of the calibrated loss is p itself, for t = 1.
    n_items, chance = 50, 0.2
    score = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([score], max_iter=100, line_search_fn="strong_wolfe")
    share = 5 / (n_items - 1)
    far = torch.full((1, 5), -40.0, dtype=torch.float64)

    def closure():
        optimizer.zero_grad()
        drawn = torch.cat([score.reshape(1, 1), far[:, 1:]], 1)
        as_positive = gbce_loss(score.reshape(1), far, n_items, t=1.0)
        as_negative = gbce_loss(-far[0, :1], drawn, n_items, t=1.0)
        loss = chance * as_positive + (1 - chance) * share * as_negative
        loss.backward()
        return loss

    optimizer.step(closure)
    assert torch.sigmoid(score).item() == pytest.approx(chance, abs=1e-4)


@pytest.mark.parametrize("loss", [bpr_loss, bce_loss, lambda a, b: gbce_loss(a, b, 10)])
def test_losses_of_far_apart_logits_stay_finite(loss):
    for size in (1e4, -1e4):
        positive = torch.tensor([size], requires_grad=True)
        value = loss(positive, torch.tensor([[-size]]))
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(positive.grad).all()
        assert value.item() == pytest.approx(0, abs=1e-6) if size > 0 else value.item() > 1


# -- softmax over the catalog ------------------------------------------------------------------------------------------

BLOCKS = [1, 4 * 16 * 2, 4 * 16 * 5, 32 * 2**20]
"""Bytes of a block of logits: for 13 items, whose rows take a line each, a row at a time, two, five, all."""


def problem(dtype, n=11, n_items=13, dim=4):
    states, items = (torch.randn(m, dim, dtype=dtype, requires_grad=True) for m in (n, n_items))
    return states, items, torch.randint(0, n_items, (n,))


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_softmax_loss_is_cross_entropy_in_value_and_both_gradients(monkeypatch, block, dtype):
    monkeypatch.setattr(losses, "BLOCK_BYTES", block)
    states, items, targets = problem(dtype)
    ours, theirs = softmax_loss(states, items, targets), F.cross_entropy(states @ items.T, targets)
    torch.testing.assert_close(ours, theirs)
    got = torch.autograd.grad(3 * ours, (states, items))
    for one, other in zip(got, torch.autograd.grad(3 * theirs, (states, items)), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("block", BLOCKS)
def test_softmax_loss_passes_gradcheck(monkeypatch, block):
    monkeypatch.setattr(losses, "BLOCK_BYTES", block)
    states, items, targets = problem(torch.float64)
    assert torch.autograd.gradcheck(lambda s, i: softmax_loss(s, i, targets), (states, items))


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("size", [1.0, 100.0])  # of large biases logits are shifted
def test_a_bias_of_softmax_loss_is_added_to_the_logits_and_gets_its_gradient(monkeypatch, block, size):
    monkeypatch.setattr(losses, "BLOCK_BYTES", block)
    states, items, targets = problem(torch.float64)
    bias = (size * torch.randn(13, dtype=torch.float64)).requires_grad_()
    ours = softmax_loss(states, items, targets, bias)
    theirs = F.cross_entropy(states @ items.T + bias, targets)
    torch.testing.assert_close(ours, theirs)
    got = torch.autograd.grad(3 * ours, (states, items, bias))
    for one, other in zip(got, torch.autograd.grad(3 * theirs, (states, items, bias)), strict=True):
        torch.testing.assert_close(one, other)


def test_softmax_loss_is_minus_ln_of_the_targets_share():
    states, items, targets = problem(torch.float64, n=3)
    wanted = 0.0
    for state, target in zip(states, targets, strict=True):
        exponents = [math.exp((state @ item).item()) for item in items]
        wanted -= math.log(exponents[target] / sum(exponents)) / 3
    assert softmax_loss(states, items, targets).item() == pytest.approx(wanted)


def test_softmax_loss_of_huge_logits_stays_finite():
    states = torch.tensor([[1e4], [-1e4]], requires_grad=True)
    items = torch.tensor([[1.0], [-1.0], [0.0]], requires_grad=True)
    for targets, wanted in (([0, 1], 0.0), ([1, 0], 2e4)):
        loss = softmax_loss(states, items, torch.tensor(targets))
        assert loss.item() == pytest.approx(wanted)
        assert all(torch.isfinite(part).all() for part in torch.autograd.grad(loss, (states, items)))


def test_a_catalog_of_one_item_has_no_loss():
    states, items = torch.randn(4, 3, requires_grad=True), torch.randn(1, 3)
    loss = softmax_loss(states, items, torch.zeros(4, dtype=torch.long))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert states.grad.count_nonzero() == 0


@pytest.mark.parametrize("size", [1.0, 39.9, 40.1, 1000.0])
def test_gradients_of_logits_of_any_size_are_those_of_cross_entropy(size):
    states, items, targets = problem(torch.float32)
    with torch.no_grad():
        states *= size / (states.norm(dim=1).max() * items.norm(dim=1).max())
    got = torch.autograd.grad(softmax_loss(states, items, targets), (states, items))
    wanted = torch.autograd.grad(F.cross_entropy(states @ items.T, targets), (states, items))
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_gradients_reach_a_table_that_states_and_items_share():
    table, targets = torch.randn(6, 3, dtype=torch.float64, requires_grad=True), torch.tensor([1, 5])
    rows = torch.tensor([0, 2])
    ours = torch.autograd.grad(softmax_loss(table[rows], table, targets), table)[0]
    theirs = torch.autograd.grad(F.cross_entropy(table[rows] @ table.T, targets), table)[0]
    torch.testing.assert_close(ours, theirs)


def relative_error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return ((found - wanted).norm() / wanted.norm()).item()


@pytest.mark.parametrize("narrow", [torch.bfloat16, torch.float16])  # by the kernel, and as on a GPU
@pytest.mark.parametrize("states_in", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("has_bias", [False, True])
def test_products_of_softmax_loss_are_autocasts_and_its_sums_are_not(monkeypatch, states_in, has_bias, narrow):
    # Each row is a block: what the blocks give is added up, which in bfloat16 would lose all but the first hundreds.
    monkeypatch.setattr(losses, "BLOCK_BYTES", 1)
    states, items, targets = problem(torch.float32, n=3000)
    bias = torch.randn(13, requires_grad=True) if has_bias else None
    taken = [one for one in (states, items, bias) if one is not None]
    wanted = softmax_loss(states, items, targets, bias)
    with torch.autocast("cpu", narrow):
        found = softmax_loss(states.to(states_in), items, targets, bias)
    assert found.dtype == torch.float32
    assert 0 < abs(found - wanted) < 2e-3 * wanted
    for one, other in zip(torch.autograd.grad(found, taken), torch.autograd.grad(wanted, taken), strict=True):
        assert one.dtype == torch.float32
        assert relative_error(one, other) < 0.01


def test_products_of_entries_are_autocasts_and_their_sums_are_not(monkeypatch):
    monkeypatch.setattr(losses, "BLOCK_BYTES", 1)
    states, items, _ = problem(torch.float32, n=2000)
    bias, columns, lengths = torch.randn(13, requires_grad=True), torch.randint(13, (6000,)), torch.full((2000,), 3)
    wanted = entries(states, items, bias, columns, lengths)
    with torch.autocast("cpu", torch.bfloat16):
        found = entries(states, items, bias, columns, lengths)
    assert found.dtype == torch.float32
    assert 0 < relative_error(found, wanted) < 0.01
    slopes = torch.rand(6000)
    taken = states, items, bias
    pairs = zip(torch.autograd.grad(found, taken, slopes), torch.autograd.grad(wanted, taken, slopes), strict=True)
    assert all(one.dtype == torch.float32 and relative_error(one, other) < 0.01 for one, other in pairs)


def test_softmax_loss_never_holds_more_logits_than_a_block(monkeypatch):
    n, n_items, dim = 64, 500, 2
    monkeypatch.setattr(losses, "BLOCK_BYTES", 4 * 512 * 8)
    states, items, targets = problem(torch.float32, n, n_items, dim)
    with Largest() as made:
        softmax_loss(states, items, targets).backward()
    assert made.numbers == 8 * 512  # the 500 filled up to whole lines


class Largest(TorchDispatchMode):
    """Records the size of the largest tensor that any operator gives."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return out


# -- softmax over drawn items ------------------------------------------------------------------------------------------


def sampled_problem(n_drawn, dtype=torch.float64):
    states, items, targets = problem(dtype)
    shares = torch.arange(1.0, 14, dtype=torch.float64) / 91
    drawn = torch.multinomial(shares, n_drawn, replacement=True)
    return states, items, targets, drawn, (shares[drawn].log() + math.log(n_drawn)).to(dtype)


def sampled(states, items, targets, drawn, log_expected):
    return sampled_softmax_loss(states, items[targets], items[drawn], targets, drawn, log_expected)


@pytest.mark.parametrize("block", BLOCKS)
def test_sampled_softmax_is_cross_entropy_among_the_target_and_what_was_drawn(monkeypatch, block):
    monkeypatch.setattr(losses, "BLOCK_BYTES", block)
    states, items, targets, drawn, log_expected = sampled_problem(9)
    total = 0.0
    for state, target in zip(states, targets.tolist(), strict=True):
        others = [
            math.exp((state @ items[item]).item() - float(share))
            for item, share in zip(drawn.tolist(), log_expected, strict=True)
            if item != target
        ]
        mine = math.exp((state @ items[target]).item())
        total -= math.log(mine / (mine + sum(others)))
    assert sampled(states, items, targets, drawn, log_expected).item() == pytest.approx(total / 11)
    assert torch.autograd.gradcheck(lambda s, i: sampled(s, i, targets, drawn, log_expected), (states, items))


def test_sampled_softmax_of_many_drawn_items_is_that_of_the_catalog():
    states, items, targets, drawn, log_expected = sampled_problem(400_000)
    # Not so without the correction: what is drawn more often would count more.
    plain = sampled(states, items, targets, drawn, torch.full_like(log_expected, math.log(400_000 / 13)))
    wanted = softmax_loss(states, items, targets)
    torch.testing.assert_close(sampled(states, items, targets, drawn, log_expected), wanted, rtol=0.01, atol=0.01)
    assert abs(plain - wanted) > 0.05


def test_drawn_items_that_are_all_the_target_leave_no_loss():
    states, items, _ = problem(torch.float32)
    targets, drawn = torch.full((11,), 3), torch.full((5,), 3)
    loss = sampled(states, items, targets, drawn, torch.zeros(5))
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(states.grad).all()


def test_sampled_softmax_never_holds_more_logits_than_a_block(monkeypatch):
    n, n_drawn = 64, 512
    monkeypatch.setattr(losses, "BLOCK_BYTES", 4 * n_drawn * 8)
    states, items, targets = problem(torch.float32, n, 700, 2)
    with Largest() as made:
        sampled(states, items, targets, torch.randint(700, (n_drawn,)), torch.zeros(n_drawn)).backward()
    assert made.numbers == 8 * n_drawn


# -- rows of several targets -------------------------------------------------------------------------------------------

ROWS = [[0, 3], [1], [], [0, 1, 2, 4, 12], [12], [5, 6, 7], [8], [], [9, 10], [11], [2]]


def ragged(rows=ROWS):
    return torch.tensor([item for row in rows for item in row]), torch.tensor([len(row) for row in rows])


def output_of(items, bias):
    layer = torch.nn.Linear(items.shape[1], len(items)).to(items.dtype)
    layer.weight, layer.bias = torch.nn.Parameter(items.detach()), torch.nn.Parameter(bias)
    return layer


@pytest.mark.parametrize("block", BLOCKS)
def test_multinomial_loss_is_summed_over_items_and_averaged_over_rows(monkeypatch, block):
    monkeypatch.setattr(losses, "BLOCK_BYTES", block)
    states, items, _ = problem(torch.float64)
    output = output_of(items, torch.randn(13, dtype=torch.float64))
    total = 0.0
    for state, row in zip(states, ROWS, strict=True):
        shares = [math.exp(value) for value in output(state).tolist()]
        total -= sum(math.log(shares[item] / sum(shares)) for item in row)
    found = multinomial_loss(states, output, *ragged())
    assert found.item() == pytest.approx(total / 11)
    counts = torch.zeros(11, 13, dtype=torch.float64)
    for row, targets in enumerate(ROWS):
        counts[row, targets] = 1
    wanted = -(counts * output(states).log_softmax(1)).sum() / 11
    parts = (states, output.weight, output.bias)
    both = zip(torch.autograd.grad(found, parts), torch.autograd.grad(wanted, parts), strict=True)
    for one, other in both:
        torch.testing.assert_close(one, other)


def test_multinomial_loss_is_that_of_softmax_where_each_row_has_one_target():
    states, items, targets = problem(torch.float64)
    found = multinomial_loss(states, output_of(items, torch.full((13,), 7.0).double()), targets, torch.ones(11).long())
    torch.testing.assert_close(found, softmax_loss(states, items, targets))


def test_multinomial_loss_never_holds_more_logits_than_a_block(monkeypatch):
    n, n_items = 64, 500
    monkeypatch.setattr(losses, "BLOCK_BYTES", 4 * 512 * 8)
    states, items, targets = problem(torch.float32, n, n_items, 2)
    output = output_of(items, torch.zeros(n_items))
    with Largest() as made:
        multinomial_loss(states, output, targets.repeat(2), torch.full((n,), 2)).backward()
    assert made.numbers == 8 * 512  # the 500 filled up to whole lines


# -- entries of a product ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("n_columns", [13, 5000])  # of many columns few are asked for, which are made one by one
def test_entries_are_those_of_the_whole_product_in_value_and_gradient(monkeypatch, block, n_columns):
    monkeypatch.setattr(losses, "BLOCK_BYTES", block)
    states, weight, _ = problem(torch.float64, n_items=n_columns)
    bias = torch.randn(n_columns, dtype=torch.float64, requires_grad=True)
    columns, lengths = ragged()
    found = entries(states, weight, bias, columns, lengths)
    rows = [row for row, items in enumerate(ROWS) for _ in items]
    wanted = (states @ weight.T + bias)[rows, columns]
    torch.testing.assert_close(found, wanted)
    shape = torch.randn(len(columns), dtype=torch.float64)
    parts = (states, weight, bias)
    ours, theirs = (torch.autograd.grad((one.square() * shape).sum(), parts) for one in (found, wanted))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_entries_asked_for_twice_get_both_gradients():
    states, weight, _ = problem(torch.float64, n=1)
    found = entries(states, weight, torch.zeros(13).double(), torch.tensor([4, 4, 2]), torch.tensor([3]))
    gradient = torch.autograd.grad(found.sum(), weight)[0]
    torch.testing.assert_close(gradient[[4, 2, 0]], torch.stack([2 * states[0], states[0], 0 * states[0]]))


def test_entries_never_hold_more_than_a_block(monkeypatch):
    n, n_columns = 64, 500
    monkeypatch.setattr(losses, "BLOCK_BYTES", 4 * 512 * 8)
    states, weight, _ = problem(torch.float32, n, n_columns, 2)
    columns, lengths = torch.arange(40).repeat(n), torch.full((n,), 40)
    with Largest() as made:
        entries(states, weight, torch.zeros(n_columns), columns, lengths).sum().backward()
    assert made.numbers == 8 * 512  # the 500 filled up to whole lines


def test_a_second_derivative_of_softmax_loss_is_refused_rather_than_wrong():
    states, items, targets = problem(torch.float64)
    gradient = torch.autograd.grad(softmax_loss(states, items, targets) ** 2, states, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
