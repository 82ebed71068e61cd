"""HTML from Python values: whatever is not known to be HTML is escaped."""

import dataclasses
import html
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go


class Html(str):
    """A fragment that is HTML already and is not escaped again.

    An f-string or a sum of fragments is a plain str and will be escaped:
    forgetting shows as visible tags, never as an open door.
    """

    __slots__ = ()


@dataclasses.dataclass(frozen=True)
class Picture:
    """A plotly figure and the element that it is drawn in.

    Args:
        id: Id of the element, unique on the page.
        figure: What to draw. Plotly reads markup in its texts, so they hold
            no names from the data; those stand beside it, as HTML.
        label: What a screen reader says.
    """

    id: str
    figure: go.Figure
    label: str

    def html(self) -> Html:
        """The empty element, which the page's script fills."""
        return element(
            "div", class_="plot", id=self.id, role="img", aria_label=self.label
        )


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page with a heading.

    Args:
        id: Id of the element, target of the page's contents.
        title: Its heading.
        body: Its HTML.
        pictures: The pictures whose elements are in `body`.

    >>> Section("data", "The data", paragraph("None.")).html()
    '<section id="data"><h2>The data</h2><p>None.</p></section>'
    """

    id: str
    title: str
    body: Html
    pictures: tuple[Picture, ...] = ()

    def html(self) -> Html:
        """The section with its heading."""
        return element(
            "section", element("h2", self.title), self.body, id=self.id
        )


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of texts, and of numbers from the column `numbers_from` on.

    Args:
        caption: What to see in it.
        headings: One a column.
        rows: Cells, as many as headings; plain strings are escaped.
        numbers_from: Index of the first right-aligned column.
        total: A last row that sums the others.

    >>> "<td>&lt;b&gt;</td>" in Table("c", ("a", "b"), [("1", "<b>")], 2).html()
    True
    """

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers_from: int = 1
    total: Sequence[str] | None = None

    def html(self) -> Html:
        """The caption above the table, which scrolls in its own box."""
        head = element("tr", *self._cells("th", self.headings, scope="col"))
        parts = [element("thead", head), self._body("tbody", self.rows)]
        if self.total is not None:
            parts.append(self._body("tfoot", [self.total]))
        return element(
            "figure",
            element("figcaption", self.caption),
            element(
                "div",
                element("table", *parts),
                class_="scroll",
                tabindex="0",
                role="region",
                aria_label=self.caption,
            ),
            class_="table",
        )

    def _body(self, tag: str, rows: Sequence[Sequence[str]]) -> Html:
        return element(
            tag,
            *(
                element(
                    "tr",
                    element("th", row[0], scope="row"),
                    *self._cells("td", row)[1:],
                )
                for row in rows
            ),
        )

    def _cells(
        self, tag: str, cells: Sequence[str], **attributes: Any
    ) -> list[Html]:
        if len(cells) != len(self.headings):
            raise ValueError(
                "A row needs one cell a heading. Received: "
                f"cells={list(cells)}, headings={list(self.headings)}."
            )
        return [
            element(
                tag,
                cell,
                class_="number" if index >= self.numbers_from else None,
                **attributes,
            )
            for index, cell in enumerate(cells)
        ]


def element(tag: str, *children: str, **attributes: str | None) -> Html:
    """An HTML element.

    Args:
        tag: Its name.
        *children: Its contents in turn; escaped unless they are `Html`.
        **attributes: Its attributes; `class_` is class, aria_label is
            aria-label, and None leaves one out.

    >>> element("p", "a < b", element("em", "c"), class_="note")
    '<p class="note">a &lt; b<em>c</em></p>'
    """
    opened = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    inner = "".join(map(escape, children))
    return Html(f"<{tag}{opened}>{inner}</{tag}>")


def escape(text: str) -> Html:
    """The text as HTML; `Html` as it is.

    >>> escape("<b>"), escape(Html("<b>"))
    ('&lt;b&gt;', '<b>')
    """
    return text if isinstance(text, Html) else Html(html.escape(text))


def join(*parts: str) -> Html:
    """Fragments one after the other, each escaped unless it is `Html`.

    >>> join("a & ", Html("<b>c</b>"))
    'a &amp; <b>c</b>'
    """
    return Html("".join(map(escape, parts)))


def paragraph(*parts: str, class_: str | None = None) -> Html:
    """A paragraph.

    >>> paragraph("a & b")
    '<p>a &amp; b</p>'
    """
    return element("p", *parts, class_=class_)


def share_bar(share: float | None, text: str) -> Html:
    """A cell's text with a bar behind its share of 1.

    >>> share_bar(0.25, "25.0 %")
    '<span class="bar" style="--share:25.0%">25.0 %</span>'
    """
    width = 0.0 if share is None else 100 * min(max(share, 0.0), 1.0)
    return element("span", text, class_="bar", style=f"--share:{width:.1f}%")
