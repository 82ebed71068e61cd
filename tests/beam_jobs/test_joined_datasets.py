"""Datasets of joined logs: cut-offs, and which files they are of."""

import pyarrow as pa
import pytest

from beam_jobs import append
from tests.beam_jobs import conftest

HOUR = 3600
CONFIG = {
    "features": {"item": {"type": "id", "dtype": "int64"}},
    "labels": ["bought"],
    "event_time": "at",
    "split": {"by": "time", "validation": 0.1, "test": 0.1},
}


def write(lab, **changes):
    """400 rows in 100 hours, every tenth bought at once; the join's key."""
    items = list(range(400))
    log = {"item": items, "at": [n * HOUR // 4 for n in items]}
    lab.write("log.parquet", pa.table(log))
    events = {key: values[::10] for key, values in log.items()}
    events["at"] = [*events["at"][:-1], 100 * HOUR]
    join = {
        "kind": "events",
        "format": "parquet",
        "files": lab.write("events.parquet", pa.table(events)),
        "keys": "item",
        "log_time": "at",
        "time": "at",
        "window": "20h",
        "label": "bought",
        **changes,
    }
    return {"joins": {"orders": join}}


@pytest.mark.parametrize(
    ("mature", "rows", "select"),
    [
        ("mask", 400, None),
        ("drop", 328, None),
        ("gap", 320, None),
        ("gap", 320, "SELECT * FROM log"),
    ],
)
def test_shares_are_of_the_rows_that_a_join_leaves(lab, mature, rows, select):
    source = {**write(lab, mature=mature), "select": select}
    path = str(lab.path / "log.parquet")
    found = lab.run(path, source=source, **CONFIG)
    sizes = [found.rows(split) for split in ("train", "validation", "test")]
    assert sum(sizes) == pytest.approx(rows, abs=1)
    # Rows of one second are never divided.
    assert sizes == pytest.approx([0.8 * rows, 0.1 * rows, 0.1 * rows], abs=2)


def test_files_of_joined_logs_are_known(lab):
    source = write(lab)
    found = lab.run(str(lab.path / "log.parquet"), source=source, **CONFIG)
    (log,), (events,) = found.source_files, found.joined_files
    assert log.path.endswith("log.parquet")
    assert events.path.endswith("events.parquet")
    assert events.bytes == (lab.path / "events.parquet").stat().st_size
    day = pa.table({"item": list(range(50)), "at": [101 * HOUR] * 50})
    config = lab.config(lab.write("day.parquet", day), source=source, **CONFIG)
    # The joined log is as it was, and is no log that is added twice.
    both = append.run(config, lab.folder)
    assert both.joined_files == (events,)
    assert len(both.source_files) == 2


@pytest.fixture
def lab(tmp_path):
    return conftest.Lab(tmp_path)
