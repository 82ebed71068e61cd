"""The two passes over a log, as Beam pipelines."""

import dataclasses
import logging
import pathlib
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa

from beam_jobs import columns
from beam_jobs import id_frequencies
from beam_jobs import pipelines
from beam_jobs import progress
from beam_jobs import rejected_rows
from beam_jobs import select
from beam_jobs import sinks
from beam_jobs import sources
from beam_jobs import statistics
from beam_jobs import time_counts
from beam_jobs.batches import LogBatch
from tfplugin import artifacts
from tfplugin import config
from tfplugin.errors import InputError

_LOGGER = logging.getLogger(__name__)
_SIDE_OUTPUTS = (sources.REJECTED, sources.COUNTS, sources.PROBLEMS)


@dataclasses.dataclass(frozen=True)
class Job:
    """What both passes over the log share.

    Args:
        experiment: The configuration.
        folder: The dataset.
        log: The log.
        query: The select, if there is one.
        arguments: Beam's options.
        token: Of the progress listener.
    """

    experiment: config.ExperimentConfig
    folder: artifacts.DatasetFolder
    log: sources.Log
    query: select.Query | None
    arguments: tuple[str, ...]
    token: int

    @property
    def schema(self) -> pa.Schema:
        """Columns after the select."""
        return self.log.schema if self.query is None else self.query.schema

    @property
    def temporary(self) -> pathlib.Path:
        """Where the job keeps what it removes at its end."""
        return self.folder.path / ".temporary"


def count_times(job: Job) -> time_counts.TimeCounts | None:
    """First pass: the moments alone, where they decide on what is cut.

    Returns:
        Rows by second; None where no cut depends on them.

    Raises:
        InputError: A file or the select fails, or no row has a moment.
    """
    experiment = job.experiment
    fixed = experiment.split.validation_from is not None
    by_time = experiment.split.by == "time" and not fixed
    column = experiment.event_time
    if column is None or not (by_time or experiment.dataset.order == "time"):
        return None
    _LOGGER.info("Counting rows by time.")
    log, query = job.log, job.query
    if query is None:
        log = dataclasses.replace(
            log, schema=pa.schema([log.schema.field(column)])
        )
    else:
        query = query.only(column)
    path = job.temporary / "times"
    with pipelines.pipeline(job.arguments) as pipeline:
        read = _read(pipeline, dataclasses.replace(job, log=log, query=query))
        times = read.batches | time_counts.CountTimes(column, job.token)
        (
            (
                times | pipelines.named("times"),
                read.problems | pipelines.named("problems"),
            )
            | beam.Flatten()
            | pipelines.CollectResults(path)
        )
    results = pipelines.read_results(path)
    raise_problems(results)
    found = time_counts.merge(results.get("times", []))
    if not len(found.seconds):
        raise InputError(
            f"`event_time` must have moments. Received: column `{column}`, "
            "which has none in the whole log: no rows, or nulls only."
        )
    return found


def raise_problems(results: pipelines.Results) -> None:
    """Raises what a worker found wrong with the input.

    Raises:
        InputError: There is such a problem.
    """
    # Sorted, as workers finish in any order.
    for problem in sorted(results.get("problems", [])):
        raise InputError(problem)


@dataclasses.dataclass(frozen=True)
class _Read:
    batches: beam.pvalue.PCollection
    rejected: beam.pvalue.PCollection
    counts: beam.pvalue.PCollection
    problems: beam.pvalue.PCollection


def _read(pipeline: beam.Pipeline, job: Job) -> _Read:
    """Blocks → selected batches, and what went wrong on the way."""
    read = (
        pipeline
        | "Blocks" >> beam.Create(job.log.blocks())
        | "SpreadBlocks" >> beam.Reshuffle()
        | "ReadBlocks"
        >> beam.ParDo(sources.ReadBlocks(job.log)).with_outputs(
            *_SIDE_OUTPUTS, main="batches"
        )
    )
    if job.query is None:
        return _Read(read.batches, read.rejected, read.counts, read.problems)
    selected = read.batches | "Select" >> beam.ParDo(
        select.Select(job.query)
    ).with_outputs(*_SIDE_OUTPUTS, main="batches")
    counts = (read.counts, selected.counts) | "AllCounts" >> beam.Flatten()
    problems = (
        read.problems,
        selected.problems,
    ) | "AllProblems" >> beam.Flatten()
    return _Read(selected.batches, read.rejected, counts, problems)


class _ToExamples(beam.DoFn):
    """`LogBatch` → `ExampleBatch`, and lists of `Rejected` rows."""

    def __init__(self, converter: columns.Columns, token: int) -> None:
        self._converter = converter
        self._token = token

    def process(self, batch: LogBatch) -> Iterator[Any]:
        examples, rejected = self._converter.convert(batch)
        if rejected:
            yield beam.pvalue.TaggedOutput(sources.REJECTED, rejected)
        if examples.rows.num_rows:
            yield examples
        progress.tell(self._token, "preprocess", batch.rows.num_rows)


def write_dataset(
    job: Job, converter: columns.Columns, order: sinks.Order
) -> pipelines.Results:
    """Second pass: everything but the records in JSON."""
    _LOGGER.info("Writing examples and id frequencies.")
    path = job.temporary / "results"
    with pipelines.pipeline(job.arguments) as pipeline:
        read = _read(pipeline, job)
        examples = read.batches | "ToExamples" >> beam.ParDo(
            _ToExamples(converter, job.token)
        ).with_outputs(sources.REJECTED, main="examples")
        train = examples.examples | "TrainRows" >> beam.Map(
            columns.ExampleBatch.train
        )
        spool = rejected_rows.Spool(job.temporary)
        unread = read.rejected | "SpoolUnread" >> beam.ParDo(spool)
        unfit = examples.rejected | "SpoolUnfit" >> beam.ParDo(spool)
        rows = train | "Rows" >> beam.Map(lambda batch: batch.rows)
        parts = {
            "summary": train | statistics.Summarize(converter.schema),
            "tables": rows
            | id_frequencies.CountIds(converter.schema, job.folder),
            "shards": examples.examples
            | sinks.WriteExamples(job.folder, job.temporary, order),
            "rejected": (unread, unfit)
            | "AllRejected" >> beam.Flatten()
            | rejected_rows.WriteRejected(job.folder, job.log.files),
            "counts": read.counts | "SumCounts" >> beam.CombinePerKey(sum),
            "problems": read.problems,
            "checksums": pipeline
            | "Files" >> beam.Create(job.log.files)
            | "SpreadFiles" >> beam.Reshuffle()
            | "Fingerprint" >> beam.ParDo(sources.Fingerprint()),
        }
        named = [part | pipelines.named(name) for name, part in parts.items()]
        named | "AllResults" >> beam.Flatten() | pipelines.CollectResults(path)
    return pipelines.read_results(path)
