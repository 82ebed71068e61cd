"""The page's part about the test split: the result."""

from tfplugin import schema
from tfplugin.report import formatting
from tfplugin.report import history
from tfplugin.report import markup


def build(
    trained: history.History, statistics: schema.Statistics
) -> markup.Section:
    """Builds the part about the test split.

    Args:
        trained: What training left behind.
        statistics: What preprocessing found, for the labels' rates.

    Returns:
        The section; a sentence when the test split has not been read.
    """
    test = trained.test
    if test is None:
        body = markup.paragraph("The test split has not been read yet.")
        return markup.Section("test", "The test", body)
    table = markup.Table(
        "Metrics on the test rows, by which nothing was chosen. AUC: 0.5 is "
        "guessing, 1 is perfect. PR-AUC: compare it with the rate of "
        "positives, which guessing reaches. Normalised entropy: below 1 beats "
        "predicting the rate. Calibration: predicted over observed positives, "
        "1 is right.",
        ("Objective", "AUC", "PR-AUC", "Rate in training")
        + ("Normalised entropy", "Calibration", "Loss", "Validation peak AUC"),
        [_row(trained, test, name, statistics) for name in trained.objectives],
    )
    tables = [table.html()]
    if trained.calibration is not None:
        tables.append(_calibrated(trained.calibration, test))
    summary = (
        "" if test.rows is None else f"{formatting.count(test.rows, 'row')}; "
    )
    loss = f"loss of all objectives together {formatting.metric(test.loss)}."
    return markup.Section(
        "test",
        "The test",
        markup.join(
            markup.paragraph("Measured once: ", summary, loss), *tables
        ),
    )


def _calibrated(
    calibration: history.Calibration, test: history.Pass
) -> markup.Html:
    """Metrics before and after, or why there is no after."""
    rows = []
    for name, one in calibration.objectives.items():
        method = f"none: {one.reason}" if one.method == "none" else one.method
        plain = test.of(name)
        after = test.calibrated.get(name, history.Metrics())
        if one.method == "none":
            after = history.Metrics()
        cells = [name, method]
        for key in _CALIBRATED:
            cells.append(formatting.metric(getattr(plain, key)))
            cells.append(formatting.metric(getattr(after, key)))
        rows.append(tuple(cells))
    headings = ["Objective", "Method"]
    for title in _CALIBRATED.values():
        headings += [title, "once calibrated"]
    return markup.Table(
        f"The same rows once calibrated, by a curve fitted on the "
        f"{calibration.split} rows. An export answers with calibrated "
        "probabilities, and with plain ones where the method is none. The "
        "curve rises, so that the order of rows stays or ties.",
        headings,
        rows,
        numbers_from=2,
    ).html()


#: What calibration changes, and its headings.
_CALIBRATED = {
    "calibration": "Calibration",
    "normalized_entropy": "Normalised entropy",
    "loss": "Loss",
    "auc": "AUC",
}


def _row(
    trained: history.History,
    test: history.Pass,
    objective: str,
    statistics: schema.Statistics,
) -> tuple[str, ...]:
    metrics = test.of(objective)
    monitor = trained.monitor_of(objective)
    label = statistics.labels.get(objective)
    peak = formatting.metric(monitor.peak_value)
    if monitor.peak_epoch is not None:
        peak += f" ({formatting.epoch(monitor.peak_epoch)})"
    return (
        objective,
        formatting.metric(metrics.auc),
        formatting.metric(metrics.pr_auc),
        formatting.ratio(label.positives, label.observed)
        if label
        else formatting.UNDEFINED,
        formatting.metric(metrics.normalized_entropy),
        formatting.metric(metrics.calibration),
        formatting.metric(metrics.loss),
        peak,
    )
