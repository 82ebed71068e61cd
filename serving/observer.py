"""Who is told what the server does: metrics and logs."""

from typing import Protocol


class Observer(Protocol):
    """What metrics and logs implement. Called from any thread; must not raise.

    Names and versions are only those of models in the configuration, and
    signatures those of the model, so that they may be labels of metrics.

    Example:
    >>> class Count:
    ...     loads = 0
    ...     def on_load(self, name, version, seconds, error):
    ...         self.loads += 1
    ...     def on_warm_up(self, name, version, seconds, records): ...
    ...     def on_unload(self, name, version): ...
    ...     def on_batch(self, name, version, signature, rows, padded_rows,
    ...                  queue_seconds): ...
    ...     def on_request(self, name, version, signature, rows, seconds,
    ...                    code): ...
    >>> observer: Observer = Count()
    >>> observer.on_load("ctr", 3, 1.5, "")
    """

    def on_load(
        self, name: str, version: int, seconds: float, error: str
    ) -> None:
        """A version was loaded and warmed up, or was not.

        Args:
            name: The model.
            version: Its version.
            seconds: How long the load took, without the warm-up.
            error: Why the version is not served; '' if it is.
        """

    def on_warm_up(
        self, name: str, version: int, seconds: float, records: int
    ) -> None:
        """A version that brought warm-up requests was warmed up.

        Args:
            name: The model.
            version: Its version.
            seconds: How long it took.
            records: The requests run.
        """

    def on_unload(self, name: str, version: int) -> None:
        """A version was unloaded.

        Args:
            name: The model.
            version: Its version.
        """

    def on_batch(
        self,
        name: str,
        version: int,
        signature: str,
        rows: int,
        padded_rows: int,
        queue_seconds: float,
    ) -> None:
        """A batch was run.

        Args:
            name: The model.
            version: Its version.
            signature: The signature run.
            rows: The rows of its requests.
            padded_rows: The rows run, with those that fill the batch up.
            queue_seconds: How long its oldest request waited.
        """

    def on_request(
        self,
        name: str,
        version: int,
        signature: str,
        rows: int,
        seconds: float,
        code: str,
    ) -> None:
        """A request to a served version was answered or refused.

        Args:
            name: The model.
            version: Its version.
            signature: The signature asked for; '' for one the model has not.
            rows: The rows of the request; 0 if it was refused before they
                were known.
            seconds: From the request's arrival here to its answer.
            code: The name of the status code, for example `"OK"`.
        """
