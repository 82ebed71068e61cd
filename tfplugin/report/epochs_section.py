"""The page's part about the epochs: what each one gained or lost."""

from tfplugin.report import formatting
from tfplugin.report import history
from tfplugin.report import markup
from tfplugin.report import pictures

#: Field of `history.Metrics` to its name on the page.
_METRICS = {"auc": "AUC", "loss": "Loss"}


def build(trained: history.History) -> markup.Section:
    """Builds the part about the epochs.

    Args:
        trained: What training left behind.

    Returns:
        The section; a sentence when no epoch is done.
    """
    if not trained.epochs:
        return markup.Section(
            "epochs", "The epochs", markup.paragraph("No epoch is done yet.")
        )
    cards = []
    drawn: list[markup.Picture] = []
    for index, objective in enumerate(trained.objectives):
        of_objective = _pictures(trained, objective, index)
        drawn += [picture for picture in of_objective.values() if picture]
        cards.append(_card(trained, objective, of_objective))
    body = markup.join(
        _legend(),
        markup.element("div", *cards, class_="cards"),
        _table(trained),
    )
    return markup.Section("epochs", "The epochs", body, tuple(drawn))


def verdict(trained: history.History, objective: str) -> str:
    """Says where an objective peaked and whether it overfitted since.

    Args:
        trained: What training left behind.
        objective: Its name.

    Returns:
        A sentence without its full stop.

    >>> trained = history.History(
    ...     version=1,
    ...     name="grocery",
    ...     finished=True,
    ...     objectives=("coupon",),
    ...     model=history.Model(parameters=0, dense_parameters=0),
    ...     steps_per_epoch=1,
    ...     batch_size=1,
    ... )
    >>> verdict(trained, "coupon")
    'The validation AUC is undefined'
    """
    monitor = trained.monitor_of(objective)
    if monitor.peak_epoch is None:
        return "The validation AUC is undefined"
    peak = (
        f"Validation AUC peaks at {formatting.metric(monitor.peak_value)} "
        f"in {formatting.epoch(monitor.peak_epoch)}"
    )
    if monitor.overfits_from is not None:
        began = formatting.epoch(monitor.overfits_from)
        return f"{peak}; began to overfit in {began}"
    if len(trained.epochs) < 2:
        return f"{peak}, the only one"
    return f"{peak}; no overfitting seen"


def _pictures(
    trained: history.History, objective: str, index: int
) -> dict[str, markup.Picture | None]:
    monitor = trained.monitor_of(objective)
    drawn: dict[str, markup.Picture | None] = {}
    for field, name in _METRICS.items():
        figure = pictures.metric_by_epoch(
            name,
            [epoch.epoch for epoch in trained.epochs],
            [
                getattr(epoch.train.of(objective), field)
                for epoch in trained.epochs
            ],
            [
                getattr(epoch.validation.of(objective), field)
                for epoch in trained.epochs
            ],
            pictures.Turn(
                # The peak is one of AUC; a ring on the loss would claim that
                # the loss was best there.
                monitor.peak_epoch if field == "auc" else None,
                monitor.overfits_from,
            ),
        )
        drawn[name] = figure and markup.Picture(
            f"epochs-{index}-{field}",
            figure,
            f"{name} of {objective} by epoch, training and validation",
        )
    return drawn


def _card(
    trained: history.History,
    objective: str,
    drawn: dict[str, markup.Picture | None],
) -> markup.Html:
    overfits = trained.monitor_of(objective).overfits_from is not None
    panels = [
        picture.html()
        if picture
        else markup.paragraph(f"{name} is undefined.", class_="plot empty")
        for name, picture in drawn.items()
    ]
    return markup.element(
        "div",
        markup.element("h3", objective),
        markup.paragraph(
            verdict(trained, objective) + ".",
            class_="note overfits" if overfits else "note",
        ),
        markup.element("div", *panels, class_="pair"),
        class_="card",
    )


def _legend() -> markup.Html:
    return markup.paragraph(
        "Each objective on ",
        markup.element("span", "training rows", class_="key training"),
        " (measured while learning) and ",
        markup.element("span", "validation rows", class_="key validation"),
        "; a ring marks the ",
        markup.element("span", "peak", class_="key peak"),
        " of the validation AUC, a shade the ",
        markup.element("span", "overfitted epochs", class_="key shade"),
        ". Overfitting shows as validation falling away from training.",
        class_="caption",
    )


def _table(trained: history.History) -> markup.Html:
    objectives = trained.objectives
    return markup.Table(
        "Epochs in numbers: time, speed, the loss of all objectives together, "
        "and the validation AUC of each.",
        ("Epoch", "Time", "Rows per second", "Training loss")
        + ("Validation loss",)
        + tuple(f"AUC {objective}" for objective in objectives),
        [
            (
                str(epoch.epoch),
                formatting.duration(epoch.seconds),
                formatting.UNDEFINED
                if epoch.examples_per_second is None
                else formatting.integer(round(epoch.examples_per_second)),
                formatting.metric(epoch.train.loss),
                formatting.metric(epoch.validation.loss),
                *(
                    formatting.metric(epoch.validation.of(objective).auc)
                    for objective in objectives
                ),
            )
            for epoch in trained.epochs
        ],
    ).html()
