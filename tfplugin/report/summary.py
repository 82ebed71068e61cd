"""The page's first paragraph: what a reader wants to know first."""

from tfplugin import schema
from tfplugin.report import formatting
from tfplugin.report import history
from tfplugin.report import markup

#: Split to what its rows are for.
_PURPOSES = {
    "train": "training",
    "validation": "validation",
    "test": "the test",
}


def build(
    trained: history.History | None,
    columns: schema.Schema,
    statistics: schema.Statistics,
    *,
    stale: bool = False,
) -> markup.Html:
    """Builds the paragraph.

    Args:
        trained: What training left behind; None when it has not run.
        columns: The dataset's schema.
        statistics: The dataset's statistics.
        stale: Whether a training was left out as one on an earlier dataset.

    Returns:
        The paragraph.
    """
    sentences = [_rows(statistics), _ids(statistics)]
    if trained is None:
        labels = formatting.listing(columns.labels)
        sentences += [
            f"The labels are {labels}."
            if len(columns.labels) > 1
            else f"The label is {labels}.",
            "The dataset was made anew since the training in this folder: "
            "this page shows the data only."
            if stale
            else "Training has not run: this page shows the data only.",
        ]
    else:
        sentences.append(_training(trained))
        sentences += _test(trained)
        sentences += _overfitting(trained)
    return markup.paragraph(" ".join(sentences), class_="lead")


def _rows(statistics: schema.Statistics) -> str:
    rows = {
        name: statistics.rows(name)
        for name in schema.SPLITS
        if name in statistics.shards
    }
    parts = [
        f"{formatting.integer(number)} for {_PURPOSES[name]}"
        for name, number in rows.items()
    ]
    text = (
        f"The dataset holds {formatting.count(sum(rows.values()), 'row')}: "
        f"{formatting.listing(parts)}"
    )
    if statistics.rows_rejected:
        rejected = formatting.count(statistics.rows_rejected, "row")
        return f"{text}; {rejected} of the log had to be rejected."
    return f"{text}."


def _ids(statistics: schema.Statistics) -> str:
    tables = statistics.tables.values()
    ids = sum(table.ids for table in tables)
    once = sum(table.ids_seen_once for table in tables)
    return (
        f"The training rows hold {formatting.count(ids, 'distinct id')} in "
        f"{formatting.count(len(tables), 'table')}; "
        f"{formatting.ratio(once, ids)} of the ids are seen only once."
    )


def _training(trained: history.History) -> str:
    objectives = formatting.count(len(trained.objectives), "objective")
    epochs = formatting.count(len(trained.epochs), "epoch")
    size = formatting.size(sum(table.bytes for table in trained.model.tables))
    if trained.finished:
        return (
            f"A model with {size} of embeddings learned {objectives} "
            f"in {epochs}."
        )
    return (
        f"Training is not finished: a model with {size} of embeddings is "
        f"learning {objectives}; {epochs} done."
    )


def _test(trained: history.History) -> list[str]:
    if trained.test is None:
        return ["There is no test result yet."]
    aucs = {name: trained.test.of(name).auc for name in trained.objectives}
    values = [
        f"{'undefined' if auc is None else formatting.metric(auc)} for {name}"
        for name, auc in aucs.items()
    ]
    return [f"The test AUC is {formatting.listing(values)}."]


def _overfitting(trained: history.History) -> list[str]:
    if len(trained.epochs) < 2:
        return ["Overfitting takes a second epoch to show."]
    turned = [
        (name, formatting.epoch(first))
        for name in trained.objectives
        if (first := trained.monitor_of(name).overfits_from) is not None
    ]
    if not turned:
        return ["No objective overfits within these epochs."]
    first_name, first_epoch = turned[0]
    parts = [f"{first_name} overfits from {first_epoch}"]
    parts += [f"{name} from {epoch}" for name, epoch in turned[1:]]
    rest = len(trained.objectives) - len(turned)
    others = "the other does not" if rest == 1 else "the others do not"
    return [
        f"On the validation rows {formatting.listing(parts)}"
        + (f"; {others}." if rest else ".")
    ]
