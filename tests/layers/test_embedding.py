import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from tfplugin import layers
from tfplugin.layers import table_rows


def reference_bag(table, rows, weights, combiner, missing_row):
    """One bag by the definition, in float64."""
    if not rows and missing_row is not None:
        rows, weights = [missing_row], [1.0]
    total = np.zeros(table.shape[1])
    for row, weight in zip(rows, weights, strict=True):
        total += weight * table[row].astype(np.float64)
    denominator = {
        "sum": 1.0,
        "mean": float(np.sum(weights)),
        "sqrtn": float(np.sqrt(np.sum(np.square(weights)))),
    }[combiner]
    return total / denominator if denominator else np.zeros_like(total)


def ragged(lists, dtype):
    flat = [x for one in lists for x in one]
    return tf.RaggedTensor.from_row_lengths(
        tf.constant(flat, dtype), [len(one) for one in lists]
    )


def random_table(layer, seed=0):
    layer.build()
    rng = np.random.default_rng(seed)
    table = rng.normal(size=layer.embeddings.shape).astype(np.float32)
    layer.embeddings.assign(table)
    return table


BAGS = st.lists(
    st.lists(
        st.tuples(st.integers(0, 6), st.sampled_from([0.0, 0.5, 1.0, 3.0])),
        max_size=5,
    ),
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(
    bags=BAGS,
    combiner=st.sampled_from(["sum", "mean", "sqrtn"]),
    weighted=st.booleans(),
    mapped=st.booleans(),
    row_dtype=st.sampled_from(["int32", "int64"]),
)
def test_combiners_match_the_definition(
    bags, combiner, weighted, mapped, row_dtype
):
    mapping = layers.VocabularyMapping([3, 1, 4]) if mapped else None
    layer = layers.Embedding(
        None if mapped else 7, 3, id_mapping=mapping, combiner=combiner
    )
    table = random_table(layer)
    ids = [[i for i, _ in bag] for bag in bags]
    weights = [[w if weighted else 1.0 for _, w in bag] for bag in bags]
    found = layer(
        ragged(ids, row_dtype),
        ragged(weights, tf.float32) if weighted else None,
    )
    known = {3: 2, 1: 3, 4: 4}
    rows = [[known.get(i, 1) if mapped else i for i in bag] for bag in ids]
    expected = [
        reference_bag(table, r, w, combiner, 0 if mapped else None)
        for r, w in zip(rows, weights, strict=True)
    ]
    assert found.shape == (len(bags), 3)
    np.testing.assert_allclose(
        found, np.reshape(expected, (-1, 3)), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("combiner", ["sum", "mean", "sqrtn"])
def test_dense_bags_and_scalars(combiner):
    layer = layers.Embedding(5, 2, combiner=combiner)
    table = random_table(layer)
    ids = np.array([[1, 1, 4], [0, 2, 3]])
    weights = np.array([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0]], np.float32)
    expected = [
        reference_bag(table, r, w, combiner, None)
        for r, w in zip(ids.tolist(), weights.tolist(), strict=True)
    ]
    found = layer(tf.constant(ids), weights=tf.constant(weights))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(
        layer(tf.constant([4, 4, 0])), table[[4, 4, 0]]
    )
    assert layer(tf.zeros((2, 0), tf.int32)).numpy().tolist() == [[0, 0]] * 2
    assert layer(tf.zeros((0,), tf.int32)).shape == (0, 2)


def test_without_combiner_any_dense_shape():
    layer = layers.Embedding(5, 2)
    table = random_table(layer)
    for shape in [(3,), (2, 3), (2, 0), (2, 1, 2)]:
        ids = np.arange(np.prod(shape)).reshape(shape).astype(np.int32) % 5
        np.testing.assert_array_equal(layer(tf.constant(ids)), table[ids])


@pytest.mark.parametrize("combiner", [None, "sum", "mean", "sqrtn"])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_gradients_are_indexed_slices(combiner, policy):
    layer = layers.Embedding(50, 4, combiner=combiner, dtype=policy)
    random_table(layer)
    ids = tf.constant([[3, 3, 7], [9, 3, 1]])

    @tf.function
    def gradient_of(ids):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.cast(layer(ids), tf.float32))
        return tape.gradient(loss, layer.embeddings.value)

    gradient = gradient_of(ids)
    assert isinstance(gradient, tf.IndexedSlices)
    assert gradient.values.dtype == tf.float32
    assert gradient.values.shape == (6, 4)
    scale = {None: 1.0, "sum": 1.0, "mean": 1 / 3, "sqrtn": 3**-0.5}[combiner]
    dense = np.zeros((50, 4))
    np.add.at(dense, ids.numpy().ravel(), scale)
    np.testing.assert_allclose(
        tf.convert_to_tensor(gradient), dense, rtol=1e-2 if policy else 1e-5
    )


@pytest.mark.parametrize("combiner", ["sum", "mean", "sqrtn"])
def test_zero_denominators_give_no_nan(combiner):
    layer = layers.Embedding(5, 2, combiner=combiner)
    random_table(layer)
    ids = ragged([[1, 2], [], [3]], "int64")
    weights = tf.Variable([0.0, 0.0, 2.0])
    with tf.GradientTape() as tape:
        vectors = layer(ids, ids.with_values(tf.identity(weights)))
        loss = tf.reduce_sum(vectors**2)
    gradients = tape.gradient(loss, [layer.embeddings.value, weights])
    assert np.all(vectors.numpy()[:2] == 0)
    for gradient in gradients:
        assert np.all(np.isfinite(tf.convert_to_tensor(gradient)))


def test_mixed_precision_keeps_the_table_in_float32():
    layer = layers.Embedding(9, 4, combiner="mean", dtype="mixed_bfloat16")
    table = random_table(layer)
    found = layer(tf.constant([[1, 2, 8]]))
    assert found.dtype == tf.bfloat16
    assert layer.embeddings.dtype == "float32"
    np.testing.assert_allclose(
        tf.cast(found, tf.float32)[0], table[[1, 2, 8]].mean(0), rtol=1e-2
    )
    graph = tf.function(layer).get_concrete_function(
        tf.TensorSpec([None, None], tf.int64)
    )
    names = {node.type for node in graph.graph.get_operations()}
    assert "ResourceGather" in names
    assert "ReadVariableOp" not in names


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize("bad", [-1, 5])
@pytest.mark.parametrize("combiner", [None, "mean"])
def test_out_of_range(in_graph, bad, combiner):
    layer = layers.Embedding(5, 2, combiner=combiner, name="item")
    layer.build()
    call = tf.function(layer) if in_graph else layer
    ids = tf.constant([[0, bad]])
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        call(ids)
    message = str(caught.value)
    assert "table item" in message
    assert "0 to 4" in message
    assert str(bad) in message


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Embedding(), "vocabulary_size=None"),
        (lambda: layers.Embedding(0, 2), "vocabulary_size=0"),
        (lambda: layers.Embedding(5, 0), "embedding_dim=0"),
        (lambda: layers.Embedding(5, 2, combiner="max"), "combiner='max'"),
        (
            lambda: layers.Embedding(5, id_mapping=layers.HashMapping(5)),
            "that of `id_mapping`, 6. Received: vocabulary_size=5",
        ),
        (
            lambda: layers.Embedding(5, embeddings_initializer="orthogonal"),
            "must be RandomNormal",
        ),
    ],
)
def test_arguments_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_calls_are_checked():
    plain = layers.Embedding(5, 2)
    bags = layers.Embedding(5, 2, combiner="sum")
    with pytest.raises(TypeError, match="int32 or int64.*dtype=float32"):
        plain(tf.constant([1.0]))
    with pytest.raises(ValueError, match="needs a `combiner`"):
        plain(tf.ragged.constant([[1], []]))
    with pytest.raises(ValueError, match="needs a `combiner`"):
        plain(tf.constant([1]), weights=tf.constant([1.0]))
    with pytest.raises(ValueError, match="must have shape"):
        bags(tf.zeros((1, 2, 3), tf.int32))
    with pytest.raises(ValueError, match="raggedness of `ids`"):
        bags(tf.ragged.constant([[1], []]), weights=tf.constant([[1.0], [0.0]]))
    with pytest.raises(ValueError, match="raggedness of `ids`"):
        bags(tf.constant([[1, 2]]), weights=tf.constant([[1.0]]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="as many values"):
        bags(ragged([[1], [2]], "int64"), ragged([[1.0, 2.0], []], "float32"))


@pytest.mark.parametrize(
    "initializer",
    [
        keras.initializers.RandomNormal(mean=1.0, stddev=0.25),
        keras.initializers.RandomUniform(minval=0.5, maxval=1.5),
        keras.initializers.TruncatedNormal(mean=1.0, stddev=0.25),
    ],
)
def test_tables_are_filled_and_reset_in_chunks(initializer):
    rows = 2 * table_rows.CHUNK_ROWS + 17
    layer = layers.Embedding(
        id_mapping=layers.HashMapping(rows - 1),
        embedding_dim=2,
        embeddings_initializer=initializer,
        seed=5,
    )
    layer.build()
    first = layer.embeddings.numpy()
    assert np.all(first[0] == 0)
    assert abs(first[1:].mean() - 1.0) < 0.01
    assert 0.2 < first[1:].std() < 0.3
    chunk = table_rows.CHUNK_ROWS
    assert not np.array_equal(first[1:17], first[chunk + 1 : chunk + 17])
    layer.reset_embeddings(seed=6)
    assert not np.any(layer.embeddings.numpy()[1:] == first[1:])
    assert np.all(layer.embeddings.numpy()[0] == 0)
    layer.reset_embeddings(seed=5)
    np.testing.assert_array_equal(layer.embeddings, first)


def test_constant_initializers_and_special_rows():
    mapping = layers.VocabularyMapping(["a", "b"], num_oov_buckets=2)
    layer = layers.Embedding(
        id_mapping=mapping,
        embedding_dim=1,
        embeddings_initializer=keras.initializers.Constant(2.0),
    )
    layer.build()
    assert layer.embeddings.numpy()[:, 0].tolist() == [0, 0, 0, 2, 2]
    assert layer.num_special_rows == 3
    zeros = layers.Embedding(4, 2, embeddings_initializer="zeros")
    zeros.build()
    assert not np.any(zeros.embeddings.numpy())


def test_seed_is_drawn_and_kept():
    layer, other = layers.Embedding(30, 2), layers.Embedding(30, 2)
    again = layers.Embedding.from_config(layer.get_config())
    for table in (layer, other, again):
        table.build()
    np.testing.assert_array_equal(layer.embeddings, again.embeddings)
    assert not np.array_equal(layer.embeddings, other.embeddings)
    assert np.any(layer.embeddings.numpy()[0])


def test_config_round_trip():
    layer = layers.Embedding(
        embedding_dim=3,
        id_mapping=layers.HashMapping(5, seed=2),
        combiner="sqrtn",
        embeddings_initializer=keras.initializers.RandomUniform(0.0, 2.0),
        seed=11,
        name="item",
        dtype="mixed_bfloat16",
    )
    again = layers.Embedding.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert again.vocabulary_size == 6
    assert again.table_name == "item"
    assert again.combiner == "sqrtn"
    assert again.seed == 11
    assert again.compute_dtype == "bfloat16"
    assert again.id_mapping.seed == 2


def two_tables_model():
    mapping = layers.VocabularyMapping(["a\n", "b", "c"])
    words = keras.Input((None,), dtype="string", ragged=True, name="words")
    last = keras.Input((), dtype="string", name="last")
    bag = layers.Embedding(
        embedding_dim=4, id_mapping=mapping, combiner="mean", name="bag"
    )
    one = layers.Embedding(embedding_dim=2, id_mapping=mapping, name="one")
    merged = keras.layers.Concatenate()([bag(words), one(last)])
    outputs = keras.layers.Dense(1, activation="sigmoid")(merged)
    return keras.Model({"words": words, "last": last}, outputs)


def two_tables_data():
    inputs = {
        "words": tf.ragged.constant([["a\n", "b"], [], ["x"], ["c", "c"]] * 3),
        "last": tf.constant(["b", "", "c", "x"] * 3),
    }
    labels = np.tile([[1.0], [0.0], [0.0], [1.0]], (3, 1))
    return tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(4)


class RecordingSgd(keras.optimizers.SGD):
    """Notes the kind of gradient each variable gets."""

    def update_step(self, gradient, variable, learning_rate):
        self.kinds = {
            **getattr(self, "kinds", {}),
            variable.name: type(gradient).__name__,
        }
        super().update_step(gradient, variable, learning_rate)


@pytest.mark.filterwarnings("ignore:.*shuffle=True.*:UserWarning")
def test_fit_save_and_load(tmp_path):
    model, data = two_tables_model(), two_tables_data()
    optimizer = RecordingSgd(0.5)
    model.compile(optimizer, "binary_crossentropy", jit_compile=False)
    history = model.fit(data, epochs=5, verbose=0).history["loss"]
    assert history[-1] < history[0]
    assert optimizer.kinds["bag/embeddings:0"] == "IndexedSlices"
    assert optimizer.kinds["one/embeddings:0"] == "IndexedSlices"
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(
        tmp_path / "m.keras", custom_objects={"RecordingSgd": RecordingSgd}
    )
    np.testing.assert_array_equal(
        again.predict(data, verbose=0), model.predict(data, verbose=0)
    )
    # A vocabulary shared by two tables stays one.
    found = layers.find_id_mappings(again)
    assert len({id(mapping.lookup_table) for mapping in found}) == 1


def test_saved_model_of_a_model(tmp_path):
    model = two_tables_model()
    module = tf.Module()
    module.variables_of_model = model.variables

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.string, "words"),
            tf.TensorSpec([None], tf.int64, "length"),
            tf.TensorSpec([None], tf.string, "last"),
        ]
    )
    def serve(words, length, last):
        words = tf.RaggedTensor.from_tensor(words, lengths=length)
        return {"score": model({"words": words, "last": last})}

    module.serve = serve
    with layers.exporting(model) as trackables:
        module.tables = trackables
        tf.saved_model.save(module, str(tmp_path / "saved"), signatures=serve)
    again = tf.saved_model.load(str(tmp_path / "saved"))
    inputs, _ = next(iter(two_tables_data()))
    scores = again.signatures["serving_default"](
        words=inputs["words"].to_tensor(),
        length=inputs["words"].row_lengths(),
        last=inputs["last"],
    )
    np.testing.assert_allclose(scores["score"], model(inputs), rtol=1e-6)
    assert len(list((tmp_path / "saved" / "assets").iterdir())) == 1


def test_no_retracing_of_ragged_calls():
    layer = layers.Embedding(5, 2, combiner="mean")
    layer.build()
    traces = []

    @tf.function(input_signature=[tf.RaggedTensorSpec([None, None], tf.int64)])
    def call(ids):
        traces.append(1)
        return layer(ids)

    for lists in ([[1], []], [[]], [[1, 2, 3], [4], [0]]):
        assert call(ragged(lists, "int64")).shape == (len(lists), 2)
    assert len(traces) == 1


def test_built_inside_a_subclassed_model():
    class Wide(keras.Model):
        def __init__(self):
            super().__init__()
            self.table = layers.Embedding(
                id_mapping=layers.HashMapping(20),
                embedding_dim=2,
                combiner="sum",
                seed=3,
            )

        def call(self, ids):
            return self.table(ids)

    model = Wide()
    # A symbolic call creates variables outside of eager mode.
    model(keras.Input((3,), dtype="int64"))
    direct = layers.Embedding(21, 2, seed=3)
    direct.build()
    expected = direct.embeddings.numpy().copy()
    expected[0] = 0
    np.testing.assert_array_equal(model.table.embeddings, expected)

    traced = Wide()

    @tf.function
    def first_call(ids):
        return traced(ids)

    first_call(tf.constant([[1, 2]], tf.int64))
    np.testing.assert_array_equal(traced.table.embeddings, expected)

    layer = layers.Embedding(21, 2, seed=3)
    tf.function(layer)(tf.constant([1, 2]))
    np.testing.assert_array_equal(layer.embeddings, direct.embeddings)
