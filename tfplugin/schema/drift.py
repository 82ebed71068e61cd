"""How far apart two sets of rows are: `drift.json`."""

from typing import Literal

from tfplugin.schema.records import Record

ColumnKind = Literal["ids", "lengths", "numbers", "label"]


class DriftMeasure(Record):
    """One measure of one column, and its limit.

    Args:
        value: The measure.
        expected: Its mean if all rows were shuffled and dealt out again.
        chance: What chance alone passes once in 1000 comparisons.
        excess: What the value has beyond `expected`.
        threshold: What the excess may be.
        crossed: Whether `excess` exceeds `threshold`, and `value` `chance`.
    """

    value: float
    expected: float
    chance: float
    excess: float
    threshold: float
    crossed: bool


class DriftSide(Record):
    """What was compared.

    Args:
        name: In words: split and folder, or files.
        rows: Its rows.
    """

    name: str
    rows: int


class SharedId(Record):
    """An id whose share of the occurrences changed.

    Args:
        id: The id.
        baseline: Its share in the baseline.
        current: Its share on the other side.
    """

    id: int | str
    baseline: float
    current: float


class RankCurve(Record):
    """Shares of a table's ids by rank, thinned for drawing.

    Args:
        ranks: From 1, ascending.
        shares: Share of the occurrences of the id of each rank.
    """

    ranks: tuple[int, ...] = ()
    shares: tuple[float, ...] = ()


class ColumnSide(Record):
    """One side of a column.

    Args:
        values: Values that are there: occurrences of ids, numbers, lists, or
            labels observed.
        missing: Values that are not, and empty lists.
        ids: Distinct ids; None for other columns.
        curve: Shares by rank; None for other columns.
        quantiles: Of numbers or list lengths at 101 evenly spaced ranks.
        positives: Rows where the label is 1; None for other columns.
        rate: Their share; None without observed labels.
        interval: Where the rate lies with 95 % confidence (Wilson).
    """

    values: int | float
    missing: int = 0
    ids: int | None = None
    curve: RankCurve | None = None
    quantiles: tuple[float, ...] = ()
    positives: int | None = None
    rate: float | None = None
    interval: tuple[float, float] | None = None


class DriftColumn(Record):
    """How far apart the two sides of one column are.

    Args:
        name: Table, list feature, dense feature or label.
        kind: `ids` of a table, `lengths` of a list feature, `numbers` of a
            dense feature, or a `label`.
        baseline: The baseline's side.
        current: The other side.
        measures: Measure to its value; empty where a side holds nothing.
        gained: Ids whose share rose most; of ids only.
        lost: Ids whose share fell most.
    """

    name: str
    kind: ColumnKind
    baseline: ColumnSide
    current: ColumnSide
    measures: dict[str, DriftMeasure]
    gained: tuple[SharedId, ...] = ()
    lost: tuple[SharedId, ...] = ()

    @property
    def crossed(self) -> list[str]:
        """The measures that crossed their limit."""
        return [name for name, m in self.measures.items() if m.crossed]


class Drift(Record):
    """`drift.json`: what `tfplugin drift` found.

    Args:
        version: Version of this format.
        baseline: What is taken as given.
        current: What is compared with it.
        notes: What was not compared, and why.
        columns: Every column that was.

    Example:
    >>> side = DriftSide(name="train of W", rows=9)
    >>> Drift(baseline=side, current=side, columns=()).crossed
    []
    """

    version: Literal[1] = 1
    baseline: DriftSide
    current: DriftSide
    notes: tuple[str, ...] = ()
    columns: tuple[DriftColumn, ...]

    @property
    def crossed(self) -> list[tuple[DriftColumn, str, DriftMeasure]]:
        """Column, measure's name and measure of every limit crossed."""
        return [
            (column, name, column.measures[name])
            for column in self.columns
            for name in column.crossed
        ]
