"""`tfplugin predict` and `bench-serve`, on a server of either protocol."""

import csv
import gzip
import io
import json
import sys

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from pyarrow import parquet

import serving
from tests.cli import shop
from tests.serving import conftest
from tfplugin.cli import load_picture
from tfplugin.cli import prediction_answers
from tfplugin.cli import prediction_rows
from tfplugin.cli import prediction_run

ROWS = [
    {"city": "Roma", "age": 18, "price": 0.5, "filters": [1, 2, 3]},
    {"city": None, "price": 2.0, "filters": []},
    {"city": {"b64": "YWI="}, "age": 7, "price": 1, "more": 1},
    {"city": "Zürich", "age": 2**40, "price": 4.5, "filters": [7]},
    {"city": "", "age": -1, "price": 0.25, "filters": None},
]
CITIES = [b"Roma", b"", b"ab", "Zürich".encode(), b""]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    base = tmp_path_factory.mktemp("ranker")
    model = conftest.Ranker(0.25)
    signatures = {
        "serving_default": model.score,
        "examples": model.score_examples,
    }
    tf.saved_model.save(model, str(base / "1"), signatures)
    return base


@pytest.fixture(scope="module")
def server(base):
    with serving.ModelServer(base, "ranker", 0, 0) as server:
        yield server


@pytest.fixture(scope="module")
def url(server):
    return f"grpc://127.0.0.1:{server.grpc_port}"


def expected(rows=ROWS):
    clicks = []
    for row, city in zip(rows, CITIES, strict=True):
        age = row.get("age", conftest.MISSING_INT64)
        clicks.append(
            2.0 * row["price"]
            + len(city)
            + age % 7
            + 0.5 * sum(row.get("filters") or [])
            + 0.25
        )
    return clicks


def write_jsonl(path, rows=ROWS):
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def predict(url, *words):
    return shop.run("predict", url, "--model", "ranker", *words)


def clicks_of(text):
    return [json.loads(line)["click"][0] for line in text.splitlines()]


@pytest.mark.parametrize("batch_size", [1, 2, 64])
@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_rows_in_order(server, tmp_path, protocol, batch_size):
    port = {"grpc": server.grpc_port, "http": server.rest_port}[protocol]
    path = write_jsonl(tmp_path / "rows.jsonl")
    ended = predict(
        f"{protocol}://127.0.0.1:{port}",
        *("--input", path, "--batch-size", batch_size, "--timeout", 60),
    )
    assert ended.status == 0, ended
    np.testing.assert_allclose(clicks_of(ended.out), expected(), rtol=1e-6)
    assert ended.err.startswith("5 rows in ")
    for words in ("rows/s", "p50", "p99", "max"):
        assert words in ended.err


def test_standard_input(url, monkeypatch):
    text = "".join(f"{json.dumps(row)}\n" for row in ROWS)
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    ended = predict(url)
    assert ended.status == 0, ended
    assert len(clicks_of(ended.out)) == 5


def test_many_rows_stay_in_order(url, tmp_path):
    rows = [ROWS[0] | {"price": float(n)} for n in range(3000)]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    out = tmp_path / "answers.jsonl"
    ended = predict(
        url,
        *("--input", path, "--output", out),
        *("--batch-size", 7, "--concurrency", 16, "--timeout", 60),
    )
    assert ended.status == 0, ended
    assert ended.out == ""
    first = expected()[0] - 1.0
    np.testing.assert_allclose(
        clicks_of(out.read_text()), first + 2.0 * np.arange(3000), rtol=1e-6
    )
    assert not list(tmp_path.glob("*.partial"))


def test_csv_and_gzip(url, tmp_path):
    path = tmp_path / "rows.csv.gz"
    with gzip.open(path, "wt", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["age", "city", "filters", "label", "price"])
        for row, city in zip(ROWS, CITIES, strict=True):
            lists = json.dumps(row["filters"]) if row.get("filters") else ""
            age = row.get("age", "")
            writer.writerow([age, city.decode(), lists, 1, row["price"]])
    out = tmp_path / "answers.csv"
    ended = predict(url, "--input", path, "--output", out)
    assert ended.status == 0, ended
    with out.open(newline="") as file:
        answers = list(csv.DictReader(file))
    found = [json.loads(answer["click"])[0] for answer in answers]
    np.testing.assert_allclose(found, expected(), rtol=1e-6)


def test_parquet(url, tmp_path):
    path, out = tmp_path / "rows.parquet", tmp_path / "answers.parquet"
    table = pa.table(
        {
            "age": [row.get("age") for row in ROWS],
            "city": pa.array(CITIES, pa.binary()),
            "price": pa.array([row["price"] for row in ROWS], pa.float32()),
            "filters": pa.array([r.get("filters") for r in ROWS]),
            "day": pa.array([None] * 5, pa.date32()),
        }
    )
    parquet.write_table(table, path)
    ended = predict(url, "--input", path, "--output", out, "--batch-size", 2)
    assert ended.status == 0, ended
    answers = parquet.read_table(out)
    assert answers.schema.field("click").type == pa.list_(pa.float32())
    found = [value[0] for value in answers["click"].to_pylist()]
    np.testing.assert_allclose(found, expected(), rtol=1e-6)


def test_tfrecords(url, tmp_path):
    path = tmp_path / "rows.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for price in (0.5, 2.0):
            example = tf.train.Example()
            features = example.features.feature
            features["city"].bytes_list.value.append(b"Roma")
            features["age"].int64_list.value.append(18)
            features["price"].float_list.value.append(price)
            writer.write(example.SerializeToString())
        writer.write(b"\xff no Example")
    bad = tmp_path / "bad.jsonl"
    ended = predict(url, "--input", path, "--skip-bad-rows", bad)
    assert ended.status == 0, ended
    lines = [json.loads(line) for line in ended.out.splitlines()]
    assert [line["click"] for line in lines] == [[9.25], [12.25], None]
    (record,) = map(json.loads, bad.read_text().splitlines())
    assert record["row"] == 3
    assert "b64" in record["input"]


BAD = [
    (json.dumps(ROWS[0]), None),
    ("nonsense", ""),
    (json.dumps(ROWS[3]), None),
    (json.dumps(ROWS[0] | {"age": "old"}), "age"),
    (json.dumps(ROWS[0] | {"filters": [1, 2.5]}), "filters"),
    ("[1]", ""),
    ('{"label": 1}', ""),
    ("", ""),
    (json.dumps(ROWS[0]), None),
]


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_bad_rows_are_set_aside(url, tmp_path, batch_size):
    path, bad = tmp_path / "rows.jsonl", tmp_path / "bad.jsonl"
    path.write_text("".join(f"{line}\n" for line, _ in BAD))
    ended = predict(
        url,
        *("--input", path, "--skip-bad-rows", bad),
        *("--batch-size", batch_size),
    )
    assert ended.status == 0, ended
    assert "6 of them bad" in ended.err
    answers = [json.loads(line) for line in ended.out.splitlines()]
    records = [json.loads(line) for line in bad.read_text().splitlines()]
    # Nothing is lost: each row is answered or set aside.
    assert len(answers) == len(BAD)
    refused = {record["row"]: record["field"] or "" for record in records}
    assert refused == {
        n: field for n, (_, field) in enumerate(BAD, 1) if field is not None
    }
    for n, answer in enumerate(answers, 1):
        assert (answer["click"] is None) == (n in refused)
    assert records[1]["input"]["age"] == "old"


def test_a_bad_row_ends_the_command(url, tmp_path):
    path, out = tmp_path / "rows.jsonl", tmp_path / "answers.jsonl"
    path.write_text("".join(f"{line}\n" for line, _ in BAD[2:]))
    ended = predict(url, "--input", path, "--output", out, "--batch-size", 2)
    assert ended.status == 1
    assert "Row 2, column `age`: must be int64. Received: 'old'." in ended.err
    assert "1 rows before it" in ended.err
    assert not out.exists()
    assert len(clicks_of((tmp_path / "answers.jsonl.partial").read_text())) == 1


def test_rows_that_only_the_server_refuses(tmp_path):
    """A row whose logarithm... is refused by TensorFlow, not by its type."""

    class Picky(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, "x")])
        def __call__(self, x):
            small = tf.debugging.assert_less(x, tf.constant(10, tf.int64))
            with tf.control_dependencies([small]):
                return {"y": x + 1}

    model = Picky()
    tf.saved_model.save(model, str(tmp_path / "m" / "1"), model.__call__)
    path, bad = tmp_path / "rows.jsonl", tmp_path / "bad.jsonl"
    write_jsonl(path, [{"x": n} for n in (1, 2, 30, 4, 50, 6, 7)])
    with serving.ModelServer(tmp_path / "m", "ranker", 0, 0) as server:
        url = f"grpc://127.0.0.1:{server.grpc_port}"
        ended = predict(url, "--input", path, "--skip-bad-rows", bad)
        assert ended.status == 0, ended
        answers = [json.loads(line)["y"] for line in ended.out.splitlines()]
        assert answers == [2, 3, None, 5, None, 7, 8]
        records = [json.loads(line) for line in bad.read_text().splitlines()]
        assert [record["row"] for record in records] == [3, 5]
        ended = predict(url, "--input", path)
        assert ended.status == 1
        assert "Row 3: INVALID_ARGUMENT" in ended.err
        assert ended.out.splitlines() == ['{"y": 2}', '{"y": 3}']


def test_a_server_that_is_gone(tmp_path):
    path = write_jsonl(tmp_path / "rows.jsonl")
    ended = shop.run(
        *("predict", "http://127.0.0.1:1", "--model", "m"),
        *("--input", path, "--retries", 0),
    )
    assert ended.status == 1
    assert "UNAVAILABLE" in ended.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--input", "rows.txt"], "rows.txt"),
        (["--input", "absent.jsonl"], "absent.jsonl"),
        (["--input", "absent.parquet"], "absent.parquet"),
        (["--format", "parquet"], "Standard input"),
        (["--format", "xml"], "--format"),
        (["--output", "answers.txt"], "answers.txt"),
        (["--signature", "rank"], "signature='rank'"),
        (["--version", "1", "--label", "a"], "version=1"),
    ],
)
def test_refusals(url, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    shop.check_refused(predict(url, *words), says)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_column_that_is_not_there(url, tmp_path, kind):
    path = tmp_path / f"rows.{kind}"
    if kind == "csv":
        path.write_text("age,city,price\n1,Roma,2\n")
    else:
        parquet.write_table(
            pa.table({"age": [1], "city": ["Roma"], "price": [1.0]}), path
        )
    ended = predict(url, "--input", path)
    assert ended.status == 2
    assert "column for filters" in ended.err


def test_an_address_that_is_none():
    ended = shop.run("predict", "127.0.0.1:8500", "--model", "m")
    shop.check_refused(ended, "grpc://host:port", "127.0.0.1:8500")


def test_the_rate_is_a_limit(url):
    slept = []
    rows = [
        prediction_rows.Row(n, None, {"examples": b""}) for n in range(1, 7)
    ]
    with serving.Client(url, "ranker", signature="examples") as client:
        batches = prediction_rows.in_batches(rows, 2)
        done = list(
            prediction_run.run(client, batches, 1, 1000.0, slept.append)
        )
    assert [len(one.rows) for one in done] == [2, 2, 2]
    assert len(slept) == 3
    assert max(slept) <= 4 / 1000


def test_answers_in_json_have_no_nan(tmp_path):
    spec = serving.ClientTensorSpec("float32", (None,))
    signature = serving.ClientSignature({}, {"p": spec}, "")
    for kind, says in (("jsonl", '{"p": null}\n'), ("csv", "p\n\n")):
        path = tmp_path / f"answers.{kind}"
        with prediction_answers.writing(str(path), signature) as writer:
            writer.write(
                prediction_answers.rows_of(
                    {"p": np.array([np.nan], np.float32)}
                )
            )
        assert path.read_text().replace('""', "") == says


@pytest.mark.parametrize(
    ("how", "suffix"),
    [(["--rate", 40], "html"), (["--closed-loop", 2], "svg")],
)
def test_bench_serve(url, tmp_path, suffix, how):
    json_path, picture = tmp_path / "load.json", tmp_path / f"load.{suffix}"
    ended = shop.run(
        *("bench-serve", url, "--model", "ranker", *how, "--duration", 0.5),
        *("--batch-size", 3, "--output", json_path, "--picture", picture),
        *("--timeout", 60),
    )
    assert ended.status == 0, ended
    found = json.loads(json_path.read_text())
    assert found["errors"] == {}
    assert found["answered"] == found["requests"] > 0
    if how[0] == "--rate":
        assert found["requests"] == 20
    for words in ("latency p50", "latency p99.9", "rows a second"):
        assert words in ended.out
    drawn = picture.read_text()
    for words in ("ranker under load", "Latency by percentile", "p99", "ms"):
        assert words in drawn
    for words in ("percentile of answered requests", "a request was due, s"):
        assert words in drawn


def test_bench_serve_with_rows(url, tmp_path):
    path = write_jsonl(tmp_path / "rows.jsonl")
    words = ("bench-serve", url, "--model", "ranker", "--input", path)
    ended = shop.run(*words, "--rate", 20, "--duration", 0.2, "--timeout", 60)
    assert ended.status == 0, ended
    # More rows a request than there are: they come again.
    json_path = tmp_path / "load.json"
    ended = shop.run(
        *(*words, "--closed-loop", 1, "--duration", 0.1, "--timeout", 60),
        *("--batch-size", 2 * len(ROWS) + 1, "--output", json_path),
    )
    assert ended.status == 0, ended
    found = json.loads(json_path.read_text())
    assert (found["rows_per_request"], found["errors"]) == (11, {})
    path.write_text("nonsense\n")
    ended = shop.run(*words, "--rate", 20)
    shop.check_refused(ended, "row 1", "JSON object")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "--rate"),
        (["--rate", 5, "--closed-loop", 2], "--closed-loop"),
        (["--rate", -5], "rate=-5"),
        (["--rate", 5, "--picture", "load.png"], "load.png"),
        (["--rate", 5, "--signature", "examples"], "--input"),
        # Before the load, whose numbers would be lost.
        (["--rate", 5, "--output", "/"], "Received: / (it is a folder)"),
        (["--rate", 5, "--output", "/dev/null/load.json"], "/dev/null/load"),
        (["--rate", 5, "--signature", "none"], "['examples', 'serving_def"),
    ],
)
def test_bench_serve_refusals(url, words, says):
    ended = shop.run("bench-serve", url, "--model", "ranker", *words)
    shop.check_refused(ended, says)


def test_pictures_of_nothing(tmp_path):
    from serving import load_generator

    nothing = np.zeros(0)
    result = load_generator.LoadResult(
        load_generator.Load(1.0, rate=1),
        1,
        *(nothing, nothing, nothing),
        np.array([], str),
        nothing,
    )
    for suffix in ("html", "svg"):
        path = tmp_path / f"load.{suffix}"
        load_picture.write(result, path, "a <b> & c")
        assert "a &lt;b&gt; &amp; c" in path.read_text()
