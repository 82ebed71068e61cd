"""Statistics of training rows as they are added, stored and merged."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs import conversions
from beam_jobs import row_hash
from beam_jobs.roles.columns import ExampleBatch
from beam_jobs.summaries import state_bytes
from beam_jobs.summaries import value_summary
from beam_jobs.summaries.id_summary import IdSummary
from tfplugin import schema as schemas
from tfplugin.errors import InputError

#: Of the keys that decide which ids are kept.
_SEED = 0


class State:
    """All that the statistics of columns are made of, in bounded memory.

    Its numbers do not depend on how the rows were divided into batches and
    among workers, nor on the order in which states are merged: counts,
    extremes and sums are exact, and sketches keep what a hash selects.

    | number | error |
    |---|---|
    | labels, missing, empty lists, extremes | none |
    | mean, standard deviation | rounded once to float64 |
    | log1p moments | of logarithms rounded to float32 |
    | quantiles of dense features | each 2^-11 of itself |
    | quantiles of list lengths | none up to 4095, then as above |
    | distinct ids | `DistinctIds`: 1.1 % standard error, none up to 8192 |
    | frequent ids | `HeavyHitters`: 0.033 % of all ids, with 98.2 % |

    Quantiles are not those of Apache DataSketches: its KLL, REQ and classic
    sketches draw random bits that Python cannot seed, so that the same log
    would be described differently each time, and its t-digest has no bound.

    Args:
        schema: The columns.
        sketches: Whether to keep sketches of ids.

    Attributes:
        rows: Training rows that were added.
        labels: Label to (observed, positive) rows.
        dense: Dense feature to its statistics.
        missing: Table to missing ids, in scalar features and inside lists.
        empty_lists: Table to rows with an empty list.
        ids: Id feature to its sketches; empty without sketches.

    Example:
    >>> click = schemas.Schema(
    ...     id_features={"user": schemas.IdFeature(dtype="string", table="u")},
    ...     labels=("click",),
    ... )
    >>> first, second = State(click), State(click)
    >>> merged = merge_states(first, State.from_bytes(second.to_bytes()))
    >>> merged.rows, merged.ids["user"].to_record().distinct
    (0, 0.0)
    """

    def __init__(self, schema: schemas.Schema, sketches: bool = True) -> None:
        self.schema = schema
        self.sketches = sketches
        self.rows = 0
        self.labels = dict.fromkeys(schema.labels, (0, 0))
        self.dense = {
            name: value_summary.DenseSummary() for name in schema.dense_features
        }
        self.missing = dict.fromkeys(schema.table_features(), 0)
        self.empty_lists = dict.fromkeys(schema.table_features(), 0)
        self.ids = {
            name: IdSummary(feature)
            for name, feature in schema.id_features.items()
            if sketches
        }

    def add(self, batch: ExampleBatch) -> None:
        """Adds training rows."""
        rows = batch.rows
        self.rows += rows.num_rows
        for name, (seen, hits) in self.labels.items():
            column = rows.column(name)
            positives = pc.sum(pc.equal(column, 1.0)).as_py() or 0
            seen += len(column) - column.null_count
            self.labels[name] = (seen, hits + int(positives))
        for name, part in self.dense.items():
            column = rows.column(name)
            part.add(column.drop_null().to_numpy(), column.null_count)
        for name, feature in self.schema.id_features.items():
            missing, empty = _count_missing(rows.column(name))
            self.missing[feature.table] += missing
            self.empty_lists[feature.table] += empty
        if self.ids:
            keys = row_hash.row_keys(
                file=batch.file,
                positions=batch.positions,
                occurrences=batch.occurrences,
                seed=_SEED,
            )
            for name, summary in self.ids.items():
                summary.add(rows.column(name), keys)

    def merge(self, other: "State") -> None:
        """Adds the rows of another.

        Raises:
            InputError: The other is of other columns.
        """
        if (self.columns(), self.sketches) != (
            other.columns(),
            other.sketches,
        ):
            raise InputError(
                "Statistics that are added up must be of the same columns, "
                "all with sketches or all without (`dataset.sketches`). "
                f"Received: {self.columns()} and {other.columns()}. Keep "
                "the configuration of the first log, or preprocess all logs "
                "together."
            )
        self.rows += other.rows
        for name, (seen, hits) in other.labels.items():
            mine = self.labels[name]
            self.labels[name] = (mine[0] + seen, mine[1] + hits)
        for name, dense in other.dense.items():
            self.dense[name].merge(dense)
        for table in self.missing:
            self.missing[table] += other.missing[table]
            self.empty_lists[table] += other.empty_lists[table]
        for name, ids in other.ids.items():
            self.ids[name].merge(ids)

    def decay(self, factor: float) -> None:
        """Lets occurrences of ids count less; see `merge_states`."""
        for summary in self.ids.values():
            summary.decay(factor)

    def to_bytes(self) -> bytes:
        """The state as bytes, with a version and a checksum."""
        header: dict[str, Any] = {
            "schema": self.schema.model_dump(mode="json"),
            "sketches": self.sketches,
            "rows": self.rows,
            "labels": self.labels,
            "missing": self.missing,
            "empty_lists": self.empty_lists,
            "dense": {},
        }
        arrays: dict[str, npt.NDArray[Any]] = {}
        for index, (name, part) in enumerate(self.dense.items()):
            header["dense"][name] = part.numbers()
            for key, array in part.buckets.histogram().arrays().items():
                arrays[f"dense/{index}/{key}"] = array
        for index, summary in enumerate(self.ids.values()):
            for key, array in summary.arrays().items():
                arrays[f"ids/{index}/{key}"] = array
        return state_bytes.pack(header, arrays)

    @classmethod
    def from_bytes(cls, data: bytes, source: str = "sketches") -> "State":
        """The inverse of `to_bytes`.

        Args:
            data: The bytes.
            source: Where they are from, for messages.

        Raises:
            InputError: They are damaged, or of an unknown version.
        """
        header, arrays = state_bytes.unpack(data, source)
        parts: dict[tuple[str, int], dict[str, npt.NDArray[Any]]] = {}
        for path, array in arrays.items():
            kind, index, key = path.split("/")
            parts.setdefault((kind, int(index)), {})[key] = array
        schema = schemas.Schema.model_validate(header["schema"])
        made = cls(schema, sketches=header["sketches"])
        made.rows = header["rows"]
        made.labels = {
            name: (seen, hits)
            for name, (seen, hits) in header["labels"].items()
        }
        made.missing = header["missing"]
        made.empty_lists = header["empty_lists"]
        for number, name in enumerate(made.dense):
            made.dense[name] = value_summary.DenseSummary.from_numbers(
                header["dense"][name], parts["dense", number]
            )
        for number, name in enumerate(made.ids):
            made.ids[name] = IdSummary.from_arrays(
                schema.id_features[name], parts["ids", number]
            )
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        # Sketches of DataSketches cannot be pickled, as Beam would.
        return State.from_bytes, (self.to_bytes(),)

    def columns(self) -> dict[str, str]:
        """Name to kind of each column, in words."""
        ids = {
            name: f"{'list of ' * feature.is_list}{feature.dtype} ids of "
            f"{feature.table}"
            for name, feature in self.schema.id_features.items()
        }
        return {
            **ids,
            **dict.fromkeys(self.schema.dense_features, "dense"),
            **dict.fromkeys(self.schema.labels, "label"),
        }


def merge_states(old: State, new: State, factor: float = 1.0) -> State:
    """The state of the rows of both, as if they had been read together.

    Args:
        old: Of the rows of a dataset.
        new: Of rows to add.
        factor: What an old occurrence of an id still counts, in (0, 1]: with
            a half-life h and a gap of d days, 2^(-d / h). It acts on what
            id frequencies hold, so on `values` and heavy hitters of columns.
            Labels, dense columns, missing ids, distinct ids and lengths are
            of all rows that training reads, old ones too, and do not decay.

    Raises:
        InputError: They are of different columns.
        ValueError: `factor` is not in (0, 1].

    Example: See `State`.
    """
    if not 0 < factor <= 1:
        raise ValueError(f"`factor` must be in (0, 1]. Received: {factor}.")
    merged = State.from_bytes(old.to_bytes())
    if factor != 1:
        merged.decay(factor)
    merged.merge(new)
    return merged


def _count_missing(column: pa.Array) -> tuple[int, int]:
    """Missing ids and empty lists of one feature."""
    if not conversions.is_list(column.type):
        return column.null_count, 0
    values = column.flatten()
    marker: int | str = schemas.MISSING_INT64
    if pa.types.is_string(values.type):
        marker = schemas.MISSING_STRING
    missing = pc.sum(pc.equal(values, marker)).as_py() or 0
    lengths = pc.list_value_length(column).fill_null(0).to_numpy()
    return int(missing), int(np.count_nonzero(lengths == 0))
