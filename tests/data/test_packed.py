"""Packed datasets beside plain ones of the same rows."""

import shutil

import google_crc32c
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from tests.support import datasets
from tfplugin import artifacts
from tfplugin import data
from tfplugin import schema as schema_lib

SCHEMA = schema_lib.Schema(
    id_features={
        "item": schema_lib.IdFeature(dtype="int64", table="item"),
        "word": schema_lib.IdFeature(dtype="string", table="word"),
        "seen": schema_lib.IdFeature(dtype="int64", table="item", is_list=True),
        "tags": schema_lib.IdFeature(
            dtype="string", table="word", is_list=True
        ),
    },
    dense_features={"price": schema_lib.DenseFeature()},
    labels=("click", "buy"),
    weight=True,
)
MISSING = {"int64": schema_lib.MISSING_INT64, "string": ""}


def rows_of(count, seed=0):
    rng = np.random.default_rng(seed)
    return [
        {
            "item": k,
            "word": f"w{k}" if k % 5 else None,
            "seen": rng.integers(-9, 9, k % 4).tolist(),
            "tags": [f"t{j}" for j in range(k % 3)],
            "price": k / 2 if k % 7 else None,
            "click": float(k % 2),
            "buy": 1.0 if k % 3 == 0 else None,
            "example_weight": 1.0 + k % 2,
        }
        for k in range(count)
    ]


def pack(rows, schema):
    """One record of rows, by the description in docs/architecture.md."""
    values = {}
    for name, feature in schema.id_features.items():
        column = [row.get(name) for row in rows]
        if feature.is_list:
            lists = [value or [] for value in column]
            values[name] = sum(lists, [])
            values[f"{name}_length"] = [len(one) for one in lists]
        else:
            missing = MISSING[feature.dtype]
            values[name] = [missing if v is None else v for v in column]
    floats = [(name, float("nan")) for name in schema.dense_features]
    floats += [(name, -1.0) for name in schema.labels]
    floats += [("example_weight", 0.0)] if schema.weight else []
    for name, missing in floats:
        column = [row.get(name) for row in rows]
        values[name] = [missing if v is None else v for v in column]
    feature = {}
    for name, column in values.items():
        if not column:
            continue
        if isinstance(column[0], str):
            encoded = [value.encode() for value in column]
            kind = {"bytes_list": tf.train.BytesList(value=encoded)}
        elif isinstance(column[0], float):
            kind = {"float_list": tf.train.FloatList(value=column)}
        else:
            kind = {"int64_list": tf.train.Int64List(value=column)}
        feature[name] = tf.train.Feature(**kind)
    return tf.train.Example(
        features=tf.train.Features(feature=feature)
    ).SerializeToString()


def write(path, schema, rows, rows_per_record=None, num_shards=3):
    """A plain dataset, or its twin whose shards hold packed records."""
    folder = datasets.write_dataset(path, schema, rows, num_shards)
    if rows_per_record is None:
        return folder
    shards = {}
    for split in schema_lib.SPLITS:
        shards[split] = []
        for shard in range(num_shards):
            name = f"part-{shard:05d}-of-{num_shards:05d}.tfrecord.gz"
            file = folder.split(split) / name
            mine = rows[split][shard::num_shards]
            with tf.io.TFRecordWriter(str(file), "GZIP") as writer:
                for first in range(0, len(mine), rows_per_record):
                    part = mine[first : first + rows_per_record]
                    writer.write(pack(part, schema))
            content = file.read_bytes()
            shards[split].append(
                schema_lib.Shard(
                    name=name,
                    rows=len(mine),
                    bytes=len(content),
                    crc32c=google_crc32c.value(content),
                )
            )
    packed = {"format": "packed", "rows_per_record": rows_per_record}
    schema_lib.write_record(
        folder.schema_json, schema.model_copy(update=packed)
    )
    statistics = folder.read_statistics()
    schema_lib.write_record(
        folder.statistics_json,
        statistics.model_copy(
            update={"shards": {k: tuple(v) for k, v in shards.items()}}
        ),
    )
    return folder


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    rows = {
        "train": rows_of(1001),
        "validation": rows_of(50, 1),
        "test": rows_of(7, 2),
    }
    root = tmp_path_factory.mktemp("both")
    return [
        data.open_dataset(
            write(root / str(size), SCHEMA, rows, rows_per_record=size).path
        )
        for size in (None, 32)
    ]


def plain_rows(batches):
    """One dict a row, of plain values; the order of batches and rows."""
    rows = []
    for features, labels, weights in batches:
        columns = dict(features)
        for name in labels:
            columns[f"label {name}"] = labels[name]
            columns[f"weight {name}"] = weights[name]
        listed = {
            name: column.to_list()
            if isinstance(column, tf.RaggedTensor)
            else column.numpy().tolist()
            for name, column in columns.items()
        }
        # NaN equals nothing, so compare what it is written as.
        rows += [
            {name: repr(value) for name, value in zip(listed, row, strict=True)}
            for row in zip(*listed.values(), strict=True)
        ]
    return rows


def items(rows):
    return [int(row["item"]) for row in rows]


def by_item(rows):
    return sorted(rows, key=lambda row: int(row["item"]))


def test_batches_are_the_same_kind_of_thing(both):
    plain, packed = (one.train(100) for one in both)
    assert packed.element_spec == plain.element_spec
    for name in ("validation", "test"):
        specs = [getattr(one, name)(100).element_spec for one in both]
        assert specs[0] == specs[1]
    assert packed.cardinality() == plain.cardinality() == 11


def test_the_same_rows_in_every_split(both):
    plain, packed = both
    for read in (
        lambda one: one.train(100, epochs=range(1), shuffle_rows=64),
        lambda one: one.validation(20),
        lambda one: one.test(20),
    ):
        want, got = plain_rows(read(plain)), plain_rows(read(packed))
        assert by_item(got) == by_item(want)
    assert items(plain_rows(packed.validation(7))) == items(
        plain_rows(packed.validation(50))
    )


def test_batches_have_their_size(both):
    for size in (7, 5000):
        batches = both[1].train(size, epochs=range(2), shuffle_rows=64)
        sizes = [len(labels["click"]) for _, labels, _ in batches]
        epoch = [size] * (1001 // size) + [1001 % size] * (1001 % size > 0)
        assert sizes == epoch * 2


def test_orders_are_functions_of_seed_and_epoch(both):
    packed = both[1]

    def read(epochs, seed=3, batch_size=100):
        return items(
            plain_rows(
                packed.train(
                    batch_size, seed=seed, epochs=epochs, shuffle_rows=200
                )
            )
        )

    both_epochs = read(range(2))
    first, second = both_epochs[:1001], both_epochs[1001:]
    assert first != second
    assert sorted(first) == sorted(second) == list(range(1001))
    assert read(range(1, 2)) == second
    assert read(range(1), seed=4) != first
    assert read(range(1), batch_size=33) == first
    tf.random.set_seed(5)
    try:
        assert read(range(1)) == first
    finally:
        tf.random.set_seed(None)
    again = packed.train(100)
    assert plain_rows(again) != plain_rows(again)


def test_a_window_of_all_rows_mixes_all_rows(both):
    order = items(plain_rows(both[1].train(1001, epochs=range(1))))
    places = np.argsort(order)
    # Rows of one record (32 of one shard, in order) end up far apart.
    gaps = np.abs(np.diff(places[0:96:3]))
    assert gaps.mean() > 200
    # No batch is a run of neighbours of the log.
    assert abs(np.corrcoef(np.arange(1001), order)[0, 1]) < 0.2


def expected(rows):
    """What `plain_rows` gives for rows, by the contract of the parser."""
    return [
        {
            "item": repr(row["item"]),
            "word": repr((row["word"] or "").encode()),
            "seen": repr(row["seen"]),
            "tags": repr([tag.encode() for tag in row["tags"]]),
            "price": repr(
                float("nan") if row["price"] is None else row["price"]
            ),
            "label click": repr([row["click"]]),
            "weight click": repr(row["example_weight"]),
            "label buy": repr([row["buy"] or 0.0]),
            "weight buy": repr(
                row["example_weight"] if row["buy"] is not None else 0.0
            ),
        }
        for row in rows
    ]


@given(
    count=st.integers(0, 60),
    rows_per_record=st.integers(1, 70),
    batch_size=st.integers(1, 70),
    shuffle_rows=st.integers(1, 70),
)
@settings(max_examples=4, deadline=None)
def test_any_sizes(
    tmp_path_factory, count, rows_per_record, batch_size, shuffle_rows
):
    rows = {"train": rows_of(count + 2), "validation": [], "test": []}
    path = tmp_path_factory.mktemp("any") / "d"
    dataset = data.open_dataset(
        write(path, SCHEMA, rows, rows_per_record, 2).path
    )
    got = plain_rows(
        dataset.train(batch_size, epochs=range(1), shuffle_rows=shuffle_rows)
    )
    assert by_item(got) == expected(rows["train"])
    assert plain_rows(dataset.validation(batch_size)) == []


def test_time_order_is_kept(tmp_path):
    schema = SCHEMA.model_copy(update={"order": "time"})
    rows = rows_of(900)
    # Dealt to three shards in turn: so that shard after shard is in order.
    dealt = [rows[k // 3 + k % 3 * 300] for k in range(900)]
    folder = write(
        tmp_path / "d", schema, dict.fromkeys(schema_lib.SPLITS, dealt), 64
    )
    dataset = data.open_dataset(folder.path)
    for batches in (
        dataset.train(100, epochs=range(1)),
        dataset.train(100),
        dataset.validation(7),
    ):
        assert items(plain_rows(batches)) == list(range(900))


@pytest.mark.parametrize(
    "keep",
    [{"tags"}, {"price"}, {"word", "seen"}],
)
def test_some_columns_only(both, keep):
    found = []
    for dataset in both:
        narrowed = dataset.folder.read_schema().select(keep, ["buy"])
        dataset = data.open_dataset(dataset.folder.path)
        dataset.schema = narrowed
        rows = plain_rows(dataset.train(64, epochs=range(1)))
        found.append(sorted(str(sorted(row.items())) for row in rows))
    assert found[0] == found[1]


def test_records_of_lists_alone_know_their_rows():
    schema = schema_lib.Schema(
        id_features={"tags": SCHEMA.id_features["tags"]}, labels=()
    )
    records = [
        pack([{"tags": []}, {"tags": ["a"]}, {}], schema),
        pack([], schema),
    ]
    features, labels, _ = data.parse_packed(tf.constant(records), schema)
    assert features["tags"].to_list() == [[], [b"a"], []]
    assert labels == {}


def test_columns_of_different_lengths_are_refused():
    schema = SCHEMA.select(["item"], ["click"]).model_copy(
        update={"weight": False}
    )
    example = tf.train.Example.FromString(pack(rows_of(3), schema))
    example.features.feature["item"].int64_list.value.append(9)
    record = tf.constant([example.SerializeToString()])
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="item, click|rows"
    ):
        data.parse_packed(record, schema)
    dataset = tf.data.Dataset.from_tensors(record).map(
        lambda one: data.parse_packed(one, schema)[1]
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="as many rows"):
        list(dataset)


def test_lengths_that_are_not_those_of_the_values_are_refused():
    schema = SCHEMA.select(["seen"], ["click"]).model_copy(
        update={"weight": False}
    )
    example = tf.train.Example.FromString(pack(rows_of(4), schema))
    example.features.feature["seen"].int64_list.value.append(9)
    with pytest.raises(tf.errors.InvalidArgumentError):
        data.parse_packed(tf.constant([example.SerializeToString()]), schema)


def test_a_shard_whose_end_is_cut_off_is_refused(both, tmp_path):
    shutil.copytree(both[1].folder.path, tmp_path / "d")
    folder = artifacts.DatasetFolder(tmp_path / "d")
    (shard, *_) = sorted(folder.split("train").iterdir())
    shard.write_bytes(shard.read_bytes()[:-20])
    with pytest.raises(ValueError, match=shard.name):
        data.open_dataset(folder.path)
