"""The page's part about evidence: how much training saw behind each row."""

from collections.abc import Iterator
from collections.abc import Sequence

from tfplugin.report import formatting
from tfplugin.report import history
from tfplugin.report import markup
from tfplugin.report import telemetry_pictures as pictures
from tfplugin.report import telemetry_records as records

#: Tables that an objective is shown by, and whose rows are shown.
_MOST_TABLES = 3
#: The bucket of rows without an id, which is nothing seen more or less often.
_NO_ID = "missing"


def build(trained: history.History) -> markup.Section | None:
    """Builds the part about evidence.

    Args:
        trained: What training left behind.

    Returns:
        The section; None when no epoch has telemetry.
    """
    measured = {
        epoch.epoch: epoch.telemetry
        for epoch in trained.epochs
        if epoch.telemetry is not None
    }
    if not measured:
        return None
    parts: list[markup.Html] = [
        markup.paragraph(
            "The evidence for an id is how often the training rows hold it. A "
            "validation row counts where its rarest id of a table belongs; ids "
            "that training never saw are in 0, rows without an id are not "
            "shown. What a model learned holds for ids seen often; what it "
            "memorised shows where they are rare."
        )
    ]
    drawn: list[markup.Picture] = []
    for build_part in (_boundaries, _frequencies, _rows, _calibration):
        html, of_part = build_part(trained, measured)
        parts.append(html)
        drawn += of_part
    parts.append(_groups(trained, measured))
    return markup.Section(
        "evidence", "By evidence", markup.join(*parts), tuple(drawn)
    )


_Measured = dict[int, records.Telemetry]
_Part = tuple[markup.Html, list[markup.Picture]]


def _boundaries(trained: history.History, measured: _Measured) -> _Part:
    losses = [one.training_loss for one in measured.values()]
    figure = pictures.boundaries(list(measured), losses)
    drawn = []
    body = markup.paragraph("The training loss is undefined.")
    if figure:
        drawn = [
            markup.Picture(
                "evidence-boundaries",
                figure,
                "Training loss at the begin and the end of each epoch",
            )
        ]
        body = drawn[0].html()
    window = formatting.count(losses[-1].window, "step")
    html = markup.join(
        markup.element("h3", "Where epochs meet"),
        markup.paragraph(
            f"The training loss of each epoch's first {window} (open circle) "
            "and of its last ones (full). A fall from one epoch to the next, ",
            markup.element("span", "dotted", class_="key jump"),
            ", is memory: the same rows come again, and the model knows them.",
            class_="caption",
        ),
        markup.element(
            "div",
            markup.element("div", body),
            markup.element("div", _gap_table(trained, measured)),
            class_="cards",
        ),
    )
    return html, drawn


def _gap_table(trained: history.History, measured: _Measured) -> markup.Html:
    return markup.Table(
        "AUC of training minus AUC of validation, by objective.",
        ("Epoch", "Jump of the loss", *trained.objectives),
        [
            (
                str(epoch),
                formatting.metric(one.training_loss.jump),
                *(
                    formatting.metric(
                        one.generalization_gap.get(name, records.Gap()).auc
                    )
                    for name in trained.objectives
                ),
            )
            for epoch, one in measured.items()
        ],
    ).html()


def _frequencies(trained: history.History, measured: _Measured) -> _Part:
    shown = pictures.shown_epochs(list(measured))
    drawn: list[markup.Picture] = []
    cards = []
    for index, objective in enumerate(trained.objectives):
        panels = []
        for place, table in enumerate(_telling_tables(measured, objective)):
            figure = _auc_figure(measured, shown, objective, table)
            if figure is None:
                continue
            picture = markup.Picture(
                f"evidence-{index}-{place}-auc",
                figure,
                f"AUC of {objective} by how often ids of {table} were seen",
            )
            drawn.append(picture)
            panels.append(_panel(table, picture))
        cards.append(_panels(objective, panels))
    least = pictures.LEAST_OF_A_CLASS
    html = markup.join(
        markup.element("h3", "Validation AUC by evidence"),
        _legend(shown),
        markup.paragraph(
            "Bars count the positives of each bucket, on a logarithmic scale; "
            f"a bucket with fewer than {least} positives or {least} negatives "
            "has no point. Of each objective the tables that tell most are "
            "shown; history.json has them all.",
            class_="caption",
        ),
        *cards,
    )
    return html, drawn


def _telling_tables(measured: _Measured, objective: str) -> list[str]:
    """The tables whose points are most, and then whose rare ids are most."""
    tables = list(measured.values())[-1].validation.of(objective).tables

    def tells(table: str) -> tuple[int, int]:
        buckets = [
            one
            for one in tables[table]
            if one.bucket != _NO_ID and _is_telling(one)
        ]
        rare = sum(one.rows for one in buckets if one.bucket != "4097+")
        return len(buckets), rare

    telling = [table for table in tables if tells(table)[0] > 1]
    return sorted(telling, key=tells, reverse=True)[:_MOST_TABLES]


def _is_telling(bucket: records.Bucket) -> bool:
    fewest = min(bucket.positives, bucket.rows - bucket.positives)
    return fewest >= pictures.LEAST_OF_A_CLASS


def _auc_figure(
    measured: _Measured, shown: Sequence[int], objective: str, table: str
) -> pictures.go.Figure | None:
    by_epoch = {
        epoch: measured[epoch].validation.of(objective).tables.get(table, ())
        for epoch in shown
    }
    last = by_epoch[shown[-1]]
    return pictures.by_bucket(
        "AUC",
        {
            epoch: {
                one.bucket: one.auc if _is_telling(one) else None
                for one in buckets
                if one.bucket != _NO_ID
            }
            for epoch, buckets in by_epoch.items()
        },
        {one.bucket: one.positives for one in last if one.bucket != _NO_ID},
        "positives",
    )


def _rows(trained: history.History, measured: _Measured) -> _Part:
    shown = pictures.shown_epochs(list(measured))
    tables = list(measured.values())[-1].rows
    largest = sorted(
        tables, key=lambda name: -sum(one.rows for one in tables[name])
    )[:_MOST_TABLES]
    drawn: list[markup.Picture] = []
    cards = []
    for index, table in enumerate(largest):
        panels = []
        for field, name in (("norm", "length"), ("update", "change")):
            figure = pictures.by_bucket(
                name,
                {
                    epoch: {
                        one.bucket: getattr(one, field)
                        for one in measured[epoch].rows.get(table, ())
                    }
                    for epoch in shown
                },
                {one.bucket: one.rows for one in tables[table]},
                "rows",
                from_zero=True,
            )
            if figure is None:
                continue
            picture = markup.Picture(
                f"evidence-rows-{index}-{field}",
                figure,
                f"Mean {name} of the rows of {table} by how often they were "
                "seen",
            )
            drawn.append(picture)
            panels.append(
                _panel(
                    "Mean length of a row"
                    if field == "norm"
                    else "Mean change of a row in an epoch",
                    picture,
                )
            )
        cards.append(_panels(table, panels))
    if not cards:
        return markup.join(), []
    html = markup.join(
        markup.element("h3", "Rows of the largest tables"),
        _legend(shown),
        markup.paragraph(
            "Rows of rare ids that grow epoch after epoch learn single "
            "examples by heart. Of each bucket at most 2,048 rows are looked "
            "at; bars count all of them.",
            class_="caption",
        ),
        *cards,
    )
    return html, drawn


def _calibration(trained: history.History, measured: _Measured) -> _Part:
    number, last = list(measured.items())[-1]
    drawn: list[markup.Picture] = []
    panels = []
    for index, objective in enumerate(trained.objectives):
        curve = last.validation.of(objective).calibration_curve
        figure = pictures.calibration(curve)
        if figure is None:
            continue
        picture = markup.Picture(
            f"evidence-{index}-calibration",
            figure,
            f"Observed over predicted rates of {objective}",
        )
        drawn.append(picture)
        panels.append(_panel(objective, picture))
    if not panels:
        return markup.join(), []
    html = markup.join(
        markup.element("h3", "Calibration"),
        markup.paragraph(
            f"Validation rows after {formatting.epoch(number)}, sorted by "
            "prediction into points of equal predicted positives; bars are "
            "95 % intervals. On the dashed line what is predicted is what "
            "happens; below it, too much is promised.",
            class_="caption",
        ),
        markup.element("div", *panels, class_="panels evidence"),
    )
    return html, drawn


def _groups(trained: history.History, measured: _Measured) -> markup.Html:
    rows = list(_group_rows(trained, measured))
    if not rows:
        return markup.join()
    return markup.join(
        markup.element("h3", "Within groups and requests"),
        markup.Table(
            "AUC among the rows of one group (a user) or one request, averaged "
            "by rows over those that have both classes: unlike the AUC of all "
            "rows it gains nothing from telling active users from others. "
            f"NDCG at {_ranks(measured)}: how high the positives of a request "
            "stand.",
            ("Objective", "Rows of", "AUC in groups", "Groups")
            + ("AUC in requests", "NDCG", "Requests"),
            rows,
            2,
        ).html(),
    )


def _ranks(measured: _Measured) -> int:
    last = list(measured.values())[-1].validation.objectives.values()
    return next((one.request.k for one in last if one.request), 10)


def _group_rows(
    trained: history.History, measured: _Measured
) -> Iterator[tuple[str, ...]]:
    passes = {
        formatting.epoch(epoch): one.validation
        for epoch, one in measured.items()
    }
    if trained.test and trained.test.telemetry:
        passes["test"] = trained.test.telemetry
    for objective in trained.objectives:
        for name, split in passes.items():
            found = split.of(objective)
            if found.group is None and found.request is None:
                continue
            group = found.group or records.Ranking()
            request = found.request or records.Ranking()
            yield (
                objective,
                name,
                formatting.metric(group.auc),
                formatting.integer(group.groups),
                formatting.metric(request.auc),
                formatting.metric(request.ndcg),
                formatting.integer(request.ndcg_groups),
            )


def _legend(shown: Sequence[int]) -> markup.Html:
    keys = [
        markup.element(
            "span",
            formatting.epoch(epoch),
            class_="key epoch",
            style=f"--line:{pictures.epoch_color(place, len(shown))}",
        )
        for place, epoch in enumerate(shown)
    ]
    return markup.paragraph(
        "After ", markup.Html(", ".join(keys)), ":", class_="caption"
    )


def _panel(title: str, picture: markup.Picture) -> markup.Html:
    return markup.element(
        "div", markup.element("h4", title), picture.html(), class_="panel"
    )


def _panels(title: str, panels: Sequence[markup.Html]) -> markup.Html:
    body = (
        markup.element("div", *panels, class_="panels evidence")
        if panels
        else markup.paragraph("No bucket has enough rows of both classes.")
    )
    return markup.join(
        markup.element("p", title, class_="caption objective"), body
    )
