"""What `tfplugin export` writes, and how much worse it may answer."""

import ast
import re
from collections.abc import Collection
from typing import Annotated
from typing import Literal

import pydantic

from tfplugin.config.records import Section

#: Stands, in `export.tables`, for the tables it does not name.
DEFAULT_TABLE = "default"

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_Limit = Annotated[float, pydantic.Field(ge=0)]
_BatchSize = Annotated[int, pydantic.Field(ge=1, le=65536)]


class ExportTableConfig(Section):
    """How one embedding table is written.

    Args:
        dtype: Of its numbers: `float32` as trained; `float16`, `bfloat16`,
            2 bytes each; `int8`, 1 byte each and one float16 scale a row.
            Look-ups answer with float32.
        min_count: Ids seen in fewer training rows than this share what
            `rare_rows` says; 0 keeps all.
        rare_rows: `oov`: the row of unknown ids. `shared`: one row, the mean
            of theirs, weighted by count.
        drop_unused: Whether rows that no training id maps to are left out.
    """

    dtype: Literal["float32", "float16", "bfloat16", "int8"] = "float32"
    min_count: Annotated[int, pydantic.Field(ge=0)] = 0
    rare_rows: Literal["oov", "shared"] = "oov"
    drop_unused: bool = False

    @property
    def changes(self) -> bool:
        """Whether the table is written otherwise than trained."""
        return self.dtype != "float32" or self.min_count > 0 or self.drop_unused


class ExportBounds(Section):
    """How far answers may move; beyond one of these nothing is exported.

    All are measured on the test split, between the trained model and the one
    that is written; null switches a bound off.

    Args:
        auc: By how much the AUC of an objective may fall.
        calibration: By how much an objective's mean prediction over its
            positive rate may change.
        probability: By how much a single probability may change.
    """

    auc: _Limit | None = 0.001
    calibration: _Limit | None = 0.01
    probability: _Limit | None = None


class ExportConfig(Section):
    """What an exported version holds besides the model.

    Args:
        scores: Name to a formula over objectives and further inputs, which
            the signature `scores` answers: `ranking: bid * checkout`. Numbers,
            names, + - * / ** and log, exp, sqrt, minimum, maximum.
        tables: Table to how it is written; `default` stands for those that
            are not named, and without it they are written as trained.
        bounds: How far smaller tables may move answers.
        golden_requests: Rows of the test split that travel with the model and
            what it answers to them; 0 for none.
        warm_up_batch_sizes: Of the requests that a server replays before a
            version takes traffic; none for no warm-up.
    """

    scores: dict[str, str] = {}
    tables: dict[str, ExportTableConfig] = {}
    bounds: ExportBounds = ExportBounds()
    golden_requests: Annotated[int, pydantic.Field(ge=0, le=10_000)] = 64
    warm_up_batch_sizes: list[_BatchSize] = [1, 16, 64]

    def table(self, name: str) -> ExportTableConfig:
        """How a table is written, `default` if the file does not name it."""
        default = self.tables.get(DEFAULT_TABLE, ExportTableConfig())
        return self.tables.get(name, default)

    def check(self, tables: Collection[str], labels: Collection[str]) -> None:
        """Holds names against those of an experiment.

        Args:
            tables: The experiment's tables.
            labels: Its objectives.

        Raises:
            ValueError: A table does not exist, a formula has no objective or
                cannot be read, or a score cannot name an output.
        """
        for table in self.tables:
            if table not in tables and table != DEFAULT_TABLE:
                raise ValueError(
                    f"export.tables names `{table}`, which no feature uses; "
                    f"tables in use are {', '.join(sorted(tables))}; "
                    f"`{DEFAULT_TABLE}` is all others"
                )
        for name, formula in self.scores.items():
            if not _NAME.fullmatch(name):
                raise ValueError(
                    "names in export.scores must be letters, digits and "
                    f"underscores, starting with a letter; received `{name}`"
                )
            try:
                ast.parse(formula.strip(), mode="eval")
            except (SyntaxError, ValueError, RecursionError) as error:
                reason = "it cannot be parsed"
                if isinstance(error, SyntaxError):
                    # What is missing at the end is at 0.
                    place = error.offset or len(formula.strip()) + 1
                    reason = f"{error.msg} at character {place}"
                raise ValueError(
                    f"export.scores.{name} is no formula; received "
                    f"`{formula}`: {reason}"
                ) from error
            if not set(_NAME.findall(formula)) & set(labels):
                raise ValueError(
                    f"export.scores.{name} names no objective; received "
                    f"`{formula}`; objectives are {', '.join(sorted(labels))}"
                )
