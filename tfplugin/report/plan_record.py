"""`plan.json` as this room reads it."""

import pathlib

import pydantic

from tfplugin import artifacts
from tfplugin.errors import InputError


class _Record(pydantic.BaseModel):
    """A frozen JSON record; keys that no reader here needs are left out."""

    model_config = pydantic.ConfigDict(extra="ignore", frozen=True)


class Collisions(_Record):
    """What a hash with a number of buckets does to the ids of a table.

    Args:
        num_buckets: Rows for ids.
        expected: Share of ids, and of occurrences, expected to share a row.
        ids: Share of ids measured to.
        occurrences: Share of occurrences measured to.
        mixed: Share of what rows learn from that is of other ids.
    """

    num_buckets: int
    expected: float
    ids: float
    occurrences: float
    mixed: float


class Curve(_Record):
    """Counts by rank, and the share of occurrences of the ids so far.

    Args:
        ranks: From 1 to the number of ids.
        counts: Count of the id at each rank.
        covered: Share of occurrences up to each rank.
    """

    ranks: tuple[int, ...]
    counts: tuple[float, ...]
    covered: tuple[float, ...]


class TablePlan(_Record):
    """What is proposed for one table.

    Args:
        name: The table.
        features: Features whose ids index it.
        ids: Distinct ids of the training rows.
        occurrences: Their occurrences.
        ids_seen_once: How many were seen once.
        mapping: `vocabulary` or `hash`.
        reason: Why that one.
        worth_ids: Ids that would have a row if memory were free.
        kept_ids: Ids that have a row; None for a hash.
        min_count: The least count of these.
        num_buckets: Rows of a hash.
        rows: Rows of the table.
        embedding_dim: Numbers a row.
        rule_of_thumb: The dimension before rounding and limits.
        covered_share: Share of training occurrences with a row of their own.
        expected_oov_share: Of new occurrences, those out of vocabulary.
        expected_unseen_share: Of new occurrences, those of new ids.
        hashed: Collisions of a hash with as many rows.
        table_bytes: Of the table.
        state_bytes: Of its optimizer's state.
        rule_bytes: Rule to the bytes of its state.
        curve: Rank, frequency and coverage.
        collisions: Of hashes of several sizes, by rising size.
        expected_curve: Number of buckets and expected share.
    """

    name: str
    features: tuple[str, ...]
    ids: int
    occurrences: float
    ids_seen_once: int
    mapping: str
    reason: str
    worth_ids: int
    kept_ids: int | None
    min_count: int | None
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
    curve: Curve
    collisions: tuple[Collisions, ...]
    expected_curve: tuple[tuple[int, float], ...]


class Plan(_Record):
    """What is proposed for all tables.

    Args:
        name: The experiment.
        dataset_fingerprint: Of the dataset it was made of.
        rule: The configured rule of the tables' optimizer.
        budget: Bytes that tables and state may take.
        least_budget: Bytes of the rows that every table needs.
        tables: The tables.
        yaml: The proposal as part of a configuration.
    """

    name: str
    dataset_fingerprint: str
    rule: str
    budget: int | None
    least_budget: int
    tables: tuple[TablePlan, ...]
    yaml: str


def read(path: pathlib.Path) -> Plan:
    """Reads a plan.

    Args:
        path: `WORK/plan.json`.

    Raises:
        InputError: It is absent or is no plan.

    Example:
    >>> read(pathlib.Path("absent.json"))
    Traceback (most recent call last):
    ...
    tfplugin.errors.InputError: A plan must be there. Received: absent.json...
    """
    if not path.is_file():
        raise InputError(
            f"A plan must be there. Received: {path}, which does not exist. "
            "Run `tfplugin plan`."
        )
    try:
        return Plan.model_validate(artifacts.read_json(path))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{path} must be as `tfplugin plan` writes it. Received: {key}: "
            f"{first['msg']}. Run `tfplugin plan` again."
        ) from error
