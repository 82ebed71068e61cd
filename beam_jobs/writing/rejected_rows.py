"""Refused rows → `rejected/part-*.jsonl`, one file a log file.

What is shuffled are the paths of temporary files, as a log of the wrong shape
may have as many refused rows as rows.
"""

import contextlib
import heapq
import json
import uuid
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import apache_beam as beam

from beam_jobs import pipelines
from beam_jobs import storage
from beam_jobs.batches import Rejected
from beam_jobs.reading.log_files import LogFile

#: Bytes of rows that a bundle holds before it writes them.
_BUFFER_BYTES = 1 << 24
#: Temporary files that are open at once.
_FAN_IN = 256
#: Digits of a position before each line, so that lines sort as bytes.
_DIGITS = 20


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
    """What `Spool` yields → files, and a `RejectedSummary` each.

    Args:
        folder: Where to write them.
        files: The log's files.
    """

    def __init__(self, folder: str, files: tuple[LogFile, ...]) -> None:
        super().__init__()
        self._folder = folder
        self._files = files

    def expand(self, runs: beam.pvalue.PCollection) -> beam.pvalue.PCollection:
        """Builds the steps."""
        return (
            runs
            | "ByFile" >> beam.GroupByKey()
            | "Write" >> beam.ParDo(_WriteFile(self._folder, self._files))
        )


class Spool(beam.DoFn):
    """Lists of `Rejected` rows → sorted temporary files, each of one log file.

    It stands where the rows are made, so that none of them is shuffled.

    Args:
        temporary: Where rows are kept until the files are written; every
            worker must see it.
    """

    def __init__(self, temporary: str) -> None:
        self._temporary = temporary

    def start_bundle(self) -> None:
        """Begins without rows."""
        self._lines: dict[int, list[bytes]] = {}
        self._bytes = 0
        self._runs: list[tuple[int, str]] = []

    def process(self, rows: Sequence[Rejected]) -> None:
        """Takes rows, of any log files."""
        for row in rows:
            line = _encode(row)
            self._lines.setdefault(row.file, []).append(line)
            self._bytes += len(line)
            if self._bytes >= _BUFFER_BYTES:
                self._flush()

    def finish_bundle(self) -> Iterator[Any]:
        """Yields (log file, path of a temporary file)."""
        self._flush()
        for run in self._runs:
            yield pipelines.at_bundle_end(run)
        self.start_bundle()

    def _flush(self) -> None:
        for file, lines in self._lines.items():
            path = storage.join(self._temporary, f"{uuid.uuid4().hex}.rejected")
            with storage.create(path) as stream:
                stream.write(b"".join(sorted(lines)))
            self._runs.append((file, path))
        self._lines, self._bytes = {}, 0


class _WriteFile(beam.DoFn):
    """(log file, temporary files) → a file, and its `RejectedSummary`."""

    def __init__(self, folder: str, files: tuple[LogFile, ...]) -> None:
        self._folder = folder
        self._files = files

    def process(
        self, element: tuple[int, Iterable[str]]
    ) -> Iterator[RejectedSummary]:
        file, runs = element
        path = f"part-{file:05d}-of-{len(self._files):05d}.jsonl"
        name = json.dumps(self._files[file].path, ensure_ascii=False)
        prefix = f'{{"file": {name}, '.encode()
        rows, first = 0, None
        with (
            storage.create(storage.join(self._folder, path)) as stream,
            _merged(list(runs)) as lines,
        ):
            for line in lines:
                first = first or line
                rows += 1
                stream.write(prefix + line[_DIGITS + 1 :])
        if first is not None:
            yield RejectedSummary(file, rows, _decode(file, first))


def _encode(row: Rejected) -> bytes:
    values = {"position": row.position, "reason": row.reason, "row": row.row}
    text = json.dumps(values, ensure_ascii=False)
    return f"{row.position:0{_DIGITS}d}{text}\n".encode()


def _decode(file: int, line: bytes) -> Rejected:
    return Rejected(file, **json.loads(line[_DIGITS:]))


@contextlib.contextmanager
def _merged(runs: list[str]) -> Iterator[Iterator[bytes]]:
    """Lines of sorted files, in order."""
    while len(runs) > _FAN_IN:
        runs = [
            _merge_into_one(runs[first : first + _FAN_IN])
            for first in range(0, len(runs), _FAN_IN)
        ]
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(storage.open_file(run)) for run in runs]
        yield heapq.merge(*streams)


def _merge_into_one(runs: list[str]) -> str:
    path = f"{runs[0]}.{uuid.uuid4().hex}"
    with storage.create(path) as stream, _merged(runs) as lines:
        for line in lines:
            stream.write(line)
    return path
