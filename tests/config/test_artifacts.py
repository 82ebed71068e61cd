import json

import pytest

from tfplugin import artifacts
from tfplugin import schema as schema_lib
from tfplugin.errors import InputError


def test_prepare_makes_and_reuses_a_work_folder(tmp_path):
    work = artifacts.WorkFolder(tmp_path / "a" / "b")
    work.prepare()
    work.config.write_text("name: x")
    work.prepare()


def test_prepare_refuses_what_is_not_ours(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"no config\.yaml"):
        artifacts.WorkFolder(tmp_path).prepare()
    with pytest.raises(InputError, match="is a file"):
        artifacts.WorkFolder(tmp_path / "thesis.tex").prepare()
    with pytest.raises(InputError, match="cannot be created"):
        artifacts.WorkFolder(tmp_path / "thesis.tex" / "w").prepare()


def test_finished_stages_need_overwrite(tmp_path):
    mark = tmp_path / "COMPLETED"
    artifacts.refuse_finished(mark, stage="preprocess", overwrite=False)
    mark.write_text("")
    with pytest.raises(InputError, match="--overwrite.* another --workdir"):
        artifacts.refuse_finished(mark, stage="preprocess", overwrite=False)
    with pytest.raises(InputError, match="COMPLETED.* another --version"):
        artifacts.refuse_finished(mark, stage="export", overwrite=False)
    artifacts.refuse_finished(mark, stage="preprocess", overwrite=True)


def test_require_trained(tmp_path):
    work = artifacts.WorkFolder(tmp_path)
    with pytest.raises(InputError, match="history"):
        work.require_trained()
    artifacts.write_json(work.history, {"finished": False, "epochs": [1]})
    with pytest.raises(InputError, match="epochs done: 1.*--resume"):
        work.require_trained()
    work.history.write_text("{")
    with pytest.raises(InputError, match="JSON"):
        work.require_trained()
    work.history.write_text("[]")
    with pytest.raises(InputError, match="object"):
        work.require_trained()
    with pytest.raises(InputError, match=r"config\.yaml"):
        work.require_config()


def test_write_json_turns_nan_into_null(tmp_path):
    path = tmp_path / "deep" / "x.json"
    artifacts.write_json(path, {"a": [float("nan"), 1.5], "b": float("inf")})
    assert json.loads(path.read_text()) == {"a": [None, 1.5], "b": None}
    assert [p.name for p in path.parent.iterdir()] == ["x.json"]


def test_remove(tmp_path):
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "f").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "d")
    artifacts.remove(tmp_path / "link")
    assert (tmp_path / "d" / "e").is_dir()
    for name in ("d", "f", "absent"):
        artifacts.remove(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_schema_round_trip(tmp_path):
    schema = schema_lib.Schema(
        id_features={
            "user": schema_lib.IdFeature(dtype="int64", table="user"),
            "item": schema_lib.IdFeature(dtype="string", table="item"),
            "cart": schema_lib.IdFeature(
                dtype="string", table="item", is_list=True
            ),
        },
        labels=("buy",),
        group="int64",
    )
    schema_lib.write_record(tmp_path / "schema.json", schema)
    read = schema_lib.read_record(tmp_path / "schema.json", schema_lib.Schema)
    assert read == schema
    assert read.table_features() == {"user": ["user"], "item": ["item", "cart"]}
    assert read.table_dtype("item") == "string"


def test_positive_rate_of_nothing_is_zero():
    label = schema_lib.LabelStatistics(observed=0, positives=0)
    assert label.positive_rate == 0.0
