"""Telemetry against references that see rows and weights another way."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml
from sklearn import metrics as sklearn_metrics

from tests.support import datasets
from tests.support import experiments
from tfplugin import artifacts
from tfplugin import config as config_lib
from tfplugin import data
from tfplugin import layers
from tfplugin import metrics
from tfplugin import schema as schema_lib
from tfplugin import training
from tfplugin.training import row_samples

SCHEMA = experiments.SCHEMA.model_copy(
    update={"group": "int64", "request_id": "string"}
)
PLANTED = 10**12


def _rows(count, seed):
    return [
        row | {"group_key": row["user"], "request_id": f"request {k // 5}"}
        for k, row in enumerate(experiments.rows(count, seed))
    ]


ROWS = {
    "train": _rows(500, 0),
    # An id that only rows outside of training hold, and hold often.
    "validation": [
        row | ({"user": PLANTED} if k % 3 == 0 else {})
        for k, row in enumerate(_rows(200, 1))
    ],
    "test": _rows(100, 2),
}


def _make(path, *overrides):
    work = artifacts.WorkFolder(path / "work")
    work.prepare()
    datasets.write_dataset(work.dataset.path, SCHEMA, ROWS)
    (path / "small.yaml").write_text(yaml.safe_dump(experiments.CONFIG))
    config = config_lib.load(
        path / "small.yaml",
        ["training.epochs=2", "training.telemetry=true", *overrides],
    )
    work.config.write_text(config_lib.dump(config))
    return config, work


class _Witness(keras.callbacks.Callback):
    """Remembers the mean losses so far, and weights after each epoch."""

    def __init__(self):
        super().__init__()
        self.losses = []
        self.weights = []

    def on_epoch_begin(self, epoch, logs=None):
        self.losses.append([])

    def on_train_batch_end(self, batch, logs=None):
        self.losses[-1].append(logs["loss"])

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append([v.numpy() for v in self.model.variables])


class _StopAfter(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    config, work = _make(tmp_path_factory.mktemp("telemetry"))
    witness = _Witness()
    training.train(config, work, extra_callbacks=lambda _: [witness])
    return work, json.loads(work.history.read_text()), witness


def _predict(model, rows):
    """Logits of plain rows, without a dataset."""

    def column(name, missing):
        return [missing if r[name] is None else r[name] for r in rows]

    features = {
        "user": tf.constant(column("user", schema_lib.MISSING_INT64), tf.int64),
        "city": tf.constant(column("city", "")),
        "tags": tf.RaggedTensor.from_row_lengths(
            tf.constant([t for r in rows for t in r["tags"]]),
            tf.constant([len(r["tags"]) for r in rows], tf.int64),
        ),
        "position": tf.constant(column("position", 0), tf.int64),
        "price": tf.constant(column("price", float("nan")), tf.float32),
    }
    logits = model(features, training=False)
    return {name: one.numpy().reshape(-1) for name, one in logits.items()}


def _bucket(rows, table, row):
    """The bucket of a row's rarest id, counted by hand."""
    ids = row[table] if isinstance(row[table], list) else [row[table]]
    counts = [
        sum(
            (one[table] or []).count(id_)
            if isinstance(one[table], list)
            else one[table] == id_
            for one in rows
        )
        for id_ in ids
        if id_ is not None
    ]
    return (
        metrics.BUCKETS[metrics.bucket_of(min(counts))]
        if counts
        else ("missing")
    )


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("objective", ["click", "buy"])
def test_a_pass_measures_what_rows_say(trained, split, objective):
    work, history, _ = trained
    found = history["epochs"][-1]["telemetry"]["validation"]
    if split == "test":
        found = history["test"]["telemetry"]
    found = found["objectives"][objective]
    rows = ROWS[split]
    logits = _predict(training.load(work).model, rows)[objective]
    seen = [k for k, row in enumerate(rows) if row[objective] is not None]
    labels = np.array([rows[k][objective] or 0 for k in range(len(rows))])
    for table in ("user", "tags"):
        buckets = [_bucket(ROWS["train"], table, row) for row in rows]
        by_name = {one["bucket"]: one for one in found["tables"][table]}
        assert set(by_name) == {buckets[k] for k in seen}
        for name, one in by_name.items():
            mine = [k for k in seen if buckets[k] == name]
            assert one["rows"] == len(mine)
            assert one["positives"] == labels[mine].sum()
            if 0 < one["positives"] < one["rows"]:
                assert one["auc"] == pytest.approx(
                    sklearn_metrics.roc_auc_score(labels[mine], logits[mine])
                )
            if one["positives"]:
                chances = 1 / (1 + np.exp(-logits[mine].astype(np.float64)))
                assert one["calibration"] == pytest.approx(
                    chances.sum() / labels[mine].sum(), rel=1e-5
                )
    for key, name in (("group_key", "group"), ("request_id", "request")):
        areas, sizes = [], []
        groups = [rows[k][key] for k in seen]
        for group in {g for g in groups if g is not None}:
            mine = [k for k in seen if rows[k][key] == group]
            if 0 < labels[mine].sum() < len(mine):
                areas.append(
                    sklearn_metrics.roc_auc_score(labels[mine], logits[mine])
                )
                sizes.append(len(mine))
        assert found[name]["groups"] == len(areas) > 0
        expected = np.average(areas, weights=sizes)
        assert found[name]["auc"] == pytest.approx(expected)
    curve = found["calibration_curve"]
    assert sum(point["rows"] for point in curve) == len(seen)


def test_an_id_that_training_lacks_is_in_bucket_0(trained):
    _, history, _ = trained
    for epoch in history["epochs"]:
        click = epoch["telemetry"]["validation"]["objectives"]["click"]
        unseen = {one["bucket"]: one for one in click["tables"]["user"]}["0"]
        users = {row["user"] for row in ROWS["train"]}
        strangers = sum(
            row["user"] is not None and row["user"] not in users
            for row in ROWS["validation"]
        )
        assert unseen["rows"] == strangers >= 67


def test_jumps_and_gaps_are_those_of_the_steps(trained):
    _, history, witness = trained
    lasts = []
    for epoch, means in zip(history["epochs"], witness.losses, strict=True):
        # 500 rows in 8 batches, the last of which is smaller.
        steps = np.diff([0.0, *(k * m for k, m in enumerate(means, 1))])
        found = epoch["telemetry"]["training_loss"]
        assert found["window"] == 2
        assert found["first"] == pytest.approx(steps[:2].mean(), rel=1e-4)
        assert found["last"] == pytest.approx(steps[5:7].mean(), rel=1e-4)
        if lasts:
            jump = found["first"] - lasts[-1]
            assert found["jump"] == pytest.approx(jump, abs=1e-9)
        else:
            assert found["jump"] is None
        lasts.append(found["last"])
        gap = epoch["telemetry"]["generalization_gap"]["buy"]
        train, held_out = (
            epoch[split]["objectives"]["buy"]
            for split in ("train", "validation")
        )
        assert gap["auc"] == pytest.approx(train["auc"] - held_out["auc"])
        assert gap["loss"] == pytest.approx(held_out["loss"] - train["loss"])


def test_rows_are_compared_with_those_of_the_epochs_begin(trained):
    work, history, witness = trained
    names = [v.path for v in training.load(work).model.variables]
    place = next(k for k, name in enumerate(names) if "user" in name)
    before, after = (weights[place] for weights in witness.weights)
    frequencies = data.open_dataset(work.dataset.path).id_frequencies("user")
    kept = frequencies.with_min_count(2).counts
    buckets = metrics.bucket_of(kept)
    rows = {
        row["bucket"]: row
        for row in history["epochs"][-1]["telemetry"]["rows"]["user"]
    }
    assert set(rows) == {metrics.BUCKETS[k] for k in buckets}
    for name, row in rows.items():
        mine = 2 + np.flatnonzero(buckets == metrics.BUCKETS.index(name))
        assert row["rows"] == row["sampled"] == len(mine)
        change = after[mine].astype(np.float64) - before[mine]
        norms = np.linalg.norm(after[mine], axis=1)
        assert row["norm"] == pytest.approx(norms.mean(), rel=1e-6)
        update = np.linalg.norm(change, axis=1).mean()
        assert row["update"] == pytest.approx(update, rel=1e-6)
        assert row["touched"] == (change != 0).any(axis=1).mean()


def test_telemetry_changes_no_weight(trained, tmp_path):
    work, _, _ = trained
    config, other = _make(tmp_path, "training.telemetry=false")
    history = training.train(config, other)
    assert [epoch["telemetry"] for epoch in history["epochs"]] == [None] * 2
    assert "telemetry" not in history["test"]
    assert not (other.logs / "telemetry").exists()
    for one, two in zip(
        training.load(work).model.variables,
        training.load(other).model.variables,
        strict=True,
    ):
        np.testing.assert_array_equal(one.numpy(), two.numpy())


def _timeless(value):
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if k != "seconds"}
    return value


def test_a_resumed_training_tells_the_same(trained, tmp_path):
    _, whole, _ = trained
    config, work = _make(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        training.train(config, work, extra_callbacks=lambda _: [_StopAfter()])
    training.train(config, work, resume=True)
    resumed = json.loads(work.history.read_text())
    for one, two in zip(whole["epochs"], resumed["epochs"], strict=True):
        assert _timeless(one["telemetry"]) == _timeless(two["telemetry"])
    assert _timeless(whole["test"]["telemetry"]) == _timeless(
        resumed["test"]["telemetry"]
    )


def test_tensorboard_gets_an_event_file_and_no_other_file_stays(trained):
    work, _, _ = trained
    (events,) = (work.logs / "telemetry").iterdir()
    assert events.name.startswith("events.out.tfevents")
    tags = {
        value.tag
        for record in tf.data.TFRecordDataset(str(events))
        for value in tf.compat.v1.Event.FromString(record.numpy()).summary.value
    }
    assert "auc/click/user/0" in tags
    assert "rows_update/user/2-4" in tags
    assert "training_loss/jump" in tags
    assert "group_auc/buy" in tags


def test_a_large_bucket_is_sampled():
    mapping = layers.VocabularyMapping(np.arange(5000))
    layer = layers.Embedding(embedding_dim=2, id_mapping=mapping)
    layer.build()
    counts = data.IdFrequencies.from_counts(
        np.arange(5000), np.where(np.arange(5000) < 3, 100, 1)
    )
    sample = row_samples.RowSample(layer, counts, seed=3)
    sample.begin()
    before = layer.embeddings.numpy()
    change = np.zeros_like(before)
    change[2:, 0] = np.arange(5000) % 2
    layer.embeddings.assign(before + change)
    rare, often = sample.end()
    assert (rare["rows"], rare["sampled"]) == (4997, row_samples.SAMPLE_ROWS)
    assert rare["touched"] == pytest.approx(0.5, abs=0.05)
    assert rare["update"] == pytest.approx(rare["touched"], rel=1e-4)
    assert (often["bucket"], often["sampled"]) == ("65-256", 3)
    again = row_samples.RowSample(layer, counts, seed=3)
    again.begin()
    layer.embeddings.assign(before)
    assert again.end()[0]["touched"] == rare["touched"]


def test_a_layer_without_ids_has_no_rows_by_frequency():
    layer = layers.Embedding(10, 2)
    counts = data.IdFrequencies.from_counts([1], [1])
    with pytest.raises(ValueError, match="id mapping"):
        row_samples.RowSample(layer, counts, seed=0)
