"""Requests as TF Serving takes them, in JSON lines, as one side."""

import base64
import gzip
import itertools
import json
import math
import pathlib
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import IO
from typing import Any

import numpy as np
import pyarrow as pa

from tfplugin import schema as schema_lib
from tfplugin.errors import InputError
from tfplugin.planning import drift_counting
from tfplugin.planning import drift_sides

_BATCH = 4096
_GZIP = b"\x1f\x8b"
_INT64 = 2**63

Instance = tuple[str, dict[str, Any]]


def read(
    paths: Sequence[pathlib.Path], schema: schema_lib.Schema
) -> drift_sides.Side:
    """Reads requests.

    A line is `{"instances": [...]}`, TF Serving's row form, or one instance:
    a JSON object with a value a feature. A list is given whole, or padded
    beside its NAME_length. What an instance lacks, null, `""` and NaN are
    missing; a label may be in it; other keys are left alone.

    Args:
        paths: Files of JSON lines, plain or gzip.
        schema: Of the dataset whose model is served.

    Returns:
        The side.

    Raises:
        InputError: A file is absent or empty, or a line is no such request.

    Example:
    >>> import tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "requests.jsonl")
    >>> _ = path.write_text('{"instances": [{"user": 7}, {"user": 8}]}')
    >>> user = schema_lib.IdFeature(dtype="int64", table="user")
    >>> schema = schema_lib.Schema(id_features={"user": user}, labels=("buy",))
    >>> read([path], schema).rows
    2
    """
    seen: set[str] = set()
    counter = drift_counting.SideCounter(schema)
    instances = itertools.chain.from_iterable(map(_instances, paths))
    for batch in _batches(instances):
        _count(counter, schema, batch)
        seen.update(*(instance for _, instance in batch))
    name = f"requests in {_files(paths)}"
    side = counter.side(name, served=True)
    known = {*schema.id_features, *schema.dense_features}
    if not known & seen:
        raise InputError(
            f"Requests must hold features of the dataset, {sorted(known)}. "
            f"Received: {name}, with {sorted(seen)[:10]}. Name the files of "
            "requests to this model."
        )
    return side


def _files(paths: Sequence[pathlib.Path]) -> str:
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{paths[0]}{more}"


def _batches(instances: Iterable[Instance]) -> Iterator[list[Instance]]:
    instances = iter(instances)
    while batch := list(itertools.islice(instances, _BATCH)):
        yield batch


def _instances(path: pathlib.Path) -> Iterator[Instance]:
    """Every instance, with the file and line that an error names."""
    try:
        with _open(path) as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                where = f"{path}, line {number}"
                for instance in _of_line(line, where):
                    yield where, instance
    except (OSError, EOFError) as error:
        raise InputError(
            f"A sample must be a readable file. Received: {path} ({error}). "
            "Name another --sample."
        ) from error


def _open(path: pathlib.Path) -> IO[bytes] | gzip.GzipFile:
    with path.open("rb") as file:
        compressed = file.read(2) == _GZIP
    return gzip.open(path) if compressed else path.open("rb")


def _of_line(line: bytes, where: str) -> list[dict[str, Any]]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise InputError(
            f"A line of a sample must be JSON. Received: {where}: {error}. "
            "Write one request, or one instance, a line."
        ) from error
    instances = [value]
    if isinstance(value, dict) and "instances" in value:
        instances = value["instances"]
    if not isinstance(instances, list) or not all(
        isinstance(instance, dict) for instance in instances
    ):
        raise InputError(
            'A line of a sample must be {"instances": [...]} or one instance, '
            f"a value a feature. Received: {where}. Write TF Serving's row "
            "form."
        )
    return instances


def _count(
    counter: drift_counting.SideCounter,
    schema: schema_lib.Schema,
    batch: list[Instance],
) -> None:
    counter.add_rows(len(batch))
    for name, feature in schema.id_features.items():
        kind = pa.int64() if feature.dtype == "int64" else pa.large_string()
        check = _integer if feature.dtype == "int64" else _text
        if feature.is_list:
            lists = [_list(row, name, where) for where, row in batch]
            lengths = np.array([len(ids) for ids in lists], np.int64)
            wheres = (where for where, _ in batch)
            ids = [
                check(value, name, where)
                for where, row in zip(wheres, lists, strict=True)
                for value in row
            ]
            counter.add_ids(name, pa.array(ids, kind), lengths)
        else:
            ids = [check(row.get(name), name, where) for where, row in batch]
            counter.add_ids(name, pa.array(ids, kind))
    for name in schema.dense_features:
        numbers = [_number(row.get(name), name, where) for where, row in batch]
        counter.add_numbers(name, np.array(numbers, np.float64))
    for name in schema.labels:
        labels = [_number(row.get(name), name, where) for where, row in batch]
        counter.add_labels(name, np.array(labels, np.float64))


def _list(row: dict[str, Any], name: str, where: str) -> list[Any]:
    value = row.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise _refused(value, name, where, "a list")
    length = row.get(name + schema_lib.LENGTHS_SUFFIX, len(value))
    if not isinstance(length, int) or not 0 <= length <= len(value):
        raise _refused(
            length, name + schema_lib.LENGTHS_SUFFIX, where, "its list's length"
        )
    return value[:length]


def _integer(value: Any, name: str, where: str) -> int | None:
    if value is None:
        return None
    wrong = isinstance(value, bool) or not isinstance(value, int)
    if wrong or not -_INT64 <= value < _INT64:
        raise _refused(value, name, where, "an int64")
    return int(value)


def _text(value: Any, name: str, where: str) -> str | None:
    if isinstance(value, dict) and isinstance(value.get("b64"), str):
        try:
            return base64.b64decode(value["b64"], validate=True).decode()
        except ValueError as error:
            raise _refused(value, name, where, "UTF-8 in base64") from error
    if value is None or isinstance(value, str):
        return value
    raise _refused(value, name, where, "a string")


def _number(value: Any, name: str, where: str) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refused(value, name, where, "a number")
    return float(value)


def _refused(value: Any, name: str, where: str, wanted: str) -> InputError:
    return InputError(
        f"A value of `{name}` must be {wanted}. Received: {value!r} in "
        f"{where}. Send what the model's signature takes."
    )
