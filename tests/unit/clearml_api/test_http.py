"""What is wrong with a server's certificate is reported, and proxies are looked up once."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from autoinstrument.clearml_api.http import UnreadableError, bound
from tests.clearml_server import ClearMLServer

DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.timezone.utc)
LOOPBACK = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


def certificate(path: Path, begin: datetime.datetime, end: datetime.datetime, host: x509.GeneralName) -> Path:
    """Write a file with a key and a certificate that it has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "server")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), begin, end)
        .add_extension(x509.SubjectAlternativeName([host]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(secret + made.public_bytes(pem))
    return path


@contextmanager
def serving(certificate: Path) -> Iterator[str]:
    """Greet each client with the certificate, and close the connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                with suppress(OSError), context.wrap_socket(client, server_side=True):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("made", "is_known", "problem"),
    [
        (lambda path: certificate(path, NOW - DAY, NOW + DAY, LOOPBACK), False, "is not trusted here"),
        (lambda path: certificate(path, NOW - 2 * DAY, NOW - DAY, LOOPBACK), True, "has expired"),
        (lambda path: certificate(path, NOW + DAY, NOW + 2 * DAY, LOOPBACK), True, "is not valid yet"),
        (
            lambda path: certificate(path, NOW - DAY, NOW + DAY, x509.DNSName("other.example.com")),
            True,
            "is that of another host",
        ),
    ],
)
def test_a_certificate_that_is_refused(
    tmp_path: Path, made: Callable[[Path], Path], is_known: bool, problem: str
) -> None:
    file = made(tmp_path / "server.pem")
    session = requests.Session()
    bound(session)
    with serving(file) as address, pytest.raises(UnreadableError) as raised:
        session.get(address, verify=str(file) if is_known else True, timeout=30)
    assert str(raised.value) == f"its certificate {problem}"


def test_proxies_are_looked_up_once_for_each_server(server: ClearMLServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """In all variables of the process, which may be hundreds."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        looked_up, look_up = [], requests.sessions.get_environ_proxies

        def noted(url: str, **options: str) -> dict[str, str]:
            looked_up.append(url)
            return look_up(url, **options)

        monkeypatch.setattr(requests.sessions, "get_environ_proxies", noted)
        with requests.Session() as session:
            bound(session)
            bound(session)
            for _ in range(3):
                assert session.get(f"{server.api_url}/debug.ping").ok
            assert len(looked_up) == 1
            for _ in range(2):
                with pytest.raises(requests.exceptions.ProxyError):
                    session.get("http://localhost:1/")
            assert len(looked_up) == 2
