"""Words of a CSV column → its type, and what to declare where that is wrong."""

import dataclasses
import difflib
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.batches import Bools
from tfplugin.errors import InputError

#: What `csv.types` may declare, from the narrowest to the widest.
TYPES: dict[str, pa.DataType] = {
    "int64": pa.int64(),
    "double": pa.float64(),
    "string": pa.string(),
}

_INTEGERS = r"^[+-]?[0-9]+$"
#: Integers of this size and more are not all floats.
_EXACT = 2.0**53


@dataclasses.dataclass(frozen=True)
class Inferred:
    """Which columns have a type that was inferred.

    Args:
        key: The section of the configuration to declare types in.
        names: The columns.
        empty: Those of them without any value to infer a type from.
    """

    key: str
    names: frozenset[str]
    empty: tuple[str, ...]

    def advice(self, column: str, words: pa.Array, kind: pa.DataType) -> str:
        """What to declare for a column that holds other values than inferred.

        Args:
            column: Its name.
            words: Values that do not fit.
            kind: Its type.

        Returns:
            The end of a reason; '' for a type that was not inferred.
        """
        if column not in self.names:
            return ""
        wider = widest([kind, infer(words)])
        if wider == kind:
            wider = pa.string()
        return f"; declare `{self.key}.types: {{{column}: {wider}}}`"

    def advice_on_empty(self) -> str:
        """What to declare for columns without values; '' without any."""
        if not self.empty:
            return ""
        names = ", ".join(f"{name}: double" for name in self.empty[:3])
        return (
            " Columns without a value at the beginning of the files are read "
            f"as strings; declare others, as in `{self.key}.types: {{{names}}}`"
        )


def infer(words: pa.Array | pa.ChunkedArray) -> pa.DataType | None:
    """int64, double or string: the narrowest that loses nothing.

    Args:
        words: Strings; null and blank ones are no values.

    Returns:
        The type; None without values.

    Example:
    >>> import pyarrow as pa
    >>> for words in (["1", "-2"], ["1", "0.5"], ["007"], ["9" * 20], [None]):
    ...     print(infer(pa.array(words, pa.string())))
    int64
    double
    string
    string
    None
    """
    words = pc.utf8_trim_whitespace(words.drop_null())
    words = words.filter(pc.not_equal(words, ""))
    if not len(words):
        return None
    # 007 is a code, not a number.
    if pc.any(pc.match_substring_regex(words, r"^[+-]?0[0-9]")).as_py():
        return pa.string()
    try:
        numbers = words.cast(pa.float64()).to_numpy()
        integers = pc.match_substring_regex(words, _INTEGERS)
        if not pc.all(integers).as_py():
            large = integers.to_numpy(zero_copy_only=False)
            large &= np.abs(numbers) >= _EXACT
            return pa.string() if large.any() else pa.float64()
        words.cast(pa.int64())
    except pa.ArrowInvalid:
        return pa.string()
    return pa.int64()


def widest(kinds: Iterable[pa.DataType | None]) -> pa.DataType | None:
    """The first type that holds the values of all; None without any."""
    order = list(TYPES.values())
    known = [kind for kind in kinds if kind is not None]
    return max(known, key=order.index, default=None)


def inexact(words: pa.Array, values: pa.Array) -> Bools:
    """Words of integers that float64 may round: ids would become one.

    Args:
        words: Strings.
        values: The same as float64.
    """
    large = np.abs(values.fill_null(0.0).to_numpy()) >= _EXACT
    if large.any():
        integers = pc.match_substring_regex(words, _INTEGERS).fill_null(False)
        large &= integers.to_numpy(zero_copy_only=False)
    return large


def declared(
    types: Mapping[str, str], names: Sequence[str], key: str
) -> dict[str, pa.DataType]:
    """Arrow types of `csv.types`.

    Args:
        types: Column to a key of `TYPES`.
        names: The columns of the files.
        key: The section of the configuration, for messages.

    Raises:
        InputError: There is no such column.
    """
    for name in types:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1, 0.5)
            hint = f" Did you mean `{near[0]}`?" if near else ""
            raise InputError(
                f"`{key}.types` must name columns of the files. Received: "
                f"`{name}`.{hint} Columns: {', '.join(names)}."
            )
    return {name: TYPES[kind] for name, kind in types.items()}
