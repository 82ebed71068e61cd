"""A later log → a finished dataset: `tfplugin preprocess --append`.

Everything new is written beside what the dataset holds. `statistics.json`,
which lists the files that belong to it, is replaced last, so that a job that is
cut off at any moment leaves the dataset as it was.
"""

import dataclasses
import logging
import pathlib
from collections.abc import Callable
from collections.abc import Sequence

from beam_jobs import opening
from beam_jobs import outcome
from beam_jobs import passes
from beam_jobs import progress
from beam_jobs import staging as staging_lib
from beam_jobs import storage
from beam_jobs.reading import log_files
from beam_jobs.roles import columns
from beam_jobs.roles import time_counts
from beam_jobs.summaries import states
from tfplugin import artifacts
from tfplugin import config
from tfplugin import schema
from tfplugin.errors import InputError

_LOGGER = logging.getLogger(__name__)
_DAY = 86_400


def run(
    experiment: config.ExperimentConfig,
    folder: artifacts.DatasetFolder,
    beam_arguments: Sequence[str] = (),
    on_progress: Callable[[str, int], None] | None = None,
    *,
    staging: str | None = None,
) -> schema.Statistics:
    """Adds a log to a dataset.

    Its rows go to new shards of the splits that `append.split` says, its ids
    and values into the frequencies and statistics of training rows.

    Args:
        experiment: The configuration; `source.files` is the new log.
        folder: A finished dataset.
        beam_arguments: As for `preprocess.run`.
        on_progress: As for `preprocess.run`.
        staging: As for `preprocess.run`.

    Returns:
        The dataset's new statistics.

    Raises:
        InputError: The input is refused, the dataset is absent or has other
            columns, or the log was added before. The dataset is as it was.
    """
    folder.require_completed()
    before = folder.read_statistics()
    storage.configure(beam_arguments)
    inputs = opening.open_inputs(experiment)
    _check_schema(experiment, inputs, folder.read_schema())
    _check_split(experiment, before)
    refuse_known(inputs.log.files, before)
    # Before the job, which may take hours.
    outcome.check_files(before, folder)
    earlier = read_state(folder, before)
    _check_sketches(experiment, earlier)
    remove_unlisted(folder, before)
    with (
        progress.listening(on_progress) as token,
        staging_lib.workspace(folder, staging) as paths,
    ):
        number = len(before.additions) + 1
        job = passes.Job(
            experiment,
            paths,
            inputs,
            tuple(beam_arguments),
            token,
            passes.Addition(number, _share(before, folder, paths), 1.0),
        )
        # What an addition left that was refused.
        artifacts.remove(folder.rejected / job.subfolder)
        try:
            return _run(job, folder, before, earlier)
        finally:
            # Of whichever statistics are in force now.
            remove_unlisted(folder, folder.read_statistics())


def _run(
    job: passes.Job,
    folder: artifacts.DatasetFolder,
    before: schema.Statistics,
    earlier: states.State,
) -> schema.Statistics:
    times = passes.count_times(job)
    _check_order(job, before, times)
    job = with_factor(job, before, times)
    cut_offs = before.time_cut_offs
    converter = columns.Columns(
        job.experiment, job.inputs.schema, cut_offs, only_split=job.only_split
    )
    order = passes.order_of_rows(job, times, cut_offs)
    results = passes.write_dataset(job, converter, order)
    passes.raise_problems(results)
    staging_lib.fetch(job.paths, folder)
    outcome.check_rejected(job, folder, results)
    added = outcome.to_statistics(
        job,
        folder,
        converter.schema,
        results,
        cut_offs=cut_offs,
        earlier=earlier,
    )
    if not sum(added.rows(split) for split in schema.SPLITS):
        raise InputError(
            "An added log must have rows. Received: "
            f"{added.rows_read} rows read, {added.rows_removed_by_select} "
            f"removed by the select, {added.rows_rejected} refused, none left."
            " Check `source.files` and `source.select`."
        )
    whole = together(before, added, job.subfolder)
    outcome.check_files(whole, folder)
    # The moment from which the log belongs to the dataset.
    schema.write_record(folder.statistics_json, whole)
    _LOGGER.info("Added %d rows.", added.rows_read)
    return whole


def _check_schema(
    experiment: config.ExperimentConfig,
    inputs: opening.Inputs,
    known: schema.Schema,
) -> None:
    """Refuses a log whose examples would differ from the dataset's."""
    made = columns.Columns(experiment, inputs.schema, (0, 0)).schema
    if made == known:
        return
    new, old = made.model_dump(), known.model_dump()
    changed = [name for name in old if new[name] != old[name]]
    raise InputError(
        "An added log must give the examples that the dataset holds. "
        f"Received: another `{'`, `'.join(changed)}` than in schema.json. Use "
        "the configuration that made the dataset, or make a new one."
    )


def _check_split(
    experiment: config.ExperimentConfig, before: schema.Statistics
) -> None:
    """Refuses a log whose rows of one user could train and test."""
    if experiment.append.split != "as_configured":
        return
    if experiment.split.model_dump(mode="json") == before.split:
        return
    raise InputError(
        "An added log must be split as the dataset is. Received: another "
        f"`split` than {before.split or 'one that is not known any more'}. Use "
        "that one, or name where all rows go: --set append.split=test."
    )


def _check_sketches(
    experiment: config.ExperimentConfig, earlier: states.State
) -> None:
    wanted = experiment.dataset.sketches
    if earlier.sketches != wanted:
        raise InputError(
            "An added log must have sketches as the dataset does. Received: "
            f"`dataset.sketches: {str(wanted).lower()}`, over a dataset made "
            "with the other. Use the configuration that made the dataset."
        )


def _check_order(
    job: passes.Job,
    before: schema.Statistics,
    times: time_counts.TimeCounts | None,
) -> None:
    """Refuses rows of the past where training reads by time."""
    if job.experiment.dataset.order != "time" or times is None:
        return
    if before.last_time is None or times.seconds[0] >= before.last_time:
        return
    raise InputError(
        "A log must begin where the dataset ends if it is read in the order "
        "of time (`dataset.order`). Received: one whose first moment is "
        f"{int(times.seconds[0])}, after rows up to {before.last_time} "
        "(seconds since 1970). Add logs in the order of time, leave out what "
        "is late by `source.select`, or make the dataset anew."
    )


def refuse_known(
    files: Sequence[log_files.LogFile], before: schema.Statistics
) -> None:
    """Refuses files whose bytes the dataset has seen.

    Args:
        files: Of the log to add.
        before: The dataset's statistics.

    Raises:
        InputError: Names the first such file, and the one it equals.
    """
    known = {(f.bytes, f.crc32c): f.path for f in before.source_files}
    sizes = {size for size, _ in known}
    for file in files:
        if file.size not in sizes:
            continue
        same = known.get((file.size, storage.checksum(file.path)))
        if same is not None:
            raise InputError(
                "A log must be added once. Received: "
                f"{file.path}, whose bytes are those of {same}, which is in "
                "the dataset. Remove it from `source.files`."
            )


def with_factor(
    job: passes.Job,
    before: schema.Statistics,
    times: time_counts.TimeCounts | None,
) -> passes.Job:
    """The job, with what the counts so far weigh beside the new ones."""
    half_life = job.experiment.append.half_life_days
    if half_life is None or job.addition is None:
        return job
    if times is None or before.last_time is None:
        raise InputError(
            "`append.half_life_days` needs moments. Received: a log or a "
            "dataset without `event_time`. Name its column, and make the "
            "dataset anew."
        )
    days = (int(times.seconds[-1]) - before.last_time) / _DAY
    if days < 0:
        raise InputError(
            "A log must not end before the dataset does where counts decay "
            f"(`append.half_life_days`). Received: one that ends {-days:.3g} "
            "days earlier. Add logs in the order of time."
        )
    factor = 0.5 ** (days / half_life)
    if not factor:
        raise InputError(
            "`append.half_life_days` must leave something of the counts so "
            f"far. Received: {half_life:g}, and a log that ends {days:g} days "
            "after the dataset. Give a longer half-life, or make a new "
            "dataset of this log."
        )
    addition = passes.Addition(
        job.addition.number, job.addition.frequencies, factor
    )
    return dataclasses.replace(job, addition=addition)


def read_state(
    folder: artifacts.DatasetFolder, before: schema.Statistics
) -> states.State:
    """The mergeable state of the dataset's training rows.

    Raises:
        InputError: The dataset has none, or its file is damaged.
    """
    if before.sketches is None:
        raise InputError(
            "A dataset must keep the state of its statistics to be added to. "
            f"Received: {folder.path}, made by an older version. Run "
            "`tfplugin preprocess --overwrite`."
        )
    path = str(folder.sketches / before.sketches.name)
    return states.State.from_bytes(storage.read_bytes(path), path)


def _share(
    before: schema.Statistics,
    folder: artifacts.DatasetFolder,
    paths: storage.DatasetPaths,
) -> dict[str, tuple[str, ...]]:
    """The files of id frequencies, where workers see them."""
    shared: dict[str, tuple[str, ...]] = {}
    for table, found in before.tables.items():
        names = [file.name for file in found.files]
        local = folder.id_frequencies(table)
        target = storage.join(paths.temporary, "earlier", table)
        if not staging_lib.is_elsewhere(paths, folder):
            shared[table] = tuple(str(local / name) for name in names)
            continue
        for name in names:
            storage.copy(str(local / name), storage.join(target, name))
        shared[table] = tuple(storage.join(target, name) for name in names)
    return shared


def together(
    before: schema.Statistics, added: schema.Statistics, name: str
) -> schema.Statistics:
    """Statistics of a dataset after a log was added.

    Args:
        before: Those of the dataset.
        added: Of the added log; `labels`, `dense`, `tables`, `columns` and
            `sketches` are of both already.
        name: Folder of what was added.
    """
    names = {*before.joins, *added.joins}
    addition = schema.Addition(
        name=name,
        source_files=added.source_files,
        rows_read=added.rows_read,
        rows={split: added.rows(split) for split in schema.SPLITS},
    )
    counted = (
        "rows_read",
        "rows_removed_by_select",
        "rows_added_by_select",
        "rows_rejected",
        "rows_sampled_out",
    )
    moments = [t for t in (before.last_time, added.last_time) if t is not None]
    return added.model_copy(
        update={
            **{k: getattr(before, k) + getattr(added, k) for k in counted},
            "split": before.split,
            "source_files": before.source_files + added.source_files,
            # A joined log may be the same for every addition.
            "joined_files": tuple(
                dict.fromkeys(before.joined_files + added.joined_files)
            ),
            "shards": {
                split: before.shards[split] + added.shards[split]
                for split in schema.SPLITS
            },
            "last_time": max(moments, default=None),
            "joins": {
                join: _sum_joins(before.joins.get(join), added.joins.get(join))
                for join in sorted(names)
            },
            "additions": (*before.additions, addition),
        }
    )


def _sum_joins(
    one: schema.JoinStatistics | None, two: schema.JoinStatistics | None
) -> schema.JoinStatistics:
    found = [part.model_dump() for part in (one, two) if part is not None]
    return schema.JoinStatistics(
        **{key: sum(part[key] for part in found) for key in found[0]}
    )


def remove_unlisted(
    folder: artifacts.DatasetFolder, found: schema.Statistics
) -> None:
    """Removes files that an addition left, and those it took the place of.

    Args:
        folder: A finished dataset.
        found: Its statistics.
    """
    artifacts.remove(folder.path / ".temporary")
    listed = {
        folder.id_frequencies(table): part.files
        for table, part in found.tables.items()
    }
    for split in schema.SPLITS:
        listed[folder.split(split)] = found.shards[split]
    if found.sketches is not None:
        listed[folder.sketches] = (found.sketches,)
    for place, shards in listed.items():
        kept = {place / shard.name for shard in shards}
        for path in sorted(place.rglob("*"), reverse=True):
            _remove_if_unlisted(path, kept)


def _remove_if_unlisted(path: pathlib.Path, kept: set[pathlib.Path]) -> None:
    """Removes a file that is not kept, and a folder that has become empty."""
    if path.is_dir():
        if not any(path.iterdir()):
            path.rmdir()
    elif path not in kept:
        path.unlink()
