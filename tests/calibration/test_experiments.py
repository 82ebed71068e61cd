"""Sampling and calibration through training, evaluation and export."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.support import datasets
from tests.support import experiments
from tfplugin import artifacts
from tfplugin import calibration
from tfplugin import config as config_lib
from tfplugin import data
from tfplugin import export
from tfplugin import schema as schema_lib
from tfplugin import training
from tfplugin.errors import InputError
from tfplugin.training import calibrating
from tfplugin.training import sampling

RATE = 0.25


def sampled_rows(count, seed, rate=RATE):
    """Rows that carry weights; negatives for click are kept at a rate."""
    rng = np.random.default_rng(seed)
    kept = []
    for row in experiments.rows(count, seed):
        row["example_weight"] = float(rng.choice([0.5, 2.0]))
        if row["click"] == 1 or rng.random() < rate:
            kept.append(row)
    return kept


def make(path, splits=("train", "validation"), **training_keys):
    """An experiment on a sampled log; test rows are all kept."""
    work = artifacts.WorkFolder(path / "work")
    work.prepare()
    schema = experiments.SCHEMA.model_copy(
        update={
            "weight": True,
            "negatives": schema_lib.NegativeSampling(
                labels=("click",), rate=RATE, splits=splits
            ),
        }
    )
    sizes = {"train": (1500, 0), "validation": (800, 1), "test": (600, 2)}
    datasets.write_dataset(
        work.dataset.path,
        schema,
        {
            split: sampled_rows(*size, RATE if split in splits else 1.0)
            for split, size in sizes.items()
        },
    )
    keys = {
        "epochs": 1,
        "telemetry": False,
        "calibration": "isotonic",
        **training_keys,
    }
    values = {
        **experiments.CONFIG,
        "training": {**experiments.CONFIG["training"], **keys},
    }
    config = config_lib.ExperimentConfig.model_validate(values)
    artifacts.write_text(work.config, config_lib.dump(config))
    return config, work


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    config, work = make(tmp_path_factory.mktemp("sampled"))
    history = training.train(config, work)
    return work, history, training.load(work)


def predictions(experiment, split):
    """Logits outside of training, labels and weights, row by row."""
    parts = {name: [] for name in ("click", "buy")}
    dataset = experiment.dataset
    for features, labels, weights in getattr(dataset, split)(64):
        logits = experiment.model(features, training=False)
        for name, found in parts.items():
            columns = (logits[name], labels[name], weights[name])
            found.append([np.reshape(c, -1) for c in columns])
    return {
        name: np.concatenate(found, 1).astype(np.float64)
        for name, found in parts.items()
    }


def metrics(logits, labels, weights, rate):
    p = 1 / (1 + np.exp(-logits))
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    losses = np.logaddexp(0, logits) - labels * logits
    return {
        "calibration": (weights * p).sum() / (weights * labels).sum(),
        "loss": np.average(losses, weights=weights),
        "normalized_entropy": np.average(losses, weights=weights) / entropy,
    }


def test_what_is_measured_is_of_the_whole_log(trained):
    _, history, experiment = trained
    for split, found in (
        ("validation", history["epochs"][-1]["validation"]),
        ("test", history["test"]),
    ):
        for name, columns in predictions(experiment, split).items():
            rate = experiment.base_rates[name]
            expected = metrics(*columns, rate)
            for key, value in expected.items():
                assert found["objectives"][name][key] == pytest.approx(
                    value, rel=1e-3
                )
    weights = predictions(experiment, "validation")["click"]
    negative = weights[1] == 0
    assert set(weights[2][~negative]) == {0.5, 2.0}
    assert set(weights[2][negative]) == {0.5 / RATE, 2.0 / RATE}
    assert set(predictions(experiment, "test")["click"][2]) == {0.5, 2.0}


def test_training_metrics_stay_those_of_its_rows(trained):
    _, history, experiment = trained
    train = history["epochs"][-1]["train"]["objectives"]["click"]
    rate = experiment.dataset.statistics.labels["click"].positive_rate
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    assert train["normalized_entropy"] == pytest.approx(train["loss"] / entropy)
    assert 0.7 < train["calibration"] < 1.4


def test_masked_labels_are_in_no_fit(trained):
    work, history, experiment = trained
    record = json.loads(work.calibration.read_text())
    for name, (_, labels, weights) in predictions(
        experiment, "validation"
    ).items():
        fitted = record["objectives"][name]
        assert fitted["rows"] == (weights > 0).sum()
        assert fitted["positives"] == (labels[weights > 0] == 1).sum()
        told = history["calibration"]["objectives"][name]
        assert told == {k: v for k, v in fitted.items() if k != "curve"}
        before = history["epochs"][-1]["validation"]["objectives"][name]
        for key in ("calibration", "normalized_entropy"):
            assert told[f"{key}_before"] == pytest.approx(before[key], rel=1e-3)
    masked = sum(row["buy"] is None for row in sampled_rows(800, 1))
    rows = record["objectives"]
    assert rows["click"]["rows"] - rows["buy"]["rows"] == masked > 0
    assert history["calibration"]["sampling_rate"] == RATE
    assert rows["click"]["method"] == "isotonic"
    assert rows["click"]["calibration_after"] == pytest.approx(1, abs=1e-4)


def test_the_test_split_is_measured_before_and_after(trained):
    _, history, experiment = trained
    again = experiment.evaluate("test")
    assert again["calibrated"] == history["test"]["calibrated"]
    curves = experiment.calibration.curves()
    for name, columns in predictions(experiment, "test").items():
        logits, labels, weights = columns
        expected = metrics(
            curves[name].apply(logits),
            labels,
            weights,
            experiment.base_rates[name],
        )
        found = history["test"]["calibrated"][name]
        for key, value in expected.items():
            assert found[key] == pytest.approx(value, rel=1e-3)
        # A rising curve keeps the ranking; bins of the metric move.
        before = history["test"]["objectives"][name]["auc"]
        assert found["auc"] == pytest.approx(before, abs=5e-4)


def test_exported_probabilities_are_those_of_python(trained):
    work, _, experiment = trained
    path = export.save(
        experiment.model,
        work.model / "1",
        experiment.dataset.schema,
        calibration=experiment.calibration,
    )
    rows = experiments.rows(40, seed=5)
    for row in rows:
        row["position"] = 1  # what serving gives a training-only feature
    examples = tf.constant([datasets._example(row) for row in rows])
    signature = tf.saved_model.load(str(path)).signatures["examples"]
    found = signature(examples=examples)
    features = data.parse_features(examples, experiment.dataset.schema)
    logits = experiment.model.predict_on_batch(features)
    assert set(found) == {"click", "buy"}
    for name, curve in experiment.calibration.curves().items():
        calibrated = curve.apply(np.reshape(logits[name], -1))
        np.testing.assert_allclose(
            found[name], 1 / (1 + np.exp(-calibrated)), atol=1e-6
        )
    other = experiment.calibration.model_copy(
        update={"model_fingerprint": "00000000"}
    )
    with pytest.raises(InputError, match="of the model that is exported"):
        export.save(
            experiment.model,
            work.model / "2",
            experiment.dataset.schema,
            calibration=other,
        )


def test_a_calibration_of_something_else_is_refused(trained):
    work, _, experiment = trained
    whole = work.calibration.read_text()

    def read():
        return calibrating.read(work, experiment.config, experiment.model)

    try:
        for key in ("dataset_fingerprint", "model_fingerprint"):
            changed = json.loads(whole) | {key: "12345678"}
            artifacts.write_json(work.calibration, changed)
            with pytest.raises(InputError, match="must stay with"):
                read()
        artifacts.write_json(work.calibration, {"version": 1})
        with pytest.raises(InputError, match="train --overwrite"):
            read()
        work.calibration.unlink()
        with pytest.raises(InputError, match=r"calibration\.json"):
            read()
    finally:
        work.calibration.write_text(whole)
    assert read() == experiment.calibration


def test_what_sampling_does_to_each_objective(trained):
    _, _, experiment = trained
    found = experiment.sampled
    rows = sampled_rows(1500, 0)
    buys = [row for row in rows if row["buy"] == 1]
    outside = np.mean([row["click"] != 1 for row in buys])
    assert found.outside == {"buy": pytest.approx(outside)}
    assert found.unaffected == ()
    for name in ("click", "buy"):
        seen = [row for row in rows if row[name] is not None]
        weights = [1 if r["click"] == 1 else 1 / RATE for r in seen]
        rate = np.average([r[name] for r in seen], weights=weights)
        assert found.base_rates[name] == pytest.approx(rate)
    layer = experiment.model.layers[-1]
    assert isinstance(layer, calibration.SamplingCorrection)
    assert layer.outside == found.outside


def test_where_training_rows_are_all_there_nothing_is_added(tmp_path):
    config, work = make(tmp_path, splits=("validation",))
    experiment = training.assemble(config, work)
    assert experiment.sampled is None
    assert not any(
        isinstance(layer, calibration.SamplingCorrection)
        for layer in experiment.model.layers
    )
    labels = experiment.dataset.statistics.labels
    assert experiment.base_rates["click"] == labels["click"].positive_rate
    schema = experiment.dataset.schema
    once = schema.negatives.model_copy(
        update={"splits": ("train",), "rate": 1.0}
    )
    experiment.dataset.schema = schema.model_copy(update={"negatives": once})
    assert sampling.examine(experiment.dataset) is None
    experiment.dataset.schema = schema.select(labels=["buy"])
    with pytest.raises(InputError, match="labels that it was sampled by"):
        experiment.dataset.validation(8)


def test_a_new_training_takes_a_stale_calibration_away(tmp_path):
    config, work = make(tmp_path, calibration="none")
    artifacts.write_json(work.calibration, {"stale": True})
    history = training.train(config, work)
    assert history["calibration"] is None
    assert "calibrated" not in history["test"]
    assert not work.calibration.exists()
    assert training.load(work).calibration is None
