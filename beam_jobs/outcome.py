"""What a job found: checked, and made into `statistics.json`."""

import logging

from beam_jobs import passes
from beam_jobs import pipelines
from beam_jobs import storage
from beam_jobs.joining import joins
from beam_jobs.summaries import states
from beam_jobs.summaries import statistics
from tfplugin import artifacts
from tfplugin import config
from tfplugin import schema
from tfplugin.errors import InputError

_LOGGER = logging.getLogger(__name__)


def check_rejected(
    job: passes.Job,
    folder: artifacts.DatasetFolder,
    results: pipelines.Results,
) -> None:
    """Refuses a log with more malformed rows than it may have.

    Raises:
        InputError: Says how many, which is the first, and where all are.
    """
    refused = sorted(results.get("rejected", []))
    rows = sum(part.rows for part in refused)
    if rows <= job.experiment.source.max_rejected:
        return
    first = refused[0].first
    log = job.inputs.log
    raise InputError(
        f"At most {job.experiment.source.max_rejected} rows may be malformed "
        f"(`source.max_rejected`). Received: {rows}; the first is in "
        f"{log.files[first.file].path}, {log.position_kind} "
        f"{first.position}: {first.reason}. All are in {folder.rejected}."
    )


def to_statistics(
    job: passes.Job,
    folder: artifacts.DatasetFolder,
    columns_schema: schema.Schema,
    results: pipelines.Results,
    *,
    cut_offs: tuple[int, int] | None,
    earlier: states.State | None = None,
) -> schema.Statistics:
    """The record of one log; `labels`, `dense` and `tables` of all so far.

    Args:
        job: The job.
        folder: The dataset's folder.
        columns_schema: Columns of the examples.
        results: Of `passes.write_dataset`.
        cut_offs: First second of validation and of test.
        earlier: State of the dataset that the log was added to.

    Raises:
        InputError: No row of the log reached a split, or no training row is
            known at all.
    """
    if not results:
        raise RuntimeError(
            "The workers' results must be where they were told to write. "
            f"Received: nothing in {job.paths.temporary}. Name a folder that "
            "workers and this machine share by --staging."
        )
    counts = dict(results.get("counts", []))
    checksums = dict(results["checksums"])
    state = merged_state(job, results, earlier)
    if state is None or not counts.get("rows_read"):
        raise InputError(
            "A log must leave rows to train on. Received: "
            f"{counts.get('rows_read', 0)} rows, none of which reached the "
            "training split. Check `source.files`, `source.select` and "
            "`split`."
        )
    shards: dict[str, list[schema.Shard]] = {s: [] for s in schema.SPLITS}
    for split, shard in results["shards"]:
        shards[split].append(shard)
    files = tuple(
        schema.SourceFile(
            path=file.path, bytes=file.size, crc32c=checksums[file.index]
        )
        for file in job.inputs.files
    )
    num_files = len(job.inputs.log.files)
    return schema.Statistics(
        source_files=files[:num_files],
        joined_files=tuple(dict.fromkeys(files[num_files:])),
        rows_read=counts["rows_read"],
        rows_removed_by_select=counts.get("rows_removed_by_select", 0),
        rows_added_by_select=counts.get("rows_added_by_select", 0),
        rows_rejected=sum(part.rows for part in results.get("rejected", [])),
        rows_sampled_out=counts.get("rows_sampled_out", 0),
        time_cut_offs=cut_offs,
        split=job.experiment.split.model_dump(mode="json"),
        last_time=max(results.get("last_time", []), default=None),
        shards={
            split: tuple(sorted(found, key=lambda shard: shard.name))
            for split, found in shards.items()
        },
        joins=joins.to_records(counts, job.experiment.source.joins),
        sketches=write_state(job, folder, state),
        **statistics.to_records(
            state, columns_schema, results.get("tables", [])
        ),
    )


def merged_state(
    job: passes.Job,
    results: pipelines.Results,
    earlier: states.State | None,
) -> states.State | None:
    """State of the log's training rows and of those before it."""
    found: states.State | None = results.get("summary", [None])[0]
    if found is None or earlier is None:
        return found or earlier
    factor = job.addition.factor if job.addition else 1.0
    return states.merge_states(earlier, found, factor=factor)


def write_state(
    job: passes.Job,
    folder: artifacts.DatasetFolder,
    state: states.State,
) -> schema.Shard:
    """Writes the state that later logs are merged into."""
    number = job.addition.number if job.addition else 0
    path = folder.sketches / f"state-{number:05d}.bin"
    with storage.create(str(path)) as stream:
        stream.write(state.to_bytes())
    return schema.Shard(
        name=path.name,
        rows=0,
        bytes=path.stat().st_size,
        crc32c=artifacts.file_crc32c(path),
    )


def check_files(
    found: schema.Statistics, folder: artifacts.DatasetFolder
) -> None:
    """Refuses to finish a dataset whose files are not in its folder.

    Raises:
        InputError: Names a file that is absent, or has another size than a
            worker says.
    """
    listed = {folder.split(name): found.shards[name] for name in schema.SPLITS}
    for table, part in found.tables.items():
        listed[folder.id_frequencies(table)] = part.files
    for place, shards in listed.items():
        for shard in shards:
            path = place / shard.name
            size = path.stat().st_size if path.is_file() else None
            if size != shard.bytes:
                now = "absent" if size is None else f"of {size} bytes"
                raise InputError(
                    "Every file of a dataset must be in its folder, as it was "
                    f"written. Received: {path}, which is {now}, not of "
                    f"{shard.bytes}. Check the disk; where workers do not see "
                    "this folder, name one that they do by --staging."
                )


def check_rows(found: schema.Statistics, split: config.SplitConfig) -> None:
    """Refuses a dataset without training rows, or with an empty share.

    Raises:
        InputError: A split that must have rows has none.
    """
    if not found.rows("train"):
        raise InputError(
            "The training split must have rows. Received: "
            f"{found.rows_read} rows read, "
            f"{found.rows_removed_by_select} removed by the select, "
            f"{found.rows_rejected} refused, {found.rows_sampled_out} sampled "
            "out, none left to train on. Check `source.select`, `split` and "
            "`dataset.negatives`."
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
