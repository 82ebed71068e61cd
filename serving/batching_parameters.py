"""TensorFlow Serving's file of batching parameters."""

import os
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from google.protobuf import descriptor_pb2
from google.protobuf import descriptor_pool
from google.protobuf import message_factory
from google.protobuf import text_format
from google.protobuf import wrappers_pb2

from tfplugin import errors

# The API's wheel does not carry session_bundle_config.proto. These are the
# fields of its BatchingParameters: name, number, type, whether repeated. The
# text form, which is all that is read here, has no numbers in it.
_FIELDS = [
    ("max_batch_size", 1, "Int64Value", False),
    ("batch_timeout_micros", 2, "Int64Value", False),
    ("max_enqueued_batches", 3, "Int64Value", False),
    ("num_batch_threads", 4, "Int64Value", False),
    ("thread_pool_name", 5, "StringValue", False),
    ("allowed_batch_sizes", 6, "int64", True),
    ("pad_variable_length_inputs", 7, "bool", False),
    ("enable_large_batch_splitting", 8, "BoolValue", False),
    ("max_execution_batch_size", 9, "Int64Value", False),
]
_MAX_THREADS = 1024


@dataclass(frozen=True)
class BatchingParameters:
    """How requests are put together; names and defaults are TF Serving's.

    Args:
        max_batch_size: The most rows of a batch, and of a request.
        batch_timeout_micros: How long the oldest request waits for others,
            in microseconds. 0: never while a thread is free; batches then
            form by themselves when all are busy.
        max_enqueued_batches: Batches waiting for a thread, for each queue;
            requests beyond are refused (UNAVAILABLE).
        num_batch_threads: Batches run at the same time; 0 stands for as many
            as there are processors.
        thread_pool_name: The name of the threads.
        allowed_batch_sizes: If given, batches are filled up to the next of
            these sizes, in increasing order; the last is the largest batch.
        pad_variable_length_inputs: Read and not needed: list inputs with a
            `NAME_length` beside them are always filled up, behind their
            length; others never, since that would change an answer.
        enable_large_batch_splitting: Whether a request may travel in several
            batches of `max_execution_batch_size`.
        max_execution_batch_size: The most rows of a batch then; 0 stands for
            `max_batch_size`.

    Raises:
        errors.InputError: For a number that cannot be.

    Example:
    >>> BatchingParameters(max_batch_size=64).largest_batch
    64
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = 0
    thread_pool_name: str = "model_server_batch_threads"
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int = 0

    def __post_init__(self) -> None:
        """Checks the numbers."""
        self._check("max_batch_size", 1)
        self._check("batch_timeout_micros", 0)
        self._check("max_enqueued_batches", 1)
        self._check("num_batch_threads", 0, _MAX_THREADS)
        self._check("max_execution_batch_size", 0, self.max_batch_size)
        if self.max_execution_batch_size and (
            not self.enable_large_batch_splitting
        ):
            raise errors.InputError(
                "`max_execution_batch_size` needs "
                "`enable_large_batch_splitting`. Received: "
                f"max_execution_batch_size={self.max_execution_batch_size}."
            )
        sizes = list(self.allowed_batch_sizes)
        if sizes and (
            sizes != sorted(set(sizes))
            or sizes[0] < 1
            or sizes[-1] != self.largest_batch
        ):
            raise errors.InputError(
                "`allowed_batch_sizes` must increase and end with "
                f"{self.largest_batch}, the largest batch. "
                f"Received: allowed_batch_sizes={sizes}."
            )

    @property
    def largest_batch(self) -> int:
        """The most rows that are run at once."""
        return self.max_execution_batch_size or self.max_batch_size

    def padded_size(self, rows: int) -> int:
        """Returns the size a batch is filled up to.

        Args:
            rows: The rows of its requests.

        Example:
        >>> BatchingParameters(16, allowed_batch_sizes=(4, 16)).padded_size(5)
        16
        """
        for size in self.allowed_batch_sizes:
            if size >= rows:
                return size
        return rows

    def _check(self, name: str, least: int, most: int = tf.int64.max) -> None:
        value = getattr(self, name)
        if not least <= value <= most:
            bounds = f"in [{least}, {most}]"
            if most == tf.int64.max:
                bounds = f"at least {least}"
            raise errors.InputError(
                f"`{name}` must be {bounds}. Received: {name}={value}."
            )


def read(path: str | os.PathLike[str]) -> BatchingParameters:
    """Reads the file that TF Serving's `--batching_parameters_file` names.

    Args:
        path: A `BatchingParameters` message in text form.

    Raises:
        errors.InputError: If the file cannot be read, names a field that
            does not exist, or a number cannot be.

    Example:
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
    ...     _ = file.write("max_batch_size { value: 128 }")
    ...     file.flush()
    ...     read(file.name).max_batch_size
    128
    """
    try:
        with tf.io.gfile.GFile(os.fspath(path), "r") as file:
            text = file.read()
    except (tf.errors.OpError, UnicodeDecodeError) as error:
        raise errors.InputError(
            "The batching parameters must be a readable text file. "
            f"Received: {os.fspath(path)!r} ({type(error).__name__})."
        ) from error
    try:
        return parse(text)
    except errors.InputError as error:
        raise errors.InputError(f"{os.fspath(path)}: {error}") from error


def parse(text: str) -> BatchingParameters:
    """Parses batching parameters in text form.

    Args:
        text: The message.

    Raises:
        errors.InputError: As for `read`.

    Example:
    >>> parse("allowed_batch_sizes: [1, 8] max_batch_size { value: 8 }")
    ... # doctest: +ELLIPSIS
    BatchingParameters(max_batch_size=8, ..., allowed_batch_sizes=(1, 8), ...
    """
    message = _message_class()()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise errors.InputError(
            "Batching parameters must be a `BatchingParameters` message in "
            f"text form. Received: {str(error).rstrip('.')}."
        ) from error
    values: dict[str, Any] = {}
    for descriptor, value in message.ListFields():
        if descriptor.name == "allowed_batch_sizes":
            values[descriptor.name] = tuple(value)
        else:
            values[descriptor.name] = getattr(value, "value", value)
    if values.get("num_batch_threads") == 0:
        raise errors.InputError(
            "`num_batch_threads` must be at least 1. "
            "Received: num_batch_threads=0."
        )
    return BatchingParameters(**values)


def _message_class() -> Any:
    types = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="tensorflow_serving/batching_parameters.proto",
        package="tensorflow.serving",
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    message = file.message_type.add(name="BatchingParameters")
    for name, number, kind, repeated in _FIELDS:
        field = message.field.add(name=name, number=number)
        field.label = types.LABEL_REPEATED if repeated else types.LABEL_OPTIONAL
        if kind == "int64":
            field.type = types.TYPE_INT64
        elif kind == "bool":
            field.type = types.TYPE_BOOL
        else:
            field.type = types.TYPE_MESSAGE
            field.type_name = f".google.protobuf.{kind}"
    # A pool of its own: another package may bring the official file.
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(
        pool.FindMessageTypeByName("tensorflow.serving.BatchingParameters")
    )
