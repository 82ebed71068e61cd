import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.support import datasets
from tfplugin import data
from tfplugin import schema as schema_lib
from tfplugin.errors import InputError

SCHEMA = schema_lib.Schema(
    id_features={"item": schema_lib.IdFeature(dtype="int64", table="item")},
    labels=("click",),
)


def _rows(begin, end):
    return [{"item": k, "click": float(k % 3 == 0)} for k in range(begin, end)]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return datasets.write_dataset(
        tmp_path_factory.mktemp("dataset") / "dataset",
        SCHEMA,
        {
            "train": _rows(0, 1001),
            "validation": _rows(2000, 2050),
            "test": _rows(3000, 3007),
        },
        num_shards=3,
    )


@pytest.fixture
def copied(written, tmp_path):
    shutil.copytree(written.path, tmp_path / "dataset")
    return tmp_path / "dataset"


def _items(batches):
    return [b[0]["item"].numpy().tolist() for b in batches]


def test_an_epoch_holds_every_row_once(written):
    dataset = data.open_dataset(written.path)
    batches = _items(dataset.train(100, epochs=range(1), shuffle_rows=64))
    assert [len(b) for b in batches] == [100] * 10 + [1]
    assert sorted(sum(batches, [])) == list(range(1001))
    assert len(batches) == dataset.num_batches("train", 100)


def test_epochs_differ_and_are_functions_of_seed_and_epoch(written):
    dataset = data.open_dataset(written.path)
    both = _items(dataset.train(100, seed=3, epochs=range(2)))
    first, second = both[:11], both[11:]
    assert first != second
    assert _items(dataset.train(100, seed=3, epochs=range(1, 2))) == second
    assert _items(dataset.train(100, seed=4, epochs=range(1))) != first
    # No batch is a run of neighbours of the log.
    correlation = np.corrcoef(np.arange(1000), sum(first, [])[:1000])[0, 1]
    assert abs(correlation) < 0.2


@pytest.mark.parametrize("global_seed", [0, 5])
def test_the_global_seed_does_not_matter(written, global_seed):
    dataset = data.open_dataset(written.path)
    before = _items(dataset.train(100, seed=3, epochs=range(1)))
    tf.random.set_seed(global_seed)
    try:
        after = _items(dataset.train(100, seed=3, epochs=range(1)))
    finally:
        tf.random.set_seed(None)
    assert before == after


def test_each_iteration_has_another_order(written):
    batches = data.open_dataset(written.path).train(100)
    first, second = _items(batches), _items(batches)
    assert first != second
    assert sorted(sum(first, [])) == sorted(sum(second, []))


def test_cardinality_is_known(written):
    dataset = data.open_dataset(written.path)
    assert dataset.train(100).cardinality() == 11
    assert dataset.train(100, epochs=range(2, 5)).cardinality() == 33
    assert dataset.validation(20).cardinality() == 3
    assert dataset.test(20).cardinality() == 1


def test_validation_and_test_come_whole_and_in_order(written):
    dataset = data.open_dataset(written.path)
    items = sum(_items(dataset.validation(20)), [])
    assert sorted(items) == list(range(2000, 2050))
    assert items == sum(_items(dataset.validation(7)), [])
    assert sorted(sum(_items(dataset.test(20)), [])) == list(range(3000, 3007))


def test_without_completed(copied):
    (copied / "COMPLETED").unlink()
    with pytest.raises(InputError, match="COMPLETED.*unfinished"):
        data.open_dataset(copied)


def test_absent(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        data.open_dataset(tmp_path / "nothing")


def test_schema_that_is_no_schema(copied):
    (copied / "schema.json").write_text('{"version": 9}')
    with pytest.raises(InputError, match="schema.json"):
        data.open_dataset(copied)


def _shard(copied):
    return sorted((copied / "train").iterdir())[1]


def test_a_shard_cut_in_the_middle(copied):
    shard = _shard(copied)
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(InputError, match=shard.name):
        data.open_dataset(copied)


def test_a_missing_shard(copied):
    shard = _shard(copied)
    shard.unlink()
    with pytest.raises(InputError, match=f"{shard.name}.*absent"):
        data.open_dataset(copied)


@pytest.mark.parametrize("position", [0, 5, 100, -3])
def test_a_flipped_byte_anywhere_is_found(copied, position):
    shard = _shard(copied)
    content = bytearray(shard.read_bytes())
    content[position] ^= 0x10
    shard.write_bytes(content)
    dataset = data.open_dataset(copied)
    with pytest.raises(InputError, match=f"{shard.name}.*checksum"):
        dataset.verify_checksums()


def test_a_changed_frequency_file_is_found(tmp_path):
    rows = _rows(0, 9)
    folder = datasets.write_dataset(
        tmp_path / "d", SCHEMA, dict.fromkeys(schema_lib.SPLITS, rows)
    )
    dataset = data.open_dataset(folder.path)
    dataset.verify_checksums()
    (path,) = folder.id_frequencies("item").iterdir()
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="item.*checksum"):
        dataset.verify_checksums()
    path.unlink()
    with pytest.raises(InputError, match="item.*absent"):
        data.open_dataset(folder.path)


def test_time_order_reaches_the_reader(tmp_path):
    schema = SCHEMA.model_copy(update={"order": "time"})
    rows = _rows(0, 900)
    # Written round robin by the support module: deal the rows out so that
    # shard after shard is in order.
    dealt = [rows[k // 3 + k % 3 * 300] for k in range(900)]
    folder = datasets.write_dataset(
        tmp_path / "d",
        schema,
        {"train": dealt, "validation": dealt, "test": dealt},
        num_shards=3,
    )
    dataset = data.open_dataset(folder.path)
    for batches in (
        dataset.train(100, epochs=range(1)),
        dataset.train(100),
        dataset.validation(100),
        dataset.test(7),
    ):
        assert sum(_items(batches), []) == list(range(900))


class _Model:
    """As much of a Keras model as is looked at."""

    def __init__(self, inputs, outputs):
        self.input = inputs
        self.output = outputs


def test_a_dataset_for_a_model_has_its_columns_only(tmp_path):
    schema = SCHEMA.model_copy(
        update={
            "dense_features": {"price": schema_lib.DenseFeature()},
            "labels": ("click", "buy"),
        }
    )
    rows = [
        {"item": k, "price": 1.0, "click": k % 2 * 1.0, "buy": 0.0}
        for k in range(9)
    ]
    folder = datasets.write_dataset(
        tmp_path / "d", schema, dict.fromkeys(schema_lib.SPLITS, rows)
    )
    dataset = data.open_dataset(folder.path)
    logit = tf.TensorSpec([None, 1])
    narrowed = dataset.for_model(_Model({"price": None}, {"buy": logit}))
    features, labels, weights = next(iter(narrowed.train(9)))
    assert (set(features), set(labels), set(weights)) == (
        {"price"},
        {"buy"},
        {"buy"},
    )
    assert set(next(iter(dataset.train(9)))[0]) == {"item", "price"}
    for model, words in [
        (_Model({"age": None}, {"buy": logit}), r"\['age'\]"),
        (_Model({"price": None}, {"cart": logit}), r"\['cart'\]"),
        (_Model({"price": None}, logit), "outputs must be a dict"),
        (_Model([None], {"buy": logit}), "inputs must be a dict"),
        (
            _Model({"price": None}, {"buy": tf.TensorSpec([None, 3])}),
            "shape",
        ),
    ]:
        with pytest.raises(InputError, match=words):
            dataset.for_model(model)
