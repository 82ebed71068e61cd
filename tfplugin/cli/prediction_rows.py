"""Rows of a file, or of standard input, for `tfplugin predict`."""

import base64
import contextlib
import csv
import gzip
import itertools
import json
import pathlib
import sys
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import IO
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

from tfplugin.errors import InputError

if TYPE_CHECKING:
    import serving

FORMATS = ("jsonl", "csv", "parquet", "tfrecord")
STANDARD = "-"


class Row(NamedTuple):
    """One row of the input.

    Args:
        number: Its number, from 1; a CSV's header is none.
        raw: As it was read, for a file of refused rows.
        values: By column; None for a row that cannot be read.
        fault: Column and message, where it cannot be read.
    """

    number: int
    raw: Any
    values: Mapping[str, Any] | None
    fault: tuple[str, str] | None = None


def format_of(path: str, given: str | None) -> str:
    """The format of a file, by its name unless given.

    Raises:
        InputError: If the name does not tell, or standard input cannot hold
            the format.

    Example:
    >>> format_of("rows.csv.gz", None)
    'csv'
    """
    if given is not None and given not in FORMATS:
        raise InputError(
            f"--format must be one of {', '.join(FORMATS)}. Received: {given}."
        )
    if path == STANDARD:
        if given in ("parquet", "tfrecord"):
            raise InputError(
                f"Standard input must be jsonl or csv. Received: {given}. "
                "Name a file."
            )
        return given or "jsonl"
    suffix = pathlib.Path(path.removesuffix(".gz")).suffix.lstrip(".")
    found = given or {"json": "jsonl"}.get(suffix, suffix)
    if found not in FORMATS:
        raise InputError(
            f"The input's name must end in one of {', '.join(FORMATS)}, or "
            f"--format say which it is. Received: {path}."
        )
    return found


def read(
    path: str, kind: str, signature: "serving.ClientSignature"
) -> Iterator[Row]:
    r"""Reads rows one after the other.

    Args:
        path: A file; `-` for standard input.
        kind: One of `FORMATS`.
        signature: What the model takes; other columns are passed over.

    Yields:
        Rows, in order.

    Raises:
        InputError: If the file cannot be read or lacks a column.

    Example:
    >>> path = pathlib.Path("rows.jsonl")
    >>> _ = path.write_text('{"age": 18, "more": 0}\nnonsense\n')
    >>> import serving
    >>> age = serving.ClientTensorSpec("int64", (None,))
    >>> signature = serving.ClientSignature({"age": age}, {}, "")
    >>> good, bad = read(str(path), "jsonl", signature)
    >>> good.values, bad.number, bad.fault[1]
    ({'age': 18}, 2, 'must be a JSON object (Expecting value).')
    """
    if list(signature.columns) == ["inputs"] and kind != "tfrecord":
        raise InputError(
            "A Classify or Regress signature takes serialized Examples. "
            f"Received: {kind}. Name a TFRecord file, or another --signature."
        )
    readers = {
        "jsonl": _read_jsonl,
        "csv": _read_csv,
        "parquet": _read_parquet,
        "tfrecord": _read_tfrecord,
    }
    return readers[kind](path, signature)


def in_batches(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    """Groups rows.

    Example:
    >>> rows = [Row(n, None, {}) for n in (1, 2, 3)]
    >>> [len(batch) for batch in in_batches(rows, 2)]
    [2, 1]
    """
    rows = iter(rows)
    while batch := list(itertools.islice(rows, size)):
        yield batch


@contextlib.contextmanager
def _text(path: str) -> Iterator[IO[str]]:
    if path == STANDARD:
        yield sys.stdin
        return
    opened = gzip.open if path.endswith(".gz") else open
    try:
        with opened(path, "rt", encoding="utf-8", newline="") as file:
            yield file
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(
            f"The input must be a readable file in UTF-8. Received: {path} "
            f"({getattr(error, 'strerror', None) or error})."
        ) from error


def _read_jsonl(
    path: str, signature: "serving.ClientSignature"
) -> Iterator[Row]:
    columns = set(signature.columns)
    with _text(path) as file:
        for number, line in enumerate(file, 1):
            text = line.strip()
            if not text:
                yield Row(number, text, None, ("", "is empty."))
                continue
            try:
                values = json.loads(text)
            except (ValueError, RecursionError) as error:
                said = getattr(error, "msg", "nested too deep")
                fault = ("", f"must be a JSON object ({said}).")
                yield Row(number, text, None, fault)
                continue
            if not isinstance(values, dict):
                fault = ("", "must be a JSON object.")
                yield Row(number, text, None, fault)
            elif not columns & set(values):
                fault = ("", f"must have one of {', '.join(sorted(columns))}.")
                yield Row(number, values, None, fault)
            else:
                # An absent key is a missing value.
                kept = {name: values.get(name) for name in columns}
                yield Row(number, values, kept)


def _read_csv(path: str, signature: "serving.ClientSignature") -> Iterator[Row]:
    specs = signature.columns
    with _text(path) as file:
        rows = csv.reader(file, strict=True)
        header = next(rows, [])
        _require(path, header, specs)
        for number in itertools.count(1):
            try:
                cells = next(rows, None)
            except csv.Error as error:
                yield Row(number, None, None, ("", f"is no CSV ({error})."))
                continue
            if cells is None:
                return
            if len(cells) != len(header):
                yield Row(
                    number,
                    cells,
                    None,
                    ("", f"must have {len(header)} cells, has {len(cells)}."),
                )
                continue
            raw = dict(zip(header, cells, strict=True))
            lists = signature.list_columns
            yield Row(
                number,
                raw,
                {
                    name: _cell(raw[name], spec.dtype, name in lists)
                    for name, spec in specs.items()
                },
            )


def _read_parquet(
    path: str, signature: "serving.ClientSignature"
) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(
            f"The input must be a Parquet file. Received: {path} ({error})."
        ) from error
    with file:
        columns = list(signature.columns)
        _require(path, file.schema_arrow.names, columns)
        number = 0
        for batch in file.iter_batches(8192, columns=columns):
            for values in batch.to_pylist():
                number += 1
                yield Row(number, values, values)


def _read_tfrecord(
    path: str, signature: "serving.ClientSignature"
) -> Iterator[Row]:
    import tensorflow as tf

    if len(signature.inputs) != 1:
        raise InputError(
            "TFRecords must go to a signature with one input. Received: one "
            f"with {', '.join(sorted(signature.inputs))}. Pass --signature "
            "examples."
        )
    (name,) = signature.inputs
    compression = "GZIP" if path.endswith(".gz") else ""
    records = tf.data.TFRecordDataset(path, compression)
    try:
        for number, record in enumerate(records.as_numpy_iterator(), 1):
            raw = {"b64": base64.b64encode(record).decode()}
            yield Row(number, raw, {name: record})
    except tf.errors.OpError as error:
        raise InputError(
            f"The input must be a TFRecord file. Received: {path} "
            f"({error.message})."
        ) from error


def _require(path: str, there: Iterable[str], needed: Iterable[str]) -> None:
    absent = sorted(set(needed) - set(there))
    if absent:
        raise InputError(
            f"The input must have a column for {', '.join(absent)}. "
            f"Received: {path}. An empty column stands for missing values."
        )


def _cell(text: str, dtype: str, is_list: bool) -> Any:
    if text == "":
        return None
    if is_list:
        try:
            return json.loads(text)
        except ValueError:
            # Refused where values are checked, with its column.
            return text
    if dtype == "string":
        return text
    if dtype == "bool":
        return {"true": True, "false": False}.get(text.lower(), text)
    try:
        return float(text) if "float" in dtype else int(text)
    except ValueError:
        return text
