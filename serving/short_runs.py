"""Which runs of a model are over before another thread would have begun."""

from collections.abc import Iterable

import numpy as np

# As long as that the event loop may be held up: less than the five
# milliseconds for which a thread of Python may keep all others waiting.
_SHORT_SECONDS = 0.002
_RUNS = 16
# Of more values nothing is noted, since to count their bytes takes time too.
_MAX_VALUES = 256

# Versions come and go; what is forgotten with them is found out again.
_MAX_KINDS = 4_096

_Kind = tuple[str, int, str, int]


class ShortRuns:
    """Tells from the runs before whether a run will be short.

    To hand a run to a thread and its answer back takes a quarter of a
    millisecond, as long as many a run takes. Runs are of one kind if they are
    of one model, version and signature and their inputs are of one size, to a
    power of two of bytes; a kind is short after 16 runs in a row that took less
    than 2 ms.

    Example:
    >>> runs = ShortRuns()
    >>> kind = runs.kind(("ctr", 3, ""), [np.zeros(3)])
    >>> for _ in range(16):
    ...     runs.add(kind, seconds=0.001)
    >>> runs.are_short(kind)
    True
    >>> runs.are_short(runs.kind(("ctr", 4, ""), [np.zeros(3)]))
    False
    """

    def __init__(self) -> None:
        self._in_a_row: dict[_Kind, int] = {}

    @staticmethod
    def kind(
        graph: tuple[str, int, str], inputs: Iterable[np.ndarray]
    ) -> _Kind | None:
        """Returns what runs must have in common to take about as long.

        Args:
            graph: The model, its version, and the signature or ''.
            inputs: The arrays it is run on; strings as objects of type bytes.

        Returns:
            The kind; None for inputs too many to be of a short run.
        """
        size = values = 0
        for array in inputs:
            values += array.size
            if values > _MAX_VALUES:
                return None
            if array.dtype.hasobject:
                size += sum(map(len, array.ravel()))
            else:
                size += array.nbytes
        return *graph, size.bit_length()

    def are_short(self, kind: _Kind | None) -> bool:
        """Returns whether a run of this kind may be expected to be short.

        Args:
            kind: As `kind` returns it.
        """
        return kind is not None and self._in_a_row.get(kind, 0) >= _RUNS

    def add(self, kind: _Kind | None, seconds: float) -> None:
        """Notes a run.

        Args:
            kind: As `kind` returns it.
            seconds: How long it took; infinity if it brought no answer.
        """
        if kind is None:
            return
        if seconds >= _SHORT_SECONDS:
            self._in_a_row.pop(kind, None)
        else:
            if len(self._in_a_row) >= _MAX_KINDS:
                self._in_a_row.clear()
            self._in_a_row[kind] = self._in_a_row.get(kind, 0) + 1
