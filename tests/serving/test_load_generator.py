"""Loads on servers that answer, wait and fail. No test reads a clock."""

import asyncio
import pathlib
import socket
import threading

import numpy as np
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_serving.apis import predict_pb2

import serving
from serving import client_specs
from serving import client_tensors
from serving import load_generator
from serving import load_process
from serving import load_requests
from tests.serving import conftest

Load = load_generator.Load
Target = load_generator.Target


@pytest.fixture
def http_server():
    """Runs a handler of aiohttp; returns the address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runners = []

    def start(handler):
        async def run():
            application = web.Application()
            application.router.add_route("*", "/{tail:.*}", handler)
            runner = web.AppRunner(application, shutdown_timeout=0.1)
            await runner.setup()
            runners.append(runner)
            listener = socket.create_server(("127.0.0.1", 0))
            await web.SockSite(runner, listener).start()
            return f"http://127.0.0.1:{listener.getsockname()[1]}"

        return asyncio.run_coroutine_threadsafe(run(), loop).result()

    yield start
    for runner in runners:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def columns(size):
    rows = conftest.make_rows(size, 3)
    return {name: list(values) for name, values in rows.items()}


@pytest.mark.parametrize(("protocol", "processes"), [("grpc", 2), ("http", 1)])
def test_open_loop_on_a_server(ranker_server, protocol, processes):
    port = {
        "grpc": ranker_server.grpc_port,
        "http": ranker_server.rest_port,
    }[protocol]
    target = load_requests.make_target(
        f"{protocol}://127.0.0.1:{port}",
        "ranker",
        columns(9),
        4,
        connections=2,
        timeout_seconds=60,
    )
    assert (len(target.bodies), target.rows) == (2, 4)
    load = Load(0.5, rate=40, processes=processes)
    result = load_generator.run(target, load, keep_answers=True)
    found = result.to_json()
    assert (found["requests"], found["answered"]) == (20, 20), found
    assert found["errors"] == {}
    np.testing.assert_allclose(result.intended, np.arange(20) / 40)
    assert (result.sent >= result.intended).all()
    assert (result.done > result.sent).all()
    latency = found["latency_ms"]
    order = ["p50", "p90", "p99", "p99.9", "max"]
    assert [latency[k] for k in order] == sorted(latency[k] for k in order)
    assert len(result.answers) == 20
    if protocol == "grpc":
        check_answers(result)


def check_answers(result):
    rows = conftest.make_rows(9, 3)
    for body, answer in zip(result.bodies, result.answers, strict=True):
        response = predict_pb2.PredictResponse.FromString(answer)
        found = client_tensors.to_array(response.outputs["click"])
        chosen = {k: v[4 * body : 4 * body + 4] for k, v in rows.items()}
        np.testing.assert_allclose(
            found, conftest.reference(chosen, 0.25)["click"], rtol=1e-6
        )


@pytest.mark.parametrize("clients", [1, 3])
def test_closed_loop_on_a_server(ranker_server, clients):
    target = load_requests.make_target(
        f"grpc://127.0.0.1:{ranker_server.grpc_port}",
        "ranker",
        columns(2),
        1,
        timeout_seconds=60,
    )
    load = Load(600.0, clients=clients, requests=30)
    result = load_generator.run(target, load)
    assert result.errors == {}
    assert len(result.codes) == 30
    assert result.kept_up
    assert result.answers is None
    assert set(result.bodies.tolist()) == {0, 1}


def test_an_open_loop_does_not_wait_for_answers(http_server):
    # Nothing is answered before the 20th request: a closed loop would hang,
    # and the first request's latency holds the time of all.
    arrived = []
    everyone = asyncio.Event()

    async def handler(request):
        if (await request.read()) == b"greet":
            return web.Response()
        arrived.append(request)
        if len(arrived) == 20:
            everyone.set()
        await everyone.wait()
        return web.Response()

    url = http_server(handler)
    # The first body greets, before the clock runs.
    bodies = [b"greet", *[b"x"] * 20]
    target = Target(url, "/", bodies, 1, connections=30, timeout_seconds=60)
    result = load_generator.run(target, Load(0.42, rate=50))
    assert result.errors == {}
    assert len(result.codes) == 21
    assert result.latency_ms[1] >= 1e3 * (20 - 1) / 50
    # It is counted from when it was to be sent, not from when it was.
    late = (result.done - result.sent) * 1e3
    assert (result.latency_ms >= late).all()


def test_errors_are_counted_by_code(http_server):
    statuses = iter([200, 200, 503, 400, 418, 504, 200, 503] * 9)

    async def handler(request):
        return web.Response(status=next(statuses))

    target = Target(http_server(handler), "/", [b"x"], 1, timeout_seconds=60)
    result = load_generator.run(target, Load(600.0, clients=1, requests=7))
    assert result.errors == {
        "UNAVAILABLE": 2,
        "INVALID_ARGUMENT": 1,
        "UNKNOWN": 1,
        "DEADLINE_EXCEEDED": 1,
    }
    assert result.to_json()["answered"] == 2


def test_disconnects_and_time_outs_are_errors(http_server):
    async def handler(request):
        if (await request.read()) == b"hang":
            await asyncio.sleep(3600)
        request.transport.close()
        return web.Response()

    target = Target(
        http_server(handler), "/", [b"leave", b"hang"], 1, timeout_seconds=0.5
    )
    result = load_generator.run(target, Load(600.0, clients=1, requests=2))
    assert result.codes.tolist() == ["UNAVAILABLE", "DEADLINE_EXCEEDED"]
    assert result.percentiles()["p50"] is None


def test_a_load_may_be_cut_short(http_server):
    async def handler(request):
        return web.Response()

    target = Target(http_server(handler), "/", [b"x"], 1)
    with load_generator.running(target, Load(600.0, rate=5)) as started:
        assert started.is_running
    assert not started.is_running


def test_a_process_that_fails_is_an_error():
    target = Target("grpcs://127.0.0.1:1", "/m", [b"x"], 1)
    tls = client_specs.ClientTls(root_certificates="absent.pem")
    target = Target(target.url, "/m", [b"x"], 1, tls=tls)
    with pytest.raises(RuntimeError, match=r"absent\.pem"):
        load_generator.run(target, Load(1.0, rate=1))


def test_a_generator_that_was_too_slow_says_so():
    times = np.arange(100) / 100
    codes = np.array(["OK"] * 100)
    bodies = np.zeros(100, int)

    def result(sent, codes=codes):
        return load_generator.LoadResult(
            Load(1.0, rate=100), 1, times, sent, sent + 0.001, codes, bodies
        )

    assert result(times).kept_up
    assert not result(times * 1.2).kept_up
    assert not result(times + 0.05).kept_up
    assert not result(times, np.array(["CANCELLED"] + ["OK"] * 99)).kept_up
    assert result(times * 1.2).to_json()["late_ms_p99"] > 150


def test_percentiles_are_numpys():
    generator = np.random.default_rng(3)
    spent = generator.exponential(0.01, 5000)
    times = np.arange(5000) / 1000
    result = load_generator.LoadResult(
        Load(5.0, rate=1000),
        8,
        times,
        times,
        times + spent,
        np.array(["OK"] * 5000),
        np.zeros(5000, int),
    )
    found = result.percentiles()
    for name, p in (("p50", 50), ("p99.9", 99.9), ("max", 100)):
        assert found[name] == pytest.approx(
            np.percentile(spent * 1e3, p), abs=1e-3
        )
    whole = result.to_json()
    assert whole["rows_per_second"] == pytest.approx(
        8 * whole["achieved_rate"], abs=0.01
    )


@given(st.integers(1, 2000), st.integers(1, 8), st.integers(0, 9))
def test_random_arrivals(rate, seconds, seed):
    times = Load(float(seconds), rate=rate, poisson=True, seed=seed).times()
    assert (np.diff(times) >= 0).all()
    assert times.max(initial=0.0) < seconds
    mean = rate * seconds
    assert abs(len(times) - mean) <= 8 * mean**0.5 + 8
    again = Load(float(seconds), rate=rate, poisson=True, seed=seed).times()
    np.testing.assert_array_equal(times, again)


@given(st.lists(st.binary(max_size=50), max_size=9))
def test_frames(frames):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "frames")
        load_process.write_frames(path, frames)
        assert load_process.read_frames(path) == frames


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"rate": 0}, "rate=0"),
        ({"rate": float("inf")}, "rate=inf"),
        ({"clients": 0}, "clients=0"),
        ({"processes": 0}, "processes=0"),
        ({"duration_seconds": -1.0}, "duration_seconds=-1.0"),
    ],
)
def test_impossible_loads(arguments, says):
    with pytest.raises(ValueError, match=says):
        Load(**{"duration_seconds": 1.0} | arguments)


def test_impossible_targets(ranker_server):
    with pytest.raises(ValueError, match="0 bodies"):
        Target("grpc://h:1", "/m", [], 1)
    with pytest.raises(ValueError, match="batch_size=3, 2 rows"):
        load_requests.make_target(
            f"http://127.0.0.1:{ranker_server.rest_port}",
            "ranker",
            columns(2),
            3,
        )


def test_random_columns_are_taken(ranker_server):
    url = f"http://127.0.0.1:{ranker_server.rest_port}"
    with serving.Client(url, "ranker", timeout_seconds=60) as client:
        rows = load_requests.random_columns(client.signature(), 30)
        assert set(rows) == {"age", "city", "filters", "price"}
        found = client.predict(rows)
    assert np.isfinite(found["click"]).all()
    vector = client_specs.ClientTensorSpec("float32", (None, 3))
    with pytest.raises(ValueError, match="`v` takes"):
        load_requests.random_columns(
            client_specs.ClientSignature({"v": vector}, {}, ""), 1
        )


def test_the_process_needs_no_tensorflow():
    import subprocess
    import sys

    program = (
        "import runpy, sys\n"
        "runpy.run_path(sys.argv[1])\n"
        "assert not {'tensorflow', 'serving', 'tfplugin'} & set(sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-c", program, load_process.__file__], check=True
    )
