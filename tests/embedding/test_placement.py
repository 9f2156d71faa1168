"""Tables in host memory with a cache, against the same table on the device; "the device" is the CPU here."""

import pytest
import torch

from recsys.embedding import SGD, CachedEmbedding, Embedding, FieldEmbedding, SparseAdam, place
from recsys.embedding.placement import fits
from recsys.errors import DataError, ParameterError, UnsupportedError
from tests.embedding.steps import OPTIMIZERS, batches, decay, train

N, D = 200, 4


def both(cache_rows=50, optimizer=SGD, **how):
    """A plain table and a cached one that start alike, with an optimizer each."""
    plain, cached = Embedding(N, D, std=0.5, sparse=True), CachedEmbedding(N, D, cache_rows)
    cached.load_state_dict(plain.state_dict())
    steps = [optimizer(table.parameters(), **how) for table in (plain, cached)]
    cached.follow(steps[1])
    return (plain, steps[0]), (cached, steps[1])


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_through_a_small_cache_is_bitwise_that_of_the_whole_table(optimizer, weight_decay):
    (plain, one), (cached, other) = both(50, optimizer, lr=0.05, **decay(optimizer, weight_decay))
    # 30 codes a batch, spread over all 200: rows come, go and come back.
    given = [(torch.randint(-1, N, (30,)), torch.randn(30, D)) for _ in range(40)]
    for got, wanted in zip(train(cached, other, given), train(plain, one, given), strict=True):
        assert torch.equal(got, wanted)
    assert torch.equal(cached.vectors, plain.vectors)


def test_rows_in_use_stay_cached_and_the_longest_unused_leave_first():
    _, (cached, optimizer) = both(cache_rows=4)
    for codes in ([0, 1, 2, 3], [1, 2, 3], [9]):
        train(cached, optimizer, [(torch.tensor(codes), torch.zeros(len(codes), D))])
    assert sorted(cached.row_of[1:].tolist()) == [2, 3, 4, 10]


def test_the_host_has_old_rows_until_the_cache_is_written_back():
    _, (cached, optimizer) = both()
    before = cached.host.clone()
    train(cached, optimizer, [(torch.tensor([7]), torch.zeros(1, D))])
    assert torch.equal(cached.host, before)
    cached.flush()
    assert not torch.equal(cached.host[8], before[8])


def test_two_lookups_before_one_step_are_both_trained():
    (plain, one), (cached, other) = both(cache_rows=6)
    for table, optimizer in ((plain, one), (cached, other)):
        for first, second in (([0, 1, 2], [2, 3, 4]), ([10, 11, 12], [0, 13, 14])):
            optimizer.zero_grad()
            (table(torch.tensor(first)).square().sum() + table(torch.tensor(second)).sum()).backward()
            optimizer.step()
    assert torch.equal(cached.vectors, plain.vectors)


def test_what_does_not_fit_between_two_steps_is_refused():
    _, (cached, _) = both(cache_rows=5)
    cached(torch.tensor([0, 1, 2]))
    with pytest.raises(DataError, match=r"5 rows in its cache.* need 1 more; give a larger cache_rows"):
        cached(torch.tensor([2, 3, 4, 5]))


def test_reading_moves_nothing_and_sees_what_training_did():
    (plain, one), (cached, other) = both(cache_rows=5)
    given = [(torch.tensor([3, 5, 5, -1]), torch.randn(4, D))] * 2
    train(plain, one, given)
    train(cached, other, given)
    rows = cached.row_of.clone()
    codes = torch.arange(-1, N).view(3, -1)
    with torch.no_grad():
        assert torch.equal(cached(codes), plain(codes))
    assert torch.equal(cached.eval()(codes), plain(codes))
    assert torch.equal(cached.row_of, rows)


def test_it_is_saved_and_loaded_as_the_whole_table():
    (plain, one), (cached, other) = both()
    given = batches(N, D, 30)
    train(plain, one, given)
    train(cached, other, given)
    state = cached.state_dict()
    assert list(state) == ["weight"]
    assert torch.equal(state["weight"], plain.weight)
    fresh = CachedEmbedding(N, D, 10)
    fresh.load_state_dict(state)
    assert torch.equal(fresh.vectors, plain.vectors)


def test_loading_replaces_cached_rows_too():
    _, (cached, optimizer) = both()
    start = {name: value.clone() for name, value in cached.state_dict().items()}
    train(cached, optimizer, batches(N, D, 30))
    cached.load_state_dict(start)
    assert torch.equal(cached.eval()(torch.arange(N)), start["weight"][1:])


def test_a_state_of_another_table_is_refused():
    with pytest.raises(RuntimeError, match="size mismatch for weight"):
        CachedEmbedding(N, D, 10).load_state_dict(Embedding(N + 1, D).state_dict())
    with pytest.raises(RuntimeError, match="Missing key"):
        CachedEmbedding(N, D, 10).load_state_dict({})


@pytest.mark.parametrize("code", [-2, N])
def test_a_code_outside_the_table_is_refused(code):
    _, (cached, _) = both()
    for mode in (True, False):
        with pytest.raises(DataError, match=f"codes -1 to {N - 1}"):
            cached.train(mode)(torch.tensor([0, code]))


def test_it_starts_as_the_table_on_the_device_does():
    torch.manual_seed(5)
    plain = Embedding(N, D, std=0.3)
    torch.manual_seed(5)
    assert torch.equal(CachedEmbedding(N, D, 10, std=0.3).vectors, plain.vectors)


def test_fields_share_a_cached_table():
    sizes = [50, 30, 120]
    plain = FieldEmbedding(sizes, D, std=0.5, sparse=True)
    cached = FieldEmbedding(sizes, D, table=place(N, D, "host", cache_rows=40))
    cached.load_state_dict(plain.state_dict())
    results = []
    for net in (plain, cached):
        optimizer = SparseAdam(net.parameters(), lr=0.1)
        if isinstance(net.table, CachedEmbedding):
            net.table.follow(optimizer)
        generator = torch.Generator().manual_seed(1)
        given = [
            (torch.stack([torch.randint(n, (10,), generator=generator) for n in sizes], 1), torch.ones(10, 3, D))
            for _ in range(20)
        ]
        train(net, optimizer, given)
        results.append(net.table.vectors.detach())
    assert torch.equal(*results)


# -- what is refused, and what "auto" stands for -----------------------------------------------------------------------


def test_training_without_an_optimizer_to_follow_is_refused():
    with pytest.raises(UnsupportedError, match=r"call follow\(optimizer\)"):
        CachedEmbedding(N, D, 10)(torch.tensor([0]))


def test_an_optimizer_that_does_not_step_by_row_or_has_another_table_is_refused():
    cached = CachedEmbedding(N, D, 10)
    with pytest.raises(UnsupportedError, match="got Adam"):
        cached.follow(torch.optim.Adam(cached.parameters()))
    with pytest.raises(ParameterError, match="not given this table's weight"):
        cached.follow(SGD(Embedding(3, 2).parameters()))


def test_an_empty_cache_is_refused():
    with pytest.raises(ParameterError, match="cache_rows=0"):
        CachedEmbedding(N, D, 0)


def test_an_unknown_placement_is_refused():
    with pytest.raises(ParameterError, match="placement='disk'"):
        place(N, D, "disk")


def test_auto_on_the_cpu_is_the_device():
    assert isinstance(place(N, D), Embedding)
    assert isinstance(place(N, D, "host"), CachedEmbedding)


def test_a_host_table_has_a_tenth_of_its_rows_cached_unless_told_otherwise():
    assert place(N, D, "host").weight.shape == (N // 10 + 1, D)
    assert place(N, D, "host", cache_rows=7).weight.shape == (8, D)
    assert place(N, D, "host", cache_rows=10 * N).weight.shape == (N + 1, D)


def test_table_and_state_fit_in_nine_tenths_of_what_is_free():
    needed = 4 * (N + 1) * D * 3
    assert fits(N, D, 2, needed / 0.9 + 1)
    assert not fits(N, D, 2, needed / 0.9 - 1)
    assert fits(N, D, 1, needed / 0.9 - 1)


def test_a_table_of_another_shape_is_refused_by_fields():
    with pytest.raises(ParameterError, match=r"needs a table of \(7, 4\), got one of \(8, 4\)"):
        FieldEmbedding([3, 4], 4, table=place(8, 4))
