"""The process that sends a load. It imports nothing of ours, and no TensorFlow.

`python load_process.py FOLDER` reads `job.json` and `bodies.bin` there, sends
the bodies as they are, and writes `results.npz` and, if asked, `answers.bin`.
`serving.load_generator` writes the job and reads the results.
"""

import argparse
import asyncio
import json
import pathlib
import selectors
import struct
import sys
import time
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import aiohttp
import grpc
import grpc.aio
import numpy as np

_LENGTH = struct.Struct("<q")
#: Names of codes, by their number in `results.npz`.
CODES = tuple(code.name for code in grpc.StatusCode)
_HTTP = {
    200: "OK",
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    412: "FAILED_PRECONDITION",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
# Requests of one process that wait for an answer; what would be sent beyond
# them counts as an error of its own, since memory is finite.
_MOST_WAITING = 20_000
_NOT_SENT = "CANCELLED"

Send = Callable[[int, bytes], Awaitable[tuple[str, bytes]]]


class Log:
    """Times and codes of requests, in the order they were meant to be sent.

    Args:
        keep_answers: Whether answers are kept.

    Example:
    >>> log = Log(keep_answers=False)
    >>> log.add(0.0, 0.1, 0.3, "OK", 7, b"answer")
    >>> log.arrays()["done"].tolist()
    [0.3]
    """

    def __init__(self, keep_answers: bool) -> None:
        self._rows: list[tuple[float, float, float, int, int]] = []
        self._numbers = {name: i for i, name in enumerate(CODES)}
        self.answers: list[bytes] | None = [] if keep_answers else None

    def add(
        self,
        intended: float,
        sent: float,
        done: float,
        code: str,
        body: int,
        answer: bytes,
    ) -> None:
        """Adds a request that is over."""
        number = self._numbers.get(code, self._numbers["UNKNOWN"])
        self._rows.append((intended, sent, done, number, body))
        if self.answers is not None:
            self.answers.append(answer)

    def arrays(self) -> dict[str, np.ndarray]:
        """One array a column."""
        names = ("intended", "sent", "done", "code", "body")
        table = np.array(self._rows, np.float64).reshape(-1, len(names))
        return {name: table[:, i] for i, name in enumerate(names)}


def write_frames(path: pathlib.Path, frames: Sequence[bytes]) -> None:
    """Writes byte strings one after the other, each after its length.

    Args:
        path: The file.
        frames: What to write.

    Example:
    >>> write_frames(pathlib.Path("frames.bin"), [b"ab", b""])
    >>> read_frames(pathlib.Path("frames.bin"))
    [b'ab', b'']
    """
    with path.open("wb") as file:
        for frame in frames:
            file.write(_LENGTH.pack(len(frame)))
            file.write(frame)


def read_frames(path: pathlib.Path) -> list[bytes]:
    """Reads what `write_frames` wrote; its example shows both.

    Args:
        path: The file.
    """
    data = path.read_bytes()
    frames, position = [], 0
    while position < len(data):
        (length,) = _LENGTH.unpack_from(data, position)
        position += _LENGTH.size
        frames.append(data[position : position + length])
        position += length
    return frames


async def send_open(
    send: Send, bodies: Sequence[bytes], times: np.ndarray, log: Log
) -> None:
    """Sends at the given times, whether or not answers have come.

    Args:
        send: Sends one body over one of the connections.
        bodies: Sent in turn.
        times: Seconds from now, ascending.
        log: Where results go; its times are seconds from now.
    """
    origin = time.perf_counter()
    waiting: set[asyncio.Task[None]] = set()

    async def one(index: int, intended: float) -> None:
        body = index % len(bodies)
        sent = time.perf_counter() - origin
        code, answer = await send(index, bodies[body])
        done = time.perf_counter() - origin
        log.add(intended, sent, done, code, body, answer)

    for index, intended in enumerate(times.tolist()):
        wait = intended - (time.perf_counter() - origin)
        # Also when late: answers must be read between two requests.
        await asyncio.sleep(max(wait, 0.0))
        if len(waiting) >= _MOST_WAITING:
            now = time.perf_counter() - origin
            log.add(intended, now, now, _NOT_SENT, index % len(bodies), b"")
            continue
        task = asyncio.create_task(one(index, intended))
        waiting.add(task)
        task.add_done_callback(waiting.discard)
    if waiting:
        await asyncio.wait(waiting)


async def send_closed(
    send: Send,
    bodies: Sequence[bytes],
    clients: int,
    limits: tuple[float, int],
    log: Log,
) -> None:
    """Each of some clients sends when its last request was answered.

    Args:
        send: Sends one body over one of the connections.
        bodies: Sent in turn.
        clients: How many.
        limits: Seconds after which no more is sent, and a number of requests.
        log: Where results go.
    """
    seconds, most = limits
    origin = time.perf_counter()
    numbers = iter(range(most))

    async def one(client: int) -> None:
        for index in numbers:
            sent = time.perf_counter() - origin
            if sent >= seconds:
                return
            body = index % len(bodies)
            code, answer = await send(client, bodies[body])
            done = time.perf_counter() - origin
            log.add(sent, sent, done, code, body, answer)

    await asyncio.gather(*(one(client) for client in range(clients)))


async def run_grpc(job: dict[str, Any], bodies: list[bytes], log: Log) -> None:
    """Sends bodies, which are serialized requests, over gRPC channels."""
    options = [(key, value) for key, value in job["channel_options"]]
    # Else channels to one address share one connection.
    options.append(("grpc.use_local_subchannel_pool", 1))
    if job["tls"] is None:
        channels = [
            grpc.aio.insecure_channel(job["target"], options)
            for _ in range(job["connections"])
        ]
    else:
        files = [
            pathlib.Path(path).read_bytes() if path else None
            for path in job["tls"]
        ]
        secrets = grpc.ssl_channel_credentials(*files)
        channels = [
            grpc.aio.secure_channel(job["target"], secrets, options)
            for _ in range(job["connections"])
        ]
    methods = [channel.unary_unary(job["method"]) for channel in channels]
    timeout = job["timeout_seconds"]

    async def send(index: int, body: bytes) -> tuple[str, bytes]:
        method = methods[index % len(methods)]
        try:
            return "OK", await method(body, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            return error.code().name, b""

    try:
        await _run(send, job, bodies, log)
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))


async def run_http(job: dict[str, Any], bodies: list[bytes], log: Log) -> None:
    """Posts bodies, which are JSON documents."""
    tls: Any = True
    if job["tls"] is not None:
        import ssl

        root, key, certificate = job["tls"]
        tls = ssl.create_default_context(cafile=root)
        if certificate:
            tls.load_cert_chain(certificate, key)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=job["connections"], ssl=tls),
        timeout=aiohttp.ClientTimeout(total=job["timeout_seconds"]),
        headers={"Content-Type": "application/json"},
    ) as session:

        async def send(index: int, body: bytes) -> tuple[str, bytes]:
            try:
                async with session.post(job["url"], data=body) as response:
                    answer = await response.read()
                    return _HTTP.get(response.status, "UNKNOWN"), answer
            except TimeoutError:
                return "DEADLINE_EXCEEDED", b""
            except aiohttp.ClientError:
                return "UNAVAILABLE", b""

        await _run(send, job, bodies, log)


async def _run(
    send: Send, job: dict[str, Any], bodies: list[bytes], log: Log
) -> None:
    # Connections are made before the clock runs.
    await asyncio.gather(*(send(i, bodies[0]) for i in range(job["greetings"])))
    if job["start_at"] is not None:
        # Several processes begin together.
        await asyncio.sleep(max(0.0, job["start_at"] - time.time()))
    if job["times"] is not None:
        await send_open(send, bodies, np.array(job["times"]), log)
    else:
        limits = job["duration_seconds"], job["requests"]
        await send_closed(send, bodies, job["clients"], limits, log)


def _new_loop() -> asyncio.AbstractEventLoop:
    # select waits to the microsecond, epoll to the millisecond above; what a
    # request is sent late would count as its latency.
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


def main(arguments: Sequence[str] | None = None) -> int:
    """Sends the load of a folder.

    Args:
        arguments: The folder; None for this process's words.

    Returns:
        0.
    """
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    folder = parser.parse_args(arguments).folder
    job = json.loads((folder / "job.json").read_text("utf-8"))
    bodies = read_frames(folder / "bodies.bin")
    log = Log(job["keep_answers"])
    run = run_grpc if job["protocol"] == "grpc" else run_http
    # `select` takes descriptors below 1024.
    few = job["connections"] < 400
    with asyncio.Runner(loop_factory=_new_loop if few else None) as runner:
        runner.run(run(job, bodies, log))
    if log.answers is not None:
        write_frames(folder / "answers.bin", log.answers)
    arrays: Any = log.arrays()
    np.savez(folder / "results.npz", **arrays)
    return 0


if __name__ == "__main__":
    sys.exit(main())
