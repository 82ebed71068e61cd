"""Counts of ids, numbers and labels, batch by batch: a `Side` of raw values."""

import collections

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfplugin import schema as schema_lib
from tfplugin.errors import InputError
from tfplugin.planning import drift_quantiles
from tfplugin.planning import drift_sides

# Ids that wait to be merged into the counts, at least.
_PENDING = 1 << 20


class _IdCounter:
    """Counts ids; holds the distinct ones and a few that wait."""

    def __init__(self, dtype: schema_lib.IdDtype) -> None:
        self._type = pa.int64() if dtype == "int64" else pa.large_string()
        self._parts: list[pa.Table] = []
        self._waiting = 0
        self._merged = 0
        self.missing = 0

    def add(self, ids: pa.Array) -> None:
        """Counts ids, missing ones apart."""
        ids = ids.cast(self._type)
        marker = (
            schema_lib.MISSING_INT64
            if pa.types.is_integer(self._type)
            else schema_lib.MISSING_STRING
        )
        there = ids.filter(pc.fill_null(pc.not_equal(ids, marker), False))
        self.missing += len(ids) - len(there)
        found = pc.value_counts(there)
        self._parts.append(
            pa.table({"id": found.field(0), "count": found.field(1)})
        )
        self._waiting += len(found)
        if self._waiting > self._merged + _PENDING:
            self._merge()

    def counts(self) -> drift_sides.IdCounts:
        """The counts so far."""
        self._merge()
        ids = self._parts[0]["id"].combine_chunks()
        if isinstance(ids, pa.ChunkedArray):
            ids = pa.concat_arrays([pa.array([], self._type), *ids.chunks])
        counts = self._parts[0]["count"].to_numpy()
        return drift_sides.IdCounts(ids, np.asarray(counts, np.float64))

    def _merge(self) -> None:
        empty = pa.table(
            {"id": pa.array([], self._type), "count": pa.array([], pa.int64())}
        )
        whole = pa.concat_tables([empty, *self._parts])
        grouped = whole.group_by("id").aggregate([("count", "sum")])
        self._parts = [
            pa.table({"id": grouped["id"], "count": grouped["count_sum"]})
        ]
        self._merged, self._waiting = len(grouped), 0


class SideCounter:
    """Adds up rows, column by column, into a `Side`.

    Args:
        schema: Names and types of the columns.

    Example:
    >>> user = schema_lib.IdFeature(dtype="int64", table="user")
    >>> schema = schema_lib.Schema(id_features={"user": user}, labels=("buy",))
    >>> counter = SideCounter(schema)
    >>> counter.add_rows(3)
    >>> counter.add_ids("user", pa.array([7, 7, None]))
    >>> side = counter.side("three rows")
    >>> side.read_ids("user").counts.tolist(), side.missing_ids
    ([2.0], {'user': 1})
    """

    def __init__(self, schema: schema_lib.Schema) -> None:
        self._schema = schema
        self._rows = 0
        self._ids = {
            table: _IdCounter(schema.table_dtype(table))
            for table in schema.table_features()
        }
        self._numbers = collections.defaultdict[str, list[np.ndarray]](list)
        self._lengths = collections.defaultdict[str, list[np.ndarray]](list)
        self._labels = {label: [0, 0] for label in schema.labels}

    def add_rows(self, rows: int) -> None:
        """Counts rows, whose columns are added one by one."""
        self._rows += rows

    def add_ids(
        self, name: str, ids: pa.Array, lengths: np.ndarray | None = None
    ) -> None:
        """Counts ids of a feature.

        Args:
            name: The feature.
            ids: int64 or string, `(n,)`; null, -2^63 and `''` are missing.
            lengths: Of a list feature: ids of each row.
        """
        self._ids[self._schema.id_features[name].table].add(ids)
        if lengths is not None:
            self._lengths[name].append(
                np.where(lengths > 0, np.float32(lengths), np.float32(np.nan))
            )

    def add_numbers(self, name: str, values: np.ndarray) -> None:
        """Keeps numbers of a dense feature, `(n,)`; NaN is missing."""
        self._numbers[name].append(np.asarray(values, np.float32))

    def add_labels(self, name: str, values: np.ndarray) -> None:
        """Counts labels, `(n,)`: 0, 1, or NaN where not observed."""
        observed = ~np.isnan(values)
        self._labels[name][0] += int(observed.sum())
        self._labels[name][1] += int((values[observed] == 1).sum())

    def side(
        self,
        name: str,
        sampling: schema_lib.NegativeSampling | None = None,
        *,
        served: bool = False,
    ) -> drift_sides.Side:
        """What was added.

        Args:
            name: In words.
            sampling: How negatives were left out.
            served: Whether these are requests.

        Raises:
            InputError: No row was added.
        """
        drift_sides.require_rows(self._rows, name)
        counters = self._ids
        return drift_sides.Side(
            name=name,
            rows=self._rows,
            schema=self._schema,
            read_ids=lambda table: counters[table].counts(),
            missing_ids={t: counter.missing for t, counter in counters.items()},
            dense={
                feature: _column(self._numbers[feature])
                for feature in self._schema.dense_features
            },
            lengths={n: _column(parts) for n, parts in self._lengths.items()},
            labels={
                label: schema_lib.LabelStatistics(
                    observed=observed, positives=positives
                )
                for label, (observed, positives) in self._labels.items()
            },
            sampling=sampling,
            served=served,
        )


def _column(parts: list[np.ndarray]) -> drift_sides.Column:
    values = np.concatenate([np.zeros(0, np.float32), *parts])
    there = values[~np.isnan(values)]
    return drift_sides.Column(
        drift_quantiles.Numbers.of(there) if len(there) else None,
        len(values) - len(there),
    )


def strings(values: np.ndarray, name: str) -> pa.Array:
    """Bytes as an Arrow array of text.

    Args:
        values: bytes, object `(n,)`.
        name: The feature, for the error.

    Raises:
        InputError: An id is not UTF-8.

    Example:
    >>> strings(np.array([b"Bern"], object), "city").to_pylist()
    ['Bern']
    """
    try:
        return pa.array(values, pa.large_binary()).cast(pa.large_string())
    except pa.ArrowInvalid as error:
        raise InputError(
            f"Ids of a string feature must be UTF-8. Received: {name}: "
            f"{error}. Encode them before they are served."
        ) from error
