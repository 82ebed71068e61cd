"""The frame of every page: head, style, pictures; needs no network."""

import importlib.resources
import pathlib
from collections.abc import Sequence

import plotly.io
import plotly.offline

from tfplugin.report import markup

# plotly.js knows addresses of map servers; the browser is told to load
# nothing at all, whatever a script asks for.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; img-src data: blob:"
)
_DRAW = (
    "for (const [id, figure] of Object.entries(FIGURES)) "
    "Plotly.newPlot(id, figure.data, figure.layout, "
    "{displayModeBar: false, responsive: true});"
)


def render(
    title: str, body: markup.Html, drawn: Sequence[markup.Picture]
) -> str:
    """The whole page; its text comes before the megabytes of plotly.js.

    Args:
        title: Of the browser's window.
        body: What is on the page.
        drawn: The pictures whose elements are in `body`.

    Returns:
        HTML that needs no network. Equal arguments give equal pages.

    Example:
    >>> render("Plan", markup.paragraph("None."), ()).splitlines()[-3]
    '<p>None.</p>'
    """
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "\n",
        markup.element("title", title),
        "\n",
        markup.element("style", markup.Html("\n" + _style())),
        "\n</head>\n<body>\n",
        body,
    ]
    if drawn:
        parts += [
            markup.element("noscript", "The pictures need JavaScript."),
            _script(plotly.offline.get_plotlyjs()),
            _script(f"const FIGURES = {_figures(drawn)};\n{_DRAW}"),
        ]
    return "".join([*parts, "\n</body>\n</html>\n"])


def _style() -> str:
    package = importlib.resources.files("tfplugin.report")
    return package.joinpath("style.css").read_text("utf-8")


def _figures(drawn: Sequence[markup.Picture]) -> str:
    texts = (
        f'"{picture.id}": '
        # The engine is named: which one is installed must not change a page.
        + plotly.io.to_json(picture.figure, validate=False, engine="json")
        for picture in drawn
    )
    return "{" + ",\n".join(texts).replace("<", "\\u003c") + "}"


def _script(text: str) -> markup.Html:
    return markup.element("script", markup.Html(f"\n{text}\n"))


def write(path: pathlib.Path, page: str) -> None:
    """Writes a page under a temporary name, then renames it.

    Args:
        path: The page's file; its folder is made.
        page: What `render` returned.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(page, "utf-8")
    temporary.replace(path)
