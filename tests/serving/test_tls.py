import datetime
import ipaddress

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
