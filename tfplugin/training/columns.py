"""Whether a dataset has the columns that a configuration asks for."""

from tfplugin import config as config_lib
from tfplugin import data
from tfplugin.errors import InputError


def check(config: config_lib.ExperimentConfig, dataset: data.Dataset) -> None:
    """Refuses a dataset that was made for other columns.

    Args:
        config: The experiment.
        dataset: An opened dataset.

    Raises:
        InputError: A feature's role, dtype or table, or a label, differs.
    """
    schema = dataset.schema
    found = {
        **{
            name: (
                "id_list" if feature.is_list else "id",
                feature.dtype,
                feature.table,
            )
            for name, feature in schema.id_features.items()
        },
        **{name: ("dense",) for name in schema.dense_features},
        **{name: ("label",) for name in schema.labels},
    }
    wanted: dict[str, tuple[str, ...]] = {
        name: ("label",) for name in config.labels
    }
    for name, feature in config.features.items():
        if isinstance(feature, config_lib.IdFeatureConfig):
            table = feature.table or name
            wanted[name] = (feature.type, feature.dtype, table)
        else:
            wanted[name] = ("dense",)
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            raise InputError(
                "The dataset must be made for the configured columns. "
                f"Received: `{name}`, configured as {_say(wanted.get(name))}, "
                f"in the dataset {_say(found.get(name))}. Run `tfplugin "
                "preprocess --overwrite`."
            )


def _say(column: tuple[str, ...] | None) -> str:
    return " ".join(column) if column else "nothing"
