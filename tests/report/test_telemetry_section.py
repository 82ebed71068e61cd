import json
import re

import pytest

from tests.report import page_reader
from tests.report import work_folder_case
from tfplugin import metrics
from tfplugin import report
from tfplugin.report import history as history_lib
from tfplugin.report import telemetry_pictures
from tfplugin.report import telemetry_records

LABELS = ("discount", "coupon")


def _bucket(bucket, rows, positives, auc):
    return {
        "bucket": bucket,
        "rows": rows,
        "positives": positives,
        "auc": auc,
        "normalized_entropy": 0.9,
        "calibration": 1.1,
    }


def _evidence(epoch):
    ranking = {
        "auc": 0.61 + epoch / 100,
        "groups": 1234,
        "rows": 9999,
        "ndcg": 0.7,
        "ndcg_groups": 777,
        "k": 10,
    }
    buckets = [
        _bucket("missing", 50, 20, 0.99),
        _bucket("0", 100, 20, 0.6 - epoch / 100),
        _bucket("1", 100, 5, 0.5),
        _bucket("2-4", 10_000, 200, 0.7),
    ]
    return {
        "tables": {"products": buckets, "stores": buckets[-1:]},
        "calibration_curve": [
            {"prediction": p, "rate": r, "rows": 500, "positives": int(500 * r)}
            for p, r in ((0.001, 0.002), (0.01, 0.0), (0.1, 0.08))
        ],
        "group": ranking,
        "request": ranking,
    }


def _telemetry(epoch, labels=LABELS):
    return {
        "seconds": 1.5,
        "training_loss": {
            "window": 50,
            "first": 0.7 - epoch / 10,
            "last": 0.65 - epoch / 10,
            "jump": None if epoch == 1 else -0.05,
        },
        "generalization_gap": {
            name: {"auc": 0.01234 * epoch, "loss": 0.1} for name in labels
        },
        "rows": {
            "products": [
                {
                    "bucket": bucket,
                    "rows": 3000,
                    "sampled": 2048,
                    "norm": 0.5,
                    "update": 0.25 / epoch,
                    "touched": 0.9,
                }
                for bucket in ("1", "2-4")
            ]
        },
        "validation": {
            "objectives": {name: _evidence(epoch) for name in labels}
        },
    }


def _page(path, change=lambda value: None, labels=LABELS, epochs=3):
    work = work_folder_case.make(path, labels=labels, epochs=epochs)
    value = json.loads(work.history.read_text("utf-8"))
    for epoch in value["epochs"]:
        epoch["telemetry"] = _telemetry(epoch["epoch"], labels)
    value["test"]["telemetry"] = {
        "objectives": {name: _evidence(0) for name in labels}
    }
    change(value)
    work.history.write_text(json.dumps(value), "utf-8")
    return page_reader.PageReader(report.write(work).read_text("utf-8"))


def test_buckets_have_the_names_that_training_writes():
    assert telemetry_records.BUCKETS == metrics.BUCKETS


def test_every_part_is_there_and_every_picture_has_its_element(tmp_path):
    page = _page(tmp_path)
    assert {name for name in page.figures() if name.startswith("evidence")} == {
        "evidence-boundaries",
        "evidence-0-0-auc",
        "evidence-1-0-auc",
        "evidence-rows-0-norm",
        "evidence-rows-0-update",
        "evidence-0-calibration",
        "evidence-1-calibration",
    }
    assert set(page.figures()) <= set(page.ids)
    assert not page.open_tags
    for phrase in (
        "By evidence",
        "first 50 steps",
        "1 – 0.0123 0.0123",
        "3 -0.0500 0.0370 0.0370",
        "After epoch 1 , epoch 2 , epoch 3 :",
        "coupon test 0.6100 1,234 0.6100 0.7000 777",
        "NDCG at 10",
    ):
        assert phrase in page.text, phrase


def test_a_bucket_of_few_positives_has_a_bar_and_no_point(tmp_path):
    figure = _page(tmp_path).figures()["evidence-0-0-auc"]
    *lines, bars = figure["data"]
    assert [line["x"] for line in lines] == [["0", "1", "2-4"]] * 3
    assert [line["y"] for line in lines] == [
        [0.59, None, 0.7],
        [0.58, None, 0.7],
        [0.57, None, 0.7],
    ]
    assert bars["y"] == [20, 5, 200]


def test_a_calibration_of_rare_events_is_logarithmic(tmp_path):
    figure = _page(tmp_path).figures()["evidence-1-calibration"]
    diagonal, points = figure["data"]
    assert diagonal["x"] == diagonal["y"]
    # A point without positives has no place on a logarithmic axis.
    assert points["x"] == [0.001, 0.1]
    assert figure["layout"]["xaxis"]["type"] == "log"
    low = points["y"][1] - points["error_y"]["arrayminus"][1]
    high = points["y"][1] + points["error_y"]["array"][1]
    # statsmodels: proportion_confint(40, 500, method="wilson").
    assert (low, high) == (
        pytest.approx(0.0592, abs=1e-4),
        pytest.approx(0.1071, abs=1e-4),
    )


def test_without_telemetry_there_is_no_section(tmp_path):
    page = page_reader.PageReader(
        report.write(work_folder_case.make(tmp_path)).read_text("utf-8")
    )
    assert "evidence" not in page.ids
    assert "By evidence" not in page.text


def test_what_is_undefined_is_left_out(tmp_path):
    def undefine(value):
        del value["test"]["telemetry"]
        value["epochs"][0]["telemetry"] = None
        for epoch in value["epochs"][1:]:
            one = epoch["telemetry"]
            one["training_loss"].update(first=None, last=None, jump=None)
            one["rows"] = {}
            one["generalization_gap"] = {}
            for found in one["validation"]["objectives"].values():
                found.update(
                    tables={}, calibration_curve=[], group=None, request=None
                )

    page = _page(tmp_path, undefine)
    assert "The training loss is undefined." in page.text
    assert "No bucket has enough rows of both classes." in page.text
    assert "Within groups" not in page.text
    assert not [name for name in page.figures() if name.startswith("evidence")]


def test_names_from_data_reach_no_figure(tmp_path):
    hostile = "<script>alert('&\"')</script>"

    def rename(value):
        for epoch in value["epochs"]:
            rows = epoch["telemetry"]["rows"]
            rows[hostile] = rows.pop("products")
            for found in epoch["telemetry"]["validation"][
                "objectives"
            ].values():
                found["tables"][hostile] = found["tables"].pop("products")

    page = _page(tmp_path, rename, labels=(hostile, "coupon"))
    assert page.tags.count("script") == 2
    assert "alert" not in json.dumps(page.figures())
    assert page.text.count(hostile) > 3


def test_many_epochs_are_thinned_out(tmp_path):
    page = _page(tmp_path, epochs=12)
    *lines, _ = page.figures()["evidence-0-0-auc"]["data"]
    epochs = [
        re.search(r"epoch (\d+)", line["hovertemplate"]).group(1)
        for line in lines
    ]
    assert epochs == ["1", "4", "7", "9", "12"]
    colors = [line["line"]["color"] for line in lines]
    assert len(set(colors)) == 5
    assert len(page.figures()["evidence-boundaries"]["data"]) == 12 + 11


def test_damaged_telemetry_is_refused_and_named(tmp_path):
    with pytest.raises(ValueError, match=r"epochs\.1\.telemetry\.rows"):
        _page(
            tmp_path,
            lambda value: value["epochs"][1]["telemetry"].update(rows=[1]),
        )


def test_wide_rates_are_drawn_and_narrow_ones_linear():
    points = [
        telemetry_records.Point(
            prediction=p, rate=r, rows=100, positives=int(100 * r)
        )
        for p, r in ((0.3, 0.2), (0.5, 0.6))
    ]
    figure = telemetry_pictures.calibration(points)
    assert figure.layout.xaxis.type is None
    assert len(figure.data[1].x) == 2


def test_history_reads_what_training_wrote():
    value = {"epoch": 1, "telemetry": _telemetry(1)}
    epoch = history_lib.Epoch.model_validate(value)
    assert epoch.telemetry.validation.of("coupon").group.groups == 1234
    assert epoch.telemetry.validation.of("absent").tables == {}
