"""Rows of a log as counting takes them: ids, labels, days."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.counting import id_counts
from tfplugin import schema as schemas

#: Labels that one word of bits has room for.
MAX_LABELS = 64

_SECONDS_A_DAY = 86_400


class Rows(NamedTuple):
    """What rows say of the ids in them.

    Args:
        batch: The rows.
        positives: Label to bool `(rows,)`, whether it is 1.
        words: uint64 `(rows,)`, bit i of which is label i; None without
            labels, or with more than `MAX_LABELS`.
        days: int32 `(rows,)`, days since 1970, `id_counts.NO_LAST_DAY` for
            unknown ones; None without moments.
    """

    batch: pa.RecordBatch
    positives: Mapping[str, npt.NDArray[np.bool_]]
    words: npt.NDArray[np.uint64] | None
    days: npt.NDArray[np.int32] | None


def read_rows(
    batch: pa.RecordBatch, labels: Sequence[str], *, days: bool
) -> Rows:
    """Reads labels and days of rows, once for all tables.

    Args:
        batch: Rows, as in `ExampleBatch`.
        labels: Names of float32 columns of 0, 1 and null.
        days: Whether there is an int64 column `event_time`, of seconds.
    """
    positives = {
        label: pc.equal(batch.column(label), 1.0)
        .fill_null(False)
        .to_numpy(zero_copy_only=False)
        for label in labels
    }
    words = None
    if positives and len(positives) <= MAX_LABELS:
        words = np.zeros(batch.num_rows, np.uint64)
        for bit, hits in enumerate(positives.values()):
            words[hits] |= np.uint64(1 << bit)
    return Rows(batch, positives, words, _days(batch) if days else None)


def _days(batch: pa.RecordBatch) -> npt.NDArray[np.int32]:
    seconds = batch.column(schemas.EVENT_TIME_FEATURE)
    known = seconds.is_valid().to_numpy(zero_copy_only=False)
    days = seconds.fill_null(0).to_numpy() // _SECONDS_A_DAY
    # A moment no date32 has room for is shown as the nearest one it has.
    days = np.clip(days, id_counts.NO_LAST_DAY + 1, id_counts.NO_FIRST_DAY - 1)
    return np.where(known, days, id_counts.NO_LAST_DAY).astype(np.int32)
