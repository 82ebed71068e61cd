import datetime
import ipaddress
import logging
import pathlib
import shutil
import socket
import ssl

import grpc
import numpy as np
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving import model_config
from serving import server as server_lib
from serving import server_options
from tests.serving import conftest
from tfplugin import errors


def make_certificate(folder, name, signer=None):
    """Writes NAME.key and NAME.crt; signs itself without a signer."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    issuer, issuer_key = signer or (subject, key)
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(
            x509.BasicConstraints(ca=signer is None, path_length=None),
            critical=True,
        )
        .sign(issuer_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / f"{name}.crt").write_bytes(certificate.public_bytes(pem))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(
            pem,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return subject, key


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    authority = make_certificate(folder, "authority")
    make_certificate(folder, "server", authority)
    make_certificate(folder, "client", authority)
    make_certificate(folder, "stranger")
    return folder


def make_server(base, certificates, client_ca=None):
    tls = server_options.Tls(
        str(certificates / "server.crt"),
        str(certificates / "server.key"),
        client_ca and str(client_ca),
    )
    return server_lib.Server(
        model_config.of_one_model("log", base),
        server_options.ServerOptions(0, 0, tls=tls),
    )


def predict(server, credentials):
    address = f"127.0.0.1:{server.grpc_port}"
    with grpc.secure_channel(address, credentials) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        rows = {"x": np.float32([1.0])}
        request = conftest.predict_request(rows, "log")
        return stub.Predict(request, timeout=20).outputs["y"].float_val[0]


def test_both_protocols_are_encrypted(logarithm_base, certificates):
    authority = certificates / "authority.crt"
    with make_server(logarithm_base, certificates) as server:
        credentials = grpc.ssl_channel_credentials(authority.read_bytes())
        assert predict(server, credentials) == 0.0
        url = f"https://127.0.0.1:{server.rest_port}/v1/models/log"
        response = requests.get(url, verify=str(authority), timeout=20)
        assert response.status_code == 200
        with pytest.raises(requests.ConnectionError):
            requests.get(url.replace("https", "http"), timeout=20)
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(url, timeout=20)


def test_clients_show_a_certificate(logarithm_base, certificates):
    authority = certificates / "authority.crt"
    with make_server(logarithm_base, certificates, authority) as server:
        url = f"https://127.0.0.1:{server.rest_port}/v1/models/log"
        for name, taken in (("client", True), ("stranger", False)):
            pair = [certificates / f"{name}.{end}" for end in ("crt", "key")]
            credentials = grpc.ssl_channel_credentials(
                authority.read_bytes(),
                private_key=pair[1].read_bytes(),
                certificate_chain=pair[0].read_bytes(),
            )
            arguments = {"verify": str(authority), "timeout": 20}
            if taken:
                assert predict(server, credentials) == 0.0
                response = requests.get(
                    url, cert=tuple(map(str, pair)), **arguments
                )
                assert response.status_code == 200
                continue
            with pytest.raises(grpc.RpcError):
                predict(server, credentials)
            with pytest.raises(requests.ConnectionError):
                requests.get(url, cert=tuple(map(str, pair)), **arguments)


@pytest.fixture
def rotating(certificates, tmp_path):
    """A folder like `certificates`, whose files may be replaced."""
    return pathlib.Path(shutil.copytree(certificates, tmp_path / "rotating"))


def shown(port, cafile):
    """The certificate a new connection is shown, in PEM."""
    context = ssl.create_default_context(cafile=cafile)
    context.set_alpn_protocols(["h2"])
    address = ("127.0.0.1", port)
    with (
        socket.create_connection(address, timeout=60) as plain,
        context.wrap_socket(plain, server_hostname=address[0]) as connection,
    ):
        return connection.getpeercert()["subject"][0][0][1]


def test_new_certificates_are_taken_up(logarithm_base, rotating):
    before = rotating / "before.crt"
    shutil.copy(rotating / "authority.crt", before)
    with make_server(logarithm_base, rotating) as server:
        address = f"127.0.0.1:{server.grpc_port}"
        url = f"https://127.0.0.1:{server.rest_port}/v1/models/log"
        ports = (server.rest_port, server.grpc_port)
        arguments = {"verify": str(before), "timeout": 60}
        credentials = grpc.ssl_channel_credentials(before.read_bytes())
        request = conftest.predict_request({"x": np.float32([1.0])}, "log")
        with (
            grpc.secure_channel(address, credentials) as channel,
            requests.Session() as session,
        ):
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            assert stub.Predict(request, timeout=60)
            assert session.get(url, **arguments).status_code == 200
            authority = make_certificate(rotating, "authority")
            make_certificate(rotating, "renewed", authority)
            for end in ("crt", "key"):
                (rotating / f"renewed.{end}").replace(
                    rotating / f"server.{end}"
                )
            for port in ports:
                assert shown(port, rotating / "authority.crt") == "renewed"
                with pytest.raises(ssl.SSLCertVerificationError):
                    shown(port, before)
            # Those that are open know nothing of it.
            assert stub.Predict(request, timeout=60)
            assert session.get(url, **arguments).status_code == 200


def test_new_authorities_of_clients_are_taken_up(logarithm_base, rotating):
    clients = rotating / "clients.crt"
    shutil.copy(rotating / "authority.crt", clients)
    authority = rotating / "authority.crt"
    pair = (str(rotating / "stranger.crt"), str(rotating / "stranger.key"))
    credentials = grpc.ssl_channel_credentials(
        authority.read_bytes(),
        private_key=pathlib.Path(pair[1]).read_bytes(),
        certificate_chain=pathlib.Path(pair[0]).read_bytes(),
    )
    with make_server(logarithm_base, rotating, clients) as server:
        url = f"https://127.0.0.1:{server.rest_port}/v1/models/log"
        arguments = {"verify": str(authority), "cert": pair, "timeout": 60}
        with pytest.raises(requests.ConnectionError):
            requests.get(url, **arguments)
        shutil.copy(rotating / "stranger.crt", clients)
        assert requests.get(url, **arguments).status_code == 200
        assert predict(server, credentials) == 0.0


def test_a_session_does_not_outlive_its_authority(logarithm_base, rotating):
    clients = rotating / "clients.crt"
    shutil.copy(rotating / "authority.crt", clients)
    context = ssl.create_default_context(cafile=rotating / "authority.crt")
    context.load_cert_chain(rotating / "client.crt", rotating / "client.key")
    old = ssl.create_default_context(cafile=rotating / "authority.crt")
    old.load_cert_chain(rotating / "client.crt", rotating / "client.key")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with make_server(logarithm_base, rotating, clients) as server:

        def status(session, context=context):
            address = ("127.0.0.1", server.rest_port)
            with (
                socket.create_connection(address, 20) as plain,
                context.wrap_socket(
                    plain, server_hostname="127.0.0.1", session=session
                ) as encrypted,
            ):
                encrypted.sendall(
                    b"GET /v1/models/log HTTP/1.1\r\nHost: localhost\r\n"
                    b"Connection: close\r\n\r\n"
                )
                return encrypted.recv(12), encrypted.session

        answer, session = status(None)
        assert answer == b"HTTP/1.1 200"
        with pytest.raises(ssl.SSLError):
            status(None, old)
        shutil.copy(rotating / "stranger.crt", clients)
        try:
            answer, _ = status(session)
        except OSError:
            return
        # To a client of TLS 1.3 its end of the handshake looks complete.
        assert answer == b""


def test_bad_new_certificates_are_not_taken(logarithm_base, rotating, caplog):
    caplog.set_level(logging.INFO, "serving")
    authority = rotating / "authority.crt"
    with make_server(logarithm_base, rotating) as server:
        ports = (server.rest_port, server.grpc_port)

        def names():
            return [shown(port, authority) for port in ports]

        def warnings():
            return [
                record.getMessage()
                for record in caplog.records
                if record.levelno == logging.WARNING
            ]

        # The client's key does not fit the server's certificate.
        shutil.copy(rotating / "client.key", rotating / "server.key")
        assert names() + names() == ["server"] * 4
        assert len(warnings()) == 1
        assert "KEY_VALUES_MISMATCH" in warnings()[0]
        # An absent file is another reason, and now the pair is whole again.
        (rotating / "server.crt").unlink()
        assert names() + names() == ["server"] * 4
        assert len(warnings()) == 2
        assert "No such file" in warnings()[1]
        shutil.copy(rotating / "client.crt", rotating / "server.crt")
        assert names() == ["client"] * 2
        assert len(warnings()) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"certificate": "none.crt"}, "certificate='.*none.crt' .No such"),
        ({"key": "none.key"}, "key='.*none.key'"),
        ({"key": "client.key"}, "its own PEM key"),
        ({"certificate": "server.key"}, "A PEM certificate"),
        ({"client_ca": "none.crt"}, "client_ca='.*none.crt'"),
        ({"client_ca": "server.key"}, "must be PEM"),
    ],
)
def test_files_that_do_not_fit(logarithm_base, certificates, change, message):
    names = {"certificate": "server.crt", "key": "server.key"} | change
    tls = server_options.Tls(
        **{key: str(certificates / name) for key, name in names.items()}
    )
    server = server_lib.Server(
        model_config.of_one_model("log", logarithm_base),
        server_options.ServerOptions(0, 0, tls=tls),
    )
    with pytest.raises(errors.InputError, match=message):
        server.start()
