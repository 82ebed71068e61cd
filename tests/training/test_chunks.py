import json

import keras
import numpy as np
import pytest

from tests.support import datasets
from tests.support import experiments
from tfplugin import config as config_lib
from tfplugin import data
from tfplugin import schema as schema_lib
from tfplugin import training
from tfplugin.errors import InputError
from tfplugin.training import model_building

SPLITS = ("train", "validation", "test")
#: Users in training rows of one log only, and one of the other splits.
PLANTED = {"first": 1001, "added-00001": 1002, "elsewhere": 1003}


class _StopAfter(keras.callbacks.Callback):
    """Dies as a killed process would, after an epoch was saved."""

    def __init__(self, epochs):
        super().__init__()
        self._epochs = epochs

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self._epochs:
            raise KeyboardInterrupt


def _planted(rows, user):
    return [row | {"user": user} for row in rows[:4]] + rows[4:]


def _add_log(folder):
    """Makes each split's second shard that of an added log."""
    statistics = folder.read_statistics()
    shards = {}
    for split in SPLITS:
        first, second = statistics.shards[split]
        name = "added-00001/part-00000-of-00001.tfrecord.gz"
        (folder.split(split) / name).parent.mkdir()
        (folder.split(split) / second.name).rename(folder.split(split) / name)
        shards[split] = (first, second.model_copy(update={"name": name}))
    addition = schema_lib.Addition(
        name="added-00001", source_files=(), rows_read=0, rows={}
    )
    changes = {"shards": shards, "additions": (addition,)}
    schema_lib.write_record(
        folder.statistics_json, statistics.model_copy(update=changes)
    )


def _make(path, *overrides):
    """A dataset of two logs, 120 and 119 training rows."""
    path.mkdir(exist_ok=True)
    config, work = experiments.make(
        path,
        "training.telemetry=false",
        "training.epochs=2",
        "training.batch_size=50",
        *overrides,
    )
    first = _planted(experiments.rows(120, 3), PLANTED["first"])
    second = _planted(experiments.rows(119, 4), PLANTED["added-00001"])
    held = _planted(experiments.rows(80, 5), PLANTED["elsewhere"])
    # A shard has every second row.
    train = [None] * 239
    train[::2], train[1::2] = first, second
    path = work.dataset.path
    path.rename(path.with_name("unused"))
    datasets.write_dataset(
        path,
        experiments.SCHEMA,
        {"train": train, "validation": held, "test": held},
    )
    _add_log(work.dataset)
    return config, work


def _users(batches):
    return np.concatenate([x["user"].numpy().ravel() for x, *_ in batches])


def test_a_chunk_has_its_own_training_rows_alone(tmp_path):
    _, work = _make(tmp_path)
    dataset = data.open_dataset(work.dataset.path)
    assert dataset.chunks == ("first", "added-00001")
    assert dataset.chunk is None
    whole = _users(dataset.train(50, epochs=range(1)))
    parts = []
    for name, rows in (("first", 120), ("added-00001", 119)):
        chunk = dataset.of_chunk(name)
        assert (chunk.chunk, chunk.rows("train")) == (name, rows)
        assert chunk.num_batches("train", 50) == 3
        for epochs in (None, range(5, 7)):
            found = _users(chunk.train(50, epochs=epochs))
            assert len(found) == rows * (2 if epochs else 1)
            planted = set(PLANTED.values()) & set(found.tolist())
            assert planted == {PLANTED[name]}
        parts.append(_users(chunk.train(50, epochs=range(1))))
        for split in ("validation", "test"):
            np.testing.assert_array_equal(
                _users(getattr(chunk, split)(50)),
                _users(getattr(dataset, split)(50)),
            )
        chunk.verify_checksums()
    np.testing.assert_array_equal(
        np.sort(np.concatenate(parts)), np.sort(whole)
    )
    with pytest.raises(InputError, match="first, added-00001"):
        dataset.of_chunk("added-00002")


@pytest.mark.parametrize("chunks", ["in_order", "last"])
def test_a_chunk_without_training_rows_is_refused(tmp_path, chunks):
    config, work = _make(tmp_path, f"training.chunks={chunks}")
    statistics = work.dataset.read_statistics()
    first = statistics.shards["train"][:1]
    shards = {**statistics.shards, "train": first}
    schema_lib.write_record(
        work.dataset.statistics_json,
        statistics.model_copy(update={"shards": shards}),
    )
    with pytest.raises(InputError, match="chunk added-00001 .* none"):
        training.assemble(config, work)


def _train(config, work, **options):
    """The history, and all weights and state that training ends with."""
    seen = []
    history = training.train(
        config,
        work,
        extra_callbacks=lambda experiment: seen.append(experiment) or [],
        **options,
    )
    return history, _weights(seen[0].model)


def _weights(model):
    # Keras numbers the names of generators through all models.
    kept = [*model.variables, *model.optimizer.variables]
    return [(v.path.split("/")[-1], v.numpy()) for v in kept]


def _assert_equal(found, expected):
    assert len(found) == len(expected)
    for (name, one), (_, other) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=name)


def test_chunks_in_order_are_those_trainings_one_by_one(tmp_path):
    overrides = ["training.chunks=in_order"]
    config, work = _make(tmp_path / "whole", *overrides)
    history, whole = _train(config, work)
    assert [(e["epoch"], e["chunk"], e["pass"]) for e in history["epochs"]] == [
        (1, "first", 1),
        (2, "first", 2),
        (3, "added-00001", 1),
        (4, "added-00001", 2),
    ]
    assert history["steps_per_epoch"] == 3
    assert history["rows"]["train"] == 239
    # By hand: a step at a time, from a model assembled anew.
    by_hand = training.assemble(config, work)
    for epoch, name in enumerate(["first"] * 2 + ["added-00001"] * 2):
        chunk = by_hand.dataset.of_chunk(name)
        epochs = range(epoch, epoch + 1)
        for batch in chunk.train(50, epochs=epochs, shuffle_rows=200):
            by_hand.model.train_on_batch(*batch)
    _assert_equal(_weights(by_hand.model), whole)
    # Cut off in the second chunk.
    config, cut = _make(tmp_path / "cut", *overrides)
    with pytest.raises(KeyboardInterrupt):
        training.train(config, cut, extra_callbacks=lambda _: [_StopAfter(3)])
    longer = config_lib.load(cut.config, ["training.epochs=3"])
    with pytest.raises(InputError, match=r"training\.epochs"):
        training.train(longer, cut, resume=True)
    resumed, weights = _train(config, cut, resume=True)
    assert [e["pass"] for e in resumed["epochs"]] == [1, 2, 1, 2]
    _assert_equal(weights, whole)


def test_the_last_chunk_alone_is_all_that_is_read(tmp_path):
    config, work = _make(tmp_path, "training.chunks=last")
    experiment = training.assemble(config, work)
    users = model_building.embedding_layers(experiment.model)[0]
    fresh = users.embeddings.numpy()
    history = training.train(config, work)
    assert {e["chunk"] for e in history["epochs"]} == {"added-00001"}
    assert [e["pass"] for e in history["epochs"]] == [1, 2]
    assert history["rows"]["train"] == 119
    assert json.loads(work.history.read_text())["steps_per_epoch"] == 3
    trained = training.load(work).model
    found = model_building.embedding_layers(trained)[0].embeddings.numpy()
    rows = users.id_mapping(np.array([*PLANTED.values()])).numpy()
    moved = (found != fresh).any(axis=1)[rows]
    # The row of unknown ids stands for the id of validation and test.
    assert rows[2] == 1
    assert moved[:2].tolist() == [False, True]
