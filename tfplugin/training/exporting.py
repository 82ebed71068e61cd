"""A trained experiment → an exported version, as its configuration says."""

import pathlib
from typing import TYPE_CHECKING

from tfplugin import calibration as calibration_lib
from tfplugin import config as config_lib
from tfplugin import data
from tfplugin import export as export_lib
from tfplugin.errors import InputError
from tfplugin.export import golden
from tfplugin.export import table_compression
from tfplugin.export import tables as tables_lib

if TYPE_CHECKING:
    from tfplugin.training.experiment import Experiment


def export(
    experiment: "Experiment",
    path: pathlib.Path,
    settings: config_lib.ExportConfig | None = None,
    *,
    overwrite: bool = False,
) -> pathlib.Path:
    """Writes what an experiment has trained, checked against its test split.

    Args:
        experiment: With its weights, and its calibration if it has one.
        path: The version's folder.
        settings: Of the export; None for the experiment's own.
        overwrite: Whether an existing version is replaced.

    Returns:
        `path`.

    Raises:
        InputError: See `tfplugin.export.save`; or rows of a table are to be
            pruned whose ids the dataset has not counted.
    """
    settings = settings or experiment.config.export
    return export_lib.save(
        experiment.model,
        path,
        experiment.dataset.schema,
        calibration=experiment.calibration,
        scores=settings.scores,
        compressed=_smaller_tables(experiment, settings),
        golden=_golden_requests(experiment, settings.golden_requests),
        warm_up=settings.warm_up_batch_sizes,
        overwrite=overwrite,
    )


def _smaller_tables(
    experiment: "Experiment", settings: config_lib.ExportConfig
) -> export_lib.SmallerTables:
    dataset, model = experiment.dataset, experiment.model
    plan = {}
    of_dataset = {}
    for table in tables_lib.find(model, dataset.schema):
        # First-order weights of a table's ids are written as the table is.
        how = settings.table(table.dataset_table or table.name)
        if how.changes:
            plan[table.layer.name] = export_lib.TableCompression(
                **how.model_dump()
            )
            of_dataset[table.layer.name] = table.dataset_table
    if not plan:
        return export_lib.SmallerTables()

    def id_frequencies(layer_name: str) -> data.IdFrequencies:
        table_name = of_dataset[layer_name]
        if table_name is None:
            raise InputError(
                "Rows can be pruned where the dataset has counted ids. "
                f"Received: table `{layer_name}` of the model, which is no "
                f"table of the dataset, {sorted(dataset.statistics.tables)}. "
                "Name the layer as the table, or set export.tables.default."
                "min_count=0 and drop_unused=false."
            )
        return dataset.id_frequencies(table_name)

    return export_lib.SmallerTables(
        plan=plan,
        counts=table_compression.row_counts(model, plan, id_frequencies),
        test=dataset.test(experiment.config.training.batch_size),
        bounds=export_lib.Bounds(**settings.bounds.model_dump()),
    )


def _golden_requests(
    experiment: "Experiment", count: int
) -> export_lib.GoldenRequests | None:
    if not count:
        return None
    calibrate = None
    if experiment.calibration:
        calibrate = calibration_lib.CalibratedLogits(
            experiment.calibration.curves()
        )
    return golden.draw(
        experiment.dataset,
        experiment.model,
        count,
        calibrate=calibrate,
        seed=experiment.config.training.seed,
    )
