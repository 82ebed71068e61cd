"""Spooled rows in order, within bounded memory."""

import contextlib
from collections.abc import Iterable
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from beam_jobs import storage
from beam_jobs.batches import Int64s
from beam_jobs.batches import UInt64s
from beam_jobs.writing import spooling

#: Rows of a sorted batch: a few megabytes at most.
_BATCH_ROWS = 8192
#: Ranges that are written at a time: each holds a file open.
_MAX_RANGES = 32
#: Places of rows that are looked at to choose ranges of equal size.
_SAMPLES = 1 << 16


def sort(
    pieces: Iterable[spooling.Piece], *, folder: str, max_bytes: int
) -> Iterator[pa.RecordBatch]:
    """Rows of all pieces by time, then key.

    More than `max_bytes` of rows are first divided into ranges that are no
    larger, in temporary files, once more if need be; so every row is read and
    written as often as the logarithm of the size, not once a range.

    Args:
        pieces: What was spooled, in any order.
        folder: For temporary files, a local folder or a URL.
        max_bytes: Rows to hold in memory; two copies are held at moments.

    Yields:
        Batches as they were spooled, of some thousand rows.
    """
    pieces = list(pieces)
    if not pieces:
        return
    if sum(piece.bytes for piece in pieces) <= max_bytes:
        yield from _sort_in_memory(pieces)
        return
    ranges = _divide(pieces, folder, max_bytes)
    rows = sum(piece.rows for piece in pieces)
    for one in ranges:
        if sum(piece.rows for piece in one) == rows:
            # Rows of one and the same place: no range is smaller.
            yield from _sort_in_memory(one)
        else:
            yield from sort(one, folder=folder, max_bytes=max_bytes)
        for path in {piece.path for piece in one}:
            storage.remove(path)


def _sort_in_memory(pieces: list[spooling.Piece]) -> Iterator[pa.RecordBatch]:
    rows = spooling.combine(list(spooling.read(pieces)))
    times, keys = spooling.place(rows)
    order = np.lexsort((keys, times))
    for first in range(0, len(order), _BATCH_ROWS):
        yield rows.take(pa.array(order[first : first + _BATCH_ROWS]))


class _Bound(NamedTuple):
    """The first place of a range."""

    time: int
    key: int

    def reached(self, times: Int64s, keys: UInt64s) -> np.ndarray:
        """Which places are in this range, or in a later one."""
        same = (times == self.time) & (keys >= np.uint64(self.key))
        reached: np.ndarray = (times > self.time) | same
        return reached


def _divide(
    pieces: list[spooling.Piece], folder: str, max_bytes: int
) -> list[list[spooling.Piece]]:
    """Rows of the pieces by range, earlier ranges first."""
    total = sum(piece.bytes for piece in pieces)
    bounds = _bounds(pieces, min(_MAX_RANGES, 2 * total // max_bytes + 1))
    found: list[list[spooling.Piece]] = [[] for _ in range(len(bounds) + 1)]
    with contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(spooling.open_writer(folder)) for _ in found
        ]
        for batch in spooling.read(pieces):
            times, keys = spooling.place(batch)
            ranges = np.zeros(batch.num_rows, np.int64)
            for bound in bounds:
                ranges += bound.reached(times, keys)
            for number in np.unique(ranges).tolist():
                part = batch.take(pa.array(np.flatnonzero(ranges == number)))
                found[number].append(writers[number].write(part))
    for writer, written in zip(writers, found, strict=True):
        if not written:
            storage.remove(writer.path)
    return [written for written in found if written]


def _bounds(pieces: list[spooling.Piece], num_ranges: int) -> list[_Bound]:
    """Where ranges 1, 2, ... begin, of about equal numbers of rows."""
    step = sum(piece.rows for piece in pieces) // _SAMPLES + 1
    times, keys = [], []
    for batch in spooling.read(pieces):
        some_times, some_keys = spooling.place(batch)
        # Rows of a piece are in no order, so any will do.
        times.append(some_times[::step].copy())
        keys.append(some_keys[::step].copy())
    time, key = np.concatenate(times), np.concatenate(keys)
    order = np.lexsort((key, time))
    chosen = order[len(order) * np.arange(1, num_ranges) // num_ranges]
    return [_Bound(int(time[row]), int(key[row])) for row in chosen]
