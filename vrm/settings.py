"""Limits and defaults in one frozen dataclass; sources: flag > VRM_* > vrm.toml.

Every setting has its environment name, unit and meaning beside it; docs/settings.md is made from them.
The one secret, a password in `database_url`, is in no repr; the server key is named by its path.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from vrm.errors import SettingsError

SIGNUP = ("closed", "invite", "open")
REGISTRATION = ("closed", "open")
PROFILES = ("baseline", "fapi2")
LOG_LEVELS = ("info", "warning", "error")
LOG_FORMATS = ("plain", "json")
THREADS = 8  # of a server process; no setting, for what waits of them is measured against it
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_NOT_SETTINGS = ("VRM_TEST_", "VRM_PYTHON", "VRM_BENCH_", "VRM_DEMO_")  # of the checkout's own scripts
_SQLITE = "sqlite:///"
POSTGRESQL = "postgresql+psycopg://"
_DATABASES = rf"{_SQLITE}.+|{re.escape(POSTGRESQL)}[^/?#]*/[^/?#]+(\?[^#]*)?"
_LABEL = "[A-Za-z0-9_-]{1,63}"
Network = IPv4Network | IPv6Network
_DAY = 86_400  # seconds
_MOST_TOML = 2**20  # bytes of vrm.toml
_MANY = 10_000_000  # a minute; more than one machine answers
_RANGES = {
    "trusted_proxies": (0, 8),
    "port": (1, 65_535),
    "workers": (1, 64),
    "max_upload": (1024, 2**32),
    "max_body": (1024, 2**26),
    "refresh_grace": (0, 60),
    "session_idle": (60, _DAY),
    "session_absolute": (60, 7 * _DAY),
    "request_life": (60, _DAY),
    "access_life": (60, 900),
    "kdf_memory": (64 * 1024, 512 * 1024),
    "kdf_passes": (1, 10),
    "send_events": (0, 1),
    "drain": (0, 300),
    "kept_pages": (0, 1024),
    "readings_per_minute": (0, _MANY),
    "tokens_per_minute": (0, _MANY),
    "introspections_per_minute": (0, _MANY),
    "logins_per_minute": (0, _MANY),
    "failures_per_minute": (0, _MANY),
}


def _default_folder() -> Path:
    """`$XDG_DATA_HOME/vrm`, else `~/.local/share/vrm`"""  # docs/settings.md shows this
    base = os.environ.get("XDG_DATA_HOME")
    return Path(base or expanded("~/.local/share", "VRM_DATA_DIR")) / "vrm"


def expanded(path: str | Path, name: str) -> str:
    """With the folder that `~` stands for; SettingsError naming the setting where there is none."""
    try:
        return str(Path(path).expanduser())
    except RuntimeError:  # nobody of that name, or no home
        raise SettingsError(
            f"{name}: there is no folder that ~ stands for", hint="write it whole, such as /var/lib/vrm"
        ) from None


def _setting(
    env: str, help: str, default: Any = None, *, unit: str = "", factory: Any = None, repr: bool = True
) -> Any:
    metadata = {"env": env, "help": help, "unit": unit}
    if factory is not None:
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata, repr=repr)


@dataclass(frozen=True)
class Settings:
    """One host's settings. Build with `load`, which checks them."""

    data_dir: Path = _setting("VRM_DATA_DIR", "folder of the database, mode 0700", factory=_default_folder)
    database_url: str = _setting(
        "VRM_DATABASE_URL",
        "sqlite:///PATH, or postgresql+psycopg://ROLE:PASSWORD@HOST:PORT/DATABASE; empty: vrm.db in the data"
        " folder",
        "",
        repr=False,  # a password may stand in it
    )
    server_key_file: str = _setting(
        "VRM_SERVER_KEY_FILE", "the server key; empty: server.key in the data folder", ""
    )
    public_url: str = _setting(
        "VRM_PUBLIC_URL", "address under which people and vendors reach this host; also the issuer", ""
    )
    signup: str = _setting(
        "VRM_SIGNUP",
        "who may create a vault: closed, invite or open; empty: open on loopback, else closed",
        "",
    )
    profile: str = _setting(
        "VRM_PROFILE", "what vendors must do: baseline, or fapi2 (FAPI 2.0 Security Profile)", "baseline"
    )
    trusted_proxies: int = _setting("VRM_TRUSTED_PROXIES", "how many proxies in front are trusted", 0)
    host: str = _setting("VRM_HOST", "address to listen on", "127.0.0.1")
    port: int = _setting("VRM_PORT", "port to listen on", 8600)
    workers: int = _setting("VRM_WORKERS", "server processes", 2)
    max_upload: int = _setting("VRM_MAX_UPLOAD", "largest upload of an import", 64 * 2**20, unit="bytes")
    max_body: int = _setting("VRM_MAX_BODY", "largest other request body", 2**20, unit="bytes")
    refresh_grace: int = _setting(
        "VRM_REFRESH_GRACE",
        "how long a lost refresh answer can be fetched again; 0: never",
        20,
        unit="seconds",
    )
    session_idle: int = _setting(
        "VRM_SESSION_IDLE", "session ends after this without use", 30 * 60, unit="seconds"
    )
    session_absolute: int = _setting(
        "VRM_SESSION_ABSOLUTE", "session ends after this", 12 * 3600, unit="seconds"
    )
    request_life: int = _setting(
        "VRM_REQUEST_LIFE", "how long a vendor's request waits", 3600, unit="seconds"
    )
    access_life: int = _setting(
        "VRM_ACCESS_LIFE", "life of an access token, at most 900", 900, unit="seconds"
    )
    kdf_memory: int = _setting(
        "VRM_KDF_MEMORY", "Argon2id memory of new passphrases, at least 65536", 65536, unit="KiB"
    )
    kdf_passes: int = _setting("VRM_KDF_PASSES", "Argon2id passes of new passphrases", 3)
    send_events: int = _setting(
        "VRM_SEND_EVENTS",
        "whether vrm serve sends vendors their events itself: 1, or 0 for vrm worker to do it",
        1,
    )
    kept_pages: int = _setting(
        "VRM_KEPT_PAGES",
        "memory of each worker for pages that vendors ask for again and again, sealed; 0: none are kept",
        16,
        unit="MiB",
    )
    log_level: str = _setting(
        "VRM_LOG_LEVEL", "what the server writes to standard error: info, warning, error", "warning"
    )
    log_format: str = _setting(
        "VRM_LOG_FORMAT", "how it is written: plain, or json for one object a line", "plain"
    )
    metrics: str = _setting(
        "VRM_METRICS",
        "address and port where /metrics answers Prometheus, such as 127.0.0.1:9600; empty: nowhere",
        "",
    )
    drain: int = _setting(
        "VRM_DRAIN",
        "how long /readyz says no before the server stops taking connections, for load balancers",
        0,
        unit="seconds",
    )
    readings_per_minute: int = _setting(
        "VRM_READINGS_PER_MINUTE", "readings of one vendor, of all vaults together; 0: no limit", 12_000
    )
    tokens_per_minute: int = _setting(
        "VRM_TOKENS_PER_MINUTE", "tokens that one vendor fetches or renews; 0: no limit", 6_000
    )
    introspections_per_minute: int = _setting(
        "VRM_INTROSPECTIONS_PER_MINUTE", "tokens that one vendor or server asks about; 0: no limit", 12_000
    )
    logins_per_minute: int = _setting(
        "VRM_LOGINS_PER_MINUTE",
        "log-ins from one address, right or wrong; 0: no limit but that of wrong ones",
        120,
    )
    failures_per_minute: int = _setting(
        "VRM_FAILURES_PER_MINUTE",
        "credentials of vendors and programs from one address that are no good; 0: no limit",
        600,
    )

    registration: str = _setting(
        "VRM_REGISTRATION",
        "whether vendors may register themselves at /oauth/register: closed or open",
        "closed",
    )
    outbound_allow: str = _setting(
        "VRM_OUTBOUND_ALLOW",
        "networks that this host may call although they are not public, separated by commas: 10.1.2.0/24;"
        " plain http and any port pass there as well",
        "",
    )

    @property
    def tools(self) -> bool:
        """Whether programs of customers may come in: their one client proves nothing, as FAPI 2.0 forbids."""
        return self.profile == "baseline"

    @property
    def outbound_networks(self) -> tuple[Network, ...]:
        """`outbound_allow`, read."""
        return tuple(ip_network(one.strip()) for one in self.outbound_allow.split(",") if one.strip())

    @property
    def metrics_address(self) -> tuple[str, int] | None:
        """Where numbers are told, None for nowhere; ValueError where that is no address and port."""
        if not self.metrics:
            return None
        host, _, port = self.metrics.rpartition(":")
        if not 0 < int(port) < 65_536:
            raise ValueError(port)
        return str(ip_address(host.strip("[]"))), int(port)

    @property
    def state_path(self) -> Path:
        """What the names begin with of the files that tell the workers of one server about each other."""
        return self.data_dir / f"serve-{self.port}"

    @property
    def on_postgresql(self) -> bool:
        """Whether the data is kept by PostgreSQL and not in a file."""
        return self.database_url.startswith(POSTGRESQL)

    @property
    def draining_path(self) -> Path:
        """The file that is there once a server is about to stop."""
        return self.state_path.with_name(f"{self.state_path.name}.draining")

    @property
    def database_path(self) -> Path:
        """The SQLite file; ValueError where there is none."""
        if self.on_postgresql:
            raise ValueError("PostgreSQL keeps the data, not a file")
        if not self.database_url:
            return self.data_dir / "vrm.db"
        return Path(self.database_url.removeprefix(_SQLITE))

    @property
    def own_files(self) -> dict[Path, str]:
        """The files that this host lives by, each with what it is: no command writes a result over them."""
        own = {self.server_key_path: "the server key"}
        if self.on_postgresql:
            return own
        database = self.database_path
        beside = ("-wal", "-shm", "-journal", ".open.lock", ".write.lock", ".last-backup", ".unsynced")
        own |= {database.with_name(database.name + ending): "a part of the database" for ending in beside}
        return {database: "the database"} | own

    @property
    def server_key_path(self) -> Path:
        """The server key's file."""
        return Path(self.server_key_file) if self.server_key_file else self.data_dir / "server.key"

    @property
    def issuer(self) -> str:
        """The public URL without a final slash, in small letters: it has a host and no path."""
        return (self.public_url or f"http://{bracketed(self.host)}:{self.port}").rstrip("/").lower()

    @property
    def on_loopback(self) -> bool:
        """Whether the public address is plain http on this machine (then cookies are not Secure)."""
        return urlsplit(self.issuer).scheme == "http"

    @property
    def signup_mode(self) -> str:
        """Who may create a vault, with the default resolved."""
        return self.signup or ("open" if urlsplit(self.issuer).hostname in LOOPBACK else "closed")


def bracketed(host: str) -> str:
    """As it stands in an address: one of IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def _convert(name: str, kind: str, value: Any) -> Any:
    if kind == "int":
        try:
            if isinstance(value, bool | float):
                raise TypeError
            return int(value)
        except (TypeError, ValueError):
            raise SettingsError(
                f"{name}: {value!r} is not a whole number", hint="digits only, such as 8600"
            ) from None
    if not isinstance(value, str | Path):  # not repeated: it may hold the password of a database
        raise SettingsError(f"{name} is not text", hint='text stands in quotes: "like this"')
    if "\0" in str(value):
        raise SettingsError(f"{name} has a NUL character", hint="take it out")
    if kind == "Path":
        return Path(expanded(value, name))
    if name == "VRM_SERVER_KEY_FILE":
        return expanded(value, name)
    if name == "VRM_DATABASE_URL" and str(value).startswith(f"{_SQLITE}~"):
        return _SQLITE + expanded(str(value).removeprefix(_SQLITE), name)
    return str(value)


def read_toml(path: Path | None) -> dict[str, Any]:
    """What a settings file says, {} where there is none; SettingsError for what is no such file."""
    if path is None or not path.exists():
        return {}
    if not path.is_file():  # a pipe may keep us waiting for ever
        raise SettingsError(f"{path} is no file", hint="vrm.toml is one, with lines such as port = 8600")
    try:
        with path.open("rb") as source:
            raw = source.read(_MOST_TOML + 1)
        if len(raw) > _MOST_TOML:
            raise SettingsError(f"{path}: more than 1 MiB", hint="vrm.toml holds lines such as port = 8600")
        return tomllib.loads(raw.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(f"{path}: {error}", hint="vrm.toml holds lines such as port = 8600") from None


def load(
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    toml: Path | None = None,
) -> Settings:
    """Settings from flags (None = not given), the environment, then the file; SettingsError with a hint."""
    environ = os.environ if environ is None else environ
    written = read_toml(toml)
    known = {item.name for item in fields(Settings)}
    for name in written:
        if name not in known:
            raise SettingsError(f"{toml}: unknown setting {name!r}", hint="see docs/settings.md")
    chosen: dict[str, Any] = {}
    for item in fields(Settings):
        for value in (
            (flags or {}).get(item.name),
            environ.get(item.metadata["env"]),
            written.get(item.name),
        ):
            if value is not None and value != "":
                chosen[item.name] = _convert(item.metadata["env"], str(item.type), value)
                break
    return checked(Settings(**chosen))


def misspelt(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Names that look like settings and are none, each with the setting that was perhaps meant, or ""."""
    known = [item.metadata["env"] for item in fields(Settings)]
    strange = [name for name in environ if name.startswith("VRM_") and name not in known]
    return [
        (name, next(iter(get_close_matches(name, known, 1)), ""))
        for name in sorted(strange)
        if not name.startswith(_NOT_SETTINGS)
    ]


def checked(settings: Settings) -> Settings:
    """The same settings, or SettingsError naming the first that cannot be used."""
    if settings.signup and settings.signup not in SIGNUP:
        raise SettingsError(f"VRM_SIGNUP: {settings.signup!r}", hint="closed, invite or open")
    if settings.profile not in PROFILES:
        raise SettingsError(f"VRM_PROFILE: {settings.profile!r}", hint="baseline or fapi2")
    if settings.registration not in REGISTRATION:
        raise SettingsError(f"VRM_REGISTRATION: {settings.registration!r}", hint="closed or open")
    if settings.log_level not in LOG_LEVELS:  # no debug: libraries print secrets there
        raise SettingsError(f"VRM_LOG_LEVEL: {settings.log_level!r}", hint="info, warning or error")
    if settings.log_format not in LOG_FORMATS:
        raise SettingsError(f"VRM_LOG_FORMAT: {settings.log_format!r}", hint="plain or json")
    if settings.database_url and not re.fullmatch(_DATABASES, settings.database_url):
        raise SettingsError(
            "VRM_DATABASE_URL: not a database I know",
            hint="sqlite:///PATH or postgresql+psycopg://ROLE:PASSWORD@HOST:PORT/DATABASE",
        )
    for item in fields(Settings):
        least, most = _RANGES.get(item.name, (None, None))
        value = getattr(settings, item.name)
        if least is not None and not least <= value <= most:
            unit = f" {item.metadata['unit']}" if item.metadata["unit"] else ""
            raise SettingsError(f"{item.metadata['env']}: {value}", hint=f"from {least} to {most}{unit}")
    if settings.session_idle > settings.session_absolute:
        raise SettingsError(f"VRM_SESSION_IDLE: {settings.session_idle}", hint="at most VRM_SESSION_ABSOLUTE")
    _check_networks(settings)
    _check_metrics(settings)
    _check_url(settings.issuer)
    return settings


def _check_networks(settings: Settings) -> None:
    try:
        settings.outbound_networks  # noqa: B018 - reading is the check
    except ValueError as error:
        raise SettingsError(f"VRM_OUTBOUND_ALLOW: {error}", hint="such as 10.1.2.0/24, 127.0.0.1") from None


def _check_metrics(settings: Settings) -> None:
    try:
        address = settings.metrics_address
    except ValueError:
        raise SettingsError(f"VRM_METRICS: {settings.metrics!r}", hint="such as 127.0.0.1:9600") from None
    if address and address[1] == settings.port and _overlap(address[0], settings.host):
        raise SettingsError(
            f"VRM_METRICS: {settings.metrics} is where the vault itself is served",
            hint="name a port of its own, such as 127.0.0.1:9600",
        )


def _overlap(one: str, other: str) -> bool:
    """Whether who listens at one address of IP may be given what is meant for the other, of IP or a name.

    `::` takes calls of IPv4 as well on most systems. A name other than localhost may be any address.
    """
    try:
        pair = [ip_address(one), ip_address("127.0.0.1" if other == "localhost" else other)]
    except ValueError:
        return True
    plain = [getattr(address, "ipv4_mapped", None) or address for address in pair]
    wide = [address.version for address in plain if address.is_unspecified]
    return plain[0] == plain[1] or 6 in wide or (4 in wide and plain[0].version == plain[1].version)


def _check_url(issuer: str) -> None:
    url = _split(issuer)
    if url is None:
        raise SettingsError(f"VRM_PUBLIC_URL: {issuer} has no host", hint="such as https://vault.example")
    if url.scheme != "https" and not (url.scheme == "http" and url.hostname in LOOPBACK):
        raise SettingsError(
            f"VRM_PUBLIC_URL: {issuer} is neither https nor http on this machine",
            hint="put TLS in front and set VRM_PUBLIC_URL=https://…, or use http://127.0.0.1:8600",
        )
    if url.query or url.fragment or "@" in url.netloc or url.path not in ("", "/"):
        raise SettingsError(
            "VRM_PUBLIC_URL: only scheme, host and port", hint="such as https://vault.example"
        )
    if not issuer.isascii():  # browsers and vendors send the other form, and are compared with this one
        raise SettingsError(
            f"VRM_PUBLIC_URL: {issuer} has letters that are sent in another form",
            hint="write the name as browsers send it: xn--…, which its registrar tells",
        )
    if not is_host(url.hostname or "") or issuer != f"{url.scheme}://{url.netloc}":  # urlsplit drops some
        raise SettingsError(
            f"VRM_PUBLIC_URL: {issuer} has characters that no host name has",
            hint="such as https://vault.example",
        )


def holds_password(url: str) -> bool:
    """Whether a password stands in this address of a database."""
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets that do not match: what it holds is not known
        return True
    return parts.password is not None or "password" in parse_qs(parts.query)


def is_host(name: str) -> bool:
    """Whether this can be the host in an address: an address of IP, or letters, digits, dots and dashes.

    The underscore stands in names of machines within a network, and every resolver takes it.
    """
    try:
        ip_address(name)
    except ValueError:
        return len(name) < 254 and re.fullmatch(rf"{_LABEL}(\.{_LABEL})*\.?", name) is not None
    return True


def _split(issuer: str) -> SplitResult | None:
    """The address in its pieces, None where it has no usable host and port."""
    try:
        url = urlsplit(issuer)
        usable = url.hostname and url.port != 0
    except ValueError:
        return None
    return url if usable else None
