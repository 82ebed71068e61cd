"""JSON lines of every shape."""

import json
import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from beam_jobs.reading import jsonl_lines
from beam_jobs.reading import jsonl_log
from beam_jobs.reading import jsonl_types
from beam_jobs.reading import text_files
from beam_jobs.roles import columns
from tests.beam_jobs import log_writing
from tfplugin import config
from tfplugin.errors import InputError


def read_lines(tmp_path, lines, *, asked=None, columns=None, **options):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"\n".join(lines))
    log = log_writing.open_log(
        "jsonl", [path], asked=asked, columns=columns, **options
    )
    return log, *log_writing.read(log)


def test_types_come_from_the_head(tmp_path):
    rows = [
        {"i": 1, "d": 1, "s": "x", "b": True, "l": [1], "n": None, "e": []},
        {"d": 0.5, "l": [None, 2.5], "ll": [[1], []], "o": {"x": 1, "y": {}}},
        {"o": {"x": "a", "z": None}, "mixed": 1},
        {"mixed": "a"},
    ]
    log, got, _, rejected = read_lines(
        tmp_path, [json.dumps(row).encode() for row in rows]
    )
    assert {field.name: str(field.type) for field in log.schema} == {
        "i": "int64",
        "d": "double",
        "s": "string",
        "b": "bool",
        "l": "list<item: double>",
        "n": "string",
        "e": "list<item: string>",
        "ll": "list<item: list<item: int64>>",
        "o": "struct<x: string, y: string, z: string>",
        "mixed": "string",
    }
    assert rejected == []
    assert got[1]["l"] == [None, 2.5] and got[1]["ll"] == [[1], []]
    assert got[1]["o"] == {"x": "1", "y": None, "z": None}
    assert [row["mixed"] for row in got] == [None, None, "1", "a"]
    assert "n: double" in log.advice_on_empty()


def test_what_roles_ask_for(tmp_path):
    """They decide on numbers and on columns without a value, no more."""
    lines = [b'{"id": 7.0, "price": 1, "label": true, "words": ["7"]}']
    types = {
        "id": pa.int64(),
        "price": pa.float64(),
        "label": pa.string(),
        "words": pa.list_(pa.int64()),
        "sparse": pa.int64(),
    }
    log, rows, _, _ = read_lines(tmp_path, lines, asked=types)
    assert rows == [{"id": 7, "price": 1.0, "label": True, "words": ["7"]}]
    lines.append(b'{"sparse": null}')
    log, rows, _, _ = read_lines(tmp_path, lines, asked=types)
    assert log.schema.field("sparse").type == pa.int64()
    assert log.advice_on_empty() == ""


def test_declared_types(tmp_path):
    lines = [b'{"a": 1, "b": 2, "c": [1]}', b'{"a": "x", "b": 2.5}']
    types = {"a": "string", "b": "double", "c": "list<string>", "d": "bool"}
    log, rows, _, rejected = read_lines(tmp_path, lines, types=types)
    assert rejected == []
    assert rows == [
        {"a": "1", "b": 2.0, "c": ["1"], "d": None},
        {"a": "x", "b": 2.5, "c": None, "d": None},
    ]


BAD = [
    (b'{"i": 1', "a line must be a JSON object: "),
    (b"[1]", "a line must be a JSON object"),
    (b"7", "a line must be a JSON object"),
    (b'{"i": 1} {"i": 2}', "a line must be a JSON object: Extra data"),
    (b'{"i": 1}}', "a line must be a JSON object: Extra data"),
    (b'{"s": "\xff"}', "text must be UTF-8"),
    (b'{"s": "\\ud800"}', "column `s` must be string; received"),
    (b'{"i": "x"}', 'column `i` must be int64; received "x"; declare '),
    (b'{"i": 7.5}', "column `i` must be int64; received 7.5; declare "),
    (b'{"i": 9223372036854775808}', "received 9223372036854775808; declare"),
    (b'{"i": true}', "column `i` must be int64; received true"),
    (b'{"i": [1]}', "column `i` must be int64; received [1]"),
    (b'{"i": 1, "i": 2}', "column `i` must be int64; received `i` twice"),
    (b'{"d": 1e999}', "the number 1e999 is too large"),
    (b'{"d": 9007199254740993}', "column `d` must be double; received 9007"),
    (b'{"d": "1.5"}', 'column `d` must be double; received "1.5"; declare '),
    (b'{"l": 1}', "column `l` must be list<int64>; received 1"),
    (b'{"l": [1, "x"]}', 'column `l` must be list<int64>; received "x"'),
    (b'{"b": 1}', "column `b` must be bool; received 1"),
    (b'{"s": [1]}', "column `s` must be string; received [1]"),
    (b'{"s": {"a": 1}}', 'column `s` must be string; received {"a": 1}'),
    (b'{"l": ' + b"[" * 5000 + b"]" * 5000 + b"}", "a line must be a JSON obj"),
    (b'{"i": ' + b"9" * 5000 + b"}", "a line must be a JSON object: "),
]


@pytest.mark.parametrize("block", [7, 100, 1 << 24])
@pytest.mark.parametrize("part", [(), (1,), (1024, 32)])
def test_malformed_rows(tmp_path, monkeypatch, block, part):
    monkeypatch.setattr(text_files, "BLOCK_BYTES", block)
    monkeypatch.setattr(jsonl_lines, "PART_LINES", part)
    # Types come from the first line.
    monkeypatch.setattr(text_files, "head_rows", lambda files: 1)
    head = b'{"i": 1, "d": 0.5, "s": "x", "l": [1], "b": true}'
    bad = [line for line, _ in BAD]
    lines = [head, b"", *bad, b"  ", b' {"i": 7.0 } \r', b'{"s": "\xc3\xa9"}']
    log, rows, positions, rejected = read_lines(tmp_path, lines)
    nulls = dict.fromkeys(["i", "d", "s", "l", "b"])
    assert rows == [
        json.loads(head),
        {**nulls, "i": 7},
        {**nulls, "s": "é"},
    ]
    starts = [sum(len(line) + 1 for line in lines[:n]) for n in range(99)]
    assert positions == [0, starts[len(BAD) + 3], starts[len(BAD) + 4]]
    assert [row.position for row in rejected] == starts[2 : 2 + len(BAD)]
    for row, (line, reason) in zip(rejected, BAD, strict=True):
        assert reason in row.reason
        assert row.row == line.decode("utf-8", "replace")
    for number, kind in ((7, "string"), (8, "double"), (9, "string")):
        advice = f"; declare `source.jsonl.types: {{i: {kind}}}`"
        assert rejected[number].reason.endswith(advice)


VALUE = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**65), 2**65),
        st.integers(-9, 9),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(blacklist_categories=["Cs"]), max_size=4),
    ),
    lambda inside: st.one_of(
        st.lists(inside, max_size=3),
        st.dictionaries(st.sampled_from("xy"), inside, max_size=2),
    ),
    max_leaves=4,
)
KIND = st.sampled_from(
    [*jsonl_types.TYPES.values(), pa.struct([("x", pa.int64())])]
)


@given(
    st.lists(st.dictionaries(st.sampled_from("ab"), VALUE), max_size=6),
    st.fixed_dictionaries({"a": KIND, "b": KIND}),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_arrow_and_python_agree(rows, kinds, escape):
    """A row is what it is, whatever stands beside it."""
    text = "\n".join(json.dumps(row, ensure_ascii=escape) for row in rows)
    parser = jsonl_lines.Parser(pa.schema(kinds), frozenset())
    piece = jsonl_lines._Piece.of(text.encode(), 0)

    def split(items):
        found, refused = [], []
        for item in items:
            if isinstance(item, jsonl_lines.Refusal):
                refused.append((item.position, item.reason))
            else:
                values = item.rows.to_pylist()
                found += zip(item.positions.tolist(), values, strict=True)
        return found, refused

    slow = split(parser._parse_slowly(piece, 0, len(piece.starts)))
    assert split(parser.parse(text.encode(), 0)) == slow
    for position, row in slow[0]:
        source = rows[text.encode()[:position].count(b"\n")]
        for name, value in row.items():
            if isinstance(value, int) and not isinstance(value, bool):
                assert value == source[name]


@given(st.lists(VALUE, max_size=5))
def test_the_inferred_type_takes_what_it_can(values):
    kind = jsonl_types.infer(values)
    if kind is None:
        assert all(value in (None, {}) for value in values)
        return
    kind = jsonl_types.settle(kind, None)
    for value in values:
        if isinstance(value, str):
            scalar = not pa.types.is_nested(kind)
            assert not scalar or jsonl_types.converter(kind)(value) == value


def test_infinities_and_nan(tmp_path):
    """Python writes them, though JSON has none."""
    lines = [b'{"d": 0.5}', b'{"d": NaN}', b'{"d": -Infinity}', b'{"d": "x"}']
    _, rows, _, rejected = read_lines(
        tmp_path, lines, asked={"d": pa.float64()}
    )
    # The last line makes the column one of strings.
    assert [row["d"] for row in rows] == ["0.5", "NaN", "-Infinity", "x"]
    _, rows, _, rejected = read_lines(tmp_path, lines[:3])
    assert rejected == [] and rows[2] == {"d": -math.inf}
    assert math.isnan(rows[1]["d"])


def test_no_json_lines(tmp_path):
    for text in (b'[{"a": 1},\n{"a": 2}]', b"a,b\n1,2", b'{"a":\n1}'):
        with pytest.raises(InputError, match="an object a line"):
            read_lines(tmp_path, [text])
    with pytest.raises(InputError, match="does not end"):
        read_lines(tmp_path, [b'{"a": "' + b"x" * (1 << 20) + b'"}'])


def test_a_sparse_column_of_a_later_file(tmp_path):
    (tmp_path / "a").write_bytes(b'{"x": 1}\n')
    (tmp_path / "b").write_bytes(b'{"x": 2, "y": 0.5}')
    log = log_writing.open_log("jsonl", str(tmp_path / "*"))
    assert log_writing.read(log)[0] == [
        {"x": 1, "y": None},
        {"x": 2, "y": 0.5},
    ]
    assert isinstance(log, jsonl_log.JsonLinesLog)


def test_roles_of_a_configuration():
    """Lists of ids are lists in the formats that have lists."""
    raw = {
        "name": "lab",
        "source": {"format": "jsonl", "files": "x"},
        "features": {
            "item": {"type": "id", "dtype": "int64"},
            "tags": {"type": "id_list", "dtype": "string"},
            "price": {"type": "dense"},
        },
        "labels": ["click"],
        "split": {"by": "hash", "columns": ["item"]},
    }
    found = []
    for format in ("jsonl", "tfrecord", "csv"):
        raw["source"]["format"] = format
        experiment = config.ExperimentConfig.model_validate(raw)
        found.append(columns.column_types(experiment))
    assert found[0] == found[1]
    assert found[0]["tags"] == pa.list_(pa.string())
    assert found[2]["tags"] == pa.string()
    assert found[0]["item"] == pa.int64()
