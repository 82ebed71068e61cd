import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_st

from serving import request_error
from serving import tensor_protos

ARRAYS = numpy_st.arrays(
    dtype=st.sampled_from("f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 ?".split()).map(
        np.dtype
    ),
    shape=numpy_st.array_shapes(min_dims=0, min_side=0, max_side=4),
)


def empty_proto():
    proto = tf.make_tensor_proto(0)
    proto.Clear()
    return proto


def refuses(proto, message):
    with pytest.raises(request_error.RequestError, match=message) as error:
        tensor_protos.to_array("x", proto)
    assert error.value.code.name == "INVALID_ARGUMENT"


@settings(deadline=None, max_examples=50)
@given(ARRAYS)
def test_fields_round_trip(array):
    proto = empty_proto()
    tensor_protos.fill_proto(proto, array)
    assert not proto.tensor_content
    decoded = tensor_protos.to_array("x", proto)
    assert decoded.dtype == array.dtype
    assert decoded.shape == array.shape
    np.testing.assert_array_equal(decoded, array)


@settings(deadline=None, max_examples=50)
@given(ARRAYS)
def test_decodes_as_tensorflow_does(array):
    proto = tf.make_tensor_proto(array)
    decoded = tensor_protos.to_array("x", proto)
    expected = tf.io.parse_tensor(proto.SerializeToString(), array.dtype)
    assert decoded.dtype == array.dtype
    np.testing.assert_array_equal(decoded, expected.numpy())


@pytest.mark.parametrize(
    "tensor",
    [
        tf.constant([b"\xff", b""]),
        tf.constant([[b"a"], [b"b"]]),
        tf.constant(b"scalar"),
        tf.zeros([0, 2], tf.string),
        tf.constant([1.5, -2.0], tf.bfloat16),
        tf.constant([1 + 2j]),
    ],
)
def test_other_dtypes(tensor):
    array = (
        np.asarray(tensor.numpy(), object)
        if tensor.dtype == tf.string
        else (tensor.numpy())
    )
    proto = empty_proto()
    tensor_protos.fill_proto(proto, array)
    decoded = tensor_protos.to_array("x", proto)
    assert decoded.shape == array.shape
    np.testing.assert_array_equal(decoded, array)


def test_few_values_are_continued_by_the_last():
    for dtype, field in (
        (tf.int64, "int64_val"),
        (tf.float32, "float_val"),
        (tf.bool, "bool_val"),
        (tf.string, "string_val"),
        (tf.int8, "int_val"),
    ):
        value = b"b" if dtype == tf.string else 1
        for values in ([], [value]):
            proto = empty_proto()
            proto.dtype = dtype.as_datatype_enum
            proto.tensor_shape.dim.add().size = 3
            getattr(proto, field).extend(values)
            expected = tf.io.parse_tensor(proto.SerializeToString(), dtype)
            decoded = tensor_protos.to_array("x", proto)
            assert decoded.tolist() == expected.numpy().tolist()


def test_strings_packed_into_one():
    proto = empty_proto()
    proto.dtype = tf.string.as_datatype_enum
    proto.tensor_shape.dim.add().size = 2
    proto.tensor_content = b"\x01\x02abb"
    assert tensor_protos.to_array("x", proto).tolist() == [b"a", b"bb"]
    proto.tensor_content = b"\x01\x7fabb"
    refuses(proto, "tensor parsing error: x")


def test_a_byte_of_content_is_a_bool():
    proto = tf.make_tensor_proto([True, False])
    proto.tensor_content = b"\x02\x00"
    assert tensor_protos.to_array("x", proto).tolist() == [True, False]


def test_values_that_would_be_ignored():
    proto = empty_proto()
    proto.dtype = tf.int64.as_datatype_enum
    proto.tensor_shape.dim.add().size = 2
    proto.float_val.extend([1.0, 2.0])
    refuses(proto, "`x`.*int64_val.*float_val")
    proto.int64_val.extend([1, 2, 3])
    refuses(proto, "error: x.*3 values in int64_val")
    proto.tensor_content = b"123"
    refuses(proto, "error: x.*3 bytes")


@pytest.mark.parametrize("dtype", [0, 9999, -1, 20, 21, 101])
def test_dtypes_without_values(dtype):
    proto = empty_proto()
    proto.dtype = dtype
    proto.tensor_shape.dim.add().size = 1
    refuses(proto, "x")


@pytest.mark.parametrize(
    "sizes",
    [
        [(1 << 28) + 1],
        [1 << 62, 1 << 62],
        [1 << 62, 0],
        [1 << 20, 1 << 20],
        [-1],
        [1] * 65,
    ],
)
@pytest.mark.parametrize("dtype", [tf.float32, tf.string, tf.complex64])
def test_impossible_shapes(sizes, dtype):
    proto = empty_proto()
    proto.dtype = dtype.as_datatype_enum
    for size in sizes:
        proto.tensor_shape.dim.add().size = size
    refuses(proto, "`x` must h")


def test_a_request_has_one_budget():
    inputs = {}
    for name in "abc":
        proto = inputs[name] = tf.make_tensor_proto([1.0])
        proto.tensor_shape.dim[0].size = 3 << 24
    with pytest.raises(request_error.RequestError, match="`b` must hold"):
        tensor_protos.to_arrays(inputs)
