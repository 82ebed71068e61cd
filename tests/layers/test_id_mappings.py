import json
import os
import pathlib
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from tfplugin import layers
from tfplugin import schema

MASK = 2**64 - 1
ODD_KEYS = [b"a\nb", b"c\r", b"\0", b"d\0", b"\xff\xfe", b" ", "é".encode()]
MISSING = schema.MISSING_INT64


def reference_hash(value, seed, num_buckets):
    """splitmix64 as its authors publish it, `next()` with a state."""

    def following(state):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    return following(value + following(seed)) % num_buckets


@settings(max_examples=30, deadline=None)
@given(
    ids=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20),
    seed=st.integers(0, 2**63 - 1),
    num_buckets=st.integers(1, 2**40),
)
def test_hash_mapping_is_seeded_splitmix(ids, seed, num_buckets):
    mapping = layers.HashMapping(num_buckets, seed=seed)
    rows = mapping(tf.constant(ids, tf.int64)).numpy()
    expected = [
        0 if i == MISSING else 1 + reference_hash(i, seed, num_buckets)
        for i in ids
    ]
    assert rows.tolist() == expected
    assert rows.dtype == np.int64


@pytest.mark.parametrize("id_dtype", ["int64", "string"])
def test_hash_is_uniform_over_sequential_ids(id_dtype):
    ids = tf.range(100_000, dtype=tf.int64)
    ids = tf.strings.as_string(ids) if id_dtype == "string" else ids
    rows = layers.HashMapping(1000, id_dtype)(ids).numpy()
    counts = np.bincount(rows, minlength=1001)
    assert counts[0] == 0
    chi_square = np.sum((counts[1:] - 100.0) ** 2 / 100.0)
    # 999 degrees of freedom: six standard deviations about the mean.
    assert abs(chi_square - 999) < 6 * np.sqrt(2 * 999)


def test_seeds_collide_independently():
    ids = tf.range(20_000, dtype=tf.int64)
    first = layers.HashMapping(100, seed=1)(ids).numpy()
    second = layers.HashMapping(100, seed=2)(ids).numpy()
    pairs = np.bincount((first - 1) * 100 + second - 1, minlength=10_000)
    chi_square = np.sum((pairs - 2.0) ** 2 / 2.0)
    assert abs(chi_square - 9_999) < 6 * np.sqrt(2 * 9_999)


@pytest.mark.parametrize("kind", ["hash", "vocabulary"])
def test_rows_do_not_depend_on_the_batch(kind):
    words = [f"w{i}" for i in range(50)]
    mapping = (
        layers.HashMapping(20, "string")
        if kind == "hash"
        else layers.VocabularyMapping(words[:10], num_oov_buckets=7)
    )
    together = mapping(tf.constant(words)).numpy()
    alone = [int(mapping(tf.constant([w]))[0]) for w in words]
    assert together.tolist() == alone


def test_vocabulary_rows_int64():
    mapping = layers.VocabularyMapping(np.array([30, -5, 0, 2**63 - 1]))
    ids = tf.constant([[-5, 0], [MISSING, 17], [30, 2**63 - 1]], tf.int64)
    assert mapping(ids).numpy().tolist() == [[3, 4], [0, 1], [2, 5]]
    assert (mapping.vocabulary_size, mapping.num_special_rows) == (6, 2)
    assert mapping.id_dtype == "int64"
    int32_rows = mapping(tf.constant([30, 1], tf.int32))
    assert int32_rows.numpy().tolist() == [2, 1]


@pytest.mark.parametrize("make", [list, lambda k: np.array(k, object)])
def test_vocabulary_keys_hold_any_byte(make):
    mapping = layers.VocabularyMapping(make(ODD_KEYS))
    rows = mapping(tf.constant([*ODD_KEYS, b"", b"d", b"c"])).numpy()
    assert rows.tolist() == [*range(2, 2 + len(ODD_KEYS)), 0, 1, 1]
    assert mapping.vocabulary.tolist() == ODD_KEYS


def test_oov_rows_use_the_hash():
    mapping = layers.VocabularyMapping([1, 2], num_oov_buckets=5, seed=9)
    ids = np.arange(100)
    rows = mapping(tf.constant(ids, tf.int64)).numpy()
    expected = [1 + reference_hash(int(i), 9, 5) for i in ids]
    expected[1], expected[2] = 6, 7
    assert rows.tolist() == expected
    assert set(rows.tolist()) == {1, 2, 3, 4, 5, 6, 7}


def test_ragged_ids_stay_ragged():
    mapping = layers.VocabularyMapping(["a", "b"])
    rows = mapping(tf.ragged.constant([["b"], [], ["", "x"]]))
    assert rows.to_list() == [[3], [], [0, 1]]
    hashed = layers.HashMapping(4)(
        tf.ragged.constant([[], [7]], dtype=tf.int64, row_splits_dtype="int64")
    )
    assert hashed.row_lengths().numpy().tolist() == [0, 1]


@pytest.mark.parametrize("ids", [[], [[]]])
def test_empty_inputs_and_vocabularies(ids):
    mapping = layers.VocabularyMapping([], id_dtype="string")
    assert mapping.vocabulary_size == 2
    assert mapping(tf.constant(ids, tf.string)).shape == np.shape(ids)
    assert mapping(tf.constant(["a", ""])).numpy().tolist() == [1, 0]
    assert layers.VocabularyMapping([]).id_dtype == "int64"


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        ([1, 2, 1], "each id once.*Received: 1"),
        (["a", b"a"], "each id once.*Received: b'a'"),
        ([1, MISSING], f"not the missing id.*Received: {MISSING}"),
        (["a", ""], "not the missing id.*Received: b''"),
        ([1.5], "dtype int64. Received: 1.5 of float64"),
        ([True], "dtype int64. Received: True of bool"),
        (["a", 1], "dtype string. Received: 1 of int"),
        (np.zeros((2, 2), np.int64), "one-dimensional"),
    ],
)
def test_vocabulary_is_checked(vocabulary, message):
    with pytest.raises(ValueError, match=message):
        layers.VocabularyMapping(vocabulary)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.HashMapping(0), "num_buckets=0"),
        (lambda: layers.HashMapping(5, "float32"), "id_dtype='float32'"),
        (lambda: layers.HashMapping(5, seed=-1), "seed=-1"),
        (lambda: layers.VocabularyMapping([1], num_oov_buckets=0), "buckets=0"),
        (lambda: layers.VocabularyMapping([1], seed=2**63), "seed=9223"),
        (lambda: layers.VocabularyMapping(), "vocabulary=None"),
        (lambda: layers.VocabularyMapping([1], num_ids=2), "Received: 1 ids"),
    ],
)
def test_arguments_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_other_dtypes_are_refused():
    integers = layers.HashMapping(5, name="item")
    strings = layers.HashMapping(5, "string", name="query")
    with pytest.raises(TypeError, match="'item' maps .* int64.*dtype=string"):
        integers(tf.constant(["a"]))
    with pytest.raises(TypeError, match="'query' maps .* string.*dtype=int64"):
        strings(tf.constant([1], tf.int64))
    with pytest.raises(TypeError, match="dtype=float32"):
        integers(keras.Input((3,)))


@settings(max_examples=20, deadline=None)
@given(
    pairs=st.lists(
        st.tuples(st.integers(-3, 12), st.integers(0, 2**40)), max_size=40
    ),
    integers=st.booleans(),
)
def test_row_counts_match_numpy(pairs, integers):
    mapping = layers.VocabularyMapping([4, 2, 9], num_oov_buckets=3)
    ids = np.array([p[0] for p in pairs], np.int64)
    counts = np.array([p[1] for p in pairs], np.int64 if integers else float)
    totals = mapping.row_counts(ids, counts)
    expected = np.zeros(7)
    for i, count in zip(ids.tolist(), counts.tolist(), strict=True):
        known = {4: 4, 2: 5, 9: 6}
        expected[known.get(i, 1 + reference_hash(i, 0, 3))] += count
    np.testing.assert_array_equal(totals, expected)
    assert totals.dtype == counts.dtype


def test_row_counts_in_several_chunks():
    mapping = layers.HashMapping(10)
    ids = np.arange(600_000, dtype=np.int64) % 1000
    totals = mapping.row_counts(ids, np.ones(len(ids), np.int64))
    rows = mapping(tf.constant(ids)).numpy()
    np.testing.assert_array_equal(totals, np.bincount(rows, minlength=11))
    with pytest.raises(ValueError, match="equally long"):
        mapping.row_counts(ids, np.ones(3))


def test_row_counts_of_odd_strings():
    mapping = layers.VocabularyMapping(ODD_KEYS)
    ids = np.array([b"", *ODD_KEYS, b"x"], object)
    totals = mapping.row_counts(ids, np.arange(len(ids)))
    assert totals.tolist() == [0, len(ids) - 1, *range(1, len(ids) - 1)]


def test_no_retracing_and_tf_data():
    mapping = layers.VocabularyMapping(["a", "b"], num_oov_buckets=2)
    traces = []

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def rows(ids):
        traces.append(1)
        return mapping(ids)

    for size in range(4):
        rows(tf.constant(["a"] * size, tf.string))
    assert len(traces) == 1
    data = tf.data.Dataset.from_tensor_slices([["a", ""], ["x", "b"]])
    found = [r.tolist() for r in data.map(mapping).as_numpy_iterator()]
    assert found[0] == [3, 0]
    assert found[1][1] == 4


def test_from_config_shares_the_vocabulary_or_asks_for_it():
    mapping = layers.VocabularyMapping(
        ["b", "a"], num_oov_buckets=3, seed=5, name="words"
    )
    config = json.loads(json.dumps(mapping.get_config()))
    again = layers.VocabularyMapping.from_config(config)
    assert again.get_config() == mapping.get_config()
    assert again.vocabulary_size == mapping.vocabulary_size == 6
    ids = tf.constant(["a", "b", "c", "d", ""])
    np.testing.assert_array_equal(again(ids), mapping(ids))
    assert again.lookup_table is mapping.lookup_table

    config["fingerprint"] = "0" * 64
    lost = layers.VocabularyMapping.from_config(config)
    with pytest.raises(ValueError, match="'words' was not loaded"):
        lost(tf.constant(["a"]))
    with pytest.raises(ValueError, match="must have 2 ids"):
        lost.set_vocabulary(["a"])
    lost.set_vocabulary(["b", "a"])
    np.testing.assert_array_equal(lost(ids), mapping(ids))


def test_a_vocabulary_of_another_fingerprint_is_refused():
    fingerprint = layers.VocabularyMapping([1, 2]).fingerprint
    layers.VocabularyMapping([1, 2], fingerprint=fingerprint)
    with pytest.raises(ValueError, match="fingerprint"):
        layers.VocabularyMapping([2, 1], fingerprint=fingerprint)


def test_fingerprints_tell_vocabularies_apart():
    mappings = [
        layers.VocabularyMapping(["ab", "c"]),
        layers.VocabularyMapping(["a", "bc"]),
        layers.VocabularyMapping(["c", "ab"]),
        layers.VocabularyMapping(["c", "ab"], num_oov_buckets=2),
        layers.VocabularyMapping([1, 2]),
        layers.VocabularyMapping([2, 1]),
    ]
    assert len({m.fingerprint for m in mappings}) == len(mappings)
    assert mappings[0].fingerprint == (
        layers.VocabularyMapping(["ab", "c"], seed=1).fingerprint
    )


def test_assets_of_another_vocabulary_are_refused(tmp_path):
    mapping = layers.VocabularyMapping([1, 2], name="item")
    layers.VocabularyMapping([3, 4]).save_assets(str(tmp_path))
    again = layers.VocabularyMapping.from_config(mapping.get_config())
    with pytest.raises(ValueError, match="vocabulary of 'item'.*fingerprint"):
        again.load_assets(str(tmp_path))


def test_hash_mapping_config():
    mapping = layers.HashMapping(7, "string", seed=3, name="h")
    again = layers.HashMapping.from_config(mapping.get_config())
    assert again.get_config() == mapping.get_config()
    ids = tf.constant(["a", "b", ""])
    np.testing.assert_array_equal(again(ids), mapping(ids))


@pytest.mark.parametrize("num_oov_buckets", [1, 3])
def test_keras_file_carries_the_vocabulary(tmp_path, num_oov_buckets):
    mapping = layers.VocabularyMapping(ODD_KEYS, num_oov_buckets)
    ids = keras.Input((), dtype="string")
    other = keras.Input((None,), dtype="string", ragged=True)
    model = keras.Model([ids, other], [mapping(ids), mapping(other)])
    path = tmp_path / "model.keras"
    model.save(path)
    again = keras.models.load_model(path)
    (found,) = layers.find_id_mappings(again)
    assert found.vocabulary.tolist() == ODD_KEYS
    batch = [
        tf.constant([*ODD_KEYS, b"", b"x"]),
        tf.ragged.constant([[b"\0"], []] * 4 + [[b"y"]]),
    ]
    (dense, ragged), (dense_again, ragged_again) = model(batch), again(batch)
    assert dense_again.numpy().tolist() == dense.numpy().tolist()
    assert ragged_again.to_list() == ragged.to_list()


LOADER = """
    import sys, numpy as np, tensorflow as tf
    model = tf.saved_model.load(sys.argv[1])
    data = np.load(sys.argv[2], allow_pickle=True)
    out = model.signatures["serving_default"](
        words=tf.constant(data["words"]), numbers=tf.constant(data["numbers"]))
    for name in ("words", "numbers", "hashed", "hashed_words"):
        assert out[name].numpy().tolist() == data["out_" + name].tolist(), name
    assert "tfplugin" not in sys.modules
    # The way of TensorFlow Serving: a session, the assets fed to its init op.
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        meta = v1.saved_model.load(session, ["serve"], sys.argv[1])
        signature = meta.signature_def["serving_default"]
        rows = session.run(
            signature.outputs["words"].name,
            {signature.inputs["words"].name: data["words"],
             signature.inputs["numbers"].name: data["numbers"]})
        assert rows.tolist() == data["out_words"].tolist()
    print("same rows")
"""


def test_keras_file_in_a_fresh_process(tmp_path):
    ids = keras.Input((), dtype="string")
    mapping = layers.VocabularyMapping(ODD_KEYS)
    tables = [
        layers.Embedding(embedding_dim=1, id_mapping=mapping, seed=seed)(ids)
        for seed in (1, 2)
    ]
    model = keras.Model(ids, keras.layers.Add()(tables))
    model.save(tmp_path / "m.keras")
    words = np.array([*ODD_KEYS, b"", b"x"], object)
    np.savez(tmp_path / "d.npz", words=words, out=model(tf.constant(words)))
    source = f"""
        import sys
        sys.path.insert(0, {str(pathlib.Path(__file__).parents[2])!r})
        import keras, numpy as np, tensorflow as tf
        from tfplugin import layers
        model = keras.models.load_model(sys.argv[1])
        data = np.load(sys.argv[2], allow_pickle=True)
        found = model(tf.constant(data["words"])).numpy()
        assert np.array_equal(found, data["out"]), (found, data["out"])
        print("same vectors")
    """
    out = run_loader(tmp_path, source, tmp_path / "m.keras", tmp_path / "d.npz")
    assert out.strip() == "same vectors"


def run_loader(tmp_path, source, *arguments):
    script = tmp_path / "load.py"
    script.write_text(textwrap.dedent(source))
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_saved_model_in_a_fresh_process(tmp_path):
    words = layers.VocabularyMapping(ODD_KEYS, num_oov_buckets=2)
    numbers = layers.VocabularyMapping([5, 3, 2**62])
    hashed = layers.HashMapping(1000, seed=4)
    hashed_words = layers.HashMapping(1000, "string")
    module = tf.Module()

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, "words"),
            tf.TensorSpec([None], tf.int64, "numbers"),
        ]
    )
    def serve(words_in, numbers_in):
        return {
            "words": words(words_in),
            "numbers": numbers(numbers_in),
            "hashed": hashed(numbers_in),
            "hashed_words": hashed_words(words_in),
        }

    module.serve = serve
    path = tmp_path / "saved"
    with words.exporting() as one, numbers.exporting() as two:
        module.tables = [*one, *two]
        tf.saved_model.save(
            module, str(path), signatures=serve.get_concrete_function()
        )
    assert len(list((path / "assets").iterdir())) == 2
    # The vocabulary is nowhere but in its asset.
    assert b"a\nb" not in (path / "saved_model.pb").read_bytes()
    word_ids = np.array([*ODD_KEYS, b"", b"x", b"y", b"z"], object)
    number_ids = np.array([3, 5, 2**62, 7, MISSING, 0], np.int64)
    expected = serve(tf.constant(word_ids), tf.constant(number_ids))
    np.savez(
        tmp_path / "data.npz",
        words=word_ids,
        numbers=number_ids,
        **{f"out_{name}": rows.numpy() for name, rows in expected.items()},
    )
    moved = tmp_path / "moved"
    path.rename(moved)
    out = run_loader(tmp_path, LOADER, moved, tmp_path / "data.npz")
    assert out.strip() == "same rows"


def test_saved_model_outside_exporting_holds_a_constant(tmp_path):
    mapping = layers.VocabularyMapping(ODD_KEYS)
    with mapping.exporting():
        pass
    module = tf.Module()
    module.table = mapping.lookup_table
    module.serve = tf.function(
        mapping.call, input_signature=[tf.TensorSpec([None], tf.string)]
    )
    tf.saved_model.save(module, str(tmp_path / "saved"))
    again = tf.saved_model.load(str(tmp_path / "saved"))
    ids = tf.constant([*ODD_KEYS, b"", b"x"])
    np.testing.assert_array_equal(again.serve(ids), mapping(ids))
