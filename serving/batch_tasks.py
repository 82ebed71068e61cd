"""Requests in a batch: what may travel together, and how it is put."""

import functools
import threading
from collections.abc import Callable
from collections.abc import Sequence

import grpc
import numpy as np

from serving import request_error
from serving import servable as servable_lib
from serving import signature as signature_lib


class Task:
    """A request on its way through a batch.

    Args:
        servable: What runs it.
        signature: One of the servable's; its `batches` must be true.
        arrays: The inputs in the order of `signature.inputs`, checked.
        output_filter: The outputs wanted; empty for all.
        rows: The rows of each array; at least 1.
        deadline: When nobody waits for the answer any more, in the time of
            `time.monotonic`; infinity for never.
        done: Called once, from any thread, with the outputs and None, or with
            None and the error.
        wanted: Says right before the run whether anybody waits for the
            answer; without one, somebody does. `done` is called in any case.

    Example:
    >>> task = Task(None, None, [], (), 1, 0.0, lambda outputs, error: None)
    >>> task.expired(now=1.0)
    True
    """

    __slots__ = (
        "arrays",
        "deadline",
        "done",
        "output_filter",
        "rows",
        "servable",
        "signature",
        "wanted",
    )

    def __init__(
        self,
        servable: servable_lib.Servable,
        signature: signature_lib.Signature,
        arrays: Sequence[np.ndarray],
        output_filter: tuple[str, ...],
        rows: int,
        deadline: float,
        done: Callable[
            [dict[str, np.ndarray] | None, BaseException | None], None
        ],
        wanted: Callable[[], bool] | None = None,
    ) -> None:
        self.servable = servable
        self.signature = signature
        self.arrays = arrays
        self.output_filter = output_filter
        self.rows = rows
        self.deadline = deadline
        self.done = done
        self.wanted = wanted

    def expired(self, now: float) -> bool:
        """Returns whether nobody waits for the answer any more.

        Args:
            now: The time, as `time.monotonic` gives it.
        """
        if now > self.deadline:
            return True
        return self.wanted is not None and not self.wanted()

    @property
    def alone(self) -> bool:
        """Whether it cannot share a batch, having no rows to be found by."""
        return not self.rows or not self.signature.batches


def key(task: Task) -> tuple[object, ...]:
    """Returns what requests must have in common to travel in one batch.

    Servable, signature, outputs, and for each input the shape of a row; of a
    list with lengths beside it the width does not count.

    Args:
        task: The request.

    Example:
    >>> import tensorflow as tf
    >>> signature = signature_lib.Signature(
    ...     "serving_default", {"x": tf.TensorSpec([None, 2])}, {})
    >>> key(Task(None, signature, [np.zeros([3, 2])], (), 3, 0.0, print))
    (None, 'serving_default', (), ('x', (2,)))
    """
    signature = task.signature
    parts: list[object] = [task.servable, signature.name, task.output_filter]
    by_name = dict(zip(signature.inputs, task.arrays, strict=True))
    for name, array in by_name.items():
        if array.ndim == 1:
            continue
        lengths = by_name.get(signature.list_inputs.get(name, ""))
        # A length over the width is an error, or cut, as the model likes:
        # in a wider tensor it would be neither.
        if lengths is None or lengths.max() > array.shape[1]:
            parts.append((name, array.shape[1:]))
    return tuple(parts)


def pieces(task: Task, size: int) -> list[Task]:
    """Cuts a request into pieces, the last of which to end ends the request.

    Args:
        task: The request.
        size: The most rows of a piece.

    Example:
    >>> signature = signature_lib.Signature("serving_default", {}, {})
    >>> task = Task(None, signature, [np.arange(5)], (), 5, 0.0, print)
    >>> [piece.arrays[0].tolist() for piece in pieces(task, 2)]
    [[0, 1], [2, 3], [4]]
    """
    starts = range(0, task.rows, size)
    answers: list[dict[str, np.ndarray] | None] = [None] * len(starts)
    failures: list[BaseException] = []
    lock = threading.Lock()
    missing = len(starts)

    def finish(
        index: int,
        outputs: dict[str, np.ndarray] | None,
        error: BaseException | None,
    ) -> None:
        nonlocal missing
        with lock:
            answers[index] = outputs
            if error is not None:
                failures.append(error)
            missing -= 1
            if missing:
                return
        if failures:
            task.done(None, failures[0])
        else:
            parts = [answer for answer in answers if answer is not None]
            task.done(
                {
                    name: np.concatenate([part[name] for part in parts])
                    for name in parts[0]
                },
                None,
            )

    return [
        Task(
            task.servable,
            task.signature,
            [array[start : start + size] for array in task.arrays],
            task.output_filter,
            min(size, task.rows - start),
            task.deadline,
            functools.partial(finish, index),
            task.wanted,
        )
        for index, start in enumerate(starts)
    ]


def execute(tasks: list[Task], padded: int) -> dict[str, np.ndarray]:
    """Runs requests at once.

    Args:
        tasks: Requests of one key.
        padded: The rows to fill the batch up to; rows are repeated for that.

    Returns:
        The outputs of all rows, in the order of the requests, and of those
        that fill up.

    Raises:
        RequestError: With the code of an error raised inside the model, or
            `FAILED_PRECONDITION` for an output that has not a row each.

    Example:
    >>> import tensorflow as tf
    >>> class Double:
    ...     def execute(self, signature, arrays, output_filter):
    ...         return {"y": 2 * arrays[0]}
    >>> signature = signature_lib.Signature(
    ...     "serving_default",
    ...     {"x": tf.TensorSpec([None])}, {"y": tf.TensorSpec([None])})
    >>> tasks = [
    ...     Task(Double(), signature, [np.array(x)], (), len(x), 0.0, print)
    ...     for x in ([1, 2], [3])
    ... ]
    >>> execute(tasks, 4)
    {'y': array([2, 4, 6, 2])}
    """
    first = tasks[0]
    missing = padded - sum(task.rows for task in tasks)
    arrays: Sequence[np.ndarray] = first.arrays
    if len(tasks) > 1 or missing:
        arrays = [
            _merge(list(columns), missing)
            for columns in zip(*(task.arrays for task in tasks), strict=True)
        ]
    outputs = first.servable.execute(
        first.signature, arrays, first.output_filter
    )
    if first.alone:
        return outputs
    for name, value in outputs.items():
        if value.shape[0] != padded:
            raise request_error.RequestError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"Batched output `{name}` has {value.shape[0]} rows for "
                f"{padded} rows of the inputs.",
            )
    return outputs


def _merge(columns: list[np.ndarray], missing: int) -> np.ndarray:
    if columns[0].ndim == 2:
        width = max(column.shape[1] for column in columns)
        columns = [_widen(column, width) for column in columns]
    if missing:
        # A row that is known to be one the model can take.
        columns.append(np.repeat(columns[0][:1], missing, axis=0))
    return np.concatenate(columns)


def _widen(column: np.ndarray, width: int) -> np.ndarray:
    if column.shape[1] == width:
        return column
    filler = b"" if column.dtype == object else 0
    wide = np.full((column.shape[0], width), filler, column.dtype)
    wide[:, : column.shape[1]] = column
    return wide
