"""What the statistics of a dataset say about overfitting."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tfplugin import data

#: An id with fewer occurrences, or positives, is rare, or thin.
FEW = 5
#: Above this share of occurrences on such ids a table is called thin.
_THIN_ABOVE = 0.1


@dataclasses.dataclass(frozen=True)
class TableFacts:
    """How much is known of the ids of one table.

    Args:
        name: The table.
        ids: Distinct ids of the training rows.
        occurrences_per_id: Mean of their counts.
        rare_share: Share of occurrences whose id occurs fewer than 5 times.
        thin_share: Share of occurrences whose id has fewer than 5 positives,
            or negatives, of the sparsest objective. In how many of an id's
            rows that is masked is not counted; the share of all rows is taken.
    """

    name: str
    ids: int
    occurrences_per_id: float
    rare_share: float
    thin_share: float

    @property
    def thin(self) -> bool:
        """Whether many occurrences are of ids that tell little."""
        return self.thin_share > _THIN_ABOVE


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is known of a dataset before anything is trained.

    Args:
        rows: Of the training split.
        steps_per_epoch: Batches an epoch of the whole split.
        rates: Objective to its positive rate.
        sparsest: The objective with the fewest positives or negatives.
        tables: Its tables.
    """

    rows: int
    steps_per_epoch: int
    rates: dict[str, float]
    sparsest: str
    tables: tuple[TableFacts, ...]

    @property
    def sparse(self) -> bool:
        """Whether a table is thin, so that overfitting is likely."""
        return any(table.thin for table in self.tables)


def gather(dataset: data.Dataset, batch_size: int) -> Facts:
    """Reads the facts from statistics and id frequencies.

    Args:
        dataset: Opened.
        batch_size: Examples a step.
    """
    labels = dataset.statistics.labels
    objectives = dataset.schema.labels
    rarer = {
        name: min(
            labels[name].positives,
            labels[name].observed - labels[name].positives,
        )
        for name in objectives
    }
    sparsest = min(objectives, key=rarer.__getitem__)
    rows = dataset.rows("train")
    observed = labels[sparsest].observed / rows if rows else 0.0
    return Facts(
        rows=rows,
        steps_per_epoch=dataset.num_batches("train", batch_size),
        rates={name: labels[name].positive_rate for name in objectives},
        sparsest=sparsest,
        tables=tuple(
            _table(name, dataset.id_frequencies(name), sparsest, observed)
            for name in dataset.schema.table_features()
        ),
    )


def _table(
    name: str,
    frequencies: data.IdFrequencies,
    sparsest: str,
    observed: float,
) -> TableFacts:
    counts = np.asarray(frequencies.counts, np.float64)
    total = counts.sum()
    positives = frequencies.label_counts.get(sparsest, np.zeros(len(counts)))
    known = np.minimum(positives, counts * observed - positives)

    def share(chosen: np.ndarray) -> float:
        return float(counts[chosen].sum() / total) if total else 0.0

    return TableFacts(
        name=name,
        ids=len(counts),
        occurrences_per_id=float(total / len(counts)) if len(counts) else 0.0,
        rare_share=share(counts < FEW),
        thin_share=share(known < FEW),
    )
