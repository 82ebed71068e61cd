"""What a server adds to calling the model itself, and how it holds out.

    python -m benchmarks.serving --workdir work/cj --docs docs

The model of --workdir is served by `tfplugin serve` in one process, the load
comes from others (`serving.load_generator`), and what it is compared with, the
signature called in this process, takes turns with them: a ratio is one of the
same round, and the median over rounds counts. Server and load share a machine,
so run it on an idle one. Parts, each of which runs alone by --only:

latency   one blocking client, batch 1: p50 over gRPC less p50 in this process
batch     two clients, batch 256: rows a second over those in this process
clients   64 clients, batch 1, with request batching and without: rows a second
          over those in this process at batch 64, and p99
versions  10,000 requests while five versions are published in turn: failed
          ones, answers that are not their version's, p99 over the quiet p99
soak      memory of the server under an even load
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from serving import client as client_lib
from serving import client_columns
from serving import client_tensors
from serving import load_generator
from serving import load_requests
from serving import prediction_error
from tfplugin import data
from tfplugin.export import warm_up

NAME = "model"
VERSIONS = 5
ROWS = 4096
PARTS = ("latency", "batch", "clients", "versions", "soak")
BATCHING = """
max_batch_size { value: 64 }
batch_timeout_micros { value: 1000 }
max_enqueued_batches { value: 1000 }
num_batch_threads { value: 2 }
"""


def export_of(workdir: pathlib.Path) -> pathlib.Path:
    """The newest exported version."""
    found = [p.parent for p in workdir.glob("model/*/saved_model.pb")]
    if not found:
        raise SystemExit(f"{workdir} holds no export: run `tfplugin export`")
    return max(found, key=lambda path: int(path.name))


class Served:
    """A server in a process of its own."""

    def __init__(
        self, base: pathlib.Path, folder: pathlib.Path, batching: bool
    ) -> None:
        ports = [_free_port(), _free_port()]
        words = [
            *("-m", "tfplugin", "serve", "--model-base-path", str(base)),
            *("--model-name", NAME, "--poll-seconds", "0.2"),
            *("--rest-port", str(ports[0]), "--grpc-port", str(ports[1])),
        ]
        if batching:
            path = folder / "batching_parameters.txt"
            path.write_text(BATCHING)
            words += ["--batching-parameters-file", str(path)]
        self._said = folder / "server.log"
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, *words], stdout=said, stderr=said
            )
        self.url = f"grpc://127.0.0.1:{ports[1]}"

    def wait(self) -> None:
        with client_lib.Client(self.url, NAME, timeout_seconds=5) as client:
            for _ in range(600):
                if self.process.poll() is not None:
                    raise SystemExit(self._said.read_text())
                with contextlib.suppress(prediction_error.PredictionError):
                    if any(v.state == "AVAILABLE" for v in client.status()):
                        return
                time.sleep(0.1)
        raise SystemExit("The server does not answer.")

    def memory_bytes(self) -> int:
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(x for x in status.splitlines() if x.startswith("VmRSS"))
        return int(line.split()[1]) * 1024


@contextlib.contextmanager
def serving(base: pathlib.Path, batching: bool = False) -> Iterator[Served]:
    with tempfile.TemporaryDirectory() as folder:
        served = Served(base, pathlib.Path(folder), batching)
        try:
            served.wait()
            yield served
        finally:
            served.process.terminate()
            served.process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def timed(
    call: Callable[[Any], Any], arguments: Sequence[Any], seconds: float
) -> list[float]:
    """Calls one after the other; the seconds each took."""
    for argument in arguments[:8]:
        call(argument)
    spent: list[float] = []
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends:
        started = time.perf_counter()
        call(arguments[len(spent) % len(arguments)])
        spent.append(time.perf_counter() - started)
    return spent


class InProcess:
    """The signature, called as it is."""

    def __init__(self, path: pathlib.Path) -> None:
        self._loaded = tf.saved_model.load(str(path))
        self._call = self._loaded.signatures["serving_default"]

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        tensors = {
            name: tf.constant(value, tf.string)
            if value.dtype == object
            else tf.constant(value)
            for name, value in inputs.items()
        }
        return {k: v.numpy() for k, v in self._call(**tensors).items()}

    def measure(
        self, batches: list[dict[str, np.ndarray]], seconds: float
    ) -> tuple[float, float]:
        """p50 in ms, and rows a second."""
        rows = len(next(iter(batches[0].values())))
        spent = timed(self, batches, seconds)
        return float(np.median(spent)) * 1e3, rows * len(spent) / sum(spent)


def read_rows(workdir: pathlib.Path) -> dict[str, list[Any]]:
    """Rows of the test split, as a client has them."""
    dataset = data.open_dataset(workdir / "dataset")
    features, *_ = next(iter(dataset.test(ROWS)))
    found: dict[str, list[Any]] = {}
    for name, values in features.items():
        if isinstance(values, tf.RaggedTensor):
            found[name] = values.to_list()
        else:
            found[name] = values.numpy().tolist()
    return found


class Bench:
    """The rows, the model here, and how long each turn takes."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.path = export_of(options.workdir)
        self.base = self.path.parent
        self.seconds = options.seconds
        self.rounds = options.rounds
        self.here = InProcess(self.path)
        with serving(self.base) as served, self.client(served) as client:
            self.signature = client.signature()
        self.schema = data.open_dataset(options.workdir / "dataset").schema
        rows = read_rows(options.workdir)
        self.columns = {name: rows[name] for name in self.signature.columns}

    def client(self, served: Served) -> client_lib.Client:
        return client_lib.Client(served.url, NAME, timeout_seconds=30)

    def batches(self, size: int) -> list[dict[str, np.ndarray]]:
        return [
            client_columns.encode(
                {k: v[at : at + size] for k, v in self.columns.items()},
                self.signature,
            )
            for at in range(0, ROWS - size + 1, size)
        ]

    def target(
        self, served: Served, size: int, connections: int = 1
    ) -> load_generator.Target:
        return load_requests.make_target(
            served.url,
            NAME,
            self.columns,
            size,
            connections=connections,
            timeout_seconds=30,
        )

    def blocking(self, target: load_generator.Target) -> dict[str, float]:
        """One client, which waits for each answer, in this process."""
        address = target.url.removeprefix("grpc://")
        with grpc.insecure_channel(address) as channel:
            call = channel.unary_unary(target.method)
            spent = timed(
                lambda body: call(body, timeout=30), target.bodies, self.seconds
            )
        p50, p99 = np.percentile(spent, [50, 99]) * 1e3
        return {
            "p50_ms": p50,
            "p99_ms": p99,
            "rows_per_second": target.rows * len(spent) / sum(spent),
            "errors": 0,
        }

    def closed(
        self, target: load_generator.Target, clients: int
    ) -> dict[str, Any]:
        load = load_generator.Load(self.seconds, clients=clients)
        return load_generator.run(target, load).to_json()

    def compare(
        self, size_here: int, size: int, clients: int, *, batching: bool = False
    ) -> list[dict[str, Any]]:
        """Rounds of turns: in this process, then through the server."""
        rounds = []
        here = self.batches(size_here)
        with serving(self.base, batching) as served:
            target = self.target(served, size, min(clients, 8))
            self.closed(target, clients)
            for _ in range(self.rounds):
                p50, rows = self.here.measure(here, self.seconds)
                if clients == 1:
                    found = self.blocking(target)
                else:
                    found = self.many(target, clients)
                rounds.append(
                    {
                        "here_p50_ms": p50,
                        "here_rows_per_second": rows,
                        **found,
                        "added_p50_ms": found["p50_ms"] - p50,
                        "ratio": found["rows_per_second"] / rows,
                    }
                )
        return rounds

    def many(
        self, target: load_generator.Target, clients: int
    ) -> dict[str, float]:
        """Clients in processes of their own."""
        found = self.closed(target, clients)
        return {
            "p50_ms": found["latency_ms"]["p50"],
            "p99_ms": found["latency_ms"]["p99"],
            "rows_per_second": found["rows_per_second"],
            "errors": sum(found["errors"].values()),
        }


def middle(rounds: list[dict[str, Any]]) -> dict[str, float]:
    return {
        name: round(float(np.median([one[name] for one in rounds])), 4)
        for name in rounds[0]
    }


def latency(bench: Bench) -> dict[str, Any]:
    found: dict[str, Any] = middle(bench.compare(1, 1, 1))
    found["met"] = found["added_p50_ms"] <= 1.5 and not found["errors"]
    return found


def batch(bench: Bench) -> dict[str, Any]:
    found: dict[str, Any] = middle(bench.compare(256, 256, 2))
    found["met"] = found["ratio"] >= 0.7 and not found["errors"]
    return found


def clients(bench: Bench) -> dict[str, Any]:
    found: dict[str, Any] = {
        "batching": middle(bench.compare(64, 1, 64, batching=True)),
        "without": middle(bench.compare(64, 1, 64)),
    }
    on = found["batching"]
    found["met"] = (
        on["ratio"] >= 0.25 and on["p99_ms"] < 50 and not on["errors"]
    )
    return found


class Scaled(tf.Module):
    """The model with answers that tell their version."""

    def __init__(self, loaded: Any, version: int) -> None:
        super().__init__()
        self.loaded = loaded
        self.call = loaded.signatures["serving_default"]
        self.factor = factor(version)

    def answer(self, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {k: self.factor * v for k, v in self.call(**inputs).items()}


def factor(version: int) -> float:
    return 1.0 - version / 16


def save_versions(bench: Bench, folder: pathlib.Path) -> None:
    for version in range(1, VERSIONS + 2):
        module = Scaled(tf.saved_model.load(str(bench.path)), version)
        _, specs = module.call.structured_input_signature
        answer = tf.function(module.answer).get_concrete_function(**specs)
        path = folder / str(version)
        tf.saved_model.save(module, str(path), answer)
        # As every version that `tfplugin export` writes.
        warm_up.write(path, bench.schema)


def versions(bench: Bench, requests: int = 10_000) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        made, base = pathlib.Path(folder, "made"), pathlib.Path(folder, "base")
        save_versions(bench, made)
        base.mkdir()
        shutil.copytree(made / "1", base / "1")
        with serving(base) as served:
            target = bench.target(served, 1, 8)
            most = bench.closed(target, 4)["achieved_rate"]
            # Half of what it can do, so that a queue is a delay's doing.
            rate = min(most / 2, 500.0)
            quiet = load_generator.run(
                target, load_generator.Load(bench.seconds, rate=rate)
            ).to_json()
            load = load_generator.Load(
                requests / rate, rate=rate, requests=requests
            )
            with load_generator.running(target, load, True) as started:
                for version in range(2, VERSIONS + 2):
                    time.sleep(requests / rate / (VERSIONS + 1))
                    # As a publisher does: copied beside, renamed when whole.
                    shutil.copytree(made / str(version), base / ".copied")
                    (base / ".copied").rename(base / str(version))
                result = started.result()
        mixed_up, seen = count_mixed_up(bench, result)
    p99 = result.percentiles()["p99"] or float("inf")
    found = {
        "requests": len(result.codes),
        "rate": round(rate, 1),
        "failed": sum(result.errors.values()),
        "mixed_up": mixed_up,
        "versions_seen": sorted(seen),
        "quiet_p99_ms": quiet["latency_ms"]["p99"],
        "p99_ms": p99,
        "ratio": round(p99 / quiet["latency_ms"]["p99"], 3),
        "kept_up": result.kept_up,
    }
    found["met"] = (
        not found["failed"]
        and not mixed_up
        and len(seen) == VERSIONS + 1
        and found["ratio"] < 3
    )
    return found


def count_mixed_up(
    bench: Bench, result: load_generator.LoadResult
) -> tuple[int, set[int]]:
    """Answers that are not their version's, or another row's."""
    expected = bench.here(bench.batches(ROWS)[0])
    wrong, seen = 0, set()
    for ok, body, answer in zip(
        result.answered, result.bodies, result.answers or [], strict=True
    ):
        if not ok:
            continue
        response = predict_pb2.PredictResponse.FromString(answer)
        version = response.model_spec.version.value
        seen.add(version)
        wrong += not all(
            np.allclose(
                client_tensors.to_array(response.outputs[name]),
                factor(version) * values[body],
                rtol=1e-4,
                atol=1e-6,
            )
            for name, values in expected.items()
        )
    return wrong, seen


def soak(bench: Bench, seconds: float) -> dict[str, Any]:
    taken: list[tuple[float, int]] = []
    with serving(bench.base, batching=True) as served:
        target = bench.target(served, 1, 8)
        most = bench.closed(target, 8)["achieved_rate"]
        load = load_generator.Load(seconds, rate=most / 2)
        with load_generator.running(target, load) as started:
            begun = time.monotonic()
            while started.is_running:
                taken.append((time.monotonic() - begun, served.memory_bytes()))
                time.sleep(min(1.0, seconds / 60))
            result = started.result()
    # The first quarter warms up.
    late = [size for at, size in taken if at > seconds / 4]
    half = len(late) // 2
    growth = np.median(late[half:]) / np.median(late[:half]) - 1
    found = result.to_json()
    step = max(1, len(taken) // 100)
    return {
        "requests": found["requests"],
        "errors": found["errors"],
        "latency_ms": found["latency_ms"],
        "growth": round(float(growth), 5),
        "memory": [[round(at, 1), size] for at, size in taken[::step]],
        "met": bool(growth < 0.01) and not found["errors"],
    }


def markdown(found: dict[str, Any]) -> str:
    lines = ["| what | measured | wanted | |", "|---|---|---|---|"]

    def add(what: str, measured: str, wanted: str, met: bool) -> None:
        lines.append(
            f"| {what} | {measured} | {wanted} | {'met' if met else 'missed'} |"
        )

    if one := found.get("latency"):
        shown = (
            f"{one['added_p50_ms']:.2f} ms beyond {one['here_p50_ms']:.2f} ms"
        )
        add("batch 1, one client: p50", shown, "1.5 ms", one["met"])
    if one := found.get("batch"):
        add(
            "batch 256: rows/s to in-process",
            f"{one['ratio']:.2f}",
            "0.7",
            one["met"],
        )
    if one := found.get("clients"):
        on, off = one["batching"], one["without"]
        shown = (
            f"{on['ratio']:.2f}, p99 {on['p99_ms']:.1f} ms; without batching "
            f"{off['ratio']:.2f}, {off['p99_ms']:.1f} ms"
        )
        what = "64 clients, batching: rows/s to batch 64 in-process"
        add(what, shown, "0.25, 50 ms", one["met"])
    if one := found.get("versions"):
        shown = (
            f"{one['failed']} failed, {one['mixed_up']} mixed up, p99 "
            f"{one['ratio']:.2f} × {one['quiet_p99_ms']:.1f} ms"
        )
        what = f"{one['requests']:,} requests, {VERSIONS} versions published"
        add(what, shown, "0, 0, 3 ×", one["met"])
    if one := found.get("soak"):
        shown = f"{one['growth']:+.2%} over {one['requests']:,} requests"
        add("memory, first to second half", shown, "flat", one["met"])
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--workdir", type=pathlib.Path, required=True)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=[*PARTS])
    parser.add_argument("--seconds", type=float, default=5.0, help="of a turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--soak-seconds", type=float, default=300.0)
    parser.add_argument(
        "--docs", type=pathlib.Path, help="writes results/serving.json there"
    )
    options = parser.parse_args()
    load = round(os.getloadavg()[0], 2)
    bench = Bench(options)
    parts = {
        "latency": lambda: latency(bench),
        "batch": lambda: batch(bench),
        "clients": lambda: clients(bench),
        "versions": lambda: versions(bench, options.requests),
        "soak": lambda: soak(bench, options.soak_seconds),
    }
    found: dict[str, Any] = {name: parts[name]() for name in options.only}
    found["settings"] = {
        "seconds": options.seconds,
        "rounds": options.rounds,
        "requests": options.requests,
        "soak_seconds": options.soak_seconds,
        "batching": BATCHING.split("\n")[1:-1],
    }
    found["machine"] = f"{platform.machine()}, {os.cpu_count()} cores"
    found["load_before"] = load
    found["versions_of_packages"] = {"tensorflow": tf.__version__}
    if options.docs:
        path = options.docs / "results" / "serving.json"
        path.write_text(json.dumps(found, indent=1) + "\n")
    print(markdown(found))


if __name__ == "__main__":
    main()
