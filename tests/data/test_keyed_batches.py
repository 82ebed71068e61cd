import numpy as np
import pytest

from tests.data import test_packed
from tfplugin import data
from tfplugin import schema as schema_lib
from tfplugin.errors import InputError

KEYS = {"group": "int64", "request_id": "string"}
# Keys are written as scalar ids are.
WRITTEN = test_packed.SCHEMA.model_copy(
    update={
        "id_features": {
            **test_packed.SCHEMA.id_features,
            "group_key": schema_lib.IdFeature(dtype="int64", table="item"),
            "request_id": schema_lib.IdFeature(dtype="string", table="word"),
        }
    }
)


def _rows(count, seed):
    return [
        row
        | {
            "group_key": k % 5 if k % 6 else None,
            "request_id": f"r{k // 3}" if k % 4 else None,
        }
        for k, row in enumerate(test_packed.rows_of(count, seed))
    ]


@pytest.fixture(scope="module", params=[None, 16], ids=["examples", "packed"])
def dataset(request, tmp_path_factory):
    rows = {
        "train": _rows(20, 0),
        "validation": _rows(70, 1),
        "test": _rows(10, 2),
    }
    path = tmp_path_factory.mktemp("keyed") / "dataset"
    folder = test_packed.write(path, WRITTEN, rows, request.param)
    dataset = data.open_dataset(folder.path)
    dataset.schema = dataset.schema.model_copy(
        update={"id_features": test_packed.SCHEMA.id_features, **KEYS}
    )
    return dataset


@pytest.mark.parametrize("split", ["validation", "test"])
def test_keys_stand_beside_the_rows_they_belong_to(dataset, split):
    keyed = list(data.keyed_batches(dataset, split, 32))
    expected = {
        row["item"]: (
            row["group_key"]
            if row["group_key"] is not None
            else schema_lib.MISSING_INT64,
            (row["request_id"] or "").encode(),
        )
        for row in _rows(70 if split == "validation" else 10, 1)
    }
    for features, _, _, keys in keyed:
        assert set(keys) == {"group_key", "request_id"}
        found = zip(
            keys["group_key"].numpy(), keys["request_id"].numpy(), strict=True
        )
        items = features["item"].numpy().tolist()
        assert [expected[item] for item in items] == list(found)
    assert sum(len(k["group_key"]) for *_, k in keyed) == len(expected)


def test_all_else_is_as_without_keys(dataset):
    plain = test_packed.plain_rows(dataset.validation(32))
    keyed = data.keyed_batches(dataset, "validation", 32)
    again = test_packed.plain_rows(part[:3] for part in keyed)
    np.testing.assert_equal(again, plain)


def test_training_rows_are_not_read_by_key(dataset):
    with pytest.raises(InputError, match="split='train'"):
        data.keyed_batches(dataset, "train", 32)
