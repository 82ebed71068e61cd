"""Answers of `tfplugin predict`, a row each: JSON lines, CSV or Parquet."""

import base64
import csv
import json
import math
import os
import pathlib
import sys
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from typing import IO
from typing import TYPE_CHECKING
from typing import Any
from typing import Protocol

from tfplugin.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    import serving

_FORMATS = ("jsonl", "csv", "parquet")
STANDARD = "-"


class Writer(Protocol):
    """Takes answers, in order."""

    def write(self, answers: Sequence[Mapping[str, Any]]) -> None:
        """Writes a row each; an output that is None was not answered."""


def format_of(path: str) -> str:
    """The format of the output, by its name.

    Raises:
        InputError: For another ending.

    Example:
    >>> format_of("scores.parquet"), format_of("-")
    ('parquet', 'jsonl')
    """
    if path == STANDARD:
        return "jsonl"
    found = pathlib.Path(path).suffix.lstrip(".")
    if found not in _FORMATS:
        raise InputError(
            "--output must be - or end in one of "
            f"{', '.join('.' + name for name in _FORMATS)}. Received: {path}."
        )
    return found


@contextmanager
def writing(
    path: str, signature: "serving.ClientSignature"
) -> Iterator[Writer]:
    """Opens the output.

    A file is written as PATH.partial and renamed once it is whole; what was
    answered before a failure stays there.

    Args:
        path: A file, or `-` for standard output.
        signature: Whose outputs are the columns.

    Yields:
        What takes the answers.

    Raises:
        InputError: If the file cannot be written.
    """
    kind = format_of(path)
    if path == STANDARD:
        yield _JsonLines(sys.stdout)
        sys.stdout.flush()
        return
    partial = f"{path}.partial"
    names = list(signature.outputs)
    try:
        binary = kind == "parquet"
        file: Any = (
            open(partial, "wb")
            if binary
            else open(partial, "w", encoding="utf-8", newline="")
        )
    except OSError as error:
        raise InputError(
            f"--output must be a file that can be written. Received: {path} "
            f"({error.strerror})."
        ) from error
    with file:
        if kind == "parquet":
            parquet = _Parquet(file, signature)
            try:
                yield parquet
            finally:
                parquet.close()
        elif kind == "csv":
            yield _Csv(file, names)
        else:
            yield _JsonLines(file)
    os.replace(partial, path)


def rows_of(outputs: "Mapping[str, np.ndarray]") -> list[dict[str, Any]]:
    """Splits the outputs of a batch into rows.

    Args:
        outputs: Arrays by name, of one batch size.

    Returns:
        Plain values by name, a mapping a row.

    Example:
    >>> import numpy as np
    >>> rows_of({"p": np.array([0.2, 0.5], np.float32)})
    [{'p': 0.2}, {'p': 0.5}]
    """
    columns = {name: _plain(array) for name, array in outputs.items()}
    return [
        dict(zip(columns, values, strict=True))
        for values in zip(*columns.values(), strict=True)
    ]


def _plain(array: "np.ndarray") -> list[Any]:
    if array.dtype.kind == "f":
        # Through text, so that 0.2 as a float32 is 0.2.
        array = array.astype(str).astype(float)
    values: list[Any] = array.tolist()
    return values


class _JsonLines:
    """A JSON object a line; NaN is null."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, answers: Sequence[Mapping[str, Any]]) -> None:
        lines = [f"{json.dumps(_to_json(answer))}\n" for answer in answers]
        self._file.writelines(lines)
        self._file.flush()


class _Csv:
    """A line a row; lists as JSON, what is missing as an empty cell."""

    def __init__(self, file: IO[str], names: list[str]) -> None:
        self._writer = csv.writer(file)
        self._names = names
        self._writer.writerow(names)

    def write(self, answers: Sequence[Mapping[str, Any]]) -> None:
        for answer in answers:
            values = [_to_json(answer[name]) for name in self._names]
            self._writer.writerow(
                json.dumps(v) if isinstance(v, list | dict) else v
                for v in values
            )


class _Parquet:
    """Columns of the outputs' dtypes; strings as binary."""

    def __init__(
        self, file: IO[bytes], signature: "serving.ClientSignature"
    ) -> None:
        import pyarrow
        from pyarrow import parquet

        fields = []
        for name, spec in signature.outputs.items():
            kind = pyarrow.binary()
            if spec.dtype != "string":
                kind = pyarrow.from_numpy_dtype(spec.numpy_dtype)
            for _ in range((spec.rank or 1) - 1):
                kind = pyarrow.list_(kind)
            fields.append(pyarrow.field(name, kind))
        self._schema = pyarrow.schema(fields)
        self._writer = parquet.ParquetWriter(file, self._schema)

    def write(self, answers: Sequence[Mapping[str, Any]]) -> None:
        import pyarrow

        self._writer.write_table(
            pyarrow.Table.from_pylist(answers, schema=self._schema)
        )

    def close(self) -> None:
        """Writes the file's end."""
        self._writer.close()


def _to_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _to_json(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_to_json(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(value).decode()}
    return value
