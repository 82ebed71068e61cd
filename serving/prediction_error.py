"""The error a client raises when a server does not answer."""


class PredictionError(Exception):
    """A request that was refused or not answered in time.

    Both protocols give the same codes, gRPC's: of REST, 400 is
    `INVALID_ARGUMENT`, 404 `NOT_FOUND`, 412 `FAILED_PRECONDITION`, 429
    `RESOURCE_EXHAUSTED`, 503 and a connection that fails `UNAVAILABLE`, 504
    and a time that ran out `DEADLINE_EXCEEDED`.

    Args:
        code: Name of a canonical code, as in `"INVALID_ARGUMENT"`.
        message: What the server, or the connection, said.

    Example:
    >>> error = PredictionError("NOT_FOUND", "Servable not found: ctr")
    >>> error.code, str(error)
    ('NOT_FOUND', 'NOT_FOUND: Servable not found: ctr')
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
