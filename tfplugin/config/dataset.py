"""How examples are written."""

from typing import Annotated
from typing import Literal

import pydantic

from tfplugin.config.records import Section
from tfplugin.config.sizes import Bytes

_Split = Literal["train", "validation", "test"]


class NegativesConfig(Section):
    """Keeps a share of the rows that hold no positive.

    Which rows are kept is a seeded hash of where they stand in the log. The
    rate is written into the schema, so that probabilities can be corrected.

    Args:
        labels: A row is a negative where none of these is 1.
        rate: The share of negatives to keep.
        seed: Seed of the hash.
        splits: Splits to sample; the others keep all their rows, so that
            what is measured on them is of the log.
    """

    labels: Annotated[tuple[str, ...], pydantic.Field(min_length=1)]
    rate: Annotated[float, pydantic.Field(gt=0, le=1)]
    seed: Annotated[int, pydantic.Field(ge=0)] = 0
    splits: Annotated[tuple[_Split, ...], pydantic.Field(min_length=1)] = (
        "train",
    )


class DatasetConfig(Section):
    """How examples are written.

    Args:
        num_shards: TFRecord files a split.
        shard_size: Instead: bytes of a file before compression, about, as
            `256MiB`.
        order: `shuffled` spreads rows over and inside shards by a seeded
            hash; `time` keeps them in the order of `event_time`.
        seed: Seed of that hash.
        format: `examples` (a record a row) or `packed` (a record for many
            rows, column by column, which training reads several times
            faster).
        rows_per_record: Rows of a packed record.
        negatives: Sampling of negatives; None keeps all rows.
        sketches: Whether to keep mergeable sketches of the columns.
    """

    num_shards: Annotated[int, pydantic.Field(ge=1, le=99999)] = 8
    shard_size: Annotated[Bytes, pydantic.Field(ge=1 << 16)] | None = None
    order: Literal["shuffled", "time"] = "shuffled"
    seed: Annotated[int, pydantic.Field(ge=0)] = 0
    format: Literal["examples", "packed"] = "examples"
    rows_per_record: Annotated[int, pydantic.Field(ge=1, le=65_536)] = 1024
    negatives: NegativesConfig | None = None
    sketches: bool = True

    @pydantic.model_validator(mode="after")
    def _check(self) -> "DatasetConfig":
        given = self.model_fields_set
        if self.shard_size is not None and "num_shards" in given:
            raise ValueError(
                "`num_shards` and `shard_size` both say how many files a "
                "split has; give one of them"
            )
        if self.shard_size is not None and self.order == "time":
            raise ValueError(
                "`shard_size` goes with `order: shuffled`; give `num_shards`"
            )
        if "rows_per_record" in given and self.format != "packed":
            raise ValueError("`rows_per_record` goes with `format: packed`")
        return self
