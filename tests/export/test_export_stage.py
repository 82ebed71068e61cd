import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
import yaml
from tensorflow_serving.apis import prediction_log_pb2

from tests.support import exported
from tfplugin import cli
from tfplugin import config as config_lib
from tfplugin import export
from tfplugin import training
from tfplugin.errors import InputError
from tfplugin.export import export_record
from tfplugin.export import golden as golden_lib

EXTRA = "assets.extra"


def _settings(**sections):
    return config_lib.ExportConfig.model_validate(sections)


def _records(path):
    return [
        prediction_log_pb2.PredictionLog.FromString(record)
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    ]


def test_all_that_travels_with_a_model(trained, tmp_path):
    _, loaded = trained
    path = training.export(
        loaded,
        tmp_path / "1",
        _settings(golden_requests=8, warm_up_batch_sizes=[1, 2]),
    )
    names = set(tf.saved_model.load(str(path)).signatures)
    golden = _records(path / EXTRA / "golden_requests")
    assert len(golden) == 2 + 2 * 2
    warm_up = _records(path / EXTRA / "tf_serving_warmup_requests")
    assert len(warm_up) == 2 * len(names)
    assert (path / EXTRA / "export.json").is_file()


def test_nothing_travels_that_is_not_wanted(trained, tmp_path):
    _, loaded = trained
    settings = _settings(golden_requests=0, warm_up_batch_sizes=[])
    path = training.export(loaded, tmp_path / "1", settings)
    assert [f.name for f in (path / EXTRA).iterdir()] == ["export.json"]


def test_smaller_tables_as_configured(trained, tmp_path):
    _, loaded = trained
    before = exported.expected(loaded.model, exported.ROWS)["click"]
    settings = _settings(
        tables={
            "default": {"dtype": "float16"},
            "user": {"min_count": 5},
            "city": {"dtype": "int8"},
        },
        bounds={"auc": 1, "calibration": 1},
        golden_requests=8,
        warm_up_batch_sizes=[1],
    )
    path = training.export(loaded, tmp_path / "1", settings)
    record = export_record.read(path)
    tables = record["tables"]
    assert [tables[t]["dtype"] for t in ("user", "city", "tags")] == [
        "float32",
        "int8",
        "float16",
    ]
    assert tables["user"]["rows"] < tables["user"]["rows_before"]
    frequencies = loaded.dataset.id_frequencies("user")
    kept = frequencies.with_min_count(5).ids
    assert tables["user"]["rows"] == len(kept) + 2
    serve = tf.saved_model.load(str(path)).signatures["embeddings_user"]
    layer = loaded.model.get_layer("embeddings").tables["user"]
    rare = sorted(set(frequencies.ids.tolist()) - set(kept.tolist()))
    for ids, same_as in ((kept, kept), (rare, [10**15] * len(rare))):
        found = serve(ids=tf.constant(ids, tf.int64))["embeddings"]
        expected = layer(tf.constant(same_as, tf.int64))
        np.testing.assert_array_equal(found, expected)
    report = record["size_report"]
    assert report["rows"] == loaded.dataset.rows("test")
    assert report["objectives"]["click"]["largest_change"] > 0
    # Golden answers are those of smaller tables, as near as of any others.
    golden = json.loads((path / EXTRA / "golden_requests.json").read_text())
    assert golden["tolerance"] == 1e-5
    log = _records(path / EXTRA / "golden_requests")[0].predict_log
    raw = {k: tf.make_ndarray(v) for k, v in log.request.inputs.items()}
    raw = {k: tf.constant(v) for k, v in raw.items()}
    answers = tf.saved_model.load(str(path)).signatures["serving_default"](
        **raw
    )
    for name, proto in log.response.outputs.items():
        np.testing.assert_allclose(
            answers[name], tf.make_ndarray(proto), atol=1e-6
        )
    # The model in Python reads its own tables again.
    after = exported.expected(loaded.model, exported.ROWS)["click"]
    np.testing.assert_array_equal(after, before)


def test_a_bound_that_is_exceeded_leaves_nothing(trained, tmp_path):
    _, loaded = trained
    settings = _settings(
        tables={"default": {"dtype": "int8"}}, bounds={"probability": 0}
    )
    with pytest.raises(InputError, match=r"export\.bounds\.probability"):
        training.export(loaded, tmp_path / "1", settings)
    assert not list(tmp_path.iterdir())


def test_the_bound_holds_for_golden_requests_too(trained):
    _, loaded = trained
    schema = loaded.dataset.schema
    golden = golden_lib.draw(loaded.dataset, loaded.model, 8)
    smaller = export.SmallerTables(
        {"default": export.TableCompression("int8")},
        bounds=export.Bounds(probability=1e-9),
    )
    with smaller.read_by(loaded.model):
        with pytest.raises(export.BoundExceededError, match="a probability of"):
            smaller.answers(golden, loaded.model, schema)
    whole = export.SmallerTables()
    assert whole.answers(golden, loaded.model, schema) is golden


def test_the_test_split_is_read_only_if_needed(trained, tmp_path):
    work, loaded = trained
    settings = _settings(golden_requests=0, warm_up_batch_sizes=[1])
    split = work.dataset.path / "test"
    split.rename(tmp_path / "test")
    try:
        training.export(loaded, tmp_path / "1", settings)
        with pytest.raises((InputError, tf.errors.OpError)):
            training.export(loaded, tmp_path / "2", _settings())
    finally:
        (tmp_path / "test").rename(split)


def test_the_command_says_what_it_wrote(trained, tmp_path, capsys):
    work, _ = trained
    content = yaml.safe_load(work.config.read_text())
    content["export"] = {"scores": {"ranking": "bid * buy"}}
    config = tmp_path / "export.yaml"
    config.write_text(yaml.safe_dump(content))
    words = ["export", "--workdir", str(work.path), "--version", "9"]
    more = ["--set", "export.tables.tags.dtype=float16"]
    try:
        assert cli.main([*words, "--config", str(config), *more]) == 0
        record = export_record.read(work.model / "9")
        assert cli.main(words) == 2
    finally:
        shutil.rmtree(work.model / "9")
    said = capsys.readouterr()
    assert "--overwrite, or name another --version" in said.err
    assert record["scores"] == {"ranking": "bid * buy"}
    for words in (
        "classify_buy",
        "embeddings_tags",
        "float16",
        "200 rows",
        "All within",
    ):
        assert words in said.out
    lines = said.out.splitlines()
    assert f"Next: tfplugin validate {work.model / '9'}" in lines
    assert lines[-1] == f"Next: tfplugin serve --workdir {work.path}"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.epochs=9", "--set training.epochs=9"),
        ("export.tables.shop.dtype=int8", "`shop`"),
        ("export.scores={ranking: 'tan(click)'}", "tan is none"),
        ("export.scores={ranking: 'click * user'}", "feature of ids"),
    ],
)
def test_overrides_that_are_refused(trained, capsys, override, words):
    work, _ = trained
    given = ["export", "--workdir", str(work.path), "--set", override]
    assert cli.main(given) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert [p.name for p in work.model.iterdir()] == ["3"]
