"""Page and table of the benchmark, from its results alone.

    python -m benchmarks.multi_epoch.page --results F/results.json \
        --html docs/results/multi_epoch.html --docs docs

Writes one page that needs no network, and puts the tables into
docs/benchmarks.md, between the marks of `multi_epoch`; the results are copied
to docs/results/multi_epoch.json.
"""

import argparse
import json
import pathlib
import shutil
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from benchmarks.multi_epoch import claims_section
from benchmarks.multi_epoch import figures
from benchmarks.multi_epoch import summary
from benchmarks.multi_epoch import tables
from tfplugin.report import document
from tfplugin.report import formatting
from tfplugin.report import markup

TITLE = "Many epochs without overfitting"
_NAME = "multi_epoch"


def html(results: Mapping[str, Any]) -> str:
    """The whole page; equal results give equal pages."""
    found = [
        _story(results),
        *(_log(results, log, i) for i, log in enumerate(results["runs"])),
        _comparisons(results),
        claims_section.section(results),
        _search(results),
        _how(results),
    ]
    sections = [one for one in found if one is not None]
    contents = markup.element(
        "nav",
        *(
            markup.element("a", one.title, href=f"#{one.id}")
            for one in sections
        ),
        aria_label="Contents",
    )
    body = markup.join(
        markup.element(
            "header", markup.element("h1", TITLE), _lead(results), contents
        ),
        markup.element("main", *(one.html() for one in sections)),
    )
    drawn = [picture for one in sections for picture in one.pictures]
    return document.render(TITLE, body, drawn)


def _lead(results: Mapping[str, Any]) -> markup.Html:
    arms = {arm for runs in results["runs"].values() for arm in runs}
    budget = results["budget"]
    return markup.paragraph(
        f"{formatting.count(len(arms), 'recipe')} on "
        f"{formatting.count(len(results['runs']), 'log')}, each tuned on "
        "validation alone; the test split is read by the final runs, and "
        "nothing is chosen by it. Budget: "
        f"{budget['cpu_hours_stated']:g} CPU hours stated, "
        f"{budget['cpu_hours_used']:.1f} used.",
        class_="lead",
    )


def _story(results: Mapping[str, Any]) -> markup.Section:
    items = [
        markup.element("p", markup.element("strong", f"{log}. "), text)
        for log, text in summary.sentences(results)
    ]
    return markup.Section(
        "story", "What won where, and what did not work", markup.join(*items)
    )


def _log(results: Mapping[str, Any], log: str, number: int) -> markup.Section:
    arms = results["runs"][log]
    shown = [arm for arm in figures.STYLES if arm in arms]
    colors = {arm: figures.style(arm)[0] for arm in shown}
    if len(shown) < len(arms):
        colors["other arms"] = figures.OTHERS
    drawn = []
    panels = []
    for index, name in enumerate(summary.objectives(results, log)):
        curves = {arm: summary.curve(results, log, arm, name) for arm in arms}
        picture = markup.Picture(
            f"log-{number}-{index}",
            figures.by_epoch(curves),
            f"Test AUC of {name} on {log} by epoch, a line an arm",
        )
        drawn.append(picture)
        facts = results["logs"][log]["objectives"][name]
        note = markup.paragraph(
            f"{formatting.percent(facts['rate'])} positive, "
            f"{formatting.integer(facts['positives'])} in training",
            class_="note",
        )
        panels.append(claims_section.panel(name, note, picture))
    rows = results["logs"][log]["rows"]
    sizes = ", ".join(f"{name} {count:,}" for name, count in rows.items())
    headings, cells = tables.arms(results, log)
    table = markup.Table(
        "Test AUC at the end of each recipe, mean over seeds, and after epoch "
        "4 in brackets; best mean over objectives first. A stopped recipe "
        "ends in the epoch that its validation picks.",
        headings,
        cells,
    )
    body = markup.join(
        markup.paragraph(f"Rows: {sizes}.", class_="caption"),
        claims_section.legend(colors),
        claims_section.cards(panels),
        markup.paragraph(
            "Lines are means over seeds, bands reach from the least to the "
            "greatest of them.",
            class_="caption",
        ),
        table.html(),
    )
    return markup.Section(f"log-{number}", log, body, tuple(drawn))


def _comparisons(results: Mapping[str, Any]) -> markup.Section | None:
    rows = tables.that_matter(results)
    if not rows:
        return None
    picture = markup.Picture(
        "comparisons-picture",
        figures.intervals(rows),
        "Differences of test AUC with their intervals",
    )
    table = markup.Table(
        "Differences of mean test AUC over seeds with 95 % intervals, "
        "bootstrapped over users, the same resamples for both arms.",
        tables.COMPARISON_HEADINGS,
        tables.comparisons(results),
        numbers_from=5,
    )
    # As high as its rows, unlike the pictures that stand side by side.
    box = markup.element(
        "div",
        class_="plot",
        id=picture.id,
        role="img",
        aria_label=picture.label,
        style=f"height:{4 + 1.25 * len(rows):g}rem",
    )
    return markup.Section(
        "comparisons",
        "Final and fourth epochs compared",
        markup.join(box, table.html()),
        (picture,),
    )


def _search(results: Mapping[str, Any]) -> markup.Section | None:
    rows = tables.search(results)
    if not rows:
        return None
    table = markup.Table(
        "Every setting tried, by log and arm; validation AUC, mean over "
        "objectives, after the last epoch and in the best; the chosen marked.",
        ("Log", "Arm", "Setting", "Chosen", "Last", "Best", "CPU s"),
        rows,
        numbers_from=4,
    )
    details = markup.element(
        "details",
        markup.element("summary", f"{len(rows)} settings"),
        table.html(),
    )
    return markup.Section("search", "What was searched", details)


def _how(results: Mapping[str, Any]) -> markup.Section:
    facts = {
        "Command": str(results.get("command", "")),
        "Machine": _plain(results.get("machine", "")),
        "Versions": _plain(results.get("versions", "")),
    }
    return markup.Section(
        "how",
        "How it was run",
        markup.join(
            *(
                markup.paragraph(markup.element("strong", f"{k}: "), v)
                for k, v in facts.items()
                if v
            )
        ),
    )


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {one}" for name, one in value.items())
    return str(value)


def publish(results_path: pathlib.Path, docs: pathlib.Path) -> None:
    """Puts the tables into docs/benchmarks.md, the record beside it."""
    results = json.loads(results_path.read_text("utf-8"))
    kept = docs / "results" / f"{_NAME}.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    if kept.resolve() != results_path.resolve():
        shutil.copyfile(results_path, kept)
    page = docs / "benchmarks.md"
    begin, end = f"<!-- {_NAME}: begin -->", f"<!-- {_NAME}: end -->"
    old = page.read_text("utf-8") if page.exists() else ""
    if begin not in old or end not in old:
        old += f"\n{begin}\n{end}\n"
    before, _, rest = old.partition(begin)
    after = rest.partition(end)[2]
    text = tables.markdown(results)
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", "utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the page, and the tables if --docs is given."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--results", type=pathlib.Path, required=True)
    parser.add_argument("--html", type=pathlib.Path, required=True)
    parser.add_argument("--docs", type=pathlib.Path)
    given = parser.parse_args(arguments)
    results = json.loads(given.results.read_text("utf-8"))
    document.write(given.html, html(results))
    if given.docs is not None:
        publish(given.results, given.docs)


if __name__ == "__main__":
    main()
