"""All stages on a small log, each a process of its own."""

import json

import numpy as np
import pyarrow.parquet as pq
import tensorflow as tf

from tests.end_to_end import job


def _lines(text):
    return [line.split() for line in text.splitlines()]


def _train_rows():
    """The rows before the validation and test splits, by time."""
    table = job.log()
    return table.slice(0, job.ROWS * 7 // 10)


def test_preprocess_tells_rows_labels_and_tables(exported):
    _, said = exported
    lines = _lines(said["preprocess"])
    rows = _train_rows()
    assert ["read", "3,000"] in lines
    assert ["train", "2,100"] in lines
    assert ["validation", "300"] in lines
    assert ["test", "600"] in lines
    seen = rows["seen"].to_numpy()
    buys = int(rows["buy"].to_numpy()[seen].sum())
    observed = int(seen.sum())
    rate = f"{buys / observed:.2%}"
    assert ["buy", f"{observed:,}", f"{buys:,}", rate] in lines
    users = rows["user"].drop_null().unique()
    assert any(line[:2] == ["user", f"{len(users):,}"] for line in lines)


def test_train_tells_epochs_and_objectives(exported):
    work, said = exported
    history = json.loads((work / "history.json").read_text())
    assert history["finished"]
    assert len(history["epochs"]) == job.EPOCHS
    for epoch in range(1, job.EPOCHS + 1):
        assert f"epoch {epoch}/{job.EPOCHS}  training loss" in said["train"]
    lines = _lines(said["train"])
    for objective in ("click", "buy"):
        auc = history["test"]["objectives"][objective]["auc"]
        assert any(line[:2] == [objective, f"{auc:.4f}"] for line in lines), (
            said["train"]
        )
    assert history["test"]["objectives"]["click"]["auc"] > 0.6


def test_an_override_lands_in_the_configuration(exported):
    work, _ = exported
    assert f"epochs: {job.EPOCHS}" in (work / "config.yaml").read_text()


def test_evaluate_measures_what_training_measured(exported):
    work, said = exported
    history = json.loads((work / "history.json").read_text())
    written = json.loads((work / "evaluation.json").read_text())
    assert history["test"].pop("telemetry")["objectives"]
    assert written == history["test"]
    assert "Test split, 600 rows" in said["evaluate"]
    assert f"Wrote {work}/evaluation.json" in said["evaluate"]


def test_each_stage_names_the_next(exported):
    work, said = exported
    for stage, following in (
        ("preprocess", "train"),
        ("train", "evaluate"),
        ("evaluate", "report"),
        ("report", "export"),
        ("export", "serve"),
    ):
        last = said[stage].splitlines()[-1]
        assert last.startswith(f"Next: tfplugin {following} --workdir {work}")


def test_the_report_is_one_page_without_addresses(exported):
    work, _ = exported
    page = (work / "report/index.html").read_text("utf-8")
    assert "<h1" in page and "click" in page
    assert "default-src 'none'" in page


def test_nothing_of_the_test_split_was_learned_from(exported):
    work, _ = exported
    statistics = (work / "dataset/statistics.json").read_text("utf-8")
    for value in (str(job.PLANTED_USER), job.PLANTED_CITY, job.PLANTED_TAG):
        assert value not in statistics
    ids = set()
    for path in (work / "dataset/id_frequencies").rglob("*.parquet"):
        ids |= set(pq.read_table(path)["id"].to_pylist())
    assert len(ids) > 50
    planted = {job.PLANTED_USER, job.PLANTED_CITY, job.PLANTED_TAG}
    assert not ids & planted
    assets = list((work / "model/1/assets").iterdir())
    assert assets
    needles = (
        np.int64(job.PLANTED_USER).tobytes(),
        job.PLANTED_CITY.encode(),
        job.PLANTED_TAG.encode(),
    )
    content = b"".join(path.read_bytes() for path in assets)
    assert b"Genf" not in content and "Genève".encode() in content
    for needle in needles:
        assert needle not in content
        assert needle not in (work / "model/1/saved_model.pb").read_bytes()


def test_planted_labels_are_in_the_test_split(exported):
    """The check above would pass on a job that loses rows."""
    work, _ = exported
    found = 0
    for path in (work / "dataset/test").iterdir():
        for record in tf.data.TFRecordDataset(str(path), "GZIP"):
            found += job.PLANTED_CITY.encode() in record.numpy()
    assert found == 50
