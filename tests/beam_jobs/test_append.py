"""Logs added to a finished dataset."""

import datetime
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_jobs import append
from beam_jobs import preprocess
from tests.beam_jobs import conftest
from tests.support import shelf
from tfplugin import schema
from tfplugin.errors import InputError

CONFIG = {
    "features": {
        "item": {"type": "id", "dtype": "int64"},
        "word": {"type": "id", "dtype": "string"},
        "tags": {"type": "id_list", "dtype": "string", "table": "word"},
        "price": {"type": "dense"},
    },
    "labels": ["click"],
    "event_time": "time",
    "request_id": "request",
    "split": {"by": "hash", "columns": ["user"]},
}
DAY = 86_400


def log(first, rows):
    number = np.arange(first, first + rows)
    return pa.table(
        {
            "item": number % 23,
            "word": [None if n % 7 == 0 else f"wörd{n % 31}" for n in number],
            "tags": [[f"wörd{j}" for j in range(n % 4)] for n in number],
            "price": [None if n % 9 == 0 else n / 8 for n in number],
            "click": [n % 3 == 0 for n in number],
            "user": [f"u{n % 40}" for n in number],
            # 100 rows a day.
            "time": pa.array(
                [1_600_000_000 + int(n) * DAY // 100 for n in number],
                pa.timestamp("s"),
            ),
            "request": number,
        }
    )


def add(lab, files, *, arguments=(), staging=None, **changes):
    return append.run(
        lab.config(files, **{**CONFIG, **changes}),
        lab.folder,
        arguments,
        staging=staging,
    )


def rows_of(lab):
    """Decoded rows by split, whatever the shard."""
    found = lab.folder.read_statistics()
    listed = {
        split: sorted(shard.name for shard in found.shards[split])
        for split in schema.SPLITS
    }
    there = {
        split: sorted(
            str(path.relative_to(lab.folder.split(split)))
            for path in lab.folder.split(split).rglob("*.gz")
        )
        for split in schema.SPLITS
    }
    assert there == listed
    return {
        split: sorted(map(repr, conftest_examples(lab, split)))
        for split in schema.SPLITS
    }


def conftest_examples(lab, split):
    rows = []
    for folder in {p.parent for p in lab.folder.split(split).rglob("*.gz")}:
        part = conftest.Lab(lab.path)
        part.folder = type(lab.folder)(folder.parent)
        if folder != lab.folder.split(split):
            part.folder = _Inside(folder)
        rows += part.examples(split)
    return [dict(sorted(row.items())) for row in rows]


class _Inside:
    """A folder that stands for a split's."""

    def __init__(self, path):
        self.path = path

    def split(self, name):
        return self.path


def frequencies(lab, table):
    names = [s.name for s in lab.folder.read_statistics().tables[table].files]
    there = sorted(lab.folder.id_frequencies(table).rglob("*.parquet"))
    assert len(there) == len(names)
    parts = [
        pq.read_table(lab.folder.id_frequencies(table) / name) for name in names
    ]
    rows = pa.concat_tables(parts).to_pylist()
    return {row.pop("id"): row for row in rows}


def snapshot(lab):
    """Bytes of everything that belongs to a dataset."""
    return {
        str(path.relative_to(lab.folder.path)): path.read_bytes()
        for path in sorted(lab.folder.path.rglob("*"))
        if path.is_file() and "rejected" not in path.parts
    }


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A dataset of the first log; tests work on copies of it."""
    lab = conftest.Lab(tmp_path_factory.mktemp("base"))
    lab.run(lab.write("a.parquet", log(0, 400)), **CONFIG)
    return lab


@pytest.fixture
def lab(base, tmp_path):
    shutil.copytree(base.path, tmp_path / "lab")
    return conftest.Lab(tmp_path / "lab")


def without_places(found):
    """Statistics but for files, which differ between one log and two."""
    kept = found.model_dump(
        exclude={"source_files", "shards", "sketches", "additions"}
    )
    for table in kept["tables"].values():
        del table["files"]
    return kept


def test_a_log_in_two_parts_is_the_log(lab, tmp_path):
    whole = conftest.Lab(tmp_path / "whole")
    whole.path.mkdir()
    path = whole.write("all.parquet", log(0, 700))
    expected = whole.run(path, **CONFIG)
    found = add(lab, lab.write("b.parquet", log(400, 300)))
    assert rows_of(lab) == rows_of(whole)
    for table in ("item", "word"):
        assert frequencies(lab, table) == frequencies(whole, table)
    one, two = without_places(found), without_places(expected)
    for name in ("rows_read", "rows_rejected", "last_time", "tables"):
        assert one[name] == two[name]
    assert one["labels"] == two["labels"]
    for name, value in two["dense"]["price"].items():
        assert one["dense"]["price"][name] == pytest.approx(value, rel=1e-9)
    assert [len(part.source_files) for part in found.additions] == [1]
    assert found.additions[0].rows_read == 300
    assert lab.folder.read_statistics() == found


def test_days_add_up(lab):
    for day in range(1, 4):
        first = 300 + 100 * day
        found = add(lab, lab.write(f"{day}.parquet", log(first, 100)))
    assert found.rows_read == 700
    assert [part.name for part in found.additions] == [
        "added-00001",
        "added-00002",
        "added-00003",
    ]
    assert sum(part["count"] for part in frequencies(lab, "item").values()) == (
        found.rows("train")
    )
    rows_of(lab)


def test_a_day_that_is_all_test_teaches_nothing(lab):
    before = lab.folder.read_statistics()
    ids = frequencies(lab, "item")
    found = add(
        lab,
        lab.write("b.parquet", log(400, 100)),
        append={"split": "test"},
    )
    assert found.rows("test") == before.rows("test") + 100
    assert found.rows("train") == before.rows("train")
    assert frequencies(lab, "item") == ids
    assert found.labels == before.labels
    assert found.dense == before.dense
    assert found.additions[0].rows == {"train": 0, "validation": 0, "test": 100}


def test_counts_decay(lab):
    before = frequencies(lab, "item")
    # The last row of the dataset is row 399, that of the new log row 599.
    found = add(
        lab,
        lab.write("b.parquet", log(400, 200)),
        append={"split": "train", "half_life_days": 4.0},
    )
    factor = 0.5 ** (200 * (DAY / 100) / DAY / 4.0)
    after = frequencies(lab, "item")
    for item, row in after.items():
        new = sum(n % 23 == item for n in range(400, 600))
        assert row["count"] == pytest.approx(
            before[item]["count"] * factor + new
        )
        assert row["last_day"] >= row["first_day"]
    assert found.tables["item"].occurrences == pytest.approx(
        sum(row["count"] for row in after.values())
    )


def test_an_older_log_is_refused_where_counts_decay(lab):
    before = snapshot(lab)
    with pytest.raises(InputError, match=r"must not end before .* 1 days"):
        add(
            lab,
            lab.write("b.parquet", log(0, 300)),
            append={"half_life_days": 4.0},
        )
    assert snapshot(lab) == before


def test_first_and_last_days(lab):
    add(lab, lab.write("b.parquet", log(400, 300)), append={"split": "train"})
    base_day = datetime.date(1970, 1, 1)
    for item, row in frequencies(lab, "item").items():
        seconds = [
            1_600_000_000 + n * DAY // 100
            for n in range(400, 700)
            if n % 23 == item
        ]
        last = base_day + datetime.timedelta(seconds[-1] // DAY)
        assert row["last_day"] == last
        assert row["first_day"] <= last


@pytest.mark.parametrize("name", ["a.parquet", "another.parquet"])
def test_the_same_bytes_are_refused(lab, name):
    path = lab.write(name, log(0, 400))
    before = snapshot(lab)
    with pytest.raises(InputError, match="whose bytes are those of .*a.parq"):
        add(lab, [lab.write("new.parquet", log(400, 10)), path])
    assert snapshot(lab) == before


def test_what_was_added_is_known_too(lab):
    path = lab.write("b.parquet", log(400, 100))
    add(lab, path)
    with pytest.raises(InputError, match="must be added once"):
        add(lab, path)


def test_other_columns_are_refused(lab):
    before = snapshot(lab)
    with pytest.raises(InputError, match="another `dense_features` than"):
        add(
            lab,
            lab.write("b.parquet", log(400, 10)),
            features={**CONFIG["features"], "user": {"type": "dense"}}
            | {"user": {"type": "dense", "column": "item"}},
        )
    assert snapshot(lab) == before


def test_another_split_is_refused(lab):
    """What a configuration in the work folder has become does not matter."""
    before = snapshot(lab)
    for changed in (
        {"by": "hash", "columns": ["item"]},
        {"by": "hash", "columns": ["user"], "seed": 1},
        {"by": "hash", "columns": ["user"], "test": 0.3},
        {"by": "time"},
    ):
        file = lab.write("b.parquet", log(400, 60))
        with pytest.raises(InputError, match="split as the dataset.*user"):
            add(lab, file, split=changed)
        assert snapshot(lab) == before
    found = add(lab, file, split=changed, append={"split": "train"})
    assert found.split["columns"] == ["user"]
    add(lab, lab.write("c.parquet", log(460, 60)))
    with pytest.raises(InputError, match="split as the dataset"):
        add(lab, lab.write("d.parquet", log(520, 60)), split=changed)


def test_too_many_rejected_rows_leave_the_dataset_as_it_was(lab):
    before = snapshot(lab)
    rows = log(400, 50)
    wrong = rows.set_column(4, "click", pa.array([2] * 50))
    with pytest.raises(InputError, match="At most 0 rows may be malformed"):
        add(lab, lab.write("b.parquet", wrong))
    assert snapshot(lab) == before
    found = list((lab.folder.rejected / "added-00001").iterdir())
    assert len(found) == 1


def test_a_failure_leaves_the_dataset_as_it_was(lab, monkeypatch):
    before = snapshot(lab)

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(schema, "write_record", fail)
    with pytest.raises(OSError, match="disk full"):
        add(lab, lab.write("b.parquet", log(400, 100)))
    assert snapshot(lab) == before


CRASH = """
import os, sys
from tests.beam_jobs import conftest, test_append
import pathlib
from tfplugin import schema
lab = conftest.Lab(pathlib.Path(sys.argv[1]))
schema.write_record = lambda *args: os._exit(9)
test_append.add(lab, str(lab.path / "b.parquet"))
"""


def test_a_crash_leaves_the_dataset_as_it_was(lab):
    before = lab.folder.read_statistics()
    rows = {
        name: data
        for name, data in snapshot(lab).items()
        if ".temp" not in name
    }
    lab.write("b.parquet", log(400, 100))
    done = subprocess.run([sys.executable, "-c", CRASH, str(lab.path)])
    assert done.returncode == 9
    after = snapshot(lab)
    assert {name: after[name] for name in rows} == rows
    assert len(after) > len(rows)
    # The next addition takes away what was left.
    found = add(lab, str(lab.path / "b.parquet"))
    assert found.rows_read == before.rows_read + 100
    rows_of(lab)


def test_workers_that_do_not_see_the_work_folder(lab, tmp_path):
    shelf.clear()
    other = conftest.Lab(tmp_path / "other")
    other.path.mkdir()
    path = other.write("a.parquet", log(0, 400))
    preprocess.run(
        other.config(path, **CONFIG),
        other.folder,
        staging="shelf://box/staging",
    )
    assert rows_of(other) == rows_of(lab)
    assert shelf.paths() == []
    day = log(400, 100)
    add(other, other.write("b.parquet", day), staging="shelf://box/staging")
    add(lab, lab.write("b.parquet", day))
    assert rows_of(other) == rows_of(lab)
    assert frequencies(other, "item") == frequencies(lab, "item")
    assert shelf.paths() == []


def test_a_half_life_that_leaves_nothing_is_refused(lab):
    before = snapshot(lab)
    with pytest.raises(InputError, match="half_life_days.*longer"):
        add(
            lab,
            lab.write("b.parquet", log(4_000, 50)),
            append={"half_life_days": 0.01},
        )
    assert snapshot(lab) == before


def test_other_sketches_are_refused_before_the_job(lab, monkeypatch):
    monkeypatch.setattr(append.passes, "write_dataset", None)
    dataset = {"num_shards": 2, "sketches": False}
    with pytest.raises(InputError, match="dataset.sketches"):
        add(lab, lab.write("b.parquet", log(400, 50)), dataset=dataset)


def test_the_order_of_time_is_kept(tmp_path):
    lab = conftest.Lab(tmp_path)
    ordered = {**CONFIG, "dataset": {"num_shards": 2, "order": "time"}}
    lab.run(lab.write("a.parquet", log(200, 200)), **ordered)
    before = snapshot(lab)
    for first in (0, 398):
        late = lab.write("late.parquet", log(first, 150))
        with pytest.raises(InputError, match="dataset.order"):
            add(lab, late, dataset=ordered["dataset"])
        assert snapshot(lab) == before
    found = add(
        lab,
        lab.write("b.parquet", log(400, 150)),
        dataset=ordered["dataset"],
        append={"split": "train"},
    )
    times = []
    for shard in found.shards["train"]:
        path = lab.folder.split("train") / shard.name
        part = conftest.Lab(lab.path)
        part.folder = _Inside(path.parent)
        number = int(path.name[5:10])
        times += [r["event_time"][0] for r in part.examples("train", number)]
    assert times == sorted(times)
    assert len(times) == found.rows("train")


def test_rejected_rows_of_a_refused_addition_go(lab):
    bad = log(400, 60).set_column(4, "click", pa.array([7] * 60))
    with pytest.raises(InputError, match="max_rejected"):
        add(lab, lab.write("b.parquet", bad))
    left = list((lab.folder.rejected / "added-00001").iterdir())
    assert len(left) == 1
    add(lab, lab.write("b.parquet", log(400, 60)))
    assert not left[0].exists()
