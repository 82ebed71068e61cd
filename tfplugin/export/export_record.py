"""`assets.extra/export.json`: what a version holds."""

import json
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import google_crc32c

from tfplugin import schema as schema_lib
from tfplugin.errors import InputError
from tfplugin.export import signatures as signatures_lib
from tfplugin.export import table_compression
from tfplugin.export import tables as tables_lib

RECORD = pathlib.PurePath("assets.extra", "export.json")
#: Of the format.
_VERSION = 1
_PREDICT = "tensorflow/serving/predict"
_CHUNK_BYTES = 16 << 20


def describe(
    schema: schema_lib.Schema,
    signatures: signatures_lib.Signatures,
    tables: Sequence[tables_lib.Table],
    sizes: Sequence[table_compression.TableSize],
    *,
    calibration: str | None = None,
    size_report: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The record of an export.

    Args:
        schema: The model's columns.
        signatures: What it answers.
        tables: Its tables.
        sizes: What became of every one of them, by the layer's name.
        calibration: The method its probabilities were calibrated with.
        size_report: What writing tables smaller changed.

    Returns:
        What JSON can say.
    """
    by_layer = {size.name: size for size in sizes}
    return {
        "version": _VERSION,
        "labels": list(schema.labels),
        "calibration": calibration,
        "scores": {
            name: formula.text for name, formula in signatures.scores.items()
        },
        "signatures": {
            name: {"method": signatures.methods.get(name, _PREDICT)}
            | _arguments(function)
            for name, function in signatures.functions.items()
        },
        "tables": {
            table.name: _size(
                table, [by_layer[part.table_name] for part in table.parts]
            )
            for table in tables
        },
        "size_report": size_report,
    }


def write(folder: pathlib.Path, record: Mapping[str, Any]) -> None:
    """Writes a record into a version's folder.

    Beside what `describe` says it holds, as `files`, the bytes and the CRC-32C
    of every other file in the folder: TensorFlow compares those of variables
    only, and a vocabulary or a graph is damaged as easily.

    Args:
        folder: The version's, complete.
        record: Of `describe`.

    Example:
    >>> import tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> write(folder, {"version": 1, "labels": ["buy"]})
    >>> read(folder)["labels"]
    ['buy']
    """
    path = folder / RECORD
    path.parent.mkdir(exist_ok=True)
    files = {
        str(file.relative_to(folder).as_posix()): _checksum(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file != path
    }
    content = {**record, "files": files}
    path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def read(folder: pathlib.Path) -> dict[str, Any]:
    """The record of a version.

    Args:
        folder: The version's.

    Raises:
        InputError: There is none, or it is malformed.
    """
    path = folder / RECORD
    try:
        record = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"An exported version must hold {RECORD}. Received: {folder}: "
            f"{error}. Export it again."
        ) from error
    if not isinstance(record, dict) or record.get("version") != _VERSION:
        raise InputError(
            f"{RECORD} must be an object of version {_VERSION}. Received: "
            f"{path}. Export it again."
        )
    return record


def _checksum(path: pathlib.Path) -> dict[str, Any]:
    size, checksum = 0, 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            size += len(chunk)
            checksum = google_crc32c.extend(checksum, chunk)
    return {"bytes": size, "crc32c": f"{checksum:08x}"}


def _arguments(function: signatures_lib.Function) -> dict[str, Any]:
    concrete = function.get_concrete_function()
    outputs = concrete.structured_outputs
    inputs = {
        spec.name: spec for spec in _flat(concrete.structured_input_signature)
    }
    return {
        side: {
            name: {"dtype": one.dtype.name, "shape": one.shape.as_list()}
            for name, one in sorted(specs.items())
        }
        for side, specs in (("inputs", inputs), ("outputs", outputs))
    }


def _flat(structure: Any) -> list[Any]:
    if isinstance(structure, Mapping):
        structure = list(structure.values())
    if isinstance(structure, (list, tuple)):
        return [leaf for inner in structure for leaf in _flat(inner)]
    return [structure]


def _size(
    table: tables_lib.Table, parts: Sequence[table_compression.TableSize]
) -> dict[str, Any]:
    return {
        "rows": sum(part.rows for part in parts),
        "dim": table.layer.embedding_dim,
        "dtype": parts[0].dtype,
        "bytes": sum(part.bytes for part in parts),
        "rows_before": sum(part.rows_before for part in parts),
        "bytes_before": sum(part.bytes_before for part in parts),
    }
