"""The page about drift: what moved, by how much, and what it looks like."""

import pathlib

from tfplugin import artifacts
from tfplugin import schema as schema_lib
from tfplugin.report import document
from tfplugin.report import drift_sections
from tfplugin.report import formatting
from tfplugin.report import markup
from tfplugin.schema import drift as records


def write(work: artifacts.WorkFolder) -> pathlib.Path:
    """Writes `report/drift.html` from `drift.json`.

    Args:
        work: The folder that `tfplugin drift` wrote into.

    Returns:
        Path of the page, which needs no network.

    Raises:
        InputError: `drift.json` is absent or malformed.

    Example:
    >>> write(artifacts.WorkFolder(pathlib.Path("absent")))
    Traceback (most recent call last):
    ...
    tfplugin.errors.InputError: A dataset needs its drift.json. ...
    """
    found = schema_lib.read_record(work.drift_json, records.Drift)
    document.write(work.drift_page, render(found))
    return work.drift_page


def render(found: records.Drift) -> str:
    """The page's HTML.

    Args:
        found: What `drift.json` holds.

    Example:
    >>> side = records.DriftSide(name="a", rows=9)
    >>> nothing = records.Drift(baseline=side, current=side, columns=())
    >>> "No limit is crossed" in render(nothing)
    True
    """
    sections = drift_sections.build(found)
    body = markup.join(
        markup.element(
            "header",
            markup.element("h1", "Drift"),
            _lead(found),
            _sides(found),
            *(markup.paragraph(note, class_="note") for note in found.notes),
        ),
        markup.element("main", *(section.html() for section in sections)),
    )
    drawn = [picture for section in sections for picture in section.pictures]
    return document.render("Drift", body, drawn)


def _lead(found: records.Drift) -> markup.Html:
    columns = list(dict.fromkeys(c.name for c, _, _ in found.crossed))
    if not columns:
        text = f"No limit is crossed, in {_columns(len(found.columns))}."
    else:
        text = (
            f"{formatting.count(len(found.crossed), 'limit')} crossed, in "
            f"{_columns(len(columns))} of {len(found.columns)}: "
            f"{formatting.listing(columns)}."
        )
    return markup.paragraph(text, class_="lead")


def _columns(number: int) -> str:
    return formatting.count(number, "column")


def _sides(found: records.Drift) -> markup.Html:
    return markup.Table(
        "What is compared.",
        ("Side", "What", "Rows"),
        [
            (
                markup.element("span", name, class_=f"key {key}"),
                side.name,
                formatting.integer(side.rows),
            )
            for name, key, side in (
                ("baseline", "training", found.baseline),
                ("compared", "validation", found.current),
            )
        ],
        numbers_from=2,
    ).html()
