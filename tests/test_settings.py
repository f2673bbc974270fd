"""Settings: flag before environment before file, and a hint with every refusal."""

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from vrm.errors import SettingsError
from vrm.settings import Settings, load


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "vrm.toml"


def test_a_flag_counts_before_the_environment_and_that_before_the_file(toml: Path) -> None:
    toml.write_text("port = 1111\nworkers = 3\nsignup = 'open'\n")
    environ = {"VRM_PORT": "2222", "VRM_WORKERS": "4"}
    found = load({"port": 3333, "workers": None}, environ, toml)
    assert (found.port, found.workers, found.signup) == (3333, 4, "open")


def test_without_anything_the_defaults_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere")
    assert load({}, {}, None) == Settings()
    assert Settings().data_dir == Path("/somewhere/vrm")
    monkeypatch.delenv("XDG_DATA_HOME")
    assert Settings().data_dir == Path.home() / ".local" / "share" / "vrm"


def test_the_environment_of_the_process_is_read_unless_another_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VRM_PORT", "4444")
    assert load().port == 4444
    assert load(environ={}).port == 8600


def test_an_empty_value_is_none(toml: Path) -> None:
    toml.write_text("signup = ''\n")
    assert load({"public_url": ""}, {"VRM_PORT": ""}, toml) == Settings()


def test_a_file_that_is_not_there_is_no_file(toml: Path) -> None:
    assert load({}, {}, toml) == Settings()


def test_paths_are_expanded_and_default_to_the_data_folder(tmp_path: Path) -> None:
    plain = load({"data_dir": str(tmp_path)}, {})
    assert (plain.database_path, plain.server_key_path) == (tmp_path / "vrm.db", tmp_path / "server.key")
    named = load({"database_url": "sqlite:////var/x.db", "server_key_file": "/etc/k"}, {})
    assert (named.database_path, named.server_key_path) == (Path("/var/x.db"), Path("/etc/k"))
    assert load({"data_dir": "~/vault"}, {}).data_dir == Path.home() / "vault"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://vrm:hunter2@db.internal:5432/vrm",
        "postgresql+psycopg://vrm@a:5432,b:5432/vrm?target_session_attrs=read-write",
        "postgresql+psycopg://vrm@/vrm?host=/run/postgresql",
    ],
)
def test_postgresql_is_a_database_that_is_no_file(url: str) -> None:
    found = load({"database_url": url}, {})
    assert found.on_postgresql
    with pytest.raises(ValueError, match="not a file"):
        found.database_path  # noqa: B018 - asking is the mistake
    assert not load({}, {}).on_postgresql


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://vrm:hunter2@db/vrm",
        "postgresql+psycopg://vrm:hunter2@db",
        "postgresql+psycopg://vrm:hunter2@db/",
        "postgresql+psycopg://vrm:hunter/2@db/vrm#x",
        "mysql://hunter2@db/vrm",
    ],
)
def test_an_address_of_no_database_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({"database_url": url}, {})
    assert "postgresql+psycopg://ROLE" in caught.value.hint
    assert "hunter" not in f"{caught.value} {caught.value.hint}"


def test_the_password_of_the_database_is_in_no_repr() -> None:
    found = load({"database_url": "postgresql+psycopg://vrm:hunter2@db/vrm"}, {})
    assert "hunter2" not in repr(found)


@pytest.mark.meets("rfc9700-32")
@pytest.mark.parametrize(
    ("flags", "issuer", "loopback", "signup"),
    [
        ({}, "http://127.0.0.1:8600", True, "open"),
        ({"host": "::1", "port": 80}, "http://[::1]:80", True, "open"),
        ({"public_url": "https://vault.example/"}, "https://vault.example", False, "closed"),
        ({"public_url": "https://vault.example", "signup": "open"}, "https://vault.example", False, "open"),
        ({"public_url": "http://localhost:9", "signup": "closed"}, "http://localhost:9", True, "closed"),
        (
            {"host": "0.0.0.0", "public_url": "https://v.example:8443"},
            "https://v.example:8443",
            False,
            "closed",
        ),
    ],
)
def test_the_public_address(flags: dict[str, Any], issuer: str, loopback: bool, signup: str) -> None:
    found = load(flags, {})
    assert (found.issuer, found.on_loopback, found.signup_mode) == (issuer, loopback, signup)


@pytest.mark.meets(
    "rfc9700-31",
    "rfc9700-32",
    "oauch-ApiEndpoint/IsHttpsRequiredTest",
    "oauch-AuthEndpoint/IsHttpsRequiredTest",
    "oauch-ParEndpoint/IsHttpsRequiredTest",
    "oauch-Revocation/IsRevocationEndpointSecureTest",
    "oauch-TokenEndpoint/IsHttpsRequiredTest",
    "oauch-Tokens/TokenTimeoutTest",
    "oauch-DeviceAuthEndpoint/IsHttpsRequiredTest",
)
@pytest.mark.parametrize(
    ("env", "value", "hint"),
    [
        ("VRM_PUBLIC_URL", "http://vault.example", "TLS"),
        ("VRM_PUBLIC_URL", "ftp://127.0.0.1", "TLS"),
        ("VRM_PUBLIC_URL", "https://", "https://vault.example"),
        ("VRM_PUBLIC_URL", "https://[::1", "https://vault.example"),
        ("VRM_PUBLIC_URL", "https://vault.example:99999", "https://vault.example"),
        ("VRM_PUBLIC_URL", "https://vault.example:0", "https://vault.example"),
        ("VRM_PUBLIC_URL", "https://vault.example/path", "https://vault.example"),
        ("VRM_PUBLIC_URL", "https://vault.example?a=b", "https://vault.example"),
        ("VRM_PUBLIC_URL", "https://vault.example#a", "https://vault.example"),
        ("VRM_PUBLIC_URL", "https://alice@vault.example", "https://vault.example"),
        ("VRM_PUBLIC_URL", "https://:secret@vault.example", "https://vault.example"),
        ("VRM_PUBLIC_URL", "https://münchen.example", "xn--"),
        ("VRM_PUBLIC_URL", "https://vault .example", "https://vault.example"),
        ("VRM_PUBLIC_URL", "https://va\nult.example", "https://vault.example"),
        ("VRM_PUBLIC_URL", " https://vault.example", "https://vault.example"),
        ("VRM_PUBLIC_URL", "https://vault..example", "https://vault.example"),
        ("VRM_PUBLIC_URL", "https://vault<.example", "https://vault.example"),
        ("VRM_PUBLIC_URL", f"https://{'a' * 64}.example", "https://vault.example"),
        ("VRM_PUBLIC_URL", f"https://{'a.' * 126}example", "https://vault.example"),
        ("VRM_DATA_DIR", "~nosuchuser/x", "/var/lib/vrm"),
        ("VRM_SERVER_KEY_FILE", "~nosuchuser/x", "/var/lib/vrm"),
        ("VRM_DATABASE_URL", "sqlite:///~nosuchuser/x", "/var/lib/vrm"),
        ("VRM_HOST", "0.0.0.0", "VRM_PUBLIC_URL"),
        ("VRM_SIGNUP", "maybe", "closed, invite or open"),
        ("VRM_DATABASE_URL", "postgresql:///vrm", "sqlite:///PATH"),
        ("VRM_DATABASE_URL", "sqlite:///", "sqlite:///PATH"),
        ("VRM_DATABASE_URL", "~/x.db", "sqlite:///PATH"),
        ("VRM_PORT", "0", "from 1 to 65535"),
        ("VRM_PORT", "65536", "from 1 to 65535"),
        ("VRM_PORT", "eighty", "digits only"),
        ("VRM_PORT", "80.5", "digits only"),
        ("VRM_WORKERS", "0", "from 1 to 64"),
        ("VRM_WORKERS", "65", "from 1 to 64"),
        ("VRM_TRUSTED_PROXIES", "-1", "from 0 to 8"),
        ("VRM_ACCESS_LIFE", "59", "from 60 to 900 seconds"),
        ("VRM_ACCESS_LIFE", "901", "from 60 to 900 seconds"),
        ("VRM_REFRESH_GRACE", "-1", "from 0 to 60 seconds"),
        ("VRM_REFRESH_GRACE", "61", "from 0 to 60 seconds"),
        ("VRM_SESSION_IDLE", "0", "from 60 to"),
        ("VRM_SESSION_IDLE", "80000", "at most VRM_SESSION_ABSOLUTE"),
        ("VRM_SESSION_ABSOLUTE", "-5", "from 60 to"),
        ("VRM_REQUEST_LIFE", "0", "from 60 to"),
        ("VRM_MAX_UPLOAD", "0", "from 1024 to"),
        ("VRM_MAX_BODY", "0", "from 1024 to"),
        ("VRM_OUTBOUND_ALLOW", "everything", "10.1.2.0/24"),
        ("VRM_OUTBOUND_ALLOW", "10.1.2.3/24", "10.1.2.0/24"),
        ("VRM_OUTBOUND_ALLOW", "127.0.0.1, nonsense", "10.1.2.0/24"),
        ("VRM_REGISTRATION", "maybe", "closed or open"),
        ("VRM_KDF_MEMORY", "65535", "from 65536 to 524288 KiB"),
        ("VRM_KDF_MEMORY", "524289", "from 65536 to 524288 KiB"),
        ("VRM_KDF_PASSES", "0", "from 1 to 10"),
        ("VRM_KDF_PASSES", "11", "from 1 to 10"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_name_and_a_hint(env: str, value: str, hint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({}, {env: value})
    assert ("VRM_PUBLIC_URL" if env == "VRM_HOST" else env) in str(caught.value)
    assert hint in caught.value.hint


@pytest.mark.parametrize("value", ["true", "86.5", "[1]"])
def test_a_number_in_the_file_is_a_whole_number(toml: Path, value: str) -> None:
    toml.write_text(f"port = {value}\n")
    with pytest.raises(SettingsError, match="VRM_PORT"):
        load({}, {}, toml)


@pytest.mark.parametrize("name", ["data_dir", "server_key_file", "database_url", "host"])
@pytest.mark.parametrize("value", ["true", "false", "3", "['hunter2']", "{a = 1}", "2026-01-01"])
def test_text_in_the_file_is_text(toml: Path, name: str, value: str) -> None:
    toml.write_text(f"{name} = {value}\n")
    with pytest.raises(SettingsError, match=f"VRM_{name.upper()} is not text") as caught:
        load({}, {}, toml)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["data_dir", "server_key_file", "database_url", "host", "public_url"])
def test_text_in_the_file_has_no_end_before_its_end(toml: Path, name: str) -> None:
    toml.write_text(f'{name} = "a\\u0000b"\n')
    with pytest.raises(SettingsError, match=f"VRM_{name.upper()} has a NUL character"):
        load({}, {}, toml)


@pytest.mark.parametrize(
    "url", ["https://xn--mnchen-3ya.example", "https://a_b.example.:8443", "https://[2001:db8::1]"]
)
def test_an_address_that_browsers_send_as_it_stands_is_one(url: str) -> None:
    assert load({}, {"VRM_PUBLIC_URL": url}).issuer == url


def test_home_is_meant_wherever_a_file_is_named() -> None:
    found = load({}, {"VRM_SERVER_KEY_FILE": "~/key/server.key", "VRM_DATABASE_URL": "sqlite:///~/x.db"})
    assert found.server_key_path == Path.home() / "key" / "server.key"
    assert found.database_path == Path.home() / "x.db"


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SettingsError, match="is no file"):
        load({}, {}, tmp_path / "pipe")


def test_a_file_of_more_than_a_megabyte_is_not_read(toml: Path) -> None:
    toml.write_text("port = 8601\n" + "#" * (2**20 - 12))
    assert load({}, {}, toml).port == 8601
    toml.write_text("port = 8601\n" + "#" * (2**20 - 11))
    with pytest.raises(SettingsError, match="1 MiB"):
        load({}, {}, toml)


@pytest.mark.parametrize("content", [b"port 8600", b"\xff\xfe", b"port = 1\nport = 2"])
def test_a_file_that_is_no_toml_is_refused(toml: Path, content: bytes) -> None:
    toml.write_bytes(content)
    with pytest.raises(SettingsError, match=r"vrm\.toml") as caught:
        load({}, {}, toml)
    assert "port = 8600" in caught.value.hint


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        load({}, {}, tmp_path)


def test_a_setting_that_does_not_exist_is_refused(toml: Path) -> None:
    toml.write_text("prot = 8600\n")
    with pytest.raises(SettingsError, match="'prot'") as caught:
        load({}, {}, toml)
    assert "docs/settings.md" in caught.value.hint


def test_every_setting_has_its_own_variable_and_says_what_it_is() -> None:
    names = [item.metadata["env"] for item in fields(Settings)]
    assert names == [f"VRM_{item.name.upper()}" for item in fields(Settings)]
    assert all(item.metadata["help"] for item in fields(Settings))


def test_settings_do_not_change() -> None:
    with pytest.raises(AttributeError):
        Settings().port = 1  # type: ignore[misc]


@pytest.mark.parametrize("level", ["debug", "DEBUG", "loud"])
def test_a_log_level_that_would_print_secrets_is_refused(level: str) -> None:
    with pytest.raises(SettingsError, match="VRM_LOG_LEVEL"):
        load({}, {"VRM_LOG_LEVEL": level})


def test_networks_that_may_be_called_are_read_as_such() -> None:
    assert load({}, {}).outbound_networks == ()
    found = load({}, {"VRM_OUTBOUND_ALLOW": "10.1.2.0/24, ::1,,127.0.0.1 "})
    assert [str(one) for one in found.outbound_networks] == ["10.1.2.0/24", "::1/128", "127.0.0.1/32"]


@pytest.mark.parametrize(
    ("env", "value", "hint"),
    [
        ("VRM_LOG_FORMAT", "xml", "plain or json"),
        ("VRM_METRICS", "9600", "127.0.0.1:9600"),
        ("VRM_METRICS", "127.0.0.1:0", "127.0.0.1:9600"),
        ("VRM_METRICS", "127.0.0.1:http", "127.0.0.1:9600"),
        ("VRM_METRICS", "metrics.example:9600", "127.0.0.1:9600"),
        ("VRM_DRAIN", "301", "from 0 to 300 seconds"),
        ("VRM_READINGS_PER_MINUTE", "-1", "from 0"),
    ],
)
def test_what_a_server_cannot_be_run_by_is_refused(env: str, value: str, hint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({}, {env: value})
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("metrics", "address"),
    [("", None), ("127.0.0.1:9600", ("127.0.0.1", 9600)), ("[::1]:9600", ("::1", 9600))],
)
def test_numbers_are_told_where_the_host_says(metrics: str, address: tuple[str, int] | None) -> None:
    assert load({}, {"VRM_METRICS": metrics}).metrics_address == address


@pytest.mark.parametrize(
    ("host", "metrics"),
    [
        ("127.0.0.1", "127.0.0.1:8777"),
        ("localhost", "127.0.0.1:8777"),
        ("0.0.0.0", "127.0.0.1:8777"),
        ("127.0.0.1", "0.0.0.0:8777"),
        ("::", "127.0.0.1:8777"),
        ("127.0.0.1", "[::]:8777"),
        ("::1", "[0:0:0:0:0:0:0:1]:8777"),
        ("127.0.0.1", "[::ffff:127.0.0.1]:8777"),
        ("vault.internal", "127.0.0.1:8777"),
    ],
)
def test_numbers_are_not_told_where_the_vault_is_served(host: str, metrics: str) -> None:
    environ = {"VRM_HOST": host, "VRM_PORT": "8777", "VRM_PUBLIC_URL": "https://vault.example"}
    with pytest.raises(SettingsError, match="where the vault itself is served") as caught:
        load({}, {**environ, "VRM_METRICS": metrics})
    assert "127.0.0.1:9600" in caught.value.hint
    assert load({}, {**environ, "VRM_METRICS": metrics.replace("8777", "8778")}).port == 8777


@pytest.mark.parametrize(
    ("host", "metrics"),
    [("10.0.0.1", "127.0.0.1:8777"), ("0.0.0.0", "[::1]:8777"), ("::1", "127.0.0.1:8777")],
)
def test_the_same_port_at_another_address_is_another_place(host: str, metrics: str) -> None:
    environ = {"VRM_HOST": host, "VRM_PORT": "8777", "VRM_PUBLIC_URL": "https://vault.example"}
    assert load({}, {**environ, "VRM_METRICS": metrics}).metrics == metrics
