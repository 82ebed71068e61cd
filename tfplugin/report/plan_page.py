"""The page of a plan: what was proposed, why, and the curves behind it."""

import pathlib
from collections import Counter

from tfplugin import artifacts
from tfplugin.report import document
from tfplugin.report import formatting
from tfplugin.report import markup
from tfplugin.report import plan_pictures
from tfplugin.report import plan_record

#: Ids that stand for themselves in no row: nothing to draw.
_NO_IDS = "The training rows hold no id of this table."


def write(work: artifacts.WorkFolder) -> pathlib.Path:
    """Writes `report/plan.html` from `plan.json`.

    Args:
        work: The work folder.

    Returns:
        Path of the page.

    Raises:
        InputError: `plan.json` is absent or malformed.

    Example:
    >>> write(artifacts.WorkFolder(pathlib.Path("absent")))
    Traceback (most recent call last):
    ...
    tfplugin.errors.InputError: A plan must be there. ...
    """
    plan = plan_record.read(work.plan_json)
    sections = [
        _overview(plan),
        _memory(plan),
        _tables(plan),
        _configuration(plan),
    ]
    contents = markup.element(
        "nav",
        *(
            markup.element("a", section.title, href=f"#{section.id}")
            for section in sections
        ),
        aria_label="Contents",
    )
    title = f"{plan.name}: plan of the tables"
    body = markup.join(
        markup.element(
            "header", markup.element("h1", title), _lead(plan), contents
        ),
        markup.element("main", *(section.html() for section in sections)),
    )
    drawn = [picture for section in sections for picture in section.pictures]
    document.write(work.plan_page, document.render(title, body, drawn))
    return work.plan_page


def _lead(plan: plan_record.Plan) -> markup.Html:
    table_bytes = sum(table.table_bytes for table in plan.tables)
    state_bytes = sum(table.state_bytes for table in plan.tables)
    limit = "No budget was set."
    if plan.budget is not None:
        limit = (
            f"The budget is {formatting.size(plan.budget)}; the least that "
            f"works is {formatting.size(plan.least_budget)}."
        )
    return markup.paragraph(
        f"{formatting.count(len(plan.tables), 'table')} of "
        f"{formatting.count(sum(t.ids for t in plan.tables), 'distinct id')} "
        f"would take {formatting.size(table_bytes + state_bytes)}: "
        f"{formatting.size(table_bytes)} of embeddings and "
        f"{formatting.size(state_bytes)} of state of {plan.rule}. {limit}",
        class_="lead",
    )


def _overview(plan: plan_record.Plan) -> markup.Section:
    table = markup.Table(
        "Proposed tables. Covered: training occurrences whose id has a row of "
        "its own. New, unknown: occurrences of new rows like the training "
        "rows that are expected out of vocabulary, by Good and Turing's "
        "estimate; rows of a later day have more. Shared: occurrences "
        "expected to share their row with another id.",
        ("Table", "Mapping", "Ids", "With a row", "Rows", "Dim", "Covered")
        + ("New, unknown", "Shared", "Size", "State"),
        [_row(one) for one in plan.tables],
        numbers_from=2,
        total=(
            "all",
            "",
            formatting.integer(sum(one.ids for one in plan.tables)),
            "",
            formatting.integer(sum(one.rows for one in plan.tables)),
            "",
            "",
            "",
            "",
            formatting.size(sum(one.table_bytes for one in plan.tables)),
            formatting.size(sum(one.state_bytes for one in plan.tables)),
        ),
    )
    return markup.Section("proposal", "The proposal", table.html())


def _row(one: plan_record.TablePlan) -> tuple[str, ...]:
    covered = one.covered_share
    return (
        one.name,
        one.mapping,
        formatting.integer(one.ids),
        "all" if one.kept_ids is None else formatting.integer(one.kept_ids),
        formatting.integer(one.rows),
        formatting.integer(one.embedding_dim),
        formatting.UNDEFINED
        if covered is None
        else markup.share_bar(covered, formatting.percent(covered)),
        formatting.percent(one.expected_oov_share),
        formatting.percent(
            one.hashed.expected if one.kept_ids is None else 0.0
        ),
        formatting.size(one.table_bytes),
        formatting.size(one.state_bytes),
    )


def _memory(plan: plan_record.Plan) -> markup.Section:
    states: Counter[str] = Counter()
    for one in plan.tables:
        states.update(one.rule_bytes)
    table_bytes = sum(one.table_bytes for one in plan.tables)
    picture = markup.Picture(
        "memory",
        plan_pictures.memory(table_bytes, states, plan.budget),
        "Bytes of all tables and their state under each rule",
    )
    rules = markup.Table(
        "The same tables under every rule of the tables' optimizer. Rates of "
        "rows, counts and decay are as configured.",
        ("Rule", "Embeddings", "State", "Both"),
        [
            (
                f"{rule} (configured)" if rule == plan.rule else rule,
                formatting.size(table_bytes),
                formatting.size(state),
                formatting.size(table_bytes + state),
            )
            for rule, state in states.items()
        ],
    )
    keys = markup.paragraph(
        _key("embeddings", "embeddings"),
        ", ",
        _key("state", "state of the optimizer"),
        *(("; ", _key("proposed", "budget")) if plan.budget else ()),
        class_="caption",
    )
    body = markup.join(keys, picture.html(), rules.html())
    return markup.Section("memory-by-rule", "Memory", body, (picture,))


def _tables(plan: plan_record.Plan) -> markup.Section:
    parts: list[markup.Html] = [_how_to_read()]
    drawn: list[markup.Picture] = []
    for index, one in enumerate(plan.tables):
        panels = _panels(index, one) if one.ids else {}
        drawn += panels.values()
        parts += [
            markup.element("h3", one.name),
            markup.paragraph(_facts(one) if one.ids else _NO_IDS),
            markup.element(
                "div",
                *(
                    markup.element(
                        "div",
                        markup.element("h4", heading),
                        picture.html(),
                        class_="panel",
                    )
                    for heading, picture in panels.items()
                ),
                class_="panels",
            ),
        ]
    return markup.Section(
        "tables", "Table by table", markup.join(*parts), tuple(drawn)
    )


def _panels(
    index: int, one: plan_record.TablePlan
) -> dict[str, markup.Picture]:
    figures = {
        "Frequency": (
            plan_pictures.rank_frequency(one.curve, one.kept_ids),
            "How often the ids were seen, by rank",
        ),
        "Coverage": (
            plan_pictures.coverage(one.curve, one.kept_ids),
            "Share of occurrences covered, by ids with a row",
        ),
        "Collisions": (
            plan_pictures.collisions(one),
            "Share of ids and occurrences that share a row, by buckets",
        ),
        "Memory": (
            plan_pictures.memory(one.table_bytes, one.rule_bytes),
            "Bytes of the table and its state under each rule",
        ),
    }
    return {
        heading: markup.Picture(
            f"{heading.lower()}-{index}", figure, f"{label}: {one.name}"
        )
        for heading, (figure, label) in figures.items()
    }


def _facts(one: plan_record.TablePlan) -> str:
    once = formatting.ratio(one.ids_seen_once, one.ids)
    if one.kept_ids is None:
        what = (
            f"A hash with {formatting.count(one.num_buckets or 0, 'bucket')} "
            f"for {formatting.count(one.ids, 'id')}, {once} of them seen once: "
            f"{formatting.percent(one.hashed.occurrences)} of occurrences "
            f"share their row ({formatting.percent(one.hashed.expected)} "
            f"expected), and {formatting.percent(one.hashed.mixed)} of what "
            "rows learn from is of other ids."
        )
    else:
        cut = (
            f", seen {formatting.count(one.min_count, 'time')} or more"
            if one.min_count is not None and one.min_count > 1
            else ""
        )
        what = (
            f"A vocabulary of {formatting.integer(one.kept_ids)} of "
            f"{formatting.count(one.ids, 'id')}{cut}; {once} of all were seen "
            f"once. It covers {formatting.percent(one.covered_share)} of "
            f"training occurrences; of new ones "
            f"{formatting.percent(one.expected_oov_share)} are expected out "
            f"of vocabulary ({formatting.percent(one.expected_unseen_share)} "
            "of ids never seen). A hash with as many rows would mix "
            f"{formatting.percent(one.hashed.mixed)} of what they learn from."
        )
    dim = (
        f"{one.embedding_dim} numbers a row (rule of thumb: "
        f"{one.rule_of_thumb:.0f})."
    )
    return f"{what} {one.reason} {dim}"


def _how_to_read() -> markup.Html:
    return markup.paragraph(
        "Frequency and coverage by rank, most frequent id first; the ",
        _key("proposed", "dotted line"),
        " is the proposal. Collisions of a hash by its buckets: ",
        _key("training", "expected"),
        "; measured with the hash that trains, ",
        _key("ids", "share of ids"),
        " and ",
        _key("occurrences", "of occurrences"),
        " that share a row; ",
        _key("mixed", "mixed"),
        ": the share of what rows learn from that is of other ids, less than "
        "the others where frequent ids share rows with rare ones. Memory: ",
        _key("embeddings", "embeddings"),
        ", ",
        _key("state", "state"),
        ".",
        class_="caption",
    )


def _key(kind: str, words: str) -> markup.Html:
    return markup.element("span", words, class_=f"key {kind}")


def _configuration(plan: plan_record.Plan) -> markup.Section:
    return markup.Section(
        "configuration",
        "For the configuration",
        markup.join(
            markup.paragraph(
                "In place of `tables`; of the same dataset it makes exactly "
                "these tables."
            ),
            markup.element("pre", plan.yaml, tabindex="0"),
        ),
    )
