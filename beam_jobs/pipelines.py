"""Runs pipelines, and hands small results back to the caller."""

import contextlib
import pathlib
import pickle
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options import pipeline_options
from apache_beam.runners.portability import fn_api_runner
from apache_beam.transforms import window
from apache_beam.utils import windowed_value

Results = dict[str, list[Any]]


@contextlib.contextmanager
def pipeline(arguments: Sequence[str]) -> Iterator[beam.Pipeline]:
    """A pipeline that runs when the block ends.

    Args:
        arguments: Beam's own options, such as `--runner=FlinkRunner`; without
            a runner, the in-memory one of this process.
    """
    options = pipeline_options.PipelineOptions(list(arguments))
    standard = options.view_as(pipeline_options.StandardOptions)
    runner = None
    if standard.runner is None:
        # Beam's DirectRunner would first look for a binary to download.
        runner = fn_api_runner.FnApiRunner()
    with beam.Pipeline(runner=runner, options=options) as built:
        yield built


class CollectResults(beam.PTransform):
    """Small (name, value) results of a pipeline → one file.

    Args:
        path: The file, on a disk that workers and caller share.
    """

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__()
        self._path = path

    def expand(
        self, results: beam.pvalue.PCollection
    ) -> beam.pvalue.PCollection:
        """Builds the steps."""
        path = self._path

        def write(element: tuple[None, Iterable[tuple[str, Any]]]) -> None:
            temporary = path.with_name(path.name + ".tmp")
            temporary.write_bytes(pickle.dumps(list(element[1])))
            temporary.replace(path)

        return (
            results
            | "WithOneKey" >> beam.Map(lambda result: (None, result))
            | "Together" >> beam.GroupByKey()
            | "WriteResults" >> beam.Map(write)
        )


def read_results(path: pathlib.Path) -> Results:
    """Results by name, as `CollectResults` wrote them."""
    results: Results = {}
    if path.exists():
        for name, value in pickle.loads(path.read_bytes()):
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
