"""What a plan says, and the part of a configuration that does it."""

import dataclasses
from typing import Any

import yaml

from tfplugin.planning.collisions import Collisions


@dataclasses.dataclass(frozen=True)
class Curve:
    """Counts of a table's ids by rank, and what the ids so far cover.

    Args:
        ranks: From 1 to the number of ids, thinned on a logarithmic scale.
        counts: Count of the id at each rank.
        covered: Share of occurrences of the ids up to each rank.
    """

    ranks: tuple[int, ...]
    counts: tuple[float, ...]
    covered: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class TablePlan:
    """What is proposed for one table, and why.

    Args:
        name: The table.
        features: Features whose ids index it.
        dtype: `"int64"` or `"string"`.
        ids: Distinct ids of the training rows.
        occurrences: Their occurrences.
        ids_seen_once: How many were seen once.
        mapping: `"vocabulary"` or `"hash"`.
        reason: Why that one, in a sentence.
        worth_ids: Ids that would have a row if memory were free.
        kept_ids: Ids that have a row; None for a hash.
        min_count: The least count of these, if it tells them from the rest.
        num_oov_buckets: Rows that all other ids share; None for a hash.
        num_buckets: Rows of a hash; None for a vocabulary.
        rows: Rows of the table, with the special ones.
        embedding_dim: Numbers a row.
        rule_of_thumb: What `dimensions.rule_of_thumb` says, unrounded.
        covered_share: Share of training occurrences whose id has a row of its
            own; None for a hash.
        expected_oov_share: Of new occurrences, those out of vocabulary; None
            for a hash, or if unknown.
        expected_unseen_share: Of new occurrences, those of ids that training
            never saw; None if unknown.
        hashed: Collisions of a hash with as many rows, measured.
        table_bytes: Of the table.
        state_bytes: Of the configured optimizer's state.
        rule_bytes: Rule to the bytes of its state.
        configured: `combiner` and the like, as the configuration has them.
        curve: Rank, frequency and coverage.
        collisions: Of hashes of several sizes, measured, by rising size.
        expected_curve: Number of buckets and expected share, for drawing.
    """

    name: str
    features: tuple[str, ...]
    dtype: str
    ids: int
    occurrences: float
    ids_seen_once: int
    mapping: str
    reason: str
    worth_ids: int
    kept_ids: int | None
    min_count: int | None
    num_oov_buckets: int | None
    num_buckets: int | None
    rows: int
    embedding_dim: int
    rule_of_thumb: float
    covered_share: float | None
    expected_oov_share: float | None
    expected_unseen_share: float | None
    hashed: Collisions
    table_bytes: int
    state_bytes: int
    rule_bytes: dict[str, int]
    configured: dict[str, Any]
    curve: Curve
    collisions: tuple[Collisions, ...]
    expected_curve: tuple[tuple[int, float], ...]

    @property
    def bytes(self) -> int:
        """Bytes of the table and its optimizer's state."""
        return self.table_bytes + self.state_bytes

    def section(self) -> dict[str, Any]:
        """The table's section of a configuration; see `config.TableConfig`.

        Returns:
            Keys and values under `tables.NAME` that make exactly this table
            of the same dataset.
        """
        section: dict[str, Any] = {"mapping": self.mapping}
        if self.mapping == "hash":
            section["num_buckets"] = self.num_buckets
        elif self.min_count is not None:
            section["min_count"] = self.min_count
        else:
            section["top_n"] = self.kept_ids
        if self.mapping == "vocabulary" and self.num_oov_buckets != 1:
            section["num_oov_buckets"] = self.num_oov_buckets
        return section | {"embedding_dim": self.embedding_dim} | self.configured


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is proposed for all tables of a dataset.

    Args:
        name: The experiment.
        dataset_fingerprint: Of the dataset it was made of.
        rule: The configured rule of the tables' optimizer.
        budget: Bytes that tables and state may take; None for no limit.
        least_budget: Bytes of the rows that every table needs.
        tables: The tables, as in the dataset's schema.

    Example:
    >>> Plan("shop", "0a1b2c3d", "adagrad", None, 0, tables=()).bytes
    0
    """

    name: str
    dataset_fingerprint: str
    rule: str
    budget: int | None
    least_budget: int
    tables: tuple[TablePlan, ...]

    @property
    def bytes(self) -> int:
        """Bytes of all tables and their optimizer's state."""
        return sum(table.bytes for table in self.tables)

    def sections(self) -> dict[str, Any]:
        """The `tables` of a configuration that does as proposed."""
        return {table.name: table.section() for table in self.tables}

    def to_yaml(self) -> str:
        """Part of a configuration, with the one key `tables`."""
        lines = (
            f"  {name}: "
            + yaml.safe_dump(
                section,
                default_flow_style=True,
                sort_keys=False,
                # A table on a line can be compared with the others.
                width=float("inf"),
            )
            for name, section in self.sections().items()
        )
        return "tables:\n" + "".join(lines)

    def to_json(self) -> dict[str, Any]:
        """What plan.json holds."""
        return {
            "version": 1,
            **dataclasses.asdict(self),
            "yaml": self.to_yaml(),
        }
