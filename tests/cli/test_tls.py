"""Connections with TLS: what the URL or the environment says of it reaches libpq, here in front of a real server.

A proxy ends TLS as a server does, since the embedded database has none.
"""

import socket
import ssl
import threading
from collections.abc import Generator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tapehouse import embedded
from tests.cli.conftest import Cli

_SSL_REQUEST = (8).to_bytes(4) + (80877103).to_bytes(4)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 that signs itself, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tapehouse")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def tls_url(database: embedded.EmbeddedStatus, certificate: Path) -> Generator[str]:
    """The database behind TLS; the URL says nothing of how."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    parts = conninfo_to_dict(database.url or "")
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_serve, args=(server, context, int(str(parts["port"]))), daemon=True).start()
        del parts["sslmode"]
        yield make_conninfo("", **parts | {"port": server.getsockname()[1]})
        server.shutdown(socket.SHUT_RDWR)


def test_what_the_url_says_of_tls_is_what_is_done(cli: Cli, tls_url: str, certificate: Path, tmp_path: Path) -> None:
    trusted = cli("db", "status", "--url", make_conninfo(tls_url, sslmode="verify-full", sslrootcert=str(certificate)))
    stranger = tmp_path / "none.pem"
    stranger.write_bytes(certificate.read_bytes().split(b"-----BEGIN CERTIFICATE")[0])
    distrusted = cli("db", "status", "--url", make_conninfo(tls_url, sslmode="verify-full", sslrootcert=str(stranger)))
    missing = cli("db", "status", "--url", make_conninfo(tls_url, sslmode="verify-ca", sslrootcert="no/such/file"))

    assert trusted.exit_code == 0, trusted.output
    assert (distrusted.exit_code, missing.exit_code) == (4, 4)
    assert "root certificate" in distrusted.stderr
    assert 'root certificate file "no/such/file" does not exist' in missing.stderr


def test_what_the_environment_says_of_tls_is_what_is_done(
    cli: Cli, tls_url: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    monkeypatch.setenv("PGSSLROOTCERT", str(certificate))
    trusted = cli("coverage", "--url", tls_url)
    monkeypatch.setenv("PGSSLROOTCERT", "no/such/file")
    distrusted = cli("coverage", "--url", tls_url)

    assert (trusted.exit_code, distrusted.exit_code) == (0, 4), trusted.output


def test_a_server_without_tls_is_refused_where_tls_is_required(cli: Cli, database: embedded.EmbeddedStatus) -> None:
    result = cli("db", "status", "--url", make_conninfo(database.url or "", sslmode="require"))

    assert result.exit_code == 4
    assert "server does not support SSL, but SSL was required" in result.stderr


def _serve(server: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with suppress(OSError):
        while True:
            client, _ = server.accept()
            threading.Thread(target=_join, args=(client, context, port), daemon=True).start()


def _join(client: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with suppress(OSError), client, socket.create_connection(("127.0.0.1", port)) as database:
        if client.recv(8) != _SSL_REQUEST:
            return
        client.sendall(b"S")
        with context.wrap_socket(client, server_side=True) as secure:
            threading.Thread(target=_pass_on, args=(database, secure), daemon=True).start()
            _pass_on(secure, database)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
