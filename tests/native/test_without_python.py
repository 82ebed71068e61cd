"""A shipped model in a process that has no Python."""

import hashlib
import os
import pathlib
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf

from serving import logged_requests
from serving import replay_process
from serving import validation_checks
from tests.support import shipped
from tests.support import source_imports

SOURCE = pathlib.Path(__file__).with_name("predict.cc")


@pytest.fixture(scope="session")
def program():
    """The compiled program; kept until it or TensorFlow changes."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no C++ compiler, {compiler}")
    folder = pathlib.Path(tf.sysconfig.get_lib())
    words = [compiler, "-O0", "-g0", "-w", *tf.sysconfig.get_compile_flags()]
    # Nothing of ours names the library's registrations, which only loading
    # it makes.
    words += [str(SOURCE), f"-L{folder}", "-Wl,--no-as-needed"]
    words += ["-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2"]
    words += [f"-Wl,-rpath,{folder}", "-o"]
    key = hashlib.sha256(
        f"{words} {tf.version.VERSION}".encode() + SOURCE.read_bytes()
    )
    root = pathlib.Path(
        os.environ.get(
            "TFPLUGIN_ENGINES", str(source_imports.CHECKOUT / ".engines")
        )
    )
    made = root / "native" / f"predict-{key.hexdigest()[:16]}"
    if not made.is_file():
        made.parent.mkdir(parents=True, exist_ok=True)
        part = made.with_name(f"{made.name}.{os.getpid()}")
        subprocess.run([*words, str(part)], check=True, timeout=300)
        part.replace(made)
    return made


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return shipped.once(tmp_path_factory)


def _run(program, model, requests, folder):
    with tf.io.TFRecordWriter(str(folder / "requests")) as writer:
        for request in requests:
            writer.write(replay_process.encode(request))
    ended = subprocess.run(
        [program, model, folder / "requests", folder / "answers"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=folder,
        env={"TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    return ended


def _answers(folder):
    records = tf.data.TFRecordDataset(str(folder / "answers"))
    return [replay_process.decode(r.numpy()) for r in records.skip(1)]


def test_the_program_has_no_python(program):
    linked = subprocess.run(
        ["ldd", program], capture_output=True, text=True, check=True
    ).stdout
    assert "libtensorflow_cc" in linked
    assert "python" not in linked.replace("/python3", "/")


def test_it_answers_as_training_does(program, model, tmp_path):
    stored = logged_requests.read(
        str(model / validation_checks.GOLDEN),
        {
            f"{kind}_{name}": "inputs"
            for kind in ("classify", "regress")
            for name in ("click", "buy")
        },
        limit=100,
    )
    assert len(stored) == 6
    requests = [one.request for one in stored]
    ended = _run(program, model, requests, tmp_path)
    assert ended.returncode == 0, ended.stderr
    for one, answer in zip(stored, _answers(tmp_path), strict=True):
        assert answer.error == ""
        assert set(answer.outputs) == set(one.expected)
        for name, expected in one.expected.items():
            found = answer.outputs[name].numpy()
            assert len(found) == shipped.ROWS
            if name == "classes":
                assert found.tolist() == expected.tolist()
            else:
                np.testing.assert_allclose(found, expected, atol=1e-5)


def test_errors_are_answers(program, model, tmp_path):
    requests = [
        replay_process.Request("nothing", {}),
        replay_process.Request("examples", {"examples": tf.constant([b"?"])}),
        replay_process.Request("examples", {"examples": tf.constant([b""])}),
    ]
    assert _run(program, model, requests, tmp_path).returncode == 0
    answers = _answers(tmp_path)
    assert "nothing" in answers[0].error
    assert "Example" in answers[1].error
    assert answers[2].outputs["click"].shape == (1,)
    missing = _run(program, tmp_path / "absent", [], tmp_path)
    assert missing.returncode == 3
    assert "absent" in missing.stderr
