"""The page's part about the model: what its weights take."""

from tfplugin import schema
from tfplugin.report import formatting
from tfplugin.report import history
from tfplugin.report import markup

_MAPPINGS = {
    "vocabulary": "vocabulary",
    "hash": "hashed",
    "double_hash": "one of two hashes",
    "binary_code": "block of a hash code",
    "rows": "id is the row",
}


def build(
    trained: history.History, statistics: schema.Statistics
) -> markup.Section:
    """Builds the part about the model.

    Args:
        trained: What training left behind.
        statistics: What preprocessing found, for the number of ids.

    Returns:
        The section.
    """
    model = trained.model
    parameters = formatting.integer(model.parameters)
    dense = formatting.integer(model.dense_parameters)
    text = (
        f"The model has {parameters} parameters, {dense} of them outside the "
        f"embedding tables. An epoch is "
        f"{formatting.count(trained.steps_per_epoch, 'step')} of "
        f"{formatting.count(trained.batch_size, 'row')}."
    )
    parts: list[str] = [markup.paragraph(text)]
    if model.tables:
        parts.append(_tables(model, statistics))
    if trained.dataset_fingerprint:
        parts.append(
            markup.paragraph(
                "It was trained on the dataset with fingerprint ",
                markup.element("code", trained.dataset_fingerprint),
                ".",
            )
        )
    return markup.Section("model", "The model", markup.join(*parts))


def _tables(model: history.Model, statistics: schema.Statistics) -> markup.Html:
    tables = model.tables
    return markup.Table(
        "Embedding tables. Special rows stand for missing and unknown ids and "
        "are among the rows; optimizer state exists while training only.",
        ("Table", "Features", "Mapping", "Ids", "Rows", "Special", "Dim")
        + ("Size", "Optimizer state"),
        [_row(table, statistics) for table in tables],
        numbers_from=3,
        total=(
            "all",
            "",
            "",
            formatting.integer(
                sum(found.ids for found in statistics.tables.values())
            ),
            formatting.integer(sum(table.rows for table in tables)),
            formatting.integer(sum(table.special_rows for table in tables)),
            "",
            formatting.size(sum(table.bytes for table in tables)),
            formatting.size(sum(table.optimizer_bytes for table in tables)),
        ),
    ).html()


def _row(
    table: history.TableSize, statistics: schema.Statistics
) -> tuple[str, ...]:
    found = statistics.tables.get(table.name)
    return (
        table.name,
        formatting.listing(table.features),
        _MAPPINGS.get(table.mapping, table.mapping),
        formatting.integer(found.ids) if found else formatting.UNDEFINED,
        formatting.integer(table.rows),
        formatting.integer(table.special_rows),
        formatting.integer(table.embedding_dim),
        formatting.size(table.bytes),
        formatting.size(table.optimizer_bytes),
    )
