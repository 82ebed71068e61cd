"""Folders that workers write to, and workers whose folder nobody sees."""

import os
import pathlib

import pyarrow as pa
import pytest

from beam_jobs import append
from beam_jobs import passes
from beam_jobs import preprocess
from beam_jobs import staging
from tests.beam_jobs import conftest
from tfplugin import artifacts
from tfplugin.errors import InputError

LOG = pa.table({"item": [n % 23 for n in range(300)], "click": [0, 1, 1] * 100})


def run(lab, **options):
    config = lab.config(lab.write("log.parquet", LOG))
    return preprocess.run(config, lab.folder, **options)


@pytest.mark.parametrize(
    "name", ["stage", "./stage", "stage/", "stage//inner", "a/../stage", "."]
)
def test_however_a_folder_is_written(lab, monkeypatch, name):
    monkeypatch.chdir(lab.path)
    pathlib.Path("a").mkdir()
    found = run(lab, staging=name)
    outcome = {
        lab.folder.split(split) / shard.name: shard.bytes
        for split, shards in found.shards.items()
        for shard in shards
    }
    assert {path: path.stat().st_size for path in outcome} == outcome
    there = {path.name for path in lab.folder.path.iterdir()}
    splits = {"train", "validation", "test"}
    records = {"schema.json", "statistics.json", "sketches", "COMPLETED"}
    assert there == splits | records | {"id_frequencies"}
    assert not list(pathlib.Path().rglob("tfplugin-*"))


def test_a_relative_work_folder_is_one_to_workers_elsewhere(lab, monkeypatch):
    monkeypatch.chdir(lab.path)
    folder = artifacts.DatasetFolder(pathlib.Path("dataset"))
    with staging.workspace(folder, None) as paths:
        assert os.path.isabs(paths.root)
        assert not staging.is_elsewhere(paths, folder)
    with staging.workspace(folder, "stage") as paths:
        assert os.path.isabs(paths.root)
        assert staging.is_elsewhere(paths, folder)


@pytest.mark.parametrize("name", ["file", "file/inner", "nothing://a/b"])
def test_a_folder_that_cannot_be_is_refused(lab, name):
    (lab.path / "file").touch()
    path = name if "://" in name else str(lab.path / name)
    before = run(lab)
    with pytest.raises(InputError, match="--staging") as refused:
        run(lab, staging=path)
    assert "\n" not in str(refused.value)
    assert name in str(refused.value)
    assert lab.folder.completed.exists()
    assert lab.folder.read_statistics() == before


@pytest.mark.parametrize("by_time", [False, True])
def test_results_that_are_not_here_are_no_empty_log(lab, monkeypatch, by_time):
    # What a worker on another machine leaves here.
    monkeypatch.setattr(
        passes.pipelines.CollectResults, "expand", lambda self, results: results
    )
    log = LOG.append_column("at", pa.array(range(300)))
    changes = {"event_time": "at", "split": {"by": "time"}} if by_time else {}
    config = lab.config(lab.write("log.parquet", log), **changes)
    with pytest.raises(InputError, match="sees.*--staging"):
        preprocess.run(config, lab.folder)
    assert not lab.folder.completed.exists()


def test_no_dataset_is_completed_without_its_files(lab, monkeypatch):
    monkeypatch.setattr(staging, "fetch", lambda paths, folder: None)
    with pytest.raises(InputError, match="absent.*--staging"):
        run(lab, staging=str(lab.path / "stage"))
    assert not lab.folder.completed.exists()


@pytest.mark.parametrize("table", [False, True])
def test_nothing_is_added_to_a_dataset_that_lost_a_file(lab, table):
    before = run(lab)
    shards = before.shards["train"]
    place = lab.folder.split("train")
    if table:
        shards = before.tables["item"].files
        place = lab.folder.id_frequencies("item")
    lost = place / shards[0].name
    lost.write_bytes(lost.read_bytes()[:-1])
    more = lab.write("more.parquet", LOG.slice(0, 60))
    with pytest.raises(InputError, match=lost.name):
        append.run(lab.config(more), lab.folder)
    assert lab.folder.read_statistics() == before


@pytest.fixture
def lab(tmp_path):
    return conftest.Lab(tmp_path)
