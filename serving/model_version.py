"""A version of a model, from the first look at its folder to its end."""

import threading
from collections.abc import Callable

from tensorflow_serving.apis import get_model_status_pb2

from serving import servable as servable_lib

State = get_model_status_pb2.ModelVersionStatus


class Version:
    """One version of a model, loaded or not; counts who uses it.

    Args:
        number: Its number.
        path: Its folder.

    Example:
    >>> version = Version(3, "models/ctr/3")
    >>> version.acquire()
    False
    >>> version.state == State.START
    True
    """

    def __init__(self, number: int, path: str) -> None:
        self.number = number
        self.path = path
        self.state = State.START
        self.error_code = 0
        self.error_message = ""
        self.servable: servable_lib.Servable | None = None
        self.failures = 0
        self.retry_at = 0.0
        self.fingerprint = (0, 0)
        self._lock = threading.Lock()
        self._users = 0
        self._on_idle: Callable[[], None] | None = None

    def acquire(self) -> bool:
        """Keeps the version loaded until `release`.

        Returns:
            Whether it is available; if not there is nothing to release.
        """
        with self._lock:
            if self.state != State.AVAILABLE:
                return False
            self._users += 1
            return True

    def release(self) -> None:
        """Gives back what one `acquire` has taken."""
        with self._lock:
            self._users -= 1
            on_idle = None if self._users else self._on_idle
        if on_idle is not None:
            on_idle()

    @property
    def loaded(self) -> servable_lib.Servable:
        """What `acquire` keeps loaded."""
        if self.servable is None:
            raise RuntimeError(
                "A version must be acquired to be used. "
                f"Received: {self.path!r}."
            )
        return self.servable

    def make_available(self, servable: servable_lib.Servable) -> None:
        """Lets requests in.

        Args:
            servable: The loaded version, warmed up.
        """
        with self._lock:
            self.servable = servable
            self.error_code, self.error_message = 0, ""
            self.state = State.AVAILABLE

    def retire(self, on_idle: Callable[[], None]) -> None:
        """Lets no more requests in.

        Args:
            on_idle: Called when the last running one is answered, if any is.
        """
        with self._lock:
            self.state = State.UNLOADING
            self._on_idle = on_idle

    @property
    def drained(self) -> bool:
        """Whether it was retired and nobody uses it any more."""
        with self._lock:
            return self.state == State.UNLOADING and not self._users

    def close(self) -> None:
        """Unloads the version."""
        if self.servable is not None:
            self.servable.close()
        self.servable = None
        self.state = State.END
