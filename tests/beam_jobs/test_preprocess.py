"""Whole runs over tiny logs: what a dataset holds."""

import gzip
import pathlib
import subprocess
import sys

import google_crc32c
import numpy as np
import pyarrow as pa
import pytest

from beam_jobs import preprocess
from beam_jobs.reading import text_files
from tests.beam_jobs import conftest
from tfplugin import artifacts

N = 400


def log(rows=N, seed=0):
    rng = np.random.default_rng(seed)
    items = rng.integers(-20, 20, rows)
    return pa.table(
        {
            "item": items,
            "word": [None if i % 7 == 0 else f"wörd{i}" for i in items],
            "tags": [
                None if i % 5 == 0 else [f"t{j}" for j in range(i % 4)]
                for i in range(rows)
            ],
            "price": [None if i % 9 == 0 else float(i) for i in range(rows)],
            "click": [i % 3 == 0 for i in range(rows)],
            "buy": [None if i % 3 else i % 2 for i in range(rows)],
            "user": [f"u{i % 50}" for i in range(rows)],
            "time": pa.array(
                [1_600_000_000 + 10 * i for i in range(rows)],
                pa.timestamp("s"),
            ),
            "request": list(range(rows)),
        }
    )


FULL = {
    "features": {
        "item": {"type": "id", "dtype": "int64"},
        "word": {"type": "id", "dtype": "string"},
        "tags": {"type": "id_list", "dtype": "string"},
        "other": {
            "type": "id",
            "dtype": "int64",
            "column": "item",
            "table": "item",
        },
        "price": {"type": "dense"},
    },
    "labels": {"click": {}, "buy": {}},
    "group": "user",
    "event_time": "time",
    "request_id": "request",
    # No feature: its column is read all the same.
    "split": {"by": "hash", "columns": ["user"]},
}


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """One run that several tests look at; none changes it."""
    lab = conftest.Lab(tmp_path_factory.mktemp("full"))
    found = lab.run(lab.write("a.parquet", log()), **FULL)
    return lab, found


def split_of(lab):
    return {
        row["request_id"][0]: split
        for split in ("train", "validation", "test")
        for row in lab.examples(split)
    }


def test_examples_are_the_rows(full):
    (lab, found), table = full, log()
    lab.folder.require_completed()
    assert found == lab.folder.read_statistics()
    assert found.rows_read == N == sum(found.rows(s) for s in found.shards)
    schema = lab.folder.read_schema()
    assert (schema.group, schema.request_id) == ("string", "int64")
    assert schema.event_time and schema.labels == ("click", "buy")
    examples = {row["request_id"][0]: row for row in lab.all_examples()}
    for row in table.to_pylist():
        want = {
            "item": [row["item"]],
            "other": [row["item"]],
            "click": [float(row["click"])],
            "group_key": [row["user"].encode()],
            "event_time": [1_600_000_000 + 10 * row["request"]],
            "request_id": [row["request"]],
        }
        if row["word"] is not None:
            want["word"] = [row["word"].encode()]
        if row["tags"]:
            want["tags"] = [tag.encode() for tag in row["tags"]]
        if row["price"] is not None:
            want["price"] = [row["price"]]
        if row["buy"] is not None:
            want["buy"] = [float(row["buy"])]
        assert examples[row["request"]] == want


def test_tf_data_reads_the_dataset(full):
    import tensorflow as tf

    lab, _ = full
    files = sorted(str(p) for p in lab.folder.split("train").iterdir())
    spec = {
        "item": tf.io.FixedLenFeature([], tf.int64, -(2**63)),
        "word": tf.io.FixedLenFeature([], tf.string, ""),
        "tags": tf.io.RaggedFeature(tf.string),
        "price": tf.io.FixedLenFeature([], tf.float32, float("nan")),
    }
    read = tf.data.TFRecordDataset(files, "GZIP").batch(1000)
    parsed = tf.io.parse_example(next(iter(read)), spec)
    examples = lab.examples("train")
    assert parsed["item"].numpy().tolist() == [r["item"][0] for r in examples]
    assert parsed["tags"].to_list() == [r.get("tags", []) for r in examples]
    assert parsed["word"].numpy().tolist() == [
        r.get("word", [b""])[0] for r in examples
    ]


def test_statistics_and_frequencies_are_of_training_rows(full):
    (lab, found), table = full, log()
    splits = split_of(lab)
    train = [r for r in table.to_pylist() if splits[r["request"]] == "train"]
    items = lab.frequencies("item")
    for item, counts in items.items():
        rows = [row for row in train if row["item"] == item]
        # Two features share the table.
        assert counts == {
            "count": 2 * len(rows),
            "label_click": 2 * sum(row["click"] for row in rows),
            "label_buy": 2 * sum(row["buy"] == 1 for row in rows),
            "first_day": min(row["time"] for row in rows).date(),
            "last_day": max(row["time"] for row in rows).date(),
        }
    assert set(items) == {row["item"] for row in train}
    tags = [tag for row in train for tag in row["tags"] or []]
    assert lab.frequencies("tags")["t0"]["count"] == tags.count("t0")
    numbers = found.tables["tags"]
    assert numbers.ids == len(set(tags)) and numbers.occurrences == len(tags)
    assert numbers.empty_lists == sum(not row["tags"] for row in train)
    words = [row["word"] for row in train]
    assert found.tables["word"].missing == words.count(None)
    assert found.labels["click"].observed == len(train)
    buys = [row["buy"] for row in train if row["buy"] is not None]
    assert found.labels["buy"].observed == len(buys)
    assert found.labels["buy"].positives == sum(buys)
    prices = [row["price"] for row in train if row["price"] is not None]
    price = found.dense["price"]
    assert price.count == len(prices)
    assert price.missing == len(train) - len(prices)
    assert price.mean == pytest.approx(np.mean(prices))
    assert price.standard_deviation == pytest.approx(np.std(prices))
    assert price.log1p_mean == pytest.approx(np.log1p(prices).mean())
    assert (price.minimum, price.maximum) == (min(prices), max(prices))
    assert price.quantiles[50] == pytest.approx(
        np.quantile(prices, 0.5, method="lower"), rel=2**-11
    )


def test_what_only_the_test_split_has_leaves_no_trace(lab):
    table = log().to_pylist()
    for row in table[-40:]:
        row.update(item=777, word="planted", tags=["planted"], price=1e9)
        row["buy"] = 1
    for row in table[:-40]:
        row["buy"] = 0
    files = lab.write("a.parquet", pa.Table.from_pylist(table))
    found = lab.run(files, **{**FULL, "split": {"by": "time"}})
    assert found.rows("test") == 80
    assert any(row["item"] == [777] for row in lab.examples("test"))
    assert 777 not in lab.frequencies("item")
    for name in ("word", "tags"):
        assert "planted" not in lab.frequencies(name)
    assert found.labels["buy"].positives == 0
    assert found.dense["price"].maximum < 1e9
    for table_name in ("item", "word", "tags"):
        for counts in lab.frequencies(table_name).values():
            assert counts["label_buy"] == 0


def test_split_by_time(lab):
    files = lab.write("a.parquet", log())
    found = lab.run(files, **{**FULL, "split": {"by": "time"}})
    assert [found.rows(s) for s in ("train", "validation", "test")] == [
        280,
        40,
        80,
    ]
    assert found.time_cut_offs == (1_600_002_800, 1_600_003_200)
    for request, split in split_of(lab).items():
        want = "train" if request < 280 else "test"
        want = "validation" if 280 <= request < 320 else want
        assert split == want


def test_split_by_fixed_moments(lab):
    files = lab.write("a.parquet", log())
    split = {
        "by": "time",
        "validation_from": "2020-09-13T12:36:40",
        "test_from": "2020-09-13T12:53:20+00:00",
    }
    found = lab.run(files, **{**FULL, "split": split})
    assert [found.rows(s) for s in ("train", "validation", "test")] == [
        60,
        100,
        240,
    ]


def test_rows_of_one_hash_stay_together(full):
    lab, _ = full
    homes = {}
    for split in ("train", "validation", "test"):
        for row in lab.examples(split):
            homes.setdefault(row["group_key"][0], set()).add(split)
    assert all(len(home) == 1 for home in homes.values())
    assert {s for home in homes.values() for s in home} == {
        "train",
        "validation",
        "test",
    }


def test_split_by_bytes_that_are_no_text(lab):
    keys = [bytes([255, i % 50]) for i in range(N)]
    table = log().append_column("key", pa.array(keys, pa.binary()))
    files = lab.write("a.parquet", table)
    split = {"by": "hash", "columns": ["key"]}
    found = lab.run(files, **{**FULL, "split": split})
    assert sum(found.rows(name) for name in found.shards) == N
    homes = {}
    for request, name in split_of(lab).items():
        homes.setdefault(request % 50, set()).add(name)
    assert all(len(home) == 1 for home in homes.values())


def test_shuffled_shards_are_not_in_time(full):
    lab, _ = full
    for shard in range(2):
        times = [row["event_time"][0] for row in lab.examples("train", shard)]
        rows = len(times)
        rising = np.mean(np.diff(times) > 0)
        assert rows > 100 and 0.35 < rising < 0.65
        # Both shards span the whole time.
        assert max(times) - min(times) > 0.9 * 10 * N


def test_equal_rows_are_spread(lab):
    table = pa.table({"item": [5] * 400, "click": [0, 1] * 200})
    found = lab.run(
        lab.write("a.parquet", table.append_column("n", [list(range(400))])),
        split={"by": "hash", "columns": ["n"]},
        dataset={"num_shards": 3},
    )
    assert all(shard.rows > 70 for shard in found.shards["train"])


def test_order_by_time(lab):
    table = log()
    rng = np.random.default_rng(1)
    shuffled = table.take(pa.array(rng.permutation(N)))
    dataset = {"num_shards": 3, "order": "time"}
    found = lab.run(
        lab.write("a.parquet", shuffled), **{**FULL, "dataset": dataset}
    )
    rows = [shard.rows for shard in found.shards["train"]]
    assert max(rows) - min(rows) < 40
    assert lab.folder.read_schema().order == "time"
    for split in ("train", "validation", "test"):
        times = [row["event_time"][0] for row in lab.examples(split)]
        assert times == sorted(times)


def test_neither_files_nor_formats_change_counts(lab, monkeypatch):
    table = log().select(["item", "price", "click", "user", "request"])
    plain = {
        "features": {
            "item": {"type": "id", "dtype": "int64"},
            "price": {"type": "dense"},
        },
        "request_id": "request",
        "group": "user",
    }
    names = table.schema.names
    text = ",".join(names) + "\n"
    lines = [
        ",".join("" if v is None else str(v) for v in row.values()) + "\n"
        for row in table.to_pylist()
    ]
    whole = text + "".join(lines)
    monkeypatch.setattr(text_files, "BLOCK_BYTES", 1000)
    logs = [
        [lab.write("a.parquet", table)],
        [
            lab.write("b1.parquet", table.slice(0, 50)),
            lab.write("b2.parquet", table.slice(50)),
        ],
        [lab.write("d.csv.gz", gzip.compress(whole.encode()))],
        [
            lab.write("e1.csv", text + "".join(lines[:30])),
            lab.write("e2.csv", text + "".join(lines[30:])),
        ],
    ]
    seen = []
    for files in logs:
        found = lab.run(files, **plain)
        seen.append(
            (
                lab.frequencies("item"),
                found.labels,
                found.tables,
                found.dense["price"].quantiles,
                round(found.dense["price"].mean, 9),
                split_of(lab),
            )
        )
    assert all(one == seen[0] for one in seen)


def test_the_same_rows_again_and_on_more_workers(full, tmp_path):
    lab, _ = full
    first = lab.contents()
    files = str(lab.path / "a.parquet")
    lab = conftest.Lab(lab.path)
    lab.folder = artifacts.DatasetFolder(tmp_path / "again")
    lab.run(files, **FULL)
    assert lab.contents() == first
    arguments = [
        "--direct_num_workers=2",
        "--direct_running_mode=multi_threading",
    ]
    lab.run(files, arguments=arguments, **FULL)
    assert lab.contents() == first


def test_shards_and_source_files_are_fingerprinted(lab):
    path = lab.write("a.parquet", log(200))
    found = lab.run(path, dataset={"num_shards": 5})
    (source,) = found.source_files
    data = pathlib.Path(path).read_bytes()
    assert (source.path, source.bytes) == (path, len(data))
    assert source.crc32c == google_crc32c.value(data)
    for split, shards in found.shards.items():
        assert [s.name for s in shards] == [
            f"part-{i:05d}-of-00005.tfrecord.gz" for i in range(5)
        ]
        for shard in shards:
            data = (lab.folder.split(split) / shard.name).read_bytes()
            assert shard.bytes == len(data)
            assert shard.crc32c == google_crc32c.value(data)
    rows = {split: len(lab.examples(split)) for split in found.shards}
    assert rows == {split: found.rows(split) for split in found.shards}
    assert not list(lab.folder.path.rglob(".*"))


def test_select_with_side_table(lab):
    side = lab.write("side.csv", "item,maker\n1,acme\n1,bolt\n2,çelik\n")
    table = pa.table(
        {
            "item": [1, 2, 3, None] * 25,
            "rating": [1, 5, 5, 3] * 25,
            "n": list(range(100)),
        }
    )
    source = {
        "select": "SELECT log.item, maker, rating > 3 AS click, 1.5 AS price, "
        "n FROM log LEFT JOIN side USING (item) WHERE rating <> 3",
        "side_tables": {"side": {"format": "csv", "files": side}},
    }
    found = lab.run(
        lab.write("a.parquet", table),
        source=source,
        features={
            "item": {"type": "id", "dtype": "int64"},
            "maker": {"type": "id", "dtype": "string"},
            "price": {"type": "dense"},
        },
        split={"by": "hash", "columns": ["n"]},
    )
    assert found.rows_read == 100
    assert found.rows_removed_by_select == 25
    assert found.rows_added_by_select == 25
    assert sum(found.rows(split) for split in found.shards) == 100
    makers = [row.get("maker", [None])[0] for row in lab.all_examples()]
    assert makers.count(b"acme") == makers.count(b"bolt") == 25
    assert makers.count("çelik".encode()) == makers.count(None) == 25
    assert all(row["price"] == [1.5] for row in lab.all_examples())


def test_masks_weights_and_training_only(lab):
    table = pa.table(
        {
            "item": list(range(60)),
            "bought": [1] * 60,
            "seen": [i % 2 for i in range(60)],
            "w": [0.5] * 60,
        }
    )
    item = {"type": "id", "dtype": "int64", "training_only": True}
    found = lab.run(
        lab.write("a.parquet", table),
        features={"item": {**item, "serving_value": 3}},
        labels={"buy": {"column": "bought", "mask": "seen"}},
        weight="w",
    )
    schema = lab.folder.read_schema()
    assert schema.weight and schema.id_features["item"].serving_value == 3
    for row in lab.all_examples():
        assert row["example_weight"] == [0.5]
        assert ("buy" in row) == (row["item"][0] % 2 == 1)
    assert found.labels["buy"].observed == found.labels["buy"].positives


def test_progress(lab):
    seen = []
    preprocess.run(
        lab.config(lab.write("a.parquet", log())),
        artifacts.DatasetFolder(lab.path / "other"),
        on_progress=lambda stage, rows: seen.append((stage, rows)),
    )
    assert sum(rows for _, rows in seen) == N


def test_the_job_loads_neither_tensorflow_nor_keras():
    program = (
        "import sys, beam_jobs.preprocess, beam_jobs\n"
        "print(*[m for m in ('tensorflow', 'keras') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == ""
