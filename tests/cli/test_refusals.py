"""What is refused before TensorFlow is loaded: one line, status 2."""

import gzip
import json
import pathlib
import re
import shutil
from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.cli import shop
from tests.support import experiments

Change = Callable[[pathlib.Path], object]


class Case(NamedTuple):
    words: str | list[str]
    says: tuple[str, ...]
    change: Change = lambda folder: None


def _log(*lines: str, header: str = shop.HEADER) -> Change:
    text = "\n".join((header, *lines)) + "\n"
    return lambda folder: (folder / "log.csv").write_text(text, "utf-8")


def _extended(*lines: str) -> Change:
    def change(folder: pathlib.Path) -> None:
        with (folder / "log.csv").open("a", encoding="utf-8") as log:
            log.write("\n".join(lines) + "\n")

    return change


def _write(name: str, content: str | bytes) -> Change:
    def change(folder: pathlib.Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        raw = content.encode() if isinstance(content, str) else content
        path.write_bytes(raw)

    return change


def _in_yaml(old: str, new: str) -> Change:
    def change(folder: pathlib.Path) -> None:
        path = folder / "shop.yaml"
        text = path.read_text("utf-8")
        assert old in text
        path.write_text(text.replace(old, new), "utf-8")

    return change


def _truncated_gzip(folder: pathlib.Path) -> None:
    whole = gzip.compress((folder / "log.csv").read_bytes())
    (folder / "log.csv.gz").write_bytes(whole[: len(whole) // 2])


def _work(*steps: Change) -> Change:
    """A finished dataset in W, then changed."""

    def change(folder: pathlib.Path) -> None:
        _, work = experiments.make(folder)
        work.path.rename(folder / "W")
        for step in steps:
            step(folder)

    return change


def _history(**content: object) -> Change:
    return _write("W/history.json", json.dumps(content))


_PREPROCESS = "preprocess --config F/shop.yaml --workdir F/W"
_TRAIN = "train --config F/small.yaml --workdir F/W"
_FINISHED = _history(finished=True, epochs=[{}])
_CUT_OFF = _history(finished=False, epochs=[{}])

CASES = {
    # Words.
    "wrong command": Case("trian --workdir F/W", ("trian",)),
    "wrong option": Case(_PREPROCESS + " --overwite", ("--overwite",)),
    "missing option": Case("preprocess --config F/shop.yaml", ("--workdir",)),
    "option without value": Case("evaluate --workdir", ("--workdir",)),
    "stray word": Case(_PREPROCESS + " more", ("more",)),
    "option twice": Case(
        _PREPROCESS + " --config=F/other.yaml", ("--config", "twice")
    ),
    "wrong split": Case(
        "evaluate --workdir F/W --split train", ("--split", "train")
    ),
    "port out of range": Case(
        "serve --workdir F/W --rest-port 70000", ("--rest-port",)
    ),
    "version zero": Case("export --workdir F/W --version 0", ("--version",)),
    "beam options elsewhere": Case(
        "evaluate --workdir F/W -- --runner=X", ("preprocess", "--runner=X")
    ),
    # Configuration.
    "no configuration": Case(
        "preprocess --config F/no.yaml --workdir F/W", ("no.yaml",)
    ),
    "configuration is a folder": Case(
        "preprocess --config F --workdir F/W", ("F must be a YAML file",)
    ),
    "configuration is no yaml": Case(
        _PREPROCESS, ("shop.yaml",), _write("shop.yaml", "a: [1, 2\nb: 3\n")
    ),
    "configuration is binary": Case(
        _PREPROCESS, ("shop.yaml",), _write("shop.yaml", b"\xff\xfe\x00")
    ),
    "configuration is empty": Case(
        _PREPROCESS, ("shop.yaml",), _write("shop.yaml", "")
    ),
    "key twice in yaml": Case(
        _PREPROCESS,
        ("shop.yaml", "`city`", "twice"),
        _in_yaml("  price:", "  city: {type: id, dtype: int64}\n  price:"),
    ),
    "unknown key": Case(
        _PREPROCESS + " --set training.epoch=3",
        ("training.epoch", "`epochs`"),
    ),
    "unknown section": Case(
        _PREPROCESS + " --set trainig.epochs=3", ("trainig", "`training`")
    ),
    "wrong type": Case(
        _PREPROCESS + " --set training.epochs=many",
        ("training.epochs", "many"),
    ),
    "section is a value": Case(
        _PREPROCESS + " --set training=3", ("training", "3")
    ),
    "wrong choice": Case(
        _PREPROCESS + " --set features.user.dtype=int32",
        ("features.user.dtype", "int32"),
    ),
    "wrong feature type": Case(
        _PREPROCESS + " --set features.user.type=ids", ("features.user", "ids")
    ),
    "no value": Case(_PREPROCESS + " --set split=", ("split",)),
    "table of no feature": Case(
        _PREPROCESS + " --set tables.usr.min_count=2", ("usr", "user")
    ),
    "set without equals": Case(
        _PREPROCESS + " --set training.epochs", ("--set", "training.epochs")
    ),
    "set without key": Case(_PREPROCESS + " --set =3", ("--set", "=3")),
    "set below a value": Case(
        _PREPROCESS + " --set training.epochs.x=3", ("training.epochs.x",)
    ),
    "set with bad yaml": Case(
        _PREPROCESS + " --set training.epochs=[", ("training.epochs",)
    ),
    "set below a list": Case(
        _PREPROCESS + " --set source.files.0=x", ("source.files.0",)
    ),
    "name with a space": Case(_PREPROCESS + " --set name=a|b", ("a|b",)),
    # Work folder.
    "work folder of others": Case(
        _PREPROCESS, ("F/W", "--workdir"), _write("W/thesis.txt", "mine")
    ),
    "work folder is a file": Case(
        _PREPROCESS, ("F/W", "--workdir"), _write("W", "mine")
    ),
    "work folder below a file": Case(
        "preprocess --config F/shop.yaml --workdir F/log.csv/W", ("log.csv/W",)
    ),
    # Log.
    "no log": Case(
        _PREPROCESS + " --set source.files=F/no.csv", ("source.files", "no.csv")
    ),
    "empty glob": Case(
        _PREPROCESS + " --set source.files=F/no-*.csv",
        ("source.files", "no-*.csv"),
    ),
    "empty file": Case(_PREPROCESS, ("log.csv",), _write("log.csv", "")),
    "header only": Case(_PREPROCESS, ("log",), _log()),
    "truncated gzip": Case(
        _PREPROCESS + " --set source.files=F/log.csv.gz",
        ("log.csv.gz",),
        _truncated_gzip,
    ),
    "no gzip": Case(
        _PREPROCESS + " --set source.files=F/log.csv.gz",
        ("log.csv.gz",),
        _write("log.csv.gz", "user,city\n"),
    ),
    "no parquet": Case(
        _PREPROCESS + " --set source.format=parquet", ("log.csv",)
    ),
    "column absent": Case(
        _PREPROCESS + " --set features.user.column=usr", ("usr",)
    ),
    "label column absent": Case(
        _PREPROCESS + " --set labels.click.column=clik", ("clik",)
    ),
    "mask absent": Case(_PREPROCESS + " --set labels.buy.mask=sen", ("sen",)),
    "time absent": Case(_PREPROCESS + " --set event_time=tss", ("tss",)),
    "too few columns": Case(
        _PREPROCESS, ("log.csv", "max_rejected"), _extended("7,Bern,3.5")
    ),
    "label of two": Case(
        _PREPROCESS,
        ("log.csv", "click"),
        _extended("7,Bern,3.5,1700000100,2,0,1"),
    ),
    "id beyond int64": Case(
        _PREPROCESS,
        ("log.csv", "user"),
        _extended("9223372036854775808,Bern,3.5,1700000100,1,0,1"),
    ),
    "id of letters": Case(
        _PREPROCESS,
        ("log.csv", "user"),
        _extended("seven,Bern,3.5,1700000100,1,0,1"),
    ),
    "wrong sql": Case(
        _PREPROCESS + " --set source.select=SELEC", ("source.select", "SELEC")
    ),
    "sql without a column": Case(
        [*_PREPROCESS.split(), "--set", "source.select=SELECT user FROM log"],
        ("city",),
    ),
    # Beam.
    "unknown runner": Case(
        _PREPROCESS + " -- --runner=Nonesuch", ("Nonesuch",)
    ),
    "beam option without value": Case(
        _PREPROCESS + " -- --job_name", ("--job_name",)
    ),
    # State.
    "preprocess again": Case(
        "preprocess --config F/small.yaml --workdir F/W",
        ("--overwrite", "COMPLETED"),
        _work(),
    ),
    "train again": Case(
        _TRAIN, ("--overwrite", "history.json"), _work(_FINISHED)
    ),
    "train resumed and anew": Case(
        _TRAIN + " --resume --overwrite", ("--resume", "--overwrite"), _work()
    ),
    "train on nothing": Case(_TRAIN.replace("small", "shop"), ("preprocess",)),
    "train without dataset": Case(
        _TRAIN,
        ("F/W/dataset", "preprocess"),
        _work(lambda folder: shutil.rmtree(folder / "W/dataset")),
    ),
    "train on unfinished dataset": Case(
        _TRAIN,
        ("unfinished", "COMPLETED"),
        _work(lambda folder: (folder / "W/dataset/COMPLETED").unlink()),
    ),
    "evaluate nothing": Case("evaluate --workdir F/W", ("F/W",)),
    "report nothing": Case("report --workdir F/W", ("F/W",)),
    "export nothing": Case("export --workdir F/W", ("F/W",)),
    "serve nothing": Case("serve --workdir F/W", ("F/W",)),
    "evaluate untrained": Case(
        "evaluate --workdir F/W", ("history.json", "train"), _work()
    ),
    "export untrained": Case(
        "export --workdir F/W", ("history.json", "train"), _work()
    ),
    "evaluate unfinished": Case(
        "evaluate --workdir F/W", ("--resume",), _work(_CUT_OFF)
    ),
    "export unfinished": Case(
        "export --workdir F/W", ("--resume",), _work(_CUT_OFF)
    ),
    "damaged history": Case(
        "evaluate --workdir F/W",
        ("history.json",),
        _work(_write("W/history.json", '{"finished": tr')),
    ),
    "serve without model": Case(
        "serve --workdir F/W", ("F/W/model", "export"), _work(_FINISHED)
    ),
    "export again": Case(
        "export --workdir F/W --version 3",
        ("F/W/model/3", "--overwrite"),
        _work(_FINISHED, _write("W/model/3/saved_model.pb", "")),
    ),
    "damaged config.yaml": Case(
        "serve --workdir F/W",
        ("W/config.yaml",),
        _work(_write("W/config.yaml", "name: x\n")),
    ),
}


def _words(case: Case, folder: pathlib.Path) -> list[str]:
    words = case.words.split() if isinstance(case.words, str) else case.words
    return [re.sub(r"^F\b|(?<==)F\b", str(folder), word) for word in words]


def _content(folder: pathlib.Path) -> dict[pathlib.Path, bytes]:
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    """How each case ended: all of them in one process without TensorFlow."""
    base = tmp_path_factory.mktemp("refused")
    lines, before = [], {}
    for index, (name, case) in enumerate(CASES.items()):
        folder = base / str(index)
        shop.write(folder)
        case.change(folder)
        before[name] = folder, _content(folder)
        lines.append(_words(case, folder))
    ended = shop.run_in_one_process(lines)
    return {
        name: (*before[name], ended[index]) for index, name in enumerate(CASES)
    }


@pytest.mark.parametrize("name", CASES)
def test_refused(refused, name):
    folder, before, ended = refused[name]
    says = [re.sub(r"^F\b", str(folder), text) for text in CASES[name].says]
    shop.check_refused(ended, *says)
    assert ended.loaded == []
    after = _content(folder)
    assert all(after[path] == before[path] for path in before)
    new = {path.as_posix() for path in after.keys() - before.keys()}
    # Rows are refused while they are read; what is left is no dataset.
    assert not new & {"W/dataset/COMPLETED", "W/history.json"}
    if not any("/rejected/" in path for path in new):
        assert new <= {"W/config.yaml"}
