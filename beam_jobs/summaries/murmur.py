"""The hash of ids that Apache DataSketches takes, for arrays of ids."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_jobs import conversions
from beam_jobs.batches import Int64s
from beam_jobs.batches import UInt64s

#: The default seed of every sketch of Apache DataSketches.
_SEED = np.uint64(9001)
_C1 = np.uint64(0x87C37B91114253D5)
_C2 = np.uint64(0x4CF5AD432745937F)
_ROUND_1 = np.uint64(0x52DCE729)
_ROUND_2 = np.uint64(0x38495AB5)
_FIVE = np.uint64(5)
_WORD = 8
_BLOCK = 2 * _WORD
#: Keeps the first 0 to 8 bytes of a little-endian word.
_MASKS = np.array([2 ** (8 * n) - 1 for n in range(_WORD + 1)], np.uint64)


def hash_ids(ids: pa.Array) -> UInt64s:
    """The first half of MurmurHash3_x64_128 of each id, seed 9001.

    An int64 is hashed as its 8 bytes, a string as its UTF-8 bytes, so that
    `hash >> 1` is what a theta sketch in any of DataSketches' languages
    keeps of the id. In Python a sketch takes one id a call; with this hash
    the ids that it would ignore need not be handed to it.

    Args:
        ids: int64 or string `(ids,)`, without nulls.

    Returns:
        uint64 `(ids,)`.

    Example:
    >>> import datasketches
    >>> sketch = datasketches.update_theta_sketch()
    >>> sketch.update(7)
    >>> list(sketch) == [int(hash_ids(pa.array([7]))[0]) >> 1]
    True

    Reference: Appleby, MurmurHash3.cpp, public domain.
    """
    if pa.types.is_integer(ids.type):
        words = ids.to_numpy(zero_copy_only=False).view(np.uint64)
        return _finish(_SEED ^ _scramble_1(words), _SEED, np.uint64(_WORD))
    return _hash_text(conversions.plain(ids).cast(pa.large_binary()))


def _hash_text(texts: pa.Array) -> UInt64s:
    if not len(texts):
        return np.zeros(0, np.uint64)
    _, offsets_buffer, data = texts.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64)
    offsets = offsets[texts.offset : texts.offset + len(texts) + 1]
    used = data[offsets[0] : offsets[-1]] if data is not None else b""
    # Reading the word at any byte never leaves the buffer.
    padded = np.frombuffer(bytes(used) + bytes(_BLOCK), np.uint8)
    starts, lengths = offsets[:-1] - offsets[0], np.diff(offsets)
    first = np.full(len(texts), _SEED)
    second = first.copy()
    full = np.flatnonzero(lengths >= _BLOCK)
    for block in range(int(lengths.max()) // _BLOCK):
        full = full[lengths[full] >= (block + 1) * _BLOCK]
        at = starts[full] + block * _BLOCK
        one = first[full] ^ _scramble_1(_words(padded, at))
        one = (_rotate(one, 27) + second[full]) * _FIVE + _ROUND_1
        two = second[full] ^ _scramble_2(_words(padded, at + _WORD))
        second[full] = (_rotate(two, 31) + one) * _FIVE + _ROUND_2
        first[full] = one
    rest = lengths % _BLOCK
    at = starts + (lengths - rest)
    first ^= _scramble_1(_cut(_words(padded, at), rest))
    if rest.max() > _WORD:
        words = _words(padded, at + _WORD)
        second ^= _scramble_2(_cut(words, np.maximum(rest - _WORD, 0)))
    return _finish(first, second, lengths.astype(np.uint64))


def _words(data: npt.NDArray[np.uint8], starts: Int64s) -> UInt64s:
    """The 8 bytes from each start as little-endian numbers."""
    overlapping: UInt64s = np.ndarray(
        (len(data) - _WORD + 1,), "<u8", data.data, strides=(1,)
    )
    return overlapping[starts]


def _cut(words: UInt64s, lengths: Int64s) -> UInt64s:
    """The first bytes of words, zeros instead of the others."""
    return words & _MASKS[np.minimum(lengths, _WORD)]


def _scramble_1(words: UInt64s) -> UInt64s:
    return _rotate(words * _C1, 31) * _C2


def _scramble_2(words: UInt64s) -> UInt64s:
    return _rotate(words * _C2, 33) * _C1


def _rotate(words: UInt64s, bits: int) -> UInt64s:
    return (words << np.uint64(bits)) | (words >> np.uint64(64 - bits))


def _finish(
    first: UInt64s, second: UInt64s | np.uint64, lengths: UInt64s | np.uint64
) -> UInt64s:
    first = (first ^ lengths) + (second ^ lengths)
    second = first + (second ^ lengths)
    return _avalanche(first) + _avalanche(second)


def _avalanche(words: UInt64s) -> UInt64s:
    words = (words ^ (words >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    words = (words ^ (words >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return words ^ (words >> np.uint64(33))
