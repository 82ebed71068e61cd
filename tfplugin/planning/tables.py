"""Frequencies and a configuration → a mapping and a size for each table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfplugin import config as config_lib
from tfplugin.errors import InputError
from tfplugin.planning import allocation
from tfplugin.planning import collisions
from tfplugin.planning import dimensions
from tfplugin.planning import memory
from tfplugin.planning import retention
from tfplugin.planning.records import Curve
from tfplugin.planning.records import Plan
from tfplugin.planning.records import TablePlan

if TYPE_CHECKING:
    # TensorFlow is loaded when a plan is made, not when this is imported.
    from tfplugin import data

#: Above this share of new occurrences out of vocabulary, a hash is proposed.
HASH_ABOVE = 0.5
#: Least occurrences that are worth a row, unless the configuration says.
MIN_COUNT = 2
#: Buckets an id that a hash gets where memory is left: 39 % then share one.
BUCKETS_AN_ID = 2

_CURVE_POINTS = 160
_EXPECTED_POINTS = 60
#: Sizes at which collisions are measured, in buckets an id; the fewer where
#: mapping all ids takes long.
_MEASURED_LOADS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
_MEASURED_LOADS_OF_MANY = (0.5, 1.0, 4.0)
_MANY_IDS = 5_000_000


@dataclasses.dataclass
class _Draft:
    """One table while it is planned; `rows_for_ids` comes last."""

    name: str
    settings: config_lib.TableConfig
    counts: np.ndarray
    worth: int
    hashes: bool
    embedding_dim: int
    cost: memory.TableCost
    rows_for_ids: int = 0

    @property
    def other_rows(self) -> int:
        """Rows of no id of its own, always needed: a hash's first bucket."""
        return 2 if self.hashes else 1 + self.settings.num_oov_buckets

    @property
    def rows(self) -> int:
        """All rows."""
        return self.other_rows + self.rows_for_ids

    def demand(self) -> allocation.Demand:
        """What it asks of the budget."""
        worth = max(self.worth - self.hashes, 0)
        return allocation.Demand(
            self.name,
            self.counts[:worth],
            self.cost.row,
            self.cost.total(self.other_rows),
        )


def plan(
    config: config_lib.ExperimentConfig,
    dataset: data.Dataset,
    budget: int | None = None,
    coverage: float | None = None,
) -> Plan:
    """Proposes mapping, rows and dimension of each table.

    1. Worth a row are the ids seen `min_count` times or more (2 if the
       configuration does not say: a row that one occurrence taught is that
       occurrence by heart); of these the most frequent that make `coverage`
       of all occurrences, if asked for, and no more than a `top_n` of the
       configuration.
    2. A vocabulary of these is proposed, unless more than half of new
       occurrences would be out of it, by Good and Turing's estimate: then one
       row would stand for most of the data, and a hash is proposed, which
       keeps every id. Where ids are worth a row, a hash is not, however small
       the budget: of B buckets at most B ids are alone in theirs, and no B
       ids cover more than the B most frequent, which a vocabulary keeps.
    3. The dimension follows the number of ids that are to have a row; see
       `dimensions`.
    4. The budget buys rows where they cover most; see `allocation.allocate`.
       A row costs itself and the state of the configured optimizer.
    5. What is then left goes to hashes, up to two buckets an id.

    A mapping, `embedding_dim`, `num_oov_buckets` or combiner that the
    configuration sets stays, the dimension as an upper bound. Its
    `num_buckets` is proposed anew.

    Args:
        config: The experiment.
        dataset: Its dataset; counts are those of training rows.
        budget: Bytes for tables and state; None for no limit.
        coverage: In (0, 1]; None for what the configuration says of each table,
            and for all ids if it says nothing.

    Returns:
        The plan; equal arguments give equal plans.

    Raises:
        InputError: The budget holds not even the rows that every table needs,
            `coverage` is out of range, or the dataset has other columns than
            the configuration.
    """
    if coverage is not None and not 0.0 < coverage <= 1.0:
        raise InputError(
            "--coverage must be above 0 and at most 1. Received: "
            f"{coverage}. Pass 0.99 to cover 99 % of the occurrences."
        )
    from tfplugin.training import columns

    columns.check(config, dataset)
    drafts = [
        _draft(name, config, dataset, coverage)
        for name in dataset.schema.table_features()
    ]
    demands = [draft.demand() for draft in drafts]
    bought = allocation.allocate(demands, budget)
    for draft in drafts:
        draft.rows_for_ids = bought[draft.name]
    _spread(drafts, budget)
    return Plan(
        name=config.name,
        dataset_fingerprint=dataset.folder.fingerprint(),
        rule=config.training.tables.rule,
        budget=budget,
        least_budget=allocation.least_budget(demands),
        tables=tuple(_finish(draft, config, dataset) for draft in drafts),
    )


def _draft(
    name: str,
    config: config_lib.ExperimentConfig,
    dataset: data.Dataset,
    coverage: float | None,
) -> _Draft:
    settings = config.table(name)
    given = settings.model_fields_set
    # Only the counts are kept: the ids of all tables may not fit in memory.
    counts = dataset.id_frequencies(name).counts
    worth = retention.wanted_ids(
        counts,
        coverage or settings.coverage or 1.0,
        settings.min_count if "min_count" in given else MIN_COUNT,
        settings.top_n,
    )
    hashes = settings.mapping != "vocabulary"
    if "mapping" not in given:
        hashes = _missed_share(counts, worth) > HASH_ABOVE
    if hashes:
        worth = len(counts)
    largest = settings.embedding_dim
    if largest is None and "embedding_dim" in config.model.model_fields_set:
        largest = config.model.embedding_dim
    embedding_dim = dimensions.propose(worth, largest)
    return _Draft(
        name=name,
        settings=settings,
        counts=counts,
        worth=worth,
        hashes=hashes,
        embedding_dim=embedding_dim,
        cost=memory.table_cost(config.training.tables, embedding_dim),
    )


def _missed_share(counts: np.ndarray, kept: int) -> float:
    """New occurrences out of vocabulary, or counted ones if unknown."""
    missed = retention.expected_oov_share(counts, kept)
    if missed is None:
        return 1.0 - retention.covered_share(counts, kept)
    return missed


def _spread(drafts: Sequence[_Draft], budget: int | None) -> None:
    """Gives hashes what is left, each the same share of what it lacks."""
    lacking = [
        max(BUCKETS_AN_ID * len(draft.counts) - (draft.rows - 1), 0)
        if draft.hashes
        else 0
        for draft in drafts
    ]
    cost = sum(
        number * draft.cost.row
        for number, draft in zip(lacking, drafts, strict=True)
    )
    left = cost
    if budget is not None:
        spent = sum(draft.cost.total(draft.rows) for draft in drafts)
        left = min(cost, budget - spent)
    for number, draft in zip(lacking, drafts, strict=True):
        if number:
            draft.rows_for_ids += number * left // cost


def _finish(
    draft: _Draft, config: config_lib.ExperimentConfig, dataset: data.Dataset
) -> TablePlan:
    counts, kept = draft.counts, draft.rows_for_ids
    rules = memory.rule_settings(config.training.tables)
    found = _measure(draft, dataset)
    return TablePlan(
        name=draft.name,
        features=tuple(dataset.schema.table_features()[draft.name]),
        dtype=dataset.schema.table_dtype(draft.name),
        ids=len(counts),
        occurrences=counts.sum().item(),
        ids_seen_once=int(np.count_nonzero(counts == 1)),
        mapping="hash" if draft.hashes else "vocabulary",
        reason=_reason(draft),
        worth_ids=draft.worth,
        kept_ids=None if draft.hashes else kept,
        min_count=None
        if draft.hashes
        else retention.min_count_of(counts, kept),
        num_oov_buckets=None
        if draft.hashes
        else draft.settings.num_oov_buckets,
        num_buckets=draft.rows - 1 if draft.hashes else None,
        rows=draft.rows,
        embedding_dim=draft.embedding_dim,
        rule_of_thumb=dimensions.rule_of_thumb(draft.worth),
        covered_share=None
        if draft.hashes
        else retention.covered_share(counts, kept),
        expected_oov_share=None
        if draft.hashes
        else retention.expected_oov_share(counts, kept),
        expected_unseen_share=retention.expected_oov_share(counts, len(counts)),
        hashed=found[draft.rows - 1],
        table_bytes=draft.cost.table(draft.rows),
        state_bytes=draft.cost.state(draft.rows),
        rule_bytes={
            rule: memory.table_cost(settings, draft.embedding_dim).state(
                draft.rows
            )
            for rule, settings in rules.items()
        },
        configured={
            name: getattr(draft.settings, name)
            for name in ("combiner",)
            if name in draft.settings.model_fields_set
        },
        curve=_curve(counts),
        collisions=tuple(found[number] for number in sorted(found)),
        expected_curve=_expected_curve(len(counts)),
    )


def _reason(draft: _Draft) -> str:
    if draft.settings.num_parts > 1:
        return (
            f"The configuration names {draft.settings.mapping}, which is not "
            "planned: these are the rows of a single hash."
        )
    if "mapping" in draft.settings.model_fields_set:
        return "The configuration names this mapping."
    if draft.hashes:
        return (
            "More than half of new occurrences would be out of vocabulary: "
            "most are of ids too rare to be worth a row."
        )
    if _missed_share(draft.counts, draft.rows_for_ids) > HASH_ABOVE:
        return (
            "The budget holds the most frequent ids, which most occurrences "
            "are not of: a smaller embedding_dim would hold more."
        )
    if draft.rows_for_ids < draft.worth:
        return (
            "The budget holds the most frequent ids; a hash with as many rows "
            "would mix more."
        )
    return "All ids that are worth a row have one, which no other id shares."


def _measure(
    draft: _Draft, dataset: data.Dataset
) -> dict[int, collisions.Collisions]:
    """Collisions by number of buckets, that of the plan's rows among them."""
    ids = len(draft.counts)
    loads = _MEASURED_LOADS if ids < _MANY_IDS else _MEASURED_LOADS_OF_MANY
    numbers = {max(1, round(load * ids)) for load in loads} if ids else set()
    frequencies = dataset.id_frequencies(draft.name)
    found = collisions.measure(
        frequencies.ids,
        frequencies.counts,
        dataset.schema.table_dtype(draft.name),
        sorted(numbers | {draft.rows - 1}),
    )
    return {one.num_buckets: one for one in found}


def _curve(counts: np.ndarray) -> Curve:
    if not len(counts):
        return Curve((), (), ())
    ranks = np.geomspace(1, len(counts), _CURVE_POINTS)
    ranks = np.unique(np.rint(ranks).astype(np.int64))
    cumulated = np.cumsum(counts, dtype=np.float64)
    covered = cumulated[ranks - 1] / cumulated[-1]
    return Curve(
        tuple(ranks.tolist()),
        tuple(counts[ranks - 1].tolist()),
        tuple(covered.round(6).tolist()),
    )


def _expected_curve(num_ids: int) -> tuple[tuple[int, float], ...]:
    if not num_ids:
        return ()
    numbers = np.geomspace(num_ids / 16, num_ids * 16, _EXPECTED_POINTS)
    numbers = np.unique(np.maximum(np.rint(numbers).astype(np.int64), 1))
    return tuple(
        (number, round(collisions.expected_shared(num_ids, number), 6))
        for number in numbers.tolist()
    )
