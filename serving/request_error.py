"""The error a request is answered with, on either protocol."""

import traceback

import grpc
import tensorflow as tf

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class RequestError(Exception):
    """A request that cannot be answered, and the status the client sees.

    gRPC sends the code as it is; REST maps it to an HTTP status. Codes and
    wording follow TensorFlow Serving wherever it has an answer of its own.

    Args:
        code: A `grpc.StatusCode`, for example `INVALID_ARGUMENT`.
        message: One sentence for the client, which names the input, the
            output, the signature or the model at fault.

    Example:
    >>> error = RequestError(grpc.StatusCode.NOT_FOUND, "No such model.")
    >>> error.code.name, str(error)
    ('NOT_FOUND', 'No such model.')
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @classmethod
    def invalid(cls, message: str) -> "RequestError":
        """Returns an `INVALID_ARGUMENT` error, by far the most frequent.

        Args:
            message: One sentence for the client.

        Example:
        >>> RequestError.invalid("Input `age` is missing.").code.name
        'INVALID_ARGUMENT'
        """
        return cls(grpc.StatusCode.INVALID_ARGUMENT, message)

    @classmethod
    def from_tensorflow(cls, error: tf.errors.OpError) -> "RequestError":
        """Returns what TensorFlow raised, under the same canonical code.

        Args:
            error: An error raised while the model ran. TensorFlow and gRPC
                number their codes alike.

        Example:
        >>> failure = tf.errors.OutOfRangeError(None, None, "index 7")
        >>> RequestError.from_tensorflow(failure).code.name
        'OUT_OF_RANGE'
        """
        code = _CODES.get(error.error_code, grpc.StatusCode.UNKNOWN)
        return cls(code, error.message)


def place_of(error: BaseException) -> str:
    """Says what kind of error was raised, and where; not its words.

    The words of an error may quote a request, and so have no place in a log.

    Args:
        error: An error that was raised.

    Example:
    >>> try:
    ...     int("secret")
    ... except ValueError as error:
    ...     place_of(error).splitlines()[0]
    'ValueError'
    """
    frames = traceback.format_tb(error.__traceback__)
    return "".join([f"{type(error).__name__}\n", *frames]).rstrip()
