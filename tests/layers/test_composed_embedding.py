import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from tfplugin import layers
from tfplugin.layers import hashing

MISSING = -(2**63)


def _code(raw_id, seed):
    """The hash of an int64 id by Python's integers."""
    return hashing.splitmix64(raw_id + hashing.splitmix64(seed))


@settings(max_examples=30, deadline=None)
@given(
    ids=st.lists(st.integers(-(2**63) + 1, 2**63 - 1), max_size=8),
    num_bits=st.integers(1, 20),
    first_bit=st.integers(0, 42),
    seed=st.integers(0, 2**63 - 1),
)
def test_blocks_are_bits_of_the_hash(ids, num_bits, first_bit, seed):
    mapping = layers.CodeBlockMapping(num_bits, first_bit, seed=seed)
    rows = mapping(tf.constant([*ids, MISSING], tf.int64)).numpy()
    expected = [1 + (_code(i, seed) >> first_bit) % 2**num_bits for i in ids]
    assert rows.tolist() == [*expected, 0]
    assert mapping.vocabulary_size == 2**num_bits + 1


def test_blocks_of_strings_keep_raggedness_and_make_the_whole_code():
    ids = tf.ragged.constant([["a", ""], [], ["b"]], dtype=tf.string)
    whole = layers.CodeBlockMapping(11, id_dtype="string", seed=4)(ids)
    blocks = [
        layers.CodeBlockMapping(bits, first, id_dtype="string", seed=4)(ids)
        for first, bits in ((0, 4), (4, 4), (8, 3))
    ]
    assert all(
        block.row_lengths().numpy().tolist() == [2, 0, 1] for block in blocks
    )
    low, middle, high = (block.flat_values.numpy() for block in blocks)
    given_ids = whole.flat_values.numpy()
    present = given_ids > 0
    assert present.tolist() == [True, False, True]
    joined = (low - 1) + 16 * (middle - 1) + 256 * (high - 1)
    np.testing.assert_array_equal(joined[present], given_ids[present] - 1)
    assert [b[1] for b in (low, middle, high)] == [0, 0, 0]


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_bits": 0},
        {"num_bits": 1, "first_bit": -1},
        {"num_bits": 60, "first_bit": 3},
        {"num_bits": 3, "seed": -1},
        {"num_bits": 3, "seed": 2**63},
    ],
)
def test_blocks_that_are_refused(arguments):
    with pytest.raises(ValueError, match="Received: "):
        layers.CodeBlockMapping(**arguments)


def test_two_hashes_collide_independently():
    ids = tf.range(20_000, dtype=tf.int64)
    buckets = 500
    first, second = (
        layers.HashMapping(buckets, seed=seed)(ids).numpy() for seed in (0, 1)
    )
    pairs = len(ids) * (len(ids) - 1) / 2

    def shared(rows):
        counts = np.unique(rows, return_counts=True)[1].astype(float)
        return (counts * (counts - 1) / 2).sum()

    # Numbers of pairs are nearly Poisson: five standard deviations.
    for rows, expected in (
        (first, pairs / buckets),
        (second, pairs / buckets),
        (first * (buckets + 1) + second, pairs / buckets**2),
    ):
        assert abs(shared(rows) - expected) < 5 * np.sqrt(expected)


def _composed(compose, combiner=None, dim=4):
    layer = layers.ComposedEmbedding(
        dim,
        [layers.HashMapping(5, seed=0), layers.CodeBlockMapping(3, seed=1)],
        compose,
        combiner=combiner,
        embeddings_initializer=keras.initializers.RandomNormal(stddev=1.0),
        seed=3,
        name="item",
    )
    layer.build()
    return layer


def _rows(layer, ids):
    return [
        np.asarray(part.embeddings)[part.id_mapping(tf.constant(ids, tf.int64))]
        for part in layer.parts
    ]


@pytest.mark.parametrize("compose", ["add", "concatenate"])
def test_vectors_are_composed_of_rows(compose):
    layer = _composed(compose)
    ids = [[7, 8], [MISSING, 7]]
    first, second = _rows(layer, ids)
    expected = (
        first + second
        if compose == "add"
        else np.concatenate([first, second], axis=-1)
    )
    found = layer(tf.constant(ids, tf.int64))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.shape == (2, 2, 4)
    spec = layer(keras.Input((2,), dtype="int64"))
    assert (spec.shape, spec.dtype) == ((None, 2, 4), "float32")
    # Row 0 is the missing id's in each table, and starts at zero.
    assert not np.any(found[1, 0])


def test_bags_are_reduced_in_every_table():
    layer = _composed("concatenate", "mean")
    for part in layer.parts:
        part.embeddings.assign(
            tf.random.stateless_normal(part.embeddings.shape, (1, 2))
        )
    bags = [[7, 8, 7], [], [MISSING]]
    weights = [[1.0, 2.0, 1.0], [], [3.0]]
    found = layer(
        tf.ragged.constant(bags, dtype=tf.int64),
        tf.ragged.constant(weights, dtype=tf.float32),
    ).numpy()
    of_bag = np.concatenate(
        [
            np.average(rows, axis=0, weights=weights[0])
            for rows in _rows(layer, bags[0])
        ]
    )
    missing = np.concatenate([np.asarray(p.embeddings)[0] for p in layer.parts])
    np.testing.assert_allclose(
        found, [of_bag, missing, missing], rtol=1e-5, atol=1e-6
    )


def test_every_table_has_a_gradient_of_its_rows():
    layer = _composed("add", "sum")
    variables = [part.embeddings.value for part in layer.parts]
    with tf.GradientTape() as tape:
        ids = tf.ragged.constant([[7, 8, 7], [9]], dtype=tf.int64)
        loss = tf.reduce_sum(layer(ids))
    for part, gradient in zip(
        layer.parts, tape.gradient(loss, variables), strict=True
    ):
        assert isinstance(gradient, tf.IndexedSlices)
        dense = tf.convert_to_tensor(gradient).numpy()
        rows = part.id_mapping(tf.constant([7, 8, 7, 9], tf.int64)).numpy()
        expected = np.bincount(rows, minlength=part.vocabulary_size)
        np.testing.assert_allclose(dense[:, 0], expected)


def test_tables_start_apart_and_again_the_same():
    layer, again = _composed("add"), _composed("add")
    first, second = (np.asarray(part.embeddings) for part in layer.parts)
    assert not np.any(first[1:5] == second[1:5])
    for part, other in zip(layer.parts, again.parts, strict=True):
        np.testing.assert_array_equal(part.embeddings, other.embeddings)
        part.reset_embeddings(seed=99)
        assert np.any(np.asarray(part.embeddings) != other.embeddings)


def test_checkpoints_hold_every_table(tmp_path):
    layer = _composed("add")
    written = tf.train.Checkpoint(layer=layer).write(str(tmp_path / "c"))
    other = _composed("add")
    for part in other.parts:
        part.reset_embeddings(seed=99)
    reader = tf.train.Checkpoint(layer=other).read(written)
    reader.assert_existing_objects_matched()
    for part, restored in zip(layer.parts, other.parts, strict=True):
        np.testing.assert_array_equal(part.embeddings, restored.embeddings)


def test_a_collection_makes_one_of_several_mappings():
    mappings = tuple(layers.HashMapping(5, seed=seed) for seed in (0, 1))
    item = layers.TableConfig(
        "item", 4, mappings, seed=1, compose="concatenate"
    )
    user = layers.TableConfig("user", 2, vocabulary_size=9, seed=2)
    features = [
        layers.FeatureConfig("shown", item),
        layers.FeatureConfig("cart", item),
        layers.FeatureConfig("user", user),
    ]
    inputs = {
        "shown": tf.constant([7, 8], tf.int64),
        "cart": tf.ragged.constant([[8, 7], []], dtype=tf.int64),
        "user": tf.constant([1, 2], tf.int64),
    }
    collection = layers.EmbeddingCollection(features)
    found = collection(inputs)
    alone = collection.tables["item"]
    assert isinstance(alone, layers.ComposedEmbedding)
    assert [part.name for part in alone.parts] == ["item_0", "item_1"]
    for name in ("shown", "cart"):
        np.testing.assert_allclose(found[name], alone(inputs[name]))
    config = collection.get_config()
    again = layers.EmbeddingCollection.from_config(config)
    inputs["cart"] = tf.constant([8, 7], tf.int64)
    side_by_side = layers.EmbeddingCollection.from_config(
        {**config, "concatenate": True}
    )
    expected = tf.concat(list(again(inputs).values()), axis=1)
    np.testing.assert_array_equal(side_by_side(inputs, training=True), expected)


def test_row_counts_of_a_block_are_those_of_its_ids():
    mapping = layers.CodeBlockMapping(2, 1)
    ids = np.arange(50)
    counts = mapping.row_counts(ids, np.ones(50, np.int64))
    expected = np.zeros(5, int)
    for raw_id in ids.tolist():
        expected[1 + (_code(raw_id, 0) >> 1) % 4] += 1
    assert counts.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"compose": "multiply"}, "'multiply'"),
        ({"id_mappings": [layers.HashMapping(3)]}, "1 mappings"),
        (
            {
                "id_mappings": [
                    layers.HashMapping(3),
                    layers.HashMapping(3, id_dtype="string"),
                ]
            },
            "one dtype",
        ),
        ({"embedding_dim": 3, "compose": "concatenate"}, "a multiple"),
        ({"combiner": "max"}, "`combiner`"),
    ],
)
def test_compositions_that_are_refused(arguments, message):
    two = [layers.HashMapping(3, seed=seed) for seed in (0, 1)]
    arguments = {"embedding_dim": 4, "id_mappings": two, **arguments}
    with pytest.raises(ValueError, match=message):
        layers.ComposedEmbedding(**arguments)


def test_several_mappings_where_one_or_none_belongs():
    two = tuple(layers.HashMapping(3, seed=seed) for seed in (0, 1))
    with pytest.raises(TypeError, match="ComposedEmbedding"):
        layers.Embedding(id_mapping=two)
    with pytest.raises(ValueError, match="`compose`"):
        layers.TableConfig("item", 4, two, compose="multiply")
    table = layers.TableConfig("item", 4, two, vocabulary_size=4)
    with pytest.raises(ValueError, match="`vocabulary_size`"):
        layers.EmbeddingCollection([layers.FeatureConfig("item", table)])
