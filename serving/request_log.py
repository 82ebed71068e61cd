"""What a server logs: lines of JSON or text, never what a request holds."""

import datetime
import json
import logging
import random
from typing import Any
from typing import Literal

from serving import calls

_SERVER_FAULTS = ("INTERNAL", "UNKNOWN", "DATA_LOSS")

_logger = logging.getLogger(__name__)


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON, with its fields beside it.

    Fields are what a record carries as `extra={"fields": {...}}`.

    Example:
    >>> record = logging.LogRecord(
    ...     "serving", logging.INFO, "", 0, "Loaded %s", ("ctr",), None
    ... )
    >>> record.fields = {"version": 3}
    >>> line = json.loads(JsonFormatter().format(record))
    >>> line["severity"], line["message"], line["version"]
    ('INFO', 'Loaded ctr', 3)
    """

    def format(self, record: logging.LogRecord) -> str:
        """Formats a record.

        Args:
            record: What is logged.
        """
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, Any] = {
            "time": time.isoformat(timespec="milliseconds"),
            "severity": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info and record.exc_info[0]:
            # Its words may quote a request.
            line["error"] = record.exc_info[0].__name__
        return json.dumps(line, default=str)


def handler(log_format: Literal["json", "text"]) -> logging.Handler:
    """Makes a handler that writes to standard error.

    Args:
        log_format: `"json"` for a line of JSON a record, `"text"` for the
            time and the message.

    Example:
    >>> type(handler("json").formatter).__name__
    'JsonFormatter'
    """
    made = logging.StreamHandler()
    if log_format == "json":
        made.setFormatter(JsonFormatter())
    else:
        made.setFormatter(
            logging.Formatter("%(asctime)s %(levelname)s %(message)s")
        )
    return made


class HeldBack(logging.Filter):
    """Keeps warnings and errors until the server runs.

    What fails before is what the server is refused with, and is to be said
    once.

    Args:
        handler: The handler to keep them from.

    Example:
    >>> handler, record = logging.StreamHandler(), logging.makeLogRecord({})
    >>> held = HeldBack(handler)
    >>> record.levelno = logging.WARNING
    >>> handler.filter(record)
    False
    >>> held.release()
    >>> bool(handler.filter(record))
    True
    """

    def __init__(self, handler: logging.Handler) -> None:
        super().__init__()
        self._handler = handler
        self._held: list[logging.LogRecord] = []
        handler.addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Returns whether a record may be handled now.

        Args:
            record: The record.
        """
        if record.levelno < logging.WARNING:
            return True
        self._held.append(record)
        return False

    def release(self) -> None:
        """Handles what was kept, and keeps no more."""
        self._handler.removeFilter(self)
        for record in self._held:
            self._handler.handle(record)


class RequestLog:
    """Logs a share of all requests, and every one the server is at fault for.

    Args:
        share: Of requests, in [0, 1]. A request that was refused is one like
            any other: a client must not fill the log by its own faults.

    Example:
    >>> RequestLog(0.0).on_call(calls.Call("Predict", "REST", 1.0))
    """

    def __init__(self, share: float = 0.0) -> None:
        self._share = share

    def on_call(self, call: calls.Call) -> None:
        """A request was answered, or refused; see `calls.CallObserver`.

        Args:
            call: Its record.
        """
        if call.code in _SERVER_FAULTS:
            level = logging.ERROR
        # Nothing here is to be hard to guess.
        elif self._share and random.random() < self._share:  # noqa: S311
            level = logging.INFO
        else:
            return
        _logger.log(
            level,
            "%s over %s: %s in %.1f ms",
            call.api,
            call.entrypoint,
            call.code,
            1e3 * call.seconds,
            extra={"fields": _fields(call)},
        )


def _fields(call: calls.Call) -> dict[str, Any]:
    return {
        "api": call.api,
        "entrypoint": call.entrypoint,
        "model": call.model,
        "version": call.version,
        "signature": call.signature,
        "rows": call.rows,
        "code": call.code,
        "milliseconds": round(1e3 * call.seconds, 3),
    }
