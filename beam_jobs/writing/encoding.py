"""Rows of a shard, in order → records, in two threads."""

import collections
import functools
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from concurrent import futures

import pyarrow as pa

from beam_jobs.writing import examples
from beam_jobs.writing import packed
from beam_jobs.writing import spooling
from beam_jobs.writing import tfrecords
from tfplugin import schema as schemas

#: Rows that are encoded at a time.
_ENCODE_ROWS = 4096
_ENCODE_THREADS = 2


def encode(
    batches: Iterable[pa.RecordBatch], schema: schemas.Schema
) -> Iterator[tfrecords.Records]:
    """Rows of a shard, in order → its records.

    Args:
        batches: Rows, however they are cut; no batch is empty.
        schema: Their format, and which columns are labels.

    Yields:
        Chunks of some thousand rows; the last one may hold fewer than a
        record's.

    Example:
    >>> made = schemas.Schema(
    ...     id_features={}, labels=("buy",), format="packed", rows_per_record=2
    ... )
    >>> labels = pa.array([1.0, None, 0.0], pa.float32())
    >>> rows = pa.RecordBatch.from_pydict({"buy": labels})
    >>> [len(chunk.records) for chunk in encode([rows], made)]
    [2]
    """
    size = schema.rows_per_record
    if size is None:
        parts = (
            batch.slice(first, _ENCODE_ROWS)
            for batch in batches
            for first in range(0, batch.num_rows, _ENCODE_ROWS)
        )
        yield from _ahead(parts, _encode_rows)
    else:
        pack = functools.partial(_pack, schema=schema, size=size)
        yield from _ahead(_whole_records(batches, size), pack)


def _ahead(
    parts: Iterable[pa.RecordBatch],
    function: Callable[[pa.RecordBatch], tfrecords.Records],
) -> Iterator[tfrecords.Records]:
    """Applies a function in two threads, before its results are asked for."""
    waiting: collections.deque[futures.Future[tfrecords.Records]]
    waiting = collections.deque()
    # The encoder leaves Python to others while it works.
    with futures.ThreadPoolExecutor(_ENCODE_THREADS) as pool:
        for part in parts:
            waiting.append(pool.submit(function, part))
            if len(waiting) > _ENCODE_THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _encode_rows(rows: pa.RecordBatch) -> tfrecords.Records:
    return tfrecords.Records(examples.encode(rows), rows.num_rows)


def _whole_records(
    batches: Iterable[pa.RecordBatch], size: int
) -> Iterator[pa.RecordBatch]:
    """Rows cut into multiples of `size`, but for the last."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        count = sum(part.num_rows for part in waiting)
        if count < max(size, _ENCODE_ROWS):
            continue
        joined = spooling.combine(waiting)
        whole = count // size * size
        yield joined.slice(0, whole)
        waiting = [joined.slice(whole)] if whole < count else []
    if waiting:
        yield spooling.combine(waiting)


def _pack(
    rows: pa.RecordBatch, schema: schemas.Schema, size: int
) -> tfrecords.Records:
    records = packed.encode(rows, size, labels=schema.labels)
    return tfrecords.Records(records, rows.num_rows)
