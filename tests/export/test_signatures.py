import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from tensorflow.core.protobuf import saved_model_pb2

from tests.support import datasets
from tests.support import exported
from tfplugin import export
from tfplugin import layers
from tfplugin import schema as schema_lib
from tfplugin.errors import InputError
from tfplugin.export import signatures as signatures_lib

ROWS = exported.ROWS
#: Matrix products of another number of rows add up in another order.
BATCH_TOLERANCE = 1e-6
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
PREDICT = "tensorflow/serving/predict"


def _examples(rows):
    return tf.constant([datasets._example(r) for r in rows], tf.string)


def _request(name, rows):
    """Inputs of any signature for given rows."""
    if name == "examples":
        return {"examples": _examples(rows)}
    if name.startswith(("classify_", "regress_")):
        return {"inputs": _examples(rows)}
    raw = exported.raw(rows)
    if name.startswith("embeddings_"):
        table = name.removeprefix("embeddings_")
        if table == "tags":
            return {"ids": raw["tags"][:, 0]}
        return {"ids": raw.get(table, tf.zeros([len(rows)], tf.int64))}
    if name == "scores":
        numbers = [float(len(r["tags"])) + 0.5 for r in rows]
        raw |= {
            "bid": tf.constant(numbers, tf.float32),
            "boost": tf.constant(numbers, tf.float32),
        }
    return raw


def test_all_signatures_are_there(trained, signatures):
    tables = {"user", "city", "tags", "position"}
    assert set(signatures) == {
        "serving_default",
        "examples",
        "scores",
        *(f"embeddings_{table}" for table in tables),
        *(
            f"{k}_{o}"
            for k in ("classify", "regress")
            for o in ("click", "buy")
        ),
    }


def test_rows_and_examples_answer_as_the_model_does(trained, signatures):
    _, loaded = trained
    expected = exported.expected(loaded.model, ROWS)
    by_name = signatures["serving_default"](**exported.raw(ROWS))
    by_example = signatures["examples"](examples=_examples(ROWS))
    assert set(by_name) == {"click", "buy"}
    for name, probability in expected.items():
        assert by_name[name].shape == (len(ROWS),)
        np.testing.assert_allclose(by_name[name], probability, rtol=1e-5)
        np.testing.assert_allclose(by_example[name], probability, rtol=1e-5)


def test_classify_and_regress(trained, signatures):
    _, loaded = trained
    for objective, p in exported.expected(loaded.model, ROWS).items():
        classified = signatures[f"classify_{objective}"](inputs=_examples(ROWS))
        assert classified["classes"].numpy().tolist() == [[b"0", b"1"]] * len(p)
        np.testing.assert_allclose(
            classified["scores"], np.stack([1 - p, p], 1), atol=1e-6
        )
        regressed = signatures[f"regress_{objective}"](inputs=_examples(ROWS))
        np.testing.assert_allclose(regressed["outputs"], p, rtol=1e-5)


def test_embeddings_are_the_rows_of_the_tables(trained, signatures):
    _, loaded = trained
    tables = loaded.model.get_layer("embeddings").tables
    ids = {
        "user": tf.constant([1, 2, 10**15, -(2**63), 1], tf.int64),
        "city": tf.constant(["Bern", "", "nowhere", "Bern"]),
        "tags": tf.constant(["t0", "?", ""]),
        # Known in training only, and still a table.
        "position": tf.constant([3, 1], tf.int64),
    }
    for name, table in tables.items():
        answer = signatures[f"embeddings_{name}"](ids=ids[name])["embeddings"]
        rows = table.id_mapping(ids[name]).numpy()
        expected = table.embeddings.numpy()[rows]
        np.testing.assert_array_equal(answer, expected)
        assert answer.dtype == tf.float32


def test_scores_are_their_formulas(trained, signatures):
    _, loaded = trained
    request = _request("scores", ROWS)
    answer = signatures["scores"](**request)
    p = exported.expected(loaded.model, ROWS)
    bid, boost = request["bid"].numpy(), request["boost"].numpy()
    price = request["price"].numpy()
    np.testing.assert_allclose(answer["ranking"], bid * p["buy"], rtol=1e-5)
    with np.errstate(invalid="ignore"):
        mixed = (
            np.log(p["click"])
            + 2 * np.maximum(price, -boost) ** 0.5
            - 1 / (1 + p["buy"])
        )
    np.testing.assert_allclose(answer["mixed"], mixed, rtol=1e-5, atol=1e-6)


def test_method_names_are_those_of_tensorflow_serving(trained):
    for name, signature in _saved(trained).signature_def.items():
        if not name.startswith("__saved_model"):
            kind = {"classify": CLASSIFY, "regress": REGRESS}
            wanted = kind.get(name.split("_")[0], PREDICT)
            assert signature.method_name == wanted, name


def test_an_empty_batch(signatures):
    for name, signature in signatures.items():
        empty = {k: v[:0] for k, v in _request(name, ROWS).items()}
        for output in signature(**empty).values():
            assert output.shape[0] == 0, name


def test_lists_of_no_width(trained, signatures):
    _, loaded = trained
    rows = [row | {"tags": []} for row in ROWS[:3]]
    raw = exported.raw(rows) | {"tags": tf.zeros([3, 0], tf.string)}
    answer = signatures["serving_default"](**raw)["click"]
    expected = exported.expected(loaded.model, rows)["click"]
    np.testing.assert_allclose(answer, expected, rtol=1e-5)


row_numbers = st.lists(st.integers(0, len(ROWS) - 1), min_size=1, max_size=9)


@settings(max_examples=25, deadline=None)
@given(row_numbers, st.integers(3, 7), st.sampled_from(["", "t0", "padding"]))
def test_an_answer_does_not_depend_on_its_batch(
    signatures, numbers, width, padding
):
    rows = [ROWS[number] for number in numbers]
    serve = signatures["serving_default"]
    together = serve(**exported.raw(rows, width, padding))
    examples = signatures["examples"](examples=_examples(rows))
    for place, row in enumerate(rows):
        alone = serve(**exported.raw([row]))
        for name in ("click", "buy"):
            for answer in (together, examples):
                np.testing.assert_allclose(
                    answer[name][place], alone[name][0], rtol=BATCH_TOLERANCE
                )


@settings(max_examples=10, deadline=None)
@given(row_numbers)
def test_no_signature_looks_at_other_rows(signatures, numbers):
    rows = [ROWS[number] for number in numbers]
    for name, signature in signatures.items():
        together = signature(**_request(name, rows))
        alone = signature(**_request(name, rows[-1:]))
        for output, values in together.items():
            last, single = values.numpy()[-1], alone[output].numpy()[0]
            if values.dtype == tf.string or name.startswith("embeddings_"):
                np.testing.assert_array_equal(last, single)
            else:
                np.testing.assert_allclose(last, single, rtol=BATCH_TOLERANCE)


def test_training_only_features_are_not_asked_for(signatures):
    specs = signatures["serving_default"].structured_input_signature[1]
    assert set(specs) == {"user", "city", "tags", "tags_length", "price"}
    assert specs["tags"].shape.as_list() == [None, None]


@pytest.mark.parametrize("lengths", [[4], [-1], [2**62]])
def test_lengths_that_do_not_fit_are_errors(signatures, lengths):
    raw = exported.raw(ROWS[:1]) | {
        "tags": tf.constant([["a", "b", "c"]]),
        "tags_length": tf.constant(lengths, tf.int64),
    }
    with pytest.raises(tf.errors.InvalidArgumentError, match="tags_length"):
        signatures["serving_default"](**raw)


@pytest.mark.parametrize("name", ["user", "tags_length", "price"])
@pytest.mark.parametrize("signature", ["serving_default", "scores"])
def test_inputs_of_unequal_rows_are_errors(signatures, signature, name):
    raw = _request(signature, ROWS[:3])
    raw[name] = raw[name][:1]
    with pytest.raises(tf.errors.InvalidArgumentError, match="as many rows"):
        signatures[signature](**raw)


def test_stock_operators_only(trained):
    library = _saved(trained).graph_def.library
    nodes = [node for one in library.function for node in one.node_def]
    nodes += _saved(trained).graph_def.node
    names = {node.op for node in nodes}
    assert "LookupTableFindV2" in names
    functions = {one.signature.name for one in library.function}
    operators = tf.raw_ops.__dict__
    assert not [
        name
        for name in names - functions
        if name not in operators
        or "PyFunc" in name
        or name.startswith("Tfplugin")
    ]


def test_one_graph_serves_all_signatures(trained):
    # Each of Classify and Regress calls `examples`; none holds the model.
    library = _saved(trained).graph_def.library
    products = [
        function.signature.name
        for function in library.function
        for node in function.node_def
        if node.op == "MatMul"
    ]
    assert len(set(products)) == 2


def test_composed_tables_and_first_order_weights(tmp_path):
    hashes = [
        layers.HashMapping(50, seed=k, id_dtype="string", name=f"ad_rows_{k}")
        for k in range(2)
    ]
    ad = keras.Input((), dtype="string", name="ad")
    vectors = layers.ComposedEmbedding(
        4, hashes, compose="concatenate", name="some_layer"
    )(ad)
    weights = layers.ComposedEmbedding(1, hashes, name="ad_weight")(ad)
    logit = keras.layers.Dense(1)(vectors) + weights
    model = keras.Model({"ad": ad}, {"buy": logit})
    schema = schema_lib.Schema(
        id_features={"ad": schema_lib.IdFeature(dtype="string", table="ad")},
        labels=("buy",),
    )
    path = export.save(model, tmp_path / "1", schema)
    loaded = tf.saved_model.load(str(path)).signatures
    ids = tf.constant(["x", "", "y"])
    composed = loaded["embeddings_ad"](ids=ids)["embeddings"]
    np.testing.assert_array_equal(composed, model.get_layer("some_layer")(ids))
    assert loaded["embeddings_ad_weight"](ids=ids)["embeddings"].shape == (3, 1)


def test_tables_of_rows_in_mixed_precision(tmp_path):
    item = keras.Input((None,), dtype="int64", ragged=True, name="item")
    vectors = layers.Embedding(
        9, 3, combiner="mean", seed=1, dtype="mixed_float16", name="shelf"
    )(item)
    model = keras.Model({"item": item}, {"buy": keras.layers.Dense(1)(vectors)})
    items = schema_lib.IdFeature(dtype="int64", table="item", is_list=True)
    schema = schema_lib.Schema(id_features={"item": items}, labels=("buy",))
    path = export.save(model, tmp_path / "1", schema)
    serve = tf.saved_model.load(str(path)).signatures["embeddings_shelf"]
    answer = serve(ids=tf.constant([8, 0], tf.int64))["embeddings"]
    table = model.get_layer("shelf").embeddings.numpy()
    assert answer.dtype == tf.float32
    np.testing.assert_allclose(answer, table[[8, 0]], rtol=1e-3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="shelf"):
        serve(ids=tf.constant([9], tf.int64))


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        ("2 * bid", "must name an objective"),
        ("click * user", "`user` is a feature of ids"),
        ("click * tags_length", "`tags_length` is a feature of ids"),
        ("click * open('x')", "none of the functions"),
    ],
)
def test_formulas_that_are_none(trained, tmp_path, formula, words):
    _, loaded = trained
    with pytest.raises(InputError, match=words) as caught:
        export.save(
            loaded.model,
            tmp_path / "1",
            loaded.dataset.schema,
            scores={"ranking": formula},
        )
    assert "ranking" in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        ("click * Price", "Price, price"),
        ("click * bid * Bid", "Bid, bid"),
        ("click * self", "'self'"),
    ],
)
def test_names_that_no_input_can_have(trained, formula, words):
    _, loaded = trained
    with pytest.raises(InputError, match=f"Received: {words}. Rename"):
        signatures_lib.build(
            lambda features, size: {},
            loaded.model,
            loaded.dataset.schema,
            {"ranking": formula},
        )


def _saved(trained):
    work, _ = trained
    content = (work.model / "3" / "saved_model.pb").read_bytes()
    return saved_model_pb2.SavedModel.FromString(content).meta_graphs[0]
