import hypothesis
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfplugin import data
from tfplugin import layers
from tfplugin.errors import InputError
from tfplugin.export import table_compression
from tfplugin.export.table_compression import TableCompression
from tfplugin.export.table_compression_dtypes import StoredRows
from tfplugin.export.table_compression_pruning import row_map

MISSING = -(2**63)


# References, in NumPy alone.


def _int8(rows):
    scale = np.abs(rows).max(1, keepdims=True).astype(np.float32)
    scale = scale / np.float32(127)
    half = scale.astype(np.float16)
    up = half.astype(np.float32) < scale
    half = np.where(up, np.nextafter(half, np.float16(np.inf)), half)
    half = half.astype(np.float32)
    safe = np.where(half > 0, half, 1)
    return np.round(rows / safe) * half, half[:, 0]


def _stored(rows, dtype):
    if dtype == "int8":
        return _int8(rows)[0]
    kinds = {"bfloat16": tf.bfloat16.as_numpy_dtype}
    return rows.astype(kinds.get(dtype, dtype)).astype(np.float32)


def _row_vectors(layer, how, counts, oov_row=None):
    """What every trained row is to answer."""
    table = layer.embeddings.numpy()
    answers = _stored(table, how.dtype)
    goes = np.zeros(len(table), bool)
    if how.min_count:
        goes |= counts < how.min_count
    if how.drop_unused:
        goes |= counts == 0
    goes[: layer.num_special_rows] = False
    if not goes.any():
        return answers
    if how.rare_rows == "oov" and oov_row is not None:
        for row in np.flatnonzero(goes):
            answers[row] = answers[oov_row(row)]
        return answers
    mean = np.zeros((1, table.shape[1]), np.float32)
    if counts[goes].sum():
        weights = counts[goes] / counts[goes].sum()
        mean = (weights @ table[goes].astype(np.float64))[np.newaxis]
    answers[goes] = _stored(mean.astype(np.float32), how.dtype)
    return answers


def _combine(vectors, combiner, weights=None):
    weights = np.ones(len(vectors)) if weights is None else np.array(weights)
    total = weights @ vectors
    if combiner == "sum":
        return total
    norm = weights.sum() if combiner == "mean" else np.sqrt((weights**2).sum())
    return total / norm if norm else np.zeros_like(total)


def _trained(layer, seed=0, scale=0.3):
    if not layer.built:
        layer.build()
    rng = np.random.default_rng(seed)
    shape = layer.embeddings.shape
    layer.embeddings.assign(rng.normal(0, scale, shape).astype(np.float32))
    return layer


def _export(path, model, plan, counts, call, spec):
    """Writes a SavedModel, loads it, and returns its answer."""
    module = tf.Module()
    with table_compression.compressing(model, plan, counts) as made:
        with layers.exporting(model) as assets:
            module.weights = made.weights(model)
            module.assets = assets
            module.call = tf.function(
                call, input_signature=spec, autograph=False
            )
            tf.saved_model.save(module, str(path))
    loaded = tf.saved_model.load(str(path))
    return (lambda *inputs: loaded.call(*inputs).numpy()), made


def _written(path):
    return sum(f.stat().st_size for f in (path / "variables").iterdir())


# Numbers in fewer bytes.

_ROWS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 9), st.integers(1, 17)),
    elements=st.one_of(
        # A 127th of a subnormal number may be 0.
        st.floats(-3.0, 3.0, width=32, allow_subnormal=False),
        st.floats(-6e4, 6e4, width=32, allow_subnormal=False),
        st.just(0.0),
        st.floats(-(2.0**-17), 2.0**-17, width=32, allow_subnormal=False),
    ),
)


@hypothesis.given(_ROWS)
@hypothesis.settings(max_examples=60, deadline=None)
def test_int8_errs_by_half_a_scale_at_most(rows):
    stored = StoredRows(*rows.shape, "int8", "item")
    stored.write(0, tf.constant(rows))
    found = stored.gather(tf.range(len(rows)), tf.float32).numpy()
    expected, scales = _int8(rows)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=0)
    greatest = np.abs(rows).max(1) / 127
    # The least float16 that leaves the greatest number room.
    assert np.all(scales >= greatest * (1 - 1e-6))
    assert np.all(scales <= greatest * (1 + 2**-10) + 2**-24)
    error = np.abs(found.astype(np.float64) - rows)
    assert np.all(error <= scales[:, np.newaxis] * (0.5 + 1e-5))
    assert not found[~rows.any(1)].any()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_short_floats_are_numbers_rounded(dtype):
    rows = np.random.default_rng(0).normal(0, 1, (50, 3)).astype(np.float32)
    stored = StoredRows(50, 3, dtype, "item")
    stored.write(10, tf.constant(rows[10:]))
    stored.write(0, tf.constant(rows[:10]))
    found = stored.gather(tf.range(50), tf.float32).numpy()
    np.testing.assert_array_equal(found, _stored(rows, dtype))
    assert stored.num_bytes == 50 * 3 * 2


def test_a_row_of_int8_takes_a_byte_a_number_and_two():
    assert StoredRows(10, 16, "int8", "item").num_bytes == 10 * 18


@pytest.mark.parametrize(
    ("dtype", "value", "words"),
    [
        ("float16", 7e4, "item, row 41, whose greatest magnitude is 70000"),
        ("float16", np.nan, "item, row 41.* nan"),
        ("bfloat16", np.inf, "item, row 41.* inf"),
        ("int8", 1e7, "item, row 41.* 1e\\+07.* bfloat16"),
        ("int8", np.nan, "item, row 41.*diverged"),
        ("int8", -np.inf, "item, row 41"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(dtype, value, words):
    layer = _trained(layers.Embedding(50, 3, name="item"))
    table = layer.embeddings.numpy()
    table[41, 1] = value
    layer.embeddings.assign(table)
    with pytest.raises(InputError, match=words):
        with table_compression.compressing(
            layer, {"item": TableCompression(dtype)}, {}
        ):
            pass
    # Nothing is left behind.
    np.testing.assert_array_equal(layer(tf.range(50)).numpy(), table)


# Fewer rows.


@hypothesis.given(
    counts=hnp.arrays(np.int64, st.integers(1, 40), elements=st.integers(0, 5)),
    special=st.integers(0, 3),
    min_count=st.integers(0, 6),
    drop_unused=st.booleans(),
    rare_rows=st.sampled_from(["oov", "shared"]),
    has_oov=st.booleans(),
)
@hypothesis.settings(max_examples=150, deadline=None)
def test_rows_go_by_count(
    counts, special, min_count, drop_unused, rare_rows, has_oov
):
    special = min(special, len(counts))
    has_oov = has_oov and special > 1
    found = row_map(
        counts,
        num_special_rows=special,
        min_count=min_count,
        drop_unused=drop_unused,
        rare_rows=rare_rows,
        oov_rows=(lambda rows: np.ones(len(rows), int)) if has_oov else None,
    )
    stays = [
        row < special or not (count < min_count or (drop_unused and count == 0))
        for row, count in enumerate(counts)
    ]
    if all(stays):
        assert found is None
        return
    shared = rare_rows == "shared" or not has_oov
    assert found.num_rows == sum(stays) + shared
    for row, stay in enumerate(stays):
        new = found.new_rows[row]
        if stay:
            assert new == sum(stays[:row])
            assert found.kept[new] == row
        else:
            assert new == (sum(stays) if shared else 1)
    assert found.pruned.tolist() == [r for r, s in enumerate(stays) if not s]


_KEYS = [f"id{k}" for k in range(40)]
_COUNTS = np.arange(40)[::-1] // 3  # 13 ... 0


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("num_oov", [1, 3])
@pytest.mark.parametrize("rare_rows", ["oov", "shared"])
def test_a_vocabulary_loses_its_rare_ids(tmp_path, rare_rows, num_oov, dtype):
    mapping = layers.VocabularyMapping(_KEYS, num_oov_buckets=num_oov)
    layer = _trained(layers.Embedding(None, 4, id_mapping=mapping, name="item"))
    counts = mapping.row_counts(np.array(_KEYS, object), _COUNTS)
    how = TableCompression(dtype, min_count=5, rare_rows=rare_rows)
    answer, made = _export(
        tmp_path / "1",
        layer,
        {"item": how},
        {"item": counts},
        lambda ids: layer(ids, training=False),
        [tf.TensorSpec([None], tf.string)],
    )
    ids = tf.constant([*_KEYS, "", "unknown", "other"])
    unpruned = layers.VocabularyMapping(["-"], num_oov_buckets=num_oov)
    expected = _row_vectors(
        layer,
        how,
        counts,
        lambda row: int(unpruned(tf.constant([_KEYS[row - 1 - num_oov]]))[0]),
    )
    rows = mapping(ids).numpy()
    np.testing.assert_allclose(answer(ids), expected[rows], rtol=1e-5)
    kept = int((_COUNTS >= 5).sum())
    (size,) = made.tables
    assert size.renumbered_by == "vocabulary"
    assert size.rows == 1 + num_oov + kept + (rare_rows == "shared")
    assert size.bytes == size.rows * (16 if dtype == "float32" else 6)
    (asset,) = (tmp_path / "1" / "assets").iterdir()
    keys = tf.io.parse_tensor(asset.read_bytes(), tf.string).numpy().tolist()
    if rare_rows == "oov":
        assert keys == [k.encode() for k in _KEYS[:kept]]
        whole = sum(len(k) + 2 for k in _KEYS[kept:])
        assert size.vocabulary_bytes_saved == whole
    else:
        assert sorted(keys) == sorted(k.encode() for k in _KEYS)
    # The layer itself is as it was.
    np.testing.assert_array_equal(
        layer(ids).numpy(), layer.embeddings.numpy()[rows]
    )
    assert mapping.vocabulary.tolist() == [k.encode() for k in _KEYS]


def test_unsorted_vocabularies_and_unread_rows(tmp_path):
    ids = np.array([50, -7, 3, 2**40, 11, 12], np.int64)
    mapping = layers.VocabularyMapping(ids)
    layer = _trained(layers.Embedding(None, 2, id_mapping=mapping, name="item"))
    counts = mapping.row_counts(ids[[3, 1, 3, 4]], np.array([1, 1, 1, 9]))
    how = TableCompression(drop_unused=True, rare_rows="shared")
    answer, made = _export(
        tmp_path / "1",
        layer,
        {"default": how},
        {"item": counts},
        lambda ids: layer(ids, training=False),
        [tf.TensorSpec([None], tf.int64)],
    )
    asked = tf.constant([*ids, 99, MISSING], tf.int64)
    expected = _row_vectors(layer, how, counts)[mapping(asked).numpy()]
    np.testing.assert_allclose(answer(asked), expected, rtol=1e-6)
    assert not answer(tf.constant([50], tf.int64)).any()
    assert made.tables[0].rows == 2 + 3 + 1


@pytest.mark.parametrize(
    ("dim", "renumbered", "rows"), [(16, "rows", 1 + 10 + 1), (1, None, 41)]
)
def test_buckets_are_renumbered_where_that_saves_bytes(
    tmp_path, dim, renumbered, rows
):
    mapping = layers.HashMapping(40)
    layer = _trained(
        layers.Embedding(None, dim, id_mapping=mapping, name="item")
    )
    counts = np.zeros(41, np.int64)
    counts[1::4] = np.arange(10) + 1
    how = TableCompression("float16", min_count=1)
    answer, made = _export(
        tmp_path / "1",
        layer,
        {"item": how},
        {"item": counts},
        lambda ids: layer(ids, training=False),
        [tf.TensorSpec([None], tf.int64)],
    )
    ids = tf.constant([MISSING, *range(300)], tf.int64)
    used = how if renumbered else TableCompression("float16")
    expected = _row_vectors(layer, used, counts)[mapping(ids).numpy()]
    np.testing.assert_array_equal(answer(ids), expected)
    (size,) = made.tables
    assert (size.renumbered_by, size.rows) == (renumbered, rows)
    assert size.bytes == rows * dim * 2 + (41 * 4 if renumbered else 0)
    assert _written(tmp_path / "1") < size.bytes + 2000


@pytest.mark.parametrize(
    ("combiner", "weighted", "dtype"),
    [
        ("sum", False, "float16"),
        ("sum", True, "int8"),
        ("mean", False, "int8"),
        ("mean", True, "float16"),
        ("sqrtn", False, "float16"),
        ("sqrtn", True, "int8"),
    ],
)
def test_bags(tmp_path, combiner, weighted, dtype):
    mapping = layers.VocabularyMapping(_KEYS)
    layer = _trained(
        layers.Embedding(
            None, 3, id_mapping=mapping, combiner=combiner, name="item"
        )
    )
    counts = mapping.row_counts(np.array(_KEYS, object), _COUNTS)
    how = TableCompression(dtype, min_count=2, rare_rows="shared")
    spec = [tf.RaggedTensorSpec([None, None], tf.string, 1)]
    if weighted:
        spec.append(tf.RaggedTensorSpec([None, None], tf.float32, 1))
    answer, _ = _export(
        tmp_path / "1",
        layer,
        {"item": how},
        {"item": counts},
        lambda *inputs: layer(*inputs, training=False),
        spec,
    )
    bags = [["id3", "id39", "id3"], [], ["", "?", "id38"], ["id0"]]
    weights = [[0.5, 2.0, -1.0], [], [1.0, 3.0, 0.25], [0.0]]
    vectors = _row_vectors(layer, how, counts)
    inputs = [tf.ragged.constant(bags, dtype=tf.string)]
    if weighted:
        inputs.append(tf.ragged.constant(weights, dtype=tf.float32))
    expected = [
        _combine(
            vectors[mapping(tf.constant(bag or [""])).numpy()],
            combiner,
            w if weighted and w else None,
        )
        for bag, w in zip(bags, weights, strict=True)
    ]
    np.testing.assert_allclose(answer(*inputs), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("compose", ["add", "concatenate"])
@pytest.mark.parametrize("kind", ["double_hash", "binary_code"])
def test_composed_tables(tmp_path, kind, compose):
    mappings = {
        "double_hash": [layers.HashMapping(60, seed=s) for s in (0, 1)],
        "binary_code": [
            layers.CodeBlockMapping(6, first_bit=6 * k) for k in (0, 1)
        ],
    }[kind]
    layer = layers.ComposedEmbedding(
        8, mappings, compose, combiner="mean", name="item"
    )
    layer.build()
    for seed, part in enumerate(layer.parts):
        _trained(part, seed)
    # One part's unused rows are worth their numbers, the other's are not.
    seen = np.array([3, 3, 4, *range(100, 104)], np.int64)
    how = TableCompression("float32", drop_unused=True)
    frequencies = data.IdFrequencies.from_counts(
        np.unique(seen), [1, 2, 3, 4, 5, 6]
    )
    counts = table_compression.row_counts(
        layer, {"item": how}, {"item": frequencies}.__getitem__
    )
    assert sorted(counts) == ["item_0", "item_1"]
    answer, made = _export(
        tmp_path / "1",
        layer,
        {"item": how},
        counts,
        lambda ids: layer(ids, training=False),
        [tf.TensorSpec([None], tf.int64)],
    )
    ids = tf.constant([MISSING, 3, 4, 100, 7, 8, 9, 10**12], tf.int64)
    parts = [
        _row_vectors(part, how, counts[part.table_name])[mapping(ids).numpy()]
        for part, mapping in zip(layer.parts, mappings, strict=True)
    ]
    join = np.concatenate(parts, 1) if compose == "concatenate" else sum(parts)
    np.testing.assert_allclose(answer(ids), join, rtol=1e-6)
    assert {size.renumbered_by for size in made.tables} == {"rows"}


def test_collections_and_what_else_a_plan_does_not_name(tmp_path):
    shared = layers.TableConfig(
        "item", 4, id_mapping=layers.VocabularyMapping(_KEYS), combiner="mean"
    )
    plain = layers.TableConfig("shop", 4, vocabulary_size=9)
    layer = layers.EmbeddingCollection(
        [
            layers.FeatureConfig("shown", shared),
            layers.FeatureConfig("cart", shared),
            layers.FeatureConfig("shop", plain),
        ],
        concatenate=True,
    )
    layer.build()
    for table in layer.tables.values():
        _trained(table)
    answer, made = _export(
        tmp_path / "1",
        layer,
        {"item": TableCompression("int8")},
        {},
        lambda shown, cart, shop: layer(
            {"shown": shown, "cart": cart, "shop": shop}, training=False
        ),
        [
            tf.TensorSpec([None], tf.string),
            tf.RaggedTensorSpec([None, None], tf.string, 1),
            tf.TensorSpec([None], tf.int32),
        ],
    )
    found = answer(
        tf.constant(["id1"]),
        tf.ragged.constant([["id2", "id3"]]),
        tf.constant([5]),
    )
    small = _int8(layer.tables["item"].embeddings.numpy())[0]
    expected = [
        small[3],
        (small[4] + small[5]) / 2,
        layer.tables["shop"].embeddings.numpy()[5],
    ]
    np.testing.assert_allclose(found[0], np.concatenate(expected), rtol=1e-5)
    assert [(size.name, size.dtype) for size in made.tables] == [
        ("item", "int8"),
        ("shop", "float32"),
    ]
    assert made.replaced == [layer.tables["item"].embeddings]


def test_a_row_outside_of_the_table_is_still_refused(tmp_path):
    layer = _trained(layers.Embedding(100, 16, name="item"))
    counts = np.arange(100)
    how = TableCompression("int8", min_count=90)
    answer, made = _export(
        tmp_path / "1",
        layer,
        {"item": how},
        {"item": counts},
        lambda ids: layer(ids, training=False),
        [tf.TensorSpec([None], tf.int64)],
    )
    assert made.tables[0].renumbered_by == "rows"
    expected = _row_vectors(layer, how, counts)
    ids = tf.constant([0, 95, 7], tf.int64)
    np.testing.assert_allclose(answer(ids), expected[[0, 95, 7]], rtol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match="table item"):
        answer(tf.constant([100], tf.int64))


def test_tables_of_one_vocabulary_that_are_pruned_differently(tmp_path):
    mapping = layers.VocabularyMapping(_KEYS)
    wide = _trained(layers.Embedding(None, 16, id_mapping=mapping, name="wide"))
    deep = _trained(layers.Embedding(None, 8, id_mapping=mapping, name="deep"))
    ids = keras.Input((), dtype="string")
    model = keras.Model(ids, keras.layers.Concatenate()([wide(ids), deep(ids)]))
    counts = mapping.row_counts(np.array(_KEYS, object), _COUNTS)
    plan = {
        "wide": TableCompression(min_count=12),
        "deep": TableCompression("float16"),
    }
    answer, made = _export(
        tmp_path / "1",
        model,
        plan,
        {"wide": counts},
        lambda ids: model(ids, training=False),
        [tf.TensorSpec([None], tf.string)],
    )
    asked = tf.constant([*_KEYS, "", "?"])
    rows = mapping(asked).numpy()
    expected = np.concatenate(
        [
            _row_vectors(wide, plan["wide"], counts, lambda row: 1),
            _row_vectors(deep, plan["deep"], counts),
        ],
        axis=1,
    )[rows]
    np.testing.assert_allclose(answer(asked), expected, rtol=1e-6)
    assert [size.renumbered_by for size in made.tables] == ["rows", None]
    # Alike, the vocabulary itself shrinks, once.
    plan = dict.fromkeys(("wide", "deep"), TableCompression(min_count=12))
    both = {"wide": counts, "deep": counts}
    with table_compression.compressing(model, plan, both) as made:
        assert len(mapping.vocabulary) == int((_COUNTS >= 12).sum())
        assert [size.renumbered_by for size in made.tables] == [
            "vocabulary",
            "vocabulary",
        ]
        saved = [size.vocabulary_bytes_saved for size in made.tables]
        assert saved[0] > 0
        assert saved[1] == 0


def test_a_mapping_that_others_use_keeps_its_rows():
    mapping = layers.VocabularyMapping(_KEYS)
    layer = _trained(
        layers.Embedding(None, 16, id_mapping=mapping, name="item")
    )
    ids = keras.Input((), dtype="string")
    model = keras.Model(ids, {"vector": layer(ids), "row": mapping(ids)})
    counts = mapping.row_counts(np.array(_KEYS, object), _COUNTS)
    plan = {"item": TableCompression(min_count=12)}
    asked = tf.constant(["id0", "id39"])
    with table_compression.compressing(model, plan, {"item": counts}) as made:
        assert made.tables[0].renumbered_by == "rows"
        found = model(asked, training=False)
    assert found["row"].numpy().tolist() == [2, 41]
    expected = _row_vectors(layer, plan["item"], counts, lambda row: 1)
    np.testing.assert_array_equal(found["vector"], expected[[2, 41]])


def test_training_goes_on_with_the_trained_table():
    layer = _trained(layers.Embedding(10, 4, combiner="sum", name="item"))
    table = layer.embeddings.numpy()
    bags = tf.ragged.constant([[1, 2], [3]])
    with table_compression.compressing(
        layer, {"item": TableCompression("int8")}, {}
    ):
        trained = layer(bags, training=True).numpy()
        answered = layer(bags, training=False).numpy()
    np.testing.assert_allclose(trained[1], table[3])
    assert np.abs(answered[1] - table[3]).max() > 0
    np.testing.assert_array_equal(layer(bags).numpy()[1], table[3])


def test_tables_trained_in_half_precision():
    layer = layers.Embedding(10, 4, name="item", dtype="float16")
    layer.build()
    plan = {"default": TableCompression("int8")}
    with table_compression.compressing(layer, plan, {}) as made:
        found = layer(tf.range(10))
        assert found.dtype == tf.float16
        np.testing.assert_allclose(
            found, _int8(layer.embeddings.numpy())[0], rtol=2e-3, atol=1e-5
        )
    assert made.tables[0].bytes_before == 80
    with table_compression.compressing(layer, {}, {}) as made:
        assert made.tables[0].dtype == "float16"
        assert not made.replaced


def test_chunks_join(monkeypatch):
    layer = _trained(layers.Embedding(100, 16, name="item"))
    counts = np.arange(100)
    plan = {"item": TableCompression("int8", min_count=60)}
    monkeypatch.setattr(table_compression.table_rows, "CHUNK_ROWS", 7)
    with table_compression.compressing(layer, plan, {"item": counts}):
        found = layer(tf.range(100)).numpy()
    expected = _row_vectors(layer, plan["item"], counts)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_wrong_plans_are_refused():
    layer = _trained(layers.Embedding(10, 4, name="item"))
    int8 = TableCompression("int8")
    pruned = TableCompression(min_count=2)
    for plan, counts, error, words in (
        ({"shop": int8}, {}, InputError, "'item'.* Received: .*'shop'"),
        ({"item": pruned}, {}, InputError, "none of table item"),
        ({"item": pruned}, {"item": np.ones(9)}, ValueError, r"\(9,\)"),
    ):
        with pytest.raises(error, match=words):
            with table_compression.compressing(layer, plan, counts):
                pass
    for wrong in (
        {"dtype": "int4"},
        {"min_count": -1},
        {"min_count": float("nan")},
        {"rare_rows": "cold"},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            TableCompression(**wrong)
