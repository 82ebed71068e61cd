import pytest
import yaml

from tfplugin import config
from tfplugin.errors import InputError

MINIMAL = {
    "name": "small",
    "source": {"format": "csv", "files": "log-*.csv"},
    "features": {"item": {"type": "id", "dtype": "int64"}},
    "labels": ["click"],
    "split": {"by": "hash", "columns": ["item"]},
}


@pytest.fixture
def load(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))

    def table(text):
        return config.load(path, [f"tables.item={{{text}}}"]).table("item")

    return table


def test_parts_and_bits(load):
    assert load("mapping: hash, num_buckets: 9").num_parts == 1
    assert load("mapping: double_hash, num_buckets: 9").num_parts == 2
    code = load("mapping: binary_code, num_buckets: 1000, num_blocks: 3")
    assert (code.num_parts, code.code_bits) == (3, (4, 3, 3))
    code = load("mapping: binary_code, num_buckets: 1025")
    assert (code.num_parts, code.code_bits) == (2, (6, 5))
    assert load("min_count: 2").code_bits == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mapping: double_hash", "num_buckets"),
        ("mapping: binary_code", "num_buckets"),
        ("num_buckets: 9", "num_buckets"),
        ("mapping: double_hash, num_buckets: 9, top_n: 3", "top_n"),
        ("mapping: double_hash, num_buckets: 9, num_blocks: 2", "num_blocks"),
        ("mapping: hash, num_buckets: 9, compose: add", "compose"),
        ("compose: add", "compose"),
        (
            "mapping: binary_code, num_buckets: 4, num_blocks: 3",
            "above 4.*received 4",
        ),
        (
            "mapping: double_hash, num_buckets: 9, compose: concatenate, "
            "embedding_dim: 5",
            "multiple.*received 5",
        ),
        (
            "mapping: binary_code, num_buckets: 99, compose: concatenate, "
            "num_blocks: 3",
            "multiple.*received 16",
        ),
    ],
)
def test_what_does_not_go_together(load, text, message):
    with pytest.raises(InputError, match=message):
        load(text)
