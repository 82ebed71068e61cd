"""Which type a CSV column gets, and what one does about a wrong one."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.reading import csv_types
from beam_jobs.reading import sources
from beam_jobs.reading import text_files
from tests.beam_jobs import test_bad_input
from tfplugin import config
from tfplugin.errors import InputError


def kinds(lab, texts, **options):
    paths = [lab.write(f"{n}.csv", text) for n, text in enumerate(texts)]
    source = {"format": "csv", "files": paths, "csv": options}
    log = sources.open_log(config.SideTable.model_validate(source))
    return {field.name: str(field.type) for field in log.schema}


@given(st.lists(st.integers(-(2**64), 2**64), min_size=1))
def test_integers_are_int64_or_stay_words(numbers):
    found = csv_types.infer(pa.array([str(number) for number in numbers]))
    fit = all(-(2**63) <= number < 2**63 for number in numbers)
    assert found == (pa.int64() if fit else pa.string())


@given(
    st.lists(
        st.one_of(st.integers().map(str), st.floats().map(repr)), min_size=1
    )
)
def test_no_inferred_type_makes_two_integers_one(words):
    found = csv_types.infer(pa.array(words))
    integers = {word for word in words if word.lstrip("-").isdigit()}
    if found != pa.string():
        values = pa.array(sorted(integers), pa.string()).cast(found)
        assert len(set(values.to_pylist())) == len({int(w) for w in integers})


def test_the_heads_of_all_files_count(lab):
    assert kinds(lab, ["a,b,c\n1,,2\n", "c,b,a\n3,7,0.5\n"]) == {
        "a": "double",
        "b": "int64",
        "c": "int64",
    }


def test_more_than_a_thousand_rows_count(lab):
    rows = ["0"] * 1100 + ["0.4"]
    assert kinds(lab, ["disc\n" + "\n".join(rows)]) == {"disc": "double"}


def test_declared_types(lab):
    text = "a,b,c,d\n1,2,,4\n"
    types = {"a": "string", "b": "double", "c": "int64"}
    assert kinds(lab, [text], types=types) == {
        "a": "string",
        "b": "double",
        "c": "int64",
        "d": "int64",
    }


def test_a_declared_type_of_an_absent_column(lab):
    path = lab.write("a.csv", "item,click\n1,0\n")
    source = {"csv": {"types": {"itme": "string"}}}
    message = test_bad_input.refused(lab, path, source=source)
    assert "`source.csv.types`" in message and "Did you mean `item`" in message


SELECT = "SELECT item, click, disc * 2 AS disc FROM log"
FEATURES = {
    "item": {"type": "id", "dtype": "int64"},
    "disc": {"type": "dense"},
}


@pytest.fixture
def late(lab, monkeypatch):
    """A log whose first fraction stands after what is looked at."""
    monkeypatch.setattr(text_files, "_HEAD_ROWS", 1)
    rows = [f"{i},{i % 2},{0.4 if i > 1100 else 0}\n" for i in range(1200)]
    return lab.write("a.csv", "item,click,disc\n" + "".join(rows))


def test_a_rejected_row_says_what_to_declare(lab, late):
    source = {"select": SELECT}
    message = test_bad_input.refused(
        lab, late, source=source, features=FEATURES
    )
    assert "`disc` must be int64; received '0.4'" in message
    assert "declare `source.csv.types: {disc: double}`" in message
    source["csv"] = {"types": {"disc": "double"}}
    found = lab.run(late, source=source, features=FEATURES)
    assert found.rows_rejected == 0
    assert found.dense["disc"].maximum == pytest.approx(0.8)


def test_a_column_that_is_empty_in_the_head(lab, monkeypatch):
    monkeypatch.setattr(text_files, "_HEAD_ROWS", 1)
    rows = [f"{i},{i % 2},{4 if i > 1100 else ''}\n" for i in range(1200)]
    path = lab.write("a.csv", "item,click,disc\n" + "".join(rows))
    source = {"select": SELECT}
    message = test_bad_input.refused(
        lab, path, source=source, features=FEATURES
    )
    assert "`source.csv.types: {disc: double}`" in message
    source["csv"] = {"types": {"disc": "double"}}
    found = lab.run(path, source=source, features=FEATURES)
    assert found.dense["disc"].maximum == 8.0


def test_codes_of_a_side_table(lab, monkeypatch):
    monkeypatch.setattr(text_files, "_HEAD_ROWS", 1)
    codes = [str(i) for i in range(1, 1100)] + ["A12"]
    text = "code,maker\n" + "".join(f"{code},m{code}\n" for code in codes)
    log = "item,code,click\n" + "".join(f"{i},A12,0\n" for i in range(60))
    side = {"format": "csv", "files": lab.write("side.csv", text)}
    changes = {
        "source": {
            "select": "SELECT item, maker, click FROM log JOIN side "
            "ON log.code = side.code::VARCHAR",
            "side_tables": {"side": side},
        },
        "features": {
            "item": {"type": "id", "dtype": "int64"},
            "maker": {"type": "id", "dtype": "string"},
        },
    }
    path = lab.write("a.csv", log)
    message = test_bad_input.refused(lab, path, **changes)
    assert (
        "declare `source.side_tables.side.csv.types: {code: string}`" in message
    )
    side["csv"] = {"types": {"code": "string"}}
    lab.run(path, **changes)
    assert set(lab.frequencies("maker")) == {"mA12"}


@pytest.mark.parametrize("first", ["1.5", "1"])
def test_ids_of_twenty_digits_never_become_one(lab, monkeypatch, first):
    monkeypatch.setattr(text_files, "_MIN_HEAD_ROWS", 1)
    monkeypatch.setattr(text_files, "_HEAD_ROWS", 1)
    rows = [f"{first},0"] + [f"{10**19 + i},1" for i in range(60)]
    path = lab.write("a.csv", "u,click\n" + "\n".join(rows))
    changes = {
        # By another name it has no type by its role.
        "source": {"select": "SELECT u::VARCHAR AS user, click FROM log"},
        "features": {"user": {"type": "id", "dtype": "string"}},
        "split": {"by": "hash", "columns": ["user"]},
    }
    message = test_bad_input.refused(lab, path, **changes)
    assert "declare `source.csv.types: {u: string}`" in message
    monkeypatch.setattr(text_files, "_HEAD_ROWS", 100)
    found = lab.run(path, **changes)
    assert sum(found.rows(split) for split in found.shards) == 61
    users = {row["user"][0] for row in lab.all_examples()}
    assert len(users) == 61


def test_a_header_with_an_endless_field(lab):
    path = lab.write("a.csv", "item," + "c" * 200_000 + "\n1,0\n")
    message = test_bad_input.refused(lab, path)
    assert path in message and "must be a header" in message


def test_advice_is_for_inferred_types_alone():
    inferred = csv_types.Inferred("k", frozenset(["a"]), ())
    assert inferred.advice("b", pa.array(["x"]), pa.int64()) == ""
    assert inferred.advice_on_empty() == ""
    with pytest.raises(InputError, match="Columns: a, b"):
        csv_types.declared({"z": "int64"}, ["a", "b"], "k")
