"""Raw log → dataset: the job behind `tfplugin preprocess`."""

import logging
from collections.abc import Callable
from collections.abc import Sequence

from beam_jobs import columns
from beam_jobs import csv_log
from beam_jobs import passes
from beam_jobs import pipelines
from beam_jobs import progress
from beam_jobs import select
from beam_jobs import sinks
from beam_jobs import sources
from beam_jobs import splits
from beam_jobs import statistics
from beam_jobs import time_counts
from tfplugin import artifacts
from tfplugin import config
from tfplugin import schema
from tfplugin.errors import InputError

_LOGGER = logging.getLogger(__name__)


def run(
    experiment: config.ExperimentConfig,
    folder: artifacts.DatasetFolder,
    beam_arguments: Sequence[str] = (),
    on_progress: Callable[[str, int], None] | None = None,
) -> schema.Statistics:
    """Preprocesses a raw log.

    Writes everything that a dataset holds, `COMPLETED` last; what an earlier
    run left in the folder is removed, once the input has been checked.

    Args:
        experiment: The configuration.
        folder: The dataset's folder; workers must see it too.
        beam_arguments: Beam's own options, handed on untouched.
        on_progress: Called with a stage (`count times`, where rows are cut by
            time, then `preprocess`) and a number of rows that it has done
            since the last call; by the in-memory runner only.

    Returns:
        What was found, as written to `statistics.json`.

    Raises:
        InputError: The input is refused: one line that says which file,
            column, key or row, and why.
    """
    log, query = _open(experiment)
    columns.Columns(
        experiment, log.schema if query is None else query.schema, (0, 0)
    )
    _clean(folder)
    with progress.listening(on_progress) as token:
        job = passes.Job(
            experiment, folder, log, query, tuple(beam_arguments), token
        )
        job.temporary.mkdir(parents=True)
        try:
            return _run(job)
        finally:
            artifacts.remove(job.temporary)


def _run(job: passes.Job) -> schema.Statistics:
    times = passes.count_times(job)
    cut_offs = _cut_offs(job.experiment, times)
    converter = columns.Columns(job.experiment, job.schema, cut_offs)
    order = _order(job.experiment, times, cut_offs)
    results = passes.write_dataset(job, converter, order)
    passes.raise_problems(results)
    _check_rejected(job, results)
    found = _statistics(job, converter.schema, results, cut_offs)
    _check_rows(found, job.experiment.split)
    schema.write_record(job.folder.schema_json, converter.schema)
    schema.write_record(job.folder.statistics_json, found)
    job.folder.completed.touch()
    _LOGGER.info("Preprocessed %d rows.", found.rows_read)
    return found


def _open(
    experiment: config.ExperimentConfig,
) -> tuple[sources.Log, select.Query | None]:
    source = experiment.source
    wanted = None if source.select else columns.log_columns(experiment)
    log = sources.open_log(
        source, columns=wanted, types=columns.csv_types(experiment)
    )
    if source.select is None:
        columns.check_present(experiment, log.names)
        return log, None
    try:
        return log, select.prepare(source, log.schema)
    except InputError as error:
        if not isinstance(log, csv_log.CsvLog) or not log.inferred.empty:
            raise
        # DuckDB names the operator, not the column whose type it cannot take.
        raise InputError(f"{error}{log.inferred.advice_on_empty()}") from error


def _clean(folder: artifacts.DatasetFolder) -> None:
    # The mark goes first: what is left is then never taken for a dataset.
    artifacts.remove(folder.completed)
    for path in (
        folder.schema_json,
        folder.statistics_json,
        folder.rejected,
        folder.path / "id_frequencies",
        folder.path / ".temporary",
        *(folder.split(name) for name in schema.SPLITS),
    ):
        artifacts.remove(path)


def _cut_offs(
    experiment: config.ExperimentConfig, times: time_counts.TimeCounts | None
) -> tuple[int, int] | None:
    split = experiment.split
    if split.by != "time":
        return None
    if split.validation_from is not None or times is None:
        return split.cut_offs()
    return splits.cut_offs(
        times.seconds,
        times.counts,
        validation=split.validation,
        test=split.test,
    )


def _order(
    experiment: config.ExperimentConfig,
    times: time_counts.TimeCounts | None,
    cut_offs: tuple[int, int] | None,
) -> sinks.Order:
    dataset = experiment.dataset
    if dataset.order != "time" or times is None:
        return sinks.Order(dataset)
    bounds = []
    for split in range(len(schema.SPLITS)):
        mask = slice(None)
        if cut_offs is not None:
            mask = splits.by_time(times.seconds, cut_offs) == split
        bounds.append(
            splits.time_shards(
                times.seconds[mask], times.counts[mask], dataset.num_shards
            )
        )
    return sinks.Order(dataset, tuple(bounds))


def _check_rejected(job: passes.Job, results: pipelines.Results) -> None:
    refused = sorted(results.get("rejected", []))
    rows = sum(part.rows for part in refused)
    if rows <= job.experiment.source.max_rejected:
        return
    first = refused[0].first
    path = job.log.files[first.file].path
    raise InputError(
        f"At most {job.experiment.source.max_rejected} rows may be malformed "
        f"(`source.max_rejected`). Received: {rows}; the first is in {path}, "
        f"{_position(job, first.position)}: {first.reason}. All are in "
        f"{job.folder.rejected}."
    )


def _position(job: passes.Job, position: int) -> str:
    kind = "row" if job.experiment.source.format == "parquet" else "byte"
    return f"{kind} {position}"


def _statistics(
    job: passes.Job,
    columns_schema: schema.Schema,
    results: pipelines.Results,
    cut_offs: tuple[int, int] | None,
) -> schema.Statistics:
    counts = dict(results.get("counts", []))
    checksums = dict(results["checksums"])
    summary: statistics.Summary | None = results.get("summary", [None])[0]
    if summary is None or not counts.get("rows_read"):
        raise InputError(
            "A log must leave rows to train on. Received: "
            f"{counts.get('rows_read', 0)} rows, none of which reached the "
            "training split. Check `source.files`, `source.select` and "
            "`split`."
        )
    shards: dict[str, list[schema.Shard]] = {s: [] for s in schema.SPLITS}
    for split, shard in results["shards"]:
        shards[split].append(shard)
    return schema.Statistics(
        source_files=tuple(
            schema.SourceFile(
                path=file.path, bytes=file.size, crc32c=checksums[file.index]
            )
            for file in job.log.files
        ),
        rows_read=counts["rows_read"],
        rows_removed_by_select=counts.get("rows_removed_by_select", 0),
        rows_added_by_select=counts.get("rows_added_by_select", 0),
        rows_rejected=sum(part.rows for part in results.get("rejected", [])),
        time_cut_offs=cut_offs,
        shards={
            split: tuple(sorted(found, key=lambda shard: shard.name))
            for split, found in shards.items()
        },
        **statistics.to_records(
            summary, columns_schema, results.get("tables", [])
        ),
    )


def _check_rows(found: schema.Statistics, split: config.SplitConfig) -> None:
    if not found.rows("train"):
        raise InputError(
            "The training split must have rows. Received: "
            f"{found.rows_read} rows read, "
            f"{found.rows_removed_by_select} removed by the select, "
            f"{found.rows_rejected} refused, none left to train on. Check "
            "`source.select` and `split`."
        )
    empty = [name for name in schema.SPLITS if not found.rows(name)]
    if empty and split.validation_from is None:
        # Cut-offs are of all rows, also of those that were then refused.
        rows = ", ".join(
            f"{found.rows(name)} in {name}" for name in schema.SPLITS
        )
        raise InputError(
            f"Each share of `split` must have rows. Received: {rows}, and "
            f"{found.rows_rejected} refused. Mend the refused rows, give more "
            "rows or larger shares, or split by other columns or moments."
        )
    for name in empty:
        _LOGGER.warning("The %s split has no rows.", name)
