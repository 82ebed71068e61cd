import pathlib
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tests.support import datasets
from tests.support import experiments
from tfplugin import export
from tfplugin import training
from tfplugin.errors import InputError

ROWS = [
    *experiments.rows(20, seed=9),
    {"user": 10**15, "city": "nowhere", "tags": [], "price": None},
    {"user": None, "city": None, "tags": ["t0", "?", ""], "price": -3.0},
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    config, work = experiments.make(
        tmp_path_factory.mktemp("export"), "training.epochs=1"
    )
    training.train(config, work)
    loaded = training.load(work)
    export.save(loaded.model, work.model / "3", loaded.dataset.schema)
    return work, loaded


def _raw(rows):
    width = max([len(r["tags"]) for r in rows] + [1])
    tags = [r["tags"] + ["padding"] * (width - len(r["tags"])) for r in rows]
    return {
        "user": tf.constant(
            [-(2**63) if r["user"] is None else r["user"] for r in rows],
            tf.int64,
        ),
        "city": tf.constant([r["city"] or "" for r in rows]),
        "tags": tf.reshape(tf.constant(tags, tf.string), [len(rows), width]),
        "tags_length": tf.constant([len(r["tags"]) for r in rows], tf.int64),
        "price": tf.constant(
            [np.nan if r["price"] is None else r["price"] for r in rows],
            tf.float32,
        ),
    }


def _expected(loaded, rows):
    raw = _raw(rows)
    lengths = raw.pop("tags_length")
    features = raw | {
        "tags": tf.RaggedTensor.from_tensor(raw["tags"], lengths),
        "position": tf.ones([len(rows)], tf.int64),
    }
    logits = loaded.model(features, training=False)
    return {
        name: 1 / (1 + np.exp(-np.asarray(value)[:, 0].astype("float64")))
        for name, value in logits.items()
    }


def test_both_signatures_answer_as_the_model_does(trained):
    work, loaded = trained
    signatures = tf.saved_model.load(str(work.model / "3")).signatures
    expected = _expected(loaded, ROWS)
    by_name = signatures["serving_default"](**_raw(ROWS))
    examples = tf.constant([datasets._example(row) for row in ROWS])
    by_example = signatures["examples"](examples=examples)
    assert set(by_name) == {"click", "buy"}
    for name, probability in expected.items():
        assert by_name[name].shape == (len(ROWS),)
        np.testing.assert_allclose(by_name[name], probability, rtol=1e-5)
        np.testing.assert_allclose(by_example[name], probability, rtol=1e-5)


def test_an_answer_does_not_depend_on_its_batch(trained):
    work, _ = trained
    serve = tf.saved_model.load(str(work.model / "3")).signatures[
        "serving_default"
    ]
    together = serve(**_raw(ROWS))["click"].numpy()
    alone = [serve(**_raw([row]))["click"].numpy()[0] for row in ROWS]
    np.testing.assert_allclose(together, alone, rtol=1e-6)


def test_an_empty_batch(trained):
    work, _ = trained
    signatures = tf.saved_model.load(str(work.model / "3")).signatures
    empty = signatures["examples"](examples=tf.constant([], tf.string))
    assert empty["click"].shape == (0,)
    empty = {k: v[:0] for k, v in _raw(ROWS).items()}
    assert signatures["serving_default"](**empty)["click"].shape == (0,)


def test_training_only_features_are_not_asked_for(trained):
    work, _ = trained
    signature = tf.saved_model.load(str(work.model / "3")).signatures[
        "serving_default"
    ]
    specs = signature.structured_input_signature[1]
    assert set(specs) == {"user", "city", "tags", "tags_length", "price"}
    assert specs["tags"].shape.as_list() == [None, None]


@pytest.mark.parametrize("lengths", [[4], [-1]])
def test_lengths_that_do_not_fit_are_errors(trained, lengths):
    work, _ = trained
    serve = tf.saved_model.load(str(work.model / "3")).signatures[
        "serving_default"
    ]
    raw = _raw(ROWS[:1]) | {
        "tags": tf.constant([["a", "b", "c"]]),
        "tags_length": tf.constant(lengths, tf.int64),
    }
    with pytest.raises(tf.errors.InvalidArgumentError, match="tags_length"):
        serve(**raw)


def test_tables_are_written_once(trained):
    work, loaded = trained
    size = sum(
        f.stat().st_size
        for f in (work.model / "3" / "variables").iterdir()
        if "data" in f.name
    )
    weights = sum(v.numpy().nbytes for v in loaded.model.variables)
    assert size < weights * 1.02 + 4096


def test_a_version_is_not_changed_unless_told(trained):
    work, loaded = trained
    schema = loaded.dataset.schema
    with pytest.raises(InputError, match="--overwrite"):
        export.save(loaded.model, work.model / "3", schema)
    export.save(loaded.model, work.model / "3", schema, overwrite=True)
    assert export.next_version(work.model) == 4
    assert export.next_version(work.path / "nothing") == 1
    assert [p.name for p in work.model.iterdir()] == ["3"]


def test_it_loads_in_a_process_without_this_package(trained, tmp_path):
    work, loaded = trained
    program = textwrap.dedent(
        """
        import sys
        import numpy as np
        import tensorflow as tf
        model = tf.saved_model.load(sys.argv[1])
        examples = np.load(sys.argv[2], allow_pickle=True)
        answer = model.signatures["examples"](
            examples=tf.constant(examples.tolist())
        )
        np.save(sys.argv[3], answer["click"].numpy())
        assert "tfplugin" not in sys.modules
        """
    )
    examples = np.array([datasets._example(row) for row in ROWS], object)
    np.save(tmp_path / "in.npy", examples)
    moved = tmp_path / "moved" / "3"
    moved.parent.mkdir()
    (work.model / "3").rename(moved)
    try:
        subprocess.run(
            [
                sys.executable,
                "-I",
                "-c",
                program,
                str(moved),
                str(tmp_path / "in.npy"),
                str(tmp_path / "out.npy"),
            ],
            check=True,
            cwd=tmp_path,
        )
    finally:
        moved.rename(work.model / "3")
    np.testing.assert_allclose(
        np.load(tmp_path / "out.npy"), _expected(loaded, ROWS)["click"], 1e-5
    )


def test_stock_operators_only(trained):
    work, _ = trained
    content = pathlib.Path(work.model / "3" / "saved_model.pb").read_bytes()
    saved = saved_model_pb2.SavedModel.FromString(content)
    names = {
        node.op
        for meta in saved.meta_graphs
        for function in meta.graph_def.library.function
        for node in function.node_def
    }
    assert "LookupTableFindV2" in names
    assert not names & {"PyFunc", "PyFuncStateless", "EagerPyFunc"}
