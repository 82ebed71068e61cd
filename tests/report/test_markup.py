import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.report import page_reader
from tfplugin.report import markup


@given(st.text(), st.text())
def test_any_text_survives_as_text(content, attribute):
    made = markup.element("p", content, title=attribute)
    page = page_reader.PageReader(made)
    assert page.tags == ["p"] and not page.open_tags
    assert html.unescape(made) == f'<p title="{attribute}">{content}</p>'


def test_a_concatenated_fragment_is_text_again():
    fragment = markup.element("b", "x")
    assert markup.join(fragment) == "<b>x</b>"
    assert markup.join(fragment + "!") == "&lt;b&gt;x&lt;/b&gt;!"


def test_attributes():
    made = markup.element("p", class_="a", aria_label="b", id=None)
    assert made == '<p class="a" aria-label="b"></p>'


def test_table_aligns_numbers_and_heads_rows():
    table = markup.Table(
        "Caption <", ("Name", "Kind", "Rows"), [("a", "k", "1")], 2
    )
    made = table.html()
    assert '<th scope="row">a</th><td>k</td><td class="number">1</td>' in made
    assert '<th class="number" scope="col">Rows</th>' in made
    assert "<figcaption>Caption &lt;</figcaption>" in made
    assert "<tfoot>" not in made


def test_table_refuses_a_row_of_another_width():
    with pytest.raises(ValueError, match="one cell a heading"):
        markup.Table("c", ("a", "b"), [("1",)]).html()


def test_share_bar_stays_in_its_cell():
    assert "--share:0.0%" in markup.share_bar(None, "–")
    assert "--share:100.0%" in markup.share_bar(1.7, "x")
