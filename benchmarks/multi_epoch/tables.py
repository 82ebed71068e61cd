"""Rows of the page's tables, and the same as Markdown."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.multi_epoch import claims_section
from benchmarks.multi_epoch import summary
from tfplugin.report import formatting

Results = Mapping[str, Any]
Rows = list[tuple[str, ...]]

COMPARISON_HEADINGS = ("Log", "Objective", "Arm", "Against", "Epoch")
COMPARISON_HEADINGS += ("Difference", "Interval", "")


def arms(results: Results, log: str) -> tuple[tuple[str, ...], Rows]:
    """Headings, and a row an arm: its end, and epoch 4, by objective."""
    names = summary.objectives(results, log)
    rows: Rows = []
    for arm, mean in summary.finals(results, log).items():
        cells = [arm]
        for name in names:
            curve = summary.curve(results, log, arm, name)
            cell = formatting.metric(curve.final)
            if len(curve.mean) > 4:
                cell += f" ({formatting.metric(curve.mean[3])})"
            cells.append(cell)
        rows.append((*cells, formatting.metric(mean)))
    return ("Arm", *names, "Mean"), rows


def comparisons(results: Results) -> Rows:
    """A row a comparison; the last cell says where its interval lies."""
    return [
        (
            one["log"],
            one["objective"],
            one["arm"],
            one["against"],
            str(one["epoch"]),
            f"{one['difference']:+.4f}",
            f"{one['low']:+.4f} to {one['high']:+.4f}",
            summary.verdict(one),
        )
        for one in results.get("comparisons", ())
    ]


def search(results: Results) -> Rows:
    """A row a setting that was tried."""
    rows: Rows = []
    for log, by_arm in results.get("search", {}).items():
        for arm, one in by_arm.items():
            for index, setting in enumerate(one["settings"]):
                means = np.mean(list(setting["validation"].values()), axis=0)
                rows.append(
                    (
                        log,
                        arm,
                        _changes(setting["changes"]),
                        "chosen" if index == one["chosen"] else "",
                        formatting.metric(float(means[-1])),
                        formatting.metric(float(means.max())),
                        f"{setting['cpu_seconds']:,.0f}",
                    )
                )
    return rows


def _changes(changes: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{key.removeprefix('training.')}: {value}"
        for key, value in changes.items()
    )


def markdown(results: Results) -> str:
    """What docs/benchmarks.md says: text, tables, budget."""
    parts = []
    for log, text in summary.sentences(results):
        parts.append(f"**{log}.** {text}")
    for log in results["runs"]:
        headings, rows = arms(results, log)
        parts.append(f"`{log}`: test AUC at the end (after epoch 4)")
        parts.append(_table(headings, rows))
    rows = comparisons(results)
    if rows:
        parts.append(
            "Differences of mean test AUC over seeds, with 95 % intervals over "
            "users:"
        )
        parts.append(_table(COMPARISON_HEADINGS, rows, texts=5))
    steps = results.get("claims", {}).get("a")
    if steps:
        parts.append("Steps to dense Adam's test AUC after one epoch:")
        parts.append(
            _table(
                claims_section.STEP_HEADINGS,
                claims_section.step_rows(steps),
                texts=3,
            )
        )
    budget = results["budget"]
    parts.append(
        f"CPU hours: {budget['cpu_hours_stated']:g} stated, "
        f"{budget['cpu_hours_used']:.1f} used. Command: "
        f"`{results.get('command', '')}`."
    )
    return "\n\n".join(parts)


def _table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1
) -> str:
    rule = "---|" * texts + "---:|" * (len(headings) - texts)
    lines = [f"| {' | '.join(headings)} |", f"|{rule}"]
    lines += [
        f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |"
        for row in rows
    ]
    return "\n".join(lines)
