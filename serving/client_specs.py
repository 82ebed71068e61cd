"""What a client knows of a model: signatures and the states of versions."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

#: Names of TensorFlow's dtypes on the wire, to ours and NumPy's. A string is
#: an object of bytes; NumPy has no bfloat16, whose values are as float32.
DTYPES: Mapping[str, tuple[str, Any]] = MappingProxyType(
    {
        "DT_FLOAT": ("float32", np.float32),
        "DT_DOUBLE": ("float64", np.float64),
        "DT_HALF": ("float16", np.float16),
        "DT_BFLOAT16": ("bfloat16", np.float32),
        "DT_INT8": ("int8", np.int8),
        "DT_INT16": ("int16", np.int16),
        "DT_INT32": ("int32", np.int32),
        "DT_INT64": ("int64", np.int64),
        "DT_UINT8": ("uint8", np.uint8),
        "DT_UINT16": ("uint16", np.uint16),
        "DT_UINT32": ("uint32", np.uint32),
        "DT_UINT64": ("uint64", np.uint64),
        "DT_BOOL": ("bool", np.bool_),
        "DT_STRING": ("string", np.object_),
    }
)
_NUMPY = {name: np.dtype(kind) for name, kind in DTYPES.values()}


@dataclasses.dataclass(frozen=True)
class ClientTensorSpec:
    """The dtype and the shape of one input or output of a signature.

    Args:
        dtype: TensorFlow's name, as in `"int64"` or `"string"`.
        shape: Sizes, None where any will do; None for any number of axes.

    Example:
    >>> ClientTensorSpec("string", (None,)).numpy_dtype
    dtype('O')
    """

    dtype: str
    shape: tuple[int | None, ...] | None

    @property
    def numpy_dtype(self) -> np.dtype:
        """NumPy's dtype of the values; strings are objects of bytes."""
        return _NUMPY.get(self.dtype, np.dtype(np.object_))

    @property
    def rank(self) -> int | None:
        """The number of axes, or None."""
        return None if self.shape is None else len(self.shape)


@dataclasses.dataclass(frozen=True)
class ClientSignature:
    """One signature of a model, as its metadata tells.

    Args:
        inputs: By name.
        outputs: By name.
        method_name: As in `"tensorflow/serving/predict"`.

    Example:
    >>> price = ClientTensorSpec("float32", (None,))
    >>> ClientSignature({"price": price}, {}, "").list_columns
    frozenset()
    """

    inputs: Mapping[str, ClientTensorSpec]
    outputs: Mapping[str, ClientTensorSpec]
    method_name: str

    @property
    def list_columns(self) -> frozenset[str]:
        """Inputs that hold a list a row: NAME beside NAME_length."""
        return frozenset(
            name
            for name, spec in self.inputs.items()
            if spec.rank == 2 and f"{name}_length" in self.inputs
        )

    @property
    def columns(self) -> dict[str, ClientTensorSpec]:
        """The inputs without the lengths of lists, which follow from them."""
        lengths = {f"{name}_length" for name in self.list_columns}
        return {k: v for k, v in self.inputs.items() if k not in lengths}


@dataclasses.dataclass(frozen=True)
class VersionStatus:
    """The state of one version of a model.

    Args:
        version: Its number.
        state: `START`, `LOADING`, `AVAILABLE`, `UNLOADING` or `END`.
        error_code: `OK`, or why it could not be loaded.
        error_message: What the server says of that.

    Example:
    >>> VersionStatus(3, "AVAILABLE").state
    'AVAILABLE'
    """

    version: int
    state: str
    error_code: str = "OK"
    error_message: str = ""


@dataclasses.dataclass(frozen=True)
class ClientTls:
    """Certificate files of a client, in PEM.

    Args:
        root_certificates: Whom to trust; None for the system's.
        certificate: The client's own, where the server asks for one.
        key: The key of `certificate`.

    Raises:
        ValueError: If only one of `certificate` and `key` is given.

    Example:
    >>> ClientTls(root_certificates="ca.pem").key is None
    True
    """

    root_certificates: str | None = None
    certificate: str | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError(
                "`certificate` and `key` belong together. Received: "
                f"certificate={self.certificate!r}, key={self.key!r}."
            )


def tensor_spec(
    dtype: str, sizes: list[int], unknown_rank: bool = False
) -> ClientTensorSpec:
    """Makes a spec of what is on the wire.

    Args:
        dtype: As in `"DT_INT64"`.
        sizes: Sizes of the axes, -1 where any will do.
        unknown_rank: Whether the number of axes is open.

    Example:
    >>> tensor_spec("DT_INT64", [-1, 4])
    ClientTensorSpec(dtype='int64', shape=(None, 4))
    """
    name = DTYPES[dtype][0] if dtype in DTYPES else dtype.lower()
    shape = tuple(None if size < 0 else size for size in sizes)
    return ClientTensorSpec(name, None if unknown_rank else shape)
