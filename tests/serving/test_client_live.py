"""The client against real servers: encrypted, restarted, of an exported model.

What it asks of a server without these is in test_client.
"""

import dataclasses
import json
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf
from cryptography.hazmat.primitives import serialization

import serving
from serving import load_generator
from serving import load_requests
from tests.cli import shop
from tests.serving import conftest
from tests.serving import test_tls
from tests.support import shipped

SCHEMES = ["grpc", "http"]


def address(server, scheme):
    port = server.grpc_port if "grpc" in scheme else server.rest_port
    return f"{scheme}://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    authority = test_tls.make_certificate(folder, "authority")
    test_tls.make_certificate(folder, "server", authority)
    _, key = test_tls.make_certificate(folder, "client", authority)
    test_tls.make_certificate(folder, "stranger")
    (folder / "locked.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    return folder


@pytest.fixture(scope="module")
def encrypted(logarithm_base, files):
    """Asks for clients' certificates as well."""
    authority = files / "authority.crt"
    with test_tls.make_server(logarithm_base, files, authority) as server:
        yield server


def certificates(files, name="client", root="authority"):
    own = (str(files / f"{name}.{end}") for end in ("crt", "key"))
    return serving.ClientTls(str(files / f"{root}.crt"), *own)


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
def test_certificates(encrypted, files, scheme):
    url = address(encrypted, scheme)
    with serving.Client(url, "log", tls=certificates(files)) as client:
        found = client.predict({"x": [1.0, np.e]})["y"]
        assert client.status() == [serving.VersionStatus(1, "AVAILABLE")]
    np.testing.assert_allclose(found, [0.0, 1.0], rtol=1e-6)


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
@pytest.mark.parametrize("wrong", ["nobody", "stranger", "untrusted"])
def test_certificates_that_do_not_fit(encrypted, files, scheme, wrong):
    tls = {
        "nobody": serving.ClientTls(str(files / "authority.crt")),
        "stranger": certificates(files, "stranger"),
        "untrusted": certificates(files, root="stranger"),
    }[wrong]
    url = address(encrypted, scheme)
    with (
        serving.Client(url, "log", tls=tls, retries=0) as client,
        pytest.raises(serving.PredictionError) as caught,
    ):
        client.status()
    assert caught.value.code == "UNAVAILABLE"


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
@pytest.mark.parametrize(
    "change",
    [
        {"root_certificates": "none.crt"},
        {"root_certificates": "client.key"},
        {"certificate": "none.crt"},
        {"key": "stranger.key"},
    ],
)
def test_files_that_are_no_certificates(files, scheme, change):
    (name,) = change.values()
    tls = certificates(files)
    tls = dataclasses.replace(tls, **{key: str(files / name) for key in change})
    with pytest.raises(OSError, match=f"PEM files.*{name}"):
        serving.Client(f"{scheme}://127.0.0.1:1", "log", tls=tls)


def words_of(tls, **change):
    files = dataclasses.asdict(tls) | change
    return [
        word
        for name, file in files.items()
        if file
        for word in (f"--{name.replace('_', '-')}", file)
    ]


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
def test_commands_show_a_certificate(encrypted, files, tmp_path, scheme):
    path, numbers = tmp_path / "rows.jsonl", tmp_path / "load.json"
    path.write_text('{"x": 1.0}\n')
    url = address(encrypted, scheme)
    own = words_of(certificates(files))
    words = ("predict", url, "--model", "log", "--input", path)
    ended = shop.run(*words, *own)
    assert (ended.status, ended.out) == (0, '{"y": 0.0}\n'), ended
    ended = shop.run(
        *("bench-serve", url, "--model", "log", "--closed-loop", 1),
        *("--duration", 0.2, "--timeout", 60, "--output", numbers, *own),
    )
    assert ended.status == 0, ended
    found = json.loads(numbers.read_text())
    assert found["errors"] == {} and found["answered"] > 0
    # Without a certificate, and with one that the server does not know.
    nobody = serving.ClientTls(str(files / "authority.crt"))
    for tls in (nobody, certificates(files, "stranger")):
        ended = shop.run(*words, "--retries", 0, *words_of(tls))
        assert ended.status == 1
        assert "UNAVAILABLE" in ended.err
        assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
@pytest.mark.parametrize("command", ["predict", "bench-serve"])
def test_commands_refuse_certificates(files, command, scheme):
    url = f"{scheme}://127.0.0.1:1"
    rate = ("--rate", 1) if command == "bench-serve" else ()

    def refuse(*said, url=url, **change):
        words = words_of(certificates(files), **change)
        ended = shop.run(command, url, "--model", "log", *rate, *words)
        shop.check_refused(ended, *said)

    refuse("none.crt (No such file", root_certificates="none.crt")
    refuse("none.crt", "(No such file", certificate="none.crt")
    refuse("another certificate's", key=str(files / "stranger.key"))
    refuse("(no PEM)", certificate=str(files / "client.key"))
    refuse("(the key is encrypted)", key=str(files / "locked.key"))
    refuse("client.crt alone. Give both", key=None)
    refuse("client.key alone. Give both", certificate=None)
    plain = url.replace("s:", ":")
    refuse("encrypted address", plain, "client.crt", url=plain)


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
def test_a_load_is_encrypted(encrypted, files, scheme):
    target = load_requests.make_target(
        address(encrypted, scheme),
        "log",
        {"x": [1.0, 2.0]},
        1,
        connections=1,
        tls=certificates(files),
    )
    load = load_generator.Load(20.0, clients=1, requests=5)
    result = load_generator.run(target, load)
    assert (result.answered.sum(), result.errors) == (5, {})


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_server_that_dies_and_comes_back(logarithm_base, scheme):
    server = serving.ModelServer(logarithm_base, "log", 0, 0)
    ports = {}
    with server:
        ports = {"rest_port": server.rest_port, "grpc_port": server.grpc_port}
        client = serving.Client(
            address(server, scheme), "log", timeout_seconds=60.0, retries=50
        )
        assert client.predict({"x": [1.0]})["y"].tolist() == [0.0]
    found = []
    asking = threading.Thread(
        target=lambda: found.append(client.predict({"x": [1.0]})["y"].tolist())
    )
    with client:
        asking.start()
        # Long enough that the first attempt has met nobody.
        asking.join(0.2)
        assert asking.is_alive()
        with serving.ModelServer(logarithm_base, "log", **ports):
            asking.join(60.0)
    assert found == [[0.0]]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_server_that_stays_away(scheme):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with (
        serving.Client(
            f"{scheme}://127.0.0.1:{port}", "m", retries=1
        ) as client,
        pytest.raises(serving.PredictionError, match=str(port)) as caught,
    ):
        client.status()
    assert caught.value.code == "UNAVAILABLE"


def test_rest_of_a_port_that_speaks_grpc(ranker_server):
    url = f"http://127.0.0.1:{ranker_server.grpc_port}"
    with (
        serving.Client(url, "ranker", retries=0) as client,
        pytest.raises(serving.PredictionError, match="not speak HTTP/1") as one,
    ):
        client.status()
    assert one.value.code == "UNAVAILABLE"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_time_that_is_up(ranker_server, scheme):
    rows = conftest.make_rows(2)
    with serving.Client(address(ranker_server, scheme), "ranker") as client:
        client.metadata()
        with pytest.raises(serving.PredictionError) as caught:
            # Many, since a server may answer two rows in a millisecond.
            client.predict(conftest.make_rows(5000), timeout_seconds=1e-6)
        assert caught.value.code == "DEADLINE_EXCEEDED"
        assert len(client.predict(rows)["click"]) == 2


@pytest.mark.parametrize("scheme", SCHEMES)
def test_names_are_in_order(ranker_server, scheme):
    # Maps of protocol buffers come in another order each time.
    with serving.Client(address(ranker_server, scheme), "ranker") as client:
        outputs = list(client.predict(conftest.make_rows(1)))
        signature = client.signature()
    assert outputs == list(signature.outputs) == ["buy", "click"]
    assert list(signature.inputs) == sorted(signature.inputs)
    with (
        serving.Client(address(ranker_server, scheme), "ranker") as client,
        pytest.raises(ValueError, match=r"one of \['examples', 'serving_d"),
    ):
        client.predict({}, signature="none")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    model = shipped.work_once(tmp_path_factory).model
    with serving.ModelServer(model, "shop", 0, 0) as server:
        yield server


@pytest.mark.parametrize("scheme", SCHEMES)
def test_classify_and_regress(exported, scheme):
    rows = [{}, {"price": 2.5}, {"price": [0.25]}, {"price": None}]
    serialized = [
        tf.train.Example(features={"feature": {}}).SerializeToString(),
        tf.train.Example(
            features={"feature": {"price": {"float_list": {"value": [2.5]}}}}
        ).SerializeToString(),
    ]
    with serving.Client(
        address(exported, scheme), "shop", timeout_seconds=60.0
    ) as client:
        classes = client.classify(rows, signature="classify_buy")
        values = client.regress(rows, signature="regress_buy")
        again = client.regress(serialized, signature="regress_buy")
        predicted = client.predict(
            {"examples": serialized}, signature="examples"
        )["buy"]
        with pytest.raises(serving.PredictionError) as caught:
            client.regress(rows, signature="classify_buy")
    assert classes["classes"].tolist() == [[b"0", b"1"]] * 4
    np.testing.assert_allclose(classes["scores"].sum(axis=1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(classes["scores"][:, 1], values, rtol=1e-6)
    np.testing.assert_allclose(values[[0, 1]], again, rtol=1e-6)
    np.testing.assert_allclose(again, predicted, rtol=1e-6)
    assert values[0] == values[3] != values[1]
    assert caught.value.code in ("INVALID_ARGUMENT", "FAILED_PRECONDITION")


def test_commands_name_what_does_not_fit(exported, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"price": 1.0}\n')
    words = ("--model", "shop", "--input", path)
    ended = shop.run(
        *("predict", address(exported, "grpc"), *words),
        *("--signature", "classify_buy"),
    )
    shop.check_refused(ended, "serialized Examples", "jsonl", "--signature")
    ended = shop.run(
        *("predict", address(exported, "https"), *words),
        *("--root-certificates", "none.crt"),
    )
    shop.check_refused(ended, "PEM", "none.crt (No such file")
    shop.check_refused(
        shop.run("predict", "grpc://127.0.0.1:1", *words, "--none"),
        "--none",
        "`tfplugin predict --help`",
    )


def test_a_client_loads_no_tensorflow():
    code = (
        "import sys, serving\n"
        "serving.Client('http://127.0.0.1:1', 'm').close()\n"
        "serving.PredictionError, serving.ColumnError, serving.ClientTls\n"
        "print([m for m in ('tensorflow', 'grpc', 'aiohttp')"
        " if m in sys.modules], sorted(serving.__all__) == serving.__all__,"
        " 'Server' in dir(serving))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split("\n")[0] == "[] True True", done.stderr


def test_names_that_the_package_does_not_have():
    with pytest.raises(AttributeError, match="no attribute 'Servers'"):
        serving.Servers  # noqa: B018
    for name in serving.__all__:
        assert getattr(serving, name).__name__ == name
