from tests.support import experiments
from tfplugin import config as config_lib
from tfplugin import data
from tfplugin import planning


def test_composed_hashes_are_planned_as_a_single_one(tmp_path):
    config, work = experiments.make(tmp_path)
    config = config_lib.with_changes(
        config,
        {
            "tables.user": {"mapping": "double_hash", "num_buckets": 20},
            "tables.tags": {"mapping": "binary_code", "num_buckets": 16},
        },
    )
    plan = planning.plan(config, data.open_dataset(work.dataset.path))
    tables = {table.name: table for table in plan.tables}
    for name, mapping in (("user", "double_hash"), ("tags", "binary_code")):
        assert tables[name].mapping == "hash"
        assert mapping in tables[name].reason
    assert "double_hash" not in tables["city"].reason
