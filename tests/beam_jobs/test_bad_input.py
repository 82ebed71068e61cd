"""What is refused, and the one line that says so."""

import datetime
import glob
import gzip
import logging
import pathlib

import pyarrow as pa
import pytest

from beam_jobs.selecting import select
from tfplugin.errors import InputError

GOOD = pa.table({"item": list(range(40)), "click": [0, 1] * 20})


def refused(lab, files, **changes):
    with pytest.raises(InputError) as refusal:
        lab.run(files, **changes)
    message = str(refusal.value)
    assert "\n" not in message
    assert not lab.folder.completed.exists()
    assert not list(lab.folder.path.glob(".temporary"))
    return message


def test_no_such_file(lab):
    path = str(lab.path / "none.parquet")
    assert path in refused(lab, path)


def test_a_glob_without_files(lab):
    path = str(lab.path / "none-*.parquet")
    message = refused(lab, path)
    assert path in message and "matches none" in message


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.csv.gz"])
def test_an_empty_file(lab, name):
    lab.write("good." + name.partition(".")[2], b"item,click\n1,0\n")
    path = lab.write(name, b"")
    message = refused(lab, path)
    assert path in message and "empty" in message


def test_an_empty_gzip(lab):
    path = lab.write("a.csv.gz", gzip.compress(b"\n"))
    assert "is empty" in refused(lab, path)


def test_not_gzip(lab):
    path = lab.write("a.csv.gz", b"item,click\n")
    assert path in refused(lab, path)


def test_a_file_twice(lab):
    path = lab.write("a.parquet", GOOD)
    assert f"{path} twice" in refused(lab, [path, str(lab.path / "*.parquet")])


@pytest.mark.parametrize("cut", [20, 3000])
def test_a_truncated_gzip(lab, cut, caplog):
    rows = "".join(f"{i * 7919 % 10007},{i % 2}\n" for i in range(600_000))
    data = gzip.compress(("item,click\n" + rows).encode())
    path = lab.write("a.csv.gz", data[:-cut] if cut == 20 else data[:cut])
    with caplog.at_level(logging.ERROR):
        message = refused(lab, path)
    assert path in message and "cut off or damaged" in message
    # A traceback in the log would bury the line.
    assert not caplog.records


def test_not_parquet(lab):
    path = lab.write("a.parquet", b"item,click\n1,0\n" * 10)
    assert path in refused(lab, path)


def test_a_truncated_parquet(lab):
    path = lab.write("a.parquet", GOOD)
    data = pathlib.Path(path).read_bytes()
    lab.write("a.parquet", data[:-9])
    assert path in refused(lab, path)


def test_a_damaged_page(lab):
    table = pa.table({"item": list(range(9000)), "click": [0] * 9000})
    path = lab.write("a.parquet", table)
    data = bytearray(pathlib.Path(path).read_bytes())
    data[4:200] = bytes(196)
    lab.write("a.parquet", bytes(data))
    assert path in refused(lab, path)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_file_that_lacks_a_column(lab, kind):
    if kind == "csv":
        lab.write("a.csv", "item,click\n1,0\n")
        bad = lab.write("b.csv", "item,klick\n1,0\n")
    else:
        lab.write("a.parquet", GOOD)
        bad = lab.write("b.parquet", GOOD.select(["item"]))
    message = refused(lab, str(lab.path / f"*.{kind}"))
    assert bad in message and "`click`" in message


def test_files_that_disagree_on_a_type(lab):
    lab.write("a.parquet", GOOD)
    words = GOOD.set_column(0, "item", pa.array(["x"] * 40))
    bad = lab.write("b.parquet", words)
    message = refused(lab, str(lab.path / "*.parquet"))
    assert bad in message and "`item`" in message


def test_a_header_with_a_name_twice(lab):
    path = lab.write("a.csv", "item,click,item\n1,0,2\n")
    message = refused(lab, path)
    assert path in message and "`item` twice" in message


def test_parquet_with_a_name_twice(lab):
    table = pa.Table.from_arrays(
        [*GOOD.columns, GOOD.column("item")], ["item", "click", "item"]
    )
    path = lab.write("a.parquet", table)
    assert f"{path} with `item` twice" in refused(lab, path)


def test_a_share_without_rows(lab):
    """The latest rows are refused, after the cut-offs were found."""
    rows = [
        {"item": i, "click": 7 if i >= 60 else i % 2, "t": i}
        for i in range(100)
    ]
    path = lab.write("a.parquet", pa.Table.from_pylist(rows))
    message = refused(
        lab,
        path,
        source={"max_rejected": 40},
        event_time="t",
        split={"by": "time"},
    )
    assert "60 in train, 0 in validation, 0 in test" in message
    assert "40 refused" in message


def test_a_hash_that_leaves_a_share_without_rows(lab):
    path = lab.write("a.parquet", GOOD.slice(0, 4))
    message = refused(lab, path)
    assert "`split`" in message and "0 in " in message


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"features": {"itme": {"type": "id", "dtype": "int64"}}},
            "`features.itme` must name a column of the log. Received: "
            "`itme`. Did you mean `item`?",
        ),
        ({"labels": ["clik"]}, "`labels.clik`"),
        ({"labels": {"click": {"mask": "seen"}}}, "`seen`"),
        ({"group": "user"}, "`group`"),
        ({"weight": "w"}, "`weight`"),
        ({"split": {"by": "hash", "columns": ["x"]}}, "`split.columns`"),
        (
            {"features": {"item": {"type": "id_list", "dtype": "int64"}}},
            "`features.item` needs lists of ids. Received: column `item` of "
            "type int64",
        ),
        (
            {"split": {"by": "hash", "columns": ["list"]}},
            "`split.columns` must name columns of single values",
        ),
        ({"group": "price"}, "`group` needs integers or strings"),
        ({"event_time": "list"}, "`event_time`"),
        (
            {"features": {"price": {"type": "id", "dtype": "string"}}},
            "`features.price` needs strings",
        ),
    ],
)
def test_columns_that_can_never_do(lab, changes, expected):
    table = GOOD.append_column("list", pa.array([[1]] * 40))
    table = table.append_column("price", pa.array([0.5] * 40))
    # Unused columns are not read, so that a select must bring them all.
    message = refused(
        lab,
        lab.write("a.parquet", table),
        source={"select": "SELECT * FROM log"},
        **changes,
    )
    assert expected in message


def test_rows_that_are_refused(lab):
    """One row for each reason; the others stay."""
    day = datetime.datetime(2020, 1, 1)
    good = {
        "item": 1.0,
        "number": "5",
        "tags": ["1"],
        "price": 1.0,
        "click": 1.0,
        "w": 1.0,
        "time": day,
    }
    bad = [
        {"item": 1.5},
        {"number": "abc"},
        {"number": str(2**63)},
        {"tags": ["1", "x"]},
        {"price": float("inf")},
        {"click": 0.5},
        {"w": -1.0},
        {"w": None},
        {"time": None},
    ]
    later = day + datetime.timedelta(days=1)
    rows = [{**good, **change} for change in bad]
    rows += [good] * 8 + [{**good, "time": later}] * 2
    path = lab.write("a.parquet", pa.Table.from_pylist(rows))
    changes = {
        "features": {
            "item": {"type": "id", "dtype": "int64"},
            "number": {"type": "id", "dtype": "int64"},
            "tags": {"type": "id_list", "dtype": "int64"},
            "price": {"type": "dense"},
        },
        "weight": "w",
        "event_time": "time",
        "split": {
            "by": "time",
            "validation_from": later,
            "test_from": later + datetime.timedelta(days=1),
        },
    }
    message = refused(lab, path, source={"max_rejected": 8}, **changes)
    assert "At most 8 rows" in message and "Received: 9" in message
    assert f"{path}, row 0: features.item must be" in message
    assert str(lab.folder.rejected) in message
    found = lab.rejected()
    assert [row["position"] for row in found] == list(range(9))
    assert {row["file"] for row in found} == {path}
    for row, change in zip(found, bad, strict=True):
        (key,) = change
        role = {"w": "weight", "time": "event_time"}.get(key, f"s.{key}")
        assert role in row["reason"].partition(" must be ")[0]
        assert f'"{key}"' in row["row"]
    accepted = lab.run(path, source={"max_rejected": 9}, **changes)
    assert accepted.rows_rejected == 9
    assert [accepted.rows(s) for s in accepted.shards] == [8, 2, 0]
    assert lab.folder.completed.exists() and len(lab.rejected()) == 9


def test_malformed_csv_rows_are_refused(lab):
    good = "".join(f"{item},true\n" for item in range(5, 42))
    path = lab.write("a.csv", "item,click\n1,0\n2\nx,1\n3,7\n4,1\n" + good)
    message = refused(lab, path)
    assert f"{path}, byte 15: a row must have 2 columns" in message
    assert [(r["position"], r["row"]) for r in lab.rejected()[:2]] == [
        (15, "2"),
        (17, "x,1"),
    ]
    found = lab.run(path, source={"max_rejected": 3})
    assert (found.rows_read, found.rows_rejected) == (42, 3)
    assert sum(found.rows(s) for s in found.shards) == 39


def test_a_log_without_rows(lab):
    path = lab.write("a.csv", "item,click\n")
    assert "0 rows" in refused(lab, path)
    empty = lab.write("b.parquet", GOOD.slice(0, 0))
    assert "0 rows" in refused(lab, empty)


def test_nothing_left_to_train_on(lab):
    table = pa.table({"item": [1] * 9, "click": [1] * 9, "t": [5] * 9})
    path = lab.write("a.parquet", table)
    split = {
        "by": "time",
        "validation_from": datetime.datetime(1970, 1, 1),
        "test_from": datetime.datetime(1970, 1, 2),
    }
    message = refused(lab, path, event_time="t", split=split)
    assert "none" in message and "train" in message


def test_a_time_column_without_moments(lab):
    table = GOOD.append_column("t", pa.nulls(40, pa.timestamp("s")))
    path = lab.write("a.parquet", table)
    message = refused(lab, path, event_time="t", split={"by": "time"})
    assert "`event_time`" in message and "`t`" in message


def test_a_select_that_fails_on_a_value(lab):
    path = lab.write("a.parquet", GOOD)
    select_sql = "SELECT item::UTINYINT * 100::UTINYINT AS item, click FROM log"
    message = refused(lab, path, source={"select": select_sql})
    assert "`source.select`" in message


def test_a_side_table_with_a_malformed_row(lab):
    side = lab.write("side.csv", "item,v\n1\n")
    source = {
        "select": "SELECT * FROM log JOIN side USING (item)",
        "side_tables": {"side": {"format": "csv", "files": side}},
    }
    message = refused(lab, lab.write("a.parquet", GOOD), source=source)
    assert side in message and "2 columns" in message


def test_a_crash_leaves_no_completed_and_is_redone(lab, monkeypatch):
    path = lab.write("a.parquet", GOOD)
    lab.run(path)
    first = lab.contents()
    (lab.folder.split("train") / "stale").write_text("left over")

    def crash(*_):
        raise MemoryError("planted")

    with monkeypatch.context() as patch:
        patch.setattr(select.LogBatch, "reject", crash)
        with pytest.raises(MemoryError, match="planted"):
            lab.run(path)
    assert not lab.folder.completed.exists()
    lab.run(path)
    assert lab.contents() == first


def test_wrong_input_leaves_an_earlier_dataset_alone(lab):
    lab.run(lab.write("a.parquet", GOOD))
    first = lab.contents()
    with pytest.raises(InputError):
        lab.run(str(lab.path / "none.parquet"))
    assert lab.contents() == first


def test_a_folder_for_a_file(lab):
    message = refused(lab, str(lab.path))
    assert "source.files" in message and "is a folder" in message


def test_a_folder_whose_name_is_an_escaped_glob(lab):
    """As the configuration escapes its own folder's name."""
    (lab.path / "a[1]").mkdir()
    path = lab.write("a[1]/log.parquet", GOOD)
    found = lab.run(glob.escape(path))
    assert [file.path for file in found.source_files] == [path]


def test_the_nearest_column_is_one_that_is_not_read_yet(lab):
    path = lab.write("a.csv", b"item,click,price\n1,0,2\n")
    message = refused(lab, path, labels={"click": {"column": "clik"}})
    assert "`labels.click`" in message and "Did you mean `click`" in message
    mask = {"click": {"mask": "pric"}}
    message = refused(lab, path, labels=mask)
    assert "`labels.click.mask`" in message and "`price`" in message
