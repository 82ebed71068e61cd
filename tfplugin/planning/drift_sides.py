"""One side of a comparison: counts of ids, quantiles, rates of labels."""

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tfplugin import artifacts
from tfplugin import schema as schema_lib
from tfplugin.errors import InputError
from tfplugin.planning import drift_quantiles


@dataclasses.dataclass(frozen=True)
class IdCounts:
    """How often each id of a table occurs.

    Args:
        ids: int64 or large_string, `(n,)`, unique.
        counts: float64 `(n,)`, positive.
    """

    ids: pa.Array
    counts: np.ndarray

    def with_other(
        self, other: "IdCounts"
    ) -> tuple[pa.Array, np.ndarray, np.ndarray]:
        """Both counts by the ids of the union, which come in no order.

        One hash table of this side's ids is built; nothing is sorted.

        Args:
            other: Of the same table.

        Returns:
            Ids `(n,)`; this side's and the other's counts, float64 `(n,)`,
            0 where an id does not occur.

        Example:
        >>> one = IdCounts(pa.array([7, 8]), np.array([1.0, 2.0]))
        >>> two = IdCounts(pa.array([9, 8]), np.array([3.0, 4.0]))
        >>> [part.tolist() for part in one.with_other(two)]
        [[7, 8, 9], [1.0, 2.0, 0.0], [0.0, 4.0, 3.0]]
        """
        places = pc.index_in(other.ids, value_set=self.ids)
        known = pc.is_valid(places).to_numpy(zero_copy_only=False)
        places = places.fill_null(0).to_numpy(zero_copy_only=False)
        shared = np.zeros(len(self.counts))
        shared[places[known]] = other.counts[known]
        new = other.counts[~known]
        ids = pa.concat_arrays([self.ids, other.ids.filter(pa.array(~known))])
        return (
            ids,
            np.concatenate([self.counts, np.zeros(len(new))]),
            np.concatenate([shared, new]),
        )


@dataclasses.dataclass(frozen=True)
class Column:
    """Numbers, or lengths of lists that are not empty.

    Args:
        numbers: Their quantiles; None when all are missing.
        missing: How many are missing, or empty lists, null ones included:
            Examples do not tell them apart. None if that is not known.
    """

    numbers: drift_quantiles.Numbers | None
    missing: int | None = 0


@dataclasses.dataclass(frozen=True)
class Side:
    """What is compared, whatever it was read from.

    Args:
        name: In words.
        rows: Its rows.
        schema: Names and types of its columns.
        read_ids: A table's counts, read when asked for.
        missing_ids: Table to the number of missing ids.
        dense: Dense feature to its numbers.
        lengths: List feature to its lengths; those that are known.
        labels: Label to what was observed.
        sampling: How its negatives were left out; None if all are there.
        served: Whether it is a sample of requests, not a dataset.
    """

    name: str
    rows: int
    schema: schema_lib.Schema
    read_ids: Callable[[str], IdCounts]
    missing_ids: dict[str, int]
    dense: dict[str, Column]
    lengths: dict[str, Column]
    labels: dict[str, schema_lib.LabelStatistics]
    sampling: schema_lib.NegativeSampling | None = None
    served: bool = False


def dataset_folder(path: pathlib.Path) -> artifacts.DatasetFolder:
    """The dataset of a work folder, or a dataset folder itself.

    Args:
        path: Either.

    Raises:
        InputError: There is no finished dataset.

    Example:
    >>> dataset_folder(pathlib.Path("absent"))
    Traceback (most recent call last):
    ...
    tfplugin.errors.InputError: A dataset must end in a file COMPLETED. ...
    """
    itself = artifacts.DatasetFolder(path)
    folder = (
        itself
        if itself.schema_json.is_file()
        else artifacts.WorkFolder(path).dataset
    )
    folder.require_completed()
    return folder


def training_rows(folder: artifacts.DatasetFolder) -> Side:
    """The training rows of a dataset, from what preprocessing found.

    Ids are exact, numbers known by 101 quantiles. Reads no Example.

    Args:
        folder: A finished dataset.

    Raises:
        InputError: The dataset is unfinished or damaged, or has no training
            rows.
    """
    folder.require_completed()
    schema, statistics = folder.read_schema(), folder.read_statistics()
    rows = statistics.rows("train")
    require_rows(rows, f"the training split of {folder.path}")

    def read_ids(table: str) -> IdCounts:
        return read_frequencies(folder, table, statistics.tables[table])

    return Side(
        name=f"train of {folder.path}",
        rows=rows,
        schema=schema,
        read_ids=read_ids,
        missing_ids={n: t.missing for n, t in statistics.tables.items()},
        dense={
            name: Column(
                drift_quantiles.Numbers.stored(found.count, found.quantiles)
                if found.count
                else None,
                found.missing,
            )
            for name, found in statistics.dense.items()
        },
        lengths={
            name: _lengths(name, schema, statistics)
            for name, column in statistics.columns.items()
            if column.length_quantiles
        },
        labels=dict(statistics.labels),
        sampling=sampling(schema, "train"),
    )


def _lengths(
    name: str, schema: schema_lib.Schema, statistics: schema_lib.Statistics
) -> Column:
    table = schema.id_features[name].table
    empty = statistics.tables[table].empty_lists
    # Empty lists are counted by table, and several features may share it.
    alone = len(schema.table_features()[table]) == 1
    quantiles = statistics.columns[name].length_quantiles
    lengths = [length for length in quantiles if length > 0]
    count = max(statistics.rows("train") - (empty if alone else 0), 1)
    return Column(
        drift_quantiles.Numbers.stored(count, lengths) if lengths else None,
        empty if alone else None,
    )


def sampling(
    schema: schema_lib.Schema, split: str
) -> schema_lib.NegativeSampling | None:
    """How negatives of a split were left out; None if they were not."""
    found = schema.negatives
    if found is None or split not in found.splits or found.rate == 1.0:
        return None
    return found.model_copy(update={"splits": ()})


def require_rows(rows: int, where: str) -> None:
    """Refuses a side without rows.

    Args:
        rows: Their number.
        where: What they are of, in words.

    Raises:
        InputError: There are none.

    Example:
    >>> require_rows(0, "the sample a.jsonl")
    Traceback (most recent call last):
    ...
    tfplugin.errors.InputError: Both sides of a comparison must have rows. ...
    """
    if not rows:
        raise InputError(
            "Both sides of a comparison must have rows. Received: "
            f"{where}, which has none. Name another one."
        )


def read_frequencies(
    folder: artifacts.DatasetFolder,
    table: str,
    found: schema_lib.TableStatistics,
) -> IdCounts:
    """A table's counts, from the files that `statistics.json` lists.

    Args:
        folder: The dataset.
        table: The table's name.
        found: What `statistics.json` says of it.

    Raises:
        InputError: A file is absent, damaged or not the one that is listed.
    """
    path = folder.id_frequencies(table)
    try:
        tables = [
            pq.read_table(path / file.name, columns=["id", "count"])
            for file in found.files
        ]
    except (pa.ArrowException, OSError, KeyError) as error:
        raise _damaged(path, " ".join(str(error).split())) from error
    if not tables:
        return IdCounts(pa.array([], pa.int64()), np.zeros(0))
    merged = pa.concat_tables(tables)
    if len(merged) != found.ids:
        raise _damaged(path, f"{len(merged)} ids for {found.ids}")
    return IdCounts(
        _one_array(merged["id"]),
        np.asarray(merged["count"].to_numpy(), np.float64),
    )


def _damaged(path: pathlib.Path, reason: str) -> InputError:
    return InputError(
        "Id frequencies must be the Parquet files that statistics.json lists. "
        f"Received: {path} ({reason}). Run `tfplugin preprocess --overwrite`."
    )


def _one_array(ids: pa.ChunkedArray) -> pa.Array:
    """One array; strings with 64-bit offsets, which hold more than 2 GiB."""
    if not pa.types.is_integer(ids.type):
        ids = ids.cast(pa.large_string())
    whole = ids.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        return pa.concat_arrays(whole.chunks)
    return whole
