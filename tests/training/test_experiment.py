import json

import keras
import numpy as np
import pytest

from tests.support import experiments
from tfplugin import config as config_lib
from tfplugin import training
from tfplugin.errors import InputError
from tfplugin.training import model_building


class _StopAfter(keras.callbacks.Callback):
    """Dies as a killed process would, after an epoch was saved."""

    def __init__(self, epochs):
        super().__init__()
        self._epochs = epochs

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self._epochs:
            raise KeyboardInterrupt


def _weights(work):
    return [v.numpy() for v in training.load(work).model.variables]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    config, work = experiments.make(tmp_path_factory.mktemp("trained"))
    return config, work, training.train(config, work)


def test_history_tells_every_epoch_and_the_test(trained):
    _, work, history = trained
    assert json.loads(work.history.read_text())["finished"]
    assert [e["epoch"] for e in history["epochs"]] == [1, 2, 3, 4]
    first, last = history["epochs"][0], history["epochs"][-1]
    assert last["train"]["loss"] < first["train"]["loss"]
    assert set(last["validation"]["objectives"]["buy"]) == {
        "loss",
        "auc",
        "pr_auc",
        "normalized_entropy",
        "calibration",
    }
    assert history["test"]["rows"] == 200
    assert history["test"]["objectives"]["click"]["auc"] > 0.6
    assert history["monitor"]["click"]["peak_epoch"] in (1, 2, 3, 4)
    assert (work.logs / "train").is_dir()


def test_history_describes_the_tables(trained):
    _, work, history = trained
    tables = {t["name"]: t for t in history["model"]["tables"]}
    assert list(tables) == ["user", "city", "tags", "position"]
    frequencies = training.load(work).dataset.id_frequencies("user")
    kept = len(frequencies.with_min_count(2))
    assert tables["user"]["rows"] == kept + 2
    assert tables["user"]["bytes"] == (kept + 2) * 3 * 4
    # Row-wise Adagrad: one accumulator and one count a row.
    assert tables["user"]["optimizer_bytes"] == pytest.approx(
        (kept + 2) * 2 * 4, abs=16
    )
    assert tables["city"]["mapping"] == "hash"
    assert tables["city"]["rows"] == 6
    assert (
        sum(t["rows"] * t["embedding_dim"] for t in tables.values())
        + history["model"]["dense_parameters"]
        == history["model"]["parameters"]
    )


def test_evaluating_again_gives_what_training_measured(trained):
    _, work, history = trained
    again = training.load(work).evaluate("test")
    for objective, expected in history["test"]["objectives"].items():
        assert again["objectives"][objective] == pytest.approx(expected)


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        (
            "training.remedies.embedding_reset=true",
            "training.tables.rule=lazy_adam",
        ),
        (
            "training.remedies={table_sets: {tables: [user, city]}, "
            "freeze_tables: {after_epochs: 3, tables: [tags]}, "
            "objective_early_stopping: {objectives: [buy], min_delta: 1}}",
            "training.tables.rule=lazy_adam",
            "training.telemetry=false",
        ),
    ],
    ids=["plain", "reset", "others"],
)
def test_a_resumed_training_ends_with_the_same_weights(tmp_path, overrides):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    config, whole = experiments.make(tmp_path / "a", *overrides)
    training.train(config, whole)
    config, cut = experiments.make(tmp_path / "b", *overrides)
    with pytest.raises(KeyboardInterrupt):
        training.train(config, cut, extra_callbacks=lambda _: [_StopAfter(2)])
    assert not json.loads(cut.history.read_text())["finished"]
    history = training.train(config, cut, resume=True)
    assert [e["epoch"] for e in history["epochs"]] == [1, 2, 3, 4]
    assert history["monitor"]["click"]["epochs"] == [1, 2, 3, 4]
    expected, found = _weights(whole), _weights(cut)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_more_epochs_may_follow_a_finished_training(tmp_path):
    config, work = experiments.make(tmp_path, "training.epochs=1")
    training.train(config, work)
    with pytest.raises(InputError, match="--overwrite"):
        training.train(config, work)
    with pytest.raises(InputError, match="epochs left"):
        training.train(config, work, resume=True)
    longer = config_lib.load(work.config, ["training.epochs=2"])
    history = training.train(longer, work, resume=True)
    assert len(history["epochs"]) == 2
    other = config_lib.load(work.config, ["training.seed=5"])
    with pytest.raises(InputError, match=r"training\.seed"):
        training.train(other, work, resume=True)
    assert len(training.train(config, work, overwrite=True)["epochs"]) == 1


def test_resume_without_a_training(tmp_path):
    config, work = experiments.make(tmp_path)
    with pytest.raises(InputError, match=r"history\.json"):
        training.train(config, work, resume=True)


def test_a_flipped_byte_is_refused_by_name(tmp_path):
    config, work = experiments.make(tmp_path)
    shard = sorted(work.dataset.split("train").iterdir())[0]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(InputError, match=shard.name):
        training.train(config, work)
    assert not work.history.exists()
    unchecked = config.model_copy(
        update={
            "training": config.training.model_copy(
                update={"verify_checksums": False}
            )
        }
    )
    # Then TensorFlow meets it while reading.
    with pytest.raises(InputError, match=shard.name):
        training.train(unchecked, work)


@pytest.mark.parametrize(
    ("override", "word"),
    [
        ("features.user.dtype=string", "`user`"),
        ("features.age={type: dense}", "`age`"),
        ("features.tags.type=id", "`tags`"),
        ("labels=[click]", "`buy`"),
    ],
)
def test_a_dataset_for_other_columns_is_refused(tmp_path, override, word):
    _, work = experiments.make(tmp_path)
    other = config_lib.load(tmp_path / "small.yaml", [override])
    with pytest.raises(InputError, match=f"{word}.*--overwrite"):
        training.train(other, work)


def test_a_label_without_positives_is_refused(tmp_path):
    config, work = experiments.make(tmp_path)
    statistics = json.loads(work.dataset.statistics_json.read_text())
    statistics["labels"]["buy"]["positives"] = 0
    work.dataset.statistics_json.write_text(json.dumps(statistics))
    with pytest.raises(InputError, match="buy.*0 positives"):
        training.train(config, work)


def test_row_counts_reach_the_optimizer(trained):
    _, work, _ = trained
    loaded = training.load(work)
    frequencies = loaded.dataset.id_frequencies("user")
    layer = model_building.embedding_layers(loaded.model)[0]
    kept = frequencies.with_min_count(2)
    rest = frequencies.counts.sum() - kept.counts.sum()
    counts = layer.id_mapping.row_counts(frequencies.ids, frequencies.counts)
    np.testing.assert_array_equal(counts, [0, rest, *kept.counts])


def test_a_history_that_lacks_an_epoch_is_not_resumed(tmp_path):
    config, work = experiments.make(tmp_path, "training.epochs=1")
    training.train(config, work)
    history = json.loads(work.history.read_text())
    history["epochs"] = []
    work.history.write_text(json.dumps(history))
    longer = config_lib.load(work.config, ["training.epochs=2"])
    with pytest.raises(InputError, match="history of every epoch"):
        training.train(longer, work, resume=True)


def test_going_on_forgets_what_evaluate_measured_before(tmp_path):
    config, work = experiments.make(tmp_path, "training.epochs=1")
    training.train(config, work)
    work.evaluation.write_text("{}")
    longer = config_lib.load(work.config, ["training.epochs=2"])
    training.train(longer, work, resume=True)
    assert not work.evaluation.exists()


def test_an_objectives_loss_is_its_mean_over_observed_rows(trained):
    _, work, history = trained
    loaded = training.load(work)
    sums = np.zeros(2)
    for features, labels, weights in loaded.dataset.test(64):
        logits = loaded.model(features)["buy"].numpy()[:, 0].astype(np.float64)
        label = labels["buy"].numpy()[:, 0]
        losses = np.logaddexp(0, logits) - label * logits
        weight = weights["buy"].numpy()
        sums += (losses * weight).sum(), weight.sum()
    assert sums[1] < 200
    found = history["test"]["objectives"]["buy"]["loss"]
    assert found == pytest.approx(sums[0] / sums[1], rel=1e-5)


def test_training_ends_once_every_objective_has_stopped(tmp_path):
    remedy = "training.remedies.objective_early_stopping={min_delta: 1}"
    config, work = experiments.make(
        tmp_path, remedy, "training.telemetry=false"
    )
    history = training.train(config, work)
    assert [e["epoch"] for e in history["epochs"]] == [1, 2]
    assert history["finished"]
    # Stopped objectives are measured as ever, whoever measures.
    test = training.load(work).evaluate("test")
    assert history["test"]["loss"] == test["loss"] > 0.1
    assert history["remedies"]["objective_early_stopping"]["min_delta"] == 1.0
    with pytest.raises(InputError, match="epochs left"):
        training.train(config, work, resume=True)


def test_the_loss_of_an_epoch_is_of_stopped_objectives_too(tmp_path):
    config, work = experiments.make(
        tmp_path,
        "training.remedies.objective_early_stopping="
        "{objectives: [buy], min_delta: 1}",
        "training.epochs=3",
        "training.loss_weights={buy: 0.5}",
    )
    history = training.train(config, work)
    for epoch in history["epochs"]:
        by_objective = epoch["validation"]["objectives"]
        # Keras averages batches, not rows.
        assert epoch["validation"]["loss"] == pytest.approx(
            by_objective["click"]["loss"] + 0.5 * by_objective["buy"]["loss"],
            rel=0.05,
        )
