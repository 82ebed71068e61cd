"""A part of a join → parts that fit into memory."""

import dataclasses
import math
from collections.abc import Iterator
from collections.abc import Sequence

import numpy as np

from beam_jobs import storage
from beam_jobs.batches import Int64s
from beam_jobs.joining import join_keys
from beam_jobs.joining import join_pieces
from beam_jobs.joining.join_pieces import Piece

#: Parts of one division at most: each has its own buffers on disk.
MAX_PARTS = 512
#: Parts that a worker divides one into, at most.
_MAX_CHUNKS = 4096
_MAX_LIMIT = 1 << 29
_MAX_BUFFER = 1 << 26
#: Bytes in memory for one in a file, about: logs are compressed or packed.
_EXPANSION = 4
#: Bytes of log files for which a part of its own is worth it.
_PART_BYTES = 1 << 24
_SPREAD = 16


@dataclasses.dataclass(frozen=True)
class Budget:
    """What a join may hold.

    Args:
        memory: Bytes, of one worker.
    """

    memory: int

    @property
    def part(self) -> int:
        """Bytes of rows that are joined at once.

        They are held up to three times: as read, in one piece, and as taken.
        """
        return min(self.memory // 4, _MAX_LIMIT)

    @property
    def buffer(self) -> int:
        """Bytes of rows that are held before they are written."""
        return min(self.memory // 8, _MAX_BUFFER)

    def parts(self, log_bytes: int) -> int:
        """Parts to begin with.

        Args:
            log_bytes: Bytes of the files of both logs.
        """
        needed = math.ceil(log_bytes * _EXPANSION / self.part)
        spread = min(_SPREAD, math.ceil(log_bytes / _PART_BYTES))
        return max(1, min(max(needed, spread), MAX_PARTS))


@dataclasses.dataclass(frozen=True)
class Part:
    """Pieces that hold all rows of some keys.

    A chunk of one side is small enough to be held together with one of the
    other. There are several where a key, or a few, have too many rows.

    Args:
        log: Chunks of the log, by place.
        joined: Chunks of the joined log.
    """

    log: tuple[tuple[Piece, ...], ...]
    joined: tuple[tuple[Piece, ...], ...]


def divide(
    log: Sequence[Piece],
    joined: Sequence[Piece],
    folder: str,
    budget: Budget,
    level: int = 1,
) -> Iterator[Part]:
    """Divides a part until each fits; on disk, by other bits of the hashes.

    Args:
        log: Pieces of the log: hash, file, position, occurrence, ...
        joined: Pieces of the joined log: hash, ...
        folder: Where rows are written anew; removed once the next part is
            asked for.
        budget: What may be held.
        level: How often it was divided before, and once more.

    Yields:
        Parts, the same in the same order whatever the pieces.
    """
    log_size, joined_size = _size(log), _size(joined)
    if log_size + joined_size <= budget.part:
        yield Part((tuple(log),), (tuple(joined),))
        return
    if joined_size <= budget.part // 2:
        yield from _by_place(log, (tuple(joined),), folder, budget)
        return
    if min(p.low for p in joined) == max(p.high for p in joined):
        # One key, about: no hash divides it.
        chunks = tuple(_chunks(joined, budget.part // 2))
        yield from _by_place(log, chunks, folder, budget)
        return
    number = _number(log_size + joined_size, budget.part)
    sides = []
    for pieces in (log, joined):
        sides.append(_spool(pieces, number, level, folder, budget))
    try:
        for part in range(number):
            ours, others = (side.get(part, []) for side in sides)
            if ours or others:
                yield from divide(ours, others, folder, budget, level + 1)
    finally:
        _remove(piece for side in sides for ps in side.values() for piece in ps)


def _by_place(
    log: Sequence[Piece],
    joined: tuple[tuple[Piece, ...], ...],
    folder: str,
    budget: Budget,
) -> Iterator[Part]:
    number = _number(_size(log), budget.part // 2)
    if number == 1:
        yield Part((tuple(log),), joined)
        return
    chunks = _spool(log, number, None, folder, budget)
    try:
        parts = sorted(chunks)
        yield Part(tuple(tuple(chunks[part]) for part in parts), joined)
    finally:
        _remove(piece for pieces in chunks.values() for piece in pieces)


def _number(size: int, limit: int) -> int:
    # Parts of a hash differ in size: some room.
    if size <= limit:
        return 1
    return min(math.ceil(1.25 * size / limit), _MAX_CHUNKS)


def _spool(
    pieces: Sequence[Piece],
    number: int,
    level: int | None,
    folder: str,
    budget: Budget,
) -> dict[int, list[Piece]]:
    """Writes rows anew: by the hash of the key, or of the place (None)."""
    spooler = join_pieces.Spooler(folder, budget.buffer)
    for rows in join_pieces.read(pieces):
        hashes = rows.column(0).to_numpy()
        if level is None:
            places = (rows.column(index).to_numpy() for index in (1, 2, 3))
            hashes = join_keys.place_hashes(*places)
        parts: Int64s = join_keys.parts(hashes, number, level or 0)
        spooler.add(parts, rows)
    found: dict[int, list[Piece]] = {}
    for part, piece in spooler.finish():
        found.setdefault(part, []).append(piece)
    return found


def _chunks(pieces: Sequence[Piece], limit: int) -> Iterator[tuple[Piece, ...]]:
    sizes = np.cumsum([piece.size for piece in pieces])
    numbers = (sizes - 1) // max(limit, 1)
    for number in np.unique(numbers):
        chosen = np.flatnonzero(numbers == number)
        yield tuple(pieces[index] for index in chosen.tolist())


def _size(pieces: Sequence[Piece]) -> int:
    return sum(piece.size for piece in pieces)


def _remove(pieces: Iterator[Piece]) -> None:
    for path in sorted({piece.path for piece in pieces}):
        storage.remove(path)
