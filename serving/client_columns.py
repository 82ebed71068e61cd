"""Columns as a program has them, to the arrays a signature takes.

A missing value is None here and what DESIGN has for it on the wire: -2^63 for
integers, `''` for strings, NaN for floats, an empty list for lists.
"""

import base64
import binascii
import math
import operator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from serving import client_specs

_MISSING_INTEGER = -(2**63)


class ColumnError(ValueError):
    """A value that its column does not take.

    Args:
        field: Name of the column.
        row: Its row in the batch, from 0; None for the column as a whole.
        message: The rule and what was received.

    Example:
    >>> error = ColumnError("age", 3, "must be int64.")
    >>> str(error)
    'Column `age`, row 3 (from 0): must be int64.'
    """

    def __init__(self, field: str, row: int | None, message: str) -> None:
        where = "" if row is None else f", row {row} (from 0)"
        super().__init__(f"Column `{field}`{where}: {message}")
        self.field = field
        self.row = row
        self.message = message


def encode(
    columns: Mapping[str, Any], signature: client_specs.ClientSignature
) -> dict[str, np.ndarray]:
    """Makes one array for every input of a signature.

    Args:
        columns: By name: a NumPy array or a sequence with a value a row; of
            an input with NAME_length beside it, a sequence of lists, unless
            NAME_length is given too. None is a missing value.
        signature: What the model takes.

    Returns:
        Arrays of the signature's dtypes. Lists are padded to the longest,
        or to 1, and their lengths are in NAME_length.

    Raises:
        ColumnError: For a value of another type, or out of range.
        ValueError: If columns are absent, unknown, or of several lengths.

    Example:
    >>> spec = client_specs.ClientTensorSpec
    >>> signature = client_specs.ClientSignature(
    ...     {
    ...         "city": spec("string", (None,)),
    ...         "seen": spec("int64", (None, None)),
    ...         "seen_length": spec("int64", (None,)),
    ...     },
    ...     {}, "tensorflow/serving/predict",
    ... )
    >>> columns = {"city": ["Bern", None], "seen": [[3, 4], []]}
    >>> for name, array in encode(columns, signature).items():
    ...     print(name, array.tolist())
    city [b'Bern', b'']
    seen [[3, 4], [-9223372036854775808, -9223372036854775808]]
    seen_length [2, 0]
    """
    lists = {
        name
        for name in signature.list_columns
        if f"{name}_length" not in columns
    }
    _check_names(columns, signature, lists)
    arrays: dict[str, np.ndarray] = {}
    for name, values in columns.items():
        spec = signature.inputs[name]
        if name in lists:
            lengths = signature.inputs[f"{name}_length"]
            arrays[name], made = _pad(name, values, spec)
            arrays[f"{name}_length"] = made.astype(lengths.numpy_dtype)
        else:
            arrays[name] = _array(name, values, spec)
    _check_lengths(columns, arrays)
    return arrays


def faults(
    columns: Mapping[str, Sequence[Any]],
    signature: client_specs.ClientSignature,
) -> dict[int, ColumnError]:
    """Finds every row that `encode` would refuse.

    Args:
        columns: As for `encode`, of sequences.
        signature: What the model takes.

    Returns:
        Row to the first of its faults, in order; empty if all are well.

    Example:
    >>> age = client_specs.ClientTensorSpec("int64", (None,))
    >>> signature = client_specs.ClientSignature({"age": age}, {}, "")
    >>> found = faults({"age": [18, "old", None, 2.5]}, signature)
    >>> {row: error.message for row, error in found.items()}
    {1: "must be int64. Received: 'old'.", 3: 'must be int64. Received: 2.5.'}
    """
    found: dict[int, ColumnError] = {}
    for name, values in columns.items():
        spec = signature.inputs[name]
        is_list = name in signature.list_columns
        for row, value in enumerate(values):
            try:
                if is_list:
                    for item in _items(value):
                        _convert(item, spec)
                elif spec.rank == 1:
                    _convert(value, spec)
                else:
                    _array(name, [value], spec)
            except ColumnError as error:
                found.setdefault(row, ColumnError(name, row, error.message))
            except ValueError as error:
                found.setdefault(row, ColumnError(name, row, str(error)))
    return dict(sorted(found.items()))


def _check_names(
    columns: Mapping[str, Any],
    signature: client_specs.ClientSignature,
    lists: set[str],
) -> None:
    needed = set(signature.inputs) - {f"{name}_length" for name in lists}
    if set(columns) != needed:
        raise ValueError(
            "`columns` must be the signature's inputs. Absent: "
            f"{sorted(needed - set(columns))}. Unknown: "
            f"{sorted(set(columns) - needed)}."
        )


def _check_lengths(
    columns: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    rows = {
        name: len(arrays[name]) for name in columns if arrays[name].ndim > 0
    }
    if len(set(rows.values())) > 1:
        raise ValueError(
            f"Columns must have one number of rows. Received: {rows}."
        )


def _array(
    name: str, values: Any, spec: client_specs.ClientTensorSpec
) -> np.ndarray:
    """An input that is no list: its axes are the signature's."""
    kind = spec.numpy_dtype
    ready = isinstance(values, np.ndarray) and values.dtype == kind
    if ready and spec.dtype != "string":
        array = values
    elif spec.rank in (1, None) or isinstance(values, np.ndarray):
        rows = np.asarray(values, object)
        array = _flat(name, rows.ravel(), spec, rows).reshape(rows.shape)
    else:
        rows = _rectangle(name, values)
        array = _flat(name, rows.ravel(), spec, rows).reshape(rows.shape)
    if spec.rank is not None and array.ndim != spec.rank:
        raise ColumnError(
            name,
            None,
            f"must have {spec.rank} axes. Received: shape={array.shape}.",
        )
    return array


def _rectangle(name: str, values: Any) -> np.ndarray:
    try:
        return np.array(values, object)
    except ValueError as error:
        raise ColumnError(name, None, f"rows differ in shape ({error}).") from (
            error
        )


def _flat(
    name: str,
    values: np.ndarray,
    spec: client_specs.ClientTensorSpec,
    rows: np.ndarray,
) -> np.ndarray:
    quick = _quick(values.tolist(), spec)
    if quick is not None:
        return quick
    made = np.empty(len(values), spec.numpy_dtype)
    width = max(1, rows[:1].size)
    for index, value in enumerate(values):
        try:
            made[index] = _convert(value, spec)
        except ValueError as error:
            raise ColumnError(name, index // width, str(error)) from error
    return made


def _pad(
    name: str, values: Any, spec: client_specs.ClientTensorSpec
) -> tuple[np.ndarray, np.ndarray]:
    rows: list[Sequence[Any]] = []
    for row, value in enumerate(values):
        try:
            rows.append(_items(value))
        except ValueError as error:
            raise ColumnError(name, row, str(error)) from error
    lengths = np.array([len(row) for row in rows], np.int64)
    flat = [item for row in rows for item in row]
    converted = _quick(flat, spec)
    if converted is None:
        converted = _converted_lists(name, rows, spec, len(flat))
    width = int(lengths.max(initial=1))
    padded = np.full((len(rows), width), _missing(spec), spec.numpy_dtype)
    padded[np.arange(width) < lengths[:, None]] = converted
    return padded, lengths


def _converted_lists(
    name: str,
    rows: Sequence[Sequence[Any]],
    spec: client_specs.ClientTensorSpec,
    count: int,
) -> np.ndarray:
    made = np.empty(count, spec.numpy_dtype)
    index = 0
    for row, items in enumerate(rows):
        for item in items:
            try:
                made[index] = _convert(item, spec)
            except ValueError as error:
                raise ColumnError(name, row, str(error)) from error
            index += 1
    return made


def _quick(
    values: list[Any], spec: client_specs.ClientTensorSpec
) -> np.ndarray | None:
    """The whole column at once, where all its values are of one type."""
    kind = spec.numpy_dtype
    kinds = set(map(type, values))
    if spec.dtype == "string":
        return _quick_strings(values, kinds)
    whole = kind.kind in "iu" and kinds <= {int}
    real = kind == np.float32 and kinds <= {float}
    if not (whole or real or kind == np.float64 and kinds <= {float}):
        return None
    try:
        wide = np.array(values, np.float64 if kind.kind == "f" else kind)
    except OverflowError:
        # The slow way says which row it is.
        return None
    if kind == np.float32:
        # Beyond its range is refused, not made infinite.
        finite = np.isfinite(wide)
        if np.any(np.abs(wide[finite]) > np.finfo(np.float32).max):
            return None
    return wide.astype(kind)


def _quick_strings(
    values: list[Any], kinds: set[type[Any]]
) -> np.ndarray | None:
    made = np.empty(len(values), object)
    if kinds <= {str}:
        try:
            values = [value.encode() for value in values]
        except UnicodeEncodeError:
            return None
    elif not kinds <= {bytes}:
        return None
    made[:] = values
    return made


def _items(value: Any) -> Sequence[Any]:
    if value is None:
        return ()
    if isinstance(value, np.ndarray) and value.ndim == 1:
        items: list[Any] = value.tolist()
        return items
    if isinstance(value, list | tuple):
        return value
    raise ValueError(f"must be a list. Received: {_shown(value)}.")


def _missing(spec: client_specs.ClientTensorSpec) -> Any:
    kind = spec.numpy_dtype.kind
    if spec.dtype == "string":
        return b""
    if kind == "f":
        return math.nan
    if spec.dtype == "int64":
        return _MISSING_INTEGER
    # Only int64 has a missing value; this pads what is beyond a length.
    return 0


def _convert(value: Any, spec: client_specs.ClientTensorSpec) -> Any:
    kind = spec.numpy_dtype.kind
    if value is None:
        if spec.dtype in ("string", "int64") or kind == "f":
            return _missing(spec)
        raise ValueError(f"{spec.dtype} has no missing value.")
    if spec.dtype == "string":
        return _string(value)
    if isinstance(value, np.generic):
        value = value.item()
    is_bool = isinstance(value, bool)
    if kind == "b" and is_bool:
        return value
    if kind in "iu" and isinstance(value, int) and not is_bool:
        return _integer(value, spec)
    if kind == "f" and isinstance(value, int | float) and not is_bool:
        return _floating(value, spec)
    raise ValueError(f"must be {spec.dtype}. Received: {_shown(value)}.")


def _integer(value: int, spec: client_specs.ClientTensorSpec) -> int:
    limits = np.iinfo(spec.numpy_dtype)
    if not limits.min <= value <= limits.max:
        raise ValueError(f"must be {spec.dtype}. Received: {_shown(value)}.")
    return operator.index(value)


def _floating(value: int | float, spec: client_specs.ClientTensorSpec) -> float:
    # Compared before it is made a float, which an integer may be too long for.
    largest = float(np.finfo(spec.numpy_dtype).max)
    if abs(value) > largest and value not in (math.inf, -math.inf):
        raise ValueError(
            f"must be within {spec.dtype}'s range. Received: {_shown(value)}."
        )
    return float(value)


def _string(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            raise ValueError("holds half of a character.") from error
    if isinstance(value, dict) and set(value) == {"b64"}:
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (TypeError, ValueError, binascii.Error) as error:
            raise ValueError("cannot be decoded from base64.") from error
    raise ValueError(f"must be string. Received: {_shown(value)}.")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
