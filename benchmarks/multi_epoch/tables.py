"""Rows of the page's tables, and the same as Markdown."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.multi_epoch import claims_section
from benchmarks.multi_epoch import protocol
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


def that_matter(results: Results) -> list[Mapping[str, Any]]:
    """Comparisons that a claim rests on; those of all arms are in the JSON.

    How far an arm ends from the tuned plain recipe stands in the tables of
    the logs already.
    """
    return [
        one
        for one in results.get("comparisons", ())
        if one["arm"] == protocol.RECOMMENDED
        or one["against"] != protocol.STOPPED
    ]


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
        for one in that_matter(results)
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
        parts.append(
            f"`{log}`: test AUC at the end of each recipe, after epoch 4 in "
            "brackets:"
        )
        parts.append(_table(headings, rows))
    rows = comparisons(results)
    if rows:
        parts.append(
            "Differences of mean test AUC over seeds, with 95 % intervals over "
            "users:"
        )
        parts.append(_table(COMPARISON_HEADINGS, rows, texts=5))
    parts += _claims(results.get("claims", {}))
    budget = results["budget"]
    parts.append(
        f"CPU hours: {budget['cpu_hours_stated']:g} stated, "
        f"{budget['cpu_hours_used']:.1f} used. Command: "
        f"`{results.get('command', '')}`."
    )
    return "\n\n".join(parts)


def _claims(claims: Mapping[str, Any]) -> list[str]:
    parts = []
    if steps := claims.get("a"):
        parts.append("(a) Steps to dense Adam's test AUC after one epoch:")
        rows = claims_section.step_rows(steps)
        parts.append(_table(claims_section.STEP_HEADINGS, rows, texts=3))
    if masked := claims.get("b"):
        parts.append(
            "(b) Test AUC lost from the best of four epochs to the last, where "
            "positives of the training split are masked, or as many random "
            "rows:"
        )
        headings = claims_section.masked_headings(masked)
        rows = claims_section.masked_rows(masked)
        parts.append(_table(headings, rows, texts=2))
    if chunks := claims.get("c"):
        parts.append(
            "(c) AUC on the next chunk of time before it is trained on, mean "
            "over objectives and seeds; three passes over each chunk, where "
            "an arm does not say one:"
        )
        headings = claims_section.chunk_headings(chunks)
        rows = claims_section.chunk_rows(chunks)
        parts.append(_table(headings, rows, texts=2))
    return parts


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
