"""Names, dtypes and roles of a dataset's columns: `schema.json`.

Written once by preprocessing; read by the parser, the model and the export.
Loads neither TensorFlow nor Beam.
"""

from collections.abc import Iterable
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from tfplugin.errors import InputError
from tfplugin.schema.records import Record

#: The value of a missing scalar id; every other int64 is a legal id.
MISSING_INT64 = -(2**63)
#: The value of a missing scalar id of dtype string.
MISSING_STRING = ""
#: The stored value of a label that was not observed.
MISSING_LABEL = -1.0

#: The input that carries the lengths of list feature NAME at serving.
LENGTHS_SUFFIX = "_length"

#: Names of role columns inside an Example.
WEIGHT_FEATURE = "example_weight"
GROUP_FEATURE = "group_key"
EVENT_TIME_FEATURE = "event_time"
REQUEST_ID_FEATURE = "request_id"
RESERVED_FEATURES = (
    WEIGHT_FEATURE,
    GROUP_FEATURE,
    EVENT_TIME_FEATURE,
    REQUEST_ID_FEATURE,
)

SPLITS = ("train", "validation", "test")

IdDtype = Literal["int64", "string"]


class IdFeature(Record):
    """A column of ids.

    Args:
        dtype: Type of the raw ids.
        is_list: Whether a row holds any number of ids instead of one.
        table: Name of the embedding table that the ids index.
        training_only: Whether the column is unknown at serving (a position
            in a result list); a serving signature then does not ask for it.
        serving_value: The constant that takes its place at serving; the
            missing id when None.
    """

    dtype: IdDtype
    is_list: bool = False
    table: str
    training_only: bool = False
    serving_value: int | str | None = None


class DenseFeature(Record):
    """A column of float32 numbers; NaN is missing.

    Args:
        training_only: As in `IdFeature`.
        serving_value: As in `IdFeature`; missing (NaN) when None.
    """

    training_only: bool = False
    serving_value: float | None = None


class NegativeSampling(Record):
    """Which rows were kept at a rate only.

    A probability p of a model trained on such rows is that of a log with
    fewer negatives; of the whole log it is p q / (1 - p + p q), with q the
    rate (He et al., "Practical Lessons from Predicting Clicks on Ads at
    Facebook", 2014, section 6.3).

    Args:
        labels: A row is a negative where none of these labels is 1.
        rate: The share of negatives that was kept, in (0, 1].
        splits: The splits that were sampled.

    Example:
    >>> NegativeSampling(labels=("click",), rate=0.1, splits=("train",)).undo(
    ...     np.array([0.0, 0.5, 1.0])
    ... ).round(4).tolist()
    [0.0, 0.0909, 1.0]
    """

    labels: tuple[str, ...]
    rate: float
    splits: tuple[str, ...]

    def undo(self, p: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Probabilities of the whole log, from those of a sampled one.

        It is for the one label that was sampled by: a row that is positive
        in another of several labels was always kept.

        Args:
            p: Probabilities that a model trained on the kept rows gives, of
                any shape; NaN stays NaN.

        Returns:
            float64, of the same shape: the exact numbers but for a few
            roundings, also next to 0 and 1.

        Raises:
            ValueError: A number is not in [0, 1].
        """
        values = np.asarray(p, np.float64)
        if np.any((values < 0) | (values > 1)):
            raise ValueError(
                "`p` must be probabilities, in [0, 1]. Received: values from "
                f"{np.nanmin(values)} to {np.nanmax(values)}. Apply the "
                "sigmoid to logits first."
            )
        # Sums of positive terms only: nothing cancels.
        kept = self.rate * values
        undone: npt.NDArray[np.float64] = kept / ((1.0 - values) + kept)
        return undone


class Schema(Record):
    """What a dataset's tf.train.Examples hold, by role.

    Args:
        version: Version of this format.
        id_features: Name to id column.
        dense_features: Name to dense column.
        labels: Objectives, stored as float32 0 or 1; an absent value is a
            label that was not observed (masked).
        weight: Whether examples carry a float32 feature `example_weight`.
        group: Id type of the feature `group_key`, None without one.
        event_time: Whether examples carry an int64 feature `event_time`, in
            seconds since 1970.
        request_id: Id type of the feature `request_id`, None without one.
        order: `shuffled`, or `time`: shards one after the other are in the
            order of `event_time`.
        format: `examples`, a record a row; or `packed`, a record for
            `rows_per_record` rows, a shard's last one for fewer.
        rows_per_record: Rows of a packed record; None for `examples`.
        negatives: How negatives were sampled; None where all were kept.

    Example:
    >>> item = IdFeature(dtype="int64", table="item")
    >>> cart = IdFeature(dtype="int64", table="item", is_list=True)
    >>> made = Schema(
    ...     id_features={"shown": item, "cart": cart}, labels=("click",)
    ... )
    >>> made.table_features()
    {'item': ['shown', 'cart']}
    """

    version: Literal[1] = 1
    id_features: dict[str, IdFeature]
    dense_features: dict[str, DenseFeature] = {}
    labels: tuple[str, ...]
    weight: bool = False
    group: IdDtype | None = None
    event_time: bool = False
    request_id: IdDtype | None = None
    order: Literal["shuffled", "time"] = "shuffled"
    format: Literal["examples", "packed"] = "examples"
    rows_per_record: int | None = None
    negatives: NegativeSampling | None = None

    def select(
        self,
        features: Iterable[str] | None = None,
        labels: Iterable[str] | None = None,
    ) -> "Schema":
        """The schema with some of its features and labels, in its order.

        Args:
            features: Their names; None for all.
            labels: Their names; None for all.

        Raises:
            InputError: A name is not in the schema.

        Example:
        >>> user = IdFeature(dtype="int64", table="user")
        >>> schema = Schema(id_features={"user": user}, labels=("buy", "click"))
        >>> schema.select(labels=["click"]).labels
        ('click',)
        """
        known = [*self.id_features, *self.dense_features]
        kept = set(_check_names("features", features, known))
        kept_labels = set(_check_names("labels", labels, self.labels))
        return self.model_copy(
            update={
                "id_features": {
                    k: v for k, v in self.id_features.items() if k in kept
                },
                "dense_features": {
                    k: v for k, v in self.dense_features.items() if k in kept
                },
                "labels": tuple(k for k in self.labels if k in kept_labels),
            }
        )

    def table_features(self) -> dict[str, list[str]]:
        """Table name to the names of the id features that index it."""
        tables: dict[str, list[str]] = {}
        for name, feature in self.id_features.items():
            tables.setdefault(feature.table, []).append(name)
        return tables

    def table_dtype(self, table: str) -> IdDtype:
        """The id dtype of a table.

        Raises:
            KeyError: No feature indexes `table`.
        """
        return self.id_features[self.table_features()[table][0]].dtype


def _check_names(
    kind: str, names: Iterable[str] | None, known: Sequence[str]
) -> list[str]:
    if names is None:
        return list(known)
    names = list(names)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(
            f"`{kind}` must name {kind} of the dataset, {sorted(known)}. "
            f"Received: {sorted(unknown)}."
        )
    return names
