"""Requests that show whether a signature keeps its word, and the verdict."""

import dataclasses
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from serving import replay_process
from serving import signature as signature_lib

LENGTHS_SUFFIX = "_length"
#: Rows that are asked one by one, and rows of the largest batch.
SINGLE_ROWS = 64
LARGE_BATCH = 256
#: Other batch sizes add in another order.
TOLERANCE = 1e-5

Tensors = Mapping[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Trial:
    """One signature asked for many rows, none, each row, and many more.

    Args:
        signature: What it takes and gives.
        inputs: Some rows of each input.
        made_up: Whether the rows are nobody's, for want of others.
    """

    signature: signature_lib.Signature
    inputs: Tensors
    made_up: bool

    @property
    def by_rows(self) -> bool:
        """Whether the first dimension of every input is the batch's."""
        return is_batched(self.signature)

    @property
    def num_rows(self) -> int:
        """Rows of `inputs`."""
        return num_rows(self.inputs)

    def requests(self) -> list[replay_process.Request]:
        """What is asked: all rows, no row, many rows, then row by row."""
        asked = [self.inputs]
        if self.by_rows:
            repeated = np.arange(LARGE_BATCH) % self.num_rows
            asked += [_rows(self.inputs, []), _rows(self.inputs, repeated)]
            asked += [
                _cropped(_rows(self.inputs, [row]))
                for row in range(self.num_rows)
            ]
        name = self.signature.name
        return [replay_process.Request(name, inputs) for inputs in asked]

    def says_nothing(self, answers: Sequence[replay_process.Answer]) -> bool:
        """Whether it is the made-up rows that the signature refuses.

        Args:
            answers: To `requests`.
        """
        return self.made_up and bool(answers[0].error)

    def form_problems(
        self, answers: Sequence[replay_process.Answer]
    ) -> list[str]:
        """Errors, wrong names, dtypes and shapes.

        Args:
            answers: To `requests`.
        """
        sizes: list[int | None] = [None]
        if self.by_rows:
            sizes = [self.num_rows, 0, LARGE_BATCH, *[1] * self.num_rows]
        found: dict[str, None] = {}
        for size, answer in zip(sizes, answers, strict=True):
            where = "" if size is None else f" at batch size {size}"
            for problem in _form(self.signature, answer, size):
                found[f"{self.signature.name}{where}: {problem}"] = None
        return list(found)

    def batch_problems(
        self, answers: Sequence[replay_process.Answer]
    ) -> list[str]:
        """Rows whose answer depends on what travels with them.

        Args:
            answers: To `requests`, none of them an error.
        """
        if not self.by_rows:
            return []
        together, _, many, *alone = answers
        found = []
        for name, spec in self.signature.outputs.items():
            if not spec.shape.rank or spec.shape[0] is not None:
                continue
            whole = together.outputs[name].numpy()
            repeated = np.arange(LARGE_BATCH) % self.num_rows
            pairs = [(many.outputs[name].numpy(), whole[repeated])]
            singles = [one.outputs[name].numpy() for one in alone]
            pairs.append((np.concatenate(singles), whole))
            for (one, other), how in zip(
                pairs, (f"of {LARGE_BATCH}", "of its own"), strict=True
            ):
                row = first_difference(one, other, TOLERANCE, TOLERANCE)
                if row is not None:
                    found.append(
                        f"{self.signature.name}: `{name}` of row "
                        f"{row % self.num_rows} differs in a batch {how}: "
                        f"{_shown(one[row])}, not {_shown(other[row])}"
                    )
        return found


def is_batched(signature: signature_lib.Signature) -> bool:
    """Whether the first dimension of every input is open.

    Args:
        signature: What it takes.
    """
    return bool(signature.inputs) and all(
        spec.shape.rank and spec.shape[0] is None
        for spec in signature.inputs.values()
    )


def num_rows(inputs: Tensors) -> int:
    """The first dimension of the first input.

    Args:
        inputs: Of a signature for which `is_batched` holds.
    """
    return int(next(iter(inputs.values())).shape[0])


def some_rows(inputs: Tensors) -> Tensors:
    """The first rows and the last two, `SINGLE_ROWS` at most.

    Args:
        inputs: Rows of a signature for which `is_batched` holds.
    """
    count = num_rows(inputs)
    if count <= SINGLE_ROWS:
        return inputs
    return _rows(inputs, [*range(SINGLE_ROWS - 2), count - 2, count - 1])


def make_up(signature: signature_lib.Signature) -> Tensors:
    """Three rows for which a signature can be asked, if nothing is stored.

    Args:
        signature: What it takes.

    Example:
    >>> signature = signature_lib.Signature(
    ...     "embeddings_user", {"ids": tf.TensorSpec([None], tf.int64)}, {}
    ... )
    >>> make_up(signature)["ids"].numpy().tolist()
    [0, 1, 2]
    """
    made: dict[str, tf.Tensor] = {}
    for name, spec in signature.inputs.items():
        rank = spec.shape.rank or 0
        sizes = [spec.shape[axis] for axis in range(rank)]
        shape = [
            size if size is not None else (2 if axis else 3)
            for axis, size in enumerate(sizes)
        ]
        numbers = np.arange(np.prod(shape, dtype=int)).reshape(shape)
        of_list = name.removesuffix(LENGTHS_SUFFIX)
        if spec.dtype == tf.string:
            # An empty Example is one, and also an id.
            made[name] = tf.fill(shape, b"")
        elif of_list != name and of_list in signature.inputs:
            made[name] = tf.constant(numbers % 3, spec.dtype)
        else:
            made[name] = tf.cast(numbers, spec.dtype)
    return made


def first_difference(
    one: np.ndarray, other: np.ndarray, absolute: float, relative: float
) -> int | None:
    """The first row in which two arrays differ, or None.

    Args:
        one: Any array; NaNs equal each other.
        other: One of the same shape, or all rows differ.
        absolute: How far floats may be apart,
        relative: and by which share of `other`.

    Example:
    >>> first_difference(np.array([1.0, 2.0]), np.array([1.0, 2.5]), 0.1, 0)
    1
    """
    if one.shape != other.shape:
        return 0
    if one.dtype.kind == "f":
        close = np.isclose(one, other, relative, absolute, equal_nan=True)
    else:
        close = np.asarray(one == other)
    wrong = ~close.reshape(len(close), -1).all(axis=1)
    return int(wrong.argmax()) if wrong.any() else None


def _rows(inputs: Tensors, rows: Iterable[int]) -> Tensors:
    indices = tf.constant([*rows], tf.int32)
    return {name: tf.gather(one, indices) for name, one in inputs.items()}


def _cropped(inputs: Tensors) -> Tensors:
    """One row whose lists have no padding."""
    made = dict(inputs)
    for name, tensor in inputs.items():
        lengths = inputs.get(name + LENGTHS_SUFFIX)
        if lengths is not None and tensor.shape.rank == 2:
            made[name] = tensor[:, : int(tf.reduce_max(lengths))]
    return made


def _form(
    signature: signature_lib.Signature,
    answer: replay_process.Answer,
    size: int | None,
) -> list[str]:
    if answer.error:
        return [answer.error]
    if set(answer.outputs) != set(signature.outputs):
        return [
            f"answers {sorted(answer.outputs)}, not {sorted(signature.outputs)}"
        ]
    found = []
    for name, spec in signature.outputs.items():
        output = answer.outputs[name]
        if output.dtype != spec.dtype:
            found.append(
                f"`{name}` is {output.dtype.name}, not {spec.dtype.name}"
            )
        shape = tf.TensorShape(spec.shape)
        if size is not None and shape.rank and shape[0] is None:
            shape = tf.TensorShape([size, *shape[1:]])
        if not shape.is_compatible_with(output.shape):
            found.append(f"`{name}` has shape {output.shape}, not {shape}")
    return found


def _shown(value: np.ndarray) -> str:
    return np.array2string(np.asarray(value), threshold=4, precision=8)
