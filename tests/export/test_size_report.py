import json
import math

import numpy as np
import pytest
import tensorflow as tf

from tests.support import datasets
from tests.support import experiments
from tfplugin import export
from tfplugin import training
from tfplugin.data import parsing
from tfplugin.errors import InputError
from tfplugin.export import answer_changes
from tfplugin.export import predicting
from tfplugin.export import size_report
from tfplugin.export import table_compression
from tfplugin.export.smaller_tables import SmallerTables
from tfplugin.export.table_compression import TableCompression

#: The rows that `experiments.make` writes as the test split.
TEST = experiments.rows(200, seed=2)


@pytest.fixture(scope="module")
def assembled(tmp_path_factory):
    config, work = experiments.make(tmp_path_factory.mktemp("sizes"))
    experiment = training.assemble(config, work)
    rng = np.random.default_rng(4)
    for variable in experiment.model.trainable_variables:
        variable.assign(rng.normal(0, 0.5, variable.shape))
    return experiment


@pytest.fixture(scope="module")
def whole(assembled, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "1"
    return export.save(assembled.model, path, assembled.dataset.schema)


@pytest.fixture(scope="module")
def small(assembled, tmp_path_factory):
    plan = {
        "user": TableCompression("int8", min_count=4, rare_rows="shared"),
        "tags": TableCompression("int8", min_count=130),
        "default": TableCompression("float16"),
    }
    return export.save(
        assembled.model,
        tmp_path_factory.mktemp("small") / "1",
        assembled.dataset.schema,
        compressed=SmallerTables(
            plan,
            table_compression.row_counts(
                assembled.model, plan, assembled.dataset.id_frequencies
            ),
            test=assembled.dataset.test(64),
        ),
    )


def _auc(labels, scores, weights):
    """Over all pairs."""
    positive = (labels > 0) & (weights > 0)
    negative = (labels == 0) & (weights > 0)
    pairs = scores[positive][:, np.newaxis] - scores[negative]
    return float(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def _labels(name):
    labels = [row[name] for row in TEST]
    weights = np.array([label is not None for label in labels], float)
    return np.array([label or 0.0 for label in labels]), weights


def _recorded(path):
    record = json.loads((path / "assets.extra" / "export.json").read_text())
    return record["size_report"]


def test_it_measures_what_a_server_would_answer(assembled, small):
    schema = assembled.dataset.schema
    report = _recorded(small)
    raw = tf.constant([datasets._example(row) for row in TEST])
    predict = predicting.predict_function(assembled.model, schema)
    before = predict(parsing.parse_features(raw, schema), len(TEST))
    loaded = tf.saved_model.load(str(small))
    after = loaded.signatures["examples"](examples=raw)
    assert report["rows"] == len(TEST)
    for name in schema.labels:
        old = before[name].numpy().astype(float)
        new = after[name].numpy().astype(float)
        labels, weights = _labels(name)
        found = report["objectives"][name]
        change = np.abs(new - old)
        assert found["largest_change"] == pytest.approx(change.max(), abs=1e-7)
        assert found["mean_change"] == pytest.approx(change.mean(), abs=1e-7)
        assert found["largest_change"] > 1e-5
        for key, scores in (("auc_before", old), ("auc", new)):
            expected = _auc(labels, scores, weights)
            assert found[key] == pytest.approx(expected, abs=2e-4)
        rate = np.average(labels, weights=weights)
        for key, scores in (("calibration_before", old), ("calibration", new)):
            expected = np.average(scores, weights=weights) / rate
            assert found[key] == pytest.approx(expected, rel=1e-5)
    sizes = {table["name"]: table for table in report["tables"]}
    assert {name: size["dtype"] for name, size in sizes.items()} == {
        "user": "int8",
        "city": "float16",
        "tags": "int8",
        "position": "float16",
    }
    assert sizes["user"]["rows"] < sizes["user"]["rows_before"]
    assert sizes["user"]["bytes"] == sizes["user"]["rows"] * 5
    assert report["table_bytes"] == sum(s["bytes"] for s in sizes.values())


def test_files_and_load_time(small, whole):
    report = _recorded(small)
    assert report["load_seconds"] > 0
    record = (small / "assets.extra" / "export.json").stat().st_size
    real = size_report.folder_bytes(small) - record
    # The record of the export is written once it is measured.
    assert report["folder_bytes"] == real
    assert report["table_bytes"] < 0.6 * report["table_bytes_before"]
    # What the tables as trained would take is reckoned, but for the graph.
    saved = report["folder_bytes_before"] - report["folder_bytes"]
    files = {
        path: sum(
            f.stat().st_size
            for part in ("variables", "assets")
            for f in (path / part).iterdir()
        )
        for path in (small, whole)
    }
    assert abs(files[whole] - files[small] - saved) < 1000


def test_some_of_the_rows(assembled, small):
    schema = assembled.dataset.schema
    report = size_report.measure(
        small,
        schema,
        (),
        predicting.predict_function(assembled.model, schema),
        assembled.dataset.test(64),
        max_rows=65,
    )
    assert report.rows == 128  # two batches
    assert json.loads(json.dumps(report.as_json()))["rows"] == 128


def test_an_export_beyond_a_bound_ships_nothing(assembled, whole):
    before = sorted(whole.parent.rglob("*"))
    smaller = SmallerTables(
        {"default": TableCompression("int8")},
        test=assembled.dataset.test(64),
        bounds=size_report.Bounds(probability=1e-9),
    )
    with pytest.raises(
        InputError,
        match="a probability of click changed by .*"
        "export.bounds.probability allows 1e-09; nothing",
    ):
        export.save(
            assembled.model,
            whole,
            assembled.dataset.schema,
            compressed=smaller,
            overwrite=True,
        )
    assert sorted(whole.parent.rglob("*")) == before


def _report(**change):
    usual = {
        "largest_change": 0.1,
        "mean_change": 0.01,
        "auc_before": 0.8,
        "auc": 0.79,
        "calibration_before": 1.0,
        "calibration": 0.97,
    }
    change = answer_changes.ObjectiveChange(**usual | change)
    return size_report.SizeReport((), 0, 0.0, 9, {"buy": change})


@pytest.mark.parametrize(
    ("bounds", "change", "words"),
    [
        ({"auc": 0.009}, {}, "the AUC of buy fell by 0.01, .*auc allows 0.009"),
        ({"auc": 0.011}, {}, None),
        ({"auc": 0.0}, {"auc": 0.9}, None),
        ({"auc": 0.5}, {"auc": math.nan}, "AUC of buy fell by nan"),
        ({"auc": 0.0}, {"auc": math.nan, "auc_before": math.nan}, None),
        ({"calibration": 0.02}, {}, "mean label of buy changed by 0.03"),
        ({"calibration": 0.02}, {"calibration": 1.03}, "changed by 0.03"),
        ({"calibration": 0.04}, {}, None),
        ({"probability": 0.09}, {}, "a probability of buy changed by 0.1,"),
        ({"probability": 0.1}, {}, None),
        ({"probability": 1.0}, {"largest_change": math.nan}, "changed by nan"),
        ({}, {"largest_change": math.nan, "auc": math.nan}, None),
    ],
)
def test_bounds(bounds, change, words):
    bounds = size_report.Bounds(**bounds)
    if words is None:
        bounds.check(_report(**change))
        return
    with pytest.raises(InputError, match=words):
        bounds.check(_report(**change))


def test_rows_that_say_nothing_of_an_objective():
    weights = {"buy": tf.zeros([2])}
    labels = {"buy": tf.zeros([2, 1])}
    same = {"buy": tf.constant([0.5, 0.25])}
    rows, found = answer_changes.compare(
        [({}, labels, weights)] * 3,
        lambda features: same,
        lambda features: {"buy": tf.constant([0.5, math.nan])},
        ["buy"],
        max_rows=4,
    )
    assert rows == 4
    assert math.isnan(found["buy"].auc_before)
    assert math.isnan(found["buy"].calibration)
    assert math.isnan(found["buy"].largest_change)
    assert answer_changes.compare([], dict, dict, ["buy"])[0] == 0
