import pytest

from serving import batching_parameters
from tfplugin import errors

FULL = """
# A comment.
max_batch_size { value: 128 }
batch_timeout_micros { value: 2000 }
max_enqueued_batches { value: 64 }
num_batch_threads { value: 2 }
thread_pool_name { value: "batches" }
allowed_batch_sizes: 16
allowed_batch_sizes: 64
pad_variable_length_inputs: true
enable_large_batch_splitting { value: true }
max_execution_batch_size { value: 64 }
"""


def test_all_fields(tmp_path):
    path = tmp_path / "batching_parameters.txt"
    path.write_text(FULL)
    assert batching_parameters.read(
        path
    ) == batching_parameters.BatchingParameters(
        128, 2000, 64, 2, "batches", (16, 64), True, True, 64
    )


def test_empty_file_means_tensorflow_serving_defaults():
    parameters = batching_parameters.parse("")
    assert parameters.max_batch_size == 1000
    assert parameters.batch_timeout_micros == 0
    assert parameters.max_enqueued_batches == 10
    assert parameters.largest_batch == 1000


@pytest.mark.parametrize(
    ("rows", "padded"), [(1, 4), (4, 4), (5, 16), (16, 16), (17, 17)]
)
def test_padded_size(rows, padded):
    parameters = batching_parameters.parse(
        "max_batch_size { value: 16 } allowed_batch_sizes: [4, 16]"
    )
    assert parameters.padded_size(rows) == padded


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batchsize { value: 1 }", "max_batchsize"),
        ("max_batch_size: 8", "max_batch_size"),
        ("max_batch_size { value: 8", "Received"),
        ("max_batch_size { value: 0 }", "max_batch_size=0"),
        ("max_batch_size { value: 99999999999999999999 }", "out of range"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros=-1"),
        ("max_enqueued_batches { value: 0 }", "max_enqueued_batches=0"),
        ("num_batch_threads { value: 0 }", "num_batch_threads=0"),
        ("num_batch_threads { value: 100000 }", "num_batch_threads=100000"),
        ("allowed_batch_sizes: [4, 8]", "end with 1000"),
        ("allowed_batch_sizes: [8, 4, 1000]", "increase"),
        ("allowed_batch_sizes: [0, 1000]", "increase"),
        ("max_execution_batch_size { value: 8 }", "needs"),
    ],
)
def test_refused(tmp_path, text, message):
    path = tmp_path / "batching_parameters.txt"
    path.write_text(text)
    with pytest.raises(errors.InputError, match=message) as error:
        batching_parameters.read(path)
    assert str(path) in str(error.value)


def test_unreadable_file(tmp_path):
    with pytest.raises(errors.InputError, match="readable"):
        batching_parameters.read(tmp_path / "absent")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(errors.InputError, match="readable"):
        batching_parameters.read(tmp_path / "bytes")
