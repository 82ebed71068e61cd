"""Values of JSON → the type of their column, and values of that type."""

import functools
import itertools
import json
import math
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

#: What `jsonl.types` may declare.
TYPES: dict[str, pa.DataType] = {
    "int64": pa.int64(),
    "double": pa.float64(),
    "string": pa.string(),
    "bool": pa.bool_(),
    "list<int64>": pa.list_(pa.int64()),
    "list<double>": pa.list_(pa.float64()),
    "list<string>": pa.list_(pa.string()),
}

_SCALARS: dict[type, pa.DataType] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
}
_NUMBERS = (pa.int64(), pa.float64())
_INT64_LIMIT = 2**63
#: Integers of this size and more are not all floats.
_EXACT = 2**53


class Unfit(ValueError):
    """A value that its column's type does not hold."""


class RepeatedKeys(dict[str, Any]):
    """An object that names keys twice, with its last values.

    Args:
        pairs: Its keys and values.
    """

    def __init__(self, pairs: Collection[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        keys = [key for key, _ in pairs]
        self.repeated = frozenset(k for k in self if keys.count(k) > 1)


def infer(values: Sequence[Any]) -> pa.DataType | None:
    """The type of a column: one that holds all values, if there is one.

    Lists come before objects and those before scalars where they are mixed;
    integers are int64, whatever their size.

    Args:
        values: Values of JSON as Python's own.

    Returns:
        The type; lists without values have values of type null. None where
        all values are null.

    Example:
    >>> infer([1, None, 0.5]), infer([[], ["a"]]), infer([1, "a"])
    (DataType(double), ListType(list<item: string>), DataType(string))
    """
    classes = set(map(type, values))
    found = None
    if list in classes:
        lists = [value for value in values if type(value) is list]
        inside = infer(list(itertools.chain.from_iterable(lists)))
        found = pa.list_(inside or pa.null())
    if dict in classes:
        objects = [value for value in values if type(value) is dict]
        keys = dict.fromkeys(itertools.chain.from_iterable(objects))
        fields = [(k, infer([o.get(k) for o in objects])) for k in keys]
        # An object without keys tells as much as null does.
        if fields:
            typed = [(key, kind or pa.null()) for key, kind in fields]
            found = widest(found, pa.struct(typed))
    scalars = [kind for cls, kind in _SCALARS.items() if cls in classes]
    return functools.reduce(widest, scalars, found)


def widest(
    one: pa.DataType | None, other: pa.DataType | None
) -> pa.DataType | None:
    """The type that holds the values of both.

    Numbers of both kinds are doubles, other scalars strings; of a list and
    another type it is the list, of an object and a scalar the object.
    """
    if one is None or one == pa.null():
        return one if other is None else other
    if other is None or other == pa.null() or one == other:
        return one
    for is_kind in (pa.types.is_list, pa.types.is_struct):
        if is_kind(one) != is_kind(other):
            return one if is_kind(one) else other
    if pa.types.is_list(one):
        return pa.list_(widest(one.value_type, other.value_type))
    if pa.types.is_struct(one):
        kinds = {field.name: field.type for field in one}
        for field in other:
            kinds[field.name] = widest(kinds.get(field.name), field.type)
        return pa.struct(list(kinds.items()))
    if one in _NUMBERS and other in _NUMBERS:
        return pa.float64()
    return pa.string()


def settle(found: pa.DataType | None, asked: pa.DataType | None) -> pa.DataType:
    """The type to read, from the one found and the one a role asks for.

    The role decides between kinds of numbers and where there are no values;
    else what was found stays, and is converted later.

    Args:
        found: What `infer` found.
        asked: Of the role; None where it leaves the type open.

    Example:
    >>> settle(pa.float64(), pa.int64()), settle(pa.bool_(), pa.string())
    (DataType(int64), DataType(bool))
    """
    if found is None or found == pa.null():
        return asked or pa.string()
    if pa.types.is_list(found):
        listed = asked is not None and pa.types.is_list(asked)
        inside = asked.value_type if asked is not None and listed else None
        return pa.list_(settle(found.value_type, inside))
    if pa.types.is_struct(found):
        return pa.struct([(f.name, settle(f.type, None)) for f in found])
    if found in _NUMBERS and asked in _NUMBERS:
        return asked
    return found


def name(kind: pa.DataType) -> str:
    """A type as `jsonl.types` declares it, or as Arrow writes it."""
    for key, known in TYPES.items():
        if kind == known:
            return key
    return str(kind)


@functools.lru_cache(maxsize=1024)
def converter(kind: pa.DataType) -> Callable[[Any], Any]:
    """A function that gives a value as one of a type: exactly, or not at all.

    7.0 is an int64; a number or a truth value in a column of strings is its
    JSON; an object without keys is null. The function raises `Unfit`.

    Args:
        kind: A type of `settle`.

    Example:
    >>> converter(pa.int64())(7.0), converter(pa.list_(pa.string()))([1, None])
    (7, ['1', None])
    """
    if pa.types.is_struct(kind):
        return functools.partial(
            _to_struct, {field.name: converter(field.type) for field in kind}
        )
    if pa.types.is_list(kind):
        return functools.partial(_to_list, converter(kind.value_type))
    return _TO_SCALAR[kind]


def _to_struct(
    fields: dict[str, Callable[[Any], Any]], value: Any
) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise Unfit(_text(value))
    return {key: fit_key(value, key, to) for key, to in fields.items()}


def fit_key(row: dict[str, Any], key: str, to: Callable[[Any], Any]) -> Any:
    """One value of an object, null where it lacks the key.

    Args:
        row: The object.
        key: The key.
        to: Of `converter`.

    Raises:
        Unfit: The value does not fit, or the object has the key twice.
    """
    if type(row) is RepeatedKeys and key in row.repeated:
        raise Unfit(f"`{key}` twice")
    return to(row.get(key))


def _to_list(to: Callable[[Any], Any], value: Any) -> list[Any] | None:
    if isinstance(value, list):
        return [to(inside) for inside in value]
    _check_null(value)
    return None


def _to_int64(value: Any) -> int | None:
    # A float of this size is no infinity and not NaN.
    if (
        type(value) in (int, float)
        and -_INT64_LIMIT <= value < _INT64_LIMIT
        and value == int(value)
    ):
        return int(value)
    _check_null(value)
    return None


def _to_double(value: Any) -> float | None:
    if type(value) not in (int, float):
        _check_null(value)
        return None
    try:
        return float(value)
    except OverflowError as error:
        raise Unfit(_text(value)) from error


def _to_string(value: Any) -> str | None:
    if type(value) in (int, float, bool):
        return json.dumps(value)
    if isinstance(value, str) and _is_unicode(value):
        return value
    _check_null(value)
    return None


def _to_bool(value: Any) -> bool | None:
    if type(value) is bool:
        return bool(value)
    _check_null(value)
    return None


def _check_null(value: Any) -> None:
    if value is not None and value != {}:
        raise Unfit(_text(value))


_TO_SCALAR: dict[pa.DataType, Callable[[Any], Any]] = {
    pa.int64(): _to_int64,
    pa.float64(): _to_double,
    pa.string(): _to_string,
    pa.bool_(): _to_bool,
}


def _is_unicode(text: str) -> bool:
    """Whether it is without halves of surrogate pairs."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _text(value: Any) -> str:
    shown = json.dumps(value)
    return shown if len(shown) <= 100 else f"{shown[:100]}..."


def is_rounded(value: Any) -> bool:
    """Whether a double could be another integer than `value` is."""
    if isinstance(value, list):
        return any(map(is_rounded, value))
    return type(value) is int and abs(value) >= _EXACT


def parse_float(text: str) -> float:
    """A number of JSON; one that float64 does not hold is refused.

    Raises:
        ValueError: It is too large.
    """
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text} is too large")
    return value


def to_object(pairs: Collection[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; a `RepeatedKeys` if it names one twice."""
    found = dict(pairs)
    return found if len(found) == len(pairs) else RepeatedKeys(pairs)
