import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_st

from serving import json_requests
from serving import json_responses
from serving import request_error

ARRAYS = numpy_st.arrays(
    dtype=st.sampled_from("f2 f4 f8 i1 i4 i8 u1 u4 u8 ?".split()).map(np.dtype),
    shape=numpy_st.array_shapes(min_dims=1, min_side=1, max_side=4),
    elements={"allow_nan": False, "allow_infinity": False},
)


@settings(deadline=None, max_examples=50)
@given(ARRAYS)
def test_numbers_survive_both_ways(array):
    specs = {"x": tf.TensorSpec([None] * array.ndim, array.dtype)}
    answer = json.loads(
        json.dumps(json_responses.rows_from_arrays({"x": array}))
    )
    (tensor,) = json_requests.arrays_from_rows(
        answer["predictions"], specs
    ).values()
    assert tensor.dtype == array.dtype
    np.testing.assert_array_equal(tensor, array)


@settings(deadline=None, max_examples=50)
@given(ARRAYS)
def test_columns_and_rows_are_the_same(array):
    value = array.tolist()
    specs = {"x": tf.TensorSpec(None, array.dtype)}
    body = {"inputs": {"x": value}}
    if array.dtype == np.float32:
        # Whole numbers of more than 24 bits are refused; decimals are not.
        body = json.loads(json.dumps(body))
    columns = json_requests.arrays_from_columns(body["inputs"], specs)["x"]
    rows = json_requests.arrays_from_rows([{"x": v} for v in value], specs)
    np.testing.assert_array_equal(columns, rows["x"])


@settings(deadline=None, max_examples=50)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.sampled_from([tf.string, tf.int64, tf.float32, tf.bool, tf.uint8]),
)
def test_any_json_is_a_tensor_or_an_error(value, dtype):
    specs = {"x": tf.TensorSpec(None, dtype)}
    for parse, body in (
        (json_requests.arrays_from_rows, value),
        (json_requests.arrays_from_rows, [{"x": value}]),
        (json_requests.arrays_from_columns, {"x": value}),
    ):
        try:
            tensors = parse(body, specs)
        except request_error.RequestError as error:
            assert error.code.name == "INVALID_ARGUMENT"  # noqa: PT017
        else:
            assert tensors["x"].dtype == dtype.as_numpy_dtype


def test_float32_has_its_shortest_digits():
    array = np.array([0.1, 1e-30, 3.4e38, 2.0], np.float32)
    assert json_responses.rows_from_arrays({"x": array}) == {
        "predictions": [0.1, 1e-30, 3.4e38, 2.0]
    }


def test_bfloat16_output():
    array = tf.constant([0.5], tf.bfloat16).numpy()
    assert json_responses.columns_from_arrays({"x": array}) == {
        "outputs": [0.5]
    }


def test_string_outputs():
    array = np.array([[b"a"], ["é".encode()]], object)
    assert json_responses.columns_from_arrays(
        {"x": array, "x_bytes": array}
    ) == {
        "outputs": {
            "x": [["a"], ["é"]],
            "x_bytes": [[{"b64": "YQ=="}], [{"b64": "w6k="}]],
        }
    }
    with pytest.raises(request_error.RequestError, match="`x` is not UTF-8"):
        json_responses.rows_from_arrays({"x": np.array([b"\xff"], object)})


def test_outputs_that_are_no_rows():
    one, two = np.zeros([1]), np.zeros([2])
    with pytest.raises(request_error.RequestError, match="b has inconsistent"):
        json_responses.rows_from_arrays({"a": one, "b": two})
    with pytest.raises(request_error.RequestError, match="a has no shape"):
        json_responses.rows_from_arrays({"a": np.array(1.0)})
    answer = json_responses.columns_from_arrays({"a": np.array(1.0), "b": two})
    assert answer == {"outputs": {"a": 1.0, "b": [0.0, 0.0]}}


def test_base64_without_padding():
    specs = {"x": tf.TensorSpec([None], tf.string)}
    tensors = json_requests.arrays_from_rows([{"b64": "YQ"}, "b"], specs)
    assert tensors["x"].tolist() == [b"a", b"b"]


def test_complex_input_is_refused():
    specs = {"x": tf.TensorSpec([None], tf.complex64)}
    with pytest.raises(request_error.RequestError, match="`x`.*complex64"):
        json_requests.arrays_from_rows([1.0], specs)


def _nested(value, depth):
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("depth", [3, 254, 255, 600, 960, 5000])
@pytest.mark.parametrize("value", [1, []])
@pytest.mark.parametrize("spec_shape", [[None], [None, None], None])
def test_deep_lists_are_refused_by_name(depth, value, spec_shape):
    specs = {"x": tf.TensorSpec(spec_shape, tf.int64)}
    if spec_shape is None and depth == 3:
        tensors = json_requests.arrays_from_columns(_nested(1, 3), specs)
        assert tensors["x"].shape == (1, 1, 1)
        return
    nested = _nested(value, depth)
    for parse, body in (
        (json_requests.arrays_from_rows, [{"x": nested}]),
        (json_requests.arrays_from_columns, {"x": nested}),
    ):
        with pytest.raises(
            request_error.RequestError, match="`x` must have.* deep"
        ) as error:
            parse(body, specs)
        assert error.value.code.name == "INVALID_ARGUMENT"


def test_the_deepest_array_of_unknown_rank():
    specs = {"x": tf.TensorSpec(None, tf.int64)}
    tensors = json_requests.arrays_from_columns(_nested(1, 64), specs)
    assert tensors["x"].ndim == 64
