"""Requests answered by a SavedModel in a process of its own."""

import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from collections.abc import Sequence

import tensorflow as tf

from serving import replay

_TIMEOUT_SECONDS = 1800.0


@dataclasses.dataclass(frozen=True)
class Request:
    """What one signature is asked.

    Args:
        signature: Its name.
        inputs: A tensor for each of its inputs.
    """

    signature: str
    inputs: Mapping[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a signature answered.

    Args:
        outputs: A tensor for each of its outputs; none after an error.
        error: One line, or '' if it answered.
    """

    outputs: Mapping[str, tf.Tensor]
    error: str = ""


@dataclasses.dataclass(frozen=True)
class Replay:
    """What a process made of all requests.

    Args:
        tensorflow: The version that answered; '' if it got no further.
        answers: As many as there were requests, in their order; none if
            `failure` says something.
        failure: Why the model could not be asked at all, or ''.
        no_tensorflow: Whether that is for want of a TensorFlow.
    """

    tensorflow: str
    answers: Sequence[Answer]
    failure: str = ""
    no_tensorflow: bool = False


def run(
    model: str | os.PathLike[str],
    requests: Sequence[Request],
    *,
    python: str | os.PathLike[str] | None = None,
    timeout_seconds: float = _TIMEOUT_SECONDS,
) -> Replay:
    """Has a SavedModel answer requests in a process without this package.

    Args:
        model: The version's folder; any path that TensorFlow reads.
        requests: In which order they are answered.
        python: The interpreter of an environment with any TensorFlow; by
            default this process's own, in which our packages are out of
            reach.
        timeout_seconds: After which the process is ended.

    Example:
    >>> class Double(tf.Module):
    ...     @tf.function(input_signature=[tf.TensorSpec([None], name="x")])
    ...     def __call__(self, x):
    ...         return {"y": 2.0 * x}
    >>> double, path = Double(), tempfile.mkdtemp()
    >>> tf.saved_model.save(double, path, double.__call__)
    >>> request = Request("serving_default", {"x": tf.constant([1.0, 4.0])})
    >>> run(path, [request]).answers[0].outputs["y"].numpy().tolist()
    [2.0, 8.0]
    """
    with tempfile.TemporaryDirectory(prefix="tfplugin-replay-") as folder:
        work = pathlib.Path(folder)
        script = work / "replay.py"
        # Copied, so that nothing of ours is a neighbour of the script.
        script.write_bytes(pathlib.Path(replay.__file__).read_bytes())
        with tf.io.TFRecordWriter(str(work / "requests")) as writer:
            for request in requests:
                writer.write(encode(request))
        path = os.fspath(model)
        path = path if "://" in path else os.path.abspath(path)
        # Absolute, as the process starts elsewhere; links stay, since an
        # environment is found by the link's place.
        interpreter = os.path.abspath(python or sys.executable)
        words = [interpreter, "-I", str(script), path]
        words += [str(work / "requests"), str(work / "answers")]
        try:
            ended = subprocess.run(
                words,
                cwd=work,
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=timeout_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Replay("", (), f"no end after {timeout_seconds:g} s")
        except OSError as error:
            return Replay("", (), f"{words[0]} does not start: {error}", True)
        return _read(work / "answers", ended, len(requests))


def _read(
    path: pathlib.Path,
    ended: subprocess.CompletedProcess[bytes],
    expected: int,
) -> Replay:
    if ended.returncode:
        said = ended.stderr.decode(errors="replace").strip().splitlines()
        line = said[-1] if said else "it said nothing"
        if ended.returncode == replay.UNLOADABLE:
            return Replay("", (), line)
        if ended.returncode == replay.NO_TENSORFLOW:
            return Replay("", (), line, True)
        status = ended.returncode
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return Replay("", (), f"the process ended with {how}: {line}")
    records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    answers = [decode(record) for record in records[1:]]
    if len(answers) != expected:
        raise RuntimeError(
            f"There must be an answer to each of {expected} requests. "
            f"Received: {len(answers)}."
        )
    feature = tf.train.Example.FromString(records[0]).features.feature
    (version,) = feature["version"].bytes_list.value
    return Replay(version.decode(), answers)


def encode(request: Request) -> bytes:
    """A request as a record of the file that `replay.py` reads.

    Args:
        request: What is asked.
    """
    made = tf.train.Example()
    feature = made.features.feature
    feature["signature"].bytes_list.value.append(request.signature.encode())
    for name, tensor in request.inputs.items():
        feature["names"].bytes_list.value.append(name.encode())
        feature["dtypes"].int64_list.value.append(tensor.dtype.as_datatype_enum)
        feature["tensors"].bytes_list.value.append(
            tf.io.serialize_tensor(tensor).numpy()
        )
    return made.SerializeToString()


def decode(record: bytes) -> Answer:
    """An answer from a record of the file that `replay.py` writes.

    Args:
        record: Any but the first, which names the TensorFlow.

    Example:
    >>> record = tf.train.Example()
    >>> record.features.feature["error"].bytes_list.value.append(b"no")
    >>> decode(record.SerializeToString()).error
    'no'
    """
    feature = tf.train.Example.FromString(record).features.feature
    if "error" in feature:
        (error,) = feature["error"].bytes_list.value
        return Answer({}, error.decode(errors="replace"))
    return Answer(
        {
            name.decode(): tf.io.parse_tensor(tensor, tf.as_dtype(dtype))
            for name, dtype, tensor in zip(
                feature["names"].bytes_list.value,
                feature["dtypes"].int64_list.value,
                feature["tensors"].bytes_list.value,
                strict=True,
            )
        }
    )
