"""What is checked of a model before it ships, one function a check."""

import dataclasses
import json
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from serving import logged_requests
from serving import operators
from serving import publishing_files
from serving import replay_process
from serving import signature_trials
from tfplugin import errors

GOLDEN = "assets.extra/golden_requests"
GOLDEN_RECORD = "assets.extra/golden_requests.json"
RECORD = "assets.extra/export.json"
WARM_UP = "assets.extra/tf_serving_warmup_requests"
_GOLDEN_TOLERANCE = 1e-5
#: TensorFlow Serving loads no version with more.
_MAX_WARM_UP = 1000
_MAX_READ = 100_000
_SHOWN_PROBLEMS = 5
#: What JSON that is no record makes those raise who read it.
_MALFORMED = (ValueError, TypeError, KeyError, AttributeError)
_CLASSIFY = tf.saved_model.CLASSIFY_METHOD_NAME
_PREDICT = tf.saved_model.PREDICT_METHOD_NAME
_REGRESS = tf.saved_model.REGRESS_METHOD_NAME
_OUTPUTS = {
    _CLASSIFY: {"classes": tf.string, "scores": tf.float32},
    _REGRESS: {"outputs": tf.float32},
}

Answers = Sequence[replay_process.Answer]


@dataclasses.dataclass(frozen=True)
class Check:
    """What one check has found.

    Args:
        name: Of the check.
        detail: What was looked at, in a few words.
        problems: A sentence each; none if the model passes.
    """

    name: str
    detail: str
    problems: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether there is no problem."""
        return not self.problems


@dataclasses.dataclass(frozen=True)
class Stored:
    """A file of requests beside a model.

    Args:
        exists: Whether there is one.
        requests: What is in it.
        others: The kinds of those records that no signature answers.
        problem: Why it cannot be read, or ''.
    """

    exists: bool
    requests: tuple[logged_requests.LoggedRequest, ...] = ()
    others: tuple[str, ...] = ()
    problem: str = ""

    @classmethod
    def read(
        cls, path: str, name: str, definitions: Mapping[str, Any]
    ) -> "Stored":
        """Reads it.

        Args:
            path: The version's folder.
            name: The file's name in it.
            definitions: Signature to `SignatureDef`.
        """
        file = f"{path}/{name}"
        if not tf.io.gfile.exists(file):
            return cls(False)
        inputs = {
            key: next(iter(definition.inputs), "")
            for key, definition in definitions.items()
        }
        try:
            found = logged_requests.read(file, inputs, _MAX_READ)
        except errors.InputError as error:
            return cls(True, problem=str(error))
        kept = [one for one in found if not isinstance(one, str)]
        others = [one for one in found if isinstance(one, str)]
        return cls(True, tuple(kept), tuple(others))


def check_operators(meta_graph: Any) -> Check:
    """Operators that stock TensorFlow Serving lacks.

    Args:
        meta_graph: The model's `MetaGraphDef`.
    """
    used = operators.used(meta_graph)
    absent = sorted(used - operators.stock())
    return Check(
        "Operators",
        f"{_counted(len(used), 'kind')} in use",
        tuple(f"stock TensorFlow Serving has no {name}" for name in absent),
    )


def check_files(path: str) -> Check:
    """Whether every file is the one that was exported.

    Args:
        path: The version's folder.
    """
    name = "Files"
    record = f"{path}/{RECORD}"
    if not tf.io.gfile.exists(record):
        return Check(name, f"no {RECORD} to compare with")
    try:
        with tf.io.gfile.GFile(record) as opened:
            wanted = json.loads(opened.read()).get("files", {})
        expected = {
            str(file): (int(one["bytes"]), int(one["crc32c"], 16))
            for file, one in wanted.items()
        }
    except (*_MALFORMED, tf.errors.OpError) as error:
        return Check(name, "", (f"{RECORD} is no record: {error!r}",))
    if not expected:
        return Check(name, "no checksums to compare with")
    problems = []
    for file, size in expected.items():
        if problem := _file_problem(path, file, size):
            problems.append(f"{file} {problem}")
    return Check(
        name,
        f"{_counted(len(expected), 'file')} as exported, by checksum",
        _shortened(problems),
    )


def _file_problem(path: str, file: str, expected: tuple[int, int]) -> str:
    if file.startswith("/") or ".." in file.split("/"):
        return "lies outside of the folder"
    if not tf.io.gfile.exists(f"{path}/{file}"):
        return "is missing"
    try:
        found = publishing_files.checksum(f"{path}/{file}")
    except tf.errors.OpError as error:
        return f"is not readable: {error.message}"
    return "" if found == expected else "is not what was exported"


def check_signatures(
    definitions: Mapping[str, Any],
    trials: Sequence[signature_trials.Trial],
    answers: Sequence[Answers],
) -> list[Check]:
    """Method names, dtypes, shapes; and that batches do not mix.

    Args:
        definitions: Signature to `SignatureDef`.
        trials: One for each.
        answers: To the requests of each.

    Returns:
        "Signatures" and "Batches".
    """
    form = [] if definitions else ["the model has no signature"]
    batches: list[str] = []
    for name, definition in sorted(definitions.items()):
        form += _method_problems(name, definition)
    untried = []
    for trial, answered in zip(trials, answers, strict=True):
        if trial.says_nothing(answered):
            untried.append(trial.signature.name)
            continue
        problems = trial.form_problems(answered)
        form += problems
        if not problems:
            batches += trial.batch_problems(answered)
    rows = sum(trial.num_rows for trial in trials if trial.by_rows)
    detail = (
        f"{_counted(len(trials), 'signature')} at 0, 1 and "
        f"{signature_trials.LARGE_BATCH} rows"
    )
    if untried:
        names = ", ".join(untried)
        detail += f"; no rows are stored with which to ask {names}"
    return [
        Check("Signatures", detail, _shortened(form)),
        Check(
            "Batches",
            f"{_counted(rows, 'row')}, alone and together",
            _shortened(batches),
        ),
    ]


def _method_problems(name: str, definition: Any) -> list[str]:
    method = definition.method_name
    if method not in (_PREDICT, _CLASSIFY, _REGRESS):
        return [f"{name}: TensorFlow Serving has no method {method!r}"]
    if method == _PREDICT:
        return []
    found = []
    inputs = {k: tf.as_dtype(v.dtype) for k, v in definition.inputs.items()}
    if inputs != {"inputs": tf.string}:
        found.append(f"{name}: must take one string input, `inputs`")
    for output, info in definition.outputs.items():
        wanted = _OUTPUTS[method].get(output)
        if wanted is None or tf.as_dtype(info.dtype) != wanted:
            found.append(f"{name}: {method} has no output `{output}` like this")
    if not definition.outputs:
        found.append(f"{name}: must answer something")
    return found


def check_golden(path: str, stored: Stored, answers: Answers) -> Check:
    """Answers against those of the trained model.

    Args:
        path: The version's folder.
        stored: The golden requests,
        answers: and what the model answers now.
    """
    if not stored.exists:
        return Check("Golden requests", "none stored")
    problems = [stored.problem] if stored.problem else []
    tolerance = _GOLDEN_TOLERANCE
    try:
        tolerance = _tolerance(f"{path}/{GOLDEN_RECORD}")
    except (*_MALFORMED, tf.errors.OpError) as error:
        problems.append(f"{GOLDEN_RECORD} does not say the tolerance: {error}")
    largest = 0.0
    for one, answer in zip(stored.requests, answers, strict=True):
        name = one.request.signature
        if not one.expected:
            problems.append(f"{name}: no answer is stored")
        if answer.error:
            problems.append(f"{name}: {answer.error}")
            continue
        for output, expected in one.expected.items():
            if _is_nan(expected):
                problems.append(f"{name}: `{output}` was NaN in training")
            found = answer.outputs.get(output)
            if found is None:
                problems.append(f"{name}: `{output}` is not answered")
                continue
            difference, problem = _compare(found.numpy(), expected, tolerance)
            largest = max(largest, difference)
            if problem:
                problems.append(f"{name}: `{output}` {problem}")
    if not stored.requests and not stored.problem:
        problems.append("the file is empty")
    detail = (
        f"{_counted(len(stored.requests), 'request')}, off by at most "
        f"{largest:.1e} ({tolerance:.1e} allowed)"
    )
    return Check("Golden requests", detail, _shortened(problems))


def _is_nan(values: np.ndarray) -> bool:
    return values.dtype.kind == "f" and bool(np.isnan(values).any())


def _tolerance(file: str) -> float:
    if not tf.io.gfile.exists(file):
        return _GOLDEN_TOLERANCE
    with tf.io.gfile.GFile(file) as opened:
        tolerance = float(json.loads(opened.read())["tolerance"])
    if not 0 < tolerance < float("inf"):
        raise ValueError(f"it must be positive, received {tolerance}")
    return tolerance


def _compare(
    found: np.ndarray, expected: np.ndarray, tolerance: float
) -> tuple[float, str]:
    """The largest difference of floats, and what is wrong, if anything."""
    if found.shape != expected.shape:
        return 0.0, f"has shape {found.shape}, in training {expected.shape}"
    difference = 0.0
    if found.dtype.kind == "f" and found.size:
        apart = np.abs(found.astype(np.float64) - expected)
        difference = float(np.nanmax(apart, initial=0.0))
    row = signature_trials.first_difference(found, expected, tolerance, 0.0)
    if row is None:
        return difference, ""
    return difference, (
        f"of row {row} is {found[row]}, in training {expected[row]}"
    )


def check_warm_up(stored: Stored, answers: Answers) -> Check:
    """Whether the requests for warming up are answered.

    Args:
        stored: The requests,
        answers: and the answers.
    """
    if not stored.exists:
        return Check("Warm-up requests", "none stored")
    problems = [stored.problem] if stored.problem else []
    count = len(stored.requests) + len(stored.others)
    if count > _MAX_WARM_UP:
        problems.append(f"TensorFlow Serving takes at most {_MAX_WARM_UP}")
    for one, answer in zip(stored.requests, answers, strict=True):
        if answer.error:
            problems.append(f"{one.request.signature}: {answer.error}")
    detail = _counted(len(stored.requests), "request")
    if stored.others:
        detail += f"; {len(stored.others)} of other kinds not replayed"
    return Check("Warm-up requests", detail, _shortened(problems))


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _shortened(problems: Sequence[str]) -> tuple[str, ...]:
    if len(problems) <= _SHOWN_PROBLEMS:
        return tuple(problems)
    further = len(problems) - _SHOWN_PROBLEMS
    return (*problems[:_SHOWN_PROBLEMS], f"and {further} more")
