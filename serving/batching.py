"""Puts requests together, runs them at once, and takes the answers apart."""

import collections
import logging
import os
import threading
import time
from collections.abc import Callable

import grpc
import numpy as np

from serving import batch_tasks
from serving import request_error
from serving import servable as servable_lib
from serving import signature as signature_lib
from serving.batching_parameters import BatchingParameters

_logger = logging.getLogger(__name__)

# How much longer a batch that is not full may wait while another of its queue
# runs: for two small batches cost nearly twice what one of both costs.
_MAX_HOLD_SECONDS = 0.01

# Rows, rows with padding, and seconds the oldest request has waited.
OnBatch = Callable[
    [servable_lib.Servable, signature_lib.Signature, int, int, float], None
]


class _Batch:
    __slots__ = ("key", "opened", "rows", "tasks")

    def __init__(self, key: tuple[object, ...], opened: float) -> None:
        self.key = key
        self.opened = opened
        self.rows = 0
        self.tasks: list[batch_tasks.Task] = []


class BatchScheduler:
    """TensorFlow Serving's way of batching, in threads of Python.

    There is a queue for each servable, signature, set of outputs and shape of
    a row. Its last batch is open: it takes requests until it is full, or its
    oldest has waited for `batch_timeout_micros` and a thread is free. What
    differs from TensorFlow Serving is in the caller's favour: with a timeout,
    a batch that is not full waits up to 10 ms more while another of its queue
    is being run, which under load makes fewer and larger batches; lists of
    different widths that have lengths beside them travel together; when a
    batch fails its requests are run one by one, so that one cannot spoil the
    answer of another; a request whose deadline has passed is not run.

    Args:
        parameters: Sizes, times and threads.
        on_batch: Called after every batch from the thread that ran it, with
            the servable, the signature, its rows, its rows with padding and
            the seconds its oldest request waited.

    Example:
    >>> import tempfile
    >>> import tensorflow as tf
    >>> class Double(tf.Module):
    ...     @tf.function(input_signature=[tf.TensorSpec([None], name="x")])
    ...     def __call__(self, x):
    ...         return {"y": 2.0 * x}
    >>> model, path = Double(), tempfile.mkdtemp()
    >>> tf.saved_model.save(model, path, model.__call__)
    >>> servable = servable_lib.Servable("double", 1, path)
    >>> scheduler, answered = BatchScheduler(), threading.Event()
    >>> def done(outputs, error):
    ...     print(outputs)
    ...     answered.set()
    >>> task = batch_tasks.Task(
    ...     servable, servable.signature(), [np.float32([3])], (), 1,
    ...     deadline=float("inf"), done=done)
    >>> scheduler.submit(task)
    >>> answered.wait(60)
    {'y': array([6.], dtype=float32)}
    True
    >>> scheduler.stop()
    """

    def __init__(
        self,
        parameters: BatchingParameters | None = None,
        on_batch: OnBatch | None = None,
    ) -> None:
        self._parameters = parameters or BatchingParameters()
        self._on_batch = on_batch
        self._timeout = self._parameters.batch_timeout_micros / 1e6
        self._largest = self._parameters.largest_batch
        self._condition = threading.Condition(threading.Lock())
        # In the order in which the threads turn to them.
        self._queues: collections.OrderedDict[
            tuple[object, ...], collections.deque[_Batch]
        ] = collections.OrderedDict()
        # How many batches of a queue are being run.
        self._running: collections.Counter[tuple[object, ...]] = (
            collections.Counter()
        )
        self._stopped = False
        count = self._parameters.num_batch_threads or os.cpu_count() or 1
        self._threads = [
            threading.Thread(
                target=self._work,
                name=f"{self._parameters.thread_pool_name}_{index}",
                daemon=True,
            )
            for index in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, task: batch_tasks.Task) -> None:
        """Puts a request into a batch and returns.

        Args:
            task: The request.

        Raises:
            RequestError: `INVALID_ARGUMENT` for more than `max_batch_size`
                rows, `UNAVAILABLE` if `max_enqueued_batches` are waiting or
                the scheduler is stopped.
        """
        alone = task.alone
        if task.rows > self._parameters.max_batch_size and not alone:
            raise request_error.RequestError.invalid(
                f"Task size {task.rows} is larger than maximum input batch "
                f"size {self._parameters.max_batch_size}"
            )
        tasks = [task]
        if task.rows > self._largest and not alone:
            tasks = batch_tasks.pieces(task, self._largest)
        key = (object(),) if alone else batch_tasks.key(task)
        with self._condition:
            if self._stopped:
                raise request_error.RequestError(
                    grpc.StatusCode.UNAVAILABLE, "The server is stopping."
                )
            queue = self._queues.get(key)
            if queue is None:
                queue = self._queues[key] = collections.deque()
            try:
                self._check_room(queue, tasks)
                for piece in tasks:
                    self._add(key, queue, piece)
            finally:
                if not queue:
                    del self._queues[key]

    def stop(self) -> None:
        """Runs what is waiting, and ends the threads."""
        with self._condition:
            self._stopped = True
            self._condition.notify_all()
        for thread in self._threads:
            thread.join()

    def _check_room(
        self, queue: collections.deque[_Batch], tasks: list[batch_tasks.Task]
    ) -> None:
        fits = queue and queue[-1].rows + tasks[0].rows <= self._largest
        batches = len(queue) + len(tasks) - bool(fits)
        if batches > self._parameters.max_enqueued_batches:
            raise request_error.RequestError(
                grpc.StatusCode.UNAVAILABLE,
                "The batch scheduling queue to which this task was submitted "
                "is full",
            )

    def _add(
        self,
        key: tuple[object, ...],
        queue: collections.deque[_Batch],
        task: batch_tasks.Task,
    ) -> None:
        batch = queue[-1] if queue else None
        if batch is None or batch.rows + task.rows > self._largest:
            batch = _Batch(key, time.monotonic())
            queue.append(batch)
            # A thread is woken for a new batch and for a full one, not for
            # every request, which would cost more than the request.
            self._condition.notify()
        batch.tasks.append(task)
        batch.rows += task.rows
        if batch.rows >= self._largest and self._timeout:
            self._condition.notify()

    def _work(self) -> None:
        while True:
            with self._condition:
                batch = self._take()
            if batch is None:
                return
            try:
                self._run(batch)
            except Exception as error:
                # Nothing may end the thread, and nobody may wait in vain.
                _logger.exception("A batch failed")
                _fail(batch.tasks, error)
            finally:
                self._finish(batch.key)

    def _take(self) -> _Batch | None:
        while True:
            now = time.monotonic()
            wait: float | None = None
            for key, queue in self._queues.items():
                batch = queue[0]
                remaining = batch.opened + self._timeout - now
                if self._timeout and key in self._running:
                    remaining += _MAX_HOLD_SECONDS
                if (
                    remaining <= 0
                    or len(queue) > 1
                    or batch.tasks[0].alone
                    or batch.rows >= self._largest
                    or self._stopped
                ):
                    queue.popleft()
                    if queue:
                        self._queues.move_to_end(key)
                    else:
                        del self._queues[key]
                    self._running[key] += 1
                    return batch
                wait = remaining if wait is None else min(wait, remaining)
            if self._stopped:
                return None
            self._condition.wait(wait)

    def _finish(self, key: tuple[object, ...]) -> None:
        with self._condition:
            self._running[key] -= 1
            if self._running[key]:
                return
            del self._running[key]
            # This thread may turn to another queue first.
            if key in self._queues and len(self._queues) > 1:
                self._condition.notify()

    def _run(self, batch: _Batch) -> None:
        started = time.monotonic()
        tasks: list[batch_tasks.Task] = []
        late: list[batch_tasks.Task] = []
        for task in batch.tasks:
            (late if task.expired(started) else tasks).append(task)
        _fail(late, _late())
        if not tasks:
            return
        rows = sum(task.rows for task in tasks)
        if tasks[0].alone:
            padded = rows
        else:
            padded = self._parameters.padded_size(rows)
        try:
            outputs = batch_tasks.execute(tasks, padded)
        except request_error.RequestError as error:
            if len(tasks) == 1:
                tasks[0].done(None, error)
            else:
                _run_one_by_one(tasks)
        else:
            _answer(tasks, outputs)
        if self._on_batch is not None:
            self._on_batch(
                tasks[0].servable,
                tasks[0].signature,
                rows,
                padded,
                started - batch.opened,
            )


def _late() -> request_error.RequestError:
    return request_error.RequestError(
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "The deadline passed while the request waited for a batch.",
    )


def _answer(
    tasks: list[batch_tasks.Task], outputs: dict[str, np.ndarray]
) -> None:
    if tasks[0].alone:
        tasks[0].done(outputs, None)
        return
    start = 0
    for task in tasks:
        stop = start + task.rows
        task.done(
            {name: value[start:stop] for name, value in outputs.items()}, None
        )
        start = stop


def _run_one_by_one(tasks: list[batch_tasks.Task]) -> None:
    for task in tasks:
        try:
            outputs = batch_tasks.execute([task], task.rows)
        except request_error.RequestError as error:
            task.done(None, error)
        else:
            task.done(outputs, None)


def _fail(tasks: list[batch_tasks.Task], error: BaseException) -> None:
    for task in tasks:
        task.done(None, error)
