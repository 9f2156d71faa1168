"""Steps that cost the rows of the batch, against dense optimizers and loops."""

import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from recsys.embedding import FTRL, SGD, Adagrad, Embedding, MomentumAdagrad, RowwiseAdagrad, SparseAdam
from recsys.embedding.row_optimizer import touched_rows
from recsys.errors import ParameterError
from tests.embedding.steps import OPTIMIZERS, decay

N, D = 30, 4


def table(n=N, dim=D, sparse=True):
    return Embedding(n, dim, std=1.0, sparse=sparse).double()


def give_gradient(embedding, codes, aim):
    embedding.zero_grad()
    ((embedding(codes) - aim) ** 2 * torch.arange(1, len(codes) + 1)[:, None]).sum().backward()


def train(embedding, optimizer, batches):
    """The tables after each step."""
    states = []
    for codes, aim in batches:
        give_gradient(embedding, codes, aim)
        optimizer.step()
        states.append(embedding.weight.detach().clone())
    return states


def whole_batches(steps=6, n=N, dim=D):
    """Batches that name every row, some of them several times."""
    return [
        (torch.cat([torch.randperm(n), torch.randint(0, n, (20,))]), torch.randn(n + 20, dim, dtype=torch.float64))
        for _ in range(steps)
    ]


def small_batches(steps=6):
    """Batches of a few rows, with duplicates and -1."""
    return [(torch.randint(-1, N, (9,)), torch.randn(9, D, dtype=torch.float64)) for _ in range(steps)]


def assert_same_steps(got, wanted):
    for step, (a, b) in enumerate(zip(got, wanted, strict=True)):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12, msg=lambda text, step=step: f"step {step}: {text}")


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.5)])
@pytest.mark.parametrize("sparse", [True, False])
def test_sparse_adam_on_whole_batches_is_adam_step_by_step(weight_decay, betas, sparse):
    ours, theirs, batches = table(sparse=sparse), table(sparse=False), whole_batches()
    theirs.load_state_dict(ours.state_dict())
    how = {"lr": 0.05, "betas": betas, "eps": 1e-6, "weight_decay": weight_decay}
    got = train(ours, SparseAdam(ours.parameters(), **how), batches)
    assert_same_steps(got, train(theirs, torch.optim.Adam(theirs.parameters(), **how), batches))


def test_sparse_adam_on_part_of_the_rows_is_the_lazy_adam_of_torch():
    ours, theirs, batches = table(), table(), small_batches()
    theirs.load_state_dict(ours.state_dict())
    # That one adds eps before the bias correction and Adam after it, so eps is next to nothing.
    got = train(ours, SparseAdam(ours.parameters(), lr=0.05, eps=1e-30), batches)
    assert_same_steps(got, train(theirs, torch.optim.SparseAdam(theirs.parameters(), lr=0.05, eps=1e-30), batches))


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
def test_rowwise_adagrad_of_one_column_is_adagrad_step_by_step(weight_decay):
    ours, theirs, batches = table(dim=1), table(dim=1, sparse=False), whole_batches(dim=1)
    theirs.load_state_dict(ours.state_dict())
    how = {"lr": 0.05, "eps": 1e-6, "weight_decay": weight_decay}
    got = train(ours, RowwiseAdagrad(ours.parameters(), **how), batches)
    assert_same_steps(got, train(theirs, torch.optim.Adagrad(theirs.parameters(), **how), batches))


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
def test_rowwise_adagrad_is_a_loop_over_rows(weight_decay):
    ours, batches = table(), small_batches()
    plain, sums = ours.weight.detach().clone(), torch.zeros(N + 1, dtype=torch.float64)
    got, wanted = train(ours, RowwiseAdagrad(ours.parameters(), 0.05, 1e-6, weight_decay), batches), []
    for codes, aim in batches:
        old = plain.clone()
        for row in set(codes.tolist()) - {-1}:
            places = [n for n, code in enumerate(codes.tolist()) if code == row]
            gradient = sum(2 * (n + 1) * (old[row + 1] - aim[n]) for n in places) + weight_decay * old[row + 1]
            sums[row + 1] += (gradient**2).mean()
            plain[row + 1] -= 0.05 * gradient / (sums[row + 1].sqrt() + 1e-6)
        wanted.append(plain.clone())
    assert_same_steps(got, wanted)


@pytest.mark.parametrize("sparse", [True, False])
def test_adagrad_with_momentum_is_a_loop_over_rows(sparse):
    ours, batches = table(sparse=sparse), whole_batches() if not sparse else small_batches()
    plain = ours.weight.detach().clone()
    sums, velocity = torch.zeros_like(plain), torch.zeros_like(plain)
    how = {"lr": 0.05, "momentum": 0.6, "eps": 0.1}
    got, wanted = train(ours, MomentumAdagrad(ours.parameters(), **how), batches), []
    for codes, aim in batches:
        old = plain.clone()
        for row in set(codes.tolist()) - {-1}:
            places = [n for n, code in enumerate(codes.tolist()) if code == row]
            gradient = sum(2 * (n + 1) * (old[row + 1] - aim[n]) for n in places)
            sums[row + 1] += gradient**2
            velocity[row + 1] = 0.6 * velocity[row + 1] - 0.05 * gradient / (sums[row + 1] + 0.1).sqrt()
            plain[row + 1] += velocity[row + 1]
        wanted.append(plain.clone())
    assert_same_steps(got, wanted)


def test_the_state_of_rowwise_adagrad_is_one_number_a_row():
    embedding = table()
    optimizer = RowwiseAdagrad(embedding.parameters())
    train(embedding, optimizer, small_batches(1))
    assert [tuple(value.shape) for value in optimizer.state[embedding.weight].values()] == [(N + 1,)]


def test_duplicates_in_a_batch_are_added_up_once_a_row():
    embedding = table()
    codes = torch.tensor([4, 2, 4, -1, 4])
    give_gradient(embedding, codes, torch.zeros(5, D, dtype=torch.float64))
    rows, gradient = touched_rows(embedding.weight.grad)
    assert rows.tolist() == [3, 5]
    torch.testing.assert_close(gradient, embedding.weight.grad.to_dense()[rows])


WITH_STATE = [SparseAdam, RowwiseAdagrad, Adagrad, FTRL, MomentumAdagrad]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_rows_outside_the_batch_are_bitwise_untouched_and_so_is_their_state(optimizer, weight_decay):
    embedding = table()
    steps = optimizer(embedding.parameters(), lr=0.1, **decay(optimizer, weight_decay))
    train(embedding, steps, whole_batches(3))
    weight = embedding.weight.detach().clone()
    state = {name: value.clone() for name, value in steps.state[embedding.weight].items() if value.ndim}
    train(embedding, steps, [(torch.tensor([7, 3, 7, -1]), torch.zeros(4, D, dtype=torch.float64))] * 2)
    inside = torch.isin(torch.arange(N + 1), torch.tensor([4, 8]))
    assert torch.equal(embedding.weight[~inside], weight[~inside])
    assert (embedding.weight[inside] != weight[inside]).all()
    assert bool(state) == (optimizer in WITH_STATE)
    for name, old in state.items():
        new = steps.state[embedding.weight][name]
        assert torch.equal(new[~inside], old[~inside])
        assert (new[inside] != old[inside]).all()


class Work(TorchDispatchMode):
    """Records the numbers that each operator makes, and the operators that are given a tensor which was there."""

    def __init__(self, *there):
        super().__init__()
        self.there = {tensor.untyped_storage().data_ptr() for tensor in there if tensor.ndim}
        self.made, self.given = [], set()

    def was_there(self, tensor):
        return tensor.untyped_storage().data_ptr() in self.there

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if any(self.was_there(tensor) for tensor in plain_tensors((args, kwargs))):
            self.given.add(name)
        out = function(*args, **(kwargs or {}))
        self.made += [(tensor.numel(), name) for tensor in plain_tensors(out) if not self.was_there(tensor)]
        return out


def plain_tensors(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor) and not leaf.is_sparse]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_a_step_costs_the_rows_of_the_batch_whatever_the_table(optimizer, weight_decay):
    made = {}
    for n in (1000, 100_000):
        embedding = table(n, 8)
        steps = optimizer(embedding.parameters(), **decay(optimizer, weight_decay))
        codes, aim = torch.tensor([5, 900, 5, -1, 77, 900]), torch.zeros(6, 8, dtype=torch.float64)
        train(embedding, steps, [(codes, aim)])
        give_gradient(embedding, codes, aim)
        with Work(embedding.weight, *steps.state[embedding.weight].values()) as work:
            steps.step()
        # The table and its state are read and written by row alone.
        assert {"index", "index_put_"} <= work.given <= {"index", "index_put_", "detach"}
        assert max(work.made)[0] <= codes.numel() * 8
        made[n] = sorted(work.made)
    assert made[1000] == made[100_000]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_goes_on_from_a_saved_state_bitwise(optimizer):
    first, batches = table(), small_batches(6)
    whole = copy.deepcopy(first)
    expected = train(whole, optimizer(whole.parameters(), lr=0.1), batches)
    before = optimizer(first.parameters(), lr=0.1)
    train(first, before, batches[:3])
    second = table()
    second.load_state_dict(first.state_dict())
    after = optimizer(second.parameters(), lr=77.0)
    after.load_state_dict(copy.deepcopy(before.state_dict()))
    for got, wanted in zip(train(second, after, batches[3:]), expected[3:], strict=True):
        assert torch.equal(got, wanted)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_batch_of_nothing_moves_nothing(optimizer):
    embedding = table()
    before = embedding.weight.detach().clone()
    train(embedding, optimizer(embedding.parameters(), lr=1.0, **decay(optimizer, 1.0)), [(torch.tensor([-1, -1]), 0)])
    assert torch.equal(embedding.weight, before)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_table_without_a_gradient_stands_still_and_has_no_state(optimizer):
    moved, idle = table(), table()
    before = idle.weight.detach().clone()
    steps = optimizer([moved.weight, idle.weight], lr=1.0, **decay(optimizer, 1.0))
    train(moved, steps, small_batches(1))
    assert torch.equal(idle.weight, before)
    assert idle.weight not in steps.state


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_groups_of_tables_have_options_of_their_own(optimizer):
    fast, slow, alone = table(), table(), table()
    for other in (slow, alone):
        other.load_state_dict(fast.state_dict())
    groups = [{"params": [fast.weight], "lr": 0.5}, {"params": [slow.weight], "lr": 0.02}]
    steps = optimizer(groups, lr=0.01)
    for embedding in (fast, slow, alone):
        give_gradient(embedding, torch.tensor([3, 4]), 1)
    steps.step()
    optimizer([alone.weight], lr=0.5).step()
    assert torch.equal(fast.weight, alone.weight)
    assert not torch.equal(slow.weight, alone.weight)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_closure_is_evaluated_and_its_loss_returned(optimizer):
    embedding = table()

    def closure():
        loss = embedding(torch.tensor([1])).square().sum()
        loss.backward()
        return loss

    wanted = embedding.vectors[1].square().sum().item()
    assert optimizer(embedding.parameters()).step(closure).item() == pytest.approx(wanted)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_brings_rows_to_what_is_asked_of_them(optimizer):
    embedding, aim = table(), torch.randn(N, D, dtype=torch.float64)
    steps = optimizer(embedding.parameters(), lr=0.3)
    for codes in torch.stack([torch.randperm(N) for _ in range(600)])[:, :15]:
        embedding.zero_grad()
        (embedding(codes) - aim[codes]).square().sum().backward()
        steps.step()
    assert (embedding.vectors - aim).abs().max() < 0.1


@pytest.mark.parametrize(
    "optimizer, option",
    [
        *[(SparseAdam, option) for option in ("lr", "eps", "weight_decay")],
        *[(RowwiseAdagrad, option) for option in ("lr", "eps", "weight_decay")],
        *[(Adagrad, option) for option in ("lr", "eps", "initial", "weight_decay")],
        *[(MomentumAdagrad, option) for option in ("lr", "momentum", "eps", "weight_decay")],
        *[(SGD, option) for option in ("lr", "weight_decay")],
        *[(FTRL, option) for option in ("lr", "beta", "l1", "l2")],
    ],
)
def test_negative_options_are_refused(optimizer, option):
    with pytest.raises(ParameterError, match=f"{optimizer.__name__}: {option}=-1"):
        optimizer(table().parameters(), **{option: -1.0})
    with pytest.raises(ParameterError, match=option):
        optimizer([{"params": [table().weight], option: float("nan")}])


@pytest.mark.parametrize("option", ["lr", "beta"])
def test_what_ftrl_divides_by_may_not_be_zero(option):
    with pytest.raises(ParameterError, match=f"FTRL: {option}=0 is not allowed"):
        FTRL(table().parameters(), **{option: 0.0})


@pytest.mark.parametrize("betas", [(1.0, 0.9), (0.9, -0.1)])
def test_betas_outside_their_interval_are_refused(betas):
    with pytest.raises(ParameterError, match="betas"):
        SparseAdam(table().parameters(), betas=betas)


# -- dense gradients -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 3, 4)])
def test_a_dense_gradient_moves_each_row_as_a_sparse_one_does(optimizer, shape):
    whole = torch.nn.Parameter(torch.randn(shape, dtype=torch.float64))
    # What has no rows is the only row of a table.
    rows = torch.nn.Parameter(whole.detach().clone().view(shape or (1,)))
    dense, sparse = optimizer([whole]), optimizer([rows])
    for _ in range(3):
        whole.grad = torch.randn(shape, dtype=torch.float64)
        rows.grad = whole.grad.view(rows.shape).to_sparse(1)
        dense.step()
        sparse.step()
    torch.testing.assert_close(whole, rows.view(shape), rtol=1e-12, atol=0)


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
@pytest.mark.parametrize("sparse", [True, False])
def test_adagrad_on_whole_batches_is_that_of_torch_step_by_step(weight_decay, sparse):
    ours, theirs, batches = table(sparse=sparse), table(sparse=False), whole_batches()
    theirs.load_state_dict(ours.state_dict())
    how = {"lr": 0.05, "eps": 1e-6, "weight_decay": weight_decay}
    got = train(ours, Adagrad(ours.parameters(), initial=0.3, **how), batches)
    wanted = torch.optim.Adagrad(theirs.parameters(), initial_accumulator_value=0.3, **how)
    assert_same_steps(got, train(theirs, wanted, batches))


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
@pytest.mark.parametrize("sparse", [True, False])
def test_sgd_on_whole_batches_is_that_of_torch_step_by_step(weight_decay, sparse):
    ours, theirs, batches = table(sparse=sparse), table(sparse=False), whole_batches()
    theirs.load_state_dict(ours.state_dict())
    got = train(ours, SGD(ours.parameters(), 1e-4, weight_decay), batches)
    wanted = torch.optim.SGD(theirs.parameters(), 1e-4, weight_decay=weight_decay)
    assert_same_steps(got, train(theirs, wanted, batches))
