"""Tables in bfloat16: what rounding keeps, and that training does not stand still."""

import copy

import pytest
import torch

from recsys.embedding import SGD, Adagrad, Embedding, FieldEmbedding
from recsys.embedding.row_optimizer import round_stochastically
from recsys.errors import ParameterError
from tests.embedding.steps import OPTIMIZERS, batches, train

N, D = 40, 5
LOW = torch.bfloat16


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("value", [1.0 + 1 / 1024, -0.3, 1e-3, 7.77e12, -1e-30])
def test_the_mean_of_the_rounded_values_is_the_value(value):
    rounded = round_stochastically(torch.full((200_000,), value), generator()).double()
    neighbors = rounded.unique()
    assert len(neighbors) == 2
    assert neighbors[0] < value < neighbors[1]
    gap = float(neighbors[1] - neighbors[0])
    # The mean of 200,000 draws is off by at most gap / 2 / sqrt(200,000) a standard deviation.
    assert abs(float(rounded.mean()) - value) < 5 * gap / 2 / 200_000**0.5


def test_values_that_bfloat16_holds_stay_as_they_are():
    values = torch.tensor([0.0, -0.0, 1.0, -2.5, 2.0**-126, torch.inf, -torch.inf])
    for seed in range(20):
        assert torch.equal(round_stochastically(values, generator(seed)).float(), values)
    assert round_stochastically(torch.tensor([torch.nan])).isnan().all()


def test_a_generator_decides_all_of_the_rounding():
    values = torch.randn(1000)
    first, second = (round_stochastically(values, generator(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, round_stochastically(values, generator(4)))


def test_vectors_come_out_in_float32_and_the_table_takes_half():
    table = Embedding(N, D, std=1.0, sparse=True, dtype=LOW)
    vectors = table(torch.tensor([3, -1]))
    assert table.weight.element_size() == 2
    assert vectors.dtype == torch.float32
    assert torch.equal(vectors, torch.stack([table.vectors[3].float(), torch.zeros(D)]))
    assert FieldEmbedding([3, 4], D, dtype=LOW)(torch.tensor([[0, 1]])).dtype == torch.float32


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_steps_of_a_small_table_are_those_of_float32_up_to_its_rounding(optimizer, sparse):
    low = Embedding(N, D, std=0.5, sparse=sparse, dtype=LOW)
    full = Embedding(N, D, sparse=sparse)
    full.load_state_dict(low.state_dict())
    given = batches(N, D, steps=3)
    for table in (low, full):
        train(table, optimizer(table.parameters(), lr=0.05), given)
    assert low.weight.dtype == LOW
    torch.testing.assert_close(low.weight.float(), full.weight, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_state_is_float32_and_stays_so_when_it_is_loaded(optimizer):
    table = Embedding(N, D, std=0.5, sparse=True, dtype=LOW)
    before = optimizer(table.parameters())
    train(table, before, batches(N, D))
    after = optimizer(table.parameters())
    after.load_state_dict(copy.deepcopy(before.state_dict()))
    for name in after.remembers:
        value = after.state[table.weight][name]
        assert value.dtype == torch.float32
        assert torch.equal(value, before.state[table.weight][name])


def test_steps_too_small_for_the_nearest_value_add_up():
    """Of 1, a step of 1/2000 is an eighth of the gap to the next value, so that the nearest is 1 each time."""
    weight = torch.nn.Parameter(torch.ones(1000, 8, dtype=LOW))
    optimizer = SGD([weight], lr=1.0, generator=generator())
    for _ in range(400):
        rows, values = torch.arange(1000)[None], torch.full((1000, 8), -1 / 2000, dtype=LOW)
        weight.grad = torch.sparse_coo_tensor(rows, values, (1000, 8), check_invariants=True)
        optimizer.step()
    assert weight.float().mean().item() == pytest.approx(1.2, abs=0.003)


def test_many_duplicates_are_added_up_in_full_precision():
    table = Embedding(3, 2, std=0.0, sparse=True, dtype=LOW)
    table(torch.ones(1000, dtype=torch.long)).sum().backward()
    SGD(table.parameters(), lr=1e-3).step()
    torch.testing.assert_close(table.vectors[1].float(), torch.full((2,), -1.0))


def test_minus_one_stays_zero():
    table = Embedding(N, D, std=0.5, sparse=True, dtype=LOW)
    train(table, Adagrad(table.parameters(), weight_decay=0.1), batches(N, D))
    assert table.weight[0].count_nonzero() == 0


def test_the_same_seed_trains_the_same_table():
    start, given, results = Embedding(N, D, sparse=True, dtype=LOW), batches(N, D), []
    for seed in (1, 1, 2):
        table = copy.deepcopy(start)
        train(table, Adagrad(table.parameters(), lr=0.01, generator=generator(seed)), given)
        results.append(table.weight.detach())
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


@pytest.mark.parametrize("dtype", [torch.float16, torch.int64])
def test_other_kinds_of_numbers_are_refused(dtype):
    with pytest.raises(ParameterError, match=f"dtype={dtype}"):
        Embedding(3, 2, dtype=dtype)
