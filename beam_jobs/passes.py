"""The two passes over a log, as Beam pipelines."""

import dataclasses
import logging
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import apache_beam as beam
import pyarrow.compute as pc

from beam_jobs import opening
from beam_jobs import pipelines
from beam_jobs import progress
from beam_jobs import storage
from beam_jobs.batches import LogBatch
from beam_jobs.counting import id_frequencies
from beam_jobs.joining import joins
from beam_jobs.reading import sources
from beam_jobs.roles import columns
from beam_jobs.roles import negatives
from beam_jobs.roles import splits
from beam_jobs.roles import time_counts
from beam_jobs.selecting import select
from beam_jobs.summaries import statistics
from beam_jobs.writing import rejected_rows
from beam_jobs.writing import sinks
from tfplugin import config
from tfplugin import schema
from tfplugin.errors import InputError

_LOGGER = logging.getLogger(__name__)
_SIDE_OUTPUTS = (sources.REJECTED, sources.COUNTS, sources.PROBLEMS)
#: A result of every pipeline, also over a log without rows.
_RAN = ("ran", True)


@dataclasses.dataclass(frozen=True)
class Addition:
    """The place of a log that is added to a finished dataset.

    Args:
        number: From 1.
        frequencies: Table to the files of its id frequencies so far.
        factor: What the counts so far are multiplied by.
    """

    number: int
    frequencies: Mapping[str, tuple[str, ...]]
    factor: float

    @property
    def name(self) -> str:
        """The folder of its files, in that of a split or a table."""
        return f"added-{self.number:05d}"


@dataclasses.dataclass(frozen=True)
class Job:
    """What both passes over the log share.

    Args:
        experiment: The configuration.
        paths: Where workers write.
        inputs: The log, what joins it, the select.
        arguments: Beam's options.
        token: Of the progress listener.
        addition: For a log that is added to a dataset.
    """

    experiment: config.ExperimentConfig
    paths: storage.DatasetPaths
    inputs: opening.Inputs
    arguments: tuple[str, ...]
    token: int
    addition: Addition | None = None

    @property
    def subfolder(self) -> str:
        """Where its files go inside a split's or table's folder."""
        return self.addition.name if self.addition else ""

    @property
    def rejected(self) -> str:
        """Folder of refused rows."""
        if self.addition is None:
            return self.paths.rejected
        return storage.join(self.paths.rejected, self.addition.name)

    @property
    def only_split(self) -> str | None:
        """The split that all rows of an added log go to, if there is one."""
        split = self.experiment.append.split
        if self.addition is None or split == "as_configured":
            return None
        return split

    def needs_times(self) -> bool:
        """Whether something is decided by the moments of all rows."""
        experiment = self.experiment
        if experiment.event_time is None:
            return False
        if self.addition and experiment.append.half_life_days is not None:
            return True
        fixed = experiment.split.validation_from is not None or self.addition
        return experiment.dataset.order == "time" or (
            experiment.split.by == "time" and not fixed
        )


def count_times(job: Job) -> time_counts.TimeCounts | None:
    """First pass: the moments alone, where they decide on what is cut.

    Returns:
        Rows by second; None where nothing depends on them.

    Raises:
        InputError: A file or the select fails, or no row has a moment.
    """
    column = job.experiment.event_time
    if column is None or not job.needs_times():
        return None
    _LOGGER.info("Counting rows by time.")
    path = storage.join(job.paths.temporary, "times")
    with pipelines.pipeline(job.arguments) as pipeline:
        narrow = dataclasses.replace(job, inputs=_only(job.inputs, column))
        read = _read(pipeline, narrow)
        times = read.batches | time_counts.CountTimes(column, job.token)
        (
            (
                times | pipelines.named("times"),
                read.problems | pipelines.named("problems"),
                pipeline | "Ran" >> beam.Create([_RAN]),
            )
            | beam.Flatten()
            | pipelines.CollectResults(path)
        )
    results = _read_results(path)
    raise_problems(results)
    found = time_counts.merge(results.get("times", []))
    if not len(found.seconds):
        raise InputError(
            f"`event_time` must have moments. Received: column `{column}`, "
            "which has none in the whole log: no rows, or nulls only."
        )
    return found


def _only(inputs: opening.Inputs, column: str) -> opening.Inputs:
    """The inputs with one column, for which less is read and computed."""
    if inputs.query is not None:
        return dataclasses.replace(inputs, query=inputs.query.only(column))
    drops = any(
        isinstance(join.config, config.EventsJoin)
        and join.config.mature != "mask"
        for join in inputs.joined
    )
    if drops or column not in inputs.log.schema.names:
        return inputs
    log = inputs.log.only([column])
    return dataclasses.replace(inputs, log=log, joined=())


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
    """Blocks → joined and selected batches, and what went wrong on the way."""
    inputs = job.inputs
    read = (
        pipeline
        | "Blocks" >> beam.Create(inputs.log.blocks())
        | "SpreadBlocks" >> beam.Reshuffle()
        | "ReadBlocks"
        >> beam.ParDo(sources.ReadBlocks(inputs.log)).with_outputs(
            *_SIDE_OUTPUTS, main="batches"
        )
    )
    found = _Read(read.batches, read.rejected, read.counts, read.problems)
    memory = job.experiment.job.memory // 4
    for join in inputs.joined:
        joined = found.batches | f"Join_{join.name}" >> joins.Join(
            join, job.paths.temporary, memory
        )
        found = _and(found, join.name, joined)
    if inputs.query is not None:
        selected = found.batches | "Select" >> beam.ParDo(
            select.Select(inputs.query)
        ).with_outputs(*_SIDE_OUTPUTS, main="batches")
        found = _and(found, "selected", selected)
    return found


def _and(before: _Read, name: str, step: Any) -> _Read:
    """What a step makes of batches, beside what went wrong before it."""

    def both(kind: str) -> beam.pvalue.PCollection:
        parts = (getattr(before, kind), getattr(step, kind))
        return parts | f"{kind}_{name}" >> beam.Flatten()

    return _Read(
        step.batches, both("rejected"), both("counts"), both("problems")
    )


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


def order_of_rows(
    job: Job,
    times: time_counts.TimeCounts | None,
    cut_offs: tuple[int, int] | None,
) -> sinks.Order:
    """How rows are spread over shards.

    Args:
        job: The job.
        times: Rows by second; needed for `dataset.order: time` only.
        cut_offs: First second of validation and of test.
    """
    dataset = job.experiment.dataset
    if dataset.order != "time" or times is None:
        return sinks.Order(dataset)
    bounds = []
    for split in range(len(schema.SPLITS)):
        mask = slice(None)
        if cut_offs is not None and job.only_split is None:
            mask = splits.by_time(times.seconds, cut_offs) == split
        bounds.append(
            splits.time_shards(
                times.seconds[mask], times.counts[mask], dataset.num_shards
            )
        )
    return sinks.Order(dataset, tuple(bounds))


def write_dataset(
    job: Job, converter: columns.Columns, order: sinks.Order
) -> pipelines.Results:
    """Second pass: everything but the records in JSON."""
    _LOGGER.info("Writing examples and id frequencies.")
    path = storage.join(job.paths.temporary, "results")
    with pipelines.pipeline(job.arguments) as pipeline:
        read = _read(pipeline, job)
        converted = read.batches | "ToExamples" >> beam.ParDo(
            _ToExamples(converter, job.token)
        ).with_outputs(sources.REJECTED, main="examples")
        examples, counts = converted.examples, read.counts
        if job.experiment.dataset.negatives is not None:
            sampled = examples | "SampleNegatives" >> beam.ParDo(
                negatives.Sample(job.experiment.dataset.negatives)
            ).with_outputs(sources.COUNTS, main="examples")
            examples = sampled.examples
            counts = (counts, sampled.counts) | "AndSampled" >> beam.Flatten()
        files = (
            pipeline
            | "Files" >> beam.Create(job.inputs.files)
            | "SpreadFiles" >> beam.Reshuffle()
            | "Fingerprint"
            >> beam.ParDo(sources.Fingerprint()).with_outputs(
                sources.PROBLEMS, main="checksums"
            )
        )
        spool = rejected_rows.Spool(job.paths.temporary)
        unread = read.rejected | "SpoolUnread" >> beam.ParDo(spool)
        unfit = converted.rejected | "SpoolUnfit" >> beam.ParDo(spool)
        parts = {
            **_of_examples(job, converter.schema, examples, order),
            "rejected": (unread, unfit)
            | "AllRejected" >> beam.Flatten()
            | rejected_rows.WriteRejected(job.rejected, job.inputs.log.files),
            "counts": counts | "SumCounts" >> beam.CombinePerKey(sum),
            "problems": (read.problems, files.problems)
            | "AndOfFiles" >> beam.Flatten(),
            "checksums": files.checksums,
        }
        named = [part | pipelines.named(name) for name, part in parts.items()]
        named.append(pipeline | "Ran" >> beam.Create([_RAN]))
        named | "AllResults" >> beam.Flatten() | pipelines.CollectResults(path)
    return _read_results(path)


def _read_results(path: str) -> pipelines.Results:
    """What a pipeline that has ended found, or why it is not seen here."""
    results = pipelines.read_results(path)
    if _RAN[0] not in results:
        raise InputError(
            "Workers must write to a folder that this command sees. Received: "
            f"{path}, which is absent though the job has ended. Name a folder "
            "or URL that both see by --staging."
        )
    return results


def _of_examples(
    job: Job,
    columns_schema: schema.Schema,
    examples: beam.pvalue.PCollection,
    order: sinks.Order,
) -> dict[str, beam.pvalue.PCollection]:
    """Statistics and counts of training rows, and all rows as Examples."""
    memory = job.experiment.job.memory
    train = examples | "TrainRows" >> beam.Map(columns.ExampleBatch.train)
    rows = train | "Rows" >> beam.Map(lambda batch: batch.rows)
    added = job.addition
    parts = {
        "summary": train
        | statistics.Summarize(
            columns_schema, sketches=job.experiment.dataset.sketches
        ),
        "tables": rows
        | id_frequencies.CountIds(
            columns_schema,
            job.paths,
            memory=memory // 2,
            subfolder=job.subfolder,
            earlier=added.frequencies if added else None,
            factor=added.factor if added else 1.0,
        ),
        "shards": examples
        | sinks.WriteExamples(
            job.paths,
            order,
            schema=columns_schema,
            splits=(job.only_split,) if job.only_split else schema.SPLITS,
            subfolder=job.subfolder,
            memory=memory // 4,
        ),
    }
    if columns_schema.event_time:
        parts["last_time"] = (
            examples
            | "LastOfBatch" >> beam.FlatMap(_last_time)
            | "LastTime" >> beam.CombineGlobally(max).without_defaults()
        )
    return parts


def _last_time(batch: columns.ExampleBatch) -> list[int]:
    """The last second of a batch; none where no row has a moment."""
    last = pc.max(batch.rows.column(schema.EVENT_TIME_FEATURE)).as_py()
    return [] if last is None else [last]
