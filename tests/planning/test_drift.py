"""Drift of real datasets and requests, through the command."""

import collections
import gzip
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import yaml

from tests.cli import shop
from tests.report import page_reader
from tests.support import datasets
from tfplugin import artifacts
from tfplugin import config as config_lib
from tfplugin import schema as schema_lib
from tfplugin.planning import drift
from tfplugin.schema import drift as records

ROOT = pathlib.Path(__file__).parents[2]
CITIES = ["Zürich", "東京", "🙂 <b>", "Bern"]
CONFIG = {
    "name": "shop",
    "source": {"format": "csv", "files": "log.csv"},
    "features": {
        "user": {"type": "id", "dtype": "int64"},
        "city": {"type": "id", "dtype": "string"},
        "tags": {"type": "id_list", "dtype": "string"},
        "place": {"type": "id", "dtype": "int64", "training_only": True},
        "price": {"type": "dense"},
    },
    "labels": ["click"],
    "split": {"by": "hash", "columns": ["user"]},
}
SCHEMA = schema_lib.Schema(
    id_features={
        "user": schema_lib.IdFeature(dtype="int64", table="user"),
        "city": schema_lib.IdFeature(dtype="string", table="city"),
        "tags": schema_lib.IdFeature(
            dtype="string", table="tags", is_list=True
        ),
        "place": schema_lib.IdFeature(
            dtype="int64", table="place", training_only=True
        ),
    },
    dense_features={"price": schema_lib.DenseFeature()},
    labels=("click",),
    weight=True,
)


def _rows(seed=0, num_rows=800, **planted):
    """Rows of one source; `planted` maps a column to what changes a value."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(num_rows):
        row = {
            "user": int(rng.zipf(1.6)) % 60,
            "city": str(rng.choice(CITIES, p=[0.4, 0.3, 0.2, 0.1])),
            "tags": [f"t{k}" for k in range(int(rng.integers(0, 4)))],
            "place": int(rng.integers(1, 5)),
            "price": float(np.float32(rng.exponential(9))),
            "click": float(rng.random() < 0.2),
            # A row without weight has labels all the same.
            "example_weight": float(rng.integers(0, 3)),
        }
        for name, change in planted.items():
            row[name] = change(row[name], rng)
        rows.append(row)
    return rows


def _write(path, train, test=None, schema=SCHEMA):
    work = artifacts.WorkFolder(path)
    rest = train[:10]
    datasets.write_dataset(
        work.dataset.path,
        schema,
        {"train": train, "validation": rest, "test": test or rest},
    )
    work.config.write_text(yaml.safe_dump(CONFIG), "utf-8")
    return path


@pytest.fixture(scope="module")
def baseline(tmp_path_factory):
    return _write(tmp_path_factory.mktemp("drift") / "A", _rows(0, 2000))


def _run(baseline, workdir, *more):
    ended = shop.run(
        "drift", "--baseline", baseline, "--workdir", workdir, *more
    )
    return ended, schema_lib.read_record(
        artifacts.WorkFolder(workdir).drift_json, records.Drift
    )


def _crossed(found):
    return {(column.name, measure) for column, measure, _ in found.crossed}


def test_equal_datasets_differ_in_nothing(baseline, tmp_path):
    ended, found = _run(baseline, _write(tmp_path / "B", _rows(0, 2000)))
    assert ended.status == 0 and not ended.err
    assert len(found.columns) == 6
    for column in found.columns:
        assert column.measures
        for measure in column.measures.values():
            assert measure.value == measure.excess == 0.0
        assert column.gained == column.lost == ()


def test_another_draw_of_one_source_crosses_nothing(baseline, tmp_path):
    ended, found = _run(baseline, _write(tmp_path / "B", _rows(1, 400)))
    assert ended.status == 0, ended.err
    assert not found.crossed


def _new_city(value, rng):
    return "Genève" if rng.random() < 0.3 else value


@pytest.mark.parametrize(
    ("planted", "expected"),
    [
        ({"city": _new_city}, ("city", "new_occurrences")),
        ({"city": lambda *_: "Bern"}, ("city", "jensen_shannon")),
        ({"price": lambda v, _: v * 3}, ("price", "kolmogorov_smirnov")),
        (
            {"price": lambda v, rng: v if rng.random() < 0.9 else None},
            ("price", "missing_rate"),
        ),
        (
            {"click": lambda v, rng: v or float(rng.random() < 0.2)},
            ("click", "label_rate_relative"),
        ),
    ],
)
def test_a_planted_shift_is_found_and_named(
    baseline, tmp_path, planted, expected
):
    ended, found = _run(
        baseline, _write(tmp_path / "B", _rows(1, 2000, **planted))
    )
    assert ended.status == 1
    assert expected in _crossed(found)
    assert {name for name, _ in _crossed(found)} == {expected[0]}
    lines = ended.err.splitlines()
    assert len(lines) == len(found.crossed)
    assert "Traceback" not in ended.err
    (line,) = [x for x in lines if f"{expected[0]}: {expected[1]} " in x]
    measure = dict(
        (name, m) for c, name, m in found.crossed if c.name == expected[0]
    )[expected[1]]
    assert f"{measure.value:.4f}" in line
    assert f"limit is {measure.threshold:g}" in line


def test_numbers_are_those_of_a_counter(baseline, tmp_path):
    rows = _rows(3, 500, city=_new_city)
    _, found = _run(baseline, _write(tmp_path / "B", rows))
    (city,) = [column for column in found.columns if column.name == "city"]
    one = collections.Counter(row["city"] for row in _rows(0, 2000))
    two = collections.Counter(row["city"] for row in rows)
    assert (city.baseline.ids, city.current.ids) == (len(one), len(two))
    assert city.current.values == 500
    new = city.measures["new_occurrences"]
    assert new.value == pytest.approx(two["Genève"] / 500)
    assert city.gained[0].id == "Genève"
    assert city.gained[0].current == pytest.approx(two["Genève"] / 500)
    (click,) = [column for column in found.columns if column.name == "click"]
    rate = sum(row["click"] for row in rows) / 500
    assert click.current.rate == pytest.approx(rate)
    assert click.current.interval[0] < rate < click.current.interval[1]


def test_limits_come_from_the_configuration(baseline, tmp_path):
    work = _write(tmp_path / "B", _rows(1, 2000, city=_new_city))
    ended, _ = _run(
        baseline,
        work,
        "--set",
        "drift.columns.city={l_infinity: 1, new_occurrences: 1, "
        "jensen_shannon: 1}",
    )
    assert ended.status == 0, ended.err
    ended, found = _run(baseline, work, "--set", "drift.l_infinity=0")
    assert ("user", "l_infinity") not in _crossed(found), "within chance"
    assert ("city", "l_infinity") in _crossed(found)
    ended = shop.run(
        "drift",
        "--baseline",
        baseline,
        "--workdir",
        work,
        "--set",
        "drift.columns.cty={l_infinity: 1}",
    )
    shop.check_refused(ended, "drift.columns", "cty")


def test_a_split_is_compared_with_the_training_rows(tmp_path):
    test = _rows(5, 600, price=lambda v, _: v + 20)
    work = _write(tmp_path / "B", _rows(4, 600), test=test)
    ended = shop.run("drift", "--workdir", work, "--split", "test")
    found = schema_lib.read_record(
        artifacts.WorkFolder(work).drift_json, records.Drift
    )
    assert ended.status == 1
    assert {name for name, _ in _crossed(found)} == {"price"}
    (click,) = [column for column in found.columns if column.name == "click"]
    assert click.current.values == 600, "rows of weight 0 have labels"
    assert click.current.positives == sum(row["click"] for row in test)
    assert "Lengths of tags" in " ".join(found.notes)


def _requests(rows):
    hidden = ("click", "place", "example_weight")
    return [{k: v for k, v in r.items() if k not in hidden} for r in rows]


def test_requests_in_row_form_and_one_a_line(baseline, tmp_path):
    work = _write(tmp_path / "B", _rows(0, 20))
    requests = _requests(_rows(7, 600, city=_new_city))
    for request in requests[300:]:
        request["tags_length"] = len(request["tags"])
        request["tags"] = request["tags"] + ["", ""]
    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz"]
    files[0].write_text(
        "\n".join(
            json.dumps({"instances": requests[i : i + 50]}, ensure_ascii=False)
            for i in range(0, 300, 50)
        ),
        "utf-8",
    )
    with gzip.open(files[1], "wt", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(r)}\n" for r in requests[300:])
    ended, found = _run(
        baseline, work, "--sample", files[0], "--sample", files[1]
    )
    assert ended.status == 1
    assert {name for name, _ in _crossed(found)} == {"city"}
    columns = {(c.name, c.kind): c for c in found.columns}
    assert set(columns) == {
        ("user", "ids"),
        ("city", "ids"),
        ("tags", "ids"),
        ("price", "numbers"),
    }
    wanted = collections.Counter(r["city"] for r in requests)
    assert columns["city", "ids"].current.values == 600
    assert columns["city", "ids"].current.ids == len(wanted)
    tags = sum(len(r["tags"]) for r in requests[:300])
    tags += sum(r["tags_length"] for r in requests[300:])
    assert columns["tags", "ids"].current.values == tags
    assert columns["tags", "ids"].current.missing == 0
    assert "place is not known at serving." in found.notes


def test_examples_are_a_sample_too(baseline, tmp_path):
    work = _write(tmp_path / "B", _rows(0, 20))
    split = artifacts.WorkFolder(baseline).dataset.split("train")
    ended, found = _run(baseline, work, "--sample", split)
    assert ended.status == 0, ended.err
    assert found.current.rows == 2000
    ids = [c for c in found.columns if c.kind == "ids"]
    assert all(m.value == 0.0 for c in ids for m in c.measures.values())


def test_list_lengths_are_compared_where_sketches_are(baseline, tmp_path):
    work = _write(tmp_path / "B", _rows(0, 500))
    side = drift.read_split(work)
    lengths = [0.0] * 25 + [1.0] * 25 + [2.0] * 25 + [3.0] * 26
    folder = artifacts.WorkFolder(work).dataset
    statistics = folder.read_statistics()
    tables = dict(statistics.tables)
    tables["tags"] = tables["tags"].model_copy(update={"empty_lists": 125})
    sketch = schema_lib.ColumnSketch(
        values=750,
        distinct=3.0,
        distinct_lower=3.0,
        distinct_upper=3.0,
        length_quantiles=tuple(lengths),
    )
    schema_lib.write_record(
        folder.statistics_json,
        statistics.model_copy(
            update={"columns": {"tags": sketch}, "tables": tables}
        ),
    )
    path = tmp_path / "long.jsonl"
    requests = _requests(_rows(8, 400, tags=lambda v, _: v + v + ["t0"]))
    path.write_text("\n".join(map(json.dumps, requests)), "utf-8")
    found = drift.compare(
        drift.read_split(work),
        drift.read_sample([path], side.schema),
        config_lib.DriftConfig(),
    )
    (tags,) = [column for column in found.columns if column.kind == "lengths"]
    assert tags.measures["kolmogorov_smirnov"].value == pytest.approx(
        0.5, abs=0.06
    )
    assert "kolmogorov_smirnov" in tags.crossed
    # No list of these requests is empty, a quarter of the dataset's are.
    assert tags.measures["missing_rate"].value == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([], "no"),
        (["{"], "line 1"),
        (['{"user": 1}', '{"user": "x"}'], "line 2"),
        (['{"user": true}'], "int64"),
        (['{"user": 9223372036854775808}'], "int64"),
        (['{"city": 3}'], "a string"),
        (['{"price": "much"}'], "a number"),
        (['{"tags": "t1"}'], "a list"),
        (['{"tags": ["t1"], "tags_length": 2}'], "tags_length"),
        (['{"instances": [1]}'], "row form"),
        (['{"customer": 1}'], "customer"),
    ],
)
def test_a_malformed_sample_is_refused(baseline, tmp_path, lines, says):
    work = _write(tmp_path / "B", _rows(0, 20))
    path = tmp_path / "requests.jsonl"
    path.write_text("\n".join(lines), "utf-8")
    ended = shop.run("drift", "--workdir", work, "--sample", path)
    shop.check_refused(ended, "requests.jsonl", says)


def test_a_side_without_values_is_a_missing_rate(baseline, tmp_path):
    work = _write(tmp_path / "B", _rows(0, 20))
    path = tmp_path / "requests.jsonl"
    path.write_text('{"user": 1, "city": null}\n' * 200, "utf-8")
    ended, found = _run(baseline, work, "--sample", path)
    assert ended.status == 1
    assert ("city", "missing_rate") in _crossed(found)
    assert ("price", "missing_rate") in _crossed(found)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "Pass --baseline"),
        (["--split", "all"], "--split"),
        (["--split", "test", "--sample", "x"], "Leave one out"),
        (["--sample", "absent.jsonl"], "absent.jsonl"),
        (["--baseline", "absent"], "COMPLETED"),
    ],
)
def test_a_wrong_command_is_refused(baseline, words, says):
    ended = shop.run("drift", "--workdir", baseline, *words)
    shop.check_refused(ended, says)


def test_other_columns_are_refused(baseline, tmp_path):
    other = SCHEMA.model_copy(
        update={"id_features": {"user": SCHEMA.id_features["user"]}}
    )
    work = _write(tmp_path / "B", _rows(0, 20), schema=other)
    ended = shop.run("drift", "--baseline", baseline, "--workdir", work)
    shop.check_refused(ended, "city", "absent")


def test_damaged_frequencies_are_refused(baseline, tmp_path):
    work = _write(tmp_path / "B", _rows(0, 20))
    folder = artifacts.WorkFolder(work).dataset.id_frequencies("city")
    for file in folder.iterdir():
        file.write_bytes(b"PAR1")
    ended = shop.run("drift", "--baseline", baseline, "--workdir", work)
    shop.check_refused(ended, "city", "Parquet")


def test_sampled_negatives_are_noted_and_rates_left_out(baseline, tmp_path):
    sampled = SCHEMA.model_copy(
        update={
            "negatives": schema_lib.NegativeSampling(
                labels=("click",), rate=0.5, splits=("train",)
            )
        }
    )
    work = _write(tmp_path / "B", _rows(1, 2000), schema=sampled)
    _, found = _run(baseline, work)
    assert "click" not in {column.name for column in found.columns}
    assert "sampled" in " ".join(found.notes)


def test_the_page_shows_what_moved(baseline, tmp_path):
    work = _write(tmp_path / "B", _rows(1, 2000, city=_new_city))
    ended, _ = _run(baseline, work)
    page = artifacts.WorkFolder(work).drift_page
    assert page.name in ended.out
    reader = page_reader.PageReader(page.read_text("utf-8"))
    assert not reader.open_tags
    assert "limits crossed, in 1 column of 6: city." in reader.text
    assert "Genève" in reader.text and "🙂 <b>" in reader.text
    figures = reader.figures()
    assert set(figures) <= set(reader.ids)
    assert {"rate-0", "column-0"} <= set(figures)
    assert len(figures["column-0"]["data"]) == 2


def test_datasets_are_compared_without_tensorflow(baseline, tmp_path):
    work = _write(tmp_path / "B", _rows(0, 50))
    program = (
        "import sys; from tfplugin import cli; "
        "status = cli.main(sys.argv[1:]); "
        "print(status, sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    words = ["drift", "--baseline", str(baseline), "--workdir", str(work)]
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1].endswith(" []")
