"""What preprocessing found: `statistics.json`."""

from typing import Any
from typing import Literal

from tfplugin.schema.records import Record
from tfplugin.schema.sketches import ColumnSketch


class Shard(Record):
    """One file of several: TFRecords of a split, or a table's frequencies.

    Args:
        name: Its path inside the folder of its split or table.
        rows: Number of rows, or of ids.
        bytes: File size.
        crc32c: CRC-32C of the whole file.
    """

    name: str
    rows: int
    bytes: int
    crc32c: int


class LabelStatistics(Record):
    """Counts of one label over training rows.

    Args:
        observed: Rows in which the label is present.
        positives: Rows in which it is 1.
    """

    observed: int
    positives: int

    @property
    def positive_rate(self) -> float:
        """Positives over observed rows; 0 when nothing was observed."""
        return self.positives / self.observed if self.observed else 0.0


class DenseStatistics(Record):
    """Moments and quantiles of one dense column over training rows.

    Args:
        count: Values that are not missing.
        missing: Missing values.
        mean: Mean; 0 without values.
        standard_deviation: Population standard deviation; 0 without values.
        log1p_mean: Mean of sign(x) log(1 + |x|).
        log1p_standard_deviation: Its population standard deviation.
        minimum: Smallest value.
        maximum: Largest value.
        quantiles: Values at 101 evenly spaced ranks from 0 to 1, each within
            a relative error of 2^-11.
    """

    count: int
    missing: int
    mean: float
    standard_deviation: float
    log1p_mean: float
    log1p_standard_deviation: float
    minimum: float
    maximum: float
    quantiles: tuple[float, ...]


class TableStatistics(Record):
    """Ids of one table over training rows.

    Args:
        ids: Distinct ids.
        occurrences: Sum of their counts; a float where older counts decay.
        ids_seen_once: Ids with count 1.
        missing: Missing values in scalar features and inside lists.
        empty_lists: Rows whose list is null or empty.
        files: The Parquet files of its frequencies, `rows` being ids.
        count_quantiles: Counts of ids at 101 evenly spaced ranks, estimated.
    """

    ids: int
    occurrences: int | float
    ids_seen_once: int
    missing: int
    empty_lists: int
    files: tuple[Shard, ...] = ()
    count_quantiles: tuple[float, ...] = ()


class SourceFile(Record):
    """One input file as it was read.

    Args:
        path: Where it was.
        bytes: Its size.
        crc32c: CRC-32C of its bytes as stored (compressed, if it was).
    """

    path: str
    bytes: int
    crc32c: int


class JoinStatistics(Record):
    """What one keyed join found.

    Args:
        rows: Rows of the joined log.
        matched: Of these, rows that met a row of the log.
        unmatched: Rows that met none.
        rows_credited: Rows of the log that were given one.
        rows_immature: Rows of the log whose window was still open.
        rows_dropped: Of these, the rows left out for it.
    """

    rows: int
    matched: int
    unmatched: int
    rows_credited: int
    rows_immature: int = 0
    rows_dropped: int = 0


class Addition(Record):
    """A log that was added to a finished dataset.

    Args:
        name: Its folder inside the split's and the tables' folders.
        source_files: Its files.
        rows_read: Rows of its log.
        rows: Rows it added, by split.
    """

    name: str
    source_files: tuple[SourceFile, ...]
    rows_read: int
    rows: dict[str, int]


class Statistics(Record):
    """`statistics.json`: what preprocessing found.

    `labels`, `dense` and `tables` describe training rows only.

    Args:
        version: Version of this format.
        source_files: The log's files.
        rows_read: Rows of the log.
        rows_removed_by_select: Rows that the select's WHERE or joins removed.
        rows_added_by_select: Rows that its joins or UNNEST added.
        rows_rejected: Rows refused, each written to `rejected/`.
        time_cut_offs: First second of validation and of test, when the split
            is by time.
        shards: Split to its shards.
        labels: Label to its counts.
        dense: Dense feature to its statistics.
        tables: Table to its statistics.
        rows_sampled_out: Negatives that sampling left out.
        last_time: Last second of all rows; None without moments.
        joins: Keyed join to what it found.
        joined_files: The files of the joined logs.
        split: The section `split` of the configuration, which logs that are
            added must share.
        additions: Logs that were added later, in order; all other numbers
            are of all logs together.
        sketches: The file of the sketches, inside `sketches/`.
        columns: Feature to what its sketches say.
    """

    version: Literal[1] = 1
    source_files: tuple[SourceFile, ...]
    rows_read: int
    rows_removed_by_select: int
    rows_added_by_select: int
    rows_rejected: int
    time_cut_offs: tuple[int, int] | None
    shards: dict[str, tuple[Shard, ...]]
    labels: dict[str, LabelStatistics]
    dense: dict[str, DenseStatistics]
    tables: dict[str, TableStatistics]
    rows_sampled_out: int = 0
    last_time: int | None = None
    joins: dict[str, JoinStatistics] = {}
    joined_files: tuple[SourceFile, ...] = ()
    split: dict[str, Any] | None = None
    additions: tuple[Addition, ...] = ()
    sketches: Shard | None = None
    columns: dict[str, ColumnSketch] = {}

    def rows(self, split: str) -> int:
        """Number of rows of a split."""
        return sum(shard.rows for shard in self.shards[split])
