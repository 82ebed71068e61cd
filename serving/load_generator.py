"""Loads a server and measures it, without coordinated omission."""

import collections
import contextlib
import dataclasses
import json
import math
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import numpy as np

from serving import client_specs
from serving import load_process

#: Percentiles that are reported.
PERCENTILES = (50.0, 90.0, 99.0, 99.9)
_START_DELAY_SECONDS = 1.0
# A generator that sends later than this was too slow itself.
_LATE_MS = 10.0
_KEPT_UP = 0.98
_SAID = "stderr.txt"


@dataclasses.dataclass(frozen=True)
class Target:
    """Where a load goes, and what it is made of.

    Args:
        url: As for `serving.Client`.
        method: gRPC's full method, as in `LoadRequests.method`, or the path
            of an URL.
        bodies: Requests as they go over the wire, sent in turn.
        rows: How many rows a request holds.
        connections: Connections over which requests are spread.
        timeout_seconds: For one request.
        tls: Certificate files, for grpcs and https.

    Raises:
        ValueError: Without bodies, or with less than one connection.

    Example:
    >>> Target("http://127.0.0.1:8501", "/v1/models/m:predict", [b"{}"], 1).tls
    """

    url: str
    method: str
    bodies: Sequence[bytes]
    rows: int
    connections: int = 1
    timeout_seconds: float = 10.0
    tls: client_specs.ClientTls | None = None

    def __post_init__(self) -> None:
        if not self.bodies or self.connections < 1:
            raise ValueError(
                "`bodies` must not be empty, and `connections` positive. "
                f"Received: {len(self.bodies)} bodies, "
                f"connections={self.connections}."
            )


@dataclasses.dataclass(frozen=True)
class Load:
    """How requests arrive.

    Args:
        duration_seconds: For how long they are sent.
        rate: Requests a second, sent whether or not earlier ones were
            answered (an open loop); None for a closed loop.
        poisson: Whether arrivals of an open loop are random, as those of many
            independent users, or evenly spaced.
        clients: In a closed loop, how many wait for their answer at a time.
        requests: At most this many; None for no limit.
        processes: Over how many processes the load is spread.
        seed: Draws random arrivals.

    Raises:
        ValueError: For numbers that are not positive.

    Example:
    >>> Load(2.0, rate=2.0).times().tolist()
    [0.0, 0.5, 1.0, 1.5]
    """

    duration_seconds: float
    rate: float | None = None
    poisson: bool = False
    clients: int = 1
    requests: int | None = None
    processes: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in ("poisson", "seed") or value is None:
                continue
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(
                    f"`{field.name}` must be positive. Received: "
                    f"{field.name}={value}."
                )

    def times(self) -> np.ndarray:
        """When requests of an open loop are sent, in seconds from the start."""
        rate = self.rate or 0.0
        count = math.ceil(rate * self.duration_seconds)
        if self.poisson:
            generator = np.random.default_rng(self.seed)
            # Enough gaps to fill the time but for a chance of 10^-15.
            most = count + 8 * math.isqrt(count) + 8
            times = generator.exponential(1 / rate, most).cumsum()
            times = times[times < self.duration_seconds]
        else:
            times = np.arange(count) / rate
        return times[: self.requests]


@dataclasses.dataclass(frozen=True)
class LoadResult:
    """What became of a load. Times are seconds from its start, one a request.

    Args:
        load: What was asked for.
        rows: Rows of a request.
        intended: When a request was to be sent.
        sent: When it was.
        done: When its answer was there.
        codes: gRPC's names of codes.
        bodies: Which of the bodies it sent.
        answers: What came back, if that was kept.

    Example:
    >>> times = np.array([0.0, 1.0])
    >>> result = LoadResult(
    ...     Load(2.0, rate=1.0), 4, times, times, times + [0.01, 0.03],
    ...     np.array(["OK", "UNAVAILABLE"]), np.array([0, 0]),
    ... )
    >>> found = result.to_json()
    >>> found["latency_ms"]["max"], found["errors"], found["kept_up"]
    (10.0, {'UNAVAILABLE': 1}, True)
    """

    load: Load
    rows: int
    intended: np.ndarray
    sent: np.ndarray
    done: np.ndarray
    codes: np.ndarray
    bodies: np.ndarray
    answers: Sequence[bytes] | None = None

    @property
    def answered(self) -> np.ndarray:
        """Which requests were answered with what they asked for."""
        return np.asarray(self.codes == "OK")

    @property
    def latency_ms(self) -> np.ndarray:
        """Of each request, from when it was to be sent to its answer."""
        return np.asarray((self.done - self.intended) * 1e3)

    @property
    def errors(self) -> dict[str, int]:
        """Requests that failed, by code."""
        failed = collections.Counter(self.codes[~self.answered].tolist())
        return dict(sorted(failed.items()))

    @property
    def late_ms(self) -> float:
        """How late the generator itself sent, the 99th percentile."""
        if not len(self.sent):
            return 0.0
        return float(np.percentile((self.sent - self.intended) * 1e3, 99))

    @property
    def kept_up(self) -> bool:
        """Whether the generator sent what it was asked to, and in time."""
        if self.load.rate is None:
            return True
        if len(self.sent) < 2 or "CANCELLED" in self.errors:
            return "CANCELLED" not in self.errors
        meant = self.intended.max() - self.intended.min()
        took = self.sent.max() - self.sent.min()
        slow = meant > 0 and meant / max(took, 1e-9) < _KEPT_UP
        return not slow and self.late_ms <= _LATE_MS

    def percentiles(self) -> dict[str, float | None]:
        """Latencies of answered requests in ms; None where there are none."""
        values = self.latency_ms[self.answered]
        names = [f"p{p:g}" for p in PERCENTILES] + ["max", "mean"]
        if not len(values):
            return dict.fromkeys(names)
        found = [*np.percentile(values, PERCENTILES)]
        found += [values.max(), values.mean()]
        return {
            name: round(float(value), 4)
            for name, value in zip(names, found, strict=True)
        }

    def to_json(self) -> dict[str, Any]:
        """Everything a report says, without single requests."""
        seconds = float(self.done.max(initial=0.0))
        answered = int(self.answered.sum())
        rate = answered / seconds if seconds else 0.0
        return {
            "load": dataclasses.asdict(self.load),
            "rows_per_request": self.rows,
            "seconds": round(seconds, 4),
            "requests": len(self.codes),
            "answered": answered,
            "errors": self.errors,
            "achieved_rate": round(rate, 3),
            "rows_per_second": round(rate * self.rows, 3),
            "latency_ms": self.percentiles(),
            "late_ms_p99": round(self.late_ms, 4),
            "kept_up": self.kept_up,
        }


@contextlib.contextmanager
def running(
    target: Target, load: Load, keep_answers: bool = False
) -> Iterator["RunningLoad"]:
    """Sends a load from processes of its own, while the caller goes on.

    Args:
        target: Where it goes.
        load: How much.
        keep_answers: Whether answers come back with the results.

    Yields:
        What waits for the end. Processes that still run when the block ends
        are ended.
    """
    with tempfile.TemporaryDirectory(prefix="tfplugin-load-") as folder:
        started = RunningLoad(target, load, keep_answers, pathlib.Path(folder))
        try:
            yield started
        finally:
            started.end()


def run(target: Target, load: Load, keep_answers: bool = False) -> LoadResult:
    """Sends a load from processes of its own and waits for its end.

    Args:
        target: Where it goes.
        load: How much.
        keep_answers: Whether answers come back with the results.

    Raises:
        RuntimeError: If a process ended before its load.

    Example:
    >>> nobody = Target("http://127.0.0.1:1", "/", [b"{}"], 1)
    >>> run(nobody, Load(0.1, rate=50.0)).errors
    {'UNAVAILABLE': 5}
    """
    with running(target, load, keep_answers) as started:
        return started.result()


class RunningLoad:
    """Processes that send a load; `running` makes one.

    Args:
        target: Where it goes.
        load: How much.
        keep_answers: Whether answers are kept.
        folder: A folder for the processes' files.
    """

    def __init__(
        self,
        target: Target,
        load: Load,
        keep_answers: bool,
        folder: pathlib.Path,
    ) -> None:
        self._target = target
        self._load = load
        self._folders = [folder / str(i) for i in range(load.processes)]
        start = time.time() + _START_DELAY_SECONDS
        self._processes = []
        for index, own in enumerate(self._folders):
            own.mkdir()
            job = _job(target, load, index)
            job["keep_answers"] = keep_answers
            job["start_at"] = start if load.processes > 1 else None
            (own / "job.json").write_text(json.dumps(job), "utf-8")
            load_process.write_frames(own / "bodies.bin", target.bodies)
            self._processes.append(_start(own))

    @property
    def is_running(self) -> bool:
        """Whether requests are still being sent or waited for."""
        return any(process.poll() is None for process in self._processes)

    def result(self) -> LoadResult:
        """Waits for the end.

        Raises:
            RuntimeError: If a process ended before its load.
        """
        for process, folder in zip(self._processes, self._folders, strict=True):
            if process.wait():
                said = (folder / _SAID).read_text("utf-8", "replace")
                raise RuntimeError(
                    "A process that sends the load must end with 0. Received: "
                    f"{process.returncode}. It said: {said[-2000:]}"
                )
        return _merge(self._target, self._load, self._folders)

    def end(self) -> None:
        """Ends processes that still run."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait()


def _start(folder: pathlib.Path) -> "subprocess.Popen[bytes]":
    # As a file, not as a module: the package would bring its server along.
    with (folder / _SAID).open("wb") as said:
        return subprocess.Popen(
            [sys.executable, load_process.__file__, str(folder)],
            stdout=subprocess.DEVNULL,
            stderr=said,
        )


def _job(target: Target, load: Load, index: int) -> dict[str, Any]:
    scheme, _, address = target.url.partition("://")
    tls = None
    if scheme in ("grpcs", "https"):
        files = target.tls or client_specs.ClientTls()
        tls = (files.root_certificates, files.key, files.certificate)
    share = slice(index, None, load.processes)
    clients = len(range(load.clients)[share])
    most = load.requests or sys.maxsize
    connections = max(1, target.connections // load.processes)
    return {
        "protocol": "grpc" if scheme.startswith("grpc") else "http",
        "target": address,
        "url": target.url.rstrip("/") + target.method,
        "method": target.method,
        "tls": tls,
        "channel_options": [
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
        ],
        "connections": connections,
        "greetings": connections,
        "timeout_seconds": target.timeout_seconds,
        "times": load.times()[share].tolist() if load.rate else None,
        "clients": clients,
        "requests": most // load.processes,
        "duration_seconds": load.duration_seconds,
    }


def _merge(
    target: Target, load: Load, folders: Sequence[pathlib.Path]
) -> LoadResult:
    parts, answers = [], []
    for folder in folders:
        with np.load(folder / "results.npz", allow_pickle=False) as found:
            parts.append({name: found[name] for name in found.files})
        kept = folder / "answers.bin"
        if kept.is_file():
            answers += load_process.read_frames(kept)
    whole = {
        name: np.concatenate([part[name] for part in parts])
        for name in parts[0]
    }
    order = np.argsort(whole["intended"], kind="stable")
    names = np.array(load_process.CODES)
    return LoadResult(
        load,
        target.rows,
        whole["intended"][order],
        whole["sent"][order],
        whole["done"][order],
        names[whole["code"][order].astype(int)],
        whole["body"][order].astype(int),
        [answers[i] for i in order.tolist()] if answers else None,
    )
