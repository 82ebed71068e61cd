import pytest
import yaml

from tests.support import experiments
from tfplugin import config as config_lib
from tfplugin.errors import InputError


def _load(tmp_path, *overrides):
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(experiments.CONFIG))
    return config_lib.load(path, overrides)


def test_defaults_change_nothing(tmp_path):
    export = _load(tmp_path).export
    assert not export.table("user").changes
    assert export.golden_requests == 64
    assert export.warm_up_batch_sizes == [1, 16, 64]
    assert export.bounds.auc == 0.001


def test_tables_that_are_not_named_take_the_default(tmp_path):
    export = _load(
        tmp_path,
        "export.tables={default: {dtype: float16}, user: {min_count: 2}}",
    ).export
    assert export.table("city").dtype == "float16"
    assert export.table("user").dtype == "float32"
    assert export.table("user").changes
    dumped = config_lib.ExportConfig.model_validate(export.model_dump())
    assert dumped == export


def test_a_bound_may_be_switched_off(tmp_path):
    bounds = _load(tmp_path, "export.bounds.auc=null").export.bounds
    assert (bounds.auc, bounds.calibration) == (None, 0.01)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("export.tables={shop: {dtype: int8}}", "`shop`"),
        ("export.tables={user: {dtype: int4}}", "float16"),
        ("export.tables={user: {min_count: -1}}", "min_count"),
        ("export.tables={user: {rows: 3}}", "rows"),
        ("export.scores={ranking: bid}", "names no objective"),
        ("export.scores={ranking: 'bid * clicks'}", "names no objective"),
        (
            "export.scores={ranking: 'click *'}",
            "invalid syntax at character 8",
        ),
        ("export.scores={'a b': click}", "letters, digits"),
        ("export.bounds.auc=-0.1", "auc"),
        ("export.golden_requests=-1", "golden_requests"),
        ("export.warm_up_batch_sizes=[0]", "warm_up_batch_sizes"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, override, words):
    with pytest.raises(InputError, match=words):
        _load(tmp_path, override)
