"""The model and how it is trained."""

from collections.abc import Collection
from typing import Annotated
from typing import Any
from typing import Literal

import pydantic

from tfplugin import remedies as remedies_lib
from tfplugin.config.records import Section
from tfplugin.config.tables_optimizer import Rate
from tfplugin.config.tables_optimizer import TablesOptimizerConfig

Units = tuple[Annotated[int, pydantic.Field(ge=1)], ...]


def _parse_remedies(value: object) -> object:
    return remedies_lib.parse(value) if isinstance(value, dict) else value


Remedies = Annotated[
    dict[str, pydantic.SerializeAsAny[remedies_lib.Remedy]],
    pydantic.BeforeValidator(_parse_remedies),
]


class ModelConfig(Section):
    """Embeddings, a network over them, a logit an objective.

    Args:
        kind: A model of `tfplugin.models`, by the name of its module.
        options: The model's own keys; what they are, its function says.
        build: `package.module:function` that returns a Keras model of the
            user's own instead; see `tfplugin.models`.
        embedding_dim: Floats a row of every table that names no other.
        embeddings_stddev: Standard deviation of fresh rows.
        hidden_units: Units of the layers above the vectors: of the shared
            bottom, of each expert, or of the network beside the crosses.
        tower_units: Units of each objective's own layers before its logit.
        dropout: Rate after each of the `hidden_units` layers.
    """

    kind: str = "shared_bottom"
    options: dict[str, Any] = {}
    build: Annotated[str, pydantic.Field(pattern=r"^[\w.]+:\w+$")] | None = None
    embedding_dim: Annotated[int, pydantic.Field(ge=1)] = 16
    embeddings_stddev: Annotated[float, pydantic.Field(ge=0)] = 0.01
    hidden_units: Units = (128, 64)
    tower_units: Units = ()
    dropout: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.0


class RestOptimizerConfig(Section):
    """The optimizer of everything that is not a table.

    Args:
        rule: `adam`, `adagrad` or `sgd`, as in Keras.
        learning_rate: Its rate.
    """

    rule: Literal["adam", "adagrad", "sgd"] = "adam"
    learning_rate: Rate = 0.001


class TrainingConfig(Section):
    """One training.

    Args:
        epochs: Passes over the training split.
        batch_size: Examples a step.
        seed: Seed of the weights, the order of rows and dropout.
        shuffle_rows: Size of the buffer in which rows are shuffled.
        tables: Optimizer of the tables.
        rest: Optimizer of the other weights.
        multi_epoch: `manual`, as this section says; `auto`: `tfplugin train`
            first does what `tfplugin recommend` does, and trains by it.
        remedies: Name to a remedy against overfitting, as in
            `{embedding_reset: true}`; see `training.remedies.NAME`.
        chunks: `together`, all logs of the dataset in every epoch;
            `in_order`, `epochs` passes over the first log, then over each
            added one; `last`, over the newest alone.
        loss_weights: Objective to the weight of its loss; 1 where absent.
        telemetry: Whether to measure metrics by frequency of ids, rows by
            frequency, calibration and grouped metrics after every epoch.
        calibration: How each objective's probabilities are calibrated on
            the validation split after training: `none`, `platt` or
            `isotonic`.
        export_best: Objective whose best epoch by validation AUC is exported
            as the next version of the model while training goes on; null for
            none.
        verify_checksums: Whether every shard's checksum is compared before
            it is read.
    """

    epochs: Annotated[int, pydantic.Field(ge=1)] = 3
    batch_size: Annotated[int, pydantic.Field(ge=1)] = 2048
    seed: Annotated[int, pydantic.Field(ge=0, lt=2**31)] = 0
    shuffle_rows: Annotated[int, pydantic.Field(ge=1)] = 65536
    tables: TablesOptimizerConfig = TablesOptimizerConfig()
    rest: RestOptimizerConfig = RestOptimizerConfig()
    multi_epoch: Literal["manual", "auto"] = "manual"
    remedies: Remedies = {}
    chunks: Literal["together", "in_order", "last"] = "together"
    loss_weights: dict[str, Annotated[float, pydantic.Field(ge=0)]] = {}
    telemetry: bool = True
    calibration: Literal["none", "platt", "isotonic"] = "none"
    export_best: str | None = None
    verify_checksums: bool = True

    @pydantic.model_validator(mode="after")
    def _check_counts(self) -> "TrainingConfig":
        law = self.tables.row_rate.law
        if self.tables.counts.model_fields_set and not counts_are_read(
            law, self.remedies
        ):
            raise ValueError(
                "`tables.counts` is for a row_rate or a remedy that reads "
                f"them, which `{law}` does not; leave it out"
            )
        return self


def counts_are_read(law: str, remedies: Collection[str]) -> bool:
    """Whether `training.tables.counts` would change anything.

    Args:
        law: Of `training.tables.row_rate`.
        remedies: Names of `training.remedies`.

    Example:
    >>> counts_are_read("constant", [])
    False
    >>> counts_are_read("constant", ["frequency_weight_decay"])
    True
    """
    known = remedies_lib.known()
    return law != "constant" or any(known[n].reads_counts for n in remedies)
