"""The paper's three claims: a picture and numbers each."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.multi_epoch import figures
from benchmarks.multi_epoch import summary
from tfplugin.report import formatting
from tfplugin.report import markup

Results = Mapping[str, Any]
Part = tuple[list[markup.Html], list[markup.Picture]]


def section(results: Results) -> markup.Section | None:
    """All claims that were measured; None if none was."""
    body: list[markup.Html] = []
    drawn: list[markup.Picture] = []
    for letter, make in (("a", _faster), ("b", _sparsity), ("c", _continual)):
        found = results.get("claims", {}).get(letter)
        if found:
            html, pictures = make(results, found)
            body += html
            drawn += pictures
    if not body:
        return None
    return markup.Section(
        "claims",
        "The paper's claims, measured",
        markup.join(*body),
        tuple(drawn),
    )


def step_rows(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Claim (a), a row a log: who needs how many steps."""
    rows = []
    for log, one in found.items():
        steps = mean_steps(one["steps_sparse"])
        share = None if steps is None else steps / one["steps_dense"]
        sparse = one["sparse"]
        rows.append(
            (
                log,
                f"Adam, {one['dense_rate']:g}",
                f"{sparse['rule']}, {sparse['learning_rate']:g}",
                formatting.metric(one["auc"]),
                formatting.integer(one["steps_dense"]),
                "not reached"
                if steps is None
                else formatting.integer(round(steps)),
                formatting.percent(share),
            )
        )
    return rows


def mean_steps(by_seed: Sequence[float | None]) -> float | None:
    """Mean over seeds; None if one of them never got there."""
    if any(one is None or not np.isfinite(one) for one in by_seed):
        return None
    return float(np.mean([one for one in by_seed if one is not None]))


STEP_HEADINGS = ("Log", "Dense", "Sparse", "AUC", "Steps, dense")
STEP_HEADINGS += ("Steps, sparse", "Share")


def _faster(results: Results, found: Mapping[str, Any]) -> Part:
    table = markup.Table(
        "Steps to the test AUC that dense Keras Adam has after one epoch, "
        "both tuned on validation; mean over objectives and seeds.",
        STEP_HEADINGS,
        step_rows(found),
        numbers_from=3,
    )
    panels = []
    drawn = []
    for number, (log, one) in enumerate(found.items()):
        series = {
            "dense Adam": (one["steps"], _mean(one["dense"])),
            "sparse optimizer": (one["steps"], _mean(one["sparse_curves"])),
        }
        figure = figures.lines(
            series,
            x_title="steps of the first epoch",
            y_title="test AUC",
            target=one["auc"],
        )
        picture = markup.Picture(
            f"claim-a-{number}", figure, f"Test AUC by steps on {log}"
        )
        drawn.append(picture)
        panels.append(panel(log, legend(figures.palette(series)), picture))
    half = sum(
        steps is not None and steps <= one["steps_dense"] / 2
        for one in found.values()
        for steps in [mean_steps(one["steps_sparse"])]
    )
    return [
        markup.element("h3", "(a) “A sparse optimizer converges faster”"),
        markup.paragraph(
            f"Half of dense Adam's steps or fewer: on {half} of "
            f"{formatting.count(len(found), 'log')}."
        ),
        table.html(),
        cards(panels),
    ], drawn


def falls(runs: Sequence[Mapping[str, Any]], masked: str) -> dict[int, float]:
    """Claim (b): fraction's positives kept to the AUC lost after the best."""
    return {
        round(1 / one["fraction"]): _fall(one["auc"])
        for one in runs
        if one["masked"] == masked
    }


def across(results: Results) -> list[tuple[str, str, int, float, float]]:
    """Log, objective, positives, rate, fall without a remedy; rarest first."""
    found = [
        (
            log,
            name,
            results["logs"][log]["objectives"][name]["positives"],
            results["logs"][log]["objectives"][name]["rate"],
            summary.curve(results, log, summary.PLAIN, name).fall,
        )
        for log, arms in results["runs"].items()
        if summary.PLAIN in arms
        for name in summary.objectives(results, log)
    ]
    return sorted(found, key=lambda row: row[3])


def _sparsity(results: Results, found: Mapping[str, Any]) -> Part:
    panels = []
    told = []
    drawn = []
    for number, (log, one) in enumerate(found.items()):
        series = {}
        for masked in ("positives", "random rows"):
            by_divisor = falls(one["runs"], masked)
            series[f"{masked} masked"] = (
                list(by_divisor),
                list(by_divisor.values()),
            )
        figure = figures.lines(
            series,
            x_title="positives (or as many rows) kept: 1 in",
            y_title="AUC lost",
        )
        figure.update_xaxes(
            type="log", tickvals=[1, 2, 4, 8, 16], range=[-0.1, 1.3]
        )
        picture = markup.Picture(
            f"claim-b-{number}", figure, f"Fall by share of positives on {log}"
        )
        drawn.append(picture)
        most = max(max(x) for x, _ in series.values())
        ends = (y[x.index(most)] for x, y in series.values())
        told.append(
            "On {}, with all of them {:.4f} is lost; with 1 in {} of the "
            "positives {:.4f}, with as many rows masked at random "
            "{:.4f}.".format(log, _lost_of_all(series), most, *ends)
        )
        title = f"{log}, {one['objective']}"
        panels.append(panel(title, legend(figures.palette(series)), picture))
    table = markup.Table(
        "Objectives of all logs, rarest first: test AUC lost from the best "
        "epoch to the last, without a remedy.",
        ("Log", "Objective", "Positives", "Rate", "Lost"),
        [
            (
                log,
                name,
                formatting.integer(positives),
                formatting.percent(rate),
                formatting.metric(fall),
            )
            for log, name, positives, rate, fall in across(results)
        ],
        numbers_from=2,
    )
    return [
        markup.element(
            "h3", "(b) “The rarer the positives, the worse the fall”"
        ),
        markup.paragraph(
            "One log, one objective; rows and ids stay, labels of a part of "
            "the positives are hidden, or of as many rows at random. "
            + " ".join(told)
        ),
        cards(panels),
        table.html(),
    ], drawn


def _lost_of_all(series: Mapping[str, tuple[Any, Any]]) -> float:
    x, y = series["positives masked"]
    lost: float = y[x.index(min(x))]
    return lost


def masked_rows(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Claim (b), a row a log and kind of masking: AUC lost by share kept."""
    return [
        (
            f"{log}, {one['objective']}",
            masked,
            *(
                formatting.metric(lost)
                for lost in falls(one["runs"], masked).values()
            ),
        )
        for log, one in found.items()
        for masked in ("positives", "random rows")
    ]


def masked_headings(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Of `masked_rows`."""
    first = next(iter(found.values()))
    shares = falls(first["runs"], "positives")
    return ("Log, objective", "Masked", *(f"1 in {k:g} kept" for k in shares))


def by_chunk(one: Mapping[str, Any]) -> dict[str, list[float]]:
    """Claim (c), arm to its AUC on each next chunk, mean over the rest."""
    return {
        arm: np.mean(
            [[np.mean(list(c.values())) for c in seed] for seed in by_seed],
            axis=0,
        ).tolist()
        for arm, by_seed in one["auc"].items()
    }


def chunk_rows(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Claim (c), a row a log and arm; all logs have as many chunks."""
    return [
        (log, arm, *(formatting.metric(value) for value in values))
        for log, one in found.items()
        for arm, values in by_chunk(one).items()
    ]


def chunk_headings(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Of `chunk_rows`."""
    number = max(one["chunks"] for one in found.values())
    return ("Log", "Arm", *(f"Chunk {k}" for k in range(2, number + 1)))


def _continual(results: Results, found: Mapping[str, Any]) -> Part:
    panels = []
    drawn = []
    told = []
    for number, (log, one) in enumerate(found.items()):
        series = {
            arm: (list(range(2, 2 + len(chunks))), chunks)
            for arm, chunks in by_chunk(one).items()
        }
        means = {arm: np.mean(values) for arm, (_, values) in series.items()}
        ranked = sorted(means, key=lambda arm: -means[arm])
        listed = ", ".join(f"{arm} {means[arm]:.4f}" for arm in ranked)
        told.append(f"{log}, mean over chunks: {listed}.")
        figure = figures.lines(
            series, x_title="measured on chunk", y_title="AUC, not yet trained"
        )
        figure.update_xaxes(dtick=1)
        picture = markup.Picture(
            f"claim-c-{number}", figure, f"AUC on the next chunk of {log}"
        )
        drawn.append(picture)
        panels.append(panel(log, legend(figures.palette(series)), picture))
    table = markup.Table(
        "AUC on the next chunk of time, mean over objectives and seeds.",
        chunk_headings(found),
        chunk_rows(found),
        numbers_from=2,
    )
    return [
        markup.element("h3", "(c) “Rates by frequency beat re-initialisation”"),
        markup.paragraph(
            "The final comparisons of the logs above are one half of it. The "
            "other is continual training: chunks in order of time, each "
            "measured before it is trained on. " + " ".join(told)
        ),
        cards(panels),
        table.html(),
    ], drawn


def legend(colors: Mapping[str, str]) -> markup.Html:
    """Names with their colours."""
    return markup.paragraph(
        *(
            part
            for name, color in colors.items()
            for part in (
                markup.element(
                    "span",
                    "\u25a0",
                    style=f"color:{color}",
                    aria_hidden="true",
                ),
                markup.Html("&nbsp;"),
                markup.element("span", name),
                " \u2002",
            )
        ),
        class_="caption",
    )


def panel(
    title: str, note: markup.Html, picture: markup.Picture
) -> markup.Html:
    """A picture with its heading and its legend."""
    return markup.element(
        "div",
        markup.element("h4", title),
        note,
        picture.html(),
        class_="card",
    )


def cards(panels: Sequence[markup.Html]) -> markup.Html:
    """Panels side by side where there is room."""
    return markup.element("div", *panels, class_="cards")


def _mean(by_seed: Sequence[Sequence[float]]) -> list[float]:
    values: list[float] = np.mean(by_seed, axis=0).tolist()
    return values


def _fall(by_seed: Sequence[Sequence[float]]) -> float:
    means = _mean(by_seed)
    return max(means) - means[-1]
