"""Serialized tf.train.Examples → columns, by tfx_bsl's decoder."""

import dataclasses
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.coders import example_coder

from beam_jobs import batches
from beam_jobs import conversions
from beam_jobs.batches import Bools

#: Records of a part that is decoded one by one when the decoder refuses it.
PART_RECORDS = 1024

_SHOWN_BYTES = 300


@dataclasses.dataclass(frozen=True)
class Feature:
    """What the heads of files hold of a feature.

    Args:
        kind: Its values.
        most: Values of one record, at most.
        utf8: Whether bytes are text.
    """

    kind: Literal["int64", "float", "bytes"]
    most: int
    utf8: bool = True

    def merge(self, other: "Feature") -> "Feature":
        """What both hold; of two kinds the other's."""
        most = max(self.most, other.most)
        return Feature(other.kind, most, self.utf8 and other.utf8)

    def type(self, asked: pa.DataType | None) -> pa.DataType:
        """The type of its column.

        Args:
            asked: A list or a scalar, by the column's role; None where the
                role leaves it open.

        Example:
        >>> import pyarrow as pa
        >>> Feature("int64", most=1).type(pa.list_(pa.int64()))
        ListType(list<item: int64>)
        """
        kind = {
            "int64": pa.int64(),
            "float": pa.float32(),
            "bytes": pa.string() if self.utf8 else pa.binary(),
        }[self.kind]
        if asked is None:
            return pa.list_(kind) if self.most > 1 else kind
        return pa.list_(kind) if pa.types.is_list(asked) else kind


def features(records: Sequence[bytes]) -> dict[str, Feature]:
    """Looks at records; those that are no Examples are passed over.

    Args:
        records: Serialized Examples.

    Returns:
        Name to feature, of those that have a value.
    """
    if not records:
        return {}
    decoder = example_coder.ExamplesToRecordBatchDecoder()
    try:
        rows = decoder.DecodeBatch(list(records))
    except RuntimeError:
        if len(records) == 1:
            return {}
        middle = len(records) // 2
        found = features(records[:middle])
        for name, feature in features(records[middle:]).items():
            found[name] = feature.merge(found.get(name, feature))
        return found
    return {
        field.name: _feature(rows.column(field.name))
        for field in rows.schema
        if not pa.types.is_null(field.type)
    }


def _feature(column: pa.Array) -> Feature:
    most = pc.max(pc.list_value_length(column)).as_py() or 0
    values = conversions.plain(column.flatten())
    if pa.types.is_integer(values.type):
        return Feature("int64", most)
    if pa.types.is_floating(values.type):
        return Feature("float", most)
    try:
        values.cast(pa.string())
    except pa.ArrowInvalid:
        return Feature("bytes", most, utf8=False)
    return Feature("bytes", most)


class Decoder:
    """Decodes the wanted features alone.

    Args:
        schema: Columns of `Feature.type`s.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        wanted = schema_pb2.Schema()
        for field in schema:
            wanted.feature.add(name=field.name, type=_proto_type(field.type))
        self._wanted = wanted.SerializeToString()
        self._decoder = self._new_decoder()

    def decode(
        self, file: int, first: int, records: list[bytes]
    ) -> Iterator[batches.LogBatch | batches.Rejected]:
        """Decodes records.

        Args:
            file: Index of their file.
            first: Records of the file before them.
            records: Serialized Examples.
        """
        found = self._try(records)
        if isinstance(found, pa.RecordBatch):
            yield from self._fit(file, first, found)
            return
        if len(records) == 1:
            reason = f"a record must be an Example of the log's types: {found}"
            shown = repr(records[0][:_SHOWN_BYTES])
            yield batches.Rejected(file, first, reason, shown)
            return
        size = PART_RECORDS if len(records) > PART_RECORDS else 1
        for begin in range(0, len(records), size):
            part = records[begin : begin + size]
            yield from self.decode(file, first + begin, part)

    def _try(self, records: list[bytes]) -> pa.RecordBatch | str:
        """The decoded records, or why that failed."""
        try:
            return self._decoder.DecodeBatch(records)
        except RuntimeError as error:
            # One that has failed hands the rows before the failure out with
            # the next batch.
            self._decoder = self._new_decoder()
            return " ".join(str(error).split())

    def _new_decoder(self) -> example_coder.ExamplesToRecordBatchDecoder:
        return example_coder.ExamplesToRecordBatchDecoder(self._wanted)

    def _fit(
        self, file: int, first: int, rows: pa.RecordBatch
    ) -> Iterator[batches.LogBatch | batches.Rejected]:
        places = np.arange(first, first + rows.num_rows, dtype=np.int64)
        arrays, keep = [], np.ones(rows.num_rows, np.bool_)
        reasons: list[tuple[int, str]] = []
        for field in self._schema:
            values, bad = rows.column(field.name), ~keep
            if not pa.types.is_list(field.type):
                values, bad = _first_values(values)
                rule = f"feature `{field.name}` must have one value"
                reasons += [(int(n), rule) for n in np.flatnonzero(bad & keep)]
                keep &= ~bad
            values, bad = conversions.cast(
                conversions.plain(values), field.type
            )
            rule = f"feature `{field.name}` must be {field.type}, in UTF-8"
            reasons += [(int(n), rule) for n in np.flatnonzero(bad & keep)]
            keep &= ~bad
            arrays.append(values)
        whole = batches.LogBatch(file, places, np.zeros_like(places), rows)
        yield from whole.reject(sorted(reasons))
        fitting = pa.RecordBatch.from_arrays(arrays, schema=self._schema)
        batch = dataclasses.replace(whole, rows=fitting)
        yield batch if keep.all() else batch.take(keep)


def _proto_type(kind: pa.DataType) -> "schema_pb2.FeatureType.ValueType":
    if pa.types.is_list(kind):
        kind = kind.value_type
    if pa.types.is_integer(kind):
        return schema_pb2.INT
    return schema_pb2.FLOAT if pa.types.is_floating(kind) else schema_pb2.BYTES


def _first_values(lists: pa.Array) -> tuple[pa.Array, Bools]:
    """The value of each list, null for none; and which have more."""
    lengths = pc.list_value_length(lists).fill_null(0).to_numpy()
    starts = lists.offsets.to_numpy()[:-1]
    places = pa.array(starts, pa.int64(), mask=lengths == 0)
    return lists.values.take(places), lengths > 1
