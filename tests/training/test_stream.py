import threading
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from recsys.training import seeded
from recsys.training.stream import Position, StreamedExamples, cut, exchange, prefetched, shuffled

SIZES = [7, 1, 30, 12, 5, 45]
"""Rows of the pieces: ragged, one of them larger than a batch."""
N = sum(SIZES)


class Batch(NamedTuple):
    rows: Tensor
    squares: Tensor


def load(piece):
    """A piece of the numbers 0 to N - 1 and of their squares, in chunks of at most 8."""
    start = sum(SIZES[:piece])
    rows = np.arange(start, start + SIZES[piece])
    for at in range(0, len(rows), 8):
        part = rows[at : at + 8]
        yield part, np.stack([part**2, part**2], 1)


def stream(buffer=16, load=load):
    return StreamedExamples(N, len(SIZES), load, Batch, buffer)


def epoch(examples, batch_size=16, seed=0, start=None):
    with seeded(seed):
        return list(examples.batches(batch_size, start))


def order(batches):
    return torch.cat([batch.rows for batch in batches]).tolist()


def prefetching():
    return [thread for thread in threading.enumerate() if thread.name == "recsys-prefetch"]


# -- batches -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("buffer", [0, 1, 16, N, 10 * N])
@pytest.mark.parametrize("batch_size", [1, 16, 20, N, 2 * N])
def test_an_epoch_gives_every_row_once_in_batches_of_one_size(buffer, batch_size):
    batches = epoch(stream(buffer), batch_size)
    assert sorted(order(batches)) == list(range(N))
    assert [len(batch.rows) for batch in batches[:-1]] == [batch_size] * ((N - 1) // batch_size)
    assert len(batches[-1].rows) == (N - 1) % batch_size + 1


def test_the_parts_of_a_row_stay_together():
    for batch in epoch(stream()):
        assert torch.equal(batch.squares, torch.stack([batch.rows**2] * 2, 1))


def test_without_a_buffer_rows_keep_their_order():
    assert order(epoch(stream(0))) == list(range(N))


def test_the_seed_of_torch_is_the_order():
    one, same, other = (order(epoch(stream(), seed=seed)) for seed in (3, 3, 4))
    assert one == same != other
    assert one != sorted(one)


def test_each_epoch_has_its_own_order():
    examples = stream()
    with seeded(0):
        first, second = order(examples.batches(16)), order(examples.batches(16))
    assert first != second


def test_a_buffer_of_all_rows_is_a_fair_permutation():
    # The mean place of each row over 400 epochs: 49.5 with a standard error of 29 / 20.
    examples, places = stream(N), np.zeros(N)
    with seeded(0):
        for _ in range(400):
            places[order(examples.batches(N))] += np.arange(N)
    assert np.abs(places / 400 - (N - 1) / 2).max() < 4.5 * 29 / 20


def test_batches_are_on_the_device():
    examples = stream().to(torch.device("meta"))
    assert {part.device.type for batch in epoch(examples) for part in batch} == {"meta"}


def test_no_examples_are_no_batches():
    assert epoch(StreamedExamples(0, 0, load, Batch, 16)) == []


def test_cutting_leaves_no_rows_behind_whatever_the_chunks():
    rng = np.random.default_rng(0)
    for _ in range(50):
        sizes = rng.integers(0, 9, 6)
        chunks = [(part,) for part in torch.arange(int(sizes.sum())).split(sizes.tolist())]
        batches = [batch for (batch,) in cut(chunks, 4)]
        assert torch.cat([torch.empty(0), *batches]).tolist() == list(range(sizes.sum()))
        assert all(len(batch) == 4 for batch in batches[:-1])


# -- the buffer --------------------------------------------------------------------------------------------------------


def exchange_by_row(pool, chunk, places):
    """The definition: each row in turn takes a place, and the row that was there leaves."""
    out = []
    for row, place in zip(chunk, places, strict=True):
        out.append(pool[place])
        pool[place] = row
    return out


@pytest.mark.parametrize("size", [1, 3, 50])
def test_exchanging_a_chunk_is_exchanging_row_by_row(size):
    pool, chunk = np.arange(size), np.arange(100, 140)
    expected_pool = pool.tolist()
    places = np.random.default_rng(5).integers(size, size=len(chunk))
    expected = exchange_by_row(expected_pool, chunk.tolist(), places)
    (out,) = exchange((pool,), (chunk,), np.random.default_rng(5))
    assert out.tolist() == expected
    assert pool.tolist() == expected_pool


def test_a_buffer_holds_no_more_than_its_size():
    drawn = 0

    def chunks():
        nonlocal drawn
        for start in range(0, 100, 10):
            drawn += 10
            yield (np.arange(start, start + 10),)

    gone = 0
    for (part,) in shuffled(chunks(), 25, np.random.default_rng(0)):
        gone += len(part)
        assert drawn - gone <= 25
    assert gone == 100


# -- positions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("buffer", [0, 16, N])
@pytest.mark.parametrize("batches", [0, 1, 4])
def test_an_epoch_goes_on_from_its_position(buffer, batches):
    examples = stream(buffer)
    with seeded(1):
        running = examples.batches(16)
        before = [next(running) for _ in range(batches)]
        position = examples.position
        rest = order(running)
    assert position.consumed == 16 * batches
    fresh = stream(buffer)
    assert order(epoch(fresh, start=Position(position.seed, position.consumed), seed=9)) == rest
    assert sorted(order(before) + rest if before else rest) == list(range(N))
    assert fresh.position == examples.position == Position(position.seed, N)


# -- the thread --------------------------------------------------------------------------------------------------------


class BrokenError(Exception):
    pass


@pytest.mark.parametrize("bad", range(len(SIZES)))
def test_what_fails_in_the_background_is_raised_in_the_loop(bad):
    def broken(piece):
        if piece == bad:
            raise BrokenError(piece)
        return load(piece)

    with pytest.raises(BrokenError, match=str(bad)):
        epoch(stream(load=broken))
    assert prefetching() == []


def test_a_loop_that_stops_early_ends_the_thread():
    running = stream(0).batches(4)
    next(running)
    assert len(prefetching()) == 1
    running.close()
    assert prefetching() == []


def test_a_loop_that_fails_ends_the_thread():
    def loop():
        for _ in stream(0).batches(4):
            raise BrokenError

    with pytest.raises(BrokenError):
        loop()
    assert prefetching() == []


def test_no_more_is_read_ahead_than_asked_for():
    drawn = []

    def source():
        for i in range(20):
            drawn.append(i)
            yield (np.array([i]),)

    running = prefetched(source(), 3)
    for taken in range(1, 20):
        next(running)
        # Those that wait, and the one that the thread holds in its hand.
        assert len(drawn) <= taken + 3 + 1
    assert [part[0] for (part,) in running] == [19]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_on_a_gpu_are_those_on_the_cpu_in_the_same_order() -> None:
    # Work that is slower than the copies: a chunk that was overwritten while it is read would show.
    heavy = torch.eye(2000, device="cuda")
    here, there = (
        StreamedExamples(40_000, 8, lambda piece: [(np.arange(5000) + 5000 * piece,) * 2], Batch, 9000).to(
            torch.device(device)
        )
        for device in ("cpu", "cuda")
    )
    expected = torch.cat([batch.rows for batch in here.batches(700, Position(3))])
    assert torch.equal(expected.sort().values, torch.arange(40_000))
    for _ in range(3):
        found = []
        for batch in there.batches(700, Position(3)):
            heavy = heavy @ heavy
            found.append(batch.rows.clone())
        assert torch.equal(torch.cat(found).cpu(), expected)
