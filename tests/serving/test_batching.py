import contextlib
import math
import threading
from concurrent import futures

import grpc
import numpy as np
import pytest

from serving import batch_tasks
from serving import batching
from serving import request_error
from serving import servable as servable_lib
from serving.batching_parameters import BatchingParameters
from tests.serving import stamped_models


@pytest.fixture(scope="module")
def servable(tmp_path_factory):
    base = tmp_path_factory.mktemp("stamp")
    path = stamped_models.save(base, 5)
    servable = servable_lib.Servable("stamp", 5, path)
    yield servable
    servable.close()


class Batches:
    """A scheduler, what was asked of it, and the sizes it has run."""

    def __init__(self, servable, **parameters):
        self.servable = servable
        self.sizes = []
        self.scheduler = batching.BatchScheduler(
            BatchingParameters(**{"num_batch_threads": 1, **parameters}),
            lambda servable, signature, rows, padded, seconds: (
                self.sizes.append((rows, padded))
            ),
        )

    def submit(self, inputs, signature="", outputs=(), **options):
        future = futures.Future()
        signature = self.servable.signature(signature)
        rows = signature.check_arrays(inputs)
        self.scheduler.submit(
            batch_tasks.Task(
                self.servable,
                signature,
                [inputs[name] for name in signature.inputs],
                outputs,
                rows,
                options.get("deadline", math.inf),
                lambda outputs, error: (
                    future.set_exception(error)
                    if error
                    else future.set_result(outputs)
                ),
                options.get("wanted"),
            )
        )
        return future

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.scheduler.stop()


# Long enough for a slow machine to put all requests in before it ends, and
# not waited for: a full batch closes at once, and so does every one at a stop.
LONG = 600_000_000


def test_full_batch_runs_without_the_timeout(servable):
    with Batches(
        servable, max_batch_size=4, batch_timeout_micros=LONG
    ) as batches:
        requests = [stamped_models.rows([i], seed=i) for i in range(8)]
        answers = [batches.submit(request) for request in requests]
        for request, answer in zip(requests, answers, strict=True):
            stamped_models.check(request, answer.result(60))
    assert batches.sizes == [(4, 4), (4, 4)]


def test_timeout_closes_a_batch(servable):
    with Batches(
        servable, max_batch_size=64, batch_timeout_micros=1000
    ) as batches:
        request = stamped_models.rows([3, 4])
        stamped_models.check(request, batches.submit(request).result(60))


def test_lists_of_different_widths_share_a_batch(servable):
    requests = [
        stamped_models.rows([i], width, seed=i)
        for i, width in enumerate([0, 5, 1, 3])
    ]
    with Batches(
        servable, max_batch_size=4, batch_timeout_micros=LONG
    ) as batches:
        answers = [batches.submit(request) for request in requests]
        for request, answer in zip(requests, answers, strict=True):
            stamped_models.check(request, answer.result(60))
    assert batches.sizes == [(4, 4)]


def test_length_over_the_width_is_refused_in_any_company(servable):
    wide = stamped_models.rows([1], 5)
    bad = stamped_models.rows([2], 3)
    bad["tags_length"][:] = 4
    with Batches(
        servable, max_batch_size=8, batch_timeout_micros=LONG
    ) as batches:
        good, refused = batches.submit(wide), batches.submit(bad)
        batches.scheduler.stop()
        stamped_models.check(wide, good.result(60))
        with pytest.raises(request_error.RequestError, match="assert"):
            refused.result(60)


def test_inputs_without_lengths_of_different_shape_do_not_share(servable):
    with Batches(
        servable, max_batch_size=8, batch_timeout_micros=LONG
    ) as batches:
        images = [np.ones((1, n), np.float32) * n for n in (2, 3, 2)]
        answers = [
            batches.submit({"image": image}, "brightness") for image in images
        ]
        batches.scheduler.stop()
        means = [answer.result(60)["mean"].tolist() for answer in answers]
    assert means == [[2.0], [3.0], [2.0]]
    assert sorted(batches.sizes) == [(1, 1), (2, 2)]


def test_an_error_stays_with_its_request(servable):
    with Batches(
        servable, max_batch_size=3, batch_timeout_micros=LONG
    ) as batches:
        requests = [stamped_models.rows([x]) for x in (1, -2, 3)]
        answers = [batches.submit(request) for request in requests]
        stamped_models.check(requests[0], answers[0].result(60))
        stamped_models.check(requests[2], answers[2].result(60))
        with pytest.raises(request_error.RequestError) as error:
            answers[1].result(60)
    assert error.value.code == grpc.StatusCode.INVALID_ARGUMENT


def test_allowed_sizes_pad(servable):
    with Batches(
        servable,
        max_batch_size=16,
        allowed_batch_sizes=(4, 16),
        batch_timeout_micros=LONG,
    ) as batches:
        requests = [stamped_models.rows([i, i + 1, i + 2]) for i in (0, 7)]
        answers = [batches.submit(request) for request in requests]
        batches.scheduler.stop()
        for request, answer in zip(requests, answers, strict=True):
            stamped_models.check(request, answer.result(60))
    assert batches.sizes == [(6, 16)]


def test_too_large_a_request(servable):
    with Batches(servable, max_batch_size=4) as batches:
        with pytest.raises(request_error.RequestError, match="size 5") as error:
            batches.submit(stamped_models.rows(range(5)))
    assert error.value.code == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("rows", [7, 8, 9, 20])
def test_large_requests_are_split(servable, rows):
    with Batches(
        servable,
        max_batch_size=20,
        max_execution_batch_size=4,
        enable_large_batch_splitting=True,
    ) as batches:
        request = stamped_models.rows(range(rows))
        stamped_models.check(request, batches.submit(request).result(60))
        assert all(size <= 4 for size, _ in batches.sizes)
        bad = stamped_models.rows([*range(rows - 1), -1])
        with pytest.raises(request_error.RequestError):
            batches.submit(bad).result(60)


def test_full_queue(servable):
    with Batches(
        servable,
        max_batch_size=2,
        max_enqueued_batches=2,
        batch_timeout_micros=LONG,
    ) as batches:
        gate = threading.Event()
        # The one thread is kept busy with this request's answer.
        holding = futures.Future()
        signature = servable.signature("constant")
        batches.scheduler.submit(
            batch_tasks.Task(
                servable,
                signature,
                [np.float32(1)],
                (),
                1,
                math.inf,
                lambda outputs, error: (
                    holding.set_result(outputs),
                    gate.wait(60),
                ),
            )
        )
        assert holding.result(60)["y"] == 2.0
        answers = [batches.submit(stamped_models.rows([i])) for i in range(4)]
        with pytest.raises(request_error.RequestError, match="full") as error:
            batches.submit(stamped_models.rows([9]))
        gate.set()
        for answer in answers:
            answer.result(60)
    assert error.value.code == grpc.StatusCode.UNAVAILABLE
    # What had found a place before was run.
    assert batches.sizes == [(1, 1), (2, 2), (2, 2)]


@contextlib.contextmanager
def running(batches):
    """Keeps one thread in a batch of the usual queue."""
    ended, gate = threading.Event(), threading.Event()
    request = stamped_models.rows([0])
    signature = batches.servable.signature()
    task = batch_tasks.Task(
        batches.servable,
        signature,
        [request[name] for name in signature.inputs],
        (),
        1,
        math.inf,
        lambda outputs, error: (ended.set(), gate.wait(60)),
    )
    batches.scheduler.submit(task)
    assert ended.wait(60)
    try:
        yield
    finally:
        gate.set()


def test_a_batch_is_held_while_another_of_its_queue_runs(servable, monkeypatch):
    monkeypatch.setattr(batching, "_MAX_HOLD_SECONDS", 600.0)
    with Batches(
        servable,
        max_batch_size=64,
        batch_timeout_micros=1,
        num_batch_threads=2,
    ) as batches:
        requests = [stamped_models.rows([i], seed=i) for i in range(1, 3)]
        with running(batches):
            answers = [batches.submit(requests[0])]
            # The other thread turns to the queues in their order: that it
            # answers this one says that it has passed over the first.
            image = {"image": np.ones((1, 2), np.float32)}
            batches.submit(image, "brightness").result(60)
            assert not answers[0].done()
            answers.append(batches.submit(requests[1]))
        for request, answer in zip(requests, answers, strict=True):
            stamped_models.check(request, answer.result(60))
    assert sorted(batches.sizes) == [(1, 1), (1, 1), (2, 2)]


def test_a_batch_is_not_held_for_long(servable):
    with Batches(
        servable,
        max_batch_size=64,
        batch_timeout_micros=1,
        num_batch_threads=2,
    ) as batches:
        request = stamped_models.rows([1])
        with running(batches):
            answer = batches.submit(request)
            stamped_models.check(request, answer.result(60))


def test_a_full_batch_is_not_held(servable, monkeypatch):
    monkeypatch.setattr(batching, "_MAX_HOLD_SECONDS", 600.0)
    with Batches(
        servable,
        max_batch_size=2,
        batch_timeout_micros=1,
        num_batch_threads=2,
    ) as batches:
        requests = [stamped_models.rows([i]) for i in range(1, 3)]
        with running(batches):
            answers = [batches.submit(request) for request in requests]
            for request, answer in zip(requests, answers, strict=True):
                stamped_models.check(request, answer.result(60))


def test_late_and_cancelled_requests_are_not_run(servable):
    with Batches(
        servable, max_batch_size=8, batch_timeout_micros=LONG
    ) as batches:
        late = batches.submit(stamped_models.rows([1]), deadline=0.0)
        left = batches.submit(stamped_models.rows([2]), wanted=lambda: False)
        kept = batches.submit(stamped_models.rows([3]))
        batches.scheduler.stop()
        assert kept.result(60)["x"].tolist() == [3]
        for answer in (late, left):
            with pytest.raises(request_error.RequestError) as error:
                answer.result(60)
            assert error.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert batches.sizes == [(1, 1)]


def test_what_cannot_share_a_batch_runs_alone(servable):
    with Batches(
        servable, max_batch_size=2, batch_timeout_micros=LONG
    ) as batches:
        answers = [
            batches.submit({"scale": np.float32(i)}, "constant")
            for i in range(3)
        ]
        empty = batches.submit(stamped_models.rows([]))
        assert [float(a.result(60)["y"]) for a in answers] == [0.0, 2.0, 4.0]
        assert empty.result(60)["x"].shape == (0,)


def test_output_filters_do_not_mix(servable):
    with Batches(
        servable, max_batch_size=2, batch_timeout_micros=LONG
    ) as batches:
        answers = [
            batches.submit(stamped_models.rows([i]), outputs=outputs)
            for i, outputs in enumerate([("x",), (), ("x",), ()])
        ]
        assert [len(a.result(60)) for a in answers] == [1, 4, 1, 4]


def test_stopped_scheduler_takes_nothing(servable):
    batches = Batches(servable)
    batches.scheduler.stop()
    with pytest.raises(request_error.RequestError) as error:
        batches.submit(stamped_models.rows([1]))
    assert error.value.code == grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("micros", [0, 500])
def test_many_threads_get_their_own_rows(servable, micros):
    with Batches(
        servable,
        max_batch_size=16,
        batch_timeout_micros=micros,
        num_batch_threads=2,
        max_enqueued_batches=100,
    ) as batches:

        def ask(seed):
            generator = np.random.default_rng(seed)
            for _ in range(20):
                request = stamped_models.rows(
                    generator.integers(0, 1 << 40, generator.integers(1, 5)),
                    generator.integers(0, 5),
                    seed,
                )
                stamped_models.check(
                    request, batches.submit(request).result(60)
                )

        with futures.ThreadPoolExecutor(16) as threads:
            list(threads.map(ask, range(16)))
    assert sum(rows for rows, _ in batches.sizes) >= 320
