"""Commands on a trained work folder, whole and damaged, in this process."""

import json
import os
import pathlib
import shutil
import signal
import socket
import threading

import pytest

from tests.cli import shop
from tfplugin import artifacts


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A configuration and a work folder, trained for one epoch."""
    folder = tmp_path_factory.mktemp("trained")
    config = shop.write(folder)
    for command in ("preprocess", "train"):
        ended = shop.run(command, "--config", config, "--workdir", folder / "W")
        assert ended.status == 0, ended.err
    return config, folder / "W"


@pytest.fixture
def copied(trained, tmp_path):
    """A copy that a test may damage."""
    config, work = trained
    return config, shutil.copytree(work, tmp_path / "W")


def _first(folder: pathlib.Path, glob: str) -> pathlib.Path:
    return min(folder.glob(glob))


def _flip(path: pathlib.Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _cut(path: pathlib.Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _garbage(path: pathlib.Path) -> None:
    path.write_bytes(b"\x00\xffgarbage{")


def _commands(config, work):
    yield "train", "--config", config, "--workdir", work, "--overwrite"
    yield "evaluate", "--workdir", work
    yield "export", "--workdir", work


@pytest.mark.parametrize(
    ("glob", "damage"),
    [
        ("dataset/train/*", _cut),
        ("dataset/test/*", _flip),
        ("dataset/train/*", pathlib.Path.unlink),
        ("dataset/id_frequencies/user/*", _garbage),
        ("dataset/id_frequencies/user/*", _cut),
        ("dataset/schema.json", _cut),
        ("dataset/schema.json", pathlib.Path.unlink),
        ("dataset/statistics.json", _garbage),
    ],
)
def test_a_damaged_dataset_is_refused(copied, glob, damage):
    config, work = copied
    path = _first(work, glob)
    damage(path)
    trained_files = sorted((work / "checkpoints").iterdir())
    for words in _commands(config, work):
        ended = shop.run(*words)
        name = path.name if "id_freq" not in glob else "id_frequencies/user"
        # Its checksum stands for the dataset a model was trained on.
        name = "dataset" if "statistics" in glob else name
        shop.check_refused(ended, name)
    assert sorted((work / "checkpoints").iterdir()) == trained_files
    assert not (work / "model").exists()


@pytest.mark.parametrize(
    ("glob", "damage"),
    [
        ("checkpoints/*.data-*", _cut),
        ("checkpoints/*.data-*", _flip),
        ("checkpoints/*.data-*", pathlib.Path.unlink),
        ("checkpoints/*.index", _cut),
        ("checkpoints/*.index", _flip),
        ("checkpoints/*.index", pathlib.Path.unlink),
        ("checkpoints/checkpoint", _garbage),
        ("checkpoints/checkpoint", pathlib.Path.unlink),
        ("checkpoints", shutil.rmtree),
    ],
)
def test_a_damaged_checkpoint_is_refused(copied, glob, damage):
    config, work = copied
    damage(_first(work, glob))
    shop.check_refused(shop.run("evaluate", "--workdir", work), "checkpoint")


def test_a_model_of_another_dataset_is_refused(copied):
    config, work = copied
    ended = shop.run(
        "preprocess",
        "--config",
        config,
        "--workdir",
        work,
        "--overwrite",
        "--set",
        "split.test=0.3",
    )
    assert ended.status == 0, ended.err
    for command in ("evaluate", "export"):
        ended = shop.run(command, "--workdir", work)
        shop.check_refused(ended, "dataset", "train --overwrite")
    ended = shop.run("train", "--config", config, "--workdir", work, "--resume")
    shop.check_refused(ended, "--overwrite")


def test_training_cut_off_in_its_test_may_be_resumed(copied):
    config, work = copied
    path = work / "history.json"
    history = json.loads(path.read_text())
    expected = history["test"]
    expected["telemetry"].pop("seconds")
    path.write_text(json.dumps(history | {"finished": False, "test": None}))
    ended = shop.run("train", "--config", config, "--workdir", work, "--resume")
    assert ended.status == 0, ended.err
    resumed = json.loads(path.read_text())
    resumed["test"]["telemetry"].pop("seconds")
    assert resumed["finished"] and resumed["test"] == expected
    assert len(resumed["epochs"]) == 1
    ended = shop.run("train", "--config", config, "--workdir", work, "--resume")
    shop.check_refused(ended, "training.epochs")


def test_an_interrupted_training_says_so_and_may_be_resumed(copied):
    config, work = copied
    (work / "history.json").unlink()
    shutil.rmtree(work / "checkpoints")
    ended = threading.Event()

    def interrupt() -> None:
        # The list of checkpoints: one epoch is behind.
        while not (work / "checkpoints/checkpoint").exists():
            if ended.wait(0.005):
                return
        os.kill(os.getpid(), signal.SIGINT)

    watcher = threading.Thread(target=interrupt)
    watcher.start()
    words = ("train", "--config", config, "--workdir", work, "--set")
    try:
        interrupted = shop.run(*words, "training.epochs=5000")
    finally:
        ended.set()
        watcher.join()
    assert interrupted.status == 130
    assert interrupted.err == "tfplugin: Interrupted.\n"
    history = json.loads((work / "history.json").read_text())
    assert not history["finished"]
    done = len(history["epochs"])
    shop.check_refused(shop.run("evaluate", "--workdir", work), "--resume")
    resumed = shop.run(*words, f"training.epochs={done + 1}", "--resume")
    assert resumed.status == 0, resumed.err
    history = json.loads((work / "history.json").read_text())
    assert [e["epoch"] for e in history["epochs"]] == [*range(1, done + 2)]


def test_one_command_at_a_time(trained):
    config, work = trained
    with artifacts.WorkFolder(work).lock():
        for words in (
            *_commands(config, work),
            ("report", "--workdir", work),
            (
                "preprocess",
                "--config",
                config,
                "--workdir",
                work,
                "--overwrite",
            ),
        ):
            shop.check_refused(shop.run(*words), str(work), "another")


def test_the_validation_split_may_be_evaluated(trained):
    _, work = trained
    ended = shop.run("evaluate", "--workdir", work, "--split", "validation")
    assert ended.status == 0, ended.err
    assert "Validation split, 30 rows" in ended.out
    written = json.loads((work / "evaluation.json").read_text())
    assert (written["split"], written["rows"]) == ("validation", 30)
    history = json.loads((work / "history.json").read_text())
    expected = history["epochs"][-1]["validation"]["objectives"]
    for objective, metrics in written["objectives"].items():
        assert metrics == pytest.approx(expected[objective])


def test_a_damaged_model_is_refused(copied):
    _, work = copied
    version = work / "model/1"
    version.mkdir(parents=True)
    _garbage(version / "saved_model.pb")
    ended = shop.run(
        "serve", "--workdir", work, "--rest-port", 0, "--grpc-port", 0
    )
    shop.check_refused(ended, "model/1")


@pytest.mark.parametrize("kind", ["rest", "grpc"])
def test_a_port_in_use_is_refused(copied, kind):
    _, work = copied
    version = work / "model/1"
    version.mkdir(parents=True)
    _garbage(version / "saved_model.pb")
    other = {"rest": "grpc", "grpc": "rest"}[kind]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = shop.run(
            "serve",
            "--workdir",
            work,
            f"--{kind}-port",
            port,
            f"--{other}-port",
            0,
        )
    shop.check_refused(ended, f"{kind}_port", str(port))
