import json
import os
import pathlib
import re
import shutil
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving import logged_requests
from serving import operators
from serving import replay_process
from serving import signature as signature_lib
from serving import signature_trials
from serving import validation
from serving import validation_checks
from tests.support import shipped
from tfplugin import cli
from tfplugin import errors
from tfplugin.export import export_record

ROWS = np.array([1.0, 2.0, 4.0], np.float32)


class Sound(tf.Module):
    """Doubles; a table whose rows are asked for by number."""

    def __init__(self):
        super().__init__()
        self.table = tf.Variable(tf.reshape(tf.range(8.0), [4, 2]))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def double(self, x):
        return {"y": 2.0 * x}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, "ids")])
    def vectors(self, ids):
        return {"vectors": tf.gather(self.table, ids)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.float32, "x"),
            tf.TensorSpec([None], tf.int64, "x_length"),
        ]
    )
    def total(self, x, x_length):
        # Not of padding: what lies after the length is not looked at.
        seen = tf.sequence_mask(x_length, tf.shape(x)[1], tf.float32)
        return {"y": tf.reduce_sum(x * seen, axis=1)}


class Faulty(Sound):
    """Each signature breaks another promise."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def of_its_batch(self, x):
        return {"y": x - tf.reduce_mean(x)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.float32, "x"),
            tf.TensorSpec([None], tf.int64, "x_length"),
        ]
    )
    def of_padding(self, x, x_length):
        width = tf.cast(tf.shape(x)[1], tf.float32)
        return {"y": tf.cast(x_length, tf.float32) + width}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def too_many(self, x):
        return {"y": tf.concat([x, x], axis=0)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def not_empty(self, x):
        with tf.control_dependencies(
            [tf.debugging.assert_positive(tf.size(x))]
        ):
            return {"y": tf.identity(x)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def of_python(self, x):
        return {"y": tf.cond(tf.size(x) > -1, lambda: _python(x), lambda: x)}


def _python(x):
    doubled = tf.numpy_function(lambda v: v * 2, [x], tf.float32)
    return tf.ensure_shape(doubled, [None])


def _save(path, model, *names):
    signatures = {name: getattr(model, name) for name in names}
    tf.saved_model.save(model, str(path), signatures=signatures)
    (path / "assets.extra").mkdir()
    return path


def _log(signature, inputs, outputs=()):
    log = prediction_log_pb2.PredictionLog()
    one = log.predict_log
    one.request.model_spec.signature_name = signature
    for name, value in dict(inputs).items():
        one.request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    for name, value in dict(outputs).items():
        one.response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
    return log.SerializeToString()


def _write(path, name, records):
    with tf.io.TFRecordWriter(str(path / name)) as writer:
        for record in records:
            writer.write(record)


def _contents(path):
    return {
        file: file.read_bytes() for file in path.rglob("*") if file.is_file()
    }


def _by_name(report):
    return {check.name: check for check in report.checks}


def test_a_shipped_model_passes_on_the_command_line(tmp_path_factory, capsys):
    model = shipped.once(tmp_path_factory)
    before = _contents(model)
    assert cli.main(["validate", str(model)]) == 0
    said = capsys.readouterr().out
    assert said.count("passed") == 6
    assert re.search("Files +passed +[0-9]{2} files as exported", said)
    assert "6 requests, off by at most" in said
    assert "22" in said
    assert "may be served" in said
    assert _contents(model) == before


def test_every_broken_promise_is_found(tmp_path):
    names = ("of_its_batch", "of_padding", "too_many", "not_empty", "of_python")
    path = _save(tmp_path / "1", Faulty(), "double", "total", *names)
    right = [("double", {"x": ROWS}, {"y": 2 * ROWS})]
    wrong = [("double", {"x": ROWS}, {"y": ROWS})]
    other = [("double", {"x": ROWS}, {"z": ROWS})]
    lists = np.array([[1, 2, 9], [3, 9, 9], [9, 9, 9]], np.float32)
    lengths = {"x": lists, "x_length": np.array([2, 1, 0])}
    right += [("total", lengths, {"y": np.array([3, 3, 0], np.float32)})]
    padded = [("of_padding", lengths, {"y": np.zeros(3, np.float32)})]
    _write(
        path,
        validation_checks.GOLDEN,
        [_log(*one) for one in [*right, *wrong, *other, *padded]],
    )
    warm_up = [("double", {"x": ROWS}), ("double", {"x": ROWS.astype(int)})]
    _write(
        path,
        validation_checks.WARM_UP,
        [_log(*one) for one in [*warm_up, ("absent", {"x": ROWS})]],
    )
    report = validation.validate(path)
    assert not report.passed
    checks = _by_name(report)
    assert checks["Operators"].problems == (
        "stock TensorFlow Serving has no PyFunc",
    )
    text = "\n".join(checks["Signatures"].problems)
    assert "not_empty at batch size 0" in text
    assert "too_many at batch size 3: `y` has shape (6,), not (3,)" in text
    assert "double" not in text
    text = "\n".join(checks["Batches"].problems)
    assert "of_its_batch: `y` of row" in text
    assert "of_padding: `y` of row 0 differs in a batch of its own" in text
    assert "total" not in text
    golden = checks["Golden requests"].problems
    assert golden[0] == "double: `y` of row 0 is 2.0, in training 1.0"
    assert golden[1] == "double: `z` is not answered"
    assert "of_padding" in golden[2]
    assert len(golden) == 3
    warm_up = checks["Warm-up requests"].problems
    assert len(warm_up) == 2
    assert "double" in warm_up[0]
    assert "absent" in warm_up[1]


def test_damaged_requests_are_named(tmp_path):
    path = tmp_path
    (path / "assets.extra").mkdir()
    golden = path / validation_checks.GOLDEN
    _write(path, validation_checks.GOLDEN, [_log("vectors", {"ids": [1]})] * 2)
    golden.write_bytes(golden.read_bytes()[:-3])
    (path / validation_checks.GOLDEN_RECORD).write_text('{"tolerance": -1}')
    _write(path, validation_checks.WARM_UP, [b"no log"])
    golden, warm_up = (
        validation_checks.Stored.read(str(path), name, {})
        for name in (validation_checks.GOLDEN, validation_checks.WARM_UP)
    )
    check = validation_checks.check_golden(str(path), golden, [])
    text = "\n".join(check.problems)
    assert "record 1 of" in text
    assert "golden_requests.json" in text
    (problem,) = validation_checks.check_warm_up(warm_up, []).problems
    assert "record 0 of" in problem


def test_a_model_that_does_not_load(tmp_path):
    path = _save(tmp_path / "1", Sound(), "double")
    shutil.rmtree(path / "variables")
    report = validation.validate(path)
    assert not report.passed
    assert "Loading" in _by_name(report)
    assert report.tensorflow == ""


def test_files_that_are_no_model(tmp_path, capsys):
    with pytest.raises(errors.InputError, match=r"must hold saved_model\.pb"):
        validation.validate(tmp_path)
    assert cli.main(["validate", str(tmp_path)]) == 2
    (tmp_path / "saved_model.pb").write_bytes(b"\xff\xff")
    (problem,) = validation.validate(tmp_path).problems
    assert "does not parse" in problem
    (tmp_path / "saved_model.pb").write_bytes(b"")
    (problem,) = validation.validate(tmp_path).problems
    assert "tagged 'serve'" in problem
    capsys.readouterr()
    assert cli.main(["validate", str(tmp_path)]) == 1
    assert "must not be served" in capsys.readouterr().out
    words = ["validate", str(tmp_path), "--python", str(tmp_path / "no")]
    assert cli.main(words) == 2


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("kill -9 $$", "signal 9"),
        ("echo no module >&2; exit 1", "status 1: no module"),
        ("echo damaged >&2; exit 3", "damaged"),
        ("exec sleep 60", "no end after 0.5 s"),
    ],
)
def test_a_process_that_fails(tmp_path, script, says):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    replay = replay_process.run(
        tmp_path, [], python=python, timeout_seconds=0.5
    )
    assert says in replay.failure
    assert replay.answers == ()


def test_an_interpreter_that_is_none(tmp_path):
    replay = replay_process.run(tmp_path, [], python=tmp_path / "absent")
    assert "does not start" in replay.failure
    assert replay.no_tensorflow


def test_an_interpreter_without_tensorflow_is_not_the_models_fault(
    tmp_path, capsys
):
    path = _save(tmp_path / "1", Sound(), "double")
    python = tmp_path / "python"
    # No site-packages: the same interpreter finds no TensorFlow.
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    # Relative, as typed at a prompt.
    words = ["validate", str(path), "--python", os.path.relpath(python)]
    assert cli.main(words) == 2
    assert "No module named 'tensorflow'" in capsys.readouterr().err


def test_the_replaying_process_has_nothing_of_ours():
    source = pathlib.Path(replay_process.replay.__file__).read_text("utf-8")
    imports = [
        line.split()[1] for line in source.splitlines() if "import " in line
    ]
    assert set(imports) <= {"sys", "tensorflow", "They"}


def _stored(signature, expected):
    request = replay_process.Request(signature, {})
    one = logged_requests.LoggedRequest(request, expected)
    return validation_checks.Stored(True, (one,))


@pytest.mark.parametrize(
    ("tolerance", "change", "passes"),
    [
        (None, 0.9e-5, True),
        (None, 1.2e-5, False),
        (0.01, 0.009, True),
        (0.01, 0.011, False),
        (None, np.nan, False),
    ],
)
def test_how_near_an_answer_must_come(tmp_path, tolerance, change, passes):
    if tolerance:
        (tmp_path / "assets.extra").mkdir()
        record = json.dumps({"tolerance": tolerance})
        (tmp_path / validation_checks.GOLDEN_RECORD).write_text(record)
    expected = np.array([0.5, 0.25], np.float32)
    found = tf.constant(expected + np.array([0, change], np.float32))
    check = validation_checks.check_golden(
        str(tmp_path),
        _stored("regress_buy", {"outputs": expected}),
        [replay_process.Answer({"outputs": found})],
    )
    assert check.passed == passes
    if not passes:
        assert "regress_buy: `outputs` of row 1" in check.problems[0]


def test_nan_is_no_answer(tmp_path):
    expected = np.array([0.5, np.nan], np.float32)
    check = validation_checks.check_golden(
        str(tmp_path),
        _stored("regress_buy", {"outputs": expected}),
        [replay_process.Answer({"outputs": tf.constant(expected)})],
    )
    assert check.problems == ("regress_buy: `outputs` was NaN in training",)


def test_files_are_those_that_were_exported(tmp_path):
    (tmp_path / "assets").mkdir()
    for name in ("saved_model.pb", "assets/words", "assets/cities"):
        (tmp_path / name).write_bytes(b"as exported")
    check = validation_checks.check_files(str(tmp_path))
    assert (check.passed, check.detail[:2]) == (True, "no")
    export_record.write(tmp_path, {"version": 1})
    check = validation_checks.check_files(str(tmp_path))
    assert (check.problems, check.detail) == (
        (),
        "3 files as exported, by checksum",
    )
    (tmp_path / "assets" / "words").write_bytes(b"as expOrted")
    (tmp_path / "assets" / "cities").unlink()
    (tmp_path / "assets" / "more").write_bytes(b"")
    assert validation_checks.check_files(str(tmp_path)).problems == (
        "assets/cities is missing",
        "assets/words is not what was exported",
    )


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ("[]", "no record"),
        ("{", "no record"),
        ('{"files": {"a": {"bytes": 1}}}', "no record"),
        ('{"files": {"a": {"bytes": 1, "crc32c": "x"}}}', "no record"),
        (
            '{"files": {"../a": {"bytes": 1, "crc32c": "0"}}}',
            "outside of the folder",
        ),
    ],
)
def test_records_of_files_that_are_none(tmp_path, record, says):
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / validation_checks.RECORD).write_text(record)
    (problem,) = validation_checks.check_files(str(tmp_path)).problems
    assert says in problem


def test_words_must_be_the_same(tmp_path):
    expected = {"classes": np.array([[b"0", b"1"]], object)}
    for found, passes in (([[b"0", b"1"]], True), ([[b"1", b"0"]], False)):
        answer = replay_process.Answer({"classes": tf.constant(found)})
        check = validation_checks.check_golden(
            str(tmp_path), _stored("classify_buy", expected), [answer]
        )
        assert check.passed == passes


def test_too_many_warm_up_requests():
    one = logged_requests.LoggedRequest(replay_process.Request("x", {}), {})
    answer = replay_process.Answer({})
    for count, passes in ((1000, True), (1001, False)):
        stored = validation_checks.Stored(True, (one,) * count)
        check = validation_checks.check_warm_up(stored, [answer] * count)
        assert check.passed == passes


def test_methods_of_classify_and_regress():
    definition = tf.compat.v1.MetaGraphDef().signature_def["classify_buy"]
    definition.method_name = tf.saved_model.CLASSIFY_METHOD_NAME
    definition.inputs["examples"].dtype = tf.string.as_datatype_enum
    definition.outputs["scores"].dtype = tf.float64.as_datatype_enum
    other = tf.compat.v1.MetaGraphDef().signature_def["x"]
    other.method_name = "/tensorflow/serving/guess"
    form, _ = validation_checks.check_signatures(
        {"classify_buy": definition, "x": other}, [], []
    )
    text = "\n".join(form.problems)
    assert "must take one string input, `inputs`" in text
    assert "no output `scores` like this" in text
    assert "no method '/tensorflow/serving/guess'" in text


def test_operators_in_functions_count():
    meta_graph = tf.compat.v1.MetaGraphDef()
    library = meta_graph.graph_def.library
    inner = library.function.add()
    inner.signature.name = "inner"
    inner.node_def.add(name="a", op="TfpluginGather")
    outer = library.function.add()
    outer.signature.name = "outer"
    outer.node_def.add(name="b", op="inner")
    meta_graph.graph_def.node.add(name="c", op="outer")
    meta_graph.graph_def.node.add(name="d", op="MatMul")
    assert operators.used(meta_graph) == {"TfpluginGather", "MatMul"}
    (problem,) = validation_checks.check_operators(meta_graph).problems
    assert "TfpluginGather" in problem


def test_made_up_rows_that_are_refused_prove_nothing():
    signature = signature_lib.Signature(
        "images",
        {"image": tf.TensorSpec([None], tf.string)},
        {"y": tf.TensorSpec([None], tf.float32)},
    )
    inputs = signature_trials.make_up(signature)
    refused = [replay_process.Answer({}, "no image")] * 6
    for made_up in (True, False):
        trial = signature_trials.Trial(signature, inputs, made_up)
        assert len(trial.requests()) == 6
        form, _ = validation_checks.check_signatures(
            {"images": _predicting()}, [trial], [refused]
        )
        assert form.passed == made_up
        assert ("images" in form.detail) == made_up


def _predicting():
    definition = tf.compat.v1.MetaGraphDef().signature_def["images"]
    definition.method_name = tf.saved_model.PREDICT_METHOD_NAME
    return definition


def test_rows_at_both_ends_are_asked():
    rows = {"x": tf.range(200)}
    kept = signature_trials.some_rows(rows)["x"].numpy()
    assert kept.tolist() == [*range(62), 198, 199]


def test_a_gigantic_claim_is_refused(tmp_path):
    log = prediction_log_pb2.PredictionLog()
    proto = log.predict_log.request.inputs["x"]
    proto.CopyFrom(tf.make_tensor_proto([1.0]))
    proto.tensor_shape.dim[0].size = 2**40
    _write(tmp_path, "requests", [log.SerializeToString()])
    with pytest.raises(errors.InputError, match="record 0.*shape"):
        logged_requests.read(str(tmp_path / "requests"), {}, 10)


def test_requests_of_other_kinds_and_with_a_context(tmp_path):
    inferred = prediction_log_pb2.PredictionLog()
    inferred.multi_inference_log.SetInParent()
    regressed = prediction_log_pb2.PredictionLog()
    both = regressed.regress_log.request.input.example_list_with_context
    both.context.features.feature["user"].int64_list.value.append(7)
    both.examples.add().features.feature["item"].int64_list.value.append(1)
    both.examples.add().features.feature["user"].int64_list.value.append(8)
    records = [inferred.SerializeToString(), regressed.SerializeToString()]
    _write(tmp_path, "requests", records)
    found = logged_requests.read(str(tmp_path / "requests"), {}, 10)
    assert found[0] == "multi_inference_log"
    examples = found[1].request.inputs["inputs"].numpy()
    first, second = map(tf.train.Example.FromString, examples)
    assert set(first.features.feature) == {"user", "item"}
    assert list(second.features.feature["user"].int64_list.value)[-1] == 8
