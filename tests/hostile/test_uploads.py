"""Files of attackers, sent to the import page of a real server: a page with the reason, in bounded memory."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from tests.conftest import PASSPHRASE
from tests.hostile.conftest import BOOKS, Town
from tests.hostile.importers.files import NAME, REFUSED, history, line_with, plain
from tests.hostile.serving import Answer, Browser, memory_peak

MEMORY = 64 * 2**20  # bytes above what was held before, the upload itself not counted


@pytest.fixture(scope="module")
def browser(town: Town) -> Browser:
    inside = Browser(town.served)
    assert inside.log_in("alice", PASSPHRASE).status == 303
    return inside


def purchases(town: Town) -> int:
    return len(town.vault.records("purchases").ids())


def sent(town: Town, browser: Browser, path: Path) -> Answer:
    """Upload a file; whoever answers may take so much memory and leaves nothing beside the data."""
    workers = [pid for pid in town.served.pids() if pid != town.served.process.pid]
    for pid in workers:
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak counts from now
    before = {pid: memory_peak(pid) for pid in workers}
    content = path.read_bytes()
    answer = browser.upload("/import", path.name, content)
    for pid, held in before.items():
        assert memory_peak(pid) - held < MEMORY + 4 * len(content)
    assert not list((town.served.folder / "tmp").iterdir())
    assert "Traceback" not in town.served.log
    return answer


@pytest.mark.parametrize(
    "name",
    [
        "a zip bomb",
        "lying sizes",
        "an encrypted zip",
        "a thousand columns",
        "noise",
        "noise after a known header",
        "UTF-16 with a mark",
        "a column twice",
        "an empty file",
    ],
)
def test_the_page_says_why_and_nothing_is_stored(
    town: Town, browser: Browser, tmp_path: Path, name: str
) -> None:
    had = purchases(town)
    answer = sent(town, browser, REFUSED[name][0](tmp_path))
    assert answer.status in {400, 413}, answer.text[:400]
    assert 'class="wrong"' in answer.text
    assert purchases(town) == had
    assert browser.get("/import").status == 200, "still logged in"


def test_thirty_megabytes_in_one_line_are_refused(town: Town, browser: Browser, tmp_path: Path) -> None:
    had = purchases(town)
    answer = sent(town, browser, plain(NAME, history(line_with(Product_Name="x" * 30_000_000)))(tmp_path))
    assert answer.status == 413
    assert purchases(town) == had


def test_an_upload_that_breaks_off_stores_nothing(town: Town, browser: Browser) -> None:
    had = purchases(town)
    token = browser.token("/import")
    body = b'--cut\r\nContent-Disposition: form-data; name="csrf_token"\r\n\r\n' + token.encode()
    body += b'\r\n--cut\r\nContent-Disposition: form-data; name="files"; filename="a.csv"\r\n\r\n'
    body += history(line_with(), line_with(Order_ID="111-2"))
    head = [
        "POST /import HTTP/1.1",
        f"Host: 127.0.0.1:{town.served.port}",
        "Content-Type: multipart/form-data; boundary=cut",
        f"Cookie: vrm={browser.cookies['vrm']}",
        f"Content-Length: {len(body) + 500}",
        "Connection: close",
        "",
        "",
    ]
    with socket.create_connection(("127.0.0.1", town.served.port), 10) as connection:
        connection.sendall("\r\n".join(head).encode() + body)
        connection.shutdown(socket.SHUT_WR)
        assert b" 400 " in connection.recv(100)
    assert purchases(town) == had


def test_formulas_of_a_file_leave_as_text(town: Town, browser: Browser, tmp_path: Path) -> None:
    """A cell that a spreadsheet would compute is stored as it is, and neutralised where it leaves as CSV."""
    cells = ["=cmd|' /C calc'!A0", "@SUM(1+1)", "+1+1", "-2+3", "a;=1+1", "=HYPERLINK(1)"]
    lines = [line_with(Product_Name=cell, Order_ID=f"999-{at}") for at, cell in enumerate(cells)]
    assert sent(town, browser, plain(NAME, history(*lines))(tmp_path)).status == 200
    fields = [("csrf_token", browser.token("/me/take")), ("form", "csv"), ("passphrase", PASSPHRASE)]
    taken = browser.post("/me/take", fields)
    assert taken.header("content-type").startswith("text/csv")
    assert BOOKS[0] in taken.text
    for cell in cells:
        assert cell in taken.text
    for line in taken.text.splitlines():
        for cell in line.split('","'):
            assert not cell.strip('"').startswith(("=", "+", "-", "@")), line


def test_a_form_sent_after_the_session_ended_comes_back_behind_the_log_in(town: Town) -> None:
    """The same as in tests/hostile/web, over the network: the session is ended from elsewhere."""
    alice, elsewhere = Browser(town.served), Browser(town.served)
    alice.log_in("alice", PASSPHRASE)
    token = alice.token("/preferences/new")
    record = re.search(r'name="record" value="([0-9a-f]{32})"', alice.get("/preferences/new").text)
    assert record
    elsewhere.log_in("alice", PASSPHRASE)
    elsewhere.post("/me/logout-everywhere", [("csrf_token", elsewhere.token("/me"))])
    typed = [
        ("csrf_token", token),
        ("revision", "0"),
        ("record", record.group(1)),
        ("statement.topic", "typed in vain"),
    ]
    locked = alice.post("/preferences/new", typed)
    assert locked.status == 403
    assert "typed in vain" not in locked.text
    fields = re.findall(r'<input type="hidden" name="(kept|csrf_token)" value="([^"]+)"', locked.text)
    again = alice.post("/login", [*fields, ("username", "alice"), ("passphrase", PASSPHRASE)])
    assert again.status == 200
    assert 'value="typed in vain"' in again.text
    assert "typed in vain" not in town.served.log
    assert not town.vault.records("preferences").ids()
