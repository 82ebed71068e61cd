"""What every remedy against multi-epoch overfitting has in common."""

import dataclasses
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any
from typing import ClassVar

import pydantic

if TYPE_CHECKING:
    import keras

    from tfplugin import data
    from tfplugin import schema as schema_lib

    Losses = dict[str, keras.losses.Loss]


@dataclasses.dataclass(frozen=True)
class Training:
    """What a remedy may know of the training that it is part of.

    Args:
        model: Built; compiled once losses are chosen.
        schema: The model's columns.
        statistics: What preprocessing found in the training rows.
        tables: Table of ids to its embedding layers: one, or several where
            an id has several rows; only layers of the ModelContext's mappings.
        id_frequencies: From a table's name to the counts of its raw ids.
        steps_per_epoch: Batches an epoch.
        seed: `training.seed`.
        passes_per_chunk: Epochs over a chunk of the data before the next one
            comes; None where all epochs are over the same rows.
    """

    model: "keras.Model"
    schema: "schema_lib.Schema"
    statistics: "schema_lib.Statistics"
    tables: Mapping[str, "list[keras.Layer]"]
    id_frequencies: "Callable[[str], data.IdFrequencies]"
    steps_per_epoch: int
    seed: int
    passes_per_chunk: int | None = None


class Remedy(pydantic.BaseModel):
    """One remedy: a section of `training.remedies`, and what it does.

    A remedy is one module of `tfplugin.remedies` with one public subclass; the
    module's name is its key in the configuration. Its fields are the
    section's keys. It loads TensorFlow and Keras only inside of its methods,
    since a configuration is read without them. All methods have a default that
    does nothing.

    Example:
    >>> class GentleSteps(Remedy):
    ...     limit: float = 0.5
    ...     def row_options(self, steps_per_epoch):
    ...         return {"clip_value": self.limit}
    >>> GentleSteps(limit=0.25).row_options(100)
    {'clip_value': 0.25}
    """

    model_config = pydantic.ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False
    )

    #: Whether it reads what `training.tables.counts` says to count.
    reads_counts: ClassVar[bool] = False

    #: Remedies it cannot be combined with, each with the reason.
    conflicts: ClassVar[Mapping[str, str]] = {}
    #: Keys of `training.tables` that exclude it, each with the reason.
    table_conflicts: ClassVar[Mapping[str, str]] = {}

    def check(
        self,
        tables: Collection[str],
        objectives: Collection[str],
        epochs: int | None = None,
    ) -> None:
        """Refuses a section that does not fit the rest of a configuration.

        A number beyond the epochs, with which nothing would ever happen, does
        not fit; the least that a field may have always does, so that trying a
        configuration for one epoch is not refused.

        Args:
            tables: Names of the tables of ids.
            objectives: Names of the labels.
            epochs: How many there will be; None where that is not known.

        Raises:
            ValueError: It does not fit; one line, without a full stop.
        """

    def excludes(self, name: str, other: "Remedy") -> str | None:
        """Why it cannot be combined with another remedy; None if it can.

        Args:
            name: The other's name.
            other: The other, with its settings.
        """
        return self.conflicts.get(name)

    def row_options(self, steps_per_epoch: int) -> dict[str, Any]:
        """Arguments for the tables' optimizer, by `RowOptions`' names.

        Args:
            steps_per_epoch: Batches an epoch.
        """
        return {}

    def losses(self, training: Training, losses: "Losses") -> "Losses":
        """The losses to compile with, by objective.

        Args:
            training: The model is not compiled yet.
            losses: What would be taken without this remedy.
        """
        return losses

    def callbacks(self, training: Training) -> "list[keras.callbacks.Callback]":
        """Callbacks for `fit`.

        What a callback must carry over a resume it keeps in the variables of
        a dict `trackables`, by name, which checkpoints then hold.

        Args:
            training: The model is compiled.
        """
        return []


def require_known(
    key: str, names: Collection[str] | None, known: Collection[str], kind: str
) -> None:
    """Refuses names in a remedy's section that stand for nothing.

    Args:
        key: The section's key that holds them.
        names: What was given; None for nothing.
        known: What there is.
        kind: What they should name, in one word.

    Raises:
        ValueError: A name is unknown. One line, without a full stop.

    Example:
    >>> require_known("tables", ["user"], ["user", "item"], "table")
    """
    unknown = sorted(set(names or ()) - set(known))
    if unknown:
        raise ValueError(
            f"`{key}` names `{unknown[0]}`, which is no {kind}; {kind}s are "
            f"{', '.join(sorted(known))}"
        )
