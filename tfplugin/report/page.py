"""The report: one HTML page that needs no network."""

import pathlib
from collections.abc import Sequence

import yaml

from tfplugin import artifacts
from tfplugin.errors import InputError
from tfplugin.report import data_section
from tfplugin.report import document
from tfplugin.report import epochs_section
from tfplugin.report import history
from tfplugin.report import markup
from tfplugin.report import model_section
from tfplugin.report import result_section
from tfplugin.report import summary
from tfplugin.report import telemetry_section


def write(work: artifacts.WorkFolder) -> pathlib.Path:
    """Writes the report of a work folder.

    Shows what is there: the data alone while training has not run on them,
    the epochs that are done while it has not finished. Equal folders give equal
    pages, byte by byte. The page is written under a temporary name, then
    renamed.

    Args:
        work: The folder; its dataset must be complete.

    Returns:
        Path of the page, `report/index.html`.

    Raises:
        InputError: The dataset is absent, unfinished or damaged, or
            history.json or config.yaml is malformed.

    Example:
    >>> write(artifacts.WorkFolder(pathlib.Path("absent")))
    Traceback (most recent call last):
    ...
    tfplugin.errors.InputError: A dataset must end in a file COMPLETED. ...
    """
    work.dataset.require_completed()
    document.write(work.report, _page(work))
    return work.report


def _page(work: artifacts.WorkFolder) -> str:
    columns = work.dataset.read_schema()
    statistics = work.dataset.read_statistics()
    trained = history.read(work.history)
    stale = trained is not None and (
        trained.dataset_fingerprint != work.dataset.fingerprint()
    )
    if stale:
        trained = None
    config = _config_text(work.config)
    title = trained.name if trained else _name(work.config, config)
    sections = [data_section.build(work.dataset, columns, statistics)]
    if trained is not None:
        evidence = telemetry_section.build(trained)
        sections += [
            model_section.build(trained, statistics),
            epochs_section.build(trained),
            *([evidence] if evidence else []),
            result_section.build(trained, statistics),
        ]
    sections.append(_config_section(config))
    body = markup.join(
        markup.element(
            "header",
            markup.element("h1", title),
            summary.build(trained, columns, statistics, stale=stale),
            _contents(sections),
        ),
        markup.element("main", *(section.html() for section in sections)),
    )
    drawn = [picture for section in sections for picture in section.pictures]
    return document.render(title, body, drawn)


def _config_text(path: pathlib.Path) -> str | None:
    if not path.is_file():
        return None
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"A configuration must be UTF-8 text. Received: {path}. "
            "Run the stage that wrote it again."
        ) from error


def _name(path: pathlib.Path, config: str | None) -> str:
    """The experiment's name before there is a history."""
    try:
        value = yaml.safe_load(config or "")
    except yaml.YAMLError as error:
        raise InputError(
            f"A configuration must be YAML. Received: {path} "
            f"({' '.join(str(error).split())}). Run the stage that wrote it "
            "again."
        ) from error
    name = value.get("name") if isinstance(value, dict) else None
    return str(name) if name else path.resolve().parent.name


def _config_section(config: str | None) -> markup.Section:
    if config is None:
        body = markup.paragraph("There is no config.yaml in the work folder.")
    else:
        body = markup.element(
            "details",
            markup.element("summary", "config.yaml, as it last ran"),
            markup.element("pre", config, tabindex="0"),
        )
    return markup.Section("configuration", "The configuration", body)


def _contents(sections: Sequence[markup.Section]) -> markup.Html:
    return markup.element(
        "nav",
        *(
            markup.element("a", section.title, href=f"#{section.id}")
            for section in sections
        ),
        aria_label="Contents",
    )
