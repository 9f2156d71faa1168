"""Tables on a GPU: their kernels give what the CPU gives, and nothing waits for the GPU.

Without one the kernels run in Triton's interpreter, on the CPU, where they can be called by themselves.
"""

import contextlib
import copy
import warnings

import numpy as np
import pytest
import torch

from recsys.embedding import SGD, Embedding, FieldEmbedding, SparseAdam
from recsys.embedding.fields import _SlotLookup
from recsys.embedding.row_optimizer import touched_rows
from recsys.embedding.table import gradient_of_rows
from tests.embedding.steps import OPTIMIZERS, batches, decay, train

pytest.importorskip("triton")

N, D = 40, 5
GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"


def cuda(test):
    return pytest.mark.cuda(pytest.mark.skipif(not GPU, reason="needs a CUDA device")(test))


# -- the parts that know of the kernels, on any device --------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_kernel_of_a_gpu_steps_as_that_of_the_cpu(optimizer):
    table = Embedding(N, D, std=0.5, sparse=True)
    train(table, optimizer(table.parameters(), **decay(optimizer, 0.2)), batches(N, D, steps=1))
    weight, gradient = table.weight, table.weight.grad
    one = optimizer([weight], lr=0.05, **decay(optimizer, 0.2))
    group, other = one.param_groups[0], weight.detach().clone().to(DEVICE)
    other.spare_row = False
    state = one.new_state(other, group)
    constants, parts = one._constants(state, group), [state[name] for name in one.remembers]
    one._step_on_gpu(other, gradient.to(DEVICE), parts, constants, group.get("weight_decay", 0.0))
    one.step()
    torch.testing.assert_close(other.cpu(), weight.detach(), rtol=2e-5, atol=2e-6)
    for name in one.remembers:
        torch.testing.assert_close(state[name].cpu(), one.state[weight][name], rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("valued", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernel_of_a_gpu_looks_slots_up_as_torch_does(dtype, valued):
    table = FieldEmbedding([4, 9], D, fields=[0, 1, 1], std=1.0, sparse=True, dtype=dtype)
    codes = torch.tensor([[0, -1, 8], [3, 0, 0], [-1, -1, 2], [3, 4, 8]])
    values, upstream = (torch.randn(4, 3) if valued else None), torch.randn(4, 3, D)
    vectors = table.slot_vectors(codes, values)
    vectors.backward(upstream)
    weight = table.table.weight.detach().clone().to(DEVICE).requires_grad_()
    given = [None if part is None else part.to(DEVICE) for part in (codes, table.start, values)]
    found = _SlotLookup.apply(*given, weight, False)
    found.backward(upstream.to(DEVICE))
    torch.testing.assert_close(found.detach().cpu(), vectors.detach())
    # Duplicates are added up in different orders, in the table's precision.
    close = {"rtol": 0.02, "atol": 0.02} if dtype == torch.bfloat16 else {}
    wanted = table.table.weight.grad.to_dense().float()
    torch.testing.assert_close(weight.grad.to_dense().float().cpu(), wanted, **close)


def test_a_gradient_holds_row_0_only_where_it_is_spared():
    rows, values = torch.tensor([[2, 0], [0, 3]], device=DEVICE), torch.ones(2, 2, D, device=DEVICE)
    kept, spared = (gradient_of_rows(rows, values, torch.Size([4, D]), one) for one in (False, True))
    assert kept._indices().tolist() == [[2, 3]]
    assert spared._indices().tolist() == [[2, 0, 0, 3]]


@pytest.mark.parametrize("rows", [[0, 2, 0, 1], [2, 1], []])
def test_row_0_is_left_out_of_the_rows_that_torch_steps_too(rows):
    gradient = torch.sparse_coo_tensor(
        torch.tensor([rows], dtype=torch.long), torch.ones(len(rows), D), (4, D), check_invariants=True
    ).to(DEVICE)
    found, values = touched_rows(gradient, lowest=1)
    assert found.tolist() == sorted({row for row in rows if row})
    assert values.shape == (len(found), D)
    assert touched_rows(gradient)[0].tolist() == sorted(set(rows))


# -- on a GPU ------------------------------------------------------------------------------------------------------------


@cuda
@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_table_is_trained_as_on_the_cpu(optimizer, weight_decay):
    tables = [Embedding(N, D, std=0.5, sparse=True)]
    tables.append(copy.deepcopy(tables[0]).cuda())
    given = batches(N, D)
    for table in tables:
        device = table.weight.device
        how = {"lr": 0.05, **decay(optimizer, weight_decay)}
        train(table, optimizer(table.parameters(), **how), [tuple(part.to(device) for part in one) for one in given])
    torch.testing.assert_close(tables[1].weight.cpu(), tables[0].weight, rtol=2e-5, atol=2e-6)
    assert tables[1].weight[0].count_nonzero() == 0


@contextlib.contextmanager
def no_waiting():
    """An error inside the block where the host waits for the GPU."""
    with warnings.catch_warnings():
        # Torch says that the mode is a prototype.
        warnings.simplefilter("ignore")
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def clicks(net, codes, values, labels):
    """The log loss of a logit that is the sum of the vectors' products with their values."""
    logits = net(codes, values).sum((1, 2))
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)


@cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_nothing_waits_for_the_gpu(optimizer, dtype):
    net = FieldEmbedding([1000, 50, 7], 64, sparse=True, dtype=dtype).cuda()
    steps = optimizer(net.parameters())
    codes = torch.randint(-1, 7, (512, 3)).cuda()
    values, labels = torch.rand(512, 3).cuda(), torch.rand(512).cuda()

    def step():
        steps.zero_grad()
        clicks(net, codes, values, labels).backward()
        steps.step()

    # The first step compiles and makes the state.
    step()
    with no_waiting():
        step()
    assert net.table.weight[0].count_nonzero() == 0


@cuda
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_loaded_optimizer_waits_for_the_gpu_no_more_than_a_new_one(optimizer):
    table = Embedding(N, D, sparse=True).cuda()
    given = [tuple(part.cuda() for part in one) for one in batches(N, D)]
    first = optimizer(table.parameters())
    train(table, first, given[:2])
    second = optimizer(table.parameters())
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    train(table, second, given[:1])
    with no_waiting():
        train(table, second, given[1:])
    assert all(value.is_cuda == (value.ndim > 0) for value in second.state[table.weight].values())


@cuda
def test_other_optimizers_are_given_no_row_0():
    table = Embedding(N, D, std=0.5, sparse=True).cuda()
    before = table.weight.detach().clone()
    given = [tuple(part.cuda() for part in one) for one in batches(N, D)]
    train(table, torch.optim.SparseAdam(list(table.parameters())), given)
    assert any((codes == -1).any() for codes, _ in given)
    assert table.weight[0].count_nonzero() == 0
    assert not torch.equal(table.weight, before)


@cuda
def test_row_0_of_a_parameter_that_is_no_table_is_stepped():
    weight = torch.nn.Parameter(torch.zeros(4, D, device="cuda"))
    rows = torch.tensor([[0, 2, 0]], device="cuda")
    weight.grad = torch.sparse_coo_tensor(rows, torch.ones(3, D, device="cuda"), (4, D), check_invariants=True)
    SGD([weight], lr=1.0).step()
    np.testing.assert_array_equal(weight[:, 0].tolist(), [-2, 0, -1, 0])


@cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_row_0_stays_zero_by_the_kernel_and_by_torch(dtype):
    table = Embedding(N, D, std=0.5, sparse=True).to("cuda", dtype)
    optimizer = SparseAdam(table.parameters(), weight_decay=0.1)
    train(table, optimizer, [tuple(part.cuda() for part in one) for one in batches(N, D, dtype=dtype)])
    assert table.weight.spare_row
    assert table.weight[0].count_nonzero() == 0
    assert optimizer.state[table.weight]["mean"][0].count_nonzero() == 0


@cuda
def test_a_copied_table_trains_without_row_0_too():
    table = Embedding(N, D, std=0.5, sparse=True).cuda()
    SGD(table.parameters())
    given = [tuple(part.cuda() for part in one) for one in batches(N, D)]
    twin = copy.deepcopy(table)
    train(twin, torch.optim.SGD(twin.parameters(), lr=0.1), given)
    assert twin.weight[0].count_nonzero() == 0
    train(twin, SparseAdam(twin.parameters()), given)
    assert twin.weight[0].count_nonzero() == 0


@cuda
def test_a_grown_table_waits_for_nothing():
    table = FieldEmbedding([3, 5], D, sparse=True).cuda()
    optimizer = SparseAdam(table.parameters())
    codes = torch.tensor([[2, 4], [-1, 0]], device="cuda")
    table(codes).sum().backward()
    optimizer.step()
    old = table.table.weight
    places = table.grow([10, 6])
    optimizer.grow_state(old, table.table.weight, places)
    with no_waiting():
        table(codes).sum().backward()
        optimizer.step()
    assert table.table.weight[0].count_nonzero() == 0
