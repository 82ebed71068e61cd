"""Runs pipelines, and hands small results back to the caller."""

import contextlib
import pathlib
import pickle
import queue
import tempfile
import threading
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options import pipeline_options
from apache_beam.runners.portability import fn_api_runner
from apache_beam.transforms import environments
from apache_beam.transforms import window
from apache_beam.utils import windowed_value

from beam_jobs import local_worker
from beam_jobs import storage

Results = dict[str, list[Any]]

_POLL_SECONDS = 0.2
_GRACE_SECONDS = 5


@contextlib.contextmanager
def pipeline(arguments: Sequence[str]) -> Iterator[beam.Pipeline]:
    """A pipeline that runs when the block ends.

    Args:
        arguments: Beam's own options, such as `--runner=FlinkRunner`; without
            a runner, Beam's local one: in the memory of this process, or with
            `--direct_running_mode=multi_processing` in several.

    Raises:
        RuntimeError: The job failed, or a worker process was lost.
    """
    options = pipeline_options.PipelineOptions(list(arguments))
    standard = options.view_as(pipeline_options.StandardOptions)
    direct = options.view_as(pipeline_options.DirectOptions)
    if standard.runner is not None:
        with beam.Pipeline(options=options) as built:
            yield built
    elif direct.direct_running_mode == "multi_processing":
        built = beam.Pipeline(options=options)
        yield built
        _run_in_processes(built)
    else:
        # Beam's DirectRunner would first look for a binary to download.
        runner = fn_api_runner.FnApiRunner()
        with beam.Pipeline(runner=runner, options=options) as built:
            yield built


def _run_in_processes(built: beam.Pipeline) -> None:
    """Runs a pipeline in worker processes, and notices if one is lost."""
    direct = built.options.view_as(pipeline_options.DirectOptions)
    # Else the runner would take its own command for workers.
    direct.direct_running_mode = None
    with tempfile.TemporaryDirectory() as name:
        marks = pathlib.Path(name)
        built.runner = fn_api_runner.FnApiRunner(
            environments.SubprocessSDKEnvironment.from_command_string(
                local_worker.command(marks)
            )
        )
        ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

        def run() -> None:
            try:
                built.run().wait_until_finish()
            except BaseException as error:
                ended.put(error)
            else:
                ended.put(None)

        # A daemon: Beam may wait for a lost worker for ever.
        threading.Thread(target=run, daemon=True).start()
        error = _await(ended, marks)
    if error is not None:
        raise error


def _await(
    ended: "queue.SimpleQueue[BaseException | None]", marks: pathlib.Path
) -> BaseException | None:
    while True:
        try:
            return ended.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            if not (marks / local_worker.LOST).exists():
                continue
        try:
            # Most losses Beam notices itself, and says what was going on.
            return ended.get(timeout=_GRACE_SECONDS)
        except queue.Empty:
            return RuntimeError(
                "A worker process was lost. Received: exit status "
                f"{(marks / local_worker.LOST).read_text('utf-8')}. Nothing "
                "is finished; run the job again, with fewer workers "
                "(--direct_num_workers) if memory ran out."
            )


class CollectResults(beam.PTransform):
    """Small (name, value) results of a pipeline → one file.

    Args:
        path: The file, which workers and caller see.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def expand(
        self, results: beam.pvalue.PCollection
    ) -> beam.pvalue.PCollection:
        """Builds the steps."""
        path = self._path

        def write(element: tuple[None, Iterable[tuple[str, Any]]]) -> None:
            with storage.create(path) as stream:
                stream.write(pickle.dumps(list(element[1])))

        return (
            results
            | "WithOneKey" >> beam.Map(lambda result: (None, result))
            | "Together" >> beam.GroupByKey()
            | "WriteResults" >> beam.Map(write)
        )


def read_results(path: str) -> Results:
    """Results by name, as `CollectResults` wrote them."""
    results: Results = {}
    if storage.exists(path):
        for name, value in pickle.loads(storage.read_bytes(path)):
            results.setdefault(name, []).append(value)
    return results


def at_bundle_end(value: Any) -> windowed_value.WindowedValue:
    """An element as `DoFn.finish_bundle` must yield it."""
    everything = window.GlobalWindow()
    return windowed_value.WindowedValue(
        value, everything.max_timestamp(), (everything,)
    )


def named(name: str) -> beam.PTransform:
    """Value → (name, value)."""
    return f"Name_{name}" >> beam.Map(lambda value: (name, value))
