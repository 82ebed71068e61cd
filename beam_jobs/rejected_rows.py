"""Refused rows → `rejected/part-*.jsonl`, one file a log file."""

import json
from collections.abc import Iterable
from collections.abc import Iterator
from typing import NamedTuple

import apache_beam as beam

from beam_jobs.batches import Rejected
from beam_jobs.log_files import LogFile
from tfplugin import artifacts


class RejectedSummary(NamedTuple):
    """Refused rows of one log file.

    Args:
        file: Index of the file.
        rows: How many.
        first: The first one.
    """

    file: int
    rows: int
    first: Rejected


class WriteRejected(beam.PTransform):
    """`Rejected` rows → files, and a `RejectedSummary` each.

    Args:
        folder: The dataset.
        files: The log's files.
    """

    def __init__(
        self, folder: artifacts.DatasetFolder, files: tuple[LogFile, ...]
    ) -> None:
        super().__init__()
        self._folder = folder
        self._files = files

    def expand(
        self, rejected: beam.pvalue.PCollection
    ) -> beam.pvalue.PCollection:
        """Builds the steps."""
        return (
            rejected
            | "KeyByFile" >> beam.Map(lambda row: (row.file, row))
            | "ByFile" >> beam.GroupByKey()
            | "Write" >> beam.ParDo(_WriteFile(self._folder, self._files))
        )


class _WriteFile(beam.DoFn):
    def __init__(
        self, folder: artifacts.DatasetFolder, files: tuple[LogFile, ...]
    ) -> None:
        self._folder = folder
        self._files = files

    def process(
        self, element: tuple[int, Iterable[Rejected]]
    ) -> Iterator[RejectedSummary]:
        file, found = element
        rows = sorted(Rejected(*row) for row in found)
        folder = self._folder.rejected
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"part-{file:05d}-of-{len(self._files):05d}.jsonl"
        temporary = path.with_name(f".{path.name}.tmp")
        with temporary.open("w", encoding="utf-8") as stream:
            for row in rows:
                line = {
                    "file": self._files[file].path,
                    "position": row.position,
                    "reason": row.reason,
                    "row": row.row,
                }
                stream.write(json.dumps(line, ensure_ascii=False) + "\n")
        temporary.replace(path)
        yield RejectedSummary(file, len(rows), rows[0])
