"""Examples that are read anew each epoch: chunks from a background thread, a shuffle buffer, batches of one size."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Chunk = tuple[NDArray[Any], ...]
"""Arrays of one length, (n, ...) each: some examples, part by part."""
Tensors = tuple[Tensor, ...]
"""The same as tensors."""
T = TypeVar("T")
DEPTH = 2
"""Chunks that wait, read and shuffled, for the training loop."""
POLL = 0.1
"""Seconds after which the background thread looks whether it is still wanted."""
OUT_ROWS = 16_384
"""Examples that leave a shuffle buffer at a time when it is emptied."""


@dataclass(frozen=True)
class Position:
    """Where an epoch stands: the seed of its order, and how many examples of it are gone."""

    seed: int
    consumed: int = 0


class StreamedExamples:
    """Examples in pieces, of which `load(piece)` reads one as chunks; `collate` makes a batch of tensors.

    An epoch reads the pieces in random order and exchanges rows with a buffer of `shuffle_buffer` of them, so that its
    order follows from its seed alone; with 0 the order is that of the pieces. `position` is where the last epoch
    stands, and `batches(size, position)` goes on from one: it reads what is gone again, but makes no batch of it.
    """

    def __init__(
        self,
        n_rows: int,
        n_pieces: int,
        load: Callable[[int], Iterable[Chunk]],
        collate: Callable[..., NamedTuple],
        shuffle_buffer: int,
    ):
        self.n_rows, self.n_pieces, self.load, self.collate = n_rows, n_pieces, load, collate
        self.shuffle_buffer = shuffle_buffer
        self.device = torch.device("cpu")
        self.position = Position(0)

    def __len__(self) -> int:
        return self.n_rows

    def to(self, device: torch.device) -> Self:
        """The same; its batches will be on the device."""
        self.device = device
        return self

    def batches(self, batch_size: int, start: Position | None = None) -> Generator[NamedTuple, None, None]:
        """Batches of an epoch, all of `batch_size` but the last; without `start` torch's CPU generator gives the seed.

        What goes wrong in the background is raised here. Closing the generator ends the background thread.
        """
        self.position = start or Position(int(torch.randint(2**62, ())))
        return self._batches(batch_size)

    def _batches(self, batch_size: int) -> Generator[NamedTuple, None, None]:
        seed, gone = self.position.seed, self.position.consumed
        tensors = (host_tensors(chunk, self.device) for chunk in self._chunks(seed))
        with closing(prefetched(tensors, DEPTH)) as chunks:
            for batch in cut(on_device(skipped(chunks, gone), self.device), batch_size):
                self.position = Position(seed, self.position.consumed + len(batch[0]))
                yield self.collate(*batch)

    def _chunks(self, seed: int) -> Iterator[Chunk]:
        """All chunks of an epoch in the order that follows from the seed."""
        rng = np.random.default_rng(seed)
        order = rng.permutation(self.n_pieces) if self.shuffle_buffer else np.arange(self.n_pieces)
        chunks = (chunk for piece in order.tolist() for chunk in self.load(piece))
        return shuffled(chunks, min(self.shuffle_buffer, self.n_rows), rng) if self.shuffle_buffer else chunks


def shuffled(chunks: Iterator[Chunk], size: int, rng: np.random.Generator) -> Iterator[Chunk]:
    """The same rows in another order: each takes a random place in a buffer of `size` rows, whose row leaves for it.

    The first rows fill the buffer, and the last ones leave it in random order. A buffer of all rows is a permutation.
    """
    pool: Chunk = ()
    filled = 0
    for chunk in chunks:
        pool = pool or tuple(np.empty((size, *part.shape[1:]), part.dtype) for part in chunk)
        taken = min(size - filled, len(chunk[0]))
        for place, part in zip(pool, chunk, strict=True):
            place[filled : filled + taken] = part[:taken]
        filled += taken
        if taken < len(chunk[0]):
            yield exchange(pool, tuple(part[taken:] for part in chunk), rng)
    order = rng.permutation(filled)
    for start in range(0, filled, OUT_ROWS):
        yield tuple(part[order[start : start + OUT_ROWS]] for part in pool)


def exchange(pool: Chunk, chunk: Chunk, rng: np.random.Generator) -> Chunk:
    """Put each row of a chunk (n, ...) into a random place of the pool; gives the rows (n, ...) that were there.

    As if one row after the other: a row whose place is drawn again leaves for the later one.
    """
    places = rng.integers(len(pool[0]), size=len(chunk[0]))
    order = np.argsort(places, kind="stable")
    again = places[order[1:]] == places[order[:-1]]
    last = order[~np.append(again, False)]
    out = tuple(part[places] for part in pool)
    for leaving, place, part in zip(out, pool, chunk, strict=True):
        leaving[order[1:][again]] = part[order[:-1][again]]
        place[places[last]] = part[last]
    return out


def host_tensors(chunk: Chunk, device: torch.device) -> Tensors:
    """A chunk as tensors on the host; in pinned memory where they are going to a GPU."""
    tensors = tuple(torch.from_numpy(part) for part in chunk)
    return tuple(part.pin_memory() for part in tensors) if device.type == "cuda" else tensors


def on_device(chunks: Iterable[Tensors], device: torch.device) -> Iterator[Tensors]:
    """The chunks on the device. A GPU is sent the next chunk while it works on this one, by a stream of its own."""
    # A chunk at a time, not a batch: a copy to the device has a cost of its own.
    if device.type != "cuda":
        yield from (tuple(part.to(device) for part in chunk) for chunk in chunks)
        return
    copies, sent = torch.cuda.Stream(device), deque[tuple[Tensors, torch.cuda.Event]]()
    for chunk in chunks:
        with torch.cuda.stream(copies):
            sent.append((tuple(part.to(device, non_blocking=True) for part in chunk), copies.record_event()))
        if len(sent) > 1:
            yield arrived(*sent.popleft())
    for one in sent:
        yield arrived(*one)


def arrived(chunk: Tensors, event: torch.cuda.Event) -> Tensors:
    """A chunk that a copy of another stream brings, for work of the current stream, which waits for it."""
    stream = torch.cuda.current_stream(chunk[0].device)
    stream.wait_event(event)
    for part in chunk:
        # Its memory is not given to the next copy before this stream is through with it.
        part.record_stream(stream)
    return chunk


def skipped(chunks: Iterable[Tensors], n_rows: int) -> Iterator[Tensors]:
    """The chunks without their first rows."""
    for chunk in chunks:
        gone = min(n_rows, len(chunk[0]))
        n_rows -= gone
        if gone < len(chunk[0]):
            yield tuple(part[gone:] for part in chunk)


def cut(chunks: Iterable[Tensors], batch_size: int) -> Iterator[Tensors]:
    """Batches of exactly `batch_size` rows across chunks, the last one as long as what is left."""
    left: Tensors | None = None
    for chunk in chunks:
        at = 0
        if left is not None:
            at = min(batch_size - len(left[0]), len(chunk[0]))
            left = tuple(torch.cat([one, part[:at]]) for one, part in zip(left, chunk, strict=True))
            if len(left[0]) == batch_size:
                yield left
                left = None
        for start in range(at, len(chunk[0]), batch_size):
            batch = tuple(part[start : start + batch_size] for part in chunk)
            if len(batch[0]) == batch_size:
                yield batch
            else:
                left = batch
    if left is not None:
        yield left


def prefetched(source: Iterator[T], depth: int) -> Generator[T, None, None]:
    """What an iterator gives, up to `depth` ahead, drawn from it in a thread that ends with this generator."""
    waiting: queue.Queue[T | BaseException | None] = queue.Queue(depth)
    unwanted = threading.Event()

    def put(one: T | BaseException | None) -> bool:
        while not unwanted.is_set():
            try:
                waiting.put(one, timeout=POLL)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            if all(put(chunk) for chunk in source):
                put(None)
        except BaseException as error:  # whatever it is, the training loop must hear of it
            put(error)

    thread = threading.Thread(target=work, name="recsys-prefetch", daemon=True)
    thread.start()
    try:
        while (found := waiting.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        unwanted.set()
        thread.join()
