"""Raw log → dataset: the job behind `tfplugin preprocess`."""

import logging
from collections.abc import Callable
from collections.abc import Sequence

from beam_jobs import opening
from beam_jobs import outcome
from beam_jobs import passes
from beam_jobs import progress
from beam_jobs import staging as staging_lib
from beam_jobs import storage
from beam_jobs.roles import columns
from beam_jobs.roles import splits
from beam_jobs.roles import time_counts
from tfplugin import artifacts
from tfplugin import config
from tfplugin import schema

_LOGGER = logging.getLogger(__name__)


def run(
    experiment: config.ExperimentConfig,
    folder: artifacts.DatasetFolder,
    beam_arguments: Sequence[str] = (),
    on_progress: Callable[[str, int], None] | None = None,
    *,
    staging: str | None = None,
) -> schema.Statistics:
    """Preprocesses a raw log.

    Writes everything that a dataset holds, `COMPLETED` last; what an earlier
    run left in the folder is removed, once the input has been checked.

    Args:
        experiment: The configuration.
        folder: The dataset's folder.
        beam_arguments: Beam's own options, handed on untouched.
        on_progress: Called with a stage (`count times`, where rows are cut by
            time, then `preprocess`) and a number of rows that it has done
            since the last call; by the in-memory runner only.
        staging: A folder or URL that workers write to where they do not see
            `folder`; what they wrote is then moved there.

    Returns:
        What was found, as written to `statistics.json`.

    Raises:
        InputError: The input is refused: one line that says which file,
            column, key or row, and why.
    """
    storage.configure(beam_arguments)
    inputs = opening.open_inputs(experiment)
    columns.Columns(experiment, inputs.schema, (0, 0))
    with (
        progress.listening(on_progress) as token,
        staging_lib.workspace(folder, staging) as paths,
    ):
        _clean(folder)
        folder.path.mkdir(parents=True, exist_ok=True)
        job = passes.Job(
            experiment, paths, inputs, tuple(beam_arguments), token
        )
        return _run(job, folder)


def _run(job: passes.Job, folder: artifacts.DatasetFolder) -> schema.Statistics:
    times = passes.count_times(job)
    cut_offs = _cut_offs(job.experiment, times)
    converter = columns.Columns(job.experiment, job.inputs.schema, cut_offs)
    order = passes.order_of_rows(job, times, cut_offs)
    results = passes.write_dataset(job, converter, order)
    passes.raise_problems(results)
    staging_lib.fetch(job.paths, folder)
    outcome.check_rejected(job, folder, results)
    found = outcome.to_statistics(
        job, folder, converter.schema, results, cut_offs=cut_offs
    )
    outcome.check_rows(found, job.experiment.split)
    outcome.check_files(found, folder)
    schema.write_record(folder.schema_json, converter.schema)
    schema.write_record(folder.statistics_json, found)
    folder.completed.touch()
    _LOGGER.info("Preprocessed %d rows.", found.rows_read)
    return found


def _clean(folder: artifacts.DatasetFolder) -> None:
    # The mark goes first: what is left is then never taken for a dataset.
    artifacts.remove(folder.completed)
    for path in (
        folder.schema_json,
        folder.statistics_json,
        folder.rejected,
        folder.sketches,
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
