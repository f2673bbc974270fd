"""`python -m bookshop` opens the shop, or says why not."""

import subprocess
import sys
import urllib.request
from contextlib import closing
from socket import socket

import pytest

from bookshop.__main__ import main
from vrm import samples


@pytest.fixture
def port():
    with closing(socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_the_shop_opens_with_the_sample_as_its_order_book(tmp_path, port, scripted):
    samples.write(tmp_path / "orders", samples.DRAWN_UP)
    (tmp_path / "secret").write_text("s3cret\n")
    arguments = [
        "--vault",
        scripted.url,
        "--client-id",
        "shop",
        "--client-secret-file",
        str(tmp_path / "secret"),
    ]
    arguments += [
        "--port",
        str(port),
        "--orders",
        str(tmp_path / "orders"),
        "--store",
        str(tmp_path / "store"),
    ]
    command = [sys.executable, "-m", "bookshop", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as shop:
        try:
            assert f"open at http://127.0.0.1:{port}" in shop.stderr.readline()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/for-you?code=c0de") as page:
                assert "because of" in page.read().decode()
        finally:
            shop.terminate()
        assert "c0de" not in shop.stderr.read()


@pytest.mark.parametrize("missing", ["--client-secret-file", "--orders"])
def test_a_missing_file_is_told(missing, tmp_path, port, scripted, capsys):
    arguments = [
        "--vault",
        scripted.url,
        "--client-id",
        "x",
        "--port",
        str(port),
        missing,
        str(tmp_path / "none"),
    ]
    assert main(arguments) == 1
    assert "error:" in capsys.readouterr().err
