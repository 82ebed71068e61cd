"""Which rows make a shard, where the number of shards follows from bytes."""

import dataclasses

import numpy as np

from beam_jobs.batches import Int64s
from beam_jobs.batches import UInt64s

#: Rows wait in groups of equal upper bits of their keys.
_GROUP_BITS = 8
NUM_GROUPS = 1 << _GROUP_BITS
#: Up to so many shards take whole groups, four at least, so that their sizes
#: differ by a quarter at most; more are a power of two.
_MAX_UNEVEN_SHARDS = NUM_GROUPS // 4


@dataclasses.dataclass(frozen=True)
class ShardLayout:
    """The shards of one split.

    Args:
        num_shards: How many there are.
        by_key: Whether shards are ranges of keys, and rows wait in
            `NUM_GROUPS` groups; else rows wait in a group a shard.

    Example:
    >>> layout = ShardLayout.of_size(total=10_000, shard_size=3_000)
    >>> layout.num_shards, [layout.task(group) for group in (0, 63, 64, 255)]
    (4, [0, 0, 1, 3])
    """

    num_shards: int
    by_key: bool = False

    @classmethod
    def of_size(cls, total: int, shard_size: int) -> "ShardLayout":
        """Shards of about `shard_size` bytes out of `total`; at least one."""
        wanted = max(1, -(-total // shard_size))
        if wanted > _MAX_UNEVEN_SHARDS:
            wanted = 1 << (wanted - 1).bit_length()
        return cls(wanted, by_key=True)

    @property
    def num_tasks(self) -> int:
        """Shards, or groups of shards, that are written independently."""
        if self.by_key:
            return min(self.num_shards, NUM_GROUPS)
        return self.num_shards

    def task(self, group: int) -> int:
        """The task that writes the rows of a group."""
        if self.by_key:
            return group * self.num_tasks >> _GROUP_BITS
        return group

    def shards(self, task: int) -> range:
        """The shards that a task writes."""
        each = self.num_shards // self.num_tasks
        return range(task * each, (task + 1) * each)

    def shard(self, task: int, keys: UInt64s) -> Int64s:
        """The shard of each row of a task, int64 `(rows,)`, by its key."""
        shards = self.shards(task)
        if len(shards) == 1:
            return np.full(len(keys), shards.start, np.int64)
        # More shards than groups are a power of two.
        bits = self.num_shards.bit_length() - 1
        return (keys >> np.uint64(64 - bits)).astype(np.int64)


def group(keys: UInt64s) -> Int64s:
    """The group that rows wait in where shards have a wanted size.

    Args:
        keys: uint64 `(rows,)`.

    Returns:
        int64 `(rows,)`, in [0, NUM_GROUPS).

    Example:
    >>> group(np.array([0, 2**63, 2**64 - 1], np.uint64)).tolist()
    [0, 128, 255]
    """
    return (keys >> np.uint64(64 - _GROUP_BITS)).astype(np.int64)
