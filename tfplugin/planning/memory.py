"""What tables and the states of their optimizers take, in bytes."""

import dataclasses

from tfplugin import config as config_lib
from tfplugin.config import tables_optimizer as rules

#: Tables are float32; a policy of lower precision casts rows, not tables.
_BYTES_A_NUMBER = 4


@dataclasses.dataclass(frozen=True)
class TableCost:
    """Bytes of one table as a function of its rows.

    Args:
        table_row: Of a row of the table.
        state_row: Of what the optimizer keeps about a row: slots, last step,
            counts.
        state_fixed: Of what it keeps about the table as a whole.

    Example:
    >>> TableCost(table_row=64, state_row=68, state_fixed=12).total(10)
    1332
    """

    table_row: int
    state_row: int
    state_fixed: int

    @property
    def row(self) -> int:
        """Bytes of one more row, state included."""
        return self.table_row + self.state_row

    def table(self, rows: int) -> int:
        """Bytes of a table of so many rows."""
        return rows * self.table_row

    def state(self, rows: int) -> int:
        """Bytes of its optimizer's state."""
        return rows * self.state_row + self.state_fixed

    def total(self, rows: int) -> int:
        """Bytes of both."""
        return self.table(rows) + self.state(rows)


def table_cost(
    settings: config_lib.TablesOptimizerConfig, embedding_dim: int
) -> TableCost:
    """Bytes of a table under a configured optimizer.

    The optimizer itself, built on tables of one and of two rows, says what it
    keeps; no size of a rule is written down here.

    Args:
        settings: `training.tables`.
        embedding_dim: Numbers a row.

    Raises:
        InputError: The configuration's constants do not go together.

    Example:
    >>> settings = config_lib.TablesOptimizerConfig(rule="rowwise_adagrad")
    >>> cost = table_cost(settings, embedding_dim=16)
    >>> cost.table_row, cost.state_row
    (64, 8)
    """
    # Loads TensorFlow, which reading a plan has no use for.
    import keras
    import numpy as np

    from tfplugin.training import optimization

    optimizer = optimization.tables_optimizer(settings)
    tables = [
        keras.Variable(np.zeros((rows, embedding_dim), "float32"))
        for rows in (1, 2)
    ]
    optimizer.build(tables)
    one, two = map(optimizer.state_bytes, tables)
    return TableCost(
        table_row=embedding_dim * _BYTES_A_NUMBER,
        state_row=two - one,
        state_fixed=2 * one - two,
    )


def rule_settings(
    settings: config_lib.TablesOptimizerConfig,
) -> dict[str, config_lib.TablesOptimizerConfig]:
    """The configured optimizer under each rule.

    Args:
        settings: `training.tables`.

    Returns:
        Rule to settings with the same rate of rows, counts, decay and
        clipping. The configured rule keeps its constants; the others have
        their defaults, since a constant of one is not of another.

    Example:
    >>> chosen = config_lib.TablesOptimizerConfig(rule="sgd", momentum=0.9)
    >>> of_rules = rule_settings(chosen)
    >>> of_rules["sgd"].momentum, of_rules["ftrl"].momentum
    (0.9, None)
    """
    given = settings.model_dump(exclude_unset=True)
    constants = {n for taken in rules.RULE_CONSTANTS.values() for n in taken}
    shared = {k: v for k, v in given.items() if k not in constants}
    return {
        rule: settings
        if rule == settings.rule
        else config_lib.TablesOptimizerConfig.model_validate(
            shared | {"rule": rule}
        )
        for rule in rules.RULE_CONSTANTS
    }
