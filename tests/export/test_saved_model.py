import resource

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfplugin import export
from tfplugin import layers
from tfplugin import schema as schema_lib
from tfplugin.errors import InputError
from tfplugin.export import export_record


def test_tables_are_written_once(trained):
    work, loaded = trained
    size = sum(
        f.stat().st_size
        for f in (work.model / "3" / "variables").iterdir()
        if "data" in f.name
    )
    weights = sum(v.numpy().nbytes for v in loaded.model.variables)
    assert size < weights * 1.02 + 4096


def test_vocabularies_are_written_once(tmp_path):
    ids = np.arange(2000) * 7919
    model, schema = _model(layers.VocabularyMapping(ids, name="user_rows"))
    path = export.save(model, tmp_path / "1", schema, scores={"s": "2 * buy"})
    assets = [f.stat().st_size for f in (path / "assets").iterdir()]
    assert len(assets) == 1
    assert assets[0] < 8 * len(ids) + 1000
    assert (path / "saved_model.pb").stat().st_size < 300_000


def test_a_version_is_not_changed_unless_told(trained, tmp_path):
    work, loaded = trained
    schema = loaded.dataset.schema
    with pytest.raises(InputError, match="--overwrite"):
        export.save(loaded.model, work.model / "3", schema)
    assert export.next_version(work.model) == 4
    assert export.next_version(work.path / "nothing") == 1
    (tmp_path / "²").mkdir()  # a digit that is no number
    assert export.next_version(tmp_path) == 1
    assert [p.name for p in work.model.iterdir()] == ["3"]


def test_a_version_is_replaced_whole(tmp_path):
    model, schema = _model(layers.HashMapping(10, name="user_rows"))
    path = export.save(model, tmp_path / "1", schema)
    (path / "left_over").write_text("")
    export.save(model, path, schema, overwrite=True)
    assert not (path / "left_over").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["1"]


def test_a_failure_leaves_the_former_version(tmp_path):
    model, schema = _model(layers.HashMapping(10, name="user_rows"))
    path = export.save(model, tmp_path / "1", schema)
    before = (path / "saved_model.pb").read_bytes()

    user = keras.Input((), dtype="int64", name="user")
    vector = layers.Embedding(10, 1)(user)
    broken = keras.Model({"user": user}, {"buy": _Fails()(vector)})
    with pytest.raises(RuntimeError, match="outside of training"):
        export.save(broken, path, schema, overwrite=True)
    assert (path / "saved_model.pb").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["1"]


def test_the_record_says_what_is_there(trained, signatures):
    work, loaded = trained
    record = export_record.read(work.model / "3")
    assert record["labels"] == ["click", "buy"]
    assert set(record["signatures"]) == set(signatures)
    assert record["signatures"]["classify_buy"] == {
        "method": "tensorflow/serving/classify",
        "inputs": {"inputs": {"dtype": "string", "shape": [None]}},
        "outputs": {
            "classes": {"dtype": "string", "shape": [None, 2]},
            "scores": {"dtype": "float32", "shape": [None, 2]},
        },
    }
    assert record["signatures"]["scores"]["inputs"]["tags"] == {
        "dtype": "string",
        "shape": [None, None],
    }
    city = record["tables"]["city"]
    assert (city["rows"], city["dim"], city["dtype"]) == (6, 4, "float32")
    assert city["bytes"] == city["bytes_before"] == 6 * 4 * 4
    assert set(record["tables"]) == {"user", "city", "tags", "position"}
    assert record["size_report"] is None


@pytest.mark.parametrize("content", [None, "{", "[]", '{"version": 0}'])
def test_a_record_that_cannot_be_read(tmp_path, content):
    path = tmp_path / export_record.RECORD
    path.parent.mkdir()
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match="Export it again"):
        export_record.read(tmp_path)


def test_tables_written_smaller(tmp_path):
    model, schema = _model(layers.HashMapping(1000, name="user_rows"), dim=16)
    smaller = export.SmallerTables(
        {"default": export.TableCompression(dtype="int8")}
    )
    path = export.save(model, tmp_path / "1", schema, compressed=smaller)
    table = export_record.read(path)["tables"]["user"]
    assert table["dtype"] == "int8"
    assert table["bytes"] == 1001 * 18
    size = sum(f.stat().st_size for f in (path / "variables").iterdir())
    assert size < 1001 * 18 + 8192
    ids = tf.constant([3, 4, 3], tf.int64)
    loaded = tf.saved_model.load(str(path)).signatures
    vectors = loaded["embeddings_user"](ids=ids)["embeddings"]
    trained = model.get_layer("shelf")(ids)
    np.testing.assert_allclose(vectors, trained, atol=0.001)
    assert np.any(np.asarray(vectors) != np.asarray(trained))


def test_a_disk_that_is_full_is_one_line(tmp_path):
    model, schema = _model(layers.HashMapping(10_000, name="user_rows"))
    path = export.save(model, tmp_path / "1", schema)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(InputError, match="File too large. Nothing was"):
            export.save(model, path, schema, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    tf.saved_model.load(str(path))
    assert [p.name for p in tmp_path.iterdir()] == ["1"]


def test_a_file_in_the_way_is_one_line(tmp_path):
    model, schema = _model(layers.HashMapping(10, name="user_rows"))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Nothing was exported"):
        export.save(model, tmp_path / "file" / "1", schema)


class _Fails(keras.layers.Layer):
    """Fails in an export alone."""

    def call(self, inputs, training=None):
        if not isinstance(inputs, keras.KerasTensor) and training is False:
            raise RuntimeError("no answer outside of training")
        return inputs


def _model(mapping, dim=4):
    """A model of one table and one objective, and its schema."""
    user = keras.Input((), dtype="int64", name="user")
    vectors = layers.Embedding(
        embedding_dim=dim, id_mapping=mapping, seed=1, name="shelf"
    )(user)
    logit = keras.layers.Dense(1, name="buy")(vectors)
    schema = schema_lib.Schema(
        id_features={"user": schema_lib.IdFeature(dtype="int64", table="user")},
        labels=("buy",),
    )
    return keras.Model({"user": user}, {"buy": logit}), schema
