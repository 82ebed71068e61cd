"""Whether a model answers as it was trained to, where only TensorFlow is."""

import dataclasses
import os
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from serving import logged_requests
from serving import replay_process
from serving import saved_model_file
from serving import signature as signature_lib
from serving import signature_trials
from serving import validation_checks
from tfplugin import errors


@dataclasses.dataclass(frozen=True)
class ValidationReport:
    """What all checks have found.

    Args:
        path: The folder of the version.
        tensorflow: The version that replayed the requests; '' if it did not
            come to that.
        checks: In the order in which they were made.
    """

    path: str
    tensorflow: str
    checks: tuple[validation_checks.Check, ...]

    @property
    def passed(self) -> bool:
        """Whether the model may be published."""
        return all(check.passed for check in self.checks)

    @property
    def problems(self) -> tuple[str, ...]:
        """Every problem of every check."""
        return tuple(
            f"{check.name}: {problem}"
            for check in self.checks
            for problem in check.problems
        )


def validate(
    path: str | os.PathLike[str],
    *,
    python: str | os.PathLike[str] | None = None,
    timeout_seconds: float = 1800.0,
) -> ValidationReport:
    """Replays what is stored with a model, in a process without this package.

    Checked is that

    * the files are those that were exported, by the checksums stored with them;
    * no operator is in the graph or a function of it that stock TensorFlow
      Serving lacks, and Classify and Regress have its names;
    * the model loads, and each signature answers 0, 1 and many rows with the
      dtypes and shapes that it promises;
    * a row's answer is the same alone, without padding, and in a batch;
    * the golden requests are answered as the trained model did;
    * the warm-up requests are, at all.

    Nothing is written into the folder, and nothing of it is run but its graph.

    Args:
        path: The version's folder; any path that TensorFlow reads.
        python: The interpreter of an environment with another TensorFlow; see
            `replay_process.run`.
        timeout_seconds: After which the model has failed.

    Returns:
        What was found; `passed` says whether the model may be served.

    Raises:
        InputError: There is no model at `path`, or no TensorFlow at `python`.

    Example:
    >>> import tempfile
    >>> class Double(tf.Module):
    ...     @tf.function(input_signature=[tf.TensorSpec([None], name="x")])
    ...     def __call__(self, x):
    ...         return {"y": 2.0 * x}
    >>> double, path = Double(), tempfile.mkdtemp()
    >>> tf.saved_model.save(double, path, double.__call__)
    >>> report = validate(path)
    >>> report.passed, [check.name for check in report.checks]
    (True, ['Files', 'Operators', 'Signatures', 'Batches', 'Golden requests', \
'Warm-up requests'])
    """
    path = os.fspath(path).rstrip("/") or "/"
    if not tf.io.gfile.exists(f"{path}/{saved_model_file.NAME}"):
        there = tf.io.gfile.exists(path)
        raise errors.InputError(
            f"A version's folder must hold {saved_model_file.NAME}. Received: "
            f"{path!r}, which {'holds none' if there else 'does not exist'}. "
            "Name the folder of one version, as in model/1."
        )
    try:
        meta_graph = saved_model_file.read_meta_graph(path)
    except errors.InputError as error:
        return ValidationReport(
            path, "", (validation_checks.Check("Files", "", (str(error),)),)
        )
    checks = [
        validation_checks.check_files(path),
        validation_checks.check_operators(meta_graph),
    ]
    definitions = _callable(meta_graph.signature_def)
    return _replayed(path, definitions, checks, python, timeout_seconds)


def _replayed(
    path: str,
    definitions: Mapping[str, Any],
    checks: list[validation_checks.Check],
    python: str | os.PathLike[str] | None,
    timeout_seconds: float,
) -> ValidationReport:
    """Adds what only a process can say that runs the model."""
    golden, warm_up = (
        validation_checks.Stored.read(path, name, definitions)
        for name in (validation_checks.GOLDEN, validation_checks.WARM_UP)
    )
    trials = [
        _trial(name, definition, [*golden.requests, *warm_up.requests])
        for name, definition in sorted(definitions.items())
    ]
    parts = [trial.requests() for trial in trials]
    parts += [[one.request for one in golden.requests]]
    parts += [[one.request for one in warm_up.requests]]
    replayed = replay_process.run(
        path,
        [request for part in parts for request in part],
        python=python,
        timeout_seconds=timeout_seconds,
    )
    if replayed.no_tensorflow and python is not None:
        raise errors.InputError(
            "--python must be an interpreter that finds TensorFlow. Received: "
            f"{python}: {replayed.failure}. Install tensorflow there, or name "
            "another one."
        )
    if replayed.failure:
        checks.append(
            validation_checks.Check("Loading", "", (replayed.failure,))
        )
        return ValidationReport(path, "", tuple(checks))
    *tried, to_golden, to_warm_up = _split(replayed.answers, parts)
    checks += validation_checks.check_signatures(definitions, trials, tried)
    checks.append(validation_checks.check_golden(path, golden, to_golden))
    checks.append(validation_checks.check_warm_up(warm_up, to_warm_up))
    return ValidationReport(path, replayed.tensorflow, tuple(checks))


def _callable(signature_defs: Mapping[str, Any]) -> dict[str, Any]:
    # The initialiser, which loading runs, is stored as a signature too.
    return {
        name: definition
        for name, definition in signature_defs.items()
        if not name.startswith("__saved_model_")
    }


def _trial(
    name: str,
    definition: Any,
    stored: Sequence[logged_requests.LoggedRequest],
) -> signature_trials.Trial:
    signature = signature_lib.Signature.from_proto(name, definition)
    known = [
        one.request.inputs
        for one in stored
        if one.request.signature == name
        and set(one.request.inputs) == set(signature.inputs)
    ]
    if not signature_trials.is_batched(signature):
        inputs = known[0] if known else signature_trials.make_up(signature)
        return signature_trials.Trial(signature, inputs, not known)
    fit = [
        one
        for one in known
        if len({tuple(tensor.shape[:1]) for tensor in one.values()}) == 1
        and all(tensor.shape.rank for tensor in one.values())
        and signature_trials.num_rows(one)
    ]
    if not fit:
        return signature_trials.Trial(
            signature, signature_trials.make_up(signature), True
        )
    rows = max(fit, key=signature_trials.num_rows)
    rows = signature_trials.some_rows(rows)
    return signature_trials.Trial(signature, rows, False)


def _split(
    answers: Sequence[replay_process.Answer], parts: Sequence[Sequence[Any]]
) -> list[Sequence[replay_process.Answer]]:
    found, start = [], 0
    for part in parts:
        found.append(answers[start : start + len(part)])
        start += len(part)
    return found
