"""CSV of every shape, in blocks of every size."""

import csv
import gzip
import io

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from beam_jobs import batches
from beam_jobs.reading import csv_lines
from beam_jobs.reading import csv_log
from beam_jobs.reading import sources
from beam_jobs.reading import text_files
from tfplugin import config
from tfplugin.errors import InputError


def read(path, columns=None, **options):
    source = config.SideTable.model_validate(
        {"format": "csv", "files": [str(path)], "csv": options}
    )
    log = sources.open_log(source, columns=columns)
    rows, positions, rejected = [], [], []
    for block in log.blocks():
        for item in log.read(block):
            if isinstance(item, batches.Rejected):
                rejected.append(item)
            else:
                rows += item.rows.to_pylist()
                positions += item.positions.tolist()
    return log, rows, positions, rejected


WORD = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00\r"),
    max_size=6,
)


@given(
    st.lists(st.tuples(st.integers(), WORD), min_size=1, max_size=20),
    st.integers(5, 60),
    st.booleans(),
    st.sampled_from(["\n", "\r\n"]),
)
@settings(max_examples=80, deadline=None)
def test_rows_do_not_depend_on_blocks(tmp_path_factory, rows, size, zip_, end):
    rows = [(number % 1000, word) for number, word in rows]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=end)
    writer.writerow(["number", "word"])
    writer.writerows(rows)
    data = text.getvalue().encode("utf-8")
    quoted = any("\n" in word for _, word in rows)
    path = tmp_path_factory.mktemp("csv") / ("log.csv" + ".gz" * zip_)
    path.write_bytes(gzip.compress(data) if zip_ else data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_files, "BLOCK_BYTES", size)
        types = {"number": pa.int64(), "word": pa.string()}
        log = csv_log.open_csv(
            sources.log_files.expand([str(path)], "k"),
            config.CsvOptions(quoted_newlines=quoted),
            None,
            types,
        )
        found = [item for block in log.blocks() for item in log.read(block)]
    got = [
        (row["number"], row["word"] or "", position)
        for batch in found
        for row, position in zip(
            batch.rows.to_pylist(), batch.positions.tolist(), strict=True
        )
    ]
    assert [row[:2] for row in got] == rows
    for number, _, position in got:
        assert data[position:].startswith(f"{number},".encode())


@pytest.mark.parametrize("block", [1, 7, 1 << 24])
def test_malformed_rows(tmp_path, monkeypatch, block):
    monkeypatch.setattr(text_files, "BLOCK_BYTES", block)
    lines = [
        b"a,b",
        b"1,x",
        b"2",
        b"",
        b"3,y,z",
        b'4,"open',
        b"5,\xff",
        b"6,mid\rdle",
        b"seven,w",
        b"8,",
        b'9,"a,""b"""',
    ]
    path = tmp_path / "log.csv"
    path.write_bytes(b"\n".join(lines))
    log = csv_log.open_csv(
        sources.log_files.expand([str(path)], "k"),
        config.CsvOptions(),
        None,
        {"a": pa.int64(), "b": pa.string()},
    )
    rows, rejected = [], []
    for part in log.blocks():
        for item in log.read(part):
            if isinstance(item, batches.Rejected):
                rejected.append(item)
            else:
                rows += item.rows.to_pylist()
    assert rows == [
        {"a": 1, "b": "x"},
        {"a": 8, "b": None},
        {"a": 9, "b": 'a,"b"'},
    ]
    reasons = [row.reason for row in sorted(rejected)]
    assert reasons == [
        "a row must have 2 columns; received 1",
        "a row must have 2 columns; received 3",
        "a quote must be closed on its line, unless "
        "`source.csv.quoted_newlines: true`",
        "text must be UTF-8",
        "a carriage return must end its line",
        "column `a` must be int64; received 'seven'",
    ]
    starts = [
        sum(len(line) + 1 for line in lines[:n]) for n in (2, 4, 5, 6, 7, 8)
    ]
    assert [row.position for row in sorted(rejected)] == starts
    assert sorted(rejected)[1].row == "3,y,z"


def test_types_come_from_the_head_of_the_file(tmp_path):
    path = tmp_path / "log.csv"
    text = (
        "i,f,s,code,none,big\n 1,1.5,x,007,,99999999999999999999\n2,2,3,1,,1\n"
    )
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    log, rows, _, _ = read(path)
    assert [str(field.type) for field in log.schema] == [
        "int64",
        "double",
        "string",
        "string",
        "string",
        "string",
    ]
    assert rows[1]["s"] == "3" and rows[1]["none"] is None


def test_column_names_delimiter_and_pruning(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(b"1;2;3\r\n4;5;6\r\n")
    _, rows, positions, _ = read(
        path,
        columns=["c", "a"],
        delimiter=";",
        column_names=["a", "b", "c"],
    )
    assert rows == [{"c": 3, "a": 1}, {"c": 6, "a": 4}]
    assert positions == [0, 7]


def test_a_single_column(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(b"a\n1\n\n\r\n2")
    _, rows, _, _ = read(path)
    assert rows == [{"a": 1}, {"a": 2}]


def test_quotes_that_do_not_pair_up_are_noticed():
    with pytest.raises(InputError, match="Received: 2 lines but 3 rows"):
        csv_lines.parse(
            b'1,a\n2,b"c\nd"e\n',
            offset=0,
            names=["x", "y"],
            columns=["x", "y"],
            options=config.CsvOptions(quoted_newlines=True),
        )
