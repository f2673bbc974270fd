"""Health tells machines what they need and nobody more."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from tests.api.actors import problem
from vrm.settings import Settings
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vault, Vaults


def test_the_process_is_alive(client: FlaskClient) -> None:
    answer = client.get("/healthz")
    assert answer.status_code == 200
    assert answer.get_json() == {"status": "ok"}


def test_the_storage_answers(client: FlaskClient) -> None:
    assert client.get("/readyz").get_json() == {"status": "ok"}


def test_neither_tells_who_lives_here(client: FlaskClient, vault: Vault) -> None:
    for path in ("/healthz", "/readyz"):
        assert vault.username not in client.get(path).get_data(as_text=True)


def test_without_its_storage_it_is_alive_but_not_ready(client: FlaskClient, engine: SqliteEngine) -> None:
    with engine.write() as transaction:
        transaction.execute("DROP TABLE schemas")
    assert client.get("/healthz").status_code == 200
    answer = client.get("/readyz")
    problem(answer, 503, "storage-unavailable")
    assert "schemas" not in answer.get_data(as_text=True)


def test_it_is_not_ready_where_the_last_sweep_could_not_be_stored(
    client: FlaskClient, vaults: Vaults
) -> None:
    vaults.ailing = "storage-unavailable"
    problem(client.get("/readyz"), 503, "storage-unavailable")
    assert client.get("/healthz").status_code == 200
    vaults.ailing = ""
    assert client.get("/readyz").status_code == 200


def test_a_server_that_is_about_to_stop_says_so_and_goes_on_answering(
    client: FlaskClient, settings: Settings
) -> None:
    settings.draining_path.touch()
    problem(client.get("/readyz"), 503, "draining")
    assert client.get("/healthz").status_code == 200
    assert client.get("/openapi.json").status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json", "/docs"])
@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_other_methods_are_problems(client: FlaskClient, path: str, method: str) -> None:
    problem(getattr(client, method)(path), 405, "method-not-allowed")


def test_the_host_says_that_it_honours_global_privacy_control(client: FlaskClient) -> None:
    answer = client.get("/.well-known/gpc.json")
    assert answer.content_type == "application/json"
    assert answer.get_json() == {"gpc": True, "lastUpdate": "2026-11-22"}
