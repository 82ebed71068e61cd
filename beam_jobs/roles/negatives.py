"""Negatives kept at a rate, by a seeded hash of where a row stands."""

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow.compute as pc

from beam_jobs import row_hash
from beam_jobs.batches import Bools
from beam_jobs.reading import sources
from beam_jobs.roles.columns import ExampleBatch
from tfplugin import config
from tfplugin import schema

#: So that the rows that are kept are no run of those by which rows are
#: shuffled, where both have one seed.
_SALT = 0x6E65_6761_7469_7665


class Sample(beam.DoFn):
    """`ExampleBatch` → its positives and the negatives that are kept.

    A row is a negative where none of the labels is 1; one that was not
    observed is not 1. Yields `rows_sampled_out` to `sources.COUNTS`.

    Args:
        negatives: Labels, rate, seed and splits.
    """

    def __init__(self, negatives: config.NegativesConfig) -> None:
        self._negatives = negatives

    def process(self, batch: ExampleBatch) -> Iterator[Any]:
        """Samples one batch."""
        keep = kept(batch, self._negatives)
        left_out = len(keep) - int(keep.sum())
        if not left_out:
            yield batch
            return
        count = ("rows_sampled_out", left_out)
        yield beam.pvalue.TaggedOutput(sources.COUNTS, count)
        if keep.any():
            yield batch.take(keep)


def kept(batch: ExampleBatch, negatives: config.NegativesConfig) -> Bools:
    """Which rows are kept: a function of seed, file, position, occurrence.

    Args:
        batch: Rows with their labels.
        negatives: Labels, rate, seed and splits.

    Returns:
        bool `(rows,)`.
    """
    keys = row_hash.row_keys(
        file=batch.file,
        positions=batch.positions,
        occurrences=batch.occurrences,
        seed=negatives.seed ^ _SALT,
    )
    keep: Bools = row_hash.fractions(keys) < negatives.rate
    for label in negatives.labels:
        positive = pc.equal(batch.rows.column(label), 1).fill_null(False)
        keep |= positive.to_numpy(zero_copy_only=False)
    sampled = [schema.SPLITS.index(split) for split in negatives.splits]
    keep |= ~np.isin(batch.splits, sampled)
    return keep
