"""How far apart two datasets are, or a dataset and what a model is asked."""

import pathlib
from collections.abc import Iterator
from collections.abc import Sequence

from tfplugin import config as config_lib
from tfplugin import schema as schema_lib
from tfplugin.errors import InputError
from tfplugin.planning import drift_columns
from tfplugin.planning import drift_requests
from tfplugin.planning import drift_sides
from tfplugin.schema import drift as records

_TFRECORD = (".tfrecord", ".tfrecord.gz", ".tfrecords", ".tfrecords.gz")


def read_split(path: pathlib.Path, split: str = "train") -> drift_sides.Side:
    """A split of a dataset, to be compared.

    Training rows are known by what preprocessing found, at no cost; of other
    splits the Examples are read, which loads TensorFlow.

    Args:
        path: A work folder or a dataset folder.
        split: `train`, `validation` or `test`.

    Raises:
        InputError: There is no finished dataset, or the split has no rows.
    """
    folder = drift_sides.dataset_folder(path)
    if split == "train":
        return drift_sides.training_rows(folder)
    from tfplugin.planning import drift_examples

    return drift_examples.split(folder, split)


def read_sample(
    paths: Sequence[pathlib.Path], schema: schema_lib.Schema
) -> drift_sides.Side:
    """What a model was asked, to be compared.

    Args:
        paths: Files of JSON lines (see `drift_requests.read`) or TFRecords of
            tf.train.Example, which their names end in; or one folder of
            either.
        schema: Of the dataset whose model was asked.

    Raises:
        InputError: There is no such file, or it holds something else.
    """
    files = [file for path in paths for file in _files_of(path)]
    examples = [file for file in files if file.name.endswith(_TFRECORD)]
    if not examples:
        return drift_requests.read(files, schema)
    if len(examples) != len(files):
        raise InputError(
            "A sample must be JSON lines or TFRecords. Received: both, "
            f"{examples[0]} among {len(files)} files. Name one kind."
        )
    from tfplugin.planning import drift_examples

    return drift_examples.served(files, schema)


def compare(
    baseline: drift_sides.Side,
    current: drift_sides.Side,
    limits: config_lib.DriftConfig,
) -> records.Drift:
    """Compares two sides, column by column.

    Two tables at a time are in memory, never all of them.

    Args:
        baseline: What is taken as given.
        current: What is compared with it.
        limits: What may differ by how much.

    Returns:
        Every column's measures, and which limits are crossed.

    Raises:
        InputError: The sides have different columns.
    """
    _require_same_columns(baseline, current)
    notes: list[str] = []
    columns = [
        *_tables(baseline, current, limits, notes),
        *_numbers(baseline, current, limits, notes),
        *_labels(baseline, current, limits, notes),
    ]
    return records.Drift(
        baseline=records.DriftSide(name=baseline.name, rows=baseline.rows),
        current=records.DriftSide(name=current.name, rows=current.rows),
        notes=tuple(notes),
        columns=tuple(columns),
    )


def _files_of(path: pathlib.Path) -> list[pathlib.Path]:
    if path.is_dir():
        files = sorted(
            file
            for file in path.rglob("*")
            if file.is_file() and not file.name.startswith((".", "_"))
        )
    else:
        files = [path] if path.is_file() else []
    if not files:
        raise InputError(
            "A sample must be a file, or a folder of files. Received: "
            f"{path}, which is neither. Name another --sample."
        )
    return files


def _require_same_columns(
    baseline: drift_sides.Side, current: drift_sides.Side
) -> None:
    one, two = _columns(baseline.schema), _columns(current.schema)
    for name in [*one, *two]:
        first, second = one.get(name, "absent"), two.get(name, "absent")
        if first != second:
            raise InputError(
                "Both sides of a comparison must have the same columns. "
                f"Received: {name}, which is {first} in {baseline.name} and "
                f"{second} in {current.name}. Compare datasets of one "
                "configuration."
            )


def _columns(schema: schema_lib.Schema) -> dict[str, str]:
    """What must be equal of each column, in words."""
    return (
        {
            name: f"{'a list of ids' if feature.is_list else 'an id'} of dtype "
            f"{feature.dtype} and table {feature.table}"
            for name, feature in schema.id_features.items()
        }
        | dict.fromkeys(schema.dense_features, "dense")
        | dict.fromkeys(schema.labels, "a label")
    )


def _tables(
    baseline: drift_sides.Side,
    current: drift_sides.Side,
    limits: config_lib.DriftConfig,
    notes: list[str],
) -> Iterator[records.DriftColumn]:
    for table, features in baseline.schema.table_features().items():
        column = drift_columns.ids(
            table, baseline, current, limits.limits(table)
        )
        hidden = all(
            baseline.schema.id_features[name].training_only for name in features
        )
        if current.served and hidden and not column.current.values:
            notes.append(f"{table} is not known at serving.")
            continue
        yield column


def _numbers(
    baseline: drift_sides.Side,
    current: drift_sides.Side,
    limits: config_lib.DriftConfig,
    notes: list[str],
) -> Iterator[records.DriftColumn]:
    for name, feature in baseline.schema.id_features.items():
        if not feature.is_list:
            continue
        # A feature that shares a table has limits of its own by its name.
        one, two = baseline.lengths.get(name), current.lengths.get(name)
        if one is None or two is None:
            notes.append(
                f"Lengths of {name} are not known of both sides: a dataset "
                "keeps them with dataset.sketches: true."
            )
            continue
        yield drift_columns.numbers(
            name, "lengths", one, two, limits.limits(name)
        )
    for name, dense in baseline.schema.dense_features.items():
        column = drift_columns.numbers(
            name,
            "numbers",
            baseline.dense[name],
            current.dense[name],
            limits.limits(name),
        )
        hidden = dense.training_only and not column.current.values
        if current.served and hidden:
            notes.append(f"{name} is not known at serving.")
            continue
        yield column


def _labels(
    baseline: drift_sides.Side,
    current: drift_sides.Side,
    limits: config_lib.DriftConfig,
    notes: list[str],
) -> Iterator[records.DriftColumn]:
    if baseline.sampling != current.sampling:
        notes.append(
            "Rates of labels are not compared: negatives were sampled "
            "differently. Ids and numbers are compared as they are stored."
        )
        return
    for name, found in baseline.labels.items():
        other = current.labels[name]
        if current.served and not other.observed:
            notes.append(f"{name} is not in the sample.")
            continue
        yield drift_columns.label(name, found, other, limits.limits(name))
