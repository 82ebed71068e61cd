"""Columns by role, and how rows are split and written."""

import datetime
from typing import Annotated
from typing import Any
from typing import Literal

import pydantic

from tfplugin.config.records import Section

Transform = Literal["standardize", "log1p", "quantile_buckets"]

_FLOAT32_MAX = (2 - 2**-23) * 2.0**127


class IdFeatureConfig(Section):
    """A column of ids.

    Args:
        type: `id`, or `id_list` when a row holds any number of ids.
        dtype: `int64` or `string`.
        column: Its column in the log; None when it has the feature's name.
        table: Its embedding table; None for one of its own, of the same name.
        training_only: Whether it is unknown at serving, as a position in a
            result list is.
        serving_value: The constant that then takes its place; None for the
            missing id.
    """

    type: Literal["id", "id_list"]
    dtype: Literal["int64", "string"]
    column: str | None = None
    table: str | None = None
    training_only: bool = False
    serving_value: int | str | None = None

    @pydantic.field_validator("serving_value", mode="before")
    @classmethod
    def _check_type(cls, value: object) -> object:
        # A bool is an int to pydantic, and a float may be one.
        if isinstance(value, bool) or not isinstance(value, int | str | None):
            raise ValueError(
                "`serving_value` must be an integer or a string; received "
                f"{value!r}"
            )
        return value

    @pydantic.model_validator(mode="after")
    def _check_serving_value(self) -> "IdFeatureConfig":
        if self.serving_value is None:
            return self
        if not self.training_only or self.type == "id_list":
            raise ValueError(
                "`serving_value` is for a scalar feature with "
                "`training_only: true`"
            )
        wanted = int if self.dtype == "int64" else str
        if not isinstance(self.serving_value, wanted):
            raise ValueError(
                f"`serving_value` must be of dtype {self.dtype}; received "
                f"{self.serving_value!r}"
            )
        if isinstance(self.serving_value, int) and not (
            -(2**63) <= self.serving_value < 2**63
        ):
            raise ValueError(
                f"`serving_value` must fit int64; received {self.serving_value}"
            )
        return self


class DenseFeatureConfig(Section):
    """A column of numbers.

    Args:
        type: `dense`.
        column: Its column in the log; None when it has the feature's name.
        transforms: What the model computes from it.
        num_buckets: Number of quantile buckets.
        training_only: As for ids.
        serving_value: As for ids, finite in float32; None for missing.
    """

    type: Literal["dense"]
    column: str | None = None
    transforms: Annotated[
        tuple[Transform, ...], pydantic.Field(min_length=1)
    ] = ("standardize",)
    num_buckets: Annotated[int, pydantic.Field(ge=2, le=100)] = 10
    training_only: bool = False
    serving_value: (
        Annotated[float, pydantic.Field(ge=-_FLOAT32_MAX, le=_FLOAT32_MAX)]
        | None
    ) = None

    @pydantic.model_validator(mode="after")
    def _check_serving_value(self) -> "DenseFeatureConfig":
        if self.serving_value is not None and not self.training_only:
            raise ValueError(
                "`serving_value` is for a feature with `training_only: true`"
            )
        return self


FeatureConfig = Annotated[
    IdFeatureConfig | DenseFeatureConfig, pydantic.Discriminator("type")
]


class LabelConfig(Section):
    """An objective: a column of 0 and 1, or null where it was not observed.

    Args:
        column: Its column in the log; None when it has the label's name.
        mask: Optional column, true or 1 where the label was observed.
    """

    column: str | None = None
    mask: str | None = None


class SplitConfig(Section):
    """Which rows train, which choose, which are read once at the end.

    Args:
        by: `hash` of `columns`, or `time` by `event_time`.
        columns: Columns of the log (after the select) whose equal values
            stay in one split.
        validation: Share of rows (by time) or of hash values.
        test: Share of the test split, the latest rows when by time.
        validation_from: Instead of shares: first moment of validation.
        test_from: First moment of test. Moments without a zone are UTC.
        seed: Seed of the hash.
    """

    by: Literal["hash", "time"]
    columns: tuple[str, ...] = ()
    validation: Annotated[float, pydantic.Field(gt=0, lt=1)] = 0.1
    test: Annotated[float, pydantic.Field(gt=0, lt=1)] = 0.2
    validation_from: datetime.datetime | None = None
    test_from: datetime.datetime | None = None
    seed: Annotated[int, pydantic.Field(ge=0)] = 0

    @pydantic.model_validator(mode="after")
    def _check(self) -> "SplitConfig":
        if (self.by == "hash") != bool(self.columns):
            raise ValueError(
                "`columns` names what to hash: give it with `by: hash`, and "
                "only there"
            )
        if self.validation + self.test >= 1:
            raise ValueError(
                "`validation` and `test` must leave rows to train on; "
                f"received {self.validation} + {self.test}"
            )
        moments = (self.validation_from, self.test_from)
        if any(moments) and (self.by != "time" or not all(moments)):
            raise ValueError(
                "`validation_from` and `test_from` go together, with `by: time`"
            )
        if all(moments) and not self.cut_offs()[0] < self.cut_offs()[1]:
            raise ValueError(
                "`validation_from` must lie before `test_from`; received "
                f"{self.validation_from} and {self.test_from}"
            )
        return self

    def cut_offs(self) -> tuple[int, int]:
        """First seconds since 1970 of validation and of test.

        Raises:
            ValueError: The split is not by fixed moments.
        """
        if self.validation_from is None or self.test_from is None:
            raise ValueError(
                "The split must be by moments. Received: shares. Set "
                "`validation_from` and `test_from`."
            )
        first, second = (
            moment.replace(tzinfo=moment.tzinfo or datetime.UTC).timestamp()
            for moment in (self.validation_from, self.test_from)
        )
        return int(first), int(second)


class TableConfig(Section):
    """How one embedding table maps ids to rows.

    Args:
        embedding_dim: Floats a row; None for `model.embedding_dim`.
        mapping: `vocabulary` (a row an id), `hash` (a row a bucket),
            `double_hash` (the rows of two hashes, from two tables of
            `num_buckets` rows each) or `binary_code` (a hash of the id, cut
            into `num_blocks` pieces, each a row of a table of its own).
        top_n: Keep the ids with the highest counts.
        min_count: Keep ids seen at least so often in training rows.
        coverage: Keep the most frequent ids that make this share of
            occurrences.
        num_oov_buckets: Rows that all other ids share.
        num_buckets: Rows of a hash mapping, of each table of `double_hash`,
            and about the number of ids that `binary_code` tells apart.
        num_blocks: Tables of `binary_code`; 2 by default.
        compose: How the rows of `double_hash` and `binary_code` become one
            vector: `add`, or `concatenate`, each then having its part of
            `embedding_dim`.
        combiner: How the vectors of a list become one.
        learning_rate_factor: What `training.tables.learning_rate` is
            multiplied by for this table.
    """

    embedding_dim: Annotated[int, pydantic.Field(ge=1)] | None = None
    mapping: Literal["vocabulary", "hash", "double_hash", "binary_code"] = (
        "vocabulary"
    )
    top_n: Annotated[int, pydantic.Field(ge=1)] | None = None
    min_count: Annotated[int, pydantic.Field(ge=1)] = 1
    coverage: Annotated[float, pydantic.Field(gt=0, le=1)] | None = None
    num_oov_buckets: Annotated[int, pydantic.Field(ge=1)] = 1
    num_buckets: Annotated[int, pydantic.Field(ge=1)] | None = None
    num_blocks: Annotated[int, pydantic.Field(ge=2, le=8)] | None = None
    compose: Literal["add", "concatenate"] | None = None
    combiner: Literal["sum", "mean", "sqrtn"] = "mean"
    learning_rate_factor: Annotated[float, pydantic.Field(gt=0)] = 1.0

    @property
    def num_parts(self) -> int:
        """How many tables an id has a row of."""
        if self.mapping == "binary_code":
            return self.num_blocks or 2
        return 2 if self.mapping == "double_hash" else 1

    @property
    def code_bits(self) -> tuple[int, ...]:
        """Bits of each block of `binary_code`, none for other mappings.

        The ⌈log₂ num_buckets⌉ bits of a code, spread evenly.
        """
        if self.mapping != "binary_code" or self.num_buckets is None:
            return ()
        bits, parts = (self.num_buckets - 1).bit_length(), self.num_parts
        return tuple(bits // parts + (k < bits % parts) for k in range(parts))

    @pydantic.model_validator(mode="after")
    def _check_mapping(self) -> "TableConfig":
        hashes = self.mapping != "vocabulary"
        if hashes != (self.num_buckets is not None):
            raise ValueError(
                "`num_buckets` goes with `mapping: hash`, `double_hash` or "
                "`binary_code`, and only there"
            )
        filters = {"top_n", "min_count", "coverage", "num_oov_buckets"}
        given: set[Any] = filters & self.model_fields_set
        names = ", ".join(f"`{name}`" for name in sorted(given))
        if hashes and given:
            raise ValueError(
                f"{names} {'go' if len(given) > 1 else 'goes'} with "
                "`mapping: vocabulary`; a hash keeps every id"
            )
        if self.num_blocks is not None and self.mapping != "binary_code":
            raise ValueError("`num_blocks` goes with `mapping: binary_code`")
        if self.compose is not None and self.num_parts == 1:
            raise ValueError(
                "`compose` goes with `mapping: double_hash` or `binary_code`"
            )
        if self.mapping == "binary_code" and 0 in self.code_bits:
            raise ValueError(
                f"`binary_code` with {self.num_parts} blocks needs "
                f"`num_buckets` above {2 ** (self.num_parts - 1)}, a bit a "
                f"block; received {self.num_buckets}"
            )
        return self
