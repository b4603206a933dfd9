"""Segments of many sounds in full batches, cut in one thread while a network works in another."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from multiview.segments import Segments, cut
from multiview.views import Excerpt

BATCH_SIZE = 32  # as fast on a CPU as twice as many, in half the memory
READ_AHEAD = 2  # batches that wait for the network
Outputs = dict[str, np.ndarray]
Network = Callable[[Outputs], Mapping[str, np.ndarray]]
# Key of a recording, an excerpt of it, and the first samples in the recording of segments to be cut from there.
Part = tuple[Any, Excerpt, np.ndarray]
Answer = tuple[Any, int, Outputs]
T = TypeVar("T")
_END: Any = object()


@dataclass(frozen=True)
class Batch:
    """Segments by view, and the key and start of each."""

    views: Outputs
    owners: list[tuple[Any, int]]


def answers(network: Network, views: Sequence[str], parts: Iterable[Part | None]) -> Iterator[list[Answer]]:
    """What a network says of segments of any recordings, by batches.

    Parameters
    ----------
    network : callable
        As in `Predictor`.
    views : sequence of str
        The views that it takes.
    parts : iterable
        Iterated in another thread, ahead of the network; None where those so far have to wait for no others.

    Yields
    ------
    list of tuple
        Key and start of each segment, and its probabilities by branch, float32 [classes]; in the order in which the
        segments came. An empty one after None where none has come since the last.
    """
    for batch in ahead(batches(parts, views)):
        outputs = network(batch.views) if batch.owners else {}
        yield [
            (key, start, {branch: values[row] for branch, values in outputs.items()})
            for row, (key, start) in enumerate(batch.owners)
        ]


def batches(parts: Iterable[Part | None], views: Sequence[str]) -> Iterator[Batch]:
    """The segments of parts in full batches; the last one, and those at None, may be smaller."""
    cuts: list[Outputs] = []
    owners: list[tuple[Any, int]] = []
    for part in parts:
        if part is None:
            yield Batch(_joined(cuts, views) if owners else {}, owners)
            cuts, owners = [], []
            continue
        key, excerpt, starts = part
        while len(starts):
            some, starts = np.split(starts, [BATCH_SIZE - len(owners)])
            cuts.append(cut(excerpt, Segments(np.zeros_like(some), some - excerpt.offset), views))
            owners += [(key, int(start)) for start in some]
            if len(owners) == BATCH_SIZE:
                yield Batch(_joined(cuts, views), owners)
                cuts, owners = [], []
    if owners:
        yield Batch(_joined(cuts, views), owners)


def _joined(cuts: list[Outputs], views: Sequence[str]) -> Outputs:
    return {view: np.concatenate([each[view] for each in cuts]) for view in views}


def ahead(items: Iterable[T]) -> Iterator[T]:
    """The items, each computed in a thread before it is asked for."""
    items = iter(items)
    with ThreadPoolExecutor(1) as pool:
        futures = deque(pool.submit(next, items, _END) for _ in range(READ_AHEAD))
        while (item := futures.popleft().result()) is not _END:
            futures.append(pool.submit(next, items, _END))
            yield item
