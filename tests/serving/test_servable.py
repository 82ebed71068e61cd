import shutil
from concurrent import futures

import grpc
import numpy as np
import pytest
import tensorflow as tf

from serving import request_error
from serving import servable as servable_lib
from tests.serving import conftest
from tfplugin import errors


@pytest.fixture(scope="module")
def servable(ranker_base):
    return servable_lib.Servable.load(ranker_base, "ranker")


def test_loads_highest_finished_version(servable):
    assert servable.version == 12


def test_loads_given_version(ranker_base):
    rows = conftest.make_rows()
    old = servable_lib.Servable.load(ranker_base, "ranker", 3)
    expected = conftest.reference(rows, bias=30.0)
    np.testing.assert_allclose(
        old.run("", rows)["click"], expected["click"], rtol=1e-5
    )


def test_unknown_version(ranker_base):
    with pytest.raises(errors.InputError, match=r"\[3, 12\].*version=99"):
        servable_lib.Servable.load(ranker_base, "ranker", 99)


@pytest.mark.parametrize("damage", ["garbage", "truncated", "no variables"])
def test_damaged_model(ranker_base, tmp_path, damage):
    path = tmp_path / "1"
    shutil.copytree(ranker_base / "12", path)
    file = path / "saved_model.pb"
    if damage == "garbage":
        file.write_bytes(b"\xff" * 100)
    elif damage == "truncated":
        file.write_bytes(file.read_bytes()[:500])
    else:
        shutil.rmtree(path / "variables")
    with pytest.raises(errors.InputError, match="unfinished or damaged"):
        servable_lib.Servable.load(tmp_path, "ranker")


def test_signatures_are_those_tensorflow_loads(ranker_base, servable):
    loaded = tf.saved_model.load(str(ranker_base / "12"))
    assert {"serving_default", "examples"} <= set(servable.signature_defs)
    for name, function in loaded.signatures.items():
        signature = servable.signature(name)
        specs = function.structured_input_signature[1]
        assert set(signature.inputs) == set(specs)
        for key, spec in specs.items():
            assert signature.inputs[key].dtype == spec.dtype
            assert signature.inputs[key].shape.as_list() == spec.shape.as_list()
        assert set(signature.outputs) == set(function.structured_outputs)


@pytest.mark.parametrize("batch_size", [0, 1, 5])
@pytest.mark.parametrize("width", [0, 1, 4])
def test_run_matches_reference(servable, batch_size, width):
    rows = conftest.make_rows(batch_size, width)
    outputs = servable.run("serving_default", rows)
    expected = conftest.reference(rows, bias=0.25)
    assert list(outputs) == ["buy", "click"]
    for name, value in outputs.items():
        assert value.dtype == np.float32
        assert value.shape == (batch_size, 1)
        np.testing.assert_allclose(value, expected[name], rtol=1e-5)


def test_output_filter(servable):
    inputs = conftest.make_rows()
    assert list(servable.run("", inputs, ["click"])) == ["click"]
    for names in (["clic"], ["click", "click"]):
        with pytest.raises(request_error.RequestError, match=names[0]) as error:
            servable.run("", inputs, names)
        assert error.value.code == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("name", ["absent", "__saved_model_init_op"])
def test_unknown_signature(servable, name):
    with pytest.raises(request_error.RequestError, match=name) as error:
        servable.run(name, {})
    assert error.value.code == grpc.StatusCode.FAILED_PRECONDITION


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"age": None}, "Missing but required: {age}"),
        ({"zip": np.array([1])}, "Sent extra: {zip}"),
        ({"age": None, "zip": np.array([1])}, "not found.*: zip"),
        ({"age": np.zeros([4], np.float32)}, "`age` must be int64.*float32"),
        ({"age": np.zeros([4, 1], np.int64)}, r"`age` must have shape \[-1\]"),
        ({"age": np.zeros([], np.int64)}, "`age` must have shape"),
        ({"age": np.zeros([3], np.int64)}, "age=3"),
        ({"age": np.zeros([0], np.int64)}, "age=0"),
    ],
)
def test_wrong_inputs_are_refused_by_name(servable, change, message):
    inputs = conftest.make_rows() | change
    inputs = {name: v for name, v in inputs.items() if v is not None}
    with pytest.raises(request_error.RequestError, match=message) as error:
        servable.run("", inputs)
    assert error.value.code == grpc.StatusCode.INVALID_ARGUMENT


# The second is quoted in TensorFlow's message, which then is no UTF-8.
@pytest.mark.parametrize("example", [b"\x00\x01", b"\xff\xc1"])
def test_error_inside_the_model_keeps_its_code(servable, example):
    with pytest.raises(request_error.RequestError, match="xample") as error:
        servable.run("examples", {"examples": np.array([example], object)})
    assert error.value.code == grpc.StatusCode.INVALID_ARGUMENT


def test_threads_share_a_servable(servable):
    batches = [conftest.make_rows(size) for size in range(1, 17)]
    with futures.ThreadPoolExecutor(8) as threads:
        answers = list(
            threads.map(lambda rows: servable.run("", rows), batches)
        )
    for rows, answer in zip(batches, answers, strict=True):
        expected = conftest.reference(rows, bias=0.25)
        np.testing.assert_allclose(answer["buy"], expected["buy"], rtol=1e-5)


def test_many_sets_of_outputs(tmp_path):
    names = [f"y{i}" for i in range(7)]

    class Wide(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], name="x")])
        def __call__(self, x):
            return {name: x + i for i, name in enumerate(names)}

    model = Wide()
    tf.saved_model.save(model, str(tmp_path), model.__call__)
    servable = servable_lib.Servable("wide", 1, str(tmp_path))
    # More sets than are compiled, in every order.
    for bits in range(1, 128):
        wanted = [n for i, n in enumerate(names) if bits >> i & 1][::-1]
        outputs = servable.run("", {"x": np.float32([2])}, wanted)
        assert list(outputs) == wanted
        assert [int(v[0]) - 2 for v in outputs.values()] == [
            names.index(name) for name in wanted
        ]
    servable.close()


def save_graph(path, **signatures):
    """Saves as TensorFlow 1 did, which lets a tensor be both in and out."""
    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph:
        tensors = {"x": v1.placeholder(tf.float32, [None], "x")}
        tensors["y"] = 2 * tensors["x"]
        info = {
            name: v1.saved_model.build_tensor_info(tensor)
            for name, tensor in tensors.items()
        }
        definitions = {
            name: v1.saved_model.build_signature_def(
                {key: info[value] for key, value in inputs.items()},
                {key: info[value] for key, value in outputs.items()},
                "tensorflow/serving/predict",
            )
            for name, (inputs, outputs) in signatures.items()
        }
        with v1.Session(graph=graph) as session:
            builder = v1.saved_model.Builder(str(path))
            builder.add_meta_graph_and_variables(
                session, ["serve"], definitions
            )
            builder.save()


@pytest.mark.parametrize("rows", [2, 1000])
def test_outputs_that_are_inputs_or_each_other(tmp_path, rows):
    save_graph(
        tmp_path / "1",
        serving_default=({"x": "x"}, {"same": "x", "a": "y", "b": "y"}),
        twice=({"x": "x", "z": "x"}, {"y": "y"}),
    )
    servable = servable_lib.Servable("plain", 1, str(tmp_path / "1"))
    x = np.arange(rows, dtype=np.float32)
    outputs = servable.run("", {"x": x})
    assert {k: v.tolist() for k, v in outputs.items()} == {
        "same": x.tolist(),
        "a": (2 * x).tolist(),
        "b": (2 * x).tolist(),
    }
    with pytest.raises(request_error.RequestError, match="more than once") as e:
        servable.run("twice", {"x": x, "z": x})
    assert e.value.code == grpc.StatusCode.INVALID_ARGUMENT
    servable.close()


def test_arrays_of_another_byte_order_are_refused(servable):
    rows = conftest.make_rows()
    rows["age"] = rows["age"].astype(rows["age"].dtype.newbyteorder())
    with pytest.raises(request_error.RequestError, match="`age`.*byte order"):
        servable.run("", rows)


def test_a_signature_of_sparse_tensors_spoils_no_other(tmp_path):
    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph:
        sparse = v1.sparse_placeholder(tf.float32, [None, 3], "sparse")
        x = v1.placeholder(tf.float32, [None], "x")
        info = v1.saved_model.build_tensor_info
        definitions = {
            "serving_default": ({"x": info(x)}, {"y": info(2 * x)}),
            "wide": ({"x": info(sparse)}, {"y": info(sparse * 2.0)}),
        }
        with v1.Session(graph=graph) as session:
            builder = v1.saved_model.Builder(str(tmp_path / "1"))
            builder.add_meta_graph_and_variables(
                session,
                ["serve"],
                {
                    name: v1.saved_model.build_signature_def(*both)
                    for name, both in definitions.items()
                },
            )
            builder.save()
    servable = servable_lib.Servable("wide", 1, str(tmp_path / "1"))
    assert servable.run("", {"x": np.float32([3])})["y"].tolist() == [6.0]
    servable.close()


def test_assets_of_a_model_that_was_moved(tmp_path):
    vocabulary = tmp_path / "cities.txt"
    vocabulary.write_text("Roma\nParis\n")

    class Lookup(tf.Module):
        def __init__(self):
            super().__init__()
            self.table = tf.lookup.StaticVocabularyTable(
                tf.lookup.TextFileInitializer(
                    str(vocabulary),
                    tf.string,
                    tf.lookup.TextFileIndex.WHOLE_LINE,
                    tf.int64,
                    tf.lookup.TextFileIndex.LINE_NUMBER,
                ),
                1,
            )

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "c")])
        def __call__(self, c):
            return {"row": self.table.lookup(c)}

    model = Lookup()
    tf.saved_model.save(model, str(tmp_path / "1"), model.__call__)
    shutil.move(tmp_path / "1", tmp_path / "2")
    vocabulary.unlink()
    servable = servable_lib.Servable("lookup", 2, str(tmp_path / "2"))
    cities = np.array([b"Paris", b"Oslo", b"Roma"], object)
    assert servable.run("", {"c": cities})["row"].tolist() == [1, 2, 0]
    servable.close()


def test_operator_that_is_not_there(tmp_path):
    class Double(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], name="x")])
        def __call__(self, x):
            return {"y": tf.math.softplus(x)}

    model = Double()
    tf.saved_model.save(model, str(tmp_path), model.__call__)
    file = tmp_path / "saved_model.pb"
    file.write_bytes(file.read_bytes().replace(b"Softplus", b"Hardplus"))
    with pytest.raises(errors.InputError, match="damaged"):
        servable_lib.Servable("double", 1, str(tmp_path))
