"""What one signature of a SavedModel takes and returns."""

import functools
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from serving import request_error

SERVING_DEFAULT = "serving_default"

# What stands behind the name of a list input in that of its lengths.
_LENGTHS_SUFFIX = "_length"


@dataclass(frozen=True)
class Signature:
    """Names, dtypes and shapes of a signature, and the check against them.

    A request is checked before the model runs: what TensorFlow says about a
    wrong tensor names a node of the graph, not the input the client sent.

    Args:
        name: The signature's name, for example `"serving_default"`.
        inputs: A `tf.TensorSpec` by input name; unknown dimensions are None.
        outputs: A `tf.TensorSpec` by output name.

    Example:
    >>> signature = Signature(
    ...     "serving_default",
    ...     inputs={"age": tf.TensorSpec([None], tf.int64)},
    ...     outputs={"score": tf.TensorSpec([None, 1], tf.float32)},
    ... )
    >>> signature.check({"age": tf.TensorSpec([3], tf.int64)})
    >>> signature.check({"age": tf.TensorSpec([3], tf.float32)})
    Traceback (most recent call last):
    ...
    serving.request_error.RequestError: Input `age` must be int64. Received: \
dtype=float32.
    """

    name: str
    inputs: Mapping[str, tf.TensorSpec]
    outputs: Mapping[str, tf.TensorSpec]

    @classmethod
    def from_proto(cls, name: str, signature_def: Any) -> "Signature":
        """Returns the signature a SavedModel's meta graph describes.

        Args:
            name: The signature's name.
            signature_def: The `SignatureDef` stored under it.

        Example:
        >>> proto = tf.compat.v1.MetaGraphDef().signature_def["ages"]
        >>> proto.inputs["age"].dtype = tf.int64.as_datatype_enum
        >>> Signature.from_proto("ages", proto).inputs["age"].dtype
        tf.int64
        """
        return cls(
            name, _specs(signature_def.inputs), _specs(signature_def.outputs)
        )

    def check(self, received: Mapping[str, tf.TensorSpec]) -> None:
        """Refuses tensors that this signature does not take.

        Inputs whose first dimension is open (-1) carry the batch, and must
        agree on its size, which may be 0.

        Args:
            received: The dtype and the full shape of each tensor received,
                by input name.

        Raises:
            RequestError: `INVALID_ARGUMENT` for a missing or unknown input,
                a wrong dtype, rank or dimension, or batch sizes that differ.
                The message names the input.
        """
        self._check_names(received)
        for name, spec in self.inputs.items():
            _check_tensor(name, spec, received[name])
        self._check_batch(received)

    def check_arrays(self, inputs: Mapping[str, np.ndarray]) -> int:
        """Refuses arrays that this signature does not take.

        Args:
            inputs: An array for every input; strings are arrays of objects.

        Returns:
            The size of the batch; 1 if no input carries one.

        Raises:
            RequestError: As for `check`.

        Example:
        >>> spec = tf.TensorSpec([None], tf.int64)
        >>> signature = Signature("serving_default", {"age": spec}, {})
        >>> signature.check_arrays({"age": np.array([18, 65])})
        2
        """
        rows = -1
        fits = len(inputs) == len(self.inputs)
        for name, dtype, sizes in self._expected:
            array = inputs.get(name)
            if array is None or array.dtype != dtype:
                fits = False
                break
            shape = array.shape
            if sizes is None:
                continue
            if len(shape) != len(sizes):
                fits = False
                break
            for size, wanted in zip(shape, sizes, strict=True):
                if wanted is not None and size != wanted:
                    fits = False
            if sizes and sizes[0] is None:
                if rows == -1:
                    rows = shape[0]
                elif rows != shape[0]:
                    fits = False
        if not fits:
            # Slow, and knows what to say.
            self.check({name: _spec_of(inputs[name]) for name in inputs})
            _check_byte_order(inputs)
        return 1 if rows == -1 else rows

    @functools.cached_property
    def batches(self) -> bool:
        """Whether every input and output has a row for each of a batch."""
        specs = [*self.inputs.values(), *self.outputs.values()]
        return bool(self.inputs) and all(
            spec.shape.rank and spec.shape[0] is None for spec in specs
        )

    @functools.cached_property
    def list_inputs(self) -> Mapping[str, str]:
        """Inputs that may be widened, with the input of their lengths.

        They have the shape `[-1, -1]` and stand beside a NAME_length; what
        lies behind a row's length is not looked at. No output may be as wide
        as such an input.
        """
        if any(
            spec.shape.rank is None or None in spec.shape.as_list()[1:]
            for spec in self.outputs.values()
        ):
            return {}
        found = {}
        for name, spec in self.inputs.items():
            lengths = self.inputs.get(name + _LENGTHS_SUFFIX)
            if (
                lengths is not None
                and lengths.dtype in (tf.int32, tf.int64)
                and lengths.shape.rank == 1
                and spec.shape.rank == 2
                and spec.shape[1] is None
            ):
                found[name] = name + _LENGTHS_SUFFIX
        return found

    def check_output_filter(self, names: Iterable[str]) -> None:
        """Refuses outputs that this signature does not return.

        Args:
            names: The outputs a client asked for.

        Raises:
            RequestError: `INVALID_ARGUMENT` for an unknown name, or one that
                is given twice.
        """
        seen: set[str] = set()
        for name in names:
            if name not in self.outputs:
                raise request_error.RequestError.invalid(
                    "output tensor alias not found in signature: "
                    f"{name} Outputs expected to be in the set "
                    f"{_names(self.outputs)}."
                )
            if name in seen:
                raise request_error.RequestError.invalid(
                    f"duplicate output tensor alias: {name}"
                )
            seen.add(name)

    @functools.cached_property
    def _expected(
        self,
    ) -> list[tuple[str, np.dtype[Any], tuple[int | None, ...] | None]]:
        # TensorFlow's own dtypes and shapes take microseconds to compare.
        return [
            (
                name,
                np.dtype(spec.dtype.as_numpy_dtype),
                None if spec.shape.rank is None else tuple(spec.shape),
            )
            for name, spec in self.inputs.items()
        ]

    def _check_names(self, received: Mapping[str, tf.TensorSpec]) -> None:
        extra = set(received) - set(self.inputs)
        missing = set(self.inputs) - set(received)
        if len(received) != len(self.inputs):
            raise request_error.RequestError.invalid(
                "input size does not match signature: "
                f"{len(received)}!={len(self.inputs)} "
                f"len({_names(received)}) != len({_names(self.inputs)}). "
                f"Sent extra: {_names(extra)}. "
                f"Missing but required: {_names(missing)}."
            )
        if extra:
            raise request_error.RequestError.invalid(
                "input tensor alias not found in signature: "
                f"{min(extra)}. Inputs expected to be in the set "
                f"{_names(self.inputs)}."
            )

    def _check_batch(self, received: Mapping[str, tf.TensorSpec]) -> None:
        batch_sizes = {
            name: received[name].shape[0]
            for name, spec in self.inputs.items()
            if spec.shape.rank and spec.shape[0] is None
        }
        if len(set(batch_sizes.values())) > 1:
            sizes = ", ".join(f"{n}={s}" for n, s in batch_sizes.items())
            raise request_error.RequestError.invalid(
                "All inputs must have the same first (batch) dimension. "
                f"Received: {sizes}."
            )


def _specs(infos: Mapping[str, Any]) -> dict[str, tf.TensorSpec]:
    # Sorted, since the order of a protobuf map is not defined and messages
    # that list the names should not vary.
    return {
        name: tf.TensorSpec(
            tf.TensorShape(info.tensor_shape),
            tf.as_dtype(info.dtype),
        )
        for name, info in sorted(infos.items())
    }


def _spec_of(array: np.ndarray) -> tf.TensorSpec:
    try:
        return tf.TensorSpec(array.shape, tf.as_dtype(array.dtype))
    except TypeError:
        # A dtype TensorFlow has not, and so no signature either.
        return tf.TensorSpec(array.shape, tf.variant)


def _check_byte_order(inputs: Mapping[str, np.ndarray]) -> None:
    # To TensorFlow's dtypes all orders are the same; to its kernels they are
    # not.
    for name, array in inputs.items():
        if not array.dtype.isnative:
            raise request_error.RequestError.invalid(
                f"Input `{name}` must be in this machine's byte order. "
                f"Received: dtype={array.dtype.str}."
            )


def _names(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _check_tensor(
    name: str, spec: tf.TensorSpec, received: tf.TensorSpec
) -> None:
    if received.dtype != spec.dtype:
        raise request_error.RequestError.invalid(
            f"Input `{name}` must be {spec.dtype.name}. "
            f"Received: dtype={received.dtype.name}."
        )
    if not spec.shape.is_compatible_with(received.shape):
        raise request_error.RequestError.invalid(
            f"Input `{name}` must have shape {_shape(spec.shape)} "
            f"(-1: any size). Received: shape={_shape(received.shape)}."
        )


def _shape(shape: tf.TensorShape) -> str:
    sizes = [-1 if size is None else size for size in shape]
    return "[" + ",".join(map(str, sizes)) + "]"
