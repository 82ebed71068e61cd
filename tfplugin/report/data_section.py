"""The page's part about the data: rows, labels, columns and ids."""

import math

from tfplugin import artifacts
from tfplugin import schema
from tfplugin.errors import InputError
from tfplugin.report import columns_table
from tfplugin.report import formatting
from tfplugin.report import frequency_curve
from tfplugin.report import markup
from tfplugin.report import pictures

_MAX_SOURCE_FILES = 100


def build(
    dataset: artifacts.DatasetFolder,
    columns: schema.Schema,
    statistics: schema.Statistics,
) -> markup.Section:
    """Builds the part about the data.

    Args:
        dataset: The folder, for the ids' frequencies.
        columns: Its schema.
        statistics: Its statistics.

    Returns:
        The section.

    Raises:
        InputError: The frequencies of a table are absent or do not belong to
            these statistics.
    """
    curves = {
        table: _curve(dataset, table, found)
        for table, found in statistics.tables.items()
    }
    drawn = _pictures(curves)
    return markup.Section(
        "data",
        "The data",
        markup.join(
            _rows(statistics),
            _source(statistics),
            _labels(statistics),
            _dense(columns, statistics),
            _tables(columns, statistics),
            columns_table.build(columns, statistics),
            _curves(curves, drawn, statistics),
        ),
        tuple(drawn.values()),
    )


def _rows(statistics: schema.Statistics) -> markup.Html:
    splits = [name for name in schema.SPLITS if name in statistics.shards]
    total = sum(map(statistics.rows, splits))
    size = {
        name: sum(shard.bytes for shard in statistics.shards[name])
        for name in splits
    }
    table = markup.Table(
        "Rows by split. Everything learned from data comes from the training "
        "rows; the test rows are read once.",
        ("Split", "Rows", "Share", "Files", "Size"),
        [
            (
                name,
                formatting.integer(statistics.rows(name)),
                formatting.ratio(statistics.rows(name), total),
                formatting.integer(len(statistics.shards[name])),
                formatting.size(size[name]),
            )
            for name in splits
        ],
        total=(
            "all",
            formatting.integer(total),
            formatting.ratio(total, total),
            formatting.integer(sum(map(len, statistics.shards.values()))),
            formatting.size(sum(size.values())),
        ),
    )
    parts = [table.html()]
    if statistics.time_cut_offs is not None:
        validation, test = map(formatting.moment, statistics.time_cut_offs)
        parts.append(
            markup.paragraph(
                f"Split by time: validation begins at {validation}, "
                f"test at {test}."
            )
        )
    return markup.join(*parts)


def _source(statistics: schema.Statistics) -> markup.Html:
    read = statistics.rows_read
    facts = (
        ("Rows read from the log", read),
        ("Removed by the select", statistics.rows_removed_by_select),
        ("Added by the select", statistics.rows_added_by_select),
        ("Rejected as malformed", statistics.rows_rejected),
    )
    log = markup.Table(
        "From the log to the dataset.",
        ("Step", "Rows", "Of those read"),
        [
            (what, formatting.integer(rows), formatting.ratio(rows, read))
            for what, rows in facts
        ],
    )
    return markup.join(log.html(), _source_files(statistics.source_files))


def _source_files(files: tuple[schema.SourceFile, ...]) -> markup.Html:
    shown = files[:_MAX_SOURCE_FILES]
    left_out = len(files) - len(shown)
    table = markup.Table(
        "The log's files as they were read."
        + (f" {left_out:,} more are left out here." if left_out else ""),
        ("File", "Size", "CRC-32C"),
        [
            (file.path, formatting.size(file.bytes), f"{file.crc32c:08x}")
            for file in shown
        ],
    )
    total = formatting.size(sum(file.bytes for file in files))
    return markup.element(
        "details",
        markup.element(
            "summary",
            f"{formatting.count(len(files), 'source file')}, {total}",
        ),
        table.html(),
    )


def _labels(statistics: schema.Statistics) -> markup.Html:
    rows = statistics.rows("train") if "train" in statistics.shards else 0
    return markup.Table(
        "Labels of the training rows. A row whose label was not observed does "
        "not count for that objective.",
        ("Label", "Observed", "Not observed", "Positives", "Rate"),
        [
            (
                name,
                formatting.integer(label.observed),
                formatting.ratio(rows - label.observed, rows),
                formatting.integer(label.positives),
                formatting.ratio(label.positives, label.observed),
            )
            for name, label in statistics.labels.items()
        ],
    ).html()


def _dense(
    columns: schema.Schema, statistics: schema.Statistics
) -> markup.Html:
    if not statistics.dense:
        return markup.paragraph("There are no dense columns.")
    return markup.Table(
        "Dense columns of the training rows. Where the mean is far from the "
        "median, a few values are very large.",
        ("Column", "Missing", "Mean", "Std. dev.", "Minimum", "1 %")
        + ("Median", "99 %", "Maximum"),
        [
            (
                _name(name, columns.dense_features.get(name)),
                formatting.ratio(column.missing, column.missing + column.count),
                *_moments(column),
            )
            for name, column in statistics.dense.items()
        ],
    ).html()


def _moments(column: schema.DenseStatistics) -> list[str]:
    if not column.count:
        return [formatting.UNDEFINED] * 7
    ranks = column.quantiles
    quantiles = [
        ranks[round(share * (len(ranks) - 1))] if ranks else None
        for share in (0.01, 0.5, 0.99)
    ]
    values = (column.mean, column.standard_deviation, column.minimum)
    return [
        formatting.number(value)
        for value in (*values, *quantiles, column.maximum)
    ]


def _tables(
    columns: schema.Schema, statistics: schema.Statistics
) -> markup.Html:
    features = columns.table_features()
    rows = []
    for name, table in statistics.tables.items():
        once = table.ids_seen_once / table.ids if table.ids else None
        values = table.occurrences + table.missing
        rows.append(
            (
                name,
                formatting.listing(
                    [
                        _name(feature, columns.id_features[feature])
                        for feature in features.get(name, [])
                    ]
                ),
                formatting.integer(table.ids),
                formatting.integer(round(table.occurrences)),
                formatting.number(
                    table.occurrences / table.ids if table.ids else None
                ),
                markup.share_bar(once, formatting.percent(once)),
                formatting.percent(table.missing / values if values else None),
                formatting.integer(table.empty_lists),
            )
        )
    return markup.Table(
        "Ids of the training rows. Ids seen once invite a model to learn rows "
        "by heart: the larger their share, the sooner a table overfits.",
        ("Table", "Features", "Ids", "Occurrences", "Per id", "Seen once")
        + ("Missing", "Empty lists"),
        rows,
        numbers_from=2,
    ).html()


def _name(
    name: str, feature: schema.IdFeature | schema.DenseFeature | None
) -> str:
    if feature is not None and feature.training_only:
        return f"{name} (training only)"
    return name


def _curve(
    dataset: artifacts.DatasetFolder, table: str, found: schema.TableStatistics
) -> frequency_curve.FrequencyCurve:
    folder = dataset.id_frequencies(table)
    names = [file.name for file in found.files]
    curve = frequency_curve.read(folder, names)
    if (curve.ids, curve.ids_seen_once) != (found.ids, found.ids_seen_once):
        raise InputError(
            "A table's frequencies must be those that statistics.json counts. "
            f"Received: {folder} with {curve.ids:,} ids "
            f"({curve.ids_seen_once:,} seen once) instead of {found.ids:,} "
            f"({found.ids_seen_once:,}). Run `tfplugin preprocess --overwrite`."
        )
    return curve


def _pictures(
    curves: dict[str, frequency_curve.FrequencyCurve],
) -> dict[str, markup.Picture]:
    max_ids = max((curve.ids for curve in curves.values()), default=1)
    max_count = max(
        (math.ceil(curve.counts[0]) for curve in curves.values() if curve.ids),
        default=1,
    )
    return {
        table: markup.Picture(
            f"frequency-{index}",
            pictures.rank_frequency(curve, max_ids, max_count),
            f"How often the ids of table {table} were seen, by rank",
        )
        for index, (table, curve) in enumerate(curves.items())
        if curve.ids
    }


def _curves(
    curves: dict[str, frequency_curve.FrequencyCurve],
    drawn: dict[str, markup.Picture],
    statistics: schema.Statistics,
) -> markup.Html:
    panels = []
    for table, curve in curves.items():
        share = formatting.ratio(curve.ids_seen_once, curve.ids)
        note = f"{formatting.count(curve.ids, 'id')}, {share} seen once"
        ranks = statistics.tables[table].count_quantiles
        if ranks:
            median, most = (
                formatting.number(ranks[round(rank * (len(ranks) - 1))])
                for rank in (0.5, 0.99)
            )
            note += f"; half at most {median} times, 99 % at most {most}"
        panels.append(
            markup.element(
                "div",
                markup.element("h4", table),
                markup.paragraph(
                    note if curve.ids else "no ids", class_="note"
                ),
                drawn[table].html() if table in drawn else "",
                class_="panel",
            )
        )
    return markup.join(
        markup.element("h3", "How often each id was seen"),
        markup.paragraph(
            "Ids of each table from the most to the least frequent, on one "
            "logarithmic scale. A straight slope is a long tail; the ",
            markup.element("span", "bar at the foot", class_="key once"),
            " are the ids seen once.",
            class_="caption",
        ),
        markup.element("div", *panels, class_="panels"),
    )
