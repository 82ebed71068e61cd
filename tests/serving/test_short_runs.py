import asyncio
import math
import threading

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import model_pb2

from serving import calls as calls_lib
from serving import model_config
from serving import model_manager
from serving import request_error
from serving import server_options
from serving import short_runs

RUNS = 16


def test_runs_of_other_models_signatures_or_sizes_do_not_count():
    runs = short_runs.ShortRuns()
    small, large = [np.zeros(4)], [np.zeros(40)]
    for _ in range(RUNS):
        runs.add(runs.kind(("ctr", 1, ""), small), 0.001)
    assert runs.are_short(runs.kind(("ctr", 1, ""), small))
    assert not runs.are_short(runs.kind(("ctr", 1, "scores"), small))
    assert not runs.are_short(runs.kind(("cvr", 1, ""), small))
    assert not runs.are_short(runs.kind(("ctr", 2, ""), small))
    assert not runs.are_short(runs.kind(("ctr", 1, ""), large))


def test_kinds_do_not_pile_up():
    runs = short_runs.ShortRuns()
    for version in range(20_000):
        runs.add(runs.kind(("ctr", version, ""), []), 0.0)
    assert len(runs._in_a_row) <= 4_096


@pytest.mark.parametrize("seconds", [0.002, 3.0, math.inf])
def test_one_long_run_or_failure_begins_anew(seconds):
    runs = short_runs.ShortRuns()
    kind = runs.kind(("ctr", 1, ""), [np.zeros(4)])
    for _ in range(5 * RUNS):
        runs.add(kind, 0.0)
    runs.add(kind, seconds)
    for _ in range(RUNS - 1):
        runs.add(kind, 0.001)
    assert not runs.are_short(kind)
    runs.add(kind, 0.001)
    assert runs.are_short(kind)


def test_size_is_that_of_strings_and_many_values_are_of_no_kind():
    runs = short_runs.ShortRuns()

    def kind(*values):
        return runs.kind(("ctr", 1, ""), [np.array(values, object)])

    assert kind(b"a", b"b") == kind(b"abc")
    assert kind(b"a") != kind(b"a" * 1000)
    assert runs.kind(("ctr", 1, ""), [np.zeros(1 << 8)]) is not None
    many = runs.kind(("ctr", 1, ""), [np.zeros(1 << 8), np.zeros(1)])
    runs.add(many, 0.0)
    assert many is None
    assert not runs.are_short(many)


class WatchedManager(model_manager.ModelManager):
    """Notes in which threads models are run."""

    def predict(self, *arguments):
        self.threads.append(threading.current_thread())
        return super().predict(*arguments)


@pytest.fixture
def calls(slow_base):
    manager = WatchedManager(model_config.of_one_model("slow", slow_base))
    manager.threads = []
    manager.start()
    made = calls_lib.Calls(manager, server_options.Limits())
    yield made
    made.close()
    manager.stop()


async def ask(calls, turns, times, signature="", output_filter=()):
    spec = model_pb2.ModelSpec(name="slow")

    async def function(call):
        inputs = {"turns": np.array([turns])}
        return await calls.run(call, spec, signature, inputs, output_filter)

    for _ in range(times):
        await asyncio.sleep(0.01)
        await calls.answer("Predict", "GRPC", function)


def test_threads_are_for_what_is_not_known_to_be_short(calls, monkeypatch):
    # However slow the machine is.
    monkeypatch.setattr(short_runs, "_SHORT_SECONDS", 3600.0)
    threads = calls.manager.threads

    async def run():
        await ask(calls, 1, RUNS)
        assert threading.current_thread() not in threads
        threads.clear()
        await ask(calls, 1, 3)
        assert threads == 3 * [threading.current_thread()]
        threads.clear()
        # Of these outputs the model may have no graph yet.
        await ask(calls, 1, 1, output_filter=["y"])
        assert threading.current_thread() not in threads
        threads.clear()
        # Where two run, neither is held up by the other.
        await asyncio.gather(*(ask(calls, 1, 1) for _ in range(8)))
        assert threads.count(threading.current_thread()) < 8
        with pytest.raises(request_error.RequestError) as error:
            await ask(calls, 1, 1, "absent")
        assert error.value.code == grpc.StatusCode.FAILED_PRECONDITION
        threads.clear()
        monkeypatch.setattr(short_runs, "_SHORT_SECONDS", 0.0)
        await ask(calls, 1, 1)
        assert threads == [threading.current_thread()]
        threads.clear()
        await ask(calls, 1, 2)
        assert threading.current_thread() not in threads

    asyncio.run(run())
