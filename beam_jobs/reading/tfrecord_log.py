"""A log in TFRecords of tf.train.Examples: whole files, record by record."""

import dataclasses
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import ClassVar

import pyarrow as pa

from beam_jobs import batches
from beam_jobs.reading import decoding
from beam_jobs.reading import text_files
from beam_jobs.reading import tfrecord_frames
from beam_jobs.reading.log_files import Block
from beam_jobs.reading.log_files import LogFile
from tfplugin.errors import InputError


@dataclasses.dataclass(frozen=True)
class TfRecordLog:
    """Files of Examples, whose features are the columns.

    Args:
        files: The files.
        schema: Features that are read, and their types.
        names: All features at the beginning of the files.
    """

    files: tuple[LogFile, ...]
    schema: pa.Schema
    names: tuple[str, ...]

    #: What positions of rows count.
    position_kind: ClassVar[str] = "record"

    def only(self, columns: Sequence[str]) -> "TfRecordLog":
        """The same rows with fewer columns, which alone are decoded."""
        fields = [self.schema.field(name) for name in columns]
        return dataclasses.replace(self, schema=pa.schema(fields))

    def advice_on_empty(self) -> str:
        """What to declare for columns without a value: nothing."""
        return ""

    def blocks(self) -> list[Block]:
        """Parts to read: the files, as no record says where it begins."""
        return [Block(file, 0) for file in self.files]

    def read(
        self, block: Block
    ) -> Iterator[batches.LogBatch | batches.Rejected]:
        """Rows of a file, and records that are no rows.

        Raises:
            InputError: The file is cut off, damaged or changed.
        """
        decoder = decoding.Decoder(self.schema)
        first = 0
        for records in tfrecord_frames.read(block.file):
            yield from decoder.decode(block.file.index, first, records)
            first += len(records)


def open_tfrecord(
    files: tuple[LogFile, ...],
    columns: list[str] | None,
    types: Mapping[str, pa.DataType],
) -> TfRecordLog:
    """Looks at the first records of the files.

    Args:
        files: The files; a compressed one without records has no rows.
        columns: Features to read; None for all. Those that no head has are
            left out of the log's schema.
        types: What roles ask for: lists, or single values. Where they do
            not say, a feature is a list if a record of a head has more than
            one value of it. The values are what the Examples hold; bytes
            are strings if they are UTF-8 in all heads.

    Raises:
        InputError: A file is damaged, or there is no Example in any.
    """
    found: dict[str, decoding.Feature] = {}
    limit = text_files.head_rows(len(files))
    for file in files:
        records = next(tfrecord_frames.read(file, text_files.HEAD_BYTES), [])
        for name, feature in decoding.features(records[:limit]).items():
            found[name] = feature.merge(found.get(name, feature))
    if not found:
        raise InputError(
            "A log of TFRecords must hold tf.train.Examples. Received: "
            f"{files[0].path}{' and others' if files[1:] else ''}, without "
            "any. Check `source.files` and `source.format`."
        )
    names = tuple(sorted(found))
    asked = names if columns is None else dict.fromkeys(columns)
    fields = [
        (name, found[name].type(types.get(name)))
        for name in asked
        if name in found
    ]
    return TfRecordLog(files, pa.schema(fields), names)
