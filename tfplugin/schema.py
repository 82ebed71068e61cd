"""Names, dtypes and roles of a dataset's columns: `schema.json`.

Written once by preprocessing; read by the parser, the model and the export.
Loads neither TensorFlow nor Beam.
"""

import pathlib
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Literal
from typing import TypeVar

import pydantic

from tfplugin.errors import InputError

#: The value of a missing scalar id; every other int64 is a legal id.
MISSING_INT64 = -(2**63)
#: The value of a missing scalar id of dtype string.
MISSING_STRING = ""
#: The stored value of a label that was not observed.
MISSING_LABEL = -1.0

#: The input that carries the lengths of list feature NAME at serving.
LENGTHS_SUFFIX = "_length"

SPLITS = ("train", "validation", "test")

IdDtype = Literal["int64", "string"]


class _Record(pydantic.BaseModel):
    """A frozen JSON record that refuses unknown keys."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class IdFeature(_Record):
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


class DenseFeature(_Record):
    """A column of float32 numbers; NaN is missing.

    Args:
        training_only: As in `IdFeature`.
        serving_value: As in `IdFeature`; missing (NaN) when None.
    """

    training_only: bool = False
    serving_value: float | None = None


class Schema(_Record):
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


class Shard(_Record):
    """One file of several: TFRecords of a split, or a table's frequencies.

    Args:
        name: File name inside its folder.
        rows: Number of Examples, or of ids.
        bytes: File size.
        crc32c: CRC-32C of the whole file.
    """

    name: str
    rows: int
    bytes: int
    crc32c: int


class LabelStatistics(_Record):
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


class DenseStatistics(_Record):
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


class TableStatistics(_Record):
    """Ids of one table over training rows.

    Args:
        ids: Distinct ids.
        occurrences: Sum of their counts.
        ids_seen_once: Ids with count 1.
        missing: Missing values in scalar features and inside lists.
        empty_lists: Rows whose list is null or empty.
        files: The Parquet files of its frequencies, `rows` being ids.
    """

    ids: int
    occurrences: int
    ids_seen_once: int
    missing: int
    empty_lists: int
    files: tuple[Shard, ...] = ()


class SourceFile(_Record):
    """One input file as it was read.

    Args:
        path: Where it was.
        bytes: Its size.
        crc32c: CRC-32C of its bytes as stored (compressed, if it was).
    """

    path: str
    bytes: int
    crc32c: int


class Statistics(_Record):
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

    def rows(self, split: str) -> int:
        """Number of rows of a split."""
        return sum(shard.rows for shard in self.shards[split])


RecordT = TypeVar("RecordT", bound=_Record)


def read_record(path: pathlib.Path, kind: type[RecordT]) -> RecordT:
    """Reads a JSON record.

    Args:
        path: Its file.
        kind: `Schema` or `Statistics`.

    Raises:
        InputError: The file is absent or does not hold such a record.

    Example:
    >>> import tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "label.json")
    >>> write_record(path, LabelStatistics(observed=4, positives=1))
    >>> read_record(path, LabelStatistics).positive_rate
    0.25
    """
    try:
        return kind.model_validate_json(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"A dataset needs its {path.name}. Received: {path}, which does "
            "not exist. Run `tfplugin preprocess` again."
        ) from error
    except (pydantic.ValidationError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} must hold a {kind.__name__} as `tfplugin preprocess` "
            f"writes it. Received: {str(error).splitlines()[0]}. "
            "Run `tfplugin preprocess --overwrite`."
        ) from error


def write_record(path: pathlib.Path, record: _Record) -> None:
    """Writes a JSON record under a temporary name, then renames it.

    Example: See `read_record`.
    """
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(record.model_dump_json(indent=1) + "\n", "utf-8")
    temporary.replace(path)
