import json
import re
import subprocess
import sys

import pytest

from tests.report import page_reader
from tests.report import work_folder_case
from tfplugin import artifacts
from tfplugin import report
from tfplugin import schema
from tfplugin.errors import InputError

HOSTILE = "<script>alert('&\"')</script>"


def written(work):
    return page_reader.PageReader(report.write(work).read_text("utf-8"))


def rewrite_history(work, change):
    value = json.loads(work.history.read_text("utf-8"))
    change(value)
    work.history.write_text(json.dumps(value), "utf-8")


def test_page_of_a_finished_experiment(tmp_path):
    work = work_folder_case.make(tmp_path, overfits=("coupon",))
    path = report.write(work)
    assert path == tmp_path / "report" / "index.html"
    assert [file.name for file in path.parent.iterdir()] == ["index.html"]
    text = page_reader.PageReader(path.read_text("utf-8")).text
    for phrase in (
        "1,469,307 rows: 1,028,514 for training",
        "14 rows of the log had to be rejected",
        "The training rows hold 3,050 distinct ids in 2 tables",
        "learned 2 objectives in 3 epochs",
        "The test AUC is 0.7000 for discount and 0.7300 for coupon.",
        "coupon overfits from epoch 2; the other does not.",
        "validation begins at 2017-07-14 02:40:00 UTC",
        "Validation AUC peaks at 0.7300 in epoch 1; began to overfit in",
        "Validation AUC peaks at 0.7200 in epoch 3; no overfitting seen",
        "products products_feature vocabulary 3,000 3,002 2 16 192.1 kB",
        "price 2.8 % 50.12 29.15 0 1 50 99 100",
        "coupon 1,000,000 2.8 % 30,000 3.0 %",
        "1 source file, 12.3 MB",
        "An epoch is 503 steps of 2,048 rows.",
        "name: grocery labels: [discount]",
    ):
        assert phrase in text, phrase


def test_a_training_on_an_earlier_dataset_is_left_out(tmp_path):
    work = work_folder_case.make(tmp_path)
    rewrite_history(work, lambda value: value.update(dataset_fingerprint="1"))
    text = written(work).text
    assert "made anew since the training in this folder" in text
    assert "AUC" not in text


def test_page_loads_nothing_from_a_network(tmp_path):
    work = work_folder_case.make(tmp_path)
    text = report.write(work).read_text("utf-8")
    page = page_reader.PageReader(text)
    assert not page.open_tags
    assert not {"link", "img", "iframe", "object"} & set(page.tags)
    for name, value in page.attributes:
        assert name not in ("src", "srcset", "action", "data"), (name, value)
        assert name != "href" or value.startswith("#"), value
    metas = [value for name, value in page.attributes if name == "content"]
    assert any(value.startswith("default-src 'none'") for value in metas)
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL).group(1)
    assert "url(" not in style and "@import" not in style
    assert text.count("const FIGURES") == 1


def test_every_picture_has_its_element_and_every_link_its_target(tmp_path):
    page = written(work_folder_case.make(tmp_path, overfits=("coupon",)))
    assert sorted(page.ids) == sorted(set(page.ids))
    assert set(page.figures()) == {
        "frequency-0",
        "frequency-1",
        "epochs-0-auc",
        "epochs-0-loss",
        "epochs-1-auc",
        "epochs-1-loss",
    }
    assert set(page.figures()) <= set(page.ids)
    targets = {value[1:] for name, value in page.attributes if name == "href"}
    assert targets == {"data", "model", "epochs", "test", "configuration"}
    assert targets <= set(page.ids)


def test_names_from_data_are_escaped_everywhere(tmp_path):
    work = work_folder_case.make(
        tmp_path,
        tables={"<b>t": [3, 1], "u&amp;": [1]},
        labels=(HOSTILE, '"><img src=x>'),
        overfits=(HOSTILE,),
    )
    work.config.write_text(f"name: x # {HOSTILE}\n", "utf-8")
    rewrite_history(work, lambda value: value.update(name=HOSTILE))
    text = report.write(work).read_text("utf-8")
    page = page_reader.PageReader(text)
    assert HOSTILE not in text and "<img" not in text and "<b>t" not in text
    assert page.tags.count("script") == 2
    assert f"The test AUC is 0.7000 for {HOSTILE} and" in page.text
    assert f"name: x # {HOSTILE}" in page.text
    assert "<b>t" in page.text and "u&amp;" in page.text
    # Plotly reads tags in its texts, so names must not get that far.
    assert "alert" not in json.dumps(page.figures())


def test_equal_folders_give_equal_pages(tmp_path):
    pages = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        work = work_folder_case.make(tmp_path / name)
        pages.append(report.write(work).read_bytes())
        assert report.write(work).read_bytes() == pages[-1]
    assert pages[0] == pages[1]


def test_without_history_only_the_data_is_shown(tmp_path):
    page = written(work_folder_case.make(tmp_path, trained=False))
    assert "Training has not run" in page.text
    assert "The labels are discount and coupon." in page.text
    assert "grocery" in page.words[: page.words.index("The data")]
    assert set(page.figures()) == {"frequency-0", "frequency-1"}
    assert not {"model", "epochs", "test"} & set(page.ids)


def test_without_history_and_config_the_folder_names_the_page(tmp_path):
    folder = tmp_path / "my_run"
    folder.mkdir()
    work = work_folder_case.make(folder, trained=False)
    work.config.unlink()
    page = written(work)
    assert page.text.startswith("my_run")
    assert "There is no config.yaml" in page.text


@pytest.mark.parametrize(("epochs", "done"), [(0, "0 epochs"), (1, "1 epoch")])
def test_unfinished_training_shows_what_is_there(tmp_path, epochs, done):
    work = work_folder_case.make(tmp_path, epochs=max(epochs, 1))
    rewrite_history(
        work,
        lambda value: value.update(
            finished=False, test=None, epochs=value["epochs"][:epochs]
        ),
    )
    page = written(work)
    assert "Training is not finished" in page.text
    assert f"{done} done" in page.text
    assert "There is no test result yet." in page.text
    assert "The test split has not been read yet." in page.text
    assert ("No epoch is done yet." in page.text) == (epochs == 0)
    assert ("epochs-0-auc" in page.figures()) == (epochs == 1)


def test_null_and_nan_metrics_are_shown_as_undefined(tmp_path):
    work = work_folder_case.make(tmp_path, epochs=2)

    def undefine(value):
        passes = [value["test"]]
        for epoch in value["epochs"]:
            epoch["seconds"] = epoch["examples_per_second"] = None
            passes += [epoch["train"], epoch["validation"]]
        for split in passes:
            split["loss"] = None
            split["objectives"]["coupon"] = dict.fromkeys(
                split["objectives"]["coupon"]
            )
        value["epochs"][0]["train"]["objectives"]["discount"]["auc"] = float(
            "nan"
        )
        value["monitor"]["coupon"] = {
            "peak_epoch": None,
            "peak_value": None,
            "overfits_from": None,
            "values": [None, None],
        }

    rewrite_history(work, undefine)
    page = written(work)
    assert "nan" not in page.text.lower().split()
    assert "None" not in page.text
    assert "The validation AUC is undefined." in page.text
    assert "AUC is undefined. Loss is undefined." in page.text
    assert "and undefined for coupon" in page.text
    assert "coupon – – 3.0 % – – – –" in page.text
    figures = page.figures()
    assert "epochs-1-auc" not in figures
    assert figures["epochs-0-auc"]["data"][0]["y"][0] is None


def test_objectives_that_were_not_measured_are_undefined(tmp_path):
    work = work_folder_case.make(tmp_path)

    def forget(value):
        value["monitor"].pop("coupon")
        for epoch in value["epochs"]:
            epoch["validation"]["objectives"].pop("coupon")

    rewrite_history(work, forget)
    assert "The validation AUC is undefined." in written(work).text


def test_one_epoch(tmp_path):
    page = written(work_folder_case.make(tmp_path, epochs=1))
    assert "Overfitting takes a second epoch to show." in page.text
    assert "in epoch 1, the only one." in page.text
    low, high = page.figures()["epochs-0-auc"]["layout"]["yaxis"]["range"]
    assert 0.6 < low < 0.7 < high < 0.8


def test_many_tables_and_objectives(tmp_path):
    names = [f"a_long_table_name_{'x' * 50}_{index}" for index in range(12)]
    tables = {
        name: work_folder_case.zipf_counts(5 * 4 ** (index % 6))
        for index, name in enumerate(names)
    }
    labels = [f"objective_{index}" for index in range(6)]
    page = written(
        work_folder_case.make(
            tmp_path,
            tables=tables,
            labels=labels,
            epochs=12,
            overfits=labels[:3],
        )
    )
    assert len(page.figures()) == 12 + 2 * 6
    assert (
        "objective_0 overfits from epoch 2, objective_1 from epoch 2 and "
        "objective_2 from epoch 2; the others do not."
    ) in page.text
    axes = [
        page.figures()[f"frequency-{index}"]["layout"]["xaxis"]["range"]
        for index in range(12)
    ]
    assert all(axis == axes[0] for axis in axes)


def test_dataset_without_dense_columns_and_with_an_empty_table(tmp_path):
    work = artifacts.WorkFolder(tmp_path)
    work_folder_case.write_dataset(
        work, {"t": [5, 1], "empty": []}, ("click",), dense=()
    )
    page = written(work)
    assert "There are no dense columns." in page.text
    assert "empty no ids" in page.text
    assert "The label is click." in page.text
    assert set(page.figures()) == {"frequency-0"}


def test_dense_column_without_values(tmp_path):
    work = work_folder_case.make(tmp_path, trained=False)
    statistics = work.dataset.read_statistics()
    empty = work_folder_case.dense_statistics(count=0)
    schema.write_record(
        work.dataset.statistics_json,
        statistics.model_copy(update={"dense": {"price": empty}}),
    )
    assert "price 100 % – – – – – – –" in written(work).text


def test_training_only_features_and_unsplit_time_are_told(tmp_path):
    work = work_folder_case.make(tmp_path, trained=False)
    columns = work.dataset.read_schema()
    position = schema.IdFeature(
        dtype="int64", table="stores", training_only=True
    )
    features = columns.id_features | {"position": position}
    schema.write_record(
        work.dataset.schema_json,
        columns.model_copy(update={"id_features": features}),
    )
    statistics = work.dataset.read_statistics()
    schema.write_record(
        work.dataset.statistics_json,
        statistics.model_copy(update={"time_cut_offs": None}),
    )
    page = written(work)
    assert "stores_feature and position (training only)" in page.text
    assert "Split by time" not in page.text


def test_many_source_files_are_cut_short(tmp_path):
    work = work_folder_case.make(tmp_path, trained=False)
    statistics = work.dataset.read_statistics()
    files = tuple(
        schema.SourceFile(path=f"logs/{n}.csv", bytes=10**6, crc32c=n)
        for n in range(250)
    )
    schema.write_record(
        work.dataset.statistics_json,
        statistics.model_copy(update={"source_files": files}),
    )
    page = written(work)
    assert "250 source files, 250.0 MB" in page.text
    assert "150 more are left out here." in page.text
    assert "logs/99.csv" in page.text and "logs/100.csv" not in page.text


def test_unfinished_dataset_is_refused_and_writes_nothing(tmp_path):
    work = work_folder_case.make(tmp_path)
    work.dataset.completed.unlink()
    with pytest.raises(InputError, match="COMPLETED.*unfinished"):
        report.write(work)
    assert not work.report.parent.exists()


def test_damaged_history_is_refused_and_named(tmp_path):
    work = work_folder_case.make(tmp_path)
    rewrite_history(work, lambda value: value["epochs"][1].pop("epoch"))
    with pytest.raises(InputError, match=r"history\.json.*epochs\.1\.epoch"):
        report.write(work)
    work.history.write_text('{"version": 1,', "utf-8")
    with pytest.raises(InputError, match=r"history\.json must hold JSON"):
        report.write(work)


@pytest.mark.parametrize("content", [b"name: [", b"name: \xff"])
def test_damaged_configuration_is_refused(tmp_path, content):
    work = work_folder_case.make(tmp_path, trained=False)
    work.config.write_bytes(content)
    with pytest.raises(InputError, match=r"configuration.*config\.yaml"):
        report.write(work)


def test_frequencies_of_another_dataset_are_refused(tmp_path):
    work = work_folder_case.make(tmp_path)
    part = next(work.dataset.id_frequencies("stores").iterdir())
    part.unlink()
    with pytest.raises(InputError, match="stores with 25 ids"):
        report.write(work)
    next(work.dataset.id_frequencies("stores").iterdir()).unlink()
    with pytest.raises(InputError, match="stores, which holds none"):
        report.write(work)


def test_a_refused_report_leaves_the_last_one(tmp_path):
    work = work_folder_case.make(tmp_path)
    before = report.write(work).read_bytes()
    work.history.write_text("[]", "utf-8")
    with pytest.raises(InputError, match="JSON object"):
        report.write(work)
    assert work.report.read_bytes() == before


def test_importing_the_report_loads_neither_tensorflow_nor_beam():
    code = (
        "import sys, tfplugin.report; "
        "sys.exit(bool({'tensorflow', 'keras', 'apache_beam'} "
        "& set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_calibrated_metrics_stand_beside_plain_ones(tmp_path):
    work = work_folder_case.make(tmp_path)
    assert "once calibrated" not in written(work).text

    def calibrate(value):
        after = work_folder_case.metrics(0.7) | {"calibration": 1.0004}
        value["test"]["calibrated"] = {"discount": after, "coupon": after}
        value["calibration"] = {
            "method": "platt",
            "split": "validation",
            "sampling_rate": None,
            "objectives": {
                "discount": {"method": "platt", "reason": None, "rows": 9},
                "coupon": {"method": "none", "reason": HOSTILE, "rows": 9},
            },
        }

    rewrite_history(work, calibrate)
    text = written(work).text
    assert "by a curve fitted on the validation rows" in text
    assert "discount platt 1.0123 1.0004 " in text
    row = text.partition(f"coupon none: {HOSTILE}")[2].split()
    assert row[:2] == ["1.0123", "–"]
