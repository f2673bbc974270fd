"""TLS where vrm itself speaks it (`vrm serve --tls-self-signed`): version 1.3 and nothing older."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.serving import free_port

AUTHENTICATED = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}


def handshake(port: int, version: ssl.TLSVersion) -> str:
    """The cipher that was agreed on; OSError (ssl.SSLError) where none was."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")  # whatever there is
    context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain) as secured,
    ):
        secured.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert secured.recv(9) == b"HTTP/1.1 "
        agreed = secured.cipher()
    assert agreed
    return agreed[0]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where a vault is served with a certificate made for this run."""
    free, folder = free_port(), tmp_path_factory.mktemp("tls")
    command = [sys.executable, "-m", "vrm", "serve", "--port", str(free), "--tls-self-signed"]
    environ = {**os.environ, "VRM_DATA_DIR": str(folder / "data"), "VRM_WORKERS": "1"}
    log: Path = folder / "server.log"
    with log.open("wb") as out, subprocess.Popen(command, env=environ, stdout=out, stderr=out) as running:
        try:
            for _ in range(400):
                assert running.poll() is None, log.read_text()
                try:
                    handshake(free, ssl.TLSVersion.TLSv1_3)
                    break
                except OSError:
                    time.sleep(0.05)
            yield free
        finally:
            running.terminate()


@pytest.mark.meets(
    "rfc9700-31",
    "oauch-ApiEndpoint/IsModernTlsSupportedTest",
    "oauch-AuthEndpoint/IsModernTlsSupportedTest",
    "oauch-Revocation/IsModernTlsSupportedTest",
    "oauch-TokenEndpoint/IsModernTlsSupportedTest",
    "oauch-DeviceAuthEndpoint/IsModernTlsSupportedTest",
    "oauch-ApiEndpoint/AreStrongCiphersEnabledTest",
    "oauch-AuthEndpoint/AreStrongCiphersEnabledTest",
    "oauch-TokenEndpoint/AreStrongCiphersEnabledTest",
)
def test_modern_tls_is_spoken_with_authenticated_ciphers(port: int) -> None:
    assert handshake(port, ssl.TLSVersion.TLSv1_3) in AUTHENTICATED


@pytest.mark.meets(
    "oauch-Features/IsDeprecatedTlsSupportedTest",
    "oauch-ApiEndpoint/AreStrongCiphersEnabledTest",
    "oauch-AuthEndpoint/AreStrongCiphersEnabledTest",
    "oauch-TokenEndpoint/AreStrongCiphersEnabledTest",
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1", "TLSv1_2"])
def test_older_tls_is_refused_with_all_its_ciphers(port: int, version: str) -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)alert"):  # it is the server that refuses
        handshake(port, ssl.TLSVersion[version])
